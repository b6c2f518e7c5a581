/* SPDX-License-Identifier: MIT */
/* Streams: one read or write on each kind.  What is made of many is in tests/test_transfer.c. */
#include "support.h"

#include <sys/mman.h>

TestSuite(stream, .init = open_loop, .timeout = 20);

/* A pair of descriptors, what is written to the second being read from the first, and their
 * streams. */
struct ends {
    int               fds[2];
    struct unr_stream streams[2];
};

static void on_sockets(struct ends *ends)
{
    unix_pair(ends->fds);
    for (int i = 0; i < 2; i++)
        unr_stream_socket(&ends->streams[i], ends->fds[i]);
}

static void on_tcp(struct ends *ends)
{
    tcp_pair(ends->fds);
    for (int i = 0; i < 2; i++)
        unr_stream_socket(&ends->streams[i], ends->fds[i]);
}

static void on_pipe(struct ends *ends)
{
    cr_assert_eq(pipe2(ends->fds, O_CLOEXEC), 0);
    for (int i = 0; i < 2; i++)
        unr_stream_pipe(&ends->streams[i], ends->fds[i]);
}

static void on_file(struct ends *ends)
{
    ends->fds[0] = memfd_create("stream", MFD_CLOEXEC);
    ends->fds[1] = fcntl(ends->fds[0], F_DUPFD_CLOEXEC, 0);
    for (int i = 0; i < 2; i++)
        unr_stream_file(&ends->streams[i], ends->fds[i], 0);
}

/* Passes everything on. */
struct layer {
    struct unr_stream  stream;
    struct unr_stream *lower;
};

static struct unr_op *layer_read(struct unr_stream *stream, struct unr_some *some,
                                 const struct iovec *iov, unsigned n)
{
    return unr_read_some(some, unr_container_of(stream, struct layer, stream)->lower, iov, n);
}

static struct unr_op *layer_write(struct unr_stream *stream, struct unr_some *some,
                                  const struct iovec *iov, unsigned n)
{
    return unr_write_some(some, unr_container_of(stream, struct layer, stream)->lower, iov, n);
}

static struct unr_stream *make_layer(struct layer *layer, struct unr_stream *lower)
{
    static const struct unr_stream_type type = {
        .size = sizeof type, .name = "layer", .read_some = layer_read, .write_some = layer_write
    };
    layer->lower = lower;
    unr_stream_layer(&layer->stream, &type);
    return &layer->stream;
}

static void (*const kinds[])(struct ends *) = { on_sockets, on_tcp, on_pipe, on_file };

static void begin(struct seen *seen, struct unr_op *described)
{
    unr_start(loop, described, NULL, seen);
}

static const struct unr_result *ran(struct unr_op *described)
{
    begin(NULL, described);
    run();
    return &described->result;
}

static void expect(const struct unr_result *result, int error, size_t bytes)
{
    cr_assert_eq(result->error, error, "error %d", result->error);
    cr_assert_eq(result->bytes, bytes, "bytes %zu", (size_t)result->bytes);
}

/* ---- moving ---- */

/* One write moves what it is given, in one piece or several, and one read what is there, on each
 * kind and through a layer. */
Test(stream, one_step_moves_what_it_can)
{
    for (size_t i = 0; i < LENGTH(kinds); i++)
        for (int layered = 0; layered < 2; layered++) {
            char            text[] = "transferred", read[20] = { 0 };
            struct iovec    whole = { text, 11 }, to[] = { { text, 5 }, { text + 5, 6 } };
            struct iovec    from[] = { { read, 3 }, { read + 3, 10 } }, rest = { read + 13, 7 };
            struct unr_some some = { 0 };
            struct layer    layers[2];
            struct ends     ends;
            kinds[i](&ends);
            struct unr_stream *reads = &ends.streams[0], *writes = &ends.streams[1];
            if (layered) {
                reads = make_layer(&layers[0], reads);
                writes = make_layer(&layers[1], writes);
            }
            expect(ran(unr_write_some(&some, writes, &whole, 1)), 0, 11);
            unr_stream_moved(&ends.streams[1], 11);
            expect(ran(unr_write_some(&some, writes, to, 2)), 0, 11);
            expect(ran(unr_read_some(&some, reads, from, 2)), 0, 13);
            unr_stream_moved(&ends.streams[0], 13);
            expect(ran(unr_read_some(&some, reads, &rest, 1)), 0, 7);
            cr_assert_eq(memcmp(read, "transferredtransferr", 20), 0);
            close_pair(ends.fds);
        }
    close_loop();
}

