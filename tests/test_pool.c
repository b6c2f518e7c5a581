/* SPDX-License-Identifier: MIT */
/* Pools on the real kernel: how they are opened, what they hand out, and what they cost.  The
 * operations that take buffers from them are in test_multishot.c and test_receiver_pool.c. */
#define SUPPORT_KERNEL
#include "support.h"

#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>

TestSuite(pool, .init = open_loop, .timeout = 60);

/* ---- helpers ---- */

static struct unr_pool_stats stats_of(const struct unr_pool *pool)
{
    struct unr_pool_stats stats;
    unr_pool_stats(pool, &stats, sizeof stats);
    return stats;
}

/* Takes buffers until there is none.  Returns how many. */
static unsigned take_all(struct unr_pool *pool, unsigned char **ret_buffers, unsigned most)
{
    unsigned       n = 0;
    unsigned char *buffer;
    while ((buffer = unr_pool_take(pool)) != NULL) {
        cr_assert_lt(n, most);
        ret_buffers[n++] = buffer;
    }
    return n;
}

static void give_all(struct unr_pool *pool, unsigned char **buffers, unsigned n)
{
    while (n)
        unr_pool_give(pool, buffers[--n]);
}

/* A descriptor from which buffers of the pool are filled, and what came. */
struct server {
    struct unr_op     op;
    struct unr_pool  *pool;
    int               fds[2]; /* its own, and the peer's */
    unsigned          shots, ends;
    bool              keeps; /* or gives each buffer back at once */
    unsigned char    *kept[4096];
    struct unr_result last;
};

static void served(struct unr_op *op)
{
    struct server *s = op->data;
    unsigned char *data = unr_shot_data(op);
    if (data) {
        s->kept[s->shots] = data;
        if (!s->keeps)
            unr_pool_give(s->pool, data);
        s->shots++;
    }
    if (!(op->result.flags & UNR_MORE)) {
        s->ends++;
        s->last = op->result;
    }
}

static void serve(struct server *s)
{
    unr_start(loop, unr_recv_multishot(&s->op, s->fds[0], s->pool, 0, 0), served, s);
}

/* Datagrams, each of which fills a buffer. */
static void begin(struct server *s, struct unr_pool *pool, bool keeps)
{
    skip_unpublished(pool);
    *s = (struct server){ .pool = pool, .keeps = keeps };
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s->fds), 0);
    serve(s);
}

static void end(struct server *s)
{
    unr_cancel(&s->op, UNR_CANCEL_TOTAL);
    while (unr_in_flight(&s->op))
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    close_pair(s->fds);
}

static void send_one(const struct server *s)
{
    cr_assert_eq(send(s->fds[1], "x", 1, 0), 1);
}

static void until_shots(const struct server *s, unsigned shots)
{
    while (s->shots < shots && unr_in_flight(&s->op))
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
}

/* ---- options ---- */

/* 1,024 buffers of 16 KiB, of which the kernel may choose from 64 since Linux 6.7, as old as a wait
 * for a futex, and one is kept. */
static void expect_defaults(const struct unr_pool_options *options)
{
    static unsigned char *buffers[1024];
    struct unr_pool      *pool = NULL;
    cr_assert_eq(unr_pool_open(&pool, loop, options), 0);
    unsigned published = has_feature(loop, "futex_wait") ? 64 : 0;
    cr_assert_eq(stats_of(pool).published, published);
    unsigned n = take_all(pool, buffers, 1024);
    cr_assert_eq(n, 1024 - published - 1);
    for (unsigned i = 0; i < n; i++) {
        buffers[i][0] = buffers[i][16383] = 1;
        for (unsigned j = 0; j < i; j++)
            cr_assert_geq(labs((long)(buffers[i] - buffers[j])), 16384);
    }
    give_all(pool, buffers, n);
    unr_pool_close(pool);
}

Test(pool, defaults)
{
    expect_defaults(NULL);
    expect_defaults(&(struct unr_pool_options){ .size = sizeof(struct unr_pool_options) });
    close_loop();
}

/* A program that was built with an older header has a smaller structure: what is not in it is a
 * default. */
Test(pool, older_options)
{
    struct unr_pool_options options = {
        .size = offsetof(struct unr_pool_options, count), .count = 3, .buffer_size = 1, .flags = 77
    };
    expect_defaults(&options);
    options.size = offsetof(struct unr_pool_options, buffer_size);
    options.count = 1024;
    expect_defaults(&options);
    close_loop();
}

