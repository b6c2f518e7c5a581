/* SPDX-License-Identifier: MIT */
/* The growable buffer: what is put in comes out, in one piece, within the limit and the memory that
 * there is. */
#include "support.h"

#include <dlfcn.h>

TestSuite(buffer, .timeout = 20);

static struct unr_buffer buffer;

static void expect_holds(const void *bytes, size_t len)
{
    size_t      held;
    const char *data = unr_buffer_data(&buffer, &held);
    cr_assert_eq(held, len, "%zu instead of %zu", held, len);
    cr_assert_eq(memcmp(data, bytes, len), 0);
    cr_assert_eq(data[len], 0, "there is no zero behind the data");
}

static void append(const char *text)
{
    cr_assert_eq(unr_buffer_append(&buffer, text, strlen(text)), 0);
}

/* Zeroed memory can be freed; a buffer that nothing was put into is empty text. */
Test(buffer, empty_is_text_and_can_be_freed)
{
    struct unr_buffer zeroed = { 0 };
    unr_buffer_free(&zeroed);
    unr_buffer_init(&buffer, 100);
    expect_holds("", 0);
    cr_assert_eq(unr_buffer_left(&buffer), 100);
    unr_buffer_consume(&buffer, 0);
    cr_assert_eq(unr_buffer_append(&buffer, NULL, 0), 0);
    expect_holds("", 0);
    unr_buffer_free(&buffer);
}

/* What is put in behind is there in one piece and comes out in front. */
Test(buffer, what_is_put_in_comes_out)
{
    unr_buffer_init(&buffer, 100);
    append("one ");
    append("two");
    expect_holds("one two", 7);
    cr_assert_str_eq(unr_buffer_data(&buffer, NULL), "one two");
    unr_buffer_consume(&buffer, 4);
    expect_holds("two", 3);
    append(" three");
    expect_holds("two three", 9);
    unr_buffer_free(&buffer);
    expect_holds("", 0);
    append("again");
    expect_holds("again", 5);
    unr_buffer_free(&buffer);
}

/* Consumed to the end, a buffer begins at its front again. */
Test(buffer, consumed_to_the_end_begins_at_the_front)
{
    unr_buffer_init(&buffer, 100);
    append("x");
    const void *front = unr_buffer_data(&buffer, NULL);
    for (int i = 0; i < 1000; i++) {
        append("0123456789");
        unr_buffer_consume(&buffer, 11 - (i > 0));
        expect_holds("", 0);
        cr_assert_eq(unr_buffer_data(&buffer, NULL), front);
    }
    unr_buffer_free(&buffer);
}

/* It holds as much as its limit says, and no byte more; what does not fit is refused as a whole,
 * and nothing is lost. */
Test(buffer, holds_its_limit_and_no_more)
{
    struct iovec room = { 0 };
    unr_buffer_init(&buffer, 10);
    append("012345");
    cr_assert_eq(unr_buffer_append(&buffer, "6789a", 5), -ENOBUFS);
    expect_holds("012345", 6);
    append("6789");
    cr_assert_eq(unr_buffer_left(&buffer), 0);
    cr_assert_eq(unr_buffer_prepare(&buffer, 1, &room), -ENOBUFS);
    cr_assert_eq(unr_buffer_prepare(&buffer, SIZE_MAX, &room), -ENOBUFS);
    cr_assert_null(room.iov_base);
    unr_buffer_consume(&buffer, 3);
    cr_assert_eq(unr_buffer_prepare(&buffer, 1, &room), 0);
    cr_assert_leq(room.iov_len, 3);
    append("abc");
    expect_holds("3456789abc", 10);
    unr_buffer_free(&buffer);
}

/* The limit can be raised, and lowered below what it holds. */
Test(buffer, limit_that_changes)
{
    unr_buffer_init(&buffer, 3);
    append("012");
    unr_buffer_set_limit(&buffer, 6);
    append("345");
    unr_buffer_set_limit(&buffer, 2);
    cr_assert_eq(unr_buffer_left(&buffer), 0);
    expect_holds("012345", 6);
    cr_assert_eq(unr_buffer_append(&buffer, "6", 1), -ENOBUFS);
    unr_buffer_consume(&buffer, 5);
    append("6");
    expect_holds("56", 2);
    unr_buffer_free(&buffer);
}

/* What is prepared can be filled in part, or not at all, and what was written beyond does not
 * count. */
