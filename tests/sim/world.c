/* SPDX-License-Identifier: MIT */
/* The world of a schedule: descriptors, and the sockets, pipes, files, counters and processes
 * behind them.  Nothing here waits or chooses: waiting and choosing is for calls.c and kernel.c. */
#include "sim.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>

struct sim_world sim_world;

/* ---- memory: one arena, used anew by each schedule ---- */

enum { CHUNK = 1 << 20 };

static struct chunk {
    struct chunk *next;
    size_t        used;
    _Alignas(64) unsigned char data[];
} * chunks, *chunk;

static struct chunk *new_chunk(size_t size)
{
    struct chunk *made = malloc(sizeof *made + (size > CHUNK ? size : CHUNK));
    if (!made)
        abort();
    made->next = NULL;
    made->used = 0;
    return made;
}

void *sim_alloc(size_t size)
{
    size = (size + 63) & ~(size_t)63;
    if (!chunk)
        chunk = chunks = new_chunk(size);
    if (chunk->used + size > CHUNK) {
        if (!chunk->next)
            chunk->next = new_chunk(size);
        chunk = chunk->next;
        chunk->used = 0;
    }
    void *memory = chunk->data + chunk->used;
    chunk->used += size;
    return memset(memory, 0, size);
}

void sim_world_reset(void)
{
    if ((chunk = chunks))
        chunk->used = 0;
    memset(&sim_world, 0, sizeof sim_world);
    sim_world.now = UNR_SEC(1000);
}

/* ---- bytes ---- */

static void bytes_init(struct sim_bytes *bytes, size_t capacity)
{
    bytes->capacity = capacity ? capacity : 64;
    bytes->data = sim_alloc(bytes->capacity);
}

size_t sim_bytes_put(struct sim_bytes *bytes, const void *data, size_t len)
{
    size_t n = bytes->capacity - bytes->count;
    if (n > len)
        n = len;
    for (size_t i = 0; i < n; i++)
        bytes->data[(bytes->first + bytes->count + i) % bytes->capacity] =
            ((const unsigned char *)data)[i];
    bytes->count += n;
    return n;
}

size_t sim_bytes_get(struct sim_bytes *bytes, void *data, size_t len, bool peek)
{
    size_t n = bytes->count < len ? bytes->count : len;
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)data)[i] = bytes->data[(bytes->first + i) % bytes->capacity];
    if (!peek) {
        bytes->first = (bytes->first + n) % bytes->capacity;
        bytes->count -= n;
    }
    return n;
}

/* ---- descriptors ---- */

struct sim_file *sim_file_of(int fd)
{
    return fd >= 0 && fd < SIM_FDS ? sim_world.fds[fd] : NULL;
}

int sim_fd_open(struct sim_file *file)
{
    for (int fd = 3; fd < SIM_FDS; fd++)
        if (!sim_world.fds[fd]) {
            sim_world.fds[fd] = file;
            sim_world.open_fds++;
            sim_file_hold(file);
            return fd;
        }
    return -EMFILE;
}

int sim_fd_close(int fd)
{
    struct sim_file *file = sim_file_of(fd);
    if (!file)
        return -EBADF;
    sim_world.fds[fd] = NULL;
    sim_world.open_fds--;
    sim_file_release(file);
    return 0;
}

struct sim_file *sim_file_new(enum sim_kind kind)
{
    struct sim_file *file = sim_alloc(sizeof *file);
    file->kind = kind;
    return file;
}

void sim_file_hold(struct sim_file *file)
{
    file->references++;
}

static void wake_all(struct sim_file *file)
{
    file->came++;
    file->left++;
}

static void socket_gone(struct sim_file *file)
{
    if (file->peer) {
        /* TCP resets a connection that is closed while there are bytes that nobody has read. */
        if (file->incoming->count)
            file->peer->reset = true;
        file->peer->end_of_input = true;
        file->peer->peer = NULL;
        wake_all(file->peer);
    }
}

static void listener_gone(struct sim_file *file)
{
    for (unsigned i = 0; i < file->waiting_count; i++)
        sim_file_release(file->waiting[i]);
    for (unsigned i = 0; i < sizeof sim_world.listeners / sizeof *sim_world.listeners; i++)
        if (sim_world.listeners[i] == file)
            sim_world.listeners[i] = NULL;
}

void sim_file_release(struct sim_file *file)
{
    if (--file->references)
        return;
    switch (file->kind) {
    case SIM_SOCKET: socket_gone(file); break;
    case SIM_LISTENER: listener_gone(file); break;
    case SIM_PIPE_READER:
        file->pipe->readers--;
        file->pipe->left++;
        break;
    case SIM_PIPE_WRITER:
        file->pipe->writers--;
        file->pipe->came++;
        break;
    case SIM_EPOLL: sim_file_release(file->watched); break;
    default: break;
    }
}

