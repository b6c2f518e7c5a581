/* SPDX-License-Identifier: MIT */
/* Helpers of the examples that no example is about: addresses, sockets, blocked signals, an end
 * with a message.  They are plain system calls, no unring. */
#ifndef EXAMPLES_COMMON_H
#define EXAMPLES_COMMON_H

#include <stdbool.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

struct address {
    struct sockaddr_storage storage;
    socklen_t               len;
};

/* Long enough for any address that format_address() writes. */
#define ADDRESS_TEXT 64

/* Reads "80", "127.0.0.1:80" or "[::1]:80": a port alone is on 127.0.0.1, a host is numeric.
 * False, and *ret_address untouched, for anything else. */
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

/* Has a TCP socket send what it gets when it gets it: TCP_NODELAY. */
void send_at_once(int fd);

/* Has close(2) of a TCP socket send a reset in place of an end. */
void reset_at_close(int fd);

/* Allows the process as many descriptors as it may have: the usual soft limit of 1024 is meant for
 * programs that use select(2).  Failing costs connections, not correctness. */
void raise_descriptor_limit(void);

/* Reads a finite number above 0.  False, and *ret_seconds untouched, for anything else. */
bool parse_seconds(const char *text, double *ret_seconds);

/* Prints the message, and the error's text unless `error` is 0, and ends the program with status
 * 1. */
__attribute__((noreturn)) void die(int error, const char *what);

/* Reads the command line "[LISTEN]", by default a port that the system chooses.  Returns a
 * listening socket and prints where it listens.  Ends the program with a message where something is
 * wrong. */
int listen_on_argument(int argc, char **argv);

/* The same for the command line "[LISTEN [SECONDS]]".
 * seconds  holds the default, and then the user's. */
int listen_for_seconds(int argc, char **argv, double *seconds);

/* Blocks signals of the process, as unr_sigwait() needs it: before there are threads.  Where it
 * fails, the program ends with a message. */
void block_signals(const int *signals, unsigned n);

/* SIGINT and SIGTERM, and block_signals() with them. */
extern const int interrupts[2];
void             block_interrupts(void);

/* Reads the command line "LISTEN TARGET [SECONDS]" of a proxy.  Sets the target, returns a
 * listening socket and prints where it listens.  Ends the program with a message where something is
 * wrong.
 * ret_target  NULL: the caller reads it, a name perhaps.
 * seconds  NULL where a step takes none; otherwise holds the default, and then the user's. */
int step_listen(int argc, char **argv, struct address *ret_target, double *seconds);

#ifdef __cplusplus
}
#endif

#endif
