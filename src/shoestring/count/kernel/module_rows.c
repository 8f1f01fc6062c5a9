/* Texts into the kernel, and sorted rows out of it: as columns, as lines. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

static PyObject *bytes_of(const void *data, size_t size) {
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (!bytes)
        return NULL;
    use_huge_pages(PyBytes_AsString(bytes), size);
    memcpy(PyBytes_AsString(bytes), data, size);
    return bytes;
}

PyObject *columns_tuple(Columns *columns) {
    size_t rows = columns->rows * 8;
    PyObject *documents = columns->documents ? bytes_of(columns->documents, rows) : Py_BuildValue("");
    PyObject *result = Py_BuildValue("NNNN", bytes_of(columns->offsets, rows + 8), bytes_of(columns->blob, columns->blob_bytes),
                                     bytes_of(columns->counts, rows), documents);
    columns_free(columns);
    return result;
}

Text *texts_of(PyObject *list, PyObject **kept) {
    *kept = PyList_AsTuple(list);
    if (!*kept)
        return NULL;
    Py_ssize_t count = PyTuple_Size(*kept), at = 0;
    Text *each = malloc(((size_t)count + 1) * sizeof *each);
    for (; each && at < count; at++) {
        PyObject *text = PyTuple_GetItem(*kept, at);
        each[at].bytes = PyUnicode_Check(text) ? PyUnicode_AsUTF8AndSize(text, &each[at].length) : NULL;
        if (!each[at].bytes)
            break;
    }
    if (each && at == count)
        return each;
    if (!each)
        PyErr_NoMemory();
    else if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "texts must be str");
    free(each);
    Py_CLEAR(*kept);
    return NULL;
}

static char *put_number(char *out, uint64_t number) {
    char digits[20];
    int length = 0;
    do
        digits[length++] = (char)('0' + number % 10);
    while (number /= 10);
    while (length)
        *out++ = digits[--length];
    return out;
}

/* Whether none of the bytes is a backslash or below 14, as tab, LF and CR are. */
static int plain(uint64_t eight) {
    const uint64_t each = 0x0101010101010101u, high = each << 7;
    uint64_t backslash = eight ^ each * '\\';
    return !((((eight - each * 14) & ~eight) | ((backslash - each) & ~backslash)) & high);
}

/* `out` has room for eight bytes more than it takes; the text that the word is of ends at `stop`. */
static char *put_escaped(char *out, const char *word, const char *end, const char *stop) {
    for (; word < end; word++) {
        size_t left = (size_t)(end - word), taken = left < 8 ? left : 8;
        if (stop - word >= 8) {
            uint64_t eight;
            memcpy(&eight, word, sizeof eight);
            if (plain(taken < 8 ? eight | UINT64_MAX << 8 * taken : eight)) {
                memcpy(out, word, sizeof eight);
                out += taken;
                word += taken - 1;
                continue;
            }
        }
        char escaped = *word == '\t' ? 't' : *word == '\n' ? 'n' : *word == '\r' ? 'r' : *word == '\\' ? '\\' : 0;
        if (escaped)
            *out++ = '\\';
        *out++ = escaped ? escaped : *word;
    }
    return out;
}

PyObject *to_tsv(PyObject *module, PyObject *args) {
    (void)module;
    const char *offsets, *blob, *counts, *documents;
    Py_ssize_t size, blob_size, counts_size, documents_size, first, last;
    if (!PyArg_ParseTuple(args, "y#y#y#z#nn", &offsets, &size, &blob, &blob_size, &counts, &counts_size, &documents,
                          &documents_size, &first, &last))
        return NULL;
    Py_ssize_t rows = counts_size / 8;
    int64_t from = 0, to = 0, number;
    if (first < 0 || first > last || last > rows || size < (rows + 1) * 8 || (documents && documents_size < rows * 8))
        return PyErr_Format(PyExc_ValueError, "columns of different lengths");
    memcpy(&from, offsets + first * 8, 8);
    memcpy(&to, offsets + last * 8, 8);
    if (from < 0 || to < from || to > blob_size)
        return PyErr_Format(PyExc_ValueError, "an offset is outside of the words");
    char *text = malloc((size_t)(to - from) * 2 + (size_t)(last - first) * 44 + 1), *out = text;
    if (!text)
        return PyErr_NoMemory();
    for (Py_ssize_t row = first; row < last; row++) {
        int64_t end;
        memcpy(&end, offsets + (row + 1) * 8, 8);
        if (end < from || end > to)
            break;
        out = put_escaped(out, blob + from, blob + end, blob + blob_size);
        from = end;
        memcpy(&number, counts + row * 8, 8);
        *out++ = '\t';
        out = put_number(out, (uint64_t)number);
        if (documents) {
            memcpy(&number, documents + row * 8, 8);
            *out++ = '\t';
            out = put_number(out, (uint64_t)number);
        }
        *out++ = '\n';
    }
    PyObject *result = PyBytes_FromStringAndSize(text, out - text);
    free(text);
    return result;
}
