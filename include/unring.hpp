/* SPDX-License-Identifier: MIT */
/* unring for C++20: coroutines, fibers from lambdas and owners, on the public functions of unring.h
 * alone.  Header-only: there is nothing to link but libunring.
 *
 *     unring::task<> session(int fd)
 *     {
 *         char buf[512];
 *         auto r = co_await unring::within(30s, unring::recv(fd, buf, sizeof buf, 0));
 *         ...
 *     }
 *
 * The words of op.h hold here, too: described, started, in flight, lent, turn, honoured, guarantee,
 * verdict, broken contract, combinator, child, member.  These come on top:
 *
 *   operation   An object that holds how to describe an operation, and no more: recv(fd, ...) has
 *               the arguments of unr_recv() but its first.  It may be copied if its parts may, and
 *               moved; nothing begins and nothing is lent until it is awaited or started.  Then it
 *               is described in a place of its own that does not move: in the frame of the
 *               coroutine that awaits it, on the stack of the fiber that does, or where started and
 *               spawn() put it.
 *   outcome     What an operation leaves: a result, an opened, an outcome<T> of a task or of a
 *               fiber, or an outcomes<...> of a group.  An exception is an outcome, too.
 *   task        A coroutine.  One that is started is a composed operation (compose.h): each
 *               co_await of an operation is its next step.  So it has the cancellation state, the
 *               verdict and the guarantee of any other, and nests with everything.
 *
 * A task that is co_awaited runs as a part of the task that awaits it, and shares its cancellation
 * state, as in Asio.  A task that is an operand, that is inside another operation, or that is
 * started or spawned, is an operation with a state of its own, which lets TERMINAL through alone.
 *
 * Nothing here locks.  What belongs to a loop is used on the loop's thread, unless a comment says
 * otherwise.  Destructors throw nothing.
 *
 * gcc 12 destroys a lambda twice that captures by value what has a destructor, and any other
 * aggregate that has such members, if it is made inside a co_await expression, here and without
 * unring.  With it, such a thing is named first:
 *
 *     auto length = unring::work([text] { return text.size(); });
 *     co_await std::move(length); */
#ifndef UNRING_HPP
#define UNRING_HPP

#if __cplusplus < 202002L
#error "unring.hpp needs C++20 and its coroutines: -std=c++20"
#endif
#if !defined(__cpp_exceptions)
#error "unring.hpp needs exceptions: what -fno-exceptions compiles may use unring.h"
#endif

#include <cerrno>
#include <chrono>
#include <concepts>
#include <coroutine>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <ratio>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <unistd.h>
#include <unring.h>
#include <utility>
#include <variant>
#include <vector>
#include <version>
#ifdef __cpp_lib_jthread
#include <stop_token>
#endif

namespace unring
{

/* ---- names ---- */

/* Names the structures of C without the word struct.  Where a function has the name of a structure,
 * as unr_group, C++ needs that word: these are a dozen. */
namespace raw
{
using acceptor = struct ::unr_acceptor;
using address = struct ::unr_address;
using buffer = struct ::unr_buffer;
using cancel_request = struct ::unr_cancel_request;
using cancel_scope = struct ::unr_cancel_scope;
using cancel_state = struct ::unr_cancel_state;
using channel = struct ::unr_channel;
using channel_case = struct ::unr_channel_case;
using compose = struct ::unr_compose;
using condition = struct ::unr_condition;
using connect_any = struct ::unr_connect_any;
using connect_name = struct ::unr_connect_name;
using datagram = struct ::unr_datagram;
using deadline = struct ::unr_deadline;
using delay = struct ::unr_delay;
using event = struct ::unr_event;
using fiber = struct ::unr_fiber;
using fiber_options = struct ::unr_fiber_options;
using filter = struct ::unr_filter;
using framing = struct ::unr_framing;
using generator = struct ::unr_generator;
using group = struct ::unr_group;
using join = struct ::unr_join;
using local = struct ::unr_local;
using loop = struct ::unr_loop;
using loop_options = struct ::unr_loop_options;
using mutex = struct ::unr_mutex;
using nursery = struct ::unr_nursery;
using op = struct ::unr_op;
using op_type = struct ::unr_op_type;
using pool = struct ::unr_pool;
using pool_options = struct ::unr_pool_options;
using pool_stats = struct ::unr_pool_stats;
using process = struct ::unr_process;
using reader = struct ::unr_reader;
using receiver = struct ::unr_receiver;
using relay = struct ::unr_relay;
using remote = struct ::unr_remote;
using resolve = struct ::unr_resolve;
using result = struct ::unr_result;
using scope = struct ::unr_scope;
using select = struct ::unr_select;
using semaphore = struct ::unr_semaphore;
using signal = struct ::unr_signal;
using sigwait = struct ::unr_sigwait;
using slot = struct ::unr_slot;
using some = struct ::unr_some;
using stack_use = struct ::unr_stack_use;
using stats = struct ::unr_stats;
using stream = struct ::unr_stream;
using stream_type = struct ::unr_stream_type;
using task = struct ::unr_task;
using timer = struct ::unr_timer;
using transfer = struct ::unr_transfer;
using waiter = struct ::unr_waiter;
using work = struct ::unr_work;
} // namespace raw

namespace detail
{

/* Ends the process, as unring does where a contract is broken. */
[[noreturn]] inline void broken(const char *name, const char *what, const char *rule) noexcept
{
    std::fprintf(stderr, "unring: broken contract: %s: %s\n", name, what);
    std::fprintf(stderr, "unring: the rule: %s\n", rule);
    std::abort();
}

template <class> inline constexpr bool never = false;

/* Makes nanoseconds of any duration: the next whole one, so that no deadline comes early.  What is
 * too long for them is UNR_NEVER.  A float or double is as long as a double says: 0.1 s are 100 ms.
 * Integers stay exact, unless the factor of an odd period is too large for that. */
template <class Rep, class Period>
constexpr unr_time nanoseconds_of(const std::chrono::duration<Rep, Period> &time) noexcept
{
    using limits = std::numeric_limits<unr_time>;
    using factor = std::ratio_divide<Period, std::nano>;
    long double exact = std::chrono::duration<long double, std::nano>(time).count();
    if (exact != exact)
        broken("a time", "not a number", "a time is a number, or infinite: UNR_NEVER");
    if (exact >= static_cast<long double>(limits::max()))
        return UNR_NEVER;
    if (exact <= static_cast<long double>(limits::min()))
        return limits::min();
    constexpr bool is_whole = !std::chrono::treat_as_floating_point_v<Rep>;
    if constexpr (is_whole && factor::num <= limits::max() / factor::den) {
        using number = std::common_type_t<Rep, std::intmax_t>;
        constexpr number den = static_cast<number>(factor::den);
        const number     count = static_cast<number>(time.count());
        unr_time         rest = static_cast<unr_time>(count % den) * factor::num;
        unr_time         whole = static_cast<unr_time>(count / den) * factor::num;
        return whole + rest / factor::den + (rest % factor::den > 0);
    } else {
        using real = std::conditional_t<std::is_same_v<Rep, float> || std::is_same_v<Rep, double>,
                                        double, long double>;
        real rounded = static_cast<real>(exact);
        if (rounded >= static_cast<real>(limits::max()))
            return UNR_NEVER;
        unr_time whole = static_cast<unr_time>(rounded);
        return whole + (static_cast<real>(whole) < rounded);
    }
}

template <class Duration>
constexpr unr_time
nanoseconds_of(const std::chrono::time_point<std::chrono::steady_clock, Duration> &when) noexcept
{
    return detail::nanoseconds_of(when.time_since_epoch());
}

} // namespace detail

/* ---- owners and results ---- */

/* Owns a descriptor: its destructor closes it by close(2).
 *
 * In flight  what was started on the descriptor has ended before: a lent descriptor that is closed
 *            is a broken contract.
 * Threads    any, one at a time. */
class descriptor
{
  public:
    descriptor() noexcept = default;
    explicit descriptor(int fd) noexcept : fd_(fd)
    {
    }
    descriptor(descriptor &&other) noexcept : fd_(other.release())
    {
    }
    descriptor &operator=(descriptor &&other) noexcept
    {
        reset(other.release());
        return *this;
    }
    ~descriptor()
    {
        reset();
    }

    /* Returns the number, which stays owned; -1: there is none. */
    int get() const noexcept
    {
        return fd_;
    }
    /* Gives the number away: for co_await unring::close(fd.release()), say. */
    [[nodiscard]] int release() noexcept
    {
        return std::exchange(fd_, -1);
    }
    /* Closes what it owns, and owns `fd` from now on. */
    void reset(int fd = -1) noexcept
    {
        if (int old = std::exchange(fd_, fd); old >= 0)
            ::close(old);
    }
    explicit operator bool() const noexcept
    {
        return fd_ >= 0;
    }

  private:
    int fd_ = -1;
};

namespace detail
{

/* Turns the sign of a code.  A cause may be any number below 0; the least stays as it is. */
constexpr int negated(int code) noexcept
{
    return static_cast<int>(0u - static_cast<unsigned>(code));
}

} // namespace detail

/* Throws a negative errno as a std::system_error, whose text begins with `what`. */
[[noreturn]] inline void throw_error(int error, const char *what = "unring")
{
    throw std::system_error(detail::negated(error), std::system_category(), what);
}

/* The result of an operation, with what is often asked of it. */
struct result : unr_result {
    result() noexcept : unr_result{}
    {
        fd = -1;
    }
    result(const unr_result &other) noexcept : unr_result(other)
    {
    }
    /* The same of an operation that was described: a failure knows its name. */
    result(const unr_result &other, const unr_op *op) noexcept : unr_result(other)
    {
        if (error)
            operation_ = unr_op_name(op);
    }

    /* Tells whether it has completed without an error. */
    explicit operator bool() const noexcept
    {
        return error == 0;
    }
    /* Returns the cause of a cancelled operation, and the error of any other: unr_outcome(). */
    int outcome() const noexcept
    {
        return unr_outcome(this);
    }
    /* Tells whether a cancellation took effect. */
    bool cancelled() const noexcept
    {
        return error == -ECANCELED && guarantee != UNR_CANCEL_NONE;
    }
    /* Tells whether it was cancelled with cause -ETIMEDOUT: unr_timed_out(). */
    bool timed_out() const noexcept
    {
        return unr_timed_out(this);
    }
    /* Returns the name of the operation that has failed: unr_op_name().  Without one: "unring".  It
     * lasts as long as the text that the operation was described with, a literal mostly. */
    const char *operation() const noexcept
    {
        return operation_;
    }
    /* Throws outcome() as a std::system_error, unless it is 0.  Its what() names the operation:
     * "recv: Connection reset by peer". */
    const result &or_throw() const &
    {
        if (error)
            throw_error(outcome(), operation_);
        return *this;
    }
    result or_throw() const &&
    {
        or_throw();
        return *this;
    }

  private:
    const char *operation_ = "unring";
};

/* The result of an operation that opens a descriptor, which it owns: one that loses a race, or that
 * nobody looks at, is closed. */
struct opened : result {
    opened() noexcept = default;
    opened(const unr_result &other, const unr_op *op) noexcept : result(other, op), fd(other.fd)
    {
        result::fd = -1;
    }

    /* Throws outcome() as a std::system_error, unless it is 0. */
    opened &or_throw() &
    {
        result::or_throw();
        return *this;
    }
    opened or_throw() &&
    {
        result::or_throw();
        return std::move(*this);
    }

    descriptor fd; /* empty: there is none */
};

/* Owns a loop.
 *
 * Order    what is in flight on the loop is declared before it: the destructor closes the loop, and
 *          in there each `done` runs, and tasks go on to their ends.
 * Threads  the loop's; those of thread.h by get(), any. */
class loop
{
  public:
    /* Opens a loop: unr_loop_open().  Throws its error, with the words of unr_explain(). */
    explicit loop(const unr_loop_options *options = nullptr)
    {
        if (int error = unr_loop_open(&loop_, options); error < 0)
            throw_error(error, unr_explain(error));
    }
    loop(loop &&other) noexcept : loop_(std::exchange(other.loop_, nullptr))
    {
    }
    loop &operator=(loop &&other) noexcept
    {
        if (this != &other) {
            close();
            loop_ = std::exchange(other.loop_, nullptr);
        }
        return *this;
    }
    ~loop()
    {
        close();
    }

