/* SPDX-License-Identifier: MIT */
/* What drives the servers under test, the same for every library: clients that send a message and
 * wait for its echo.
 *     load rate NAME CONNECTIONS SIZE SLICES LIBRARY:PORT:PID...
 *         as many requests as there is time for.  The servers take turns, a slice of time each, so
 *         that what disturbs the machine meets all of them.  Prints for each slice and server
 *         "slice library NAME.rate requests/s" and "slice library NAME.cpu ns", which is the
 *         processor time of process PID per request.
 *     load count PORT CONNECTIONS SIZE REQUESTS
 *         about so many requests and nothing printed, for a server whose system calls are being
 *         counted
 *     load idle PORT PID CONNECTIONS
 *         one request on each connection; prints what process PID has grown by for each
 * It runs on a ring of its own, and its clients share their buffers, as the server must not be the
 * faster of the two. */
#include "ring.h"

#define SLICE_MS   20
#define WARM_UP_MS 4
#define IDLE_SIZE  64

/* What a request consists of, in user_data; the rest of it is the client's address. */
#define TAG_RECV 0u
#define TAG_SEND 1u

struct client {
    int fd;
};

struct server {
    char           library[32];
    int            port;
    long           pid;
    clockid_t      clock; /* the processor time of `pid` */
    struct client *clients;
};

static struct io_uring ring;
static char           *to_send, *received;
static long            connections, size, answered;

/* ---- connections ---- */

static void connect_client(struct client *client, int port)
{
    struct sockaddr_in address = loopback(port);

    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect", errno);
    no_delay(client->fd);
}

static void connect_all(struct server *server)
{
    long i;

    server->clients = calloc((size_t)connections, sizeof *server->clients);
    for (i = 0; i < connections; i++)
        connect_client(&server->clients[i], server->port);
}

/* By reset, so that ports do not wait for their time-out between rounds. */
static void close_all(struct server *server)
{
    struct linger reset = { 1, 0 };
    long          i;

    for (i = 0; i < connections; i++) {
        setsockopt(server->clients[i].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(server->clients[i].fd);
    }
    free(server->clients);
}

/* ---- requests ---- */

/* MSG_WAITALL is fine here, where nothing is cancelled: the kernel itself goes on until the message
 * is complete. */
static void start_request(struct client *client)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);

    io_uring_prep_send(sqe, client->fd, to_send, (size_t)size, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data64(sqe, (uintptr_t)client | TAG_SEND);
    sqe = ring_sqe(&ring);
    io_uring_prep_recv(sqe, client->fd, received, (size_t)size, MSG_WAITALL);
    io_uring_sqe_set_data64(sqe, (uintptr_t)client | TAG_RECV);
}

static void start_all(struct server *server)
{
    long i;

    for (i = 0; i < connections; i++)
        start_request(&server->clients[i]);
}

/* One system call, and what it completes.  Returns how many answers are in; with `go_on`, each is
 * followed by the next request. */
static long turn(int go_on)
{
    struct io_uring_cqe *cqe;
    unsigned             head, n = 0;
    long                 before = answered;

    ring_wait(&ring, 1);
    io_uring_for_each_cqe(&ring, head, cqe) {
        n++;
        if (cqe->res != size)
            die("the server closed a connection or answered short",
                cqe->res < 0 ? cqe->res : EPROTO);
        if (cqe->user_data & TAG_SEND)
            continue;
        answered++;
        if (go_on)
            start_request((struct client *)(uintptr_t)cqe->user_data);
    }
    io_uring_cq_advance(&ring, n);
    return answered - before;
}

/* ---- rate ---- */

static void run_for(long ms)
{
    int64_t end = now_ns() + ms * 1000000;

    while (now_ns() < end)
        turn(1);
}

/* The clients of other servers wait meanwhile; so do these in the end, when all that was asked is
 * answered. */
