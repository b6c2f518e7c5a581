/* SPDX-License-Identifier: MIT */
/* Readers: reading into a buffer until a delimiter or a match is found there.  frame.c reads whole
 * frames in the same way, buffer.c has the search for a delimiter, transfer.c the reads that look
 * at no bytes. */
#include "reader.h"
#include "stream.h"
#include "../core/contract.h"
#include "buffer.h"

#include <regex.h>
#include <string.h>

/* If a read could bring less than this, moving the buffer's bytes or growing it is worth the cost.
 */
enum { WORTHWHILE_ROOM = 512 };

static_assert(sizeof(struct unr_reader) <= 424, "each connection has one");

static struct unr_reader *reader_of(struct unr_compose *self)
{
    return unr_container_of(self, struct unr_reader, private_fields.compose);
}

/* ---- what all readers do ---- */

/* Also for a read that failed or was cancelled: the bytes that it took are in the room.  They are
 * counted in the result, which tells how many were added unless there is a match. */
static void take_in(struct unr_reader *reader, const struct unr_result *read)
{
    struct unr_reader_private *p = &reader->private_fields;
    if (read->bytes > p->room.iov_len)
        unri_broken("a stream that read more than there was room for", &reader->op,
                    "a stream's read_some moves at most what its pieces hold");
    unr_buffer_commit(p->buffer, read->bytes);
    unri_was_read(p->stream, read->bytes);
    reader->op.result.bytes += read->bytes;
}

/* Searches if there are bytes that were not searched: those of the last read, or before the first
 * all.  The search is told how many were, so that it need not look at these again. */
static ssize_t call_search(struct unr_reader *reader, const struct unr_op *finished)
{
    struct unr_reader_private *p = &reader->private_fields;
    size_t                     len;
    void                      *data = unr_buffer_data(p->buffer, &len);
    size_t                     seen = finished ? len - (size_t)finished->result.bytes : 0;
    if (len == seen)
        return 0;
    ssize_t n = p->search(reader, data, len, seen);
    if (n > 0 && (size_t)n > len)
        unri_broken(
            "a match that ends behind the last byte", &reader->op,
            "a match function returns 0, at most the len that it was given, or a negative errno");
    return n;
}

/* Makes room for the next read, in a buffer that may be full. */
static int make_room(struct unr_reader *reader)
{
    struct unr_reader_private *p = &reader->private_fields;
    size_t                     left = unr_buffer_left(p->buffer);
    size_t                     want = left < WORTHWHILE_ROOM ? left : WORTHWHILE_ROOM;
    return want ? unr_buffer_prepare(p->buffer, want, &p->room) : -ENOBUFS;
}

/* The order matters (rules 3 and 4).  The bytes that have arrived are taken in and searched first,
 * so a match is a success though its read failed or was cancelled.  Then come the read's own error
 * and the end of the stream.  Last a request that was let in while the read completed; the next
 * read would be ended before it begins, but only if it honours requests, and that of a layer may
 * honour none. */
ssize_t unri_reader_search(struct unr_reader *reader, const struct unr_op *finished)
{
    if (finished)
        take_in(reader, &finished->result);
    ssize_t n = call_search(reader, finished);
    if (n)
        return n;
    if (finished && finished->result.error)
        return finished->result.error;
    if (finished && !finished->result.bytes)
        return -ENODATA;
    if (unr_state_cancelled(unr_compose_state(&reader->private_fields.compose)))
        return -ECANCELED;
    return make_room(reader);
}

void unri_reader_read(struct unr_reader *reader)
{
    struct unr_reader_private *p = &reader->private_fields;
    unr_compose_next(&p->compose, unri_step_read(&reader->op, &p->some, p->stream, &p->room, 1));
}

void unri_reader_init(struct unr_reader *reader, struct unr_stream *stream,
                      struct unr_buffer *buffer, unri_search_fn *search)
{
    struct unr_reader_private *p = &reader->private_fields;
    p->stream = stream;
    p->buffer = buffer;
    p->search = search;
}

void unri_reader_refuse(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_end(self, -EINVAL);
}

/* ---- until a match ---- */

