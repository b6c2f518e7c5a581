/* SPDX-License-Identifier: MIT */
/* Whole frames: by a delimiter or a length, however they arrive, and cancelled as often as one
 * likes without a byte lost. */
#include "support.h"

TestSuite(frame, .timeout = 20);

/* ---- a stream whose steps move at most `chunk` bytes ---- */

struct chunked {
    struct unr_stream stream;
    size_t            chunk;
    unsigned          reads;
    int               flags; /* of recv(2) */
};

static int end[2];

static struct unr_op *read_chunk(struct unr_stream *stream, struct unr_some *some,
                                 const struct iovec *iov, unsigned n)
{
    struct chunked *chunked = unr_container_of(stream, struct chunked, stream);
    cr_assert_eq(n, 1);
    chunked->reads++;
    return unr_recv(&some->op, end[0], iov->iov_base,
                    iov->iov_len < chunked->chunk ? iov->iov_len : chunked->chunk, chunked->flags);
}

static const struct unr_stream_type chunked_type = { .size = sizeof chunked_type,
                                                     .name = "chunked",
                                                     .read_some = read_chunk };

/* ---- the scene ---- */

enum { UNLIMITED = 1 << 20 };
static const size_t chunks[] = { 1, 10, UNLIMITED };

static struct chunked     chunked;
static struct unr_buffer  buffer;
static struct unr_reader  reader;
static struct unr_framing framing;
static char               sent[1 << 16];
static size_t             sent_len, consumed;

static void set_up(size_t chunk, size_t limit)
{
    open_loop();
    unix_pair(end);
    chunked = (struct chunked){ .chunk = chunk };
    unr_stream_layer(&chunked.stream, &chunked_type);
    unr_buffer_init(&buffer, limit);
    sent_len = consumed = 0;
}

static void send_bytes(const void *bytes, size_t len)
{
    memcpy(sent + sent_len, bytes, len);
    sent_len += len;
    cr_assert_eq(write(end[1], bytes, len), (ssize_t)len);
}

static void send_text(const char *text)
{
    send_bytes(text, strlen(text));
}

static size_t held(void)
{
    size_t len;
    unr_buffer_data(&buffer, &len);
    return len;
}

static void consume(size_t len)
{
    unr_buffer_consume(&buffer, len);
    consumed += len;
}

/* What was consumed, what the buffer holds and what is still in the socket is what the peer has
 * sent. */
static void tear_down(void)
{
    cr_assert_eq(memcmp(unr_buffer_data(&buffer, NULL), sent + consumed, held()), 0);
    cr_assert_eq(consumed + held() + drain(end[0]), sent_len);
    unr_buffer_free(&buffer);
    close_pair(end);
    close_loop();
}

/* As saw() of fixture.h, of an operation that is not in `seen`. */
static void ended(struct unr_op *op)
{
    struct seen *seen = op->data;
    seen->runs++;
    seen->result = op->result;
}

static struct unr_op *frame(void)
{
    return unr_read_frame(&reader, &chunked.stream, &buffer, &framing);
}

static struct unr_result result_of(struct unr_op *described)
{
    struct seen seen = { 0 };
    unr_start(loop, described, ended, &seen);
    finish(&seen);
    return seen.result;
}

static void expect_frame(const char *payload, size_t len, size_t around)
{
    size_t            payload_len;
    struct unr_result r = result_of(frame());
    cr_assert_eq(r.error, 0, "error %d", r.error);
    cr_assert_eq(r.bytes, len + around, "%d bytes", (int)r.bytes);
    const void *found = unr_frame_payload(&framing, &buffer, r.bytes, &payload_len);
    cr_assert_eq(payload_len, len);
    cr_assert_eq(memcmp(found, payload, len), 0);
    cr_assert_eq(unr_frame_payload(&framing, &buffer, r.bytes, NULL), found);
    consume(r.bytes);
}

