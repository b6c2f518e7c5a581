# SPDX-License-Identifier: MIT
# Builds and runs the benchmarks, from the root of the repository: `make bench`, or
#     make -f tests/bench/bench.mk bench [ONLY="nop timers"] [ROUNDS=1]
# The library must have been built.  What other libraries there are to compare with is seen from their headers.

BUILD     ?= build/bench
BENCH_LIB ?= build/release/libunring.a
CFLAGS    ?= -O2 -g
CXXFLAGS  ?= $(CFLAGS)
ROUNDS    ?= 5
ONLY      ?= nop cancel timers deadline group compose channel fiber coroutine work lines write_all alone echo proxy memory instructions syscalls

here     := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
warnings := -Wall -Wextra

# The compiler $(1) finds the header $(2): yes, or nothing.
has = $(shell $(1) -E -include $(2) /dev/null >/dev/null 2>&1 && echo yes)

have_libuv      := $(call has,$(CC) -x c,uv.h)
have_libev      := $(call has,$(CC) -x c,ev.h)
have_asio_epoll := $(call has,$(CXX) -x c++,boost/asio.hpp)
have_asio_uring := $(call has,$(CXX) -x c++,boost/asio/detail/io_uring_service.hpp)
have_coroutines := $(call has,$(CXX) -x c++ -std=gnu++20,coroutine)
optional        := libuv libev asio_epoll asio_uring
present         := $(foreach library,$(optional),$(if $(have_$(library)),$(library)))
missing         := $(filter-out $(present),$(optional))

# Which workload exists for which library.
programs := load serve_haproxy cancel_receivers cancel_pooled lines_receivers lines_pooled echo \
    $(foreach library,unring liburing,nop_$(library) lines_$(library) write_all_$(library)) group_unring compose_unring channel_unring fiber_unring work_unring \
    $(patsubst %,channel_%,$(filter asio_%,$(present))) $(patsubst %,fiber_%,$(filter asio_%,$(present))) $(patsubst %,work_%,$(filter libuv asio_epoll,$(present))) \
    $(if $(have_coroutines),coroutine_unring $(patsubst %,coroutine_%,$(filter asio_%,$(present))) \
        $(patsubst asio_%,serve_awaitable_%,$(filter asio_%,$(present)))) \
    $(foreach library,unring liburing $(present),cancel_$(library) serve_$(library)) serve_fibers \
    $(foreach library,unring liburing $(filter-out libev,$(present)),deadline_$(library)) \
    $(foreach library,$(present),echo_$(library)) \
    $(foreach library,unring $(present),timers_$(library))
binaries := $(programs:%=$(BUILD)/%)
headers  := $(wildcard $(here)/*.h)
echo_sources := $(addprefix $(here)/,echo.c echo_liburing.c echo_epoll.c echo_unring.c)

bench: $(binaries)
	@$(if $(missing),echo "bench: not installed and left out: $(missing); 'make bench-deps' installs what is missing",:)
	@ROUNDS="$(ROUNDS)" ONLY="$(ONLY)" $(here)/run $(BUILD)

programs: $(binaries)

$(BENCH_LIB):
	@echo "bench: $(BENCH_LIB) is not there: build the library first (make), or say BENCH_LIB=..." >&2; exit 1

compile_c  = $(CC) $(CPPFLAGS) -D_GNU_SOURCE -std=gnu11 $(warnings) $(CFLAGS) $< -o $@
compile_cc = $(CXX) $(CPPFLAGS) -D_GNU_SOURCE -std=gnu++20 $(warnings) $(CXXFLAGS) $< -o $@

$(BUILD)/%_unring: $(here)/%_unring.c $(headers) $(BENCH_LIB) | $(BUILD)
	$(compile_c) -Iinclude $(BENCH_LIB) $(LDFLAGS) -luring -pthread

$(BUILD)/coroutine_unring: $(here)/coroutine_unring.cc include/unring.hpp $(headers) $(BENCH_LIB) | $(BUILD)
	$(compile_cc) -Iinclude $(BENCH_LIB) $(LDFLAGS) -luring -pthread

$(BUILD)/serve_fibers: $(here)/serve_fibers.c $(headers) $(BENCH_LIB) | $(BUILD)
	$(compile_c) -Iinclude $(BENCH_LIB) $(LDFLAGS) -luring -pthread

$(BUILD)/%_receivers: $(here)/%_unring.c $(headers) $(BENCH_LIB) | $(BUILD)
	$(compile_c) -DRECEIVERS -Iinclude $(BENCH_LIB) $(LDFLAGS) -luring -pthread

$(BUILD)/%_pooled: $(here)/%_unring.c $(headers) $(BENCH_LIB) | $(BUILD)
	$(compile_c) -DRECEIVERS -DPOOLED -Iinclude $(BENCH_LIB) $(LDFLAGS) -luring -pthread

$(BUILD)/echo: $(echo_sources) $(headers) $(BENCH_LIB) | $(BUILD)
	$(CC) $(CPPFLAGS) -D_GNU_SOURCE -std=gnu11 $(warnings) $(CFLAGS) $(echo_sources) -o $@ \
	    -Iinclude $(BENCH_LIB) $(LDFLAGS) -luring -pthread

# echo.c with the server of another library.
$(BUILD)/echo_peer.o: $(here)/echo.c $(headers) | $(BUILD)
	$(compile_c) -DPEER -c

echo_peers := $(foreach library,$(present),$(BUILD)/echo_$(library))
$(echo_peers): $(BUILD)/echo_peer.o
$(echo_peers): LDFLAGS := $(BUILD)/echo_peer.o $(LDFLAGS)

$(BUILD)/%_liburing: $(here)/%_liburing.c $(headers) | $(BUILD)
	$(compile_c) $(LDFLAGS) -luring

$(BUILD)/load: $(here)/load.c $(headers) | $(BUILD)
	$(compile_c) $(LDFLAGS) -luring

$(BUILD)/serve_haproxy: $(here)/serve_haproxy.c $(headers) | $(BUILD)
	$(compile_c) $(LDFLAGS)

$(BUILD)/%_libuv: $(here)/%_libuv.c $(headers) | $(BUILD)
	$(compile_c) $(LDFLAGS) -luv

$(BUILD)/%_libev: $(here)/%_libev.c $(headers) | $(BUILD)
	$(compile_c) $(LDFLAGS) -lev

$(BUILD)/%_asio_epoll: $(here)/%_asio.cc $(headers) | $(BUILD)
	$(compile_cc) $(LDFLAGS) -pthread

$(BUILD)/%_asio_uring: $(here)/%_asio.cc $(headers) | $(BUILD)
	$(compile_cc) -DBENCH_ASIO_URING $(LDFLAGS) -luring -pthread

# Asio's callbacks and its coroutines are two libraries, as far as the table is concerned.
$(BUILD)/serve_awaitable_epoll: $(here)/serve_awaitable.cc $(headers) | $(BUILD)
	$(compile_cc) $(LDFLAGS) -pthread

$(BUILD)/serve_awaitable_uring: $(here)/serve_awaitable.cc $(headers) | $(BUILD)
	$(compile_cc) -DBENCH_ASIO_URING $(LDFLAGS) -luring -pthread

$(BUILD):
	mkdir -p $@

.PHONY: bench programs
