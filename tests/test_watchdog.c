/* SPDX-License-Identifier: MIT */
/* unr_loop_options.fiber_slow: which fibers are named, and which are not; the thread that does it.
 *
 * No test waits for a time.  What is to be named runs until it sees its name on standard error,
 * which is a pipe; and that something else has been named several times tells that as much time has
 * passed in which a fiber was not. */
#include "support.h"

#include <dlfcn.h>
#include <pthread.h>
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

TestSuite(watchdog, .timeout = 60);

enum { LIMIT_MS = 20, OFTEN = 3 };

/* ---- standard error ---- */

static struct {
    pthread_mutex_t lock;
    int             ends[2], was;
    char            text[8192];
    size_t          len;
} said = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void listen_to_stderr(void)
{
    must(pipe2(said.ends, O_CLOEXEC) == 0);
    must(fcntl(said.ends[0], F_SETFL, O_NONBLOCK) == 0);
    said.was = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    dup2(said.ends[1], STDERR_FILENO);
}

static void listen_no_more(void)
{
    dup2(said.was, STDERR_FILENO);
    close(said.was);
    close_pair(said.ends);
}

/* How often a fiber was named.  Any thread. */
static int times_named(const char *name)
{
    int  times = 0;
    char words[64];
    snprintf(words, sizeof words, "unring: a fiber does not wait: %s,", name);
    pthread_mutex_lock(&said.lock);
    ssize_t n = read(said.ends[0], said.text + said.len, sizeof said.text - 1 - said.len);
    if (n > 0)
        said.len += (size_t)n;
    for (const char *at = said.text; (at = strstr(at, words)) != NULL; at++)
        times++;
    pthread_mutex_unlock(&said.lock);
    return times;
}

/* ---- loops and fibers ---- */

static struct unr_loop *open_watching(unr_time limit)
{
    struct unr_loop_options options = { .size = sizeof options,
                                        .flags = test_flags(),
                                        .fiber_slow = limit };
    struct unr_loop        *opened = NULL;
    int                     error = unr_loop_open(&opened, &options);
    if (error)
        skip_if_refused();
    cr_assert_eq(error, 0, "%s", unr_explain(error));
    return opened;
}

/* Runs a fiber of a name on the loop, and closes that. */
static void run_fiber(struct unr_loop *on, const char *name, unr_fiber_fn *fn, void *argument)
{
    struct unr_fiber         fiber = { 0 };
    struct unr_fiber_options options = { .size = sizeof options, .name = name };
    unr_start(on, unr_fiber_with(&fiber, fn, argument, &options), NULL, NULL);
    must(unr_loop_run(on) == 0);
    must(fiber.op.result.error == 0);
    must(unr_loop_close(on) == 0);
}

static void spin_until_named(const char *name, int times)
{
    while (times_named(name) < times)
        ;
}

static int spins(void *argument)
{
    (void)argument;
    spin_until_named("ferry", 1);
    return 0;
}

/* ---- the ferry: a fiber of another thread, which is named in run after run ---- */

static atomic_bool ferry_ends;
static atomic_int ferry_named; /* how often; for who must not wait for the lock of standard error */

static int ferries(void *argument)
{
    (void)argument;
    while (!ferry_ends) {
        while (times_named("ferry") == ferry_named && !ferry_ends)
            ;
        ferry_named = times_named("ferry");
        must(unr_yield() == 0);
    }
    return 0;
}

static void *run_ferry(void *on)
{
    run_fiber(on, "ferry", ferries, NULL);
    return NULL;
}

static pthread_t start_ferry(void)
{
    pthread_t thread;
    must(pthread_create(&thread, NULL, run_ferry, open_watching(UNR_MSEC(LIMIT_MS))) == 0);
    return thread;
}

static void end_ferry(pthread_t thread)
{
    ferry_ends = true;
    pthread_join(thread, NULL);
}

/* ---- who is named ---- */

