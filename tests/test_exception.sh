#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Exceptions of C++ in fibers: tests/test_exception.cc, built against the archive and against the shared library.
#
#     BUILD=build/release LEFT_OUT=... CXX=g++ PKG_CONFIG=pkg-config tests/test_exception.sh
#
# UNDER   a command that runs the program, such as valgrind
set -u
cd "$(dirname "$0")/.." || exit

command -v "${CXX%% *}" >/dev/null || { echo "exception: skipped: no C++ compiler here"; exit 0; }
! $LEFT_OUT exception || exit 0
read -ra libraries <<<"$(${PKG_CONFIG:-pkg-config} --libs liburing 2>/dev/null || echo -luring)"
read -ra under <<<"${UNDER-}"
folder=$BUILD/tests/exception
program=$folder/exception
failed=0

# The shared library is found by its soname.
mkdir -p "$folder"
ln -sf ../../libunring.so "$folder/$(readelf -d "$BUILD/libunring.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')"

for library in a so; do
    $CXX -std=c++17 -O2 -g -Wall -Wextra ${SANITIZE-} -Iinclude -o "$program" tests/test_exception.cc "$BUILD/libunring.$library" \
        -Wl,-rpath,"$(realpath "$folder")" "${libraries[@]}" -pthread || exit
    # Of a switch between stacks that it was not told of valgrind only warns.
    timeout 60 "${under[@]}" "$program" 2>"$folder/said" && ! grep -q 'client switching stacks' "$folder/said" ||
        { cat "$folder/said"; echo "exception: an_exception_is_caught_in_its_own_fiber: failed, libunring.$library"; failed=1; }
    words=$( (ulimit -c 0; timeout 60 "${under[@]}" "$program" leaves) 2>&1)
    status=$?
    # 134: it was ended by SIGABRT, of which std::terminate() makes use
    [ "$status" = 134 ] && grep -q 'terminate called' <<<"$words" ||
        { echo "exception: one that leaves its function: status $status, libunring.$library"; echo "$words"; failed=1; }
done
[ "$failed" = 0 ] && echo "exception: each is caught in its own fiber"
exit "$failed"
