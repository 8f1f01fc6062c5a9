/* Sums and e^x, the same bits on every processor: no fused multiplications, and an order of its own for each sum. */
#ifndef SHOESTRING_LM_LANES_H
#define SHOESTRING_LM_LANES_H

#include "levels.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16 }; /* partial sums that grow side by side */

INLINE float sum_of_lanes(const float *lanes) {
    float eight[8], four[4];
    for (int lane = 0; lane < 8; lane++)
        eight[lane] = lanes[lane] + lanes[lane + 8];
    for (int lane = 0; lane < 4; lane++)
        four[lane] = eight[lane] + eight[lane + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

INLINE float sum(const float *a, size_t size) {
    float lanes[LANES] = {0};
    size_t at = 0;
    for (; at + LANES <= size; at += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] += a[at + lane];
    for (int lane = 0; at < size; at++, lane++)
        lanes[lane] += a[at];
    return sum_of_lanes(lanes);
}

/* Returns the largest, or -FLT_MAX. */
INLINE float largest_of(const float *a, size_t size) {
    float lanes[LANES], most = -3.4028235e38f;
    size_t at = 0;
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane] = most;
    for (; at + LANES <= size; at += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] = a[at + lane] > lanes[lane] ? a[at + lane] : lanes[lane];
    for (; at < size; at++)
        most = a[at] > most ? a[at] : most;
    for (int lane = 0; lane < LANES; lane++)
        most = lanes[lane] > most ? lanes[lane] : most;
    return most;
}

/* Returns the sum of (a - mean)^2. */
INLINE float squares_about(float mean, const float *a, size_t size) {
    float lanes[LANES] = {0};
    size_t at = 0;
    for (; at + LANES <= size; at += LANES)
        for (int lane = 0; lane < LANES; lane++)
            lanes[lane] += (a[at + lane] - mean) * (a[at + lane] - mean);
    for (int lane = 0; at < size; at++, lane++)
        lanes[lane] += (a[at] - mean) * (a[at] - mean);
    return sum_of_lanes(lanes);
}

/* e^x to two units in the last place, of x from -87 to 88; beyond, that of the nearest of them. Cody and Waite's
 * reduction to half an octave, and the polynomial of Cephes' expf. */
INLINE float exponential(float x) {
    const float nearest = 12582912.0f; /* 1.5 * 2^23: a small number added to it is rounded to a whole one */
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float shifted = x * 1.44269504088896341f + nearest, octaves = shifted - nearest;
    float r = (x - octaves * 0.693359375f) + octaves * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + (127u << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

#endif
