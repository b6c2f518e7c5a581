/* SPDX-License-Identifier: MIT */
/* Runs the scenarios: `scenarios [--driver exhaustive|random|pct] [--schedules N] [--seconds N]
 * [--seed N] [--replay S] [--faults N] [--linux N] [--outcomes FILE] [NAME...]`, names with
 * wildcards.  Prints a line for each: how many schedules, choices, distinct outcomes; and appends
 * these to FILE. */
#include "scenario.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- outcomes ---- */

enum { OUTCOMES_MAX = 4096 };
static char     outcomes[OUTCOMES_MAX][96];
static unsigned outcome_count;

void outcome(const char *format, ...)
{
    char    text[sizeof outcomes[0]];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (unsigned i = 0; i < outcome_count; i++)
        if (strcmp(outcomes[i], text) == 0)
            return;
    if (outcome_count < OUTCOMES_MAX)
        strcpy(outcomes[outcome_count++], text);
}

/* ---- the fixture ---- */

static const struct scenario *running;
static unsigned               faults; /* that it runs with */

bool is_shortage(int error)
{
    return faults & UNR_FAULT_RESOURCES && (error == -EMFILE || error == -ENOMEM);
}

struct unr_loop *open_small_loop(void)
{
    struct unr_loop_options options = {
        .size = sizeof options, .entries = 4, .completion_entries = 8, .flags = running->loop_flags
    };
    struct unr_loop *loop = NULL;
    int              error = unr_loop_open(&loop, &options);
    while (is_shortage(error))
        error = unr_loop_open(&loop, &options);
    unr_sim_check(error == 0, "the loop opens");
    return loop;
}

/* What was asked has one verdict, or was added: the statistics balance where nothing is left. */
static void verify_balance(const struct unr_loop *loop)
{
    struct unr_stats s;
    unr_loop_stats(loop, &s, sizeof s);
    unr_sim_check(s.started != s.finished
                      || s.cancels_asked
                             == s.cancels_won + s.cancels_too_late + s.cancels_running
                                    + s.cancels_unsubmitted + s.cancels_refused + s.cancels_added,
                  "the statistics balance");
    unr_sim_check(s.started != s.finished || s.fibers_begun == s.fibers_ended,
                  "each fiber that has begun has ended");
}

void close_loop(struct unr_loop *loop)
{
    verify_balance(loop);
    unr_sim_check(unr_loop_close(loop) == 0, "the loop closes");
}

void set_up(struct subject *s, const struct subject_type *type, struct unr_loop *loop)
{
    *s = (struct subject){ .type = type, .loop = loop };
    type->set_up(s);
}

static void subject_done(struct unr_op *op)
{
    struct subject *s = op->data;
    s->runs++;
    unr_sim_check(!unr_slot_has_handler(unr_signal_slot(&s->signal)), "the slot is empty in done");
    unr_sim_check(!unr_in_flight(op), "in done the operation is the caller's");
}

void start(struct subject *s)
{
    unr_start(s->loop, unr_bind_slot(s->type->describe(s), unr_signal_slot(&s->signal)),
              subject_done, s);
}

void tear_down(struct subject *s)
{
    if (s->loop)
        close_loop(s->loop);
    if (s->type->tear_down)
        s->type->tear_down(s);
}

static void verify_cancelled(const struct unr_result *r, unsigned supports)
{
    bool began = r->verdict != UNR_VERDICT_UNSUBMITTED;
    unr_sim_check(r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED,
                  "cancelled says so");
    unr_sim_check(r->requested & supports, "cancelled only as asked");
    unr_sim_check(r->cause < 0, "cancelled with a cause");
    unr_sim_check(r->guarantee && !(r->guarantee & (r->guarantee - 1)),
                  "the guarantee is one type");
    unr_sim_check(began ? (r->guarantee & supports) != 0 : r->guarantee == UNR_CANCEL_TOTAL,
                  "a guarantee that it can give");
    unr_sim_check(r->fd == -1, "nothing was produced");
    unr_sim_check(r->guarantee != UNR_CANCEL_TOTAL || r->bytes == 0, "total is total");
}

