/* SPDX-License-Identifier: MIT */
/* What the world does to a loop: limits reached, memory refused, io_uring switched off, a kernel
 * that lacks things or takes nothing for a while, descriptors closed from under an operation, peers
 * that reset.  Nothing is lost, nothing leaks, and what cannot go on says why. */
#define SUPPORT_KERNEL
#include "support.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

TestSuite(environment, .timeout = 30);

/* ---- memory, counted and refused ---- */

/* This program's malloc and its like stand in front of the C library's.  Under a sanitizer they do
 * not, nor do the tests that need them (a skipped test leaks in Criterion); valgrind puts its own
 * before them: allocations_are_seen() tells. */
#if !SUPPORT_SANITIZED
#define COUNTS_MEMORY 1
#else
#define COUNTS_MEMORY 0
#endif

struct memory {
    long allocated, freed; /* pieces, by this thread */
    long fail_from;        /* the allocation at which refusing begins, counted down; 0: never */
    long fail_count;       /* how many are refused, from then on */
    long refused;
};

/* Volatile: compilers hold that malloc changes nothing that a program can see. */
static _Thread_local volatile struct memory memory;

#if COUNTS_MEMORY

static bool refuses(void)
{
    if (memory.fail_from == 0 || --memory.fail_from > 0)
        return false;
    if (memory.fail_count-- == 0)
        return false;
    memory.fail_from = 1;
    memory.refused++;
    errno = ENOMEM;
    return true;
}

/* dlsym() may allocate before the C library's malloc is known. */
static char   early[4096] __attribute__((aligned(16)));
static size_t early_used;

static void *early_piece(size_t size)
{
    void *piece = early + early_used;
    early_used += (size + 15) & ~(size_t)15;
    return early_used <= sizeof early ? piece : NULL;
}

