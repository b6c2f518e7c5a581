/* SPDX-License-Identifier: MIT */
/* The seam, uring/enter.h and lib/core/os.h, over plain memory: rings that read the SQEs which
 * uring/ writes and post the CQEs which it reads, and virtual time.  calls.c has what the calls do,
 * world.c what they do it to.  Wherever the real kernel was seen to go on in more than one way,
 * this one chooses; tests/sim/conformance compares the outcomes of the two.
 *
 * A request is in one of the stages of sim.h.  When it is submitted, its call is attempted; a call
 * that has to wait is armed, or waits for a worker.  Between submitting and returning, the kernel
 * takes steps: it wakes a request that has become ready, attempts its call again, lets a worker go
 * on, has another process act.  Which step it takes, in which order, and after how many steps it
 * returns, are choices. */
#include "../../uring/enter.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/core/name.h"
#include "../../lib/core/op.h"
#include "../../lib/core/os.h"
#include "../../lib/core/watchdog.h"
#include "../../uring/newer.h"
#include "../../uring/row.h"
#include "sim.h"

/* ---- rings ---- */

struct sim_overflow {
    struct sim_overflow *next;
    struct io_uring_cqe  cqe;
};

struct sim_ring {
    struct sim_ring     *next;
    struct io_uring     *io;
    unsigned             sq_head, sq_tail, sq_flags, sq_dropped;
    unsigned             cq_head, cq_tail, cq_overflow, cq_flags;
    struct sim_overflow *overflow;
    struct sim_overflow *deferred; /* completions that wait for the task to enter the kernel */
    bool                 open, disabled;
    int                  fd, eventfd;
    bool                 deaf; /* what a write to another eventfd completes signals it no more */
};

/* The kernel may be slow, interrupted or short of memory, but not for ever, or schedules would not
 * end.  A step that it could have taken and passed over this often is taken, and this many faults
 * are all that there are in a schedule.  LOOKS_MAX is how many times the program may look meanwhile
 * at a plain ring. */
enum { PATIENCE = 2, PATIENCE_WITH_DEVICES = 4, LOOKS_MAX = 12 };

struct later {
    struct later *next;
    void (*action)(void *context);
    void    *context;
    unsigned passed_over;
};

static struct {
    struct sim_ring    *rings;
    struct sim_request *requests; /* in flight, in the order of submission */
    struct later       *later;    /* the actions of other processes that are yet to come */
    unsigned            faults;
    unsigned            version;     /* of Linux; 0: the newest */
    unsigned            faults_left; /* how many more calls of io_uring_enter(2) may fail */
    bool                no_workers;  /* for the rest of the schedule, no worker can be made */
    unsigned            steps;       /* were taken in this schedule, which ends at STEPS_MAX */
    bool                inside;      /* the program's task is in io_uring_enter(2) */
} kernel;

void sim_kernel_reset(const struct unr_explore_options *options)
{
    memset(&kernel, 0, sizeof kernel);
    kernel.faults = options->faults;
    kernel.version = options->linux_version;
    kernel.faults_left = PATIENCE;
    sim_calls_configure(options->faults & UNR_FAULT_TRANSFER);
    sim_buffers_reset();
}

bool sim_kernel_is_before(unsigned linux_version)
{
    return kernel.version && kernel.version < linux_version;
}

/* Whether the kernel has a call: the rows say since which version. */
static bool has_call(unsigned opcode)
{
    if (opcode == UNRI_OP_READ_MULTISHOT && sim_kernel_is_before(607))
        return false;
    for (unsigned i = 0; kernel.version && i < unri_row_count; i++) {
        unsigned    major, minor;
        const char *needs = unri_rows[i]->needs;
        if (unri_rows[i]->opcode == opcode && needs && sscanf(needs, "%u.%u", &major, &minor) == 2
            && sim_kernel_is_before(major * 100 + minor))
            return false;
    }
    return true;
}

unsigned sim_kernel_rings(void)
{
    unsigned count = 0;
    for (struct sim_ring *ring = kernel.rings; ring; ring = ring->next)
        count += ring->open;
    return count;
}

unsigned sim_kernel_requests(void)
{
    unsigned count = 0;
    for (struct sim_request *request = kernel.requests; request; request = request->next)
        count++;
    return count;
}

static struct sim_ring *ring_of(struct io_uring *io)
{
    return io->sq.ring_ptr;
}

static unsigned power_of_two(unsigned n)
{
    unsigned p = 1;
    while (p < n)
        p *= 2;
    return p;
}

int sim_kernel_shortage(void)
{
    static const int shortages[] = { 0, -EMFILE, -ENOMEM };
    if (!(kernel.faults & UNR_FAULT_RESOURCES) || !kernel.faults_left)
        return 0;
    int shortage = shortages[unri_choose(3)];
    kernel.faults_left -= shortage != 0;
    return shortage;
}

bool sim_kernel_lacks_memory(void)
{
    if (!(kernel.faults & UNR_FAULT_RESOURCES) || !kernel.faults_left || !unri_choose(2))
        return false;
    kernel.faults_left--;
    return true;
}

int unri_enter_open(struct io_uring *io, unsigned entries, struct io_uring_params *params)
{
    struct sim_ring *ring = sim_alloc(sizeof *ring);
    int              shortage = sim_kernel_shortage();
    if (shortage)
        return shortage;
    if (entries == 0 || entries > 4096)
        return -EINVAL;
    unsigned sq_entries = power_of_two(entries), cq_entries = power_of_two(params->cq_entries);
    if (cq_entries < sq_entries)
        return -EINVAL;
    if (cq_entries > 256)
        cq_entries = 256; /* a cheap schedule; IORING_SETUP_CLAMP allows it */

    memset(io, 0, sizeof *io);
    *ring = (struct sim_ring){ .io = io,
                               .open = true,
                               .disabled = params->flags & IORING_SETUP_R_DISABLED,
                               .fd = -2,
                               .eventfd = -1,
                               .next = kernel.rings };
    kernel.rings = ring;
    io->sq = (struct io_uring_sq){ .khead = &ring->sq_head,
                                   .ktail = &ring->sq_tail,
                                   .kflags = &ring->sq_flags,
                                   .kdropped = &ring->sq_dropped,
                                   .sqes = sim_alloc(sq_entries * sizeof(struct io_uring_sqe)),
                                   .ring_ptr = ring,
                                   .ring_mask = sq_entries - 1,
                                   .ring_entries = sq_entries };
    io->cq = (struct io_uring_cq){ .khead = &ring->cq_head,
                                   .ktail = &ring->cq_tail,
                                   .kflags = &ring->cq_flags,
                                   .koverflow = &ring->cq_overflow,
                                   .cqes = sim_alloc(cq_entries * sizeof(struct io_uring_cqe)),
                                   .ring_ptr = ring,
                                   .ring_mask = cq_entries - 1,
                                   .ring_entries = cq_entries };
    /* liburing's header has the values beside these pointers; some programs read the pointers. */
    io->sq.kring_mask = &io->sq.ring_mask;
    io->sq.kring_entries = &io->sq.ring_entries;
    io->cq.kring_mask = &io->cq.ring_mask;
    io->cq.kring_entries = &io->cq.ring_entries;
    io->flags = params->flags;
    io->features =
        IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_RW_CUR_POS | IORING_FEAT_SINGLE_MMAP;
    io->ring_fd = io->enter_ring_fd = ring->fd;
    return 0;
}

