/* edgead_line.h - hand the lines of a line-scan camera to edgead, from C.
 *
 * A line buffer is a ring of blocks of lines, allocated once. One producer (the camera's thread) pushes lines;
 * one consumer (the inspection) takes whole blocks, without a copy. Nothing here takes a lock, and a push
 * never touches Python: no function of the table needs the GIL, none may fail with a Python exception.
 *
 * In a C extension, after <Python.h>:
 *
 *     const edgead_line_api *api = edgead_line_import();                       once, with the GIL
 *     edgead_line_buffer *lines = edgead_line_from_capsule(api, capsule);      capsule: LineBuffer.capsule
 *     status = api->push_line(lines, pixels, 4096, EDGEAD_LINE_NEXT, EDGEAD_LINE_NOW, 0);   any thread of yours
 *     api->end_part(lines);  api->close(lines);  api->let_go(lines);
 *
 * Compile with the folder that `edgead.get_include()` names. Which thread may call what stands at each
 * function:
 *     producer   one thread at a time; after it has ended (joined), another may take its place
 *     taker      one thread at a time calls take
 *     releaser   one thread at a time calls release; it may be another than the taker
 *     any        any thread, at any time while it holds a reference (retain)
 * A reference is held from edgead_line_from_capsule() or retain() until let_go().
 */
#ifndef EDGEAD_LINE_H
#define EDGEAD_LINE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Raised when a function changes its meaning; functions that are added go to the table's end (see `size`). */
#ifndef EDGEAD_LINE_VERSION
#define EDGEAD_LINE_VERSION 1
#endif
#define EDGEAD_LINE_API_CAPSULE "edgead.runtime.line._ring.C_API"
#define EDGEAD_LINE_BUFFER_CAPSULE "edgead.line_buffer"

#define EDGEAD_LINE_NEXT INT64_MIN  /* as a number: one more than the line before */
#define EDGEAD_LINE_NOW INT64_MIN   /* as a timestamp: the buffer's clock, now */
#define EDGEAD_LINE_FOREVER INT64_MAX /* as a timeout */

/* What a function returns. Negative: the call was refused and nothing changed but the count of refusals. */
typedef enum edgead_line_status {
    EDGEAD_LINE_OK = 0,
    EDGEAD_LINE_DROPPED = 1,    /* push: the buffer was full; not every line was stored; they are counted */
    EDGEAD_LINE_STOPPED = 2,    /* the consumer has stopped: acquire no more. Lines offered count as dropped */
    EDGEAD_LINE_END = 3,        /* take: the producer has closed and all has been taken */
    EDGEAD_LINE_TIMEOUT = 4,    /* take: no block was completed in time */
    EDGEAD_LINE_FAILED = 5,     /* take: the producer has reported a failure, all has been taken */
    EDGEAD_LINE_NULL = -1,      /* a pointer is NULL */
    EDGEAD_LINE_SIZE = -2,      /* bytes of a line, stride or structure do not fit the buffer */
    EDGEAD_LINE_NUMBER = -3,    /* a line number is negative, repeats or goes back within a part */
    EDGEAD_LINE_CLOSED = -4,    /* pushed after close() or fail() */
    EDGEAD_LINE_NOT_HELD = -5   /* release: this block is not held */
} edgead_line_status;

/* What happens to a push when every block is full or held. */
typedef enum edgead_line_when_full {
    EDGEAD_LINE_WAIT = 0,        /* the push waits for the consumer, at most `wait_ns`, then drops the line */
    EDGEAD_LINE_DROP_OLDEST = 1, /* the oldest block that waits is overwritten; one that is held never is */
    EDGEAD_LINE_DROP_NEWEST = 2  /* the line that is pushed is dropped */
} edgead_line_when_full;

/* How a buffer was made; constant over its life. */
typedef struct edgead_line_format {
    uint32_t width, channels, bytes_per_sample; /* a line: width * channels * bytes_per_sample bytes */
    uint32_t block_lines;                       /* lines of a whole block */
    uint32_t overlap;                           /* of these, shown again at the head of the next block */
    uint32_t blocks;                            /* blocks in the ring, 4 at least */
    uint32_t when_full;                         /* edgead_line_when_full */
    uint32_t reserved;
    int64_t wait_ns;                            /* longest wait of one push under EDGEAD_LINE_WAIT */
    int64_t deadline_ns;                        /* from push to release; beyond it a line is late. 0: none */
} edgead_line_format;

