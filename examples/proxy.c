/* A TCP proxy for use with real clients, in which every operation can be cancelled on its own.
 *
 * Each connection is a session of two directions, `up` from the client to the target and `down`
 * back.  A direction is a chain: recv, then sends until all of that is sent, then recv again; when
 * it finds the end of the stream, a shutdown passes that on.  It has exactly one operation in
 * flight.  A session counts what it has in flight, timers included, and is freed in the last
 * `done`.
 *
 * All cancellation goes through two trees of signals:
 *
 *      proxy.abort, latched                    emitted ALL: after the grace, and on the second
 *      SIGINT
 *        session.abort, latched                emitted ALL: time-outs, and when one side was reset
 *          up.write, down.write                the sends, the connect, the shutdowns
 *          session.reads
 *            up.read, down.read                down.read is emitted TOTAL by the heartbeat
 *
 *      proxy.drain                             emitted TOTAL: on the first SIGINT or SIGTERM
 *        accept                                the accept, and the pause after one that failed
 *        session.drained                       no operation's: its handler is drained(), which
 *        decides
 *
 * The latch of an abort makes an end of it: a chain whose recv completes although its cancellation
 * was asked for would go on with a send and for ever, but what it starts next ends before it
 * begins.  Draining is not latched, as what was not cancelled by it goes on. */
#define _GNU_SOURCE 1
#include "common.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <unring.h>

#define BUFFER_SIZE 65536
#define RETRY_PAUSE UNR_MSEC(100)

/* Why an operation was cancelled, beside -ETIMEDOUT and -ECONNRESET; any negative number serves. */
enum { CAUSE_HEARTBEAT = -10001, CAUSE_DRAINED = -10002, CAUSE_GRACE_OVER = -10003 };

/* How a session ended: as the first thing that was wrong, or not. */
enum outcome { COMPLETE, DRAINED, UNCONNECTED, IDLE, RESET, CUT, OUTCOMES };
static const char *const outcome_names[OUTCOMES] = {
    [COMPLETE] = "complete",
    [DRAINED] = "drained at the end",
    [UNCONNECTED] = "without a target",
    [IDLE] = "idle for too long",
    [RESET] = "reset by a peer",
    [CUT] = "cut at the end",
};

struct direction {
    struct unr_op     op; /* the one in flight: recv, send, shutdown; up.op also the connect */
    struct session   *session;
    int               from, to;
    struct unr_signal read, write;
    size_t            len, sent; /* of what is in the buffer */
    bool of_target; /* what is in the buffer came from the peer, and is not a heartbeat's line */
    bool over;
    uint64_t *total; /* the bytes of all sessions in this direction */
    char     *buffer;
};

struct session {
    unsigned in_flight; /* operations whose `done` has not ended; the last one frees the session */
    int      client, target;
    bool     connected;
    bool     aborted; /* both sides are to see a reset: a stream that was cut must not look ended */
    enum outcome      outcome;
    struct direction  up, down;
    struct unr_signal abort, reads, drained;
    unr_time          last_moved, last_from_target;
    unsigned          beats; /* heartbeats since the target last said something */
    struct unr_timer  quiet; /* connect, idle and linger time-outs; set late, see watch() */
    struct unr_timer  beat;
    struct unr_op     close_client, close_target;
    struct address    peer;
    char              buffers[2]
                [BUFFER_SIZE]; /* last, and not zeroed: no page of them is touched before its use */
};

static struct {
    /* options */
    struct address target;
    unr_time       idle, heartbeat, connect, linger, grace; /* UNR_NEVER: off */
    bool           heartbeat_line, verbose;

    struct unr_loop  *loop;
    struct unr_signal abort, drain;
    int               listener;
    int spare; /* the next session's socket to the target, made before its client is accepted; or -1
                */
    struct unr_op     accept;
    struct address    accepted_peer;
    struct unr_timer  retry;
    struct unr_signal accepting;
    unr_time      told_of_accepts, told_of_connects; /* when something was last said about that */
    int           signals;
    struct unr_op signal_read;
    struct signalfd_siginfo signal_info;
    struct unr_timer        grace_timer;
    bool                    draining;
    int                     failed; /* a negative errno: what ended the proxy */

