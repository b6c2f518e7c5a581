/* SPDX-License-Identifier: MIT */
/* A loop inside another event loop: its descriptor is level-triggered, readable while run_once(0)
 * has work, whatever the work comes from, and quiet otherwise.  Each test runs on a ring with
 * DEFER_TASKRUN, on one with COOP_TASKRUN and on a plain one, whose completions come about
 * differently. */
#define SUPPORT_KERNEL
#include "support.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

TestSuite(embed, .timeout = 20);

enum setup { DEFERRED, COOPERATIVE, PLAIN };

static int fd; /* the loop's */

static void open_embedded(enum setup setup)
{
    open_descriptors = count_descriptors();
    forget_setup(setup == COOPERATIVE ? IORING_SETUP_DEFER_TASKRUN : 0);
    loop = open_loop_flagged(setup == PLAIN ? UNR_LOOP_PLAIN : 0);
    fd = unr_loop_fd(loop);
    cr_assert_geq(fd, 0);
}

#define EMBED_TEST(name)                                                                           \
    static void name(void);                                                                        \
    ParameterizedTestParameters(embed, name)                                                       \
    {                                                                                              \
        static enum setup setups[] = { DEFERRED, COOPERATIVE, PLAIN };                             \
        return cr_make_param_array(enum setup, setups, LENGTH(setups));                            \
    }                                                                                              \
    ParameterizedTest(enum setup *setup, embed, name)                                              \
    {                                                                                              \
        open_embedded(*setup);                                                                     \
        name();                                                                                    \
        close_loop();                                                                              \
    }                                                                                              \
    static void name(void)

/* ---- driving it ---- */

/* Runs the loop while its descriptor is readable, as poll() says without waiting.  How often that
 * was. */
static unsigned settle(void)
{
    unsigned turns = 0;
    for (; readable(fd); turns++) {
        cr_assert_lt(turns, 50, "the descriptor is readable for ever");
        cr_assert_geq(unr_loop_run_once(loop, 0), 0);
    }
    return turns;
}

static void wait_and_turn(void)
{
    wait_readable(fd);
    cr_assert_geq(unr_loop_run_once(loop, 0), 0);
}

/* As another event loop does, until `done` has counted up; it took few wake-ups. */
static void drive(const int *runs)
{
    unsigned turns = 0;
    for (int before = *runs; *runs == before; turns++)
        wait_and_turn();
    cr_assert_leq(turns, 10, "woken %u times for one thing", turns);
}

struct ticking {
    struct unr_timer timer;
    int              runs;
    int              error;
};

static void ticked(struct unr_op *op)
{
    struct ticking *ticking = unr_container_of(op, struct ticking, timer.op);
    ticking->runs++;
    ticking->error = op->result.error;
}

static void start_ticking(struct ticking *ticking, unr_time delay)
{
    unr_start(loop, unr_timer_after(&ticking->timer, delay), ticked, NULL);
}

/* ---- what makes it readable ---- */

/* A receive that completes makes the descriptor readable. */
EMBED_TEST(readable_when_a_receive_completes)
{
    struct seen seen = { 0 };
    char        byte;
    int         pair[2];
    unix_pair(pair);
    start(&seen, unr_recv(&seen.op, pair[0], &byte, 1, 0));
    settle();
    cr_assert_eq(write(pair[1], "x", 1), 1);
    drive(&seen.runs);
    cr_assert_eq(seen.result.bytes, 1);
    settle();
    close_pair(pair);
}

/* A timer that is due makes it readable. */
EMBED_TEST(readable_when_a_timer_is_due)
{
    struct ticking soon = { 0 };
    start_ticking(&soon, UNR_MSEC(2));
    drive(&soon.runs);
    cr_assert_eq(soon.error, 0);
}

/* A timer that was started after a later one, with nothing else happening, wakes the loop at its
 * own time. */
EMBED_TEST(readable_for_an_earlier_timer_started_after_a_later_one)
{
    struct ticking late = { 0 }, soon = { 0 };
    start_ticking(&late, UNR_SEC(3600));
    settle();
    start_ticking(&soon, UNR_MSEC(2));
    drive(&soon.runs);
    cr_assert_eq(late.runs, 0);
    unr_cancel(&late.timer.op, UNR_CANCEL_ALL);
    drive(&late.runs);
    cr_assert_eq(late.error, -ECANCELED);
}

