/* SPDX-License-Identifier: MIT */
/* Filters: a wrapper that translates each request before it reaches the child, and the guarantee of
 * the child back into the requester's terms.  unr_let_none() and its like, and asking a filter type
 * by type, are in state.c. */
#include "../core/cancel.h"
#include "../core/combinator.h"
#include "state.h"

#include <unring/filter.h>

static struct unr_filter *filter_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_filter, op);
}

/* Asks the filter about each of `types`, and returns what it lets through, or-ed.  The last answer
 * for each type is kept: what the filter supports, and what the child's guarantee means to the
 * requester, follow from it without asking again. */
static unsigned ask_filter(struct unr_filter *filter, unsigned types)
{
    struct unr_filter_private *f = &filter->private_fields;
    unsigned                   passed = 0;
    for (unsigned i = 0; i < 3; i++)
        if (types & 1u << i) {
            f->answers[i] = (uint8_t)unri_filter_types(f->out, f->context, 1u << i);
            passed |= f->answers[i];
        }
    return passed;
}

/* Returns the types that a requester can ask for so that the child is asked for one of `wanted`. */
static unsigned types_translated_to(const struct unr_filter *filter, unsigned wanted)
{
    unsigned types = 0;
    for (unsigned i = 0; i < 3; i++)
        if (filter->private_fields.answers[i] & wanted)
            types |= 1u << i;
    return types;
}

static unsigned supports(const struct unr_op *op)
{
    return types_translated_to((const struct unr_filter *)op, unr_supports(unri_child(op)));
}

/* Keeps a request that comes before the child has begun.  Code of the caller's has made it while
 * start_with_request() was asking the filter (rule 9, Re-entrancy), and start_with_request() will
 * add its types.  Returns true if the child is going to honour it. */
static bool keep_for_start(struct unr_filter *filter, unsigned passed)
{
    filter->private_fields.early |= (uint8_t)passed;
    return passed & unr_supports(unri_child(&filter->op));
}

/* Passes a request on, translated, and records it untranslated.  The filter honours what its child
 * honours; a request is REFUSED if the filter lets none of its types through. */
static bool handle_request(struct unr_op *op, struct unr_cancel_request request)
{
    struct unr_filter        *filter = filter_of(op);
    struct unr_op            *child = unri_child(op);
    struct unr_cancel_request passed = { ask_filter(filter, request.types), request.cause };
    bool                      honoured;
    if (unri_live(child))
        honoured = passed.types && unri_request(child, passed);
    else
        honoured = keep_for_start(filter, passed.types);
    unri_record_request(op, request, honoured);
    return honoured;
}

/* The types are kept for the start, where the filter may let others through.  It may be asked once
 * more before that, where a delay is around a delay. */
static bool request_while_held(struct unr_op *held, struct unr_cancel_request request)
{
    struct unr_filter        *filter = filter_of(held);
    struct unr_cancel_request passed = { ask_filter(filter, request.types), request.cause };
    passed.types |= filter->private_fields.early;
    bool honours = passed.types && unri_request_held(unri_child(held), passed);
    if (honours)
        filter->private_fields.early |= (uint8_t)passed.types;
    return honours;
}

/* Rule 6, Before it begins: the child is started with the request, and ends or runs.  The types
 * that keep_for_start() has kept are added after the filter was asked, because it was while the
 * filter was asked that they came. */
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

/* Returns the strongest type that the filter translates to `guarantee` or to a weaker type: whoever
 * asked for that type has got it.  If there is none, the guarantee stays as it is. */
static unsigned guarantee_for_requester(const struct unr_filter *filter, unsigned guarantee)
{
    unsigned type = unri_strongest(types_translated_to(filter, unri_with_weaker(guarantee)));
    return type ? type : guarantee;
}

/* The filter ends with the child's result, in the terms of the requester.  `requested` is then what
 * was requested of the filter, which unri_end_with_result() adds.  Where the filter has honoured
 * nothing, the child was asked directly, and its `requested` stays.  A child that never began is
 * TOTAL in any terms. */
static void child_done(struct unr_op *combinator, struct unr_op *child)
{
    struct unr_filter *filter = filter_of(combinator);
    struct unr_result  result = child->result;
    if (combinator->private_fields.flags & UNRI_HONOURED)
        result.requested = 0;
    if (unri_was_cancelled(&result) && result.verdict != UNR_VERDICT_UNSUBMITTED)
        result.guarantee = (uint8_t)guarantee_for_requester(filter, result.guarantee);
    unri_end_with_result(combinator, child, &result);
}

static const struct unri_combinator combinator = {
    .child_done = child_done,
    .handle_request = handle_request,
    .start_with_request = start_with_request,
    .request_while_held = request_while_held,
    .supports = supports,
};

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .name = "filter",
    .start = filter_start,
    .private_fields = { .kind = UNRI_WRAPPER, .combinator = &combinator },
};

/* The filter is asked for every type, to learn which ones it supports. */
struct unr_op *unr_filter(struct unr_filter *filter, struct unr_op *child, unr_filter_fn *out,
                          void *context)
{
    struct unr_filter_private *f = &filter->private_fields;
    unri_describe_wrapper(&filter->op, &type, child);
    f->out = out;
    f->context = context;
    f->early = 0;
    ask_filter(filter, UNR_CANCEL_ALL);
    unri_set_supports(&filter->op, types_translated_to(filter, unri_own_supports(child)));
    return &filter->op;
}

struct unr_op *unr_shield(struct unr_filter *filter, struct unr_op *child)
{
    return unr_filter(filter, child, unr_let_none, NULL);
}