/* The end of what can be read is 0 bytes and no error. */
Test(stream, the_end_is_nothing_read)
{
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        char            byte;
        struct iovec    piece = { &byte, 1 };
        struct unr_some some = { 0 };
        struct ends     ends;
        kinds[i](&ends);
        close(ends.fds[1]);
        expect(ran(unr_read_some(&some, &ends.streams[0], &piece, 1)), 0, 0);
        close(ends.fds[0]);
    }
    close_loop();
}

/* A length that the system call would refuse is cut. */
Test(stream, a_length_beyond_the_system_calls_is_cut)
{
    static const size_t len = (size_t)1 << 32;
    char               *memory =
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        cr_skip_test("no room for 4 GiB of addresses");
    struct iovec piece = { memory, len };
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        struct unr_some some = { 0 };
        struct ends     ends;
        kinds[i](&ends);
        cr_assert_eq(write(ends.fds[1], "abc", 3), 3);
        expect(ran(unr_read_some(&some, &ends.streams[0], &piece, 1)), 0, 3);
        close_pair(ends.fds);
    }
    munmap(memory, len);
    close_loop();
}

/* ---- the offset of a file ---- */

/* A step leaves the offset alone: unr_stream_moved() moves it.  The file's own position is not
 * used. */
Test(stream, an_offset_moves_when_it_is_told_to)
{
    char            text[] = "0123456789", byte = 0;
    struct iovec    whole = { text, 10 }, piece = { &byte, 1 };
    struct unr_some some = { 0 };
    struct ends     ends;
    on_file(&ends);
    unr_stream_file(&ends.streams[1], ends.fds[1], 5);
    expect(ran(unr_write_some(&some, &ends.streams[1], &whole, 1)), 0, 10);
    cr_assert_eq(ends.streams[1].offset, 5);
    unr_stream_moved(&ends.streams[1], 3);
    cr_assert_eq(ends.streams[1].offset, 8);
    expect(ran(unr_read_some(&some, &ends.streams[1], &piece, 1)), 0, 1);
    cr_assert_eq(byte, '3');
    cr_assert_eq(lseek(ends.fds[0], 0, SEEK_CUR), 0);
    close_pair(ends.fds);
    close_loop();
}

/* What has no offset does not get one. */
Test(stream, nothing_else_has_an_offset)
{
    struct ends  ends;
    struct layer layer;
    on_sockets(&ends);
    unr_stream_moved(&ends.streams[0], 3);
    cr_assert_eq(ends.streams[0].offset, -1);
    unr_stream_moved(make_layer(&layer, &ends.streams[0]), 3);
    cr_assert(layer.stream.offset == -1 && layer.stream.fd == -1);
    close_pair(ends.fds);
    close_loop();
}

/* A negative offset is wrong; it does not stand for the file's position. */
Test(stream, a_negative_offset_is_an_error)
{
    char            byte = 0;
    struct iovec    piece = { &byte, 1 };
    struct unr_some some = { 0 };
    struct ends     ends;
    on_file(&ends);
    for (int64_t offset = -1; offset >= -2; offset--) {
        unr_stream_file(&ends.streams[0], ends.fds[0], offset);
        expect(ran(unr_read_some(&some, &ends.streams[0], &piece, 1)), -EINVAL, 0);
        expect(ran(unr_write_some(&some, &ends.streams[0], &piece, 1)), -EINVAL, 0);
    }
    close_pair(ends.fds);
    close_loop();
}

