/* SPDX-License-Identifier: MIT */
/* The composed operations: transfers, readers, frames, connect_any, relay, sigwait and
 * process_wait, each with a peer that acts at any point, and asked to end, or its loop closed, at
 * each point.  What must hold afterwards is worked out from what the peer sent and found: every
 * byte, connection, signal and child is in one place, and the result tells which. */
#include "scenario.h"

#include <signal.h>
#include <sys/wait.h>

/* ---- a job: one operation, and one request at one point ---- */

enum { CAUSE = -7, TURNS = 4, TURNS_MAX = 200 };
enum point { TURN, LATCHED = TURNS, IN_FIRST_CALL, IN_SECOND_CALL, NEVER };
enum { MASKS = 4, CLOSES = MASKS, KINDS };

static const unsigned masks[MASKS] = { UNR_CANCEL_ALL, UNR_CANCEL_PARTIAL, UNR_CANCEL_TOTAL,
                                       UNR_CANCEL_TERMINAL };

struct job {
    struct unr_loop  *loop; /* NULL: closed */
    struct unr_op    *op;
    struct unr_signal signal;
    unsigned          supports, point, kind, requested, calls;
    bool              has_deadline; /* which asks, too */
    int               cause, runs;
    uint64_t          asked_at; /* bytes, when it was asked inside a call; else UINT64_MAX */
};

/* What a scenario chooses is one choice, so that a bound on deviations is one on the kernel's.
 * Returns which variant. */
static unsigned begin(struct job *j, unsigned guarantee, bool has_calls, unsigned variants)
{
    unsigned points = has_calls ? NEVER : IN_FIRST_CALL;
    unsigned choice = unr_sim_choose(variants * (1 + points * MASKS + TURNS));
    unsigned request = choice / variants;
    *j = (struct job){ .loop = open_small_loop(),
                       .supports = 2 * guarantee - 1,
                       .cause = CAUSE,
                       .asked_at = UINT64_MAX };
    if (request == 0) {
        j->point = NEVER;
    } else if (request <= points * MASKS) {
        j->point = (request - 1) / MASKS;
        j->kind = (request - 1) % MASKS;
    } else {
        j->point = request - points * MASKS - 1;
        j->kind = CLOSES;
    }
    return choice % variants;
}

static void ask_for(struct job *j, unsigned types)
{
    if (unr_in_flight(j->op))
        j->requested |= types;
    unr_signal_emit_cause(&j->signal, types, j->cause);
}

static void ask(struct job *j)
{
    if (j->kind != CLOSES) {
        ask_for(j, masks[j->kind]);
        return;
    }
    if (unr_in_flight(j->op))
        j->requested = UNR_CANCEL_ALL;
    j->cause = -ESHUTDOWN;
    close_loop(j->loop);
    j->loop = NULL;
}

/* By what the operation calls. */
static void called(struct job *j, uint64_t bytes)
{
    if (j->point
        == (++j->calls == 1 ? IN_FIRST_CALL
            : j->calls == 2 ? IN_SECOND_CALL
                            : NEVER + 1)) {
        ask(j);
        j->asked_at = bytes;
    }
}

static void job_done(struct unr_op *op)
{
    struct job *j = op->data;
    j->runs++;
    unr_sim_check(!unr_in_flight(op), "in done the operation is the caller's");
    unr_sim_check(!unr_slot_has_handler(unr_signal_slot(&j->signal)), "the slot is empty in done");
}

static void run_to_the_end(struct unr_loop *loop)
{
    for (int turns = 0; unr_loop_in_flight(loop); turns++) {
        unr_sim_check(turns < TURNS_MAX, "it ends within two hundred turns");
        unr_sim_check(unr_loop_run_once(loop, UNR_NEVER) >= 0, "a turn");
    }
}

/* What stalls is asked for everything, unless what it was asked for must end it. */
static void run(struct job *j, struct unr_op *op, bool stalls)
{
    j->op = op;
    if (j->point == LATCHED) {
        unr_signal_init_latched(&j->signal);
        ask(j);
        j->requested = masks[j->kind];
    }
    unr_start(j->loop, unr_bind_slot(op, unr_signal_slot(&j->signal)), job_done, j);
    for (unsigned turn = 0; turn < j->point && j->point < TURNS; turn++)
        unr_loop_run_once(j->loop, 0);
    if (j->point < TURNS)
        ask(j);
    if (j->loop && stalls && !(j->requested & j->supports)) {
        unr_loop_run_once(j->loop, 0);
        ask_for(j, UNR_CANCEL_ALL);
    }
    if (j->loop)
        run_to_the_end(j->loop);
    unr_sim_check(j->runs == 1, "each done runs once");
}

/* Once more, and nobody asks. */
static void run_again(struct job *j, struct unr_op *op)
{
    unr_signal_reset(&j->signal);
    j->point = NEVER;
    j->requested = 0;
    j->runs = 0;
    j->calls = 0;
    j->asked_at = UINT64_MAX;
    if (!j->loop)
        j->loop = open_small_loop();
    run(j, op, false);
}

static void end(struct job *j)
{
    if (j->loop) {
        unr_sim_check(unr_loop_in_flight(j->loop) == 0, "nothing is left in flight");
        close_loop(j->loop);
    }
}

static const struct unr_result *result_of(const struct job *j)
{
    return &j->op->result;
}

static bool never_began(const struct job *j)
{
    return result_of(j)->verdict == UNR_VERDICT_UNSUBMITTED;
}

static bool timed_out(const struct job *j)
{
    return j->has_deadline && result_of(j)->cause == -ETIMEDOUT;
}

static void check_cancelled(const struct job *j)
{
    const struct unr_result *r = result_of(j);
    unsigned                 strongest = (j->supports + 1) / 2;
    unr_sim_check(timed_out(j) || j->requested & j->supports, "cancelled only as asked");
    unr_sim_check(timed_out(j) || r->cause == j->cause, "and why");
    unr_sim_check(r->verdict == UNR_VERDICT_CANCELLED || never_began(j), "cancelled says so");
    unr_sim_check(r->guarantee == (never_began(j) ? UNR_CANCEL_TOTAL : strongest),
                  "the strongest guarantee that it can give");
}

static void check_completed(const struct job *j)
{
    const struct unr_result *r = result_of(j);
    unr_sim_check(r->guarantee == UNR_CANCEL_NONE, "not cancelled, no guarantee");
    unr_sim_check(r->verdict != UNR_VERDICT_CANCELLED && !never_began(j),
                  "not cancelled, and no word of it");
    unr_sim_check((r->verdict == UNR_VERDICT_NONE) == (r->requested == 0),
                  "a verdict exactly if something was asked");
    unr_sim_check((r->verdict == UNR_VERDICT_REFUSED)
                      == (r->requested && !(r->requested & j->supports)),
                  "refused exactly what it cannot give");
}

/* For what is compared with the real kernel: of what completed, not whether a request came while it
 * did. */
static const char *fate(const struct unr_result *r)
{
    switch (r->verdict) {
    case UNR_VERDICT_UNSUBMITTED: return "never began";
    case UNR_VERDICT_REFUSED: return "refused to end";
    default: return r->error == -ECANCELED ? "cancelled" : "ended";
    }
}

