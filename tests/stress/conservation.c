/* SPDX-License-Identifier: MIT */
/* Conservation: whatever is cancelled, what the results count is what moved.
 *
 * Two processes, each with a loop of its own, one of them a plain one.
 *
 *   tcp, unix, pipe   They exchange streams in both directions whose bytes tell where in the stream
 *   they belong, with every
 *                     call that can read and write them.  Most operations are asked to cancel:
 *                     before they start, before they are submitted, turns later, twice, from inside
 *                     a `done`, for all types or some.  Each side goes on in its stream by what the
 *                     results say.  So a byte that a cancelled operation took or gave without
 *                     counting it, or counted without moving it, shows as a wrong byte at the other
 *                     side, or as one too few or too many at the end, when both tell each other
 *                     what they have counted.
 *   connections       One side connects, over TCP and unix sockets, the other accepts.  Each
 *   connection that was reported to
 *                     the one is found once by the other, accepted or in the backlog, and no other
 *                     that works. */
#include "stress.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { CANCELS = 1000000, FEW_CANCELS = 20000 };

static uint64_t cancelled; /* operations of this process, in flight */
static int      control;   /* a socket to the other process */

/* ---- requests at random times ---- */

/* An operation that is to be cancelled, and what was asked of it. */
struct victim {
    struct victim    *next;
    struct unr_op    *op;
    struct unr_signal signal; /* latched: it is used for one operation only */
    struct asked      asked;
    int               fd;
    int               turns;    /* until the next request; -1: none is planned */
    bool              must_end; /* it may wait for ever */
    bool              hidden;   /* it is on no descriptor, as it has not begun */
};

static struct victim *victims;
static unsigned       planned; /* victims with a request to come */

static void enlist(struct victim *v)
{
    v->turns = -1;
    v->next = victims;
    victims = v;
}

static void plan(struct victim *v, int turns)
{
    planned += (turns >= 0) - (v->turns >= 0);
    v->turns = turns;
}

static void note(struct victim *v, unsigned types, int cause)
{
    note_request(&v->asked, unr_supports(v->op), types, cause);
}

/* Describes what becomes of an operation that is about to start; it is described already. */
static void lead_astray(struct victim *v, struct unr_op *op, int fd, bool must_end)
{
    v->op = op;
    v->fd = fd;
    v->asked = (struct asked){ 0 };
    v->must_end = must_end;
    v->hidden =
        strcmp(op->type->name, "sqe") == 0; /* the descriptor is in its SQE, once that is filled */
    unr_signal_init_latched(&v->signal);
    if (one_in(8)) { /* no slot: only unr_cancel() and unr_cancel_fd() reach it */
    } else if (one_in(10)) {
        unsigned types = random_types();
        unr_signal_emit_cause(&v->signal, types, -1000);
        unr_bind_slot(op, unr_signal_slot(&v->signal));
        note(v, types, -1000);
        v->hidden |= v->asked.honoured != 0;
    } else {
        unr_bind_slot(op, unr_signal_slot(&v->signal));
    }
    plan(v, one_in(2) && !must_end ? -1 : (int)below(one_in(2) ? 2 : must_end ? 200 : 16));
}

/* Whether every operation on a descriptor can be found by it. */
static bool all_known_on(int fd)
{
    for (const struct victim *v = victims; v; v = v->next)
        if (v->fd == fd && v->hidden && unr_in_flight(v->op))
            return false;
    return true;
}

/* Requests cancellation of all that is in flight on a descriptor. */
static void ask_all_on(int fd, unsigned types)
{
    unsigned count = 0;
    for (struct victim *v = victims; v; v = v->next)
        if (v->fd == fd && v->op && unr_in_flight(v->op)) {
            note(v, types, -ECANCELED);
            count++;
        }
    unsigned found = unr_cancel_fd(loop, fd, types);
    if (found > count) /* some have completed */
        fail("%u operations honoured unr_cancel_fd(), of %u", found, count);
}

