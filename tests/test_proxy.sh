#!/bin/sh
# SPDX-License-Identifier: MIT
# The example proxy with real clients: bytes, half-close, idle time-out, heartbeat, refused target, SIGINT drained.
# Usage: test_proxy.sh PROXY LEFT_OUT.  Skips, with the reason, what needs a tool that is not installed, and where io_uring
# is refused, which the program LEFT_OUT tells, all but the command line.  Ports are the system's.
set -u

proxy=${1:?usage: test_proxy.sh PROXY LEFT_OUT}
left_out=${2:?usage: test_proxy.sh PROXY LEFT_OUT}
# shellcheck source=tests/clients.sh
. "$(dirname "$0")/clients.sh"

# start_proxy ARGUMENT...: sets $port and $program_pid.
start_proxy() {
    start "$proxy" 0 "$@"
}

# stop_proxy PATTERN: interrupts it and wants status 0 and the line in its statistics.
stop_proxy() {
    end INT
    grep -q "$1" "$dir/err" || fail "no '$1' in the statistics"
}

# ---- the command line ----

"$proxy" --help >"$dir/help" || fail "--help"
grep -q -- --heartbeat "$dir/help" || fail "--help does not tell of --heartbeat"
"$proxy" --version >"$dir/version" || fail "--version"
for arguments in '' '1' '0 nowhere' '0 1:2:3' '0 65536' '0 1 --idle' '0 1 --idle x' '0 1 --idle 0' '0 1 --unknown' \
    '0 1 2' '0 1 --heartbeat-line'; do
    # shellcheck disable=SC2086
    timeout 5 "$proxy" $arguments >"$dir/out" 2>"$dir/err"
    status=$?
    [ $status -eq 2 ] && [ -s "$dir/err" ] || fail "'proxy $arguments' ended with status $status"
done

if "$left_out" "test_proxy: all but the command line"; then
    exit $failed
fi
skip_without "all but the command line" socat

head -c 20000000 /dev/urandom >"$dir/data"

# ---- bytes there and back, ended by a half-close ----

start_target echo EXEC:cat
start_proxy "$target"
timeout 10 socat -t 10 - "TCP:127.0.0.1:$port" <"$dir/data" >"$dir/back" || fail "socat"
cmp "$dir/data" "$dir/back" || fail "echoed bytes differ"
stop_proxy '1 complete'
grep -q '20000000 bytes to the target, 20000000 to clients' "$dir/err" || fail "bytes in the statistics"

# ---- a target that cannot be reached; the listener taken ----

start_proxy 1
timeout 5 socat - "TCP:127.0.0.1:$port" </dev/null >/dev/null 2>&1
"$proxy" "$port" 1 >/dev/null 2>"$dir/taken" && fail "two proxies listen on one port"
grep -q 'cannot listen' "$dir/taken" || fail "it does not say that it cannot listen"
stop_proxy '1 without a target'

# ---- idle time-out ----

start_target silent SYSTEM:'cat >/dev/null'
start_proxy "$target" --idle 0.2
timeout 5 socat -u "TCP:127.0.0.1:$port" - >"$dir/back" 2>/dev/null
[ $? -ne 124 ] || fail "an idle connection stays open"
stop_proxy '1 idle'

# ---- heartbeat ----

start_proxy "$target" --heartbeat 0.05 --heartbeat-line
timeout 5 socat -u "TCP:127.0.0.1:$port" - 2>/dev/null | head -n 3 >"$dir/back"
printf '<heartbeat 1>\r\n<heartbeat 2>\r\n<heartbeat 3>\r\n' | cmp - "$dir/back" || fail "heartbeat lines"
stop_proxy ', [1-9][0-9]* heartbeats'

# Receives that are cancelled and restarted all the time lose nothing.
start_target slow SYSTEM:"dd if=$dir/data bs=1000 count=2000 status=none"
start_proxy "$target" --heartbeat 0.0001
timeout 10 socat -u "TCP:127.0.0.1:$port" - >"$dir/back"
head -c 2000000 "$dir/data" | cmp - "$dir/back" || fail "bytes differ under heartbeats"
stop_proxy '1 complete'

# ---- SIGINT: what moves is delivered, what is idle is closed, a second one ends it at once ----

start_target talking SYSTEM:'for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done'
start_proxy "$target" --linger 2
: >"$dir/back"
timeout 5 socat -u "TCP:127.0.0.1:$port" - >"$dir/back" 2>/dev/null &
children="$children $!"
until_line back 3
stop_proxy '^proxy: ending, with 1 connections open'
until_line back 8

start_target quiet SYSTEM:'cat >/dev/null'
start_proxy "$target" --linger 60 --grace 60 --verbose
: >"$dir/back"
timeout 5 socat -u "TCP:127.0.0.1:$port" - >"$dir/back" 2>/dev/null &
children="$children $!"
until_line err accepted
kill -INT "$program_pid"
until_line err ending
stop_proxy '1 cut at the end'

start_target endless SYSTEM:yes
start_proxy "$target" --grace 0.3 --verbose
timeout 5 socat -u "TCP:127.0.0.1:$port" - >/dev/null 2>&1 &
children="$children $!"
until_line err accepted
stop_proxy '1 cut at the end'

# ---- SIGUSR1 ----

start_proxy "$target"
timeout 5 socat -u "TCP:127.0.0.1:$port" - 2>/dev/null | head -c 1000000 >/dev/null
kill -USR1 "$program_pid"
until_line err 'accept .*in flight'
grep -q '^proxy: 1 connections, at most 1 at a time, [01] open' "$dir/err" || fail "statistics at SIGUSR1"
stop_proxy '^proxy: 1 connections, at most 1 at a time, 0 open'

# ---- descriptors are short: it pauses, serves the others later, and hears signals ----

start sh -c 'ulimit -n 12 && exec "$0" 0 "$1"' "$proxy" "$target"
for i in 1 2 3 4; do
    timeout 10 socat -u "TCP:127.0.0.1:$port" - 2>/dev/null | { sleep 0.1; head -c 1000000; } | wc -c >"$dir/back$i" &
    eval "short$i=\$!"
done
for i in 1 2 3 4; do
    eval "wait \$short$i"
    grep -q 1000000 "$dir/back$i" || fail "client $i was not served"
done
grep -q 'accepting pauses: Too many open files' "$dir/err" || fail "it has not paused for want of descriptors"
stop_proxy '^proxy: 4 connections, at most [1-3] at a time, 0 open'

# ---- curl ----

if command -v curl >/dev/null; then
    { printf 'HTTP/1.0 200 OK\r\nContent-Length: 20000000\r\n\r\n' && cat "$dir/data"; } >"$dir/response"
    start_target http SYSTEM:"read line; cat $dir/response"
    start_proxy "$target"
    curl_thrice
    stop_proxy '^proxy: 3 connections'
else
    echo "test_proxy: skipped: fetching with curl, as it is not installed"
fi

finish