/* Lines, since the buffer was made. Always: pushed = consumed + overwritten + dropped + waiting, while `lost`
 * lines never came to a push. The five are of one moment, while lines are pushed as well. */
typedef struct edgead_line_statistics {
    uint64_t pushed;      /* offered by push calls that were not refused */
    uint64_t consumed;    /* taken and released, each line once however often blocks overlap */
    uint64_t overwritten; /* stored, then overwritten before they were taken (EDGEAD_LINE_DROP_OLDEST) */
    uint64_t dropped;     /* not stored: full, waited in vain, or the consumer had stopped */
    uint64_t waiting;     /* stored and not yet released, the block that is being filled included */
    uint64_t lost;        /* missing in the numbers of a part: lost before they came here */
    uint64_t late;        /* of those consumed: released more than `deadline_ns` after they were pushed */
    uint64_t high_water;  /* the most that ever waited */
    uint64_t refused;     /* push calls (not lines) refused for their arguments */
    uint64_t parts;       /* parts ended */
    uint64_t waited_ns;   /* time that pushes spent waiting for the consumer */
} edgead_line_statistics;

enum {
    EDGEAD_LINE_ENDS_PART = 1, /* the last block of its part; may be shorter, may hold no new line */
    EDGEAD_LINE_CUT = 2        /* shorter because lines are missing after it: the next does not overlap it */
};

/* A block that is held: valid, and not written to, from take until release. Its lines have the consecutive
 * numbers first_number, first_number + 1, ...; where numbers are missing, a block ends. */
typedef struct edgead_line_block {
    const unsigned char *pixels;  /* lines * stride bytes; NULL when lines is 0 */
    size_t stride;                /* bytes from one line to the next: those of a line, with no gap */
    const int64_t *timestamps_ns; /* per line: as pushed */
    const int64_t *encoders;      /* per line: as pushed */
    const int64_t *arrived_ns;    /* per line: the buffer's clock when it was pushed */
    int64_t first_number;
    int64_t missing_before;       /* lines of this part that no block has shown, between the last one and this */
    uint64_t sequence;            /* counts blocks; a jump means that blocks between were overwritten */
    uint32_t lines;               /* 0 only for a part that ended on a block's border (then ENDS_PART) */
    uint32_t repeated;            /* of these, how many at the head the last block has shown already */
    uint32_t part;                /* counts parts; a new part never shares a block with the last */
    uint32_t flags;               /* EDGEAD_LINE_ENDS_PART, EDGEAD_LINE_CUT */
    uint32_t handle;              /* for release */
    uint32_t reserved;
} edgead_line_block;

typedef struct edgead_line_buffer edgead_line_buffer;

