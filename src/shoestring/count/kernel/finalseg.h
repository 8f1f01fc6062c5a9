/* jieba's finalseg: what the route took one by one is given to the HMM (Viterbi) and to a regular expression. */
#ifndef SHOESTRING_FINALSEG_H
#define SHOESTRING_FINALSEG_H

#include "cutter.h"

/* A word that the HMM found: whole, or in characters if jieba was told to split it (Force_Split_Words). */
ALWAYS_INLINE void give_found(Cutter *cutter, const uint8_t *chunk, uint32_t from, uint32_t to, const int mode) {
    uint32_t node = find(cutter, from, to);
    if (UNLIKELY(cutter->table->forced[node_weight(cutter->table->nodes[node])])) {
        for (uint32_t at = from; at < to; at++)
            give_character(cutter, at, mode);
    } else {
        give_string(cutter, chunk, from, to, mode);
    }
}

typedef struct {
    double b, m, e, s; /* of the likeliest states up to a character that ends in each */
} Lattice;

ALWAYS_INLINE Lattice viterbi_begin(const Hmm *hmm, uint32_t code) {
    const double *emit = hmm->emission[code - HAN_FIRST], *start = hmm->start;
    return (Lattice){start[B] + emit[B], start[M] + emit[M], start[E] + emit[E], start[S] + emit[S]};
}

/* Goes on over the characters; state[] says of each which predecessor won. Of two equally good ones jieba's max() takes
 * the greater letter: S before E, M before B. */
ALWAYS_INLINE Lattice viterbi_go(const Hmm *hmm, Lattice all, const uint32_t *code, uint32_t length, uint8_t *state) {
    const double(*t)[4] = hmm->transition;
    const double be = t[B][E], bm = t[B][M], me = t[M][E], mm = t[M][M];
    const double eb = t[E][B], es = t[E][S], sb = t[S][B], ss = t[S][S];
    double b = all.b, m = all.m, e = all.e, s = all.s;
    for (uint32_t at = 0; at < length; at++) {
        const double *emit = hmm->emission[code[at] - HAN_FIRST];
        double e_b = e + eb + emit[B], s_b = s + sb + emit[B], b_m = b + bm + emit[M], m_m = m + mm + emit[M];
        double b_e = b + be + emit[E], m_e = m + me + emit[E], e_s = e + es + emit[S], s_s = s + ss + emit[S];
        state[at] = (uint8_t)((s_b >= e_b) << B | (m_m >= b_m) << M | (m_e >= b_e) << E | (s_s >= e_s) << S);
        b = s_b >= e_b ? s_b : e_b;
        m = m_m >= b_m ? m_m : b_m;
        e = m_e >= b_e ? m_e : b_e;
        s = s_s >= e_s ? s_s : e_s;
    }
    return (Lattice){b, m, e, s};
}

/* Walks back from the better end: state[] then has the states. */
ALWAYS_INLINE void viterbi_end(Lattice all, uint8_t *state, size_t length) {
    static const uint8_t before[4][2] = {[B] = {E, S}, [M] = {B, M}, [E] = {B, M}, [S] = {E, S}};
    uint8_t now = all.s >= all.e ? S : E;
    for (size_t at = length; at-- > 0;) {
        uint8_t won = at ? state[at] >> now & 1 : 0;
        state[at] = now;
        now = before[now][won];
    }
}

/* finalseg.viterbi and __cut on a run of Han. */
ALWAYS_INLINE void viterbi(Cutter *cutter, const uint8_t *chunk, uint32_t from, uint32_t to, const int mode) {
    const Hmm *hmm = cutter->table->hmm;
    const uint32_t *code = cutter->code + from;
    uint8_t *state = cutter->state;
    uint32_t length = to - from, begin = 0, given = 0;
    viterbi_end(viterbi_go(hmm, viterbi_begin(hmm, code[0]), code + 1, length - 1, state + 1), state, length);
    for (uint32_t at = 0; at < length; at++) {
        if (state[at] == B)
            begin = at;
        if (state[at] != E && state[at] != S)
            continue;
        if (state[at] == S)
            begin = at;
        give_found(cutter, chunk, from + begin, from + at + 1, mode);
        given = at + 1;
    }
    if (given < length)
        give_found(cutter, chunk, from + given, to, mode);
}

static const uint8_t *while_class(const uint8_t *text, const uint8_t *to, int kind) {
    while (text < to && *text < 128 && ascii_class[*text] & kind)
        text++;
    return text;
}

/* Ends of the pieces of finalseg's re_skip.split: [a-zA-Z0-9]+(?:\.\d+)?%? and what lies between. */
static const uint8_t *piece_end(const uint8_t *from, const uint8_t *to) {
    const uint8_t *at = while_class(from, to, ALNUM);
    if (at == from) {
        while (at < to && *at < 128 && !(ascii_class[*at] & ALNUM))
            at++;
        return at;
    }
    if (at < to && *at == '.') {
        const uint8_t *digits = while_class(at + 1, to, DIGIT);
        at = digits > at + 1 ? digits : at;
    }
    return at < to && *at == '%' ? at + 1 : at;
}

/* finalseg.cut */
ALWAYS_INLINE void final_cut(Cutter *cutter, const uint8_t *chunk, uint32_t from, uint32_t to, const int mode) {
    while (from < to) {
        uint32_t at = from;
        while (at < to && cutter->code[at] >= HAN_FIRST)
            at++;
        if (at > from) {
            viterbi(cutter, chunk, from, at, mode);
        } else {
            const uint8_t *text = chunk + cutter->offset[from];
            at += (uint32_t)(piece_end(text, chunk + cutter->offset[to]) - text);
            give_string(cutter, chunk, from, at, mode);
        }
        from = at;
    }
}

/* What jieba collects in `buf`: characters that the route took one by one. */
ALWAYS_INLINE void give_rest(Cutter *cutter, const uint8_t *chunk, uint32_t from, uint32_t to, const int hmm,
                             const int mode) {
    if (from == to)
        return;
    if (!hmm || to == from + 1) {
        give_string(cutter, chunk, from, to, mode);
        return;
    }
    uint32_t node = find(cutter, from, to);
    if (cutter->table->weight[node_weight(cutter->table->nodes[node])] == -INFINITY)
        final_cut(cutter, chunk, from, to, mode);
    else
        for (; from < to; from++)
            give_character(cutter, from, mode);
}

#endif
