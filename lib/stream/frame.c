/* SPDX-License-Identifier: MIT */
/* Reading whole frames. */
#include "reader.h"
#include "../core/contract.h"
#include "buffer.h"

#include <limits.h>

static struct unr_reader *reader_of(struct unr_compose *self)
{
    return unr_container_of(self, struct unr_reader, private_fields.compose);
}

void unr_framing_delimiter(struct unr_framing *framing, const void *delimiter, size_t len,
                           size_t limit)
{
    *framing = (struct unr_framing){ .private_fields.delimiter = delimiter,
                                     .private_fields.delimiter_len = len,
                                     .private_fields.limit = limit };
}

void unr_framing_length(struct unr_framing *framing, size_t offset, unsigned size,
                        enum unr_byte_order order, int64_t adjustment, size_t limit)
{
    *framing = (struct unr_framing){
        .private_fields.offset = offset,
        .private_fields.size = size,
        .private_fields.order = order,
        .private_fields.adjustment = adjustment,
        .private_fields.limit = limit,
    };
}

static bool is_valid(const struct unr_framing *framing)
{
    if (framing->private_fields.delimiter)
        return framing->private_fields.delimiter_len > 0;
    return framing->private_fields.size >= 1 && framing->private_fields.size <= 8
           && framing->private_fields.offset <= SIZE_MAX - framing->private_fields.size;
}

static size_t header_len(const struct unr_framing *framing)
{
    return framing->private_fields.offset + framing->private_fields.size;
}

/* ---- where a frame ends ---- */

static ssize_t match_delimiter(void *context, const void *data, size_t len, size_t seen)
{
    const struct unr_reader  *reader = context;
    const struct unr_framing *framing = reader->private_fields.framing;
    size_t within = len < framing->private_fields.limit ? len : framing->private_fields.limit;
    size_t n = unri_find(data, within, seen, framing->private_fields.delimiter,
                         framing->private_fields.delimiter_len);
    if (n)
        return (ssize_t)n;
    return len < framing->private_fields.limit ? 0 : -EMSGSIZE;
}

static uint64_t number(const unsigned char *bytes, size_t size, enum unr_byte_order order)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | bytes[order == UNR_BIG_ENDIAN ? i : size - 1 - i];
    return number;
}

/* The length of the frame that begins with a header; a negative errno: it cannot be. */
static ssize_t length_of(const struct unr_framing *framing, const void *header)
{
    uint64_t len, field = number((const unsigned char *)header + framing->private_fields.offset,
                                 framing->private_fields.size, framing->private_fields.order);
    if (__builtin_add_overflow(field, framing->private_fields.adjustment, &len))
        return framing->private_fields.adjustment < 0 ? -EBADMSG : -EMSGSIZE;
    if (len < header_len(framing))
        return -EBADMSG;
    return len > framing->private_fields.limit || len > SSIZE_MAX ? -EMSGSIZE : (ssize_t)len;
}

static ssize_t match_length(void *context, const void *data, size_t len, size_t seen)
{
    const struct unr_reader *reader = context;
    (void)seen;
    if (len < header_len(reader->private_fields.framing))
        return 0;
    ssize_t n = length_of(reader->private_fields.framing, data);
    if (n <= 0 || (size_t)n <= len)
        return n;
    return (size_t)n - len > unr_buffer_left(reader->private_fields.buffer) ? -ENOBUFS : 0;
}

/* ---- the operation ---- */

/* What a layer below has read is in the buffer, so its PARTIAL is as good as TOTAL. */
static unsigned out_filter(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL : type;
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_reader *reader = reader_of(self);
    ssize_t            n = unri_read_on(reader, finished);
    if (n == 0) {
        unri_read_more(reader);
        return;
    }
    if (n > 0)
        reader->op.result.bytes = (uint64_t)n;
    if (finished && finished->result.guarantee == UNR_CANCEL_PARTIAL)
        reader->op.result.guarantee = UNR_CANCEL_TOTAL;
    unr_compose_end(self, n > 0 ? 0 : (int)n);
}

struct unr_op *unr_read_frame(struct unr_reader *reader, struct unr_stream *stream,
                              struct unr_buffer *buffer, const struct unr_framing *framing)
{
    struct unr_op *described =
        unr_compose(&reader->private_fields.compose, "read_frame", UNR_CANCEL_TOTAL,
                    is_valid(framing) ? step : unri_refuse);
    unr_state_reset(unr_compose_state(&reader->private_fields.compose), NULL, out_filter, NULL);
    unri_reader_init(reader, stream, buffer,
                     framing->private_fields.delimiter ? match_delimiter : match_length, reader);
    reader->private_fields.framing = framing;
    return described;
}

void *unr_frame_payload(const struct unr_framing *framing, const struct unr_buffer *buffer,
                        size_t frame_len, size_t *ret_len)
{
    size_t len, front = framing->private_fields.delimiter ? 0 : header_len(framing);
    size_t around = front + framing->private_fields.delimiter_len;
    char  *data = unr_buffer_data(buffer, &len);
    if (frame_len > len || frame_len < around)
        unri_broken("unr_frame_payload of a frame that is not there", NULL,
                    "the frame is what unr_read_frame() has read, and not consumed yet");
    if (ret_len)
        *ret_len = frame_len - around;
    return data + front;
}