#define FIND(name)                                                                                 \
    static __typeof__(name) *found;                                                                \
    static bool              finding;                                                              \
    if (!found && !finding) {                                                                      \
        finding = true;                                                                            \
        found = (__typeof__(name) *)(uintptr_t)dlsym(RTLD_NEXT, #name);                            \
        finding = false;                                                                           \
    }

static void *counted(void *piece)
{
    if (piece)
        memory.allocated++;
    return piece;
}

void *malloc(size_t size)
{
    FIND(malloc)
    return !found ? early_piece(size) : refuses() ? NULL : counted(found(size));
}

void *calloc(size_t count, size_t size)
{
    FIND(calloc)
    return !found ? early_piece(count * size) : refuses() ? NULL : counted(found(count, size));
}

void *realloc(void *piece, size_t size)
{
    FIND(realloc)
    if (!found || refuses())
        return NULL;
    if (piece)
        memory.freed++;
    return counted(found(piece, size));
}

void free(void *piece)
{
    FIND(free)
    if (!piece || ((char *)piece >= early && (char *)piece < early + sizeof early))
        return;
    memory.freed++;
    if (found)
        found(piece);
}

void *mmap(void *address, size_t size, int protection, int flags, int of, off_t offset)
{
    if (refuses())
        return MAP_FAILED;
    memory.allocated++;
    return (void *)syscall(SYS_mmap, address, size, protection, flags, of, offset);
}

void *mremap(void *address, size_t size, size_t new_size, int flags, ...)
{
    if (refuses())
        return MAP_FAILED;
    memory.freed++;
    memory.allocated++;
    return (void *)syscall(SYS_mremap, address, size, new_size, flags, NULL);
}

int madvise(void *address, size_t size, int advice)
{
    return refuses() ? -1 : (int)syscall(SYS_madvise, address, size, advice);
}

int munmap(void *address, size_t size)
{
    memory.freed++;
    return (int)syscall(SYS_munmap, address, size);
}

#endif

static bool allocations_are_seen(void)
{
    long seen = memory.allocated;
    void *volatile piece = malloc(1);
    free(piece);
    return memory.allocated == seen + 1;
}

static long pieces(void)
{
    return memory.allocated - memory.freed;
}

static struct unr_loop *const untouched = (struct unr_loop *)0x1234;

/* A loop that works: something completes, something is cancelled in flight, a timer fires, a task
 * runs. */
static void task_ran(struct unr_task *task)
{
    task->run = NULL;
}

static void exercise(struct unr_loop *of)
{
    struct seen      nop = { 0 }, receive = { 0 }, queued = { 0 }, got = { 0 };
    struct unr_timer timer = { 0 };
    struct unr_task  task = { .run = task_ran };
    char             bytes[3];
    int              fds[2];
    unix_pair(fds);
    unr_start(of, unr_nop(&nop.op), saw, &nop);
    unr_start(of, unr_recv(&got.op, fds[1], &bytes[2], 1, 0), saw, &got);
    unr_start(of, unr_recv(&receive.op, fds[0], &bytes[0], 1, 0), saw, &receive);
    unr_start(of, unr_recv(&queued.op, fds[0], &bytes[1], 1, 0), saw, &queued);
    cr_assert(unr_cancel(&queued.op, UNR_CANCEL_TOTAL));
    cr_assert_geq(unr_loop_run_once(of, 0), 0);
    unr_start(of, unr_timer_after(&timer, UNR_MSEC(1)), NULL, NULL);
    unr_loop_post(of, &task);
    cr_assert(unr_cancel_cause(&receive.op, UNR_CANCEL_TOTAL, -ETIMEDOUT));
    cr_assert_eq(write(fds[0], "x", 1), 1);
    cr_assert_eq(unr_loop_run(of), 0);
    cr_assert_eq(nop.result.error, 0);
    cr_assert_eq(got.result.bytes, 1);
    expect_cancelled(&receive, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ETIMEDOUT);
    expect_cancelled(&queued, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ECANCELED);
    cr_assert_eq(timer.op.result.error, 0);
    cr_assert_null(task.run);
    cr_assert_geq(unr_loop_run_once(of, UNR_MSEC(1)), 0);
    close_pair(fds);
}

#if COUNTS_MEMORY

/* How many mappings of rings the process has: liburing maps and unmaps them with system calls of
 * its own. */
static int ring_mappings(void)
{
    char  line[512];
    int   count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (fgets(line, sizeof line, maps))
        count += strstr(line, "io_uring") != NULL;
    fclose(maps);
    return count;
}

/* Opens a loop with `count` allocations refused from the `first` on.  False when there were fewer
 * than that. */
static bool open_refused(long first, long count, int *ret_error)
{
    struct unr_loop *opened = untouched;
    long             before = pieces();
    int              fds = count_descriptors(), mappings = ring_mappings();
    long             before_all = memory.refused;
    memory.fail_count = count;
    memory.fail_from = first;
    *ret_error = unr_loop_open(&opened, NULL);
    memory.fail_from = 0;
    if (*ret_error == 0) {
        exercise(opened);
        cr_assert_eq(unr_loop_close(opened), 0);
    } else {
        cr_assert_eq(opened, untouched);
    }
    cr_assert_eq(pieces(), before, "%ld pieces of memory leak", pieces() - before);
    cr_assert_eq(count_descriptors(), fds);
    cr_assert_eq(ring_mappings(), mappings);
    return memory.refused > before_all;
}

/* Whichever allocations fail while a loop is opened, from the first to the last, the answer is
 * -ENOMEM and nothing leaks. */
Test(environment, memory_refused_from_some_point_on_while_opening)
{
    if (!allocations_are_seen())
        cr_skip_test("malloc is valgrind's here");
    long first = 1;
    for (int error; open_refused(first, LONG_MAX, &error); first++)
        cr_assert_eq(error, -ENOMEM, "allocation %ld: %d", first, error);
    cr_assert_gt(first, 5);
    cr_assert_not_null(strstr(unr_explain(-ENOMEM), "memory"));
}

/* When a single one fails, the loop either is not opened or works. */
Test(environment, memory_refused_once_while_opening)
{
    if (!allocations_are_seen())
        cr_skip_test("malloc is valgrind's here");
    skip_if_refused();
    long first = 1;
    for (int error; open_refused(first, 1, &error); first++)
        cr_assert(error == -ENOMEM || error == 0, "allocation %ld: %d", first, error);
    cr_assert_gt(first, 5);
}

#endif

/* ---- no allocation between start and `done` ---- */

enum { WARM_UP = 20, REPETITIONS = 1000 };

static struct unr_op    ops[4];
static struct unr_timer timers[3];
static char             buf[256];
static char             folder[] = "/tmp/unring-XXXXXX";
static char             path_a[64], path_b[64];
static int              file, listener, end[2], pipes[2][2], zombie;
static int              done_count;

static void count_done(struct unr_op *op)
{
    (void)op;
    done_count++;
}

static void finish_all(void)
{
    cr_assert_eq(unr_loop_run(loop), 0);
}

/* Starts what is described, runs it to its end; its result. */
static int64_t value_of(struct unr_op *described)
{
    unr_start(loop, described, count_done, NULL);
    finish_all();
    const struct unr_result *r = &described->result;
    return r->error ? r->error : r->fd >= 0 ? r->fd : r->value;
}

static void expect_value(struct unr_op *described, int64_t expected)
{
    int64_t value = value_of(described);
    cr_assert_eq(value, expected, "%s", unr_explain_op(described));
}

static void step_nop(void)
{
    expect_value(unr_nop(&ops[0]), 0);
}

static void step_stream(void)
{
    struct iovec  iov = { buf, 10 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    expect_value(unr_send(&ops[0], end[0], buf, 10, 0), 10);
    expect_value(unr_recv(&ops[0], end[1], buf, 10, 0), 10);
    expect_value(unr_sendmsg(&ops[0], end[0], &msg, 0), 10);
    expect_value(unr_poll(&ops[0], end[1], POLLIN), POLLIN);
    expect_value(unr_recvmsg(&ops[0], end[1], &msg, 0), 10);
    expect_value(unr_write(&ops[0], end[0], buf, 10, -1), 10);
    expect_value(unr_read(&ops[0], end[1], buf, 10, -1), 10);
    expect_value(unr_writev(&ops[0], end[0], &iov, 1, -1), 10);
    expect_value(unr_readv(&ops[0], end[1], &iov, 1, -1), 10);
}

static void step_connection(void)
{
    struct sockaddr_in address;
    socklen_t          len = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &len);
    int client = (int)value_of(unr_socket(&ops[0], AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    cr_assert_geq(client, 0);
    unr_start(loop, unr_accept(&ops[1], listener, NULL, NULL, SOCK_CLOEXEC), count_done, NULL);
    expect_value(unr_connect(&ops[0], client, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_geq(ops[1].result.fd, 0);
    expect_value(unr_shutdown(&ops[0], client, SHUT_RDWR), 0);
    expect_value(unr_close(&ops[0], client), 0);
    expect_value(unr_cancel_close(&ops[0], ops[1].result.fd), 0);
}

static bool has(const char *name)
{
    return has_feature(loop, name);
}

static void step_listening(void)
{
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (has("bind")) {
        expect_value(unr_bind(&ops[0], fd, (struct sockaddr *)&any, sizeof any), 0);
        expect_value(unr_listen(&ops[0], fd, 1), 0);
    }
    close(fd);
}

static void step_pipes(void)
{
    if (has("pipe")) {
        int made[2] = { -1, -1 };
        expect_value(unr_pipe(&ops[0], made, O_CLOEXEC), 0);
        close_pair(made);
    }
    cr_assert_eq(write(pipes[0][1], buf, 10), 10);
    expect_value(unr_tee(&ops[0], pipes[0][0], pipes[1][1], 10, 0), 10);
    cr_assert_eq(read(pipes[1][0], buf, 10), 10);
    expect_value(unr_splice(&ops[0], pipes[0][0], -1, pipes[1][1], -1, 10, 0), 10);
    cr_assert_eq(read(pipes[1][0], buf, 10), 10);
}

static void step_file(void)
{
    static struct statx stat;
    if (has("ftruncate"))
        expect_value(unr_ftruncate(&ops[0], file, 4096), 0);
    expect_value(unr_fallocate(&ops[0], file, 0, 0, 4096), 0);
    expect_value(unr_write(&ops[0], file, buf, 100, 0), 100);
    expect_value(unr_read(&ops[0], file, buf, 100, 0), 100);
    expect_value(unr_fadvise(&ops[0], file, 0, 0, POSIX_FADV_NORMAL), 0);
    expect_value(unr_sync_file_range(&ops[0], file, 0, 0, 0), 0);
    expect_value(unr_fsync(&ops[0], file, 0), 0);
    expect_value(unr_statx(&ops[0], file, "", AT_EMPTY_PATH, STATX_SIZE, &stat), 0);
}

static void step_names(void)
{
    int fd =
        (int)value_of(unr_openat(&ops[0], AT_FDCWD, path_a, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    cr_assert_geq(fd, 0, "%s", unr_explain_op(&ops[0]));
    close(fd);
    expect_value(unr_linkat(&ops[0], AT_FDCWD, path_a, AT_FDCWD, path_b, 0), 0);
    expect_value(unr_renameat(&ops[0], AT_FDCWD, path_a, AT_FDCWD, path_b, 0),
                 0); /* the same file: nothing happens */
    expect_value(unr_unlinkat(&ops[0], AT_FDCWD, path_b, 0), 0);
    expect_value(unr_symlinkat(&ops[0], path_a, AT_FDCWD, path_b), 0);
    expect_value(unr_unlinkat(&ops[0], AT_FDCWD, path_b, 0), 0);
    expect_value(unr_mkdirat(&ops[0], AT_FDCWD, path_b, 0700), 0);
    expect_value(unr_unlinkat(&ops[0], AT_FDCWD, path_b, AT_REMOVEDIR), 0);
    expect_value(unr_unlinkat(&ops[0], AT_FDCWD, path_a, 0), 0);
}

static void step_system(void)
{
    static uint32_t  word;
    static siginfo_t info;
    const uint32_t   size_u32 = 2; /* FUTEX2_SIZE_U32 */
    if (has("waitid"))
        expect_value(unr_waitid(&ops[0], P_PID, (unsigned)zombie, &info, WEXITED | WNOWAIT), 0);
    if (has("futex_wait")) {
        expect_value(unr_futex_wait(&ops[0], &word, 1, FUTEX_BITSET_MATCH_ANY, size_u32), -EAGAIN);
        unr_start(loop, unr_futex_wait(&ops[1], &word, 0, FUTEX_BITSET_MATCH_ANY, size_u32),
                  count_done, NULL);
        expect_value(unr_futex_wake(&ops[0], &word, 1, FUTEX_BITSET_MATCH_ANY, size_u32), 1);
        cr_assert_eq(ops[1].result.error, 0);
    }
}

static void fill_nop(void *sqe, void *context)
{
    (void)context;
    io_uring_prep_nop(sqe);
}

static void step_sqe(void)
{
    expect_value(unr_sqe(&ops[0], "mine", UNR_CANCEL_ALL, fill_nop, NULL), 0);
}

static void start_receiving(struct unr_op *op, struct unr_signal *signal)
{
    unr_start(
        loop,
        unr_bind_slot(unr_recv(op, end[1], buf, 1, 0), signal ? unr_signal_slot(signal) : NULL),
        count_done, NULL);
}

static void expect_cancelled_op(const struct unr_op *op, int cause)
{
    cr_assert_eq(op->result.error, -ECANCELED);
    cr_assert_eq(op->result.cause, cause);
}

static void step_cancels(void)
{
    start_receiving(&ops[0], NULL);
    start_receiving(&ops[1], NULL);
    unr_cancel(&ops[1], UNR_CANCEL_TOTAL);
    submit();
    unr_cancel(&ops[0], UNR_CANCEL_TOTAL);
    finish_all();
    expect_cancelled_op(&ops[0], -ECANCELED);
    expect_cancelled_op(&ops[1], -ECANCELED);
    start_receiving(&ops[0], NULL);
    start_receiving(&ops[1], NULL);
    submit();
    cr_assert_eq(unr_cancel_fd(loop, end[1], UNR_CANCEL_TOTAL), 2);
    finish_all();
}

static void step_signals(void)
{
    struct unr_signal root = { 0 }, children[2] = { 0 };
    unr_signal_init_latched(&root);
    for (int i = 0; i < 2; i++) {
        unr_signal_attach(&children[i], &root);
        start_receiving(&ops[i], &children[i]);
    }
    submit();
    unr_signal_emit_cause(&root, UNR_CANCEL_TOTAL, -ETIMEDOUT);
    finish_all();
    expect_cancelled_op(&ops[0], -ETIMEDOUT);
    start_receiving(&ops[0], &children[1]); /* which the latch ends */
    finish_all();
    expect_cancelled_op(&ops[0], -ETIMEDOUT);
    unr_signal_detach(&children[0]);
    unr_signal_detach(&children[1]);
}

static void step_timers(void)
{
    unr_start(loop, unr_timer_after(&timers[0], 0), count_done, NULL);
    unr_start(loop, unr_timer_after(&timers[1], UNR_SEC(3600)), count_done, NULL);
    unr_start(loop, unr_timer_at(&timers[2], UNR_NEVER), count_done, NULL);
    unr_timer_move(&timers[2], 0);
    unr_cancel(&timers[1].op, UNR_CANCEL_TOTAL);
    finish_all();
    cr_assert_eq(timers[2].op.result.error, 0);
}

static void step_inbox(void)
{
    struct unr_signal signal = { 0 };
    struct unr_remote remote;
    struct unr_task   task = { .run = task_ran };
    unr_remote_init(&remote, loop, &signal);
    start_receiving(&ops[0], &signal);
    submit();
    unr_loop_post(loop, &task);
    unr_remote_emit(&remote, UNR_CANCEL_TOTAL, -EPIPE);
    finish_all();
    expect_cancelled_op(&ops[0], -EPIPE);
    unr_remote_disarm(&remote);
    unr_loop_hold(loop);
    unr_loop_stop(loop);
    finish_all();
    unr_loop_release(loop);
}

static void set_up_steps(void)
{
    struct sockaddr_in address;
    open_loop();
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path_a, sizeof path_a, "%s/a", folder);
    snprintf(path_b, sizeof path_b, "%s/b", folder);
    file = memfd_create("steps", MFD_CLOEXEC);
    listener = tcp_listener(&address, 10);
    unix_pair(end);
    cr_assert_eq(pipe2(pipes[0], O_CLOEXEC), 0);
    cr_assert_eq(pipe2(pipes[1], O_CLOEXEC), 0);
    zombie = fork();
    if (zombie == 0)
        _exit(0);
}

static void tear_down_steps(void)
{
    waitpid(zombie, NULL, 0);
    rmdir(folder);
    close(file);
    close(listener);
    close_pair(end);
    close_pair(pipes[0]);
    close_pair(pipes[1]);
    close_loop();
}

static const struct step {
    const char *name;
    void (*run)(void);
    const char *needs; /* without this call there is nothing in it */
} steps[] = {
    { "nop", step_nop, NULL },
    { "stream", step_stream, NULL },
    { "connection", step_connection, NULL },
    { "listen", step_listening, "bind" },
    { "pipes", step_pipes, NULL },
    { "file", step_file, NULL },
    { "names", step_names, NULL },
    { "system", step_system, "waitid" },
    { "sqe", step_sqe, NULL },
    { "cancels", step_cancels, NULL },
    { "signals", step_signals, NULL },
    { "timers", step_timers, NULL },
    { "inbox", step_inbox, NULL },
};

/* In the steady state nothing is allocated between a start and its `done`, nor by what happens in
 * between: for every system call, cancels in every state, signals and their trees, timers, tasks
 * and remotes.  (Where allocations cannot be counted, it is still a walk through all of these.) */
Test(environment, no_allocation_between_start_and_done)
{
    skip_with_checks();
    int repetitions = allocations_are_seen() ? REPETITIONS : WARM_UP;
    set_up_steps();
    for (size_t i = 0; i < LENGTH(steps); i++) {
        for (int n = 0; n < WARM_UP; n++)
            steps[i].run();
        long before = memory.allocated;
        done_count = 0;
        for (int n = 0; n < repetitions; n++)
            steps[i].run();
        cr_assert_eq(memory.allocated, before, "%s allocates %ld times", steps[i].name,
                     memory.allocated - before);
        if (!steps[i].needs || has(steps[i].needs))
            cr_assert_geq(done_count, repetitions);
    }
    tear_down_steps();
}

/* ---- limits ---- */

/* A process that has used up its descriptors. */
struct full {
    struct rlimit before;
    int           fds[2048];
    int           count;
};

static struct full full;

static void fill_up(void)
{
    int highest = 0;
    for (int fd = 0; fd < (int)LENGTH(full.fds); fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            highest = fd;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &full.before), 0);
    struct rlimit limit = { (rlim_t)highest + 1, full.before.rlim_max };
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    full.count = 0;
    for (int fd; (fd = dup(STDIN_FILENO)) >= 0;)
        full.fds[full.count++] = fd;
    cr_assert_eq(errno, EMFILE);
}

/* One descriptor may be opened again. */
static void leave_one(void)
{
    if (full.count == 0) { /* there was no hole */
        struct rlimit limit;
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur++;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    } else {
        close(full.fds[--full.count]);
    }
}

static void clear_up(void)
{
    while (full.count > 0)
        close(full.fds[--full.count]);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &full.before), 0);
}

/* With RLIMIT_NOFILE reached a loop is not opened: -EMFILE, which is explained, and nothing leaks.
 * With as many left as the explanation says it works as ever. */
Test(environment, opening_with_few_descriptors_left)
{
    bool nosignal;
    open_loop();
    nosignal = has("RWF_NOSIGNAL");
    close_loop();
    for (int left = 0; left <= 2; left++) {
        struct unr_loop *opened = untouched;
        struct seen      nop = { 0 };
        fill_up();
        for (int i = 0; i < left; i++)
            leave_one();
        int  error = unr_loop_open(&opened, NULL);
        bool same_nosignal = true;
        if (error == 0) {
            same_nosignal = has_feature(opened, "RWF_NOSIGNAL") == nosignal;
            unr_start(opened, unr_nop(&nop.op), saw, &nop);
            cr_assert_eq(unr_loop_run(opened), 0);
            cr_assert_eq(unr_loop_close(opened), 0);
        }
        const char *words = unr_explain(error);
        clear_up();
        if (left < 2) {
            cr_assert_eq(error, -EMFILE);
            cr_assert_eq(opened, untouched);
            cr_assert_not_null(strstr(words, "RLIMIT_NOFILE"), "%s", words);
            cr_assert_not_null(strstr(words, "two"), "%s", words);
        } else {
            cr_assert_eq(error, 0, "%s", words);
            cr_assert_eq(nop.runs, 1);
            cr_assert_eq(same_nosignal, true,
                         "a feature is missing for want of a third descriptor");
        }
        cr_assert_eq(count_descriptors(), open_descriptors);
    }
}

static int64_t value_while_full(struct unr_op *described)
{
    fill_up();
    int64_t value = value_of(described);
    clear_up();
    return value;
}

/* Whatever makes a descriptor reports -EMFILE. */
Test(environment, no_descriptor_for_a_result)
{
    int made[2];
    open_loop();
    cr_assert_eq(value_while_full(unr_socket(&ops[0], AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)),
                 -EMFILE);
    cr_assert_eq(
        value_while_full(unr_openat(&ops[0], AT_FDCWD, "/dev/null", O_RDONLY | O_CLOEXEC, 0)),
        -EMFILE);
    if (has("pipe"))
        cr_assert_eq(value_while_full(unr_pipe(&ops[0], made, O_CLOEXEC)), -EMFILE);
    cr_assert_eq(ops[0].result.fd, -1);
    fill_up();
    int fd = unr_loop_fd(loop);
    clear_up();
    cr_assert_eq(fd, -EMFILE);
    exercise(loop);
    close_loop();
}

static int connect_to(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)address, sizeof *address), 0);
    return fd;
}

