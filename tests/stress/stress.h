/* SPDX-License-Identifier: MIT */
/* What the stress programs share: options, random numbers that a seed repeats, and ends that say
 * what was wrong.
 *
 *   --seed N      repeats a run; also SEED in the environment; printed at the start
 *   --cancels N   how many cancellations; with SHORT in the environment, few */
#ifndef STRESS_H
#define STRESS_H

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <unring.h>

static struct {
    const char *program;
    uint64_t    seed;
    uint64_t    cancels;
} options;

static char where[64]; /* which part of the program this process is in */

/* ---- ends ---- */

/* Ends the process, and says why and how to have it again. */
#define fail(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "%s: %s: ", options.program, where);                                       \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fprintf(stderr, "\n%s: failed with --seed %" PRIu64 "\n", options.program, options.seed);  \
        _exit(1);                                                                                  \
    } while (0)

#define check(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail("line %d: %s", __LINE__, #condition);                                             \
    } while (0)

/* What the environment must grant: the call's result. */
#define must(call) must_not_fail((call), #call, __LINE__)

static inline int must_not_fail(long result, const char *call, int line)
{
    if (result < 0)
        fail("line %d: %s: %s", line, call, strerror(errno));
    return (int)result;
}

/* ---- random numbers ---- */

static inline uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static uint64_t random_state;

static inline void seed_random(uint64_t part)
{
    random_state = mix(options.seed ^ mix(part));
}

/* Below `n`. */
static inline unsigned below(unsigned n)
{
    random_state += 0x9e3779b97f4a7c15;
    return (unsigned)((mix(random_state) >> 32) * n >> 32);
}

static inline bool one_in(unsigned n)
{
    return below(n) == 0;
}

/* ---- options ---- */

/* Reads the options.  What is left of the arguments are names: returns how many, with `argv` moved
 * up. */
static inline int read_options(int argc, char **argv, uint64_t cancels, uint64_t few)
{
    const char *seed = getenv("SEED");
    int         names = 0;
    options.program = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    options.seed = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) << 16 ^ (uint64_t)getpid();
    options.cancels = getenv("SHORT") ? few : cancels;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
            options.seed = strtoull(argv[++i], NULL, 0);
        else if (strcmp(argv[i], "--cancels") == 0 && i + 1 < argc)
            options.cancels = strtoull(argv[++i], NULL, 0);
        else if (argv[i][0] != '-')
            argv[names++] = argv[i];
        else {
            fprintf(stderr, "usage: %s [--seed N] [--cancels N] [PART...]\n", options.program);
            exit(2);
        }
    }
    printf("%s: --seed %" PRIu64 " --cancels %" PRIu64 "\n", options.program, options.seed,
           options.cancels);
    fflush(stdout);
    return names;
}

static inline double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- the loop ---- */

static struct unr_loop *loop;

/* A process that hangs shows what is in flight, and so does its child. */
static volatile pid_t child;

static inline void out_of_time(int signal_number)
{
    static const char text[] = ": it hangs\n";
    (void)!write(STDERR_FILENO, where, strlen(where));
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    if (loop)
        unr_loop_dump(loop, STDERR_FILENO);
    if (child > 0) {
        kill(child, signal_number);
        sleep(1);
    }
    fprintf(stderr, "%s: failed with --seed %" PRIu64 "\n", options.program, options.seed);
    _exit(1);
}

/* Has the process end if it takes much longer than `cancels` should. */
static inline void guard(uint64_t cancels)
{
    const char *factor = getenv("TEST_TIMEOUT_FACTOR");
    unsigned    times = factor && atoi(factor) > 1 ? (unsigned)atoi(factor) : 1;
    signal(SIGALRM, out_of_time);
    alarm((30 + (unsigned)(cancels / 5000)) * times);
}

static inline void open_loop(struct unr_loop_options with)
{
    with.size = sizeof with;
    int error = unr_loop_open(&loop, &with);
    if (error < 0)
        fail("no loop: %s", unr_explain(error));
}

static inline void turn(unr_time timeout)
{
    int n = unr_loop_run_once(loop, timeout);
    if (n < 0)
        fail("a turn failed: %s", strerror(-n));
}

static inline struct unr_stats stats_of_loop(void)
{
    struct unr_stats stats;
    unr_loop_stats(loop, &stats, sizeof stats);
    return stats;
}

/* A random mask of types, mostly the whole. */
static inline unsigned random_types(void)
{
    return one_in(2) ? UNR_CANCEL_ALL : 1 + below(UNR_CANCEL_ALL);
}

/* ---- what was asked of an operation, and what its result must therefore say ---- */

struct asked {
    unsigned types;
    unsigned honoured; /* of the first request that was, 0: none */
    int      cause;    /* of that; while none was honoured, of the last */
};

static inline void note_request(struct asked *asked, unsigned supports, unsigned types, int cause)
{
    asked->types |= types;
    if (asked->honoured)
        return;
    asked->honoured = types & supports;
    asked->cause = cause;
}

/* Ends the process unless the result agrees with itself and with what was asked. */
static inline void check_result(const struct unr_op *op, const struct asked *asked,
                                unsigned supports)
{
    const struct unr_result *r = &op->result;
    unsigned                 strongest =
        supports & UNR_CANCEL_TOTAL ? UNR_CANCEL_TOTAL : supports & UNR_CANCEL_PARTIAL;
    bool cancelled = r->error == -ECANCELED;
    bool right = r->requested == asked->types && r->cause == asked->cause;
    switch (r->verdict) {
    case UNR_VERDICT_NONE: right &= !cancelled && !asked->types; break;
    case UNR_VERDICT_UNSUBMITTED:
        right &= cancelled && asked->honoured && r->guarantee == UNR_CANCEL_TOTAL;
        break;
    case UNR_VERDICT_CANCELLED:
        right &= cancelled && asked->honoured && r->guarantee == strongest;
        break;
    case UNR_VERDICT_RUNNING: right &= !cancelled && asked->honoured; break;
    case UNR_VERDICT_REFUSED: right &= !cancelled && asked->types && !asked->honoured; break;
    case UNR_VERDICT_TOO_LATE: /* between completion and `done` it is the first cause that stays,
                                  honoured or not */
        right = !cancelled && asked->types && r->requested == asked->types && r->cause < 0;
        break;
    default: right = false;
    }
    if (!cancelled)
        right &= r->guarantee == UNR_CANCEL_NONE;
    else if (r->guarantee == UNR_CANCEL_TOTAL)
        right &= r->bytes == 0;
    if (!right)
        fail("asked for %#x (honoured %#x) with cause %d; the result: verdict %u, guarantee %u, "
             "requested %#x, cause %d, %s",
             asked->types, asked->honoured, asked->cause, r->verdict, r->guarantee, r->requested,
             r->cause, unr_explain_op(op));
}

#endif
