#!/bin/sh
# SPDX-License-Identifier: MIT
# The examples that are fibers with real clients: signals, a pipeline, messages and a time-out in the middle of one, a proxy, a
# server that ends with clients that are idle and one that is in the middle of something, a chat whose guests read late.
# Usage: test_fibers.sh FOLDER LEFT_OUT, the folder with the examples.  Skips, with the reason, what needs a tool that is not
# installed, and everything where io_uring is refused, which the program LEFT_OUT tells.  Ports are the system's.
set -u

examples=${1:?usage: test_fibers.sh FOLDER LEFT_OUT}
left_out=${2:?usage: test_fibers.sh FOLDER LEFT_OUT}
# shellcheck source=tests/clients.sh
. "$(dirname "$0")/clients.sh"

# stop SIGNAL: has the example end, with status 0 and without a complaint.
stop() {
    kill "-$1" "$program_pid"
    stopped
}

stopped() {
    ended 0
    [ ! -s "$dir/err" ] || fail "it complains"
}

# sleeper NAME: a client that sends nothing, and reads nothing until the file NAME.go is written to; then it reads until the
# end, to NAME.back.
sleeper() {
    mkfifo "$dir/$1.go"
    : >"$dir/$1.back"
    timeout 120 socat "TCP:127.0.0.1:$port,rcvbuf=4096" \
        SYSTEM:"read go <$dir/$1.go; exec cat >$dir/$1.back",nofork 2>/dev/null &
    children="$children $!"
}

if "$left_out" test_fibers; then
    exit 0
fi

# ---- an operation of one's own, which refuses a request, and which honours it ----

# Whoever comes with a signal before the timer comes again, and later.
for pause in 0.2 1 5; do
    begin '^waiting' "$examples/step5_fiber" 0.1
    sleep $pause
    stop INT
    grep -q '^the signal came first' "$dir/out" || break
done
grep -q '^the timer came first$' "$dir/out" && grep -q 'wait_for_signal completed with 0; .* was refused' "$dir/out" ||
    fail "it does not refuse"
begin '^waiting' "$examples/step5_fiber" 1000
stop TERM
grep -q '^the signal came first: SIGTERM$' "$dir/out" || fail "the signal is not told"

begin '^waiting' "$examples/step6_fiber" 0.01
stopped
grep -q '^the timer came first$' "$dir/out" && grep -q 'wait_for_signal was cancelled with the guarantee total' "$dir/out" ||
    fail "it is not cancelled"
begin '^waiting' "$examples/step6_fiber" 1000
stop INT
grep -q '^the signal came first: SIGINT$' "$dir/out" || fail "the signal is not told"

# ---- the pipeline ----

# pipeline NAMES OUT ARGUMENT...: reads the one file and writes the other.
pipeline() {
    program=pipeline
    names=$1
    output=$2
    shift 2
    : >"$dir/err"
    "$examples/pipeline" "$@" <"$dir/$names" >"$dir/$output" 2>"$dir/err" &
    program_pid=$!
}

# pipeline_ended STATUS
pipeline_ended() {
    until_ended "$program_pid" "$1"
    program_pid=
}

# What is counted out of order is written in order: one worker waits, and the other goes on.
hold names
hold left
hold right
hold next
: >"$dir/out"
pipeline names.in out 2
for name in left right next; do
    say names "$dir/$name.in\n"
    until_true "$name.in is not opened" is_open $program_pid $name.in
    [ $name != right ] || hang_up right
done
[ ! -s "$dir/out" ] || fail "it is out of order"
say left 'a\nbc'
hang_up left
until_line out right
hang_up next
hang_up names
pipeline_ended 0
printf '1 4 %s\n0 0 %s\n0 0 %s\n' "$dir/left.in" "$dir/right.in" "$dir/next.in" | cmp - "$dir/out" ||
    fail "it counts something else"

