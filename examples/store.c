/* SPDX-License-Identifier: MIT */
/* A store of keys and values in memory, which speaks enough of Redis's protocol for redis-cli and
 * redis-benchmark: PING, SET, GET, DEL, EXISTS, INCR.
 *
 * It shows what a server of many small requests is made of:
 *
 *   - An acceptor: connections wait for the server in user space, no more than a few of them.
 *   - A receiver for each connection: what an idle session waits in costs no system call to begin,
 *     none to cancel, and takes nothing when it is cancelled.
 *   - A pool: the kernel puts what comes into buffers that all sessions share.  A session looks at
 *     it there and answers all requests that are whole; only one that has come in part is copied.
 *     So an idle session has no buffer at all.
 *   - Where the kernel has no pools (before Linux 6.7) the receivers have none, and a session waits
 *     in unr_read_more(), with a buffer of its own.
 *   - A deadline around that wait: who says nothing for a minute is closed.
 *   - A latched signal around it: Ctrl-C ends each session where it only waits.
 *
 *      store 7000
 *      redis-benchmark -p 7000 -t ping,set,get,incr -n 100000 -c 50
 *      socat - TCP:127.0.0.1:7000, and type "set colour green" */
#define _GNU_SOURCE 1
#include "common.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <unring.h>

#define IDLE_MAX    UNR_SEC(60)
#define REQUEST_MAX (1 << 20)

enum { BUCKETS = 1 << 16, WORDS_MAX = 8 };

static struct unr_loop *loop;

/* ==== keys and values ======================================================================== */

struct text {
    const char *data;
    size_t      len;
};

struct entry {
    struct entry *next;
    char         *value;
    size_t        value_len, key_len;
    char          key[];
};

static struct entry *table[BUCKETS];

static struct entry **find(struct text key)
{
    uint32_t hash = 2166136261;
    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ (unsigned char)key.data[i]) * 16777619;
    struct entry **at = &table[hash % BUCKETS];
    while (*at && ((*at)->key_len != key.len || memcmp((*at)->key, key.data, key.len) != 0))
        at = &(*at)->next;
    return at;
}

static bool put(struct text key, struct text value)
{
    struct entry **at = find(key), *entry = *at;
    char          *copy = malloc(value.len + 1);
    if (copy && !entry && (entry = malloc(sizeof *entry + key.len))) {
        *entry = (struct entry){ .key_len = key.len };
        memcpy(entry->key, key.data, key.len);
        *at = entry;
    }
    if (!copy || !entry) {
        free(copy);
        return false;
    }
    memcpy(copy, value.data, value.len);
    copy[value.len] = 0;
    free(entry->value);
    entry->value = copy;
    entry->value_len = value.len;
    return true;
}

static bool delete (struct text key)
{
    struct entry **at = find(key), *entry = *at;
    if (!entry)
        return false;
    *at = entry->next;
    free(entry->value);
    free(entry);
    return true;
}

/* ==== the protocol =========================================================================== */

/* Reads the line at `*at` of `end`, and moves behind it.  False: it has not come whole. */
static bool take_line(const char **at, const char *end, struct text *ret_line)
{
    const char *line_end = memmem(*at, (size_t)(end - *at), "\r\n", 2);
    if (!line_end)
        return false;
    *ret_line = (struct text){ *at, (size_t)(line_end - *at) };
    *at = line_end + 2;
    return true;
}

/* The number behind the first character of a line; -1: it is none that a request may have. */
static long number_in(struct text line, char first)
{
    char *end;
    if (line.len < 2 || line.data[0] != first || !isdigit((unsigned char)line.data[1]))
        return -1;
    long n = strtol(line.data + 1, &end, 10);
    return end == line.data + line.len && n <= REQUEST_MAX ? n : -1;
}

/* Takes apart what a person types: words between spaces.  Returns how many; 0: too many, or none.
 */
static size_t split(struct text line, struct text words[WORDS_MAX])
{
    const char *at = line.data, *end = line.data + line.len;
    size_t      count = 0;
    while (at < end) {
        const char *space = memchr(at, ' ', (size_t)(end - at));
        size_t      len = (size_t)((space ? space : end) - at);
        if (len && count == WORDS_MAX)
            return 0;
        if (len)
            words[count++] = (struct text){ at, len };
        at += len + 1;
    }
    return count;
}

/* Takes one request apart.  Returns its length; 0: it has not come whole; -1: it is none. */
static ssize_t parse(const char *data, size_t len, struct text words[WORDS_MAX], size_t *ret_count)
{
    const char *at = data, *end = data + len;
    struct text line;
    if (!take_line(&at, end, &line))
        return len < REQUEST_MAX ? 0 : -1;
    if (line.len && line.data[0] != '*') {
        *ret_count = split(line, words);
        return *ret_count ? at - data : -1;
    }
    long count = number_in(line, '*');
    if (count < 1 || count > WORDS_MAX)
        return -1;
    for (long i = 0; i < count; i++) {
        if (!take_line(&at, end, &line))
            return 0;
        long n = number_in(line, '$');
        if (n < 0)
            return -1;
        if (end - at < n + 2)
            return 0;
        words[i] = (struct text){ at, (size_t)n };
        at += n + 2;
    }
    *ret_count = (size_t)count;
    return at - data;
}

