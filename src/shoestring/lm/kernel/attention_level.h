/* Attention in registers of WIDE floats; attention.c includes this once for each level.
 *
 * A score grows in LANES partial sums, an output's numbers from token to token: both in the same order at every level,
 * however many are computed at once. Places of tokens are counted from the first that any of the asking ones sees. */

/* Sets the scores of what stands from begin to end, for a few tokens. */
INLINE TARGET void NAMED(score)(const Asking *a, size_t first, const float *keys, size_t begin, size_t end, float *scores, size_t count, int tokens) {
    const float *query = a->query + first * a->query_step;
    for (size_t seen = begin; seen < end; seen++) {
        const float *key = keys + seen * a->size;
        Wide lanes[TOGETHER][LANES / WIDE];
        float found[TOGETHER];
        EACH(each, tokens)
            EACH(part, LANES / WIDE)
                lanes[each][part] = SAME(0);
        for (size_t at = 0; at < a->size; at += LANES)
            EACH(part, LANES / WIDE) {
                Wide own = LOAD(key + at + part * WIDE);
                EACH(each, tokens)
                    lanes[each][part] = FUSED(LOAD(query + each * a->query_step + at + part * WIDE), own, lanes[each][part]);
            }
        NAMED(sums)(lanes, found, tokens);
        EACH(each, tokens)
            scores[(first + each) * count + seen] = found[each] * a->scale;
    }
}

/* Adds weighed values to some registers of each output, which begin at a place. */
INLINE TARGET void NAMED(gather_some)(const Asking *a, size_t first, const float *values, size_t begin, size_t end, const float *weights, size_t count, size_t place, int wide, int tokens) {
    float *out = a->out + first * a->out_step + place;
    Wide sums[TOGETHER][ACROSS / WIDE];
    EACH(each, tokens)
        EACH(at, wide)
            sums[each][at] = LOAD(out + each * a->out_step + at * WIDE);
    for (size_t seen = begin; seen < end; seen++) {
        const float *value = values + seen * a->size + place;
        EACH(each, tokens)
            EACH(at, wide)
                sums[each][at] = FUSED(SAME(weights[(first + each) * count + seen]), LOAD(value + at * WIDE), sums[each][at]);
    }
    EACH(each, tokens)
        EACH(at, wide)
            STORE(out + each * a->out_step + at * WIDE, sums[each][at]);
}

INLINE TARGET void NAMED(gather)(const Asking *a, size_t first, const float *values, size_t begin, size_t end, const float *weights, size_t count, int wide, int tokens) {
    size_t place = 0;
    for (; place + wide * WIDE <= a->size; place += wide * WIDE)
        NAMED(gather_some)(a, first, values, begin, end, weights, count, place, wide, tokens);
    for (; place < a->size; place += LANES)
        NAMED(gather_some)(a, first, values, begin, end, weights, count, place, LANES / WIDE, tokens);
}

/* Keys and values pass in pieces that stay near while all tokens see them. */
TARGET static void NAMED(attend)(const Asking *a, const float *keys, const float *values, float *scores) {
    size_t count = a->end[a->tokens - 1] - a->begin[0], piece = NEAR / a->size;
    keys += a->begin[0] * a->size, values += a->begin[0] * a->size;
    for (size_t from = 0; from < count; from += piece)
        for (size_t first = 0, some; first < a->tokens; first += some) {
            some = some_of(a, first);
            size_t begin = seen_from(a, first, from), end = seen_until(a, first + some - 1, from + piece);
            if (some == TOGETHER)
                NAMED(score)(a, first, keys, begin, end, scores, count, TOGETHER);
            else
                NAMED(score)(a, first, keys, begin, end, scores, count, 1);
        }
    weigh_all(a, scores, count);
    for (size_t from = 0; from < count; from += piece)
        for (size_t first = 0, some; first < a->tokens; first += some) {
            some = some_of(a, first);
            size_t begin = seen_from(a, first, from), end = seen_until(a, first + some - 1, from + piece);
            if (some == TOGETHER)
                NAMED(gather)(a, first, values, begin, end, scores, count, 2, TOGETHER);
            else
                NAMED(gather)(a, first, values, begin, end, scores, count, ACROSS / WIDE, 1);
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
