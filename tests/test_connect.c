/* SPDX-License-Identifier: MIT */
/* Connecting to the first of several addresses that answers. */
#include "support.h"

#include <sys/un.h>

TestSuite(connect, .init = open_loop, .timeout = 20);

enum { REFUSED, LIVE, SILENT, MISSING, STRANGE, SHORT, EMPTY, KINDS };

/* One address of each kind, and what is behind them. */
static struct scenery {
    struct sockaddr_in refused, live, silent;
    struct sockaddr_un missing;
    struct sockaddr    strange;
    int                listener, full, inside[8];
    struct unr_address of[KINDS];
} scenery;

/* A listener whose backlog is full: what connects to it waits for an answer to its SYN. */
static void fill_backlog(struct scenery *s)
{
    s->full = tcp_listener(&s->silent, 0);
    for (size_t i = 0; i < LENGTH(s->inside); i++) {
        s->inside[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(s->inside[i], (struct sockaddr *)&s->silent, sizeof s->silent);
        struct pollfd poll_fd = { .fd = s->inside[i], .events = POLLOUT };
        poll(&poll_fd, 1, 10);
    }
}

static void set_scenery(void)
{
    struct scenery *s = &scenery;
    close(tcp_listener(&s->refused, 1));
    s->listener = tcp_listener(&s->live, 100);
    s->missing = (struct sockaddr_un){ .sun_family = AF_UNIX, .sun_path = "/nowhere/at/all" };
    s->strange = (struct sockaddr){ .sa_family = 255 };
    fill_backlog(s);
    s->of[REFUSED] = (struct unr_address){ (struct sockaddr *)&s->refused, sizeof s->refused };
    s->of[LIVE] = (struct unr_address){ (struct sockaddr *)&s->live, sizeof s->live };
    s->of[SILENT] = (struct unr_address){ (struct sockaddr *)&s->silent, sizeof s->silent };
    s->of[MISSING] = (struct unr_address){ (struct sockaddr *)&s->missing, sizeof s->missing };
    s->of[STRANGE] = (struct unr_address){ &s->strange, sizeof s->strange };
    s->of[SHORT] = (struct unr_address){ (struct sockaddr *)&s->live, 4 };
    s->of[EMPTY] = (struct unr_address){ NULL, 0 };
}

static void strike_scenery(void)
{
    close(scenery.listener);
    close(scenery.full);
    for (size_t i = 0; i < LENGTH(scenery.inside); i++)
        close(scenery.inside[i]);
}

struct attempt {
    struct unr_connect_any connect;
    struct unr_address     addresses[4];
    int                    runs;
    struct unr_result      result;
};

static void ended(struct unr_op *op)
{
    struct attempt *attempt = unr_container_of(op, struct attempt, connect.op);
    attempt->runs++;
    attempt->result = op->result;
}

static struct unr_op *describe(struct attempt *attempt, const int *kinds, unsigned n)
{
    *attempt = (struct attempt){ 0 };
    for (unsigned i = 0; i < n; i++)
        attempt->addresses[i] = scenery.of[kinds[i]];
    return unr_connect_any(&attempt->connect, attempt->addresses, n);
}

static void finish_attempt(struct attempt *attempt)
{
    while (!attempt->runs)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert_eq(attempt->runs, 1);
}

#define KINDS_OF(...) (const int[]){ __VA_ARGS__ }, LENGTH(((const int[]){ __VA_ARGS__ }))

static struct unr_result connect_to(const int *kinds, unsigned n)
{
    struct attempt attempt;
    set_scenery();
    unr_start(loop, describe(&attempt, kinds, n), ended, NULL);
    finish_attempt(&attempt);
    return attempt.result;
}

/* It is connected to the live address at `index`, with a descriptor that children do not inherit;
 * and nothing else is open. */
static void expect_connected(struct unr_result result, int64_t index)
{
    struct sockaddr_in peer;
    socklen_t          len = sizeof peer;
    cr_assert_eq(result.error, 0, "error %d", result.error);
    cr_assert_eq(result.value, index);
    cr_assert_eq(getpeername(result.fd, (struct sockaddr *)&peer, &len), 0);
    cr_assert_eq(peer.sin_port, scenery.live.sin_port);
    cr_assert_eq(fcntl(result.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(result.fd);
    strike_scenery();
    close_loop();
}

static void expect_failed(struct unr_result result, int error, int64_t failed)
{
    cr_assert_eq(result.error, error, "error %d", result.error);
    cr_assert_eq(result.value, failed);
    cr_assert_eq(result.fd, -1);
    strike_scenery();
    close_loop();
}

/* The first address that answers is connected to, and no later one is tried. */
Test(connect, first_live)
{
    expect_connected(connect_to(KINDS_OF(LIVE, SILENT)), 0);
}

Test(connect, dead_then_live)
{
    expect_connected(connect_to(KINDS_OF(REFUSED, LIVE)), 1);
}

Test(connect, dead_ones_of_other_families_then_live)
{
    expect_connected(connect_to(KINDS_OF(MISSING, REFUSED, MISSING, LIVE)), 3);
}

/* An address that cannot be used counts as one that failed: no such family, too short for its
 * family, none at all. */
Test(connect, unusable_ones_then_live)
{
    expect_connected(connect_to(KINDS_OF(STRANGE, SHORT, EMPTY, LIVE)), 3);
}

Test(connect, without_addresses)
{
    set_scenery();
    struct attempt attempt = { 0 };
    unr_start(loop, unr_connect_any(&attempt.connect, NULL, 0), ended, NULL);
    finish_attempt(&attempt);
    expect_failed(attempt.result, -EDESTADDRREQ, 0);
}

/* When all fail, the error is the last one's. */
Test(connect, all_fail_with_the_last_error)
{
    expect_failed(connect_to(KINDS_OF(REFUSED, MISSING)), -ENOENT, 2);
}

Test(connect, all_fail_with_the_last_error_in_another_order)
{
    expect_failed(connect_to(KINDS_OF(MISSING, REFUSED)), -ECONNREFUSED, 2);
}

Test(connect, all_fail_and_the_last_has_no_socket)
{
    expect_failed(connect_to(KINDS_OF(REFUSED, STRANGE)), -EAFNOSUPPORT, 2);
}

Test(connect, all_fail_and_the_last_is_unusable)
{
    expect_failed(connect_to(KINDS_OF(REFUSED, EMPTY)), -EINVAL, 2);
}

/* A process that has no descriptor left has none for the other addresses either. */
Test(connect, no_descriptor_left_ends_it)
{
    struct attempt attempt;
    struct rlimit  limit, low;
    set_scenery();
    int lowest = dup(0);
    close(lowest);
    getrlimit(RLIMIT_NOFILE, &limit);
    low = (struct rlimit){ (rlim_t)lowest, limit.rlim_max };
    setrlimit(RLIMIT_NOFILE, &low);
    unr_start(loop, describe(&attempt, KINDS_OF(LIVE, LIVE)), ended, NULL);
    finish_attempt(&attempt);
    setrlimit(RLIMIT_NOFILE, &limit);
    expect_failed(attempt.result, -EMFILE, 0);
}

/* ---- cancelled ---- */

/* Asked before its start, it opens no socket. */
Test(connect, cancelled_before_the_start)
{
    struct unr_signal stop = { 0 };
    struct attempt    attempt;
    set_scenery();
    unr_signal_init_latched(&stop);
    unr_signal_emit(&stop, UNR_CANCEL_PARTIAL);
    unr_start(loop, unr_bind_slot(describe(&attempt, KINDS_OF(LIVE)), unr_signal_slot(&stop)),
              ended, NULL);
    finish_attempt(&attempt);
    cr_assert_eq(attempt.result.verdict, UNR_VERDICT_UNSUBMITTED);
    cr_assert_eq(attempt.result.guarantee, UNR_CANCEL_TOTAL);
    expect_failed(attempt.result, -ECANCELED, 0);
}

/* While it waits for an answer it can be ended, and its socket is closed; the addresses that had
 * failed are counted. */
Test(connect, cancelled_while_it_waits_for_an_answer)
{
    struct attempt attempt;
    set_scenery();
    int before = count_descriptors();
    unr_start(loop, describe(&attempt, KINDS_OF(REFUSED, MISSING, SILENT, LIVE)), ended, NULL);
    while (attempt.connect.private_fields.index != 2 || count_descriptors() == before)
        submit();
    for (int i = 0; i < 5; i++)
        submit();
    cr_assert_eq(attempt.runs, 0);
    cr_assert(unr_cancel(&attempt.connect.op, UNR_CANCEL_PARTIAL));
    finish_attempt(&attempt);
    cr_assert_eq(count_descriptors(), before);
    cr_assert_eq(attempt.result.guarantee, UNR_CANCEL_PARTIAL);
    cr_assert_eq(attempt.result.verdict, UNR_VERDICT_CANCELLED);
    expect_failed(attempt.result, -ECANCELED, 2);
}

/* A Unix socket whose backlog is full waits in a worker, and is ended there. */
Test(connect, cancelled_while_a_unix_listener_is_full)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct attempt     attempt = { 0 };
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "unring-test-%d", getpid());
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), inside[2];
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(listener, 0), 0);
    for (int i = 0; i < 2; i++) {
        inside[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        cr_assert_eq(connect(inside[i], (struct sockaddr *)&address, sizeof address), i ? -1 : 0);
    }
    attempt.addresses[0] = (struct unr_address){ (struct sockaddr *)&address, sizeof address };
    unr_start(loop, unr_connect_any(&attempt.connect, attempt.addresses, 1), ended, NULL);
    for (int i = 0; i < 5; i++)
        submit();
    cr_assert_eq(attempt.runs, 0);
    unr_cancel(&attempt.connect.op, UNR_CANCEL_ALL);
    finish_attempt(&attempt);
    cr_assert_eq(attempt.result.error, -ECANCELED);
    cr_assert_eq(attempt.result.fd, -1);
    close_pair(inside);
    close(listener);
    close_loop();
}