/* What holds whatever the operation, and how it ended: `what` in words. */
static void check(const struct job *j, const char *what)
{
    const struct unr_result *r = result_of(j);
    unr_sim_check(r->requested == j->requested
                      || (j->has_deadline && r->requested == UNR_CANCEL_ALL),
                  "requests are or-ed");
    unr_sim_check(never_began(j) == (j->point == LATCHED && masks[j->kind] & j->supports),
                  "what was latched, and nothing else, ends it before it begins");
    if (r->error == -ECANCELED)
        check_cancelled(j);
    else
        check_completed(j);
    outcome("%s, error %d, %s", fate(r), r->error == -ECONNRESET ? -EPIPE : r->error, what);
}

static const char *amount(uint64_t bytes, uint64_t goal)
{
    return bytes == 0 ? "none" : bytes < goal ? "some" : "all";
}

/* ---- what streams are made of ---- */

enum medium { SOCKET, PIPE, REGULAR, LAYER };
enum manner {
    PATIENT, /* the peer goes on for as long as it takes */
    STOPS,   /* it acts once */
    ENDS,    /* it acts once, and ends its side, or the file ends */
};

static const unsigned char said[] = "0123456789abcdefghijklmnopqrstuv";

enum {
    BASE = 2,
    PIECE = 3
}; /* where an operation on a file begins; how much a peer moves at once */

/* A stream, or a layer on a socket: its steps are composed themselves, and so come to an end with a
 * part moved and an error.  Its reads bring two bytes or more, or -ENODATA. */
struct layer {
    struct unr_stream   stream, below;
    struct unr_transfer transfer;
};

static struct unr_op *layer_reads(struct unr_stream *stream, struct unr_some *some,
                                  const struct iovec *iov, unsigned n)
{
    struct layer *layer = unr_container_of(stream, struct layer, stream);
    (void)some, (void)n;
    return unr_read_at_least(&layer->transfer, &layer->below, iov->iov_base, iov->iov_len, 2);
}

static struct unr_op *layer_writes(struct unr_stream *stream, struct unr_some *some,
                                   const struct iovec *iov, unsigned n)
{
    struct layer *layer = unr_container_of(stream, struct layer, stream);
    (void)some;
    return unr_writev_all(&layer->transfer, &layer->below, iov, n);
}

static const struct unr_stream_type layer_type = {
    .size = sizeof layer_type, .name = "layer", .read_some = layer_reads, .write_some = layer_writes
};

/* fds[0] is for the operation, fds[1] for its peer: -1 for a file. */
static void open_stream(struct layer *layer, int fds[2], enum medium medium,
                        enum unr_direction direction, size_t capacity, size_t file_len)
{
    struct unr_stream *stream = &layer->stream;
    int                pipe[2];
    fds[1] = -1;
    switch (medium) {
    case SOCKET:
        unr_sim_socketpair(fds, capacity);
        unr_stream_socket(stream, fds[0]);
        break;
    case LAYER:
        unr_sim_socketpair(fds, capacity);
        unr_stream_socket(&layer->below, fds[0]);
        unr_stream_layer(stream, &layer_type);
        break;
    case PIPE:
        unr_sim_pipe(pipe, capacity);
        fds[0] = pipe[direction];
        fds[1] = pipe[!direction];
        unr_stream_pipe(stream, fds[0]);
        break;
    case REGULAR:
        fds[0] = unr_sim_file(said, file_len);
        unr_stream_file(stream, fds[0], BASE);
        break;
    }
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        unr_sim_close(*fd);
    *fd = -1;
}

static void end_writing(int *fd, enum medium medium)
{
    if (medium == SOCKET || medium == LAYER)
        unr_sim_shutdown(*fd, SHUT_WR);
    else
        close_fd(fd);
}

static size_t read_all(int fd, unsigned char *buf, size_t size)
{
    size_t len = 0;
    for (ssize_t n; len < size && (n = unr_sim_read(fd, buf + len, size - len)) > 0;)
        len += (size_t)n;
    return len;
}

static bool is_broken(int error)
{
    return error == -EPIPE || error == -ECONNRESET;
}

/* ---- transfers ---- */

enum call { ALL, PIECES, AT_LEAST, WHILE, STUBBORN };
enum { PIECES_MAX = 24, ROOM_MAX = 32, LEAST = 5, ENOUGH = 7, CALLS_MAX = 12 };

struct transfer_type {
    enum call          call;
    enum unr_direction direction;
    enum medium        medium;
    enum manner        manner;
    size_t             len;
};

struct transfer_job {
    struct job                  job;
    const struct transfer_type *type;
    struct unr_transfer         transfer;
    struct layer                stream;
    struct iovec                pieces[PIECES_MAX];
    unsigned char               buf[ROOM_MAX], arrived[ROOM_MAX];
    int                         fds[2];
    bool                        ended;          /* the peer's side */
    size_t                      sent, received; /* by the peer */
    size_t                      bytes, allowed; /* as the condition was told, and said */
    int                         error;
};

static size_t goal_of(const struct transfer_job *t)
{
    switch (t->type->call) {
    case AT_LEAST: return LEAST;
    case WHILE: return ENOUGH;
    default: return t->type->len;
    }
}

static void peer_reads(void *job)
{
    struct transfer_job *t = job;
    ssize_t              n = unr_sim_read(t->fds[1], t->arrived + t->received, PIECE);
    t->received += n > 0 ? (size_t)n : 0;
    if (t->type->manner == PATIENT && !t->job.runs)
        unr_sim_later(peer_reads, t);
}

static void peer_closes(void *job)
{
    struct transfer_job *t = job;
    t->ended = true;
    close_fd(&t->fds[1]);
}

static void peer_reads_and_closes(void *job)
{
    peer_reads(job);
    unr_sim_later(peer_closes, job);
}

static void peer_writes(void *job)
{
    struct transfer_job *t = job;
    ssize_t              n = unr_sim_write(t->fds[1], said + t->sent, PIECE);
    t->sent += n > 0 ? (size_t)n : 0;
    if (t->type->manner == PATIENT && t->sent <= t->type->len)
        unr_sim_later(peer_writes, t);
}

static void peer_ends(void *job)
{
    struct transfer_job *t = job;
    t->ended = true;
    end_writing(&t->fds[1], t->type->medium);
}

static void peer_writes_and_ends(void *job)
{
    peer_writes(job);
    unr_sim_later(peer_ends, job);
}

/* At most a piece a step, until it is enough; or, stubborn, whatever goes wrong. */
static size_t condition(void *job, int error, size_t bytes)
{
    struct transfer_job *t = job;
    unr_sim_check(t->job.calls || (error == 0 && bytes == 0), "asked before the first step");
    unr_sim_check(bytes >= t->bytes && bytes - t->bytes <= t->allowed,
                  "a step moves at most what the condition said");
    t->bytes = bytes;
    t->error = error;
    called(&t->job, bytes);
    bool go_on = t->type->call == STUBBORN ? t->job.calls < CALLS_MAX : !error && bytes < ENOUGH;
    return t->allowed = go_on ? PIECE : 0;
}

/* Pieces of several lengths, with empty ones among them and at both ends; and if there are many,
 * with seven in a row that are not empty. */
