/* SPDX-License-Identifier: MIT */
/* Happy eyeballs, RFC 8305: of several addresses of one host, the one that answers first.
 *
 * Trying one after another is slow where the first is dead: its connect takes two minutes to fail.
 * Trying all at once is rude and nearly always a waste.  So the attempts begin one after another,
 * 250 ms apart, with the families taking turns.  When one fails, the next begins at once.  The
 * first that succeeds ends the others.
 *
 * Each attempt is a composed operation: wait for its turn, connect, and close a socket that did not
 * connect.  The race is unr_any() of them.  An attempt whose turn has come gives the next one its
 * time, by moving the timer that the next one waits on.
 *
 * Who owns the descriptors?  An attempt that fails or is cancelled closes its own: unr_close()
 * supports no cancellation, so it also runs in an operation that was cancelled.  But an attempt may
 * succeed although it was cancelled, as the cancellation came too late.  unring does not hide that:
 * the result holds a descriptor like the winner's.  connect_race() looks at all members of the
 * group, and closes it.
 *
 *      connect_race                          # four races on loopback
 *      connect_race [::1]:6379 6379          # one, between addresses of your own */
#include "common.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <unring.h>

#define ATTEMPTS      8
#define ATTEMPT_DELAY UNR_MSEC(250) /* RFC 8305, section 5 */
#define LIMIT         UNR_SEC(1)    /* for all of them together */

struct attempt {
    union {
        struct unr_op      op;
        struct unr_compose compose;
    };
    struct address   address;
    struct attempt  *next; /* NULL: this is the last */
    struct unr_timer turn;
    struct unr_op    socket, connect, close;
    int              fd, error;
};

static struct unr_loop    *loop;
static struct unr_group    group;
static struct unr_deadline race;
static struct unr_sigwait  interrupt;
static bool                is_interrupted;

/* Lets the first attempt that still waits, from `attempt` on, begin at `when`. */
static void give_turn(struct attempt *attempt, unr_time when)
{
    while (attempt && !unr_timer_move(&attempt->turn, when))
        attempt = attempt->next;
}

static void fail(struct attempt *attempt, int error)
{
    attempt->error = error;
    if (error != -ECANCELED)
        give_turn(attempt->next, unr_loop_now(loop));
    if (attempt->fd >= 0)
        unr_compose_next(&attempt->compose, unr_close(&attempt->close, attempt->fd));
    else
        unr_compose_end(&attempt->compose, error);
}

static void step(struct unr_compose *self, struct unr_op *finished)
{
    struct attempt *attempt = unr_container_of(self, struct attempt, compose);
    struct address *address = &attempt->address;

    if (!finished) {
        unr_compose_next(self, unr_timer_at(&attempt->turn, UNR_NEVER));
    } else if (finished == &attempt->close) {
        unr_compose_end(self, attempt->error);
    } else if (finished->result.error) {
        fail(attempt, finished->result.error);
    } else if (finished == &attempt->turn.op) {
        give_turn(attempt->next, unr_loop_now(loop) + ATTEMPT_DELAY);
        unr_compose_next(self, unr_socket(&attempt->socket, address->storage.ss_family,
                                          SOCK_STREAM | SOCK_CLOEXEC, 0));
    } else if (finished == &attempt->socket) {
        attempt->fd = finished->result.fd;
        unr_compose_next(self, unr_connect(&attempt->connect, attempt->fd,
                                           (struct sockaddr *)&address->storage, address->len));
    } else {
        attempt->op.result.fd = attempt->fd;
        unr_compose_end(self, 0);
    }
}

/* Copies the addresses in the order of section 4: first the family of the first one, then the
 * families in turn. */
static void interleave(const struct address *addresses, unsigned n, struct attempt *attempts)
{
    bool     taken[ATTEMPTS] = { false };
    unsigned family = addresses[0].storage.ss_family;
    for (unsigned i = 0; i < n; i++) {
        unsigned first = 0, wanted = 0;
        while (taken[first])
            first++;
        while (wanted < n && (taken[wanted] || addresses[wanted].storage.ss_family != family))
            wanted++;
        unsigned pick = wanted < n ? wanted : first;
        taken[pick] = true;
        attempts[i] = (struct attempt){ .address = addresses[pick],
                                        .next = i + 1 < n ? &attempts[i + 1] : NULL,
                                        .fd = -1 };
        family = addresses[pick].storage.ss_family == AF_INET6 ? AF_INET : AF_INET6;
    }
}

