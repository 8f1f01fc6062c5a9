/* jieba 0.42.1's accurate mode, token for token, with and without HMM.
 *
 * Text is decoded into chunks of about 2,000 characters that end where no block of jieba's re_han goes on. Per
 * chunk, arrays instead of a DAG: (1) the trie is probed for all positions at once, level by level, without
 * branches; (2) one backward pass finds the best route: scores are sums of the same doubles in the same order as
 * jieba's, ties go to the longer word; (3) one forward pass hands the words out. Characters between words are
 * given to jieba's finalseg: runs of Han to the Viterbi decoder, the rest to its regular expression.
 *
 * Each function is compiled six times, for each `hmm` and `mode`, which are constants wherever it is inlined; for that
 * they lie in one file, which is longer than others.
 */
#include "kernel.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 2048, SPARE = 8, STRINGS = QUEUE };
enum Mode { SPANS, COUNT, GRAMS };
#define SEPARATOR 0x80000000u /* on a code: the character is in no block */
#define DEEPER 0x80000000u    /* on a node: it has children */

typedef struct {
    uint64_t *slot;      /* of a word of the trie or a single character; NULL: a string, or a document begins */
    const uint8_t *word; /* a string; NULL: a document begins */
    size_t length;
} Token;

struct Cutter {
    const Table *table;
    uint32_t room;             /* characters that the arrays of a chunk have room for */
    uint32_t *id;              /* character ids; 0: in no word */
    uint32_t *code, *offset;   /* code points; where they begin, in bytes from the chunk */
    uint32_t *second, *third;  /* nodes after two and three characters; 0: none */
    uint32_t *second_base;
    uint32_t *weight1, *weight2, *weight3; /* indices of the weights of words of one, two, three characters */
    double *score;             /* of the best route from here to the end of the block */
    uint32_t *next, *node;     /* where the best word from here ends; its node */
    uint8_t *state;            /* Viterbi: which predecessor won, then which state */
    uint32_t *nodes, *codes;   /* words and single characters found in this chunk */
    uint32_t code_count;
    uint64_t (*strings)[2];    /* other short strings, until STRINGS of them go into the hash together */
    uint32_t string_count;
    uint32_t *ends;            /* SPANS: where each token ends, in characters */
    size_t end_count, end_room, done; /* done: characters before the chunk */
    Counts *counts;
    Grams *grams;
    Token *tokens; /* GRAMS: of this chunk, in order, so that the cache misses of their slots overlap */
    uint32_t token_count;
    int failed, lines;
};

/* ---- memory ---- */

static int resize(void **array, size_t bytes) {
    void *larger = realloc(*array, bytes);
    if (larger)
        *array = larger;
    return larger != NULL;
}

static int make_room(Cutter *cutter, uint32_t room) {
    size_t n = (size_t)room + SPARE;
    int done = resize((void **)&cutter->id, n * 4) && resize((void **)&cutter->code, n * 4) &&
               resize((void **)&cutter->offset, n * 4) && resize((void **)&cutter->second, n * 4) &&
               resize((void **)&cutter->third, n * 4) && resize((void **)&cutter->second_base, n * 4) &&
               resize((void **)&cutter->weight1, n * 4) && resize((void **)&cutter->weight2, n * 4) &&
               resize((void **)&cutter->weight3, n * 4) && resize((void **)&cutter->score, n * 8) &&
               resize((void **)&cutter->next, n * 4) && resize((void **)&cutter->node, n * 4) &&
               resize((void **)&cutter->state, n) && resize((void **)&cutter->nodes, n * 4) &&
               resize((void **)&cutter->codes, n * 4) && resize((void **)&cutter->tokens, n * sizeof(Token));
    if (done)
        cutter->room = room;
    return done;
}

Cutter *cutter_new(const Table *table) {
    Cutter *cutter = calloc(1, sizeof *cutter);
    if (!cutter)
        return NULL;
    cutter->table = table;
    cutter->strings = malloc(STRINGS * sizeof *cutter->strings);
    if (cutter->strings && make_room(cutter, 2 * CHUNK))
        return cutter;
    cutter_free(cutter);
    return NULL;
}

void cutter_free(Cutter *cutter) {
    if (!cutter)
        return;
    void *all[] = {cutter->id,      cutter->code,    cutter->offset, cutter->second, cutter->third, cutter->second_base,
                   cutter->weight1, cutter->weight2, cutter->weight3, cutter->score, cutter->next,  cutter->node,
                   cutter->state,   cutter->nodes,   cutter->codes,  cutter->strings, cutter->ends,  cutter->tokens, cutter};
    for (size_t each = 0; each < sizeof all / sizeof *all; each++)
        free(all[each]);
}

