/* SPDX-License-Identifier: MIT */
/* UNR_LOOP_CHECKS: what it finds, in which words, and that a correct program hears nothing of it.
 * Every test runs in a child of its own. */
#include "support.h"

#include <liburing.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unring/system.h>

TestSuite(checks, .timeout = 20);

const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

static void open_checked(void)
{
    struct unr_loop_options options = { .size = sizeof options, .flags = UNR_LOOP_CHECKS };
    must(unr_loop_open(&loop, &options) == 0);
}

/* A test whose body, run in a child with such a loop, ends in abort() with words that contain all
 * of the strings given. */
#define BREACH(name, ...) BREACH_IN(checks, open_checked(), name, __VA_ARGS__)

/* A test whose body ends well, and in which exactly `said` is written to standard error. */
#define SAYS(name, said)                                                                           \
    static void name(void);                                                                        \
    static void name##_in_child(void *context)                                                     \
    {                                                                                              \
        (void)context;                                                                             \
        open_checked();                                                                            \
        name();                                                                                    \
        must(unr_loop_close(loop) == 0);                                                           \
    }                                                                                              \
    Test(checks, name)                                                                             \
    {                                                                                              \
        struct death death = in_child(name##_in_child, NULL);                                      \
        expect_success(&death);                                                                    \
        cr_assert_str_eq(death.words, said);                                                       \
    }                                                                                              \
    static void name(void)

#define LAWFUL(name) SAYS(name, "")

static char          memory[64];
static struct unr_op first, second;

/* One end of a pair of sockets; the other end stays open, and silent. */
static int a_socket(void)
{
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    return ends[0];
}

static int a_listener(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && listen(fd, 8) == 0);
    return fd;
}

static void begin(struct unr_op *described)
{
    unr_start(loop, described, NULL, NULL);
}

static void turn(void)
{
    must(unr_loop_run_once(loop, 0) >= 0);
}

/* A turn in which something completes. */
static void complete_something(void)
{
    static struct unr_op nop;
    begin(unr_nop(&nop));
    while (unr_in_flight(&nop))
        must(unr_loop_run_once(loop, UNR_SEC(10)) >= 0);
}

static void end_all(void)
{
    unr_cancel(&first, UNR_CANCEL_ALL);
    unr_cancel(&second, UNR_CANCEL_ALL);
    must(unr_loop_run(loop) == 0);
}

/* ---- memory that is lent twice ---- */

#define LENT_RULE "to one operation at a time if it is written"

/* Two reads into one buffer, of which the second begins at the last byte of the first. */
BREACH(two_reads, "read (operation", "is lent to recv", LENT_RULE)
{
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    begin(unr_read(&second, a_socket(), memory + 7, 8, -1));
}

/* A read into what is being sent. */
BREACH(read_into_what_is_sent, "recv (operation", "is lent to send", LENT_RULE)
{
    begin(unr_send(&first, a_socket(), memory, 8, 0));
    begin(unr_recv(&second, a_socket(), memory, 8, 0));
}

/* A send of what is being read. */
BREACH(send_of_what_is_read, "send (operation", "is lent to recv", LENT_RULE)
{
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    begin(unr_send(&second, a_socket(), memory, 1, 0));
}

/* It is found at the start, also when the kernel has the first for long. */
BREACH(read_beside_one_in_flight, "recv (operation", "is lent to recv", LENT_RULE)
{
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    turn();
    begin(unr_recv(&second, a_socket(), memory, 8, 0));
}

/* A piece of several. */
BREACH(piece_of_a_readv, "recv (operation", "is lent to readv", LENT_RULE)
{
    static struct iovec pieces[2] = { { memory, 8 }, { memory + 32, 8 } };
    begin(unr_readv(&first, a_socket(), pieces, 2, -1));
    begin(unr_recv(&second, a_socket(), memory + 39, 1, 0));
}

/* The structure that says where the pieces are. */
BREACH(read_into_the_pieces, "recv (operation", "is lent to writev", LENT_RULE)
{
    static struct iovec pieces[2] = { { memory, 8 }, { memory + 32, 8 } };
    begin(unr_writev(&first, a_socket(), pieces, 2, -1));
    begin(unr_recv(&second, a_socket(), &pieces[1], 1, 0));
}

/* The addresses of two accepts. */
BREACH(address_of_two_accepts, "accept (operation", "is lent to accept", LENT_RULE)
{
    static struct sockaddr_storage address;
    static socklen_t               lengths[2] = { sizeof address, sizeof address };
    begin(unr_accept(&first, a_listener(), (struct sockaddr *)&address, &lengths[0], 0));
    begin(unr_accept(&second, a_listener(), (struct sockaddr *)&address, &lengths[1], 0));
}

