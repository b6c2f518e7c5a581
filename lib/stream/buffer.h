/* SPDX-License-Identifier: MIT */
/* What readers and frames need of a buffer besides its public functions. */
#ifndef UNRI_BUFFER_H
#define UNRI_BUFFER_H

#include <unring/buffer.h>

/* Finds the first delimiter in `len` bytes.
 *
 * seen     no delimiter ends in the first `seen` bytes: they were searched before.
 * Returns  how many bytes there are up to and with the delimiter; 0: there is none. */
size_t unri_find(const void *data, size_t len, size_t seen, const void *delimiter,
                 size_t delimiter_len);

#endif
