# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# What the tests of the examples share, which source it: a program in the background, clients and servers of socat(1), and
# waits for what they print.  Files are in $dir, and gone at the end with all processes.  Nothing here waits for time alone.

test=$(basename "$0" .sh)
dir=$(mktemp -d) || exit 1
children=
program=     # the name of the one that runs or has run
program_pid= # of the one that runs; it prints into out and err
failed=0

clean_up() {
    for pid in $children $program_pid; do
        kill -KILL "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "$test: FAILED: $program: $1"
    for file in out err; do
        [ -f "$dir/$file" ] && tail -n 20 "$dir/$file" | cut -c 1-200 | sed 's/^/    /'
    done
    failed=1
}

# finish: the last line of a test.
finish() {
    [ $failed -eq 0 ] && echo "$test: passed"
    exit $failed
}

# skip_without WHAT TOOL...: ends the test where one is not installed; WHAT is left out.
skip_without() {
    what=$1
    shift
    for tool; do
        command -v "$tool" >/dev/null || { echo "$test: skipped: $what, as $tool is not installed"; exit $failed; }
    done
}

# until_true WHAT COMMAND...: waits until the command succeeds; 10 seconds at most, or longer where the machine is busy.
until_true() {
    what=$1
    shift
    tries=500
    until "$@" 2>/dev/null; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || { fail "$what"; return 1; }
        sleep 0.02
    done
}

# until_line FILE PATTERN [COUNT]: waits until at least so many lines are like that.
until_line() {
    until_true "no '$2' in $1${3:+, $3 times}" has_lines "$@"
}

has_lines() {
    [ "$(grep -c "$2" "$dir/$1")" -ge "${3:-1}" ]
}

# until_ended PID STATUS...: waits for a child, which is to end with one of these.
until_ended() {
    pid=$1
    shift
    until_true "process $pid goes on" has_ended "$pid" || kill -KILL "$pid"
    wait "$pid"
    status=$?
    for good; do
        [ $status -eq "$good" ] && return
    done
    fail "ended with status $status, and not $*"
}

has_ended() {
    grep -q '^State:.Z' "/proc/$1/status" || ! [ -e "/proc/$1" ]
}

# ---- the program ----

# begin PATTERN PATH ARGUMENT...: a program, up to a line of its; sets $program_pid.
begin() {
    pattern=$1
    program=$(basename "$2")
    shift
    : >"$dir/out" && : >"$dir/err" # now, as the one started last may still be found in them otherwise
    "$@" >"$dir/out" 2>"$dir/err" &
    program_pid=$!
    until_true "no '$pattern' in out" has_begun "$pattern" && has_lines out "$pattern" && return
    fail "it has ended without '$pattern'"
    exit 1
}

has_begun() {
    has_lines out "$1" || has_ended "$program_pid"
}

# start PATH ARGUMENT...: one that listens; sets $port, too.
start() {
    begin '^listening on' "$@"
    port=$(sed -n 's/^listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$dir/out")
}

# end SIGNAL: has it end, with status 0.
end() {
    kill "-$1" "$program_pid"
    ended 0
}

# ended STATUS...
ended() {
    until_ended "$program_pid" "$@"
    program_pid=
}

# is_stuck: a send of the program's waits for room, or a write.  26 is IORING_OP_SEND, and 23 IORING_OP_WRITE.
is_stuck() {
    grep -qE 'op=(26|23),' "/proc/$program_pid/fdinfo/"*
}

# ---- clients and servers ----

# hold NAME: makes the pipe NAME.in, and keeps it open for both ends until `hang_up NAME`.  So nobody waits for the other end,
# and what is written stays.
hold() {
    mkfifo "$dir/$1.in"
    sleep 1000 1<>"$dir/$1.in" &
    eval "$1_holds=\$!"
    children="$children $!"
    until_true "$1.in is not held" is_open $! "$1.in"
}

# is_open PID FILE: the process has opened it.
is_open() {
    # shellcheck disable=SC2010 # no names but numbers
    ls -l "/proc/$1/fd" | grep -q -- "-> $dir/$2\$"
}

# client NAME: a socat that sends what is written into NAME.in, which `say` does, and writes what it receives to NAME.out.
client() {
    hold "$1"
    : >"$dir/$1.out"
    timeout 120 socat -t 60 - "TCP:127.0.0.1:$port" <"$dir/$1.in" >"$dir/$1.out" 2>/dev/null &
    eval "$1=\$!"
    children="$children $!"
}

# say NAME TEXT: as printf(1) writes it.
say() {
    # shellcheck disable=SC2059
    printf "$2" >"$dir/$1.in"
}

# hang_up NAME: its stream to the server ends.
hang_up() {
    eval "kill \$$1_holds"
}

# until_gone NAME: the server has closed the connection of the client, which ends with status 0.
until_gone() {
    hang_up "$1"
    eval "until_ended \$$1 0"
}

# flood NAME: a client that sends without end and reads nothing until the file NAME.go is written to; then it reads until the
# end, to NAME.back.  Returns when the program is stuck in the middle of sending.
flood() {
    mkfifo "$dir/$1.go"
    timeout 120 socat "TCP:127.0.0.1:$port,rcvbuf=65536" \
        SYSTEM:"yes 0123456789abcde & read go <$dir/$1.go; cat >$dir/$1.back; kill \$!; true",nofork 2>/dev/null &
    eval "$1=\$!"
    children="$children $!"
    until_true "no send waits for room" is_stuck
}

# start_target NAME ADDRESS: a socat that serves each connection with ADDRESS; sets $target to its port.
start_target() {
    socat -d -d TCP-LISTEN:0,bind=127.0.0.1,reuseaddr,fork "$2" 2>"$dir/$1.log" &
    children="$children $!"
    until_line "$1.log" 'listening on' || exit 1
    # shellcheck disable=SC2034 # used by who sources this
    target=$(sed -n 's/.*listening on .*:\([0-9][0-9]*\)$/\1/p' "$dir/$1.log" | head -n 1)
}

# curl_thrice OPTION...: three at a time from $port, each of which gets what is in the file data.
curl_thrice() {
    for i in 1 2 3; do
        timeout 60 curl -s "$@" "http://127.0.0.1:$port/" >"$dir/back$i" &
        eval "curl$i=\$!"
    done
    for i in 1 2 3; do
        eval "wait \$curl$i" || fail "curl $i"
        cmp "$dir/data" "$dir/back$i" || fail "what curl $i fetched differs"
    done
}
