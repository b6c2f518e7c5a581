/* SPDX-License-Identifier: MIT */
/* Values of a fiber's own, by key. */
#include "fiber.h"

#include <stdlib.h>

struct local {
    const struct unr_local *key;
    void                   *value;
};

enum { STEP = 4 };

struct locals {
    unsigned     count, room;
    struct local values[];
};

static struct local *find(struct locals *locals, const struct unr_local *key)
{
    for (unsigned i = 0; locals && i < locals->count; i++)
        if (locals->values[i].key == key)
            return &locals->values[i];
    return NULL;
}

void *unr_local_get(const struct unr_local *key)
{
    struct unr_fiber   *fiber = unri_fiber_check("unr_local_get called outside of a fiber");
    const struct local *found = find(fiber->private_fields.locals, key);
    return found ? found->value : NULL;
}

int unr_local_set(const struct unr_local *key, void *value)
{
    struct unr_fiber *fiber = unri_fiber_check("unr_local_set called outside of a fiber");
    struct locals    *locals = fiber->private_fields.locals;
    struct local     *found = find(locals, key);
    if (found) {
        found->value = value;
        return 0;
    }
    if (!locals || locals->count == locals->room) {
        unsigned room = (locals ? locals->room : 0) + STEP;
        locals = realloc(locals, sizeof *locals + room * sizeof *locals->values);
        if (!locals)
            return -ENOMEM;
        if (room == STEP)
            locals->count = 0;
        locals->room = room;
        fiber->private_fields.locals = locals;
    }
    locals->values[locals->count++] = (struct local){ key, value };
    return 0;
}

/* A destructor may set values, which are destroyed as well. */
void unri_locals_destroy(struct unr_fiber *fiber)
{
    struct locals *locals;
    while ((locals = fiber->private_fields.locals)->count) {
        struct local last = locals->values[--locals->count];
        if (last.value && last.key->destroy)
            last.key->destroy(last.value);
    }
    free(locals);
    fiber->private_fields.locals = NULL;
}
