/* SPDX-License-Identifier: MIT */
/* Conservation above the system call: whatever becomes of a composed operation, what its result
 * counts is what moved.
 *
 * Lanes over TCP, unix sockets and pipes: somebody writes a stream whose bytes tell where in it
 * they belong, with unr_write_all() and its kin; in some lanes a relay, or an echo made with
 * unr_compose(), passes it on; somebody reads it, into memory of its own or into a buffer, until a
 * delimiter, a match or the end of a frame.  Each of them is asked to cancel at random, in every
 * way there is, and goes on by what its result says.  So what a step took and its operation forgot
 * shows as a wrong byte, and at the end, when each stream was read to its own end, as a count that
 * differs.
 *
 * Most of the streams are seen through a layer.  One kind knows of each step: after a request that
 * was honoured at most one, that in flight, may move anything.  The other gathers: its steps are
 * composed operations themselves, so one that is cancelled has moved something. */
#include "stress.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <regex.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { CANCELS = 1000000, FEW_CANCELS = 20000 };
enum {
    LANES = 12,
    ROOM = 16384,
    LIMIT = 6000,
    PIECES = 24,
    UNTOUCHED = 0xa5,
    LOOKED_AT = 256,
    SHOWN = 32
};

enum role { WRITER, MIDDLE, READER, ROLES };
enum what { NOTHING, TRANSFER, RELAY, REST, ECHO, UNTIL, MATCH, REGEX, FRAME };

/* A stream on top of a real one. */
struct layer {
    struct unr_stream   stream, below;
    struct actor       *actor;
    struct unr_compose  gather;
    struct unr_transfer gathered;
    struct unr_op      *described;
};

/* One who does one composed operation after another. */
struct actor {
    enum role    role;
    enum what    what;
    struct lane *lane;
    bool         busy, ended;

    /* what it does */
    struct layer  in, out; /* what it reads from, and writes to */
    int           in_fd, out_fd;
    uint64_t      offset; /* bytes that its results count: delivered, or taken */
    struct iovec  iov[PIECES];
    unsigned char memory[ROOM];
    size_t        len, goal;
    union {
        struct unr_transfer transfer;
        struct unr_reader   reader;
        struct unr_relay    relay;
    };
    struct unr_buffer  buffer; /* READER's; MIDDLE's: what it took and did not deliver */
    size_t             before; /* how much was in it */
    struct unr_framing framing;
    unsigned char      delimiter[4];
    size_t             delimiter_len;
    regex_t           *regex;

    /* the echo */
    struct unr_compose  echo;
    struct unr_some     some;
    struct unr_transfer child;
    struct iovec        piece;
    bool                tidy, tidying, preempted, reading;
    struct unr_op      *child_op;

    /* what is asked of it */
    struct unr_op      *inner, *op;
    struct unr_signal   signal;
    struct unr_deadline deadline;
    struct unr_filter   filter;
    struct asked        asked;
    unr_time            when; /* of the deadline; UNR_NEVER: there is none */
    bool                filtered, loose;
    int                 turns;       /* until the next request; -1: none is planned */
    unsigned            moved_after; /* steps that moved something after a request was honoured */
};

struct lane {
    struct actor actors[ROLES];
    uint64_t     salt;
    bool         dribbles;
    unsigned     layered; /* 0: not; 1: counts; 2: gathers */
    bool         open[2]; /* the ends for writing of the two legs */
};

static struct lane lanes[LANES];
static unsigned    planned;
static uint64_t    cancelled, before_begin, too_late, refused, asked_count, finished_count,
    bytes_moved;
static bool stopping;

#define HERE  "lane %zu, %s"
#define ME(a) (size_t)((a)->lane - lanes), role_names[(a)->role]
static const char *const role_names[ROLES] = { "writer", "middle", "reader" };

/* ---- the pattern ---- */

static uint64_t word_at(const struct lane *lane, uint64_t index)
{
    return mix(index ^ lane->salt);
}

static void write_pattern(const struct lane *lane, uint64_t offset, unsigned char *memory,
                          size_t len)
{
    for (size_t i = 0; i < len;) {
        uint64_t word = word_at(lane, (offset + i) / 8) >> (offset + i) % 8 * 8;
        size_t   n = 8 - (offset + i) % 8;
        n = n < len - i ? n : len - i;
        memcpy(memory + i, &word, n);
        i += n;
    }
}

static void check_pattern(const struct actor *a, uint64_t offset, const void *memory, size_t len)
{
    static unsigned char expected[65536];
    for (size_t at = 0; at < len; at += sizeof expected) {
        size_t n = len - at < sizeof expected ? len - at : sizeof expected;
        write_pattern(a->lane, offset + at, expected, n);
        if (memcmp(expected, (const char *)memory + at, n) == 0)
            continue;
        while (expected[0] == *((const unsigned char *)memory + at))
            memmove(expected, expected + 1, --n), at++;
        fail(HERE ": a wrong byte at offset %" PRIu64 ", %zu into %zu bytes; it was %s", ME(a),
             offset + at, at, len, a->inner ? unr_explain_op(a->inner) : "idle");
    }
}

