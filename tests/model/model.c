/* SPDX-License-Identifier: MIT */
/* How threads are run in every order.
 *
 * Accesses.  The code that is checked is compiled with -fsanitize=thread, and not linked with the
 * run-time library of that: the functions which the compiler calls at each access are below.  So
 * the sources are those that ship, and no access can be forgotten.
 *
 * Threads are coroutines.  Before each atomic access, and each call of the kernel, a thread hands
 * over to the explorer, which decides whose step is next.  A step is one such access and all that
 * the thread then does alone.  The explorer goes depth first.  It keeps a copy of everything at
 * each depth (the world, the stacks, the registers), so it need not run a schedule from its start.
 *
 * Store buffers.  A store that is not sequentially consistent goes into the buffer of its thread,
 * as on x86 (TSO).  The thread's own loads see it, those of others do not.  To drain the oldest
 * store of a buffer is a step, which the explorer may choose at any time.  A sequentially
 * consistent store, a read-modify-write and such a fence drain the buffer first.  Weaker processors
 * may do more than this; what is modelled of them is the next paragraph.
 *
 * Plain accesses are no steps.  That is sound as long as no two of them race, and so each race is a
 * failure.  For the last accesses of each thread to a location, the checker keeps who knows of
 * them: threads, buffered stores, and atomic objects.  A release hands on what a thread knows to
 * the object, an acquire takes it from there.  A thread that accesses a location without knowing of
 * another's conflicting access races with it, whatever the order was in this schedule.  Happens-
 * before through fences alone is not followed; code that relied on it would be told of a race.
 *
 * States.  A state that was seen before is not explored again.  It consists of the world, the store
 * buffers, who knows what, and of each thread its action and a hash of all values that it has read
 * since that began: with these its stack is determined.  This takes the place of other
 * partial-order reductions: two orders of independent steps meet in one state.  States are compared
 * by a hash of 64 bits.
 *
 * What fails: a check of the test, a race, an access to memory that was killed, a signal, a thread
 * that goes round for ever, and threads that all wait. */
#undef _FORTIFY_SOURCE /* its longjmp() does not go from one stack to another */
#include "model.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum {
    STACK = 32768,
    WORLD_MAX = 4096,
    STORES = 2,     /* in the buffer of one thread */
    TRACKED = 24,   /* locations in which a race is possible */
    OBJECTS = 20,   /* atomic ones */
    DEAD = 8,       /* ranges of memory */
    DEPTH = 900,    /* steps of a schedule */
    ALONE = 100000, /* accesses of a thread in one step */
};

/* Who can know of an access, as bits: threads, buffered stores, objects. */
enum {
    BUFFERED = MODEL_THREADS,
    FIRST_OBJECT = BUFFERED + MODEL_THREADS * STORES,
    KNOWERS = FIRST_OBJECT + OBJECTS,
};
_Static_assert(KNOWERS <= 32, "");

enum kind { READ, WRITE, ATOMIC, KINDS };

struct store {
    void    *address;
    uint64_t value;
    unsigned size;
    bool     release;
};

struct thread {
    jmp_buf        at;  /* where it goes on */
    unsigned char *low; /* where the part of its stack that is in use begins */
    const char    *action;
    unsigned       actions; /* how many it has begun */
    uint64_t       seen;    /* a hash of what it has read in the last of them */
    bool (*ready)(void);    /* NULL: it does not wait */
    bool         is_idle;   /* until another thread changes the world */
    bool         has_ended;
    unsigned     stored;
    struct store stores[STORES];
};

/* All that changes from step to step, besides the world and the stacks. */
static struct state {
    struct thread threads[MODEL_THREADS];
    uint32_t      known[TRACKED][MODEL_THREADS][KINDS]; /* by whom; 0: there was no access */
    struct {
        const unsigned char *begin, *end;
    } dead[DEAD];
    unsigned dead_count;
} state;

static _Alignas(64) unsigned char stacks[MODEL_THREADS][STACK];
static const struct model *model;
static struct thread      *self; /* NULL: no thread runs */
static jmp_buf             explorer;
static enum { WENT_ON, FAILED, AGAIN } outcome; /* of a step */
static unsigned           alone;
static bool               tells;
static struct model_found found;

