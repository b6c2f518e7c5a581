/* SPDX-License-Identifier: MIT */
/* The system calls: what one attempt of each does to the world, whether another attempt would get
 * further, and which memory the call is lent meanwhile.  When an attempt is made is kernel.c's to
 * choose; world.c has the descriptors and what is behind them. */
#include "sim.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "../../uring/lent.h"
#include "../../uring/newer.h"

/* ---- which memory a request reads or writes ---- */

struct pieces {
    struct iovec        one;
    const struct iovec *iov;
    size_t              count;
};

static void *address(const struct sim_request *request)
{
    return (void *)(uintptr_t)request->sqe.addr;
}

static struct pieces pieces_of(const struct sim_request *request)
{
    struct pieces        pieces = { 0 };
    const struct msghdr *msg = address(request);
    switch (request->sqe.opcode) {
    case IORING_OP_READV:
    case IORING_OP_WRITEV:
        pieces.iov = address(request);
        pieces.count = request->sqe.len;
        break;
    case IORING_OP_RECVMSG:
    case IORING_OP_SENDMSG:
    case IORING_OP_SENDMSG_ZC:
        pieces.iov = msg->msg_iov;
        pieces.count = (size_t)msg->msg_iovlen;
        break;
    default:
        pieces.one = (struct iovec){ address(request), request->sqe.len };
        pieces.count = 1;
        break;
    }
    return pieces;
}

static const struct iovec *piece(const struct pieces *pieces, size_t i)
{
    return pieces->iov ? &pieces->iov[i] : &pieces->one;
}

static size_t total(const struct pieces *pieces)
{
    size_t sum = 0;
    for (size_t i = 0; i < pieces->count; i++)
        sum += piece(pieces, i)->iov_len;
    return sum;
}

/* Copies a flat buffer into the pieces, from their byte `skip` on; gather() does the reverse. */
static void scatter(const struct pieces *pieces, size_t skip, const void *from, size_t len)
{
    const unsigned char *bytes = from;
    for (size_t i = 0; i < pieces->count && len; i++) {
        const struct iovec *v = piece(pieces, i);
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        size_t n = v->iov_len - skip < len ? v->iov_len - skip : len;
        memcpy((unsigned char *)v->iov_base + skip, bytes, n);
        bytes += n;
        len -= n;
        skip = 0;
    }
}

static void gather(const struct pieces *pieces, void *to, size_t len)
{
    unsigned char *bytes = to;
    for (size_t i = 0; i < pieces->count && len; i++) {
        const struct iovec *v = piece(pieces, i);
        size_t              n = v->iov_len < len ? v->iov_len : len;
        memcpy(bytes, v->iov_base, n);
        bytes += n;
        len -= n;
    }
}

static bool reads_into(unsigned opcode)
{
    return opcode == IORING_OP_READ || opcode == IORING_OP_READV || opcode == IORING_OP_RECV
           || opcode == IORING_OP_RECVMSG || opcode == UNRI_OP_READ_MULTISHOT;
}

static bool writes_from(unsigned opcode)
{
    return opcode == IORING_OP_WRITE || opcode == IORING_OP_WRITEV || opcode == IORING_OP_SEND
           || opcode == IORING_OP_SENDMSG || opcode == IORING_OP_SEND_ZC
           || opcode == IORING_OP_SENDMSG_ZC;
}

static bool is_message(unsigned opcode)
{
    return opcode == IORING_OP_RECV || opcode == IORING_OP_RECVMSG || opcode == IORING_OP_SEND
           || opcode == IORING_OP_SENDMSG || opcode == IORING_OP_SEND_ZC
           || opcode == IORING_OP_SENDMSG_ZC;
}

bool sim_call_polls_then_works(const struct sim_request *request)
{
    const struct sim_file *file = request->file;
    unsigned               opcode = request->sqe.opcode;
    return sim_kernel_is_before(605) && file
           && (file->kind == SIM_PIPE_READER || file->kind == SIM_PIPE_WRITER)
           && (reads_into(opcode) || writes_from(opcode));
}

/* ---- calls with more than one CQE, and into provided buffers ---- */

bool sim_call_is_multishot(const struct sim_request *request)
{
    const struct io_uring_sqe *sqe = &request->sqe;
    switch (sqe->opcode) {
    case UNRI_OP_READ_MULTISHOT: return true;
    case IORING_OP_POLL_ADD: return sqe->len & IORING_POLL_ADD_MULTI;
    case IORING_OP_ACCEPT: return sqe->ioprio & IORING_ACCEPT_MULTISHOT;
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG: return sqe->ioprio & IORING_RECV_MULTISHOT;
    default: return false;
    }
}

bool sim_call_takes_provided(const struct sim_request *request)
{
    return request->sqe.flags & IOSQE_BUFFER_SELECT && reads_into(request->sqe.opcode);
}

static bool is_multishot_message(const struct sim_request *request)
{
    return request->sqe.opcode == IORING_OP_RECVMSG && sim_call_is_multishot(request);
}

static bool is_bundle(const struct sim_request *request)
{
    return request->sqe.opcode == IORING_OP_RECV && request->sqe.ioprio & UNRI_RECVSEND_BUNDLE;
}

/* A stream tells how much it has left: unix sockets do since 6.17. */
bool sim_call_looks_again(const struct sim_request *request)
{
    if (!is_message(request->sqe.opcode) || !sim_call_takes_provided(request))
        return false;
    return request->file->kind == SIM_DATAGRAMS || request->sqe.opcode == IORING_OP_RECVMSG
           || (sim_kernel_is_before(617) && unri_choose(2));
}

