/* A filter between the requests for an operation and the operation. */
#include "internal.h"

static struct unr_filter *filter_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_filter, op);
}

static struct unr_request passed(const struct unr_filter *filter, struct unr_request request)
{
    request.types = unri_filtered(filter->private_out, filter->private_context, request.types);
    return request;
}

static void start_asked(struct unr_op *op, struct unr_request asked)
{
    struct unr_filter *filter = filter_of(op);
    /* Not even a filter keeps out a loop that is being closed. */
    unri_start_child(op, filter->private_inner, op->private_fields.loop->closing ? asked : passed(filter, asked));
}

static void filter_start(struct unr_op *op)
{
    unri_start_child(op, filter_of(op)->private_inner, (struct unr_request){ 0 });
}

static void filter_cancel(struct unr_op *op, struct unr_request request)
{
    struct unr_filter *filter = filter_of(op);
    request = passed(filter, request);
    if (request.types)
        unri_request(filter->private_inner, request);
}

/* The strongest type whose requester is content with `guarantee`. */
static unsigned in_outer_terms(const struct unr_filter *filter, unsigned guarantee)
{
    unsigned given = guarantee | (guarantee - !!guarantee);
    for (unsigned type = UNR_CANCEL_TOTAL; type; type >>= 1)
        if (unri_filtered(filter->private_out, filter->private_context, type) & given)
            return type;
    return guarantee;
}

static void child_done(struct unr_op *holder, struct unr_op *inner)
{
    struct unr_filter *filter = filter_of(holder);
    struct unr_result  result = inner->result;
    if (holder->private_fields.flags & UNRI_HONOURED)
        result.requested = 0; /* only what was asked of the filter, in its own terms */
    if (result.error == -ECANCELED && result.verdict != UNR_VERDICT_UNSUBMITTED)
        result.guarantee = (uint8_t)in_outer_terms(filter, result.guarantee);
    unri_end_as(holder, &result);
}

static const struct unri_holder holder = { .child_done = child_done, .start_asked = start_asked, .is_wrapper = true };

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .name = "filter",
    .start = filter_start,
    .cancel = filter_cancel,
    .private_holder = &holder,
};

struct unr_op *unr_filter(struct unr_filter *filter, struct unr_op *inner, unr_filter_fn *out, void *context)
{
    unri_hold(inner);
    unr_describe(&filter->op, &type);
    filter->private_inner = inner;
    filter->private_out = out;
    filter->private_context = context;
    unsigned supports = 0;
    for (unsigned type_asked = UNR_CANCEL_TERMINAL; type_asked <= UNR_CANCEL_TOTAL; type_asked <<= 1)
        if (unri_filtered(out, context, type_asked) & inner->private_fields.supports)
            supports |= type_asked;
    unri_private(&filter->op)->supports = (uint8_t)supports;
    return &filter->op;
}

struct unr_op *unr_shield(struct unr_filter *filter, struct unr_op *inner)
{
    return unr_filter(filter, inner, unr_let_none, NULL);
}