/* ---- locations ---- */

/* What was seen of an address in any schedule of this program.  A race needs two threads, and a
 * plain access: then the address is tracked.  An atomic access is a step only if the address is
 * contended: two threads access it, and one writes.  When an address is first found to be one or
 * the other, the exploration begins again. */
static struct location {
    const void *address; /* NULL: none */
    unsigned    threads, kinds;
    int         tracked, object; /* -1: it is not */
    bool        is_written, is_contended;
} locations[WORLD_MAX];
static struct location *tracked[TRACKED];
static int              tracked_count, objects_count;

static struct location *location_of(const void *address)
{
    size_t           offset = (size_t)((const char *)address - (const char *)model->world);
    struct location *location = &locations[offset];
    if (!location->address)
        *location = (struct location){ .address = address, .tracked = -1, .object = -1 };
    return location;
}

static bool is_in_world(const void *address)
{
    return (const char *)address >= (const char *)model->world
           && (const char *)address < (const char *)model->world + model->size;
}

static int thread_number(const struct thread *thread)
{
    return (int)(thread - state.threads);
}

static void name_of(const void *address, char *text, size_t size)
{
    if (is_in_world(address))
        model->name(address, text, size);
    else
        snprintf(text, size, "%#llx", (unsigned long long)(uintptr_t)address);
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    va_list arguments;
    if (!tells || !self)
        return;
    printf("    %-5s %-14s ", model->threads[thread_number(self)],
           self->action ? self->action : "");
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

static void tell_access(const char *verb, const void *address, const char *joint, uint64_t value)
{
    char what[40], which[40];
    if (!tells || !self)
        return;
    name_of(address, what, sizeof what);
    name_of((const void *)(uintptr_t)value, which, sizeof which);
    tell("%s %s%s%s", verb, what, joint, which);
}

/* ---- a thread's step ---- */

static uint64_t mixed(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

void model_saw(uint64_t value)
{
    if (self)
        self->seen = mixed(self->seen, value + 1);
}

_Noreturn static void leave(int result)
{
    outcome = result;
    _longjmp(explorer, 1);
}

void model_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(found.failure, sizeof found.failure, format, arguments);
    va_end(arguments);
    tell("FAILS: %s", found.failure);
    leave(FAILED);
}

/* Hands over to the explorer, before a step.  What is below this function's frame is not in use. */
__attribute__((noinline)) static void hand_over(void)
{
    enum { MARGIN = 512 };
    self->low = (unsigned char *)__builtin_frame_address(0) - MARGIN;
    if (_setjmp(self->at) == 0)
        leave(WENT_ON);
    alone = 0;
}

static void step(void)
{
    if (!self)
        return;
    hand_over();
    model_saw(0);
}

static bool is_shared(const struct location *location)
{
    return location->threads & (location->threads - 1);
}

/* Another thread that touches a tracked location makes learn() keep more. */
static void note_thread(struct location *location)
{
    unsigned threads = location->threads;
    location->threads |= 1u << thread_number(self);
    if (location->tracked >= 0 && location->threads != threads)
        leave(AGAIN);
}

/* Before an atomic access.  Whether it is a step. */
static bool is_step(const void *address, bool writes)
{
    struct location *location = location_of(address);
    note_thread(location);
    location->is_written |= writes;
    if (!location->is_contended && location->is_written && is_shared(location)) {
        location->is_contended = true;
        leave(AGAIN);
    }
    return location->is_contended;
}

static void step_to(const void *address, bool writes)
{
    if (self && is_step(address, writes))
        step();
}

void model_step(const char *what)
{
    step();
    tell("%s", what);
}

void model_wait(bool (*ready)(void), const char *what)
{
    self->ready = ready;
    step();
    self->ready = NULL;
    tell("%s", what);
}

void model_stack_is(uint64_t value)
{
    self->seen = value;
}

void model_action(const char *name)
{
    self->action = name;
    self->actions++;
    self->seen = 0;
}

/* ---- who knows what ---- */

/* `to` comes to know what `from` knows.  An access that all threads know of which ever touch the
 * location can race no more, and is forgotten: so fewer states differ. */
static void learn(int to, int from)
{
    for (int i = 0; i < tracked_count; i++) {
        uint32_t *known = &state.known[i][0][0], touching = tracked[i]->threads;
        for (int k = 0; k < MODEL_THREADS * KINDS; k++) {
            known[k] |= (known[k] >> from & 1) << to;
            if ((known[k] & touching) == touching)
                known[k] = 0;
        }
    }
}

static void forget(int who)
{
    uint32_t *known = &state.known[0][0][0];
    for (int i = 0; i < tracked_count * MODEL_THREADS * KINDS; i++)
        known[i] &= ~(1u << who);
}

static int object_of(const void *address)
{
    struct location *location = location_of(address);
    if (location->object < 0) {
        location->object = FIRST_OBJECT + objects_count++;
        if (objects_count > OBJECTS)
            abort();
    }
    return location->object;
}

void model_release(const void *object)
{
    if (self)
        learn(object_of(object), thread_number(self));
}

void model_acquire(const void *object)
{
    if (self)
        learn(thread_number(self), object_of(object));
}

static bool acquires(int order)
{
    return order != __ATOMIC_RELAXED && order != __ATOMIC_RELEASE;
}

static bool releases(int order)
{
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

/* ---- every access ---- */

static void check_alive(const void *address)
{
    char name[40];
    for (unsigned i = 0; i < state.dead_count; i++)
        if ((const unsigned char *)address >= state.dead[i].begin
            && (const unsigned char *)address < state.dead[i].end) {
            name_of(address, name, sizeof name);
            model_fail("%s is touched, which nobody may any more", name);
        }
}

static bool conflict(enum kind a, enum kind b)
{
    return (a != READ || b != READ) && (a != ATOMIC || b != ATOMIC);
}

static void check_races(const struct location *location, enum kind kind)
{
    static const char *const verbs[] = { "read", "written", "accessed atomically" };
    char                     name[40];
    unsigned                 me = (unsigned)thread_number(self);
    uint32_t(*known)[KINDS] = state.known[location->tracked];
    for (unsigned other = 0; other < MODEL_THREADS; other++)
        for (unsigned k = 0; k < KINDS; k++)
            if (other != me && known[other][k] && conflict(k, kind)
                && !(known[other][k] >> me & 1)) {
                name_of(location->address, name, sizeof name);
                model_fail("a race: %s is %s by %s, and %s by %s", name, verbs[k],
                           model->threads[other], verbs[kind], model->threads[me]);
            }
    known[me][kind] = 1u << me;
}

static void touch(const void *address, enum kind kind)
{
    if (!self)
        return;
    if (++alone > ALONE)
        model_fail("the thread goes round for ever");
    if (!is_in_world(address)) {
        const unsigned char *stack = stacks[thread_number(self)], *byte = address;
        if (kind != READ && (byte < stack || byte >= stack + STACK) && !model->is_own(address))
            model_fail("memory outside of the world is written");
        return;
    }
    if (state.dead_count)
        check_alive(address);
    struct location *location = location_of(address);
    note_thread(location);
    location->kinds |= 1u << kind;
    if (location->tracked >= 0) {
        check_races(location, kind);
    } else if (is_shared(location) && location->kinds != 1u << READ
               && location->kinds != 1u << ATOMIC) {
        if (tracked_count == TRACKED)
            abort();
        tracked[tracked_count] = location;
        location->tracked = tracked_count++;
        leave(AGAIN);
    }
}

static uint64_t peek(const void *address, unsigned size)
{
    uint64_t value = 0;
    memcpy(&value, address, size);
    return value;
}

/* Writes, and lets threads that spin look again. */
static void poke(void *address, unsigned size, uint64_t value)
{
    if (peek(address, size) == value)
        return;
    memcpy(address, &value, size);
    for (unsigned i = 0; i < MODEL_THREADS; i++)
        if (&state.threads[i] != self)
            state.threads[i].is_idle = false;
}

/* ---- store buffers ---- */

static int buffered(const struct thread *thread, unsigned i)
{
    return BUFFERED + thread_number(thread) * STORES + (int)i;
}

/* The oldest store of a thread reaches the memory. */
static void drain_one(struct thread *thread)
{
    struct store store = thread->stores[0];
    tell_access("(its store reaches)", store.address, ": ", store.value);
    check_alive(store.address);
    poke(store.address, store.size, store.value);
    forget(object_of(store.address));
    if (store.release)
        learn(object_of(store.address), buffered(thread, 0));
    for (unsigned i = 1; i < thread->stored; i++) {
        thread->stores[i - 1] = thread->stores[i];
        forget(buffered(thread, i - 1));
        learn(buffered(thread, i - 1), buffered(thread, i));
    }
    thread->stored--;
    forget(buffered(thread, thread->stored));
    memset(&thread->stores[thread->stored], 0, sizeof(struct store));
}

static void drain(void)
{
    while (self && self->stored)
        drain_one(self);
}

/* ---- atomic accesses ---- */

static uint64_t load(const void *address, unsigned size, int order)
{
    step_to(address, false);
    touch(address, ATOMIC);
    uint64_t value = peek(address, size);
    for (unsigned i = 0; self && i < self->stored; i++)
        if (self->stores[i].address == address)
            value = self->stores[i].value;
    if (acquires(order))
        model_acquire(address);
    model_saw(value);
    tell_access("loads", address, ": ", value);
    return value;
}

static void store(void *address, unsigned size, uint64_t value, int order)
{
    if (self && order != __ATOMIC_SEQ_CST && is_step(address, true)) {
        touch(address, ATOMIC);
        if (self->stored == STORES)
            drain_one(self);
        unsigned i = self->stored++;
        self->stores[i] = (struct store){ address, value, size, releases(order) };
        learn(buffered(self, i), thread_number(self));
        tell_access("buffers a store to", address, ": ", value);
        return;
    }
    step_to(address, true);
    drain();
    touch(address, ATOMIC);
    poke(address, size, value);
    if (self)
        forget(object_of(address));
    model_release(address);
    tell_access("stores", address, ": ", value);
}

/* A read-modify-write; `change` makes the new value of the old one.  Returns the old one. */
static uint64_t modify(void *address, unsigned size, uint64_t operand, int order,
                       uint64_t (*change)(uint64_t old, uint64_t operand))
{
    step_to(address, true);
    drain();
    touch(address, ATOMIC);
    uint64_t old = peek(address, size), new = change(old, operand);
    poke(address, size, new);
    if (acquires(order))
        model_acquire(address);
    if (releases(order))
        model_release(address);
    model_saw(old);
    tell_access("exchanges", address, ", was ", old);
    return old;
}

static bool compare_exchange(void *address, unsigned size, void *expected, uint64_t desired,
                             int order, int failed_order)
{
    step_to(address, true);
    drain();
    touch(address, ATOMIC);
    uint64_t old = peek(address, size);
    bool     same = old == peek(expected, size);
    if (same)
        poke(address, size, desired);
    else
        memcpy(expected, &old, size);
    if (acquires(same ? order : failed_order))
        model_acquire(address);
    if (same && releases(order))
        model_release(address);
    model_saw(same);
    model_saw(old);
    tell_access(same ? "compares and exchanges" : "compares in vain", address,
                same ? " for " : ": ", same ? desired : old);
    return same;
}

static uint64_t change_all(uint64_t old, uint64_t operand)
{
    (void)old;
    return operand;
}

static uint64_t change_add(uint64_t old, uint64_t operand)
{
    return old + operand;
}

static uint64_t change_sub(uint64_t old, uint64_t operand)
{
    return old - operand;
}

static uint64_t change_or(uint64_t old, uint64_t operand)
{
    return old | operand;
}

static uint64_t change_and(uint64_t old, uint64_t operand)
{
    return old & operand;
}

/* ---- what the compiler calls ---- */

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define MODIFY(bits, call, change)                                                                 \
    uint##bits##_t __tsan_atomic##bits##_##call(void *a, uint##bits##_t v, int order)              \
    {                                                                                              \
        return (uint##bits##_t)modify(a, bits / 8, v, order, change);                              \
    }

#define COMPARE(bits, call)                                                                        \
    int __tsan_atomic##bits##_compare_exchange_##call(void *a, void *e, uint##bits##_t v,          \
                                                      int order, int failed)                       \
    {                                                                                              \
        return compare_exchange(a, bits / 8, e, v, order, failed);                                 \
    }

#define ATOMICS(bits)                                                                              \
    uint##bits##_t __tsan_atomic##bits##_load(const void *a, int order)                            \
    {                                                                                              \
        return (uint##bits##_t)load(a, bits / 8, order);                                           \
    }                                                                                              \
    void __tsan_atomic##bits##_store(void *a, uint##bits##_t v, int order)                         \
    {                                                                                              \
        store(a, bits / 8, v, order);                                                              \
    }                                                                                              \
    MODIFY(bits, exchange, change_all)                                                             \
    MODIFY(bits, fetch_add, change_add)                                                            \
    MODIFY(bits, fetch_sub, change_sub)                                                            \
    MODIFY(bits, fetch_or, change_or)                                                              \
    MODIFY(bits, fetch_and, change_and)                                                            \
    COMPARE(bits, weak)                                                                            \
    COMPARE(bits, strong)                                                                          \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(                                     \
        void *a, uint##bits##_t e, uint##bits##_t v, int order, int failed)                        \
    {                                                                                              \
        compare_exchange(a, bits / 8, &e, v, order, failed);                                       \
        return e;                                                                                  \
    }

ATOMICS(8)
ATOMICS(32)
ATOMICS(64)

void __tsan_atomic_thread_fence(int order)
{
    if (order != __ATOMIC_SEQ_CST)
        return;
    step();
    drain();
    tell("has a fence");
}

/* What a plain read brings is part of what the thread has seen. */
static void plain_read(const void *address, size_t size)
{
    for (size_t at = 0; at < size; at += 8) {
        const unsigned char *word = (const unsigned char *)address + at;
        touch(word, READ);
        model_saw(peek(word, size - at < 8 ? (unsigned)(size - at) : 8));
    }
}

static void plain_write(void *address, size_t size)
{
    for (size_t at = 0; at < size; at += 8)
        touch((unsigned char *)address + at, WRITE);
}

#define PLAIN(bytes)                                                                               \
    void __tsan_read##bytes(void *a)                                                               \
    {                                                                                              \
        plain_read(a, bytes);                                                                      \
    }                                                                                              \
    void __tsan_write##bytes(void *a)                                                              \
    {                                                                                              \
        plain_write(a, bytes);                                                                     \
    }                                                                                              \
    void __tsan_unaligned_read##bytes(void *a)                                                     \
    {                                                                                              \
        plain_read(a, bytes);                                                                      \
    }                                                                                              \
    void __tsan_unaligned_write##bytes(void *a)                                                    \
    {                                                                                              \
        plain_write(a, bytes);                                                                     \
    }

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

void __tsan_read_range(void *a, size_t size)
{
    plain_read(a, size);
}

void __tsan_write_range(void *a, size_t size)
{
    plain_write(a, size);
}

void *__tsan_memset(void *a, int byte, size_t size)
{
    plain_write(a, size);
    return memset(a, byte, size);
}

void *__tsan_memcpy(void *a, const void *from, size_t size)
{
    plain_read(from, size);
    plain_write(a, size);
    return memcpy(a, from, size);
}

void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller)
{
    (void)caller;
}

void __tsan_func_exit(void)
{
}

/* A thread that spins: nothing changes for it until another thread changes the world. */
int sched_yield(void)
{
    self->is_idle = true;
    step();
    tell("spins");
    return 0;
}

/* ---- the rest of what a thread calls ---- */

static bool others_have_ended(void)
{
    for (unsigned i = 1; i < MODEL_THREADS; i++)
        if (!state.threads[i].has_ended || state.threads[i].stored)
            return false;
    return true;
}

void model_join(void)
{
    model_wait(others_have_ended, "joins the other threads");
    for (int i = 1; i < MODEL_THREADS; i++)
        learn(0, i);
}

void model_kill(const void *address, size_t size)
{
    if (state.dead_count == DEAD)
        abort();
    state.dead[state.dead_count].begin = address;
    state.dead[state.dead_count++].end = (const unsigned char *)address + size;
}

/* ---- the explorer ---- */

/* One copy of everything for each depth. */
static struct copy {
    struct state  state;
    unsigned char world[WORLD_MAX];
    unsigned char stacks[MODEL_THREADS][STACK / 4];
} * copies[DEPTH];

static size_t in_use(unsigned thread)
{
    return (size_t)(stacks[thread] + STACK - state.threads[thread].low);
}

static void save(unsigned depth)
{
    if (!copies[depth] && !(copies[depth] = malloc(sizeof **copies)))
        abort();
    struct copy *copy = copies[depth];
    copy->state = state;
    memcpy(copy->world, model->world, model->size);
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        if (in_use(i) > sizeof copy->stacks[i])
            abort();
        if (!state.threads[i].has_ended)
            memcpy(copy->stacks[i], state.threads[i].low, in_use(i));
    }
}

static void restore(unsigned depth)
{
    const struct copy *copy = copies[depth];
    state = copy->state;
    memcpy(model->world, copy->world, model->size);
    for (unsigned i = 0; i < MODEL_THREADS; i++)
        if (!state.threads[i].has_ended)
            memcpy(state.threads[i].low, copy->stacks[i], in_use(i));
}

static uint64_t hash_of_state(void)
{
    uint64_t        hash = 0, lanes[4] = { 0 }; /* side by side, for speed */
    const uint64_t *word = model->world;
    for (size_t i = 0; i < model->size / 8; i += 4)
        for (size_t lane = 0; lane < 4; lane++)
            lanes[lane] = mixed(lanes[lane], word[i + lane]);
    for (size_t lane = 0; lane < 4; lane++)
        hash = mixed(hash, lanes[lane]);
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        const struct thread *thread = &state.threads[i];
        hash = mixed(hash, thread->seen);
        hash = mixed(hash, thread->actions);
        hash = mixed(hash, thread->stored * 4 + thread->is_idle * 2 + thread->has_ended);
        for (unsigned s = 0; s < thread->stored; s++) {
            hash = mixed(hash, (uintptr_t)thread->stores[s].address);
            hash = mixed(hash, thread->stores[s].value);
        }
    }
    for (int i = 0; i < tracked_count; i++)
        for (unsigned t = 0; t < MODEL_THREADS; t++)
            for (unsigned k = 0; k < KINDS; k++)
                hash = mixed(hash, state.known[i][t][k]);
    return mixed(hash, state.dead_count) | 1;
}

/* The states that were seen, by their hashes; 0: a free place. */
static struct {
    uint64_t *places;
    size_t    count, room; /* room: a power of two */
} states;

static bool insert_hash(uint64_t hash)
{
    size_t i = hash >> 20 & (states.room - 1);
    for (; states.places[i]; i = (i + 1) & (states.room - 1))
        if (states.places[i] == hash)
            return false;
    states.places[i] = hash;
    states.count++;
    return true;
}

static void make_room(size_t room)
{
    uint64_t *old = states.places;
    size_t    old_room = states.room;
    states.places = calloc(room, sizeof *states.places);
    states.room = room;
    states.count = 0;
    if (!states.places)
        abort();
    for (size_t i = 0; i < old_room; i++)
        if (old[i])
            insert_hash(old[i]);
    free(old);
}

/* True: the state is new. */
static bool insert_state(uint64_t hash)
{
    if (states.count * 2 >= states.room)
        make_room(states.room * 2);
    return insert_hash(hash);
}

/* A choice is the step of a thread, or above these the draining of a store of one. */
enum { CHOICES = 2 * MODEL_THREADS };

static bool is_possible(unsigned choice)
{
    if (choice >= MODEL_THREADS)
        return state.threads[choice - MODEL_THREADS].stored;
    const struct thread *thread = &state.threads[choice];
    return !thread->has_ended && !thread->is_idle && (!thread->ready || thread->ready());
}

static int step_of(unsigned choice)
{
    if (_setjmp(explorer) == 0) {
        self = &state.threads[choice % MODEL_THREADS];
        if (choice < MODEL_THREADS)
            _longjmp(self->at, 1);
        drain_one(self);
        outcome = WENT_ON;
    }
    self = NULL;
    return outcome;
}

/* Nothing is possible: all threads have ended, or those that have not wait for ever. */
static int finish(void)
{
    for (unsigned i = 0; i < MODEL_THREADS; i++)
        if (!state.threads[i].has_ended) {
            snprintf(found.failure, sizeof found.failure, "%s waits for ever", model->threads[i]);
            return FAILED;
        }
    outcome = WENT_ON;
    if (_setjmp(explorer) == 0)
        model->end();
    return outcome;
}

static int goes_round(void)
{
    snprintf(found.failure, sizeof found.failure, "the threads go round for ever");
    return FAILED;
}

static uint64_t path[DEPTH]; /* the states on the way to the present one */

static bool is_on_path(uint64_t hash, unsigned depth)
{
    for (unsigned i = 0; i <= depth; i++)
        if (path[i] == hash)
            return true;
    return false;
}

static int explore(unsigned depth, unsigned last)
{
    bool any = false;
    if (depth + 1 >= DEPTH)
        return goes_round();
    if (depth > found.depth)
        found.depth = depth;
    save(depth);
    for (unsigned i = 0; i < CHOICES; i++) {
        unsigned choice = (last + i) % CHOICES; /* the thread that ran last first */
        if (any)
            restore(depth);
        if (!is_possible(choice))
            continue;
        any = true;
        found.steps++;
        found.schedule[depth] = (char)('0' + choice);
        found.schedule[depth + 1] = 0;
        int result = step_of(choice);
        if (result == WENT_ON) {
            uint64_t hash = path[depth + 1] = hash_of_state();
            if (insert_state(hash))
                result = explore(depth + 1, choice);
            else if (is_on_path(hash, depth))
                result = goes_round();
        }
        if (result != WENT_ON)
            return result;
    }
    return any ? WENT_ON : finish();
}

/* One schedule. */
static int follow(const char *schedule)
{
    for (; *schedule; schedule++) {
        unsigned choice = (unsigned)(*schedule - '0');
        if (choice >= CHOICES || !is_possible(choice))
            return WENT_ON;
        int result = step_of(choice);
        if (result != WENT_ON)
            return result;
    }
    for (unsigned i = 0; i < CHOICES; i++)
        if (is_possible(i))
            return WENT_ON;
    return finish();
}

static void run_thread(void)
{
    model->body((unsigned)thread_number(self));
    self->has_ended = true;
    self->low = stacks[thread_number(self)] + STACK;
    self->seen = 0;
    leave(WENT_ON);
}

/* Sets the world up, and runs each thread to its first step. */
static int begin(void)
{
    static ucontext_t contexts[MODEL_THREADS];
    memset(&state, 0, sizeof state);
    memset(model->world, 0, model->size);
    model->begin();
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        getcontext(&contexts[i]);
        contexts[i].uc_stack.ss_sp = stacks[i];
        contexts[i].uc_stack.ss_size = STACK;
        makecontext(&contexts[i], run_thread, 0);
        self = &state.threads[i];
        if (_setjmp(explorer) == 0)
            setcontext(&contexts[i]);
        self = NULL;
        if (outcome != WENT_ON)
            return outcome;
    }
    return WENT_ON;
}

