/* Runs of words as sorted columns.
 *
 * - Rows come out in the order of their spelling without any being spelled: "a b" stands before "a\x01" only if what
 *   follows the a is its end. So every word has two ranks, one where a run ends with it and one where a space
 *   follows, all in one order; runs are sorted by ranks, which are integers.
 */
#include "grams.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    Columns words;      /* sorted; their counts are ids */
    uint32_t *rank;     /* [2 * id]: the run ends here; [2 * id + 1]: it goes on */
    uint32_t *row_of;   /* rank -> row of `words` */
} Ranks;

/* Whether `word` stands before `other` and a space; it comes after `other`, or is equal to it. */
static int before_space(const Columns *words, uint64_t word, uint64_t other) {
    size_t length = (size_t)(words->offsets[other + 1] - words->offsets[other]);
    const uint8_t *key = words->blob + words->offsets[word];
    return (size_t)(words->offsets[word + 1] - words->offsets[word]) > length &&
           !memcmp(key, words->blob + words->offsets[other], length) && key[length] < ' ';
}

static void set_rank(Ranks *ranks, uint64_t row, int goes_on, uint32_t rank) {
    ranks->rank[2 * ranks->words.counts[row] + goes_on] = rank;
    ranks->row_of[rank] = (uint32_t)row;
}

/* Words wait until no later one stands before them and a space; those that wait begin with one another. */
static void give_ranks(Ranks *ranks, uint32_t *waiting, int joint) {
    uint32_t rank = 0;
    uint64_t waits = 0;
    for (uint64_t row = 0; row < ranks->words.rows; row++) {
        while (waits && !before_space(&ranks->words, row, waiting[waits - 1]))
            set_rank(ranks, waiting[--waits], 1, ++rank);
        set_rank(ranks, row, 0, ++rank);
        if (joint)
            waiting[waits++] = (uint32_t)row;
        else
            ranks->rank[2 * ranks->words.counts[row] + 1] = rank;
    }
    while (waits)
        set_rank(ranks, waiting[--waits], 1, ++rank);
}

static void ranks_free(Ranks *ranks) {
    columns_free(&ranks->words);
    free(ranks->rank);
    free(ranks->row_of);
}

static int ranks_of(Grams *grams, Ranks *ranks) {
    memset(ranks, 0, sizeof *ranks);
    int done = counts_columns(&grams->words, 0, 0, 0, &ranks->words);
    if (done != OK)
        return done;
    uint32_t *waiting = malloc((ranks->words.rows + 1) * sizeof *waiting);
    ranks->rank = calloc(2 * (grams->ids + 1), sizeof *ranks->rank);
    ranks->row_of = calloc(2 * ranks->words.rows + 1, sizeof *ranks->row_of);
    done = waiting && ranks->rank && ranks->row_of ? OK : NO_MEMORY;
    if (done == OK)
        give_ranks(ranks, waiting, grams->joint);
    free(waiting);
    return done;
}

static void keep_frequent(Rows *rows, const Stack *runs, uint64_t min_count) {
    size_t kept = 0, bytes = runs->stride * sizeof *rows->row;
    for (size_t at = 0; min_count > 1 && at < rows->length; at++)
        if (rows->row[at * runs->stride + runs->key] >= min_count)
            memmove(rows->row + kept++ * runs->stride, rows->row + at * runs->stride, bytes);
    rows->length = min_count > 1 ? kept : rows->length;
}

/* Ranks of the words of a run in the place of their ids; the last one has the rank of an end. */
static void rank_run(uint64_t *row, uint32_t key, const uint32_t *rank) {
    uint64_t next = 0; /* id of the word behind */
    for (uint32_t number = key; number-- > 0;) {
        uint64_t first = row[number] >> 32, second = (uint32_t)row[number];
        uint64_t last = second ? rank[2 * second + (next != 0)] : 0;
        row[number] = (first ? (uint64_t)rank[2 * first + (second != 0)] << 32 : 0) | last;
        next = first;
    }
}

static uint32_t rank_at(const uint64_t *row, uint32_t place) { return (uint32_t)(row[place / 2] >> (place % 2 ? 0 : 32)); }

static size_t spelled_length(const uint64_t *row, uint32_t words, const Ranks *ranks, int joint) {
    size_t length = 0;
    for (uint32_t place = 0; place < words && rank_at(row, place); place++) {
        uint32_t word = ranks->row_of[rank_at(row, place)];
        length += (size_t)(ranks->words.offsets[word + 1] - ranks->words.offsets[word]) + (place && joint);
    }
    return length;
}

static uint8_t *spell_run(const uint64_t *row, uint32_t words, const Ranks *ranks, int joint, uint8_t *out) {
    for (uint32_t place = 0; place < words && rank_at(row, place); place++) {
        uint32_t word = ranks->row_of[rank_at(row, place)];
        size_t length = (size_t)(ranks->words.offsets[word + 1] - ranks->words.offsets[word]);
        if (place && joint)
            *out++ = ' ';
        out = put_word(out, ranks->words.blob + ranks->words.offsets[word], length);
    }
    return out;
}

static int write_rows(const Rows *rows, size_t length, const Ranks *ranks, const Grams *grams, Columns *columns) {
    uint32_t key = grams->runs.key, stride = grams->runs.stride;
    size_t bytes = 0;
    for (size_t at = 0; at < length; at++)
        bytes += spelled_length(rows->row + at * stride, 2 * key, ranks, grams->joint);
    if (columns_start(columns, length, bytes, grams->with_documents) != OK)
        return NO_MEMORY;
    uint8_t *out = columns->blob;
    for (size_t at = 0; at < length; at++) {
        const uint64_t *row = rows->row + at * stride;
        columns->offsets[at] = (int64_t)(out - columns->blob);
        columns->counts[at] = (int64_t)row[key];
        if (columns->documents)
            columns->documents[at] = (int64_t)row[key + 1];
        out = spell_run(row, 2 * key, ranks, grams->joint, out);
    }
    columns->offsets[length] = (int64_t)bytes;
    return OK;
}

int grams_columns(Grams *grams, int by_count, uint64_t min_count, uint64_t top, Columns *columns) {
    Stack *runs = &grams->runs;
    Ranks ranks;
    memset(columns, 0, sizeof *columns);
    if (grams_settle(grams) != OK)
        return NO_MEMORY;
    Rows none = {0, NULL}, *rows = runs->height ? &runs->sorted[0] : &none;
    int done = ranks_of(grams, &ranks);
    if (done == OK) {
        keep_frequent(rows, runs, min_count);
        for (size_t at = 0; at < rows->length; at++)
            rank_run(rows->row + at * runs->stride, runs->key, ranks.rank);
        done = rows_sort(rows, runs, bits_of(2 * ranks.words.rows), 1, by_count);
    }
    if (done == OK)
        done = write_rows(rows, top && top < rows->length ? top : rows->length, &ranks, grams, columns);
    ranks_free(&ranks);
    return done;
}
