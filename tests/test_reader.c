/* SPDX-License-Identifier: MIT */
/* Reading until something is found: what is found, however it arrives, and that no byte is lost,
 * whenever the read is cancelled and however it fails. */
#include "support.h"

#include <regex.h>
#include <sys/mman.h>

TestSuite(reader, .timeout = 20);

/* ---- a stream whose steps move at most `chunk` bytes ---- */

struct chunked {
    struct unr_stream stream, below;
    size_t            chunk;
    struct iovec      piece;
    unsigned          reads;
    void (*before_read)(struct chunked *chunked);
};

static struct unr_op *read_chunk(struct unr_stream *stream, struct unr_some *some,
                                 const struct iovec *iov, unsigned n)
{
    struct chunked *chunked = unr_container_of(stream, struct chunked, stream);
    cr_assert_eq(n, 1);
    chunked->reads++;
    chunked->piece =
        (struct iovec){ iov->iov_base,
                        iov->iov_len < chunked->chunk ? iov->iov_len : chunked->chunk };
    if (chunked->before_read)
        chunked->before_read(chunked);
    return unr_read_some(some, &chunked->below, &chunked->piece, 1);
}

static const struct unr_stream_type chunked_type = { .size = sizeof chunked_type,
                                                     .name = "chunked",
                                                     .read_some = read_chunk };

/* ---- the scene: a reader at one end of a pair of sockets, a peer that counts at the other ---- */

enum { UNLIMITED = 1 << 20 };
static const size_t chunks[] = { 1, 10, UNLIMITED };

static int               end[2];
static struct chunked    chunked;
static struct unr_buffer buffer;
static struct unr_reader reader;
static char              sent[1 << 16];
static size_t            sent_len, consumed;

