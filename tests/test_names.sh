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

sources=$(cat lib/*/*.[ch] uring/*.[ch] include/unring/*.h)
for name in $(grep -ohE '\bunri?_[a-z_]+' $pages | sort -u); do
    grep -q -- "$name" <<<"$sources" || missing "$pages" "function $name"
done

tests=$(sed -nE 's/^(Test|ParameterizedTest|BREACH)\(([a-z_]+), ([a-z_0-9]+).*/\2\/\3/p' tests/test_*.c)
scenarios=$(grep -ohE '"[a-z-]+/[a-z_-]+"' tests/sim/scenarios/*.c | tr -d '"')
checked=0
subjects='op|loop|signal|group|scope|compose|state|requests|types|rings|signals|shots|descriptors|closing'
for name in $(grep -ohP "(?<![a-z/])($subjects)/[a-z_-]+\*?(?!\.)" $pages | sort -u); do
    checked=$((checked + 1))
    grep -q -- "^${name%\*}" <<<"$tests"$'\n'"$scenarios" || missing "$pages" "test or scenario $name"
done

[ "$failed" = 0 ] || exit 1
echo "names: $checked tests and scenarios that the pages name are there"
