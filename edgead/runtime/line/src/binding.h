/* What the two files of the Python binding share. */
#ifndef EDGEAD_RING_BINDING_H
#define EDGEAD_RING_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "ring.h"

typedef struct module_state {
    PyTypeObject *ring_type, *block_type, *view_type;
} module_state;

typedef struct ring_object {
    PyObject_HEAD
    edgead_line_buffer *buffer;
    int pushing, taking; /* a thread is in there, perhaps without the GIL */
} ring_object;

extern PyType_Spec block_spec, view_spec;
PyObject *block_new(module_state *, ring_object *, const edgead_line_block *); /* owns the hold, from success on */
#endif