void unri_enter_close(struct io_uring *io)
{
    struct sim_ring *ring = ring_of(io);
    for (struct sim_request *request = kernel.requests; request; request = request->next)
        if (request->ring == ring)
            unri_sim_fail("a ring is closed while a request of opcode %u is in flight on it",
                          request->sqe.opcode);
    if (ring->sq_tail != ring->sq_head)
        unri_sim_fail("a ring is closed while SQEs are waiting in it");
    sim_buffers_check(ring);
    sim_buffers_close(ring);
    ring->open = false;
}

void unri_enter_abandon(struct io_uring *io)
{
    sim_buffers_close(ring_of(io));
    ring_of(io)->open = false;
}

int unri_enter_enable(struct io_uring *io)
{
    ring_of(io)->disabled = false;
    return 0;
}

int unri_enter_register(struct io_uring *io, unsigned opcode, void *argument, unsigned count)
{
    struct sim_ring       *ring = ring_of(io);
    struct io_uring_probe *probe = argument;
    switch (opcode) {
    case IORING_REGISTER_PROBE:
        probe->ops_len = (__u8)(count < UNRI_OP_PIPE + 1 ? count : UNRI_OP_PIPE + 1);
        for (unsigned i = 0; i < probe->ops_len; i++) {
            probe->ops[i].op = (__u8)i;
            probe->ops[i].flags = has_call(i) ? IO_URING_OP_SUPPORTED : 0;
        }
        return 0;
    case IORING_REGISTER_EVENTFD:
        sim_kernel_meanwhile();
        if (ring->eventfd >= 0)
            return -EBUSY;
        if (sim_kernel_lacks_memory())
            return -ENOMEM;
        ring->eventfd = *(int *)argument;
        ring->deaf = false;
        return 0;
    case IORING_UNREGISTER_EVENTFD:
        sim_kernel_meanwhile();
        if (ring->eventfd < 0)
            return -ENXIO;
        ring->eventfd = -1;
        return 0;
    case IORING_REGISTER_PBUF_RING:
    case IORING_REGISTER_BUFFERS:
    case IORING_REGISTER_BUFFERS2:
        sim_kernel_meanwhile();
        if (sim_kernel_lacks_memory())
            return -ENOMEM;
        return sim_buffers_register(ring, opcode, argument, count);
    case IORING_UNREGISTER_PBUF_RING:
    case IORING_UNREGISTER_BUFFERS:
        sim_kernel_meanwhile();
        return sim_buffers_register(ring, opcode, argument, count);
    default: return -EINVAL;
    }
}

int unri_enter_has_absolute(struct io_uring *io)
{
    (void)io;
    return !sim_kernel_is_before(612);
}

bool unri_enter_has_nosignal(void)
{
    return !sim_kernel_is_before(618);
}

enum unri_waits unri_enter_waits(int fd)
{
    const struct sim_file *file = sim_file_of(fd);
    enum sim_kind          kind = file ? file->kind : SIM_REGULAR;
    bool in_task = kind == SIM_SOCKET || kind == SIM_DATAGRAMS || kind == SIM_EVENTFD;
    return in_task ? UNRI_WAITS_IN_TASK : UNRI_WAITS_IN_WORKER;
}

int unri_enter_close_now(int fd)
{
    return sim_fd_close(fd);
}

enum unri_carries unri_enter_carries(int fd)
{
    const struct sim_file *file = sim_file_of(fd);
    if (!file || file->kind != SIM_DATAGRAMS)
        return UNRI_CARRIES_BYTES;
    return file->records ? UNRI_CARRIES_RECORDS : UNRI_CARRIES_LOCAL_DATAGRAMS;
}

enum unri_source unri_enter_source(int fd)
{
    const struct sim_file *file = sim_file_of(fd);
    bool is_socket = !file || file->kind == SIM_SOCKET || file->kind == SIM_DATAGRAMS;
    return is_socket ? UNRI_SOURCE_SOCKET : UNRI_SOURCE_FILE;
}

/* The simulated streams are those of AF_UNIX. */
bool unri_enter_is_local_stream(int fd)
{
    const struct sim_file *file = sim_file_of(fd);
    return file && file->kind == SIM_SOCKET;
}

bool unri_enter_peer_has_ended(int fd)
{
    const struct sim_file *file = sim_file_of(fd);
    return file && sim_poll(file) & (POLLRDHUP | POLLHUP);
}

ssize_t unri_enter_receive(int fd, enum unri_source source, const struct iovec *pieces, unsigned n)
{
    struct sim_file *file = sim_file_of(fd);
    unsigned char    bytes[4096];
    size_t           len = 0;
    (void)source;
    if (!file)
        return -EBADF;
    for (unsigned i = 0; i < n; i++)
        len += pieces[i].iov_len;
    ssize_t count = sim_read(file, bytes, len < sizeof bytes ? len : sizeof bytes, -1, false);
    for (size_t at = 0; count > 0 && at < (size_t)count; pieces++) {
        size_t left = (size_t)count - at, part = left < pieces->iov_len ? left : pieces->iov_len;
        memcpy(pieces->iov_base, bytes + at, part);
        at += part;
    }
    return count;
}

/* Names are not simulated. */
ssize_t unri_enter_receive_message(int fd, enum unri_source source, struct msghdr *message)
{
    const struct sim_file *file = sim_file_of(fd);
    bool                   is_message = file && file->kind == SIM_DATAGRAMS && file->datagrams;
    size_t                 length = is_message ? file->lengths[0] : 0;
    ssize_t count = unri_enter_receive(fd, source, message->msg_iov, (unsigned)message->msg_iovlen);
    message->msg_namelen = 0;
    message->msg_controllen = 0;
    message->msg_flags = count >= 0 && length > (size_t)count ? MSG_TRUNC : 0;
    return count;
}