/* ---- layers ---- */

static struct layer *layer_of(struct unr_stream *stream)
{
    return unr_container_of(stream, struct layer, stream);
}

static void gather_step(struct unr_compose *self, struct unr_op *finished)
{
    struct layer *layer = unr_container_of(self, struct layer, gather);
    if (!finished) {
        unr_compose_next(self, layer->described);
        return;
    }
    self->op.result.bytes = finished->result.bytes;
    unr_compose_end(self, finished->result.error == -ENODATA ? 0 : finished->result.error);
}

/* More than one byte, at times. */
static struct unr_op *gather(struct layer *layer, enum unr_direction direction,
                             const struct iovec *iov, unsigned n)
{
    size_t goal = 1 + below(one_in(2) ? 8 : 2000), room = 0;
    for (unsigned i = 0; i < n; i++)
        room += iov[i].iov_len;
    goal = goal < room ? goal : room;
    layer->described = unr_transfer_while(&layer->gathered, &layer->below, direction, iov, n,
                                          unr_transfer_at_least, (void *)(uintptr_t)goal);
    return unr_compose(&layer->gather, "gather", UNR_CANCEL_PARTIAL, gather_step);
}

static struct unr_op *layer_read(struct unr_stream *stream, struct unr_some *some,
                                 const struct iovec *iov, unsigned n)
{
    struct layer *layer = layer_of(stream);
    return layer->actor->lane->layered == 2 ? gather(layer, UNR_READ, iov, n)
                                            : unr_read_some(some, &layer->below, iov, n);
}

static struct unr_op *layer_write(struct unr_stream *stream, struct unr_some *some,
                                  const struct iovec *iov, unsigned n)
{
    struct layer *layer = layer_of(stream);
    return layer->actor->lane->layered == 2 ? gather(layer, UNR_WRITE, iov, n)
                                            : unr_write_some(some, &layer->below, iov, n);
}

static void layer_moved(struct unr_stream *stream, uint64_t bytes)
{
    struct layer *layer = layer_of(stream);
    struct actor *a = layer->actor;
    if (a->lane->layered == 1)
        unr_stream_moved(&layer->below, bytes); /* a transfer has said so by itself */
    if (bytes && a->asked.honoured && !a->tidying && ++a->moved_after > 1)
        fail(HERE ": a second step moved bytes after the request", ME(a));
}

static const struct unr_stream_type layer_type = {
    .size = sizeof(struct unr_stream_type),
    .name = "layer",
    .read_some = layer_read,
    .write_some = layer_write,
    .moved = layer_moved,
};

static struct unr_stream *stream_of(struct actor *a, struct layer *layer)
{
    return a->lane->layered ? &layer->stream : &layer->below;
}

static void set_layer(struct actor *a, struct layer *layer, int fd, bool is_pipe)
{
    layer->actor = a;
    unr_stream_layer(&layer->stream, &layer_type);
    if (is_pipe)
        unr_stream_pipe(&layer->below, fd);
    else
        unr_stream_socket(&layer->below, fd);
}

/* ---- requests ---- */

static void plan(struct actor *a, int turns)
{
    planned += (turns >= 0) - (a->turns >= 0);
    a->turns = turns;
}

static void note(struct actor *a, unsigned types, int cause)
{
    asked_count++;
    note_request(&a->asked, unr_supports(a->op), types, cause);
}

static unsigned as_partial(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_PARTIAL : type;
}

static unsigned only_total(void *context, unsigned type)
{
    (void)context;
    return type & UNR_CANCEL_TOTAL;
}

static struct unr_op *with_filter(struct actor *a, struct unr_op *op)
{
    static unr_filter_fn *const filters[] = { unr_let_none,  unr_let_terminal, unr_let_partial,
                                              unr_let_total, as_partial,       only_total };
    a->filtered = true;
    return unr_filter(&a->filter, op, filters[below(sizeof filters / sizeof *filters)], NULL);
}

static struct unr_op *with_deadline(struct actor *a, struct unr_op *op)
{
    unr_time now = unr_loop_now(loop);
    a->when = one_in(8) ? now - 1 : now + 1 + below(one_in(2) ? 20000 : 300000);
    return unr_cancel_at(&a->deadline, op, a->when);
}

