/* SPDX-License-Identifier: MIT */
/* What Asio's own tests look at, as far as no other test here does, and what its users complain
 * about, shown to be ended: each complaint with the places where it was
 * made; A#n is https://github.com/chriskohlhoff/asio/issues/n. */
#include "support.h"

#include <linux/futex.h>
#include <liburing.h>
#include <pthread.h>
#include <sys/un.h>

#ifndef FUTEX2_SIZE_U32
#define FUTEX2_SIZE_U32 0x02
#endif

TestSuite(asio, .init = open_loop, .timeout = 20);

enum { CAUSE = -71, UP_TO_PARTIAL = UNR_CANCEL_TERMINAL | UNR_CANCEL_PARTIAL };

/* ---- members that end when they are told to ---- */

struct own {
    struct unr_op op;
    void (*at_start)(struct own *own);
    void                     *context;
    int                       starts, requests;
    struct unr_cancel_request latest;
};

static void own_start(struct unr_op *op)
{
    struct own *own = unr_container_of(op, struct own, op);
    own->starts++;
    if (own->at_start)
        own->at_start(own);
}

static void own_cancel(struct unr_op *op, struct unr_cancel_request request)
{
    struct own *own = unr_container_of(op, struct own, op);
    own->requests++;
    own->latest = request;
    unr_finish(op, -ECANCELED);
}

/* An operation of an own type that honours `types` of these: none, TERMINAL alone, PARTIAL alone,
 * all. */
static struct unr_op *brew(struct own *own, unsigned types)
{
    static const struct unr_op_type none = { .size = sizeof none,
                                             .supports = 0,
                                             .name = "brew",
                                             .start = own_start,
                                             .cancel = own_cancel },
                                    terminal = { .size = sizeof none,
                                                 .supports = 1,
                                                 .name = "brew",
                                                 .start = own_start,
                                                 .cancel = own_cancel },
                                    partial = { .size = sizeof none,
                                                .supports = 2,
                                                .name = "brew",
                                                .start = own_start,
                                                .cancel = own_cancel },
                                    all = { .size = sizeof none,
                                            .supports = 7,
                                            .name = "brew",
                                            .start = own_start,
                                            .cancel = own_cancel };
    return unr_describe(&own->op, types == 0   ? &none
                                  : types == 1 ? &terminal
                                  : types == 2 ? &partial
                                               : &all);
}

static void fail_at_start(struct own *own)
{
    unr_finish(&own->op, -EPIPE);
}

/* ---- peers ---- */

/* Fills what a descriptor can take without a reader.  Returns how many bytes. */
static size_t fill(int fd)
{
    static char bytes[65536];
    int         flags = fcntl(fd, F_GETFL);
    size_t      total = 0;
    cr_assert_eq(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    for (size_t size = sizeof bytes; size; size /= 2)
        for (ssize_t n; (n = write(fd, bytes, size)) > 0;)
            total += (size_t)n;
    cr_assert_eq(fcntl(fd, F_SETFL, flags), 0);
    return total;
}

/* How many bytes can be read without waiting; they are taken. */
static size_t empty(int fd)
{
    char   bytes[65536];
    size_t total = 0;
    while (readable(fd)) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n <= 0)
            break;
        total += (size_t)n;
    }
    return total;
}

static void send_text(int fd, const char *text)
{
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* ---- every kind of operation, in flight ---- */

struct play {
    int sockets[2], full_sockets[2], pipes[2], full_pipes[2], listener, connecting, nobody,
        waiting[4];
    size_t             filled, filled_pipe;
    struct sockaddr_un address;
    struct unr_address addresses[1];
    pid_t              child;
    uint32_t           futex;
    struct iovec       piece;
    char               in[64], out[64];
    struct unr_signal  signal;
    struct seen        seen, other;
    struct unr_stream  from, to, from_pipe, to_pipe;
    struct unr_buffer  buffer;
    struct unr_framing framing;
    struct unr_op      receives[2];
    union {
        struct unr_op          op;
        struct unr_timer       timer;
        struct unr_transfer    transfer;
        struct unr_reader      reader;
        struct unr_connect_any connect;
        struct unr_relay       relay;
        struct unr_sigwait     sigwait;
        struct unr_process     process_wait;
        struct unr_group       group;
        struct unr_scope       scope;
        struct unr_join        join;
        struct unr_deadline    deadline;
        struct unr_delay       delay;
        struct unr_filter      filter;
        struct unr_compose     compose;
    };
    struct unr_op child_op; /* of `compose` */
};

/* A unix listener whose backlog is full: who connects waits. */
static void open_full_listener(struct play *p)
{
    p->address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    snprintf(p->address.sun_path + 1, sizeof p->address.sun_path - 1, "unring-asio-%d",
             (int)getpid());
    p->addresses[0] = (struct unr_address){ (struct sockaddr *)&p->address, sizeof p->address };
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(p->listener, p->addresses[0].address, p->addresses[0].len), 0);
    cr_assert_eq(listen(p->listener, 0), 0);
    for (size_t i = 0; i < LENGTH(p->waiting); i++) {
        p->waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(p->waiting[i], p->addresses[0].address, p->addresses[0].len);
    }
    p->connecting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p->nobody = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(p->nobody, (struct sockaddr *)&(sa_family_t){ AF_UNIX }, sizeof(sa_family_t)),
                 0);
    cr_assert_eq(listen(p->nobody, 1), 0);
}

static pid_t make_child(void)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        for (;;)
            pause();
    }
    return child;
}