static void caught(int number)
{
    model_fail("the program was ended by signal %d (%s)", number, strsignal(number));
}

bool model_explore(const struct model *given, const char *schedule, struct model_found *ret_found)
{
    static const int caught_signals[] = { SIGABRT, SIGSEGV, SIGBUS };
    struct sigaction action = { .sa_handler = caught, .sa_flags = SA_NODEFER }, old[3];
    int              result;
    for (unsigned i = 0; i < 3; i++)
        sigaction(caught_signals[i], &action, &old[i]);
    if (given->size > WORLD_MAX || given->size % 32)
        abort();
    model = given;
    tells = schedule;
    if (!schedule) {
        memset(locations, 0, sizeof locations);
        tracked_count = objects_count = 0;
    }
    do {
        found = (struct model_found){ 0 };
        states.count = 0;
        if (states.room)
            memset(states.places, 0, states.room * sizeof *states.places);
        else
            make_room(1 << 16);
        result = begin();
        if (result == WENT_ON)
            result = schedule ? follow(schedule) : explore(0, 0);
    } while (result == AGAIN);
    found.states = states.count;
    for (unsigned i = 0; i < 3; i++)
        sigaction(caught_signals[i], &old[i], NULL);
    *ret_found = found;
    return result == WENT_ON;
}
