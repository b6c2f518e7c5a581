/* SPDX-License-Identifier: MIT */
/* Pools, the multishot operations that take buffers from them, and receivers with a pool: each byte
 * once and in order, whatever is cancelled, stopped, closed or starved meanwhile; each buffer has
 * one owner, and comes back. */
#include "scenario.h"

#include <errno.h>

enum { SIZE = 512, BUFFERS_MAX = 8, LINKS = 3, TURNS_MAX = 200, CAPACITY = 4096 };

/* ---- a pool and its loop ---- */

struct place {
    struct unr_loop *loop;
    struct unr_pool *pool;
    bool             is_over; /* other processes do nothing more */
};

static struct unr_pool *open_pool(struct unr_loop *loop, unsigned count, unsigned published)
{
    const struct unr_pool_options options = {
        .size = sizeof options, .count = count, .buffer_size = SIZE, .published = published
    };
    struct unr_pool *pool = NULL;
    unr_sim_check(unr_pool_open(&pool, loop, &options) == 0, "a pool opens");
    return pool;
}

static void open_place(struct place *place, unsigned count, unsigned published)
{
    *place = (struct place){ .loop = open_small_loop() };
    place->pool = open_pool(place->loop, count, published);
}

static struct unr_pool_stats stats_of(const struct unr_pool *pool)
{
    struct unr_pool_stats stats;
    unr_pool_stats(pool, &stats, sizeof stats);
    return stats;
}

/* Each buffer has come back.  The pool is closed before its loop or after it. */
static void close_place(struct place *place)
{
    struct unr_pool_stats stats = stats_of(place->pool);
    unr_sim_check(stats.taken == stats.given && stats.held == 0, "each buffer has come back");
    place->is_over = true;
    if (unr_sim_choose(2)) {
        close_loop(place->loop);
        unr_pool_close(place->pool);
    } else {
        unr_pool_close(place->pool);
        close_loop(place->loop);
    }
}

static void turn(const struct place *place, unr_time timeout)
{
    unr_sim_check(unr_loop_run_once(place->loop, timeout) >= 0, "a turn");
}

static void count_run(struct unr_op *op)
{
    ++*(int *)op->data;
}

/* Turns until an operation that ends soon has ended. */
static void end_of(const struct place *place, const struct unr_op *op)
{
    for (int turns = 0; unr_in_flight(op); turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends");
        turn(place, UNR_NEVER);
    }
}

/* Turns so often, whatever happens meanwhile. */
static void go_round(const struct place *place, int turns)
{
    struct unr_op nop = { .data = NULL };
    int           runs = 0;
    for (; turns; turns--) {
        unr_start(place->loop, unr_nop(&nop), count_run, &runs);
        end_of(place, &nop);
    }
}

/* ---- what another process sends ---- */

enum ending { GOES_ON, CLOSES, RESETS };

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 31 + i / 200);
}

static bool are_bytes(const void *data, size_t from, size_t n)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != byte_at(from + i))
            return false;
    return true;
}

struct peer {
    struct place *place;
    int           fds[2]; /* [0] is the receiver's */
    size_t        total, piece, sent;
    enum ending   ending;
    bool          waits; /* there was no room */
    bool          over;  /* it has done all that it does */
};

static void send_on(void *context)
{
    struct peer  *p = context;
    unsigned char bytes[CAPACITY];
    size_t        n = p->total - p->sent < p->piece ? p->total - p->sent : p->piece;
    if (p->place->is_over || p->over)
        return;
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(p->sent + i);
    ssize_t wrote = unr_sim_write(p->fds[1], bytes, n);
    p->waits = wrote == -EAGAIN;
    if (wrote < 0)
        return;
    p->sent += (size_t)wrote;
    if (p->sent < p->total) {
        unr_sim_later(send_on, p);
        return;
    }
    p->over = true;
    if (p->ending == RESETS)
        unr_sim_write(p->fds[0], "x", 1); /* unread at the peer: who closes then resets */
    if (p->ending != GOES_ON)
        unr_sim_close(p->fds[1]);
}

/* There is room again, perhaps. */
static void send_more(struct peer *p)
{
    if (!p->waits)
        return;
    p->waits = false;
    unr_sim_later(send_on, p);
}

static void close_peer(const struct peer *p)
{
    if (p->ending == GOES_ON || !p->over)
        unr_sim_close(p->fds[1]);
}

/* ---- a receiver, and who reads from it ---- */

enum how { COPY, MESSAGE, VIEW, VIEW_PART, KEEP };

struct link {
    struct place       *place;
    struct peer         peer;
    struct unr_receiver receiver;
    struct unr_op       op, other;
    enum how            how;
    size_t              room, got;
    unsigned char       buf[2 * SIZE];
    struct iovec        iov;
    struct msghdr       msg;
    unsigned char      *kept; /* a buffer that the reader has kept */
    size_t              kept_from, kept_len;
    int                 runs, error;
    bool                at_end;
    unsigned            asks; /* as often its reads may be cancelled */
};

static void open_link(struct link *l, struct place *place, uint32_t credit)
{
    l->place = l->peer.place = place;
    if (!l->peer.fds[0] && !l->peer.fds[1])
        unr_sim_socketpair(l->peer.fds, CAPACITY);
    if (l->peer.total)
        unr_sim_later(send_on, &l->peer);
    unr_receiver_init(&l->receiver, place->loop, place->pool, l->peer.fds[0], credit);
}

static void take(struct link *l, const void *data, size_t n)
{
    unr_sim_check(l->got + n <= l->peer.sent && are_bytes(data, l->got, n),
                  "each byte once, and in order");
    l->got += n;
    send_more(&l->peer);
}

static void give_kept(struct link *l)
{
    if (!l->kept)
        return;
    unr_sim_check(are_bytes(l->kept, l->kept_from, l->kept_len), "what is kept stays as it is");
    memset(l->kept, 'k', l->kept_len); /* it is the reader's */
    unr_pool_give(l->place->pool, l->kept + l->kept_len - 1);
    l->kept = NULL;
}

static void keep(struct link *l)
{
    size_t len;
    give_kept(l);
    l->kept_from = l->got;
    l->kept = unr_receiver_keep(&l->receiver, &len);
    unr_sim_check(l->kept && len, "there is something to keep");
    l->kept_len = len;
    take(l, l->kept, len);
}

/* Everything that is there to see, in pieces. */
static size_t look(const struct link *l)
{
    struct iovec pieces[BUFFERS_MAX + 1];
    unsigned     n = unr_receiver_pieces(&l->receiver, pieces, BUFFERS_MAX + 1);
    size_t       all = 0, first;
    for (unsigned i = 0; i < n; i++) {
        unr_sim_check(are_bytes(pieces[i].iov_base, l->got + all, pieces[i].iov_len),
                      "what is shown is what comes next");
        all += pieces[i].iov_len;
    }
    unr_sim_check(all == unr_receiver_held(&l->receiver), "all of it is shown");
    unr_sim_check(unr_receiver_data(&l->receiver, &first) == (n ? pieces[0].iov_base : NULL)
                      && first == (n ? pieces[0].iov_len : 0),
                  "the first piece is the first");
    return all;
}

static void consume(struct link *l, size_t n)
{
    unr_receiver_consume(&l->receiver, n);
    l->got += n;
    send_more(&l->peer);
}

static void take_read(struct link *l, size_t bytes)
{
    switch (l->how) {
    case COPY:
    case MESSAGE: take(l, l->buf, bytes); break;
    case VIEW:
        unr_sim_check(look(l) >= bytes, "as much as the result says, or more has come");
        consume(l, bytes);
        break;
    case VIEW_PART:
        unr_sim_check(look(l) >= bytes, "as much as the result says, or more has come");
        consume(l, (bytes + 1) / 2);
        break;
    case KEEP: keep(l); break;
    }
}

static void was_read(struct unr_op *op)
{
    struct link             *l = op->data;
    const struct unr_result *r = &op->result;
    l->runs++;
    if (r->error == -ECANCELED) {
        unr_sim_check(r->guarantee == UNR_CANCEL_TOTAL && r->bytes == 0,
                      "a cancelled read has taken nothing");
        unr_sim_check(r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED,
                      "it was cancelled in user space");
        return;
    }
    unr_sim_check(!r->requested || r->verdict == UNR_VERDICT_TOO_LATE, "who asked came too late");
    if (!r->error && r->bytes) {
        take_read(l, r->bytes);
        return;
    }
    l->error = r->error;
    l->at_end = true;
}