static unsigned cut(struct transfer_job *t)
{
    static const size_t lengths[] = { 0, 3, 0, 1, 4, 2 };
    unsigned            n = 0;
    for (size_t at = 0; at < t->type->len; n++) {
        size_t len = t->type->len > 16 ? (n % 8 ? 1 + n % 2 : 0) : lengths[n % 6];
        t->pieces[n] = (struct iovec){ t->buf + at, len };
        at += len;
    }
    t->pieces[n++] = (struct iovec){ NULL, 0 };
    return n;
}

static struct unr_op *describe_transfer(struct transfer_job *t)
{
    const struct transfer_type *type = t->type;
    bool                        reads = type->direction == UNR_READ;
    unsigned                    n = cut(t);
    switch (type->call) {
    case ALL:
        return reads ? unr_read_exact(&t->transfer, &t->stream.stream, t->buf, type->len)
                     : unr_write_all(&t->transfer, &t->stream.stream, t->buf, type->len);
    case PIECES:
        return reads ? unr_readv_exact(&t->transfer, &t->stream.stream, t->pieces, n)
                     : unr_writev_all(&t->transfer, &t->stream.stream, t->pieces, n);
    case AT_LEAST:
        return unr_read_at_least(&t->transfer, &t->stream.stream, t->buf, type->len, LEAST);
    default:
        return unr_transfer_while(&t->transfer, &t->stream.stream, type->direction, t->pieces, n,
                                  condition, t);
    }
}

/* What was counted was written, in order, and nothing else. */
static void verify_written(struct transfer_job *t, size_t bytes)
{
    unsigned char found[BASE + ROOM_MAX];
    if (t->type->medium == REGULAR) {
        unr_sim_check(read_all(t->fds[0], found, sizeof found) == BASE + bytes,
                      "the bytes counted are the bytes in the file");
        unr_sim_check(memcmp(found, said, BASE + bytes) == 0, "and where they belong");
        return;
    }
    if (t->fds[1] >= 0)
        t->received += read_all(t->fds[1], t->arrived + t->received, ROOM_MAX - t->received);
    unr_sim_check(t->ended ? bytes >= t->received : bytes == t->received,
                  "the bytes counted are the bytes that arrived");
    unr_sim_check(memcmp(t->arrived, said, t->received) == 0, "what arrived is what was sent");
}

/* What was sent is in the memory, and counted, or is still there. */
static void verify_read(struct transfer_job *t, size_t bytes)
{
    unsigned char left[ROOM_MAX];
    if (t->type->medium != REGULAR) {
        size_t n = read_all(t->fds[0], left, sizeof left);
        unr_sim_check(bytes + n == t->sent, "every byte was read once or is still there");
        unr_sim_check(memcmp(left, said + bytes, n) == 0, "what is left is what comes next");
        unr_sim_check(result_of(&t->job)->error != -ENODATA || (n == 0 && t->ended),
                      "no end before the end");
    }
    unr_sim_check(memcmp(t->buf, said + (t->type->medium == REGULAR ? BASE : 0), bytes) == 0,
                  "what was read is what was sent");
}

static void verify_transfer(struct transfer_job *t)
{
    const struct unr_result *r = result_of(&t->job);
    bool                     reads = t->type->direction == UNR_READ;
    size_t                   bytes = (size_t)r->bytes;
    int                      at_the_end = t->type->manner == ENDS && reads ? -ENODATA : -ECANCELED;
    unr_sim_check((r->error == 0) == (bytes >= goal_of(t)),
                  "a success exactly if the goal was reached");
    unr_sim_check(bytes <= t->type->len, "no more than there was room for");
    unr_sim_check(r->error == 0 || r->error == -ECANCELED || r->error == at_the_end
                      || (t->type->manner == ENDS && !reads && is_broken(r->error)),
                  "no error that nobody caused");
    unr_sim_check(t->job.calls == 0 || (t->bytes == bytes && t->error == r->error),
                  "the condition was told how it ended");
    unr_sim_check(t->job.asked_at >= goal_of(t) || !(t->job.requested & t->job.supports)
                      || (r->error == -ECANCELED && bytes == t->job.asked_at),
                  "asked between two steps, it does not begin the second");
    if (t->type->medium == REGULAR)
        unr_sim_check(t->stream.stream.offset == (int64_t)(BASE + bytes),
                      "the offset moves with what is transferred");
    if (reads)
        verify_read(t, bytes);
    else
        verify_written(t, bytes);
    check(&t->job, amount(bytes, goal_of(t)));
}

static void transfer(const struct scenario *scenario)
{
    struct transfer_job         t = { .type = scenario->parameter };
    const struct transfer_type *type = t.type;
    bool reads = type->direction == UNR_READ, has_calls = type->call >= WHILE;
    /* The real kernel may have room for all of it. */
    unsigned larger =
        begin(&t.job, UNR_CANCEL_PARTIAL, has_calls, !reads && type->manner != PATIENT ? 2 : 1);
    size_t file_len = !reads ? BASE : type->manner == ENDS ? BASE + LEAST - 1 : sizeof said - 1;
    if (!reads)
        memcpy(t.buf, said + (type->medium == REGULAR ? BASE : 0), type->len);
    open_stream(&t.stream, t.fds, type->medium, type->direction, reads || larger ? 0 : 4, file_len);
    if (t.fds[1] < 0)
        t.ended = true;
    else if (reads)
        unr_sim_later(type->manner == ENDS ? peer_writes_and_ends : peer_writes, &t);
    else
        unr_sim_later(type->manner == ENDS ? peer_reads_and_closes : peer_reads, &t);
    run(&t.job, describe_transfer(&t), type->manner == STOPS);
    verify_transfer(&t);
    end(&t.job);
    close_fd(&t.fds[0]);
    close_fd(&t.fds[1]);
}

/* ---- readers ---- */

enum search { UNTIL, MATCH, FRAME, LENGTH };
enum { CHUNKS = 4, TEXT_MAX = 64 };

struct chunk {
    const char *text;
    size_t      len;
};

#define C(text)                                                                                    \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }

struct reader_type {
    enum search  search;
    enum medium  medium;
    struct chunk before,
        chunks[CHUNKS];     /* in the buffer at first; what the peer sends, or the file holds */
    unsigned    found;      /* how many there are */
    enum manner manner;     /* STOPS: nothing but a request ends what comes after these */
    int         fails_with; /* what comes after these */
    size_t      limit, frame_limit; /* 0: 32, 16 */
    int64_t     adjustment;
    bool        timed; /* under a deadline of a millisecond */
};

struct reader_job {
    struct job                job;
    const struct reader_type *type;
    struct unr_reader         reader;
    struct unr_deadline       deadline;
    struct layer              stream;
    struct unr_buffer         buffer;
    struct unr_framing        framing;
    int                       fds[2];
    char                      all[TEXT_MAX]; /* as it comes */
    size_t                    all_len, sent; /* so much of it: what was in the buffer counts */
    size_t                    consumed;
    size_t                    held; /* by the buffer, when the call began */
    size_t                    shown;
    unsigned                  chunk;
    bool                      ended;
};

