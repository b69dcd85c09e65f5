/* The example host: a camera with an acquisition thread (camera.c), and an inspection loop in C (gate.c). */
#ifndef LINE_HOST_H
#define LINE_HOST_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <edgead_line.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

extern const edgead_line_api *edgead; /* set when the module is imported */

/* A line camera that plays a picture, over and over, at a set line rate. */
typedef struct camera {
    edgead_line_buffer *lines;
    const unsigned char *material; /* rows * line_bytes */
    size_t rows, line_bytes;
    double line_rate_hz;
    uint64_t lines_total, part_lines; /* 0: endless; one part */
    _Atomic bool is_switched_off;
    pthread_t thread;
} camera;

void *acquire(void *camera); /* the acquisition thread */

/* What is to be thrown out: filled in by the loop in C. */
typedef struct reject {
    long long part, line, column;
    double score;
} reject;

typedef void on_defect(void *host, const reject *defect);

/* The loop in C: takes blocks, has them inspected, calls back. The PyObjects are used with the GIL only. */
typedef struct inspection {
    PyObject *lines, *web; /* edgead.LineBuffer, edgead.web.stream.WebStream */
    edgead_line_buffer *buffer;
    on_defect *call_back;
    void *host;
    PyObject *raised; /* what ended the loop, or NULL */
    pthread_t thread;
} inspection;

void *inspect(void *inspection); /* the inspection thread */

extern PyType_Spec camera_spec, gate_spec;
#endif
