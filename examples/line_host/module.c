/* The module: finds edgead's table of functions once, and says clearly when it is of another version. */
#include "line_host.h"

const edgead_line_api *edgead;

static int add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    int added = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return added;
}

static int execute(PyObject *module)
{
    edgead = edgead_line_import();
    return edgead == NULL || add_type(module, &camera_spec) < 0 || add_type(module, &gate_spec) < 0 ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "line_host", .m_doc = "A line camera's driver, as an example.", .m_slots = slots,
};

PyMODINIT_FUNC PyInit_line_host(void)
{
    return PyModuleDef_Init(&definition);
}
