// SPDX-License-Identifier: MIT
// Exceptions of C++ in fibers: each is caught in its own, though fibers wait inside catch blocks.
// Runs the case that is named; tests/test_exception.sh builds it and knows how each ends.
#include <exception>
#include <stdexcept>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <unring.h>

namespace {

void must(bool is_so, const char *what, int line)
{
    if (is_so)
        return;
    fprintf(stderr, "test_exception.cc:%d: %s\n", line, what);
    _Exit(99);
}
#define MUST(condition) must(condition, #condition, __LINE__)

bool of_current(const std::string &text)
{
    try {
        throw;
    } catch (const std::exception &caught) {
        return text == caught.what();
    }
}

// Waits where an exception is on its way.
struct waits {
    ~waits()
    {
        int on_their_way = std::uncaught_exceptions();
        MUST(on_their_way == 1);
        MUST(unr_yield() == 0);
        MUST(std::uncaught_exceptions() == on_their_way);
    }
};

// Waits inside a catch block, rethrows what it has caught, and catches that.
void once(const std::string &text, int depth)
{
    MUST(std::uncaught_exceptions() == 0);
    try {
        try {
            waits on_the_way;
            throw std::runtime_error(text);
        } catch (const std::exception &caught) {
            MUST(text == caught.what());
            MUST(unr_yield() == 0);
            MUST(of_current(text));
            if (depth)
                once(text + "'", depth - 1);
            MUST(of_current(text));
            MUST(unr_sleep(1000) == 0);
            MUST(std::uncaught_exceptions() == 0);
            throw;
        }
    } catch (const std::exception &again) {
        MUST(text == again.what());
        MUST(unr_yield() == 0);
        MUST(text == again.what());
    }
}

int catches(void *argument)
{
    MUST(!std::current_exception()); // also in what has the stack of one that has ended
    for (int i = 0; i < 100; i++) {
        once(static_cast<const char *>(argument), i % 3);
        MUST(!std::current_exception());
    }
    return 0;
}

int starts_two(void *)
{
    struct unr_fiber fibers[2] = {};
    struct unr_group group = {};
    char             one[] = "one", two[] = "two";
    struct unr_op   *members[] = { unr_fiber(&fibers[0], catches, one),
                                   unr_fiber(&fibers[1], catches, two) };
    try {
        throw std::runtime_error("outer");
    } catch (...) {
        MUST(unr_await(unr_all(&group, members, 2)).error == 0);
        MUST(of_current("outer"));
    }
    return 0;
}

int in_their_own_fiber()
{
    try { // the loop's own stack has one, too
        throw std::runtime_error("loop");
    } catch (...) {
        MUST(unr_run_fiber(nullptr, starts_two, nullptr) == 0);
        MUST(of_current("loop"));
    }
    MUST(std::uncaught_exceptions() == 0);
    return 0;
}

int throws(void *)
{
    throw std::runtime_error("nobody catches it");
}

// Leaving the function by an exception is a broken contract, and does not get to the catch block of whoever runs the loop.
int leaves_the_function()
{
    try {
        unr_run_fiber(nullptr, throws, nullptr);
    } catch (...) {
        return 1;
    }
    return 2;
}

} // namespace

int main(int count, char **arguments)
{
    return count > 1 && strcmp(arguments[1], "leaves") == 0 ? leaves_the_function()
                                                            : in_their_own_fiber();
}
