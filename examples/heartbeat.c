/* SPDX-License-Identifier: MIT */
/* A heartbeat: every 100 ms a timer cancels the read that waits, and no other operation.
 *
 * The read is bound to the slot of a signal, and the timer emits.  It asks for TOTAL: a read that
 * was cancelled so has taken nothing, and the next read finds everything.  After three silences the
 * program writes into its own pipe, and that read completes.  Then no read is there to hear the
 * signal, the emit says so, and the program ends.
 *
 *      $ heartbeat
 *      read on descriptor 5 was cancelled with the guarantee total: it left no trace, after 0
 *      bytes; a cancellation (total, cause ETIMEDOUT (its time was over)) ended it
 *          (the same twice more)
 *      write on descriptor 6 completed with 5
 *      read on descriptor 5 completed with 5
 *
 * The first answer is one line of output. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>
#include <unring.h>

#define INTERVAL UNR_MSEC(100)

struct session {
    struct unr_loop  *loop;
    struct unr_op     read, write;
    struct unr_timer  heartbeat;
    struct unr_signal silence; /* its slot holds the read that is in flight */
    int               pipe[2];
    unsigned          silences;
    char              buffer[4096];
};

static void was_read(struct unr_op *op);

static void read_more(struct session *s)
{
    struct unr_op *read = unr_read(&s->read, s->pipe[0], s->buffer, sizeof s->buffer, -1);
    unr_start(s->loop, unr_bind_slot(read, unr_signal_slot(&s->silence)), was_read, s);
}

static void was_written(struct unr_op *op)
{
    puts(unr_explain_op(op));
}

static void was_read(struct unr_op *op)
{
    struct session *s = op->data;

    puts(unr_explain_op(op));
    if (op->result.error != -ECANCELED)
        return;
    read_more(s);
    if (++s->silences == 3)
        unr_start(s->loop, unr_write(&s->write, s->pipe[1], "hello", 5, -1), was_written, s);
}

static void beat(struct unr_op *op)
{
    struct session *s = op->data;

    unr_signal_emit_cause(&s->silence, UNR_CANCEL_TOTAL, -ETIMEDOUT);
    if (unr_slot_has_handler(unr_signal_slot(&s->silence))) /* the read is in flight */
        unr_start(s->loop, unr_timer_after(&s->heartbeat, INTERVAL), beat, s);
}

int main(void)
{
    struct session s = { 0 };
    int            error = unr_loop_open(&s.loop, NULL);
    if (error || pipe(s.pipe) < 0) {
        fprintf(stderr, "%s\n", error ? unr_explain(error) : "no pipe");
        return 1;
    }
    read_more(&s);
    unr_start(s.loop, unr_timer_after(&s.heartbeat, INTERVAL), beat, &s);
    error = unr_loop_run(s.loop);
    return unr_loop_close(s.loop) || error;
}
