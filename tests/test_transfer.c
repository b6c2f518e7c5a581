/* SPDX-License-Identifier: MIT */
/* Transfers: everything that a count promises, on every kind of stream, and what a cancellation
 * leaves behind.  Two layers are here as well: one that moves little at a time and fails when told
 * to, and one that enciphers, as an example. */
#include "support.h"

#include <sys/mman.h>

TestSuite(transfer, .init = open_loop, .timeout = 30);

enum { LEN = 60, MORE = 100 };

static char byte_at(size_t i)
{
    return (char)(i * 7 + i / 256 + 1);
}

static char *pattern(size_t from, size_t len)
{
    char *bytes = malloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(from + i);
    return bytes;
}

static void expect_pattern(const char *bytes, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        cr_assert_eq(bytes[i], byte_at(from + i), "byte %zu", from + i);
}

/* ---- starting and ending ---- */

static void ended(struct unr_op *op)
{
    struct seen *seen = op->data;
    seen->runs++;
    seen->result = op->result;
    if (seen->then)
        seen->then(seen);
}

static void begin(struct seen *seen, struct unr_op *described)
{
    unr_start(loop, described, ended, seen);
}

static struct unr_result result_of_running(struct unr_op *described)
{
    struct seen seen = { 0 };
    begin(&seen, described);
    run();
    cr_assert_eq(seen.runs, 1);
    return seen.result;
}

static void expect(const struct unr_result *result, int error, size_t bytes)
{
    cr_assert_eq(result->error, error, "error %d", result->error);
    cr_assert_eq(result->bytes, bytes, "bytes %zu", (size_t)result->bytes);
}

/* Turns until a transfer that is in flight has moved so much. */
static void until_moved(const struct unr_transfer *transfer, size_t bytes)
{
    while (transfer->op.result.bytes < bytes)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    submit();
}

/* ---- streams ---- */

enum kind { SOCKETPAIR, TCP, PIPE, REGULAR, KINDS };

struct ends {
    int               fds[2]; /* what is written to [1] is read from [0] */
    struct unr_stream from, to;
    enum kind         kind;
};

static void open_ends(struct ends *ends, enum kind kind)
{
    ends->kind = kind;
    switch (kind) {
    case SOCKETPAIR: unix_pair(ends->fds); break;
    case TCP: tcp_pair(ends->fds); break;
    case PIPE: cr_assert_eq(pipe2(ends->fds, O_CLOEXEC), 0); break;
    default:
        ends->fds[0] = memfd_create("transfer", MFD_CLOEXEC);
        ends->fds[1] = fcntl(ends->fds[0], F_DUPFD_CLOEXEC, 0);
    }
    void (*const describe[])(struct unr_stream *, int) = { unr_stream_socket, unr_stream_socket,
                                                           unr_stream_pipe };
    for (int i = 0; i < 2; i++) {
        struct unr_stream *stream = i ? &ends->to : &ends->from;
        if (kind == REGULAR)
            unr_stream_file(stream, ends->fds[i], 0);
        else
            describe[kind](stream, ends->fds[i]);
    }
}

/* Writes the pattern from `from` on, as the peer. */
static void give(const struct ends *ends, size_t from, size_t len)
{
    char *bytes = pattern(from, len);
    cr_assert_eq(write(ends->fds[1], bytes, len), (ssize_t)len);
    free(bytes);
}

/* Before anybody reads: all of it is readable at once. */
static void put(const struct ends *ends, size_t len)
{
    give(ends, 0, len);
    char *bytes = malloc(len);
    if (ends->kind == SOCKETPAIR || ends->kind == TCP)
        cr_assert_eq(recv(ends->fds[0], bytes, len, MSG_PEEK | MSG_WAITALL), (ssize_t)len);
    free(bytes);
}

/* What follows `from` bytes in the stream is the pattern up to `to`, and then the stream's end. */
static void expect_rest(struct ends *ends, size_t from, size_t to)
{
    char    bytes[65536];
    ssize_t n;
    if (ends->kind == REGULAR)
        lseek(ends->fds[0], (off_t)from, SEEK_SET);
    else if (ends->fds[1] >= 0)
        close(ends->fds[1]);
    while ((n = read(ends->fds[0], bytes, sizeof bytes)) > 0) {
        expect_pattern(bytes, from, (size_t)n);
        from += (size_t)n;
    }
    cr_assert_eq(n, 0);
    cr_assert_eq(from, to, "%zu of %zu bytes", from, to);
    close(ends->fds[0]);
    if (ends->kind == REGULAR)
        close(ends->fds[1]);
}

/* A layer that moves at most `chunk` bytes at a time, fails each `fails`th step with -EIO, and says
 * when a step begins.  On a file it keeps the offset itself. */
struct narrow {
    struct unr_stream  stream;
    struct unr_stream *lower;
    size_t             chunk;
    unsigned           fails, steps;
    struct iovec       pieces[UNR_TRANSFER_PIECES];
    void (*before)(struct narrow *narrow);
    void *context;
};

static void failing_start(struct unr_op *op)
{
    unr_finish(op, -EIO);
}

static void deaf(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op, (void)request;
}

static const struct unr_op_type failing = {
    .size = sizeof failing, .name = "failing", .start = failing_start, .cancel = deaf
};

/* The pieces that the next step is about; their number, and 0 if it is to fail. */
static unsigned narrow_step(struct narrow *narrow, const struct iovec *iov, unsigned n)
{
    size_t   room = narrow->chunk;
    unsigned filled = 0;
    narrow->steps++;
    if (narrow->before)
        narrow->before(narrow);
    if (narrow->fails && narrow->steps % narrow->fails == 0)
        return 0;
    cr_assert_leq(n, UNR_TRANSFER_PIECES);
    for (; filled < n && room; filled++) {
        cr_assert_gt(iov[filled].iov_len, 0);
        narrow->pieces[filled] = iov[filled];
        if (narrow->pieces[filled].iov_len > room)
            narrow->pieces[filled].iov_len = room;
        room -= narrow->pieces[filled].iov_len;
    }
    return filled;
}

static struct unr_op *narrow_read(struct unr_stream *stream, struct unr_some *some,
                                  const struct iovec *iov, unsigned n)
{
    struct narrow *narrow = unr_container_of(stream, struct narrow, stream);
    unsigned       filled = narrow_step(narrow, iov, n);
    return filled ? unr_read_some(some, narrow->lower, narrow->pieces, filled)
                  : unr_describe(&some->op, &failing);
}

static struct unr_op *narrow_write(struct unr_stream *stream, struct unr_some *some,
                                   const struct iovec *iov, unsigned n)
{
    struct narrow *narrow = unr_container_of(stream, struct narrow, stream);
    unsigned       filled = narrow_step(narrow, iov, n);
    return filled ? unr_write_some(some, narrow->lower, narrow->pieces, filled)
                  : unr_describe(&some->op, &failing);
}

static void narrow_moved(struct unr_stream *stream, uint64_t bytes)
{
    unr_stream_moved(unr_container_of(stream, struct narrow, stream)->lower, bytes);
}

static struct unr_stream *make_narrow(struct narrow *narrow, struct unr_stream *lower, size_t chunk)
{
    static const struct unr_stream_type type = { .size = sizeof type,
                                                 .name = "narrow",
                                                 .read_some = narrow_read,
                                                 .write_some = narrow_write,
                                                 .moved = narrow_moved };
    *narrow = (struct narrow){ .lower = lower, .chunk = chunk };
    unr_stream_layer(&narrow->stream, &type);
    return &narrow->stream;
}

/* ---- conditions ---- */

static size_t always_3(void *context, int error, size_t bytes)
{
    (void)context, (void)bytes;
    return error ? 0 : 3;
}

static size_t retry(void *context, int error, size_t bytes)
{
    (void)context, (void)bytes;
    return error && error != -EIO ? 0 : SIZE_MAX;
}

/* Another condition, and what it was asked. */
struct asked {
    unr_condition_fn *condition;
    void             *argument;
    unsigned          times, about_errors;
    int               error;
    size_t            bytes;
};

