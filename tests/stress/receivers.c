/* SPDX-License-Identifier: MIT */
/* Random cancellations of reads that wait in receivers, with a pool and without, over TCP, unix
 * sockets and pipes.  Another process writes streams whose bytes tell where in the stream they
 * belong.  Whatever is cancelled, and however many buffers are left, each byte is read once and in
 * order; each result agrees with what was asked; a cancelled read has taken nothing. */
#include "stress.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { CANCELS = 4000000, FEW_CANCELS = 100000 };
enum { STREAMS = 24, ROOM = 4096, BUFFERS = 16, BUFFER_SIZE = 512, PIECES = 8 };

enum how { COPY, VIEW, KEEP };

struct stream {
    struct unr_receiver receiver;
    struct unr_op       read;
    struct asked        asked;
    enum how            how;
    int                 fds[2]; /* [0] is the receiver's, [1] the other process's */
    bool                pooled, in_flight, at_end;
    uint64_t            got;
    void               *kept;
    unsigned char       room[ROOM];
};

static struct stream    streams[STREAMS];
static struct unr_pool *pool;
static uint64_t         cancelled, too_late, reads;

static unsigned char pattern(unsigned stream, uint64_t at)
{
    return (unsigned char)((at + stream * 77) * 2654435761u >> 11);
}

/* ---- the other process ---- */

static uint64_t written[STREAMS];

static void write_some(unsigned i)
{
    unsigned char bytes[3000];
    size_t        n = 1 + below(one_in(8) ? sizeof bytes : 20);
    for (size_t j = 0; j < n; j++)
        bytes[j] = pattern(i, written[i] + j);
    ssize_t done = write(streams[i].fds[1], bytes, n);
    if (done > 0)
        written[i] += (uint64_t)done;
    else
        check(errno == EAGAIN);
}

/* Writes a few pieces for each word of the reader's, and tells at the end how many bytes each
 * stream has. */
_Noreturn static void write_streams(int words, int counts)
{
    char word;
    snprintf(where + strlen(where), sizeof where - strlen(where), ", the writer");
    seed_random(2);
    for (unsigned i = 0; i < STREAMS; i++) {
        close(streams[i].fds[0]);
        must(fcntl(streams[i].fds[1], F_SETFL, O_NONBLOCK));
    }
    while (must((int)read(words, &word, 1)) == 1)
        for (unsigned n = 0; n < PIECES; n++)
            write_some(below(STREAMS));
    check(write(counts, written, sizeof written) == sizeof written);
    _exit(0);
}

/* ---- reads ---- */

static void check_bytes(struct stream *s, const unsigned char *bytes, size_t n)
{
    unsigned number = (unsigned)(s - streams);
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != pattern(number, s->got + i))
            fail("stream %u: a wrong byte at %" PRIu64, number, s->got + i);
    s->got += n;
}

static void give_kept(struct stream *s)
{
    if (s->kept)
        unr_pool_give(pool, s->kept);
    s->kept = NULL;
}

/* What a view shows is taken in part, as a whole, or with its buffer. */
static void take_view(struct stream *s)
{
    struct iovec pieces[4];
    size_t       len;
    unsigned     n = unr_receiver_pieces(&s->receiver, pieces, 4);
    check(n > 0 && unr_receiver_held(&s->receiver) >= s->read.result.bytes);
    if (s->how == KEEP && !s->kept) {
        s->kept = unr_receiver_keep(&s->receiver, &len);
        check_bytes(s, s->kept, len);
        return;
    }
    size_t part = 1 + below((unsigned)pieces[0].iov_len);
    check_bytes(s, pieces[0].iov_base, part);
    unr_receiver_consume(&s->receiver, part);
}

static void ask(struct stream *s)
{
    unsigned types = random_types();
    int      cause = -2000 - (int)below(3);
    if (!s->in_flight)
        return;
    note_request(&s->asked, UNR_CANCEL_ALL, types, cause);
    check(unr_cancel_cause(&s->read, types, cause));
}

static void done(struct unr_op *op)
{
    struct stream           *s = op->data;
    const struct unr_result *r = &op->result;
    s->in_flight = false;
    check_result(op, &s->asked, UNR_CANCEL_ALL);
    reads++;
    too_late += r->verdict == UNR_VERDICT_TOO_LATE;
    if (r->error == -ECANCELED) {
        cancelled++;
    } else {
        check(r->error == 0);
        s->at_end = r->bytes == 0;
        if (s->how == COPY)
            check_bytes(s, s->room, r->bytes);
        else if (!s->at_end)
            take_view(s);
    }
    if (one_in(8))
        ask(&streams[below(STREAMS)]);
}

static void read_from(struct stream *s)
{
    struct unr_op *described;
    s->asked = (struct asked){ 0 };
    s->how = s->pooled ? (enum how)below(3) : COPY;
    if (s->how == COPY)
        described = unr_receive(&s->read, &s->receiver, s->room, 1 + below(ROOM));
    else
        described = unr_receive_view(&s->read, &s->receiver);
    s->in_flight = true;
    unr_start(loop, described, done, s);
}