/* The name, the function, and how long, are told while the fiber runs. */
Test(watchdog, a_fiber_that_computes_is_named)
{
    long             milliseconds, processor;
    void            *function;
    unr_fiber_fn    *expected = spins;
    struct unr_loop *watching = open_watching(UNR_MSEC(LIMIT_MS));
    listen_to_stderr();
    run_fiber(watching, "ferry", spins, NULL);
    listen_no_more();
    const char *found = strstr(said.text, "ferry");
    cr_assert_eq(sscanf(found,
                        "ferry, function %p, has run for %ld ms, %ld of them on the processor",
                        &function, &milliseconds, &processor),
                 3, "%s", said.text);
    cr_assert(memcmp(&function, &expected, sizeof function) == 0, "%s", said.text);
    cr_assert_geq(milliseconds, LIMIT_MS);
    cr_assert_leq(processor, milliseconds);
}

static int waits_in_poll(void *argument)
{
    (void)argument;
    wait_readable(said.ends[0]);
    return 0;
}

/* A system call that waits keeps the loop from everything else, too. */
Test(watchdog, a_fiber_that_waits_in_a_system_call_is_named)
{
    struct unr_loop *watching = open_watching(UNR_MSEC(LIMIT_MS));
    if (access("/proc/self/task", R_OK) != 0)
        cr_skip_test("there is no /proc, which tells who waits");
    listen_to_stderr();
    run_fiber(watching, "ferry", waits_in_poll, NULL);
    cr_assert_eq(times_named("ferry"), 1);
    listen_no_more();
}

/* Returns how often it has been named in its first run. */
static int spins_in_two_runs(void *argument)
{
    (void)argument;
    spin_until_named("raft", 1);
    for (int before = ferry_named; ferry_named < before + OFTEN;)
        ;
    int in_first_run = times_named("raft");
    must(unr_yield() == 0);
    spin_until_named("raft", in_first_run + 1);
    must(in_first_run == 1);
    return 0;
}

Test(watchdog, a_fiber_is_named_once_until_it_waits)
{
    struct unr_loop *watching = open_watching(UNR_MSEC(LIMIT_MS));
    listen_to_stderr();
    pthread_t ferry = start_ferry();
    run_fiber(watching, "raft", spins_in_two_runs, NULL);
    end_ferry(ferry);
    listen_no_more();
}

/* ---- who is not ---- */

/* Computes for most of the time, a fiftieth of the limit at a time: longer than a look takes. */
static int yields(void *argument)
{
    enum { SOME = 200000 };
    (void)argument;
    while (ferry_named < OFTEN) {
        for (volatile int i = 0; i < SOME; i++)
            ;
        must(unr_yield() == 0);
    }
    return 0;
}

static int computes(void *argument)
{
    (void)argument;
    while (ferry_named < OFTEN)
        ;
    return 0;
}

/* A fiber that waits again and again is not named, however much it does in all. */
Test(watchdog, a_fiber_that_waits_is_not_named)
{
    struct unr_loop *watching = open_watching(UNR_MSEC(LIMIT_MS));
    listen_to_stderr();
    pthread_t ferry = start_ferry();
    run_fiber(watching, "swift", yields, NULL);
    end_ferry(ferry);
    cr_assert_eq(times_named("swift"), 0, "%s", said.text);
    listen_no_more();
}

Test(watchdog, a_loop_that_does_not_ask_is_not_watched)
{
    struct unr_loop *plain = open_watching(0);
    listen_to_stderr();
    pthread_t ferry = start_ferry();
    run_fiber(plain, "plain", computes, NULL);
    end_ferry(ferry);
    cr_assert_eq(times_named("plain"), 0, "%s", said.text);
    listen_no_more();
}

/* On the processor of the ferry, and only while that leaves it to others. */
static bool stay_in_the_background(int processor)
{
    cpu_set_t          one;
    struct sched_param none = { 0 };
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0
           && sched_setscheduler(0, SCHED_IDLE, &none) == 0;
}

static int ferries_on(void *argument)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(*(int *)argument, &one);
    must(sched_setaffinity(0, sizeof one, &one) == 0);
    return ferries(NULL);
}

static int the_processor; /* of the ferry, and of who gets none */

static void *run_ferry_on_it(void *on)
{
    run_fiber(on, "ferry", ferries_on, &the_processor);
    return NULL;
}

