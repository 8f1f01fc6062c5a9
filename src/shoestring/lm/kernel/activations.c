/* Activations in 8 bits, a scale for every FINE of a row. */
#include "activations.h"

INLINE void activations_fill(const Activations *x, const float *values, size_t inputs, size_t begin, size_t end) {
    for (size_t place = begin; place < end; place++) {
        size_t row = place / x->groups, at = place % x->groups * GROUP;
        const float *from = values + row * inputs + at;
        float padded[GROUP] = {0};
        if (at + GROUP > inputs)
            from = memcpy(padded, from, (inputs - at) * sizeof(float));
        group_make(x->group + place, from);
    }
}

EVERY_LEVEL(activations_fill, (const Activations *x, const float *values, size_t inputs, size_t begin, size_t end), (x, values, inputs, begin, end))

size_t activations_bytes(size_t rows, size_t inputs) {
    return rows * ((inputs + GROUP - 1) / GROUP) * sizeof(Group);
}

Activations activations_in(void *memory, size_t rows, size_t inputs) {
    return (Activations){rows, (inputs + GROUP - 1) / GROUP, memory};
}