static bool knows_what_is_left(const struct sim_request *request)
{
    return request->file->kind == SIM_SOCKET && request->sqe.opcode == IORING_OP_RECV
           && !sim_kernel_is_before(617);
}

bool sim_call_leaves_bytes(const struct sim_request *request)
{
    return knows_what_is_left(request) && request->file->incoming->count;
}

bool sim_call_may_miss_end(const struct sim_request *request)
{
    return knows_what_is_left(request) && !request->file->incoming->count
           && sim_poll(request->file) & (POLLRDHUP | POLLHUP);
}

int sim_call_refused(const struct sim_request *request)
{
    const struct io_uring_sqe *sqe = &request->sqe;
    bool                       provided = sim_call_takes_provided(request);
    bool                       multishot = sim_call_is_multishot(request);
    if (sqe->opcode == UNRI_OP_READ_MULTISHOT)
        return !provided || sqe->addr || sqe->len ? -EINVAL : 0;
    if (sqe->opcode != IORING_OP_RECV && sqe->opcode != IORING_OP_RECVMSG)
        return 0;
    bool limited = sqe->splice_fd_in; /* the same field as sqe->optlen */
    if (multishot && (!provided || sqe->msg_flags & MSG_WAITALL))
        return -EINVAL;
    if (limited && (!multishot || sqe->opcode == IORING_OP_RECVMSG || sim_kernel_is_before(617)))
        return -EINVAL;
    if (multishot && sqe->opcode == IORING_OP_RECV && sqe->len && sim_kernel_is_before(617))
        return -EINVAL;
    if (sqe->ioprio & UNRI_RECVSEND_BUNDLE
        && (sqe->opcode == IORING_OP_RECVMSG || !provided || sim_kernel_is_before(610)))
        return -EINVAL;
    if (provided && sqe->msg_flags & MSG_WAITALL)
        unri_sim_fail("the simulation has no MSG_WAITALL into provided buffers");
    return 0;
}

/* The kernel goes on after a part, also into the next record; but not with a datagram. */
static bool waits_for_all(const struct sim_request *request)
{
    if (writes_from(request->sqe.opcode) && sim_call_polls_then_works(request))
        return true;
    return is_message(request->sqe.opcode) && request->sqe.msg_flags & MSG_WAITALL
           && (request->file->kind != SIM_DATAGRAMS || request->file->records);
}

static void *second_address(const struct sim_request *request)
{
    return (void *)(uintptr_t)request->sqe.off;
}

static void count_lent(void *context, void *at, size_t len, enum unri_use use)
{
    size_t *count = context;
    (void)at, (void)len, (void)use;
    ++*count;
}

static void take_lent(void *context, void *at, size_t len, enum unri_use use)
{
    struct sim_request *request = context;
    request->lent[request->lent_count++] = (struct sim_lent){ .at = at, .len = len, .use = use };
}

static void keep_sent(struct sim_request *request)
{
    struct pieces pieces = pieces_of(request);
    request->sent_len = total(&pieces);
    request->sent = sim_alloc(request->sent_len + 1);
    gather(&pieces, request->sent, request->sent_len);
}

/* The kernel has a copy of the message that says how a multishot receive lays out what it gets, and
 * of the limit. */
static void keep_layout(struct sim_request *request)
{
    const struct msghdr *msg = address(request);
    if (is_multishot_message(request))
        request->head_len = (uint32_t)(sizeof(struct io_uring_recvmsg_out) + msg->msg_namelen
                                       + msg->msg_controllen);
    else if (request->sqe.opcode == IORING_OP_RECV && sim_call_is_multishot(request))
        request->limit_left = (uint32_t)request->sqe.splice_fd_in;
}

void sim_call_lend(struct sim_request *request)
{
    size_t count = 0;
    unri_lent_by_sqe(&request->sqe, count_lent, &count);
    request->lent = sim_alloc(count * sizeof *request->lent);
    unri_lent_by_sqe(&request->sqe, take_lent, request);
    if (sim_call_takes_provided(request))
        keep_layout(request);
    if (writes_from(request->sqe.opcode))
        keep_sent(request);
}

/* Writes garbage into the memory that the kernel is to write: a program that looks before the last
 * CQE is to find that out. */
void sim_call_scribble(struct sim_request *request)
{
    for (size_t i = 0; i < request->lent_count; i++) {
        struct sim_lent *lent = &request->lent[i];
        if (lent->use == UNRI_READS)
            continue;
        if (lent->use == UNRI_SETS)
            lent->before = memcpy(sim_alloc(lent->len), lent->at, lent->len);
        if (lent->use != UNRI_ADJUSTS)
            memset(lent->at, 0xa5, lent->len);
        lent->expected = memcpy(sim_alloc(lent->len), lent->at, lent->len);
    }
}

static bool overlap(const struct sim_lent *a, const struct sim_lent *b)
{
    return a->at < b->at + b->len && b->at < a->at + a->len;
}

/* Fails the schedule if two requests in flight are lent the same memory, unless the kernel only
 * reads it. */
void sim_call_check_apart(const struct sim_request *request, const struct sim_request *other)
{
    for (size_t i = 0; i < request->lent_count; i++)
        for (size_t j = 0; j < other->lent_count; j++) {
            const struct sim_lent *a = &request->lent[i], *b = &other->lent[j];
            if ((a->use != UNRI_READS || b->use != UNRI_READS) && overlap(a, b))
                unri_sim_fail(
                    "memory that is lent to %s is lent to %s, too, and the kernel writes it",
                    sim_request_name(other), sim_request_name(request));
        }
}

