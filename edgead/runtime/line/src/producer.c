/* The producer's side: lines are copied into the block that is being filled, and whole blocks go to the consumer. */
#include "ring.h"

#include <string.h>

typedef struct run { /* lines of consecutive numbers */
    const unsigned char *pixels;
    size_t stride;
    const int64_t *timestamps_ns, *encoders; /* or NULL, then: */
    int64_t timestamp_ns, encoder;
    int64_t now_ns;
} run;

static bool is_stopped(const edgead_line_buffer *buffer)
{
    return atomic_load_explicit(&buffer->state, memory_order_acquire) & STATE_STOPPED;
}

/* The filled block goes out. Whole, the following one goes on with the overlap; otherwise afresh. */
static void publish(edgead_line_buffer *buffer, uint32_t flags)
{
    line_slot *slot = buffer->filling;
    slot->flags = flags;
    slot->sequence = buffer->next_sequence++;
    buffer->part_published = true;
    buffer->filling = buffer->following;
    buffer->following = NULL;
    if (buffer->filling != NULL) {
        if (flags != 0)
            buffer->filling->lines = 0;
        buffer->filling->repeated = buffer->filling->lines;
    }
    line_queue_append(&buffer->ready, (uint64_t)slot->part << 32 | (uint64_t)(slot - buffer->slots));
}

/* A line is counted once: what a block repeats was counted with the last one if that was overwritten as well
 * (then it is counted here instead), and what it passes on to the next is not gone. */
static line_slot *overwrite_oldest(edgead_line_buffer *buffer)
{
    uint64_t entry;
    while (line_queue_pop(&buffer->ready, &entry)) {
        if ((uint32_t)entry == LINE_NO_BLOCK)
            continue; /* a mark that its part has ended: the next block's part says it as well */
        line_slot *slot = &buffer->slots[(uint32_t)entry];
        uint32_t seen = slot->sequence == buffer->last_overwritten + 1 ? 0 : slot->repeated;
        uint32_t passed_on = slot->flags == 0 ? buffer->format.overlap : 0;
        count(&buffer->overwritten, slot->lines - seen - passed_on);
        buffer->last_overwritten = slot->sequence;
        return slot;
    }
    return NULL;
}

static line_slot *wait_for_spare(edgead_line_buffer *buffer)
{
    int64_t began = line_now_ns();
    uint64_t entry;
    line_slot *slot = NULL;
    if (buffer->give_up_ns == 0)
        buffer->give_up_ns =
            buffer->format.wait_ns < INT64_MAX - began ? began + buffer->format.wait_ns : INT64_MAX;
    for (uint32_t round = 0; slot == NULL && !is_stopped(buffer) && line_now_ns() < buffer->give_up_ns;) {
        line_pause(&round);
        if (line_queue_pop(&buffer->spare, &entry))
            slot = &buffer->slots[(uint32_t)entry];
    }
    count(&buffer->waited_ns, (uint64_t)(line_now_ns() - began));
    return slot;
}

static line_slot *obtain(edgead_line_buffer *buffer)
{
    uint64_t entry;
    line_slot *slot = NULL;
    if (line_queue_pop(&buffer->spare, &entry))
        slot = &buffer->slots[(uint32_t)entry];
    else if (buffer->format.when_full == EDGEAD_LINE_DROP_OLDEST)
        slot = overwrite_oldest(buffer);
    else if (buffer->format.when_full == EDGEAD_LINE_WAIT)
        slot = wait_for_spare(buffer);
    if (slot != NULL)
        slot->lines = slot->repeated = 0;
    return slot;
}

/* Room for one line at least. Without a following block for the overlap there is none: the block that is
 * being filled goes out as it is, rather than keep its lines from a consumer that may soon be idle. */
static bool make_room(edgead_line_buffer *buffer)
{
    if (buffer->filling == NULL && (buffer->filling = obtain(buffer)) == NULL)
        return false;
    if (buffer->format.overlap > 0 && buffer->filling->lines == buffer->step && buffer->following == NULL
        && (buffer->following = obtain(buffer)) == NULL) {
        publish(buffer, EDGEAD_LINE_CUT);
        return false;
    }
    return true;
}