static void start_soon(struct seen *seen)
{
    start_ticking(seen->context, UNR_MSEC(2));
}

/* So does one that was started inside a turn, which has set the alarm for the later one before. */
EMBED_TEST(readable_for_an_earlier_timer_started_in_a_turn)
{
    struct ticking late = { 0 }, soon = { 0 };
    struct seen    nop = { .then = start_soon, .context = &soon };
    start_ticking(&late, UNR_SEC(3600));
    settle();
    start(&nop, unr_nop(&nop.op));
    drive(&nop.runs);
    if (soon.runs == 0)
        drive(&soon.runs);
    cr_assert_eq(late.runs, 0);
    unr_cancel(&late.timer.op, UNR_CANCEL_ALL);
    drive(&late.runs);
}

/* So does one that was moved to an earlier time. */
EMBED_TEST(readable_for_a_timer_that_was_moved_earlier)
{
    struct ticking moved = { 0 };
    start_ticking(&moved, UNR_SEC(3600));
    settle();
    cr_assert(unr_timer_move(&moved.timer, unr_loop_now(loop) + UNR_MSEC(2)));
    drive(&moved.runs);
    cr_assert_eq(moved.error, 0);
}

/* The alarm of a timer that was moved to a later time may go off in vain, but once. */
EMBED_TEST(quiet_after_a_timer_was_moved_later)
{
    struct ticking moved = { 0 }, other = { 0 };
    start_ticking(&moved, UNR_MSEC(2));
    settle();
    unr_timer_move(&moved.timer, unr_loop_now(loop) + UNR_SEC(3600));
    start_ticking(&other, UNR_MSEC(20));
    drive(&other.runs);
    settle();
    if (moved.runs == 0) { /* unless this machine was slow */
        unr_cancel(&moved.timer.op, UNR_CANCEL_ALL);
        drive(&moved.runs);
    }
}

/* Timers that follow one another at once cost a few wake-ups each. */
EMBED_TEST(readable_for_each_timer_of_a_row)
{
    struct ticking row[20] = { 0 };
    for (size_t i = 0; i < LENGTH(row); i++)
        start_ticking(&row[i], UNR_MSEC(1 + i));
    for (size_t i = 0; i < LENGTH(row); i++)
        if (row[i].runs == 0)
            drive(&row[i].runs);
    cr_assert_eq(unr_loop_in_flight(loop), 0);
}

static void *write_byte(void *end)
{
    return write(*(int *)end, "x", 1) == 1 ? NULL : end;
}

/* A poll that sleeps already is woken, too. */
EMBED_TEST(readable_while_a_poll_sleeps_on_it)
{
    struct seen seen = { 0 };
    char        byte;
    int         pair[2];
    unix_pair(pair);
    for (int i = 0; i < 100; i++) {
        pthread_t writer;
        seen.runs = 0;
        start(&seen, unr_recv(&seen.op, pair[0], &byte, 1, 0));
        settle();
        pthread_create(&writer, NULL, write_byte, &pair[1]);
        drive(&seen.runs);
        pthread_join(writer, NULL);
    }
    close_pair(pair);
}

struct posted {
    struct unr_task task;
    int             runs;
    pid_t           sleeper; /* posts when this thread sleeps; 0: at once */
};

static void ran(struct unr_task *task)
{
    unr_container_of(task, struct posted, task)->runs++;
}

static void *post(void *posted)
{
    struct posted *p = posted;
    if (p->sleeper)
        until_asleep(p->sleeper);
    unr_loop_post(loop, &p->task);
    return NULL;
}

/* A task that another thread posts makes it readable, whether it is posted before the poll or
 * during it. */
EMBED_TEST(readable_when_another_thread_posts)
{
    struct posted posted = { .task.run = ran };
    pthread_t     poster;
    settle();
    for (int i = 0; i < 20; i++) {
        pthread_create(&poster, NULL, post, &posted);
        pthread_join(poster, NULL);
        drive(&posted.runs);
        settle();
        posted.sleeper = thread_id();
        pthread_create(&poster, NULL, post, &posted);
        drive(&posted.runs);
        pthread_join(poster, NULL);
        settle();
        posted.sleeper = 0;
    }
}

