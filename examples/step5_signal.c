/* SPDX-License-Identifier: MIT */
/* Step 5 of the talk: an operation type of one's own.  It waits for a signal of the process, SIGINT
 * or SIGTERM, and reports it by its name.
 *
 * A type is a static structure, as unring's own types are: what it supports, its name, how it
 * starts.  A type needs two calls: unr_describe() makes an operation of it, and unr_finish() says
 * that the operation has completed.  From then on it can be bound, joined and put into groups like
 * a receive.  Here the type passes the work on to unr_sigwait(), and changes the result on the way.
 * It could as well call another library, and finish when that library calls back.
 *
 * There is no cancellation yet: `supports` is NONE.  The program waits for the signal or for five
 * seconds, whichever comes first.  When the five seconds come first, the group asks the other
 * member to end, and that member refuses.  As a group ends with its last member, the program goes
 * on waiting for the signal.  Step 6 mends that.
 *
 *      step5_signal 5                        # then: Ctrl-C, sooner or later */
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

static const struct unr_op_type signal_wait_type = {
    .size = sizeof(struct unr_op_type),
    .supports = UNR_CANCEL_NONE,
    .name = "wait_for_signal",
    .start = start_wait,
};

/* Waits for SIGINT or SIGTERM, which are blocked.
 * Result   `name` says which.
 * Cancels  NONE. */
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
        die(0, "Usage: step5_signal [SECONDS]");
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
