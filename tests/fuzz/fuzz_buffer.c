/* SPDX-License-Identifier: MIT */
/* The buffer, against an array that is long enough: each input is a series of calls. */
#include "fuzz.h"

enum { ROOM = 1 << 20 };

static uint8_t           model[ROOM];
static size_t            model_len, model_limit;
static struct unr_buffer buffer;

static void check_model(void)
{
    size_t      len;
    const char *data = unr_buffer_data(&buffer, &len);
    check(len == model_len && data[len] == 0);
    check(len == 0 || memcmp(data, model, len) == 0);
    check(unr_buffer_left(&buffer) == (model_len < model_limit ? model_limit - model_len : 0));
}

static void put(uint8_t *to, size_t len)
{
    static uint8_t next;
    for (size_t i = 0; i < len; i++)
        to[i] = next++;
    memcpy(model + model_len, to, len);
    model_len += len;
}

static void append(size_t len)
{
    static uint8_t bytes[65536];
    bool           fits = model_len + len <= model_limit || len == 0;
    size_t         before = model_len;
    put(bytes, len);
    check(unr_buffer_append(&buffer, bytes, len) == (fits ? 0 : -ENOBUFS));
    if (!fits)
        model_len = before;
}

static void prepare(size_t want, unsigned used)
{
    struct iovec room = { model, 7 };
    bool         fits = want == 0 || model_len + want <= model_limit;
    int          error = unr_buffer_prepare(&buffer, want, &room);
    check(error == (fits ? 0 : -ENOBUFS));
    if (error) {
        check(room.iov_base == model && room.iov_len == 7);
        return;
    }
    check(room.iov_len >= want && (room.iov_len == 0 || model_len + room.iov_len <= model_limit));
    size_t len = used < 128 ? room.iov_len * used / 127 : used - 128;
    len = len < room.iov_len ? len : room.iov_len;
    put(room.iov_base, len);
    unr_buffer_commit(&buffer, len);
}

static void consume(size_t len)
{
    len = len < model_len ? len : model_len;
    unr_buffer_consume(&buffer, len);
    memmove(model, model + len, model_len - len);
    model_len -= len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tape tape = { data, len };
    model_len = 0;
    model_limit = take_two(&tape);
    model_limit = model_limit % 8 ? model_limit % 9000 : model_limit * 4;
    unr_buffer_init(&buffer, model_limit);
    for (unsigned i = 0; tape.len && i < 200; i++) {
        unsigned which = take(&tape);
        switch (which % 8) {
        case 0: append(which & 128 ? take_two(&tape) : take(&tape)); break;
        case 1:
            prepare(which & 128 ? take_two(&tape) : which & 64 ? 0 : take(&tape), take(&tape));
            break;
        case 2:
        case 3: consume(which & 128 ? take_two(&tape) : take(&tape)); break;
        case 4: consume(model_len - (model_len ? take(&tape) % model_len : 0)); break;
        case 5:
            if (which & 64)
                unr_buffer_set_limit(&buffer, model_limit = take_two(&tape));
            break;
        case 6:
            append(model_limit > model_len && model_limit - model_len < 65536
                       ? model_limit - model_len
                       : 1);
            break;
        default:
            if (which & 64)
                unr_buffer_free(&buffer), model_len = 0;
        }
        check_model();
    }
    unr_buffer_free(&buffer);
    return 0;
}