static void set_up(size_t chunk, size_t limit)
{
    open_loop();
    unix_pair(end);
    chunked = (struct chunked){ .chunk = chunk };
    unr_stream_layer(&chunked.stream, &chunked_type);
    unr_stream_socket(&chunked.below, end[0]);
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
static void expect_nothing_lost(void)
{
    static char rest[sizeof sent];
    ssize_t     n = recv(end[0], rest, sizeof rest, MSG_DONTWAIT);
    size_t      left = n > 0 ? (size_t)n : 0;
    cr_assert_eq(consumed + held() + left, sent_len, "%zu + %zu + %zu of %zu", consumed, held(),
                 left, sent_len);
    cr_assert_eq(memcmp(unr_buffer_data(&buffer, NULL), sent + consumed, held()), 0);
    cr_assert_eq(memcmp(rest, sent + consumed + held(), left), 0);
}

static void tear_down(void)
{
    expect_nothing_lost();
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

static void begin(struct seen *seen, struct unr_op *described)
{
    unr_start(loop, described, ended, seen);
}

static struct unr_op *until(const char *delimiter)
{
    return unr_read_until(&reader, &chunked.stream, &buffer, delimiter, strlen(delimiter));
}

static struct unr_op *more(void)
{
    return unr_read_more(&reader, &chunked.stream, &buffer);
}

static struct unr_result result_of_op(struct unr_op *described)
{
    struct seen seen = { 0 };
    begin(&seen, described);
    cr_assert_eq(seen.runs, 0);
    finish(&seen);
    return seen.result;
}

static void expect_found(struct unr_op *described, const char *text)
{
    struct unr_result r = result_of_op(described);
    cr_assert_eq(r.error, 0, "error %d", r.error);
    cr_assert_eq(r.bytes, strlen(text), "%d bytes instead of \"%s\"", (int)r.bytes, text);
    cr_assert_eq(memcmp(unr_buffer_data(&buffer, NULL), text, r.bytes), 0);
    consume(r.bytes);
}

static void expect_error(struct unr_op *described, int error, size_t added)
{
    struct unr_result r = result_of_op(described);
    cr_assert_eq(r.error, error, "error %d instead of %d", r.error, error);
    cr_assert_eq(r.bytes, added, "%d bytes instead of %d", (int)r.bytes, (int)added);
    cr_assert_eq(r.verdict, UNR_VERDICT_NONE);
}

/* ---- what is found ---- */

/* A match function: ends behind the first capital, and looks at no byte twice. */
static ssize_t match_capital(void *context, const void *data, size_t len, size_t seen)
{
    size_t *shown = context;
    cr_assert_eq(seen, *shown);
    cr_assert_gt(len, seen);
    *shown = len;
    for (size_t i = seen; i < len; i++)
        if (((const char *)data)[i] >= 'A' && ((const char *)data)[i] <= 'Z')
            return (ssize_t)i + 1;
    return 0;
}

static size_t shown;

static struct unr_op *until_capital(const char *unused)
{
    (void)unused;
    shown = 0;
    return unr_read_match(&reader, &chunked.stream, &buffer, match_capital, &shown);
}

struct kind {
    const char *delimiter;
    struct unr_op *(*describe)(const char *delimiter);
    const char *parts[5];
};

static const struct kind kinds[] = {
    { "|", until, { "one|", "two and more|", "|", "three|" } },
    { "\r\n", until, { "GET / HTTP/1.1\r\n", "a: b\r\n", "\r\n", "bo\r\r\n" } },
    { NULL, until_capital, { "camelC", "aseW", "X", "ordsY" } },
};

static void read_all_parts(const struct kind *kind, size_t chunk)
{
    set_up(chunk, 1000);
    for (size_t i = 0; kind->parts[i]; i++)
        send_text(kind->parts[i]);
    send_text("rest");
    for (size_t i = 0; kind->parts[i]; i++)
        expect_found(kind->describe(kind->delimiter), kind->parts[i]);
    tear_down();
}

/* A character, a string or a match function: each finds the same, whatever pieces it arrives in. */
Test(reader, finds_in_pieces_of_every_size)
{
    for (size_t i = 0; i < LENGTH(kinds); i++)
        for (size_t j = 0; j < LENGTH(chunks); j++)
            read_all_parts(&kinds[i], chunks[j]);
}

/* A delimiter is found wherever the pieces divide it, and where it begins anew in its own begin. */
Test(reader, delimiter_divided_at_each_point)
{
    static const char *const lines[][2] = {
        { "ab<-->", "<-->" }, { "<--<-->", "<-->" }, { "aaaab", "aab" }, { "\r\r\r\n", "\r\n" }
    };
    for (size_t i = 0; i < LENGTH(lines); i++)
        for (size_t chunk = 1; chunk <= strlen(lines[i][0]) + 1; chunk++) {
            set_up(chunk, 1000);
            send_text(lines[i][0]);
            send_text("behind");
            expect_found(until(lines[i][1]), lines[i][0]);
            tear_down();
        }
}

/* Bytes of any value are searched, zeros too. */
Test(reader, delimiter_with_zeros)
{
    set_up(3, 1000);
    send_bytes("a\0b\0\0c", 6);
    struct unr_result r =
        result_of_op(unr_read_until(&reader, &chunked.stream, &buffer, "\0\0", 2));
    cr_assert_eq(r.error, 0);
    cr_assert_eq(r.bytes, 5);
    tear_down();
}

static uint64_t enters(void)
{
    struct unr_stats stats;
    unr_loop_stats(loop, &stats, sizeof stats);
    return stats.enters;
}

/* What is in the buffer already is found there: in the next turn, without a read and without the
 * kernel. */
Test(reader, several_lines_in_one_read)
{
    set_up(UNLIMITED, 1000);
    send_text("one\ntwo\nthree\nfour\nfi");
    expect_found(until("\n"), "one\n");
    uint64_t before = enters();
    expect_found(until("\n"), "two\n");
    expect_found(until("\n"), "three\n");
    expect_found(until("\n"), "four\n");
    cr_assert_eq(chunked.reads, 1);
    cr_assert_eq(enters(), before);
    tear_down();
}

/* Also in a buffer that the caller has put it into. */
Test(reader, found_before_the_first_read)
{
    set_up(UNLIMITED, 1000);
    cr_assert_eq(unr_buffer_append(&buffer, "put in|", 7), 0);
    memcpy(sent, "put in|", sent_len = 7);
    expect_found(until("|"), "put in|");
    cr_assert_eq(chunked.reads, 0);
    tear_down();
}

/* Short lines that arrive in bulk are taken in large reads. */
Test(reader, lines_in_bulk_cost_few_reads)
{
    enum { LINES = 16384, LINE = 64 };
    char line[LINE + 1];
    set_up(UNLIMITED, 1 << 20);
    int fd = memfd_create("lines", MFD_CLOEXEC);
    for (int i = 0; i < LINES; i++) {
        snprintf(line, sizeof line, "%*d\n", LINE - 1, i);
        cr_assert_eq(write(fd, line, LINE), LINE);
    }
    lseek(fd, 0, SEEK_SET);
    unr_stream_pipe(&chunked.below, fd);
    for (int i = 0; i < LINES; i++) {
        struct unr_result r = result_of_op(until("\n"));
        cr_assert_eq(r.error, 0);
        cr_assert_eq(r.bytes, LINE);
        cr_assert_eq(atoi(unr_buffer_data(&buffer, NULL)), i);
        unr_buffer_consume(&buffer, LINE);
    }
    cr_assert_leq(chunked.reads, LINES * LINE / 65536 + 6, "%u reads", chunked.reads);
    close(fd);
    tear_down();
}

/* From a file it is read on where the last read ended. */
Test(reader, lines_of_a_file)
{
    static const char lines[] = "head\none\ntwo\nthree\n";
    set_up(UNLIMITED, 7);
    int fd = memfd_create("lines", MFD_CLOEXEC);
    cr_assert_eq(write(fd, lines, strlen(lines)), (ssize_t)strlen(lines));
    unr_stream_file(&chunked.stream, fd, 5);
    expect_found(until("\n"), "one\n");
    expect_found(until("\n"), "two\n");
    expect_found(until("\n"), "three\n");
    cr_assert_eq(chunked.stream.offset, (int64_t)strlen(lines));
    consumed = 0;
    close(fd);
    tear_down();
}

static void change_what_was_seen(struct chunked *of)
{
    if (of->reads == 4)
        memcpy(unr_buffer_data(&buffer, NULL), "-->", 3);
}

/* What was searched in vain is not searched again, but for what may be the begin of a delimiter. */
Test(reader, looks_at_no_byte_twice)
{
    set_up(2, 1000);
    chunked.before_read = change_what_was_seen;
    send_text("012345-->");
    struct unr_result r = result_of_op(until("-->"));
    cr_assert_eq(r.bytes, 9);
    memcpy(sent, "-->", 3);
    tear_down();
}

/* ---- errors ---- */

/* A full buffer without a match is -ENOBUFS; nothing is lost, and with more room a later call goes
 * on. */
Test(reader, full_without_a_match)
{
    for (size_t i = 0; i < LENGTH(chunks); i++) {
        set_up(chunks[i], 25);
        send_text("0123456789012345678901234567890123456789|");
        expect_error(until("|"), -ENOBUFS, 25);
        cr_assert_eq(held(), 25);
        expect_error(until("|"), -ENOBUFS, 0);
        consume(10);
        expect_error(until("|"), -ENOBUFS, 10);
        unr_buffer_set_limit(&buffer, 50);
        expect_found(until("|"), "012345678901234567890123456789|");
        tear_down();
    }
}

/* A match that ends exactly at the limit is one. */
Test(reader, match_exactly_at_the_limit)
{
    for (size_t i = 0; i < LENGTH(chunks); i++) {
        set_up(chunks[i], 25);
        send_text("01234567890123456789012\r\nmore");
        expect_found(until("\r\n"), "01234567890123456789012\r\n");
        tear_down();
    }
}

/* The stream's end before the match is -ENODATA; what came is in the buffer, and counted. */
Test(reader, end_of_the_stream)
{
    for (size_t i = 0; i < LENGTH(chunks); i++) {
        set_up(chunks[i], 1000);
        send_text("line\nhalf");
        shutdown(end[1], SHUT_WR);
        expect_found(until("\n"), "line\n");
        size_t before = held();
        expect_error(until("\n"), -ENODATA, 4 - before);
        expect_error(until("\n"), -ENODATA, 0);
        expect_found(until("lf"), "half");
        expect_error(until("\n"), -ENODATA, 0);
        tear_down();
    }
}

/* The errors of the stream's reads are passed on, with what was added before. */
Test(reader, error_of_the_stream)
{
    set_up(UNLIMITED, 1000);
    unr_stream_socket(&chunked.below, -1);
    expect_error(until("\n"), -EBADF, 0);
    struct unr_stream_type none = { .size = sizeof none, .name = "none" };
    unr_stream_layer(&chunked.below, &none);
    expect_error(until("\n"), -EOPNOTSUPP, 0);
    tear_down();
}

static void break_second_read(struct chunked *of)
{
    if (of->reads == 2)
        unr_stream_socket(&of->below, -1);
}

Test(reader, error_between_two_reads)
{
    set_up(4, 1000);
    chunked.before_read = break_second_read;
    send_text("half a line\n");
    expect_error(until("\n"), -EBADF, 4);
    tear_down();
}

/* Nothing cannot be looked for. */
Test(reader, empty_delimiter)
{
    set_up(UNLIMITED, 1000);
    send_text("text");
    expect_error(until(""), -EINVAL, 0);
    cr_assert_eq(chunked.reads, 0);
    tear_down();
}

static ssize_t match_nothing_bad(void *context, const void *data, size_t len, size_t seen)
{
    (void)context, (void)seen;
    return memchr(data, '!', len) ? -EILSEQ : 0;
}

/* A match function can end the operation with an error of its own. */
Test(reader, error_of_the_match_function)
{
    for (size_t i = 0; i < LENGTH(chunks); i++) {
        set_up(chunks[i], 1000);
        send_text("bad!");
        expect_error(unr_read_match(&reader, &chunked.stream, &buffer, match_nothing_bad, NULL),
                     -EILSEQ, 4);
        expect_error(unr_read_match(&reader, &chunked.stream, &buffer, match_nothing_bad, NULL),
                     -EILSEQ, 0);
        tear_down();
    }
}

/* ---- regular expressions ---- */

static struct unr_op *until_regex(regex_t *regex)
{
    return unr_read_match(&reader, &chunked.stream, &buffer, unr_match_regex, regex);
}

static void compile(regex_t *regex, const char *pattern)
{
    cr_assert_eq(regcomp(regex, pattern, REG_EXTENDED), 0);
}

/* Alternatives, of which none, then one has arrived. */
Test(reader, regex_of_alternatives)
{
    regex_t regex;
    compile(&regex, "(OK|ERROR [0-9]+)\r\n");
    for (size_t i = 0; i < LENGTH(chunks); i++) {
        set_up(chunks[i], 1000);
        send_text("AT\r\nOK\r\nfoo ERROR 42\r\nOK");
        expect_found(until_regex(&regex), "AT\r\nOK\r\n");
        expect_found(until_regex(&regex), "foo ERROR 42\r\n");
        shutdown(end[1], SHUT_WR);
        size_t before = held();
        expect_error(until_regex(&regex), -ENODATA, 2 - before);
        tear_down();
    }
    regfree(&regex);
}

/* Where nothing matches it is read on until something does. */
Test(reader, regex_that_matches_later)
{
    regex_t     regex;
    struct seen seen = { 0 };
    set_up(UNLIMITED, 1000);
    compile(&regex, "b+a");
    send_text("aabb");
    begin(&seen, until_regex(&regex));
    while (held() < 4)
        submit();
    cr_assert_eq(seen.runs, 0);
    send_text("babba");
    finish(&seen);
    cr_assert_eq(seen.result.bytes, 6);
    regfree(&regex);
    tear_down();
}

/* A dollar does not match where the data happen to end, nor does nothing at their begin. */
Test(reader, regex_that_would_match_the_end)
{
    regex_t regex;
    set_up(1, 1000);
    send_text("abc");
    shutdown(end[1], SHUT_WR);
    compile(&regex, "a$");
    expect_error(until_regex(&regex), -ENODATA, 3);
    regfree(&regex);
    compile(&regex, "x*");
    expect_error(until_regex(&regex), -ENODATA, 0);
    regfree(&regex);
    tear_down();
}

/* A zero does not end what is searched. */
Test(reader, regex_behind_a_zero)
{
    regex_t regex;
    compile(&regex, "end[.]");
    for (size_t i = 0; i < LENGTH(chunks); i++) {
        set_up(chunks[i], 1000);
        send_bytes("a\0b\0end.x", 9);
        struct unr_result r = result_of_op(until_regex(&regex));
        cr_assert_eq(r.error, 0);
        cr_assert_eq(r.bytes, 8);
        tear_down();
    }
    regfree(&regex);
}

/* More than a regoff_t counts cannot be searched. */
Test(reader, regex_over_too_much)
{
    regex_t regex;
    compile(&regex, "a");
    if (sizeof(regoff_t) < sizeof(size_t))
        cr_assert_eq(unr_match_regex(&regex, "a", (size_t)INT32_MAX + 1, 0), -EOVERFLOW);
    cr_assert_eq(unr_match_regex(&regex, "a", SIZE_MAX, 0), -EOVERFLOW);
    cr_assert_eq(unr_match_regex(&regex, "ba", 2, 0), 2);
    cr_assert_eq(unr_match_regex(&regex, "ba", 1, 0), 0);
    regfree(&regex);
}

/* ---- cancelled ---- */

static const unsigned honoured[] = { UNR_CANCEL_TERMINAL, UNR_CANCEL_PARTIAL, UNR_CANCEL_ALL };

/* A latched request ends it before it begins: not even the buffer is searched. */
Test(reader, cancelled_before_it_begins)
{
    for (size_t i = 0; i < LENGTH(honoured); i++) {
        struct unr_signal stop = { 0 };
        struct seen       seen = { 0 };
        set_up(UNLIMITED, 1000);
        send_text("line\n");
        unr_signal_init_latched(&stop);
        unr_signal_emit_cause(&stop, honoured[i], -EINTR);
        begin(&seen, unr_bind_slot(until("\n"), unr_signal_slot(&stop)));
        run();
        expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -EINTR);
        cr_assert_eq(seen.result.bytes, 0);
        cr_assert_eq(chunked.reads, 0);
        expect_found(until("\n"), "line\n");
        tear_down();
    }
}

/* Cancelled while its first read is queued: the kernel saw nothing. */
Test(reader, cancelled_while_its_read_is_queued)
{
    for (size_t i = 0; i < LENGTH(honoured); i++) {
        struct seen seen = { 0 };
        set_up(UNLIMITED, 1000);
        send_text("line\n");
        begin(&seen, until("\n"));
        cr_assert(unr_cancel(&reader.op, honoured[i]));
        run();
        expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        cr_assert_eq(seen.result.bytes, 0);
        expect_found(until("\n"), "line\n");
        tear_down();
    }
}

static void start_until_it_holds(struct seen *seen, size_t len)
{
    begin(seen, until("\n"));
    submit();
    while (held() < len)
        submit();
    cr_assert_eq(seen->runs, 0);
}

/* However little room the last read has left, the next one can bring 512 bytes. */
Test(reader, no_read_is_small)
{
    static char text[4000];
    struct seen seen = { 0 };
    set_up(UNLIMITED, 1 << 20);
    send_bytes(text, sizeof text);
    start_until_it_holds(&seen, sizeof text);
    cr_assert_eq(chunked.reads, 2);
    cr_assert_geq(chunked.piece.iov_len, 512);
    send_text("\n");
    finish(&seen);
    cr_assert_eq(seen.result.bytes, sizeof text + 1);
    tear_down();
}

/* Cancelled while a read is in flight: it tells how many bytes it has added, and the next call
 * finds the line. */
Test(reader, cancelled_while_its_read_is_in_flight)
{
    for (size_t i = 0; i < LENGTH(honoured); i++)
        for (size_t j = 0; j < LENGTH(chunks); j++) {
            struct seen seen = { 0 };
            set_up(chunks[j], 1000);
            cr_assert_eq(unr_buffer_append(&buffer, "a ", 2), 0);
            memcpy(sent, "a ", sent_len = 2);
            send_text("long li");
            start_until_it_holds(&seen, 9);
            cr_assert(unr_cancel_cause(&reader.op, honoured[i], -ETIMEDOUT));
            run();
            expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
            cr_assert_eq(seen.result.bytes, 7);
            send_text("ne\nmore");
            expect_found(until("\n"), "a long line\n");
            tear_down();
        }
}

static unsigned types_to_ask;

static void cancel_at_second_read(struct chunked *of)
{
    if (of->reads == 2)
        cr_assert(unr_cancel(&reader.op, types_to_ask));
}

/* Cancelled between two reads, where none is in flight to be cancelled: the second one does not
 * begin. */
Test(reader, cancelled_between_two_reads)
{
    for (size_t i = 0; i < LENGTH(honoured); i++) {
        struct seen seen = { 0 };
        set_up(3, 1000);
        chunked.before_read = cancel_at_second_read;
        types_to_ask = honoured[i];
        send_text("long line\n");
        begin(&seen, until("\n"));
        run();
        expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        cr_assert_eq(seen.result.bytes, 3);
        cr_assert_eq(held(), 3);
        chunked.before_read = NULL;
        expect_found(until("\n"), "long line\n");
        tear_down();
    }
}

static ssize_t match_and_cancel(void *context, const void *data, size_t len, size_t seen)
{
    const char *found = memchr(data, '\n', len);
    (void)context, (void)seen;
    unr_cancel(&reader.op, types_to_ask);
    return found ? found - (const char *)data + 1 : 0;
}

/* Cancelled by its own match function: what that has found is a success, and otherwise nothing more
 * is read. */
Test(reader, cancelled_while_it_is_searched)
{
    for (size_t i = 0; i < LENGTH(honoured); i++) {
        struct seen cancelled = { 0 }, found = { 0 };
        types_to_ask = honoured[i];
        set_up(3, 1000);
        send_text("abc\n");
        begin(&cancelled,
              unr_read_match(&reader, &chunked.stream, &buffer, match_and_cancel, NULL));
        run();
        expect_cancelled(&cancelled, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        cr_assert_eq(cancelled.result.bytes, 3);
        cr_assert_eq(chunked.reads, 1);
        consume(3);
        begin(&found, unr_read_match(&reader, &chunked.stream, &buffer, match_and_cancel, NULL));
        run();
        cr_assert_eq(found.result.error, 0);
        cr_assert_eq(found.result.bytes, 1);
        cr_assert_eq(found.result.verdict, UNR_VERDICT_TOO_LATE);
        tear_down();
    }
}

static void cancel_reader(struct seen *seen)
{
    (void)seen;
    cr_assert(unr_cancel(&reader.op, types_to_ask));
}

/* Cancelled when its read has completed and has not been looked at: with the line in it, it
 * succeeds. */
Test(reader, cancelled_when_the_line_has_arrived)
{
    for (size_t i = 0; i < LENGTH(honoured); i++) {
        struct seen seen = { 0 }, first = { .then = cancel_reader };
        types_to_ask = honoured[i];
        set_up(UNLIMITED, 1000);
        send_text("line\n");
        start(&first, unr_nop(&first.op));
        begin(&seen, until("\n"));
        run();
        cr_assert_eq(seen.result.error, 0);
        cr_assert_eq(seen.result.bytes, 5);
        cr_assert_eq(seen.result.verdict, UNR_VERDICT_TOO_LATE);
        cr_assert_eq(seen.result.guarantee, UNR_CANCEL_NONE);
        cr_assert_eq(seen.result.requested, honoured[i]);
        tear_down();
    }
}

/* With half of the line in it, what has arrived is added, and no more is read. */
Test(reader, cancelled_when_half_a_line_has_arrived)
{
    for (size_t i = 0; i < LENGTH(honoured); i++) {
        struct seen seen = { 0 }, first = { .then = cancel_reader };
        types_to_ask = honoured[i];
        set_up(UNLIMITED, 1000);
        send_text("li");
        start(&first, unr_nop(&first.op));
        begin(&seen, until("\n"));
        run();
        expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        cr_assert_eq(seen.result.bytes, 2);
        cr_assert_eq(chunked.reads, 1);
        send_text("ne\n");
        expect_found(until("\n"), "line\n");
        tear_down();
    }
}

/* Cancelled after the match, before `done`: too late. */
Test(reader, cancelled_after_the_match)
{
    struct seen seen = { 0 };
    set_up(UNLIMITED, 1000);
    send_text("one\ntwo\n");
    expect_found(until("\n"), "one\n");
    begin(&seen, until("\n"));
    cr_assert(unr_cancel(&reader.op, UNR_CANCEL_ALL));
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.bytes, 4);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_TOO_LATE);
    tear_down();
}

