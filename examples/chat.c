/* SPDX-License-Identifier: MIT */
/* A chat: each line that a guest types goes to all the others.
 *
 * One nursery has the connections.  Each connection is a nursery, too, with two fibers: one reads
 * the guest's lines, the other writes what is in the guest's channel.  Whoever says something puts
 * it into the channels of all guests and waits for none of them.
 *
 * So a guest who reads slowly holds up nobody: its own writer waits, and its channel fills up.
 * While that is full, lines are left out for this guest alone, and before the next line that has
 * room it is told how many.  A guest costs the memory of its channel, however long it sleeps.
 *
 * Where a guest's lines end, its channel is closed: the writer writes what is left in it, says
 * goodbye, waits until the guest has hung up, and ends.  It has a second for all that, which is the
 * deadline of the guest's nursery.  At Ctrl-C or SIGTERM the lines of all guests end, because their
 * reads are bound to a signal that is latched; half a line that somebody has typed is lost.
 *
 *      chat 7000                             # then: socat - TCP:127.0.0.1:7000, several times */
#include "common.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <unring.h>

#define LINE_BYTES  200 /* with its newline; a longer one ends the connection */
#define ENTRY_BYTES 256 /* with who says it, and how many lines were left out before it */
#define CAPACITY    16  /* lines that wait for a guest */

struct line {
    unsigned left_out; /* lines that were left out before this one */
    unsigned len;
    char     text[LINE_BYTES + 20]; /* with who says it */
};

struct guest {
    struct guest      *next;
    int                fd;
    unsigned           number, left_out;
    struct unr_channel lines; /* to be written */
    struct line        storage[CAPACITY];
};

static struct {
    struct unr_nursery connections;
    struct unr_signal  stop; /* latched */
    struct guest      *guests;
    unsigned           last_number;
    int                listener;
    bool               ends;
} chat;

/* ---- who is there ---- */

/* Nothing is awaited in here, so nobody comes or goes meanwhile, and no lock is needed. */
static void say(const struct guest *from, const char *what, size_t len)
{
    struct line line;

    int written = snprintf(line.text, sizeof line.text, "%u%.*s\n", from->number, (int)len, what);
    line.len = (unsigned)written;
    for (struct guest *to = chat.guests; to; to = to->next) {
        if (to == from)
            continue;
        line.left_out = to->left_out;
        if (unr_channel_try_send(&to->lines, &line) == 0)
            to->left_out = 0;
        else
            to->left_out++;
    }
}

static void come(struct guest *guest)
{
    guest->number = ++chat.last_number;
    guest->next = chat.guests;
    chat.guests = guest;
    say(guest, " is here", 8);
}

static void go(struct guest *guest)
{
    struct guest **link = &chat.guests;

    while (*link != guest)
        link = &(*link)->next;
    *link = guest->next;
    if (!chat.ends)
        say(guest, " has left", 9);
}

/* ---- a guest's two fibers ---- */

static int64_t write_text(struct unr_stream *stream, const char *text, size_t len)
{
    struct unr_transfer transfer = { 0 };
    return unr_await_value(unr_write_all(&transfer, stream, text, len));
}

static size_t put_left_out(char *text, unsigned n)
{
    return n ? (size_t)sprintf(text, "(%u lines left out)\n", n) : 0;
}

/* Says goodbye, and waits until the guest has hung up.  Bytes of its that nobody reads would make a
 * reset of the close, by which it may lose what was written. */
static int64_t write_goodbye(struct unr_stream *stream, unsigned left_out)
{
    struct unr_op op = { 0 };
    char          text[512];
    size_t        len = put_left_out(text, left_out);
    int64_t       n;

    memcpy(text + len, "bye\n", 4);
    if ((n = write_text(stream, text, len + 4)) < 0
        || (n = unr_await_value(unr_shutdown(&op, stream->fd, SHUT_WR))) < 0)
        return n;
    while ((n = unr_await_value(unr_recv(&op, stream->fd, text, sizeof text, 0))) > 0)
        ;
    return n;
}

/* Lines that are in the channel together are written together: so a guest that types fast is no
 * faster than the writers of the others. */
static int write_lines(void *argument)
{
    struct guest     *guest = argument;
    struct unr_waiter waiter = { 0 };
    struct unr_stream stream;
    struct line       line;
    char              text[CAPACITY * ENTRY_BYTES];
    int64_t           n;

    unr_stream_socket(&stream, guest->fd);
    while ((n = unr_await_value(unr_channel_receive(&waiter, &guest->lines, &line))) > 0) {
        size_t len = 0;
        do {
            len += put_left_out(text + len, line.left_out);
            memcpy(text + len, line.text, line.len);
            len += line.len;
        } while (len + ENTRY_BYTES <= sizeof text
                 && unr_channel_try_receive(&guest->lines, &line) == 1);
        if ((n = write_text(&stream, text, len)) < 0)
            return (int)n;
    }
    return (int)(n < 0 ? n : write_goodbye(&stream, guest->left_out));
}

