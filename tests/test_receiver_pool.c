/* SPDX-License-Identifier: MIT */
/* Receivers with a pool on the real kernel: the tests of those without, and what a pool adds. */
#define WITH_POOL
#include "test_receiver.c"

#include <arpa/inet.h>
#include <signal.h>
#include <stdatomic.h>

/* A pool of so few buffers that they run out. */
static void open_small_pool(unsigned count)
{
    unr_pool_close(pool);
    pool = open_pool_of(count, 512, 0);
}

static void init_with_credit(struct reading *r, uint32_t credit)
{
    unr_receiver_init(&r->receiver, loop, pool, r->fds[0], credit);
}

static void start_view(struct reading *r)
{
    r->read.runs = 0;
    start(&r->read, unr_receive_view(&r->read.op, &r->receiver));
}

/* Returns how many bytes there are to see, or an error. */
static int64_t view_once(struct reading *r)
{
    start_view(r);
    finish(&r->read);
    return r->read.result.error ? r->read.result.error : (int64_t)r->read.result.bytes;
}

static void write_all(int fd, const char *text)
{
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Tells whether the kernel ends a receive by itself after so many bytes: Linux 6.17. */
static bool has_receive_limit(void)
{
    struct seen limited = { .runs = 0 };
    int         fds[2];
    void       *buffer = NULL;
    unix_pair(fds);
    write_all(fds[1], "x");
    start(&limited, unr_recv_multishot(&limited.op, fds[0], pool, 1, 0));
    finish(&limited);
    if ((buffer = unr_shot_data(&limited.op)) != NULL)
        unr_pool_give(pool, buffer);
    close_pair(fds);
    return limited.result.error == 0;
}

static unsigned held_buffers(void)
{
    struct unr_pool_stats stats;
    unr_pool_stats(pool, &stats, sizeof stats);
    return stats.held;
}

/* ---- views ---- */

Test(receiver, view_shows_what_is_there_and_takes_nothing)
{
    struct reading r = { .read.runs = 0 };
    size_t         len;
    unix_pair(r.fds);
    init(&r);
    cr_assert_null(unr_receiver_data(&r.receiver, &len));
    cr_assert_eq(len, 0);
    write_all(r.fds[1], "hello");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(view_once(&r), 5);
        const char *data = unr_receiver_data(&r.receiver, &len);
        cr_assert(len == 5 && memcmp(data, "hello", 5) == 0);
        cr_assert_eq(unr_receiver_held(&r.receiver), 5);
    }
    unr_receiver_consume(&r.receiver, 2);
    cr_assert_eq(view_once(&r), 3);
    cr_assert_eq(memcmp(unr_receiver_data(&r.receiver, &len), "llo", 3), 0);
    cr_assert_eq(held_buffers(), 1);
    unr_receiver_consume(&r.receiver, 3);
    cr_assert_eq(held_buffers(), 0, "the buffer went back");
    start_view(&r);
    turn(1);
    cr_assert_eq(r.read.runs, 0);
    write_all(r.fds[1], "more");
    finish(&r.read);
    cr_assert_eq(r.read.result.bytes, 4);
    cr_assert_eq(read_once(&r, 64), 4, "a read copies what a view has shown");
    finish_reading(&r);
    close_all();
}

Test(receiver, view_of_the_end)
{
    struct reading r = { .read.runs = 0 };
    size_t         len;
    tcp_pair(r.fds);
    init(&r);
    write_all(r.fds[1], "last");
    shutdown(r.fds[1], SHUT_WR);
    cr_assert_eq(view_once(&r), 4);
    unr_receiver_consume(&r.receiver, 4);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(view_once(&r), 0);
        cr_assert_null(unr_receiver_data(&r.receiver, &len));
    }
    finish_reading(&r);
    close_all();
}

/* The end of a local stream is told also where it came with more bytes than the kernel takes at
 * once. */
Test(receiver, end_that_came_with_many_bytes)
{
    for (int closes = 0; closes < 2; closes++) {
        struct reading r = { .read.runs = 0 };
        static char    bytes[20000];
        open_small_pool(64);
        unix_pair(r.fds);
        cr_assert_eq(write(r.fds[1], bytes, sizeof bytes), (ssize_t)sizeof bytes);
        if (closes)
            close(r.fds[1]), r.fds[1] = -1;
        else
            shutdown(r.fds[1], SHUT_WR);
        init(&r);
        for (size_t came = 0, shown = 0; came < sizeof bytes; came += shown) {
            shown = (size_t)view_once(&r);
            cr_assert_gt(shown, 0);
            cr_assert_leq(shown, sizeof bytes - came);
            unr_receiver_consume(&r.receiver, shown);
        }
        cr_assert_eq(view_once(&r), 0, "the end");
        finish_reading(&r);
    }
    close_all();
}

