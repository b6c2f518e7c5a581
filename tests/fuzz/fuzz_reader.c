/* SPDX-License-Identifier: MIT */
/* unr_read_until() and unr_read_match() on a text that comes in chunks, again and again to its end,
 * cancelled in between: against memmem(3) on the whole. */
#include "fuzz.h"

static struct unr_reader reader;
static struct feed       feed;
static struct unr_buffer buffer;
static const uint8_t    *text;
static size_t text_len, consumed, shown; /* shown: to the match function, of this operation */

struct needle {
    uint8_t bytes[4];
    size_t  len;
    int     error; /* instead of the end */
};

/* As the library calls it: with what there is, and how much of it was shown before. */
static ssize_t match(void *context, const void *data, size_t len, size_t seen)
{
    const struct needle *needle = context;
    check(len > seen && seen == shown && len == feed.played - consumed
          && ((const char *)data)[len] == 0);
    shown = len;
    const char *found = memmem(data, len, needle->bytes, needle->len);
    if (!found)
        return 0;
    return needle->error ? needle->error : found - (const char *)data + (ssize_t)needle->len;
}

static size_t end_in(size_t len, const struct needle *needle)
{
    const uint8_t *found = memmem(text + consumed, len, needle->bytes, needle->len);
    return found ? (size_t)(found - text) - consumed + needle->len : 0;
}

static void check_read(const struct unr_result *r, size_t before, const struct needle *needle,
                       size_t limit)
{
    size_t len = check_held(&buffer, text, consumed, feed.played);
    size_t end = end_in(len, needle);
    if (r->verdict == UNR_VERDICT_UNSUBMITTED) {
        check(len == before);
    } else if (end && needle->error) {
        check(r->error == needle->error && r->bytes == len - before);
    } else if (end) {
        check(r->error == 0 && r->bytes == end);
    } else {
        check(r->error == -ECANCELED || r->error == -ENODATA || r->error == -ENOBUFS);
        check(r->bytes == len - before);
        check(r->error != -ENODATA || feed.played == text_len);
        check(r->error != -ENOBUFS || len >= limit);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tape   tape = { data, len };
    struct needle needle = { .len = 1 };
    unsigned      how = take(&tape), limit = 1 + take_two(&tape) % 9000;
    needle.len = 1 + how % 4;
    for (size_t i = 0; i < needle.len; i++)
        needle.bytes[i] = (uint8_t)take(&tape);
    if (how & 4)
        needle.error = -EPROTO;
    feed_init(&feed, &tape, how & 8);
    text = feed.text.data;
    text_len = feed.text.len;
    consumed = 0;
    unr_buffer_init(&buffer, limit);
    for (unsigned i = 0; i < 64; i++) {
        unsigned       which = take(&feed.cuts);
        size_t         before = feed.played - consumed;
        struct unr_op *op;
        bool           matches = how & 16;
        shown = 0;
        if (!matches)
            needle.error = 0;
        op = matches ? unr_read_match(&reader, &feed.stream, &buffer, match, &needle)
                     : unr_read_until(&reader, &feed.stream, &buffer, needle.bytes, needle.len);
        const struct unr_result *r = run(&feed, op, 1 + which % 7, which & 128);
        check_read(r, before, &needle, limit);
        size_t held = feed.played - consumed;
        size_t used = r->error == 0                                 ? r->bytes
                      : r->error == -ENOBUFS || r->error == -EPROTO ? 1 + which % held
                                                                    : 0;
        unr_buffer_consume(&buffer, used);
        consumed += used;
        if (r->error == -ENODATA)
            break;
    }
    unr_buffer_free(&buffer);
    return 0;
}