    /* Runs until nothing is in flight, or it is stopped: unr_loop_run().  Throws its error. */
    void run()
    {
        if (int error = unr_loop_run(loop_); error < 0)
            throw_error(error, "unr_loop_run");
    }
    /* Runs one turn: unr_loop_run_once().  Returns how many `done` ran.  Throws its error. */
    int run_once()
    {
        return run_once(std::chrono::nanoseconds::max());
    }
    template <class Rep, class Period> int run_once(std::chrono::duration<Rep, Period> timeout)
    {
        int n = unr_loop_run_once(loop_, detail::nanoseconds_of(timeout));
        if (n < 0)
            throw_error(n, "unr_loop_run_once");
        return n;
    }
    /* Ends one run(): unr_loop_stop().  Threads: any. */
    void stop() noexcept
    {
        unr_loop_stop(loop_);
    }
    /* Closes it before the destructor does: unr_loop_close().  Until then it is the loop of what is
     * in flight, which may start others.  Returns 0 or a negative errno. */
    int close() noexcept
    {
        int error = unr_loop_close(loop_);
        loop_ = nullptr;
        return error;
    }
    unr_loop *get() const noexcept
    {
        return loop_;
    }
    operator unr_loop *() const noexcept
    {
        return loop_;
    }

  private:
    unr_loop *loop_ = nullptr;
};

/* Owns a signal, of which operations may be bound to the slot: cancel.h.
 *
 * Memory   it stays where it is, and outlives what is bound to it, and its children.
 * Threads  the loop's. */
class signal
{
  public:
    enum kind { EDGE, LATCHED };

    explicit signal(kind how = EDGE) noexcept
    {
        if (how == LATCHED)
            unr_signal_init_latched(&signal_);
    }
    /* Makes it a child of another, which outlives it. */
    explicit signal(signal &parent, kind how = EDGE) noexcept : signal(how)
    {
        unr_signal_attach(&signal_, &parent.signal_);
    }
    signal(const signal &) = delete;
    ~signal()
    {
        unr_signal_detach(&signal_);
    }

    /* Requests cancellation of what is bound to it: unr_signal_emit_cause(). */
    unsigned emit(unsigned types = UNR_CANCEL_ALL, int cause = -ECANCELED) noexcept
    {
        return unr_signal_emit_cause(&signal_, types, cause);
    }
    /* Forgets what it has latched: unr_signal_reset(). */
    void reset() noexcept
    {
        unr_signal_reset(&signal_);
    }
    unr_signal *get() noexcept
    {
        return &signal_;
    }
    unr_slot *slot() noexcept
    {
        return unr_signal_slot(&signal_);
    }

  private:
    unr_signal signal_{};
};

/* Owns a buffer that grows up to a limit: buffer.h.
 *
 * Memory   it stays where it is, and outlives what it is lent to.
 * Threads  the loop's. */
class buffer
{
  public:
    explicit buffer(std::size_t limit) noexcept
    {
        unr_buffer_init(&buffer_, limit);
    }
    buffer(const buffer &) = delete;
    ~buffer()
    {
        unr_buffer_free(&buffer_);
    }

    /* Returns what is in it: unr_buffer_data().  Valid until the buffer is changed or lent. */
    std::string_view view() const noexcept
    {
        std::size_t len;
        const void *data = unr_buffer_data(&buffer_, &len);
        return { static_cast<const char *>(data), len };
    }
    /* Takes bytes from its front: unr_buffer_consume(). */
    void consume(std::size_t len) noexcept
    {
        unr_buffer_consume(&buffer_, len);
    }
    unr_buffer *get() noexcept
    {
        return &buffer_;
    }

  private:
    unr_buffer buffer_{};
};

/* A cancellation state: state.h.  It is a view of that of the task or of the fiber that asked for
 * it, and valid as long as that has not ended. */
class cancellation_state
{
  public:
    explicit cancellation_state(unr_cancel_state *state) noexcept : state_(state)
    {
    }

    /* Returns the types that were let in since the last reset: 0, or UNR_CANCEL_*. */
    unsigned cancelled() const noexcept
    {
        return unr_state_cancelled(state_);
    }
    /* Returns the cause of the first request that was let in; 0: there was none. */
    int cause() const noexcept
    {
        return unr_state_cause(state_);
    }
    /* Forgets what was let in, and sets the filters: unr_state_reset(). */
    void reset(unr_filter_fn *in = nullptr, unr_filter_fn *out = nullptr,
               void *context = nullptr) noexcept
    {
        unr_state_reset(state_, in, out, context);
    }
    /* Sets whether what was let in ends later operations: unr_state_preempt(). */
    void preempt(bool on) noexcept
    {
        unr_state_preempt(state_, on);
    }
    unr_cancel_state *get() const noexcept
    {
        return state_;
    }

  private:
    unr_cancel_state *state_;
};

/* ---- outcomes of tasks and fibers ---- */

namespace detail
{

template <class T> using value_of = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

/* The errno that an exception stands for towards operations around the one that it has ended. */
inline int error_of(const std::exception_ptr &exception) noexcept
{
    try {
        std::rethrow_exception(exception);
    } catch (const std::system_error &caught) {
        const std::error_code &code = caught.code();
        bool                   known =
            code.category() == std::system_category() || code.category() == std::generic_category();
        return known && negated(code.value()) < 0 ? negated(code.value()) : -ENOTRECOVERABLE;
    } catch (const std::bad_alloc &) {
        return -ENOMEM;
    } catch (...) {
        return -ENOTRECOVERABLE;
    }
}

/* What a function has returned or thrown, once it has. */
template <class T> class returned
{
    static_assert(!std::is_reference_v<T>, "a task or a fiber returns a value: return a pointer");

  public:
    returned() noexcept = default;
    returned(const returned &other) = default;
    returned &operator=(const returned &other) = default;
    /* What the move of a value throws takes the place of the value: the move itself throws
     * nothing, as it happens where an operation has ended, and what it has left is kept. */
    returned(returned &&other) noexcept
    {
        take_from(other);
    }
    returned &operator=(returned &&other) noexcept
    {
        if (this != &other)
            take_from(other);
        return *this;
    }

    template <class... Arguments> void set(Arguments &&...arguments)
    {
        what_.template emplace<1>(std::forward<Arguments>(arguments)...);
    }
    void set_exception() noexcept
    {
        what_.template emplace<2>(std::current_exception());
    }
    bool has_value() const noexcept
    {
        return what_.index() == 1;
    }
    value_of<T> &value() noexcept
    {
        return *std::get_if<1>(&what_);
    }
    std::exception_ptr exception() const noexcept
    {
        const std::exception_ptr *exception = std::get_if<2>(&what_);
        return exception ? *exception : nullptr;
    }
    /* Returns the value, or throws the exception. */
    T take()
    {
        if (what_.index() == 2)
            std::rethrow_exception(*std::get_if<2>(&what_));
        if constexpr (!std::is_void_v<T>)
            return std::move(value());
    }
    int error() const noexcept
    {
        if (what_.index() == 2)
            return error_of(*std::get_if<2>(&what_));
        if constexpr (std::is_base_of_v<unr_result, value_of<T>>)
            return unr_outcome(std::get_if<1>(&what_));
        return 0;
    }

  private:
    void take_from(returned &other) noexcept
    {
        try {
            if (other.has_value())
                what_.template emplace<1>(std::move(other.value()));
            else if (other.what_.index() == 2)
                what_.template emplace<2>(other.exception());
            else
                what_.template emplace<0>();
        } catch (...) {
            set_exception();
        }
    }

    std::variant<std::monostate, value_of<T>, std::exception_ptr> what_;
};

} // namespace detail

/* What a task or a fiber has left: a value, an exception, or neither, if it was cancelled before
 * it began or could not begin.  An exception that the move of the value throws is left in its
 * place; status() then has no error. */
template <class T = void> class [[nodiscard]] outcome
{
  public:
    outcome(detail::returned<T> &&returned, const result &status)
        : returned_(std::move(returned)), status_(status)
    {
    }

    /* Tells whether there is a value. */
    explicit operator bool() const noexcept
    {
        return returned_.has_value();
    }
    /* Returns the value.  Throws the exception; or, where there is neither, what ended it, as a
     * std::system_error. */
    T get()
    {
        if (!returned_.has_value() && !returned_.exception())
            throw_error(status_.error ? status_.outcome() : -ECANCELED, status_.operation());
        return returned_.take();
    }
    /* Returns the exception, or NULL. */
    std::exception_ptr exception() const noexcept
    {
        return returned_.exception();
    }
    /* Returns the result of the operation, with the verdict on requests to cancel it. */
    const result &status() const noexcept
    {
        return status_;
    }

  private:
    detail::returned<T> returned_;
    result              status_;
};

namespace detail
{

template <class> inline constexpr bool   is_outcome = false;
template <class T> inline constexpr bool is_outcome<outcome<T>> = true;

/* What co_await gives: the value of a task or fiber, or its exception; of others the outcome. */
template <class Outcome> auto value_from(Outcome &&left)
{
    if constexpr (is_outcome<std::remove_cvref_t<Outcome>>)
        return left.get();
    else
        return std::remove_cvref_t<Outcome>(std::move(left));
}

/* Throws what an outcome, a result or the outcomes of a group have of a failure: an exception, or
 * an error with the name of its operation. */
template <class Outcome> void throw_failure_of(Outcome &left)
{
    if constexpr (is_outcome<Outcome>) {
        if (left.exception())
            std::rethrow_exception(left.exception());
        left.status().or_throw();
    } else if constexpr (requires { left.or_throw(); }) {
        left.or_throw();
    }
}

/* Returns the exception that an outcome, or that of a group, has; of others NULL. */
template <class Outcome> std::exception_ptr exception_of(const Outcome &left) noexcept
{
    if constexpr (requires {
                      {
                          left.exception()
                          } -> std::same_as<std::exception_ptr>;
                  })
        return left.exception();
    else
        return nullptr;
}

/* An outcome's value in a tuple, where there is no void.  Throws what there is instead. */
template <class Outcome> auto value_or_throw(Outcome &&left)
{
    if constexpr (!is_outcome<std::remove_cvref_t<Outcome>>) {
        left.or_throw();
        return std::remove_cvref_t<Outcome>(std::move(left));
    } else if constexpr (std::is_void_v<decltype(left.get())>) {
        left.get();
        return std::monostate{};
    } else {
        return left.get();
    }
}

} // namespace detail

/* ---- operations ---- */

/* An operation: it has a type `place`, which is made of it, describes where it lies, and knows the
 * outcome.
 *
 *     unr_op *describe(unr_loop *)         once; the place does not move from then on
 *     auto    take(const unr_result &)     once, when what was described has ended with that
 *                                          result, or has not begun because of it */
// clang-format off
template <class T>
concept operation = requires(typename std::remove_cvref_t<T>::place &place, unr_loop *loop,
                             const unr_result &ended) {
    { place.describe(loop) } -> std::same_as<unr_op *>;
    place.take(ended);
};
// clang-format on

/* The outcome of an operation. */
template <operation Op>
using outcome_of = decltype(std::declval<typename std::remove_cvref_t<Op>::place &>().take(
    std::declval<const unr_result &>()));

/* An operation that `describe` describes in the memory that it is given.
 *
 *     co_await unring::op<unring::raw::reader>([&](auto *reader) {
 *         return unr_read_until(reader, &stream, &buffer, "\n", 1);
 *     });
 *
 * Memory   a structure of C that begins with its struct unr_op; zeroed.
 * Outcome  a result; or an opened, if that is named.
 * Cancels  as what is described.
 * Throws   what `describe` throws, where the operation would begin. */
template <class Memory, class Outcome, std::invocable<Memory *> Describe>
class [[nodiscard]] describing
{
  public:
    explicit describing(Describe describe) : describe_(std::move(describe))
    {
    }

