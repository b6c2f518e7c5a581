/* SPDX-License-Identifier: MIT */
/* Broken contracts: each ends the process by abort(), with a message on standard error that names
 * what was broken, the operation where there is one, and the rule.  Every breach happens in a child
 * of its own. */
#define SUPPORT_KERNEL
#include "../uring/newer.h"
#include "support.h"

#include <pthread.h>
#include <setjmp.h>

TestSuite(contract, .timeout = 20);

/* ThreadSanitizer would end a child that starts a thread: for it the runner, of which the child is
 * a copy, has several. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

/* A test whose body, run in a child with an open loop, ends in abort() with words that contain all
 * of the strings given. */
#define BREACH(name, ...) BREACH_IN(contract, open_loop_of_child(), name, __VA_ARGS__)

static int never_ready(void)
{
    int ends[2];
    must(pipe2(ends, O_CLOEXEC) == 0);
    return ends[0];
}

static char byte;

static struct unr_op *describe(struct unr_op *op)
{
    return unr_read(op, never_ready(), &byte, 1, -1);
}

static void flush(void)
{
    must(unr_loop_run_once(loop, 0) >= 0);
}

/* ---- describe, bind, start ---- */

/* An operation that waits to be submitted is not described again. */
BREACH(described_while_it_is_queued, "read", "described", "unring's from start until its done")
{
    static struct unr_op op;
    unr_start(loop, describe(&op), NULL, NULL);
    unr_nop(&op);
}

/* Nor one that the kernel has. */
BREACH(described_while_it_is_in_flight, "read", "described", "unring's from start until its done")
{
    static struct unr_op op;
    unr_start(loop, describe(&op), NULL, NULL);
    flush();
    unr_nop(&op);
}

/* Nor one that has ended and whose `done` has not run. */
BREACH(described_before_its_done, "read", "described", "unring's from start until its done")
{
    static struct unr_op op;
    unr_start(loop, describe(&op), NULL, NULL);
    unr_cancel(&op, UNR_CANCEL_TOTAL);
    unr_nop(&op);
}

/* Nor a timer. */
BREACH(timer_described_while_it_waits, "timer", "described", "unring's from start until its done")
{
    static struct unr_timer timer;
    unr_start(loop, unr_timer_after(&timer, UNR_SEC(1)), NULL, NULL);
    unr_timer_after(&timer, UNR_SEC(2));
}

/* Addresses carry marks in their low bits. */
BREACH(described_at_an_odd_address, "not aligned", "aligned as its type is")
{
    static _Alignas(8) char memory[sizeof(struct unr_op) + 8];
    unr_nop((struct unr_op *)(void *)(memory + 2));
}

/* One description, one start. */
BREACH(started_twice, "nop", "started while it is in flight", "described anew for each start")
{
    static struct unr_op op;
    unr_start(loop, unr_nop(&op), NULL, NULL);
    unr_start(loop, &op, NULL, NULL);
}

/* After its `done` an operation is described again before it is started again. */
BREACH(started_again_without_a_description, "nop", "not described", "described anew for each start")
{
    static struct unr_op op;
    unr_start(loop, unr_nop(&op), NULL, NULL);
    must(unr_loop_run(loop) == 0);
    unr_start(loop, &op, NULL, NULL);
}

/* Zeroed memory is no operation yet. */
BREACH(started_without_ever_a_description, "not described", "described anew for each start")
{
    static struct unr_op op;
    unr_start(loop, &op, NULL, NULL);
}

/* A slot is bound before the start. */
BREACH(bound_while_it_is_in_flight, "read", "bound", "describe, bind, then start")
{
    static struct unr_op     op;
    static struct unr_signal signal;
    unr_start(loop, describe(&op), NULL, NULL);
    flush();
    unr_bind_slot(&op, unr_signal_slot(&signal));
}

/* And after the description. */
BREACH(bound_without_a_description, "bound", "describe, bind, then start")
{
    static struct unr_op     op;
    static struct unr_signal signal;
    unr_bind_slot(&op, unr_signal_slot(&signal));
}