/* It supports PARTIAL: a request that takes nothing but TOTAL is refused. */
Test(connect, total_is_refused)
{
    struct attempt attempt;
    set_scenery();
    unr_start(loop, describe(&attempt, KINDS_OF(REFUSED, LIVE)), ended, NULL);
    unr_cancel(&attempt.connect.op, UNR_CANCEL_TOTAL);
    finish_attempt(&attempt);
    cr_assert_eq(attempt.result.verdict, UNR_VERDICT_REFUSED);
    expect_connected(attempt.result, 1);
}

/* A time-out around the whole reads as one. */
Test(connect, deadline_around_it)
{
    struct unr_deadline deadline = { 0 };
    struct attempt      attempt;
    set_scenery();
    describe(&attempt, KINDS_OF(REFUSED, SILENT, LIVE));
    struct unr_op *op = unr_cancel_after(&deadline, &attempt.connect.op, UNR_SEC(60));
    unr_start(loop, op, NULL, NULL);
    while (attempt.connect.private_fields.index == 0)
        submit();
    cr_assert(unr_deadline_move(&deadline, 0));
    run();
    cr_assert_eq(unr_outcome(&op->result), -ETIMEDOUT);
    expect_failed(op->result, -ECANCELED, 1);
}

struct turns {
    struct seen    nop;
    int            left;
    struct unr_op *target;
};

