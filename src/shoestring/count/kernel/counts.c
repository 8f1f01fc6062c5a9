/* Counters: an array by trie node, an array by code point, and one hash table for every other string.
 *
 * - Keys of up to 16 bytes lie in the entry itself, padded with zeros; longer ones, and those that end in NUL, lie
 *   in an arena and the entry has their hash and place.
 * - counts_fold moves the words counted by node into the hash table, so that each string has one entry; single
 *   characters stay in their array, for no string of the table is a single character of the cut.
 */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ENTRIES = 1 << 15, ARENA_HEAD = 4 };
#define LONG_KEY ((uint64_t)0xFF << 56) /* no byte of UTF-8 is FF */

static uint64_t load8(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

static uint64_t load4(const uint8_t *bytes) {
    uint32_t word;
    memcpy(&word, bytes, 4);
    return word;
}

uint64_t key_word(const uint8_t *bytes, size_t length) {
    if (length >= 8)
        return load8(bytes);
    if (length >= 4)
        return load4(bytes) | load4(bytes + length - 4) >> 8 * (8 - length) << 32;
    uint64_t word = 0;
    for (size_t at = 0; at < length; at++)
        word |= (uint64_t)bytes[at] << 8 * at;
    return word;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    return fold_product(a ^ 0x9E3779B97F4A7C15u, b ^ 0xE7037ED1A0B428DBu);
}

static uint64_t hash_long(const uint8_t *key, size_t length) {
    uint64_t hash = length;
    for (; length > 8; key += 8, length -= 8)
        hash = mix(hash, load8(key));
    return mix(hash, key_word(key, length));
}

static int is_long(const Entry *entry) { return (entry->tail & LONG_KEY) == LONG_KEY; }

static uint64_t home(const Entry *entry) { return mix(entry->head, is_long(entry) ? 0 : entry->tail); }

/* The key's bytes and length; `entry` must stay where it is while they are used. */
size_t counts_key(const Counts *counts, const Entry *entry, const uint8_t **key) {
    if (is_long(entry)) {
        const uint8_t *place = counts->arena + (entry->tail & ~LONG_KEY);
        *key = place + ARENA_HEAD;
        return (size_t)load4(place);
    }
    *key = (const uint8_t *)entry;
    size_t length = 16;
    while ((*key)[length - 1] == 0)
        length--;
    return length;
}

int counts_start(Counts *counts, const Table *table, int with_documents) {
    memset(counts, 0, sizeof *counts);
    uint32_t nodes = table ? table->header->nodes : 1;
    counts->table = table;
    counts->with_documents = with_documents;
    counts->mask = FIRST_ENTRIES - 1;
    counts->by_node = calloc_huge(nodes, sizeof *counts->by_node);
    counts->by_code = calloc_huge(CODE_POINTS, sizeof *counts->by_code); /* most of it is read and never written to */
    counts->entries = calloc(FIRST_ENTRIES, sizeof *counts->entries);
    int done = counts->by_node && counts->by_code && counts->entries;
    if (done && with_documents) {
        counts->node_seen = calloc(nodes, sizeof *counts->node_seen);
        counts->code_seen = calloc(CODE_POINTS, sizeof *counts->code_seen);
        counts->entry_seen = calloc(FIRST_ENTRIES, sizeof *counts->entry_seen);
        done = counts->node_seen && counts->code_seen && counts->entry_seen;
    }
    return done ? OK : NO_MEMORY;
}

void counts_free(Counts *counts) {
    void *all[] = {counts->by_node, counts->by_code,   counts->entries,   counts->arena,
                   counts->node_seen, counts->code_seen, counts->entry_seen};
    for (size_t each = 0; each < sizeof all / sizeof *all; each++)
        free(all[each]);
    memset(counts, 0, sizeof *counts);
}

uint64_t counts_bytes(const Counts *counts) {
    uint64_t entry = sizeof(Entry) + (counts->with_documents ? sizeof(Seen) : 0);
    return (counts->mask + 1) * entry + counts->arena_room;
}

static int grow(Counts *counts) {
    uint64_t size = (counts->mask + 1) * 2;
    Entry *entries = calloc_huge(size, sizeof *entries);
    Seen *seen = counts->with_documents ? calloc_huge(size, sizeof *seen) : NULL;
    if (!entries || (counts->with_documents && !seen)) {
        free(entries);
        free(seen);
        return NO_MEMORY;
    }
    for (uint64_t old = 0; old <= counts->mask; old++) {
        if (!counts->entries[old].count)
            continue;
        uint64_t at = home(&counts->entries[old]) & (size - 1);
        while (entries[at].count)
            at = (at + 1) & (size - 1);
        entries[at] = counts->entries[old];
        if (seen)
            seen[at] = counts->entry_seen[old];
    }
    free(counts->entries);
    free(counts->entry_seen);
    counts->entries = entries;
    counts->entry_seen = seen;
    counts->mask = size - 1;
    return OK;
}

/* Makes room for `more` new keys at a load of two thirds; a failure is remembered. */
void counts_reserve(Counts *counts, uint64_t more) {
    while (!counts->failed && (counts->used + more) * 3 > counts->mask * 2)
        if (grow(counts) != OK)
            counts->failed = 1;
}

static uint64_t keep_long(Counts *counts, const uint8_t *key, size_t length) {
    uint64_t needed = counts->arena_used + ARENA_HEAD + length;
    if (needed + SHORT > counts->arena_room) {
        uint64_t room = needed * 2 + 4096;
        uint8_t *arena = realloc(counts->arena, room);
        if (!arena) {
            counts->failed = 1;
            return 0;
        }
        counts->arena = arena;
        counts->arena_room = room;
    }
    uint64_t place = counts->arena_used;
    uint32_t head = (uint32_t)length;
    memcpy(counts->arena + place, &head, ARENA_HEAD);
    memcpy(counts->arena + place + ARENA_HEAD, key, length);
    counts->arena_used = needed;
    return place;
}

static int same_long(const Counts *counts, const Entry *entry, uint64_t hash, const uint8_t *key, size_t length) {
    const uint8_t *kept;
    return is_long(entry) && entry->head == hash && counts_key(counts, entry, &kept) == length &&
           !memcmp(kept, key, length);
}

/* Finds the key's entry or makes it with count 0; NULL without memory. */
static Entry *entry_of(Counts *counts, const uint8_t *key, size_t length) {
    counts_reserve(counts, 1);
    if (counts->failed)
        return NULL;
    if (length <= 16 && key[length - 1]) {
        uint64_t head = key_word(key, length < 8 ? length : 8), tail = length > 8 ? key_word(key + 8, length - 8) : 0;
        for (uint64_t at = mix(head, tail) & counts->mask;; at = (at + 1) & counts->mask) {
            Entry *entry = &counts->entries[at];
            if (entry->count && (entry->head != head || entry->tail != tail))
                continue;
            if (!entry->count) {
                *entry = (Entry){head, tail, 0};
                counts->used++;
            }
            return entry;
        }
    }
    uint64_t hash = hash_long(key, length);
    for (uint64_t at = mix(hash, 0) & counts->mask;; at = (at + 1) & counts->mask) {
        Entry *entry = &counts->entries[at];
        if (entry->count && !same_long(counts, entry, hash, key, length))
            continue;
        if (!entry->count) {
            uint64_t place = keep_long(counts, key, length);
            if (counts->failed)
                return NULL;
            *entry = (Entry){hash, LONG_KEY | place, 0};
            counts->used++;
        }
        return entry;
    }
}

void counts_add(Counts *counts, const uint8_t *key, size_t length, uint64_t count, uint64_t documents) {
    Entry *entry = count && length ? entry_of(counts, key, length) : NULL;
    if (!entry)
        return;
    entry->count += count;
    if (counts->with_documents)
        counts->entry_seen[entry - counts->entries].documents += documents;
}

void counts_note(Counts *counts, const uint8_t *key, size_t length) {
    Entry *entry = entry_of(counts, key, length);
    if (!entry)
        return;
    entry->count++;
    counts->tokens++;
    Seen *seen = counts->with_documents ? &counts->entry_seen[entry - counts->entries] : NULL;
    if (seen && seen->last != counts->document) {
        seen->last = counts->document;
        seen->documents++;
    }
}

uint64_t *counts_slot(Counts *counts, const uint8_t *key, size_t length) {
    Entry *entry = entry_of(counts, key, length);
    return entry ? &entry->count : NULL;
}

/* The cache misses of many keys overlap: first all entries are asked for, then they are counted. */
void counts_queue(Counts *counts, const uint64_t (*keys)[2], uint32_t length) {
    counts_reserve(counts, length);
    for (uint32_t each = 0; each < length && !counts->failed; each++)
        PREFETCH_WRITE(&counts->entries[mix(keys[each][0], keys[each][1]) & counts->mask]);
    for (uint32_t each = 0; each < length && !counts->failed; each++) {
        uint64_t head = keys[each][0], tail = keys[each][1], at = mix(head, tail) & counts->mask;
        while (counts->entries[at].count && (counts->entries[at].head != head || counts->entries[at].tail != tail))
            at = (at + 1) & counts->mask;
        counts->used += !counts->entries[at].count;
        counts->entries[at] = (Entry){head, tail, counts->entries[at].count + 1};
    }
    counts->tokens += length;
}

uint64_t counts_codes(const Counts *counts) {
    uint64_t used = 0;
    for (uint32_t code = 0; code < CODE_POINTS; code++)
        used += counts->by_code[code] != 0;
    return used;
}

uint64_t counts_distinct(Counts *counts) {
    counts_fold(counts);
    return counts->used + counts_codes(counts);
}

/* Takes the entry out and closes the gap, so that the probing of later keys still finds them. */
static void take_out(Counts *counts, uint64_t gap) {
    for (uint64_t at = (gap + 1) & counts->mask; counts->entries[at].count; at = (at + 1) & counts->mask) {
        uint64_t from_home = (at - home(&counts->entries[at])) & counts->mask;
        if (from_home < ((at - gap) & counts->mask))
            continue; /* the entry stands between its home and here: the gap does not part them */
        counts->entries[gap] = counts->entries[at];
        if (counts->with_documents)
            counts->entry_seen[gap] = counts->entry_seen[at];
        gap = at;
    }
    counts->entries[gap] = (Entry){0, 0, 0};
    if (counts->with_documents)
        counts->entry_seen[gap] = (Seen){0, 0};
    counts->used--;
}

void counts_discard(Counts *counts, const uint8_t *key, size_t length) {
    uint32_t code;
    counts_fold(counts);
    if (counts->failed || !length)
        return;
    if (utf8_read(key, &code) == length) {
        counts->tokens -= counts->by_code[code];
        counts->by_code[code] = 0;
    }
    Entry *entry = entry_of(counts, key, length);
    if (!entry)
        return;
    counts->tokens -= entry->count;
    entry->count = 1; /* it may have been made just now */
    take_out(counts, (uint64_t)(entry - counts->entries));
}
