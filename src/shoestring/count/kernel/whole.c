/* User words with spaces or punctuation, found before jieba cuts what lies between them: leftmost, then longest.
 *
 * A word that begins or ends with an ASCII letter or digit is not found within a run of those.
 */
#include "kernel.h"

#include <string.h>

int whole_start(Whole *whole) {
    memset(whole->first, 0, sizeof whole->first);
    return dictionary_start(&whole->words);
}

void whole_free(Whole *whole) { dictionary_free(&whole->words); }

int whole_add(Whole *whole, const uint8_t *word, size_t length) {
    uint32_t code;
    if (!length)
        return BAD_DICTIONARY;
    utf8_read(word, &code);
    if (code < 0x10000)
        whole->first[code / 8] |= (uint8_t)(1 << code % 8);
    return dictionary_put(&whole->words, word, length, 1, 0);
}

/* The end of the longest word that begins here, 0 if none does. */
static size_t longest(const Whole *whole, const uint8_t *text, size_t length, size_t at) {
    size_t found = 0;
    uint32_t word = 0, code;
    while (at < length) {
        at += utf8_read(text + at, &code);
        if (!(word = dictionary_child(&whole->words, word, code)))
            break;
        if (whole->words.words[word].frequency && !(is_alnum(code) && at < length && is_alnum(text[at])))
            found = at;
    }
    return found;
}

size_t whole_find(const Whole *whole, const uint8_t *text, size_t length, size_t at, size_t *stop) {
    while (at < length) {
        uint32_t code, size = utf8_read(text + at, &code);
        int begins = code >= 0x10000 || whole->first[code / 8] >> code % 8 & 1;
        if (UNLIKELY(begins) && !(is_alnum(code) && at && is_alnum(text[at - 1])) &&
            (*stop = longest(whole, text, length, at)))
            return at;
        at += size;
    }
    return length;
}