static void open_play(struct play *p)
{
    sigset_t usr1;
    *p = (struct play){ .futex = 1 };
    unix_pair(p->sockets);
    unix_pair(p->full_sockets);
    cr_assert_eq(pipe2(p->pipes, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(p->full_pipes, O_CLOEXEC), 0);
    p->filled = fill(p->full_sockets[0]);
    p->filled_pipe = fill(p->full_pipes[1]);
    open_full_listener(p);
    p->child = make_child();
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigprocmask(SIG_BLOCK, &usr1, NULL);
    unr_stream_socket(&p->from, p->sockets[0]);
    unr_stream_socket(&p->to, p->full_sockets[0]);
    unr_stream_pipe(&p->from_pipe, p->pipes[0]);
    unr_stream_pipe(&p->to_pipe, p->full_pipes[1]);
    unr_buffer_init(&p->buffer, 1000);
    unr_framing_delimiter(&p->framing, "|", 1, 100);
    p->piece = (struct iovec){ p->in, sizeof p->in };
}

/* What came of it: nothing was taken from anyone, and who was written to has got what is
 * reported. */
static void close_play(struct play *p)
{
    if (unr_in_flight(&p->other.op)) {
        unr_cancel(&p->other.op, UNR_CANCEL_ALL);
        finish(&p->other);
    }
    send_text(p->sockets[1], "12345");
    send_text(p->pipes[1], "123");
    cr_assert_eq(drain(p->sockets[0]), 5);
    cr_assert_eq(empty(p->pipes[0]), 3);
    cr_assert_eq(empty(p->full_sockets[1]), p->filled);
    cr_assert_eq(empty(p->full_pipes[0]), p->filled_pipe);
    cr_assert_eq(kill(p->child, SIGKILL), 0);
    cr_assert_eq(waitpid(p->child, NULL, 0), p->child);
    cr_assert_eq(p->futex, 1);
    close_pair(p->sockets);
    close_pair(p->full_sockets);
    close_pair(p->pipes);
    close_pair(p->full_pipes);
    close(p->listener);
    close(p->nobody);
    close(p->connecting);
    for (size_t i = 0; i < LENGTH(p->waiting); i++)
        close(p->waiting[i]);
    unr_buffer_free(&p->buffer);
}

static struct unr_op *receive(struct play *p, int i)
{
    return unr_recv(&p->receives[i], p->sockets[0], &p->in[i], 1, 0);
}

#define KIND(name, expression)                                                                     \
    static struct unr_op *describe_##name(struct play *p)                                          \
    {                                                                                              \
        return expression;                                                                         \
    }

static void step_receives(struct unr_compose *self, struct unr_op *finished)
{
    struct play *p = unr_container_of(self, struct play, compose);
    if (finished)
        unr_compose_end(self, finished->result.error);
    else
        unr_compose_next(self, unr_recv(&p->child_op, p->sockets[0], p->in, 1, 0));
}

static void fill_receive(void *sqe, void *context)
{
    struct play *p = context;
    io_uring_prep_recv(sqe, p->sockets[0], p->in, 1, 0);
}

static ssize_t never_matches(void *context, const void *data, size_t len, size_t seen)
{
    (void)context, (void)data, (void)len, (void)seen;
    return 0;
}

static struct unr_op *start_other(struct play *p)
{
    start(&p->other, unr_recv(&p->other.op, p->sockets[0], p->in, 1, 0));
    return &p->other.op;
}

static const int usr1_alone[] = { SIGUSR1 };

KIND(read, unr_read(&p->op, p->pipes[0], p->in, 8, -1))
KIND(write, unr_write(&p->op, p->full_pipes[1], p->out, 8, -1))
KIND(readv, unr_readv(&p->op, p->pipes[0], &p->piece, 1, -1))
KIND(writev, unr_writev(&p->op, p->full_pipes[1], &p->piece, 1, -1))
KIND(recv, unr_recv(&p->op, p->sockets[0], p->in, 8, 0))
KIND(send, unr_send(&p->op, p->full_sockets[0], p->out, 8, 0))
KIND(recv_all, unr_recv(&p->op, p->sockets[0], p->in, 8, MSG_WAITALL))
KIND(accept, unr_accept(&p->op, p->nobody, NULL, NULL, SOCK_CLOEXEC))
KIND(connect, unr_connect(&p->op, p->connecting, p->addresses[0].address, p->addresses[0].len))
KIND(poll, unr_poll(&p->op, p->sockets[0], POLLIN))
KIND(splice, unr_splice(&p->op, p->pipes[0], -1, p->full_pipes[1], -1, 8, 0))
KIND(futex, unr_futex_wait(&p->op, &p->futex, 1, FUTEX_BITSET_MATCH_ANY,
                           FUTEX2_SIZE_U32 | FUTEX_PRIVATE_FLAG))
KIND(sqe, unr_sqe(&p->op, "sqe", UNR_CANCEL_ALL, fill_receive, p))
KIND(timer, unr_timer_after(&p->timer, UNR_SEC(1000)))
KIND(write_all, unr_write_all(&p->transfer, &p->to, p->out, sizeof p->out))
KIND(write_all_to_pipe, unr_write_all(&p->transfer, &p->to_pipe, p->out, sizeof p->out))
KIND(writev_all, unr_writev_all(&p->transfer, &p->to, &p->piece, 1))
KIND(read_exact, unr_read_exact(&p->transfer, &p->from, p->in, 8))
KIND(readv_exact, unr_readv_exact(&p->transfer, &p->from_pipe, &p->piece, 1))
KIND(read_at_least, unr_read_at_least(&p->transfer, &p->from, p->in, 8, 3))
KIND(transfer_while,
     unr_transfer_while(&p->transfer, &p->from, UNR_READ, &p->piece, 1, unr_transfer_all, NULL))
KIND(read_until, unr_read_until(&p->reader, &p->from, &p->buffer, "\r\n", 2))
KIND(read_match, unr_read_match(&p->reader, &p->from_pipe, &p->buffer, never_matches, NULL))
KIND(read_frame, unr_read_frame(&p->reader, &p->from, &p->buffer, &p->framing))
KIND(connect_any, unr_connect_any(&p->connect, p->addresses, 1))
KIND(relay, unr_relay(&p->relay, &p->from, &p->to))
KIND(sigwait, unr_sigwait(&p->sigwait, usr1_alone, 1))
KIND(process_wait, unr_process_wait(&p->process_wait, p->child))
KIND(any, unr_any(&p->group, (struct unr_op *[]){ receive(p, 0), receive(p, 1) }, 2))
KIND(all, unr_all(&p->group, (struct unr_op *[]){ receive(p, 0), receive(p, 1) }, 2))
KIND(scope, unr_scope(&p->scope))
KIND(join, unr_join(&p->join, start_other(p)))
KIND(deadline, unr_cancel_after(&p->deadline, receive(p, 0), UNR_SEC(1000)))
KIND(delay, unr_delay(&p->delay, receive(p, 0), 0))
KIND(filter, unr_filter(&p->filter, receive(p, 0), unr_let_total, NULL))
KIND(compose, unr_compose(&p->compose, "receive", UNR_CANCEL_PARTIAL, step_receives))

static void fill_the_scope(struct play *p)
{
    unr_scope_start(&p->scope, receive(p, 0), NULL, NULL);
    unr_scope_start(&p->scope, receive(p, 1), NULL, NULL);
    unr_scope_close(&p->scope);
}

struct kind {
    const char *name;
    struct unr_op *(*describe)(struct play *p);
    unsigned supports, guarantee;
    int64_t  value; /* or bytes */
    void (*after)(struct play *p);
};

#define TOTAL(name)                                                                                \
    {                                                                                              \
#name, describe_##name, UNR_CANCEL_ALL, UNR_CANCEL_TOTAL, 0, NULL                          \
    }
#define PARTIAL(name)                                                                              \
    {                                                                                              \
#name, describe_##name, UP_TO_PARTIAL, UNR_CANCEL_PARTIAL, 0, NULL                         \
    }

static const struct kind kinds[] = {
    TOTAL(read),
    TOTAL(write),
    TOTAL(readv),
    TOTAL(writev),
    TOTAL(recv),
    TOTAL(send),
    PARTIAL(recv_all),
    TOTAL(accept),
    TOTAL(connect),
    TOTAL(poll),
    TOTAL(splice),
    TOTAL(futex),
    TOTAL(sqe),
    TOTAL(timer),
    PARTIAL(write_all),
    PARTIAL(write_all_to_pipe),
    PARTIAL(writev_all),
    PARTIAL(read_exact),
    PARTIAL(readv_exact),
    PARTIAL(read_at_least),
    PARTIAL(transfer_while),
    PARTIAL(read_until),
    PARTIAL(read_match),
    TOTAL(read_frame),
    PARTIAL(connect_any),
    PARTIAL(relay),
    TOTAL(sigwait),
    TOTAL(process_wait),
    { "any", describe_any, UNR_CANCEL_ALL, UNR_CANCEL_TOTAL, -1, NULL },
    { "all", describe_all, UNR_CANCEL_ALL, UNR_CANCEL_TOTAL, -1, NULL },
    { "scope", describe_scope, UNR_CANCEL_ALL, UNR_CANCEL_TOTAL, 2, fill_the_scope },
    TOTAL(join),
    TOTAL(deadline),
    TOTAL(delay),
    TOTAL(filter),
    PARTIAL(compose),
};

/* In flight, where it waits, in the kernel if it gets there. */
static void start_kind(struct play *p, const struct kind *kind)
{
    open_play(p);
    struct unr_op *op = kind->describe(p);
    cr_assert_eq(unr_supports(op), kind->supports, "%s supports %u", kind->name, unr_supports(op));
    start(&p->seen, unr_bind_slot(op, unr_signal_slot(&p->signal)));
    if (kind->after)
        kind->after(p);
    for (int i = 0; i < 3; i++)
        submit();
    cr_assert_eq(p->seen.runs, 0, "%s: error %d", kind->name, p->seen.result.error);
    cr_assert(unr_slot_has_handler(unr_signal_slot(&p->signal)), "%s: no handler", kind->name);
}

/* A kernel before Linux 6.7 has no futexes in the ring. */
static bool kernel_has(const struct kind *kind)
{
    return kind->describe != describe_futex || has_feature(loop, "futex_wait");
}

static void expect_ended(struct play *p, const struct kind *kind, int cause)
{
    const struct unr_result *r = &p->seen.result;
    cr_assert_eq(p->seen.runs, 1, "%s: %d times", kind->name, p->seen.runs);
    cr_assert_eq(r->error, -ECANCELED, "%s: error %d", kind->name, r->error);
    cr_assert_eq(r->cause, cause, "%s: cause %d", kind->name, r->cause);
    cr_assert_eq(r->verdict, UNR_VERDICT_CANCELLED, "%s: verdict %u", kind->name, r->verdict);
    cr_assert_eq(r->guarantee, kind->guarantee, "%s: guarantee %u", kind->name, r->guarantee);
    cr_assert_eq(r->value, kind->value, "%s: %d", kind->name, (int)r->value);
    cr_assert_eq(r->fd, -1);
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(&p->signal)), "%s: a handler is left",
                  kind->name);
    cr_assert_not(unr_signal_emit(&p->signal, UNR_CANCEL_ALL));
}

/* Asio's tests cancel no socket, descriptor, pipe, read, write, read_until, connect or signal_set
 * through a slot.  Here each kind is: it ends once, not inside the emit, has moved no byte, and
 * leaves no handler behind.
 *
 * (r/cpp "Asio cancellation mysteries", A#1333: what a cancel guarantees is unclear,
 * and the default is documented wrongly): what an operation can promise can be asked of it before
 * it is started, and its result says what it kept. */
