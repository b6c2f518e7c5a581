#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The library is a house: each floor knows those below it, never one above, and no file calls, by however
# many ways, one that calls it.  Looks at the calls between the objects, and at what each file includes.
#
#     tests/test_floors.sh BUILD      of which it reads BUILD/lib/*/*.o and BUILD/uring/*.o
#
# At the end it plants an upward call and an upward include, and fails if it does not see them.

set -u
cd "$(dirname "$0")/.." || exit
build=$1

# From the ground floor up; a new floor is written here first.
floors="include/unring lib/core uring lib/loop lib/combine lib/stream lib/fiber lib/tls"

# ---- calls: which object uses what another defines ----

# Prints "USER DEFINER NAME" for each name that one object uses and another defines.
calls() {
    nm -A "$@" | sed "s|^$build/||" | awk '
        { file = $1; sub(/:[^:]*$/, "", file); name = $NF; kind = $(NF - 1) }
        kind ~ /^[BDRTVW]$/ { definer[name] = file }
        kind == "U" && name ~ /^unr/ { uses[++n] = file " " name }
        END { for (i = 1; i <= n; i++) { split(uses[i], use, " ")
              if (use[2] in definer && definer[use[2]] != use[1]) print use[1], definer[use[2]], use[2] } }'
}

# ---- includes: what each file names in quotes, as a path from here; public headers are all on the ground ----

includes() {
    grep -H '^#include "' "$@" | sed -E 's/^([^:]*):#include "([^"]*)".*/\1 \2/' | while read -r file name; do
        path=$(realpath --relative-to=. -m "$(dirname "$file")/$name")
        echo "$file $path include"
    done
}

# ---- the house ----

# Reads lines "FROM TO WHY"; prints those that run up.
upward() {
    awk -v floors="$floors" '
        BEGIN { n = split(floors, order, " "); for (i = 1; i <= n; i++) height[order[i]] = i }
        function floor_of(file, folder) {
            folder = file; sub(/\/[^\/]*$/, "", folder)
            if (!(folder in height)) { print file ": is on no floor that tests/test_floors.sh knows"; height[folder] = 0 }
            return height[folder]
        }
        { if (floor_of($1) < floor_of($2)) print $1 " knows " $2 ", which is above it: " $3 }'
}

# Reads the same; prints the files that know each other.
circles() {
    awk '{ print $1, $2 }' | sort -u | tsort 2>&1 >/dev/null | sed -n 's/^tsort: //p'
}

files=$(find lib uring -name '*.[ch]')
objects=$(find "$build/lib" "$build/uring" -name '*.o' | sort)
[ -n "$objects" ] || { echo "floors: no objects below $build"; exit 1; }
# Objects of files that are gone are not part of the house.
here=$(for object in $objects; do source=${object#"$build"/}; [ ! -e "${source%.o}.c" ] || echo "$object"; done)

all_calls=$(calls $here)
all_includes=$(includes $files)

failed=0
say() {
    [ -n "$2" ] || return 0
    echo "floors: $1"
    echo "$2" | sed 's/^/    /'
    failed=1
}
say "these calls run up:" "$(upward <<<"$all_calls")"
say "these includes run up:" "$(upward <<<"$all_includes")"
say "these files call each other:" "$(circles <<<"$all_calls")"
say "these files include each other:" "$(circles <<<"$all_includes")"

# ---- shadow stacks ----

# The switch from one stack to another is not compatible with them.  A compiler may mark each object of C as compatible; the
# linker keeps the mark only if all have it, so the file of the switch must not.
shadowed() {
    local file
    for file; do
        [ ! -e "$file" ] || ! readelf -nW "$file" 2>/dev/null | grep -q SHSTK || echo "$file"
    done
}
say "these claim to be compatible with shadow stacks:" \
    "$(shadowed "$build"/lib/fiber/switch_*.o "$build/unring.o" "$build/libunring.so")"

# ---- does the test see what it is for? ----

plant() { # WHAT LINES PART
    [ -n "$(upward <<<"$2"$'\n'"$3")" ] || { echo "floors: a planted $1 was not seen"; failed=1; }
}
plant "call upwards" "$all_calls" "lib/core/clock.o lib/stream/relay.o unr_relay"
plant "call upwards that is no circle" "" "uring/enter.o lib/loop/explain.o unr_explain"
plant "include upwards" "$all_includes" "lib/core/op.h lib/combine/state.h include"
[ -n "$(circles <<<"$all_calls"$'\n'"lib/core/os.o lib/core/clock.o planted"$'\n'"lib/core/clock.o lib/core/os.o planted")" ] ||
    { echo "floors: a planted circle was not seen"; failed=1; }

[ "$failed" = 0 ] || exit 1
echo "floors: $(wc -w <<<"$here") files, $(wc -l <<<"$all_calls") calls between them and $(wc -l <<<"$all_includes") includes, none upwards"
