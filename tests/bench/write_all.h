/* SPDX-License-Identifier: MIT */
/* What the programs that write much to a slow reader share:
 *     write_all_LIBRARY MIB      writes so many buffers of 1 MiB, one after another, to a
 *     connection of the loopback with a
 *                                small buffer, whose other end another process reads */
#ifndef BENCH_WRITE_ALL_H
#define BENCH_WRITE_ALL_H

#include "bench.h"

#include <sys/wait.h>

#define WRITE_ALL_SIZE (1 << 20)

static char  write_all_bytes[WRITE_ALL_SIZE];
static pid_t write_all_reader;

static inline void write_all_read(int fd)
{
    static char bytes[1 << 16];
    ssize_t     n;

    alarm(BENCH_MAX_RUN_S);
    pin(PLACE_DRIVER);
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        ;
    _exit(n < 0);
}

/* The descriptor to write to. */
static inline int write_all_begin(void)
{
    struct sockaddr_in address = loopback(0);
    socklen_t          len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), reader,
        small = 1 << 16;

    bench_begin();
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    if (bind(listener, (struct sockaddr *)&address, len) < 0 || listen(listener, 1) < 0
        || getsockname(listener, (struct sockaddr *)&address, &len) < 0
        || connect(fd, (struct sockaddr *)&address, len) < 0
        || (reader = accept(listener, NULL, NULL)) < 0)
        die("connect", errno);
    close(listener);
    fflush(stdout);
    write_all_reader = fork();
    if (write_all_reader == 0) {
        close(fd);
        write_all_read(reader);
    }
    close(reader);
    pin(PLACE_SERVER);
    return fd;
}

/* Waits until all is read. */
static inline void write_all_report(int fd, long mib, int64_t begin_ns, int64_t begin_cpu_ns)
{
    int     status;
    int64_t cpu = cpu_ns() - begin_cpu_ns;

    close(fd);
    if (waitpid(write_all_reader, &status, 0) < 0 || status != 0)
        die("the reader", EIO);
    report("write_all.rate", (double)mib * 1e9 / (double)(now_ns() - begin_ns), "MiB/s");
    report("write_all.cpu", (double)cpu / 1e3 / (double)mib, "us");
}

#endif
