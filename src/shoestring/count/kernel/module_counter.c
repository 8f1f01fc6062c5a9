/* _kernel.Counter: how often each word occurs. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    PyObject_HEAD
    TableObject *table;
    Cutter *cutter;
    Counts counts;
} CounterObject;

static PyObject *counter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    PyObject *table;
    int documents;
    if (!PyArg_ParseTuple(args, "Op", &table, &documents))
        return NULL;
    int with_table = PyObject_TypeCheck(table, table_type());
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

static int feed(PyObject *counter, const char *bytes, Py_ssize_t length, int mode, int lines) {
    CounterObject *self = (CounterObject *)counter;
    const uint8_t *text = (const uint8_t *)bytes;
    size_t size = (size_t)length;
    self->counts.documents += lines ? count_lines(text, size) : size > 0;
    if (mode == CHARACTERS)
        return split_characters(text, size, lines, &self->counts);
    if (mode == WHITE_SPACE)
        return split_white_space(text, size, lines, &self->counts);
    return cutter_count(self->cutter, text, size, mode == WITH_HMM, lines, &self->counts);
}

static int usable(PyObject *self, int mode) {
    if (mode >= NO_HMM && mode <= WHITE_SPACE && (((CounterObject *)self)->cutter || mode >= CHARACTERS))
        return 1;
    PyErr_SetString(PyExc_ValueError, "unknown mode, or jieba's mode without a table");
    return 0;
}

static PyObject *counter_feed(PyObject *self, PyObject *args) { return feed_bytes(self, args, usable, feed); }

static PyObject *counter_feed_texts(PyObject *self, PyObject *args) { return feed_list(self, args, usable, feed); }

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
    return columns_tuple(&columns);
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

static PyMethodDef counter_methods[] = {
    {"feed", counter_feed, METH_VARARGS, "feed(text, mode, lines) -> offset of a bad byte or -1"},
    {"feed_texts", counter_feed_texts, METH_VARARGS, "feed_texts(texts, mode)"},
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

static PyType_Slot counter_slots[] = {{Py_tp_new, counter_new},
                                      {Py_tp_dealloc, counter_dealloc},
                                      {Py_tp_methods, counter_methods},
                                      {Py_tp_doc, "Counts of tokens."},
                                      {0, NULL}};
static PyType_Spec counter_spec = {"shoestring.count._kernel.Counter", sizeof(CounterObject), 0, Py_TPFLAGS_DEFAULT,
                                   counter_slots};

PyObject *counter_type_new(void) { return PyType_FromSpec(&counter_spec); }