/* ---- requests ---- */

#define BAD_TYPES "types that do not exist", "mask of UNR_CANCEL_*"
#define BAD_CAUSE "cause is not negative", "-ECANCELED, -ETIMEDOUT, or negative"

static struct unr_op *in_flight(void)
{
    static struct unr_op op;
    unr_start(loop, describe(&op), NULL, NULL);
    flush();
    return &op;
}

/* A request has types, and only those that there are. */
BREACH(cancel_of_no_types, BAD_TYPES)
{
    unr_cancel(in_flight(), UNR_CANCEL_NONE);
}

BREACH(cancel_of_unknown_types, BAD_TYPES)
{
    unr_cancel(in_flight(), UNR_CANCEL_ALL + 1);
}

/* Also where there is nothing to cancel. */
BREACH(cancel_of_no_types_of_an_idle_operation, BAD_TYPES)
{
    static struct unr_op op;
    unr_cancel(&op, UNR_CANCEL_NONE);
}

/* A cause is negative. */
BREACH(cancel_without_a_cause, BAD_CAUSE)
{
    unr_cancel_cause(in_flight(), UNR_CANCEL_TOTAL, 0);
}

BREACH(cancel_with_a_positive_cause, BAD_CAUSE)
{
    unr_cancel_cause(in_flight(), UNR_CANCEL_TOTAL, ETIMEDOUT);
}

BREACH(cancel_of_a_descriptor_with_no_types, BAD_TYPES)
{
    unr_cancel_fd(loop, 0, 0);
}

BREACH(emit_of_no_types, BAD_TYPES)
{
    static struct unr_signal signal;
    unr_signal_emit(&signal, 0);
}

BREACH(emit_of_unknown_types, BAD_TYPES)
{
    static struct unr_signal signal;
    unr_signal_emit(&signal, 0x80000001);
}

BREACH(emit_without_a_cause, BAD_CAUSE)
{
    static struct unr_signal signal;
    unr_signal_emit_cause(&signal, UNR_CANCEL_ALL, 0);
}

BREACH(remote_emit_of_no_types, BAD_TYPES)
{
    static struct unr_signal signal;
    static struct unr_remote remote;
    unr_remote_init(&remote, loop, &signal);
    unr_remote_emit(&remote, 0, -EPIPE);
}

BREACH(remote_emit_without_a_cause, BAD_CAUSE)
{
    static struct unr_signal signal;
    static struct unr_remote remote;
    unr_remote_init(&remote, loop, &signal);
    unr_remote_emit(&remote, UNR_CANCEL_ALL, 1);
}

/* ---- signals ---- */

/* A signal has one parent. */
BREACH(attached_twice, "attaching a signal that is attached", "one parent")
{
    static struct unr_signal child, parents[2];
    unr_signal_attach(&child, &parents[0]);
    unr_signal_attach(&child, &parents[1]);
}

/* Signals form trees: none is below itself, however far. */
BREACH(attached_to_itself, "attaching a signal below itself", "signals form trees")
{
    static struct unr_signal signal;
    unr_signal_attach(&signal, &signal);
}

BREACH(attached_to_a_descendant, "attaching a signal below itself", "signals form trees")
{
    static struct unr_signal signals[3];
    unr_signal_attach(&signals[1], &signals[0]);
    unr_signal_attach(&signals[2], &signals[1]);
    unr_signal_attach(&signals[0], &signals[2]);
}

enum { LEVELS = 1000 };
static struct unr_signal levels[LEVELS + 1];

BREACH(attached_below_a_thousand, "more than 1000 levels", "the stack has an end")
{
    for (int i = 0; i < LEVELS; i++)
        unr_signal_attach(&levels[i + 1], &levels[i]);
}

/* The line is built from below. */
BREACH(attached_with_a_thousand_below, "more than 1000 levels", "the stack has an end")
{
    for (int i = LEVELS; i > 0; i--)
        unr_signal_attach(&levels[i], &levels[i - 1]);
}

