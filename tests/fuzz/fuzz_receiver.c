/* SPDX-License-Identifier: MIT */
/* Two receivers on unix sockets share a pool of few buffers, or have none.  The fuzzer chooses the
 * order of reads, views, cancels, stops and what the peers do; a queue of bytes says what has to
 * come of it.  The kernel is the real one.  This thread alone calls it, and nothing waits for a
 * time, so an input does the same each time.  Before Linux 6.7 there are no pools. */
#include "fuzz.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LANES = 2,
    SIZE = 512, /* of a buffer of the pool */
    COUNT_MAX = 8,
    ROOM = 2048,
    TEXT = 1 << 18, /* as much is sent at most */
    COMMANDS_MAX = 300,
    PATIENCE = 4, /* turns in which a read ends for which there is something */
    TURNS_MAX = 1000,
};

static struct unr_loop *loop;
static struct unr_pool *pool;
static unsigned         count; /* of the buffers of the pool */
static bool             has_pools = true, has_limits;
static struct tape      tape;
static uint8_t          whole_text[TEXT + LANES], untouched[ROOM];

struct lane {
    struct unr_receiver receiver;
    struct unr_op       read, stop;
    struct msghdr       message;
    struct iovec        parts[2];
    int                 fds[2]; /* [0] is the receiver's; [1] is -1 once the peer has closed it */
    uint32_t            credit;
    const uint8_t      *text;
    size_t              sent, taken; /* the queue: the text from `taken` to `sent` */
    size_t              len;         /* of the room of the read */
    unsigned            then;        /* what `done` of the read does */
    unsigned            waited;      /* turns in which there was something for the read */
    bool                views, asked, was_asked_by_stop;
    bool                stops, is_stopped;
    bool                is_over, is_reset; /* the peer sends no more */
    bool                error_is_due;      /* the reset, which nobody can have heard of */
    uint8_t             room[ROOM];
} lanes[LANES];

/* Buffers that are the caller's, with what is in them; text NULL: of unr_pool_take(). */
static struct kept {
    void          *data;
    const uint8_t *text;
    size_t         len;
} kept[COUNT_MAX];
static unsigned kept_count;

static struct lane *other_of(const struct lane *l)
{
    return &lanes[l == &lanes[0]];
}

/* ---- the queue ---- */

static void took(struct lane *l, const void *data, size_t len)
{
    check(len <= l->sent - l->taken);
    check(memcmp(data, l->text + l->taken, len) == 0);
    l->taken += len;
}

/* A receiver shows what nobody has taken yet. Returns in how many buffers. */
static unsigned check_shown(struct lane *l)
{
    struct iovec pieces[COUNT_MAX];
    unsigned     n = unr_receiver_pieces(&l->receiver, pieces, COUNT_MAX);
    size_t       at = l->taken;
    bool         is_behind_read = unr_in_flight(&l->read) && !l->views;
    for (unsigned i = 0; i < n; at += pieces[i++].iov_len) {
        check(pieces[i].iov_len && pieces[i].iov_len <= l->sent - at);
        check(is_behind_read || memcmp(pieces[i].iov_base, l->text + at, pieces[i].iov_len) == 0);
    }
    check(unr_receiver_held(&l->receiver) == at - l->taken);
    check(!has_limits || at - l->taken < l->credit + SIZE);
    return n;
}

static void check_all(void)
{
    struct unr_pool_stats stats;
    unsigned              held = kept_count;
    for (struct lane *l = lanes; l < lanes + LANES; l++)
        held += check_shown(l);
    if (!pool)
        return;
    unr_pool_stats(pool, &stats, sizeof stats);
    check(stats.held == held && stats.taken - stats.given == held);
}

/* ---- the end of a read ---- */

static void consume(struct lane *l, size_t len)
{
    size_t held = unr_receiver_held(&l->receiver);
    len = len < held ? len : held;
    unr_receiver_consume(&l->receiver, len);
    l->taken += len;
}

static void keep(struct lane *l)
{
    size_t len;
    void  *data = unr_receiver_keep(&l->receiver, &len);
    if (!data)
        return;
    check(kept_count < count);
    kept[kept_count++] = (struct kept){ data, l->text + l->taken, len };
    took(l, data, len);
}

