/* SPDX-License-Identifier: MIT */
/* The stream of choices, and the drivers that make them: an odometer over all choices, a random
 * walk, PCT (probabilistic concurrency testing: a few deviations at random places), and replay.
 * explore.c runs the schedules that they drive. */
#include "choose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static struct unri_choices *current;

static uint64_t next_random(struct unri_choices *choices)
{
    /* splitmix64 */
    uint64_t z = choices->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static bool may_deviate(const struct unri_choices *choices)
{
    return !choices->options->deviations_max
           || choices->deviations < choices->options->deviations_max;
}

static bool is_change_point(const struct unri_choices *choices)
{
    for (unsigned i = 0; i < choices->options->deviations_max; i++)
        if (choices->change_at[i] == choices->count)
            return true;
    return false;
}

static unsigned decide(struct unri_choices *choices, unsigned n)
{
    switch (choices->options->driver) {
    case UNR_RANDOM: return (unsigned)(next_random(choices) % n);
    case UNR_PCT:
        return is_change_point(choices) ? 1 + (unsigned)(next_random(choices) % (n - 1)) : 0;
    default: return 0;
    }
}

unsigned unri_choose(unsigned n)
{
    struct unri_choices *choices = current;
    unsigned             at = choices->count;
    if (n < 2 || at >= choices->options->depth_max || at >= UNRI_CHOICES_MAX)
        return 0;
    unsigned made = at < choices->given ? choices->made[at] : decide(choices, n);
    if (made >= n)
        made = n - 1; /* a replay of another program's schedule */
    choices->made[at] = (uint16_t)made;
    choices->of[at] = (uint16_t)n;
    choices->count++;
    choices->deviations += made != 0;
    return made;
}

void unri_choices_open(struct unri_choices *choices, const struct unr_explore_options *options)
{
    memset(choices, 0, sizeof *choices);
    choices->options = options;
    choices->random = options->seed;
    choices->typical_depth = 16;
}

void unri_choices_begin(struct unri_choices *choices)
{
    current = choices;
    choices->count = 0;
    choices->deviations = 0;
    if (choices->options->driver == UNR_PCT)
        for (unsigned i = 0; i < choices->options->deviations_max; i++)
            choices->change_at[i] = (unsigned)(next_random(choices) % choices->typical_depth);
}

/* Turns the odometer: the last choice that has another value left takes it, and the choices behind
 * it begin again at 0. */
static bool next_combination(struct unri_choices *choices)
{
    unsigned at = choices->count;
    while (at > 0) {
        at--;
        choices->deviations -= choices->made[at] != 0;
        if (choices->made[at] + 1u < choices->of[at] && may_deviate(choices)) {
            choices->made[at]++;
            choices->given = at + 1;
            return true;
        }
    }
    return false;
}

bool unri_choices_next(struct unri_choices *choices)
{
    if (choices->count > choices->typical_depth)
        choices->typical_depth = choices->count;
    switch (choices->options->driver) {
    case UNR_EXHAUSTIVE: return next_combination(choices);
    case UNR_REPLAY: return false;
    default: return true;
    }
}

bool unri_choices_parse(struct unri_choices *choices, const char *text)
{
    choices->given = 0;
    while (*text && choices->given < UNRI_CHOICES_MAX) {
        char         *end;
        unsigned long value = strtoul(text, &end, 10);
        if (end == text || value > UINT16_MAX || (*end && *end != '.'))
            return false;
        choices->made[choices->given++] = (uint16_t)value;
        text = *end ? end + 1 : end;
    }
    return !*text;
}

/* Prints the choices up to the last deviation, with points between them.  All choices behind it are
 * 0, and a replay takes 0 wherever it is told no choice. */
void unri_choices_print(const struct unri_choices *choices, char *text, size_t size)
{
    unsigned count = choices->count;
    size_t   len = 0;
    while (count > 0 && choices->made[count - 1] == 0)
        count--;
    text[0] = 0;
    for (unsigned i = 0; i < count && len + 8 < size; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%u", i ? "." : "", choices->made[i]);
    if (count == 0)
        snprintf(text, size, "0");
}
