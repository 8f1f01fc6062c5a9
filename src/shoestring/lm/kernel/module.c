/* The Python module shoestring.lm._kernel.
 *
 *     level() -> int                       0 any processor, 1 AVX2, 2 AVX-512 with VNNI: the best one here
 *     product(x, rows, weight, scale, zero, unit, bias, y, outputs, inputs, bits, threads, level)
 *     blocks_bytes(model, lines, room, threads) -> int
 *     blocks(model, x, rows, count, cosines, sines, pads, held, seen, room, memory, threads, level)
 *
 * y (rows, outputs) = x (rows, inputs) W + bias, in float32; a scale for each GROUP of a row of W. Activations are
 * rounded to 255 steps, FINE at a time. blocks reads more tokens of each row, see blocks.h: the model is bytes, held the
 * addresses of each block's keys, then of its values, as bytes. All else but the numbers are addresses of memory that
 * the caller keeps; 0 is none. The GIL is released. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>

#include "blocks.h"

enum { SMALL = 1 << 17 }; /* products below which a second thread costs more than it gives */

#define AT(TYPE, ADDRESS) ((TYPE *)(uintptr_t)(ADDRESS))

typedef struct {
    const Weights *weights;
    const Activations *x;
    const float *values;
    float *y;
    int level;
} Job;

static void fill(void *what, size_t part, size_t parts) {
    const Job *job = what;
    size_t all = job->x->rows * job->x->groups;
    activations_fill_of[job->level](job->x, job->values, job->weights->inputs, all * part / parts, all * (part + 1) / parts);
}

static void work(void *what, size_t part, size_t parts) {
    const Job *job = what;
    size_t tiles = (job->weights->outputs + TILE - 1) / TILE;
    product_of(job->weights, job->level)(job->weights, job->x, job->y, tiles * part / parts, tiles * (part + 1) / parts);
}

static PyObject *multiply(const Weights *w, const float *values, size_t rows, float *y, size_t threads, int level) {
    void *memory;
    Py_BEGIN_ALLOW_THREADS
    memory = malloc(activations_bytes(rows, w->inputs) + 1);
    if (memory != NULL) {
        Activations x = activations_in(memory, rows, w->inputs);
        Job job = {w, &x, values, y, level};
        in_parallel(fill, &job, rows * w->inputs < SMALL ? 1 : threads);
        in_parallel(work, &job, rows * w->outputs * w->inputs < SMALL ? 1 : threads);
        free(memory);
    }
    Py_END_ALLOW_THREADS
    if (memory == NULL)
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *product(PyObject *self, PyObject *args) {
    unsigned long long x, weight, scale, zero, unit, bias, y;
    Py_ssize_t rows, outputs, inputs, bits, threads;
    int level;
    (void)self;
    if (!PyArg_ParseTuple(args, "KnKKKKKKnnnni", &x, &rows, &weight, &scale, &zero, &unit, &bias, &y, &outputs, &inputs, &bits, &threads, &level))
        return NULL;
    Weights w = {AT(const void, weight), AT(const void, scale), AT(const void, zero), AT(const float, unit), AT(const float, bias), (size_t)outputs, (size_t)inputs, (size_t)bits};
    return multiply(&w, AT(const float, x), (size_t)rows, AT(float, y), (size_t)threads, level);
}

/* Sets the model that bytes are, or an error. */
static int model_of(const char *bytes, Py_ssize_t length, const Model **model) {
    *model = (const void *)bytes;
    if ((size_t)length >= sizeof(Model) && (size_t)length == sizeof(Model) + (*model)->blocks * sizeof(Block))
        return 1;
    PyErr_Format(PyExc_ValueError, "a model of %zd bytes: not what blocks.h says", length);
    return 0;
}

static PyObject *bytes_of_blocks(PyObject *self, PyObject *args) {
    const char *bytes;
    Py_ssize_t length, lines, room, threads;
    const Model *model;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#nnn", &bytes, &length, &lines, &room, &threads) || !model_of(bytes, length, &model))
        return NULL;
    return PyLong_FromSize_t(blocks_bytes(model, (size_t)lines, (size_t)room, (size_t)threads));
}

static PyObject *blocks(PyObject *self, PyObject *args) {
    const char *bytes, *held;
    Py_ssize_t length, held_length, rows, count, seen, room, threads;
    unsigned long long x, cosines, sines, pads, memory;
    int level;
    const Model *m;
    (void)self;
    if (!PyArg_ParseTuple(args, "y#KnnKKKy#nnKni", &bytes, &length, &x, &rows, &count, &cosines, &sines, &pads, &held, &held_length, &seen, &room, &memory, &threads, &level) ||
        !model_of(bytes, length, &m))
        return NULL;
    if ((size_t)held_length != 2 * m->blocks * sizeof(float *) || seen + count > room)
        return PyErr_Format(PyExc_ValueError, "%zd bytes of addresses, %zd tokens after %zd in %zd: not what the model needs", held_length, count, seen, room);
    float *const *keys = (float *const *)held;
    Reading reading = {m, (size_t)rows, (size_t)count, (size_t)seen, (size_t)room, AT(float, x), AT(const float, cosines), AT(const float, sines), AT(const int64_t, pads), keys, keys + m->blocks, level};
    Py_BEGIN_ALLOW_THREADS
    blocks_run(&reading, AT(void, memory), (size_t)threads);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *level(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    return PyLong_FromLong(best_level());
}

static PyMethodDef methods[] = {
    {"level", level, METH_NOARGS, "The best kind of instructions of this processor."},
    {"product", product, METH_VARARGS, "y = x W + bias of weights of 8, 5 or 4 bits."},
    {"blocks_bytes", bytes_of_blocks, METH_VARARGS, "Working memory of blocks."},
    {"blocks", blocks, METH_VARARGS, "More tokens of each row go through all blocks."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", "Products of few-bit weights, and whole blocks.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) {
    return begin_threads() == 0 ? PyModule_Create(&definition) : PyErr_NoMemory();
}
