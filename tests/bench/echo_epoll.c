/* SPDX-License-Identifier: MIT */
/* The echo by a bare loop of epoll_wait(2), recv(2) and send(2), with one buffer for all. */
#include "echo.h"

#include <sys/epoll.h>

#define EVENTS 256

static int    epoll;
static char  *buffer;
static size_t buffer_size;

static void open_server(const int *fds, long n, size_t size)
{
    struct epoll_event event = { .events = EPOLLIN };
    long               i;

    epoll = epoll_create1(EPOLL_CLOEXEC);
    buffer = malloc(size);
    buffer_size = size;
    for (i = 0; i < n; i++) {
        event.data.fd = fds[i];
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) < 0)
            die("epoll_ctl", errno);
    }
}

static void turn(void)
{
    struct epoll_event events[EVENTS];
    int                i, n = epoll_wait(epoll, events, EVENTS, -1);
    ssize_t            got;

    for (i = 0; i < n; i++) {
        got = recv(events[i].data.fd, buffer, buffer_size, MSG_DONTWAIT);
        if (got <= 0)
            die("recv", got < 0 ? errno : EPROTO);
        echo_sent((size_t)got,
                  send(events[i].data.fd, buffer, (size_t)got, MSG_DONTWAIT | MSG_NOSIGNAL));
    }
}

const struct echo_server echo_epoll = { "epoll", open_server, turn };
