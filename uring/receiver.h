/* SPDX-License-Identifier: MIT */
/* What streams use of a receiver besides its public functions. */
#ifndef UNRI_RECEIVER_H
#define UNRI_RECEIVER_H

#include <unring/receiver.h>
#include "enter.h"

/* As unr_receive(), into `n` pieces, which are lent until `done`, and so is their array. */
struct unr_op *unri_receive_pieces(struct unr_op *op, struct unr_receiver *receiver,
                                   const struct iovec *pieces, unsigned n);

/* What the receiver's descriptor is. */
enum unri_source unri_receiver_source(struct unr_receiver *receiver);

#endif
