/* Products in AVX-512 with VNNI: bytes of which one is unsigned are added in 32 bits. */
#include "products.h"

#ifdef X86
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

PRODUCT(avx512_8, FOR_AVX512, tile8_avx512, ROWS_AVX512, )
PRODUCT(avx512_5, FOR_AVX512, low_avx512, ROWS_AVX512, AND(5))
PRODUCT(avx512_4, FOR_AVX512, low_avx512, ROWS_AVX512, AND(4))

const Product avx512_products[] = {avx512_4, avx512_5, avx512_8};
#endif