static struct unr_op *describe_read(struct link *l)
{
    switch (l->how) {
    case COPY: return unr_receive(&l->op, &l->receiver, l->buf, l->room);
    case MESSAGE:
        l->iov = (struct iovec){ l->buf, l->room };
        l->msg = (struct msghdr){ .msg_iov = &l->iov, .msg_iovlen = 1 };
        return unr_receive_message(&l->op, &l->receiver, &l->msg);
    default: return unr_receive_view(&l->op, &l->receiver);
    }
}

static void begin_read(struct link *l)
{
    unr_start(l->place->loop, describe_read(l), was_read, l);
}

/* Turns until the read has ended, and meanwhile it may be cancelled. */
static void end_read(struct link *l)
{
    for (int turns = 0; unr_in_flight(&l->op); turns++) {
        unr_sim_check(turns < TURNS_MAX, "a read does not sleep beside something to read");
        if (l->asks && unr_sim_choose(2)) {
            l->asks--;
            unr_cancel(&l->op, UNR_CANCEL_ALL);
        }
        turn(l->place, UNR_NEVER);
    }
}

static void read_to(struct link *l, size_t total)
{
    for (int reads = 0; l->got < total && !l->at_end; reads++) {
        unr_sim_check(reads < TURNS_MAX, "it comes to an end");
        begin_read(l);
        end_read(l);
    }
    unr_sim_check(l->got == total, "each byte");
}

/* The end comes behind all bytes. */
static void read_end(struct link *l)
{
    l->asks = 0;
    begin_read(l);
    end_read(l);
    unr_sim_check(l->at_end && l->got == l->peer.total, "the end comes behind all bytes");
    unr_sim_check(l->error == 0 || (l->peer.ending == RESETS && l->error == -ECONNRESET),
                  "and is what the peer made of it");
    unr_sim_check(unr_receiver_held(&l->receiver) == 0, "nothing is left");
}

static void close_link(struct link *l)
{
    int closed = 0;
    unr_start(l->place->loop, unr_cancel_close(&l->other, l->peer.fds[0]), count_run, &closed);
    end_of(l->place, &l->other);
    unr_sim_check(closed == 1 && l->other.result.error == 0, "closed");
    give_kept(l);
    unr_receiver_free(&l->receiver);
    l->peer.over |= l->peer.ending == GOES_ON;
    close_peer(&l->peer);
}

/* What a scenario does. */
struct plan {
    enum how    how;
    enum ending ending;
    size_t      room, total, piece;
    unsigned    count, published, asks;
    uint32_t    credit;
    bool        empty; /* all buffers are taken */
};

static struct link link_of(const struct plan *plan)
{
    return (struct link){
        .peer = { .total = plan->total, .piece = plan->piece, .ending = plan->ending },
        .how = plan->how,
        .room = plan->room,
        .asks = plan->asks
    };
}

/* ---- all of it is read, and reads are cancelled at any moment ---- */

static void read_all(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    struct place       place;
    struct link        l = link_of(plan);
    open_place(&place, plan->count, plan->published);
    open_link(&l, &place, plan->credit);
    read_to(&l, plan->total);
    if (plan->ending != GOES_ON)
        read_end(&l);
    outcome("%zu bytes, %s", l.got, l.at_end ? "end" : "goes on");
    close_link(&l);
    close_place(&place);
}

/* ---- a stop at any moment ---- */

/* What is in the receiver comes first, then what is in the socket. */
static void read_rest(struct link *l)
{
    unsigned char rest[CAPACITY];
    consume(l, look(l));
    ssize_t n = unr_sim_read(l->peer.fds[0], rest, sizeof rest);
    n = n < 0 ? 0 : n;
    take(l, rest, (size_t)n);
    unr_sim_check(l->got == l->peer.sent, "each byte was read, or is in the receiver or behind it");
}

static void stopped(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    struct place       place;
    struct link        l = link_of(plan);
    int                stops = 0;
    bool               with_read = !unr_sim_choose(2);
    unsigned           turns = unr_sim_choose(4);
    open_place(&place, plan->count, plan->published);
    open_link(&l, &place, plan->credit);
    if (with_read)
        begin_read(&l);
    for (; turns; turns--)
        turn(&place, 0);
    unr_start(place.loop, unr_receiver_stop(&l.other, &l.receiver), count_run, &stops);
    end_of(&place, &l.other);
    end_of(&place, &l.op);
    unr_sim_check(stops == 1 && l.other.result.error == 0, "stopped once");
    if (unr_sim_choose(2)) { /* what it holds is read as ever, then it serves nobody */
        size_t held = unr_receiver_held(&l.receiver);
        if (held)
            read_to(&l, l.got + held);
        begin_read(&l);
        end_read(&l);
        unr_sim_check(l.error == -ESHUTDOWN, "it was stopped");
    }
    give_kept(&l);
    read_rest(&l);
    unr_receiver_free(&l.receiver);
    if (unr_sim_choose(2)) {
        l.at_end = false;
        unr_receiver_init(&l.receiver, place.loop, place.pool, l.peer.fds[0], plan->credit);
        read_to(&l, plan->total);
    }
    close_link(&l);
    close_place(&place);
}

/* ---- closed at any moment ---- */

enum closer { BY_CLOSE, BY_CANCEL_CLOSE, BY_LOOP };

static void close_by(struct link *l, enum closer closer)
{
    int closes = 0;
    l->place->is_over = true;
    if (closer == BY_LOOP) {
        unr_sim_check(unr_loop_close(l->place->loop) == 0, "closed");
        unr_sim_close(l->peer.fds[0]);
        return;
    }
    unr_start(l->place->loop,
              closer == BY_CLOSE ? unr_close(&l->other, l->peer.fds[0])
                                 : unr_cancel_close(&l->other, l->peer.fds[0]),
              count_run, &closes);
    end_of(l->place, &l->other);
    unr_sim_check(closes == 1 && l->other.result.error == 0, "closed");
}

static void closed(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    struct place       place;
    struct link        l = link_of(plan);
    enum closer        closer = unr_sim_choose(3);
    bool               with_read = !unr_sim_choose(2), stops = unr_sim_choose(2);
    unsigned           turns = unr_sim_choose(4);
    void              *taken[BUFFERS_MAX] = { NULL };
    struct unr_op      stop = { .data = NULL };
    int                stop_runs = 0;
    open_place(&place, plan->count, plan->published);
    for (unsigned i = 0; plan->empty && i < plan->count; i++)
        taken[i] = unr_pool_take(place.pool);
    open_link(&l, &place, plan->credit);
    if (with_read)
        begin_read(&l);
    for (; turns; turns--)
        turn(&place, 0);
    if (stops)
        unr_start(place.loop, unr_receiver_stop(&stop, &l.receiver), count_run, &stop_runs);
    close_by(&l, closer);
    if (closer == BY_CLOSE && !stops) { /* it does not wait for the receiver, and a stop does */
        stops = true;
        unr_start(place.loop, unr_receiver_stop(&stop, &l.receiver), count_run, &stop_runs);
    }
    end_of(&place, &stop);
    end_of(&place, &l.op);
    unr_sim_check(l.runs == with_read && stop_runs == stops, "each done once");
    unr_sim_check(!unr_in_flight(&l.op), "the read has ended");
    for (unsigned i = 0; i < plan->count; i++)
        if (taken[i])
            unr_pool_give(place.pool, taken[i]);
    give_kept(&l);
    look(&l);
    unr_receiver_free(&l.receiver);
    struct unr_pool_stats stats = stats_of(place.pool);
    unr_sim_check(stats.taken == stats.given && stats.held == 0, "each buffer has come back");
    unr_pool_close(place.pool);
    if (closer != BY_LOOP)
        close_loop(place.loop);
    close_peer(&l.peer);
}

/* ---- credit ---- */

/* Nobody reads, and a peer sends as much as it can: no more waits in the receiver than its credit
 * and a buffer, or where the kernel knows no limit, what is published besides.  Nothing does where
 * the kernel does not know the pool. */
