/* SPDX-License-Identifier: MIT */
/* unr_read_frame() on a hostile text that comes in chunks, cancelled in between: against a parser
 * that sees the whole. */
#include "fuzz.h"

#include <limits.h>

static struct unr_reader reader;
static struct feed       feed;
static struct unr_buffer buffer;

struct shape {
    bool                delimited;
    uint8_t             delimiter[4];
    size_t              delimiter_len, offset, size, limit, buffer_limit;
    enum unr_byte_order order;
    int64_t             adjustment;
};

static ssize_t parse_delimited(const struct shape *s, const uint8_t *text, size_t len)
{
    if (s->delimiter_len == 0)
        return -EINVAL;
    for (size_t n = s->delimiter_len; n <= len && n <= s->limit && n <= s->buffer_limit; n++)
        if (memcmp(text + n - s->delimiter_len, s->delimiter, s->delimiter_len) == 0)
            return (ssize_t)n;
    /* Nothing is looked at before there is a byte; then too long a frame is found before the buffer
     * is full. */
    if (len && len >= s->limit && s->buffer_limit && s->buffer_limit >= s->limit)
        return -EMSGSIZE;
    return len >= s->buffer_limit ? -ENOBUFS : -ENODATA;
}

static ssize_t parse_counted(const struct shape *s, const uint8_t *text, size_t len)
{
    if (s->size < 1 || s->size > 8 || s->offset > SIZE_MAX - s->size)
        return -EINVAL;
    size_t   header = s->offset + s->size;
    uint64_t field = 0;
    if (len < header || s->buffer_limit < header)
        return len >= s->buffer_limit ? -ENOBUFS : -ENODATA;
    for (size_t i = 0; i < s->size; i++)
        field |= (uint64_t)text[s->offset + i]
                 << 8 * (s->order == UNR_BIG_ENDIAN ? s->size - 1 - i : i);
    __int128 n = (__int128)field + s->adjustment;
    if (n < (__int128)header)
        return -EBADMSG;
    if (n > (__int128)s->limit || n > SSIZE_MAX)
        return -EMSGSIZE;
    if (n > (__int128)s->buffer_limit)
        return -ENOBUFS;
    return n <= (__int128)len ? (ssize_t)n : -ENODATA;
}

static int64_t some_adjustment(struct tape *tape)
{
    unsigned which = take(tape);
    switch (which % 8) {
    case 0: return 0;
    case 1: return INT64_MAX - which / 8;
    case 2: return INT64_MIN + which / 8;
    case 3: return -(int64_t)take_two(tape);
    default: return which / 8;
    }
}

static size_t some_limit(struct tape *tape)
{
    unsigned which = take(tape);
    return which == 255 ? SIZE_MAX : which >= 192 ? take_two(tape) : which;
}

static void take_shape(struct shape *s, struct tape *tape, unsigned how)
{
    *s = (struct shape){ .delimited = how & 1,
                         .order = how & 2 ? UNR_BIG_ENDIAN : UNR_LITTLE_ENDIAN };
    s->limit = some_limit(tape);
    s->buffer_limit = some_limit(tape);
    if (s->buffer_limit > SIZE_MAX / 4)
        s->buffer_limit = SIZE_MAX / 4; /* no buffer holds more */
    if (s->delimited) {
        s->delimiter_len = take(tape) % 5;
        for (size_t i = 0; i < s->delimiter_len; i++)
            s->delimiter[i] = (uint8_t)take(tape);
        return;
    }
    s->size = take(tape) % 10;
    s->offset = take(tape);
    if (s->offset == 255)
        s->offset = SIZE_MAX - take(tape) % 16;
    else
        s->offset %= 24;
    s->adjustment = some_adjustment(tape);
}

static void check_payload(const struct shape *s, const struct unr_framing *framing,
                          size_t frame_len)
{
    size_t len, front = s->delimited ? 0 : s->offset + s->size;
    char  *payload = unr_frame_payload(framing, &buffer, frame_len, &len);
    check(payload == (char *)unr_buffer_data(&buffer, NULL) + front
          && len == frame_len - front - s->delimiter_len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tape        tape = { data, len };
    struct shape       shape;
    struct unr_framing framing;
    unsigned           how = take(&tape);
    size_t             consumed = 0;
    take_shape(&shape, &tape, how);
    feed_init(&feed, &tape, how & 4);
    const uint8_t *text = feed.text.data;
    const size_t   text_len = feed.text.len;
    unr_buffer_init(&buffer, shape.buffer_limit);
    if (shape.delimited)
        unr_framing_delimiter(&framing, shape.delimiter, shape.delimiter_len, shape.limit);
    else
        unr_framing_length(&framing, shape.offset, (unsigned)shape.size, shape.order,
                           shape.adjustment, shape.limit);
    for (unsigned i = 0; i < 64; i++) {
        unsigned                 which = take(&feed.cuts);
        size_t                   before = feed.played - consumed;
        struct unr_op           *op = unr_read_frame(&reader, &feed.stream, &buffer, &framing);
        const struct unr_result *r = run(&feed, op, 1 + which % 7, which & 128);
        size_t                   held = check_held(&buffer, text, consumed, feed.played);
        ssize_t                  expected = shape.delimited
                                                ? parse_delimited(&shape, text + consumed, text_len - consumed)
                                                : parse_counted(&shape, text + consumed, text_len - consumed);
        check(held >= before);
        if (r->error == -ECANCELED) {
            check(r->bytes == 0 && r->guarantee == UNR_CANCEL_TOTAL);
            continue;
        }
        if (expected > 0 ? r->bytes != (uint64_t)expected : r->error != expected)
            fprintf(stderr, "frame %u at %zu of %zu: expected %zd, got %s\n", i, consumed, text_len,
                    expected, unr_explain_op(op));
        check(expected > 0 ? r->error == 0 && r->bytes == (uint64_t)expected
                           : r->error == expected && r->bytes == 0);
        if (expected == -ENODATA || expected == -EINVAL)
            break;
        if (expected > 0)
            check_payload(&shape, &framing, (size_t)expected);
        size_t used = expected > 0 ? (size_t)expected : held ? 1 + which % held : 0;
        if (!held)
            break; /* there is no room for a byte */
        unr_buffer_consume(&buffer, used);
        consumed += used;
    }
    unr_buffer_free(&buffer);
    return 0;
}
