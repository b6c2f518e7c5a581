/* SPDX-License-Identifier: MIT */
/* Words for a person: each is asked for and looked at for what it must name - the error, the reason
 * as far as this machine tells, what to do; the operation, its result, the verdict - and not for
 * how it puts it. */
#define SUPPORT_KERNEL
#include "../uring/row.h"
#include "support.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/un.h>

TestSuite(explain, .timeout = 20);

static void expect_word(const char *text, const char *word)
{
    cr_assert_not_null(strstr(text, word), "\"%s\" is missing in: %s", word, text);
}

/* All of the words, of which NULL is the last. */
#define expect_words(text, ...)                                                                    \
    do {                                                                                           \
        const char *const expected_[] = { __VA_ARGS__ };                                           \
        for (size_t i_ = 0; i_ < LENGTH(expected_); i_++)                                          \
            expect_word(text, expected_[i_]);                                                      \
    } while (0)

static void expect_no_word(const char *text, const char *word)
{
    cr_assert_null(strstr(text, word), "\"%s\" is in: %s", word, text);
}

/* ---- files of /proc as they might be ---- */

static struct {
    const char *path, *content; /* NULL: there is no such file */
    int         error;          /* not 0: it cannot be opened */
} faked[3];

static void fake(unsigned index, const char *path, const char *content)
{
    faked[index].path = path;
    faked[index].content = content;
}

/* This program's fopen() stands in front of the C library's. */
FILE *fopen(const char *path, const char *mode)
{
    typedef FILE *fopen_fn(const char *, const char *);
    for (size_t i = 0; i < LENGTH(faked); i++) {
        if (!faked[i].path || strcmp(faked[i].path, path) != 0)
            continue;
        if (!faked[i].content) {
            errno = faked[i].error ? faked[i].error : ENOENT;
            return NULL;
        }
        return fmemopen((void *)(uintptr_t)faked[i].content, strlen(faked[i].content), "r");
    }
    return ((fopen_fn *)(uintptr_t)dlsym(RTLD_NEXT, "fopen"))(path, mode);
}

#define SYSCTL "/proc/sys/kernel/io_uring_disabled"
#define GROUP  "/proc/sys/kernel/io_uring_group"
#define STATUS "/proc/self/status"

#define NOT_FILTERED "Name:\ttest\nNoNewPrivs:\t0\nSeccomp:\t0\nSeccomp_filters:\t0\n"
#define FILTERED     "Name:\ttest\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"

/* ---- why a loop could not be opened ---- */

/* No error is no error. */
Test(explain, no_error)
{
    expect_word(unr_explain(0), "no error");
    expect_word(unr_explain(5), "no error");
}

/* Switched off for all: the sysctl is named, with its value. */
Test(explain, switched_off_by_sysctl_for_everyone)
{
    fake(0, SYSCTL, "2\n");
    fake(1, STATUS, FILTERED);
    expect_words(unr_explain(-EPERM), "EPERM", "kernel.io_uring_disabled", "2", "set");
}

/* Switched off for the unprivileged: the group that may is named, too. */
Test(explain, switched_off_by_sysctl_for_the_unprivileged)
{
    fake(0, SYSCTL, "1\n");
    fake(1, GROUP, "4711\n");
    fake(2, STATUS, "CapEff:\t0000000000000000\n" FILTERED);
    expect_words(unr_explain(-EPERM), "EPERM", "kernel.io_uring_disabled = 1", "CAP_SYS_ADMIN",
                 "kernel.io_uring_group", "4711");
}

/* Forbidden by a filter: seccomp is named, and what to allow. */
Test(explain, forbidden_by_seccomp)
{
    fake(0, SYSCTL, "0\n");
    fake(1, STATUS, FILTERED);
    expect_words(unr_explain(-EPERM), "EPERM", "seccomp", "io_uring_setup", "io_uring_enter",
                 "io_uring_register", "--security-opt");
}

/* Forbidden by neither: that is said as well. */
Test(explain, forbidden_by_something_else)
{
    fake(0, SYSCTL, "0\n");
    fake(1, STATUS, NOT_FILTERED);
    expect_words(unr_explain(-EPERM), "EPERM", "neither", "SELinux");
}

/* A filter that answers EACCES is recognised.  The sysctl never answers that. */
Test(explain, forbidden_by_seccomp_with_another_error)
{
    fake(0, SYSCTL, "2\n");
    fake(1, STATUS, FILTERED);
    expect_words(unr_explain(-EACCES), "EACCES", "seccomp", "io_uring_enter", "--security-opt");
    expect_no_word(unr_explain(-EACCES), "io_uring_disabled");
}