static void *emit(void *remote)
{
    unr_remote_emit(remote, UNR_CANCEL_TOTAL, -ETIMEDOUT);
    return NULL;
}

/* A read of an eventfd that completes makes it readable, each time.  (Since Linux 6.11 a ring with
 * DEFER_TASKRUN signals the eventfd that is registered with it only once for completions that come
 * about inside a write to another eventfd.) */
EMBED_TEST(readable_each_time_that_an_eventfd_is_written_to)
{
    struct seen seen = { 0 };
    uint64_t    count;
    int         event = eventfd(0, EFD_CLOEXEC);
    for (int i = 0; i < 20; i++) {
        start(&seen, unr_read(&seen.op, event, &count, sizeof count, -1));
        settle();
        cr_assert_eq(eventfd_write(event, 1), 0);
        drive(&seen.runs);
    }
    settle();
    close(event);
}

/* A signal that another thread emits makes it readable, and so does the end of what it cancels. */
EMBED_TEST(readable_when_another_thread_emits)
{
    struct unr_signal signal = { 0 };
    struct unr_remote remote = { 0 };
    struct seen       seen = { 0 };
    pthread_t         emitter;
    char              byte;
    int               pair[2];
    unix_pair(pair);
    unr_remote_init(&remote, loop, &signal);
    start(&seen, unr_bind_slot(unr_recv(&seen.op, pair[0], &byte, 1, 0), unr_signal_slot(&signal)));
    settle();
    pthread_create(&emitter, NULL, emit, &remote);
    drive(&seen.runs);
    pthread_join(emitter, NULL);
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    unr_remote_disarm(&remote);
    close_pair(pair);
}

/* What is started outside of run makes it readable at once: it waits to be submitted. */
EMBED_TEST(readable_when_something_is_started)
{
    struct seen nop = { 0 };
    settle();
    for (int i = 0; i < 10; i++) {
        start(&nop, unr_nop(&nop.op));
        cr_assert(readable(fd));
        drive(&nop.runs);
        settle();
    }
}

/* So does what is cancelled outside of run, in flight or not yet submitted, by unr_cancel, by a
 * signal and by its descriptor. */
EMBED_TEST(readable_when_something_is_cancelled)
{
    struct unr_signal signal = { 0 };
    struct seen       seen = { 0 };
    char              byte;
    int               pair[2];
    unix_pair(pair);
    for (int way = 0; way < 6; way++) {
        seen.runs = 0;
        start(&seen,
              unr_bind_slot(unr_recv(&seen.op, pair[0], &byte, 1, 0), unr_signal_slot(&signal)));
        if (way % 2 == 0)
            settle();
        switch (way / 2) {
        case 0: unr_cancel(&seen.op, UNR_CANCEL_TOTAL); break;
        case 1: unr_signal_emit(&signal, UNR_CANCEL_TOTAL); break;
        case 2: cr_assert_eq(unr_cancel_fd(loop, pair[0], UNR_CANCEL_TOTAL), 1); break;
        }
        cr_assert(readable(fd));
        drive(&seen.runs);
        expect_cancelled(&seen, UNR_CANCEL_TOTAL,
                         way % 2 == 0 ? UNR_VERDICT_CANCELLED : UNR_VERDICT_UNSUBMITTED,
                         -ECANCELED);
        settle();
    }
    close_pair(pair);
}

static void nothing(struct unr_op *op)
{
    (void)op;
}

static void nothing_to_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op;
    (void)request;
}

/* An operation of the caller's own that is finished outside of run makes it readable. */
EMBED_TEST(readable_when_an_operation_of_ones_own_is_finished)
{
    static const struct unr_op_type own = { .size = sizeof own,
                                            .supports = UNR_CANCEL_NONE,
                                            .name = "own",
                                            .start = nothing,
                                            .cancel = nothing_to_cancel };
    struct seen                     seen = { 0 };
    start(&seen, unr_describe(&seen.op, &own));
    settle();
    unr_finish(&seen.op, 0);
    cr_assert(readable(fd));
    drive(&seen.runs);
}

static void start_next(struct seen *seen)
{
    if (seen->runs < 10)
        start(seen, unr_nop(&seen->op));
}

