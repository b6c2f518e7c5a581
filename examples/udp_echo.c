/* SPDX-License-Identifier: MIT */
/* An echo server for datagrams: each goes back to its sender.
 *
 * A receiver with a pool takes all of them: each datagram lies in a buffer of the pool, with its
 * sender's name.  The buffer is kept, and the answer is sent from that very memory: nothing is
 * copied here.  The buffer goes back to the pool when the answer has been sent.
 *
 * While all buffers have answers in them, datagrams wait in the socket, and the read goes on with
 * the next buffer that comes back.  Ctrl-C stops the receiver; the answers under way are sent.
 *
 *      udp_echo 7000           # then: socat - UDP:127.0.0.1:7000 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <unring.h>

enum {
    BUFFERS = 256,
    BUFFER_SIZE = 66048, /* the longest datagram, with its sender's name */
};

struct answer {
    struct answer *next; /* on the list of those that are free */
    struct unr_op  send;
    struct msghdr  message;
    struct iovec   payload;
};

static struct unr_loop    *loop;
static struct unr_pool    *pool;
static struct unr_receiver receiver;
static struct unr_op       receive, stop;
static int                 sock;
static uint64_t            received, answered;

/* There is one for each buffer, so there is always one for a buffer that has come. */
static struct answer  answers[BUFFERS];
static struct answer *free_answers;

static void sent(struct unr_op *op)
{
    struct answer *a = unr_container_of(op, struct answer, send);
    if (op->result.error)
        puts(unr_explain_op(op));
    else
        answered++;
    unr_pool_give(pool, a->payload.iov_base); /* any address in the buffer */
    a->next = free_answers;
    free_answers = a;
}

/* The sender's name is in the buffer, too, and so both are kept together. */
static void answer_first(void)
{
    struct answer *a = free_answers;
    socklen_t      name_len;
    const void    *name = unr_receiver_name(&receiver, &name_len);
    free_answers = a->next;
    a->payload.iov_base = unr_receiver_keep(&receiver, &a->payload.iov_len);
    a->message = (struct msghdr){ .msg_name = (void *)(uintptr_t)name,
                                  .msg_namelen = name_len,
                                  .msg_iov = &a->payload,
                                  .msg_iovlen = 1 };
    received++;
    unr_start(loop, unr_sendmsg(&a->send, sock, &a->message, 0), sent, NULL);
}

static void came(struct unr_op *op)
{
    size_t len;
    if (op->result.error) {
        if (op->result.error != -ECANCELED)
            puts(unr_explain_op(op));
        return;
    }
    while (unr_receiver_data(&receiver, &len))
        answer_first();
    unr_start(loop, unr_receive_view(&receive, &receiver), came, NULL);
}

static void interrupted(struct unr_op *op)
{
    (void)op;
    unr_start(loop, unr_receiver_stop(&stop, &receiver), NULL, NULL);
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
          .buffer_size = BUFFER_SIZE,
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
    unr_receiver_init(&receiver, loop, pool, sock, BUFFERS * BUFFER_SIZE);
    unr_start(loop, unr_receive_view(&receive, &receiver), came, NULL);
    unr_start(loop, unr_sigwait(&interrupt, interrupts, 2), interrupted, NULL);
    error = unr_loop_run(loop);
    unr_receiver_free(&receiver);
    unr_pool_close(pool);
    printf("%" PRIu64 " datagrams, %" PRIu64 " answers\n", received, answered);
    close(sock);
    return unr_loop_close(loop) || error;
}
