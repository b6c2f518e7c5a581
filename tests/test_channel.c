/* SPDX-License-Identifier: MIT */
/* Channels on the real kernel, whose part in them is small: it wakes nobody.  The scenarios of
 * tests/sim/scenarios/channels.c enumerate them together with other operations. */
#include "support.h"

#include <pthread.h>

TestSuite(channel, .init = open_loop);

/* ---- senders and receivers ---- */

struct party {
    struct seen       seen;
    struct unr_waiter waiter;
    int               value;
};

static struct unr_channel channel;
static int                storage[7];

static void open_channel(size_t capacity)
{
    unr_channel_init(&channel, capacity ? storage : NULL, sizeof *storage, capacity);
}

static void send_value(struct party *p, int value)
{
    p->value = value;
    start(&p->seen, unr_channel_send(&p->waiter, &channel, &p->value));
}

static void receive_value(struct party *p)
{
    p->value = 0;
    start(&p->seen, unr_channel_receive(&p->waiter, &channel, &p->value));
}

static bool ended_with(const struct party *p, int error, int64_t value)
{
    return p->seen.runs == 1 && p->seen.result.error == error
           && (error || p->seen.result.value == value);
}

static bool cancelled(const struct party *p)
{
    const struct unr_result *r = &p->seen.result;
    return ended_with(p, -ECANCELED, 0) && r->verdict == UNR_VERDICT_CANCELLED
           && r->guarantee == UNR_CANCEL_TOTAL;
}

/* ---- one value ---- */

/* A sender waits for a receiver where there is no storage, and nothing is there until then. */
Test(channel, without_storage_a_sender_waits_for_a_receiver)
{
    struct party sender = { .value = 0 }, receiver = { .value = 0 };
    open_channel(0);
    send_value(&sender, 42);
    submit();
    cr_assert_eq(sender.seen.runs, 0);
    cr_assert_eq(unr_channel_count(&channel), 0);
    receive_value(&receiver);
    cr_assert_eq(sender.seen.runs + receiver.seen.runs, 0, "nothing ends inside a start");
    submit();
    cr_assert(ended_with(&sender, 0, 0));
    cr_assert(ended_with(&receiver, 0, 1));
    cr_assert_eq(receiver.value, 42);
    close_loop();
}

/* A receiver waits for a sender, also where there is storage, and the value passes that by. */
Test(channel, receiver_that_waits_is_given_the_value)
{
    for (size_t capacity = 0; capacity < 2; capacity++) {
        struct party sender = { .value = 0 }, receiver = { .value = 0 };
        open_channel(capacity);
        receive_value(&receiver);
        submit();
        cr_assert_eq(receiver.seen.runs, 0);
        send_value(&sender, 43);
        cr_assert_eq(unr_channel_count(&channel), 0);
        submit();
        cr_assert(ended_with(&sender, 0, 0));
        cr_assert(ended_with(&receiver, 0, 1));
        cr_assert_eq(receiver.value, 43);
    }
    close_loop();
}

/* The storage holds as many values as it has room for, round and round, and a sender that waits
 * puts its value there as soon as one is taken. */
Test(channel, storage_is_a_queue_of_its_capacity)
{
    struct party senders[3] = { { .value = 0 } }, receiver;
    int          got;
    open_channel(2);
    for (int round = 0; round < 5; round++) {
        memset(senders, 0, sizeof senders);
        for (int i = 0; i < 3; i++)
            send_value(&senders[i], 10 * round + i);
        submit();
        cr_assert(ended_with(&senders[0], 0, 0) && ended_with(&senders[1], 0, 0));
        cr_assert_eq(senders[2].seen.runs, 0);
        cr_assert_eq(unr_channel_count(&channel), 2);
        receiver = (struct party){ .value = 0 };
        receive_value(&receiver);
        cr_assert_eq(unr_channel_count(&channel), 2, "the third has moved up");
        submit();
        cr_assert(ended_with(&senders[2], 0, 0));
        cr_assert_eq(receiver.value, 10 * round);
        for (int i = 1; i < 3; i++) {
            cr_assert_eq(unr_channel_try_receive(&channel, &got), 1);
            cr_assert_eq(got, 10 * round + i);
        }
    }
    close_loop();
}