static bool is(struct text word, const char *name)
{
    return word.len == strlen(name) && strncasecmp(word.data, name, word.len) == 0;
}

static int say(struct unr_buffer *out, const char *text)
{
    return unr_buffer_append(out, text, strlen(text));
}

static int say_number(struct unr_buffer *out, long long n)
{
    char text[32];
    snprintf(text, sizeof text, ":%lld\r\n", n);
    return say(out, text);
}

static int say_value(struct unr_buffer *out, const struct entry *entry)
{
    char text[32];
    if (!entry)
        return say(out, "$-1\r\n");
    snprintf(text, sizeof text, "$%zu\r\n", entry->value_len);
    int error = say(out, text);
    error = error ? error : unr_buffer_append(out, entry->value, entry->value_len);
    return error ? error : say(out, "\r\n");
}

static int increment(struct unr_buffer *out, struct text key)
{
    const struct entry *entry = *find(key);
    char               *end = NULL, text[32];
    errno = 0;
    long long n = entry ? strtoll(entry->value, &end, 10) : 0;
    if (entry
        && (!entry->value_len || end != entry->value + entry->value_len || errno || n == INT64_MAX))
        return say(out, "-ERR value is not an integer or out of range\r\n");
    int len = snprintf(text, sizeof text, "%lld", n + 1);
    if (!put(key, (struct text){ text, (size_t)len }))
        return say(out, "-ERR no memory\r\n");
    return say_number(out, n + 1);
}

static int answer(struct unr_buffer *out, const struct text words[], size_t count)
{
    if (is(words[0], "PING"))
        return say(out, "+PONG\r\n");
    if (is(words[0], "SET") && count == 3)
        return say(out, put(words[1], words[2]) ? "+OK\r\n" : "-ERR no memory\r\n");
    if (is(words[0], "GET") && count == 2)
        return say_value(out, *find(words[1]));
    if (is(words[0], "EXISTS") && count == 2)
        return say_number(out, *find(words[1]) != NULL);
    if (is(words[0], "DEL") && count == 2)
        return say_number(out, delete (words[1]));
    if (is(words[0], "INCR") && count == 2)
        return increment(out, words[1]);
    return say(out, "-ERR unknown command, or a wrong number of arguments\r\n");
}

/* ==== sessions =============================================================================== */

struct session {
    union {
        struct unr_op      op;
        struct unr_compose compose;
    };
    int                 fd;
    struct unr_receiver receiver;
    struct unr_stream   stream;
    struct unr_buffer   in, out; /* in: requests that have not come whole, or without a pool all */
    union {
        struct unr_op     view;
        struct unr_reader reader; /* without a pool */
    };
    struct unr_deadline idle;
    struct unr_signal   waiting; /* a child of `ending` */
    struct unr_transfer send;
    struct unr_op       close;
};

static struct {
    struct unr_pool    *pool; /* NULL: the kernel has none */
    struct unr_acceptor acceptor;
    struct unr_op       accept, stop;
    struct unr_scope    sessions;
    struct unr_signal   ending;
    struct unr_sigwait  interrupt;
    uint64_t            served, requests, timed_out;
} server;

static void end_session(struct session *s)
{
    unr_compose_next(&s->compose, unr_cancel_close(&s->close, s->fd));
}

static size_t bytes_in(const struct unr_buffer *buffer)
{
    size_t len;
    unr_buffer_data(buffer, &len);
    return len;
}

/* Who waits may wait for long: an empty buffer's memory is given back. */
static void free_if_empty(struct unr_buffer *buffer)
{
    if (!bytes_in(buffer))
        unr_buffer_free(buffer);
}

/* Waits for more: nothing is lost if that is cancelled, by time or by the end of the server. */
static void wait_for_more(struct session *s)
{
    struct unr_op *more = server.pool ? unr_receive_view(&s->view, &s->receiver)
                                      : unr_read_more(&s->reader, &s->stream, &s->in);
    free_if_empty(&s->in);
    free_if_empty(&s->out);
    unr_compose_next(&s->compose, unr_bind_slot(unr_cancel_after(&s->idle, more, IDLE_MAX),
                                                unr_signal_slot(&s->waiting)));
}

/* Answers each request that lies whole in these bytes.  Returns how many bytes these requests are;
 * -1: what came is no request, or there is no memory. */
static ssize_t answer_all(struct session *s, const char *data, size_t len)
{
    struct text words[WORDS_MAX];
    size_t      count, done = 0;
    while (done < len) {
        ssize_t n = parse(data + done, len - done, words, &count);
        if (n < 0 || (n > 0 && answer(&s->out, words, count) != 0))
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
        server.requests++;
    }
    return (ssize_t)done;
}