Test(asio, each_kind_of_operation_is_cancelled_through_its_slot)
{
    static struct play p;
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        if (!kernel_has(&kinds[i]))
            continue;
        start_kind(&p, &kinds[i]);
        cr_assert(unr_signal_emit_cause(&p.signal, UNR_CANCEL_ALL, CAUSE));
        cr_assert_eq(p.seen.runs, 0, "%s: inside the emit", kinds[i].name);
        finish(&p.seen);
        expect_ended(&p, &kinds[i], CAUSE);
        cr_assert_eq(unr_in_flight(&p.other.op), kinds[i].describe == describe_join);
        close_play(&p);
    }
    close_loop();
}

/* A#1235 (a context is destroyed with operations in it, whose handlers never run):
 * closing the loop hands back each kind of operation, in its `done`, with the cause -ESHUTDOWN. */
Test(asio, closing_the_loop_hands_each_kind_back)
{
    static struct play p;
    for (size_t i = 0; i < LENGTH(kinds); i++) {
        if (!kernel_has(&kinds[i]))
            continue;
        start_kind(&p, &kinds[i]);
        cr_assert_eq(unr_loop_close(loop), 0);
        if (kinds[i].describe
            == describe_join) /* which ends as what it waits for does, or by itself */
            cr_assert_eq(p.other.runs, 1);
        expect_ended(&p, &kinds[i], -ESHUTDOWN);
        close_play(&p);
        loop = open_loop_with(0, 0);
    }
    close_loop();
}

/* ---- signals, timers, sockets ---- */

/* One signal serves one operation after another, of any kind: what it has cancelled is no obstacle
 * to the next. */
