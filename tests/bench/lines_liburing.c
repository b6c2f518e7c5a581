/* SPDX-License-Identifier: MIT */
/* Lines read on plain liburing, by a loop written for that.  What is measured and the command line
 * are in lines.h. */
#include "lines.h"
#include "ring.h"

static struct io_uring ring;
static char            buffer[1 << 16];
static size_t          first, end; /* of what is in there */

static void receive(void)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    struct io_uring_cqe *cqe;

    if (first) {
        memmove(buffer, buffer + first, end - first);
        end -= first;
        first = 0;
    }
    io_uring_prep_recv(sqe, lines_fds[0], buffer + end, sizeof buffer - end, 0);
    ring_wait(&ring, 1);
    if (io_uring_peek_cqe(&ring, &cqe) < 0 || cqe->res <= 0)
        die("recv", EIO);
    end += (size_t)cqe->res;
    io_uring_cqe_seen(&ring, cqe);
}

static void read_lines(void)
{
    size_t searched = 0;
    char  *newline;
    int    more = 1;

    while (more) {
        newline = memchr(buffer + first + searched, '\n', end - first - searched);
        if (!newline) {
            searched = end - first;
            receive();
            continue;
        }
        more = lines_took(buffer + first, (size_t)(newline + 1 - (buffer + first)));
        first = (size_t)(newline + 1 - buffer);
        searched = 0;
    }
}

int main(int argc, char **argv)
{
    int64_t begin;

    lines_begin(argc, argv);
    ring_open(&ring);
    begin = cpu_ns();
    lines_write_some();
    read_lines();
    lines_report(argc, argv, begin);
    io_uring_queue_exit(&ring);
    return 0;
}
