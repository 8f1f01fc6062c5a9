/* One product for each width of weights and each kind of processor; all of them give the same numbers, bit for bit.
 *
 * Products of bytes are added as whole numbers, exactly; floats are added for every (row, output) by itself, one part
 * of a row after another, by fused multiplications. So a result depends neither on the processor nor on what else is
 * computed beside it. */
#include "kernel.h"
#include "levels.h"

#include <math.h>
#include <string.h>

#ifdef X86
#include <immintrin.h>
#endif

/* The bytes of a group in a tile. */
enum { BYTES8 = GROUP * TILE, BYTES4 = BYTES8 / 2, QUAD = TILE * 4 };
#define BYTES(BITS) (BYTES8 / 8 * (size_t)(BITS))
/* Where the fifth bits of a part lie in its group: those of eight times four inputs are a byte's, two parts share QUAD bytes. */
#define FIFTHS(PART) (BYTES4 + (PART) / 2 * QUAD)

static inline float wide(uint16_t bfloat16) {
    uint32_t bits = (uint32_t)bfloat16 << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void put(const Weights *w, float *y, size_t row, size_t tile, const float *values) {
    size_t first = tile * TILE, count = w->outputs - first < TILE ? w->outputs - first : TILE;
    for (size_t o = 0; o < count; o++)
        y[row * w->outputs + first + o] = values[o] + (w->bias ? w->bias[first + o] : 0.0f);
}

/* ---- any processor ---- */

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

#ifdef X86
#define OF(ARRAY, TYPE, PLACE) ((const TYPE *)(ARRAY) + (PLACE))

INLINE int four(const int8_t *steps) {
    int value;
    memcpy(&value, steps, sizeof value);
    return value;
}

/* ---- AVX2, half a tile in a register: products of bytes are added in 16 bits, which holds 2 * 127 * 127 ---- */
enum { ROWS_AVX2 = 2 };

INLINE FOR_AVX2 __m256 wide8(const uint16_t *bfloat16) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)bfloat16)), 16));
}

INLINE FOR_AVX2 void put_avx2(const Weights *w, float *y, size_t row, size_t tile, const __m256 *halves) {
    float values[TILE];
    _mm256_storeu_ps(values, halves[0]);
    _mm256_storeu_ps(values + 8, halves[1]);
    put(w, y, row, tile, values);
}

/* Adds four inputs of eight outputs. */
INLINE FOR_AVX2 __m256i added_avx2(__m256i dot, __m256i weight, __m256i size, __m256i steps) {
    __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(steps, weight));
    return _mm256_add_epi32(dot, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

INLINE FOR_AVX2 void tile8_avx2(const Weights *w, const Activations *x, float *y, size_t tile, size_t row, int rows) {
    __m256 acc[ROWS_AVX2][2], sum[ROWS_AVX2][2];
    EACH(r, rows)
        acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (size_t group = 0; group < x->groups; group++) {
        size_t place = tile * x->groups + group;
        const Group *seen = x->group + row * x->groups + group;
        const int8_t *weight = OF(w->weight, int8_t, place * BYTES8);
        EACH(r, rows)
            sum[r][0] = sum[r][1] = _mm256_setzero_ps();
        for (int part = 0; part < PARTS; part++, weight += FINE * TILE) {
            __m256i dot[ROWS_AVX2][2];
            EACH(r, rows)
                dot[r][0] = dot[r][1] = _mm256_setzero_si256();
            UNROLLED for (int at = 0; at < FINE; at += 4)
                EACH(half, 2) {
                    __m256i own = _mm256_loadu_si256((const void *)(weight + at * TILE + half * 32)), size = _mm256_abs_epi8(own);
                    EACH(r, rows)
                        dot[r][half] = added_avx2(dot[r][half], own, size, _mm256_set1_epi32(four(seen[r * x->groups].steps + part * FINE + at)));
                }
            EACH(r, rows)
                EACH(half, 2)
                    sum[r][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r][half]), _mm256_set1_ps(seen[r * x->groups].scale[part]), sum[r][half]);
        }
        EACH(half, 2)
            EACH(r, rows)
                acc[r][half] = _mm256_fmadd_ps(sum[r][half], wide8(OF(w->scale, uint16_t, place * TILE + half * 8)), acc[r][half]);
    }
    EACH(r, rows)
        put_avx2(w, y, row + r, tile, acc[r]);
}