/* Values of any size are copied whole, and values of no size are counted. */
Test(channel, values_of_any_size)
{
    static const size_t sizes[] = { 1, 3, 8, 1000 };
    unsigned char       values[3][1000], got[1000], room[2 * 1000];
    for (unsigned k = 0; k < 3; k++)
        for (unsigned i = 0; i < sizeof values[k]; i++)
            values[k][i] = (unsigned char)(i * 7 + k + 1);
    for (unsigned s = 0; s < LENGTH(sizes); s++) {
        struct seen       sender = { .runs = 0 };
        struct unr_waiter waiter = { .op = { .data = NULL } };
        unr_channel_init(&channel, room, sizes[s], 2);
        cr_assert_eq(unr_channel_try_send(&channel, values[0]), 0);
        cr_assert_eq(unr_channel_try_send(&channel, values[1]), 0);
        start(&sender, unr_channel_send(&waiter, &channel, values[2]));
        for (unsigned i = 0; i < 3; i++) {
            memset(got, 0, sizeof got);
            cr_assert_eq(unr_channel_try_receive(&channel, got), 1);
            cr_assert_eq(memcmp(got, values[i], sizes[s]), 0);
            cr_assert(sizes[s] == sizeof got || got[sizes[s]] == 0, "and nothing behind them");
        }
        submit();
        cr_assert_eq(sender.runs, 1);
    }
    unr_channel_init(&channel, NULL, 0, 3);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(unr_channel_try_send(&channel, NULL), 0);
    cr_assert_eq(unr_channel_try_send(&channel, NULL), -EAGAIN);
    cr_assert_eq(unr_channel_count(&channel), 3);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(unr_channel_try_receive(&channel, NULL), 1);
    cr_assert_eq(unr_channel_try_receive(&channel, NULL), -EAGAIN);
    close_loop();
}

/* ---- in which order ---- */

/* First come, first served, among receivers and among senders; whoever is cancelled leaves the
 * line, wherever it stands, and nobody else's turn changes. */
Test(channel, first_come_first_served)
{
    enum { N = 4 };
    for (int gone = 0; gone < N; gone++) {
        struct party senders[N] = { { .value = 0 } }, receivers[N] = { { .value = 0 } };
        int          got, next = 100;
        open_channel(0);
        for (int i = 0; i < N; i++)
            receive_value(&receivers[i]);
        unr_cancel(&receivers[gone].waiter.op, UNR_CANCEL_TOTAL);
        for (int i = 1; i < N; i++)
            cr_assert_eq(unr_channel_try_send(&channel, &(int){ next + i - 1 }), 0);
        cr_assert_eq(unr_channel_try_send(&channel, &next), -EAGAIN);
        submit();
        cr_assert(cancelled(&receivers[gone]));
        next = 100;
        for (int i = 0; i < N; i++)
            if (i != gone) {
                cr_assert(ended_with(&receivers[i], 0, 1));
                cr_assert_eq(receivers[i].value, next++);
            }

        for (int i = 0; i < N; i++)
            send_value(&senders[i], i);
        unr_cancel(&senders[gone].waiter.op, UNR_CANCEL_TOTAL);
        for (int i = 0; i < N; i++)
            if (i != gone) {
                cr_assert_eq(unr_channel_try_receive(&channel, &got), 1);
                cr_assert_eq(got, i);
            }
        cr_assert_eq(unr_channel_try_receive(&channel, &got), -EAGAIN);
        submit();
        cr_assert(cancelled(&senders[gone]));
    }
    close_loop();
}

/* Receivers end in the order in which they were served. */
static int order[8], ended;

static void note_order(struct seen *seen)
{
    order[ended++] = *(int *)seen->context;
}

Test(channel, served_first_ends_first)
{
    static int   numbers[3] = { 0, 1, 2 };
    struct party receivers[3] = { { .value = 0 } };
    open_channel(0);
    for (int i = 0; i < 3; i++) {
        receivers[i].seen.then = note_order;
        receivers[i].seen.context = &numbers[i];
        receive_value(&receivers[i]);
    }
    for (int i = 0; i < 3; i++)
        unr_channel_try_send(&channel, &i);
    run();
    cr_assert(ended == 3 && order[0] == 0 && order[1] == 1 && order[2] == 2);
    close_loop();
}