/* Requests cancellation in one way or another. */
static void ask(struct victim *v)
{
    unsigned types = random_types();
    int      cause = -1001 - (int)below(100);
    if (one_in(6) && all_known_on(v->fd)) {
        ask_all_on(v->fd, types);
    } else if (one_in(3) && unr_slot_has_handler(unr_signal_slot(&v->signal))) {
        bool supported = types & unr_supports(v->op);
        note(v, types, cause);
        check(unr_signal_emit_cause(&v->signal, types, cause) <= supported);
    } else {
        note(v, types, cause);
        check(unr_cancel_cause(v->op, types, cause));
    }
    plan(v, v->must_end || one_in(4) ? 1 + (int)below(16) : -1);
}

/* A turn has passed: asks if it is time. */
static void pass_turn(struct victim *v)
{
    if (v->turns > 0)
        v->turns--;
    else if (v->turns == 0)
        ask(v);
}

/* Its operation has ended; true: cancelled. */
static bool account(struct victim *v)
{
    plan(v, -1);
    check_result(v->op, &v->asked, unr_supports(v->op));
    check(!unr_slot_has_handler(unr_signal_slot(&v->signal)));
    cancelled += v->op->result.verdict == UNR_VERDICT_CANCELLED;
    return v->op->result.error == -ECANCELED;
}

/* ---- streams ---- */

enum { STREAMS = 6, BUFFER = 16384, UNTOUCHED = 0xa5, LOOKED_AT = 512 };

/* This process's end of one direction of a stream. */
struct flow {
    struct unr_op op;
    struct victim victim;
    int           fd;
    bool          is_socket, is_tcp, writes, stopped, all;
    bool dribbles; /* the one writes little at a time, the other waits for much: on its way from one
                      part to the next, the kernel does not find the operation that a cancel is for
                    */
    uint64_t       salt;
    uint64_t       offset; /* bytes counted */
    uint64_t       end;    /* of the stream, as the other side has counted; UINT64_MAX: not known */
    size_t         len;
    struct iovec   iov[2];
    struct msghdr  msg;
    unsigned char *buffer;
};

static struct flow flows[STREAMS * 2]; /* one that writes and one that reads of each stream */

struct told {
    uint64_t offsets[STREAMS];
};

static uint64_t word_at(const struct flow *f, uint64_t index)
{
    return mix(index ^ f->salt);
}

static unsigned char byte_at(const struct flow *f, uint64_t offset)
{
    return (unsigned char)(word_at(f, offset / 8) >> offset % 8 * 8);
}

static void write_pattern(struct flow *f)
{
    size_t   i = 0;
    uint64_t offset = f->offset;
    for (; i < f->len && (offset + i) % 8; i++)
        f->buffer[i] = byte_at(f, offset + i);
    for (; i + 8 <= f->len; i += 8) {
        uint64_t word = word_at(f, (offset + i) / 8);
        memcpy(f->buffer + i, &word, 8);
    }
    for (; i < f->len; i++)
        f->buffer[i] = byte_at(f, offset + i);
}

static void check_pattern(const struct flow *f, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (f->buffer[i] != byte_at(f, f->offset + i))
            fail("stream %zu, a wrong byte at offset %" PRIu64 ", %zu into a read of %zu by %s",
                 (size_t)(f - flows) / 2, f->offset + i, i, len, f->op.type->name);
}

/* Nothing was written behind the bytes that were counted. */
static void check_untouched(const struct flow *f, size_t len)
{
    for (size_t i = len; i < f->len && i < LOOKED_AT; i++)
        if (f->buffer[i] != UNTOUCHED)
            fail("stream %zu, byte %zu of the buffer was touched, though %s says that it read %zu",
                 (size_t)(f - flows) / 2, i, f->op.type->name, len);
}

