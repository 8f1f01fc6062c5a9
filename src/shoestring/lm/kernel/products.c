/* One product for each width of weights and each kind of processor; all of them add the same integers exactly.
 *
 * A result does not depend on what else is computed beside it: every (row, output) has its own accumulator and the
 * same order of additions, whatever the size of the tile. */
#include "kernel.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define X86 1
#endif

static inline float wide(uint16_t bfloat16) {
    uint32_t bits = (uint32_t)bfloat16 << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void put(const Weights *w, float *y, size_t row, size_t output, float value) {
    y[row * w->outputs + output] = value + (w->bias ? w->bias[output] : 0.0f);
}

/* ---- any processor ---- */

static void portable8(const Weights *w, const Activations *x, float *y, size_t begin, size_t end) {
    for (size_t output = begin; output < end; output++) {
        const int8_t *weight = (const int8_t *)w->weight + output * w->inputs;
        for (size_t row = 0; row < x->rows; row++) {
            const int8_t *steps = x->steps + row * x->groups * GROUP;
            float sum = 0;
            for (size_t group = 0; group < x->groups; group++) {
                size_t first = group * GROUP, last = first + GROUP < w->inputs ? first + GROUP : w->inputs;
                int32_t dot = 0;
                for (size_t at = first; at < last; at++)
                    dot += weight[at] * steps[at];
                sum += (float)dot * (wide(w->scale[output * x->groups + group]) * x->scale[row * x->groups + group]);
            }
            put(w, y, row, output, sum);
        }
    }
}

static void portable4(const Weights *w, const Activations *x, float *y, size_t begin, size_t end) {
    for (size_t output = begin; output < end; output++)
        for (size_t row = 0; row < x->rows; row++) {
            float sum = 0;
            for (size_t group = 0; group < x->groups; group++) {
                size_t place = output * x->groups + group, seen = row * x->groups + group;
                const uint8_t *weight = (const uint8_t *)w->weight + place * (GROUP / 2);
                const int8_t *steps = x->steps + seen * GROUP;
                int32_t dot = 0;
                for (size_t at = 0; at < GROUP / 2; at++)
                    dot += (weight[at] & 15) * steps[at] + (weight[at] >> 4) * steps[at + GROUP / 2];
                float scale = wide(w->scale[place]), zero = wide(w->zero[place]) - 8 * scale;
                sum += (float)dot * (scale * x->scale[seen]) + zero * x->totals[seen];
            }
            put(w, y, row, output, sum);
        }
}

#ifdef X86
#define INLINE static inline __attribute__((always_inline))

/* ---- AVX2: products of bytes are added in 16 bits, which holds 2 * 127 * 127 ---- */
#define FOR_AVX2 __attribute__((target("avx2,fma")))

INLINE FOR_AVX2 float sum8(__m256 v) {
    __m128 low = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    low = _mm_add_ps(low, _mm_movehl_ps(low, low));
    return _mm_cvtss_f32(_mm_add_ss(low, _mm_movehdup_ps(low)));
}

INLINE FOR_AVX2 __m256i pairs(__m256i weight, __m256i steps) {
    return _mm256_maddubs_epi16(_mm256_abs_epi8(weight), _mm256_sign_epi8(steps, weight));
}

INLINE FOR_AVX2 __m256i dot64(const int8_t *weight, const int8_t *steps) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i first = pairs(_mm256_loadu_si256((const void *)weight), _mm256_loadu_si256((const void *)steps));
    __m256i second = pairs(_mm256_loadu_si256((const void *)(weight + 32)), _mm256_loadu_si256((const void *)(steps + 32)));
    return _mm256_add_epi32(_mm256_madd_epi16(first, ones), _mm256_madd_epi16(second, ones));
}