/* The real kernel reads the memory of a send as late as it likes, so nobody may change it before
 * the last CQE. */
static void check_sent(const struct sim_request *request)
{
    struct pieces  pieces = pieces_of(request);
    unsigned char *now = sim_alloc(request->sent_len + 1);
    if (total(&pieces) != request->sent_len)
        unri_sim_fail(
            "what describes the memory of a send was changed while it was lent to the kernel");
    gather(&pieces, now, request->sent_len);
    if (memcmp(now, request->sent, request->sent_len) != 0)
        unri_sim_fail("a buffer was changed while it was lent to the kernel to be sent");
}

/* Fails the schedule if the program has freed or changed memory that a request is lent.  Only the
 * kernel changes what it is to write, and `expected` is what it has left there. */
void sim_call_check_lent(const struct sim_request *request)
{
    for (const struct sim_lent *lent = request->lent; lent < request->lent + request->lent_count;
         lent++) {
        if (sim_is_freed(lent->at, lent->len))
            unri_sim_fail("memory was freed while it was lent to %s", sim_request_name(request));
        if (lent->expected && memcmp(lent->at, lent->expected, lent->len) != 0)
            unri_sim_fail("memory was written or freed while it was lent to %s",
                          sim_request_name(request));
    }
    if (request->sent)
        check_sent(request);
}

/* Takes note of what the kernel itself has written. */
static void expect_as_is(struct sim_request *request)
{
    for (size_t i = 0; i < request->lent_count; i++)
        if (request->lent[i].expected)
            memcpy(request->lent[i].expected, request->lent[i].at, request->lent[i].len);
}

void sim_call_give_back(struct sim_request *request, int res)
{
    sim_call_check_lent(request);
    for (size_t i = 0; i < request->lent_count; i++) {
        const struct sim_lent *lent = &request->lent[i];
        if (lent->use == UNRI_SETS && res < 0)
            memcpy(lent->at, lent->before, lent->len);
    }
}

/* ---- transfers ---- */

/* All that is possible, or about half of it, where transfers may be short: a choice. */
static size_t how_much(size_t possible, bool short_too)
{
    return possible > 1 && short_too && unri_choose(2) ? (possible + 1) / 2 : possible;
}

static bool faults_transfer;

/* Whether the real kernel may move a part only.  With a file it was never seen to, and the value of
 * a counter has no parts. */
static bool may_be_short(const struct sim_file *file)
{
    return faults_transfer && file->kind != SIM_EVENTFD && file->kind != SIM_SIGNALFD
           && file->kind != SIM_REGULAR && file->kind != SIM_DATAGRAMS;
}

void sim_calls_configure(bool short_transfers)
{
    faults_transfer = short_transfers;
}

static int read_step(struct sim_request *request)
{
    struct pieces pieces = pieces_of(request);
    size_t        want = total(&pieces) - request->moved;
    unsigned char buf[4096];
    bool          peek = is_message(request->sqe.opcode) && request->sqe.msg_flags & MSG_PEEK;
    int64_t       offset = is_message(request->sqe.opcode) ? -1 : (int64_t)request->sqe.off;
    if (want > sizeof buf)
        want = sizeof buf;
    want = how_much(want, may_be_short(request->file));
    ssize_t n = sim_read(request->file, buf, want, offset, peek);
    if (n > 0)
        scatter(&pieces, request->moved, buf, (size_t)n);
    return n == -EAGAIN ? SIM_WAIT : (int)n;
}

/* ---- transfers into provided buffers ---- */

/* How many bytes an attempt may receive; 0: as many as the buffer has room for. */
static size_t most_of(const struct sim_request *request)
{
    const struct msghdr *msg = address(request);
    size_t               most = request->sqe.len;
    if (request->sqe.opcode == IORING_OP_RECVMSG)
        most = is_multishot_message(request) || !msg->msg_iovlen ? 0 : msg->msg_iov->iov_len;
    if (is_bundle(request) && request->limit_left && (!most || request->limit_left < most))
        most = request->limit_left;
    return most;
}

/* A bundle takes what is there into as many buffers as that needs, or by choice into the first
 * alone. */
static void choose_pieces(struct sim_request *request, struct sim_chosen *chosen, size_t len)
{
    size_t   room = 0;
    unsigned needed = 0;
    while (needed < chosen->count && room < len)
        room += chosen->pieces[needed++].iov_len;
    if (needed == 0)
        needed = 1;
    if (needed > 1 && unri_choose(2))
        needed = 1;
    /* One that looks as far as the end of the ring is the last.  How far it looks depends on what
     * the kernel knows of the bytes that wait. */
    request->is_last = chosen->reaches_the_end && needed == chosen->count && !unri_choose(2);
    chosen->count = needed;
}

static size_t bytes_waiting(struct sim_request *request)
{
    unsigned char bytes[4096];
    ssize_t       n = sim_read(request->file, bytes, sizeof bytes, -1, true);
    return n > 0 ? (size_t)n : 0;
}

static void count_towards_limit(struct sim_request *request, size_t len)
{
    if (!request->limit_left)
        return;
    request->limit_left -= len < request->limit_left ? (uint32_t)len : request->limit_left;
    request->is_last |= !request->limit_left;
}

/* What stands before the payload of a multishot message.  Nobody here has a name or sends control
 * data. */
static void write_head(const struct iovec *buffer, size_t len, bool truncated)
{
    struct io_uring_recvmsg_out head = { .payloadlen = (uint32_t)len,
                                         .flags = truncated ? MSG_TRUNC : 0 };
    memcpy(buffer->iov_base, &head, sizeof head);
}

