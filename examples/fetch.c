/* SPDX-License-Identifier: MIT */
/* Fetches a page by HTTP, with fibers: a deadline for each phase, and one over all of them.
 *
 * The phases are blocks, one behind the other, as they would be if every call blocked: look the
 * name up, connect, say what is wanted, read the answer.  Each has a cancel scope of its own, whose
 * cause tells which of them took too long.  The one over all lies around them; and Ctrl-C ends it
 * in whichever phase it is.
 *
 * The connect is a race, RFC 8305 (connect_race.c has it in callbacks).  Each address of the name
 * has a fiber.  It waits for its turn: 250 ms behind the one before, or at once when that one has
 * failed.  All are in a nursery, which the first that connects cancels, and which is closed when
 * all have ended.  So nothing is left behind: neither a fiber, nor a socket.
 *
 *      fetch http://localhost:8000/ [SECONDS]    # prints the page; how it went is on standard
 * error */
#include "common.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <unring.h>

enum {
    HOST_MAX = 255,
    ADDRESSES_MAX = 16,
    HEAD_MAX = 64 << 10 /* of an answer, in bytes */
};

#define LOOKUP_TIME   UNR_SEC(5)
#define CONNECT_TIME  UNR_SEC(10)
#define REQUEST_TIME  UNR_SEC(5)
#define IDLE_TIME     UNR_SEC(10) /* without a byte of the answer */
#define ATTEMPT_DELAY UNR_MSEC(250)

static char   host[HOST_MAX + 1], port[6] = "80";
static char   path[1024] = "/";
static double seconds = 60; /* for all of it */

static void tell(const char *phase, unr_time begin, const char *what)
{
    fprintf(stderr, "%-8s %4lld ms  %s\n", phase,
            (long long)((unr_loop_now(unr_fiber_loop()) - begin) / UNR_MSEC(1)), what);
}

/* ---- the race ---- */

struct attempt {
    const struct addrinfo *to;
    struct attempt        *before;    /* NULL: it is the first */
    struct unr_event       has_ended; /* without a connection */
    struct race           *race;
};

struct race {
    struct unr_nursery nursery;
    struct attempt     attempts[ADDRESSES_MAX];
    int                winner; /* a connected socket; -1: there is none yet */
    int                error;  /* of the last that failed */
};

/* Waits until the attempt before has failed, or 250 ms. */
static int wait_for_turn(struct attempt *a)
{
    struct unr_waiter   waiter = { 0 };
    struct unr_deadline delay = { 0 };
    if (!a->before)
        return 0;
    struct unr_result r = unr_await(
        unr_cancel_after(&delay, unr_event_wait(&waiter, &a->before->has_ended), ATTEMPT_DELAY));
    return unr_timed_out(&r) && !unr_fiber_cancelled() ? 0 : r.error;
}

static int connect_to(const struct addrinfo *to)
{
    struct unr_op op = { 0 };
    int           fd = (int)unr_await_value(
                  unr_socket(&op, to->ai_family, SOCK_STREAM | SOCK_CLOEXEC, to->ai_protocol));
    if (fd < 0)
        return fd;
    int error = (int)unr_await_value(unr_connect(&op, fd, to->ai_addr, to->ai_addrlen));
    if (error == 0)
        return fd;
    unr_await(unr_close(&op, fd)); /* it supports NONE: it runs whatever was requested */
    return error;
}

/* One that fails has the next one begin, and is no failure of the race.  Two may connect in one
 * turn: the second closes its socket, as nothing that succeeded is lost. */
static int attempt(void *argument)
{
    struct attempt *a = argument;
    struct race    *race = a->race;
    struct unr_op   op = { 0 };
    int             fd = wait_for_turn(a);
    if (fd == 0)
        fd = connect_to(a->to);
    if (fd >= 0 && race->winner < 0) {
        race->winner = fd;
        unr_nursery_cancel(&race->nursery, UNR_CANCEL_ALL, -ECANCELED);
    } else if (fd >= 0) {
        unr_await(unr_close(&op, fd));
    } else {
        if (fd != -ECANCELED)
            race->error = fd;
        unr_event_set(&a->has_ended);
    }
    return 0;
}

