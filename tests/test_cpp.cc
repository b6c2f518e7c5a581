// SPDX-License-Identifier: MIT
// unring.hpp on the real kernel: operations, groups, tasks, cancellation states, fibers, stops and owners.
// Runs every case, or those that are named; tests/test_cpp.sh builds it.  tests/test_cpp_sim.cc has the races.
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unring.hpp>

#include <array>
#include <atomic>
#include <climits>
#include <cstring>
#include <functional>
#include <future>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

namespace {

using namespace std::chrono_literals;
using unring::result;
using unring::task;

// ---- what the cases need ----

void must(bool is_so, const char *what, int line)
{
    if (is_so)
        return;
    fprintf(stderr, "test_cpp.cc:%d: %s\n", line, what);
    _Exit(99);
}
#define MUST(...) must(static_cast<bool>(__VA_ARGS__), #__VA_ARGS__, __LINE__)

// Two connected sockets.
struct pair {
    int         fds[2];
    explicit pair(int type = SOCK_STREAM)
    {
        MUST(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) == 0);
    }
    pair(const pair &) = delete;
    ~pair()
    {
        ::close(fds[0]);
        ::close(fds[1]);
    }
    void write(std::string_view text)
    {
        MUST(::write(fds[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }
    int here() const
    {
        return fds[0];
    }
};

int open_descriptors()
{
    int n = 0;
    for (int fd = 0; fd < 1000; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

// Counts how many there are: an argument that a compiler destroys twice, or not at all, is seen.
struct counted {
    static inline int alive = 0;
    int               number;
    explicit counted(int n = 0) : number(n)
    {
        alive++;
    }
    counted(const counted &other) : number(other.number)
    {
        alive++;
    }
    counted(counted &&other) noexcept : number(std::exchange(other.number, -1))
    {
        alive++;
    }
    ~counted()
    {
        MUST(number != -2);
        number = -2;
        alive--;
    }
};

// Runs a function in a child process, which is to end by SIGABRT with these words.
void aborts(const char *words, const std::function<void()> &function)
{
    int fds[2];
    MUST(::pipe(fds) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], 2);
        function();
        _Exit(0);
    }
    ::close(fds[1]);
    std::string said;
    char        buf[512];
    for (ssize_t n; (n = ::read(fds[0], buf, sizeof buf)) > 0;)
        said.append(buf, static_cast<size_t>(n));
    ::close(fds[0]);
    int status;
    MUST(waitpid(pid, &status, 0) == pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || said.find(words) == said.npos) {
        fprintf(stderr, "wanted '%s', status %x:\n%s\n", words, status, said.c_str());
        MUST(!"it ends as it should");
    }
}

// Returns what() of what is thrown.
template <class Function> std::string words_thrown(Function function)
{
    try {
        function();
    } catch (const std::exception &caught) {
        return caught.what();
    }
    return "";
}

template <class Function> int code_thrown(Function function)
{
    try {
        function();
    } catch (const std::system_error &caught) {
        return caught.code().value();
    }
    return 0;
}

task<int> returns(int value)
{
    co_return value;
}

task<int> throws(const char *what)
{
    throw std::runtime_error(what);
    co_return 0;
}

auto endless()
{
    return unring::sleep_for(std::chrono::nanoseconds::max());
}

// What owns something is moved at most, and its destructor throws nothing.
template <class... Owners>
constexpr bool owners_are_so = ((std::is_nothrow_destructible_v<Owners> && !std::is_copy_constructible_v<Owners>) && ...);
static_assert(owners_are_so<unring::loop, unring::descriptor, unring::opened, unring::signal, unring::buffer, task<>,
                            task<int>, unring::started<task<>>, unring::started<decltype(endless())>>);
static_assert(std::is_nothrow_move_constructible_v<unring::loop> && std::is_nothrow_move_constructible_v<task<>>
              && std::is_nothrow_move_constructible_v<unring::descriptor>
              && !std::is_move_constructible_v<unring::started<task<>>>);

// ---- operations ----

// Every form of an operation can be awaited, and an object that says how more than once.
task<> awaits_each_form()
{
    pair sockets;
    char buf[8];

    sockets.write("one");
    result r = co_await unring::recv(sockets.here(), buf, sizeof buf, 0);
    MUST(r && r.bytes == 3 && r.outcome() == 0 && !r.cancelled());

    unring::raw::op mine{};
    sockets.write("two");
    r = co_await unr_recv(&mine, sockets.here(), buf, sizeof buf, 0);
    MUST(r.bytes == 3 && mine.result.bytes == 3);
    sockets.write("three");
    r = co_await unring::described(unr_recv(&mine, sockets.here(), buf, sizeof buf, 0));
    MUST(r.bytes == 5);

    auto read = unring::op([&](unring::raw::op *op) { return unr_recv(op, sockets.here(), buf, 1, 0); });
    sockets.write("four");
    MUST((co_await read).bytes == 1);
    auto copy = read;
    MUST((co_await copy).bytes == 1);
    MUST((co_await std::move(read)).bytes == 1);

    unring::raw::stream stream;
    unring::raw::buffer buffer;
    unr_stream_socket(&stream, sockets.here());
    unr_buffer_init(&buffer, 100);
    sockets.write("|five|");
    r = co_await unring::read_until(&stream, &buffer, "|", 1);
    MUST(r && r.bytes == 2);
    unr_buffer_consume(&buffer, 2);
    r = co_await unring::op<unring::raw::reader>(
        [&](auto *reader) { return unr_read_until(reader, &stream, &buffer, "|", 1); });
    MUST(r && r.bytes == 5);
    unr_buffer_free(&buffer);

    r = co_await unring::read(-1, buf, sizeof buf, 0);
    MUST(!r && r.error == -EBADF);
    MUST(code_thrown([&] { r.or_throw(); }) == EBADF);
    MUST(co_await unring::sleep_for(0s));
    MUST(co_await unring::sleep_until(std::chrono::steady_clock::now()));
}

void operations()
{
    unring::run(awaits_each_form());
}

// What an operation opens is owned by what it leaves, also if nobody looks at it.
task<> opens()
{
    int before = open_descriptors();
    {
        unring::opened null = co_await unring::openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);
        MUST(null && null.fd && open_descriptors() == before + 1);
        unring::descriptor fd = std::move(null.fd);
        MUST(fd.get() >= 0 && !null.fd);
        MUST(co_await unring::close(fd.release()));
        MUST(open_descriptors() == before);

        fd = (co_await unring::openat(AT_FDCWD, "/dev/null", O_RDONLY, 0)).or_throw().fd;
        MUST(fd && open_descriptors() == before + 1);
        fd = unring::descriptor();
        MUST(open_descriptors() == before);
    }
    co_await unring::openat(AT_FDCWD, "/dev/null", O_RDONLY, 0);
    MUST(open_descriptors() == before);
    {
        auto both = co_await (unring::openat(AT_FDCWD, "/dev/null", O_RDONLY, 0)
                              || unring::openat(AT_FDCWD, "/dev/null", O_RDONLY, 0));
        MUST(both.index >= 0 && std::get<0>(both.members) && std::get<1>(both.members));
        MUST(open_descriptors() == before + 2);
    }
    MUST(open_descriptors() == before);
    unring::opened none = co_await unring::openat(AT_FDCWD, "/no/such/file", O_RDONLY, 0);
    MUST(!none && !none.fd && none.error == -ENOENT);
}

void descriptors()
{
    unring::run(opens());
}

// What is thrown names the operation: a system call, one that is made of several or described by hand, a task, and of a
// group the member that decided.
task<> names_in_exceptions()
{
    char            byte;
    unring::raw::op mine{};
    auto            bad = [&] { return unring::recv(-1, &byte, 1, 0); };
    result          r = co_await bad();
    MUST(words_thrown([&] { r.or_throw(); }) == "recv: Bad file descriptor");
    r = co_await unr_send(&mine, -1, &byte, 1, 0);
    MUST(words_thrown([&] { r.or_throw(); }) == "send: Bad file descriptor");
    r = co_await unring::op([](unring::raw::op *op) { return unr_close(op, -1); });
    MUST(words_thrown([&] { r.or_throw(); }) == "close: Bad file descriptor");
    r = co_await unring::within(1h, unring::shielded(bad()));
    MUST(words_thrown([&] { r.or_throw(); }) == "recv: Bad file descriptor");
    r = co_await unring::within(1ms, endless());
    MUST(words_thrown([&] { r.or_throw(); }) == "timer: Connection timed out");
    auto opened = co_await unring::openat(AT_FDCWD, "/no/such/file", O_RDONLY, 0);
    MUST(words_thrown([&] { opened.or_throw(); }) == "openat: No such file or directory");
    auto all = co_await (unring::nop() && bad() && endless());
    MUST(words_thrown([&] { all.or_throw(); }) == "recv: Bad file descriptor");
    auto nested = co_await (bad() || (unring::nop() && bad()));
    MUST(words_thrown([&] { nested.or_throw(); }) == "recv: Bad file descriptor");
    auto in_task = co_await unring::any([&]() -> task<> { (co_await bad()).or_throw(); });
    MUST(words_thrown([&] { in_task.or_throw(); }) == "recv: Bad file descriptor");
    unring::signal latched(unring::signal::LATCHED);
    latched.emit();
    auto never = co_await unring::any(unring::bind(returns(1).named("session"), latched));
    MUST(words_thrown([&] { std::get<0>(never.members).get(); }) == "session: Operation canceled");
    r = result();
    r.error = -EPIPE;
    MUST(words_thrown([&] { r.or_throw(); }) == "unring: Broken pipe");
}

void names()
{
    unring::run(names_in_exceptions());
}

// ---- groups ----

task<> races()
{
    pair sockets;
    char buf[8];
    {
        auto [index, read, late] = co_await (unring::recv(sockets.here(), buf, sizeof buf, 0)
                                             || unring::sleep_for(1ms));
        MUST(index == 1 && late && read.cancelled());
    }
    sockets.write("x");
    {
        auto [index, read, late]
            = co_await (unring::recv(sockets.here(), buf, sizeof buf, 0) || endless());
        MUST(index == 0 && read.bytes == 1 && late.cancelled());
    }
    { // more than two are one group, on whichever side a described one is
        unring::raw::op nop{};
        auto [index, first, second, third] = co_await (endless() || endless() || unr_nop(&nop));
        MUST(index == 2 && first.cancelled() && second.cancelled() && third);
        auto [other, one, two] = co_await (unr_nop(&nop) || endless());
        MUST(other == 0 && one && two.cancelled());
    }
    { // a loser that has succeeded as well
        auto [index, one, other] = co_await (unring::nop() || unring::nop());
        MUST(index >= 0 && one && other);
    }
    { // none succeeds: the first to fail is told
        auto lost = co_await (throws("a") || unring::read(-1, buf, 1, 0));
        MUST(lost.status.error && lost.index == (lost.status.error == -EBADF ? 1 : 0));
    }
    { // one group in another
        auto [index, inner, rest] = co_await ((returns(7) && unring::nop()) || endless());
        MUST(index == 0 && inner.status && rest.cancelled());
        MUST(std::get<0>(inner.members).get() == 7);
    }
    {
        auto all = co_await (returns(1) && returns(2) && unring::sleep_for(0s));
        MUST(all.status && all.index >= 0);
        auto [one, two, slept] = std::move(all).values();
        MUST(one == 1 && two == 2 && slept);
    }
    {
        auto [index, kept, failed] = co_await (endless() && throws("b"));
        MUST(index == 1 && kept.cancelled() && failed.exception() && !failed);
    }
}

void groups()
{
    unring::run(races());
}

// An exception is an outcome: it decides as an error does, and whoever takes the value gets it.
task<> exceptions_are_outcomes()
{
    auto [index, failed, slept] = co_await (throws("lost") || unring::sleep_for(1ms));
    MUST(index == 1 && slept && !failed && failed.status().error == -ENOTRECOVERABLE);
    std::string what;
    try {
        failed.get();
    } catch (const std::runtime_error &caught) {
        what = caught.what();
    }
    MUST(what == "lost");

    auto both = co_await (returns(1) && throws("both"));
    MUST(both.index == 1 && both.status.error == -ENOTRECOVERABLE);
    what.clear();
    try {
        std::move(both).or_throw();
    } catch (const std::runtime_error &caught) {
        what = caught.what();
    }
    MUST(what == "both");

    auto none = co_await (unring::read(-1, nullptr, 0, 0) && endless());
    MUST(code_thrown([&] { std::move(none).values(); }) == EBADF);

    try { // thrown where the task is awaited, through two tasks
        co_await []() -> task<> { co_await throws("through"); }();
        MUST(!"thrown");
    } catch (const std::runtime_error &caught) {
        what = caught.what();
    }
    MUST(what == "through");
}

void exceptions()
{
    unring::run(exceptions_are_outcomes());
}

template <class T> task<T> code_of(std::error_code code)
{
    throw std::system_error(code);
    co_return T();
}

task<result> returns_result(int error)
{
    result r;
    r.error = error;
    co_return r;
}

// What a task throws or returns is told to what is around it as an errno.
task<> codes()
{
    auto error_of = [](auto one) -> task<int> {
        auto left = co_await unring::any(std::move(one));
        co_return std::get<0>(left.members).status().error;
    };
    MUST(co_await error_of(code_of<int>({ EPERM, std::system_category() })) == -EPERM);
    MUST(co_await error_of(code_of<int>({ EDOM, std::generic_category() })) == -EDOM);
    MUST(co_await error_of(code_of<int>(std::make_error_code(std::future_errc::no_state)))
         == -ENOTRECOVERABLE);
    MUST(co_await error_of(code_of<int>({ -3, std::system_category() })) == -ENOTRECOVERABLE);
    MUST(co_await error_of([]() -> task<> {
             throw std::bad_alloc();
             co_return;
         }()) == -ENOMEM);
    MUST(co_await error_of(returns_result(-EPIPE)) == -EPIPE);
    MUST(co_await error_of(returns_result(0)) == 0);
    MUST(co_await error_of(returns(-1)) == 0); // a value
}

void errors()
{
    unring::run(codes());
}

// Any number of like members.
task<> many()
{
    std::vector<task<int>> tasks;
    for (int i = 0; i < 100; i++)
        tasks.push_back(returns(i));
    auto all = co_await unring::all(std::move(tasks));
    MUST(all.status && all.members.size() == 100);
    for (int i = 0; i < 100; i++)
        MUST(all.members[static_cast<size_t>(i)].get() == i);

    using sleep = decltype(endless());
    std::vector<sleep> sleeps{ endless(), unring::sleep_for(0s), endless() };
    auto               any = co_await unring::any(sleeps);
    MUST(any.index == 1 && any.members[0].cancelled() && any.members[1] && any.members[2].cancelled());
    auto none = co_await unring::any(std::vector<sleep>{});
    MUST(none.index == -1 && none.status && none.members.empty());
    none.or_throw();

    tasks.clear();
    tasks.push_back(returns(1));
    tasks.push_back(throws("in a list"));
    auto failed = co_await unring::all(std::move(tasks));
    MUST(failed.exception() && words_thrown([&] { failed.or_throw(); }) == "in a list");
    std::vector reads(1, unring::recv(-1, nullptr, 0, 0));
    auto        errors = co_await unring::any(reads);
    MUST(!errors.exception() && words_thrown([&] { std::move(errors).or_throw(); }) == "recv: Bad file descriptor");
}

void lists()
{
    unring::run(many());
}

// ---- wrappers ----

using seconds = std::chrono::duration<double>;
using thirds = std::chrono::duration<long long, std::ratio<1, 3>>;

// A time in any unit becomes the next whole nanosecond, and one that is too long is never.
static_assert(unring::detail::nanoseconds_of(1.5s) == 1'500'000'000);
static_assert(unring::detail::nanoseconds_of(-1.5s) == -1'500'000'000);
static_assert(unring::detail::nanoseconds_of(std::chrono::duration<float>(0.25f)) == 250'000'000);
static_assert(unring::detail::nanoseconds_of(seconds(0.1)) == 100'000'000);
static_assert(unring::detail::nanoseconds_of(std::chrono::duration<float>(100000.1f)) == 100'000'101'562'500);
static_assert(unring::detail::nanoseconds_of(std::chrono::duration<float>(0.1f)) == 100'000'002);
static_assert(unring::detail::nanoseconds_of(seconds(9223372036.854774)) < UNR_NEVER);
static_assert(unring::detail::nanoseconds_of(seconds(9223372036.854776)) == UNR_NEVER);
static_assert(unring::detail::nanoseconds_of(std::chrono::duration<double, std::nano>(1.001)) == 2);
static_assert(unring::detail::nanoseconds_of(std::chrono::duration<int, std::pico>(1001)) == 2);
static_assert(unring::detail::nanoseconds_of(std::chrono::duration<int, std::ratio<1, 3>>(1)) == 333'333'334);
static_assert(unring::detail::nanoseconds_of(thirds(-1)) == -333'333'333);
static_assert(unring::detail::nanoseconds_of(thirds(20'000'000'000)) == 6'666'666'666'666'666'667);
static_assert(unring::detail::nanoseconds_of(thirds(-20'000'000'000)) == -6'666'666'666'666'666'666);
static_assert(unring::detail::nanoseconds_of(thirds(30'000'000'000)) == UNR_NEVER);
static_assert(unring::detail::nanoseconds_of(std::chrono::duration<unsigned long long, std::pico>(-1ull))
              == 18'446'744'073'709'552);
static_assert(unring::detail::nanoseconds_of(std::chrono::duration<int, std::ratio<999'999'937, 1'000'000'007>>(1))
              == 999'999'931);
static_assert(unring::detail::nanoseconds_of(std::chrono::duration<signed char>(100)) == 100'000'000'000);
static_assert(unring::detail::nanoseconds_of(std::chrono::hours(1)) == 3'600'000'000'000);
static_assert(unring::detail::nanoseconds_of(std::chrono::nanoseconds::max()) == UNR_NEVER);
static_assert(unring::detail::nanoseconds_of(std::chrono::nanoseconds::max() - 1ns) == UNR_NEVER - 1);
static_assert(unring::detail::nanoseconds_of(std::chrono::nanoseconds::min()) == INT64_MIN);
static_assert(unring::detail::nanoseconds_of(std::chrono::hours::max()) == UNR_NEVER);
static_assert(unring::detail::nanoseconds_of(std::chrono::hours::min()) == INT64_MIN);
static_assert(unring::detail::nanoseconds_of(std::chrono::duration<unsigned long>(-1ul)) == UNR_NEVER);
static_assert(unring::detail::nanoseconds_of(seconds(1e300)) == UNR_NEVER);
static_assert(unring::detail::nanoseconds_of(seconds(-1e300)) == INT64_MIN);
static_assert(unring::detail::nanoseconds_of(seconds(std::numeric_limits<double>::infinity())) == UNR_NEVER);

task<> with_any_duration()
{
    MUST(co_await unring::sleep_for(0.001s));
    MUST(co_await unring::sleep_until(std::chrono::steady_clock::now() + 0.001s));
    MUST((co_await unring::within(0.001s, unring::delayed(1.5h, unring::nop()))).timed_out());
    MUST((co_await unring::before(std::chrono::steady_clock::now() - 0.5s, endless())).timed_out());
    auto [index, nop, slept] = co_await (unring::nop() || unring::sleep_for(std::chrono::hours::max()));
    MUST(index == 0 && nop && slept.cancelled());
}

void durations()
{
    unring::run(with_any_duration());
    unring::loop loop;
    MUST(loop.run_once(0.5h) == 0 && loop.run_once() == 0);
    aborts("a time: not a number",
           [] { (void)unring::sleep_for(seconds(std::numeric_limits<double>::quiet_NaN())); });
}

task<> wraps()
{
    pair sockets;
    char buf[8];
    auto read = unring::recv(sockets.here(), buf, sizeof buf, 0);

    result r = co_await unring::within(1ms, read);
    MUST(r.timed_out() && r.cancelled() && r.outcome() == -ETIMEDOUT);
    MUST(code_thrown([&] { r.or_throw(); }) == ETIMEDOUT);
    r = co_await unring::before(std::chrono::steady_clock::now() + 1ms, read);
    MUST(r.timed_out());
    r = co_await unring::before(std::chrono::steady_clock::now() - 1ms, read);
    MUST(r.timed_out() && r.verdict == UNR_VERDICT_UNSUBMITTED);
    r = co_await unring::within(1h, unring::delayed(1ms, unring::nop()));
    MUST(r);
    unring::raw::op nop{};
    r = co_await unring::within(1h, unr_nop(&nop));
    MUST(r);

    // the inner deadline is not the outer one's, and a group in a deadline has its outcomes
    auto [index, one, two] = co_await unring::within(1ms, read || endless());
    MUST(index == -1 && one.timed_out() && two.timed_out());

    unring::signal stop;
    {
        auto [which, shielded, emitted] = co_await (
            unring::bind(unring::shielded(unring::within(2ms, read)), stop) || [&]() -> task<> {
                MUST(stop.emit() == 0); // refused
                co_return;
            });
        MUST(which == 1 && emitted && shielded.timed_out());
    }
    { // asked for TOTAL, it is asked for PARTIAL, which the sleep supports as well
        auto to_partial = [](void *, unsigned type) -> unsigned {
            return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_PARTIAL : 0u;
        };
        auto [which, sleep, emitted] = co_await (
            unring::bind(unring::filtered(endless(), to_partial), stop) && [&]() -> task<> {
                MUST(stop.emit(UNR_CANCEL_TERMINAL) == 0);
                MUST(stop.emit(UNR_CANCEL_TOTAL, -7) == 1);
                co_return;
            });
        MUST(which == 0 && sleep.cancelled() && sleep.cause == -7 && emitted);
    }
}

void wrappers()
{
    unring::run(wraps());
}

// An operation that is bound twice is reached through both slots, whatever it is; a signal may be a child.
template <class Op> task<> bound_twice(Op &op)
{
    for (int i = 0; i < 2; i++) {
        unring::signal parent, inner(parent), outer(unring::signal::LATCHED);
        auto [which, left, emitted] = co_await (
            unring::bind(unring::bind(op(), inner), outer) && [&]() -> task<> {
                MUST((i ? outer : parent).emit(UNR_CANCEL_ALL, -70 - i) == 1);
                co_return;
            });
        MUST(which == 0 && left.outcome() == -70 - i && emitted);
    }
}

task<> binds()
{
    unring::raw::op    mine{};
    unring::raw::timer timer{};
    pair               sockets;
    char               buf[8];
    auto read = [&] { return unring::recv(sockets.here(), buf, sizeof buf, 0); };
    auto described = [&] { return unring::described(unr_timer_after(&timer, UNR_NEVER)); };
    auto group = [&] { return unring::within(1h, read()); };
    co_await bound_twice(read);
    co_await bound_twice(described);
    co_await bound_twice(group);

    unring::signal latched(unring::signal::LATCHED);
    latched.emit(UNR_CANCEL_TOTAL, -9);
    result r = co_await unring::bind(read(), latched);
    MUST(r.verdict == UNR_VERDICT_UNSUBMITTED && r.cause == -9);
    latched.reset();
    MUST(co_await unring::bind(unring::nop(), latched));
    (void)mine;
}

void bindings()
{
    unring::run(binds());
}

// ---- tasks ----

task<std::unique_ptr<int>> moves()
{
    co_return std::make_unique<int>(3);
}

task<std::string> adds(std::string a, counted, const std::string &b)
{
    co_await unring::nop();
    co_return a + b;
}

// Values come back, arguments live as long as they must, and are destroyed once, also those of a
// task that never began, and temporaries of the expression that awaits.
task<> values()
{
    MUST(*co_await moves() == 3);
    MUST(co_await adds("a", counted(1), std::string("b")) == "ab");
    MUST(counted::alive == 0);
    for (int i = 0; i < 3; i++) {
        auto [index, first, second] = co_await (adds("long enough for the heap: ", counted(1), std::string(50, 'x'))
                                                && adds("c", counted(2), std::string("d")));
        MUST(index >= 0 && first.get().size() == 76 && second.get() == "cd");
    }
    MUST(counted::alive == 0);
    {
        auto never = adds("a", counted(1), std::string());
        MUST(counted::alive == 1 && never);
        auto moved = std::move(never);
        MUST(!never && moved && counted::alive == 1);
        moved = adds("b", counted(1), std::string());
        MUST(counted::alive == 1);
        auto operand = std::move(moved) || endless();
        MUST(counted::alive == 1);
    }
    MUST(counted::alive == 0);
    auto held = [keep = counted(5)]() -> task<int> {
        co_await unring::nop();
        co_return keep.number;
    };
    MUST(co_await held() == 5);
    auto [index, left, nop] = co_await unring::all(std::move(held), unring::nop());
    MUST(index >= 0 && left.get() == 5 && nop);
    co_return;
}

// What belongs to a value has names of its own, some of which are unring's: unring.hpp means its own.
namespace names_of_a_value {
struct value {
    int number = 1;
};
template <class A, class B> bool any(A &&, B &&);
template <class A, class B> bool all(A &&, B &&);
template <class A> void as_operation(A &&);
template <class A> void value_from(A &&, int = 0);

task<value> one()
{
    co_return value();
}

task<int> sum()
{
    auto either = co_await (one() || one() || unring::nop());
    auto both = co_await (one() && one() && unring::nop());
    auto nursery = co_await unring::with_nursery([](unring::nursery &children) -> task<value> {
        children.spawn(one() && one());
        co_return co_await one();
    });
    auto [first, second, nop] = std::move(both).values();
    MUST(either.index >= 0 && nop.error == 0);
    co_return first.number + second.number + nursery.number;
}
} // namespace names_of_a_value

void tasks()
{
    unring::run(values());
    MUST(unring::run(names_of_a_value::sum()) == 3);
    MUST(counted::alive == 0);
    MUST(unring::run(returns(42)) == 42);
    MUST(unring::run([value = 43] { return returns(value); }) == 43);
    try {
        unring::run(throws("out of run"));
        MUST(!"thrown");
    } catch (const std::runtime_error &caught) {
        MUST(caught.what() == std::string("out of run"));
    }
}

struct throws_when_moved {
    throws_when_moved() = default;
    throws_when_moved(const throws_when_moved &)
    {
        throw std::runtime_error("a parameter");
    }
};

task<> takes(throws_when_moved)
{
    co_return;
}

// Thrown before the first await: by the call itself, or by the coroutine, which ends as a whole.
task<> early()
{
    throws_when_moved argument;
    std::string       what;
    try {
        co_await takes(argument);
    } catch (const std::runtime_error &caught) {
        what = caught.what();
    }
    MUST(what == "a parameter");
    try {
        co_await throws("at once");
    } catch (const std::runtime_error &caught) {
        what = caught.what();
    }
    MUST(what == "at once");
    try { // while the operation that is awaited is made
        co_await unring::any([]() -> task<> { throw std::runtime_error("made"); }, endless());
        MUST(!"thrown");
    } catch (const std::runtime_error &caught) {
        what = caught.what();
    }
    MUST(what == "made");

    int  caught = 0;
    auto fails = unring::op([](unring::raw::op *) -> unr_op * { throw std::runtime_error("described"); });
    for (int i = 0; i < 3; i++) {
        try { // while it is described
            if (i == 0)
                co_await fails;
            else if (i == 1)
                co_await (unring::sleep_for(1h) && fails);
            else
                co_await unring::fiber([&] { unring::await(fails); });
        } catch (const std::runtime_error &error) {
            caught += error.what() == std::string("described");
        }
        MUST(co_await unring::nop());
    }
    MUST(caught == 3);
}

void early_exceptions()
{
    unring::run(early());
    unring::loop loop;
    int          status = 0;
    unring::spawn(loop, throws("spawned"), [&](unring::outcome<int> left) {
        MUST(left.exception() && !left);
        status = left.status().error;
    });
    MUST(status == 0); // `done` runs later
    loop.run();
    MUST(status == -ENOTRECOVERABLE);
}

task<int> adds_up(int depth)
{
    if (depth == 0)
        co_return 0;
    co_return 1 + co_await adds_up(depth - 1);
}

task<> in_a_row()
{
    int sum = 0;
    for (int i = 0; i < 300000; i++)
        sum += co_await returns(1);
    MUST(sum == 300000);
    MUST(co_await adds_up(50000) == 50000);
    for (int i = 0; i < 1000; i++) {
        auto [index, left] = co_await unring::any(returns(1));
        MUST(index == 0 && left.get() == 1);
    }
}

// On a small stack: tasks that complete in a row, or one in the other, do not make it grow, also
// without optimisation.
void a_row_of_tasks()
{
    pthread_attr_t attributes;
    pthread_t      thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    MUST(pthread_create(
             &thread, &attributes,
             [](void *) -> void * {
                 unring::run(in_a_row());
                 return nullptr;
             },
             nullptr)
         == 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
}

// ---- cancellation states ----

// A task that is co_awaited shares its caller's state; one that is an operand has its own.
task<> shares(bool shared, unr_cancel_state *callers)
{
    auto state = co_await unring::this_task::state;
    MUST((state.get() == callers) == shared);
    if (shared)
        state.reset(unr_let_none);
}

task<> state_is_shared()
{
    auto state = co_await unring::this_task::state;
    MUST(state.cancelled() == 0 && state.cause() == 0);
    MUST(co_await unring::this_task::loop != nullptr);
    co_await shares(true, state.get());
    co_await unring::any(shares(false, state.get()));
    co_await unring::within(1h, shares(false, state.get()));
}

// What it lets in, by default, is TERMINAL.
task<int> waits(unsigned types, unr_filter_fn *in, unr_filter_fn *out, bool &begun, result &left)
{
    auto state = co_await unring::this_task::state;
    if (in)
        state.reset(in, out);
    begun = true;
    left = co_await unring::within(types ? 1h : 2ms, endless());
    MUST(state.cancelled() == types && state.cause() == (types ? -7 : 0));
    co_return 1;
}

struct matrix {
    unsigned       emitted;
    unr_filter_fn *in, *out;
    unsigned       let_in, asked;
};

task<> filters(const matrix &m)
{
    unring::signal signal;
    bool           begun = false;
    result         left;
    auto [index, waited, emitted] = co_await (
        unring::bind(waits(m.let_in, m.in, m.out, begun, left), signal)
        && [&]() -> task<> {
            MUST(begun);
            MUST((signal.emit(m.emitted, -7) != 0) == (m.let_in != 0));
            co_return;
        });
    MUST(emitted && index >= 0);
    if (m.asked)
        MUST(waited && left.cancelled() && left.cause == -7 && left.requested == m.asked);
    else
        MUST(left.timed_out());
    if (m.asked)
        MUST(waited.status().verdict == UNR_VERDICT_TOO_LATE); // it returned a value all the same
}

unsigned total_is_partial(void *, unsigned type)
{
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_PARTIAL : type;
}

// A request stays: what is awaited later ends before it begins, until it is reset or not pre-empted.
task<> stays(int &steps)
{
    auto   state = co_await unring::this_task::state;
    result r = co_await endless();
    MUST(r.cancelled() && state.cancelled() == UNR_CANCEL_TERMINAL && state.cause() == -8);
    r = co_await unring::nop();
    MUST(r.cancelled() && r.verdict == UNR_VERDICT_UNSUBMITTED);
    MUST(co_await returns(5) == 5); // a task begins all the same
    auto [index, one, two] = co_await (unring::nop() || endless());
    MUST(index == -1 && one.verdict == UNR_VERDICT_UNSUBMITTED && two.cancelled());
    auto group = co_await (returns(1) && returns(2));
    MUST(group.index == -1 && !std::get<0>(group.members));
    MUST(code_thrown([&] { std::get<0>(group.members).get(); }) == 8);
    state.preempt(false);
    MUST(co_await unring::nop());
    state.preempt(true);
    MUST(!(co_await unring::nop()));
    state.reset();
    MUST(state.cancelled() == 0 && (co_await unring::nop()));
    steps++;
}

task<> cancels_that_stay()
{
    int            steps = 0;
    unring::signal signal;
    auto [index, left, emitted] = co_await (unring::bind(stays(steps), signal) && [&]() -> task<> {
        MUST(signal.emit(UNR_CANCEL_PARTIAL, -9) == 0); // refused
        MUST(signal.emit(UNR_CANCEL_ALL, -8) == 1);
        co_return;
    });
    MUST(index >= 0 && steps == 1 && left && emitted);
}

void states()
{
    static const matrix all[] = {
        { UNR_CANCEL_TERMINAL, nullptr, nullptr, UNR_CANCEL_TERMINAL, UNR_CANCEL_TERMINAL },
        { UNR_CANCEL_TOTAL, nullptr, nullptr, 0, 0 },
        { UNR_CANCEL_TOTAL, unr_let_total, unr_let_total, UNR_CANCEL_TOTAL, UNR_CANCEL_TOTAL },
        { UNR_CANCEL_TOTAL, unr_let_partial, unr_let_partial, 0, 0 },
        { UNR_CANCEL_TOTAL, total_is_partial, unr_let_total, UNR_CANCEL_PARTIAL, UNR_CANCEL_PARTIAL },
        { UNR_CANCEL_TOTAL, unr_let_total, total_is_partial, UNR_CANCEL_TOTAL, UNR_CANCEL_PARTIAL },
        { UNR_CANCEL_ALL, unr_let_none, unr_let_none, 0, 0 },
    };
    unring::run(state_is_shared());
    for (const matrix &m : all)
        unring::run(filters(m));
    unring::run(cancels_that_stay());
}

task<> never_runs(counted argument)
{
    MUST(!argument.number);
    co_return;
}

task<> through_errors()
{
    (co_await endless()).or_throw();
}

// What a task tells of the end that was asked of it.
task<> ends_by_request()
{
    unring::signal latched(unring::signal::LATCHED);
    latched.emit(UNR_CANCEL_ALL, -ESTALE);
    {
        auto [index, left] = co_await unring::any(unring::bind(never_runs(counted(1)), latched));
        MUST(!left && !left.exception() && left.status().verdict == UNR_VERDICT_UNSUBMITTED);
        MUST(code_thrown([&, &left = left] { left.get(); }) == ESTALE && index == 0);
    }
    MUST(counted::alive == 0);

    // it throws what it was asked for: it was cancelled, by the deadline, and that is the cause
    auto [index, left] = co_await unring::any(unring::within(1ms, through_errors()));
    MUST(left.status().timed_out() && left.status().guarantee == UNR_CANCEL_TERMINAL && index == 0);
    MUST(code_thrown([&, &left = left] { left.get(); }) == ETIMEDOUT);

    // as with any other cause, also one that is no errno
    for (int cause : { -70000, INT_MIN }) {
        unring::started asked(co_await unring::this_task::loop, through_errors());
        co_await asked.stop(UNR_CANCEL_ALL, cause);
        auto told = asked.take();
        MUST(told.status().cancelled() && told.status().cause == cause);
    }

    // so is the error of a closing loop that another sends, whatever was asked, and refused, meanwhile
    for (auto out : { unr_let_none, unr_let_terminal }) {
        unring::signal asks;
        auto           fails = [&]() -> task<> {
            (co_await unring::this_task::state).reset(out, unr_let_none);
            MUST(co_await unring::nop());
            throw std::system_error(ESHUTDOWN, std::system_category(), "the peer");
        };
        auto request = [&]() -> task<> {
            MUST(asks.emit() == (out == unr_let_terminal));
            co_return;
        };
        auto both = co_await (unring::bind(fails(), asks) && request());
        MUST(both.index == 0 && std::get<0>(both.members).status().error == -ESHUTDOWN);
    }

    // a deadline of its own is an error of its own
    auto own = []() -> task<> { (co_await unring::within(1ms, endless())).or_throw(); };
    auto [which, mine] = co_await unring::any(own());
    MUST(mine.status().error == -ETIMEDOUT && !mine.status().cancelled() && which == 0);

    // where the task awaits its child, the time-out is the child's
    try {
        co_await unring::within(1ms, through_errors());
        MUST(!"thrown");
    } catch (const std::system_error &caught) {
        MUST(caught.code() == std::errc::timed_out);
    }
}

void ends()
{
    unring::run(ends_by_request());
}

// ---- starting ----

void spawning()
{
    unring::loop loop;
    int          sum = 0;
    pair         sockets;
    char         buf[8];
    unring::spawn(loop, [&sum, add = counted(3)]() -> task<> { // what it captures stays
        co_await unring::nop();
        sum += add.number;
    });
    unring::spawn(loop, returns(4), [&](unring::outcome<int> left) { sum += left.get(); });
    unring::spawn(loop, unring::recv(sockets.here(), buf, sizeof buf, 0),
                  [&](result r) { sum += static_cast<int>(r.bytes); });
    unring::raw::op mine{};
    unring::spawn(loop, unr_nop(&mine));
    sockets.write("12345");
    MUST(sum == 0);
    loop.run();
    MUST(sum == 12 && counted::alive == 0);

    // a task that was cancelled may say so by an exception
    unring::signal signal;
    unring::spawn(loop, unring::bind(through_errors(), signal));
    MUST(signal.emit() == 1);
    loop.run();
    unring::spawn(loop, through_errors());
    loop.run_once(0s);
    MUST(loop.close() == 0);

    { // what ends while a loop is being closed may start others
        int          ended = 0;
        unring::loop again;
        unring::spawn(again, endless(), [&](result) {
            unring::spawn(again, unring::nop(), [&](result r) { ended += r.cause == -ESHUTDOWN; });
        });
        MUST(again.close() == 0 && ended == 1 && !again.get());
    }

    { // shielded() is the same around a lambda, for which a function may stand
        int          shielded = 0;
        auto         shy = [&]() -> task<> { shielded += !co_await unring::sleep_for(1h); };
        unring::loop closes;
        unring::spawn(closes, [&]() -> task<> {
            co_await endless();
            co_await unring::shielded(shy);
        });
        unring::spawn(closes, through_errors);
        closes.run_once(0s);
        MUST(closes.close() == 0 && shielded == 1);
    }

    { // the closing ends what a request with another cause was ending
        auto goes_on = []() -> task<> {
            MUST((co_await endless()).cause == -ECANCELED);
            (co_await unring::this_task::state).preempt(false);
            (co_await endless()).or_throw();
        };
        auto awaits = [&]() -> task<> { co_await unring::within(1h, goes_on()); };
        int          ended = 0;
        unring::loop closes;
        unring::spawn(closes, unring::bind(awaits, signal), [&](unring::outcome<> left) {
            MUST(left.exception() && left.status().cancelled() && left.status().cause == -ECANCELED);
            ended++;
        });
        closes.run_once(0s);
        MUST(signal.emit() == 1);
        closes.run_once(0s);
        MUST(closes.close() == 0 && ended == 1);
    }

    unring::loop closing; // though it lets nothing in
    unring::spawn(closing, []() -> task<> {
        (co_await unring::this_task::state).reset(unr_let_none);
        (co_await endless()).or_throw();
    });
    closing.run_once(0s);
    MUST(closing.close() == 0);

    aborts("nobody takes it", [] {
        unring::loop another;
        unring::spawn(another, throws("nobody takes it"));
        another.run();
    });
    aborts("nobody takes it", [] { // nor from a group
        unring::loop another;
        unring::spawn(another, endless() && (throws("nobody takes it") || throws("nobody takes it")));
        another.run();
    });
    unring::spawn(loop = unring::loop(), returns(1) || throws("it has not decided"));
    loop.run();
}

task<> counts(int &ended, unring::signal &idle)
{
    unring::signal mine(idle);
    result         r = co_await unring::bind(endless(), mine);
    MUST(r.cause == -ESHUTDOWN);
    ended++;
}

// A server's graceful end: members of a scope, which is awaited beside what starts them.
task<> serves(int &ended)
{
    unring::signal     idle(unring::signal::LATCHED);
    unring::raw::scope scope{};
    auto [index, members, starts] = co_await (unring::described(unr_scope(&scope)) && [&]() -> task<> {
        for (int i = 0; i < 10; i++)
            unring::spawn(scope, counts(ended, idle));
        co_await unring::nop();
        MUST(ended == 0 && idle.emit(UNR_CANCEL_TOTAL, -ESHUTDOWN) == 10);
        unring::spawn(scope, counts(ended, idle), [&](unring::outcome<> left) { MUST(left); });
        unr_scope_close(&scope);
    });
    MUST(index >= 0 && members.value == 11 && ended == 11 && starts);
}

void scopes()
{
    int ended = 0;
    unring::run(serves(ended));
    MUST(ended == 11);
}

task<> owns_started()
{
    unr_loop *loop = co_await unring::this_task::loop;
    {
        unring::started pings(loop, through_errors());
        MUST(pings.in_flight());
        MUST(pings.cancel(UNR_CANCEL_ALL, -7));
        co_await pings.ended();
        MUST(!pings.in_flight());
        auto left = pings.take();
        MUST(left.status().cause == -7 && left.status().cancelled());
    }
    unring::started value(loop, returns(8));
    MUST(co_await value.ended());
    MUST(value.take().get() == 8);
    co_await unring::all(unring::join(value.get()), unring::nop());

    int before = open_descriptors();
    {
        unring::started not_taken(loop, unring::socket(AF_UNIX, SOCK_STREAM, 0));
        co_await not_taken.ended();
        MUST(open_descriptors() == before + 1);
    }
    MUST(open_descriptors() == before);
}

void owners()
{
    unring::run(owns_started());

    unring::loop one, other;
    unr_loop    *was = other;
    one = std::move(other);
    MUST(one.get() == was && !other.get() && other.close() == 0);
    MUST(one.run_once(0s) == 0);
    one.stop();
    one.run();
    unr_loop_options options = {};
    options.size = 1;
    MUST(code_thrown([&] { unring::loop wrong(&options); }) == EINVAL);
    MUST(code_thrown([&] { unring::run(returns(1), &options); }) == EINVAL);
}

task<> moved_from()
{
    auto one = returns(1);
    MUST(co_await std::move(one) == 1);
    MUST(!one);
    co_await std::move(one);
}

// Mistakes are named.
void broken_contracts()
{
    aborts("session: dropped while it is in flight", [] {
        unring::loop    loop;
        unring::started dropped(loop, through_errors().named("session"));
        loop.run_once(0s);
        loop.stop(); /* the owner goes first, as it was made last */
    });
    aborts("nop: dropped while it is in flight", [] {
        unring::loop    loop;
        unring::started dropped(loop, unring::nop());
    });
    aborts("task: awaited", [] { unring::run(moved_from()); });
    aborts("task: started", [] {
        auto       one = returns(1);
        auto       other = std::move(one);
        unring::run(std::move(one));
    });
    aborts("task: taken twice", [] {
        unring::loop    loop;
        unring::started once(loop, returns(1));
        loop.run();
        (void)once.take();
        (void)once.take();
    });
    aborts("task: taken while it is in flight", [] {
        unring::loop    loop;
        unring::started once(loop, through_errors());
        (void)once.take();
    });
    aborts("unr_await", [] {
        unring::loop loop;
        unring::await(unring::nop());
    });
}

// ---- nurseries and clean-ups ----

task<std::unique_ptr<int>> sums(int n)
{
    auto sum = std::make_unique<int>(0);
    co_await unring::with_nursery([&](unring::nursery &nursery) -> task<> {
        for (int i = 1; i <= n; i++)
            nursery.spawn([&sum, i]() -> task<> {
                co_await unring::nop();
                *sum += i;
            });
        MUST(nursery.children() == static_cast<size_t>(n) && *sum == 0);
        co_return;
    });
    co_return sum; // when they have ended
}

// Its moves throw from the given one on.
struct throws_later {
    static inline int alive = 0, moves_left = 0;
    const int         number; // nor may it be assigned
    explicit throws_later(int n) : number(n)
    {
        alive++;
    }
    throws_later(throws_later &&other) : number(other.number)
    {
        if (moves_left-- == 0)
            throw std::runtime_error("moved");
        alive++;
    }
    ~throws_later()
    {
        alive--;
    }
};

task<throws_later> makes_one()
{
    co_await unring::nop();
    co_return throws_later(5);
}

// A value that throws where it is moved is an exception of what has left it, wherever that is.
void moves_that_throw()
{
    auto make = [] { return throws_later(5); };
    auto in_nursery = [](bool as_child) {
        return unring::with_nursery([as_child](unring::nursery &nursery) -> task<throws_later> {
            if (as_child)
                nursery.spawn(makes_one());
            if (as_child)
                co_await through_errors();
            co_return throws_later(5);
        });
    };
    auto await_group = []() -> task<int> {
        auto both = co_await (makes_one() && unring::openat(AT_FDCWD, "/dev/null", O_RDONLY, 0));
        MUST(std::get<1>(both.members).fd);
        co_return std::get<0>(both.members).get().number;
    };
    auto spawns = []() -> task<int> {
        int number = 0;
        co_await unring::with_nursery([&](unring::nursery &nursery) -> task<> {
            nursery.spawn(makes_one(), [&](unring::outcome<throws_later> left) {
                number = left ? 5 : -1;
                MUST(!left == (left.exception() != nullptr));
            });
            co_return;
        });
        if (number < 0)
            throw std::runtime_error("moved");
        co_return number;
    };
    const std::function<int()> all[] = {
        [] { return unring::run(makes_one()).number; },
        [] { return unring::run(unring::finally(makes_one(), [] { return returns(0); })).number; },
        [&] { return unring::run(unring::fiber(make)).number; },
        [&] { return unring::run(unring::work(make)).number; },
        [&] { return unring::run(unring::work_abandonable(make)).number; },
        [&] { return unring::run(await_group()); },
        [&] { return unring::run(in_nursery(false)).number; },
        [&] { return unring::run(spawns()); },
    };
    for (const auto &one : all) {
        int moves = 0, number = 0;
        do {
            throws_later::moves_left = moves;
            std::string words = words_thrown([&] { number = one(); });
            MUST(number == 5 || words == "moved");
            MUST(throws_later::alive == 0);
        } while (number != 5 && ++moves);
        MUST(moves > 0);
    }
    for (int moves = 0; moves < 2; moves++) { // a child's: that it is dropped needs a move more
        throws_later::moves_left = moves;
        MUST(words_thrown([&] { unring::run(in_nursery(true)); }) == "moved");
        MUST(throws_later::alive == 0);
    }
}

struct no_default {
    int number;
    explicit no_default(int n) : number(n)
    {
    }
};

task<> nursery_ends()
{
    MUST(*co_await sums(100) == 5050);
    auto value = [](unring::nursery &) -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(6); };
    MUST(*co_await unring::with_nursery(value) == 6);
    MUST(*co_await unring::with_nursery([](unring::nursery &nursery) -> task<std::unique_ptr<int>> {
        nursery.spawn(through_errors());
        nursery.cancel(); // on purpose
        co_return std::make_unique<int>(6);
    }) == 6);

    // the first failure, by an exception or an error, is told; an error names its operation
    auto fails_by = [](auto what) {
        return unring::with_nursery([what = std::move(what)](unring::nursery &nursery) mutable -> task<> {
            nursery.spawn(through_errors());
            nursery.spawn(std::move(what));
            co_await through_errors();
        });
    };
    auto words = [](auto nursery) -> task<std::string> {
        auto left = co_await unring::any(std::move(nursery));
        co_return words_thrown([&] { std::get<0>(left.members).get(); });
    };
    MUST(co_await words(fails_by(throws("child"))) == "child");
    MUST(co_await words(fails_by(unring::recv(-1, nullptr, 0, 0))) == "recv: Bad file descriptor");
    MUST(co_await words(fails_by(unring::nop() && unring::recv(-1, nullptr, 0, 0))) == "recv: Bad file descriptor");
    std::vector<task<int>> list;
    list.push_back(throws("in a list"));
    MUST(co_await words(fails_by(unring::all(std::move(list)))) == "in a list");
    MUST(co_await words(fails_by(returns_result(-EPIPE).named("session"))) == "session: Broken pipe");
    MUST(co_await words(fails_by(unring::fiber([] { throw std::runtime_error("fiber"); }))) == "fiber");
    MUST(co_await words(fails_by(unring::within(1ms, endless()))) == "timer: Connection timed out"); // its own deadline
    MUST(co_await words(unring::with_nursery([](unring::nursery &nursery) -> task<int> {
        nursery.spawn(through_errors());
        co_return co_await throws("body");
    })) == "body");
    MUST(co_await words(unring::with_nursery([](unring::nursery &nursery) -> task<> {
        nursery.spawn(through_errors());
        nursery.cancel(UNR_CANCEL_ALL, -ESTALE);
        co_return;
    })) == "nursery: Stale file handle");

    // a value that is made of nothing, and one that is an error
    MUST((co_await unring::with_nursery([](unring::nursery &) -> task<no_default> { co_return no_default(7); })).number
         == 7);
    auto reads = [](unring::nursery &nursery) -> task<result> {
        nursery.spawn(through_errors());
        co_return co_await unring::read(-1, nullptr, 0, 0);
    };
    MUST((co_await unring::with_nursery(reads)).error == -EBADF);

    // a body that is no coroutine: it starts a child, and returns a task or throws
    for (bool fails : { false, true }) {
        int  ended = 0;
        auto ends = [&]() -> task<> {
            co_await unring::nop();
            ended++;
        };
        auto starts = [&, fails](unring::nursery &nursery) {
            nursery.spawn(ends);
            if (fails)
                throw std::runtime_error("no coroutine");
            return returns(8);
        };
        auto left = co_await unring::any(unring::with_nursery(starts));
        auto words_of = words_thrown([&] { MUST(std::get<0>(left.members).get() == 8); });
        MUST(words_of == (fails ? "no coroutine" : "") && ended == 1);
    }

    // in a fiber, and around one
    co_await unring::fiber([] {
        MUST(unring::await(unring::with_nursery([](unring::nursery &nursery) -> task<int> {
            nursery.spawn(unring::fiber([] { unring::await(unring::nop()); }));
            co_return 3;
        })) == 3);
    });
}

// Of two requests it tells the one that has ended something: cancel() before, from outside too late.
task<> nursery_asked_twice()
{
    auto goes_on = []() -> task<> { MUST(co_await unring::sleep_for(2ms)); };
    auto value = [&](unring::nursery &nursery) -> task<int> {
        nursery.spawn(through_errors());
        nursery.cancel();
        co_await unring::shielded(goes_on());
        co_return 5;
    };
    auto [index, left] = co_await unring::any(unring::within(1ms, unring::with_nursery(value)));
    MUST(index == 0 && left.status().verdict == UNR_VERDICT_TOO_LATE && left.get() == 5);

    // of two calls of cancel(), the one that has ended something: both are before the request from outside
    for (int cause : { -ECANCELED, -ESTALE }) {
        unring::signal late;
        auto           stops = [cause]() -> task<> {
            co_await unring::with_nursery([cause](unring::nursery &nursery) -> task<> {
                nursery.spawn(through_errors());
                nursery.cancel(UNR_CANCEL_TOTAL, cause == -ECANCELED ? -ECANCELED : -ETIMEDOUT);
                nursery.cancel(UNR_CANCEL_ALL, cause);
                co_return;
            });
        };
        auto outside = [&]() -> task<> {
            late.emit();
            co_return;
        };
        auto two = co_await (unring::bind(stops(), late) && outside());
        auto words_of = words_thrown([&] { std::get<0>(two.members).get(); });
        MUST(words_of == (cause == -ECANCELED ? "" : "nursery: Stale file handle"));
        auto drains = [cause](unring::nursery &nursery) -> task<> {
            nursery.cancel(UNR_CANCEL_TOTAL);
            co_await unring::shielded(unring::nop());
            nursery.cancel(UNR_CANCEL_ALL, cause);
            co_await through_errors();
        };
        two = co_await (unring::with_nursery(drains) && outside());
        words_of = words_thrown([&] { std::get<0>(two.members).get(); });
        MUST(words_of == (cause == -ECANCELED ? "" : "timer: Stale file handle"));
    }

    // a request from outside that ends one child is no failure of that one, which would end the others
    pair           sockets;
    char           full[4096] = {};
    unring::signal signal;
    while (::send(sockets.here(), full, sizeof full, MSG_DONTWAIT) > 0)
        ;
    auto drains = [&]() -> task<> {
        (co_await unring::this_task::state).reset(unr_let_partial, unr_let_partial);
        co_await unring::with_nursery([&](unring::nursery &nursery) -> task<> {
            nursery.spawn(unring::send(sockets.here(), full, sizeof full, MSG_WAITALL));
            nursery.spawn([&]() -> task<> {
                co_await unring::shielded(goes_on());
                MUST(co_await unring::nop());
            });
            nursery.cancel(UNR_CANCEL_TOTAL);
            co_return;
        });
    };
    auto asks = [&]() -> task<> {
        co_await unring::nop();
        MUST(signal.emit(UNR_CANCEL_PARTIAL, -7) == 1);
    };
    auto both = co_await (unring::bind(drains(), signal) && asks());
    MUST(code_thrown([&] { std::get<0>(both.members).get(); }) == 7);
}

task<> cleans_up()
{
    std::string order;
    auto        adds_to = [&](const char *what) {
        return [&order, what]() -> task<> {
            co_await unring::nop();
            order += what;
        };
    };
    MUST(co_await unring::finally(returns(4), adds_to("a")) == 4);
    auto words = co_await unring::any(unring::finally(throws("block"), adds_to("b")));
    MUST(words_thrown([&] { std::get<0>(words.members).get(); }) == "block");
    auto both = co_await unring::any(unring::finally(throws("block"), [] { return throws("clean-up"); }));
    MUST(words_thrown([&] { std::get<0>(both.members).get(); }) == "clean-up");
    auto late = co_await unring::any(unring::within(1ms, unring::finally(through_errors(), adds_to("c"))));
    MUST(std::get<0>(late.members).status().timed_out());
    MUST((co_await unring::finally(unring::recv(-1, nullptr, 0, 0), adds_to("d"))).error == -EBADF);
    MUST(order == "abcd");

    unring::started pings(co_await unring::this_task::loop, through_errors());
    MUST(co_await pings.stop(UNR_CANCEL_ALL, -7) && !pings.in_flight());
    MUST(co_await pings.stop()); // of one that has ended
    MUST(pings.take().status().cause == -7);
}

void nurseries()
{
    unring::run(nursery_ends());
    unring::run(nursery_asked_twice());
    moves_that_throw();
    unring::run(cleans_up());
}

// ---- fibers ----

int plain_function()
{
    return 9;
}

task<> with_fibers()
{
    MUST(co_await unring::fiber([] { return std::string("from a fiber"); }) == "from a fiber");
    MUST(co_await unring::fiber(plain_function) == 9);
    try {
        co_await unring::fiber([] {
            unring::await(unring::nop());
            throw std::runtime_error("in a fiber");
        });
        MUST(!"thrown");
    } catch (const std::runtime_error &caught) {
        MUST(caught.what() == std::string("in a fiber"));
    }
    // beside each other, with a negative number, which is a value
    auto [index, one, two, late] = co_await (unring::fiber([] { return -5; })
                                             && unring::fiber([] {
                                                    MUST(unring::await(returns(6)) == 6);
                                                    auto both = unring::await(unring::nop() || endless());
                                                    MUST(both.index == 0);
                                                    return std::make_unique<int>(6);
                                                })
                                             && unring::sleep_for(0s));
    MUST(index >= 0 && one.get() == -5 && *two.get() == 6 && late);

    // its state is its own, and a request ends it
    auto ends = [] {
        unring::cancellation_state state(unr_fiber_state());
        result                     r = unring::await(endless());
        MUST(r.cancelled() && state.cancelled());
        return r;
    };
    auto [which, left] = co_await unring::any(unring::within(1ms, unring::fiber(ends)));
    MUST(which == 0 && left && left.get().timed_out() && left.status().timed_out());

    // a name, and a stack that does not exist
    unring::raw::fiber_options options{ sizeof options, "small", 16 * 1024 };
    co_await unring::fiber(
        [] { MUST(!strcmp(unr_fiber_name(unr_fiber_self()), "small")); }, options);

    unring::signal latched(unring::signal::LATCHED);
    latched.emit();
    auto [w, never] = co_await unring::any(unring::bind(unring::fiber([] { return 1; }), latched));
    MUST(!never && !never.exception() && code_thrown([&, &never = never] { never.get(); }) == ECANCELED && w == 0);
}

void fibers()
{
    unring::run(with_fibers());
    MUST(unring::run(unring::fiber([] { return unring::await(returns(2)) + 1; })) == 3);
}

// ---- other threads ----

int listener_on_loopback(std::string &ret_port)
{
    sockaddr_in address{};
    socklen_t   len = sizeof address;
    int         fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    MUST(::bind(fd, reinterpret_cast<sockaddr *>(&address), len) == 0 && ::listen(fd, 4) == 0);
    MUST(getsockname(fd, reinterpret_cast<sockaddr *>(&address), &len) == 0);
    ret_port = std::to_string(ntohs(address.sin_port));
    return fd;
}

task<> on_threads()
{
    auto here = std::this_thread::get_id();
    MUST(co_await unring::work([&] { return std::this_thread::get_id() != here; }));
    try {
        co_await unring::work([] { throw std::runtime_error("on a thread"); });
        MUST(!"thrown");
    } catch (const std::runtime_error &caught) {
        MUST(caught.what() == std::string("on a thread"));
    }

    // one that looks, and is asked to return once it runs
    std::promise<void> begun;
    auto               looks = [&] {
        begun.set_value();
        while (!unr_work_cancelled())
            std::this_thread::yield();
        throw std::system_error(ECANCELED, std::system_category());
    };
    auto waits = [&]() -> task<> {
        co_await unring::work([&] { begun.get_future().wait(); });
    };
    auto [index, looked, waited] = co_await (unring::work(looks) || waits());
    MUST(index == 1 && waited && looked.status().cancelled());
    MUST(looked.status().guarantee == UNR_CANCEL_TERMINAL);

    // names: a number needs no thread, and what was found is given back
    auto found = co_await unring::resolve("127.0.0.1", "80");
    MUST(found && found.addresses && found.value > 0 && found.eai == 0);
    auto nothing = co_await unring::resolve(std::string(300, 'x'), "");
    MUST(!nothing && nothing.outcome() == -ENOENT && !nothing.addresses && nothing.eai == EAI_NONAME);

    std::string port;
    int         listener = listener_on_loopback(port);
    auto        connected =
        co_await unring::within(1000s, unring::connect_name("127.0.0.1", port.c_str()));
    MUST(connected && connected.fd);
    ::close(::accept(listener, nullptr, nullptr));
    ::close(listener);
}

// Says that it is destroyed, once and wherever that is.
struct says_goodbye {
    std::shared_ptr<std::promise<std::thread::id>> to;
    explicit says_goodbye(std::shared_ptr<std::promise<std::thread::id>> whom) : to(std::move(whom))
    {
    }
    says_goodbye(says_goodbye &&other) noexcept = default;
    ~says_goodbye()
    {
        if (to)
            to->set_value(std::this_thread::get_id());
    }
};

// Work that is abandoned owns what it has captured, and destroys it where it ends; any other gives back what it leaves.
task<> abandons()
{
    auto adds = [a = counted(4)] { return std::make_unique<int>(a.number + 1); };
    MUST(*co_await unring::work_abandonable(std::move(adds)) == 5);
    MUST(counted::alive == 1); // that which was moved from
    auto fails = [] { throw std::runtime_error("on its own"); };
    auto left = co_await unring::any(unring::work_abandonable(fails));
    MUST(words_thrown([&] { std::get<0>(left.members).get(); }) == "on its own");

    auto destroyed = std::make_shared<std::promise<std::thread::id>>();
    auto begun = std::make_shared<std::promise<void>>(), goes_on = std::make_shared<std::promise<void>>();
    auto blocks = [goodbye = says_goodbye(destroyed), begun, goes_on] {
        begun->set_value();
        goes_on->get_future().wait();
        MUST(unr_work_cancelled());
        return 1;
    };
    auto ends = [begun]() -> task<> { co_await unring::work([&] { begun->get_future().wait(); }); };
    {
        auto [index, abandoned, waited] = co_await (unring::work_abandonable(std::move(blocks)) || ends());
        MUST(index == 1 && waited && !abandoned && !abandoned.exception());
        MUST(abandoned.status().cancelled() && abandoned.status().guarantee == UNR_CANCEL_TERMINAL);
    }
    goes_on->set_value();
    MUST(destroyed->get_future().get() != std::this_thread::get_id());

    unring::signal latched(unring::signal::LATCHED);
    latched.emit();
    {
        auto owns = [c = counted(1)] { MUST(!c.number); };
        auto never = co_await unring::any(unring::bind(unring::work_abandonable(std::move(owns)), latched));
        MUST(!std::get<0>(never.members));
    }
    {
        auto owns = [c = counted(1)] { MUST(!c.number); };
        auto not_started = unring::work_abandonable(std::move(owns));
        auto place = std::make_unique<decltype(not_started)::place>(std::move(not_started));
        place->describe(nullptr);
    }
    MUST(counted::alive == 1);
}

// A loop that a function runs which was asked to return: its work was not abandoned.
task<> abandons_nothing_inside()
{
    auto waits = []() -> task<int> {
        auto owns = [c = counted(3)] { return c.number; };
        co_return co_await unring::work_abandonable(std::move(owns));
    };
    std::promise<void> begun;
    auto               runs_a_loop = [&] {
        begun.set_value();
        while (!unr_work_cancelled())
            std::this_thread::yield();
        return unring::run(waits());
    };
    auto begins = [&]() -> task<> {
        co_await unring::work([&] { begun.get_future().wait(); });
    };
    auto [index, inside, waited] = co_await (unring::work(runs_a_loop) || begins());
    MUST(index == 1 && waited && inside.get() == 3);
    MUST(counted::alive == 0);
}

void threads()
{
    unring::run(on_threads());
    unring::run(abandons());
    unring::run(abandons_nothing_inside());
}

// ---- stops ----

#ifdef __cpp_lib_jthread
task<> stops()
{
    std::stop_source source;
    {
        auto [index, sleep, request] = co_await (
            unring::stoppable(source.get_token(), endless()) && [&]() -> task<> {
                std::jthread(std::bind(&std::stop_source::request_stop, &source)).join();
                co_return;
            });
        MUST(index == 0 && sleep.cancelled() && sleep.verdict == UNR_VERDICT_CANCELLED && request);
    }
    result r = co_await unring::stoppable(source.get_token(), unring::nop());
    MUST(r.cancelled() && r.verdict == UNR_VERDICT_UNSUBMITTED); // it came first

    std::stop_source later;
    MUST(co_await unring::stoppable(later.get_token(), unring::nop()));
    later.request_stop(); // nobody is there any more

    // inside and outside of a binding, and of a task
    std::stop_source third;
    unring::signal   signal;
    auto             bound = [&] {
        return unring::stoppable(third.get_token(), unring::bind(through_errors(), signal));
    };
    {
        auto [index, left, emitted] = co_await (bound() && [&]() -> task<> {
            MUST(signal.emit(UNR_CANCEL_ALL, -7) == 1);
            co_return;
        });
        MUST(index == 0 && left.status().cause == -7 && emitted);
    }
    {
        auto [index, left, stopped] = co_await (unring::bind(bound(), signal) && [&]() -> task<> {
            third.request_stop();
            co_return;
        });
        MUST(index == 0 && left.status().cancelled() && left.status().cause == -ECANCELED && stopped);
    }
    auto never = bound(); // not started: nothing is connected
    (void)never;
}

// A stop that has been posted when the operation ends is dropped: nothing looks at memory that has other uses by then.
void stop_at_the_end()
{
    std::vector<std::vector<unsigned char>> others;
    unring::loop                            loop;
    std::stop_source                        source;
    unring::spawn(
        loop,
        unring::stoppable(source.get_token(),
                          [&source]() -> task<> {
                              co_await unring::nop();
                              source.request_stop();
                          }),
        [&](unring::outcome<> left) {
            MUST(left && left.status().requested == 0);
            for (size_t size = 64; size < 4096; size += 16)
                others.emplace_back(size, static_cast<unsigned char>(0xff));
        });
    loop.run();
    MUST(!others.empty());
}

// A stop on another thread meets the end of what it stops.
task<> stops_race()
{
    pair sockets;
    char byte;
    int  stopped = 0;
    for (int i = 0; i < 300; i++) {
        std::stop_source  source;
        std::atomic<bool> go = false;
        std::thread       other([&] {
            while (!go)
                ;
            source.request_stop();
        });
        sockets.write("x");
        go = true;
        result r = co_await unring::stoppable(source.get_token(),
                                              unring::recv(sockets.here(), &byte, 1, 0));
        MUST(r ? r.bytes == 1 : r.cancelled());
        if (!r)
            MUST((co_await unring::recv(sockets.here(), &byte, 1, 0)).bytes == 1); // it left no trace
        stopped += !r;
        other.join();
    }
    MUST(stopped <= 300);
}

void stop_tokens()
{
    unring::run(stops());
    stop_at_the_end();
    unring::run(stops_race());

    // what it leaves is there behind the end of the loop, and a stop that is requested by then does nothing
    std::stop_source source;
    MUST(unring::run(unring::stoppable(source.get_token(), returns(5))) == 5);
    using stoppable = decltype(unring::stoppable(source.get_token(), endless()));
    std::optional<unring::started<stoppable>> outlives;
    unring::loop                              loop;
    outlives.emplace(loop, unring::stoppable(source.get_token(), endless()));
    MUST(loop.close() == 0 && !outlives->in_flight());
    source.request_stop();
    MUST(outlives->take().cause == -ESHUTDOWN);
}
#endif

#define STRING_OF(name) #name
#define CASE(name) { STRING_OF(name), name }

const struct {
    const char *name;
    void (*run)();
} cases[] = {
#ifdef ONLY // the one that is wanted: the others are not compiled to the end
    CASE(ONLY),
#else
    { "operations", operations },
    { "descriptors", descriptors },
    { "names", names },
    { "groups", groups },
    { "exceptions", exceptions },
    { "errors", errors },
    { "lists", lists },
    { "durations", durations },
    { "wrappers", wrappers },
    { "bindings", bindings },
    { "tasks", tasks },
    { "early_exceptions", early_exceptions },
    { "a_row_of_tasks", a_row_of_tasks },
    { "states", states },
    { "ends", ends },
    { "spawning", spawning },
    { "scopes", scopes },
    { "owners", owners },
    { "broken_contracts", broken_contracts },
    { "nurseries", nurseries },
    { "fibers", fibers },
    { "threads", threads },
#ifdef __cpp_lib_jthread
    { "stop_tokens", stop_tokens },
#endif
#endif
};

} // namespace

int main(int count, char **arguments)
{
    int ran = 0;
    for (const auto &c : cases) {
        bool wanted = count == 1;
        for (int i = 1; i < count; i++)
            wanted |= !strcmp(arguments[i], c.name);
        if (!wanted)
            continue;
        fprintf(stderr, "%s\n", c.name); // the last line says which one failed
        int before = open_descriptors();
        c.run();
        MUST(counted::alive == 0 && open_descriptors() == before);
        ran++;
    }
    printf("%d cases\n", ran);
    return ran == 0;
}
