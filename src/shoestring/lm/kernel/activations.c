/* Activations in 8 bits, a scale for every FINE of a row. */
#include "kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float NEAREST = 12582912.0f; /* 1.5 * 2^23: a small number added to it is rounded to a whole one */
static const float LEAST = 1e-30f;        /* less is nothing: 127 / it would overflow */

/* Returns the largest size; what is not a number is larger than all that are, as its bits are. */
static float largest(const float *values) {
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
static int32_t part_make(const float *values, int8_t *steps, float *scale) {
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

static void group_make(const Activations *x, const float *values, size_t place) {
    float total = 0;
    for (size_t part = 0; part < PARTS; part++) {
        size_t at = place * PARTS + part;
        int32_t sum = part_make(values + part * FINE, x->steps + at * FINE, x->scale + at);
        x->start[at] = -128 * sum;
        total += (float)sum * x->scale[at];
    }
    x->totals[place] = total;
}

/* Fills the rows from begin to end. */
void activations_fill(const Activations *x, const float *values, size_t inputs, size_t begin, size_t end) {
    for (size_t row = begin; row < end; row++)
        for (size_t group = 0; group < x->groups; group++) {
            const float *from = values + row * inputs + group * GROUP;
            float padded[GROUP] = {0};
            if ((group + 1) * GROUP > inputs)
                from = memcpy(padded, from, (inputs - group * GROUP) * sizeof(float));
            group_make(x, from, row * x->groups + group);
        }
}

int activations_allocate(Activations *x, size_t rows, size_t inputs) {
    size_t groups = (inputs + GROUP - 1) / GROUP, all = rows * groups;
    char *memory = malloc(all * (GROUP + PARTS * (sizeof(float) + sizeof(int32_t)) + sizeof(float)) + 1);
    if (memory == NULL)
        return -1;
    *x = (Activations){rows, groups, (int8_t *)memory, NULL, NULL, NULL};
    x->scale = (float *)(memory + all * GROUP);
    x->start = (int32_t *)(x->scale + all * PARTS);
    x->totals = (float *)(x->start + all * PARTS);
    return 0;
}

void activations_free(Activations *x) {
    free(x->steps);
}