/* Everything that can be around the operation, and when it is to be asked. */
static void begin(struct actor *a, enum what what, struct unr_op *op, unr_done_fn *done)
{
    bool deadline = one_in(6), inside = one_in(2);
    a->what = what;
    a->inner = op;
    a->asked = (struct asked){ 0 };
    a->when = UNR_NEVER;
    a->filtered = a->loose = a->tidying = false;
    a->moved_after = 0;
    unr_signal_init_latched(&a->signal);
    if (deadline && inside)
        op = with_deadline(a, op);
    if (one_in(8))
        op = with_filter(a, op);
    if (deadline && !inside)
        op = with_deadline(a, op);
    a->op = op;
    if (one_in(12)) {
        unsigned types = random_types();
        unr_signal_emit_cause(&a->signal, types, -1000);
        unr_bind_slot(op, unr_signal_slot(&a->signal));
        note(a, types, -1000);
    } else if (!one_in(8)) {
        unr_bind_slot(op, unr_signal_slot(&a->signal));
    }
    plan(a, one_in(4) ? -1 : (int)below(one_in(2) ? 2 : 8));
    a->busy = true;
    unr_start(loop, op, done, a);
}

/* The steps in flight on a descriptor are asked, and those that they belong to learn it from
 * them. */
static void ask_descriptor(int fd)
{
    for (unsigned i = 0; i < LANES * ROLES; i++) {
        struct actor *a = &lanes[i / ROLES].actors[i % ROLES];
        if (a->busy && (a->in_fd == fd || a->out_fd == fd))
            a->loose = true;
    }
    unr_cancel_fd(loop, fd, random_types());
    asked_count++;
}

static void ask(struct actor *a)
{
    unsigned types = one_in(8) ? UNR_CANCEL_TOTAL : random_types();
    int      cause = -1001 - (int)below(100);
    if (one_in(24)) {
        ask_descriptor(one_in(2) && a->out_fd >= 0 ? a->out_fd
                       : a->in_fd >= 0             ? a->in_fd
                                                   : a->out_fd);
    } else if (one_in(24) && a->op != a->inner) {
        a->loose = true; /* by itself, behind the back of what is around it */
        unr_cancel_cause(a->inner, types, cause);
        asked_count++;
    } else if (a->when != UNR_NEVER && one_in(4)) {
        unr_time when = one_in(3) ? UNR_NEVER : unr_loop_now(loop) + below(100000);
        if (unr_deadline_move(&a->deadline, when) && when != UNR_NEVER)
            a->when = when;
    } else if (one_in(2) && unr_slot_has_handler(unr_signal_slot(&a->signal))) {
        bool supported = types & unr_supports(a->op);
        note(a, types, cause);
        check(unr_signal_emit_cause(&a->signal, types, cause) <= supported);
    } else {
        note(a, types, cause);
        check(unr_cancel_cause(a->op, types, cause));
    }
    plan(a, one_in(3) ? (int)below(8) : -1);
}

static void ask_another(void)
{
    struct actor *a = &lanes[below(LANES)].actors[below(ROLES)];
    if (a->busy && unr_in_flight(a->op))
        ask(a);
}

/* ---- results ---- */

static bool is_cause(const struct actor *a, int cause)
{
    bool timed_out = a->when != UNR_NEVER && unr_loop_now(loop) >= a->when;
    return (a->asked.honoured && cause == a->asked.cause) || (timed_out && cause == -ETIMEDOUT)
           || (a->loose && cause <= -1001 && cause > -1101) || (a->loose && cause == -ECANCELED)
           || (a->loose && cause == -ETIMEDOUT);
}

/* With a filter or a deadline around it, more than one result is right. */
static void check_wrapped(const struct actor *a)
{
    const struct unr_result *r = &a->op->result;
    bool                     right;
    if (r->error == -ECANCELED)
        right = is_cause(a, r->cause) && r->guarantee
                && (r->verdict == UNR_VERDICT_CANCELLED
                    || (r->verdict == UNR_VERDICT_UNSUBMITTED && r->bytes == 0));
    else
        right = !r->guarantee && r->verdict != UNR_VERDICT_CANCELLED
                && r->verdict != UNR_VERDICT_UNSUBMITTED;
    if (!a->asked.types && a->when == UNR_NEVER && !a->loose)
        right &= r->verdict == UNR_VERDICT_NONE;
    if (a->asked.types && !a->asked.honoured && a->when == UNR_NEVER && !a->loose)
        right &= r->verdict == UNR_VERDICT_REFUSED || r->verdict == UNR_VERDICT_TOO_LATE;
    right &= r->error == a->inner->result.error && r->bytes == a->inner->result.bytes;
    if (!right)
        fail(HERE ": verdict %u, cause %d, guarantee %u, asked %#x (honoured %#x) with %d%s: %s",
             ME(a), r->verdict, r->cause, r->guarantee, a->asked.types, a->asked.honoured,
             a->asked.cause, a->loose ? ", loose" : "", unr_explain_op(a->op));
}

