/* SPDX-License-Identifier: MIT */
/* Passing on from one stream to another: every byte is delivered, in the rest, or still where it
 * came from. */
#include "support.h"

#include <pthread.h>
#include <sys/mman.h>

TestSuite(relay, .init = open_loop, .timeout = 60);

enum { LARGE = 10 << 20 };

/* ---- bytes that tell where they belong ---- */

static char byte_at(size_t position)
{
    uint64_t hash = position * UINT64_C(0x9e3779b97f4a7c15);
    return (char)(hash >> 56 ^ hash >> 29);
}

static void fill(char *bytes, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(from + i);
}

static bool is_pattern(const char *bytes, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != byte_at(from + i))
            return false;
    return true;
}

/* ---- the other ends: threads, as blocking as they come ---- */

struct peer {
    pthread_t thread;
    int       fd;
    size_t    bytes; /* to write; and how many were read */
    bool      right; /* what was read is the pattern */
};

static void *write_pattern(void *context)
{
    struct peer *peer = context;
    char         bytes[100000];
    for (size_t done = 0; done < peer->bytes;) {
        size_t len = peer->bytes - done < sizeof bytes ? peer->bytes - done : sizeof bytes;
        fill(bytes, done, len);
        for (size_t written = 0; written < len;) {
            ssize_t n = write(peer->fd, bytes + written, len - written);
            if (n <= 0)
                abort();
            written += (size_t)n;
        }
        done += len;
    }
    close(peer->fd);
    return NULL;
}

static void *read_pattern(void *context)
{
    struct peer *peer = context;
    char         bytes[70001];
    peer->right = true;
    for (ssize_t n; (n = read(peer->fd, bytes, sizeof bytes)) > 0; peer->bytes += (size_t)n)
        peer->right &= is_pattern(bytes, peer->bytes, (size_t)n);
    close(peer->fd);
    return NULL;
}

/* ---- the two streams of a relay, by kind ---- */

enum kind { UNIX, TCP, PIPE, FILE_, LAYER };

/* A layer that does nothing but halve what it is asked for. */
struct halves {
    struct unr_stream stream, inner;
    struct iovec      piece;
};

static struct iovec *half(struct halves *halves, const struct iovec *iov)
{
    halves->piece = (struct iovec){ iov->iov_base, (iov->iov_len + 1) / 2 };
    return &halves->piece;
}

static struct unr_op *read_half(struct unr_stream *stream, struct unr_some *some,
                                const struct iovec *iov, unsigned n)
{
    struct halves *halves = unr_container_of(stream, struct halves, stream);
    cr_assert_eq(n, 1);
    return unr_read_some(some, &halves->inner, half(halves, iov), 1);
}

static struct unr_op *write_half(struct unr_stream *stream, struct unr_some *some,
                                 const struct iovec *iov, unsigned n)
{
    struct halves *halves = unr_container_of(stream, struct halves, stream);
    cr_assert_eq(n, 1);
    return unr_write_some(some, &halves->inner, half(halves, iov), 1);
}

static const struct unr_stream_type halves_type = { .size = sizeof(struct unr_stream_type),
                                                    .name = "halves",
                                                    .read_some = read_half,
                                                    .write_some = write_half };

struct end {
    enum kind     kind;
    struct halves layer; /* its stream is the relay's, or with another kind just that one */
    int           near, far;
};