ssize_t unri_enter_send(int fd, const struct iovec *pieces, unsigned n, unsigned flags)
{
    struct sim_file *file = sim_file_of(fd);
    (void)flags;
    if (!file)
        return -EBADF;
    if (file->kind == SIM_LISTENER)
        return -EPIPE;
    return file->kind == SIM_SOCKET || file->kind == SIM_DATAGRAMS ? sim_call_send(file, pieces, n)
                                                                   : -ENOTSOCK;
}

/* Where calls of the kernel fail, there may be no number left for a close, or no worker: a choice.
 * The loop's thread has to wait then. */
static bool is_wanting(struct sim_file *file)
{
    if (!(kernel.faults & UNR_FAULT_ENTER) || !kernel.faults_left || !unri_choose(2))
        return false;
    kernel.faults_left--;
    file->may_wait = true;
    return true;
}

enum unri_closing unri_enter_closing(int fd)
{
    const struct sim_file *file = sim_file_of(fd);
    if (file && sim_close_waits(file))
        return file->kind == SIM_REGULAR ? UNRI_CLOSING_WAITS : UNRI_CLOSING_LINGERS;
    return file && file->kind != SIM_REGULAR ? UNRI_CLOSING_IS_QUICK : UNRI_CLOSING_IS_QUICK_NOW;
}

int unri_enter_second_number(int fd)
{
    struct sim_file *file = sim_file_of(fd);
    return is_wanting(file) ? -EMFILE : sim_fd_open(file);
}

/* ---- completions ---- */

static void signal_eventfd(struct sim_ring *ring)
{
    struct sim_file *file = sim_file_of(ring->eventfd);
    if (file) {
        file->counter++;
        file->came++;
    }
}

/* A plain ring has its completions posted as they come, at any time.  On any other the task of the
 * program has to enter the kernel. */
static bool is_plain(const struct sim_ring *ring)
{
    return !(ring->io->flags & IORING_SETUP_DEFER_TASKRUN);
}

/* Tells the task of a ring that has deferred work, if it had none before, that there is some now.
 * What a write to an eventfd brings about signals the ring's eventfd indirectly, and that happens
 * once: the kernel does not take its mark back until the eventfd is registered anew. */
static void announce_work(struct sim_ring *ring, const struct sim_file *cause)
{
    if (is_plain(ring) || ring->sq_flags & IORING_SQ_TASKRUN)
        return;
    bool indirect = cause && cause->kind == SIM_EVENTFD;
    ring->sq_flags |= IORING_SQ_TASKRUN;
    if (!indirect || !ring->deaf)
        signal_eventfd(ring);
    ring->deaf |= indirect;
}

static void flush_overflow(struct sim_ring *ring)
{
    while (ring->overflow && ring->cq_tail - ring->cq_head < ring->io->cq.ring_entries) {
        ring->io->cq.cqes[ring->cq_tail++ & ring->io->cq.ring_mask] = ring->overflow->cqe;
        ring->overflow = ring->overflow->next;
    }
    if (!ring->overflow)
        ring->sq_flags &= ~IORING_SQ_CQ_OVERFLOW;
}

/* AddressSanitizer knows which memory is freed; NULL where the program is built without it. */
extern void *__asan_region_is_poisoned(void *begin, size_t size) __attribute__((weak));

bool sim_is_freed(const void *memory, size_t len)
{
    return __asan_region_is_poisoned && __asan_region_is_poisoned((void *)(uintptr_t)memory, len);
}

/* NULL: it is the close of a second number, which the ring alone knows. */
static struct unr_op *op_of(uint64_t user_data)
{
    if ((user_data & UNRI_WHICH) == UNRI_RELEASE)
        return NULL;
    return (struct unr_op *)(uintptr_t)(user_data & ~(uint64_t)3);
}

/* A completion refers to its operation by address: it must be in flight, and where it was. */
static void check_operation(uint64_t user_data)
{
    const struct unr_op *op = op_of(user_data);
    if (!op)
        return;
    if (sim_is_freed(op, sizeof *op))
        unri_sim_fail("an operation was freed while it was in flight");
    if (op->private_fields.state != UNRI_IN_FLIGHT && op->private_fields.state != UNRI_CANCELLING)
        unri_sim_fail("an operation was freed, moved or used again while it was in flight");
}

const char *sim_request_name(const struct sim_request *request)
{
    const struct unr_op *op = op_of(request->sqe.user_data);
    check_operation(request->sqe.user_data);
    return op ? unri_name(op) : "the close of a second number";
}

static void append(struct sim_overflow **end, const struct io_uring_cqe *cqe)
{
    struct sim_overflow *entry = sim_alloc(sizeof *entry);
    entry->cqe = *cqe;
    while (*end)
        end = &(*end)->next;
    *end = entry;
}

static void post(struct sim_ring *ring, uint64_t user_data, int res, unsigned flags)
{
    check_operation(user_data);
    struct io_uring_cqe cqe = { .user_data = user_data, .res = res, .flags = flags };
    if (!kernel.inside && !is_plain(ring)) {
        append(&ring->deferred, &cqe);
        announce_work(ring, NULL);
        return;
    }
    signal_eventfd(ring);
    if (!ring->overflow && ring->cq_tail - ring->cq_head < ring->io->cq.ring_entries) {
        ring->io->cq.cqes[ring->cq_tail++ & ring->io->cq.ring_mask] = cqe;
        return;
    }
    append(&ring->overflow, &cqe);
    ring->sq_flags |= IORING_SQ_CQ_OVERFLOW;
}

static void retire(struct sim_request *request)
{
    struct sim_request **at = &kernel.requests;
    while (*at != request)
        at = &(*at)->next;
    *at = request->next;
    if (request->file)
        sim_file_release(request->file);
    if (request->other)
        sim_file_release(request->other);
}

static bool is_zero_copy(const struct sim_request *request)
{
    return request->sqe.opcode == IORING_OP_SEND_ZC || request->sqe.opcode == IORING_OP_SENDMSG_ZC;
}

/* Posts a request's own last CQE.  A zero-copy send is not over with that: it keeps its buffer
 * until its notification, which may be late. */
static void complete(struct sim_request *request, int res)
{
    sim_call_give_back(request, res);
    if (is_zero_copy(request)) {
        post(request->ring, request->sqe.user_data, res, IORING_CQE_F_MORE);
        request->stage = SIM_DONE;
        request->notification_due = true;
        return;
    }
    post(request->ring, request->sqe.user_data, res, request->cqe_flags);
    retire(request);
}

static void complete_cancelled(struct sim_request *request)
{
    /* A MSG_WAITALL transfer that has moved a part reports that, in place of the error. */
    uint32_t moved = sim_call_moved(request);
    request->cqe_flags = 0;
    complete(request, moved ? (int)moved : -ECANCELED);
}

