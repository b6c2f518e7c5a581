/* SPDX-License-Identifier: MIT */
/* Storms of cancels: thousands of operations armed on a ring whose submission queue has 8 entries
 * and whose completion queue has 16, started and cancelled in every pattern that comes to mind,
 * thousands in one turn among them.
 *
 * None may be lost: each `done` runs once for each start, the results agree with what was asked,
 * the loop's statistics add up to what was seen, nothing remains in flight, and every count and
 * byte that was written has been read by an operation that says so, or can still be read. */
#include "stress.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { CANCELS = 2000000, FEW_CANCELS = 40000 };
enum { ON_EVENT = 1500, PAIRS = 100, ON_EACH = 12, OPS = ON_EVENT + PAIRS * ON_EACH };

struct victim {
    struct unr_op     op;
    struct unr_signal signal; /* a child of `root` */
    struct asked      asked;
    int               fd;
    unsigned          starts, ends;
    bool              all; /* MSG_WAITALL */
    char              buffer[8];
};

static struct victim     victims[OPS];
static struct unr_signal root;
static int               event, pairs[PAIRS][2];
static uint64_t written[PAIRS + 1], taken[PAIRS + 1]; /* bytes on each pair; counts of the event */
static uint64_t starts, ends, requests, verdicts[UNR_VERDICT_REFUSED + 1];
static bool     closing;

static size_t stream_of(const struct victim *v)
{
    size_t index = (size_t)(v - victims);
    return index < ON_EVENT ? PAIRS : (index - ON_EVENT) / ON_EACH;
}

static void ended(struct unr_op *op);

static struct unr_op *describe(struct victim *v)
{
    if (v->fd == event)
        return unr_read(&v->op, event, v->buffer, sizeof(eventfd_t), -1);
    v->all = one_in(4);
    return unr_recv(&v->op, v->fd, v->buffer, v->all ? 4 : 1, v->all ? MSG_WAITALL : 0);
}

static void start(struct victim *v)
{
    if (unr_in_flight(&v->op))
        return;
    v->asked = (struct asked){ 0 };
    describe(v);
    if (!one_in(8))
        unr_bind_slot(&v->op, unr_signal_slot(&v->signal));
    v->starts++;
    starts++;
    unr_start(loop, &v->op, ended, v);
}

static void note(struct victim *v, unsigned types, int cause)
{
    requests++;
    note_request(&v->asked, unr_supports(&v->op), types, cause);
}

static void cancel(struct victim *v)
{
    unsigned types = random_types();
    int      cause = -1000 - (int)below(100);
    if (!unr_in_flight(&v->op)) {
        check(!unr_cancel_cause(&v->op, types, cause));
        return;
    }
    note(v, types, cause);
    bool supported = types & unr_supports(&v->op);
    if (one_in(2) && unr_slot_has_handler(unr_signal_slot(&v->signal)))
        check(unr_signal_emit_cause(&v->signal, types, cause) <= supported);
    else
        check(unr_cancel_cause(&v->op, types, cause));
}

static struct victim *any(void)
{
    return &victims[below(OPS)];
}

static void ended(struct unr_op *op)
{
    struct victim *v = op->data;
    if (closing && op->result.requested & ~v->asked.types)
        note(v, UNR_CANCEL_ALL, -ESHUTDOWN);
    if (op->result.error != 0 && op->result.error != -ECANCELED)
        fail("%s", unr_explain_op(op));
    check_result(op, &v->asked, unr_supports(op));
    if (v->fd == event)
        taken[PAIRS] += op->result.bytes / sizeof(eventfd_t);
    else
        taken[stream_of(v)] += op->result.bytes;
    check(op->result.error != 0 || op->result.bytes > 0);
    verdicts[op->result.verdict]++;
    v->ends++;
    ends++;
    if (closing)
        return;
    if (one_in(6))
        start(v);
    if (one_in(16))
        start(any());
    if (one_in(8))
        cancel(any());
}

/* ---- what a storm is made of ---- */

static void start_many(void)
{
    for (unsigned i = 0; i < OPS; i++)
        start(&victims[i]);
}

static void start_some(void)
{
    for (unsigned i = below(500); i > 0; i--)
        start(any());
}

static void cancel_some(void)
{
    for (unsigned i = below(500); i > 0; i--)
        cancel(any());
}

static void cancel_all(void)
{
    for (unsigned i = 0; i < OPS; i++)
        if (unr_in_flight(&victims[i].op))
            cancel(&victims[i]);
}

static void start_and_cancel(void)
{
    for (unsigned i = below(100); i > 0; i--) {
        struct victim *v = any();
        start(v);
        cancel(v);
    }
}

static void emit_to_all(void)
{
    unsigned types = random_types();
    unsigned supported = 0;
    for (unsigned i = 0; i < OPS; i++)
        if (unr_slot_has_handler(unr_signal_slot(&victims[i].signal))) {
            note(&victims[i], types, -2000);
            supported += (types & unr_supports(&victims[i].op)) != 0;
        }
    check(unr_signal_emit_cause(&root, types, -2000) <= supported);
}

static void cancel_descriptor(void)
{
    int      fd = any()->fd;
    unsigned types = random_types(), count = 0;
    for (unsigned i = 0; i < OPS; i++)
        if (victims[i].fd == fd && unr_in_flight(&victims[i].op)) {
            note(&victims[i], types, -ECANCELED);
            count += (types & unr_supports(&victims[i].op)) != 0;
        }
    check(unr_cancel_fd(loop, fd, types) <= count); /* some have completed */
}

static void count_up(void)
{
    unsigned n = 1 + below(300);
    must(eventfd_write(event, n));
    written[PAIRS] += n;
}