Test(pool, options_that_are_refused)
{
    enum { SIZE = sizeof(struct unr_pool_options) };
    const struct unr_pool_options refused[] = {
        { .size = 0 },
        { .size = offsetof(struct unr_pool_options, count) - 1 },
        { .size = SIZE + 1 },
        { .size = SIZE, .count = 1 },
        { .size = SIZE, .count = 3 },
        { .size = SIZE, .count = 1000 },
        { .size = SIZE, .count = 65536 },
        { .size = SIZE, .buffer_size = 1 },
        { .size = SIZE, .buffer_size = 511 },
        { .size = SIZE, .buffer_size = 1000 },
        { .size = SIZE, .buffer_size = (1u << 30) + 512 },
        { .size = SIZE, .buffer_size = 1u << 31 },
        { .size = SIZE, .flags = 4 },
        { .size = SIZE, .flags = 1u << 31 },
        { .size = SIZE, .abandoned_max = 1 },
        { .size = SIZE, .flags = UNR_POOL_REGISTERED, .count = 32768, .buffer_size = 65536 },
        { .size = SIZE, .flags = UNR_POOL_REGISTERED, .count = 2, .buffer_size = 1u << 30 },
    };
    struct unr_pool *const untouched = (void *)&loop;
    for (unsigned i = 0; i < LENGTH(refused); i++) {
        struct unr_pool *pool = untouched;
        cr_assert_eq(unr_pool_open(&pool, loop, &refused[i]), -EINVAL, "options %u", i);
        cr_assert_eq(pool, untouched);
    }
    close_loop();
}

/* The smallest pool, the most buffers, the largest ones, and more published than there are. */
Test(pool, options_at_their_limits)
{
    const struct {
        unsigned count, buffer_size, published, expected;
    } limits[] = {
        { 2, 512, 1, 1 },       { 2, 512, 100, 2 },        { 32768, 512, 32768, 32768 },
        { 2, 1u << 30, 1, 1 },  { 16, 1536, 0, 16 },       { 128, 0, 0, 64 },
        { 32768, 16384, 1, 1 }, { 4, 512, UINT32_MAX, 4 },
    };
    for (unsigned i = 0; i < LENGTH(limits); i++) {
        struct unr_pool *pool =
            open_pool_of(limits[i].count, limits[i].buffer_size, limits[i].published);
        static struct server s;
        skip_unpublished(pool);
        cr_assert_eq(stats_of(pool).published, limits[i].expected);
        begin(&s, pool, false);
        for (unsigned j = 1; j <= 5; j++) {
            send_one(&s);
            until_shots(&s, j);
        }
        cr_assert_eq(s.shots, 5);
        end(&s);
        unr_pool_close(pool);
    }
    unr_pool_close(NULL);
    close_loop();
}

/* A kernel that has no rings of provided buffers. */
static int register_without_rings(unsigned fd, unsigned opcode, const void *argument,
                                  unsigned count)
{
    return opcode == IORING_REGISTER_PBUF_RING ? -EINVAL
                                               : kernel_register(fd, opcode, argument, count);
}

Test(pool, kernel_without_rings_of_buffers)
{
    struct unr_pool *pool = NULL;
    unr_pool_close(open_published_pool(2, 512, 1));
    hook_register = register_without_rings;
    cr_assert_eq(unr_pool_open(&pool, loop, NULL), -EINVAL);
    cr_assert_null(pool);
    hook_register = NULL;
    cr_assert_eq(unr_pool_open(&pool, loop, NULL), 0);
    unr_pool_close(pool);
    close_loop();
}

