/* The Python module shoestring.count._kernel.
 *
 *     build(dict_txt: bytes, user: list[(str, int)], hmm: bytes) -> bytes   image; int < 0: suggest a frequency
 *     build_from(freq: dict[str, int], total: int, forced: list[str], hmm: bytes) -> bytes   of a jieba.Tokenizer
 *     Table(image: bytes, whole: list[str])    words that are kept whole; read-only, may be shared by threads
 *         .cut(text: str, hmm: bool) -> list[str]
 *         .tokens(text: bytes, hmm: bool) -> int
 *         .weights() -> list[(int, float)]     frequency and weight, for a check against math.log
 *         .total() -> int                      sum of all frequencies
 *     Counter(table: Table | None, documents: bool)           for one thread at a time
 *         .feed(text: bytes, mode: int, lines: bool) -> int   offset of the first bad byte, -1: all counted
 *         .feed_texts(texts: list[str], mode: int)
 *         .add(word: str, count: int, documents: int)   .merge(counter)   .discard(word: str)
 *         .add_columns(offsets, blob, counts, documents | None)
 *         .columns(by_count: bool, min_count: int, top: int) -> (offsets, blob, counts, documents | None)
 *         .tokens() .documents() .distinct() .memory()
 *     to_tsv(offsets, blob, counts, documents | None, first: int, last: int) -> bytes
 *
 * Modes: 0 jieba without HMM, 1 jieba with HMM, 2 characters, 3 white space. Everything long releases the GIL.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernel.h"

#include <stdlib.h>
#include <string.h>

enum { NO_HMM, WITH_HMM, CHARACTERS, WHITE_SPACE, SHORT_TEXT = 2000 };

typedef struct {
    PyObject_HEAD
    Table table;
    Whole whole;
    Cutter *spare; /* kept from one cut to the next; NULL while a thread has it */
} TableObject;

typedef struct {
    PyObject_HEAD
    TableObject *table;
    Cutter *cutter;
    Counts counts;
} CounterObject;

static PyTypeObject *table_type;

static PyObject *fail(int code) {
    if (code == NO_MEMORY)
        return PyErr_NoMemory();
    const char *text = code == BAD_DICTIONARY         ? "a frequency is out of range"
                       : code == TOO_MANY_FREQUENCIES ? "more than 4,194,303 distinct frequencies"
                       : code == BAD_IMAGE            ? "not a table of this version"
                                                      : "more than 2 GB in one piece";
    PyErr_SetString(PyExc_ValueError, text);
    return NULL;
}

/* ---- build ---- */

static int add_users(Dictionary *dictionary, PyObject *user) {
    for (Py_ssize_t at = 0; at < PyList_Size(user); at++) {
        const char *word;
        Py_ssize_t length;
        long long frequency;
        if (!PyArg_ParseTuple(PyList_GetItem(user, at), "s#L", &word, &length, &frequency))
            return 0;
        int done = dictionary_add(dictionary, (const uint8_t *)word, (size_t)length, frequency);
        if (done != OK) {
            fail(done);
            return 0;
        }
    }
    return 1;
}

static PyObject *build(PyObject *module, PyObject *args) {
    (void)module;
    const char *text, *hmm;
    Py_ssize_t text_length, hmm_length;
    PyObject *user, *result = NULL;
    if (!PyArg_ParseTuple(args, "y#O!y#", &text, &text_length, &PyList_Type, &user, &hmm, &hmm_length))
        return NULL;
    if (hmm_length != sizeof(Hmm) || utf8_first_error((const uint8_t *)text, (size_t)text_length) < (size_t)text_length)
        return PyErr_Format(PyExc_ValueError, "the dictionary is not UTF-8, or the HMM has a wrong size");
    Dictionary dictionary;
    size_t line = 0, bytes = 0;
    uint8_t *image = NULL;
    Hmm *model = malloc(sizeof *model);
    int done = dictionary_start(&dictionary) == OK && model ? OK : NO_MEMORY;
    if (done == OK) {
        memcpy(model, hmm, sizeof *model);
        Py_BEGIN_ALLOW_THREADS;
        done = dictionary_read(&dictionary, (const uint8_t *)text, (size_t)text_length, &line);
        Py_END_ALLOW_THREADS;
    }
    if (done == BAD_DICTIONARY) {
        PyErr_Format(PyExc_ValueError, "line %zu is not \"word frequency tag\"", line);
    } else if (done != OK) {
        fail(done);
    } else if (add_users(&dictionary, user)) {
        Py_BEGIN_ALLOW_THREADS;
        done = table_build(&dictionary, model, &image, &bytes);
        Py_END_ALLOW_THREADS;
        result = done == OK ? PyBytes_FromStringAndSize((const char *)image, (Py_ssize_t)bytes) : fail(done);
    }
    free(image);
    free(model);
    dictionary_free(&dictionary);
    return result;
}

