/* Attention of one head of one token. */
#include "lanes.h"
#include "step.h"

enum { ACROSS = 64 }; /* numbers of a head that are summed at once, in registers */

/* Sets the scores and returns the largest. */
INLINE float score(const float *query, const float *keys, size_t size, size_t count, float scale, float *scores) {
    float most = -3.4028235e38f;
    for (size_t token = 0; token < count; token++) {
        scores[token] = dot(query, keys + token * size, size) * scale;
        most = scores[token] > most ? scores[token] : most;
    }
    return most;
}

/* Makes scores weights, whose sum it returns. */
INLINE float weigh(float *scores, size_t count, float most) {
    for (size_t token = 0; token < count; token++)
        scores[token] = exponential(scores[token] - most);
    return sum(scores, count);
}

/* out = the values' sum by weights, over their total. */
INLINE void gather(const float *weights, const float *values, size_t size, size_t count, float total, float *out) {
    for (size_t begin = 0; begin < size; begin += ACROSS) {
        size_t wide = size - begin < ACROSS ? size - begin : ACROSS;
        float sums[ACROSS] = {0};
        if (wide == ACROSS)
            for (size_t token = 0; token < count; token++)
                for (size_t at = 0; at < ACROSS; at++)
                    sums[at] += weights[token] * values[token * size + begin + at];
        else
            for (size_t token = 0; token < count; token++)
                for (size_t at = 0; at < wide; at++)
                    sums[at] += weights[token] * values[token * size + begin + at];
        for (size_t at = 0; at < wide; at++)
            out[begin + at] = sums[at] / total;
    }
}

INLINE void attend(const float *query, const float *keys, const float *values, size_t size, size_t count, float scale, float *scores, float *out) {
    float total = weigh(scores, count, score(query, keys, size, count, scale, scores));
    gather(scores, values, size, count, total, out);
}

EVERY_LEVEL(attend, (const float *query, const float *keys, const float *values, size_t size, size_t count, float scale, float *scores, float *out),
            (query, keys, values, size, count, scale, scores, out))
