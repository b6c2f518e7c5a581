/* SPDX-License-Identifier: MIT */
/* Multishot requests and provided buffers, by SQEs of the scenario's own: what a cancellation
 * request does to each at any moment, how they end by themselves, and what is lent meanwhile. Every
 * byte, datagram and connection is taken once and in order, or is still there. */
#include "scenario.h"

#include <liburing.h>
#include <poll.h>

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
    bool              stopping, peer_is_gone;
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
    else if (flags & IORING_CQE_F_BUFFER) /* a read of the end takes one */
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
    t->peer_is_gone = true;
    if (t->way->ends == SHUTS && t->way->opcode == IORING_OP_RECV)
        unr_sim_shutdown(t->fds[1], SHUT_WR);
    else
        unr_sim_close(t->fds[1]);
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
    if (t->fds[1] != t->fds[0]
        && !(t->peer_is_gone && !(t->way->ends == SHUTS && t->way->opcode == IORING_OP_RECV)))
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

#define RECV_SHOTS .opcode = IORING_OP_RECV, .ioprio = IORING_RECV_MULTISHOT
#define TWO_WRITES .write = 6, .writes = 2

static const struct way recv_classic = { RECV_SHOTS, .buffers = 4, .first = 4,
                                         .size = 8,  TWO_WRITES,   .gives_back = true };
static const struct way recv_incremental = { RECV_SHOTS, .buffers = 2, .first = 2,
                                             .size = 8,  TWO_WRITES,   .incremental = true };
static const struct way recv_limit = { RECV_SHOTS, .limit = 7, .buffers = 4,      .first = 4,
                                       .size = 4,  TWO_WRITES, .gives_back = true };
static const struct way recv_capped = { RECV_SHOTS, .len = 3,   .buffers = 4,      .first = 4,
                                        .size = 8,  TWO_WRITES, .gives_back = true };
static const struct way recv_few = { RECV_SHOTS, .buffers = 2, .first = 1, .size = 8, TWO_WRITES };
static const struct way recv_none = { RECV_SHOTS, .buffers = 2, .size = 8, TWO_WRITES };
static const struct way recv_poll_first = { .opcode = IORING_OP_RECV,
                                            .ioprio =
                                                IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST,
                                            .buffers = 2,
                                            .size = 8,
                                            TWO_WRITES };
static const struct way recv_end = { RECV_SHOTS, .buffers = 4,  .first = 4,        .size = 8,
                                     TWO_WRITES, .ends = SHUTS, .gives_back = true };
static const struct way recv_end_few = { RECV_SHOTS, .buffers = 2, .first = 1,
                                         .size = 8,  TWO_WRITES,   .ends = SHUTS };
static const struct way recv_reset = { RECV_SHOTS, .buffers = 4,   .first = 4,        .size = 8,
                                       TWO_WRITES, .ends = RESETS, .gives_back = true };
static const struct way recv_reset_few = { RECV_SHOTS, .buffers = 2, .first = 1,
                                           .size = 8,  TWO_WRITES,   .ends = RESETS };
static const struct way recv_bundle = { .opcode = IORING_OP_RECV,
                                        .ioprio = IORING_RECV_MULTISHOT | UNRI_RECVSEND_BUNDLE,
                                        .buffers = 4,
                                        .first = 4,
                                        .size = 4,
                                        TWO_WRITES,
                                        .gives_back = true };
static const struct way recv_bundle_few = { .opcode = IORING_OP_RECV,
                                            .ioprio = IORING_RECV_MULTISHOT | UNRI_RECVSEND_BUNDLE,
                                            .buffers = 4,
                                            .first = 2,
                                            .size = 4,
                                            TWO_WRITES };
static const struct way recv_bundle_incremental = { .opcode = IORING_OP_RECV,
                                                    .ioprio = IORING_RECV_MULTISHOT
                                                              | UNRI_RECVSEND_BUNDLE,
                                                    .buffers = 4,
                                                    .first = 4,
                                                    .size = 4,
                                                    TWO_WRITES,
                                                    .incremental = true };