struct sim_pipe *sim_pipe_new(size_t capacity)
{
    struct sim_pipe *pipe = sim_alloc(sizeof *pipe);
    bytes_init(&pipe->bytes, capacity);
    pipe->readers = pipe->writers = 1;
    return pipe;
}

struct sim_file *sim_socket_new(size_t capacity)
{
    struct sim_file *file = sim_file_new(SIM_SOCKET);
    file->incoming = sim_alloc(sizeof *file->incoming);
    bytes_init(file->incoming, capacity);
    return file;
}

void sim_socket_pair(struct sim_file *a, struct sim_file *b)
{
    a->peer = b;
    b->peer = a;
    a->connected = b->connected = true;
}

struct sim_file *sim_listener_at(uint16_t port)
{
    for (unsigned i = 0; i < sizeof sim_world.listeners / sizeof *sim_world.listeners; i++)
        if (sim_world.listeners[i] && sim_world.listeners[i]->port == port)
            return sim_world.listeners[i];
    return NULL;
}

int sim_listen(struct sim_file *file, int backlog)
{
    if (file->connected || file->connecting_to)
        return -EINVAL;
    for (unsigned i = 0; i < sizeof sim_world.listeners / sizeof *sim_world.listeners; i++)
        if (!sim_world.listeners[i] || sim_world.listeners[i] == file) {
            sim_world.listeners[i] = file;
            file->kind = SIM_LISTENER;
            file->backlog = backlog < SIM_QUEUE ? backlog : SIM_QUEUE - 1;
            return 0;
        }
    return -ENOBUFS;
}

int sim_handshake(struct sim_file *file)
{
    struct sim_file *listener = file->connecting_to;
    if (listener->references == 0 || listener->kind != SIM_LISTENER) {
        file->connecting_to = NULL;
        return -ECONNREFUSED;
    }
    if (listener->waiting_count > (unsigned)listener->backlog)
        return -EAGAIN;
    struct sim_file *accepted = sim_socket_new(file->incoming->capacity);
    sim_socket_pair(file, accepted);
    sim_file_hold(accepted);
    listener->waiting[listener->waiting_count++] = accepted;
    listener->came++;
    file->connecting_to = NULL;
    file->left++;
    return 0;
}

void sim_disconnect(struct sim_file *file)
{
    file->connecting_to = NULL;
    if (!file->connected)
        return;
    if (file->peer) {
        file->peer->reset = file->peer->end_of_input = true;
        file->peer->peer = NULL;
        wake_all(file->peer);
    }
    file->peer = NULL;
    file->incoming->count = 0;
    file->connected = file->end_of_input = file->reset = file->shut_read = file->shut_write = false;
}

/* ---- transfers ---- */

static ssize_t socket_read(struct sim_file *file, void *buf, size_t len, bool peek)
{
    if (!file->connected)
        return -ENOTCONN;
    if (file->incoming->count) {
        if (file->peer && !peek)
            file->peer->left++;
        return (ssize_t)sim_bytes_get(file->incoming, buf, len, peek);
    }
    if (file->reset) {
        file->reset = false;
        return -ECONNRESET;
    }
    return file->end_of_input || file->shut_read || len == 0 ? 0 : -EAGAIN;
}

static ssize_t socket_write(struct sim_file *file, const void *buf, size_t len)
{
    if (!file->connected)
        return -ENOTCONN;
    if (file->shut_write || !file->peer)
        return -EPIPE;
    if (file->peer->shut_read)
        return -EPIPE;
    size_t n = sim_bytes_put(file->peer->incoming, buf, len);
    file->peer->came += n != 0;
    return n || !len ? (ssize_t)n : -EAGAIN;
}

static ssize_t datagram_read(struct sim_file *file, void *buf, size_t len, bool peek)
{
    unsigned char rest[64];
    if (!file->datagrams)
        return -EAGAIN;
    size_t whole = file->lengths[0], n = whole < len ? whole : len;
    sim_bytes_get(file->incoming, buf, n, peek);
    if (peek)
        return (ssize_t)n;
    for (size_t left = whole - n; left;) /* what does not fit into `buf` is lost */
        left -= sim_bytes_get(file->incoming, rest, left < sizeof rest ? left : sizeof rest, false);
    memmove(file->lengths, file->lengths + 1, --file->datagrams * sizeof *file->lengths);
    return (ssize_t)n;
}