/* The sysctl does not keep io_uring from an administrator: it is the filter. */
Test(explain, forbidden_to_an_administrator)
{
    fake(0, SYSCTL, "1\n");
    fake(1, STATUS, "CapEff:\t000001ffffffffff\n" FILTERED);
    expect_words(unr_explain(-EPERM), "EPERM", "seccomp", "io_uring_setup");
    expect_no_word(unr_explain(-EPERM), "io_uring_disabled");
}

/* Where /proc cannot be read nothing is said that only /proc could tell. */
Test(explain, not_known)
{
    static const int errors[] = { EACCES, ENOENT };
    for (size_t i = 0; i < LENGTH(errors); i++) {
        fake(0, SYSCTL, NULL);
        fake(1, STATUS, NULL);
        faked[0].error = EACCES;
        faked[1].error = errors[i];
        expect_words(unr_explain(-EPERM), "EPERM", "cannot be read", "io_uring_disabled", "seccomp",
                     "SELinux");
        expect_no_word(unr_explain(-EPERM), "neither");
        expect_words(unr_explain(-ENOSYS), "ENOSYS", "cannot be read", "Linux 6.1", "seccomp");
    }
}

/* Not there though the kernel knows its sysctl (Linux 6.6): a filter hides it. */
Test(explain, hidden_by_seccomp)
{
    fake(0, SYSCTL, "0\n");
    expect_words(unr_explain(-ENOSYS), "ENOSYS", "seccomp", "io_uring_setup");
}

/* Likewise before Linux 6.6, where a filter is all that can be seen. */
Test(explain, hidden_by_seccomp_on_an_older_kernel)
{
    fake(0, SYSCTL, NULL);
    fake(1, STATUS, FILTERED);
    expect_words(unr_explain(-ENOSYS), "ENOSYS", "seccomp");
}

/* Not there at all: what unring needs is named. */
Test(explain, not_there)
{
    fake(0, SYSCTL, NULL);
    fake(1, STATUS, NOT_FILTERED);
    expect_words(unr_explain(-ENOSYS), "ENOSYS", "Linux 6.1", "CONFIG_IO_URING");
}

/* Too little memory: the limit on locked memory is named with its value, where there is one. */
Test(explain, no_memory)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    limit.rlim_cur = 64 * 1024;
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    expect_words(unr_explain(-ENOMEM), "ENOMEM", "RLIMIT_MEMLOCK", "64 KiB", "some kernels",
                 "ulimit -l", "completion_entries");
}

#if !SUPPORT_SANITIZED

/* This program's getrlimit() stands in front of the C library's.  (By its
 * assembler name: the type of its parameter differs.  Not under the sanitizers, which call it
 * before they are set up.) */
int getrlimit_here(int resource, struct rlimit *ret_limit) __asm__("getrlimit");

static bool no_limits;

int getrlimit_here(int resource, struct rlimit *ret_limit)
{
    *ret_limit = (struct rlimit){ RLIM_INFINITY, RLIM_INFINITY };
    return no_limits ? 0 : (int)syscall(SYS_prlimit64, 0, resource, NULL, ret_limit);
}

Test(explain, no_memory_without_a_limit)
{
    no_limits = true;
    expect_words(unr_explain(-ENOMEM), "ENOMEM", "completion_entries");
    expect_no_word(unr_explain(-ENOMEM), "RLIMIT_MEMLOCK");
}

#endif

/* Too many descriptors: the process's limit with its value, or the system's. */
Test(explain, no_descriptors)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 333;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    expect_words(unr_explain(-EMFILE), "EMFILE", "RLIMIT_NOFILE", "333", "ulimit -n");
    expect_words(unr_explain(-ENFILE), "ENFILE", "fs.file-max");
}

/* A bad option, a kernel too old, and what nobody has foreseen. */
Test(explain, other_errors)
{
    expect_words(unr_explain(-EINVAL), "EINVAL", "option", "size");
    expect_words(unr_explain(-EOPNOTSUPP), "EOPNOTSUPP", "Linux 6.1");
    expect_words(unr_explain(-EXDEV), "EXDEV");
    expect_word(unr_explain(-99999), ":");
    expect_word(unr_explain(INT32_MIN), ":");
}

static void *explain_elsewhere(void *context)
{
    (void)context;
    static char copy[512];
    snprintf(copy, sizeof copy, "%s", unr_explain(-EMFILE));
    return copy;
}

