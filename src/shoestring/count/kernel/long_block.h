/* A block that is longer than a chunk, such as a book without punctuation or a line of base64, in bounded memory.
 *
 * - The route is found from the end of the block on, window by window: a score depends on what follows only as far as
 *   the longest word reaches, so the scores of as many characters behind a window carry all of it on, to the last bit.
 * - They are kept for every window; a second pass, from the front, finds each window's route again and hands it out.
 * - Characters that the route took one by one wait for the next window. A run of them that outgrows a window can be no
 *   word of the dictionary; it is read from the text, and the HMM keeps a byte for each of its characters.
 */
#ifndef SHOESTRING_LONG_BLOCK_H
#define SHOESTRING_LONG_BLOCK_H

#include "route.h"

typedef struct {
    const uint8_t *from, *to; /* the block */
    uint32_t window, ahead;   /* characters that are scored at a time; that a word can reach behind them */
    const uint8_t **stop;     /* ends of the windows, from the last one to the first */
    double *score;            /* of `ahead` characters from each of them on */
    size_t windows;
} Block;

static const uint8_t *block_end(const uint8_t *text, const uint8_t *end) {
    for (uint32_t code, size; text < end; text += size) {
        size = utf8_read(text, &code);
        if (!in_block(code))
            break;
    }
    return text;
}

static size_t count_characters(const uint8_t *from, const uint8_t *to) {
    size_t count = 0;
    for (; from < to; from++)
        count += (*from & 0xC0) != 0x80;
    return count;
}

static int block_start(Cutter *cutter, Block *block, const uint8_t *from, const uint8_t *to) {
    uint32_t longest = cutter->table->header->longest;
    size_t characters = count_characters(from, to);
    block->from = from;
    block->to = to;
    block->ahead = longest < characters ? longest : (uint32_t)characters;
    block->window = block->ahead < CHUNK ? CHUNK : block->ahead + 1;
    block->windows = characters / block->window + 1;
    block->stop = malloc(block->windows * sizeof *block->stop);
    block->score = malloc((block->windows * block->ahead + 1) * sizeof *block->score);
    uint32_t room = 2 * block->window + block->ahead;
    return block->stop && block->score && (room <= cutter->room || make_room(cutter, room));
}

/* Decodes the characters from..to into the arrays, and `ahead` behind them; returns how many the former are. */
static uint32_t load(Cutter *cutter, const uint8_t *from, const uint8_t *to, const uint8_t *end, uint32_t ahead) {
    const uint16_t *id_of = cutter->table->id_of;
    const uint8_t *text = from;
    uint32_t n = 0, length = 0;
    for (; text < end && (text < to || n < length + ahead); n++) {
        length += text < to;
        cutter->offset[n] = (uint32_t)(text - from);
        text += utf8_read(text, &cutter->code[n]);
        cutter->id[n] = cutter->code[n] < 0x10000 ? id_of[cutter->code[n]] : 0;
    }
    cutter->offset[n] = (uint32_t)(text - from);
    for (uint32_t spare = 0; spare < 4; spare++)
        cutter->id[n + spare] = 0;
    return length;
}

/* The route of a window that ends where the index says, from any character on. */
static uint32_t window_route(Cutter *cutter, const Block *block, const uint8_t *from, size_t index) {
    uint32_t length = load(cutter, from, block->stop[index], block->to, block->ahead);
    memcpy(cutter->score + length, block->score + index * block->ahead, block->ahead * sizeof *cutter->score);
    for (uint32_t spare = block->ahead; spare < 3; spare++)
        cutter->score[length + spare] = 0;
    probe(cutter, length);
    find_route(cutter, length);
    return length;
}

/* The pass from the end of the block to its front. */
static void score_windows(Cutter *cutter, Block *block) {
    const uint8_t *stop = block->to;
    for (size_t index = 0;; index++) {
        const uint8_t *from = stop;
        for (uint32_t back = 0; from > block->from && back < block->window; from--)
            back += (from[-1] & 0xC0) != 0x80;
        block->stop[index] = stop;
        if (!index)
            memset(block->score, 0, block->ahead * sizeof *block->score);
        block->windows = index + 1;
        if (from == block->from)
            return;
        window_route(cutter, block, from, index);
        memcpy(block->score + (index + 1) * block->ahead, cutter->score, block->ahead * sizeof *block->score);
        stop = from;
    }
}

