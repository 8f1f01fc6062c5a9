/* Feeding bytes or a list of texts to what counts: the same for words and for runs of words. */
#include "module.h"

PyObject *feed_bytes(PyObject *self, PyObject *args, Usable usable, Feed feed) {
    const char *bytes;
    Py_ssize_t length;
    int mode, lines, done = OK;
    size_t error;
    if (!PyArg_ParseTuple(args, "y#ip", &bytes, &length, &mode, &lines) || !usable(self, mode))
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

PyObject *feed_list(PyObject *self, PyObject *args, Usable usable, Feed feed) {
    PyObject *texts, *kept;
    int mode, done = OK;
    if (!PyArg_ParseTuple(args, "O!i", &PyList_Type, &texts, &mode) || !usable(self, mode))
        return NULL;
    Text *each = texts_of(texts, &kept);
    if (!each)
        return NULL;
    Py_ssize_t count = PyTuple_Size(kept);
    Py_BEGIN_ALLOW_THREADS;
    for (Py_ssize_t at = 0; at < count && done == OK; at++)
        done = feed(self, each[at].bytes, each[at].length, mode, 0);
    Py_END_ALLOW_THREADS;
    free(each);
    Py_DECREF(kept);
    if (done != OK)
        return fail(done);
    Py_RETURN_NONE;
}