/* While each `done` starts more, the descriptor stays readable: there is work for the next turn. */
EMBED_TEST(readable_while_each_done_starts_more)
{
    struct seen nop = { .then = start_next };
    start(&nop, unr_nop(&nop.op));
    while (nop.runs < 10) {
        cr_assert(readable(fd), "after %d", nop.runs);
        cr_assert_geq(unr_loop_run_once(loop, 0), 0);
    }
    settle();
}

static void run_again(struct unr_task *task)
{
    struct posted *posted = unr_container_of(task, struct posted, task);
    if (++posted->runs < 10)
        unr_loop_post(loop, task);
}

/* While each task posts itself again, too. */
EMBED_TEST(readable_while_each_task_posts_more)
{
    struct posted posted = { .task.run = run_again };
    settle();
    unr_loop_post(loop, &posted.task);
    while (posted.runs < 10)
        drive(&posted.runs);
    settle();
}

static void *stop(void *of)
{
    unr_loop_stop(of);
    return NULL;
}

/* unr_loop_stop() from another thread ends one run_once, as without the descriptor; then the work
 * goes on. */
EMBED_TEST(stopped_by_another_thread)
{
    struct seen nop = { 0 };
    pthread_t   stopper;
    settle();
    pthread_create(&stopper, NULL, stop, loop);
    pthread_join(stopper, NULL);
    start(&nop, unr_nop(&nop.op));
    cr_assert_eq(unr_loop_run_once(loop, 0), 0);
    drive(&nop.runs);
    settle();
}

/* ---- level-triggered, and quiet ---- */

/* Readable stays readable until run_once has been called, for poll() and for epoll. */
EMBED_TEST(readable_until_it_has_been_run)
{
    struct seen        seen = { 0 };
    char               byte;
    int                pair[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN };
    cr_assert_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
    unix_pair(pair);
    start(&seen, unr_recv(&seen.op, pair[0], &byte, 1, 0));
    settle();
    cr_assert_eq(write(pair[1], "x", 1), 1);
    for (int i = 0; i < 3; i++) {
        wait_readable(fd);
        cr_assert_eq(epoll_wait(epoll, &event, 1, -1), 1);
        cr_assert_eq(seen.runs, 0);
    }
    drive(&seen.runs);
    settle();
    cr_assert_eq(epoll_wait(epoll, &event, 1, 0), 0);
    close(epoll);
    close_pair(pair);
}

/* With operations and timers in flight of which none ends, it is quiet: nothing turns in
 * circles. */
EMBED_TEST(quiet_while_everything_waits)
{
    struct seen    seen[3] = { 0 };
    struct ticking late = { 0 };
    char           bytes[3];
    int            pair[2];
    unix_pair(pair);
    cr_assert_leq(settle(), 10);
    for (int i = 0; i < 3; i++)
        start(&seen[i], unr_recv(&seen[i].op, pair[0], &bytes[i], 1, 0));
    start_ticking(&late, UNR_SEC(3600));
    cr_assert_leq(settle(), 10);
    struct unr_stats stats;
    unr_loop_stats(loop, &stats, sizeof stats);
    cr_assert_leq(stats.enters, 20);
    for (int i = 0; i < 3; i++)
        unr_cancel(&seen[i].op, UNR_CANCEL_TOTAL);
    unr_cancel(&late.timer.op, UNR_CANCEL_TOTAL);
    while (unr_loop_in_flight(loop))
        wait_and_turn();
    cr_assert_leq(settle(), 10);
    close_pair(pair);
}

/* It is the same descriptor each time, and a loop that nothing has happened to becomes quiet as
 * well. */
EMBED_TEST(one_descriptor_for_the_loops_life)
{
    cr_assert_eq(unr_loop_fd(loop), fd);
    settle();
    cr_assert_eq(unr_loop_fd(loop), fd);
    cr_assert_not(readable(fd));
}

/* With nothing in flight run_once returns at once, however long it may wait. */
EMBED_TEST(run_once_of_an_idle_loop_returns_at_once)
{
    settle();
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 0);
    cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), 0);
}

/* ---- mixed with run ---- */

static void stop_loop(struct seen *seen)
{
    (void)seen;
    unr_loop_stop(loop);
}

/* Runs the loop with unr_loop_run() until a `done` stops it, as a program might before it hands the
 * loop over. */
static void run_and_stop(void)
{
    struct seen nop = { .then = stop_loop };
    start(&nop, unr_nop(&nop.op));
    run();
    cr_assert_eq(nop.runs, 1);
}