static void do_something(void)
{
    struct stream *s = &streams[below(STREAMS)];
    if (one_in(16))
        give_kept(s);
    else if (!s->in_flight)
        read_from(s);
    else if (one_in(2))
        ask(s);
    if (one_in(12))
        turn(0);
}

/* ---- one run ---- */

static void tcp_pair(int fds[2])
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t          len = sizeof address;
    int                listener = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    must(bind(listener, (struct sockaddr *)&address, len));
    must(listen(listener, 1));
    must(getsockname(listener, (struct sockaddr *)&address, &len));
    fds[1] = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    must(connect(fds[1], (struct sockaddr *)&address, len));
    fds[0] = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    close(listener);
}

/* A receiver with a pool is a socket's. */
static void open_stream(struct stream *s, unsigned i)
{
    memset(s, 0, sizeof *s);
    s->pooled = i % 2;
    if (i % 6 < 2)
        tcp_pair(s->fds);
    else if (i % 6 < 4 || s->pooled)
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->fds));
    else
        must(pipe2(s->fds, O_CLOEXEC));
}

static void stop(struct stream *s)
{
    struct unr_op stop = { 0 };
    unr_start(loop, unr_receiver_stop(&stop, &s->receiver), NULL, NULL);
    while (unr_in_flight(&stop))
        turn(UNR_NEVER);
    unr_receiver_free(&s->receiver);
    close(s->fds[0]);
}

static void run(const char *name, unsigned flags, uint64_t cancels)
{
    const struct unr_pool_options buffers = {
        .size = sizeof buffers, .count = BUFFERS, .buffer_size = BUFFER_SIZE, .published = 4
    };
    int    words[2], counts[2];
    double began = seconds();
    snprintf(where, sizeof where, "%s", name);
    cancelled = too_late = reads = 0;
    memset(written, 0, sizeof written);
    for (unsigned i = 0; i < STREAMS; i++)
        open_stream(&streams[i], i);
    must(pipe2(words, O_CLOEXEC));
    must(pipe2(counts, O_CLOEXEC));
    child = must(fork());
    if (child == 0) {
        close(words[1]);
        write_streams(words[0], counts[1]);
    }
    close(words[0]);
    close(counts[1]);
    must(fcntl(words[1], F_SETFL, O_NONBLOCK));
    for (unsigned i = 0; i < STREAMS; i++)
        close(streams[i].fds[1]);
    seed_random(1);
    open_loop((struct unr_loop_options){ .flags = flags });
    check(unr_pool_open(&pool, loop, &buffers) == 0);
    for (unsigned i = 0; i < STREAMS; i++)
        unr_receiver_init(&streams[i].receiver, loop, streams[i].pooled ? pool : NULL,
                          streams[i].fds[0], 1 + below(3000));
    for (unsigned n = 0; cancelled < cancels; n++) {
        do_something();
        if (n % 32 == 0 && write(words[1], "", 1) < 0)
            check(errno == EAGAIN); /* the writer has enough to do */
    }
    close(words[1]);
    for (unsigned ended = 0; ended < STREAMS;) {
        ended = 0;
        for (unsigned i = 0; i < STREAMS; i++) {
            give_kept(&streams[i]);
            if (!streams[i].in_flight && !streams[i].at_end)
                read_from(&streams[i]);
            ended += streams[i].at_end;
        }
        turn(ended < STREAMS ? UNR_SEC(1) : 0);
    }
    check(read(counts[0], written, sizeof written) == sizeof written);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < STREAMS; i++) {
        if (streams[i].got != written[i])
            fail("stream %u: %" PRIu64 " bytes were read of %" PRIu64, i, streams[i].got,
                 written[i]);
        bytes += written[i];
        stop(&streams[i]);
    }
    int status;
    must(waitpid(child, &status, 0));
    check(status == 0);
    child = 0;
    struct unr_pool_stats stats;
    unr_pool_stats(pool, &stats, sizeof stats);
    check(stats.held == 0 && stats.taken == stats.given);
    unr_pool_close(pool);
    check(unr_loop_close(loop) == 0);
    loop = NULL;
    close(counts[0]);
    printf("%-6s %" PRIu64 " reads of %" PRIu64 " bytes, %" PRIu64 " cancelled, %" PRIu64
           " requests too late, %" PRIu64 " times no buffer, %.1f s\n",
           where, reads, bytes, cancelled, too_late, stats.starved, seconds() - began);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    read_options(argc, argv, CANCELS, FEW_CANCELS);
    guard(options.cancels);
    run("best", 0, options.cancels / 2);
    run("plain", UNR_LOOP_PLAIN, options.cancels / 2);
    return 0;
}