static ssize_t datagram_write(struct sim_file *file, const void *buf, size_t len)
{
    struct sim_file *receiver = file->peer;
    if (!receiver)
        return -ENOTCONN;
    if (!receiver->references)
        return -ECONNREFUSED;
    if (len > receiver->incoming->capacity)
        return -EMSGSIZE;
    if (receiver->datagrams == receiver->datagrams_max
        || len > receiver->incoming->capacity - receiver->incoming->count)
        return -EAGAIN;
    sim_bytes_put(receiver->incoming, buf, len);
    receiver->lengths[receiver->datagrams++] = len;
    receiver->came++;
    return (ssize_t)len;
}

static unsigned datagram_poll(const struct sim_file *file)
{
    const struct sim_file *receiver = file->peer;
    bool full = receiver && receiver->references && receiver->datagrams == receiver->datagrams_max;
    return (file->datagrams ? POLLIN : 0u) | (full ? 0u : POLLOUT);
}

static ssize_t regular_read(struct sim_file *file, void *buf, size_t len, int64_t offset, bool peek)
{
    size_t at = (size_t)(offset < 0 ? file->position : offset);
    size_t n = at < file->inode->len ? file->inode->len - at : 0;
    if (n > len)
        n = len;
    if (n)
        memcpy(buf, file->inode->data + at, n);
    if (offset < 0 && !peek)
        file->position += (int64_t)n;
    return (ssize_t)n;
}

static ssize_t regular_write(struct sim_file *file, const void *buf, size_t len, int64_t offset)
{
    struct sim_inode *inode = file->inode;
    size_t            at = (size_t)(offset < 0 ? file->position : offset);
    if (at + len > inode->room) {
        unsigned char *larger = sim_alloc((at + len) * 2);
        if (inode->len)
            memcpy(larger, inode->data, inode->len);
        inode->data = larger;
        inode->room = (at + len) * 2;
    }
    memcpy(inode->data + at, buf, len);
    if (at + len > inode->len)
        inode->len = at + len;
    if (offset < 0)
        file->position += (int64_t)len;
    return (ssize_t)len;
}

static ssize_t counter_read(struct sim_file *file, void *buf, size_t len)
{
    if (len < sizeof file->counter)
        return -EINVAL;
    if (!file->counter)
        return -EAGAIN;
    memcpy(buf, &file->counter, sizeof file->counter);
    file->counter = 0;
    return sizeof file->counter;
}

static ssize_t signals_read(struct sim_file *file, void *buf, size_t len)
{
    struct signalfd_siginfo info = { 0 };
    uint64_t                mine = sim_world.pending_signals & file->signals;
    if (len < sizeof info)
        return -EINVAL;
    if (!mine)
        return -EAGAIN;
    info.ssi_signo = (uint32_t)__builtin_ctzll(mine) + 1;
    sim_world.pending_signals &= ~(mine & -mine);
    memcpy(buf, &info, sizeof info);
    return sizeof info;
}

ssize_t sim_read(struct sim_file *file, void *buf, size_t len, int64_t offset, bool peek)
{
    switch (file->kind) {
    case SIM_SOCKET: return socket_read(file, buf, len, peek);
    case SIM_DATAGRAMS: return datagram_read(file, buf, len, peek);
    case SIM_PIPE_READER:
        file->pipe->left += file->pipe->bytes.count && !peek;
        if (file->pipe->bytes.count)
            return (ssize_t)sim_bytes_get(&file->pipe->bytes, buf, len, peek);
        return file->pipe->writers && len ? -EAGAIN : 0;
    case SIM_REGULAR: return regular_read(file, buf, len, offset, peek);
    case SIM_EVENTFD: return counter_read(file, buf, len);
    case SIM_SIGNALFD: return signals_read(file, buf, len);
    default: return -EBADF;
    }
}

ssize_t sim_write(struct sim_file *file, const void *buf, size_t len, int64_t offset)
{
    uint64_t value;
    switch (file->kind) {
    case SIM_SOCKET: return socket_write(file, buf, len);
    case SIM_DATAGRAMS: return datagram_write(file, buf, len);
    case SIM_PIPE_WRITER: {
        if (!file->pipe->readers)
            return -EPIPE;
        size_t n = sim_bytes_put(&file->pipe->bytes, buf, len);
        file->pipe->came += n != 0;
        return n || !len ? (ssize_t)n : -EAGAIN;
    }
    case SIM_REGULAR: return regular_write(file, buf, len, offset);
    case SIM_EVENTFD:
        if (len < sizeof value)
            return -EINVAL;
        memcpy(&value, buf, sizeof value);
        file->counter += value;
        file->came++;
        return sizeof value;
    default: return -EBADF;
    }
}

