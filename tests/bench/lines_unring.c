/* SPDX-License-Identifier: MIT */
/* Lines read with unr_read_until().  What is measured and the command line are in lines.h.  With
 * RECEIVERS defined the stream is one of a receiver: lines_receivers; with POOLED besides, of one
 * with a pool: lines_pooled. */
#include <unring.h>

#include "lines.h"

static struct unr_loop  *loop;
static struct unr_reader reader;
static struct unr_stream stream;
static struct unr_buffer buffer;
static int               finds;
#ifdef RECEIVERS
static struct unr_receiver receiver;
static struct unr_pool    *pool; /* NULL without POOLED */
#endif

static void on_line(struct unr_op *op);

static void start(void)
{
    unr_start(loop, unr_read_until(&reader, &stream, &buffer, "\n", 1), on_line, NULL);
}

static int take(size_t len)
{
    int more = lines_took(unr_buffer_data(&buffer, NULL), len);

    unr_buffer_consume(&buffer, len);
    return more;
}

static void on_line(struct unr_op *op)
{
    const char *data, *end;
    size_t      len;

    if (op->result.error)
        die("unr_read_until", op->result.error);
    if (!take(op->result.bytes))
        return;
    while (finds && (data = unr_buffer_data(&buffer, &len), end = memchr(data, '\n', len)) != NULL)
        if (!take((size_t)(end + 1 - data)))
            return;
    start();
}

static void open_stream(void)
{
#ifdef POOLED
    int error = unr_pool_open(&pool, loop, NULL);

    if (error)
        die("unr_pool_open", error);
#endif
#ifdef RECEIVERS
    unr_receiver_init(&receiver, loop, pool, lines_fds[0], 0);
    unr_stream_receiver(&stream, &receiver);
#else
    unr_stream_socket(&stream, lines_fds[0]);
#endif
}

int main(int argc, char **argv)
{
    int64_t begin;
    int     error;

    lines_begin(argc, argv);
    finds = strcmp(argument(argc, argv, 1), "bulk_found") == 0;
    error = unr_loop_open(&loop, NULL);
    if (error)
        die("unr_loop_open", error);
    open_stream();
    unr_buffer_init(&buffer, 1 << 20);
    begin = cpu_ns();
    lines_write_some();
    start();
    error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
    lines_report(argc, argv, begin);
    unr_buffer_free(&buffer);
    unr_loop_close(loop);
    return 0;
}