/* ---- types of one's own ---- */

static void nothing(struct unr_op *op)
{
    (void)op;
}

static void nothing_to_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op;
    (void)request;
}

static const struct unr_op_type own = { .size = sizeof own,
                                        .supports = UNR_CANCEL_NONE,
                                        .name = "brew",
                                        .start = nothing,
                                        .cancel = nothing_to_cancel };

/* A type says its size, or nobody knows what it has. */
BREACH(type_without_a_size, "does not say its size", "that of the structure")
{
    static const struct unr_op_type sizeless = { .name = "brew",
                                                 .start = nothing,
                                                 .cancel = nothing_to_cancel };
    struct unr_op                   op = { 0 };
    unr_start(loop, unr_describe(&op, &sizeless), NULL, NULL);
}

#define FINISH_RULE "unr_finish is called once for each start"

/* An operation finishes once. */
BREACH(finished_twice, "brew", "not in flight", FINISH_RULE)
{
    static struct unr_op op;
    unr_start(loop, unr_describe(&op, &own), NULL, NULL);
    unr_finish(&op, 0);
    unr_finish(&op, 0);
}

/* After it has been started. */
BREACH(finished_before_it_is_started, "brew", "not in flight", FINISH_RULE)
{
    static struct unr_op op;
    unr_finish(unr_describe(&op, &own), 0);
}

BREACH(finished_without_ever_a_description, "not in flight", FINISH_RULE)
{
    static struct unr_op op;
    unr_finish(&op, 0);
}

BREACH(finished_after_its_done, "brew", "not in flight", FINISH_RULE)
{
    static struct unr_op op;
    unr_start(loop, unr_describe(&op, &own), NULL, NULL);
    unr_finish(&op, 0);
    must(unr_loop_run(loop) == 0);
    unr_finish(&op, 0);
}

/* System calls and timers are finished by unring. */
BREACH(system_call_finished, "read", FINISH_RULE)
{
    unr_finish(in_flight(), 0);
}

BREACH(timer_finished, "timer", FINISH_RULE)
{
    static struct unr_timer timer;
    unr_start(loop, unr_timer_after(&timer, UNR_SEC(1)), NULL, NULL);
    unr_finish(&timer.op, 0);
}

/* Errors are negative. */
BREACH(finished_with_a_positive_error, "brew", "positive error", "0 or a negative errno")
{
    static struct unr_op op;
    unr_start(loop, unr_describe(&op, &own), NULL, NULL);
    unr_finish(&op, EIO);
}

/* ---- the loop from inside itself ---- */

#define INSIDE_RULE "from inside its own done, task or handler"

static void run_it(struct unr_op *op)
{
    (void)op;
    unr_loop_run(loop);
}

static void run_it_once(struct unr_op *op)
{
    (void)op;
    unr_loop_run_once(loop, 0);
}

static void close_it(struct unr_op *op)
{
    (void)op;
    unr_loop_close(loop);
}

static void run_with(unr_done_fn *done)
{
    static struct unr_op op;
    unr_start(loop, unr_nop(&op), done, NULL);
    unr_loop_run(loop);
}

BREACH(run_inside_a_done, "unr_loop_run", INSIDE_RULE)
{
    run_with(run_it);
}

BREACH(run_once_inside_a_done, "unr_loop_run_once", INSIDE_RULE)
{
    run_with(run_it_once);
}

BREACH(close_inside_a_done, "unr_loop_close", INSIDE_RULE)
{
    run_with(close_it);
}

static void run_task(struct unr_task *task)
{
    (void)task;
    unr_loop_run(loop);
}

static void close_task(struct unr_task *task)
{
    (void)task;
    unr_loop_close(loop);
}

BREACH(run_inside_a_task, "unr_loop_run", INSIDE_RULE)
{
    static struct unr_task task = { .run = run_task };
    unr_loop_post(loop, &task);
    unr_loop_run(loop);
}

