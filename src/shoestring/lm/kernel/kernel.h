/* Products of few-bit weights with rows of activations, and blocks of layers made of them, see module.c. */
#ifndef SHOESTRING_LM_KERNEL_H
#define SHOESTRING_LM_KERNEL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GROUP = 64, /* inputs that lie together; of 8 bits they share a scale */
    HALF = 32,  /* inputs whose weights of 5 and 4 bits share a scale and a zero */
    FINE = 16,  /* inputs whose activations share a scale */
    PARTS = GROUP / FINE,
    HALVES = GROUP / HALF,
    TILE = 16, /* outputs that lie side by side and are computed at once */
};

/* A row's activations of a group in 8 bits: value = step * scale of its part. */
typedef struct {
    int8_t steps[GROUP];
    float scale[PARTS];
    int32_t start[PARTS]; /* -128 * sum of steps, see tile8_avx512 */
    float total[HALVES];  /* sum of step * scale */
} Group;

/* Rows of activations, padded with zeros to whole groups. */
typedef struct {
    size_t rows, groups;
    Group *group; /* (rows, groups) */
} Activations;

/* A tile is 16 outputs; of a group it holds four inputs of each output, then the next four, and so on, so that one
 * load has four inputs of 16 outputs. Padded with zeros to whole tiles and groups. */
typedef struct {
    const void *weight;           /* int8 (tiles, groups, 16, TILE, 4); of 4 bits (tiles, groups, 8, TILE, 4) bytes,
                                     of which each has the weight four inputs on in its upper half; of 5 bits 10 for
                                     the 8: in the last two bit k of a byte is the fifth of the k-th four inputs' */
    const void *scale, *zero;     /* bfloat16 (tiles, groups, TILE) and none; of 5 and 4 bits uint8 and int8, with HALVES
                                     for each group, in units that an output has */
    const float *unit;            /* (tiles, 2, TILE): the scales' unit, and the zeros' unit in it; int8 has none */
    const float *bias;            /* (outputs) or NULL */
    size_t outputs, inputs, bits; /* bits are 8, 5 or 4 */
} Weights;

/* y (rows, outputs), of the tiles from begin to end. */
typedef void (*Product)(const Weights *w, const Activations *x, float *y, size_t begin, size_t end);

size_t activations_bytes(size_t rows, size_t inputs);
Activations activations_in(void *memory, size_t rows, size_t inputs);
/* Fills the groups from begin to end, counted through all rows. */
extern void (*const activations_fill_of[])(const Activations *x, const float *values, size_t inputs, size_t begin, size_t end);

enum { PORTABLE, AVX2, AVX512 };
int best_level(void);
Product product_of(const Weights *w, int level);

typedef void (*Work)(void *what, size_t part, size_t parts);
void in_parallel(Work work, void *what, size_t parts);
/* Once, before all else; not 0: memory is out. */
int begin_threads(void);

/* Where all parts of a work meet before any goes on; zero at first. */
typedef struct {
    atomic_uint arrived, turn;
} Meeting;
void meet(Meeting *meeting, size_t parts);

#endif