# Files that are not there are told, and the others are counted.  The last name has no newline.
printf 'one\ntwo\nthree' >"$dir/file"
printf '%s\n%s\n%s' "$dir/file" "$dir/nothing" "$dir/file" >"$dir/list"
pipeline list out
pipeline_ended 1
printf '2 13 %s\n2 13 %s\n' "$dir/file" "$dir/file" | cmp - "$dir/out" || fail "it counts something else"
grep -q 'nothing: No such file or directory$' "$dir/err" || fail "it does not complain"
head -c 5000 /dev/zero >"$dir/list"
pipeline list out
pipeline_ended 1
grep -q 'a name is too long$' "$dir/err" || fail "it does not complain"

# Where nobody takes the output it reads no more than its blocks, and what the pipe has room for.
yes "$dir/file" | head -n 20000 >"$dir/list"
yes "2 13 $dir/file" | head -n 20000 >"$dir/all"
hold taken
pipeline list taken.in
until_true "no write waits for room" is_stuck
position=$(sed -n 's/^pos:[^0-9]*//p' "/proc/$program_pid/fdinfo/0")
[ "$position" -lt 200000 ] || fail "it has read $position bytes"
cat "$dir/taken.in" >"$dir/out" &
taker=$!
pipeline_ended 0
hang_up taken
until_ended $taker 0
cmp "$dir/out" "$dir/all" || fail "it counts something else"

# It ends when nobody reads any longer, whether it writes or only waits for names.  141 is 128 and SIGPIPE.
mkfifo "$dir/tube"
pipeline list tube
timeout 60 head -n 1 "$dir/tube" >"$dir/out"
pipeline_ended 141
hold silent_names
pipeline silent_names.in tube
say silent_names "$dir/file\n"
timeout 60 head -n 1 "$dir/tube" | cmp - "$dir/out" || fail "it counts something else"
pipeline_ended 141

# SIGINT ends it while names, a file and the output are waited for, and no line is cut in two.  130 is 128 and SIGINT.
hold endless
pipeline silent_names.in out
say silent_names "$dir/endless.in\n"
until_true "endless.in is not opened" is_open $program_pid endless.in
kill -INT $program_pid
pipeline_ended 130
hold full
pipeline list full.in
until_true "no write waits for room" is_stuck
kill -INT $program_pid
cat "$dir/full.in" >"$dir/out" &
taker=$!
pipeline_ended 130
hang_up full
until_ended $taker 0
head -n "$(wc -l <"$dir/out")" "$dir/all" | cmp - "$dir/out" || fail "a line is cut"

if ! command -v socat >/dev/null; then
    echo "test_fibers: skipped: all but steps 5 and 6 and the pipeline, as socat is not installed"
    exit $failed
fi

# ---- messages ----

start "$examples/step7_fiber" 0
client typist
client other
say typist 'one|two|thr'
say other 'x|'
until_line out '^received: two$'
until_line out '^received: x$'
say typist 'ee|rest'
until_line out '^received: three$'
until_gone typist
until_line out '^session over: read_until failed with ENODATA'
client long
head -c 5000 /dev/zero | tr '\0' a >"$dir/long.in"
until_line out '^session over: read_until failed with ENOBUFS'
until_gone long
stop TERM
grep -q '^session over: read_until was cancelled' "$dir/out" || fail "the session that waits is not cancelled"

# ---- a time-out in the middle of a message ----

for step8 in step8_fiber step8_scope; do
    start "$examples/$step8" 0 0.2
    client quick_$step8
    client slow_$step8
    say quick_$step8 'one|two|'
    say slow_$step8 'a|sl'
    until_line out '^received: two$'
    until_line out '^received: a$'
    until_line out '^timed out$'
    say slow_$step8 'ow|'
    until_line out '^received: slow$'
    say slow_$step8 'half'
    until_gone quick_$step8
    until_line out '^session over: the stream has ended$'
    stop TERM
    grep -q '^session over: Operation canceled$' "$dir/out" || fail "the session that waits is not cancelled"
    until_gone slow_$step8
done

# ---- the proxy ----