static int put_all(Dictionary *dictionary, PyObject *frequencies, PyObject *forced) {
    PyObject *key, *value;
    Py_ssize_t place = 0, length;
    while (PyDict_Next(frequencies, &place, &key, &value)) {
        const char *word = PyUnicode_AsUTF8AndSize(key, &length);
        long long frequency = word ? PyLong_AsLongLong(value) : -1;
        if (PyErr_Occurred())
            return 0;
        int done = dictionary_put(dictionary, (const uint8_t *)word, (size_t)length, frequency, 0);
        if (done != OK)
            return fail(done), 0;
    }
    if (dictionary->count - 1 != (uint64_t)PyDict_Size(frequencies)) {
        PyErr_SetString(PyExc_ValueError, "a beginning of a word is not in FREQ");
        return 0;
    }
    for (Py_ssize_t at = 0; at < PyList_Size(forced); at++) {
        key = PyList_GetItem(forced, at);
        value = PyDict_GetItem(frequencies, key);
        const char *word = PyUnicode_AsUTF8AndSize(key, &length);
        long long frequency = value ? PyLong_AsLongLong(value) : 0;
        if (!word || dictionary_put(dictionary, (const uint8_t *)word, (size_t)length, frequency, 1) != OK)
            return PyErr_Occurred() ? 0 : (PyErr_NoMemory(), 0);
    }
    return 1;
}

static PyObject *build_from(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *frequencies, *forced, *result = NULL;
    const char *hmm;
    Py_ssize_t hmm_length;
    long long total;
    if (!PyArg_ParseTuple(args, "O!LO!y#", &PyDict_Type, &frequencies, &total, &PyList_Type, &forced, &hmm, &hmm_length))
        return NULL;
    if (hmm_length != sizeof(Hmm) || total < 1 || total > (long long)1 << 62)
        return PyErr_Format(PyExc_ValueError, "the total is out of range, or the HMM has a wrong size");
    Dictionary dictionary;
    size_t bytes = 0;
    uint8_t *image = NULL;
    Hmm *model = malloc(sizeof *model);
    int done = dictionary_start(&dictionary) == OK && model ? OK : NO_MEMORY;
    if (done != OK) {
        fail(done);
    } else if (put_all(&dictionary, frequencies, forced)) {
        memcpy(model, hmm, sizeof *model);
        dictionary.total = total;
        Py_BEGIN_ALLOW_THREADS;
        done = table_build(&dictionary, model, &image, &bytes);
        Py_END_ALLOW_THREADS;
        result = done == OK ? PyBytes_FromStringAndSize((const char *)image, (Py_ssize_t)bytes) : fail(done);
    }
    free(image);
    free(model);
    dictionary_free(&dictionary);
    return result;
}

/* ---- Table ---- */

static PyObject *table_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    const char *image;
    Py_ssize_t length;
    PyObject *whole = NULL;
    if (!PyArg_ParseTuple(args, "y#|O!", &image, &length, &PyList_Type, &whole))
        return NULL;
    TableObject *self = (TableObject *)PyType_GenericAlloc(type, 0);
    if (!self)
        return NULL;
    int done = table_open(&self->table, (const uint8_t *)image, (size_t)length);
    if (done == OK && whole && PyList_Size(whole))
        done = whole_start(&self->whole);
    for (Py_ssize_t at = 0; done == OK && whole && at < PyList_Size(whole); at++) {
        const char *word = PyUnicode_AsUTF8AndSize(PyList_GetItem(whole, at), &length);
        if (!word) {
            Py_DECREF(self);
            return NULL;
        }
        done = whole_add(&self->whole, (const uint8_t *)word, (size_t)length);
        self->table.whole = &self->whole;
    }
    if (done == OK)
        return (PyObject *)self;
    Py_DECREF(self);
    return fail(done);
}

