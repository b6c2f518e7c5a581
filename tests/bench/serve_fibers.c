/* SPDX-License-Identifier: MIT */
/* The echo server and the proxy with unring's fibers: one for each connection, and of a proxy one
 * for each direction besides.  The command line is in bench.h, at serve_options(). */
#include <unring.h>

#include "bench.h"

struct direction {
    int from, to;
};

static struct unr_nursery   connections;
static struct serve_options options;
static struct sockaddr_in   target;
static int                  listener;
static long                 sessions;

static int pump(void *argument)
{
    const struct direction *direction = argument;
    struct unr_op           op = { 0 };
    char                   *buffer = malloc((size_t)options.size);
    int64_t                 received, sent = 0;

    if (!buffer)
        die("malloc", ENOMEM);
    while (sent >= 0
           && (received =
                   unr_await_value(unr_recv(&op, direction->from, buffer, (size_t)options.size, 0)))
                  > 0)
        for (int64_t at = 0; at < received && sent >= 0; at += sent)
            sent = unr_await_value(
                unr_send(&op, direction->to, buffer + at, (size_t)(received - at), 0));
    free(buffer);
    return 0;
}

/* The first direction that ends cancels the other. */
static void relay(int client)
{
    struct unr_fiber forth = { 0 }, back = { 0 };
    struct unr_group group = { 0 };
    struct unr_op    op = { 0 };
    int              server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct direction there = { client, server }, here = { server, client };
    struct unr_op   *both[] = { unr_fiber(&forth, pump, &there), unr_fiber(&back, pump, &here) };

    no_delay(server);
    if (!unr_await_value(unr_connect(&op, server, (struct sockaddr *)&target, sizeof target)))
        unr_await(unr_group(&group, both, 2, unr_wait_one, NULL));
    close(server);
}

static int session(void *argument)
{
    int              client = (int)(intptr_t)argument;
    struct direction echo = { client, client };

    no_delay(client);
    if (options.target_port)
        relay(client);
    else
        pump(&echo);
    close(client);
    if (--sessions == 0)
        unr_nursery_cancel(&connections, UNR_CANCEL_ALL, -ECANCELED);
    return 0;
}

static int accept_all(void *argument)
{
    struct unr_op op = { 0 };
    int64_t       fd;

    (void)argument;
    while ((fd = unr_await_value(unr_accept(&op, listener, NULL, NULL, SOCK_CLOEXEC))) >= 0) {
        sessions++;
        if (unr_nursery_spawn(&connections, session, (void *)(intptr_t)fd) < 0)
            die("unr_nursery_spawn", ENOMEM);
    }
    return 0;
}

static int serve(void *argument)
{
    (void)argument;
    listener = listen_and_tell(SOCK_CLOEXEC);
    unr_nursery_open(&connections, UNR_NURSERY_INDEPENDENT);
    if (unr_nursery_spawn(&connections, accept_all, NULL) < 0)
        die("unr_nursery_spawn", ENOMEM);
    unr_nursery_close(&connections, 0);
    return 0;
}

int main(int argc, char **argv)
{
    int error;

    options = serve_options(argc, argv);
    target = loopback(options.target_port);
    error = unr_run_fiber(NULL, serve, NULL);
    if (error < 0)
        die("unr_run_fiber", error);
    return 0;
}
