#!/bin/sh
# SPDX-License-Identifier: MIT
# The example udp_echo with real clients: datagrams of all sizes come back whole, and Ctrl-C ends it with its counts.
# Usage: test_udp_echo.sh UDP_ECHO LEFT_OUT.  Skips, with the reason, where socat is not installed or io_uring is refused,
# which the program LEFT_OUT tells.  The port is the system's.
set -u

udp_echo=${1:?usage: test_udp_echo.sh UDP_ECHO LEFT_OUT}
left_out=${2:?usage: test_udp_echo.sh UDP_ECHO LEFT_OUT}
"$left_out" "the example udp_echo" && exit 0
command -v socat >/dev/null || { echo "test_udp_echo: skipped: socat is not installed"; exit 0; }

dir=$(mktemp -d) || exit 1
pid=
client=
trap 'for one in $pid $client; do kill -KILL "$one" 2>/dev/null; done; rm -rf "$dir"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "test_udp_echo: FAILED: $1"
    sed 's/^/    /' "$dir/out"
    exit 1
}

# until_true WORDS COMMAND...: waits until the command succeeds, 10 seconds at most.
until_true() {
    words=$1 tries=500
    shift
    until "$@" 2>/dev/null; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || fail "$words"
        sleep 0.02
    done
}

"$udp_echo" 127.0.0.1:0 >"$dir/out" 2>&1 &
pid=$!
until_true "it does not begin" grep -q '^on ' "$dir/out"
port=$(sed -n 's/^on 127\.0\.0\.1:\([0-9]*\),.*/\1/p' "$dir/out")

# socat would wait for more.
for size in 1 100 1472 9000 60000; do
    head -c "$size" /dev/urandom >"$dir/sent"
    socat -b 65536 -t 10 - "UDP:127.0.0.1:$port" <"$dir/sent" >"$dir/came" 2>/dev/null &
    client=$!
    until_true "a datagram of $size bytes did not come back" cmp -s "$dir/sent" "$dir/came"
    kill "$client" 2>/dev/null
    wait "$client" 2>/dev/null
    client=
done

kill -INT "$pid"
wait "$pid" || fail "it ended with an error"
pid=
grep -q '^5 datagrams, 5 answers$' "$dir/out" || fail "it has counted otherwise"
echo "test_udp_echo: passed"
