/* SPDX-License-Identifier: MIT */
/* The echo with unring, in six ways: unr_recv() and unr_send() or unr_send_now(); a receiver
 * without a pool; one with a pool, copying out of it, or sending what it shows; and
 * unr_recv_multishot(). */
#include <unring.h>

#include "echo.h"

struct connection {
    struct unr_op       op; /* a read and a send in turn, or the multishot */
    int                 fd;
    size_t              len; /* of the send */
    char               *buffer;
    struct unr_receiver receiver;
};

static struct unr_loop   *loop;
static struct unr_pool   *pool;
static struct connection *connections;
static size_t             size;
static int                at_once; /* unr_send_now() in place of unr_send() */

static void turn(void)
{
    int n = unr_loop_run_once(loop, UNR_NEVER);

    if (n < 0)
        die("unr_loop_run_once", n);
}

static void open_with(int with_pool, const int *fds, long n, size_t message,
                      void (*begin)(struct connection *c))
{
    char *buffers = malloc((size_t)n * message);
    int   error = unr_loop_open(&loop, NULL);
    long  i;

    if (error)
        die("unr_loop_open", error);
    if (with_pool && (error = unr_pool_open(&pool, loop, NULL)) != 0)
        die("unr_pool_open", error);
    connections = calloc((size_t)n, sizeof *connections);
    size = message;
    for (i = 0; i < n; i++) {
        connections[i].fd = fds[i];
        connections[i].buffer = buffers + (size_t)i * size;
        begin(&connections[i]);
    }
    unr_loop_run_once(loop, 0);
}

static struct connection *connection_of(struct unr_op *op)
{
    if (op->result.error)
        die("an operation of the echo", op->result.error);
    return op->data;
}

static void start_send(struct connection *c, const void *data, size_t len, unr_done_fn *done)
{
    c->len = len;
    unr_start(loop,
              at_once ? unr_send_now(&c->op, c->fd, data, len, 0)
                      : unr_send(&c->op, c->fd, data, len, 0),
              done, c);
}

/* ---- recv and send ---- */

static void on_received(struct unr_op *op);

static void start_recv(struct connection *c)
{
    unr_start(loop, unr_recv(&c->op, c->fd, c->buffer, size, 0), on_received, c);
}

static void on_sent(struct unr_op *op)
{
    struct connection *c = connection_of(op);

    echo_sent(c->len, (int64_t)op->result.bytes);
    start_recv(c);
}

static void on_received(struct unr_op *op)
{
    struct connection *c = connection_of(op);

    start_send(c, c->buffer, op->result.bytes, on_sent);
}

static void open_recv(const int *fds, long n, size_t message)
{
    open_with(0, fds, n, message, start_recv);
}

static void open_send_now(const int *fds, long n, size_t message)
{
    at_once = 1;
    open_recv(fds, n, message);
}

const struct echo_server echo_unring = { "unring", open_recv, turn };
const struct echo_server echo_send_now = { "send_now", open_send_now, turn };

/* ---- a receiver, copying ---- */

static void on_copied(struct unr_op *op);

static void start_receive(struct connection *c)
{
    unr_start(loop, unr_receive(&c->op, &c->receiver, c->buffer, size), on_copied, c);
}

static void on_copy_sent(struct unr_op *op)
{
    struct connection *c = connection_of(op);

    echo_sent(c->len, (int64_t)op->result.bytes);
    start_receive(c);
}

static void on_copied(struct unr_op *op)
{
    struct connection *c = connection_of(op);

    start_send(c, c->buffer, op->result.bytes, on_copy_sent);
}

static void begin_receive(struct connection *c)
{
    unr_receiver_init(&c->receiver, loop, pool, c->fd, 0);
    start_receive(c);
}

static void open_receiver(const int *fds, long n, size_t message)
{
    open_with(0, fds, n, message, begin_receive);
}

static void open_copy(const int *fds, long n, size_t message)
{
    open_with(1, fds, n, message, begin_receive);
}

const struct echo_server echo_receiver = { "receiver", open_receiver, turn };
const struct echo_server echo_receiver_copy = { "receiver_copy", open_copy, turn };

/* ---- a receiver, by what it shows ---- */

static void on_shown(struct unr_op *op);

static void start_view(struct connection *c)
{
    unr_start(loop, unr_receive_view(&c->op, &c->receiver), on_shown, c);
}

static void on_view_sent(struct unr_op *op)
{
    struct connection *c = connection_of(op);

    echo_sent(c->len, (int64_t)op->result.bytes);
    unr_receiver_consume(&c->receiver, c->len);
    start_view(c);
}

static void on_shown(struct unr_op *op)
{
    struct connection *c = connection_of(op);
    size_t             len;
    const void        *data = unr_receiver_data(&c->receiver, &len);

    start_send(c, data, len, on_view_sent);
}

static void begin_view(struct connection *c)
{
    unr_receiver_init(&c->receiver, loop, pool, c->fd, 0);
    start_view(c);
}

static void open_view(const int *fds, long n, size_t message)
{
    open_with(1, fds, n, message, begin_view);
}

const struct echo_server echo_receiver_view = { "receiver_view", open_view, turn };

/* ---- multishot ---- */

/* A shot whose bytes are being sent. */
struct answer {
    struct unr_op  op;
    void          *data;
    size_t         len;
    struct answer *next_free;
};

static struct answer *free_answers;

static struct answer *new_answer(void)
{
    struct answer *answer = free_answers;

    if (!answer)
        return calloc(1, sizeof *answer);
    free_answers = answer->next_free;
    return answer;
}

static void on_answered(struct unr_op *op)
{
    struct answer *answer = op->data;

    if (op->result.error)
        die("unr_send", op->result.error);
    echo_sent(answer->len, (int64_t)op->result.bytes);
    unr_pool_give(pool, answer->data);
    answer->next_free = free_answers;
    free_answers = answer;
}

static void on_shot(struct unr_op *op);

static void start_multishot(struct connection *c)
{
    unr_start(loop, unr_recv_multishot(&c->op, c->fd, pool, 0, 0), on_shot, c);
}

static void on_shot(struct unr_op *op)
{
    struct connection *c = op->data;
    struct answer     *answer;

    if (op->result.error && op->result.error != -ENOBUFS)
        die("unr_recv_multishot", op->result.error);
    if (!op->result.error) {
        answer = new_answer();
        answer->data = unr_shot_data(op);
        answer->len = op->result.bytes;
        unr_start(loop, unr_send(&answer->op, c->fd, answer->data, answer->len, 0), on_answered,
                  answer);
    }
    if (!(op->result.flags & UNR_MORE))
        start_multishot(c);
}

static void open_multishot(const int *fds, long n, size_t message)
{
    open_with(1, fds, n, message, start_multishot);
}

const struct echo_server echo_multishot = { "multishot", open_multishot, turn };
