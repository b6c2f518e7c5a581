/* SPDX-License-Identifier: MIT */
/* Step 5 of the talk with fibers: an operation of one's own, which waits for a signal of the
 * process, SIGINT or SIGTERM, and reports it by its name.  step5_signal.c is the same in callbacks.
 *
 * In callbacks an operation of one's own is a type: how it starts, how it ends.  With fibers it is
 * a function.  unr_fiber() makes an operation of that, which can be bound, given a deadline and
 * put into groups like a receive; and what it is asked goes to what it awaits.
 *
 * The step of the talk has no cancellation yet.  A fiber has, unless it is taken away: here a
 * filter lets no request in.  The program waits for the signal or for five seconds, whichever comes
 * first.  When the five seconds come first, the group asks the other member to end, and that member
 * refuses.  As a group ends with its last member, the program goes on waiting for the signal.
 * Step 6 mends that.
 *
 *      step5_fiber 5                         # then: Ctrl-C, sooner or later */
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
 * Cancels   NONE. */
static int wait_for_signal(void *argument)
{
    const char       **ret_name = argument;
    struct unr_sigwait wait = { 0 };

    unr_state_reset(unr_fiber_state(), unr_let_none, NULL, NULL);
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
        die(0, "Usage: step5_fiber [SECONDS]");
    setvbuf(stdout, NULL, _IOLBF, 0);
    block_interrupts();
    int error = unr_run_fiber(NULL, wait_for_either, &seconds);
    if (error < 0)
        die(error, "step5_fiber");
    return 0;
}
