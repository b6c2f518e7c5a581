/* SPDX-License-Identifier: MIT */
/* Receivers on the real kernel.  What the simulated one enumerates is in
 * tests/sim/scenarios/receivers.c.  test_receiver_pool.c runs the same tests with a pool, and more;
 * test_receiver_older.c with one that the kernel does not know. */
#include "support.h"

#include <linux/tls.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <pty.h>
#include <sys/eventfd.h>

#ifndef SOL_TLS
#define SOL_TLS 282
#endif

/* ---- without a pool, or with one ---- */

static struct unr_pool *pool;

static void open_pool(void)
{
#ifdef WITH_POOL
    pool = open_pool_of(64, 4096, 8);
#endif
}

static void open_all(void)
{
#ifdef WITH_OLDER_POOL
    hook_register = register_before_6_7;
#endif
    open_loop();
    open_pool();
}

static void close_all(void)
{
    unr_pool_close(pool);
    close_loop();
}

TestSuite(receiver, .init = open_all, .timeout = 60);

/* ---- a receiver, and what is read from it ---- */

struct reading {
    struct unr_receiver receiver;
    struct seen         read;
    struct seen         other;
    char                buf[4096];
    int                 fds[2]; /* [0] is the receiver's */
};

static void init(struct reading *r)
{
    unr_receiver_init(&r->receiver, loop, pool, r->fds[0], 0);
}

static void start_read(struct reading *r, size_t len)
{
    r->read.runs = 0;
    start(&r->read, unr_receive(&r->read.op, &r->receiver, r->buf, len));
}

/* Returns how many bytes a read brought, or its error. */
static int64_t read_once(struct reading *r, size_t len)
{
    start_read(r, len);
    finish(&r->read);
    return r->read.result.error ? r->read.result.error : (int64_t)r->read.result.bytes;
}

static void stop(struct reading *r)
{
    r->other.runs = 0;
    start(&r->other, unr_receiver_stop(&r->other.op, &r->receiver));
    finish(&r->other);
    cr_assert_eq(r->other.result.error, 0);
}

static void finish_reading(struct reading *r)
{
    r->other.runs = 0;
    start(&r->other, unr_cancel_close(&r->other.op, r->fds[0]));
    finish(&r->other);
    cr_assert_eq(r->other.result.error, 0);
    unr_receiver_free(&r->receiver);
    if (r->fds[1] >= 0)
        close(r->fds[1]);
}

typedef void pair_fn(int fds[2]);

#ifdef WITH_POOL
#define ON_FILES(name)
#else
static void pipe_pair(int fds[2])
{
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
}

static void terminal_pair(int fds[2])
{
    struct termios raw;
    cr_assert_eq(openpty(&fds[1], &fds[0], NULL, NULL, NULL), 0);
    tcgetattr(fds[0], &raw);
    cfmakeraw(&raw);
    tcsetattr(fds[0], TCSANOW, &raw);
}

#define ON_FILES(name)                                                                             \
    Test(receiver, name##_pipe)                                                                    \
    {                                                                                              \
        name(pipe_pair);                                                                           \
    }                                                                                              \
    Test(receiver, name##_terminal)                                                                \
    {                                                                                              \
        name(terminal_pair);                                                                       \
    }
#endif

static void datagram_pair(int fds[2])
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
}

static void record_pair(int fds[2])
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
}

