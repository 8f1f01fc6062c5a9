/* A decoding step through all blocks, in one call.
 *
 * Each part of it is shared out among the threads, which meet before the next. A number is computed by one thread in one
 * order, so that a row's result depends neither on the threads nor on the other rows. */
#include "step.h"

#include <string.h>

enum { ALIGNED = 64 };

typedef struct {
    const Step *step;
    float *projected[PROJECTIONS], *attended, *gate, *up, *more, *scores;
    void *bits; /* the activations of one product at a time */
    Meeting meeting;
} Run;

static size_t tiles_of(const Weights *w) {
    return (w->outputs + TILE - 1) / TILE;
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* ---- working memory ---- */

static void *taken(uintptr_t *at, size_t bytes) {
    uintptr_t begin = (*at + ALIGNED - 1) / ALIGNED * ALIGNED;
    *at = begin + bytes;
    return (void *)begin;
}

/* Sets where the run keeps its numbers, and returns where they end. Blocks are all of one size. */
static uintptr_t laid_out(Run *run, const Model *m, uintptr_t at, size_t rows, size_t room, size_t threads) {
    const Block *b = m->block;
    size_t inner = b->gate.outputs, attended = m->heads * m->head_dim, row = rows * sizeof(float);
    for (int each = QUERY; each < PROJECTIONS; each++)
        run->projected[each] = taken(&at, row * b->projections[each].outputs);
    run->attended = taken(&at, row * attended);
    run->gate = taken(&at, row * inner);
    run->up = taken(&at, row * inner);
    run->more = taken(&at, row * m->hidden);
    run->scores = taken(&at, threads * room * sizeof(float));
    run->bits = taken(&at, activations_bytes(rows, larger(larger(m->hidden, attended), inner)));
    return at;
}

size_t step_bytes(const Model *model, size_t rows, size_t room, size_t threads) {
    Run run;
    return laid_out(&run, model, 0, rows, room, threads) + ALIGNED;
}

/* ---- products ---- */

static void multiply(const Run *run, const Weights *w, const Activations *x, float *y, size_t begin, size_t end) {
    if (begin < end)
        product_of(w, run->step->level)(w, x, y, begin, end);
}

/* The tiles of all projections are shared out as if they were one's. */
static void project(const Run *run, const Block *b, const Activations *x, size_t part, size_t parts) {
    size_t all = 0, before = 0;
    for (int each = QUERY; each < PROJECTIONS; each++)
        all += tiles_of(b->projections + each);
    size_t begin = all * part / parts, end = all * (part + 1) / parts;
    for (int each = QUERY; each < PROJECTIONS; each++) {
        const Weights *w = b->projections + each;
        size_t after = before + tiles_of(w);
        multiply(run, w, x, run->projected[each], larger(begin, before) - before, (end < after ? end : after) - (end < before ? end : before));
        before = after;
    }
}

/* What the outputs of a part's tiles are, and how many. */
typedef struct {
    size_t begin, end, first, count;
} Share;

static Share share_of(const Weights *w, size_t part, size_t parts) {
    size_t tiles = tiles_of(w), begin = tiles * part / parts, end = tiles * (part + 1) / parts;
    size_t last = end * TILE < w->outputs ? end * TILE : w->outputs, first = begin * TILE < last ? begin * TILE : last;
    return (Share){begin, end, first, last - first};
}

/* x += W of what is in 8 bits. */
static void product_add(Run *run, const Weights *w, size_t part, size_t parts) {
    const Step *s = run->step;
    Activations x = activations_in(run->bits, s->rows, w->inputs);
    Share share = share_of(w, part, parts);
    multiply(run, w, &x, run->more, share.begin, share.end);
    for (size_t row = 0; row < s->rows; row++) {
        size_t at = row * w->outputs + share.first;
        add_of[s->level](s->x + at, run->more + at, share.count);
    }
    meet(&run->meeting, parts);
}

static Activations normed(Run *run, const Norm *norm, size_t part, size_t parts) {
    const Step *s = run->step;
    Activations x = activations_in(run->bits, s->rows, s->model->hidden);
    size_t all = x.rows * x.groups;
    norm_fill_of[s->level](norm, s->x, s->model->hidden, &x, all * part / parts, all * (part + 1) / parts);
    meet(&run->meeting, parts);
    return x;
}

static void rounded(Run *run, const float *values, size_t inputs, size_t part, size_t parts) {
    Activations x = activations_in(run->bits, run->step->rows, inputs);
    size_t all = x.rows * x.groups;
    activations_fill_of[run->step->level](&x, values, inputs, all * part / parts, all * (part + 1) / parts);
    meet(&run->meeting, parts);
}

/* ---- attention ---- */

/* Returns a head of what was projected: those of queries, of keys and of values, counted through. */
static float *head_of(const Run *run, const Block *b, size_t row, size_t head) {
    const Model *m = run->step->model;
    int which = head < m->heads ? QUERY : head < m->heads + m->key_heads ? KEY : VALUE;
    if (b->projections[KEY].outputs == 0)
        return run->projected[QUERY] + row * b->projections[QUERY].outputs + head * m->head_dim;
    head -= which == QUERY ? 0 : which == KEY ? m->heads : m->heads + m->key_heads;
    return run->projected[which] + row * b->projections[which].outputs + head * m->head_dim;
}

/* Returns where the tokens of a head are held. */
static float *held(const Step *s, float *const *blocks, size_t block, size_t row, size_t head) {
    return blocks[block] + (row * s->model->key_heads + head) * s->room * s->model->head_dim;
}

/* Turns queries and keys, and holds keys and values. */
static void turn(Run *run, size_t block, size_t part, size_t parts) {
    const Step *s = run->step;
    const Model *m = s->model;
    const Block *b = m->block + block;
    size_t heads = m->heads + m->key_heads, all = s->rows * heads, bytes = m->head_dim * sizeof(float), new = s->seen * m->head_dim;
    for (size_t at = all * part / parts; at < all * (part + 1) / parts; at++) {
        size_t row = at / heads, head = at % heads, place = row * m->head_dim;
        float *own = head_of(run, b, row, head);
        turn_of[s->level](own, head < m->heads ? &b->query : &b->key, s->cosines ? s->cosines + place : NULL, s->sines ? s->sines + place : NULL, m->head_dim);
        if (head < m->heads)
            continue;
        memcpy(held(s, s->keys, block, row, head - m->heads) + new, own, bytes);
        memcpy(held(s, s->values, block, row, head - m->heads) + new, head_of(run, b, row, head + m->key_heads), bytes);
    }
    meet(&run->meeting, parts);
}

static void attend(Run *run, size_t block, size_t part, size_t parts) {
    const Step *s = run->step;
    const Model *m = s->model;
    const Block *b = m->block + block;
    size_t all = s->rows * m->heads, end = s->seen + 1, windowed = b->window && b->window < end ? end - b->window : 0;
    for (size_t at = all * part / parts; at < all * (part + 1) / parts; at++) {
        size_t row = at / m->heads, head = at % m->heads, shared = head * m->key_heads / m->heads;
        size_t first = larger((size_t)s->pads[row], windowed), skipped = first * m->head_dim;
        attend_of[s->level](head_of(run, b, row, head), held(s, s->keys, block, row, shared) + skipped, held(s, s->values, block, row, shared) + skipped,
                            m->head_dim, end - first, (float)m->scaling, run->scores + part * s->room, run->attended + at * m->head_dim);
    }
    meet(&run->meeting, parts);
}

/* ---- the blocks ---- */

/* The gate's and the other's outputs of one place are the same thread's. */
static void widen(Run *run, const Block *b, const Activations *x, size_t part, size_t parts) {
    const Step *s = run->step;
    Share share = share_of(&b->gate, part, parts);
    multiply(run, &b->gate, x, run->gate, share.begin, share.end);
    if (b->up.outputs)
        multiply(run, &b->up, x, run->up, share.begin, share.end);
    for (size_t row = 0; row < s->rows; row++) {
        size_t at = row * b->gate.outputs + share.first;
        gate_of[s->level](run->gate + at, b->up.outputs ? run->up + at : NULL, share.count, s->model->act);
    }
    meet(&run->meeting, parts);
}

static void work(void *what, size_t part, size_t parts) {
    Run *run = what;
    const Step *s = run->step;
    const Model *m = s->model;
    for (size_t block = 0; block < m->blocks; block++) {
        const Block *b = m->block + block;
        Activations x = normed(run, &b->before_attention, part, parts);
        project(run, b, &x, part, parts);
        meet(&run->meeting, parts);
        turn(run, block, part, parts);
        attend(run, block, part, parts);
        rounded(run, run->attended, b->output.inputs, part, parts);
        product_add(run, &b->output, part, parts);
        x = normed(run, &b->before_mlp, part, parts);
        widen(run, b, &x, part, parts);
        rounded(run, run->gate, b->down.inputs, part, parts);
        product_add(run, &b->down, part, parts);
    }
    for (size_t row = s->rows * part / parts; row < s->rows * (part + 1) / parts; row++)
        norm_row_of[s->level](&m->last, s->x + row * m->hidden, m->hidden);
}

void step_run(const Step *step, void *memory, size_t threads) {
    Run run = {.step = step};
    laid_out(&run, step->model, (uintptr_t)memory, step->rows, step->room, threads);
    in_parallel(work, &run, threads);
}
