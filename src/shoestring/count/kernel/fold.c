/* What was counted by trie node becomes strings, and counters are added up. */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

/* Spells the word of a trie node from its last character to its first, up to `end`; NULL if it goes beyond `begin`. */
static uint8_t *spell(const Table *table, const uint32_t *owner, uint32_t node, const uint8_t *begin, uint8_t *end) {
    uint8_t *out = end, character[4];
    for (;;) {
        int is_root = node <= table->header->ids;
        uint32_t id = is_root ? node : node_check(table->nodes[node]), size = utf8_write(character, table->char_of[id]);
        if (out < begin + size)
            return NULL;
        memcpy(out -= size, character, size);
        if (is_root)
            return out;
        node = owner[node - id];
    }
}

/* base -> the node that has it. */
static uint32_t *owners(const Table *table) {
    uint32_t *owner = calloc_huge(table->header->nodes, sizeof *owner);
    for (uint32_t node = 1; owner && node < table->header->nodes; node++)
        if (node_base(table->nodes[node]))
            owner[node_base(table->nodes[node])] = node;
    return owner;
}

/* Moves what was counted by node into the hash table. */
void counts_fold(Counts *counts) {
    const Table *table = counts->table;
    if (!table || counts->failed)
        return;
    uint32_t nodes = table->header->nodes, counted = 0;
    for (uint32_t node = 1; node < nodes; node++)
        counted += counts->by_node[node] != 0;
    if (!counted)
        return;
    counts_reserve(counts, counted); /* grows once */
    size_t room = (size_t)table->header->longest * 4 + 4;
    uint32_t *owner = owners(table);
    uint8_t *buffer = malloc(room);
    counts->failed |= !owner || !buffer;
    for (uint32_t node = 1; node < nodes && !counts->failed; node++) {
        if (!counts->by_node[node])
            continue;
        uint8_t *word = spell(table, owner, node, buffer, buffer + room);
        uint64_t documents = counts->with_documents ? counts->node_seen[node].documents : 0;
        if (word)
            counts_add(counts, word, (size_t)(buffer + room - word), counts->by_node[node], documents);
        counts->failed |= !word; /* no sound table has such a word */
        counts->by_node[node] = 0;
        if (counts->with_documents)
            counts->node_seen[node] = (Seen){0, 0};
    }
    free(buffer);
    free(owner);
}

void counts_merge(Counts *into, Counts *from) {
    if (into->table != from->table) {
        counts_fold(into);
        counts_fold(from);
    } else if (into->table) {
        for (uint32_t node = 0; node < into->table->header->nodes; node++) {
            into->by_node[node] += from->by_node[node];
            if (into->with_documents)
                into->node_seen[node].documents += from->node_seen[node].documents;
        }
    }
    for (uint32_t code = 0; code < CODE_POINTS; code++) {
        if (!from->by_code[code]) /* what is not written to takes no memory */
            continue;
        into->by_code[code] += from->by_code[code];
        if (into->with_documents)
            into->code_seen[code].documents += from->code_seen[code].documents;
    }
    for (uint64_t at = 0; at <= from->mask; at++) {
        const Entry *entry = &from->entries[at];
        const uint8_t *key;
        if (!entry->count)
            continue;
        size_t length = counts_key(from, entry, &key);
        counts_add(into, key, length, entry->count, into->with_documents ? from->entry_seen[at].documents : 0);
    }
    into->tokens += from->tokens;
    into->documents += from->documents;
    into->document += from->document;
    into->failed |= from->failed;
}