static void expect_connected(int from, int to)
{
    char got = 0;
    cr_assert_eq(write(from, "!", 1), 1);
    cr_assert_eq(read(to, &got, 1), 1);
    cr_assert_eq(got, '!');
}

/* An accept that finds no descriptor for its connection leaves it waiting: the next accept has
 * it. */
Test(environment, no_descriptor_for_a_connection_that_waits)
{
    struct sockaddr_in address;
    open_loop();
    listener = tcp_listener(&address, 4);
    int client = connect_to(&address);
    cr_assert_eq(value_while_full(unr_accept(&ops[0], listener, NULL, NULL, SOCK_CLOEXEC)),
                 -EMFILE);
    int accepted = (int)value_of(unr_accept(&ops[0], listener, NULL, NULL, SOCK_CLOEXEC));
    cr_assert_geq(accepted, 0);
    expect_connected(client, accepted);
    close(accepted);
    close(client);
    close(listener);
    close_loop();
}

/* So does one that was in flight when the last descriptor went. */
Test(environment, no_descriptor_for_a_connection_that_comes)
{
    struct sockaddr_in address;
    struct seen        seen = { 0 };
    open_loop();
    listener = tcp_listener(&address, 4);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fill_up();
    leave_one();
    start(&seen, unr_accept(&seen.op, listener, NULL, NULL, SOCK_CLOEXEC));
    submit();
    cr_assert_eq(seen.runs, 0);
    int last = dup(STDIN_FILENO);
    cr_assert_eq(connect(client, (struct sockaddr *)&address, sizeof address), 0);
    finish(&seen);
    close(last);
    clear_up();
    cr_assert_eq(seen.result.error, -EMFILE);
    int accepted = (int)value_of(unr_accept(&ops[0], listener, NULL, NULL, SOCK_CLOEXEC));
    cr_assert_geq(accepted, 0);
    expect_connected(client, accepted);
    close(accepted);
    close(client);
    close(listener);
    close_loop();
}

/* In a child: a loop opens and works.  Says why not. */
static void open_in_child(void)
{
    struct unr_loop *opened = untouched;
    struct unr_op    nop = { 0 };
    int              error = unr_loop_open(&opened, NULL);
    if (error < 0) {
        must(opened == untouched);
        dprintf(STDERR_FILENO, "error %d: %s\n", error, unr_explain(error));
        return;
    }
    unr_start(opened, unr_nop(&nop), NULL, NULL);
    must(unr_loop_run(opened) == 0);
    must(nop.result.error == 0);
    must(unr_loop_close(opened) == 0);
}

static void lock_no_memory(void *context)
{
    (void)context;
    must(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ 0 }) == 0);
    if (getuid() == 0) /* whom the limit does not concern */
        must(setresuid(65534, 65534, 65534) == 0);
    open_in_child();
}

