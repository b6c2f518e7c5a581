#!/bin/sh
# SPDX-License-Identifier: MIT
# The example udp_echo with real clients: datagrams of all sizes come back whole, and Ctrl-C ends it with its counts.
# Usage: test_udp_echo.sh UDP_ECHO LEFT_OUT.  Skips, with the reason, where socat is not installed or io_uring is refused,
# which the program LEFT_OUT tells.  The port is the system's.
set -u

udp_echo=${1:?usage: test_udp_echo.sh UDP_ECHO LEFT_OUT}
left_out=${2:?usage: test_udp_echo.sh UDP_ECHO LEFT_OUT}
"$left_out" "the example udp_echo" && exit 0
# shellcheck source=tests/clients.sh
. "$(dirname "$0")/clients.sh"
skip_without everything socat

begin '^on ' "$udp_echo" 127.0.0.1:0
port=$(sed -n 's/^on 127\.0\.0\.1:\([0-9]*\),.*/\1/p' "$dir/out")

# socat would wait for more.
for size in 1 100 1472 9000 60000; do
    head -c "$size" /dev/urandom >"$dir/sent"
    socat -b 65536 -t 10 - "UDP:127.0.0.1:$port" <"$dir/sent" >"$dir/came" 2>/dev/null &
    children=$!
    until_true "a datagram of $size bytes did not come back" cmp -s "$dir/sent" "$dir/came"
    kill "$children" 2>/dev/null
    wait "$children" 2>/dev/null
    children=
done

end INT
grep -q '^5 datagrams, 5 answers$' "$dir/out" || fail "it has counted otherwise"
finish