unsigned sim_poll(const struct sim_file *file)
{
    unsigned events = 0;
    switch (file->kind) {
    case SIM_SOCKET:
        if (!file->connected)
            return POLLOUT | POLLHUP;
        if (file->incoming->count || file->end_of_input || file->shut_read || file->reset)
            events |= POLLIN;
        if (file->end_of_input || file->shut_read)
            events |= POLLRDHUP;
        if (!file->peer || file->shut_write
            || file->peer->incoming->count < file->peer->incoming->capacity)
            events |= POLLOUT;
        if (!file->peer)
            events |= POLLHUP;
        if (file->reset)
            events |= POLLERR;
        return events;
    case SIM_DATAGRAMS: return datagram_poll(file);
    case SIM_LISTENER: return file->waiting_count ? POLLIN : 0;
    case SIM_PIPE_READER:
        return (file->pipe->bytes.count ? POLLIN : 0u) | (file->pipe->writers ? 0u : POLLHUP);
    case SIM_PIPE_WRITER:
        if (!file->pipe->readers)
            return POLLOUT | POLLERR;
        return file->pipe->bytes.count < file->pipe->bytes.capacity ? POLLOUT : 0;
    case SIM_SIGNALFD: return sim_world.pending_signals & file->signals ? POLLIN : 0;
    case SIM_EPOLL: return sim_poll(file->watched) & file->events ? POLLIN : 0;
    case SIM_EVENTFD: return POLLOUT | (file->counter ? POLLIN : 0u);
    case SIM_PIDFD: return file->child->exited ? POLLIN : 0;
    default: return POLLIN | POLLOUT;
    }
}

static unsigned came_to(const struct sim_file *file)
{
    switch (file->kind) {
    case SIM_PIPE_READER:
    case SIM_PIPE_WRITER: return file->pipe->came;
    case SIM_SIGNALFD: return sim_world.raised;
    case SIM_PIDFD: return file->child->exited;
    case SIM_EPOLL: return sim_wakes(file->watched, file->events);
    default: return file->came;
    }
}

unsigned sim_wakes(const struct sim_file *file, unsigned events)
{
    bool     pipe = file->kind == SIM_PIPE_READER || file->kind == SIM_PIPE_WRITER;
    unsigned left = pipe ? file->pipe->left : file->left;
    return came_to(file) + (events & POLLOUT ? left : 0);
}

/* ---- child processes ---- */

struct sim_child *sim_child_of(pid_t pid)
{
    for (unsigned i = 0; i < sim_world.children_count; i++)
        if (sim_world.children[i].pid == pid && !sim_world.children[i].reaped)
            return &sim_world.children[i];
    return NULL;
}

bool sim_child_reap(struct sim_child *child, siginfo_t *ret_info)
{
    if (!child->exited)
        return false;
    child->reaped = true;
    if (ret_info) {
        memset(ret_info, 0, sizeof *ret_info);
        ret_info->si_signo = SIGCHLD;
        ret_info->si_pid = child->pid;
        ret_info->si_status = child->status;
        ret_info->si_code = CLD_EXITED;
    }
    return true;
}

/* ---- what a scenario makes, and what other processes do ---- */

static int opened(struct sim_file *file)
{
    int fd = sim_fd_open(file);
    if (fd < 0)
        unri_sim_fail("the scenario opens more descriptors than the simulation has");
    return fd;
}

static struct sim_file *file_of(int fd)
{
    struct sim_file *file = sim_file_of(fd);
    if (!file)
        unri_sim_fail("the scenario uses descriptor %d, which is not open", fd);
    return file;
}

void unr_sim_socketpair(int ret_fds[2], size_t capacity)
{
    struct sim_file *a = sim_socket_new(capacity), *b = sim_socket_new(capacity);
    sim_socket_pair(a, b);
    ret_fds[0] = opened(a);
    ret_fds[1] = opened(b);
}

static void datagrams_new(int ret_fds[2], unsigned capacity, bool records)
{
    struct sim_file *sender = sim_socket_new(0), *receiver = sim_socket_new(4096);
    sender->kind = receiver->kind = SIM_DATAGRAMS;
    sender->records = receiver->records = records;
    sender->peer = receiver;
    receiver->datagrams_max = capacity < SIM_DATAGRAMS_MAX ? capacity : SIM_DATAGRAMS_MAX;
    ret_fds[0] = opened(sender);
    ret_fds[1] = opened(receiver);
}

