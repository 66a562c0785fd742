/* Reads a chunk of modules: what chunks.py does, in one loop, for modules as PyTorch makes them.
 *
 * Nothing is decided here. Whatever is out of the ordinary (slots kept elsewhere, a dictionary of another class, a name
 * that is no plain string) is left to Python: `read_chunk` answers None, and chunks.py reads the chunk.
 *
 * The time goes into waiting for memory, so all of a chunk is fetched ahead, a step at a time: modules, then the
 * `__dict__` of each, then its slots. Only CPython's stable interface is used, so that one build serves every version
 * from 3.10 on.
 */

#define Py_LIMITED_API 0x030A0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define FETCH(address) __builtin_prefetch(address)
#else
#define FETCH(address) ((void)(address))
#endif

/* The slots of a module, in the order in which it makes them. */
enum { TRAINING, PARAMETERS, BUFFERS, BACKWARD_PRE, FULL_BACKWARD, FORWARD, FORWARD_PRE, MODULES, SLOTS };

static const char *const SLOT_NAMES[SLOTS] = {
    "training",       "_parameters",         "_buffers", "_backward_pre_hooks", "_is_full_backward_hook",
    "_forward_hooks", "_forward_pre_hooks", "_modules"};

static PyObject *slot_keys[SLOTS];

typedef enum { FAILED = -1, ODD = 0, DONE = 1 } Outcome;

/* The code of a key, the next one for a new key: as `Interner` of interning.py gives them. */
static Outcome intern(PyObject *codes, PyObject *key, int32_t *code) {
    PyObject *known = PyDict_GetItemWithError(codes, key);
    if (known != NULL) {
        *code = (int32_t)PyLong_AsLong(known);
        return DONE;
    }
    if (PyErr_Occurred()) return FAILED;
    *code = (int32_t)PyDict_Size(codes);
    PyObject *number = PyLong_FromLong(*code);
    if (number == NULL) return FAILED;
    int failed = PyDict_SetItem(codes, key, number);
    Py_DECREF(number);
    return failed ? FAILED : DONE;
}

static Outcome append_index(PyObject *list, Py_ssize_t index) {
    PyObject *number = PyLong_FromSsize_t(index);
    if (number == NULL) return FAILED;
    int failed = PyList_Append(list, number);
    Py_DECREF(number);
    return failed ? FAILED : DONE;
}

/* The entries of one slot of all modules that are not None: `Entries(values, owners, names)`. */
static Outcome read_entries(PyObject *const *slots, int slot, Py_ssize_t count, PyObject *names, PyObject **entries) {
    Py_ssize_t total = 0, found = 0;
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *dict = slots[index * SLOTS + slot];
        if (!PyDict_CheckExact(dict)) return ODD;
        total += PyDict_Size(dict);
    }
    Outcome outcome = FAILED;
    PyObject *values = PyList_New(0);
    int32_t *owners = PyMem_Malloc(total * sizeof *owners), *codes = PyMem_Malloc(total * sizeof *codes);
    if (values == NULL || owners == NULL || codes == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *dict = slots[index * SLOTS + slot], *key, *value;
        Py_ssize_t position = 0;
        while (PyDict_Next(dict, &position, &key, &value)) {
            if (!PyUnicode_CheckExact(key)) {
                outcome = ODD;
                goto end;
            }
            if (intern(names, key, &codes[found]) == FAILED) goto end;
            if (value == Py_None) continue;
            if (PyList_Append(values, value)) goto end;
            owners[found++] = (int32_t)index;
        }
    }
    *entries = Py_BuildValue("(Oy#y#)", values, (const char *)owners, found * (Py_ssize_t)sizeof *owners,
                             (const char *)codes, found * (Py_ssize_t)sizeof *codes);
    outcome = *entries == NULL ? FAILED : DONE;
end:
    Py_XDECREF(values);
    PyMem_Free(owners);
    PyMem_Free(codes);
    return outcome;
}

/* What is read of a chunk before the entries of its slots. */
typedef struct {
    PyObject *dicts, *hooked, *marked;
    int64_t *ids;
    int32_t *types;
    char *training;
    PyObject **slots; /* SLOTS of each module */
    Py_ssize_t owned; /* how many of them hold a reference */
} Chunk;

static Outcome read_dicts(Chunk *chunk, PyObject *modules, Py_ssize_t count, PyObject *types) {
    for (Py_ssize_t index = 0; index < count; index++) FETCH(PyList_GetItem(modules, index));
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *module = PyList_GetItem(modules, index);
        chunk->ids[index] = (int64_t)(intptr_t)module;
        if (intern(types, (PyObject *)Py_TYPE(module), &chunk->types[index]) == FAILED) return FAILED;
        PyObject *dict = PyObject_GenericGetDict(module, NULL);
        if (dict == NULL) return FAILED;
        FETCH(dict);
        PyList_SetItem(chunk->dicts, index, dict);
    }
    return DONE;
}

/* A look-up by a plain string runs no code in Python, unless a key of a class of its own has the very same hash: so the
 * slots of the whole chunk may be fetched ahead before they are owned. */
