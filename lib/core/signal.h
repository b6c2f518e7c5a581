/* SPDX-License-Identifier: MIT */
/* Slots, as operations use them; the public functions of slots and signals are in
 * <unring/cancel.h>. */
#ifndef UNRI_SIGNAL_H
#define UNRI_SIGNAL_H

#include <unring/cancel.h>

/* Returns the request that the latched signal of a slot has latched, for an operation that starts
 * on that slot.  Types 0: there is none. */
struct unr_cancel_request unri_slot_latched(const struct unr_slot *slot);

#endif
