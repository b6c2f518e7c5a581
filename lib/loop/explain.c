/* SPDX-License-Identifier: MIT */
/* Words for a person: why a loop could not be opened, what became of an operation, which operations
 * are in flight.  lib/core/contract.c has the words in which a broken contract ends the process,
 * uring/ring.c the features of a kernel. */
#include "../../uring/kernel.h"
#include "../core/combinator.h"
#include "../core/name.h"
#include "../core/op.h"
#include "../core/type.h"
#include "timer.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <unring/explain.h>

/* ---- a text that grows to a limit, and is cut off there ---- */

struct text {
    char   data[512];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(text->data + text->len, sizeof text->data - text->len, format, arguments);
    va_end(arguments);
    size_t longest = sizeof text->data - text->len - 1;
    if (n < 0)
        return;
    if ((size_t)n <= longest) {
        text->len += (size_t)n;
        return;
    }
    static const char cut[] = "...";
    text->len = sizeof text->data - 1;
    memcpy(text->data + sizeof text->data - sizeof cut, cut, sizeof cut);
}

static void clear(struct text *text)
{
    text->len = 0;
    text->data[0] = 0;
}

/* Adds the name of an errno, where the C library has it, and its meaning. */
static void add_error(struct text *text, int error)
{
    int number = (int)(error < 0 ? 0u - (unsigned)error : (unsigned)error);
#ifdef __GLIBC__
    const char *name = strerrorname_np(number);
    add(text, "%s (%s)", name ? name : "an unknown error", strerror(number));
#else
    add(text, "error %d (%s)", number, strerror(number));
#endif
}

/* ---- why a loop could not be opened ---- */

enum { NOT_THERE = -1, NOT_KNOWN = -2 };

/* Returns the number behind `key` in a file of /proc, NOT_THERE if there is no such file, or
 * NOT_KNOWN if it could not be read or there is no /proc. */
static long read_number(const char *path, const char *key)
{
    char  line[256];
    long  number = NOT_KNOWN;
    FILE *file = fopen(path, "re");
    if (!file)
        return errno == ENOENT && access("/proc/self", F_OK) == 0 ? NOT_THERE : NOT_KNOWN;
    while (number < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            number = strtol(line + strlen(key), NULL, 10);
    fclose(file);
    return number;
}

static long read_disabled(void)
{
    return read_number("/proc/sys/kernel/io_uring_disabled", "");
}

/* Tells whether the process runs under a seccomp filter: 1, 0, or NOT_KNOWN. */
static long is_filtered(void)
{
    long mode = read_number("/proc/self/status", "Seccomp:");
    return mode >= 0 ? mode == 2 : NOT_KNOWN;
}

/* Tells whether the process is exempt from io_uring_disabled = 1. */
static bool is_admin(void)
{
    char  line[256];
    bool  admin = false;
    FILE *file = fopen("/proc/self/status", "re");
    if (!file)
        return false;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "CapEff:", 7) == 0)
            admin = strtoull(line + 7, NULL, 16) >> CAP_SYS_ADMIN & 1;
    fclose(file);
    return admin;
}

#define ALLOW_URING                                                                                \
    "allow the system calls io_uring_setup, io_uring_enter and io_uring_register, "                \
    "for Docker with --security-opt seccomp=unconfined or a profile of your own"

static void explain_enosys(struct text *text)
{
    long disabled = read_disabled(), filtered = is_filtered();
    if (disabled >= 0 || filtered == 1)
        add(text, "the kernel has io_uring, but a seccomp filter hides it from this process "
                  "(containers do that): " ALLOW_URING);
    else if (disabled == NOT_KNOWN || filtered == NOT_KNOWN)
        add(text, "this kernel has no io_uring, for which unring needs Linux 6.1 or later with "
                  "CONFIG_IO_URING, or a seccomp filter hides it (containers do that); "
                  "/proc cannot be read, which would tell; for a filter: " ALLOW_URING);
    else
        add(text, "this kernel is built without io_uring, or is older than 5.1: "
                  "unring needs Linux 6.1 or later with CONFIG_IO_URING");
}