/* All buffers are there for receivers, which test_receiver_older.c has, and none for the kernel. */
Test(pool, kernel_before_6_7)
{
    struct unr_loop *outer = loop;
    hook_register = register_before_6_7;
    loop = open_loop_with(0, 0);
    unsigned char   *buffers[8];
    struct msghdr    layout = { 0 };
    struct unr_pool *pool = open_pool_of(8, 512, 2);
    cr_assert_eq(stats_of(pool).published, 0);
    for (int i = 0; i < 3; i++) {
        unsigned n = take_all(pool, buffers, 8);
        cr_assert_eq(n, 7);
        give_all(pool, buffers, n);
    }
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = { "recv_multishot", "recvmsg_multishot",
                                             "read_multishot" };
        static struct server     s;
        s = (struct server){ .pool = pool };
        unr_start(loop,
                  i == 0   ? unr_recv_multishot(&s.op, 0, pool, 0, 0)
                  : i == 1 ? unr_recvmsg_multishot(&s.op, 0, pool, &layout, 0)
                           : unr_read_multishot(&s.op, 0, pool),
                  served, &s);
        run();
        cr_assert_eq(s.ends, 1);
        cr_assert_eq(s.last.error, -EOPNOTSUPP);
        const char *words = unr_explain_op(&s.op);
        cr_assert(strstr(words, names[i]) && strstr(words, "Linux 6.7 does"), "%s", words);
    }
    unr_pool_close(pool);
    cr_assert_eq(unr_loop_close(loop), 0);
    loop = outer;
    close_loop();
}

/* Registers no ring: so many would cost time. */
static int register_no_ring(unsigned fd, unsigned opcode, const void *argument, unsigned count)
{
    return opcode == IORING_REGISTER_PBUF_RING || opcode == IORING_UNREGISTER_PBUF_RING
               ? 0
               : kernel_register(fd, opcode, argument, count);
}

static int open_smallest(struct unr_pool **ret_pool)
{
    const struct unr_pool_options options = {
        .size = sizeof options, .count = 2, .buffer_size = 512, .published = 1
    };
    return unr_pool_open(ret_pool, loop, &options);
}

/* An SQE names its pool in 16 bits.  A number that is free again is found. */
Test(pool, no_more_than_an_sqe_can_name)
{
    enum { ALL = 65536 };
    static struct unr_pool *pools[ALL];
    struct unr_pool *const  untouched = (void *)&loop;
    struct unr_pool        *another = untouched;
    hook_register = register_no_ring;
    for (unsigned i = 0; i < ALL; i++)
        cr_assert_eq(open_smallest(&pools[i]), 0, "pool %u", i);
    cr_assert_eq(open_smallest(&another), -ENOSPC);
    cr_assert_eq(another, untouched);
    for (unsigned i = 0; i < ALL; i += ALL / 4) {
        unr_pool_close(pools[i]);
        cr_assert_eq(open_smallest(&pools[i]), 0);
        cr_assert_eq(open_smallest(&another), -ENOSPC);
    }
    for (unsigned i = ALL; i;)
        unr_pool_close(pools[--i]);
    hook_register = NULL;
    close_loop();
}

/* ---- registered, and huge ---- */

static int open_flagged(struct unr_pool **ret_pool, struct unr_loop *on, unsigned count,
                        unsigned flags)
{
    struct unr_pool_options options = {
        .size = sizeof options, .count = count, .buffer_size = 4096, .flags = flags
    };
    return unr_pool_open(ret_pool, on, &options);
}

static void try_out(struct unr_pool *pool)
{
    static struct server s;
    begin(&s, pool, false);
    send_one(&s);
    until_shots(&s, 1);
    cr_assert_eq(s.shots, 1);
    cr_assert_eq(s.kept[0][0], 'x');
    end(&s);
}

/* A loop has one registered pool; what was refused has left nothing behind. */
Test(pool, second_registered_pool_is_refused)
{
    struct unr_pool *first = NULL, *second = NULL, *plain = NULL;
    cr_assert_eq(open_flagged(&first, loop, 16, UNR_POOL_REGISTERED), 0);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(open_flagged(&second, loop, 16, UNR_POOL_REGISTERED), -EBUSY);
    cr_assert_null(second);
    cr_assert_eq(open_flagged(&plain, loop, 16, 0), 0);
    try_out(first);
    try_out(plain);
    unr_pool_close(first);
    cr_assert_eq(open_flagged(&second, loop, 16, UNR_POOL_REGISTERED | UNR_POOL_HUGE), 0);
    try_out(second);
    try_out(plain);
    unr_pool_close(plain);
    unr_pool_close(second);
    close_loop();
}

Test(pool, huge_pages)
{
    struct unr_pool *pool = NULL;
    cr_assert_eq(open_flagged(&pool, loop, 1024, UNR_POOL_HUGE), 0);
    try_out(pool);
    unr_pool_close(pool);
    close_loop();
}