/* The try_ functions overtake nobody, and take nothing that is another's. */
Test(channel, try_overtakes_nobody)
{
    struct party sender = { .value = 0 }, receiver = { .value = 0 };
    int          value = 7, got = -1;
    open_channel(1);
    cr_assert_eq(unr_channel_try_receive(&channel, &got), -EAGAIN);
    cr_assert_eq(got, -1);
    cr_assert_eq(unr_channel_try_send(&channel, &value), 0);
    send_value(&sender, 8);
    value = 9;
    cr_assert_eq(unr_channel_try_send(&channel, &value), -EAGAIN);
    cr_assert_eq(unr_channel_try_receive(&channel, &got), 1);
    cr_assert_eq(got, 7);
    cr_assert_eq(unr_channel_try_send(&channel, &value), -EAGAIN, "the sender has the room");
    cr_assert_eq(unr_channel_try_receive(&channel, &got), 1);
    cr_assert_eq(got, 8);
    receive_value(&receiver);
    cr_assert_eq(unr_channel_try_receive(&channel, &got), -EAGAIN);
    cr_assert_eq(unr_channel_try_send(&channel, &value), 0);
    cr_assert_eq(unr_channel_try_receive(&channel, &got), -EAGAIN, "the receiver has the value");
    run();
    cr_assert(ended_with(&receiver, 0, 1));
    cr_assert_eq(receiver.value, 9);
    close_loop();
}

/* ---- requests ---- */

