/* SPDX-License-Identifier: MIT */
/* The echo server and the proxy with Boost.Asio's coroutines.  The command line is in bench.h, at
 * serve_options(). */
#include "asio.h"

#include <boost/asio/experimental/awaitable_operators.hpp>

using asio::awaitable;
using asio::ip::tcp;
using namespace asio::experimental::awaitable_operators;

static asio::io_context context(BENCH_ASIO_HINT);
static struct serve_options options;
static long             sessions;

static constexpr auto quietly = asio::as_tuple(asio::use_awaitable);

static awaitable<void> pump(tcp::socket &from, tcp::socket &to)
{
    std::vector<char> buffer((size_t)options.size);

    for (;;) {
        auto [failed, received] = co_await from.async_read_some(asio::buffer(buffer), quietly);
        if (failed)
            co_return;
        auto [lost, sent] = co_await asio::async_write(to, asio::buffer(buffer, received), quietly);
        if (lost)
            co_return;
    }
}

static awaitable<void> session(tcp::socket client)
{
    client.set_option(tcp::no_delay(true));
    if (options.target_port) {
        tcp::socket server(context, tcp::v4());
        server.set_option(tcp::no_delay(true));
        auto [failed] = co_await server.async_connect(
            { asio::ip::address_v4::loopback(), (unsigned short)options.target_port }, quietly);
        if (!failed)
            co_await (pump(client, server) || pump(server, client));
    } else {
        co_await pump(client, client);
    }
    client.close();
    if (--sessions == 0)
        context.stop();
}

static awaitable<void> accept_all(tcp::acceptor &acceptor)
{
    for (;;) {
        tcp::socket client = co_await acceptor.async_accept(asio::use_awaitable);
        sessions++;
        asio::co_spawn(context, session(std::move(client)), asio::detached);
    }
}

int main(int argc, char **argv)
{
    options = ::serve_options(argc, argv);
    tcp::acceptor acceptor(context, tcp::v4(), listen_and_tell(SOCK_CLOEXEC));
    asio::co_spawn(context, accept_all(acceptor), asio::detached);
    context.run();
    return 0;
}
