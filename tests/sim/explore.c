/* SPDX-License-Identifier: MIT */
/* unr_explore(): runs one schedule after another, each in a new world.  A schedule that fails is
 * caught, and shrunk to the kindest one that still fails.  choose.c decides which schedules there
 * are. */
#undef _FORTIFY_SOURCE /* its longjmp(3) knows one stack, and a schedule may fail on a fiber's */
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../lib/fiber/fiber.h"
#include "sim.h"

static struct {
    bool                       running, last, on_fiber;
    const struct unri_choices *choices;
    sigjmp_buf                 failed;
    char                       failure[sizeof((struct unr_exploration *)0)->failure];
} run;

bool unri_sim_is_last_run(void)
{
    return run.last;
}

void unri_sim_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run.failure, sizeof run.failure, format, arguments);
    va_end(arguments);
    if (!run.running) {
        fprintf(stderr, "unring-sim: outside of unr_explore: %s\n", run.failure);
        abort();
    }
    run.on_fiber = unri_fiber_abandon();
    siglongjmp(run.failed, 1);
}

void unr_sim_check(bool holds, const char *what)
{
    if (!holds)
        unri_sim_fail("%s", what);
}

unsigned unr_sim_choose(unsigned n)
{
    sim_kernel_meanwhile();
    return unri_choose(n);
}

/* A broken contract, a failed assertion and a wild pointer end a schedule, not the exploration. The
 * stack of a fiber may have no room for the handler: it has one of its own. */
static void caught(int number)
{
    unri_sim_fail("the program was ended by signal %d (%s); what it printed says more", number,
                  strsignal(number));
}

static const int caught_signals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE };
enum { CAUGHT = sizeof caught_signals / sizeof *caught_signals };

/* Each schedule opens a loop and closes it, and so takes and frees memory: some at the end of the
 * heap, which would shrink and grow again each time, some so large that it would be mapped.  These
 * system calls would take most of a schedule. */
static void keep_heap(void)
{
#ifdef M_TRIM_THRESHOLD
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
    mallopt(M_MMAP_THRESHOLD, 16 << 20); /* it no longer adapts once the other is set */
#endif
}

static void catch_signals(struct sigaction old[CAUGHT])
{
    static char      memory[64 << 10];
    struct sigaction action = { .sa_handler = caught, .sa_flags = SA_NODEFER | SA_ONSTACK };
    stack_t          present, own = { .ss_sp = memory, .ss_size = sizeof memory };
    if (sigaltstack(NULL, &present) == 0 && present.ss_flags & SS_DISABLE)
        sigaltstack(&own, NULL);
    for (unsigned i = 0; i < CAUGHT; i++)
        sigaction(caught_signals[i], &action, &old[i]);
}

static void restore_signals(const struct sigaction old[CAUGHT])
{
    for (unsigned i = 0; i < CAUGHT; i++)
        sigaction(caught_signals[i], &old[i], NULL);
}

/* A sanitizer that finds a fault ends the process, with no signal to catch: it calls this first.
 * The function is NULL where the program is built without one. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void dying(void)
{
    char schedule[sizeof((struct unr_exploration *)0)->schedule];
    if (!run.running)
        return;
    unri_choices_print(run.choices, schedule, sizeof schedule);
    fprintf(stderr, "unring-sim: the process ends inside a schedule\nreplay: %s\n", schedule);
}

/* Fails a schedule that has left something behind. */
static void check_end(void)
{
    if (sim_kernel_rings())
        unri_sim_fail("a loop was not closed");
    if (sim_kernel_requests())
        unri_sim_fail("%u requests are still in flight", sim_kernel_requests());
    if (sim_world.open_fds)
        unri_sim_fail("%u descriptors were not closed", sim_world.open_fds);
    if (sim_world.maps)
        unri_sim_fail("%u maps of memory were not given back", sim_world.maps);
    if (sim_names_found())
        unri_sim_fail("%u addresses were not given back", sim_names_found());
}