static void check_verdict(const struct lane *l, const struct unr_result *r)
{
    if (r->error == -ECANCELED)
        check((l->asked || l->was_asked_by_stop) && r->verdict == UNR_VERDICT_CANCELLED
              && r->guarantee == UNR_CANCEL_TOTAL && r->bytes == 0);
    else if (l->asked)
        check(r->verdict == UNR_VERDICT_TOO_LATE && r->guarantee == 0);
    else
        check(r->guarantee == 0
              && (r->verdict == UNR_VERDICT_NONE
                  || (l->was_asked_by_stop && r->verdict == UNR_VERDICT_TOO_LATE)));
}

static void told_end(struct lane *l, int error)
{
    check(l->is_over && l->taken == l->sent);
    check(unr_receiver_held(&l->receiver) == 0);
    check(error == 0 ? !l->error_is_due : error == -ECONNRESET && l->is_reset);
    if (error)
        l->is_reset = l->error_is_due = false;
}

static void read_something(struct lane *l)
{
    const struct unr_result *r = &l->read.result;
    if (l->views) {
        check(r->bytes <= unr_receiver_held(&l->receiver));
    } else {
        check(r->bytes <= l->len);
        took(l, l->room, r->bytes);
    }
}

static void check_untouched(const struct lane *l, size_t from)
{
    check(memcmp(l->room + from, untouched, sizeof l->room - from) == 0);
}

static void start_read(struct lane *l, unsigned how);

static void on_read(struct unr_op *op)
{
    struct lane             *l = op->data;
    const struct unr_result *r = &op->result;
    unsigned                 then = l->then;
    check_verdict(l, r);
    if (r->error == -ESHUTDOWN)
        check(l->stops && r->bytes == 0 && unr_receiver_held(&l->receiver) == 0);
    else if (r->error != -ECANCELED && r->bytes == 0)
        told_end(l, r->error);
    else if (r->error == 0)
        read_something(l);
    check_untouched(l, l->views || r->error ? 0 : r->bytes);
    if (then & 1 && pool)
        consume(l, take(&tape));
    if (then & 2 && pool)
        keep(l);
    if (then & 4 && unr_cancel(&other_of(l)->read, UNR_CANCEL_ALL))
        other_of(l)->asked = true;
    if (then & 8)
        start_read(l, then >> 4);
}

/* ---- what the program does ---- */

static struct unr_op *describe_read(struct lane *l, unsigned how)
{
    l->views = pool && how & 2;
    if (l->views)
        return unr_receive_view(&l->read, &l->receiver);
    l->len = 1 + take_two(&tape) % ROOM;
    if (!(how & 1))
        return unr_receive(&l->read, &l->receiver, l->room, l->len);
    l->parts[0] = (struct iovec){ l->room, l->len / 3 };
    l->parts[1] = (struct iovec){ l->room + l->len / 3, l->len - l->len / 3 };
    l->message = (struct msghdr){ .msg_iov = l->parts, .msg_iovlen = 2 };
    return unr_receive_message(&l->read, &l->receiver, &l->message);
}

static void start_read(struct lane *l, unsigned how)
{
    if (unr_in_flight(&l->read))
        return;
    memcpy(l->room, untouched, sizeof l->room);
    l->asked = l->was_asked_by_stop = false;
    l->waited = 0;
    l->then = take(&tape);
    unr_start(loop, describe_read(l, how), on_read, l);
}

static void cancel(struct lane *l, unsigned types)
{
    bool is_there = unr_in_flight(&l->read);
    check(unr_cancel(&l->read, 1 + types % 7) == is_there);
    l->asked |= is_there;
}

static void on_stopped(struct unr_op *op)
{
    struct lane *l = op->data;
    check(op->result.error == 0);
    l->is_stopped = true;
}

static void stop(struct lane *l)
{
    if (unr_in_flight(&l->stop))
        return;
    l->stops = true;
    l->was_asked_by_stop = true;
    l->error_is_due = false;
    unr_start(loop, unr_receiver_stop(&l->stop, &l->receiver), on_stopped, l);
}