/* A request that asks for TOTAL is refused at each point, and the line is read. */
Test(reader, total_is_refused)
{
    struct seen seen = { 0 };
    set_up(3, 1000);
    chunked.before_read = cancel_at_second_read;
    types_to_ask = UNR_CANCEL_TOTAL;
    begin(&seen, until("\n"));
    cr_assert(unr_cancel(&reader.op, UNR_CANCEL_TOTAL));
    submit();
    cr_assert(unr_cancel(&reader.op, UNR_CANCEL_TOTAL));
    send_text("line\n");
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.bytes, 5);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_REFUSED);
    cr_assert_eq(seen.result.requested, UNR_CANCEL_TOTAL);
    tear_down();
}

/* Refused, and then asked for less, it is honoured. */
Test(reader, total_is_refused_and_then_terminal_honoured)
{
    struct seen seen = { 0 };
    set_up(3, 1000);
    send_text("half");
    start_until_it_holds(&seen, 4);
    unr_cancel(&reader.op, UNR_CANCEL_TOTAL);
    submit();
    unr_cancel(&reader.op, UNR_CANCEL_TERMINAL);
    run();
    expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(seen.result.requested, UNR_CANCEL_TOTAL | UNR_CANCEL_TERMINAL);
    tear_down();
}

static unsigned total_to_partial(void *context, unsigned type)
{
    (void)context;
    return type == UNR_CANCEL_TOTAL ? UNR_CANCEL_PARTIAL : 0;
}

