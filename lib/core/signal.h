/* SPDX-License-Identifier: MIT */
/* What operations need of slots besides their public functions. */
#ifndef UNRI_SIGNAL_H
#define UNRI_SIGNAL_H

#include <unring/cancel.h>

/* The latched request that waits for whatever starts on `slot`; types 0: none. */
struct unr_cancel_request unri_slot_latched(const struct unr_slot *slot);

#endif