/* A text lasts until its thread's next call, whatever other threads have explained to them. */
Test(explain, a_text_of_each_thread)
{
    pthread_t   other;
    void       *words_there;
    const char *words = unr_explain(-EINVAL);
    cr_assert_eq(pthread_create(&other, NULL, explain_elsewhere, NULL), 0);
    cr_assert_eq(pthread_join(other, &words_there), 0);
    expect_word(words, "EINVAL");
    expect_word(words_there, "EMFILE");
}

/* ---- what became of an operation ---- */

static int end[2];

static void open_with_pair(void)
{
    open_loop();
    unix_pair(end);
}

static void close_with_pair(void)
{
    close_pair(end);
    close_loop();
}

static char byte;

static struct unr_op *receive(struct unr_op *op)
{
    return unr_recv(op, end[0], &byte, 1, 0);
}

/* Zeroed memory is an operation that is idle. */
Test(explain, operation_that_was_never_described)
{
    struct unr_op op = { 0 };
    cr_assert_gt(strlen(unr_explain_op(&op)), 0);
}

/* Before, while and after it runs, it is named. */
Test(explain, operation_from_description_to_done)
{
    struct seen seen = { 0 };
    char        number[16];
    open_with_pair();
    snprintf(number, sizeof number, "%d", end[0]);
    receive(&seen.op);
    expect_words(unr_explain_op(&seen.op), "recv", "not been started");
    start(&seen, &seen.op);
    expect_words(unr_explain_op(&seen.op), "recv", "in flight", number);
    submit();
    expect_words(unr_explain_op(&seen.op), "recv", "in flight", number);
    cr_assert_eq(write(end[1], "x", 1), 1);
    run();
    expect_words(unr_explain_op(&seen.op), "recv", "completed with 1", number);
    expect_no_word(unr_explain_op(&seen.op), "cancel");
    close_with_pair();
}

/* What makes a descriptor is said to have completed with that. */
Test(explain, operation_that_made_a_descriptor)
{
    struct seen seen = { 0 };
    char        words[40];
    open_loop();
    start(&seen, unr_socket(&seen.op, AF_UNIX, SOCK_STREAM, 0));
    run();
    snprintf(words, sizeof words, "completed with %d", seen.result.fd);
    expect_words(unr_explain_op(&seen.op), "socket", words);
    close(seen.result.fd);
    close_loop();
}

/* A failure is named by its errno. */
Test(explain, operation_that_failed)
{
    struct seen seen = { 0 };
    open_loop();
    start(&seen, unr_recv(&seen.op, -1, &byte, 1, 0));
    run();
    expect_words(unr_explain_op(&seen.op), "recv", "failed", "EBADF");
    start(&seen, unr_openat(&seen.op, AT_FDCWD, "/nowhere/at/all", O_RDONLY, 0));
    run();
    expect_words(unr_explain_op(&seen.op), "openat", "failed", "ENOENT");
    close_loop();
}

/* UNSUBMITTED: the kernel never saw it. */
Test(explain, verdict_unsubmitted)
{
    struct seen seen = { 0 };
    open_with_pair();
    start(&seen, receive(&seen.op));
    unr_cancel_cause(&seen.op, UNR_CANCEL_TOTAL, -ETIMEDOUT);
    run();
    expect_words(unr_explain_op(&seen.op), "recv", "cancelled", "guarantee total",
                 "cause ETIMEDOUT", "before the kernel saw it");
    close_with_pair();
}

/* CANCELLED: with guarantee, bytes, the types asked for and the cause. */
Test(explain, verdict_cancelled)
{
    struct seen seen = { 0 };
    open_with_pair();
    start(&seen, receive(&seen.op));
    submit();
    unr_cancel_cause(&seen.op, UNR_CANCEL_TOTAL | UNR_CANCEL_PARTIAL, -ETIMEDOUT);
    run();
    expect_words(unr_explain_op(&seen.op), "recv", "cancelled", "guarantee total", "0 bytes",
                 "partial or total", "cause ETIMEDOUT", "ended it");
    close_with_pair();
}

/* A partial transfer says how much there was. */
Test(explain, verdict_cancelled_in_part)
{
    struct seen seen = { 0 };
    char        buf[10];
    open_with_pair();
    start(&seen, unr_recv(&seen.op, end[0], buf, sizeof buf, MSG_WAITALL));
    submit();
    cr_assert_eq(write(end[1], "abcd", 4), 4);
    submit();
    unr_cancel(&seen.op, UNR_CANCEL_ALL);
    run();
    expect_words(unr_explain_op(&seen.op), "recv", "cancelled", "guarantee partial", "4 bytes",
                 "any guarantee", "ECANCELED");
    close_with_pair();
}

