/* The Python module shoestring.lm._kernel.
 *
 *     level() -> int                       0 any processor, 1 AVX2, 2 AVX-512 with VNNI: the best one here
 *     tiled8(x, rows, weight, scale, bias, y, outputs, inputs, threads, level)
 *     tiled4(x, rows, weight, scale, zero, bias, y, outputs, inputs, threads, level)
 *
 * y (rows, outputs) = x (rows, inputs) W + bias, in float32; a scale for each GROUP of a row of W. All but the
 * numbers are addresses of memory that the caller keeps; a bias of 0 is none. Activations are rounded to 255 steps,
 * FINE at a time. The GIL is released. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernel.h"

enum { SMALL = 1 << 17 }; /* products below which a second thread costs more than it gives */

typedef struct {
    Product product;
    const Weights *weights;
    const Activations *x;
    const float *values;
    float *y;
} Job;

static void fill(void *what, size_t part, size_t parts) {
    const Job *job = what;
    activations_fill(job->x, job->values, job->weights->inputs, job->x->rows * part / parts, job->x->rows * (part + 1) / parts);
}

static void work(void *what, size_t part, size_t parts) {
    const Job *job = what;
    size_t tiles = (job->weights->outputs + TILE - 1) / TILE;
    job->product(job->weights, job->x, job->y, tiles * part / parts, tiles * (part + 1) / parts);
}

static PyObject *multiply(const Weights *w, int bits, const float *values, size_t rows, float *y, size_t threads, int level) {
    Activations x;
    int failed;
    Py_BEGIN_ALLOW_THREADS
    failed = activations_allocate(&x, rows, w->inputs);
    if (!failed) {
        Job job = {product_of(bits, level), w, &x, values, y};
        in_parallel(fill, &job, rows * w->inputs < SMALL ? 1 : threads);
        in_parallel(work, &job, rows * w->outputs * w->inputs < SMALL ? 1 : threads);
        activations_free(&x);
    }
    Py_END_ALLOW_THREADS
    if (failed)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *tiled8(PyObject *self, PyObject *args) {
    unsigned long long x, weight, scale, bias, y;
    Py_ssize_t rows, outputs, inputs, threads;
    int level;
    (void)self;
    if (!PyArg_ParseTuple(args, "KnKKKKnnni", &x, &rows, &weight, &scale, &bias, &y, &outputs, &inputs, &threads, &level))
        return NULL;
    Weights w = {(const void *)(uintptr_t)weight, (const uint16_t *)(uintptr_t)scale, NULL, (const float *)(uintptr_t)bias, (size_t)outputs, (size_t)inputs};
    return multiply(&w, 8, (const float *)(uintptr_t)x, (size_t)rows, (float *)(uintptr_t)y, (size_t)threads, level);
}

static PyObject *tiled4(PyObject *self, PyObject *args) {
    unsigned long long x, weight, scale, zero, bias, y;
    Py_ssize_t rows, outputs, inputs, threads;
    int level;
    (void)self;
    if (!PyArg_ParseTuple(args, "KnKKKKKnnni", &x, &rows, &weight, &scale, &zero, &bias, &y, &outputs, &inputs, &threads, &level))
        return NULL;
    Weights w = {(const void *)(uintptr_t)weight, (const uint16_t *)(uintptr_t)scale, (const uint16_t *)(uintptr_t)zero, (const float *)(uintptr_t)bias, (size_t)outputs, (size_t)inputs};
    return multiply(&w, 4, (const float *)(uintptr_t)x, (size_t)rows, (float *)(uintptr_t)y, (size_t)threads, level);
}

static PyObject *level(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    return PyLong_FromLong(best_level());
}

static PyMethodDef methods[] = {
    {"level", level, METH_NOARGS, "The best kind of instructions of this processor."},
    {"tiled8", tiled8, METH_VARARGS, "y = x W + bias of 8-bit weights."},
    {"tiled4", tiled4, METH_VARARGS, "y = x W + bias of 4-bit weights."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", "Products of few-bit weights.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) {
    return PyModule_Create(&definition);
}
