/* SPDX-License-Identifier: MIT */
/* What tests/test_gdb.sh looks at: three fibers, two of which wait, and a thread that is in a call.
 * With an argument, a server with a thousand fibers and a thousand timers, which crashes: in a
 * `done`, or in a fiber. */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <unring.h>

static int fds[2];

static int deep(int depth)
{
    char          byte;
    struct unr_op op = { 0 };
    if (depth)
        return deep(depth - 1) + 1;
    return (int)unr_await_value(unr_recv(&op, fds[0], &byte, 1, 0));
}

static int reads(void *argument)
{
    (void)argument;
    return deep(3);
}

static int sleeps(void *argument)
{
    (void)argument;
    return unr_sleep(UNR_SEC(50));
}

static int top(void *argument)
{
    static const struct unr_fiber_options named = { .size = sizeof named, .name = "the reader" };
    struct unr_nursery                    nursery;
    (void)argument;
    socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
    unr_nursery_open(&nursery, 0);
    unr_nursery_spawn_with(&nursery, reads, NULL, &named);
    unr_nursery_spawn(&nursery, sleeps, NULL);
    unr_yield();
    unr_yield();
    unr_nursery_cancel(&nursery, UNR_CANCEL_TOTAL, -7); /* which both children refuse */
    raise(SIGUSR1);
    unr_nursery_cancel(&nursery, UNR_CANCEL_ALL, -ECANCELED);
    return unr_nursery_close(&nursery, 0);
}

enum { MANY = 1000 };

static struct unr_timer timers[MANY];

static void crash(struct unr_op *op)
{
    raise(op ? SIGSEGV : SIGBUS);
}

static int serves(void *in_done)
{
    static const struct unr_fiber_options small = { .size = sizeof small, .stack = 16384 };
    struct unr_nursery                    sessions;
    socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
    unr_nursery_open(&sessions, 0);
    for (int i = 0; i < MANY; i++)
        unr_nursery_spawn_with(&sessions, reads, NULL, &small);
    for (int i = 0; i < MANY; i++)
        unr_start(unr_fiber_loop(), unr_timer_after(&timers[i], UNR_SEC(50)), crash, NULL);
    unr_yield();
    unr_yield();
    if (in_done)
        unr_timer_move(&timers[0], 0);
    else
        crash(NULL);
    return unr_sleep(UNR_SEC(50));
}

int main(int argc, char **argv)
{
    return unr_run_fiber(NULL, argc > 1 ? serves : top,
                         argc > 1 && argv[1][0] == 'd' ? argv : NULL);
}