static Outcome read_slots(Chunk *chunk, Py_ssize_t count) {
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject *dict = PyList_GetItem(chunk->dicts, index);
        for (int slot = 0; slot < SLOTS; slot++) {
            PyObject *value = PyDict_GetItemWithError(dict, slot_keys[slot]);
            if (value == NULL) return PyErr_Occurred() ? FAILED : ODD;
            FETCH(value);
            chunk->slots[index * SLOTS + slot] = value;
        }
    }
    for (Py_ssize_t place = 0; place < count * SLOTS; place++) Py_INCREF(chunk->slots[place]);
    chunk->owned = count * SLOTS;
    return DONE;
}

static Outcome judge_slots(Chunk *chunk, Py_ssize_t count, PyObject *marks) {
    static const int hooks[] = {BACKWARD_PRE, FORWARD, FORWARD_PRE};
    for (Py_ssize_t index = 0; index < count; index++) {
        PyObject **slots = chunk->slots + index * SLOTS;
        if (slots[TRAINING] != Py_True && slots[TRAINING] != Py_False) return ODD;
        chunk->training[index] = slots[TRAINING] == Py_True;
        int hooked = slots[FULL_BACKWARD] != Py_None;
        for (int which = 0; which < 3; which++) {
            PyObject *hook = slots[hooks[which]];
            if (!PyDict_Check(hook)) return ODD;
            hooked |= PyDict_Size(hook) > 0;
        }
        if (hooked && append_index(chunk->hooked, index) == FAILED) return FAILED;
        if (!PyDict_Check(slots[MODULES])) return ODD;
        if (PyDict_Size(slots[MODULES]) == 0) continue;
        PyObject *dict = PyList_GetItem(chunk->dicts, index);
        for (Py_ssize_t which = 0; which < PyTuple_Size(marks); which++) {
            int marked = PyDict_Contains(dict, PyTuple_GetItem(marks, which));
            if (marked < 0) return FAILED;
            if (!marked) continue;
            if (append_index(chunk->marked, index) == FAILED) return FAILED;
            break;
        }
    }
    return DONE;
}

static Outcome read_all(Chunk *chunk, PyObject *modules, Py_ssize_t count, PyObject *types, PyObject *names,
                        PyObject *marks, PyObject **result) {
    PyObject *entries[3] = {NULL, NULL, NULL};
    Outcome outcome = read_dicts(chunk, modules, count, types);
    if (outcome == DONE) outcome = read_slots(chunk, count);
    if (outcome == DONE) outcome = judge_slots(chunk, count, marks);
    if (outcome == DONE) outcome = read_entries(chunk->slots, MODULES, count, names, &entries[0]);
    if (outcome == DONE) outcome = read_entries(chunk->slots, PARAMETERS, count, names, &entries[1]);
    if (outcome == DONE) outcome = read_entries(chunk->slots, BUFFERS, count, names, &entries[2]);
    if (outcome == DONE) {
        *result = Py_BuildValue("(y#y#Oy#OOOOO)", (const char *)chunk->ids, count * (Py_ssize_t)sizeof *chunk->ids,
                                (const char *)chunk->types, count * (Py_ssize_t)sizeof *chunk->types, chunk->dicts,
                                chunk->training, count, chunk->hooked, chunk->marked, entries[0], entries[1],
                                entries[2]);
        if (*result == NULL) outcome = FAILED;
    }
    for (int which = 0; which < 3; which++) Py_XDECREF(entries[which]);
    return outcome;
}

static PyObject *read_chunk(PyObject *self, PyObject *args) {
    PyObject *modules, *types, *names, *marks, *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "O!O!O!O!", &PyList_Type, &modules, &PyDict_Type, &types, &PyDict_Type, &names,
                          &PyTuple_Type, &marks))
        return NULL;
    Py_ssize_t count = PyList_Size(modules);
    Chunk chunk = {
        .dicts = PyList_New(count),
        .hooked = PyList_New(0),
        .marked = PyList_New(0),
        .ids = PyMem_Malloc(count * sizeof *chunk.ids),
        .types = PyMem_Malloc(count * sizeof *chunk.types),
        .training = PyMem_Malloc(count),
        .slots = PyMem_Malloc(count * SLOTS * sizeof *chunk.slots),
        .owned = 0,
    };
    Outcome outcome = FAILED;
    if (chunk.dicts && chunk.hooked && chunk.marked && chunk.ids && chunk.types && chunk.training && chunk.slots)
        outcome = read_all(&chunk, modules, count, types, names, marks, &result);
    else
        PyErr_NoMemory();
    for (Py_ssize_t place = 0; place < chunk.owned; place++) Py_DECREF(chunk.slots[place]);
    PyMem_Free(chunk.slots);
    PyMem_Free(chunk.training);
    PyMem_Free(chunk.types);
    PyMem_Free(chunk.ids);
    Py_XDECREF(chunk.marked);
    Py_XDECREF(chunk.hooked);
    Py_XDECREF(chunk.dicts);
    if (outcome != ODD) return result;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"read_chunk", read_chunk, METH_VARARGS,
     PyDoc_STR("read_chunk(modules, types, names, marks)\n--\n\n"
               "The fields of `chunks.Chunk` as bytes, lists and tuples, or None for a chunk that Python has to read.")},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_chunks", PyDoc_STR("The loop of `chunks`, compiled."), 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__chunks(void) {
    for (int slot = 0; slot < SLOTS; slot++) {
        slot_keys[slot] = PyUnicode_InternFromString(SLOT_NAMES[slot]);
        if (slot_keys[slot] == NULL) return NULL;
    }
    return PyModule_Create(&definition);
}
