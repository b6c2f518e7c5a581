/* SPDX-License-Identifier: MIT */
/* Results that nobody asked for: the kernel interrupts an operation, has no worker thread for it,
 * or cancels it for somebody else.  None of these is passed on as it is. */
#define SUPPORT_KERNEL
#include "support.h"

#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <sys/un.h>

TestSuite(unasked, .timeout = 60);

static uint64_t submitted_again(void)
{
    struct unr_stats stats;
    unr_loop_stats(loop, &stats, sizeof stats);
    return stats.submitted_again;
}

/* ---- stopped and continued ---- */

/* Whether the first letter of a process's or thread's state is `state`. */
static bool is_in_state(const char *path, char state)
{
    char    text[512];
    int     fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    const char *end = strrchr(text, ')');
    return end && end[2] == state;
}

/* Whether a worker of the ring sleeps: in the call, as it has just been made for it. */
static bool a_worker_waits(void)
{
    DIR           *directory = opendir("/proc/self/task");
    struct dirent *entry;
    bool           waits = false;
    must(directory);
    while ((entry = readdir(directory))) {
        char path[300], name[32] = { 0 };
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        bool is_worker = read(fd, name, sizeof name - 1) > 0 && strncmp(name, "iou-wrk", 7) == 0;
        close(fd);
        snprintf(path, sizeof path, "/proc/self/task/%s/stat", entry->d_name);
        waits |= is_worker && is_in_state(path, 'S');
    }
    closedir(directory);
    return waits;
}

/* Stops this process `times` times, continues it each time, and then calls `provoke`, in a child.
 */
static void be_stopped(int times, void (*provoke)(const int *fds), const int *fds)
{
    pid_t me = getpid(), child = fork();
    char  path[64];
    must(child >= 0);
    if (child)
        return;
    alarm(CHILD_SECONDS);
    snprintf(path, sizeof path, "/proc/%d/stat", (int)me);
    while (times--) {
        must(kill(me, SIGSTOP) == 0);
        while (!is_in_state(path, 'T'))
            sched_yield();
        must(kill(me, SIGCONT) == 0);
        while (is_in_state(path, 'T'))
            sched_yield();
    }
    provoke(fds);
    _exit(0);
}

struct waits {
    struct unr_op *(*describe)(struct unr_op *op, int *ret_fds); /* fds[0] to [3] */
    void (*provoke)(const int *fds);
};

static struct unr_op *splice_waits(struct unr_op *op, int *ret_fds)
{
    must(pipe(ret_fds) == 0 && pipe(ret_fds + 2) == 0);
    return unr_splice(op, ret_fds[0], -1, ret_fds[3], -1, 100, 0);
}

static struct unr_op *tee_waits(struct unr_op *op, int *ret_fds)
{
    must(pipe(ret_fds) == 0 && pipe(ret_fds + 2) == 0);
    return unr_tee(op, ret_fds[0], ret_fds[3], 100, 0);
}

static void write_three(const int *fds)
{
    must(write(fds[1], "abc", 3) == 3);
}

static struct sockaddr_un local_address;

static struct unr_op *connect_waits(struct unr_op *op, int *ret_fds)
{
    socklen_t len = sizeof local_address;
    local_address.sun_family = AF_UNIX;
    ret_fds[0] = socket(AF_UNIX, SOCK_STREAM, 0);
    must(bind(ret_fds[0], (struct sockaddr *)&local_address, sizeof(sa_family_t)) == 0);
    must(getsockname(ret_fds[0], (struct sockaddr *)&local_address, &len) == 0);
    must(listen(ret_fds[0], 0) == 0);
    ret_fds[1] = socket(AF_UNIX, SOCK_STREAM, 0);
    must(connect(ret_fds[1], (struct sockaddr *)&local_address, len)
         == 0); /* the backlog is full */
    ret_fds[2] = socket(AF_UNIX, SOCK_STREAM, 0);
    return unr_connect(op, ret_fds[2], (struct sockaddr *)&local_address, len);
}