    class place
    {
      public:
        explicit place(describing op) : describe_(std::move(op.describe_))
        {
        }
        place(const place &) = delete;
        unr_op *describe(unr_loop *)
        {
            return op_ = std::invoke(describe_, &memory_);
        }
        Outcome take(const unr_result &ended) noexcept
        {
            return Outcome(ended, op_);
        }

      private:
        Describe describe_;
        unr_op  *op_ = nullptr;
        Memory   memory_{};
    };

  private:
    Describe describe_;
};

/* Makes an operation of a function that describes one in the memory that it is given. */
template <class Memory = unr_op, class Outcome = result, std::invocable<Memory *> Describe>
describing<Memory, Outcome, Describe> op(Describe describe)
{
    return describing<Memory, Outcome, Describe>(std::move(describe));
}

/* An operation that its caller has described, in memory of his own: see described(). */
class [[nodiscard]] described
{
  public:
    /* Makes an operation of what a function of C returns.
     *
     * op       described and not started; the caller's memory, which stays where it is, and is lent
     *          until the await ends or the `done` runs.
     * Once     describe it anew for the next await.
     * Outcome  a result.  A descriptor in it is the caller's to close. */
    explicit described(unr_op *op) noexcept : op_(op)
    {
    }

    class place
    {
      public:
        explicit place(described op) noexcept : op_(op.op_)
        {
        }
        place(const place &) = delete;
        unr_op *describe(unr_loop *) noexcept
        {
            return op_;
        }
        result take(const unr_result &ended) noexcept
        {
            return result(ended, op_);
        }

      private:
        unr_op *op_;
    };

  private:
    unr_op *op_;
};

namespace detail
{

inline const unr_op *op_in(const unr_op &memory) noexcept
{
    return &memory;
}
template <class Memory> const unr_op *op_in(const Memory &memory) noexcept
{
    return &memory.op;
}

/* A function of C that describes an operation in its first argument, without that argument. */
template <auto Function, class Outcome = result> class function;

template <class Memory, class... Arguments, unr_op *(*Function)(Memory *, Arguments...),
          class Outcome>
class function<Function, Outcome>
{
  public:
    class [[nodiscard]] call
    {
      public:
        static constexpr bool is_unbound = true;

        explicit call(Arguments... arguments) noexcept : arguments_(arguments...)
        {
        }

        class place
        {
          public:
            explicit place(const call &op) noexcept : arguments_(op.arguments_)
            {
            }
            place(const place &) = delete;
            unr_op *describe(unr_loop *) noexcept
            {
                return std::apply(
                    [this](Arguments... arguments) { return Function(&memory_, arguments...); },
                    arguments_);
            }
            Outcome take(const unr_result &ended) noexcept
            {
                return Outcome(ended, detail::op_in(memory_));
            }

          private:
            std::tuple<Arguments...> arguments_;
            Memory                   memory_{};
        };

      private:
        std::tuple<Arguments...> arguments_;
    };

    call operator()(Arguments... arguments) const noexcept
    {
        return call(arguments...);
    }
};

} // namespace detail

/* Each function of C that describes an operation, under its name without unr_, and with its
 * arguments but the first: that is the memory, which is the place of the operation.  What it does,
 * what is lent, what its result says, and what a cancellation promises, stands at the function of
 * C.  Those that open a descriptor leave an opened, which owns it; all others a result.  Pointers
 * are lent as in C, from when the operation is made: a string that connect_name() is given, say.
 *
 * Multishot operations, which have no single end, and functions whose first argument is kept from
 * one call to the next, unr_generator_next(&generator, ...) say, are used as in C. */
inline constexpr detail::function<::unr_accept, opened>       accept;
inline constexpr detail::function<::unr_accept_from, opened>  accept_from;
inline constexpr detail::function<::unr_acceptor_stop>        acceptor_stop;
inline constexpr detail::function<::unr_cancel_close>         cancel_close;
inline constexpr detail::function<::unr_channel_receive>      channel_receive;
inline constexpr detail::function<::unr_channel_select>       channel_select;
inline constexpr detail::function<::unr_channel_send>         channel_send;
inline constexpr detail::function<::unr_close>                close;
inline constexpr detail::function<::unr_condition_wait>       condition_wait;
inline constexpr detail::function<::unr_connect>              connect;
inline constexpr detail::function<::unr_connect_any, opened>  connect_any;
inline constexpr detail::function<::unr_connect_name, opened> connect_name;
inline constexpr detail::function<::unr_epoll_wait>           epoll_wait;
inline constexpr detail::function<::unr_event_wait>           event_wait;
inline constexpr detail::function<::unr_fadvise>              fadvise;
inline constexpr detail::function<::unr_fallocate>            fallocate;
inline constexpr detail::function<::unr_fgetxattr>            fgetxattr;
inline constexpr detail::function<::unr_fsync>                fsync;
inline constexpr detail::function<::unr_ftruncate>            ftruncate;
inline constexpr detail::function<::unr_futex_wait>           futex_wait;
inline constexpr detail::function<::unr_futex_wake>           futex_wake;
inline constexpr detail::function<::unr_getxattr>             getxattr;
inline constexpr detail::function<::unr_join>                 join;
inline constexpr detail::function<::unr_linkat>               linkat;
inline constexpr detail::function<::unr_listen>               listen;
inline constexpr detail::function<::unr_mkdirat>              mkdirat;
inline constexpr detail::function<::unr_mutex_lock>           mutex_lock;
inline constexpr detail::function<::unr_nop>                  nop;
inline constexpr detail::function<::unr_openat, opened>       openat;
inline constexpr detail::function<::unr_pipe>                 pipe;
inline constexpr detail::function<::unr_poll>                 poll;
inline constexpr detail::function<::unr_process_wait>         process_wait;
inline constexpr detail::function<::unr_read>                 read;
inline constexpr detail::function<::unr_read_at_least>        read_at_least;
inline constexpr detail::function<::unr_read_exact>           read_exact;
inline constexpr detail::function<::unr_read_frame>           read_frame;
inline constexpr detail::function<::unr_read_match>           read_match;
inline constexpr detail::function<::unr_read_more>            read_more;
inline constexpr detail::function<::unr_read_some>            read_some;
inline constexpr detail::function<::unr_read_until>           read_until;
inline constexpr detail::function<::unr_read_with>            read_with;
inline constexpr detail::function<::unr_readv>                readv;
inline constexpr detail::function<::unr_readv_exact>          readv_exact;
inline constexpr detail::function<::unr_receive>              receive;
inline constexpr detail::function<::unr_receive_message>      receive_message;
inline constexpr detail::function<::unr_receive_view>         receive_view;
inline constexpr detail::function<::unr_receiver_stop>        receiver_stop;
inline constexpr detail::function<::unr_recv>                 recv;
inline constexpr detail::function<::unr_recvfrom>             recvfrom;
inline constexpr detail::function<::unr_recvmsg>              recvmsg;
inline constexpr detail::function<::unr_relay>                relay;
inline constexpr detail::function<::unr_renameat>             renameat;
inline constexpr detail::function<::unr_semaphore_wait>       semaphore_wait;
inline constexpr detail::function<::unr_send>                 send;
inline constexpr detail::function<::unr_send_now>             send_now;
inline constexpr detail::function<::unr_sendmsg>              sendmsg;
inline constexpr detail::function<::unr_sendto>               sendto;
inline constexpr detail::function<::unr_setxattr>             setxattr;
inline constexpr detail::function<::unr_shutdown>             shutdown;
inline constexpr detail::function<::unr_sigwait>              sigwait;
inline constexpr detail::function<::unr_socket, opened>       socket;
inline constexpr detail::function<::unr_splice>               splice;
inline constexpr detail::function<::unr_sqe>                  sqe;
inline constexpr detail::function<::unr_statx>                statx;
inline constexpr detail::function<::unr_symlinkat>            symlinkat;
inline constexpr detail::function<::unr_sync_file_range>      sync_file_range;
inline constexpr detail::function<::unr_tee>                  tee;
inline constexpr detail::function<::unr_timer_after>          timer_after;
inline constexpr detail::function<::unr_timer_at>             timer_at;
inline constexpr detail::function<::unr_transfer_while>       transfer_while;
inline constexpr detail::function<::unr_unlinkat>             unlinkat;
inline constexpr detail::function<::unr_waitid>               waitid;
inline constexpr detail::function<::unr_write>                write;
inline constexpr detail::function<::unr_write_all>            write_all;
inline constexpr detail::function<::unr_write_some>           write_some;
inline constexpr detail::function<::unr_write_with>           write_with;
inline constexpr detail::function<::unr_writev>               writev;
inline constexpr detail::function<::unr_writev_all>           writev_all;

/* Binds a socket to an address: unr_bind(). */
inline auto bind(int fd, const sockaddr *addr, socklen_t len) noexcept
{
    return detail::function<::unr_bind>{}(fd, addr, len);
}

/* Sleeps: unr_timer_after().
 *
 * delay    of any unit, 1.5s too, as all durations and times here.  It is rounded up to the next
 *          nanosecond; what is too long for those, 292 years, never ends.
 * Broken   one that is not a number. */
template <class Rep, class Period> auto sleep_for(std::chrono::duration<Rep, Period> delay) noexcept
{
    return timer_after(detail::nanoseconds_of(delay));
}

/* Sleeps until a time of CLOCK_MONOTONIC, which is std::chrono::steady_clock: unr_timer_at(). */
template <class Duration>
auto sleep_until(std::chrono::time_point<std::chrono::steady_clock, Duration> when) noexcept
{
    return timer_at(detail::nanoseconds_of(when));
}

namespace detail
{

/* An operation that a function makes, and which uses what that function has captured: a lambda
 * that is a coroutine.  The function stays as long as the operation does. */
template <class Function> class [[nodiscard]] called
{
    using operation_type = std::invoke_result_t<Function &>;

  public:
    explicit called(Function function) : function_(std::move(function))
    {
    }

    class place
    {
      public:
        explicit place(called op) : function_(std::move(op.function_)), inner_(function_())
        {
        }
        place(const place &) = delete;
        unr_op *describe(unr_loop *loop)
        {
            return inner_.describe(loop);
        }
        auto take(const unr_result &ended)
        {
            return inner_.take(ended);
        }

      private:
        Function                       function_;
        typename operation_type::place inner_;
    };

  private:
    Function function_;
};

// clang-format off
template <class T>
concept makes_operation = !operation<T> && std::invocable<std::decay_t<T> &>
    && operation<std::invoke_result_t<std::decay_t<T> &>>;

/* What may stand where an operation is wanted. */
template <class T>
concept operand = operation<T> || makes_operation<T>
    || std::same_as<std::remove_cvref_t<T>, unr_op *>;
// clang-format on

/* Whether it may be kept as it is given: copied, or moved. */
template <class T> inline constexpr bool may_be_kept = std::constructible_from<std::decay_t<T>, T>;

/* Makes an operation of it, unless it is one. */
template <operand T> decltype(auto) as_operation(T &&what)
{
    static_assert(may_be_kept<T>, "a task, and what contains one, is used once: std::move(it)");
    if constexpr (!may_be_kept<T>)
        return detail::as_operation(std::move(const_cast<std::remove_cvref_t<T> &>(what)));
    else if constexpr (operation<T>)
        return std::forward<T>(what);
    else if constexpr (makes_operation<T>)
        return called<std::decay_t<T>>(std::forward<T>(what));
    else
        return described(what);
}

/* The type of operation that it makes. */
template <operand T>
using operation_of = std::remove_cvref_t<decltype(detail::as_operation(std::declval<T>()))>;

template <operand T> using place_of = typename operation_of<T>::place;

} // namespace detail

/* ---- operations around one ---- */

namespace detail
{

/* Whether nothing that an operation describes is bound to a slot already, outside of its members.
 */
template <class T>
concept unbound = requires
{
    requires T::is_unbound;
};

/* A wrapper of C, whose first arguments are its memory and its child, around an operation. */
template <auto Function, operation Inner> class wrapper;

template <class Memory, class... Arguments, unr_op *(*Function)(Memory *, unr_op *, Arguments...),
          operation Inner>
class [[nodiscard]] wrapper<Function, Inner>
{
  public:
    static constexpr bool is_unbound = true;

