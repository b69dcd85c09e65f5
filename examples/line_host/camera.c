/* The acquisition thread. It never takes the GIL, so whatever Python does meanwhile holds up no line. */
#define _POSIX_C_SOURCE 200809L
#include "line_host.h"

#include <time.h>

enum { CAMERA_MEMORY = 4096 }; /* lines that the camera itself keeps while nobody fetches them */
#define SHORTEST_REST_NS 50000.0

static void rest(double ns)
{
    struct timespec pause = {(time_t)(ns / 1e9), (long)ns % 1000000000L};
    nanosleep(&pause, NULL);
}

/* The next line to fetch. A camera whose memory has overflowed has lost lines; its counter tells. */
static uint64_t next_line(uint64_t number, uint64_t exposed)
{
    return exposed > number + CAMERA_MEMORY ? exposed - CAMERA_MEMORY : number;
}

void *acquire(void *object)
{
    camera *self = object;
    const double period_ns = 1e9 / self->line_rate_hz;
    const int64_t start_ns = edgead->now_ns();
    uint64_t number = 0, part = 0;
    edgead_line_status status = EDGEAD_LINE_OK;
    while (!self->is_switched_off && (self->lines_total == 0 || number < self->lines_total)) {
        uint64_t exposed = (uint64_t)((double)(edgead->now_ns() - start_ns) / period_ns);
        if (number >= exposed) {
            rest(period_ns > SHORTEST_REST_NS ? period_ns : SHORTEST_REST_NS);
            continue;
        }
        number = next_line(number, exposed);
        if (self->part_lines > 0 && number / self->part_lines != part) {
            part = number / self->part_lines;
            edgead->end_part(self->lines);
        }
        status = edgead->push_line(self->lines, self->material + number % self->rows * self->line_bytes,
                                   self->line_bytes, (int64_t)number, start_ns + (int64_t)(number * period_ns),
                                   (int64_t)number * 4 /* encoder counts per line */);
        if (status < 0 || status == EDGEAD_LINE_STOPPED)
            break; /* refused, or nobody wants lines any more; a dropped line is counted, and life goes on */
        ++number;
    }
    if (status < 0)
        edgead->fail(self->lines, edgead->message(status));
    else
        edgead->close(self->lines);
    return NULL;
}

/* Below: the camera as a Python object. */

typedef struct camera_object {
    PyObject_HEAD
    camera camera;
    Py_buffer material; /* holds the picture while the thread reads it */
    bool is_running;
} camera_object;

static PyObject *camera_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"capsule", "material", "line_rate_hz", "lines_total", "part_lines", NULL};
    PyObject *capsule, *material;
    unsigned long long lines_total = 0, part_lines = 0;
    double line_rate_hz;
    edgead_line_format format;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OOd|KK:Camera", names, &capsule, &material, &line_rate_hz,
                                     &lines_total, &part_lines))
        return NULL;
    camera_object *self = (camera_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->camera.lines = edgead_line_from_capsule(edgead, capsule);
    if (self->camera.lines == NULL || PyObject_GetBuffer(material, &self->material, PyBUF_C_CONTIGUOUS) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    edgead->get_format(self->camera.lines, &format);
    self->camera.line_bytes = (size_t)format.width * format.channels * format.bytes_per_sample;
    self->camera.material = self->material.buf;
    self->camera.rows = (size_t)self->material.len / self->camera.line_bytes;
    self->camera.line_rate_hz = line_rate_hz;
    self->camera.lines_total = lines_total;
    self->camera.part_lines = part_lines;
    if (self->camera.rows == 0 || (size_t)self->material.len % self->camera.line_bytes != 0 || !(line_rate_hz > 0)) {
        Py_DECREF(self);
        PyErr_SetString(PyExc_ValueError, "expected whole lines of material and a line rate above 0");
        return NULL;
    }
    return (PyObject *)self;
}

static PyObject *camera_start(PyObject *object, PyObject *Py_UNUSED(none))
{
    camera_object *self = (camera_object *)object;
    if (self->is_running || self->camera.is_switched_off) {
        PyErr_SetString(PyExc_RuntimeError, "a camera is started once");
        return NULL;
    }
    if (pthread_create(&self->camera.thread, NULL, acquire, &self->camera) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    self->is_running = true;
    Py_RETURN_NONE;
}

/* Joining waits for a thread that may be waiting for the consumer, which needs the GIL: so without it. */
static void join(camera_object *self)
{
    if (self->is_running) {
        Py_BEGIN_ALLOW_THREADS
        pthread_join(self->camera.thread, NULL);
        Py_END_ALLOW_THREADS
        self->is_running = false;
    }
}

static PyObject *camera_join(PyObject *object, PyObject *Py_UNUSED(none))
{
    join((camera_object *)object);
    Py_RETURN_NONE;
}

static PyObject *camera_switch_off(PyObject *object, PyObject *Py_UNUSED(none))
{
    ((camera_object *)object)->camera.is_switched_off = true;
    Py_RETURN_NONE;
}

static void camera_dealloc(PyObject *object)
{
    camera_object *self = (camera_object *)object;
    PyTypeObject *type = Py_TYPE(object);
    self->camera.is_switched_off = true;
    if (self->is_running)
        edgead->stop(self->camera.lines); /* nobody is left who could take what a push waits for */
    join(self);
    PyBuffer_Release(&self->material);
    edgead->let_go(self->camera.lines);
    type->tp_free(object);
    Py_DECREF(type);
}

static PyMethodDef camera_methods[] = {
    {"start", camera_start, METH_NOARGS, "Begin to acquire, on a thread of the camera's own."},
    {"switch_off", camera_switch_off, METH_NOARGS, "Acquire no more; the lines that are there can still be taken."},
    {"join", camera_join, METH_NOARGS, "Wait for the thread to end."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot camera_slots[] = {
    {Py_tp_new, camera_new}, {Py_tp_dealloc, camera_dealloc}, {Py_tp_methods, camera_methods}, {0, NULL},
};

PyType_Spec camera_spec = {"line_host.Camera", sizeof(camera_object), 0, Py_TPFLAGS_DEFAULT, camera_slots};
