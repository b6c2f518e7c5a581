/* SPDX-License-Identifier: MIT */
/* Multishot operations on the real kernel.  What the simulated one enumerates is in
 * tests/sim/scenarios/shots.c. */
#define SUPPORT_KERNEL
#include "support.h"

#include <arpa/inet.h>
#include <pty.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

TestSuite(multishot, .init = open_loop, .timeout = 60);

/* ---- accept ---- */

struct host {
    struct unr_op      op;
    struct sockaddr_in address;
    int                listener;
    unsigned           shots, ends;
    int                fds[1024];
    struct unr_result  last;
    void (*then)(struct host *host);
};

static void came(struct unr_op *op)
{
    struct host             *h = op->data;
    const struct unr_result *r = &op->result;
    if (r->error == 0)
        h->fds[h->shots++] = r->fd;
    cr_assert_eq(unr_in_flight(op), (r->flags & UNR_MORE) != 0);
    if (!(r->flags & UNR_MORE)) {
        h->ends++;
        h->last = *r;
    }
    if (h->then)
        h->then(h);
}

static void invite(struct host *h)
{
    unr_start(loop, unr_accept_multishot(&h->op, h->listener, SOCK_CLOEXEC), came, h);
}

static int call(const struct host *h)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&h->address, sizeof h->address), 0);
    return fd;
}

static void close_all(struct host *h)
{
    for (unsigned i = 0; i < h->shots; i++)
        close(h->fds[i]);
    close(h->listener);
}

Test(multishot, each_connection_is_a_shot)
{
    enum { MANY = 100 };
    static struct host h;
    int                callers[MANY];
    h.listener = tcp_listener(&h.address, MANY);
    invite(&h);
    for (int i = 0; i < MANY; i++)
        callers[i] = call(&h);
    while (h.shots < MANY)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    for (int i = 0; i < MANY; i++) {
        cr_assert(fcntl(h.fds[i], F_GETFD) & FD_CLOEXEC);
        cr_assert_eq(write(callers[i], "x", 1), 1);
    }
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(drain(h.fds[i]), 1, "each once");
    cr_assert_eq(unr_loop_in_flight(loop), h.ends ? 0 : 1);
    unr_cancel(&h.op, UNR_CANCEL_TOTAL);
    run();
    cr_assert_eq(h.ends, 1);
    cr_assert_eq(h.last.error, -ECANCELED);
    cr_assert_eq(h.last.guarantee, UNR_CANCEL_TOTAL);
    cr_assert_eq(h.last.fd, -1);
    for (int i = 0; i < MANY; i++)
        close(callers[i]);
    close_all(&h);
    close_loop();
}

/* Cancelled and started again while connections come: each is taken once. */
Test(multishot, cancelled_accept_loses_no_connection)
{
    enum { MANY = 500 };
    static struct host h;
    static int         callers[MANY];
    unsigned           state = 9;
    h.listener = tcp_listener(&h.address, MANY);
    for (int i = 0; i < MANY; i++) {
        state = state * 1103515245 + 12345;
        if (!unr_in_flight(&h.op))
            invite(&h);
        callers[i] = call(&h);
        if (state >> 16 & 1)
            submit();
        if (state >> 17 & 1)
            unr_cancel(&h.op, UNR_CANCEL_ALL);
        if (state >> 18 & 1)
            submit();
    }
    while (h.shots < MANY) {
        if (!unr_in_flight(&h.op))
            invite(&h);
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    }
    unr_cancel(&h.op, UNR_CANCEL_ALL);
    run();
    cr_assert_eq(h.shots, MANY);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(write(callers[i], "x", 1), 1);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(drain(h.fds[i]), 1);
    for (int i = 0; i < MANY; i++)
        close(callers[i]);
    close_all(&h);
    close_loop();
}

static void cancel_it(struct host *h)
{
    if (unr_in_flight(&h->op))
        unr_cancel(&h->op, UNR_CANCEL_TOTAL);
}

/* The connections that the kernel had taken by then are handed out. */
Test(multishot, cancelled_in_its_first_shot)
{
    static struct host h = { .then = cancel_it };
    int                callers[4];
    h.listener = tcp_listener(&h.address, 8);
    for (int i = 0; i < 4; i++)
        callers[i] = call(&h);
    invite(&h);
    run();
    cr_assert_eq(h.ends, 1);
    cr_assert_geq(h.shots, 1);
    int left = 0;
    fcntl(h.listener, F_SETFL, O_NONBLOCK);
    for (int fd; (fd = accept(h.listener, NULL, NULL)) >= 0; left++)
        close(fd);
    cr_assert_eq(h.shots + (unsigned)left, 4, "taken once, or in the backlog");
    for (int i = 0; i < 4; i++)
        close(callers[i]);
    close_all(&h);
    close_loop();
}

/* Where the CQ is full it ends, perhaps with a connection; nothing is lost. */
Test(multishot, ends_where_the_cq_is_full)
{
    enum { MANY = 64 };
    static struct host h;
    static int         callers[MANY];
    struct unr_loop   *outer = loop;
    loop = open_loop_with(4, 4);
    h.listener = tcp_listener(&h.address, MANY);
    for (int i = 0; i < MANY; i++)
        callers[i] = call(&h);
    while (h.shots < MANY) {
        if (!unr_in_flight(&h.op)) {
            cr_assert_eq(h.last.error, 0);
            invite(&h);
        }
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    }
    cr_assert_eq(unr_loop_close(loop), 0);
    loop = outer;
    cr_assert_eq(h.shots, MANY);
    for (int i = 0; i < MANY; i++)
        close(callers[i]);
    close_all(&h);
    close_loop();
}

Test(multishot, errors_come_in_the_last_done)
{
    static struct host h;
    h.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    invite(&h);
    run();
    cr_assert_eq(h.shots, 0);
    cr_assert_eq(h.ends, 1);
    cr_assert_eq(h.last.error, -EINVAL);
    close_all(&h);
    close_loop();
}

Test(multishot, closing_loop_ends_it)
{
    static struct host h;
    h.listener = tcp_listener(&h.address, 4);
    invite(&h);
    submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(h.ends, 1);
    cr_assert_eq(h.last.cause, -ESHUTDOWN);
    close_all(&h);
}

/* ---- poll ---- */

struct watcher {
    struct unr_op op;
    unsigned      shots, ends;
    uint32_t      events;
    int           error;
};