static void flood(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    struct place       place;
    struct link        l = link_of(plan);
    int                rounds = 0;
    open_place(&place, plan->count, plan->published);
    open_link(&l, &place, plan->credit);
    for (unsigned more = 2; more; rounds++) {
        unr_sim_check(rounds < TURNS_MAX, "it comes to rest");
        go_round(&place, 1); /* a neighbour goes on */
        size_t most = plan->credit + SIZE - 1;
        if (scenario->linux_version == 601)
            most = 0;
        else if (scenario->linux_version) /* a first cancel may miss */
            most = plan->credit + 2 * plan->published * SIZE;
        unr_sim_check(unr_receiver_held(&l.receiver) <= most, "the flood is held at the credit");
        look(&l);
        more -= l.peer.over || l.peer.waits;
    }
    outcome("%zu held", unr_receiver_held(&l.receiver));
    read_to(&l, plan->total);
    close_link(&l);
    close_place(&place);
}

/* ---- several receivers with few buffers ---- */

struct crowd {
    struct place place;
    struct link  links[LINKS];
    unsigned     count;
};

static void join_crowd(struct crowd *crowd, const struct plan *plan)
{
    struct link *l = &crowd->links[crowd->count++];
    *l = link_of(plan);
    unr_sim_socketpair(l->peer.fds, CAPACITY);
    open_link(l, &crowd->place, plan->credit);
}

static void open_crowd(struct crowd *crowd, const struct plan *plan, unsigned count)
{
    open_place(&crowd->place, plan->count, plan->published);
    crowd->count = 0;
    while (crowd->count < count)
        join_crowd(crowd, plan);
}

static void close_crowd(struct crowd *crowd)
{
    for (unsigned i = 0; i < crowd->count; i++)
        close_link(&crowd->links[i]);
    close_place(&crowd->place);
}

static bool wants_more(const struct link *l)
{
    return l->got < l->peer.total && !l->at_end;
}

/* All of them read, side by side, and each gets all of its own. */
static void side_by_side(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    struct crowd       crowd;
    bool               busy = true;
    open_crowd(&crowd, plan, LINKS);
    for (int turns = 0; busy; turns++) {
        busy = false;
        for (unsigned i = 0; i < crowd.count; i++)
            if (!unr_in_flight(&crowd.links[i].op) && wants_more(&crowd.links[i]))
                begin_read(&crowd.links[i]);
        for (unsigned i = 0; i < crowd.count; i++)
            busy |= wants_more(&crowd.links[i]);
        if (busy)
            turn(&crowd.place, UNR_NEVER);
        unr_sim_check(turns < TURNS_MAX, "nobody starves");
    }
    for (unsigned i = 0; i < crowd.count; i++) {
        unr_sim_check(crowd.links[i].got == plan->total, "each byte");
        if (plan->ending != GOES_ON)
            read_end(&crowd.links[i]);
    }
    outcome("%u starved", stats_of(crowd.place.pool).starved != 0);
    close_crowd(&crowd);
}

/* One holds all that it can get, unread; the others read all of theirs.  Then it has its turn. */
static void beside_a_hoarder(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    struct crowd       crowd;
    unsigned           turns = unr_sim_choose(3);
    open_crowd(&crowd, plan, 2);
    go_round(&crowd.place, 3 * (int)turns);
    read_to(&crowd.links[1], plan->total);
    if (plan->ending != GOES_ON)
        read_end(&crowd.links[1]);
    look(&crowd.links[0]);
    outcome("%zu held beside it", unr_receiver_held(&crowd.links[0].receiver));
    read_to(&crowd.links[0], plan->total);
    close_crowd(&crowd);
}

/* Every buffer is the caller's: a reader gets each byte and the end all the same. */
static void with_an_empty_pool(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    struct place       place;
    struct link        l = link_of(plan);
    void              *taken[BUFFERS_MAX];
    unsigned           n = 0;
    open_place(&place, plan->count, plan->published);
    while ((taken[n] = unr_pool_take(place.pool)) != NULL)
        n++;
    unr_sim_check(n == plan->count - stats_of(place.pool).published - 1,
                  "all but the published and the spare");
    open_link(&l, &place, plan->credit);
    read_to(&l, plan->total);
    if (plan->ending != GOES_ON)
        read_end(&l);
    while (n)
        unr_pool_give(place.pool, taken[--n]);
    close_link(&l);
    close_place(&place);
}

/* A neighbour keeps the only buffer that was published.  A reader beside it, who may be there
 * before there is something, gets each byte and the end. */
static void none_published(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    const struct plan  keeper = { KEEP, GOES_ON, 0, SIZE, SIZE, 2, 1, 0, 0, false };
    struct plan        late = *plan;
    struct crowd       crowd;
    open_crowd(&crowd, &keeper, 1);
    read_to(&crowd.links[0], SIZE);
    uint64_t starved = stats_of(crowd.place.pool).starved;
    late.total = 0; /* nothing comes yet */
    join_crowd(&crowd, &late);
    begin_read(&crowd.links[1]);
    go_round(&crowd.place, 8);
    unr_sim_check(stats_of(crowd.place.pool).starved <= starved + 1, "it waits without a buffer");
    crowd.links[1].peer.total = plan->total;
    unr_sim_later(send_on, &crowd.links[1].peer);
    end_read(&crowd.links[1]);
    read_to(&crowd.links[1], plan->total);
    if (unr_sim_choose(2))
        give_kept(&crowd.links[0]);
    if (plan->ending != GOES_ON)
        read_end(&crowd.links[1]);
    close_crowd(&crowd);
}

/* ---- in line ---- */

struct giver {
    struct place *place;
    void         *buffers[BUFFERS_MAX];
    unsigned      count;
};

/* Empties a pool of `count` buffers, one of which is published: a shot takes that one. */
static void empty_the_pool(struct giver *giver, struct link *l)
{
    struct place *place = giver->place;
    while ((giver->buffers[giver->count] = unr_pool_take(place->pool)) != NULL)
        giver->count++;
    l->how = KEEP;
    read_to(l, SIZE);
}

/* Receivers without a read wait in line.  Each buffer that comes back arms one, the first first. */
static void in_line(const struct scenario *scenario)
{
    struct crowd      crowd = { .count = 0 };
    struct giver      giver = { .place = &crowd.place };
    int               runs = 0;
    const struct plan plan = {
        .total = SIZE, .piece = SIZE, .count = 4, .published = 1, .room = SIZE
    };
    (void)scenario;
    open_crowd(&crowd, &plan, 1);
    empty_the_pool(&giver, &crowd.links[0]);
    unr_start(crowd.place.loop, unr_receiver_stop(&crowd.links[0].other, &crowd.links[0].receiver),
              count_run, &runs); /* it may be in line itself */
    end_of(&crowd.place, &crowd.links[0].other);
    while (crowd.count < LINKS) {
        uint64_t starved = stats_of(crowd.place.pool).starved;
        join_crowd(&crowd, &plan);
        for (int i = 0; stats_of(crowd.place.pool).starved == starved; i++) {
            unr_sim_check(i < 20, "what comes finds no buffer");
            go_round(&crowd.place, 1);
        }
    }
    unr_sim_check(!unr_receiver_held(&crowd.links[1].receiver)
                      && !unr_receiver_held(&crowd.links[2].receiver),
                  "there is no buffer for them");
    for (unsigned i = 1; i < LINKS; i++) {
        unr_pool_give(crowd.place.pool, giver.buffers[--giver.count]);
        for (int turns = 0; !unr_receiver_held(&crowd.links[i].receiver); turns++) {
            unr_sim_check(turns < 20, "a buffer that comes back arms the first in line");
            go_round(&crowd.place, 1);
        }
        unr_sim_check(i == 2 || !unr_receiver_held(&crowd.links[2].receiver), "one for each");
    }
    for (unsigned i = 1; i < LINKS; i++)
        read_to(&crowd.links[i], SIZE);
    while (giver.count)
        unr_pool_give(crowd.place.pool, giver.buffers[--giver.count]);
    close_crowd(&crowd);
}

static void give_all(void *context)
{
    struct giver *giver = context;
    while (giver->count)
        unr_pool_give(giver->place->pool, giver->buffers[--giver->count]);
}

static void give_in_done(struct unr_op *op)
{
    give_all(op->data);
}

