/* Activations in 8 bits, a scale for every GROUP of a row. */
#include "kernel.h"

#include <math.h>
#include <stdlib.h>

static void group_make(const float *values, size_t count, int halved, int8_t *steps, float *scale, int32_t *sum) {
    float most = 0;
    for (size_t at = 0; at < count; at++) {
        float size = fabsf(values[at]);
        most = size > most ? size : most;
    }
    float per = most > 0 ? 127.0f / most : 0;
    int32_t total = 0;
    int8_t plain[GROUP];
    for (size_t at = 0; at < GROUP; at++)
        plain[at] = at < count ? (int8_t)lrintf(values[at] * per) : 0;
    for (size_t at = 0; at < GROUP; at++) {
        total += plain[at];
        steps[at] = halved ? plain[at < GROUP / 2 ? 2 * at : 2 * at - GROUP + 1] : plain[at];
    }
    *scale = most / 127.0f;
    *sum = total;
}

int activations_make(Activations *x, const float *values, size_t rows, size_t inputs, int halved) {
    size_t groups = (inputs + GROUP - 1) / GROUP, all = rows * groups;
    char *memory = malloc(all * (GROUP + 2 * sizeof(float) + sizeof(int32_t)) + GROUP);
    if (memory == NULL)
        return -1;
    *x = (Activations){rows, groups, (int8_t *)memory, NULL, NULL, NULL};
    x->scale = (float *)(memory + all * GROUP);
    x->totals = x->scale + all;
    x->sums = (int32_t *)(x->totals + all);
    for (size_t row = 0; row < rows; row++)
        for (size_t group = 0; group < groups; group++) {
            size_t at = row * groups + group, begin = group * GROUP;
            size_t count = inputs - begin < GROUP ? inputs - begin : GROUP;
            group_make(values + row * inputs + begin, count, halved, x->steps + at * GROUP, x->scale + at, x->sums + at);
            x->totals[at] = (float)x->sums[at] * x->scale[at];
        }
    return 0;
}

void activations_free(Activations *x) {
    free(x->steps);
}
