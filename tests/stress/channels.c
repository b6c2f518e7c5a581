/* SPDX-License-Identifier: MIT */
/* Random cancellations of sends, receives and selects, some with deadlines, over channels that are
 * closed and made anew.  Each value is received once and in its order, or its sender is told that
 * it was not sent; each select does one thing; each result agrees with what was asked. */
#include "stress.h"

enum { CANCELS = 1000000, FEW_CANCELS = 40000 };
enum { CHANNELS = 6, PARTIES = 40, VALUES = 2000 /* of a channel, until it is closed */ };

/* Where a value may be. */
enum fate { NOT_YET, UNDER_WAY, SENT, STAYED, RECEIVED_UNDER_WAY, RECEIVED };

struct line {
    struct unr_channel channel;
    uint64_t           storage[64];
    uint32_t           count;  /* of the values so far */
    uint32_t           latest; /* that reached a receiver's `done` */
    unsigned           users;  /* parties in flight */
    bool               closed;
    uint8_t            fates[VALUES]; /* enum fate */
};

enum role { SENDER, RECEIVER, SELECT };

struct party {
    enum role               role;
    struct unr_waiter       waiter;
    struct unr_select       select;
    struct unr_deadline     deadline;
    struct unr_channel_case cases[2];
    struct line            *lines[2];  /* of a select, of each case */
    uint64_t                values[2]; /* to send; else the room */
    struct asked            asked;
    bool                    has_deadline, in_flight;
};

static struct line  lines[CHANNELS];
static struct party parties[PARTIES];
static uint64_t     cancelled, too_late, received, stayed, selected, closed_count;

/* ---- values ---- */

static uint64_t new_value(struct line *line)
{
    line->fates[line->count] = UNDER_WAY;
    return line->count++;
}

static void check_received(struct line *line, uint64_t value)
{
    check(value < line->count);
    uint8_t *fate = &line->fates[value];
    check(*fate == UNDER_WAY || *fate == SENT);
    *fate = *fate == SENT ? RECEIVED : RECEIVED_UNDER_WAY;
    received++;
}

/* Receivers end in the order in which they were served. */
static void check_order(struct line *line, uint64_t value)
{
    check(line->latest == 0 || value >= line->latest);
    line->latest = (uint32_t)value + 1;
}

static void check_sent(struct line *line, uint64_t value, bool was_sent)
{
    uint8_t *fate = &line->fates[value];
    check(*fate == UNDER_WAY || (*fate == RECEIVED_UNDER_WAY && was_sent));
    *fate = *fate == RECEIVED_UNDER_WAY ? RECEIVED : was_sent ? SENT : STAYED;
    stayed += !was_sent;
}

/* ---- channels ---- */

static void make_anew(struct line *line)
{
    static const size_t capacities[] = { 0, 0, 1, 7, 64 };
    size_t              capacity = capacities[below(5)];
    memset(line, 0, sizeof *line);
    unr_channel_init(&line->channel, capacity ? line->storage : NULL, sizeof *line->storage,
                     capacity);
}

/* A channel that is closed, and that nobody waits for, has nothing left when it was emptied. */
static void empty(struct line *line)
{
    uint64_t value;
    int      n;
    while ((n = unr_channel_try_receive(&line->channel, &value)) == 1)
        check_received(line, value);
    check(n == 0);
    check(unr_channel_count(&line->channel) == 0);
    for (uint32_t i = 0; i < line->count; i++)
        check(line->fates[i] == RECEIVED || line->fates[i] == STAYED);
    closed_count++;
    make_anew(line);
}

static void close_channel(struct line *line)
{
    unr_channel_close(&line->channel);
    line->closed = true;
}

/* ---- parties ---- */

static struct unr_op *op_of(struct party *p)
{
    return p->role == SELECT ? &p->select.op : &p->waiter.op;
}

static void ask(struct party *p)
{
    struct unr_op *op = op_of(p);
    unsigned       types = random_types();
    int            cause = -2000 - (int)below(3);
    if (!p->in_flight)
        return;
    note_request(&p->asked, UNR_CANCEL_ALL, types, cause);
    check(unr_cancel_cause(op, types, cause));
}

static void end_select(struct party *p, const struct unr_result *r)
{
    bool cancelled_it = r->error == -ECANCELED;
    for (int i = 0; i < 2; i++) {
        struct unr_channel_case *one = &p->cases[i];
        bool                     done = !cancelled_it && r->value == i;
        check(!one->closed || done);
        if (one->send)
            check_sent(p->lines[i], p->values[i], done && !one->closed);
        else if (done && !one->closed) {
            check_order(p->lines[i], p->values[i]);
            check_received(p->lines[i], p->values[i]);
        }
    }
    check(cancelled_it || r->value == 0 || r->value == 1);
    if (!cancelled_it)
        check((r->error == -EPIPE)
              == (p->cases[r->value].closed && p->cases[r->value].send != NULL));
    selected += !cancelled_it;
}