static void peer_sends(void *job)
{
    struct reader_job  *x = job;
    const struct chunk *chunk = &x->type->chunks[x->chunk];
    if (x->chunk < CHUNKS && chunk->len) {
        ssize_t n = unr_sim_write(x->fds[1], chunk->text, chunk->len);
        x->sent += n > 0 ? (size_t)n : 0;
        x->chunk++;
        unr_sim_later(peer_sends, x);
    } else if (x->type->manner == ENDS) {
        x->ended = true;
        end_writing(&x->fds[1], x->type->medium);
    }
}

/* A semicolon; a question mark is an error. */
static ssize_t match(void *job, const void *data, size_t len, size_t seen)
{
    struct reader_job *x = job;
    const char        *text = data;
    unr_sim_check(len > seen && seen == x->shown, "called for what it has not seen");
    unr_sim_check(memcmp(text, x->all + x->consumed, len) == 0 && text[len] == 0,
                  "it is shown what the buffer holds");
    x->shown = len;
    called(&x->job, len);
    for (size_t i = 0; i < len; i++)
        if (text[i] == ';' || text[i] == '?')
            return text[i] == ';' ? (ssize_t)i + 1 : -EBADMSG;
    return 0;
}

/* A model of all four: where the first one ends in the `len` bytes that begin at what is consumed;
 * 0: not yet; or an error. */
static int model(const struct reader_job *x, size_t len)
{
    const struct reader_type *type = x->type;
    const unsigned char      *text = (const unsigned char *)x->all + x->consumed;
    size_t                    limit = type->limit ? type->limit : 32,
           frame_limit = type->frame_limit ? type->frame_limit : 16;
    size_t within = type->search == FRAME && frame_limit < len ? frame_limit : len;
    if (type->search == LENGTH) {
        int64_t n = len < 2 ? 2 : text[0] * 256 + text[1] + type->adjustment;
        if (n < 2)
            return -EBADMSG;
        if ((size_t)n > frame_limit)
            return -EMSGSIZE;
        if ((size_t)n > limit)
            return -ENOBUFS;
        return len >= 2 && (size_t)n <= len ? (int)n : 0;
    }
    for (size_t i = 0; i < within; i++) {
        if (type->search == MATCH && (text[i] == ';' || text[i] == '?'))
            return text[i] == ';' ? (int)i + 1 : -EBADMSG;
        if (type->search != MATCH && i > 0 && text[i - 1] == '\r' && text[i] == '\n')
            return (int)i + 1;
    }
    return type->search == FRAME && len >= frame_limit ? -EMSGSIZE : 0;
}

static struct unr_op *describe_reader(struct reader_job *x)
{
    struct unr_op *op;
    unr_buffer_data(&x->buffer, &x->held);
    x->shown = 0;
    switch (x->type->search) {
    case UNTIL: op = unr_read_until(&x->reader, &x->stream.stream, &x->buffer, "\r\n", 2); break;
    case MATCH: op = unr_read_match(&x->reader, &x->stream.stream, &x->buffer, match, x); break;
    default: op = unr_read_frame(&x->reader, &x->stream.stream, &x->buffer, &x->framing); break;
    }
    return x->type->timed ? unr_cancel_after(&x->deadline, op, UNR_MSEC(1)) : op;
}

/* What the buffer holds is what came next, and decides how it ended. */
static void verify_reader(struct reader_job *x)
{
    const struct unr_result *r = result_of(&x->job);
    bool                     frame = x->type->search >= FRAME;
    size_t                   len, limit = x->type->limit ? x->type->limit : 32;
    const char              *data = unr_buffer_data(&x->buffer, &len);
    int                      found = model(x, len);
    unr_sim_check(len >= x->held && len <= limit, "nothing is consumed, and the limit kept");
    unr_sim_check(memcmp(data, x->all + x->consumed, len) == 0,
                  "the buffer holds what came, in order");
    if (x->type->medium == REGULAR)
        unr_sim_check(x->stream.stream.offset == (int64_t)(BASE + x->consumed + len),
                      "the offset moves with what is read");
    else
        unr_sim_check(x->consumed + len <= x->sent, "and no more than came");
    if (never_began(&x->job))
        unr_sim_check(len == x->held, "what never began reads nothing");
    else if (found > 0)
        unr_sim_check(r->error == 0 && r->bytes == (uint64_t)found,
                      "what has arrived is found, whatever else happened");
    else if (found < 0)
        unr_sim_check(r->error == found, "what cannot be is told as soon as it is known");
    else
        unr_sim_check(r->error == -ECANCELED || (r->error == -ENOBUFS && len == limit)
                          || (r->error == -ENODATA && x->ended && x->consumed + len == x->sent),
                      "without a match it is cancelled, full, or at the end");
    if (r->error)
        unr_sim_check(r->bytes == (frame ? 0 : len - x->held),
                      "what was added is counted, and of a frame nothing");
    else if (frame)
        unr_sim_check(r->bytes <= (x->type->frame_limit ? x->type->frame_limit : 16),
                      "the limit of a frame is kept");
    check(&x->job, frame ? "frame" : amount(r->bytes, r->error ? UINT64_MAX : 1));
}

static void open_reader(struct reader_job *x)
{
    const struct reader_type *type = x->type;
    x->all_len = type->before.len;
    memcpy(x->all, type->before.text ? type->before.text : "", type->before.len);
    for (int i = 0; i < CHUNKS && type->chunks[i].len; i++) {
        memcpy(x->all + x->all_len, type->chunks[i].text, type->chunks[i].len);
        x->all_len += type->chunks[i].len;
    }
    unr_buffer_init(&x->buffer, type->limit ? type->limit : 32);
    unr_sim_check(unr_buffer_append(&x->buffer, type->before.text, type->before.len) == 0,
                  "that fits");
    x->sent = type->before.len;
    if (type->search == LENGTH)
        unr_framing_length(&x->framing, 0, 2, UNR_BIG_ENDIAN, type->adjustment,
                           type->frame_limit ? type->frame_limit : 16);
    else
        unr_framing_delimiter(&x->framing, "\r\n", 2, type->frame_limit ? type->frame_limit : 16);
    if (type->medium == REGULAR) {
        char file[BASE + TEXT_MAX] = { 0 };
        memcpy(file + BASE, x->all, x->all_len);
        x->fds[0] = unr_sim_file(file, BASE + x->all_len);
        x->fds[1] = -1;
        unr_stream_file(&x->stream.stream, x->fds[0], BASE);
        x->sent = x->all_len;
        x->ended = true;
    } else {
        open_stream(&x->stream, x->fds, type->medium, UNR_READ, 0, 0);
        unr_sim_later(peer_sends, x);
    }
}

/* After a cancellation it is called again, until all are found and what comes after them has ended
 * it. */