/* Returns four bits of each byte with the fifth, which `fifths` has in its place; the next ones come to that place. */
INLINE FOR_AVX2 __m256i five_avx2(__m256i four, __m256i *fifths) {
    __m256i five = _mm256_or_si256(four, _mm256_and_si256(*fifths, _mm256_set1_epi8(16)));
    *fifths = _mm256_srli_epi16(*fifths, 1);
    return five;
}

/* Numbers of eight outputs. */
INLINE FOR_AVX2 __m256 scale_avx2(const uint8_t *scale) {
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)scale)));
}

INLINE FOR_AVX2 __m256 zero_avx2(const int8_t *zero, const float *unit) {
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)zero))), _mm256_loadu_ps(unit));
}

INLINE FOR_AVX2 void low_avx2(const Weights *w, const Activations *x, float *y, size_t tile, size_t row, int rows, int bits) {
    const __m256i mask = _mm256_set1_epi8(15);
    const float *unit = w->unit + tile * 2 * TILE;
    __m256 acc[ROWS_AVX2][2], sum[ROWS_AVX2][2];
    EACH(r, rows)
        acc[r][0] = acc[r][1] = _mm256_setzero_ps();
    for (size_t place = tile * x->groups * HALVES; place < (tile + 1) * x->groups * HALVES; place++) {
        size_t half = place % HALVES;
        const Group *seen = x->group + row * x->groups + place / HALVES - tile * x->groups;
        const uint8_t *first = OF(w->weight, uint8_t, place / HALVES * BYTES(bits)), *weight = first + half * BYTES4 / HALVES;
        EACH(r, rows)
            sum[r][0] = sum[r][1] = _mm256_setzero_ps();
        for (size_t part = half * PARTS / HALVES; part < (half + 1) * PARTS / HALVES; part++, weight += FINE * TILE / 2) {
            __m256i dot[ROWS_AVX2][2], fifths[2]; /* in 16 bits, which holds 8 * 31 * 127 */
            if (bits == 5)
                EACH(side, 2) {
                    fifths[side] = _mm256_loadu_si256((const void *)(first + FIFTHS(part) + side * 32));
                    fifths[side] = part % 2 ? fifths[side] : _mm256_slli_epi16(fifths[side], 4);
                }
            EACH(r, rows)
                dot[r][0] = dot[r][1] = _mm256_setzero_si256();
            UNROLLED for (int at = 0; at < FINE; at += 8)
                EACH(side, 2) {
                    __m256i both = _mm256_loadu_si256((const void *)(weight + at * TILE / 2 + side * 32));
                    __m256i low = _mm256_and_si256(both, mask), high = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
                    if (bits == 5)
                        low = five_avx2(low, fifths + side), high = five_avx2(high, fifths + side);
                    EACH(r, rows) {
                        const int8_t *steps = seen[r * x->groups].steps + part * FINE + at;
                        __m256i four1 = _mm256_maddubs_epi16(low, _mm256_set1_epi32(four(steps)));
                        __m256i four2 = _mm256_maddubs_epi16(high, _mm256_set1_epi32(four(steps + 4)));
                        dot[r][side] = _mm256_add_epi16(dot[r][side], _mm256_add_epi16(four1, four2));
                    }
                }
            EACH(r, rows)
                EACH(side, 2) {
                    __m256 whole = _mm256_cvtepi32_ps(_mm256_madd_epi16(dot[r][side], _mm256_set1_epi16(1)));
                    sum[r][side] = _mm256_fmadd_ps(whole, _mm256_set1_ps(seen[r * x->groups].scale[part]), sum[r][side]);
                }
        }
        EACH(side, 2) {
            __m256 scale = scale_avx2(OF(w->scale, uint8_t, place * TILE + side * 8));
            __m256 zero = zero_avx2(OF(w->zero, int8_t, place * TILE + side * 8), unit + TILE + side * 8);
            zero = _mm256_fnmadd_ps(_mm256_set1_ps((float)(1 << (bits - 1))), scale, zero);
            EACH(r, rows) {
                acc[r][side] = _mm256_fmadd_ps(sum[r][side], scale, acc[r][side]);
                acc[r][side] = _mm256_fmadd_ps(zero, _mm256_set1_ps(seen[r * x->groups].total[half]), acc[r][side]);
            }
        }
    }
    EACH(r, rows) {
        EACH(side, 2)
            acc[r][side] = _mm256_mul_ps(acc[r][side], _mm256_loadu_ps(unit + side * 8));
        put_avx2(w, y, row + r, tile, acc[r]);
    }
}

