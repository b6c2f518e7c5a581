#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# unring.hpp: tests/test_cpp.cc on the kernel, tests/test_cpp_sim.cc on the simulated one, by each compiler that is here,
# without and with optimisation; and mistakes that a compiler finds, in words.
#
#     BUILD=build/release LEFT_OUT=... CC=gcc CXX=g++ SANITIZE= PKG_CONFIG=pkg-config tests/test_cpp.sh
set -u
cd "$(dirname "$0")/.." || exit

read -ra libraries <<<"$(${PKG_CONFIG:-pkg-config} --libs liburing 2>/dev/null || echo -luring)"
folder=$BUILD/tests/cpp
warnings='-Wall -Wextra -Werror'
mkdir -p "$folder"
failed=0

# The sanitizers of one compiler are not the other's.
compilers=$CXX
levels='-O0 -O2'
if [ -n "${SANITIZE-}" ]; then
    levels=-O0
    case ${CC%% *} in *clang*) compilers=clang++ ;; esac
elif [ "${CXX%% *}" != clang++ ]; then
    compilers="$CXX
clang++"
fi

has_coroutines() { # COMPILER
    command -v "${1%% *}" >/dev/null && echo '#include <coroutine>' | $1 -x c++ -std=c++20 -fsyntax-only - 2>/dev/null
}

build() { # COMPILER LEVEL PROGRAM LIBRARY [ARGUMENT...]
    local compiler=$1 level=$2 program=$3 library=$4
    shift 4
    $compiler -std=c++20 "$level" $warnings ${SANITIZE-} -Iinclude -o "$folder/$program" "tests/$program.cc" "$BUILD/$library" "$@" -pthread
}

run() { # TITLE PROGRAM [ARGUMENT...]
    if timeout 300 "$folder/$2" "${@:3}" >"$folder/$2.log" 2>&1; then
        echo "cpp: $1: $(tail -1 "$folder/$2.log")"
    else
        cat "$folder/$2.log"
        echo "cpp: $1: failed"
        failed=1
    fi
}

# refuses COMPILER WORDS: what comes in does not compile, with these words.
refuses() {
    local said
    said=$({ printf '#include <unring.hpp>\nunring::task<> f(unring::task<> &t, int &n)\n{\n'; cat; printf '\n}\n'; } |
        $1 -x c++ -std=c++20 -Iinclude -fsyntax-only - 2>&1) && { echo "cpp: this compiles with $1, and ought to say '$2'"; failed=1; return; }
    grep -q -- "$2" <<<"$said" || { head -20 <<<"$said"; echo "cpp: $1 does not say '$2'"; failed=1; }
}

if $LEFT_OUT cpp; then on_kernel=; else on_kernel=1; fi

while read -r compiler; do
    if ! has_coroutines "$compiler"; then
        echo "cpp: skipped: no $compiler here that has the coroutines of C++20"
        continue
    fi
    for level in $levels; do
        if [ "$on_kernel" ]; then
            build "$compiler" "$level" test_cpp libunring.a "${libraries[@]}" || exit
            run "$compiler $level" test_cpp
        fi
    done
    # With a sanitizer it takes long, and that for threads does not follow it.
    few=
    case ${SANITIZE-} in
        *thread*) continue ;;
        ?*) few='closing late memory fibers' ;;
    esac
    build "$compiler" "$level" test_cpp_sim libunring-sim.a || exit
    run "$compiler $level, simulated" test_cpp_sim $few

    refuses "$compiler" 'awaited once: co_await std::move' <<<'co_await t;'
    refuses "$compiler" 'awaited once: co_await std::move' <<<'auto both = std::move(t) || unring::nop(); co_await both;'
    refuses "$compiler" 'a task awaits operations of unring' <<<'co_await std::suspend_always{};'
    refuses "$compiler" 'returns a value: return a pointer' <<<'[&n]() -> unring::task<int &> { co_return n; }(); co_return;'
done <<<"$compilers"
exit "$failed"