static int temporary_file(void)
{
    int fd = memfd_create("relay", MFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    return fd;
}

static struct unr_stream *open_end(struct end *end, enum kind kind, bool reads)
{
    struct unr_stream *stream = &end->layer.stream;
    int                fds[2] = { -1, -1 };
    *end = (struct end){ .kind = kind };
    switch (kind) {
    case UNIX:
    case LAYER: unix_pair(fds); break;
    case TCP: tcp_pair(fds); break;
    case PIPE: cr_assert_eq(pipe2(fds, O_CLOEXEC), 0); break;
    case FILE_: fds[0] = temporary_file(); break;
    }
    end->near = kind == PIPE && !reads ? fds[1] : fds[0];
    end->far = kind == PIPE && !reads ? fds[0] : fds[1];
    if (kind == FILE_)
        unr_stream_file(stream, end->near, 0);
    else if (kind == PIPE)
        unr_stream_pipe(stream, end->near);
    else
        unr_stream_socket(stream, end->near);
    if (kind == LAYER) {
        end->layer.inner = *stream;
        unr_stream_layer(stream, &halves_type);
    }
    return stream;
}

struct relayed {
    struct unr_relay  relay;
    int               runs;
    struct unr_result result;
};

static void ended(struct unr_op *op)
{
    struct relayed *relayed = unr_container_of(op, struct relayed, relay.op);
    relayed->runs++;
    relayed->result = op->result;
}

static void start_relay(struct relayed *relayed, struct unr_stream *from, struct unr_stream *to)
{
    *relayed = (struct relayed){ 0 };
    unr_start(loop, unr_relay(&relayed->relay, from, to), ended, NULL);
}

static void finish_relay(struct relayed *relayed)
{
    while (!relayed->runs)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(relayed->runs, 1);
}

static size_t rest_of(struct relayed *relayed, const char **ret_bytes)
{
    size_t len;
    *ret_bytes = unr_buffer_data(&relayed->relay.rest, &len);
    return len;
}

static void expect_no_rest(struct relayed *relayed)
{
    const char *bytes;
    cr_assert_eq(rest_of(relayed, &bytes), 0);
    cr_assert_null(relayed->relay.rest.private_fields.memory, "there is something to give back");
}

/* ---- all of it ---- */

/* Everything arrives, in order and once; the offsets of files have moved by as much; nothing
 * remains to be given back. */
static void relay_large(enum kind from_kind, enum kind to_kind)
{
    struct end         from, to;
    struct relayed     relayed;
    struct unr_stream *source = open_end(&from, from_kind, true),
                      *sink = open_end(&to, to_kind, false);
    struct peer writer = { .bytes = LARGE }, reader = { 0 };
    writer.fd = from_kind == FILE_ ? dup(from.near) : from.far;
    if (from_kind == FILE_)
        write_pattern(&writer);
    else
        pthread_create(&writer.thread, NULL, write_pattern, &writer);
    reader.fd = to.far;
    if (to_kind != FILE_)
        pthread_create(&reader.thread, NULL, read_pattern, &reader);

    start_relay(&relayed, source, sink);
    finish_relay(&relayed);
    cr_assert_eq(relayed.result.error, 0, "error %d", relayed.result.error);
    cr_assert_eq(relayed.result.bytes, LARGE);
    expect_no_rest(&relayed);

    if (from_kind == FILE_)
        cr_assert_eq(source->offset, LARGE);
    else
        pthread_join(writer.thread, NULL);
    close(from.near);
    if (to_kind == FILE_) {
        cr_assert_eq(sink->offset, LARGE);
        cr_assert_eq(lseek(to.near, 0, SEEK_CUR), 0);
        reader.fd = to.near;
        read_pattern(&reader);
    } else {
        close(to.near);
        pthread_join(reader.thread, NULL);
    }
    cr_assert_eq(reader.bytes, LARGE);
    cr_assert(reader.right);
    close_loop();
}

#define LARGE_TEST(name, from, to)                                                                 \
    Test(relay, name)                                                                              \
    {                                                                                              \
        relay_large(from, to);                                                                     \
    }
LARGE_TEST(tcp_to_unix, TCP, UNIX)
LARGE_TEST(unix_to_tcp, UNIX, TCP)
LARGE_TEST(file_to_tcp, FILE_, TCP)
LARGE_TEST(tcp_to_file, TCP, FILE_)
LARGE_TEST(pipe_to_tcp, PIPE, TCP)
LARGE_TEST(tcp_to_pipe, TCP, PIPE)
LARGE_TEST(pipe_to_pipe, PIPE, PIPE)
LARGE_TEST(file_to_file, FILE_, FILE_)
LARGE_TEST(layer_to_tcp, LAYER, TCP)
LARGE_TEST(tcp_to_layer, TCP, LAYER)

/* A stream that ends at once. */
Test(relay, nothing_to_relay)
{
    struct end         from, to;
    struct relayed     relayed;
    struct unr_stream *source = open_end(&from, TCP, true), *sink = open_end(&to, PIPE, false);
    close(from.far);
    start_relay(&relayed, source, sink);
    finish_relay(&relayed);
    cr_assert_eq(relayed.result.error, 0);
    cr_assert_eq(relayed.result.bytes, 0);
    expect_no_rest(&relayed);
    close(from.near);
    close(to.near);
    close(to.far);
    close_loop();
}

/* One socket as both: what comes in goes back. */
Test(relay, echo)
{
    struct end         end;
    struct relayed     relayed;
    struct unr_stream *stream = open_end(&end, TCP, true);
    struct peer        writer = { .bytes = 100000 }, reader = { .fd = end.far };
    start_relay(&relayed, stream, stream);
    writer.fd = dup(end.far);
    pthread_create(&writer.thread, NULL, write_pattern, &writer);
    pthread_create(&reader.thread, NULL, read_pattern, &reader);
    while (relayed.relay.op.result.bytes < 100000)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    pthread_join(writer.thread, NULL);
    shutdown(end.far, SHUT_WR);
    finish_relay(&relayed);
    cr_assert_eq(relayed.result.error, 0);
    close(end.near);
    pthread_join(reader.thread, NULL);
    cr_assert_eq(reader.bytes, 100000);
    cr_assert(reader.right);
    close_loop();
}

/* ---- cancelled ---- */

/* What `fd` has until its end; the bytes are the pattern's from `position` on. */
static size_t read_to_end(int fd, size_t position)
{
    char   bytes[65536];
    size_t total = 0;
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) > 0; total += (size_t)n)
        cr_assert(is_pattern(bytes, position + total, (size_t)n));
    return total;
}