static void cancel_other(struct seen *seen)
{
    struct seen *other = seen->context;
    unr_cancel(&other->op, UNR_CANCEL_TERMINAL);
}

/* TOO_LATE: it completed, and the cancellation that came behind is told of. */
Test(explain, verdict_too_late)
{
    struct seen other = { 0 }, first = { .then = cancel_other, .context = &other };
    open_loop();
    start(&first, unr_nop(&first.op));
    start(&other, unr_nop(&other.op));
    run();
    cr_assert_eq(other.result.verdict, UNR_VERDICT_TOO_LATE);
    expect_words(unr_explain_op(&other.op), "nop", "completed", "terminal", "ECANCELED",
                 "too late");
    close_loop();
}

/* A kernel that is executing what it is asked to cancel. */
static int enter_executing(unsigned ring, unsigned to_submit, unsigned min_complete, unsigned flags,
                           void *argument, size_t size)
{
    int                 n = enter_losing(ring, to_submit, min_complete, flags, argument, size);
    struct io_uring_cq *cq = &latest_ring->cq;
    for (unsigned i = *cq->khead; i != *cq->ktail; i++)
        if (cq->cqes[i & cq->ring_mask].res == -ENOENT)
            cq->cqes[i & cq->ring_mask].res = -EALREADY;
    return n;
}

/* RUNNING: it was executing, and ran to its end. */
Test(explain, verdict_running)
{
    struct seen seen = { 0 };
    open_with_pair();
    start(&seen, receive(&seen.op));
    submit();
    lose_cancels(1);
    hook_enter = enter_executing;
    unr_cancel(&seen.op, UNR_CANCEL_ALL);
    submit();
    hook_enter = NULL;
    cr_assert_eq(write(end[1], "x", 1), 1);
    run();
    if (seen.result.error == -ECANCELED) /* the cancel was repeated before the byte was there */
        cr_skip_test("a repeated cancel was quicker");
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_RUNNING);
    expect_words(unr_explain_op(&seen.op), "recv", "completed with 1", "executing",
                 "ran to its end");
    close_with_pair();
}

/* REFUSED: it supports none of the types. */
Test(explain, verdict_refused)
{
    struct seen seen = { 0 };
    open_with_pair();
    start(&seen, unr_recv(&seen.op, end[0], &byte, 1, MSG_WAITALL));
    submit();
    unr_cancel(&seen.op, UNR_CANCEL_TOTAL);
    cr_assert_eq(write(end[1], "x", 1), 1);
    run();
    cr_assert_eq(seen.result.verdict, UNR_VERDICT_REFUSED);
    expect_words(unr_explain_op(&seen.op), "recv", "completed with 1", "total", "refused");
    close_with_pair();
}

static void nothing(struct unr_op *op)
{
    (void)op;
}

static void end_cancelled(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    unr_finish(op, -ECANCELED);
}

static const struct unr_op_type own = { .size = sizeof own,
                                        .supports = UNR_CANCEL_TERMINAL,
                                        .name = "brew",
                                        .start = nothing,
                                        .cancel = end_cancelled };

/* An operation of the caller's own has its type's name; a guarantee that is only terminal says what
 * is left to do. */
Test(explain, operation_of_ones_own)
{
    struct seen seen = { 0 };
    open_loop();
    start(&seen, unr_describe(&seen.op, &own));
    unr_cancel(&seen.op, UNR_CANCEL_ALL);
    run();
    expect_words(unr_explain_op(&seen.op), "brew", "cancelled", "terminal", "closed",
                 "any guarantee");
    expect_no_word(unr_explain_op(&seen.op), "descriptor");
    close_loop();
}

static int register_without_bind(unsigned ring, unsigned opcode, const void *argument,
                                 unsigned count)
{
    enum { OP_BIND = 56 };
    int error = kernel_register(ring, opcode, argument, count);
    if (opcode == IORING_REGISTER_PROBE && error >= 0)
        ((struct io_uring_probe *)(uintptr_t)argument)->ops[OP_BIND].flags = 0;
    return error;
}

/* -EOPNOTSUPP: what the kernel lacks is named, and which Linux has it. */
Test(explain, operation_that_the_kernel_lacks)
{
    struct seen seen = { 0 };
    hook_register = register_without_bind;
    open_with_pair();
    start(&seen, unr_bind(&seen.op, end[0], NULL, 0));
    run();
    expect_words(unr_explain_op(&seen.op), "bind", "EOPNOTSUPP", "Linux 6.11");
    close_with_pair();
}

static void fill_nop(void *sqe, void *context)
{
    (void)context;
    io_uring_prep_nop(sqe);
}