/* Without a match `bytes` stays what was added: the buffer has it all. */
static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_reader *reader = reader_of(self);
    ssize_t            n = unri_reader_search(reader, finished);
    if (n == 0) {
        unri_reader_read(reader);
        return;
    }
    if (n > 0)
        reader->op.result.bytes = (uint64_t)n;
    unr_compose_end(self, n > 0 ? 0 : (int)n);
}

static ssize_t ask_caller(const struct unr_reader *reader, const void *data, size_t len,
                          size_t seen)
{
    const struct unr_reader_private *p = &reader->private_fields;
    return p->match(p->context, data, len, seen);
}

struct unr_op *unr_read_match(struct unr_reader *reader, struct unr_stream *stream,
                              struct unr_buffer *buffer, unr_match_fn *match, void *context)
{
    struct unr_reader_private *p = &reader->private_fields;
    struct unr_op *described = unr_compose(&p->compose, "read_match", UNR_CANCEL_PARTIAL, step);
    unri_reader_init(reader, stream, buffer, ask_caller);
    p->match = match;
    p->context = context;
    return described;
}

/* ---- until anything comes ---- */

static ssize_t match_what_was_added(const struct unr_reader *reader, const void *data, size_t len,
                                    size_t seen)
{
    (void)data, (void)len, (void)seen;
    return (ssize_t)reader->op.result.bytes;
}

/* It ends with its first read that brings a byte, so nothing was taken when it is cancelled. */
struct unr_op *unr_read_more(struct unr_reader *reader, struct unr_stream *stream,
                             struct unr_buffer *buffer)
{
    struct unr_op *described =
        unr_compose(&reader->private_fields.compose, "read_more", UNR_CANCEL_TOTAL, step);
    unri_reader_init(reader, stream, buffer, match_what_was_added);
    return described;
}

/* ---- until a delimiter ---- */

static ssize_t match_delimiter(const struct unr_reader *reader, const void *data, size_t len,
                               size_t seen)
{
    const struct unr_reader_private *p = &reader->private_fields;
    return (ssize_t)unri_find(data, len, seen, p->delimiter, p->delimiter_len);
}

struct unr_op *unr_read_until(struct unr_reader *reader, struct unr_stream *stream,
                              struct unr_buffer *buffer, const void *delimiter, size_t len)
{
    struct unr_reader_private *p = &reader->private_fields;
    unr_step_fn               *step_fn = len ? step : unri_reader_refuse;
    struct unr_op *described = unr_compose(&p->compose, "read_until", UNR_CANCEL_PARTIAL, step_fn);
    unri_reader_init(reader, stream, buffer, match_delimiter);
    p->delimiter = delimiter;
    p->delimiter_len = len;
    return described;
}

/* ---- regular expressions ---- */

#ifdef REG_STARTEND
static int search_regex(const regex_t *regex, const char *data, size_t len, size_t *ret_end)
{
    regmatch_t match = { .rm_so = 0, .rm_eo = (regoff_t)len };
    int        status = regexec(regex, data, 1, &match, REG_NOTEOL | REG_STARTEND);
    *ret_end = (size_t)match.rm_eo;
    return status;
}
#else
/* A zero ends the text that regexec() sees, so the pieces between the zeros are searched one after
 * another. */
static int search_regex(const regex_t *regex, const char *data, size_t len, size_t *ret_end)
{
    int status = REG_NOMATCH;
    for (size_t at = 0; at < len && status == REG_NOMATCH; at += strlen(data + at) + 1) {
        regmatch_t match = { 0 };
        status = regexec(regex, data + at, 1, &match, at ? REG_NOTEOL | REG_NOTBOL : REG_NOTEOL);
        *ret_end = at + (size_t)match.rm_eo;
    }
    return status;
}
#endif

/* All bytes are searched anew, for a match may have begun anywhere in the bytes that were seen. */
ssize_t unr_match_regex(void *context, const void *data, size_t len, size_t seen)
{
    size_t   end = 0;
    regoff_t counted = (regoff_t)len;
    (void)seen;
    if (counted < 0 || (size_t)counted != len)
        return -EOVERFLOW;
    switch (search_regex(context, data, len, &end)) {
    case 0: return (ssize_t)end;
    case REG_NOMATCH: return 0;
    case REG_ESPACE: return -ENOMEM;
    default: return -EINVAL;
    }
}