static void done(struct unr_op *op)
{
    struct party            *p = op->data;
    const struct unr_result *r = &op_of(p)->result;
    p->in_flight = false;
    if (!p->has_deadline)
        check_result(op_of(p), &p->asked, UNR_CANCEL_ALL);
    cancelled += r->error == -ECANCELED;
    too_late += r->verdict == UNR_VERDICT_TOO_LATE;
    switch (p->role) {
    case SENDER:
        check(r->error == 0 || r->error == -ECANCELED || r->error == -EPIPE);
        check(r->error != -EPIPE || p->lines[0]->closed);
        check_sent(p->lines[0], p->values[0], r->error == 0);
        break;
    case RECEIVER:
        check(r->error == 0 || r->error == -ECANCELED);
        if (r->error == 0 && r->value) {
            check_order(p->lines[0], p->values[0]);
            check_received(p->lines[0], p->values[0]);
        } else if (r->error == 0) {
            check(p->lines[0]->closed);
        }
        break;
    default: end_select(p, r);
    }
    for (int i = 0; i < (p->role == SELECT ? 2 : 1); i++)
        p->lines[i]->users--;
    if (one_in(8))
        ask(&parties[below(PARTIES)]);
}

static struct line *random_line(void)
{
    return &lines[below(CHANNELS)];
}

/* Describes a select of two cases, of one channel perhaps. */
static struct unr_op *describe_select(struct party *p)
{
    for (int i = 0; i < 2; i++) {
        struct line *line = p->lines[i] = random_line();
        p->cases[i] = (struct unr_channel_case){ .channel = &line->channel };
        if (one_in(2) && line->count < VALUES) {
            p->values[i] = new_value(line);
            p->cases[i].send = &p->values[i];
        } else {
            p->cases[i].receive = &p->values[i];
        }
        line->users++;
    }
    return unr_channel_select(&p->select, p->cases, 2);
}

static struct unr_op *describe(struct party *p)
{
    p->role = below(3);
    if (p->role == SELECT)
        return describe_select(p);
    struct line *line = p->lines[0] = random_line();
    if (line->count == VALUES)
        p->role = RECEIVER;
    line->users++;
    if (p->role == RECEIVER)
        return unr_channel_receive(&p->waiter, &line->channel, &p->values[0]);
    p->values[0] = new_value(line);
    return unr_channel_send(&p->waiter, &line->channel, &p->values[0]);
}

static void begin(struct party *p)
{
    struct unr_op *described = describe(p);
    p->asked = (struct asked){ 0 };
    p->has_deadline = one_in(6);
    if (p->has_deadline)
        described = unr_cancel_after(&p->deadline, described, one_in(3) ? 0 : below(100000));
    p->in_flight = true;
    unr_start(loop, described, done, p);
}

/* ---- the whole ---- */

static void try_something(void)
{
    struct line *line = random_line();
    uint64_t     value;
    int          n;
    if (one_in(2)) {
        n = unr_channel_try_receive(&line->channel, &value);
        if (n == 1)
            check_received(line, value);
        check(n == 1 || (n == 0) == line->closed);
    } else if (line->count < VALUES) {
        value = new_value(line);
        n = unr_channel_try_send(&line->channel, &value);
        check((n == -EPIPE) == line->closed);
        check_sent(line, value, n == 0);
    }
}

static void step(void)
{
    for (unsigned i = below(PARTIES), n = below(12); n; n--, i = (i + 1) % PARTIES)
        if (!parties[i].in_flight)
            begin(&parties[i]);
    for (unsigned n = below(6); n; n--)
        ask(&parties[below(PARTIES)]);
    for (unsigned n = below(3); n; n--)
        try_something();
    for (struct line *line = lines; line < lines + CHANNELS; line++) {
        if (!line->closed && (line->count == VALUES || one_in(2000)))
            close_channel(line);
        if (line->closed && line->users == 0)
            empty(line);
    }
    turn(0);
}

static void end_all(void)
{
    for (struct line *line = lines; line < lines + CHANNELS; line++)
        close_channel(line);
    while (unr_loop_in_flight(loop))
        turn(UNR_NEVER);
    for (struct line *line = lines; line < lines + CHANNELS; line++) {
        check(line->users == 0);
        empty(line);
    }
}

int main(int argc, char **argv)
{
    read_options(argc, argv, CANCELS, FEW_CANCELS);
    strcpy(where, "channels");
    seed_random(1);
    guard(options.cancels);
    open_loop((struct unr_loop_options){ .entries = 16 });
    for (struct line *line = lines; line < lines + CHANNELS; line++)
        make_anew(line);
    double began = seconds();
    while (cancelled < options.cancels)
        step();
    end_all();
    check(unr_loop_close(loop) == 0);
    loop = NULL;
    printf("channels: %" PRIu64 " cancelled, %" PRIu64 " too late, %" PRIu64
           " values received, %" PRIu64 " kept, %" PRIu64 " selects, %" PRIu64
           " channels, %.1f s\n",
           cancelled, too_late, received, stayed, selected, closed_count, seconds() - began);
    return 0;
}