/* An SQE of the caller's has the name that it was given. */
Test(explain, sqe_of_ones_own)
{
    struct seen seen = { 0 };
    open_loop();
    start(&seen, unr_sqe(&seen.op, "stir", UNR_CANCEL_ALL, fill_nop, NULL));
    expect_words(unr_explain_op(&seen.op), "stir", "in flight");
    run();
    expect_words(unr_explain_op(&seen.op), "stir", "completed");
    close_loop();
}

/* ---- exact sentences ---- */

/* An operation that its combinator has not started. */
Test(explain, sentence_of_what_is_held)
{
    struct unr_op    op = { 0 };
    struct unr_delay delay = { 0 };
    open_loop();
    unr_start(loop, unr_delay(&delay, unr_nop(&op), UNR_SEC(3600)), NULL, NULL);
    cr_assert_str_eq(unr_explain_op(&op), "nop has not been started: a combinator holds it");
    cr_assert_str_eq(unr_explain_op(&delay.op), "delay of nop is in flight");
    unr_cancel(&delay.op, UNR_CANCEL_ALL);
    run();
    close_loop();
}

/* A text that is longer than its room ends in a sign that it was cut. */
Test(explain, sentence_that_is_cut)
{
    static char   name[2000];
    struct unr_op op = { 0 };
    memset(name, 'n', sizeof name - 1);
    const char *words = unr_explain_op(unr_sqe(&op, name, UNR_CANCEL_ALL, fill_nop, NULL));
    cr_assert_eq(strlen(words), 511);
    cr_assert_str_eq(words + 507, "n...");
}

static void fill_shots(void *sqe, void *fd)
{
    io_uring_prep_poll_multishot(sqe, *(int *)fd, POLLIN);
}

static char shot_words[512];

static void explain_shot(struct seen *seen)
{
    if (!(seen->op.result.flags & UNR_MORE))
        return;
    snprintf(shot_words, sizeof shot_words, "%s", unr_explain_op(&seen->op));
    unr_cancel(&seen->op, UNR_CANCEL_ALL);
}

/* Inside a shot's `done` the shot has its result. */
Test(explain, sentence_of_a_shot)
{
    struct seen seen = { .then = explain_shot };
    char        expected[80];
    open_with_pair();
    cr_assert_eq(write(end[1], "x", 1), 1);
    start(&seen, unr_sqe(&seen.op, "shots", UNR_CANCEL_ALL, fill_shots, &end[0]));
    run();
    snprintf(expected, sizeof expected,
             "shots on descriptor %d is in flight, and this shot completed with 1", end[0]);
    cr_assert_str_eq(shot_words, expected);
    close_with_pair();
}

/* Where a child alone was asked, no types are told. */
Test(explain, sentence_where_a_child_was_asked)
{
    struct seen         seen = { 0 };
    struct unr_transfer transfer = { 0 };
    struct unr_stream   stream;
    open_with_pair();
    unr_stream_socket(&stream, end[0]);
    start(&seen, unr_read_exact(&transfer, &stream, &byte, 1));
    submit();
    cr_assert_eq(unr_cancel_fd(loop, end[0], UNR_CANCEL_ALL), 1);
    run();
    expect_words(unr_explain_op(&transfer.op), "read_exact was cancelled",
                 "; a cancellation of a child (cause ECANCELED (Operation canceled)) ended it");
    close_with_pair();
}

static void free_the_child(struct unr_op *op)
{
    munmap(op->data, 4096);
}

/* A finished combinator is explained without its child, which the caller may have freed. */
Test(explain, sentence_without_the_child)
{
    struct unr_deadline deadline = { 0 };
    struct unr_filter   shield = { 0 };
    int                 from[2], to[2];
    struct unr_op      *child =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(child, MAP_FAILED);
    open_loop();
    cr_assert_eq(pipe2(from, O_CLOEXEC | O_NONBLOCK), 0);
    cr_assert_eq(pipe2(to, O_CLOEXEC | O_NONBLOCK), 0);
    unr_splice(child, from[0], -1, to[1], -1, 100, 0);
    unr_start(loop, unr_cancel_after(&deadline, unr_shield(&shield, child), UNR_SEC(100)),
              free_the_child, child);
    run();
    cr_assert_eq(deadline.op.result.error, -EAGAIN);
    expect_word(unr_explain_op(&deadline.op), "deadline of filter failed with EAGAIN");
    close_pair(from);
    close_pair(to);
    close_loop();
}

