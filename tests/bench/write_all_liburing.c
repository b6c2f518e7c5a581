/* SPDX-License-Identifier: MIT */
/* Much written on plain liburing, with MSG_WAITALL: the kernel goes on by itself where the
 * connection takes only a part.  What is measured and the command line are in write_all.h. */
#include "ring.h"
#include "write_all.h"

static struct io_uring ring;

static void write_one(int fd)
{
    struct io_uring_cqe *cqe;
    size_t               done = 0;

    while (done < sizeof write_all_bytes) {
        io_uring_prep_send(ring_sqe(&ring), fd, write_all_bytes + done,
                           sizeof write_all_bytes - done, MSG_WAITALL | MSG_NOSIGNAL);
        do
            ring_wait(&ring, 1);
        while (io_uring_peek_cqe(&ring, &cqe) < 0);
        if (cqe->res <= 0)
            die("send", cqe->res);
        done += (size_t)cqe->res;
        io_uring_cqe_seen(&ring, cqe);
    }
}

int main(int argc, char **argv)
{
    long    mib = number(argc, argv, 1), i;
    int     fd = write_all_begin();
    int64_t begin, begin_cpu;

    ring_open(&ring);
    begin = now_ns();
    begin_cpu = cpu_ns();
    for (i = 0; i < mib; i++)
        write_one(fd);
    write_all_report(fd, mib, begin, begin_cpu);
    io_uring_queue_exit(&ring);
    return 0;
}
