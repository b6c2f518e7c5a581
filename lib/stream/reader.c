/* SPDX-License-Identifier: MIT */
/* Reading until a delimiter or a match is found. */
#include "reader.h"
#include "../core/contract.h"
#include "buffer.h"

#include <regex.h>
#include <string.h>

/* A read that could bring less than this is worth moving the bytes for, or growing. */
enum { WORTHWHILE_ROOM = 512 };

static struct unr_reader *reader_of(struct unr_compose *self)
{
    return unr_container_of(self, struct unr_reader, private_fields.compose);
}

/* ---- what all readers do ---- */

static void take_in(struct unr_reader *reader, const struct unr_result *read)
{
    if (read->bytes > reader->private_fields.room.iov_len)
        unri_broken("a stream that read more than there was room for", &reader->op,
                    "a stream's read_some moves at most what its pieces hold");
    unr_buffer_commit(reader->private_fields.buffer, read->bytes);
    unr_stream_moved(reader->private_fields.stream, read->bytes);
    reader->private_fields.added += read->bytes;
}

static ssize_t search(struct unr_reader *reader)
{
    size_t len, seen = reader->private_fields.seen;
    void  *data = unr_buffer_data(reader->private_fields.buffer, &len);
    if (len == seen)
        return 0;
    reader->private_fields.seen = len;
    ssize_t n = reader->private_fields.match(reader->private_fields.context, data, len, seen);
    if (n > 0 && (size_t)n > len)
        unri_broken(
            "a match that ends behind the last byte", &reader->op,
            "a match function returns 0, at most the len that it was given, or a negative errno");
    return n;
}

static int make_room(struct unr_reader *reader)
{
    size_t left = unr_buffer_left(reader->private_fields.buffer);
    size_t want = left < WORTHWHILE_ROOM ? left : WORTHWHILE_ROOM;
    return want ? unr_buffer_prepare(reader->private_fields.buffer, want,
                                     &reader->private_fields.room)
                : -ENOBUFS;
}

ssize_t unri_read_on(struct unr_reader *reader, const struct unr_op *finished)
{
    if (finished)
        take_in(reader, &finished->result);
    ssize_t n = search(reader);
    if (n)
        return n;
    if (finished && finished->result.error)
        return finished->result.error;
    if (finished && !finished->result.bytes)
        return -ENODATA;
    if (unr_state_cancelled(unr_compose_state(&reader->private_fields.compose)))
        return -ECANCELED; /* also where the stream's reads could not be */
    return make_room(reader);
}

void unri_read_more(struct unr_reader *reader)
{
    unr_compose_next(&reader->private_fields.compose,
                     unr_read_some(&reader->private_fields.some, reader->private_fields.stream,
                                   &reader->private_fields.room, 1));
}

void unri_reader_init(struct unr_reader *reader, struct unr_stream *stream,
                      struct unr_buffer *buffer, unr_match_fn *match, void *context)
{
    reader->private_fields.stream = stream;
    reader->private_fields.buffer = buffer;
    reader->private_fields.match = match;
    reader->private_fields.context = context;
    reader->private_fields.seen = 0;
    reader->private_fields.added = 0;
}

void unri_refuse(struct unr_compose *self, struct unr_op *finished)
{
    (void)finished;
    unr_compose_end(self, -EINVAL);
}

/* ---- until a match ---- */

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct unr_reader *reader = reader_of(self);
    ssize_t            n = unri_read_on(reader, finished);
    if (n == 0) {
        unri_read_more(reader);
        return;
    }
    reader->op.result.bytes = n > 0 ? (uint64_t)n : reader->private_fields.added;
    unr_compose_end(self, n > 0 ? 0 : (int)n);
}

struct unr_op *unr_read_match(struct unr_reader *reader, struct unr_stream *stream,
                              struct unr_buffer *buffer, unr_match_fn *match, void *context)
{
    struct unr_op *described =
        unr_compose(&reader->private_fields.compose, "read_match", UNR_CANCEL_PARTIAL, step);
    unri_reader_init(reader, stream, buffer, match, context);
    return described;
}

/* ---- until a delimiter ---- */

static ssize_t match_delimiter(void *context, const void *data, size_t len, size_t seen)
{
    const struct unr_reader *reader = context;
    return (ssize_t)unri_find(data, len, seen, reader->private_fields.delimiter,
                              reader->private_fields.delimiter_len);
}

struct unr_op *unr_read_until(struct unr_reader *reader, struct unr_stream *stream,
                              struct unr_buffer *buffer, const void *delimiter, size_t len)
{
    struct unr_op *described = unr_compose(&reader->private_fields.compose, "read_until",
                                           UNR_CANCEL_PARTIAL, len ? step : unri_refuse);
    unri_reader_init(reader, stream, buffer, match_delimiter, reader);
    reader->private_fields.delimiter = delimiter;
    reader->private_fields.delimiter_len = len;
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
/* A zero ends what regexec() sees: the pieces between them, one after another. */
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