static size_t ask(void *context, int error, size_t bytes)
{
    struct asked *asked = context;
    if (asked->times++ == 0)
        cr_assert(error == 0 && bytes == 0);
    cr_assert_geq(bytes, asked->bytes);
    asked->about_errors += error != 0;
    asked->error = error;
    asked->bytes = bytes;
    return asked->condition(asked->argument, error, bytes);
}

/* ---- every condition, on every stream, in every shape ---- */

struct goal {
    unr_condition_fn *condition;
    size_t            bytes; /* the argument */
    size_t            least; /* to be moved, LEN: all */
    size_t            cap;   /* of a step; exactly: bytes */
};

static const struct goal goals[] = {
    { unr_transfer_all, 0, LEN, SIZE_MAX },
    { unr_transfer_at_least, 1, 1, SIZE_MAX },
    { unr_transfer_at_least, 10, 10, SIZE_MAX },
    { unr_transfer_at_least, 42, 42, SIZE_MAX },
    { unr_transfer_exactly, 1, 1, 1 },
    { unr_transfer_exactly, 10, 10, 10 },
    { unr_transfer_exactly, 42, 42, 42 },
    { always_3, 0, LEN, 3 },
    { retry, 0, LEN, SIZE_MAX },
};

static size_t min(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many bytes a transfer moves, and in how many steps. */
static size_t model(const struct goal *goal, size_t chunk, unsigned *ret_steps)
{
    size_t total = 0;
    for (*ret_steps = 0; total < goal->least; ++*ret_steps) {
        size_t cap = goal->condition == unr_transfer_exactly ? goal->bytes - total : goal->cap;
        total += min(min(chunk, cap), LEN - total);
    }
    return total;
}

static unsigned in_pieces(char *memory, struct iovec *pieces)
{
    static const size_t lengths[] = { 0, 1, 9, 0, 17, 33, 0 };
    for (unsigned i = 0; i < LENGTH(lengths); memory += lengths[i++])
        pieces[i] = (struct iovec){ memory, lengths[i] };
    return LENGTH(lengths);
}

static void expect_model(const struct goal *goal, size_t chunk, const struct unr_result *result,
                         const struct asked *asked, unsigned failures)
{
    unsigned steps;
    size_t   bytes = model(goal, chunk, &steps);
    expect(result, 0, bytes);
    cr_assert_eq(result->verdict, UNR_VERDICT_NONE);
    cr_assert_eq(result->guarantee, UNR_CANCEL_NONE);
    cr_assert_eq(asked->bytes, bytes);
    cr_assert_eq(asked->about_errors, failures);
    cr_assert_eq(asked->times, 1 + steps + failures, "asked %u times in %u steps", asked->times,
                 steps);
}

/* One combination; `chunk` 0: without a layer. */
static void move(enum kind kind, size_t chunk, bool pieces, enum unr_direction direction,
                 const struct goal *goal)
{
    char                *memory = direction == UNR_WRITE ? pattern(0, LEN) : calloc(1, LEN);
    struct iovec         iov[8] = { { memory, LEN } };
    unsigned             n = pieces ? in_pieces(memory, iov) : 1;
    struct unr_transfer *transfer = calloc(1, sizeof *transfer);
    struct asked         asked = { .condition = goal->condition,
                                   .argument = (void *)(uintptr_t)goal->bytes };
    struct narrow        narrow = { 0 };
    struct ends          ends;
    open_ends(&ends, kind);
    if (direction == UNR_READ)
        put(&ends, MORE);
    struct unr_stream *stream = direction == UNR_READ ? &ends.from : &ends.to;
    if (chunk)
        stream = make_narrow(&narrow, stream, chunk);
    if (goal->condition == retry)
        narrow.fails = 2;
    const struct unr_stream *lowest = direction == UNR_READ ? &ends.from : &ends.to;
    struct unr_result        result =
        result_of_running(unr_transfer_while(transfer, stream, direction, iov, n, ask, &asked));
    expect_model(goal, chunk ? chunk : SIZE_MAX, &result, &asked,
                 narrow.fails ? narrow.steps / narrow.fails : 0);
    expect_pattern(memory, 0, result.bytes);
    for (size_t i = result.bytes; direction == UNR_READ && i < LEN; i++)
        cr_assert_eq(memory[i], 0);
    if (kind == REGULAR)
        cr_assert_eq(lowest->offset, (int64_t)result.bytes);
    if (direction == UNR_READ)
        expect_rest(&ends, result.bytes, MORE);
    else
        expect_rest(&ends, 0, result.bytes);
    free(transfer);
    free(memory);
}

static void move_all_ways(enum unr_direction direction)
{
    static const size_t chunks[] = { 0, SIZE_MAX, 10, 1 };
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t chunk = 0; chunk < LENGTH(chunks); chunk++)
            for (int pieces = 0; pieces < 2; pieces++)
                for (size_t goal = 0; goal < LENGTH(goals); goal++)
                    move((enum kind)kind, chunks[chunk], pieces, direction, &goals[goal]);
    close_loop();
}

/* Each condition reads as much as it says, in as few steps as it allows, to where it belongs; what
 * is behind that is still in the stream. */
Test(transfer, reads_what_each_condition_says_from_each_stream)
{
    move_all_ways(UNR_READ);
}

/* Each condition writes as much as it says; the peer gets exactly that. */
Test(transfer, writes_what_each_condition_says_to_each_stream)
{
    move_all_ways(UNR_WRITE);
}

/* The five that need no condition. */
Test(transfer, named_transfers_move_what_their_names_say)
{
    for (int kind = 0; kind < KINDS; kind++) {
        char               *written = pattern(0, LEN), read[2 * LEN] = { 0 };
        struct iovec        pieces[8];
        struct unr_transfer transfer = { 0 };
        struct unr_result   result;
        struct ends         ends;
        open_ends(&ends, (enum kind)kind);
        result = result_of_running(unr_write_all(&transfer, &ends.to, written, LEN));
        expect(&result, 0, LEN);
        result = result_of_running(
            unr_readv_exact(&transfer, &ends.from, pieces, in_pieces(read, pieces)));
        expect(&result, 0, LEN);
        expect_pattern(read, 0, LEN);
        result = result_of_running(
            unr_writev_all(&transfer, &ends.to, pieces, in_pieces(written, pieces)));
        expect(&result, 0, LEN);
        result = result_of_running(unr_read_exact(&transfer, &ends.from, read, 20));
        expect(&result, 0, 20);
        result = result_of_running(
            unr_read_at_least(&transfer, &ends.from, read + 20, 2 * LEN - 20, 30));
        expect(&result, 0, LEN - 20);
        expect_pattern(read, 0, LEN);
        expect_rest(&ends, kind == REGULAR ? 2 * LEN : 0, kind == REGULAR ? 2 * LEN : 0);
        free(written);
    }
    close_loop();
}

/* ---- sizes ---- */

/* A transfer without room for a byte ends at once, by way of `done`, and begins no step; so does
 * one whose condition says 0 at first. */
Test(transfer, empty_ones_end_at_once_without_a_step)
{
    struct iovec        pieces[3] = { { NULL, 0 }, { NULL, 0 }, { NULL, 0 } };
    char                byte;
    struct unr_transfer ops[7] = { 0 };
    struct seen         seen[7] = { 0 };
    struct unr_stream   stream;
    struct unr_stats    before, after;
    unr_stream_socket(&stream, -1);
    unr_loop_stats(loop, &before, sizeof before);
    begin(&seen[0], unr_write_all(&ops[0], &stream, NULL, 0));
    begin(&seen[1], unr_read_exact(&ops[1], &stream, &byte, 0));
    begin(&seen[2], unr_writev_all(&ops[2], &stream, NULL, 0));
    begin(&seen[3], unr_readv_exact(&ops[3], &stream, pieces, 3));
    begin(&seen[4], unr_read_at_least(&ops[4], &stream, &byte, 1, 0));
    begin(&seen[5], unr_read_at_least(&ops[5], &stream, NULL, 0, 1));
    pieces[0] = (struct iovec){ &byte, 1 };
    begin(&seen[6],
          unr_transfer_while(&ops[6], &stream, UNR_WRITE, pieces, 1, unr_transfer_exactly, NULL));
    for (int i = 0; i < 7; i++)
        cr_assert_eq(seen[i].runs, 0);
    run();
    unr_loop_stats(loop, &after, sizeof after);
    cr_assert_eq(after.started - before.started, 7);
    for (int i = 0; i < 7; i++)
        expect(&seen[i].result, 0, 0);
    close_loop();
}

