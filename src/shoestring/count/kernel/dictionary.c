/* jieba's FREQ and total: a trie in one hash table, so that a word's prefixes come for free.
 *
 * jieba enters every prefix of a word with frequency 0. Here a word is (parent word, last character), so the
 * prefixes are the path to it. Follows jieba 0.42.1: gen_pfdict, add_word, suggest_freq, __cut_DAG_NO_HMM.
 */
#include "kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_INDEX = 1 << 16 };
static const int64_t MOST = (int64_t)1 << 62; /* so that sums stay in 64 bits; doubles round as Python's do */

static uint32_t place(const Dictionary *dictionary, uint32_t parent, uint32_t code) {
    uint64_t key = ((uint64_t)parent << 21 | code) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(key >> 32) & dictionary->index_mask;
}

int dictionary_start(Dictionary *dictionary) {
    memset(dictionary, 0, sizeof *dictionary);
    dictionary->room = FIRST_INDEX / 2;
    dictionary->index_mask = FIRST_INDEX - 1;
    dictionary->words = calloc(dictionary->room, sizeof *dictionary->words);
    dictionary->index = calloc(FIRST_INDEX, sizeof *dictionary->index);
    dictionary->count = 1;
    return dictionary->words && dictionary->index ? OK : NO_MEMORY;
}

void dictionary_free(Dictionary *dictionary) {
    free(dictionary->words);
    free(dictionary->index);
}

uint32_t dictionary_child(const Dictionary *dictionary, uint32_t parent, uint32_t code) {
    for (uint32_t at = place(dictionary, parent, code);; at = (at + 1) & dictionary->index_mask) {
        uint32_t word = dictionary->index[at];
        if (!word || (dictionary->words[word].parent == parent && dictionary->words[word].code == code))
            return word;
    }
}

static void enter(Dictionary *dictionary, uint32_t word) {
    uint32_t at = place(dictionary, dictionary->words[word].parent, dictionary->words[word].code);
    while (dictionary->index[at])
        at = (at + 1) & dictionary->index_mask;
    dictionary->index[at] = word;
}

/* Doubles the table; words never fill more than half of the index. */
static int grow(Dictionary *dictionary) {
    if (dictionary->room > UINT32_MAX / 8)
        return NO_MEMORY;
    uint32_t room = dictionary->room * 2;
    Word *words = realloc(dictionary->words, room * sizeof *words);
    if (!words)
        return NO_MEMORY;
    dictionary->words = words;
    uint32_t *index = calloc((size_t)room * 2, sizeof *index);
    if (!index)
        return NO_MEMORY;
    free(dictionary->index);
    dictionary->index = index;
    dictionary->room = room;
    dictionary->index_mask = room * 2 - 1;
    for (uint32_t word = 1; word < dictionary->count; word++)
        enter(dictionary, word);
    return OK;
}

static int find_or_add(Dictionary *dictionary, uint32_t parent, uint32_t code, uint32_t *word) {
    *word = dictionary_child(dictionary, parent, code);
    if (*word)
        return OK;
    if (dictionary->count == dictionary->room && grow(dictionary) != OK)
        return NO_MEMORY;
    *word = dictionary->count++;
    dictionary->words[*word] = (Word){.frequency = 0, .parent = parent, .code = code, .forced = 0};
    enter(dictionary, *word);
    return OK;
}

static int set(Dictionary *dictionary, const uint8_t *text, size_t length, int64_t frequency, uint32_t *word) {
    if (frequency >= MOST || dictionary->total + frequency >= MOST)
        return BAD_DICTIONARY;
    *word = 0;
    for (size_t at = 0; at < length;) {
        uint32_t code;
        at += utf8_read(text + at, &code);
        if (find_or_add(dictionary, *word, code, word) != OK)
            return NO_MEMORY;
    }
    dictionary->words[*word].frequency = frequency;
    dictionary->total += frequency;
    return OK;
}

int dictionary_put(Dictionary *dictionary, const uint8_t *text, size_t length, int64_t frequency, int forced) {
    uint32_t word;
    int64_t total = dictionary->total;
    dictionary->total = 0;
    int done = frequency < 0 || !length ? BAD_DICTIONARY : set(dictionary, text, length, frequency, &word);
    dictionary->total = total;
    if (done == OK && forced)
        dictionary->words[word].forced = 1;
    return done;
}

/* Frequency of the word of these characters, or -1 where jieba's dictionary has no such key. */
static int64_t frequency_of(const Dictionary *dictionary, const uint32_t *codes, size_t length) {
    uint32_t word = 0;
    for (size_t at = 0; at < length; at++)
        if (!(word = dictionary_child(dictionary, word, codes[at])))
            return -1;
    return dictionary->words[word].frequency;
}

