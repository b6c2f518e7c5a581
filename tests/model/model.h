/* SPDX-License-Identifier: MIT */
/* A model checker for threads that share memory: it runs the real code in every order in which its
 * accesses may come.  model.c says how. */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_THREADS = 3 };

struct model {
    void  *world; /* the memory that the threads share; all of it is in here */
    size_t size;  /* of the world: a multiple of 32 */

    /* Fills the zeroed world, before there are threads. */
    void (*begin)(void);

    /* What each thread does. */
    void (*body)(unsigned thread);

    /* Checks the world that the threads have left. */
    void (*end)(void);

    /* Tells whether an address outside of the world is one thread's own, as a thread-local variable
     * is. */
    bool (*is_own)(const void *address);

    /* Writes what a person calls an address of the world. */
    void (*name)(const void *address, char *text, size_t size);
    const char *threads[MODEL_THREADS];
};

struct model_found {
    size_t states, steps, depth;
    char   failure[200]; /* in words; empty: none */
    char   schedule[1000];
};

/* Explores all schedules, or until one fails.  False: one did.  `schedule` is NULL, or a schedule
 * that was found, which is then run alone, and told step by step. */
bool model_explore(const struct model *model, const char *schedule, struct model_found *ret_found);

/* ---- what a thread calls, besides the code that is checked ---- */

/* The thread begins an action.  It keeps nothing on its stack from the one before. */
void model_action(const char *name);

/* The thread makes a step that is none of its accesses: a call of the kernel, say.  Others may go
 * first.  The memory that the step is about is read and written behind the call. */
void model_step(const char *what);

/* The same, and the thread waits until `ready`. */
void model_wait(bool (*ready)(void), const char *what);

/* Waits until all other threads have ended. */
void model_join(void);

/* What the thread has read in this action is forgotten.  Its stack is determined by the world, the
 * action and this value. */
void model_stack_is(uint64_t value);

/* The thread has read a value where the checker does not look. */
void model_saw(uint64_t value);

/* All that this thread has done happens before what another does that then acquires. */
void model_release(const void *object);
void model_acquire(const void *object);

/* Nobody may touch this memory any more. */
void model_kill(const void *address, size_t size);

/* Ends the schedule: it shows a fault. */
_Noreturn void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For functions that keep the books of the test: the checker does not look into them. */
#define MODEL_UNSEEN __attribute__((no_sanitize("thread"), noinline))

#endif