/* ---- attempts ---- */

/* A poll that has told of something tells again when something wakes it; and now and then, by
 * choice, for no reason. */
static void note_shot_of_poll(struct sim_request *request)
{
    enum { EXTRA_MAX = 2 };
    request->wakes_seen = sim_wakes(request->file, request->sqe.poll32_events);
    request->wakes_extra = request->told_a_part;
    if (!request->wakes_extra && request->wakes_made < EXTRA_MAX && sim_call_ready(request)
        && unri_choose(2)) {
        request->wakes_extra = 1;
        request->wakes_made++;
    }
}

static void note_shot_of_receive(struct sim_request *request)
{
    request->wakes_seen = sim_wakes(request->file, POLLIN);
    request->misses_end =
        kernel.faults & UNR_FAULT_MISSED_END && sim_call_may_miss_end(request) && unri_choose(2);
}

static bool is_woken_again(struct sim_request *request)
{
    unsigned wakes = sim_wakes(request->file, request->sqe.poll32_events);
    return sim_call_ready(request) && (request->wakes_extra || wakes != request->wakes_seen);
}

/* Whether a multishot request goes on after an attempt with this outcome.  It needs room for a CQE
 * in the CQ itself, and by choice it ends although there is some. */
static bool goes_on(const struct sim_request *request, int res)
{
    const struct sim_ring *ring = request->ring;
    if (res < 0 || request->is_last || (res == 0 && sim_call_takes_provided(request)))
        return false;
    if (ring->overflow || ring->cq_tail - ring->cq_head >= ring->io->cq.ring_entries)
        return false;
    return !unri_choose(2);
}

/* Posts a shot, behind which another will come. */
static void shoot(struct sim_request *request, int res)
{
    request->cqe_flags |= sim_call_leaves_bytes(request) ? IORING_CQE_F_SOCK_NONEMPTY : 0;
    post(request->ring, request->sqe.user_data, res, request->cqe_flags | IORING_CQE_F_MORE);
    request->cqe_flags = 0;
    request->stage = SIM_ARMED;
    request->moved = 1; /* a shot is out */
    if (request->sqe.opcode == IORING_OP_POLL_ADD)
        note_shot_of_poll(request);
    else if (sim_call_looks_again(request) && !sim_buffers_are_there(request))
        complete(request, -ENOBUFS);
    else
        note_shot_of_receive(request);
}

/* Attempts the call.  A MSG_WAITALL transfer that has moved a part goes back to the poll table by
 * way of a moment in which it is in no table at all: always if there is more to do for it already,
 * otherwise by choice. */
static void attempt(struct sim_request *request)
{
    uint32_t moved = sim_call_moved(request);
    int      res = sim_call(request);
    if (res != SIM_WAIT && sim_call_is_multishot(request) && goes_on(request, res)) {
        shoot(request, res);
        return;
    }
    if (res != SIM_WAIT) {
        complete(request, res);
        return;
    }
    bool a_part_moved = sim_call_moved(request) != moved;
    bool window = a_part_moved && (sim_call_ready(request) || unri_choose(2));
    request->stage = window ? SIM_ARMING : SIM_ARMED;
}

/* Chooses whether the kernel makes a worker for a call: it does, or it cannot this once, or it
 * never can again. */
static bool has_worker(void)
{
    if (!(kernel.faults & UNR_FAULT_WORKERS) || (!kernel.no_workers && !kernel.faults_left))
        return true;
    if (kernel.no_workers)
        return false;
    unsigned choice = unri_choose(3);
    kernel.faults_left -= choice == 1;
    kernel.no_workers = choice == 2;
    return choice == 0;
}

static void wait_for_worker(struct sim_request *request)
{
    request->stage = SIM_PENDING;
    if (!has_worker()
        || (request->sqe.opcode == IORING_OP_CLOSE && is_wanting(sim_file_of(request->sqe.fd))))
        complete(request, -ECANCELED);
}

static bool lacks_buffers(const struct sim_request *request)
{
    return sim_call_takes_provided(request) && !sim_buffers_are_there(request);
}

static void begin(struct sim_request *request)
{
    if (sim_call_polls_then_works(request)) {
        request->stage = sim_call_ready(request) ? SIM_READY : SIM_ARMED;
        return;
    }
    switch (sim_call_begins(request)) {
    case SIM_PENDING: wait_for_worker(request); break;
    case SIM_ISSUED: request->stage = SIM_ISSUED; break;
    default:
        /* To complete while it is submitted is the kindest.  By choice it is put into the poll
         * table unattempted, as if the kernel had been asked to poll first; but for want of a
         * buffer it ends at once. */
        if (!sim_call_is_at_once(request)
            && (sim_call_polls_first(request) || (!lacks_buffers(request) && unri_choose(2))))
            request->stage = sim_call_ready(request) ? SIM_READY : SIM_ARMED;
        else
            attempt(request);
        break;
    }
}

static bool can_step(struct sim_request *request);
static void step(struct sim_request *request);

/* ---- submission ---- */

static bool names_a_descriptor(unsigned opcode)
{
    switch (opcode) {
    case IORING_OP_NOP:
    case IORING_OP_TIMEOUT:
    case IORING_OP_ASYNC_CANCEL:
    case IORING_OP_SOCKET:
    case IORING_OP_CLOSE:
    case IORING_OP_OPENAT:
    case IORING_OP_STATX:
    case IORING_OP_UNLINKAT:
    case IORING_OP_RENAMEAT:
    case IORING_OP_LINKAT:
    case IORING_OP_SYMLINKAT:
    case IORING_OP_MKDIRAT:
    case IORING_OP_GETXATTR:
    case IORING_OP_SETXATTR:
    case UNRI_OP_PIPE:
    case UNRI_OP_WAITID:
    case UNRI_OP_FUTEX_WAIT:
    case UNRI_OP_FUTEX_WAKE: return false;
    default: return true;
    }
}

static struct sim_request *find(struct sim_ring *ring, uint64_t user_data)
{
    for (struct sim_request *request = kernel.requests; request; request = request->next)
        if (request->ring == ring && request->sqe.user_data == user_data
            && request->stage != SIM_DONE)
            return request;
    return NULL;
}

static bool answers_one(const struct sim_request *request)
{
    return request->sqe.opcode == UNRI_OP_WAITID || request->sqe.opcode == UNRI_OP_FUTEX_WAIT;
}

/* A cancel takes a request out of the table that it is in.  Whether the request's CQE comes before
 * the cancel's or after it is a choice. */
static int cancel_found(struct sim_request *request)
{
    int res = answers_one(request);
    request->cancelled = true;
    request->stage = SIM_READY;
    signal_eventfd(request->ring);
    if (unri_choose(2))
        complete_cancelled(request);
    return res;
}