Test(asio, one_signal_serves_one_operation_after_another)
{
    struct unr_signal signal = { 0 };
    struct seen       first = { 0 }, second = { 0 }, third = { 0 };
    struct unr_timer  timer = { 0 };
    char              in[8];
    int               fds[2];
    unix_pair(fds);
    start(&first,
          unr_bind_slot(unr_recv(&first.op, fds[0], in, sizeof in, 0), unr_signal_slot(&signal)));
    submit();
    cr_assert(unr_signal_emit(&signal, UNR_CANCEL_TOTAL));
    run();
    expect_cancelled(&first, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_not(unr_signal_emit(&signal, UNR_CANCEL_TOTAL));

    start(&second,
          unr_bind_slot(unr_recv(&second.op, fds[0], in, sizeof in, 0), unr_signal_slot(&signal)));
    submit();
    cr_assert_eq(second.runs, 0);
    send_text(fds[1], "12345");
    run();
    cr_assert_eq(second.result.error, 0);
    cr_assert_eq(second.result.bytes, 5);
    cr_assert_eq(second.result.requested, 0);

    start(&third, unr_bind_slot(unr_timer_after(&timer, UNR_NEVER), unr_signal_slot(&signal)));
    submit();
    cr_assert(unr_signal_emit(&signal, UNR_CANCEL_TOTAL));
    run();
    expect_cancelled(&third, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    close_pair(fds);
    close_loop();
}

/* Three wait for one timer; the one in the middle is cancelled, and the others go on, until the
 * timer itself is.  Then it is waited for again. */
Test(asio, three_wait_for_one_timer)
{
    struct unr_timer  timer = { 0 };
    struct unr_join   joins[3] = { 0 };
    struct unr_signal signals[3] = { 0 };
    struct seen       waits[3] = { 0 }, fired = { 0 };
    start(&fired, unr_timer_after(&timer, UNR_SEC(1000)));
    for (int i = 0; i < 3; i++)
        start(&waits[i],
              unr_bind_slot(unr_join(&joins[i], &timer.op), unr_signal_slot(&signals[i])));
    submit();
    cr_assert(unr_signal_emit_cause(&signals[1], UNR_CANCEL_TOTAL, CAUSE));
    submit();
    expect_cancelled(&waits[1], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, CAUSE);
    cr_assert(waits[0].runs == 0 && waits[2].runs == 0 && unr_in_flight(&timer.op));
    cr_assert(unr_cancel(&timer.op, UNR_CANCEL_ALL));
    run();
    for (int i = 0; i < 3; i += 2)
        expect_cancelled(&waits[i], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    expect_cancelled(&fired, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);

    fired = waits[1] = (struct seen){ 0 };
    start(&fired, unr_timer_at(&timer, 1));
    start(&waits[1], unr_bind_slot(unr_join(&joins[1], &timer.op), unr_signal_slot(&signals[1])));
    run();
    cr_assert(fired.runs == 1 && fired.result.error == 0);
    cr_assert(waits[1].runs == 1 && waits[1].result.error == 0);
    close_loop();
}

/* Three receive from one socket; the one in the middle is cancelled, and the others go on, until
 * all on the socket are: with a count, without a byte.  A receive after that works, and sees the
 * peer's end. */
Test(asio, three_receive_from_one_socket)
{
    struct unr_signal signals[3] = { 0 };
    struct seen       receives[3] = { 0 }, again[2] = { 0 };
    char              in[3][8];
    int               fds[2];
    tcp_pair(fds);
    for (int i = 0; i < 3; i++)
        start(&receives[i], unr_bind_slot(unr_recv(&receives[i].op, fds[0], in[i], 8, 0),
                                          unr_signal_slot(&signals[i])));
    submit();
    cr_assert(unr_signal_emit(&signals[1], UNR_CANCEL_ALL));
    finish(&receives[1]);
    cr_assert(receives[0].runs == 0 && receives[2].runs == 0);
    cr_assert_eq(unr_cancel_fd(loop, fds[0], UNR_CANCEL_ALL), 2);
    run();
    for (int i = 0; i < 3; i++) {
        expect_cancelled(&receives[i], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        cr_assert_eq(receives[i].result.bytes, 0);
    }
    send_text(fds[1], "12345");
    start(&again[0], unr_recv(&again[0].op, fds[0], in[0], 8, MSG_WAITALL));
    close(fds[1]);
    run();
    cr_assert(again[0].result.error == 0 && again[0].result.bytes == 5);
    start(&again[1], unr_recv(&again[1].op, fds[0], in[0], 8, 0));
    run();
    cr_assert(again[1].result.error == 0 && again[1].result.bytes == 0);
    close(fds[0]);
    close_loop();
}

static void free_its_memory(struct seen *seen)
{
    free(seen);
}

/* An operation is destroyed when it has ended, and its socket moves on to other memory: an emit
 * finds nothing of the old one, and the new one when there is one. */
Test(asio, emit_after_its_operation_is_destroyed_and_its_stream_moved)
{
    struct unr_signal   signal = { 0 };
    struct unr_stream  *old = malloc(sizeof *old), *moved;
    struct unr_some    *some = calloc(1, sizeof *some);
    struct unr_transfer transfer = { 0 };
    struct seen        *seen = calloc(1, sizeof *seen), next = { 0 };
    char                in[8];
    int                 fds[2];
    unix_pair(fds);
    unr_stream_socket(old, fds[0]);
    seen->then = free_its_memory;
    start(seen, unr_bind_slot(unr_read_some(some, old, &(struct iovec){ in, sizeof in }, 1),
                              unr_signal_slot(&signal)));
    submit();
    cr_assert(unr_signal_emit(&signal, UNR_CANCEL_TOTAL));
    run();
    free(some);
    moved = malloc(sizeof *moved);
    *moved = *old;
    free(old);
    cr_assert_not(unr_signal_emit(&signal, UNR_CANCEL_TOTAL));

    start(&next,
          unr_bind_slot(unr_read_exact(&transfer, moved, in, sizeof in), unr_signal_slot(&signal)));
    submit();
    send_text(fds[1], "123");
    while (transfer.op.result.bytes < 3)
        cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
    cr_assert(unr_signal_emit(&signal, UNR_CANCEL_ALL));
    run();
    expect_cancelled(&next, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, -ECANCELED);
    cr_assert_eq(next.result.bytes, 3);
    free(moved);
    close_pair(fds);
    close_loop();
}

/* ---- composed ---- */

struct sleeper {
    struct unr_compose compose;
    struct seen        seen;
    struct unr_timer   timer;
    int                sleeps;
    bool               yields; /* values of its own when it is cancelled */
};

/* Sleeps for ever: in naps that are over at once, then in one that never is. */
static void sleep_on(struct unr_compose *self, struct unr_op *finished)
{
    struct sleeper *sleeper = unr_container_of(self, struct sleeper, compose);
    if (finished && finished->result.error) {
        if (sleeper->yields)
            self->op.result.value = 42;
        unr_compose_end(self, finished->result.error);
    } else {
        unr_compose_next(self,
                         unr_timer_after(&sleeper->timer, sleeper->sleeps++ < 100 ? 0 : UNR_NEVER));
    }
}

/* An endless loop of sleeps is cancelled: right after its start, in the middle of it, and in a
 * sleep without end.  What it yields then is its own affair; without that it is 0 and no
 * descriptor. */
Test(asio, endless_sleep_is_cancelled_and_yields_what_it_likes)
{
    for (int sleeps = 0; sleeps <= 101; sleeps++) {
        struct sleeper sleeper = { .yields = sleeps % 2 };
        start(&sleeper.seen, unr_compose(&sleeper.compose, "sleep", UNR_CANCEL_TOTAL, sleep_on));
        while (sleeper.sleeps < sleeps)
            submit();
        cr_assert(unr_cancel_cause(&sleeper.compose.op, UNR_CANCEL_TOTAL, CAUSE));
        run();
        expect_cancelled(&sleeper.seen, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, CAUSE);
        cr_assert_eq(sleeper.seen.result.value, sleeper.yields ? 42 : 0);
        cr_assert_eq(sleeper.seen.result.fd, -1);
    }
    close_loop();
}

/* ---- || and && ---- */

enum operand { SUCCEEDS, FAILS, ENDLESS, OPERANDS };

struct operands {
    int              fds[3][2];
    struct unr_op    ops[3];
    char             in[3][8];
    unsigned         count[OPERANDS];
    struct unr_group group;
    struct seen      seen;
    enum operand     of[3];
    struct unr_op   *members[3];
};

static void open_operands(struct operands *o, unsigned n, unsigned number)
{
    *o = (struct operands){ 0 };
    for (unsigned i = 0; i < n; i++, number /= OPERANDS) {
        o->of[i] = number % OPERANDS;
        o->count[o->of[i]]++;
        unix_pair(o->fds[i]);
        if (o->of[i] == SUCCEEDS)
            send_text(o->fds[i][1], "12345");
        o->members[i] = unr_recv(&o->ops[i], o->of[i] == FAILS ? -1 : o->fds[i][0], o->in[i], 8, 0);
    }
}

static void expect_operands(struct operands *o, unsigned n, bool any)
{
    const struct unr_result *r = &o->seen.result;
    enum operand             decides = any ? SUCCEEDS : FAILS;
    if (o->count[decides]) {
        cr_assert_eq(r->error, any ? 0 : -EBADF);
        cr_assert_eq(o->of[r->value], decides);
        cr_assert_eq(unr_group_first(&o->group)->result.error == -ECANCELED, false);
    } else if (o->count[ENDLESS]) {
        cr_assert_eq(r->error, -ECANCELED);
        cr_assert_eq(r->cause, CAUSE);
        cr_assert_eq(r->value, -1);
    } else {
        cr_assert_eq(r->error, any ? -EBADF : 0);
    }
    for (unsigned i = 0; i < n; i++) {
        cr_assert_eq(o->ops[i].result.error == -ECANCELED || o->of[i] != ENDLESS, true);
        cr_assert_eq(o->of[i] == FAILS, o->ops[i].result.error == -EBADF);
        cr_assert_eq(o->ops[i].result.bytes + drain(o->fds[i][0]), o->of[i] == SUCCEEDS ? 5 : 0);
        close_pair(o->fds[i]);
    }
}

/* a || b, a && b and the same with three, of operands that succeed, fail or never end, in every
 * combination: what decides is the first of its kind, an endless sibling is cancelled, and without
 * a decision the whole waits until it is cancelled itself. */
Test(asio, operators_of_two_and_three_operands)
{
    for (unsigned n = 2; n <= 3; n++)
        for (unsigned number = 0; number < (n == 2 ? 9 : 27); number++)
            for (int any = 0; any < 2; any++) {
                static struct operands o;
                open_operands(&o, n, number);
                start(&o.seen,
                      any ? unr_any(&o.group, o.members, n) : unr_all(&o.group, o.members, n));
                for (int i = 0; i < 3; i++)
                    submit();
                if (o.count[ENDLESS] && !o.count[any ? SUCCEEDS : FAILS]) {
                    cr_assert_eq(o.seen.runs, 0);
                    cr_assert(unr_cancel_cause(&o.group.op, UNR_CANCEL_ALL, CAUSE));
                }
                run();
                cr_assert_eq(o.seen.runs, 1);
                expect_operands(&o, n, any);
            }
    close_loop();
}

/* ---- 6.1: a cancel between two operations ---- */

enum moment { BEFORE_THE_FIRST, BETWEEN_COMPLETION_AND_DONE, IN_ITS_DONE, MOMENTS };

struct session {
    struct unr_compose compose;
    struct seen        seen, first, second, interrupter;
    struct unr_op      receive;
    struct unr_timer   timer;
    struct unr_signal  stop;
    enum moment        moment;
    int                fds[2];
    char               in[8];
};

static void stop_session(struct session *session)
{
    unr_signal_emit_cause(&session->stop, UNR_CANCEL_ALL, CAUSE);
}

static void interrupt(struct seen *seen)
{
    stop_session(seen->context);
}

static void second_of_session(struct seen *first)
{
    struct session *s = first->context;
    if (s->moment == IN_ITS_DONE)
        stop_session(s);
    start(&s->second,
          unr_bind_slot(unr_timer_after(&s->timer, UNR_NEVER), unr_signal_slot(&s->stop)));
}

static void step_of_session(struct unr_compose *self, struct unr_op *finished)
{
    struct session *s = unr_container_of(self, struct session, compose);
    if (!finished) {
        unr_compose_next(self, unr_recv(&s->receive, s->fds[0], s->in, sizeof s->in, 0));
    } else if (finished->result.error || finished == &s->timer.op) {
        unr_compose_end(self, finished->result.error);
    } else {
        if (s->moment == IN_ITS_DONE)
            stop_session(s);
        self->op.result.bytes = finished->result.bytes;
        unr_compose_next(self, unr_timer_after(&s->timer, UNR_NEVER));
    }
}

static void open_session(struct session *s, enum moment moment)
{
    *s = (struct session){ .moment = moment };
    s->first.context = s->interrupter.context = s;
    s->first.then = second_of_session;
    s->interrupter.then = interrupt;
    unix_pair(s->fds);
    send_text(s->fds[1], "12345");
    if (moment == BETWEEN_COMPLETION_AND_DONE) /* its `done` comes first, in the turn that has both
                                                  completions */
        start(&s->interrupter, unr_nop(&s->interrupter.op));
}

/* A#1574, boostorg/mysql#199, boostorg/redis#321, boostorg/redis#32 (a cancel that
 * comes between two operations is lost, and the next timer waits for ever): a session that receives
 * and then waits without end is ended whenever it is asked. Composed, an ordinary signal does; made
 * of callbacks, one that latches. */
Test(asio, cancel_between_two_operations_is_not_lost)
{
    for (enum moment moment = 0; moment < MOMENTS; moment++) {
        struct session s;
        open_session(&s, moment);
        start(&s.seen,
              unr_bind_slot(unr_compose(&s.compose, "session", UNR_CANCEL_PARTIAL, step_of_session),
                            unr_signal_slot(&s.stop)));
        if (moment == BEFORE_THE_FIRST)
            stop_session(&s);
        run();
        expect_cancelled(&s.seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, CAUSE);
        cr_assert_eq(s.seen.result.bytes + drain(s.fds[0]), 5);
        cr_assert_eq(s.seen.result.bytes, moment == BEFORE_THE_FIRST ? 0 : 5);
        close_pair(s.fds);

        open_session(&s, moment);
        unr_signal_init_latched(&s.stop);
        if (moment == BEFORE_THE_FIRST)
            stop_session(&s);
        start(&s.first, unr_bind_slot(unr_recv(&s.receive, s.fds[0], s.in, sizeof s.in, 0),
                                      unr_signal_slot(&s.stop)));
        run();
        cr_assert_eq(s.first.result.bytes + drain(s.fds[0]), 5);
        expect_cancelled(&s.second, UNR_CANCEL_TOTAL, UNR_VERDICT_UNSUBMITTED, CAUSE);
        close_pair(s.fds);
    }
    close_loop();
}

/* ---- 6.2: memory that goes ---- */

struct ephemeral {
    struct seen       seen;
    struct unr_signal signal;
    struct unr_remote remote;
    struct unr_group  group;
    struct own        failing;
    struct unr_op     receive;
    char              in[8];
    size_t           *received;
    int              *ended;
};

static void free_ephemeral(struct seen *seen)
{
    struct ephemeral *e = unr_container_of(seen, struct ephemeral, seen);
    *e->received += e->receive.result.bytes;
    ++*e->ended;
    if (e->remote.loop)
        unr_remote_disarm(&e->remote);
    memset(e, 0xa5, sizeof *e);
    free(e);
}

static struct ephemeral *make_ephemeral(size_t *received, int *ended)
{
    struct ephemeral *e = calloc(1, sizeof *e);
    e->seen.then = free_ephemeral;
    e->received = received;
    e->ended = ended;
    return e;
}

/* A#1332, A#1400, erigontech/silkworm#1353 (an emit that was dispatched finds its
 * signal gone): a request that another thread has on its way when the operation ends, whose `done`
 * frees the operation, its slot and its signal, finds nothing. */
Test(asio, signal_is_freed_while_a_request_is_on_its_way)
{
    size_t received = 0, left = 0;
    int    ended = 0;
    for (int completes = 0; completes < 3; completes++) {
        int fds[2];
        unix_pair(fds);
        struct ephemeral *e = make_ephemeral(&received, &ended);
        unr_remote_init(&e->remote, loop, &e->signal);
        start(&e->seen, unr_bind_slot(unr_recv(&e->receive, fds[0], e->in, sizeof e->in, 0),
                                      unr_signal_slot(&e->signal)));
        submit();
        if (completes)
            send_text(fds[1], "12345");
        if (completes == 2)
            unr_cancel(&e->receive, UNR_CANCEL_ALL);
        unr_remote_emit(&e->remote, UNR_CANCEL_ALL, CAUSE);
        run();
        cr_assert_eq(ended, completes + 1);
        left += drain(fds[0]);
        close_pair(fds);
    }
    cr_assert_eq(received + left, 10);
    close_loop();
}

/* The same, as in silkworm#1353: one member of a group fails, the other completes before it hears
 * of that, and the group's `done` frees all of them, signal and slot included. */
Test(asio, group_is_freed_when_a_member_fails_and_the_other_completes)
{
    size_t received = 0, left = 0;
    int    ended = 0;
    for (int round = 0; round < 100; round++) {
        int fds[2];
        unix_pair(fds);
        struct ephemeral *e = make_ephemeral(&received, &ended);
        struct unr_op    *members[] = { brew(&e->failing, UNR_CANCEL_ALL),
                                        unr_recv(&e->receive, fds[0], e->in, sizeof e->in, 0) };
        start(&e->seen, unr_bind_slot(unr_all(&e->group, members, 2), unr_signal_slot(&e->signal)));
        submit();
        if (round % 2)
            send_text(fds[1], "12345");
        unr_finish(&e->failing.op, -EPIPE);
        if (round % 2 == 0)
            send_text(fds[1], "12345");
        if (round % 4 < 2)
            unr_signal_emit(&e->signal, UNR_CANCEL_ALL);
        run();
        cr_assert_eq(ended, round + 1);
        left += drain(fds[0]);
        close_pair(fds);
    }
    cr_assert_eq(received + left, 500);
    close_loop();
}

/* ---- 6.3: other threads ---- */

enum { EMITTERS = 3, EMITS = 2000, SENT = 20000 };

struct crowd {
    struct unr_remote remote;
    struct unr_signal stop;
    struct unr_group  group;
    struct unr_op     receives[2];
    struct seen       seen;
    char              in[2][8];
    int               fds[2][2];
    size_t            received;
};

static void *emit_often(void *context)
{
    struct crowd *crowd = context;
    for (int i = 0; i < EMITS; i++) {
        unr_remote_emit(&crowd->remote, UNR_CANCEL_ALL, CAUSE);
        sched_yield();
    }
    return NULL;
}

static void *send_bytes(void *context)
{
    struct crowd *crowd = context;
    for (int i = 0; i < SENT; i++)
        must(write(crowd->fds[i % 2][1], "x", 1) == 1);
    return NULL;
}

static void receive_from_both(struct crowd *crowd)
{
    struct unr_op *members[2];
    for (int i = 0; i < 2; i++)
        members[i] =
            unr_recv(&crowd->receives[i], crowd->fds[i][0], crowd->in[i], sizeof crowd->in[i], 0);
    start(&crowd->seen,
          unr_bind_slot(unr_any(&crowd->group, members, 2), unr_signal_slot(&crowd->stop)));
}

static void count_from_both(struct seen *seen)
{
    struct crowd *crowd = seen->context;
    for (int i = 0; i < 2; i++)
        crowd->received += crowd->receives[i].result.bytes;
    if (crowd->received < SENT)
        receive_from_both(crowd);
}

/* A#1348, A#1029, A#1576 (groups and signals are not thread-safe across strands and
 * pools): other threads emit all the while a group receives, and there is neither a race nor a byte
 * lost.  See also thread/two_loops_exchange_and_cancel. */
Test(asio, group_is_cancelled_from_other_threads)
{
    static struct crowd crowd;
    pthread_t           threads[EMITTERS + 1];
    crowd.seen.then = count_from_both;
    crowd.seen.context = &crowd;
    unix_pair(crowd.fds[0]);
    unix_pair(crowd.fds[1]);
    unr_remote_init(&crowd.remote, loop, &crowd.stop);
    receive_from_both(&crowd);
    for (int i = 0; i <= EMITTERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, i ? emit_often : send_bytes, &crowd), 0);
    run();
    cr_assert_eq(crowd.received, SENT);
    for (int i = 0; i <= EMITTERS; i++)
        pthread_join(threads[i], NULL);
    unr_remote_disarm(&crowd.remote);
    cr_assert_eq(drain(crowd.fds[0][0]) + drain(crowd.fds[1][0]), 0);
    close_pair(crowd.fds[0]);
    close_pair(crowd.fds[1]);
    close_loop();
}

/* ---- 6.4, 6.5: groups and requests ---- */

struct launched {
    struct seen       seen;
    struct unr_group  group;
    struct unr_signal signal;
    struct own        owns[2];
    bool             *over;
};

static void ask_in_the_launch(struct own *own)
{
    struct launched *launched = own->context;
    cr_assert(unr_slot_has_handler(unr_signal_slot(&launched->signal)));
    cr_assert(unr_signal_emit_cause(&launched->signal, UNR_CANCEL_ALL, CAUSE)); /* and so ends */
}

static void after_the_launch(struct seen *seen)
{
    struct launched *launched = unr_container_of(seen, struct launched, seen);
    cr_assert_not(unr_slot_has_handler(unr_signal_slot(&launched->signal)));
    cr_assert_not(unr_signal_emit(&launched->signal, UNR_CANCEL_ALL));
    *launched->over = true;
}

/* A#1630, PR A#1756 (a group may complete during its launch, and its slot is touched
 * afterwards; what is emitted before the launch is over is lost): the handler is there before the
 * first member starts, a request from inside the launch ends who has not begun, and when all have
 * ended in it, a request is too late and the slot empty in `done`, which may free everything. */
Test(asio, group_ends_during_its_launch)
{
    for (int asks = 0; asks < 2; asks++) {
        struct launched *launched = calloc(1, sizeof *launched);
        bool             over = false;
        launched->over = &over;
        launched->seen.then = after_the_launch;
        launched->owns[0].at_start = asks ? ask_in_the_launch : fail_at_start;
        launched->owns[1].at_start = fail_at_start;
        launched->owns[0].context = launched;
        struct unr_op *members[] = { brew(&launched->owns[0], UNR_CANCEL_ALL),
                                     brew(&launched->owns[1], UNR_CANCEL_ALL) };
        start(&launched->seen,
              unr_bind_slot(unr_group(&launched->group, members, 2, unr_wait_all, NULL),
                            unr_signal_slot(&launched->signal)));
        cr_assert_eq(launched->owns[1].starts, asks ? 0 : 1);
        cr_assert_not(over);
        if (!asks)
            cr_assert(unr_signal_emit(&launched->signal, UNR_CANCEL_ALL));
        run();
        cr_assert(over);
        cr_assert_eq(launched->seen.result.error, asks ? -ECANCELED : 0);
        cr_assert_eq(launched->seen.result.verdict,
                     asks ? UNR_VERDICT_CANCELLED : UNR_VERDICT_TOO_LATE);
        free(launched);
    }
    close_loop();
}

/* boostorg/asio#458 (a request that is not terminal, to which one member of a group
 * reacts, kept the condition from cancelling the others): Asio's own test since.  The first member
 * honours PARTIAL alone and ends; the condition asks the second, which honours TERMINAL alone.
 * Both end, in this order, and the group says that it was cancelled, and why. */
Test(asio, request_that_ends_one_member_leaves_the_condition_to_end_the_other)
{
    static unr_group_condition_fn *const conditions[] = { unr_wait_one, unr_wait_one_error };
    for (size_t i = 0; i < LENGTH(conditions); i++) {
        struct unr_signal signal = { 0 };
        struct own        first = { 0 }, second = { 0 };
        struct unr_group  group = { 0 };
        struct seen       seen = { 0 };
        struct unr_op    *members[] = { brew(&first, UNR_CANCEL_PARTIAL),
                                        brew(&second, UNR_CANCEL_TERMINAL) };
        start(&seen, unr_bind_slot(unr_group(&group, members, 2, conditions[i], NULL),
                                   unr_signal_slot(&signal)));
        submit();
        cr_assert(unr_signal_emit_cause(&signal, UNR_CANCEL_PARTIAL, CAUSE));
        cr_assert(first.requests == 1 && second.requests == 0);
        run();
        cr_assert_eq(second.requests, 1);
        cr_assert(second.latest.types & UNR_CANCEL_TERMINAL);
        expect_cancelled(&seen, UNR_CANCEL_TERMINAL, UNR_VERDICT_CANCELLED, CAUSE);
        cr_assert_eq(seen.result.requested, UNR_CANCEL_PARTIAL);
        cr_assert_eq(unr_group_first(&group), &first.op);
        cr_assert_eq(unr_group_next(&first.op), &second.op);
        cr_assert_null(unr_group_next(&second.op));
    }
    close_loop();
}

/* The same with system calls: TOTAL ends the receive, and the write, which is PARTIAL, ends with
 * it; the peer has what it says. */
Test(asio, request_for_total_ends_the_partial_member_too)
{
    static char         bytes[1 << 20];
    struct unr_op       receive_op = { 0 };
    struct unr_transfer transfer = { 0 };
    struct unr_stream   stream;
    struct unr_group    group = { 0 };
    struct seen         seen = { 0 };
    char                in;
    int                 fds[2];
    unix_pair(fds);
    unr_stream_socket(&stream, fds[0]);
    struct unr_op *members[] = { unr_recv(&receive_op, fds[0], &in, 1, 0),
                                 unr_write_all(&transfer, &stream, bytes, sizeof bytes) };
    start(&seen, unr_group(&group, members, 2, unr_wait_one, NULL));
    while (!transfer.op.result.bytes)
        submit();
    cr_assert(unr_cancel_cause(&group.op, UNR_CANCEL_TOTAL, CAUSE));
    run();
    expect_cancelled(&seen, UNR_CANCEL_PARTIAL, UNR_VERDICT_CANCELLED, CAUSE);
    cr_assert_eq(transfer.op.result.error, -ECANCELED);
    cr_assert_eq(drain(fds[1]), transfer.op.result.bytes);
    close_pair(fds);
    close_loop();
}

/* ---- 6.7: messages ---- */

/* A#1041, A#1078 (a receive that loses in a || b has taken its message, which is
 * gone): two peers send messages, now one of them, now both, and whoever wins, each message is in a
 * member or still in its socket.  See also group/any_loses_no_message. */
Test(asio, messages_of_two_senders_all_arrive)
{
    enum { ROUNDS = 200 };
    struct unr_op    ops[2] = { 0 };
    struct unr_group group = { 0 };
    uint32_t         sent[2] = { 0 }, received[2] = { 0 }, in[2];
    int              fds[2][2];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds[i]), 0);
    for (int round = 0; received[0] + received[1] < sent[0] + sent[1] || round < ROUNDS; round++) {
        struct seen    seen = { 0 };
        struct unr_op *members[2];
        for (int i = 0; i < 2; i++)
            members[i] = unr_recv(&ops[i], fds[i][0], &in[i], sizeof in[i], 0);
        start(&seen, unr_any(&group, members, 2));
        if (round % 3)
            submit();
        for (int i = 0; i < 2 && round < ROUNDS; i++)
            if ((round % 7 + i) % 3 != 1) {
                cr_assert_eq(write(fds[i][1], &sent[i], sizeof sent[i]), sizeof sent[i]);
                sent[i]++;
            }
        if (received[0] + received[1] == sent[0] + sent[1])
            unr_cancel(&group.op, UNR_CANCEL_ALL);
        finish(&seen);
        for (int i = 0; i < 2; i++)
            if (ops[i].result.error == 0)
                cr_assert_eq(in[i], received[i]++);
    }
    cr_assert(received[0] == sent[0] && received[1] == sent[1]);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(drain(fds[i][0]), 0);
        close_pair(fds[i]);
    }
    close_loop();
}