INLINE FOR_AVX2 void tile8_avx2(const Weights *w, const Activations *x, float *y, size_t output, size_t row, int tile, int rows) {
    __m256 acc[TILE][2];
    size_t whole = w->inputs / GROUP;
    for (int o = 0; o < tile; o++)
        for (int r = 0; r < rows; r++)
            acc[o][r] = _mm256_setzero_ps();
    for (size_t group = 0; group < x->groups; group++) {
        for (int o = 0; o < tile; o++) {
            const int8_t *weight = (const int8_t *)w->weight + (output + o) * w->inputs + group * GROUP;
            int8_t rest[GROUP] = {0};
            if (group == whole) {
                memcpy(rest, weight, w->inputs - group * GROUP);
                weight = rest;
            }
            float scale = wide(w->scale[(output + o) * x->groups + group]);
            for (int r = 0; r < rows; r++) {
                size_t seen = (row + r) * x->groups + group;
                __m256 dot = _mm256_cvtepi32_ps(dot64(weight, x->steps + seen * GROUP));
                acc[o][r] = _mm256_fmadd_ps(dot, _mm256_set1_ps(scale * x->scale[seen]), acc[o][r]);
            }
        }
    }
    for (int o = 0; o < tile; o++)
        for (int r = 0; r < rows; r++)
            put(w, y, row + r, output + o, sum8(acc[o][r]));
}

INLINE FOR_AVX2 __m256i dot64_4(__m256i low, __m256i high, const int8_t *steps) {
    __m256i even = _mm256_maddubs_epi16(low, _mm256_loadu_si256((const void *)steps));
    __m256i odd = _mm256_maddubs_epi16(high, _mm256_loadu_si256((const void *)(steps + 32)));
    return _mm256_madd_epi16(_mm256_add_epi16(even, odd), _mm256_set1_epi16(1));
}

INLINE FOR_AVX2 void tile4_avx2(const Weights *w, const Activations *x, float *y, size_t output, size_t row, int tile, int rows) {
    const __m256i mask = _mm256_set1_epi8(15);
    __m256 acc[TILE][2];
    float rest[TILE][2];
    for (int o = 0; o < tile; o++)
        for (int r = 0; r < rows; r++) {
            acc[o][r] = _mm256_setzero_ps();
            rest[o][r] = 0;
        }
    for (size_t group = 0; group < x->groups; group++)
        for (int o = 0; o < tile; o++) {
            size_t place = (output + o) * x->groups + group;
            __m256i weight = _mm256_loadu_si256((const void *)((const uint8_t *)w->weight + place * (GROUP / 2)));
            __m256i low = _mm256_and_si256(weight, mask), high = _mm256_and_si256(_mm256_srli_epi16(weight, 4), mask);
            float scale = wide(w->scale[place]), zero = wide(w->zero[place]) - 8 * scale;
            for (int r = 0; r < rows; r++) {
                size_t seen = (row + r) * x->groups + group;
                __m256 dot = _mm256_cvtepi32_ps(dot64_4(low, high, x->steps + seen * GROUP));
                acc[o][r] = _mm256_fmadd_ps(dot, _mm256_set1_ps(scale * x->scale[seen]), acc[o][r]);
                rest[o][r] += zero * x->totals[seen];
            }
        }
    for (int o = 0; o < tile; o++)
        for (int r = 0; r < rows; r++)
            put(w, y, row + r, output + o, sum8(acc[o][r]) + rest[o][r]);
}

/* ---- AVX-512 with VNNI: bytes of which one is unsigned are added in 32 bits ---- */
#define FOR_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma")))

INLINE FOR_AVX512 void tile8_avx512(const Weights *w, const Activations *x, float *y, size_t output, size_t row, int tile, int rows) {
    const __m512i flip = _mm512_set1_epi8((char)0x80); /* int8 + 128, which 128 * sums takes away again */
    __m512 acc[TILE][TILE];
    for (int o = 0; o < tile; o++)
        for (int r = 0; r < rows; r++)
            acc[o][r] = _mm512_setzero_ps();
    for (size_t group = 0; group < x->groups; group++) {
        size_t left = w->inputs - group * GROUP;
        __mmask64 mask = left >= GROUP ? ~(__mmask64)0 : (((__mmask64)1 << left) - 1);
        __m512i weight[TILE];
        __m512 own[TILE]; /* the weights' scales */
        for (int o = 0; o < tile; o++) {
            own[o] = _mm512_set1_ps(wide(w->scale[(output + o) * x->groups + group]));
            weight[o] = _mm512_xor_si512(flip, _mm512_maskz_loadu_epi8(mask, (const int8_t *)w->weight + (output + o) * w->inputs + group * GROUP));
        }
        for (int r = 0; r < rows; r++) {
            size_t seen = (row + r) * x->groups + group;
            __m512i steps = _mm512_loadu_si512(x->steps + seen * GROUP);
            __m512i start = _mm512_maskz_set1_epi32(1, -128 * x->sums[seen]);
            __m512 scale = _mm512_set1_ps(x->scale[seen]);
            for (int o = 0; o < tile; o++)
                acc[o][r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start, weight[o], steps)), _mm512_mul_ps(own[o], scale), acc[o][r]);
        }
    }
    for (int o = 0; o < tile; o++)
        for (int r = 0; r < rows; r++)
            put(w, y, row + r, output + o, _mm512_reduce_add_ps(acc[o][r]));
}