/* With RLIMIT_MEMLOCK at 0 a loop works, as rings are not charged to it, or where they are, that is
 * what is said. */
Test(environment, no_locked_memory)
{
    skip_if_refused();
    struct death death = in_child(lock_no_memory, NULL);
    cr_assert_eq(death.status, 0, "%s", death.words);
    if (strstr(death.words, "EPERM"))
        cr_skip_test("io_uring is refused to a user who is not root");
    if (death.words[0]) {
        cr_assert_not_null(strstr(death.words, "ENOMEM"), "%s", death.words);
        cr_assert_not_null(strstr(death.words, "RLIMIT_MEMLOCK is 0 KiB"), "%s", death.words);
    }
}

static void let_no_file_grow(void *context)
{
    (void)context;
    must(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 0, RLIM_INFINITY }) == 0);
    open_in_child();
}

/* With RLIMIT_FSIZE at 0, where writing to a file raises SIGXFSZ, a loop opens and works. */
Test(environment, no_file_may_grow)
{
    skip_if_refused();
    struct death death = in_child(let_no_file_grow, NULL);
    expect_success(&death);
}

static long resident_kib(void)
{
    long  total, pages;
    FILE *statm = fopen("/proc/self/statm", "r");
    must(statm && fscanf(statm, "%ld %ld", &total, &pages) == 2);
    fclose(statm);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void lock_all_memory(void *context)
{
    enum { TIMERS = 10000 };
    static struct unr_timer many[TIMERS];
    (void)context;
    if (mlockall(MCL_FUTURE) != 0) {
        dprintf(STDERR_FILENO, "not locked: %s\n", strerror(errno));
        return;
    }
    struct unr_loop *opened;
    long             before = resident_kib();
    must(unr_loop_open(&opened, NULL) == 0);
    long grown = resident_kib() - before;
    if (grown > 16 * 1024)
        dprintf(STDERR_FILENO, "%ld KiB for a loop\n", grown);
    for (int i = 0; i < TIMERS; i++)
        unr_start(opened, unr_timer_at(&many[i], i + 1), NULL, NULL);
    must(unr_loop_run(opened) == 0);
    must(unr_loop_close(opened) == 0);
}

/* In a process that locks its memory the room that a loop reserves, for four million timers, takes
 * no memory before it is used. */
Test(environment, all_memory_locked)
{
    skip_if_refused();
    struct death death = in_child(lock_all_memory, NULL);
    cr_assert_eq(death.status, 0, "%s", death.words);
    if (strstr(death.words, "not locked"))
        cr_skip_test("memory cannot be locked here: %s", death.words);
    cr_assert_eq(death.words[0], '\0', "%s", death.words);
}

/* A loop that is open already when all memory is locked is another matter: its reserved room
 * becomes memory, unless memory is to be locked as it is used. */
static void lock_current_memory(void *context)
{
    const int       *on_fault = context;
    struct unr_loop *opened;
    must(unr_loop_open(&opened, NULL) == 0);
    long before = resident_kib();
    if (mlockall(MCL_CURRENT | *on_fault) != 0) {
        dprintf(STDERR_FILENO, "not locked: %s\n", strerror(errno));
        return;
    }
    long grown = resident_kib() - before;
    must(*on_fault ? grown < 16 * 1024 : grown > 63 * 1024);
    must(unr_loop_close(opened) == 0);
}

Test(environment, memory_locked_after_a_loop_is_open)
{
    int flags[] = { 0, MCL_ONFAULT };
    if (SUPPORT_SANITIZED)
        cr_skip_test("a sanitizer's own room would be locked, too");
    for (size_t i = 0; i < LENGTH(flags); i++) {
        struct death death = in_child(lock_current_memory, &flags[i]);
        cr_assert_eq(death.status, 0, "%s", death.words);
        if (strstr(death.words, "not locked"))
            cr_skip_test("memory cannot be locked here: %s", death.words);
    }
}

static void limit_address_space(size_t more)
{
    long  pages;
    FILE *statm = fopen("/proc/self/statm", "r");
    must(statm && fscanf(statm, "%ld", &pages) == 1);
    fclose(statm);
    size_t size = (size_t)(pages * sysconf(_SC_PAGESIZE)) + more;
    must(setrlimit(RLIMIT_AS, &(struct rlimit){ size, size }) == 0);
}

static void open_in_little_space(void *context)
{
    enum { TIMERS = 10000 };
    static struct unr_timer many[TIMERS];
    const size_t           *more = context;
    struct unr_loop        *opened;
    /* The table of descriptors is no part of this. */
    must(setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 256, 256 }) == 0);
    limit_address_space(*more);
    int error = unr_loop_open(&opened, NULL);
    if (error) {
        must(error == -ENOMEM);
        dprintf(STDERR_FILENO, "no memory\n");
        return;
    }
    for (int i = 0; i < TIMERS; i++)
        unr_start(opened, unr_timer_at(&many[i], i + 1), NULL, NULL);
    must(unr_loop_run(opened) == 0);
    for (int i = 0; i < TIMERS; i++)
        must(many[i].op.result.error == 0);
    must(unr_loop_close(opened) == 0);
}

/* Where RLIMIT_AS does not allow for the room of four million timers, 64 MiB, there is room for
 * less of them; where it hardly allows for anything, no loop. */
Test(environment, little_address_space)
{
    size_t enough = 24 << 20, little = 64 << 10;
    skip_if_refused();
    if (SUPPORT_SANITIZED)
        cr_skip_test("a sanitizer needs address space of its own");
    struct death death = in_child(open_in_little_space, &enough);
    expect_success(&death);
    cr_assert_eq(death.words[0], '\0', "%s", death.words);
    death = in_child(open_in_little_space, &little);
    expect_success(&death);
    cr_assert_not_null(strstr(death.words, "no memory"));
}

/* ---- io_uring switched off ---- */