static struct msghdr *message(struct flow *f)
{
    size_t first = below((unsigned)f->len + 1);
    f->iov[0] = (struct iovec){ f->buffer, first };
    f->iov[1] = (struct iovec){ f->buffer + first, f->len - first };
    f->msg = (struct msghdr){ .msg_iov = f->iov, .msg_iovlen = 2 };
    return &f->msg;
}

static void fill_recv(void *sqe, void *context)
{
    struct flow *f = context;
    io_uring_prep_recv(sqe, f->fd, f->buffer, f->len, 0);
}

static void fill_send_zc(void *sqe, void *context)
{
    struct flow *f = context;
    io_uring_prep_send_zc(sqe, f->fd, f->buffer, f->len, MSG_NOSIGNAL, 0);
}

static struct unr_op *describe_read(struct flow *f)
{
    int flags = f->all ? MSG_WAITALL : 0;
    switch (f->all ? 2 + below(2) : below(f->is_socket ? 5 : 2)) {
    case 0: return unr_read(&f->op, f->fd, f->buffer, f->len, -1);
    case 1: return unr_readv(&f->op, f->fd, message(f)->msg_iov, 2, -1);
    case 2: return unr_recv(&f->op, f->fd, f->buffer, f->len, flags);
    case 3: return unr_recvmsg(&f->op, f->fd, message(f), flags);
    default: return unr_sqe(&f->op, "recv by SQE", UNR_CANCEL_ALL, fill_recv, f);
    }
}

static struct unr_op *describe_write(struct flow *f)
{
    int flags = f->all ? MSG_WAITALL : 0;
    switch (f->all ? 2 + below(2) : below(f->is_tcp ? 5 : f->is_socket ? 4 : 2)) {
    case 0: return unr_write(&f->op, f->fd, f->buffer, f->len, -1);
    case 1: return unr_writev(&f->op, f->fd, message(f)->msg_iov, 2, -1);
    case 2: return unr_send(&f->op, f->fd, f->buffer, f->len, flags);
    case 3: return unr_sendmsg(&f->op, f->fd, message(f), flags);
    default: return unr_sqe(&f->op, "send_zc by SQE", UNR_CANCEL_ALL, fill_send_zc, f);
    }
}

static void transferred(struct unr_op *op);

static void start_flow(struct flow *f)
{
    struct unr_op *described;
    f->len = 1 + below(one_in(4) ? 16 : one_in(2) ? 512 : BUFFER);
    f->all = f->is_socket && one_in(4);
    if (f->dribbles && f->writes)
        f->len = 1 + below(2);
    else if (f->dribbles)
        f->all = f->is_socket;
    if (f->writes) {
        write_pattern(f);
        described = describe_write(f);
    } else {
        memset(f->buffer, UNTOUCHED, f->len < LOOKED_AT ? f->len : LOOKED_AT);
        described = describe_read(f);
    }
    /* MSG_WAITALL waits for what may never be written. */
    lead_astray(&f->victim, described, f->fd, f->all && !f->writes);
    unr_start(loop, described, transferred, f);
    if (unr_in_flight(&f->op) && f->victim.turns == 0 && one_in(2))
        ask(&f->victim);
}

static bool may_start(const struct flow *f)
{
    return !f->stopped && f->offset < f->end;
}

static void ask_another(void)
{
    struct flow *f = &flows[below(STREAMS * 2)];
    if (unr_in_flight(&f->op))
        ask(&f->victim);
}

static void transferred(struct unr_op *op)
{
    struct flow *f = op->data;
    if (op->result.error != 0 && op->result.error != -ECANCELED)
        fail("stream %zu at offset %" PRIu64 ": %s", (size_t)(f - flows) / 2, f->offset,
             unr_explain_op(op));
    bool   was_cancelled = account(&f->victim);
    size_t n = op->result.bytes; /* of unr_sqe() too: a result's counts share their place */
    if (n > f->len || (n == 0 && !was_cancelled))
        fail("stream %zu at offset %" PRIu64 ", %zu bytes wanted: %s", (size_t)(f - flows) / 2,
             f->offset, f->len, unr_explain_op(op));
    if (!f->writes) {
        check_pattern(f, n);
        check_untouched(f, n);
    }
    f->offset += n;
    if (one_in(8))
        ask_another();
    if (may_start(f) && one_in(2))
        start_flow(f);
}

