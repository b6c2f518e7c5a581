/* SPDX-License-Identifier: MIT */
/* Step 6 of the talk with fibers: step 5, and the operation can be cancelled.
 * step6_signal_cancel.c is the same in callbacks.
 *
 * There the type gets a function that passes a request on to what it waits for.  A fiber does that
 * by itself: a request that its state lets in goes to the operation that it awaits.  By default the
 * state lets TERMINAL in and nothing else, as a function that was interrupted somewhere may have
 * left anything behind.  Of this one its author knows better: a signal that nobody waits for any
 * longer is still pending.  So it lets TOTAL in, and what it promises is what its sigwait proves.
 *
 * Cancelling is asynchronous here, too: the wait may have taken the signal already, and then it
 * completes with that.  What unr_await() returns tells.
 *
 *      step6_fiber 5                         # then: Ctrl-C, or nothing */
#include "common.h"

#include <signal.h>
#include <stdio.h>
#include <unring.h>

static const char *name_of(int64_t number)
{
    switch (number) {
    case SIGINT: return "SIGINT";
    case SIGTERM: return "SIGTERM";
    default: return "another signal";
    }
}

/* Waits for SIGINT or SIGTERM, which are blocked.
 * argument  a const char *, which is set to the signal's name if one comes.
 * Cancels   TOTAL: no signal was taken. */
static int wait_for_signal(void *argument)
{
    const char       **ret_name = argument;
    struct unr_sigwait wait = { 0 };

    unr_state_reset(unr_fiber_state(), unr_let_total, NULL, NULL);
    struct unr_result r = unr_await(unr_sigwait(&wait, interrupts, 2));
    if (r.error == 0)
        *ret_name = name_of(r.value);
    return unr_outcome(&r);
}

enum { SIGNAL, TIMER }; /* the members, by index */

static int wait_for_either(void *argument)
{
    const struct unr_fiber_options options = { .size = sizeof options, .name = "wait_for_signal" };
    double                        *seconds = argument;
    const char                    *name = NULL;
    struct unr_fiber               signal = { 0 };
    struct unr_timer               timer = { 0 };
    struct unr_group               group = { 0 };

    printf("waiting %g seconds for SIGINT or SIGTERM\n", *seconds);
    struct unr_op    *members[] = { unr_fiber_with(&signal, wait_for_signal, &name, &options),
                                    unr_timer_after(&timer, (unr_time)(*seconds * 1e9)) };
    struct unr_result r = unr_await(unr_any(&group, members, 2));
    if (r.error)
        return unr_outcome(&r);
    if (r.value == SIGNAL)
        printf("the signal came first: %s\n", name);
    else
        printf("the timer came first\n");
    printf("    %s\n", unr_explain_op(&signal.op));
    return 0;
}

int main(int argc, char **argv)
{
    double seconds = 5;

    if (argc > 2 || (argc == 2 && (!parse_seconds(argv[1], &seconds) || seconds > 1e9)))
        die(0, "Usage: step6_fiber [SECONDS]");
    setvbuf(stdout, NULL, _IOLBF, 0);
    block_interrupts();
    int error = unr_run_fiber(NULL, wait_for_either, &seconds);
    if (error < 0)
        die(error, "step6_fiber");
    return 0;
}