/* Whoever keeps the buffer may take PARTIAL for TOTAL: a filter says so. */
Test(reader, total_through_a_filter)
{
    struct unr_filter filter = { 0 };
    struct seen       seen = { 0 };
    set_up(3, 1000);
    send_text("half");
    begin(&seen, unr_filter(&filter, until("\n"), total_to_partial, NULL));
    while (held() < 4)
        submit();
    cr_assert_eq(unr_supports(&filter.op), UNR_CANCEL_TOTAL);
    unr_cancel(&filter.op, UNR_CANCEL_TOTAL);
    run();
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(seen.result.bytes, 4);
    send_text(" a line\n");
    expect_found(until("\n"), "half a line\n");
    tear_down();
}

/* ---- layers that do as they like ---- */

struct brew {
    struct unr_stream stream;
    struct unr_op    *brewing;
    struct iovec      room;
};

static void start_brewing(struct unr_op *op)
{
    (void)op;
}

static void cancel_brewing(struct unr_op *op, struct unr_cancel_request request)
{
    (void)op, (void)request;
}

static const struct unr_op_type brew_type = { .size = sizeof brew_type,
                                              .supports = UNR_CANCEL_NONE,
                                              .name = "brew",
                                              .start = start_brewing,
                                              .cancel = cancel_brewing };