/* Both ends' peers, one step at a time, without waiting. */
struct flow {
    unsigned   seed;
    struct end from, to;
    size_t     sent, received;
};

static unsigned random_below(struct flow *flow, unsigned n)
{
    return (unsigned)rand_r(&flow->seed) % n;
}

static void peers_step(struct flow *flow)
{
    char    bytes[50000];
    size_t  len = 1 + random_below(flow, random_below(flow, 2) ? 100 : sizeof bytes);
    ssize_t n;
    if (random_below(flow, 2)) {
        fill(bytes, flow->sent, len);
        if ((n = write(flow->from.far, bytes, len)) > 0)
            flow->sent += (size_t)n;
    }
    if (random_below(flow, 3) == 0 && (n = read(flow->to.far, bytes, len)) > 0) {
        cr_assert(is_pattern(bytes, flow->received, (size_t)n));
        flow->received += (size_t)n;
    }
}

/* Cancelled at any point, with a reader that lags behind: what was delivered, the rest, and what is
 * left in `from` are what was sent, in this order, no byte missing and none twice. */
static void expect_conservation(enum kind from_kind, enum kind to_kind)
{
    int cancelled = 0, with_rest = 0;
    for (unsigned seed = 1; seed <= 150; seed++) {
        struct flow        flow = { .seed = seed };
        struct relayed     relayed;
        const char        *rest;
        struct unr_stream *source = open_end(&flow.from, from_kind, true),
                          *sink = open_end(&flow.to, to_kind, false);
        fcntl(flow.from.far, F_SETFL, O_NONBLOCK);
        fcntl(flow.to.far, F_SETFL, O_NONBLOCK);
        start_relay(&relayed, source, sink);
        for (unsigned turns = random_below(&flow, 60); turns; turns--) {
            peers_step(&flow);
            submit();
        }
        cr_assert(unr_cancel(&relayed.relay.op, UNR_CANCEL_PARTIAL));
        if (random_below(&flow, 2))
            peers_step(&flow);
        finish_relay(&relayed);
        cr_assert_eq(relayed.result.error, -ECANCELED, "error %d", relayed.result.error);
        cr_assert_leq(relayed.result.guarantee, UNR_CANCEL_TOTAL);

        size_t delivered = (size_t)relayed.result.bytes, left = rest_of(&relayed, &rest);
        cr_assert(is_pattern(rest, delivered, left));
        close(flow.from.far);
        shutdown(flow.from.near, SHUT_WR); /* or both sides wait for the other's end */
        cr_assert_eq(delivered + left + read_to_end(flow.from.near, delivered + left), flow.sent,
                     "seed %u", seed);
        close(flow.from.near);
        close(flow.to.near);
        fcntl(flow.to.far, F_SETFL, 0);
        cr_assert_eq(flow.received + read_to_end(flow.to.far, flow.received), delivered, "seed %u",
                     seed);
        close(flow.to.far);
        unr_buffer_free(&relayed.relay.rest);
        cancelled++;
        with_rest += left != 0;
    }
    cr_assert_gt(with_rest, 10, "%d of %d had a rest", with_rest, cancelled);
    close_loop();
}

