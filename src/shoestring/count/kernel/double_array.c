/* Where the nodes of the double array lie: a base for each word with children, such that no two nodes meet.
 *
 * Places are found 64 at a time, by ANDing bitmaps of what is free: 0.1 s for jieba's 350,000 words.
 */
#include "builder.h"

#include <stdlib.h>
#include <string.h>

enum { PATIENCE = 64, CLASSES = 64 };

static void set_bit(uint64_t *bits, uint32_t at) { bits[at / 64] |= (uint64_t)1 << at % 64; }

/* 64 bits from any position; the bitmaps have a spare word at the end. */
static uint64_t bits_from(const uint64_t *bits, uint32_t at) {
    uint32_t shift = at % 64;
    uint64_t low = bits[at / 64] >> shift;
    return shift ? low | bits[at / 64 + 1] << (64 - shift) : low;
}

static uint32_t lowest_bit(uint64_t bits) {
    uint32_t at = 0;
    for (; !(bits & 0xFF); bits >>= 8)
        at += 8;
    for (; !(bits & 1); bits >>= 1)
        at++;
    return at;
}

static int make_room(Builder *build, uint64_t needed) {
    if (needed < build->room)
        return OK;
    if (needed >= MAX_NODES / 3 * 2)
        return NO_MEMORY;
    uint32_t room = (uint32_t)((needed * 3 / 2 + 63) / 64 * 64), old = build->room / 64 + 2, words = room / 64 + 2;
    uint64_t **maps[2] = {&build->full, &build->taken};
    for (int map = 0; map < 2; map++) {
        uint64_t *bits = realloc(*maps[map], words * sizeof *bits);
        if (!bits)
            return NO_MEMORY;
        *maps[map] = bits;
        memset(bits + (build->room ? old : 0), 0, (words - (build->room ? old : 0)) * sizeof *bits);
    }
    build->room = room;
    return OK;
}

/* Finds a base where all children fit. *hint: where the last search of this kind ended. */
static int place_children(Builder *build, uint32_t word, uint32_t *hint) {
    const uint32_t *child = build->child + build->first[word];
    uint32_t count = build->first[word + 1] - build->first[word], steps = 0;
    for (uint32_t base = *hint;; base += 64) {
        if (make_room(build, (uint64_t)base + build->ids + 128) != OK)
            return NO_MEMORY;
        uint64_t fits = ~bits_from(build->taken, base);
        for (uint32_t at = 0; at < count && fits; at++)
            fits &= ~bits_from(build->full, base + id_of_word(build, child[at]));
        if (++steps > PATIENCE) /* what lies before is nearly full */
            *hint = base;
        if (!fits)
            continue;
        base += lowest_bit(fits);
        build->base[word] = base;
        set_bit(build->taken, base);
        for (uint32_t at = 0; at < count; at++) {
            uint32_t slot = base + id_of_word(build, child[at]);
            build->slot[child[at]] = slot;
            set_bit(build->full, slot);
            if (slot > build->top)
                build->top = slot;
        }
        return OK;
    }
}

/* Places the children of all words, the largest families first. */
int place_nodes(Builder *build) {
    uint32_t words = build->dictionary->count, largest = 0, hint[CLASSES];
    uint32_t *order = malloc((size_t)words * sizeof *order);
    for (uint32_t word = 1; word < words; word++)
        if (build->first[word + 1] - build->first[word] > largest)
            largest = build->first[word + 1] - build->first[word];
    uint32_t *ends = calloc((size_t)largest + 2, sizeof *ends);
    int done = order && ends ? make_room(build, (uint64_t)build->ids + build->words) : NO_MEMORY;
    if (done == OK) {
        for (uint32_t slot = 0; slot <= build->ids; slot++)
            set_bit(build->full, slot); /* 0 is nobody's, 1..ids are the roots' */
        build->top = build->ids;
        for (uint32_t at = build->first[0]; at < build->first[1]; at++)
            build->slot[build->child[at]] = id_of_word(build, build->child[at]);
        for (uint32_t word = 1; word < words; word++)
            ends[largest - (build->first[word + 1] - build->first[word]) + 1]++;
        for (uint32_t size = 0; size <= largest; size++)
            ends[size + 1] += ends[size];
        for (uint32_t word = 1; word < words; word++)
            order[ends[largest - (build->first[word + 1] - build->first[word])]++] = word;
        for (int kind = 0; kind < CLASSES; kind++)
            hint[kind] = 1;
        for (uint32_t at = 0, count; done == OK && at + 1 < words; at++) {
            if (!(count = build->first[order[at] + 1] - build->first[order[at]]))
                break;
            done = place_children(build, order[at], &hint[count < CLASSES ? count : CLASSES - 1]);
        }
    }
    free(order);
    free(ends);
    return done;
}