/* From now on this process is refused a system call with `error`, as by a container. */
static void forbid(unsigned call, unsigned error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = LENGTH(filter), .filter = filter };
    must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    must(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

struct ban {
    unsigned call, error;
};

static void open_banned(void *context)
{
    const struct ban *ban = context;
    int               before = count_descriptors();
    forbid(ban->call, ban->error);
    open_in_child();
    must(count_descriptors() == before);
}

static void expect_banned(struct ban ban, const char *name)
{
    struct death death = in_child(open_banned, &ban);
    cr_assert_eq(death.status, 0, "%s", death.words);
    const char *words[] = { name, "seccomp", "io_uring_setup", "--security-opt" };
    for (size_t i = 0; i < LENGTH(words); i++)
        cr_assert_not_null(strstr(death.words, words[i]), "\"%s\" is missing in: %s", words[i],
                           death.words);
}

/* Where a seccomp filter forbids io_uring, with whichever error, that is what unr_explain() says,
 * and what to do. */
Test(environment, forbidden_by_seccomp)
{
    skip_if_refused();
    expect_banned((struct ban){ __NR_io_uring_setup, EPERM }, "EPERM");
    expect_banned((struct ban){ __NR_io_uring_setup, ENOSYS }, "ENOSYS");
    expect_banned((struct ban){ __NR_io_uring_setup, EACCES }, "EACCES");
    expect_banned((struct ban){ __NR_io_uring_register, EPERM }, "EPERM");
    /* Each loop would open, and no run would work. */
    expect_banned((struct ban){ __NR_io_uring_enter, EPERM }, "EPERM");
    expect_banned((struct ban){ __NR_io_uring_enter, ENOSYS }, "ENOSYS");
    expect_banned((struct ban){ __NR_io_uring_enter, EACCES }, "EACCES");
}

static void run_banned(void *context)
{
    struct unr_op nop = { 0 };
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    forbid(__NR_io_uring_enter, EPERM);
    unr_start(loop, unr_nop(&nop), NULL, NULL);
    must(unr_loop_run(loop) == -EPERM);
    must(unr_loop_close(loop) == -EPERM);
    must(count_descriptors() == open_descriptors);
}

/* Forbidden only once a loop is open: run says so, and close frees. */
Test(environment, forbidden_while_a_loop_is_open)
{
    open_descriptors = count_descriptors();
    struct death death = in_child(run_banned, NULL);
    expect_success(&death);
}

/* ---- what the kernel lacks ---- */

#define DEFER_TASKRUN IORING_SETUP_DEFER_TASKRUN
#define SINGLE_ISSUER IORING_SETUP_SINGLE_ISSUER
#define COOP_TASKRUN  IORING_SETUP_COOP_TASKRUN
#define TASKRUN_FLAG  IORING_SETUP_TASKRUN_FLAG
#define SUBMIT_ALL    IORING_SETUP_SUBMIT_ALL
#define R_DISABLED    IORING_SETUP_R_DISABLED

/* Each setup flag that is not there is done without: everything works on the ring that remains. */
Test(environment, setup_flags_that_the_kernel_lacks)
{
    static const unsigned missing[] = {
        0,
        DEFER_TASKRUN,
        DEFER_TASKRUN | SINGLE_ISSUER,
        DEFER_TASKRUN | COOP_TASKRUN,
        TASKRUN_FLAG,
        R_DISABLED,
        SUBMIT_ALL,
        DEFER_TASKRUN | SINGLE_ISSUER | COOP_TASKRUN | TASKRUN_FLAG | SUBMIT_ALL | R_DISABLED,
    };
    for (size_t i = 0; i < LENGTH(missing); i++) {
        forget_setup(missing[i]);
        open_loop();
        if (missing[i] & DEFER_TASKRUN)
            cr_assert_not(has("DEFER_TASKRUN"));
        if (missing[i] & SINGLE_ISSUER)
            cr_assert_not(has("SINGLE_ISSUER"));
        if (missing[i] & SUBMIT_ALL)
            cr_assert_not(has("SUBMIT_ALL"));
        exercise(loop);
        exercise(loop);
        close_loop();
    }
}

/* A kernel that refuses rings for good says so. */
Test(environment, setup_refused)
{
    struct unr_loop *opened = untouched;
    open_descriptors = count_descriptors();
    forget_setup(IORING_SETUP_CQSIZE);
    cr_assert_eq(unr_loop_open(&opened, NULL), -EINVAL);
    cr_assert_eq(opened, untouched);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

static int init_short_of_memory(unsigned entries, struct io_uring *ring,
                                struct io_uring_params *params)
{
    hook_init = NULL;
    (void)entries, (void)ring, (void)params;
    return -ENOMEM;
}

/* Want of memory is said, and no reason to try for a ring with less. */
Test(environment, setup_short_of_memory)
{
    struct unr_loop *opened = untouched;
    skip_if_refused();
    hook_init = init_short_of_memory;
    cr_assert_eq(unr_loop_open(&opened, NULL), -ENOMEM);
    cr_assert_eq(opened, untouched);
}

static unsigned missing_feature;

static int init_without_a_feature(unsigned entries, struct io_uring *ring,
                                  struct io_uring_params *params)
{
    int error = kernel_init(entries, ring, params);
    params->features &= ~missing_feature;
    ring->features &= ~missing_feature;
    return error;
}

/* Without a feature that no loop can do without, none opens, and the words name the feature. */
Test(environment, features_that_the_kernel_lacks)
{
    static const struct feature {
        unsigned    flag;
        const char *name;
    } needed[] = {
        { IORING_FEAT_EXT_ARG, "EXT_ARG" },
        { IORING_FEAT_NODROP, "NODROP" },
        { IORING_FEAT_RW_CUR_POS, "RW_CUR_POS" },
    };
    open_loop();
    close_loop();
    hook_init = init_without_a_feature;
    for (size_t i = 0; i < LENGTH(needed); i++) {
        struct unr_loop *opened = untouched;
        missing_feature = needed[i].flag;
        cr_assert_eq(unr_loop_open(&opened, NULL), -EOPNOTSUPP, "%s", needed[i].name);
        cr_assert_eq(opened, untouched);
        cr_assert_not_null(strstr(unr_explain(-EOPNOTSUPP), needed[i].name));
        cr_assert_eq(count_descriptors(), open_descriptors, "descriptors leak");
    }
}

static void fill_bad(void *sqe, void *context)
{
    (void)context;
    io_uring_prep_nop(sqe);
    ((struct io_uring_sqe *)sqe)->opcode = 255;
}

/* Without SUBMIT_ALL the kernel stops at a bad SQE; what stood behind it is submitted all the
 * same. */
Test(environment, bad_submission_in_the_middle_of_a_batch)
{
    static const unsigned missing[] = { 0, SUBMIT_ALL };
    for (size_t i = 0; i < LENGTH(missing); i++) {
        struct seen before = { 0 }, bad = { 0 }, behind = { 0 }, cancelled = { 0 };
        char        byte;
        int         fds[2];
        forget_setup(missing[i]);
        open_loop();
        unix_pair(fds);
        start(&cancelled, unr_recv(&cancelled.op, fds[0], &byte, 1, 0));
        submit();
        start(&before, unr_nop(&before.op));
        start(&bad, unr_sqe(&bad.op, "bad", UNR_CANCEL_ALL, fill_bad, NULL));
        start(&behind, unr_nop(&behind.op));
        unr_cancel(&cancelled.op, UNR_CANCEL_TOTAL);
        run();
        cr_assert_eq(before.result.error, 0);
        cr_assert_eq(bad.result.error, -EINVAL);
        cr_assert_eq(behind.result.error, 0);
        expect_cancelled(&cancelled, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        close_pair(fds);
        close_loop();
    }
}

static int enter_without_absolute(unsigned ring, unsigned to_submit, unsigned min_complete,
                                  unsigned flags, void *argument, size_t size)
{
    return flags & 1U << 5 ? -EINVAL
                           : kernel_enter(ring, to_submit, min_complete, flags, argument, size);
}

/* Without waits until a point in time (Linux 6.12), timers and time-outs work by durations. */
Test(environment, absolute_waits_that_the_kernel_lacks)
{
    hook_enter = enter_without_absolute;
    open_loop();
    cr_assert_not(has("ABS_TIMER"));
    unr_loop_hold(loop);
    unr_time begin = unr_loop_now(loop);
    while (unr_loop_now(loop) < begin + UNR_MSEC(3))
        cr_assert_eq(unr_loop_run_once(loop, UNR_MSEC(3)), 0);
    unr_loop_release(loop);
    exercise(loop);
    close_loop();
}

static bool forget_nosignal;

ssize_t preadv2(int from, const struct iovec *iov, int count, off_t offset, int flags)
{
    if (forget_nosignal && flags & 0x100) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return syscall(SYS_preadv2, from, iov, count, offset, 0, flags);
}

/* Without RWF_NOSIGNAL (Linux 6.18), writes do without. */
Test(environment, nosignal_writes_that_the_kernel_lacks)
{
    struct iovec iov = { buf, 10 };
    forget_nosignal = true;
    open_loop();
    unix_pair(end);
    cr_assert_not(has("RWF_NOSIGNAL"));
    expect_value(unr_write(&ops[0], end[0], buf, 10, -1), 10);
    expect_value(unr_writev(&ops[0], end[0], &iov, 1, -1), 10);
    close_pair(end);
    close_loop();
}

static const uint8_t *missing_opcodes;
static size_t         missing_count;

static int register_without(unsigned ring, unsigned opcode, const void *argument, unsigned count)
{
    int error = kernel_register(ring, opcode, argument, count);
    if (opcode == IORING_REGISTER_PROBE && error >= 0) {
        struct io_uring_probe *probe = (struct io_uring_probe *)(uintptr_t)argument;
        for (size_t i = 0; i < missing_count; i++)
            probe->ops[missing_opcodes[i]].flags = 0;
    }
    return error;
}

#define FORGET(...)                                                                                \
    do {                                                                                           \
        static const uint8_t opcodes[] = { __VA_ARGS__ };                                          \
        missing_opcodes = opcodes;                                                                 \
        missing_count = LENGTH(opcodes);                                                           \
        hook_register = register_without;                                                          \
    } while (0)

static void expect_unsupported(struct unr_op *described, const char *name, const char *version)
{
    cr_assert_eq(value_of(described), -EOPNOTSUPP);
    const char *words = unr_explain_op(described);
    cr_assert_not_null(strstr(words, name), "%s", words);
    cr_assert_not_null(strstr(words, version), "%s", words);
    cr_assert_not(has(name));
}

enum { OP_FUTEX_WAIT = 51, OP_BIND = 56, OP_PIPE = 62 }; /* which liburing 2.3 does not name */

/* A call that this kernel has not in io_uring ends with -EOPNOTSUPP, and the words name the call
 * and the Linux that has it; old calls, which a filter may have taken away
 * (IORING_REGISTER_RESTRICTIONS), too. */
Test(environment, calls_that_the_kernel_lacks)
{
    static uint32_t word;
    int             made[2];
    FORGET(OP_FUTEX_WAIT, OP_BIND, OP_PIPE, IORING_OP_RECV);
    open_loop();
    unix_pair(end);
    expect_unsupported(unr_futex_wait(&ops[0], &word, 0, FUTEX_BITSET_MATCH_ANY, 2), "futex_wait",
                       "Linux 6.7");
    expect_unsupported(unr_bind(&ops[0], end[0], NULL, 0), "bind", "Linux 6.11");
    expect_unsupported(unr_pipe(&ops[0], made, O_CLOEXEC), "pipe", "Linux 6.16");
    expect_unsupported(unr_recv(&ops[0], end[0], buf, 1, 0), "recv", "Linux 6.1");
    expect_value(unr_send(&ops[0], end[0], buf, 1, 0), 1);
    close_pair(end);
    close_loop();
}

/* -EOPNOTSUPP from the call itself is not taken for a lack of the kernel's. */
Test(environment, unsupported_by_the_descriptor)
{
    open_loop();
    if (!has("listen"))
        cr_skip_test("this kernel has no listen in io_uring (Linux 6.11)");
    int datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    expect_value(unr_listen(&ops[0], datagrams, 1), -EOPNOTSUPP);
    const char *words = unr_explain_op(&ops[0]);
    cr_assert_null(strstr(words, "kernel"), "%s", words);
    close(datagrams);
    close_loop();
}

static int register_failing_opcode, register_failing_error;

static int register_failing(unsigned ring, unsigned opcode, const void *argument, unsigned count)
{
    return (int)opcode == register_failing_opcode ? register_failing_error
                                                  : kernel_register(ring, opcode, argument, count);
}

/* A ring that cannot be asked what it supports is not opened; one that cannot be taken over does
 * not run, and is freed. */
Test(environment, registrations_that_fail)
{
    struct unr_loop *opened = untouched;
    struct seen      nop = { 0 };
    skip_if_refused();
    open_descriptors = count_descriptors();
    hook_register = register_failing;
    register_failing_error = -ENOMEM;
    register_failing_opcode = IORING_REGISTER_PROBE;
    cr_assert_eq(unr_loop_open(&opened, NULL), -ENOMEM);
    cr_assert_eq(opened, untouched);
    cr_assert_eq(count_descriptors(), open_descriptors);

    register_failing_opcode = IORING_REGISTER_EVENTFD;
    open_loop();
    cr_assert_eq(unr_loop_fd(loop), -ENOMEM);
    exercise(loop);
    close_loop();

    register_failing_opcode = IORING_REGISTER_ENABLE_RINGS;
    open_loop();
    start(&nop, unr_nop(&nop.op));
    if (has("SINGLE_ISSUER"))
        cr_assert_eq(unr_loop_run(loop), -ENOMEM);
    register_failing_opcode = -1;
    run();
    cr_assert_eq(nop.runs, 1);
    close_loop();
}

/* ---- options ---- */

static int open_error(struct unr_loop_options options)
{
    struct unr_loop *opened = untouched;
    int              error = unr_loop_open(&opened, &options);
    if (error == 0) {
        exercise(opened);
        cr_assert_eq(unr_loop_close(opened), 0);
    } else {
        cr_assert_eq(opened, untouched);
    }
    return error;
}

/* Options out of range are -EINVAL, and every number of entries in it works. */
Test(environment, options)
{
    const size_t size = sizeof(struct unr_loop_options);
    skip_if_refused();
    open_descriptors = count_descriptors();
    cr_assert_eq(open_error((struct unr_loop_options){ .size = 0 }), -EINVAL);
    cr_assert_eq(open_error((struct unr_loop_options){ .size = 3 }), -EINVAL);
    cr_assert_eq(open_error((struct unr_loop_options){ .size = size + 1 }), -EINVAL);
    cr_assert_eq(open_error((struct unr_loop_options){ .size = SIZE_MAX }), -EINVAL);
    cr_assert_eq(open_error((struct unr_loop_options){ .size = size, .flags = 8 }), -EINVAL);
    cr_assert_eq(open_error((struct unr_loop_options){ .size = size,
                                                       .flags = 0x80000000u | UNR_LOOP_PLAIN }),
                 -EINVAL);
    cr_assert_eq(open_error((struct unr_loop_options){
                     .size = size, .entries = 64, .completion_entries = 32 }),
                 -EINVAL);
    cr_assert_not_null(strstr(unr_explain(-EINVAL), "option"));

    cr_assert_eq(open_error((struct unr_loop_options){ .size = size }), 0);
    cr_assert_eq(open_error((struct unr_loop_options){ .size = size, .flags = UNR_LOOP_PLAIN }), 0);
    cr_assert_eq(open_error((struct unr_loop_options){ .size = size,
                                                       .flags = UNR_LOOP_PLAIN | UNR_LOOP_CHECKS }),
                 0);
    for (unsigned entries = 1; entries <= 5; entries++)
        cr_assert_eq(open_error((struct unr_loop_options){ .size = size, .entries = entries }), 0);
    cr_assert_eq(open_error((struct unr_loop_options){
                     .size = size, .entries = 1, .completion_entries = 2 }),
                 0);
    cr_assert_eq(open_error((struct unr_loop_options){
                     .size = size, .entries = 300, .completion_entries = 1000 }),
                 0);
    cr_assert_eq(open_error((struct unr_loop_options){ .size = size, .entries = 8000 }), 0);
    cr_assert_eq(open_error((struct unr_loop_options){ .size = size, .entries = UINT32_MAX }), 0);
    cr_assert_eq(
        open_error((struct unr_loop_options){ .size = size, .completion_entries = UINT32_MAX }), 0);
    /* What an older program knows of them: the size, or the entries too. */
    cr_assert_eq(open_error((struct unr_loop_options){
                     .size = offsetof(struct unr_loop_options, entries), .flags = 99 }),
                 0);
    cr_assert_eq(open_error((struct unr_loop_options){
                     .size = offsetof(struct unr_loop_options, flags), .flags = 99 }),
                 0);
    cr_assert_eq(count_descriptors(), open_descriptors);
}

/* ---- a kernel that takes no submissions for a while, or not all ---- */

enum { TAKE = 1000 }; /* TAKE + n: takes n of them */

static const int *answers;
static size_t     answer_count, answer;
static unsigned   takeovers;

static int enter_answering(unsigned ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                           void *argument, size_t size)
{
    if (ring != (unsigned)latest_ring->enter_ring_fd || !to_submit || answer_count == 0)
        return kernel_enter(ring, to_submit, min_complete, flags, argument, size);
    int given = answers[answer++ % answer_count];
    if (given < 0)
        return given;
    unsigned taken = (unsigned)(given - TAKE) < to_submit ? (unsigned)(given - TAKE) : to_submit;
    takeovers++;
    /* As the kernel: it does not wait when it has not taken all. */
    return kernel_enter(ring, taken, taken == to_submit ? min_complete : 0, flags, argument, size);
}

#define ANSWER(...)                                                                                \
    do {                                                                                           \
        static const int script[] = { __VA_ARGS__ };                                               \
        answers = script;                                                                          \
        answer_count = LENGTH(script);                                                             \
        answer = 0;                                                                                \
        hook_enter = enter_answering;                                                              \
    } while (0)

enum { NOPS = 200, WAITING = 40 };

/* Operations that complete, are cancelled before submission, in flight, and as they come: each ends
 * once, as it should. */
static void expect_nothing_lost(unsigned entries)
{
    static struct seen nops[NOPS], waiting[WAITING];
    char               bytes[WAITING];
    open_descriptors = count_descriptors();
    loop = open_loop_with(entries, 0);
    unix_pair(end);
    memset(nops, 0, sizeof nops);
    memset(waiting, 0, sizeof waiting);
    for (int i = 0; i < WAITING; i++)
        start(&waiting[i], unr_recv(&waiting[i].op, end[0], &bytes[i], 1, 0));
    unr_cancel(&waiting[0].op, UNR_CANCEL_TOTAL);
    submit();
    for (int i = 0; i < NOPS; i++)
        start(&nops[i], unr_nop(&nops[i].op));
    for (int i = 1; i < WAITING; i += 2)
        unr_cancel(&waiting[i].op, UNR_CANCEL_TOTAL);
    submit();
    for (int i = 2; i < WAITING; i += 2)
        unr_cancel(&waiting[i].op, UNR_CANCEL_TOTAL);
    run();
    for (int i = 0; i < NOPS; i++)
        cr_assert(nops[i].runs == 1 && nops[i].result.error == 0);
    for (int i = 0; i < WAITING; i++) {
        cr_assert_eq(waiting[i].runs, 1);
        cr_assert_eq(waiting[i].result.error, -ECANCELED);
    }
    close_pair(end);
    close_loop();
}

/* The kernel takes fewer SQEs than it is shown. */
Test(environment, submissions_taken_in_part)
{
    ANSWER(TAKE + 1, TAKE + 2, TAKE + 5);
    expect_nothing_lost(0);
    expect_nothing_lost(8);
    cr_assert_gt(takeovers, 10);
}

/* It has no memory for requests (-EAGAIN), or none at all (0 taken). */
Test(environment, submissions_refused_for_want_of_memory)
{
    ANSWER(-EAGAIN, TAKE + 3, -EAGAIN, -EAGAIN, TAKE + 100);
    expect_nothing_lost(0);
    expect_nothing_lost(8);
    ANSWER(TAKE + 0, TAKE + 0, TAKE + 50);
    expect_nothing_lost(0);
}

/* Too many completions wait to be reaped (-EBUSY). */
Test(environment, submissions_refused_as_it_is_busy)
{
    ANSWER(-EBUSY, TAKE + 20, -EBUSY, -EBUSY, TAKE + 20);
    expect_nothing_lost(0);
    expect_nothing_lost(8);
}

/* Signal handlers interrupt it (-EINTR). */
Test(environment, submissions_interrupted)
{
    ANSWER(-EINTR, TAKE + 20, -EINTR, -EINTR, TAKE + 20);
    expect_nothing_lost(0);
    expect_nothing_lost(8);
}

/* All of this in turn. */
Test(environment, submissions_refused_in_every_way)
{
    ANSWER(-EAGAIN, TAKE + 1, -EBUSY, TAKE + 7, -EINTR, TAKE + 0, -ETIME, TAKE + 3);
    expect_nothing_lost(0);
    expect_nothing_lost(1);
    expect_nothing_lost(8);
}

/* A cancel that the kernel does not find a target for is repeated until the target has ended. */
Test(environment, cancels_lost)
{
    open_loop();
    unix_pair(end);
    for (unsigned lost = 0; lost <= 4; lost++) {
        struct seen      seen = { 0 };
        struct unr_stats before, after;
        start(&seen, unr_recv(&seen.op, end[0], buf, 1, 0));
        submit();
        unr_loop_stats(loop, &before, sizeof before);
        lose_cancels(lost);
        unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
        run();
        unr_loop_stats(loop, &after, sizeof after);
        cr_assert_eq(cancels_lost, lost);
        cr_assert_eq(after.cancels_repeated - before.cancels_repeated, lost);
        expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    }
    close_pair(end);
    close_loop();
}

/* A cancel that is still to be repeated when its target completes is dropped: the target was
 * quicker. */
Test(environment, cancel_lost_and_overtaken)
{
    struct seen seen = { 0 }, nop = { 0 };
    open_loop();
    unix_pair(end);
    start(&seen, unr_recv(&seen.op, end[0], buf, 1, 0));
    submit();
    lose_cancels(1000);
    unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
    while (cancels_lost < 3) {
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
        cr_assert_eq(seen.runs, 0);
    }
    cr_assert_eq(write(end[1], "x", 1), 1);
    run();
    cr_assert_eq(seen.result.error, 0);
    cr_assert_eq(seen.result.bytes, 1);
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_RUNNING); /* as the kernel seems to say */
    lose_cancels(0);
    start(&nop, unr_nop(&nop.op));
    run();
    close_pair(end);
    close_loop();
}

/* A cancel that goes on having no effect is repeated for ever, four times in a second. */
Test(environment, cancel_lost_for_long)
{
    struct seen seen = { 0 };
    open_loop();
    unix_pair(end);
    start(&seen, unr_recv(&seen.op, end[0], buf, 1, 0));
    submit();
    lose_cancels(12); /* more than there are intervals */
    unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
    run();
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(cancels_lost, 12);
    close_pair(end);
    close_loop();
}

/* A program that is newer than the library reads 0 in the counts that the library does not have; an
 * older one gets those that it knows. */
Test(environment, statistics_of_another_size)
{
    struct {
        struct unr_stats stats;
        uint64_t         newer[2];
    } asked;
    uint64_t older[2] = { 7, 7 };
    open_loop();
    memset(&asked, 0x5a, sizeof asked);
    unr_loop_stats(loop, &asked.stats, sizeof asked);
    cr_assert(asked.newer[0] == 0 && asked.newer[1] == 0);
    unr_loop_stats(loop, (struct unr_stats *)older, sizeof *older);
    cr_assert(older[0] == asked.stats.started && older[1] == 7);
    close_loop();
}

/* ---- errors that end a run ---- */

static const int fatal[] = { -EINVAL, -EFAULT, -EBADF, -ENXIO,  -EOPNOTSUPP,
                             -EEXIST, -EBADFD, -EPERM, -ENOSYS, -ENOMEM };

static int fatal_error, fatal_count;

static int enter_failing(unsigned ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                         void *argument, size_t size)
{
    if (ring != (unsigned)latest_ring->enter_ring_fd || fatal_count == 0)
        return kernel_enter(ring, to_submit, min_complete, flags, argument, size);
    fatal_count--;
    return fatal_error;
}

/* Any other error of io_uring_enter(2) comes out of the run; if it passes, everything is still
 * there. */
Test(environment, fatal_error_that_passes)
{
    for (size_t i = 0; i < LENGTH(fatal); i++) {
        struct seen nop = { 0 }, receive = { 0 };
        open_loop();
        unix_pair(end);
        start(&nop, unr_nop(&nop.op));
        start(&receive, unr_recv(&receive.op, end[0], buf, 1, 0));
        hook_enter = enter_failing;
        fatal_error = fatal[i];
        fatal_count = 2;
        cr_assert_eq(unr_loop_run(loop), fatal[i]);
        cr_assert_eq(unr_loop_run_once(loop, UNR_NEVER), fatal[i]);
        cr_assert_eq(nop.runs, 0);
        unr_cancel(&receive.op, UNR_CANCEL_TOTAL);
        run();
        cr_assert_eq(nop.runs, 1);
        cr_assert_eq(receive.result.error, -ECANCELED);
        close_pair(end);
        close_loop();
    }
}

/* If it stays, close reports it and frees. */
Test(environment, fatal_error_that_stays)
{
    for (size_t i = 0; i < LENGTH(fatal); i++) {
        struct seen nop = { 0 };
        long        before;
        open_descriptors = count_descriptors();
        before = pieces();
        loop = open_loop_with(0, 0);
        start(&nop, unr_nop(&nop.op));
        hook_enter = enter_failing;
        fatal_error = fatal[i];
        fatal_count = -1;
        cr_assert_eq(unr_loop_run(loop), fatal[i]);
        cr_assert_eq(unr_loop_close(loop), fatal[i]);
        hook_enter = NULL;
        if (allocations_are_seen())
            cr_assert_eq(pieces(), before);
        cr_assert_eq(count_descriptors(), open_descriptors);
    }
}

/* Work of two threads, which is told to end. */
struct worker {
    struct seen     seen;
    struct unr_work work;
    sem_t           begun, go, disposed;
};

static int works_until_told(void *argument)
{
    struct worker *w = argument;
    sem_post(&w->begun);
    while (!unr_work_cancelled())
        sched_yield();
    return 7;
}

static int works_on(void *argument)
{
    struct worker *w = argument;
    sem_post(&w->begun);
    while (sem_wait(&w->go) < 0)
        ;
    return 7;
}

static void dispose_of(void *argument)
{
    sem_post(&((struct worker *)argument)->disposed);
}

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) < 0)
        cr_assert_eq(errno, EINTR);
}

