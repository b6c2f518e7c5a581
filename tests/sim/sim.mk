# SPDX-License-Identifier: MIT
# The simulated kernel: libunring-sim, the scenarios that run on it, and what is done with them.  Part of the Makefile.
#
#   make check-sim          every scenario, all schedules or the first SCHEDULES; of older kernels the first 2000;
#                           SCENARIO='NAME...' picks some, with wildcards
#   make check-conformance  every outcome seen on the real kernel is one that the simulated kernel produces
#   make explore            at random and by PCT, for SECONDS
#   make mutants            breaks the library on purpose, in many ways, and sees each caught
#   make coverage           lines of lib/ and uring/ that the tests and the scenarios run, together

SIM_LIBRARY  := $(BUILD)/libunring-sim.a $(BUILD)/libunring-sim.so
SIM_SONAME   := $(subst libunring,libunring-sim,$(SONAME))
SIM_OBJECTS  := $(filter-out $(BUILD)/uring/enter.o $(BUILD)/lib/core/os.o $(BUILD)/lib/core/watchdog.o $(BUILD)/lib/fiber/stack.o $(BUILD)/lib/loop/thread_pool.o,$(LIBRARY_OBJECTS)) $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/sim/*.c))
SIM_EXAMPLES := $(patsubst %.c,$(BUILD)/%,$(wildcard examples/sim/*.c))

SCENARIO_OBJECTS := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/sim/scenarios/*.c))
REAL_OBJECTS     := $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/sim/real/*.c))
SCENARIOS        := $(BUILD)/tests/sim/scenarios/scenarios
SCENARIOS_REAL   := $(BUILD)/tests/sim/real/scenarios

SIM_ONLY := $(filter $(BUILD)/tests/%,$(SIM_OBJECTS)) $(SIM_EXAMPLES:=.o) $(SCENARIO_OBJECTS) $(REAL_OBJECTS)
$(filter $(BUILD)/tests/sim/%.o,$(SIM_ONLY)): private FLAGS = $(LIBRARY_FLAGS)
$(SIM_ONLY): $(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC    $<)$(CC) $(COMMON_FLAGS) $(FLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
-include $(SIM_ONLY:.o=.d)

$(BUILD)/libunring-sim.a: $(SIM_OBJECTS) $(BUILD)/sources
	@rm -f $@
	$(call say,AR    $@)$(AR) rcsD $@ $(SIM_OBJECTS)

$(BUILD)/libunring-sim.so: $(SIM_OBJECTS) lib/unring.map $(BUILD)/sources
	$(call say,LINK  $@)$(CC) $(SANITIZE) $(CFLAGS) $(LDFLAGS) $(subst $(SONAME),$(SIM_SONAME),$(SHARED_FLAGS)) -o $@ $(SIM_OBJECTS) -pthread

sim_link = $(call say,LINK  $@)$(CC) $(SANITIZE) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(1) -pthread

$(SCENARIOS): $(SCENARIO_OBJECTS) $(BUILD)/libunring-sim.a
	$(call sim_link)
$(SCENARIOS_REAL): $(SCENARIO_OBJECTS) $(REAL_OBJECTS) $(BUILD)/libunring.a
	$(call sim_link,$(URING_LIBS))
$(SIM_EXAMPLES): $(BUILD)/%: $(BUILD)/%.o $(BUILD)/libunring-sim.a
	$(call sim_link)

SCHEDULES ?= 1000000
SECONDS   ?= 60

.PHONY: sim check-sim check-conformance explore mutants coverage
sim: $(SIM_LIBRARY) $(SIM_EXAMPLES) $(SCENARIOS)

check-sim: sim
	@$(SCENARIOS) --schedules $(SCHEDULES) --quiet $(SCENARIO)
	@for kernel in 601 612; do $(SCENARIOS) --linux $$kernel --schedules 2000 --quiet $(SCENARIO) || exit 1; done
	@BUILD='$(BUILD)' CC='$(CC)' SANITIZE='$(or $(SANITIZE),-fsanitize=address)' tests/sim/sanitized
	@for example in $(SIM_EXAMPLES); do $$example >$$example.log || { cat $$example.log; exit 1; }; done

check-conformance: $(SCENARIOS) $(SCENARIOS_REAL) $(LEFT_OUT)
	@$(LEFT_OUT) conformance || BUILD='$(BUILD)' tests/sim/conformance --short

explore: $(SCENARIOS)
	@$(SCENARIOS) --driver random --schedules 2000 --seconds $$(($(SECONDS) / 2)) --seed $${SEED:-$$$$}
	@$(SCENARIOS) --driver pct --schedules 2000 --seconds $$(($(SECONDS) / 2)) --seed $${SEED:-$$$$}

mutants:
	@+BUILD='$(BUILD)' CC='$(CC)' MAKE='$(again)' tests/sim/mutants/run

coverage:
	@$(again) VARIANT=coverage CFLAGS='-O0 -g --coverage -DNDEBUG' LDFLAGS=--coverage check-programs sim
	@BUILD=build/coverage VARIANT=coverage SCHEDULES=20000 tests/sim/coverage
