/* SPDX-License-Identifier: MIT */
/* What a program lends to the kernel and then does not leave alone: each of these scenarios is
 * meant to fail, in the words of the simulated kernel.  And what the kernel leaves alone itself. */
#include "scenario.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- an operation, and memory of each kind that it can be lent ---- */

struct lender {
    struct unr_loop   *loop;
    struct unr_op      op;
    int                fds[2], listener, epoll, file;
    int                pipe[2];
    char              *heap;
    char               buf[16];
    struct iovec       iov[2];
    struct msghdr      msg;
    struct sockaddr_in address;
    socklen_t          address_len;
    siginfo_t          child;
    struct epoll_event event;
    struct statx       stat;
};

/* Describes an operation, and says which of the memory that it is lent the kernel writes. */
struct lent_type {
    struct unr_op *(*describe)(struct lender *l, void **memory);
};

static struct unr_op *recv_lent(struct lender *l, void **memory)
{
    *memory = &l->buf[ROOM - 1];
    return unr_recv(&l->op, l->fds[0], l->buf, sizeof l->buf, 0);
}

static struct unr_op *readv_lent(struct lender *l, void **memory)
{
    l->iov[0] = (struct iovec){ l->buf, 3 };
    l->iov[1] = (struct iovec){ l->buf + 8, 3 };
    *memory = &l->buf[9];
    return unr_readv(&l->op, l->fds[0], l->iov, 2, -1);
}

static struct unr_op *recvmsg_lent(struct lender *l, void **memory)
{
    l->iov[0] = (struct iovec){ l->buf, sizeof l->buf };
    l->msg = (struct msghdr){ .msg_iov = l->iov,
                              .msg_iovlen = 1,
                              .msg_name = &l->address,
                              .msg_namelen = sizeof l->address };
    *memory = &l->address.sin_port;
    return unr_recvmsg(&l->op, l->fds[0], &l->msg, 0);
}

static struct unr_op *accept_lent(struct lender *l, void **memory)
{
    l->address_len = sizeof l->address;
    *memory = &l->address.sin_addr;
    return unr_accept(&l->op, l->listener, (struct sockaddr *)&l->address, &l->address_len, 0);
}

static struct unr_op *accept_len_lent(struct lender *l, void **memory)
{
    struct unr_op *op = accept_lent(l, memory);
    *memory = &l->address_len;
    return op;
}

static struct unr_op *waitid_lent(struct lender *l, void **memory)
{
    *memory = &l->child.si_status;
    return unr_waitid(&l->op, P_ALL, 0, &l->child, WEXITED);
}

static struct unr_op *epoll_lent(struct lender *l, void **memory)
{
    *memory = &l->event;
    return unr_epoll_wait(&l->op, l->epoll, &l->event, 1);
}

static struct unr_op *statx_lent(struct lender *l, void **memory)
{
    *memory = &l->stat.stx_size;
    return unr_statx(&l->op, AT_FDCWD, "missing", 0, STATX_BASIC_STATS, &l->stat);
}

static struct unr_op *getxattr_lent(struct lender *l, void **memory)
{
    *memory = l->buf;
    return unr_getxattr(&l->op, "missing", "user.x", l->buf, sizeof l->buf);
}

static struct unr_op *fgetxattr_lent(struct lender *l, void **memory)
{
    *memory = l->buf;
    return unr_fgetxattr(&l->op, l->file, "user.x", l->buf, sizeof l->buf);
}

static struct unr_op *pipe_lent(struct lender *l, void **memory)
{
    *memory = &l->pipe[1];
    return unr_pipe(&l->op, l->pipe, 0);
}

static void open_lender(struct lender *l)
{
    *l = (struct lender){ .loop = open_small_loop(), .pipe = { -1, -1 } };
    unr_sim_socketpair(l->fds, 0);
    l->listener = unr_sim_listener(80, 1);
    l->epoll = unr_sim_epoll(l->fds[0], EPOLLIN);
    l->file = unr_sim_file(NULL, 0);
    unr_sim_child();
}

static void close_lender(struct lender *l)
{
    close_loop(l->loop);
    for (int i = 0; i < 2; i++) {
        unr_sim_close(l->fds[i]);
        if (l->pipe[i] >= 0)
            unr_sim_close(l->pipe[i]);
    }
    unr_sim_close(l->listener);
    unr_sim_close(l->epoll);
    unr_sim_close(l->file);
}

/* One byte of it is changed after the kernel has begun, and before `done`. */
static void written(const struct scenario *scenario)
{
    const struct lent_type *type = scenario->parameter;
    struct lender           l;
    void                   *memory;
    open_lender(&l);
    unr_start(l.loop, type->describe(&l, &memory), NULL, NULL);
    unr_loop_run_once(l.loop, 0);
    if (unr_in_flight(&l.op))
        *(char *)memory ^= 1;
    unr_cancel(&l.op, UNR_CANCEL_ALL);
    unr_loop_run(l.loop);
    close_lender(&l);
}

