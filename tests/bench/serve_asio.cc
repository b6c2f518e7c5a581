/* SPDX-License-Identifier: MIT */
/* The echo server and the proxy with Boost.Asio.  The command line is in bench.h, at serve_options(). */
#include "asio.h"

#include <memory>

using asio::ip::tcp;

static asio::io_context     context(BENCH_ASIO_HINT);
static struct serve_options options;
static long                 sessions;

/* One direction: receives from one socket and sends to another, which for an echo is the same. */
class pump
{
  public:
    pump(tcp::socket &from, tcp::socket &to) : from_(from), to_(to), buffer_(new char[options.size])
    {
    }

    /* Calls `ended` once. */
    template <class Ended> void start(Ended ended)
    {
        from_.async_receive(asio::buffer(buffer_.get(), options.size), [this, ended](error_code error, size_t n) {
            if (error)
                ended();
            else
                send(0, n, ended);
        });
    }

  private:
    template <class Ended> void send(size_t sent, size_t received, Ended ended)
    {
        to_.async_send(asio::buffer(buffer_.get() + sent, received - sent),
                       [this, sent, received, ended](error_code error, size_t n) {
                           if (error)
                               ended();
                           else if (sent + n < received)
                               send(sent + n, received, ended);
                           else
                               start(ended);
                       });
    }

    tcp::socket            &from_, &to_;
    std::unique_ptr<char[]> buffer_;
};

static void session_ended()
{
    if (--sessions == 0)
        context.stop();
}

class echo
{
  public:
    explicit echo(tcp::socket &&socket) : socket_(std::move(socket)), pump_(socket_, socket_)
    {
    }

    void start()
    {
        pump_.start([this] {
            delete this;
            session_ended();
        });
    }

  private:
    tcp::socket socket_;
    pump        pump_;
};

class proxy
{
  public:
    explicit proxy(tcp::socket &&client)
        : client_(std::move(client)), target_(context), forth_(client_, target_), back_(target_, client_)
    {
    }

    void start()
    {
        tcp::endpoint endpoint(asio::ip::address_v4::loopback(), (unsigned short)options.target_port);

        target_.async_connect(endpoint, [this](error_code error) {
            if (error)
                die("connecting to the target", error.value());
            target_.set_option(tcp::no_delay(true));
            running_ = 2;
            forth_.start([this] { one_ended(); });
            back_.start([this] { one_ended(); });
        });
    }

  private:
    /* The first to end shuts both sockets down, so that the other ends as well. */
    void one_ended()
    {
        error_code ignored;

        client_.shutdown(tcp::socket::shutdown_both, ignored);
        target_.shutdown(tcp::socket::shutdown_both, ignored);
        if (--running_)
            return;
        delete this;
        session_ended();
    }

    tcp::socket client_, target_;
    pump        forth_, back_;
    int         running_ = 0;
};

static void start_session(tcp::socket &&socket)
{
    sessions++;
    socket.set_option(tcp::no_delay(true));
    if (options.target_port)
        (new proxy(std::move(socket)))->start();
    else
        (new echo(std::move(socket)))->start();
}

static void accept_next(tcp::acceptor &acceptor)
{
    acceptor.async_accept([&acceptor](error_code error, tcp::socket socket) {
        if (error)
            die("accept", error.value());
        start_session(std::move(socket));
        accept_next(acceptor);
    });
}

int main(int argc, char **argv)
{
    options = serve_options(argc, argv);
    tcp::acceptor acceptor(context, tcp::v4(), listen_and_tell(SOCK_CLOEXEC));

    accept_next(acceptor);
    context.run();
    fflush(stdout);
    _exit(0); /* the accept that is outstanding goes with the process */
}