/* Until the end of the stream, or of the chat. */
static int read_lines(struct guest *guest)
{
    struct unr_signal  idle = { 0 };
    struct unr_reader  reader = { 0 };
    struct unr_framing framing;
    struct unr_stream  stream;
    struct unr_buffer  buffer;
    char               text[LINE_BYTES + 2] = ": ";
    int64_t            n;

    unr_stream_socket(&stream, guest->fd);
    unr_buffer_init(&buffer, LINE_BYTES);
    unr_framing_delimiter(&framing, "\n", 1, LINE_BYTES);
    unr_signal_attach(&idle, &chat.stop);
    while ((n = unr_await_value(unr_bind_slot(unr_read_frame(&reader, &stream, &buffer, &framing),
                                              unr_signal_slot(&idle))))
           > 0) {
        size_t      len;
        const void *line = unr_frame_payload(&framing, &buffer, (size_t)n, &len);
        memcpy(text + 2, line, len);
        say(guest, text, len + 2);
        unr_buffer_consume(&buffer, (size_t)n);
    }
    unr_signal_detach(&idle);
    unr_buffer_free(&buffer);
    return n == -ENODATA || n == -ESHUTDOWN ? 0 : (int)n;
}

static int connection(void *argument)
{
    struct guest       guest = { .fd = (int)(intptr_t)argument };
    struct unr_op      op = { 0 };
    struct unr_nursery nursery;

    send_at_once(guest.fd);
    /* The kernel would keep megabytes of old lines for a guest that does not read.  Failing costs
     * memory, not correctness. */
    setsockopt(guest.fd, SOL_SOCKET, SO_SNDBUF, &(int){ 65536 }, sizeof(int));
    unr_channel_init(&guest.lines, guest.storage, sizeof(struct line), CAPACITY);
    unr_nursery_open(&nursery, 0);
    int error = unr_nursery_spawn(&nursery, write_lines, &guest);
    if (error == 0) {
        come(&guest);
        error = read_lines(&guest); /* a writer that fails ends it, as both are in one nursery */
        go(&guest);
    }
    unr_channel_close(&guest.lines);
    unr_cancel_scope_move(unr_nursery_scope(&nursery), unr_loop_now(unr_fiber_loop()) + UNR_SEC(1));
    error = unr_nursery_close(&nursery, error);
    printf("guest %u: %s\n", guest.number,
           error == -ETIMEDOUT ? "did not hang up in time"
           : error             ? strerror(-error)
                               : "over");
    unr_await(unr_close(&op, guest.fd)); /* it supports NONE: it runs whatever was requested */
    return error;
}

/* ---- the door ---- */

static int accept_all(void *argument)
{
    struct unr_op op = { 0 };
    int64_t       fd;

    (void)argument;
    while ((fd = unr_await_value(unr_accept(&op, chat.listener, NULL, NULL, SOCK_CLOEXEC))) >= 0)
        if (unr_nursery_spawn(&chat.connections, connection, (void *)(intptr_t)fd) < 0)
            unr_await(unr_close(&op, (int)fd));
    return (int)fd;
}

static int serve(void *argument)
{
    struct unr_fiber   acceptor = { 0 };
    struct unr_sigwait interrupt = { 0 };
    struct unr_group   group = { 0 };

    (void)argument;
    unr_signal_init_latched(&chat.stop);
    unr_nursery_open(&chat.connections, UNR_NURSERY_INDEPENDENT);
    struct unr_op    *either[] = { unr_fiber(&acceptor, accept_all, NULL),
                                   unr_sigwait(&interrupt, interrupts, 2) };
    struct unr_result r = unr_await(unr_group(&group, either, 2, unr_wait_one, NULL));
    int               error = r.error ? r.error : either[r.value]->result.error;

    printf("ending, with %u guests\n", unr_nursery_children(&chat.connections));
    chat.ends = true;
    unr_signal_emit_cause(&chat.stop, UNR_CANCEL_TOTAL, -ESHUTDOWN);
    int closed = unr_nursery_close(&chat.connections, 0);
    return error ? error : closed;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    block_interrupts();
    chat.listener = listen_on_argument(argc, argv);
    int error = unr_run_fiber(NULL, serve, NULL);
    close(chat.listener);
    if (error < 0)
        die(error, "chat");
    return 0;
}
