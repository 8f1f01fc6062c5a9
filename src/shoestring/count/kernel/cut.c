/* jieba 0.42.1's accurate mode, token for token, with and without HMM.
 *
 * Text is decoded into chunks of about 2,000 characters that end where no block of jieba's re_han goes on. Per
 * chunk, arrays instead of a DAG: (1) the trie is probed for all positions at once, level by level, without
 * branches; (2) one backward pass finds the best route: scores are sums of the same doubles in the same order as
 * jieba's, ties go to the longer word; (3) one forward pass hands the words out. Characters between words are
 * given to jieba's finalseg: runs of Han to the Viterbi decoder, the rest to its regular expression. Blocks that are
 * longer than a chunk go through windows (long_block.h).
 */
#include "long_block.h"

Cutter *cutter_new(const Table *table) {
    Cutter *cutter = calloc(1, sizeof *cutter);
    if (!cutter)
        return NULL;
    cutter->table = table;
    cutter->strings = malloc(STRINGS * sizeof *cutter->strings);
    if (cutter->strings && make_room(cutter, ROOM))
        return cutter;
    cutter_free(cutter);
    return NULL;
}

void cutter_free(Cutter *cutter) {
    if (!cutter)
        return;
    void *all[] = {cutter->id,      cutter->code,    cutter->offset, cutter->second, cutter->third, cutter->second_base,
                   cutter->weight1, cutter->weight2, cutter->weight3, cutter->score, cutter->next,  cutter->node,
                   cutter->state,   cutter->nodes,   cutter->codes,  cutter->strings, cutter->ends,  cutter->tokens, cutter};
    for (size_t each = 0; each < sizeof all / sizeof *all; each++)
        free(all[each]);
}

const uint32_t *cutter_ends(const Cutter *cutter) { return cutter->ends; }

/* ---- chunks ---- */

ALWAYS_INLINE void cut_chunk(Cutter *cutter, const uint8_t *chunk, uint32_t length, const int hmm, const int mode) {
    for (uint32_t spare = 0; spare < 4; spare++) { /* probes look three characters ahead */
        cutter->id[length + spare] = 0;
        cutter->score[length + spare] = 0;
    }
    probe(cutter, length);
    find_route(cutter, length);
    give_rest(cutter, chunk, follow(cutter, chunk, length, hmm, mode), length, hmm, mode);
    flush(cutter, mode);
    cutter->done += length;
}

/* Where a chunk of ROOM characters can end: before its last block, or before the CR of a CR LF; 0 if nowhere. */
static uint32_t place_to_end(const Cutter *cutter, uint32_t length) {
    if (cutter->code[length - 1] & SEPARATOR)
        return length - 1;
    while (length && !(cutter->code[length - 1] & SEPARATOR))
        length--;
    return length;
}

ALWAYS_INLINE int run(Cutter *cutter, const uint8_t *text, size_t length, const int hmm, const int mode) {
    const uint8_t *end = text + length;
    const uint16_t *id_of = cutter->table->id_of;
    while (text < end) {
        const uint8_t *chunk = text;
        uint32_t n = 0, whole = 0;
        while (text < end && n < ROOM) {
            uint32_t code, separator;
            cutter->offset[n] = (uint32_t)(text - chunk);
            text += utf8_read(text, &code);
            separator = in_block(code) ? 0 : SEPARATOR;
            cutter->id[n] = code < 0x10000 ? id_of[code] : 0;
            cutter->code[n++] = code | separator;
            if (UNLIKELY(n >= CHUNK) && separator && !(code == '\r' && text < end && *text == '\n')) {
                whole = 1;
                break;
            }
        }
        cutter->offset[n] = (uint32_t)(text - chunk);
        if (UNLIKELY(!whole && text < end)) { /* a block goes on: it begins the next chunk, or is longer than one */
            n = place_to_end(cutter, n);
            text = chunk + cutter->offset[n];
            if (!n) {
                text = block_end(text, end);
                cut_block(cutter, chunk, text, hmm, mode);
                continue;
            }
        }
        cut_chunk(cutter, chunk, n, hmm, mode);
    }
    if (mode == COUNT)
        flush_strings(cutter);
    int failed = mode == COUNT ? cutter->counts->failed
                 : mode == GRAMS ? grams_failed(cutter->grams)
                                 : 0;
    return cutter->failed || failed ? NO_MEMORY : OK;
}