static void init_worker(struct worker *w)
{
    sem_init(&w->begun, 0, 0);
    sem_init(&w->go, 0, 0);
    sem_init(&w->disposed, 0, 0);
}

/* What other threads do needs no ring: close waits for it, and each `done` runs. */
Test(environment, fatal_error_while_threads_work)
{
    static struct worker w[3];
    unr_work_limit(2);
    loop = open_loop_with(0, 0);
    for (int i = 0; i < 3; i++)
        init_worker(&w[i]);
    start(&w[0].seen, unr_work(&w[0].work, works_until_told, &w[0]));
    start(&w[1].seen, unr_work_abandonable(&w[1].work, works_on, &w[1], dispose_of));
    wait_for(&w[0].begun);
    wait_for(&w[1].begun);
    start(&w[2].seen, unr_work(&w[2].work, works_until_told, &w[2])); /* there is no thread */
    hook_enter = enter_failing;
    fatal_error = -EINVAL;
    fatal_count = -1;
    cr_assert_eq(unr_loop_run(loop), -EINVAL);
    cr_assert_eq(unr_loop_close(loop), -EINVAL);
    hook_enter = NULL;
    cr_assert_eq(w[0].seen.runs, 1);
    cr_assert_eq(w[0].seen.result.value, 7);
    cr_assert_eq(w[0].seen.result.verdict, UNR_VERDICT_RUNNING);
    expect_cancelled(&w[1].seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_cancelled(&w[2].seen, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, -ESHUTDOWN);
    sem_post(&w[1].go);
    wait_for(&w[1].disposed);
}

static int   times_failed;
static sem_t has_failed, has_answer; /* again; the answer that it waits for */

static int fail_and_tell(unsigned ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                         void *argument, size_t size)
{
    if (times_failed++ > 0) /* behind a turn that may have run tasks still */
        sem_post(&has_failed);
    return enter_failing(ring, to_submit, min_complete, flags, argument, size);
}

static void give_answer(struct unr_task *task)
{
    (void)task;
    sem_post(&has_answer);
}

/* Asks the loop's thread for something, and does not return before it has the answer. */
static int asks_its_loop(void *argument)
{
    static struct unr_task question = { .run = give_answer };
    struct worker         *w = argument;
    sem_post(&w->begun);
    while (sem_wait(&has_failed) < 0)
        ;
    unr_loop_post(loop, &question);
    while (sem_wait(&has_answer) < 0)
        ;
    return 7;
}

/* Close runs the tasks meanwhile for which the work waits. */
Test(environment, fatal_error_while_work_asks_its_loop)
{
    static struct worker w;
    loop = open_loop_with(0, 0);
    init_worker(&w);
    sem_init(&has_failed, 0, 0);
    sem_init(&has_answer, 0, 0);
    start(&w.seen, unr_work(&w.work, asks_its_loop, &w));
    wait_for(&w.begun);
    hook_enter = fail_and_tell;
    fatal_error = -EINVAL;
    fatal_count = -1;
    cr_assert_eq(unr_loop_close(loop), -EINVAL);
    hook_enter = NULL;
    cr_assert_eq(w.seen.result.value, 7);
}

static void lose_completions(void *context)
{
    struct unr_op nop = { 0 };
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_nop(&nop), NULL, NULL);
    hook_enter = enter_failing;
    fatal_error = -EBADR;
    fatal_count = -1;
    unr_loop_run(loop);
}