const uint32_t *cutter_ends(const Cutter *cutter) { return cutter->ends; }

/* ---- handing out tokens; positions are characters of the chunk ---- */

static void more_ends(Cutter *cutter) {
    size_t room = cutter->end_room * 2 + 1024;
    if (resize((void **)&cutter->ends, room * sizeof *cutter->ends))
        cutter->end_room = room;
    else
        cutter->failed = 1;
}

ALWAYS_INLINE void end_at(Cutter *cutter, uint32_t to) {
    if (UNLIKELY(cutter->end_count == cutter->end_room))
        more_ends(cutter);
    if (!UNLIKELY(cutter->failed))
        cutter->ends[cutter->end_count++] = (uint32_t)(cutter->done + to);
}

ALWAYS_INLINE void next_token(Cutter *cutter, uint64_t *slot, const uint8_t *word, size_t length) {
    if (slot)
        PREFETCH_WRITE(slot);
    cutter->tokens[cutter->token_count++] = (Token){slot, word, length};
}

static void count_runs(Cutter *cutter) {
    for (uint32_t at = 0; at < cutter->token_count; at++) {
        const Token *token = &cutter->tokens[at];
        if (token->slot)
            grams_word(cutter->grams, token->slot);
        else if (token->word)
            grams_string(cutter->grams, token->word, token->length);
        else
            grams_document(cutter->grams);
    }
    cutter->token_count = 0;
}

ALWAYS_INLINE void give_character(Cutter *cutter, uint32_t at, const int mode) {
    if (mode == SPANS)
        end_at(cutter, at + 1);
    else if (mode == GRAMS)
        next_token(cutter, &cutter->grams->words.by_code[cutter->code[at]], NULL, 0);
    else
        cutter->codes[cutter->code_count++] = cutter->code[at];
}

static void flush_strings(Cutter *cutter) {
    counts_queue(cutter->counts, (const uint64_t(*)[2])cutter->strings, cutter->string_count);
    cutter->string_count = 0;
}

/* The node of a string, 0 if it is not in the trie. */
static uint32_t find(const Cutter *cutter, uint32_t from, uint32_t to) {
    const Node *nodes = cutter->table->nodes;
    uint32_t node = cutter->id[from];
    for (uint32_t at = from + 1; at < to && node; at++) {
        uint32_t child = node_base(nodes[node]) + cutter->id[at];
        node = node_check(nodes[child]) == cutter->id[at] ? child : 0;
    }
    return node;
}

ALWAYS_INLINE void count_string(Cutter *cutter, const uint8_t *chunk, uint32_t from, uint32_t to, const int mode) {
    const uint8_t *key = chunk + cutter->offset[from];
    uint32_t length = cutter->offset[to] - cutter->offset[from];
    if (mode == GRAMS) {
        next_token(cutter, NULL, key, length);
        return;
    }
    if (UNLIKELY(cutter->counts->with_documents)) { /* one place per word, else a document could count twice */
        uint32_t node = find(cutter, from, to);
        if (node) {
            note_node(cutter->counts, node);
            cutter->counts->tokens++;
        } else {
            counts_note(cutter->counts, key, length);
        }
        return;
    }
    if (UNLIKELY(length > 16)) {
        counts_note(cutter->counts, key, length);
        return;
    }
    uint64_t *string = cutter->strings[cutter->string_count];
    string[0] = key_word(key, length < 8 ? length : 8);
    string[1] = length > 8 ? key_word(key + 8, length - 8) : 0;
    if (++cutter->string_count == STRINGS)
        flush_strings(cutter);
}

/* A token that the route did not take from the dictionary. */
ALWAYS_INLINE void give_string(Cutter *cutter, const uint8_t *chunk, uint32_t from, uint32_t to, const int mode) {
    if (to == from + 1)
        give_character(cutter, from, mode);
    else if (mode == SPANS)
        end_at(cutter, to);
    else
        count_string(cutter, chunk, from, to, mode);
}

/* ---- finalseg ---- */

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

/* finalseg.viterbi and __cut on a run of Han. Of two equally good predecessors jieba's max() takes the greater
 * letter: S before E, M before B. */