/* ---- the end of an exchange: both sides tell what they have written, then what they have read
 * ---- */

static struct unr_op listening;
static struct told   heard;
static unsigned      heard_count;

static void heard_it(struct unr_op *op)
{
    if (op->result.error != 0 || op->result.bytes != sizeof heard)
        fail("the other process has gone");
    heard_count++;
}

static void tell(bool written)
{
    struct told told;
    for (unsigned i = 0; i < STREAMS; i++)
        told.offsets[i] = flows[i * 2 + !written].offset;
    must(send(control, &told, sizeof told, MSG_NOSIGNAL));
}

static void hear(void)
{
    unr_start(loop, unr_recv(&listening, control, &heard, sizeof heard, 0), heard_it, NULL);
}

static bool has_stopped(bool writes)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        const struct flow *f = &flows[i * 2 + !writes];
        if (unr_in_flight(&f->op) || (writes ? !f->stopped : f->offset < f->end))
            return false;
    }
    return true;
}

static void run_flows(void)
{
    for (unsigned i = 0; i < STREAMS * 2; i++) {
        struct flow *f = &flows[i];
        if (unr_in_flight(&f->op)) {
            pass_turn(&f->victim);
            /* Nothing will come any more. */
            if (f->offset == f->end) {
                note(&f->victim, UNR_CANCEL_ALL, -ESHUTDOWN);
                unr_cancel_cause(&f->op, UNR_CANCEL_ALL, -ESHUTDOWN);
            }
        } else if (may_start(f) && (planned == 0 || one_in(2))) {
            start_flow(f);
        }
    }
    turn(planned ? 0 : UNR_NEVER);
}

static void learn_ends(void)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        struct flow *f = &flows[i * 2 + 1];
        f->end = heard.offsets[i];
        if (f->offset > f->end)
            fail("stream %u: %" PRIu64 " bytes were read, and only %" PRIu64 " written", i,
                 f->offset, f->end);
    }
}

static void check_ends(void)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        struct flow  *reads = &flows[i * 2 + 1];
        struct pollfd poll_fd = { .fd = reads->fd, .events = POLLIN };
        if (flows[i * 2].offset != heard.offsets[i])
            fail("stream %u: %" PRIu64 " bytes were written, and %" PRIu64 " read", i,
                 flows[i * 2].offset, heard.offsets[i]);
        if (poll(&poll_fd, 1, 0) != 0)
            fail("stream %u: there is more behind the %" PRIu64 " bytes that were written", i,
                 reads->offset);
    }
}

static void exchange(uint64_t cancels)
{
    hear();
    while (cancelled < cancels)
        run_flows();
    for (unsigned i = 0; i < STREAMS; i++)
        flows[i * 2].stopped = true;
    while (!has_stopped(true))
        run_flows();
    tell(true);
    while (heard_count < 1)
        run_flows();
    learn_ends();
    hear();
    while (!has_stopped(false))
        run_flows();
    tell(false);
    while (heard_count < 2)
        turn(UNR_NEVER);
    check_ends();
}

/* ---- transports ---- */

static void narrow(int fd, int size)
{
    must(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    must(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size));
}

static struct sockaddr_in loopback(void)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int tcp_socket(struct sockaddr_in *ret_address)
{
    const int           one = 1;
    const struct linger none = { .l_onoff = 1 };
    struct sockaddr_in  any = loopback();
    socklen_t           len = sizeof any;
    int                 fd = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none,
                    sizeof none)); /* no port waits for a lost segment */
    must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    if (ret_address) {
        must(bind(fd, (struct sockaddr *)&any, len));
        must(getsockname(fd, (struct sockaddr *)&any, &len));
        *ret_address = any;
    }
    return fd;
}