static bool answer_buffer(struct session *s)
{
    size_t      len;
    const char *data = unr_buffer_data(&s->in, &len);
    ssize_t     n = answer_all(s, data, len);
    if (n > 0)
        unr_buffer_consume(&s->in, (size_t)n);
    return n >= 0;
}

/* Answers what lies in one piece where it is.  The rest of the piece begins a request, which is
 * joined in the buffer with what comes behind it. */
static bool answer_view(struct session *s)
{
    size_t      len;
    const char *data;
    while ((data = unr_receiver_data(&s->receiver, &len))) {
        ssize_t n = bytes_in(&s->in) ? 0 : answer_all(s, data, len);
        if (n < 0 || ((size_t)n < len && unr_buffer_append(&s->in, data + n, len - (size_t)n) != 0))
            return false;
        unr_receiver_consume(&s->receiver, len);
        if (!answer_buffer(s))
            return false;
    }
    return true;
}

static void send_answers(struct session *s)
{
    size_t      len;
    const void *data = unr_buffer_data(&s->out, &len);
    if (len)
        unr_compose_next(&s->compose, unr_write_all(&s->send, &s->stream, data, len));
    else
        wait_for_more(s);
}

static void serve(struct unr_compose *self, struct unr_op *finished)
{
    struct session *s = unr_container_of(self, struct session, compose);
    if (!finished) {
        wait_for_more(s);
    } else if (finished == &s->close) {
        unr_compose_end(self, 0);
    } else if (finished->result.error) {
        server.timed_out += unr_timed_out(&finished->result);
        end_session(s);
    } else if (finished != &s->idle.op) {
        unr_buffer_consume(&s->out, bytes_in(&s->out));
        wait_for_more(s);
    } else if (finished->result.bytes && (server.pool ? answer_view(s) : answer_buffer(s))) {
        send_answers(s);
    } else { /* the end, or no request */
        end_session(s);
    }
}

static void session_ended(struct unr_op *op)
{
    struct session *s = unr_container_of(op, struct session, op);
    unr_signal_detach(&s->waiting);
    unr_receiver_free(&s->receiver); /* what nobody has read goes back to the pool */
    unr_buffer_free(&s->in);
    unr_buffer_free(&s->out);
    free(s);
    server.served++;
}

static void begin_session(int fd)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s) {
        close(fd);
        return;
    }
    s->fd = fd;
    send_at_once(fd);
    unr_buffer_init(&s->in, 2 * REQUEST_MAX);
    unr_buffer_init(&s->out, 16 * REQUEST_MAX);
    unr_signal_init_latched(&s->waiting);
    unr_signal_attach(&s->waiting, &server.ending);
    unr_receiver_init(&s->receiver, loop, server.pool, fd, 0);
    unr_stream_receiver(&s->stream, &s->receiver);
    unr_scope_start(&server.sessions, unr_compose(&s->compose, "session", UNR_CANCEL_ALL, serve),
                    session_ended, NULL);
}

/* ==== the server ============================================================================= */

static void accepted(struct unr_op *op)
{
    if (op->result.fd >= 0)
        begin_session(op->result.fd);
    else if (op->result.error != -ECANCELED)
        fprintf(stderr, "store: %s\n", unr_explain_op(op));
    if (op->result.error == 0)
        unr_start(loop, unr_accept_from(&server.accept, &server.acceptor), accepted, NULL);
}

static void hand_over(void *context, int fd)
{
    (void)context;
    close(fd); /* who has said nothing yet may come again */
}

static void interrupted(struct unr_op *op)
{
    if (op->result.error)
        return;
    unr_start(loop, unr_acceptor_stop(&server.stop, &server.acceptor, hand_over, NULL), NULL, NULL);
    unr_signal_emit(&server.ending, UNR_CANCEL_TOTAL);
    unr_scope_close(&server.sessions);
}

int main(int argc, char **argv)
{
    struct unr_signal *ending = &server.ending;
    int                listener = listen_on_argument(argc, argv);
    raise_descriptor_limit();
    block_interrupts();
    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    error = unr_pool_open(&server.pool, loop, NULL);
    if (error)
        fprintf(stderr, "store: receivers without a pool: %s\n", strerror(-error));
    unr_signal_init_latched(ending);
    unr_acceptor_init(&server.acceptor, loop, listener, 0, 0);
    unr_start(loop, unr_scope(&server.sessions), NULL, NULL);
    unr_start(loop, unr_accept_from(&server.accept, &server.acceptor), accepted, NULL);
    unr_start(loop, unr_sigwait(&server.interrupt, interrupts, 2), interrupted, NULL);
    error = unr_loop_run(loop);
    printf("%" PRIu64 " requests in %" PRIu64 " sessions, of which %" PRIu64 " fell silent\n",
           server.requests, server.served, server.timed_out);
    int close_error = unr_loop_close(loop);
    unr_pool_close(server.pool);
    return close_error || error;
}