static void accept_one(const int *fds)
{
    must(accept(fds[0], NULL, NULL) >= 0);
}

static void goes_on(void *context)
{
    const struct waits *waits = context;
    struct unr_op       op = { 0 };
    int                 fds[4] = { -1, -1, -1, -1 };
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, waits->describe(&op, fds), NULL, NULL);
    while (!a_worker_waits())
        must(unr_loop_run_once(loop, UNR_MSEC(1)) >= 0);
    be_stopped(3, waits->provoke, fds);
    must(unr_loop_run(loop) == 0);
    if (op.result.error)
        dprintf(STDERR_FILENO, "%s\n", unr_explain_op(&op));
    must(op.result.error == 0);
    must(op.result.verdict == UNR_VERDICT_NONE);
    must(unr_loop_close(loop) == 0);
}

/* Job control, a debugger and the freezer of a cgroup do this. */
static void expect_to_go_on(struct unr_op *(*describe)(struct unr_op *, int *),
                            void (*provoke)(const int *))
{
    struct waits waits = { describe, provoke };
    struct death death = in_child(goes_on, &waits);
    expect_success(&death);
}

Test(unasked, stopped_and_continued_splice)
{
    expect_to_go_on(splice_waits, write_three);
}

Test(unasked, stopped_and_continued_tee)
{
    expect_to_go_on(tee_waits, write_three);
}

Test(unasked, stopped_and_continued_connect_over_unix)
{
    expect_to_go_on(connect_waits, accept_one);
}

static void do_nothing(const int *fds)
{
    (void)fds;
}

/* What was interrupted while its descriptor was closed is not submitted again: the number may be
 * another's. */
static void ends_on_a_closed_number(void *context)
{
    struct unr_op op = { 0 }, closer = { 0 };
    int           fds[4], others[2], unread;
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, splice_waits(&op, fds), NULL, NULL);
    while (!a_worker_waits())
        must(unr_loop_run_once(loop, UNR_MSEC(1)) >= 0);
    unr_start(loop, unr_close(&closer, fds[0]), NULL, NULL);
    while (unr_in_flight(&closer))
        must(unr_loop_run_once(loop, UNR_MSEC(10)) >= 0);
    must(pipe(others) == 0 && others[0] == fds[0] && write(others[1], "1234", 4) == 4);
    be_stopped(1, do_nothing, NULL);
    while (unr_in_flight(&op))
        must(unr_loop_run_once(loop, UNR_SEC(10)) >= 0);
    must(op.result.error == -EINTR && op.result.verdict == UNR_VERDICT_NONE);
    must(ioctl(others[0], FIONREAD, &unread) == 0 && unread == 4);
    must(unr_loop_close(loop) == 0);
}

Test(unasked, interrupted_on_a_closed_number_ends)
{
    struct death death = in_child(ends_on_a_closed_number, NULL);
    expect_success(&death);
}

/* ---- no worker ---- */

static struct rlimit processes;

/* From here on the kernel can make no thread for this process. */
static void refuse_workers(void)
{
    must(getrlimit(RLIMIT_NPROC, &processes) == 0);
    struct rlimit one = { 1, processes.rlim_max };
    if (geteuid() == 0) /* whom the limit does not concern */
        must(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
    must(setrlimit(RLIMIT_NPROC, &one) == 0);
}

static void allow_workers(void)
{
    must(setrlimit(RLIMIT_NPROC, &processes) == 0);
}

static int temporary_file(void)
{
    char path[] = "/tmp/unring-XXXXXX";
    int  fd = mkstemp(path);
    must(fd >= 0 && unlink(path) == 0);
    return fd;
}

static void until_again(uint64_t times, const struct unr_op *op)
{
    while (submitted_again() < times && unr_in_flight(op))
        must(unr_loop_run_once(loop, UNR_SEC(10)) >= 0);
    must(unr_in_flight(op));
}

enum ending { GIVEN_UP, CANCELLED, DONE };

static void without_workers(void *context)
{
    enum ending   ending = *(enum ending *)context;
    struct unr_op op = { 0 };
    int           fd = temporary_file();
    refuse_workers();
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_fsync(&op, fd, 0), NULL, NULL);
    until_again(2, &op);
    if (ending == CANCELLED)
        must(unr_cancel(&op, UNR_CANCEL_TOTAL));
    if (ending == DONE)
        allow_workers();
    must(unr_loop_run(loop) == 0);
    switch (ending) {
    case GIVEN_UP:
        must(op.result.error == -EAGAIN && op.result.verdict == UNR_VERDICT_NONE);
        must(strstr(unr_explain_op(&op), "no worker thread"));
        break;
    case CANCELLED:
        must(op.result.error == -ECANCELED && op.result.guarantee == UNR_CANCEL_TOTAL);
        must(op.result.verdict == UNR_VERDICT_UNSUBMITTED);
        break;
    case DONE: must(op.result.error == 0); break;
    }
    must(unr_loop_close(loop) == 0);
}