/* The descriptor is the caller's again. */
static bool is_free(const struct lane *l)
{
    return l->is_stopped && !unr_in_flight(&l->stop) && !unr_in_flight(&l->read);
}

/* Returns false if nothing more comes. */
static bool read_outside(struct lane *l, size_t len)
{
    uint8_t bytes[4096];
    ssize_t n = recv(l->fds[0], bytes, 1 + len % sizeof bytes, MSG_DONTWAIT);
    if (n > 0)
        took(l, bytes, (size_t)n);
    else if (n == 0 || errno == ECONNRESET)
        told_end(l, n ? -errno : 0);
    else
        check(errno == EAGAIN && l->taken == l->sent && !l->is_over);
    return n > 0;
}

static void init(struct lane *l)
{
    l->stops = l->is_stopped = false;
    unr_receiver_init(&l->receiver, loop, pool, l->fds[0], l->credit);
}

static void drop_rest(struct lane *l)
{
    l->taken += unr_receiver_held(&l->receiver);
    unr_receiver_free(&l->receiver);
    check(unr_receiver_held(&l->receiver) == 0);
}

static void use_stopped(struct lane *l, unsigned how)
{
    if (!is_free(l))
        return;
    if (how & 1) {
        drop_rest(l);
        init(l);
    } else if (unr_receiver_held(&l->receiver) == 0) {
        read_outside(l, take_two(&tape));
    }
}

static void give(void)
{
    if (!kept_count)
        return;
    struct kept *k = &kept[take(&tape) % kept_count];
    if (k->text)
        check(memcmp(k->data, k->text, k->len) == 0);
    unr_pool_give(pool, (uint8_t *)k->data + take_two(&tape) % k->len);
    *k = kept[--kept_count];
}

static void take_buffer(void)
{
    void *buffer = pool ? unr_pool_take(pool) : NULL;
    if (!buffer)
        return;
    check(kept_count < count);
    memcpy(buffer, untouched, SIZE);
    kept[kept_count++] = (struct kept){ buffer, NULL, SIZE };
}

/* ---- what the peer does ---- */

static void peer_sends(struct lane *l, size_t len)
{
    len = len < TEXT - l->sent ? len : TEXT - l->sent;
    if (l->is_over || !len)
        return;
    ssize_t n = send(l->fds[1], l->text + l->sent, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    check(n > 0 || errno == EAGAIN);
    l->sent += n > 0 ? (size_t)n : 0;
}

/* The peer shuts down, closes, or closes with bytes unread, which is a reset. */
static void peer_ends(struct lane *l, unsigned how)
{
    if (l->fds[1] < 0)
        return;
    if (how % 3 == 0) {
        shutdown(l->fds[1], SHUT_WR);
    } else {
        if (how % 3 == 1) {
            check(send(l->fds[0], "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1);
            l->is_reset = true;
            l->error_is_due = !l->stops && !l->is_over;
        }
        close(l->fds[1]);
        l->fds[1] = -1;
    }
    l->is_over = true;
}

/* ---- turns ---- */

/* Tells whether a read has to end soon. */
static bool has_something(const struct lane *l)
{
    struct unr_pool_stats stats;
    if (!unr_in_flight(&l->read) || (l->taken == l->sent && !l->is_over))
        return false;
    if (!l->views)
        return true;
    unr_pool_stats(pool, &stats, sizeof stats);
    return stats.held < count;
}

static void turn(void)
{
    check(unr_loop_run_once(loop, 0) >= 0);
    for (struct lane *l = lanes; l < lanes + LANES; l++) {
        l->waited = has_something(l) ? l->waited + 1 : 0;
        check(l->waited <= PATIENCE);
    }
}

static void finish(const struct unr_op *op)
{
    for (int turns = 0; unr_in_flight(op); turns++) {
        check(turns < TURNS_MAX);
        turn();
    }
}

/* ---- its begin and its end ---- */

static void open_pool(unsigned buffers, unsigned published)
{
    const struct unr_pool_options options = {
        .size = sizeof options, .count = buffers, .buffer_size = SIZE, .published = published
    };
    count = buffers;
    pool = NULL;
    if (has_pools)
        has_pools = unr_pool_open(&pool, loop, &options) == 0;
}

/* Finds out whether the kernel ends a receive by itself after so many bytes: Linux 6.17. */
static void look_for_limits(void)
{
    struct unr_op op = { .data = NULL };
    int           fds[2];
    open_pool(2, 1);
    if (!pool)
        return;
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0 && send(fds[1], "x", 1, 0) == 1);
    unr_start(loop, unr_recv_multishot(&op, fds[0], pool, 1, 0), count_done, NULL);
    for (int turns = 0; unr_in_flight(&op); turns++)
        check(turns < TURNS_MAX && unr_loop_run_once(loop, 0) >= 0);
    has_limits = op.result.error == 0;
    if (has_limits)
        unr_pool_give(pool, unr_shot_data(&op));
    unr_pool_close(pool);
    close(fds[0]);
    close(fds[1]);
}

static void open_lane(struct lane *l)
{
    memset(l, 0, offsetof(struct lane, room));
    l->text = whole_text + (l - lanes);
    l->credit = 1 + take_two(&tape) % 3000;
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, l->fds) == 0);
    init(l);
}

