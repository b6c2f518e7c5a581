/* SPDX-License-Identifier: MIT */
/* The echo with Boost.Asio: a receive and a send in turn, each connection with a buffer. */
#include "asio.h"

extern "C" {
#include "echo.h"
}

#include <deque>
#include <memory>

using protocol = asio::generic::stream_protocol;

struct connection {
    protocol::socket        socket;
    std::unique_ptr<char[]> buffer;

    connection(asio::io_context &context, int family, int fd, size_t size)
        : socket(context, protocol(family, 0), fd), buffer(new char[size])
    {
    }
};

static asio::io_context       context(BENCH_ASIO_HINT);
static std::deque<connection> connections;
static size_t                 buffer_size;

static void receive(connection &c)
{
    c.socket.async_receive(asio::buffer(c.buffer.get(), buffer_size), [&c](error_code error, size_t received) {
        if (error)
            die("async_receive", error.value());
        c.socket.async_send(asio::buffer(c.buffer.get(), received), [&c, received](error_code error, size_t sent) {
            if (error)
                die("async_send", error.value());
            if (echo_sent(received, (int64_t)sent))
                context.stop();
            receive(c);
        });
    });
}

static int family_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t               len = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        die("getsockname", errno);
    return address.ss_family;
}

static void open_server(const int *fds, long n, size_t size)
{
    buffer_size = size;
    for (long i = 0; i < n; i++)
        receive(connections.emplace_back(context, family_of(fds[i]), fds[i], size));
    context.poll();
}

/* Until all is answered: to come back after each wait would cost it more. */
static void turn()
{
    context.restart();
    context.run();
}

#ifdef BENCH_ASIO_URING
const struct echo_server echo_peer = { "asio_uring", open_server, turn };
#else
const struct echo_server echo_peer = { "asio_epoll", open_server, turn };
#endif
