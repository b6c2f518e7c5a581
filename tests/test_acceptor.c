/* SPDX-License-Identifier: MIT */
/* Acceptors on the real kernel.  What the simulated one enumerates is in
 * tests/sim/scenarios/acceptors.c. */
#define SUPPORT_KERNEL
#include "support.h"

#include <sys/eventfd.h>

TestSuite(acceptor, .init = open_loop);

/* ---- a listening socket, an acceptor, and clients that say their numbers ---- */

enum { CLIENTS_MAX = 64, ASKERS_MAX = 8 };

struct hall {
    struct unr_acceptor acceptor;
    struct sockaddr_in  address;
    int                 listener;
    struct seen         asks[ASKERS_MAX], other;
    int                 clients[CLIENTS_MAX];
    uint32_t            count; /* of clients */
    int                 handed[CLIENTS_MAX];
    unsigned            handed_count;
};

static struct hall hall;

static int connect_to(const struct sockaddr_in *address, uint32_t number)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) < 0
        || write(fd, &number, sizeof number) != sizeof number)
        return -1;
    return fd;
}

static void come(struct hall *h)
{
    h->clients[h->count] = connect_to(&h->address, h->count);
    cr_assert_geq(h->clients[h->count], 0);
    h->count++;
}

/* The number of whoever is at the other end of an accepted connection, which is closed. */
static uint32_t take(int fd)
{
    uint32_t number = UINT32_MAX;
    cr_assert_eq(recv(fd, &number, sizeof number, MSG_WAITALL), sizeof number);
    close(fd);
    return number;
}

static void listen_with(struct hall *h, unsigned parked, unsigned flags)
{
    h->listener = tcp_listener(&h->address, CLIENTS_MAX);
    unr_acceptor_init(&h->acceptor, loop, h->listener, parked, flags);
}

static void ask(struct hall *h, unsigned i)
{
    h->asks[i].runs = 0;
    start(&h->asks[i], unr_accept_from(&h->asks[i].op, &h->acceptor));
}

/* Returns the number of the client that was taken, or an error. */
static int ask_and_take(struct hall *h)
{
    ask(h, 0);
    finish(&h->asks[0]);
    return h->asks[0].result.error ? h->asks[0].result.error : (int)take(h->asks[0].result.fd);
}

/* Turns `turns` times, also where nobody waits for anything. */
static void turn(int turns)
{
    struct seen nop = { .runs = 0 };
    for (; turns; turns--) {
        nop.runs = 0;
        start(&nop, unr_nop(&nop.op));
        finish(&nop);
    }
}

static void hand(void *context, int fd)
{
    struct hall *h = context;
    cr_assert_eq(h->other.runs, 0, "before its done");
    h->handed[h->handed_count++] = fd;
}

static void stop(struct hall *h, void (*each)(void *context, int fd))
{
    h->other.runs = 0;
    start(&h->other, unr_acceptor_stop(&h->other.op, &h->acceptor, each, h));
    finish(&h->other);
    cr_assert_eq(h->other.result.error, 0);
}

static void close_listener(struct hall *h)
{
    h->other.runs = 0;
    start(&h->other, unr_cancel_close(&h->other.op, h->listener));
    finish(&h->other);
    cr_assert_eq(h->other.result.error, 0);
}

static void close_clients(struct hall *h)
{
    while (h->count > 0)
        close(h->clients[--h->count]);
}

static void close_hall(struct hall *h)
{
    close_listener(h);
    close_clients(h);
    close_loop();
}

/* The connection that waits in the backlog, or -1. */
static int from_backlog(const struct hall *h)
{
    fcntl(h->listener, F_SETFL, O_NONBLOCK);
    return accept4(h->listener, NULL, NULL, SOCK_CLOEXEC);
}

/* ---- asking ---- */

Test(acceptor, takes_what_is_there_and_what_comes)
{
    listen_with(&hall, 0, 0);
    come(&hall);
    cr_assert_eq(ask_and_take(&hall), 0);
    ask(&hall, 0);
    submit();
    submit();
    cr_assert_eq(hall.asks[0].runs, 0, "there is nobody");
    come(&hall);
    finish(&hall.asks[0]);
    cr_assert_eq(hall.asks[0].result.bytes, 0);
    cr_assert_eq(take(hall.asks[0].result.fd), 1);
    close_hall(&hall);
}

