/* SPDX-License-Identifier: MIT */
/* Runs a command that io_uring is refused to, as a container's seccomp filter does it:
 *
 *      without_uring EPERM|EACCES|ENOSYS COMMAND [ARGUMENT...] */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int refuse(int error)
{
    /* The three system calls follow one another, and have the same numbers on all architectures. */
    struct sock_filter lines[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, __NR_io_uring_setup, 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, __NR_io_uring_register, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof lines / sizeof *lines, .filter = lines };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -errno;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 ? 0 : -errno;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int         error;
    } answers[] = { { "EPERM", EPERM }, { "EACCES", EACCES }, { "ENOSYS", ENOSYS } };

    int answer = 0;
    for (size_t i = 0; argc > 2 && i < sizeof answers / sizeof *answers; i++)
        if (strcmp(argv[1], answers[i].name) == 0)
            answer = answers[i].error;
    if (!answer) {
        fprintf(stderr, "Usage: without_uring EPERM|EACCES|ENOSYS COMMAND [ARGUMENT...]\n");
        return 2;
    }
    int error = refuse(answer);
    if (error == 0) {
        execvp(argv[2], argv + 2);
        error = -errno;
    }
    fprintf(stderr, "without_uring: %s: %s\n", argv[2], strerror(-error));
    return 2;
}
