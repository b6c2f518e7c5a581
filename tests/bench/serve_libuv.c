/* SPDX-License-Identifier: MIT */
/* The echo server and the proxy with libuv.  The command line is in bench.h, at serve_options().
 * libuv asks for a buffer when there is something to read, so all connections share one, and
 * uv_try_write() sends it at once; only what a socket does not take is copied and written later,
 * reading being stopped meanwhile. */
#include <uv.h>

#include "bench.h"

/* A client's or a target's socket, which for an echo is its own opposite. */
struct side {
    uv_tcp_t     tcp;
    struct side *opposite; /* where to send what is received */
    uv_write_t   write;    /* of the rest that uv_try_write() left */
    char        *rest;
    int          closed, gone;
};

struct connecting {
    uv_connect_t request;
    struct side *client, *out;
};

static uv_loop_t           *loop;
static uv_tcp_t             listener;
static struct serve_options options;
static struct sockaddr_in   target;
static char                *buffer;
static long                 sides;

static void check(const char *what, int error)
{
    if (error < 0)
        die(what, error);
}

/* ---- the end of a session ---- */

static void on_closed(uv_handle_t *handle)
{
    struct side *side = (struct side *)handle; /* its first member */

    side->gone = 1;
    if (--sides == 0)
        uv_stop(loop);
    if (!side->opposite->gone)
        return; /* a write on the opposite may still refer to this one */
    if (side->opposite != side)
        free(side->opposite);
    free(side);
}

static void close_side(struct side *side)
{
    if (side->closed)
        return;
    side->closed = 1;
    uv_close((uv_handle_t *)&side->tcp, on_closed);
}

static void close_session(struct side *side)
{
    close_side(side->opposite);
    close_side(side);
}

/* ---- relaying ---- */

static void on_buffer_wanted(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    (void)handle, (void)suggested;
    *ret_buf = uv_buf_init(buffer, (unsigned)options.size);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_rest_written(uv_write_t *write, int status)
{
    struct side *from = write->data;

    free(from->rest);
    if (status == 0 && !from->closed)
        uv_read_start((uv_stream_t *)&from->tcp, on_buffer_wanted, on_read);
}

static void write_rest(struct side *from, const char *data, size_t len)
{
    uv_buf_t buf;

    uv_read_stop((uv_stream_t *)&from->tcp);
    from->rest = malloc(len);
    memcpy(from->rest, data, len);
    buf = uv_buf_init(from->rest, (unsigned)len);
    from->write.data = from;
    check("uv_write",
          uv_write(&from->write, (uv_stream_t *)&from->opposite->tcp, &buf, 1, on_rest_written));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct side *from = (struct side *)stream;
    uv_buf_t     out;
    int          sent;

    if (n == 0)
        return;
    if (n < 0) {
        close_session(from);
        return;
    }
    out = uv_buf_init(buf->base, (unsigned)n);
    sent = uv_try_write((uv_stream_t *)&from->opposite->tcp, &out, 1);
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0)
        close_session(from);
    else if (sent < n)
        write_rest(from, buf->base + sent, (size_t)(n - sent));
}

/* ---- the beginning of a session ---- */

static struct side *new_side(void)
{
    struct side *side = malloc(sizeof *side);

    if (!side)
        die("malloc", ENOMEM);
    sides++;
    side->opposite = side;
    side->closed = side->gone = 0;
    check("uv_tcp_init", uv_tcp_init(loop, &side->tcp));
    return side;
}

static void start_read(struct side *side)
{
    check("uv_read_start", uv_read_start((uv_stream_t *)&side->tcp, on_buffer_wanted, on_read));
}

static void on_connected(uv_connect_t *request, int status)
{
    struct connecting *connecting = (struct connecting *)request;
    struct side       *client = connecting->client, *out = connecting->out;

    check("connecting to the target", status);
    free(connecting);
    client->opposite = out;
    out->opposite = client;
    start_read(client);
    start_read(out);
}

static void start_connect(struct side *client)
{
    struct connecting *connecting = malloc(sizeof *connecting);

    connecting->client = client;
    connecting->out = new_side();
    uv_tcp_nodelay(&connecting->out->tcp, 1);
    check("uv_tcp_connect", uv_tcp_connect(&connecting->request, &connecting->out->tcp,
                                           (struct sockaddr *)&target, on_connected));
}

static void on_connection(uv_stream_t *server, int status)
{
    struct side *client = new_side();

    check("listen", status);
    check("uv_accept", uv_accept(server, (uv_stream_t *)&client->tcp));
    uv_tcp_nodelay(&client->tcp, 1);
    if (options.target_port)
        start_connect(client);
    else
        start_read(client);
}

int main(int argc, char **argv)
{
    options = serve_options(argc, argv);
    target = loopback(options.target_port);
    buffer = malloc((size_t)options.size);
    loop = uv_default_loop();
    check("uv_tcp_init", uv_tcp_init(loop, &listener));
    check("uv_tcp_open", uv_tcp_open(&listener, listen_and_tell(SOCK_CLOEXEC)));
    check("uv_listen", uv_listen((uv_stream_t *)&listener, 4096, on_connection));
    uv_run(loop, UV_RUN_DEFAULT);
    return 0;
}
