/* SPDX-License-Identifier: MIT */
/* One stream of choices drives a schedule: wherever the simulated kernel or a scenario could go on
 * in more than one way, it calls unri_choose().  0 is the kindest way.  A driver decides, and its
 * decisions are written down, so that the schedule can be replayed. */
#ifndef UNRI_SIM_CHOOSE_H
#define UNRI_SIM_CHOOSE_H

#include <stdint.h>
#include <unring/sim.h>

enum { UNRI_CHOICES_MAX = 4096 };

struct unri_choices {
    const struct unr_explore_options *options;
    unsigned                          count;      /* how many were made in this schedule */
    unsigned                          given;      /* how many are dictated to it */
    unsigned                          deviations; /* how many are not 0 */
    uint16_t made[UNRI_CHOICES_MAX];              /* those dictated, then those decided */
    uint16_t of[UNRI_CHOICES_MAX];                /* among how many each was made */
    uint64_t random;
    unsigned change_at[16]; /* UNR_PCT: the places of the deviations */
    unsigned typical_depth; /* UNR_PCT: the most choices that a schedule has had so far */
};

/* Chooses one of 0 to n - 1. */
unsigned unri_choose(unsigned n);

void unri_choices_open(struct unri_choices *choices, const struct unr_explore_options *options);

/* Before each schedule: makes these the choices that unri_choose() adds to. */
void unri_choices_begin(struct unri_choices *choices);

/* After each schedule: prepares the next one.  False: there is none. */
bool unri_choices_next(struct unri_choices *choices);

/* A schedule as a text, such as "0.1.0.2".  False: the text is none. */
bool unri_choices_parse(struct unri_choices *choices, const char *text);
void unri_choices_print(const struct unri_choices *choices, char *text, size_t size);

#endif