/* After unr_loop_run() the descriptor tells of what other threads post. */
EMBED_TEST(readable_for_a_post_after_run)
{
    struct posted posted = { .task.run = ran };
    struct seen   seen = { 0 };
    pthread_t     poster;
    char          byte;
    int           pair[2];
    unix_pair(pair);
    start(&seen, unr_recv(&seen.op, pair[0], &byte, 1, 0));
    run_and_stop();
    pthread_create(&poster, NULL, post, &posted);
    pthread_join(poster, NULL);
    drive(&posted.runs);
    unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
    drive(&seen.runs);
    close_pair(pair);
}

/* After unr_loop_run() it tells of timers. */
EMBED_TEST(readable_for_a_timer_after_run)
{
    struct ticking soon = { 0 };
    start_ticking(&soon, UNR_MSEC(20));
    run_and_stop();
    if (soon.runs == 0)
        drive(&soon.runs);
    cr_assert_eq(soon.error, 0);
}

static void start_another_and_stop(struct seen *seen)
{
    struct seen *another = seen->context;
    start(another, unr_nop(&another->op));
    unr_loop_stop(loop);
}

/* After unr_loop_run() it tells of what the last `done` started. */
EMBED_TEST(readable_for_what_run_left_to_be_submitted)
{
    struct seen another = { 0 }, nop = { .then = start_another_and_stop, .context = &another };
    start(&nop, unr_nop(&nop.op));
    run();
    cr_assert_eq(another.runs, 0);
    drive(&another.runs);
}

static void take_descriptor(struct seen *seen)
{
    *(int *)seen->context = unr_loop_fd(loop);
}

/* The descriptor may be asked for inside a `done`, with things in flight and started that it then
 * tells of. */
Test(embed, descriptor_taken_inside_a_done)
{
    struct seen    nop = { .then = take_descriptor, .context = &fd }, seen = { 0 };
    struct ticking soon = { 0 };
    char           byte;
    int            pair[2];
    open_loop();
    unix_pair(pair);
    start(&seen, unr_recv(&seen.op, pair[0], &byte, 1, 0));
    start(&nop, unr_nop(&nop.op));
    start_ticking(&soon, UNR_MSEC(2));
    while (nop.runs == 0)
        cr_assert_geq(unr_loop_run_once(loop, UNR_NEVER), 0);
    cr_assert_geq(fd, 0);
    if (soon.runs == 0)
        drive(&soon.runs);
    cr_assert_eq(write(pair[1], "x", 1), 1);
    drive(&seen.runs);
    settle();
    close_pair(pair);
    close_loop();
}

/* What was started and posted before the descriptor was asked for is told of. */
Test(embed, descriptor_of_a_loop_with_work)
{
    struct posted posted = { .task.run = ran };
    struct seen   nop = { 0 };
    open_loop();
    start(&nop, unr_nop(&nop.op));
    unr_loop_post(loop, &posted.task);
    fd = unr_loop_fd(loop);
    drive(&nop.runs);
    cr_assert_eq(posted.runs, 1);
    settle();
    close_loop();
}

/* ---- the kernel at its worst ---- */

static unsigned refusals;

static int enter_refusing(unsigned ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                          void *argument, size_t size)
{
    if (!to_submit || !refusals)
        return kernel_enter(ring, to_submit, min_complete, flags, argument, size);
    refusals--;
    return -EAGAIN;
}

/* While the kernel has not taken what it was shown (it had no memory), there is work, and it is
 * told of. */
EMBED_TEST(readable_while_the_kernel_takes_no_submissions)
{
    struct seen nop = { 0 };
    settle();
    hook_enter = enter_refusing;
    refusals = 3;
    start(&nop, unr_nop(&nop.op));
    drive(&nop.runs);
    cr_assert_eq(refusals, 0);
    settle();
}

static void start_and_end_nop(void)
{
    struct seen nop = { 0 };
    start(&nop, unr_nop(&nop.op));
    drive(&nop.runs);
}

static unsigned failures;

static int register_failing(unsigned ring, unsigned opcode, const void *argument, unsigned count)
{
    if (opcode != IORING_REGISTER_EVENTFD || !failures)
        return kernel_register(ring, opcode, argument, count);
    failures--;
    return -ENOMEM;
}

