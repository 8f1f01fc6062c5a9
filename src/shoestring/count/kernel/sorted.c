/* Rows of numbers that are sorted by radix, counted and merged: how runs of words become a table.
 *
 * - What waits is sorted some 500,000 keys at a time, in shares that fit a cache, and counted; what comes of it goes on a
 *   stack of sorted rows, where those of like length are merged, so that each row is merged a few times only.
 * - Sorted rows take a third of what a hash table does, which matters for time too: the system clears fresh memory slowly.
 */
#include "grams.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BITS = 11, DIGITS = 1 << MOST_BITS, ID_BITS = 32, SHARE_BITS = 9, MOST_FIELDS = 2 * MOST_KEY + 1, FEW = 1 << 12 };

uint32_t bits_of(uint64_t number) {
    uint32_t bits = 0;
    for (; number; number >>= 1)
        bits++;
    return bits;
}

/* ---- sorting ---- */

/* `rare`: the greatest first, and all that the bits do not hold as one. */
ALWAYS_INLINE size_t digit_of(const uint64_t *row, Field digit, const int rare) {
    uint64_t mask = ((uint64_t)1 << digit.bits) - 1, number = row[digit.number];
    if (rare)
        return (size_t)(mask - (number < mask ? number : mask));
    return (size_t)((number ^ digit.flip) >> digit.shift & mask);
}

/* Hands the rows out by one digit, in order; not if they all have the same one. ends[]: where those of each digit end. */
ALWAYS_INLINE int hand_out(const uint64_t *from, uint64_t *to, size_t length, Field digit, size_t *ends, const uint32_t stride,
                           const int rare) {
    size_t sum = 0;
    memset(ends, 0, sizeof *ends << digit.bits);
    for (size_t at = 0; at < length; at++)
        ends[digit_of(from + at * stride, digit, rare)]++;
    if (!length || ends[digit_of(from, digit, rare)] == length)
        return 0;
    for (size_t each = 0; each < (size_t)1 << digit.bits; each++) {
        size_t here = ends[each];
        ends[each] = sum;
        sum += here;
    }
    for (size_t at = 0; at < length; at++) {
        const uint64_t *row = from + at * stride;
        uint64_t *place = to + stride * ends[digit_of(row, digit, rare)]++;
        for (uint32_t each = 0; each < stride; each++)
            place[each] = row[each];
    }
    return 1;
}

/* The same, made for each stride and each of both kinds. */
static int hand_out_any(const uint64_t *from, uint64_t *to, size_t length, Field digit, size_t *ends, uint32_t stride, int rare) {
#define OF(STRIDE) (rare ? hand_out(from, to, length, digit, ends, STRIDE, 1) : hand_out(from, to, length, digit, ends, STRIDE, 0))
    return stride == 1 ? OF(1) : stride == 2 ? OF(2) : stride == 3 ? OF(3) : OF(MOST_STRIDE);
#undef OF
}

uint64_t *sort_few(uint64_t *from, uint64_t *to, size_t length, uint32_t stride, const Field *fields, uint32_t count) {
    size_t ends[DIGITS];
    for (uint32_t each = 0; each < count; each++) {
        uint32_t bits = fields[each].bits, passes = (bits + MOST_BITS - 1) / MOST_BITS;
        for (uint32_t pass = 0, done = 0; pass < passes; pass++) {
            uint32_t width = (bits - done + passes - pass - 1) / (passes - pass);
            Field digit = {fields[each].number, fields[each].shift + done, width, fields[each].flip};
            done += width;
            if (!hand_out_any(from, to, length, digit, ends, stride, 0))
                continue;
            uint64_t *swapped = from;
            from = to;
            to = swapped;
        }
    }
    return from;
}

uint64_t *sort_many(uint64_t *rows, uint64_t *scratch, size_t length, uint32_t stride, const Field *fields, uint32_t count) {
    size_t ends[1 << SHARE_BITS], begin = 0;
    Field top = fields[count - 1];
    if (length < FEW || !hand_out_any(rows, scratch, length, top, ends, stride, 0))
        return sort_few(rows, scratch, length, stride, fields, count);
    for (size_t share = 0; share < (size_t)1 << top.bits; begin = ends[share++]) {
        uint64_t *from = scratch + begin * stride, *to = rows + begin * stride;
        uint64_t *sorted = sort_few(from, to, ends[share] - begin, stride, fields, count - 1);
        if (sorted == from)
            memcpy(to, from, (ends[share] - begin) * stride * sizeof *to);
    }
    return rows;
}

