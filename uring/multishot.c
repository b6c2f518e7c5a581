/* SPDX-License-Identifier: MIT */
/* Multishot operations: system calls of which each completion but the last announces another.
 * complete.c hands their shots out. */
#include "row.h"

#include <unring/multishot.h>

/* Whoever starts it is told at once that its shots would reach nobody. */
static void start(struct unr_op *op)
{
    unri_check_shots(op);
    unri_row_start(op);
}

static bool fill_accept(struct io_uring_sqe *sqe, struct unr_op *op)
{
    (void)op;
    sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    return true;
}

static bool fill_poll(struct io_uring_sqe *sqe, struct unr_op *op)
{
    (void)op;
    sqe->len = IORING_POLL_ADD_MULTI;
    return true;
}

#define ROW(call, code, result, fills)                                                             \
    static const struct unri_row call##_multishot = {                                              \
        .type = { .size = sizeof(struct unr_op_type),                                              \
                  .supports = UNR_CANCEL_ALL,                                                      \
                  .name = #call "_multishot",                                                      \
                  .start = start,                                                                  \
                  .cancel = unri_row_cancel,                                                       \
                  .private_fields = { .kind = UNRI_CALL, .descriptors = 1 } },                     \
        .opcode = code,                                                                            \
        .yields = UNRI_YIELDS_##result,                                                            \
        .is_special = true,                                                                        \
        .repeats = true,                                                                           \
        .fill = fills,                                                                             \
    }
ROW(accept, IORING_OP_ACCEPT, FD, fill_accept);
ROW(poll, IORING_OP_POLL_ADD, EVENTS, fill_poll);

static struct unr_op *describe(struct unr_op *op, const struct unri_row *row, int fd,
                               uint32_t flags)
{
    struct unr_op_private *p = unri_private(unr_describe(op, &row->type));
    p->flags |= UNRI_MULTISHOT;
    p->fd = fd;
    p->other_fd = 0;
    p->call_flags = flags;
    p->address = p->offset = 0;
    return op;
}

struct unr_op *unr_accept_multishot(struct unr_op *op, int fd, int flags)
{
    return describe(op, &accept_multishot, fd, (uint32_t)flags);
}

struct unr_op *unr_poll_multishot(struct unr_op *op, int fd, uint32_t events)
{
    return describe(op, &poll_multishot, fd, events);
}