/* Where unring asks the kernel anew to signal the descriptor, and that fails for a while, nothing
 * is missed. */
EMBED_TEST(readable_though_registering_it_anew_fails)
{
    struct seen seen = { 0 };
    char        byte;
    int         pair[2];
    unix_pair(pair);
    start(&seen, unr_recv(&seen.op, pair[0], &byte, 1, 0));
    settle();
    hook_register = register_failing;
    failures = 2;
    start_and_end_nop();
    settle();
    cr_assert_eq(write(pair[1], "x", 1), 1);
    drive(&seen.runs);
    failures = 0;
    settle();
    close_pair(pair);
}

/* A cancel that the kernel loses is repeated at growing intervals, for which the descriptor becomes
 * readable. */
EMBED_TEST(readable_when_a_lost_cancel_is_to_be_repeated)
{
    struct seen seen = { 0 };
    char        byte;
    int         pair[2];
    unix_pair(pair);
    start(&seen, unr_recv(&seen.op, pair[0], &byte, 1, 0));
    settle();
    lose_cancels(4);
    unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
    while (seen.runs == 0)
        wait_and_turn();
    cr_assert_eq(cancels_lost, 4);
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    settle();
    close_pair(pair);
}

/* ---- a whole server ---- */

enum { CLIENTS = 4, MESSAGES = 200, MESSAGE = 100 };

struct connection {
    struct unr_op  op;
    struct server *server;
    int            fd;
    char           buf[MESSAGE];
};

struct server {
    struct unr_loop  *loop;
    struct unr_op     accept;
    int               listener;
    int               accepted, ended, echoed;
    struct connection connections[CLIENTS];
};

static void receive(struct connection *connection);

static void closed(struct unr_op *op)
{
    struct connection *connection = op->data;
    connection->server->ended++;
}

static void sent(struct unr_op *op)
{
    struct connection *connection = op->data;
    cr_assert_gt(op->result.bytes, 0);
    connection->server->echoed += (int)op->result.bytes;
    receive(connection);
}

static void received(struct unr_op *op)
{
    struct connection *connection = op->data;
    struct unr_loop   *of = connection->server->loop;
    cr_assert_eq(op->result.error, 0);
    if (op->result.bytes == 0)
        unr_start(of, unr_cancel_close(op, connection->fd), closed, connection);
    else
        unr_start(of, unr_send(op, connection->fd, connection->buf, op->result.bytes, MSG_WAITALL),
                  sent, connection);
}

static void receive(struct connection *connection)
{
    unr_start(connection->server->loop,
              unr_recv(&connection->op, connection->fd, connection->buf, MESSAGE, 0), received,
              connection);
}

static void accepted(struct unr_op *op)
{
    struct server     *server = op->data;
    struct connection *connection = &server->connections[server->accepted++];
    cr_assert_eq(op->result.error, 0);
    *connection = (struct connection){ .server = server, .fd = op->result.fd };
    receive(connection);
    if (server->accepted < CLIENTS)
        unr_start(server->loop, unr_accept(op, server->listener, NULL, NULL, SOCK_CLOEXEC),
                  accepted, server);
}

static void serve(struct server *server, struct unr_loop *of, struct sockaddr_in *ret_address)
{
    *server = (struct server){ .loop = of, .listener = tcp_listener(ret_address, CLIENTS) };
    unr_start(of, unr_accept(&server->accept, server->listener, NULL, NULL, SOCK_CLOEXEC), accepted,
              server);
}

/* Sends messages through each of its connections in turn and reads them back.  Returns NULL if they
 * were the same. */
static void *be_clients(void *address)
{
    int   sockets[CLIENTS];
    void *failed = NULL;
    char  out[MESSAGE], in[MESSAGE];
    for (int i = 0; i < CLIENTS; i++) {
        sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(sockets[i], address, sizeof(struct sockaddr_in)) != 0)
            failed = address;
    }
    for (int m = 0; m < MESSAGES && !failed; m++)
        for (int i = 0; i < CLIENTS && !failed; i++) {
            memset(out, m + i, MESSAGE);
            memset(in, 0, MESSAGE);
            if (send(sockets[i], out, MESSAGE, MSG_NOSIGNAL) != MESSAGE
                || recv(sockets[i], in, MESSAGE, MSG_WAITALL) != MESSAGE
                || memcmp(in, out, MESSAGE) != 0)
                failed = address;
        }
    for (int i = 0; i < CLIENTS; i++)
        close(sockets[i]);
    return failed;
}

