/* SPDX-License-Identifier: MIT */
/* What Criterion lacks, linked into every test program: a time-out for the tests that set none, and
 * peace with the sanitizers.  A test program is two kinds of process: a runner, and one for each
 * test, which begins anew. */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <stdlib.h>

#define TIMEOUT_SECONDS 10

static bool is_runner;

/* The sanitizers and valgrind are slower: tests/run says how much. */
static double timeout_factor(void)
{
    const char *text = getenv("TEST_TIMEOUT_FACTOR");
    double      factor = text ? atof(text) : 1;
    return factor > 0 ? factor : 1;
}

/* Runs in the runner, before all tests.  Criterion's --timeout only lowers what a test has set
 * itself. */
ReportHook(PRE_ALL)(struct criterion_test_set *all)
{
    is_runner = true;
    double factor = timeout_factor();
    FOREACH_SET(struct criterion_suite_set *suite, all->suites) {
        const struct criterion_test_extra_data *shared = suite->suite.data;
        double general = shared && shared->timeout > 0 ? shared->timeout : TIMEOUT_SECONDS;
        FOREACH_SET(struct criterion_test *test, suite->tests) {
            double *timeout = &test->data->timeout;
            *timeout = (*timeout > 0 ? *timeout : general) * factor;
        }
    }
}

#if defined(__SANITIZE_ADDRESS__)
#define ADDRESS_SANITIZER 1
#elif defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ADDRESS_SANITIZER 1
#elif __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif

#ifdef ADDRESS_SANITIZER
#include <sanitizer/lsan_interface.h>

/* The runner now and then forgets 48 bytes of its own; what the tests forget is reported by their
 * processes. */
int __lsan_is_turned_off(void)
{
    return is_runner;
}
#endif

#ifdef THREAD_SANITIZER
/* Criterion shares memory with its tests at an address that it makes of rand_r(), and gives up
 * where it cannot have it; these numbers lead into the part of the address space that
 * ThreadSanitizer leaves to the program (github.com/Snaipe/Criterion, issue 274). */
int rand_r(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return (int)(0x350000 + (*seed >> 8) % 0x18000);
}
#endif