/* Copies; the lines are the slot's once `lines` has grown. A producer that dies in here leaves whole lines. */
static void copy(const edgead_line_buffer *buffer, line_slot *slot, const run *from, uint32_t lines)
{
    size_t bytes = buffer->line_bytes;
    unsigned char *to = slot->pixels + bytes * slot->lines;
    if (slot->lines == 0) {
        slot->first_number = buffer->expected_number;
        slot->part = buffer->part;
        slot->part_first_number = buffer->part_first_number;
    }
    if (from->stride == bytes) {
        memcpy(to, from->pixels, bytes * lines);
    } else {
        for (uint32_t line = 0; line < lines; ++line)
            memcpy(to + bytes * line, from->pixels + from->stride * line, bytes);
    }
    for (uint32_t line = 0; line < lines; ++line) {
        slot->timestamps_ns[slot->lines + line] = from->timestamps_ns ? from->timestamps_ns[line]
                                                                      : from->timestamp_ns;
        slot->encoders[slot->lines + line] = from->encoders ? from->encoders[line] : from->encoder;
        slot->arrived_ns[slot->lines + line] = from->now_ns;
    }
}

static void store(edgead_line_buffer *buffer, const run *from, uint32_t lines)
{
    copy(buffer, buffer->filling, from, lines);
    if (buffer->following != NULL) {
        copy(buffer, buffer->following, from, lines);
        buffer->following->lines += lines;
    }
    buffer->filling->lines += lines;
    count(&buffer->pushed, lines);
}

static void note_high_water(edgead_line_buffer *buffer)
{
    uint64_t waiting = counted(&buffer->pushed) - counted(&buffer->dropped) - counted(&buffer->overwritten)
                     - counted(&buffer->consumed);
    if (waiting > counted(&buffer->high_water))
        atomic_store_explicit(&buffer->high_water, waiting, memory_order_release);
}

/* As many of `lines` as fit in one go, or one that is dropped; how many that were. */
static uint32_t offer(edgead_line_buffer *buffer, const run *from, size_t lines, edgead_line_status *status)
{
    uint32_t done = 1;
    if (is_stopped(buffer) || !make_room(buffer)) {
        *status = is_stopped(buffer) ? EDGEAD_LINE_STOPPED : EDGEAD_LINE_DROPPED;
        count(&buffer->pushed, 1);
        count(&buffer->dropped, 1);
    } else {
        uint32_t filled = buffer->filling->lines;
        uint32_t room = (filled < buffer->step ? buffer->step : buffer->format.block_lines) - filled;
        done = lines < room ? (uint32_t)lines : room;
        store(buffer, from, done);
        note_high_water(buffer);
    }
    buffer->expected_number += done;
    if (buffer->filling != NULL && buffer->filling->lines == buffer->format.block_lines)
        publish(buffer, 0);
    return done;
}

static void begin_run(edgead_line_buffer *buffer, int64_t number)
{
    if (!buffer->part_open) {
        buffer->part_open = true;
        buffer->part_first_number = number;
    } else if (number != buffer->expected_number) {
        count(&buffer->lost, (uint64_t)(number - buffer->expected_number));
        if (buffer->filling != NULL && buffer->filling->lines > 0)
            publish(buffer, EDGEAD_LINE_CUT);
    }
    buffer->expected_number = number;
}

static edgead_line_status push_run(edgead_line_buffer *buffer, run from, size_t lines, int64_t number)
{
    edgead_line_status status = EDGEAD_LINE_OK;
    begin_run(buffer, number);
    while (lines > 0) {
        uint32_t done = offer(buffer, &from, lines, &status);
        lines -= done;
        from.pixels += from.stride * done;
        from.timestamps_ns += from.timestamps_ns ? done : 0;
        from.encoders += from.encoders ? done : 0;
    }
    return status;
}

static edgead_line_status refuse(edgead_line_buffer *buffer, edgead_line_status status)
{
    count(&buffer->refused, 1);
    return status;
}

/* INT64_MAX is no number of a line, for none could follow it. */
static bool may_follow(const edgead_line_buffer *buffer, int64_t number)
{
    return number < INT64_MAX && number >= (buffer->part_open ? buffer->expected_number : 0);
}

static edgead_line_status may_push(edgead_line_buffer *buffer, const void *pixels, size_t bytes)
{
    if (atomic_load_explicit(&buffer->state, memory_order_relaxed) & STATE_CLOSED)
        return refuse(buffer, EDGEAD_LINE_CLOSED);
    if (pixels == NULL)
        return refuse(buffer, EDGEAD_LINE_NULL);
    if (bytes != buffer->line_bytes)
        return refuse(buffer, EDGEAD_LINE_SIZE);
    buffer->give_up_ns = 0;
    return EDGEAD_LINE_OK;
}

