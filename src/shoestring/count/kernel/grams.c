/* Runs of up to four words: the words get ids as they come, a run is a key of 16 bytes of them.
 *
 * - `words` has ids in the place of counts: 0 is not met yet, 1 a stop word. A word has one id, whether the route
 *   took it from the trie or the HMM found it: the trie is always asked first.
 * - `counts` has the runs: ids from the first word on, 32 bits each, zeros after the end.
 * - Rows come out in the order of their spelling without any being spelled: "a b" stands before "a\x01" only if what
 *   follows the a is its end. So every word has two ranks, one where a run ends with it and one where a space
 *   follows, all in one order; runs are sorted by ranks, which are integers, by radix.
 */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

enum { STOP_WORD = 1, DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, PLACES = 6 }; /* 6 * 11 bits >= 64 */

typedef struct {
    uint64_t key[2]; /* ranks of four words, from the highest bits of key[0] on */
    uint64_t count, documents;
} Record;

typedef struct {
    Columns words;      /* sorted; their counts are ids */
    uint32_t *rank;     /* [2 * id]: the run ends here; [2 * id + 1]: it goes on */
    uint32_t *row_of;   /* rank -> row of `words` */
} Ranks;

int grams_start(Grams *grams, const Table *table, int documents, uint32_t shortest, uint32_t longest, int joint) {
    memset(grams, 0, sizeof *grams);
    grams->shortest = shortest;
    grams->longest = longest;
    grams->joint = joint;
    grams->ids = STOP_WORD;
    int done = counts_start(&grams->words, table, 0);
    return done == OK ? counts_start(&grams->counts, NULL, documents) : done;
}

void grams_free(Grams *grams) {
    counts_free(&grams->words);
    counts_free(&grams->counts);
}

/* Where the id of a string is kept. */
static uint64_t *slot_of(Grams *grams, const uint8_t *word, size_t length) {
    const Table *table = grams->words.table;
    uint32_t code, node = 0;
    size_t at = utf8_read(word, &code);
    if (at == length)
        return &grams->words.by_code[code];
    for (node = table && code < 0x10000 ? table->id_of[code] : 0; node && at < length;) {
        at += utf8_read(word + at, &code);
        uint32_t id = code < 0x10000 ? table->id_of[code] : 0, child = node_base(table->nodes[node]) + id;
        node = node_check(table->nodes[child]) == id ? child : 0;
    }
    return node ? &grams->words.by_node[node] : counts_slot(&grams->words, word, length);
}

void grams_stop(Grams *grams, const uint8_t *word, size_t length) {
    uint64_t *slot = length ? slot_of(grams, word, length) : NULL;
    if (slot)
        *slot = STOP_WORD;
}

void grams_string(Grams *grams, const uint8_t *word, size_t length) {
    uint64_t *slot = slot_of(grams, word, length);
    if (slot)
        grams_word(grams, slot);
}

void grams_flush(Grams *grams) {
    counts_queue(&grams->counts, (const uint64_t(*)[2])grams->queue, grams->queued);
    grams->queued = 0;
}

void grams_document(Grams *grams) {
    if (grams->counts.with_documents)
        grams_flush(grams);
    grams->counts.document++;
    grams_break(grams);
}

uint64_t grams_bytes(const Grams *grams) { return counts_bytes(&grams->words) + counts_bytes(&grams->counts); }

/* ---- merging ---- */

static void same_word(Grams *into, uint64_t *slot, uint64_t id, uint32_t *map) {
    if (slot && !*slot)
        *slot = ++into->ids;
    map[id] = slot ? (uint32_t)*slot : 0;
}