static const struct way recv_bundle_limit = { .opcode = IORING_OP_RECV,
                                              .ioprio =
                                                  IORING_RECV_MULTISHOT | UNRI_RECVSEND_BUNDLE,
                                              .limit = 7,
                                              .buffers = 4,
                                              .first = 4,
                                              .size = 4,
                                              TWO_WRITES,
                                              .gives_back = true };
static const struct way recv_once = {
    .opcode = IORING_OP_RECV, .buffers = 2, .first = 1, .size = 8, TWO_WRITES
};
static const struct way recv_once_none = {
    .opcode = IORING_OP_RECV, .buffers = 2, .size = 8, TWO_WRITES
};
static const struct way recv_unregistered = { RECV_SHOTS, .buffers = 2, .first = 2,
                                              .size = 8,  TWO_WRITES,   .unregisters = true };
static const struct way recv_many = { RECV_SHOTS, .len = 1,    .buffers = 16, .first = 16,
                                      .size = 4,  .write = 12, .writes = 1 };
static const struct way recvmsg_classic = { .opcode = IORING_OP_RECVMSG,
                                            .ioprio = IORING_RECV_MULTISHOT,
                                            .buffers = 4,
                                            .first = 4,
                                            .size = 32,
                                            TWO_WRITES,
                                            .gives_back = true };
static const struct way recvmsg_few = { .opcode = IORING_OP_RECVMSG,
                                        .ioprio = IORING_RECV_MULTISHOT,
                                        .buffers = 2,
                                        .first = 1,
                                        .size = 32,
                                        TWO_WRITES };
static const struct way recvmsg_fewer = { .opcode = IORING_OP_RECVMSG,
                                          .ioprio = IORING_RECV_MULTISHOT,
                                          .buffers = 4,
                                          .first = 2,
                                          .size = 32,
                                          .write = 6,
                                          .writes = 3 };
static const struct way read_pipe = { .opcode = UNRI_OP_READ_MULTISHOT,
                                      .buffers = 4,
                                      .first = 4,
                                      .size = 8,
                                      TWO_WRITES,
                                      .gives_back = true };
static const struct way read_few = {
    .opcode = UNRI_OP_READ_MULTISHOT, .buffers = 2, .first = 1, .size = 8, TWO_WRITES
};
static const struct way read_end = { .opcode = UNRI_OP_READ_MULTISHOT,
                                     .buffers = 4,
                                     .first = 4,
                                     .size = 8,
                                     TWO_WRITES,
                                     .ends = SHUTS,
                                     .gives_back = true };
static const struct way read_eventfd = { .opcode = UNRI_OP_READ_MULTISHOT,
                                         .buffers = 4,
                                         .first = 4,
                                         .size = 8,
                                         .writes = 2,
                                         .gives_back = true };
static const struct way read_once = {
    .opcode = IORING_OP_READ, .buffers = 2, .first = 1, .size = 8, TWO_WRITES
};
static const struct way read_once_end = {
    .opcode = IORING_OP_READ, .buffers = 2, .first = 2, .size = 8, TWO_WRITES, .ends = SHUTS
};