Test(relay, cancelled_at_random_from_unix_to_unix)
{
    expect_conservation(UNIX, UNIX);
}

Test(relay, cancelled_at_random_from_pipe_to_tcp)
{
    expect_conservation(PIPE, TCP);
}

Test(relay, cancelled_at_random_from_tcp_to_pipe)
{
    expect_conservation(TCP, PIPE);
}

Test(relay, cancelled_at_random_through_layers)
{
    expect_conservation(LAYER, LAYER);
}

/* Cancelled while it waits for a reader: what it had taken is the rest. */
Test(relay, cancelled_with_a_full_sink)
{
    struct end     from, to;
    struct relayed relayed;
    const char    *rest;
    char           bytes[100000];
    if (pipes_need_workers())
        cr_skip_test("a write to a full pipe waits in a worker here, and shows no progress");
    struct unr_stream *source = open_end(&from, UNIX, true), *sink = open_end(&to, PIPE, false);
    int                holds = fcntl(to.near, F_SETPIPE_SZ, 4096); /* at least a page */
    cr_assert(holds > 0 && (size_t)holds < sizeof bytes);
    fill(bytes, 0, sizeof bytes);
    cr_assert_eq(write(from.far, bytes, sizeof bytes), (ssize_t)sizeof bytes);
    start_relay(&relayed, source, sink);
    for (int i = 0; i < 10; i++)
        submit();
    cr_assert_eq(relayed.runs, 0);
    unr_cancel(&relayed.relay.op, UNR_CANCEL_PARTIAL);
    finish_relay(&relayed);
    cr_assert_eq(relayed.result.error, -ECANCELED);
    cr_assert_eq(relayed.result.guarantee, UNR_CANCEL_PARTIAL);
    cr_assert_eq(relayed.result.bytes, (uint64_t)holds);
    size_t len = rest_of(&relayed, &rest);
    cr_assert_gt(len, 0);
    cr_assert(is_pattern(rest, (size_t)holds, len));
    unr_buffer_free(&relayed.relay.rest);
    close(to.near);
    cr_assert_eq(read_to_end(to.far, 0), (size_t)holds);
    close(to.far);
    close_pair((int[]){ from.near, from.far });
    close_loop();
}

/* Asked before it began, it takes nothing and has nothing to give back. */
Test(relay, cancelled_before_the_start)
{
    struct unr_signal  stop = { 0 };
    struct end         from, to;
    struct relayed     relayed = { 0 };
    struct unr_stream *source = open_end(&from, UNIX, true), *sink = open_end(&to, UNIX, false);
    unr_signal_init_latched(&stop);
    unr_signal_emit(&stop, UNR_CANCEL_ALL);
    cr_assert_eq(write(from.far, "abc", 3), 3);
    unr_start(loop, unr_bind_slot(unr_relay(&relayed.relay, source, sink), unr_signal_slot(&stop)),
              ended, NULL);
    finish_relay(&relayed);
    cr_assert_eq(relayed.result.verdict, UNR_VERDICT_UNSUBMITTED);
    expect_no_rest(&relayed);
    cr_assert_eq(drain(from.near), 3);
    close_pair((int[]){ from.near, from.far });
    close_pair((int[]){ to.near, to.far });
    close_loop();
}

/* A deadline around it: it reads as one, and what was delivered counts. */
Test(relay, deadline_around_it)
{
    struct unr_deadline deadline = { 0 };
    struct unr_relay    relay = { 0 };
    struct end          from, to;
    struct unr_stream  *source = open_end(&from, TCP, true), *sink = open_end(&to, UNIX, false);
    cr_assert_eq(write(from.far, "abc", 3), 3);
    struct unr_op *op = unr_cancel_after(&deadline, unr_relay(&relay, source, sink), UNR_MSEC(50));
    unr_start(loop, op, NULL, NULL);
    run();
    cr_assert_eq(unr_outcome(&op->result), -ETIMEDOUT);
    cr_assert_eq(op->result.bytes, 3);
    cr_assert_eq(drain(to.far), 3);
    close_pair((int[]){ from.near, from.far });
    close_pair((int[]){ to.near, to.far });
    close_loop();
}