/* A fiber whose thread could run, and gets no processor, has not run. */
Test(watchdog, a_fiber_without_a_processor_is_not_named)
{
    pthread_t ferry;
    the_processor = sched_getcpu();
    if (RUNNING_ON_VALGRIND)
        cr_skip_test("valgrind has one thread run after another");
    struct unr_loop *watching = open_watching(UNR_MSEC(LIMIT_MS));
    listen_to_stderr();
    must(pthread_create(&ferry, NULL, run_ferry_on_it, open_watching(UNR_MSEC(LIMIT_MS))) == 0);
    spin_until_named("ferry", 1);
    if (!stay_in_the_background(the_processor))
        cr_skip_test("there is no SCHED_IDLE: %s", strerror(errno));
    run_fiber(watching, "starved", computes, NULL);
    end_ferry(ferry);
    cr_assert_eq(times_named("starved"), 0, "%s", said.text);
    listen_no_more();
}

/* ---- the process is stopped ---- */

static void skip_if_children_have_no_threads(void)
{
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
    cr_skip_test("ThreadSanitizer lets a forked child start no threads");
#endif
#endif
}

enum { STOPPED_MS = 1000 };

static int        release[2]; /* a pipe */
static atomic_int blocked_thread;

static int waits_for_release(void *argument)
{
    (void)argument;
    blocked_thread = thread_id();
    wait_readable(release[0]);
    return 0;
}

static void *run_blocked(void *on)
{
    run_fiber(on, "blocked", waits_for_release, NULL);
    return NULL;
}

/* The watchdog has looked at both when the ferry is named. */
static int stops_the_process(void *argument)
{
    (void)argument;
    while (blocked_thread == 0)
        ;
    until_asleep(blocked_thread);
    spin_until_named("ferry", 1);
    must(unr_yield() == 0);
    kill(getpid(), SIGSTOP);
    spin_until_named("ferry", 2);
    must(times_named("blocked") == 0);
    must(write(release[1], "", 1) == 1);
    return 0;
}

static void be_stopped(void)
{
    pthread_t               blocked;
    struct unr_loop        *of_blocked, *of_ferry;
    struct unr_loop_options options = { .size = sizeof options, .fiber_slow = UNR_MSEC(4) };
    alarm(CHILD_SECONDS);
    must(unr_loop_open(&of_ferry, &options) == 0);
    options.fiber_slow = UNR_MSEC(STOPPED_MS);
    must(unr_loop_open(&of_blocked, &options) == 0);
    must(pipe2(release, O_CLOEXEC) == 0);
    listen_to_stderr();
    must(pthread_create(&blocked, NULL, run_blocked, of_blocked) == 0);
    run_fiber(of_ferry, "ferry", stops_the_process, NULL);
    pthread_join(blocked, NULL);
    _exit(0);
}

/* The time for which the process was stopped does not count for a fiber that waited in a system
 * call.  How long that is, is told by a fiber of this process, which waits for its name. */
Test(watchdog, a_fiber_of_a_stopped_process_is_not_named)
{
    int status;
    skip_if_refused();
    skip_if_children_have_no_threads();
    if (RUNNING_ON_VALGRIND)
        cr_skip_test("valgrind has one thread run after another");
    pid_t child = fork();
    if (child == 0)
        be_stopped();
    cr_assert_eq(waitpid(child, &status, WUNTRACED), child);
    cr_assert(WIFSTOPPED(status), "status %#x", (unsigned)status);
    listen_to_stderr();
    run_fiber(open_watching(UNR_MSEC(STOPPED_MS + STOPPED_MS / 10)), "ferry", waits_in_poll, NULL);
    listen_no_more();
    cr_assert_eq(kill(child, SIGCONT), 0);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0, "status %#x", (unsigned)status);
}

/* ---- the thread ---- */

/* Returns the number of a task of this process that has the name of the watchdog; 0: there is none.
 */
static pid_t find_watchdog(void)
{
    pid_t found = 0;
    char  path[300], name[32] = "";
    DIR  *tasks = opendir("/proc/self/task");
    for (struct dirent *task; tasks && (task = readdir(tasks)) != NULL;) {
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *file = fopen(path, "re");
        if (file && fgets(name, sizeof name, file) && strcmp(name, "unring-watchdog\n") == 0)
            found = atoi(task->d_name);
        if (file)
            fclose(file);
    }
    if (tasks)
        closedir(tasks);
    return found;
}