/* A kernel that has dropped completions cannot be survived: operations would stay in flight for
 * ever. */
Test(environment, completions_dropped_by_the_kernel)
{
    struct death death = in_child(lose_completions, NULL);
    expect_abort(&death, (const char *const[]){ "EBADR", "dropped completions", NULL });
}

static atomic_int interruptions;

static void count_interruption(int number)
{
    (void)number;
    interruptions++;
}

struct interrupted {
    pid_t       thread;
    atomic_bool returned;
};

static void *interrupt_when_asleep(void *context)
{
    struct interrupted *who = context;
    while (!atomic_load(&who->returned)) {
        until_asleep(who->thread);
        syscall(SYS_tgkill, getpid(), who->thread, SIGUSR1);
    }
    return NULL;
}

/* A signal handler makes run_once return early; run goes on. */
Test(environment, interrupted_by_a_signal_handler)
{
    struct sigaction   action = { .sa_handler = count_interruption };
    struct seen        seen = { 0 };
    struct interrupted me = { .thread = thread_id() };
    pthread_t          interrupter;
    open_loop();
    unix_pair(end);
    sigaction(SIGUSR1, &action, NULL);
    start(&seen, unr_recv(&seen.op, end[0], buf, 1, 0));
    submit();
    pthread_create(&interrupter, NULL, interrupt_when_asleep, &me);
    cr_assert_eq(unr_loop_run_once(loop, UNR_SEC(1000)), 0);
    atomic_store(&me.returned, true);
    pthread_join(interrupter, NULL);
    cr_assert_gt(interruptions, 0);
    cr_assert_eq(seen.runs, 0);
    cr_assert_eq(write(end[1], "x", 1), 1);
    run();
    cr_assert_eq(seen.result.bytes, 1);
    close_pair(end);
    close_loop();
}

