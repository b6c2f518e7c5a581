/* SPDX-License-Identifier: MIT */
/* From the CQ to finished operations. */
#ifndef UNRI_COMPLETE_H
#define UNRI_COMPLETE_H

#include "ring.h"

/* Empties the CQ. */
void unri_reap(struct unr_loop *loop);

#endif