/* An array may be longer than one step takes, and have empty pieces anywhere; it is not written
 * to. */
Test(transfer, forty_pieces_some_of_them_empty)
{
    static const size_t chunks[] = { SIZE_MAX, 100, 7 };
    for (size_t c = 0; c < LENGTH(chunks); c++)
        for (int direction = UNR_READ; direction <= UNR_WRITE; direction++) {
            struct iovec        pieces[40], copy[40];
            struct unr_transfer transfer = { 0 };
            struct narrow       narrow;
            struct ends         ends;
            size_t              len = 0;
            for (size_t i = 0; i < 40; i++)
                len += i % 4 ? i : 0;
            char *memory = direction == UNR_WRITE ? pattern(0, len) : calloc(1, len), *at = memory;
            for (size_t i = 0; i < 40; at += pieces[i++].iov_len)
                pieces[i] = (struct iovec){ at, i % 4 ? i : 0 };
            memcpy(copy, pieces, sizeof pieces);
            open_ends(&ends, SOCKETPAIR);
            if (direction == UNR_READ)
                put(&ends, len + 5);
            struct unr_stream *stream =
                make_narrow(&narrow, direction == UNR_READ ? &ends.from : &ends.to, chunks[c]);
            struct unr_result result;
            result = result_of_running(direction == UNR_READ
                                           ? unr_readv_exact(&transfer, stream, pieces, 40)
                                           : unr_writev_all(&transfer, stream, pieces, 40));
            expect(&result, 0, len);
            expect_pattern(memory, 0, len);
            cr_assert_eq(memcmp(copy, pieces, sizeof pieces), 0);
            expect_rest(&ends, direction == UNR_READ ? len : 0,
                        direction == UNR_READ ? len + 5 : len);
            if (chunks[c] == SIZE_MAX)
                cr_assert_eq(narrow.steps, 8); /* 30 pieces are not empty, in runs of 3 */
            free(memory);
        }
    close_loop();
}

/* Pieces of many lengths, some of them empty if that is said; or of one byte each.  Returns how
 * many bytes they hold. */
static size_t cut_up(char *memory, struct iovec *pieces, size_t n, bool with_empty_ones)
{
    size_t len = 0;
    for (size_t i = 0; i < n; len += pieces[i++].iov_len) {
        size_t length = n > 40 ? 1 : with_empty_ones && i % 9 == 4 ? 0 : i * 5 % 7 + 1;
        pieces[i] = (struct iovec){ memory + len, length };
    }
    return len;
}

/* What a transfer has moved when a step of its is cut short. */
struct cut {
    struct unr_transfer transfer;
    size_t              at;
};

static void cut_short(struct narrow *narrow)
{
    const struct cut *cut = narrow->context;
    size_t            moved = cut->transfer.op.result.bytes;
    narrow->chunk = moved < cut->at ? cut->at - moved : SIZE_MAX;
}

/* One transfer of all pieces, a step of which ends at `at`; or, with `goal`, one of `at` bytes.  It
 * needs at most `steps`. */
static void cut_at(size_t at, bool goal, enum unr_direction direction, const struct iovec *pieces,
                   size_t n, size_t len, unsigned steps)
{
    static struct iovec copy[1024];
    char               *memory = pieces[0].iov_base, *bytes = pattern(0, len);
    struct cut          cut = { .at = at };
    struct narrow       narrow;
    struct ends         ends;
    size_t              moved = goal ? at : len;
    memcpy(memory, bytes, direction == UNR_WRITE ? len : 0);
    memcpy(copy, pieces, n * sizeof *pieces);
    open_ends(&ends, SOCKETPAIR);
    if (direction == UNR_READ)
        give(&ends, 0, len);
    struct unr_stream *stream =
        make_narrow(&narrow, direction == UNR_READ ? &ends.from : &ends.to, SIZE_MAX);
    narrow.before = goal ? NULL : cut_short;
    narrow.context = &cut;
    struct unr_result result = result_of_running(
        unr_transfer_while(&cut.transfer, stream, direction, pieces, (unsigned)n,
                           goal ? unr_transfer_exactly : unr_transfer_all, (void *)(uintptr_t)at));
    expect(&result, 0, moved);
    expect_pattern(memory, 0, direction == UNR_READ ? moved : len);
    for (size_t i = moved; direction == UNR_READ && i < len; i++)
        cr_assert_eq(memory[i], 0);
    cr_assert_eq(memcmp(copy, pieces, n * sizeof *pieces), 0);
    cr_assert_leq(narrow.steps, steps, "%u steps, cut at %zu of %zu", narrow.steps, at, n);
    expect_rest(&ends, direction == UNR_READ ? moved : 0, direction == UNR_READ ? len : moved);
    memset(memory, 0, len);
    free(bytes);
}

/* Many pieces, and a step that ends at any of their bytes, or a goal there: each byte is moved once
 * and in its place, the array stays as it is, and it takes two steps more than sixteen pieces a
 * step, at most.  An empty piece costs no more than two.  With 1,024 pieces each byte is tried in
 * one of the four ways. */
Test(transfer, many_pieces_cut_short_at_every_byte)
{
    static const size_t counts[] = { 5, 16, 17, 33, 1024 };
    static struct iovec pieces[1024];
    static char         memory[1024];
    for (size_t c = 0; c < LENGTH(counts); c++)
        for (int empty = 0; empty < (counts[c] > 40 ? 1 : 2); empty++) {
            size_t   n = counts[c], len = cut_up(memory, pieces, n, empty);
            unsigned steps = (unsigned)((n + 15) / 16 + 2 + (empty ? 2 * ((n + 4) / 9) : 0));
            for (size_t at = 1; at <= len; at++)
                for (int way = 0; way < 4; way++)
                    if (n < 1024 || way == (int)at % 4)
                        cut_at(at, way & 1, way & 2 ? UNR_WRITE : UNR_READ, pieces, n, len, steps);
        }
    close_loop();
}

static size_t too_much(void *context, int error, size_t bytes)
{
    (void)context, (void)error;
    return bytes + 1000;
}

/* A condition that asks for more than there is room for gets what there is room for, and success;
 * so does a goal. */
Test(transfer, more_than_there_is_room_for_is_not_moved)
{
    char                memory[16] = { 0 };
    struct iovec        piece = { memory, 10 };
    struct unr_transfer transfer = { 0 };
    struct unr_result   result;
    struct ends         ends;
    open_ends(&ends, SOCKETPAIR);
    put(&ends, MORE);
    result = result_of_running(
        unr_transfer_while(&transfer, &ends.from, UNR_READ, &piece, 1, too_much, NULL));
    expect(&result, 0, 10);
    cr_assert_eq(memory[10], 0);
    result = result_of_running(unr_read_at_least(&transfer, &ends.from, memory, 10, 42));
    expect(&result, 0, 10);
    cr_assert_eq(memory[10], 0);
    expect_rest(&ends, 20, MORE);
    close_loop();
}

static void read_on(struct seen *seen)
{
    struct unr_transfer *transfer = seen->context;
    expect(&seen->result, 0, 10);
    if (seen->runs < 5)
        begin(seen, unr_read_exact(transfer, transfer->private_fields.stream,
                                   (char *)(transfer + 1) + 10 * seen->runs, 10));
}

/* Inside `done` a transfer may be described and started again, and goes on where it stopped. */
Test(transfer, started_again_inside_done_goes_on_behind)
{
    struct {
        struct unr_transfer transfer;
        char                memory[50];
    } own = { 0 };
    struct seen seen = { .then = read_on, .context = &own };
    struct ends ends;
    open_ends(&ends, TCP);
    put(&ends, MORE);
    begin(&seen, unr_read_exact(&own.transfer, &ends.from, own.memory, 10));
    run();
    cr_assert_eq(seen.runs, 5);
    expect_pattern(own.memory, 0, 50);
    expect_rest(&ends, 50, MORE);
    close_loop();
}

