/* SPDX-License-Identifier: MIT */
/* The echo on plain liburing, in two ways: a multishot recv for each connection with a ring of
 * provided buffers, and send; and a recv and a send in turn, each connection with a buffer. */
#include "echo.h"
#include "ring.h"

enum what { RECV, SEND };

static struct io_uring ring;
static const int      *sockets;

/* user_data: what, the connection, and of a send its length and its buffer. */
static uint64_t tag(enum what what, long i, size_t len, unsigned buffer)
{
    return (uint64_t)what | (uint64_t)i << 1 | (uint64_t)len << 20 | (uint64_t)buffer << 44;
}

static enum what what_of(const struct io_uring_cqe *cqe)
{
    return cqe->user_data & 1;
}

static long connection_of(const struct io_uring_cqe *cqe)
{
    return cqe->user_data >> 1 & 0x7ffff;
}

static size_t length_of(const struct io_uring_cqe *cqe)
{
    return cqe->user_data >> 20 & 0xffffff;
}

static void start_send(long i, const char *data, size_t len, unsigned buffer)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    io_uring_prep_send(sqe, sockets[i], data, len, MSG_NOSIGNAL);
    io_uring_sqe_set_data64(sqe, tag(SEND, i, len, buffer));
}

static void turn(void (*arrived)(const struct io_uring_cqe *cqe))
{
    struct io_uring_cqe *cqe;
    unsigned             head, n = 0;

    ring_wait(&ring, 1);
    io_uring_for_each_cqe(&ring, head, cqe) {
        arrived(cqe);
        n++;
    }
    io_uring_cq_advance(&ring, n);
}

/* ---- multishot ---- */

static struct io_uring_buf_ring *provided;
static char                     *memory;
static unsigned                  buffers, given;

static char *buffer_at(unsigned buffer)
{
    return memory + (size_t)buffer * ECHO_BUFFER;
}

static void arm(long i)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    io_uring_prep_recv_multishot(sqe, sockets[i], NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    io_uring_sqe_set_data64(sqe, tag(RECV, i, 0, 0));
}

static void give(unsigned buffer)
{
    io_uring_buf_ring_add(provided, buffer_at(buffer), ECHO_BUFFER, (unsigned short)buffer,
                          (int)buffers - 1, (int)given++);
}

static void give_all(void)
{
    io_uring_buf_ring_advance(provided, (int)given);
    given = 0;
}

/* As many buffers as connections, and 64 at least: no more than the server needs, so that they stay
 * in the cache. */
static void open_multishot(const int *fds, long n, size_t size)
{
    struct io_uring_buf_reg reg = { 0 };
    unsigned                b;
    long                    i;

    (void)size;
    for (buffers = 64; buffers < n; buffers *= 2)
        ;
    sockets = fds;
    ring_open(&ring);
    if (posix_memalign((void **)&provided, 4096, buffers * sizeof(struct io_uring_buf)) != 0
        || posix_memalign((void **)&memory, 4096, (size_t)buffers * ECHO_BUFFER) != 0)
        die("posix_memalign", ENOMEM);
    reg.ring_addr = (uintptr_t)provided;
    reg.ring_entries = buffers;
    if (io_uring_register_buf_ring(&ring, &reg, 0) < 0)
        die("io_uring_register_buf_ring", EINVAL);
    io_uring_buf_ring_init(provided);
    for (b = 0; b < buffers; b++)
        give(b);
    give_all();
    for (i = 0; i < n; i++)
        arm(i);
    io_uring_submit(&ring);
}

static void shot_or_send(const struct io_uring_cqe *cqe)
{
    unsigned buffer;

    if (what_of(cqe) == SEND) {
        echo_sent(length_of(cqe), cqe->res);
        give((unsigned)(cqe->user_data >> 44));
        return;
    }
    if (cqe->res > 0) {
        buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        start_send(connection_of(cqe), buffer_at(buffer), (size_t)cqe->res, buffer);
    } else if (cqe->res != -ENOBUFS) {
        die("recv", cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        arm(connection_of(cqe));
}

static void turn_multishot(void)
{
    turn(shot_or_send);
    give_all();
}

/* ---- one at a time ---- */

static char  *own;
static size_t own_size;

static void start_recv(long i)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    io_uring_prep_recv(sqe, sockets[i], own + (size_t)i * own_size, own_size, 0);
    io_uring_sqe_set_data64(sqe, tag(RECV, i, 0, 0));
}

static void open_recv(const int *fds, long n, size_t size)
{
    long i;

    sockets = fds;
    own_size = size;
    own = malloc((size_t)n * size);
    ring_open(&ring);
    for (i = 0; i < n; i++)
        start_recv(i);
    io_uring_submit(&ring);
}

static void recv_or_send(const struct io_uring_cqe *cqe)
{
    long i = connection_of(cqe);

    if (what_of(cqe) == SEND) {
        echo_sent(length_of(cqe), cqe->res);
        start_recv(i);
    } else if (cqe->res <= 0) {
        die("recv", cqe->res);
    } else {
        start_send(i, own + (size_t)i * own_size, (size_t)cqe->res, 0);
    }
}

static void turn_recv(void)
{
    turn(recv_or_send);
}

const struct echo_server echo_liburing = { "liburing", open_multishot, turn_multishot };
const struct echo_server echo_liburing_recv = { "liburing_recv", open_recv, turn_recv };
