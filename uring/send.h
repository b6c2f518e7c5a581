/* SPDX-License-Identifier: MIT */
/* The sends that a stream is written to with. */
#ifndef UNRI_SEND_H
#define UNRI_SEND_H

#include <sys/socket.h>
#include <unring/op.h>

/* Describe a send of one piece, or of several, without flags.  `len` is at most INT_MAX.  On a loop
 * with UNR_LOOP_SEND_NOW the send is tried at once, as unr_send_now() is. */
struct unr_op *unri_send_step(struct unr_op *op, int fd, const void *buf, size_t len);
struct unr_op *unri_sendmsg_step(struct unr_op *op, int fd, const struct msghdr *msg);

#endif
