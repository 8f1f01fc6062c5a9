/* Attention of one head of a few tokens that stand next to each other, at every level. */
#include "blocks.h"
#include "lanes.h"

#include <math.h>

#ifdef X86
#include <immintrin.h>
#endif

enum {
    TOGETHER = 4,  /* tokens whose scores are computed at once */
    ACROSS = 64,   /* numbers of one token's output that are summed at once */
    NEAR = 1 << 12, /* numbers of keys, or of values, that stay in the nearest cache */
};

/* Returns how many tokens from one on are computed together. */
INLINE size_t some_of(const Asking *a, size_t first) {
    return a->tokens - first < TOGETHER ? 1 : TOGETHER;
}

INLINE size_t seen_from(const Asking *a, size_t token, size_t place) {
    size_t begin = a->begin[token] - a->begin[0];
    return place > begin ? place : begin;
}

INLINE size_t seen_until(const Asking *a, size_t token, size_t place) {
    size_t end = a->end[token] - a->begin[0];
    return place < end ? place : end;
}

/* Makes scores weights that sum to 1; what is not seen weighs nothing. */
INLINE void weigh(float *scores, size_t begin, size_t end, size_t count) {
    float most = largest_of(scores + begin, end - begin);
    for (size_t at = 0; at < begin; at++)
        scores[at] = 0;
    for (size_t at = end; at < count; at++)
        scores[at] = 0;
    for (size_t at = begin; at < end; at++)
        scores[at] = exponential(scores[at] - most);
    float total = sum(scores + begin, end - begin);
    for (size_t at = begin; at < end; at++)
        scores[at] /= total;
}

/* Makes the scores of all tokens weights, and the outputs nothing yet. */
INLINE void weigh_all(const Asking *a, float *scores, size_t count) {
    for (size_t each = 0; each < a->tokens; each++) {
        weigh(scores + each * count, a->begin[each] - a->begin[0], a->end[each] - a->begin[0], count);
        memset(a->out + each * a->out_step, 0, a->size * sizeof(float));
    }
}

/* ---- any processor ---- */

INLINE void sums_portable(float (*lanes)[LANES], float *found, int tokens) {
    for (int each = 0; each < tokens; each++)
        found[each] = sum_of_lanes(lanes[each]);
}

#define TARGET
#define NAMED(NAME) NAME##_portable
#define WIDE 1
#define Wide float
#define LOAD(PLACE) (*(PLACE))
#define STORE(PLACE, VALUE) (*(PLACE) = (VALUE))
#define SAME(NUMBER) (NUMBER)
#define FUSED fmaf
#include "attention_level.h"

#ifdef X86
/* ---- AVX2: the lanes' sums, in the order of sum_of_lanes ---- */

INLINE FOR_AVX2 __m128 folded(__m256 eight) {
    return _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
}

/* Returns (a0 + a2, a1 + a3, b0 + b2, b1 + b3). */
INLINE FOR_AVX2 __m128 folded_two(__m128 a, __m128 b) {
    return _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
}

INLINE FOR_AVX2 void sums_of_eights(const __m256 *eight, float *found, int tokens) {
    __m128 four[TOGETHER];
    EACH(each, tokens)
        four[each] = folded(eight[each]);
    if (tokens == 1) {
        __m128 two = folded_two(four[0], four[0]);
        found[0] = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
        return;
    }
    __m128 first = folded_two(four[0], four[1]), second = folded_two(four[2], four[3]);
    _mm_storeu_ps(found, _mm_add_ps(_mm_shuffle_ps(first, second, 0x88), _mm_shuffle_ps(first, second, 0xdd)));
}

INLINE FOR_AVX2 void sums_avx2(__m256 (*lanes)[2], float *found, int tokens) {
    __m256 eight[TOGETHER];
    EACH(each, tokens)
        eight[each] = _mm256_add_ps(lanes[each][0], lanes[each][1]);
    sums_of_eights(eight, found, tokens);
}

#define TARGET FOR_AVX2
#define NAMED(NAME) NAME##_avx2
#define WIDE 8
#define Wide __m256
#define LOAD _mm256_loadu_ps
#define STORE _mm256_storeu_ps
#define SAME _mm256_set1_ps
#define FUSED _mm256_fmadd_ps
#include "attention_level.h"

/* ---- AVX-512 ---- */

INLINE FOR_AVX512 void sums_avx512(__m512 (*lanes)[1], float *found, int tokens) {
    __m256 eight[TOGETHER];
    EACH(each, tokens)
        eight[each] = _mm256_add_ps(_mm512_castps512_ps256(lanes[each][0]), _mm512_extractf32x8_ps(lanes[each][0], 1));
    sums_of_eights(eight, found, tokens);
}

#define TARGET FOR_AVX512
#define NAMED(NAME) NAME##_avx512
#define WIDE 16
#define Wide __m512
#define LOAD _mm512_loadu_ps
#define STORE _mm512_storeu_ps
#define SAME _mm512_set1_ps
#define FUSED _mm512_fmadd_ps
#include "attention_level.h"

Attend *const attend_of[] = {attend_portable, attend_avx2, attend_avx512};
#else
Attend *const attend_of[] = {attend_portable, attend_portable, attend_portable};
#endif