static void account(struct actor *a)
{
    const struct unr_result *r = &a->op->result;
    plan(a, -1);
    if (a->op == a->inner && !a->loose) {
        unsigned supports = unr_supports(a->op);
        if ((a->what == FRAME) != (supports == UNR_CANCEL_ALL) || !(supports & UNR_CANCEL_PARTIAL))
            fail(HERE ": %s supports %#x", ME(a), a->op->type->name, supports);
        check_result(a->op, &a->asked, supports);
    } else {
        check_wrapped(a);
    }
    check(!unr_slot_has_handler(unr_signal_slot(&a->signal)));
    check(!unr_in_flight(a->inner) && !unr_in_flight(&a->reader.private_fields.some.op)
          && !unr_in_flight(&a->some.op));
    finished_count++;
    cancelled += r->verdict == UNR_VERDICT_CANCELLED;
    before_begin += r->verdict == UNR_VERDICT_UNSUBMITTED;
    too_late += r->verdict == UNR_VERDICT_TOO_LATE;
    refused += r->verdict == UNR_VERDICT_REFUSED;
    a->busy = false;
    if (one_in(8))
        ask_another();
}

#define WRONG(a, ...)                                                                              \
    do {                                                                                           \
        char text[128];                                                                            \
        snprintf(text, sizeof text, __VA_ARGS__);                                                  \
        fail(HERE ": %s: %s", ME(a), unr_explain_op((a)->inner), text);                            \
    } while (0)

/* A transfer's own rules; how many bytes it moved. */
static size_t check_transfer(const struct actor *a)
{
    const struct unr_result *r = &a->inner->result;
    if (r->error != 0 && r->error != -ECANCELED && r->error != -ENODATA)
        WRONG(a, "at offset %" PRIu64, a->offset);
    if (r->bytes > a->len || (r->error == 0 ? r->bytes < a->goal : r->bytes >= a->goal))
        WRONG(a, "%" PRIu64 " of %zu bytes, %zu wanted", r->bytes, a->len, a->goal);
    return r->bytes;
}

/* ---- memory in pieces ---- */

static unsigned cut(struct actor *a)
{
    unsigned n = 1 + below(PIECES);
    size_t   at = 0;
    for (unsigned i = 0; i < n; i++) {
        size_t len = i + 1 == n ? a->len - at : one_in(4) ? 0 : below((unsigned)(a->len - at + 1));
        len = one_in(2) && i + 1 < n ? len / 4 : len;
        a->iov[i] = (struct iovec){ a->memory + at, len };
        at += len;
    }
    return n;
}

/* ---- writers ---- */

static void close_leg(struct lane *lane, unsigned leg, int fd)
{
    check(lane->open[leg]);
    lane->open[leg] = false;
    if (shutdown(fd, SHUT_WR) < 0)
        close(fd);
}

static void written(struct unr_op *op)
{
    struct actor *a = op->data;
    account(a);
    check(a->inner->result.error != -ENODATA);
    a->offset += check_transfer(a);
}

static void start_writer(struct actor *a)
{
    struct unr_stream *stream = stream_of(a, &a->out);
    struct unr_op     *op;
    if (stopping) {
        close_leg(a->lane, 0, a->out_fd);
        a->ended = true;
        return;
    }
    a->len = 1 + below(a->lane->dribbles ? 2 : one_in(4) ? 64 : one_in(2) ? 2048 : ROOM - 1);
    a->goal = a->len;
    write_pattern(a->lane, a->offset, a->memory, a->len);
    switch (below(3)) {
    case 0: op = unr_write_all(&a->transfer, stream, a->memory, a->len); break;
    case 1: op = unr_writev_all(&a->transfer, stream, a->iov, cut(a)); break;
    default:
        a->goal = 1 + below((unsigned)a->len);
        op = unr_transfer_while(&a->transfer, stream, UNR_WRITE, a->iov, cut(a),
                                unr_transfer_exactly, (void *)(uintptr_t)a->goal);
        a->len = a->goal;
        break;
    }
    begin(a, TRANSFER, op, written);
}

/* ---- those in the middle ---- */

static void middle_ended(struct actor *a)
{
    close_leg(a->lane, 1, a->out_fd);
    a->ended = true;
}

static size_t held(const struct actor *a)
{
    size_t len;
    unr_buffer_data(&a->buffer, &len);
    return len;
}

static void relayed(struct unr_op *op)
{
    struct actor            *a = op->data;
    const struct unr_result *r = &a->inner->result;
    size_t                   left;
    account(a);
    void *rest = unr_buffer_data(&a->relay.rest, &left);
    if ((r->error && r->error != -ECANCELED) || (r->error == 0 && left))
        WRONG(a, "and %zu bytes are left", left);
    a->offset += r->bytes;
    check_pattern(a, a->offset, rest, left);
    check(unr_buffer_append(&a->buffer, rest, left) == 0);
    unr_buffer_free(&a->relay.rest);
    if (r->error == 0)
        middle_ended(a);
}