static struct unr_op *read_brew(struct unr_stream *stream, struct unr_some *some,
                                const struct iovec *iov, unsigned n)
{
    struct brew *brew = unr_container_of(stream, struct brew, stream);
    (void)n;
    brew->room = *iov;
    return brew->brewing = unr_describe(&some->op, &brew_type);
}

static const struct unr_stream_type brewing_type = { .size = sizeof brewing_type,
                                                     .name = "brewery",
                                                     .read_some = read_brew };

static void serve(struct brew *brew, const char *text, int error)
{
    memcpy(brew->room.iov_base, text, strlen(text));
    brew->brewing->result.bytes = strlen(text);
    memcpy(sent + sent_len, text, strlen(text));
    sent_len += strlen(text);
    unr_finish(brew->brewing, error);
}

static void start_brew(struct brew *brew, struct seen *seen)
{
    set_up(UNLIMITED, 1000);
    unr_stream_layer(&brew->stream, &brewing_type);
    begin(seen, unr_read_until(&reader, &brew->stream, &buffer, "\n", 1));
}

/* A layer whose reads cannot be cancelled: the operation ends when the one in flight has. */
Test(reader, cancelled_over_a_layer_that_cannot_be)
{
    struct brew brew = { 0 };
    struct seen seen = { 0 };
    start_brew(&brew, &seen);
    unr_cancel(&reader.op, UNR_CANCEL_PARTIAL);
    submit();
    cr_assert_eq(seen.runs, 0);
    serve(&brew, "tea", 0);
    run();
    expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(seen.result.bytes, 3);
    tear_down();
}

