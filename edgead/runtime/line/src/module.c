/* The Python side of the ring: arguments in, statuses out. edgead.runtime.line says in words what went wrong. */
#include "binding.h"

#include <string.h>

#define STATUS_BUSY (-20) /* a second thread came to the one producer's or the one taker's place */
#define SIGNALS_EVERY_NS 50000000

static PyObject *ring_new(PyTypeObject *type, PyObject *arguments, PyObject *Py_UNUSED(keywords))
{
    edgead_line_format format = {0};
    long long wait_ns, deadline_ns;
    edgead_line_status status;
    if (!PyArg_ParseTuple(arguments, "IIIIIIILL:Ring", &format.width, &format.channels, &format.bytes_per_sample,
                          &format.block_lines, &format.overlap, &format.blocks, &format.when_full, &wait_ns,
                          &deadline_ns))
        return NULL;
    format.wait_ns = wait_ns;
    format.deadline_ns = deadline_ns;
    /* Slots instead of members: the stable ABI hides what a type is made of. */
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    ring_object *self = (ring_object *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->buffer = line_buffer_create(&format, &status);
    if (self->buffer == NULL) {
        Py_DECREF(self);
        if (status == EDGEAD_LINE_OK)
            return PyErr_NoMemory();
        PyErr_SetString(PyExc_ValueError, "no line buffer can have this format");
        return NULL;
    }
    return (PyObject *)self;
}

static void ring_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    line_api.let_go(((ring_object *)object)->buffer);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
    Py_DECREF(type);
}

/* An optional array of one int64 per line. Returns 0 with `*words` NULL for None, -1 with an error set. */
static int get_words(PyObject *source, size_t lines, Py_buffer *held, const int64_t **words)
{
    *words = NULL;
    held->obj = NULL;
    if (source == Py_None)
        return 0;
    if (PyObject_GetBuffer(source, held, PyBUF_C_CONTIGUOUS) < 0)
        return -1;
    if (held->itemsize != sizeof(int64_t) || (size_t)held->len != lines * sizeof(int64_t)) {
        PyBuffer_Release(held);
        PyErr_SetString(PyExc_ValueError, "expected one 64-bit integer per line");
        return -1;
    }
    *words = held->buf;
    return 0;
}

static PyObject *push_buffers(ring_object *self, Py_buffer *pixels, PyObject *const *per_line)
{
    Py_buffer held[3] = {{0}, {0}, {0}};
    const int64_t *words[3];
    size_t bytes = self->buffer->line_bytes, lines = (size_t)pixels->len / bytes;
    int got = 0;
    edgead_line_status status = EDGEAD_LINE_SIZE;
    while (got < 3 && get_words(per_line[got], lines, &held[got], &words[got]) == 0)
        ++got;
    if (got == 3) {
        self->pushing = 1;
        Py_BEGIN_ALLOW_THREADS
        status = line_push_lines(self->buffer, pixels->buf, bytes, bytes, lines, words[0], words[1], words[2]);
        Py_END_ALLOW_THREADS
        self->pushing = 0;
    }
    for (int number = 0; number < 3; ++number)
        PyBuffer_Release(&held[number]); /* does nothing for None */
    return got == 3 ? PyLong_FromLong(status) : NULL;
}

static PyObject *ring_push(PyObject *object, PyObject *arguments)
{
    ring_object *self = (ring_object *)object;
    PyObject *source, *per_line[3], *done;
    Py_buffer pixels;
    if (!PyArg_ParseTuple(arguments, "OOOO:push", &source, &per_line[0], &per_line[1], &per_line[2]))
        return NULL;
    if (self->pushing)
        return PyLong_FromLong(STATUS_BUSY);
    if (PyObject_GetBuffer(source, &pixels, PyBUF_C_CONTIGUOUS) < 0)
        return NULL;
    if ((size_t)pixels.len % self->buffer->line_bytes != 0) {
        PyErr_SetString(PyExc_ValueError, "expected whole lines");
        done = NULL;
    } else {
        done = push_buffers(self, &pixels, per_line);
    }
    PyBuffer_Release(&pixels);
    return done;
}

static PyObject *ring_take(PyObject *object, PyObject *timeout)
{
    ring_object *self = (ring_object *)object;
    edgead_line_block block;
    edgead_line_status status = EDGEAD_LINE_TIMEOUT;
    int64_t left = PyLong_AsLongLong(timeout);
    if (left == -1 && PyErr_Occurred())
        return NULL;
    if (self->taking)
        return PyLong_FromLong(STATUS_BUSY);
    int64_t now = line_now_ns(), until = left < INT64_MAX - now ? now + left : INT64_MAX;
    self->taking = 1;
    do { /* in slices, so that Ctrl-C is answered */
        left = until - line_now_ns();
        Py_BEGIN_ALLOW_THREADS
        status = line_take(self->buffer, &block, left < SIGNALS_EVERY_NS ? left : SIGNALS_EVERY_NS);
        Py_END_ALLOW_THREADS
    } while (status == EDGEAD_LINE_TIMEOUT && line_now_ns() < until && PyErr_CheckSignals() == 0);
    self->taking = 0;
    if (status != EDGEAD_LINE_OK)
        return PyErr_Occurred() ? NULL : PyLong_FromLong(status);
    PyObject *taken = block_new(PyType_GetModuleState(Py_TYPE(object)), self, &block);
    if (taken == NULL)
        line_release(self->buffer, &block);
    return taken;
}