/* Runs one schedule.  False: it failed. */
static bool run_schedule(struct unri_choices *choices, unr_scenario_fn *scenario, void *context)
{
    sim_world_reset();
    sim_stacks_reset();
    sim_thread_pool_reset();
    sim_names_reset();
    sim_kernel_reset(choices->options);
    unri_choices_begin(choices);
    run.choices = choices;
    run.running = true;
    /* No signal is blocked in caught(), so there is no mask to come back to; each schedule would
     * cost a system call. */
    bool passed = sigsetjmp(run.failed, 0) == 0;
    if (passed) {
        scenario(context);
        check_end();
    } else if (run.on_fiber) {
        unri_context_left();
    }
    run.running = false;
    return passed;
}

/* ---- shrinking: kinder choices, and fewer, as long as the schedule fails ---- */

static bool fails(struct unri_choices *choices, unr_scenario_fn *scenario, void *context,
                  const uint16_t *made, unsigned count)
{
    memcpy(choices->made, made, count * sizeof *made);
    choices->given = count;
    return !run_schedule(choices, scenario, context);
}

/* Tries a kinder value for each choice, from the last to the first, until none can be made kinder.
 * The result is then run once more, with its deadlock told in full. */
static void shrink(struct unri_choices *choices, unr_scenario_fn *scenario, void *context,
                   struct unr_exploration *found)
{
    struct unr_explore_options replay = *choices->options;
    static uint16_t            made[UNRI_CHOICES_MAX];
    unsigned                   count = choices->count;
    memcpy(made, choices->made, count * sizeof *made);
    replay.driver = UNR_REPLAY;
    choices->options = &replay;
    for (bool again = true; again;) {
        again = false;
        for (unsigned i = count; i-- > 0;) {
            uint16_t was = made[i];
            for (uint16_t kinder = 0; kinder < was; kinder++) {
                made[i] = kinder;
                if (fails(choices, scenario, context, made, count)) {
                    count = choices->count < count ? choices->count : count;
                    again = true;
                    break;
                }
                made[i] = was;
            }
            if (i > count)
                i = count;
        }
    }
    run.last = true;
    fails(choices, scenario, context, made, count);
    run.last = false;
    unri_choices_print(choices, found->schedule, sizeof found->schedule);
    memcpy(found->failure, run.failure, sizeof found->failure);
}

/* ---- all schedules ---- */

static int read_options(const struct unr_explore_options *given,
                        struct unr_explore_options       *options)
{
    *options = (struct unr_explore_options){ .size = sizeof *options };
    if (given) {
        if (given->size > sizeof *options || given->size < sizeof given->size)
            return -EINVAL;
        memcpy(options, given, given->size);
    }
    if (!options->schedules_max)
        options->schedules_max = 1000000;
    if (!options->depth_max || options->depth_max > UNRI_CHOICES_MAX)
        options->depth_max = 1000;
    if (options->driver == UNR_PCT && (!options->deviations_max || options->deviations_max > 16))
        options->deviations_max = 3;
    return options->driver == UNR_REPLAY && !options->replay ? -EINVAL : 0;
}

int unr_explore(unr_scenario_fn *scenario, void *context, const struct unr_explore_options *given,
                struct unr_exploration *ret_found)
{
    static struct unri_choices choices; /* large, and one exploration runs at a time */
    struct unr_explore_options options;
    struct unr_exploration     found = { 0 };
    struct sigaction           old[CAUGHT];
    int                        error = read_options(given, &options);
    if (error < 0)
        return error;
    unri_choices_open(&choices, &options);
    if (options.driver == UNR_REPLAY && !unri_choices_parse(&choices, options.replay))
        return -EINVAL;

    keep_heap();
    catch_signals(old);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(dying);
    for (bool more = true; more && error == 0 && found.schedules < options.schedules_max;) {
        bool passed = run_schedule(&choices, scenario, context);
        found.schedules++;
        found.choices += choices.count;
        if (choices.count > found.depth)
            found.depth = choices.count;
        if (!passed) {
            error = -EBADMSG;
            shrink(&choices, scenario, context, &found);
            break;
        }
        more = unri_choices_next(&choices);
        found.complete = !more && options.driver == UNR_EXHAUSTIVE;
    }
    restore_signals(old);
    if (ret_found)
        *ret_found = found;
    return error;
}
