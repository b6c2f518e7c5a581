/* SPDX-License-Identifier: MIT */
/* An echo server for datagrams: each goes back to its sender.
 *
 * One multishot receive takes all of them.  The kernel chooses a buffer of the pool for each, and
 * puts the sender's name and the datagram there.  The answer is sent from that very buffer: nothing
 * is copied here.  The buffer goes back to the pool when the answer has been sent.
 *
 * While all buffers have answers in them, datagrams wait in the socket, and the receive goes on
 * with the next buffer that comes back.  Ctrl-C cancels the receive; the answers under way are
 * sent.
 *
 *      udp_echo 7000           # then: socat - UDP:127.0.0.1:7000 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <unring.h>

enum { BUFFERS = 256 };

struct answer {
    struct answer *next; /* on the list of those that are free */
    struct unr_op  send;
    struct msghdr  message;
    struct iovec   payload;
};

static struct unr_loop *loop;
static struct unr_pool *pool;
static struct unr_op    receive;
static int              sock;
static bool             stopped;
static uint64_t         received, answered;

/* There is one for each buffer, so there is always one for a buffer that has come. */
static struct answer  answers[BUFFERS];
static struct answer *free_answers;

static void go_on(void);

static void sent(struct unr_op *op)
{
    struct answer *a = unr_container_of(op, struct answer, send);
    if (op->result.error)
        puts(unr_explain_op(op));
    else
        answered++;
    unr_pool_give(pool, a->message.msg_name); /* any address in the buffer */
    a->next = free_answers;
    free_answers = a;
    go_on();
}

static void came(struct unr_op *op)
{
    struct msghdr from;
    void         *data = unr_shot_datagram(op, &from);

    if (data) {
        struct answer *a = free_answers;
        free_answers = a->next;
        a->payload = (struct iovec){ data, op->result.bytes };
        a->message = (struct msghdr){ .msg_name = from.msg_name,
                                      .msg_namelen = from.msg_namelen,
                                      .msg_iov = &a->payload,
                                      .msg_iovlen = 1 };
        received++;
        unr_start(loop, unr_sendmsg(&a->send, sock, &a->message, 0), sent, NULL);
    }
    if (op->result.flags & UNR_MORE)
        return;
    if (op->result.error && op->result.error != -ENOBUFS) {
        puts(unr_explain_op(op));
        stopped = true;
    } else if (!op->result.error) { /* behind an empty datagram, say */
        go_on();
    } /* without a buffer it goes on when one comes back: sent() */
}

static void go_on(void)
{
    /* How much room a buffer keeps for the name of the sender. */
    static struct msghdr layout = { .msg_namelen = sizeof(struct sockaddr_storage) };
    if (!stopped && !unr_in_flight(&receive))
        unr_start(loop, unr_recvmsg_multishot(&receive, sock, pool, &layout, 0), came, NULL);
}

static void interrupted(struct unr_op *op)
{
    (void)op;
    stopped = true;
    unr_cancel(&receive, UNR_CANCEL_TOTAL);
}

static int bind_to_argument(int argc, char **argv)
{
    struct address address;
    char           text[ADDRESS_TEXT];
    if (argc > 2 || !parse_address(argc == 2 ? argv[1] : "0", &address))
        die(0, "udp_echo [[HOST:]PORT]");
    int fd = socket(address.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address.storage, address.len) < 0)
        die(errno, "bind");
    address = local_address(fd);
    printf("on %s, datagrams\n", format_address(&address, text));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    static struct unr_sigwait interrupt;
    struct unr_pool_options   options = {
          .size = sizeof options,
          .count = BUFFERS,
          .buffer_size = 66048, /* the longest datagram, with its sender's name */
    };

    sock = bind_to_argument(argc, argv);
    block_interrupts();
    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    error = unr_pool_open(&pool, loop, &options);
    if (error)
        die(0, unr_explain(error));
    for (unsigned i = 0; i < BUFFERS; i++) {
        answers[i].next = free_answers;
        free_answers = &answers[i];
    }
    go_on();
    unr_start(loop, unr_sigwait(&interrupt, interrupts, 2), interrupted, NULL);
    error = unr_loop_run(loop);
    unr_pool_close(pool);
    printf("%" PRIu64 " datagrams, %" PRIu64 " answers\n", received, answered);
    close(sock);
    return unr_loop_close(loop) || error;
}
