/* What benchmarks/line.py measures with: pushing through the table of functions, as a host does, without the GIL. */
#define _POSIX_C_SOURCE 200809L
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <edgead_line.h>

static const edgead_line_api *edgead;

typedef struct source { /* lines to push, each stamped with its number: what arrives can be told apart */
    edgead_line_buffer *lines;
    Py_buffer material;
    size_t line_bytes, rows;
} source;

static int open_source(source *self, PyObject *capsule, PyObject *material)
{
    edgead_line_format format;
    if (PyObject_GetBuffer(material, &self->material, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) < 0)
        return -1;
    self->lines = edgead_line_from_capsule(edgead, capsule);
    if (self->lines == NULL) {
        PyBuffer_Release(&self->material);
        return -1;
    }
    edgead->get_format(self->lines, &format);
    self->line_bytes = (size_t)format.width * format.channels * format.bytes_per_sample;
    self->rows = (size_t)self->material.len / self->line_bytes;
    return 0;
}

static void close_source(source *self)
{
    edgead->let_go(self->lines);
    PyBuffer_Release(&self->material);
}

static unsigned char *line_of(const source *self, int64_t number)
{
    unsigned char *line = (unsigned char *)self->material.buf + (size_t)number % self->rows * self->line_bytes;
    memcpy(line, &number, sizeof number);
    return line;
}

/* push_flat_out(capsule, material, seconds) -> lines pushed; closes the buffer. */
static PyObject *push_flat_out(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *capsule, *material;
    double seconds;
    source from;
    int64_t number = 0;
    edgead_line_status status = EDGEAD_LINE_OK;
    if (!PyArg_ParseTuple(arguments, "OOd", &capsule, &material, &seconds) || open_source(&from, capsule, material))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    int64_t until_ns = edgead->now_ns() + (int64_t)(seconds * 1e9);
    for (; status == EDGEAD_LINE_OK && (number % 64 != 0 || edgead->now_ns() < until_ns); ++number)
        status = edgead->push_line(from.lines, line_of(&from, number), from.line_bytes, number, EDGEAD_LINE_NOW, 0);
    edgead->close(from.lines);
    Py_END_ALLOW_THREADS
    close_source(&from);
    return PyLong_FromLongLong(number);
}

static uint32_t nanoseconds(int64_t taken)
{
    return taken < UINT32_MAX ? (uint32_t)taken : UINT32_MAX;
}

static uint32_t time_copy(const source *from, int64_t number, unsigned char *to)
{
    const unsigned char *line = line_of(from, number);
    int64_t began = edgead->now_ns();
    memcpy(to, line, from->line_bytes);
    return nanoseconds(edgead->now_ns() - began);
}

static uint32_t time_push(const source *from, int64_t number)
{
    const unsigned char *line = line_of(from, number);
    int64_t began = edgead->now_ns();
    edgead->push_line(from->lines, line, from->line_bytes, EDGEAD_LINE_NEXT, EDGEAD_LINE_NOW, 0);
    return nanoseconds(edgead->now_ns() - began);
}

/* push_timed(capsule, material, line_rate_hz, into, copy_ns, push_ns): at each line's time a plain copy of one
 * into `into`, where as many lie as in the ring, and the push of another; each goes first every other time. */
static PyObject *push_timed(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    PyObject *capsule, *material;
    Py_buffer into, copies, pushes;
    double line_rate_hz;
    source from;
    if (!PyArg_ParseTuple(arguments, "OOdw*w*w*", &capsule, &material, &line_rate_hz, &into, &copies, &pushes))
        return NULL;
    int opened = open_source(&from, capsule, material);
    if (opened == 0) {
        uint32_t *copy_ns = copies.buf, *push_ns = pushes.buf;
        int64_t count = (int64_t)((size_t)pushes.len / sizeof *push_ns);
        size_t rows = (size_t)into.len / from.line_bytes;
        Py_BEGIN_ALLOW_THREADS
        int64_t start_ns = edgead->now_ns();
        for (int64_t number = 0; number < count; ++number) {
            int64_t due_ns = start_ns + (int64_t)((double)number * 1e9 / line_rate_hz);
            while (edgead->now_ns() < due_ns) /* spins: a thread that sleeps is measured with the scheduler */
                ;
            unsigned char *to = (unsigned char *)into.buf + (size_t)number % rows * from.line_bytes;
            if (number % 2 == 0)
                push_ns[number] = time_push(&from, 2 * number);
            copy_ns[number] = time_copy(&from, 2 * number + 1, to);
            if (number % 2 != 0)
                push_ns[number] = time_push(&from, 2 * number);
        }
        Py_END_ALLOW_THREADS
        close_source(&from);
    }
    PyBuffer_Release(&into);
    PyBuffer_Release(&copies);
    PyBuffer_Release(&pushes);
    if (opened < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"push_flat_out", push_flat_out, METH_VARARGS, NULL},
    {"push_timed", push_timed, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static int execute(PyObject *Py_UNUSED(module))
{
    edgead = edgead_line_import();
    return edgead == NULL ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "line_push", .m_methods = functions, .m_slots = slots,
};

PyMODINIT_FUNC PyInit_line_push(void)
{
    return PyModuleDef_Init(&definition);
}
