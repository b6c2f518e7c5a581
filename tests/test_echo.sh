#!/bin/sh
# SPDX-License-Identifier: MIT
# The example echo.cpp with real clients: lines, half lines, time-outs, long lines, and a graceful end with clients that wait,
# that are in the middle of a line, and that take nothing.
# Usage: test_echo.sh ECHO_CPP LEFT_OUT.  Skips, with the reason, where the program could not be built, where a tool is not
# installed, and where io_uring is refused, which the program LEFT_OUT tells.  Ports are the system's.
set -u

echo_cpp=${1:?usage: test_echo.sh ECHO_CPP LEFT_OUT}
left_out=${2:?usage: test_echo.sh ECHO_CPP LEFT_OUT}
[ -e "$echo_cpp" ] || { echo "test_echo: skipped: $echo_cpp was not built"; exit 0; }
for tool in socat curl; do
    command -v $tool >/dev/null || { echo "test_echo: skipped: $tool is not installed"; exit 0; }
done
! "$left_out" test_echo || exit 0

dir=$(mktemp -d) || exit 1
children=
server=
failed=0

clean_up() {
    for pid in $children $server; do
        kill -KILL "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "test_echo: FAILED: $1"
    sed 's/^/    /' "$dir/out" "$dir/err"
    failed=1
}

# until_line FILE PATTERN [COUNT]: waits until so many lines match, 20 seconds at most.
until_line() {
    tries=1000
    until [ "$(grep -c "$2" "$1" 2>/dev/null)" -ge "${3:-1}" ]; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { fail "no '$2' in $(basename "$1")"; return 1; }
        sleep 0.02
    done
}

# start ARGUMENT...: sets $port and $server.
start() {
    : >"$dir/out" && : >"$dir/err"
    "$echo_cpp" 0 "$@" >"$dir/out" 2>"$dir/err" &
    server=$!
    until_line "$dir/out" '^listening on' || exit 1
    port=$(sed -n 's/^listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$dir/out")
}

# stop: interrupts it and wants status 0.
stop() {
    kill -"${1:-INT}" "$server"
    wait "$server"
    status=$?
    server=
    [ $status -eq 0 ] || fail "the server ended with status $status"
}

# client NAME: a client whose words come from the pipe $dir/NAME, held open by a descriptor of the caller's.
client() {
    mkfifo "$dir/$1"
    socat -t 20 - "TCP:127.0.0.1:$port" <"$dir/$1" >"$dir/$1.back" 2>/dev/null &
    children="$children $!"
}

# ---- lines there and back, whole and in pieces ----

start 600
seq 1 20000 >"$dir/data"
timeout 60 socat -t 60 - "TCP:127.0.0.1:$port" <"$dir/data" >"$dir/back" || fail "socat"
cmp -s "$dir/data" "$dir/back" || fail "echoed lines differ"
until_line "$dir/out" 'session [0-9]*: over'
head -c 70000 /dev/zero | tr '\0' x | timeout 60 socat -t 60 - "TCP:127.0.0.1:$port" >"$dir/back" 2>/dev/null
until_line "$dir/out" 'sent too long a line'

# ---- a graceful end: one client waits, one is in the middle of a line ----

client waits
exec 3>"$dir/waits"
client types
exec 4>"$dir/types"
echo hello >&3
until_line "$dir/waits.back" hello
printf 'whole\nhalf' >&4
until_line "$dir/types.back" whole
stop INT
until_line "$dir/waits.back" '^bye$'
until_line "$dir/types.back" '^bye$'
[ "$(grep -c 'ended with the server' "$dir/out")" -eq 2 ] || fail "two sessions end with the server"
exec 3>&- 4>&-

# ---- a line that does not come in time ----

start 0.2
client slow
exec 3>"$dir/slow"
printf 'never ended' >&3
until_line "$dir/slow.back" '^too slow$'
until_line "$dir/out" 'timed out'
exec 3>&-
# A request of HTTP comes back as what HTTP 0.9 takes for its answer, and the time-out ends it.
curl -s --http0.9 --max-time 60 "http://127.0.0.1:$port/path" >"$dir/back" || fail "curl"
grep -q '^GET /path HTTP' "$dir/back" && grep -q '^too slow$' "$dir/back" || fail "curl gets its request back"

# ---- an end on which the server has to insist: a client that sends and takes nothing ----

stop TERM
start 600 0.3
mkfifo "$dir/deaf"
socat -u - "TCP:127.0.0.1:$port,rcvbuf=4096" <"$dir/deaf" 2>/dev/null &
children="$children $!"
deaf=$!
exec 3>"$dir/deaf"
printf 'first\n' >&3
until_line "$dir/out" '^listening on'
# What it is sent back fills the buffers of both sides, until the server is in the middle of a line that nobody takes.
(yes 'a line that comes back and is not taken' | head -n 4000000 >&3) 2>/dev/null &
children="$children $!"
tries=3000
until grep -qE 'op=26,' "/proc/$server/fdinfo/"* 2>/dev/null; do # a send waits for room, which there never will be
    sleep 0.02
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { fail "the deaf client is never held up"; break; }
done
exec 3>&-
stop INT
grep -q 'session [0-9]*: cut' "$dir/out" || fail "the deaf client is cut"

[ $failed -eq 0 ] && echo "test_echo: lines, time-outs and both ends are right"
exit $failed