static void table_dealloc(TableObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    cutter_free(self->spare);
    table_close(&self->table);
    whole_free(&self->whole);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

/* The text as UTF-8; lone surrogates are passed as jieba passes them. *owner must be released. */
static const char *as_utf8(PyObject *text, Py_ssize_t *length, PyObject **owner) {
    *owner = NULL;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, length);
    if (bytes || !PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
        return bytes;
    PyErr_Clear();
    *owner = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
    if (!*owner)
        return NULL;
    *length = PyBytes_Size(*owner);
    return PyBytes_AsString(*owner);
}

static PyObject *slices(PyObject *text, const uint32_t *ends, size_t count) {
    PyObject *list = PyList_New((Py_ssize_t)count);
    Py_ssize_t from = 0;
    for (size_t at = 0; list && at < count; at++) {
        PyObject *token = PyUnicode_Substring(text, from, (Py_ssize_t)ends[at]);
        if (!token) {
            Py_CLEAR(list);
        } else {
            PyList_SetItem(list, (Py_ssize_t)at, token);
            from = (Py_ssize_t)ends[at];
        }
    }
    return list;
}

static PyObject *table_cut(TableObject *self, PyObject *args) {
    PyObject *text, *owner, *result = NULL;
    int hmm, done;
    Py_ssize_t length;
    size_t count = 0;
    if (!PyArg_ParseTuple(args, "Up", &text, &hmm))
        return NULL;
    const char *bytes = as_utf8(text, &length, &owner);
    Cutter *cutter = self->spare ? self->spare : cutter_new(&self->table);
    self->spare = NULL;
    if (bytes && !cutter)
        PyErr_NoMemory();
    if (bytes && cutter) {
        if (length < SHORT_TEXT) {
            done = cutter_cut(cutter, (const uint8_t *)bytes, (size_t)length, hmm, &count);
        } else {
            Py_BEGIN_ALLOW_THREADS;
            done = cutter_cut(cutter, (const uint8_t *)bytes, (size_t)length, hmm, &count);
            Py_END_ALLOW_THREADS;
        }
        result = done == OK ? slices(text, cutter_ends(cutter), count) : fail(done);
    }
    if (self->spare)
        cutter_free(cutter);
    else
        self->spare = cutter;
    Py_XDECREF(owner);
    return result;
}

/* Cuts and only says how many tokens there are: what cutting alone costs. */
static PyObject *table_tokens(TableObject *self, PyObject *args) {
    const char *bytes;
    Py_ssize_t length;
    int hmm, done = NO_MEMORY;
    size_t count = 0;
    if (!PyArg_ParseTuple(args, "y#p", &bytes, &length, &hmm))
        return NULL;
    if (utf8_first_error((const uint8_t *)bytes, (size_t)length) < (size_t)length)
        return PyErr_Format(PyExc_ValueError, "not UTF-8");
    Cutter *cutter = cutter_new(&self->table);
    if (cutter) {
        Py_BEGIN_ALLOW_THREADS;
        done = cutter_cut(cutter, (const uint8_t *)bytes, (size_t)length, hmm, &count);
        Py_END_ALLOW_THREADS;
    }
    cutter_free(cutter);
    return done == OK ? PyLong_FromSize_t(count) : fail(done);
}

static PyObject *table_weights(TableObject *self, PyObject *unused) {
    (void)unused;
    const Table *table = &self->table;
    PyObject *list = PyList_New(0);
    for (uint32_t at = 0; list && at < table->header->weights; at++) {
        if (!table->frequency[at])
            continue;
        PyObject *pair = Py_BuildValue("Ld", (long long)table->frequency[at], table->weight[at]);
        if (!pair || PyList_Append(list, pair) < 0)
            Py_CLEAR(list);
        Py_XDECREF(pair);
    }
    return list;
}

static PyObject *table_total(TableObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromLongLong(self->table.header->total);
}

/* ---- Counter ---- */

static PyObject *counter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    PyObject *table;
    int documents;
    if (!PyArg_ParseTuple(args, "Op", &table, &documents))
        return NULL;
    int with_table = PyObject_TypeCheck(table, table_type);
    if (!with_table && table != Py_None)
        return PyErr_Format(PyExc_TypeError, "Counter needs a Table or None");
    CounterObject *self = (CounterObject *)PyType_GenericAlloc(type, 0);
    if (!self)
        return NULL;
    if (with_table) {
        Py_INCREF(table);
        self->table = (TableObject *)table;
        self->cutter = cutter_new(&self->table->table);
    }
    if (counts_start(&self->counts, with_table ? &self->table->table : NULL, documents) == OK &&
        (!with_table || self->cutter))
        return (PyObject *)self;
    Py_DECREF(self);
    return PyErr_NoMemory();
}