static void told(struct unr_op *op)
{
    struct watcher *w = op->data;
    if (op->result.flags & UNR_MORE) {
        w->shots++;
        w->events |= op->result.events;
    } else {
        w->ends++;
        w->error = op->result.error;
    }
}

Test(multishot, poll_tells_each_time)
{
    struct watcher w = { .shots = 0 };
    uint64_t       one = 1, value;
    int            fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    unr_start(loop, unr_poll_multishot(&w.op, fd, POLLIN), told, &w);
    submit();
    cr_assert_eq(w.shots, 0);
    for (unsigned i = 1; i <= 3; i++) {
        cr_assert_eq(write(fd, &one, sizeof one), (ssize_t)sizeof one);
        while (w.shots < i)
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
        cr_assert_eq(read(fd, &value, sizeof value), (ssize_t)sizeof value);
    }
    cr_assert_eq(w.events, (uint32_t)POLLIN);
    unr_cancel_fd(loop, fd, UNR_CANCEL_TOTAL);
    run();
    cr_assert_eq(w.ends, 1);
    cr_assert_eq(w.error, -ECANCELED);
    close(fd);
    close_loop();
}

/* ---- shots that bring a buffer ---- */

static unsigned held_by(const struct unr_pool *pool)
{
    struct unr_pool_stats stats;
    unr_pool_stats(pool, &stats, sizeof stats);
    return stats.held;
}

/* A peer that writes, a taker of shots, and what lies between them. */
enum link { UNIX_STREAM, TCP, UNIX_DATAGRAM, UNIX_RECORDS, UDP4, UDP6, PIPE, EVENTFD, LINKS };
enum call { RECV, RECVMSG, READ };

struct taker {
    struct unr_op     op;
    struct unr_pool  *pool;
    enum link         link;
    enum call         call;
    int               from, to; /* where it takes, and where its peer writes */
    uint32_t          limit;
    int               flags;
    struct msghdr     layout;
    unsigned          shots, ends, last_shots; /* those of the last with data, too */
    uint64_t          sent, came; /* bytes of a stream, datagrams, counts of an eventfd */
    struct unr_result last;
    void             *last_data;
    bool              keeps;
    void             *kept[4096];
    unsigned          keeping;
    void (*then)(struct taker *taker);
};

static bool is_stream(const struct taker *t)
{
    return t->link == UNIX_STREAM || t->link == TCP || t->link == PIPE;
}

static unsigned char byte_at(uint64_t position)
{
    return (unsigned char)(position * 7 + (position >> 8));
}

static size_t length_of_datagram(uint64_t number)
{
    return sizeof(uint32_t) + number * 37 % 300;
}

/* Each byte, datagram or count comes once, and in order. */
static void look_at_data(struct taker *t, const unsigned char *data, size_t bytes)
{
    uint64_t count;
    uint32_t number;
    if (is_stream(t)) {
        for (size_t i = 0; i < bytes; i++)
            cr_assert_eq(data[i], byte_at(t->came + i));
        t->came += bytes;
    } else if (t->link == EVENTFD) {
        cr_assert_eq(bytes, sizeof count);
        memcpy(&count, data, sizeof count);
        t->came += count;
    } else {
        cr_assert_geq(bytes, sizeof number);
        memcpy(&number, data, sizeof number);
        cr_assert_eq(number, (uint32_t)t->came);
        cr_assert_eq(bytes, length_of_datagram(number));
        for (size_t i = sizeof number; i < bytes; i++)
            cr_assert_eq(data[i], byte_at(number + i));
        t->came++;
    }
}

static void let_go(struct taker *t, unsigned keep)
{
    while (t->keeping > keep)
        unr_pool_give(t->pool, (char *)t->kept[--t->keeping] + 5);
}

static void took(struct unr_op *op)
{
    struct taker            *t = op->data;
    const struct unr_result *r = &op->result;
    void                    *data = unr_shot_data(op);
    cr_assert_eq(unr_in_flight(op), (r->flags & UNR_MORE) != 0);
    cr_assert_eq(r->fd, -1);
    if (r->flags & UNR_MORE)
        cr_assert_eq(r->error, 0);
    t->last_data = data;
    if (r->error == 0 && data && r->bytes) {
        look_at_data(t, data, r->bytes);
        t->shots++;
        t->last_shots += !(r->flags & UNR_MORE);
    } else {
        cr_assert_eq(r->bytes, 0);
    }
    if (data)
        t->kept[t->keeping++] = data;
    if (!t->keeps)
        let_go(t, 0);
    if (!(r->flags & UNR_MORE)) {
        t->ends++;
        t->last = *r;
    }
    if (t->then)
        t->then(t);
}

static struct unr_op *describe_taker(struct taker *t)
{
    switch (t->call) {
    case RECV: return unr_recv_multishot(&t->op, t->from, t->pool, t->limit, t->flags);
    case RECVMSG: return unr_recvmsg_multishot(&t->op, t->from, t->pool, &t->layout, t->flags);
    default: return unr_read_multishot(&t->op, t->from, t->pool);
    }
}

static void take(struct taker *t)
{
    unr_start(loop, describe_taker(t), took, t);
}

