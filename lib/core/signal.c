/* SPDX-License-Identifier: MIT */
/* Slots and signals: where requests are emitted, and where they arrive.  What an operation makes of
 * one is in cancel.c; emitting from other threads is in lib/loop/inbox.c.
 *
 * A slot is a handler and its context.  The difficulty is the walk of an emit through a tree of
 * signals, whose handlers may attach and detach signals, clear and reassign slots, emit again, and
 * free what has been detached (rule 9, Re-entrancy).  So the walk keeps no pointer into the tree.
 * It marks its place with a cursor: a node on the emitter's stack that is linked into the list of
 * children like any other, and that unlinking its neighbours leaves in the right place.  New
 * children come to the front of the list, where the cursor has passed already, so an emit does not
 * reach them.
 *
 * A signal may be freed when it has no handler, no parent and no child: let_go() is called where
 * the last of these goes, and takes the cursors out of it. */
#include "signal.h"
#include "contract.h"
#include "fiber_running.h"
#include "refusal.h"

/* ---- the list of children ---- */

static void link_behind(struct unr_signal *node, struct unr_signal *parent,
                        struct unr_signal *previous)
{
    struct unr_signal *next = previous ? previous->next_sibling : parent->first_child;
    node->parent = parent;
    node->previous_sibling = previous;
    node->next_sibling = next;
    if (previous)
        previous->next_sibling = node;
    else
        parent->first_child = node;
    if (next)
        next->previous_sibling = node;
}

static void unlink_child(struct unr_signal *node)
{
    if (node->previous_sibling)
        node->previous_sibling->next_sibling = node->next_sibling;
    else
        node->parent->first_child = node->next_sibling;
    if (node->next_sibling)
        node->next_sibling->previous_sibling = node->previous_sibling;
    node->parent = node->next_sibling = node->previous_sibling = NULL;
}

/* ---- which signals an emit passes through ---- */

/* The low bit of slot.private_fields.latch: there is a cursor among the children of the signal. */
#define EMITTING ((uintptr_t)1)

static struct unr_signal *latch_of(const struct unr_slot *slot)
{
    return (struct unr_signal *)(slot->private_fields.latch & ~EMITTING);
}

static void set_latch_of(struct unr_slot *slot, struct unr_signal *latched)
{
    slot->private_fields.latch = (uintptr_t)latched | (slot->private_fields.latch & EMITTING);
}

/* Returns the cursor of the emit that passes through a signal, or of one of several; NULL: none
 * does, or a child is left beside the cursors. */
static struct unr_signal *lone_cursor(const struct unr_signal *signal)
{
    for (const struct unr_signal *node = signal->first_child; node; node = node->next_sibling)
        if (!node->private_fields.is_cursor)
            return NULL;
    return signal->first_child;
}

/* Lets a signal go that nothing holds any more, as its owner may free it now.  An emit that passes
 * through it finds its cursor without a parent, and has nothing left to do here: there is no child,
 * and no handler. */
static void let_go(struct unr_signal *signal)
{
    struct unr_signal *cursor;
    if (signal->parent || signal->slot.handler)
        return;
    while ((cursor = lone_cursor(signal)) != NULL)
        unlink_child(cursor);
    if (!signal->first_child)
        signal->slot.private_fields.latch &= ~EMITTING;
}

/* ---- slots ---- */

void unr_slot_assign(struct unr_slot *slot, unr_cancel_fn *handler, void *context)
{
    slot->handler = handler;
    slot->context = context;
    if (unlikely(!handler && slot->private_fields.latch & EMITTING))
        let_go(unr_container_of(slot, struct unr_signal, slot));
}

void unr_slot_clear(struct unr_slot *slot)
{
    unr_slot_assign(slot, NULL, NULL);
}

bool unr_slot_has_handler(const struct unr_slot *slot)
{
    return slot->handler != NULL;
}

struct unr_cancel_request unri_slot_latched(const struct unr_slot *slot)
{
    const struct unr_signal *latch = latch_of(slot);
    return latch ? latch->latched_request : (struct unr_cancel_request){ 0 };
}

void unr_signal_init_latched(struct unr_signal *signal)
{
    *signal = (struct unr_signal){ .latches = true };
    signal->slot.private_fields.latch = (uintptr_t)signal;
}

struct unr_slot *unr_signal_slot(struct unr_signal *signal)
{
    return &signal->slot;
}

/* ---- emit ---- */

/* Rule 5, Guarantees: types are or-ed, and the first cause stays. */
static void latch(struct unr_signal *signal, struct unr_cancel_request request)
{
    if (!signal->latches)
        return;
    if (!signal->latched_request.types)
        signal->latched_request.cause = request.cause;
    signal->latched_request.types |= request.types;
}

static unsigned emit(struct unr_signal *signal, struct unr_cancel_request request);

/* Emits to the children of a signal, and tells whether the signal is there still: a handler may
 * have detached everything, and freed it.
 *
 * The cursor is linked behind a child before the handlers of that child run, because they may
 * detach the child.  A child that is itself a cursor is that of an emit further out. */
