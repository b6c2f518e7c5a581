#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What lib/README.md and uring/README.md name is there: each function, each test (suite/name) and each scenario
# (subject/name, or a pattern of them).
#
#     tests/test_names.sh

set -u
cd "$(dirname "$0")/.." || exit

pages="lib/README.md uring/README.md"
failed=0
missing() { echo "names: $1: there is no $2"; failed=1; }

# Functions: with unring's prefix anywhere in the text, others in `...`, and what stands in brackets in uring/README.md.
sources=$(cat lib/*/*.[ch] uring/*.[ch] include/unring/*.h)
for name in $({
    grep -ohE '\bunri?_[a-z_]+[a-z]' $pages
    grep -ohE '`[a-z]+(_[a-z]+)+`' $pages | tr -d '`'
    grep -oE '\[[^]]*\]' uring/README.md | grep -ohP '(?<![a-z/_-])[a-z]+(_[a-z]+)+(?![a-z/_.*-])'
} | sort -u); do
    grep -qw -- "$name" <<<"$sources" || missing "$pages" "function $name"
done

tests=$(sed -nE 's/^(Test|ParameterizedTest|BREACH)\(([a-z_]+), ([a-z_0-9]+).*/\2\/\3/p' tests/test_*.c)
scenarios=$(grep -ohE '"[a-z-]+/[a-z_-]+"' tests/sim/scenarios/*.c | tr -d '"')
# The scenarios of every system call, which are named by a situation and a call.
for situation in cancel close in-done latched by-fd; do
    grep -q "{ \"$situation\"," tests/sim/scenarios/operations.c || missing tests/test_names.sh "situation $situation"
    scenarios+=$'\n'$(sed -nE "s#^(SUBJECT|BOUNDED)\(([a-z_]+).*#$situation/\2#p" tests/sim/scenarios/operations.c)
done
# The scenarios of provided buffers, which are named by what is tried.
scenarios+=$'\n'$(sed -nE 's#^    \{ "([a-z-]+)",.*#shots/\1#p' tests/sim/scenarios/shots.c)

checked=0
subjects=$(cut -d/ -f1 <<<"$tests"$'\n'"$scenarios" | sort -u | paste -sd'|')
for name in $(grep -ohP "(?<![a-z/])($subjects)/[a-z_-]+\*?(?![./])" $pages | sort -u); do
    checked=$((checked + 1))
    case $name in *\*) pattern=^${name%\*} ;; *) pattern=^$name$ ;; esac
    grep -q -- "$pattern" <<<"$tests"$'\n'"$scenarios" || missing "$pages" "test or scenario $name"
done

[ "$failed" = 0 ] || exit 1
echo "names: $checked tests and scenarios that the pages name are there"