static void verify_completed(const struct unr_result *r, unsigned supports)
{
    unr_sim_check(r->guarantee == UNR_CANCEL_NONE, "not cancelled, no guarantee");
    unr_sim_check((r->verdict == UNR_VERDICT_NONE) == (r->requested == 0),
                  "a verdict exactly if something was asked");
    if (r->verdict == UNR_VERDICT_REFUSED)
        unr_sim_check(!(r->requested & supports), "refused only what it does not support");
    unr_sim_check(r->verdict != UNR_VERDICT_CANCELLED && r->verdict != UNR_VERDICT_UNSUBMITTED,
                  "not cancelled");
}

void verify(struct subject *s)
{
    const struct unr_result *r = &s->op.result;
    unr_sim_check(s->runs == 1, "each done runs once");
    unr_sim_check(unr_loop_in_flight(s->loop) == 0, "nothing is left in flight");
    if (r->error == -ECANCELED)
        verify_cancelled(r, unr_supports(&s->op));
    else
        verify_completed(r, unr_supports(&s->op));
    unr_sim_check(r->error <= 0 && r->error != -EIO, "no error that nobody asked for");
    outcome("%s error %d verdict %u bytes %llu", s->type->name, r->error, r->verdict,
            (unsigned long long)r->bytes);
    s->type->verify(s);
}

/* ---- running them ---- */

struct settings {
    struct unr_explore_options options;
    double                     seconds;
    FILE                      *outcomes; /* or NULL */
    bool                       quiet;
    unsigned                   names;
    char                     **name;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool wanted(const struct settings *settings, const struct scenario *scenario)
{
    if (settings->options.linux_version && settings->options.linux_version < scenario->since)
        return false;
    for (unsigned i = 0; i < settings->names; i++)
        if (fnmatch(settings->name[i], scenario->name, 0) == 0)
            return true;
    return settings->names == 0;
}

static void run_scenario(void *scenario)
{
    running = scenario;
    running->run(scenario);
}

/* Sends standard error to nowhere, and returns what it was, for listen_again(). */
static int be_deaf(void)
{
    int was = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDERR_FILENO);
    close(nowhere);
    return was;
}

static void listen_again(int was)
{
    dup2(was, STDERR_FILENO);
    close(was);
}

static uint64_t all_schedules;

/* True: it went as it was meant to. */
static bool explore(const struct scenario *scenario, const struct settings *settings)
{
    struct unr_explore_options options = settings->options;
    struct unr_exploration     found;
    if (scenario->sampled && options.driver == UNR_EXHAUSTIVE)
        options.driver = UNR_PCT;
    if (options.driver == UNR_EXHAUSTIVE)
        options.deviations_max = scenario->deviations_max;
    options.faults |= scenario->faults;
    if (scenario->linux_version)
        options.linux_version = scenario->linux_version;
    outcome_count = 0;
    faults = options.faults;
    bool   deaf = settings->quiet && scenario->fails_with; /* the library says what it found */
    int    stderr_was = deaf ? be_deaf() : -1;
    double begin = now();
    int    error = unr_explore(run_scenario, (void *)scenario, &options, &found);
    double seconds = now() - begin;
    if (deaf)
        listen_again(stderr_was);
    bool passed = scenario->fails_with && error
                      ? strstr(found.failure, scenario->fails_with) != NULL
                      : error == 0;
    if (scenario->fails_with && !error && options.driver == UNR_EXHAUSTIVE)
        passed = false; /* the other drivers need luck */
    all_schedules += found.schedules;
    if (!settings->quiet || !passed)
        printf("%-32s %9llu schedules%s %4u deep %4u outcomes %8.0f/s%s\n", scenario->name,
               (unsigned long long)found.schedules, found.complete ? ", all" : "     ", found.depth,
               outcome_count, (double)found.schedules / seconds,
               !passed                ? "  FAILED"
               : scenario->fails_with ? "  fails, as it should"
                                      : "");
    if (!passed || (scenario->fails_with && !settings->quiet))
        printf("    %s\n    replay: %s\n",
               error ? found.failure : "it was meant to fail, and did not",
               error ? found.schedule : "-");
    for (unsigned i = 0; settings->outcomes && !scenario->fails_with && i < outcome_count; i++)
        fprintf(settings->outcomes, "%s\t%s\n", scenario->name, outcomes[i]);
    if (settings->outcomes)
        fflush(settings->outcomes);
    return passed;
}