start_target echo PIPE
start "$examples/fiber_proxy" 0 "$target" 100
client talker
say talker 'hello\n'
until_line talker.out '^hello$'
say talker 'again\n'
until_line talker.out '^again$'
hang_up talker
until_line out '12 bytes there, 12 back; one side is done$'
client silent
say silent 'sss\n'
until_line silent.out '^sss$'
flood busy
stop TERM
[ "$(grep -c 'the proxy ends$' "$dir/out")" -eq 2 ] || fail "two sessions are not cancelled"
grep -q ': 4 bytes there, 4 back; the proxy ends$' "$dir/out" || fail "bytes of the session that waits"

start "$examples/fiber_proxy" 0 "$target" 0.2
client idle
until_line out '0 bytes there, 0 back; nothing passed'
until_gone idle
stop INT

start "$examples/fiber_proxy" 0 1
client nobody
until_line out 'no connection to the target: Connection refused$'
stop TERM

if command -v curl >/dev/null; then
    head -c 20000000 /dev/urandom >"$dir/data"
    { printf 'HTTP/1.0 200 OK\r\nContent-Length: 20000000\r\n\r\n' && cat "$dir/data"; } >"$dir/response"
    start_target http SYSTEM:"read line; cat $dir/response"
    start "$examples/fiber_proxy" 0 "$target" 100
    curl_thrice
    until_line out 'one side is done$' 3
    stop TERM
else
    echo "test_fibers: skipped: fetching with curl, as it is not installed"
fi

# ---- the server ----

start "$examples/fiber_server" 0 1000
client first
client second
say first 'one\n'
say second 'two\n'
until_line first.out '^one$'
until_line second.out '^two$'
say first 'three\n'
until_line first.out '^three$'
hang_up first
until_line first.out '^bye$'
printf 'one\nthree\nbye\n' | cmp - "$dir/first.out" || fail "the first client got something else"
until_line out '^connection [0-9]*: over$'

# The client that waits is told to go at once, and the one in the middle of something when that is done.
flood reader
kill -TERM "$program_pid"
until_line second.out '^bye$'
until_line out '^ending 2 connections$'
until_true "the busy connection does not go on" is_stuck
echo go >"$dir/reader.go"
stopped
# shellcheck disable=SC2154 # flood sets it
until_ended "$reader" 0
tail -n 1 "$dir/reader.back" | grep -q 'bye$' || fail "the busy client is not told to go"
sed '$d' "$dir/reader.back" | grep -v '^0123456789abcde$' | head -n 3 >"$dir/odd"
[ ! -s "$dir/odd" ] || fail "what the busy client got is not what it sent: $(cat "$dir/odd")"
[ "$(grep -c ': over$' "$dir/out")" -eq 3 ] || fail "not all connections are over"

start "$examples/fiber_server" 0 0.05
client listener
until_line listener.out '^<heartbeat>$' 3
say listener 'a line\n'
until_line listener.out '^a line$'
stop TERM
until_gone listener
tail -n 1 "$dir/listener.out" | grep -q '^bye$' || fail "no goodbye behind heartbeats"
grep -vxE '<heartbeat>|a line|bye' "$dir/listener.out" >"$dir/odd"
[ ! -s "$dir/odd" ] || fail "lines are mixed: $(cat "$dir/odd")"

# ---- the chat ----

start "$examples/chat" 0
client anna
until_line out '^listening'
say anna 'hello?\n'
client bert
until_line anna.out '^2 is here$'
client carl
until_line anna.out '^3 is here$'
until_line bert.out '^3 is here$'
say bert 'one\ntwo\nhal'
until_line anna.out '^2: two$'
until_line carl.out '^2: two$'
say carl 'three\n'
until_line bert.out '^3: three$'
say bert 'f\n'
until_line carl.out '^2: half$'
until_gone carl
printf '2: one\n2: two\n2: half\nbye\n' | cmp - "$dir/carl.out" || fail "carl heard something else"
until_line out '^guest 3: over$'
until_line anna.out '^3 has left$'
until_line bert.out '^3 has left$'

