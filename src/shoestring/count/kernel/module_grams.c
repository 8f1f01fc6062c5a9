/* _kernel.Grams: how often each run of words occurs. */
#include "grams.h"
#include "module.h"

#include <stdlib.h>

typedef struct {
    PyObject_HEAD
    TableObject *table;
    Cutter *cutter;
    Grams grams;
    int used_up;
} GramsObject;

static int stop_words(GramsObject *self, PyObject *stop) {
    Py_ssize_t length;
    for (Py_ssize_t at = 0; at < PyList_Size(stop); at++) {
        const char *word = PyUnicode_AsUTF8AndSize(PyList_GetItem(stop, at), &length);
        if (!word)
            return 0;
        grams_stop(&self->grams, (const uint8_t *)word, (size_t)length);
    }
    return 1;
}

static PyObject *grams_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)kwargs;
    PyObject *table, *stop;
    int documents, shortest, longest, joint;
    if (!PyArg_ParseTuple(args, "OpiipO!", &table, &documents, &shortest, &longest, &joint, &PyList_Type, &stop))
        return NULL;
    int with_table = PyObject_TypeCheck(table, table_type());
    if (!with_table && table != Py_None)
        return PyErr_Format(PyExc_TypeError, "Grams needs a Table or None");
    if (shortest < 1 || longest < shortest || longest > 4)
        return PyErr_Format(PyExc_ValueError, "runs have 1 to 4 words");
    GramsObject *self = (GramsObject *)PyType_GenericAlloc(type, 0);
    if (!self)
        return NULL;
    if (with_table) {
        Py_INCREF(table);
        self->table = (TableObject *)table;
        self->cutter = cutter_new(&self->table->table);
    }
    int done = grams_start(&self->grams, with_table ? &self->table->table : NULL, documents, (uint32_t)shortest,
                           (uint32_t)longest, joint);
    if (done == OK && (!with_table || self->cutter) && stop_words(self, stop))
        return (PyObject *)self;
    Py_DECREF(self);
    return PyErr_Occurred() ? NULL : PyErr_NoMemory();
}

static void grams_dealloc(GramsObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    cutter_free(self->cutter);
    grams_free(&self->grams);
    Py_XDECREF((PyObject *)self->table);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static int feed(PyObject *grams, const char *bytes, Py_ssize_t length, int mode, int lines) {
    GramsObject *self = (GramsObject *)grams;
    const uint8_t *text = (const uint8_t *)bytes;
    size_t size = (size_t)length;
    self->grams.documents += lines ? count_lines(text, size) : size > 0;
    if (mode == CHARACTERS)
        return split_character_runs(text, size, lines, &self->grams);
    if (mode == WHITE_SPACE)
        return split_white_space_runs(text, size, lines, &self->grams);
    return cutter_grams(self->cutter, text, size, mode == WITH_HMM, lines, &self->grams);
}

static int usable(PyObject *grams, int mode) {
    const GramsObject *self = (GramsObject *)grams;
    if (self->used_up)
        PyErr_SetString(PyExc_ValueError, "columns() has used this up");
    else if (mode < NO_HMM || mode > WHITE_SPACE || (!self->cutter && mode < CHARACTERS))
        PyErr_SetString(PyExc_ValueError, "unknown mode, or jieba's mode without a table");
    return !PyErr_Occurred();
}

static PyObject *grams_feed(PyObject *self, PyObject *args) { return feed_bytes(self, args, usable, feed); }

static PyObject *grams_feed_texts(PyObject *self, PyObject *args) { return feed_list(self, args, usable, feed); }

static PyObject *grams_merge_with(GramsObject *self, PyObject *args) {
    GramsObject *other;
    int done;
    if (!PyArg_ParseTuple(args, "O!", Py_TYPE(self), &other))
        return NULL;
    if (other == self || other->table != self->table || other->used_up || self->used_up ||
        other->grams.with_documents != self->grams.with_documents)
        return PyErr_Format(PyExc_ValueError, "merge needs other runs of the same kind and table");
    Py_BEGIN_ALLOW_THREADS;
    done = grams_merge(&self->grams, &other->grams);
    Py_END_ALLOW_THREADS;
    if (done != OK)
        return fail(done);
    Py_RETURN_NONE;
}

static PyObject *grams_columns_of(GramsObject *self, PyObject *args) {
    int by_count, done;
    unsigned long long min_count, top;
    Columns columns;
    if (!PyArg_ParseTuple(args, "pKK", &by_count, &min_count, &top) || !usable((PyObject *)self, CHARACTERS))
        return NULL;
    self->used_up = 1;
    Py_BEGIN_ALLOW_THREADS;
    done = grams_columns(&self->grams, by_count, min_count, top, &columns);
    Py_END_ALLOW_THREADS;
    return done == OK ? columns_tuple(&columns) : fail(done);
}

static PyObject *grams_settled(GramsObject *self, PyObject *unused) {
    (void)unused;
    int done;
    Py_BEGIN_ALLOW_THREADS;
    done = grams_settle(&self->grams);
    Py_END_ALLOW_THREADS;
    if (done != OK)
        return fail(done);
    Py_RETURN_NONE;
}

static PyObject *grams_tokens(GramsObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(self->grams.tokens + self->grams.holding);
}

static PyObject *grams_documents(GramsObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(self->grams.documents);
}

static PyObject *grams_memory(GramsObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(grams_bytes(&self->grams));
}

static PyMethodDef methods[] = {
    {"feed", grams_feed, METH_VARARGS, "feed(text, mode, lines) -> offset of a bad byte or -1"},
    {"feed_texts", grams_feed_texts, METH_VARARGS, "feed_texts(texts, mode)"},
    {"settle", (PyCFunction)grams_settled, METH_NOARGS, "settle(): counts all that waits"},
    {"merge", (PyCFunction)grams_merge_with, METH_VARARGS, "merge(grams)"},
    {"columns", (PyCFunction)grams_columns_of, METH_VARARGS, "columns(by_count, min_count, top); uses it up"},
    {"tokens", (PyCFunction)grams_tokens, METH_NOARGS, "number of runs"},
    {"documents", (PyCFunction)grams_documents, METH_NOARGS, "number of documents that are not empty"},
    {"memory", (PyCFunction)grams_memory, METH_NOARGS, "bytes that grow with the distinct runs"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {{Py_tp_new, grams_new},
                              {Py_tp_dealloc, grams_dealloc},
                              {Py_tp_methods, methods},
                              {Py_tp_doc, "Counts of runs of words."},
                              {0, NULL}};
static PyType_Spec spec = {"shoestring.count._kernel.Grams", sizeof(GramsObject), 0, Py_TPFLAGS_DEFAULT, slots};

PyObject *grams_type_new(void) { return PyType_FromSpec(&spec); }
