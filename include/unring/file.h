/* Files and names.  What holds for every system call is said at the top of io.h.  Most of these
 * either run at once or in a worker of the kernel, where what has begun runs to its end: cancelling
 * them is TOTAL while they wait for a worker, and RUNNING afterwards. */
#ifndef UNRING_FILE_H
#define UNRING_FILE_H

#include <sys/types.h>
#include <unring/op.h>

struct statx;

UNR_BEGIN

/* Opens a file: openat(2).
 * Result   fd: the caller's to close, also when a request came too late.
 * Cancels  TOTAL: nothing was opened.
 * FIFOs    the kernel tries without waiting first: without a peer, O_RDONLY succeeds and O_WRONLY
 *          is -ENXIO, as with O_NONBLOCK.
 * Errors   as openat(2).   Source  io_uring_prep_openat(3). */
UNR_API struct unr_op *unr_openat(struct unr_op *op, int dirfd, const char *path, int flags,
                                  mode_t mode);

/* Has what was written reach the disk: fsync(2), or with IORING_FSYNC_DATASYNC (1) in `flags`
 * fdatasync(2).
 * Result   value: 0.   Cancels  TOTAL.   Errors  as fsync(2).   Source  io_uring_prep_fsync(3). */
UNR_API struct unr_op *unr_fsync(struct unr_op *op, int fd, unsigned flags);

/* What statx(2) tells of a file.
 * ret_stat  set on success only.
 * Result   value: 0.   Cancels  TOTAL.   Errors  as statx(2).   Source  io_uring_prep_statx(3). */
UNR_API struct unr_op *unr_statx(struct unr_op *op, int dirfd, const char *path, int flags,
                                 unsigned mask, struct statx *ret_stat);

/* Sets a file's length: ftruncate(2).
 * Result   value: 0.   Cancels  TOTAL.   Errors  as ftruncate(2); -EOPNOTSUPP before Linux 6.9.
 * Source   io_uring_prep_ftruncate(3). */
UNR_API struct unr_op *unr_ftruncate(struct unr_op *op, int fd, int64_t len);

/* Reserves, frees or shifts space of a file: fallocate(2).
 * Result   value: 0.   Cancels  TOTAL.   Errors  as fallocate(2).   Source
 *          io_uring_prep_fallocate(3). */
UNR_API struct unr_op *unr_fallocate(struct unr_op *op, int fd, int mode, int64_t offset,
                                     int64_t len);

/* Announces how a file will be used: posix_fadvise(2).
 * len      up to UINT32_MAX; 0 is to the end of the file.
 * Result   value: 0.   Cancels  TOTAL.   Errors  as posix_fadvise(2); -EINVAL for a length out of
 *          range.
 * Source   io_uring_prep_fadvise(3). */
UNR_API struct unr_op *unr_fadvise(struct unr_op *op, int fd, int64_t offset, int64_t len,
                                   int advice);

/* Writes a range of a file back to the disk: sync_file_range(2).
 * len      up to UINT32_MAX; 0 is to the end of the file.
 * Result   value: 0.   Cancels  TOTAL.   Errors  as sync_file_range(2); -EINVAL for a length out of
 *          range.
 * Source   io_uring_prep_sync_file_range(3). */
UNR_API struct unr_op *unr_sync_file_range(struct unr_op *op, int fd, int64_t offset, int64_t len,
                                           unsigned flags);

/* Names: unlinkat(2) (AT_REMOVEDIR in `flags` removes a directory), renameat2(2), linkat(2),
 * symlinkat(2) and mkdirat(2).  A directory descriptor may be AT_FDCWD.
 * Result   value: 0.   Cancels  TOTAL.   Errors  as the call.
 * Source   io_uring_prep_unlinkat(3), _renameat(3), _linkat(3), _symlinkat(3), _mkdirat(3). */
UNR_API struct unr_op *unr_unlinkat(struct unr_op *op, int dirfd, const char *path, int flags);
UNR_API struct unr_op *unr_renameat(struct unr_op *op, int from_dirfd, const char *from,
                                    int to_dirfd, const char *to, unsigned flags);
UNR_API struct unr_op *unr_linkat(struct unr_op *op, int from_dirfd, const char *from, int to_dirfd,
                                  const char *to, int flags);
UNR_API struct unr_op *unr_symlinkat(struct unr_op *op, const char *target, int dirfd,
                                     const char *path);
UNR_API struct unr_op *unr_mkdirat(struct unr_op *op, int dirfd, const char *path, mode_t mode);

UNR_END
#endif
