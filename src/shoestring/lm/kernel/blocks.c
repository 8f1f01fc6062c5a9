/* Tokens go through all blocks in one call.
 *
 * Each part of the work is shared out among the threads, which meet before the next. A number is computed by one thread in one
 * order, so that a row's result depends neither on the threads nor on the other rows. */
#include "blocks.h"

#include <string.h>

enum { ALIGNED = 64 };

typedef struct {
    const Reading *reading;
    size_t lines;
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
static uintptr_t laid_out(Run *run, const Model *m, uintptr_t at, size_t lines, size_t room, size_t threads) {
    const Block *b = m->block;
    size_t inner = b->gate.outputs, attended = m->heads * m->head_dim, column = lines * sizeof(float);
    for (int each = QUERY; each < PROJECTIONS; each++)
        run->projected[each] = taken(&at, column * b->projections[each].outputs);
    run->attended = taken(&at, column * attended);
    run->gate = taken(&at, column * inner);
    run->up = taken(&at, column * inner);
    run->more = taken(&at, column * m->hidden);
    run->scores = taken(&at, threads * (lines < QUERIES ? lines : QUERIES) * room * sizeof(float));
    run->bits = taken(&at, activations_bytes(lines, larger(larger(m->hidden, attended), inner)));
    return at;
}

size_t blocks_bytes(const Model *model, size_t lines, size_t room, size_t threads) {
    Run run;
    return laid_out(&run, model, 0, lines, room, threads) + ALIGNED;
}

/* ---- products ---- */

static void multiply(const Run *run, const Weights *w, const Activations *x, float *y, size_t begin, size_t end) {
    if (begin < end)
        product_of(w, run->reading->level)(w, x, y, begin, end);
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
    const Reading *s = run->reading;
    Activations x = activations_in(run->bits, run->lines, w->inputs);
    Share share = share_of(w, part, parts);
    multiply(run, w, &x, run->more, share.begin, share.end);
    for (size_t line = 0; line < run->lines; line++) {
        size_t at = line * w->outputs + share.first;
        add_of[s->level](s->x + at, run->more + at, share.count);
    }
    meet(&run->meeting, parts);
}

static Activations normed(Run *run, const Norm *norm, size_t part, size_t parts) {
    const Reading *s = run->reading;
    Activations x = activations_in(run->bits, run->lines, s->model->hidden);
    size_t all = x.rows * x.groups;
    norm_fill_of[s->level](norm, s->x, s->model->hidden, &x, all * part / parts, all * (part + 1) / parts);
    meet(&run->meeting, parts);
    return x;
}

static void rounded(Run *run, const float *values, size_t inputs, size_t part, size_t parts) {
    Activations x = activations_in(run->bits, run->lines, inputs);
    size_t all = x.rows * x.groups;
    activations_fill_of[run->reading->level](&x, values, inputs, all * part / parts, all * (part + 1) / parts);
    meet(&run->meeting, parts);
}

/* ---- attention ---- */

/* Returns a head of what was projected: those of queries, of keys and of values, counted through. */
static float *head_of(const Run *run, const Block *b, size_t line, size_t head) {
    const Model *m = run->reading->model;
    int which = head < m->heads ? QUERY : head < m->heads + m->key_heads ? KEY : VALUE;
    if (b->projections[KEY].outputs == 0)
        return run->projected[QUERY] + line * b->projections[QUERY].outputs + head * m->head_dim;
    head -= which == QUERY ? 0 : which == KEY ? m->heads : m->heads + m->key_heads;
    return run->projected[which] + line * b->projections[which].outputs + head * m->head_dim;
}

/* Returns where the tokens of a head are held. */
static float *held(const Reading *s, float *const *blocks, size_t block, size_t row, size_t head) {
    return blocks[block] + (row * s->model->key_heads + head) * s->room * s->model->head_dim;
}

/* Turns queries and keys, and holds keys and values. */
static void turn(Run *run, size_t block, size_t part, size_t parts) {
    const Reading *s = run->reading;
    const Model *m = s->model;
    const Block *b = m->block + block;
    size_t heads = m->heads + m->key_heads, all = run->lines * heads, bytes = m->head_dim * sizeof(float);
    for (size_t at = all * part / parts; at < all * (part + 1) / parts; at++) {
        size_t line = at / heads, head = at % heads, angle = line * m->head_dim;
        float *own = head_of(run, b, line, head);
        turn_of[s->level](own, head < m->heads ? &b->query : &b->key, s->cosines ? s->cosines + angle : NULL, s->sines ? s->sines + angle : NULL, m->head_dim);
        if (head < m->heads)
            continue;
        size_t row = line / s->count, place = (s->seen + line % s->count) * m->head_dim;
        memcpy(held(s, s->keys, block, row, head - m->heads) + place, own, bytes);
        memcpy(held(s, s->values, block, row, head - m->heads) + place, head_of(run, b, line, head + m->key_heads), bytes);
    }
    meet(&run->meeting, parts);
}

/* Sets what some tokens of a row see: what stands before them, in the window, and is no padding. */
static void look(Asking *asking, const Reading *s, const Block *b, size_t row, size_t first) {
    size_t left = s->count - first, pads = (size_t)s->pads[row];
    asking->tokens = left < QUERIES ? left : QUERIES;
    for (size_t each = 0; each < asking->tokens; each++) {
        size_t end = s->seen + first + each + 1, begin = b->window && b->window < end ? end - b->window : 0;
        asking->end[each] = larger(end, pads);
        asking->begin[each] = larger(begin, pads);
    }
}

static void attend(Run *run, size_t block, size_t part, size_t parts) {
    const Reading *s = run->reading;
    const Model *m = s->model;
    const Block *b = m->block + block;
    size_t pieces = (s->count + QUERIES - 1) / QUERIES, all = s->rows * m->heads * pieces;
    for (size_t at = all * part / parts; at < all * (part + 1) / parts; at++) {
        size_t row = at / pieces / m->heads, head = at / pieces % m->heads, first = at % pieces * QUERIES;
        size_t line = row * s->count + first, shared = head * m->key_heads / m->heads;
        Asking asking = {.query = head_of(run, b, line, head), .out = run->attended + (line * m->heads + head) * m->head_dim, .size = m->head_dim, .scale = (float)m->scaling};
        asking.query_step = (size_t)(head_of(run, b, 1, head) - head_of(run, b, 0, head));
        asking.out_step = m->heads * m->head_dim;
        look(&asking, s, b, row, first);
        attend_of[s->level](&asking, held(s, s->keys, block, row, shared), held(s, s->values, block, row, shared), run->scores + part * (run->lines < QUERIES ? run->lines : QUERIES) * s->room);
    }
    meet(&run->meeting, parts);
}

/* ---- the blocks ---- */

/* The gate's and the other's outputs of one place are the same thread's. */
static void widen(Run *run, const Block *b, const Activations *x, size_t part, size_t parts) {
    const Reading *s = run->reading;
    Share share = share_of(&b->gate, part, parts);
    multiply(run, &b->gate, x, run->gate, share.begin, share.end);
    if (b->up.outputs)
        multiply(run, &b->up, x, run->up, share.begin, share.end);
    for (size_t line = 0; line < run->lines; line++) {
        size_t at = line * b->gate.outputs + share.first;
        gate_of[s->level](run->gate + at, b->up.outputs ? run->up + at : NULL, share.count, s->model->act);
    }
    meet(&run->meeting, parts);
}

static void work(void *what, size_t part, size_t parts) {
    Run *run = what;
    const Reading *s = run->reading;
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
    for (size_t line = run->lines * part / parts; line < run->lines * (part + 1) / parts; line++)
        norm_row_of[s->level](&m->last, s->x + line * m->hidden, m->hidden);
}

void blocks_run(const Reading *reading, void *memory, size_t threads) {
    Run run = {.reading = reading, .lines = reading->rows * reading->count};
    laid_out(&run, reading->model, (uintptr_t)memory, run.lines, reading->room, threads);
    in_parallel(work, &run, threads);
}
