#!/usr/bin/env bash
# Installs the library into a temporary folder, builds and links every example and the programs in README.md against it
# as a user would, with the shared and with the static library, and uninstalls it again, which must leave nothing.
# Started by `make check-install`.

set -eu

fail() { echo "install: $*"; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
prefix=/opt/unring
lib=$root$prefix/lib64
settings=(BUILD="$BUILD" DESTDIR="$root" PREFIX="$prefix" LIBDIR="$prefix/lib64" INCLUDEDIR="$prefix/include")

$MAKE -s --no-print-directory install "${settings[@]}"

# The library says its name and its version, and shows what the headers declare, no less and no more.
readelf -d "$lib/libunring.so.$VERSION" | grep -q "SONAME.*\[$SONAME\]" || fail "the SONAME is not $SONAME"

headers=$(sed -n 's/^#include <\(unring\/.*\)>$/\1/p' include/unring.h)
declared=$(cd "$root$prefix/include" && cat $headers | tr '\n' ' ' | grep -oE 'UNR_API [^;(]*\(' |
    sed -nE 's/.*\b(unr_[a-z0-9_]+)\($/\1/p' | sort -u)
exported=$(nm -D --defined-only "$lib/libunring.so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
diff <(echo "$declared") <(echo "$exported") >"$root/diff" ||
    { cat "$root/diff"; fail "the headers (<) and the library (>) differ in the functions above"; }

export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=$lib/pkgconfig
[ "$($PKG_CONFIG --modversion unring)" = "$VERSION" ] || fail "unring.pc has another version than $VERSION"

# The flags of pkg-config come last, as a linker wants them, and are meant to be split.
shared=$($PKG_CONFIG --cflags --libs unring)
static="$($PKG_CONFIG --static --cflags unring) -Wl,-Bstatic $($PKG_CONFIG --static --libs unring) -Wl,-Bdynamic"

build() { # NAME SOURCE...
    local name=$1
    shift
    $CC -O1 "$@" -o "$root/$name-shared" $shared -pthread -lm || fail "$name: not with the shared library"
    $CC -O1 "$@" -o "$root/$name-static" $static -pthread -lm || fail "$name: not with the static library"
    readelf -d "$root/$name-shared" | grep -q "NEEDED.*\[$SONAME\]" || fail "$name does not ask for $SONAME"
    ! readelf -d "$root/$name-static" | grep -q 'NEEDED.*uring' || fail "$name is not static"
    count=$((count + 1))
}

count=0
for source in examples/*.c; do
    name=$(basename "$source" .c)
    [ "$name" = common ] || build "$name" "$source" examples/common.c
done

awk -v into="$root/readme" '/^```/ { inside = /^```c$/; if (inside) n++; next } inside { print >(into n ".c") }' README.md
for source in "$root"/readme*.c; do
    ! grep -q '^int main' "$source" || build "$(basename "$source" .c)" "$source"
done

# One that a user would try first, from the installed shared library.
if [ -x "$root/features-shared" ]; then
    LD_LIBRARY_PATH=$lib "$root/features-shared" >/dev/null || fail "features does not run"
fi

# The simulated kernel takes the library's place, and finds what it is shown to find.
simulated=$($PKG_CONFIG --cflags --libs unring-sim)
for source in examples/sim/*.c; do
    name=$(basename "$source" .c)
    $CC -O1 "$source" -o "$root/$name" $simulated || fail "$name: not with libunring-sim"
    LD_LIBRARY_PATH=$lib "$root/$name" >/dev/null || fail "$name does not find what it should"
    count=$((count + 1))
done

$MAKE -s --no-print-directory uninstall "${settings[@]}"
left=$(find "$root/opt" ! -type d; find "$root/opt" -path '*/include/unring')
[ -z "$left" ] || fail "uninstall left $left"

echo "install: $count programs built with the shared and with the static library; uninstalled"
