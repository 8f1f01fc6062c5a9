/* Characters, white space and UTF-8: what needs no dictionary. */
#include "kernel.h"

#include <string.h>

/* [a-zA-Z0-9+#&._%-] and its subclasses. */
#define L (IN_BLOCK | ALNUM)
#define N (IN_BLOCK | ALNUM | DIGIT)
#define X IN_BLOCK
const uint8_t ascii_class[128] = {
    ['#'] = X, ['%'] = X, ['&'] = X, ['+'] = X, ['-'] = X, ['.'] = X, ['_'] = X,
    ['0'] = N, ['1'] = N, ['2'] = N, ['3'] = N, ['4'] = N, ['5'] = N, ['6'] = N, ['7'] = N, ['8'] = N, ['9'] = N,
    ['A'] = L, ['B'] = L, ['C'] = L, ['D'] = L, ['E'] = L, ['F'] = L, ['G'] = L, ['H'] = L, ['I'] = L, ['J'] = L,
    ['K'] = L, ['L'] = L, ['M'] = L, ['N'] = L, ['O'] = L, ['P'] = L, ['Q'] = L, ['R'] = L, ['S'] = L, ['T'] = L,
    ['U'] = L, ['V'] = L, ['W'] = L, ['X'] = L, ['Y'] = L, ['Z'] = L,
    ['a'] = L, ['b'] = L, ['c'] = L, ['d'] = L, ['e'] = L, ['f'] = L, ['g'] = L, ['h'] = L, ['i'] = L, ['j'] = L,
    ['k'] = L, ['l'] = L, ['m'] = L, ['n'] = L, ['o'] = L, ['p'] = L, ['q'] = L, ['r'] = L, ['s'] = L, ['t'] = L,
    ['u'] = L, ['v'] = L, ['w'] = L, ['x'] = L, ['y'] = L, ['z'] = L,
};
#undef L
#undef N
#undef X

uint32_t utf8_write(uint8_t *out, uint32_t code) {
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xC0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (code & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (code & 63));
    return 4;
}

static int continues(uint8_t byte) { return (byte & 0xC0) == 0x80; }

/* Length of the character at the front, 0 if it is not valid (RFC 3629: no surrogates, shortest form). */
static size_t valid(const uint8_t *text, size_t left) {
    uint8_t lead = text[0];
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    if (lead < 0xE0)
        return left >= 2 && continues(text[1]) ? 2 : 0;
    if (lead < 0xF0) {
        uint8_t low = lead == 0xE0 ? 0xA0 : 0x80, high = lead == 0xED ? 0x9F : 0xBF;
        return left >= 3 && text[1] >= low && text[1] <= high && continues(text[2]) ? 3 : 0;
    }
    uint8_t low = lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xF4 ? 0x8F : 0xBF;
    return left >= 4 && text[1] >= low && text[1] <= high && continues(text[2]) && continues(text[3]) ? 4 : 0;
}

size_t utf8_first_error(const uint8_t *text, size_t length) {
    size_t at = 0;
    while (at < length) {
        /* the common case of Chinese text: a three-byte character with a lead from E1 to EC */
        while (length - at >= 3 && (uint8_t)(text[at] - 0xE1) < 12 && continues(text[at + 1]) && continues(text[at + 2]))
            at += 3;
        if (at == length)
            break;
        size_t step = valid(text + at, length - at);
        if (!step)
            return at;
        at += step;
    }
    return length;
}

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