/* What a read brings together with an error is kept, and searched before the error is looked at. */
Test(reader, bytes_that_come_with_an_error)
{
    static const char *const texts[] = { "tea", "tea\n" };
    static const int         errors[] = { -EIO, -ECANCELED };
    for (size_t i = 0; i < 4; i++) {
        struct brew brew = { 0 };
        struct seen seen = { 0 };
        start_brew(&brew, &seen);
        serve(&brew, texts[i & 1], errors[i >> 1]);
        run();
        cr_assert_eq(seen.result.error, i & 1 ? 0 : errors[i >> 1]);
        cr_assert_eq(seen.result.bytes, strlen(texts[i & 1]));
        tear_down();
    }
}

/* ---- broken contracts ---- */

static ssize_t match_too_much(void *context, const void *data, size_t len, size_t seen)
{
    (void)context, (void)data, (void)seen;
    return (ssize_t)len + 1;
}

static void run_too_much(void *context)
{
    static struct unr_stream stream;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, end) == 0);
    must(write(end[1], "abc", 3) == 3);
    unr_stream_socket(&stream, end[0]);
    unr_buffer_init(&buffer, 100);
    unr_start(loop, unr_read_match(&reader, &stream, &buffer, match_too_much, NULL), NULL, NULL);
    unr_loop_run(loop);
}