typedef struct edgead_line_api {
    uint32_t version; /* EDGEAD_LINE_VERSION of the runtime */
    uint32_t size;    /* of the runtime's table in bytes: a newer runtime may have more functions */

    /* any. One more reference; returns the buffer. A thread that outlives its caller's reference needs it. */
    edgead_line_buffer *(*retain)(edgead_line_buffer *);
    /* any. Gives a reference back; the memory is freed with the last. NULL is allowed. */
    void (*let_go)(edgead_line_buffer *);
    /* any. How the buffer was made. NULL refused. */
    edgead_line_status (*get_format)(const edgead_line_buffer *, edgead_line_format *out);

    /* producer. Copies one line of `bytes` bytes, which must be those of a line. Numbers rise within a part;
     * a number that jumps counts the lines between as lost. OK, DROPPED, STOPPED, or refused: NULL, SIZE,
     * NUMBER, CLOSED. Waits only under EDGEAD_LINE_WAIT and only when full; makes no system call otherwise,
     * but for reading the clock where the platform has no cheaper way. */
    edgead_line_status (*push_line)(edgead_line_buffer *, const void *pixels, size_t bytes, int64_t number,
                                    int64_t timestamp_ns, int64_t encoder);
    /* producer. The same for `lines` lines of `line_bytes` bytes each, `stride` bytes apart. Each array has
     * `lines` entries or is NULL (numbers: go on; timestamps: now; encoders: 0). All is checked before any
     * line is stored; under EDGEAD_LINE_WAIT the wait is per block that fills. 0 lines do nothing. */
    edgead_line_status (*push_lines)(edgead_line_buffer *, const void *pixels, size_t line_bytes, size_t stride,
                                     size_t lines, const int64_t *numbers, const int64_t *timestamps_ns,
                                     const int64_t *encoders);
    /* producer. The part ends with the last line pushed: its last block goes out as it is, and the next line
     * begins a new block, of any number. Does nothing when no line came since the last end. OK, CLOSED. */
    edgead_line_status (*end_part)(edgead_line_buffer *);
    /* producer. No more lines will come: ends the part; take returns END after the last block. Calling it
     * again does nothing. */
    edgead_line_status (*close)(edgead_line_buffer *);
    /* producer. As close, but take then returns FAILED and the consumer reads `why` (UTF-8, 199 bytes kept;
     * NULL is allowed): the camera is gone, the driver gave up. */
    edgead_line_status (*fail)(edgead_line_buffer *, const char *why);

    /* taker. The next block, waiting at most `timeout_ns` (0: look once). OK, STOPPED, END, FAILED, TIMEOUT;
     * refused: NULL. `out` is written only with OK. Any number of blocks may be held. */
    edgead_line_status (*take)(edgead_line_buffer *, edgead_line_block *out, int64_t timeout_ns);
    /* releaser. Gives a block back to the producer, in any order. OK; refused: NULL, NOT_HELD. */
    edgead_line_status (*release)(edgead_line_buffer *, const edgead_line_block *);
    /* any. The consumer's end: every push and take from now on, and those that wait, return STOPPED. Blocks
     * that are held stay valid until they are released. */
    void (*stop)(edgead_line_buffer *);

    /* any. Counts so far; `size` is sizeof(edgead_line_statistics) as the caller knows it. OK, NULL, SIZE. */
    edgead_line_status (*get_statistics)(const edgead_line_buffer *, edgead_line_statistics *out, size_t size);
    /* any. Why the producer failed; "" unless take has returned FAILED. Valid while a reference is held. */
    const char *(*failure)(const edgead_line_buffer *);
    /* any. The buffer's clock: monotonic nanoseconds, as time.monotonic_ns() in Python. */
    int64_t (*now_ns)(void);
    /* any. A status in words; never NULL. */
    const char *(*message)(edgead_line_status);
} edgead_line_api;

#ifdef Py_PYTHON_H
/* With the GIL. The runtime's table, or NULL with ImportError set: edgead or its extension is missing, or is
 * of another version than this header. Keep the pointer; it is valid for the life of the process. */
static inline const edgead_line_api *edgead_line_import(void)
{
    PyObject *module = PyImport_ImportModule("edgead.runtime.line.buffer"); /* says how to build what is missing */
    if (module == NULL)
        return NULL;
    Py_DECREF(module);
    const edgead_line_api *api = (const edgead_line_api *)PyCapsule_Import(EDGEAD_LINE_API_CAPSULE, 0);
    if (api == NULL)
        return NULL;
    if (api->version != EDGEAD_LINE_VERSION || api->size < sizeof(edgead_line_api)) {
        PyErr_Format(PyExc_ImportError,
                     "edgead_line.h is of version %u with a table of %u bytes; the installed edgead has version "
                     "%u with %u bytes. Compile this extension against the installed edgead.get_include().",
                     (unsigned)EDGEAD_LINE_VERSION, (unsigned)sizeof(edgead_line_api), (unsigned)api->version,
                     (unsigned)api->size);
        return NULL;
    }
    return api;
}

/* With the GIL. The buffer behind LineBuffer.capsule, with a reference of its own: let_go() it in the end.
 * NULL with ValueError set when it is no such capsule. */
static inline edgead_line_buffer *edgead_line_from_capsule(const edgead_line_api *api, PyObject *capsule)
{
    edgead_line_buffer *buffer =
        (edgead_line_buffer *)PyCapsule_GetPointer(capsule, EDGEAD_LINE_BUFFER_CAPSULE);
    return buffer == NULL ? NULL : api->retain(buffer);
}
#endif

#ifdef __cplusplus
}
#endif
#endif
