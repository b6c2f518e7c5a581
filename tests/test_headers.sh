#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compiles each public header alone, twice in one file, as strictly as the compilers that are installed can; and durations
# where the language wants a constant.  The header for C++, unring.hpp, names every structure of C, and has every function that
# describes an operation; where it cannot be compiled, it says so in words.
#
#     tests/test_headers.sh include/unring.h include/unring/*.h

set -u

failed=0
ran=0

durations() { # of which the compiler knows the length
    cat <<'EOF'
#include <unring/time.h>
#ifdef __cplusplus
#define IS(expression) static_assert(expression, "")
constexpr unr_time half = UNR_SEC(0.5);
IS(half == UNR_MSEC(500) && UNR_MSEC(0.1) == UNR_USEC(100) && UNR_SEC(1e30) == UNR_NEVER);
#else
#define IS(expression) _Static_assert(expression, "")
#endif
IS(UNR_SEC(1) == 1000000000 && UNR_MSEC(-1) == -1000000 && UNR_USEC(7u) == 7000);
IS(UNR_SEC(9223372036) == 9223372036000000000 && UNR_SEC(9223372037) == UNR_NEVER);
IS(UNR_SEC(-9223372036) == -9223372036000000000 && UNR_SEC(-9223372037) == INT64_MIN);
IS(UNR_SEC(INT64_MAX) == UNR_NEVER && UNR_SEC(INT64_MIN) == INT64_MIN && UNR_MSEC(UINT64_MAX) == UNR_NEVER);
unr_time       of_static_storage = UNR_SEC(1.5), of_several[UNR_MSEC(2) / 1000000] = {UNR_MSEC(0.1f), -UNR_SEC(1)};
unr_time       sum = UNR_SEC(1) + UNR_MSEC(-0.5L);
int            number(unr_time time);
int            number(unr_time time) { return time == UNR_USEC(3) ? 3 : 0; }
EOF
}

check() { # COMPILER LANGUAGE STANDARD HEADER...
    local compiler=$1 language=$2 standard=$3 header name bad=0
    shift 3
    if ! command -v "$compiler" >/dev/null; then
        echo "headers: skipped: $standard with $compiler, which is not installed"
        return
    fi
    for header; do
        name=${header#include/}
        printf '#include <%s>\n#include <%s>\nint not_empty;\n' "$name" "$name" |
            "$compiler" -x "$language" -std="$standard" -pedantic-errors -Wall -Wextra -Werror -Iinclude -fsyntax-only - ||
            { echo "headers: $name does not compile alone as $standard with $compiler"; bad=$((bad + 1)); }
    done
    durations | "$compiler" -x "$language" -std="$standard" -pedantic-errors -Wall -Wextra -Wconversion -Werror -Iinclude -fsyntax-only - ||
        { echo "headers: durations are not constant as $standard with $compiler"; bad=$((bad + 1)); }
    ran=$((ran + 1))
    failed=$((failed + bad))
    echo "headers: $standard with $compiler: $#, $bad failed"
}

complete() { # HEADER...: what of theirs is missing in unring.hpp
    local name missing=0
    for name in $(cat "$@" | sed -nE 's/^struct unr_([a-z_]+) \{$/\1/p' | grep -vE '_private$|^(result|sequence|op_type|line|scope_member|acceptor_line|job|work_call)$' |
        grep -vxE 'explore_options|exploration'); do
        grep -q "^using $name = struct ::unr_$name;" include/unring.hpp || { echo "headers: unring.hpp does not name struct unr_$name"; missing=1; }
    done
    # In the first argument they are given memory; unring.hpp has its own words for what is around other operations.
    for name in $(cat "$@" | tr '\n' ' ' | grep -oE 'UNR_API struct unr_op \*unr_[a-z_]+\(struct unr_[a-z_]+ +\*(op|[a-z]+),?[^;]*;' |
        sed -E 's/.*\*unr_([a-z_]+)\(.*/\1/' | sort -u | grep -vE '_multishot$|^generator_' |
        grep -vxE 'any|all|group|bind|bind_slot|cancel_at|cancel_after|compose|delay|describe|fiber|fiber_with|filter|resolve|scope|shield|work|work_abandonable'); do
        grep -qE "^inline constexpr detail::function<::unr_$name(, opened)?> +$name;" include/unring.hpp ||
            { echo "headers: unring.hpp has no function $name"; missing=1; }
    done
    return "$missing"
}

refuses() { # COMPILER WORDS OPTION...: unring.hpp does not compile, and says why
    local compiler=$1 words=$2
    shift 2
    echo '#include <unring.hpp>' | "$compiler" -x c++ "$@" -Iinclude -fsyntax-only - 2>&1 | grep -q "error.*$words" ||
        { echo "headers: unring.hpp does not say '$words' with $compiler $*"; failed=$((failed + 1)); }
}

for compiler in gcc clang; do check "$compiler" c c11 "$@"; done
for compiler in g++ clang++; do
    check "$compiler" c++ c++11 "$@"
    if ! command -v "$compiler" >/dev/null || ! echo '#include <coroutine>' | "$compiler" -x c++ -std=c++20 -fsyntax-only - 2>/dev/null; then
        check "$compiler" c++ c++20 "$@"
        echo "headers: skipped: unring.hpp with $compiler, which has no coroutines of C++20"
        continue
    fi
    check "$compiler" c++ c++20 "$@" include/unring.hpp
    refuses "$compiler" 'needs C++20' -std=c++17
    refuses "$compiler" 'needs exceptions' -std=c++20 -fno-exceptions
done
complete "$@" || failed=$((failed + 1))

[ "$ran" -gt 0 ] || echo "headers: no compiler here"
[ "$ran" -gt 0 ] && [ "$failed" -eq 0 ]
