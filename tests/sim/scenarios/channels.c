/* SPDX-License-Identifier: MIT */
/* Channels, mutexes and their like, beside operations of the kernel, in whose `done`s they are sent
 * to, closed and unlocked, and beside deadlines: each value once or still the sender's, each lock
 * held by one. */
#include "scenario.h"

#include <errno.h>

enum { TURNS_MAX = 30, PARTIES = 2, VALUES = 8 };

/* Another process writes to sockets; each read that completes does something. */
struct yard {
    struct unr_loop   *loop;
    int                fds[PARTIES][2]; /* [1] is the other process's */
    struct unr_op      reads[PARTIES];
    char               bytes[PARTIES];
    int                written;
    struct unr_channel channel, second;
    int                storage[VALUES];

    struct unr_waiter       senders[PARTIES], receivers[PARTIES];
    struct unr_deadline     deadlines[PARTIES];
    int                     sent[PARTIES], rooms[PARTIES];
    struct unr_select       select;
    struct unr_channel_case cases[2];
    unsigned                runs;        /* of all `done`s but those of the reads */
    unsigned                got[VALUES]; /* how often each value was received */
    int                     latest;      /* that was received */
    bool                    in_order;

    struct unr_mutex     mutex;
    struct unr_condition condition;
    unsigned             holders;
};

static void one_writes(void *context)
{
    struct yard *y = context;
    if (y->fds[y->written][1] < 0)
        return; /* the scenario is over */
    unr_sim_write(y->fds[y->written++][1], "x", 1);
    if (y->written < PARTIES)
        unr_sim_later(one_writes, y);
}

static void open_yard(struct yard *y, size_t capacity)
{
    y->loop = open_small_loop();
    y->in_order = true;
    unr_channel_init(&y->channel, capacity ? y->storage : NULL, sizeof *y->storage, capacity);
    unr_channel_init(&y->second, NULL, sizeof *y->storage, 0);
    for (int i = 0; i < PARTIES; i++)
        unr_sim_socketpair(y->fds[i], 0);
}

static void close_sockets(struct yard *y)
{
    for (int i = 0; i < PARTIES; i++) {
        unr_sim_close(y->fds[i][0]);
        unr_sim_close(y->fds[i][1]);
        y->fds[i][1] = -1;
    }
}

/* Does something in the `done` of a read, whenever its byte comes, or when it is cancelled. */
static void on_read(struct yard *y, int i, unr_done_fn *then)
{
    unr_start(y->loop, unr_read(&y->reads[i], y->fds[i][0], &y->bytes[i], 1, -1), then, y);
}

static void turn(struct yard *y)
{
    unr_sim_check(unr_loop_run_once(y->loop, UNR_NEVER) >= 0, "a turn");
}

/* Some turns, and then the loop is closed, or all comes to its end. */
static void run_or_close(struct yard *y)
{
    bool closes = unr_sim_choose(2);
    for (unsigned turns = closes ? unr_sim_choose(3) : TURNS_MAX; turns; turns--)
        if (unr_loop_in_flight(y->loop))
            turn(y);
    unr_sim_check(closes || !unr_loop_in_flight(y->loop), "it comes to an end");
    close_loop(y->loop);
    close_sockets(y);
}

static void take(struct yard *y, int value)
{
    unr_sim_check(value > 0 && value < VALUES, "a value that was sent");
    unr_sim_check(!y->in_order || value > y->latest, "in the order in which they were sent");
    y->latest = value;
    y->got[value]++;
}

/* What every result of such an operation says. */
static void verify_wait(const struct unr_op *op)
{
    const struct unr_result *r = &op->result;
    if (r->error == -ECANCELED) {
        unr_sim_check(r->guarantee == UNR_CANCEL_TOTAL && r->value == 0, "TOTAL");
        unr_sim_check(r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED,
                      "cancelled in user space");
    } else {
        unr_sim_check(!r->requested || r->verdict == UNR_VERDICT_TOO_LATE, "or it came too late");
    }
}

/* ---- channels ---- */

static void count_run(struct unr_op *op)
{
    struct yard *y = op->data;
    verify_wait(op);
    y->runs++;
}

static void received(struct unr_op *op)
{
    struct yard *y = op->data;
    count_run(op);
    for (int i = 0; i < PARTIES; i++)
        if ((op == &y->receivers[i].op || op == &y->deadlines[i].op) && op->result.value)
            take(y, y->rooms[i]);
}

