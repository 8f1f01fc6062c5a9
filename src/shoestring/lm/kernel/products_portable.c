/* Products on any processor. */
#include "products.h"

static inline void scaled(float *sum, const int32_t *dot, float scale) {
    for (int o = 0; o < TILE; o++)
        sum[o] = fmaf((float)dot[o], scale, sum[o]);
}

static void portable8(const Weights *w, const Activations *x, float *y, size_t begin, size_t end) {
    for (size_t tile = begin; tile < end; tile++)
        for (size_t row = 0; row < x->rows; row++) {
            float acc[TILE] = {0};
            for (size_t group = 0; group < x->groups; group++) {
                size_t place = tile * x->groups + group;
                const Group *seen = x->group + row * x->groups + group;
                const int8_t *weight = (const int8_t *)w->weight + place * BYTES8, *steps = seen->steps;
                float sum[TILE] = {0};
                for (int part = 0; part < PARTS; part++) {
                    int32_t dot[TILE] = {0};
                    for (int four = 0; four < FINE; four += 4, weight += QUAD, steps += 4)
                        for (int o = 0; o < TILE; o++)
                            for (int at = 0; at < 4; at++)
                                dot[o] += weight[o * 4 + at] * steps[at];
                    scaled(sum, dot, seen->scale[part]);
                }
                for (int o = 0; o < TILE; o++)
                    acc[o] = fmaf(sum[o], wide(((const uint16_t *)w->scale)[place * TILE + o]), acc[o]);
            }
            put(w, y, row, tile, acc);
        }
}

/* Adds eight inputs of each output; fifths: NULL, or the bytes whose two lowest bits from `shift` on are the fifth ones. */
static inline void added8(int32_t *dot, const uint8_t *weight, const uint8_t *fifths, int shift, const int8_t *steps) {
    for (int o = 0; o < TILE; o++)
        for (int at = 0; at < 4; at++) {
            int own = weight[o * 4 + at], fifth = fifths ? fifths[o * 4 + at] >> shift : 0;
            dot[o] += ((own & 15) | (fifth & 1) << 4) * steps[at] + (own >> 4 | (fifth & 2) << 3) * steps[at + 4];
        }
}

INLINE void low_portable(const Weights *w, const Activations *x, float *y, size_t begin, size_t end, int bits) {
    for (size_t tile = begin; tile < end; tile++)
        for (size_t row = 0; row < x->rows; row++) {
            float acc[TILE] = {0};
            const float *unit = w->unit + tile * 2 * TILE;
            for (size_t group = 0; group < x->groups; group++) {
                size_t place = tile * x->groups + group;
                const Group *seen = x->group + row * x->groups + group;
                const uint8_t *first = (const uint8_t *)w->weight + place * BYTES(bits), *weight = first;
                const int8_t *steps = seen->steps;
                for (int half = 0; half < HALVES; half++) {
                    const uint8_t *scale = (const uint8_t *)w->scale + (place * HALVES + half) * TILE;
                    const int8_t *zero = (const int8_t *)w->zero + (place * HALVES + half) * TILE;
                    float sum[TILE] = {0};
                    for (int part = half * PARTS / HALVES; part < (half + 1) * PARTS / HALVES; part++) {
                        int32_t dot[TILE] = {0};
                        for (int eight = 0; eight < FINE; eight += 8, weight += QUAD, steps += 8)
                            added8(dot, weight, bits == 5 ? first + FIFTHS(part) : NULL, part % 2 * 4 + eight / 4, steps);
                        scaled(sum, dot, seen->scale[part]);
                    }
                    for (int o = 0; o < TILE; o++) {
                        float low = (float)zero[o] * unit[TILE + o] - (float)(scale[o] << (bits - 1));
                        acc[o] = fmaf(low, seen->total[half], fmaf(sum[o], (float)scale[o], acc[o]));
                    }
                }
            }
            for (int o = 0; o < TILE; o++)
                acc[o] *= unit[o];
            put(w, y, row, tile, acc);
        }
}

static void portable4(const Weights *w, const Activations *x, float *y, size_t begin, size_t end) {
    low_portable(w, x, y, begin, end, 4);
}

static void portable5(const Weights *w, const Activations *x, float *y, size_t begin, size_t end) {
    low_portable(w, x, y, begin, end, 5);
}

const Product portable_products[] = {portable4, portable5, portable8};