/* In line without a read: the read that comes later, or a buffer, finds the data and the end. */
static void end_in_line(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    struct place       place;
    struct link        l = link_of(plan);
    struct giver       giver = { .place = &place };
    struct unr_op      gives = { .data = NULL };
    bool               early = unr_sim_choose(2);
    open_place(&place, plan->count, plan->published);
    while ((giver.buffers[giver.count] = unr_pool_take(place.pool)) != NULL)
        giver.count++;
    open_link(&l, &place, plan->credit);
    go_round(&place, 3);
    if (early)
        unr_start(place.loop, unr_nop(&gives), give_in_done, &giver);
    read_to(&l, plan->total);
    read_end(&l);
    end_of(&place, &gives);
    give_all(&giver);
    close_link(&l);
    close_place(&place);
}

/* ---- completions that find no room ---- */

static void beside_others(const struct scenario *scenario)
{
    const struct plan      *plan = scenario->parameter;
    struct unr_loop_options options = { .size = sizeof options,
                                        .entries = 2,
                                        .completion_entries = 2 };
    struct unr_op           nops[4] = { { .data = NULL } };
    struct place            place = { .loop = NULL };
    struct link             l = link_of(plan);
    int                     runs = 0;
    unr_sim_check(unr_loop_open(&place.loop, &options) == 0, "open");
    place.pool = open_pool(place.loop, plan->count, plan->published);
    open_link(&l, &place, plan->credit);
    for (int i = 0; i < 4; i++)
        unr_start(place.loop, unr_nop(&nops[i]), count_run, &runs);
    read_to(&l, plan->total);
    if (plan->ending != GOES_ON)
        read_end(&l);
    for (int i = 0; i < 4; i++)
        end_of(&place, &nops[i]);
    close_link(&l);
    close_place(&place);
}

/* ---- what is shown stays ---- */

static void shown(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    struct place       place;
    struct link        l = link_of(plan);
    struct iovec       before[BUFFERS_MAX], after[BUFFERS_MAX + 1];
    int                runs = 0;
    open_place(&place, plan->count, plan->published);
    open_link(&l, &place, plan->credit);
    for (unsigned part = 1; l.got < plan->total; part++) {
        if (!unr_receiver_held(&l.receiver)) {
            unr_start(place.loop, unr_receive_view(&l.op, &l.receiver), count_run, &runs);
            end_read(&l);
        }
        unsigned n = unr_receiver_pieces(&l.receiver, before, BUFFERS_MAX);
        go_round(&place, 3);
        unsigned now = unr_receiver_pieces(&l.receiver, after, BUFFERS_MAX + 1);
        unr_sim_check(now >= n, "what was shown is shown");
        for (unsigned i = 0; i < n; i++)
            unr_sim_check(before[i].iov_base == after[i].iov_base
                              && before[i].iov_len <= after[i].iov_len
                              && (i + 1 == n || before[i].iov_len == after[i].iov_len),
                          "where it was");
        size_t all = look(&l);
        consume(&l, part % 2 ? (all + 1) / 2 : all);
    }
    close_link(&l);
    close_place(&place);
}

/* ---- datagrams and records ---- */

enum { DATAGRAMS = 3 };

struct datagrams {
    struct place        place;
    struct unr_receiver receiver;
    int                 fds[2]; /* [0] sends */
    unsigned            sent, got, lengths[DATAGRAMS];
    struct unr_op       op, other;
    unsigned char       buf[SIZE];
    enum how            how;
    unsigned            asks;
    struct iovec        iov;
    struct msghdr       msg;
};

static void send_datagram(void *context)
{
    struct datagrams *d = context;
    unsigned char     bytes[SIZE];
    if (d->place.is_over)
        return;
    memset(bytes, 'a' + (int)d->sent, sizeof bytes);
    unr_sim_check(unr_sim_write(d->fds[0], bytes, d->lengths[d->sent])
                      == (ssize_t)d->lengths[d->sent],
                  "there is room");
    if (++d->sent < DATAGRAMS)
        unr_sim_later(send_datagram, d);
}

static void datagram_was_read(struct unr_op *op)
{
    struct datagrams        *d = op->data;
    const struct unr_result *r = &op->result;
    const unsigned char     *bytes = d->buf;
    unsigned char            expected[SIZE];
    unsigned                 len = d->lengths[d->got];
    if (r->error == -ECANCELED) {
        unr_sim_check(r->guarantee == UNR_CANCEL_TOTAL && r->bytes == 0, "it has taken nothing");
        return;
    }
    memset(expected, 'a' + (int)d->got, sizeof expected);
    unr_sim_check(r->error == 0 && d->got < d->sent, "a datagram that was sent");
    if (d->how == VIEW || d->how == KEEP) {
        size_t n;
        bytes = unr_receiver_data(&d->receiver, &n);
        unr_sim_check(bytes && n == len && r->bytes == n, "a datagram is one piece");
        unr_sim_check(unr_receiver_held(&d->receiver) % SIZE == 0, "and counts as a buffer");
    } else if (d->how == MESSAGE) {
        unr_sim_check(!(d->msg.msg_flags & MSG_TRUNC) == (len <= d->iov.iov_len),
                      "it says whether it is whole");
        len = len < d->iov.iov_len ? len : (unsigned)d->iov.iov_len;
    }
    unr_sim_check(r->bytes == len && memcmp(bytes, expected, len) == 0, "each once, and whole");
    d->got++;
    if (d->how == VIEW) {
        unr_receiver_consume(&d->receiver, 1);
    } else if (d->how == KEEP) {
        size_t n;
        unr_pool_give(d->place.pool, unr_receiver_keep(&d->receiver, &n));
    }
}

static void read_datagram(struct datagrams *d)
{
    d->iov = (struct iovec){ d->buf, 100 };
    d->msg = (struct msghdr){ .msg_iov = &d->iov, .msg_iovlen = 1 };
    unr_start(d->place.loop,
              d->how == COPY      ? unr_receive(&d->op, &d->receiver, d->buf, SIZE)
              : d->how == MESSAGE ? unr_receive_message(&d->op, &d->receiver, &d->msg)
                                  : unr_receive_view(&d->op, &d->receiver),
              datagram_was_read, d);
    for (int turns = 0; unr_in_flight(&d->op); turns++) {
        unr_sim_check(turns < TURNS_MAX, "a read does not sleep beside something to read");
        if (d->asks && unr_sim_choose(2)) {
            d->asks--;
            unr_cancel(&d->op, UNR_CANCEL_ALL);
        }
        turn(&d->place, UNR_NEVER);
    }
}

/* Each is read once, or stopped at some moment, is in the receiver or in the socket. */
static void of_datagrams(const struct scenario *scenario)
{
    static const enum how hows[] = { COPY, MESSAGE, VIEW, KEEP };
    const bool           *stops = scenario->parameter;
    bool                  few = unr_sim_choose(2);
    struct datagrams      d = { .how = hows[unr_sim_choose(4)],
                                .asks = 1,
                                .lengths = { 60, 200, few ? 0 : 200 } };
    int                   runs = 0;
    open_place(&d.place, few ? 2 : 4, few ? 1 : 2);
    if (few)
        unr_sim_records(d.fds, 8);
    else
        unr_sim_datagrams(d.fds, 8);
    unr_sim_later(send_datagram, &d);
    unr_receiver_init(&d.receiver, d.place.loop, d.place.pool, d.fds[1], few ? 1 : 2 * SIZE);
    for (unsigned n = *stops ? unr_sim_choose(3) : DATAGRAMS; d.got < n;)
        read_datagram(&d);
    if (*stops) {
        unr_start(d.place.loop, unr_receiver_stop(&d.other, &d.receiver), count_run, &runs);
        end_of(&d.place, &d.other);
        d.asks = 0;
        for (size_t n; unr_receiver_data(&d.receiver, &n);)
            read_datagram(&d);
        while (d.got < d.sent) {
            ssize_t n = unr_sim_read(d.fds[1], d.buf, SIZE);
            unr_sim_check(n == (ssize_t)d.lengths[d.got] && (!n || d.buf[0] == 'a' + d.got),
                          "it is in the socket");
            d.got++;
        }
    }
    d.place.is_over = true;
    unr_start(d.place.loop, unr_cancel_close(&d.other, d.fds[1]), count_run, &runs);
    end_of(&d.place, &d.other);
    unr_receiver_free(&d.receiver);
    unr_sim_close(d.fds[0]);
    close_place(&d.place);
}

/* ---- views without a buffer ---- */