struct turns {
    struct seen    nop;
    int            left;
    struct unr_op *target;
};

static void next_turn(struct seen *nop)
{
    struct turns *turns = unr_container_of(nop, struct turns, nop);
    if (turns->left-- > 0)
        start(nop, unr_nop(&nop->op));
    else
        unr_cancel(turns->target, UNR_CANCEL_ALL);
}

/* Asked in each of its turns, before what completes in that is handed back: the end of `from`, once
 * it is seen, is an end whatever was asked, and until then no byte is lost. */
Test(relay, cancelled_in_every_turn)
{
    int  asked_too_late = 0, cancelled = 0;
    bool untouched = false;
    for (int turn = 0; !untouched; turn++) {
        struct end         from, to;
        struct relayed     relayed;
        const char        *rest;
        struct turns       turns = { .nop = { .then = next_turn },
                                     .left = turn,
                                     .target = &relayed.relay.op };
        struct unr_stream *source = open_end(&from, UNIX, true), *sink = open_end(&to, UNIX, false);
        cr_assert_eq(write(from.far, "abc", 3), 3);
        close(from.far);
        start(&turns.nop, unr_nop(&turns.nop.op));
        start_relay(&relayed, source, sink);
        finish_relay(&relayed);
        run();
        size_t delivered = (size_t)relayed.result.bytes, left = rest_of(&relayed, &rest);
        cr_assert_eq(drain(to.far), delivered);
        cr_assert_eq(delivered + left + drain(from.near), 3);
        if (relayed.result.error) {
            cr_assert_eq(relayed.result.error, -ECANCELED);
            cancelled++;
        } else {
            cr_assert_eq(delivered, 3);
            expect_no_rest(&relayed);
            asked_too_late += relayed.result.verdict == UNR_VERDICT_TOO_LATE;
            untouched = relayed.result.requested == 0;
        }
        unr_buffer_free(&relayed.relay.rest);
        close(from.near);
        close_pair((int[]){ to.near, to.far });
    }
    cr_assert_gt(cancelled, 1);
    cr_assert_eq(asked_too_late, 1);
    close_loop();
}

/* PARTIAL is the best that it can promise: a request that takes nothing but TOTAL is refused. */
Test(relay, total_is_refused)
{
    struct end         from, to;
    struct relayed     relayed;
    struct unr_stream *source = open_end(&from, UNIX, true), *sink = open_end(&to, UNIX, false);
    start_relay(&relayed, source, sink);
    submit();
    unr_cancel(&relayed.relay.op, UNR_CANCEL_TOTAL);
    submit();
    cr_assert_eq(relayed.runs, 0);
    close(from.far);
    finish_relay(&relayed);
    cr_assert_eq(relayed.result.error, 0);
    cr_assert_eq(relayed.result.verdict, UNR_VERDICT_REFUSED);
    close(from.near);
    close_pair((int[]){ to.near, to.far });
    close_loop();
}

/* ---- failing ---- */

