/* Runs of up to four characters as 64-bit keys, 16 bits of id for each character: counted by sorting, merged, shortened.
 *
 * - Ids follow code points, so keys order as the strings do; zeros follow the end of a run.
 * - Sorting is by radix, on keys with as many bits as the alphabet needs, 13 for Chinese: first the highest 11 bits, then
 *   each share, which fits the cache, from the lowest bits on.
 * - Nothing is spelled here: the caller has the alphabet.
 */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

enum { DIGIT_BITS = 11, DIGITS = 1 << DIGIT_BITS, MOST_IDS = 0xFFFF, WIDTH = 4, ID_BITS = 16,
       MOST_PASSES = (WIDTH * ID_BITS + DIGIT_BITS - 1) / DIGIT_BITS, FEW = 48 };

void packed_free(Keys *keys) {
    free(keys->key);
    free(keys->count);
    memset(keys, 0, sizeof *keys);
}

static int packed_start(Keys *keys, size_t rows) {
    keys->rows = 0;
    keys->key = malloc((rows + 1) * sizeof *keys->key);
    keys->count = malloc((rows + 1) * sizeof *keys->count);
    if (!keys->key || !keys->count)
        return 0;
    use_huge_pages(keys->key, rows * sizeof *keys->key); /* their first touch would take half of the time */
    use_huge_pages(keys->count, rows * sizeof *keys->count);
    return 1;
}

/* ---- characters ---- */

/* Whether the character ends a line, as LF and one CR before it do. */
static int ends_line(const Piece *piece, const uint8_t *at, uint32_t code) {
    if (!piece->lines || code > '\r')
        return 0;
    return code == '\n' || (code == '\r' && at + 1 < piece->text + piece->length && at[1] == '\n');
}

static size_t mark_characters(const Piece *piece, uint32_t *id_of) {
    const uint8_t *at = piece->text, *end = at + piece->length;
    size_t count = 0;
    for (uint32_t code, size; at < end; at += size, count++) {
        size = utf8_read(at, &code);
        if (!ends_line(piece, at, code))
            id_of[code] = 1;
    }
    return count;
}

/* The marked ones in order of their code points; id_of[code] becomes their number from 1 on. */
static void number_characters(uint32_t *id_of, Alphabet *alphabet) {
    alphabet->count = 0;
    for (uint32_t code = 0; code < CODE_POINTS; code++)
        if (id_of[code]) {
            alphabet->code[alphabet->count++] = code;
            id_of[code] = alphabet->count;
        }
}

/* A key for every character, of the run that begins there: from the end, each is the next one's moved by a character. */
static uint64_t *make_keys(const Piece *piece, const uint32_t *id_of, int longest, int bits, uint64_t *key) {
    uint64_t run = 0;
    for (const uint8_t *at = piece->text + piece->length; at > piece->text;) {
        uint32_t code;
        while ((*--at & 0xC0) == 0x80)
            ;
        utf8_read(at, &code);
        if (UNLIKELY(ends_line(piece, at, code))) {
            run = 0;
            continue;
        }
        run = run >> bits | (uint64_t)id_of[code] << bits * (longest - 1);
        *key++ = run;
    }
    return key;
}

/* ---- sorting ---- */

static void insert_keys(uint64_t *keys, size_t length) {
    for (size_t at = 1; at < length; at++) {
        uint64_t key = keys[at];
        size_t to = at;
        for (; to > 0 && keys[to - 1] > key; to--)
            keys[to] = keys[to - 1];
        keys[to] = key;
    }
}

static void ends_to_begins(uint32_t *ends) {
    for (uint32_t digit = 0, sum = 0; digit < DIGITS; digit++) {
        uint32_t here = ends[digit];
        ends[digit] = sum;
        sum += here;
    }
}

/* A stable radix sort of what fits a cache, from the lowest digit on; returns where the keys are then. */
static uint64_t *sort_few(uint64_t *from, uint64_t *to, size_t length, int bits) {
    uint32_t begins[MOST_PASSES][DIGITS];
    int passes = (bits + DIGIT_BITS - 1) / DIGIT_BITS;
    memset(begins, 0, (size_t)passes * sizeof *begins);
    for (size_t at = 0; at < length; at++)
        for (int pass = 0; pass < passes; pass++)
            begins[pass][from[at] >> DIGIT_BITS * pass & (DIGITS - 1)]++;
    for (int pass = 0; pass < passes; pass++) {
        ends_to_begins(begins[pass]);
        for (size_t at = 0; at < length; at++)
            to[begins[pass][from[at] >> DIGIT_BITS * pass & (DIGITS - 1)]++] = from[at];
        uint64_t *swapped = from;
        from = to;
        to = swapped;
    }
    return from;
}

/* Hands the keys out by their highest digit, then sorts each share; they end where they began. */
static void sort_keys(uint64_t *keys, uint64_t *scratch, size_t length, int bits) {
    uint32_t begins[DIGITS] = {0};
    int shift = bits > DIGIT_BITS ? bits - DIGIT_BITS : 0;
    for (size_t at = 0; at < length; at++)
        begins[keys[at] >> shift]++;
    ends_to_begins(begins);
    for (size_t at = 0; at < length; at++)
        scratch[begins[keys[at] >> shift]++] = keys[at];
    for (size_t digit = 0, from = 0; digit < DIGITS; from = begins[digit++]) {
        size_t count = begins[digit] - from;
        uint64_t *sorted = scratch + from;
        if (count < FEW)
            insert_keys(sorted, count);
        else
            sorted = sort_few(sorted, keys + from, count, shift);
        if (sorted != keys + from)
            memcpy(keys + from, sorted, count * sizeof *keys);
    }
}

