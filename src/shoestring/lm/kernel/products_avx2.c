/* Products in AVX2, half a tile in a register: products of bytes are added in 16 bits, which holds 2 * 127 * 127. */
#include "products.h"

#ifdef X86
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

PRODUCT(avx2_8, FOR_AVX2, tile8_avx2, ROWS_AVX2, )
PRODUCT(avx2_5, FOR_AVX2, low_avx2, ROWS_AVX2, AND(5))
PRODUCT(avx2_4, FOR_AVX2, low_avx2, ROWS_AVX2, AND(4))

const Product avx2_products[] = {avx2_4, avx2_5, avx2_8};
#endif