/* And the length alone. */
BREACH(length_of_two_accepts, "accept (operation", "is lent to accept", LENT_RULE)
{
    static struct sockaddr_storage addresses[2];
    static socklen_t               len = sizeof addresses[0];
    begin(unr_accept(&first, a_listener(), (struct sockaddr *)&addresses[0], &len, 0));
    begin(unr_accept(&second, a_listener(), (struct sockaddr *)&addresses[1], &len, 0));
}

/* The address of a datagram. */
BREACH(address_of_a_datagram, "recv (operation", "is lent to recvfrom", LENT_RULE)
{
    static struct unr_datagram     datagram;
    static struct sockaddr_storage address;
    static socklen_t               len = sizeof address;
    int                            fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    begin(unr_recvfrom(&datagram, fd, memory, 8, 0, (struct sockaddr *)&address, &len));
    begin(unr_recv(&first, a_socket(), (char *)&address + 40, 8, 0));
}

/* A message, and where its control data goes. */
BREACH(control_data_of_a_message, "recv (operation", "is lent to recvmsg", LENT_RULE)
{
    static char          control[32];
    static struct iovec  piece = { memory, 8 };
    static struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control
    };
    begin(unr_recvmsg(&first, a_socket(), &message, 0));
    begin(unr_recv(&second, a_socket(), control + 31, 8, 0));
}

/* What statx fills in. */
BREACH(two_statx, "statx (operation", "is lent to statx", LENT_RULE)
{
    static struct statx stat;
    begin(unr_statx(&first, AT_FDCWD, "/", 0, STATX_SIZE, &stat));
    begin(unr_statx(&second, AT_FDCWD, "/", 0, STATX_SIZE, &stat));
}

/* An operation in flight is itself memory that nobody else may write. */
BREACH(read_into_an_operation, "recv (operation", "belongs to recv", LENT_RULE)
{
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    begin(unr_recv(&second, a_socket(), &first, 8, 0));
}

static void fill_recv(void *sqe, void *fd)
{
    io_uring_prep_recv(sqe, *(int *)fd, memory, 8, 0);
}

/* Of an SQE of the caller's this is known when it is filled in. */
BREACH(read_by_an_sqe, "mine (operation", "is lent to recv", LENT_RULE)
{
    static int fd;
    fd = a_socket();
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    begin(unr_sqe(&second, "mine", UNR_CANCEL_ALL, fill_recv, &fd));
    turn();
}

/* And remembered from then on. */
BREACH(read_beside_an_sqe, "recv (operation", "is lent to mine", LENT_RULE)
{
    static int fd;
    fd = a_socket();
    begin(unr_sqe(&second, "mine", UNR_CANCEL_ALL, fill_recv, &fd));
    turn();
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
}

/* A child counts as its combinator's own. */
BREACH(child_of_a_combinator, "recv (operation", "is lent to recv", LENT_RULE)
{
    static struct unr_deadline deadline;
    struct unr_op             *child = unr_recv(&first, a_socket(), memory, 8, 0);
    begin(unr_cancel_after(&deadline, child, UNR_SEC(1000)));
    begin(unr_recv(&second, a_socket(), memory, 8, 0));
}

/* ---- memory that is lent to what waits in a receiver ---- */

static struct unr_receiver receiver;
static struct unr_pool    *pool;
static int                 peer;

