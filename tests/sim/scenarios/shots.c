/* SPDX-License-Identifier: MIT */
/* Multishot requests and provided buffers, by SQEs of the scenario's own: what a cancellation
 * request does to each at any moment, how they end by themselves, and what is lent meanwhile. Every
 * byte, datagram and connection is taken once and in order, or is still there. */
#include "scenario.h"

#include <liburing.h>
#include <poll.h>
#include <stdio.h>

#include "../../../lib/core/loop_core.h"
#include "../../../lib/core/os.h"
#include "../../../uring/enter.h"
#include "../../../uring/newer.h"
#include "../../../uring/ring.h"

enum { BUFFERS_MAX = 16, GROUP = 3, PAGE = 4096, WRITES_MAX = 3, SENT_MAX = 48 };

static const unsigned char pattern[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL";

/* ---- a ring of provided buffers ---- */

struct shelf {
    struct unr_loop *loop;
    unsigned char   *pages; /* the ring, and in the second page the buffers */
    unsigned         count, size;
    bool             incremental, registered;
    uint16_t         head, tail;            /* which entries stand in the ring */
    uint16_t         standing[BUFFERS_MAX]; /* the numbers of their buffers */
    unsigned         used[BUFFERS_MAX];     /* bytes of each incremental buffer */
    bool             ours[BUFFERS_MAX];     /* not in the ring */
};

static unsigned char *buffer_at(const struct shelf *shelf, unsigned number)
{
    return shelf->pages + PAGE + (size_t)number * shelf->size;
}

static int shelf_register(struct shelf *shelf, unsigned opcode)
{
    struct unri_buf_reg reg = { .at = (uintptr_t)shelf->pages,
                                .entries = shelf->count,
                                .group = GROUP };
    if (opcode == IORING_REGISTER_PBUF_RING && shelf->incremental)
        reg.flags = UNRI_PBUF_RING_INC;
    return unri_enter_register(&shelf->loop->ring->io, opcode, &reg, 1);
}

static void shelf_open(struct shelf *shelf, struct unr_loop *loop, unsigned count, unsigned size,
                       bool incremental)
{
    *shelf = (struct shelf){
        .loop = loop, .count = count, .size = size, .incremental = incremental, .registered = true
    };
    shelf->pages = unri_os_map(2 * PAGE, false);
    unr_sim_check(shelf->pages != NULL, "there is memory");
    for (unsigned i = 0; i < count; i++)
        shelf->ours[i] = true;
    unr_sim_check(shelf_register(shelf, IORING_REGISTER_PBUF_RING) == 0, "a ring is registered");
}

static void shelf_unregister(struct shelf *shelf)
{
    if (shelf->registered)
        unr_sim_check(shelf_register(shelf, IORING_UNREGISTER_PBUF_RING) == 0, "and unregistered");
    shelf->registered = false;
}

static void shelf_close(struct shelf *shelf)
{
    shelf_unregister(shelf);
    unri_os_unmap(shelf->pages, 2 * PAGE);
}

static void provide(struct shelf *shelf, unsigned number)
{
    struct io_uring_buf_ring *ring = (struct io_uring_buf_ring *)(void *)shelf->pages;
    struct io_uring_buf      *entry =
        (struct io_uring_buf *)(void *)shelf->pages + (shelf->tail & (shelf->count - 1));
    shelf->standing[shelf->tail & (shelf->count - 1)] = (uint16_t)number;
    shelf->ours[number] = false;
    shelf->used[number] = 0;
    entry->addr = (uintptr_t)buffer_at(shelf, number);
    entry->len = shelf->size;
    entry->bid = (uint16_t)number;
    io_uring_smp_store_release(&ring->tail, ++shelf->tail);
}

static void provide_all(struct shelf *shelf)
{
    for (unsigned i = 0; i < shelf->count; i++)
        if (shelf->ours[i])
            provide(shelf, i);
}

/* Takes the buffers that a CQE hands out, in the order of the ring, and copies what they hold. */
static void take_buffers(struct shelf *shelf, uint32_t flags, size_t len, unsigned char *to)
{
    bool more = false;
    unr_sim_check(flags & IORING_CQE_F_BUFFER, "the CQE has a buffer");
    unr_sim_check(shelf->head != shelf->tail
                      && flags >> IORING_CQE_BUFFER_SHIFT
                             == shelf->standing[shelf->head & (shelf->count - 1)],
                  "it is the first in the ring");
    do {
        unr_sim_check(shelf->head != shelf->tail, "there are as many buffers as that takes");
        unsigned       number = shelf->standing[shelf->head & (shelf->count - 1)];
        unsigned      *used = &shelf->used[number];
        size_t         n = shelf->size - *used < len ? shelf->size - *used : len;
        unsigned char *from = buffer_at(shelf, number) + *used;
        memcpy(to, from, n);
        memset(from, 'z', n); /* it is the program's */
        to += n;
        len -= n;
        *used += (unsigned)n;
        more = shelf->incremental && *used < shelf->size;
        shelf->ours[number] = !more;
        shelf->head += !more;
    } while (len);
    unr_sim_check(more == !!(flags & UNRI_CQE_F_BUF_MORE), "what is left of it stays");
}

/* ---- a request that takes from them ---- */

enum peer_ends { STAYS, SHUTS, RESETS };

/* What is tried. */
struct way {
    unsigned       opcode;
    unsigned       ioprio;  /* of the SQE: IORING_RECV_MULTISHOT and others */
    unsigned       len;     /* of the SQE */
    unsigned       limit;   /* of the SQE: its optlen */
    unsigned       buffers; /* how many, of which so many are provided first */
    unsigned       first;
    unsigned       size;  /* of each */
    unsigned       write; /* how many bytes the peer writes at a time */
    unsigned       writes;
    enum peer_ends ends;
    bool           incremental;
    bool           gives_back;  /* in each shot; otherwise when there are none */
    bool           unregisters; /* some time, and then arms no more */
    unsigned       fewer;       /* deviations_max, where the usual makes too many schedules */
};

struct taker {
    struct unr_loop  *loop;
    const struct way *way;
    struct unr_op     op;
    struct shelf      shelf;
    struct msghdr     layout;
    int               fds[2]; /* its own, and the peer's */
    unsigned char     got[SENT_MAX + 8];
    size_t            got_len, sent;
    unsigned          writes, shots, ends, starved;
    uint64_t          count; /* of an eventfd */
    size_t            since_armed;
    int               error, value; /* of the last end */
    bool              stopping, peer_is_closed;
};

static bool is_multishot(const struct way *way)
{
    return way->opcode == UNRI_OP_READ_MULTISHOT || way->ioprio & IORING_RECV_MULTISHOT;
}

static void fill_taker(void *entry, void *context)
{
    struct io_uring_sqe *sqe = entry;
    struct taker        *t = context;
    *sqe = (struct io_uring_sqe){ .opcode = (uint8_t)t->way->opcode,
                                  .flags = IOSQE_BUFFER_SELECT,
                                  .ioprio = (uint16_t)t->way->ioprio,
                                  .fd = t->fds[0],
                                  .len = t->way->len,
                                  .splice_fd_in = (int)t->way->limit,
                                  .buf_group = GROUP };
    if (t->way->opcode == IORING_OP_RECVMSG)
        sqe->addr = (uintptr_t)&t->layout;
    else if (t->way->opcode != IORING_OP_RECV)
        sqe->off = (uint64_t)-1;
}

static void taker_done(struct unr_op *op);

static void arm(struct taker *t)
{
    t->since_armed = 0;
    unr_start(t->loop, unr_sqe(&t->op, "taker", UNR_CANCEL_ALL, fill_taker, t), taker_done, t);
}

/* A datagram stands behind what tells of it. */
static void take_message(struct taker *t, uint32_t flags, size_t len)
{
    unsigned char               message[64];
    struct io_uring_recvmsg_out head;
    unr_sim_check(len >= sizeof head, "a message has a head");
    take_buffers(&t->shelf, flags, len, message);
    memcpy(&head, message, sizeof head);
    unr_sim_check(head.payloadlen == len - sizeof head && head.namelen == 0 && head.controllen == 0,
                  "and it is what the head says");
    memcpy(t->got + t->got_len, message + sizeof head, head.payloadlen);
    t->got_len += head.payloadlen;
}

static void take_shot(struct taker *t, uint32_t flags, size_t len)
{
    uint64_t count;
    unr_sim_check(t->got_len + len <= sizeof t->got, "no more than was sent");
    unr_sim_check(!t->way->limit || t->since_armed < t->way->limit, "none behind the limit");
    t->since_armed += len;
    t->shots++;
    if (t->way->opcode == IORING_OP_RECVMSG && is_multishot(t->way)) {
        take_message(t, flags, len);
        return;
    }
    take_buffers(&t->shelf, flags, len, t->got + t->got_len);
    if (t->count) {
        memcpy(&count, t->got, sizeof count);
        t->count += count;
        return;
    }
    t->got_len += len;
}

/* Ended by itself, with data, with nothing more to come, or for want of buffers. */
static void ended(struct taker *t, const struct unr_result *r)
{
    t->ends++;
    t->error = r->error;
    t->value = (int)r->value;
    if (r->error == -ENOBUFS)
        t->starved++;
    if (t->stopping || t->way->unregisters)
        return;
    if (r->error == -ENOBUFS) {
        provide_all(&t->shelf);
        arm(t);
    } else if (r->error == 0 && r->value > 0 && (is_multishot(t->way) || t->way->ends != STAYS)) {
        arm(t);
    }
}

static void taker_done(struct unr_op *op)
{
    struct taker           *t = op->data;
    const struct unr_result r = op->result;
    uint32_t                flags = unr_sqe_flags(op);
    if (r.error == 0 && r.value > 0)
        take_shot(t, flags, (size_t)r.value);
    else if (flags & IORING_CQE_F_BUFFER && !r.error) /* a read of the end takes one */
        take_buffers(&t->shelf, flags, 0, t->got);
    if (t->way->gives_back)
        provide_all(&t->shelf);
    if (r.flags & UNR_MORE)
        unr_sim_check(r.error == 0 && (r.value > 0), "a shot is a success");
    else
        ended(t, &r);
}

/* ---- its peer ---- */

static void peer_ends(struct taker *t)
{
    if (t->way->ends == STAYS)
        return;
    if (t->way->ends == SHUTS && t->way->opcode == IORING_OP_RECV)
        unr_sim_shutdown(t->fds[1], SHUT_WR);
    else
        t->peer_is_closed = unr_sim_close(t->fds[1]) == 0;
}

static void peer_goes_on(void *context)
{
    struct taker  *t = context;
    const uint64_t one = 1;
    size_t         len = t->way->write;
    if (t->count)
        t->sent += unr_sim_write(t->fds[1], &one, sizeof one) == sizeof one;
    else
        t->sent += unr_sim_write(t->fds[1], pattern + t->sent, len) == (ssize_t)len ? len : 0;
    if (++t->writes < t->way->writes)
        unr_sim_later(peer_goes_on, t);
    else
        peer_ends(t);
}

static void open_descriptors(struct taker *t)
{
    int fds[2];
    switch (t->way->opcode) {
    case IORING_OP_RECV:
        unr_sim_socketpair(t->fds, 0);
        if (t->way->ends == RESETS) /* who is gone without having read resets */
            unr_sim_check(unr_sim_write(t->fds[0], "x", 1) == 1, "a byte goes the other way");
        return;
    case IORING_OP_RECVMSG: unr_sim_datagrams(fds, 8); break;
    default:
        if (!t->way->write) {
            t->fds[0] = t->fds[1] = unr_sim_eventfd(0);
            t->count = 1; /* so that it is not 0 */
            return;
        }
        unr_sim_pipe(t->fds, 0);
        return;
    }
    t->fds[0] = fds[1];
    t->fds[1] = fds[0];
}

static void close_descriptors(struct taker *t)
{
    unr_sim_close(t->fds[0]);
    if (t->fds[1] != t->fds[0] && !t->peer_is_closed)
        unr_sim_close(t->fds[1]);
}

/* What was sent has been taken, or is still there. */
static void verify_taken(struct taker *t)
{
    uint64_t count;
    if (t->count) {
        if (unr_sim_read(t->fds[0], &count, sizeof count) == sizeof count)
            t->count += count;
        unr_sim_check(t->count - 1 == t->sent, "each count is taken once or is still there");
        return;
    }
    size_t taken = t->got_len;
    for (ssize_t n; (n = unr_sim_read(t->fds[0], t->got + taken, sizeof t->got - taken)) > 0;)
        taken += (size_t)n;
    unr_sim_check(taken == t->sent, "each byte is taken once or is still there");
    unr_sim_check(memcmp(t->got, pattern, taken) == 0, "in order");
}

static void stop(struct taker *t)
{
    t->stopping = true;
    if (unr_in_flight(&t->op))
        unr_cancel(&t->op, UNR_CANCEL_TOTAL);
}

/* Armed; cancelled at any moment, while the peer writes and perhaps ends. */
static void cancelled_at_any_moment(const struct scenario *scenario)
{
    struct taker t = { .way = scenario->parameter, .loop = open_small_loop() };
    shelf_open(&t.shelf, t.loop, t.way->buffers, t.way->size, t.way->incremental);
    open_descriptors(&t);
    for (unsigned i = 0; i < t.way->first; i++)
        provide(&t.shelf, i);
    arm(&t);
    unr_sim_later(peer_goes_on, &t);
    for (unsigned turns = unr_sim_choose(3); turns; turns--)
        unr_loop_run_once(t.loop, t.writes < t.way->writes && unr_sim_choose(2) ? UNR_NEVER : 0);
    if (t.way->unregisters)
        shelf_unregister(&t.shelf);
    else if (t.shelf.head == t.shelf.tail && unr_sim_choose(2))
        provide_all(&t.shelf);
    unr_sim_choose(1); /* the kernel may go on meanwhile */
    stop(&t);
    unr_loop_run(t.loop);
    unr_sim_check(t.ends && !unr_in_flight(&t.op), "it ends");
    outcome("shots %u ends %u starved %u last %d %d verdict %u", t.shots, t.ends, t.starved,
            t.error, t.value, t.op.result.verdict);
    verify_taken(&t);
    shelf_close(&t.shelf);
    close_loop(t.loop);
    close_descriptors(&t);
}

/* Not cancelled: the peer ends, and that is seen behind all that it wrote. */
static void goes_to_the_end(const struct scenario *scenario)
{
    struct taker t = { .way = scenario->parameter, .loop = open_small_loop() };
    shelf_open(&t.shelf, t.loop, t.way->buffers, t.way->size, t.way->incremental);
    open_descriptors(&t);
    for (unsigned i = 0; i < t.way->first; i++)
        provide(&t.shelf, i);
    arm(&t);
    unr_sim_later(peer_goes_on, &t);
    unr_loop_run(t.loop);
    unr_sim_check(t.got_len == t.sent && t.sent == t.way->write * t.way->writes,
                  "the end is seen behind all bytes");
    unr_sim_check(t.error == (t.way->ends == RESETS ? -ECONNRESET : 0), "and which one it is");
    outcome("shots %u ends %u starved %u last %d %d", t.shots, t.ends, t.starved, t.error, t.value);
    verify_taken(&t);
    shelf_close(&t.shelf);
    close_loop(t.loop);
    close_descriptors(&t);
}

/* ---- what an arming finds ---- */

/* With an empty ring a request ends at once, also on an idle socket, unless it polls first. */
static void armed_without_buffers(const struct scenario *scenario)
{
    const struct way way = { .opcode = IORING_OP_RECV,
                             .ioprio =
                                 IORING_RECV_MULTISHOT | *(const unsigned *)scenario->parameter,
                             .buffers = 2,
                             .size = 8,
                             .unregisters = true };
    struct taker     t = { .way = &way, .loop = open_small_loop() };
    bool             polls_first = way.ioprio & IORING_RECVSEND_POLL_FIRST;
    shelf_open(&t.shelf, t.loop, way.buffers, way.size, false);
    open_descriptors(&t);
    arm(&t);
    unr_loop_run_once(t.loop, 0);
    if (!polls_first) {
        unr_loop_run(t.loop); /* nobody sends anything */
        unr_sim_check(t.starved == 1, "it ends at once for want of a buffer");
    } else {
        unr_sim_check(!t.ends, "it waits");
        if (unr_sim_choose(2))
            provide(&t.shelf, 0);
        t.sent += unr_sim_write(t.fds[1], pattern, 6) == 6 ? 6 : 0;
        while (!t.shots && !t.ends)
            unr_loop_run_once(t.loop, UNR_NEVER);
        stop(&t);
        unr_loop_run(t.loop);
    }
    outcome("shots %u starved %u last %d %d", t.shots, t.starved, t.error, t.value);
    verify_taken(&t);
    shelf_close(&t.shelf);
    close_loop(t.loop);
    close_descriptors(&t);
}

/* What came later than Linux 6.1 is refused there. */
static void refused_before(const struct scenario *scenario)
{
    static const struct way later[] = {
        { .opcode = IORING_OP_RECV, .ioprio = IORING_RECV_MULTISHOT, .limit = 4 },
        { .opcode = IORING_OP_RECV, .ioprio = IORING_RECV_MULTISHOT, .len = 4 },
        { .opcode = IORING_OP_RECV, .ioprio = IORING_RECV_MULTISHOT | UNRI_RECVSEND_BUNDLE },
        { .opcode = UNRI_OP_READ_MULTISHOT },
    };
    const size_t count = sizeof later / sizeof *later;
    (void)scenario;
    for (size_t i = 0; i < count; i++) {
        struct way   way = later[i];
        struct taker t = { .way = &way, .loop = open_small_loop() };
        way.unregisters = true;
        shelf_open(&t.shelf, t.loop, 2, 8, false);
        provide(&t.shelf, 0);
        unr_sim_socketpair(t.fds, 0);
        arm(&t);
        unr_loop_run(t.loop);
        unr_sim_check(t.error == -EINVAL, "the kernel does not know it");
        shelf_unregister(&t.shelf);
        t.shelf.incremental = true;
        unr_sim_check(shelf_register(&t.shelf, IORING_REGISTER_PBUF_RING) == -EINVAL,
                      "nor incremental buffers");
        shelf_close(&t.shelf);
        close_loop(t.loop);
        close_descriptors(&t);
    }
}

/* ---- polls: what a receiver without buffers does ---- */

struct watcher {
    struct unr_loop *loop;
    struct unr_op    op;
    int              fds[2];
    unsigned char    got[SENT_MAX];
    size_t           got_len, sent;
    unsigned         writes, shots, ends;
    unsigned         told;  /* of all shots */
    enum peer_ends   how;   /* the peer ends */
    int              end;   /* what the last read said */
    bool             ended; /* and that it is the last */
    bool             stopping;
};

static void watcher_done(struct unr_op *op);

static void watch(struct watcher *w)
{
    unr_start(w->loop, unr_poll_multishot(&w->op, w->fds[0], POLLIN | POLLRDHUP), watcher_done, w);
}

/* A short read means that the socket is empty, unless the poll has told of an end. */
static void read_what_is_there(struct watcher *w)
{
    enum { AT_ONCE = 8 };
    while (!w->ended) {
        ssize_t n = unr_sim_read(w->fds[0], w->got + w->got_len, AT_ONCE);
        if (n == -EAGAIN)
            return;
        w->end = (int)n;
        w->ended = n <= 0;
        w->got_len += n > 0 ? (size_t)n : 0;
        if (n < AT_ONCE && !(w->told & (POLLRDHUP | POLLHUP | POLLERR)))
            return;
    }
}

static void watcher_done(struct unr_op *op)
{
    struct watcher *w = op->data;
    bool            more = op->result.flags & UNR_MORE;
    if (op->result.error == 0) {
        w->shots++;
        w->told |= (unsigned)op->result.value;
        outcome("of 1 in, 8 error, 10 hang-up, 2000 end: %x",
                (unsigned)op->result.value & (POLLIN | POLLERR | POLLHUP | POLLRDHUP));
        unr_sim_check(op->result.value & (POLLIN | POLLERR), "it tells what holds");
        read_what_is_there(w);
    }
    w->ends += !more;
    if (!more && !w->stopping && !w->ended)
        watch(w);
}

static void watched_goes_on(void *context)
{
    struct watcher *w = context;
    w->sent += unr_sim_write(w->fds[1], pattern + w->sent, 6) == 6 ? 6 : 0;
    if (++w->writes < 2) {
        unr_sim_later(watched_goes_on, w);
    } else if (w->how == SHUTS) {
        unr_sim_shutdown(w->fds[1], SHUT_WR);
    } else if (w->how == RESETS) {
        unr_sim_close(w->fds[1]);
        w->fds[1] = -1;
    }
}

static void open_watcher(struct watcher *w, enum peer_ends how)
{
    *w = (struct watcher){ .loop = open_small_loop(), .how = how };
    unr_sim_socketpair(w->fds, 0);
    if (how == RESETS)
        unr_sim_check(unr_sim_write(w->fds[0], "x", 1) == 1, "a byte goes the other way");
    watch(w);
    unr_sim_later(watched_goes_on, w);
}

static void close_watcher(struct watcher *w)
{
    w->stopping = true;
    if (unr_in_flight(&w->op))
        unr_cancel(&w->op, UNR_CANCEL_TOTAL);
    unr_loop_run(w->loop);
    for (ssize_t n; (n = unr_sim_read(w->fds[0], w->got + w->got_len, 8)) > 0;)
        w->got_len += (size_t)n;
    unr_sim_check(w->got_len == w->sent && memcmp(w->got, pattern, w->sent) == 0,
                  "each byte is read once, and in order");
    close_loop(w->loop);
    for (int i = 0; i < 2; i++)
        if (w->fds[i] >= 0)
            unr_sim_close(w->fds[i]);
}

/* No wake-up is missed: what was written is read, and the end is seen behind it. */
static void watched_to_the_end(const struct scenario *scenario)
{
    struct watcher w;
    open_watcher(&w, *(const enum peer_ends *)scenario->parameter);
    while (w.how == STAYS ? w.got_len < 12 : !w.ended)
        unr_loop_run_once(w.loop, UNR_NEVER);
    unr_sim_check(w.got_len == 12, "the end comes behind the bytes");
    unr_sim_check(w.how == STAYS || w.end == (w.how == RESETS ? -ECONNRESET : 0),
                  "and which it is");
    outcome("told of an end %d", !!(w.told & POLLRDHUP));
    close_watcher(&w);
}

static void watched_and_cancelled(const struct scenario *scenario)
{
    struct watcher w;
    open_watcher(&w, *(const enum peer_ends *)scenario->parameter);
    for (unsigned turns = unr_sim_choose(3); turns; turns--)
        unr_loop_run_once(w.loop, w.writes < 2 && unr_sim_choose(2) ? UNR_NEVER : 0);
    unr_sim_choose(1); /* the kernel may go on meanwhile */
    w.stopping = true;
    if (unr_in_flight(&w.op))
        unr_cancel(&w.op, UNR_CANCEL_TOTAL);
    unr_loop_run(w.loop);
    outcome("shots %u ends %u last %d verdict %u", w.shots, w.ends, w.op.result.error,
            w.op.result.verdict);
    close_watcher(&w);
}

/* ---- accepts ---- */

enum { CALLERS = 2 };

struct host {
    struct unr_loop *loop;
    struct unr_op    op;
    int              listener, callers[CALLERS];
    unsigned         called, taken, shots, ends;
    bool             stopping;
};

static void host_done(struct unr_op *op);

static void invite(struct host *h)
{
    unr_start(h->loop, unr_accept_multishot(&h->op, h->listener, 0), host_done, h);
}

static void host_done(struct unr_op *op)
{
    struct host *h = op->data;
    bool         more = op->result.flags & UNR_MORE;
    if (op->result.error == 0) {
        unr_sim_check(unr_sim_close(op->result.fd) == 0, "a success is a connection");
        h->taken++;
        h->shots += more;
    }
    h->ends += !more;
    if (!more && op->result.error == 0 && !h->stopping)
        invite(h);
}

static void caller_comes(void *context)
{
    struct host *h = context;
    h->callers[h->called++] = unr_sim_connect(80);
    if (h->called < CALLERS)
        unr_sim_later(caller_comes, h);
}

/* Cancelled at any moment: a connection is taken once, or still waits. */
static void accepts_cancelled(const struct scenario *scenario)
{
    struct host h = { .loop = open_small_loop(), .listener = unr_sim_listener(80, CALLERS) };
    (void)scenario;
    invite(&h);
    unr_sim_later(caller_comes, &h);
    for (unsigned turns = unr_sim_choose(3); turns; turns--)
        unr_loop_run_once(h.loop, h.called < CALLERS && unr_sim_choose(2) ? UNR_NEVER : 0);
    unr_sim_choose(1); /* the kernel may go on meanwhile */
    h.stopping = true;
    if (unr_in_flight(&h.op))
        unr_cancel(&h.op, UNR_CANCEL_TOTAL);
    unr_loop_run(h.loop);
    outcome("shots %u taken %u ends %u last %d verdict %u", h.shots, h.taken, h.ends,
            h.op.result.error, h.op.result.verdict);
    for (int fd; (fd = unr_sim_accept(h.listener)) >= 0; h.taken++)
        unr_sim_close(fd);
    unr_sim_check(h.taken == h.called, "each connection is taken once or still waits");
    close_loop(h.loop);
    unr_sim_close(h.listener);
    while (h.called)
        unr_sim_close(h.callers[--h.called]);
}

/* ---- registering ---- */

static int register_as(struct shelf *shelf, struct unri_buf_reg reg, unsigned opcode)
{
    return unri_enter_register(&shelf->loop->ring->io, opcode, &reg, 1);
}

/* What the kernel refuses. */
static void registering_is_refused(const struct scenario *scenario)
{
    struct shelf        shelf;
    struct unr_loop    *loop = open_small_loop();
    struct unri_buf_reg good = { .entries = 4, .group = GROUP }, bad;
    const unsigned      on = IORING_REGISTER_PBUF_RING, off = IORING_UNREGISTER_PBUF_RING;
    (void)scenario;
    shelf_open(&shelf, loop, 4, 8, false);
    good.at = (uintptr_t)shelf.pages;
    outcome("once more: %d", register_as(&shelf, good, on));
    bad = good;
    bad.group++;
    outcome("no such group: %d", register_as(&shelf, bad, off));
    bad.entries = 3;
    outcome("three entries: %d", register_as(&shelf, bad, on));
    bad.entries = 0;
    outcome("no entries: %d", register_as(&shelf, bad, on));
    bad.entries = 65536;
    outcome("too many entries: %d", register_as(&shelf, bad, on));
    bad.entries = 4;
    bad.at += 64;
    outcome("within a page: %d", register_as(&shelf, bad, on));
    bad.at = 0;
    outcome("nowhere: %d", register_as(&shelf, bad, on));
    bad = good;
    bad.resv[0] = 1;
    outcome("reserved: %d", register_as(&shelf, bad, on));
    bad = good;
    bad.flags = 0x8000;
    outcome("flags: %d", register_as(&shelf, bad, on));
    outcome("flags of a removal: %d", register_as(&shelf, bad, off));
    shelf_close(&shelf);
    close_loop(loop);
}

static int register_pieces(struct unr_loop *loop, struct iovec *pieces, unsigned count)
{
    struct io_uring_rsrc_register rsrc = { .nr = count, .data = (uintptr_t)pieces };
    return unri_enter_register(&loop->ring->io, IORING_REGISTER_BUFFERS2, &rsrc, sizeof rsrc);
}

static int unregister_pieces(struct unr_loop *loop)
{
    return unri_enter_register(&loop->ring->io, IORING_UNREGISTER_BUFFERS, NULL, 0);
}

/* Memory that is registered is given back when it is registered no more. */
static void registered_buffers(const struct scenario *scenario)
{
    struct unr_loop *loop = open_small_loop();
    void            *memory = unri_os_map(2 * PAGE, false);
    struct iovec     pieces[2] = { { memory, PAGE }, { (char *)memory + PAGE, PAGE } };
    bool             too_early = scenario->parameter;
    unr_sim_check(register_pieces(loop, pieces, 2) == 0, "memory is registered");
    outcome("once more: %d", register_pieces(loop, pieces, 2));
    if (too_early)
        unri_os_unmap(memory, 2 * PAGE);
    outcome("removed: %d", unregister_pieces(loop));
    outcome("removed again: %d", unregister_pieces(loop));
    outcome("of none: %d", register_pieces(loop, pieces, 0));
    unri_os_unmap(memory, 2 * PAGE);
    close_loop(loop);
}

/* ---- what is provided and not left alone: meant to fail ---- */

enum misuse { WRITES, PROVIDES_TWICE, CHANGES_ENTRY, OVERFILLS, LENDS, UNMAPS, EMPTIES };

static void misuse_of(struct shelf *shelf, enum misuse misuse, struct unr_op *op, int fd)
{
    struct io_uring_buf_ring *ring = (struct io_uring_buf_ring *)(void *)shelf->pages;
    struct io_uring_buf      *entries = (struct io_uring_buf *)(void *)shelf->pages;
    switch (misuse) {
    case WRITES: buffer_at(shelf, 1)[3] = 'x'; break;
    case PROVIDES_TWICE: provide(shelf, 1); break;
    case CHANGES_ENTRY: entries[1].addr += 8; break;
    case OVERFILLS: io_uring_smp_store_release(&ring->tail, 5); break;
    case LENDS:
        unr_start(shelf->loop, unr_recv(op, fd, buffer_at(shelf, 1), 4, 0), NULL, NULL);
        break;
    case UNMAPS: unri_os_unmap(shelf->pages, 2 * PAGE); break;
    case EMPTIES:
        shelf->size = 0;
        provide(shelf, 2);
        break;
    }
}

static void misused(const struct scenario *scenario)
{
    struct taker  t = { .loop = open_small_loop() };
    struct unr_op op = { 0 };
    struct way    way = { .opcode = IORING_OP_RECV,
                          .ioprio = IORING_RECV_MULTISHOT,
                          .buffers = 4,
                          .size = 8,
                          .unregisters = true };
    t.way = &way;
    shelf_open(&t.shelf, t.loop, way.buffers, way.size, false);
    open_descriptors(&t);
    provide(&t.shelf, 0);
    provide(&t.shelf, 1);
    arm(&t);
    unr_loop_run_once(t.loop, 0);
    misuse_of(&t.shelf, *(const enum misuse *)scenario->parameter, &op, t.fds[0]);
    unr_sim_write(t.fds[1], pattern, 6);
    unr_loop_run_once(t.loop, UNR_NEVER);
    unr_sim_check(false, "nobody has seen it");
}

/* ---- all of them ---- */

#define SHOTS  IORING_RECV_MULTISHOT
#define BUNDLE (SHOTS | UNRI_RECVSEND_BUNDLE)

/* The buffers are given back at once and there are enough of them; or few are provided, and more
 * only when there are none. */
#define ENOUGH(n, of)  .buffers = (n), .first = (n), .size = (of), .gives_back = true
#define FEW(n, of)     .buffers = 2 * (n), .first = (n), .size = (of)
#define NONE(n, of)    .buffers = (n), .size = (of)
#define OF_PEER(n, of) .writes = (n), .write = (of)

static const struct {
    const char *name;
    struct way  way;
    bool        to_the_end; /* it is run so, too */
    unsigned    since;
} ways[] = {
    { "recv", { IORING_OP_RECV, SHOTS, ENOUGH(4, 8), OF_PEER(2, 6) }, false, 0 },
    { "recv-few", { IORING_OP_RECV, SHOTS, FEW(1, 8), OF_PEER(2, 6) }, false, 0 },
    { "recv-none", { IORING_OP_RECV, SHOTS, NONE(2, 8), OF_PEER(2, 6) }, false, 0 },
    { "recv-poll-first",
      { IORING_OP_RECV, SHOTS | IORING_RECVSEND_POLL_FIRST, NONE(2, 8), OF_PEER(2, 6) },
      false,
      0 },
    { "recv-unregistered",
      { IORING_OP_RECV, SHOTS, NONE(2, 8), .first = 2, OF_PEER(2, 6), .unregisters = true },
      false,
      0 },
    { "recv-end", { IORING_OP_RECV, SHOTS, ENOUGH(4, 8), OF_PEER(2, 6), .ends = SHUTS }, true, 0 },
    { "recv-end-few", { IORING_OP_RECV, SHOTS, FEW(1, 8), OF_PEER(2, 6), .ends = SHUTS }, true, 0 },
    { "recv-reset",
      { IORING_OP_RECV, SHOTS, ENOUGH(4, 8), OF_PEER(2, 6), .ends = RESETS },
      true,
      0 },
    { "recv-reset-few",
      { IORING_OP_RECV, SHOTS, FEW(1, 8), OF_PEER(2, 6), .ends = RESETS },
      true,
      0 },
    { "recv-limit",
      { IORING_OP_RECV, SHOTS, .limit = 7, ENOUGH(4, 4), OF_PEER(2, 6) },
      false,
      617 },
    { "recv-limit-end",
      { IORING_OP_RECV, SHOTS, .limit = 12, ENOUGH(4, 4), OF_PEER(2, 6), .ends = SHUTS },
      true,
      617 },
    { "recv-capped", { IORING_OP_RECV, SHOTS, 3, ENOUGH(4, 8), OF_PEER(1, 6) }, false, 617 },
    { "recv-many",
      { IORING_OP_RECV, SHOTS, 1, NONE(16, 4), .first = 16, OF_PEER(1, 10), .fewer = 4 },
      false,
      617 },
    { "recv-incremental",
      { IORING_OP_RECV, SHOTS, ENOUGH(2, 8), OF_PEER(2, 6), .incremental = true },
      false,
      612 },
    { "recv-incremental-few",
      { IORING_OP_RECV, SHOTS, FEW(1, 8), OF_PEER(2, 6), .ends = SHUTS, .incremental = true },
      true,
      612 },
    { "recv-incremental-limit",
      { IORING_OP_RECV, SHOTS, .limit = 7, ENOUGH(2, 8), OF_PEER(2, 6), .incremental = true },
      false,
      617 },
    { "recv-bundle", { IORING_OP_RECV, BUNDLE, ENOUGH(4, 4), OF_PEER(2, 6) }, false, 610 },
    { "recv-bundle-few",
      { IORING_OP_RECV, BUNDLE, FEW(2, 4), OF_PEER(2, 6), .ends = SHUTS },
      true,
      610 },
    { "recv-bundle-limit",
      { IORING_OP_RECV, BUNDLE, .limit = 7, ENOUGH(4, 4), OF_PEER(2, 6) },
      false,
      617 },
    { "recv-bundle-incremental",
      { IORING_OP_RECV, BUNDLE, ENOUGH(4, 4), OF_PEER(2, 6), .incremental = true },
      false,
      612 },
    { "recv-once", { IORING_OP_RECV, 0, FEW(1, 8), OF_PEER(2, 6) }, false, 0 },
    { "recv-once-none", { IORING_OP_RECV, 0, NONE(2, 8), OF_PEER(2, 6), .ends = SHUTS }, true, 0 },
    { "recvmsg", { IORING_OP_RECVMSG, SHOTS, ENOUGH(4, 32), OF_PEER(2, 6) }, false, 0 },
    { "recvmsg-few", { IORING_OP_RECVMSG, SHOTS, FEW(1, 32), OF_PEER(2, 6) }, false, 0 },
    { "recvmsg-just-enough", { IORING_OP_RECVMSG, SHOTS, FEW(2, 32), OF_PEER(2, 6) }, false, 0 },
    { "recvmsg-incremental",
      { IORING_OP_RECVMSG, SHOTS, ENOUGH(2, 44), OF_PEER(3, 6), .incremental = true, .fewer = 4 },
      false,
      612 },
    { "read", { UNRI_OP_READ_MULTISHOT, 0, ENOUGH(4, 8), OF_PEER(2, 6) }, false, 607 },
    { "read-few", { UNRI_OP_READ_MULTISHOT, 0, FEW(1, 8), OF_PEER(2, 6) }, false, 607 },
    { "read-end",
      { UNRI_OP_READ_MULTISHOT, 0, ENOUGH(4, 8), OF_PEER(2, 6), .ends = SHUTS },
      true,
      607 },
    { "read-eventfd", { UNRI_OP_READ_MULTISHOT, 0, ENOUGH(4, 8), OF_PEER(2, 0) }, false, 607 },
    { "read-once", { IORING_OP_READ, 0, FEW(1, 8), OF_PEER(2, 6) }, false, 0 },
    { "read-once-end",
      { IORING_OP_READ, 0, NONE(2, 8), .first = 2, OF_PEER(2, 6), .ends = SHUTS },
      true,
      0 },
};

static const unsigned       no_flag = 0, poll_first = IORING_RECVSEND_POLL_FIRST;
static const enum peer_ends stays = STAYS, shuts = SHUTS, resets = RESETS;
static const enum misuse    misuses[] = { WRITES, PROVIDES_TWICE, CHANGES_ENTRY, OVERFILLS,
                                          LENDS,  UNMAPS,         EMPTIES };

static const struct scenario others[] = {
    { .name = "older/lacks-shots", .run = refused_before, .linux_version = 601 },
    { .name = "shots/no-buffers", .run = armed_without_buffers, .parameter = &no_flag },
    { .name = "shots/no-buffers-poll-first",
      .run = armed_without_buffers,
      .parameter = &poll_first },
    { .name = "shots/poll",
      .run = watched_and_cancelled,
      .parameter = &stays,
      .deviations_max = 5 },
    { .name = "shots/poll-end",
      .run = watched_and_cancelled,
      .parameter = &shuts,
      .deviations_max = 5 },
    { .name = "shots/poll-plain",
      .run = watched_and_cancelled,
      .parameter = &shuts,
      .deviations_max = 4,
      .loop_flags = UNR_LOOP_PLAIN },
    { .name = "shots/poll-all",
      .run = watched_to_the_end,
      .parameter = &stays,
      .deviations_max = 7 },
    { .name = "shots/poll-to-the-end",
      .run = watched_to_the_end,
      .parameter = &shuts,
      .deviations_max = 7 },
    { .name = "shots/poll-to-the-reset",
      .run = watched_to_the_end,
      .parameter = &resets,
      .deviations_max = 7 },
    { .name = "shots/poll-to-the-end-plain",
      .run = watched_to_the_end,
      .parameter = &shuts,
      .deviations_max = 5,
      .loop_flags = UNR_LOOP_PLAIN },
    { .name = "shots/accepts", .run = accepts_cancelled, .deviations_max = 5 },
    { .name = "shots/accepts-plain",
      .run = accepts_cancelled,
      .deviations_max = 4,
      .loop_flags = UNR_LOOP_PLAIN },
    { .name = "shots/registering-is-refused", .run = registering_is_refused },
    { .name = "shots/registered-buffers", .run = registered_buffers },
    { .name = "provided/registered-is-unmapped",
      .run = registered_buffers,
      .parameter = "",
      .fails_with = "the memory of a registered buffer is unmapped" },
    { .name = "provided/is-written",
      .run = misused,
      .parameter = &misuses[0],
      .fails_with = "buffer 1 was written while it was provided" },
    { .name = "provided/is-provided-twice",
      .run = misused,
      .parameter = &misuses[1],
      .fails_with = "buffer 1 is provided while its memory stands in a ring" },
    { .name = "provided/entry-is-changed",
      .run = misused,
      .parameter = &misuses[2],
      .fails_with = "the entry of buffer 1 was changed while it was provided" },
    { .name = "provided/more-than-fit",
      .run = misused,
      .parameter = &misuses[3],
      .fails_with = "a ring of 4 provided buffers is said to hold 5" },
    { .name = "provided/is-lent",
      .run = misused,
      .parameter = &misuses[4],
      .fails_with = "stands in a ring of provided buffers, too" },
    { .name = "provided/is-unmapped",
      .run = misused,
      .parameter = &misuses[5],
      .fails_with = "a ring of provided buffers is unmapped while it is registered" },
    { .name = "provided/has-no-room",
      .run = misused,
      .parameter = &misuses[6],
      .fails_with = "a provided buffer has no room" },
};

enum { WAYS = sizeof ways / sizeof *ways, OTHERS = sizeof others / sizeof *others };

/* Each way on a ring that defers its work and on a plain one, and to the end. */
const struct scenario *scenarios_shots_table(void)
{
    static struct scenario all[3 * WAYS + OTHERS + 1];
    static char            names[3 * WAYS][48];
    static const struct {
        const char *behind;
        void (*run)(const struct scenario *scenario);
        unsigned loop_flags, deviations_max;
    } kinds[] = {
        { "", cancelled_at_any_moment, 0, 5 },
        { "-plain", cancelled_at_any_moment, UNR_LOOP_PLAIN, 5 },
        { "-to-the-end", goes_to_the_end, 0, 5 },
    };
    unsigned n = 0;
    for (unsigned kind = 0; kind < 3; kind++)
        for (unsigned i = 0; i < WAYS; i++) {
            if (kind == 2 && !ways[i].to_the_end)
                continue;
            snprintf(names[n], sizeof names[n], "shots/%s%s", ways[i].name, kinds[kind].behind);
            all[n] =
                (struct scenario){ .name = names[n],
                                   .run = kinds[kind].run,
                                   .parameter = &ways[i].way,
                                   .loop_flags = kinds[kind].loop_flags,
                                   .deviations_max = ways[i].way.fewer ? ways[i].way.fewer
                                                                       : kinds[kind].deviations_max,
                                   .since = ways[i].since };
            n++;
        }
    memcpy(&all[n], others, sizeof others);
    return all;
}
