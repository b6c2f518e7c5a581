/* SPDX-License-Identifier: MIT */
/* Datagrams over unix sockets.  The kernel loses one that finds its receiver's queue full, if it is
 * asked in the plain way, and calls that a success of 0 bytes.  Here a datagram waits for room and
 * arrives whole, or its loss is an error. */
#include "fixture.h"

#include <fcntl.h>
#include <sys/un.h>

TestSuite(datagram, .init = open_loop, .timeout = 20);

/* ---- a sender and a receiver whose queue is full ---- */

enum { QUEUE_MAX = 100000 };

struct mail {
    int                sender, receiver;
    struct sockaddr_un address;
    socklen_t          len;
    unsigned           queued; /* by full_mail(), of one byte each */
};

static struct mail new_mail(bool connected)
{
    struct mail mail = { .address = { .sun_family = AF_UNIX }, .len = sizeof mail.address };
    mail.sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    mail.receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(mail.receiver, (struct sockaddr *)&mail.address, sizeof(sa_family_t)), 0);
    cr_assert_eq(getsockname(mail.receiver, (struct sockaddr *)&mail.address, &mail.len), 0);
    if (connected)
        cr_assert_eq(connect(mail.sender, (struct sockaddr *)&mail.address, mail.len), 0);
    return mail;
}

static void fill_queue(struct mail *mail)
{
    while (sendto(mail->sender, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&mail->address, mail->len)
           == 1)
        cr_assert_lt(++mail->queued, QUEUE_MAX);
    cr_assert_eq(errno, EAGAIN);
}

static struct mail full_mail(bool connected)
{
    struct mail mail = new_mail(connected);
    fill_queue(&mail);
    return mail;
}

static void end_mail(const struct mail *mail)
{
    close(mail->sender);
    close(mail->receiver);
    close_loop();
}

static void receive(const struct mail *mail, unsigned count)
{
    char byte;
    while (count--)
        cr_assert_eq(recv(mail->receiver, &byte, 1, MSG_DONTWAIT), 1);
}

/* Takes the datagrams that filled the queue. */
static void empty_queue(struct mail *mail)
{
    receive(mail, mail->queued);
    mail->queued = 0;
}

/* What is in the queue behind the datagrams that filled it. */
static void expect_arrived(struct mail *mail, const char *text)
{
    char found[16];
    empty_queue(mail);
    if (text)
        cr_assert_eq(recv(mail->receiver, found, sizeof found, MSG_DONTWAIT),
                     (ssize_t)strlen(text));
    cr_assert_eq(recv(mail->receiver, found, sizeof found, MSG_DONTWAIT), -1,
                 "something else has arrived");
}

/* ---- each call that sends ---- */

static struct iovec  halves[] = { { (char *)"he", 2 }, { (char *)"llo", 3 } };
static struct msghdr message = { .msg_iov = halves, .msg_iovlen = 2 };

static struct unr_op *describe_send(struct unr_op *op, const struct mail *mail)
{
    return unr_send(op, mail->sender, "hello", 5, 0);
}

static struct unr_op *describe_send_all(struct unr_op *op, const struct mail *mail)
{
    return unr_send(op, mail->sender, "hello", 5, MSG_WAITALL);
}

static struct unr_op *describe_sendto(struct unr_op *op, const struct mail *mail)
{
    return unr_sendto(op, mail->sender, "hello", 5, 0, NULL, 0);
}

static struct unr_op *describe_sendto_address(struct unr_op *op, const struct mail *mail)
{
    return unr_sendto(op, mail->sender, "hello", 5, 0, (const struct sockaddr *)&mail->address,
                      mail->len);
}

static struct unr_op *describe_sendmsg(struct unr_op *op, const struct mail *mail)
{
    (void)mail;
    return unr_sendmsg(op, mail->sender, &message, 0);
}

static struct unr_op *describe_write(struct unr_op *op, const struct mail *mail)
{
    return unr_write(op, mail->sender, "hello", 5, -1);
}

static struct unr_op *describe_writev(struct unr_op *op, const struct mail *mail)
{
    return unr_writev(op, mail->sender, halves, 2, -1);
}

typedef struct unr_op *describe_fn(struct unr_op *op, const struct mail *mail);

static describe_fn *const calls[] = { describe_send,           describe_send_all, describe_sendto,
                                      describe_sendto_address, describe_sendmsg,  describe_write,
                                      describe_writev };