    template <class From>
    explicit wrapper(From &&inner, Arguments... arguments)
        : inner_(std::forward<From>(inner)), arguments_(arguments...)
    {
    }

    class place
    {
      public:
        explicit place(wrapper op) : inner_(std::move(op.inner_)), arguments_(op.arguments_)
        {
        }
        place(const place &) = delete;
        unr_op *describe(unr_loop *loop)
        {
            return std::apply(
                [&](Arguments... arguments) {
                    return Function(&memory_, inner_.describe(loop), arguments...);
                },
                arguments_);
        }
        auto take(const unr_result &ended)
        {
            return inner_.take(ended);
        }

      private:
        typename Inner::place    inner_;
        std::tuple<Arguments...> arguments_;
        Memory                   memory_{};
    };

  private:
    Inner                    inner_;
    std::tuple<Arguments...> arguments_;
};

template <auto Function, operand Inner, class... Arguments>
auto wrap(Inner &&inner, Arguments... arguments)
{
    return wrapper<Function, operation_of<Inner>>(detail::as_operation(std::forward<Inner>(inner)),
                                                  arguments...);
}

} // namespace detail

/* Ends an operation after a time: unr_cancel_after().
 *
 * delay    counts from the start.  When it is over, UNR_CANCEL_ALL is requested with cause
 *          -ETIMEDOUT.
 * Outcome  that of `inner`; result::timed_out() tells.  A task that is ended so may still return a
 *          value.  If it lets a std::system_error through, that has ETIMEDOUT. */
template <class Rep, class Period, detail::operand Inner>
auto within(std::chrono::duration<Rep, Period> delay, Inner &&inner)
{
    return detail::wrap<::unr_cancel_after>(std::forward<Inner>(inner),
                                            detail::nanoseconds_of(delay));
}

/* Ends an operation at a time of CLOCK_MONOTONIC: unr_cancel_at(). */
template <class Duration, detail::operand Inner>
auto before(std::chrono::time_point<std::chrono::steady_clock, Duration> when, Inner &&inner)
{
    return detail::wrap<::unr_cancel_at>(std::forward<Inner>(inner), detail::nanoseconds_of(when));
}

/* Begins an operation after a pause: unr_delay(). */
template <class Rep, class Period, detail::operand Inner>
auto delayed(std::chrono::duration<Rep, Period> pause, Inner &&inner)
{
    return detail::wrap<::unr_delay>(std::forward<Inner>(inner), detail::nanoseconds_of(pause));
}

/* Translates each request to cancel an operation: unr_filter(). */
template <detail::operand Inner>
auto filtered(Inner &&inner, unr_filter_fn *out, void *context = nullptr)
{
    return detail::wrap<::unr_filter>(std::forward<Inner>(inner), out, context);
}

/* Refuses each request to cancel an operation: unr_shield(). */
template <detail::operand Inner> auto shielded(Inner &&inner)
{
    return detail::wrap<::unr_shield>(std::forward<Inner>(inner));
}

namespace detail
{

/* Binds what an operation describes.  Where that may be bound itself, there is a deadline
 * that never comes between the two, to which the second slot belongs. */
template <operation Inner> class binding
{
  public:
    unr_op *bind(unr_op *described, unr_slot *slot) noexcept
    {
        if constexpr (!unbound<Inner>)
            described = unr_cancel_at(&between_, described, UNR_NEVER);
        return unr_bind_slot(described, slot);
    }

  private:
    struct nothing {
    };
    [[no_unique_address]] std::conditional_t<unbound<Inner>, nothing, raw::deadline> between_{};
};

template <operation Inner> class [[nodiscard]] bound
{
  public:
    template <class From>
    bound(From &&inner, unr_slot *slot) : inner_(std::forward<From>(inner)), slot_(slot)
    {
    }

    class place
    {
      public:
        explicit place(bound op) : inner_(std::move(op.inner_)), slot_(op.slot_)
        {
        }
        place(const place &) = delete;
        unr_op *describe(unr_loop *loop)
        {
            return binding_.bind(inner_.describe(loop), slot_);
        }
        auto take(const unr_result &ended)
        {
            return inner_.take(ended);
        }

      private:
        typename Inner::place inner_;
        binding<Inner>        binding_;
        unr_slot             *slot_;
    };

  private:
    Inner     inner_;
    unr_slot *slot_;
};

} // namespace detail

/* Binds an operation to a slot: requests that arrive there reach it.
 *
 * slot     valid until the operation has ended.
 * Twice    an operation that is bound already is reached through both slots. */
template <detail::operand Inner> auto bind(Inner &&inner, unr_slot *slot)
{
    return detail::bound<detail::operation_of<Inner>>(
        detail::as_operation(std::forward<Inner>(inner)), slot);
}

/* Binds an operation to the slot of a signal. */
template <detail::operand Inner> auto bind(Inner &&inner, signal &signal)
{
    return unring::bind(std::forward<Inner>(inner), signal.slot());
}

#ifdef __cpp_lib_jthread

namespace detail
{

template <operation Inner> class [[nodiscard]] stoppable_operation
{
  public:
    template <class From>
    stoppable_operation(std::stop_token token, From &&inner)
        : inner_(std::forward<From>(inner)), token_(std::move(token))
    {
    }

    class place
    {
      public:
        explicit place(stoppable_operation op)
            : inner_(std::move(op.inner_)), token_(std::move(op.token_))
        {
        }
        place(const place &) = delete;
        ~place()
        {
            disarm();
        }

        /* A stop that came before is latched here: it ends the operation before it begins.  A later
         * one is posted to the loop, by whichever thread requests it. */
        unr_op *describe(unr_loop *loop)
        {
            unr_signal_init_latched(&signal_);
            unr_op *described = binding_.bind(inner_.describe(loop), unr_signal_slot(&signal_));
            unr_remote_init(&remote_, loop, &signal_);
            if (token_.stop_requested())
                unr_signal_emit(&signal_, UNR_CANCEL_ALL);
            else
                callback_.emplace(std::move(token_), emit{ &remote_ });
            return described;
        }
        auto take(const unr_result &ended)
        {
            disarm();
            return inner_.take(ended);
        }

      private:
        struct emit {
            unr_remote *remote;
            void        operator()() const noexcept
            {
                unr_remote_emit(remote, UNR_CANCEL_ALL, -ECANCELED);
            }
        };

        /* Waits for a callback that another thread is in, which only posts.  Afterwards nobody
         * emits any more, and what was posted is dropped. */
        void disarm() noexcept
        {
            if (!callback_)
                return;
            callback_.reset();
            unr_remote_disarm(&remote_);
        }

        typename Inner::place                   inner_;
        binding<Inner>                          binding_;
        std::stop_token                         token_;
        unr_signal                              signal_{};
        unr_remote                              remote_{};
        std::optional<std::stop_callback<emit>> callback_;
    };

  private:
    Inner           inner_;
    std::stop_token token_;
};

} // namespace detail

/* Ends an operation when a stop is requested, with UNR_CANCEL_ALL and cause -ECANCELED.
 *
 * token    a stop that was requested before the start ends it before it begins.
 * Outcome  that of `inner`.
 * Threads  the stop may be requested on any: that posts to the loop, and does no more.  It touches
 *          the loop, so whoever may request a stop has ended before the loop is closed, or else the
 *          operation has. */
template <detail::operand Inner> auto stoppable(std::stop_token token, Inner &&inner)
{
    return detail::stoppable_operation<detail::operation_of<Inner>>(
        std::move(token), detail::as_operation(std::forward<Inner>(inner)));
}

#endif

/* ---- operations side by side ---- */

/* What a group has left: the index of the member that decided, the result of the group, and the
 * outcome of each member.
 *
 *     auto [index, line, silence] = co_await (read_line() || unring::sleep_for(30s));
 *
 * index    as unr_any() and unr_all() say: of the member that decided, or -1.
 * Losers   a member that has succeeded as well, and did not decide, has its outcome here: nothing
 *          that it has received is lost, and a descriptor that it opened is closed with it. */
template <class... Outcomes> struct outcomes {
    int                     index;
    result                  status; /* of the group */
    std::tuple<Outcomes...> members;

    /* Returns the index or an outcome, for structured bindings. */
    template <std::size_t I> auto &&get() &&
    {
        if constexpr (I == 0)
            return std::move(index);
        else
            return std::get<I - 1>(std::move(members));
    }
    template <std::size_t I> auto &get() &
    {
        if constexpr (I == 0)
            return index;
        else
            return std::get<I - 1>(members);
    }
    template <std::size_t I> const auto &get() const &
    {
        if constexpr (I == 0)
            return index;
        else
            return std::get<I - 1>(members);
    }

    /* Throws, if the group has failed, what the member that decided has thrown, or its error. */
    outcomes or_throw() &&
    {
        throw_failure();
        return std::move(*this);
    }
    outcomes &or_throw() &
    {
        throw_failure();
        return *this;
    }

    /* Returns, if the group has failed, the exception of the member that decided, or NULL. */
    std::exception_ptr exception() const noexcept
    {
        std::exception_ptr exception;
        std::apply(
            [&](const auto &...member) {
                int i = 0;
                ((i++ == index ? void(exception = detail::exception_of(member)) : void()), ...);
            },
            members);
        return status.error ? exception : nullptr;
    }

    /* Returns the values of all members in a tuple, with std::monostate for void.  Throws, if one
     * has none, what the member that decided has thrown, or else the first without a value. */
    auto values() &&
    {
        throw_failure();
        return std::apply(
            [](auto &&...member) {
                return std::tuple<decltype(detail::value_or_throw(std::move(member)))...>{
                    detail::value_or_throw(std::move(member))...
                };
            },
            std::move(members));
    }

  private:
    void throw_failure()
    {
        if (!status.error)
            return;
        std::apply(
            [this](auto &...member) {
                int i = 0;
                ((i++ == index ? detail::throw_failure_of(member) : void()), ...);
            },
            members);
        status.or_throw();
    }
};

/* What a group of any number of like members has left. */
template <class Outcome> struct outcome_list {
    int                  index;
    result               status; /* of the group */
    std::vector<Outcome> members{};

    /* Throws, if the group has failed, what the member that decided has thrown, or its error. */
    outcome_list or_throw() &&
    {
        or_throw();
        return std::move(*this);
    }
    outcome_list &or_throw() &
    {
        if (status.error && index >= 0)
            detail::throw_failure_of(members[static_cast<std::size_t>(index)]);
        status.or_throw();
        return *this;
    }
    /* Returns, if the group has failed, the exception of the member that decided, or NULL. */
    std::exception_ptr exception() const noexcept
    {
        return status.error && index >= 0
                   ? detail::exception_of(members[static_cast<std::size_t>(index)])
                   : nullptr;
    }
};

namespace detail
{

/* What makes a group of members: unr_any() or unr_all(). */
using group_function = unr_op *(*)(raw::group *, unr_op *const *, unsigned);

/* Tells whether a group that has members has begun.  Before that what is around it may have failed,
 * with an error that is then the one of each member. */
inline bool has_begun(const raw::group &group) noexcept
{
    return unr_group_first(&group);
}

template <group_function Make, operation... Members> class [[nodiscard]] group
{
  public:
    static constexpr bool is_unbound = true;

    template <class... From>
    explicit group(std::in_place_t, From &&...members) : members_(std::forward<From>(members)...)
    {
    }

    class place
    {
      public:
        explicit place(group op) : place(std::move(op), std::index_sequence_for<Members...>{})
        {
        }
        place(const place &) = delete;
        unr_op *describe(unr_loop *loop)
        {
            std::apply([&](auto &...member) { describe_each(loop, member...); }, members_);
            return Make(&group_, ops_, sizeof...(Members));
        }
        auto take(const unr_result &ended)
        {
            return take(ended, std::index_sequence_for<Members...>{});
        }

      private:
        template <std::size_t... I>
        place(group &&op, std::index_sequence<I...>)
            : members_(std::get<I>(std::move(op.members_))...)
        {
        }
        template <class... Places> void describe_each(unr_loop *loop, Places &...member)
        {
            unr_op **op = ops_;
            ((*op++ = member.describe(loop)), ...);
        }
        template <std::size_t... I> auto take(const unr_result &ended, std::index_sequence<I...>)
        {
            bool began = detail::has_begun(group_);
            return outcomes<outcome_of<Members>...>{
                began ? static_cast<int>(ended.value) : -1,
                result(ended, &group_.op),
                { std::get<I>(members_).take(began ? ops_[I]->result : ended)... },
            };
        }

        std::tuple<typename Members::place...> members_;
        unr_op                                *ops_[sizeof...(Members)];
        raw::group                             group_{};
    };

  private:
    template <group_function, operation...> friend class group;
    template <group_function M, operation... Ms, operation... More>
    friend auto append(group<M, Ms...> &&first, More &&...more);

    std::tuple<Members...> members_;
};

template <group_function Make, operation... Members, operation... More>
auto append(group<Make, Members...> &&first, More &&...more)
{
    return std::apply(
        [&](auto &...member) {
            return group<Make, Members..., std::remove_cvref_t<More>...>(
                std::in_place, std::move(member)..., std::forward<More>(more)...);
        },
        first.members_);
}

template <group_function Make, operand... Members> auto group_of(Members &&...members)
{
    return group<Make, operation_of<Members>...>(
        std::in_place, detail::as_operation(std::forward<Members>(members))...);
}

template <class Member> std::vector<Member> copy_of(const std::vector<Member> &members)
{
    static_assert(std::copy_constructible<Member>,
                  "a task, and what contains one, is used once: std::move(it)");
    if constexpr (std::copy_constructible<Member>)
        return members;
    else
        return {};
}

template <group_function Make, operation Member> class [[nodiscard]] group_list
{
  public:
    static constexpr bool is_unbound = true;

    explicit group_list(std::vector<Member> members) : members_(std::move(members))
    {
    }

    class place
    {
      public:
        explicit place(group_list op)
        {
            for (Member &member : op.members_)
                members_.emplace_back(std::move(member));
            ops_.reserve(members_.size());
            outcomes_.reserve(members_.size());
        }
        place(const place &) = delete;
        unr_op *describe(unr_loop *loop)
        {
            for (auto &member : members_)
                ops_.push_back(member.describe(loop));
            return Make(&group_, ops_.data(), static_cast<unsigned>(ops_.size()));
        }
        auto take(const unr_result &ended)
        {
            bool                             began = detail::has_begun(group_);
            outcome_list<outcome_of<Member>> left;
            left.index = began ? static_cast<int>(ended.value) : -1;
            left.status = result(ended, &group_.op);
            left.members = std::move(outcomes_);
            std::size_t i = 0;
            for (auto &member : members_)
                left.members.push_back(member.take(began ? ops_[i++]->result : ended));
            return left;
        }

      private:
        std::deque<typename Member::place> members_;
        std::vector<unr_op *>              ops_;
        std::vector<outcome_of<Member>> outcomes_; /* has room for all: the end wants no memory */
        raw::group                      group_{};
    };

  private:
    std::vector<Member> members_;
};

} // namespace detail

/* Starts operations together, of which the first success ends the others: unr_any().
 *
 * members  operations, lambdas that return one, or what functions of C have described.
 * Outcome  outcomes<...>: the index of the one that decided, and every outcome.  An exception
 *          decides as an error does: the others go on.
 * Cancels  a request goes to each member. */
template <detail::operand... Members>
requires(sizeof...(Members) > 0) auto any(Members &&...members)
{
    return detail::group_of<::unr_any>(std::forward<Members>(members)...);
}

/* Starts operations together, of which the first failure ends the others: unr_all().
 *
 * members  operations, lambdas that return one, or what functions of C have described.
 * Outcome  outcomes<...>: the index of the one that failed first, and every outcome.  An exception
 *          decides as an error does: the others are cancelled.
 * Cancels  a request goes to each member. */
template <detail::operand... Members>
requires(sizeof...(Members) > 0) auto all(Members &&...members)
{
    return detail::group_of<::unr_all>(std::forward<Members>(members)...);
}

/* Starts any number of like operations together, of which the first success ends the others.
 *
 * Outcome  an outcome_list, as of any(); of no members the index -1. */
template <operation Member> auto any(std::vector<Member> &&members)
{
    return detail::group_list<::unr_any, Member>(std::move(members));
}
template <operation Member> auto any(const std::vector<Member> &members)
{
    return detail::group_list<::unr_any, Member>(detail::copy_of(members));
}

/* Starts any number of like operations together, of which the first failure ends the others.
 *
 * Outcome  an outcome_list, as of all(); of no members the index -1. */
template <operation Member> auto all(std::vector<Member> &&members)
{
    return detail::group_list<::unr_all, Member>(std::move(members));
}
template <operation Member> auto all(const std::vector<Member> &members)
{
    return detail::group_list<::unr_all, Member>(detail::copy_of(members));
}

/* a || b is any(a, b), and a || b || c is any(a, b, c).  Both sides are always started.  One of
 * them may be what a function of C has described; of two of those the language knows || itself. */
template <detail::operand A, detail::operand B>
requires(operation<A> || operation<B>) auto operator||(A &&a, B &&b)
{
    return unring::any(std::forward<A>(a), std::forward<B>(b));
}

template <operation... Members, detail::operand B>
auto operator||(detail::group<::unr_any, Members...> &&a, B &&b)
{
    return detail::append(std::move(a), detail::as_operation(std::forward<B>(b)));
}

/* a && b is all(a, b), and a && b && c is all(a, b, c). */
template <detail::operand A, detail::operand B>
requires(operation<A> || operation<B>) auto operator&&(A &&a, B &&b)
{
    return unring::all(std::forward<A>(a), std::forward<B>(b));
}

template <operation... Members, detail::operand B>
auto operator&&(detail::group<::unr_all, Members...> &&a, B &&b)
{
    return detail::append(std::move(a), detail::as_operation(std::forward<B>(b)));
}

namespace detail
{ /* of whose types operands mostly are */
using unring::operator||;
using unring::operator&&;
} // namespace detail

/* ---- tasks ---- */

template <class T = void> class task;

/* What a task asks of itself, without waiting: co_await unring::this_task::state. */
namespace this_task
{
struct state_of_task {
};
struct loop_of_task {
};
/* The cancellation_state of this task, which it shares with the tasks that co_await it. */
inline constexpr state_of_task state;
/* The loop of this task, an unr_loop *. */
inline constexpr loop_of_task loop;
} // namespace this_task

namespace detail
{

/* What runs a task, and the tasks that it co_awaits: a composed operation, each step of which
 * resumes one of them after another, until one awaits an operation or the first one has ended.
 * They do not resume one another, so the stack grows with none of them, also where the compiler
 * makes no tail calls. */
struct driver {
    enum phase { GOES_ON, WAITS, OVER };