/* In the `done` of a read: the channel is closed, or a sender that waits is cancelled. */
static void close_or_cancel(struct unr_op *op)
{
    struct yard *y = op->data;
    if (unr_sim_choose(2))
        unr_channel_close(&y->channel);
    else
        unr_cancel(&y->senders[1].op, UNR_CANCEL_TOTAL);
}

static void start_receive(struct yard *y, int i)
{
    struct unr_op *receive = unr_channel_receive(&y->receivers[i], &y->channel, &y->rooms[i]);
    unr_start(y->loop, unr_cancel_after(&y->deadlines[i], receive, UNR_MSEC(1 + i)), received, y);
}

static void start_send(struct yard *y, int i)
{
    y->sent[i] = 1 + i;
    unr_start(y->loop, unr_channel_send(&y->senders[i], &y->channel, &y->sent[i]), count_run, y);
}

static void receive_two(struct unr_op *op)
{
    struct yard *y = op->data;
    for (int i = 0; i < PARTIES; i++)
        start_receive(y, i);
}

/* Two senders, and two receivers with deadlines that begin at any moment; the channel is closed or
 * a sender cancelled at any other, and so is the loop. */
static void every_value(const struct scenario *scenario)
{
    static const size_t capacities[] = { 0, 1, 7 };
    struct yard         y = { .loop = NULL };
    int                 value;
    (void)scenario;
    open_yard(&y, capacities[unr_sim_choose(3)]);
    on_read(&y, 0, receive_two);
    on_read(&y, 1, close_or_cancel);
    for (int i = 0; i < PARTIES; i++)
        start_send(&y, i);
    unr_sim_later(one_writes, &y);
    run_or_close(&y);
    unr_sim_check(y.runs == 2 * PARTIES, "each done once");
    while (unr_channel_try_receive(&y.channel, &value) == 1)
        take(&y, value);
    for (int i = 0; i < PARTIES; i++)
        unr_sim_check(y.got[1 + i] == (y.senders[i].op.result.error == 0),
                      "received once, or still the sender's");
}

/* A select between two channels, with a deadline, beside two that send at any moment. */
static void try_to_send(struct unr_op *op)
{
    struct yard *y = op->data;
    int          i = op == &y->reads[1];
    y->sent[i] = 1 + i;
    unr_start(y->loop, unr_channel_send(&y->senders[i], i ? &y->second : &y->channel, &y->sent[i]),
              count_run, y);
}

static void close_both(struct unr_op *op)
{
    struct yard *y = op->data;
    count_run(op);
    unr_channel_close(&y->channel);
    unr_channel_close(&y->second);
}

static void one_of_two(const struct scenario *scenario)
{
    struct yard y = { .loop = NULL };
    (void)scenario;
    open_yard(&y, 0);
    y.cases[0] = (struct unr_channel_case){ .channel = &y.channel, .receive = &y.rooms[0] };
    y.cases[1] = (struct unr_channel_case){ .channel = &y.second, .receive = &y.rooms[1] };
    on_read(&y, 0, try_to_send);
    on_read(&y, 1, try_to_send);
    struct unr_op *select = unr_channel_select(&y.select, y.cases, 2);
    unr_start(y.loop, unr_cancel_after(&y.deadlines[0], select, UNR_MSEC(1)), close_both, &y);
    unr_sim_later(one_writes, &y);
    run_or_close(&y);
    unr_sim_check(y.runs == 1 + PARTIES, "each done once");
    bool cancelled = y.select.op.result.error == -ECANCELED;
    int  index = (int)y.select.op.result.value;
    for (int i = 0; i < PARTIES; i++) {
        bool was_sent = y.senders[i].op.result.error == 0;
        unr_sim_check(was_sent == (y.rooms[i] == 1 + i), "received, or still the sender's");
        unr_sim_check(was_sent == (!cancelled && index == i), "exactly one");
    }
}

/* Every play of some steps. */
static void cancel_one(struct unr_waiter *waiters)
{
    for (int i = 0; i < PARTIES; i++)
        if (unr_in_flight(&waiters[i].op)) {
            unr_cancel(&waiters[i].op, UNR_CANCEL_ALL);
            return;
        }
}