Test(acceptor, served_in_the_order_of_their_starts)
{
    listen_with(&hall, 2, 0);
    for (unsigned i = 0; i < 5; i++)
        ask(&hall, i);
    submit();
    cr_assert(unr_cancel(&hall.asks[1].op, UNR_CANCEL_TOTAL));
    for (int i = 0; i < 4; i++)
        come(&hall);
    for (unsigned i = 0; i < 5; i++)
        finish(&hall.asks[i]);
    expect_cancelled(&hall.asks[1], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(hall.asks[1].result.fd, -1);
    uint32_t expected = 0;
    for (unsigned i = 0; i < 5; i++)
        if (i != 1)
            cr_assert_eq(take(hall.asks[i].result.fd), expected++);
    close_hall(&hall);
}

Test(acceptor, connections_that_wait_are_given_in_the_order_in_which_they_came)
{
    listen_with(&hall, 4, 0);
    for (int i = 0; i < 6; i++)
        come(&hall);
    turn(5);
    for (int i = 0; i < 6; i++)
        cr_assert_eq(ask_and_take(&hall), i);
    close_hall(&hall);
}

Test(acceptor, flags_of_the_connections)
{
    listen_with(&hall, 1, SOCK_NONBLOCK);
    come(&hall);
    ask(&hall, 0);
    finish(&hall.asks[0]);
    int fd = hall.asks[0].result.fd;
    cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    stop(&hall, NULL);
    unr_acceptor_init(&hall.acceptor, loop, hall.listener, 1, 0);
    come(&hall);
    ask(&hall, 0);
    finish(&hall.asks[0]);
    fd = hall.asks[0].result.fd;
    cr_assert(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
    cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    close_hall(&hall);
}

/* As many as may wait are taken, and the others stay in the backlog. */
static void takes_at_most(unsigned parked, unsigned expected)
{
    unsigned left = 0;
    listen_with(&hall, parked, 0);
    for (int i = 0; i < 40; i++)
        come(&hall);
    turn(50);
    for (int fd; (fd = from_backlog(&hall)) >= 0; left++)
        cr_assert_eq(take(fd), expected + left);
    cr_assert_eq(left, 40 - expected);
    for (unsigned i = 0; i < expected; i++)
        cr_assert_eq(ask_and_take(&hall), (int)i);
    close_hall(&hall);
}

Test(acceptor, who_does_not_ask_stops_accepting)
{
    takes_at_most(3, 3);
}

Test(acceptor, eight_wait_unless_another_number_is_given)
{
    takes_at_most(0, 8);
}

Test(acceptor, no_more_wait_than_there_is_room_for)
{
    takes_at_most(1000, UNR_ACCEPTOR_PARKED_MAX);
}

/* The counts of io_uring_enter(2) tell: neither cancelling nor asking again calls the kernel. */
Test(acceptor, cancel_makes_no_system_call)
{
    struct unr_stats before, after;
    listen_with(&hall, 0, 0);
    ask(&hall, 0);
    submit();
    submit();
    unr_loop_stats(loop, &before, sizeof before);
    for (int i = 0; i < 1000; i++) {
        unr_cancel(&hall.asks[0].op, UNR_CANCEL_ALL);
        submit();
        expect_cancelled(&hall.asks[0], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        ask(&hall, 0);
        submit();
    }
    unr_loop_stats(loop, &after, sizeof after);
    cr_assert_eq(after.enters, before.enters);
    unr_cancel(&hall.asks[0].op, UNR_CANCEL_ALL);
    finish(&hall.asks[0]);
    close_hall(&hall);
}

/* ---- any of them cancelled at any moment: each connection once ---- */

enum { MANY = 3000 };

Test(acceptor, acceptor_cancel_loses_no_connection, .timeout = 60)
{
    static uint8_t arrived[MANY];
    unsigned       state = 11, total = 0, sent = 0, cancelled = 0, late = 0;
    listen_with(&hall, 3, 0);
    for (unsigned i = 0; i < ASKERS_MAX; i++)
        ask(&hall, i);
    while (total < MANY) {
        state = state * 1103515245 + 12345;
        for (unsigned more = state >> 24 & 3; more && sent < MANY; more--) {
            int fd = connect_to(&hall.address, sent++);
            cr_assert_geq(fd, 0);
            close(fd);
        }
        if (state >> 26 & 1)
            submit();
        for (unsigned i = 0; i < ASKERS_MAX; i++)
            if (state >> (i + 8) & 1)
                unr_cancel(&hall.asks[i].op, UNR_CANCEL_TOTAL);
        submit();
        for (unsigned i = 0; i < ASKERS_MAX; i++) {
            const struct unr_result *r = &hall.asks[i].result;
            if (!hall.asks[i].runs)
                continue;
            if (r->error == -ECANCELED) {
                cr_assert_eq(r->fd, -1);
                cr_assert_eq(r->guarantee, UNR_CANCEL_TOTAL);
                cr_assert_eq(r->verdict, UNR_VERDICT_CANCELLED);
                cancelled++;
            } else {
                cr_assert_eq(r->error, 0);
                late += r->verdict == UNR_VERDICT_TOO_LATE;
                uint32_t number = take(r->fd);
                cr_assert_lt(number, MANY);
                cr_assert_eq(arrived[number]++, 0, "connection %u twice", number);
                total++;
            }
            ask(&hall, i);
            if (state >> 27 & 1) /* a connection that waits has ended it by now */
                unr_cancel(&hall.asks[i].op, UNR_CANCEL_ALL);
        }
    }
    cr_assert(cancelled > 1000 && late > 10, "%u cancelled, %u too late", cancelled, late);
    stop(&hall, NULL);
    for (unsigned i = 0; i < ASKERS_MAX; i++)
        finish(&hall.asks[i]);
    close_hall(&hall);
}

/* ---- stopping ---- */

/* Stopped at random moments, with and without somebody who waits: those that were taken, those that
 * are handed over and those in the backlog are all, in this order. */
Test(acceptor, acceptor_stop_hands_over_what_waits)
{
    unsigned state = 5;
    hall.listener = tcp_listener(&hall.address, CLIENTS_MAX);
    for (int round = 0; round < 300; round++) {
        uint32_t next = 0;
        state = state * 1103515245 + 12345;
        hall.handed_count = 0;
        unr_acceptor_init(&hall.acceptor, loop, hall.listener, 1 + (state >> 16) % 8, 0);
        if (state >> 20 & 1)
            turn(1);
        for (unsigned i = (state >> 21) % 8; i; i--)
            come(&hall);
        if (state >> 24 & 1)
            turn((int)(state >> 25 & 3));
        ask(&hall, 0);
        if (state >> 27 & 1)
            submit();
        stop(&hall, hand);
        finish(&hall.asks[0]);
        if (hall.asks[0].result.error == 0)
            cr_assert_eq(take(hall.asks[0].result.fd), next++);
        else
            expect_cancelled(&hall.asks[0], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        for (unsigned i = 0; i < hall.handed_count; i++)
            cr_assert_eq(take(hall.handed[i]), next++);
        for (int fd; (fd = from_backlog(&hall)) >= 0;)
            cr_assert_eq(take(fd), next++);
        cr_assert_eq(next, hall.count);
        close_clients(&hall);
    }
    close(hall.listener);
    close_loop();
}

static bool was_closed(int client)
{
    char byte;
    return recv(client, &byte, 1, 0) <= 0;
}

Test(acceptor, stop_closes_what_waits)
{
    listen_with(&hall, 4, 0);
    for (int i = 0; i < 3; i++)
        come(&hall);
    turn(2);
    stop(&hall, NULL);
    for (int i = 0; i < 3; i++)
        cr_assert(was_closed(hall.clients[i]));
    cr_assert_eq(ask_and_take(&hall), -ESHUTDOWN);
    stop(&hall, NULL);
    close_hall(&hall);
}

Test(acceptor, stop_ends_those_that_ask)
{
    listen_with(&hall, 2, 0);
    for (unsigned i = 0; i < 3; i++)
        ask(&hall, i);
    submit();
    stop(&hall, hand);
    for (unsigned i = 0; i < 3; i++)
        expect_cancelled(&hall.asks[i], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(hall.handed_count, 0);
    come(&hall);
    unr_acceptor_init(&hall.acceptor, loop, hall.listener, 2, 0);
    cr_assert_eq(ask_and_take(&hall), 0, "it was made anew");
    close_hall(&hall);
}

static void stop_twice(void *context)
{
    static struct unr_op ops[2];
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    hall.listener = socket(AF_INET, SOCK_STREAM, 0);
    must(listen(hall.listener, 1) == 0);
    unr_acceptor_init(&hall.acceptor, loop, hall.listener, 0, 0);
    for (int i = 0; i < 2; i++)
        unr_start(loop, unr_acceptor_stop(&ops[i], &hall.acceptor, NULL, NULL), NULL, NULL);
}

Test(acceptor, second_stop)
{
    struct death death = in_child(stop_twice, NULL);
    expect_abort(&death, (const char *const[]){ "unring: broken contract:", "acceptor_stop",
                                                "a second stop of an acceptor", NULL });
    close_loop();
}

/* ---- closing ---- */

Test(acceptor, cancel_close_ends_those_that_ask)
{
    listen_with(&hall, 2, 0);
    ask(&hall, 0);
    ask(&hall, 1);
    submit();
    close_listener(&hall);
    for (unsigned i = 0; i < 2; i++)
        expect_cancelled(&hall.asks[i], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    close_loop();
}

/* Nothing is in flight then: each slot holds a connection. */
Test(acceptor, cancel_close_closes_what_waits)
{
    listen_with(&hall, 2, 0);
    for (int i = 0; i < 2; i++)
        come(&hall);
    turn(3);
    close_listener(&hall);
    for (int i = 0; i < 2; i++)
        cr_assert(was_closed(hall.clients[i]));
    close_clients(&hall);
    close_loop();
}

Test(acceptor, asked_while_its_descriptor_is_closed)
{
    listen_with(&hall, 2, 0);
    submit();
    start(&hall.other, unr_cancel_close(&hall.other.op, hall.listener));
    ask(&hall, 0);
    finish(&hall.other);
    finish(&hall.asks[0]);
    expect_cancelled(&hall.asks[0], UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    close_loop();
}

Test(acceptor, closing_loop_closes_what_waits)
{
    enum { HALLS = 10 };
    static struct hall halls[HALLS];
    for (int i = 0; i < HALLS; i++) {
        listen_with(&halls[i], 2, 0);
        for (int j = 0; j < i % 4; j++)
            come(&halls[i]);
        if (i % 5 == 4)
            ask(&halls[i], 0);
        if (i == HALLS / 2)
            turn(3);
    }
    cr_assert_eq(unr_loop_close(loop), 0);
    for (int i = 0; i < HALLS; i++) {
        cr_assert_eq(halls[i].asks[0].runs, i % 5 == 4);
        if (halls[i].asks[0].runs && halls[i].asks[0].result.error == 0)
            close(halls[i].asks[0].result.fd);
        close(halls[i].listener);
        close_clients(&halls[i]);
    }
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* A stop that is under way hands over all the same. */
Test(acceptor, closing_loop_hands_over_for_a_stop)
{
    listen_with(&hall, 2, 0);
    come(&hall);
    turn(3);
    start(&hall.other, unr_acceptor_stop(&hall.other.op, &hall.acceptor, hand, &hall));
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(hall.other.runs, 1);
    cr_assert_eq(hall.handed_count, 1);
    cr_assert_eq(take(hall.handed[0]), 0);
    close_clients(&hall);
    close(hall.listener);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* An acceptor for which nobody waits keeps no loop running, and is not counted. */
Test(acceptor, armed_one_keeps_no_loop_running)
{
    struct unr_stats stats;
    listen_with(&hall, 2, 0);
    run();
    cr_assert_eq(unr_loop_in_flight(loop), 0);
    unr_loop_stats(loop, &stats, sizeof stats);
    cr_assert_eq(stats.started, 0);
    cr_assert_eq(unr_cancel_fd(loop, hall.listener, UNR_CANCEL_ALL), 0, "nobody asks");
    ask(&hall, 0);
    cr_assert_eq(unr_cancel_fd(loop, hall.listener, UNR_CANCEL_ALL), 1, "who asks");
    finish(&hall.asks[0]);
    come(&hall);
    cr_assert_eq(ask_and_take(&hall), 0, "it is armed still");
    close_hall(&hall);
}

/* ---- no descriptor is left ---- */

static struct {
    struct rlimit before;
    int           fds[1024];
    unsigned      count;
} full;

static void fill_up(void)
{
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &full.before), 0);
    struct rlimit limit = { 256, full.before.rlim_max };
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    full.count = 0;
    for (int fd; (fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0;)
        full.fds[full.count++] = fd;
    cr_assert_eq(errno, EMFILE);
    cr_assert_gt(full.count, 4);
}

static void clear_up(void)
{
    while (full.count > 0)
        close(full.fds[--full.count]);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &full.before), 0);
}

static void close_one(bool by_loop)
{
    int fd = full.fds[--full.count];
    if (!by_loop) {
        close(fd);
        return;
    }
    hall.other.runs = 0;
    start(&hall.other, unr_close(&hall.other.op, fd));
    finish(&hall.other);
    cr_assert_eq(hall.other.result.error, 0);
}

/* Descriptors run out before connections are asked for, or when some accepts are armed already. */
static void keeps_the_backlog(bool armed_before, bool by_loop)
{
    listen_with(&hall, 2, 0);
    if (armed_before)
        turn(2);
    for (int i = 0; i < 5; i++)
        come(&hall);
    if (armed_before)
        turn(2);
    fill_up();
    for (uint32_t expected = 0; expected < 5;) {
        ask(&hall, 0);
        for (int turns = 0; turns < 5; turns++)
            submit();
        if (!hall.asks[0].runs)
            close_one(by_loop);
        finish(&hall.asks[0]);
        cr_assert_eq(hall.asks[0].result.error, 0);
        /* What is taken is kept, for closing it would make room. */
        uint32_t number = UINT32_MAX;
        cr_assert_eq(recv(hall.asks[0].result.fd, &number, sizeof number, MSG_WAITALL),
                     sizeof number);
        cr_assert_eq(number, expected++);
        hall.handed[hall.handed_count++] = hall.asks[0].result.fd;
    }
    clear_up();
    while (hall.handed_count > 0)
        close(hall.handed[--hall.handed_count]);
    cr_assert_lt(from_backlog(&hall), 0);
    close_hall(&hall);
}

Test(acceptor, emfile_keeps_the_backlog)
{
    keeps_the_backlog(false, true);
}

Test(acceptor, emfile_keeps_the_backlog_of_one_that_is_armed)
{
    keeps_the_backlog(true, true);
}

Test(acceptor, emfile_keeps_the_backlog_until_somebody_else_closes)
{
    keeps_the_backlog(false, false);
    open_loop();
    keeps_the_backlog(true, false);
}

/* A close of the loop's brings the connection in turns that do not wait. */
Test(acceptor, emfile_goes_on_with_a_close_and_not_with_time)
{
    struct unr_stats before, after;
    int              fd = unr_loop_fd(loop);
    listen_with(&hall, 1, 0);
    come(&hall);
    fill_up();
    ask(&hall, 0);
    do { /* until it waits for its longest time */
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(1)), 0);
        unr_loop_stats(loop, &before, sizeof before);
    } while (before.submitted_again < 6);
    close_one(true);
    cr_assert(hall.asks[0].runs || readable(fd), "another event loop hears that there is work");
    for (int turns = 0; turns < 3 && !hall.asks[0].runs; turns++)
        submit();
    cr_assert_eq(hall.asks[0].runs, 1);
    cr_assert_eq(take(hall.asks[0].result.fd), 0);
    unr_loop_stats(loop, &after, sizeof after);
    cr_assert_leq(after.submitted_again, before.submitted_again + 2);
    clear_up();
    close_hall(&hall);
}

/* One of them tries alone, however many may wait, and the more seldom the longer it lasts. */
Test(acceptor, emfile_is_not_tried_by_all)
{
    struct unr_stats stats;
    struct seen      timer_seen = { .runs = 0 };
    struct unr_timer timer = { .deadline = 0 };
    listen_with(&hall, 32, 0);
    come(&hall);
    fill_up();
    ask(&hall, 0);
    start(&timer_seen, unr_timer_after(&timer, UNR_MSEC(200)));
    finish(&timer_seen);
    unr_loop_stats(loop, &stats, sizeof stats);
    cr_assert_leq(stats.submitted_again, 6, "%llu", (unsigned long long)stats.submitted_again);
    cr_assert(unr_cancel(&hall.asks[0].op, UNR_CANCEL_ALL));
    run();
    expect_cancelled(&hall.asks[0], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    clear_up();
    cr_assert_eq(ask_and_take(&hall), 0);
    close_hall(&hall);
}

Test(acceptor, emfile_while_it_is_stopped_and_closed)
{
    listen_with(&hall, 3, 0);
    come(&hall);
    fill_up();
    turn(3);
    stop(&hall, hand);
    cr_assert_eq(hall.handed_count, 0);
    unr_acceptor_init(&hall.acceptor, loop, hall.listener, 3, 0);
    turn(3);
    close_listener(&hall);
    clear_up();
    close_clients(&hall);
    close_loop();
}

/* ---- errors ---- */

static int errors_to_give, error_given;

/* A kernel that says something else in place of EMFILE, so many times. */
static int enter_with_error(unsigned fd, unsigned to_submit, unsigned min_complete, unsigned flags,
                            void *argument, size_t size)
{
    int                 result = kernel_enter(fd, to_submit, min_complete, flags, argument, size);
    struct io_uring_cq *cq = &latest_ring->cq;
    for (unsigned i = *cq->khead; i != *cq->ktail; i++)
        if (cq->cqes[i & cq->ring_mask].res == -EMFILE && errors_to_give) {
            errors_to_give--;
            cq->cqes[i & cq->ring_mask].res = error_given;
        }
    return result;
}

static void give_errors(int error, int times)
{
    error_given = error;
    errors_to_give = times;
    hook_enter = enter_with_error;
}

/* A connection that failed before it was accepted is nobody's. */
Test(acceptor, failed_connections_are_passed_over)
{
    static const int errors[] = { -ECONNABORTED, -EPROTO,      -ENETDOWN,  -ENETUNREACH,
                                  -ENONET,       -ENOPROTOOPT, -EHOSTDOWN, -EHOSTUNREACH };
    listen_with(&hall, 2, 0);
    for (size_t i = 0; i < LENGTH(errors); i++) {
        come(&hall);
        fill_up();
        give_errors(errors[i], 20);
        ask(&hall, 0);
        while (errors_to_give && !hall.asks[0].runs)
            submit();
        clear_up();
        finish(&hall.asks[0]);
        cr_assert_eq(hall.asks[0].result.error, 0, "%s", unr_explain(hall.asks[0].result.error));
        cr_assert_eq(take(hall.asks[0].result.fd), (uint32_t)i);
    }
    close_hall(&hall);
}

/* Any other error ends one of those that wait. */
Test(acceptor, an_error_is_given_to_one)
{
    listen_with(&hall, 1, 0);
    turn(1);
    stop(&hall, NULL);
    fill_up();
    give_errors(-EPERM, 1);
    unr_acceptor_init(&hall.acceptor, loop, hall.listener, 1, 0);
    ask(&hall, 0);
    ask(&hall, 1);
    finish(&hall.asks[0]);
    cr_assert_eq(hall.asks[0].result.error, -EPERM);
    cr_assert_eq(hall.asks[0].result.fd, -1);
    submit();
    cr_assert_eq(hall.asks[1].runs, 0);
    clear_up();
    hall.clients[hall.count++] = connect_to(&hall.address, 0);
    finish(&hall.asks[1]);
    cr_assert_eq(take(hall.asks[1].result.fd), 0);
    close_hall(&hall);
}

static void expect_errors(int fd, unsigned flags, int error)
{
    hall.listener = fd;
    unr_acceptor_init(&hall.acceptor, loop, fd, 4, flags);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(ask_and_take(&hall), error, "%d and not %d", hall.asks[0].result.error, error);
    for (unsigned i = 0; i < ASKERS_MAX; i++)
        ask(&hall, i);
    for (unsigned i = 0; i < ASKERS_MAX; i++) {
        finish(&hall.asks[i]);
        cr_assert_eq(hall.asks[i].result.error, error);
    }
    stop(&hall, NULL);
    if (fd >= 0)
        close_listener(&hall);
}

Test(acceptor, errors_are_those_of_whoever_asks)
{
    struct sockaddr_in address;
    expect_errors(-1, 0, -EBADF);
    expect_errors(eventfd(0, EFD_CLOEXEC), 0, -ENOTSOCK);
    expect_errors(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 0, -EINVAL);
    expect_errors(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), 0, -EOPNOTSUPP);
    expect_errors(tcp_listener(&address, 1), 1u << 30, -EINVAL);
    close_loop();
}

Test(acceptor, listening_socket_that_is_shut_down)
{
    socklen_t len = sizeof hall.address;
    listen_with(&hall, 2, 0);
    for (unsigned i = 0; i < 3; i++)
        ask(&hall, i);
    submit();
    cr_assert_eq(shutdown(hall.listener, SHUT_RD), 0);
    for (unsigned i = 0; i < 3; i++) {
        finish(&hall.asks[i]);
        cr_assert_eq(hall.asks[i].result.error, -EINVAL);
    }
    cr_assert_eq(listen(hall.listener, 4), 0);
    cr_assert_eq(getsockname(hall.listener, (struct sockaddr *)&hall.address, &len), 0);
    come(&hall);
    cr_assert_eq(ask_and_take(&hall), 0, "it listens again");
    close_hall(&hall);
}

/* ---- combinators ---- */

Test(acceptor, deadline_of_an_accept)
{
    struct unr_deadline deadline = { 0 };
    listen_with(&hall, 0, 0);
    start(&hall.asks[0],
          unr_cancel_after(&deadline, unr_accept_from(&hall.asks[0].op, &hall.acceptor),
                           UNR_MSEC(1)));
    finish(&hall.asks[0]);
    cr_assert(unr_timed_out(&hall.asks[0].result));
    cr_assert_eq(hall.asks[0].result.guarantee, UNR_CANCEL_TOTAL);
    come(&hall);
    cr_assert_eq(ask_and_take(&hall), 0);
    close_hall(&hall);
}

Test(acceptor, reached_through_its_slot)
{
    static struct unr_signal signals[ASKERS_MAX];
    listen_with(&hall, 0, 0);
    for (unsigned i = 0; i < ASKERS_MAX; i++)
        start(&hall.asks[i], unr_bind_slot(unr_accept_from(&hall.asks[i].op, &hall.acceptor),
                                           unr_signal_slot(&signals[i])));
    submit();
    for (unsigned i = 1; i < ASKERS_MAX; i++)
        cr_assert_eq(unr_signal_emit(&signals[i], UNR_CANCEL_TOTAL), 1);
    come(&hall);
    for (unsigned i = 0; i < ASKERS_MAX; i++)
        finish(&hall.asks[i]);
    cr_assert_eq(take(hall.asks[0].result.fd), 0);
    close_hall(&hall);
}

/* However many connections come, what came before a deadline is reported. */
Test(acceptor, deadline_behind_many_connections)
{
    enum { HALLS = 4 };
    static struct hall  halls[HALLS];
    struct seen         read = { .runs = 0 };
    struct unr_deadline deadline = { 0 };
    char                byte;
    int                 fds[2];
    unix_pair(fds);
    for (int i = 0; i < HALLS; i++)
        listen_with(&halls[i], UNR_ACCEPTOR_PARKED_MAX, 0);
    turn(2);
    unr_time due = unr_loop_now(loop) + UNR_MSEC(50);
    start(&read, unr_cancel_at(&deadline, unr_recv(&read.op, fds[0], &byte, 1, 0), due));
    submit();
    for (int i = 0; i < HALLS * UNR_ACCEPTOR_PARKED_MAX; i++)
        come(&halls[i % HALLS]);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    bool in_time = unr_loop_now(loop) < due; /* a busy machine may keep this thread away */
    while (unr_loop_now(loop) < due)
        ;
    finish(&read);
    cr_assert(read.result.error == 0 || !in_time, "%s", unr_explain_op(&deadline.op));
    close_pair(fds);
    for (int i = 0; i < HALLS; i++) {
        close_listener(&halls[i]);
        close_clients(&halls[i]);
    }
    close_loop();
}