static void rest_written(struct unr_op *op)
{
    struct actor *a = op->data;
    account(a);
    check(a->inner->result.error != -ENODATA);
    size_t n = check_transfer(a);
    a->offset += n;
    unr_buffer_consume(&a->buffer, n);
}

/* The next child, with a look at whether it may begin. */
static void echo_next(struct actor *a, struct unr_op *next)
{
    a->child_op = next;
    a->preempted = !a->tidying && unr_state_cancelled(unr_compose_state(&a->echo)) != 0;
    unr_compose_next(&a->echo, next);
}

static void echo_write(struct actor *a)
{
    size_t len;
    void  *data = unr_buffer_data(&a->buffer, &len);
    a->reading = false;
    echo_next(a, unr_write_all(&a->child, stream_of(a, &a->out), data, len));
}

static void echo_took(struct actor *a, const struct unr_op *finished)
{
    if (a->preempted
        && (finished->result.error != -ECANCELED || finished->result.bytes
            || finished->result.verdict == 0))
        fail(HERE ": a child began after the request: %s", ME(a), unr_explain_op(finished));
    if (a->reading) {
        unr_buffer_commit(&a->buffer, finished->result.bytes);
        unr_stream_moved(stream_of(a, &a->in), finished->result.bytes);
    } else {
        unr_buffer_consume(&a->buffer, finished->result.bytes);
        a->echo.op.result.bytes += finished->result.bytes;
    }
}

/* One that is tidy delivers what it took before it ends. */
static void echo_step(struct unr_compose *self, struct unr_op *finished)
{
    struct actor *a = unr_container_of(self, struct actor, echo);
    if (finished) {
        check(finished == a->child_op);
        echo_took(a, finished);
    }
    bool was_asked = unr_state_cancelled(unr_compose_state(self)) != 0;
    if (finished && finished->result.error == -ECANCELED && a->tidy && was_asked && held(a)) {
        a->tidying = true;
        unr_state_preempt(unr_compose_state(self), false);
        echo_write(a);
    } else if (a->tidying) {
        unr_compose_end(self, -ECANCELED);
    } else if (finished && finished->result.error) {
        unr_compose_end(self, finished->result.error);
    } else if (held(a)) {
        echo_write(a);
    } else if (finished && a->reading && !finished->result.bytes) {
        unr_compose_end(self, 0);
    } else {
        check(unr_buffer_prepare(&a->buffer, 1 + below(LIMIT - 1), &a->piece) == 0);
        a->reading = true;
        echo_next(a, unr_read_some(&a->some, stream_of(a, &a->in), &a->piece, 1));
    }
}

static void echoed(struct unr_op *op)
{
    struct actor            *a = op->data;
    const struct unr_result *r = &a->inner->result;
    account(a);
    size_t len;
    void  *data = unr_buffer_data(&a->buffer, &len);
    if ((r->error && r->error != -ECANCELED) || (r->error == 0 && len) || (a->tidying && len))
        WRONG(a, "and %zu bytes are left", len);
    a->offset += r->bytes;
    check_pattern(a, a->offset, data, len);
    if (r->error == 0)
        middle_ended(a);
}

static void start_middle(struct actor *a)
{
    bool echoes = (a->lane - lanes) % 3 == 2;
    if (echoes) {
        a->tidy = one_in(3);
        begin(a, ECHO, unr_compose(&a->echo, "echo", UNR_CANCEL_PARTIAL, echo_step), echoed);
    } else if (held(a)) {
        void *data = unr_buffer_data(&a->buffer, &a->len);
        a->goal = a->len;
        begin(a, REST, unr_write_all(&a->transfer, stream_of(a, &a->out), data, a->len),
              rest_written);
    } else {
        begin(a, RELAY, unr_relay(&a->relay, stream_of(a, &a->in), stream_of(a, &a->out)), relayed);
    }
}

/* ---- readers: into memory ---- */

static void drain_buffer(struct actor *a)
{
    size_t len;
    void  *data = unr_buffer_data(&a->buffer, &len);
    check_pattern(a, a->offset, data, len);
    unr_buffer_consume(&a->buffer, len);
    a->offset += len;
}

static void was_read(struct unr_op *op)
{
    struct actor *a = op->data;
    account(a);
    size_t n = check_transfer(a);
    check_pattern(a, a->offset, a->memory, n);
    for (size_t i = n; i < a->len && i < n + LOOKED_AT; i++)
        if (a->memory[i] != UNTOUCHED)
            WRONG(a, "byte %zu was touched", i);
    a->offset += n;
    a->ended = a->inner->result.error == -ENODATA;
}

