#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the library into temporary folders, builds and links every example against it as a user would, with the
# shared and with the static library, starts some, and uninstalls it again, which must leave nothing.  test_readme.sh
# does the same with what README.md says.  Started by `make check-install`.

set -eu

fail() { echo "install: $*"; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

left_in() { # FOLDER: what is left there but folders that unring shares with others
    find "$1" ! -type d
    find "$1" -path '*/include/unring'
}

# ---- into a package's folder: nothing of the system is touched ----

# In place of the system's: it knows no library, and writes down what it is asked.
mkdir "$root/bin"
printf '#!/bin/sh\necho "ldconfig $*" >>"%s/ldconfig.log"\n' "$root" >"$root/bin/ldconfig"
chmod +x "$root/bin/ldconfig"
: >"$root/ldconfig.log"
PATH=$root/bin:$PATH

prefix=/opt/unring
lib=$root$prefix/lib64
settings=(BUILD="$BUILD" DESTDIR="$root" PREFIX="$prefix" LIBDIR="$prefix/lib64" INCLUDEDIR="$prefix/include"
    BINDIR="$prefix/libexec")

$MAKE -s --no-print-directory install "${settings[@]}"
[ ! -s "$root/ldconfig.log" ] || fail "with DESTDIR it calls $(cat "$root/ldconfig.log")"

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

# The one that is installed says what this kernel has, or why it has nothing; it needs no loader's help.
"$LEFT_OUT" "install: running what was installed" ||
    "$root$prefix/libexec/unring-features" --failures >/dev/null || fail "unring-features does not start"

# What a program is compiled with is the same for either library.  The flags of pkg-config are meant to be split, and those of
# the libraries come last, as a linker wants them.
cflags=$($PKG_CONFIG --cflags unring)
[ "$($PKG_CONFIG --static --cflags unring)" = "$cflags" ] || fail "pkg-config has other flags to compile with for the static library"
shared=$($PKG_CONFIG --libs unring)
static="-Wl,-Bstatic $($PKG_CONFIG --static --libs unring) -Wl,-Bdynamic"

link() { # COMPILER NAME: of NAME.o and common.o
    $1 "$root/$2.o" "$root/common.o" -o "$root/$2-shared" $shared -pthread -lm || fail "$2: not with the shared library"
    $1 "$root/$2.o" "$root/common.o" -o "$root/$2-static" $static -pthread -lm || fail "$2: not with the static library"
    readelf -d "$root/$2-shared" | grep -q "NEEDED.*\[$SONAME\]" || fail "$2 does not ask for $SONAME"
    ! readelf -d "$root/$2-static" | grep -q 'NEEDED.*uring' || fail "$2 is not static"
    count=$((count + 1))
}

count=0
$CC $cflags -c examples/common.c -o "$root/common.o" || fail "common.c does not compile"
for source in examples/*.c; do
    name=$(basename "$source" .c)
    [ "$name" != common ] || continue
    $CC $cflags -c "$source" -o "$root/$name.o" || fail "$name does not compile"
    link "$CC" "$name"
done

# The simulated kernel takes the library's place, and finds what it is shown to find.
simulated=$($PKG_CONFIG --cflags --libs unring-sim)
for source in examples/sim/*.c; do
    name=$(basename "$source" .c)
    $CC "$source" -o "$root/$name" $simulated || fail "$name: not with libunring-sim"
    LD_LIBRARY_PATH=$lib "$root/$name" >/dev/null || fail "$name does not find what it should"
    count=$((count + 1))
done

# Coroutines of C++20 need nothing but the header.
if command -v "${CXX%% *}" >/dev/null && echo '#include <coroutine>' | $CXX -x c++ -std=c++20 -fsyntax-only - 2>/dev/null; then
    printf '#include <unring.hpp>\nint main() { return unring::run([]() -> unring::task<int> { co_return 0; }); }\n' >"$root/coroutine.cpp"
    for source in "$root/coroutine.cpp" examples/*.cpp; do
        name=$(basename "$source" .cpp)
        $CXX -std=c++20 $cflags -c "$source" -o "$root/$name.o" || fail "$name.cpp does not compile"
        link "$CXX" "$name"
    done
    "$LEFT_OUT" "install: running a coroutine" || LD_LIBRARY_PATH=$lib "$root/coroutine-shared" || fail "a coroutine does not run"
else
    echo "install: skipped: unring.hpp: no ${CXX%% *} here that has the coroutines of C++20"
fi

$MAKE -s --no-print-directory uninstall "${settings[@]}"
[ -z "$(left_in "$root/opt")" ] || fail "uninstall left $(left_in "$root/opt")"
[ ! -s "$root/ldconfig.log" ] || fail "with DESTDIR it calls $(cat "$root/ldconfig.log")"
unset PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_PATH

# ---- onto this system, where the loader does not search ----

prefix=$root/usr
settings=(BUILD="$BUILD" PREFIX="$prefix")

$MAKE -s --no-print-directory install "${settings[@]}" >"$root/said"
grep -q "does not search $prefix/lib" "$root/said" || fail "it does not say that the loader will not find the library"

# As root it calls ldconfig.
told() { grep -cx 'ldconfig ' "$root/ldconfig.log" || true; }
[ "$(id -u)" != 0 ] || [ "$(told)" = 1 ] || fail "ldconfig was not called"

# What it said to do, in words of the shell: the program is compiled, and starts.
sed -n 's/^    //p' "$root/said" >"$root/commands"
printf '#include <unring.h>\nint main(void) { return !unr_explain(-1); }\n' >"$root/x.c"
(cd "$root" && cc() { command $CC "$@"; } && . ./commands) || fail "what it says to do does not work: $(cat "$root/commands")"

$MAKE -s --no-print-directory uninstall "${settings[@]}"
[ -z "$(left_in "$prefix")" ] || fail "uninstall left $(left_in "$prefix")"
[ "$(id -u)" != 0 ] || [ "$(told)" = 2 ] || fail "ldconfig was not called after uninstalling"

echo "install: $count programs built with the shared and with the static library; uninstalled"
