/* Characters and white space: the tokenizers that need no dictionary. */
#include "grams.h"

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

/* Where the next word begins and, in *stop, ends; `end` if there is none. */
ALWAYS_INLINE const uint8_t *next_word(const uint8_t *text, const uint8_t *end, const uint8_t **stop) {
    uint32_t code, step;
    for (; text < end; text += step) {
        step = utf8_read(text, &code);
        if (!is_white(code))
            break;
    }
    const uint8_t *at = text;
    for (; at < end; at += step) {
        step = utf8_read(at, &code);
        if (is_white(code))
            break;
    }
    *stop = at;
    return text;
}

static void words(const uint8_t *text, const uint8_t *end, Counts *counts) {
    uint64_t queue[QUEUE][2];
    uint32_t queued = 0, code;
    for (const uint8_t *stop; (text = next_word(text, end, &stop)) < end; text = stop) {
        size_t bytes = (size_t)(stop - text);
        if (utf8_read(text, &code) == bytes) {
            note_code(counts, code); /* single characters are counted there, so that each has one place */
            counts->tokens++;
        } else if (bytes > 16 || text[bytes - 1] == 0 || counts->with_documents) {
            counts_note(counts, text, bytes);
        } else {
            queue[queued][0] = key_word(text, bytes < 8 ? bytes : 8);
            queue[queued][1] = bytes > 8 ? key_word(text + 8, bytes - 8) : 0;
            if (++queued == QUEUE) {
                counts_queue(counts, (const uint64_t(*)[2])queue, queued);
                queued = 0;
            }
        }
    }
    counts_queue(counts, (const uint64_t(*)[2])queue, queued);
}

static void character_runs(const uint8_t *text, const uint8_t *end, Grams *grams) {
    for (uint32_t code; text < end;) {
        text += utf8_read(text, &code);
        grams_word(grams, &grams->words.by_code[code]);
    }
}

static void word_runs(const uint8_t *text, const uint8_t *end, Grams *grams) {
    for (const uint8_t *stop; (text = next_word(text, end, &stop)) < end; text = stop)
        grams_string(grams, text, (size_t)(stop - text));
}

typedef struct {
    const uint8_t *next, *end;
    int lines, done;
} Documents; /* the text, or each of its lines */

static const uint8_t *next_document(Documents *all, const uint8_t **stop) {
    const uint8_t *text = all->next;
    if (all->done || (all->lines && text == all->end))
        return NULL;
    *stop = all->lines ? line_end(text, all->end, &all->next) : all->end;
    all->done = !all->lines;
    return text;
}

static Documents documents_of(const uint8_t *text, size_t length, int lines) {
    return (Documents){text, text + length, lines, 0};
}

int split_characters(const uint8_t *text, size_t length, int lines, Counts *counts) {
    Documents all = documents_of(text, length, lines);
    for (const uint8_t *document, *stop; (document = next_document(&all, &stop));) {
        counts->document++;
        characters(document, stop, counts);
    }
    return counts->failed ? NO_MEMORY : OK;
}

int split_white_space(const uint8_t *text, size_t length, int lines, Counts *counts) {
    Documents all = documents_of(text, length, lines);
    for (const uint8_t *document, *stop; (document = next_document(&all, &stop));) {
        counts->document++;
        words(document, stop, counts);
    }
    return counts->failed ? NO_MEMORY : OK;
}

int split_character_runs(const uint8_t *text, size_t length, int lines, Grams *grams) {
    Documents all = documents_of(text, length, lines);
    for (const uint8_t *document, *stop; (document = next_document(&all, &stop));) {
        grams_document(grams);
        character_runs(document, stop, grams);
    }
    return grams_failed(grams) ? NO_MEMORY : OK;
}

int split_white_space_runs(const uint8_t *text, size_t length, int lines, Grams *grams) {
    Documents all = documents_of(text, length, lines);
    for (const uint8_t *document, *stop; (document = next_document(&all, &stop));) {
        grams_document(grams);
        word_runs(document, stop, grams);
    }
    return grams_failed(grams) ? NO_MEMORY : OK;
}