static void udp_pair(int family, int *from, int *to)
{
    struct sockaddr_storage address = { .ss_family = (sa_family_t)family };
    socklen_t               len = sizeof address;
    if (family == AF_INET)
        ((struct sockaddr_in *)&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        ((struct sockaddr_in6 *)&address)->sin6_addr = in6addr_loopback;
    *from = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    *to = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (*from < 0 || bind(*from, (struct sockaddr *)&address, sizeof address) < 0)
        cr_skip_test("no such address: %s", strerror(errno));
    cr_assert_eq(bind(*to, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(getsockname(*from, (struct sockaddr *)&address, &len), 0);
    cr_assert_eq(connect(*to, (struct sockaddr *)&address, len), 0);
}

static void open_link(struct taker *t)
{
    int fds[2];
    switch (t->link) {
    case UNIX_STREAM: unix_pair(fds); break;
    case TCP: tcp_pair(fds); break;
    case UNIX_DATAGRAM:
        cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
        break;
    case UNIX_RECORDS:
        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        break;
    case UDP4: udp_pair(AF_INET, &fds[0], &fds[1]); break;
    case UDP6: udp_pair(AF_INET6, &fds[0], &fds[1]); break;
    case PIPE: cr_assert_eq(pipe2(fds, O_CLOEXEC), 0); break;
    default:
        fds[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        fds[1] = fcntl(fds[0], F_DUPFD_CLOEXEC, 0);
    }
    t->from = fds[0];
    t->to = fds[1];
    fcntl(t->to, F_SETFL, fcntl(t->to, F_GETFL) | O_NONBLOCK);
}

static void begin(struct taker *t, enum link link, enum call call, struct unr_pool *pool)
{
    *t = (struct taker){ .link = link, .call = call, .pool = pool };
    if (call == RECVMSG)
        t->layout.msg_namelen = sizeof(struct sockaddr_storage);
    open_link(t);
}

/* The next `n` bytes, one datagram or a count of `n`, as far as there is room. */
static bool peer_writes(struct taker *t, size_t n)
{
    unsigned char bytes[2048];
    uint64_t      count = n;
    uint32_t      number = (uint32_t)t->sent;
    ssize_t       written;
    if (t->link == EVENTFD) {
        cr_assert_eq(write(t->to, &count, sizeof count), (ssize_t)sizeof count);
        t->sent += n;
        return true;
    }
    if (!is_stream(t)) {
        n = length_of_datagram(number);
        memcpy(bytes, &number, sizeof number);
        for (size_t i = sizeof number; i < n; i++)
            bytes[i] = byte_at(number + i);
        written = write(t->to, bytes, n);
        t->sent += written > 0;
        return written > 0;
    }
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(t->sent + i);
    written = write(t->to, bytes, n);
    t->sent += written > 0 ? (uint64_t)written : 0;
    return written > 0;
}

/* Where the kernel has no such call, its test is skipped. */
static void skip_without(struct taker *t)
{
    if (t->ends && t->call == READ && t->last.error == -EOPNOTSUPP)
        cr_skip_test("this kernel has no multishot read: it came with Linux 6.7");
    if (t->ends && t->limit && t->last.error == -EINVAL)
        cr_skip_test("this kernel knows no limit: it came with Linux 6.17");
}

static void turn(struct taker *t)
{
    cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    skip_without(t);
}

static void until_came(struct taker *t)
{
    while (t->came < t->sent && unr_in_flight(&t->op))
        turn(t);
}

static void until_end(struct taker *t)
{
    while (unr_in_flight(&t->op))
        turn(t);
}

/* Takes what is left, whatever ends it. */
static void take_the_rest(struct taker *t)
{
    for (unsigned ends = t->ends; t->came < t->sent;) {
        cr_assert_leq(t->ends - ends, 100000);
        if (!unr_in_flight(&t->op))
            take(t);
        until_came(t);
    }
}

static void close_taker(struct taker *t)
{
    unr_cancel(&t->op, UNR_CANCEL_ALL);
    until_end(t);
    let_go(t, 0);
    close(t->from);
    close(t->to);
}

static void end_test(struct unr_pool *pool)
{
    cr_assert_eq(held_by(pool), 0);
    unr_pool_close(pool);
    close_loop();
}

/* ---- each byte, datagram and count once, and in order ---- */

static const struct {
    const char *name;
    enum link   link;
    enum call   call;
} ways[] = {
    { "recv, unix stream", UNIX_STREAM, RECV },
    { "recv, TCP", TCP, RECV },
    { "recv, datagrams", UNIX_DATAGRAM, RECV },
    { "recv, records", UNIX_RECORDS, RECV },
    { "recv, UDP", UDP4, RECV },
    { "recvmsg, datagrams", UNIX_DATAGRAM, RECVMSG },
    { "recvmsg, records", UNIX_RECORDS, RECVMSG },
    { "recvmsg, UDP", UDP4, RECVMSG },
};
static const struct {
    const char *name;
    enum link   link;
    enum call   call;
} ways_to_read[] = {
    { "read, pipe", PIPE, READ },
    { "read, eventfd", EVENTFD, READ },
    { "read, unix stream", UNIX_STREAM, READ },
    { "read, TCP", TCP, READ },
};

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1103515245 + 12345;
    return *state >> 16;
}

/* Starts, writes, cancels and gives back at random.  The pool is too small for all that comes. */
static void cancel_at_random(struct taker *t, uint32_t seed, unsigned rounds)
{
    uint32_t state = seed;
    unsigned cancelled = 0, starved = 0, ends = 0;
    t->keeps = true;
    for (unsigned i = 0; i < rounds; i++) {
        uint32_t choice = next_random(&state);
        if (!unr_in_flight(&t->op))
            take(t);
        if (choice & 1 && t->sent - t->came < (is_stream(t) ? 20000 : 20))
            peer_writes(t, 1 + next_random(&state) % 1000);
        if (choice & 2)
            submit();
        if (choice & 4)
            peer_writes(t, 1 + next_random(&state) % 10);
        if ((choice & 0x18) == 0x18)
            unr_cancel(&t->op, UNR_CANCEL_ALL);
        if ((choice & 0xe0) == 0xe0)
            unr_cancel_fd(loop, t->from, UNR_CANCEL_TOTAL);
        if (choice & 0x100)
            submit();
        if (choice & 0x200 || !unr_in_flight(&t->op))
            let_go(t, next_random(&state) % 8);
        skip_without(t);
        if (t->ends > ends) {
            ends = t->ends;
            cr_assert(t->last.error == 0 || t->last.error == -ECANCELED
                          || t->last.error == -ENOBUFS,
                      "round %u: %s", i, unr_explain_op(&t->op));
            cancelled += t->last.error == -ECANCELED;
            starved += t->last.error == -ENOBUFS;
            if (t->last.error == -ECANCELED)
                cr_assert_eq(t->last.guarantee, UNR_CANCEL_TOTAL);
        }
    }
    let_go(t, 0);
    t->keeps = false;
    take_the_rest(t);
    cr_assert_eq(t->came, t->sent);
    cr_assert_gt(t->sent, rounds / 8);
    cr_assert_gt(cancelled, rounds / 100, "%u ends, %u for want of buffers", ends, starved);
    close_taker(t);
}

static void cancel_at_random_in_pools(enum link link, enum call call, unsigned rounds)
{
    const struct {
        unsigned count, published;
    } pools[] = { { 8, 1 }, { 16, 4 }, { 256, 16 } };
    for (unsigned i = 0; i < LENGTH(pools); i++) {
        static struct taker t;
        struct unr_pool    *pool = open_published_pool(pools[i].count, 512, pools[i].published);
        begin(&t, link, call, pool);
        cancel_at_random(&t, 7 + i, rounds);
        cr_assert_eq(held_by(pool), 0);
        unr_pool_close(pool);
    }
}

Test(multishot, cancelled_at_any_moment_nothing_is_lost)
{
    for (unsigned i = 0; i < LENGTH(ways); i++)
        cancel_at_random_in_pools(ways[i].link, ways[i].call, 2000);
    close_loop();
}

Test(multishot, cancelled_at_any_moment_a_read_loses_nothing)
{
    for (unsigned i = 0; i < LENGTH(ways_to_read); i++)
        cancel_at_random_in_pools(ways_to_read[i].link, ways_to_read[i].call, 2000);
    close_loop();
}

/* Cancelled in its first shot: what the kernel had taken by then is handed out, the rest is still
 * there. */
static void cancel_taker(struct taker *t)
{
    unr_cancel(&t->op, UNR_CANCEL_TOTAL);
}

Test(multishot, cancelled_in_a_shot_with_a_buffer)
{
    struct unr_pool *pool = open_published_pool(16, 512, 16);
    for (unsigned i = 0; i < LENGTH(ways); i++) {
        static struct taker t;
        begin(&t, ways[i].link, ways[i].call, pool);
        t.then = cancel_taker;
        for (unsigned j = 0; j < 5; j++)
            peer_writes(&t, 1000);
        take(&t);
        until_end(&t);
        cr_assert_geq(t.shots, 1);
        cr_assert_eq(t.last.requested, UNR_CANCEL_TOTAL);
        t.then = NULL;
        take_the_rest(&t);
        cr_assert_eq(t.came, t.sent, "%s", ways[i].name);
        close_taker(&t);
    }
    end_test(pool);
}

/* ---- ends ---- */

/* Where the CQ is full it ends with a shot, which is delivered.  A stream goes on for whoever
 * starts it again, and only its end is a `done` of 0 bytes. */
Test(multishot, last_shot_with_data_is_delivered)
{
    struct unr_loop *outer = loop;
    for (unsigned i = 0; i < LENGTH(ways); i++) {
        static struct taker t;
        loop = open_loop_with(4, 4);
        struct unr_pool *pool = open_published_pool(256, 512, 256);
        begin(&t, ways[i].link, ways[i].call, pool);
        for (unsigned round = 0; round < 20; round++) {
            for (unsigned j = 0; j < 20; j++)
                peer_writes(&t, 1000);
            while (t.came < t.sent) {
                if (!unr_in_flight(&t.op)) {
                    cr_assert_eq(t.last.error, 0);
                    take(&t);
                }
                until_came(&t);
                if (!unr_in_flight(&t.op))
                    cr_assert_gt(t.last.bytes, 0, "%s", ways[i].name);
            }
        }
        cr_assert_eq(t.came, t.sent);
        cr_assert_gt(t.last_shots, 0, "%s: the CQ was never full", ways[i].name);
        close_taker(&t);
        unr_pool_close(pool);
        cr_assert_eq(unr_loop_close(loop), 0);
    }
    loop = outer;
    close_loop();
}

Test(multishot, cq_overflow_ends_no_stream)
{
    static struct taker t;
    struct unr_loop    *outer = loop;
    loop = open_loop_with(4, 4);
    struct unr_pool *pool = open_published_pool(64, 512, 64);
    begin(&t, UNIX_STREAM, RECV, pool);
    for (unsigned i = 0; i < 20; i++)
        peer_writes(&t, 1024);
    shutdown(t.to, SHUT_WR);
    do {
        take(&t);
        until_end(&t);
        cr_assert_eq(t.last.error, 0);
    } while (t.last.bytes);
    cr_assert_eq(t.came, t.sent, "it has ended behind its last byte");
    cr_assert_null(t.last_data);
    cr_assert_gt(t.ends, 1);
    close_taker(&t);
    unr_pool_close(pool);
    cr_assert_eq(unr_loop_close(loop), 0);
    loop = outer;
    close_loop();
}

/* The end of a stream is a last `done` without a buffer. */
Test(multishot, end_of_a_stream)
{
    struct unr_pool *pool = open_published_pool(16, 512, 4);
    for (enum link link = UNIX_STREAM; link <= TCP; link++) {
        static struct taker t;
        struct msghdr       parts;
        begin(&t, link, RECV, pool);
        peer_writes(&t, 2000);
        take(&t);
        until_came(&t);
        shutdown(t.to, SHUT_WR);
        until_end(&t);
        cr_assert_eq(t.last.error, 0);
        cr_assert_eq(t.last.bytes, 0);
        cr_assert_eq(t.came, 2000);
        memset(&parts, 0xff, sizeof parts);
        cr_assert_null(unr_shot_data(&t.op));
        cr_assert_null(unr_shot_datagram(&t.op, &parts));
        cr_assert_null(unr_shot_datagram(&t.op, NULL));
        cr_assert_eq(parts.msg_namelen + parts.msg_controllen, 0);
        cr_assert_null(parts.msg_name);
        close_taker(&t);
    }
    end_test(pool);
}

/* A receive that was submitted again, as more came than there were published buffers, has an age
 * that somebody can believe. */
Test(multishot, dump_tells_its_age)
{
    struct unr_pool    *pool = open_published_pool(64, 512, 2);
    static struct taker t;
    char                text[2000] = "";
    int                 fds[2];
    begin(&t, UNIX_STREAM, RECV, pool);
    for (unsigned i = 0; i < 10; i++)
        peer_writes(&t, 1000);
    take(&t);
    until_came(&t);
    cr_assert(unr_in_flight(&t.op));
    cr_assert_eq(pipe(fds), 0);
    unr_loop_dump(loop, fds[1]);
    cr_assert_gt(read(fds[0], text, sizeof text - 1), 0);
    const char *age = strstr(text, " for ");
    cr_assert_not_null(age);
    cr_assert_lt(strtoul(age + 5, NULL, 10), 600000, "%s", text);
    close_pair(fds);
    close_taker(&t);
    end_test(pool);
}

/* The end of a stream is told also where it came with more bytes than the kernel takes at once, and
 * nobody hears of the cancel which that takes on a stream of AF_UNIX. */
Test(multishot, end_that_came_with_many_bytes)
{
    struct unr_pool *pool = open_published_pool(64, 512, 64);
    for (int flags = 0; flags < 4; flags++) {
        static struct taker t;
        begin(&t, flags & 1 ? TCP : UNIX_STREAM, RECV, pool);
        for (unsigned i = 0; i < 20; i++)
            peer_writes(&t, 1000);
        if (flags & 2)
            shutdown(t.to, SHUT_WR);
        else
            close(t.to), t.to = -1;
        take(&t);
        until_end(&t);
        cr_assert_eq(t.last.error, 0);
        cr_assert_eq(t.last.bytes, 0);
        cr_assert_eq(t.last.verdict, UNR_VERDICT_NONE);
        cr_assert_eq(t.came, t.sent);
        cr_assert_eq(t.ends, 1);
        close_taker(&t);
    }
    end_test(pool);
}

Test(multishot, end_of_a_pipe)
{
    static struct taker t;
    struct unr_pool    *pool = open_published_pool(16, 512, 4);
    begin(&t, PIPE, READ, pool);
    take(&t);
    peer_writes(&t, 2000);
    until_came(&t);
    close(t.to);
    until_end(&t);
    cr_assert_eq(t.last.error, 0);
    cr_assert_eq(t.last.bytes, 0);
    cr_assert_eq(t.came, 2000);
    t.to = -1;
    close_taker(&t);
    end_test(pool);
}

static void reset(int fd)
{
    struct linger now = { .l_onoff = 1 };
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(fd);
}

/* What came before the reset is handed out before the error, also if the reset was there first. */
Test(multishot, reset_comes_behind_the_data)
{
    struct unr_pool *pool = open_published_pool(16, 512, 4);
    for (unsigned early = 0; early < 2; early++) {
        static struct taker t;
        begin(&t, TCP, RECV, pool);
        if (early) {
            take(&t);
            submit();
        }
        peer_writes(&t, 2000);
        reset(t.to);
        t.to = -1;
        if (!early)
            take(&t);
        until_end(&t);
        cr_assert_eq(t.came, 2000);
        cr_assert_eq(t.last.error, -ECONNRESET, "%s", unr_explain_op(&t.op));
        cr_assert_null(t.last_data);
        close_taker(&t);
    }
    end_test(pool);
}

Test(multishot, errors_without_a_buffer)
{
    static struct taker t;
    struct unr_pool    *pool = open_published_pool(16, 512, 4);
    t = (struct taker){ .pool = pool, .from = -1, .to = -1 };
    for (t.call = RECV; t.call <= READ; t.call++) {
        take(&t);
        until_end(&t);
        cr_assert_eq(t.last.error, -EBADF);
        cr_assert_null(t.last_data);
    }
    begin(&t, PIPE, RECV, pool);
    take(&t);
    until_end(&t);
    cr_assert_eq(t.last.error, -ENOTSOCK);
    close_taker(&t);
    end_test(pool);
}

/* Flags that would bring the same bytes over and over, or count bytes that are not there. */
Test(multishot, flags_that_make_no_sense)
{
    static struct taker t;
    static const int    flags[][3] = { { MSG_WAITALL, MSG_PEEK, MSG_TRUNC },
                                       { MSG_WAITALL, MSG_PEEK, (int)0x80000000 } };
    struct unr_pool    *pool = open_published_pool(16, 512, 4);
    for (int call = RECV; call <= RECVMSG; call++)
        for (int i = 0; i < 3; i++) {
            begin(&t, UDP4, (enum call)call, pool);
            t.flags = flags[call - RECV][i];
            take(&t);
            until_end(&t);
            cr_assert_eq(t.last.error, -EINVAL, "%d %d", call, i);
            close_taker(&t);
        }
    end_test(pool);
}

/* A file is not waited for. */
Test(multishot, file_is_not_read_so)
{
    static struct taker t;
    struct unr_pool    *pool = open_published_pool(16, 512, 4);
    t = (struct taker){ .call = READ, .pool = pool, .to = -1 };
    t.from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    take(&t);
    until_end(&t);
    cr_assert_eq(t.last.error, -EBADFD, "%s", unr_explain_op(&t.op));
    close_taker(&t);
    end_test(pool);
}

/* ---- without buffers ---- */

static int waiting_bytes(int fd)
{
    int n = 0;
    ioctl(fd, FIONREAD, &n);
    return n;
}

/* With all buffers handed out nothing is taken; behind a give, the next start gets it. */
Test(multishot, without_buffers_nothing_is_taken)
{
    for (unsigned i = 0; i < LENGTH(ways); i++) {
        static struct taker t;
        struct unr_pool    *pool = open_published_pool(4, 512, 1);
        begin(&t, ways[i].link, ways[i].call, pool);
        t.keeps = true;
        take(&t);
        do {
            peer_writes(&t, 512);
            until_came(&t);
        } while (unr_in_flight(&t.op));
        peer_writes(&t, 512);
        cr_assert_eq(t.last.error, -ENOBUFS, "%s: %s", ways[i].name, unr_explain_op(&t.op));
        cr_assert_eq(t.last.verdict, UNR_VERDICT_NONE);
        cr_assert_eq(t.keeping, 3, "one is kept for receivers");
        cr_assert_null(t.last_data);
        cr_assert_lt(t.came, t.sent);
        cr_assert_gt(waiting_bytes(t.from), 0);
        shutdown(t.to, SHUT_WR); /* is not seen either */
        take(&t);
        until_end(&t);
        cr_assert_eq(t.last.error, -ENOBUFS);
        let_go(&t, 0);
        take(&t);
        until_came(&t);
        cr_assert_eq(t.came, t.sent, "%s", ways[i].name);
        close_taker(&t);
        cr_assert_eq(held_by(pool), 0);
        unr_pool_close(pool);
    }
    close_loop();
}

/* ---- a limit ---- */

/* So many bytes, and less than a buffer more, also where it has run out of published buffers, which
 * nobody hears of. */
Test(multishot, limit)
{
    const unsigned published[] = { 64, 1 };
    for (unsigned i = 0; i < LENGTH(published); i++)
        for (uint32_t limit = 1; limit < 6000; limit = limit * 3 + 1) {
            static struct taker t;
            struct unr_pool    *pool = open_published_pool(64, 512, published[i]);
            begin(&t, UNIX_STREAM, RECV, pool);
            t.limit = limit;
            t.keeps = true;
            for (unsigned j = 0; j < 10; j++)
                peer_writes(&t, 1024);
            take(&t);
            until_end(&t);
            cr_assert_eq(t.last.error, 0);
            cr_assert_gt(t.last.bytes, 0);
            cr_assert_geq(t.came, limit);
            cr_assert_lt(t.came, limit + 512, "limit %u, %u published: %u came", limit,
                         published[i], (unsigned)t.came);
            take_the_rest(&t);
            close_taker(&t);
            unr_pool_close(pool);
        }
    close_loop();
}

/* ---- datagrams ---- */

/* Each comes with the name of its sender. */
static void name_senders(enum link link)
{
    static struct taker     t;
    struct unr_pool        *pool = open_published_pool(16, 1024, 4);
    struct sockaddr_storage mine;
    socklen_t               len = sizeof mine;
    struct msghdr           parts;
    begin(&t, link, RECVMSG, pool);
    cr_assert_eq(getsockname(t.to, (struct sockaddr *)&mine, &len), 0);
    for (unsigned i = 0; i < 20; i++) {
        t.keeps = true;
        if (!unr_in_flight(&t.op))
            take(&t);
        peer_writes(&t, 0);
        until_came(&t);
        unsigned char *payload = unr_shot_datagram(&t.op, &parts);
        cr_assert_eq(payload, unr_shot_data(&t.op));
        cr_assert_eq(parts.msg_namelen, len);
        cr_assert_eq(memcmp(parts.msg_name, &mine, len), 0);
        cr_assert_eq(parts.msg_controllen, 0);
        cr_assert_eq(parts.msg_flags & (MSG_TRUNC | MSG_CTRUNC), 0);
        cr_assert_eq(parts.msg_iovlen, 0);
        cr_assert_null(parts.msg_iov);
        let_go(&t, 0);
    }
    close_taker(&t);
    end_test(pool);
}

Test(multishot, datagram_and_its_sender)
{
    name_senders(UDP4);
}

Test(multishot, datagram_and_its_sender_over_ipv6)
{
    name_senders(UDP6);
}

/* A name for which the layout keeps less room is cut, and one without room is left out. */
Test(multishot, room_for_a_name)
{
    struct unr_pool *pool = open_published_pool(16, 512, 4);
    for (socklen_t room = 0; room <= 24; room += 4) {
        static struct taker     t;
        struct sockaddr_storage mine;
        socklen_t               len = sizeof mine;
        struct msghdr           parts;
        begin(&t, UDP4, RECVMSG, pool);
        cr_assert_eq(getsockname(t.to, (struct sockaddr *)&mine, &len), 0);
        t.layout.msg_namelen = room;
        t.keeps = true;
        take(&t);
        peer_writes(&t, 0);
        until_came(&t);
        unr_shot_datagram(&t.op, &parts);
        cr_assert_eq(parts.msg_namelen, room < len ? room : len, "%u", parts.msg_namelen);
        cr_assert_eq(memcmp(parts.msg_name, &mine, parts.msg_namelen), 0);
        close_taker(&t);
    }
    end_test(pool);
}

struct letter {
    struct unr_op     op;
    struct unr_result result;
    unsigned          runs;
    unsigned char    *data;
    struct msghdr     parts;
};

static void got(struct unr_op *op)
{
    struct letter *l = op->data;
    l->result = op->result;
    l->data = unr_shot_datagram(op, &l->parts);
    l->runs++;
}

static void await_letter(struct letter *l)
{
    for (unsigned runs = l->runs; l->runs == runs;)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
}

static void end_letter(struct letter *l, struct unr_pool *pool)
{
    if (l->data)
        unr_pool_give(pool, l->data);
    unr_cancel(&l->op, UNR_CANCEL_ALL);
    while (unr_in_flight(&l->op))
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
}

/* As much of a datagram as there is room for, and MSG_TRUNC. */
Test(multishot, datagram_longer_than_its_buffer)
{
    enum { SIZE = 512, ROOM = SIZE - 16 - 128 - 64 };
    struct unr_pool *pool = open_published_pool(16, SIZE, 4);
    struct msghdr    layout = { .msg_namelen = 128, .msg_controllen = 64 };
    char             text[2000];
    int              from, to;
    memset(text, 'a', sizeof text);
    udp_pair(AF_INET, &from, &to);
    for (size_t len = ROOM - 1; len <= ROOM + 1; len++)
        for (int flags = 0; flags <= MSG_TRUNC; flags += MSG_TRUNC) {
            struct letter l = { 0 };
            unr_start(loop, unr_recvmsg_multishot(&l.op, from, pool, &layout, flags), got, &l);
            cr_assert_eq(send(to, text, len, 0), (ssize_t)len);
            await_letter(&l);
            cr_assert_eq(l.result.bytes, len < ROOM ? len : ROOM);
            cr_assert_eq(l.parts.msg_flags & MSG_TRUNC, len > ROOM ? MSG_TRUNC : 0);
            cr_assert_eq(memcmp(l.data, text, l.result.bytes), 0);
            end_letter(&l, pool);
        }
    /* of recv, the rest is lost */
    struct letter l = { 0 };
    unr_start(loop, unr_recv_multishot(&l.op, from, pool, 0, 0), got, &l);
    cr_assert_eq(send(to, text, 2000, 0), 2000);
    await_letter(&l);
    cr_assert_eq(l.result.bytes, SIZE);
    unr_pool_give(pool, l.data);
    cr_assert_eq(send(to, "b", 1, 0), 1);
    await_letter(&l);
    cr_assert_eq(l.result.bytes, 1);
    cr_assert_eq(l.data[0], 'b');
    cr_assert_eq(l.parts.msg_namelen, 0, "one of another kind has no parts");
    cr_assert_null(l.parts.msg_name);
    end_letter(&l, pool);
    close(from);
    close(to);
    end_test(pool);
}

static struct cmsghdr *control_of(struct msghdr *parts, int level, int type)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(parts); c; c = CMSG_NXTHDR(parts, c))
        if (c->cmsg_level == level && c->cmsg_type == type)
            return c;
    return NULL;
}

/* Control data stand in the buffer, too; where the layout keeps too little room, that is said. */
Test(multishot, datagram_with_control_data)
{
    struct unr_pool *pool = open_published_pool(16, 1024, 4);
    struct msghdr    layout = { .msg_namelen = 128, .msg_controllen = 256 };
    struct letter    l = { 0 };
    int              from, to, on = 1;
    udp_pair(AF_INET, &from, &to);
    cr_assert_eq(setsockopt(from, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof on), 0);
    cr_assert_eq(setsockopt(from, IPPROTO_IP, IP_PKTINFO, &on, sizeof on), 0);
    unr_start(loop, unr_recvmsg_multishot(&l.op, from, pool, &layout, 0), got, &l);
    for (unsigned i = 0; i < 5; i++) {
        struct in_pktinfo info;
        struct timeval    time;
        struct cmsghdr   *c;
        cr_assert_eq(send(to, "hello", 5, 0), 5);
        await_letter(&l);
        cr_assert_eq(l.result.bytes, 5);
        cr_assert_eq(memcmp(l.data, "hello", 5), 0);
        cr_assert_not_null(c = control_of(&l.parts, SOL_SOCKET, SCM_TIMESTAMP));
        memcpy(&time, CMSG_DATA(c), sizeof time);
        cr_assert_gt(time.tv_sec, 1000000);
        cr_assert_not_null(c = control_of(&l.parts, IPPROTO_IP, IP_PKTINFO));
        memcpy(&info, CMSG_DATA(c), sizeof info);
        cr_assert_eq(info.ipi_addr.s_addr, htonl(INADDR_LOOPBACK));
        cr_assert_eq(l.parts.msg_flags & MSG_CTRUNC, 0);
        if (i < 4)
            unr_pool_give(pool, l.data);
    }
    end_letter(&l, pool);
    layout.msg_controllen = sizeof(struct cmsghdr) + 8;
    l = (struct letter){ 0 };
    unr_start(loop, unr_recvmsg_multishot(&l.op, from, pool, &layout, 0), got, &l);
    cr_assert_eq(send(to, "hello", 5, 0), 5);
    await_letter(&l);
    cr_assert_eq(l.result.bytes, 5);
    cr_assert_eq(memcmp(l.data, "hello", 5), 0);
    cr_assert(l.parts.msg_flags & MSG_CTRUNC);
    cr_assert_leq(l.parts.msg_controllen, layout.msg_controllen);
    end_letter(&l, pool);
    close(from);
    close(to);
    end_test(pool);
}

/* An empty datagram ends both: recv without a buffer, recvmsg with one, and its sender. */
Test(multishot, empty_datagram_is_a_last_shot)
{
    struct unr_pool        *pool = open_published_pool(16, 512, 4);
    struct msghdr           layout = { .msg_namelen = 128 };
    struct sockaddr_storage mine;
    socklen_t               len = sizeof mine;
    int                     from, to;
    udp_pair(AF_INET, &from, &to);
    cr_assert_eq(getsockname(to, (struct sockaddr *)&mine, &len), 0);
    for (unsigned i = 0; i < 10; i++) {
        struct letter l = { 0 };
        unr_start(loop,
                  i % 2 ? unr_recvmsg_multishot(&l.op, from, pool, &layout, 0)
                        : unr_recv_multishot(&l.op, from, pool, 0, 0),
                  got, &l);
        cr_assert_eq(send(to, "", 0, 0), 0);
        cr_assert_eq(send(to, "next", 4, 0), 4);
        await_letter(&l);
        cr_assert_eq(l.result.error, 0);
        cr_assert_eq(l.result.bytes, 0);
        cr_assert_eq(l.result.flags & UNR_MORE, 0);
        cr_assert(!unr_in_flight(&l.op));
        if (i % 2) {
            cr_assert_not_null(l.data);
            cr_assert_eq(l.parts.msg_namelen, len);
            cr_assert_eq(memcmp(l.parts.msg_name, &mine, len), 0);
        } else {
            cr_assert_null(l.data);
        }
        end_letter(&l, pool);
        cr_assert_eq(drain(from), 4, "the next one is still there");
    }
    close(from);
    close(to);
    end_test(pool);
}

/* So does a connection of records that has ended. */
Test(multishot, records_end)
{
    struct unr_pool *pool = open_published_pool(16, 512, 4);
    for (enum call call = RECV; call <= RECVMSG; call++) {
        static struct taker t;
        begin(&t, UNIX_RECORDS, call, pool);
        peer_writes(&t, 0);
        peer_writes(&t, 0);
        shutdown(t.to, SHUT_WR);
        take(&t);
        until_end(&t);
        cr_assert_eq(t.last.error, 0);
        cr_assert_eq(t.last.bytes, 0);
        cr_assert_eq(t.came, 2);
        cr_assert_eq(t.last_data != NULL, call == RECVMSG);
        close_taker(&t);
    }
    end_test(pool);
}

/* ---- slots, closes, and strangers ---- */

Test(multishot, bound_to_a_slot)
{
    static struct taker t;
    struct unr_signal   stop = { 0 };
    struct unr_pool    *pool = open_published_pool(16, 512, 4);
    begin(&t, TCP, RECV, pool);
    for (unsigned i = 1; i <= 3; i++) {
        unr_start(loop, unr_bind_slot(describe_taker(&t), unr_signal_slot(&stop)), took, &t);
        peer_writes(&t, 100);
        until_came(&t);
        cr_assert_eq(unr_signal_emit(&stop, UNR_CANCEL_TOTAL), 1);
        until_end(&t);
        cr_assert_eq(t.last.error, -ECANCELED);
        cr_assert_eq(t.last.guarantee, UNR_CANCEL_TOTAL);
        cr_assert_eq(t.ends, i);
        cr_assert_null(t.last_data);
        cr_assert_eq(unr_signal_emit(&stop, UNR_CANCEL_TOTAL), 0);
    }
    cr_assert_eq(t.came, 300);
    close_taker(&t);
    end_test(pool);
}

/* Closed beneath it, or cancelled and closed: it ends once, and what it got it hands out. */
Test(multishot, closed_meanwhile)
{
    struct unr_pool *pool = open_published_pool(16, 512, 4);
    for (unsigned i = 0; i < LENGTH(ways); i++)
        for (unsigned way = 0; way < 4; way++) {
            static struct taker t;
            struct seen         closer = { 0 };
            begin(&t, ways[i].link, ways[i].call, pool);
            take(&t);
            if (way & 1)
                submit();
            peer_writes(&t, 100);
            if (way & 2)
                start(&closer, unr_close(&closer.op, t.from));
            else
                start(&closer, unr_cancel_close(&closer.op, t.from));
            finish(&closer);
            cr_assert_eq(closer.result.error, 0);
            unr_cancel(&t.op, UNR_CANCEL_ALL); /* a close alone may let it wait on */
            until_end(&t);
            cr_assert_eq(t.ends, 1);
            cr_assert_leq(t.came, t.sent);
            t.from = -1;
            close_taker(&t);
        }
    end_test(pool);
}

/* A loop that is closed hands out what has come, and each buffer can be given back after that. */
Test(multishot, closing_loop_ends_each)
{
    for (unsigned i = 0; i < LENGTH(ways); i++)
        for (unsigned submitted = 0; submitted < 2; submitted++) {
            static struct taker t;
            struct unr_pool    *pool = open_published_pool(16, 512, 4);
            begin(&t, ways[i].link, ways[i].call, pool);
            t.keeps = true;
            take(&t);
            if (submitted)
                submit();
            peer_writes(&t, 100);
            cr_assert_eq(unr_loop_close(loop), 0);
            cr_assert_eq(t.ends, 1, "%s", ways[i].name);
            cr_assert_eq(t.last.cause, -ESHUTDOWN);
            let_go(&t, 0);
            unr_pool_close(pool);
            close(t.from);
            close(t.to);
            cr_assert_eq(count_descriptors(), open_descriptors);
            open_loop();
        }
    close_loop();
}

static void fill_cancel_fd(void *sqe, void *fd)
{
    io_uring_prep_cancel_fd(sqe, *(int *)fd, IORING_ASYNC_CANCEL_ALL);
}

static void be_strange(int *fd)
{
    struct seen stranger = { 0 };
    start(&stranger,
          unr_sqe(&stranger.op, "cancel by descriptor", UNR_CANCEL_NONE, fill_cancel_fd, fd));
    while (!stranger.runs)
        submit();
}

/* A stranger's cancel is an interruption, behind all that was taken. */
Test(multishot, cancelled_by_a_stranger)
{
    static struct taker t;
    struct unr_pool    *pool = open_published_pool(16, 512, 4);
    begin(&t, TCP, RECV, pool);
    take(&t);
    peer_writes(&t, 100);
    until_came(&t);
    be_strange(&t.from);
    until_end(&t);
    cr_assert_eq(t.last.error, -EINTR);
    cr_assert_eq(t.last.verdict, UNR_VERDICT_NONE);
    cr_assert_null(unr_shot_data(&t.op));
    close_taker(&t);
    end_test(pool);
}

/* On a terminal it goes on behind that.  Its last `done` has not the buffer of the shot before. */
Test(multishot, interrupted_shot_is_not_handed_out_twice)
{
    static struct taker t;
    struct unr_pool    *pool = open_published_pool(16, 512, 4);
    begin(&t, PIPE, READ, pool);
    close_pair((int[]){ t.from, t.to });
    if (openpty(&t.to, &t.from, NULL, NULL, NULL) < 0)
        cr_skip_test("there is no terminal: %s", strerror(errno));
    t.keeps = true;
    t.link = EVENTFD; /* eight bytes that are a number */
    take(&t);
    submit();
    skip_without(&t);
    t.sent = 0x0a31313131313131;
    cr_assert_eq(write(t.to, "1111111\n", 8), 8);
    while (!t.shots && !t.ends)
        turn(&t);
    if (t.ends)
        cr_skip_test("no shot: %s", unr_explain_op(&t.op));
    cr_assert_eq(t.shots, 1);
    be_strange(&t.from);
    cr_assert(unr_in_flight(&t.op) || t.last.error == -EINTR);
    unr_cancel(&t.op, UNR_CANCEL_TOTAL);
    until_end(&t);
    cr_assert_null(t.last_data, "%s", unr_explain_op(&t.op));
    cr_assert_eq(t.keeping, 1);
    close_taker(&t);
    end_test(pool);
}

/* ---- what it may not be given to ---- */

static struct unr_op *described(struct unr_op *op)
{
    return unr_poll_multishot(op, 0, POLLIN);
}

static void in_deadline(void *context)
{
    static struct unr_deadline deadline;
    static struct unr_op       op;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_cancel_after(&deadline, described(&op), UNR_SEC(1)); /* given, and not even started */
}

static void in_group(void *context)
{
    static struct unr_group group;
    static struct unr_op    op;
    struct unr_op          *members[] = { described(&op) };
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_any(&group, members, 1), NULL, NULL);
}

