/* SPDX-License-Identifier: MIT */
/* Measures the servers of an echo by themselves.
 *
 *     echo tcp|unix CONNECTIONS SIZE WINDOWS ROUNDS [SERVER...]
 *
 * In a round each of the connections brings a message of SIZE bytes, and all are answered.  Each
 * server is a process of its own, and they take turns: so many WINDOWS each, of so many ROUNDS.  A
 * server's figure is the 10th percentile of its rounds, in ns per message; so rounds that something
 * else disturbed are not in it.  Without a SERVER all are measured.
 *
 * It prints "SERVER NAME VALUE UNIT" for each.
 *
 * The servers of other libraries are programs beside this one, echo_libuv and so on: the same
 * source with PEER defined, and one server, which is given the pipes to take turns by.  Those that
 * were not built are left out. */
#include "echo.h"

#include <fcntl.h>
#include <sys/wait.h>

#define PROCESSOR_TIME_FROM 16 /* connections: for less, reading that clock would be seen */

#ifdef PEER
static const struct echo_server *const servers[] = { &echo_peer };
static const char *const               peers[] = { NULL };
#else
static const struct echo_server *const servers[] = {
    &echo_liburing,      &echo_liburing_recv, &echo_epoll,     &echo_unring,   &echo_receiver,
    &echo_receiver_copy, &echo_receiver_view, &echo_multishot, &echo_send_now,
};

static const char *const peers[] = { "libuv", "libev", "asio_uring", "asio_epoll", NULL };
#endif

#define SERVERS   (long)(sizeof servers / sizeof *servers)
#define PEERS     (long)(sizeof peers / sizeof *peers)
#define ENV_TURNS "BENCH_ECHO_TURNS" /* the two pipes that a peer is given */

static long   connections, windows, rounds;
static size_t size, left;
static int    is_tcp;
static int   *clients, *served;
static char  *said, *heard;

int echo_sent(size_t asked, int64_t sent)
{
    if (sent < 0 || (size_t)sent != asked)
        die("a short answer", sent < 0 ? (int)sent : EPROTO);
    left -= asked;
    return left == 0;
}

/* ---- sockets ---- */

/* One listener for all: each would take a port that is not free again for a minute. */
static int open_listener(struct sockaddr_in *ret_address)
{
    struct sockaddr_in address = loopback(0);
    socklen_t          len = sizeof address;
    int                listener = socket(AF_INET, SOCK_STREAM, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&address, len) < 0
        || listen(listener, 1) < 0
        || getsockname(listener, (struct sockaddr *)ret_address, &len) < 0)
        die("listen", errno);
    return listener;
}