    raw::compose            compose{};      /* first: its address is that of the driver */
    std::coroutine_handle<> next;           /* resumed in this step, or by the next one */
    int                     last_cause = 0; /* of the last operation that was cancelled */
    int                     error = 0;
    phase                   now = OVER;

    static void step(raw::compose *self, unr_op *finished) noexcept
    {
        driver *d = reinterpret_cast<driver *>(self);
        if (finished && finished->result.error == -ECANCELED)
            d->last_cause = finished->result.cause;
        d->now = GOES_ON;
        do
            std::exchange(d->next, nullptr).resume();
        while (d->now == GOES_ON);
        if (d->now == OVER)
            unr_compose_end(self, d->error);
    }

    unr_op *describe(std::coroutine_handle<> first, const char *name, unsigned supports) noexcept
    {
        next = first;
        return unr_compose(&compose, name, supports, step);
    }

    unr_loop *loop() const noexcept
    {
        return unr_loop_of(&compose.op);
    }

    /* The coroutine `self` goes on when `described` has ended. */
    void await(std::coroutine_handle<> self, unr_op *described) noexcept
    {
        next = self;
        now = WAITS;
        unr_compose_next(&compose, described);
    }

    /* The first of the tasks has ended.  The cause of what it was asked says that it was cancelled,
     * as -ECANCELED does: so does a fiber.  So does that of a closing loop, which asks everything
     * for all types: also where a request with another cause came first, and is the one that what
     * it has ended tells.  A task may also fail with that error of its own. */
    void end(int with) noexcept
    {
        unr_cancel_state *state = unr_compose_state(&compose);
        bool              asked = unr_state_cancelled(state) && with == unr_state_cause(state);
        bool              ended_one = last_cause && compose.op.result.requested == UNR_CANCEL_ALL;
        bool              closing = with == -ESHUTDOWN && (last_cause == -ESHUTDOWN || ended_one);
        error = asked || closing ? -ECANCELED : with;
        now = OVER;
    }
};
static_assert(std::is_standard_layout_v<driver>);

template <operation Op> class awaiter
{
  public:
    template <class From> explicit awaiter(From &&op) : place_(std::forward<From>(op))
    {
    }
    awaiter(const awaiter &) = delete;

    bool await_ready() const noexcept
    {
        return false;
    }
    /* What describes it may throw: then nothing has begun, and the coroutine goes on. */
    template <class Promise> void await_suspend(std::coroutine_handle<Promise> self)
    {
        driver &d = *self.promise().driver_;
        described_ = place_.describe(d.loop());
        d.await(self, described_);
    }
    auto await_resume()
    {
        return detail::value_from(place_.take(described_->result));
    }

  private:
    typename Op::place place_;
    unr_op            *described_ = nullptr;
};

template <class T> class answer
{
  public:
    explicit answer(T value) noexcept : value_(value)
    {
    }
    bool await_ready() const noexcept
    {
        return true;
    }
    void await_suspend(std::coroutine_handle<>) const noexcept
    {
    }
    T await_resume() const noexcept
    {
        return value_;
    }

  private:
    T value_;
};

struct shield_of_task;

class promise_base
{
  public:
    std::suspend_always initial_suspend() const noexcept
    {
        return {};
    }

    template <operand Op> auto await_transform(Op &&op)
    {
        return awaiter<operation_of<Op>>(detail::as_operation(std::forward<Op>(op)));
    }
    template <class T> auto await_transform(task<T> &&child) noexcept
    {
        return typename task<T>::child(std::move(child));
    }
    answer<cancellation_state> await_transform(this_task::state_of_task) noexcept
    {
        return answer(cancellation_state(unr_compose_state(&driver_->compose)));
    }
    answer<unr_loop *> await_transform(this_task::loop_of_task) noexcept
    {
        return answer(driver_->loop());
    }
    template <class T> std::suspend_never await_transform(T &&)
    {
        static_assert(never<T>, "a task awaits operations of unring, tasks, and unr_op pointers");
        return {};
    }

