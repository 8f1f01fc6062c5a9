/* Counts as sorted columns: by code point, or by count and then code point. */
#include "kernel.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t count, prefix, documents; /* prefix: the first 8 bytes, big-endian, so that it orders as they do */
    const uint8_t *key;
    size_t length;
} Row;

static int by_key(const Row *a, const Row *b) {
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix;
    int order = memcmp(a->key, b->key, a->length < b->length ? a->length : b->length);
    return order ? order < 0 : a->length < b->length; /* bytes of UTF-8 order as code points do */
}

ALWAYS_INLINE int before(const Row *a, const Row *b, const int by_count) {
    return by_count && a->count != b->count ? a->count > b->count : by_key(a, b);
}

/* Merge sort: never slow, whatever the input. */
ALWAYS_INLINE void sort(Row *rows, Row *scratch, size_t length, const int by_count) {
    enum { SMALL = 12 };
    for (size_t from = 0; from < length; from += SMALL)
        for (size_t at = from + 1; at < length && at < from + SMALL; at++) {
            Row row = rows[at];
            size_t to = at;
            for (; to > from && before(&row, &rows[to - 1], by_count); to--)
                rows[to] = rows[to - 1];
            rows[to] = row;
        }
    for (size_t width = SMALL; width < length; width *= 2) {
        for (size_t from = 0; from < length; from += 2 * width) {
            size_t middle = from + width < length ? from + width : length;
            size_t stop = from + 2 * width < length ? from + 2 * width : length;
            size_t left = from, right = middle, to = from;
            while (left < middle && right < stop)
                scratch[to++] = before(&rows[right], &rows[left], by_count) ? rows[right++] : rows[left++];
            memcpy(scratch + to, rows + left, (middle - left) * sizeof *rows);
            memcpy(scratch + to + (middle - left), rows + right, (stop - right) * sizeof *rows);
        }
        memcpy(rows, scratch, length * sizeof *rows);
    }
}

static uint64_t big_endian(const uint8_t *key, size_t length) {
    uint64_t word = 0;
    for (size_t at = 0; at < 8; at++)
        word = word << 8 | (at < length ? key[at] : 0);
    return word;
}

static size_t gather(const Counts *counts, uint64_t min_count, Row *rows, uint8_t *spelled) {
    size_t length = 0;
    for (uint64_t at = 0; at <= counts->mask; at++) {
        const Entry *entry = &counts->entries[at];
        if (!entry->count || entry->count < min_count)
            continue;
        Row *row = &rows[length++];
        row->length = counts_key(counts, entry, &row->key);
        row->count = entry->count;
        row->documents = counts->with_documents ? counts->entry_seen[at].documents : 0;
        row->prefix = big_endian(row->key, row->length);
    }
    for (uint32_t code = 0; code < CODE_POINTS; code++) {
        if (!counts->by_code[code] || counts->by_code[code] < min_count)
            continue;
        Row *row = &rows[length++];
        row->key = spelled;
        row->length = utf8_write(spelled, code);
        row->count = counts->by_code[code];
        row->documents = counts->with_documents ? counts->code_seen[code].documents : 0;
        row->prefix = big_endian(row->key, row->length);
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
    columns->blob = malloc(bytes + 1);
    use_huge_pages(columns->offsets, (rows + 1) * sizeof *columns->offsets); /* their first touch costs half as much */
    use_huge_pages(columns->counts, (rows + 1) * sizeof *columns->counts);
    use_huge_pages(columns->blob, bytes);
    if (columns->offsets && columns->counts && columns->blob && (!with_documents || columns->documents))
        return OK;
    columns_free(columns);
    return NO_MEMORY;
}

static int write_columns(const Row *rows, size_t length, int with_documents, Columns *columns) {
    size_t blob = 0;
    for (size_t each = 0; each < length; each++)
        blob += rows[each].length;
    if (columns_start(columns, length, blob, with_documents) != OK)
        return NO_MEMORY;
    size_t place = 0;
    for (size_t each = 0; each < length; each++) {
        columns->offsets[each] = (int64_t)place;
        columns->counts[each] = (int64_t)rows[each].count;
        if (with_documents)
            columns->documents[each] = (int64_t)rows[each].documents;
        memcpy(columns->blob + place, rows[each].key, rows[each].length);
        place += rows[each].length;
    }
    columns->offsets[length] = (int64_t)place;
    return OK;
}

int counts_columns(Counts *counts, int by_count, uint64_t min_count, uint64_t top, Columns *columns) {
    memset(columns, 0, sizeof *columns);
    counts_fold(counts);
    if (counts->failed)
        return NO_MEMORY;
    uint64_t codes = counts_codes(counts), room = counts->used + codes;
    Row *rows = malloc((room + 1) * sizeof *rows), *scratch = malloc((room + 1) * sizeof *rows);
    uint8_t *spelled = malloc(codes * 4 + 4);
    int done = rows && scratch && spelled ? OK : NO_MEMORY;
    if (done == OK) {
        size_t length = gather(counts, min_count, rows, spelled);
        if (by_count)
            sort(rows, scratch, length, 1);
        else
            sort(rows, scratch, length, 0);
        done = write_columns(rows, top && top < length ? top : length, counts->with_documents, columns);
    }
    free(rows);
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
