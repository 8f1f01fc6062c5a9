/* Attention in registers of WIDE floats; attention.c includes this once for each level.
 *
 * A score grows in LANES partial sums, an output's numbers from token to token: both in the same order at every level. */

/* Sets the scores of what stands from begin to end, for each of the tokens. */
INLINE TARGET void NAMED(score)(const Asking *a, const float *keys, size_t begin, size_t end, float *scores, int tokens) {
    for (size_t seen = begin; seen < end; seen++) {
        const float *key = keys + seen * a->size;
        Wide lanes[QUERIES][LANES / WIDE];
        float found[QUERIES];
        EACH(each, tokens)
            EACH(part, LANES / WIDE)
                lanes[each][part] = SAME(0);
        for (size_t at = 0; at < a->size; at += LANES)
            EACH(part, LANES / WIDE) {
                Wide own = LOAD(key + at + part * WIDE);
                EACH(each, tokens)
                    lanes[each][part] = FUSED(LOAD(a->query + each * a->query_step + at + part * WIDE), own, lanes[each][part]);
            }
        NAMED(sums)(lanes, found, tokens);
        EACH(each, tokens)
            scores[each * (end - begin) + seen - begin] = found[each] * a->scale;
    }
}

/* Sets some registers of each output, from a place on: the values' sum by weights, over their total. */
INLINE TARGET void NAMED(gather)(const Asking *a, const float *weights, const float *values, size_t count, const float *totals, size_t place, int wide, int tokens) {
    Wide sums[QUERIES][ACROSS / WIDE];
    EACH(each, tokens)
        EACH(at, wide)
            sums[each][at] = SAME(0);
    for (size_t seen = 0; seen < count; seen++) {
        const float *value = values + seen * a->size + place;
        EACH(each, tokens)
            EACH(at, wide)
                sums[each][at] = FUSED(SAME(weights[each * count + seen]), LOAD(value + at * WIDE), sums[each][at]);
    }
    EACH(each, tokens)
        EACH(at, wide)
            STORE(a->out + each * a->out_step + place + at * WIDE, OVER(sums[each][at], SAME(totals[each])));
}

/* The scores are weighed by function `weigh`, which is of this level too. */
INLINE TARGET void NAMED(attend_some)(const Asking *a, const float *keys, const float *values, float *scores, int wide, int tokens) {
    size_t begin = a->begin[0], end = a->end[tokens - 1], place = 0, count = end - begin;
    float totals[QUERIES];
    NAMED(score)(a, keys, begin, end, scores, tokens);
    for (int each = 0; each < tokens; each++)
        totals[each] = weigh(scores + each * count, a->begin[each] - begin, a->end[each] - begin, count);
    for (; place + wide * WIDE <= a->size; place += wide * WIDE)
        NAMED(gather)(a, scores, values + begin * a->size, count, totals, place, wide, tokens);
    for (; place < a->size; place += LANES)
        NAMED(gather)(a, scores, values + begin * a->size, count, totals, place, LANES / WIDE, tokens);
}

TARGET static void NAMED(attend)(const Asking *a, const float *keys, const float *values, float *scores) {
    if (a->tokens == QUERIES) {
        NAMED(attend_some)(a, keys, values, scores, 2, QUERIES);
        return;
    }
    for (size_t each = 0; each < a->tokens; each++) {
        Asking one = {a->query + each * a->query_step, a->out + each * a->out_step, 0, 0, 1, a->size, {a->begin[each]}, {a->end[each]}, a->scale};
        NAMED(attend_some)(&one, keys, values, scores, ACROSS / WIDE, 1);
    }
}

#undef TARGET
#undef NAMED
#undef WIDE
#undef Wide
#undef LOAD
#undef STORE
#undef SAME
#undef FUSED
#undef OVER