void unr_sim_datagrams(int ret_fds[2], unsigned capacity)
{
    datagrams_new(ret_fds, capacity, false);
}

void unr_sim_records(int ret_fds[2], unsigned capacity)
{
    datagrams_new(ret_fds, capacity, true);
}

void unr_sim_pipe(int ret_fds[2], size_t capacity)
{
    struct sim_pipe *pipe = sim_pipe_new(capacity);
    struct sim_file *reader = sim_file_new(SIM_PIPE_READER),
                    *writer = sim_file_new(SIM_PIPE_WRITER);
    reader->pipe = writer->pipe = pipe;
    ret_fds[0] = opened(reader);
    ret_fds[1] = opened(writer);
}

int unr_sim_socket(void)
{
    return opened(sim_socket_new(0));
}

int unr_sim_listener(uint16_t port, int backlog)
{
    struct sim_file *file = sim_socket_new(0);
    file->port = port;
    if (sim_listen(file, backlog) < 0)
        unri_sim_fail("the scenario listens on more ports than the simulation has");
    return opened(file);
}

int unr_sim_file(const void *data, size_t len)
{
    struct sim_file *file = sim_file_new(SIM_REGULAR);
    file->inode = sim_alloc(sizeof *file->inode);
    file->inode->links = 1;
    if (len)
        regular_write(file, data, len, 0);
    return opened(file);
}

int unr_sim_eventfd(uint64_t count)
{
    struct sim_file *file = sim_file_new(SIM_EVENTFD);
    file->counter = count;
    return opened(file);
}

int unr_sim_epoll(int fd, uint32_t events)
{
    struct sim_file *file = sim_file_new(SIM_EPOLL);
    file->watched = file_of(fd);
    file->events = events | POLLERR | POLLHUP;
    sim_file_hold(file->watched);
    return opened(file);
}

int unr_sim_signalfd(uint64_t signals)
{
    struct sim_file *file = sim_file_new(SIM_SIGNALFD);
    file->signals = signals;
    return opened(file);
}

void unr_sim_raise(int signal)
{
    sim_world.pending_signals |= UINT64_C(1) << (signal - 1);
    sim_world.raised++;
}

ssize_t unr_sim_read(int fd, void *buf, size_t len)
{
    return sim_read(file_of(fd), buf, len, -1, false);
}

ssize_t unr_sim_write(int fd, const void *buf, size_t len)
{
    return sim_write(file_of(fd), buf, len, -1);
}

int unr_sim_shutdown(int fd, int how)
{
    struct sim_file *file = file_of(fd);
    if (file->kind != SIM_SOCKET || !file->connected)
        return -ENOTCONN;
    if (how != SHUT_WR)
        file->shut_read = true;
    if (how != SHUT_RD) {
        file->shut_write = true;
        if (file->peer)
            file->peer->end_of_input = true;
    }
    wake_all(file);
    if (file->peer)
        wake_all(file->peer);
    return 0;
}

int unr_sim_close(int fd)
{
    sim_kernel_check_close(fd);
    return sim_fd_close(fd);
}

void unr_sim_linger(int fd)
{
    file_of(fd)->lingers = true;
}

int unr_sim_connect(uint16_t port)
{
    struct sim_file *listener = sim_listener_at(port), *file = sim_socket_new(0);
    if (!listener)
        return -ECONNREFUSED;
    file->connecting_to = listener;
    int error = sim_handshake(file);
    return error < 0 ? error : opened(file);
}

int unr_sim_accept(int fd)
{
    struct sim_file *listener = file_of(fd);
    if (listener->kind != SIM_LISTENER)
        return -EINVAL;
    if (!listener->waiting_count)
        return -EAGAIN;
    struct sim_file *file = listener->waiting[0];
    memmove(listener->waiting, listener->waiting + 1,
            --listener->waiting_count * sizeof *listener->waiting);
    int accepted = opened(file);
    sim_file_release(file); /* the backlog's reference */
    return accepted;
}

pid_t unr_sim_child(void)
{
    if (sim_world.children_count == SIM_CHILDREN)
        unri_sim_fail("the scenario has more children than the simulation");
    struct sim_child *child = &sim_world.children[sim_world.children_count++];
    child->pid = 1000 + (pid_t)sim_world.children_count;
    return child->pid;
}

void unr_sim_child_exit(pid_t pid, int status)
{
    for (unsigned i = 0; i < sim_world.children_count; i++)
        if (sim_world.children[i].pid == pid) {
            sim_world.children[i].exited = true;
            sim_world.children[i].status = status;
        }
}