/* What is in the receiver, and then what is in the socket, is all that there is. */
static void read_the_rest(struct lane *l)
{
    if (!l->stops)
        stop(l);
    if (unr_in_flight(&l->stop))
        finish(&l->stop);
    do {
        l->then = 0;
        start_read(l, 0);
        l->then = 0;
        finish(&l->read);
    } while (l->read.result.error == 0);
    check(l->read.result.error == -ESHUTDOWN);
    while (read_outside(l, ROOM))
        ;
    check(l->taken == l->sent);
}

static void close_lane(struct lane *l, unsigned how)
{
    struct unr_op closing = { .data = NULL };
    l->then = 0;
    if (how % 3 == 0) {
        if (unr_in_flight(&l->read))
            cancel(l, 0);
        read_the_rest(l);
    }
    l->stops = l->was_asked_by_stop = true;
    l->error_is_due = false;
    unr_start(loop,
              how % 3 == 1 ? unr_cancel_close(&closing, l->fds[0]) : unr_close(&closing, l->fds[0]),
              NULL, NULL);
    finish(&closing);
    if (how % 3 == 2)
        stop(l);
    finish(&l->stop);
    finish(&l->read);
    if (l->fds[1] >= 0)
        close(l->fds[1]);
    drop_rest(l);
}

static void command(unsigned what)
{
    struct lane *l = &lanes[what / 16 % LANES];
    bool         may_take = pool && !unr_in_flight(&l->read);
    switch (what % 16) {
    case 0: peer_sends(l, 1 + what / 32); break;
    case 1: peer_sends(l, take_two(&tape) % 4000); break;
    case 2:
    case 3: start_read(l, what / 32); break;
    case 4:
    case 5: cancel(l, what / 32); break;
    case 6:
        if (may_take)
            consume(l, take_two(&tape) % 1500);
        break;
    case 7:
        if (may_take)
            keep(l);
        break;
    case 8: give(); break;
    case 9: take_buffer(); break;
    case 10: stop(l); break;
    case 11: use_stopped(l, what / 32); break;
    case 12: peer_ends(l, what / 32); break;
    default: turn();
    }
}

static void set_up(void)
{
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof whole_text; i++)
        whole_text[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
    memset(untouched, 0xa5, sizeof untouched);
    loop = the_loop();
    look_for_limits();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (!loop)
        set_up();
    tape = (struct tape){ data, len };
    kept_count = 0;
    unsigned how = take(&tape), ends = take(&tape);
    pool = NULL;
    if (how & 3)
        open_pool(2u << how / 4 % 3, 1 + how / 16 % 4);
    for (struct lane *l = lanes; l < lanes + LANES; l++)
        open_lane(l);
    for (unsigned i = 0; i < COMMANDS_MAX && tape.len; i++) {
        command(take(&tape));
        check_all();
    }
    for (struct lane *l = lanes; l < lanes + LANES; l++, ends /= 4)
        close_lane(l, ends);
    while (kept_count)
        give();
    check_all();
    check(unr_loop_in_flight(loop) == 0);
    unr_pool_close(pool);
    return 0;
}