edgead_line_status line_push_line(edgead_line_buffer *buffer, const void *pixels, size_t bytes, int64_t number,
                                  int64_t timestamp_ns, int64_t encoder)
{
    if (buffer == NULL)
        return EDGEAD_LINE_NULL;
    edgead_line_status status = may_push(buffer, pixels, bytes);
    if (status != EDGEAD_LINE_OK)
        return status;
    if (number == EDGEAD_LINE_NEXT)
        number = buffer->expected_number;
    if (!may_follow(buffer, number))
        return refuse(buffer, EDGEAD_LINE_NUMBER);
    run from = {.pixels = pixels, .stride = bytes, .encoder = encoder, .now_ns = line_now_ns()};
    from.timestamp_ns = timestamp_ns == EDGEAD_LINE_NOW ? from.now_ns : timestamp_ns;
    return push_run(buffer, from, 1, number);
}

static bool may_follow_all(const edgead_line_buffer *buffer, const int64_t *numbers, size_t lines)
{
    if (numbers == NULL)
        return buffer->expected_number < INT64_MAX && lines <= (size_t)(INT64_MAX - buffer->expected_number);
    for (size_t line = 1; line < lines; ++line)
        if (numbers[line] <= numbers[line - 1] || numbers[line] == INT64_MAX)
            return false;
    return may_follow(buffer, numbers[0]);
}

edgead_line_status line_push_lines(edgead_line_buffer *buffer, const void *pixels, size_t line_bytes, size_t stride,
                                   size_t lines, const int64_t *numbers, const int64_t *timestamps_ns,
                                   const int64_t *encoders)
{
    if (buffer == NULL)
        return EDGEAD_LINE_NULL;
    edgead_line_status status = may_push(buffer, pixels, line_bytes), worst = EDGEAD_LINE_OK;
    if (status != EDGEAD_LINE_OK)
        return status;
    if (stride < line_bytes || (lines > 0 && stride > (size_t)PTRDIFF_MAX / lines))
        return refuse(buffer, EDGEAD_LINE_SIZE);
    if (lines > 0 && !may_follow_all(buffer, numbers, lines))
        return refuse(buffer, EDGEAD_LINE_NUMBER);
    run from = {.pixels = pixels, .stride = stride, .now_ns = line_now_ns()};
    from.timestamp_ns = from.now_ns;
    for (size_t first = 0, length; first < lines; first += length) {
        length = 1;
        while (first + length < lines && (!numbers || numbers[first + length] == numbers[first] + (int64_t)length))
            ++length;
        from.pixels = (const unsigned char *)pixels + stride * first;
        from.timestamps_ns = timestamps_ns ? timestamps_ns + first : NULL;
        from.encoders = encoders ? encoders + first : NULL;
        status = push_run(buffer, from, length, numbers ? numbers[first] : buffer->expected_number);
        worst = status > worst ? status : worst;
    }
    return worst;
}

/* A part whose last block went out before its end was known is ended by a mark in place of a block. */
edgead_line_status line_end_part(edgead_line_buffer *buffer)
{
    if (buffer == NULL)
        return EDGEAD_LINE_NULL;
    if (atomic_load_explicit(&buffer->state, memory_order_relaxed) & STATE_CLOSED)
        return EDGEAD_LINE_CLOSED;
    if (!buffer->part_open)
        return EDGEAD_LINE_OK;
    if (buffer->filling != NULL && buffer->filling->lines > 0)
        publish(buffer, EDGEAD_LINE_ENDS_PART);
    else if (buffer->part_published)
        line_queue_append(&buffer->ready, (uint64_t)buffer->part << 32 | LINE_NO_BLOCK);
    buffer->part_open = buffer->part_published = false;
    ++buffer->part;
    count(&buffer->parts, 1);
    return EDGEAD_LINE_OK;
}

edgead_line_status line_close(edgead_line_buffer *buffer)
{
    if (buffer == NULL)
        return EDGEAD_LINE_NULL;
    line_end_part(buffer);
    atomic_fetch_or_explicit(&buffer->state, STATE_CLOSED, memory_order_release);
    return EDGEAD_LINE_OK;
}

edgead_line_status line_fail(edgead_line_buffer *buffer, const char *why)
{
    if (buffer == NULL)
        return EDGEAD_LINE_NULL;
    if (atomic_load_explicit(&buffer->state, memory_order_relaxed) & STATE_CLOSED)
        return EDGEAD_LINE_CLOSED;
    line_end_part(buffer);
    strncpy(buffer->failure, why ? why : "", LINE_FAILURE_BYTES - 1);
    atomic_fetch_or_explicit(&buffer->state, STATE_CLOSED | STATE_FAILED, memory_order_release);
    return EDGEAD_LINE_OK;
}