/* Bytes that are shown stay where they are, and more may come behind them. */
Test(receiver, shown_bytes_stay_while_more_come)
{
    struct reading r = { .read.runs = 0 };
    struct iovec   pieces[8];
    char           all[6000];
    size_t         len, total = 0;
    skip_unpublished(pool);
    unix_pair(r.fds);
    init(&r);
    write_all(r.fds[1], "first");
    cr_assert_eq(view_once(&r), 5);
    char *data = unr_receiver_data(&r.receiver, &len);
    memset(all, 'x', sizeof all);
    for (size_t sent = 0; sent < sizeof all; sent += 1000) {
        cr_assert_eq(write(r.fds[1], all, 1000), 1000);
        turn(2);
    }
    cr_assert_eq(unr_receiver_held(&r.receiver), 6005);
    cr_assert_eq(unr_receiver_data(&r.receiver, &len), data);
    cr_assert_eq(memcmp(data, "first", 5), 0);
    unsigned n = unr_receiver_pieces(&r.receiver, pieces, 8);
    cr_assert_eq(pieces[0].iov_base, data);
    for (unsigned i = 0; i < n; i++)
        total += pieces[i].iov_len;
    cr_assert_eq(total, 6005);
    cr_assert_leq(n, 3, "what fits into a buffer is put together: %u", n);
    cr_assert_eq(held_buffers(), n);
    cr_assert_eq(unr_receiver_pieces(&r.receiver, pieces, 1), 1, "as many as there is room for");
    unr_receiver_consume(&r.receiver, 6005);
    cr_assert_eq(held_buffers(), 0);
    finish_reading(&r);
    close_all();
}

Test(receiver, kept_buffer_is_the_callers)
{
    struct reading r = { .read.runs = 0 };
    size_t         len;
    unix_pair(r.fds);
    init(&r);
    cr_assert_null(unr_receiver_keep(&r.receiver, &len));
    write_all(r.fds[1], "keep me");
    cr_assert_eq(view_once(&r), 7);
    unr_receiver_consume(&r.receiver, 5);
    char *kept = unr_receiver_keep(&r.receiver, &len);
    cr_assert(len == 2 && memcmp(kept, "me", 2) == 0);
    cr_assert_eq(unr_receiver_held(&r.receiver), 0);
    write_all(r.fds[1], "next");
    cr_assert_eq(read_once(&r, 64), 4);
    finish_reading(&r);
    cr_assert_eq(memcmp(kept, "me", 2), 0, "it outlives the receiver");
    unr_pool_give(pool, kept);
    close_all();
}

/* ---- credit ---- */

/* A peer that sends byte by byte, and nobody reads, holds few buffers. */
Test(receiver, small_messages_share_buffers)
{
    struct reading r = { .read.runs = 0 };
    skip_unpublished(pool);
    tcp_pair(r.fds);
    init(&r);
    for (int i = 0; i < 1000; i++) {
        write_all(r.fds[1], "x");
        turn(1);
    }
    while (unr_receiver_held(&r.receiver) < 1000)
        turn(1);
    cr_assert_leq(held_buffers(), 2);
    cr_assert_eq(read_once(&r, 4096), 1000);
    finish_reading(&r);
    close_all();
}

/* The kernel exceeds a credit by less than a buffer where it counts itself, and otherwise by what
 * is published.  Where it does not know the pool, nothing waits unread. */
static size_t credit_and_more(size_t credit)
{
    struct unr_pool_stats stats;
    if (!is_published(pool))
        return 0;
    unr_pool_stats(pool, &stats, sizeof stats);
    return credit + 4096 * (has_receive_limit() ? 1 : stats.published);
}