/* A match function that finds more than it was shown. */
Test(reader, match_beyond_the_data)
{
    struct death death = in_child(run_too_much, NULL);
    expect_abort(&death, (const char *const[]){
                             "unring: broken contract:", "read_match", "behind the last byte",
                             "unring: the rule:", "a match function returns", NULL });
}

static struct brew broken;

static void run_stream_too_much(void *context)
{
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_buffer_init(&buffer, 100);
    unr_stream_layer(&broken.stream, &brewing_type);
    unr_start(loop, unr_read_until(&reader, &broken.stream, &buffer, "x", 1), NULL, NULL);
    broken.brewing->result.bytes = broken.room.iov_len + 1;
    unr_finish(broken.brewing, 0);
    unr_loop_run(loop);
}

/* A layer that reads more than there is room for. */
Test(reader, stream_that_reads_too_much)
{
    struct death death = in_child(run_stream_too_much, NULL);
    expect_abort(&death, (const char *const[]){ "unring: broken contract:", "read_until",
                                                "more than there was room for",
                                                "unring: the rule:", "read_some", NULL });
}

/* ---- anything ---- */

/* What the buffer holds does not count: it ends with the first bytes that come, however many. */
Test(reader, more_is_what_comes)
{
    for (unsigned i = 0; i < LENGTH(chunks); i++) {
        set_up(chunks[i], 4096);
        send_text("first");
        struct unr_result r = result_of_op(more());
        cr_assert_eq(r.error, 0);
        cr_assert_eq(r.bytes, chunks[i] < 5 ? chunks[i] : 5);
        cr_assert_eq(held(), r.bytes);
        while (held() < 5)
            cr_assert_gt(result_of_op(more()).bytes, 0);
        struct seen idle = { 0 };
        begin(&idle, more());
        submit();
        cr_assert_eq(idle.runs, 0);
        send_text("!");
        finish(&idle);
        cr_assert_eq(idle.result.bytes, 1);
        tear_down();
    }
}