uint64_t *sort_counts(uint64_t *from, uint64_t *to, size_t length, uint32_t stride, uint32_t number) {
    size_t ends[DIGITS], frequent = 0;
    uint64_t most = 0;
    Field rare = {number, 0, MOST_BITS, 0};
    int moved = hand_out_any(from, to, length, rare, ends, stride, 1);
    uint64_t *sorted = moved ? to : from, *other = moved ? from : to;
    for (; frequent < length && sorted[frequent * stride + number] >= DIGITS - 1; frequent++)
        most |= sorted[frequent * stride + number];
    Field count = {number, 0, bits_of(most), UINT64_MAX};
    if (sort_few(sorted, other, frequent, stride, &count, 1) != sorted)
        memcpy(sorted, other, frequent * stride * sizeof *sorted);
    return sorted;
}

/* The fields of a key, from the least on. Ids are in an order of their own: frequent words have low ones, so those that
 * differ in their lowest bits make the most equal shares; see in_order. */
static uint32_t fields_of(uint32_t key, uint32_t bits, int ranks, Field *fields) {
    uint32_t top = bits < SHARE_BITS ? bits : SHARE_BITS, count = 0;
    Field second = {0, 0, bits, 0}, first = {0, ID_BITS + (ranks ? 0 : top), bits - top, 0};
    if (key == MOST_KEY) {
        fields[count++] = (Field){1, 0, bits, 0};
        fields[count++] = (Field){1, ID_BITS, bits, 0};
    }
    fields[count++] = ranks ? second : first;
    fields[count++] = ranks ? first : second;
    fields[count++] = (Field){0, ID_BITS + (ranks ? bits - top : 0), top, 0};
    return count;
}

static uint64_t in_order(uint64_t ids) { return ids << (ID_BITS - SHARE_BITS) | ids >> (ID_BITS + SHARE_BITS); }

int rows_sort(Rows *rows, const Stack *stack, uint32_t bits, int ranks, int by_count) {
    size_t bytes = rows->length * stack->stride * sizeof *rows->row;
    uint64_t *scratch = malloc(bytes + 1), *sorted;
    if (!scratch)
        return NO_MEMORY;
    use_huge_pages(scratch, bytes);
    Field fields[MOST_FIELDS];
    uint32_t count = fields_of(stack->key, bits, ranks, fields);
    sorted = sort_many(rows->row, scratch, rows->length, stack->stride, fields, count);
    scratch = sorted == rows->row ? scratch : rows->row;
    rows->row = by_count ? sort_counts(sorted, scratch, rows->length, stack->stride, stack->key) : sorted;
    free(rows->row == sorted ? scratch : sorted);
    return OK;
}

/* ---- counting ---- */

ALWAYS_INLINE int same_key(const uint64_t *a, const uint64_t *b, uint32_t key) {
    return !((a[0] ^ b[0]) & ~FIRST) && (key == 1 || a[1] == b[1]);
}

ALWAYS_INLINE void add_up(const uint64_t *keys, size_t length, uint64_t *row, const uint32_t key, const uint32_t stride) {
    row -= stride;
    for (size_t at = 0; at < length; at++) {
        const uint64_t *next = keys + at * key;
        if (!at || !same_key(next, next - key, key)) {
            row += stride;
            for (uint32_t each = 0; each < stride; each++)
                row[each] = each < key ? next[each] : 0;
            row[0] &= ~FIRST;
        }
        row[key]++;
        if (stride > key + 1)
            row[key + 1] += next[0] >> 63;
    }
}