/* The kernel goes on when half of the credit is free, and not before. */
Test(receiver, credit_is_half_free_before_more_is_taken)
{
    struct reading r = { .read.runs = 0 };
    static char    bytes[32768];
    skip_unpublished(pool);
    unix_pair(r.fds);
    init_with_credit(&r, 4 * 4096);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(write(r.fds[1], bytes, 4096), 4096);
    while (unr_receiver_held(&r.receiver) < 4 * 4096)
        turn(1);
    turn(4);
    size_t held = unr_receiver_held(&r.receiver);
    cr_assert_leq(held, credit_and_more(4 * 4096));
    cr_assert_eq(write(r.fds[1], bytes, 4096), 4096); /* all before may have been taken */
    for (; held > 2 * 4096 + 1; held = unr_receiver_held(&r.receiver)) {
        size_t part = held - (2 * 4096 + 1);
        part = part < 2000 ? part : 2000;
        unr_receiver_consume(&r.receiver, part);
        turn(4);
        cr_assert_eq(unr_receiver_held(&r.receiver), held - part);
    }
    unr_receiver_consume(&r.receiver, 1);
    while (unr_receiver_held(&r.receiver) <= held)
        turn(1);
    finish_reading(&r);
    close_all();
}

struct flood {
    int           fd;
    atomic_size_t sent;
};

/* The receiver's own end is closed first, so that a thread at the other one comes to its end. */
static void finish_before(struct reading *r, pthread_t thread, int fd)
{
    r->fds[1] = -1;
    finish_reading(r);
    pthread_join(thread, NULL);
    close(fd);
}

static void *send_flood(void *context)
{
    static char   bytes[65536];
    struct flood *flood = context;
    while (flood->sent < 100u << 20) {
        ssize_t n = send(flood->fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        if (n < 0)
            break;
        flood->sent += (size_t)n;
    }
    return NULL;
}

Test(receiver, flood_is_held_at_the_credit)
{
    struct reading r = { .read.runs = 0 }, neighbour = { .read.runs = 0 };
    pthread_t      sender;
    tcp_pair(r.fds);
    tcp_pair(neighbour.fds);
    init_with_credit(&r, 20000);
    init(&neighbour);
    struct flood flood = { .fd = r.fds[1] };
    pthread_create(&sender, NULL, send_flood, &flood);
    unsigned turns = 0;
    for (int i = 0; i < 2000; i++) {
        start_read(&neighbour, 64);
        write_all(neighbour.fds[1], "question");
        for (; !neighbour.read.runs; turns++)
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(30)), 0);
        cr_assert_eq(neighbour.read.result.bytes, 8);
        cr_assert_leq(unr_receiver_held(&r.receiver), credit_and_more(20000));
    }
    cr_assert_leq(turns, 3 * 2000, "%u turns for 2000 answers", turns);
    while (is_published(pool) && unr_receiver_held(&r.receiver) < 20000)
        turn(1);
    cr_assert_lt(flood.sent, 100u << 20, "the sender is held up");
    for (size_t total = 0; total < 1 << 20;) { /* and goes on when somebody reads */
        int64_t n = read_once(&r, 4096);
        cr_assert_gt(n, 0);
        total += (size_t)n;
        cr_assert_leq(unr_receiver_held(&r.receiver), credit_and_more(20000));
    }
    finish_before(&r, sender, flood.fd);
    finish_reading(&neighbour);
    close_all();
}

/* Each byte once, whatever the credit is. */
Test(receiver, credit_loses_nothing)
{
    const uint32_t credits[] = { 1, 2, 511, 4096, 4097, 100000 };
    signal(SIGPIPE, SIG_IGN); /* the sender is not heard to its end */
    for (unsigned c = 0; c < sizeof credits / sizeof *credits; c++) {
        struct reading r = { .read.runs = 0 };
        pthread_t      sender;
        uint64_t       got = 0;
        unix_pair(r.fds);
        int fd = r.fds[1];
        init_with_credit(&r, credits[c]);
        pthread_create(&sender, NULL, send_flow, &fd);
        for (int64_t n; (n = read_once(&r, sizeof r.buf)) != 0; got += (uint64_t)n) {
            cr_assert_gt(n, 0);
            for (int64_t i = 0; i < n; i++)
                cr_assert_eq((unsigned char)r.buf[i], pattern(got + (uint64_t)i));
            if (got > FLOW / 16)
                break;
        }
        finish_before(&r, sender, fd);
    }
    close_all();
}

/* ---- a pool that is empty ---- */

static void *taken[64];

/* One receiver holds all buffers, and nobody reads it; or the test does. */
static void take_the_whole_pool(struct reading *hog)
{
    static char bytes[4096];
    unix_pair(hog->fds);
    init_with_credit(hog, 1 << 20);
    cr_assert_gt(send(hog->fds[1], bytes, sizeof bytes, 0), 0);
    if (!is_published(pool)) {
        for (unsigned i = 0; (taken[i] = unr_pool_take(pool)) != NULL;)
            i++;
        return;
    }
    for (struct unr_pool_stats stats = { 0 }; !stats.starved;) {
        turn(1);
        unr_pool_stats(pool, &stats, sizeof stats);
    }
}

