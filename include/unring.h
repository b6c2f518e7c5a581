/* SPDX-License-Identifier: MIT */
/* unring: asynchronous I/O on io_uring in which every operation can be cancelled on its own, and
 * says afterwards exactly what happened.
 *
 * This header includes all others but <unring/sim.h>, and each can be included alone.  The comment
 * at the top of op.h explains the words that all headers use: described, started, in flight, lent,
 * turn, honoured, guarantee, verdict, broken contract, combinator, child, member, wrapper. */
#ifndef UNRING_H
#define UNRING_H

#include <unring/acceptor.h>
#include <unring/buffer.h>
#include <unring/cancel.h>
#include <unring/cancel_scope.h>
#include <unring/channel.h>
#include <unring/compose.h>
#include <unring/connect.h>
#include <unring/deadline.h>
#include <unring/explain.h>
#include <unring/fiber.h>
#include <unring/file.h>
#include <unring/filter.h>
#include <unring/generator.h>
#include <unring/group.h>
#include <unring/io.h>
#include <unring/join.h>
#include <unring/loop.h>
#include <unring/multishot.h>
#include <unring/net.h>
#include <unring/nursery.h>
#include <unring/op.h>
#include <unring/pool.h>
#include <unring/process.h>
#include <unring/reader.h>
#include <unring/receiver.h>
#include <unring/relay.h>
#include <unring/resolve.h>
#include <unring/scope.h>
#include <unring/state.h>
#include <unring/stream.h>
#include <unring/sync.h>
#include <unring/system.h>
#include <unring/thread.h>
#include <unring/time.h>
#include <unring/timer.h>
#include <unring/transfer.h>
#include <unring/work.h>

#endif
