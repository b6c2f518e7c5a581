/* SPDX-License-Identifier: MIT */
/* Files and names.  The top of io.h says what holds for every system call: what is lent until
 * when, which errors all of them have, and what becomes of a request before the kernel has seen
 * the call.
 *
 * The kernel hands nearly all of these calls to a worker; it makes an openat of a name that it has
 * in its cache, and some fadvise, at once.  A request to cancel ends a call that is still waiting
 * for its worker.  A call that the worker has begun runs to its end, and its verdict is RUNNING,
 * unless it waits for something that can be interrupted.  Where that interrupts a call which may
 * have done something by then, the guarantee is TERMINAL instead of the one under Cancels:
 * setxattr, fallocate, unlinkat, renameat, linkat, symlinkat, mkdirat, and openat with O_EXCL.
 *
 * A flag does what it does in the plain call, and one that is newer than Linux 6.18 is passed on:
 * tests/test_flags.c tries each flag with each call. */
#ifndef UNRING_FILE_H
#define UNRING_FILE_H

#include <sys/types.h>
#include <unring/op.h>

struct statx;

UNR_BEGIN

/* Opens the file `path`: openat(2).
 *
 * dirfd    the directory from which a relative `path` begins; AT_FDCWD: the working directory.
 * Result   fd: the file, the caller's to close, also when a request to cancel came too late.
 * Cancels  TOTAL: nothing was opened, and no file was made.  With O_EXCL TERMINAL, where it was
 *          interrupted: the file may have been made.
 * Errors   as openat(2).
 * FIFOs    O_NONBLOCK says that nothing is waited for: O_RDONLY succeeds without a peer, and
 *          O_WRONLY is -ENXIO.  Without O_NONBLOCK the same happens where the kernel has `path` in
 *          its cache and `flags` have neither O_CREAT nor O_TRUNC.  Otherwise a worker of the
 *          kernel waits for the peer, and a request to cancel interrupts it.
 * Source   io_uring_prep_openat(3). */
UNR_API struct unr_op *unr_openat(struct unr_op *op, int dirfd, const char *path, int flags,
                                  mode_t mode);

/* Writes the changes of the file `fd` to its disk: fsync(2) or fdatasync(2).
 *
 * flags    0, or IORING_FSYNC_DATASYNC (1) for fdatasync(2).  Others are -EINVAL.
 * Result   value: 0.
 * Cancels  TOTAL: the call had not begun.
 * Errors   as fsync(2).
 * Source   io_uring_prep_fsync(3). */
UNR_API struct unr_op *unr_fsync(struct unr_op *op, int fd, unsigned flags);

/* Tells about the file `path`: statx(2).
 *
 * dirfd     the directory from which a relative `path` begins; AT_FDCWD: the working directory.
 * flags     AT_* of statx(2); mask: STATX_*.
 * ret_stat  set on success only.
 * Result    value: 0.
 * Cancels   TOTAL: the call had not begun.
 * Errors    as statx(2).
 * Source    io_uring_prep_statx(3). */
UNR_API struct unr_op *unr_statx(struct unr_op *op, int dirfd, const char *path, int flags,
                                 unsigned mask, struct statx *ret_stat);

/* Reads an extended attribute of the file `path`: getxattr(2).
 *
 * name     of the attribute, as "user.comment".
 * value    lent: room for `len` bytes.  A `len` of 0 asks for the length of the attribute alone.
 * Result   value: the length of the attribute.
 * Cancels  TOTAL: the call had not begun.
 * Errors   as getxattr(2): -ENODATA: there is no such attribute; -ERANGE: it is longer than `len`.
 * Source   io_uring_prep_getxattr(3). */
UNR_API struct unr_op *unr_getxattr(struct unr_op *op, const char *path, const char *name,
                                    void *value, size_t len);

/* Reads an extended attribute of the file `fd`: fgetxattr(2).
 *
 * name     of the attribute, as "user.comment".
 * value    lent: room for `len` bytes.  A `len` of 0 asks for the length of the attribute alone.
 * Result   value: the length of the attribute.
 * Cancels  TOTAL: the call had not begun.
 * Errors   as fgetxattr(2): -ENODATA: there is no such attribute; -ERANGE: it is longer than `len`.
 * Source   io_uring_prep_fgetxattr(3). */
UNR_API struct unr_op *unr_fgetxattr(struct unr_op *op, int fd, const char *name, void *value,
                                     size_t len);

/* Sets an extended attribute of the file `path`: setxattr(2).
 *
 * name     of the attribute, as "user.comment".
 * value    lent: `size` bytes.
 * flags    0; XATTR_CREATE: the attribute must be new; XATTR_REPLACE: it must be there.
 * Result   value: 0.
 * Cancels  TOTAL: the attribute is as it was.  TERMINAL, where it was interrupted: it may be set.
 * Errors   as setxattr(2): -EEXIST, -ENODATA: not as `flags` demand; -E2BIG: `size` is too large.
 * Source   io_uring_prep_setxattr(3). */
UNR_API struct unr_op *unr_setxattr(struct unr_op *op, const char *path, const char *name,
                                    const void *value, size_t size, int flags);