static void reset(int fd)
{
    struct linger at_once = { .l_onoff = 1 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

/* A peer that reset the connection behind `from`: what was read before is delivered. */
Test(relay, reset_by_the_source)
{
    struct end         from, to;
    struct relayed     relayed;
    struct unr_stream *source = open_end(&from, TCP, true), *sink = open_end(&to, UNIX, false);
    cr_assert_eq(write(from.far, "abc", 3), 3);
    start_relay(&relayed, source, sink);
    while (relayed.relay.op.result.bytes < 3)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    reset(from.far);
    finish_relay(&relayed);
    cr_assert_eq(relayed.result.error, -ECONNRESET);
    cr_assert_eq(relayed.result.bytes, 3);
    expect_no_rest(&relayed);
    cr_assert_eq(drain(to.far), 3);
    close(from.near);
    close_pair((int[]){ to.near, to.far });
    close_loop();
}

/* No reader behind `to`: the bytes that were taken are the rest, and there is no SIGPIPE (it would
 * end the test). */
static void expect_rest_without_reader(enum kind to_kind, int first, int second)
{
    struct end         from, to;
    struct relayed     relayed;
    const char        *rest;
    char               bytes[5000];
    struct unr_stream *source = open_end(&from, UNIX, true), *sink = open_end(&to, to_kind, false);
    signal(SIGPIPE, SIG_DFL);
    if (to_kind == TCP)
        reset(to.far);
    else
        close(to.far);
    fill(bytes, 0, sizeof bytes);
    cr_assert_eq(write(from.far, bytes, sizeof bytes), (ssize_t)sizeof bytes);
    start_relay(&relayed, source, sink);
    finish_relay(&relayed);
    cr_assert(relayed.result.error == first || relayed.result.error == second, "error %d",
              relayed.result.error);
    cr_assert_eq(relayed.result.bytes, 0);
    size_t len = rest_of(&relayed, &rest);
    cr_assert_gt(len, 0);
    cr_assert(is_pattern(rest, 0, len));
    unr_buffer_free(&relayed.relay.rest);
    cr_assert_eq(len + drain(from.near), sizeof bytes);
    close_pair((int[]){ from.near, from.far });
    close(to.near);
    close_loop();
}

Test(relay, no_reader_behind_a_unix_socket)
{
    expect_rest_without_reader(UNIX, -EPIPE, -ECONNRESET);
}

Test(relay, no_reader_behind_a_tcp_socket)
{
    expect_rest_without_reader(TCP, -EPIPE, -ECONNRESET);
}

Test(relay, no_reader_behind_a_pipe)
{
    if (!has_feature(loop, "RWF_NOSIGNAL"))
        cr_skip("a write to a pipe raises SIGPIPE here: RWF_NOSIGNAL needs Linux 6.18");
    expect_rest_without_reader(PIPE, -EPIPE, -EPIPE);
}

/* A sink that takes nothing. */
Test(relay, no_space_at_the_sink)
{
    struct end         from;
    struct unr_stream  sink;
    struct relayed     relayed;
    const char        *rest;
    struct unr_stream *source = open_end(&from, UNIX, true);
    int                full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    unr_stream_pipe(&sink, full);
    cr_assert_eq(write(from.far, "abc", 3), 3);
    start_relay(&relayed, source, &sink);
    finish_relay(&relayed);
    cr_assert_eq(relayed.result.error, -ENOSPC);
    cr_assert_eq(rest_of(&relayed, &rest), 3);
    cr_assert_arr_eq(rest, "abc", 3);
    unr_buffer_free(&relayed.relay.rest);
    close(full);
    close_pair((int[]){ from.near, from.far });
    close_loop();
}

/* ---- a layer that may be stopped half-way ---- */

/* Reads twice for each read, and is stopped between: PARTIAL. */
struct twice {
    struct unr_stream  stream, inner;
    struct unr_compose compose;
    struct unr_some    some;
    struct iovec       piece;
};

static void twice_step(struct unr_compose *self, struct unr_op *finished)
{
    struct twice *twice = unr_container_of(self, struct twice, compose);
    bool          second = self->op.result.bytes != 0;
    if (finished) {
        size_t bytes = (size_t)finished->result.bytes;
        self->op.result.bytes += bytes;
        twice->piece =
            (struct iovec){ (char *)twice->piece.iov_base + bytes, twice->piece.iov_len - bytes };
        if (finished->result.error || second || !bytes || !twice->piece.iov_len) {
            unr_compose_end(self, finished->result.error);
            return;
        }
    }
    unr_compose_next(self, unr_read_some(&twice->some, &twice->inner, &twice->piece, 1));
}

static struct unr_op *read_twice(struct unr_stream *stream, struct unr_some *some,
                                 const struct iovec *iov, unsigned n)
{
    struct twice *twice = unr_container_of(stream, struct twice, stream);
    (void)some, (void)n;
    twice->piece = *iov;
    return unr_compose(&twice->compose, "read_twice", UNR_CANCEL_PARTIAL, twice_step);
}

static const struct unr_stream_type twice_type = { .size = sizeof(struct unr_stream_type),
                                                   .name = "twice",
                                                   .read_some = read_twice };

/* What a layer had read when it was cancelled is in the rest. */
Test(relay, cancelled_within_a_layer)
{
    struct end         from, to;
    struct twice       twice = { 0 };
    struct relayed     relayed;
    const char        *rest;
    struct unr_stream *sink = open_end(&to, UNIX, false);
    twice.inner = *open_end(&from, UNIX, true);
    unr_stream_layer(&twice.stream, &twice_type);
    cr_assert_eq(write(from.far, "abc", 3), 3);
    start_relay(&relayed, &twice.stream, sink);
    while (twice.compose.op.result.bytes < 3)
        submit();
    for (int i = 0; i < 3; i++)
        submit();
    unr_cancel(&relayed.relay.op, UNR_CANCEL_PARTIAL);
    finish_relay(&relayed);
    cr_assert_eq(relayed.result.error, -ECANCELED);
    cr_assert_eq(relayed.result.bytes, 0);
    cr_assert_eq(rest_of(&relayed, &rest), 3);
    cr_assert_arr_eq(rest, "abc", 3);
    unr_buffer_free(&relayed.relay.rest);
    close_pair((int[]){ from.near, from.far });
    close_pair((int[]){ to.near, to.far });
    close_loop();
}

/* A layer whose steps support NONE and end when the test says so: it reads the pattern, and checks
 * that it is what it writes. */
struct certain {
    struct unr_stream stream;
    struct unr_op    *step; /* NULL: none is in flight */
    struct iovec      piece;
    size_t            moved;
    unsigned          steps;
};

static void certain_start(struct unr_op *op)
{
    struct certain *certain = op->data;
    certain->step = op;
    certain->steps++;
}

static void certain_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op, (void)request;
}

static struct unr_op *certain_some(struct unr_stream *stream, struct unr_some *some,
                                   const struct iovec *iov, unsigned n)
{
    static const struct unr_op_type type = {
        .size = sizeof type, .name = "certain", .start = certain_start, .cancel = certain_cancel
    };
    struct certain *certain = unr_container_of(stream, struct certain, stream);
    certain->piece = *iov;
    (void)n;
    unr_describe(&some->op, &type)->data = certain;
    return &some->op;
}

static const struct unr_stream_type certain_type = { .size = sizeof(struct unr_stream_type),
                                                     .name = "certain",
                                                     .read_some = certain_some,
                                                     .write_some = certain_some };

static void end_step(struct certain *certain, size_t bytes)
{
    struct unr_op *step = certain->step;
    cr_assert_not_null(step);
    cr_assert_leq(bytes, certain->piece.iov_len);
    certain->moved += bytes;
    certain->step = NULL;
    step->result.bytes = bytes;
    unr_finish(step, 0);
    submit();
}

static void end_read(struct certain *certain, size_t bytes)
{
    fill(certain->piece.iov_base, certain->moved, bytes);
    end_step(certain, bytes);
}

static void end_write(struct certain *certain, size_t bytes)
{
    cr_assert(is_pattern(certain->piece.iov_base, certain->moved, bytes));
    end_step(certain, bytes);
}

/* A request that the step in flight cannot honour, as a layer's may support nothing, ends the relay
 * before the next step: what was read and not written is in the rest. */
Test(relay, cancelled_in_a_step_that_supports_nothing)
{
    for (int writing = 0; writing < 2; writing++) {
        struct certain from = { 0 }, to = { 0 };
        struct relayed relayed;
        const char    *rest;
        unr_stream_layer(&from.stream, &certain_type);
        unr_stream_layer(&to.stream, &certain_type);
        start_relay(&relayed, &from.stream, &to.stream);
        submit();
        end_read(&from, 20);
        end_write(&to, 20);
        if (writing)
            end_read(&from, 30);
        unr_cancel_cause(&relayed.relay.op, UNR_CANCEL_ALL, -5000);
        submit();
        cr_assert_eq(relayed.runs, 0);
        if (writing)
            end_write(&to, 10);
        else
            end_read(&from, 30);
        submit();
        bool another = from.step || to.step; /* or it would not end */
        for (; from.step || to.step; submit())
            end_step(from.step ? &from : &to, 0);
        finish_relay(&relayed);
        cr_assert_not(another);
        cr_assert_eq(from.steps, 2);
        cr_assert_eq(relayed.result.error, -ECANCELED);
        cr_assert_eq(relayed.result.verdict, UNR_VERDICT_CANCELLED);
        cr_assert_eq(relayed.result.guarantee, UNR_CANCEL_PARTIAL);
        cr_assert_eq(relayed.result.cause, -5000);
        cr_assert_eq(relayed.result.bytes, to.moved);
        cr_assert_eq(to.moved, writing ? 30 : 20);
        cr_assert_eq(rest_of(&relayed, &rest), 50 - to.moved);
        cr_assert(is_pattern(rest, to.moved, 50 - to.moved));
        unr_buffer_free(&relayed.relay.rest);
    }
    close_loop();
}

/* A layer that cannot be written to. */
Test(relay, to_a_layer_without_that_direction)
{
    struct end         from;
    struct twice       twice = { 0 };
    struct relayed     relayed;
    const char        *rest;
    struct unr_stream *source = open_end(&from, UNIX, true);
    unr_stream_layer(&twice.stream, &twice_type);
    cr_assert_eq(write(from.far, "abc", 3), 3);
    start_relay(&relayed, source, &twice.stream);
    finish_relay(&relayed);
    cr_assert_eq(relayed.result.error, -EOPNOTSUPP);
    cr_assert_eq(rest_of(&relayed, &rest), 3);
    unr_buffer_free(&relayed.relay.rest);
    close_pair((int[]){ from.near, from.far });
    close_loop();
}

/* ---- what it costs while it waits ---- */

static int count_threads(void)
{
    int  count = 0;
    DIR *directory = opendir("/proc/self/task");
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

/* Ten relays that wait - five for something to read, five for a reader - hold no thread and no
 * descriptor, on blocking descriptors. */
Test(relay, waiting_holds_neither_threads_nor_descriptors)
{
    enum { RELAYS = 10 };
    static const enum kind kinds[] = { TCP, UNIX, PIPE };
    struct end             from[RELAYS], to[RELAYS];
    struct relayed         relayed[RELAYS];
    struct unr_stream     *source[RELAYS], *sink[RELAYS];
    static char            bytes[4 << 20];
    int                    usable = pipes_need_workers() ? 2 : 3;
    for (int i = 0; i < RELAYS; i++) {
        source[i] = open_end(&from[i], kinds[i % usable], true);
        sink[i] = open_end(&to[i], kinds[(i + i / usable) % usable], false);
        fcntl(from[i].far, F_SETFL, O_NONBLOCK);
    }
    int threads = count_threads(), descriptors = count_descriptors();
    for (int i = 0; i < RELAYS; i++)
        start_relay(&relayed[i], source[i], sink[i]);
    for (int turn = 0; turn < 100; turn++) {
        for (int i = 0; i < RELAYS; i += 2)
            (void)!write(from[i].far, bytes, sizeof bytes);
        submit();
        cr_assert_eq(count_threads(), threads, "turn %d", turn);
    }
    cr_assert_eq(count_descriptors(), descriptors);
    for (int i = 0; i < RELAYS; i++) {
        cr_assert_eq(relayed[i].runs, 0);
        unr_cancel(&relayed[i].relay.op, UNR_CANCEL_ALL);
        finish_relay(&relayed[i]);
        cr_assert_eq(relayed[i].result.error, -ECANCELED);
        unr_buffer_free(&relayed[i].relay.rest);
        close_pair((int[]){ from[i].near, from[i].far });
        close_pair((int[]){ to[i].near, to[i].far });
    }
    close_loop();
}

/* The loop's end ends it, and what it had taken is kept. */
Test(relay, loop_closed_meanwhile)
{
    struct end         from, to;
    struct relayed     relayed;
    const char        *rest;
    char               bytes[100000];
    struct unr_stream *source = open_end(&from, UNIX, true), *sink = open_end(&to, PIPE, false);
    fcntl(to.near, F_SETPIPE_SZ, 4096);
    fill(bytes, 0, sizeof bytes);
    cr_assert_eq(write(from.far, bytes, sizeof bytes), (ssize_t)sizeof bytes);
    start_relay(&relayed, source, sink);
    for (int i = 0; i < 10; i++)
        submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(relayed.runs, 1);
    cr_assert_eq(unr_outcome(&relayed.result), -ESHUTDOWN);
    size_t len = rest_of(&relayed, &rest), delivered = (size_t)relayed.result.bytes;
    cr_assert(is_pattern(rest, delivered, len));
    cr_assert_eq(delivered + len + drain(from.near), sizeof bytes);
    unr_buffer_free(&relayed.relay.rest);
    close_pair((int[]){ from.near, from.far });
    close_pair((int[]){ to.near, to.far });
    cr_assert_eq(count_descriptors(), open_descriptors);
}
