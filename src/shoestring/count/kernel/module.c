/* The Python module shoestring.count._kernel.
 *
 *     build(dict_txt: bytes, user: list[(str, int)], hmm: bytes) -> bytes   image; int < 0: suggest a frequency
 *     build_from(freq: dict[str, int], total: int, forced: list[str], hmm: bytes) -> bytes   of a jieba.Tokenizer
 *     digest(content: bytes, stop: int) -> bytes   16 of them that tell content[:stop] apart
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
 *     Grams(table: Table | None, documents: bool, shortest: int, longest: int, joint: bool, stop: list[str])
 *         runs of up to four words, joined by a space or by nothing; stop words are taken out first
 *         .feed .feed_texts .merge .columns .tokens .documents .memory   as a Counter; .columns uses it up
 *     to_tsv(offsets, blob, counts, documents | None, first: int, last: int) -> bytes
 *     measure(text: bytes) -> (characters, lines that are not empty) | int   an int: where it is not UTF-8
 *     count_keys, merge_keys, key_lengths, spell_keys        runs of characters, see packed.c
 *
 * Modes: 0 jieba without HMM, 1 jieba with HMM, 2 characters, 3 white space. Everything long releases the GIL.
 */
#include "module.h"

PyObject *fail(int code) {
    if (code == NO_MEMORY)
        return PyErr_NoMemory();
    const char *text = code == BAD_DICTIONARY         ? "a frequency is out of range"
                       : code == TOO_MANY_FREQUENCIES ? "more than 4,194,303 distinct frequencies"
                       : code == BAD_IMAGE            ? "not a table of this version"
                                                      : "more than 2 GB in one piece";
    PyErr_SetString(PyExc_ValueError, text);
    return NULL;
}

static PyMethodDef functions[] = {
    {"build", build, METH_VARARGS, "build(dict_txt, user, hmm) -> image"},
    {"build_from", build_from, METH_VARARGS, "build_from(freq, total, forced, hmm) -> image"},
    {"digest", digest_bytes, METH_VARARGS, "digest(content, stop) -> 16 bytes that tell content[:stop] apart"},
    {"to_tsv", to_tsv, METH_VARARGS, "to_tsv(offsets, blob, counts, documents, first, last) -> bytes"},
    {"measure", packed_measure, METH_VARARGS, "measure(text) -> (characters, lines), or where it is not UTF-8"},
    {"count_keys", packed_count_keys, METH_VARARGS, "count_keys([(text, lines)], longest) -> (alphabet, keys, counts)"},
    {"merge_keys", packed_merge_keys, METH_VARARGS, "merge_keys([(keys, counts, map)]) -> (keys, counts)"},
    {"key_lengths", packed_key_lengths, METH_VARARGS, "key_lengths(keys, counts, shortest, longest) -> (keys, counts)"},
    {"spell_keys", packed_spell_keys, METH_VARARGS, "spell_keys(keys, alphabet) -> (offsets, words)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", "The exact jieba kernel.", -1, functions,
                                        NULL, NULL, NULL, NULL};

static int add_type(PyObject *module, const char *name, PyObject *type) {
    if (type && PyModule_AddObject(module, name, type) == 0)
        return 1;
    Py_XDECREF(type);
    return 0;
}

PyMODINIT_FUNC PyInit__kernel(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module && add_type(module, "Table", table_type_new()) && add_type(module, "Counter", counter_type_new()) &&
        add_type(module, "Grams", grams_type_new()))
        return module;
    Py_XDECREF(module);
    return NULL;
}