/* And nothing is consumed. */
static void expect_error(int error)
{
    struct unr_result r = result_of(frame());
    cr_assert_eq(r.error, error, "error %d instead of %d", r.error, error);
    cr_assert_eq(r.bytes, 0);
}

/* ---- delimiters ---- */

/* Frames that end in a delimiter, in pieces of every size; the empty frame too. */
Test(frame, delimited)
{
    for (size_t i = 0; i < LENGTH(chunks); i++) {
        set_up(chunks[i], 1000);
        unr_framing_delimiter(&framing, "\r\n", 2, 100);
        send_text("one\r\n\r\ntwo and \r more\r\nthr");
        expect_frame("one", 3, 2);
        expect_frame("", 0, 2);
        expect_frame("two and \r more", 14, 2);
        tear_down();
    }
}

/* A delimited frame may be as long as the limit, its delimiter included, in a buffer that holds no
 * more. */
Test(frame, delimited_exactly_at_the_limit)
{
    for (size_t i = 0; i < LENGTH(chunks); i++) {
        set_up(chunks[i], 10);
        unr_framing_delimiter(&framing, "\r\n", 2, 10);
        send_text("01234567\r\nx");
        expect_frame("01234567", 8, 2);
        tear_down();
    }
}

/* One byte more is too long, even if it has arrived as a whole; no more than the limit is read to
 * find that out. */
Test(frame, delimited_beyond_the_limit)
{
    for (size_t i = 0; i < LENGTH(chunks); i++) {
        set_up(chunks[i], 1000);
        unr_framing_delimiter(&framing, "\r\n", 2, 10);
        send_text("012345678\r\n");
        expect_error(-EMSGSIZE);
        cr_assert_eq(held(), chunks[i] == UNLIMITED ? 11 : 10);
        expect_error(-EMSGSIZE);
        tear_down();
    }
}

/* A buffer that is smaller than the frame. */
Test(frame, delimited_in_too_small_a_buffer)
{
    set_up(UNLIMITED, 9);
    unr_framing_delimiter(&framing, "\r\n", 2, 100);
    send_text("01234567\r\n");
    expect_error(-ENOBUFS);
    unr_buffer_set_limit(&buffer, 10);
    expect_frame("01234567", 8, 2);
    tear_down();
}

/* ---- lengths ---- */

static size_t make_header(char *header, size_t offset, unsigned size, enum unr_byte_order order,
                          uint64_t number)
{
    memset(header, '#', offset);
    for (unsigned i = 0; i < size; i++)
        header[offset + i] = (char)(number >> 8 * (order == UNR_BIG_ENDIAN ? size - 1 - i : i));
    return offset + size;
}

static void send_header(uint64_t number)
{
    char header[64];
    send_bytes(header, make_header(header, framing.private_fields.offset,
                                   (unsigned)framing.private_fields.size,
                                   framing.private_fields.order, number));
}

static void read_lengths(size_t offset, unsigned size, enum unr_byte_order order, size_t chunk)
{
    static const size_t lens[] = { 0, 1, 100, 200 };
    static char         payload[256];
    size_t              around = offset + size;
    set_up(chunk, 4096);
    for (int counts_all = 0; counts_all < 2; counts_all++) {
        unr_framing_length(&framing, offset, size, order, counts_all ? 0 : (int64_t)around, 1000);
        for (size_t i = 0; i < LENGTH(lens); i++) {
            send_header(lens[i] + (counts_all ? around : 0));
            send_bytes(payload, lens[i]);
        }
        for (size_t i = 0; i < LENGTH(lens); i++)
            expect_frame(payload, lens[i], around);
    }
    tear_down();
}

/* Frames that begin with their length: of every size and either order, at the front or behind
 * something, counting the whole frame or what follows, in pieces of every size. */
Test(frame, with_a_length)
{
    for (unsigned size = 1; size <= 8; size++)
        for (size_t offset = 0; offset <= 3; offset += 3)
            for (size_t i = 0; i < LENGTH(chunks); i++) {
                read_lengths(offset, size, UNR_BIG_ENDIAN, chunks[i]);
                read_lengths(offset, size, UNR_LITTLE_ENDIAN, chunks[i]);
            }
}

