#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# lib/unring-gdb.py on a program with fibers, on cores of it, and on the same without debugging information; and gdb itself at each instruction
# of a switch from one stack to another.
#
#     BUILD=build/release LEFT_OUT=... CC=gcc PKG_CONFIG=pkg-config tests/test_gdb.sh
set -u
cd "$(dirname "$0")/.." || exit

command -v gdb >/dev/null || { echo "gdb: skipped: gdb is not installed"; exit 0; }
! $LEFT_OUT gdb || exit 0
read -ra libraries <<<"$(${PKG_CONFIG:-pkg-config} --libs liburing 2>/dev/null || echo -luring)"
folder=$BUILD/tests/gdb
program=$folder/subject
failed=0
mkdir -p "$folder"

# shellcheck disable=SC2086
$CC -std=gnu11 -O0 -g -Wall -Wextra ${SANITIZE-} -Iinclude -o "$program" tests/tools/gdb_subject.c "$BUILD/libunring.a" \
    "${libraries[@]}" -pthread || exit
strip -o "$program-stripped" "$program"

look() { # PROGRAM
    timeout 60 gdb -q -nx -batch -iex 'set debuginfod enabled off' -x lib/unring-gdb.py -ex run -ex 'info fibers' \
        -ex unring-ops -ex 'fiber 2' -ex bt -ex 'fiber 1' -ex bt -ex fiber -ex bt "$1" 2>&1
}

expect() { # PATTERN, which has to be in a line of $words
    grep -Eq -- "$1" <<<"$words" || { echo "gdb: no line matches: $1"; failed=1; }
}

words=$(look "$program")
if grep -q 'ptrace: Operation not permitted' <<<"$words"; then
    echo "gdb: skipped: this process may not trace another"
    exit 0
fi
expect 'the reader \(reads\) awaits recv, in flight, fd [0-9]+, waits for its completion, stack '
expect 'fiber \(sleeps\) awaits timer, in flight'
expect 'fiber \(top\) runs'
expect '^loop 0x[0-9a-f]+: [0-9]+ in flight'
expect 'recv, in flight, fd [0-9]+.* in the reader 0x[0-9a-f]+ in scope 0x[0-9a-f]+, done scope_done'
expect 'the reader, in flight, asked to end \(total; cause -7\)' # what was asked, though it was refused
expect '^#[0-9]+ .* deep \(depth=0\)'
expect '^#[0-9]+ .* deep \(depth=3\)'
expect '^#[0-9]+ .* reads '
expect '^#[0-9]+ .* sleeps '
expect '^#[0-9]+ .*(entry|unri_fiber_main)'
expect '^#[0-9]+ .* top '
grep -qi 'exception\|corrupt' <<<"$words" && { echo "gdb: it did not unwind"; failed=1; }
[ "$failed" = 0 ] || echo "$words"

# The core of a server that crashed in the middle of much, on the loop's own stack and on a fiber's.  It is one of the
# kernel's: what gdb writes itself lacks the megabytes that have a guard in them.
for where in done fiber; do
    rm -f "$folder"/core*
    bash -c "cd '$folder' && ulimit -c unlimited && ./subject $where; true" 2>/dev/null
    core=$(echo "$folder"/core*)
    [ -e "$core" ] || { echo "gdb: skipped: cores, as this machine writes them elsewhere: kernel.core_pattern"; break; }
    words=$(timeout 60 gdb -q -nx -batch -iex 'set debuginfod enabled off' -x lib/unring-gdb.py -ex 'info fibers' \
        -ex unring-ops -ex 'fiber 700' -ex bt "$program" "$core" 2>&1)
    expect '^loop 0x[0-9a-f]+: [1-9][0-9]{3} in flight'
    [ "$(grep -c ' fiber (reads) awaits recv, in flight' <<<"$words")" = 1000 ] && [ "$(grep -c 'timer, in flight' <<<"$words")" -ge 999 ] ||
        { echo "gdb: not everything in the core is listed"; failed=1; }
    words=$(sed -n '/^fiber 700/,$p' <<<"$words")
    expect '^#[0-9]+ .* deep \(depth=3\)'
    expect '^#[0-9]+ .* unri_fiber_main '
    [ "$failed" = 0 ] || { echo "$words"; break; }
done
rm -f "$folder"/core*

# The loop's stack unwinds to main(), and a fiber's to its entry.  tests/test_switch.c has the same for backtrace(3).
cat >"$folder/steps.py" <<'END'
import gdb

ASSEMBLY = ("unri_switch", "entry", "unri_fiber_entry")

def outermost():
    frame = gdb.newest_frame()
    while frame.older():
        frame = frame.older()
    return frame.name()

def register(name):
    return int(gdb.parse_and_eval("$" + name))

gdb.execute("break main")
gdb.execute("run")
of_main, main_ends, steps = register("sp"), outermost(), 0
gdb.execute("break *unri_switch")
gdb.execute("handle SIGUSR1 nostop noprint pass")
for switch in range(8):
    gdb.execute("continue")
    while gdb.newest_frame().name() in ASSEMBLY:
        expected = (main_ends,) if 0 <= of_main - register("sp") < 1 << 20 else ASSEMBLY
        if outermost() not in expected:
            gdb.execute("bt")
            raise gdb.GdbError("at $pc = %#x it ends at %s" % (register("pc"), outermost()))
        steps += 1
        gdb.execute("stepi", to_string=True)
print("unwound at %d instructions" % steps)
END

steps() {
    timeout 60 gdb -q -nx -batch -iex 'set debuginfod enabled off' -x "$folder/steps.py" "$program" 2>&1
}

if nm "$program" | grep -q ' unri_fiber_entry$'; then
    words=$(steps)
    expect '^unwound at [1-9][0-9][0-9]+ instructions'
    [ "$failed" = 0 ] || echo "$words"
fi

words=$(look "$program-stripped")
expect 'unring: .* is not known: the library was stripped'
[ "$failed" = 0 ] && echo "gdb: fibers and operations are listed, and fibers unwind to their beginning"
exit "$failed"