static void start_memory_read(struct actor *a)
{
    struct unr_stream *stream = stream_of(a, &a->in);
    struct unr_op     *op;
    drain_buffer(a);
    a->len = 1 + below(a->lane->dribbles ? 16 : one_in(4) ? 64 : one_in(2) ? 2048 : ROOM - 1);
    a->goal = a->len;
    memset(a->memory, UNTOUCHED, a->len);
    switch (below(3)) {
    case 0: op = unr_read_exact(&a->transfer, stream, a->memory, a->len); break;
    case 1: op = unr_readv_exact(&a->transfer, stream, a->iov, cut(a)); break;
    default:
        a->goal = 1 + below((unsigned)a->len);
        op = unr_read_at_least(&a->transfer, stream, a->memory, a->len, a->goal);
        break;
    }
    begin(a, TRANSFER, op, was_read);
}

/* ---- readers: into a buffer ---- */

static ssize_t end_of_delimiter(const struct actor *a, const void *data, size_t len)
{
    const char *found = memmem(data, len, a->delimiter, a->delimiter_len);
    return found ? found - (const char *)data + (ssize_t)a->delimiter_len : 0;
}

/* Two bytes, neither of which is above 9. */
static ssize_t match_pair(void *context, const void *data, size_t len, size_t seen)
{
    const unsigned char *bytes = data;
    (void)context;
    for (size_t i = seen > 1 ? seen - 1 : 0; i + 1 < len; i++)
        if (bytes[i] < 10 && bytes[i + 1] < 10)
            return (ssize_t)i + 2;
    return 0;
}

/* What is to be found in the buffer, by the description of each operation: 0 nothing, else its end
 * or an error. */
static ssize_t expected_in(const struct actor *a, const void *data, size_t len)
{
    const unsigned char *bytes = data;
    const unsigned       size = (unsigned)a->delimiter_len;
    uint64_t             number = 0;
    switch (a->what) {
    case UNTIL: return end_of_delimiter(a, data, len);
    case MATCH: return match_pair(NULL, data, len, 0);
    case FRAME: break;
    default: return 0;
    }
    if (a->goal) { /* a limit, and a delimiter */
        ssize_t n = end_of_delimiter(a, data, len < a->goal ? len : a->goal);
        return n ? n : len < a->goal ? 0 : -EMSGSIZE;
    }
    if (len < size)
        return 0;
    for (unsigned i = 0; i < size; i++)
        number = number << 8 | bytes[i];
    number += size;
    if (number > a->len)
        return -EMSGSIZE;
    return number <= len ? (ssize_t)number : number > LIMIT ? -ENOBUFS : 0;
}

static void check_found(struct actor *a, size_t len, ssize_t expected)
{
    const struct unr_result *r = &a->inner->result;
    if (r->verdict == UNR_VERDICT_UNSUBMITTED) { /* nobody has looked */
        check(r->error == -ECANCELED && len == a->before);
        return;
    }
    if (expected > 0 && (r->error != 0 || r->bytes != (uint64_t)expected))
        WRONG(a, "not the %zd of the %zu bytes there", expected, len);
    if (expected < 0 && r->error != expected)
        WRONG(a, "not %zd, with %zu bytes there", expected, len);
    if (expected == 0 && r->error != -ECANCELED && r->error != -ENODATA && r->error != -ENOBUFS)
        WRONG(a, "nothing is in the %zu bytes", len);
    if (expected == 0 && r->error == -ENOBUFS && unr_buffer_left(&a->buffer))
        WRONG(a, "with room for %zu bytes", unr_buffer_left(&a->buffer));
}

static ssize_t regex_end(const struct actor *a, const void *data, size_t len)
{
    regmatch_t match = { .rm_so = 0, .rm_eo = (regoff_t)len };
    return regexec(a->regex, data, 1, &match, REG_STARTEND | REG_NOTEOL) == 0 ? match.rm_eo : 0;
}