/* A receiver of a socket of that type, whose peer is silent: in most tests its reads wait. */
static void make_receiver(int type, bool pooled)
{
    struct unr_pool_options options = {
        .size = sizeof options, .count = 4, .buffer_size = 4096, .published = 1
    };
    int ends[2];
    must(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
    must(!pooled || unr_pool_open(&pool, loop, &options) == 0);
    peer = ends[1];
    unr_receiver_init(&receiver, loop, pooled ? pool : NULL, ends[0], 0);
    turn();
}

static void end_receiver(void)
{
    end_all();
    begin(unr_receiver_stop(&first, &receiver));
    must(unr_loop_run(loop) == 0);
    unr_receiver_free(&receiver);
    unr_pool_close(pool);
    pool = NULL;
}

static void shot(struct unr_op *op)
{
    (void)op;
}

/* A test for a receiver without a pool, and one for a receiver with one. */
#define BREACH_FOR_BOTH(name, type, ...)                                                           \
    static void name(void);                                                                        \
    BREACH(name##_without_a_pool, __VA_ARGS__)                                                     \
    {                                                                                              \
        make_receiver(type, false);                                                                \
        name();                                                                                    \
    }                                                                                              \
    BREACH(name##_with_a_pool, __VA_ARGS__)                                                        \
    {                                                                                              \
        make_receiver(type, true);                                                                 \
        name();                                                                                    \
    }                                                                                              \
    static void name(void)

/* A read of the kernel's into the memory of a read that waits in a receiver. */
BREACH_FOR_BOTH(read_into_a_waiting_receive, SOCK_STREAM, "recv (operation", "is lent to receive",
                LENT_RULE)
{
    begin(unr_receive(&first, &receiver, memory, 8));
    turn();
    begin(unr_recv(&second, a_socket(), memory + 7, 8, 0));
}

/* The other way round. */
BREACH_FOR_BOTH(receive_into_what_is_sent, SOCK_STREAM, "receive (operation", "is lent to send",
                LENT_RULE)
{
    begin(unr_send(&first, a_socket(), memory, 8, 0));
    begin(unr_receive(&second, &receiver, memory, 8));
}

/* A receive counts as one that waits from its start, though it ends there. */
BREACH(receive_of_what_has_come, "receive (operation", "is lent to recv", LENT_RULE)
{
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    must(write(ends[1], "x", 1) == 1);
    unr_receiver_init(&receiver, loop, NULL, ends[0], 0);
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    begin(unr_receive(&second, &receiver, memory, 8));
}

/* A message: its pieces, its name, itself. */
static char                    text[2][8];
static struct iovec            of_message[2] = { { text[0], 8 }, { text[1], 8 } };
static struct sockaddr_storage sender;
static struct msghdr           message = {
              .msg_name = &sender, .msg_namelen = sizeof sender, .msg_iov = of_message, .msg_iovlen = 2
};

BREACH_FOR_BOTH(read_into_a_piece_of_a_message, SOCK_DGRAM, "recv (operation", "is lent to receive",
                LENT_RULE)
{
    begin(unr_receive_message(&first, &receiver, &message));
    begin(unr_recv(&second, a_socket(), text[1], 8, 0));
}

BREACH_FOR_BOTH(read_into_the_name_of_a_message, SOCK_DGRAM, "recv (operation",
                "is lent to receive", LENT_RULE)
{
    begin(unr_receive_message(&first, &receiver, &message));
    begin(unr_recv(&second, a_socket(), &sender, 8, 0));
}

BREACH_FOR_BOTH(send_of_a_waiting_message, SOCK_DGRAM, "send (operation", "is lent to receive",
                LENT_RULE)
{
    begin(unr_receive_message(&first, &receiver, &message));
    begin(unr_send(&second, a_socket(), &message, sizeof message, 0));
}

/* The pieces into which a composed operation reads through a receiver. */
BREACH_FOR_BOTH(read_into_a_piece_of_a_transfer, SOCK_STREAM, "recv (operation",
                "is lent to receive", LENT_RULE)
{
    static struct unr_transfer transfer;
    static struct unr_stream   stream;
    unr_stream_receiver(&stream, &receiver);
    begin(unr_readv_exact(&transfer, &stream, of_message, 2));
    begin(unr_recv(&second, a_socket(), text[1], 8, 0));
}

/* One of its arguments is overwritten. */
BREACH_FOR_BOTH(argument_of_a_receive_overwritten, SOCK_STREAM, "receive (operation",
                "was freed, moved or overwritten while it was in flight")
{
    begin(unr_receive(&first, &receiver, memory, 8));
    first.private_fields.address++;
    complete_something();
}

/* A receive that has ended has given its memory back; a view is lent none. */
static void receive_lawfully(bool pooled)
{
    make_receiver(SOCK_STREAM, pooled);
    begin(unr_receive(&first, &receiver, memory, 8));
    turn();
    begin(unr_recv(&second, a_socket(), memory + 8, 8, 0));
    turn();
    end_all();
    begin(unr_recv(&second, a_socket(), memory, 8, 0));
    if (pooled)
        begin(unr_receive_view(&first, &receiver));
    turn();
    end_receiver();
}

LAWFUL(received_lawfully_without_a_pool)
{
    receive_lawfully(false);
}

LAWFUL(received_lawfully_with_a_pool)
{
    receive_lawfully(true);
}

/* Two operations may be given one layout, which nobody writes. */
LAWFUL(layout_of_two)
{
    static struct msghdr layout = { .msg_namelen = sizeof sender };
    make_receiver(SOCK_DGRAM, true);
    for (int i = 0; i < 2; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        unr_start(loop, unr_recvmsg_multishot(i ? &second : &first, fd, pool, &layout, 0), shot,
                  NULL);
    }
    turn();
    end_receiver();
}

static void write_into_a_layout(void *context)
{
    static struct msghdr  layout = { .msg_namelen = sizeof sender };
    struct unr_pool_stats stats;
    (void)context;
    open_checked();
    make_receiver(SOCK_DGRAM, true);
    unr_pool_stats(pool, &stats, sizeof stats);
    if (!stats.published) {
        dprintf(STDERR_FILENO, "no choice");
        _exit(0);
    }
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    unr_start(loop, unr_recvmsg_multishot(&first, fd, pool, &layout, 0), shot, NULL);
    begin(unr_recv(&second, a_socket(), &layout, 8, 0));
}

/* But it is not to be written. */
Test(checks, read_into_a_layout)
{
    struct death death = in_child(write_into_a_layout, NULL);
    if (strstr(death.words, "no choice"))
        cr_skip_test("the kernel chooses from no pool before Linux 6.7");
    expect_abort(&death, (const char *const[]){ "recv (operation", "is lent to recvmsg_multishot",
                                                LENT_RULE, NULL });
}

/* ---- memory that is given back while it is lent ---- */

#define GIVEN_BACK "is lent memory that is given back to its pool"

BREACH(buffer_given_back_while_it_is_sent, "send (operation", GIVEN_BACK)
{
    make_receiver(SOCK_STREAM, true);
    char *buffer = unr_pool_take(pool);
    begin(unr_send(&first, a_socket(), buffer + 4090, 6, 0));
    unr_pool_give(pool, buffer);
}

BREACH(buffer_given_back_while_it_is_read_into, "recv (operation", GIVEN_BACK)
{
    make_receiver(SOCK_STREAM, true);
    char *buffer = unr_pool_take(pool);
    begin(unr_recv(&first, a_socket(), buffer, 1, 0));
    turn();
    unr_pool_give(pool, buffer + 8);
}

/* A receiver with something to see, of which another socket is sent all. */
static size_t send_what_is_shown(void)
{
    size_t len;
    int    ends[2];
    make_receiver(SOCK_STREAM, true);
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    must(write(peer, "shown", 5) == 5);
    begin(unr_receive_view(&first, &receiver));
    must(unr_loop_run(loop) == 0);
    void *data = unr_receiver_data(&receiver, &len);
    begin(unr_send(&second, ends[0], data, len, 0));
    return len;
}

BREACH(consumed_while_it_is_sent, "send (operation", GIVEN_BACK)
{
    unr_receiver_consume(&receiver, send_what_is_shown());
}

/* A part may be consumed, the rest when the send has ended; another buffer may go back. */
LAWFUL(given_back_lawfully)
{
    size_t len = send_what_is_shown();
    char  *buffer = unr_pool_take(pool);
    unr_receiver_consume(&receiver, 2);
    unr_pool_give(pool, buffer);
    must(unr_loop_run(loop) == 0);
    unr_receiver_consume(&receiver, len - 2);
    end_receiver();
}

/* ---- memory that is lent to what waits for a channel ---- */

static struct unr_channel channel;
static struct unr_waiter  waiter;
static struct unr_select  choice;

/* The value of a sender that waits. */
BREACH(read_into_a_value_that_waits, "recv (operation", "is lent to channel_send", LENT_RULE)
{
    unr_channel_init(&channel, NULL, 8, 0);
    begin(unr_channel_send(&waiter, &channel, memory));
    begin(unr_recv(&first, a_socket(), memory + 7, 8, 0));
}

/* The room of a receiver that waits. */
BREACH(send_of_room_for_a_value, "send (operation", "is lent to channel_receive", LENT_RULE)
{
    unr_channel_init(&channel, NULL, 8, 0);
    begin(unr_channel_receive(&waiter, &channel, memory));
    begin(unr_send(&first, a_socket(), memory + 7, 8, 0));
}

/* The room of one case among several, and the cases themselves. */
static void choose(void)
{
    static struct unr_channel_case cases[2];
    unr_channel_init(&channel, NULL, 8, 0);
    cases[0] = (struct unr_channel_case){ .channel = &channel, .send = memory };
    cases[1] = (struct unr_channel_case){ .channel = &channel, .receive = memory + 8 };
    begin(unr_channel_select(&choice, cases, 2));
    begin(unr_send(&first, a_socket(), memory, 8, 0));
}

BREACH(send_of_room_of_a_case, "send (operation", "is lent to channel_select", LENT_RULE)
{
    choose();
    begin(unr_send(&second, a_socket(), memory + 15, 1, 0));
}

BREACH(read_into_a_case, "recv (operation", "is lent to channel_select", LENT_RULE)
{
    choose();
    begin(unr_recv(&second, a_socket(), (void *)(uintptr_t)choice.op.private_fields.address, 1, 0));
}

/* One value may be sent to several channels, one room may serve all cases of a choice, as one of
 * them is done, and values without a size are lent nothing. */
LAWFUL(values_lent_lawfully)
{
    static struct unr_channel_case cases[2];
    static struct unr_channel      other, empty;
    static struct unr_waiter       waiters[3];
    unr_channel_init(&channel, NULL, 8, 0);
    unr_channel_init(&other, NULL, 8, 0);
    unr_channel_init(&empty, NULL, 0, 0);
    begin(unr_channel_send(&waiters[0], &channel, memory));
    begin(unr_channel_send(&waiters[1], &other, memory));
    begin(unr_channel_receive(&waiters[2], &empty, NULL));
    must(unr_channel_try_receive(&channel, memory + 8) == 1);
    must(unr_channel_try_receive(&other, memory + 8) == 1);
    turn();
    cases[0] = (struct unr_channel_case){ .channel = &channel, .receive = memory };
    cases[1] = (struct unr_channel_case){ .channel = &other, .receive = memory };
    begin(unr_channel_select(&choice, cases, 2));
    must(unr_channel_try_send(&other, memory + 16) == 0);
    must(unr_channel_try_send(&empty, NULL) == 0);
    must(unr_loop_run(loop) == 0);
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    end_all();
}

/* Many are in flight, and one is longer than the others, which are in front of it, within it and
 * behind it. */
static void begin_among_many(size_t begins)
{
    static char          room[1 << 16];
    static struct unr_op ops[1000];
    int                  fd = a_socket();
    begin(unr_send(&first, fd, room + begins, 38000 - begins, 0));
    for (unsigned i = 0; i < LENGTH(ops); i++) {
        unsigned at = i * 7919 % LENGTH(ops); /* each once, in no order */
        begin(unr_send(&ops[at], fd, room + at * 40, 16, 0));
    }
    begin(unr_recv(&second, fd, room + 37500 + 30, 1, 0));
}

BREACH(one_of_many, "recv (operation", "is lent to send", LENT_RULE)
{
    begin_among_many(0);
}

BREACH(one_amid_many, "recv (operation", "is lent to send", LENT_RULE)
{
    begin_among_many(10000);
}

BREACH(one_amid_most, "recv (operation", "is lent to send", LENT_RULE)
{
    begin_among_many(20000);
}

/* What the kernel only reads may be lent any number of times; what is beside it is not it; and what
 * has ended has given its memory back. */
LAWFUL(memory_lent_lawfully)
{
    int fd = a_socket();
    begin(unr_send(&first, fd, memory, 8, 0));
    begin(unr_send(&second, fd, memory, 8, 0));
    must(unr_loop_run(loop) == 0);
    begin(unr_recv(&first, fd, memory, 8, 0));
    begin(unr_recv(&second, fd, memory + 8, 8, 0));
    turn();
    end_all();
    begin(unr_recv(&first, fd, memory, 16, 0));
    end_all();
}

/* ---- descriptors that are closed ---- */

#define CLOSED_RULE "a descriptor is lent from start until done"

/* close(2) while a read waits: found in the next turn in which something completes. */
BREACH(closed, "recv (operation", "on descriptor", "was closed", CLOSED_RULE)
{
    int fd = a_socket();
    begin(unr_recv(&first, fd, memory, 8, 0));
    turn();
    close(fd);
    complete_something();
}

/* Found also when the operation itself completes, and when it is asked to end. */
BREACH(closed_and_cancelled, "recv (operation", "was closed", CLOSED_RULE)
{
    int fd = a_socket();
    begin(unr_recv(&first, fd, memory, 8, 0));
    turn();
    unr_cancel(&first, UNR_CANCEL_ALL);
    close(fd);
    unr_loop_run(loop);
}

/* The number is another file's. */
BREACH(replaced, "recv (operation", "was closed", CLOSED_RULE)
{
    int fd = a_socket(), other = a_socket();
    begin(unr_recv(&first, fd, memory, 8, 0));
    turn();
    must(dup2(other, fd) == fd);
    complete_something();
}

/* The second descriptor of an operation. */
BREACH(second_descriptor_closed, "splice (operation", "was closed", CLOSED_RULE)
{
    int from[2], to[2];
    must(pipe2(from, O_CLOEXEC) == 0 && pipe2(to, O_CLOEXEC) == 0);
    begin(unr_splice(&first, from[0], -1, to[1], -1, 1, 0));
    turn();
    close(from[0]);
    complete_something();
}

/* The descriptor of an SQE of the caller's. */
BREACH(closed_under_an_sqe, "mine (operation", "was closed", CLOSED_RULE)
{
    static int fd;
    fd = a_socket();
    begin(unr_sqe(&first, "mine", UNR_CANCEL_ALL, fill_recv, &fd));
    turn();
    close(fd);
    complete_something();
}

/* One among many more than a turn looks at. */
BREACH(closed_among_many, "recv (operation", "was closed", CLOSED_RULE)
{
    static struct unr_op ops[300];
    static char          bytes[LENGTH(ops)];
    int                  fd = a_socket(), other = a_socket();
    for (unsigned i = 0; i < LENGTH(ops); i++)
        begin(unr_recv(&ops[i], i == 123 ? other : fd, &bytes[i], 1, 0));
    turn();
    close(other);
    for (int i = 0; i < 30; i++)
        complete_something();
}

/* unr_close() may, before the operation and behind it; cancel_close may; and so may a `done`. */
static void close_descriptor(struct unr_op *op)
{
    close(*(int *)op->data);
}

LAWFUL(closed_lawfully)
{
    static struct unr_op closer, nop;
    int                  fd = a_socket();
    begin(unr_recv(&first, fd, memory, 8, 0));
    turn();
    begin(unr_close(&closer, fd));
    complete_something();
    complete_something();
    end_all();

    fd = a_socket();
    begin(unr_close(&closer, fd));
    begin(unr_recv(&first, fd, memory, 8, 0));
    complete_something();
    end_all();

    fd = a_socket();
    begin(unr_recv(&first, fd, memory, 8, 0));
    turn();
    begin(unr_cancel_close(&closer, fd));
    must(unr_loop_run(loop) == 0);

    fd = a_socket();
    unr_start(loop, unr_recv(&first, fd, memory, 8, 0), close_descriptor, &fd);
    turn();
    unr_cancel(&first, UNR_CANCEL_ALL);
    begin(unr_nop(&nop));
    must(unr_loop_run(loop) == 0);
}

/* A loop with checks knows of the closes of another. */
LAWFUL(closed_on_another_loop)
{
    struct unr_loop *mine = loop;
    struct unr_op    closer = { 0 };
    int              fd = a_socket();
    begin(unr_recv(&first, fd, memory, 8, 0));
    turn();
    open_checked();
    begin(unr_close(&closer, fd));
    must(unr_loop_run(loop) == 0);
    must(unr_loop_close(loop) == 0);
    loop = mine;
    complete_something();
    end_all();
}

/* ---- operations that are freed or overwritten ---- */

#define OVERWRITTEN "was freed, moved or overwritten while it was in flight"

/* A system call, found when something else completes. */
BREACH(zeroed, "recv (operation", OVERWRITTEN)
{
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    turn();
    memset(&first, 0, sizeof first);
    complete_something();
}

/* One of its arguments alone. */
BREACH(argument_overwritten, "recv (operation", OVERWRITTEN)
{
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    turn();
    first.private_fields.address++;
    complete_something();
}

/* Its own completion is what comes next. */
BREACH(overwritten_before_its_completion, "recv (operation", OVERWRITTEN)
{
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    begin(unr_recv(&first, ends[0], memory, 8, 0));
    turn();
    memset(&first, 0xa5, sizeof first);
    must(write(ends[1], "x", 1) == 1);
    unr_loop_run_once(loop, UNR_SEC(10));
}

/* The kernel has not seen it yet: a structure of a function that has returned, say. */
BREACH(overwritten_before_it_is_submitted, "recv (operation", OVERWRITTEN)
{
    int fd = a_socket();
    begin(unr_recv(&second, fd, memory + 8, 8, 0));
    begin(unr_recv(&first, fd, memory, 8, 0));
    memset(&first, 0xa5, sizeof first);
    turn();
}

/* A timer. */
BREACH(timer_zeroed, "timer (operation", OVERWRITTEN)
{
    static struct unr_timer timer;
    begin(unr_timer_after(&timer, UNR_SEC(1000)));
    memset(&timer.op, 0, sizeof timer.op);
    complete_something();
}

/* The memory of an operation in flight is zeroed, and an operation started in it. */
BREACH(started_where_another_is, "recv (operation", OVERWRITTEN)
{
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    turn();
    memset(&first, 0, sizeof first);
    begin(unr_nop(&first));
}

static void overwrite_second(struct unr_op *op)
{
    static struct unr_signal signal;
    second.private_fields.slot = unr_signal_slot(&signal);
    (void)op;
}

/* It has completed, and its `done` comes next. */
BREACH(overwritten_before_its_done, "nop (operation", OVERWRITTEN)
{
    unr_start(loop, unr_nop(&first), overwrite_second, NULL);
    begin(unr_nop(&second));
    must(unr_loop_run(loop) == 0);
}

/* AddressSanitizer knows of memory that was freed, though it was not overwritten. */
#ifdef __SANITIZE_ADDRESS__
BREACH(freed, "recv (operation", OVERWRITTEN)
{
    struct unr_op *op = calloc(1, sizeof *op);
    begin(unr_recv(op, a_socket(), memory, 8, 0));
    turn();
    free(op);
    complete_something();
}
#endif

/* ---- requests that are refused ---- */

/* An operation that nothing ends but its own type. */
static void brew(struct unr_op *op)
{
    (void)op;
}

static void stop_brewing(struct unr_op *op, struct unr_cancel_request request)
{
    (void)request;
    unr_finish(op, -ECANCELED);
}

static const struct unr_op_type in_parts = {
    .size = sizeof(struct unr_op_type),
    .name = "brew",
    .supports = UNR_CANCEL_PARTIAL | UNR_CANCEL_TERMINAL,
    .start = brew,
    .cancel = stop_brewing,
};

static struct unr_op *in_slot(struct unr_op *op, struct unr_signal *signal)
{
    return unr_bind_slot(unr_describe(op, &in_parts), unr_signal_slot(signal));
}

SAYS(refused_by_one,
     "unring: a request for total (cause -125) was refused by brew, which supports partial and "
     "terminal\n")
{
    begin(unr_describe(&first, &in_parts));
    unr_cancel(&first, UNR_CANCEL_TOTAL);
    end_all();
}

SAYS(refused_for_good,
     "unring: a request for total, partial or terminal (cause -110) was refused by close, which "
     "supports none\n")
{
    begin(unr_close(&first, a_socket()));
    unr_cancel_cause(&first, UNR_CANCEL_ALL, -ETIMEDOUT);
    must(unr_loop_run(loop) == 0);
}

/* A signal that all refuse is told of once. */
SAYS(signal_refused_by_all,
     "unring: a request for total (cause -125) was refused by brew, which supports partial and "
     "terminal\n")
{
    struct unr_signal parent = { 0 }, children[2];
    memset(children, 0, sizeof children);
    unr_signal_attach(&children[0], &parent);
    unr_signal_attach(&children[1], &parent);
    begin(in_slot(&first, &children[0]));
    begin(in_slot(&second, &children[1]));
    must(unr_signal_emit(&parent, UNR_CANCEL_TOTAL) == 0);
    end_all();
}

SAYS(descriptor_refused_by_all,
     "unring: a request for terminal (cause -125) was refused by close, which supports none\n")
{
    int fd = a_socket();
    begin(unr_close(&first, fd));
    must(unr_cancel_fd(loop, fd, UNR_CANCEL_TERMINAL) == 0);
    must(unr_loop_run(loop) == 0);
}

static bool close_and_refuse(void *context, struct unr_cancel_request request)
{
    (void)request;
    begin(unr_cancel_close(&second, *(int *)context));
    return false;
}

/* What is refused inside a handler is told of by itself, and not as what the handler has refused.
 */
SAYS(closer_refused_inside_a_handler,
     "unring: a request for total, partial or terminal (cause -108) was refused by await, which "
     "supports none\n")
{
    struct unr_signal signal = { 0 };
    int               fd = a_socket();
    begin(unr_sqe(&first, "await", UNR_CANCEL_NONE, fill_recv, &fd));
    turn();
    unr_slot_assign(unr_signal_slot(&signal), close_and_refuse, &fd);
    must(unr_signal_emit(&signal, UNR_CANCEL_TOTAL) == 0);
    must(shutdown(fd, SHUT_RDWR) == 0);
    must(unr_loop_run(loop) == 0);
}

SAYS(deadline_refused,
     "unring: a request for total, partial or terminal (cause -110) was refused by steep, which "
     "supports none\n")
{
    static const struct unr_op_type steep = { .size = sizeof steep,
                                              .name = "steep",
                                              .start = brew };
    static struct unr_deadline      deadline;
    begin(unr_cancel_after(&deadline, unr_describe(&first, &steep), 1));
    while (first.result.verdict != UNR_VERDICT_REFUSED)
        must(unr_loop_run_once(loop, UNR_MSEC(1)) >= 0);
    unr_finish(&first, 0);
    must(unr_loop_run(loop) == 0);
}

/* A request that one honours, that comes late, or that nobody hears is not refused; nor is what the
 * loop itself requests when it is closed. */
LAWFUL(requests_that_are_not_refused)
{
    static struct unr_op closer;
    struct unr_signal    parent = { 0 }, children[2];
    memset(children, 0, sizeof children);
    int fd = a_socket();
    unr_signal_attach(&children[0], &parent);
    unr_signal_attach(&children[1], &parent);
    must(unr_signal_emit(&parent, UNR_CANCEL_TOTAL) == 0);
    must(unr_cancel_fd(loop, fd, UNR_CANCEL_TOTAL) == 0);
    begin(in_slot(&first, &children[0]));
    begin(unr_bind_slot(unr_recv(&second, fd, memory, 8, 0), unr_signal_slot(&children[1])));
    turn();
    must(unr_signal_emit(&parent, UNR_CANCEL_TOTAL) == 1);
    must(unr_signal_emit(&parent, UNR_CANCEL_ALL) == 2);
    unr_cancel(&first, UNR_CANCEL_TOTAL);
    must(unr_loop_run(loop) == 0);
    begin(unr_close(&closer, fd));
}

static void without_checks(void *context)
{
    (void)context;
    must(unr_loop_open(&loop, NULL) == 0);
    begin(unr_describe(&first, &in_parts));
    unr_cancel(&first, UNR_CANCEL_TOTAL);
    end_all();
    begin(unr_recv(&first, a_socket(), memory, 8, 0));
    begin(unr_recv(&second, a_socket(), memory, 8, 0));
    turn();
    end_all();
    must(unr_loop_close(loop) == 0);
}

/* Without the flag nothing is looked at. */
Test(checks, off_unless_asked_for)
{
    struct death death = in_child(without_checks, NULL);
    expect_success(&death);
    cr_assert_str_eq(death.words, "");
}

/* ---- a correct program ---- */

enum { CONNECTIONS = 100, ROUNDS = 20 };

struct connection {
    struct unr_compose  echo;
    struct unr_deadline idle;
    struct unr_op       recv, close;
    struct unr_stream   stream;
    struct unr_transfer write;
    struct unr_signal   stop;
    char                bytes[256];
    int                 fd;
};

static struct unr_op *receive(struct connection *c)
{
    struct unr_op *recv = unr_recv(&c->recv, c->fd, c->bytes, sizeof c->bytes, 0);
    return unr_cancel_after(&c->idle, recv, UNR_SEC(100));
}

static void step(struct unr_compose *echo, struct unr_op *done)
{
    struct connection *c = unr_container_of(echo, struct connection, echo);
    if (!done)
        unr_compose_next(echo, receive(c));
    else if (done->result.error || !done->result.bytes)
        unr_compose_end(echo, done->result.error);
    else if (done == &c->idle.op)
        unr_compose_next(echo, unr_write_all(&c->write, &c->stream, c->bytes, done->result.bytes));
    else
        unr_compose_next(echo, receive(c));
}

static void over(struct unr_op *op)
{
    struct connection *c = op->data;
    unr_signal_detach(&c->stop);
    unr_start(loop, unr_cancel_close(&c->close, c->fd), NULL, NULL);
}

/* A hundred connections echo what they get.  Half of them are told to stop, of the others the
 * clients leave, with their deadlines pending. */
LAWFUL(echo_with_a_hundred_connections)
{
    static struct connection connections[CONNECTIONS];
    static struct unr_signal stop;
    int                      clients[CONNECTIONS];
    char                     sent[100], got[100];
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &connections[i];
        int                ends[2];
        must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        clients[i] = ends[0];
        c->fd = ends[1];
        unr_stream_socket(&c->stream, c->fd);
        unr_signal_attach(&c->stop, &stop);
        unr_start(loop,
                  unr_bind_slot(unr_compose(&c->echo, "echo", UNR_CANCEL_ALL, step),
                                unr_signal_slot(&c->stop)),
                  over, c);
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < CONNECTIONS; i++) {
            memset(sent, round + i, sizeof sent);
            must(write(clients[i], sent, sizeof sent) == sizeof sent);
            for (size_t len = 0; len < sizeof got;) {
                must(unr_loop_run_once(loop, 0) >= 0);
                ssize_t n = recv(clients[i], got + len, sizeof got - len, MSG_DONTWAIT);
                len += n > 0 ? (size_t)n : 0;
            }
            must(memcmp(sent, got, sizeof got) == 0);
        }
    for (int i = 0; i < CONNECTIONS / 2; i++)
        must(close(clients[i]) == 0);
    for (int i = 0; i < ROUNDS; i++)
        must(unr_loop_run_once(loop, 0) >= 0);
    unr_signal_emit(&stop, UNR_CANCEL_ALL);
    must(unr_loop_run(loop) == 0);
    for (int i = CONNECTIONS / 2; i < CONNECTIONS; i++)
        must(close(clients[i]) == 0);
}