static int cancel(struct sim_ring *ring, uint64_t user_data)
{
    struct sim_request *request = find(ring, user_data);
    if (!request || request->cancelled)
        return -ENOENT;
    switch (request->stage) {
    case SIM_ARMED:
    case SIM_PENDING: return cancel_found(request);
    case SIM_READY:
        /* A poll that has fired may still be in its table until the task has run.  That of a
         * multishot request is there again afterwards: no second cancel misses it. */
        if ((sim_call_is_multishot(request) && request->was_missed) || unri_choose(2))
            return cancel_found(request);
        request->was_missed = true;
        return -ENOENT;
    case SIM_RUNNING:
        /* A worker may come to its end just before the cancel looks, which then finds nothing. */
        if (can_step(request) && unri_choose(2)) {
            step(request);
            if (!find(ring, user_data))
                return -ENOENT;
        }
        if (sim_call_is_interruptible(request))
            request->interrupted = unri_choose(2) == 0;
        return -EALREADY;
    default: return -ENOENT; /* SIM_ARMING, SIM_ISSUED: the cancel is lost */
    }
}

static const struct sim_request *user_of(const struct sim_ring *ring, const struct sim_file *file)
{
    for (const struct sim_request *request = kernel.requests; request; request = request->next)
        if ((!ring || request->ring == ring) && (request->file == file || request->other == file))
            return request;
    return NULL;
}

/* A descriptor is lent from the start of an operation until its `done`.  unr_close() alone may
 * close it meanwhile: it says that what is in flight goes on undisturbed. */
void sim_kernel_check_close(int fd)
{
    const struct sim_file    *file = sim_file_of(fd);
    const struct sim_request *request = file ? user_of(NULL, file) : NULL;
    if (request)
        unri_sim_fail("descriptor %d was closed while it was lent to %s", fd,
                      sim_request_name(request));
}

/* unr_cancel_close() promises that all others of its loop have ended before it closes. */
static void check_cancel_close(const struct sim_request *closer)
{
    const struct sim_file    *file = sim_file_of(closer->sqe.fd);
    const struct sim_request *request = file ? user_of(closer->ring, file) : NULL;
    const struct unr_op      *op = op_of(closer->sqe.user_data);
    if (request && op && op->type == &unri_row_cancel_close.type)
        unri_sim_fail("unr_cancel_close closes descriptor %d, and it is lent to %s", closer->sqe.fd,
                      sim_request_name(request));
}

/* When a time-out is due.  The kernel takes a point in time for one of its own clock, whatever the
 * program's namespace does to that. */
static unr_time time_of(const struct io_uring_sqe *sqe)
{
    const struct __kernel_timespec *time = (const struct __kernel_timespec *)(uintptr_t)sqe->addr;
    unr_time                        at = UNR_SEC(time->tv_sec) + time->tv_nsec;
    return sqe->timeout_flags & IORING_TIMEOUT_ABS ? at : sim_world.now + at;
}

static void act(struct later *later);
static void wake_ready(void);

static void submit_one(struct sim_ring *ring, const struct io_uring_sqe *sqe)
{
    if (sqe->opcode == IORING_OP_ASYNC_CANCEL) {
        /* Another process may be quicker than the cancel, and end what its target waits for. */
        if (kernel.later && unri_choose(2)) {
            act(kernel.later);
            wake_ready();
        }
        int res = cancel(ring, sqe->addr);
        post(ring, sqe->user_data, res, 0);
        return;
    }
    for (struct sim_request *other = kernel.requests; other; other = other->next)
        if (other->ring == ring && other->sqe.user_data == sqe->user_data)
            unri_sim_fail("two requests in flight have the same user_data, opcodes %u and %u",
                          other->sqe.opcode, sqe->opcode);

    struct sim_request *request = sim_alloc(sizeof *request), **end = &kernel.requests;
    request->ring = ring;
    request->sqe = *sqe;
    if (!sim_call_is_known(sqe->opcode))
        unri_sim_fail("the simulation does not have opcode %u, which %s submits", sqe->opcode,
                      sim_request_name(request));
    if (sqe->opcode == IORING_OP_CLOSE)
        check_cancel_close(request);
    while (*end)
        end = &(*end)->next;
    *end = request;
    if (!has_call(sqe->opcode) || sim_call_refused(request) < 0) {
        complete(request, -EINVAL);
        return;
    }
    if (names_a_descriptor(sqe->opcode)) {
        request->file = sim_file_of(sqe->fd);
        if (request->file)
            sim_file_hold(request->file);
        if (sqe->opcode == IORING_OP_SPLICE || sqe->opcode == IORING_OP_TEE) {
            request->other = sim_file_of(sqe->splice_fd_in);
            if (request->other)
                sim_file_hold(request->other);
        }
        if (!request->file
            || ((sqe->opcode == IORING_OP_SPLICE || sqe->opcode == IORING_OP_TEE)
                && !request->other)) {
            complete(request, -EBADF);
            return;
        }
    }
    if (sqe->opcode == IORING_OP_TIMEOUT) {
        request->stage = SIM_ARMED;
        request->due = time_of(sqe);
        return;
    }
    sim_call_lend(request);
    for (const struct sim_request *other = kernel.requests; other; other = other->next)
        if (other != request)
            sim_call_check_apart(request, other);
    sim_buffers_check_apart(request);
    sim_call_scribble(request);
    begin(request);
}

static unsigned submit(struct sim_ring *ring, unsigned to_submit)
{
    unsigned count = 0;
    while (count < to_submit && ring->sq_head != ring->sq_tail) {
        struct io_uring_sqe *sqe = &ring->io->sq.sqes[ring->sq_head & ring->io->sq.ring_mask];
        struct io_uring_sqe  copy = *sqe;
        /* The kernel has its copy, and the entry is the program's to overwrite. */
        memset(sqe, 0x5a, sizeof *sqe);
        ring->sq_head++;
        count++;
        submit_one(ring, &copy);
    }
    return count;
}

/* ---- steps ---- */

/* Whether the kernel could take a step for a request now. */
static bool can_step(struct sim_request *request)
{
    switch (request->stage) {
    case SIM_ARMED:
        if (request->sqe.opcode == IORING_OP_TIMEOUT)
            return request->due <= sim_world.now;
        if (request->sqe.opcode == IORING_OP_POLL_ADD && request->moved)
            return is_woken_again(request);
        if (request->misses_end && sim_wakes(request->file, POLLIN) == request->wakes_seen)
            return false;
        return sim_call_ready(request);
    case SIM_RUNNING:
        return request->interrupted || !sim_call_blocks(request) || sim_call_ready(request);
    case SIM_DONE: return request->notification_due;
    default: return true;
    }
}

