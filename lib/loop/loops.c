/* SPDX-License-Identifier: MIT */
/* All loops of the process, for debuggers: ../unring-gdb.py finds them by the name unri_loops. */
#include "loop.h"

#include <pthread.h>

static struct unri_whole_loop *unri_loops;
static pthread_mutex_t         lock = PTHREAD_MUTEX_INITIALIZER;

static void take_lock(void)
{
    pthread_mutex_lock(&lock);
}

static void give_lock(void)
{
    pthread_mutex_unlock(&lock);
}

/* A child of fork(2) opens loops, also where another thread was in the middle of that. */
__attribute__((constructor(101))) static void keep_through_forks(void)
{
    pthread_atfork(take_lock, give_lock, give_lock);
}

void unri_loops_enter(struct unri_whole_loop *whole)
{
    take_lock();
    whole->next_loop = unri_loops;
    whole->previous_loop = NULL;
    if (unri_loops)
        unri_loops->previous_loop = whole;
    unri_loops = whole;
    give_lock();
}

void unri_loops_leave(struct unri_whole_loop *whole)
{
    take_lock();
    if (whole->next_loop)
        whole->next_loop->previous_loop = whole->previous_loop;
    if (whole->previous_loop)
        whole->previous_loop->next_loop = whole->next_loop;
    else
        unri_loops = whole->next_loop;
    give_lock();
}