enum { REFUSED_TO_USER = 77, NOT_CHARGED = 78 };

/* As a user whom RLIMIT_MEMLOCK concerns.  A loop is charged before its pools, so the limit has
 * room for that. */
static void register_too_much(void *context)
{
    struct unr_pool *pool = NULL;
    struct unr_loop *opened;
    (void)context;
    must(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 4 << 20, 4 << 20 }) == 0);
    if (getuid() == 0)
        must(setresuid(65534, 65534, 65534) == 0);
    int error = unr_loop_open(&opened, NULL);
    if (error == -EPERM)
        _exit(REFUSED_TO_USER);
    must(error == 0);
    error = open_flagged(&pool, opened, 4096, UNR_POOL_REGISTERED); /* 16 MiB */
    if (error == 0)
        _exit(NOT_CHARGED);
    must(error == -EPERM);
    must(open_flagged(&pool, opened, 4096, 0) == 0);
    unr_pool_close(pool);
    must(open_flagged(&pool, opened, 16, UNR_POOL_REGISTERED) == 0);
    unr_pool_close(pool);
    must(unr_loop_close(opened) == 0);
}

Test(pool, registered_beyond_rlimit_memlock)
{
    struct death death = in_child(register_too_much, NULL);
    int          status = WIFEXITED(death.status) ? WEXITSTATUS(death.status) : 0;
    if (status == REFUSED_TO_USER)
        cr_skip_test("io_uring is refused to a user who is not root");
    if (status == NOT_CHARGED)
        cr_skip_test("this kernel does not charge registered buffers to RLIMIT_MEMLOCK");
    expect_success(&death);
    close_loop();
}

/* ---- taking and giving ---- */

/* A buffer is given back by each address in it, and is the next one that is taken. */
Test(pool, given_by_any_address)
{
    const unsigned   offsets[] = { 0, 1, 511, 700, 1023 };
    struct unr_pool *pool = open_pool_of(8, 1024, 2);
    for (unsigned i = 0; i < LENGTH(offsets); i++) {
        unsigned char *buffer = unr_pool_take(pool);
        cr_assert_not_null(buffer);
        unr_pool_give(pool, buffer + offsets[i]);
        cr_assert_eq(unr_pool_take(pool), (void *)buffer);
        unr_pool_give(pool, buffer);
    }
    unr_pool_close(pool);
    close_loop();
}

/* Neither those that the kernel may choose from nor the last one are the caller's to take. */
Test(pool, takes_what_is_neither_published_nor_kept)
{
    unsigned char   *buffers[16];
    struct unr_pool *pool = open_pool_of(16, 512, 4);
    unsigned         n = take_all(pool, buffers, 16);
    cr_assert_eq(n, 16 - stats_of(pool).published - 1);
    cr_assert_null(unr_pool_take(pool));
    try_out(pool);
    unr_pool_give(pool, buffers[--n]);
    buffers[n] = unr_pool_take(pool);
    cr_assert_not_null(buffers[n]);
    give_all(pool, buffers, n + 1);
    unr_pool_close(pool);
    close_loop();
}

/* In a child that may call nothing but read(2), write(2) and its own end. */
static void take_and_give(void *context)
{
    struct unr_pool *pool;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    must(unr_pool_open(&pool, loop, NULL) == 0);
    must(unr_loop_run(loop) == 0);
    must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    for (int i = 0; i < 1000; i++) {
        unsigned char *a = unr_pool_take(pool), *b = unr_pool_take(pool);
        a[0] = b[0] = 1;
        unr_pool_give(pool, a);
        unr_pool_give(pool, b);
    }
    syscall(SYS_exit, 0);
}

Test(pool, take_and_give_make_no_system_call)
{
    if (SUPPORT_SANITIZED)
        cr_skip_test("sanitizers make system calls of their own");
    struct death death = in_child(take_and_give, NULL);
    expect_success(&death);
    close_loop();
}

/* ---- what a pool counts ---- */