/* ---- 6.8, 6.16: closing ---- */

/* A#1318, A#1575 (close leaves blocked senders waiting), and axboe/liburing#568
 * (closing a descriptor cancels nothing): unr_cancel_close() ends every sender and receiver that
 * waits, says why, and then closes.  A#1241 (a cancelled receiver makes the next send fail): after
 * a cancelled send and a cancelled receive the next ones work. */
Test(asio, closing_ends_senders_that_wait)
{
    struct seen senders[3] = { 0 }, receiver = { 0 }, closing = { 0 };
    static char bytes[100];
    char        in[8];
    int         fds[2];
    unix_pair(fds);
    for (int again = 0; again < 2; again++) {
        size_t filled = fill(fds[0]), sent = 0;
        start(&senders[0], unr_send(&senders[0].op, fds[0], bytes, sizeof bytes, 0));
        start(&receiver, unr_recv(&receiver.op, fds[0], in, sizeof in, 0));
        submit();
        cr_assert_eq(unr_cancel_fd(loop, fds[0], UNR_CANCEL_TOTAL), 2);
        run();
        cr_assert(senders[0].result.error == -ECANCELED && receiver.result.error == -ECANCELED);
        cr_assert_eq(empty(fds[1]), filled);
        start(&senders[0], unr_send(&senders[0].op, fds[0], bytes, sizeof bytes, 0));
        start(&receiver, unr_recv(&receiver.op, fds[0], in, sizeof in, 0));
        send_text(fds[1], "12345");
        run();
        sent = senders[0].result.bytes;
        cr_assert(sent > 0 && empty(fds[1]) == sent && receiver.result.bytes == 5);
    }
    size_t filled = fill(fds[0]);
    memset(senders, 0, sizeof senders);
    memset(&receiver, 0, sizeof receiver);
    for (int i = 0; i < 3; i++)
        start(&senders[i], unr_send(&senders[i].op, fds[0], bytes, sizeof bytes, 0));
    start(&receiver, unr_recv(&receiver.op, fds[0], in, sizeof in, 0));
    submit();
    start(&closing, unr_cancel_close(&closing.op, fds[0]));
    run();
    for (int i = 0; i < 3; i++)
        expect_cancelled(&senders[i], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    expect_cancelled(&receiver, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ESHUTDOWN);
    cr_assert(closing.runs == 1 && closing.result.error == 0);
    cr_assert_eq(empty(fds[1]), filled);
    cr_assert_eq(read(fds[1], in, 1), 0);
    close(fds[1]);
    close_loop();
}

/* ---- 6.10: what cannot be cancelled ---- */

/* A#1345, zeromq/azmq#209 (an operation that ignores its slot makes || hang): a group
 * that holds such a member waits for it, since its memory is lent, and its result says REFUSED; one
 * that holds a join of it ends at once, and leaves it running. */
Test(asio, what_cannot_be_cancelled_need_not_hold_a_group)
{
    for (int joined = 0; joined < 2; joined++) {
        struct own       stubborn = { 0 };
        struct seen      seen = { 0 }, other = { 0 };
        struct unr_join  join = { 0 };
        struct unr_op    receive_op = { 0 };
        struct unr_group group = { 0 };
        char             in[8];
        int              fds[2];
        unix_pair(fds);
        struct unr_op *members[] = { brew(&stubborn, 0),
                                     unr_recv(&receive_op, fds[0], in, sizeof in, 0) };
        if (joined) {
            start(&other, members[0]);
            members[0] = unr_join(&join, &stubborn.op);
        }
        start(&seen, unr_any(&group, members, 2));
        submit();
        send_text(fds[1], "12345");
        while (unr_in_flight(&receive_op))
            cr_assert_geq(unr_loop_run_once(loop, UNR_SEC(10)), 0);
        submit();
        cr_assert_eq(seen.runs, joined);
        cr_assert(unr_in_flight(&stubborn.op));
        unr_finish(&stubborn.op, 0);
        run();
        cr_assert_eq(seen.runs, 1);
        cr_assert(seen.result.error == 0 && seen.result.value == 1 && receive_op.result.bytes == 5);
        cr_assert_eq(stubborn.op.result.error, 0);
        cr_assert_eq(stubborn.op.result.verdict, joined ? UNR_VERDICT_NONE : UNR_VERDICT_REFUSED);
        close_pair(fds);
    }
    close_loop();
}

/* ---- 6.11: signals ---- */

/* A#1549, boostorg/cobalt#217 (one signal serves one operation), A#1638 (it cannot be
 * moved), A#1452 (it must outlive what it cancels): one emit reaches any number of operations, each
 * of which can be reached by itself, by its session and by the server; an idle signal is plain
 * memory; and none is needed to cancel. */
Test(asio, one_request_reaches_many_and_one_is_reached_by_many)
{
    enum { COUNT = 4, BY_ITSELF = 0, BY_ITS_SESSION, BY_THE_SERVER, WITHOUT_A_SIGNAL, WAYS };
    for (int way = 0; way < WAYS; way++) {
        struct unr_signal server = { 0 }, sessions[2] = { 0 }, idle = { 0 }, signals[COUNT];
        struct seen       receives[COUNT] = { 0 };
        char              in[COUNT];
        int               fds[2];
        unix_pair(fds);
        for (int i = 0; i < 2; i++)
            unr_signal_attach(&sessions[i], &server);
        for (int i = 0; i < COUNT; i++) {
            signals[i] = idle;
            unr_signal_attach(&signals[i], &sessions[i / 2]);
            start(&receives[i], unr_bind_slot(unr_recv(&receives[i].op, fds[0], &in[i], 1, 0),
                                              unr_signal_slot(&signals[i])));
        }
        submit();
        switch (way) {
        case BY_ITSELF: cr_assert(unr_signal_emit(&signals[0], UNR_CANCEL_ALL)); break;
        case BY_ITS_SESSION: cr_assert(unr_signal_emit(&sessions[0], UNR_CANCEL_ALL)); break;
        case BY_THE_SERVER: cr_assert(unr_signal_emit(&server, UNR_CANCEL_ALL)); break;
        default: cr_assert(unr_cancel(&receives[0].op, UNR_CANCEL_ALL));
        }
        int reached = way == BY_ITS_SESSION ? 2 : way == BY_THE_SERVER ? COUNT : 1;
        for (int i = 0; i < reached; i++)
            finish(&receives[i]);
        submit();
        for (int i = 0; i < COUNT; i++)
            cr_assert_eq(receives[i].runs, i < reached);
        unr_signal_emit(&server, UNR_CANCEL_ALL);
        run();
        for (int i = 0; i < COUNT; i++)
            expect_cancelled(&receives[i], UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        close_pair(fds);
    }
    close_loop();
}

/* ---- 6.12: time-outs ---- */

/* A ping, and a pong that never comes. */
struct ping {
    struct unr_compose  compose;
    struct unr_stream   stream;
    struct unr_transfer transfer;
    struct unr_deadline deadline;
    struct unr_filter   filter;
    struct unr_group    group;
    struct unr_delay    delay;
    struct unr_op       others[2];
    struct seen         seen;
    char                in[4];
    int                 fds[2];
};

static void step_of_ping(struct unr_compose *self, struct unr_op *finished)
{
    struct ping *ping = unr_container_of(self, struct ping, compose);
    if (finished && finished->result.error)
        unr_compose_end(self, finished->result.error);
    else if (!finished)
        unr_compose_next(self, unr_write_all(&ping->transfer, &ping->stream, "ping", 4));
    else if (self->op.result.value++ == 0)
        unr_compose_next(self, unr_read_exact(&ping->transfer, &ping->stream, ping->in, 4));
    else
        unr_compose_end(self, 0);
}

enum around { NOTHING, A_FILTER, ALL, ANY, A_DELAY, A_DEADLINE, AROUNDS };

static struct unr_op *put_around(struct ping *ping, enum around around, struct unr_op *op,
                                 struct unr_deadline *outer)
{
    switch (around) {
    case NOTHING: return op;
    case A_FILTER: return unr_filter(&ping->filter, op, unr_let_total, NULL);
    case ALL: return unr_all(&ping->group, (struct unr_op *[]){ unr_nop(&ping->others[0]), op }, 2);
    case ANY: return unr_any(&ping->group, &op, 1);
    case A_DELAY: return unr_delay(&ping->delay, op, 0);
    default: return unr_cancel_after(outer, op, UNR_SEC(1000));
    }
}

/* eidheim/Simple-Web-Server#225, boostorg/redis#321 (a time-out, of a ping say, is
 * reported as operation_aborted), boostorg/redis#226 (cancel_after needs an executor that is
 * bound), boostorg/asio#469 (one overload does something else): with either form of the deadline
 * and whatever is around it, a time-out reads as one, and a cancellation does not. */
Test(asio, time_out_is_told_from_a_cancellation)
{
    for (enum around around = 0; around < AROUNDS; around++)
        for (int after = 0; after < 2; after++)
            for (int times_out = 0; times_out < 2; times_out++) {
                struct ping         ping = { 0 };
                struct unr_deadline outer = { 0 };
                unix_pair(ping.fds);
                unr_stream_socket(&ping.stream, ping.fds[0]);
                struct unr_op *op =
                    unr_compose(&ping.compose, "ping", UNR_CANCEL_PARTIAL, step_of_ping);
                op = after ? unr_cancel_after(&ping.deadline, op, UNR_SEC(1000))
                           : unr_cancel_at(&ping.deadline, op, unr_loop_now(loop) + UNR_SEC(1000));
                op = put_around(&ping, around, op, &outer);
                start(&ping.seen, op);
                while (ping.compose.op.result.value < 1)
                    submit();
                submit();
                cr_assert_eq(ping.seen.runs, 0);
                if (times_out)
                    cr_assert(unr_deadline_move(&ping.deadline, 1));
                else
                    cr_assert(unr_cancel(op, UNR_CANCEL_ALL));
                finish(&ping.seen);
                run();
                cr_assert_eq(ping.seen.result.error, -ECANCELED);
                cr_assert_eq(unr_timed_out(&ping.seen.result), times_out);
                cr_assert_eq(unr_outcome(&ping.seen.result), times_out ? -ETIMEDOUT : -ECANCELED);
                cr_assert_eq(drain(ping.fds[1]), 4);
                close_pair(ping.fds);
            }
    close_loop();
}

/* ---- 6.14: chains ---- */

struct chain {
    struct unr_compose compose;
    struct unr_delay   delay;
    struct unr_signal  stop;
    struct seen        seen;
    struct unr_op      nop;
    int                steps, asked_at, saw_at;
};

/* Ten steps, which look at their state, and end when they choose to. */
static void step_of_chain(struct unr_compose *self, struct unr_op *finished)
{
    struct chain *chain = unr_container_of(self, struct chain, compose);
    cr_assert(!finished || !finished->result.error);
    if (chain->steps++ == chain->asked_at)
        unr_signal_emit_cause(&chain->stop, UNR_CANCEL_TOTAL, CAUSE);
    if (unr_state_cancelled(unr_compose_state(self))) {
        chain->saw_at = chain->steps;
        cr_assert_eq(unr_state_cause(unr_compose_state(self)), CAUSE);
        unr_compose_end(self, -ECANCELED);
    } else if (chain->steps == 10) {
        unr_compose_end(self, 0);
    } else {
        unr_compose_next(self, unr_nop(&chain->nop));
    }
}

/* A#1166 (a deferred chain cannot see that it was cancelled): a chain that begins
 * later ends before it begins when it is asked in the meantime, and once it runs each of its steps
 * sees a request, and who made it, also where that interrupts nothing. */
Test(asio, deferred_chain_sees_a_request)
{
    for (int asked_at = -1; asked_at <= 10; asked_at++) {
        struct chain chain = { .asked_at = asked_at };
        unr_compose(&chain.compose, "chain", UNR_CANCEL_TOTAL, step_of_chain);
        unr_state_reset(unr_compose_state(&chain.compose), unr_let_total, unr_let_none, NULL);
        start(&chain.seen, unr_bind_slot(unr_delay(&chain.delay, &chain.compose.op,
                                                   asked_at < 0 ? UNR_SEC(1000) : 0),
                                         unr_signal_slot(&chain.stop)));
        if (asked_at < 0)
            cr_assert(unr_signal_emit_cause(&chain.stop, UNR_CANCEL_TOTAL, CAUSE));
        run();
        if (asked_at == 10)
            cr_assert(chain.seen.result.error == 0 && chain.steps == 10);
        else
            cr_assert(chain.seen.result.error == -ECANCELED && chain.seen.result.cause == CAUSE);
        cr_assert_eq(chain.steps, asked_at + 1 - (asked_at == 10));
        cr_assert_eq(chain.saw_at, asked_at < 0 || asked_at == 10 ? 0 : chain.steps);
    }
    close_loop();
}

/* ---- 6.15: frames ---- */

/* boostorg/beast#2325, boostorg/beast#1117 (framed protocols cannot safely cancel,
 * nor say farewell after it): the writer of frames is cancelled in the middle of each, which its
 * count lets it complete, and the reader after every step; each frame arrives once, and whole, and
 * when all reads were cancelled there is still a farewell in either direction. */
Test(asio, frames_survive_cancelled_reads_and_writes)
{
    enum { FRAMES = 20, PAYLOAD = 300000 };
    static unsigned char frame[4 + PAYLOAD];
    struct unr_stream    from, to;
    struct unr_framing   framing = { 0 };
    struct unr_buffer    buffer = { 0 };
    struct unr_reader    reader = { 0 };
    struct unr_transfer  transfer = { 0 };
    int                  fds[2], cancelled_reads = 0, cancelled_writes = 0;
    unix_pair(fds);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &(int){ 16384 }, sizeof(int)), 0);
    unr_stream_socket(&to, fds[0]);
    unr_stream_socket(&from, fds[1]);
    unr_framing_length(&framing, 0, 4, UNR_BIG_ENDIAN, 4, sizeof frame);
    unr_buffer_init(&buffer, 2 * sizeof frame);
    frame[1] = PAYLOAD >> 16, frame[2] = PAYLOAD >> 8 & 0xff, frame[3] = PAYLOAD & 0xff;
    for (int i = 0; i < FRAMES; i++) {
        size_t written = 0;
        memset(frame + 4, 'a' + i, PAYLOAD);
        for (bool whole = false; !whole;) {
            struct seen writing = { 0 }, reading = { 0 };
            start(&writing, unr_write_all(&transfer, &to, frame + written, sizeof frame - written));
            start(&reading, unr_read_frame(&reader, &from, &buffer, &framing));
            submit();
            unr_cancel(&transfer.op, UNR_CANCEL_PARTIAL);
            unr_cancel(&reader.op, UNR_CANCEL_TOTAL);
            run();
            written += writing.result.bytes;
            cancelled_writes += writing.result.error == -ECANCELED;
            cancelled_reads += reading.result.error == -ECANCELED;
            if (reading.result.error == -ECANCELED)
                cr_assert_eq(reading.result.guarantee, UNR_CANCEL_TOTAL);
            whole = reading.result.error == 0;
            if (whole)
                cr_assert_eq(reading.result.bytes, sizeof frame);
        }
        cr_assert_eq(written, sizeof frame);
        cr_assert_eq(memcmp(unr_buffer_data(&buffer, NULL), frame, sizeof frame), 0);
        unr_buffer_consume(&buffer, sizeof frame);
    }
    for (int way = 0; way < 2; way++) {
        struct seen waiting = { 0 }, farewell = { 0 }, reading = { 0 };
        start(&waiting, unr_read_frame(&reader, way ? &to : &from, &buffer, &framing));
        submit();
        unr_cancel(&reader.op, UNR_CANCEL_TOTAL);
        run();
        expect_cancelled(&waiting, UNR_CANCEL_TOTAL, UNR_VERDICT_CANCELLED, -ECANCELED);
        start(&farewell, unr_write_all(&transfer, way ? &from : &to, "\0\0\0\003bye", 7));
        start(&reading, unr_read_frame(&reader, way ? &to : &from, &buffer, &framing));
        run();
        cr_assert(reading.result.error == 0 && reading.result.bytes == 7);
        cr_assert_eq(memcmp(unr_buffer_data(&buffer, NULL), "\0\0\0\003bye", 7), 0);
        unr_buffer_consume(&buffer, 7);
    }
    size_t left;
    unr_buffer_data(&buffer, &left);
    cr_assert_eq(left + drain(fds[1]), 0);
    cr_assert(cancelled_writes > 0 && cancelled_reads > 0);
    unr_buffer_free(&buffer);
    close_pair(fds);
    close_loop();
}

