/* Runs of characters as 64-bit keys: measuring, counting, merging, spelling. Arrays come and go as bytes. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

/* measure(text) -> (characters, lines that are not empty), or the offset of a byte that is not UTF-8 */
PyObject *packed_measure(PyObject *module, PyObject *args) {
    (void)module;
    const char *bytes;
    Py_ssize_t length;
    size_t error;
    uint64_t characters = 0, lines = 0;
    if (!PyArg_ParseTuple(args, "y#", &bytes, &length))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    error = utf8_first_error((const uint8_t *)bytes, (size_t)length);
    for (Py_ssize_t at = 0; at < length; at++)
        characters += (bytes[at] & 0xC0) != 0x80;
    lines = count_lines((const uint8_t *)bytes, error);
    Py_END_ALLOW_THREADS;
    return error < (size_t)length ? PyLong_FromSize_t(error) : Py_BuildValue("KK", characters, lines);
}

static PyObject *keys_tuple(int done, Keys *keys) {
    Py_ssize_t bytes = (Py_ssize_t)keys->rows * 8;
    PyObject *result = done == OK ? Py_BuildValue("y#y#", (char *)keys->key, bytes, (char *)keys->count, bytes) : fail(done);
    packed_free(keys);
    return result;
}

/* The pieces of a list of (bytes, lines), which *kept owns. */
static Piece *pieces_of(PyObject *list, PyObject **kept) {
    *kept = PyList_AsTuple(list);
    Piece *pieces = *kept ? calloc((size_t)PyTuple_Size(*kept) + 1, sizeof *pieces) : NULL;
    if (*kept && !pieces)
        PyErr_NoMemory();
    for (Py_ssize_t at = 0; pieces && at < PyTuple_Size(*kept); at++) {
        const char *text;
        Py_ssize_t length;
        if (!PyArg_ParseTuple(PyTuple_GetItem(*kept, at), "y#p", &text, &length, &pieces[at].lines))
            break;
        pieces[at].text = (const uint8_t *)text;
        pieces[at].length = (size_t)length;
        if (utf8_first_error(pieces[at].text, pieces[at].length) < pieces[at].length)
            PyErr_SetString(PyExc_ValueError, "not UTF-8");
    }
    if (!PyErr_Occurred())
        return pieces;
    free(pieces);
    Py_CLEAR(*kept);
    return NULL;
}

