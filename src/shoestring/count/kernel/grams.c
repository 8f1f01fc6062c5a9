/* Runs of up to four words: the words get ids as they come, a run is a key of one or two numbers of two ids each.
 *
 * - `words` has ids in the place of counts: 0 is not met yet, 1 a stop word. A word has one id, whether the route
 *   took it from the trie or the HMM found it: the trie is always asked first.
 * - A run's ids go from the first word on, zeros after the end. Keys wait until there are enough to be sorted.
 */
#include "grams.h"

#include <stdlib.h>
#include <string.h>

enum { STOP_WORD = 1, FIRST_ROOM = 1 << 12, HELD = 1 << 19 }; /* HELD: numbers that wait at most */

int grams_start(Grams *grams, const Table *table, int documents, uint32_t shortest, uint32_t longest, int joint) {
    memset(grams, 0, sizeof *grams);
    grams->shortest = shortest;
    grams->longest = longest;
    grams->joint = joint;
    grams->with_documents = documents;
    grams->ids = STOP_WORD;
    grams->runs.key = longest > 2 ? 2 : 1;
    grams->runs.stride = grams->runs.key + 1 + (documents != 0);
    grams->long_one = grams->runs;
    return counts_start(&grams->words, table, 0);
}

void grams_free(Grams *grams) {
    counts_free(&grams->words);
    free(grams->held);
    stack_free(&grams->runs);
    stack_free(&grams->long_one);
}

uint64_t grams_bytes(const Grams *grams) {
    uint64_t held = 2 * grams->holding * grams->runs.key * sizeof(uint64_t);
    return counts_bytes(&grams->words) + stack_bytes(&grams->runs) + stack_bytes(&grams->long_one) + held;
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
    uint32_t length = (uint32_t)(grams->holding - grams->document), size = 16;
    while (size < 2 * length)
        size *= 2;
    uint32_t *place = calloc(size, sizeof *place); /* of the run, from 1 on */
    uint64_t *keys = grams->held + grams->document * grams->runs.key;
    if (!place)
        grams->failed = 1;
    for (uint32_t each = 0; place && each < length; each++) {
        uint64_t *run = keys + (size_t)each * grams->runs.key, tail = grams->runs.key > 1 ? run[1] : 0;
        uint32_t at = (uint32_t)((run[0] * 0x9E3779B97F4A7C15u ^ tail * 0xE7037ED1A0B428DBu) >> 32) & (size - 1);
        for (; place[at]; at = (at + 1) & (size - 1)) {
            const uint64_t *met = keys + (size_t)(place[at] - 1) * grams->runs.key;
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
static void count_held(Grams *grams, Stack *stack, size_t length) {
    uint32_t key = stack->key;
    if (grams->ids >= INT32_MAX ||
        stack_count(stack, grams->held, grams->held + grams->room * key, length, bits_of(grams->ids)) != OK)
        grams->failed = 1;
    grams->holding -= length;
    grams->document = 0;
    grams->tokens += length;
    memmove(grams->held, grams->held + length * key, grams->holding * key * sizeof *grams->held);
}

static int more_room(Grams *grams) {
    size_t room = grams->room ? 2 * grams->room : FIRST_ROOM; /* the second half is for sorting */
    uint64_t *held = realloc(grams->held, 2 * room * grams->runs.key * sizeof *held);
    if (held) {
        use_huge_pages(held, 2 * room * grams->runs.key * sizeof *held);
        grams->held = held;
        grams->room = room;
    }
    return held != NULL;
}

int grams_room(Grams *grams) {
    if (grams->room * grams->runs.key < HELD)
        grams->failed |= !more_room(grams);
    else if (!grams->with_documents)
        count_held(grams, &grams->runs, grams->holding);
    else if (grams->document)
        count_held(grams, &grams->runs, grams->document);
    else /* the present document is longer than what is sorted at a time */
        count_held(grams, &grams->long_one, grams->holding);
    return grams->holding < grams->room;
}

/* Each run of a document that was counted by itself is in one document. */
static void end_long_one(Grams *grams) {
    Stack *stack = &grams->long_one;
    count_held(grams, stack, grams->holding);
    if (stack_join(stack) != OK) {
        grams->failed = 1;
        return;
    }
    Rows *rows = &stack->sorted[0];
    for (size_t at = 0; at < rows->length; at++)
        rows->row[at * stack->stride + stack->key + 1] = 1;
    stack->height = 0;
    grams->failed |= stack_push(&grams->runs, rows) != OK;
}

static void end_document(Grams *grams) {
    if (grams->long_one.height)
        end_long_one(grams);
    else if (grams->with_documents && grams->holding > grams->document)
        mark_first(grams);
    grams->document = grams->holding;
}

void grams_document(Grams *grams) {
    end_document(grams);
    grams_break(grams);
}

int grams_settle(Grams *grams) {
    end_document(grams);
    if (grams->holding)
        count_held(grams, &grams->runs, grams->holding);
    grams->failed |= stack_join(&grams->runs) != OK;
    return grams_failed(grams) ? NO_MEMORY : OK;
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
    if (!runs->height)
        return OK;
    Rows *rows = &runs->sorted[0];
    for (size_t at = 0; at < rows->length; at++)
        for (uint32_t number = 0; number < runs->key; number++)
            rows->row[at * runs->stride + number] = mapped(rows->row[at * runs->stride + number], map);
    if (rows_sort(rows, runs, bits_of(into->ids), 0, 0) != OK)
        return NO_MEMORY;
    runs->height = 0;
    return stack_push(&into->runs, rows);
}

int grams_merge(Grams *into, Grams *from) {
    uint32_t *map = calloc(from->ids + 1, sizeof *map);
    if (grams_settle(into) != OK || grams_settle(from) != OK || !map || into->ids + from->ids >= INT32_MAX || merge_runs(into, from, map) != OK)
        into->failed = 1;
    into->tokens += from->tokens;
    into->documents += from->documents;
    into->failed |= grams_failed(from);
    free(map);
    return grams_failed(into) ? NO_MEMORY : OK;
}
