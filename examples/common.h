/* What the examples need and none of them is about: addresses, listening sockets, blocked signals,
 * an end with a message.  Plain system calls, no unring. */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <stdbool.h>
#include <sys/socket.h>

struct address {
    struct sockaddr_storage storage;
    socklen_t               len;
};

/* Long enough for any address that format_address() writes. */
#define ADDRESS_TEXT 64

/* "80", "127.0.0.1:80", "[::1]:80": a port alone is on 127.0.0.1, a host is numeric.  False, and
 * *ret_address untouched, for anything else. */
bool parse_address(const char *text, struct address *ret_address);

/* Writes the address as parse_address() reads it into `text`, and returns that. */
char *format_address(const struct address *address, char text[ADDRESS_TEXT]);

/* A listening socket on the address (port 0: the system chooses, local_address() tells), or a
 * negative errno. */
int listen_on(const struct address *address);

/* The address that a socket is bound to. */
struct address local_address(int fd);

/* A new TCP socket of the address's family, or a negative errno. */
int tcp_socket(const struct address *address);

/* Prints the message, and the error's text unless `error` is 0, and ends the program with status
 * 1. */
_Noreturn void die(int error, const char *what);

/* The command line of steps 7 and 8, "[LISTEN]", by default a port that the system chooses: returns
 * a listening socket and prints where it listens.  Ends the program with a message where something
 * is wrong. */
int listen_on_argument(int argc, char **argv);

/* SIGINT and SIGTERM, and how to block them: as unr_sigwait() needs it, before there are
 * threads. */
extern const int interrupts[2];
void             block_interrupts(void);

/* The command line of steps 0 to 4, "LISTEN TARGET [SECONDS]": sets the target, returns a listening
 * socket and prints where it listens.  Ends the program with a message where something is wrong.
 * seconds  NULL where a step takes none; otherwise its default, and what the user gave. */
int step_listen(int argc, char **argv, struct address *ret_target, double *seconds);

#endif
