/* What a cutter holds, and how it hands its tokens out: as their ends, as counts, as runs of words.
 *
 * Only cut.c includes this and the headers that follow it. Their functions are compiled six times, for each `hmm` and
 * `mode`, which are constants wherever they are inlined.
 */
#ifndef SHOESTRING_CUTTER_H
#define SHOESTRING_CUTTER_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "grams.h"

enum { CHUNK = 2048, ROOM = 2 * CHUNK, SPARE = 8, STRINGS = QUEUE }; /* ROOM: characters of the longest chunk */
enum Mode { SPANS, COUNT, GRAMS };
#define SEPARATOR 0x80000000u /* on a code: the character is in no block */
#define DEEPER 0x80000000u    /* on a node: it has children */

typedef struct {
    uint64_t *slot;      /* of a word of the trie or a single character; NULL: a string, or a document begins */
    const uint8_t *word; /* a string; NULL: a document begins */
    size_t length;
} Token;

struct Cutter {
    const Table *table;
    uint32_t room;             /* characters that the arrays of a chunk have room for */
    uint32_t *id;              /* character ids; 0: in no word */
    uint32_t *code, *offset;   /* code points; where they begin, in bytes from the chunk */
    uint32_t *second, *third;  /* nodes after two and three characters; 0: none */
    uint32_t *second_base;
    uint32_t *weight1, *weight2, *weight3; /* indices of the weights of words of one, two, three characters */
    double *score;             /* of the best route from here to the end of the block */
    uint32_t *next, *node;     /* where the best word from here ends; its node */
    uint8_t *state;            /* Viterbi: which predecessor won, then which state */
    uint32_t *nodes, *codes;   /* words and single characters found in this chunk */
    uint32_t code_count;
    uint64_t (*strings)[2];    /* other short strings, until STRINGS of them go into the hash together */
    uint32_t string_count;
    uint32_t *ends;            /* SPANS: where each token ends, in characters */
    size_t end_count, end_room, done; /* done: characters before the chunk */
    Counts *counts;
    Grams *grams;
    Token *tokens; /* GRAMS: of this chunk, in order, so that the cache misses of their slots overlap */
    uint32_t token_count;
    int failed, lines;
};

/* ---- memory ---- */

static int resize(void **array, size_t bytes) {
    void *larger = realloc(*array, bytes);
    if (larger)
        *array = larger;
    return larger != NULL;
}

static int make_room(Cutter *cutter, uint32_t room) {
    size_t n = (size_t)room + SPARE;
    int done = resize((void **)&cutter->id, n * 4) && resize((void **)&cutter->code, n * 4) &&
               resize((void **)&cutter->offset, n * 4) && resize((void **)&cutter->second, n * 4) &&
               resize((void **)&cutter->third, n * 4) && resize((void **)&cutter->second_base, n * 4) &&
               resize((void **)&cutter->weight1, n * 4) && resize((void **)&cutter->weight2, n * 4) &&
               resize((void **)&cutter->weight3, n * 4) && resize((void **)&cutter->score, n * 8) &&
               resize((void **)&cutter->next, n * 4) && resize((void **)&cutter->node, n * 4) &&
               resize((void **)&cutter->state, n) && resize((void **)&cutter->nodes, n * 4) &&
               resize((void **)&cutter->codes, n * 4) && resize((void **)&cutter->tokens, n * sizeof(Token));
    if (done)
        cutter->room = room;
    return done;
}

/* ---- handing out tokens; positions are characters of the chunk ---- */

static void more_ends(Cutter *cutter) {
    size_t room = cutter->end_room * 2 + 1024;
    if (resize((void **)&cutter->ends, room * sizeof *cutter->ends))
        cutter->end_room = room;
    else
        cutter->failed = 1;
}