    driver                 *driver_ = nullptr;
    std::coroutine_handle<> caller_; /* that awaits this one; empty: it is the first */
    const char             *name_ = "task";
    unsigned                supports_ = UNR_CANCEL_TERMINAL; /* as an operation */
};

/* Makes a task one that no request reaches, and that begins on a loop that is being closed. */
struct shield_of_task {
    template <class T> static task<T> put_on(task<T> &&task) noexcept
    {
        task.promise("shielded").supports_ = UNR_CANCEL_NONE;
        return std::move(task);
    }
};

template <class> inline constexpr bool   is_task = false;
template <class T> inline constexpr bool is_task<task<T>> = true;

/* What may stand where an operation is wanted, and returns a task. */
// clang-format off
template <class T>
concept makes_task = operand<T> && makes_operation<T> && is_task<std::invoke_result_t<std::decay_t<T> &>>;
// clang-format on

/* The end of a coroutine: its caller goes on, or the driver ends. */
struct final_awaiter {
    bool await_ready() const noexcept
    {
        return false;
    }
    template <class Promise> void await_suspend(std::coroutine_handle<Promise> self) const noexcept
    {
        Promise &promise = self.promise();
        if (promise.caller_)
            promise.driver_->next = promise.caller_;
        else
            promise.driver_->end(promise.returned_.error());
    }
    void await_resume() const noexcept
    {
    }
};

template <class T> class promise_of : public promise_base
{
  public:
    task<T>       get_return_object() noexcept;
    final_awaiter final_suspend() const noexcept
    {
        return {};
    }
    void unhandled_exception() noexcept
    {
        returned_.set_exception();
    }

    returned<T> returned_;
};

template <class T> class promise : public promise_of<T>
{
  public:
    template <std::convertible_to<T> From = T> void return_value(From &&value)
    {
        this->returned_.set(std::forward<From>(value));
    }
};

template <> class promise<void> : public promise_of<void>
{
  public:
    void return_void() noexcept
    {
        returned_.set();
    }
};

} // namespace detail

/* A coroutine that has not begun.  A function that returns a task is one if it has a co_await or a
 * co_return in it.
 *
 * Begins   when it is co_awaited, or as an operation when that is started: it then runs to its first
 *          await inside unr_start(), as any composed operation.  One that is never started is
 *          destroyed, with its arguments, and does nothing.
 * Awaits   operations, tasks and what functions of C have described.  co_await gives their outcome;
 *          of a task or a fiber its value, or it throws its exception.
 * Ends     by co_return or by an exception, which goes to whoever takes the value.  As an operation
 *          its result has error 0, or the code of a std::system_error of the system's or of the
 *          generic category, -ENOMEM of a std::bad_alloc, -ENOTRECOVERABLE of another exception,
 *          or, where T is a result, the outcome of that.  -ECANCELED, and the cause of a request
 *          that was let in, say that a cancellation took effect.  So does -ESHUTDOWN of an
 *          operation that a closing loop has ended.
 * Cancels  UNR_CANCEL_TERMINAL, until the task sets other filters: this_task::state.  What was let
 *          in ends the operation that is awaited, and each later one before it begins.  Tasks that
 *          are co_awaited begin all the same, and learn it from their operations.
 * Dropped  a task object that was started cannot be dropped: started and spawn() keep it.  What
 *          ends the life of one in flight all the same is a broken contract.
 * Threads  the loop's, for its whole life. */
template <class T> class [[nodiscard]] task
{
  public:
    using promise_type = detail::promise<T>;

    static constexpr bool is_unbound = true; /* as it is described: bind() */

    task(task &&other) noexcept : handle_(std::exchange(other.handle_, nullptr))
    {
    }
    task &operator=(task &&other) noexcept
    {
        if (this != &other) {
            destroy();
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    ~task()
    {
        destroy();
    }

    /* Gives it a name, for messages and dumps: session(fd).named("session").
     *
     * name     lasts as long as the task, and its outcome: a literal. */
    task named(const char *name) &&
    {
        promise("named").name_ = name;
        return std::move(*this);
    }
    /* Tells whether there is a coroutine: not after it was moved from, or awaited. */
    explicit operator bool() const noexcept
    {
        return static_cast<bool>(handle_);
    }

    /* As an operation, with a cancellation state of its own. */
    class place
    {
      public:
        explicit place(task op) noexcept : task_(std::move(op))
        {
        }
        place(const place &) = delete;
        ~place()
        {
            if (driver_.compose.op.type && unr_in_flight(&driver_.compose.op))
                detail::broken(unr_op_name(&driver_.compose.op), "dropped while it is in flight",
                               "a task that was started stays where it is until it has ended");
        }
        unr_op *describe(unr_loop *) noexcept
        {
            promise_type &promise = task_.promise("started");
            promise.driver_ = &driver_;
            return driver_.describe(task_.handle_, promise.name_, promise.supports_);
        }
        outcome<T> take(const unr_result &ended)
        {
            return outcome<T>(std::move(task_.handle_.promise().returned_),
                              result(ended, &driver_.compose.op));
        }

      private:
        task           task_;
        detail::driver driver_;
    };

    /* As a part of the task that awaits it. */
    class child
    {
      public:
        explicit child(task &&op) noexcept : task_(std::move(op))
        {
        }
        child(const child &) = delete;
        bool await_ready() const noexcept
        {
            return false;
        }
        template <class Promise> void await_suspend(std::coroutine_handle<Promise> caller) noexcept
        {
            promise_type &promise = task_.promise("awaited");
            promise.driver_ = caller.promise().driver_;
            promise.caller_ = caller;
            promise.driver_->next = task_.handle_;
        }
        T await_resume()
        {
            return task_.handle_.promise().returned_.take();
        }

      private:
        task task_;
    };

  private:
    friend detail::promise_of<T>;
    friend detail::shield_of_task;
    using handle = std::coroutine_handle<promise_type>;

    explicit task(handle coroutine) noexcept : handle_(coroutine)
    {
    }
    void destroy() noexcept
    {
        if (handle_)
            std::exchange(handle_, nullptr).destroy();
    }
    promise_type &promise(const char *what) noexcept
    {
        if (!handle_)
            detail::broken("task", what,
                           "a task is awaited or started once; one that was moved from is empty");
        return handle_.promise();
    }

    handle handle_;
};

template <class T> task<T> detail::promise_of<T>::get_return_object() noexcept
{
    return task<T>(task<T>::handle::from_promise(static_cast<promise<T> &>(*this)));
}

/* Refuses each request to cancel a task: a clean-up that awaits.
 *
 *     co_await unring::shielded(say_goodbye(fd));     in a task that was cancelled, too
 *
 * Grace    the task limits what it awaits: within(1s, ...).
 * Closing  a loop that is being closed lets it begin and run to its end.  What it awaits ends with
 *          cause -ESHUTDOWN there, except what supports NONE: close(), say. */
template <class T> auto shielded(task<T> &&shy)
{
    return detail::wrap<::unr_shield>(detail::shield_of_task::put_on(std::move(shy)));
}

/* The same of the task that a lambda returns. */
template <detail::makes_task Function> auto shielded(Function &&function)
{
    static_assert(detail::may_be_kept<Function>,
                  "a task, and what contains one, is used once: std::move(it)");
    if constexpr (detail::may_be_kept<Function>) {
        auto shy = [function = std::decay_t<Function>(std::forward<Function>(function))]() mutable {
            return detail::shield_of_task::put_on(function());
        };
        return detail::wrap<::unr_shield>(std::move(shy));
    } else {
        return unring::shielded(std::move(const_cast<std::remove_cvref_t<Function> &>(function)));
    }
}

namespace detail
{

template <operation Block, class CleanUp, class T> task<T> finally(Block block, CleanUp clean_up)
{
    returned<T> left;
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(block);
            left.set();
        } else {
            left.set(co_await std::move(block));
        }
    } catch (...) {
        left.set_exception();
    }
    co_await unring::shielded(clean_up());
    co_return left.take();
}

} // namespace detail

/* Runs a clean-up that awaits behind a task, whether that returns, throws or is cancelled: a
 * destructor cannot await, nor can a `catch`.
 *
 *     co_await unring::finally(talk(fd), [fd] { return say_goodbye(fd); });
 *
 * block     a task, or an operation.
 * clean_up  a function that returns a task, which runs shielded() when the block has ended.  It is
 *           kept until then.
 * Begins    where this is cancelled before it begins, neither runs.
 * Returns   a task<T>: what co_await of the block gives.  An exception of the clean-up takes the
 *           place of that, and of an exception of the block. */
template <detail::operand Block, std::invocable CleanUp>
auto finally(Block &&block, CleanUp clean_up)
{
    using operation_type = detail::operation_of<Block>;
    using value = decltype(detail::value_from(std::declval<outcome_of<operation_type>>()));
    return detail::finally<operation_type, CleanUp, value>(
        detail::as_operation(std::forward<Block>(block)), std::move(clean_up));
}

/* ---- fibers, and other threads ---- */

namespace detail
{

/* Where a function runs: in a fiber, or on a thread. */
struct in_fiber {
    using memory = raw::fiber;

    unr_op *describe(memory *fiber, unr_fiber_fn *fn, void *argument) const noexcept
    {
        return unr_fiber_with(fiber, fn, argument, &options);
    }

    unr_fiber_options options;
};

struct on_thread {
    using memory = raw::work;

    unr_op *describe(memory *work, unr_fiber_fn *fn, void *argument) const noexcept
    {
        return unr_work(work, fn, argument);
    }
};

/* A call of a function, whose value or exception is its outcome. */
template <std::invocable Function, class Where> class [[nodiscard]] call_of
{
    using value = std::invoke_result_t<Function &>;

  public:
    static constexpr bool is_unbound = true;

    call_of(Function function, Where where) : function_(std::move(function)), where_(where)
    {
    }

    class place
    {
      public:
        explicit place(call_of op) : function_(std::move(op.function_)), where_(op.where_)
        {
        }
        place(const place &) = delete;
        unr_op *describe(unr_loop *) noexcept
        {
            return where_.describe(&memory_, run, this);
        }
        outcome<value> take(const unr_result &ended)
        {
            return outcome<value>(std::move(returned_), result(ended, &memory_.op));
        }

      private:
        static int run(void *argument) noexcept
        {
            place *self = static_cast<place *>(argument);
            try {
                if constexpr (std::is_void_v<value>) {
                    self->function_();
                    self->returned_.set();
                } else {
                    self->returned_.set(self->function_());
                }
            } catch (...) {
                self->returned_.set_exception();
            }
            return self->returned_.error();
        }

        Function               function_;
        Where                  where_;
        returned<value>        returned_;
        typename Where::memory memory_{};
    };

  private:
    Function function_;
    Where    where_;
};

} // namespace detail

/* A fiber that runs a function, a lambda say, on a stack of its own: unr_fiber_with().
 *
 * function  kept until the fiber has ended.  What it captures by reference lives as long.
 * options   copied; its name lasts as long as the fiber.  Without them: the defaults.
 * Outcome   outcome<T> of what it returns or throws: as of a task, which also says what an
 *           exception is as an error.  A negative number that it returns is a value, and no error.
 * Cancels   UNR_CANCEL_TERMINAL, until the function sets other filters:
 *           cancellation_state(unr_fiber_state()).
 * Inside    await(operation), and all that unr_fiber_fn says. */
template <std::invocable Function>
detail::call_of<Function, detail::in_fiber> fiber(Function                 function,
                                                  const unr_fiber_options &options)
{
    return { std::move(function), { options } };
}

/* The same with the default options. */
template <std::invocable Function>
detail::call_of<Function, detail::in_fiber> fiber(Function function)
{
    return { std::move(function), { { sizeof(unr_fiber_options), nullptr, 0 } } };
}

/* A call of a function that blocks, on a thread of the process's pool: unr_work().
 *
 * function  kept until it has returned.  What it captures by reference lives as long.
 * Outcome   outcome<T> of what it returns or throws, as of a fiber.
 * Cancels   TOTAL while it waits for a thread; while it runs, it runs to its end, unless it looks
 *           at unr_work_cancelled() and throws std::system_error with ECANCELED: TERMINAL.
 * Inside    what a thread may do that has no loop. */
template <std::invocable Function>
detail::call_of<Function, detail::on_thread> work(Function function)
{
    return { std::move(function), {} };
}

namespace detail
{

/* Work that runs on by itself when it is cancelled: the function, and what it returns, lie on the
 * heap, and are the work's from its start on. */
template <std::invocable Function> class [[nodiscard]] abandonable
{
    using value = std::invoke_result_t<Function &>;

  public:
    static constexpr bool is_unbound = true;

    explicit abandonable(Function function) : function_(std::move(function))
    {
    }

    class place
    {
      public:
        explicit place(abandonable op) : call_(new call{ std::move(op.function_), this, {} })
        {
        }
        place(const place &) = delete;
        /* What was never started is still here: it has no error. */
        ~place()
        {
            if (memory_.op.result.error == 0)
                delete call_;
        }
        unr_op *describe(unr_loop *) noexcept
        {
            return unr_work_abandonable(&memory_, run, call_, dispose);
        }
        outcome<value> take(const unr_result &ended)
        {
            return outcome<value>(std::move(returned_), result(ended, &memory_.op));
        }

      private:
        struct call {
            Function        function;
            place          *for_; /* gone, if the work was abandoned */
            returned<value> left;
        };

        static int run(void *argument) noexcept
        {
            call *self = static_cast<call *>(argument);
            try {
                if constexpr (std::is_void_v<value>) {
                    self->function();
                    self->left.set();
                } else {
                    self->left.set(self->function());
                }
            } catch (...) {
                self->left.set_exception();
            }
            return self->left.error();
        }
        /* On the loop's thread before the end, or on its own one when nobody waits any more. */
        static void dispose(void *argument) noexcept
        {
            std::unique_ptr<call> self(static_cast<call *>(argument));
            if (unr_work_cancelled())
                return;
            self->for_->call_ = nullptr;
            self->for_->returned_ = std::move(self->left);
        }

        call           *call_; /* NULL: it was disposed of */
        returned<value> returned_;
        raw::work       memory_{};
    };

  private:
    Function function_;
};

} // namespace detail

/* A call of a function that blocks, on a thread of the process's pool, which is not waited for when
 * it is cancelled: unr_work_abandonable().
 *
 * function  moved to the heap, and with what it has captured destroyed when it has returned: on its
 *           thread, if nobody waits any more.  So it captures by value; what it has a reference to
 *           has to outlast the process's work.
 * Outcome   outcome<T> of what it returns or throws.  If it was abandoned there is neither, and
 *           what it returns or throws later is dropped.
 * Cancels   TOTAL while it waits for a thread; while it runs, TERMINAL: at once.
 * Inside    what a thread may do that has no loop; unr_work_cancelled(). */
template <std::invocable Function> detail::abandonable<Function> work_abandonable(Function function)
{
    return detail::abandonable<Function>(std::move(function));
}

/* The result of a lookup, which owns the addresses. */
struct resolved : result {
    struct free_addresses {
        void operator()(addrinfo *found) const noexcept
        {
            raw::resolve lookup{};
            lookup.addresses = found;
            unr_resolve_free(&lookup);
        }
    };