/* ---- errors ---- */

/* A direction that a layer lacks, or declines, is not supported; what is said about that cannot be
 * cancelled. */
Test(stream, a_direction_that_is_missing_is_not_supported)
{
    static const struct unr_stream_type neither = { .size = sizeof neither,
                                                    .name = "one that does nothing" };
    char                                byte = 0;
    struct iovec                        piece = { &byte, 1 };
    struct unr_some                     some = { 0 };
    struct unr_stream                   stream;
    unr_stream_layer(&stream, &neither);
    expect(ran(unr_read_some(&some, &stream, &piece, 1)), -EOPNOTSUPP, 0);
    begin(NULL, unr_write_some(&some, &stream, &piece, 1));
    cr_assert(unr_cancel(&some.op, UNR_CANCEL_ALL));
    run();
    expect(&some.op.result, -EOPNOTSUPP, 0);
    close_loop();
}

static void not_to_be_told(struct unr_stream *stream, uint64_t bytes)
{
    (void)stream, (void)bytes;
    abort();
}

/* The type of a program that was compiled against an older header is shorter: what lies behind its
 * size is not looked at. */
Test(stream, a_type_that_is_shorter_is_taken_for_what_it_has)
{
    static const struct unr_stream_type older = { .size = offsetof(struct unr_stream_type, moved),
                                                  .name = "older",
                                                  .read_some = layer_read,
                                                  .write_some = layer_write,
                                                  .moved = not_to_be_told };
    char                                byte = 0;
    struct iovec                        piece = { &byte, 1 };
    struct unr_some                     some = { 0 };
    struct layer                        layer;
    struct ends                         ends;
    on_sockets(&ends);
    make_layer(&layer, &ends.streams[1]);
    layer.stream.type = &older;
    expect(ran(unr_write_some(&some, &layer.stream, &piece, 1)), 0, 1);
    unr_stream_moved(&layer.stream, 1);
    close_pair(ends.fds);
    close_loop();
}

/* A peer that is gone is an error, and no signal. */
Test(stream, a_socket_raises_no_sigpipe)
{
    char            byte = 0;
    struct iovec    pieces[2] = { { &byte, 1 }, { &byte, 1 } };
    struct unr_some some = { 0 };
    struct ends     ends;
    signal(SIGPIPE, SIG_DFL);
    on_sockets(&ends);
    close(ends.fds[0]);
    for (unsigned n = 1; n <= 2; n++)
        expect(ran(unr_write_some(&some, &ends.streams[1], pieces, n)), -EPIPE, 0);
    close(ends.fds[1]);
    close_loop();
}

/* ---- cancellation ---- */

/* A read that waits is cancelled TOTAL, through a layer too: what comes afterwards is there for the
 * next. */
Test(stream, a_cancelled_read_has_taken_nothing)
{
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        if (kinds[i] == on_file)
            continue; /* does not wait */
        char            byte = 0;
        struct iovec    pieces[2] = { { &byte, 1 }, { &byte, 1 } };
        struct unr_some some = { 0 };
        struct layer    layer;
        struct ends     ends;
        kinds[i](&ends);
        make_layer(&layer, &ends.streams[0]);
        for (unsigned n = 1; n <= 2; n++) {
            begin(NULL, unr_read_some(&some, &layer.stream, pieces, n));
            submit();
            unr_cancel(&some.op, UNR_CANCEL_TOTAL);
            run();
            expect(&some.op.result, -ECANCELED, 0);
            cr_assert_eq(some.op.result.guarantee, UNR_CANCEL_TOTAL);
        }
        cr_assert_eq(write(ends.fds[1], "x", 1), 1);
        expect(ran(unr_read_some(&some, &layer.stream, pieces, 1)), 0, 1);
        cr_assert_eq(byte, 'x');
        close_pair(ends.fds);
    }
    close_loop();
}
