/* The inspection loop in C. Its thread has the GIL only while Python works for it: in `take`, which waits
 * without the GIL, in the model, which computes without it, and while the answer is read. */
#include "line_host.h"

static int tell(inspection *self, PyObject *strip, PyObject *defect)
{
    PyObject *part = PyObject_GetAttrString(strip, "part"), *line = PyObject_GetAttrString(defect, "line");
    PyObject *column = PyObject_GetAttrString(defect, "column"), *score = PyObject_GetAttrString(defect, "score");
    if (part && line && column && score) {
        reject found = {PyLong_AsLongLong(part), PyLong_AsLongLong(line), PyLong_AsLongLong(column),
                        PyFloat_AsDouble(score)};
        if (!PyErr_Occurred())
            self->call_back(self->host, &found);
    }
    Py_XDECREF(part);
    Py_XDECREF(line);
    Py_XDECREF(column);
    Py_XDECREF(score);
    return PyErr_Occurred() ? -1 : 0;
}

/* Calls back for each defect of each strip. Takes over the reference to `strips`; NULL passes an error on. */
static int tell_all(inspection *self, PyObject *strips)
{
    int told = strips == NULL ? -1 : 0;
    for (Py_ssize_t number = 0; told == 0 && number < PyList_Size(strips); ++number) {
        PyObject *strip = PyList_GetItem(strips, number), *defects = PyObject_GetAttrString(strip, "defects");
        PyObject *each = defects == NULL ? NULL : PyObject_GetIter(defects), *defect;
        told = each == NULL ? -1 : 0;
        while (told == 0 && (defect = PyIter_Next(each)) != NULL) {
            told = tell(self, strip, defect);
            Py_DECREF(defect);
        }
        told = PyErr_Occurred() ? -1 : told;
        Py_XDECREF(each);
        Py_XDECREF(defects);
    }
    Py_XDECREF(strips);
    return told;
}

/* 1: there may be more; 0: the end; -1: a Python exception. */
static int inspect_one(inspection *self)
{
    PyObject *block = PyObject_CallMethod(self->lines, "take", NULL);
    if (block == NULL)
        return -1;
    if (block == Py_None) {
        Py_DECREF(block);
        return tell_all(self, PyObject_CallMethod(self->web, "finish", NULL));
    }
    int told = tell_all(self, PyObject_CallMethod(self->web, "push", "O", block));
    PyObject *kind, *value, *trace; /* the block goes back whatever has happened */
    PyErr_Fetch(&kind, &value, &trace);
    PyObject *released = PyObject_CallMethod(block, "release", NULL);
    Py_XDECREF(released);
    Py_DECREF(block);
    PyErr_Restore(kind, value, trace);
    return told < 0 ? -1 : 1;
}

void *inspect(void *object)
{
    inspection *self = object;
    int more = 1;
    while (more == 1) {
        PyGILState_STATE python = PyGILState_Ensure(); /* a thread that Python does not know */
        more = inspect_one(self);
        if (more < 0) {
            PyObject *kind, *trace;
            PyErr_Fetch(&kind, &self->raised, &trace);
            PyErr_NormalizeException(&kind, &self->raised, &trace);
            Py_XDECREF(kind);
            Py_XDECREF(trace);
            edgead->stop(self->buffer); /* the camera need not go on */
        }
        PyGILState_Release(python);
    }
    return NULL;
}

/* Below: the gate that throws bad parts out, as a Python object. It stands for the host's own machine. */

enum { MOST_REJECTS = 1024 };

typedef struct gate_object {
    PyObject_HEAD
    inspection inspection;
    reject rejects[MOST_REJECTS];
    uint64_t defects; /* all of them, also those beyond MOST_REJECTS */
    bool is_running;
} gate_object;

static void throw_out(void *host, const reject *defect)
{
    gate_object *self = host;
    if (self->defects < MOST_REJECTS)
        self->rejects[self->defects] = *defect;
    ++self->defects;
}

static PyObject *gate_new(PyTypeObject *type, PyObject *arguments, PyObject *Py_UNUSED(keywords))
{
    PyObject *lines, *web;
    if (!PyArg_ParseTuple(arguments, "OO:Gate", &lines, &web))
        return NULL;
    PyObject *capsule = PyObject_GetAttrString(lines, "capsule");
    edgead_line_buffer *buffer = capsule == NULL ? NULL : edgead_line_from_capsule(edgead, capsule);
    Py_XDECREF(capsule);
    gate_object *self = buffer == NULL ? NULL : (gate_object *)type->tp_alloc(type, 0);
    if (self == NULL) {
        edgead->let_go(buffer);
        return NULL;
    }
    Py_INCREF(lines);
    Py_INCREF(web);
    self->inspection = (inspection){.lines = lines, .web = web, .buffer = buffer, .call_back = throw_out,
                                    .host = self};
    return (PyObject *)self;
}

static PyObject *gate_start(PyObject *object, PyObject *Py_UNUSED(none))
{
    gate_object *self = (gate_object *)object;
    if (self->is_running) {
        PyErr_SetString(PyExc_RuntimeError, "the gate is running");
        return NULL;
    }
    if (pthread_create(&self->inspection.thread, NULL, inspect, &self->inspection) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    self->is_running = true;
    Py_RETURN_NONE;
}

static void join(gate_object *self) /* without the GIL, for the thread needs it */
{
    if (self->is_running) {
        Py_BEGIN_ALLOW_THREADS
        pthread_join(self->inspection.thread, NULL);
        Py_END_ALLOW_THREADS
        self->is_running = false;
    }
}

static PyObject *gate_join(PyObject *object, PyObject *Py_UNUSED(none))
{
    gate_object *self = (gate_object *)object;
    join(self);
    if (self->inspection.raised != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(self->inspection.raised), self->inspection.raised);
        Py_CLEAR(self->inspection.raised);
        return NULL;
    }
    uint64_t kept = self->defects < MOST_REJECTS ? self->defects : MOST_REJECTS;
    PyObject *list = PyList_New(0);
    for (uint64_t number = 0; list != NULL && number < kept; ++number) {
        const reject *found = &self->rejects[number];
        PyObject *row = Py_BuildValue("(LLLd)", found->part, found->line, found->column, found->score);
        if (row == NULL || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

static void gate_dealloc(PyObject *object)
{
    gate_object *self = (gate_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    if (self->is_running)
        edgead->stop(self->inspection.buffer);
    join(self);
    edgead->let_go(self->inspection.buffer);
    Py_XDECREF(self->inspection.lines);
    Py_XDECREF(self->inspection.web);
    Py_XDECREF(self->inspection.raised);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef gate_methods[] = {
    {"start", gate_start, METH_NOARGS, "Begin to take blocks and to inspect them, on a thread of the gate's own."},
    {"join", gate_join, METH_NOARGS, "Wait for the last line; (part, line, column, score) of each defect."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot gate_slots[] = {
    {Py_tp_new, gate_new}, {Py_tp_dealloc, gate_dealloc}, {Py_tp_methods, gate_methods}, {0, NULL},
};

PyType_Spec gate_spec = {"line_host.Gate", sizeof(gate_object), 0, Py_TPFLAGS_DEFAULT, gate_slots};