static int usage(void)
{
    fprintf(stderr, "usage: scenarios [--driver exhaustive|random|pct] [--schedules N] [--seconds "
                    "N] [--seed N]\n"
                    "                 [--replay SCHEDULE] [--faults N] [--linux 601] [--outcomes "
                    "FILE] [--quiet] "
                    "[NAME...]\n");
    return 2;
}

static bool parse(int argc, char **argv, struct settings *settings)
{
    int i = 1;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        const char *value = argv[i + 1];
        if (!strcmp(argv[i], "--driver"))
            settings->options.driver = !strcmp(value, "random") ? UNR_RANDOM
                                       : !strcmp(value, "pct")  ? UNR_PCT
                                                                : UNR_EXHAUSTIVE;
        else if (!strcmp(argv[i], "--schedules"))
            settings->options.schedules_max = strtoull(value, NULL, 0);
        else if (!strcmp(argv[i], "--seconds"))
            settings->seconds = atof(value);
        else if (!strcmp(argv[i], "--faults"))
            settings->options.faults = (unsigned)strtoul(value, NULL, 0);
        else if (!strcmp(argv[i], "--linux"))
            settings->options.linux_version = (unsigned)strtoul(value, NULL, 0);
        else if (!strcmp(argv[i], "--outcomes")) {
            if (!(settings->outcomes = fopen(value, "a")))
                return false;
        } else if (!strcmp(argv[i], "--seed"))
            settings->options.seed = strtoull(value, NULL, 0);
        else if (!strcmp(argv[i], "--replay")) {
            settings->options.driver = UNR_REPLAY;
            settings->options.replay = value;
        } else if (!strcmp(argv[i], "--quiet")) {
            settings->quiet = true;
            i--;
        } else
            return false;
    }
    if (i < argc && !strcmp(argv[i], "--quiet")) {
        settings->quiet = true;
        i++;
    }
    settings->name = argv + i;
    settings->names = (unsigned)(argc - i);
    return true;
}

int main(int argc, char **argv)
{
    struct settings settings = { .options = { .size = sizeof settings.options, .seed = 1 } };
    if (!parse(argc, argv, &settings))
        return usage();
    const struct scenario *tables[] = {
        scenarios_operations_table(), scenarios_pairs_table(),  scenarios_loops_table(),
        scenarios_sessions_table(),   scenarios_rules_table(),  scenarios_combinators_table(),
        scenarios_composed_table(),   scenarios_lent_table(),   scenarios_unasked_table(),
        scenarios_checks_table(),     scenarios_shots_table(),  scenarios_receivers_table(),
        scenarios_acceptors_table(),  scenarios_pools_table(),  scenarios_sends_table(),
        scenarios_channels_table(),   scenarios_fibers_table(), scenarios_nurseries_table(),
        scenarios_work_table()
    };
    unsigned passed = 0, failed = 0;
    double   begin = now();
    setvbuf(stdout, NULL, _IOLBF, 0);
    do {
        for (unsigned i = 0; i < sizeof tables / sizeof *tables; i++)
            for (const struct scenario *s = tables[i]; s->name; s++)
                if (wanted(&settings, s))
                    *(explore(s, &settings) ? &passed : &failed) += 1;
        settings.options.seed++;
    } while (failed == 0 && now() - begin < settings.seconds);
    printf("scenarios: %llu schedules in %.1f s\nscenarios: %u passed, %u failed\n",
           (unsigned long long)all_schedules, now() - begin, passed, failed);
    return failed != 0 || passed == 0;
}
