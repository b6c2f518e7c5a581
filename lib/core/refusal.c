/* SPDX-License-Identifier: MIT */
/* What an operation supports, and the words for a request that nobody honours. */
#include "refusal.h"
#include "life.h"
#include "name.h"
#include "type.h"

#include <stdio.h>

#include <unring/explain.h>

/* Rule 5, Guarantees: what a combinator supports can change while it is described or in flight, by
 * a filter that is reset or a child that ends, so it is asked each time.  Before and afterwards its
 * children are the caller's, who may have freed them. */
unsigned unr_supports(const struct unr_op *op)
{
    uint32_t state = op->private_fields.state;
    if (state == UNRI_IDLE || state == UNRI_FINISHED || !unri_is_combinator(op))
        return unri_own_supports(op);
    const struct unri_combinator *combinator = unri_combinator_of(op);
    if (combinator->supports)
        return combinator->supports(op);
    return unri_is_wrapper(op) ? unr_supports(unri_child(op)) : unri_own_supports(op);
}

/* ---- requests that are refused ---- */

static _Thread_local struct unri_refusal noted;

static struct unri_refusal refusal_of(const struct unr_op *op)
{
    return (struct unri_refusal){ unri_name(op), unr_supports(op) };
}

void unri_note_refusal(const struct unr_op *op)
{
    noted = refusal_of(op);
}

struct unri_refusal unri_take_refusal(void)
{
    struct unri_refusal taken = noted;
    noted.name = NULL;
    return taken;
}

/* Writes the names of types, strongest first, with `word` between the last two. */
static void name_types(char *text, size_t size, unsigned types, const char *word)
{
    size_t len =
        (size_t)snprintf(text, size, "%s", types ? "" : unr_guarantee_name(UNR_CANCEL_NONE));
    for (unsigned type = UNR_CANCEL_TOTAL; type; type >>= 1) {
        if (!(types & type))
            continue;
        bool is_first = len == 0, is_last = !(types & (type - 1));
        len += (size_t)snprintf(text + len, size - len, "%s%s",
                                is_first  ? ""
                                : is_last ? word
                                          : ", ",
                                unr_guarantee_name(type));
    }
}

static void tell(struct unri_refusal refusal, struct unr_cancel_request request)
{
    char asked[64], supports[64];
    name_types(asked, sizeof asked, request.types, " or ");
    name_types(supports, sizeof supports, refusal.supports, " and ");
    fprintf(stderr, "unring: a request for %s (cause %d) was refused by %s, which supports %s\n",
            asked, request.cause, refusal.name, supports);
}

void unri_tell_of_refusal(struct unr_cancel_request request, bool honoured,
                          struct unri_refusal before)
{
    if (unlikely(noted.name != NULL) && !honoured)
        tell(noted, request);
    noted = before;
}

void unri_tell_refused(const struct unr_op *op, struct unr_cancel_request request)
{
    tell(refusal_of(op), request);
}
