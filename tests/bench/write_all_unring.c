/* SPDX-License-Identifier: MIT */
/* Much written with unr_write_all().  What is measured and the command line are in write_all.h. */
#include <unring.h>

#include "write_all.h"

static struct unr_loop    *loop;
static struct unr_transfer transfer;
static struct unr_stream   stream;
static long                left;

static void on_written(struct unr_op *op)
{
    if (op && op->result.error)
        die("unr_write_all", op->result.error);
    if (left-- > 0)
        unr_start(loop, unr_write_all(&transfer, &stream, write_all_bytes, sizeof write_all_bytes),
                  on_written, NULL);
}

int main(int argc, char **argv)
{
    long    mib = number(argc, argv, 1);
    int     fd = write_all_begin(), error = unr_loop_open(&loop, NULL);
    int64_t begin, begin_cpu;

    if (error)
        die("unr_loop_open", error);
    unr_stream_socket(&stream, fd);
    left = mib;
    begin = now_ns();
    begin_cpu = cpu_ns();
    on_written(NULL);
    error = unr_loop_run(loop);
    if (error)
        die("unr_loop_run", error);
    write_all_report(fd, mib, begin, begin_cpu);
    unr_loop_close(loop);
    return 0;
}
