# SPDX-License-Identifier: MIT
# unring: asynchronous I/O on io_uring.
#
#   make                 the library and the examples, in build/release/
#   make demo            build and run the demonstration
#   make check           the whole test suite, in about five minutes; REQUIRE_URING=1: nothing may be left out
#   make deps            install what these two need; each of them does so by itself when run as root
#
#   make install         PREFIX=/usr/local  LIBDIR=$(PREFIX)/lib  DESTDIR=
#   make uninstall       with the same settings
#
#   make stress          random cancellations, millions; SEED=N repeats a run
#   make fuzz            buffers, readers, frames, matches and receivers on hostile input, FUZZ_SECONDS=20 each; needs clang's libFuzzer
#   make check-sim       every scenario on the simulated kernel; make explore, mutants, check-conformance, coverage:
#                        see tests/sim/sim.mk
#   make check-model     the inbox of a loop, in every order of what three threads do with it
#   make check-kernel    the tests on Linux 6.1, 6.12 and the newest, emulated, an hour each: see tests/kernel/kernel.mk
#   make bench           against plain liburing and, after `make bench-deps`, against other libraries
#   make check-tests     the tests alone; FILTER='suite/test' picks some
#   make check-plain     the tests on the plainest ring, which older kernels have, instead of the best
#   make check-asan      the tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   make check-tsan      the tests under ThreadSanitizer (clang's, unless CC is given)
#   make check-valgrind  a part of the tests under valgrind; FILTER picks another
#   make check-ucontext  the tests of fibers, with stacks that swapcontext(3) switches: FIBER=ucontext
#   make check-headers   each public header alone, as C11, C++11 and C++20; and its comments
#   make check-gdb       gdb lists fibers and operations, of a process and of a stripped one, where gdb is installed
#   make check-cpp       unring.hpp: coroutines of C++20, on the kernel and on the simulated one, with each compiler
#   make check-exception exceptions of C++ that are thrown, caught and thrown again in fibers
#   make check-addresses thread-local variables in fibers, where library and program are optimised as a whole
#   make check-floors    no file of the library knows one of a higher floor; its README names what is there
#   make check-refused   the suite itself, tried where io_uring is refused
#   make check-install   the examples built against an installed library
#   make check-readme    what README.md shows compiles, runs and prints what it says
#   make compilers       compile with each gcc from 12 and clang from 14 on that is here, warnings being errors
#   make cross           compile for musl and for aarch64, and simulate there; `make cross-deps` installs what it needs
#   make format          lay the code out; `make format-check` only looks
#   make tidy            clang-tidy, and cppcheck where it is installed
#   make clean           remove build/
#
# CC, CPPFLAGS, CFLAGS and LDFLAGS are honoured; WERROR=1 turns warnings into errors; V=1 shows the commands.
# VARIANT=release|debug|asan|tsan|valgrind chooses how to build, and so the folder below build/.  LTO= switches the
# link-time optimisation of the release off.

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

VERSION := $(shell sed -n 's/^.define UNR_VERSION "\(.*\)"/\1/p' include/unring/common.h)
SONAME  := libunring.so.0.1

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR     ?= $(PREFIX)/bin

# gdb loads a script by itself that is here under the name of the library, if PREFIX is /usr; README has the line for others.
GDB_AUTOLOAD = $(PREFIX)/share/gdb/auto-load$(LIBDIR)

VARIANT ?= release
BUILD   ?= build/$(VARIANT)

# ---- what there is ----

