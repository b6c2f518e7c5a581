/* SPDX-License-Identifier: MIT */
/* Names for messages and logs: of operations, of what a result says, of this library. */
#include "name.h"
#include "life.h"
#include "type.h"

#include <unring/explain.h>

const char *unri_name(const struct unr_op *op)
{
    uint32_t state = op->private_fields.state;
    bool     was_described =
        state == UNRI_IDLE || state == UNRI_DESCRIBED || state == UNRI_HELD || unri_live(op);
    if (!was_described || !op->type)
        return "an operation that was never described";
    const struct unr_op_type *type = op->type;
    bool may_have_own = type->size >= offsetof(struct unr_op_type, private_fields) && type->name_of;
    const char *own = may_have_own ? type->name_of(op) : NULL;
    return own ? own : type->name;
}

const char *unr_op_name(const struct unr_op *op)
{
    return unri_name(op);
}

const char *unr_verdict_name(unsigned verdict)
{
    switch (verdict) {
    case UNR_VERDICT_NONE: return "none";
    case UNR_VERDICT_UNSUBMITTED: return "unsubmitted";
    case UNR_VERDICT_CANCELLED: return "cancelled";
    case UNR_VERDICT_TOO_LATE: return "too late";
    case UNR_VERDICT_RUNNING: return "running";
    case UNR_VERDICT_REFUSED: return "refused";
    default: return "unknown";
    }
}

const char *unr_guarantee_name(unsigned guarantee)
{
    switch (guarantee) {
    case UNR_CANCEL_NONE: return "none";
    case UNR_CANCEL_TERMINAL: return "terminal";
    case UNR_CANCEL_PARTIAL: return "partial";
    case UNR_CANCEL_TOTAL: return "total";
    default: return "unknown";
    }
}

const char *unr_version(void)
{
    return UNR_VERSION;
}