    resolved(const unr_result &other, const raw::resolve &from) noexcept
        : result(other, &from.op), addresses(from.addresses), eai(unr_resolve_eai(&from))
    {
    }

    std::unique_ptr<addrinfo, free_addresses> addresses; /* NULL: nothing was found */
    int                                       eai;       /* for gai_strerror(3) */
};

namespace detail
{

class [[nodiscard]] lookup
{
    struct what {
        std::string host, service;
        addrinfo    hints;
        bool        has_hints;
    };

  public:
    lookup(std::string host, std::string service, const addrinfo *hints)
        : what_{ std::move(host), std::move(service), hints ? *hints : addrinfo{},
                 hints != nullptr }
    {
    }

    class place
    {
      public:
        explicit place(lookup op) : what_(std::move(op.what_))
        {
        }
        place(const place &) = delete;
        unr_op *describe(unr_loop *) noexcept
        {
            return unr_resolve(&memory_, what_.host.c_str(),
                               what_.service.empty() ? nullptr : what_.service.c_str(),
                               what_.has_hints ? &what_.hints : nullptr);
        }
        resolved take(const unr_result &ended) noexcept
        {
            return resolved(ended, memory_);
        }

      private:
        what         what_;
        raw::resolve memory_{};
    };

  private:
    what what_;
};

} // namespace detail

/* A lookup of the addresses of a host: unr_resolve().
 *
 * host     a name or a number; it is copied, as is `service`.  For a lookup without a host, of a
 *          socket that is bound, use unr_resolve() of C.
 * service  "": the addresses have port 0.
 * hints    copied; NULL: none.
 * Outcome  a resolved, which owns what was found.
 * Cancels  TOTAL, at once. */
inline detail::lookup resolve(std::string host, std::string service,
                              const addrinfo *hints = nullptr)
{
    return { std::move(host), std::move(service), hints };
}

/* Awaits an operation inside a fiber, and returns what co_await gives in a task: unr_await().
 *
 * Broken   a call outside of a fiber.  A task co_awaits. */
template <detail::operand Op> auto await(Op &&op)
{
    detail::place_of<Op> place(detail::as_operation(std::forward<Op>(op)));
    unr_op              *described = place.describe(unr_fiber_loop());
    return detail::value_from(place.take(unr_await(described)));
}

/* ---- starting ---- */

namespace detail
{

/* A wait that no request ends, nor a loop that closes: for what refers to whoever waits. */
class sure_wait
{
  public:
    /* Describes the wait for the end of `op`; NULL: for end() alone. */
    unr_op *describe(const unr_op *op) noexcept
    {
        static const unr_op_type type = make_type();
        for_ = op;
        return unr_describe(&op_, &type);
    }
    /* Ends the wait, if there is one. */
    void end() noexcept
    {
        if (std::exchange(waits_, false))
            unr_finish(&op_, 0);
    }

  private:
    static void start(unr_op *op) noexcept
    {
        sure_wait *self = reinterpret_cast<sure_wait *>(op);
        self->waits_ = true;
        if (self->for_ && !unr_in_flight(self->for_))
            self->end();
    }
    static unr_op_type make_type() noexcept
    {
        unr_op_type type{};
        type.size = sizeof type;
        type.supports = UNR_CANCEL_NONE;
        type.name = "wait";
        type.start = start;
        return type;
    }

    unr_op        op_{}; /* first: its address is that of the wait */
    const unr_op *for_ = nullptr;
    bool          waits_ = false;
};
static_assert(std::is_standard_layout_v<sure_wait>);

} // namespace detail

/* An operation that is started when it is made, and that its owner waits for.
 *
 *     unring::started pings(loop, heartbeat(fd));
 *     ...
 *     co_await pings.stop();
 *
 * Memory   the owner's: it stays where it is.  Dropping one that is in flight is a broken contract,
 *          which names the operation.  So an owner stops it on each way out, also where it throws;
 *          or it is the child of a nursery instead: with_nursery().
 * Threads  the loop's; any one thread before the loop has first run. */
template <operation Op> class started
{
  public:
    /* Starts it: unr_start().
     *
     * what     an operation, a lambda that returns one, or what a function of C has described. */
    template <detail::operand From>
    requires std::same_as<detail::operation_of<From>, Op> started(unr_loop *loop, From &&what)
        : place_(detail::as_operation(std::forward<From>(what)))
    {
        op_ = place_.describe(loop);
        unr_start(loop, op_, done, this);
    }
    started(const started &) = delete;
    ~started()
    {
        if (in_flight())
            detail::broken(unr_op_name(op_), "dropped while it is in flight",
                           "what was started stays where it is until it has ended");
    }

    /* Tells whether it has not ended: unr_in_flight(). */
    bool in_flight() const noexcept
    {
        return unr_in_flight(op_);
    }
    /* Requests cancellation: unr_cancel_cause(). */
    bool cancel(unsigned types = UNR_CANCEL_ALL, int cause = -ECANCELED) noexcept
    {
        return unr_cancel_cause(op_, types, cause);
    }
    /* Waits for its end, which an operation may do beside others: unr_join().  A request ends the
     * wait, and a loop that closes does. */
    auto ended() noexcept
    {
        return join(op_);
    }
    /* Cancels it and waits for its end, where the wait begins.  Nothing ends the wait before, not
     * even a loop that closes.  Broken: two of these waits at a time. */
    auto stop(unsigned types = UNR_CANCEL_ALL, int cause = -ECANCELED) noexcept
    {
        return unring::op([this, types, cause](raw::op *) {
            cancel(types, cause);
            return end_.describe(op_);
        });
    }
    /* Returns its outcome, once it has ended.  Broken: before that, and a second call.  What an
     * outcome owns that is not taken is dropped with this: a descriptor is closed.  The loop may be
     * closed by then. */
    auto take()
    {
        if (in_flight() || taken_)
            detail::broken(unr_op_name(op_), taken_ ? "taken twice" : "taken while it is in flight",
                           "an outcome is taken once, when the operation has ended");
        taken_ = true;
        return outcome_.take();
    }
    /* The operation that was started: for functions of C. */
    unr_op *get() const noexcept
    {
        return op_;
    }

  private:
    /* The outcome is taken where it has ended, because that may need the loop. */
    static void done(unr_op *op) noexcept
    {
        started *self = static_cast<started *>(op->data);
        self->keep();
        self->end_.end();
    }
    void keep() noexcept
    {
        try {
            if constexpr (std::is_void_v<kept>) {
                place_.take(op_->result);
                outcome_.set();
            } else {
                outcome_.set(place_.take(op_->result));
            }
        } catch (...) { /* by an operation of the caller's own */
            outcome_.set_exception();
        }
    }

    using kept = std::remove_cvref_t<outcome_of<Op>>;

    typename Op::place     place_;
    unr_op                *op_;
    detail::sure_wait      end_;
    detail::returned<kept> outcome_;
    bool                   taken_ = false;
};

template <class From> started(unr_loop *, From &&) -> started<detail::operation_of<From>>;

namespace detail
{

/* Whether a handler asks for the result of the operation beside its outcome. */
template <class Handler>
concept wants_status = requires
{
    requires Handler::wants_status;
};

/* An operation that nobody owns: it frees itself. */
template <operation Op, class Handler> class spawned
{
  public:
    template <class From>
    spawned(From &&op, Handler handler)
        : place_(std::forward<From>(op)), handler_(std::move(handler))
    {
    }
    unr_op *describe(unr_loop *loop)
    {
        return place_.describe(loop);
    }

    /* An exception that the handler lets through ends the process. */
    static void done(unr_op *op) noexcept
    {
        std::unique_ptr<spawned> self(static_cast<spawned *>(op->data));
        result                   status(op->result, op);
        auto                     left = self->place_.take(op->result);
        Handler                  handler = std::move(self->handler_);
        self.reset(); /* the handler may end what the operation has used */
        if constexpr (wants_status<Handler>)
            handler(std::move(left), status);
        else
            handler(std::move(left));
    }

  private:
    typename Op::place place_;
    Handler            handler_;
};

/* Nobody wants the outcome.  An exception that tells nothing but that the operation was cancelled
 * is expected; any other ends the process, as one that leaves a thread does. */
struct detached {
    static constexpr bool wants_status = true;

    template <class Outcome>
    void operator()(const Outcome &left, const result &status) const noexcept
    {
        std::exception_ptr exception = exception_of(left);
        if (exception && !status.cancelled())
            std::rethrow_exception(exception);
    }
};

template <class From, class Handler, class Start>
void spawn(unr_loop *loop, From &&what, Handler handler, Start start)
{
    using box = spawned<operation_of<From>, Handler>;
    auto made =
        std::make_unique<box>(detail::as_operation(std::forward<From>(what)), std::move(handler));
    unr_op *described = made->describe(loop);
    start(described, box::done, made.release());
}

} // namespace detail

/* Starts an operation that nobody waits for.
 *
 * what     a task; an operation; a lambda that returns one, which is kept as long: so it may
 *          capture; or what a function of C has described.  A task runs to its first await here.
 * handler  called with the outcome when it has ended, and what it has used is destroyed; it throws
 *          nothing.  Without one the outcome is dropped: an exception, of a group that of the
 *          member that decided, then ends the process, as it does in a thread, unless the
 *          operation was cancelled.
 * Memory   allocated here, and freed at its end.  Throws std::bad_alloc, and nothing has begun.
 * Closing  a loop that is closed cancels it.
 * Threads  the loop's; any one thread before the loop has first run. */
template <detail::operand What, class Handler = detail::detached>
void spawn(unr_loop *loop, What &&what, Handler handler = {})
{
    detail::spawn(loop, std::forward<What>(what), std::move(handler),
                  [loop](unr_op *described, unr_done_fn *done, void *box) {
                      unr_start(loop, described, done, box);
                  });
}

/* Starts an operation that nobody waits for as a member of a scope: unr_scope_start().
 *
 *     unring::raw::scope scope{};
 *     co_await (unr_scope(&scope) && accept_all(scope));   and in there spawn(scope, session(fd))
 *
 * scope    in flight.  It ends when it was closed, by unr_scope_close(), and its members have
 *          ended; and what is requested of it goes to them, and does not close it.  So accept_all
 *          closes it in a destructor, on each way out; and what is around both does not end them
 *          before they begin, as within(0s, ...) would.
 * Better   with_nursery(), which closes its own, also where its body never begins.
 * Else     as spawn() on a loop. */
template <detail::operand What, class Handler = detail::detached>
void spawn(raw::scope &scope, What &&what, Handler handler = {})
{
    detail::spawn(unr_loop_of(&scope.op), std::forward<What>(what), std::move(handler),
                  [&scope](unr_op *described, unr_done_fn *done, void *box) {
                      unr_scope_start(&scope, described, done, box);
                  });
}

/* ---- nurseries ---- */

namespace detail
{

template <class Body> struct nursery_body;

} // namespace detail

/* A block of a task whose children end before the block does: see with_nursery().
 *
 * Memory   in the frame of with_nursery().  A child may have a reference to it.
 * Threads  the loop's. */
class nursery
{
  public:
    nursery(const nursery &) = delete;