/* Total: nothing was taken, and what comes later is the next call's. */
Test(reader, more_is_cancelled_totally)
{
    set_up(UNLIMITED, 4096);
    for (int turns = 0; turns < 3; turns++) {
        struct seen idle = { 0 };
        begin(&idle, more());
        for (int i = 0; i < turns; i++)
            submit();
        cr_assert(unr_cancel(&reader.op, UNR_CANCEL_TOTAL));
        finish(&idle);
        cr_assert_eq(idle.result.error, -ECANCELED);
        cr_assert_eq(idle.result.guarantee, UNR_CANCEL_TOTAL);
        cr_assert_eq(idle.result.bytes, 0);
        cr_assert_eq(held(), 0);
        send_text("later");
        cr_assert_eq(result_of_op(more()).bytes, 5);
        consume(5);
    }
    tear_down();
}

/* A byte that has come before the request is a success. */
Test(reader, more_that_has_come_is_no_cancellation)
{
    set_up(UNLIMITED, 4096);
    struct seen seen = { 0 };
    begin(&seen, more());
    submit();
    send_text("x");
    while (!unr_state_cancelled(unr_compose_state(&reader.private_fields.compose))
           && seen.runs == 0) {
        submit();
        unr_cancel(&reader.op, UNR_CANCEL_TOTAL);
    }
    finish(&seen);
    cr_assert_eq(held(), seen.result.bytes);
    cr_assert_eq(seen.result.error, held() ? 0 : -ECANCELED);
    tear_down();
}

Test(reader, more_of_a_full_buffer_and_of_an_end)
{
    set_up(UNLIMITED, 4);
    send_text("1234");
    cr_assert_eq(result_of_op(more()).bytes, 4);
    cr_assert_eq(result_of_op(more()).error, -ENOBUFS);
    consume(4);
    shutdown(end[1], SHUT_WR);
    struct unr_result r = result_of_op(more());
    cr_assert_eq(r.error, -ENODATA);
    cr_assert_eq(r.bytes, 0);
    tear_down();
}
