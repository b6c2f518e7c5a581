/* SPDX-License-Identifier: MIT */
/* One stream of choices drives a schedule: whatever the simulated kernel, or a scenario, could do
 * in more than one way is a call of unri_choose().  0 is the kindest way.  A driver decides; what
 * it decided is written down, so that it can be replayed. */
#ifndef UNRI_SIM_CHOOSE_H
#define UNRI_SIM_CHOOSE_H

#include <stdint.h>
#include <unring/sim.h>

enum { UNRI_CHOICES_MAX = 4096 };

struct unri_choices {
    const struct unr_explore_options *options;
    unsigned                          count;      /* made in this schedule */
    unsigned                          given;      /* how many of them are dictated */
    unsigned                          deviations; /* how many are not 0 */
    uint16_t made[UNRI_CHOICES_MAX]; /* dictated below `given`, then what was decided */
    uint16_t of[UNRI_CHOICES_MAX];   /* among how many */
    uint64_t random;
    unsigned change_at[16]; /* UNR_PCT: where to deviate */
    unsigned typical_depth; /* UNR_PCT: of the schedules so far */
};

unsigned unri_choose(unsigned n);

void unri_choices_open(struct unri_choices *choices, const struct unr_explore_options *options);
/* Before each schedule. */
void unri_choices_begin(struct unri_choices *choices);
/* After it: prepares the next one; false: there is none. */
bool unri_choices_next(struct unri_choices *choices);
bool unri_choices_parse(struct unri_choices *choices, const char *text);
void unri_choices_print(const struct unri_choices *choices, char *text, size_t size);

#endif