/* Leaves the next attempt to the request's task. */
static void wake(struct sim_request *request)
{
    request->stage = SIM_READY;
    announce_work(request->ring, request->file);
}

/* Wakes all requests that have become ready: that needs no task. */
static void wake_ready(void)
{
    for (struct sim_request *request = kernel.requests; request; request = request->next)
        if (request->stage == SIM_ARMED && request->sqe.opcode != IORING_OP_TIMEOUT
            && can_step(request))
            wake(request);
}

static void step(struct sim_request *request)
{
    switch (request->stage) {
    case SIM_ARMED:
        if (request->sqe.opcode == IORING_OP_TIMEOUT)
            complete(request, -ETIME);
        else
            wake(request);
        break;
    case SIM_ARMING: request->stage = SIM_ARMED; break;
    case SIM_READY:
        if (request->cancelled)
            complete_cancelled(request);
        else if (sim_call_polls_then_works(request))
            wait_for_worker(request);
        else
            attempt(request);
        break;
    case SIM_PENDING: request->stage = SIM_RUNNING; break;
    case SIM_ISSUED:
    case SIM_RUNNING:
        if (request->interrupted) {
            complete(request, sim_call_interrupted(request));
        } else {
            int res = sim_call(request);
            if (res != SIM_WAIT)
                complete(request, res);
        }
        break;
    case SIM_DONE:
        sim_call_check_lent(request);
        post(request->ring, request->sqe.user_data, 0, IORING_CQE_F_NOTIF);
        retire(request);
        break;
    }
}

static void act(struct later *later)
{
    struct later **at = &kernel.later;
    while (*at != later)
        at = &(*at)->next;
    *at = later->next;
    later->action(later->context);
}

enum { CANDIDATES = 16, STEPS_MAX = 10000 };

/* Turns round the order of the requests whose next attempt waits for the task, and puts them behind
 * all others: before 6.12 the kernel does not turn its list of such work round. */
static void last_first(struct sim_request *requests[], unsigned n)
{
    struct sim_request *ordered[CANDIDATES];
    unsigned            others = 0, last = n;
    for (unsigned i = 0; i < n; i++)
        if (requests[i]->stage == SIM_READY)
            ordered[--last] = requests[i];
        else
            ordered[others++] = requests[i];
    memcpy(requests, ordered, n * sizeof *requests);
}

static void count_step(void)
{
    if (++kernel.steps > STEPS_MAX)
        unri_sim_fail("this does not come to an end: the kernel has been at it %d times",
                      STEPS_MAX);
}

/* Takes one of the steps that are possible, by choice, or none if the kernel `may_stop`.  False: it
 * took none. */
static bool take_step(bool may_stop)
{
    struct sim_request *requests[CANDIDATES];
    struct later       *laters[CANDIDATES];
    unsigned            n = 0, m = 0;
    for (struct sim_request *request = kernel.requests; request && n < CANDIDATES;
         request = request->next)
        if (can_step(request)) {
            requests[n++] = request;
            may_stop &= request->passed_over
                        < (request->stage == SIM_ISSUED ? PATIENCE_WITH_DEVICES : PATIENCE);
        }
    for (struct later *later = kernel.later; later && m < CANDIDATES; later = later->next) {
        laters[m++] = later;
        may_stop &= later->passed_over < PATIENCE;
    }
    if (n + m == 0)
        return false;
    if (sim_kernel_is_before(612))
        last_first(requests, n);
    count_step();

    /* The kindest choice is the step of the first request, in order of submission.  Behind the
     * requests' steps comes the return to the program, and behind that the actions of other
     * processes. */
    unsigned stop = may_stop, choice = unri_choose(n + stop + m);
    if (choice < n) {
        requests[choice]->passed_over = 0;
        step(requests[choice]);
    } else if (choice >= n + stop) {
        act(laters[choice - n - stop]);
    } else {
        for (unsigned i = 0; i < n; i++)
            requests[i]->passed_over++;
        for (unsigned i = 0; i < m; i++)
            laters[i]->passed_over++;
        return false;
    }
    return true;
}

static unsigned ready_cqes(const struct sim_ring *ring)
{
    return ring->cq_tail - ring->cq_head;
}

/* Whether a request's next step may be deferred work: a worker's is none. */
static bool may_be_deferred(const struct sim_request *request)
{
    return request->stage != SIM_PENDING && request->stage != SIM_RUNNING
           && request->stage != SIM_ISSUED;
}

static void set_taskrun(struct sim_ring *ring)
{
    bool work = false;
    for (struct sim_request *request = kernel.requests; request; request = request->next)
        work |= request->ring == ring && may_be_deferred(request) && can_step(request);
    if (ring->io->flags & IORING_SETUP_TASKRUN_FLAG && work)
        ring->sq_flags |= IORING_SQ_TASKRUN;
    else
        ring->sq_flags &= ~IORING_SQ_TASKRUN;
}

/* Has time pass to the next moment at which a time-out of a request is due, and to `deadline` at
 * most.  False: no time-out is due before `deadline`. */
static bool next_moment(unr_time deadline)
{
    unr_time next = deadline;
    for (struct sim_request *request = kernel.requests; request; request = request->next)
        if (request->sqe.opcode == IORING_OP_TIMEOUT && request->stage == SIM_ARMED
            && request->due < next)
            next = request->due;
    if (next != UNR_NEVER && next > sim_world.now)
        sim_world.now = next;
    return next < deadline;
}

/* At each call of the kernel, so that the schedule fails soon after what is to blame. */
static void check_lent(const struct sim_ring *ring)
{
    for (const struct sim_request *request = kernel.requests; request; request = request->next)
        if (request->ring == ring)
            sim_call_check_lent(request);
    sim_buffers_check(ring);
}

void sim_kernel_check_provided(const void *memory, size_t len)
{
    const unsigned char *at = memory;
    for (const struct sim_request *request = kernel.requests; request; request = request->next)
        for (size_t i = 0; i < request->lent_count; i++)
            if (request->lent[i].at < at + len && at < request->lent[i].at + request->lent[i].len)
                unri_sim_fail("memory that is lent to %s is provided as a buffer",
                              sim_request_name(request));
}

static _Noreturn void deadlock(const struct sim_ring *ring)
{
    for (const struct sim_request *request = kernel.requests; request && unri_sim_is_last_run();
         request = request->next)
        if (request->ring == ring && op_of(request->sqe.user_data)) {
            unr_loop_dump(op_of(request->sqe.user_data)->private_fields.loop, 2);
            break;
        }
    unri_sim_fail("deadlock: the loop waits, and nothing can happen any more");
}

