#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# unring.hpp: tests/test_cpp.cc on the kernel, tests/test_cpp_sim.cc on the simulated one, by each compiler that is here, one
# with optimisation and one without; and mistakes that a compiler finds, in words.
#
#     BUILD=build/release LEFT_OUT=... CC=gcc CXX=g++ SANITIZE= PKG_CONFIG=pkg-config tests/test_cpp.sh
set -u
cd "$(dirname "$0")/.." || exit

read -ra libraries <<<"$(${PKG_CONFIG:-pkg-config} --libs liburing 2>/dev/null || echo -luring)"
folder=$BUILD/tests/cpp
warnings='-Wall -Wextra -Wshadow -Werror'
mkdir -p "$folder"
failed=0

# The sanitizers of one compiler are not the other's.
compilers=$CXX
level=-O2
if [ -n "${SANITIZE-}" ]; then
    level=-O0
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

# Mistakes that do not compile, a line each, under the words that the compiler says for each of them.  `t` is a task and
# `n` a number in a task; KIND differs from line to line, and so a compiler says the words anew.
mistakes='
is used once: std::move(it)
    co_await t;
    auto both = std::move(t) || unring::nop(); co_await both;
    co_await unring::within(1s, t);
    co_await unring::shielded(t);
    co_await (t || unring::nop());
    co_await (unring::nop() && unring::nop() && t);
    co_await unring::any(t);
    std::vector<unring::task<KIND>> all; co_await unring::all(all);
    const auto &constant = t; co_await unring::bind(constant, nullptr);
    auto f = [t = std::move(t)]() -> unring::task<> { co_return; }; co_await unring::any(f);
    auto f = [t = std::move(t)]() -> unring::task<KIND> { co_return {}; }; co_await unring::shielded(f);
    unring::spawn(co_await unring::this_task::loop, t);
    unring::started owned(co_await unring::this_task::loop, t);
    unring::await(t);
    unring::run(t);
a task awaits operations of unring
    co_await std::suspend_always{};
the body of a nursery returns a task
    co_await unring::with_nursery([](unring::nursery &) { return KIND(); });
    co_await unring::with_nursery([](unring::nursery &nursery) { nursery.spawn([]() -> unring::task<KIND> { co_return {}; }); });
returns a value: return a pointer
    [&n]() -> unring::task<int &> { co_return n; }();
'

# refuses COMPILER: none of the mistakes compiles, and each is named.
refuses() {
    local said line words='' number=0 wanted=0
    said=$({
        printf '#include <unring.hpp>\nusing namespace std::chrono_literals;\ntemplate <int> struct kind {};\n'
        while IFS= read -r line; do
            number=$((number + 1))
            [[ $line == ' '* ]] || continue
            echo "unring::task<> f(unring::task<kind<$number>> &t, int &n) { ${line//KIND/kind<$number>} co_return; }"
        done <<<"$mistakes"
    } | $1 -x c++ -std=c++20 -Iinclude -fsyntax-only -fmax-errors=0 - 2>&1)
    while IFS= read -r line; do
        if [[ $line == ' '* ]]; then wanted=$((wanted + 1)); continue; fi
        number=$(grep -c "error: .*$words" <<<"$said")
        if [ "$words" ] && [ "$wanted" != "$number" ]; then
            grep error: <<<"$said"
            echo "cpp: $1 says '$words' of $number mistakes, and there are $wanted"
            failed=1
        fi
        words=$line wanted=0
    done <<<"${mistakes#$'\n'}end"
}

if $LEFT_OUT cpp; then on_kernel=; else on_kernel=1; fi

while read -r compiler; do
    if ! has_coroutines "$compiler"; then
        echo "cpp: skipped: no $compiler here that has the coroutines of C++20"
        continue
    fi
    if [ "$on_kernel" ]; then
        build "$compiler" "$level" test_cpp libunring.a "${libraries[@]}" || exit
        run "$compiler $level" test_cpp
    fi
    # With a sanitizer it takes long, and that for threads does not follow it.
    few=
    case ${SANITIZE-} in
        *thread*) continue ;;
        ?*) few='closing late memory fibers' ;;
    esac
    build "$compiler" "$level" test_cpp_sim libunring-sim.a || exit
    run "$compiler $level, simulated" test_cpp_sim $few

    refuses "$compiler"
    level=-O0
done <<<"$compilers"
exit "$failed"