/* ---- descriptors closed from under operations ---- */

/* A descriptor closed with close(2) under an operation stays open for it: it can be cancelled, and
 * the loop goes on; what has got the descriptor's number since is another file. */
Test(environment, closed_under_an_operation)
{
    skip_with_checks();
    struct seen seen = { 0 }, newer = { 0 };
    int         other[2];
    open_loop();
    unix_pair(end);
    unix_pair(other);
    start(&seen, unr_recv(&seen.op, end[0], buf, 1, 0));
    submit();
    close(end[0]);
    cr_assert_eq(dup2(other[0], end[0]), end[0]);
    start(&newer, unr_recv(&newer.op, end[0], buf + 1, 1, 0));
    submit();
    unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
    finish(&seen);
    expect_cancelled(&seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(newer.runs, 0);
    cr_assert_eq(write(other[1], "n", 1), 1);
    run();
    cr_assert_eq(buf[1], 'n');
    close_pair(end);
    close_pair(other);
    close_loop();
}

/* Without being cancelled it goes on as if nothing had happened. */
Test(environment, closed_under_an_operation_that_completes)
{
    skip_with_checks();
    struct seen seen = { 0 }, bad = { 0 };
    open_loop();
    unix_pair(end);
    start(&seen, unr_recv(&seen.op, end[0], buf, 1, 0));
    submit();
    close(end[0]);
    start(&bad, unr_recv(&bad.op, end[0], buf, 1, 0));
    cr_assert_eq(write(end[1], "x", 1), 1);
    run();
    cr_assert_eq(seen.result.bytes, 1);
    cr_assert_eq(bad.result.error, -EBADF);
    close(end[1]);
    close_loop();
}

/* ---- peers that reset ---- */

static void reset(int fd)
{
    struct linger linger = { .l_onoff = 1 };
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(fd);
}

static atomic_int broken_pipes;

static void count_broken_pipe(int number)
{
    (void)number;
    broken_pipes++;
}

/* A connection that its peer resets ends what is in flight on it with -ECONNRESET and what follows
 * with -EPIPE; nothing that sends raises SIGPIPE. */
Test(environment, reset_by_the_peer)
{
    struct iovec  iov = { buf, 10 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    struct seen   seen = { 0 };
    open_loop();
    signal(SIGPIPE, count_broken_pipe);
    tcp_pair(end);
    start(&seen, unr_recv(&seen.op, end[0], buf, 1, 0));
    submit();
    reset(end[1]);
    run();
    cr_assert_eq(seen.result.error, -ECONNRESET, "%s", unr_explain_op(&seen.op));
    expect_value(unr_send(&ops[0], end[0], buf, 10, 0), -EPIPE);
    expect_value(unr_sendmsg(&ops[0], end[0], &msg, 0), -EPIPE);
    expect_value(unr_recv(&ops[0], end[0], buf, 10, 0), 0);
    cr_assert_eq(broken_pipes, 0);
    close(end[0]);
    close_loop();
}

static void write_to_the_void(int fd)
{
    struct iovec iov = { buf, 10 };
    expect_value(unr_write(&ops[0], fd, buf, 10, -1), -EPIPE);
    expect_value(unr_writev(&ops[0], fd, &iov, 1, -1), -EPIPE);
    cr_assert_eq(broken_pipes, 0);
}

/* Where the kernel has RWF_NOSIGNAL, writes raise no SIGPIPE either: to sockets of both kinds, and
 * to pipes. */
Test(environment, writes_that_nobody_reads)
{
    open_loop();
    signal(SIGPIPE, count_broken_pipe);
    if (!has("RWF_NOSIGNAL"))
        cr_skip_test("this kernel has no RWF_NOSIGNAL (Linux 6.18)");
    unix_pair(end);
    close(end[1]);
    write_to_the_void(end[0]);
    close(end[0]);
    tcp_pair(end);
    reset(end[1]);
    wait_readable(end[0]);
    cr_assert_eq(read(end[0], buf, 1), -1);
    write_to_the_void(end[0]);
    close(end[0]);
    cr_assert_eq(pipe2(end, O_CLOEXEC), 0);
    close(end[0]);
    write_to_the_void(end[1]);
    close(end[1]);
    close_loop();
}

/* Splices to where nobody reads raise none: the kernel does them in a worker. */
Test(environment, splices_that_nobody_reads)
{
    open_loop();
    signal(SIGPIPE, count_broken_pipe);
    cr_assert_eq(pipe2(pipes[0], O_CLOEXEC), 0);
    cr_assert_eq(pipe2(pipes[1], O_CLOEXEC), 0);
    unix_pair(end);
    close(pipes[1][0]);
    close(end[1]);
    cr_assert_eq(write(pipes[0][1], buf, 10), 10);
    expect_value(unr_tee(&ops[0], pipes[0][0], pipes[1][1], 10, 0), -EPIPE);
    expect_value(unr_splice(&ops[0], pipes[0][0], -1, pipes[1][1], -1, 10, 0), -EPIPE);
    expect_value(unr_splice(&ops[0], pipes[0][0], -1, end[0], -1, 10, 0), -EPIPE);
    cr_assert_eq(broken_pipes, 0);
    close_pair(pipes[0]);
    close(pipes[1][1]);
    close(end[0]);
    close_loop();
}

/* Not raising SIGPIPE costs no kind of file its writes. */
Test(environment, writes_to_every_kind_of_file)
{
    uint64_t one = 1;
    open_loop();
    int event = eventfd(0, EFD_CLOEXEC);
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int memory_file = memfd_create("file", MFD_CLOEXEC);
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    cr_assert_eq(pipe2(pipes[0], O_CLOEXEC), 0);
    unix_pair(end);
    expect_value(unr_write(&ops[0], event, &one, sizeof one, -1), sizeof one);
    expect_value(unr_write(&ops[0], null, buf, 10, -1), 10);
    expect_value(unr_write(&ops[0], memory_file, buf, 10, -1), 10);
    expect_value(unr_write(&ops[0], memory_file, buf, 10, 100), 10);
    expect_value(unr_write(&ops[0], pipes[0][1], buf, 10, -1), 10);
    expect_value(unr_write(&ops[0], end[0], buf, 10, -1), 10);
    if (terminal >= 0)
        expect_value(unr_write(&ops[0], terminal, buf, 10, -1), 10);
    close_pair(pipes[0]);
    close_pair(end);
    close(event);
    close(null);
    close(memory_file);
    close(terminal);
    close_loop();
}
