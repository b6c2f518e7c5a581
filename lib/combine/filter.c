/* SPDX-License-Identifier: MIT */
/* A filter between the requests for an operation and the operation. */
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "state.h"

#include <unring/filter.h>

static struct unr_filter *filter_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_filter, op);
}

/* Asks the filter, and keeps what it answered for each type. */
static unsigned ask_filter(struct unr_filter *filter, unsigned types)
{
    unsigned passed = 0;
    for (unsigned i = 0; i < 3; i++)
        if (types & 1u << i)
            passed |= filter->private_fields.answers[i] = (uint8_t)unri_filter_types(
                filter->private_fields.out, filter->private_fields.context, 1u << i);
    return passed;
}

static unsigned types_translated_to(const struct unr_filter *filter, unsigned accepted)
{
    unsigned types = 0;
    for (unsigned i = 0; i < 3; i++)
        if (filter->private_fields.answers[i] & accepted)
            types |= 1u << i;
    return types;
}

static unsigned supports(const struct unr_op *op)
{
    return types_translated_to((const struct unr_filter *)op, unr_supports(unri_child(op)));
}

static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_filter        *filter = filter_of(op);
    struct unr_op            *child = unri_child(op);
    struct unr_cancel_request passed = { ask_filter(filter, request.types), request.cause };
    bool                      honoured;
    if (unri_live(child)) {
        honoured = passed.types && unri_request(child, passed);
    } else { /* from inside the filter, which is being asked at the start: child is asked when it
                begins */
        filter->private_fields.early |= (uint8_t)passed.types;
        honoured = passed.types & unr_supports(child);
    }
    unri_record_request(op, request, honoured);
    return honoured;
}

static bool start_with_request(struct unr_op *op, struct unr_cancel_request asked)
{
    struct unr_filter        *filter = filter_of(op);
    struct unr_cancel_request passed = { ask_filter(filter, asked.types), asked.cause };
    passed.types |= filter->private_fields.early;
    bool honoured = unri_start_child(op, unri_child(op), passed);
    unri_record_request(op, asked, honoured);
    return honoured;
}

static void filter_start(struct unr_op *op)
{
    unri_start_child(op, unri_child(op), (struct unr_cancel_request){ 0 });
}

/* The strongest type whose requester is content with `guarantee`. */
static unsigned guarantee_for_requester(const struct unr_filter *filter, unsigned guarantee)
{
    unsigned type =
        unri_strongest(types_translated_to(filter, guarantee | (guarantee - !!guarantee)));
    return type ? type : guarantee;
}

static void child_done(struct unr_op *combinator, struct unr_op *child)
{
    struct unr_filter *filter = filter_of(combinator);
    struct unr_result  result = child->result;
    if (combinator->private_fields.flags & UNRI_HONOURED)
        result.requested = 0; /* only what was asked of the filter, in its own terms */
    if (result.error == -ECANCELED && result.verdict != UNR_VERDICT_UNSUBMITTED)
        result.guarantee = (uint8_t)guarantee_for_requester(filter, result.guarantee);
    unri_end_with_result(combinator, &result);
}

static const struct unri_combinator combinator = {
    .child_done = child_done,
    .handle_request = handle_request,
    .start_with_request = start_with_request,
    .supports = supports,
};

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .name = "filter",
    .start = filter_start,
    .private_fields = { .kind = UNRI_WRAPPER, .combinator = &combinator },
};

struct unr_op *unr_filter(struct unr_filter *filter, struct unr_op *child, unr_filter_fn *out,
                          void *context)
{
    unri_describe_wrapper(&filter->op, &type, child);
    filter->private_fields.out = out;
    filter->private_fields.context = context;
    filter->private_fields.early = 0;
    ask_filter(filter, UNR_CANCEL_ALL);
    unri_set_supports(&filter->op, types_translated_to(filter, unri_own_supports(child)));
    return &filter->op;
}

struct unr_op *unr_shield(struct unr_filter *filter, struct unr_op *child)
{
    return unr_filter(filter, child, unr_let_none, NULL);
}