enum { CALLS = sizeof calls / sizeof *calls };

/* ---- what holds ---- */

/* A datagram from a connected socket waits until its receiver has room, and arrives whole. */
Test(datagram, waits_for_room_and_arrives_whole)
{
    for (unsigned i = 0; i < CALLS; i++) {
        struct mail mail = full_mail(true);
        struct seen seen = { 0 };
        start(&seen, calls[i](&seen.op, &mail));
        submit();
        cr_assert_eq(seen.runs, 0, "call %u does not wait", i);
        receive(&mail, 1);
        mail.queued--;
        finish(&seen);
        cr_assert_eq(seen.result.error, 0, "call %u: %s", i, unr_explain_op(&seen.op));
        cr_assert_eq(seen.result.bytes, 5);
        expect_arrived(&mail, "hello");
        close(mail.sender);
        close(mail.receiver);
    }
    close_loop();
}

/* One that is cancelled while it waits has not been sent, and no empty one in its place. */
Test(datagram, cancelled_is_not_sent)
{
    for (unsigned i = 0; i < CALLS; i++) {
        struct mail mail = full_mail(true);
        struct seen seen = { 0 };
        start(&seen, calls[i](&seen.op, &mail));
        submit();
        cr_assert(unr_cancel(&seen.op, UNR_CANCEL_ALL));
        finish(&seen);
        cr_assert_eq(seen.result.error, -ECANCELED);
        cr_assert_eq(seen.result.bytes, 0);
        expect_arrived(&mail, NULL);
        close(mail.sender);
        close(mail.receiver);
    }
    close_loop();
}

/* The kernel cannot wait for the receiver of a socket that is not connected.  If the datagram is
 * lost, then that is the error, and the words say what may have gone out in its place: also those
 * of a deadline around it. */
Test(datagram, lost_to_an_address_is_an_error)
{
    struct mail         mail = full_mail(false);
    struct seen         seen = { 0 };
    struct unr_deadline deadline = { 0 };
    char                found[8];
    describe_sendto_address(&seen.op, &mail);
    start(&seen, unr_cancel_after(&deadline, &seen.op, UNR_SEC(10)));
    submit();
    receive(&mail, 1);
    mail.queued--;
    finish(&seen);
    empty_queue(&mail);
    ssize_t n = recv(mail.receiver, found, sizeof found, MSG_DONTWAIT);
    if (seen.result.error == 0) {
        cr_assert_eq(seen.result.bytes, 5);
        cr_assert_eq(n, 5);
    } else {
        cr_assert_eq(seen.result.error, -EAGAIN, "%s", unr_explain_op(&seen.op));
        cr_assert_eq(seen.result.bytes, 0);
        cr_assert_leq(n, 0);
        cr_assert_not_null(strstr(unr_explain_op(&seen.op), "an empty one may have gone out"));
        cr_assert_not_null(strstr(unr_explain_op(&deadline.op), "an empty one may have gone out"));
    }
    end_mail(&mail);
}

/* So it is where unr_close() has closed the number meanwhile, and it is another file's. */
Test(datagram, lost_on_a_closed_number_is_an_error)
{
    struct mail mail = full_mail(false);
    struct seen seen = { 0 }, closer = { 0 };
    char        found[8];
    start(&seen, describe_sendto_address(&seen.op, &mail));
    submit();
    cr_assert_eq(seen.runs, 0);
    start(&closer, unr_close(&closer.op, mail.sender));
    finish(&closer);
    cr_assert_eq(open("/dev/null", O_RDWR | O_CLOEXEC), mail.sender);
    empty_queue(&mail);
    finish(&seen);
    ssize_t n = recv(mail.receiver, found, sizeof found, MSG_DONTWAIT);
    cr_assert_eq(seen.result.error, n == 5 ? 0 : -EAGAIN, "%s", unr_explain_op(&seen.op));
    cr_assert_eq(seen.result.bytes, n == 5 ? 5 : 0);
    end_mail(&mail);
}

