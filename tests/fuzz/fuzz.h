/* SPDX-License-Identifier: MIT */
/* What the fuzz targets share: the input as a tape, and a stream that plays the rest of it from
 * memory in chunks of the fuzzer's choosing, without a system call.  A chunk of no length makes the
 * read wait until it is asked to end. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unring.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define check(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- the tape ---- */

struct tape {
    const uint8_t *data;
    size_t         len;
};

/* The next number, below 256 or 65536; 0 behind the end. */
static inline unsigned take(struct tape *tape)
{
    if (!tape->len)
        return 0;
    tape->len--;
    return *tape->data++;
}

static inline unsigned take_two(struct tape *tape)
{
    unsigned high = take(tape);
    return high << 8 | take(tape);
}

static inline struct tape take_part(struct tape *tape, size_t len)
{
    struct tape part = { tape->data, len < tape->len ? len : tape->len };
    tape->data += part.len;
    tape->len -= part.len;
    return part;
}

/* ---- the loop ---- */

static inline struct unr_loop *the_loop(void)
{
    static struct unr_loop *loop;
    if (!loop) {
        int error = unr_loop_open(&loop, NULL);
        if (error < 0) {
            fprintf(stderr, "no loop: %s\n", unr_explain(error));
            exit(1);
        }
    }
    return loop;
}

/* ---- the stream ---- */

struct feed {
    struct unr_stream stream;
    struct unr_op     op;
    struct tape       text, cuts;
    size_t            played, moved; /* bytes read from it, and those that it was told of */
    size_t            ends[4096];    /* what was played after each read */
    unsigned          reads;         /* of those */
    bool waits, crumbs; /* crumbs: a read that is cancelled has moved something as often */
    const struct iovec *room;
};

static inline struct feed *feed_of_op(struct unr_op *op)
{
    return unr_container_of(op, struct feed, op);
}

static inline void play(struct feed *feed, size_t wanted)
{
    struct tape part =
        take_part(&feed->text, wanted < feed->room->iov_len ? wanted : feed->room->iov_len);
    check(feed->room->iov_len > 0);
    if (part.len)
        memcpy(feed->room->iov_base, part.data, part.len);
    feed->played += part.len;
    feed->op.result.bytes = part.len;
    if (part.len && feed->reads < sizeof feed->ends / sizeof *feed->ends)
        feed->ends[feed->reads++] = feed->played;
}

static inline void feed_start(struct unr_op *op)
{
    struct feed *feed = feed_of_op(op);
    unsigned     cut = feed->cuts.len ? take(&feed->cuts) : 255;
    if (cut == 0) {
        feed->waits = true;
        return;
    }
    play(feed, cut < 200 ? cut : (cut - 199) * (size_t)97);
    unr_finish(op, 0);
}

static inline void feed_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct feed *feed = feed_of_op(op);
    (void)request;
    if (!feed->waits)
        return;
    feed->waits = false;
    if (feed->crumbs)
        play(feed, take(&feed->cuts));
    unr_finish(op, -ECANCELED);
}

/* With crumbs it can only promise PARTIAL. */
static const struct unr_op_type feed_total = { .size = sizeof feed_total,
                                               .supports = UNR_CANCEL_ALL,
                                               .name = "feed",
                                               .start = feed_start,
                                               .cancel = feed_cancel };
static const struct unr_op_type feed_partial = { .size = sizeof feed_partial,
                                                 .supports =
                                                     UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL,
                                                 .name = "feed",
                                                 .start = feed_start,
                                                 .cancel = feed_cancel };

static inline struct unr_op *feed_read(struct unr_stream *stream, struct unr_some *some,
                                       const struct iovec *iov, unsigned n)
{
    struct feed *feed = unr_container_of(stream, struct feed, stream);
    (void)some;
    check(n == 1);
    feed->room = iov;
    return unr_describe(&feed->op, feed->crumbs ? &feed_partial : &feed_total);
}

static inline void feed_moved(struct unr_stream *stream, uint64_t bytes)
{
    struct feed *feed = unr_container_of(stream, struct feed, stream);
    feed->moved += bytes;
    check(feed->moved == feed->played);
}

static const struct unr_stream_type feed_type = {
    .size = sizeof feed_type, .name = "feed", .read_some = feed_read, .moved = feed_moved
};

/* What is left on the tape, behind as many bytes of cuts as the next one says. */
static inline void feed_init(struct feed *feed, struct tape *tape, bool crumbs)
{
    unr_stream_layer(&feed->stream, &feed_type);
    feed->op = (struct unr_op){ 0 };
    feed->cuts = take_part(tape, take(tape));
    feed->text = take_part(tape, tape->len);
    feed->played = feed->moved = feed->reads = 0;
    feed->waits = false;
    feed->crumbs = crumbs;
}

/* ---- an operation that is done ---- */

static unsigned done_count;

static inline void count_done(struct unr_op *op)
{
    (void)op;
    done_count++;
}

/* Starts it, and ends it: when it waits it is asked to, for the strongest guarantee that it has; at
 * times it is asked at once. */
static inline const struct unr_result *run(struct feed *feed, struct unr_op *op, unsigned types,
                                           bool at_once)
{
    struct unr_loop *loop = the_loop();
    done_count = 0;
    unr_start(loop, op, count_done, NULL);
    if (at_once)
        check(unr_cancel(op, types));
    while (unr_in_flight(op)) {
        check(unr_loop_run_once(loop, 0) >= 0);
        if (feed->waits && unr_in_flight(op))
            check(unr_cancel(op, unr_supports(op) & UNR_CANCEL_TOTAL ? UNR_CANCEL_TOTAL
                                                                     : UNR_CANCEL_PARTIAL));
    }
    check(done_count == 1 && unr_loop_in_flight(loop) == 0 && !unr_in_flight(&feed->op));
    const struct unr_result *r = &op->result;
    check((r->error == -ECANCELED)
          == (r->verdict == UNR_VERDICT_CANCELLED || r->verdict == UNR_VERDICT_UNSUBMITTED));
    check((r->error == -ECANCELED) == (r->guarantee != 0));
    if (r->verdict == UNR_VERDICT_REFUSED)
        check(at_once && !(types & unr_supports(op)));
    return r;
}

/* What the buffer holds is what was played, from `consumed` on. */
static inline size_t check_held(const struct unr_buffer *buffer, const uint8_t *text,
                                size_t consumed, size_t played)
{
    size_t      len;
    const char *data = unr_buffer_data(buffer, &len);
    check(len == played - consumed && data[len] == 0);
    check(len == 0 || memcmp(data, text + consumed, len) == 0);
    return len;
}

#endif
