/* Making and freeing the ring, its queues, clock and counts, and the table of functions. */
#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE /* madvise */
#include "ring.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define HUGE_PAGE ((size_t)2 << 20)

void line_queue_append(line_queue *queue, uint64_t entry)
{
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    atomic_store_explicit(&queue->entries[head & queue->mask], entry, memory_order_relaxed);
    atomic_store_explicit(&queue->head, head + 1, memory_order_release);
}

/* An entry read at a stale tail may be of a later round; then the tail has moved and the swap fails. */
bool line_queue_pop(line_queue *queue, uint64_t *entry)
{
    uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_acquire);
    do {
        if (tail == atomic_load_explicit(&queue->head, memory_order_acquire))
            return false;
        *entry = atomic_load_explicit(&queue->entries[tail & queue->mask], memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&queue->tail, &tail, tail + 1, memory_order_acq_rel,
                                                    memory_order_acquire));
    return true;
}

int64_t line_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void line_pause(uint32_t *round)
{
    struct timespec rest = {0, 20000L * (1L << (*round < 3 ? *round : 3))};
    if (rest.tv_nsec > 200000L || *round > 3)
        rest.tv_nsec = 200000L;
    ++*round;
    nanosleep(&rest, NULL);
}

/* Zeroed, so that no push is the first to touch a page. Large ones lie in huge pages where Linux gives them: a
 * camera goes through the whole ring, and would miss the page tables' cache with every line. */
static void *allocate(size_t bytes)
{
    size_t unit = bytes < 2 * HUGE_PAGE ? LINE_CACHE : HUGE_PAGE, whole = (bytes + unit - 1) / unit * unit;
    void *memory = aligned_alloc(unit, whole);
#ifdef MADV_HUGEPAGE
    if (memory != NULL && unit == HUGE_PAGE)
        madvise(memory, whole, MADV_HUGEPAGE); /* a wish: without it all works as well */
#endif
    return memory == NULL ? NULL : memset(memory, 0, whole);
}

static bool is_possible(const edgead_line_format *format)
{
    uint64_t line = (uint64_t)format->width * format->channels;
    return line > 0 && line <= 1u << 28 && format->bytes_per_sample >= 1 && format->bytes_per_sample <= 4
        && format->block_lines >= 1 && format->block_lines <= 1u << 20 && format->overlap <= format->block_lines / 2
        && format->blocks >= 4 && format->blocks <= 1u << 16 && format->when_full <= EDGEAD_LINE_DROP_NEWEST
        && format->wait_ns >= 0 && format->deadline_ns >= 0
        && line * format->bytes_per_sample * format->block_lines <= (uint64_t)SIZE_MAX / 2 / format->blocks;
}

static bool make_queue(line_queue *queue, uint32_t blocks)
{
    uint64_t length = 16; /* every block may be followed by a mark, and one mark stand before them all */
    while (length < 2 * (uint64_t)blocks + 2)
        length *= 2;
    queue->mask = length - 1;
    queue->entries = allocate(length * sizeof *queue->entries);
    return queue->entries != NULL;
}

static void free_buffer(edgead_line_buffer *buffer)
{
    free(buffer->ready.entries);
    free(buffer->spare.entries);
    free(buffer->slots);
    free(buffer->memory);
    free(buffer);
}

static void lay_out(edgead_line_buffer *buffer, size_t block_bytes)
{
    const edgead_line_format *format = &buffer->format;
    int64_t *words = (int64_t *)((unsigned char *)buffer->memory + block_bytes * format->blocks);
    for (uint32_t number = 0; number < format->blocks; ++number) {
        line_slot *slot = &buffer->slots[number];
        slot->pixels = (unsigned char *)buffer->memory + block_bytes * number;
        slot->timestamps_ns = words;
        slot->encoders = words += format->block_lines;
        slot->arrived_ns = words += format->block_lines;
        words += format->block_lines;
        line_queue_append(&buffer->spare, number);
    }
}

edgead_line_buffer *line_buffer_create(const edgead_line_format *format, edgead_line_status *status)
{
    *status = is_possible(format) ? EDGEAD_LINE_OK : EDGEAD_LINE_SIZE;
    edgead_line_buffer *buffer = *status == EDGEAD_LINE_OK ? allocate(sizeof *buffer) : NULL;
    if (buffer == NULL)
        return NULL;
    buffer->format = *format;
    buffer->line_bytes = (size_t)format->width * format->channels * format->bytes_per_sample;
    buffer->step = format->block_lines - format->overlap;
    buffer->last_overwritten = buffer->last_taken = UINT64_MAX;
    atomic_init(&buffer->references, 1);
    size_t block_bytes = (buffer->line_bytes * format->block_lines + LINE_CACHE - 1) / LINE_CACHE * LINE_CACHE;
    size_t words = (size_t)3 * format->block_lines * format->blocks;
    buffer->slots = allocate(format->blocks * sizeof *buffer->slots);
    buffer->memory = allocate(block_bytes * format->blocks + words * sizeof(int64_t));
    if (buffer->slots == NULL || buffer->memory == NULL || !make_queue(&buffer->ready, format->blocks)
        || !make_queue(&buffer->spare, format->blocks)) {
        free_buffer(buffer);
        return NULL;
    }
    lay_out(buffer, block_bytes);
    return buffer;
}