Test(pool, stats)
{
    static struct server s;
    struct unr_pool     *pool = open_pool_of(8, 512, 2);
    skip_unpublished(pool);
    struct unr_pool_stats now = stats_of(pool);
    cr_assert_eq(now.taken + now.given + now.starved + now.held + now.abandoned, 0);
    cr_assert_eq(now.published, 2);
    void *own = unr_pool_take(pool);
    begin(&s, pool, true);
    for (unsigned i = 1; i <= 3; i++) {
        send_one(&s);
        until_shots(&s, i);
    }
    now = stats_of(pool);
    cr_assert_eq(now.taken, 4);
    cr_assert_eq(now.given, 0);
    cr_assert_eq(now.held, 4);
    unr_pool_give(pool, own);
    give_all(pool, s.kept, 3);
    now = stats_of(pool);
    cr_assert_eq(now.taken, 4);
    cr_assert_eq(now.given, 4);
    cr_assert_eq(now.held, 0);

    struct {
        struct unr_pool_stats known;
        uint64_t              newer;
    } larger;
    memset(&larger, 0xff, sizeof larger);
    unr_pool_stats(pool, &larger.known, sizeof larger);
    cr_assert_eq(larger.known.taken, 4);
    cr_assert_eq(larger.known.published, 2);
    cr_assert_eq(larger.newer, 0, "what this library does not know is 0");
    memset(&larger, 0xff, sizeof larger);
    unr_pool_stats(pool, &larger.known, offsetof(struct unr_pool_stats, starved));
    cr_assert_eq(larger.known.given, 4);
    cr_assert_eq(larger.known.starved, UINT64_MAX, "nothing is written behind the size");
    end(&s);
    unr_pool_close(pool);
    close_loop();
}

/* ---- hot buffers ---- */

static unsigned different(unsigned char *const *buffers, unsigned n)
{
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned j = 0;
        while (j < i && buffers[j] != buffers[i])
            j++;
        found += j == i;
    }
    return found;
}

/* A server that gives each buffer back at once uses those that are published, and one more, which
 * is in its hands. */
Test(pool, few_buffers_stay_hot)
{
    static struct server s;
    struct unr_pool     *pool = open_pool_of(1024, 512, 8);
    begin(&s, pool, false);
    for (unsigned i = 1; i <= 2000; i++) {
        send_one(&s);
        until_shots(&s, i);
    }
    cr_assert_leq(different(s.kept, s.shots), 8 + 1);
    cr_assert_eq(stats_of(pool).published, 8);
    cr_assert_eq(stats_of(pool).starved, 0);
    end(&s);
    unr_pool_close(pool);
    close_loop();
}

/* Sends `n` datagrams while the loop looks away. */
static void burst(struct server *s, unsigned n)
{
    unsigned before = s->shots;
    for (unsigned i = 0; i < n; i++)
        cr_assert_eq(send(s->fds[1], "x", 1, MSG_DONTWAIT), 1);
    until_shots(s, before + n);
    cr_assert_eq(s->shots, before + n);
    cr_assert_eq(s->ends, 0, "nobody hears of it");
}

static void turn_often(unsigned turns)
{
    while (turns--)
        submit();
}

/* Bursts that find too few published buffers double them; calm halves them again, not below what
 * they were at first. */
Test(pool, published_follow_the_load)
{
    static struct server s;
    struct unr_pool     *pool = open_pool_of(256, 512, 2);
    unsigned             most, published;
    begin(&s, pool, false);
    submit();
    for (unsigned i = 0; i < 20; i++)
        burst(&s, 8);
    most = stats_of(pool).published;
    cr_assert_geq(most, 8, "%u", most);
    cr_assert_leq(most, 256);
    cr_assert_eq(most & (most - 1), 0);
    cr_assert_gt(stats_of(pool).starved, 0);
    cr_assert_leq(different(s.kept, s.shots), most + 1);

    for (published = most; published > 2;) {
        turn_often(100);
        burst(&s, 1);
        cr_assert_eq(stats_of(pool).published, published, "not yet");
        turn_often(250);
        burst(&s, 1);
        published = stats_of(pool).published;
        cr_assert_eq(published, most / 2);
        most = published;
    }
    turn_often(600);
    burst(&s, 1);
    cr_assert_eq(stats_of(pool).published, 2);
    end(&s);
    unr_pool_close(pool);
    close_loop();
}