/* Every buffer is kept, the spare one too.  Reads that are to show something wait in line, and may
 * be cancelled there.  Each buffer that comes back serves the first, and it goes round. */
static void views_in_line(const struct scenario *scenario)
{
    const struct plan *plan = scenario->parameter;
    struct crowd       crowd;
    struct link       *l = crowd.links;
    void              *kept[2];
    size_t             len;
    int                runs = 0;
    unsigned           cancelled = unr_sim_choose(3); /* 0: none */
    open_crowd(&crowd, plan, 1);
    for (int i = 0; i < 2; i++) {
        unr_start(crowd.place.loop, unr_receive_view(&l[0].op, &l[0].receiver), count_run, &runs);
        end_read(&l[0]);
        kept[i] = unr_receiver_keep(&l[0].receiver, &len);
        unr_sim_check(kept[i] && len, "something to keep");
        l[0].got += len;
    }
    for (unsigned i = 1; i < LINKS; i++) {
        join_crowd(&crowd, plan);
        begin_read(&l[i]);
    }
    for (int turns = 0; turns < 8; turns++)
        turn(&crowd.place, 0);
    unr_sim_check(!l[1].runs && !l[2].runs, "there is nothing to show it in");
    if (cancelled) { /* and starts again: as a view behind the others, or as a copy at once */
        unr_cancel(&l[cancelled].op, UNR_CANCEL_ALL);
        end_of(&crowd.place, &l[cancelled].op);
        unr_sim_check(l[cancelled].op.result.error == -ECANCELED, "cancelled");
        if (unr_sim_choose(2)) {
            l[cancelled].how = COPY;
            l[cancelled].room = SIZE;
            read_to(&l[cancelled], SIZE);
        }
    }
    unr_pool_give(crowd.place.pool, kept[0]);
    for (unsigned i = 1; i < LINKS; i++) {
        end_read(&l[i]);
        read_to(&l[i], plan->total);
        if (plan->ending != GOES_ON)
            read_end(&l[i]);
    }
    unr_pool_give(crowd.place.pool, kept[1]);
    read_to(&l[0], plan->total);
    close_crowd(&crowd);
}

/* ---- pools alone ---- */

static void in_any_order(const struct scenario *scenario)
{
    struct place   place;
    unsigned char *taken[BUFFERS_MAX] = { NULL };
    unsigned       n = 0, left;
    (void)scenario;
    open_place(&place, 8, 3);
    for (int round = 0; round < 2; round++) {
        while ((taken[n] = unr_pool_take(place.pool)) != NULL)
            memset(taken[n], 't', SIZE), n++;
        unr_sim_check(n == 8 - stats_of(place.pool).published - 1 && stats_of(place.pool).held == n,
                      "published ones and a spare stay");
        for (left = n; left; left--) {
            unsigned i = unr_sim_choose(left);
            unr_pool_give(place.pool, taken[i] + unr_sim_choose(2) * (SIZE - 1));
            taken[i] = taken[left - 1];
        }
        n = 0;
    }
    unr_sim_check(stats_of(place.pool).taken == 2 * (7 - stats_of(place.pool).published),
                  "and come again");
    close_place(&place);
}

static void given_twice(const struct scenario *scenario)
{
    struct place place;
    (void)scenario;
    open_place(&place, 4, 1);
    void *buffer = unr_pool_take(place.pool);
    unr_pool_give(place.pool, buffer);
    unr_pool_give(place.pool, buffer);
}

static void closed_while_held(const struct scenario *scenario)
{
    struct place place;
    (void)scenario;
    open_place(&place, 4, 1);
    unr_pool_take(place.pool);
    unr_pool_close(place.pool);
}

static void closed_under_a_receiver(const struct scenario *scenario)
{
    struct place place;
    struct link  l = { .how = COPY };
    (void)scenario;
    open_place(&place, 4, 1);
    open_link(&l, &place, 0);
    for (unsigned turns = unr_sim_choose(3); turns; turns--)
        turn(&place, 0);
    unr_pool_close(place.pool);
}

/* ---- multishot operations ---- */

/* What is tried. */
struct way {
    enum { RECV, RECVMSG, READ } call;
    enum ending ending;
    unsigned    count, published, total, piece;
    uint32_t    limit;
    bool        gives_back; /* in each shot; otherwise when there are none */
    int         fails_with; /* on this kernel, at once */
    unsigned    cancels;    /* at most */
};

struct shots {
    const struct way *way;
    struct place      place;
    struct peer       peer;
    struct unr_op     op, other;
    struct msghdr     layout;
    unsigned char    *kept[BUFFERS_MAX];
    unsigned          kept_count, ends;
    size_t            got, since_start;
    bool              at_end;
};

/* Gives back what is kept, in an order of the scenario's choice. */
static void give_shots(struct shots *s)
{
    for (; s->kept_count; s->kept_count--) {
        unsigned i = s->kept_count > 1 ? unr_sim_choose(2) : 0;
        unr_pool_give(s->place.pool, s->kept[i]);
        s->kept[i] = s->kept[s->kept_count - 1];
    }
}

static void take_shot(struct shots *s, const struct unr_op *op)
{
    struct msghdr  parts;
    size_t         n = op->result.bytes;
    unsigned char *data = unr_shot_data(op);
    unr_sim_check(unr_shot_datagram(op, &parts) == data, "both say the same");
    if (s->way->call == RECVMSG)
        unr_sim_check(!data || (parts.msg_namelen == 0 && parts.msg_flags == 0), "a datagram");
    if (!data) {
        unr_sim_check(n == 0, "what came is in a buffer");
        return;
    }
    unr_sim_check(s->got + n <= s->peer.sent && are_bytes(data, s->got, n),
                  "each byte once, and in order");
    s->got += n;
    s->since_start += n;
    memset(data, 's', n); /* it is the caller's */
    s->kept[s->kept_count++] = data;
    if (s->way->gives_back)
        give_shots(s);
}

static void shot_done(struct unr_op *op)
{
    struct shots            *s = op->data;
    const struct unr_result *r = &op->result;
    bool                     more = r->flags & UNR_MORE;
    unr_sim_check(more == unr_in_flight(op), "it is in flight as long as more comes");
    unr_sim_check(!r->error || (!more && !unr_shot_data(op)), "an error is the last, and alone");
    if (!r->error)
        take_shot(s, op);
    unr_sim_check(!s->way->limit || s->since_start < s->way->limit + SIZE, "the limit is kept");
    if (more)
        return;
    s->ends++;
    s->at_end = !r->error && !r->bytes;
    if (r->error == -ECANCELED)
        unr_sim_check(
            r->requested && r->guarantee == UNR_CANCEL_TOTAL
                && (r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED),
            "cancelled, and nothing was taken");
    else
        unr_sim_check(!r->requested || r->verdict == UNR_VERDICT_TOO_LATE, "it came too late");
}

static void begin_shots(struct shots *s)
{
    const struct way *way = s->way;
    struct unr_op    *op = &s->op;
    s->since_start = 0;
    s->at_end = false;
    switch (way->call) {
    case RECV: unr_recv_multishot(op, s->peer.fds[0], s->place.pool, way->limit, 0); break;
    case RECVMSG: unr_recvmsg_multishot(op, s->peer.fds[0], s->place.pool, &s->layout, 0); break;
    case READ: unr_read_multishot(op, s->peer.fds[0], s->place.pool); break;
    }
    unr_start(s->place.loop, op, shot_done, s);
}

/* Turns until it has ended; it may be cancelled at any moment, and is when all has come. */
static void end_shots(struct shots *s, unsigned *asks)
{
    for (int turns = 0; unr_in_flight(&s->op); turns++) {
        bool all = s->got == s->way->total && s->way->ending == GOES_ON;
        unr_sim_check(turns < TURNS_MAX, "it comes to its end");
        if (all || (*asks && unr_sim_choose(2))) {
            *asks -= !all;
            unr_cancel(&s->op, UNR_CANCEL_ALL);
        }
        send_more(&s->peer);
        turn(&s->place, UNR_NEVER);
    }
}

static void check_end(struct shots *s)
{
    const struct way        *way = s->way;
    const struct unr_result *r = &s->op.result;
    if (r->error == -ECANCELED || (!r->error && !s->at_end))
        return;
    if (r->error == -ENOBUFS) {
        unr_sim_check(!way->gives_back, "there are buffers");
        give_shots(s);
        return;
    }
    unr_sim_check(way->ending != GOES_ON && s->got == way->total, "the end is behind all bytes");
    unr_sim_check(!r->error || (way->ending == RESETS && r->error == -ECONNRESET), "as it was");
    s->at_end = true;
}

