/* Counts as sorted columns: by code point, or by count and then code point. */
#include "grams.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t documents;
    const uint8_t *key;
    size_t length;
} Row;

/* What is sorted: the first 8 bytes of a row's key, big-endian, so that they order as they do; its place; its count. */
enum { PREFIX, PLACE, COUNT_OF, STRIDE, TOP_BITS = 9, REST_BITS = 64 - TOP_BITS };

static int by_key(const Row *a, const Row *b) {
    int order = memcmp(a->key, b->key, a->length < b->length ? a->length : b->length);
    return order ? order < 0 : a->length < b->length; /* bytes of UTF-8 order as code points do */
}

static void move(uint64_t *to, const uint64_t *from) { memcpy(to, from, STRIDE * sizeof *to); }

/* Merge sort of those that begin alike: never slow, whatever the input. */
static void sort_alike(const Row *rows, uint64_t *sorted, uint64_t *scratch, size_t length) {
    size_t middle = length / 2, left = 0, right = middle, to = 0;
    if (length < 2)
        return;
    sort_alike(rows, sorted, scratch, middle);
    sort_alike(rows, sorted + middle * STRIDE, scratch, length - middle);
    memcpy(scratch, sorted, middle * STRIDE * sizeof *scratch);
    while (left < middle && right < length)
        if (by_key(&rows[sorted[right * STRIDE + PLACE]], &rows[scratch[left * STRIDE + PLACE]]))
            move(sorted + to++ * STRIDE, sorted + right++ * STRIDE);
        else
            move(sorted + to++ * STRIDE, scratch + left++ * STRIDE);
    memcpy(sorted + to * STRIDE, scratch + left * STRIDE, (middle - left) * STRIDE * sizeof *scratch);
}

/* By radix: first by the first 8 bytes, those that begin alike by their keys, then by count. Returns where they are. */
static uint64_t *sort(const Row *rows, uint64_t *from, uint64_t *scratch, size_t length, int by_count) {
    const Field key[2] = {{PREFIX, 0, REST_BITS, 0}, {PREFIX, REST_BITS, TOP_BITS, 0}};
    uint64_t *sorted = sort_many(from, scratch, length, STRIDE, key, 2);
    uint64_t *other = sorted == from ? scratch : from;
    for (size_t at = 0, end; at < length; at = end) {
        for (end = at + 1; end < length && sorted[end * STRIDE + PREFIX] == sorted[at * STRIDE + PREFIX];)
            end++;
        sort_alike(rows, sorted + at * STRIDE, other, end - at);
    }
    return by_count ? sort_counts(sorted, other, length, STRIDE, COUNT_OF) : sorted;
}

static uint64_t big_endian(const uint8_t *key, size_t length) {
    uint64_t word = 0;
    for (size_t at = 0; at < 8; at++)
        word = word << 8 | (at < length ? key[at] : 0);
    return word;
}

static void put(Row *row, uint64_t *sorted, size_t place, uint64_t count) {
    sorted[PREFIX] = big_endian(row->key, row->length);
    sorted[PLACE] = place;
    sorted[COUNT_OF] = count;
}

static size_t gather(const Counts *counts, uint64_t min_count, Row *rows, uint64_t *sorted, uint8_t *spelled) {
    size_t length = 0;
    for (uint64_t at = 0; at <= counts->mask; at++) {
        const Entry *entry = &counts->entries[at];
        if (!entry->count || entry->count < min_count)
            continue;
        Row *row = &rows[length];
        row->length = counts_key(counts, entry, &row->key);
        row->documents = counts->with_documents ? counts->entry_seen[at].documents : 0;
        put(row, sorted + length * STRIDE, length, entry->count);
        length++;
    }
    for (uint32_t code = 0; code < CODE_POINTS; code++) {
        if (!counts->by_code[code] || counts->by_code[code] < min_count)
            continue;
        Row *row = &rows[length];
        *row = (Row){counts->with_documents ? counts->code_seen[code].documents : 0, spelled, utf8_write(spelled, code)};
        put(row, sorted + length * STRIDE, length, counts->by_code[code]);
        length++;
        spelled += 4;
    }
    return length;
}

int columns_start(Columns *columns, uint64_t rows, size_t bytes, int with_documents) {
    columns->rows = rows;
    columns->blob_bytes = bytes;
    columns->offsets = malloc((rows + 1) * sizeof *columns->offsets);
    columns->counts = malloc((rows + 1) * sizeof *columns->counts);
    columns->documents = with_documents ? malloc((rows + 1) * sizeof *columns->documents) : NULL;
    columns->blob = malloc(bytes + SHORT);
    use_huge_pages(columns->offsets, (rows + 1) * sizeof *columns->offsets); /* their first touch costs half as much */
    use_huge_pages(columns->counts, (rows + 1) * sizeof *columns->counts);
    use_huge_pages(columns->blob, bytes);
    if (columns->offsets && columns->counts && columns->blob && (!with_documents || columns->documents))
        return OK;
    columns_free(columns);
    return NO_MEMORY;
}

static int write_columns(const Row *rows, const uint64_t *sorted, size_t length, int with_documents, Columns *columns) {
    size_t blob = 0;
    for (size_t each = 0; each < length; each++)
        blob += rows[sorted[each * STRIDE + PLACE]].length;
    if (columns_start(columns, length, blob, with_documents) != OK)
        return NO_MEMORY;
    size_t place = 0;
    for (size_t each = 0; each < length; each++) {
        const Row *row = &rows[sorted[each * STRIDE + PLACE]];
        columns->offsets[each] = (int64_t)place;
        columns->counts[each] = (int64_t)sorted[each * STRIDE + COUNT_OF];
        if (with_documents)
            columns->documents[each] = (int64_t)row->documents;
        place = (size_t)(put_word(columns->blob + place, row->key, row->length) - columns->blob);
    }
    columns->offsets[length] = (int64_t)place;
    return OK;
}

int counts_columns(Counts *counts, int by_count, uint64_t min_count, uint64_t top, Columns *columns) {
    memset(columns, 0, sizeof *columns);
    counts_fold(counts);
    if (counts->failed)
        return NO_MEMORY;
    uint64_t codes = counts_codes(counts), room = counts->used + codes + 1;
    size_t bytes = room * STRIDE * sizeof(uint64_t);
    Row *rows = malloc(room * sizeof *rows);
    uint64_t *from = malloc(bytes), *scratch = malloc(bytes);
    uint8_t *spelled = malloc(codes * 4 + SHORT);
    int done = rows && from && scratch && spelled ? OK : NO_MEMORY;
    if (done == OK) {
        use_huge_pages(rows, room * sizeof *rows);
        use_huge_pages(from, bytes);
        use_huge_pages(scratch, bytes);
        size_t length = gather(counts, min_count, rows, from, spelled);
        const uint64_t *sorted = sort(rows, from, scratch, length, by_count);
        done = write_columns(rows, sorted, top && top < length ? top : length, counts->with_documents, columns);
    }
    free(rows);
    free(from);
    free(scratch);
    free(spelled);
    return done;
}

void columns_free(Columns *columns) {
    free(columns->offsets);
    free(columns->counts);
    free(columns->documents);
    free(columns->blob);
    memset(columns, 0, sizeof *columns);
}
