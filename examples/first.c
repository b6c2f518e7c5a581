/* SPDX-License-Identifier: MIT */
/* A read under a deadline: a line that is typed within two seconds, or nothing.
 *
 *      $ first
 *      hello
 *      deadline of read completed with 6
 *
 *      $ first
 *      deadline of read was cancelled with the guarantee total: it left no trace; a cancellation
 *      (any guarantee, cause ETIMEDOUT (its time was over)) ended it
 *
 * The second answer is one line of output. */
#include <stdio.h>
#include <unistd.h>
#include <unring.h>

static void done(struct unr_op *op)
{
    puts(unr_explain_op(op));
}

int main(void)
{
    struct unr_loop    *loop;
    struct unr_op       read = { 0 };
    struct unr_deadline deadline = { 0 };
    char                line[256];
    int                 error = unr_loop_open(&loop, NULL);
    if (error) {
        fprintf(stderr, "%s\n", unr_explain(error));
        return 1;
    }
    struct unr_op *described = unr_read(&read, STDIN_FILENO, line, sizeof line, -1);
    unr_start(loop, unr_cancel_after(&deadline, described, UNR_SEC(2)), done, NULL);
    error = unr_loop_run(loop);
    return unr_loop_close(loop) || error;
}