Test(buffer, prepared_and_filled_in_part)
{
    struct iovec room;
    unr_buffer_init(&buffer, 1000);
    append("ab");
    cr_assert_eq(unr_buffer_prepare(&buffer, 10, &room), 0);
    cr_assert_geq(room.iov_len, 10);
    cr_assert_leq(room.iov_len, 998);
    memset(room.iov_base, 'x', room.iov_len);
    unr_buffer_commit(&buffer, 0);
    expect_holds("ab", 2);
    cr_assert_eq(unr_buffer_prepare(&buffer, 998, &room), 0);
    cr_assert_eq(room.iov_len, 998);
    memset(room.iov_base, 'y', room.iov_len);
    unr_buffer_commit(&buffer, 3);
    expect_holds("abyyy", 5);
    unr_buffer_free(&buffer);
}

/* While all of the room is filled each time there is more of it, up to 64 KiB; then no more than is
 * needed. */
Test(buffer, bulk_gets_larger_rooms)
{
    struct iovec room;
    size_t       before = 0;
    unr_buffer_init(&buffer, 1 << 20);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(unr_buffer_prepare(&buffer, 1, &room), 0);
        cr_assert_geq(room.iov_len, before);
        before = room.iov_len;
        unr_buffer_commit(&buffer, room.iov_len);
        unr_buffer_consume(&buffer, room.iov_len);
    }
    cr_assert_eq(before, 65536);
    unr_buffer_free(&buffer);
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(unr_buffer_prepare(&buffer, 1, &room), 0);
        cr_assert_eq(room.iov_len, 4096);
        unr_buffer_commit(&buffer, 100);
        unr_buffer_consume(&buffer, 100);
    }
    unr_buffer_free(&buffer);
}

/* Kept nearly full, a buffer moves no more bytes than were taken out of it. */
Test(buffer, nearly_full_is_cheap_too)
{
    enum { LIMIT = 10000, ROUNDS = 1000000 };
    static char bytes[LIMIT];
    size_t      moved = 0;
    unr_buffer_init(&buffer, LIMIT);
    cr_assert_eq(unr_buffer_append(&buffer, bytes, LIMIT), 0);
    for (int i = 0; i < ROUNDS; i++) {
        unr_buffer_consume(&buffer, 1);
        const char *before = unr_buffer_data(&buffer, NULL);
        cr_assert_eq(unr_buffer_append(&buffer, "x", 1), 0);
        if (unr_buffer_data(&buffer, NULL) != before)
            moved += LIMIT - 1;
    }
    cr_assert_leq(moved, ROUNDS + 2 * LIMIT, "%zu bytes were moved", moved);
    unr_buffer_free(&buffer);
}

static size_t find(const void *delimiter, size_t len)
{
    return unr_buffer_find(&buffer, delimiter, len);
}

/* What is looked for is found where it ends for the first time, counted from what is left: also at
 * either end, overlapping itself, or with zeros in it; nothing is found of what was consumed, is
 * there in part, or lies behind the data. */
Test(buffer, finds_the_first_place)
{
    unr_buffer_init(&buffer, 100);
    cr_assert_eq(find("\r\n", 2), 0);
    cr_assert_eq(find("", 1), 0); /* the zero behind the data is no part of it */
    append("one\r\ntwo\r\n\r");
    cr_assert_eq(find("one", 3), 3);
    cr_assert_eq(find("\r\n", 2), 5);
    cr_assert_eq(find("\n\r", 2), 11);
    cr_assert_eq(find("\r\n\r\n", 4), 0);
    append("\n");
    cr_assert_eq(find("\r\n\r\n", 4), 12);
    cr_assert_eq(find("one\r\ntwo\r\n\r\n", 12), 12);
    cr_assert_eq(find("one\r\ntwo\r\n\r\n", 13), 0);
    cr_assert_eq(find("", 0), 0);
    unr_buffer_consume(&buffer, 4);
    cr_assert_eq(find("\n", 1), 1);
    cr_assert_eq(find("\r\n", 2), 6);
    cr_assert_eq(find("one", 3), 0);
    expect_holds("\ntwo\r\n\r\n", 8);
    unr_buffer_consume(&buffer, 8);
    cr_assert_eq(find("\n", 1), 0);
    cr_assert_eq(unr_buffer_append(&buffer, "a\0aab", 5), 0);
    cr_assert_eq(find("\0", 1), 2);
    cr_assert_eq(find("\0a", 2), 3);
    cr_assert_eq(find("aab", 3), 5);
    cr_assert_eq(find("b", 2), 0);
    unr_buffer_free(&buffer);
    cr_assert_eq(find("a", 1), 0);
}

