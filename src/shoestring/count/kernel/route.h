/* The best route through the dictionary, and its words. */
#ifndef SHOESTRING_ROUTE_H
#define SHOESTRING_ROUTE_H

#include "finalseg.h"

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

/* jieba's calc, from the end of the chunk: next[] and node[] of the best route; separators start anew. score[] has what
 * follows the chunk. */
static void find_route(Cutter *cutter, uint32_t length) {
    const Table *table = cutter->table;
    const double *weight = table->weight;
    double *score = cutter->score, after1 = score[length], after2 = score[length + 1], after3 = score[length + 2];
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

static void count_nodes(Cutter *cutter, uint32_t length) {
    for (uint32_t each = 0; each < length; each++)
        note_node(cutter->counts, cutter->nodes[each]);
    cutter->counts->tokens += length;
}

/* Hands out the words of the route through the chunk. Returns where the characters begin that it took one by one up to
 * the end, and that are not given yet; the last word may end beyond the chunk if more is loaded. */
ALWAYS_INLINE uint32_t follow(Cutter *cutter, const uint8_t *chunk, uint32_t length, const int hmm, const int mode) {
    const uint32_t *code = cutter->code, *next = cutter->next;
    uint32_t rest = 0, node_count = 0;
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
        } else if (!hmm && !is_alnum(code[at])) {
            give_rest(cutter, chunk, rest, at, hmm, mode); /* without HMM only letters and digits are collected */
            give_character(cutter, at, mode);
        } else {
            at = to;
            continue;
        }
        at = rest = to;
    }
    if (mode == COUNT)
        count_nodes(cutter, node_count);
    return rest;
}

#endif
