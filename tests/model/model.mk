# SPDX-License-Identifier: MIT
# The model checker: the inbox of a loop in every order of the accesses of three threads.  Part of the Makefile.
#
#   make check-model        what tests/model/inbox.c lists, in half a minute
#   make check-model-all    all of its programs, in a quarter of an hour

# The compiler puts a call in front of each access of these, for ThreadSanitizer; tests/model/model.c has what is called.
MODEL_WATCHED := lib/loop/inbox.c lib/loop/loop.c lib/loop/turn.c lib/loop/owner.c tests/model/inbox.c
MODEL_OBJECTS := $(patsubst %.c,$(BUILD)/model/%.o,$(MODEL_WATCHED) tests/model/model.c)
MODEL         := $(BUILD)/model/inbox

$(MODEL_WATCHED:%.c=$(BUILD)/model/%.o): private FLAGS = -fsanitize=thread -Dcalloc=model_calloc -Dfree=model_free
$(MODEL_OBJECTS): $(BUILD)/model/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC    $<)$(CC) $(filter-out $(SANITIZE),$(COMMON_FLAGS)) $(LIBRARY_FLAGS) $(CPPFLAGS) $(CFLAGS) $(FLAGS) -MMD -MP -c -o $@ $<
-include $(MODEL_OBJECTS:.o=.d)

$(MODEL): $(MODEL_OBJECTS)
	$(call say,LINK  $@)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(MODEL_OBJECTS) -pthread

.PHONY: check-model check-model-all
check-model: $(MODEL)
	@$(MODEL)
check-model-all: $(MODEL)
	@$(MODEL) --all