/* Both directions of one stream at a time, through memory many times what it holds. */
Test(transfer, both_directions_at_once)
{
    enum { MUCH = 1 << 20 };
    int                 fds[2];
    char               *written = pattern(0, MUCH), *read[2] = { calloc(1, MUCH), calloc(1, MUCH) };
    struct unr_transfer ops[4] = { 0 };
    struct seen         seen[4] = { 0 };
    struct unr_stream   streams[2];
    tcp_pair(fds);
    for (int i = 0; i < 2; i++)
        unr_stream_socket(&streams[i], fds[i]);
    for (int i = 0; i < 2; i++) {
        begin(&seen[i], unr_write_all(&ops[i], &streams[i], written, MUCH));
        begin(&seen[2 + i], unr_read_exact(&ops[2 + i], &streams[i], read[i], MUCH));
    }
    run();
    for (int i = 0; i < 4; i++)
        expect(&seen[i].result, 0, MUCH);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(memcmp(read[i], written, MUCH), 0);
        free(read[i]);
    }
    free(written);
    close_pair(fds);
    close_loop();
}

/* ---- conditions and errors ---- */

/* A condition is asked about an error, and may try again; it sees each. */
Test(transfer, a_condition_may_go_on_after_errors)
{
    char               *memory = pattern(0, LEN);
    struct iovec        piece = { memory, LEN };
    struct unr_transfer transfer = { 0 };
    struct asked        asked = { .condition = retry };
    struct narrow       narrow;
    struct ends         ends;
    open_ends(&ends, SOCKETPAIR);
    struct unr_stream *stream = make_narrow(&narrow, &ends.to, 10);
    narrow.fails = 2;
    struct unr_result result =
        result_of_running(unr_transfer_while(&transfer, stream, UNR_WRITE, &piece, 1, ask, &asked));
    expect(&result, 0, LEN);
    cr_assert_eq(asked.about_errors, 5);
    cr_assert_eq(asked.times, 1 + 6 + 5);
    expect_rest(&ends, 0, LEN);
    free(memory);
    close_loop();
}

/* A condition that ends after an error has the transfer end with it, and with what was moved
 * before. */
Test(transfer, an_error_ends_it_unless_the_condition_goes_on)
{
    static const struct goal ending[] = { { unr_transfer_all, 0, 0, 0 },
                                          { unr_transfer_exactly, 42, 0, 0 },
                                          { always_3, 0, 0, 0 } };
    for (size_t i = 0; i < LENGTH(ending); i++) {
        char               *memory = pattern(0, LEN);
        struct iovec        piece = { memory, LEN };
        struct unr_transfer transfer = { 0 };
        struct asked        asked = { .condition = ending[i].condition,
                                      .argument = (void *)(uintptr_t)ending[i].bytes };
        struct narrow       narrow;
        struct ends         ends;
        open_ends(&ends, SOCKETPAIR);
        struct unr_stream *stream = make_narrow(&narrow, &ends.to, 3);
        narrow.fails = 5;
        struct unr_result result = result_of_running(
            unr_transfer_while(&transfer, stream, UNR_WRITE, &piece, 1, ask, &asked));
        expect(&result, -EIO, 12);
        cr_assert_eq(asked.error, -EIO);
        expect_rest(&ends, 0, 12);
        free(memory);
    }
    close_loop();
}

static size_t never_ends(void *context, int error, size_t bytes)
{
    (void)context, (void)error, (void)bytes;
    return SIZE_MAX;
}

/* A stream that ends before the goal is reached is -ENODATA and the count; the condition is told,
 * and cannot go on. */
Test(transfer, the_end_of_the_stream_before_the_goal_is_no_data)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int custom = 0; custom < 2; custom++) {
            char                memory[LEN] = { 0 };
            struct iovec        piece = { memory, LEN };
            struct unr_transfer transfer = { 0 };
            struct asked        asked = { .condition = custom ? never_ends : unr_transfer_all };
            struct seen         seen = { 0 };
            struct ends         ends;
            open_ends(&ends, (enum kind)kind);
            put(&ends, 13);
            begin(&seen,
                  unr_transfer_while(&transfer, &ends.from, UNR_READ, &piece, 1, ask, &asked));
            until_moved(&transfer, 13);
            if (kind != REGULAR) {
                close(ends.fds[1]);
                ends.fds[1] = -1;
            }
            run();
            expect(&seen.result, -ENODATA, 13);
            cr_assert_eq(asked.error, -ENODATA);
            expect_pattern(memory, 0, 13);
            if (kind == REGULAR)
                cr_assert_eq(ends.from.offset, 13);
            expect_rest(&ends, 13, 13);
        }
    close_loop();
}

/* ... also before the first byte; but a goal that was reached needs no more. */
Test(transfer, the_end_of_the_stream_counts_only_before_the_goal)
{
    char                memory[LEN] = { 0 };
    struct unr_transfer transfer = { 0 };
    struct unr_result   result;
    struct ends         ends;
    open_ends(&ends, PIPE);
    put(&ends, 13);
    close(ends.fds[1]);
    ends.fds[1] = -1;
    result = result_of_running(unr_read_at_least(&transfer, &ends.from, memory, LEN, 13));
    expect(&result, 0, 13);
    result = result_of_running(unr_read_at_least(&transfer, &ends.from, memory, LEN, 1));
    expect(&result, -ENODATA, 0);
    expect_rest(&ends, 13, 13);
    close_loop();
}

static void reset(int fd)
{
    struct linger now = { .l_onoff = 1 };
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(fd);
}

/* A connection that is reset ends a read, with what had come before. */
Test(transfer, a_reset_ends_a_read_with_its_count)
{
    char                memory[LEN] = { 0 };
    struct unr_transfer transfer = { 0 };
    struct seen         seen = { 0 };
    struct ends         ends;
    open_ends(&ends, TCP);
    put(&ends, 20);
    begin(&seen, unr_read_exact(&transfer, &ends.from, memory, LEN));
    until_moved(&transfer, 20);
    reset(ends.fds[1]);
    run();
    expect(&seen.result, -ECONNRESET, 20);
    expect_pattern(memory, 0, 20);
    close(ends.fds[0]);
    close_loop();
}

/* ... and a write. */
Test(transfer, a_reset_ends_a_write)
{
    enum { MUCH = 16 << 20 };
    char               *memory = pattern(0, MUCH);
    struct unr_transfer transfer = { 0 };
    struct seen         seen = { 0 };
    struct ends         ends;
    open_ends(&ends, TCP);
    begin(&seen, unr_write_all(&transfer, &ends.to, memory, MUCH));
    until_moved(&transfer, 1);
    reset(ends.fds[0]);
    run();
    cr_assert(seen.result.error == -ECONNRESET || seen.result.error == -EPIPE, "error %d",
              seen.result.error);
    cr_assert(seen.result.bytes > 0 && seen.result.bytes < MUCH);
    free(memory);
    close(ends.fds[1]);
    close_loop();
}

/* A peer that is gone is an error, and no signal. */
Test(transfer, a_closed_peer_raises_no_sigpipe)
{
    char                byte = 0;
    struct iovec        pieces[2] = { { &byte, 1 }, { &byte, 1 } };
    struct unr_transfer transfer = { 0 };
    struct unr_result   result;
    struct ends         ends;
    signal(SIGPIPE, SIG_DFL);
    open_ends(&ends, SOCKETPAIR);
    close(ends.fds[0]);
    result = result_of_running(unr_write_all(&transfer, &ends.to, &byte, 1));
    expect(&result, -EPIPE, 0);
    result = result_of_running(unr_writev_all(&transfer, &ends.to, pieces, 2));
    expect(&result, -EPIPE, 0);
    close(ends.fds[1]);
    close_loop();
}

