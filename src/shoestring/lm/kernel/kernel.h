/* Products of few-bit weights with rows of activations, see module.c. */
#ifndef SHOESTRING_LM_KERNEL_H
#define SHOESTRING_LM_KERNEL_H

#include <stddef.h>
#include <stdint.h>

enum { GROUP = 64, TILE = 4 }; /* activations that share a scale; outputs that are computed at once */

/* Rows of activations in 8 bits: value = steps * scale of its group. Rows are padded with zeros to whole groups. */
typedef struct {
    size_t rows, groups;
    int8_t *steps; /* (rows, groups, GROUP); of `halved` ones each group has its even places first, then its odd ones */
    float *scale;  /* (rows, groups) */
    int32_t *sums; /* (rows, groups) of steps */
    float *totals; /* (rows, groups): sums * scale */
} Activations;

typedef struct {
    const void *weight;          /* int8 (outputs, inputs), or two 4-bit weights a byte (outputs, inputs / 2) */
    const uint16_t *scale, *zero; /* bfloat16 (outputs, groups); int8 has no zero */
    const float *bias;           /* (outputs) or NULL */
    size_t outputs, inputs;
} Weights;

/* y (rows, outputs), of the outputs from begin to end. */
typedef void (*Product)(const Weights *w, const Activations *x, float *y, size_t begin, size_t end);

int activations_make(Activations *x, const float *values, size_t rows, size_t inputs, int halved);
void activations_free(Activations *x);

enum { PORTABLE, AVX2, AVX512 };
int best_level(void);
Product product_of(int bits, int level);

typedef void (*Work)(void *what, size_t part, size_t parts);
void in_parallel(Work work, void *what, size_t parts);

#endif