/* Sets the length of the file `fd`: ftruncate(2).
 *
 * Result   value: 0.
 * Cancels  TOTAL: the file has its old length.
 * Errors   as ftruncate(2); -EOPNOTSUPP before Linux 6.9.
 * Source   io_uring_prep_ftruncate(3). */
UNR_API struct unr_op *unr_ftruncate(struct unr_op *op, int fd, int64_t len);

/* Reserves, frees or shifts space of the file `fd`: fallocate(2).
 *
 * mode     FALLOC_FL_* of fallocate(2), or 0.
 * Result   value: 0.
 * Cancels  TOTAL: the space is as it was.  TERMINAL, where it was interrupted: a part may be done,
 *          as hugetlbfs leaves it.
 * Errors   as fallocate(2).
 * Source   io_uring_prep_fallocate(3). */
UNR_API struct unr_op *unr_fallocate(struct unr_op *op, int fd, int mode, int64_t offset,
                                     int64_t len);

/* Announces how a range of the file `fd` will be used: posix_fadvise(2).
 *
 * len      up to UINT32_MAX; 0: to the end of the file.
 * advice   POSIX_FADV_*.
 * Result   value: 0.
 * Cancels  TOTAL: the advice was not taken.
 * Errors   as posix_fadvise(2); -EINVAL for a length out of range.
 * Source   io_uring_prep_fadvise(3). */
UNR_API struct unr_op *unr_fadvise(struct unr_op *op, int fd, int64_t offset, int64_t len,
                                   int advice);

/* Writes a range of the file `fd` back to the disk: sync_file_range(2).
 *
 * len      up to UINT32_MAX; 0: to the end of the file.
 * flags    SYNC_FILE_RANGE_*.
 * Result   value: 0.
 * Cancels  TOTAL: the call had not begun.
 * Errors   as sync_file_range(2); -EINVAL for a length out of range.
 * Source   io_uring_prep_sync_file_range(3). */
UNR_API struct unr_op *unr_sync_file_range(struct unr_op *op, int fd, int64_t offset, int64_t len,
                                           unsigned flags);

/* Removes the name `path`: unlinkat(2).
 *
 * dirfd    the directory from which a relative `path` begins; AT_FDCWD: the working directory.
 * flags    0, or AT_REMOVEDIR for a directory.
 * Result   value: 0.
 * Cancels  TOTAL: the name is there.  TERMINAL, where it was interrupted: it may be gone.
 * Errors   as unlinkat(2).
 * Source   io_uring_prep_unlinkat(3). */
UNR_API struct unr_op *unr_unlinkat(struct unr_op *op, int dirfd, const char *path, int flags);

/* Gives the file `from` the name `to`: renameat2(2).
 *
 * dirfds   `from_dirfd` and `to_dirfd` are the directories from which relative names begin;
 *          AT_FDCWD is the working directory.
 * flags    RENAME_* of renameat2(2), or 0.
 * Result   value: 0.
 * Cancels  TOTAL: the file has its old name.  TERMINAL, where it was interrupted: it may have the new one.
 * Errors   as renameat2(2).
 * Source   io_uring_prep_renameat(3). */
UNR_API struct unr_op *unr_renameat(struct unr_op *op, int from_dirfd, const char *from,
                                    int to_dirfd, const char *to, unsigned flags);

/* Gives the file `from` a further name, `to`: linkat(2).
 *
 * dirfds   `from_dirfd` and `to_dirfd` are the directories from which relative names begin;
 *          AT_FDCWD is the working directory.
 * flags    AT_EMPTY_PATH, AT_SYMLINK_FOLLOW, or 0.
 * Result   value: 0.
 * Cancels  TOTAL: there is no new name.  TERMINAL, where it was interrupted: it may be there.
 * Errors   as linkat(2).
 * Source   io_uring_prep_linkat(3). */
UNR_API struct unr_op *unr_linkat(struct unr_op *op, int from_dirfd, const char *from, int to_dirfd,
                                  const char *to, int flags);

/* Makes the symbolic link `path`, which points to `target`: symlinkat(2).
 *
 * dirfd    the directory from which a relative `path` begins; AT_FDCWD: the working directory.
 * Result   value: 0.
 * Cancels  TOTAL: there is no link.  TERMINAL, where it was interrupted: it may be there.
 * Errors   as symlinkat(2).
 * Source   io_uring_prep_symlinkat(3). */
UNR_API struct unr_op *unr_symlinkat(struct unr_op *op, const char *target, int dirfd,
                                     const char *path);

/* Makes the directory `path`: mkdirat(2).
 *
 * dirfd    the directory from which a relative `path` begins; AT_FDCWD: the working directory.
 * Result   value: 0.
 * Cancels  TOTAL: there is no directory.  TERMINAL, where it was interrupted: it may be there.
 * Errors   as mkdirat(2).
 * Source   io_uring_prep_mkdirat(3). */
UNR_API struct unr_op *unr_mkdirat(struct unr_op *op, int dirfd, const char *path, mode_t mode);

UNR_END
#endif
