/* SPDX-License-Identifier: MIT */
/* From the CQ to finished operations. */
#ifndef UNRI_COMPLETE_H
#define UNRI_COMPLETE_H

#include "ring.h"

/* Takes every CQE out of the CQ, and ends each operation that awaits no other. */
void unri_reap(struct unr_loop *loop);

#endif