static void until_watched(bool watched)
{
    while ((find_watchdog() != 0) != watched)
        sched_yield();
}

static bool blocks_signal(pid_t thread, int number)
{
    char               path[64], line[256];
    unsigned long long blocked = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)thread);
    FILE *status = fopen(path, "re");
    while (fgets(line, sizeof line, status))
        sscanf(line, "SigBlk: %llx", &blocked);
    fclose(status);
    return blocked >> (number - 1) & 1;
}

/* It is there from the first loop that asks to the last, and takes no signal of the program's. */
Test(watchdog, its_thread_comes_and_goes)
{
    if (access("/proc/self/task", R_OK) != 0)
        cr_skip_test("there is no /proc, which tells what threads there are");
    open_descriptors = count_descriptors();
    struct unr_loop *plain = open_watching(0);
    cr_assert_eq(find_watchdog(), 0);
    for (int times = 0; times < 2; times++) {
        struct unr_loop *first = open_watching(UNR_SEC(1)), *second = open_watching(1);
        until_watched(true);
        cr_assert(blocks_signal(find_watchdog(), SIGTERM));
        cr_assert(blocks_signal(find_watchdog(), SIGUSR1));
        cr_assert_eq(unr_loop_close(first), 0);
        cr_assert_neq(find_watchdog(), 0);
        cr_assert_eq(unr_loop_close(second), 0);
        until_watched(false);
    }
    loop = plain;
    close_loop();
}

static void use_in_child(void *context)
{
    struct unr_loop_options options = { .size = sizeof options, .fiber_slow = UNR_MSEC(LIMIT_MS) };
    struct unr_loop        *own;
    listen_to_stderr();
    must(unr_loop_open(&own, &options) == 0);
    must(unr_loop_close(context) == 0);
    run_fiber(own, "ferry", spins, NULL);
    must(times_named("ferry") == 1);
}

/* A child of fork(2) has no watchdog, closes the loops that it has inherited, and is given a
 * watchdog with a loop of its own. */
Test(watchdog, a_forked_child_has_one_of_its_own)
{
    skip_if_children_have_no_threads();
    struct unr_loop *watching = open_watching(UNR_MSEC(LIMIT_MS));
    cr_assert_eq(unr_loop_run(watching), 0);
    /* A sanitizer has locks of its own while a thread begins, which a child would find locked. */
    if (access("/proc/self/task", R_OK) == 0) {
        until_watched(true);
        until_asleep(find_watchdog());
    }
    struct death death = in_child(use_in_child, watching);
    expect_success(&death);
    listen_to_stderr();
    run_fiber(watching, "ferry", spins, NULL);
    listen_no_more();
}

#if !SUPPORT_SANITIZED

static bool refuses_threads;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*fn)(void *),
                   void *argument)
{
    int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = NULL;
    if (refuses_threads)
        return EAGAIN;
    *(void **)&create = dlsym(RTLD_NEXT, "pthread_create");
    return create(thread, attributes, fn, argument);
}

/* Where there is no thread for it, a loop that asks is not opened, and the next may be. */
Test(watchdog, no_thread_is_told)
{
    struct unr_loop_options options = { .size = sizeof options, .fiber_slow = 1 };
    struct unr_loop        *opened;
    skip_if_refused();
    open_descriptors = count_descriptors();
    refuses_threads = true;
    cr_assert_eq(unr_loop_open(&opened, &options), -EAGAIN);
    cr_assert_not_null(strstr(unr_explain(-EAGAIN), "fiber_slow"));
    refuses_threads = false;
    cr_assert_eq(unr_loop_open(&loop, &options), 0);
    close_loop();
}

#endif

Test(watchdog, a_time_below_0_is_refused)
{
    struct unr_loop_options options = { .size = sizeof options, .fiber_slow = -1 };
    struct unr_loop        *opened;
    cr_assert_eq(unr_loop_open(&opened, &options), -EINVAL);
}