/* Of EPERM and EACCES.  The sysctl forbids with EPERM. */
static void explain_forbidden(struct text *text, int error)
{
    long disabled = error == -EPERM ? read_disabled() : 0, filtered = is_filtered();
    if (disabled == 2)
        add(text, "io_uring is switched off for every process "
                  "by the sysctl kernel.io_uring_disabled = 2: "
                  "an administrator can set it to 0");
    else if (disabled == 1 && !is_admin())
        add(text,
            "the sysctl kernel.io_uring_disabled = 1 keeps io_uring from processes "
            "without CAP_SYS_ADMIN that are not in the group kernel.io_uring_group (%ld): "
            "join that group, or have it set to 0",
            read_number("/proc/sys/kernel/io_uring_group", ""));
    else if (filtered == 1)
        add(text,
            "a seccomp filter forbids io_uring to this process (containers do that): " ALLOW_URING);
    else if (disabled == NOT_KNOWN || filtered == NOT_KNOWN)
        add(text, "something forbids io_uring to this process, and /proc, which would tell what, "
                  "cannot be read: look at the sysctl kernel.io_uring_disabled, and for a security "
                  "module's policy (SELinux, AppArmor); "
                  "if it is a seccomp filter (containers have one): " ALLOW_URING);
    else
        add(text, "something forbids io_uring to this process, "
                  "and it is neither the sysctl nor seccomp: "
                  "look for a security module's policy (SELinux, AppArmor)");
}

static void explain_enomem(struct text *text)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        add(text,
            "there is no memory for the ring; "
            "RLIMIT_MEMLOCK is %llu KiB, and some kernels charge rings to it: "
            "raise it (ulimit -l, LimitMEMLOCK= of a systemd unit), "
            "or open the loop with smaller entries and completion_entries",
            (unsigned long long)limit.rlim_cur / 1024);
    else
        add(text, "there is no memory for the ring: "
                  "open the loop with smaller entries and completion_entries, "
                  "or look at the memory limit of the process's control group");
}

static void explain_enfile(struct text *text, int error)
{
    struct rlimit limit = { 0 };
    getrlimit(RLIMIT_NOFILE, &limit);
    if (error == -EMFILE)
        add(text,
            "the process has as many descriptors open as RLIMIT_NOFILE allows, %llu; "
            "a loop needs two: raise it (ulimit -n), or look for a leak",
            (unsigned long long)limit.rlim_cur);
    else
        add(text, "the whole system has no file left to open: see the sysctl fs.file-max");
}

const char *unr_explain(int error)
{
    static _Thread_local struct text text;
    clear(&text);
    if (error >= 0) {
        add(&text, "no error");
        return text.data;
    }
    add_error(&text, error);
    add(&text, ": ");
    switch (error) {
    case -ENOSYS: explain_enosys(&text); break;
    case -EACCES:
    case -EPERM: explain_forbidden(&text, error); break;
    case -ENOMEM: explain_enomem(&text); break;
    case -EMFILE:
    case -ENFILE: explain_enfile(&text, error); break;
    case -EAGAIN:
        add(&text, "there was no thread for unr_loop_options.fiber_slow: "
                   "look at RLIMIT_NPROC, and at pids.max of the process's control group");
        break;
    case -EINVAL:
        add(&text, "an option of the loop is out of range, or `size` is not that of the structure");
        break;
    case -EOPNOTSUPP:
        add(&text, "this kernel's io_uring lacks what a loop cannot do without "
                   "(EXT_ARG, NODROP, RW_CUR_POS): "
                   "unring needs Linux 6.1 or later");
        break;
    default: add(&text, "an error of something else than opening a loop"); break;
    }
    return text.data;
}

/* ---- what became of an operation ---- */

static void add_name(struct text *text, const struct unr_op *op)
{
    add(text, "%s", unri_name(op));
    if (op->type && unri_is_wrapper(op))
        add(text, " of %s", unri_name_of_child(op));
}