    unsigned sessions, most_sessions;
    uint64_t accepted, outcomes[OUTCOMES], heartbeats, bytes_up, bytes_down;
} proxy = {
    .idle = UNR_NEVER,
    .heartbeat = UNR_NEVER,
    .connect = UNR_SEC(10),
    .linger = UNR_SEC(1),
    .grace = UNR_SEC(10),
    .listener = -1,
    .spare = -1,
    .signals = -1,
};

static void start_recv(struct direction *direction);
static void start_send(struct direction *direction);
static void start_accept(void);
static void end_if_drained(void);

__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("proxy: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

/* For what can go wrong with each of many connections: at most one line a second. */
static bool may_complain(unr_time *last)
{
    unr_time now = unr_loop_now(proxy.loop);
    if (now < *last + UNR_SEC(1))
        return false;
    *last = now;
    return true;
}

static void report(const struct session *session, const char *what)
{
    char text[ADDRESS_TEXT];
    if (proxy.verbose)
        complain("%s: %s", format_address(&session->peer, text), what);
}

static unr_time add(unr_time time, unr_time duration)
{
    return duration > UNR_NEVER - time ? UNR_NEVER : time + duration;
}

/* ---- a session's life ---- */

static void start(struct session *session, struct unr_op *described, unr_done_fn *done, void *data)
{
    session->in_flight++;
    unr_start(proxy.loop, described, done, data);
}

/* The last thing that each `done` of a session does. */
static void finish(struct session *session)
{
    if (--session->in_flight > 0)
        return;
    unr_signal_detach(&session->abort);
    unr_signal_detach(&session->drained);
    free(session);
    proxy.sessions--;
    end_if_drained();
}

static void closed(struct unr_op *op)
{
    finish(op->data);
}

static void end_direction(struct direction *direction)
{
    struct session *session = direction->session;

    direction->over = true;
    if (!session->up.over || !session->down.over)
        return;

    /* Nothing is in flight on the sockets. */
    if (session->aborted) {
        struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
        setsockopt(session->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        setsockopt(session->target, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    start(session, unr_close(&session->close_client, session->client), closed, session);
    start(session, unr_close(&session->close_target, session->target), closed, session);
    unr_cancel(&session->quiet.op, UNR_CANCEL_ALL);
    unr_cancel(&session->beat.op, UNR_CANCEL_ALL);
    proxy.outcomes[session->outcome]++;
    report(session, outcome_names[session->outcome]);
}

static void ends_as(struct session *session, enum outcome outcome)
{
    if (session->outcome == COMPLETE)
        session->outcome = outcome;
}

/* Ends what the session has in flight, and whatever it starts from now on. */
static void abort_session(struct session *session, int cause)
{
    unr_signal_emit_cause(&session->abort, UNR_CANCEL_ALL, cause);
}

/* An operation of the direction was cancelled by an abort. */
static void end_aborted(struct direction *direction, int cause)
{
    direction->session->aborted = true;
    ends_as(direction->session, cause == -ETIMEDOUT ? IDLE : cause == -ECONNRESET ? RESET : CUT);
    end_direction(direction);
}

/* ---- time-outs ---- */

static unr_time quiet_limit(const struct session *session)
{
    if (!session->connected)
        return proxy.connect;
    return proxy.draining && proxy.linger < proxy.idle ? proxy.linger : proxy.idle;
}

static void quiet(struct unr_op *op);

/* Has quiet() called at `when`, or earlier if that was arranged before.  What moves on the
 * connection stores the time and nothing else; the timer catches up when it fires. */
static void watch(struct session *session, unr_time when)
{
    if (when == UNR_NEVER)
        return;
    if (!unr_in_flight(&session->quiet.op))
        start(session, unr_timer_at(&session->quiet, when), quiet, session);
    else if (when < session->quiet.deadline)
        unr_timer_move(&session->quiet,
                       when); /* false: it has fired, and quiet() looks at the clock */
}

static void quiet(struct unr_op *op)
{
    struct session *session = op->data;
    unr_time        now = unr_loop_now(proxy.loop);
    unr_time        silence = now - session->last_moved;

    if (!op->result.requested && silence < quiet_limit(session)) {
        watch(session, add(session->last_moved, quiet_limit(session)));
    } else if (!op->result.requested && session->connected && silence < proxy.idle) {
        /* While the proxy is draining this ends the reads; a send that its receiver does not take
         * has until the end of the grace.  The timer runs on, should something move after all. */
        unr_signal_emit_cause(&session->reads, UNR_CANCEL_TOTAL, CAUSE_DRAINED);
        watch(session, add(now, quiet_limit(session)));
    } else if (!op->result.requested) {
        abort_session(session, -ETIMEDOUT);
    }
    finish(session);
}

/* The handler of session.drained: the proxy is to end.  A connection on which data is moving goes
 * on. */
static void drained(void *context, struct unr_cancel_request request)
{
    struct session *session = context;
    unr_time        now = unr_loop_now(proxy.loop);

    if (!session->connected)
        return; /* the connect has its own time-out, and what it was made for begins then */
    if (now - session->last_moved >= proxy.linger)
        unr_signal_emit_cause(&session->reads, request.types, request.cause);
    watch(session, add(now, quiet_limit(session)));
}

/* ---- heartbeat ---- */

static void beat(struct unr_op *op);

static void watch_target(struct session *session, unr_time when)
{
    if (proxy.heartbeat != UNR_NEVER)
        start(session, unr_timer_at(&session->beat, when), beat, session);
}

static void beat(struct unr_op *op)
{
    struct session *session = op->data;
    unr_time        now = unr_loop_now(proxy.loop);

    if (op->result.requested || session->down.over) {
        /* the session ends, or the target has said its last word */
    } else if (now - session->last_from_target < proxy.heartbeat) {
        watch_target(session, session->last_from_target + proxy.heartbeat);
    } else {
        /* Without effect while `down` is sending: the client has something to read then. */
        unr_signal_emit_cause(&session->down.read, UNR_CANCEL_TOTAL, CAUSE_HEARTBEAT);
        watch_target(session, now + proxy.heartbeat);
    }
    finish(session);
}

/* The heartbeat has cancelled the receive from the target, which has lost nothing by that. */
static void target_is_silent(struct direction *down)
{
    struct session *session = down->session;

    proxy.heartbeats++;
    if (!proxy.heartbeat_line) {
        start_recv(down);
        return;
    }
    int len = snprintf(down->buffer, BUFFER_SIZE, "<heartbeat %u>\r\n", ++session->beats);
    down->len = (size_t)len;
    down->sent = 0;
    down->of_target = false;
    start_send(down);
}

/* ---- the two directions ---- */

static void shut(struct unr_op *op)
{
    struct direction *direction = op->data;
    struct session   *session = direction->session;

    if (op->result.error == -ECANCELED)
        end_aborted(direction, op->result.cause);
    else
        end_direction(direction); /* an error says that the socket is disconnected already */
    finish(session);
}

/* Half-close: the other direction goes on. */
static void pass_end_on(struct direction *direction)
{
    struct unr_op *shutdown_op = unr_shutdown(&direction->op, direction->to, SHUT_WR);
    start(direction->session, unr_bind_slot(shutdown_op, unr_signal_slot(&direction->write)), shut,
          direction);
}

static void received(struct unr_op *op)
{
    struct direction *direction = op->data;
    struct session   *session = direction->session;

    if (op->result.error == 0 && op->result.bytes == 0) {
        pass_end_on(direction);
    } else if (op->result.error == 0) {
        session->last_moved = unr_loop_now(proxy.loop);
        if (direction == &session->down) {
            session->last_from_target = session->last_moved;
            session->beats = 0;
        }
        direction->len = op->result.bytes;
        direction->sent = 0;
        direction->of_target = true;
        start_send(direction);
    } else if (unr_outcome(&op->result) == CAUSE_HEARTBEAT) {
        target_is_silent(direction);
    } else if (unr_outcome(&op->result) == CAUSE_DRAINED) {
        ends_as(session, DRAINED);
        pass_end_on(direction);
    } else if (op->result.error == -ECANCELED) {
        end_aborted(direction, op->result.cause);
    } else {
        abort_session(session, -ECONNRESET);
        end_aborted(direction, -ECONNRESET);
    }
    finish(session);
}

static void start_recv(struct direction *direction)
{
    struct unr_op *recv_op =
        unr_recv(&direction->op, direction->from, direction->buffer, BUFFER_SIZE, 0);
    start(direction->session, unr_bind_slot(recv_op, unr_signal_slot(&direction->read)), received,
          direction);
}

static void sent(struct unr_op *op)
{
    struct direction *direction = op->data;
    struct session   *session = direction->session;

    if (direction->of_target) {
        *direction->total += op->result.bytes; /* valid whatever the error */
        if (op->result.bytes > 0)
            session->last_moved = unr_loop_now(proxy.loop);
    }
    direction->sent += op->result.bytes;
    if (op->result.error == -ECANCELED) {
        end_aborted(direction, op->result.cause);
    } else if (op->result.error) {
        /* Nothing more can be sent there.  What came from there before may still be on its way
         * through the other direction, which finds the end or the error by itself. */
        ends_as(session, RESET);
        end_direction(direction);
    } else if (direction->sent < direction->len) {
        start_send(direction);
    } else {
        start_recv(direction);
    }
    finish(session);
}

static void start_send(struct direction *direction)
{
    struct unr_op *send_op =
        unr_send(&direction->op, direction->to, direction->buffer + direction->sent,
                 direction->len - direction->sent, 0);
    start(direction->session, unr_bind_slot(send_op, unr_signal_slot(&direction->write)), sent,
          direction);
}

/* ---- from accept to connected ---- */

static void connected(struct unr_op *op)
{
    struct session *session = op->data;

    if (op->result.error) {
        char text[ADDRESS_TEXT];
        int  outcome = unr_outcome(&op->result);
        if (outcome != CAUSE_GRACE_OVER && may_complain(&proxy.told_of_connects))
            complain("cannot connect to %s: %s", format_address(&proxy.target, text),
                     strerror(-outcome));
        ends_as(session, UNCONNECTED);
        session->aborted = true;
        session->down.over = true;
        end_direction(&session->up);
    } else {
        session->connected = true;
        session->last_moved = session->last_from_target = unr_loop_now(proxy.loop);
        watch(session, add(session->last_moved, quiet_limit(session)));
        watch_target(session, add(session->last_from_target, proxy.heartbeat));
        start_recv(&session->up);
        start_recv(&session->down);
    }
    finish(session);
}

static void begin_direction(struct session *session, struct direction *direction, int from, int to,
                            char *buffer, uint64_t *total)
{
    direction->session = session;
    direction->from = from;
    direction->to = to;
    direction->buffer = buffer;
    direction->total = total;
    unr_signal_attach(&direction->read, &session->reads);
    unr_signal_attach(&direction->write, &session->abort);
}

static int begin_session(int client, int target)
{
    struct session *session = malloc(sizeof *session);
    if (!session)
        return -ENOMEM;
    memset(session, 0, offsetof(struct session, buffers));
    session->client = client;
    session->target = target;
    session->peer = proxy.accepted_peer;

    /* A proxy passes on what it gets when it gets it; waiting to fill a segment is the peers' to
     * decide. */
    int on = 1;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(target, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);

    unr_signal_init_latched(&session->abort);
    unr_signal_attach(&session->reads, &session->abort);
    begin_direction(session, &session->up, client, target, session->buffers[0], &proxy.bytes_up);
    begin_direction(session, &session->down, target, client, session->buffers[1],
                    &proxy.bytes_down);
    unr_slot_assign(unr_signal_slot(&session->drained), drained, session);
    unr_signal_attach(&session->abort, &proxy.abort);
    unr_signal_attach(&session->drained, &proxy.drain);
    if (++proxy.sessions > proxy.most_sessions)
        proxy.most_sessions = proxy.sessions;
    report(session, "accepted");

    session->last_moved = unr_loop_now(proxy.loop);
    watch(session, add(session->last_moved, proxy.connect));
    struct unr_op *connect_op = unr_connect(
        &session->up.op, target, (struct sockaddr *)&proxy.target.storage, proxy.target.len);
    start(session, unr_bind_slot(connect_op, unr_signal_slot(&session->up.write)), connected,
          session);
    return 0;
}

static void retry(struct unr_op *op)
{
    if (!op->result.requested)
        start_accept();
    end_if_drained();
}

/* Descriptors or memory are short.  Accepting again at once would fail again at once; whoever wants
 * to connect waits in the listening socket's queue meanwhile. */
static void accept_later(int error)
{
    if (may_complain(&proxy.told_of_accepts))
        complain("accepting pauses: %s", strerror(-error));
    unr_start(proxy.loop,
              unr_bind_slot(unr_timer_after(&proxy.retry, RETRY_PAUSE),
                            unr_signal_slot(&proxy.accepting)),
              retry, NULL);
}

static void accepted(struct unr_op *op)
{
    int error = op->result.error;

    if (error == 0) {
        /* The connection counts whatever was asked of the accept: it is served also if the drain
         * came too late. */
        proxy.accepted++;
        error = begin_session(op->result.fd, proxy.spare);
        if (error)
            close(op->result.fd);
        else
            proxy.spare = -1;
    }
    if (proxy.draining) {
        end_if_drained();
        return;
    }
    switch (error) {
    case 0:
    case -EINTR: /* and what accept(2) says is the connection's own misfortune */
    case -ECONNABORTED:
    case -EPROTO:
    case -EPERM:
    case -ENETDOWN:
    case -ENOPROTOOPT:
    case -EHOSTDOWN:
    case -EHOSTUNREACH:
    case -EOPNOTSUPP:
    case -ENETUNREACH:
    case -ETIMEDOUT: start_accept(); break;
    case -EMFILE:
    case -ENFILE:
    case -ENOBUFS:
    case -ENOMEM: accept_later(error); break;
    default:
        complain("cannot accept: %s", strerror(-error));
        proxy.failed = error;
        unr_loop_stop(proxy.loop);
    }
}

static void start_accept(void)
{
    /* The descriptor that serving the client takes comes first, so that no client is accepted only
     * to be dropped. */
    if (proxy.spare < 0)
        proxy.spare = tcp_socket(&proxy.target);
    if (proxy.spare < 0) {
        int error = proxy.spare;
        proxy.spare = -1;
        accept_later(error);
        return;
    }
    proxy.accepted_peer.len = sizeof proxy.accepted_peer.storage;
    struct unr_op *accept_op =
        unr_accept(&proxy.accept, proxy.listener, (struct sockaddr *)&proxy.accepted_peer.storage,
                   &proxy.accepted_peer.len, SOCK_CLOEXEC);
    unr_start(proxy.loop, unr_bind_slot(accept_op, unr_signal_slot(&proxy.accepting)), accepted,
              NULL);
}

/* ---- signals, and the end ---- */

static void cut_off(void)
{
    unr_signal_emit_cause(&proxy.abort, UNR_CANCEL_ALL, CAUSE_GRACE_OVER);
}

static void grace_over(struct unr_op *op)
{
    if (!op->result.requested)
        cut_off();
}

static void drain(void)
{
    proxy.draining = true;
    complain("ending, with %u connections open", proxy.sessions);
    unr_start(proxy.loop, unr_timer_after(&proxy.grace_timer, proxy.grace), grace_over, NULL);
    unr_signal_emit_cause(&proxy.drain, UNR_CANCEL_TOTAL, CAUSE_DRAINED);
}

/* When nothing but the proxy's own waiting is in flight, that is ended, and with it
 * unr_loop_run(). */
static void end_if_drained(void)
{
    if (!proxy.draining || proxy.sessions > 0 || unr_in_flight(&proxy.accept)
        || unr_in_flight(&proxy.retry.op))
        return;
    unr_cancel(&proxy.grace_timer.op, UNR_CANCEL_ALL);
    unr_cancel(&proxy.signal_read, UNR_CANCEL_ALL);
}

static void signalled(struct unr_op *op);

static void read_signal(void)
{
    unr_start(proxy.loop,
              unr_read(&proxy.signal_read, proxy.signals, &proxy.signal_info,
                       sizeof proxy.signal_info, -1),
              signalled, NULL);
}

static void print_statistics(void)
{
    struct unr_stats stats = { 0 };

    fprintf(stderr, "proxy: %" PRIu64 " connections, at most %u at a time, %u open\n",
            proxy.accepted, proxy.most_sessions, proxy.sessions);
    for (int i = 0; i < OUTCOMES; i++)
        if (proxy.outcomes[i])
            fprintf(stderr, "proxy:   %" PRIu64 " %s\n", proxy.outcomes[i], outcome_names[i]);
    fprintf(stderr,
            "proxy: %" PRIu64 " bytes to the target, %" PRIu64 " to clients, %" PRIu64
            " heartbeats\n",
            proxy.bytes_up, proxy.bytes_down, proxy.heartbeats);
    unr_loop_stats(proxy.loop, &stats, sizeof stats);
    fprintf(stderr,
            "proxy: %" PRIu64 " operations in %" PRIu64 " system calls; %" PRIu64
            " cancellations: %" PRIu64 " in flight, %" PRIu64 " before submission, %" PRIu64
            " too late\n",
            stats.started, stats.enters, stats.cancels_asked, stats.cancels_won,
            stats.cancels_unsubmitted, stats.cancels_too_late);
}

static void signalled(struct unr_op *op)
{
    if (op->result.error == -ECANCELED)
        return; /* everything else has ended */
    if (op->result.error || op->result.bytes != sizeof proxy.signal_info) {
        complain("cannot read signals: %s", unr_explain_op(op));
        proxy.failed = op->result.error ? op->result.error : -EIO;
        unr_loop_stop(proxy.loop);
        return;
    }
    read_signal();
    if (proxy.signal_info.ssi_signo == SIGUSR1) {
        print_statistics();
        unr_loop_dump(proxy.loop, STDERR_FILENO);
    } else if (!proxy.draining) {
        drain();
    } else {
        cut_off();
    }
    end_if_drained(); /* it may have cancelled this read, too late */
}

/* ---- the command line ---- */

static void print_usage(FILE *file)
{
    fputs("Usage: proxy LISTEN TARGET [OPTION...]\n"
          "Passes TCP connections to LISTEN on to TARGET.\n"
          "\n"
          "LISTEN and TARGET are [HOST:]PORT with a numeric host, an IPv6 one in brackets; without "
          "a host it is\n"
          "127.0.0.1.  With port 0 the system chooses where to listen; the first line of output "
          "tells.\n"
          "\n"
          "      --idle SECONDS       end a connection on which nothing has moved for so long "
          "(default: never)\n"
          "      --heartbeat SECONDS  cancel and restart the read from a target that is silent for "
          "so long\n"
          "                           (default: never)\n"
          "      --heartbeat-line     and send the client a line \"<heartbeat N>\" each time\n"
          "      --connect SECONDS    give up connecting to the target after so long (default 10)\n"
          "      --linger SECONDS     when the proxy is to end, a connection on which nothing has "
          "moved for so\n"
          "                           long is closed (default 1)\n"
          "      --grace SECONDS      and what still moves after so long is cut (default 10)\n"
          "  -v, --verbose            a line for each connection's beginning and end\n"
          "  -h, --help               this\n"
          "      --version            the version\n"
          "\n"
          "SECONDS may be a fraction.\n"
          "SIGINT or SIGTERM ends the proxy as --linger and --grace say, a second one at once.  "
          "SIGUSR1 prints the\n"
          "statistics and what is in flight.\n"
          "The exit status is 0, 1 after a failure, 2 for a command line that makes no sense.\n",
          file);
}

_Noreturn static void misused(const char *what, const char *detail)
{
    fprintf(stderr, "proxy: %s%s%s\nTry 'proxy --help'.\n", what, detail ? ": " : "",
            detail ? detail : "");
    exit(2);
}

static unr_time parse_seconds(const char *option, const char *text)
{
    char  *end;
    double seconds = strtod(text, &end);
    if (end == text || *end || !isfinite(seconds) || seconds <= 0) {
        char message[80];
        snprintf(message, sizeof message, "--%s needs a positive number of seconds, not", option);
        misused(message, text);
    }
    return seconds >= 1e9 ? UNR_NEVER : (unr_time)(seconds * 1e9);
}

static struct address parse_options(int argc, char **argv)
{
    enum {
        OPTION_IDLE = 256, /* above every character */
        OPTION_HEARTBEAT,
        OPTION_HEARTBEAT_LINE,
        OPTION_CONNECT,
        OPTION_LINGER,
        OPTION_GRACE,
        OPTION_VERSION
    };
    static const struct option options[] = {
        { "idle", required_argument, NULL, OPTION_IDLE },
        { "heartbeat", required_argument, NULL, OPTION_HEARTBEAT },
        { "heartbeat-line", no_argument, NULL, OPTION_HEARTBEAT_LINE },
        { "connect", required_argument, NULL, OPTION_CONNECT },
        { "linger", required_argument, NULL, OPTION_LINGER },
        { "grace", required_argument, NULL, OPTION_GRACE },
        { "verbose", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, OPTION_VERSION },
        { 0 },
    };
    struct address address;
    int            option, index = 0;

    while ((option = getopt_long(argc, argv, "vh", options, &index)) != -1) {
        switch (option) {
        case OPTION_IDLE: proxy.idle = parse_seconds(options[index].name, optarg); break;
        case OPTION_HEARTBEAT: proxy.heartbeat = parse_seconds(options[index].name, optarg); break;
        case OPTION_HEARTBEAT_LINE: proxy.heartbeat_line = true; break;
        case OPTION_CONNECT: proxy.connect = parse_seconds(options[index].name, optarg); break;
        case OPTION_LINGER: proxy.linger = parse_seconds(options[index].name, optarg); break;
        case OPTION_GRACE: proxy.grace = parse_seconds(options[index].name, optarg); break;
        case 'v': proxy.verbose = true; break;
        case 'h': print_usage(stdout); exit(0);
        case OPTION_VERSION: puts("proxy (unring) " UNR_VERSION); exit(0);
        default: /* getopt has said what is wrong */
            fputs("Try 'proxy --help'.\n", stderr);
            exit(2);
        }
    }
    if (argc - optind != 2)
        misused("needs LISTEN and TARGET", NULL);
    if (!parse_address(argv[optind], &address))
        misused("not [HOST:]PORT with a numeric host", argv[optind]);
    if (!parse_address(argv[optind + 1], &proxy.target))
        misused("not [HOST:]PORT with a numeric host", argv[optind + 1]);
    if (proxy.heartbeat_line && proxy.heartbeat == UNR_NEVER)
        misused("--heartbeat-line needs --heartbeat", NULL);
    return address;
}

/* Each connection takes two descriptors; the usual soft limit of 1024 is meant for programs that
 * use select(2). */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit); /* failing costs connections, not correctness */
    }
}

static void open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        die(errno, "cannot block signals");
    proxy.signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (proxy.signals < 0)
        die(errno, "cannot receive signals");
}