/* ---- AVX-512 with VNNI: bytes of which one is unsigned are added in 32 bits ---- */
enum { ROWS_AVX512 = 8 };

INLINE FOR_AVX512 __m512 wide16(const uint16_t *bfloat16) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)bfloat16)), 16));
}

INLINE FOR_AVX512 void put_avx512(const Weights *w, float *y, size_t row, size_t tile, __m512 acc) {
    float values[TILE];
    _mm512_storeu_ps(values, acc);
    put(w, y, row, tile, values);
}

INLINE FOR_AVX512 void tile8_avx512(const Weights *w, const Activations *x, float *y, size_t tile, size_t row, int rows) {
    const __m512i flip = _mm512_set1_epi8((char)0x80); /* int8 + 128, which `start` takes away again */
    __m512 acc[ROWS_AVX512], sum[ROWS_AVX512];
    EACH(r, rows)
        acc[r] = _mm512_setzero_ps();
    for (size_t group = 0; group < x->groups; group++) {
        size_t place = tile * x->groups + group;
        const Group *seen = x->group + row * x->groups + group;
        const int8_t *weight = OF(w->weight, int8_t, place * BYTES8);
        EACH(r, rows)
            sum[r] = _mm512_setzero_ps();
        for (int part = 0; part < PARTS; part++, weight += FINE * TILE) {
            __m512i dot[ROWS_AVX512];
            EACH(r, rows)
                dot[r] = _mm512_set1_epi32(seen[r * x->groups].start[part]);
            UNROLLED for (int at = 0; at < FINE; at += 4) {
                __m512i own = _mm512_xor_si512(flip, _mm512_loadu_si512(weight + at * TILE));
                EACH(r, rows)
                    dot[r] = _mm512_dpbusd_epi32(dot[r], own, _mm512_set1_epi32(four(seen[r * x->groups].steps + part * FINE + at)));
            }
            EACH(r, rows)
                sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]), _mm512_set1_ps(seen[r * x->groups].scale[part]), sum[r]);
        }
        EACH(r, rows)
            acc[r] = _mm512_fmadd_ps(sum[r], wide16(OF(w->scale, uint16_t, place * TILE)), acc[r]);
    }
    EACH(r, rows)
        put_avx512(w, y, row + r, tile, acc[r]);
}

INLINE FOR_AVX512 __m512i five_avx512(__m512i four, __m512i *fifths) {
    __m512i five = _mm512_or_si512(four, _mm512_and_si512(*fifths, _mm512_set1_epi8(16)));
    *fifths = _mm512_srli_epi16(*fifths, 1);
    return five;
}

