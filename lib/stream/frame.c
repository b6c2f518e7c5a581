/* SPDX-License-Identifier: MIT */
/* Frames: where one ends, and reading until a whole one is in the buffer.  reader.c has the reads;
 * taking the frame out of the buffer is the caller's.
 *
 * A cancelled read_frame has consumed nothing: the bytes that came are in the buffer, and the next
 * call finds them there.  So it is TOTAL, though it is made of many reads. */
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
    *framing = (struct unr_framing){
        .private_fields.delimiter = delimiter,
        .private_fields.delimiter_len = len,
        .private_fields.limit = limit,
    };
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
    const struct unr_framing_private *p = &framing->private_fields;
    if (p->delimiter)
        return p->delimiter_len > 0;
    return p->size >= 1 && p->size <= 8 && p->offset <= SIZE_MAX - p->size;
}

static size_t header_len(const struct unr_framing *framing)
{
    return framing->private_fields.offset + framing->private_fields.size;
}

/* ---- where a frame ends ---- */

/* Searches as far as a frame may reach.  A delimiter behind that ends no frame; and when so many
 * bytes are there without one, no later byte can help. */
static ssize_t match_delimiter(const struct unr_reader *reader, const void *data, size_t len,
                               size_t seen)
{
    const struct unr_framing_private *p = &reader->private_fields.framing->private_fields;
    size_t                            within = len < p->limit ? len : p->limit;
    size_t n = unri_find(data, within, seen, p->delimiter, p->delimiter_len);
    if (n)
        return (ssize_t)n;
    return len < p->limit ? 0 : -EMSGSIZE;
}

static uint64_t number(const unsigned char *bytes, size_t size, enum unr_byte_order order)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | bytes[order == UNR_BIG_ENDIAN ? i : size - 1 - i];
    return number;
}

/* Returns how long the frame with this header is; a negative errno: there can be no such frame.  If
 * the sum leaves the range of a uint64_t, the adjustment has taken it below 0 or beyond the top. */
static ssize_t length_of(const struct unr_framing *framing, const void *header)
{
    const struct unr_framing_private *p = &framing->private_fields;
    uint64_t len, field = number((const unsigned char *)header + p->offset, p->size, p->order);
    if (__builtin_add_overflow(field, p->adjustment, &len))
        return p->adjustment < 0 ? -EBADMSG : -EMSGSIZE;
    if (len < header_len(framing))
        return -EBADMSG;
    return len > p->limit || len > SSIZE_MAX ? -EMSGSIZE : (ssize_t)len;
}

/* The length is judged as soon as the header is there, before anything is allocated or read for the
 * rest of the frame. */
static ssize_t match_length(const struct unr_reader *reader, const void *data, size_t len,
                            size_t seen)
{
    const struct unr_reader_private *p = &reader->private_fields;
    (void)seen;
    if (len < header_len(p->framing))
        return 0;
    ssize_t n = length_of(p->framing, data);
    if (n <= 0 || (size_t)n <= len)
        return n;
    return (size_t)n - len > unr_buffer_left(p->buffer) ? -ENOBUFS : 0;
}

/* ---- the operation ---- */

/* A request for TOTAL asks the read in flight for PARTIAL as well: the bytes that a layer has read
 * by then are in the buffer, so ending it there loses nothing. */
static unsigned out_filter(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL : type;
}

/* For the same reason the guarantee of a PARTIAL read is raised to TOTAL.  Without a frame `bytes`
 * is 0, whatever was added. */
static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_reader *reader = reader_of(self);
    ssize_t            n = unri_reader_search(reader, finished);
    if (n == 0) {
        unri_reader_read(reader);
        return;
    }
    reader->op.result.bytes = n > 0 ? (uint64_t)n : 0;
    if (finished && finished->result.guarantee == UNR_CANCEL_PARTIAL)
        reader->op.result.guarantee = UNR_CANCEL_TOTAL;
    unr_compose_end(self, n > 0 ? 0 : (int)n);
}

struct unr_op *unr_read_frame(struct unr_reader *reader, struct unr_stream *stream,
                              struct unr_buffer *buffer, const struct unr_framing *framing)
{
    struct unr_reader_private *p = &reader->private_fields;
    unr_step_fn               *step_fn = is_valid(framing) ? step : unri_reader_refuse;
    unri_search_fn *search = framing->private_fields.delimiter ? match_delimiter : match_length;
    struct unr_op  *described = unr_compose(&p->compose, "read_frame", UNR_CANCEL_TOTAL, step_fn);
    unr_state_reset(unr_compose_state(&p->compose), NULL, out_filter, NULL);
    unri_reader_init(reader, stream, buffer, search);
    p->framing = framing;
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
