/* SPDX-License-Identifier: MIT */
/* The names of operations. */
#ifndef UNRI_NAME_H
#define UNRI_NAME_H

#include <unring/op.h>

/* The name of an operation, also of one that was never described or has been overwritten since. */
const char *unri_name(const struct unr_op *op);

#endif
