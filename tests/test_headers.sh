#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compiles each public header alone, twice in one file, as strictly as the compilers that are installed can; and durations
# where the language wants a constant.
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

for compiler in gcc clang; do check "$compiler" c c11 "$@"; done
for compiler in g++ clang++; do
    check "$compiler" c++ c++11 "$@"
    check "$compiler" c++ c++20 "$@"
done

[ "$ran" -gt 0 ] || echo "headers: no compiler here"
[ "$ran" -gt 0 ] && [ "$failed" -eq 0 ]