static void map_words(Grams *into, Grams *from, uint32_t *map) {
    Counts *words = &from->words;
    const uint8_t *key;
    for (uint32_t node = 0; words->table && node < words->table->header->nodes; node++)
        if (words->by_node[node])
            same_word(into, &into->words.by_node[node], words->by_node[node], map);
    for (uint32_t code = 0; code < CODE_POINTS; code++)
        if (words->by_code[code])
            same_word(into, &into->words.by_code[code], words->by_code[code], map);
    for (uint64_t at = 0; at <= words->mask; at++)
        if (words->entries[at].count) {
            size_t length = counts_key(words, &words->entries[at], &key);
            same_word(into, counts_slot(&into->words, key, length), words->entries[at].count, map);
        }
}

static uint64_t mapped(uint64_t two, const uint32_t *map) { return map[(uint32_t)two] | (uint64_t)map[two >> 32] << 32; }

/* Adds the runs of another of the same table and kind. */
int grams_merge(Grams *into, Grams *from) {
    uint32_t *map = calloc(from->ids + 1, sizeof *map);
    if (!map)
        return NO_MEMORY;
    grams_flush(into);
    grams_flush(from);
    map_words(into, from, map);
    const Counts *runs = &from->counts;
    enum { AHEAD = 64 };
    uint64_t key[AHEAD][2], amount[AHEAD][2];
    uint32_t held = 0;
    for (uint64_t at = 0; at <= runs->mask + 1; at++) {
        if (held == AHEAD || at > runs->mask) {
            counts_put(&into->counts, (const uint64_t(*)[2])key, (const uint64_t(*)[2])amount, held);
            held = 0;
        }
        if (at > runs->mask || !runs->entries[at].count)
            continue;
        key[held][0] = mapped(runs->entries[at].head, map);
        key[held][1] = mapped(runs->entries[at].tail, map);
        amount[held][0] = runs->entries[at].count;
        amount[held++][1] = runs->with_documents ? runs->entry_seen[at].documents : 0;
    }
    into->counts.tokens += runs->tokens;
    into->counts.documents += runs->documents;
    into->counts.document += runs->document;
    into->words.failed |= from->words.failed;
    into->counts.failed |= from->counts.failed;
    free(map);
    return into->words.failed || into->counts.failed ? NO_MEMORY : OK;
}

/* ---- rows in order ---- */

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

/* The ranks of the words of a run; the last one has the rank of an end. */
static Record ranked(const Entry *entry, const uint32_t *rank) {
    uint32_t id[5] = {(uint32_t)entry->head, (uint32_t)(entry->head >> 32), (uint32_t)entry->tail,
                      (uint32_t)(entry->tail >> 32), 0}, at[4];
    for (uint32_t place = 0; place < 4; place++)
        at[place] = id[place] ? rank[2 * (size_t)id[place] + (id[place + 1] != 0)] : 0;
    return (Record){{(uint64_t)at[0] << 32 | at[1], (uint64_t)at[2] << 32 | at[3]}, entry->count, 0};
}

static size_t gather(const Counts *counts, const uint32_t *rank, uint64_t min_count, Record *records) {
    size_t length = 0;
    for (uint64_t at = 0; at <= counts->mask; at++) {
        if (!counts->entries[at].count || counts->entries[at].count < min_count)
            continue;
        records[length] = ranked(&counts->entries[at], rank);
        records[length++].documents = counts->with_documents ? counts->entry_seen[at].documents : 0;
    }
    return length;
}

/* The number that is sorted by: 0 the ranks of words 3 and 4, 1 those of words 1 and 2, 2 the count, greatest first. */
ALWAYS_INLINE uint64_t sort_key(const Record *record, const int by) { return by == 2 ? ~record->count : record->key[1 - by]; }

