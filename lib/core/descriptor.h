/* SPDX-License-Identifier: MIT */
/* The operations in flight, by descriptor.  The peers of an operation are the others on its
 * descriptor.  Timers are not among them but in lib/loop/timer_queue.c, and wrappers are nowhere:
 * their children stand for them. */
#ifndef UNRI_DESCRIPTOR_H
#define UNRI_DESCRIPTOR_H

#include <unring/op.h>
#include "base.h"

/* A place in the table, for one descriptor or, above the size of the table, several. */
struct unri_bucket {
    struct unr_op *first;   /* the operations here that are on no second descriptor */
    uint32_t       pairs;   /* how many operations on two descriptors have one of the two here */
    uint32_t       closers; /* how many operations on the list of `first` have UNRI_CLOSES */
};

struct unri_descriptors {
    struct unri_bucket *buckets; /* indexed by the descriptor, modulo their number */
    size_t              count;   /* how many buckets: a power of two */
    size_t              used;    /* no bucket at or above this index was ever used */
    struct unr_op      *others;  /* operations on no descriptor */
    struct unr_op      *pairs;   /* operations on two descriptors */
    uint32_t            closes;  /* how many operations that close one have ended */
};

int  unri_descriptors_open(struct unri_descriptors *descriptors);
void unri_descriptors_close(struct unri_descriptors *descriptors);

/* Puts an operation that starts among its peers: on none, on private_fields.fd, or with a `count`
 * of two on other_fd as well. */
void unri_peers_add(struct unri_descriptors *descriptors, struct unr_op *op, unsigned count);

/* Takes an operation that ended in its own start from its peers, if a cancel_close may wait for
 * them: several that start themselves over and over would keep it waiting for ever, as of these
 * there is always one whose `done` is missing. */
void unri_peers_leave_closers(struct unri_descriptors *descriptors, struct unr_op *op);

/* Takes an operation from its peers, and tells each cancel_close on its descriptors. */
void unri_peers_remove(struct unri_descriptors *descriptors, struct unr_op *op);

/* Returns the operation on `fd` that comes behind another one.  NULL as `behind` asks for the
 * first; NULL returned: there are no more. */
struct unr_op *unri_peers_next(const struct unri_descriptors *descriptors, int fd,
                               const struct unr_op *behind);

typedef void unri_visit_fn(struct unr_op *op, void *context);

/* Calls `visit` for every operation in flight but timers and wrappers, those of the loop's own
 * included.  `visit` may start, cancel and finish operations: an operation leaves the lists just
 * before its `done`, and no `done` runs meanwhile. */
void unri_each_in_flight(const struct unri_descriptors *descriptors, unri_visit_fn *visit,
                         void *context);

static inline struct unri_bucket *unri_bucket(const struct unri_descriptors *descriptors, int fd)
{
    return &descriptors->buckets[(size_t)fd & (descriptors->count - 1)];
}

#endif