static void reader(const struct scenario *scenario)
{
    struct reader_job x = { .type = scenario->parameter };
    unsigned          found = 0;
    bool              frame = x.type->search >= FRAME;
    begin(&x.job, frame ? UNR_CANCEL_TOTAL : UNR_CANCEL_PARTIAL, x.type->search == MATCH, 1);
    x.job.has_deadline = x.type->timed;
    open_reader(&x);
    run(&x.job, describe_reader(&x),
        x.type->manner == STOPS && !x.type->found && !x.type->fails_with);
    verify_reader(&x);
    for (int calls = 0;; calls++) {
        const struct unr_result *r = result_of(&x.job);
        unr_sim_check(calls < TURNS_MAX, "it comes to an end");
        if (!r->error) {
            unr_buffer_consume(&x.buffer, r->bytes);
            x.consumed += r->bytes;
            found++;
        }
        if (found == x.type->found && (!x.type->fails_with || r->error == x.type->fails_with))
            break;
        unr_sim_check(!r->error || r->error == -ECANCELED, "only a cancellation comes before that");
        run_again(&x.job, describe_reader(&x));
        verify_reader(&x);
    }
    end(&x.job);

    unsigned char left[TEXT_MAX];
    size_t        len, n = x.type->medium == REGULAR ? 0 : read_all(x.fds[0], left, sizeof left);
    unr_buffer_data(&x.buffer, &len);
    unr_sim_check(x.type->medium == REGULAR || x.consumed + len + n == x.sent,
                  "every byte is in one place");
    unr_sim_check(memcmp(left, x.all + x.consumed + len, n) == 0,
                  "what is left is what comes next");
    unr_buffer_free(&x.buffer);
    close_fd(&x.fds[0]);
    close_fd(&x.fds[1]);
}

/* ---- connect_any ---- */

enum { ADDRESSES = 3 };

struct connect_type {
    uint16_t ports[ADDRESSES]; /* 0: there is none; LIVE: one that answers; UNUSABLE: no address */
    int      tried;            /* to the end, and failed; -1: all */
    int      error;            /* of the last */

    const char *host, *service; /* NULL: addresses are given */
};

enum { LIVE = 80, REFUSES = 81, UNUSABLE = 1 };

struct connect_job {
    struct job                 job;
    const struct connect_type *type;
    struct unr_connect_any     connect;
    struct unr_connect_name    by_name;
    struct sockaddr_in         in[ADDRESSES];
    struct unr_address         addresses[ADDRESSES];
    unsigned                   n;
    int                        listener, first, accepted;
};

static void peer_accepts(void *job)
{
    struct connect_job *c = job;
    if (c->accepted < 0)
        c->accepted = unr_sim_accept(c->listener);
}

/* The statistics do not tell, because a child that its combinator asks does not count.  `error` is
 * the last connect's; a socket that was cancelled is the last child. */
static bool has_cancelled_child(const struct connect_job *c)
{
    const struct unr_connect_name_private *by_name = &c->by_name.private_fields;
    const struct unr_connect_any *connect = c->type->host ? &by_name->connect : &c->connect;
    return connect->private_fields.error == -ECANCELED
           || connect->private_fields.child.result.error == -ECANCELED
           || (c->type->host && by_name->resolve.op.result.error == -ECANCELED)
           || (c->type->host && connect->op.result.verdict == UNR_VERDICT_UNSUBMITTED);
}

/* A lookup may be short of a thread, too; unring says so with -EAGAIN. */
static bool lacks_something(const struct connect_job *c, int error)
{
    return is_shortage(error) || (c->type->host && error == -EAGAIN);
}

/* The peer's end of what was connected; of what was not, whatever came is over. */
static void verify_connect(struct connect_job *c)
{
    const struct unr_result *r = result_of(&c->job);
    char                     byte;
    unsigned                 said_to_us = 0, thrown_away = 0;
    unr_sim_check((r->fd >= 0) == (r->error == 0), "a descriptor exactly with success");
    unr_sim_check(r->error == 0 || r->error == -ECANCELED || r->error == c->type->error
                      || lacks_something(c, r->error),
                  "no error that nobody caused");
    unr_sim_check(r->error == -ECANCELED || lacks_something(c, r->error)
                      || r->value == c->type->tried,
                  "it says how many failed");
    unr_sim_check(r->value <= c->type->tried, "no address is left out");
    if (r->fd >= 0)
        unr_sim_check(unr_sim_write(r->fd, "x", 1) == 1, "a connect that succeeded is connected");
    if (c->accepted < 0)
        c->accepted = unr_sim_accept(c->listener); /* that is `first`'s */
    for (int fd; (fd = unr_sim_accept(c->listener)) >= 0; unr_sim_close(fd)) {
        ssize_t n = unr_sim_read(fd, &byte, 1);
        unr_sim_check(n == 0 || n == 1 || n == -ECONNRESET, "what is not ours is closed");
        said_to_us += n == 1;
        thrown_away += n == 0; /* one that is undone is reset */
    }
    unr_sim_check(said_to_us == (r->fd >= 0), "one connection is ours, and only with success");
    unr_sim_check(r->error != -ECANCELED || never_began(&c->job)
                      || (has_cancelled_child(c) && !thrown_away),
                  "a connection that was made is not thrown away");
    check(&c->job, r->fd >= 0 ? "connected" : "nothing");
    if (r->fd >= 0)
        unr_sim_close(r->fd);
}