static void send_some(void)
{
    static const char bytes[16];
    for (unsigned i = below(PAIRS); i > 0; i--) {
        unsigned pair = below(PAIRS);
        ssize_t  n = send(pairs[pair][1], bytes, 1 + below(sizeof bytes), MSG_DONTWAIT);
        check(n > 0 || errno == EAGAIN);
        written[pair] += n > 0 ? (uint64_t)n : 0;
    }
}

static void (*const patterns[])(void) = { start_many,        start_some,       cancel_some,
                                          cancel_all,        start_and_cancel, emit_to_all,
                                          cancel_descriptor, count_up,         send_some };

/* ---- one storm ---- */

static void open_descriptors(void)
{
    event = must(eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC));
    for (unsigned i = 0; i < PAIRS; i++)
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]));
    for (unsigned i = 0; i < OPS; i++) {
        victims[i] = (struct victim){ 0 };
        victims[i].fd = i < ON_EVENT ? event : pairs[stream_of(&victims[i])][0];
        unr_signal_attach(&victims[i].signal, &root);
    }
}

static uint64_t left(int fd)
{
    int count = 0;
    must(ioctl(fd, FIONREAD, &count));
    return (uint64_t)count;
}

/* Everything that was written was taken, or is there. */
static void close_descriptors(void)
{
    eventfd_t count;
    must(fcntl(event, F_SETFL, O_NONBLOCK));
    while (eventfd_read(event, &count) == 0)
        taken[PAIRS]++;
    for (unsigned i = 0; i < PAIRS; i++)
        taken[i] += left(pairs[i][0]);
    for (unsigned i = 0; i <= PAIRS; i++)
        if (taken[i] != written[i])
            fail("%s %u: %" PRIu64 " were written, %" PRIu64 " found", i < PAIRS ? "pair" : "event",
                 i, written[i], taken[i]);
    close(event);
    for (unsigned i = 0; i < PAIRS; i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    for (unsigned i = 0; i < OPS; i++)
        unr_signal_detach(&victims[i].signal);
}

static void check_counts(const struct unr_stats *stats)
{
    check(starts == ends && unr_loop_in_flight(loop) == 0);
    for (unsigned i = 0; i < OPS; i++)
        check(victims[i].starts == victims[i].ends && !unr_in_flight(&victims[i].op));
    check(stats->started == starts && stats->finished == ends);
    check(stats->cancels_asked == requests);
    check(stats->cancels_won == verdicts[UNR_VERDICT_CANCELLED]);
    check(stats->cancels_unsubmitted == verdicts[UNR_VERDICT_UNSUBMITTED]);
    check(stats->cancels_too_late == verdicts[UNR_VERDICT_TOO_LATE]);
    check(stats->cancels_running == verdicts[UNR_VERDICT_RUNNING]);
    check(stats->cancels_refused == verdicts[UNR_VERDICT_REFUSED]);
    check(stats->sq_full > 0);
    check(stats->cq_overflows > 0 || options.cancels < FEW_CANCELS);
}

/* What supports PARTIAL only was perhaps asked for TOTAL; this it cannot refuse. */
static void let_all_end(void)
{
    for (unsigned i = 0; i < OPS; i++)
        if (unr_in_flight(&victims[i].op)) {
            note(&victims[i], UNR_CANCEL_ALL, -3000);
            unr_cancel_cause(&victims[i].op, UNR_CANCEL_ALL, -3000);
        }
}

static void storm(unsigned flags, uint64_t cancels)
{
    double begin = seconds();
    snprintf(where, sizeof where, "%s", flags ? "plain" : "default");
    seed_random(flags);
    guard(cancels);
    closing = false;
    starts = ends = requests = 0;
    memset(verdicts, 0, sizeof verdicts);
    memset(written, 0, sizeof written);
    memset(taken, 0, sizeof taken);
    open_descriptors();
    open_loop((struct unr_loop_options){ .flags = flags, .entries = 8, .completion_entries = 16 });

    while (verdicts[UNR_VERDICT_CANCELLED] < cancels) {
        for (unsigned i = 1 + below(4); i > 0; i--)
            patterns[below(sizeof patterns / sizeof *patterns)]();
        for (unsigned i = below(4); i > 0; i--)
            turn(0);
    }
    closing = true;
    let_all_end();
    while (unr_loop_in_flight(loop) > 0)
        turn(UNR_NEVER);
    struct unr_stats stats = stats_of_loop();
    check_counts(&stats);

    /* And once more, for unr_loop_close() to end. */
    start_many();
    turn(0);
    cancel_some();
    check(unr_loop_close(loop) == 0);
    loop = NULL;
    check(starts == ends);
    close_descriptors();
    alarm(0);
    printf("%-8s %" PRIu64 " started; cancelled in flight %" PRIu64 ", before %" PRIu64
           ", too late %" PRIu64 ", refused %" PRIu64 ", repeated %" PRIu64 "; SQ full %" PRIu64
           ", CQ overflown %" PRIu64 " turns; %.1f s\n",
           where, stats.started, stats.cancels_won, stats.cancels_unsubmitted,
           stats.cancels_too_late, stats.cancels_refused, stats.cancels_repeated, stats.sq_full,
           stats.cq_overflows, seconds() - begin);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const parts[] = { "default", "plain" };
    int                      names = read_options(argc, argv, CANCELS, FEW_CANCELS);
    for (unsigned flags = 0; flags <= UNR_LOOP_PLAIN; flags++) {
        bool wanted = names == 0;
        for (int j = 0; j < names; j++)
            wanted |= strcmp(argv[j], parts[flags]) == 0;
        if (wanted)
            storm(flags, options.cancels / 2);
    }
    return 0;
}