static void add_types(struct text *text, unsigned types)
{
    static const char *const names[] = { "terminal", "partial", "total" };
    if (types == UNR_CANCEL_ALL) {
        add(text, "any guarantee");
        return;
    }
    for (unsigned i = 0, n = 0; i < 3; i++)
        if (types & 1u << i)
            add(text, "%s%s", n++ ? " or " : "", names[i]);
}

/* Adds the cause of a cancellation.  The meanings that the C library has for two of unring's causes
 * are those of sockets. */
static void add_cause(struct text *text, int cause)
{
    switch (cause) {
    case -ETIMEDOUT: add(text, "ETIMEDOUT (its time was over)"); break;
    case -ESHUTDOWN: add(text, "ESHUTDOWN (its loop or its descriptor was being closed)"); break;
    default: add_error(text, cause); break;
    }
}

/* Where nothing was requested of the operation itself, one of its children alone was asked. */
static void add_verdict(struct text *text, const struct unr_result *r)
{
    if (r->requested) {
        add(text, "; a cancellation (");
        add_types(text, r->requested);
        add(text, ", cause ");
    } else {
        add(text, "; a cancellation of a child (cause ");
    }
    add_cause(text, r->cause);
    add(text, ") ");
    switch (r->verdict) {
    case UNR_VERDICT_UNSUBMITTED: add(text, "ended it before the kernel saw it"); break;
    case UNR_VERDICT_CANCELLED: add(text, "ended it"); break;
    case UNR_VERDICT_TOO_LATE: add(text, "came too late"); break;
    case UNR_VERDICT_RUNNING: add(text, "found it executing, and it ran to its end"); break;
    default: add(text, "was refused: it supports none of these"); break;
    }
}

static bool has_fd(const struct unr_op *op)
{
    return op->private_fields.flags & (UNRI_ON_FD | UNRI_ON_TWO_FDS);
}

/* Returns what the type of the operation has to say of its end; NULL: nothing. */
static const char *words_of_type(const struct unr_op *op)
{
    bool may_have_some = unri_kind(op) != UNRI_CALLERS && op->type->private_fields.explain;
    return may_have_some ? op->type->private_fields.explain(op) : NULL;
}

/* A wrapper's child, which would know more, may be freed by now. */
static const char *words_of_terminal(const struct unr_op *op)
{
    const char *words = words_of_type(op);
    if (words)
        return words;
    return unri_is_wrapper(op) ? "what it worked on may be in any state"
                               : "what it worked on may only be closed";
}

static void add_cancelled(struct text *text, const struct unr_op *op)
{
    const struct unr_result *r = &op->result;
    add(text, " was cancelled with the guarantee ");
    if (r->guarantee == UNR_CANCEL_TERMINAL)
        add(text, "terminal: %s", words_of_terminal(op));
    else
        add(text, "%s", r->guarantee == UNR_CANCEL_TOTAL ? "total: it left no trace" : "partial");
    if (unri_is_call(op))
        add(text, ", after %llu bytes", (unsigned long long)r->bytes);
    else if (r->value > 0) /* mostly bytes: a transfer's, a reader's */
        add(text, ", with %lld", (long long)r->value);
}

static void add_failed(struct text *text, const struct unr_op *op)
{
    const char *more = words_of_type(op);
    add(text, " failed with ");
    add_error(text, op->result.error);
    if (more)
        add(text, ": %s", more);
}

static void add_in_flight(struct text *text, const struct unr_op *op)
{
    const struct unr_result *r = &op->result;
    add(text, " is in flight");
    if (!(r->flags & UNR_MORE)) {
        while (unri_is_wrapper(op))
            op = unri_child(op);
        if (op->result.verdict == UNR_VERDICT_RUNNING)
            add(text, ": a cancellation found it executing, and it ends when that is over");
        return;
    }
    if (r->error == 0) {
        add(text, ", and this shot completed with %lld", (long long)r->value);
    } else {
        add(text, ", and this shot failed with ");
        add_error(text, r->error);
    }
}