/* A layer that cannot be read, or written. */
Test(transfer, a_direction_that_a_layer_lacks_is_not_supported)
{
    static const struct unr_stream_type type = { .size = sizeof type,
                                                 .name = "one that does nothing" };
    char                                byte = 0;
    struct unr_transfer                 transfer = { 0 };
    struct unr_result                   result;
    struct unr_stream                   stream;
    unr_stream_layer(&stream, &type);
    result = result_of_running(unr_write_all(&transfer, &stream, &byte, 1));
    expect(&result, -EOPNOTSUPP, 0);
    result = result_of_running(unr_read_exact(&transfer, &stream, &byte, 1));
    expect(&result, -EOPNOTSUPP, 0);
    close_loop();
}

/* ---- layers that end in odd ways ---- */

/* A layer whose steps move `bytes` and then end with `error`, at once or when they are
 * cancelled. */
struct odd {
    struct unr_stream stream;
    struct unr_op     op;
    uint64_t          bytes;
    int               error;
    bool              when_asked;
};

static void odd_end(struct unr_op *op)
{
    const struct odd *odd = unr_container_of(op, struct odd, op);
    op->result.bytes = odd->bytes;
    unr_finish(op, odd->error);
}

static void odd_start(struct unr_op *op)
{
    if (!unr_container_of(op, struct odd, op)->when_asked)
        odd_end(op);
}

static void odd_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    if (unr_container_of(op, struct odd, op)->when_asked)
        odd_end(op);
}

static struct unr_op *odd_some(struct unr_stream *stream, struct unr_some *some,
                               const struct iovec *iov, unsigned n)
{
    static const struct unr_op_type type = { .size = sizeof type,
                                             .supports = UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL,
                                             .name = "odd",
                                             .start = odd_start,
                                             .cancel = odd_cancel };
    (void)some, (void)iov, (void)n;
    return unr_describe(&unr_container_of(stream, struct odd, stream)->op, &type);
}

static struct unr_stream *make_odd(struct odd *odd)
{
    static const struct unr_stream_type type = {
        .size = sizeof type, .name = "odd", .read_some = odd_some, .write_some = odd_some
    };
    unr_stream_layer(&odd->stream, &type);
    return &odd->stream;
}

/* A write that moves nothing and says no more is an error: it would never end. */
Test(transfer, a_write_that_moves_nothing_is_an_error)
{
    char                byte = 0;
    struct iovec        piece = { &byte, 1 };
    struct odd          nothing = { 0 };
    struct unr_transfer transfer = { 0 };
    struct unr_result   result;
    result = result_of_running(unr_write_all(&transfer, make_odd(&nothing), &byte, 1));
    expect(&result, -EIO, 0);
    result = result_of_running(
        unr_transfer_while(&transfer, &nothing.stream, UNR_WRITE, &piece, 1, never_ends, NULL));
    expect(&result, -EIO, 0);
    close_loop();
}

/* What a step moved counts though it failed: short of the goal the transfer has the error, and at
 * it it has none. */
Test(transfer, a_step_that_moves_bytes_and_fails_counts_them)
{
    char                memory[LEN] = { 0 };
    struct iovec        piece = { memory, LEN };
    struct odd          fails = { .bytes = 20, .error = -ENETDOWN };
    struct asked        asked = { .condition = unr_transfer_all };
    struct unr_transfer transfer = { 0 };
    struct unr_result   result;
    make_odd(&fails);
    result = result_of_running(
        unr_transfer_while(&transfer, &fails.stream, UNR_READ, &piece, 1, ask, &asked));
    expect(&result, -ENETDOWN, 20);
    cr_assert(asked.times == 3 && asked.about_errors == 1);
    result = result_of_running(unr_read_exact(&transfer, &fails.stream, memory, 20));
    expect(&result, 0, 20);
    result = result_of_running(unr_read_at_least(&transfer, &fails.stream, memory, LEN, 20));
    expect(&result, 0, 20);
    result = result_of_running(unr_read_at_least(&transfer, &fails.stream, memory, LEN, 21));
    expect(&result, -ENETDOWN, 20);
    close_loop();
}

/* What a step moved counts though it was cancelled: if that completes the transfer, it is a
 * success. */
Test(transfer, a_step_that_moves_bytes_and_is_cancelled_counts_them)
{
    for (size_t len = 20; len <= 21; len++) {
        char       memory[LEN] = { 0 };
        struct odd odd = { .bytes = 20, .error = -ECANCELED, .when_asked = true }, other = odd;
        struct unr_transfer ops[2] = { 0 };
        struct seen         seen[2] = { 0 };
        begin(&seen[0], unr_read_exact(&ops[0], make_odd(&odd), memory, len));
        begin(&seen[1], unr_read_at_least(&ops[1], make_odd(&other), memory, LEN, len));
        for (int i = 0; i < 2; i++)
            cr_assert(unr_cancel_cause(&ops[i].op, UNR_CANCEL_ALL, -5000));
        run();
        for (int i = 0; i < 2; i++)
            if (len > 20) {
                expect_cancelled(&seen[i], UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -5000);
                cr_assert_eq(seen[i].result.bytes, 20);
            } else {
                expect(&seen[i].result, 0, 20);
                cr_assert_eq(seen[i].result.verdict, UNR_VERDICT_TOO_LATE);
            }
    }
    close_loop();
}

/* A layer whose steps support NONE and end when the test says so, each after a few bytes. */
struct certain {
    struct unr_stream  stream;
    struct unr_op     *step; /* NULL: none is in flight */
    struct iovec       piece;
    size_t             moved;
    unsigned           steps;
    enum unr_direction direction;
    char               bytes[LEN]; /* that were written; what is read is the pattern */
};

static struct certain *certain_layer;

static void certain_start(struct unr_op *op)
{
    certain_layer->step = op;
    certain_layer->steps++;
}

static struct unr_op *certain_some(struct unr_stream *stream, struct unr_some *some,
                                   const struct iovec *iov, unsigned n)
{
    static const struct unr_op_type type = {
        .size = sizeof type, .name = "certain", .start = certain_start, .cancel = deaf
    };
    certain_layer = unr_container_of(stream, struct certain, stream);
    certain_layer->piece = iov[0];
    (void)n;
    return unr_describe(&some->op, &type);
}

static struct unr_stream *make_certain(struct certain *certain, enum unr_direction direction)
{
    static const struct unr_stream_type type = { .size = sizeof type,
                                                 .name = "certain",
                                                 .read_some = certain_some,
                                                 .write_some = certain_some };
    *certain = (struct certain){ .direction = direction };
    unr_stream_layer(&certain->stream, &type);
    return &certain->stream;
}

static void end_step(struct certain *certain, size_t bytes)
{
    struct unr_op *step = certain->step;
    cr_assert_leq(bytes, certain->piece.iov_len);
    for (size_t i = 0; i < bytes; i++)
        if (certain->direction == UNR_READ)
            ((char *)certain->piece.iov_base)[i] = byte_at(certain->moved + i);
        else
            certain->bytes[certain->moved + i] = ((const char *)certain->piece.iov_base)[i];
    certain->moved += bytes;
    certain->step = NULL;
    step->result.bytes = bytes;
    unr_finish(step, 0);
}

/* A request that the step in flight cannot honour, as a layer's may support nothing, ends the
 * transfer before the next step, with what that step still moved; where it was the last, the
 * transfer is done. */
Test(transfer, cancelled_in_a_step_that_supports_nothing_the_next_does_not_begin)
{
    static const struct {
        enum unr_direction direction;
        bool               last;
    } ways[] = {
        { UNR_READ, false }, { UNR_READ, true }, { UNR_WRITE, false }, { UNR_WRITE, true }
    };
    for (size_t i = 0; i < LENGTH(ways); i++) {
        char          *memory = ways[i].direction == UNR_READ ? calloc(1, LEN) : pattern(0, LEN);
        struct certain layer;
        struct unr_transfer transfer = { 0 };
        struct seen         seen = { 0 };
        struct unr_stream  *stream = make_certain(&layer, ways[i].direction);
        begin(&seen, ways[i].direction == UNR_READ ? unr_read_exact(&transfer, stream, memory, LEN)
                                                   : unr_write_all(&transfer, stream, memory, LEN));
        for (int step = 0; step < 3; step++) {
            end_step(&layer, 7);
            submit();
        }
        cr_assert(unr_cancel_cause(&transfer.op, UNR_CANCEL_ALL, -5000));
        submit();
        cr_assert_eq(seen.runs, 0);
        end_step(&layer, ways[i].last ? LEN - 21 : 7);
        submit();
        while (layer.step) { /* none is */
            end_step(&layer, 1);
            submit();
        }
        run();
        cr_assert_eq(layer.steps, 4);
        if (ways[i].last) {
            expect(&seen.result, 0, LEN);
            cr_assert_eq(seen.result.verdict, UNR_VERDICT_TOO_LATE);
        } else {
            expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -5000);
            cr_assert_eq(seen.result.bytes, 28);
        }
        cr_assert_eq(layer.moved, seen.result.bytes);
        expect_pattern(ways[i].direction == UNR_READ ? memory : layer.bytes, 0, layer.moved);
        free(memory);
    }
    close_loop();
}