/* The buffer of a read that was asked to cancel is freed before its `done`. */
static void freed(const struct scenario *scenario)
{
    struct lender l;
    (void)scenario;
    open_lender(&l);
    l.heap = malloc(ROOM);
    unr_start(l.loop, unr_recv(&l.op, l.fds[0], l.heap, ROOM, 0), NULL, NULL);
    unr_loop_run_once(l.loop, 0);
    unr_cancel(&l.op, UNR_CANCEL_ALL);
    free(l.heap);
    unr_loop_run(l.loop);
    close_lender(&l);
}

/* ---- memory that is lent twice ---- */

static void end_both(struct lender *l, struct unr_op *second)
{
    unr_loop_run_once(l->loop, 0);
    unr_cancel(&l->op, UNR_CANCEL_ALL);
    unr_cancel(second, UNR_CANCEL_ALL);
    unr_loop_run(l->loop);
    close_lender(l);
}

/* Two reads into one buffer; of the second, the first byte is the last of the first. */
static void lent_to_two_reads(const struct scenario *scenario)
{
    struct lender l;
    struct unr_op second = { 0 };
    (void)scenario;
    open_lender(&l);
    unr_start(l.loop, unr_recv(&l.op, l.fds[0], l.buf, 8, 0), NULL, NULL);
    unr_start(l.loop, unr_recv(&second, l.fds[1], l.buf + 7, 8, 0), NULL, NULL);
    end_both(&l, &second);
}

/* A write out of a buffer into which a read is still reading. */
static void lent_to_a_read_and_a_write(const struct scenario *scenario)
{
    struct lender l;
    struct unr_op second = { 0 };
    (void)scenario;
    open_lender(&l);
    unr_start(l.loop, unr_recv(&l.op, l.fds[0], l.buf, sizeof l.buf, 0), NULL, NULL);
    unr_start(l.loop, unr_send(&second, l.fds[0], l.buf, 1, 0), NULL, NULL);
    end_both(&l, &second);
}

/* Memory that the kernel only reads may be lent any number of times, and parts of a buffer that do
 * not overlap are memory of their own. */
static void lent_to_two_lawfully(const struct scenario *scenario)
{
    struct lender l;
    struct unr_op second = { 0 };
    char          taken[8];
    bool          sends = unr_sim_choose(2);
    (void)scenario;
    open_lender(&l);
    unr_start(l.loop,
              sends ? unr_send(&l.op, l.fds[0], l.buf, 8, 0)
                    : unr_recv(&l.op, l.fds[0], l.buf, 8, 0),
              NULL, NULL);
    unr_start(l.loop,
              sends ? unr_send(&second, l.fds[1], l.buf, 8, 0)
                    : unr_recv(&second, l.fds[1], l.buf + 8, 8, 0),
              NULL, NULL);
    unr_loop_run_once(l.loop, 0);
    for (int i = 0; i < 2; i++)
        unr_sim_read(l.fds[i], taken, sizeof taken);
    end_both(&l, &second);
}

/* ---- descriptors that are lent ---- */

/* close(2) of the descriptor of a read that was asked to cancel, before its `done`. */
static void closed_too_early(const struct scenario *scenario)
{
    struct lender l;
    (void)scenario;
    open_lender(&l);
    unr_start(l.loop, unr_recv(&l.op, l.fds[0], l.buf, sizeof l.buf, 0), NULL, NULL);
    unr_loop_run_once(l.loop, 0);
    unr_cancel(&l.op, UNR_CANCEL_ALL);
    unr_sim_close(l.fds[0]);
    unr_loop_run(l.loop);
}

/* A descriptor that a splice is lent as its second. */
static void closed_second(const struct scenario *scenario)
{
    struct lender l;
    int           from[2], to[2];
    (void)scenario;
    open_lender(&l);
    unr_sim_pipe(from, 0);
    unr_sim_pipe(to, 0);
    unr_start(l.loop, unr_splice(&l.op, from[0], -1, to[1], -1, 1, 0), NULL, NULL);
    unr_loop_run_once(l.loop, 0);
    unr_sim_close(from[0]);
    unr_loop_run(l.loop);
}

/* unr_close of a descriptor in use is lawful, and so is close(2) of one that has been used. */
static void closed_lawfully(const struct scenario *scenario)
{
    struct lender l;
    struct unr_op closer = { 0 };
    (void)scenario;
    open_lender(&l);
    unr_start(l.loop, unr_recv(&l.op, l.fds[0], l.buf, sizeof l.buf, 0), NULL, NULL);
    unr_loop_run_once(l.loop, 0);
    unr_start(l.loop, unr_close(&closer, l.fds[0]), NULL, NULL);
    unr_loop_run_once(l.loop, 0);
    unr_cancel(&l.op, UNR_CANCEL_ALL);
    unr_loop_run(l.loop);
    close_loop(l.loop);
    unr_sim_check(closer.result.error == 0, "it was closed");
    unr_sim_close(l.fds[1]);
    unr_sim_close(l.listener);
    unr_sim_close(l.epoll);
    unr_sim_close(l.file);
}

/* ---- a call that the simulation does not have ---- */

