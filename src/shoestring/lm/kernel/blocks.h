/* What is to be known of a model in order to run its blocks; the fields' order is that of shoestring.lm.engines.forms. */
#ifndef SHOESTRING_LM_BLOCKS_H
#define SHOESTRING_LM_BLOCKS_H

#include "kernel.h"

/* With a bias (x - mean) / deviation * weight + bias, else x / root of the mean square * weight. */
typedef struct {
    const float *weight, *bias;
    double eps;
} Norm;

enum { QUERY, KEY, VALUE, PROJECTIONS };

typedef struct {
    Norm before_attention, before_mlp;
    Weights projections[PROJECTIONS]; /* or the first has all three, one after another, and the others no outputs */
    Norm query, key;                  /* of each head, before it is turned; weight NULL: none */
    Weights output;
    Weights gate, up, down; /* down(act(gate x) * (up x)); up without outputs: down(act(gate x)) */
    size_t window;          /* how many tokens are seen, the last included; 0 is all */
} Block;

enum { SILU, GELU }; /* x / (1 + e^-x); the tanh form of GELU */

typedef struct {
    size_t blocks, hidden, heads, key_heads, head_dim, act;
    double scaling;
    Norm last;
    Block block[];
} Model;

/* `count` more tokens of each row, together called lines. Keys and values of a block are (rows, key heads, room, head dim);
 * the new ones are put at `seen`. Where a row is padded on the left, its first `pads` are not looked at. */
typedef struct {
    const Model *model;
    size_t rows, count, seen, room;
    float *x;                     /* (rows, count, hidden): the embedded tokens; becomes what the head takes */
    const float *cosines, *sines; /* (rows, count, head dim), or NULL: heads are not turned */
    const int64_t *pads;          /* (rows) */
    float *const *keys, *const *values;
    int level;
} Reading;

/* Bytes of working memory that reading so many lines with so many threads needs. */
size_t blocks_bytes(const Model *model, size_t lines, size_t room, size_t threads);
void blocks_run(const Reading *reading, void *memory, size_t threads);

/* ---- its parts, at every level ---- */

/* Norms rows of x to 8 bits, the groups from begin to end, counted through all rows. */
extern void (*const norm_fill_of[])(const Norm *norm, const float *x, size_t size, const Activations *to, size_t begin, size_t end);
/* Norms one row in its place. */
extern void (*const norm_row_of[])(const Norm *norm, float *x, size_t size);
/* gate = act(gate) * up, or act(gate) if up is NULL. */
extern void (*const gate_of[])(float *gate, const float *up, size_t size, size_t act);
/* x += more. */
extern void (*const add_of[])(float *x, const float *more, size_t size);
/* Norms a head, unless the norm has no weight, and turns it, unless there are no cosines, in its place. */
extern void (*const turn_of[])(float *head, const Norm *norm, const float *cosines, const float *sines, size_t size);

enum { QUERIES = 32 }; /* tokens whose attention is one piece of work */

/* Tokens next to each other, with what each sees; queries and outputs of two are so many numbers apart. */
typedef struct {
    const float *query;
    float *out;
    size_t query_step, out_step, tokens, size;
    size_t begin[QUERIES], end[QUERIES]; /* nothing if end is not larger; none of both decreases */
    float scale;
} Asking;

/* out = softmax(scale * query keys) values, of one head of a size that LANES divides; keys and values (tokens, size), scores
 * (tokens, all that they see). */
typedef void Attend(const Asking *asking, const float *keys, const float *values, float *scores);
extern Attend *const attend_of[];

#endif