ALWAYS_INLINE void end_at(Cutter *cutter, uint32_t to) {
    if (UNLIKELY(cutter->end_count == cutter->end_room))
        more_ends(cutter);
    if (!UNLIKELY(cutter->failed))
        cutter->ends[cutter->end_count++] = (uint32_t)(cutter->done + to);
}

ALWAYS_INLINE void next_token(Cutter *cutter, uint64_t *slot, const uint8_t *word, size_t length) {
    if (slot)
        PREFETCH_WRITE(slot);
    cutter->tokens[cutter->token_count++] = (Token){slot, word, length};
}

static void count_runs(Cutter *cutter) {
    for (uint32_t at = 0; at < cutter->token_count; at++) {
        const Token *token = &cutter->tokens[at];
        if (token->slot)
            grams_word(cutter->grams, token->slot);
        else if (token->word)
            grams_string(cutter->grams, token->word, token->length);
        else
            grams_document(cutter->grams);
    }
    cutter->token_count = 0;
}

ALWAYS_INLINE void give_character(Cutter *cutter, uint32_t at, const int mode) {
    if (mode == SPANS)
        end_at(cutter, at + 1);
    else if (mode == GRAMS)
        next_token(cutter, &cutter->grams->words.by_code[cutter->code[at]], NULL, 0);
    else
        cutter->codes[cutter->code_count++] = cutter->code[at];
}

static void flush_strings(Cutter *cutter) {
    counts_queue(cutter->counts, (const uint64_t(*)[2])cutter->strings, cutter->string_count);
    cutter->string_count = 0;
}

/* The node of a string, 0 if it is not in the trie. */
static uint32_t find(const Cutter *cutter, uint32_t from, uint32_t to) {
    const Node *nodes = cutter->table->nodes;
    uint32_t node = cutter->id[from];
    for (uint32_t at = from + 1; at < to && node; at++) {
        uint32_t child = node_base(nodes[node]) + cutter->id[at];
        node = node_check(nodes[child]) == cutter->id[at] ? child : 0;
    }
    return node;
}

ALWAYS_INLINE void count_string(Cutter *cutter, const uint8_t *chunk, uint32_t from, uint32_t to, const int mode) {
    const uint8_t *key = chunk + cutter->offset[from];
    uint32_t length = cutter->offset[to] - cutter->offset[from];
    if (mode == GRAMS) {
        next_token(cutter, NULL, key, length);
        return;
    }
    if (UNLIKELY(cutter->counts->with_documents)) { /* one place per word, else a document could count twice */
        uint32_t node = find(cutter, from, to);
        if (node) {
            note_node(cutter->counts, node);
            cutter->counts->tokens++;
        } else {
            counts_note(cutter->counts, key, length);
        }
        return;
    }
    if (UNLIKELY(length > 16)) {
        counts_note(cutter->counts, key, length);
        return;
    }
    uint64_t *string = cutter->strings[cutter->string_count];
    string[0] = key_word(key, length < 8 ? length : 8);
    string[1] = length > 8 ? key_word(key + 8, length - 8) : 0;
    if (++cutter->string_count == STRINGS)
        flush_strings(cutter);
}

/* A token that the route did not take from the dictionary. */
ALWAYS_INLINE void give_string(Cutter *cutter, const uint8_t *chunk, uint32_t from, uint32_t to, const int mode) {
    if (to == from + 1)
        give_character(cutter, from, mode);
    else if (mode == SPANS)
        end_at(cutter, to);
    else
        count_string(cutter, chunk, from, to, mode);
}

/* Counts what was handed out since the last time, before the next chunk takes its place. */
ALWAYS_INLINE void flush(Cutter *cutter, const int mode) {
    if (mode == GRAMS)
        count_runs(cutter);
    for (uint32_t each = 0; mode == COUNT && each < cutter->code_count; each++)
        note_code(cutter->counts, cutter->codes[each]);
    if (mode == COUNT)
        cutter->counts->tokens += cutter->code_count;
    cutter->code_count = 0;
}

#endif