static void tcp_pair(int ret_ends[2])
{
    struct sockaddr_in address;
    int                listener = tcp_socket(&address);
    narrow(listener, 65536);
    must(listen(listener, 1));
    ret_ends[0] = tcp_socket(NULL);
    narrow(ret_ends[0], 65536);
    must(connect(ret_ends[0], (struct sockaddr *)&address, sizeof address));
    ret_ends[1] = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    close(listener);
}

static void unix_pair(int ret_ends[2])
{
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_ends));
    narrow(ret_ends[0], 8192);
    narrow(ret_ends[1], 8192);
}

static void small_pipe(int ret_ends[2])
{
    must(pipe2(ret_ends, O_CLOEXEC));
    must(fcntl(ret_ends[1], F_SETPIPE_SZ, 8192));
}

/* Opens the streams, for both processes: fds[i][side] are the descriptors for writing and for
 * reading. */
static void open_streams(const char *part, int fds[STREAMS][2][2])
{
    for (unsigned i = 0; i < STREAMS; i++) {
        int ends[2];
        if (strcmp(part, "pipe") == 0) {
            for (unsigned side = 0; side < 2; side++) {
                small_pipe(ends);
                fds[i][side][0] = ends[1];
                fds[i][!side][1] = ends[0];
            }
            continue;
        }
        if (strcmp(part, "tcp") == 0)
            tcp_pair(ends);
        else
            unix_pair(ends);
        for (unsigned side = 0; side < 2; side++)
            fds[i][side][0] = fds[i][side][1] = ends[side];
    }
}

static void take_streams(const char *part, int fds[STREAMS][2][2], unsigned side)
{
    for (unsigned i = 0; i < STREAMS * 2; i++) {
        struct flow *f = &flows[i];
        bool         writes = i % 2 == 0;
        *f = (struct flow){ .fd = fds[i / 2][side][!writes], .writes = writes, .end = UINT64_MAX };
        f->dribbles = i / 2 == 0;
        f->is_tcp = strcmp(part, "tcp") == 0;
        f->is_socket = strcmp(part, "pipe") != 0;
        enlist(&f->victim);
        f->salt = mix(options.seed + i / 2 * 2 + (writes ? side : !side));
        f->buffer = calloc(1, BUFFER);
        check(f->buffer);
    }
}

static void play_streams(const char *part, uint64_t cancels, int fds[STREAMS][2][2], unsigned side)
{
    uint64_t bytes = 0;
    double   begin = seconds();
    take_streams(part, fds, side);
    exchange(cancels);
    for (unsigned i = 0; i < STREAMS * 2; i++) {
        bytes += flows[i].offset;
        free(flows[i].buffer);
    }
    struct unr_stats stats = stats_of_loop();
    if (side == 0)
        printf("%-12s here %" PRIu64 " cancelled in flight, %" PRIu64 " before, %" PRIu64
               " too late, %" PRIu64 " refused, %" PRIu64 " repeated; %.1f MB; %.1f s\n",
               part, stats.cancels_won, stats.cancels_unsubmitted, stats.cancels_too_late,
               stats.cancels_refused, stats.cancels_repeated, (double)bytes / 1e6,
               seconds() - begin);
}

/* ---- connections: the side that connects ---- */

enum { CLIENTS = 8, CONNECTIONS = 64, KINDS = 2 };

static const char *const kind_names[KINDS] = { "tcp", "unix" };

struct client {
    struct unr_op op, goodbye;
    struct victim victim;
    int           fd; /* -1: needs one */
    char          byte;
};

static struct sockaddr_storage address;
static socklen_t               address_len;
static struct client           clients[CLIENTS];
static uint64_t connected; /* connections that were reported; each is told its number */
static bool     is_unix, stopping;

static void start_client(struct client *c);