/* ---- against a model ---- */

enum { MODEL_LIMIT = 20000 };

static struct {
    unsigned char bytes[2 * MODEL_LIMIT];
    size_t        len;
} model;

static uint64_t random_state = 20240229;

static size_t below(size_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(random_state >> 33) % bound;
}

static size_t some_length(void)
{
    return below((size_t)1 << below(15));
}

static void put_in(const unsigned char *bytes, size_t len)
{
    memcpy(model.bytes + model.len, bytes, len);
    model.len += len;
}

static void fill(unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)below(256);
}

static void try_append(void)
{
    static unsigned char bytes[MODEL_LIMIT];
    size_t               len = some_length();
    fill(bytes, len);
    int error = unr_buffer_append(&buffer, bytes, len);
    cr_assert_eq(error, model.len + len > MODEL_LIMIT ? -ENOBUFS : 0);
    if (!error)
        put_in(bytes, len);
}

static void try_prepare(void)
{
    struct iovec room;
    size_t       want = some_length();
    if (unr_buffer_prepare(&buffer, want, &room)) {
        cr_assert_gt(model.len + want, MODEL_LIMIT);
        return;
    }
    cr_assert_geq(room.iov_len, want);
    cr_assert_leq(model.len + room.iov_len, MODEL_LIMIT);
    fill(room.iov_base, room.iov_len);
    size_t len = below(4) ? below(room.iov_len + 1) : room.iov_len;
    put_in(room.iov_base, len);
    unr_buffer_commit(&buffer, len);
}

static void try_consume(void)
{
    size_t len = below(3) ? some_length() : model.len;
    len = len < model.len ? len : model.len;
    unr_buffer_consume(&buffer, len);
    model.len -= len;
    memmove(model.bytes, model.bytes + len, model.len);
}

/* Whatever is done with it in whatever order, it holds what a plain array would. */
Test(buffer, any_order_of_calls)
{
    static void (*const calls[])(void) = { try_append, try_prepare, try_consume };
    unr_buffer_init(&buffer, MODEL_LIMIT);
    for (int i = 0; i < 50000; i++) {
        calls[below(LENGTH(calls))]();
        expect_holds(model.bytes, model.len);
        cr_assert_eq(unr_buffer_left(&buffer), MODEL_LIMIT - model.len);
    }
    unr_buffer_free(&buffer);
}

/* ---- broken contracts ---- */

static void consume_too_much(void *context)
{
    (void)context;
    unr_buffer_init(&buffer, 10);
    unr_buffer_append(&buffer, "abc", 3);
    unr_buffer_consume(&buffer, 4);
}

/* More than there is cannot be consumed. */
Test(buffer, more_consumed_than_there_is)
{
    struct death death = in_child(consume_too_much, NULL);
    expect_abort(&death, (const char *const[]){ "unring: broken contract:", "unr_buffer_consume",
                                                "unring: the rule:", NULL });
}

static void commit_too_much(void *context)
{
    struct iovec room;
    (void)context;
    unr_buffer_init(&buffer, 10);
    unr_buffer_prepare(&buffer, 1, &room);
    unr_buffer_commit(&buffer, room.iov_len + 1);
}

/* Nor more committed than was prepared. */
Test(buffer, more_committed_than_was_prepared)
{
    struct death death = in_child(commit_too_much, NULL);
    expect_abort(&death, (const char *const[]){ "unring: broken contract:", "unr_buffer_commit",
                                                "unring: the rule:", NULL });
}

/* ---- memory, counted and refused: not under a sanitizer, which has a realloc of its own ---- */

#if !SUPPORT_SANITIZED

static bool   refuse_memory;
static int    allocations;
static size_t largest;

void *realloc(void *piece, size_t size)
{
    static __typeof__(realloc) *found;
    if (!found)
        found = (__typeof__(realloc) *)(uintptr_t)dlsym(RTLD_NEXT, "realloc");
    if (refuse_memory) {
        errno = ENOMEM;
        return NULL;
    }
    allocations++;
    largest = size > largest ? size : largest;
    return found(piece, size);
}

static void count_from_now(void)
{
    allocations = 0;
    largest = 0;
}