static void in_scope(void *context)
{
    static struct unr_scope scope;
    static struct unr_op    op;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_scope(&scope), NULL, NULL);
    unr_scope_start(&scope, described(&op), NULL, NULL);
}

static void without_done(void *context)
{
    static struct unr_op op;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, described(&op), NULL, NULL);
}

struct endless {
    struct unr_op op;
    int           fd;
    unsigned      shots;
};

static void bring_next(struct unr_op *op)
{
    struct endless *e = op->data;
    e->shots++;
    if (op->result.flags & UNR_MORE && e->shots < 1000)
        cr_assert_eq(eventfd_write(e->fd, 1), 0);
}

/* Where the kernel posts completions by itself, those that come while shots are handed out are the
 * next turn's: a `done` that brings the next shot keeps neither timers nor tasks waiting. */
Test(multishot, shots_that_bring_others_do_not_hold_the_turn)
{
    struct unr_loop *outer = loop;
    struct endless   e = { .fd = eventfd(0, EFD_CLOEXEC) };
    loop = open_loop_flagged(UNR_LOOP_PLAIN);
    unr_start(loop, unr_poll_multishot(&e.op, e.fd, POLLIN), bring_next, &e);
    submit();
    cr_assert_eq(eventfd_write(e.fd, 1), 0);
    while (e.shots == 0)
        submit();
    cr_assert_leq(e.shots, 2);
    unr_cancel(&e.op, UNR_CANCEL_ALL);
    run();
    cr_assert_eq(unr_loop_close(loop), 0);
    loop = outer;
    close(e.fd);
    close_loop();
}

Test(multishot, given_to_a_combinator_is_named)
{
    void (*const breaches[])(void *) = { in_deadline, in_group, in_scope, without_done };
    for (unsigned i = 0; i < LENGTH(breaches); i++) {
        struct death death = in_child(breaches[i], NULL);
        expect_abort(&death, (const char *const[]){ "unring: broken contract:", "poll_multishot",
                                                    "a multishot operation", NULL });
    }
    close_loop();
}