/* ---- runs of characters that outgrow a window ---- */

/* A token of any length; `found` by the HMM. */
static void give_text(Cutter *cutter, const Block *block, const uint8_t *from, const uint8_t *to, int found, int mode) {
    size_t characters = count_characters(from, to);
    if (characters < block->window) {
        uint32_t length = load(cutter, from, to, to, 0);
        if (found)
            give_found(cutter, from, 0, length, mode);
        else
            give_string(cutter, from, 0, length, mode);
    } else if (mode == SPANS) {
        end_at(cutter, (uint32_t)characters);
    } else if (mode == GRAMS) {
        next_token(cutter, NULL, from, (size_t)(to - from));
    } else {
        counts_note(cutter->counts, from, (size_t)(to - from));
    }
    cutter->done += characters;
    if (cutter->code_count >= CHUNK || cutter->token_count >= CHUNK)
        flush(cutter, mode);
}

/* finalseg.viterbi and __cut on a run of Han, whose states take a byte each. */
static void viterbi_text(Cutter *cutter, const Block *block, const uint8_t *from, const uint8_t *to, int mode) {
    const Hmm *hmm = cutter->table->hmm;
    size_t length = (size_t)(to - from) / 3, at = 1; /* Han have three bytes */
    uint8_t *state = malloc(length);
    if (!state) {
        cutter->failed = 1;
        return;
    }
    load(cutter, from, from + 3, from + 3, 0);
    Lattice all = viterbi_begin(hmm, cutter->code[0]);
    for (uint32_t loaded; at < length; at += loaded) {
        const uint8_t *stop = length - at > CHUNK ? from + 3 * (at + CHUNK) : to;
        loaded = load(cutter, from + 3 * at, stop, stop, 0);
        all = viterbi_go(hmm, all, cutter->code, loaded, state + at);
    }
    viterbi_end(all, state, length);
    size_t given = 0;
    for (at = 0; at < length; at++)
        if (state[at] == E || state[at] == S || at + 1 == length) {
            give_text(cutter, block, from + 3 * given, from + 3 * (at + 1), 1, mode);
            given = at + 1;
        }
    free(state);
}

static void give_run(Cutter *cutter, const Block *block, const uint8_t *from, const uint8_t *to, int hmm, int mode) {
    for (const uint8_t *at = from; from < to; from = at) {
        while (hmm && at < to && *at >= 0x80)
            at++;
        if (at > from) {
            viterbi_text(cutter, block, from, at, mode);
        } else {
            at = hmm ? piece_end(from, to) : to;
            give_text(cutter, block, from, at, 0, mode);
        }
    }
    flush(cutter, mode);
}

/* How far the window's route goes on character by character from its beginning. */
static uint32_t run_end(const Cutter *cutter, uint32_t length, int hmm) {
    uint32_t at = 0;
    while (at < length && cutter->next[at] == at + 1 && (hmm || is_alnum(cutter->code[at])))
        at++;
    return at;
}

/* ---- the pass from the front ---- */

static void give_windows(Cutter *cutter, const Block *block, int hmm, int mode) {
    const uint8_t *begin = block->from, *run = NULL; /* of the window; of a run that has outgrown one */
    for (size_t index = block->windows; index-- > 0 && begin < block->to;) {
        uint32_t length = window_route(cutter, block, begin, index);
        if (run) {
            uint32_t at = run_end(cutter, length, hmm);
            begin += cutter->offset[at];
            if (at == length && index)
                continue;
            give_run(cutter, block, run, begin, hmm, mode);
            run = NULL;
            length = window_route(cutter, block, begin, index);
        }
        uint32_t rest = follow(cutter, begin, length, hmm, mode);
        if (!index) {
            give_rest(cutter, begin, rest, length, hmm, mode);
            rest = length;
        }
        flush(cutter, mode);
        cutter->done += rest;
        begin += cutter->offset[rest];
        if (rest < length && length - rest >= block->window) {
            run = begin;
            begin = block->stop[index];
        }
    }
}

static void cut_block(Cutter *cutter, const uint8_t *from, const uint8_t *to, int hmm, int mode) {
    Block block;
    if (block_start(cutter, &block, from, to)) {
        score_windows(cutter, &block);
        give_windows(cutter, &block, hmm, mode);
    } else {
        cutter->failed = 1;
    }
    free(block.stop);
    free(block.score);
}

#endif