/* The task runs the work that was deferred. */
static void run_deferred(struct sim_ring *ring)
{
    struct sim_overflow *entry = ring->deferred;
    ring->deferred = NULL;
    ring->sq_flags &= ~IORING_SQ_TASKRUN;
    for (; entry; entry = entry->next)
        post(ring, entry->cqe.user_data, entry->cqe.res, entry->cqe.flags);
}

static int wait_for(struct sim_ring *ring, unsigned min_complete, unr_time deadline)
{
    if (min_complete > ring->io->cq.ring_entries)
        min_complete = ring->io->cq.ring_entries;
    run_deferred(ring);
    for (;;) {
        flush_overflow(ring);
        bool enough = ready_cqes(ring) >= min_complete;
        bool late = deadline <= sim_world.now;
        if (take_step(enough || late || (deadline != UNR_NEVER && unri_choose(2))))
            continue;
        if (enough)
            return 0;
        if (late)
            return -ETIME;
        if (!next_moment(deadline) && deadline == UNR_NEVER)
            deadlock(ring);
    }
}

/* Whether a request's next step is taken by the program's task when it enters the kernel.  While
 * the task is elsewhere, the steps that need no task go on: waking, workers, other processes, time.
 * The task of a plain ring is interrupted wherever it is. */
static bool needs_its_task(const struct sim_request *request)
{
    return !is_plain(request->ring)
           && (request->stage == SIM_READY || request->stage == SIM_ARMING);
}

/* What the kernel does while the program goes on, between two of its looks at a ring: nothing,
 * which is the kindest, or steps for the rings of which the program could see that.  It could of a
 * plain ring, and of one that signals an eventfd. */
void sim_kernel_meanwhile(void)
{
    struct sim_request *requests[CANDIDATES];
    unsigned            n, choice;
    if (kernel.inside)
        return;
    for (;;) {
        bool may_wait = true;
        n = 0;
        for (struct sim_request *request = kernel.requests; request && n < CANDIDATES;
             request = request->next)
            if ((is_plain(request->ring) || request->ring->eventfd >= 0) && !needs_its_task(request)
                && can_step(request)) {
                requests[n++] = request;
                may_wait &= request->looks < LOOKS_MAX;
            }
        choice = n ? unri_choose(n + may_wait) : 0;
        if (n == 0 || (may_wait && choice == 0))
            break;
        count_step();
        requests[choice - may_wait]->looks = 0;
        step(requests[choice - may_wait]);
    }
    while (n > 0)
        requests[--n]->looks++;
}

static bool take_step_outside(void)
{
    for (struct sim_request *request = kernel.requests; request; request = request->next)
        if (can_step(request) && !needs_its_task(request) && !(kernel.later && unri_choose(2))) {
            step(request);
            return true;
        }
    if (kernel.later) {
        act(kernel.later);
        return true;
    }
    return next_moment(UNR_NEVER);
}

/* Work for the task of a ring that has no flag to tell of it is done whenever the task goes on in
 * the program. */
static void resume_task(struct sim_ring *ring)
{
    struct sim_request *request =
        ring->io->flags & IORING_SETUP_TASKRUN_FLAG ? NULL : kernel.requests;
    while (request) {
        bool goes_on = request->ring == ring && may_be_deferred(request) && can_step(request);
        if (goes_on)
            step(request);
        request = goes_on ? kernel.requests : request->next;
    }
}

/* Of what has become ready by now a ring with the flag is told. */
static void resume_tasks(void)
{
    wake_ready();
    for (struct sim_ring *ring = kernel.rings; ring; ring = ring->next)
        resume_task(ring);
}

void unr_sim_wait_readable(int fd)
{
    const struct sim_file *file = sim_file_of(fd);
    if (!file)
        unri_sim_fail("the scenario waits for descriptor %d, which is not open", fd);
    while (!(sim_poll(file) & POLLIN))
        if (!take_step_outside() && !(sim_poll(file) & POLLIN))
            unri_sim_fail("deadlock: another event loop waits for descriptor %d, and nothing can "
                          "make it readable",
                          fd);
    resume_tasks();
}

/* Chooses how io_uring_enter(2) fails: interrupted, short of memory, too busy, or not at all.  A
 * call that neither submits nor waits does not fail. */
static int fault(unsigned to_submit, unsigned min_complete)
{
    static const int faults[] = { 0, -EINTR, -EAGAIN, -EBUSY };
    if (!(kernel.faults & UNR_FAULT_ENTER) || !kernel.faults_left || !(to_submit + min_complete))
        return 0;
    int error = faults[unri_choose(to_submit ? 4 : 2)];
    kernel.faults_left -= error != 0;
    return error;
}

/* Chooses how many SQEs the kernel takes, of those that it is shown. */
static unsigned takes(unsigned to_submit)
{
    if (to_submit < 2 || !(kernel.faults & UNR_FAULT_ENTER) || !kernel.faults_left
        || !unri_choose(2))
        return to_submit;
    kernel.faults_left--;
    return 1;
}

/* The program may have been stopped and continued before this call, which interrupts the workers
 * that wait in a call. */
static void stop_and_continue(void)
{
    bool stopped = false;
    if (!(kernel.faults & UNR_FAULT_INTERRUPT))
        return;
    for (struct sim_request *request = kernel.requests; request; request = request->next)
        if (request->stage == SIM_RUNNING && sim_call_blocks(request) && kernel.faults_left
            && (stopped || unri_choose(2))) {
            request->interrupted = stopped = true;
        }
    kernel.faults_left -= stopped;
}

/* What waits for the task when it calls is done before the call returns; what is woken meanwhile
 * may be left for the next one.  So the kernel does not stop before these requests have gone on.  A
 * request that a cancel has found may still take longer than the cancel's own CQE. */
static void do_deferred_work(struct sim_ring *ring)
{
    wake_ready();
    for (struct sim_request *request = kernel.requests; request; request = request->next)
        if (request->ring == ring && !request->cancelled && may_be_deferred(request)
            && can_step(request))
            request->passed_over = PATIENCE;
}

/* The moment of the kernel's clock at which a wait is to end, which the program has set by its own
 * clock: see time_of(). */
static unr_time end_of_wait(unr_time deadline, bool absolute)
{
    return absolute || deadline == UNR_NEVER || deadline == INT64_MIN
               ? deadline
               : deadline - sim_world.clock_shift;
}