static edgead_line_buffer *retain(edgead_line_buffer *buffer)
{
    atomic_fetch_add_explicit(&buffer->references, 1, memory_order_relaxed);
    return buffer;
}

static void let_go(edgead_line_buffer *buffer)
{
    if (buffer != NULL && atomic_fetch_sub_explicit(&buffer->references, 1, memory_order_acq_rel) == 1)
        free_buffer(buffer);
}

static edgead_line_status get_format(const edgead_line_buffer *buffer, edgead_line_format *out)
{
    if (buffer == NULL || out == NULL)
        return EDGEAD_LINE_NULL;
    *out = buffer->format;
    return EDGEAD_LINE_OK;
}

static void stop(edgead_line_buffer *buffer)
{
    if (buffer != NULL)
        atomic_fetch_or_explicit(&buffer->state, STATE_STOPPED, memory_order_release);
}

static const char *failure(const edgead_line_buffer *buffer)
{
    if (buffer == NULL || !(atomic_load_explicit(&buffer->state, memory_order_acquire) & STATE_FAILED))
        return "";
    return buffer->failure;
}

/* What became of the lines of one moment: read between two looks at `pushed` that agree. A reader that is held
 * up, so that they do not, looks again; and in the worst case `waiting` is ahead, never less than nothing,
 * because `pushed` is the last that is read and rises before what is subtracted from it. */
static void read_balance(const edgead_line_buffer *buffer, edgead_line_statistics *out)
{
    out->pushed = counted(&buffer->pushed);
    for (int tries = 0; tries < 100; ++tries) {
        uint64_t before = out->pushed;
        out->consumed = counted(&buffer->consumed);
        out->overwritten = counted(&buffer->overwritten);
        out->dropped = counted(&buffer->dropped);
        out->pushed = counted(&buffer->pushed);
        if (out->pushed == before)
            break;
    }
    out->waiting = out->pushed - out->consumed - out->overwritten - out->dropped;
}

static edgead_line_status get_statistics(const edgead_line_buffer *buffer, edgead_line_statistics *out, size_t size)
{
    if (buffer == NULL || out == NULL)
        return EDGEAD_LINE_NULL;
    if (size < sizeof *out)
        return EDGEAD_LINE_SIZE;
    read_balance(buffer, out);
    out->late = counted(&buffer->late);
    out->high_water = counted(&buffer->high_water);
    out->lost = counted(&buffer->lost);
    out->refused = counted(&buffer->refused);
    out->parts = counted(&buffer->parts);
    out->waited_ns = counted(&buffer->waited_ns);
    return EDGEAD_LINE_OK;
}

static const char *message(edgead_line_status status)
{
    switch (status) {
    case EDGEAD_LINE_OK: return "done";
    case EDGEAD_LINE_DROPPED: return "the buffer was full and lines were dropped";
    case EDGEAD_LINE_STOPPED: return "the consumer has stopped";
    case EDGEAD_LINE_END: return "the producer has closed and every block was taken";
    case EDGEAD_LINE_TIMEOUT: return "no block was completed in time";
    case EDGEAD_LINE_FAILED: return "the producer failed";
    case EDGEAD_LINE_NULL: return "a pointer is NULL";
    case EDGEAD_LINE_SIZE: return "the bytes of a line, the stride or a structure's size do not fit the buffer";
    case EDGEAD_LINE_NUMBER: return "a line number is negative, repeats or goes back within its part";
    case EDGEAD_LINE_CLOSED: return "the producer has closed the buffer already";
    case EDGEAD_LINE_NOT_HELD: return "this block is not held";
    }
    return "unknown status";
}

const edgead_line_api line_api = {
    .version = EDGEAD_LINE_VERSION,
    .size = sizeof(edgead_line_api),
    .retain = retain,
    .let_go = let_go,
    .get_format = get_format,
    .push_line = line_push_line,
    .push_lines = line_push_lines,
    .end_part = line_end_part,
    .close = line_close,
    .fail = line_fail,
    .take = line_take,
    .release = line_release,
    .stop = stop,
    .get_statistics = get_statistics,
    .failure = failure,
    .now_ns = line_now_ns,
    .message = message,
};