BREACH(close_inside_a_task, "unr_loop_close", INSIDE_RULE)
{
    static struct unr_task task = { .run = close_task };
    unr_loop_post(loop, &task);
    unr_loop_run(loop);
}

static void close_handler(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op;
    (void)request;
    unr_loop_close(loop);
}

/* Also from what closing calls. */
BREACH(close_inside_close, "unr_loop_close", INSIDE_RULE)
{
    static const struct unr_op_type closing = { .size = sizeof closing,
                                                .supports = UNR_CANCEL_ALL,
                                                .name = "brew",
                                                .start = nothing,
                                                .cancel = close_handler };
    static struct unr_op            op;
    unr_start(loop, unr_describe(&op, &closing), NULL, NULL);
    unr_loop_close(loop);
}

/* A `done` that is left by a jump: the turn that ran it has no end, which the next run finds. */
static jmp_buf outside;

static void jump_out(struct unr_op *op)
{
    (void)op;
    longjmp(outside, 1);
}

BREACH(run_after_a_jump_out_of_done, "unr_loop_run", INSIDE_RULE)
{
    if (setjmp(outside) == 0)
        run_with(jump_out);
    unr_loop_run(loop);
}

BREACH(close_after_a_jump_out_of_done, "unr_loop_close", INSIDE_RULE)
{
    if (setjmp(outside) == 0)
        run_with(jump_out);
    unr_loop_close(loop);
}

/* ---- hold and close ---- */

BREACH(released_without_a_hold, "released", "each unr_loop_release has its unr_loop_hold")
{
    unr_loop_hold(loop);
    unr_loop_release(loop);
    unr_loop_release(loop);
}

static void start_over(struct unr_op *op)
{
    unr_start(loop, unr_nop(op), start_over, NULL);
}

/* A `done` that starts again what a closing loop refuses does not end; it is named. */
BREACH(started_for_ever_while_the_loop_closes, "nop", "being closed", "-ESHUTDOWN")
{
    static struct unr_op op;
    start_over(&op);
    unr_loop_close(loop);
}

static void close_over(struct unr_op *op)
{
    unr_start(loop, unr_close(op, -1), close_over, NULL);
}

/* Also where it is not refused, as it supports no cancellation. */
BREACH(uncancellable_started_for_ever_while_the_loop_closes, "close", "being closed")
{
    static struct unr_op op;
    close_over(&op);
    unr_loop_close(loop);
}

static void start_for_a_while(struct unr_op *op)
{
    int *left = op->data;
    if (--*left > 0)
        unr_start(loop, unr_nop(op), start_for_a_while, left);
}