static void run_slice(struct server *server, const char *name, long slice)
{
    int64_t begin, cpu_begin, elapsed, cpu;
    long    outstanding;

    start_all(server);
    run_for(WARM_UP_MS);
    answered = 0;
    cpu_begin = read_clock(server->clock);
    begin = now_ns();
    run_for(SLICE_MS);
    elapsed = now_ns() - begin;
    cpu = read_clock(server->clock) - cpu_begin;
    if (answered) {
        printf("%ld %s %s.rate %.0f\n", slice, server->library, name,
               (double)answered * 1e9 / (double)elapsed);
        printf("%ld %s %s.cpu %.1f\n", slice, server->library, name,
               (double)cpu / (double)answered);
    }
    for (outstanding = connections; outstanding > 0;)
        outstanding -= turn(0);
}

/* In turned order in every second slice. */
static void measure_rates(struct server *servers, int n, const char *name, long slices)
{
    long slice;
    int  i;

    for (slice = 1; slice <= slices; slice++)
        for (i = 0; i < n; i++)
            run_slice(&servers[slice % 2 ? i : n - 1 - i], name, slice);
}

static void find_server(struct server *server, const char *text)
{
    int error;

    if (sscanf(text, "%31[^:]:%d:%ld", server->library, &server->port, &server->pid) != 3)
        die(text, EINVAL);
    error = clock_getcpuclockid((pid_t)server->pid, &server->clock);
    if (error)
        die("the processor time of the server", error);
}

static void rate(int argc, char **argv)
{
    int            i, n = argc - 6;
    struct server *servers = calloc((size_t)n, sizeof *servers);

    raise_fd_limit(n * connections);
    for (i = 0; i < n; i++) {
        find_server(&servers[i], argv[6 + i]);
        connect_all(&servers[i]);
    }
    measure_rates(servers, n, argument(argc, argv, 2), number(argc, argv, 5));
    for (i = 0; i < n; i++)
        close_all(&servers[i]);
    free(servers);
}

/* ---- count ---- */

/* Every connection begins with one request, and the last ones are awaited, so that the server ends
 * in peace. */
static void run_requests(struct server *server, long requests)
{
    long total = requests > connections ? requests : connections;

    answered = 0;
    start_all(server);
    while (answered < total - connections)
        turn(1);
    while (answered < total)
        turn(0);
}

/* ---- idle ---- */

/* Resident memory of the process in bytes.  From smaps_rollup, which counts; statm is only near
 * it. */
static double resident(long pid)
{
    char  path[64], line[128];
    FILE *file;
    long  kb = -1;

    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", pid);
    file = fopen(path, "r");
    if (!file)
        die(path, errno);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Rss: %ld", &kb) == 1)
            break;
    fclose(file);
    return (double)kb * 1024;
}

/* The first connection brings in what the server needs once. */
static void idle(struct server *server, long n)
{
    double before;

    raise_fd_limit(n + 1);
    connections = 1;
    connect_all(server);
    run_requests(server, 1);
    before = resident(server->pid);
    connections = n;
    connect_all(server);
    run_requests(server, n);
    report("idle", (resident(server->pid) - before) / (double)n, "bytes");
    close_all(server);
}

/* ---- the whole ---- */

static void begin(long with_connections, long with_size)
{
    connections = with_connections;
    size = with_size;
    to_send = calloc(1, (size_t)size);
    received = calloc(1, (size_t)size);
    bench_begin();
    pin(PLACE_DRIVER);
    ring_open(&ring);
}

int main(int argc, char **argv)
{
    const char   *mode = argument(argc, argv, 1);
    struct server server = { .library = "" };

    if (strcmp(mode, "rate") == 0) {
        begin(number(argc, argv, 3), number(argc, argv, 4));
        rate(argc, argv);
    } else if (strcmp(mode, "count") == 0) {
        begin(number(argc, argv, 3), number(argc, argv, 4));
        server.port = (int)number(argc, argv, 2);
        connect_all(&server);
        run_requests(&server, number(argc, argv, 5));
        close_all(&server);
    } else {
        begin(0, IDLE_SIZE);
        server.port = (int)number(argc, argv, 2);
        server.pid = number(argc, argv, 3);
        idle(&server, number(argc, argv, 4));
    }
    return 0;
}