static void expect_without_workers(enum ending ending)
{
    struct death death = in_child(without_workers, &ending);
    expect_success(&death);
}

Test(unasked, no_worker_for_long)
{
    expect_without_workers(GIVEN_UP);
}

Test(unasked, no_worker_and_cancelled_meanwhile)
{
    expect_without_workers(CANCELLED);
}

Test(unasked, no_worker_for_a_while)
{
    expect_without_workers(DONE);
}

/* What waits for a worker ends when its number is closed, because that may be another file's by the
 * time there is one. */
static void closed_without_workers(void *context)
{
    struct unr_op op = { 0 }, closer = { 0 };
    int           fd = temporary_file();
    (void)context;
    refuse_workers();
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_fsync(&op, fd, 0), NULL, NULL);
    until_again(3, &op);
    unr_start(loop, unr_close(&closer, fd), NULL, NULL);
    while (unr_in_flight(&closer))
        must(unr_loop_run_once(loop, UNR_SEC(10)) >= 0);
    must(open("/dev/null", O_RDWR | O_CLOEXEC) == fd);
    allow_workers();
    must(unr_loop_run(loop) == 0);
    must(op.result.error == -EINTR && op.result.verdict == UNR_VERDICT_NONE);
    must(op.result.bytes == 0 && op.result.fd == -1);
    must(unr_loop_close(loop) == 0);
}

Test(unasked, no_worker_and_closed_meanwhile)
{
    struct death death = in_child(closed_without_workers, NULL);
    expect_success(&death);
}

/* Reads eight bytes of what no poll can wait for; or of what a worker reads on some kernels alone.
 */
static void reads_without_workers(void *context)
{
    struct unr_op op = { 0 };
    char          buf[8];
    int           fd = *(int *)context;
    refuse_workers();
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_read(&op, fd, buf, sizeof buf, -1), NULL, NULL);
    must(unr_loop_run(loop) == 0);
    if (op.result.error)
        must(op.result.error == -EAGAIN && strstr(unr_explain_op(&op), "no worker thread"));
    else
        must(op.result.bytes == sizeof buf);
    must(op.result.verdict == UNR_VERDICT_NONE);
    must(unr_loop_close(loop) == 0);
}