/* Every test of this part runs on each. */
#define ON_EACH(name)                                                                              \
    static void name(pair_fn *pair);                                                               \
    Test(receiver, name##_unix)                                                                    \
    {                                                                                              \
        name(unix_pair);                                                                           \
    }                                                                                              \
    Test(receiver, name##_tcp)                                                                     \
    {                                                                                              \
        name(tcp_pair);                                                                            \
    }                                                                                              \
    ON_FILES(name)                                                                                 \
    Test(receiver, name##_datagrams)                                                               \
    {                                                                                              \
        name(datagram_pair);                                                                       \
    }                                                                                              \
    Test(receiver, name##_records)                                                                 \
    {                                                                                              \
        name(record_pair);                                                                         \
    }                                                                                              \
    static void name(pair_fn *pair)

/* Turns that take what has come though nobody waits for it: the loop has other work. */
static void turn(int times)
{
    struct unr_timer other = { 0 };
    unr_start(loop, unr_timer_after(&other, UNR_NEVER), NULL, NULL);
    for (int i = 0; i < times; i++)
        submit();
    unr_cancel(&other.op, UNR_CANCEL_ALL);
    submit();
}

/* ---- reads ---- */

ON_EACH(reads_what_is_there_and_what_comes)
{
    struct reading r = { .read.runs = 0 };
    pair(r.fds);
    init(&r);
    cr_assert_eq(write(r.fds[1], "one", 3), 3);
    cr_assert_eq(read_once(&r, 64), 3);
    cr_assert_eq(memcmp(r.buf, "one", 3), 0);
    start_read(&r, 64);
    submit();
    submit();
    cr_assert_eq(r.read.runs, 0, "there is nothing to read");
    cr_assert_eq(write(r.fds[1], "three", 5), 5);
    finish(&r.read);
    cr_assert_eq(r.read.result.bytes, 5);
    cr_assert_eq(memcmp(r.buf, "three", 5), 0);
    finish_reading(&r);
    close_all();
}

static void ends_in_its_turn(pair_fn *pair)
{
    struct reading r = { .read.runs = 0 };
    pair(r.fds);
    init(&r);
    turn(2);
    for (int i = 0; i < 100; i++) {
        cr_assert_eq(write(r.fds[1], "there", 5), 5);
        turn(i % 3);
        start_read(&r, 64);
        submit();
        cr_assert_eq(r.read.runs, 1, "what is there ends it in the next turn");
        start_read(&r, 64);
        submit();
        submit();
        cr_assert_eq(r.read.runs, 0);
        cr_assert_eq(write(r.fds[1], "comes", 5), 5);
        submit();
        cr_assert_eq(r.read.runs, 1, "what comes ends it in the turn in which it comes");
    }
    finish_reading(&r);
    close_all();
}

Test(receiver, read_ends_in_its_turn_unix)
{
    ends_in_its_turn(unix_pair);
}

Test(receiver, read_ends_in_its_turn_datagrams)
{
    ends_in_its_turn(datagram_pair);
}

/* Two messages are there before the first is read: whether a read takes one of them or both, no
 * third message is needed for the rest. */
ON_EACH(nothing_is_left_behind_a_short_read)
{
    struct reading r = { .read.runs = 0 };
    size_t         total = 0;
    pair(r.fds);
    init(&r);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(write(r.fds[1], "four", 4), 4);
    while (total < 12) {
        int64_t n = read_once(&r, 64);
        cr_assert_gt(n, 0);
        total += (size_t)n;
    }
    finish_reading(&r);
    close_all();
}

/* Smaller reads than what is there. */
ON_EACH(a_read_takes_no_more_than_its_room)
{
    struct reading r = { .read.runs = 0 };
    bool           cuts = pair == datagram_pair || pair == record_pair;
    pair(r.fds);
    init(&r);
    cr_assert_eq(write(r.fds[1], "abcdef", 6), 6);
    cr_assert_eq(read_once(&r, 4), 4);
    cr_assert_eq(memcmp(r.buf, "abcd", 4), 0);
    if (!cuts) {
        cr_assert_eq(read_once(&r, 4), 2);
        cr_assert_eq(memcmp(r.buf, "ef", 2), 0);
    }
    start_read(&r, 4);
    submit();
    cr_assert_eq(r.read.runs, 0, "the rest of a record is lost");
    unr_cancel(&r.read.op, UNR_CANCEL_TOTAL);
    finish(&r.read);
    finish_reading(&r);
    close_all();
}

ON_EACH(cancelled_before_it_is_armed_and_after)
{
    struct reading r = { .read.runs = 0 };
    pair(r.fds);
    init(&r);
    for (int turns = 0; turns < 3; turns++) {
        start_read(&r, 64);
        for (int i = 0; i < turns; i++)
            submit();
        cr_assert(unr_cancel(&r.read.op, UNR_CANCEL_TOTAL));
        submit();
        expect_cancelled(&r.read, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        cr_assert_eq(r.read.result.bytes, 0);
    }
    cr_assert_eq(write(r.fds[1], "later", 5), 5);
    cr_assert_eq(read_once(&r, 64), 5);
    finish_reading(&r);
    close_all();
}

/* The counts of io_uring_enter(2) tell: neither cancelling a read nor starting another calls the
 * kernel. */
Test(receiver, receive_cancel_makes_no_system_call)
{
    struct reading   r = { .read.runs = 0 };
    struct unr_stats before, after;
    unix_pair(r.fds);
    init(&r);
    start_read(&r, 64);
    submit();
    submit();
    unr_loop_stats(loop, &before, sizeof before);
    for (int i = 0; i < 1000; i++) {
        unr_cancel(&r.read.op, UNR_CANCEL_ALL);
        submit();
        cr_assert_eq(r.read.runs, 1);
        cr_assert_eq(r.read.result.verdict, UNR_VERDICT_CANCELLED);
        start_read(&r, 64);
        submit();
    }
    unr_loop_stats(loop, &after, sizeof after);
    cr_assert_eq(after.enters, before.enters);
    finish_reading(&r);
    cr_assert_eq(r.read.runs, 1);
    close_all();
}

/* ---- any read cancelled at any moment: each byte once, in order ---- */

enum { FLOW = 4 << 20 };

static unsigned char pattern(uint64_t i)
{
    return (unsigned char)(i * 2654435761u >> 11);
}

static void *send_flow(void *fd)
{
    unsigned char bytes[8192];
    unsigned      state = 7;
    for (uint64_t sent = 0; sent < FLOW;) {
        state = state * 1103515245 + 12345;
        size_t n = 1 + (state >> 8) % sizeof bytes;
        if (n > FLOW - sent)
            n = FLOW - sent;
        for (size_t i = 0; i < n; i++)
            bytes[i] = pattern(sent + i);
        for (size_t at = 0; at < n;) {
            ssize_t wrote = write(*(int *)fd, bytes + at, n - at);
            if (wrote < 0)
                return NULL;
            at += (size_t)wrote;
        }
        sent += n;
    }
    shutdown(*(int *)fd, SHUT_WR);
    return NULL;
}

static void takes_nothing(pair_fn *pair)
{
    struct reading r = { .read.runs = 0 };
    pthread_t      sender;
    uint64_t       got = 0;
    unsigned       state = 3;
    pair(r.fds);
    init(&r);
    pthread_create(&sender, NULL, send_flow, &r.fds[1]);
    for (bool at_end = false; !at_end;) {
        state = state * 1103515245 + 12345;
        start_read(&r, 1 + (state >> 8) % sizeof r.buf);
        if (state >> 24 & 1)
            submit();
        if (state >> 25 & 1)
            unr_cancel(&r.read.op, UNR_CANCEL_TOTAL);
        finish(&r.read);
        if (r.read.result.error == -ECANCELED) {
            cr_assert_eq(r.read.result.bytes, 0);
            cr_assert_eq(r.read.result.guarantee, UNR_CANCEL_TOTAL);
            continue;
        }
        cr_assert_eq(r.read.result.error, 0);
        for (uint64_t i = 0; i < r.read.result.bytes; i++)
            cr_assert_eq((unsigned char)r.buf[i], pattern(got + i), "byte %llu",
                         (unsigned long long)(got + i));
        got += r.read.result.bytes;
        at_end = r.read.result.bytes == 0;
    }
    cr_assert_eq(got, FLOW);
    pthread_join(sender, NULL);
    finish_reading(&r);
    close_all();
}

/* One thread writes, reads and cancels, in any order. */
static void takes_nothing_in_one_thread(pair_fn *pair)
{
    struct reading r = { .read.runs = 0 };
    uint64_t       got = 0, sent = 0;
    unsigned       state = 5, cancelled = 0, late = 0;
    pair(r.fds);
    init(&r);
    for (int i = 0; i < 50000; i++) {
        state = state * 1103515245 + 12345;
        switch (state >> 16 & 7) {
        case 0: {
            unsigned char byte = pattern(sent);
            sent += (uint64_t)send(r.fds[1], &byte, 1, 0);
            break;
        }
        case 1:
        case 2: submit(); break;
        case 3: unr_cancel(&r.read.op, UNR_CANCEL_ALL); break;
        default:
            if (!unr_in_flight(&r.read.op))
                start_read(&r, 1 + (state >> 20) % 4);
        }
        if (!r.read.runs)
            continue;
        r.read.runs = 0;
        if (r.read.result.error == -ECANCELED) {
            cr_assert_eq(r.read.result.bytes, 0);
            cr_assert_eq(r.read.result.verdict, UNR_VERDICT_CANCELLED);
            cancelled++;
            continue;
        }
        late += r.read.result.verdict == UNR_VERDICT_TOO_LATE;
        for (uint64_t j = 0; j < r.read.result.bytes; j++)
            cr_assert_eq((unsigned char)r.buf[j], pattern(got + j));
        got += r.read.result.bytes;
    }
    cr_assert(cancelled > 1000 && late > 10, "%u cancelled, %u too late", cancelled, late);
    unr_cancel(&r.read.op, UNR_CANCEL_ALL);
    while (unr_in_flight(&r.read.op))
        submit();
    if (r.read.runs && !r.read.result.error)
        got += r.read.result.bytes;
    while (got < sent)
        got += (uint64_t)read_once(&r, 4);
    finish_reading(&r);
    close_all();
}

Test(receiver, cancelled_receive_takes_nothing_in_one_thread_unix)
{
    takes_nothing_in_one_thread(unix_pair);
}

Test(receiver, cancelled_receive_takes_nothing_in_one_thread_tcp)
{
    takes_nothing_in_one_thread(tcp_pair);
}

Test(receiver, cancelled_receive_takes_nothing_unix)
{
    takes_nothing(unix_pair);
}

Test(receiver, cancelled_receive_takes_nothing_tcp)
{
    takes_nothing(tcp_pair);
}

/* A peer that answers each message: a wake-up that is missed is a read that never ends. */
static void *echo_each(void *fd)
{
    char    byte;
    ssize_t n;
    while ((n = read(*(int *)fd, &byte, 1)) == 1)
        if (write(*(int *)fd, &byte, 1) != 1)
            break;
    return NULL;
}

Test(receiver, read_restarted_behind_a_short_read_misses_no_wake_up)
{
    struct reading r = { .read.runs = 0 };
    pthread_t      peer;
    tcp_pair(r.fds);
    init(&r);
    pthread_create(&peer, NULL, echo_each, &r.fds[1]);
    for (int i = 0; i < 3000; i++) {
        cr_assert_eq(write(r.fds[0], "x", 1), 1);
        cr_assert_eq(read_once(&r, 64), 1);
    }
    shutdown(r.fds[0], SHUT_WR);
    pthread_join(peer, NULL);
    finish_reading(&r);
    close_all();
}

/* ---- ends ---- */

enum { FIN, RESET };

static void end_behind_data(int how, bool at_once)
{
    struct reading r = { .read.runs = 0 };
    struct linger  reset = { .l_onoff = 1 };
    tcp_pair(r.fds);
    init(&r);
    submit();
    submit();
    cr_assert_eq(write(r.fds[1], "data", 4), 4);
    if (!at_once) {
        start_read(&r, 64);
        finish(&r.read);
        cr_assert_eq(r.read.result.bytes, 4);
    }
    if (how == RESET)
        setsockopt(r.fds[1], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(r.fds[1]);
    r.fds[1] = -1;
    if (at_once) {
        int64_t n = read_once(&r, 64);
        /* A reset may throw away what was not read: TCP's, not ours. */
        cr_assert(n == 4 || (how == RESET && n == -ECONNRESET), "%lld", (long long)n);
        if (n < 0)
            goto out;
    }
    cr_assert_eq(read_once(&r, 64), how == RESET ? -ECONNRESET : 0);
    cr_assert_eq(read_once(&r, 64), 0, "the end stays");
out:
    finish_reading(&r);
    close_all();
}

Test(receiver, end_behind_a_short_read_is_seen_fin_at_once)
{
    end_behind_data(FIN, true);
}

Test(receiver, end_behind_a_short_read_is_seen_fin_later)
{
    end_behind_data(FIN, false);
}

Test(receiver, end_behind_a_short_read_is_seen_reset_at_once)
{
    end_behind_data(RESET, true);
}

Test(receiver, end_behind_a_short_read_is_seen_reset_later)
{
    end_behind_data(RESET, false);
}

/* The data has come before the reset, and is the next read's, wherever it waits. */
Test(receiver, reset_after_data_gives_the_data_first)
{
    for (int turns = 0; turns < 3; turns++) {
        struct reading r = { .read.runs = 0 };
        struct linger  reset = { .l_onoff = 1 };
        tcp_pair(r.fds);
        init(&r);
        turn(2);
        cr_assert_eq(write(r.fds[1], "data", 4), 4);
        turn(turns);
        setsockopt(r.fds[1], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(r.fds[1]);
        r.fds[1] = -1;
        turn(turns);
        cr_assert_eq(read_once(&r, 64), 4, "%d", turns);
        cr_assert_eq(memcmp(r.buf, "data", 4), 0);
        cr_assert_eq(read_once(&r, 64), -ECONNRESET);
        cr_assert_eq(read_once(&r, 64), 0, "the end stays");
        finish_reading(&r);
    }
    close_all();
}

/* recv(2) stops at urgent data, so that a short read does not mean that nothing is left. */
Test(receiver, urgent_data_hides_nothing)
{
    struct reading r = { .read.runs = 0 };
    size_t         total = 0;
    tcp_pair(r.fds);
    init(&r);
    submit();
    cr_assert_eq(send(r.fds[1], "before", 6, 0), 6);
    cr_assert_eq(send(r.fds[1], "!", 1, MSG_OOB), 1);
    cr_assert_eq(send(r.fds[1], "behind", 6, 0), 6);
    while (total < 12) {
        int64_t n = read_once(&r, 64);
        cr_assert_gt(n, 0);
        total += (size_t)n;
    }
    cr_assert_eq(total, 12);
    finish_reading(&r);
    close_all();
}

/* A unix socket stops at a message that carries descriptors. */
Test(receiver, passed_descriptors_hide_nothing)
{
    struct reading r = { .read.runs = 0 };
    size_t         total = 0;
    union {
        char           bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = { .bytes = { 0 } };
    struct iovec    piece = { (char[]){ "fd" }, 2 };
    struct msghdr   message = { .msg_iov = &piece,
                                .msg_iovlen = 1,
                                .msg_control = control.bytes,
                                .msg_controllen = sizeof control.bytes };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    unix_pair(r.fds);
    init(&r);
    *header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)),
                                .cmsg_level = SOL_SOCKET,
                                .cmsg_type = SCM_RIGHTS };
    memcpy(CMSG_DATA(header), &r.fds[1], sizeof(int));
    for (int i = 0; i < 3; i++)
        cr_assert_eq(sendmsg(r.fds[1], &message, 0), 2);
    while (total < 6) {
        int64_t n = read_once(&r, 64);
        cr_assert_gt(n, 0);
        total += (size_t)n;
    }
    finish_reading(&r);
    close_all();
}

#ifndef WITH_POOL
/* ---- a flood that nobody reads ---- */

Test(receiver, flood_without_a_reader_costs_few_completions)
{
    struct reading   r = { .read.runs = 0 };
    struct unr_stats before, after;
    static char      bytes[1000];
    size_t           flood = 0;
    tcp_pair(r.fds);
    init(&r);
    submit();
    unr_loop_stats(loop, &before, sizeof before);
    for (ssize_t n; (n = send(r.fds[1], bytes, sizeof bytes, MSG_DONTWAIT)) > 0;)
        flood += (size_t)n;
    turn(300);
    unr_loop_stats(loop, &after, sizeof after);
    unsigned enters = (unsigned)(after.enters - before.enters);
    cr_assert_gt(flood / sizeof bytes, 100);
    cr_assert_leq(enters, 4, "%u for %zu sends", enters, flood / sizeof bytes);
    cr_assert_eq(after.cq_overflows, before.cq_overflows);
    for (size_t total = 0; total < flood;)
        total += (size_t)read_once(&r, sizeof r.buf);
    finish_reading(&r);
    close_all();
}
#endif

/* Where the CQ is full the kernel ends the poll; it is armed again. */
Test(receiver, cq_overflow_ends_no_stream)
{
    enum { MANY = 64 };
    static struct reading readings[MANY];
    struct unr_loop      *small = open_loop_with(4, 4), *outer = loop;
    unr_pool_close(pool);
    loop = small;
    open_pool();
    for (int i = 0; i < MANY; i++) {
        unix_pair(readings[i].fds);
        init(&readings[i]);
        start_read(&readings[i], 64);
    }
    submit();
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < MANY; i++)
            cr_assert_eq(write(readings[i].fds[1], "x", 1), 1);
        for (int i = 0; i < MANY; i++) {
            finish(&readings[i].read);
            cr_assert_eq(readings[i].read.result.bytes, 1);
        }
        for (int i = 0; i < MANY; i++)
            start_read(&readings[i], 64);
    }
    for (int i = 0; i < MANY; i++) {
        finish_reading(&readings[i]);
        cr_assert_eq(readings[i].read.result.error, -ECANCELED);
    }
    unr_pool_close(pool);
    cr_assert_eq(unr_loop_close(small), 0);
    loop = outer;
    close_loop();
}

/* ---- stop ---- */

Test(receiver, stop_splits_no_byte)
{
    unsigned state = 11;
    for (int round = 0; round < 200; round++) {
        struct reading r = { .read.runs = 0 };
        char           rest[64];
        uint64_t       got = 0, sent = 0;
        unix_pair(r.fds);
        init(&r);
        for (int i = 0; i < 4; i++) {
            state = state * 1103515245 + 12345;
            if (state >> 16 & 1)
                sent += (uint64_t)write(r.fds[1], "abcd", 4);
            if (state >> 17 & 1 && !unr_in_flight(&r.read.op)) {
                got += r.read.runs ? r.read.result.bytes : 0;
                start_read(&r, 3);
            }
            if (state >> 18 & 1)
                submit();
        }
        stop(&r);
        cr_assert_not(unr_in_flight(&r.read.op));
        got += r.read.runs ? r.read.result.bytes : 0;
        for (int64_t more; (more = read_once(&r, 3)) > 0; got += (uint64_t)more)
            for (int64_t i = 0; i < more; i++)
                cr_assert_eq(r.buf[i], "abcd"[(got + (uint64_t)i) % 4]);
        ssize_t n = recv(r.fds[0], rest, sizeof rest, MSG_DONTWAIT);
        cr_assert_eq(got + (uint64_t)(n > 0 ? n : 0), sent, "round %d", round);
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(rest[i], "abcd"[(got + (uint64_t)i) % 4]);
        finish_reading(&r);
    }
    close_all();
}

Test(receiver, stop_ends_a_read_and_serves_nobody_afterwards)
{
    struct reading r = { .read.runs = 0 };
    unix_pair(r.fds);
    init(&r);
    start_read(&r, 64);
    stop(&r);
    expect_cancelled(&r.read, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(read_once(&r, 64), -ESHUTDOWN);
    stop(&r); /* a second time */
    init(&r); /* and anew */
    cr_assert_eq(write(r.fds[1], "again", 5), 5);
    cr_assert_eq(read_once(&r, 64), 5);
    finish_reading(&r);
    close_all();
}

Test(receiver, stop_while_cancelling)
{
    struct reading r = { .read.runs = 0 };
    unix_pair(r.fds);
    init(&r);
    start_read(&r, 64);
    submit();
    unr_cancel(&r.read.op, UNR_CANCEL_ALL);
    stop(&r);
    expect_cancelled(&r.read, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(write(r.fds[1], "left", 4), 4);
    cr_assert_eq(drain(r.fds[0]), 4, "the socket is its owner's");
    finish_reading(&r);
    close_all();
}

/* Receives with a receive of the kernel's on a loop of its own, until there are `len` bytes. */
static void receive_on_another_loop(int fd, char *bytes, size_t len)
{
    struct unr_loop    *mine = loop;
    struct unr_stream   stream;
    struct unr_transfer transfer = { 0 };
    struct seen         all = { .runs = 0 };
    loop = open_loop_flagged(0);
    unr_stream_socket(&stream, fd);
    start(&all, unr_read_exact(&transfer, &stream, bytes, len));
    finish(&all);
    cr_assert_eq(all.result.error, 0);
    cr_assert_eq(unr_loop_close(loop), 0);
    loop = mine;
}

/* With the kernel's help, through a pipe. */
static void receive_by_splice(int fd, char *bytes, size_t len)
{
    int pipe_fds[2];
    cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
    for (size_t got = 0; got < len;) {
        ssize_t n = splice(fd, NULL, pipe_fds[1], NULL, len - got, 0);
        cr_assert_gt(n, 0);
        cr_assert_eq(read(pipe_fds[0], bytes + got, (size_t)n), n);
        got += (size_t)n;
    }
    close_pair(pipe_fds);
}

/* A pool that holds less than what is sent. */
static void open_smaller_pool(void)
{
#ifdef WITH_POOL
    unr_pool_close(pool);
    pool = open_pool_of(16, 4096, 8);
#endif
}

/* What a receiver was not asked for is in it, or is whoever's that has the descriptor next. */
Test(receiver, stopped_one_hands_its_descriptor_on)
{
    void (*const next[])(int fd, char *bytes, size_t len) = { receive_on_another_loop,
                                                              receive_by_splice };
    static char sent[100000], got[sizeof sent];
    open_smaller_pool();
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (char)pattern(i);
    for (int i = 0; i < 4; i++) {
        struct reading r = { .read.runs = 0 };
        size_t         at = 0;
        unix_pair(r.fds);
        init(&r);
        cr_assert_eq(write(r.fds[1], sent, sizeof sent), sizeof sent);
        for (int reads = 0; reads < 5 * (i / 2); reads++, at += r.read.result.bytes) {
            cr_assert_gt(read_once(&r, 1000), 0);
            memcpy(got + at, r.buf, r.read.result.bytes);
        }
        turn(2);
        stop(&r);
        for (int64_t n; (n = read_once(&r, sizeof r.buf)) > 0; at += (size_t)n)
            memcpy(got + at, r.buf, (size_t)n);
        cr_assert_eq(r.read.result.error, -ESHUTDOWN);
        cr_assert_lt(at, sizeof sent);
        next[i % 2](r.fds[0], got + at, sizeof got - at);
        cr_assert_eq(memcmp(got, sent, sizeof sent), 0);
        finish_reading(&r);
    }
    close_all();
}

/* Both peers have agreed upon these keys.  Returns whether the kernel takes them. */
static bool set_keys(int fd, int direction)
{
    static const struct tls12_crypto_info_aes_gcm_128 keys = {
        .info = { TLS_1_2_VERSION, TLS_CIPHER_AES_GCM_128 },
        .iv = "an iv",
        .key = "between the two",
        .salt = "one",
    };
    return setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") == 0
           && setsockopt(fd, SOL_TLS, direction, &keys, sizeof keys) == 0;
}

/* Skips the test where the kernel does not decrypt for sockets, or lacks the cipher. */
static void skip_without_ktls(void)
{
    int fds[2];
    tcp_pair(fds);
    bool has = set_keys(fds[0], TLS_RX);
    int  reason = errno;
    close_pair(fds);
    if (!has)
        cr_skip_test("the kernel has no TLS: %s", strerror(reason));
}

/* Reads what came in clear, of which a receiver that was stopped may have the first part. */
static void read_rest(struct reading *r, char *bytes, size_t len)
{
    size_t at = 0;
    for (int64_t n; (n = read_once(r, sizeof r->buf)) > 0; at += (size_t)n)
        memcpy(bytes + at, r->buf, (size_t)n);
    if (at < len)
        cr_assert_eq(recv(r->fds[0], bytes + at, len - at, MSG_WAITALL), (ssize_t)(len - at));
}

static void expect_read(struct reading *r, const char *text)
{
    finish(&r->read);
    cr_assert_eq(r->read.result.error, 0, "error %d", r->read.result.error);
    cr_assert_eq(r->read.result.bytes, strlen(text));
    cr_assert_eq(memcmp(r->buf, text, strlen(text)), 0);
}

static void send_record(struct reading *r, const char *text)
{
    cr_assert_eq(send(r->fds[1], text, strlen(text), 0), (ssize_t)strlen(text));
}

/* What the peer sends behind STARTTLS is decrypted by the kernel, for unr_recv() and for the next
 * receiver.  A read that has no room for all of a record leaves the rest to the next one, of which
 * no poll tells. */
Test(receiver, stopped_one_hands_its_descriptor_on_to_ktls)
{
    struct reading r = { .read.runs = 0 };
    char           rest[5];
    skip_without_ktls();
    tcp_pair(r.fds);
    init(&r);
    cr_assert_eq(write(r.fds[1], "STARTTLS", 8), 8);
    cr_assert_eq(read_once(&r, 3), 3);
    turn(2);
    stop(&r);
    read_rest(&r, rest, sizeof rest);
    cr_assert_eq(memcmp(rest, "RTTLS", 5), 0);
    unr_receiver_free(&r.receiver);
    cr_assert(set_keys(r.fds[1], TLS_TX));
    cr_assert(set_keys(r.fds[0], TLS_RX));

    send_record(&r, "secret");
    r.read.runs = 0;
    start(&r.read, unr_recv(&r.read.op, r.fds[0], r.buf, sizeof r.buf, 0));
    expect_read(&r, "secret");

    unr_receiver_init(&r.receiver, loop, NULL, r.fds[0], 0);
    send_record(&r, "not in one piece");
    start_read(&r, 10);
    expect_read(&r, "not in one");
    start_read(&r, 10);
    expect_read(&r, " piece");
    start_read(&r, 10);
    turn(2);
    unr_cancel(&r.read.op, UNR_CANCEL_ALL);
    finish(&r.read);
    expect_cancelled(&r.read, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    start_read(&r, 10);
    turn(2);
    cr_assert(unr_in_flight(&r.read.op));
    send_record(&r, "awaited");
    expect_read(&r, "awaited");
    shutdown(r.fds[1], SHUT_WR);
    cr_assert_eq(read_once(&r, 10), 0, "the end");
    finish_reading(&r);
    close_all();
}

static void read_again(struct seen *seen)
{
    struct reading *r = unr_container_of(seen, struct reading, read);
    seen->then = NULL;
    start(seen, unr_receive(&seen->op, &r->receiver, r->buf, 64));
}

/* The read that a stop has cancelled starts another one in its `done`. */
Test(receiver, read_started_behind_a_stop)
{
    struct reading r = { .read.then = read_again };
    unix_pair(r.fds);
    init(&r);
    start_read(&r, 64);
    submit();
    stop(&r);
    run();
    cr_assert_eq(r.read.runs, 2);
    cr_assert_eq(r.read.result.error, -ESHUTDOWN);
    cr_assert_eq(write(r.fds[1], "left", 4), 4);
    cr_assert_eq(drain(r.fds[0]), 4);
    finish_reading(&r);
    close_all();
}

/* ---- closing ---- */

Test(receiver, cancel_close_of_a_receiver_with_a_reader)
{
    struct reading r = { .read.runs = 0 };
    unix_pair(r.fds);
    init(&r);
    submit();
    start_read(&r, 64);
    finish_reading(&r);
    expect_cancelled(&r.read, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    close_all();
}

Test(receiver, read_started_while_its_descriptor_is_closed)
{
    struct reading r = { .read.runs = 0 };
    unix_pair(r.fds);
    init(&r);
    submit();
    start(&r.other, unr_cancel_close(&r.other.op, r.fds[0]));
    start_read(&r, 64);
    finish(&r.other);
    finish(&r.read);
    expect_cancelled(&r.read, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    close(r.fds[1]);
    close_all();
}

Test(receiver, closing_loop_stops_what_is_armed)
{
    enum { MANY = 20 };
    static struct reading readings[MANY];
    for (int i = 0; i < MANY; i++) {
        unix_pair(readings[i].fds);
        init(&readings[i]);
        if (i % 2)
            start_read(&readings[i], 64);
        if (i == MANY / 2)
            submit();
    }
    cr_assert_eq(unr_loop_close(loop), 0);
    unr_pool_close(pool);
    for (int i = 0; i < MANY; i++) {
        close_pair(readings[i].fds);
        cr_assert_eq(readings[i].read.runs, i % 2);
        if (i % 2)
            cr_assert_eq(readings[i].read.result.cause, -ESHUTDOWN);
    }
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* The number may be another file's by the time that there is something to read. */
Test(receiver, unr_close_ends_it)
{
    struct reading r = { .read.runs = 0 };
    int            others[2];
    unix_pair(r.fds);
    init(&r);
    start_read(&r, 64);
    submit();
    start(&r.other, unr_close(&r.other.op, r.fds[0]));
    finish(&r.other);
    finish(&r.read);
    expect_cancelled(&r.read, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    unix_pair(others);
    cr_assert_eq(others[0], r.fds[0], "the number is in use again");
    cr_assert_eq(write(others[1], "another's", 9), 9);
    (void)!send(r.fds[1], "x", 1, MSG_NOSIGNAL);
    cr_assert_eq(read_once(&r, 64), -ESHUTDOWN);
    cr_assert_eq(drain(others[0]), 9);
    close_pair(others);
    close(r.fds[1]);
    close_all();
}

/* However many receivers have something to tell, what came before a deadline is reported. */
static void deadline_behind_many(void)
{
    enum { MANY = 300 };
    static struct reading readings[MANY];
    struct unr_deadline   deadline = { 0 };
    struct reading       *r = &readings[MANY - 1];
    bool                  in_time; /* a busy machine may keep this thread away */
    for (int i = 0; i < MANY; i++) {
        unix_pair(readings[i].fds);
        init(&readings[i]);
    }
    submit();
    submit();
    unr_time due = unr_loop_now(loop) + UNR_MSEC(50);
    start(&r->read,
          unr_cancel_at(&deadline, unr_receive(&r->read.op, &r->receiver, r->buf, 64), due));
    submit();
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(write(readings[i].fds[1], "x", 1), 1);
    in_time = unr_loop_now(loop) < due;
    while (unr_loop_now(loop) < due)
        ;
    finish(&r->read);
    cr_assert(r->read.result.error == 0 || !in_time, "%s", unr_explain_op(&deadline.op));
    for (int i = 0; i < MANY; i++)
        finish_reading(&readings[i]);
    close_all();
}

Test(receiver, deadline_behind_many_idle_ones)
{
    deadline_behind_many();
}

/* A plain ring completes all of them by itself. */
Test(receiver, deadline_behind_many_idle_ones_on_a_plain_ring)
{
    unr_pool_close(pool);
    unr_loop_close(loop);
    loop = open_loop_flagged(UNR_LOOP_PLAIN);
    open_pool();
    deadline_behind_many();
}

#ifndef WITH_POOL
/* A file ends its poll at once; it is not armed again before somebody reads. */
Test(receiver, file_costs_nothing_while_nobody_reads)
{
    struct reading   r = { .read.runs = 0 };
    struct unr_stats before, after;
    struct unr_timer other = { 0 };
    r.fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    r.fds[1] = -1;
    init(&r);
    unr_start(loop, unr_timer_after(&other, UNR_NEVER), NULL, NULL); /* the loop has work */
    submit();
    submit();
    unr_loop_stats(loop, &before, sizeof before);
    for (int i = 0; i < 100; i++)
        submit();
    unr_loop_stats(loop, &after, sizeof after);
    cr_assert_eq(after.enters, before.enters);
    cr_assert_eq(read_once(&r, 64), 0);
    unr_cancel(&other.op, UNR_CANCEL_ALL);
    finish_reading(&r);
    close_all();
}
#endif

static void init_another(struct seen *seen)
{
    init(seen->context);
}

Test(receiver, initialised_while_its_loop_closes)
{
    struct reading r = { .read.then = init_another }, other = { .read.runs = 0 };
    unix_pair(r.fds);
    unix_pair(other.fds);
    r.read.context = &other;
    init(&r);
    start_read(&r, 64);
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    unr_pool_close(pool);
    cr_assert_eq(r.read.runs, 1);
    close_pair(r.fds);
    close_pair(other.fds);
}

/* An idle receiver keeps no loop running, and is not counted. */
Test(receiver, armed_one_keeps_no_loop_running)
{
    struct reading   r = { .read.runs = 0 };
    struct unr_stats stats;
    unix_pair(r.fds);
    init(&r);
    run();
    cr_assert_eq(unr_loop_in_flight(loop), 0);
    unr_loop_stats(loop, &stats, sizeof stats);
    cr_assert_eq(stats.started, 0);
    cr_assert_eq(unr_cancel_fd(loop, r.fds[0], UNR_CANCEL_ALL), 0, "nobody reads");
    start_read(&r, 64);
    cr_assert_eq(unr_cancel_fd(loop, r.fds[0], UNR_CANCEL_ALL), 1, "the read that waits");
    finish(&r.read);
    cr_assert_eq(write(r.fds[1], "x", 1), 1);
    cr_assert_eq(read_once(&r, 64), 1, "it is armed still");
    finish_reading(&r);
    close_all();
}

/* ---- what is no use to a receiver ---- */

Test(receiver, errors_are_the_reads)
{
    struct reading r = { .read.runs = 0 };
    r.fds[0] = -1;
    init(&r);
    cr_assert_eq(read_once(&r, 64), -EBADF);
    cr_assert_eq(read_once(&r, 64), -EBADF, "each time");
    stop(&r);
    unix_pair(r.fds);
    init(&r);
    cr_assert_eq(read_once(&r, 0), -EINVAL);
    finish_reading(&r);
    close_all();
}

Test(receiver, shut_down_socket_is_at_its_end)
{
    struct reading r = { .read.runs = 0 };
    tcp_pair(r.fds);
    init(&r);
    start_read(&r, 64);
    submit();
    shutdown(r.fds[0], SHUT_RD);
    finish(&r.read);
    cr_assert_eq(r.read.result.bytes, 0);
    cr_assert_eq(r.read.result.error, 0);
    finish_reading(&r);
    close_all();
}

static void read_twice(void *context)
{
    static struct reading r;
    struct unr_op         second = { .data = NULL };
    static char           byte;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_pool();
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, r.fds) == 0);
    init(&r);
    start_read(&r, 64);
    unr_start(loop, unr_receive(&second, &r.receiver, &byte, 1), NULL, NULL);
}

Test(receiver, second_read)
{
    struct death death = in_child(read_twice, NULL);
    expect_abort(&death, (const char *const[]){ "unring: broken contract:", "receive",
                                                "a second read of a receiver", NULL });
    close_all();
}

static void init_twice(void *context)
{
    static struct reading r;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_pool();
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, r.fds) == 0);
    init(&r);
    init(&r);
}

static void read_on_another_loop(void *context)
{
    static struct reading r;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_pool();
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, r.fds) == 0);
    init(&r);
    must(unr_loop_open(&loop, NULL) == 0);
    open_pool();
    start_read(&r, 64);
}

Test(receiver, init_twice_and_another_loop)
{
    struct death death = in_child(init_twice, NULL);
    expect_abort(&death, (const char *const[]){
                             "unring: broken contract:", "initialised while it is armed", NULL });
    death = in_child(read_on_another_loop, NULL);
    expect_abort(&death, (const char *const[]){ "unring: broken contract:", "receive",
                                                "another loop", NULL });
    close_all();
}

static void stop_twice(void *context)
{
    static struct reading r;
    static struct unr_op  ops[2];
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_pool();
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, r.fds) == 0);
    init(&r);
    for (int i = 0; i < 2; i++)
        unr_start(loop, unr_receiver_stop(&ops[i], &r.receiver), NULL, NULL);
}

Test(receiver, second_stop)
{
    struct death death = in_child(stop_twice, NULL);
    expect_abort(&death, (const char *const[]){ "unring: broken contract:", "receiver_stop",
                                                "a second stop of a receiver", NULL });
    close_all();
}

/* ---- streams ---- */

Test(receiver, stream_reads_exactly_and_until)
{
    struct reading      r = { .read.runs = 0 };
    struct unr_stream   stream;
    struct unr_transfer transfer = { 0 };
    struct unr_reader   reader = { 0 };
    struct unr_buffer   buffer = { 0 };
    struct seen         step = { .runs = 0 };
    tcp_pair(r.fds);
    init(&r);
    unr_stream_receiver(&stream, &r.receiver);
    unr_buffer_init(&buffer, 4096);
    cr_assert_eq(write(r.fds[1], "abcdefg\nrest", 12), 12);
    start(&step, unr_read_exact(&transfer, &stream, r.buf, 3));
    finish(&step);
    cr_assert_eq(step.result.bytes, 3);
    step.runs = 0;
    start(&step, unr_read_until(&reader, &stream, &buffer, "\n", 1));
    finish(&step);
    cr_assert_eq(step.result.bytes, 5);
    unr_buffer_consume(&buffer, 5);
    size_t len;
    unr_buffer_data(&buffer, &len);
    cr_assert_eq(len, 4);
    step.runs = 0;
    start(&step, unr_read_more(&reader, &stream, &buffer));
    submit();
    cr_assert_eq(step.runs, 0, "what is there already does not count");
    unr_cancel(&reader.op, UNR_CANCEL_TOTAL);
    finish(&step);
    expect_cancelled(&step, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(write(r.fds[1], "!", 1), 1);
    step.runs = 0;
    start(&step, unr_read_more(&reader, &stream, &buffer));
    finish(&step);
    cr_assert_eq(step.result.error, 0);
    cr_assert_eq(step.result.bytes, 1);
    step.runs = 0;
    start(&step, unr_write_all(&transfer, &stream, "back", 4));
    finish(&step);
    cr_assert_eq(drain(r.fds[1]), 4);
    unr_buffer_free(&buffer);
    finish_reading(&r);
    close_all();
}

/* Hands on what it is asked for, one byte at a time. */
struct byte_by_byte {
    struct unr_stream  stream;
    struct unr_stream *below;
    struct iovec       piece;
};

static struct unr_op *read_byte(struct unr_stream *stream, struct unr_some *some,
                                const struct iovec *iov, unsigned n)
{
    struct byte_by_byte *layer = unr_container_of(stream, struct byte_by_byte, stream);
    (void)n;
    layer->piece = (struct iovec){ iov->iov_base, 1 };
    return unr_read_some(some, layer->below, &layer->piece, 1);
}

static const struct unr_stream_type byte_by_byte = { .size = sizeof byte_by_byte,
                                                     .name = "byte_by_byte",
                                                     .read_some = read_byte };

static uint64_t bytes_of(struct unr_op *described)
{
    struct seen step = { .runs = 0 };
    start(&step, described);
    finish(&step);
    cr_assert_eq(step.result.error, 0);
    return step.result.bytes;
}

/* What composed operations read from a receiver, on its stream and through a layer. */
static void read_composed(bool layered)
{
    struct reading      r = { .read.runs = 0 };
    struct unr_stream   receiver_stream;
    struct byte_by_byte layer = { .below = &receiver_stream };
    struct unr_stream  *stream = layered ? &layer.stream : &receiver_stream;
    struct unr_transfer transfer = { 0 };
    struct unr_reader   reader = { 0 };
    struct unr_buffer   buffer = { 0 };
    struct unr_framing  framing;
    struct iovec        piece = { r.buf, 64 };
    size_t              len;
    tcp_pair(r.fds);
    init(&r);
    unr_stream_receiver(&receiver_stream, &r.receiver);
    unr_stream_layer(&layer.stream, &byte_by_byte);
    unr_buffer_init(&buffer, 4096);
    unr_framing_length(&framing, 0, 2, UNR_BIG_ENDIAN, 2, 100);
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(write(r.fds[1], "fourxy\0\5frame", 13), 13);
        cr_assert_eq(bytes_of(unr_transfer_while(&transfer, stream, UNR_READ, &piece, 1,
                                                 unr_transfer_exactly, (void *)4)),
                     4);
        cr_assert_eq(memcmp(r.buf, "four", 4), 0);
        cr_assert_eq(bytes_of(unr_read_exact(&transfer, stream, r.buf, 2)), 2);
        cr_assert_eq(memcmp(r.buf, "xy", 2), 0);
        cr_assert_eq(bytes_of(unr_read_frame(&reader, stream, &buffer, &framing)), 7);
        cr_assert_eq(memcmp(unr_frame_payload(&framing, &buffer, 7, &len), "frame", 5), 0);
        unr_buffer_consume(&buffer, 7);
        cr_assert_eq(write(r.fds[1], "a line\n", 7), 7);
        cr_assert_eq(bytes_of(unr_read_until(&reader, stream, &buffer, "\n", 1)), 7);
        unr_buffer_consume(&buffer, 7);
    }
    unr_buffer_free(&buffer);
    finish_reading(&r);
    close_all();
}

Test(receiver, composed_reads_of_its_stream)
{
    read_composed(false);
}

Test(receiver, composed_reads_through_a_layer)
{
    read_composed(true);
}

/* Several pieces at once. */
ON_EACH(stream_reads_into_pieces)
{
    struct reading    r = { .read.runs = 0 };
    struct unr_stream stream;
    struct unr_some   some = { 0 };
    char              first[3], second[3];
    struct iovec      pieces[] = { { first, 3 }, { second, 3 } };
    struct seen       step = { .runs = 0 };
    pair(r.fds);
    init(&r);
    unr_stream_receiver(&stream, &r.receiver);
    cr_assert_eq(write(r.fds[1], "abcde", 5), 5);
    start(&step, unr_read_some(&some, &stream, pieces, 2));
    finish(&step);
    cr_assert_eq(step.result.bytes, 5);
    cr_assert_eq(memcmp(first, "abc", 3), 0);
    cr_assert_eq(memcmp(second, "de", 2), 0);
    finish_reading(&r);
    close_all();
}

/* ---- combinators ---- */

Test(receiver, deadline_of_a_read)
{
    struct reading      r = { .read.runs = 0 };
    struct unr_deadline deadline = { 0 };
    unix_pair(r.fds);
    init(&r);
    r.read.runs = 0;
    start(&r.read, unr_cancel_after(&deadline, unr_receive(&r.read.op, &r.receiver, r.buf, 64),
                                    UNR_MSEC(1)));
    finish(&r.read);
    cr_assert(unr_timed_out(&r.read.result));
    cr_assert_eq(write(r.fds[1], "x", 1), 1);
    cr_assert_eq(read_once(&r, 64), 1);
    finish_reading(&r);
    close_all();
}

/* Each is bound to a signal of its own. */
Test(receiver, reached_through_its_slot)
{
    enum { MANY = 100 };
    static struct reading    readings[MANY];
    static struct unr_signal signals[MANY];
    for (int i = 0; i < MANY; i++) {
        unix_pair(readings[i].fds);
        init(&readings[i]);
        start(&readings[i].read,
              unr_bind_slot(
                  unr_receive(&readings[i].read.op, &readings[i].receiver, readings[i].buf, 64),
                  unr_signal_slot(&signals[i])));
    }
    submit();
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(unr_signal_emit(&signals[i], UNR_CANCEL_TOTAL), 1);
    submit();
    for (int i = 0; i < MANY; i++) {
        expect_cancelled(&readings[i].read, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        finish_reading(&readings[i]);
    }
    close_all();
}
