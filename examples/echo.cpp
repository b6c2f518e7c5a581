/* SPDX-License-Identifier: MIT */
/* An echo server of coroutines: each client gets back the lines that it sends, until it ends its
 * stream, or does not finish a line in time.
 *
 * A session is a task.  It waits for a whole line, within a time, and that wait is bound to a child
 * of one signal; then it sends the line back, within a time as well.  All sessions are members of a
 * scope.
 *
 * Ctrl-C or SIGTERM: there are no more sessions, and the signal is emitted under TOTAL.  What waits
 * for a line can end without a trace, so it does, and each session says goodbye.  A line that is
 * being sent back goes on.  Whoever does not take it has until the deadline of the scope, ten
 * seconds; then it is cancelled.
 *
 *      echo_cpp 7000           # then: socat - TCP:127.0.0.1:7000
 *      echo_cpp 7000 5 2       # five seconds for a line, two for the end */
#include "common.h"

#include <cstdio>
#include <string_view>
#include <unring.hpp>

using namespace std::chrono_literals;
using std::chrono::nanoseconds;

struct server {
    int                listener = -1;
    nanoseconds        patience = 10s, grace = 10s;
    unring::signal     stop{ unring::signal::LATCHED }; /* what begins later hears of it, too */
    unring::raw::scope sessions{};
    unr_deadline       end{}; /* of the scope: never, until the server is asked to end */
};

static nanoseconds seconds(double n)
{
    return std::chrono::duration_cast<nanoseconds>(std::chrono::duration<double>(n));
}

/* Sends the lines back.  Returns why it does no more: 0 at the end of the stream. */
static unring::task<int> echo(server &s, unring::raw::stream &stream)
{
    unring::signal       idle(s.stop);
    unring::buffer       input(1 << 16);
    unring::raw::framing lines;
    unr_framing_delimiter(&lines, "\n", 1, 1 << 16);
    for (;;) {
        auto line = co_await unring::within(
            s.patience, unring::bind(unring::read_frame(&stream, input.get(), &lines), idle));
        if (line.error == -ENODATA && input.view().empty())
            co_return 0;
        if (!line)
            co_return line.outcome();
        auto sent = co_await unring::within(
            s.patience, unring::write_all(&stream, input.view().data(), line.bytes));
        if (!sent)
            co_return sent.outcome();
        input.consume(line.bytes);
    }
}

/* What became of a session, and what it says to its client. */
struct farewell {
    const char      *words;
    std::string_view goodbye;
};

static farewell farewell_for(int why, bool cut)
{
    if (cut)
        return { "cut", "" };
    switch (why) {
    case 0: return { "over", "" };
    case -ESHUTDOWN: return { "ended with the server", "bye\n" };
    case -ETIMEDOUT: return { "timed out", "too slow\n" };
    case -EMSGSIZE: return { "sent too long a line", "too long\n" };
    default: return { unr_explain(why), "" };
    }
}

/* One client.  A session that is cancelled itself, by the deadline of the scope, is cut. */
static unring::task<> session(server &s, unring::descriptor socket)
{
    unring::raw::stream stream;
    unr_stream_socket(&stream, socket.get());
    int  why = co_await echo(s, stream);
    bool cut = (co_await unring::this_task::state).cancelled();
    auto [words, goodbye] = farewell_for(why, cut);
    if (!goodbye.empty())
        co_await unring::within(1s, unring::write_all(&stream, goodbye.data(), goodbye.size()));
    std::printf("session %d: %s\n", socket.get(), words);
}

/* Until the server is asked to end, or an exception: then the scope ends with its sessions. */
static unring::task<> accept_all(server &s)
{
    struct closes_at_end {
        unring::raw::scope &scope;
        ~closes_at_end()
        {
            unr_scope_close(&scope);
        }
    } closes_at_end{ s.sessions };
    unring::signal idle(s.stop);
    for (;;) {
        auto connection =
            co_await unring::bind(unring::accept(s.listener, nullptr, nullptr, SOCK_CLOEXEC), idle);
        if (connection.outcome() == -ESHUTDOWN)
            co_return;
        unring::spawn(s.sessions, session(s, std::move(connection.or_throw().fd)));
    }
}

/* Asks the server to end, and insists when the time is over. */
static unring::task<> interrupted(server &s)
{
    (co_await unring::sigwait(interrupts, 2)).or_throw();
    s.stop.emit(UNR_CANCEL_TOTAL, -ESHUTDOWN);
    unr_deadline_move(&s.end, unr_loop_now(co_await unring::this_task::loop) + s.grace.count());
}

/* The scope is started first, as the others start sessions in it.  Their exceptions end it. */
static unring::task<> serve(server &s)
{
    auto ended = co_await (unr_cancel_at(&s.end, unr_scope(&s.sessions), UNR_NEVER) && accept_all(s)
                           && interrupted(s));
    if (!ended.status.timed_out())
        std::move(ended).or_throw();
}

int main(int argc, char **argv)
{
    try {
        server s;
        double patience = 10, grace = 10;
        std::setvbuf(stdout, nullptr, _IOLBF, 0); /* a line is seen when its session has ended */
        if ((argc > 2 && !parse_seconds(argv[2], &patience))
            || (argc > 3 && !parse_seconds(argv[3], &grace)))
            die(0, "usage: echo_cpp [[HOST:]PORT [SECONDS FOR A LINE [SECONDS FOR THE END]]]");
        s.listener = listen_on_argument(argc < 2 ? argc : 2, argv);
        s.patience = seconds(patience);
        s.grace = seconds(grace);
        block_interrupts();
        unring::run(serve(s));
    } catch (const std::exception &caught) {
        die(0, caught.what());
    }
}