/* A frame that is larger than a read. */
Test(frame, long_one)
{
    static char payload[60000];
    for (size_t i = 0; i < sizeof payload; i++)
        payload[i] = (char)(i * 7);
    set_up(UNLIMITED, 1 << 20);
    unr_framing_length(&framing, 0, 4, UNR_LITTLE_ENDIAN, 4, 1 << 20);
    send_header(sizeof payload);
    send_bytes(payload, sizeof payload);
    expect_frame(payload, sizeof payload, 4);
    cr_assert_leq(chunked.reads, 8);
    tear_down();
}

struct hostile {
    unsigned size;
    uint64_t number;
    int64_t  adjustment;
    int      error;
};

static const struct hostile hostile[] = {
    { 4, 0, 0, -EBADMSG },
    { 4, 3, 0, -EBADMSG },
    { 8, 7, 0, -EBADMSG },
    { 4, 0, -1, -EBADMSG },
    { 2, 100, INT64_MIN, -EBADMSG },
    { 4, 1001, 0, -EMSGSIZE },
    { 4, 997, 4, -EMSGSIZE },
    { 4, UINT32_MAX, 4, -EMSGSIZE },
    { 8, UINT64_MAX, 0, -EMSGSIZE },
    { 8, UINT64_MAX, 1, -EMSGSIZE },
    { 8, UINT64_MAX, 8, -EMSGSIZE },
    { 8, UINT64_MAX, INT64_MAX, -EMSGSIZE },
    { 8, UINT64_MAX, -1, -EMSGSIZE },
    { 8, (uint64_t)INT64_MAX + 1, 0, -EMSGSIZE },
};

/* Lengths that no frame has are found when the header is there, before anything behind it is
 * read. */
Test(frame, hostile_lengths)
{
    for (size_t i = 0; i < LENGTH(hostile); i++)
        for (int unlimited = 0; unlimited < 2; unlimited++) {
            const struct hostile *h = &hostile[i];
            if (unlimited && h->number < UINT64_MAX / 2)
                continue;
            set_up(h->size, 4096);
            unr_framing_length(&framing, 0, h->size, UNR_BIG_ENDIAN, h->adjustment,
                               unlimited ? SIZE_MAX : 1000);
            send_header(h->number);
            send_text("payload");
            expect_error(h->error);
            cr_assert_eq(chunked.reads, 1);
            cr_assert_eq(held(), h->size);
            expect_error(h->error);
            cr_assert_eq(chunked.reads, 1);
            tear_down();
        }
}

/* A frame may be as long as the limit. */
Test(frame, length_exactly_at_the_limit)
{
    set_up(UNLIMITED, 14);
    unr_framing_length(&framing, 0, 4, UNR_BIG_ENDIAN, 4, 14);
    send_header(10);
    send_text("0123456789x");
    expect_frame("0123456789", 10, 4);
    tear_down();
}

/* A frame that the buffer cannot hold is -ENOBUFS as soon as its length is known; with more room it
 * is read. */
Test(frame, longer_than_the_buffer)
{
    set_up(4, 13);
    unr_framing_length(&framing, 0, 4, UNR_BIG_ENDIAN, 4, 1000);
    send_header(10);
    send_text("0123456789");
    expect_error(-ENOBUFS);
    cr_assert_eq(held(), 4);
    unr_buffer_set_limit(&buffer, 14);
    expect_frame("0123456789", 10, 4);
    tear_down();
}

/* A header that the buffer cannot hold. */
Test(frame, header_longer_than_the_buffer)
{
    set_up(UNLIMITED, 3);
    unr_framing_length(&framing, 0, 4, UNR_BIG_ENDIAN, 4, 1000);
    send_header(10);
    expect_error(-ENOBUFS);
    tear_down();
}

