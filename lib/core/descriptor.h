/* SPDX-License-Identifier: MIT */
/* What is in flight on each descriptor. */
#ifndef UNRI_DESCRIPTOR_H
#define UNRI_DESCRIPTOR_H

#include <unring/op.h>
#include "base.h"

struct unri_bucket {
    struct unr_op *first;   /* operations on the descriptors of this bucket, nearly always one */
    uint32_t       pairs;   /* how many operations on two descriptors have one of them here */
    uint32_t       closers; /* how many of `first` and its peers are a cancel_close */
};

struct unri_descriptors {
    struct unri_bucket *buckets; /* indexed by the descriptor, modulo their number */
    size_t              count;   /* a power of two */
    size_t              used;    /* buckets at and above this index were never used */
    struct unr_op      *others;  /* operations on no descriptor */
    struct unr_op      *pairs;   /* operations on two descriptors */
};

int  unri_descriptors_open(struct unri_descriptors *descriptors);
void unri_descriptors_close(struct unri_descriptors *descriptors);

/* Puts an operation that starts among its peers: on none, on private_fields.fd, or with a `count`
 * of two on other_fd as well. */
void unri_peers_add(struct unri_descriptors *descriptors, struct unr_op *op, unsigned count);

/* Takes an operation out, and tells the cancel_closes on its descriptors that it has left. */
void unri_peers_remove(struct unri_descriptors *descriptors, struct unr_op *op);

/* The operation on `fd` that comes behind another; NULL begins, and ends. */
struct unr_op *unri_peers_next(const struct unri_descriptors *descriptors, int fd,
                               const struct unr_op *behind);

/* Calls `visit` for every operation in flight but timers and wrappers.  `visit` may start, cancel
 * and finish operations, for they leave the lists no earlier than just before their `done`. */
void unri_each_in_flight(const struct unri_descriptors *descriptors,
                         void (*visit)(struct unr_op *op, void *context), void *context);

static inline struct unri_bucket *unri_bucket(const struct unri_descriptors *descriptors, int fd)
{
    return &descriptors->buckets[(size_t)fd & (descriptors->count - 1)];
}

#endif