static uint64_t widened(uint64_t key, int longest, int bits) {
    uint64_t wide = 0;
    for (int place = 0; place < longest; place++)
        wide = wide << ID_BITS | (key >> bits * (longest - 1 - place) & (((uint64_t)1 << bits) - 1));
    return wide << ID_BITS * (WIDTH - longest);
}

/* Equal neighbours become one key, in the place of the keys, and a count. */
static size_t count_equal(uint64_t *key, int64_t *count, size_t length, int longest, int bits) {
    size_t rows = 0;
    for (size_t at = 0, next; at < length; at = next) {
        for (next = at + 1; next < length && key[next] == key[at];)
            next++;
        key[rows] = widened(key[at], longest, bits);
        count[rows++] = (int64_t)(next - at);
    }
    return rows;
}

static int count_pieces(const Piece *pieces, size_t count, int longest, const uint32_t *id_of, int bits, size_t length,
                        Keys *keys) {
    if (length > UINT32_MAX)
        return TOO_LONG;
    if (!packed_start(keys, length))
        return NO_MEMORY;
    uint64_t *end = keys->key;
    for (size_t piece = 0; piece < count; piece++)
        end = make_keys(&pieces[piece], id_of, longest, bits, end);
    length = (size_t)(end - keys->key);
    sort_keys(keys->key, (uint64_t *)keys->count, length, bits * longest);
    keys->rows = count_equal(keys->key, keys->count, length, longest, bits);
    return OK;
}

int packed_count(const Piece *pieces, size_t count, int longest, Alphabet *alphabet, Keys *keys) {
    uint32_t *id_of = calloc(CODE_POINTS, sizeof *id_of);
    size_t length = 0;
    int done = id_of ? OK : NO_MEMORY, bits = 1;
    for (size_t piece = 0; done == OK && piece < count; piece++)
        length += mark_characters(&pieces[piece], id_of);
    if (done == OK)
        number_characters(id_of, alphabet);
    while (done == OK && alphabet->count >> bits)
        bits++;
    if (done == OK && alphabet->count <= MOST_IDS)
        done = count_pieces(pieces, count, longest, id_of, bits, length, keys);
    free(id_of);
    return done;
}

/* ---- merging ---- */

static void put_row(Keys *into, uint64_t key, int64_t count) {
    if (into->rows && into->key[into->rows - 1] == key) {
        into->count[into->rows - 1] += count;
    } else {
        into->key[into->rows] = key;
        into->count[into->rows++] = count;
    }
}

int packed_merge(const Keys *a, const Keys *b, Keys *into) {
    if (!packed_start(into, a->rows + b->rows))
        return NO_MEMORY;
    size_t left = 0, right = 0;
    while (left < a->rows && right < b->rows) {
        int first = a->key[left] <= b->key[right];
        put_row(into, first ? a->key[left] : b->key[right], first ? a->count[left] : b->count[right]);
        left += (size_t)first;
        right += (size_t)!first;
    }
    for (; left < a->rows; left++)
        put_row(into, a->key[left], a->count[left]);
    for (; right < b->rows; right++)
        put_row(into, b->key[right], b->count[right]);
    return OK;
}

int packed_map(const uint16_t *keys, const uint32_t *counts, size_t rows, const uint16_t *map, Keys *into) {
    if (!packed_start(into, rows))
        return NO_MEMORY;
    for (size_t row = 0; row < rows; row++) {
        uint64_t key = 0;
        for (int place = WIDTH; place-- > 0;)
            key = key << ID_BITS | map[keys[WIDTH * row + (size_t)place]];
        into->key[row] = key;
        into->count[row] = counts[row];
    }
    into->rows = rows;
    return OK;
}

/* ---- shorter runs ---- */

static uint64_t prefix(uint64_t key, int length) { return key >> ID_BITS * (WIDTH - length) << ID_BITS * (WIDTH - length); }

static int has_length(uint64_t key, int length) { return (key >> ID_BITS * (WIDTH - length) & MOST_IDS) != 0; }

int packed_lengths(const Keys *keys, int shortest, int longest, Keys *into) {
    size_t open[WIDTH + 1] = {0}; /* row of the present prefix of each length, from 1 on */
    if (!packed_start(into, keys->rows * (size_t)(longest - shortest + 1)))
        return NO_MEMORY;
    for (size_t row = 0; row < keys->rows; row++)
        for (int length = shortest; length <= longest && has_length(keys->key[row], length); length++) {
            uint64_t run = prefix(keys->key[row], length);
            if (!open[length] || into->key[open[length] - 1] != run) {
                into->key[into->rows] = run;
                into->count[into->rows] = 0;
                open[length] = ++into->rows;
            }
            into->count[open[length] - 1] += keys->count[row];
        }
    return OK;
}

/* ---- spelling ---- */

size_t packed_spell(uint64_t key, const uint32_t *alphabet, uint8_t *out) {
    size_t length = 0;
    for (int place = WIDTH - 1; place >= 0 && (key >> ID_BITS * place & MOST_IDS); place--)
        length += utf8_write(out + length, alphabet[(key >> ID_BITS * place & MOST_IDS) - 1]);
    return length;
}