Test(unasked, no_worker_for_a_device)
{
    int fd = open("/dev/hwrng", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        cr_skip_test("/dev/hwrng: %s", strerror(errno));
    struct death death = in_child(reads_without_workers, &fd);
    expect_success(&death);
    close(fd);
}

Test(unasked, no_worker_for_a_pipe)
{
    int fds[2];
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    cr_assert_eq(write(fds[1], "12345678", 8), 8);
    struct death death = in_child(reads_without_workers, &fds[0]);
    expect_success(&death);
    close_pair(fds);
}

/* A close needs none. */
static void closes_without_workers(void *context)
{
    struct unr_op op = { 0 }, closer = { 0 };
    int           fd = temporary_file(), other = temporary_file();
    (void)context;
    refuse_workers();
    must(unr_loop_open(&loop, NULL) == 0);
    unr_start(loop, unr_close(&op, fd), NULL, NULL);
    unr_start(loop, unr_cancel_close(&closer, other), NULL, NULL);
    must(unr_loop_run(loop) == 0);
    must(op.result.error == 0 && closer.result.error == 0);
    must(fcntl(fd, F_GETFD) < 0 && fcntl(other, F_GETFD) < 0);
    must(unr_loop_close(loop) == 0);
}

Test(unasked, no_worker_for_a_close)
{
    struct death death = in_child(closes_without_workers, NULL);
    expect_success(&death);
}

/* ---- somebody else ---- */

static void fill_cancel_fd(void *sqe, void *fd)
{
    io_uring_prep_cancel_fd(sqe, *(int *)fd, IORING_ASYNC_CANCEL_ALL);
}

/* Reads from `fd`, and has a stranger cancel that. */
static void be_cancelled(struct seen *read_op, char buf[8], int *fd)
{
    struct seen stranger = { 0 };
    start(read_op, unr_read(&read_op->op, *fd, buf, 8, -1));
    submit();
    start(&stranger,
          unr_sqe(&stranger.op, "cancel by descriptor", UNR_CANCEL_NONE, fill_cancel_fd, fd));
    while (!stranger.runs)
        submit();
}

static void interrupted_on(int fd)
{
    struct seen read_op = { 0 };
    char        buf[8];
    open_loop();
    be_cancelled(&read_op, buf, &fd);
    run();
    cr_assert_eq(read_op.result.error, -EINTR);
    cr_assert_eq(read_op.result.verdict, UNR_VERDICT_NONE);
    cr_assert_eq(read_op.result.cause, 0);
    close_loop();
}

Test(unasked, cancelled_by_a_stranger)
{
    int fds[2], event = eventfd(0, EFD_CLOEXEC);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    interrupted_on(fds[0]);
    close_pair(fds);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    interrupted_on(fds[0]);
    close_pair(fds);
    interrupted_on(event);
    close(event);
}

/* On others it might have been a worker that was missing: the read goes on, and can be cancelled.
 */
static void goes_on_with(int fd)
{
    struct seen read_op = { 0 };
    char        buf[8];
    open_loop();
    be_cancelled(&read_op, buf, &fd);
    for (int i = 0; i < 5; i++)
        submit();
    unr_cancel(&read_op.op, UNR_CANCEL_TOTAL);
    run();
    cr_assert_eq(read_op.result.error, -ECANCELED);
    cr_assert_eq(read_op.result.guarantee, UNR_CANCEL_TOTAL);
    cr_assert_eq(submitted_again(), 1u);
    close_loop();
}

Test(unasked, cancelled_by_a_stranger_and_goes_on)
{
    int fds[2], timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC);
    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    goes_on_with(fds[0]);
    close_pair(fds);
    goes_on_with(timer);
    close(timer);
}

/* ---- interrupted, and who knows what was done ---- */

/* A kernel in which the next call of the opcode `interrupted` does nothing and is interrupted. */
static int interrupted = -1;

static int enter_interrupting(unsigned fd, unsigned to_submit, unsigned min_complete,
                              unsigned flags, void *argument, size_t size)
{
    struct io_uring_sq *sq = &latest_ring->sq;
    struct io_uring_cq *cq = &latest_ring->cq;
    uint64_t            victim = 0;
    for (unsigned i = *sq->khead; to_submit && i != *sq->ktail; i++) {
        struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];
        if (sqe->opcode == interrupted) {
            interrupted = -1;
            victim = sqe->user_data;
            *sqe = (struct io_uring_sqe){ .opcode = IORING_OP_NOP, .user_data = victim };
        }
    }
    int result = kernel_enter(fd, to_submit, min_complete, flags, argument, size);
    for (unsigned i = *cq->khead; i != *cq->ktail; i++)
        if (victim && cq->cqes[i & cq->ring_mask].user_data == victim)
            cq->cqes[i & cq->ring_mask].res = -EINTR;
    return result;
}

static struct unr_result interrupted_once(uint8_t opcode, struct unr_op *described)
{
    struct seen *seen = unr_container_of(described, struct seen, op);
    seen->runs = 0;
    interrupted = opcode;
    start(seen, described);
    run();
    cr_assert_eq(interrupted, -1);
    return seen->result;
}

