#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The suite where io_uring is refused, as a container does it: what needs none runs, each part that needs it is left out
# and says why, and the suite passes.  With REQUIRE_URING=1 each of these parts fails.  Started by `make check-refused`.

set -u

log=$BUILD/refused.log
passed=0 failed=0

# run ANSWER ARGUMENT...: make, with io_uring refused to it.
run() {
    local answer=$1
    shift
    # In the environment is what the outer make was told, as well: the last word counts.
    "$BUILD/tests/tools/without_uring" "$answer" $MAKE --no-print-directory "$@" >"$log" 2>&1 </dev/null
}

good() { passed=$((passed + 1)); }
bad() {
    failed=$((failed + 1))
    sed 's/^/    /' "$log"
    echo "refused: FAILED: $*"
}

# says PATTERN: it is a line of the log.
says() { if grep -Eq "$1" "$log"; then good; else bad "no line '$1'"; fi; }

# One scenario shows that the simulated kernel needs no io_uring.  Three parts are not tried, as nothing in them asks the kernel
# for more than a file: floors, headers and model.
run EPERM check REQUIRE_URING= SCENARIO=cancel/recv ROW='tests demo proxy fibers stress' ROW_BESIDE='sim install' && good || bad "make check, refused with EPERM"
says '^tests: [1-9][0-9]* passed, 0 failed, [1-9][0-9]* skipped$'
says '^scenarios: [1-9][0-9]* passed, 0 failed$'
says '^install: [1-9][0-9]* programs built'
for part in '    ' demo: test_proxy: test_fibers: stress: install: 'make check:'; do
    says "^$part.*skipped: .*io_uring.*EPERM"
done
says '^make check: passed$'

for answer in EACCES ENOSYS; do
    run $answer REQUIRE_URING= check-tests FILTER='@(op/*|environment/*|table/without_done*)' check-demo check-proxy check-fibers check-stress check-conformance &&
        good || bad "refused with $answer"
    says "^    skipped: .*$answer"
done

for part in tests demo proxy fibers stress install conformance; do
    run EPERM REQUIRE_URING=1 check-$part FILTER='loop/*' && bad "check-$part with REQUIRE_URING=1 passes" || good
done

echo "tests: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
