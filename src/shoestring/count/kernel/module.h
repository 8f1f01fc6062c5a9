/* What the parts of the Python module share; module.c has its contents. */
#ifndef SHOESTRING_MODULE_H
#define SHOESTRING_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernel.h"

enum { NO_HMM, WITH_HMM, CHARACTERS, WHITE_SPACE }; /* modes of cutting */

typedef struct {
    PyObject_HEAD
    Table table;
    Whole whole;
    Cutter *spare; /* kept from one cut to the next; NULL while a thread has it */
} TableObject;

typedef struct {
    const char *bytes;
    Py_ssize_t length;
} Text;

typedef int (*Usable)(PyObject *self, int mode); /* sets an exception if not */
typedef int (*Feed)(PyObject *self, const char *text, Py_ssize_t size, int mode, int lines);

PyObject *feed_bytes(PyObject *self, PyObject *args, Usable usable, Feed feed); /* (text, mode, lines) */
PyObject *feed_list(PyObject *self, PyObject *args, Usable usable, Feed feed);  /* (texts, mode) */

PyTypeObject *table_type(void); /* borrowed; made on first use */
PyObject *table_type_new(void);
PyObject *counter_type_new(void);
PyObject *grams_type_new(void);

PyObject *build(PyObject *module, PyObject *args);
PyObject *build_from(PyObject *module, PyObject *args);
PyObject *digest_bytes(PyObject *module, PyObject *args);
PyObject *to_tsv(PyObject *module, PyObject *args);
PyObject *packed_measure(PyObject *module, PyObject *args);
PyObject *packed_count_keys(PyObject *module, PyObject *args);
PyObject *packed_merge_keys(PyObject *module, PyObject *args);
PyObject *packed_key_lengths(PyObject *module, PyObject *args);
PyObject *packed_spell_keys(PyObject *module, PyObject *args);

PyObject *fail(int code);                     /* sets the exception of a code of kernel.h */
PyObject *columns_tuple(Columns *columns);    /* and frees them */
/* The texts of a list of str, which *kept owns, so that the GIL can be released; NULL and an exception if it is not. */
Text *texts_of(PyObject *list, PyObject **kept);

#endif
