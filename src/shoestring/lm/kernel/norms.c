/* What is computed number by number between the products: norms, activation functions, sums. */
#include "activations.h"
#include "lanes.h"
#include "blocks.h"

typedef struct {
    float mean, per; /* per deviation */
} Spread;

INLINE Spread spread_of(const Norm *norm, const float *x, size_t size) {
    if (norm->bias == NULL)
        return (Spread){0, 1.0f / sqrtf(squares_about(0, x, size) / (float)size + (float)norm->eps)};
    float mean = sum(x, size) / (float)size;
    return (Spread){mean, 1.0f / sqrtf(squares_about(mean, x, size) / (float)size + (float)norm->eps)};
}

/* y = the norm of x from begin to end. */
INLINE void normed(const Norm *norm, Spread spread, const float *x, size_t begin, size_t end, float *y) {
    if (norm->bias == NULL)
        for (size_t at = begin; at < end; at++)
            y[at - begin] = norm->weight[at] * (x[at] * spread.per);
    else
        for (size_t at = begin; at < end; at++)
            y[at - begin] = (x[at] - spread.mean) * spread.per * norm->weight[at] + norm->bias[at];
}

INLINE void norm_fill(const Norm *norm, const float *x, size_t size, const Activations *to, size_t begin, size_t end) {
    Spread spread = {0, 0};
    for (size_t place = begin; place < end; place++) {
        size_t from = place % to->groups * GROUP, until = from + GROUP < size ? from + GROUP : size;
        const float *row = x + place / to->groups * size;
        float values[GROUP] = {0};
        if (place == begin || from == 0)
            spread = spread_of(norm, row, size);
        normed(norm, spread, row, from, until, values);
        group_make(to->group + place, values);
    }
}

INLINE void norm_row(const Norm *norm, float *x, size_t size) {
    normed(norm, spread_of(norm, x, size), x, 0, size, x);
}

INLINE float silu(float x) {
    return x / (1.0f + exponential(-x));
}

/* x / 2 (1 + tanh u) is x / (1 + e^-2u), with u = sqrt(2 / pi) (x + 0.044715 x^3). */
INLINE float gelu(float x) {
    return x / (1.0f + exponential(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
}

INLINE void gate(float *gate, const float *up, size_t size, size_t act) {
    if (act == SILU)
        for (size_t at = 0; at < size; at++)
            gate[at] = silu(gate[at]);
    else
        for (size_t at = 0; at < size; at++)
            gate[at] = gelu(gate[at]);
    for (size_t at = 0; up != NULL && at < size; at++)
        gate[at] *= up[at];
}

INLINE void add(float *x, const float *more, size_t size) {
    for (size_t at = 0; at < size; at++)
        x[at] += more[at];
}

EVERY_LEVEL(norm_fill, (const Norm *norm, const float *x, size_t size, const Activations *to, size_t begin, size_t end), (norm, x, size, to, begin, end))
EVERY_LEVEL(norm_row, (const Norm *norm, float *x, size_t size), (norm, x, size))
EVERY_LEVEL(gate, (float *gated, const float *up, size_t size, size_t act), (gated, up, size, act))
EVERY_LEVEL(add, (float *x, const float *more, size_t size), (x, more, size))

INLINE void turn(float *head, const Norm *norm, const float *cosines, const float *sines, size_t size) {
    size_t half = size / 2;
    if (norm->weight != NULL)
        norm_row(norm, head, size);
    for (size_t at = 0; cosines != NULL && at < half; at++) {
        float first = head[at], second = head[at + half];
        head[at] = first * cosines[at] + -second * sines[at];
        head[at + half] = second * cosines[at + half] + first * sines[at + half];
    }
}

EVERY_LEVEL(turn, (float *head, const Norm *norm, const float *cosines, const float *sines, size_t size), (head, norm, cosines, sines, size))