static void peer_left(struct unr_op *op)
{
    struct client *c = op->data;
    if (op->result.error != 0 && op->result.error != -ECONNRESET && op->result.error != -ECANCELED)
        fail("a connection was lost: %s", unr_explain_op(op));
    close(c->fd);
    c->fd = -1;
    if (!stopping)
        start_client(c);
}

static void check_as_new(const struct client *c)
{
    struct sockaddr_storage peer;
    socklen_t               len = sizeof peer;
    check(getpeername(c->fd, (struct sockaddr *)&peer, &len) < 0 && errno == ENOTCONN);
}

static void connect_ended(struct unr_op *op)
{
    struct client *c = op->data;
    if (op->result.error != 0 && op->result.error != -ECANCELED)
        fail("connect: %s", unr_explain_op(op));
    if (account(&c->victim)) {
        check_as_new(c);
        if (one_in(2)) {
            close(c->fd);
            c->fd = -1;
        }
        return;
    }
    uint64_t number = connected++;
    check(send(c->fd, &number, sizeof number, MSG_NOSIGNAL) == sizeof number);
    unr_start(loop, unr_recv(&c->goodbye, c->fd, &c->byte, 1, 0), peer_left, c);
}

static void start_client(struct client *c)
{
    if (c->fd < 0)
        c->fd = is_unix ? must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) : tcp_socket(NULL);
    lead_astray(&c->victim, unr_connect(&c->op, c->fd, (struct sockaddr *)&address, address_len),
                c->fd, true);
    unr_start(loop, &c->op, connect_ended, c);
}

static void run_clients(void)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct client *c = &clients[i];
        if (unr_in_flight(&c->op))
            pass_turn(&c->victim);
        else if (!stopping && !unr_in_flight(&c->goodbye))
            start_client(c);
    }
    turn(planned ? 0 : UNR_NEVER);
}

static bool connecting(void)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        if (unr_in_flight(&clients[i].op))
            return true;
    return false;
}

/* Connects until enough was cancelled - or, as unix sockets hardly ever wait, until enough was not
 * - then tells how many connections there were: the last are still in the backlog. */
static void play_client(uint64_t cancels)
{
    struct told told = { 0 }; /* the connections, and the cancelled ones */
    char        byte;
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i].fd = -1;
        enlist(&clients[i].victim);
    }
    while (cancelled < cancels && connected < cancels)
        run_clients();
    stopping = true;
    while (connecting())
        run_clients();
    told.offsets[0] = connected;
    told.offsets[1] = cancelled;
    must(send(control, &told, sizeof told, MSG_NOSIGNAL));
    check(recv(control, &byte, 1, 0) == 1);
    for (unsigned i = 0; i < CLIENTS; i++)
        if (unr_in_flight(&clients[i].goodbye))
            unr_cancel(&clients[i].goodbye, UNR_CANCEL_ALL);
    check(unr_loop_run(loop) == 0);
    for (unsigned i = 0; i < CLIENTS; i++)
        if (clients[i].fd >= 0)
            close(clients[i].fd);
}

/* ---- connections: the side that accepts ---- */

struct connection {
    struct unr_op op;
    int           fd; /* -1: free */
    uint64_t      number;
};

struct acceptor {
    struct unr_op op;
    struct victim victim;
};

enum { ACCEPTORS = 4 };

static struct connection connections[CONNECTIONS];
static struct acceptor   acceptors[ACCEPTORS];
static unsigned          busy;
static uint64_t
    orphans; /* connections of a connect that was cancelled: TCP had let the peer see them */
static unsigned char *seen; /* a bit for each number */
static uint64_t       seen_room, seen_count;
static int            listener;

static void see(uint64_t number)
{
    if (number / 8 >= seen_room) {
        uint64_t room = seen_room * 2 + number / 8 + 4096;
        check(seen = realloc(seen, room));
        memset(seen + seen_room, 0, room - seen_room);
        seen_room = room;
    }
    if (seen[number / 8] >> number % 8 & 1)
        fail("connection %" PRIu64 " was accepted twice", number);
    seen[number / 8] |= (unsigned char)(1 << number % 8);
    seen_count++;
}