/* ---- 6.16: timers ---- */

static void __attribute__((noinline)) overwrite_the_stack(void)
{
    volatile char bytes[4096];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)0xa5;
}

static void __attribute__((noinline))
start_with_a_time_on_the_stack(struct seen *seen, struct unr_timer *timer,
                               struct unr_deadline *deadline)
{
    volatile unr_time soon = 1000, late = UNR_SEC(1000);
    start(seen, unr_cancel_after(deadline, unr_timer_after(timer, soon), late));
}

/* A#1530 (a timer fires once, and then after 301 s), A#1284 (a time on the stack is
 * used when that is gone): a timer that is started anew, with a deadline around it that is not
 * reached and beside one that is far away, fires each time. */
Test(asio, timer_fires_again_and_again)
{
    enum { TIMES = 1000 };
    struct unr_timer    timer = { 0 }, far = { 0 };
    struct unr_deadline deadline = { 0 };
    struct seen         far_one = { 0 };
    start(&far_one, unr_timer_after(&far, UNR_SEC(3600)));
    unr_time begin = unr_loop_now(loop);
    for (int i = 0; i < TIMES; i++) {
        struct seen seen = { 0 };
        start_with_a_time_on_the_stack(&seen, &timer, &deadline);
        overwrite_the_stack();
        while (!seen.runs)
            cr_assert_geq(unr_loop_run_once(loop, UNR_NEVER), 0);
        cr_assert_eq(seen.result.error, 0);
    }
    cr_assert_geq(unr_loop_now(loop) - begin, TIMES * 1000);
    cr_assert_eq(far_one.runs, 0);
    cr_assert(unr_timer_move(&far, 1));
    run();
    cr_assert_eq(far_one.result.error, 0);
    close_loop();
}

