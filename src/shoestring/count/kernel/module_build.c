/* build and build_from: a dictionary becomes an image; digest. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

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

/* The image of what was read. */
static PyObject *compiled(Dictionary *dictionary, const Hmm *model) {
    uint8_t *image = NULL;
    size_t bytes = 0;
    int done;
    Py_BEGIN_ALLOW_THREADS;
    done = table_build(dictionary, model, &image, &bytes);
    Py_END_ALLOW_THREADS;
    PyObject *result = done == OK ? PyBytes_FromStringAndSize((const char *)image, (Py_ssize_t)bytes) : fail(done);
    free(image);
    return result;
}

PyObject *build(PyObject *module, PyObject *args) {
    (void)module;
    const char *text, *hmm;
    Py_ssize_t text_length, hmm_length;
    PyObject *user, *result = NULL;
    if (!PyArg_ParseTuple(args, "y#O!y#", &text, &text_length, &PyList_Type, &user, &hmm, &hmm_length))
        return NULL;
    if (hmm_length != sizeof(Hmm) || utf8_first_error((const uint8_t *)text, (size_t)text_length) < (size_t)text_length)
        return PyErr_Format(PyExc_ValueError, "the dictionary is not UTF-8, or the HMM has a wrong size");
    Dictionary dictionary;
    size_t line = 0;
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
        result = compiled(&dictionary, model);
    }
    free(model);
    dictionary_free(&dictionary);
    return result;
}

/* What names an image and tells whether it is whole. */
PyObject *digest_bytes(PyObject *module, PyObject *args) {
    (void)module;
    const char *bytes;
    Py_ssize_t length, stop = PY_SSIZE_T_MAX;
    uint64_t found[2];
    if (!PyArg_ParseTuple(args, "y#|n", &bytes, &length, &stop))
        return NULL;
    digest((const uint8_t *)bytes, (size_t)(stop >= 0 && stop < length ? stop : length), found);
    return PyBytes_FromStringAndSize((const char *)found, sizeof found);
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

PyObject *build_from(PyObject *module, PyObject *args) {
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
    Hmm *model = malloc(sizeof *model);
    int done = dictionary_start(&dictionary) == OK && model ? OK : NO_MEMORY;
    if (done != OK) {
        fail(done);
    } else if (put_all(&dictionary, frequencies, forced)) {
        memcpy(model, hmm, sizeof *model);
        dictionary.total = total;
        result = compiled(&dictionary, model);
    }
    free(model);
    dictionary_free(&dictionary);
    return result;
}