static void give_taken(void)
{
    for (unsigned i = 0; taken[i]; i++)
        unr_pool_give(pool, taken[i]);
    taken[0] = NULL;
}

static void finish_hog(struct reading *hog)
{
    finish_reading(hog);
    give_taken();
}

Test(receiver, empty_pool_blocks_nobody_who_reads)
{
    struct reading hog = { .read.runs = 0 }, copies = { .read.runs = 0 },
                   looks = { .read.runs = 0 };
    size_t len;
    open_small_pool(4);
    take_the_whole_pool(&hog);
    unix_pair(copies.fds);
    tcp_pair(looks.fds);
    init(&copies);
    init(&looks);
    for (int i = 0; i < 100; i++) {
        start_read(&copies, 64);
        start_view(&looks);
        if (i % 2)
            submit();
        write_all(copies.fds[1], "copied");
        write_all(looks.fds[1], "seen");
        finish(&copies.read);
        finish(&looks.read);
        cr_assert_eq(copies.read.result.bytes, 6);
        cr_assert_eq(memcmp(copies.buf, "copied", 6), 0);
        cr_assert_eq(memcmp(unr_receiver_data(&looks.receiver, &len), "seen", 4), 0);
        cr_assert_eq(len, 4);
        unr_receiver_consume(&looks.receiver, 4);
    }
    finish_hog(&hog);
    finish_reading(&copies);
    finish_reading(&looks);
    close_all();
}

static void ends_behind_an_empty_pool(int how, bool waits, bool looks)
{
    struct reading hog = { .read.runs = 0 }, r = { .read.runs = 0 };
    struct linger  reset = { .l_onoff = 1 };
    open_small_pool(4);
    take_the_whole_pool(&hog);
    tcp_pair(r.fds);
    init(&r);
    turn(1);
    if (how == RESET)
        setsockopt(r.fds[1], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (waits && looks)
        start_view(&r);
    else if (waits)
        start_read(&r, 64);
    turn(1);
    close(r.fds[1]);
    r.fds[1] = -1;
    if (!waits) {
        turn(1);
        if (looks)
            start_view(&r);
        else
            start_read(&r, 64);
    }
    finish(&r.read);
    cr_assert_eq(r.read.result.error, how == RESET ? -ECONNRESET : 0);
    cr_assert_eq(r.read.result.bytes, 0);
    finish_reading(&r);
    finish_hog(&hog);
}

Test(receiver, end_of_stream_behind_an_empty_pool_is_seen)
{
    for (int i = 0; i < 8; i++)
        ends_behind_an_empty_pool(i & 1 ? RESET : FIN, i & 2, i & 4);
    close_all();
}

/* Each has one message unread, and there are three buffers, without the spare one. */
Test(receiver, starved_receivers_are_served_in_turn)
{
    enum { MANY = 12 };
    static struct reading readings[MANY];
    static char           bytes[400];
    unsigned              armed = 0;
    open_small_pool(4);
    skip_unpublished(pool);
    for (int i = 0; i < MANY; i++) {
        unix_pair(readings[i].fds);
        init(&readings[i]);
        cr_assert_eq(write(readings[i].fds[1], bytes, sizeof bytes), sizeof bytes);
        turn(2);
        armed += unr_receiver_held(&readings[i].receiver) == sizeof bytes;
    }
    cr_assert_eq(armed, 3);
    for (int i = 0; i < MANY; i++) { /* the oldest gives its buffer to who has waited longest */
        cr_assert_eq(unr_receiver_held(&readings[i].receiver), sizeof bytes, "%d", i);
        unr_receiver_consume(&readings[i].receiver, sizeof bytes);
        turn(2);
    }
    for (int i = 0; i < MANY; i++)
        finish_reading(&readings[i]);
    close_all();
}

/* Both buffers are kept.  Each that comes back shows the bytes of the read that has waited longest.
 */
Test(receiver, views_without_a_buffer_are_served_in_turn)
{
    enum { MANY = 5 };
    static struct reading readings[MANY];
    static char           bytes[1024];
    struct reading        keeper = { .read.runs = 0 };
    void                 *kept[2];
    size_t                len;
    open_small_pool(2);
    unix_pair(keeper.fds);
    init(&keeper);
    cr_assert_eq(write(keeper.fds[1], bytes, sizeof bytes), sizeof bytes);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(view_once(&keeper), 512);
        kept[i] = unr_receiver_keep(&keeper.receiver, &len);
    }
    for (int i = 0; i < MANY; i++) {
        unix_pair(readings[i].fds);
        init(&readings[i]);
        start_view(&readings[i]);
        write_all(readings[i].fds[1], "waits");
        turn(2);
    }
    unr_pool_give(pool, kept[0]);
    for (int i = 0; i < MANY; i++) {
        turn(2);
        for (int j = 0; j < MANY; j++)
            cr_assert_eq(readings[j].read.runs, j <= i, "%d %d", i, j);
        unr_receiver_consume(&readings[i].receiver, 5);
    }
    unr_pool_give(pool, kept[1]);
    for (int i = 0; i < MANY; i++)
        finish_reading(&readings[i]);
    finish_reading(&keeper);
    close_all();
}