/* A stable radix sort, from the lowest digits on; digits that are all alike cost no pass. Returns where the rows are. */
ALWAYS_INLINE Record *sorted_by(Record *from, Record *to, size_t length, const int by) {
    size_t begins[PLACES][DIGITS];
    memset(begins, 0, sizeof begins);
    for (size_t at = 0; at < length; at++)
        for (int place = 0; place < PLACES; place++)
            begins[place][sort_key(&from[at], by) >> (DIGIT_BITS * place) & (DIGITS - 1)]++;
    for (int place = 0; place < PLACES && length; place++) {
        size_t *begin = begins[place], sum = 0;
        if (begin[sort_key(&from[0], by) >> (DIGIT_BITS * place) & (DIGITS - 1)] == length)
            continue;
        for (size_t digit = 0; digit < DIGITS; digit++) {
            size_t here = begin[digit];
            begin[digit] = sum;
            sum += here;
        }
        for (size_t at = 0; at < length; at++)
            to[begin[sort_key(&from[at], by) >> (DIGIT_BITS * place) & (DIGITS - 1)]++] = from[at];
        Record *swapped = from;
        from = to;
        to = swapped;
    }
    return from;
}

static Record *sorted(Record *records, Record *scratch, size_t length, int by_count) {
    Record *place = sorted_by(records, scratch, length, 0);
    place = sorted_by(place, place == records ? scratch : records, length, 1);
    return by_count ? sorted_by(place, place == records ? scratch : records, length, 2) : place;
}

static uint32_t rank_at(const Record *record, int place) { return (uint32_t)(record->key[place / 2] >> (place % 2 ? 0 : 32)); }

static size_t spelled_length(const Record *record, const Ranks *ranks, int joint) {
    size_t length = 0;
    for (int place = 0; place < 4 && rank_at(record, place); place++) {
        uint32_t row = ranks->row_of[rank_at(record, place)];
        length += (size_t)(ranks->words.offsets[row + 1] - ranks->words.offsets[row]) + (place && joint);
    }
    return length;
}

static uint8_t *spell_run(const Record *record, const Ranks *ranks, int joint, uint8_t *out) {
    for (int place = 0; place < 4 && rank_at(record, place); place++) {
        uint32_t row = ranks->row_of[rank_at(record, place)];
        size_t length = (size_t)(ranks->words.offsets[row + 1] - ranks->words.offsets[row]);
        if (place && joint)
            *out++ = ' ';
        memcpy(out, ranks->words.blob + ranks->words.offsets[row], length);
        out += length;
    }
    return out;
}

static int write_records(const Record *records, size_t length, const Ranks *ranks, const Grams *grams, Columns *columns) {
    size_t bytes = 0;
    for (size_t at = 0; at < length; at++)
        bytes += spelled_length(&records[at], ranks, grams->joint);
    if (columns_start(columns, length, bytes, grams->counts.with_documents) != OK)
        return NO_MEMORY;
    uint8_t *out = columns->blob;
    for (size_t at = 0; at < length; at++) {
        columns->offsets[at] = (int64_t)(out - columns->blob);
        columns->counts[at] = (int64_t)records[at].count;
        if (columns->documents)
            columns->documents[at] = (int64_t)records[at].documents;
        out = spell_run(&records[at], ranks, grams->joint, out);
    }
    columns->offsets[length] = (int64_t)bytes;
    return OK;
}

int grams_columns(Grams *grams, int by_count, uint64_t min_count, uint64_t top, Columns *columns) {
    Ranks ranks;
    memset(columns, 0, sizeof *columns);
    grams_flush(grams);
    if (grams->words.failed || grams->counts.failed)
        return NO_MEMORY;
    size_t room = grams->counts.used + 1;
    Record *records = malloc(room * sizeof *records), *scratch = malloc(room * sizeof *scratch);
    int done = ranks_of(grams, &ranks);
    if (done == OK && records && scratch) {
        size_t length = gather(&grams->counts, ranks.rank, min_count, records);
        Record *rows = sorted(records, scratch, length, by_count);
        done = write_records(rows, top && top < length ? top : length, &ranks, grams, columns);
    }
    done = records && scratch ? done : NO_MEMORY;
    ranks_free(&ranks);
    free(records);
    free(scratch);
    return done;
}