INLINE FOR_AVX512 void tile4_avx512(const Weights *w, const Activations *x, float *y, size_t output, size_t row, int tile, int rows) {
    const __m256i mask = _mm256_set1_epi8(15);
    __m256 acc[TILE][TILE];
    float rest[TILE][TILE];
    for (int o = 0; o < tile; o++)
        for (int r = 0; r < rows; r++) {
            acc[o][r] = _mm256_setzero_ps();
            rest[o][r] = 0;
        }
    for (size_t group = 0; group < x->groups; group++)
        for (int o = 0; o < tile; o++) {
            size_t place = (output + o) * x->groups + group;
            __m256i weight = _mm256_loadu_si256((const void *)((const uint8_t *)w->weight + place * (GROUP / 2)));
            __m256i low = _mm256_and_si256(weight, mask), high = _mm256_and_si256(_mm256_srli_epi16(weight, 4), mask);
            float scale = wide(w->scale[place]), zero = wide(w->zero[place]) - 8 * scale;
            for (int r = 0; r < rows; r++) {
                size_t seen = (row + r) * x->groups + group;
                const int8_t *steps = x->steps + seen * GROUP;
                __m256i dot = _mm256_dpbusd_epi32(_mm256_setzero_si256(), low, _mm256_loadu_si256((const void *)steps));
                dot = _mm256_dpbusd_epi32(dot, high, _mm256_loadu_si256((const void *)(steps + 32)));
                acc[o][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_set1_ps(scale * x->scale[seen]), acc[o][r]);
                rest[o][r] += zero * x->totals[seen];
            }
        }
    for (int o = 0; o < tile; o++)
        for (int r = 0; r < rows; r++)
            put(w, y, row + r, output + o, sum8(acc[o][r]) + rest[o][r]);
}

#define PRODUCT(NAME, TARGET, TILED, AT_ONCE)                                                           \
    TARGET static void NAME(const Weights *w, const Activations *x, float *y, size_t begin, size_t end) { \
        size_t output = begin, row;                                                                      \
        for (; output + TILE <= end; output += TILE) {                                                   \
            for (row = 0; row + AT_ONCE <= x->rows; row += AT_ONCE)                                      \
                TILED(w, x, y, output, row, TILE, AT_ONCE);                                              \
            for (; row < x->rows; row++)                                                                 \
                TILED(w, x, y, output, row, TILE, 1);                                                    \
        }                                                                                                \
        for (; output < end; output++)                                                                   \
            for (row = 0; row < x->rows; row++)                                                          \
                TILED(w, x, y, output, row, 1, 1);                                                       \
    }

PRODUCT(avx2_8, FOR_AVX2, tile8_avx2, 2)
PRODUCT(avx2_4, FOR_AVX2, tile4_avx2, 2)
PRODUCT(avx512_8, FOR_AVX512, tile8_avx512, 4)
PRODUCT(avx512_4, FOR_AVX512, tile4_avx512, 4)
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

Product product_of(int bits, int level) {
#ifdef X86
    if (level == AVX512)
        return bits == 8 ? avx512_8 : avx512_4;
    if (level == AVX2)
        return bits == 8 ? avx2_8 : avx2_4;
#endif
    (void)level;
    return bits == 8 ? portable8 : portable4;
}