ALWAYS_INLINE void viterbi(Cutter *cutter, const uint8_t *chunk, uint32_t from, uint32_t to, const int mode) {
    const Hmm *hmm = cutter->table->hmm;
    const double(*t)[4] = hmm->transition, *emit = hmm->emission[cutter->code[from] - HAN_FIRST];
    const double be = t[B][E], bm = t[B][M], me = t[M][E], mm = t[M][M];
    const double eb = t[E][B], es = t[E][S], sb = t[S][B], ss = t[S][S];
    uint8_t *state = cutter->state;
    uint32_t length = to - from;
    double b = hmm->start[B] + emit[B], m = hmm->start[M] + emit[M];
    double e = hmm->start[E] + emit[E], s = hmm->start[S] + emit[S];
    for (uint32_t at = 1; at < length; at++) {
        emit = hmm->emission[cutter->code[from + at] - HAN_FIRST];
        double e_b = e + eb + emit[B], s_b = s + sb + emit[B], b_m = b + bm + emit[M], m_m = m + mm + emit[M];
        double b_e = b + be + emit[E], m_e = m + me + emit[E], e_s = e + es + emit[S], s_s = s + ss + emit[S];
        state[at] = (uint8_t)((s_b >= e_b) << B | (m_m >= b_m) << M | (m_e >= b_e) << E | (s_s >= e_s) << S);
        b = s_b >= e_b ? s_b : e_b;
        m = m_m >= b_m ? m_m : b_m;
        e = m_e >= b_e ? m_e : b_e;
        s = s_s >= e_s ? s_s : e_s;
    }
    static const uint8_t before[4][2] = {[B] = {E, S}, [M] = {B, M}, [E] = {B, M}, [S] = {E, S}};
    uint8_t now = s >= e ? S : E;
    for (uint32_t at = length; at-- > 0;) {
        uint8_t won = at ? state[at] >> now & 1 : 0;
        state[at] = now;
        now = before[now][won];
    }
    uint32_t begin = 0, given = 0;
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

static uint32_t while_alnum(const Cutter *cutter, uint32_t at, uint32_t to, int kind) {
    while (at < to && cutter->code[at] < 128 && ascii_class[cutter->code[at]] & kind)
        at++;
    return at;
}

/* Ends of the pieces of finalseg's re_skip.split: [a-zA-Z0-9]+(?:\.\d+)?%? and what lies between. */
static uint32_t piece_end(const Cutter *cutter, uint32_t from, uint32_t to) {
    const uint32_t *code = cutter->code;
    uint32_t at = while_alnum(cutter, from, to, ALNUM);
    if (at == from) {
        while (at < to && code[at] < 128 && !(ascii_class[code[at]] & ALNUM))
            at++;
        return at;
    }
    if (at < to && code[at] == '.') {
        uint32_t digits = while_alnum(cutter, at + 1, to, DIGIT);
        at = digits > at + 1 ? digits : at;
    }
    return at < to && code[at] == '%' ? at + 1 : at;
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
            at = piece_end(cutter, from, to);
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

/* ---- one chunk ---- */

/* Words of one, two and three characters from every position, without a branch. */
static void probe(Cutter *cutter, uint32_t length) {
    const Node *nodes = cutter->table->nodes;
    const uint32_t *id = cutter->id;
    for (uint32_t at = 0; at < length; at++) {
        Node root = nodes[id[at]];
        uint32_t child = node_base(root) + id[at + 1];
        Node node = nodes[child];
        uint32_t found = 0u - (uint32_t)(node_check(node) == id[at + 1]);
        cutter->weight1[at] = node_weight(root);
        cutter->second[at] = child & found;
        cutter->second_base[at] = node_base(node) & found;
        cutter->weight2[at] = node_weight(node) & found;
    }
    for (uint32_t at = 0; at < length; at++) {
        uint32_t child = cutter->second_base[at] + id[at + 2];
        Node node = nodes[child];
        uint32_t found = 0u - (uint32_t)(node_check(node) == id[at + 2]);
        cutter->third[at] = (child | (node_base(node) ? DEEPER : 0)) & found;
        cutter->weight3[at] = node_weight(node) & found;
    }
}

/* jieba's calc, from the end of the chunk: next[] and node[] of the best route; separators start anew. */
static void find_route(Cutter *cutter, uint32_t length) {
    const Table *table = cutter->table;
    const double *weight = table->weight;
    double *score = cutter->score, after1 = 0, after2 = 0, after3 = 0;
    for (uint32_t at = length; at-- > 0;) {
        uint32_t node = cutter->id[at], size = 1, candidate = cutter->second[at];
        double best = weight[cutter->weight1[at]] + after1, other = weight[cutter->weight2[at]] + after2;
        uint32_t better = 0u - (uint32_t)(other >= best); /* -inf where there is no word; ties to the longer */
        best = best > other ? best : other;
        node ^= (node ^ candidate) & better;
        size += better & 1;
        candidate = cutter->third[at] & ~DEEPER;
        other = weight[cutter->weight3[at]] + after3;
        better = 0u - (uint32_t)(other >= best);
        best = best > other ? best : other;
        node ^= (node ^ candidate) & better;
        size ^= (size ^ 3) & better;
        if (UNLIKELY(cutter->third[at] & DEEPER)) {
            for (uint32_t to = at + 3, parent = candidate;; parent = candidate) {
                candidate = node_base(table->nodes[parent]) + cutter->id[to];
                if (node_check(table->nodes[candidate]) != cutter->id[to])
                    break;
                other = weight[node_weight(table->nodes[candidate])] + score[++to];
                if (other >= best) {
                    best = other;
                    node = candidate;
                    size = to - at;
                }
            }
        }
        if (UNLIKELY(best == -INFINITY)) {
            best = table->header->unknown + after1;
            size = 1;
        }
        if (cutter->code[at] & SEPARATOR)
            best = 0;
        score[at] = best;
        cutter->next[at] = at + size;
        cutter->node[at] = node;
        after3 = after2;
        after2 = after1;
        after1 = best;
    }
}

/* A character outside of all blocks: a token, but CR LF is one, and ends of lines are not counted. */
ALWAYS_INLINE uint32_t give_separator(Cutter *cutter, const uint8_t *chunk, uint32_t at, uint32_t length,
                                      const int mode) {
    uint32_t code = cutter->code[at] & ~SEPARATOR;
    int newline_follows = at + 1 < length && cutter->code[at + 1] == (SEPARATOR | '\n');
    uint32_t next = at + 1 + (code == '\r' && newline_follows);
    if (mode == SPANS) {
        end_at(cutter, next);
    } else if (next == at + 2) {
        if (!cutter->lines)
            count_string(cutter, chunk, at, next, mode);
        else if (mode == GRAMS)
            next_token(cutter, NULL, NULL, 0);
    } else if (mode == GRAMS) {
        if (!cutter->lines || code != '\n')
            next_token(cutter, &cutter->grams->words.by_code[code], NULL, 0);
        else
            next_token(cutter, NULL, NULL, 0);
    } else if (!cutter->lines || code != '\n') {
        cutter->codes[cutter->code_count++] = code;
    }
    return next;
}

static void count_found(Cutter *cutter, uint32_t node_count) {
    Counts *counts = cutter->counts;
    for (uint32_t each = 0; each < node_count; each++)
        note_node(counts, cutter->nodes[each]);
    for (uint32_t each = 0; each < cutter->code_count; each++)
        note_code(counts, cutter->codes[each]);
    counts->tokens += node_count + cutter->code_count;
    cutter->code_count = 0;
}

ALWAYS_INLINE void cut_chunk(Cutter *cutter, const uint8_t *chunk, uint32_t length, const int hmm, const int mode) {
    const uint32_t *code = cutter->code, *next = cutter->next;
    for (uint32_t spare = 0; spare < 4; spare++) { /* probes look three characters ahead */
        cutter->id[length + spare] = 0;
        cutter->score[length + spare] = 0;
    }
    probe(cutter, length);
    find_route(cutter, length);
    uint32_t rest = 0, node_count = 0; /* rest: since where the route has gone character by character */
    for (uint32_t at = 0; at < length;) {
        uint32_t to = next[at];
        if (to > at + 1) {
            give_rest(cutter, chunk, rest, at, hmm, mode);
            if (mode == SPANS)
                end_at(cutter, to);
            else if (mode == GRAMS)
                next_token(cutter, &cutter->grams->words.by_node[cutter->node[at]], NULL, 0);
            else
                cutter->nodes[node_count++] = cutter->node[at];
        } else if (code[at] & SEPARATOR) {
            give_rest(cutter, chunk, rest, at, hmm, mode);
            to = give_separator(cutter, chunk, at, length, mode);
        } else if (!hmm && !(code[at] < 128 && ascii_class[code[at]] & ALNUM)) {
            give_rest(cutter, chunk, rest, at, hmm, mode); /* without HMM only letters and digits are collected */
            give_character(cutter, at, mode);
        } else {
            at = to;
            continue;
        }
        at = rest = to;
    }
    give_rest(cutter, chunk, rest, length, hmm, mode);
    if (mode == COUNT)
        count_found(cutter, node_count);
    if (mode == GRAMS)
        count_runs(cutter);
    cutter->done += length;
}

ALWAYS_INLINE int run(Cutter *cutter, const uint8_t *text, size_t length, const int hmm, const int mode) {
    const uint8_t *end = text + length;
    const uint16_t *id_of = cutter->table->id_of;
    while (text < end) {
        const uint8_t *chunk = text;
        uint32_t n = 0;
        while (text < end) {
            uint32_t code, separator;
            cutter->offset[n] = (uint32_t)(text - chunk);
            text += utf8_read(text, &code);
            separator = in_block(code) ? 0 : SEPARATOR;
            cutter->id[n] = code < 0x10000 ? id_of[code] : 0;
            cutter->code[n++] = code | separator;
            if (UNLIKELY(n >= CHUNK) && separator && code != '\r') /* CR LF stays together */
                break;
            if (UNLIKELY(n >= cutter->room) && !make_room(cutter, cutter->room * 2))
                return NO_MEMORY;
        }
        cutter->offset[n] = (uint32_t)(text - chunk);
        cut_chunk(cutter, chunk, n, hmm, mode);
    }
    if (mode == COUNT)
        flush_strings(cutter);
    int failed = mode == COUNT ? cutter->counts->failed
                 : mode == GRAMS ? cutter->grams->words.failed || cutter->grams->counts.failed
                                 : 0;
    return cutter->failed || failed ? NO_MEMORY : OK;
}

/* A word that is kept whole: a token of its own, whatever jieba would make of its characters. */
static void give_whole(Cutter *cutter, const uint8_t *word, size_t length, int mode) {
    if (mode == COUNT) {
        counts_note(cutter->counts, word, length);
        return;
    }
    if (mode == GRAMS) {
        grams_string(cutter->grams, word, length);
        return;
    }
    for (size_t at = 0; at < length; cutter->done++) {
        uint32_t code;
        at += utf8_read(word + at, &code);
    }
    end_at(cutter, 0);
}

static int run_between(Cutter *cutter, const uint8_t *text, size_t length, int hmm, int mode) {
    if (mode == SPANS)
        return hmm ? run(cutter, text, length, 1, SPANS) : run(cutter, text, length, 0, SPANS);
    if (mode == GRAMS)
        return hmm ? run(cutter, text, length, 1, GRAMS) : run(cutter, text, length, 0, GRAMS);
    return hmm ? run(cutter, text, length, 1, COUNT) : run(cutter, text, length, 0, COUNT);
}

static int run_all(Cutter *cutter, const uint8_t *text, size_t length, int hmm, int mode) {
    const Whole *whole = cutter->table->whole;
    int done = OK;
    for (size_t at = 0, stop = length; whole && at < length && done == OK; at = stop) {
        size_t word = whole_find(whole, text, length, at, &stop);
        if (word == length)
            return run_between(cutter, text + at, length - at, hmm, mode);
        done = run_between(cutter, text + at, word - at, hmm, mode);
        give_whole(cutter, text + word, stop - word, mode);
    }
    return whole ? done : run_between(cutter, text, length, hmm, mode);
}

/* ---- entrances ---- */

int cutter_cut(Cutter *cutter, const uint8_t *text, size_t length, int hmm, size_t *tokens) {
    if (length > INT32_MAX)
        return TOO_LONG;
    cutter->done = cutter->end_count = 0;
    cutter->failed = 0;
    int done = run_all(cutter, text, length, hmm, SPANS);
    *tokens = cutter->end_count;
    return done;
}

static int count_document(Cutter *cutter, const uint8_t *text, size_t length, int hmm) {
    cutter->counts->document++;
    return run_all(cutter, text, length, hmm, COUNT);
}

int cutter_count(Cutter *cutter, const uint8_t *text, size_t length, int hmm, int lines, Counts *counts) {
    if (length > INT32_MAX)
        return TOO_LONG;
    cutter->counts = counts;
    cutter->lines = lines;
    cutter->done = 0;
    cutter->failed = 0;
    if (!lines || !counts->with_documents)
        return count_document(cutter, text, length, hmm);
    int done = OK; /* with document frequencies every line is counted on its own */
    for (const uint8_t *end = text + length; text < end && done == OK;) {
        const uint8_t *newline = memchr(text, '\n', (size_t)(end - text)), *next = newline ? newline + 1 : end;
        done = count_document(cutter, text, (size_t)(next - text), hmm);
        text = next;
    }
    return done;
}

/* Lines are documents: the cutter tells where each one ends. */
int cutter_grams(Cutter *cutter, const uint8_t *text, size_t length, int hmm, int lines, Grams *grams) {
    if (length > INT32_MAX)
        return TOO_LONG;
    cutter->grams = grams;
    cutter->lines = lines;
    cutter->done = 0;
    cutter->failed = 0;
    grams_document(grams);
    return run_all(cutter, text, length, hmm, GRAMS);
}