static void was_buffered(struct unr_op *op)
{
    struct actor            *a = op->data;
    const struct unr_result *r = &a->inner->result;
    size_t                   len, skip, shown;
    account(a);
    const unsigned char *data = unr_buffer_data(&a->buffer, &len);
    if (len < a->before)
        WRONG(a, "of %zu bytes in the buffer %zu remain", a->before, len);
    skip = a->before > SHOWN ? a->before - SHOWN : 0;
    check_pattern(a, a->offset, data, a->before < SHOWN ? a->before : SHOWN);
    check_pattern(a, a->offset + skip, data + skip, len - skip);
    check_found(a, len, a->what == REGEX ? regex_end(a, data, len) : expected_in(a, data, len));
    if (r->error && r->bytes != (a->what == FRAME ? 0 : len - a->before))
        WRONG(a, "%zu were added", len - a->before);
    if (r->error == 0 && a->what == FRAME) {
        unsigned char *payload = unr_frame_payload(&a->framing, &a->buffer, r->bytes, &shown);
        check(payload == data + (a->goal ? 0 : a->delimiter_len)
              && shown == r->bytes - a->delimiter_len);
    }
    size_t used = r->error == 0                                   ? r->bytes
                  : r->error == -ENOBUFS || r->error == -EMSGSIZE ? 1 + below((unsigned)len)
                  : one_in(16)                                    ? below((unsigned)len + 1)
                                                                  : 0;
    unr_buffer_consume(&a->buffer, used);
    a->offset += used;
    if (r->error == -ENODATA) {
        drain_buffer(a);
        a->ended = true;
    }
}

static void start_buffer_read(struct actor *a)
{
    struct unr_stream *stream = stream_of(a, &a->in);
    struct unr_op     *op;
    a->before = held(a);
    a->delimiter_len = 1 + below(2);
    write_pattern(a->lane, a->offset + below(3000), a->delimiter, 4); /* which it may meet */
    a->what = (enum what)(UNTIL + below(4));
    switch (a->what) {
    case UNTIL:
        op = unr_read_until(&a->reader, stream, &a->buffer, a->delimiter, a->delimiter_len);
        break;
    case MATCH: op = unr_read_match(&a->reader, stream, &a->buffer, match_pair, NULL); break;
    case REGEX:
        op = unr_read_match(&a->reader, stream, &a->buffer, unr_match_regex, a->regex);
        break;
    default:
        a->goal = one_in(2) ? 1 + below(1000) : 0;
        a->len = one_in(2) ? 200 : 20000;
        if (a->goal)
            unr_framing_delimiter(&a->framing, a->delimiter, a->delimiter_len, a->goal);
        else
            unr_framing_length(&a->framing, 0, (unsigned)a->delimiter_len, UNR_BIG_ENDIAN,
                               (int64_t)a->delimiter_len, a->len);
        op = unr_read_frame(&a->reader, stream, &a->buffer, &a->framing);
    }
    begin(a, a->what, op, was_buffered);
}

/* ---- a part ---- */

static void start_actor(struct actor *a)
{
    if (a->role == WRITER)
        start_writer(a);
    else if (a->role == MIDDLE)
        start_middle(a);
    else if (one_in(3))
        start_memory_read(a);
    else
        start_buffer_read(a);
}

static bool run_lanes(void)
{
    bool going_on = false;
    for (unsigned i = 0; i < LANES * ROLES; i++) {
        struct actor *a = &lanes[i / ROLES].actors[i % ROLES];
        if (a->busy && a->turns > 0)
            a->turns--;
        else if (a->busy && a->turns == 0)
            ask(a);
        else if (!a->busy && !a->ended && (planned == 0 || !one_in(4)))
            start_actor(a);
        going_on |= !a->ended;
    }
    if (going_on)
        turn(planned ? 0 : UNR_NEVER);
    return going_on;
}

static void narrow(int fd)
{
    int size = 4096;
    must(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    must(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size));
}

