/* SPDX-License-Identifier: MIT */
/* Whether a part of `make check` that needs io_uring is to be left out, as io_uring is refused
 * here.  Then it says so, with the reason, and succeeds; otherwise it fails without a word:
 *
 *      left_out PART || what the part does */
#include <stdio.h>

#include "../refusal.h"

int main(int argc, char **argv)
{
    const char *reason = uring_refusal();
    if (argc != 2) {
        fprintf(stderr, "Usage: left_out PART\n");
        return 2;
    }
    if (!reason)
        return 1;
    printf("%s: skipped: io_uring is refused: %s\n", argv[1], reason);
    return fflush(stdout) ? 2 : 0;
}