const struct scenario *scenarios_shots_table(void)
{
    static const struct scenario table[] = {
        { .name = "shots/recv",
          .run = cancelled_at_any_moment,
          .parameter = &recv_classic,
          .deviations_max = 5 },
        { .name = "shots/recv-incremental",
          .run = cancelled_at_any_moment,
          .parameter = &recv_incremental,
          .deviations_max = 5,
          .since = 612 },
        { .name = "shots/recv-limit",
          .run = cancelled_at_any_moment,
          .parameter = &recv_limit,
          .deviations_max = 5,
          .since = 617 },
        { .name = "shots/recv-capped",
          .run = cancelled_at_any_moment,
          .parameter = &recv_capped,
          .deviations_max = 5,
          .since = 617 },
        { .name = "shots/recv-few",
          .run = cancelled_at_any_moment,
          .parameter = &recv_few,
          .deviations_max = 5 },
        { .name = "shots/recv-none",
          .run = cancelled_at_any_moment,
          .parameter = &recv_none,
          .deviations_max = 5 },
        { .name = "shots/recv-poll-first",
          .run = cancelled_at_any_moment,
          .parameter = &recv_poll_first,
          .deviations_max = 5 },
        { .name = "shots/recv-end",
          .run = cancelled_at_any_moment,
          .parameter = &recv_end,
          .deviations_max = 5 },
        { .name = "shots/recv-end-few",
          .run = cancelled_at_any_moment,
          .parameter = &recv_end_few,
          .deviations_max = 5 },
        { .name = "shots/recv-reset",
          .run = cancelled_at_any_moment,
          .parameter = &recv_reset,
          .deviations_max = 5 },
        { .name = "shots/recv-bundle",
          .run = cancelled_at_any_moment,
          .parameter = &recv_bundle,
          .deviations_max = 5,
          .since = 610 },
        { .name = "shots/recv-bundle-few",
          .run = cancelled_at_any_moment,
          .parameter = &recv_bundle_few,
          .deviations_max = 5,
          .since = 610 },
        { .name = "shots/recv-bundle-incremental",
          .run = cancelled_at_any_moment,
          .parameter = &recv_bundle_incremental,
          .deviations_max = 5,
          .since = 612 },
        { .name = "shots/recv-bundle-limit",
          .run = cancelled_at_any_moment,
          .parameter = &recv_bundle_limit,
          .deviations_max = 5,
          .since = 617 },
        { .name = "shots/recv-once",
          .run = cancelled_at_any_moment,
          .parameter = &recv_once,
          .deviations_max = 5 },
        { .name = "shots/recv-once-none",
          .run = cancelled_at_any_moment,
          .parameter = &recv_once_none,
          .deviations_max = 5 },
        { .name = "shots/recv-unregistered",
          .run = cancelled_at_any_moment,
          .parameter = &recv_unregistered,
          .deviations_max = 5 },
        { .name = "shots/recv-many",
          .run = cancelled_at_any_moment,
          .parameter = &recv_many,
          .deviations_max = 3,
          .since = 617 },
        { .name = "shots/recvmsg",
          .run = cancelled_at_any_moment,
          .parameter = &recvmsg_classic,
          .deviations_max = 5 },
        { .name = "shots/recvmsg-few",
          .run = cancelled_at_any_moment,
          .parameter = &recvmsg_few,
          .deviations_max = 5 },
        { .name = "shots/recvmsg-fewer",
          .run = cancelled_at_any_moment,
          .parameter = &recvmsg_fewer,
          .deviations_max = 5 },
        { .name = "shots/read",
          .run = cancelled_at_any_moment,
          .parameter = &read_pipe,
          .deviations_max = 5,
          .since = 607 },
        { .name = "shots/read-few",
          .run = cancelled_at_any_moment,
          .parameter = &read_few,
          .deviations_max = 5,
          .since = 607 },
        { .name = "shots/read-end",
          .run = cancelled_at_any_moment,
          .parameter = &read_end,
          .deviations_max = 5,
          .since = 607 },
        { .name = "shots/read-eventfd",
          .run = cancelled_at_any_moment,
          .parameter = &read_eventfd,
          .deviations_max = 5,
          .since = 607 },
        { .name = "shots/read-once",
          .run = cancelled_at_any_moment,
          .parameter = &read_once,
          .deviations_max = 5 },
        { .name = "shots/read-once-end",
          .run = cancelled_at_any_moment,
          .parameter = &read_once_end,
          .deviations_max = 5 },
        { .name = "shots/recv-to-the-end",
          .run = goes_to_the_end,
          .parameter = &recv_end,
          .deviations_max = 6 },
        { .name = "shots/recv-few-to-the-end",
          .run = goes_to_the_end,
          .parameter = &recv_end_few,
          .deviations_max = 6 },
        { .name = "shots/recv-to-the-reset",
          .run = goes_to_the_end,
          .parameter = &recv_reset,
          .deviations_max = 6 },
        { .name = "shots/recv-few-to-the-reset",
          .run = goes_to_the_end,
          .parameter = &recv_reset_few,
          .deviations_max = 6 },
        { .name = "shots/read-to-the-end",
          .run = goes_to_the_end,
          .parameter = &read_end,
          .deviations_max = 6,
          .since = 607 },
        { .name = NULL },
    };
    return table;
}