HEADERS  := include/unring.h $(wildcard include/unring/*.h)
SOURCES  := $(wildcard lib/*/*.c uring/*.c)
ASSEMBLY := $(wildcard lib/*/*.S)
LIBRARY  := $(BUILD)/libunring.a $(BUILD)/libunring.so
EXAMPLES := $(patsubst %.c,$(BUILD)/%,$(filter-out examples/common.c,$(wildcard examples/*.c)))
EXAMPLES_CPP := $(patsubst %.cpp,$(BUILD)/%_cpp,$(wildcard examples/*.cpp))
TESTS    := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/test_*.c))
STRESS   := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/stress/*.c))
FUZZ     := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c))
TOOLS    := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/tools/*.c))

# What every example, and what every test, is linked with besides its own file.
EXAMPLE_COMMON := $(patsubst %.c,$(BUILD)/%.o,$(wildcard examples/common.c))
TEST_COMMON    := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/test_%,$(wildcard tests/*.c)))

LIBRARY_OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(ASSEMBLY:%.S=$(BUILD)/%.o)
EXAMPLE_OBJECTS := $(EXAMPLES:=.o) $(EXAMPLE_COMMON)
TEST_OBJECTS    := $(TESTS:=.o) $(STRESS:=.o) $(FUZZ:=.o) $(TOOLS:=.o) $(TEST_COMMON)
OBJECTS         := $(LIBRARY_OBJECTS) $(EXAMPLE_OBJECTS) $(TEST_OBJECTS)

# ---- how it is built ----

PKG_CONFIG ?= pkg-config

URING_CFLAGS     := $(shell $(PKG_CONFIG) --cflags liburing 2>/dev/null)
URING_LIBS       := $(or $(shell $(PKG_CONFIG) --libs liburing 2>/dev/null),-luring)
CRITERION_CFLAGS := $(shell $(PKG_CONFIG) --cflags criterion 2>/dev/null)
CRITERION_LIBS   := $(or $(shell $(PKG_CONFIG) --libs criterion 2>/dev/null),-lcriterion)

# The sanitizers see neither what the kernel does nor a fault that they were told to survive.
SANITIZE_asan := -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZE_tsan := -fsanitize=thread
SANITIZE_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
SANITIZE      := $(SANITIZE_$(VARIANT))

# A process of a test is short, and loading these libraries a good part of it.  clang's are static anyway.
STATIC_asan := $(if $(findstring clang,$(CC)),,-static-libasan -static-libubsan)

ifneq ($(filter tsan-default fuzz-default,$(VARIANT)-$(origin CC)),)
CC := clang
endif

# The defaults of what the caller may set.
CFLAGS_release  := -O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
CFLAGS_debug    := -O0 -g3
CFLAGS_asan     := -O1 -g -fno-omit-frame-pointer
CFLAGS_tsan     := -O1 -g -fno-omit-frame-pointer
CFLAGS_fuzz     := -O1 -g -fno-omit-frame-pointer
CFLAGS_valgrind := -O1 -g -gdwarf-4

CFLAGS  ?= $(CFLAGS_$(VARIANT))
LDFLAGS ?= -Wl,-z,relro,-z,now

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
            -Wpointer-arith -Wwrite-strings -Wundef -Wvla -Wformat=2 $(if $(WERROR),-Werror)

# A frame that is larger than the guard of a fiber's stack touches it all the same.  On aarch64 gcc takes guards for 64 KiB
# unless it is told of a page of 4 KiB; clang knows no such setting.
GUARD_OF_A_PAGE := --param=stack-clash-protection-guard-size=12
CLASH := -fstack-clash-protection $(shell $(CC) -Werror $(GUARD_OF_A_PAGE) -c -x c /dev/null -o /dev/null 2>/dev/null && echo $(GUARD_OF_A_PAGE))

# The build is reproducible: it does not depend on the folder that it happens in.
COMMON_FLAGS := -std=gnu11 -Iinclude $(WARNINGS) $(SANITIZE) -fstack-protector-strong \
                -ffile-prefix-map=$(CURDIR)=. -pthread $(CLASH)
# FIBER=ucontext: stacks are switched by swapcontext(3) instead of by assembly.
FIBER_FLAGS   := $(if $(filter ucontext,$(FIBER)),-DUNRI_UCONTEXT)
LIBRARY_FLAGS := -D_GNU_SOURCE $(FIBER_FLAGS) -Wconversion -fPIC -fvisibility=hidden -fno-semantic-interposition $(URING_CFLAGS)
TEST_FLAGS    := -D_GNU_SOURCE $(URING_CFLAGS) $(CRITERION_CFLAGS)

# In the library everything that it uses must be found; the sanitizers' own functions are found later.
SHARED_FLAGS := -shared -Wl,-soname,$(SONAME) -Wl,--version-script=lib/unring.map $(if $(SANITIZE),,-Wl,-z,defs)

# gcc optimises the release as a whole.  Its archive holds one object of plain machine code, so a program gains whatever
# compiler links it.  (clang 14 cannot make such an object.)  The objects of the single files are fat: they have machine
# code too, for libunring-sim and for tests/test_floors.sh.
WHOLE := -r -flinker-output=nolto-rel
ifeq ($(VARIANT)-$(origin LTO),release-undefined)
LTO := $(shell $(CC) -flto -ffat-lto-objects $(WHOLE) -E -x c /dev/null >/dev/null 2>&1 && \
    echo -flto=auto -flto-partition=one -ffat-lto-objects)
endif

ifdef V
say :=
else
say = @echo '  $(1)';
endif

.PHONY: all lib
all: lib $(EXAMPLES) $(EXAMPLES_CPP)
lib: $(LIBRARY)

$(LIBRARY_OBJECTS): private FLAGS = $(LIBRARY_FLAGS) $(LTO)
$(TEST_OBJECTS):    private FLAGS = $(TEST_FLAGS)
# The optimiser takes longer over the tests than everything else together, and they wait for the kernel in any case.
ifeq ($(origin CFLAGS),file)
$(TESTS:=.o):       private CFLAGS := $(filter-out -D_FORTIFY_SOURCE=%,$(patsubst -O%,-O0,$(CFLAGS)))
endif
# It switches stacks, which the sanitizers are told and do not see.
$(BUILD)/lib/fiber/switch.o: private SANITIZE :=
# It compares the addresses of conditions with those that a program sees, which in one that is not PIE are its own.
$(BUILD)/lib/combine/group.o: private FLAGS = $(filter-out -fno-semantic-interposition,$(LIBRARY_FLAGS)) $(LTO)

$(filter-out $(ASSEMBLY:%.S=$(BUILD)/%.o),$(OBJECTS)): $(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC    $<)$(CC) $(COMMON_FLAGS) $(FLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(filter %.o,$(ASSEMBLY:%.S=$(BUILD)/%.o)): $(BUILD)/%.o: %.S $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,AS    $<)$(CC) $(FIBER_FLAGS) $(CPPFLAGS) -g -MMD -MP -c -o $@ $<

$(BUILD)/unring.o: $(LIBRARY_OBJECTS) $(BUILD)/sources
	$(call say,LINK  $@)$(CC) $(COMMON_FLAGS) $(LIBRARY_FLAGS) $(CFLAGS) $(LTO) $(WHOLE) -o $@ $(LIBRARY_OBJECTS)

ARCHIVED := $(if $(LTO),$(BUILD)/unring.o,$(LIBRARY_OBJECTS))
$(BUILD)/libunring.a: $(ARCHIVED) $(BUILD)/sources
	@rm -f $@
	$(call say,AR    $@)$(AR) rcsD $@ $(ARCHIVED)

$(BUILD)/libunring.so: $(LIBRARY_OBJECTS) lib/unring.map $(BUILD)/sources
	$(call say,LINK  $@)$(CC) $(COMMON_FLAGS) $(LIBRARY_FLAGS) $(CFLAGS) $(LTO) $(LDFLAGS) $(SHARED_FLAGS) -o $@ $(LIBRARY_OBJECTS) $(URING_LIBS)

link = $(call say,LINK  $@)$(CC) $(SANITIZE) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(1) $(URING_LIBS) -pthread

$(EXAMPLES): $(BUILD)/%: $(BUILD)/%.o $(EXAMPLE_COMMON) $(BUILD)/libunring.a
	$(call link,-lm)

# Left out where the C++ compiler has no coroutines of C++20, or there is none.  A sanitizer's library is its compiler's.
has_coroutines = command -v $(firstword $(CXX)) && echo '\#include <coroutine>' | $(CXX) -x c++ -std=c++20 -E -
CXX_VARIANT    = $(if $(and $(SANITIZE),$(findstring clang,$(firstword $(CC)))),clang++,$(CXX))

$(EXAMPLES_CPP): $(BUILD)/%_cpp: %.cpp include/unring.hpp $(HEADERS) $(EXAMPLE_COMMON) $(BUILD)/libunring.a
	@if ! { $(has_coroutines); } >/dev/null 2>&1; then \
		echo "$<: skipped: no $(firstword $(CXX)) here that has the coroutines of C++20"; \
	else $(if $(V),set -x,echo '  CXX   $<'); \
		$(CXX_VARIANT) -std=c++20 -Wall -Wextra $(if $(WERROR),-Werror) $(SANITIZE) -Iinclude $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) \
			-ffile-prefix-map=$(CURDIR)=. -o $@ $(filter %.cpp %.o %.a,$^) -lm $(URING_LIBS) -pthread; \
	fi

$(TESTS): private LDFLAGS += $(STATIC_$(VARIANT))
$(TESTS): $(BUILD)/%: $(BUILD)/%.o $(TEST_COMMON) $(BUILD)/libunring.a
	$(call link,$(CRITERION_LIBS) -lm)

$(STRESS) $(TOOLS): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libunring.a
	$(call link)

$(FUZZ): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libunring.a
	$(call link,-fsanitize=fuzzer)

-include $(OBJECTS:.o=.d)

# Two stamps, written only when what they hold has changed: other flags rebuild everything, another list of
# files the libraries.  Where nothing has changed nothing is written, as two makes may look at the same time.
$(BUILD)/flags: stamp := $(CC) $(COMMON_FLAGS) $(LIBRARY_FLAGS) $(LTO) $(TEST_FLAGS) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS)
$(BUILD)/sources: stamp := $(SOURCES) $(ASSEMBLY) $(SONAME)
has_changed = $(subst x$(strip $(file <$@)),,x$(strip $(stamp)))
$(BUILD)/flags $(BUILD)/sources: FORCE | $(BUILD)/
	@$(if $(has_changed),$(file >$@.new,$(stamp))$(seek_liburing) && mv $@.new $@,:)
$(BUILD)/:
	@mkdir -p $@

# Looked for once, before the first file is compiled: the compiler's own words would come from each of them.
define seek_liburing
{ $(CC) $(URING_CFLAGS) $(CPPFLAGS) -E -include liburing.h -x c /dev/null >/dev/null || { \
	printf 'unring is built with a C compiler and liburing.  As root, this line installs them on Debian and Ubuntu:\n\n    %s\n\n' \
		'apt-get update && apt-get install -y $(DEMO_PACKAGES)' >&2; exit 1; }; }
endef

.PHONY: FORCE clean help
FORCE:

clean:
	rm -rf build

help:
	@sed -n '/SPDX/d; /^$$/q; s/^# \{0,1\}//p' Makefile

# ---- what it needs ----

DEMO_PACKAGES  := gcc libc6-dev pkg-config liburing-dev
CHECK_PACKAGES := $(DEMO_PACKAGES) g++ libcriterion-dev socat curl
TSAN_PACKAGES  := clang libclang-rt-dev
CROSS_PACKAGES := musl-tools gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user
BENCH_PACKAGES := g++ libuv1-dev libboost1.81-dev libev-dev haproxy strace valgrind

has_uring     = $(PKG_CONFIG) --exists liburing && $(CC) -E -include liburing.h -x c /dev/null
has_criterion = $(PKG_CONFIG) --exists criterion && $(CC) -E -include criterion/criterion.h -x c /dev/null
has_clients   = command -v socat && command -v curl
has_tsan      = echo 'int main(void) { return 0; }' | clang -fsanitize=thread -o /dev/null -x c -
has_cross     = command -v musl-gcc && command -v qemu-aarch64 && aarch64-linux-gnu-gcc -E -include stdio.h -x c /dev/null

# $(call need,COMMAND,PACKAGES) installs the packages, or says how, unless the command succeeds.
define need
	@if { $(1); } >/dev/null 2>&1; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get -q update; \
		DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $(2); \
	else \
		printf 'Something is missing.  As root, this line installs it on Debian and Ubuntu:\n\n    %s\n\n' \
			'apt-get update && apt-get install -y $(2)' >&2; exit 1; \
	fi
endef

.PHONY: deps demo-deps tsan-deps valgrind-deps cross-deps bench-deps ci-deps
demo-deps:
	$(call need,$(has_uring),$(DEMO_PACKAGES))
deps:
	$(call need,$(has_uring) && $(has_criterion) && command -v $(CXX) && $(has_clients),$(CHECK_PACKAGES))
tsan-deps:
	$(call need,$(has_tsan),$(TSAN_PACKAGES))
valgrind-deps:
	$(call need,command -v valgrind,valgrind)
cross-deps:
	$(call need,$(has_cross),$(CROSS_PACKAGES))
bench-deps:
	$(call need,false,$(BENCH_PACKAGES))
ci-deps: deps tsan-deps valgrind-deps cross-deps
	$(call need,command -v $(CLANG_FORMAT),clang-format-14)

# ---- run it ----

# A target that may install packages goes on in a make of its own, which finds them.
again = $(MAKE) --no-print-directory $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: demo check kernel-programs check-programs check-tests check-exception check-addresses check-cpp check-gdb check-demo check-proxy check-fibers check-echo check-headers check-install check-floors check-readme
.PHONY: check-plain check-asan check-tsan check-valgrind check-ucontext check-refused
demo: demo-deps
	@+$(again) $(BUILD)/examples/demo
	@$(BUILD)/examples/demo

# What needs io_uring is left out where that is refused, each part with a line that says so, unless REQUIRE_URING is set.
LEFT_OUT := $(BUILD)/tests/tools/left_out

# Most parts keep one core busy, so there are two rows of them, which take about as long.  What the second row prints is shown
# behind the first.
ROW        := tests floors exception addresses cpp gdb demo proxy fibers echo stress headers
ROW_BESIDE := sim model install

check: deps
	@+$(again) check-programs $(MODEL)
	@+$(again) check-rows
	@$(LEFT_OUT) "make check: what needs io_uring" || :
	@echo "make check: passed"

# $(call run_parts,PARTS): those that fail are listed in a file.
run_parts = for part in $(1); do echo "== $$part"; $(MAKE) --no-print-directory check-$$part || echo $$part >>$(BUILD)/failed; done

.PHONY: check-rows check-row check-row-beside
check-rows:
	@rm -f $(BUILD)/failed
	@+$(again) check-row check-row-beside
	@cat $(BUILD)/beside.log
	@if [ -e $(BUILD)/failed ]; then echo "make check: failed:" $$(cat $(BUILD)/failed); exit 1; fi
check-row:
	@+$(call run_parts,$(ROW))
check-row-beside:
	@+{ $(call run_parts,$(ROW_BESIDE)); } >$(BUILD)/beside.log 2>&1

# What runs on the kernel, and what is simulated.
kernel-programs: lib $(EXAMPLES) $(EXAMPLES_CPP) $(TESTS) $(STRESS) $(TOOLS)
check-programs: kernel-programs sim

check-tests: $(EXAMPLES) $(TESTS)
	@BUILD='$(BUILD)' CC='$(CC)' VARIANT='$(VARIANT)' FILTER='$(FILTER)' tests/run $(TESTS)

# ThreadSanitizer has nothing to look at in a suite of one thread.  The threads of test_table touch no loop.
THREADED_SUITES = $(filter-out table,$(shell grep -lE 'pthread_create|\<fork\>|unr_work|unr_resolve' tests/test_*.c | sed 's|.*/test_||; s|\.c$$||'))
check-tsan: private SUITES = TESTS='$(THREADED_SUITES:%=build/tsan/tests/test_%)'
check-tsan: tsan-deps
# gcc's looks for frames that are used behind their return only when it is asked to.
check-asan: export ASAN_OPTIONS := detect_stack_use_after_return=1:$(ASAN_OPTIONS)
check-asan check-tsan: check-%: deps
	@+$(again) VARIANT=$* kernel-programs $(SUITES)
	@+$(again) VARIANT=$* check-rows ROW=tests ROW_BESIDE='cpp demo proxy fibers echo stress' $(SUITES)

# The tests of test_table run on either kind of ring in any case.
check-plain: deps
	@+$(again) check-tests UNRING_TEST_PLAIN=1 TESTS='$(filter-out %/test_table,$(TESTS))'

# Stacks that are switched by swapcontext(3), as on processors for which there is no assembly: the suites of fibers, and what is
# simulated of them.
UCONTEXT_SUITES := fiber cancel_scope nursery generator sync stack watchdog
check-ucontext: deps
	@+$(again) VARIANT=ucontext FIBER=ucontext CFLAGS='$(CFLAGS_release)' check-switched EXAMPLES= \
		TESTS='$(UCONTEXT_SUITES:%=build/ucontext/tests/test_%)'

.PHONY: check-switched
check-switched: check-tests check-exception cross-scenarios
	@$(SCENARIOS) --quiet --schedules 2000 'fibers/*' 'cancel-scopes/*' 'nurseries/*' 'generators/*'

# About a second a test, so not all of them: each of these suites is a program.  Of fibers a single program.
VALGRIND_SUITES := op signal loop timer
check-valgrind: deps valgrind-deps
	@+$(again) VARIANT=valgrind check-tests EXAMPLES= $(if $(FILTER),,TESTS='$(VALGRIND_SUITES:%=$$(BUILD)/tests/test_%)')
	@+$(if $(FILTER),,$(again) VARIANT=valgrind check-exception UNDER='valgrind --error-exitcode=99 --leak-check=full')

check-demo: $(BUILD)/examples/demo $(LEFT_OUT)
	@$(LEFT_OUT) demo || { timeout 120 $< >$(BUILD)/demo.log 2>&1 && echo "demo: every count balances"; } || \
		{ cat $(BUILD)/demo.log; echo "demo: failed"; exit 1; }

check-proxy: $(BUILD)/examples/proxy $(BUILD)/examples/udp_echo $(LEFT_OUT)
	@tests/test_proxy.sh $(BUILD)/examples/proxy $(LEFT_OUT)
	@tests/test_udp_echo.sh $(BUILD)/examples/udp_echo $(LEFT_OUT)

FIBER_EXAMPLES := $(patsubst %,$(BUILD)/examples/%,step5_fiber step6_fiber step7_fiber step8_fiber step8_scope fiber_proxy fiber_server chat pipeline fetch)

check-fibers: $(LEFT_OUT) $(FIBER_EXAMPLES)
	@tests/test_fibers.sh $(BUILD)/examples $<

check-echo: $(EXAMPLES_CPP) $(LEFT_OUT)
	@tests/test_echo.sh $(BUILD)/examples/echo_cpp $(LEFT_OUT)

check-gdb: lib $(LEFT_OUT)
	@LEFT_OUT='$(LEFT_OUT)' BUILD='$(BUILD)' CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' tests/test_gdb.sh

check-exception: lib $(LEFT_OUT)
	@UNDER='$(UNDER)' LEFT_OUT='$(LEFT_OUT)' BUILD='$(BUILD)' CXX='$(CXX)' PKG_CONFIG='$(PKG_CONFIG)' tests/test_exception.sh

check-addresses: $(LEFT_OUT)
	@LEFT_OUT='$(LEFT_OUT)' BUILD='$(BUILD)' CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' tests/test_addresses.sh

check-cpp: lib $(BUILD)/libunring-sim.a $(LEFT_OUT)
	@LEFT_OUT='$(LEFT_OUT)' BUILD='$(BUILD)' CC='$(CC)' CXX='$(CXX)' SANITIZE='$(SANITIZE)' PKG_CONFIG='$(PKG_CONFIG)' tests/test_cpp.sh

# The suite itself, tried where io_uring is refused.
check-refused: check-programs
	@MAKE='$(MAKE)' BUILD='$(BUILD)' tests/test_refused.sh

check-floors: lib
	@tests/test_floors.sh $(BUILD)
	@tests/test_names.sh

check-headers:
	@tests/test_headers.sh $(HEADERS)
	@tests/test_comments.sh $(HEADERS)

check-install: lib check-readme $(LEFT_OUT)
	@LEFT_OUT='$(LEFT_OUT)' MAKE='$(MAKE)' CC='$(CC)' CXX='$(CXX)' VERSION='$(VERSION)' SONAME='$(SONAME)' PKG_CONFIG='$(PKG_CONFIG)' BUILD='$(BUILD)' \
		tests/test_install.sh

check-readme: lib
	@MAKE='$(MAKE)' CC='$(CC)' CXX='$(CXX)' PKG_CONFIG='$(PKG_CONFIG)' BUILD='$(BUILD)' tests/test_readme.sh

# ---- stress and speed ----

# $(call run_stress,SETTINGS): every program of tests/stress/ reads SEED, and with SHORT set takes seconds.
define run_stress
seed=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; \
for program in $(STRESS); do \
	echo "SEED=$$seed $$program"; \
	env SEED=$$seed $(1) $$program || { echo "failed: make $@ VARIANT=$(VARIANT) SEED=$$seed"; exit 1; }; \
done
endef

.PHONY: stress check-stress bench
stress: $(STRESS)
	@$(call run_stress,timeout 3600)

check-stress: $(STRESS) $(LEFT_OUT)
	@$(LEFT_OUT) stress || { $(call run_stress,SHORT=1 timeout 120); }

# What a target finds new is kept in build/fuzz/corpus/, and an input that fails beside it: run the program on that alone.
FUZZ_SECONDS ?= 20
has_fuzzer    = echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | clang -fsanitize=fuzzer,address -o /dev/null -x c -

.PHONY: fuzz run-fuzz
fuzz:
	@+if ! { $(has_fuzzer); } >/dev/null 2>&1; then \
		echo "fuzz: skipped: no clang with libFuzzer here; make tsan-deps installs it"; \
	else $(again) VARIANT=fuzz run-fuzz; fi

run-fuzz: $(FUZZ)
	@printf '%s\n' $(FUZZ) | xargs -n 1 -P $$(nproc) sh -c ' \
		program=$$0; name=$${program##*/fuzz_}; corpus=$(BUILD)/corpus/$$name; mkdir -p $$corpus; \
		$$program -max_total_time=$(FUZZ_SECONDS) -len_control=10 -timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 \
			-artifact_prefix=$(BUILD)/corpus/$$name- $$corpus tests/fuzz/corpus/$$name >$(BUILD)/$$name.log 2>&1 || { \
			tail -40 $(BUILD)/$$name.log; echo "fuzz: $$name: failed; the input: $$(ls $(BUILD)/corpus/$$name-* | tail -1)"; \
			exit 1; }; \
		echo "fuzz: $$name: $$(sed -n "s/.*number_of_executed_units: *//p" $(BUILD)/$$name.log) inputs," \
			"$$(ls $$corpus | wc -l) kept"'

bench: lib
	@$(MAKE) --no-print-directory -f tests/bench/bench.mk bench BUILD='$(BUILD)/bench' BENCH_LIB='$(BUILD)/libunring.a'

include tests/sim/sim.mk
include tests/model/model.mk
include tests/kernel/kernel.mk

# ---- other compilers ----

# Neither compiler may search the host's headers, so a folder of links shows it those of liburing, and to musl-gcc, which
# brings none, those of the kernel.
host_header = $(filter %/$(1),$(shell $(CC) -M -include liburing.h -x c /dev/null))
host_liburing = $(call host_header,liburing.h) $(patsubst %.h,%,$(call host_header,liburing.h))
host_kernel   = $(patsubst %/types.h,%,$(foreach part,linux asm asm-generic,$(call host_header,$(part)/types.h)))

# $(call cross_compile,VARIANT,COMPILER,HEADERS,EMULATOR): all of the library, and the scenarios, which run.  No emulator of a
# processor alone has io_uring; the simulated kernel needs none.
define cross_compile
	@+if ! command -v $(2) >/dev/null; then echo "cross: skipped: no $(2) here; make cross-deps installs it"; exit 0; fi; \
	rm -rf build/$(1)/include && mkdir -p build/$(1)/include && ln -s $(3) build/$(1)/include && \
	$(MAKE) --no-print-directory objects cross-scenarios VARIANT=$(1) CC=$(2) CPPFLAGS='-isystem build/$(1)/include' \
		CFLAGS='$(CFLAGS_release)' LDFLAGS=-static && \
	echo "cross: $(2): compiled" && \
	if $(if $(4),! command -v $(4) >/dev/null,false); then echo "cross: skipped: no $(4) here; make cross-deps installs it"; exit 0; fi; \
	run="$(4) build/$(1)/tests/sim/scenarios/scenarios --quiet --schedules" && \
	$$run 20 '[!fls]*' && $$run 500 'fibers/*' 'cancel-scopes/*' 'nurseries/*' 'generators/*' 'work/*'
endef

# Every compiler of these that is here sees every file, and only looks at it.
COMPILERS := gcc-12 gcc-13 gcc-14 clang-14 clang-15 clang-16 clang-17 clang-18 clang-19

.PHONY: compilers compilers-deps
compilers:
	@failed=; \
	for compiler in $(COMPILERS); do \
		if ! command -v $$compiler >/dev/null; then echo "compilers: skipped: no $$compiler here; make compilers-deps"; continue; fi; \
		if [ "$$(realpath "$$(command -v $$compiler)")" = "$$(realpath "$$(command -v $(CC))")" ]; then echo "compilers: $$compiler is $(CC), which builds everything"; continue; fi; \
		if $(MAKE) --no-print-directory -s look CC=$$compiler CPPFLAGS= CFLAGS='$(CFLAGS_release)' WERROR=1; \
		then echo "compilers: $$compiler: no warnings"; else echo "compilers: $$compiler: failed"; failed=1; fi; \
	done; \
	[ ! "$$failed" ]

# Those that this Debian has, whichever they are.
compilers-deps:
	$(call need,false,$$(for compiler in $(COMPILERS) $(patsubst gcc%,g++%,$(filter gcc%,$(COMPILERS))); do \
		apt-cache show $$compiler >/dev/null 2>&1 && echo $$compiler; done))

# The compiler for C++ that belongs to $(CC) sees unring.hpp.
look_cxx = $(patsubst clang%,clang++%,$(patsubst gcc%,g++%,$(CC)))

.PHONY: look
look:
	@for file in $(SOURCES) $(wildcard tests/sim/*.c tests/sim/scenarios/*.c tests/sim/real/*.c); do \
		echo $$file; done | xargs -P $$(nproc) -n 8 $(CC) $(COMMON_FLAGS) $(LIBRARY_FLAGS) $(CPPFLAGS) $(CFLAGS) -fsyntax-only
	@for file in $(wildcard examples/*.c examples/sim/*.c tests/*.c tests/tools/*.c tests/stress/*.c tests/fuzz/*.c tests/model/*.c); do \
		echo $$file; done | xargs -P $$(nproc) -n 8 $(CC) $(COMMON_FLAGS) $(TEST_FLAGS) $(CPPFLAGS) $(CFLAGS) -fsyntax-only
	@if ! command -v $(look_cxx) >/dev/null; then echo "compilers: skipped: no $(look_cxx) here; make compilers-deps"; exit 0; fi; \
	printf '%s\n' examples/first.cpp examples/echo.cpp tests/test_cpp.cc tests/test_cpp_sim.cc | \
		xargs -P $$(nproc) -n 1 $(look_cxx) -std=c++20 -Wall -Wextra -Wshadow -Werror -Iinclude $(CPPFLAGS) -fsyntax-only

.PHONY: cross objects cross-scenarios
cross:
	$(call cross_compile,musl,musl-gcc,$(host_liburing) $(host_kernel))
	$(call cross_compile,aarch64,aarch64-linux-gnu-gcc,$(host_liburing),qemu-aarch64)

objects: $(LIBRARY_OBJECTS)
cross-scenarios: $(SCENARIOS)

# ---- install ----

define pc_file
prefix=$(PREFIX)
libdir=$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))
includedir=$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))

Name: $(1)
Description: $(2)
Version: $(VERSION)
Requires.private:$(3)
Libs: -L$${libdir} -l$(1)
Libs.private: -pthread
Cflags: -I$${includedir}
endef

unring_pc     = $(call pc_file,unring,Asynchronous I/O on io_uring in which every operation can be cancelled on its own, liburing)
unring_sim_pc = $(call pc_file,unring-sim,unring on a simulated kernel: explores the races of the code that uses it,)

# $(call install_library,NAME,SONAME)
define install_library
	install -m 644 $(BUILD)/$(1).a '$(DESTDIR)$(LIBDIR)'
	install -m 755 $(BUILD)/$(1).so '$(DESTDIR)$(LIBDIR)/$(1).so.$(VERSION)'
	ln -sf $(1).so.$(VERSION) '$(DESTDIR)$(LIBDIR)/$(2)'
	ln -sf $(2) '$(DESTDIR)$(LIBDIR)/$(1).so'
endef

# A program starts once the loader finds the library.  A package's files are not on their system yet.
tell_loader = $(if $(DESTDIR),,@if [ "$$(id -u)" = 0 ]; then PATH=$$PATH:/sbin:/usr/sbin; ldconfig || true; fi)

# What a user has to say besides, where the loader does not search LIBDIR.
define say_how_to_link
	@PATH=$$PATH:/sbin:/usr/sbin; \
	command -v ldconfig >/dev/null || exit 0; \
	for found in $$(ldconfig -p | sed -n 's/.*$(SONAME) .*=> //p'); do \
		if [ "$$found" -ef '$(LIBDIR)/$(SONAME)' ]; then exit 0; fi; \
	done; \
	printf '%s\n' '' 'The loader does not search $(LIBDIR).  A program is compiled and started with:' '' \
		'    export PKG_CONFIG_PATH=$(LIBDIR)/pkgconfig' \
		'    cc x.c $$(pkg-config --cflags --libs unring) -Wl,-rpath,$(LIBDIR) -o x && ./x'
endef

FEATURES := $(BUILD)/examples/features

.PHONY: install uninstall
install: lib $(SIM_LIBRARY) $(FEATURES)
	install -d '$(DESTDIR)$(INCLUDEDIR)/unring' '$(DESTDIR)$(LIBDIR)/pkgconfig' '$(DESTDIR)$(BINDIR)'
	install -m 644 include/unring.h include/unring.hpp '$(DESTDIR)$(INCLUDEDIR)'
	install -m 644 include/unring/*.h '$(DESTDIR)$(INCLUDEDIR)/unring'
	$(call install_library,libunring,$(SONAME))
	$(call install_library,libunring-sim,$(SIM_SONAME))
	$(file >$(BUILD)/unring.pc,$(unring_pc))$(file >$(BUILD)/unring-sim.pc,$(unring_sim_pc))
	install -m 644 $(BUILD)/unring.pc $(BUILD)/unring-sim.pc '$(DESTDIR)$(LIBDIR)/pkgconfig'
	install -m 755 $(FEATURES) '$(DESTDIR)$(BINDIR)/unring-features'
	install -d '$(DESTDIR)$(GDB_AUTOLOAD)'
	install -m 644 lib/unring-gdb.py '$(DESTDIR)$(GDB_AUTOLOAD)/libunring.so.$(VERSION)-gdb.py'
	$(tell_loader)
	$(if $(DESTDIR),,$(say_how_to_link))

uninstall:
	rm -rf '$(DESTDIR)$(INCLUDEDIR)/unring'
	rm -f '$(DESTDIR)$(INCLUDEDIR)/unring.h' '$(DESTDIR)$(INCLUDEDIR)/unring.hpp' $(patsubst %,'$(DESTDIR)$(LIBDIR)/pkgconfig/%.pc',unring unring-sim)
	rm -f $(patsubst %,'$(DESTDIR)$(LIBDIR)/%',libunring.a libunring.so $(SONAME) libunring.so.$(VERSION) \
		libunring-sim.a libunring-sim.so $(SIM_SONAME) libunring-sim.so.$(VERSION))
	rm -f '$(DESTDIR)$(BINDIR)/unring-features' '$(DESTDIR)$(GDB_AUTOLOAD)/libunring.so.$(VERSION)-gdb.py'
	$(tell_loader)

# ---- the look of the code ----

C_FILES = $(HEADERS) include/unring.hpp $(shell find lib uring examples tests -name '*.[ch]' -o -name '*.cpp')

# The version whose layout this is; a later one breaks lines elsewhere.
CLANG_FORMAT ?= clang-format-14
CLANG_TIDY   ?= clang-tidy

.PHONY: format format-check tidy
format:
	$(CLANG_FORMAT) -i $(C_FILES)

format-check:
	@[ "$$(.ci/run --list)" = "$$(sed -n 's/^          - //p' .github/workflows/ci.yml)" ] || \
		{ echo "format: the stages of .github/workflows/ci.yml are not those of .ci/run --list"; exit 1; }
	@printf '%s\n' $(C_FILES) | xargs -n 8 -P $$(nproc) sh -c ' \
		for file; do \
			$(CLANG_FORMAT) $$file | cmp -s - $$file || { echo "format: $$file wants make format"; failed=1; }; \
		done; \
		[ ! "$$failed" ]' sh

tidy:
	@if command -v $(CLANG_TIDY) >/dev/null; then \
		$(CLANG_TIDY) --quiet $(SOURCES) -- $(COMMON_FLAGS) $(LIBRARY_FLAGS); \
	else echo "tidy: skipped: no $(CLANG_TIDY) here"; fi
	@if command -v cppcheck >/dev/null; then \
		cppcheck -q --error-exitcode=1 --enable=warning,portability --inline-suppr -Iinclude -D_GNU_SOURCE $(SOURCES); \
	else echo "tidy: skipped: no cppcheck here"; fi