/* What may be called again is: an open, but not one that may have made a file which it would then
 * find; a connect over AF_UNIX, but not one over TCP, which goes on meanwhile. */
Test(unasked, interrupted_calls_that_may_have_done_something)
{
    const int          flags = O_CREAT | O_RDWR | O_CLOEXEC;
    char               folder[] = "/tmp/unring-XXXXXX", path[64];
    struct seen        seen = { 0 };
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t          len = sizeof address;
    struct unr_result  result;
    open_loop();
    cr_assert_not_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/file", folder);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, len), 0);
    cr_assert_eq(listen(listener, 1), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    hook_enter = enter_interrupting;
    result = interrupted_once(IORING_OP_OPENAT,
                              unr_openat(&seen.op, AT_FDCWD, path, flags | O_EXCL, 0600));
    cr_assert_eq(result.error, -EINTR);
    result = interrupted_once(IORING_OP_OPENAT, unr_openat(&seen.op, AT_FDCWD, path, flags, 0600));
    cr_assert_eq(result.error, 0);
    close(result.fd);
    result = interrupted_once(IORING_OP_CONNECT,
                              unr_connect(&seen.op, client, (struct sockaddr *)&address, len));
    cr_assert_eq(result.error, -EINTR);
    hook_enter = NULL;
    close(client);
    close(listener);
    unlink(path);
    rmdir(folder);
    close_loop();
}

static int timer_of_the_clock(void)
{
    struct itimerspec at = { .it_value.tv_sec = INT32_MAX };
    int               fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC);
    cr_assert_eq(timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL), 0);
    return fd;
}

static void set_the_clock(void)
{
    struct timex by_a_nanosecond = { .modes = ADJ_SETOFFSET | ADJ_NANO, .time.tv_usec = 1 };
    if (adjtimex(&by_a_nanosecond) >= 0)
        return;
    int error = errno;
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_skip_test("the clock may not be set: %s", strerror(error));
}

static void expect_the_clock(const struct unr_op *op)
{
    const struct unr_result *r = &op->result;
    cr_assert_eq(r->error, -ECANCELED);
    cr_assert_eq(r->guarantee, UNR_CANCEL_NONE);
    cr_assert_eq(r->verdict, UNR_VERDICT_NONE);
    cr_assert_eq(r->cause, 0);
    cr_assert(strstr(unr_explain_op(op), "failed with ECANCELED"), "%s", unr_explain_op(op));
    cr_assert(strstr(unr_explain_op(op), "the clock was set"), "%s", unr_explain_op(op));
}

/* A timer that is to tell when the clock is set does so with ECANCELED: an event, which is passed
 * on, and for what contains the read a failure. */
Test(unasked, clock_was_set)
{
    struct unr_op       alone = { 0 }, reads[4] = { 0 }, *members[4];
    struct unr_group    all = { 0 }, any = { 0 }, one = { 0 };
    struct unr_deadline deadline = { 0 };
    struct unr_transfer exact = { 0 };
    struct unr_stream   stream;
    uint64_t            expirations[6];
    int                 fds[6];
    open_loop();
    for (int i = 0; i < 6; i++)
        fds[i] = timer_of_the_clock();
    for (int i = 0; i < 4; i++)
        members[i] = unr_read(&reads[i], fds[i], &expirations[i], 8, -1);
    unr_stream_pipe(&stream, fds[4]);
    unr_start(loop, unr_all(&all, &members[0], 1), NULL, NULL);
    unr_start(loop, unr_any(&any, &members[1], 1), NULL, NULL);
    unr_start(loop, unr_group(&one, &members[2], 1, unr_wait_all, NULL), NULL, NULL);
    unr_start(loop, unr_cancel_after(&deadline, members[3], UNR_SEC(100)), NULL, NULL);
    unr_start(loop, unr_read_exact(&exact, &stream, &expirations[4], 8), NULL, NULL);
    unr_start(loop, unr_read(&alone, fds[5], &expirations[5], 8, -1), NULL, NULL);
    submit();
    set_the_clock();
    run();
    expect_the_clock(&alone);
    expect_the_clock(&all.op);
    expect_the_clock(&any.op);
    expect_the_clock(&deadline.op);
    expect_the_clock(&exact.op);
    cr_assert_eq(one.op.result.error, 0); /* which does not look at how its members ended */
    for (int i = 0; i < 6; i++)
        close(fds[i]);
    close_loop();
}