static void connect_any(const struct scenario *scenario)
{
    struct connect_job c = { .type = scenario->parameter, .accepted = -1 };
    begin(&c.job, UNR_CANCEL_PARTIAL, false, 1);
    for (; c.n < ADDRESSES && c.type->ports[c.n]; c.n++) {
        c.in[c.n] = (struct sockaddr_in){ .sin_family = AF_INET,
                                          .sin_port = htons(c.type->ports[c.n]),
                                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        c.addresses[c.n] = (struct unr_address){ (struct sockaddr *)&c.in[c.n], sizeof c.in[c.n] };
        if (c.type->ports[c.n] == UNUSABLE)
            c.addresses[c.n].len = 0;
    }
    c.listener = unr_sim_listener(LIVE, 0);
    c.first = unr_sim_connect(LIVE); /* it is full */
    unr_sim_later(peer_accepts, &c);
    unr_sim_host("here", "127.0.0.1");
    run(&c.job,
        c.type->host ? unr_connect_name(&c.by_name, c.type->host, c.type->service)
                     : unr_connect_any(&c.connect, c.addresses, c.n),
        false);
    unr_sim_join_threads();
    verify_connect(&c);
    end(&c.job);
    close_fd(&c.first);
    close_fd(&c.accepted);
    close_fd(&c.listener);
}

/* ---- relay ---- */

struct relay_type {
    enum medium from, to;
    enum manner source;      /* PATIENT: it ends once all is said */
    enum manner destination; /* PATIENT, or ENDS */
};

enum { RELAYED = 7 };

struct relay_job {
    struct job               job;
    const struct relay_type *type;
    struct unr_relay         relay;
    struct layer             from, to;
    int                      in[2], out[2];
    unsigned char            arrived[ROOM_MAX];
    size_t                   sent, received;
    bool                     ended, closed;
};

static void source_writes(void *job)
{
    struct relay_job *y = job;
    if (y->sent == RELAYED) {
        y->ended = true;
        end_writing(&y->in[1], y->type->from);
        return;
    }
    size_t  len = RELAYED - y->sent < 4 ? RELAYED - y->sent : 4;
    ssize_t n = unr_sim_write(y->in[1], said + y->sent, len);
    y->sent += n > 0 ? (size_t)n : 0;
    if (y->type->source != STOPS)
        unr_sim_later(source_writes, y);
}

static void destination_closes(void *job)
{
    struct relay_job *y = job;
    y->closed = true;
    close_fd(&y->out[1]);
}

static void destination_reads(void *job)
{
    struct relay_job *y = job;
    ssize_t           n = unr_sim_read(y->out[1], y->arrived + y->received, PIECE);
    y->received += n > 0 ? (size_t)n : 0;
    if (y->type->destination == ENDS)
        unr_sim_later(destination_closes, y);
    else if (!y->job.runs)
        unr_sim_later(destination_reads, y);
}

/* Sent, in order: what was delivered, what is in the rest, what was not taken. */
static void verify_relay(struct relay_job *y)
{
    const struct unr_result *r = result_of(&y->job);
    const unsigned char     *stream = said + (y->type->from == REGULAR ? BASE : 0);
    unsigned char            left[ROOM_MAX], file[BASE + ROOM_MAX];
    size_t                   bytes = (size_t)r->bytes, rest_len, n = 0;
    const void              *rest = unr_buffer_data(&y->relay.rest, &rest_len);
    unr_sim_check(r->error == 0 || r->error == -ECANCELED
                      || (y->type->destination == ENDS && is_broken(r->error))
                      || (y->type->from == LAYER && y->ended && r->error == -ENODATA),
                  "no error that nobody caused");
    if (y->type->from == REGULAR)
        unr_sim_check(y->from.stream.offset == (int64_t)(BASE + bytes + rest_len),
                      "the offset moves with what is taken");
    else
        n = read_all(y->in[0], left, sizeof left);
    unr_sim_check(y->type->from == REGULAR || bytes + rest_len + n == y->sent,
                  "delivered, in the rest, or still there");
    unr_sim_check(memcmp(rest, stream + bytes, rest_len) == 0
                      && memcmp(left, stream + bytes + rest_len, n) == 0,
                  "each in its place");
    unr_sim_check(r->error || (y->ended && rest_len == 0 && bytes == y->sent),
                  "a success at the end, with all delivered");
    if (y->type->to == REGULAR) {
        y->received = read_all(y->out[0], file, sizeof file) - BASE;
        memcpy(y->arrived, file + BASE, y->received);
        unr_sim_check(y->to.stream.offset == (int64_t)(BASE + bytes),
                      "the offset moves with what is delivered");
    } else if (y->out[1] >= 0) {
        y->received += read_all(y->out[1], y->arrived + y->received, ROOM_MAX - y->received);
    }
    unr_sim_check(y->closed ? bytes >= y->received : bytes == y->received,
                  "the bytes counted are the bytes that arrived");
    unr_sim_check(memcmp(y->arrived, stream, y->received) == 0, "what arrived is what was sent");
    check(&y->job, r->error ? rest_len ? "rest" : "no rest" : "all");
    if (rest_len)
        unr_buffer_free(&y->relay.rest);
}

static void relay(const struct scenario *scenario)
{
    struct relay_job y = { .type = scenario->parameter };
    unsigned         larger =
        begin(&y.job, UNR_CANCEL_PARTIAL, false, y.type->destination == PATIENT ? 1 : 2);
    open_stream(&y.from, y.in, y.type->from, UNR_READ, 0, BASE + RELAYED);
    open_stream(&y.to, y.out, y.type->to, UNR_WRITE, larger ? 0 : 4, BASE);
    y.ended = y.type->from == REGULAR;
    if (y.ended)
        y.sent = RELAYED;
    else
        unr_sim_later(source_writes, &y);
    if (y.out[1] >= 0)
        unr_sim_later(destination_reads, &y);
    run(&y.job, unr_relay(&y.relay, &y.from.stream, &y.to.stream), y.type->source == STOPS);
    verify_relay(&y);
    end(&y.job);
    close_fd(&y.in[0]);
    close_fd(&y.in[1]);
    close_fd(&y.out[0]);
    close_fd(&y.out[1]);
}

/* ---- signals and children ---- */

struct process_job {
    struct job job;
    union {
        struct unr_sigwait sigwait;
        struct unr_process child;
    };
    uint64_t raised;
    pid_t    pid;
    bool     exited;
};

static const int signals[] = { SIGUSR1, SIGUSR2 };

static uint64_t bit(int number)
{
    return UINT64_C(1) << (number - 1);
}

static void raise_second(void *job)
{
    struct process_job *p = job;
    p->raised |= bit(SIGUSR2);
    unr_sim_raise(SIGUSR2);
}

static void raise_both(void *job)
{
    struct process_job *p = job;
    p->raised |= bit(SIGUSR1);
    unr_sim_raise(SIGUSR1);
    unr_sim_later(raise_second, p);
}

/* Those that are pending, which are not any more then. */
static uint64_t take_pending(int fd)
{
    uint32_t info[32]; /* a struct signalfd_siginfo: the first is the number */
    uint64_t taken = 0;
    while (unr_sim_read(fd, info, sizeof info) > 0)
        taken |= bit((int)info[0]);
    return taken;
}

/* Of two signals, each is taken by the wait, or is pending. */
static void sigwait_of_two(const struct scenario *scenario)
{
    struct process_job p = { .raised = 0 };
    int                fd = unr_sim_signalfd(bit(SIGUSR1) | bit(SIGUSR2)); /* it blocks them, too */
    bool               none = scenario->parameter;
    begin(&p.job, UNR_CANCEL_TOTAL, false, 1);
    if (!none)
        unr_sim_later(raise_both, &p);
    run(&p.job, unr_sigwait(&p.sigwait, signals, 2), none);
    const struct unr_result *r = result_of(&p.job);
    uint64_t                 taken = r->error ? 0 : bit((int)r->value), pending = take_pending(fd);
    unr_sim_check(r->error == 0 || r->error == -ECANCELED || is_shortage(r->error),
                  "no error that nobody caused");
    unr_sim_check((taken | pending) == p.raised && !(taken & pending),
                  "each signal was taken, or is pending");
    check(&p.job, r->error ? "nothing" : "a signal");
    end(&p.job);
    take_pending(fd);
    unr_sim_close(fd);
}

static void child_exits(void *job)
{
    struct process_job *p = job;
    if (!p->exited)
        unr_sim_child_exit(p->pid, 7);
    p->exited = true;
}

static bool told(const struct process_job *p)
{
    return result_of(&p->job)->error == 0 && WIFEXITED((int)result_of(&p->job)->value)
           && WEXITSTATUS((int)result_of(&p->job)->value) == 7;
}

/* A child is reaped by the wait that tells its status, and by no other. */
static void process_wait(const struct scenario *scenario)
{
    struct process_job p = { .pid = unr_sim_child() };
    (void)scenario;
    begin(&p.job, UNR_CANCEL_TOTAL, false, 1);
    unr_sim_later(child_exits, &p);
    run(&p.job, unr_process_wait(&p.child, p.pid), false);
    check(&p.job, result_of(&p.job)->error ? "nothing" : "a status");
    while (result_of(&p.job)->error) {
        unr_sim_check(result_of(&p.job)->error == -ECANCELED
                          || is_shortage(result_of(&p.job)->error),
                      "no error that nobody caused");
        run_again(&p.job, unr_process_wait(&p.child, p.pid));
    }
    unr_sim_check(told(&p), "a child that was not reaped is there for the next wait");
    do
        run_again(&p.job, unr_process_wait(&p.child, p.pid));
    while (is_shortage(result_of(&p.job)->error));
    unr_sim_check(result_of(&p.job)->error == -ECHILD, "and one that was is gone");
    end(&p.job);
}

/* ---- all of them ---- */

#define TRANSFER(title, ...)                                                                       \
    {                                                                                              \
        .name = title, .run = transfer, .parameter = &(const struct transfer_type)                 \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }
#define READER(title, ...)                                                                         \
    {                                                                                              \
        .name = title, .run = reader, .parameter = &(const struct reader_type)                     \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }
#define CONNECT(title, ...)                                                                        \
    {                                                                                              \
        .name = title, .run = connect_any, .parameter = &(const struct connect_type)               \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }
#define RELAY(title, ...)                                                                          \
    {                                                                                              \
        .name = title, .run = relay, .parameter = &(const struct relay_type)                       \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }
#define BOUNDED(n)                                                                                 \
    , .deviations_max = n                                                                          \
    }