/* A word that is kept whole: a token of its own, whatever jieba would make of its characters. */
static void give_whole(Cutter *cutter, const uint8_t *word, size_t length, int mode) {
    if (mode == COUNT) {
        counts_note(cutter->counts, word, length);
        return;
    }
    if (mode == GRAMS) {
        grams_string(cutter->grams, word, length);
        return;
    }
    for (size_t at = 0; at < length; cutter->done++) {
        uint32_t code;
        at += utf8_read(word + at, &code);
    }
    end_at(cutter, 0);
}

static int run_between(Cutter *cutter, const uint8_t *text, size_t length, int hmm, int mode) {
    if (mode == SPANS)
        return hmm ? run(cutter, text, length, 1, SPANS) : run(cutter, text, length, 0, SPANS);
    if (mode == GRAMS)
        return hmm ? run(cutter, text, length, 1, GRAMS) : run(cutter, text, length, 0, GRAMS);
    return hmm ? run(cutter, text, length, 1, COUNT) : run(cutter, text, length, 0, COUNT);
}

static int run_all(Cutter *cutter, const uint8_t *text, size_t length, int hmm, int mode) {
    const Whole *whole = cutter->table->whole;
    int done = OK;
    for (size_t at = 0, stop = length; whole && at < length && done == OK; at = stop) {
        size_t word = whole_find(whole, text, length, at, &stop);
        if (word == length)
            return run_between(cutter, text + at, length - at, hmm, mode);
        done = run_between(cutter, text + at, word - at, hmm, mode);
        give_whole(cutter, text + word, stop - word, mode);
    }
    return whole ? done : run_between(cutter, text, length, hmm, mode);
}

/* ---- entrances ---- */

int cutter_cut(Cutter *cutter, const uint8_t *text, size_t length, int hmm, size_t *tokens) {
    if (length > INT32_MAX)
        return TOO_LONG;
    cutter->done = cutter->end_count = 0;
    cutter->failed = 0;
    int done = run_all(cutter, text, length, hmm, SPANS);
    *tokens = cutter->end_count;
    return done;
}

static int count_document(Cutter *cutter, const uint8_t *text, size_t length, int hmm) {
    cutter->counts->document++;
    return run_all(cutter, text, length, hmm, COUNT);
}

int cutter_count(Cutter *cutter, const uint8_t *text, size_t length, int hmm, int lines, Counts *counts) {
    if (length > INT32_MAX)
        return TOO_LONG;
    cutter->counts = counts;
    cutter->lines = lines;
    cutter->done = 0;
    cutter->failed = 0;
    if (!lines || !counts->with_documents)
        return count_document(cutter, text, length, hmm);
    int done = OK; /* with document frequencies every line is counted on its own */
    for (const uint8_t *end = text + length; text < end && done == OK;) {
        const uint8_t *newline = memchr(text, '\n', (size_t)(end - text)), *next = newline ? newline + 1 : end;
        done = count_document(cutter, text, (size_t)(next - text), hmm);
        text = next;
    }
    return done;
}

/* Lines are documents: the cutter tells where each one ends. */
int cutter_grams(Cutter *cutter, const uint8_t *text, size_t length, int hmm, int lines, Grams *grams) {
    if (length > INT32_MAX)
        return TOO_LONG;
    cutter->grams = grams;
    cutter->lines = lines;
    cutter->done = 0;
    cutter->failed = 0;
    grams_document(grams);
    return run_all(cutter, text, length, hmm, GRAMS);
}