/* jieba's calc: for each position of a block, the end of the best word that begins there; ties go to longer. */
static void route(const Dictionary *dictionary, const uint32_t *codes, size_t length, double *score, size_t *end) {
    double log_total = log((double)dictionary->total);
    score[length] = 0;
    for (size_t from = length; from-- > 0;) {
        double best = -INFINITY;
        uint32_t word = 0;
        for (size_t to = from + 1; to <= length; to++) {
            if (!(word = dictionary_child(dictionary, word, codes[to - 1])))
                break;
            int64_t frequency = dictionary->words[word].frequency;
            double candidate = frequency ? log((double)frequency) - log_total + score[to] : -INFINITY;
            if (frequency && candidate >= best) {
                best = candidate;
                end[from] = to;
            }
        }
        if (best == -INFINITY) {
            best = log(1.0) - log_total + score[from + 1];
            end[from] = from + 1;
        }
        score[from] = best;
    }
}

/* Multiplies in the share of one piece of the word, as suggest_freq does. */
static double share(const Dictionary *dictionary, const uint32_t *codes, size_t length) {
    int64_t frequency = frequency_of(dictionary, codes, length);
    return (double)(frequency < 0 ? 1 : frequency) / (double)dictionary->total;
}

static double block_share(const Dictionary *dictionary, const uint32_t *codes, size_t length, double product,
                          double *score, size_t *end) {
    route(dictionary, codes, length, score, end);
    for (size_t from = 0; from < length;) {
        size_t to = end[from];
        if (to == from + 1 && is_alnum(codes[from])) /* a run of such single letters is one token */
            while (to < length && end[to] == to + 1 && is_alnum(codes[to]))
                to++;
        product *= share(dictionary, codes + from, to - from);
        from = to;
    }
    return product;
}

/* jieba's suggest_freq(word, tune=False): large enough for the word to be cut out whole. */
static int suggest(const Dictionary *dictionary, const uint8_t *text, size_t length, int64_t *frequency) {
    uint32_t *codes = malloc((length + 1) * sizeof *codes);
    double *score = malloc((length + 1) * sizeof *score);
    size_t *end = malloc((length + 1) * sizeof *end), count = 0;
    int done = codes && score && end ? OK : NO_MEMORY;
    if (done == OK) {
        for (size_t at = 0; at < length;)
            at += utf8_read(text + at, &codes[count++]);
        double product = 1;
        for (size_t from = 0, to; from < count; from = to) {
            to = from + 1;
            if (!in_block(codes[from])) {
                product *= share(dictionary, codes + from, 1);
                continue;
            }
            while (to < count && in_block(codes[to]))
                to++;
            product = block_share(dictionary, codes + from, to - from, product, score, end);
        }
        double suggested = product * (double)dictionary->total;
        int64_t known = frequency_of(dictionary, codes, count);
        if (suggested >= (double)MOST)
            done = BAD_DICTIONARY;
        else
            *frequency = (int64_t)suggested + 1;
        if (done == OK && (known < 0 ? 1 : known) > *frequency)
            *frequency = known < 0 ? 1 : known;
    }
    free(codes);
    free(score);
    free(end);
    return done;
}

int dictionary_add(Dictionary *dictionary, const uint8_t *text, size_t length, int64_t frequency) {
    uint32_t word;
    int done = frequency < 0 ? suggest(dictionary, text, length, &frequency) : OK;
    if (done == OK)
        done = set(dictionary, text, length, frequency, &word);
    if (done == OK && frequency == 0)
        dictionary->words[word].forced = 1;
    return done;
}

static int is_space(uint8_t byte) { return byte == ' ' || (byte >= 9 && byte <= 13); }

int dictionary_read(Dictionary *dictionary, const uint8_t *text, size_t length, size_t *line) {
    const uint8_t *end = text + length;
    for (*line = 1; text < end; ++*line) {
        const uint8_t *newline = memchr(text, '\n', (size_t)(end - text)), *stop = newline ? newline : end;
        const uint8_t *next = newline ? newline + 1 : end;
        while (text < stop && is_space(*text))
            text++;
        const uint8_t *space = memchr(text, ' ', (size_t)(stop - text)), *digit = space ? space + 1 : stop;
        int64_t frequency = 0;
        for (; digit < stop && *digit >= '0' && *digit <= '9' && frequency < MOST / 16; digit++)
            frequency = frequency * 10 + (*digit - '0');
        if (!space || space == text || digit == space + 1 || (digit < stop && !is_space(*digit)))
            return BAD_DICTIONARY;
        uint32_t word;
        int done = set(dictionary, text, (size_t)(space - text), frequency, &word);
        if (done != OK)
            return done;
        text = next;
    }
    return OK;
}