/* Returns a connected socket, or why there is none. */
static int connect_first(const struct addrinfo *addresses)
{
    struct race race = { .winner = -1, .error = -EDESTADDRREQ };
    unsigned    n = 0;
    int         error = 0;
    unr_nursery_open(&race.nursery, 0);
    for (; addresses && n < ADDRESSES_MAX && !error; addresses = addresses->ai_next, n++) {
        struct attempt *a = &race.attempts[n];
        *a = (struct attempt){ .to = addresses, .before = n ? a - 1 : NULL, .race = &race };
        error = unr_nursery_spawn(&race.nursery, attempt, a);
    }
    error = unr_nursery_close(&race.nursery, error);
    if (race.winner >= 0)
        return race.winner; /* also where a request came too late */
    return error ? error : race.error;
}

/* ---- the phases ---- */

static int look_up(struct unr_resolve *resolve)
{
    const struct addrinfo   hints = { .ai_socktype = SOCK_STREAM };
    struct unr_cancel_scope scope;
    unr_cancel_scope_enter_after(&scope, LOOKUP_TIME);
    int64_t n = unr_await_value(unr_resolve(resolve, host, port, &hints));
    if (n < 0 && unr_resolve_eai(resolve))
        fprintf(stderr, "%s: %s\n", host, gai_strerror(unr_resolve_eai(resolve)));
    return unr_cancel_scope_leave(&scope, (int)n);
}

static int connect_to_host(const struct unr_resolve *resolve)
{
    struct unr_cancel_scope scope;
    unr_cancel_scope_enter_after(&scope, CONNECT_TIME);
    return unr_cancel_scope_leave(&scope, connect_first(resolve->addresses));
}

