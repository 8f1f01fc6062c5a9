/* Activations in 8 bits, a scale for every FINE of a row. */
#include "activations.h"

INLINE void activations_fill(const Activations *x, const float *values, size_t inputs, size_t begin, size_t end) {
    for (size_t place = begin; place < end; place++) {
        size_t row = place / x->groups, at = place % x->groups * GROUP;
        const float *from = values + row * inputs + at;
        float padded[GROUP] = {0};
        if (at + GROUP > inputs)
            from = memcpy(padded, from, (inputs - at) * sizeof(float));
        group_make(x, from, place);
    }
}

EVERY_LEVEL(activations_fill, (const Activations *x, const float *values, size_t inputs, size_t begin, size_t end), (x, values, inputs, begin, end))

size_t activations_bytes(size_t rows, size_t inputs) {
    size_t all = rows * ((inputs + GROUP - 1) / GROUP);
    return all * (GROUP + PARTS * (sizeof(float) + sizeof(int32_t)) + sizeof(float));
}

Activations activations_in(void *memory, size_t rows, size_t inputs) {
    size_t groups = (inputs + GROUP - 1) / GROUP, all = rows * groups;
    Activations x = {rows, groups, memory, NULL, NULL, NULL};
    x.scale = (float *)((char *)memory + all * GROUP);
    x.start = (int32_t *)(x.scale + all * PARTS);
    x.totals = (float *)(x.start + all * PARTS);
    return x;
}