static void fill_unknown(void *sqe, void *context)
{
    (void)context;
    io_uring_prep_rw(IORING_OP_FILES_UPDATE, sqe, -1, NULL, 0, 0);
}

static void unknown_opcode(const struct scenario *scenario)
{
    struct lender l;
    (void)scenario;
    open_lender(&l);
    unr_start(l.loop, unr_sqe(&l.op, "files_update", UNR_CANCEL_NONE, fill_unknown, NULL), NULL,
              NULL);
    unr_loop_run(l.loop);
    close_lender(&l);
}

/* ---- what the kernel sets on success only ---- */

/* A call that fails or is cancelled leaves its result as it was. */
static void results_left_alone(const struct scenario *scenario)
{
    const struct lent_type *type = scenario->parameter;
    struct lender           l;
    void                   *memory;
    open_lender(&l);
    unr_start(l.loop, type->describe(&l, &memory), NULL, NULL);
    char before = *(char *)memory;
    for (unsigned turns = unr_sim_choose(2); turns; turns--)
        unr_loop_run_once(l.loop, 0);
    unr_cancel(&l.op, UNR_CANCEL_ALL);
    unr_loop_run(l.loop);
    if (l.op.result.error < 0)
        unr_sim_check(*(char *)memory == before, "a result is set on success only");
    close_lender(&l);
}

static void connects(void *fd)
{
    *(int *)fd = unr_sim_connect(80);
}

/* The address of a peer, and its length, are there with the connection. */
static void address_of_the_peer(const struct scenario *scenario)
{
    struct lender l;
    void         *memory;
    int           caller = -1;
    (void)scenario;
    open_lender(&l);
    unr_start(l.loop, accept_lent(&l, &memory), NULL, NULL);
    unr_sim_later(connects, &caller);
    unr_loop_run(l.loop);
    unr_sim_check(l.op.result.fd >= 0, "there is a connection");
    unr_sim_check(l.address.sin_family == AF_INET && l.address_len == sizeof l.address,
                  "and its address");
    unr_sim_close(l.op.result.fd);
    unr_sim_close(caller);
    close_lender(&l);
}

static const struct lent_type recv_type = { recv_lent };
static const struct lent_type readv_type = { readv_lent };
static const struct lent_type recvmsg_type = { recvmsg_lent };
static const struct lent_type accept_type = { accept_lent };
static const struct lent_type accept_len_type = { accept_len_lent };
static const struct lent_type waitid_type = { waitid_lent };
static const struct lent_type epoll_type = { epoll_lent };
static const struct lent_type statx_type = { statx_lent };
static const struct lent_type getxattr_type = { getxattr_lent };
static const struct lent_type fgetxattr_type = { fgetxattr_lent };
static const struct lent_type pipe_type = { pipe_lent };

#define WRITTEN(op) WRITTEN_SINCE(op, 0)
#define WRITTEN_SINCE(op, version)                                                                 \
    {                                                                                              \
        .name = "lent/written-" #op, .run = written, .parameter = &op##_type,                      \
        .fails_with = "written or freed", .since = version                                         \
    }
#define LEFT_ALONE(op)                                                                             \
    {                                                                                              \
        .name = "lent/left-alone-" #op, .run = results_left_alone, .parameter = &op##_type         \
    }

const struct scenario *scenarios_lent_table(void)
{
    static const struct scenario table[] = {
        WRITTEN(recv),
        WRITTEN(readv),
        WRITTEN(recvmsg),
        WRITTEN(accept),
        WRITTEN(accept_len),
        WRITTEN_SINCE(waitid, 607),
        WRITTEN_SINCE(epoll, 615),
        WRITTEN(statx),
        WRITTEN(getxattr),
        WRITTEN(fgetxattr),
        WRITTEN_SINCE(pipe, 616),
        { .name = "lent/freed", .run = freed, .fails_with = "freed" },
        { .name = "lent/to-two-reads",
          .run = lent_to_two_reads,
          .fails_with = "lent to recv, too" },
        { .name = "lent/to-a-read-and-a-write",
          .run = lent_to_a_read_and_a_write,
          .fails_with = "lent to send, too" },
        { .name = "lent/to-two-lawfully", .run = lent_to_two_lawfully },
        { .name = "lent/closed-too-early",
          .run = closed_too_early,
          .fails_with = "was closed while it was lent to recv" },
        { .name = "lent/closed-second",
          .run = closed_second,
          .fails_with = "was closed while it was lent to splice" },
        { .name = "lent/closed-lawfully", .run = closed_lawfully },
        { .name = "lent/unknown-opcode",
          .run = unknown_opcode,
          .fails_with = "which files_update submits" },
        LEFT_ALONE(accept),
        LEFT_ALONE(waitid),
        LEFT_ALONE(epoll),
        LEFT_ALONE(statx),
        LEFT_ALONE(getxattr),
        LEFT_ALONE(fgetxattr),
        LEFT_ALONE(pipe),
        { .name = "lent/address-of-the-peer", .run = address_of_the_peer },
        { .name = NULL },
    };
    return table;
}