/* Of HTTP 1.0, whose answers are not in chunks. */
static int send_request(int fd)
{
    bool                    is_ipv6 = strchr(host, ':');
    char                    text[2048];
    struct unr_transfer     transfer = { 0 };
    struct unr_stream       stream;
    struct unr_cancel_scope scope;
    int                     len = snprintf(text, sizeof text,
                                           "GET %s HTTP/1.0\r\nHost: %s%s%s:%s\r\n"
                                                               "User-Agent: unring-fetch\r\n\r\n",
                                           path, is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", port);
    unr_stream_socket(&stream, fd);
    unr_cancel_scope_enter_after(&scope, REQUEST_TIME);
    int64_t n = unr_await_value(unr_write_all(&transfer, &stream, text, (size_t)len));
    return unr_cancel_scope_leave(&scope, (int)(n < 0 ? n : 0));
}

/* Reads the lines in front of the page, and prints the first.  What has come of the page behind
 * them is in the buffer. */
static int read_head(struct unr_stream *stream, struct unr_buffer *buffer)
{
    struct unr_reader       reader = { 0 };
    struct unr_cancel_scope scope;
    unr_cancel_scope_enter_after(&scope, IDLE_TIME);
    int64_t n = unr_await_value(unr_read_until(&reader, stream, buffer, "\r\n\r\n", 4));
    int     error = unr_cancel_scope_leave(&scope, (int)n);
    if (error < 0)
        return error;
    const char *head = unr_buffer_data(buffer, NULL);
    fprintf(stderr, "%.*s\n", (int)strcspn(head, "\r\n"), head);
    unr_buffer_consume(buffer, (size_t)n);
    return 0;
}

/* Prints the page.  Its deadline is moved with each part that comes. */
static int read_page(int fd, struct unr_buffer *buffer, uint64_t *ret_bytes)
{
    char                    part[16384];
    struct unr_op           op = { 0 };
    struct unr_cancel_scope idle;
    size_t                  len;
    int64_t                 n;
    const char             *data = unr_buffer_data(buffer, &len);
    fwrite(data, 1, len, stdout);
    *ret_bytes = len;
    unr_cancel_scope_enter_after(&idle, IDLE_TIME);
    while ((n = unr_await_value(unr_recv(&op, fd, part, sizeof part, 0))) > 0) {
        fwrite(part, 1, (size_t)n, stdout);
        *ret_bytes += (uint64_t)n;
        unr_cancel_scope_move(&idle, unr_loop_now(unr_fiber_loop()) + IDLE_TIME);
    }
    n = unr_cancel_scope_leave(&idle, (int)n);
    return n == 0 && fflush(stdout) ? -errno : (int)n;
}

static int read_answer(int fd)
{
    struct unr_stream stream;
    struct unr_buffer buffer;
    uint64_t          bytes = 0;
    unr_stream_socket(&stream, fd);
    unr_buffer_init(&buffer, HEAD_MAX);
    int error = read_head(&stream, &buffer);
    if (error == 0)
        error = read_page(fd, &buffer, &bytes);
    unr_buffer_free(&buffer);
    if (error == 0)
        fprintf(stderr, "%llu bytes\n", (unsigned long long)bytes);
    return error;
}

/* ---- all of it ---- */

static int report(const char *phase, unr_time begin, int error)
{
    const char *what = "done";
    if (error < 0)
        what = error == -ETIMEDOUT ? "took too long" : strerror(-error);
    tell(phase, begin, what);
    return error;
}

static int run_phases(void)
{
    struct unr_resolve resolve = { 0 };
    struct unr_op      op = { 0 };
    unr_time           begin = unr_loop_now(unr_fiber_loop());
    int                fd, error = report("lookup", begin, look_up(&resolve));
    if (error < 0)
        return error;
    fd = report("connect", begin, connect_to_host(&resolve));
    unr_resolve_free(&resolve);
    if (fd < 0)
        return fd;
    error = report("request", begin, send_request(fd));
    if (error == 0)
        error = report("answer", begin, read_answer(fd));
    unr_await(unr_close(&op, fd));
    return error;
}

static int fetch(void *argument)
{
    struct unr_cancel_scope overall;
    (void)argument;
    unr_cancel_scope_enter_after(&overall, (unr_time)(seconds * 1e9));
    int error = unr_cancel_scope_leave(&overall, run_phases());
    if (unr_cancel_scope_caught(&overall))
        fprintf(stderr, "all of it took longer than %g s\n", seconds);
    return error;
}

/* Whichever ends first: the fetch, or the wait for Ctrl-C. */
static int fetch_or_stop(void *argument)
{
    struct unr_fiber   fiber = { 0 };
    struct unr_sigwait interrupt = { 0 };
    struct unr_group   group = { 0 };
    struct unr_op     *either[] = { unr_fiber(&fiber, fetch, argument),
                                    unr_sigwait(&interrupt, interrupts, 2) };
    unr_await(unr_group(&group, either, 2, unr_wait_one, NULL));
    if (fiber.op.result.error == -ECANCELED)
        fprintf(stderr, "interrupted\n");
    return unr_outcome(&fiber.op.result);
}

/* Reads "http://HOST[:PORT][/PATH]". */
static bool parse_url(const char *url)
{
    int n = 0, more = 0;
    if (sscanf(url, "http://[%255[0-9a-fA-F:.]]%n", host, &n) < 1 || !n)
        if (sscanf(url, "http://%255[^/:]%n", host, &n) < 1)
            return false;
    if (url[n] == ':') {
        if (sscanf(url + n, ":%5[0-9]%n", port, &more) < 1)
            return false;
        n += more;
    }
    if (url[n] && (url[n] != '/' || strlen(url + n) >= sizeof path))
        return false;
    if (url[n])
        memcpy(path, url + n, strlen(url + n) + 1);
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3 || !parse_url(argv[1])
        || (argc > 2 && !parse_seconds(argv[2], &seconds)))
        die(0, "usage: fetch http://HOST[:PORT][/PATH] [SECONDS]");
    block_interrupts();
    return unr_run_fiber(NULL, fetch_or_stop, NULL) < 0;
}