/* One attempt of a read or receive into buffers that the kernel chooses.  It chooses before it
 * looks for data, so a ring without buffers hides the data and the end. */
static int provided_step(struct sim_request *request)
{
    struct sim_chosen chosen;
    unsigned char     buf[4096];
    bool              bundle = is_bundle(request);
    int error = sim_buffers_choose(request, most_of(request), bundle ? SIM_CHOSEN_MAX : 1, &chosen);
    request->is_last = false;
    if (error < 0) {
        if (sim_kernel_is_before(612)) /* 6.1 tells of a buffer that is none */
            request->cqe_flags = IORING_CQE_F_BUFFER;
        return error;
    }
    if (chosen.pieces[0].iov_len < request->head_len)
        return -EFAULT;
    if (request->sqe.opcode == UNRI_OP_READ_MULTISHOT && request->file->kind == SIM_REGULAR)
        return -EBADFD;
    if (bundle)
        choose_pieces(request, &chosen, bytes_waiting(request));
    const struct pieces pieces = { .iov = chosen.pieces, .count = chosen.count };
    size_t              want = total(&pieces) - request->head_len;
    want = how_much(want < sizeof buf ? want : sizeof buf, may_be_short(request->file));
    bool    datagram = request->file->kind == SIM_DATAGRAMS && request->file->datagrams;
    bool    truncated = datagram && request->file->lengths[0] > want;
    int64_t offset = is_message(request->sqe.opcode) ? -1 : (int64_t)request->sqe.off;
    ssize_t n = sim_read(request->file, buf, want, offset, false);
    if (n < 0)
        return n == -EAGAIN ? SIM_WAIT : (int)n;
    scatter(&pieces, request->head_len, buf, (size_t)n);
    if (request->head_len) {
        /* The end of a stream, and a datagram of nothing, are messages, too: the last. */
        write_head(chosen.pieces, (size_t)n, truncated);
        request->is_last = n == 0;
        n += request->head_len;
    }
    count_towards_limit(request, (size_t)n);
    if (n > 0 || request->sqe.opcode == IORING_OP_READ)
        request->cqe_flags = sim_buffers_commit(&chosen, (size_t)n);
    return (int)n;
}

static int write_step(struct sim_request *request)
{
    size_t  want = request->sent_len - request->moved;
    int64_t offset = is_message(request->sqe.opcode) ? -1 : (int64_t)request->sqe.off;
    if (request->taken)
        want = 0;
    want = how_much(want, may_be_short(request->file));
    ssize_t n =
        sim_write(request->file, (unsigned char *)request->sent + request->moved, want, offset);
    if (n != -EAGAIN)
        return (int)n;
    /* send(2) and sendmsg(2) of a datagram take the bytes before they look for room, and io_uring
     * does not give them back: the next attempt sends an empty datagram.  A write's it gives back.
     */
    request->taken |= request->file->kind == SIM_DATAGRAMS && is_message(request->sqe.opcode);
    return SIM_WAIT;
}

ssize_t sim_call_send(struct sim_file *file, const struct iovec *iov, size_t count)
{
    const struct pieces pieces = { .iov = iov, .count = count };
    size_t              want = total(&pieces);
    void               *bytes = sim_alloc(want + 1);
    gather(&pieces, bytes, want);
    return sim_write(file, bytes, how_much(want, may_be_short(file)), -1);
}

/* One attempt of a read or write.  With MSG_WAITALL, and to a pipe in a worker, it goes on after a
 * part until all is moved, the stream ends, or an error comes; an error that comes behind a part is
 * left to the next call. */
static int transfer(struct sim_request *request)
{
    bool   read = reads_into(request->sqe.opcode);
    size_t asked = request->sent_len;
    if (sim_call_takes_provided(request))
        return provided_step(request);
    if (read) {
        struct pieces pieces = pieces_of(request);
        asked = total(&pieces);
    }
    int n = read ? read_step(request) : write_step(request);
    if (n == SIM_WAIT || !waits_for_all(request))
        return n;
    if (n > 0)
        request->moved += (uint32_t)n;
    if (n <= 0)
        return request->moved ? (int)request->moved : n;
    if (request->moved < asked)
        return SIM_WAIT;
    return (int)request->moved;
}

static int do_splice(struct sim_request *request, bool tee)
{
    unsigned char buf[4096];
    size_t        want = request->sqe.len < sizeof buf ? request->sqe.len : sizeof buf;
    if (!(sim_poll(request->file) & (POLLOUT | POLLERR)))
        return SIM_WAIT;
    ssize_t n = sim_read(request->other, buf, how_much(want, faults_transfer),
                         (int64_t)request->sqe.splice_off_in, true);
    if (n <= 0)
        return n == -EAGAIN ? SIM_WAIT : (int)n;
    ssize_t written = sim_write(request->file, buf, (size_t)n, (int64_t)request->sqe.off);
    if (written > 0 && !tee)
        sim_read(request->other, buf, (size_t)written, (int64_t)request->sqe.splice_off_in, false);
    return written == -EAGAIN ? SIM_WAIT : (int)written;
}

/* ---- sockets ---- */

static int new_fd(struct sim_file *file)
{
    int fd = sim_fd_open(file);
    return fd;
}