/* count_keys([(text, lines)], longest) -> (alphabet, keys, counts) */
PyObject *packed_count_keys(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *list, *kept = NULL;
    int longest, done;
    Keys keys = {0};
    if (!PyArg_ParseTuple(args, "O!i", &PyList_Type, &list, &longest))
        return NULL;
    if (longest < 1 || longest > 4)
        return PyErr_Format(PyExc_ValueError, "runs have 1 to 4 characters");
    Piece *pieces = pieces_of(list, &kept);
    Alphabet *alphabet = pieces ? malloc(sizeof *alphabet) : NULL;
    if (!alphabet) {
        free(pieces);
        Py_XDECREF(kept);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    size_t count = (size_t)PyTuple_Size(kept);
    Py_BEGIN_ALLOW_THREADS;
    done = packed_count(pieces, count, longest, alphabet, &keys);
    Py_END_ALLOW_THREADS;
    Py_ssize_t size = (Py_ssize_t)keys.rows * 8;
    PyObject *result = done == OK ? Py_BuildValue("y#y#y#", (char *)alphabet->code, (Py_ssize_t)alphabet->count * 4,
                                                  (char *)keys.key, size, (char *)keys.count, size)
                                  : fail(done);
    free(alphabet);
    free(pieces);
    Py_DECREF(kept);
    packed_free(&keys);
    return result;
}

typedef struct {
    const char *keys, *counts, *map;
    Py_ssize_t size, counts_size, map_size;
} Run;

static int add_run(const Run *run, Keys *sum) {
    Keys mapped = {0}, both = {0};
    const void *keys = run->keys, *counts = run->counts, *map = run->map;
    int done = packed_map(keys, counts, (size_t)run->size / 8, map, &mapped);
    if (done == OK && !sum->rows) {
        packed_free(sum);
        *sum = mapped;
        return OK;
    }
    if (done == OK)
        done = packed_merge(sum, &mapped, &both);
    packed_free(sum);
    packed_free(&mapped);
    *sum = both;
    return done;
}

/* merge_keys([(keys, counts, map)]) -> (keys, counts); counts come with 32 bits; map: 65,536 ids of 16 bits */
PyObject *packed_merge_keys(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *list, *kept;
    if (!PyArg_ParseTuple(args, "O!", &PyList_Type, &list))
        return NULL;
    Keys sum = {0};
    int done = OK;
    kept = PyList_AsTuple(list);
    for (Py_ssize_t at = 0; kept && done == OK && at < PyTuple_Size(kept); at++) {
        Run run;
        if (!PyArg_ParseTuple(PyTuple_GetItem(kept, at), "y#y#y#", &run.keys, &run.size, &run.counts, &run.counts_size,
                              &run.map, &run.map_size))
            break;
        if (run.counts_size / 4 != run.size / 8 || run.map_size != 65536 * 2) {
            PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
            break;
        }
        Py_BEGIN_ALLOW_THREADS;
        done = add_run(&run, &sum);
        Py_END_ALLOW_THREADS;
    }
    Py_XDECREF(kept);
    if (PyErr_Occurred()) {
        packed_free(&sum);
        return NULL;
    }
    return keys_tuple(done, &sum);
}

static int keys_of(const char *keys, Py_ssize_t size, const char *counts, Py_ssize_t counts_size, Keys *all) {
    *all = (Keys){(size_t)size / 8, (uint64_t *)(uintptr_t)keys, (int64_t *)(uintptr_t)counts};
    if (size == counts_size)
        return 1;
    PyErr_SetString(PyExc_ValueError, "arrays of different lengths");
    return 0;
}

/* key_lengths(keys, counts, shortest, longest) -> (keys, counts) of their prefixes of these lengths */
PyObject *packed_key_lengths(PyObject *module, PyObject *args) {
    (void)module;
    const char *keys, *counts;
    Py_ssize_t size, counts_size;
    int shortest, longest, done;
    Keys all, into = {0};
    if (!PyArg_ParseTuple(args, "y#y#ii", &keys, &size, &counts, &counts_size, &shortest, &longest) ||
        !keys_of(keys, size, counts, counts_size, &all))
        return NULL;
    if (shortest < 1 || longest < shortest || longest > 4)
        return PyErr_Format(PyExc_ValueError, "runs have 1 to 4 characters");
    Py_BEGIN_ALLOW_THREADS;
    done = packed_lengths(&all, shortest, longest, &into);
    Py_END_ALLOW_THREADS;
    return keys_tuple(done, &into);
}

/* spell_keys(keys, alphabet) -> (offsets, words) */
PyObject *packed_spell_keys(PyObject *module, PyObject *args) {
    (void)module;
    const char *keys, *alphabet;
    Py_ssize_t size, alphabet_size;
    if (!PyArg_ParseTuple(args, "y#y#", &keys, &size, &alphabet, &alphabet_size))
        return NULL;
    size_t rows = (size_t)size / 8, ids = (size_t)alphabet_size / 4;
    const uint16_t *id = (const uint16_t *)(const void *)keys;
    for (size_t at = 0; at < rows * 4; at++)
        if (id[at] > ids)
            return PyErr_Format(PyExc_ValueError, "an id is not in the alphabet");
    int64_t *offsets = malloc((rows + 1) * sizeof *offsets);
    uint8_t *words = malloc(rows * 16 + 16);
    size_t end = 0;
    for (size_t row = 0; offsets && words && row < rows; row++) {
        uint64_t key;
        memcpy(&key, keys + 8 * row, 8);
        offsets[row] = (int64_t)end;
        end += packed_spell(key, (const uint32_t *)(const void *)alphabet, words + end);
    }
    if (offsets)
        offsets[rows] = (int64_t)end;
    PyObject *result = offsets && words ? Py_BuildValue("y#y#", (char *)offsets, (Py_ssize_t)(rows + 1) * 8, (char *)words,
                                                        (Py_ssize_t)end)
                                        : PyErr_NoMemory();
    free(offsets);
    free(words);
    return result;
}