/* ---- 6.17: a race in which one is ready at once ---- */

static void succeed_at_start(struct own *own)
{
    unr_finish(&own->op, 0);
}

/* boostorg/cobalt#168 (where the first of a race is ready at once, the cancellation
 * of the other is thrown): wherever the one that is ready stands, and whether it succeeds or fails,
 * the group reports what its condition makes of that one, and never the cancellation of the other,
 * which has ended before `done` and has taken no byte. */
Test(asio, race_with_one_that_is_ready_reports_that_one)
{
    static unr_group_condition_fn *const conditions[] = { unr_wait_one, unr_wait_one_success,
                                                          unr_wait_one, unr_wait_one_error };
    static const int                     errors[] = { 0, 0, 0, -EPIPE };
    for (size_t i = 0; i < LENGTH(conditions); i++)
        for (int ready = 0; ready < 2; ready++) {
            struct own       at_once = { .at_start = i < 2 ? succeed_at_start : fail_at_start };
            struct unr_op    receive_op = { 0 };
            struct unr_group group = { 0 };
            struct seen      seen = { 0 };
            char             in[8];
            int              fds[2];
            unix_pair(fds);
            struct unr_op *members[2];
            members[ready] = brew(&at_once, UNR_CANCEL_ALL);
            members[!ready] = unr_recv(&receive_op, fds[0], in, sizeof in, 0);
            start(&seen, unr_group(&group, members, 2, conditions[i], NULL));
            run();
            cr_assert_eq(seen.runs, 1);
            cr_assert_eq(seen.result.error, errors[i]);
            cr_assert_eq(seen.result.value, ready);
            cr_assert_eq(seen.result.verdict, UNR_VERDICT_NONE);
            cr_assert_eq(at_once.op.result.error, i < 2 ? 0 : -EPIPE);
            cr_assert_eq(receive_op.result.error, -ECANCELED);
            cr_assert_eq(receive_op.result.guarantee, UNR_CANCEL_TOTAL);
            send_text(fds[1], "12345");
            cr_assert_eq(drain(fds[0]), 5);
            close_pair(fds);
        }
    close_loop();
}