static void multishot(const struct scenario *scenario)
{
    const struct way *way = scenario->parameter;
    struct shots      s = { .way = way,
                            .peer = { .total = way->total, .piece = way->piece, .ending = way->ending },
                            .layout = { .msg_namelen = 16 } };
    unsigned          asks = way->cancels, starts = 0;
    int               fds[2], runs = 0;
    open_place(&s.place, way->count, way->published);
    s.peer.place = &s.place;
    if (way->call == RECV) {
        unr_sim_socketpair(s.peer.fds, CAPACITY);
    } else {
        way->call == READ ? unr_sim_pipe(fds, CAPACITY) : unr_sim_datagrams(fds, 8);
        s.peer.fds[0] = fds[way->call == RECVMSG];
        s.peer.fds[1] = fds[way->call != RECVMSG];
    }
    unr_sim_later(send_on, &s.peer);
    do {
        unr_sim_check(++starts < TURNS_MAX, "it comes to an end");
        begin_shots(&s);
        end_shots(&s, &asks);
        if (way->fails_with) {
            unr_sim_check(s.op.result.error == way->fails_with || s.op.result.error == -ECANCELED,
                          "this kernel does not have it");
            break;
        }
        check_end(&s);
    } while (s.got < way->total || (way->ending != GOES_ON && !s.at_end));
    unr_sim_check(s.got == (way->fails_with ? 0 : way->total), "each byte");
    outcome("error %d after %zu", s.op.result.error, s.got);
    give_shots(&s);
    s.place.is_over = true;
    unr_start(s.place.loop, unr_cancel_close(&s.other, s.peer.fds[0]), count_run, &runs);
    end_of(&s.place, &s.other);
    close_peer(&s.peer);
    close_place(&s.place);
}

static const struct way recvs = { RECV, CLOSES, 4, 2, 900, 300, 0, true, 0, 2 };
static const struct way recvs_kept = { RECV, GOES_ON, 2, 1, 1100, 300, 0, false, 0, 1 };
static const struct way recvs_few = { RECV, CLOSES, 8, 1, 1500, 500, 0, true, 0, 1 };
static const struct way recvs_reset = { RECV, RESETS, 4, 2, 500, 300, 0, false, 0, 1 };
static const struct way recvs_limit = { RECV, GOES_ON, 4, 2, 1500, 300, 500, true, 0, 1 };
static const struct way recvs_limit_few = { RECV, GOES_ON, 8, 1, 2400, 600, 700, false, 0, 1 };
static const struct way recvs_refused = { RECV, GOES_ON, 4, 2, 600, 300, 500, true, -EINVAL, 1 };
static const struct way recvmsgs = { RECVMSG, GOES_ON, 4, 2, 900, 300, 0, true, 0, 2 };
static const struct way recvmsgs_few = { RECVMSG, GOES_ON, 4, 1, 900, 300, 0, false, 0, 1 };
static const struct way reads = { READ, CLOSES, 4, 2, 900, 300, 0, true, 0, 2 };
static const struct way recvs_older = { RECV, GOES_ON, 4, 2, 600, 300, 0, true, -EOPNOTSUPP, 1 };
static const struct way recvmsgs_older = {
    RECVMSG, GOES_ON, 4, 2, 600, 300, 0, true, -EOPNOTSUPP, 1
};
static const struct way reads_older = { READ, GOES_ON, 4, 2, 600, 300, 0, true, -EOPNOTSUPP, 1 };
static const struct way reads_few = { READ, CLOSES, 2, 1, 900, 300, 0, false, 0, 1 };

/* ---- as many as are needed are published ---- */

static void published(const struct scenario *scenario)
{
    static const struct way way = { RECV, GOES_ON, 8, 1, 3000, 3000, 0, false, 0, 0 };
    struct shots            s = { .way = &way, .peer = { .total = 3000, .piece = 3000 } };
    int                     runs = 0;
    (void)scenario;
    open_place(&s.place, way.count, way.published);
    s.peer.place = &s.place;
    unr_sim_socketpair(s.peer.fds, CAPACITY);
    unr_sim_later(send_on, &s.peer);
    for (unsigned before = 1; s.got < 3000; before = stats_of(s.place.pool).published) {
        give_shots(&s);
        begin_shots(&s);
        while (unr_in_flight(&s.op)) {
            struct unr_pool_stats stats = stats_of(s.place.pool);
            unr_sim_check(stats.published <= 8 && stats.published >= before, "doubled, up to all");
            if (s.got == 3000)
                unr_cancel(&s.op, UNR_CANCEL_ALL);
            turn(&s.place, UNR_NEVER);
        }
    }
    void *buffer = s.kept[--s.kept_count]; /* where all are published no other one can be taken */
    give_shots(&s);
    struct unr_pool_stats stats = stats_of(s.place.pool);
    outcome("published %u", stats.published);
    unr_sim_check((stats.starved != 0) == (stats.published > 1), "doubled where one found none");
    while (stats.published > 1) {
        go_round(&s.place, 257);
        unr_pool_give(s.place.pool, buffer);
        buffer = unr_pool_take(s.place.pool);
        unr_sim_check(stats_of(s.place.pool).published == stats.published / 2, "and halved");
        stats = stats_of(s.place.pool);
    }
    unr_pool_give(s.place.pool, buffer);
    unr_start(s.place.loop, unr_cancel_close(&s.other, s.peer.fds[0]), count_run, &runs);
    end_of(&s.place, &s.other);
    unr_sim_close(s.peer.fds[1]);
    close_place(&s.place);
}

static const struct plan copies = { COPY, GOES_ON, 300, 1100, 500, 4, 2, 2, 0, false };
static const struct plan copies_to_end = { COPY, CLOSES, 700, 1100, 500, 4, 2, 1, 0, false };
static const struct plan copies_to_reset = { COPY, RESETS, 700, 700, 500, 4, 2, 1, 0, false };
static const struct plan messages_to_end = { MESSAGE, CLOSES, 400, 1100, 500, 4, 2, 2, 0, false };
static const struct plan views = { VIEW, GOES_ON, 0, 1100, 500, 4, 2, 2, 0, false };
static const struct plan views_to_end = { VIEW_PART, CLOSES, 0, 600, 200, 4, 2, 1, 0, false };
static const struct plan views_to_reset = { VIEW, RESETS, 0, 700, 500, 4, 2, 1, 0, false };
static const struct plan keeps = { KEEP, CLOSES, 0, 1100, 400, 4, 2, 1, 0, false };
static const struct plan little_credit = { VIEW_PART, CLOSES, 0, 1500, 300, 8, 2, 1, 600, false };
static const struct plan least = { COPY, CLOSES, 300, 1100, 500, 2, 1, 1, 1, false };
static const struct plan least_views = { VIEW, CLOSES, 0, 1100, 500, 2, 1, 1, 1, false };
static const struct plan least_keeps = { KEEP, CLOSES, 0, 1100, 500, 2, 1, 1, 0, false };
static const struct plan unread = { COPY, GOES_ON, 300, 900, 300, 4, 2, 0, 0, false };
static const struct plan unread_credit = { VIEW, GOES_ON, 0, 1500, 500, 4, 2, 0, 512, false };
static const struct plan unread_few = { KEEP, GOES_ON, 0, 900, 500, 2, 1, 0, 0, false };
static const struct plan unread_empty = { COPY, GOES_ON, 300, 600, 300, 4, 1, 0, 0, true };
static const struct plan viewed_empty = { VIEW, GOES_ON, 0, 600, 300, 4, 1, 0, 0, true };
static const struct plan floods = { VIEW, GOES_ON, 0, 3000, 300, 8, 2, 0, 700, false };
static const struct plan floods_large = { COPY, GOES_ON, 512, 6000, 512, 8, 2, 0, 1024, false };
static const struct plan crowds_copy = { COPY, GOES_ON, 500, 700, 400, 2, 1, 0, 0, false };
static const struct plan crowds_view = { VIEW, GOES_ON, 0, 700, 400, 2, 1, 0, 0, false };
static const struct plan crowds_end = { VIEW_PART, CLOSES, 0, 600, 400, 2, 2, 0, 0, false };
static const struct plan hoards_copy = { COPY, CLOSES, 500, 1200, 512, 2, 1, 1, 0, false };
static const struct plan hoards_view = { VIEW, CLOSES, 0, 1200, 512, 2, 1, 1, 0, false };
static const struct plan hoards_reset = { VIEW, RESETS, 0, 512, 512, 2, 1, 0, 0, false };
static const struct plan empty_end = { COPY, CLOSES, 300, 700, 400, 4, 1, 0, 0, false };
static const struct plan empty_view = { VIEW, CLOSES, 0, 700, 400, 4, 1, 0, 0, false };
static const struct plan empty_reset = { VIEW, RESETS, 0, 400, 400, 4, 1, 0, 0, false };
static const struct plan overflows = { VIEW, CLOSES, 0, 1200, 400, 8, 4, 1, 0, false };
static const struct plan shows = { VIEW, GOES_ON, 0, 1500, 200, 8, 4, 0, 0, false };
static const struct plan shows_few = { VIEW, GOES_ON, 0, 1500, 300, 2, 1, 0, 600, false };
static const bool        stops_them = true, reads_them = false;
static const struct plan none_copy = { COPY, CLOSES, 300, 700, 400, 2, 1, 2, 0, false };
static const struct plan none_view = { VIEW_PART, CLOSES, 0, 700, 400, 2, 1, 2, 0, false };
static const struct plan none_reset = { MESSAGE, RESETS, 512, 400, 400, 2, 1, 1, 0, false };
static const struct plan views_line = { VIEW, GOES_ON, 0, 1100, 1100, 2, 1, 0, 0, false };
static const struct plan views_line_end = { VIEW, CLOSES, 0, 1100, 1100, 2, 1, 0, 0, false };

