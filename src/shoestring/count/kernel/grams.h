/* Runs of up to four words, and the sorted rows of numbers that they are counted as. */
#ifndef SHOESTRING_GRAMS_H
#define SHOESTRING_GRAMS_H

#include "kernel.h"

/* ---- sorted.c ---- */

enum { MOST_SORTED = 64, MOST_KEY = 2, MOST_STRIDE = MOST_KEY + 2 };

typedef struct {
    size_t length;
    uint64_t *row; /* `stride` numbers each: a key of one or two, its count and, if asked for, its documents */
} Rows;

typedef struct {
    uint32_t key, stride;    /* numbers in a key, of two ids each; in a row */
    uint32_t height;
    Rows sorted[MOST_SORTED]; /* each at least twice as long as the next */
} Stack;

typedef struct {
    uint32_t number, shift, bits; /* of the row, and within it */
    uint64_t flip;                /* all ones turn the order */
} Field;

/* Sort rows of `stride` numbers by the fields, the least first, and return where they are then: `from` or `to`. sort_many
 * first hands them out by the greatest, of 9 bits at most, so that each share is sorted within the cache. */
uint64_t *sort_few(uint64_t *from, uint64_t *to, size_t length, uint32_t stride, const Field *fields, uint32_t count);
uint64_t *sort_many(uint64_t *rows, uint64_t *scratch, size_t length, uint32_t stride, const Field *fields, uint32_t count);
/* By the counts at this number of a row, the greatest first; in one pass but for those over 2,000, which few are. */
uint64_t *sort_counts(uint64_t *from, uint64_t *to, size_t length, uint32_t stride, uint32_t number);
/* Sorts by key, then, if `by_count`, by count, greatest first. A key has ids, or `ranks`, of `bits` bits at most. */
int rows_sort(Rows *rows, const Stack *stack, uint32_t bits, int ranks, int by_count);
/* Counts `length` keys, which it puts in order; `scratch` has as much room. FIRST on a key says: in another document. */
int stack_count(Stack *stack, uint64_t *keys, uint64_t *scratch, size_t length, uint32_t bits);
int stack_push(Stack *stack, Rows *rows); /* takes them */
int stack_join(Stack *stack);             /* until there is one; afterwards sorted[0] has all */
uint64_t stack_bytes(const Stack *stack);
void stack_free(Stack *stack);
uint32_t bits_of(uint64_t number);

#define FIRST ((uint64_t)1 << 63) /* on the first number of a key; ids have 31 bits */

/* ---- grams.c ---- */

struct Grams {
    Counts words; /* ids in the place of counts */
    uint32_t shortest, longest;
    int joint;          /* words are joined by a space, else by nothing */
    int with_documents;
    uint64_t ids;       /* the last one given */
    uint64_t before[3]; /* the ids before the present word in its document, the nearest first; 0: none */
    uint64_t *held;     /* keys that wait to be counted */
    size_t holding, room;
    size_t document;    /* of those, before the present document */
    Stack runs, long_one; /* of a document that is longer than what is sorted at a time, until it ends */
    uint64_t tokens, documents;
    int failed;         /* an allocation did; the counts are no longer whole */
};

int grams_start(Grams *grams, const Table *table, int documents, uint32_t shortest, uint32_t longest, int joint);
void grams_free(Grams *grams);
void grams_stop(Grams *grams, const uint8_t *word, size_t length); /* leaves this word out, as if it were not there */
void grams_string(Grams *grams, const uint8_t *word, size_t length); /* the next word of the document */
void grams_document(Grams *grams);                                   /* the next document begins */
int grams_room(Grams *grams);                                        /* makes room for another key */
int grams_settle(Grams *grams);                                      /* counts all that waits; all is sorted then */
int grams_merge(Grams *into, Grams *from);                           /* of the same table and kind; empties it */
uint64_t grams_bytes(const Grams *grams);

ALWAYS_INLINE int grams_failed(const Grams *grams) { return grams->failed || grams->words.failed; }

ALWAYS_INLINE void grams_break(Grams *grams) { grams->before[0] = grams->before[1] = grams->before[2] = 0; }

ALWAYS_INLINE void grams_run(Grams *grams, uint64_t head, uint64_t tail) {
    if (UNLIKELY(grams->holding == grams->room) && !grams_room(grams))
        return;
    uint64_t *key = grams->held + grams->runs.key * grams->holding++;
    key[0] = head;
    if (grams->runs.key == MOST_KEY)
        key[1] = tail;
}

/* The next word of the document, whose id is or will be kept in `slot`: all runs that end with it. */
ALWAYS_INLINE void grams_word(Grams *grams, uint64_t *slot) {
    if (!*slot)
        *slot = ++grams->ids;
    uint64_t id = *slot, *before = grams->before;
    if (id == 1) /* a stop word */
        return;
    if (grams->shortest == 1)
        grams_run(grams, id << 32, 0);
    if (grams->shortest <= 2 && grams->longest >= 2 && before[0])
        grams_run(grams, before[0] << 32 | id, 0);
    if (grams->shortest <= 3 && grams->longest >= 3 && before[1])
        grams_run(grams, before[1] << 32 | before[0], id << 32);
    if (grams->longest == 4 && before[2])
        grams_run(grams, before[2] << 32 | before[1], before[0] << 32 | id);
    before[2] = before[1];
    before[1] = before[0];
    before[0] = id;
}

/* ---- gram_rows.c ---- */

int grams_columns(Grams *grams, int by_count, uint64_t min_count, uint64_t top, Columns *columns); /* uses it up */

#endif
