/* SPDX-License-Identifier: MIT */
#include "lock.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void unri_lock_process(void)
{
    pthread_mutex_lock(&lock);
}

void unri_unlock_process(void)
{
    pthread_mutex_unlock(&lock);
}

/* Runs before the program's own constructors, and so before any fork. */
__attribute__((constructor(101))) static void keep_through_forks(void)
{
    pthread_atfork(unri_lock_process, unri_unlock_process, unri_unlock_process);
}
