#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compiles each public header alone, twice in one file, as strictly as the compilers that are installed can.
#
#     tests/test_headers.sh include/unring.h include/unring/*.h

set -u

failed=0
ran=0

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