INLINE FOR_AVX512 void low_avx512(const Weights *w, const Activations *x, float *y, size_t tile, size_t row, int rows, int bits) {
    const __m512i mask = _mm512_set1_epi8(15);
    const __m512 unit = _mm512_loadu_ps(w->unit + tile * 2 * TILE), zeros_unit = _mm512_loadu_ps(w->unit + tile * 2 * TILE + TILE);
    __m512 acc[ROWS_AVX512], sum[ROWS_AVX512];
    EACH(r, rows)
        acc[r] = _mm512_setzero_ps();
    for (size_t place = tile * x->groups * HALVES; place < (tile + 1) * x->groups * HALVES; place++) {
        size_t half = place % HALVES;
        const Group *seen = x->group + row * x->groups + place / HALVES - tile * x->groups;
        const uint8_t *first = OF(w->weight, uint8_t, place / HALVES * BYTES(bits)), *weight = first + half * BYTES4 / HALVES;
        EACH(r, rows)
            sum[r] = _mm512_setzero_ps();
        for (size_t part = half * PARTS / HALVES; part < (half + 1) * PARTS / HALVES; part++, weight += FINE * TILE / 2) {
            __m512i dot[ROWS_AVX512], fifths = _mm512_setzero_si512();
            if (bits == 5) {
                fifths = _mm512_loadu_si512(first + FIFTHS(part));
                fifths = part % 2 ? fifths : _mm512_slli_epi16(fifths, 4);
            }
            EACH(r, rows)
                dot[r] = _mm512_setzero_si512();
            UNROLLED for (int at = 0; at < FINE; at += 8) {
                __m512i both = _mm512_loadu_si512(weight + at * TILE / 2);
                __m512i low = _mm512_and_si512(both, mask), high = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
                if (bits == 5)
                    low = five_avx512(low, &fifths), high = five_avx512(high, &fifths);
                EACH(r, rows) {
                    const int8_t *steps = seen[r * x->groups].steps + part * FINE + at;
                    dot[r] = _mm512_dpbusd_epi32(dot[r], low, _mm512_set1_epi32(four(steps)));
                    dot[r] = _mm512_dpbusd_epi32(dot[r], high, _mm512_set1_epi32(four(steps + 4)));
                }
            }
            EACH(r, rows)
                sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r]), _mm512_set1_ps(seen[r * x->groups].scale[part]), sum[r]);
        }
        __m512 scale = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)OF(w->scale, uint8_t, place * TILE))));
        __m512 zero = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)OF(w->zero, int8_t, place * TILE))));
        zero = _mm512_fnmadd_ps(_mm512_set1_ps((float)(1 << (bits - 1))), scale, _mm512_mul_ps(zero, zeros_unit));
        EACH(r, rows) {
            acc[r] = _mm512_fmadd_ps(sum[r], scale, acc[r]);
            acc[r] = _mm512_fmadd_ps(zero, _mm512_set1_ps(seen[r * x->groups].total[half]), acc[r]);
        }
    }
    EACH(r, rows)
        put_avx512(w, y, row + r, tile, _mm512_mul_ps(acc[r], unit));
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

PRODUCT(avx2_8, FOR_AVX2, tile8_avx2, ROWS_AVX2, )
PRODUCT(avx2_5, FOR_AVX2, low_avx2, ROWS_AVX2, AND(5))
PRODUCT(avx2_4, FOR_AVX2, low_avx2, ROWS_AVX2, AND(4))
PRODUCT(avx512_8, FOR_AVX512, tile8_avx512, ROWS_AVX512, )
PRODUCT(avx512_5, FOR_AVX512, low_avx512, ROWS_AVX512, AND(5))
PRODUCT(avx512_4, FOR_AVX512, low_avx512, ROWS_AVX512, AND(4))
#endif

int best_level(void) {
#ifdef X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return AVX2;
#endif
    return PORTABLE;
}

Product product_of(const Weights *w, int level) {
    static const Product of_bits[][3] = {
        {portable4, portable5, portable8},
#ifdef X86
        {avx2_4, avx2_5, avx2_8},
        {avx512_4, avx512_5, avx512_8},
#endif
    };
    return of_bits[level][w->bits == 8 ? 2 : w->bits == 5 ? 1 : 0];
}
