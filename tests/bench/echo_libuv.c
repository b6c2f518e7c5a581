/* SPDX-License-Identifier: MIT */
/* The echo with libuv, as in serve_libuv.c: all connections share one buffer, and uv_try_write()
 * sends it at once. */
#include <uv.h>

#include "echo.h"

union stream {
    uv_stream_t stream;
    uv_tcp_t    tcp;
    uv_pipe_t   pipe;
};

static uv_loop_t *loop;
static char      *buffer;
static size_t     buffer_size;

static void check(const char *what, int error)
{
    if (error < 0)
        die(what, error);
}

static void on_buffer_wanted(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    (void)handle, (void)suggested;
    *ret_buf = uv_buf_init(buffer, (unsigned)buffer_size);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);

    if (n < 0)
        die("uv_read_start", (int)n);
    if (n > 0)
        echo_sent((size_t)n, uv_try_write(stream, &out, 1));
}

static void open_server(const int *fds, long n, size_t size)
{
    union stream *streams = calloc((size_t)n, sizeof *streams);
    long          i;

    loop = uv_default_loop();
    buffer = malloc(size);
    buffer_size = size;
    for (i = 0; i < n; i++) {
        if (uv_guess_handle(fds[i]) == UV_TCP) {
            check("uv_tcp_init", uv_tcp_init(loop, &streams[i].tcp));
            check("uv_tcp_open", uv_tcp_open(&streams[i].tcp, fds[i]));
        } else {
            check("uv_pipe_init", uv_pipe_init(loop, &streams[i].pipe, 0));
            check("uv_pipe_open", uv_pipe_open(&streams[i].pipe, fds[i]));
        }
        check("uv_read_start", uv_read_start(&streams[i].stream, on_buffer_wanted, on_read));
    }
}

static void turn(void)
{
    uv_run(loop, UV_RUN_ONCE);
}

const struct echo_server echo_peer = { "libuv", open_server, turn };
