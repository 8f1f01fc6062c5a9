/* One product for each width of weights and each kind of processor; all of them give the same numbers, bit for bit.
 *
 * Products of bytes are added as whole numbers, exactly; floats are added for every (row, output) by itself, one part
 * of a row after another, by fused multiplications. So a result depends neither on the processor nor on what else is
 * computed beside it. */
#ifndef SHOESTRING_LM_PRODUCTS_H
#define SHOESTRING_LM_PRODUCTS_H

#include "kernel.h"
#include "levels.h"

#include <math.h>
#include <string.h>

#ifdef X86
#include <immintrin.h>
#endif

/* Of a kind of processor, those of 4, 5 and 8 bits. */
extern const Product portable_products[], avx2_products[], avx512_products[];

/* The bytes of a group in a tile. */
enum { BYTES8 = GROUP * TILE, BYTES4 = BYTES8 / 2, QUAD = TILE * 4 };
#define BYTES(BITS) (BYTES8 / 8 * (size_t)(BITS))
/* Where the fifth bits of a part lie in its group: those of eight times four inputs are a byte's, two parts share QUAD bytes. */
#define FIFTHS(PART) (BYTES4 + (PART) / 2 * QUAD)

INLINE float wide(uint16_t bfloat16) {
    uint32_t bits = (uint32_t)bfloat16 << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

INLINE void put(const Weights *w, float *y, size_t row, size_t tile, const float *values) {
    size_t first = tile * TILE, count = w->outputs - first < TILE ? w->outputs - first : TILE;
    for (size_t o = 0; o < count; o++)
        y[row * w->outputs + first + o] = values[o] + (w->bias ? w->bias[first + o] : 0.0f);
}

#ifdef X86
#define OF(ARRAY, TYPE, PLACE) ((const TYPE *)(ARRAY) + (PLACE))

INLINE int four(const int8_t *steps) {
    int value;
    memcpy(&value, steps, sizeof value);
    return value;
}

/* What follows MOST goes to TILED. */
#define PRODUCT(NAME, TARGET, TILED, MOST, ...)                                                          \
    TARGET static void NAME(const Weights *w, const Activations *x, float *y, size_t begin, size_t end) { \
        for (size_t tile = begin; tile < end; tile++) {                                                  \
            size_t row = 0;                                                                              \
            for (; row + MOST <= x->rows; row += MOST)                                                   \
                TILED(w, x, y, tile, row, MOST __VA_ARGS__);                                             \
            for (; MOST > 4 && row + 4 <= x->rows; row += 4)                                             \
                TILED(w, x, y, tile, row, (MOST > 4 ? 4 : 1) __VA_ARGS__);                               \
            for (; row < x->rows; row++)                                                                 \
                TILED(w, x, y, tile, row, 1 __VA_ARGS__);                                                \
        }                                                                                                \
    }
#define AND(BITS) , BITS
#endif

#endif
