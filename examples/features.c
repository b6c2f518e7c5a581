/* SPDX-License-Identifier: MIT */
/* What this kernel offers to unring: a line for each feature, and whether the loop has it.  Where
 * no loop can be opened, it says why and what can be done.
 *
 *      features
 *      features --failures                   # how each failure to open one is explained here */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unring.h>

static int print_failures(void)
{
    static const int errors[] = { -ENOSYS, -EPERM, -ENOMEM, -EMFILE, -EINVAL };

    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        printf("%s\n", unr_explain(errors[i]));
    return fflush(stdout) ? 1 : 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--failures") == 0)
        return print_failures();
    if (argc != 1) {
        bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
        fprintf(help ? stdout : stderr, "Usage: features [--failures]\n");
        return help ? 0 : 2;
    }

    struct utsname   kernel;
    struct unr_loop *loop;
    int              error = unr_loop_open(&loop, NULL);
    if (error) {
        fprintf(stderr, "features: no loop can be opened here: %s\n", unr_explain(error));
        return 1;
    }
    if (uname(&kernel) == 0)
        printf("%s %s on %s\n\n", kernel.sysname, kernel.release, kernel.machine);

    const char *name, *needs;
    bool        has;
    unsigned    missing = 0, index;
    int         width = 0;
    for (index = 0; unr_loop_feature(loop, index, &name, &needs, &has); index++)
        if ((int)strlen(name) > width)
            width = (int)strlen(name);
    printf("%-*s  here  since Linux\n", width, "feature");
    for (index = 0; unr_loop_feature(loop, index, &name, &needs, &has); index++) {
        printf("%-*s  %-4s  %s\n", width, name, has ? "yes" : "no", needs);
        missing += !has;
    }
    printf("\n%u of %u are here.\n", index - missing, index);
    return unr_loop_close(loop) || fflush(stdout) ? 1 : 0;
}
