#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Looks at the comments of the public headers, which are the manual:
#
#   - Each function and each type has a comment directly above it.  Functions that follow one another without a line
#     between them may share one.
#   - The first sentence above a function begins with a verb, as "Reads", and has at most 80 characters.
#   - A function that describes an operation has an entry "Cancels", which says what is true, not what it is as.
#   - unring's own part of a structure says that it is that.
#
#     tests/test_comments.sh include/unring.h include/unring/*.h

set -u

awk '
function complain(line, what) {
    printf "comments: %s:%d: %s\n", FILENAME, line, what
    failed++
}

# The words of a comment up to the first full stop, empty line or entry.
function first_sentence(comment,    lines, n, i, text) {
    n = split(comment, lines, "\n")
    for (i = 1; i <= n; i++) {
        sub(/^\/?[* ]*/, "", lines[i])
        sub(/ *\*\/$/, "", lines[i])
        if (lines[i] == "" || lines[i] ~ /^[A-Za-z_`][A-Za-z_0-9`, ]*  /)
            break
        text = text (i > 1 ? " " : "") lines[i]
        if (match(text, /\.( |$)/))
            return substr(text, 1, RSTART)
    }
    return text
}

# It fills its first argument in and returns it; unr_bind_slot() takes one that is described, unr_group_first() a const.
function describes(declaration) {
    return declaration ~ /^UNR_API struct unr_op \*unr_/ && declaration !~ /\((const |struct unr_op \*described)/
}

function check_function(line, declaration,    sentence) {
    functions++
    if (comment == "") {
        complain(line, "no comment directly above this function")
        return
    }
    sentence = first_sentence(comment)
    if (sentence !~ /^[A-Z][a-z]*s[ .:,]/)
        complain(line, "the comment does not begin with a verb: " sentence)
    if (length(sentence) > 80)
        complain(line, "the first sentence has " length(sentence) " characters: " sentence)
    if (!describes(declaration))
        return
    operations++
    if (comment !~ /\n \* *Cancels  +[^ ]/)
        complain(line, "describes an operation, and has no entry Cancels")
    if (comment ~ /\n \* *Cancels  +as /)
        complain(line, "Cancels says what it is as, not what is true")
}

function check_type(line,    name) {
    types++
    if (comment == "") {
        complain(line, "no comment directly above this type")
        return
    }
    if ($0 !~ /^struct unr_[a-z_]*_private {/)
        return
    name = substr($2, 1, length($2) - length("_private"))
    if (comment != "/* unring\047s own part of a `struct " name "`: not to be read or written. */")
        complain(line, "the comment is not the one of unring\047s own part of a structure")
}

FNR == 1 { comment = ""; inside = 0; declaration = "" }

inside { comment = comment "\n" $0; inside = !/\*\/$/; next }

declaration != "" {
    declaration = declaration " " $0
    if (/;$/) { check_function(begin, declaration); declaration = "" }
    next
}

/^\/\*/ { comment = $0; inside = !/\*\/$/; next }

/^UNR_API / {
    begin = FNR
    declaration = $0
    gsub(/ +\*/, " *", declaration)
    if (/;( \/\*.*\*\/)?$/) { check_function(begin, declaration); declaration = "" }
    next # the comment serves the function on the next line as well
}

/^(struct|enum|union) .*{/ || /^typedef / { check_type(FNR) }

{ comment = "" }

END {
    printf "comments: %d functions, %d of them describe an operation, %d types: %d complaints\n", \
        functions, operations, types, failed
    exit failed > 0 || functions == 0
}' "$@"