/* A condition cannot go on after a cancellation, whoever asked for it. */
Test(transfer, a_cancelled_step_ends_it_whatever_the_condition_says)
{
    char                memory[LEN] = { 0 };
    struct iovec        piece = { memory, LEN };
    struct odd          odd = { .error = -ECANCELED };
    struct asked        asked = { .condition = never_ends };
    struct unr_transfer transfer = { 0 };
    struct unr_result   result;
    make_odd(&odd);
    result = result_of_running(
        unr_transfer_while(&transfer, &odd.stream, UNR_READ, &piece, 1, ask, &asked));
    expect(&result, -ECANCELED, 0);
    cr_assert_eq(asked.error, -ECANCELED);
    close_loop();
}

static void moves_too_much(void *context)
{
    char                memory[20];
    struct odd          more = { .bytes = 11 };
    struct unr_transfer transfer = { 0 };
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_write_all(&transfer, make_odd(&more), memory, 10), NULL, NULL);
    unr_loop_run(loop);
}

/* A layer that claims to have moved more than it was given breaks the contract: memory is at
 * stake. */
Test(transfer, a_step_that_moves_more_than_asked_breaks_the_contract)
{
    close_loop();
    struct death death = in_child(moves_too_much, NULL);
    expect_abort(&death,
                 (const char *const[]){ "broken contract", "moved more than it was asked to",
                                        "write_all", NULL });
}

/* ---- cancellation ---- */

enum { FULL = 16 << 20 };

/* A write into a full socket, cancelled: the peer gets exactly the bytes that were reported.  TOTAL
 * it refuses. */
Test(transfer, a_cancelled_write_reports_what_the_peer_gets)
{
    static const unsigned types[] = { UNR_CANCEL_TERMINAL, UNR_CANCEL_PARTIAL, UNR_CANCEL_TOTAL,
                                      UNR_CANCEL_ALL };
    /* A pipe whose writes take workers shows no progress. */
    int last = pipes_need_workers() ? PIPE - 1 : PIPE;
    for (int kind = SOCKETPAIR; kind <= last; kind++)
        for (size_t i = 0; i < LENGTH(types); i++)
            for (int vector = 0; vector < 2; vector++) {
                char               *memory = pattern(0, FULL);
                struct iovec        pieces[3] = { { memory, 70001 },
                                                  { memory + 70001, 0 },
                                                  { memory + 70001, FULL - 70001 } };
                struct unr_transfer transfer = { 0 };
                struct seen         seen = { 0 };
                struct ends         ends;
                open_ends(&ends, (enum kind)kind);
                begin(&seen, vector ? unr_writev_all(&transfer, &ends.to, pieces, 3)
                                    : unr_write_all(&transfer, &ends.to, memory, FULL));
                until_moved(&transfer, 1);
                cr_assert(unr_cancel_cause(&transfer.op, types[i], -5000));
                if (types[i] == UNR_CANCEL_TOTAL) {
                    submit();
                    cr_assert_eq(seen.runs, 0);
                    cr_assert(unr_cancel_cause(&transfer.op, UNR_CANCEL_PARTIAL, -6000));
                }
                run();
                expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED,
                                 types[i] == UNR_CANCEL_TOTAL ? -6000 : -5000);
                cr_assert(seen.result.bytes > 0 && seen.result.bytes < FULL);
                expect_rest(&ends, 0, seen.result.bytes);
                free(memory);
            }
    close_loop();
}

/* A request for TOTAL alone is refused: the transfer goes on to its end and says so. */
Test(transfer, a_request_for_total_is_refused)
{
    char                memory[LEN] = { 0 };
    struct unr_transfer transfer = { 0 };
    struct seen         seen = { 0 };
    struct ends         ends;
    open_ends(&ends, TCP);
    begin(&seen, unr_read_exact(&transfer, &ends.from, memory, LEN));
    cr_assert_eq(unr_supports(&transfer.op), UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL);
    submit();
    cr_assert(unr_cancel_cause(&transfer.op, UNR_CANCEL_TOTAL, -5000));
    submit();
    give(&ends, 0, LEN);
    run();
    expect(&seen.result, 0, LEN);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(seen.result.cause, -5000);
    expect_pattern(memory, 0, LEN);
    expect_rest(&ends, LEN, LEN);
    close_loop();
}

/* A read, cancelled: what was reported is in the memory, what comes later is in the stream, and a
 * second read goes on there. */
Test(transfer, a_cancelled_read_leaves_the_rest_in_the_stream)
{
    for (int kind = SOCKETPAIR; kind <= PIPE; kind++) {
        char                memory[LEN] = { 0 };
        struct unr_transfer transfer = { 0 };
        struct seen         seen = { 0 };
        struct ends         ends;
        open_ends(&ends, (enum kind)kind);
        put(&ends, 10);
        begin(&seen, unr_read_exact(&transfer, &ends.from, memory, LEN));
        until_moved(&transfer, 10);
        unr_cancel(&transfer.op, UNR_CANCEL_PARTIAL);
        run();
        expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        cr_assert_eq(seen.result.bytes, 10);
        give(&ends, 10, 30);
        struct unr_result result =
            result_of_running(unr_read_exact(&transfer, &ends.from, memory + 10, 20));
        expect(&result, 0, 20);
        expect_pattern(memory, 0, 30);
        cr_assert_eq(memory[30], 0);
        expect_rest(&ends, 30, 40);
    }
    close_loop();
}

/* A latched request ends it before it begins: the condition is not asked, nothing is moved, and the
 * guarantee is TOTAL. */
Test(transfer, cancelled_before_the_start_it_moves_nothing)
{
    char                memory[LEN] = { 0 };
    struct iovec        piece = { memory, LEN };
    struct asked        asked = { .condition = unr_transfer_all };
    struct unr_transfer transfer = { 0 };
    struct seen         seen = { 0 };
    struct unr_signal   stop = { 0 };
    struct ends         ends;
    open_ends(&ends, SOCKETPAIR);
    put(&ends, LEN);
    unr_signal_init_latched(&stop);
    unr_signal_emit_cause(&stop, UNR_CANCEL_ALL, -5000);
    begin(&seen,
          unr_bind_slot(unr_transfer_while(&transfer, &ends.from, UNR_READ, &piece, 1, ask, &asked),
                        unr_signal_slot(&stop)));
    run();
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -5000);
    cr_assert_eq(seen.result.bytes, 0);
    cr_assert_eq(asked.times, 0);
    expect_rest(&ends, 0, LEN);
    close_loop();
}

/* Cancelled while its first step waits to be submitted, it moves nothing. */
Test(transfer, cancelled_while_queued_it_moves_nothing)
{
    char                memory[LEN] = { 0 };
    struct unr_transfer transfer = { 0 };
    struct seen         seen = { 0 };
    struct unr_signal   stop = { 0 };
    struct ends         ends;
    open_ends(&ends, SOCKETPAIR);
    put(&ends, LEN);
    begin(&seen, unr_bind_slot(unr_read_exact(&transfer, &ends.from, memory, LEN),
                               unr_signal_slot(&stop)));
    cr_assert(unr_signal_emit(&stop, UNR_CANCEL_PARTIAL));
    run();
    expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(seen.result.bytes, 0);
    expect_rest(&ends, 0, LEN);
    close_loop();
}

