// SPDX-License-Identifier: MIT
// unring.hpp on the simulated kernel: each scenario is enumerated to the end, and what is to be seen of it was seen.
// Runs every scenario, or those that are named; tests/test_cpp.sh builds it against libunring-sim.  One of them,
// read_race_of_all, has three million schedules, half a minute, and runs only if it is named.
#include <unring.hpp>
#include <unring/sim.h>

#include <cstring>

namespace {

using namespace std::chrono_literals;
using unring::result;
using unring::task;

void check(bool holds, const char *what)
{
    unr_sim_check(holds, what);
}

// How often each end was seen, in all schedules.
struct seen {
    const char *what;
    long        times;
};

// ---- a task with a deadline, a slot and a stop ----

seen race_seen[] = { { "all bytes came", 0 },
                     { "the deadline ended it", 0 },
                     { "the slot ended it", 0 },
                     { "the stop ended it", 0 },
                     { "a request came too late", 0 },
                     { "it never began", 0 } };

struct world {
    int              data[2], control[2];
    int              given = 0, taken = 0; // bytes
    std::stop_source stop;
    unr_remote       remote{}; // of the slot

    world()
    {
        unr_sim_socketpair(data, 0);
        unr_sim_socketpair(control, 0);
    }
    ~world()
    {
        for (int fd : { data[0], data[1], control[0], control[1] })
            unr_sim_close(fd);
    }
};

void peer_gives(void *context)
{
    auto *w = static_cast<world *>(context);
    w->given += static_cast<int>(unr_sim_write(w->data[1], "ab", 2));
}

void peer_asks(void *context)
{
    unr_remote_emit(&static_cast<world *>(context)->remote, UNR_CANCEL_TERMINAL, -7);
}

void peer_stops(void *context)
{
    static_cast<world *>(context)->stop.request_stop();
}

// Reads so many bytes, one by one.
task<int> reads(world &w, int n)
{
    auto state = co_await unring::this_task::state;
    char byte;
    for (int i = 0; i < n; i++) {
        result r = co_await unring::recv(w.data[0], &byte, 1, 0);
        check(r || (r.cancelled() && r.bytes == 0), "a read that was cancelled took nothing");
        check(r || state.cancelled(), "a read ends for what the task was asked");
        r.or_throw();
        check(byte == "ab"[i], "the bytes come in order");
        w.taken++;
    }
    co_return n;
}

void race(world &w, int n)
{
    unring::loop   loop;
    unring::signal signal;
    int            ended = 0;
    unr_remote_init(&w.remote, loop, signal.get());
    unring::spawn(
        loop,
        unring::stoppable(w.stop.get_token(),
                          unring::bind(unring::within(1ms, reads(w, n)), signal)),
        [&](unring::outcome<int> left) {
            const result &status = left.status();
            bool          thrown = left.exception() != nullptr;
            ended++;
            check(left || status.cancelled(), "it returned, or was cancelled");
            check(!left || (left.get() == n && w.taken == n && status.error == 0),
                  "a success is told as that");
            check(left || thrown || status.verdict == UNR_VERDICT_UNSUBMITTED,
                  "it threw, or never began");
            check(!status.cancelled() || status.cause == -ETIMEDOUT || status.cause == -7
                      || status.cause == -ECANCELED,
                  "the cause is that of one of the three");
            race_seen[0].times += static_cast<bool>(left);
            race_seen[1].times += status.timed_out();
            race_seen[2].times += status.cancelled() && status.cause == -7;
            race_seen[3].times += status.cancelled() && status.cause == -ECANCELED;
            race_seen[4].times += status.verdict == UNR_VERDICT_TOO_LATE;
            race_seen[5].times += status.verdict == UNR_VERDICT_UNSUBMITTED;
        });
    loop.run();
    unr_remote_disarm(&w.remote);
    check(ended == 1, "it has ended once");
    char rest[4];
    auto left = unr_sim_read(w.data[0], rest, sizeof rest);
    check(w.taken + (left > 0 ? left : 0) == w.given, "each byte was taken, or is still there");
}

// Two reads, the deadline, and two of these: bytes, a request through the slot, a stop.
void read_race(void *)
{
    world    w;
    unsigned left_out = unr_sim_choose(4);
    if (left_out == 3)
        w.stop.request_stop(); // before the start
    if (left_out != 0)
        unr_sim_later(peer_gives, &w);
    if (left_out != 1)
        unr_sim_later(peer_asks, &w);
    if (left_out < 2)
        unr_sim_later(peer_stops, &w);
    race(w, 2);
}

// One read, the deadline, and any of these.
void read_race_of_all(void *)
{
    world w;
    if (unr_sim_choose(2))
        unr_sim_later(peer_gives, &w);
    if (unr_sim_choose(2))
        unr_sim_later(peer_asks, &w);
    switch (unr_sim_choose(3)) {
    case 1: unr_sim_later(peer_stops, &w); break;
    case 2: w.stop.request_stop(); break;
    }
    race(w, 1);
}

// ---- operands, exceptions, and who loses ----

seen either_seen[] = { { "the task decided", 0 },
                       { "the read decided", 0 },
                       { "both succeeded", 0 },
                       { "the task had thrown", 0 },
                       { "the timer decided", 0 } };

task<int> one_byte(int fd)
{
    char byte;
    (co_await unring::recv(fd, &byte, 1, 0)).or_throw();
    if (byte == 'x')
        throw std::runtime_error("x");
    co_return 1;
}

task<> either_of(world &w)
{
    char byte;
    auto [index, task, read, timer] = co_await (
        one_byte(w.control[0]) || unring::recv(w.data[0], &byte, 1, 0) || unring::sleep_for(1ms));
    check(index >= 0, "nobody outside asked");
    check(index != 0 || task, "a task that threw does not decide while others can");
    check(index != 1 || read, "the read decided by a success");
    check(index != 2 || timer, "the timer decided by a success");
    check(task || task.exception() || task.status().cancelled(), "a task has an outcome");
    w.taken += static_cast<int>(read.bytes);
    either_seen[0].times += index == 0;
    either_seen[1].times += index == 1;
    either_seen[2].times += task && read;
    either_seen[3].times += task.exception() && !task.status().cancelled();
    either_seen[4].times += index == 2;
}

void peer_says(void *context)
{
    auto *w = static_cast<world *>(context);
    unr_sim_write(w->control[1], unr_sim_choose(2) ? "x" : "y", 1);
}

void either(void *)
{
    world        w;
    unring::loop loop;
    unr_sim_later(peer_gives, &w);
    unr_sim_later(peer_says, &w);
    int ended = 0;
    unring::spawn(loop, either_of(w), [&](unring::outcome<> left) {
        left.get();
        ended++;
    });
    loop.run();
    check(ended == 1, "it has ended once");
    char rest[4];
    auto left = unr_sim_read(w.data[0], rest, sizeof rest);
    check(w.taken + (left > 0 ? left : 0) == w.given, "each byte was taken, or is still there");
}

// ---- a loop that is closed ----

seen close_seen[] = { { "it had ended before", 0 },
                      { "the closing ended it", 0 },
                      { "its clean-up ran", 0 } };

// Says goodbye in any case: closing the loop takes the shield away, and the close of a descriptor runs.
task<int> session(world &w, bool deaf, int fd)
{
    auto state = co_await unring::this_task::state;
    if (deaf)
        state.reset(unr_let_none);
    char   byte;
    result r = co_await unring::recv(w.data[0], &byte, 1, 0);
    state.preempt(false);
    result closed = co_await unring::close(fd);
    check(closed.error == 0, "a close runs whatever was requested");
    close_seen[2].times += !r;
    r.or_throw();
    co_return 1;
}

void closing(void *)
{
    world        w;
    int          extra[2], ended = 0;
    unr_sim_socketpair(extra, 0);
    unr_sim_later(peer_gives, &w);
    unring::loop loop;
    unring::spawn(loop, session(w, unr_sim_choose(2), extra[0]), [&](unring::outcome<int> left) {
        ended++;
        check(left || left.status().cancelled(), "it has read, or the closing ended it");
        close_seen[1].times += !left;
    });
    for (unsigned turns = unr_sim_choose(3); turns--;)
        unr_loop_run_once(loop, UNR_MSEC(1));
    close_seen[0].times += ended;
    check(loop.close() == 0 && ended == 1, "the loop closes when it has ended");
    unr_sim_close(extra[1]);
}

// A task that is started while the loop is being closed never begins, and its arguments are destroyed.
seen late_seen[] = { { "it never began", 0 } };

struct frees {
    int *count;
    explicit frees(int *where) : count(where)
    {
    }
    frees(frees &&other) noexcept : count(std::exchange(other.count, nullptr))
    {
    }
    ~frees()
    {
        if (count)
            ++*count;
    }
};

task<> never(frees)
{
    check(false, "it does not run");
    co_return;
}

task<> starts_late(frees argument)
{
    result r = co_await unring::sleep_for(std::chrono::nanoseconds::max());
    check(r.cancelled() && r.cause == -ESHUTDOWN, "the closing ended it");
    unring::spawn(co_await unring::this_task::loop, never(std::move(argument)),
                  [](unring::outcome<> left) {
                      check(!left && left.status().verdict == UNR_VERDICT_UNSUBMITTED
                                && left.status().cause == -ESHUTDOWN,
                            "it never began");
                      late_seen[0].times++;
                  });
}

void late(void *)
{
    int freed = 0;
    {
        unring::loop loop;
        unring::spawn(loop, starts_late(frees(&freed)));
        unr_loop_run_once(loop, 0);
    }
    check(freed == 1, "the argument was destroyed once");
}

// ---- want of memory ----

seen memory_seen[] = { { "there was no memory for a timer", 0 }, { "there was", 0 } };

enum { TIMERS_WITH_ROOM = 256 };

task<int> at_once()
{
    co_return 1;
}

// A deadline that finds no memory for its timer does not begin what is inside: none of that is told as done.
task<> bounded()
{
    char byte;
    auto [index, task, read]
        = co_await unring::within(1ms, at_once() && unring::recv(-1, &byte, 1, 0));
    if (task) {
        check(index == 1 && read.error == -EBADF, "the read failed, and not the task");
        memory_seen[1].times++;
        co_return;
    }
    check(index == -1 && read.error == -ENOMEM && task.status().error == -ENOMEM && !task.exception(),
          "nothing has begun");
    int code = 0;
    try {
        task.get();
    } catch (const std::system_error &caught) {
        code = caught.code().value();
    }
    check(code == ENOMEM, "there is no value");
    memory_seen[0].times++;
}

void memory(void *)
{
    unr_loop *opened;
    if (unr_loop_open(&opened, nullptr) < 0)
        return;
    int ended = 0;
    // so many timers have room: of different lengths, as those of one length share a place
    static unring::raw::timer others[TIMERS_WITH_ROOM];
    for (auto &timer : others) {
        timer = {};
        unr_start(opened, unr_timer_after(&timer, UNR_SEC(1 + (&timer - others))), nullptr, nullptr);
    }
    unring::spawn(opened, bounded(), [&](unring::outcome<> left) {
        left.get();
        ended++;
    });
    while (!ended)
        unr_loop_run_once(opened, UNR_NEVER);
    unr_loop_close(opened);
    check(ended == 1, "it has ended once");
}

// ---- fibers and tasks ----

seen fiber_seen[] = { { "the value came through", 0 }, { "the exception came through", 0 } };

task<> through_both(world &w)
{
    auto fiber = unring::fiber([&w] {
        char byte;
        auto [index, read, timer]
            = unring::await(unring::recv(w.data[0], &byte, 1, 0) || unring::sleep_for(1ms));
        check(index == (read ? 0 : 1) || (read && timer), "one of them decided");
        w.taken += static_cast<int>(read.bytes);
        if (!read)
            throw std::runtime_error("nothing came");
        return w.taken;
    });
    try {
        check(co_await std::move(fiber) == 1, "the value");
        fiber_seen[0].times++;
    } catch (const std::runtime_error &caught) {
        check(!strcmp(caught.what(), "nothing came"), "the exception");
        fiber_seen[1].times++;
    }
}

void fibers(void *)
{
    world        w;
    unring::loop loop;
    if (unr_sim_choose(2))
        unr_sim_later(peer_gives, &w);
    unring::spawn(loop, through_both(w));
    loop.run();
    char rest[4];
    auto left = unr_sim_read(w.data[0], rest, sizeof rest);
    check(w.taken + (left > 0 ? left : 0) == w.given, "each byte was taken, or is still there");
}

// ---- nurseries ----

seen nursery_seen[] = { { "nobody failed", 0 },
                        { "the body failed first", 0 },
                        { "a child failed first", 0 },
                        { "two failed", 0 },
                        { "the deadline ended it", 0 },
                        { "its body never began", 0 },
                        { "the deadline came too late", 0 } };

// What is in a nursery: how many run, and in which order they have failed.
struct family {
    int         alive = 0, failures = 0;
    bool        began = false;
    const char *first = nullptr;
};

struct is_alive {
    family &of;
    explicit is_alive(family &whose) : of(whose)
    {
        of.alive++;
    }
    is_alive(const is_alive &) = delete;
    ~is_alive()
    {
        of.alive--;
    }
};

// Fails when its byte is an x.
task<int> reads_one(family &f, int fd, const char *name)
{
    is_alive here(f);
    char     byte;
    (co_await unring::recv(fd, &byte, 1, 0)).or_throw();
    if (byte == 'x') {
        f.failures++;
        f.first = f.first ? f.first : name;
        throw std::runtime_error(name);
    }
    co_return 1;
}

void peer_writes(void *context)
{
    unr_sim_write(*static_cast<int *>(context), unr_sim_choose(2) ? "x" : "y", 1);
}

void peer_writes_x(void *context)
{
    unr_sim_write(*static_cast<int *>(context), "x", 1);
}

// The body and a child wait for a byte each, another child for the end of the nursery, and there is a deadline.
task<int> family_of(family &f, world &w)
{
    return unring::with_nursery([&](unring::nursery &nursery) -> task<int> {
        f.began = true;
        nursery.spawn(reads_one(f, w.control[0], "child"));
        nursery.spawn([&]() -> task<> {
            is_alive here(f);
            result   r = co_await unring::sleep_for(std::chrono::nanoseconds::max());
            check(r.cancelled(), "it was asked to end");
            r.or_throw();
        });
        int n = co_await reads_one(f, w.data[0], "body");
        if (unr_sim_choose(2))
            nursery.cancel();
        else
            nursery.spawn([&f, &nursery]() -> task<> { // the body is left by then
                is_alive here(f);
                co_await unring::nop();
                nursery.cancel();
            });
        co_return n;
    });
}

// The deadline comes in the nursery; or before it, and then its body does not begin.
task<int> family_in(family &f, world &w, bool late)
{
    if (late)
        co_await unring::sleep_for(std::chrono::nanoseconds::max());
    co_return co_await family_of(f, w);
}

void families(void *)
{
    family       f;
    world        w;
    unring::loop loop;
    int          ended = 0;
    bool         late = unr_sim_choose(2), both = !late && unr_sim_choose(2);
    unr_sim_later(both ? peer_writes_x : peer_writes, &w.data[1]);
    if (both) // and no deadline ends what they do not
        unr_sim_later(peer_writes_x, &w.control[1]);
    auto time = both ? std::chrono::nanoseconds::max() : 1ms;
    unring::spawn(loop, unring::within(time, family_in(f, w, late)), [&](unring::outcome<int> left) {
        const result &status = left.status();
        const char   *first = nullptr;
        check(f.alive == 0, "it ends when its children have ended");
        try {
            check(left.get() == 1 && !f.first && status.error == 0, "a value where nobody failed");
        } catch (const std::runtime_error &failure) {
            first = failure.what();
            if (!f.first)
                check(status.timed_out(), "it was ended by the deadline");
        }
        check(!f.first || (first && !strcmp(first, f.first)), "the first failure is told");
        check(!left.exception() || f.first || status.cancelled(), "what nobody failed in was cancelled");
        nursery_seen[0].times += static_cast<bool>(left);
        nursery_seen[1].times += f.first && !strcmp(f.first, "body");
        nursery_seen[2].times += f.first && !strcmp(f.first, "child");
        nursery_seen[3].times += f.failures == 2;
        nursery_seen[4].times += status.timed_out() && left.exception();
        nursery_seen[5].times += !f.began;
        nursery_seen[6].times += status.verdict == UNR_VERDICT_TOO_LATE;
        ended++;
    });
    loop.run();
    check(ended == 1, "it has ended once");
}

// Whatever else was requested, it tells what has ended the child: the value is kept where that was cancel(), or nothing.
seen twice_seen[] = { { "cancel() ended the child", 0 },
                      { "the deadline ended it", 0 },
                      { "the closing ended it", 0 },
                      { "nothing did", 0 },
                      { "the deadline came behind cancel()", 0 } };

task<int> asked_twice(world &w, int &ended_by)
{
    return unring::with_nursery([&](unring::nursery &nursery) -> task<int> {
        unsigned cancels = unr_sim_choose(3);
        nursery.spawn([&]() -> task<> {
            char   byte;
            result r = co_await unring::recv(w.data[0], &byte, 1, 0);
            ended_by = r ? 0 : r.cause;
            r.or_throw();
        });
        if (cancels == 1)
            nursery.cancel();
        co_await unring::shielded([&w]() -> task<> {
            char byte;
            co_await unring::recv(w.control[0], &byte, 1, 0);
        });
        if (cancels == 2)
            nursery.cancel();
        co_return 5;
    });
}

void twice(void *)
{
    world        w;
    unring::loop loop;
    int          ended_by = 1, ended = 0;
    if (unr_sim_choose(2))
        unr_sim_later(peer_gives, &w);
    unr_sim_later(peer_writes_x, &w.control[1]);
    unring::spawn(loop, unring::within(1ms, asked_twice(w, ended_by)), [&](unring::outcome<int> left) {
        const result &status = left.status();
        int           code = 0;
        try {
            check(left.get() == 5, "the value");
        } catch (const std::system_error &caught) {
            code = -caught.code().value();
        }
        bool by_own = ended_by == -ECANCELED, began = ended_by != 1;
        check(began || status.cancelled(), "it never began");
        check(!began || code == (by_own ? 0 : ended_by), "what has ended the child is told");
        twice_seen[0].times += by_own;
        twice_seen[1].times += ended_by == -ETIMEDOUT;
        twice_seen[2].times += ended_by == -ESHUTDOWN;
        twice_seen[3].times += ended_by == 0;
        twice_seen[4].times += by_own && status.verdict == UNR_VERDICT_TOO_LATE;
        ended++;
    });
    unsigned turns = unr_sim_choose(3);
    if (turns == 2)
        loop.run();
    else if (turns == 1)
        loop.run_once();
    check(loop.close() == 0 && ended == 1, "it has ended once");
}

// Children whose failure is looked at end nobody, and a request of TOTAL ends the idle ones alone.
seen drain_seen[] = { { "a child failed for itself", 0 }, { "one read its byte", 0 }, { "an idle one ended", 0 } };

task<> drains(family &f, world &w)
{
    char byte = 0;
    co_await unring::with_nursery([&](unring::nursery &nursery) -> task<> {
        nursery.spawn(reads_one(f, w.control[0], "independent"), [&](unring::outcome<int> left) {
            check(left || left.exception(), "it was not cancelled: TOTAL is nothing to a task");
            check(f.failures == (left.exception() ? 1 : 0), "the handler is given what it throws");
            drain_seen[0].times += !left;
            drain_seen[1].times += static_cast<bool>(left);
        });
        nursery.spawn(unring::recv(w.data[0], &byte, 1, 0), [&](result r) {
            check(r.cancelled() && r.cause == -ESHUTDOWN, "it was idle");
            drain_seen[2].times++;
        });
        if (unr_sim_choose(2))
            co_await unring::sleep_for(1ms);
        nursery.cancel(UNR_CANCEL_TOTAL, -ESHUTDOWN);
        nursery.spawn(unring::nop(), [](result r) {
            check(r.verdict == UNR_VERDICT_UNSUBMITTED, "a later child is asked before it begins");
        });
    });
}

void drain(void *)
{
    family       f;
    world        w;
    unring::loop loop;
    int          ended = 0;
    unr_sim_later(peer_writes, &w.control[1]);
    unring::spawn(loop, drains(f, w), [&](unring::outcome<> left) {
        check(f.alive == 0, "it ends when its children have ended");
        int code = 0;
        try {
            left.get();
        } catch (const std::system_error &caught) {
            code = caught.code().value();
        }
        check(code == ESHUTDOWN, "a nursery that was stopped tells the cause");
        ended++;
    });
    loop.run();
    check(ended == 1, "it has ended once");
}

// ---- clean-ups that await ----

seen clean_seen[] = { { "the block returned", 0 },
                      { "the deadline ended the block", 0 },
                      { "the closing ended the block", 0 },
                      { "the clean-up was closed upon", 0 } };

seen owner_seen[] = { { "a child began when the scope had ended", 0 },
                      { "the wait was ended, and not what it was for", 0 } };

// What is started stays with its owner, which stops it whatever it is asked meanwhile.
task<> owner(world &w)
{
    char            byte;
    unring::started read(co_await unring::this_task::loop, unring::recv(w.control[0], &byte, 1, 0));
    co_await read.ended();
    owner_seen[1].times += read.in_flight();
    co_await read.stop();
    check(!read.in_flight(), "it has ended");
}

task<> says_goodbye(int fd, int &cleaned)
{
    result r = co_await unring::sleep_for(1ms);
    check(r || r.cause == -ESHUTDOWN, "only a loop that closes goes through a shield");
    clean_seen[3].times += !r;
    r = co_await unring::close(fd);
    check(r.error == 0, "a close runs whatever was requested");
    cleaned++;
}

// Its body starts a child when the closing loop has ended it, and so the scope of the children: that one runs all the same.
task<> starts_at_the_end(world &w, int fd, int &closed)
{
    co_await unring::with_nursery([&](unring::nursery &nursery) -> task<> {
        char   byte;
        result r = co_await unring::recv(w.control[0], &byte, 1, 0);
        nursery.spawn(unring::close(fd), [&](result close) {
            check(close.error == 0, "a close runs whatever was requested");
            closed++;
        });
        owner_seen[0].times += r.cause == -ESHUTDOWN;
        check(nursery.children() == 1, "it is a child");
    });
}

void clean(void *)
{
    world w;
    int   extra[2], cleaned = 0, ended = 0;
    unr_sim_socketpair(extra, 0);
    unr_sim_later(peer_gives, &w);
    unring::loop loop;
    unring::spawn(
        loop,
        unring::within(1ms, unring::finally([&w]() -> task<int> { co_return co_await reads(w, 1); },
                                            [&] { return says_goodbye(extra[0], cleaned); })),
        [&](unring::outcome<int> left) {
            const result &status = left.status();
            check(left || status.cancelled(), "it has read, or was cancelled");
            check((cleaned == 1) == (status.verdict != UNR_VERDICT_UNSUBMITTED), "it was cleaned up");
            clean_seen[0].times += static_cast<bool>(left);
            clean_seen[1].times += !left && status.timed_out();
            clean_seen[2].times += !left && status.cause == -ESHUTDOWN;
            ended++;
        });
    for (unsigned turns = unr_sim_choose(4); turns--;)
        unr_loop_run_once(loop, UNR_MSEC(1));
    check(loop.close() == 0 && ended == 1, "the loop closes when it has ended");
    if (!cleaned)
        unr_sim_close(extra[0]);
    unr_sim_close(extra[1]);
}

void closing_owners(void *)
{
    world w;
    int   extra[2], closed = 0, ended = 0;
    unr_sim_socketpair(extra, 0);
    unring::loop loop;
    if (unr_sim_choose(2)) {
        unring::spawn(loop, unring::within(1ms, owner(w)), [&](unring::outcome<>) { ended++; });
    } else {
        unring::spawn(loop, starts_at_the_end(w, extra[1], closed), [&](unring::outcome<> left) {
            check(!left || closed == 1, "it ends when its child has ended");
            ended++;
        });
    }
    unr_sim_later(peer_writes, &w.control[1]);
    for (unsigned turns = unr_sim_choose(3); turns--;)
        unr_loop_run_once(loop, UNR_MSEC(1));
    check(loop.close() == 0 && ended == 1, "the loop closes when it has ended");
    unr_sim_close(extra[0]);
    if (!closed)
        unr_sim_close(extra[1]);
}

struct scenario {
    const char *name;
    void (*run)(void *);
    seen    *sights;
    size_t   n;
    unsigned faults;
    bool     takes_long;
};

template <size_t N>
constexpr scenario of(const char *name, void (*run)(void *), seen (&sights)[N], unsigned faults = 0,
                      bool takes_long = false)
{
    return { name, run, sights, N, faults, takes_long };
}

const scenario scenarios[] = {
    of("read_race", read_race, race_seen),
    of("read_race_of_all", read_race_of_all, race_seen, 0, true),
    of("either", either, either_seen),
    of("closing", closing, close_seen),
    of("late", late, late_seen),
    of("memory", memory, memory_seen, UNR_FAULT_RESOURCES),
    of("fibers", fibers, fiber_seen),
    of("families", families, nursery_seen),
    of("twice", twice, twice_seen),
    of("drain", drain, drain_seen),
    of("clean", clean, clean_seen),
    of("closing_owners", closing_owners, owner_seen),
};

bool explore(const scenario &s, uint64_t &schedules)
{
    unr_explore_options options = {};
    unr_exploration     found;
    options.size = sizeof options;
    options.faults = s.faults;
    options.schedules_max = 10000000;
    if (unr_explore(s.run, nullptr, &options, &found) < 0) {
        printf("%s: %s\n    replay: %s\n", s.name, found.failure, found.schedule);
        return false;
    }
    bool good = found.complete;
    schedules += found.schedules;
    printf("%s: %llu schedules%s\n", s.name, static_cast<unsigned long long>(found.schedules),
           good ? "" : ", and there are more");
    for (size_t i = 0; i < s.n; i++)
        if (s.sights[i].times == 0) {
            printf("%s: never seen: %s\n", s.name, s.sights[i].what);
            good = false;
        }
    return good;
}

} // namespace

int main(int count, char **arguments)
{
    int      failed = 0, ran = 0;
    uint64_t schedules = 0;
    for (const scenario &s : scenarios) {
        bool wanted = count == 1 && !s.takes_long;
        for (int i = 1; i < count; i++)
            wanted |= !strcmp(arguments[i], s.name);
        if (wanted) {
            failed += !explore(s, schedules);
            ran++;
        }
    }
    printf("%d scenarios, all %llu schedules\n", ran, static_cast<unsigned long long>(schedules));
    return failed || !ran;
}