static void tcp_pair(int ret_ends[2])
{
    const int          one = 1;
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof address;
    int                listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    narrow(listener);
    must(bind(listener, (struct sockaddr *)&address, len));
    must(getsockname(listener, (struct sockaddr *)&address, &len));
    must(listen(listener, 1));
    ret_ends[0] = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    narrow(ret_ends[0]);
    must(connect(ret_ends[0], (struct sockaddr *)&address, len));
    ret_ends[1] = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    must(setsockopt(ret_ends[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    must(setsockopt(ret_ends[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    close(listener);
}

/* fds: where the writer writes, where the middle reads and writes, where the reader reads; -1:
 * none. */
static void open_lane(char part, bool middle, int fds[4])
{
    int ends[2];
    fds[1] = fds[2] = -1;
    if (part == 'p') {
        must(pipe2(ends, O_CLOEXEC));
        must(fcntl(ends[1], F_SETPIPE_SZ, 4096));
        fds[0] = ends[1];
        fds[3] = ends[0];
        if (!middle)
            return;
        fds[1] = ends[0];
        must(pipe2(ends, O_CLOEXEC));
        fds[2] = ends[1];
        fds[3] = ends[0];
        return;
    }
    if (part == 't') {
        tcp_pair(ends);
    } else {
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
        narrow(ends[0]);
        narrow(ends[1]);
    }
    fds[0] = ends[0];
    fds[3] = middle ? ends[0] : ends[1];
    fds[1] = fds[2] = middle ? ends[1] : -1;
}

static void set_actor(struct lane *lane, enum role role, int in, int out, bool is_pipe,
                      regex_t *regex)
{
    struct actor *a = &lane->actors[role];
    a->role = role;
    a->lane = lane;
    a->in_fd = in;
    a->out_fd = out;
    a->turns = -1;
    a->regex = regex;
    a->ended = in < 0 && out < 0;
    set_layer(a, &a->in, in, is_pipe);
    set_layer(a, &a->out, out, is_pipe);
    unr_buffer_init(&a->buffer, role == MIDDLE ? 65536 : LIMIT);
}

static void set_lane(unsigned index, char part, regex_t *regex, int fds[4])
{
    struct lane *lane = &lanes[index];
    memset(lane, 0, sizeof *lane);
    lane->salt = mix(options.seed + index);
    lane->dribbles = index == 0 || index == 7;
    lane->layered = index / 3 % 3;
    lane->open[0] = true;
    lane->open[1] = index % 3 != 0;
    open_lane(part, lane->open[1], fds);
    set_actor(lane, WRITER, -1, fds[0], part == 'p', regex);
    set_actor(lane, MIDDLE, fds[1], fds[2], part == 'p', regex);
    set_actor(lane, READER, fds[3], -1, part == 'p', regex);
}

/* The stream has been read to its end, and everyone counted the same. */
static void check_lane(struct lane *lane, char part, const int fds[4])
{
    uint64_t written_bytes = lane->actors[WRITER].offset, passed = lane->actors[MIDDLE].offset;
    uint64_t read_bytes = lane->actors[READER].offset;
    bool     middle = lane->actors[MIDDLE].in_fd >= 0;
    if (written_bytes != read_bytes || (middle && passed != read_bytes))
        fail("lane %zu: %" PRIu64 " bytes written, %" PRIu64 " passed on, %" PRIu64 " read",
             (size_t)(lane - lanes), written_bytes, passed, read_bytes);
    bytes_moved += read_bytes;
    for (unsigned i = 0; i < ROLES; i++)
        unr_buffer_free(&lane->actors[i].buffer);
    /* The ends of pipes for writing are closed already. */
    close(part == 'p' ? fds[3] : fds[0]);
    if (part != 'p' || middle)
        close(middle ? fds[1] : fds[3]);
}

static unsigned count_descriptors(void)
{
    unsigned count = 0;
    DIR     *folder = opendir("/proc/self/fd");
    if (!folder)
        return 0;
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void play(const char *part, uint64_t cancels, unsigned flags)
{
    double   begin_seconds = seconds();
    unsigned descriptors = count_descriptors();
    int      fds[LANES][4];
    regex_t  regex;
    snprintf(where, sizeof where, "%s", part);
    guard(cancels);
    seed_random((uint64_t)*part);
    cancelled = before_begin = too_late = refused = asked_count = finished_count = bytes_moved = 0;
    stopping = false;
    planned = 0;
    check(regcomp(&regex, "[0-9A-Fa-f]{2}[^g-z]", REG_EXTENDED) == 0);
    for (unsigned i = 0; i < LANES; i++)
        set_lane(i, *part, &regex, fds[i]);
    open_loop((struct unr_loop_options){ .flags = flags });
    while (cancelled < cancels)
        run_lanes();
    stopping = true;
    while (run_lanes())
        ;
    check(unr_loop_in_flight(loop) == 0 && planned == 0);
    struct unr_stats stats = stats_of_loop();
    check(stats.started == stats.finished);
    check(unr_loop_close(loop) == 0);
    loop = NULL;
    for (unsigned i = 0; i < LANES; i++)
        check_lane(&lanes[i], *part, fds[i]);
    regfree(&regex);
    if (count_descriptors() != descriptors)
        fail("%u descriptors were open before, and %u are", descriptors, count_descriptors());
    alarm(0);
    printf("%-5s %" PRIu64 " composed operations, %" PRIu64
           " requests: cancelled in flight %" PRIu64 ", before %" PRIu64 ", too late %" PRIu64
           ", refused %" PRIu64 "; %" PRIu64 " steps repeated; %.1f MB; %.1f s\n",
           part, finished_count, asked_count, cancelled, before_begin, too_late, refused,
           stats.cancels_repeated, (double)bytes_moved / 1e6, seconds() - begin_seconds);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const parts[] = { "tcp", "unix", "pipe" };
    int                      names = read_options(argc, argv, CANCELS, FEW_CANCELS);
    signal(SIGPIPE, SIG_IGN);
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        bool wanted = names == 0;
        for (int j = 0; j < names; j++)
            wanted |= strcmp(argv[j], parts[i]) == 0;
        if (wanted)
            play(parts[i], options.cancels * (i == 0 ? 1 : 2) / 5, /* TCP takes its time */
                 (options.seed + i) % 2 ? UNR_LOOP_PLAIN : 0);
    }
    return 0;
}