static void counter_dealloc(CounterObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    cutter_free(self->cutter);
    counts_free(&self->counts);
    Py_XDECREF((PyObject *)self->table);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static int feed(CounterObject *self, const char *bytes, Py_ssize_t length, int mode, int lines) {
    const uint8_t *text = (const uint8_t *)bytes;
    size_t size = (size_t)length;
    self->counts.documents += lines ? count_lines(text, size) : size > 0;
    if (mode == CHARACTERS)
        return split_characters(text, size, lines, &self->counts);
    if (mode == WHITE_SPACE)
        return split_white_space(text, size, lines, &self->counts);
    return cutter_count(self->cutter, text, size, mode == WITH_HMM, lines, &self->counts);
}

static int good_mode(const CounterObject *self, int mode) {
    if (mode >= NO_HMM && mode <= WHITE_SPACE && (self->cutter || mode >= CHARACTERS))
        return 1;
    PyErr_SetString(PyExc_ValueError, "unknown mode, or jieba's mode without a table");
    return 0;
}

static PyObject *counter_feed(CounterObject *self, PyObject *args) {
    const char *bytes;
    Py_ssize_t length;
    int mode, lines, done = OK;
    size_t error;
    if (!PyArg_ParseTuple(args, "y#ip", &bytes, &length, &mode, &lines) || !good_mode(self, mode))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    error = utf8_first_error((const uint8_t *)bytes, (size_t)length);
    if (error == (size_t)length)
        done = feed(self, bytes, length, mode, lines);
    Py_END_ALLOW_THREADS;
    if (done != OK)
        return fail(done);
    return PyLong_FromSsize_t(error == (size_t)length ? -1 : (Py_ssize_t)error);
}

typedef struct {
    const char *bytes;
    Py_ssize_t length;
} Text;

static PyObject *counter_feed_texts(CounterObject *self, PyObject *args) {
    PyObject *texts;
    int mode, done = OK;
    if (!PyArg_ParseTuple(args, "O!i", &PyList_Type, &texts, &mode) || !good_mode(self, mode))
        return NULL;
    PyObject *kept = PyList_AsTuple(texts); /* owns the texts while the GIL is released */
    if (!kept)
        return NULL;
    Py_ssize_t count = PyTuple_Size(kept), at = 0;
    Text *each = malloc(((size_t)count + 1) * sizeof *each);
    if (!each) {
        Py_DECREF(kept);
        return PyErr_NoMemory();
    }
    for (; at < count; at++) {
        PyObject *text = PyTuple_GetItem(kept, at);
        each[at].bytes = PyUnicode_Check(text) ? PyUnicode_AsUTF8AndSize(text, &each[at].length) : NULL;
        if (!each[at].bytes)
            break;
    }
    if (at == count) {
        Py_BEGIN_ALLOW_THREADS;
        for (at = 0; at < count && done == OK; at++)
            done = feed(self, each[at].bytes, each[at].length, mode, 0);
        Py_END_ALLOW_THREADS;
    } else if (!PyErr_Occurred()) {
        PyErr_SetString(PyExc_TypeError, "texts must be str");
    }
    free(each);
    Py_DECREF(kept);
    if (PyErr_Occurred())
        return NULL;
    if (done != OK)
        return fail(done);
    Py_RETURN_NONE;
}

static PyObject *none_or_memory(const CounterObject *self) {
    if (self->counts.failed)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

/* A single character always lives by code point, so that it has one place. */
static void add(CounterObject *self, const uint8_t *key, size_t length, uint64_t count, uint64_t documents) {
    uint32_t code;
    if (utf8_first_error(key, length) == length && utf8_read(key, &code) == length) {
        self->counts.by_code[code] += count;
        if (self->counts.with_documents)
            self->counts.code_seen[code].documents += documents;
    } else {
        counts_add(&self->counts, key, length, count, documents);
    }
    self->counts.tokens += count;
}

static PyObject *counter_add(CounterObject *self, PyObject *args) {
    const char *word;
    Py_ssize_t length;
    unsigned long long count, documents;
    if (!PyArg_ParseTuple(args, "s#KK", &word, &length, &count, &documents))
        return NULL;
    if (length)
        add(self, (const uint8_t *)word, (size_t)length, count, documents);
    return none_or_memory(self);
}

/* Adds rows first..last of sorted or unsorted columns. */
static PyObject *counter_add_columns(CounterObject *self, PyObject *args) {
    const char *offsets, *blob, *counts, *documents;
    Py_ssize_t size, blob_size, counts_size, documents_size;
    if (!PyArg_ParseTuple(args, "y#y#y#z#", &offsets, &size, &blob, &blob_size, &counts, &counts_size, &documents,
                          &documents_size))
        return NULL;
    Py_ssize_t rows = counts_size / 8;
    if (size < (rows + 1) * 8 || (documents && documents_size < rows * 8))
        return PyErr_Format(PyExc_ValueError, "columns of different lengths");
    int64_t from, to, count, in = 0;
    Py_ssize_t row = 0;
    Py_BEGIN_ALLOW_THREADS;
    memcpy(&from, offsets, 8);
    for (; row < rows && from >= 0; row++, from = to) {
        memcpy(&to, offsets + (row + 1) * 8, 8);
        memcpy(&count, counts + row * 8, 8);
        if (documents)
            memcpy(&in, documents + row * 8, 8);
        if (to <= from || to > blob_size)
            break;
        add(self, (const uint8_t *)blob + from, (size_t)(to - from), (uint64_t)count, (uint64_t)in);
    }
    Py_END_ALLOW_THREADS;
    if (row < rows)
        return PyErr_Format(PyExc_ValueError, "an offset is outside of the words");
    return none_or_memory(self);
}

static PyObject *counter_discard(CounterObject *self, PyObject *args) {
    const char *word;
    Py_ssize_t length;
    if (!PyArg_ParseTuple(args, "s#", &word, &length))
        return NULL;
    counts_discard(&self->counts, (const uint8_t *)word, (size_t)length);
    return none_or_memory(self);
}

static PyObject *counter_merge(CounterObject *self, PyObject *args) {
    CounterObject *other;
    if (!PyArg_ParseTuple(args, "O!", Py_TYPE(self), &other))
        return NULL;
    if (other == self || other->counts.with_documents != self->counts.with_documents)
        return PyErr_Format(PyExc_ValueError, "merge needs another counter of the same kind");
    Py_BEGIN_ALLOW_THREADS;
    counts_merge(&self->counts, &other->counts);
    Py_END_ALLOW_THREADS;
    return none_or_memory(self);
}

static PyObject *counter_columns(CounterObject *self, PyObject *args) {
    int by_count, done;
    unsigned long long min_count, top;
    Columns columns;
    if (!PyArg_ParseTuple(args, "pKK", &by_count, &min_count, &top))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    done = counts_columns(&self->counts, by_count, min_count, top, &columns);
    Py_END_ALLOW_THREADS;
    if (done != OK)
        return fail(done);
    Py_ssize_t rows = (Py_ssize_t)columns.rows * 8;
    PyObject *result =
        columns.documents
            ? Py_BuildValue("y#y#y#y#", (char *)columns.offsets, rows + 8, (char *)columns.blob,
                            (Py_ssize_t)columns.blob_bytes, (char *)columns.counts, rows, (char *)columns.documents, rows)
            : Py_BuildValue("y#y#y#O", (char *)columns.offsets, rows + 8, (char *)columns.blob,
                            (Py_ssize_t)columns.blob_bytes, (char *)columns.counts, rows, Py_None);
    columns_free(&columns);
    return result;
}

static PyObject *counter_tokens(CounterObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(self->counts.tokens);
}

static PyObject *counter_documents(CounterObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(self->counts.documents);
}

static PyObject *counter_distinct(CounterObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(counts_distinct(&self->counts));
}

static PyObject *counter_memory(CounterObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(counts_bytes(&self->counts));
}

/* ---- to_tsv ---- */

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

static char *put_word(char *out, const char *word, const char *end) {
    for (; word < end; word++) {
        char escaped = *word == '\t' ? 't' : *word == '\n' ? 'n' : *word == '\r' ? 'r' : *word == '\\' ? '\\' : 0;
        if (escaped)
            *out++ = '\\';
        *out++ = escaped ? escaped : *word;
    }
    return out;
}

static PyObject *to_tsv(PyObject *module, PyObject *args) {
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
        out = put_word(out, blob + from, blob + end);
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

/* ---- the module ---- */

static PyMethodDef table_methods[] = {
    {"cut", (PyCFunction)table_cut, METH_VARARGS, "cut(text, hmm) -> list of tokens"},
    {"tokens", (PyCFunction)table_tokens, METH_VARARGS, "tokens(text, hmm) -> how many"},
    {"weights", (PyCFunction)table_weights, METH_NOARGS, "pairs of frequency and weight"},
    {"total", (PyCFunction)table_total, METH_NOARGS, "sum of all frequencies"},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef counter_methods[] = {
    {"feed", (PyCFunction)counter_feed, METH_VARARGS, "feed(text, mode, lines) -> offset of a bad byte or -1"},
    {"feed_texts", (PyCFunction)counter_feed_texts, METH_VARARGS, "feed_texts(texts, mode)"},
    {"add", (PyCFunction)counter_add, METH_VARARGS, "add(word, count, documents)"},
    {"add_columns", (PyCFunction)counter_add_columns, METH_VARARGS, "add_columns(offsets, blob, counts, documents)"},
    {"merge", (PyCFunction)counter_merge, METH_VARARGS, "merge(counter)"},
    {"discard", (PyCFunction)counter_discard, METH_VARARGS, "discard(word)"},
    {"columns", (PyCFunction)counter_columns, METH_VARARGS, "columns(by_count, min_count, top)"},
    {"tokens", (PyCFunction)counter_tokens, METH_NOARGS, "number of tokens"},
    {"documents", (PyCFunction)counter_documents, METH_NOARGS, "number of documents that are not empty"},
    {"distinct", (PyCFunction)counter_distinct, METH_NOARGS, "number of distinct tokens"},
    {"memory", (PyCFunction)counter_memory, METH_NOARGS, "bytes that grow with the distinct tokens"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot table_slots[] = {{Py_tp_new, table_new},
                                    {Py_tp_dealloc, table_dealloc},
                                    {Py_tp_methods, table_methods},
                                    {Py_tp_doc, "A compiled dictionary."},
                                    {0, NULL}};
static PyType_Slot counter_slots[] = {{Py_tp_new, counter_new},
                                      {Py_tp_dealloc, counter_dealloc},
                                      {Py_tp_methods, counter_methods},
                                      {Py_tp_doc, "Counts of tokens."},
                                      {0, NULL}};
static PyType_Spec table_spec = {"shoestring.count._kernel.Table", sizeof(TableObject), 0, Py_TPFLAGS_DEFAULT, table_slots};
static PyType_Spec counter_spec = {"shoestring.count._kernel.Counter", sizeof(CounterObject), 0, Py_TPFLAGS_DEFAULT,
                                   counter_slots};

static PyMethodDef functions[] = {
    {"build", build, METH_VARARGS, "build(dict_txt, user, hmm) -> image"},
    {"build_from", build_from, METH_VARARGS, "build_from(freq, total, forced, hmm) -> image"},
    {"to_tsv", to_tsv, METH_VARARGS, "to_tsv(offsets, blob, counts, documents, first, last) -> bytes"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", "The exact jieba kernel.", -1, functions,
                                        NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) {
    PyObject *module = PyModule_Create(&definition);
    PyObject *table = module ? PyType_FromSpec(&table_spec) : NULL, *counter = table ? PyType_FromSpec(&counter_spec) : NULL;
    if (!counter || PyModule_AddObject(module, "Counter", counter) < 0) {
        Py_XDECREF(counter);
        Py_XDECREF(table);
        Py_XDECREF(module);
        return NULL;
    }
    Py_INCREF(table);
    table_type = (PyTypeObject *)table;
    if (PyModule_AddObject(module, "Table", table) < 0) {
        Py_DECREF(table);
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