/* A request that comes behind the event was too late, and does not make it a cancellation. */
Test(unasked, clock_was_set_before_a_request)
{
    struct unr_op       read_op = { 0 };
    struct unr_deadline deadline = { 0 };
    uint64_t            expirations;
    open_loop();
    int fd = timer_of_the_clock();
    unr_read(&read_op, fd, &expirations, 8, -1);
    unr_start(loop, unr_cancel_after(&deadline, &read_op, UNR_SEC(100)), NULL, NULL);
    submit();
    set_the_clock();
    unr_cancel_cause(&deadline.op, UNR_CANCEL_TOTAL, -ETIMEDOUT);
    run();
    cr_assert_eq(deadline.op.result.error, -ECANCELED);
    bool cancelled = deadline.op.result.guarantee != UNR_CANCEL_NONE;
    if (cancelled)
        cr_assert_eq(deadline.op.result.verdict, UNR_VERDICT_CANCELLED);
    else if (deadline.op.result.verdict
             != UNR_VERDICT_RUNNING) /* it was in the middle of telling */
        cr_assert_eq(deadline.op.result.verdict, UNR_VERDICT_TOO_LATE);
    cr_assert_eq(unr_timed_out(&deadline.op.result), cancelled);
    close(fd);
    close_loop();
}

/* ---- a transfer of the caller's own SQE, cut short ---- */

struct transfer {
    int           fd;
    char          buf[100];
    struct iovec  piece;
    struct msghdr message;
};

static void fill_recv_all(void *sqe, void *context)
{
    struct transfer *t = context;
    io_uring_prep_recv(sqe, t->fd, t->buf, sizeof t->buf, MSG_WAITALL);
}

static void fill_recvmsg_all(void *sqe, void *context)
{
    struct transfer *t = context;
    io_uring_prep_recvmsg(sqe, t->fd, &t->message, MSG_WAITALL);
}

static struct unr_result cut_short(unr_fill_fn *fill)
{
    struct seen     seen = { 0 };
    struct transfer t = { 0 };
    int             fds[2];
    open_loop();
    unix_pair(fds);
    t.fd = fds[0];
    t.piece = (struct iovec){ t.buf, sizeof t.buf };
    t.message = (struct msghdr){ .msg_iov = &t.piece, .msg_iovlen = 1 };
    start(&seen, unr_sqe(&seen.op, "mine", UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL, fill, &t));
    submit();
    cr_assert_eq(write(fds[1], t.buf, 50), 50);
    /* Until the kernel has taken them. */
    for (int left = 50; left;) {
        submit();
        cr_assert_eq(ioctl(fds[0], FIONREAD, &left), 0);
    }
    unr_cancel(&seen.op, UNR_CANCEL_PARTIAL);
    run();
    cr_assert_eq(seen.result.value, 50);
    close_pair(fds);
    close_loop();
    return seen.result;
}

Test(unasked, partial_recv_of_an_sqe_is_cancelled)
{
    struct unr_result result = cut_short(fill_recv_all);
    cr_assert_eq(result.error, -ECANCELED);
    cr_assert_eq(result.guarantee, UNR_CANCEL_PARTIAL);
    cr_assert_eq(result.verdict, UNR_VERDICT_CANCELLED);
}

Test(unasked, partial_recvmsg_of_an_sqe_has_the_verdict)
{
    struct unr_result result = cut_short(fill_recvmsg_all);
    cr_assert_eq(result.error, 0);
    cr_assert_eq(result.verdict, UNR_VERDICT_CANCELLED);
}