/* One that keeps what it gets is given all buffers but the one that is kept. */
Test(pool, all_can_be_used)
{
    static struct server s;
    struct unr_pool     *pool = open_pool_of(32, 512, 1);
    begin(&s, pool, true);
    for (unsigned i = 0; i < 40; i++)
        send_one(&s);
    run();
    cr_assert_eq(s.ends, 1);
    cr_assert_eq(s.last.error, -ENOBUFS, "%s", unr_explain_op(&s.op));
    cr_assert_eq(s.shots, 31);
    cr_assert_eq(different(s.kept, s.shots), 31);
    cr_assert_eq(stats_of(pool).held, 31);
    cr_assert_null(unr_pool_take(pool));
    give_all(pool, s.kept, s.shots);
    serve(&s);
    until_shots(&s, 31 + 9);
    cr_assert_eq(s.shots, 31 + 9, "nothing was lost");
    give_all(pool, s.kept + 31, 9);
    end(&s);
    unr_pool_close(pool);
    close_loop();
}

/* ---- memory ---- */

static size_t resident(const unsigned char *from, size_t size)
{
    size_t         page = (size_t)sysconf(_SC_PAGESIZE), pages = size / page, found = 0;
    unsigned char *flags = malloc(pages);
    cr_assert_eq(mincore((void *)((uintptr_t)from & ~(uintptr_t)(page - 1)), pages * page, flags),
                 0);
    for (size_t i = 0; i < pages; i++)
        found += flags[i] & 1;
    free(flags);
    return found * page;
}

static size_t resident_in_all(void)
{
    unsigned long size = 0, pages = 0;
    FILE         *file = fopen("/proc/self/statm", "re");
    cr_assert_eq(fscanf(file, "%lu %lu", &size, &pages), 2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* A pool of 512 MiB that nobody has used costs its 32 bytes for each buffer, and address space. */
Test(pool, untouched_pool_is_address_space)
{
    enum { COUNT = 32768, SIZE = 16384 };
    static unsigned char *buffers[COUNT];
    size_t                before = resident_in_all();
    struct unr_pool      *pool = open_pool_of(COUNT, SIZE, 0);
    size_t                after = resident_in_all();
    cr_assert_leq(after - before, SUPPORT_SANITIZED ? 16u << 20 : 2u << 20, "%zu", after - before);
    unsigned       n = take_all(pool, buffers, COUNT);
    unsigned char *lowest = buffers[0];
    for (unsigned i = 1; i < n; i++)
        lowest = buffers[i] < lowest ? buffers[i] : lowest;
    cr_assert_eq(resident(lowest, (size_t)n * SIZE), 0);
    buffers[100][0] = 1;
    cr_assert_gt(resident(lowest, (size_t)n * SIZE), 0);
    give_all(pool, buffers, n);
    unr_pool_close(pool);
    close_loop();
}

/* A server that waits has no buffer in use. */
Test(pool, idle_servers_hold_no_buffer)
{
    enum { SERVERS = 100 };
    static struct server servers[SERVERS];
    struct unr_pool     *pool = open_pool_of(256, 4096, 2);
    for (unsigned i = 0; i < SERVERS; i++)
        begin(&servers[i], pool, false);
    submit();
    cr_assert_eq(stats_of(pool).taken, 0);
    for (unsigned i = 0; i < SERVERS; i++)
        send_one(&servers[i]);
    for (unsigned i = 0; i < SERVERS; i++) {
        until_shots(&servers[i], 1);
        cr_assert_eq(servers[i].shots, 1);
    }
    cr_assert_eq(stats_of(pool).held, 0);
    for (unsigned i = 0; i < SERVERS; i++)
        end(&servers[i]);
    unr_pool_close(pool);
    close_loop();
}

/* ---- several, and their ends ---- */

/* Each has its own buffers.  One that is closed leaves its place to the next one. */
Test(pool, several_on_a_loop)
{
    enum { POOLS = 20 };
    static struct server servers[POOLS];
    struct unr_pool     *pools[POOLS];
    for (unsigned i = 0; i < POOLS; i++)
        pools[i] = open_pool_of(4, 512u * (i + 1), 2);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < POOLS; i++)
            begin(&servers[i], pools[i], true);
        for (unsigned i = 0; i < POOLS; i++)
            send_one(&servers[i]);
        for (unsigned i = 0; i < POOLS; i++) {
            until_shots(&servers[i], 1);
            unr_pool_give(pools[i], servers[i].kept[0]); /* to no other: that would be named */
            end(&servers[i]);
        }
        for (unsigned i = round; i < POOLS; i += 3) {
            unr_pool_close(pools[i]);
            pools[i] = open_pool_of(8, 512, 1);
        }
    }
    for (unsigned i = 0; i < POOLS; i++)
        unr_pool_close(pools[i]);
    close_loop();
}

