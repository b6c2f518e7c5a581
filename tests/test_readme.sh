#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# README.md says nothing that is not so: installs the library as a user of one's own would, runs the page's commands,
# compiles every block of C with warnings as errors, starts what has an output and compares it, and looks for each
# operation of the headers in the table of guarantees.  Started by `make check-readme` and `make check-install`.
#
# An HTML comment right before a block, which no reader sees, says what is to be done with it:
#
#     <!-- first.c -->          C: a program.  If a block of text comes next, that is what it prints; its standard input
#                               is open and silent.
#     <!-- inside: HEAD -->     C or C++: the body of a function with this head.
#     <!-- part -->             C: functions.  What both take for granted is declared below, in `given`.
#     <!-- from FILE -->        C: paragraphs of a file that is compiled elsewhere, word for word.
#     <!-- first.cpp -->        C++: a program, and what it prints, likewise; left out where the compiler has no coroutines.
#     <!-- run c++ -->          sh: as the next one, likewise left out.
#     <!-- run -->              sh: run in the folder where the programs are, with a line of 6 bytes to read, as if the
#                               library were in the system's folders.  A block of text behind it is what it prints.
#     <!-- run by itself -->    sh: the same, where it is not.
#
# A block of C or C++ without such a comment is a mistake; a block of sh is then left alone.

set -eu

