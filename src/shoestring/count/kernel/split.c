/* Characters and white space: the tokenizers that need no dictionary. */
#include "kernel.h"

#include <string.h>

/* Where the line's own characters end: before LF and one CR. *next is the beginning of the next line. */
static const uint8_t *line_end(const uint8_t *text, const uint8_t *end, const uint8_t **next) {
    const uint8_t *newline = memchr(text, '\n', (size_t)(end - text));
    *next = newline ? newline + 1 : end;
    if (!newline)
        return end;
    return newline > text && newline[-1] == '\r' ? newline - 1 : newline;
}

uint64_t count_lines(const uint8_t *text, size_t length) {
    uint64_t count = 0;
    const uint8_t *end = text + length, *next;
    for (; text < end; text = next)
        count += line_end(text, end, &next) > text;
    return count;
}

static void characters(const uint8_t *text, const uint8_t *end, Counts *counts) {
    uint64_t tokens = 0;
    for (uint32_t code; text < end; tokens++) {
        text += utf8_read(text, &code);
        note_code(counts, code);
    }
    counts->tokens += tokens;
}

/* The characters that str.split() splits at. */
static int is_white(uint32_t code) {
    return (code >= 9 && code <= 13) || (code >= 28 && code <= 32) || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
           code == 0x202F || code == 0x205F || code == 0x3000;
}

static void words(const uint8_t *text, const uint8_t *end, Counts *counts) {
    uint64_t queue[QUEUE][2];
    uint32_t queued = 0;
    size_t length = (size_t)(end - text), word = length; /* `length` where no word has begun */
    for (size_t at = 0, step; at <= length; at += step) {
        uint32_t code = ' ';
        step = at < length ? utf8_read(text + at, &code) : 1;
        if (!is_white(code)) {
            word = word < at ? word : at;
            continue;
        }
        if (word < at) {
            const uint8_t *key = text + word;
            size_t bytes = at - word;
            if (utf8_read(key, &code) == bytes) {
                note_code(counts, code); /* single characters are counted there, so that each has one place */
                counts->tokens++;
            } else if (bytes > 16 || key[bytes - 1] == 0 || counts->with_documents) {
                counts_note(counts, key, bytes);
            } else {
                queue[queued][0] = key_word(key, bytes < 8 ? bytes : 8);
                queue[queued][1] = bytes > 8 ? key_word(key + 8, bytes - 8) : 0;
                if (++queued == QUEUE) {
                    counts_queue(counts, (const uint64_t(*)[2])queue, queued);
                    queued = 0;
                }
            }
        }
        word = length;
    }
    counts_queue(counts, (const uint64_t(*)[2])queue, queued);
}

static int split(const uint8_t *text, size_t length, int lines, Counts *counts,
                 void (*document)(const uint8_t *, const uint8_t *, Counts *)) {
    const uint8_t *end = text + length, *next;
    if (!lines) {
        counts->document++;
        document(text, end, counts);
    }
    for (; lines && text < end; text = next) {
        counts->document++;
        document(text, line_end(text, end, &next), counts);
    }
    return counts->failed ? NO_MEMORY : OK;
}

int split_characters(const uint8_t *text, size_t length, int lines, Counts *counts) {
    return split(text, length, lines, counts, characters);
}

int split_white_space(const uint8_t *text, size_t length, int lines, Counts *counts) {
    return split(text, length, lines, counts, words);
}