/* A buffer outlives the loop, and so does its pool. */
Test(pool, closed_after_its_loop)
{
    static struct server s;
    struct unr_pool     *other = open_pool_of(4, 512, 2), *pool = NULL;
    cr_assert_eq(open_flagged(&pool, loop, 8, UNR_POOL_REGISTERED), 0);
    begin(&s, pool, true);
    send_one(&s);
    until_shots(&s, 1);
    cr_assert_eq(unr_loop_close(loop), 0);
    loop = NULL;
    cr_assert_eq(s.ends, 1);
    cr_assert_eq(s.last.cause, -ESHUTDOWN);
    cr_assert_eq(s.kept[0][0], 'x');
    unr_pool_give(pool, s.kept[0]);
    unsigned char *own = unr_pool_take(pool);
    cr_assert_not_null(own);
    own[0] = own[4095] = 1;
    cr_assert_eq(stats_of(pool).held, 1);
    unr_pool_give(pool, own);
    unr_pool_close(pool);
    unr_pool_close(other);
    close_pair(s.fds);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

static void *give_and_close(void *context)
{
    struct server *s = context;
    unr_pool_give(s->pool, s->kept[0]);
    unr_pool_close(s->pool);
    return NULL;
}

/* Once the loop is closed, any thread may. */
Test(pool, closed_by_another_thread)
{
    static struct server s;
    pthread_t            thread;
    begin(&s, open_pool_of(4, 512, 2), true);
    send_one(&s);
    until_shots(&s, 1);
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(pthread_create(&thread, NULL, give_and_close, &s), 0);
    pthread_join(thread, NULL);
    close_pair(s.fds);
}

static void *open_elsewhere(void *context)
{
    *(struct unr_pool **)context = open_pool_of(8, 512, 2);
    return NULL;
}

/* Any thread opens one, as long as nobody has run the loop. */
Test(pool, opened_by_another_thread)
{
    struct unr_pool *pool = NULL;
    pthread_t        thread;
    cr_assert_eq(pthread_create(&thread, NULL, open_elsewhere, &pool), 0);
    pthread_join(thread, NULL);
    cr_assert_not_null(pool);
    try_out(pool);
    unr_pool_close(pool);
    close_loop();
}

/* What a child of fork(2) has is a copy, and the parent's pool goes on. */
Test(pool, forked)
{
    static struct server s;
    int                  status;
    struct unr_pool     *pool = open_pool_of(8, 512, 2);
    begin(&s, pool, true);
    send_one(&s);
    until_shots(&s, 1);
    pid_t child = fork();
    if (child == 0) {
        bool copied = s.kept[0][0] == 'x';
        s.kept[0][0] = 'y';
        _exit(copied ? 0 : 1);
    }
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    cr_assert_eq(s.kept[0][0], 'x');
    unr_pool_give(pool, s.kept[0]);
    for (unsigned i = 2; i < 20; i++) {
        send_one(&s);
        until_shots(&s, i);
        cr_assert_eq(s.shots, i);
        cr_assert_eq(s.kept[i - 1][0], 'x');
        unr_pool_give(pool, s.kept[i - 1]);
    }
    end(&s);
    unr_pool_close(pool);
    close_loop();
}

/* ---- broken contracts ---- */

static struct unr_pool *pool_in_child(void)
{
    struct unr_pool        *pool;
    struct unr_pool_options options = { .size = sizeof options, .count = 8, .published = 2 };
    must(unr_loop_open(&loop, NULL) == 0);
    must(unr_pool_open(&pool, loop, &options) == 0);
    return pool;
}

static void gives_twice(void *context)
{
    struct unr_pool *pool = pool_in_child();
    unsigned char   *buffer = unr_pool_take(pool);
    (void)context;
    unr_pool_give(pool, buffer);
    unr_pool_give(pool, buffer + 1);
}

static void gives_foreign_memory(void *context)
{
    struct unr_pool *pool = pool_in_child();
    unr_pool_give(pool, context);
}

static void gives_null(void *context)
{
    (void)context;
    unr_pool_give(pool_in_child(), NULL);
}

/* Just in front of the buffers, and just behind them. */
static void gives_neighbour(void *context)
{
    struct unr_pool *pool = pool_in_child();
    unsigned char   *lowest = NULL, *highest = NULL, *buffer;
    while ((buffer = unr_pool_take(pool)) != NULL) {
        lowest = !lowest || buffer < lowest ? buffer : lowest;
        highest = buffer > highest ? buffer : highest;
    }
    /* the kept one is the first of eight, and two are published */
    unr_pool_give(pool, context ? highest + 16384 : lowest - 4 * 16384);
}

static void gives_what_is_published(void *context)
{
    struct unr_pool *pool = pool_in_child();
    unsigned char   *buffer = unr_pool_take(pool);
    (void)context;
    unr_pool_give(pool, buffer - 16384);
}

static void closes_with_own_buffer(void *context)
{
    struct unr_pool *pool = pool_in_child();
    (void)context;
    unr_pool_take(pool);
    unr_pool_close(pool);
}

static void hold(struct unr_op *op)
{
    (void)op;
}

/* A buffer came on descriptor 77 and was not given back; `context`: the loop is closed first. */
static void closes_with_held_buffer(void *context)
{
    static struct unr_op op;
    struct unr_pool     *pool = pool_in_child();
    int                  fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    must(dup2(fds[0], 77) == 77);
    unr_start(loop, unr_recv_multishot(&op, 77, pool, 0, 0), hold, NULL);
    must(write(fds[1], "x", 1) == 1);
    close(fds[1]);
    must(unr_loop_run(loop) == 0);
    if (context)
        unr_loop_close(loop);
    unr_pool_close(pool);
}

static void closes_under_multishot(void *context)
{
    static struct unr_op op;
    struct unr_pool     *pool = pool_in_child();
    int                  fds[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    unr_start(loop, unr_recv_multishot(&op, fds[0], pool, 0, 0), hold, NULL);
    if (context)
        must(unr_loop_run_once(loop, 0) == 0);
    unr_pool_close(pool);
}

static void *takes_elsewhere(void *pool)
{
    unr_pool_take(pool);
    return NULL;
}

static void takes_in_another_thread(void *context)
{
    struct unr_pool *pool = pool_in_child();
    pthread_t        thread;
    (void)context;
    must(unr_loop_run_once(loop, 0) == 0);
    must(pthread_create(&thread, NULL, takes_elsewhere, pool) == 0);
    pthread_join(thread, NULL);
}

Test(pool, broken_contracts_are_named)
{
    static char foreign[16384], yes;
    const struct {
        void (*breach)(void *);
        void       *context;
        const char *words[3];
    } breaches[] = {
        { gives_twice, NULL, { "unr_pool_give", "not handed out" } },
        { gives_foreign_memory, foreign, { "unr_pool_give", "not the pool's" } },
        { gives_null, NULL, { "unr_pool_give", "not the pool's" } },
        { gives_neighbour, NULL, { "unr_pool_give", "not the pool's" } },
        { gives_neighbour, &yes, { "unr_pool_give", "not the pool's" } },
        { gives_what_is_published, NULL, { "unr_pool_give", "not handed out" } },
        { closes_with_own_buffer, NULL, { "unr_pool_close", "unr_pool_take()", "1 buffer" } },
        { takes_in_another_thread, NULL, { "thread" } },
        { closes_with_held_buffer, NULL, { "unr_pool_close", "descriptor 77", "1 buffer" } },
        { closes_with_held_buffer, &yes, { "unr_pool_close", "descriptor 77", "1 buffer" } },
        { closes_under_multishot, NULL, { "unr_pool_close", "recv_multishot", "in flight" } },
        { closes_under_multishot, &yes, { "unr_pool_close", "recv_multishot", "in flight" } },
    };
    struct unr_pool *pool = open_pool_of(2, 512, 1);
    unsigned         without = is_published(pool) ? 0 : 4; /* the last ones need shots */
    unr_pool_close(pool);
    for (unsigned i = 0; i < LENGTH(breaches) - without; i++) {
        struct death death = in_child(breaches[i].breach, breaches[i].context);
        expect_abort(&death,
                     (const char *const[]){ "unring: broken contract:", breaches[i].words[0],
                                            breaches[i].words[1], breaches[i].words[2], NULL });
    }
    close_loop();
}
