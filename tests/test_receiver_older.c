/* SPDX-License-Identifier: MIT */
/* Receivers with a pool that the kernel does not know, as before Linux 6.7: the tests of
 * test_receiver_pool.c, and what holds for these alone. */
#define SUPPORT_KERNEL
#define WITH_OLDER_POOL
#include "test_receiver_pool.c"

#include <sys/ioctl.h>

static int unread_in(int fd)
{
    int bytes = -1;
    cr_assert_eq(ioctl(fd, FIONREAD, &bytes), 0);
    return bytes;
}

/* Bytes that nobody reads stay in the socket, and a view takes out one buffer of them. */
Test(receiver, nothing_is_read_for_nobody)
{
    static char    bytes[10000];
    struct reading r = { .read.runs = 0 };
    size_t         len;
    unix_pair(r.fds);
    init(&r);
    cr_assert_eq(write(r.fds[1], bytes, sizeof bytes), sizeof bytes);
    turn(4);
    cr_assert_eq(held_buffers(), 0);
    cr_assert_eq(view_once(&r), 4096);
    turn(4);
    cr_assert_eq(unr_receiver_held(&r.receiver), 4096);
    cr_assert_eq(unread_in(r.fds[0]), sizeof bytes - 4096);
    void *kept = unr_receiver_keep(&r.receiver, &len);
    cr_assert_eq(len, 4096);
    start_read(&r, 64);
    finish(&r.read);
    stop(&r);
    cr_assert_eq(unread_in(r.fds[0]), sizeof bytes - 4096 - 64);
    finish_reading(&r);
    unr_pool_give(pool, kept);
    close_all();
}

/* A read that waits is cancelled, and the next one waits, without an SQE. */
Test(receiver, cancel_and_read_again_submits_nothing)
{
    struct reading   r = { .read.runs = 0 };
    struct unr_stats before, after;
    unix_pair(r.fds);
    init(&r);
    start_read(&r, 64);
    submit();
    unr_loop_stats(loop, &before, sizeof before);
    for (int i = 0; i < 100; i++) {
        unr_cancel(&r.read.op, UNR_CANCEL_ALL);
        finish(&r.read);
        start_read(&r, 64);
    }
    unr_loop_stats(loop, &after, sizeof after);
    cr_assert_eq(after.enters, before.enters);
    write_all(r.fds[1], "x");
    finish(&r.read);
    cr_assert_eq(r.read.result.bytes, 1);
    finish_reading(&r);
    close_all();
}