const char *unr_explain_op(const struct unr_op *op)
{
    static _Thread_local struct text text;
    const struct unr_result         *r = &op->result;
    clear(&text);
    add_name(&text, op);
    if (!op->type)
        return text.data;
    if (has_fd(op))
        add(&text, " on descriptor %d", op->private_fields.fd);
    if (unri_live(op)) {
        add_in_flight(&text, op);
        return text.data;
    }
    if (op->private_fields.state == UNRI_DESCRIBED) {
        add(&text, " has not been started");
        return text.data;
    }
    if (op->private_fields.state == UNRI_HELD && !r->error) { /* else a wrapper failed with it */
        add(&text, " has not been started: a combinator holds it");
        return text.data;
    }
    if (r->error == 0)
        add(&text, " completed with %lld", (long long)(r->fd >= 0 ? r->fd : r->value));
    else if (unri_was_cancelled(r))
        add_cancelled(&text, op);
    else
        add_failed(&text, op);
    if (r->error == -ECANCELED && !unri_was_cancelled(r))
        add(&text, ": the clock was set, which a timerfd reports so; it was not cancelled");
    if (r->error == -EAGAIN && op->private_fields.flags & UNRI_LOST_DATA)
        add(&text, ": nothing of the datagram was sent, and an empty one may have gone out in its "
                   "place");
    if (r->error == -EAGAIN && op->private_fields.flags & UNRI_NO_WORKER)
        add(&text, ": it did not begin, as the kernel could make no worker thread for it "
                   "(RLIMIT_NPROC, or pids.max of a cgroup)");
    if (r->error == -EOPNOTSUPP && op->private_fields.flags & UNRI_INVALID)
        add(&text, ": this kernel's io_uring does not have it, Linux %s does", unri_row_needs(op));
    if (r->verdict)
        add_verdict(&text, r);
    return text.data;
}

/* ---- which operations are in flight ---- */

struct dump {
    const struct unr_loop *loop;
    int                    fd;
};

static const char *state_name(uint32_t state)
{
    switch (state) {
    case UNRI_QUEUED: return "queued";
    case UNRI_IN_FLIGHT: return "in flight";
    case UNRI_CANCELLING: return "cancelling";
    case UNRI_FINISHED: return "finished";
    default: return "idle";
    }
}

static void dump_op(struct unr_op *op, void *context)
{
    const struct dump           *dump = context;
    const struct unr_op_private *p = &op->private_fields;
    struct text                  text = { 0 };
    struct text                  name = { 0 };
    if (p->flags & UNRI_HOUSEKEEPING)
        return;
    add_name(&name, op);
    add(&text, "  %-16s %-10s", name.data, state_name(p->state));
    if (has_fd(op))
        add(&text, " fd %-6d", p->fd);
    if (unri_knows_its_start(op))
        add(&text, " for %u ms", unri_os_clock_ms() - unri_started_ms(op));
    if (op->result.requested) {
        add(&text, ", asked to cancel (");
        add_types(&text, op->result.requested);
        add(&text, ")");
    }
    if (unri_attempts(op) && op->private_fields.flags & UNRI_HONOURED)
        add(&text, ", %u cancels without effect", unri_attempts(op));
    dprintf(dump->fd, "%s", text.data);
    const struct unri_combinator *combinator = unri_combinator_of(op);
    if (combinator && combinator->dump)
        combinator->dump(op, dump->fd);
    dprintf(dump->fd, "\n");
}

void unr_loop_dump(const struct unr_loop *loop, int fd)
{
    struct dump dump = { loop, fd };
    dprintf(fd, "loop %p: %u in flight, %llu started, %llu finished\n", (const void *)loop,
            loop->in_flight, (unsigned long long)loop->stats.started,
            (unsigned long long)loop->stats.finished);
    unri_each_in_flight(&loop->descriptors, dump_op, &dump);
    unri_timers_each(loop, dump_op, &dump);
}
