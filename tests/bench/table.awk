# SPDX-License-Identifier: MIT
# Makes the table of the benchmarks out of lines "sample library name value".
#
# A library's figure is the median of its samples.  The ratio behind another library's figure is unring's figure
# divided by it: the median of the ratios in each sample, so that what slowed a whole sample down is not in it.
# In a section about a part of unring that is `ours`, and its figure is divided.
# The budgets are those of the design; rows without one are there to be looked at.

BEGIN {
    libraries = split("unring fibers receivers pooled liburing epoll libuv libev asio_uring asio_epoll awaitable_uring awaitable_epoll haproxy", library)
    ours = "unring"
    title["asio_uring"] = "Asio/io_uring"
    title["asio_epoll"] = "Asio/epoll"
    title["awaitable_uring"] = "Asio's coroutines/io_uring"
    title["awaitable_epoll"] = "Asio's coroutines/epoll"
    title["haproxy"] = "HAProxy"
}

{
    value[$3, $2, $1] = $4
    seen[$2] = measured[$3] = 1
    if ($1 > samples)
        samples = $1
}

# ---- figures ----

# The median of list[1..n], which is sorted in place.  (Insertion: there are a handful.)
function median(list, n,    i, k, x) {
    for (i = 2; i <= n; i++) {
        x = list[i]
        for (k = i - 1; k >= 1 && list[k] > x; k--)
            list[k + 1] = list[k]
        list[k + 1] = x
    }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

function known(name, who) {
    for (sample = 1; sample <= samples; sample++)
        if ((name, who, sample) in value)
            return 1
    return 0
}

function figure(name, who,    n, list) {
    for (sample = 1; sample <= samples; sample++)
        if ((name, who, sample) in value)
            list[++n] = value[name, who, sample]
    return median(list, n)
}

# Over the samples that both have: our figure divided by that of `who`, or minus it.
function compare(name, who, how,    n, list, own, theirs) {
    for (sample = 1; sample <= samples; sample++)
        if ((name, ours, sample) in value && (name, who, sample) in value) {
            own = value[name, ours, sample]
            theirs = value[name, who, sample]
            list[++n] = how == "minus" ? own - theirs : theirs ? own / theirs : 1
        }
    return median(list, n)
}

# ---- printing ----

function number(x) {
    return x < 0 ? "-" number(-x) : x >= 1000 ? sprintf("%.0f", x) : x >= 100 ? sprintf("%.1f", x) : x >= 10 ? sprintf("%.2f", x) : sprintf("%.3f", x)
}

function cell(name, who) {
    if (!known(name, who))
        return "-"
    if (who == ours || !known(name, ours))
        return number(figure(name, who))
    return sprintf("%s (%.2f)", number(figure(name, who)), compare(name, who, "ratio"))
}

function section(text, part) {
    heading = text
    ours = part ? part : "unring"
}

# One row.  `who` and `bound` are the budget: at most `bound` (or, for "at least", no less) times the figure of
# `who`, or with "plus" at most `bound` more than it; with "within", whose `who` is unring, at most `bound`.
function row(name, text, how, bound, who,    i, line) {
    if (!(name in measured))
        return
    if (heading != "") {
        printf "\n%s\n", heading
        heading = ""
    }
    line = sprintf("  %-34s", text)
    for (i = 1; i <= libraries; i++)
        if (library[i] in seen)
            line = line sprintf("%*s", i == 1 ? 10 : 16, cell(name, library[i]))
    print line (how != "" && known(name, ours) && known(name, who) ? "   " verdict(name, how, bound, who) : "")
}

function verdict(name, how, bound, who,    x, good, words) {
    x = how == "within" ? figure(name, ours) : compare(name, who, how == "plus" ? "minus" : "ratio")
    good = how == "at least" ? x >= bound : x <= bound
    good ? met++ : missed++
    if (how == "plus")
        words = sprintf("%+.1f, budget +%d", x, bound)
    else if (how == "within")
        words = sprintf("budget at most %d", bound)
    else
        words = sprintf("%.3f, budget %s %.2f of %s", x, how, bound, who)
    return sprintf("%-6s %s", good ? "met" : "MISSED", words)
}

function header(    i, line) {
    line = sprintf("%-36s", "medians, " rounds " round" (rounds == 1 ? "" : "s"))
    for (i = 1; i <= libraries; i++)
        if (library[i] in seen)
            line = line sprintf("%*s", i == 1 ? 10 : 16, library[i] in title ? title[library[i]] : library[i])
    print line "   budget"
    print "in brackets: unring's figure divided by that one"
}

function servers(word, sizes, counts,    i, k, s, c, ns, nc) {
    ns = split(sizes, s)
    nc = split(counts, c)
    section(word ", requests per second")
    for (i = 1; i <= ns; i++)
        for (k = 1; k <= nc; k++)
            row(word "." c[k] "x" s[i] ".rate", server_text(c[k], s[i]), "at least", 0.97, "liburing")
    section(word ", processor time of the server, ns per request")
    for (i = 1; i <= ns; i++)
        for (k = 1; k <= nc; k++)
            row(word "." c[k] "x" s[i] ".cpu", server_text(c[k], s[i]))
}

# A column stands for a library, so each way of unring's to serve has a row, with the others beside it.
function echo_alone(mode, case, text,    way, n, i, bound) {
    n = split("unring send_now receiver receiver_copy receiver_view multishot", way)
    section("echo, the server alone, " mode ", " text ": ns per message, 10th percentile")
    for (i = 1; i <= n; i++) {
        alias("alone." mode "." case, way[i])
        bound = alone_bound(case, way[i])
        row("alone." mode "." case "." way[i], way_text[way[i]], bound ? "at most" : "", bound, "liburing")
    }
}

# Makes a row of one way's figures and of those that it is compared with.
function alias(name, way,    sample, other, n, i) {
    n = split("liburing epoll libuv libev asio_epoll asio_uring", other)
    for (sample = 1; sample <= samples; sample++)
        if ((name, way, sample) in value) {
            measured[name "." way] = seen["unring"] = 1
            value[name "." way, "unring", sample] = value[name, way, sample]
            for (i = 1; i <= n; i++)
                if ((name, other[i], sample) in value)
                    value[name "." way, other[i], sample] = value[name, other[i], sample]
        }
}

# 64 bytes cost most where bytes are few; 16 KiB are not worth copying.
function alone_bound(case, way) {
    if (way == "receiver")
        return case == "64x16384" ? 1.05 : case == "64x64" || case == "1000x64" ? 1.07 : 0
    if (way == "receiver_view")
        return case == "64x16384" ? 1.02 : case == "1x64" ? 1.05 : 1.03
    if (way == "receiver_copy")
        return case == "64x16384" ? 0 : case == "1x64" ? 1.05 : 1.03
    return 0
}

function receivers_cancelled(part, text) {
    section(text ", ns of processor time per operation", part)
    row("batch.1", "1 at a time", "at most", 0.12, "liburing")
    row("batch.256", "256 at a time", "at most", 0.12, "liburing")
    row("recent.1000", "most recent of 1,000", "at most", 0.12, "liburing")
    row("random.10000", "any one of 10,000", "at most", 0.12, "liburing")
}

function server_text(connections, size) {
    return sprintf("%d connection%s, %s", connections, connections == 1 ? "" : "s", size == 64 ? "64 bytes" : "16 KiB")
}

END {
    if (!samples) {
        print "bench: nothing was measured"
        exit 1
    }
    header()
    section("nop, ns of processor time per operation")
    row("nop.1", "1 at a time", "plus", 25, "liburing")
    row("nop.64", "64 at a time", "plus", 25, "liburing")

    section("read and cancel, ns of processor time per operation (libuv, libev, Asio/epoll: no operation of the kernel\047s is cancelled)")
    row("batch.1", "1 at a time", "at most", 1.1, "liburing")
    row("batch.256", "256 at a time", "at most", 1.1, "liburing")
    row("recent.1000", "most recent of 1,000", "at most", 1.1, "liburing")
    row("recent.10000", "most recent of 10,000", "at most", 1.1, "liburing")
    row("random.1000", "any one of 1,000", "at most", 1.1, "liburing")
    row("random.10000", "any one of 10,000", "at most", 1.1, "liburing")
    row("random.100000", "any one of 100,000")

    receivers_cancelled("receivers", "a read of a receiver and cancel")
    receivers_cancelled("pooled", "a read of a receiver with a pool and cancel")

    section("timers, a million outstanding, ns of processor time per timer")
    row("restart.1000000", "cancel any, start it anew", "at most", 0.5, "libev")
    row("another.1000000", "start another, cancel it")
    row("move.1000000", "move any")
    row("fire.1000000", "fire all", "at most", 0.5, "libev")

    section("a deadline that does not fire, ns of processor time more per operation")
    row("deadline.1", "1 at a time (the clock is read)")
    row("deadline.64", "64 at a time", "within", 40, "unring")

    section("a group of two, ns of processor time more per group")
    row("group.any.1", "any, 1 at a time", "within", 60, "unring")
    row("group.any.64", "any, 64 at a time", "within", 60, "unring")
    row("group.all.1", "all, 1 at a time", "within", 60, "unring")
    row("group.all.64", "all, 64 at a time", "within", 60, "unring")

    section("a composed operation, ns of processor time more per step")
    row("compose.1", "1 at a time")
    row("compose.64", "64 at a time")
    row("compose.allocated.64", "pieces of memory allocated", "within", 0, "unring")

    section("a value sent and received, ns of processor time")
    row("channel.0.1", "capacity 0, one sender", "within", 250, "unring")
    row("channel.0.64", "capacity 0, 64 senders", "within", 250, "unring")
    row("channel.64.1", "capacity 64, one sender", "within", 150, "unring")
    row("channel.64.64", "capacity 64, 64 senders", "within", 150, "unring")
    row("channel.try", "without a wait, per call", "within", 10, "unring")

    section("a call on another thread and back, elapsed ns")
    row("work.1", "1 at a time")
    row("work.64", "64 at a time", "at most", 1, "libuv")

    section("fibers, ns of processor time")
    row("fiber.callback", "a nop, by callback, 64 in flight")
    row("fiber.await", "the same awaited in fibers")
    row("fiber.yield.64", "a yield, 64 are ready", "at most", 0.7, "asio_epoll")
    row("fiber.yield.1", "a yield, alone", "at most", 0.7, "asio_epoll")
    row("fiber.any", "a nop or a timer", "at most", 0.3, "asio_epoll")
    row("fiber.life", "begin, run, end", "at most", 0.3, "asio_epoll")
    row("fiber.life.awaited", "the same, awaited by a fiber")
    row("fiber.life.spawned", "the same, in a nursery")
    row("fiber.scope", "a cancel scope, entered and left")
    row("fiber.scope.timed", "with a deadline")
    row("fiber.nursery", "a nursery, opened and closed")

    section("coroutines of C++20, ns of processor time")
    row("coroutine.await", "co_await of a nop, 64 in flight")
    row("coroutine.percent", "the same, % of unr_await in fibers", "within", 110, "unring")
    row("coroutine.any", "a nop || a timer", "at most", 0.3, "asio_epoll")
    row("coroutine.child", "co_await of a child that ends", "within", 45, "unring")
    row("coroutine.life", "spawn, run, end", "at most", 0.4, "asio_epoll")

    section("lines of 64 bytes, thousands per second of processor time")
    row("lines.bulk", "1,024 at a time", "at least", 0.9, "liburing")
    row("lines.bulk_found", "the same, looked for by the caller", "at least", 0.9, "liburing")
    row("lines.single", "each by itself", "at least", 0.9, "liburing")

    section("the same with a receiver that has a pool", "pooled")
    row("lines.bulk", "1,024 at a time", "at least", 1, "liburing")
    row("lines.bulk_found", "the same, looked for by the caller", "at least", 1, "liburing")
    row("lines.single", "each by itself", "at least", 1, "liburing")

    section("1 GiB written to a slow reader, 1 MiB at a time (liburing: MSG_WAITALL)")
    row("write_all.rate", "MiB per second", "at least", 0.97, "liburing")
    row("write_all.cpu", "us of processor time per MiB")

    way_text["unring"] = "unr_recv and unr_send"
    way_text["send_now"] = "unr_recv, unr_send_now"
    way_text["receiver"] = "a receiver without a pool"
    way_text["receiver_copy"] = "with a pool, copying"
    way_text["receiver_view"] = "with a pool, by view"
    way_text["multishot"] = "unr_recv_multishot"
    for (i = 1; i <= 2; i++) {
        mode = i == 1 ? "tcp" : "unix"
        echo_alone(mode, "1x64", "1 connection, 64 bytes")
        echo_alone(mode, "64x64", "64 connections, 64 bytes")
        echo_alone(mode, "1000x64", "1000 connections, 64 bytes")
        echo_alone(mode, "64x16384", "64 connections, 16 KiB")
    }

    servers("echo", "64 16384", "1 64 1000")
    servers("proxy", "64 16384", "64")

    section("memory, resident bytes per idle connection, with a buffer of 64 bytes")
    row("idle", "10,000 connections")

    section("instructions in user space per operation")
    row("instructions.nop.1", "nop, 1 at a time")
    row("instructions.nop.64", "nop, 64 at a time")
    row("instructions.batch.1", "read and cancel, 1 at a time")
    row("instructions.batch.256", "read and cancel, 256 at a time")

    section("system calls per operation")
    row("syscalls.nop.1", "nop, 1 at a time", "at most", 1, "liburing")
    row("syscalls.nop.64", "nop, 64 at a time", "at most", 1, "liburing")
    row("syscalls.batch.1", "read and cancel, 1 at a time", "at most", 1, "liburing")
    row("syscalls.batch.256", "read and cancel, 256 at a time", "at most", 1, "liburing")
    row("syscalls.random.1000", "read and cancel, any one of 1,000", "at most", 1, "liburing")
    row("syscalls.write_all", "1 MiB written to a slow reader")
    row("syscalls.lines", "a line of 64 bytes, 1,024 at a time", "at most", 1, "liburing")
    row("syscalls.echo.1", "echo, 1 connection, 64 bytes", "at most", 1, "liburing")
    # How many requests are in when the server looks is chance: that much is allowed to it.
    row("syscalls.echo.64", "echo, 64 connections, 64 bytes", "at most", 1.1, "liburing")

    printf "\nbudgets: %d met, %d missed\n", met, missed
}