static int count_equal(const Stack *stack, const uint64_t *keys, size_t length, Rows *into) {
    uint32_t key = stack->key, stride = stack->stride;
    size_t distinct = length > 0;
    for (size_t at = 1; at < length; at++)
        distinct += !same_key(keys + at * key, keys + (at - 1) * key, key);
    *into = (Rows){distinct, malloc(distinct * stride * sizeof *into->row + 1)};
    if (!into->row)
        return NO_MEMORY;
    use_huge_pages(into->row, distinct * stride * sizeof *into->row);
    if (key == 1)
        stride == 2 ? add_up(keys, length, into->row, 1, 2) : add_up(keys, length, into->row, 1, 3);
    else
        stride == 3 ? add_up(keys, length, into->row, 2, 3) : add_up(keys, length, into->row, 2, 4);
    return OK;
}

int stack_count(Stack *stack, uint64_t *keys, uint64_t *scratch, size_t length, uint32_t bits) {
    Rows rows;
    Field fields[MOST_FIELDS];
    uint32_t count = fields_of(stack->key, bits, 0, fields);
    keys = sort_many(keys, scratch, length, stack->key, fields, count);
    int done = length ? count_equal(stack, keys, length, &rows) : OK;
    return length && done == OK ? stack_push(stack, &rows) : done;
}

/* ---- merging ---- */

ALWAYS_INLINE int compare(const uint64_t *a, const uint64_t *b, uint32_t key) {
    uint64_t left = in_order(a[0]), right = in_order(b[0]);
    if (left != right || key == 1)
        return (left > right) - (left < right);
    return (a[1] > b[1]) - (a[1] < b[1]);
}

ALWAYS_INLINE size_t merge_rows(const Rows *a, const Rows *b, uint64_t *to, const uint32_t key, const uint32_t stride) {
    const uint64_t *left = a->row, *right = b->row, *begin = to;
    const uint64_t *left_end = left + a->length * stride, *right_end = right + b->length * stride;
    while (left < left_end && right < right_end) {
        int order = compare(left, right, key);
        const uint64_t *first = order <= 0 ? left : right;
        for (uint32_t each = 0; each < stride; each++)
            to[each] = first[each];
        for (uint32_t each = key; each < stride; each++)
            to[each] += order ? 0 : right[each];
        to += stride;
        left += order <= 0 ? stride : 0;
        right += order >= 0 ? stride : 0;
    }
    memcpy(to, left, (size_t)(left_end - left) * sizeof *to);
    to += left_end - left;
    memcpy(to, right, (size_t)(right_end - right) * sizeof *to);
    to += right_end - right;
    return (size_t)(to - begin) / stride;
}

static size_t merge_any(const Rows *a, const Rows *b, uint64_t *to, uint32_t key, uint32_t stride) {
    if (key == 1)
        return stride == 2 ? merge_rows(a, b, to, 1, 2) : merge_rows(a, b, to, 1, 3);
    return stride == 3 ? merge_rows(a, b, to, 2, 3) : merge_rows(a, b, to, 2, 4);
}

/* The two on top become one. */
static int join_two(Stack *stack) {
    Rows *a = &stack->sorted[stack->height - 2], *b = &stack->sorted[stack->height - 1], both;
    size_t bytes = (a->length + b->length) * stack->stride * sizeof *both.row;
    both.row = malloc(bytes + 1);
    if (!both.row)
        return NO_MEMORY;
    use_huge_pages(both.row, bytes);
    both.length = merge_any(a, b, both.row, stack->key, stack->stride);
    free(a->row);
    free(b->row);
    uint64_t *fitting = realloc(both.row, both.length * stack->stride * sizeof *both.row + 1);
    *a = (Rows){both.length, fitting ? fitting : both.row};
    stack->height--;
    return OK;
}

int stack_push(Stack *stack, Rows *rows) {
    int done = OK;
    stack->sorted[stack->height++] = *rows;
    while (done == OK && stack->height > 1 &&
           stack->sorted[stack->height - 2].length < 2 * stack->sorted[stack->height - 1].length)
        done = join_two(stack);
    return done;
}

int stack_join(Stack *stack) {
    int done = OK;
    while (done == OK && stack->height > 1)
        done = join_two(stack);
    return done;
}

uint64_t stack_bytes(const Stack *stack) {
    uint64_t rows = 0;
    for (uint32_t each = 0; each < stack->height; each++)
        rows += stack->sorted[each].length;
    return rows * stack->stride * sizeof(uint64_t);
}

void stack_free(Stack *stack) {
    while (stack->height)
        free(stack->sorted[--stack->height].row);
}