#define FAULTY(n)                                                                                  \
    , .deviations_max = n, .faults = UNR_FAULT_TRANSFER                                            \
    }
#define SHORT                                                                                      \
    , .deviations_max = 4, .faults = UNR_FAULT_RESOURCES                                           \
    }
#define COMPLETE }
#define COMPLETE_FAULTY                                                                            \
    , .faults = UNR_FAULT_TRANSFER                                                                 \
    }

/* clang-format off */
static const struct scenario table[] = {
    TRANSFER("write-all/socket", ALL, UNR_WRITE, SOCKET, PATIENT, 10) FAULTY(5),
    TRANSFER("write-all/pipe", ALL, UNR_WRITE, PIPE, PATIENT, 10) FAULTY(5),
    TRANSFER("write-all/file", ALL, UNR_WRITE, REGULAR, PATIENT, 10) COMPLETE,
    TRANSFER("write-all/peer-stops", ALL, UNR_WRITE, SOCKET, STOPS, 10) COMPLETE,
    TRANSFER("write-all/peer-closes", ALL, UNR_WRITE, SOCKET, ENDS, 10) COMPLETE,
    TRANSFER("write-all/reader-closes", ALL, UNR_WRITE, PIPE, ENDS, 10) COMPLETE,
    TRANSFER("write-all/layer", ALL, UNR_WRITE, LAYER, PATIENT, 10) BOUNDED(4),
    TRANSFER("write-all/layer-stops", ALL, UNR_WRITE, LAYER, STOPS, 10) COMPLETE,
    TRANSFER("writev-all/socket", PIECES, UNR_WRITE, SOCKET, PATIENT, 10) FAULTY(5),
    TRANSFER("writev-all/pipe", PIECES, UNR_WRITE, PIPE, PATIENT, 10) FAULTY(4),
    TRANSFER("writev-all/many", PIECES, UNR_WRITE, SOCKET, PATIENT, 20) FAULTY(3),
    TRANSFER("writev-all/file", PIECES, UNR_WRITE, REGULAR, PATIENT, 20) COMPLETE,
    TRANSFER("read-exact/socket", ALL, UNR_READ, SOCKET, PATIENT, 8) FAULTY(5),
    TRANSFER("read-exact/pipe", ALL, UNR_READ, PIPE, PATIENT, 8) FAULTY(5),
    TRANSFER("read-exact/file", ALL, UNR_READ, REGULAR, PATIENT, 8) COMPLETE,
    TRANSFER("read-exact/peer-stops", ALL, UNR_READ, SOCKET, STOPS, 8) COMPLETE_FAULTY,
    TRANSFER("read-exact/peer-ends", ALL, UNR_READ, SOCKET, ENDS, 8) COMPLETE_FAULTY,
    TRANSFER("read-exact/writer-closes", ALL, UNR_READ, PIPE, ENDS, 8) COMPLETE_FAULTY,
    TRANSFER("read-exact/file-ends", ALL, UNR_READ, REGULAR, ENDS, 8) COMPLETE,
    TRANSFER("read-exact/layer", ALL, UNR_READ, LAYER, PATIENT, 7) FAULTY(4),
    TRANSFER("read-exact/layer-stops", ALL, UNR_READ, LAYER, STOPS, 8) COMPLETE_FAULTY,
    TRANSFER("read-exact/layer-ends", ALL, UNR_READ, LAYER, ENDS, 8) COMPLETE,
    TRANSFER("readv-exact/socket", PIECES, UNR_READ, SOCKET, PATIENT, 10) FAULTY(4),
    TRANSFER("readv-exact/pipe", PIECES, UNR_READ, PIPE, PATIENT, 10) FAULTY(4),
    TRANSFER("readv-exact/many", PIECES, UNR_READ, SOCKET, PATIENT, 20) FAULTY(3),
    TRANSFER("readv-exact/file", PIECES, UNR_READ, REGULAR, PATIENT, 20) COMPLETE,
    TRANSFER("read-at-least/socket", AT_LEAST, UNR_READ, SOCKET, PATIENT, 8) FAULTY(5),
    TRANSFER("read-at-least/pipe", AT_LEAST, UNR_READ, PIPE, PATIENT, 8) FAULTY(4),
    TRANSFER("read-at-least/peer-ends", AT_LEAST, UNR_READ, SOCKET, ENDS, 8) COMPLETE_FAULTY,
    TRANSFER("transfer-while/reads", WHILE, UNR_READ, SOCKET, PATIENT, 10) FAULTY(5),
    TRANSFER("transfer-while/writes", WHILE, UNR_WRITE, SOCKET, PATIENT, 10) FAULTY(5),
    TRANSFER("transfer-while/reads-a-file", WHILE, UNR_READ, REGULAR, PATIENT, 10) COMPLETE,
    TRANSFER("transfer-while/writes-a-file", WHILE, UNR_WRITE, REGULAR, PATIENT, 10) COMPLETE,
    TRANSFER("transfer-while/stubborn-reads", STUBBORN, UNR_READ, PIPE, ENDS, 8) COMPLETE,
    TRANSFER("transfer-while/stubborn-writes", STUBBORN, UNR_WRITE, PIPE, ENDS, 10) BOUNDED(3),

    READER("read-until/socket", UNTIL, SOCKET, .chunks = { C("ab\r"), C("\ncd\r\ne") }, .found = 2) FAULTY(4),
    READER("read-until/pipe", UNTIL, PIPE, .before = C("a\r"), .chunks = { C("\nb"), C("\r\n") }, .found = 2) FAULTY(4),
    READER("read-until/file", UNTIL, REGULAR, .chunks = { C("ab\r\ncd\r\nefg") }, .limit = 5, .found = 2,
           .fails_with = -ENODATA) COMPLETE,
    READER("read-until/peer-ends", UNTIL, SOCKET, .chunks = { C("a\r\nb"), C("\r") }, .found = 1, .manner = ENDS,
           .fails_with = -ENODATA) BOUNDED(4),
    READER("read-until/peer-stops", UNTIL, SOCKET, .chunks = { C("ab\r") }, .manner = STOPS) COMPLETE_FAULTY,
    READER("read-until/full", UNTIL, SOCKET, .chunks = { C("abc\r\nabc"), C("de\r\n") }, .limit = 5, .found = 1,
           .fails_with = -ENOBUFS) FAULTY(4),
    READER("read-until/layer", UNTIL, LAYER, .chunks = { C("a"), C("\r"), C("\nb") }, .found = 1) BOUNDED(4),
    READER("read-match/socket", MATCH, SOCKET, .chunks = { C("ab"), C("c;d;e") }, .found = 2) FAULTY(4),
    READER("read-match/pipe", MATCH, PIPE, .before = C("ab"), .chunks = { C("c"), C(";") }, .found = 1) FAULTY(4),
    READER("read-match/fails", MATCH, SOCKET, .chunks = { C("a;b"), C("?;") }, .found = 1, .fails_with = -EBADMSG)
           FAULTY(4),

    READER("read-frame/delimiter", FRAME, SOCKET, .chunks = { C("ab\r"), C("\ncd\r"), C("\ne") }, .found = 2) BOUNDED(4),
    READER("read-frame/delimiter-pipe", FRAME, PIPE, .chunks = { C("ab\r\nc"), C("d\r\n") }, .found = 2) FAULTY(4),
    READER("read-frame/length", LENGTH, SOCKET, .chunks = { C("\0"), C("\003abc\0\002d"), C("e\0") }, .found = 2,
           .adjustment = 2) BOUNDED(4),
    READER("read-frame/length-pipe", LENGTH, PIPE, .chunks = { C("\0\004a"), C("b\0\003c") }, .found = 2) FAULTY(4),
    READER("read-frame/file", LENGTH, REGULAR, .chunks = { C("\0\005abc\0\003d\0\002") }, .limit = 5, .found = 3,
           .fails_with = -ENODATA) COMPLETE,
    READER("read-frame/layer", LENGTH, LAYER, .chunks = { C("\0"), C("\004a"), C("bc") }, .found = 1) BOUNDED(4),
    READER("read-frame/layer-stops", LENGTH, LAYER, .chunks = { C("\0\004a") }, .manner = STOPS) COMPLETE,
    READER("read-frame/peer-ends", FRAME, SOCKET, .chunks = { C("ab\r"), C("\n") }, .found = 1, .manner = ENDS,
           .fails_with = -ENODATA) BOUNDED(4),
    READER("read-frame/ends-within", LENGTH, SOCKET, .chunks = { C("\0\004"), C("a") }, .manner = ENDS,
           .fails_with = -ENODATA) BOUNDED(4),
    READER("read-frame/peer-stops", LENGTH, SOCKET, .chunks = { C("\0"), C("\007a") }, .manner = STOPS) FAULTY(5),
    READER("read-frame/too-long", FRAME, SOCKET, .chunks = { C("ab"), C("cd") }, .frame_limit = 4,
           .fails_with = -EMSGSIZE) FAULTY(5),
    READER("read-frame/delimiter-behind-limit", FRAME, SOCKET, .chunks = { C("ab\r\nabc\r"), C("\n") }, .frame_limit = 4,
           .found = 1, .fails_with = -EMSGSIZE) FAULTY(5),
    READER("read-frame/too-long-a-length", LENGTH, SOCKET, .chunks = { C("\0"), C("\021") }, .fails_with = -EMSGSIZE)
           BOUNDED(5),
    READER("read-frame/no-room", LENGTH, SOCKET, .chunks = { C("\0\006a") }, .limit = 5, .fails_with = -ENOBUFS) COMPLETE_FAULTY,
    READER("read-frame/bad-length", LENGTH, SOCKET, .chunks = { C("\0\002\0"), C("\001") }, .found = 1,
           .fails_with = -EBADMSG) FAULTY(5),
    READER("read-frame/deadline", FRAME, SOCKET, .chunks = { C("ab\r"), C("\nc") }, .found = 1, .timed = true) BOUNDED(4),
    READER("read-frame/deadline-length", LENGTH, PIPE, .chunks = { C("\0"), C("\004a"), C("b") }, .found = 1,
           .timed = true) BOUNDED(4),

    CONNECT("connect-any/second-answers", { REFUSES, LIVE }, .tried = 1) COMPLETE,
    CONNECT("connect-any/first-answers", { LIVE, REFUSES }, .tried = 0) COMPLETE,
    CONNECT("connect-any/none-answers", { REFUSES, REFUSES }, .tried = 2, .error = -ECONNREFUSED) COMPLETE,
    CONNECT("connect-any/one-is-unusable", { UNUSABLE, REFUSES, LIVE }, .tried = 2) COMPLETE,
    CONNECT("connect-any/last-is-unusable", { REFUSES, UNUSABLE }, .tried = 2, .error = -EINVAL) COMPLETE,

    RELAY("relay/socket-to-socket", SOCKET, SOCKET, PATIENT, PATIENT) FAULTY(4),
    RELAY("relay/socket-to-pipe", SOCKET, PIPE, PATIENT, PATIENT) BOUNDED(4),
    RELAY("relay/pipe-to-file", PIPE, REGULAR, PATIENT, PATIENT) BOUNDED(5),
    RELAY("relay/file-to-socket", REGULAR, SOCKET, PATIENT, PATIENT) FAULTY(4),
    RELAY("relay/layer-to-socket", LAYER, SOCKET, PATIENT, PATIENT) BOUNDED(3),
    RELAY("relay/socket-to-layer", SOCKET, LAYER, PATIENT, PATIENT) BOUNDED(4),
    RELAY("relay/file-to-layer", REGULAR, LAYER, PATIENT, PATIENT) BOUNDED(4),
    RELAY("relay/layer-stops", LAYER, LAYER, STOPS, PATIENT) BOUNDED(4),
    RELAY("relay/source-stops", SOCKET, SOCKET, STOPS, PATIENT) BOUNDED(5),
    RELAY("relay/destination-closes", SOCKET, SOCKET, PATIENT, ENDS) BOUNDED(4),
    RELAY("relay/reader-closes", PIPE, PIPE, PATIENT, ENDS) BOUNDED(4),

    { .name = "sigwait/two-signals", .run = sigwait_of_two },
    { .name = "sigwait/no-signal", .run = sigwait_of_two, .parameter = signals },
    { .name = "process-wait/exits", .run = process_wait },
    { .name = "process-wait/older", .run = process_wait, .linux_version = 601 },
    CONNECT("resources/connect-any", { REFUSES, LIVE }, .tried = 1) SHORT,
    CONNECT("connect-name/answers", { 0 }, 0, 0, "here", "80") COMPLETE,
    CONNECT("connect-name/refuses", { 0 }, 1, -ECONNREFUSED, "here", "81") COMPLETE,
    CONNECT("connect-name/number", { 0 }, 0, 0, "127.0.0.1", "80") COMPLETE,
    CONNECT("connect-name/nowhere", { 0 }, 0, -ENOENT, "nowhere", "80") COMPLETE,
    CONNECT("connect-name/short", { 0 }, 0, 0, "here", "80") SHORT,
    { .name = "resources/sigwait", .run = sigwait_of_two SHORT,
    { .name = "resources/process-wait", .run = process_wait, .linux_version = 601 SHORT,
    { .name = NULL },
};
/* clang-format on */

const struct scenario *scenarios_composed_table(void)
{
    return table;
}