/* Makes a receiver wait in line: what has come for it found no buffer. */
static void wait_in_line(struct reading *r)
{
    static const char bytes[1024];
    unix_pair(r->fds);
    init(r);
    turn(1);
    cr_assert_eq(write(r->fds[1], bytes, sizeof bytes), sizeof bytes);
    turn(2);
    cr_assert_eq(unr_receiver_held(&r->receiver), 0);
}

/* Nobody else has a use for the buffer that is published, and none comes back meanwhile. */
Test(receiver, view_does_not_wait_beside_a_published_buffer)
{
    struct reading keeper = { .read.runs = 0 }, idle = { .read.runs = 0 }, r = { .read.runs = 0 };
    size_t         len;
    open_small_pool(2);
    unix_pair(keeper.fds);
    init(&keeper);
    write_all(keeper.fds[1], "kept");
    cr_assert_eq(view_once(&keeper), 4);
    void *published = unr_receiver_keep(&keeper.receiver, &len);
    finish_reading(&keeper);
    wait_in_line(&idle);
    cr_assert_eq(read_once(&idle, 1024), 1024, "from the socket");
    wait_in_line(&r);
    unr_pool_give(pool, published); /* for the first in line, to whom nothing comes */
    turn(1);
    cr_assert_eq(view_once(&r), 512, "in the spare buffer");
    void *spare = unr_receiver_keep(&r.receiver, &len);
    cr_assert_eq(held_buffers(), 1);
    start_view(&r);
    turn(3);
    cr_assert_eq(r.read.runs, 1);
    cr_assert_eq(r.read.result.bytes, 512);
    unr_pool_give(pool, spare);
    finish_reading(&idle);
    finish_reading(&r);
    close_all();
}

/* ---- ends of a receiver that is not armed ---- */

enum waits_for { CREDIT, BUFFER };

/* It has its credit unread, or waits in line for a buffer. */
static void make_it_wait(struct reading *r, struct reading *hog, enum waits_for what)
{
    static char bytes[1000];
    if (what == BUFFER) {
        open_small_pool(4);
        take_the_whole_pool(hog);
    }
    unix_pair(r->fds);
    init_with_credit(r, 100);
    cr_assert_eq(write(r->fds[1], bytes, sizeof bytes), sizeof bytes);
    turn(4);
}

/* What it waits for comes, and nothing is armed for it. */
static void let_it_go_on(struct reading *r, struct reading *hog, enum waits_for what)
{
    if (what == BUFFER)
        finish_hog(hog);
    unr_receiver_free(&r->receiver);
    turn(2);
    cr_assert_eq(held_buffers(), 0);
}

static void closed_while_it_waits(enum waits_for what)
{
    struct reading r = { .read.runs = 0 }, hog = { .read.runs = 0 };
    int            others[2];
    make_it_wait(&r, &hog, what);
    start(&r.other, unr_close(&r.other.op, r.fds[0]));
    finish(&r.other);
    unix_pair(others);
    cr_assert_eq(others[0], r.fds[0], "the number is in use again");
    write_all(others[1], "another's");
    let_it_go_on(&r, &hog, what);
    cr_assert_eq(drain(others[0]), 9);
    close_pair(others);
    close(r.fds[1]);
    close_all();
}

static void cancel_closed_while_it_waits(enum waits_for what)
{
    struct reading r = { .read.runs = 0 }, hog = { .read.runs = 0 };
    make_it_wait(&r, &hog, what);
    start(&r.other, unr_cancel_close(&r.other.op, r.fds[0]));
    finish(&r.other);
    let_it_go_on(&r, &hog, what);
    close(r.fds[1]);
    close_all();
}

