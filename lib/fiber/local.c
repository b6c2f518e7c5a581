/* SPDX-License-Identifier: MIT */
/* Values of a fiber's own, by key. */
#include "fiber.h"

#include <stdlib.h>
#include <string.h>

static struct unri_local *find(const struct unri_locals *locals, const struct unr_local *key)
{
    for (unsigned i = 0; i < locals->count; i++)
        if (locals->values[i].key == key)
            return &locals->values[i];
    return NULL;
}

void *unr_local_get(const struct unr_local *key)
{
    struct unr_fiber        *fiber = unri_fiber_check("unr_local_get called outside of a fiber");
    const struct unri_local *found = find(fiber->private_fields.locals, key);
    return found ? found->value : NULL;
}

static bool make_room(struct unri_locals *locals)
{
    bool               is_first = locals->values == locals->first;
    unsigned           room = locals->room + UNRI_LOCALS_FIT;
    struct unri_local *more = realloc(is_first ? NULL : locals->values, room * sizeof *more);
    if (!more)
        return false;
    if (is_first)
        memcpy(more, locals->first, sizeof locals->first);
    locals->values = more;
    locals->room = room;
    return true;
}

int unr_local_set(const struct unr_local *key, void *value)
{
    struct unr_fiber   *fiber = unri_fiber_check("unr_local_set called outside of a fiber");
    struct unri_locals *locals = fiber->private_fields.locals;
    struct unri_local  *found = find(locals, key);
    if (found) {
        found->value = value;
        return 0;
    }
    if (locals->count == locals->room && !make_room(locals))
        return -ENOMEM;
    locals->values[locals->count++] = (struct unri_local){ key, value };
    return 0;
}

/* A destructor may set values, which are destroyed as well. */
void unri_locals_destroy(struct unri_locals *locals)
{
    while (locals->count) {
        struct unri_local last = locals->values[--locals->count];
        if (last.value && last.key->destroy)
            last.key->destroy(last.value);
    }
    if (locals->values != locals->first)
        free(locals->values);
}