/* Where a connection comes from: a port that the simulation makes up, for its sockets have none. */
static void set_peer_address(const struct sim_request *request)
{
    struct sockaddr_in from = { .sin_family = AF_INET,
                                .sin_port = htons(40000),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t         *len = second_address(request);
    if (!address(request) || !len)
        return;
    memcpy(address(request), &from, *len < sizeof from ? *len : sizeof from);
    *len = sizeof from;
}

static int do_accept(struct sim_request *request)
{
    struct sim_file *listener = request->file;
    if (listener->kind != SIM_LISTENER)
        return -EINVAL;
    int shortage = sim_kernel_shortage(); /* the real kernel takes a number before it looks */
    if (shortage)
        return shortage;
    if (!listener->waiting_count)
        return SIM_WAIT;
    struct sim_file *file = listener->waiting[0];
    int              fd = new_fd(file);
    if (fd < 0)
        return fd;
    memmove(listener->waiting, listener->waiting + 1,
            --listener->waiting_count * sizeof *listener->waiting);
    sim_file_release(file);
    set_peer_address(request);
    return fd;
}

static int do_connect(struct sim_request *request)
{
    struct sim_file          *file = request->file;
    const struct sockaddr_in *to = address(request);
    if (file->kind != SIM_SOCKET)
        return -ENOTSOCK;
    if (to->sin_family == AF_UNSPEC) {
        sim_disconnect(file);
        return 0;
    }
    if (file->connected)
        return -EISCONN;
    if (request->moved == 0) { /* the first attempt */
        if (file->connecting_to)
            return -EALREADY;
        file->connecting_to = sim_listener_at(ntohs(to->sin_port));
        if (!file->connecting_to)
            return -ECONNREFUSED;
        request->moved = 1;
        if (unri_choose(2))
            return SIM_WAIT; /* the handshake takes its time */
    }
    if (!file->connecting_to)
        return file->connected ? 0 : -ECONNREFUSED;
    int error = sim_handshake(file);
    return error == -EAGAIN ? SIM_WAIT : error;
}

static int do_bind(struct sim_request *request)
{
    const struct sockaddr_in *to = address(request);
    if (request->file->kind != SIM_SOCKET)
        return -ENOTSOCK;
    if (sim_listener_at(ntohs(to->sin_port)))
        return -EADDRINUSE;
    request->file->port = ntohs(to->sin_port);
    return 0;
}

static int do_shutdown(struct sim_request *request)
{
    for (int fd = 0; fd < SIM_FDS; fd++)
        if (sim_world.fds[fd] == request->file)
            return unr_sim_shutdown(fd, (int)request->sqe.len);
    return -ENOTCONN;
}

static int do_socket(void)
{
    int shortage = sim_kernel_shortage();
    return shortage ? shortage : new_fd(sim_socket_new(0));
}

static int do_pipe(struct sim_request *request)
{
    int shortage = sim_kernel_shortage();
    if (shortage)
        return shortage;
    struct sim_pipe *pipe = sim_pipe_new(0);
    struct sim_file *reader = sim_file_new(SIM_PIPE_READER),
                    *writer = sim_file_new(SIM_PIPE_WRITER);
    int *fds = address(request), made[] = { new_fd(reader), new_fd(writer) };
    reader->pipe = writer->pipe = pipe;
    if (made[1] < 0) {
        sim_fd_close(made[0]);
        return -EMFILE;
    }
    memcpy(fds, made, sizeof made);
    return 0;
}

/* ---- closing ---- */

bool sim_close_waits(const struct sim_file *file)
{
    return file->lingers || (file->kind == SIM_REGULAR && file->inode->links == 0);
}

static void release_later(void *file)
{
    sim_file_release(file);
}

/* A worker gives the file up only behind the CQE of its close: a while later, by choice. */
static int do_close(struct sim_request *request)
{
    struct sim_file *file = sim_file_of(request->sqe.fd);
    if (!file)
        return -EBADF;
    if (request->sqe.flags & IOSQE_ASYNC) {
        sim_file_hold(file);
        unr_sim_later(release_later, file);
    } else if (file->references == 1 && sim_close_waits(file) && !file->may_wait) {
        unri_sim_fail("the loop waits while descriptor %d is closed", request->sqe.fd);
    }
    return sim_fd_close(request->sqe.fd);
}

/* ---- names ---- */

static struct sim_name *name_at(const char *path)
{
    for (unsigned i = 0; i < SIM_NAMES; i++)
        if (sim_world.names[i].used && strcmp(sim_world.names[i].path, path) == 0)
            return &sim_world.names[i];
    return NULL;
}

static struct sim_name *new_name(const char *path, struct sim_inode *inode)
{
    for (unsigned i = 0; i < SIM_NAMES; i++) {
        struct sim_name *name = &sim_world.names[i];
        if (name->used)
            continue;
        *name = (struct sim_name){ .inode = inode, .used = true, .directory = !inode };
        strncpy(name->path, path, sizeof name->path - 1);
        if (inode)
            inode->links++;
        return name;
    }
    return NULL;
}

static int do_openat(struct sim_request *request)
{
    const char      *path = address(request);
    int              flags = (int)request->sqe.open_flags, shortage = sim_kernel_shortage();
    struct sim_name *name = name_at(path);
    if (shortage)
        return shortage;
    if (name && flags & O_CREAT && flags & O_EXCL)
        return -EEXIST;
    if (!name && !(flags & O_CREAT))
        return -ENOENT;
    if (!name)
        name = new_name(path, sim_alloc(sizeof(struct sim_inode)));
    if (!name)
        return -ENOSPC;
    if (name->directory && (flags & O_ACCMODE) != O_RDONLY)
        return -EISDIR;
    struct sim_file *file = sim_file_new(SIM_REGULAR);
    file->inode = name->inode ? name->inode : sim_alloc(sizeof *file->inode);
    if (flags & O_TRUNC)
        file->inode->len = 0;
    return new_fd(file);
}

static int do_statx(struct sim_request *request)
{
    struct statx    *stat = (struct statx *)(uintptr_t)request->sqe.off;
    struct sim_name *name = name_at(address(request));
    if (!name)
        return -ENOENT;
    memset(stat, 0, sizeof *stat);
    stat->stx_mask = request->sqe.len;
    stat->stx_mode = name->directory ? S_IFDIR : S_IFREG;
    stat->stx_size = name->inode ? name->inode->len : 0;
    stat->stx_nlink = name->inode ? name->inode->links : 2;
    return 0;
}

static int do_unlinkat(struct sim_request *request)
{
    struct sim_name *name = name_at(address(request));
    if (!name)
        return -ENOENT;
    if (name->directory != !!(request->sqe.unlink_flags & AT_REMOVEDIR))
        return name->directory ? -EISDIR : -ENOTDIR;
    if (name->inode)
        name->inode->links--;
    name->used = false;
    return 0;
}

static int do_renameat(struct sim_request *request)
{
    struct sim_name *name = name_at(address(request));
    const char      *to = (const char *)(uintptr_t)request->sqe.off;
    if (!name)
        return -ENOENT;
    struct sim_name *old = name_at(to);
    if (old && old != name)
        old->used = false;
    memset(name->path, 0, sizeof name->path);
    strncpy(name->path, to, sizeof name->path - 1);
    return 0;
}

static int do_linkat(struct sim_request *request, bool symbolic)
{
    struct sim_name *name = name_at(address(request));
    const char      *to = (const char *)(uintptr_t)request->sqe.off;
    if (name_at(to))
        return -EEXIST;
    if (!symbolic && (!name || !name->inode))
        return -ENOENT;
    return new_name(to, symbolic ? sim_alloc(sizeof(struct sim_inode)) : name->inode) ? 0 : -ENOSPC;
}

static int do_mkdirat(struct sim_request *request)
{
    if (name_at(address(request)))
        return -EEXIST;
    return new_name(address(request), NULL) ? 0 : -ENOSPC;
}

static int do_truncate(struct sim_request *request, size_t len)
{
    struct sim_inode *inode = request->file->inode;
    static const char zero;
    if (request->file->kind != SIM_REGULAR)
        return -EINVAL;
    if (len > inode->len)
        sim_write(request->file, &zero, 1, (int64_t)len - 1);
    inode->len = len;
    return 0;
}

/* ---- extended attributes: a file has one ---- */

static int set_attribute(struct sim_inode *inode, const struct sim_request *request)
{
    const char *name = address(request);
    if (!inode || strlen(name) >= sizeof inode->attribute
        || request->sqe.len > sizeof inode->attribute_value)
        return -ENOSPC;
    bool there = strcmp(inode->attribute, name) == 0;
    if (there && request->sqe.xattr_flags & XATTR_CREATE)
        return -EEXIST;
    if (!there && request->sqe.xattr_flags & XATTR_REPLACE)
        return -ENODATA;
    strcpy(inode->attribute, name);
    inode->attribute_len = request->sqe.len;
    memcpy(inode->attribute_value, (const void *)(uintptr_t)request->sqe.off, request->sqe.len);
    return 0;
}

static int get_attribute(const struct sim_inode *inode, const struct sim_request *request)
{
    if (!inode || strcmp(inode->attribute, address(request)) != 0)
        return -ENODATA;
    if (!request->sqe.len)
        return (int)inode->attribute_len;
    if (request->sqe.len < inode->attribute_len)
        return -ERANGE;
    memcpy((void *)(uintptr_t)request->sqe.off, inode->attribute_value, inode->attribute_len);
    return (int)inode->attribute_len;
}

static int attribute_of_path(const struct sim_request *request)
{
    struct sim_name *name = name_at((const char *)(uintptr_t)request->sqe.addr3);
    if (!name)
        return -ENOENT;
    return request->sqe.opcode == IORING_OP_SETXATTR ? set_attribute(name->inode, request)
                                                     : get_attribute(name->inode, request);
}

static int attribute_of_file(const struct sim_request *request)
{
    struct sim_inode *inode = request->file->kind == SIM_REGULAR ? request->file->inode : NULL;
    return request->sqe.opcode == IORING_OP_FSETXATTR ? set_attribute(inode, request)
                                                      : get_attribute(inode, request);
}

/* ---- epoll: an instance watches one descriptor ---- */

static int do_epoll_wait(struct sim_request *request)
{
    struct epoll_event *event = address(request);
    if (request->file->kind != SIM_EPOLL || !request->sqe.len)
        return -EINVAL;
    unsigned events = sim_poll(request->file->watched) & request->file->events;
    if (!events)
        return SIM_WAIT;
    *event = (struct epoll_event){ .events = events };
    return 1;
}

/* ---- processes and futexes ---- */

static int do_waitid(struct sim_request *request)
{
    siginfo_t *info = (siginfo_t *)(uintptr_t)request->sqe.off;
    bool       found = false;
    for (unsigned i = 0; i < sim_world.children_count; i++) {
        struct sim_child *child = &sim_world.children[i];
        if (child->reaped || (request->sqe.len == P_PID && child->pid != request->sqe.fd))
            continue;
        found = true;
        if (sim_child_reap(child, info))
            return 0;
    }
    return found ? SIM_WAIT : -ECHILD;
}

/* Whether a child process has ended, or there is none to wait for. */
static bool waitid_ready(const struct sim_request *request)
{
    bool found = false;
    for (unsigned i = 0; i < sim_world.children_count; i++) {
        const struct sim_child *child = &sim_world.children[i];
        if (child->reaped || (request->sqe.len == P_PID && child->pid != request->sqe.fd))
            continue;
        found = true;
        if (child->exited)
            return true;
    }
    return !found;
}

static int do_futex_wait(struct sim_request *request)
{
    if (request->futex_wakes)
        return 0;
    if (request->moved) /* it waits already: only a wake ends it */
        return SIM_WAIT;
    if (*(const uint32_t *)address(request) != (uint32_t)request->sqe.off)
        return -EAGAIN;
    request->moved = 1;
    return SIM_WAIT;
}

static int do_futex_wake(struct sim_request *request)
{
    int woken = 0;
    for (uint64_t left = request->sqe.off; left; left--) {
        struct sim_request *waiter = sim_futex_waiter(request->sqe.addr, request->sqe.addr3);
        if (!waiter)
            break;
        waiter->futex_wakes++;
        woken++;
    }
    return woken;
}

/* ---- all of them ---- */

static int poll_now(struct sim_request *request)
{
    unsigned events = sim_poll(request->file) & (request->sqe.poll32_events | POLLERR | POLLHUP);
    return events ? (int)events : SIM_WAIT;
}

/* A reset sets the error first and the shutdown last, and a poll may look between them. */
static int do_poll(struct sim_request *request)
{
    int      events = poll_now(request);
    bool     first = events != SIM_WAIT && events & POLLERR && !request->error_told;
    unsigned parts = first && events & POLLRDHUP ? 3 : 2;
    unsigned part = first ? unri_choose(parts) : 0;
    request->error_told |= first;
    request->told_a_part = part != 0;
    return part == 0 ? events : part == 1 ? POLLERR : events & ~POLLRDHUP;
}

/* The calls of execute(), and those that kernel.c has itself: a time-out and a cancel. */
bool sim_call_is_known(unsigned opcode)
{
    switch (opcode) {
    case IORING_OP_NOP:
    case IORING_OP_READ:
    case IORING_OP_READV:
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
    case UNRI_OP_READ_MULTISHOT:
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV:
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
    case IORING_OP_SEND_ZC:
    case IORING_OP_SENDMSG_ZC:
    case IORING_OP_SPLICE:
    case IORING_OP_TEE:
    case IORING_OP_ACCEPT:
    case IORING_OP_CONNECT:
    case IORING_OP_POLL_ADD:
    case IORING_OP_SHUTDOWN:
    case IORING_OP_CLOSE:
    case IORING_OP_SOCKET:
    case UNRI_OP_BIND:
    case UNRI_OP_LISTEN:
    case UNRI_OP_PIPE:
    case IORING_OP_OPENAT:
    case IORING_OP_STATX:
    case IORING_OP_UNLINKAT:
    case IORING_OP_RENAMEAT:
    case IORING_OP_LINKAT:
    case IORING_OP_SYMLINKAT:
    case IORING_OP_MKDIRAT:
    case IORING_OP_SETXATTR:
    case IORING_OP_GETXATTR:
    case IORING_OP_FSETXATTR:
    case IORING_OP_FGETXATTR:
    case UNRI_OP_EPOLL_WAIT:
    case UNRI_OP_FTRUNCATE:
    case IORING_OP_FALLOCATE:
    case IORING_OP_FSYNC:
    case IORING_OP_FADVISE:
    case IORING_OP_SYNC_FILE_RANGE:
    case UNRI_OP_WAITID:
    case UNRI_OP_FUTEX_WAIT:
    case UNRI_OP_FUTEX_WAKE:
    case IORING_OP_TIMEOUT:
    case IORING_OP_ASYNC_CANCEL: return true;
    default: return false;
    }
}

static int do_fallocate(struct sim_request *request, uint64_t len)
{
    if (request->file->kind != SIM_REGULAR)
        return -ENODEV;
    uint64_t end = request->sqe.off + len;
    return request->file->inode->len < end ? do_truncate(request, (size_t)end) : 0;
}

static int execute(struct sim_request *request)
{
    switch (request->sqe.opcode) {
    case IORING_OP_NOP: return 0;
    case IORING_OP_READ:
    case IORING_OP_READV:
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
    case UNRI_OP_READ_MULTISHOT:
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV:
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
    case IORING_OP_SEND_ZC:
    case IORING_OP_SENDMSG_ZC: return transfer(request);
    case IORING_OP_SPLICE: return do_splice(request, false);
    case IORING_OP_TEE: return do_splice(request, true);
    case IORING_OP_ACCEPT: return do_accept(request);
    case IORING_OP_CONNECT: return do_connect(request);
    case IORING_OP_POLL_ADD: return do_poll(request);
    case IORING_OP_SHUTDOWN: return do_shutdown(request);
    case IORING_OP_CLOSE: return do_close(request);
    case IORING_OP_SOCKET: return do_socket();
    case UNRI_OP_BIND: return do_bind(request);
    case UNRI_OP_LISTEN:
        return request->file->kind == SIM_SOCKET ? sim_listen(request->file, (int)request->sqe.len)
                                                 : -ENOTSOCK;
    case UNRI_OP_PIPE: return do_pipe(request);
    case IORING_OP_OPENAT: return do_openat(request);
    case IORING_OP_STATX: return do_statx(request);
    case IORING_OP_UNLINKAT: return do_unlinkat(request);
    case IORING_OP_RENAMEAT: return do_renameat(request);
    case IORING_OP_LINKAT: return do_linkat(request, false);
    case IORING_OP_SYMLINKAT: return do_linkat(request, true);
    case IORING_OP_MKDIRAT: return do_mkdirat(request);
    case IORING_OP_SETXATTR:
    case IORING_OP_GETXATTR: return attribute_of_path(request);
    case IORING_OP_FSETXATTR:
    case IORING_OP_FGETXATTR: return attribute_of_file(request);
    case UNRI_OP_EPOLL_WAIT: return do_epoll_wait(request);
    case UNRI_OP_FTRUNCATE: return do_truncate(request, (size_t)request->sqe.off);
    case IORING_OP_FALLOCATE: return do_fallocate(request, request->sqe.addr);
    case IORING_OP_FSYNC:
    case IORING_OP_FADVISE:
    case IORING_OP_SYNC_FILE_RANGE: return request->file->kind == SIM_REGULAR ? 0 : -EINVAL;
    case UNRI_OP_WAITID: return do_waitid(request);
    case UNRI_OP_FUTEX_WAIT: return do_futex_wait(request);
    case UNRI_OP_FUTEX_WAKE: return do_futex_wake(request);
    default: unri_sim_fail("opcode %u is known, and has no code", request->sqe.opcode);
    }
}

int sim_call(struct sim_request *request)
{
    sim_call_check_lent(request);
    request->cqe_flags = 0;
    int res = execute(request);
    expect_as_is(request);
    return res;
}

bool sim_call_ready(struct sim_request *request)
{
    struct sim_file *file = request->file;
    unsigned         opcode = request->sqe.opcode;
    if (reads_into(opcode))
        return sim_poll(file) & (POLLIN | POLLHUP | POLLERR);
    if (writes_from(opcode))
        return sim_poll(file) & (POLLOUT | POLLERR | POLLHUP);
    switch (opcode) {
    case IORING_OP_POLL_ADD: return poll_now(request) != SIM_WAIT;
    case IORING_OP_ACCEPT: return file->kind != SIM_LISTENER || file->waiting_count != 0;
    case IORING_OP_CONNECT:
        return ((const struct sockaddr *)address(request))->sa_family == AF_UNSPEC
               || !file->connecting_to || file->connecting_to->kind != SIM_LISTENER
               || !file->connecting_to->references
               || file->connecting_to->waiting_count <= (unsigned)file->connecting_to->backlog;
    case IORING_OP_SPLICE:
    case IORING_OP_TEE:
        return sim_poll(file) & (POLLOUT | POLLERR)
               && sim_poll(request->other) & (POLLIN | POLLHUP | POLLERR);
    case UNRI_OP_EPOLL_WAIT:
        return file->kind != SIM_EPOLL || sim_poll(file->watched) & file->events;
    case UNRI_OP_FUTEX_WAIT: return request->futex_wakes;
    case UNRI_OP_WAITID: return waitid_ready(request);
    default: return true;
    }
}

bool sim_call_polls_first(const struct sim_request *request)
{
    return is_message(request->sqe.opcode) && request->sqe.ioprio & IORING_RECVSEND_POLL_FIRST;
}

bool sim_call_is_at_once(const struct sim_request *request)
{
    const struct sim_file *file = sim_file_of(request->sqe.fd);
    return request->sqe.opcode == IORING_OP_CLOSE && file && sim_close_waits(file);
}

uint32_t sim_call_moved(const struct sim_request *request)
{
    return waits_for_all(request) ? request->moved : 0;
}

bool sim_call_blocks(const struct sim_request *request)
{
    return request->sqe.opcode == IORING_OP_SPLICE || request->sqe.opcode == IORING_OP_TEE
           || sim_call_polls_then_works(request);
}

bool sim_call_is_interruptible(const struct sim_request *request)
{
    return sim_call_blocks(request) || request->sqe.opcode == IORING_OP_FALLOCATE;
}

int sim_call_interrupted(struct sim_request *request)
{
    uint32_t moved = sim_call_moved(request);
    if (moved)
        return (int)moved;
    if (request->sqe.opcode == IORING_OP_FALLOCATE && unri_choose(2))
        do_fallocate(request, request->sqe.addr / 2);
    return unri_choose(2) ? -EINTR : -512;
}

/* Where the real kernel tries a call first: some calls always in a worker, most inline, and calls
 * on files inline or in a worker, which is a choice. */
enum sim_stage sim_call_begins(const struct sim_request *request)
{
    if (request->sqe.flags & IOSQE_ASYNC)
        return SIM_PENDING;
    switch (request->sqe.opcode) {
    case IORING_OP_SPLICE:
    case IORING_OP_TEE:
    case IORING_OP_SHUTDOWN:
    case IORING_OP_FSYNC:
    case IORING_OP_SYNC_FILE_RANGE:
    case IORING_OP_FALLOCATE:
    case UNRI_OP_FTRUNCATE:
    case IORING_OP_UNLINKAT:
    case IORING_OP_RENAMEAT:
    case IORING_OP_LINKAT:
    case IORING_OP_SYMLINKAT:
    case IORING_OP_MKDIRAT:
    case IORING_OP_SETXATTR:
    case IORING_OP_FSETXATTR:
    case IORING_OP_GETXATTR:
    case IORING_OP_FGETXATTR: return SIM_PENDING;
    case IORING_OP_OPENAT:
    case IORING_OP_STATX:
    case IORING_OP_FADVISE: return unri_choose(2) ? SIM_PENDING : SIM_READY;
    default:
        if (request->file && request->file->kind == SIM_REGULAR) {
            static const enum sim_stage stages[] = { SIM_READY, SIM_PENDING, SIM_ISSUED };
            return stages[unri_choose(3)];
        }
        return SIM_READY;
    }
}