static void greet(struct connection *c, int error, uint64_t bytes)
{
    if (error == 0 && bytes == sizeof c->number)
        see(c->number);
    else if (!is_unix && bytes == 0 && (error == 0 || error == -ECONNRESET))
        orphans++;
    else
        fail("a connection that nobody has made: error %d, %" PRIu64 " bytes", error, bytes);
    close(c->fd);
    c->fd = -1;
    busy--;
}

static void greeted(struct unr_op *op)
{
    greet(op->data, op->result.error, op->result.bytes);
}

static struct connection *take_connection(int fd)
{
    struct connection  *c = connections;
    const struct linger none = { .l_onoff = 1 };
    while (c->fd >= 0)
        c++;
    c->fd = fd;
    busy++;
    if (!is_unix)
        must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none));
    return c;
}

static void accepted(struct unr_op *op)
{
    struct acceptor *a = op->data;
    if (op->result.error != 0 && op->result.error != -ECANCELED)
        fail("accept: %s", unr_explain_op(op));
    if (account(&a->victim)) {
        check(op->result.fd == -1);
        return;
    }
    struct connection *c = take_connection(op->result.fd);
    unr_start(loop, unr_recv(&c->op, c->fd, &c->number, sizeof c->number, MSG_WAITALL), greeted, c);
}

static void run_acceptors(void)
{
    static unsigned pause;
    if (pause > 0)
        pause--; /* meanwhile the backlog fills, and connects wait */
    else if (one_in(16))
        pause = below(1000);
    for (unsigned i = 0; i < ACCEPTORS; i++) {
        struct acceptor *a = &acceptors[i];
        if (unr_in_flight(&a->op)) {
            pass_turn(&a->victim);
        } else if (!stopping && !pause && busy + ACCEPTORS < CONNECTIONS) {
            lead_astray(&a->victim, unr_accept(&a->op, listener, NULL, NULL, SOCK_CLOEXEC),
                        listener, false);
            unr_start(loop, &a->op, accepted, a);
        }
    }
    turn(planned || pause ? 0 : UNR_NEVER);
}

/* What was not accepted is in the backlog. */
static void drain_backlog(void)
{
    struct pollfd poll_fd = { .fd = listener, .events = POLLIN };
    while (poll(&poll_fd, 1, seen_count < heard.offsets[0] ? 5000 : 0) == 1) {
        struct connection *c = take_connection(must(accept4(listener, NULL, NULL, SOCK_CLOEXEC)));
        ssize_t            n = recv(c->fd, &c->number, sizeof c->number, MSG_WAITALL);
        greet(c, n < 0 ? -errno : 0, n < 0 ? 0 : (uint64_t)n);
    }
}

static void play_server(void)
{
    seen_count = orphans = 0;
    for (unsigned i = 0; i < CONNECTIONS; i++)
        connections[i].fd = -1;
    for (unsigned i = 0; i < ACCEPTORS; i++)
        enlist(&acceptors[i].victim);
    hear();
    while (heard_count == 0)
        run_acceptors();
    stopping = true;
    for (unsigned i = 0; i < ACCEPTORS; i++)
        if (unr_in_flight(&acceptors[i].op)) {
            note(&acceptors[i].victim, UNR_CANCEL_ALL, -ESHUTDOWN);
            unr_cancel_cause(&acceptors[i].op, UNR_CANCEL_ALL, -ESHUTDOWN);
        }
    check(unr_loop_run(loop) == 0);
    drain_backlog();
    if (seen_count != heard.offsets[0])
        fail("%" PRIu64 " connections were made, and %" PRIu64 " found", heard.offsets[0],
             seen_count);
    must(send(control, "", 1, MSG_NOSIGNAL));
    free(seen);
    seen = NULL;
    seen_room = 0;
}