/* A `done` that cleans up in several steps is served. */
Test(contract, started_a_number_of_times_while_the_loop_closes)
{
    struct unr_op ops[3] = { 0 };
    int           left[] = { 100, 200, 300 };
    open_loop();
    for (int i = 0; i < 3; i++)
        unr_start(loop, unr_nop(&ops[i]), start_for_a_while, &left[i]);
    cr_assert_eq(unr_loop_close(loop), 0);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(left[i], 0);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* ---- multishot operations ---- */

static struct unr_op shots;

/* The kernel numbers are those of Linux: the installed header may be older. */
static void fill_shots(void *sqe, void *as)
{
    struct io_uring_sqe *entry = sqe;
    *entry = *(const struct io_uring_sqe *)as;
    entry->fd = never_ready();
}

static struct unr_op *describe_shots(const struct io_uring_sqe *as)
{
    return unr_sqe(&shots, "shots", UNR_CANCEL_ALL, fill_shots, (void *)(uintptr_t)as);
}

static const struct io_uring_sqe poll_shots = { .opcode = IORING_OP_POLL_ADD,
                                                .len = IORING_POLL_ADD_MULTI,
                                                .poll32_events = POLLIN };

/* Nothing is ready: the contract is broken before there is a shot. */
#define SHOTS_BREACH(name, combinator, describe_combinator)                                        \
    BREACH(name, "shots: a multishot operation inside a combinator, which is a " combinator,       \
           "given to no combinator")                                                               \
    {                                                                                              \
        unr_start(loop, describe_combinator, NULL, NULL);                                          \
        must(unr_loop_run(loop) == 0);                                                             \
        _exit(1);                                                                                  \
    }

static struct unr_deadline deadline;
static struct unr_delay    pause_before;
static struct unr_group    around;
static struct unr_filter   shield;

/* Every SQE that may have shots is known by what it says. */
#define SQE_BREACH(name, ...)                                                                      \
    SHOTS_BREACH(name, "deadline",                                                                 \
                 unr_cancel_after(&deadline,                                                       \
                                  describe_shots(&(const struct io_uring_sqe){ __VA_ARGS__ }),     \
                                  UNR_SEC(3600)))

SQE_BREACH(poll_with_shots_in_a_deadline, .opcode = IORING_OP_POLL_ADD,
           .len = IORING_POLL_ADD_MULTI, .poll32_events = POLLIN)
SQE_BREACH(accept_with_shots_in_a_deadline, .opcode = IORING_OP_ACCEPT,
           .ioprio = IORING_ACCEPT_MULTISHOT)
SQE_BREACH(recv_with_shots_in_a_deadline, .opcode = IORING_OP_RECV, .ioprio = IORING_RECV_MULTISHOT)
SQE_BREACH(recvmsg_with_shots_in_a_deadline, .opcode = IORING_OP_RECVMSG,
           .ioprio = IORING_RECV_MULTISHOT)
SQE_BREACH(recv_zc_with_shots_in_a_deadline, .opcode = UNRI_OP_RECV_ZC,
           .ioprio = IORING_RECV_MULTISHOT)
SQE_BREACH(send_of_bundles_in_a_deadline, .opcode = IORING_OP_SEND, .ioprio = UNRI_RECVSEND_BUNDLE)
SQE_BREACH(read_with_shots_in_a_deadline, .opcode = UNRI_OP_READ_MULTISHOT)
SQE_BREACH(timeout_with_shots_in_a_deadline, .opcode = IORING_OP_TIMEOUT,
           .timeout_flags = UNRI_TIMEOUT_MULTISHOT)
SQE_BREACH(command_with_shots_in_a_deadline, .opcode = IORING_OP_URING_CMD,
           .rw_flags = UNRI_URING_CMD_MULTISHOT)

/* Every combinator refuses them, and is named. */
SHOTS_BREACH(shots_in_a_delay, "delay", unr_delay(&pause_before, describe_shots(&poll_shots), 0))
SHOTS_BREACH(shots_in_a_group, "group",
             unr_any(&around, (struct unr_op *[]){ describe_shots(&poll_shots) }, 1))
SHOTS_BREACH(shots_in_a_filter, "filter", unr_shield(&shield, describe_shots(&poll_shots)))
SHOTS_BREACH(shots_in_a_deadline_in_a_group, "deadline",
             unr_any(&around,
                     (struct unr_op *[]){
                         unr_cancel_after(&deadline, describe_shots(&poll_shots), UNR_SEC(3600)) },
                     1))

BREACH(shots_in_a_scope, "shots: a multishot operation inside a combinator, which is a scope",
       "given to no combinator")
{
    static struct unr_scope scope;
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    unr_scope_start(&scope, describe_shots(&poll_shots), NULL, NULL);
    flush();
    _exit(1);
}

static void shots_step(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_next(self, describe_shots(&poll_shots));
}

BREACH(shots_in_a_step, "shots: a multishot operation inside a combinator, which is a session",
       "given to no combinator")
{
    static struct unr_compose session;
    unr_start(loop, unr_compose(&session, "session", UNR_CANCEL_TOTAL, shots_step), NULL, NULL);
    flush();
    _exit(1);
}

static void ignore_shot(struct unr_op *op)
{
    (void)op;
}

/* Who joins a multishot operation is told so at once. */
BREACH(shots_joined_in_flight, "shots: a multishot operation inside a combinator, which is a join",
       "given to no combinator")
{
    static struct unr_join join;
    unr_start(loop, describe_shots(&poll_shots), ignore_shot, NULL);
    flush();
    unr_start(loop, unr_join(&join, &shots), NULL, NULL);
    _exit(1);
}

BREACH(shots_without_a_done, "shots: a multishot operation without a done",
       "what a shot owns has to reach somebody")
{
    unr_start(loop, describe_shots(&poll_shots), NULL, NULL);
    flush();
    _exit(1);
}

/* ---- threads ---- */

#define THREAD_RULE "a loop used from a second thread", "belongs to the thread that first runs it"

static struct unr_op     started;
static struct unr_timer  ticking;
static struct unr_remote remote;
static struct unr_signal reaching; /* `started` */

static void in_second_thread(void *(*body)(void *))
{
    static struct unr_signal signal;
    pthread_t                second;
    unr_start(loop, unr_bind_slot(unr_describe(&started, &own), unr_signal_slot(&reaching)), NULL,
              NULL);
    unr_start(loop, unr_timer_after(&ticking, UNR_SEC(3600)), NULL, NULL);
    unr_remote_init(&remote, loop, &signal);
    flush(); /* makes the loop this thread's */
    must(pthread_create(&second, NULL, body, NULL) == 0);
    pthread_join(second, NULL);
}

#define THREAD_BREACH(name, ...)                                                                   \
    static void *name##_elsewhere(void *context)                                                   \
    {                                                                                              \
        (void)context;                                                                             \
        static struct unr_op op __attribute__((unused));                                           \
        __VA_ARGS__;                                                                               \
        return NULL;                                                                               \
    }                                                                                              \
    BREACH(name, THREAD_RULE)                                                                      \
    {                                                                                              \
        in_second_thread(name##_elsewhere);                                                        \
    }

/* Whatever concerns a loop is called by the thread that it belongs to. */
THREAD_BREACH(start_in_a_second_thread, unr_start(loop, unr_nop(&op), NULL, NULL))
THREAD_BREACH(run_in_a_second_thread, unr_loop_run(loop))
THREAD_BREACH(run_once_in_a_second_thread, unr_loop_run_once(loop, 0))
THREAD_BREACH(close_in_a_second_thread, unr_loop_close(loop))
THREAD_BREACH(cancel_fd_in_a_second_thread, unr_cancel_fd(loop, 0, UNR_CANCEL_ALL))
THREAD_BREACH(loop_fd_in_a_second_thread, unr_loop_fd(loop))
THREAD_BREACH(cancel_by_a_second_thread, unr_cancel(&started, UNR_CANCEL_ALL))
THREAD_BREACH(move_by_a_second_thread, unr_timer_move(&ticking, 0))
THREAD_BREACH(finish_by_a_second_thread, unr_finish(&started, 0))
THREAD_BREACH(emit_by_a_second_thread, unr_signal_emit(&reaching, UNR_CANCEL_ALL))
THREAD_BREACH(disarm_by_a_second_thread, unr_remote_disarm(&remote))

/* Asking for the descriptor makes the loop the thread's, too. */
static void *take_and_keep(void *context)
{
    (void)context;
    must(unr_loop_fd(loop) >= 0);
    return NULL;
}

BREACH(run_after_another_thread_asked_for_the_descriptor, THREAD_RULE)
{
    pthread_t second;
    must(pthread_create(&second, NULL, take_and_keep, NULL) == 0);
    pthread_join(second, NULL);
    unr_loop_run(loop);
}

static void *run_and_end(void *context)
{
    (void)context;
    flush();
    return NULL;
}

/* A thread that begins when the owner has ended has that one's pthread_self(), and is not it. */
BREACH(closed_by_a_thread_that_came_later, "a second thread", "first runs it")
{
    static struct unr_op op;
    pthread_t            threads[2];
    unr_start(loop, describe(&op), NULL, NULL);
    for (int i = 0; i < 2; i++) {
        must(pthread_create(&threads[i], NULL, run_and_end, NULL) == 0);
        must(pthread_join(threads[i], NULL) == 0);
    }
}

/* ---- scopes and streams ---- */

/* A scope ends with its loop, whose memory is gone afterwards. */
BREACH(started_in_a_scope_whose_loop_is_closed, "nop", "scope that is not in flight")
{
    static struct unr_scope scope;
    static struct unr_op    op;
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    must(unr_loop_close(loop) == 0);
    unr_scope_start(&scope, unr_nop(&op), NULL, NULL);
}

BREACH(read_from_a_stream_that_was_never_made, "never made", "unr_stream_socket()")
{
    static struct unr_stream   stream;
    static struct unr_transfer transfer;
    unr_start(loop, unr_read_exact(&transfer, &stream, &byte, 1), NULL, NULL);
}

static struct unr_stream stream_in_use(void)
{
    struct unr_stream stream;
    int               ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    unr_stream_socket(&stream, ends[0]);
    return stream;
}

/* Of two that read one stream each would take bytes that are the other's. */
BREACH(two_transfers_read_one_stream, "read_exact", "second operation on a stream")
{
    static struct unr_transfer transfers[2];
    static struct unr_stream   stream;
    stream = stream_in_use();
    for (int i = 0; i < 2; i++)
        unr_start(loop, unr_read_exact(&transfers[i], &stream, &byte, 1), NULL, NULL);
}

BREACH(two_readers_read_one_stream, "read_until", "second operation on a stream")
{
    static struct unr_reader readers[2];
    static struct unr_buffer buffers[2];
    static struct unr_stream stream;
    stream = stream_in_use();
    unr_buffer_init(&buffers[0], 64);
    unr_buffer_init(&buffers[1], 64);
    for (int i = 0; i < 2; i++)
        unr_start(loop, unr_read_until(&readers[i], &stream, &buffers[i], "x", 1), NULL, NULL);
}

/* A file has one offset, for reads and writes. */
BREACH(read_and_written_at_once, "write_all", "on a file it is one in all")
{
    static struct unr_transfer transfers[2];
    static struct unr_stream   stream;
    FILE                      *file = tmpfile();
    must(file != NULL);
    unr_stream_file(&stream, fileno(file), 0);
    unr_start(loop, unr_read_exact(&transfers[0], &stream, &byte, 1), NULL, NULL);
    unr_start(loop, unr_write_all(&transfers[1], &stream, &byte, 1), NULL, NULL);
}

/* ---- forks ---- */

#define FORK_RULE "a loop used in a forked child", "only call unr_loop_close()"

/* Lets the loop have an owner and something in flight, and goes on as its owner's child. */
static struct unr_op *be_a_child(void)
{
    struct unr_op *op = in_flight();
    pid_t          child = fork();
    must(child >= 0);
    if (child == 0)
        alarm(CHILD_SECONDS);
    if (child > 0) {
        int status;
        must(waitpid(child, &status, 0) == child);
        must(unr_loop_close(loop) == 0);
        if (WIFSIGNALED(status))
            raise(WTERMSIG(status));
        _exit(WEXITSTATUS(status));
    }
    return op;
}

/* In a child of fork(2) the loop is the parent's. */
BREACH(start_in_a_forked_child, FORK_RULE)
{
    static struct unr_op op;
    be_a_child();
    unr_start(loop, unr_nop(&op), NULL, NULL);
}

BREACH(cancel_in_a_forked_child, FORK_RULE)
{
    unr_cancel(be_a_child(), UNR_CANCEL_TOTAL);
}

BREACH(run_in_a_forked_child, FORK_RULE)
{
    be_a_child();
    unr_loop_run(loop);
}

BREACH(run_once_in_a_forked_child, FORK_RULE)
{
    be_a_child();
    unr_loop_run_once(loop, 0);
}

BREACH(descriptor_in_a_forked_child, FORK_RULE)
{
    be_a_child();
    unr_loop_fd(loop);
}

/* Also of a loop that nobody had run. */
BREACH(run_in_a_forked_child_of_an_unowned_loop, FORK_RULE)
{
    pid_t child = fork();
    must(child >= 0);
    if (child == 0)
        unr_loop_run(loop);
    int status;
    must(waitpid(child, &status, 0) == child);
    raise(WIFSIGNALED(status) ? WTERMSIG(status) : SIGUSR1);
}

static void close_inherited(void *context)
{
    struct seen *receive = context;
    must(unr_loop_close(loop) == 0);
    must(count_descriptors() == open_descriptors + 2); /* the pair of sockets */
    must(receive->runs == 0);
    struct unr_loop *own_loop;
    struct unr_op    nop = { 0 };
    must(unr_loop_open(&own_loop, NULL) == 0);
    unr_start(own_loop, unr_nop(&nop), NULL, NULL);
    must(unr_loop_run(own_loop) == 0);
    must(unr_loop_close(own_loop) == 0);
}

/* In a forked child, unr_loop_close() frees what the child has of the loop: no `done` runs there,
 * the child may open a loop of its own, and the parent's goes on working with what it had in
 * flight. */
Test(contract, close_in_a_forked_child_frees_only)
{
    struct seen seen = { 0 }, nop = { 0 };
    char        in;
    int         fds[2];
    open_loop();
    unix_pair(fds);
    start(&seen, unr_recv(&seen.op, fds[0], &in, 1, 0));
    submit();
    for (int i = 0; i < 3; i++) {
        struct death death = in_child(close_inherited, &seen);
        expect_success(&death);
        nop.runs = 0;
        start(&nop, unr_nop(&nop.op));
        finish(&nop);
        cr_assert_eq(seen.runs, 0);
    }
    cr_assert_eq(write(fds[1], "x", 1), 1);
    run();
    cr_assert_eq(seen.result.bytes, 1);
    close_pair(fds);
    close_loop();
}

static void close_inherited_embedded(void *context)
{
    (void)context;
    must(unr_loop_close(loop) == 0);
}

static void find_no_ring(void *context)
{
    char  line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    (void)context;
    must(maps);
    while (fgets(line, sizeof line, maps))
        must(!strstr(line, "[io_uring]"));
    fclose(maps);
}

/* A forked child has not even the memory of the parent's ring, into which it could submit. */
Test(contract, ring_is_not_inherited_by_a_forked_child)
{
    open_loop();
    struct death death = in_child(find_no_ring, NULL);
    expect_success(&death);
    close_loop();
}

/* The same for a loop whose descriptor another event loop has, and for one that nobody has run. */
Test(contract, close_in_a_forked_child_of_an_embedded_and_of_an_unowned_loop)
{
    struct seen nop = { 0 };
    open_loop();
    struct death death = in_child(close_inherited_embedded, NULL);
    expect_success(&death);
    cr_assert_geq(unr_loop_fd(loop), 0);
    death = in_child(close_inherited_embedded, NULL);
    expect_success(&death);
    start(&nop, unr_nop(&nop.op));
    wait_readable(unr_loop_fd(loop));
    finish(&nop);
    close_loop();
}

/* Posting, stopping and holding are for any thread, but inside the process: a parent is not
 * disturbed by its child's end. */
static void just_exit(void *context)
{
    (void)context;
    _exit(0);
}

Test(contract, child_that_ends_without_closing)
{
    struct seen      seen = { 0 };
    struct unr_timer timer = { 0 };
    char             in;
    int              fds[2];
    open_loop();
    unix_pair(fds);
    start(&seen, unr_recv(&seen.op, fds[0], &in, 1, 0));
    unr_start(loop, unr_timer_after(&timer, UNR_MSEC(5)), NULL, NULL);
    submit();
    struct death death = in_child(just_exit, NULL);
    expect_success(&death);
    cr_assert_eq(unr_in_flight(&seen.op), true);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    run();
    cr_assert_eq(seen.result.bytes, 1);
    close_pair(fds);
    close_loop();
}
