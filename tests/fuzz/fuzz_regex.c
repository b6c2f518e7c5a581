/* SPDX-License-Identifier: MIT */
/* unr_match_regex() on a text that comes in chunks: against regexec(3) on what had arrived after
 * each. */
#include "fuzz.h"

#include <regex.h>

enum { PATTERN_MAX = 16, TEXT_MAX = 512 };

static struct unr_reader reader;
static struct feed       feed;
static struct unr_buffer buffer;

/* What the C library's own matcher takes too long for is no concern of ours. */
static bool is_quick(const char *pattern)
{
    unsigned loops = 0;
    for (const char *p = pattern; *p; p++) {
        if (*p == '{' || (*p == '\\' && p[1] >= '0' && p[1] <= '9'))
            return false;
        loops += *p == '*' || *p == '+';
    }
    return loops <= 2;
}

/* The end of a match in the first `len` bytes; 0: none. */
static size_t end_in(const regex_t *regex, const uint8_t *text, size_t len)
{
    static char copy[TEXT_MAX + 1];
    regmatch_t  found = { .rm_so = 0, .rm_eo = (regoff_t)len };
    memcpy(copy, text, len);
    copy[len] = 0;
    return regexec(regex, copy, 1, &found, REG_STARTEND | REG_NOTEOL) == 0 ? (size_t)found.rm_eo
                                                                           : 0;
}

static void compare(regex_t *regex)
{
    const uint8_t *text = feed.text.data;
    const size_t   text_len = feed.text.len;
    struct unr_op *op = unr_read_match(&reader, &feed.stream, &buffer, unr_match_regex, regex);
    const struct unr_result *r = run(&feed, op, UNR_CANCEL_ALL, false);
    check_held(&buffer, text, 0, feed.played);
    for (unsigned i = 0; i + 1 < feed.reads; i++)
        check(end_in(regex, text, feed.ends[i]) == 0);
    size_t end = feed.played ? end_in(regex, text, feed.played) : 0;
    if (end)
        check(r->error == 0 && r->bytes == end);
    else
        check((r->error == -ENODATA && feed.played == text_len) || r->error == -ECANCELED);
    check(r->error == 0 || r->bytes == feed.played);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct tape tape = { data, len };
    regex_t     regex;
    char        pattern[PATTERN_MAX + 1] = "";
    unsigned    how = take(&tape);
    struct tape part = take_part(&tape, take(&tape) % (PATTERN_MAX + 1));
    if (part.len)
        memcpy(pattern, part.data, part.len);
    if (!is_quick(pattern))
        return -1;
    int flags =
        (how & 1 ? REG_EXTENDED : 0) | (how & 2 ? REG_ICASE : 0) | (how & 4 ? REG_NEWLINE : 0);
    if (regcomp(&regex, pattern, flags))
        return -1;
    feed_init(&feed, &tape, how & 8);
    feed.text.len = feed.text.len < TEXT_MAX ? feed.text.len : TEXT_MAX;
    unr_buffer_init(&buffer, TEXT_MAX + 1);
    compare(&regex);
    unr_buffer_free(&buffer);
    regfree(&regex);
    return 0;
}