int unri_enter(struct io_uring *io, unsigned to_submit, unsigned min_complete, unr_time deadline,
               bool absolute)
{
    struct sim_ring *ring = ring_of(io);
    if (absolute && sim_kernel_is_before(612))
        return -EINVAL;
    if (ring->disabled)
        return -EBADFD;
    sim_kernel_meanwhile();
    int error = fault(to_submit, min_complete);
    if (error < 0)
        return error;
    count_step();
    check_lent(ring);
    stop_and_continue();
    deadline = end_of_wait(deadline, absolute);
    if (!to_submit && !min_complete)
        do_deferred_work(ring);
    kernel.inside = true;
    unsigned taken = submit(ring, takes(to_submit));
    flush_overflow(ring);
    error = taken == to_submit ? wait_for(ring, min_complete, deadline) : 0;
    resume_task(ring);
    set_taskrun(ring);
    kernel.inside = false;
    return taken ? (int)taken : error;
}

/* ---- memory, clock and wake-ups ---- */

enum { MAP_MAX = 16 << 10 }; /* a loop makes do with so much, and schedules stay cheap */

/* Memory of the system begins with a page. */
static void *alloc_pages(size_t size)
{
    enum { PAGE = 4096 };
    return (void *)(((uintptr_t)sim_alloc(size + PAGE) + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
}

void *unri_os_map(size_t size, bool wiped)
{
    (void)wiped;
    if (size > MAP_MAX || sim_kernel_lacks_memory())
        return NULL;
    sim_world.maps++;
    return alloc_pages(size);
}

void *unri_os_remap(void *memory, size_t size, size_t new_size)
{
    return sim_kernel_lacks_memory() ? NULL : memcpy(alloc_pages(new_size), memory, size);
}

void unri_os_unmap(void *memory, size_t size)
{
    sim_buffers_check_unmap(memory, size);
    sim_world.maps--;
}

void unri_os_prefer_huge(void *memory, size_t size)
{
    (void)memory, (void)size;
}

size_t unri_os_descriptors_max(void)
{
    return SIM_FDS;
}

/* While the program is stopped, another process may act. */
static void pass_an_hour(void)
{
    if (kernel.later && unri_choose(2))
        act(kernel.later);
    sim_world.now += UNR_SEC(3600);
    resume_tasks();
}

/* The program may be stopped just before it reads its clock. */
unr_time unri_os_clock(void)
{
    if (kernel.faults & UNR_FAULT_STOP && kernel.faults_left && unri_choose(2)) {
        kernel.faults_left--;
        pass_an_hour();
    }
    sim_kernel_meanwhile();
    return sim_world.now + sim_world.clock_shift;
}

bool unri_os_clock_is_kernels(void)
{
    return sim_world.clock_shift == 0;
}

unr_time unr_sim_clock(void)
{
    return sim_world.now;
}

void unr_sim_shift_clock(unr_time shift)
{
    if (sim_kernel_rings())
        unri_sim_fail("the clock is shifted while a loop is open");
    sim_world.clock_shift = shift;
}

void unr_sim_compute(unr_time duration)
{
    sim_world.now += duration;
}

uint64_t unri_os_ticks(void)
{
    return (uint64_t)sim_world.now; /* the processor's, which no namespace shifts */
}

uint32_t unri_os_clock_ms(void)
{
    return (uint32_t)((sim_world.now + sim_world.clock_shift) / UNR_MSEC(1));
}

int unri_os_wake_open(int flags)
{
    int shortage = sim_kernel_shortage();
    (void)flags;
    return shortage ? shortage : unr_sim_eventfd(0);
}

void unri_os_wake(int fd)
{
    sim_kernel_meanwhile();
    sim_file_of(fd)->counter++;
    sim_file_of(fd)->came++;
}

void unri_os_wake_clear(int fd)
{
    sim_kernel_meanwhile();
    sim_file_of(fd)->counter = 0;
}

void unri_os_wake_close(int fd)
{
    sim_kernel_check_close(fd);
    sim_fd_close(fd);
}

bool unri_os_file(int fd, uint64_t ret_file[2])
{
    const struct sim_file *file = sim_file_of(fd);
    ret_file[0] = 0;
    ret_file[1] = (uintptr_t)file;
    return file;
}

int unri_os_signalfd(uint64_t signals)
{
    struct sim_file *file = sim_file_new(SIM_SIGNALFD);
    int              shortage = sim_kernel_shortage();
    file->signals = signals;
    return shortage ? shortage : sim_fd_open(file);
}

int unri_os_pidfd(pid_t pid)
{
    struct sim_file *file = sim_file_new(SIM_PIDFD);
    int              shortage = sim_kernel_shortage();
    file->child = sim_child_of(pid);
    if (!file->child || shortage)
        return file->child ? shortage : -ESRCH;
    return sim_fd_open(file);
}

int unri_os_reap(pid_t pid, void *ret_siginfo)
{
    struct sim_child *child = sim_child_of(pid);
    if (!child)
        return -ECHILD;
    return sim_child_reap(child, ret_siginfo) ? 0 : -EAGAIN;
}

/* There is no watchdog, as lib/core/watchdog.h says, and nothing to call for who is not watched. */
int unri_watch_open(struct unri_watch **ret_watch, unr_time limit)
{
    (void)limit;
    *ret_watch = NULL;
    return 0;
}

void unri_watch_close(struct unri_watch *watch, bool forked)
{
    (void)watch, (void)forked;
}

void unri_watch_this_thread(struct unri_watch *watch)
{
    (void)watch;
}

void unri_watch_begin(struct unri_watch *watch, const char *name, void *function)
{
    (void)watch, (void)name, (void)function;
}

void unri_watch_end(struct unri_watch *watch)
{
    (void)watch;
}

void unr_sim_later(void (*action)(void *context), void *context)
{
    struct later *later = sim_alloc(sizeof *later), **end = &kernel.later;
    *later = (struct later){ .action = action, .context = context };
    while (*end)
        end = &(*end)->next;
    *end = later;
}

void sim_kernel_forget_later(void *context)
{
    struct later **at = &kernel.later;
    while (*at && (*at)->context != context)
        at = &(*at)->next;
    if (*at)
        *at = (*at)->next;
}

void sim_kernel_act(void)
{
    unsigned      count = 0;
    struct later *later = kernel.later;
    for (struct later *other = kernel.later; other; other = other->next)
        count++;
    for (unsigned i = unri_choose(count); i > 0; i--)
        later = later->next;
    act(later);
}

struct sim_request *sim_futex_waiter(uint64_t address, uint64_t mask)
{
    for (struct sim_request *request = kernel.requests; request; request = request->next)
        if (request->sqe.opcode == UNRI_OP_FUTEX_WAIT && request->stage == SIM_ARMED
            && !request->cancelled && request->sqe.addr == address && request->sqe.addr3 & mask
            && !request->futex_wakes)
            return request;
    return NULL;
}
