/* A table while it is built: table.c has its parts in turn, double_array.c places its nodes. */
#ifndef SHOESTRING_BUILDER_H
#define SHOESTRING_BUILDER_H

#include "kernel.h"

typedef struct {
    const Dictionary *dictionary;
    uint32_t ids, words;     /* character ids given; words that can be cut at all */
    uint32_t longest;        /* characters of the longest of them */
    uint16_t *id_of, *char_of;
    uint8_t *usable;         /* per word: all its characters can stand in a block */
    uint32_t *first, *child; /* children of word w, by id: child[first[w]] .. child[first[w + 1] - 1] */
    uint64_t *full, *taken;  /* bitmaps: places that hold a node; bases that are given */
    uint32_t room, top;      /* bits in them; the last place in use */
    uint32_t *slot, *base;   /* per word */
    uint32_t *weight_of;     /* per word: index of its weight */
    int64_t *frequency;
    uint8_t *forced;
    uint32_t weights;
} Builder;

/* The character id of a word's last character. */
ALWAYS_INLINE uint16_t id_of_word(const Builder *build, uint32_t word) {
    return build->id_of[build->dictionary->words[word].code];
}

/* Gives every word a slot, and every word with children a base: slot of a child = base + its character id. */
int place_nodes(Builder *build);

#endif
