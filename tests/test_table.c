/* SPDX-License-Identifier: MIT */
/* Every system call, cancelled in every state that an operation can be in.
 *
 * scenes.h has a row for each system call of uring/rows.c, some have several.  Here are the
 * situations, each a test of each row, with a loop of the best kind and with a plain one.  What
 * they assert in the end is always the same two things: the result is one that the situation
 * allows, and what the result says is what happened. */
#include "scenes.h"

#include <criterion/parameterized.h>
#include <pthread.h>
#include <sched.h>

TestSuite(table, .timeout = 60);

static const struct unri_row *find_in_library(const char *name)
{
    for (unsigned i = 0; i < unri_row_count; i++)
        if (strcmp(unri_rows[i]->type.name, name) == 0)
            return unri_rows[i];
    return NULL;
}

static bool find_here(const char *name)
{
    for (unsigned i = 0; i < ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return true;
    return false;
}

/* No system call of the library is missing from this test, and nothing here is missing from the
 * library. */
Test(table, has_every_system_call)
{
    for (unsigned i = 0; i < unri_row_count; i++)
        if (!find_here(unri_rows[i]->type.name))
            cr_expect_fail("%s has no row here", unri_rows[i]->type.name);
    for (unsigned i = 0; i < ROWS; i++)
        if (!find_in_library(rows[i].name))
            cr_expect_fail("%s is no system call of the library", rows[i].name);
}

/* ---- a play: one operation in one scene ---- */

struct play {
    const struct row *row;
    struct scene      scene;
    int               descriptors; /* that were open before */
    struct unr_op    *op;    /* allocated, with room for the largest, and freed in its `done` unless
                                `keep` */
    struct unr_op     ended; /* a copy, made there */
    unsigned          ends;  /* of `done` */
    bool              keep;
    bool              inside; /* a call of the library inside which no `done` may run */
    struct unr_signal signal; /* whose slot the operation is bound to; a child of `root` */
    struct unr_signal root;
    struct unr_op     companion;
    unsigned          companion_ends;
};

static void open_loop_of(unsigned flags)
{
    struct unr_loop_options options = { .size = sizeof options, .flags = flags };
    int                     error = unr_loop_open(&loop, &options);
    if (error)
        skip_if_refused();
    check_is(error, 0);
}

/* One turn that does not wait. */
static void turn(void)
{
    check(unr_loop_run_once(loop, 0) >= 0);
}

/* Turns until `*count` is not 0.  After ten seconds that is in vain. */
static void run_until(const unsigned *count)
{
    unr_time begin_time = unr_loop_now(loop);
    while (*count == 0) {
        check(unr_loop_run_once(loop, UNR_SEC(10)) >= 0);
        if (*count == 0 && unr_loop_now(loop) - begin_time >= UNR_SEC(10)) {
            unr_loop_dump(loop, STDERR_FILENO);
            cr_assert_fail("%s: it does not end", where);
        }
    }
}

static void companion_ended(struct unr_op *op)
{
    struct play *p = op->data;
    p->companion_ends++;
}

static void ended(struct unr_op *op)
{
    struct play *p = op->data;
    check(!p->inside);
    check(op == p->op);
    check(!unr_in_flight(op));
    check(!unr_cancel(op, UNR_CANCEL_ALL));
    check(!unr_slot_has_handler(unr_signal_slot(&p->signal)));
    p->ends++;
    p->ended = *op;
    if (p->keep)
        return;
    memset(op, UNTOUCHED, sizeof *op);
    free(op);
    p->op = NULL;
}

/* Sets the scene and describes the operation, bound to p->signal. */
static void begin(struct play *p)
{
    const struct row *row = p->row;
    p->descriptors = count_descriptors();
    p->ends = 0;
    p->companion_ends = 0;
    p->signal = (struct unr_signal){ 0 };
    p->scene = (struct scene){ .fd = -1, .peer = -1, .second = -1, .second_peer = -1 };
    p->op = calloc(1, sizeof(struct unr_datagram));
    memset(p->scene.buffer, UNTOUCHED, sizeof p->scene.buffer);
    unr_signal_attach(&p->signal, &p->root);
    row->set_up(&p->scene);
    if (row->companion) {
        unr_start(loop, row->companion(&p->companion, &p->scene), companion_ended, p);
        turn();
    }
    check(row->describe(p->op, &p->scene) == p->op);
    check_is(unr_supports(p->op), row->supports);
    unr_bind_slot(p->op, unr_signal_slot(&p->signal));
}

static void start_it(struct play *p)
{
    p->inside = true;
    unr_start(loop, p->op, ended, p);
    p->inside = false;
    check(unr_in_flight(p->op));
}

static uint8_t strongest(unsigned supports)
{
    return supports & UNR_CANCEL_TOTAL     ? UNR_CANCEL_TOTAL
           : supports & UNR_CANCEL_PARTIAL ? UNR_CANCEL_PARTIAL
                                           : supports;
}

/* Whatever happened, the result agrees with itself. */
static void check_result(const struct play *p)
{
    const struct unr_result *r = &p->ended.result;
    const struct unri_row   *call = find_in_library(p->row->name);
    bool                     cancelled = r->error == -ECANCELED;
    if (r->error != 0 && !cancelled)
        cr_assert_fail("%s: %s", where, unr_explain_op(&p->ended));
    check_is(r->flags, 0);
    switch (r->verdict) {
    case UNR_VERDICT_NONE: check(!cancelled && r->requested == 0); break;
    case UNR_VERDICT_UNSUBMITTED: check(cancelled); break;
    case UNR_VERDICT_CANCELLED: check(cancelled); break;
    default: check(!cancelled); break;
    }
    check((r->cause != 0) == (r->verdict != UNR_VERDICT_NONE));
    if (!cancelled)
        check_is(r->guarantee, UNR_CANCEL_NONE);
    else
        check_is(r->guarantee, r->verdict == UNR_VERDICT_UNSUBMITTED ? UNR_CANCEL_TOTAL
                                                                     : strongest(p->row->supports));
    if (r->guarantee == UNR_CANCEL_TOTAL)
        check_is(r->value, 0);
    check((r->fd >= 0) == (!cancelled && call->yields == UNRI_YIELDS_FD));
    if (call->yields == UNRI_YIELDS_NOTHING)
        check_is(r->value, 0);
}

/* Leaves the scene: nothing is in flight any more, and no descriptor is left open. */
static void leave(struct play *p)
{
    if (p->row->companion && loop) {
        unr_cancel(&p->companion, UNR_CANCEL_ALL);
        run_until(&p->companion_ends);
    }
    if (loop)
        check_is(unr_loop_in_flight(loop), 0);
    free(p->op); /* NULL, or kept */
    unr_signal_detach(&p->signal);
    for (unsigned i = 0; i < p->scene.count; i++)
        if (p->scene.mine[i] >= 0)
            close(p->scene.mine[i]);
    remove_folder(&p->scene);
    check_is(count_descriptors(), p->descriptors);
}

/* After the operation has ended: its result agrees with itself and with the scene. */
static void end(struct play *p)
{
    check_is(p->ends, 1);
    check_result(p);
    let_happen(p->row, &p->scene);
    p->row->verify(&p->scene, &p->ended, p->ended.result.error == 0);
    leave(p);
}

/* Submits the operation.  What waits is in flight then; the rest may have ended, and may not. */
static void submit_it(struct play *p)
{
    start_it(p);
    turn();
    if (p->row->happen)
        check(unr_in_flight(p->op) && p->ends == 0);
}

enum way { BY_ITSELF, BY_ITS_SLOT, BY_A_TREE, BY_ITS_DESCRIPTOR, BY_ITS_OTHER_DESCRIPTOR, WAYS };

/* Requests cancellation.  False: there is no such way to this operation.  Whoever emits is told
 * whether the operation honours the request, and has not completed. */
static bool request(struct play *p, enum way way, unsigned types, int cause)
{
    bool found = unr_in_flight(p->op);
    bool honours = found && !unri_has_ended(p->op) && types & unr_supports(p->op);
    int  fd = way == BY_ITS_OTHER_DESCRIPTOR ? p->scene.second : p->scene.fd;
    p->inside = true;
    switch (way) {
    case BY_ITSELF: found = unr_cancel_cause(p->op, types, cause); break;
    case BY_ITS_SLOT: check(unr_signal_emit_cause(&p->signal, types, cause) == honours); break;
    case BY_A_TREE: check(unr_signal_emit_cause(&p->root, types, cause) == honours); break;
    default:
        if (fd < 0
            || find_in_library(p->row->name)->type.private_fields.descriptors
                   < (way == BY_ITS_DESCRIPTOR ? 1 : 2))
            found = p->inside = false;
        else
            check(unr_cancel_fd(loop, fd, types) >= honours);
    }
    p->inside = false;
    return found;
}

static int cause_of(enum way way)
{
    return way >= BY_ITS_DESCRIPTOR ? -ECANCELED : CAUSE;
}

static bool leads_to(enum way way, const struct play *p)
{
    switch (way) {
    case BY_ITS_DESCRIPTOR:
        return find_in_library(p->row->name)->type.private_fields.descriptors >= 1;
    case BY_ITS_OTHER_DESCRIPTOR:
        return find_in_library(p->row->name)->type.private_fields.descriptors == 2;
    default: return true;
    }
}

/* ---- situations ---- */

static bool kernel_has(const struct row *row)
{
    return unri_ring_has(loop->ring, find_in_library(row->name)->opcode);
}

static void where_the_kernel_lacks_it_that_is_said(struct play *p);

/* False: this kernel does not have the call. */
static bool in_both_modes(unsigned index, const char *name, void (*situation)(struct play *p))
{
    static struct play play;
    int                before = count_descriptors();
    for (unsigned flags = 0; flags <= UNR_LOOP_PLAIN; flags++) {
        play = (struct play){ .row = &rows[index] };
        snprintf(where, sizeof where, "%s%s%s, %s loop: %s", play.row->name,
                 play.row->variant[0] ? " " : "", play.row->variant, flags ? "plain" : "default",
                 name);
        open_loop_of(flags);
        bool has = kernel_has(play.row) || situation == where_the_kernel_lacks_it_that_is_said;
        if (has)
            situation(&play);
        if (loop) {
            check_is(unr_loop_in_flight(loop), 0);
            check_is(unr_loop_close(loop), 0);
            loop = NULL;
        }
        check_is(count_descriptors(), before);
        if (!has)
            return false;
    }
    return true;
}

/* Each test is a process, and starting and ending one takes longer than to play a row: ten times as
 * long with a sanitizer. */
enum { ROWS_OF_A_TEST = 16 };

static void in_turn(unsigned first, const char *name, void (*situation)(struct play *p))
{
    unsigned end = first + ROWS_OF_A_TEST < ROWS ? first + ROWS_OF_A_TEST : ROWS;
    unsigned played = 0;
    for (size_t i = 0; i < LARGE; i++)
        patterned[i] = pattern(i);
    for (unsigned i = first; i < end; i++)
        played += in_both_modes(i, name, situation);
    if (played == 0)
        cr_skip_test("this kernel's io_uring has no %s", rows[first].name);
}

static struct criterion_test_params every_row(void)
{
    static unsigned firsts[ROWS];
    unsigned        count = 0;
    for (unsigned i = 0; i < ROWS; i += ROWS_OF_A_TEST)
        firsts[count++] = i;
    return cr_make_param_array(unsigned, firsts, count);
}

/* Plays every row, with either kind of loop. */
#define SITUATION(name)                                                                            \
    static void name(struct play *p);                                                              \
    ParameterizedTestParameters(table, name)                                                       \
    {                                                                                              \
        return every_row();                                                                        \
    }                                                                                              \
    ParameterizedTest(unsigned *first, table, name)                                                \
    {                                                                                              \
        in_turn(*first, #name, name);                                                              \
    }                                                                                              \
    static void name(struct play *p)

/* What is described is not in flight: a request finds nothing, it may be described again, and then
 * runs as ever. */
SITUATION(described_but_not_started_it_cannot_be_cancelled)
{
    begin(p);
    check(!unr_cancel(p->op, UNR_CANCEL_ALL));
    check(!unr_in_flight(p->op));
    check(!unr_signal_emit(&p->signal, UNR_CANCEL_ALL));
    p->row->describe(p->op, &p->scene);
    check_is(p->op->result.requested, 0);
    check_is(p->op->result.verdict, UNR_VERDICT_NONE);
    check_is(p->op->result.fd, -1);
    check_is(unr_loop_in_flight(loop), p->row->companion ? 1 : 0);

    unr_bind_slot(p->op, unr_signal_slot(&p->signal));
    submit_it(p);
    let_happen(p->row, &p->scene);
    run_until(&p->ends);
    check_is(p->ended.result.error, 0);
    check_is(p->ended.result.verdict, UNR_VERDICT_NONE);
    end(p);
}

/* A request that came before the kernel saw the operation, or the rule of what supports none. */
static void check_unsubmitted(struct play *p, unsigned types, int cause)
{
    const struct unr_result *r = &p->ended.result;
    bool                     honours = types & p->row->supports;
    if (honours) {
        run_until(&p->ends);
        check_is(r->error, -ECANCELED);
        check_is(r->guarantee, UNR_CANCEL_TOTAL);
        check_is(unr_outcome(r), cause);
    } else {
        turn(); /* it runs, and now its event finds it */
        let_happen(p->row, &p->scene);
        run_until(&p->ends);
        check_is(r->error, 0);
    }
    check_is(r->verdict, honours ? UNR_VERDICT_UNSUBMITTED : UNR_VERDICT_REFUSED);
    check_is(r->requested, types);
    check_is(r->cause, cause);
    end(p);
}

/* Rule 6: what the kernel has not seen ends without a system call, whatever its kind promises later
 * on. */
SITUATION(cancelled_before_submission_the_kernel_never_sees_it)
{
    for (enum way way = 0; way < WAYS; way++) {
        if (!leads_to(way, p))
            continue;
        begin(p);
        start_it(p);
        check(request(p, way, UNR_CANCEL_ALL, cause_of(way)));
        check_is(p->ends, 0);
        check_unsubmitted(p, UNR_CANCEL_ALL, cause_of(way));
    }
}

/* A latched request is an ordinary one made at start. */
SITUATION(started_on_a_latched_signal_it_never_begins)
{
    for (unsigned types = 1; types <= UNR_CANCEL_ALL; types++) {
        unr_signal_init_latched(&p->root);
        unr_signal_emit_cause(&p->root, types, CAUSE);
        begin(p);
        start_it(p);
        check_unsubmitted(p, types, CAUSE);
        unr_signal_reset(&p->root);
    }
}

/* It was in flight when the request came.  What waits is cancelled; the rest may have been
 * quicker. */
static void check_cancelled(struct play *p, int cause)
{
    const struct unr_result *r = &p->ended.result;
    run_until(&p->ends);
    if (p->row->happen && p->row->supports) {
        check_is(r->error, -ECANCELED);
        check_is(r->verdict, UNR_VERDICT_CANCELLED);
        check_is(r->guarantee, strongest(p->row->supports));
        check_is(unr_outcome(r), cause);
    }
    if (!p->row->supports)
        check_is(r->verdict, UNR_VERDICT_REFUSED);
    check_is(r->cause, cause);
    end(p);
}

/* Rule 7, and rule 4: it ends by the kernel's word, and nothing has happened but what the result
 * says. */
SITUATION(cancelled_in_flight_it_has_done_what_its_result_says)
{
    for (enum way way = 0; way < WAYS; way++) {
        if (!leads_to(way, p))
            continue;
        begin(p);
        submit_it(p);
        if (p->ends > 0) {
            check_is(p->ended.result.verdict, UNR_VERDICT_NONE);
            end(p);
            continue;
        }
        check(request(p, way, UNR_CANCEL_ALL, cause_of(way)));
        check_is(p->ends, 0);
        if (!p->row->supports)
            let_happen(p->row, &p->scene);
        check_cancelled(p, cause_of(way));
    }
}

/* The event has happened when the request is made: which of them the kernel takes up first is its
 * affair. */
SITUATION(cancelled_when_it_has_just_completed)
{
    for (unsigned i = 0; i < RACES / 4; i++) {
        begin(p);
        submit_it(p);
        let_happen(p->row, &p->scene);
        if (p->ends == 0)
            check(request(p, i % WAYS ? BY_ITSELF : BY_ITS_SLOT, UNR_CANCEL_ALL, CAUSE));
        run_until(&p->ends);
        end(p);
    }
}

/* The request is made, or even answered, when the event happens. */
SITUATION(completed_when_it_has_just_been_cancelled)
{
    for (unsigned i = 0; i < RACES / 4; i++) {
        begin(p);
        submit_it(p);
        if (p->ends == 0)
            check(request(p, BY_ITSELF, UNR_CANCEL_ALL, CAUSE));
        if (i % 2 && p->row->supports)
            turn();
        let_happen(p->row, &p->scene);
        run_until(&p->ends);
        end(p);
    }
}

struct race {
    struct play *play;
    atomic_bool  begun;
    unsigned     delay;
};

static void spin(unsigned rounds)
{
    for (volatile unsigned i = 0; i < rounds; i++)
        ;
}

static void *happen_elsewhere(void *context)
{
    struct race *race = context;
    atomic_store(&race->begun, true);
    spin(race->delay);
    let_happen(race->play->row, &race->play->scene);
    return NULL;
}

/* The event happens in another thread while the request is made, submitted and answered. */
SITUATION(cancelled_while_it_completes)
{
    unsigned random = 1;
    for (unsigned i = 0; i < RACES; i++) {
        pthread_t   thread;
        struct race race = { .play = p };
        random = random * 1103515245 + 12345;
        race.delay = (random >> 16) % 2000;
        begin(p);
        submit_it(p);
        must(-pthread_create(&thread, NULL, happen_elsewhere, &race));
        while (!atomic_load(&race.begun))
            sched_yield();
        spin((random >> 8) % 2000);
        for (unsigned turns = random >> 24 & 3; turns && p->ends == 0; turns--)
            turn();
        if (p->ends == 0)
            check(request(p, BY_ITSELF, UNR_CANCEL_ALL, CAUSE));
        run_until(&p->ends);
        pthread_join(thread, NULL);
        end(p);
    }
}

/* An operation of the test's own that ends over and over, each time before whatever ends in the
 * turn to come, until it meets the other one between its completion and its `done`. */
struct watcher {
    struct unr_op op;
    struct play  *play;
    bool          met;
};

static void watcher_start(struct unr_op *op)
{
    unr_finish(op, 0);
}

static const struct unr_op_type watcher_type = { .size = sizeof watcher_type,
                                                 .name = "watcher",
                                                 .start = watcher_start };

static void watch(struct unr_op *op)
{
    struct watcher *w = op->data;
    struct play    *p = w->play;
    check_is(p->ends, 0);
    w->met = p->op->private_fields.state == UNRI_FINISHED;
    if (w->met) {
        check(unr_in_flight(p->op));
        check(unr_cancel_cause(p->op, UNR_CANCEL_TERMINAL, CAUSE));
        check(unr_signal_emit_cause(&p->signal, UNR_CANCEL_TOTAL, CAUSE - 1) == 0);
        check(unr_in_flight(p->op));
        check_is(p->ends, 0);
    } else {
        sched_yield();
        unr_start(loop, unr_describe(op, &watcher_type), watch, w);
    }
}

/* Rule 2: a request between completion and `done` is too late, and the result says that it came. */
SITUATION(cancelled_between_completion_and_done_it_is_too_late)
{
    const struct unr_result *r = &p->ended.result;
    struct watcher           w = { .play = p };
    begin(p);
    start_it(p);
    if (p->row->happen) {
        turn();
        let_happen(p->row, &p->scene);
    }
    unr_start(loop, unr_describe(&w.op, &watcher_type), watch, &w);
    run_until(&p->ends);
    check(w.met);
    check_is(r->error, 0);
    check_is(r->verdict, UNR_VERDICT_TOO_LATE);
    check_is(r->requested, UNR_CANCEL_TERMINAL | UNR_CANCEL_TOTAL);
    check_is(r->cause, CAUSE);
    end(p);
}

/* Rule 2: after `done` a request finds nothing, and changes nothing. */
SITUATION(cancelled_after_done_nothing_happens)
{
    begin(p);
    p->keep = true;
    submit_it(p);
    let_happen(p->row, &p->scene);
    run_until(&p->ends);
    check(!unr_in_flight(p->op));
    check(!unr_cancel(p->op, UNR_CANCEL_ALL));
    check(!unr_slot_has_handler(unr_signal_slot(&p->signal)));
    check(!unr_signal_emit(&p->signal, UNR_CANCEL_ALL));
    check(!unr_signal_emit(&p->root, UNR_CANCEL_ALL));
    check(memcmp(p->op, &p->ended, sizeof *p->op) == 0);
    turn();
    check_is(p->ends, 1);
    check_is(p->ended.result.error, 0);
    end(p);
}

static unsigned cancels_to_be_sent(const struct play *p)
{
    unsigned count = 0;
    for (const struct unr_op *op = loop->ring->urgent.first; op; op = op->private_fields.next)
        count += op == p->op;
    return count;
}

/* Rule 7: requests merge into one cancel; the first cause stays, the types are or-ed. */
SITUATION(cancelled_twice_it_is_cancelled_once)
{
    const struct unr_result *r = &p->ended.result;
    begin(p);
    submit_it(p);
    if (p->ends == 0) {
        check(request(p, BY_ITSELF, UNR_CANCEL_TERMINAL, CAUSE));
        check(request(p, BY_ITS_SLOT, UNR_CANCEL_ALL, CAUSE - 1));
        check(request(p, BY_ITSELF, UNR_CANCEL_TOTAL, CAUSE - 2));
        check_is(cancels_to_be_sent(p), p->row->supports ? 1 : 0);
        if (!p->row->supports)
            let_happen(p->row, &p->scene);
        run_until(&p->ends);
        check_is(r->requested, UNR_CANCEL_ALL);
        check_is(r->cause, p->row->supports ? CAUSE : CAUSE - 2);
        if (p->row->happen)
            check_is(r->verdict, p->row->supports ? UNR_VERDICT_CANCELLED : UNR_VERDICT_REFUSED);
    }
    end(p);

    begin(p);
    start_it(p);
    check(request(p, BY_ITSELF, UNR_CANCEL_TERMINAL, CAUSE));
    check(request(p, BY_ITSELF, UNR_CANCEL_PARTIAL, CAUSE - 1));
    check_is(cancels_to_be_sent(p), 0);
    if (!p->row->supports) {
        turn();
        let_happen(p->row, &p->scene);
    }
    run_until(&p->ends);
    check_is(r->verdict, p->row->supports ? UNR_VERDICT_UNSUBMITTED : UNR_VERDICT_REFUSED);
    check_is(r->requested, UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL);
    check_is(r->cause, p->row->supports ? CAUSE : CAUSE - 1);
    end(p);
}

static void cancel_the_other(struct unr_op *op)
{
    struct play *p = op->data;
    if (p->ends == 0)
        check(request(p, BY_A_TREE, UNR_CANCEL_ALL, CAUSE));
    check(p->ends <= 1);
}

/* Rule 9: a request from inside the `done` of another operation is as good as any. */
SITUATION(cancelled_from_the_done_of_another_it_ends)
{
    struct unr_op nop = { 0 };
    begin(p);
    submit_it(p);
    unr_start(loop, unr_nop(&nop), cancel_the_other, p);
    if (p->ends == 0) {
        do {
            turn();
        } while (unr_in_flight(&nop));
        if (p->row->happen && !p->row->supports)
            let_happen(p->row, &p->scene);
        run_until(&p->ends);
        if (p->row->happen)
            check_is(p->ended.result.cause, CAUSE);
    }
    while (unr_in_flight(&nop))
        turn();
    end(p);
}

/* Rule 5: a request is honoured when it shares a guarantee with the operation; one that is refused
 * is remembered, and stands in the way of none that comes later. */
SITUATION(honours_a_request_that_shares_a_guarantee_with_it)
{
    const struct unr_result *r = &p->ended.result;
    const unsigned           supports = p->row->supports;
    for (unsigned types = 1; types <= UNR_CANCEL_ALL; types++) {
        begin(p);
        submit_it(p);
        if (p->ends > 0) {
            end(p);
            continue;
        }
        check(request(p, BY_ITSELF, types, CAUSE));
        if (types & supports) {
            check_cancelled(p, CAUSE);
            continue;
        }
        turn();
        if (p->row->happen)
            check_is(p->ends, 0);
        if (supports && p->ends == 0) {
            check(request(p, BY_ITSELF, supports, CAUSE - 1));
            run_until(&p->ends);
            check_is(r->error, -ECANCELED);
            check_is(r->verdict, UNR_VERDICT_CANCELLED);
            check_is(r->cause, CAUSE - 1);
            check_is(r->requested, types | supports);
            end(p);

            begin(p);
            submit_it(p);
            check(request(p, BY_ITSELF, types, CAUSE));
        }
        let_happen(p->row, &p->scene);
        run_until(&p->ends);
        check_is(r->error, 0);
        check_is(r->verdict, UNR_VERDICT_REFUSED);
        check_is(r->requested, types);
        check_is(r->cause, CAUSE);
        end(p);
    }
}

/* Starts the operation from inside a `done` that runs while the loop is being closed. */
static void start_late(struct unr_op *op)
{
    struct play *p = op->data;
    check_is(unr_outcome(&op->result), -ESHUTDOWN);
    start_it(p);
}

static void close_the_loop(void)
{
    check_is(unr_loop_close(loop), 0);
    loop = NULL;
}

/* Rule 10: unr_loop_close() waits until it has ended: cancelled, never begun, or run if it supports
 * nothing. */
SITUATION(closing_the_loop_ends_it)
{
    const struct unr_result *r = &p->ended.result;
    const unsigned flags = loop->ring->setup & IORING_SETUP_R_DISABLED ? 0 : UNR_LOOP_PLAIN;
    const bool     none = p->row->supports == 0;

    /* Queued. */
    int before = count_descriptors() - 2; /* without the two of the loop */
    begin(p);
    start_it(p);
    if (none)
        let_happen(p->row, &p->scene);
    close_the_loop();
    check_is(p->ends, 1);
    check_is(r->cause, -ESHUTDOWN);
    check_is(r->verdict, none ? UNR_VERDICT_REFUSED : UNR_VERDICT_UNSUBMITTED);
    p->descriptors = before;
    end(p);

    /* In flight. */
    open_loop_of(flags);
    begin(p);
    submit_it(p);
    if (none)
        let_happen(p->row, &p->scene);
    close_the_loop();
    check_is(p->ends, 1);
    if (p->row->happen) {
        check_is(r->cause, -ESHUTDOWN);
        if (!none)
            check_is(r->verdict, UNR_VERDICT_CANCELLED);
    }
    p->descriptors = before;
    end(p);

    /* Started meanwhile, out of reach of its own signal. */
    struct unr_op poll = { 0 };
    open_loop_of(flags);
    begin(p);
    if (none)
        let_happen(p->row, &p->scene);
    unr_start(loop, unr_poll(&poll, unri_whole(loop)->wake.fd, POLLPRI), start_late, p);
    turn();
    close_the_loop();
    check_is(p->ends, 1);
    check_is(r->cause, none ? 0 : -ESHUTDOWN);
    check_is(r->verdict, none ? UNR_VERDICT_NONE : UNR_VERDICT_UNSUBMITTED);
    p->descriptors = before;
    end(p);
}

static void run_without_done(struct play *p)
{
    unsigned ended_now = 0;
    while (!ended_now) {
        check(unr_loop_run_once(loop, UNR_SEC(10)) >= 0);
        ended_now = !unr_in_flight(p->op);
    }
    p->ends = 1;
    p->ended = *p->op;
}

/* Without a `done`, and without a slot, the result stays in the operation, and so does what it
 * owns. */
SITUATION(without_done_the_result_stays)
{
    p->keep = true;
    begin(p);
    p->row->describe(p->op, &p->scene);
    unr_start(loop, p->op, NULL, NULL);
    turn();
    let_happen(p->row, &p->scene);
    run_without_done(p);
    check_is(p->ended.result.error, 0);
    end(p);

    begin(p);
    p->row->describe(p->op, &p->scene);
    unr_start(loop, p->op, NULL, NULL);
    turn();
    bool asked = unr_cancel_cause(p->op, UNR_CANCEL_ALL, CAUSE);
    check(asked || !p->row->happen);
    if (p->row->happen && !p->row->supports)
        let_happen(p->row, &p->scene);
    run_without_done(p);
    if (p->row->happen && p->row->supports)
        check_is(unr_outcome(&p->ended.result), CAUSE);
    end(p);
}

/* A system call that this kernel's io_uring lacks ends with -EOPNOTSUPP and does nothing, and the
 * words for that say what it needs. */
SITUATION(where_the_kernel_lacks_it_that_is_said)
{
    const struct unri_row *call = find_in_library(p->row->name);
    uint8_t               *byte = &loop->ring->opcodes[call->opcode / 8], had = *byte;
    if (call == &unri_row_sqe || call == &unri_row_cancel_close)
        return; /* the caller's affair; and every kernel has the close */
    begin(p);
    *byte &= (uint8_t) ~(1 << call->opcode % 8);
    start_it(p);
    run_until(&p->ends);
    *byte = had;
    check_is(p->ended.result.error, -EOPNOTSUPP);
    check_is(p->ended.result.fd, -1);
    check_is(p->ended.result.value, 0);
    check(strstr(unr_explain_op(&p->ended), call->needs ? call->needs : p->row->name));

    /* Nothing has happened, so that all of it can be had still. */
    p->op = calloc(1, sizeof(struct unr_datagram));
    p->ends = 0;
    if (kernel_has(p->row)) {
        unr_bind_slot(p->row->describe(p->op, &p->scene), unr_signal_slot(&p->signal));
        submit_it(p);
        let_happen(p->row, &p->scene);
        run_until(&p->ends);
        check_is(p->ended.result.error, 0);
        end(p);
    } else {
        leave(p);
    }
}