static void expect_served(const struct server *server, pthread_t clients, unsigned turns)
{
    void *failed;
    pthread_join(clients, &failed);
    cr_assert_null(failed);
    cr_assert_eq(server->echoed, CLIENTS * MESSAGES * MESSAGE);
    /* A receive, its send and the next receive: a turn each, and sometimes one in vain. */
    cr_assert_leq(turns, 6 * CLIENTS * MESSAGES + 100, "woken %u times for %d messages", turns,
                  CLIENTS * MESSAGES);
    close(server->listener);
}

/* A whole echo server runs from inside an epoll loop, with a number of wake-ups in proportion to
 * its messages. */
EMBED_TEST(echo_server_driven_by_epoll)
{
    struct server      server;
    struct sockaddr_in address;
    pthread_t          clients;
    unsigned           turns = 0;
    struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
    int                epoll = epoll_create1(EPOLL_CLOEXEC);
    cr_assert_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
    serve(&server, loop, &address);
    pthread_create(&clients, NULL, be_clients, &address);
    while (server.ended < CLIENTS) {
        int n = epoll_wait(epoll, &event, 1, -1);
        cr_assert(n == 1 || errno == EINTR);
        if (n < 1)
            continue;
        turns++;
        cr_assert_geq(unr_loop_run_once(loop, 0), 0);
    }
    expect_served(&server, clients, turns);
    cr_assert_leq(settle(), 10);
    close(epoll);
}

/* The same with poll(). */
EMBED_TEST(echo_server_driven_by_poll)
{
    struct server      server;
    struct sockaddr_in address;
    pthread_t          clients;
    unsigned           turns = 0;
    serve(&server, loop, &address);
    pthread_create(&clients, NULL, be_clients, &address);
    for (; server.ended < CLIENTS; turns++)
        wait_and_turn();
    expect_served(&server, clients, turns);
    cr_assert_leq(settle(), 10);
}

/* Two loops in one epoll loop, each with a server, serve side by side. */
EMBED_TEST(two_loops_in_one_epoll)
{
    struct unr_loop   *loops[2] = { loop, open_loop_flagged(0) };
    struct server      servers[2];
    struct sockaddr_in addresses[2];
    pthread_t          clients[2];
    unsigned           turns[2] = { 0 };
    int                epoll = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < 2; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.u32 = i };
        cr_assert_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, unr_loop_fd(loops[i]), &event), 0);
        serve(&servers[i], loops[i], &addresses[i]);
        pthread_create(&clients[i], NULL, be_clients, &addresses[i]);
    }
    while (servers[0].ended < CLIENTS || servers[1].ended < CLIENTS) {
        struct epoll_event events[2];
        int                n = epoll_wait(epoll, events, 2, -1);
        cr_assert(n >= 1 || errno == EINTR);
        for (int i = 0; i < n; i++) {
            turns[events[i].data.u32]++;
            cr_assert_geq(unr_loop_run_once(loops[events[i].data.u32], 0), 0);
        }
    }
    for (int i = 0; i < 2; i++)
        expect_served(&servers[i], clients[i], turns[i]);
    cr_assert_eq(unr_loop_close(loops[1]), 0);
    close(epoll);
}

static struct unr_loop *inner;

static void inner_readable(struct seen *seen)
{
    cr_assert_geq(unr_loop_run_once(inner, 0), 0);
    if (unr_loop_in_flight(inner))
        start(seen, unr_poll(&seen->op, unr_loop_fd(inner), POLLIN));
}

/* A loop is driven by another loop of unring, which waits with a poll operation. */
EMBED_TEST(loop_driven_by_another_loop)
{
    struct seen        poll_op = { .then = inner_readable };
    struct server      server;
    struct sockaddr_in address;
    pthread_t          clients;
    inner = open_loop_flagged(0);
    serve(&server, inner, &address);
    start(&poll_op, unr_poll(&poll_op.op, unr_loop_fd(inner), POLLIN));
    pthread_create(&clients, NULL, be_clients, &address);
    run();
    expect_served(&server, clients, 0);
    cr_assert_eq(unr_loop_close(inner), 0);
}