static void stopped_while_it_waits(enum waits_for what)
{
    struct reading r = { .read.runs = 0 }, hog = { .read.runs = 0 };
    size_t         total = 0;
    make_it_wait(&r, &hog, what);
    stop(&r);
    for (int64_t n; (n = read_once(&r, 64)) > 0;)
        total += (size_t)n;
    cr_assert_eq(total + drain(r.fds[0]), 1000, "each byte is in the receiver or in the socket");
    let_it_go_on(&r, &hog, what);
    close_pair(r.fds);
    close_all();
}

static void loop_closed_while_it_waits(enum waits_for what)
{
    struct reading r = { .read.runs = 0 }, hog = { .read.runs = 0 };
    make_it_wait(&r, &hog, what);
    cr_assert_eq(unr_loop_close(loop), 0);
    unr_receiver_free(&hog.receiver);
    unr_receiver_free(&r.receiver);
    give_taken();
    unr_pool_close(pool);
    close_pair(r.fds);
    if (what == BUFFER)
        close_pair(hog.fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

#define WHILE_IT_WAITS(what)                                                                       \
    Test(receiver, what##_while_it_waits_for_credit)                                               \
    {                                                                                              \
        what##_while_it_waits(CREDIT);                                                             \
    }                                                                                              \
    Test(receiver, what##_while_it_waits_for_a_buffer)                                             \
    {                                                                                              \
        what##_while_it_waits(BUFFER);                                                             \
    }
WHILE_IT_WAITS(closed)
WHILE_IT_WAITS(cancel_closed)
WHILE_IT_WAITS(stopped)
WHILE_IT_WAITS(loop_closed)

/* ---- messages ---- */

/* [0] receives from [1], whose name is set. */
static void udp_pair(int fds[2], struct sockaddr_in *ret_sender)
{
    struct sockaddr_in names[2];
    socklen_t          len = sizeof *names;
    for (int i = 0; i < 2; i++) {
        names[i] = (struct sockaddr_in){ .sin_family = AF_INET,
                                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        cr_assert_eq(bind(fds[i], (struct sockaddr *)&names[i], len), 0);
        getsockname(fds[i], (struct sockaddr *)&names[i], &len);
    }
    cr_assert_eq(connect(fds[1], (struct sockaddr *)&names[0], len), 0);
    *ret_sender = names[1];
}

Test(receiver, message_has_its_sender)
{
    struct reading     r = { .read.runs = 0 };
    struct sockaddr_in sender, name = { 0 };
    struct iovec       pieces[2] = { { r.buf, 2 }, { r.buf + 100, 3 } };
    struct msghdr      message = { .msg_iov = pieces, .msg_iovlen = 2 };
    socklen_t          len;
    size_t             n;
    udp_pair(r.fds, &sender);
    init(&r);
    for (int i = 0; i < 2; i++) {
        write_all(r.fds[1], i ? "too long" : "name");
        message.msg_name = &name;
        message.msg_namelen = sizeof name;
        r.read.runs = 0;
        start(&r.read, unr_receive_message(&r.read.op, &r.receiver, &message));
        finish(&r.read);
        cr_assert_eq(r.read.result.bytes, i ? 5 : 4);
        cr_assert_eq(memcmp(r.buf, i ? "to" : "na", 2), 0);
        cr_assert_eq(memcmp(r.buf + 100, i ? "o l" : "me", 2), 0);
        cr_assert_eq(message.msg_flags & MSG_TRUNC, i ? MSG_TRUNC : 0);
        cr_assert_eq(message.msg_namelen, sizeof name);
        cr_assert_eq(memcmp(&name, &sender, sizeof name), 0);
    }
    write_all(r.fds[1], "seen");
    cr_assert_eq(view_once(&r), 4);
    cr_assert_eq(memcmp(unr_receiver_data(&r.receiver, &n), "seen", 4), 0);
    cr_assert_eq(memcmp(unr_receiver_name(&r.receiver, &len), &sender, sizeof sender), 0);
    cr_assert_eq(len, sizeof sender);
    unr_receiver_consume(&r.receiver, 0);
    cr_assert_null(unr_receiver_name(&r.receiver, &len));
    finish_reading(&r);
    close_all();
}

/* An empty datagram ends the kernel's receive, and nobody hears of that. */
Test(receiver, empty_datagram_is_one)
{
    struct reading     r = { .read.runs = 0 };
    struct sockaddr_in sender;
    size_t             len;
    udp_pair(r.fds, &sender);
    init(&r);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(send(r.fds[1], "", 0, 0), 0);
    write_all(r.fds[1], "full");
    for (int i = 0; i < 2; i++)
        cr_assert_eq(read_once(&r, 64), 0);
    cr_assert_eq(view_once(&r), 0);
    cr_assert_not_null(unr_receiver_data(&r.receiver, &len), "it is no end");
    unr_receiver_consume(&r.receiver, 0);
    cr_assert_eq(read_once(&r, 64), 4);
    finish_reading(&r);
    close_all();
}

/* Datagrams that nobody reads hold as many buffers as the credit has room for, and some. */
Test(receiver, flood_of_datagrams_is_held_at_the_credit)
{
    struct reading        r = { .read.runs = 0 };
    struct sockaddr_in    sender;
    struct unr_pool_stats stats;
    udp_pair(r.fds, &sender);
    init_with_credit(&r, 4 * 4096);
    for (int i = 0; i < 40; i++) {
        write_all(r.fds[1], "x");
        turn(1);
    }
    unr_pool_stats(pool, &stats, sizeof stats);
    unsigned credit = is_published(pool) ? 4 : 0;
    cr_assert(stats.held >= credit && stats.held <= credit + stats.published, "%u", stats.held);
    for (int i = 0; i < 40; i++)
        cr_assert_eq(read_once(&r, 64), 1);
    finish_reading(&r);
    close_all();
}

Test(receiver, message_behind_an_empty_pool)
{
    struct reading     r = { .read.runs = 0 }, hog = { .read.runs = 0 };
    struct sockaddr_in sender, name = { 0 };
    struct iovec       piece = { r.buf, sizeof r.buf };
    struct msghdr      message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_name = &name };
    socklen_t          len;
    size_t             n;
    open_small_pool(4);
    take_the_whole_pool(&hog);
    udp_pair(r.fds, &sender);
    init(&r);
    for (int i = 0; i < 10; i++) {
        message.msg_namelen = sizeof name;
        r.read.runs = 0;
        if (i % 2)
            start(&r.read, unr_receive_message(&r.read.op, &r.receiver, &message));
        else
            start_view(&r);
        write_all(r.fds[1], "name");
        finish(&r.read);
        cr_assert_eq(r.read.result.bytes, 4);
        const void *found = i % 2 ? &name : unr_receiver_name(&r.receiver, &len);
        cr_assert_eq(memcmp(found, &sender, sizeof sender), 0);
        if (i % 2)
            continue;
        cr_assert_eq(memcmp(unr_receiver_data(&r.receiver, &n), "name", 4), 0);
        unr_receiver_consume(&r.receiver, 4);
    }
    finish_hog(&hog);
    finish_reading(&r);
    close_all();
}

/* ---- streams ---- */

struct sink {
    int      fd;
    uint64_t got;
};

static void *take_flow(void *context)
{
    static char  bytes[30000];
    struct sink *sink = context;
    for (ssize_t n; (n = read(sink->fd, bytes, sizeof bytes)) > 0;)
        for (ssize_t i = 0; i < n; i++)
            if ((unsigned char)bytes[i] != pattern(sink->got++))
                return NULL;
    return sink;
}

/* Cancelled again and again: each byte is delivered, in the receiver or in the socket. */
Test(receiver, relay_delivers_what_a_receiver_shows)
{
    struct reading    r = { .read.runs = 0 };
    struct unr_stream from, to;
    struct unr_relay  relay = { 0 };
    int               fds[2];
    pthread_t         sender, taker;
    void             *right = NULL;
    uint64_t          delivered = 0;
    unsigned          state = 9, cancelled = 0;
    size_t            rest;
    tcp_pair(r.fds);
    unix_pair(fds);
    struct sink sink = { .fd = fds[1] };
    init(&r);
    unr_stream_receiver(&from, &r.receiver);
    unr_stream_socket(&to, fds[0]);
    pthread_create(&sender, NULL, send_flow, &r.fds[1]);
    pthread_create(&taker, NULL, take_flow, &sink);
    for (bool ended = false; !ended;) {
        state = state * 1103515245 + 12345;
        r.other.runs = 0;
        start(&r.other, unr_relay(&relay, &from, &to));
        for (unsigned turns = state >> 16 & 15; turns; turns--)
            submit();
        if (delivered < FLOW / 2)
            unr_cancel(&relay.op, UNR_CANCEL_PARTIAL);
        finish(&r.other);
        delivered += r.other.result.bytes;
        cancelled += r.other.result.error == -ECANCELED;
        unr_buffer_data(&relay.rest, &rest);
        cr_assert_eq(rest, 0);
        ended = r.other.result.error == 0;
    }
    cr_assert_eq(delivered, FLOW);
    cr_assert_gt(cancelled, 0);
    close(fds[0]);
    pthread_join(sender, NULL);
    pthread_join(taker, &right);
    cr_assert_eq(right, &sink);
    cr_assert_eq(sink.got, FLOW);
    close(fds[1]);
    finish_reading(&r);
    close_all();
}

/* What a relay could not deliver is the next read's. */
Test(receiver, relay_that_fails_leaves_its_bytes)
{
    struct reading    r = { .read.runs = 0 };
    struct unr_stream from, to;
    struct unr_relay  relay = { 0 };
    int               fds[2];
    unix_pair(r.fds);
    unix_pair(fds);
    close(fds[1]);
    init(&r);
    unr_stream_receiver(&from, &r.receiver);
    unr_stream_socket(&to, fds[0]);
    write_all(r.fds[1], "undelivered");
    start(&r.other, unr_relay(&relay, &from, &to));
    finish(&r.other);
    cr_assert_eq(r.other.result.error, -EPIPE);
    cr_assert_eq(r.other.result.bytes, 0);
    cr_assert_eq(read_once(&r, 64), 11);
    close(fds[0]);
    finish_reading(&r);
    close_all();
}

/* A relay of datagrams copies each of them. */
Test(receiver, relay_of_datagrams)
{
    struct reading    r = { .read.runs = 0 };
    struct unr_stream from, to;
    struct unr_relay  relay = { 0 };
    int               fds[2];
    char              got[64];
    datagram_pair(r.fds);
    unix_pair(fds);
    init(&r);
    unr_stream_receiver(&from, &r.receiver);
    unr_stream_socket(&to, fds[0]);
    write_all(r.fds[1], "one");
    write_all(r.fds[1], "two");
    start(&r.other, unr_relay(&relay, &from, &to));
    for (size_t n = 0; n < 6;) {
        submit();
        ssize_t more = recv(fds[1], got + n, sizeof got - n, MSG_DONTWAIT);
        n += more > 0 ? (size_t)more : 0;
    }
    cr_assert_eq(memcmp(got, "onetwo", 6), 0);
    unr_cancel(&relay.op, UNR_CANCEL_ALL);
    finish(&r.other);
    cr_assert_eq(r.other.result.bytes, 6);
    unr_buffer_free(&relay.rest);
    close_pair(fds);
    finish_reading(&r);
    close_all();
}

/* ---- what is named ---- */

static void view_without_a_pool(void *context)
{
    struct unr_receiver receiver = { 0 };
    struct unr_op       op = { 0 };
    (void)context;
    unr_receive_view(&op, &receiver);
}

static void consume_too_much(void *context)
{
    static struct reading r;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_pool();
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, r.fds) == 0);
    init(&r);
    unr_receiver_consume(&r.receiver, 1);
}

static void free_an_armed_one(void *context)
{
    static struct reading r;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_pool();
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, r.fds) == 0);
    init(&r);
    unr_receiver_free(&r.receiver);
}