/* Framings that make no sense. */
Test(frame, impossible_framing)
{
    set_up(UNLIMITED, 100);
    send_text("text");
    unr_framing_delimiter(&framing, "", 0, 10);
    expect_error(-EINVAL);
    unr_framing_delimiter(&framing, NULL, 0, 10);
    expect_error(-EINVAL);
    unr_framing_length(&framing, 0, 0, UNR_BIG_ENDIAN, 0, 10);
    expect_error(-EINVAL);
    unr_framing_length(&framing, 0, 9, UNR_BIG_ENDIAN, 0, 10);
    expect_error(-EINVAL);
    unr_framing_length(&framing, SIZE_MAX - 1, 4, UNR_BIG_ENDIAN, 0, 10);
    expect_error(-EINVAL);
    cr_assert_eq(chunked.reads, 0);
    tear_down();
}

/* The stream may end anywhere in two frames: the whole ones are read, and then it is -ENODATA, with
 * an empty buffer exactly if the end was between two. */
Test(frame, end_of_the_stream_at_each_point)
{
    static const char both[] = "\0\3abc\0\5defgh", lines[] = "abc|defgh|";
    for (int delimited = 0; delimited < 2; delimited++) {
        size_t first = delimited ? 4 : 5, total = delimited ? 10 : 12;
        for (size_t len = 0; len <= total; len++) {
            set_up(UNLIMITED, 100);
            if (delimited)
                unr_framing_delimiter(&framing, "|", 1, 50);
            else
                unr_framing_length(&framing, 0, 2, UNR_BIG_ENDIAN, 2, 50);
            send_bytes(delimited ? lines : both, len);
            shutdown(end[1], SHUT_WR);
            if (len >= first)
                expect_frame("abc", 3, first - 3);
            if (len >= total)
                expect_frame("defgh", 5, first - 3);
            expect_error(-ENODATA);
            cr_assert_eq(held() == 0, len == 0 || len == first || len == total);
            tear_down();
        }
    }
}

/* ---- cancelled ---- */

static const unsigned types[] = { UNR_CANCEL_TERMINAL, UNR_CANCEL_PARTIAL, UNR_CANCEL_TOTAL,
                                  UNR_CANCEL_ALL };

/* In the middle of a frame a request for TOTAL, as for less, is honoured: nothing was consumed, and
 * the next call goes on. */
Test(frame, cancelled_in_the_middle)
{
    for (size_t i = 0; i < LENGTH(types); i++)
        for (size_t j = 0; j < LENGTH(chunks); j++) {
            struct seen seen = { 0 };
            set_up(chunks[j], 100);
            unr_framing_delimiter(&framing, "|", 1, 50);
            send_text("half");
            unr_start(loop, frame(), ended, &seen);
            cr_assert_eq(unr_supports(&reader.op), UNR_CANCEL_ALL);
            while (held() < 4)
                submit();
            submit();
            unr_cancel_cause(&reader.op, types[i], -ETIMEDOUT);
            run();
            expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
            cr_assert_eq(seen.result.bytes, 0);
            send_text(" a frame|");
            expect_frame("half a frame", 12, 1);
            tear_down();
        }
}

/* Over a layer that can do no better than PARTIAL a request for TOTAL is honoured all the same, as
 * what that has read is kept. (A recv with MSG_WAITALL is such a layer.) */
Test(frame, total_over_a_partial_layer)
{
    struct seen seen = { 0 };
    set_up(6, 100);
    chunked.flags = MSG_WAITALL;
    unr_framing_delimiter(&framing, "|", 1, 50);
    send_text("half");
    unr_start(loop, frame(), ended, &seen);
    submit();
    while (readable(end[0]))
        submit();
    unr_cancel(&reader.op, UNR_CANCEL_TOTAL);
    run();
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(seen.result.bytes, 0);
    cr_assert_eq(held(), 4);
    send_text("-frame|");
    chunked.flags = 0;
    expect_frame("half-frame", 10, 1);
    tear_down();
}

