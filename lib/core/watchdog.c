/* SPDX-License-Identifier: MIT */
/* The watchdog as a thread, from the first watch that is opened to the last that is closed.
 *
 * It looks at all watches several times in the shortest of their limits.  What it sees twice in a
 * row is one run, and gets the time that has passed between the two looks:
 *   - so much processor time as the thread has had;
 *   - but all of it if the thread was waiting in a system call at both looks, for it keeps its loop
 *     waiting, too.
 * So a run has no part in the time for which its thread could run and got no processor.  Nor has it
 * in the time for which the process was stopped, or the machine asleep: then the watchdog itself
 * comes late, and counts as much as if it had come on time. */
#include "watchdog.h"
#include "os.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LOOKS = 4, STACK = 256 << 10 };

/* `run`, while the watchdog reads what runs. */
#define READING UINT64_C(1)

/* In a page that the kernel zeroes in a child of fork(2), which has no watchdog: there it is as in
 * the beginning.  A zeroed mutex is one that is not locked. */
static struct dog {
    pthread_mutex_t starting; /* held to start and end the thread; `lock` may follow, not precede */
    pthread_mutex_t lock;     /* of all that follows */
    pthread_cond_t  changed;  /* `period` is shorter, or `ends` is set */
    pthread_t       thread;
    bool            ends;
    unr_time        period; /* between two looks */
    struct unri_watch *watches;
} * dog;

/* If two threads map one at the same time, the first counts.  No lock is taken, because a child of
 * fork(2) might find it locked for ever. */
static bool map_dog(void)
{
    struct dog *none = NULL, *mapped;
    if (__atomic_load_n(&dog, __ATOMIC_ACQUIRE))
        return true;
    mapped = unri_os_map(sizeof *mapped, true);
    if (mapped
        && !__atomic_compare_exchange_n(&dog, &none, mapped, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
        unri_os_unmap(mapped, sizeof *mapped);
    return mapped;
}

/* ---- the thread of a loop, as another sees it ---- */

/* 0: it has ended. */
static unr_time processor_time(const struct unri_watch *watch)
{
    struct timespec time = { 0 };
    clock_gettime(watch->clock, &time);
    return UNR_SEC(time.tv_sec) + time.tv_nsec;
}

/* The state stands behind the name, which ends with the last parenthesis: proc_pid_stat(5). */
static bool waits_in_system_call(const struct unri_watch *watch)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", watch->thread);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    text[len > 0 ? len : 0] = '\0';
    const char *state = strrchr(text, ')');
    return state && (strncmp(state, ") S", 3) == 0 || strncmp(state, ") D", 3) == 0);
}

/* ---- a look ---- */

struct text {
    char   data[1024];
    size_t len;
};

static void add_name(struct text *text, const struct unri_watch *watch)
{
    unr_time processor = watch->processor - watch->at_first;
    text->len +=
        (size_t)snprintf(text->data + text->len, sizeof text->data - text->len,
                         "unring: a fiber does not wait: %.100s, function %p, has run for %lld ms, "
                         "%lld of them on the processor\n",
                         watch->name, watch->function, (long long)(watch->lasted / UNR_MSEC(1)),
                         (long long)(processor / UNR_MSEC(1)));
}

/* The mark keeps the run from ending while its name is read: unri_watch_end().  Where there is no
 * room in the text, the next look tells. */
static void tell(struct unri_watch *watch, struct text *text)
{
    enum { LONGEST = 256 };
    uint64_t run = watch->seen;
    if (sizeof text->data - text->len < LONGEST)
        return;
    watch->told = true;
    if (!atomic_compare_exchange_strong(&watch->run, &run, run | READING))
        return;
    add_name(text, watch);
    run |= READING;
    atomic_compare_exchange_strong(&watch->run, &run, run & ~READING);
}

static void look_at(struct unri_watch *watch, unr_time passed, struct text *text)
{
    uint64_t run = atomic_load(&watch->run);
    bool     is_new = run != watch->seen;
    if (is_new) {
        watch->seen = run;
        watch->told = watch->slept = false;
        watch->lasted = 0;
    }
    if (run == 0 || watch->told)
        return;
    unr_time before = watch->processor;
    bool     slept = watch->slept;
    watch->processor = processor_time(watch);
    watch->slept = waits_in_system_call(watch);
    if (is_new) {
        watch->at_first = watch->processor;
        return;
    }
    watch->lasted += slept && watch->slept ? passed : watch->processor - before;
    if (watch->lasted >= watch->limit)
        tell(watch, text);
}

/* Waits for the next look.  Returns how much time has passed since the last one, at `*last`. */
static unr_time wait_for_look(unr_time *last)
{
    unr_time        at = unri_sum(*last, dog->period), now;
    struct timespec until = { .tv_sec = at / UNR_SEC(1), .tv_nsec = at % UNR_SEC(1) };
    pthread_cond_timedwait(&dog->changed, &dog->lock, &until);
    now = unri_os_clock();
    unr_time passed = now - *last;
    *last = now;
    return passed > 2 * dog->period ? dog->period : passed;
}

static void *run_dog(void *unused)
{
    unr_time last = unri_os_clock();
    prctl(PR_SET_NAME, "unring-watchdog");
    pthread_mutex_lock(&dog->lock);
    while (!dog->ends) {
        struct text text = { .len = 0 };
        unr_time    passed = wait_for_look(&last);
        for (struct unri_watch *watch = dog->watches; watch; watch = watch->next)
            look_at(watch, passed, &text);
        if (text.len == 0)
            continue;
        pthread_mutex_unlock(&dog->lock);
        ssize_t ignored = write(STDERR_FILENO, text.data, text.len);
        (void)ignored;
        pthread_mutex_lock(&dog->lock);
    }
    pthread_mutex_unlock(&dog->lock);
    return unused;
}

/* ---- the thread ---- */

/* Signals of the program are for its own threads. */
static int create_thread(void)
{
    sigset_t       all, before;
    pthread_attr_t attributes;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&dog->thread, &attributes, run_dog, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -error;
}

static int start(void)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&dog->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    dog->ends = false;
    int error = create_thread();
    if (error)
        pthread_cond_destroy(&dog->changed);
    return error;
}

