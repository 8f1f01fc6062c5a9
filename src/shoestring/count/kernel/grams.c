/* Runs of up to four words: the words get ids as they come, a run is a key of one or two numbers of two ids each.
 *
 * - `words` has ids in the place of counts: 0 is not met yet, 1 a stop word. A word has one id, whether the route
 *   took it from the trie or the HMM found it: the trie is always asked first.
 * - A run's ids go from the first word on, zeros after the end. Keys wait until there are enough to be sorted.
 * - Rows come out in the order of their spelling without any being spelled: "a b" stands before "a\x01" only if what
 *   follows the a is its end. So every word has two ranks, one where a run ends with it and one where a space
 *   follows, all in one order; runs are sorted by ranks, which are integers.
 */
#include "grams.h"

#include <stdlib.h>
#include <string.h>

enum { STOP_WORD = 1, FIRST_ROOM = 1 << 12, HELD = 1 << 19 }; /* HELD: numbers that wait; twice as many fit a cache */

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
    grams->with_documents = documents;
    grams->ids = STOP_WORD;
    grams->runs.key = longest > 2 ? 2 : 1;
    grams->runs.stride = grams->runs.key + 1 + (documents != 0);
    return counts_start(&grams->words, table, 0);
}

void grams_free(Grams *grams) {
    counts_free(&grams->words);
    free(grams->held);
    stack_free(&grams->runs);
}

uint64_t grams_bytes(const Grams *grams) {
    return counts_bytes(&grams->words) + stack_bytes(&grams->runs) + 2 * grams->holding * grams->runs.key * sizeof(uint64_t);
}

/* ---- words ---- */

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

/* ---- runs ---- */

/* Marks the first of each run of the present document. */
static void mark_first(Grams *grams) {
    size_t length = grams->holding - grams->document, size = 16;
    while (size < 2 * length)
        size *= 2;
    size_t *place = calloc(size, sizeof *place); /* of the run, from 1 on */
    uint64_t *keys = grams->held + grams->document * grams->runs.key;
    if (!place)
        grams->failed = 1;
    for (size_t each = 0; place && each < length; each++) {
        uint64_t *run = keys + each * grams->runs.key, tail = grams->runs.key > 1 ? run[1] : 0;
        size_t at = (size_t)((run[0] * 0x9E3779B97F4A7C15u ^ tail * 0xE7037ED1A0B428DBu) >> 20) & (size - 1);
        for (; place[at]; at = (at + 1) & (size - 1)) {
            const uint64_t *met = keys + (place[at] - 1) * grams->runs.key;
            if ((met[0] & ~FIRST) == run[0] && (grams->runs.key == 1 || met[1] == tail))
                break;
        }
        if (place[at])
            continue;
        place[at] = each + 1;
        run[0] |= FIRST;
    }
    free(place);
}

/* Counts the first `length` of those that wait. */
static void count_held(Grams *grams, size_t length) {
    uint32_t key = grams->runs.key;
    if (grams->ids >= INT32_MAX ||
        stack_count(&grams->runs, grams->held, grams->held + grams->room * key, length, bits_of(grams->ids)) != OK)
        grams->failed = 1;
    grams->holding -= length;
    grams->document = 0;
    grams->tokens += length;
    memmove(grams->held, grams->held + length * key, grams->holding * key * sizeof *grams->held);
}

int grams_room(Grams *grams) {
    uint32_t key = grams->runs.key;
    size_t complete = grams->with_documents ? grams->document : grams->holding;
    if (grams->room * key >= HELD && complete) {
        count_held(grams, complete);
    } else {
        size_t room = grams->room ? 2 * grams->room : FIRST_ROOM; /* the second half is for sorting */
        uint64_t *held = grams->failed ? NULL : realloc(grams->held, 2 * room * key * sizeof *held);
        if (!held) {
            grams->failed = 1;
            return 0;
        }
        grams->held = held;
        grams->room = room;
    }
    return 1;
}

static void end_document(Grams *grams) {
    if (grams->with_documents && grams->holding > grams->document)
        mark_first(grams);
    grams->document = grams->holding;
}

void grams_document(Grams *grams) {
    end_document(grams);
    grams_break(grams);
}

/* Counts all that waits. */
static void flush(Grams *grams) {
    end_document(grams);
    if (grams->holding)
        count_held(grams, grams->holding);
}

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

static uint64_t mapped(uint64_t two, const uint32_t *map) { return (uint64_t)map[two >> 32] << 32 | map[(uint32_t)two]; }

static int merge_runs(Grams *into, Grams *from, uint32_t *map) {
    Stack *runs = &from->runs;
    map_words(into, from, map);
    int done = stack_join(runs);
    if (done != OK || !runs->height)
        return done;
    Rows *rows = &runs->sorted[0];
    for (size_t at = 0; at < rows->length; at++)
        for (uint32_t number = 0; number < runs->key; number++)
            rows->row[at * runs->stride + number] = mapped(rows->row[at * runs->stride + number], map);
    done = rows_sort(rows, runs, bits_of(into->ids), 0, 0);
    if (done != OK)
        return done;
    runs->height = 0;
    return stack_push(&into->runs, rows);
}

int grams_merge(Grams *into, Grams *from) {
    flush(into);
    flush(from);
    uint32_t *map = calloc(from->ids + 1, sizeof *map);
    if (!map || into->ids + from->ids >= INT32_MAX || merge_runs(into, from, map) != OK)
        into->failed = 1;
    into->tokens += from->tokens;
    into->documents += from->documents;
    into->failed |= grams_failed(from);
    free(map);
    return grams_failed(into) ? NO_MEMORY : OK;
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
        memcpy(out, ranks->words.blob + ranks->words.offsets[word], length);
        out += length;
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
    flush(grams);
    if (stack_join(runs) != OK || grams_failed(grams))
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