static void emit_before_step_3(struct narrow *narrow)
{
    if (narrow->steps == 3)
        cr_assert(unr_signal_emit_cause(narrow->context, UNR_CANCEL_PARTIAL, -5000));
}

/* Cancelled between two steps, by a layer that is just describing the third: that one does not
 * begin.  On every kind of stream, and a file's offset has moved by what was transferred. */
Test(transfer, cancelled_between_two_steps_the_next_does_not_begin)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int direction = UNR_READ; direction <= UNR_WRITE; direction++) {
            char               *memory = direction == UNR_WRITE ? pattern(0, LEN) : calloc(1, LEN);
            struct unr_transfer transfer = { 0 };
            struct seen         seen = { 0 };
            struct unr_signal   stop = { 0 };
            struct narrow       narrow;
            struct ends         ends;
            open_ends(&ends, (enum kind)kind);
            if (direction == UNR_READ)
                put(&ends, LEN);
            struct unr_stream *stream =
                make_narrow(&narrow, direction == UNR_READ ? &ends.from : &ends.to, 10);
            narrow.before = emit_before_step_3;
            narrow.context = &stop;
            begin(&seen, unr_bind_slot(direction == UNR_READ
                                           ? unr_read_exact(&transfer, stream, memory, LEN)
                                           : unr_write_all(&transfer, stream, memory, LEN),
                                       unr_signal_slot(&stop)));
            run();
            expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -5000);
            cr_assert_eq(seen.result.bytes, 20);
            expect_pattern(memory, 0, 20);
            if (kind == REGULAR)
                cr_assert_eq((direction == UNR_READ ? ends.from : ends.to).offset, 20);
            expect_rest(&ends, direction == UNR_READ ? 20 : 0, direction == UNR_READ ? LEN : 20);
            free(memory);
        }
    close_loop();
}

struct ten_at_a_time {
    struct unr_signal stop;
    size_t            at; /* which the signal is emitted */
};

static size_t emits(void *context, int error, size_t bytes)
{
    struct ten_at_a_time *ten = context;
    if (!error && bytes == ten->at)
        cr_assert(unr_signal_emit(&ten->stop, UNR_CANCEL_ALL));
    return error || bytes >= 30 ? 0 : 10;
}

/* Cancelled by its own condition it ends before the next step; when that is the last it is a
 * success, and the verdict tells.  The offset of a file has moved by what was transferred. */
Test(transfer, cancelled_inside_its_condition)
{
    for (size_t at = 0; at <= 30; at += 10) {
        char                *memory = pattern(0, LEN);
        struct iovec         piece = { memory, LEN };
        struct ten_at_a_time ten = { .at = at };
        struct unr_transfer  transfer = { 0 };
        struct seen          seen = { 0 };
        struct ends          ends;
        open_ends(&ends, REGULAR);
        begin(&seen, unr_bind_slot(
                         unr_transfer_while(&transfer, &ends.to, UNR_WRITE, &piece, 1, emits, &ten),
                         unr_signal_slot(&ten.stop)));
        run();
        if (at == 30) {
            expect(&seen.result, 0, 30);
            cr_assert_eq(seen.result.verdict, UNR_VERDICT_TOO_LATE);
        } else {
            expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
            cr_assert_eq(seen.result.bytes, at);
        }
        cr_assert_eq(ends.to.offset, (int64_t)at);
        expect_rest(&ends, 0, at);
        free(memory);
    }
    close_loop();
}

static void cancel_it(struct seen *seen)
{
    cr_assert(unr_cancel_cause(seen->context, UNR_CANCEL_ALL, -5000));
}

/* A request that comes when a step has completed, and before the transfer knows: the last step
 * makes it a success that came first, and one in between ends it before the next. */
Test(transfer, a_request_that_loses_to_a_step_ends_it_before_the_next)
{
    for (int last = 0; last < 2; last++) {
        char                memory[LEN] = { 0 };
        struct unr_transfer transfer = { 0 };
        struct seen         nop = { .then = cancel_it, .context = &transfer.op }, seen = { 0 };
        struct ends         ends;
        open_ends(&ends, SOCKETPAIR);
        put(&ends, 10);
        start(&nop, unr_nop(&nop.op)); /* its `done` runs first, when both have completed */
        begin(&seen, unr_read_exact(&transfer, &ends.from, memory, last ? 10 : LEN));
        run();
        if (last) {
            expect(&seen.result, 0, 10);
            cr_assert_eq(seen.result.verdict, UNR_VERDICT_TOO_LATE);
            cr_assert_eq(seen.result.cause, -5000);
        } else {
            expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -5000);
            cr_assert_eq(seen.result.bytes, 10);
        }
        expect_pattern(memory, 0, 10);
        expect_rest(&ends, 10, 10);
    }
    close_loop();
}

static bool cancel_from_handler(void *context, struct unr_cancel_request request)
{
    cr_assert(unr_cancel_cause(context, request.types, request.cause));
    cr_assert(unr_cancel_cause(context, UNR_CANCEL_TOTAL, -6000));
    return true;
}

/* Cancelled from inside the handler of another slot while a step waits, and asked for more
 * there. */
Test(transfer, cancelled_inside_a_slot_handler)
{
    char                memory[LEN] = { 0 };
    struct unr_transfer transfer = { 0 };
    struct seen         seen = { 0 };
    struct unr_signal   stop = { 0 };
    struct ends         ends;
    open_ends(&ends, PIPE);
    put(&ends, 10);
    unr_slot_assign(unr_signal_slot(&stop), cancel_from_handler, &transfer.op);
    begin(&seen, unr_read_exact(&transfer, &ends.from, memory, LEN));
    until_moved(&transfer, 10);
    cr_assert(unr_signal_emit_cause(&stop, UNR_CANCEL_PARTIAL, -5000));
    run();
    expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -5000);
    cr_assert_eq(seen.result.requested, UNR_CANCEL_PARTIAL | UNR_CANCEL_TOTAL);
    cr_assert_eq(seen.result.bytes, 10);
    expect_rest(&ends, 10, 10);
    close_loop();
}

/* After its end a request finds nothing. */
Test(transfer, cancelled_after_its_end_it_is_none)
{
    char                memory[LEN] = { 0 };
    struct unr_transfer transfer = { 0 };
    struct seen         seen = { 0 };
    struct unr_signal   stop = { 0 };
    struct ends         ends;
    open_ends(&ends, SOCKETPAIR);
    put(&ends, LEN);
    begin(&seen, unr_bind_slot(unr_read_exact(&transfer, &ends.from, memory, LEN),
                               unr_signal_slot(&stop)));
    run();
    cr_assert_not(unr_signal_emit(&stop, UNR_CANCEL_ALL));
    cr_assert_not(unr_cancel(&transfer.op, UNR_CANCEL_ALL));
    expect(&seen.result, 0, LEN);
    cr_assert_eq(seen.result.requested, 0);
    expect_rest(&ends, LEN, LEN);
    close_loop();
}

/* A deadline ends it with its own cause, and what was transferred stays. */
Test(transfer, a_deadline_keeps_the_bytes)
{
    char                memory[LEN] = { 0 };
    struct unr_transfer transfer = { 0 };
    struct unr_deadline deadline = { 0 };
    struct seen         seen = { 0 };
    struct ends         ends;
    open_ends(&ends, TCP);
    put(&ends, 10);
    begin(&seen, unr_cancel_after(&deadline, unr_read_exact(&transfer, &ends.from, memory, LEN),
                                  UNR_NEVER));
    until_moved(&transfer, 10);
    cr_assert(unr_deadline_move(&deadline, unr_loop_now(loop)));
    run();
    expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    cr_assert_eq(unr_outcome(&seen.result), -ETIMEDOUT);
    cr_assert_eq(seen.result.bytes, 10);
    expect_pattern(memory, 0, 10);
    give(&ends, 10, 5);
    expect_rest(&ends, 10, 15);
    close_loop();
}

