/* A block in Python: held until it is released and no view on it is left. Views are buffers without a copy. */
#include "binding.h"

#include <string.h>

#include <stddef.h>
#include <structmember.h>

typedef struct block_object {
    PyObject_HEAD
    ring_object *ring;
    edgead_line_block block;
    Py_ssize_t exports; /* buffers of views on this block that are alive */
    char released;      /* nobody wants more views */
    char given_back;
} block_object;

typedef struct view_object {
    PyObject_HEAD
    block_object *owner;
    const void *data;
    const char *format;
    Py_ssize_t itemsize, length;
    int dimensions;
    Py_ssize_t shape[3], strides[3];
} view_object;

PyObject *block_new(module_state *state, ring_object *ring, const edgead_line_block *block)
{
    block_object *self = PyObject_New(block_object, state->block_type);
    if (self == NULL)
        return NULL;
    Py_INCREF((PyObject *)ring);
    self->ring = ring;
    self->block = *block;
    self->exports = 0;
    self->released = self->given_back = 0;
    return (PyObject *)self;
}

static void give_back_when_unused(block_object *self)
{
    if (self->released && self->exports == 0 && !self->given_back) {
        self->given_back = 1;
        line_release(self->ring->buffer, &self->block);
    }
}

static PyObject *block_release(PyObject *object, PyObject *Py_UNUSED(none))
{
    ((block_object *)object)->released = 1;
    give_back_when_unused((block_object *)object);
    Py_RETURN_NONE;
}

static void block_dealloc(PyObject *object)
{
    block_object *self = (block_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    self->released = 1;
    give_back_when_unused(self);
    Py_DECREF(self->ring);
    PyObject_Free(object);
    Py_DECREF(type);
}

static view_object *new_view(block_object *self)
{
    module_state *state = PyType_GetModuleState(Py_TYPE((PyObject *)self));
    view_object *view = PyObject_New(view_object, state->view_type);
    if (view == NULL)
        return NULL;
    Py_INCREF((PyObject *)self);
    view->owner = self;
    return view;
}

static void describe_pixels(view_object *view, const edgead_line_block *block, const edgead_line_format *format)
{
    view->data = block->pixels;
    view->itemsize = format->bytes_per_sample;
    view->format = format->bytes_per_sample == 2 ? "H" : "B";
    view->dimensions = format->channels > 1 ? 3 : 2;
    view->shape[0] = block->lines;
    view->shape[1] = format->width;
    view->shape[2] = format->channels;
    view->strides[0] = (Py_ssize_t)block->stride;
    view->strides[1] = (Py_ssize_t)format->channels * view->itemsize;
    view->strides[2] = view->itemsize;
    view->length = (Py_ssize_t)block->lines * (Py_ssize_t)block->stride;
}

static void describe_words(view_object *view, const int64_t *words, uint32_t lines)
{
    view->data = words;
    view->itemsize = sizeof(int64_t);
    view->format = "q";
    view->dimensions = 1;
    view->shape[0] = lines;
    view->strides[0] = view->itemsize;
    view->length = (Py_ssize_t)lines * view->itemsize;
}

static PyObject *block_view(PyObject *object, PyObject *name)
{
    static const int64_t nothing;
    block_object *self = (block_object *)object;
    const edgead_line_block *block = &self->block;
    const char *what = PyUnicode_AsUTF8AndSize(name, NULL);
    if (what == NULL)
        return NULL;
    if (self->released) {
        PyErr_SetString(PyExc_ValueError, "this block was released; take what is needed of it before, as a copy");
        return NULL;
    }
    view_object *view = new_view(self);
    if (view == NULL)
        return NULL;
    if (strcmp(what, "pixels") == 0)
        describe_pixels(view, block, &self->ring->buffer->format);
    else if (strcmp(what, "timestamps_ns") == 0)
        describe_words(view, block->timestamps_ns, block->lines);
    else if (strcmp(what, "encoders") == 0)
        describe_words(view, block->encoders, block->lines);
    else if (strcmp(what, "arrived_ns") == 0)
        describe_words(view, block->arrived_ns, block->lines);
    else {
        Py_DECREF(view);
        return PyErr_Format(PyExc_ValueError, "a block has no view '%s'", what);
    }
    if (view->data == NULL)
        view->data = &nothing;
    return (PyObject *)view;
}

static void view_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    Py_DECREF(((view_object *)object)->owner);
    PyObject_Free(object);
    Py_DECREF(type);
}

static int view_get_buffer(PyObject *object, Py_buffer *out, int flags)
{
    view_object *self = (view_object *)object;
    out->obj = NULL;
    if (flags & PyBUF_WRITABLE) {
        PyErr_SetString(PyExc_BufferError, "the lines of a block are read-only; copy them to change them");
        return -1;
    }
    if (self->owner->given_back) {
        PyErr_SetString(PyExc_BufferError, "the block of this view was released");
        return -1;
    }
    Py_INCREF(object);
    ++self->owner->exports;
    *out = (Py_buffer){
        .buf = (void *)self->data,
        .obj = object,
        .len = self->length,
        .itemsize = self->itemsize,
        .readonly = 1,
        .ndim = self->dimensions,
        .format = flags & PyBUF_FORMAT ? (char *)self->format : NULL,
        .shape = flags & PyBUF_ND ? self->shape : NULL,
        .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? self->strides : NULL,
    };
    return 0;
}

static void view_release_buffer(PyObject *object, Py_buffer *Py_UNUSED(buffer))
{
    block_object *owner = ((view_object *)object)->owner;
    --owner->exports;
    give_back_when_unused(owner);
}

#define FIELD(name, type) {#name, type, offsetof(block_object, block) + offsetof(edgead_line_block, name), READONLY, NULL}

static PyMemberDef block_members[] = {
    FIELD(first_number, T_LONGLONG), FIELD(missing_before, T_LONGLONG), FIELD(sequence, T_ULONGLONG),
    FIELD(lines, T_UINT),            FIELD(repeated, T_UINT),           FIELD(part, T_UINT),
    FIELD(flags, T_UINT),            {NULL, 0, 0, 0, NULL},
};

static PyMethodDef block_methods[] = {
    {"view", block_view, METH_O, "A read-only buffer: pixels, timestamps_ns, encoders or arrived_ns."},
    {"release", block_release, METH_NOARGS, "Give the block back, as soon as no view on it is left."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot block_slots[] = {
    {Py_tp_dealloc, block_dealloc},
    {Py_tp_members, block_members},
    {Py_tp_methods, block_methods},
    {0, NULL},
};

static PyType_Slot view_slots[] = {
    {Py_tp_dealloc, view_dealloc},
    {Py_bf_getbuffer, view_get_buffer},
    {Py_bf_releasebuffer, view_release_buffer},
    {0, NULL},
};

PyType_Spec block_spec = {"edgead.runtime.line._ring.Block", sizeof(block_object), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, block_slots};
PyType_Spec view_spec = {"edgead.runtime.line._ring.View", sizeof(view_object), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, view_slots};
