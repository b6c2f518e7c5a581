/* An operation that begins later: it waits among the timers, and what ends it meanwhile is its inner operation's own end
 * before it began. */
#include "internal.h"

static struct unr_delay *delay_of(struct unr_op *op)
{
    return unr_container_of(op, struct unr_delay, op);
}

static void begin(struct unr_op *op, struct unr_request asked)
{
    unri_start_child(op, delay_of(op)->private_inner, asked);
}

static void due(struct unr_op *op)
{
    begin(op, (struct unr_request){ 0 });
}

static void delay_start(struct unr_op *op)
{
    struct unr_delay *delay = delay_of(op);
    struct unr_loop  *loop = op->private_fields.loop;
    unri_timer_resolve(loop, &delay->private_timer);
    if (loop->closing) {
        due(op);
    } else if (!unri_timer_insert(loop, &delay->private_timer)) {
        delay->private_inner->result.error = -ENOMEM;
        unri_end(op, -ENOMEM);
    }
}

static void delay_cancel(struct unr_op *op, struct unr_request request)
{
    struct unr_delay *delay = delay_of(op);
    if (unri_timer_waits(&delay->private_timer)) {
        unri_timer_remove(op->private_fields.loop, &delay->private_timer);
        begin(op, request);
    } else {
        unri_request(delay->private_inner, request);
    }
}

static void child_done(struct unr_op *holder, struct unr_op *inner)
{
    unri_end_as(holder, &inner->result);
}

static const struct unri_holder holder = { .child_done = child_done, .start_asked = begin, .due = due, .is_wrapper = true };

static const struct unr_op_type type = {
    .size = sizeof(struct unr_op_type),
    .name = "delay",
    .start = delay_start,
    .cancel = delay_cancel,
    .private_holder = &holder,
};

bool unri_is_delay(const struct unr_op *op)
{
    return op->type == &type;
}

struct unr_op *unr_delay(struct unr_delay *delay, struct unr_op *inner, unr_time pause)
{
    unri_hold(inner);
    unr_describe(&delay->op, &type);
    unri_private(&delay->op)->supports = inner->private_fields.supports;
    unri_timer_set(&delay->private_timer, pause, true);
    delay->private_inner = inner;
    return &delay->op;
}