/* A loop that is closed ends it, and its `done` has the bytes. */
Test(transfer, closing_the_loop_ends_it_with_its_count)
{
    char                memory[LEN] = { 0 };
    struct unr_transfer transfer = { 0 };
    struct seen         seen = { 0 };
    struct ends         ends;
    open_ends(&ends, PIPE);
    put(&ends, 10);
    begin(&seen, unr_read_exact(&transfer, &ends.from, memory, LEN));
    until_moved(&transfer, 10);
    cr_assert_eq(unr_loop_close(loop), 0);
    expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    cr_assert_eq(seen.result.bytes, 10);
    expect_rest(&ends, 10, 10);
}

/* ---- an example: a layer that enciphers ---- */

/* A stream on top of another, through which each byte goes xor-ed with one that depends on its
 * place: whoever gets a count wrong, on a cancellation say, reads rubbish from there on.
 *
 * Its read_some and write_some are composed operations of one step.  They live in the layer, as
 * there is one of each at a time.  To read, it reads from the stream below straight into the
 * caller's memory, and deciphers what came, also when the step failed or was cancelled:
 * result.bytes is right whatever result.error says.  To write, it enciphers as much as its own
 * memory holds, and has a transfer write all of that.  If the transfer is cut short, the layer has
 * moved what the transfer says, and its place moves by that. */
struct cipher {
    struct unr_stream   stream;
    struct unr_stream  *lower;
    struct unr_compose  reading, writing;
    struct unr_some     read;
    struct unr_transfer write;
    const struct iovec *read_into;
    unsigned            read_pieces;
    uint64_t            read_at, written_at; /* the places */
    size_t              enciphered;
    char                room[32];
};

static char enciphered(uint64_t place, char byte)
{
    return (char)(byte ^ (char)(place * 31 + 17));
}

static void cipher_read_step(struct unr_compose *self, struct unr_op *finished)
{
    struct cipher *cipher = unr_container_of(self, struct cipher, reading);
    if (!finished) {
        unr_compose_next(self, unr_read_some(&cipher->read, cipher->lower, cipher->read_into,
                                             cipher->read_pieces));
        return;
    }
    size_t left = finished->result.bytes;
    for (const struct iovec *piece = cipher->read_into; left; piece++)
        for (char *byte = piece->iov_base, *end = byte + piece->iov_len; byte < end && left;
             byte++, left--)
            *byte = enciphered(cipher->read_at++, *byte);
    unr_stream_moved(cipher->lower, finished->result.bytes);
    self->op.result.bytes = finished->result.bytes;
    unr_compose_end(self, finished->result.error);
}

static struct unr_op *cipher_read(struct unr_stream *stream, struct unr_some *some,
                                  const struct iovec *iov, unsigned n)
{
    struct cipher *cipher = unr_container_of(stream, struct cipher, stream);
    (void)some;
    cipher->read_into = iov;
    cipher->read_pieces = n;
    return unr_compose(&cipher->reading, "cipher_read", UNR_CANCEL_PARTIAL, cipher_read_step);
}

static void cipher_write_step(struct unr_compose *self, struct unr_op *finished)
{
    struct cipher *cipher = unr_container_of(self, struct cipher, writing);
    if (!finished) {
        unr_compose_next(
            self, unr_write_all(&cipher->write, cipher->lower, cipher->room, cipher->enciphered));
        return;
    }
    cipher->written_at += finished->result.bytes;
    self->op.result.bytes = finished->result.bytes;
    unr_compose_end(self, finished->result.error);
}

static struct unr_op *cipher_write(struct unr_stream *stream, struct unr_some *some,
                                   const struct iovec *iov, unsigned n)
{
    struct cipher *cipher = unr_container_of(stream, struct cipher, stream);
    size_t         len = 0;
    (void)some;
    for (unsigned i = 0; i < n; i++)
        for (size_t j = 0; j < iov[i].iov_len && len < sizeof cipher->room; j++, len++)
            cipher->room[len] =
                enciphered(cipher->written_at + len, ((const char *)iov[i].iov_base)[j]);
    cipher->enciphered = len;
    return unr_compose(&cipher->writing, "cipher_write", UNR_CANCEL_PARTIAL, cipher_write_step);
}

static void cipher_init(struct cipher *cipher, struct unr_stream *lower)
{
    static const struct unr_stream_type type = {
        .size = sizeof type, .name = "cipher", .read_some = cipher_read, .write_some = cipher_write
    };
    *cipher = (struct cipher){ .lower = lower };
    unr_stream_layer(&cipher->stream, &type);
}

/* What goes through two ciphers comes out as it went in, in whatever pieces, and on the way it was
 * something else. */
Test(transfer, a_layer_may_transform_what_it_moves)
{
    for (int kind = 0; kind < KINDS; kind++) {
        char               *written = pattern(0, LEN), read[LEN] = { 0 }, raw[LEN] = { 0 };
        struct iovec        pieces[8];
        struct unr_transfer transfer = { 0 };
        struct unr_result   result;
        struct cipher       writer, reader;
        struct ends         ends;
        open_ends(&ends, (enum kind)kind);
        cipher_init(&writer, &ends.to);
        cipher_init(&reader, &ends.from);
        result = result_of_running(
            unr_writev_all(&transfer, &writer.stream, pieces, in_pieces(written, pieces)));
        expect(&result, 0, LEN);
        result = result_of_running(unr_read_exact(&transfer, &reader.stream, read, 7));
        expect(&result, 0, 7);
        result = result_of_running(unr_read_exact(&transfer, &reader.stream, read + 7, LEN - 7));
        expect(&result, 0, LEN - 7);
        expect_pattern(read, 0, LEN);
        result = result_of_running(unr_write_all(&transfer, &writer.stream, written, LEN));
        expect(&result, 0, LEN);
        result = result_of_running(unr_read_exact(&transfer, &ends.from, raw, LEN));
        expect(&result, 0, LEN);
        for (size_t i = 0; i < LEN; i++)
            cr_assert_eq(raw[i], enciphered(LEN + i, byte_at(i)));
        if (kind == REGULAR)
            cr_assert(ends.to.offset == 2 * LEN && ends.from.offset == 2 * LEN);
        expect_rest(&ends, 2 * LEN, 2 * LEN);
        free(written);
    }
    close_loop();
}

/* A cancellation goes through layers down to the system call, and the counts come back up: writing
 * and reading go on behind them, and nothing is lost or doubled. */
Test(transfer, a_cancelled_transfer_through_layers_goes_on_where_it_stopped)
{
    enum { MUCH = 1 << 18 };
    char               *written = pattern(0, MUCH), *read = calloc(1, MUCH);
    struct unr_transfer ops[2] = { 0 };
    struct cipher       writer, reader;
    struct narrow       narrow;
    struct ends         ends;
    size_t              sent = 0, received = 0;
    unsigned            cancelled = 0;
    open_ends(&ends, SOCKETPAIR);
    cipher_init(&writer, make_narrow(&narrow, &ends.to, 5));
    cipher_init(&reader, &ends.from);
    while (received < MUCH) {
        struct seen seen[2] = { 0 };
        size_t      want = min(MUCH - received, 3001);
        begin(&seen[0], unr_write_all(&ops[0], &writer.stream, written + sent, MUCH - sent));
        begin(&seen[1],
              unr_read_at_least(&ops[1], &reader.stream, read + received, MUCH - received, want));
        while (!seen[1].runs && ops[1].op.result.bytes < want / 2)
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
        unr_cancel(&ops[0].op, UNR_CANCEL_PARTIAL);
        unr_cancel(&ops[1].op, UNR_CANCEL_TERMINAL);
        run();
        for (int i = 0; i < 2; i++) {
            cr_assert(seen[i].result.error == 0 || seen[i].result.error == -ECANCELED);
            cancelled += seen[i].result.error != 0;
        }
        sent += seen[0].result.bytes;
        received += seen[1].result.bytes;
        cr_assert_leq(received, sent);
    }
    cr_assert_eq(sent, MUCH);
    cr_assert_gt(cancelled, 10);
    expect_pattern(read, 0, MUCH);
    expect_rest(&ends, MUCH, MUCH);
    free(written);
    free(read);
    close_loop();
}