/* With MSG_DONTWAIT one that finds no room is not sent at all: the socket need not be connected. */
Test(datagram, that_is_not_to_wait_is_not_lost)
{
    for (int connected = 0; connected < 2; connected++) {
        struct mail mail = full_mail(connected);
        struct seen seen = { 0 };
        start(&seen, unr_sendto(&seen.op, mail.sender, "hello", 5, MSG_DONTWAIT,
                                (struct sockaddr *)&mail.address, mail.len));
        finish(&seen);
        cr_assert_eq(seen.result.error, -EAGAIN);
        cr_assert_null(strstr(unr_explain_op(&seen.op), "empty"));
        expect_arrived(&mail, NULL);
        seen.runs = 0;
        start(&seen, unr_sendto(&seen.op, mail.sender, "hello", 5, MSG_DONTWAIT,
                                (struct sockaddr *)&mail.address, mail.len));
        finish(&seen);
        cr_assert_eq(seen.result.bytes, 5);
        expect_arrived(&mail, "hello");
        close(mail.sender);
        close(mail.receiver);
    }
    close_loop();
}

/* An empty datagram is none that was lost. */
Test(datagram, that_is_empty_is_sent)
{
    struct mail mail = new_mail(true);
    struct seen seen = { 0 };
    start(&seen, unr_send(&seen.op, mail.sender, NULL, 0, 0));
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.bytes, 0);
    expect_arrived(&mail, "");
    end_mail(&mail);
}

/* Many in a row wait, each of them. */
Test(datagram, each_of_many_waits)
{
    struct mail mail = full_mail(true);
    for (unsigned i = 0; i < 100; i++) {
        struct seen seen = { 0 };
        start(&seen, describe_send(&seen.op, &mail));
        submit();
        cr_assert_eq(seen.runs, 0);
        empty_queue(&mail);
        finish(&seen);
        cr_assert_eq(seen.result.bytes, 5, "%u: %s", i, unr_explain_op(&seen.op));
        expect_arrived(&mail, "hello");
        fill_queue(&mail);
    }
    end_mail(&mail);
}

/* The loop takes a descriptor for what it was: where the number is a datagram socket's by now, the
 * first datagram may be lost, with an error.  The next one waits. */
Test(datagram, on_a_number_that_was_a_streams)
{
    int         pair[2];
    struct seen seen = { 0 };
    unix_pair(pair);
    start(&seen, unr_send(&seen.op, pair[0], "x", 1, 0));
    run();
    cr_assert_eq(seen.result.bytes, 1);

    struct mail mail = full_mail(true);
    int         own = mail.sender;
    cr_assert_eq(dup3(own, pair[0], O_CLOEXEC), pair[0]);
    mail.sender = pair[0];
    close(own);
    for (unsigned i = 0; i < 2; i++) {
        seen = (struct seen){ 0 };
        start(&seen, describe_send(&seen.op, &mail));
        submit();
        empty_queue(&mail);
        finish(&seen);
        bool sent = seen.result.error == 0;
        cr_assert(sent || (i == 0 && seen.result.error == -EAGAIN));
        cr_assert_eq(seen.result.bytes, sent ? 5 : 0);
        char found[8];
        cr_assert_eq(recv(mail.receiver, found, sizeof found, MSG_DONTWAIT), sent ? 5 : 0);
        fill_queue(&mail);
    }
    close(pair[1]);
    end_mail(&mail);
}

/* What is known of one number is not taken for what another carries, however far apart they are. */
Test(datagram, beside_a_stream_on_a_number_far_away)
{
    for (int apart = NUMBERS_APART; apart <= NUMBERS_APART_MAX; apart *= 2) {
        int         pair[2];
        struct mail mail = full_mail(true);
        unix_pair(pair);
        int stream = dup_far(pair[0], mail.sender + apart);
        for (unsigned i = 0; i < 3; i++) {
            struct seen on_stream = { 0 }, seen = { 0 };
            start(&on_stream, unr_send(&on_stream.op, stream, "x", 1, 0));
            finish(&on_stream);
            cr_assert_eq(on_stream.result.bytes, 1);
            start(&seen, describe_send(&seen.op, &mail));
            submit();
            empty_queue(&mail);
            finish(&seen);
            cr_assert_eq(seen.result.bytes, 5, "%d apart: %s", apart, unr_explain_op(&seen.op));
            expect_arrived(&mail, "hello");
            fill_queue(&mail);
        }
        close(stream);
        close_pair(pair);
        close(mail.sender);
        close(mail.receiver);
        unr_loop_close(loop); /* the next one knows of no number yet */
        loop = open_loop_with(0, 0);
    }
    close_loop();
}
