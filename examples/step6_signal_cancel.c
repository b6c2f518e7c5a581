/* SPDX-License-Identifier: MIT */
/* Step 6 of the talk: step 5, and the operation can be cancelled.
 *
 * The type gets two lines more.  It supports TOTAL, as a signal that nobody waits for any longer is
 * still pending.  And it has a function for the requests that it honours while it is in flight.
 * That function passes the request on and finishes nothing itself.  Cancelling is asynchronous: the
 * wait may have taken the signal already, and then it completes with that.  Either result arrives
 * in arrived(), which passes it on.
 *
 * unring knows where the slot is, and whether the operation is a member of a group.  In the talk's
 * step 6 the operation looks for its slot, asks whether it is connected, and installs a handler;
 * nobody takes the handler out again.
 *
 *      step6_signal_cancel 5                 # then: Ctrl-C, or nothing */
#include "common.h"

#include <signal.h>
#include <stdio.h>
#include <unring.h>

struct signal_wait {
    struct unr_op      op;
    struct unr_sigwait wait;
    const char        *name; /* of the signal that came; set in `done` if the error is 0 */
};

static const char *name_of(int64_t number)
{
    switch (number) {
    case SIGINT: return "SIGINT";
    case SIGTERM: return "SIGTERM";
    default: return "another signal";
    }
}

static void arrived(struct unr_op *op)
{
    struct signal_wait *wait = op->data;

    wait->name = name_of(op->result.value);
    unr_finish(&wait->op, op->result.error);
}

static void start_wait(struct unr_op *op)
{
    struct signal_wait *wait = unr_container_of(op, struct signal_wait, op);
    unr_start(unr_loop_of(op), unr_sigwait(&wait->wait, interrupts, 2), arrived, wait);
}

static void cancel_wait(struct unr_op *op, struct unr_cancel_request request)
{
    struct signal_wait *wait = unr_container_of(op, struct signal_wait, op);
    unr_cancel_cause(&wait->wait.op, request.types, request.cause);
}

static const struct unr_op_type signal_wait_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_ALL,
    .name = "wait_for_signal",
    .start = start_wait,
    .cancel = cancel_wait,
};

/* Waits for SIGINT or SIGTERM, which are blocked.
 * Result   `name` says which.
 * Cancels  TOTAL: no signal was taken. */
static struct unr_op *wait_for_signal(struct signal_wait *wait)
{
    return unr_describe(&wait->op, &signal_wait_type);
}

/* ---- the signal, or a timer ---- */

enum { SIGNAL, TIMER }; /* the members, by index */

static struct signal_wait signal_wait;
static struct unr_timer   timer;
static struct unr_group   group;

static void ended(struct unr_op *op)
{
    if (op->result.value == SIGNAL)
        printf("the signal came first: %s\n", signal_wait.name);
    else
        printf("the timer came first\n");
    printf("    %s\n", unr_explain_op(&signal_wait.op));
}

int main(int argc, char **argv)
{
    struct unr_loop *loop;
    double           seconds = 5;

    if (argc > 1 && (!parse_seconds(argv[1], &seconds) || seconds > 1e9))
        die(0, "Usage: step6_signal_cancel [SECONDS]");
    block_interrupts();
    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    struct unr_op *members[] = { wait_for_signal(&signal_wait),
                                 unr_timer_after(&timer, (unr_time)(seconds * 1e9)) };
    unr_start(loop, unr_any(&group, members, 2), ended, NULL);
    printf("waiting %g seconds for SIGINT or SIGTERM\n", seconds);
    fflush(stdout);
    error = unr_loop_run(loop);
    return unr_loop_close(loop) || error ? 1 : 0;
}