static void every_play(const struct scenario *scenario)
{
    static const size_t capacities[] = { 0, 1, 7 };
    struct yard         y = { .loop = NULL };
    int                 sending = 0, receiving = 0, value;
    (void)scenario;
    open_yard(&y, capacities[unr_sim_choose(3)]);
    y.in_order = false; /* a value that waits in its room is taken when its `done` runs */
    for (int step = 0; step < 5; step++)
        switch (unr_sim_choose(6)) {
        case 0:
            if (sending < PARTIES)
                start_send(&y, sending++);
            break;
        case 1:
            if (receiving < PARTIES)
                start_receive(&y, receiving++);
            break;
        case 2: cancel_one(y.senders); break;
        case 3: cancel_one(y.receivers); break;
        case 4: unr_channel_close(&y.channel); break;
        default: unr_sim_check(unr_loop_run_once(y.loop, 0) >= 0, "a turn");
        }
    if (unr_sim_choose(2))
        unr_channel_close(&y.channel);
    close_loop(y.loop);
    close_sockets(&y);
    unr_sim_check(y.runs == (unsigned)(sending + receiving), "each done once");
    while (unr_channel_try_receive(&y.channel, &value) == 1)
        take(&y, value);
    for (int i = 0; i < sending; i++)
        unr_sim_check(y.got[1 + i] == (y.senders[i].op.result.error == 0),
                      "received once, or still the sender's");
}

/* ---- mutexes and conditions ---- */

static void hold(struct yard *y)
{
    unr_sim_check(y->holders++ == 0, "one holds it");
}

static void let_go(struct yard *y)
{
    y->holders--;
    unr_mutex_unlock(&y->mutex);
}

static void let_go_of_read(struct unr_op *op)
{
    let_go(op->data);
}

/* Whoever gets the lock reads while it holds it. */
static void locked(struct unr_op *op)
{
    struct yard *y = op->data;
    count_run(op);
    if (op->result.error)
        return;
    hold(y);
    on_read(y, y->senders[1].op.data == op ? 1 : 0, let_go_of_read);
}

/* Two lock, each with a deadline, and each holds the mutex until a byte has come. */
static void one_holds(const struct scenario *scenario)
{
    struct yard y = { .loop = NULL };
    (void)scenario;
    open_yard(&y, 0);
    for (int i = 0; i < PARTIES; i++) {
        struct unr_op *lock = unr_mutex_lock(&y.senders[i], &y.mutex);
        unr_start(y.loop, unr_cancel_after(&y.deadlines[i], lock, UNR_MSEC(1 + i)), locked, &y);
        y.senders[i].op.data = &y.deadlines[i].op;
    }
    if (unr_sim_choose(2))
        unr_cancel(&y.senders[unr_sim_choose(PARTIES)].op, UNR_CANCEL_TOTAL);
    unr_sim_later(one_writes, &y);
    run_or_close(&y);
    unr_sim_check(y.runs == PARTIES && y.holders == 0, "each done once");
    unr_sim_check(unr_mutex_try_lock(&y.mutex), "and nobody holds it any more");
}

static void woken(struct unr_op *op)
{
    struct yard *y = op->data;
    count_run(op);
    hold(y);
    let_go(y);
}

static void signal_one(struct unr_op *op)
{
    struct yard *y = op->data;
    unr_condition_signal(&y->condition);
}

/* Two wait, each with a deadline; somebody locks the mutex and holds it until a byte has come, and
 * with another byte comes a signal. */
static void ends_locked(const struct scenario *scenario)
{
    struct yard y = { .loop = NULL };
    (void)scenario;
    open_yard(&y, 0);
    for (int i = 0; i < PARTIES; i++) {
        unr_sim_check(unr_mutex_try_lock(&y.mutex), "the one before has given it back");
        struct unr_op *wait = unr_condition_wait(&y.senders[i], &y.condition, &y.mutex);
        unr_start(y.loop, unr_cancel_after(&y.deadlines[i], wait, UNR_MSEC(1 + i)), woken, &y);
    }
    if (unr_sim_choose(2)) {
        unr_sim_check(unr_mutex_try_lock(&y.mutex), "it is free");
        hold(&y);
        on_read(&y, 0, let_go_of_read);
    }
    on_read(&y, 1, signal_one);
    unr_sim_later(one_writes, &y);
    run_or_close(&y);
    unr_sim_check(y.runs == PARTIES && y.holders == 0, "each done once");
    unr_sim_check(unr_mutex_try_lock(&y.mutex), "and nobody holds it any more");
    unsigned signalled = 0;
    for (int i = 0; i < PARTIES; i++)
        signalled += y.senders[i].op.result.error == 0;
    unr_sim_check(signalled <= 1, "one signal wakes one");
}

static const struct scenario table[] = {
    { .name = "channel/every-value", .run = every_value },
    { .name = "channel/one-of-two", .run = one_of_two },
    { .name = "channel/every-play", .run = every_play },
    { .name = "sync/one-holds", .run = one_holds },
    { .name = "sync/ends-locked", .run = ends_locked },
    { .name = NULL },
};

const struct scenario *scenarios_channels_table(void)
{
    return table;
}