static void connect_tcp(int listener, const struct sockaddr_in *address, int *pair)
{
    pair[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (pair[0] < 0 || connect(pair[0], (const struct sockaddr *)address, sizeof *address) < 0)
        die("connect", errno);
    pair[1] = accept(listener, NULL, NULL);
    if (pair[1] < 0)
        die("accept", errno);
    no_delay(pair[0]);
    no_delay(pair[1]);
}

static void open_sockets(void)
{
    struct sockaddr_in address;
    int                pair[2], listener = is_tcp ? open_listener(&address) : -1;
    long               i;

    raise_fd_limit(2 * connections);
    clients = calloc((size_t)connections, sizeof *clients);
    served = calloc((size_t)connections, sizeof *served);
    said = malloc(size);
    heard = malloc(size);
    for (i = 0; i < connections; i++) {
        if (is_tcp)
            connect_tcp(listener, &address, pair);
        else if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
            die("socketpair", errno);
        clients[i] = pair[0];
        served[i] = pair[1];
    }
    if (is_tcp)
        close(listener);
}

/* ---- rounds ---- */

/* What a connection says differs from what it and its neighbours said before. */
static void say(long round, long i)
{
    uint32_t stamp = (uint32_t)(round * connections + i);

    memcpy(said, &stamp, sizeof stamp);
    memcpy(said + size - sizeof stamp, &stamp, sizeof stamp);
}

static void write_all_clients(long round)
{
    long i;

    for (i = 0; i < connections; i++) {
        say(round, i);
        if (send(clients[i], said, size, 0) != (ssize_t)size)
            die("send", errno);
    }
}

static void check_all_clients(long round)
{
    long i;

    for (i = 0; i < connections; i++) {
        say(round, i);
        if (recv(clients[i], heard, size, MSG_WAITALL) != (ssize_t)size
            || memcmp(said, heard, size) != 0)
            die("another answer than what was said", EPROTO);
    }
}

static int64_t clock_ns(void)
{
    return connections < PROCESSOR_TIME_FROM ? now_ns() : cpu_ns();
}

static int64_t run_round(const struct echo_server *server, long round)
{
    int64_t begin, ns;

    write_all_clients(round);
    left = size * (size_t)connections;
    begin = clock_ns();
    while (left)
        server->turn();
    ns = clock_ns() - begin;
    check_all_clients(round);
    return ns;
}

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void report_server(const struct echo_server *server, int64_t *ns, long n)
{
    qsort(ns, (size_t)n, sizeof *ns, ascending);
    printf("%s alone.%s.%ldx%zu %.2f ns\n", server->name, is_tcp ? "tcp" : "unix", connections,
           size, (double)ns[n / 10] / (double)connections);
    fflush(stdout);
}

/* ---- processes that take turns ---- */

enum { END, WINDOW };

struct turns {
    int   go, done; /* a byte for each window, and END in the one */
    pid_t pid;
};

static void pass(int fd, char what)
{
    if (write(fd, &what, 1) != 1)
        die("write", errno);
}

static char await_pass(int fd)
{
    char what;

    return read(fd, &what, 1) == 1 ? what : END;
}

/* The first window is to get warm. */
static void serve(const struct echo_server *server, int go, int done)
{
    int64_t *ns = calloc((size_t)(windows * rounds), sizeof *ns), taken;
    long     round = 0, r, n = 0;

    open_sockets();
    server->open(served, connections, size);
    while (await_pass(go) == WINDOW) {
        for (r = 0; r < rounds; r++) {
            taken = run_round(server, round++);
            if (round > rounds)
                ns[n++] = taken;
        }
        pass(done, WINDOW);
    }
    report_server(server, ns, n);
    _exit(0);
}

/* Forks a process with the ends of the pipes that are its own: true in that. */
static int fork_turns(struct turns *ret_turns, int *ret_go, int *ret_done)
{
    int go[2], done[2];

    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(done, O_CLOEXEC) < 0)
        die("pipe2", errno);
    ret_turns->pid = fork();
    if (ret_turns->pid < 0)
        die("fork", errno);
    *ret_go = go[0];
    *ret_done = done[1];
    ret_turns->go = go[1];
    ret_turns->done = done[0];
    if (ret_turns->pid == 0) {
        close(go[1]);
        close(done[0]);
        return 1;
    }
    close(go[0]);
    close(done[1]);
    return 0;
}

static struct turns fork_server(const struct echo_server *server)
{
    struct turns turns;
    int          go, done;

    if (fork_turns(&turns, &go, &done)) {
        bench_begin();
        serve(server, go, done);
    }
    return turns;
}

static struct turns start_peer(const char *program, char **argv)
{
    struct turns turns;
    int          go, done;
    char         text[32];

    if (fork_turns(&turns, &go, &done)) {
        snprintf(text, sizeof text, "%d %d", go, done);
        if (fcntl(go, F_SETFD, 0) < 0 || fcntl(done, F_SETFD, 0) < 0
            || setenv(ENV_TURNS, text, 1) < 0)
            die("a peer", errno);
        execv(program, argv);
        die(program, errno);
    }
    return turns;
}

static int wanted(int argc, char **argv, const char *name)
{
    int i;

    for (i = 6; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return 1;
    return argc <= 6;
}

int main(int argc, char **argv)
{
    struct turns turns[SERVERS + PEERS];
    long         n = 0, i, w;
    int          status, failed = 0, go, done;
    char         program[4096];
    const char  *given = getenv(ENV_TURNS);

    bench_begin();
    is_tcp = strcmp(argument(argc, argv, 1), "tcp") == 0;
    connections = number(argc, argv, 2);
    size = (size_t)number(argc, argv, 3);
    windows = number(argc, argv, 4);
    rounds = number(argc, argv, 5);
    pin(PLACE_SERVER);
    if (given && sscanf(given, "%d %d", &go, &done) == 2)
        serve(servers[0], go, done);
    for (i = 0; i < SERVERS; i++)
        if (wanted(argc, argv, servers[i]->name))
            turns[n++] = fork_server(servers[i]);
    for (i = 0; peers[i]; i++) {
        snprintf(program, sizeof program, "%s_%s", argv[0], peers[i]);
        if (wanted(argc, argv, peers[i]) && access(program, X_OK) == 0)
            turns[n++] = start_peer(program, argv);
    }
    for (w = 0; w <= windows; w++)
        for (i = 0; i < n; i++) {
            pass(turns[i].go, WINDOW);
            if (await_pass(turns[i].done) != WINDOW)
                die("a server has failed", EPROTO);
        }
    for (i = 0; i < n; i++) {
        pass(turns[i].go, END);
        if (waitpid(turns[i].pid, &status, 0) != turns[i].pid || status != 0)
            failed = 1;
    }
    return failed;
}
