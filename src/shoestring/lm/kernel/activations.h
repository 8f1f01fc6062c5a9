/* A group of activations becomes 8 bits, a scale for every FINE of them. */
#ifndef SHOESTRING_LM_ACTIVATIONS_H
#define SHOESTRING_LM_ACTIVATIONS_H

#include "kernel.h"
#include "levels.h"

#include <math.h>
#include <string.h>

static const float NEAREST = 12582912.0f; /* 1.5 * 2^23: a small number added to it is rounded to a whole one */
static const float LEAST = 1e-30f;        /* less is nothing: 127 / it would overflow */

/* Returns the largest size; what is not a number is larger than all that are, as its bits are. */
INLINE float largest(const float *values) {
    int32_t most = 0;
    for (size_t at = 0; at < FINE; at++) {
        int32_t bits;
        memcpy(&bits, values + at, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float size;
    memcpy(&size, &most, sizeof size);
    return size;
}

/* Sets FINE steps and their scale, and returns the sum of the steps. */
INLINE int32_t part_make(const float *values, int8_t *steps, float *scale) {
    float most = largest(values), per = most < LEAST ? 0 : 127.0f / most;
    int32_t total = 0;
    *scale = most < LEAST ? 0 : most / 127.0f;
    if (!isfinite(most)) { /* nor will the product be a number */
        memset(steps, 0, FINE);
        *scale = most - most;
        return 0;
    }
    for (size_t at = 0; at < FINE; at++) {
        int32_t step = (int32_t)((values[at] * per + NEAREST) - NEAREST);
        steps[at] = (int8_t)step;
        total += step;
    }
    return total;
}

INLINE void group_make(Group *group, const float *values) {
    memset(group->total, 0, sizeof group->total);
    for (size_t part = 0; part < PARTS; part++) {
        int32_t steps = part_make(values + part * FINE, group->steps + part * FINE, group->scale + part);
        group->start[part] = -128 * steps;
        group->total[part * HALVES / PARTS] += (float)steps * group->scale[part];
    }
}

#endif