int main(int argc, char **argv)
{
    char           text[2][ADDRESS_TEXT];
    struct address address = parse_options(argc, argv);

    raise_descriptor_limit();
    open_signals();
    int error = unr_loop_open(&proxy.loop, NULL);
    if (error)
        die(0, unr_explain(error));
    proxy.listener = listen_on(&address);
    if (proxy.listener < 0) {
        snprintf(text[0], sizeof text[0], "cannot listen on %s", argv[optind]);
        die(proxy.listener, text[0]);
    }
    unr_signal_init_latched(&proxy.abort);
    unr_signal_attach(&proxy.accepting, &proxy.drain);
    read_signal();
    start_accept();

    address = local_address(proxy.listener);
    printf("listening on %s, target %s\n", format_address(&address, text[0]),
           format_address(&proxy.target, text[1]));
    fflush(stdout);

    error = unr_loop_run(proxy.loop);
    if (error)
        complain("the loop failed: %s", strerror(-error));
    /* Statistics go to standard error like all that is said after the first line: nobody need read
     * the output. */
    print_statistics();
    if (proxy.failed || error)
        cut_off();
    proxy.draining = true;
    int close_error = unr_loop_close(proxy.loop);
    close(proxy.listener);
    close(proxy.signals);
    if (proxy.spare >= 0)
        close(proxy.spare);
    return error || close_error || proxy.failed ? 1 : 0;
}