/* A closing loop is named, and not a socket. */
Test(explain, sentence_of_a_closing_loop)
{
    struct seen seen = { 0 };
    open_loop();
    start(&seen, unr_nop(&seen.op));
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_str_eq(unr_explain_op(&seen.op),
                     "nop was cancelled with the guarantee total: it left no trace, after 0 bytes; "
                     "a cancellation (any guarantee, cause ESHUTDOWN (its loop or its descriptor "
                     "was being closed)) ended it before the kernel saw it");
}

/* ---- what is in flight ---- */

/* What unr_loop_dump() writes. */
static const char *dump(void)
{
    static char text[16384];
    int         ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    unr_loop_dump(loop, ends[1]);
    close(ends[1]);
    ssize_t n = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    cr_assert_gt(n, 0);
    text[n] = 0;
    return text;
}

static int lines_in(const char *text)
{
    int lines = 0;
    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

/* The line of a dump that contains `word`; "" if there is none. */
static const char *line_with(const char *text, const char *word)
{
    static char line[512];
    const char *found = strstr(text, word);
    line[0] = 0;
    if (!found)
        return line;
    while (found > text && found[-1] != '\n')
        found--;
    snprintf(line, sizeof line, "%.*s", (int)strcspn(found, "\n"), found);
    return line;
}

/* A loop in which nothing is in flight is one line: what it uses itself is not shown. */
Test(explain, dump_of_an_idle_loop)
{
    struct seen nop = { 0 };
    open_loop();
    cr_assert_eq(lines_in(dump()), 1);
    start(&nop, unr_nop(&nop.op));
    run();
    cr_assert_geq(unr_loop_fd(loop), 0);
    submit();
    const char *text = dump();
    cr_assert_eq(lines_in(text), 1, "%s", text);
    expect_words(text, "0 in flight", "1 started", "1 finished");
    close_loop();
}

/* Each operation in flight has a line with its name, its descriptor and its state; timers, of which
 * the second waits behind the first, and the caller's own too. */
Test(explain, dump_lists_what_is_in_flight)
{
    struct seen      queued = { 0 }, flying = { 0 }, mine = { 0 }, brew = { 0 };
    struct unr_timer timer = { 0 }, behind = { 0 };
    char             descriptor[16];
    open_with_pair();
    snprintf(descriptor, sizeof descriptor, "%d", end[0]);
    start(&flying, receive(&flying.op));
    start(&brew, unr_describe(&brew.op, &own));
    unr_start(loop, unr_timer_after(&timer, UNR_SEC(3600)), NULL, NULL);
    unr_start(loop, unr_timer_after(&behind, UNR_SEC(3600)), NULL, NULL);
    submit();
    start(&queued, unr_poll(&queued.op, end[0], POLLIN));
    start(&mine, unr_sqe(&mine.op, "stir", UNR_CANCEL_ALL, fill_nop, NULL));
    const char *text = dump();
    cr_assert_eq(lines_in(text), 7, "%s", text);
    expect_word(text, "6 in flight");
    expect_words(line_with(text, "recv"), descriptor, "in flight", " ms");
    expect_words(line_with(text, "poll"), descriptor, "queued", " ms");
    expect_words(line_with(text, "stir"), "queued", " ms");
    expect_words(line_with(text, "brew"), "in flight", " ms");
    expect_words(line_with(text, "timer"), "in flight", " ms");
    unr_cancel(&timer.op, UNR_CANCEL_ALL);
    unr_cancel(&behind.op, UNR_CANCEL_ALL);
    unr_cancel(&brew.op, UNR_CANCEL_ALL);
    unr_cancel(&flying.op, UNR_CANCEL_ALL);
    unr_cancel(&queued.op, UNR_CANCEL_ALL);
    run();
    cr_assert_eq(lines_in(dump()), 1);
    close_with_pair();
}

/* The age of an operation is how long it has been in flight. */
Test(explain, dump_tells_the_age)
{
    struct seen      seen = { 0 };
    struct unr_timer timer = { 0 };
    unsigned         age = 0;
    open_with_pair();
    start(&seen, receive(&seen.op));
    unr_start(loop, unr_timer_after(&timer, UNR_MSEC(60)), NULL, NULL);
    while (unr_loop_in_flight(loop) > 1)
        cr_assert_geq(unr_loop_run_once(loop, UNR_NEVER), 0);
    const char *words = strstr(line_with(dump(), "recv"), "for ");
    cr_assert_not_null(words);
    cr_assert_eq(sscanf(words, "for %u ms", &age), 1);
    cr_assert_geq(age, 50);
    unr_cancel(&seen.op, UNR_CANCEL_ALL);
    run();
    close_with_pair();
}

/* A request that has been made shows with its types, whatever became of it; so does a cancel that
 * had no effect. */
Test(explain, dump_tells_of_requests)
{
    struct seen seen = { 0 }, waits = { 0 };
    char        other;
    open_with_pair();
    start(&waits, unr_recv(&waits.op, end[1], &other, 1, MSG_WAITALL));
    start(&seen, receive(&seen.op));
    submit();
    unr_cancel(&waits.op, UNR_CANCEL_TOTAL); /* refused */
    expect_words(line_with(dump(), "total"), "recv", "in flight", "asked to cancel (total)");
    lose_cancels(1000);
    unr_cancel(&seen.op, UNR_CANCEL_ALL);
    expect_words(line_with(dump(), "any guarantee"), "recv", "cancelling");
    while (cancels_lost < 3)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    expect_words(line_with(dump(), "without effect"), "recv", "cancelling",
                 "cancels without effect");
    lose_cancels(0);
    unr_cancel(&waits.op, UNR_CANCEL_ALL);
    run();
    close_with_pair();
}

static void dump_now(struct seen *seen)
{
    *(const char **)seen->context = dump();
}

/* Inside a `done`, what has ended and whose turn has not come is there, as finished; the one in
 * whose `done` it is is not. */
Test(explain, dump_inside_a_done)
{
    const char *text = NULL;
    struct seen first = { .then = dump_now, .context = &text }, second = { 0 };
    open_with_pair();
    start(&first, unr_nop(&first.op));
    start(&second, unr_poll(&second.op, end[0], POLLOUT));
    run();
    cr_assert_eq(lines_in(text), 2, "%s", text);
    expect_word(line_with(text, "poll"), "finished");
    close_with_pair();
}

/* ---- what this kernel has ---- */

/* The features come one after another, each with its own name and the Linux that brought it, up to
 * an end that stays one. */
Test(explain, features_are_enumerated)
{
    const char *names[256], *needs;
    bool        has;
    unsigned    count = 0;
    open_loop();
    while (unr_loop_feature(loop, count, &names[count], &needs, &has)) {
        unsigned major, minor;
        cr_assert_gt(strlen(names[count]), 0);
        cr_assert_eq(sscanf(needs, "%u.%u", &major, &minor), 2, "%s needs %s", names[count], needs);
        for (unsigned i = 0; i < count; i++)
            cr_assert_neq(strcmp(names[i], names[count]), 0, "%s comes twice", names[count]);
        count++;
        cr_assert_lt(count, LENGTH(names));
    }
    const char *const     untouched = "untouched";
    const char           *name = untouched, *other = untouched;
    static const unsigned behind[] = { 0, 1, 1000, UINT32_MAX };
    for (size_t i = 0; i < LENGTH(behind); i++) {
        unsigned index = behind[i] > 1 ? behind[i] : count + behind[i];
        cr_assert_not(unr_loop_feature(loop, index, &name, &other, &has));
        cr_assert_eq(name, untouched);
        cr_assert_eq(other, untouched);
    }
    close_loop();
}

/* Every system call that unring has is a feature, under the name that it has in messages. */
Test(explain, every_call_is_a_feature)
{
    open_loop();
    for (unsigned i = 0; i < unri_row_count; i++) {
        const char *name, *needs;
        bool        has, found = false;
        for (unsigned n = 0; !found && unr_loop_feature(loop, n, &name, &needs, &has); n++)
            found = strcmp(name, unri_rows[i]->type.name) == 0;
        cr_assert_eq(found, true, "%s is missing", unri_rows[i]->type.name);
    }
    cr_assert_eq(has_feature(loop, "recv"), true);
    close_loop();
}

/* ---- names for logs ---- */

/* An operation has its name described, in flight, finished and afterwards; what is none has one
 * too. */
Test(explain, an_operation_has_a_name)
{
    struct seen          seen = { 0 };
    struct unr_transfer  transfer = { 0 };
    struct unr_stream    stream;
    static unsigned char garbage[sizeof(struct unr_op)];
    open_loop();
    unr_stream_pipe(&stream, -1);
    cr_assert_str_eq(unr_op_name(unr_nop(&seen.op)), "nop");
    unr_start(loop, &seen.op, saw, &seen);
    cr_assert_str_eq(unr_op_name(&seen.op), "nop");
    run();
    cr_assert_str_eq(unr_op_name(&seen.op), "nop");
    cr_assert_str_eq(unr_op_name(unr_write_all(&transfer, &stream, "a", 1)), "write_all");
    memset(garbage, 0x5a, sizeof garbage);
    cr_assert(strstr(unr_op_name((const struct unr_op *)(const void *)garbage), "never described"));
    close_loop();
}

/* Every verdict and guarantee has a name of its own, and other numbers have one that says so. */
Test(explain, verdicts_and_guarantees_have_names)
{
    static const char *const verdicts[] = { "none",     "unsubmitted", "cancelled",
                                            "too late", "running",     "refused" };
    for (unsigned i = 0; i < LENGTH(verdicts); i++)
        cr_assert_str_eq(unr_verdict_name(i), verdicts[i]);
    cr_assert_str_eq(unr_verdict_name(LENGTH(verdicts)), "unknown");
    cr_assert_str_eq(unr_guarantee_name(UNR_CANCEL_NONE), "none");
    cr_assert_str_eq(unr_guarantee_name(UNR_CANCEL_TERMINAL), "terminal");
    cr_assert_str_eq(unr_guarantee_name(UNR_CANCEL_PARTIAL), "partial");
    cr_assert_str_eq(unr_guarantee_name(UNR_CANCEL_TOTAL), "total");
    cr_assert_str_eq(unr_guarantee_name(UNR_CANCEL_ALL), "unknown");
}

/* The library says its version, which is that of the headers it was built with, in one piece and in
 * numbers. */
Test(explain, the_version_is_that_of_the_headers)
{
    char numbers[32];
    snprintf(numbers, sizeof numbers, "%d.%d.%d", UNR_VERSION_MAJOR, UNR_VERSION_MINOR,
             UNR_VERSION_PATCH);
    cr_assert_str_eq(unr_version(), UNR_VERSION);
    cr_assert_str_eq(unr_version(), numbers);
}

/* A plain loop has none of the flags that a better one has. */
Test(explain, features_of_a_plain_loop)
{
    open_descriptors = count_descriptors();
    loop = open_loop_flagged(UNR_LOOP_PLAIN);
    cr_assert_not(has_feature(loop, "DEFER_TASKRUN"));
    cr_assert_not(has_feature(loop, "SINGLE_ISSUER"));
    close_loop();
}

/* ---- counts ---- */

/* The counts tell what happened. */
Test(explain, stats_count)
{
    struct seen      nop = { 0 }, cancelled = { 0 }, unsubmitted = { 0 }, refused = { 0 };
    struct unr_stats stats;
    char             bytes[2], other;
    open_with_pair();
    unr_loop_stats(loop, &stats, sizeof stats);
    cr_assert_eq(stats.started, 0);
    start(&nop, unr_nop(&nop.op));
    start(&cancelled, receive(&cancelled.op));
    start(&refused, unr_recv(&refused.op, end[1], bytes, 2, MSG_WAITALL));
    start(&unsubmitted, unr_recv(&unsubmitted.op, end[0], &other, 1, 0));
    unr_cancel(&unsubmitted.op, UNR_CANCEL_TOTAL);
    submit();
    unr_cancel(&cancelled.op, UNR_CANCEL_TOTAL);
    unr_cancel(&cancelled.op, UNR_CANCEL_PARTIAL);
    unr_cancel(&refused.op, UNR_CANCEL_TOTAL);
    cr_assert_eq(write(end[0], "xy", 2), 2);
    run();
    unr_loop_stats(loop, &stats, sizeof stats);
    cr_assert_eq(stats.started, 4);
    cr_assert_eq(stats.finished, 4);
    cr_assert_eq(stats.cancels_asked, 4);
    cr_assert_eq(stats.cancels_won, 1);
    cr_assert_eq(stats.cancels_unsubmitted, 1);
    cr_assert_eq(stats.cancels_refused, 1);
    cr_assert_eq(stats.cancels_too_late, 0);
    cr_assert_gt(stats.enters, 0);
    close_with_pair();
}

/* A program that knows fewer counts, or more, gets those that both know, and not a byte beyond what
 * it asked for. */
Test(explain, stats_of_another_size)
{
    struct {
        struct unr_stats known;
        uint64_t         newer[4];
    } stats;
    struct seen nop = { 0 };
    open_loop();
    start(&nop, unr_nop(&nop.op));
    run();
    for (size_t size = 0; size <= sizeof stats; size += 4) {
        struct unr_stats whole;
        unr_loop_stats(loop, &whole, sizeof whole);
        memset(&stats, 0x5a, sizeof stats);
        unr_loop_stats(loop, &stats.known, size);
        size_t both = size < sizeof whole ? size : sizeof whole;
        cr_assert_eq(memcmp(&stats, &whole, both), 0);
        for (size_t i = size; i < sizeof stats; i++)
            cr_assert_eq(((unsigned char *)&stats)[i], 0x5a);
    }
    close_loop();
}