static void open_listener(void)
{
    struct sockaddr_in in;
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    if (is_unix) {
        listener = must(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1
                                  + (size_t)snprintf(un.sun_path + 1, sizeof un.sun_path - 1,
                                                     "unring-stress-%d", (int)getpid()));
        memcpy(&address, &un, sizeof un);
        must(bind(listener, (struct sockaddr *)&address, address_len));
    } else {
        listener = tcp_socket(&in);
        address_len = sizeof in;
        memcpy(&address, &in, sizeof in);
    }
    must(listen(listener, 3));
}

static void play_connections(const char *part, uint64_t cancels, unsigned side)
{
    double begin = seconds();
    if (side == 1) {
        play_client(cancels);
    } else {
        play_server();
        printf("%-12s %" PRIu64 " accepts and %" PRIu64 " connects cancelled; %s: %" PRIu64
               " connections, %" PRIu64 " seen by the peer alone; %.1f s\n",
               part, cancelled, heard.offsets[1], kind_names[is_unix], seen_count, orphans,
               seconds() - begin);
    }
}

/* ---- two processes ---- */

static unsigned plain_side; /* which of the processes has the plain loop */

static void play(const char *part, uint64_t cancels, unsigned side, int fds[STREAMS][2][2],
                 bool streams)
{
    seed_random(side + 1);
    cancelled = planned = 0;
    victims = NULL;
    stopping = false;
    open_loop((struct unr_loop_options){ .flags = side == plain_side ? UNR_LOOP_PLAIN : 0 });
    if (streams)
        play_streams(part, cancels, fds, side);
    else
        play_connections(part, cancels, side);
    check(unr_loop_in_flight(loop) == 0);
    check(unr_loop_close(loop) == 0);
    loop = NULL;
}

static void play_both(const char *part, uint64_t cancels, bool streams)
{
    int ends[2], fds[STREAMS][2][2], status;
    snprintf(where, sizeof where, "%s", part);
    guard(cancels);
    must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
    if (streams)
        open_streams(part, fds);
    else
        open_listener();
    heard_count = 0;
    fflush(stdout);
    pid_t forked = must(fork());
    if (forked == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        guard(cancels); /* an alarm is not inherited */
        snprintf(where, sizeof where, "%s, the child", part);
        control = ends[1];
        close(ends[0]);
        if (!streams)
            close(listener);
        play(part, cancels, 1, fds, streams);
        fflush(stdout);
        _exit(0);
    }
    child = forked;
    control = ends[0];
    close(ends[1]);
    play(part, cancels, 0, fds, streams);
    must(waitpid(forked, &status, 0));
    child = 0;
    if (status != 0)
        fail("the other process ended with status %#x", (unsigned)status);
    close(control);
    if (!streams)
        close(listener);
    for (unsigned i = 0; streams && i < STREAMS; i++)
        for (unsigned j = 0; j < 4; j++)
            close(fds[i][j / 2][j % 2]);
    alarm(0);
}

int main(int argc, char **argv)
{
    static const char *const parts[] = { "tcp", "unix", "pipe", "connections" };
    int                      names = read_options(argc, argv, CANCELS, FEW_CANCELS);
    for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
        bool wanted = names == 0;
        for (int j = 0; j < names; j++)
            wanted |= strcmp(argv[j], parts[i]) == 0;
        plain_side = options.seed % 2;
        /* Nearly a third for each kind of stream, half of that on either side. */
        if (wanted && i < 3)
            play_both(parts[i], options.cancels * 4 / 25, true);
        for (unsigned kind = 0; wanted && i == 3 && kind < KINDS * 2; kind++) {
            is_unix = kind / 2;
            plain_side = kind % 2;
            /* A unix socket that waits to be connected occupies a thread of the kernel, and is slow
             * to let go. */
            play_both("connections", options.cancels / (is_unix ? 1000 : 25), false);
        }
    }
    return 0;
}