static const struct scenario table[] = {
    { .name = "pool/copies", .run = read_all, .parameter = &copies, .deviations_max = 3 },
    { .name = "pool/copies-to-end",
      .run = read_all,
      .parameter = &copies_to_end,
      .deviations_max = 3 },
    { .name = "pool/copies-to-reset",
      .run = read_all,
      .parameter = &copies_to_reset,
      .deviations_max = 4 },
    { .name = "pool/messages-to-end",
      .run = read_all,
      .parameter = &messages_to_end,
      .deviations_max = 3 },
    { .name = "pool/views", .run = read_all, .parameter = &views, .deviations_max = 3 },
    { .name = "pool/views-to-end",
      .run = read_all,
      .parameter = &views_to_end,
      .deviations_max = 3 },
    { .name = "pool/views-to-reset",
      .run = read_all,
      .parameter = &views_to_reset,
      .deviations_max = 4 },
    { .name = "pool/keeps", .run = read_all, .parameter = &keeps, .deviations_max = 3 },
    { .name = "pool/little-credit",
      .run = read_all,
      .parameter = &little_credit,
      .deviations_max = 3 },
    { .name = "pool/little-credit-6.8",
      .run = read_all,
      .parameter = &little_credit,
      .deviations_max = 3,
      .linux_version = 608 },
    { .name = "pool/least", .run = read_all, .parameter = &least, .deviations_max = 3 },
    { .name = "pool/least-6.8",
      .run = read_all,
      .parameter = &least,
      .deviations_max = 3,
      .linux_version = 608 },
    { .name = "pool/least-views", .run = read_all, .parameter = &least_views, .deviations_max = 3 },
    { .name = "pool/least-keeps", .run = read_all, .parameter = &least_keeps, .deviations_max = 3 },
    { .name = "pool/copies-plain",
      .run = read_all,
      .parameter = &copies_to_end,
      .deviations_max = 3,
      .loop_flags = UNR_LOOP_PLAIN },
    { .name = "pool/little-credit-plain-6.8",
      .run = read_all,
      .parameter = &little_credit,
      .deviations_max = 3,
      .linux_version = 608,
      .loop_flags = UNR_LOOP_PLAIN },
    { .name = "pool/faults",
      .run = read_all,
      .parameter = &views_to_end,
      .deviations_max = 3,
      .faults = UNR_FAULT_ALL },
    { .name = "pool/stopped", .run = stopped, .parameter = &unread, .deviations_max = 5 },
    { .name = "pool/stopped-credit",
      .run = stopped,
      .parameter = &unread_credit,
      .deviations_max = 5 },
    { .name = "pool/stopped-credit-6.8",
      .run = stopped,
      .parameter = &unread_credit,
      .deviations_max = 5,
      .linux_version = 608 },
    { .name = "pool/stopped-few", .run = stopped, .parameter = &unread_few, .deviations_max = 5 },
    { .name = "pool/stopped-plain",
      .run = stopped,
      .parameter = &unread_credit,
      .deviations_max = 4,
      .loop_flags = UNR_LOOP_PLAIN },
    { .name = "pool/closed", .run = closed, .parameter = &unread, .deviations_max = 5 },
    { .name = "pool/closed-credit",
      .run = closed,
      .parameter = &unread_credit,
      .deviations_max = 5 },
    { .name = "pool/closed-credit-6.8",
      .run = closed,
      .parameter = &unread_credit,
      .deviations_max = 5,
      .linux_version = 608 },
    { .name = "pool/closed-few", .run = closed, .parameter = &unread_few, .deviations_max = 5 },
    { .name = "pool/closed-empty", .run = closed, .parameter = &unread_empty, .deviations_max = 5 },
    { .name = "pool/closed-empty-view",
      .run = closed,
      .parameter = &viewed_empty,
      .deviations_max = 5 },
    { .name = "pool/flood", .run = flood, .parameter = &floods, .deviations_max = 2, .since = 617 },
    { .name = "pool/flood-6.8",
      .run = flood,
      .parameter = &floods,
      .deviations_max = 2,
      .linux_version = 608 },
    { .name = "pool/flood-large",
      .run = flood,
      .parameter = &floods_large,
      .deviations_max = 2,
      .since = 617 },
    { .name = "pool/flood-large-6.8",
      .run = flood,
      .parameter = &floods_large,
      .deviations_max = 2,
      .linux_version = 608 },
    { .name = "pool/side-by-side-copy",
      .run = side_by_side,
      .parameter = &crowds_copy,
      .deviations_max = 2 },
    { .name = "pool/side-by-side-view",
      .run = side_by_side,
      .parameter = &crowds_view,
      .deviations_max = 2 },
    { .name = "pool/side-by-side-end",
      .run = side_by_side,
      .parameter = &crowds_end,
      .deviations_max = 2 },
    { .name = "pool/side-by-side-6.8",
      .run = side_by_side,
      .parameter = &crowds_view,
      .deviations_max = 2,
      .linux_version = 608 },
    { .name = "pool/beside-a-hoarder",
      .run = beside_a_hoarder,
      .parameter = &hoards_copy,
      .deviations_max = 3 },
    { .name = "pool/viewed-beside-a-hoarder",
      .run = beside_a_hoarder,
      .parameter = &hoards_view,
      .deviations_max = 3 },
    { .name = "pool/reset-beside-a-hoarder",
      .run = beside_a_hoarder,
      .parameter = &hoards_reset,
      .deviations_max = 3 },
    { .name = "pool/empty-end",
      .run = with_an_empty_pool,
      .parameter = &empty_end,
      .deviations_max = 3 },
    { .name = "pool/empty-view",
      .run = with_an_empty_pool,
      .parameter = &empty_view,
      .deviations_max = 3 },
    { .name = "pool/none-published",
      .run = none_published,
      .parameter = &none_copy,
      .deviations_max = 3 },
    { .name = "pool/none-published-view",
      .run = none_published,
      .parameter = &none_view,
      .deviations_max = 3 },
    { .name = "pool/none-published-reset",
      .run = none_published,
      .parameter = &none_reset,
      .deviations_max = 3 },
    { .name = "pool/none-published-6.8",
      .run = none_published,
      .parameter = &none_copy,
      .deviations_max = 3,
      .linux_version = 608 },
    { .name = "pool/in-line", .run = in_line, .deviations_max = 2, .since = 607 },
    { .name = "pool/end-in-line",
      .run = end_in_line,
      .parameter = &empty_view,
      .deviations_max = 3 },
    { .name = "pool/reset-in-line",
      .run = end_in_line,
      .parameter = &empty_reset,
      .deviations_max = 3 },
    { .name = "pool/beside-others",
      .run = beside_others,
      .parameter = &overflows,
      .deviations_max = 3 },
    { .name = "pool/shown", .run = shown, .parameter = &shows, .deviations_max = 2 },
    { .name = "pool/shown-few", .run = shown, .parameter = &shows_few, .deviations_max = 3 },
    { .name = "pool/datagrams",
      .run = of_datagrams,
      .parameter = &reads_them,
      .deviations_max = 3 },
    { .name = "pool/datagrams-stopped",
      .run = of_datagrams,
      .parameter = &stops_them,
      .deviations_max = 4 },
    { .name = "pool/views-in-line",
      .run = views_in_line,
      .parameter = &views_line,
      .deviations_max = 3 },
    { .name = "pool/views-in-line-end",
      .run = views_in_line,
      .parameter = &views_line_end,
      .deviations_max = 3 },
    { .name = "pool/in-any-order", .run = in_any_order },
    { .name = "pool/given-twice", .run = given_twice, .fails_with = "ended by signal 6" },
    { .name = "pool/closed-while-held",
      .run = closed_while_held,
      .fails_with = "ended by signal 6" },
    { .name = "pool/closed-under-a-receiver",
      .run = closed_under_a_receiver,
      .fails_with = "ended by signal 6" },
    { .name = "pool/published", .run = published, .deviations_max = 1, .since = 607 },
    { .name = "multishot/recvs",
      .run = multishot,
      .parameter = &recvs,
      .deviations_max = 4,
      .since = 607 },
    { .name = "multishot/recvs-kept",
      .run = multishot,
      .parameter = &recvs_kept,
      .deviations_max = 4,
      .since = 607 },
    { .name = "multishot/recvs-few",
      .run = multishot,
      .parameter = &recvs_few,
      .deviations_max = 4,
      .since = 607 },
    { .name = "multishot/recvs-reset",
      .run = multishot,
      .parameter = &recvs_reset,
      .deviations_max = 5,
      .since = 607 },
    { .name = "multishot/recvs-limit",
      .run = multishot,
      .parameter = &recvs_limit,
      .deviations_max = 4,
      .since = 617 },
    { .name = "multishot/recvs-limit-few",
      .run = multishot,
      .parameter = &recvs_limit_few,
      .deviations_max = 3,
      .since = 617 },
    { .name = "multishot/recvs-limit-older",
      .run = multishot,
      .parameter = &recvs_refused,
      .deviations_max = 6,
      .linux_version = 608 },
    { .name = "multishot/recvmsgs",
      .run = multishot,
      .parameter = &recvmsgs,
      .deviations_max = 4,
      .since = 607 },
    { .name = "multishot/recvmsgs-few",
      .run = multishot,
      .parameter = &recvmsgs_few,
      .deviations_max = 4,
      .since = 607 },
    { .name = "multishot/recvmsgs-faults",
      .run = multishot,
      .parameter = &recvmsgs,
      .deviations_max = 3,
      .faults = UNR_FAULT_ENTER,
      .since = 607 },
    { .name = "multishot/reads",
      .run = multishot,
      .parameter = &reads,
      .deviations_max = 4,
      .since = 607 },
    { .name = "multishot/reads-few",
      .run = multishot,
      .parameter = &reads_few,
      .deviations_max = 4,
      .since = 607 },
    { .name = "multishot/recvs-missed",
      .run = multishot,
      .parameter = &recvs,
      .deviations_max = 4,
      .faults = UNR_FAULT_MISSED_END,
      .since = 617 },
    { .name = "multishot/recvs-few-missed",
      .run = multishot,
      .parameter = &recvs_few,
      .deviations_max = 4,
      .faults = UNR_FAULT_MISSED_END,
      .since = 617 },
    { .name = "multishot/recvs-plain",
      .run = multishot,
      .parameter = &recvs,
      .deviations_max = 4,
      .loop_flags = UNR_LOOP_PLAIN,
      .since = 607 },
    { .name = "multishot/recvs-few-6.8",
      .run = multishot,
      .parameter = &recvs_few,
      .deviations_max = 4,
      .linux_version = 608 },
    { .name = "multishot/faults",
      .run = multishot,
      .parameter = &recvs_few,
      .deviations_max = 3,
      .faults = UNR_FAULT_ENTER,
      .since = 607 },
    { .name = "pool/copies-to-end-missed",
      .run = read_all,
      .parameter = &copies_to_end,
      .deviations_max = 3,
      .faults = UNR_FAULT_MISSED_END,
      .since = 617 },
    { .name = "pool/views-to-end-missed",
      .run = read_all,
      .parameter = &views_to_end,
      .deviations_max = 3,
      .faults = UNR_FAULT_MISSED_END,
      .since = 617 },
    { .name = "pool/little-credit-missed",
      .run = read_all,
      .parameter = &little_credit,
      .deviations_max = 3,
      .faults = UNR_FAULT_MISSED_END,
      .since = 617 },
    { .name = "pool/copies-6.1",
      .run = read_all,
      .parameter = &copies_to_end,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/copies-to-reset-6.1",
      .run = read_all,
      .parameter = &copies_to_reset,
      .deviations_max = 4,
      .linux_version = 601 },
    { .name = "pool/messages-to-end-6.1",
      .run = read_all,
      .parameter = &messages_to_end,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/views-to-end-6.1",
      .run = read_all,
      .parameter = &views_to_end,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/views-to-reset-6.1",
      .run = read_all,
      .parameter = &views_to_reset,
      .deviations_max = 4,
      .linux_version = 601 },
    { .name = "pool/keeps-6.1",
      .run = read_all,
      .parameter = &keeps,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/least-views-6.1",
      .run = read_all,
      .parameter = &least_views,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/faults-6.1",
      .run = read_all,
      .parameter = &views_to_end,
      .deviations_max = 3,
      .faults = UNR_FAULT_ALL,
      .linux_version = 601 },
    { .name = "pool/stopped-6.1",
      .run = stopped,
      .parameter = &unread_credit,
      .deviations_max = 5,
      .linux_version = 601 },
    { .name = "pool/closed-6.1",
      .run = closed,
      .parameter = &unread_credit,
      .deviations_max = 5,
      .linux_version = 601 },
    { .name = "pool/closed-empty-6.1",
      .run = closed,
      .parameter = &viewed_empty,
      .deviations_max = 5,
      .linux_version = 601 },
    { .name = "pool/flood-6.1",
      .run = flood,
      .parameter = &floods,
      .deviations_max = 2,
      .linux_version = 601 },
    { .name = "pool/side-by-side-6.1",
      .run = side_by_side,
      .parameter = &crowds_view,
      .deviations_max = 2,
      .linux_version = 601 },
    { .name = "pool/empty-view-6.1",
      .run = with_an_empty_pool,
      .parameter = &empty_view,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/reset-in-line-6.1",
      .run = end_in_line,
      .parameter = &empty_reset,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/beside-others-6.1",
      .run = beside_others,
      .parameter = &overflows,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/datagrams-6.1",
      .run = of_datagrams,
      .parameter = &reads_them,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/datagrams-stopped-6.1",
      .run = of_datagrams,
      .parameter = &stops_them,
      .deviations_max = 4,
      .linux_version = 601 },
    { .name = "pool/views-in-line-6.1",
      .run = views_in_line,
      .parameter = &views_line,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/views-in-line-end-6.1",
      .run = views_in_line,
      .parameter = &views_line_end,
      .deviations_max = 3,
      .linux_version = 601 },
    { .name = "pool/in-any-order-6.1", .run = in_any_order, .linux_version = 601 },
    { .name = "pool/closed-under-a-receiver-6.1",
      .run = closed_under_a_receiver,
      .linux_version = 601,
      .fails_with = "ended by signal 6" },
    { .name = "multishot/recvs-older",
      .run = multishot,
      .parameter = &recvs_older,
      .deviations_max = 6,
      .linux_version = 601 },
    { .name = "multishot/recvmsgs-older",
      .run = multishot,
      .parameter = &recvmsgs_older,
      .deviations_max = 6,
      .linux_version = 601 },
    { .name = "multishot/reads-older",
      .run = multishot,
      .parameter = &reads_older,
      .deviations_max = 6,
      .linux_version = 601 },
    { .name = NULL },
};

const struct scenario *scenarios_pools_table(void)
{
    return table;
}