static void close_the_pool_of_an_armed_one(void *context)
{
    static struct reading r;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_pool();
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, r.fds) == 0);
    init(&r);
    unr_pool_close(pool);
}

static void with_the_pool_of_another_loop(void *context)
{
    static struct reading r;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    open_pool();
    must(unr_loop_open(&loop, NULL) == 0);
    init(&r);
}

Test(receiver, misuse_is_named)
{
    const struct {
        void (*body)(void *context);
        const char *words;
    } misuses[] = {
        { view_without_a_pool, "unr_receive_view without a pool" },
        { consume_too_much, "unr_receiver_consume of more than there is" },
        { free_an_armed_one, "unr_receiver_free of a receiver that is armed" },
        { close_the_pool_of_an_armed_one, "unr_pool_close while an operation takes buffers" },
        { with_the_pool_of_another_loop, "a receiver with the pool of another loop" },
    };
    for (unsigned i = 0; i < sizeof misuses / sizeof *misuses; i++) {
        struct death death = in_child(misuses[i].body, NULL);
        expect_abort(&death,
                     (const char *const[]){ "unring: broken contract:", misuses[i].words, NULL });
    }
    close_all();
}

Test(receiver, no_socket_is_no_use_with_a_pool)
{
    struct reading r = { .read.runs = 0 };
    cr_assert_eq(pipe2(r.fds, O_CLOEXEC), 0);
    init(&r);
    cr_assert_eq(read_once(&r, 64), -ENOTSOCK);
    finish_reading(&r);
    close_all();
}
