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
! "$left_out" test_echo || exit 0
# shellcheck source=tests/clients.sh
. "$(dirname "$0")/clients.sh"
skip_without everything socat curl

# ---- lines there and back, whole and in pieces ----

start "$echo_cpp" 0 600
seq 1 20000 >"$dir/data"
timeout 60 socat -t 60 - "TCP:127.0.0.1:$port" <"$dir/data" >"$dir/back" || fail "socat"
cmp -s "$dir/data" "$dir/back" || fail "echoed lines differ"
until_line out 'session [0-9]*: over'
head -c 70000 /dev/zero | tr '\0' x | timeout 60 socat -t 60 - "TCP:127.0.0.1:$port" >"$dir/back" 2>/dev/null
until_line out 'sent too long a line'

# ---- a graceful end: one client waits, one is in the middle of a line ----

client waits
client types
say waits 'hello\n'
until_line waits.out hello
say types 'whole\nhalf'
until_line types.out whole
end INT
until_line waits.out '^bye$'
until_line types.out '^bye$'
[ "$(grep -c 'ended with the server' "$dir/out")" -eq 2 ] || fail "two sessions end with the server"

# ---- a line that does not come in time ----

start "$echo_cpp" 0 0.2
client slow
say slow 'never ended'
until_line slow.out '^too slow$'
until_line out 'timed out'
# A request of HTTP comes back as what HTTP 0.9 takes for its answer, and the time-out ends it.
curl -s --http0.9 --max-time 60 "http://127.0.0.1:$port/path" >"$dir/back" || fail "curl"
grep -q '^GET /path HTTP' "$dir/back" && grep -q '^too slow$' "$dir/back" || fail "curl gets its request back"
end TERM

# ---- an end on which the server has to insist: a client that sends and takes nothing ----

start "$echo_cpp" 0 600 0.3
flood deaf
end INT
grep -q 'session [0-9]*: cut' "$dir/out" || fail "the deaf client is cut"

finish