/* A value that was handed over before the request has been received, and sent: TOO_LATE. */
Test(channel, served_before_the_request_is_a_success)
{
    struct party sender = { .value = 0 }, receiver = { .value = 0 };
    open_channel(0);
    receive_value(&receiver);
    send_value(&sender, 5);
    cr_assert(unr_cancel(&receiver.waiter.op, UNR_CANCEL_ALL));
    cr_assert(unr_cancel(&sender.waiter.op, UNR_CANCEL_ALL));
    run();
    cr_assert(ended_with(&sender, 0, 0) && ended_with(&receiver, 0, 1));
    cr_assert_eq(sender.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(receiver.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(receiver.value, 5);
    close_loop();
}

/* Each type is honoured, by itself. */
Test(channel, every_type_is_honoured)
{
    static const unsigned types[] = { UNR_CANCEL_TERMINAL, UNR_CANCEL_PARTIAL, UNR_CANCEL_TOTAL };
    open_channel(0);
    for (unsigned i = 0; i < LENGTH(types); i++) {
        struct party receiver = { .value = 0 };
        receive_value(&receiver);
        unr_cancel(&receiver.waiter.op, types[i]);
        run();
        cr_assert(cancelled(&receiver));
    }
    close_loop();
}

/* A request before the start ends it there: nothing is sent, and the verdict says so. */
Test(channel, latched_request_comes_before_the_value)
{
    struct party      sender = { .value = 0 }, receiver = { .value = 0 };
    struct unr_signal stop;
    int               got;
    unr_signal_init_latched(&stop);
    unr_signal_emit(&stop, UNR_CANCEL_TOTAL);
    open_channel(1);
    start(&sender.seen, unr_bind_slot(unr_channel_send(&sender.waiter, &channel, &sender.value),
                                      unr_signal_slot(&stop)));
    cr_assert_eq(unr_channel_try_receive(&channel, &got), -EAGAIN);
    start(&receiver.seen,
          unr_bind_slot(unr_channel_receive(&receiver.waiter, &channel, &receiver.value),
                        unr_signal_slot(&stop)));
    run();
    expect_cancelled(&sender.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    expect_cancelled(&receiver.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    close_loop();
}

/* A deadline ends a wait, but not a wait that was served before. */
Test(channel, receive_has_a_deadline)
{
    struct party        receiver = { .value = 0 };
    struct unr_deadline deadline;
    int                 value = 3;
    memset(&deadline, 0, sizeof deadline);
    open_channel(0);
    for (int served = 0; served < 2; served++) {
        receiver.seen.runs = 0;
        start(&receiver.seen,
              unr_cancel_after(&deadline,
                               unr_channel_receive(&receiver.waiter, &channel, &receiver.value),
                               UNR_MSEC(1)));
        if (served)
            cr_assert_eq(unr_channel_try_send(&channel, &value), 0);
        run();
        cr_assert_eq(receiver.seen.runs, 1);
        cr_assert_eq(unr_timed_out(&receiver.seen.result), !served);
    }
    cr_assert_eq(receiver.value, 3);
    cr_assert_eq(unr_channel_try_send(&channel, &value), -EAGAIN, "nobody waits any more");
    close_loop();
}

/* ---- the end ---- */

/* Senders that wait keep their values; the values in the storage are received, and then the end. */
Test(channel, close_wakes_both_sides)
{
    struct party senders[2] = { { .value = 0 } }, receivers[4] = { { .value = 0 } };
    int          got = -1;
    open_channel(1);
    send_value(&senders[0], 1);
    send_value(&senders[1], 2);
    unr_channel_close(&channel);
    submit();
    cr_assert(ended_with(&senders[0], 0, 0), "it was in the storage");
    cr_assert(ended_with(&senders[1], -EPIPE, 0));
    cr_assert_eq(senders[1].seen.result.verdict, UNR_VERDICT_NONE);
    receive_value(&receivers[0]);
    receive_value(&receivers[1]);
    submit();
    cr_assert(ended_with(&receivers[0], 0, 1));
    cr_assert_eq(receivers[0].value, 1);
    cr_assert(ended_with(&receivers[1], 0, 0));
    cr_assert_eq(unr_channel_try_receive(&channel, &got), 0);
    cr_assert_eq(unr_channel_try_send(&channel, &got), -EPIPE);
    cr_assert_eq(got, -1);
    unr_channel_close(&channel);

    open_channel(1);
    receive_value(&receivers[2]);
    receive_value(&receivers[3]);
    submit();
    unr_channel_close(&channel);
    run();
    cr_assert(ended_with(&receivers[2], 0, 0) && ended_with(&receivers[3], 0, 0));
    senders[0] = (struct party){ .value = 0 };
    send_value(&senders[0], 9);
    run();
    cr_assert(ended_with(&senders[0], -EPIPE, 0));
    cr_assert_not_null(strstr(unr_explain_op(&senders[0].waiter.op), "channel_send"));
    close_loop();
}

/* A loop that is closed ends the operations that wait; a value that had been handed over stays
 * received. */
Test(channel, closing_loop_ends_those_that_wait)
{
    struct party served = { .value = 0 }, receiver = { .value = 0 }, late = { .value = 0 };
    int          value = 6, got;
    open_channel(0);
    receive_value(&served);
    receive_value(&receiver);
    cr_assert_eq(unr_channel_try_send(&channel, &value), 0);
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert(ended_with(&served, 0, 1));
    cr_assert_eq(served.value, 6);
    cr_assert_eq(served.seen.result.verdict, UNR_VERDICT_TOO_LATE);
    expect_cancelled(&receiver.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    open_loop();
    send_value(&late, 1); /* the channel outlives the loop */
    cr_assert_eq(unr_channel_try_receive(&channel, &got), 1);
    run();
    cr_assert(ended_with(&late, 0, 0));
    close_loop();
}

/* A `done` that sends and receives anew is served a turn later: it starves nobody. */
static void send_again(struct seen *seen)
{
    struct party *p = unr_container_of(seen, struct party, seen);
    if (seen->runs < 10 && !seen->result.error)
        start(seen, unr_channel_send(&p->waiter, &channel, &p->value));
}

static void receive_again(struct seen *seen)
{
    struct party *p = unr_container_of(seen, struct party, seen);
    if (seen->runs < 10 && !seen->result.error)
        start(seen, unr_channel_receive(&p->waiter, &channel, &p->value));
}

Test(channel, what_done_starts_is_the_next_turns)
{
    struct party sender = { .seen.then = send_again }, receiver = { .seen.then = receive_again };
    open_channel(0);
    send_value(&sender, 1);
    receive_value(&receiver);
    for (int turns = 1; turns <= 10; turns++) {
        submit();
        cr_assert_eq(sender.seen.runs, turns);
        cr_assert_eq(receiver.seen.runs, turns);
    }
    cr_assert_eq(unr_loop_in_flight(loop), 0);
    close_loop();
}

/* ---- one of several ---- */

static struct unr_channel second;

static void start_select(struct seen *seen, struct unr_select *select,
                         struct unr_channel_case *cases, unsigned n)
{
    seen->runs = 0;
    start(seen, unr_channel_select(select, cases, n));
}

/* Two values that come in one turn: a select takes the first, and leaves the other to others;
 * unr_any() over two receives takes both, and loses neither. */
Test(channel, select_takes_exactly_one)
{
    struct seen             seen = { .runs = 0 };
    struct unr_select       select = { .op = { .data = NULL } };
    int                     first = 0, other = 0, value = 1, got = 0;
    struct unr_channel_case cases[] = { { .channel = &channel, .receive = &first },
                                        { .channel = &second, .receive = &other } };
    open_channel(0);
    unr_channel_init(&second, NULL, sizeof value, 0);
    for (int k = 0; k < 2; k++) { /* it waits, and whichever comes first is it */
        first = other = 0;
        start_select(&seen, &select, cases, 2);
        cr_assert_eq(unr_channel_try_send(k ? &second : &channel, &value), 0);
        cr_assert_eq(unr_channel_try_send(k ? &channel : &second, &value), -EAGAIN);
        run();
        cr_assert_eq(seen.runs, 1);
        cr_assert_eq(seen.result.error, 0);
        cr_assert_eq(seen.result.value, k);
        cr_assert(first == !k && other == k);
        cr_assert(!cases[0].closed && !cases[1].closed);
    }
    struct party senders[2] = { { .value = 0 } }; /* both are possible: the first in the array */
    first = other = 0;
    start(&senders[0].seen, unr_channel_send(&senders[0].waiter, &channel, &value));
    start(&senders[1].seen, unr_channel_send(&senders[1].waiter, &second, &value));
    start_select(&seen, &select, cases, 2);
    submit();
    cr_assert(seen.runs == 1 && seen.result.value == 0 && first == 1 && other == 0);
    cr_assert_eq(unr_channel_try_receive(&second, &got), 1);
    run();
    cr_assert(ended_with(&senders[0], 0, 0) && ended_with(&senders[1], 0, 0));
    close_loop();
}

Test(channel, any_over_two_receives_may_take_both)
{
    struct party     receivers[2] = { { .value = 0 } };
    struct seen      seen = { .runs = 0 };
    struct unr_group group;
    struct unr_op   *both[2];
    int              value = 4;
    memset(&group, 0, sizeof group);
    open_channel(0);
    unr_channel_init(&second, NULL, sizeof value, 0);
    both[0] = unr_channel_receive(&receivers[0].waiter, &channel, &receivers[0].value);
    both[1] = unr_channel_receive(&receivers[1].waiter, &second, &receivers[1].value);
    start(&seen, unr_any(&group, both, 2));
    cr_assert_eq(unr_channel_try_send(&second, &value), 0);
    cr_assert_eq(unr_channel_try_send(&channel, &value), 0);
    run();
    cr_assert_eq(seen.result.value, 1, "the second was served first");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(both[i]->result.error, 0);
        cr_assert_eq(both[i]->result.value, 1);
        cr_assert_eq(receivers[i].value, 4, "nothing is lost: it is in its room");
    }
    close_loop();
}

/* Sends are cases, too; cases that are not done keep their values. */
Test(channel, select_sends)
{
    struct seen             seen = { .runs = 0 };
    struct unr_select       select = { .op = { .data = NULL } };
    int                     values[2] = { 11, 12 }, room = 0, got = 0;
    struct unr_channel_case cases[] = { { .channel = &channel, .send = &values[0] },
                                        { .channel = &channel, .receive = &room },
                                        { .channel = &second, .send = &values[1] } };
    open_channel(0);
    unr_channel_init(&second, storage, sizeof *storage, 1);
    start_select(&seen, &select, cases, 3);
    run();
    cr_assert_eq(seen.result.value, 2, "there is room in the second; it does not meet itself");
    start_select(&seen, &select, cases, 3); /* and now there is not */
    submit();
    cr_assert_eq(seen.runs, 0);
    cr_assert_eq(unr_channel_try_receive(&channel, &got), 1);
    cr_assert_eq(got, 11);
    cr_assert_eq(unr_channel_try_send(&channel, &got), -EAGAIN, "it has left that line as well");
    run();
    cr_assert_eq(seen.result.value, 0);
    start_select(&seen, &select, cases, 3);
    cr_assert_eq(unr_channel_try_receive(&second, &got), 1);
    cr_assert_eq(got, 12);
    run();
    cr_assert_eq(seen.result.value, 2);
    cr_assert_eq(unr_channel_count(&second), 1);
    cr_assert_eq(room, 0);
    close_loop();
}

/* Two selects meet, each once. */
Test(channel, selects_meet)
{
    struct seen             seen[2] = { { .runs = 0 } };
    struct unr_select       selects[2];
    int                     values[2] = { 1, 2 }, rooms[2] = { 0, 0 };
    struct unr_channel_case cases[2][2];
    memset(selects, 0, sizeof selects);
    open_channel(0);
    for (int i = 0; i < 2; i++) {
        cases[i][0] = (struct unr_channel_case){ .channel = &channel, .send = &values[i] };
        cases[i][1] = (struct unr_channel_case){ .channel = &channel, .receive = &rooms[i] };
        start_select(&seen[i], &selects[i], cases[i], 2);
    }
    run();
    cr_assert(seen[0].runs == 1 && seen[1].runs == 1);
    cr_assert(seen[0].result.value == 1 && seen[1].result.value == 0);
    cr_assert(rooms[0] == 2 && rooms[1] == 0);
    close_loop();
}

/* A channel that is closed, before or meanwhile, is a case that happens, and says so. */
Test(channel, select_of_a_closed_channel)
{
    struct seen             seen = { .runs = 0 };
    struct unr_select       select = { .op = { .data = NULL } };
    int                     value = 1, room = 0;
    struct unr_channel_case cases[] = { { .channel = &channel, .receive = &room },
                                        { .channel = &second, .send = &value } };
    for (int which = 0; which < 2; which++)
        for (int before = 0; before < 2; before++) {
            struct unr_channel *closes = which ? &second : &channel;
            open_channel(0);
            unr_channel_init(&second, NULL, sizeof value, 0);
            if (before)
                unr_channel_close(closes);
            start_select(&seen, &select, cases, 2);
            if (!before) {
                submit();
                unr_channel_close(closes);
            }
            run();
            cr_assert_eq(seen.runs, 1);
            cr_assert_eq(seen.result.error, which ? -EPIPE : 0);
            cr_assert_eq(seen.result.value, which);
            cr_assert(cases[which].closed && !cases[!which].closed);
        }
    close_loop();
}

/* Cancelled, it has left all lines; without cases it is an error. */
Test(channel, select_is_cancelled_as_a_whole)
{
    struct seen             seen = { .runs = 0 };
    struct unr_select       select = { .op = { .data = NULL } };
    int                     value = 1, room = 0;
    struct unr_channel_case cases[] = { { .channel = &channel, .receive = &room },
                                        { .channel = &second, .send = &value },
                                        { .channel = &channel, .receive = &room } };
    open_channel(0);
    unr_channel_init(&second, NULL, sizeof value, 0);
    start_select(&seen, &select, cases, 3);
    unr_cancel(&select.op, UNR_CANCEL_TOTAL);
    cr_assert_eq(unr_channel_try_send(&channel, &value), -EAGAIN);
    cr_assert_eq(unr_channel_try_receive(&second, &room), -EAGAIN);
    run();
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    start_select(&seen, &select, cases, 3);
    cr_assert_eq(unr_channel_try_send(&channel, &value), 0);
    unr_cancel(&select.op, UNR_CANCEL_TOTAL);
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_TOO_LATE);
    start_select(&seen, &select, cases, 0);
    run();
    cr_assert_eq(seen.result.error, -EINVAL);
    close_loop();
}

/* ---- everything at once ---- */

/* Each value is received once, in the order in which it was sent, or its sender is told that it was
 * not sent: for every sequence of a few steps, each capacity, and each way to end it. */
enum step { SEND, RECEIVE, CANCEL_SEND, CANCEL_RECEIVE, CLOSE, TURN, TRY, SELECT, STEPS };
enum { LENGTH_OF_PLAY = 5, VALUES = LENGTH_OF_PLAY + 1 };

struct play {
    struct party            senders[LENGTH_OF_PLAY], receivers[LENGTH_OF_PLAY];
    struct unr_select       selects[LENGTH_OF_PLAY];
    struct unr_channel_case cases[LENGTH_OF_PLAY][2];
    int  sent, receiving;  /* how many have begun; a value is its number, from 1 */
    int  got[VALUES];      /* how often each value was received */
    bool promised[VALUES]; /* its sender was told that it was sent */
};

static void take(struct play *play, int value)
{
    cr_assert(value > 0 && value < VALUES);
    play->got[value]++;
}

static void play_select(struct play *play)
{
    struct party            *p = &play->receivers[play->receiving];
    struct unr_channel_case *cases = play->cases[play->receiving];
    cases[0] = (struct unr_channel_case){ .channel = &channel, .receive = &p->value };
    cases[1] = (struct unr_channel_case){ .channel = &second, .receive = &p->value };
    start(&p->seen, unr_channel_select(&play->selects[play->receiving++], cases, 2));
}

static void play_step(struct play *play, enum step step)
{
    int number = play->sent + 1, got = 0, error;
    switch (step) {
    case SEND: send_value(&play->senders[play->sent++], number); break;
    case RECEIVE: receive_value(&play->receivers[play->receiving++]); break;
    case SELECT: play_select(play); break;
    case CANCEL_SEND:
        for (int i = 0; i < play->sent; i++)
            if (unr_cancel(&play->senders[i].waiter.op, UNR_CANCEL_TOTAL))
                return;
        break;
    case CANCEL_RECEIVE:
        for (int i = 0; i < play->receiving; i++)
            if (unr_cancel(&play->receivers[i].waiter.op, UNR_CANCEL_TOTAL)
                || unr_cancel(&play->selects[i].op, UNR_CANCEL_TOTAL))
                return;
        break;
    case CLOSE: unr_channel_close(&channel); break;
    case TURN: submit(); break;
    default:
        if (play->sent % 2) {
            if (unr_channel_try_receive(&channel, &got) == 1)
                take(play, got);
            break;
        }
        error = unr_channel_try_send(&channel, &number);
        cr_assert(error == 0 || error == -EPIPE
                  || unr_channel_count(&channel) == channel.private_fields.capacity);
        play->promised[number] = error == 0;
        play->senders[play->sent++].seen.runs = 1;
    }
}

/* How many of them wait, when a turn has run each `done` that was due. */
static void expect_nobody_sleeps_beside_another(const struct play *play, size_t capacity)
{
    int senders = 0, receivers = 0;
    for (int i = 0; i < LENGTH_OF_PLAY; i++) {
        senders += unr_in_flight(&play->senders[i].waiter.op);
        receivers +=
            unr_in_flight(&play->receivers[i].waiter.op) || unr_in_flight(&play->selects[i].op);
    }
    cr_assert(!receivers || (!senders && !unr_channel_count(&channel)));
    cr_assert(!senders || unr_channel_count(&channel) == capacity);
}

static void play_all(const enum step *steps, size_t capacity, int ending)
{
    struct play play;
    int         latest = 0, got;
    memset(&play, 0, sizeof play);
    open_channel(capacity);
    unr_channel_init(&second, NULL, sizeof *storage, 0);
    for (int i = 0; i < LENGTH_OF_PLAY; i++)
        play_step(&play, steps[i]);
    submit();
    expect_nobody_sleeps_beside_another(&play, capacity);
    if (ending == 0)
        unr_channel_close(&channel);
    for (int i = 0; i < LENGTH_OF_PLAY; i++) {
        unr_cancel(&play.senders[i].waiter.op, UNR_CANCEL_ALL);
        unr_cancel(&play.receivers[i].waiter.op, UNR_CANCEL_ALL);
        unr_cancel(&play.selects[i].op, UNR_CANCEL_ALL);
    }
    run();
    for (int i = 0; i < play.receiving; i++) {
        const struct party *p = &play.receivers[i];
        bool is_select = play.cases[i][0].channel != NULL, closed = play.cases[i][0].closed;
        cr_assert_eq(p->seen.runs, 1);
        if (p->seen.result.error || (is_select ? closed : !p->seen.result.value))
            continue;
        cr_assert(p->value > latest, "first come, first served");
        latest = p->value;
        take(&play, p->value);
    }
    while (unr_channel_try_receive(&channel, &got) == 1)
        take(&play, got);
    for (int i = 0; i < play.sent; i++) {
        const struct seen *seen = &play.senders[i].seen;
        bool was_sent = play.promised[i + 1] || (seen->result.error == 0 && play.senders[i].value);
        cr_assert_eq(seen->runs, 1);
        cr_assert_eq(play.got[i + 1], was_sent, "a value received %d times", play.got[i + 1]);
    }
}

Test(channel, every_value_sent_is_received_once_or_still_the_senders)
{
    static const size_t capacities[] = { 0, 1, 7 };
    unsigned            plays = 1;
    for (int i = 0; i < LENGTH_OF_PLAY; i++)
        plays *= STEPS;
    for (unsigned c = 0; c < LENGTH(capacities); c++)
        for (unsigned play = 0; play < plays; play++) {
            enum step steps[LENGTH_OF_PLAY];
            for (unsigned i = 0, rest = play; i < LENGTH_OF_PLAY; i++, rest /= STEPS)
                steps[i] = rest % STEPS;
            play_all(steps, capacities[c], play % 2);
        }
    close_loop();
}

/* ---- words for a person ---- */

Test(channel, dump_names_those_that_wait)
{
    struct party            sender = { .value = 0 }, receiver = { .value = 0 };
    struct seen             seen = { .runs = 0 };
    struct unr_select       select = { .op = { .data = NULL } };
    int                     room, ends[2];
    struct unr_channel_case cases[] = { { .channel = &channel, .send = &room } };
    char                    text[2048] = { 0 };
    open_channel(0);
    unr_channel_init(&second, NULL, sizeof room, 0);
    send_value(&sender, 1);
    start_select(&seen, &select, cases, 1);
    start(&receiver.seen, unr_channel_receive(&receiver.waiter, &second, &receiver.value));
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    unr_loop_dump(loop, ends[1]);
    cr_assert_gt(read(ends[0], text, sizeof text - 1), 0);
    close(ends[0]);
    close(ends[1]);
    cr_assert_not_null(strstr(text, "channel_send "), "%s", text);
    cr_assert_not_null(strstr(text, "channel_receive "), "%s", text);
    cr_assert_not_null(strstr(text, "channel_select "), "%s", text);
    unr_channel_close(&channel);
    unr_channel_close(&second);
    run();
    close_loop();
}

/* ---- broken contracts ---- */

static void in_a_child(void (*body)(void *context), const char *what)
{
    struct death death = in_child(body, NULL);
    expect_abort(&death, (const char *const[]){ "unring: broken contract:", what, NULL });
}

static void reuse_memory(void *context)
{
    static struct party receiver;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_channel(0);
    receive_value(&receiver);
    open_channel(0);
    unr_loop_close(loop);
}

static void use_two_loops(void *context)
{
    static struct party receivers[2];
    struct unr_loop    *other;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0 && unr_loop_open(&other, NULL) == 0);
    open_channel(0);
    receive_value(&receivers[0]);
    unr_start(other, unr_channel_receive(&receivers[1].waiter, &channel, &receivers[1].value), NULL,
              NULL);
}

static void *send_from_another_thread(void *context)
{
    int value = 1;
    (void)context;
    unr_channel_try_send(&channel, &value);
    return NULL;
}

static void use_two_threads(void *context)
{
    static struct party receiver;
    pthread_t           thread;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_channel(0);
    receive_value(&receiver);
    must(unr_loop_run_once(loop, 0) == 0);
    must(pthread_create(&thread, NULL, send_from_another_thread, NULL) == 0);
    pthread_join(thread, NULL);
}

static void select_from_another_thread(void *context)
{
    static struct seen             seen;
    static struct unr_select       select;
    static struct unr_channel_case cases[1];
    static int                     room;
    pthread_t                      thread;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_channel(0);
    cases[0] = (struct unr_channel_case){ .channel = &channel, .receive = &room };
    start_select(&seen, &select, cases, 1);
    must(unr_loop_run_once(loop, 0) == 0);
    must(pthread_create(&thread, NULL, send_from_another_thread, NULL) == 0);
    pthread_join(thread, NULL);
}

static void leave_storage_out(void *context)
{
    (void)context;
    unr_channel_init(&channel, NULL, 4, 1);
}

Test(channel, mistakes_are_named)
{
    in_a_child(reuse_memory, "memory was used again");
    in_a_child(use_two_loops, "beside an operation of another loop");
    in_a_child(use_two_threads, "used from a second thread");
    in_a_child(select_from_another_thread, "used from a second thread");
    in_a_child(leave_storage_out, "without storage");
    close_loop();
}