fail() { echo "readme: $*"; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# Cuts the page into files: NNN.KIND with the block, NNN.say with the comment before it.
mkdir "$root/blocks"
awk -v into="$root/blocks/" '
    /^<!--/           { comment = ""; commenting = 1 }
    commenting        { comment = comment $0 "\n"; if (/-->$/) commenting = 0; next }
    /^```/ && inside  { inside = 0; close(file); next }
    /^```/            { inside = 1; number++; kind = substr($0, 4); if (kind == "") kind = "text"
                        file = into sprintf("%03d.", number) kind
                        printf "%s", comment >(into sprintf("%03d.say", number)); comment = ""; printf "" >file; next }
    inside            { print >file; next }
    /./               { comment = "" }
' README.md

# ---- the commands and programs ----

# `make` and `cc` are those of the caller; an ldconfig that does nothing stands before the system's.
mkdir "$root/home" "$root/bin" "$root/work"
printf '#!/bin/sh\n' >"$root/bin/ldconfig"
callers() { # COMMAND: the same, with its whole path
    set -- $1
    echo "$(command -v "$1")" "${@:2}"
}
printf '#!/bin/sh\nexec %s -s --no-print-directory -C "%s" BUILD="%s" "$@"\n' "$(callers "$MAKE")" "$PWD" "$BUILD" \
    >"$root/bin/make"
printf '#!/bin/sh\nexec %s "$@"\n' "$(callers "$CC")" >"$root/bin/cc"
coroutines=
if command -v "${CXX%% *}" >/dev/null && echo '#include <coroutine>' | $CXX -x c++ -std=c++20 -fsyntax-only - 2>/dev/null; then
    coroutines=yes
    printf '#!/bin/sh\nexec %s "$@"\n' "$(callers "$CXX")" >"$root/bin/c++"
else
    echo "readme: skipped: what is written in C++, as no ${CXX%% *} here has the coroutines of C++20"
fi
chmod +x "$root"/bin/*
export HOME=$root/home PATH=$root/bin:$PATH
mkfifo "$root/silence"
exec 3<>"$root/silence"

expect() { # NUMBER: what came is what the block of text says
    diff -u --label "README.md says" "$root/blocks/$1.text" --label "it prints" "$root/came" ||
        fail "block $1 differs from what is printed"
}

behind() { printf '%03d' $((10#$1 + 1)); }

make install PREFIX="$root/usr" >/dev/null
installed=(PKG_CONFIG_PATH="$root/usr/lib/pkgconfig" LD_LIBRARY_PATH="$root/usr/lib")
flags=$(env "${installed[@]}" $PKG_CONFIG --cflags --libs unring)

# Where io_uring is refused nothing can be shown to run, unless it must.
refused=
[ "${REQUIRE_URING:-}" ] || "$root/usr/bin/unring-features" >/dev/null 2>"$root/why" || refused=$(cat "$root/why")
[ -z "$refused" ] || echo "readme: skipped: what it prints, as ${refused#*: }"
programs=0 parts=0 commands=0

# The flags of pkg-config come last, as a linker wants them, and are meant to be split.
compile() { # ARGUMENT...
    cc -O1 -Wall -Wextra -Werror "$@" $flags
}
compile_cpp() { # ARGUMENT...
    c++ -std=c++20 -O1 -Wall -Wextra -Werror "$@" $flags
}

given='
#include <stdio.h>
#include <unring.h>
#include <unring/sim.h>

struct client {
    struct unr_deadline deadline;
    struct unr_reader   reader;
    struct unr_stream   stream;
    struct unr_buffer   input;
    struct unr_framing  lines;
};
struct peer {
    struct unr_op          connect;
    int                    fd;
    const struct sockaddr *address;
    socklen_t              len;
};
extern struct unr_scope    scope;
extern struct unr_deadline grace;
extern struct unr_group    group;
extern struct unr_delay    delay;

unr_done_fn on_line, on_connected;
void        peer_writes(void *fd);
void        run_session(int fd, void *context);
'

given_cpp='
#include <unring.hpp>

using namespace std::chrono_literals;

unring::task<> heartbeat(int fd);
unring::task<> serve(int fd);
'

is_word_for_word() { # FILE BLOCK: the file has each paragraph of the block
    local whole paragraph
    whole=$(cat "$1")
    while IFS= read -r -d '' paragraph; do
        [[ $whole == *"$paragraph"* ]] || fail "$1 does not have this paragraph: $paragraph"
    done < <(awk -v RS= -v ORS='\0' 1 "$2")
}

compile_part() { # NUMBER HEAD FOOT
    { echo "$given"; echo "$2"; cat "$root/blocks/$1.c"; echo "$3"; } >"$root/part.c"
    compile "$root/part.c" -Wno-unused-function -c -o "$root/part.o" || fail "block $1 does not compile"
    parts=$((parts + 1))
}

compile_part_cpp() { # NUMBER HEAD FOOT
    { echo "$given_cpp"; echo "$2"; cat "$root/blocks/$1.cpp"; echo "$3"; } >"$root/part.cpp"
    compile_cpp "$root/part.cpp" -c -o "$root/part.o" || fail "block $1 does not compile"
    parts=$((parts + 1))
}

try_program() { # NUMBER NAME c|cpp
    local program=$root/work/$2.$3.out
    [ ! -e "examples/$2.$3" ] || is_word_for_word "examples/$2.$3" "$root/blocks/$1.$3"
    cp "$root/blocks/$1.$3" "$root/work/$2.$3"
    if [ "$3" = c ]; then set -- "$@" compile; else set -- "$@" compile_cpp; fi
    $4 "$root/work/$2.$3" -o "$program" -Wl,-rpath,"$root/usr/lib" || fail "$2.$3 does not compile"
    programs=$((programs + 1))
    [ -z "$refused" ] && [ -e "$root/blocks/$(behind "$1").text" ] || return 0
    (cd "$root/work" && timeout 60 "$program" <&3) >"$root/came" || fail "$2.$3 fails"
    expect "$(behind "$1")"
}

# In a list a && b a failure of a would not end the shell, so its parts become lines.
try_commands() { # NUMBER SETTING...
    local number=$1
    shift
    [ -z "$refused" ] || return 0
    sed -i 's/ && /\n/g' "$root/blocks/$number.sh"
    (cd "$root/work" && echo hello | env "$@" bash -eu "$root/blocks/$number.sh") >"$root/came" ||
        fail "block $number fails: $(cat "$root/blocks/$number.sh")"
    [ ! -e "$root/blocks/$(behind "$number").text" ] || expect "$(behind "$number")"
    commands=$((commands + 1))
}

try() { # NUMBER KIND
    local said
    said=$(sed -e 's/^<!-- //' -e 's/ -->$//' "$root/blocks/$1.say")
    case $2:$said in
    c:inside:*) compile_part "$1" "${said#inside: } {" "}" ;;
    c:part) compile_part "$1" "" "" ;;
    c:from\ *) is_word_for_word "${said#from }" "$root/blocks/$1.c" ;;
    c:*.c) try_program "$1" "${said%.c}" c ;;
    c:*) fail "block $1 is C, and no comment says what it is: $(head -1 "$root/blocks/$1.c")" ;;
    cpp:inside:*) [ -z "$coroutines" ] || compile_part_cpp "$1" "${said#inside: } {" "}" ;;
    cpp:from\ *) is_word_for_word "${said#from }" "$root/blocks/$1.cpp" ;;
    cpp:*.cpp) [ -z "$coroutines" ] || try_program "$1" "${said%.cpp}" cpp ;;
    cpp:*) fail "block $1 is C++, and no comment says what it is: $(head -1 "$root/blocks/$1.cpp")" ;;
    sh:run\ c++) [ -z "$coroutines" ] || try_commands "$1" "${installed[@]}" ;;
    sh:run) try_commands "$1" "${installed[@]}" ;;
    sh:run\ by\ itself) try_commands "$1" ;;
    esac
}

for block in "$root"/blocks/*.c "$root"/blocks/*.cpp "$root"/blocks/*.sh; do
    name=$(basename "$block")
    try "${name%%.*}" "${name#*.}"
done

# ---- the words ----

# Each function that describes an operation is in the table of guarantees, and each name of unring's is in the headers.
described=$(cat include/unring/*.h | tr '\n' ' ' | grep -oE 'UNR_API struct unr_op +\*unr_[a-z0-9_]+\(' | grep -oE 'unr_[a-z0-9_]+\(' |
    tr -d '(' | sort -u | grep -vxE 'unr_(bind_slot|describe|group_first|group_next)')
table=$(sed -n '/^## Guarantees/,/^## /s/^| *\([^|]*\)|.*/\1/p' README.md | grep -oE 'unr_[a-z0-9_]+' | sort -u)
missing=$(comm -23 <(echo "$described") <(echo "$table"))
[ -z "$missing" ] || fail "the table of guarantees lacks" $missing

named=$(grep -oE '\b(unr_[a-z0-9_]*[a-z0-9]|UNR_[A-Z0-9_]*[A-Z0-9])\b' README.md | sort -u)
there=$(cat include/unring/*.h | grep -oE '\b(unr|UNR)_[A-Za-z0-9_]*[A-Za-z0-9]\b' | sort -u)
unknown=$(comm -23 <(echo "$named") <(echo "$there"))
[ -z "$unknown" ] || fail "README.md speaks of what no header has:" $unknown

# And each file that it leads to is there.
for file in $(sed -e '/^```/,/^```/d' -e 's/`[^`]*`//g' README.md | grep -oE '\]\([^)#:]+' | cut -c3-); do
    [ -e "$file" ] || fail "there is no $file"
done

echo "readme: $programs programs, $parts parts of programs and $commands lists of commands do what it says"