# Dora listens to nothing: the others hear every line meanwhile, and she hears of those that were left out.
sleeper dora
until_line anna.out '^4 is here$'
block=0
until is_stuck || [ $block -eq 1000 ]; do
    block=$((block + 1))
    seq -f 'line %0150.0f' $((block * 100 - 99)) $((block * 100)) >"$dir/bert.in"
    until_line anna.out "0$((block * 100))\$" || break
done
is_stuck || fail "no send waits for room"
seq -f 'line %0150.0f' $((block * 100 + 1)) $((block * 100 + 100)) >"$dir/bert.in"
until_line anna.out "0$((block * 100 + 100))\$"
seq -f '2: line %0150.0f' 1 $((block * 100 + 100)) >"$dir/all"
grep '^2: line' "$dir/anna.out" | cmp - "$dir/all" || fail "a guest that listens misses lines"
echo go >"$dir/dora.go"
until_line dora.back '^2: line'
say bert 'awake?\n'
until_line dora.back '^2: awake?$'
missed=$(sed -n 's/^(\([0-9]*\) lines left out)$/\1/p' "$dir/dora.back" | awk '{ sum += $1 } END { print sum + 0 }')
heard=$(grep -c '^2: line' "$dir/dora.back")
[ "$missed" -gt 0 ] || fail "no lines are left out"
[ $((missed + heard)) -eq $((block * 100 + 100)) ] || fail "$missed lines left out, $heard heard"
grep '^2: line' "$dir/dora.back" | sort -c || fail "lines are out of order"

# Emil sleeps for ever, which nobody waits for.
sleeper emil
until_line anna.out '^5 is here$'
kill -TERM "$program_pid"
until_line anna.out '^bye$'
until_line bert.out '^bye$'
until_line dora.back '^bye$'
hang_up anna
hang_up bert
stopped
grep -q '^ending, with 4 guests$' "$dir/out" || fail "guests are missing"
grep -q '^guest 5: did not hang up in time$' "$dir/out" || fail "the guest that sleeps is waited for"
echo go >"$dir/emil.go"
until_line emil.back '^bye$'

# ---- fetch ----

# serve NAME: a server that runs the script on standard input for each client; its port is in the variable NAME.
serve() {
    cat >"$dir/$1.sh"
    start_target "$1" EXEC:"sh $dir/$1.sh"
    eval "$1=$target"
}

fetch() { # URL [SECONDS]
    program=fetch
    "$examples/fetch" "$@" >"$dir/out" 2>"$dir/err" &
    program_pid=$!
}

fetch_ended() { # STATUS
    wait $program_pid
    [ $? -eq "$1" ] || fail "its status is not $1"
    program_pid=
}

serve page <<'END'
while read -r line && [ ${#line} -gt 1 ]; do :; done
printf 'HTTP/1.1 200 OK\r\n\r\nthe page\n'
END
serve silence <<'END'
printf 'HTTP/1.1 200 OK\r\n'
exec sleep 1000
END

# By name and by number; where the name has ::1, that is refused first.
for host in localhost 127.0.0.1; do
    fetch "http://$host:$page/"
    fetch_ended 0
    [ "$(cat "$dir/out")" = 'the page' ] || fail "it prints something else"
    grep -q '^HTTP/1.1 200 OK$' "$dir/err" || fail "it does not tell of the answer"
done

# A port where nobody listens is refused; a deadline over all of it ends the wait for the answer, and so does Ctrl-C.
fetch http://127.0.0.1:1/
fetch_ended 1
grep -q '^connect .*Connection refused$' "$dir/err" || fail "it does not complain"
fetch "http://localhost:$silence/" 0.3
fetch_ended 1
grep -q '^all of it took longer than 0.3 s$' "$dir/err" || fail "it does not say that it took too long"
fetch "http://localhost:$silence/"
until_line err '^request .*done$'
kill -INT $program_pid
fetch_ended 1
grep -q '^interrupted$' "$dir/err" || fail "it does not say that it was interrupted"

finish