static void end(void)
{
    pthread_mutex_lock(&dog->lock);
    dog->ends = true;
    pthread_cond_signal(&dog->changed);
    pthread_mutex_unlock(&dog->lock);
    pthread_join(dog->thread, NULL);
    pthread_cond_destroy(&dog->changed);
}

/* ---- watches ---- */

static void set_period(void)
{
    unr_time shortest = UNR_SEC(LOOKS);
    for (struct unri_watch *watch = dog->watches; watch; watch = watch->next)
        if (watch->limit < shortest)
            shortest = watch->limit;
    dog->period = shortest < UNR_MSEC(LOOKS) ? UNR_MSEC(1) : shortest / LOOKS;
}

/* A thread that starts waits for the lock. */
static int enter(struct unri_watch *watch)
{
    int error = 0;
    pthread_mutex_lock(&dog->starting);
    pthread_mutex_lock(&dog->lock);
    if (!dog->watches)
        error = start();
    else
        pthread_cond_signal(&dog->changed);
    if (error == 0) {
        watch->next = dog->watches;
        if (watch->next)
            watch->next->previous = watch;
        dog->watches = watch;
        set_period();
    }
    pthread_mutex_unlock(&dog->lock);
    pthread_mutex_unlock(&dog->starting);
    return error;
}

static void leave(struct unri_watch *watch)
{
    pthread_mutex_lock(&dog->starting);
    pthread_mutex_lock(&dog->lock);
    if (watch->next)
        watch->next->previous = watch->previous;
    if (watch->previous)
        watch->previous->next = watch->next;
    else
        dog->watches = watch->next;
    bool was_last = !dog->watches;
    set_period();
    pthread_mutex_unlock(&dog->lock);
    if (was_last)
        end();
    pthread_mutex_unlock(&dog->starting);
}

int unri_watch_open(struct unri_watch **ret_watch, unr_time limit)
{
    struct unri_watch *watch = calloc(1, sizeof *watch);
    if (!map_dog() || !watch) {
        free(watch);
        return -ENOMEM;
    }
    watch->limit = limit;
    int error = enter(watch);
    if (error) {
        free(watch);
        return error;
    }
    *ret_watch = watch;
    return 0;
}

void unri_watch_close(struct unri_watch *watch, bool forked)
{
    if (!forked)
        leave(watch);
    free(watch);
}

void unri_watch_this_thread(struct unri_watch *watch)
{
    watch->thread = (int)syscall(SYS_gettid);
    pthread_getcpuclockid(pthread_self(), &watch->clock);
}

/* ---- runs: the thread of the loop ---- */

void unri_watch_begin(struct unri_watch *watch, const char *name, void *function)
{
    watch->name = name;
    watch->function = function;
    watch->last_run += 2 * READING;
    atomic_store_explicit(&watch->run, watch->last_run, memory_order_release);
}

/* What has run may free its name next, so this waits for a watchdog that reads it. */
void unri_watch_end(struct unri_watch *watch)
{
    if (unlikely(atomic_exchange(&watch->run, 0) & READING)) {
        pthread_mutex_lock(&dog->lock);
        pthread_mutex_unlock(&dog->lock);
    }
}