static bool emit_to_children(struct unr_signal *signal, struct unr_cancel_request request,
                             unsigned *count)
{
    struct unr_signal cursor = { .private_fields.is_cursor = true };
    uintptr_t         passed_before = signal->slot.private_fields.latch & EMITTING;
    link_behind(&cursor, signal, NULL);
    signal->slot.private_fields.latch |= EMITTING;
    for (struct unr_signal *child; (child = cursor.next_sibling) != NULL;) {
        unlink_child(&cursor);
        link_behind(&cursor, signal, child);
        if (!child->private_fields.is_cursor)
            *count += emit(child, request);
    }
    if (!cursor.parent)
        return false;
    unlink_child(&cursor);
    if (!passed_before)
        signal->slot.private_fields.latch &= ~EMITTING;
    return true;
}

/* Emits to the children, and then to the signal's own slot.  Returns how many honoured it.  The
 * own handler comes last, because it may free the signal. */
static unsigned emit(struct unr_signal *signal, struct unr_cancel_request request)
{
    unsigned count = 0;
    latch(signal, request);
    if (signal->first_child && !emit_to_children(signal, request, &count))
        return count;
    if (signal->slot.handler)
        count += signal->slot.handler(signal->slot.context, request);
    return count;
}

/* Emits for a caller, who may have the loop's checks tell of a request that all refuse. */
static unsigned emit_first(struct unr_signal *signal, struct unr_cancel_request request)
{
    struct unri_refusal before = unri_take_refusal();
    struct unr_op      *left = unri_leave_fiber();
    unsigned            count = emit(signal, request);
    unri_return_to_fiber(left);
    unri_tell_of_refusal(request, count, before);
    return count;
}

unsigned unr_signal_emit_cause(struct unr_signal *signal, unsigned types, int cause)
{
    unri_check_request(types, cause);
    return emit_first(signal, (struct unr_cancel_request){ types, cause });
}

unsigned unr_signal_emit(struct unr_signal *signal, unsigned types)
{
    return unr_signal_emit_cause(signal, types, -ECANCELED);
}

void unr_signal_reset(struct unr_signal *signal)
{
    signal->latched_request = (struct unr_cancel_request){ 0 };
}

/* ---- trees ---- */

/* Returns the signal behind `signal` in a walk over the subtree of `root` from the top; NULL: there
 * is none.  `down`: the walk goes to the children of `signal`, too.  *depth counts the levels below
 * `root`. */
static struct unr_signal *next_below(struct unr_signal *root, struct unr_signal *signal, bool down,
                                     unsigned *depth)
{
    if (down && signal->first_child) {
        ++*depth;
        return signal->first_child;
    }
    while (signal != root && !signal->next_sibling) {
        signal = signal->parent;
        --*depth;
    }
    return signal == root ? NULL : signal->next_sibling;
}

/* Tells the signals of a subtree which latched signal they are under; NULL: none.  A latched signal
 * in it is its own, and so are the signals below that one. */
static void set_latch(struct unr_signal *root, struct unr_signal *latched)
{
    unsigned depth = 0;
    for (struct unr_signal *signal = root; signal;) {
        bool other = signal->latches || signal->private_fields.is_cursor;
        if (!other)
            set_latch_of(&signal->slot, latched);
        signal = next_below(root, signal, !other, &depth);
    }
}

/* An emit calls itself for the children of a signal, so the stack limits how deep a tree may be. */
enum { LEVELS_MAX = 1000 };

/* Returns how many levels there are below a signal.  The usual child of a signal has no children of
 * its own. */
static unsigned levels_below(struct unr_signal *root)
{
    unsigned depth = 0, deepest = 0;
    for (struct unr_signal *signal = root; signal && deepest < LEVELS_MAX;) {
        signal = next_below(root, signal, true, &depth);
        if (signal && depth > deepest && !signal->private_fields.is_cursor)
            deepest = depth;
    }
    return deepest;
}

/* The child is linked, and knows its latched signal, before it is asked for what was latched: its
 * handlers find the tree complete. */
void unr_signal_attach(struct unr_signal *child, struct unr_signal *parent)
{
    assert(child && parent);
    if (child->parent)
        unri_broken("attaching a signal that is attached", NULL,
                    "a signal has one parent; detach it first");
    unsigned levels = 1 + levels_below(child);
    for (const struct unr_signal *ancestor = parent; ancestor; ancestor = ancestor->parent) {
        if (ancestor == child)
            unri_broken("attaching a signal below itself", NULL, "signals form trees");
        levels++;
    }
    if (levels > LEVELS_MAX)
        unri_broken("attaching signals to a tree of more than 1000 levels", NULL,
                    "an emit calls itself for the children, and the stack has an end");
    link_behind(child, parent, NULL);
    struct unr_signal *latched = latch_of(&parent->slot);
    if (!latched)
        return;
    set_latch(child, latched);
    /* A copy, because a handler may detach the child, and reset or free the latched signal. */
    struct unr_cancel_request request = latched->latched_request;
    if (request.types)
        emit_first(child, request);
}

void unr_signal_detach(struct unr_signal *child)
{
    struct unr_signal *parent = child->parent;
    if (!parent)
        return;
    unlink_child(child);
    set_latch(child, NULL);
    let_go(child);
    let_go(parent);
}
