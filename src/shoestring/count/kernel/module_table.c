/* _kernel.Table: a compiled dictionary, and words that are kept whole. */
#include "module.h"

enum { SHORT_TEXT = 2000 };

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

static PyMethodDef table_methods[] = {
    {"cut", (PyCFunction)table_cut, METH_VARARGS, "cut(text, hmm) -> list of tokens"},
    {"tokens", (PyCFunction)table_tokens, METH_VARARGS, "tokens(text, hmm) -> how many"},
    {"weights", (PyCFunction)table_weights, METH_NOARGS, "pairs of frequency and weight"},
    {"total", (PyCFunction)table_total, METH_NOARGS, "sum of all frequencies"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot table_slots[] = {{Py_tp_new, table_new},
                                    {Py_tp_dealloc, table_dealloc},
                                    {Py_tp_methods, table_methods},
                                    {Py_tp_doc, "A compiled dictionary."},
                                    {0, NULL}};
static PyType_Spec table_spec = {"shoestring.count._kernel.Table", sizeof(TableObject), 0, Py_TPFLAGS_DEFAULT, table_slots};

static PyTypeObject *type_of_tables;

PyTypeObject *table_type(void) { return type_of_tables; }

PyObject *table_type_new(void) {
    PyObject *type = PyType_FromSpec(&table_spec);
    type_of_tables = (PyTypeObject *)type;
    Py_XINCREF(type);
    return type;
}