/* Returns the connected descriptor, the caller's to close, or a negative errno. */
static int connect_race(const struct address *addresses, unsigned n)
{
    struct attempt attempts[ATTEMPTS];
    struct unr_op *members[ATTEMPTS];
    char           text[ADDRESS_TEXT];
    int            winner = -1;

    interleave(addresses, n, attempts);
    for (unsigned i = 0; i < n; i++)
        members[i] = unr_compose(&attempts[i].compose, "attempt", UNR_CANCEL_PARTIAL, step);
    unr_time begin = unr_loop_now(loop);
    unr_start(loop, unr_cancel_after(&race, unr_any(&group, members, n), LIMIT), NULL, NULL);
    give_turn(attempts, begin);
    while (unr_in_flight(&race.op)) {
        int error = unr_loop_run_once(loop, UNR_NEVER);
        if (error < 0)
            die(error, "the loop failed");
    }

    if (!race.op.result.error)
        winner = attempts[group.op.result.value].fd;
    for (unsigned i = 0; i < n; i++) {
        int fd = attempts[i].op.result.fd;
        printf("    %-16s %s%s\n", format_address(&attempts[i].address, text),
               unr_explain_op(&attempts[i].op),
               fd < 0         ? ""
               : fd == winner ? ": the winner"
                              : ": closed");
        if (fd >= 0 && fd != winner)
            close(fd); /* it connected after all */
    }
    printf("    %.0f ms: %s\n", (double)(unr_loop_now(loop) - begin) / 1e6,
           unr_explain_op(&race.op));
    return winner >= 0 ? winner : race.op.result.error;
}

static void interrupted(struct unr_op *op)
{
    is_interrupted = op->result.error == 0;
    unr_cancel(&race.op, UNR_CANCEL_ALL);
}

/* ---- addresses to show it with ---- */

enum target { ANSWERS, REFUSES, IS_SILENT };

static const char *const target_names[] = { "answers", "refuses", "is silent" };

struct host {
    struct address address;
    int            listener, filler;
};

static struct host make_host(const char *name, enum target target)
{
    struct host host = { .filler = -1 };
    if (!parse_address(name, &host.address) || (host.listener = listen_on(&host.address)) < 0)
        die(0, "this needs both ::1 and 127.0.0.1; give it addresses of your own");
    host.address = local_address(host.listener);
    if (target == REFUSES) {
        close(host.listener);
        host.listener = -1;
    }
    if (target == IS_SILENT) { /* a listening socket whose queue is full drops further SYNs */
        listen(host.listener, 0);
        host.filler = tcp_socket(&host.address);
        connect(host.filler, (struct sockaddr *)&host.address.storage, host.address.len);
    }
    printf("    %s %s\n", name, target_names[target]);
    return host;
}

static void show(enum target six, enum target four)
{
    if (is_interrupted)
        return;
    printf("race:\n");
    struct host    hosts[] = { make_host("[::1]:0", six), make_host("127.0.0.1:0", four) };
    struct address addresses[] = { hosts[0].address, hosts[1].address };
    int            fd = connect_race(addresses, 2);
    if (fd >= 0)
        close(fd);
    for (int i = 0; i < 2; i++) {
        close(hosts[i].listener);
        close(hosts[i].filler);
    }
}

int main(int argc, char **argv)
{
    struct address addresses[ATTEMPTS];

    if (argc - 1 > ATTEMPTS)
        die(0, "too many addresses");
    for (int i = 1; i < argc; i++)
        if (!parse_address(argv[i], &addresses[i - 1]))
            die(0, "not [HOST:]PORT with a numeric host");

    block_interrupts();
    int error = unr_loop_open(&loop, NULL);
    if (error)
        die(0, unr_explain(error));
    unr_start(loop, unr_sigwait(&interrupt, interrupts, 2), interrupted, NULL);
    if (argc > 1) {
        int fd = connect_race(addresses, (unsigned)argc - 1);
        if (fd >= 0)
            close(fd);
    } else {
        show(ANSWERS, ANSWERS);
        show(REFUSES, ANSWERS);
        show(IS_SILENT, ANSWERS);
        show(IS_SILENT, REFUSES);
    }
    return unr_loop_close(loop) ? 1 : 0;
}