static PyObject *producer_call(PyObject *object, edgead_line_status (*call)(edgead_line_buffer *))
{
    ring_object *self = (ring_object *)object;
    return PyLong_FromLong(self->pushing ? STATUS_BUSY : (long)call(self->buffer));
}

static PyObject *ring_end_part(PyObject *self, PyObject *Py_UNUSED(none))
{
    return producer_call(self, line_end_part);
}

static PyObject *ring_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    return producer_call(self, line_close);
}

static PyObject *ring_fail(PyObject *object, PyObject *why)
{
    ring_object *self = (ring_object *)object;
    const char *text = PyUnicode_AsUTF8AndSize(why, NULL);
    if (text == NULL)
        return NULL;
    return PyLong_FromLong(self->pushing ? STATUS_BUSY : (long)line_fail(self->buffer, text));
}

static PyObject *ring_stop(PyObject *self, PyObject *Py_UNUSED(none))
{
    line_api.stop(((ring_object *)self)->buffer);
    Py_RETURN_NONE;
}

static PyObject *ring_failure(PyObject *self, PyObject *Py_UNUSED(none))
{
    const char *why = line_api.failure(((ring_object *)self)->buffer);
    return PyUnicode_DecodeUTF8(why, (Py_ssize_t)strlen(why), "replace"); /* may be cut within a character */
}

static PyObject *ring_statistics(PyObject *self, PyObject *Py_UNUSED(none))
{
    edgead_line_statistics s;
    line_api.get_statistics(((ring_object *)self)->buffer, &s, sizeof s);
    return Py_BuildValue("{sKsKsKsKsKsKsKsKsKsKsK}", "pushed", s.pushed, "consumed", s.consumed, "overwritten",
                         s.overwritten, "dropped", s.dropped, "waiting", s.waiting, "lost", s.lost, "late", s.late,
                         "high_water", s.high_water, "refused", s.refused, "parts", s.parts, "waited_ns",
                         s.waited_ns);
}

static void let_go_of_capsule(PyObject *capsule)
{
    line_api.let_go(PyCapsule_GetPointer(capsule, EDGEAD_LINE_BUFFER_CAPSULE));
}

static PyObject *ring_capsule(PyObject *self, PyObject *Py_UNUSED(none))
{
    edgead_line_buffer *buffer = line_api.retain(((ring_object *)self)->buffer);
    PyObject *capsule = PyCapsule_New(buffer, EDGEAD_LINE_BUFFER_CAPSULE, let_go_of_capsule);
    if (capsule == NULL)
        line_api.let_go(buffer);
    return capsule;
}

static PyObject *message(PyObject *Py_UNUSED(module), PyObject *status)
{
    long number = PyLong_AsLong(status);
    if (number == -1 && PyErr_Occurred())
        return NULL;
    return PyUnicode_FromString(number == STATUS_BUSY ? "another thread is in this call"
                                                      : line_api.message((edgead_line_status)number));
}

static PyMethodDef ring_methods[] = {
    {"push", ring_push, METH_VARARGS, "(pixels, numbers, timestamps_ns, encoders) -> status, without the GIL"},
    {"take", ring_take, METH_O, "(timeout_ns) -> Block or status; waits without the GIL"},
    {"end_part", ring_end_part, METH_NOARGS, NULL},
    {"close", ring_close, METH_NOARGS, NULL},
    {"fail", ring_fail, METH_O, NULL},
    {"stop", ring_stop, METH_NOARGS, NULL},
    {"failure", ring_failure, METH_NOARGS, NULL},
    {"statistics", ring_statistics, METH_NOARGS, NULL},
    {"capsule", ring_capsule, METH_NOARGS, "For edgead_line_from_capsule() in C."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot ring_slots[] = {
    {Py_tp_new, ring_new},
    {Py_tp_dealloc, ring_dealloc},
    {Py_tp_methods, ring_methods},
    {0, NULL},
};

static PyType_Spec ring_spec = {"edgead.runtime.line._ring.Ring", sizeof(ring_object), 0, Py_TPFLAGS_DEFAULT,
                                ring_slots};

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type)
{
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

static int execute(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    if (add_type(module, &ring_spec, &state->ring_type) < 0 || add_type(module, &block_spec, &state->block_type) < 0
        || add_type(module, &view_spec, &state->view_type) < 0)
        return -1;
    PyObject *capsule = PyCapsule_New((void *)&line_api, EDGEAD_LINE_API_CAPSULE, NULL);
    if (capsule == NULL || PyModule_AddObject(module, "C_API", capsule) < 0) {
        Py_XDECREF(capsule);
        return -1;
    }
    return PyModule_AddIntConstant(module, "VERSION", EDGEAD_LINE_VERSION);
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    module_state *state = PyModule_GetState(module);
    Py_VISIT(state->ring_type);
    Py_VISIT(state->block_type);
    Py_VISIT(state->view_type);
    return 0;
}

static int clear(PyObject *module)
{
    module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->ring_type);
    Py_CLEAR(state->block_type);
    Py_CLEAR(state->view_type);
    return 0;
}

static PyMethodDef functions[] = {
    {"message", message, METH_O, "A status in words."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "_ring", .m_size = sizeof(module_state), .m_methods = functions,
    .m_slots = slots, .m_traverse = traverse, .m_clear = clear,
};

PyMODINIT_FUNC PyInit__ring(void)
{
    return PyModuleDef_Init(&definition);
}