/* A frame that has arrived is a success, though a cancellation was on its way. */
Test(frame, cancelled_too_late)
{
    struct seen seen = { 0 };
    set_up(UNLIMITED, 100);
    unr_framing_delimiter(&framing, "|", 1, 50);
    cr_assert_eq(unr_buffer_append(&buffer, "frame|", 6), 0);
    memcpy(sent, "frame|", sent_len = 6);
    unr_start(loop, frame(), ended, &seen);
    unr_cancel(&reader.op, UNR_CANCEL_ALL);
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.bytes, 6);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_TOO_LATE);
    tear_down();
}

/* Timed out again and again while the peer sends byte after byte, no byte is lost and the frames
 * come out whole. */
Test(frame, trickling_through_time_outs)
{
    static const char   bytes[] = "\0\5hello\0\0\0\7goodbye";
    struct unr_deadline deadline = { 0 };
    unsigned            timed_out = 0, frames = 0;
    set_up(UNLIMITED, 100);
    unr_framing_length(&framing, 0, 2, UNR_BIG_ENDIAN, 2, 50);
    while (frames < 3) {
        struct seen seen = { 0 };
        unr_start(loop, unr_cancel_after(&deadline, frame(), UNR_MSEC(1)), ended, &seen);
        run();
        if (seen.result.error == 0) {
            consume(seen.result.bytes);
            frames++;
            continue;
        }
        cr_assert_eq(unr_outcome(&seen.result), -ETIMEDOUT);
        cr_assert_eq(seen.result.guarantee, UNR_CANCEL_TOTAL);
        cr_assert_eq(seen.result.bytes, 0);
        send_bytes(bytes + sent_len, 1);
        timed_out++;
    }
    cr_assert_eq(timed_out, sizeof bytes - 1);
    cr_assert_eq(consumed, sizeof bytes - 1);
    tear_down();
}

/* Read by deadlines that fire while bytes arrive, in whatever order: every frame that was sent is
 * read, once. */
Test(frame, deadlines_and_bytes_in_any_order)
{
    enum { FRAMES = 200 };
    struct unr_deadline deadline = { 0 };
    unsigned            state = 12345, frames = 0, written = 0;
    char                text[16];
    set_up(3, 100);
    unr_framing_delimiter(&framing, "|", 1, 50);
    while (frames < FRAMES) {
        struct seen seen = { 0 };
        state = state * 1103515245u + 12345u;
        unr_start(loop, unr_cancel_after(&deadline, frame(), state >> 16 & 1 ? 1000 : 200000),
                  ended, &seen);
        if (written < FRAMES && state >> 17 & 1) {
            snprintf(text, sizeof text, "frame %u|", written++);
            send_text(text);
        }
        run();
        if (seen.result.error)
            continue;
        snprintf(text, sizeof text, "frame %u|", frames++);
        cr_assert_eq(seen.result.bytes, strlen(text));
        cr_assert_eq(memcmp(unr_buffer_data(&buffer, NULL), text, strlen(text)), 0);
        consume(seen.result.bytes);
    }
    tear_down();
}

/* ---- broken contracts ---- */

static void look_beyond(void *context)
{
    size_t len;
    unr_buffer_init(&buffer, 100);
    unr_buffer_append(&buffer, "frame", 5);
    unr_framing_length(&framing, 0, 4, UNR_BIG_ENDIAN, 4, 50);
    unr_frame_payload(&framing, &buffer, *(size_t *)context, &len);
}

/* There is no payload of a frame that the buffer does not hold, or that is shorter than its
 * header. */
Test(frame, payload_of_no_frame)
{
    size_t lens[] = { 6, 3 };
    for (size_t i = 0; i < LENGTH(lens); i++) {
        struct death death = in_child(look_beyond, &lens[i]);
        expect_abort(&death, (const char *const[]){ "unring: broken contract:", "unr_frame_payload",
                                                    "unring: the rule:", NULL });
    }
}
