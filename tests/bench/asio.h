/* SPDX-License-Identifier: MIT */
/* Boost.Asio for the benchmarks, with the backend that the makefile chooses: epoll, or with
 * -DBENCH_ASIO_URING io_uring.  One thread drives the context, and it is told so: its locks are
 * off. */
#ifndef BENCH_ASIO_H
#define BENCH_ASIO_H

#ifdef BENCH_ASIO_URING
#define BOOST_ASIO_HAS_IO_URING  1
#define BOOST_ASIO_DISABLE_EPOLL 1
#include <liburing.h>

/* Asio up to 1.26 (Boost 1.81) leaves the user_data of its cancel SQEs as it finds it, and since
 * liburing 2.2 nobody clears that: the cancel's completion then ends whichever operation used the
 * SQE before.  So it is cleared here. */
static inline struct io_uring_sqe *bench_get_clean_sqe(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

    if (sqe)
        sqe->user_data = 0;
    return sqe;
}
#define io_uring_get_sqe bench_get_clean_sqe
#endif

#include <boost/asio.hpp>

#include "bench.h"

namespace asio = boost::asio;
using boost::system::error_code;

#define BENCH_ASIO_HINT BOOST_ASIO_CONCURRENCY_HINT_UNSAFE

#endif