/* Nothing is allocated before the first byte; from then on memory is doubled, up to the limit. */
Test(buffer, grows_by_doubling)
{
    enum { LIMIT = 1000000 };
    count_from_now();
    unr_buffer_init(&buffer, LIMIT);
    unr_buffer_data(&buffer, NULL);
    cr_assert_eq(allocations, 0);
    for (int i = 0; i < LIMIT; i++)
        cr_assert_eq(unr_buffer_append(&buffer, "x", 1), 0);
    cr_assert_leq(allocations, 9);
    cr_assert_leq(largest, LIMIT + 1);
    unr_buffer_free(&buffer);
}

/* Where enough was consumed, the bytes are moved to the front and the memory stays as it is. */
Test(buffer, moves_rather_than_grows)
{
    static char bytes[3000];
    unr_buffer_init(&buffer, 1000000);
    cr_assert_eq(unr_buffer_append(&buffer, bytes, 1000), 0);
    count_from_now();
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(unr_buffer_append(&buffer, bytes, 1000), 0);
        unr_buffer_consume(&buffer, 1000);
    }
    cr_assert_eq(allocations, 0);
    unr_buffer_free(&buffer);
}

/* However a buffer is used, it takes no more than twice its limit. */
Test(buffer, takes_at_most_twice_its_limit)
{
    count_from_now();
    unr_buffer_init(&buffer, MODEL_LIMIT);
    for (int i = 0; i < 20000; i++)
        (below(2) ? try_prepare : try_consume)();
    cr_assert_leq(largest, 2 * MODEL_LIMIT + 1);
    unr_buffer_free(&buffer);
}

/* Without memory nothing is lost, and it goes on when there is some. */
Test(buffer, without_memory_nothing_is_lost)
{
    static char  bytes[5000];
    struct iovec room = { 0 };
    unr_buffer_init(&buffer, 1000000);
    refuse_memory = true;
    cr_assert_eq(unr_buffer_append(&buffer, "abc", 3), -ENOMEM);
    expect_holds("", 0);
    refuse_memory = false;
    append("abc");
    refuse_memory = true;
    cr_assert_eq(unr_buffer_prepare(&buffer, 5000, &room), -ENOMEM);
    cr_assert_null(room.iov_base);
    expect_holds("abc", 3);
    refuse_memory = false;
    cr_assert_eq(unr_buffer_append(&buffer, bytes, sizeof bytes), 0);
    unr_buffer_consume(&buffer, 3);
    expect_holds(bytes, sizeof bytes);
    unr_buffer_free(&buffer);
}

/* Where there is no memory to grow into, but room once the bytes are moved, they are. */
Test(buffer, moves_where_it_cannot_grow)
{
    static char  bytes[4096];
    struct iovec room;
    memset(bytes, 'x', sizeof bytes);
    unr_buffer_init(&buffer, 1000000);
    cr_assert_eq(unr_buffer_append(&buffer, bytes, sizeof bytes), 0);
    unr_buffer_consume(&buffer, 100);
    refuse_memory = true;
    cr_assert_eq(unr_buffer_prepare(&buffer, 100, &room), 0);
    cr_assert_eq(room.iov_len, 100);
    expect_holds(bytes, sizeof bytes - 100);
    refuse_memory = false;
    unr_buffer_free(&buffer);
}

/* A limit that no memory could hold is one all the same. */
Test(buffer, limit_beyond_all_memory)
{
    struct iovec room;
    unr_buffer_init(&buffer, SIZE_MAX);
    append("abc");
    cr_assert_eq(unr_buffer_prepare(&buffer, PTRDIFF_MAX / 3, &room), -ENOMEM);
    expect_holds("abc", 3);
    unr_buffer_free(&buffer);
}

/* A read for whose bytes there is no memory ends with -ENOMEM; they stay in the socket for the
 * next. */
Test(buffer, read_without_memory)
{
    static struct unr_reader reader;
    struct unr_stream        stream;
    int                      fds[2];
    open_loop();
    unix_pair(fds);
    unr_stream_socket(&stream, fds[0]);
    unr_buffer_init(&buffer, 100);
    cr_assert_eq(write(fds[1], "line\n", 5), 5);
    for (int i = 0; i < 2; i++) {
        refuse_memory = i == 0;
        unr_start(loop, unr_read_until(&reader, &stream, &buffer, "\n", 1), NULL, NULL);
        run();
        cr_assert_eq(reader.op.result.error, i == 0 ? -ENOMEM : 0);
        cr_assert_eq(reader.op.result.bytes, i == 0 ? 0 : 5);
    }
    expect_holds("line\n", 5);
    unr_buffer_free(&buffer);
    close_pair(fds);
    close_loop();
}

#endif