static void next_turn(struct seen *nop)
{
    struct turns *turns = unr_container_of(nop, struct turns, nop);
    if (turns->left-- > 0)
        start(nop, unr_nop(&nop->op));
    else
        unr_cancel(turns->target, UNR_CANCEL_ALL);
}

/* Cancelled in each of its turns, before and after each completion that it waits for: no descriptor
 * is lost, success keeps its socket and failure has none. */
Test(connect, cancelled_in_every_turn)
{
    int  successes_asked = 0, cancellations = 0;
    bool untouched = false;
    set_scenery();
    int before = count_descriptors();
    for (int turn = 0; !untouched; turn++) {
        struct attempt attempt;
        struct turns   turns = { .nop = { .then = next_turn },
                                 .left = turn,
                                 .target = &attempt.connect.op };
        start(&turns.nop, unr_nop(&turns.nop.op));
        unr_start(loop, describe(&attempt, KINDS_OF(REFUSED, SHORT, LIVE)), ended, NULL);
        if (turn == 0)
            unr_cancel(&attempt.connect.op, UNR_CANCEL_ALL);
        finish_attempt(&attempt);
        run();
        if (attempt.result.error) {
            cr_assert_eq(attempt.result.error, -ECANCELED);
            cr_assert_eq(attempt.result.fd, -1);
            cancellations++;
        } else {
            cr_assert_eq(attempt.result.value, 2);
            close(attempt.result.fd);
            successes_asked += attempt.result.verdict == UNR_VERDICT_TOO_LATE;
            untouched = attempt.result.requested == 0;
        }
        cr_assert_eq(count_descriptors(), before, "turn %d", turn);
    }
    cr_assert_geq(cancellations, 4);
    cr_assert_geq(successes_asked, 1);
    strike_scenery();
    close_loop();
}

/* Closing the loop ends it too, and closes its socket. */
Test(connect, loop_closed_meanwhile)
{
    struct attempt attempt;
    set_scenery();
    unr_start(loop, describe(&attempt, KINDS_OF(SILENT)), ended, NULL);
    for (int i = 0; i < 5; i++)
        submit();
    cr_assert_eq(unr_loop_close(loop), 0);
    cr_assert_eq(attempt.runs, 1);
    cr_assert_eq(unr_outcome(&attempt.result), -ESHUTDOWN);
    strike_scenery();
    cr_assert_eq(count_descriptors(), open_descriptors);
}
