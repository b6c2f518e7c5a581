/* SPDX-License-Identifier: MIT */
/* A read with a deadline, as a coroutine: first.c in C++20. */
#include <cstdio>
#include <unring.hpp>

using namespace std::chrono_literals;

static unring::task<> first()
{
    char line[256];
    auto read = co_await unring::within(2s, unring::read(STDIN_FILENO, line, sizeof line, -1));
    if (read.timed_out())
        std::puts("nothing came in two seconds, and nothing was taken");
    else
        std::printf("%d bytes came\n", static_cast<int>(read.or_throw().bytes));
}

int main()
{
    unring::run(first());
}