    /* Starts a child, whose failure ends the others and the body.
     *
     * what     as of spawn().
     * Fails    with an exception, or an error.  So does one that was cancelled, unless that was
     *          requested of the nursery, or the loop is being closed.
     * Asked    children of a nursery that was asked to end are asked before they begin.
     * Memory   allocated here, and freed at its end.  Throws std::bad_alloc, and nothing has begun.
     * Inside   the body and the children; a child of one that is left may still start others. */
    template <detail::operand What> void spawn(What &&what)
    {
        start(std::forward<What>(what), child_of<nothing>{ this, {} });
    }
    /* Starts a child whose failure is its own affair, as that of a server's session: the handler
     * looks at it.
     *
     * handler  called with the outcome when it has ended, and what it has used is destroyed; it
     *          throws nothing.
     * Else     as spawn() without one. */
    template <detail::operand What, class Handler> void spawn(What &&what, Handler handler)
    {
        start(std::forward<What>(what), child_of<Handler>{ this, std::move(handler) });
    }
    /* Makes a request to the body and all children, also later ones.
     *
     * types    a mask of UNR_CANCEL_*.  UNR_CANCEL_TOTAL alone ends idle operations that are
     *          children, and lets tasks go on.
     * cause    below 0.  -ECANCELED: on purpose, so that with_nursery() has nothing to report. */
    void cancel(unsigned types = UNR_CANCEL_ALL, int cause = -ECANCELED) noexcept
    {
        if (cause == -ECANCELED) {
            on_purpose_ = true;
            own_comes_first_ |= types == UNR_CANCEL_ALL && !group_.op.result.requested;
        }
        request(types, cause);
    }
    /* Returns how many children have not ended. */
    std::size_t children() const noexcept
    {
        return children_;
    }

  private:
    template <class> friend struct detail::nursery_body;

    struct nothing {
    };

    template <class Handler> struct child_of {
        static constexpr bool wants_status = true;

        nursery *in;
        Handler  handler;

        template <class Outcome> void operator()(Outcome &&left, const result &status) noexcept
        {
            if constexpr (std::same_as<Handler, nothing>) {
                in->child_failed(left, status);
            } else {
                handler(std::move(left));
            }
            in->child_ended(status);
        }
    };

    explicit nursery(unr_loop *loop) noexcept : loop_(loop)
    {
    }

    template <class What, class Child> void start(What &&what, Child child)
    {
        detail::spawn(loop_, std::forward<What>(what), std::move(child),
                      [this](unr_op *described, unr_done_fn *done, void *box) {
                          children_++;
                          unr_scope_start(&scope_, described, done, box);
                      });
    }

    void request(unsigned types, int cause) noexcept
    {
        const unr_result &asked = scope_.op.result;
        several_causes_ |= asked.requested && asked.cause != cause;
        unr_cancel_cause(&scope_.op, types, cause);
        unr_cancel_cause(body_, types, cause);
    }

    /* Tells whether it was what was requested of the nursery that has cancelled the body or a
     * child.  The scope hears of all requests, and the group of those from outside; each tells the
     * cause of the first.  A closing loop has ended it where it takes no more. */
    bool explains(const result &status) const noexcept
    {
        const unr_result &asked = scope_.op.result, &outside = group_.op.result;
        if (!status.cancelled())
            return false;
        if (status.cause == -ESHUTDOWN && (asked.requested || !unr_in_flight(&scope_.op)))
            return true;
        return asked.requested
               && (several_causes_ || status.cause == asked.cause
                   || (outside.requested && status.cause == outside.cause));
    }
    /* Tells, of what a request has cancelled, whether that was cancel() on purpose.  Of the same
     * cause from outside the first counts, if cancel() has asked for all types. */
    bool is_on_purpose(const result &status) const noexcept
    {
        const unr_result &outside = group_.op.result;
        bool              also_outside = outside.requested && outside.cause == -ECANCELED;
        return on_purpose_ && status.cause == -ECANCELED && (own_comes_first_ || !also_outside);
    }
    void keep_cause(const result &status) noexcept
    {
        if (!cause_ && explains(status) && !is_on_purpose(status))
            cause_ = status.cause;
    }
    bool is_failure(const result &status) const noexcept
    {
        return status.error && !explains(status);
    }

    /* The first failure is the one that is told, and ends the others.  That of the body has no
     * exception here: the body keeps it. */
    void fail(std::exception_ptr exception, int error) noexcept
    {
        if (!std::exchange(failed_, true))
            failure_ = std::move(exception);
        request(UNR_CANCEL_ALL, error);
    }
    template <class Outcome> void child_failed(Outcome &left, const result &status) noexcept
    {
        std::exception_ptr exception = detail::exception_of(left);
        if (exception && !status.error) /* thrown by the move of its value */
            fail(exception, detail::error_of(exception));
        if (!is_failure(status))
            return;
        try {
            detail::throw_failure_of(left);
            status.or_throw();
        } catch (...) {
            fail(std::current_exception(), status.outcome());
        }
    }
    void child_ended(const result &status) noexcept
    {
        child_was_cancelled_ |= explains(status);
        keep_cause(status);
        if (--children_ == 0)
            wait_.end();
    }

    /* The scope begins first, because the body starts children in it; and it is closed here, as
     * the body may be ended before it begins. */
    unr_op *describe(unr_op *body) noexcept
    {
        body_ = body;
        unr_op *members[] = { unr_scope(&scope_), body };
        return unr_group(&group_, members, 2, member_ended, this);
    }
    static unsigned member_ended(void *self, const unr_op *finished) noexcept
    {
        nursery *n = static_cast<nursery *>(self);
        if (finished == n->body_) {
            result status(finished->result);
            n->keep_cause(status);
            if (n->is_failure(status))
                n->fail(nullptr, status.outcome());
            unr_scope_close(&n->scope_);
        }
        return 0;
    }

    unr_loop          *loop_;
    raw::scope         scope_{}; /* the children are its members */
    raw::group         group_{}; /* of the scope and the body */
    unr_op            *body_ = nullptr;
    detail::sure_wait  wait_; /* for children that begin while the loop is being closed */
    std::exception_ptr failure_;
    std::size_t        children_ = 0;
    int                cause_ = 0; /* of the first end that was requested, and not on purpose */
    bool               on_purpose_ = false; /* cancel() has had the cause -ECANCELED */
    bool               own_comes_first_ = false;
    bool               failed_ = false;
    bool               several_causes_ = false;
    bool               child_was_cancelled_ = false;
};

namespace detail
{

/* The body of a nursery: a function that takes it and returns a task. */
template <class Body> struct nursery_body {
    using task_type = std::invoke_result_t<Body &, nursery &>;
    using value = decltype(std::declval<outcome_of<task_type>>().get());

    static task<value> run(Body body)
    {
        nursery                     n(co_await this_task::loop);
        typename task<value>::place place(call(body, n));
        unr_op                     *described = place.describe(n.loop_);
        co_await unring::described(n.describe(described));
        while (n.children_)
            co_await unring::described(n.wait_.describe(nullptr));
        co_return leave(
            n, place.take(detail::has_begun(n.group_) ? described->result : n.group_.op.result));
    }

  private:
    /* The body may start children and then return the task of another function.  So it is called
     * where the scope of the children has begun. */
    static task<value> call(Body &body, nursery &n)
    {
        co_return co_await body(n);
    }

    /* A block that was stopped on purpose has nothing to report, if it has no value to give.  One
     * that has failed without an exception has the error in its value. */
    static value leave(nursery &n, outcome<value> left)
    {
        bool has_value = static_cast<bool>(left);
        bool cancelled = !n.failed_ && (!has_value || n.child_was_cancelled_);
        bool on_purpose = !n.cause_ && n.on_purpose_;
        if (n.failure_)
            std::rethrow_exception(n.failure_);
        if constexpr (std::is_void_v<value>)
            if (cancelled && on_purpose)
                return;
        if (has_value && cancelled && !on_purpose)
            throw_error(n.cause_, "nursery");
        return left.get();
    }
};

} // namespace detail

/* A block whose children end before it does: structured concurrency.
 *
 *     co_await unring::with_nursery([&](unring::nursery &nursery) -> unring::task<> {
 *         nursery.spawn(heartbeat(fd));
 *         co_await serve(fd);
 *         nursery.cancel();
 *     });
 *
 * body     returns a task<T>, and starts children, before that or in it.  It is kept until the end;
 *          what it captures by reference lives as long.
 * Ends     when the body and all children have ended, whatever happens.
 * Returns  a task<T>: the value of the body.
 * Throws   the first failure, of the body or of a child, which has ended the others.  Later ones
 *          are dropped.  If nothing has failed, and a request from outside has ended the body or a
 *          child, its cause; if cancel() has, its cause unless that is -ECANCELED.
 * Cancels  a request goes to the body and to the children.  Each of them is an operation with a
 *          cancellation state of its own; this is a task.
 * Around   within(5s, with_nursery(...)) gives the block a deadline, shielded(...) a shield. */
template <class Body>
requires std::invocable<Body &, nursery &>
auto with_nursery(Body body)
{
    constexpr bool returns_one = operation<std::invoke_result_t<Body &, nursery &>>;
    static_assert(returns_one, "the body of a nursery returns a task");
    if constexpr (returns_one)
        return detail::nursery_body<Body>::run(std::move(body)).named("nursery");
    else
        return unring::nop(); /* for no more words of the compiler than those */
}

/* Opens a loop, runs one operation in it until nothing is in flight, and closes the loop: the
 * main() of a program.
 *
 *     int main()
 *     {
 *         return unring::run(program());
 *     }
 *
 * what     a task; an operation; a lambda that returns one, which is kept as long.
 * options  of the loop; NULL: the defaults.
 * Returns  what co_await gives.  Throws that exception, or what the loop says.
 * Threads  any. */
template <detail::operand What> auto run(What &&what, const unr_loop_options *options = nullptr)
{
    using type = detail::operation_of<What>;
    std::optional<started<type>> started; /* it outlives the loop, which closes over it */
    loop                         loop(options);
    started.emplace(loop.get(), std::forward<What>(what));
    loop.run();
    if (int error = loop.close(); error < 0)
        throw_error(error, "unr_loop_close");
    return detail::value_from(started->take());
}

} // namespace unring

/* What structured bindings ask. */
template <class... Outcomes>
struct std::tuple_size<unring::outcomes<Outcomes...>>
    : std::integral_constant<std::size_t, 1 + sizeof...(Outcomes)> {
};
template <std::size_t I, class... Outcomes>
struct std::tuple_element<I, unring::outcomes<Outcomes...>> {
    using type = std::tuple_element_t<I - 1, std::tuple<Outcomes...>>;
};
template <class... Outcomes> struct std::tuple_element<0, unring::outcomes<Outcomes...>> {
    using type = int;
};

#endif
