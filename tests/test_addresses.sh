#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Thread-local variables in fibers, errno's among them, where the compiler sees program and library at once: -O3 -flto.
#
#     BUILD=build/release LEFT_OUT=... CC=gcc PKG_CONFIG=pkg-config tests/test_addresses.sh
set -u
cd "$(dirname "$0")/.." || exit

! $LEFT_OUT addresses || exit 0
read -ra flags <<<"$(${PKG_CONFIG:-pkg-config} --cflags liburing 2>/dev/null)"
read -ra libraries <<<"$(${PKG_CONFIG:-pkg-config} --libs liburing 2>/dev/null || echo -luring)"
folder=$BUILD/tests/addresses
program=$folder/addresses
mkdir -p "$folder"

# Without -ffat-lto-objects nothing but what the optimiser makes of the whole is linked.
# shellcheck disable=SC2086
build() {
    $CC -std=gnu11 -D_GNU_SOURCE -O3 "$@" -Iinclude "${flags[@]}" -o "$program" tests/tools/addresses.c lib/*/*.[cS] uring/*.c \
        "${libraries[@]}" -pthread >"$folder/log" 2>&1
}
$CC -flto -E -x c /dev/null >/dev/null 2>&1 && lto=-flto || lto=
if [ "$lto" ] && ! build -flto=auto && ! build -flto; then
    lto=
fi
if [ ! "$lto" ]; then
    echo "addresses: without -flto, which $CC does not have here"
    build || { cat "$folder/log"; exit 1; }
fi
timeout 60 "$program" || { echo "addresses: thread_local_addresses_with_two_loops: failed"; exit 1; }
echo "addresses: those of thread-local variables stay right across an await"
