/* The consumer's side: blocks are taken in order and given back in any. */
#include "ring.h"

#include <string.h>

static void describe(const edgead_line_buffer *buffer, line_slot *slot, edgead_line_block *out)
{
    *out = (edgead_line_block){
        .pixels = slot->pixels,
        .stride = buffer->line_bytes,
        .timestamps_ns = slot->timestamps_ns,
        .encoders = slot->encoders,
        .arrived_ns = slot->arrived_ns,
        .first_number = slot->first_number,
        .sequence = slot->sequence,
        .lines = slot->lines,
        .repeated = slot->repeated,
        .part = slot->part,
        .flags = slot->flags,
        .handle = (uint32_t)(slot - buffer->slots),
    };
}

/* Where the block before was overwritten, its last lines are shown here for the first time. */
static void show(edgead_line_buffer *buffer, line_slot *slot, edgead_line_block *out)
{
    if (slot->sequence != buffer->last_taken + 1)
        slot->repeated = 0;
    bool same_part = buffer->shown_any && buffer->shown_part == slot->part;
    describe(buffer, slot, out);
    out->missing_before = slot->first_number + slot->repeated
                        - (same_part ? buffer->shown_to : slot->part_first_number);
    buffer->last_taken = slot->sequence;
    buffer->shown_to = slot->first_number + slot->lines;
    buffer->shown_part = slot->part;
    buffer->shown_any = true;
    atomic_store_explicit(&slot->held, 1, memory_order_release);
}

static void show_end(const edgead_line_buffer *buffer, uint32_t part, edgead_line_block *out)
{
    bool same_part = buffer->shown_any && buffer->shown_part == part;
    *out = (edgead_line_block){
        .stride = buffer->line_bytes,
        .first_number = same_part ? buffer->shown_to : 0,
        .sequence = buffer->last_taken,
        .part = part,
        .flags = EDGEAD_LINE_ENDS_PART,
        .handle = LINE_NO_BLOCK,
    };
}

/* The state is read before the queue: what was published before closing is found. */
static edgead_line_status look(edgead_line_buffer *buffer, edgead_line_block *out)
{
    uint32_t state = atomic_load_explicit(&buffer->state, memory_order_acquire);
    uint64_t entry;
    if (state & STATE_STOPPED)
        return EDGEAD_LINE_STOPPED;
    if (line_queue_pop(&buffer->ready, &entry)) {
        if ((uint32_t)entry == LINE_NO_BLOCK)
            show_end(buffer, (uint32_t)(entry >> 32), out);
        else
            show(buffer, &buffer->slots[(uint32_t)entry], out);
        return EDGEAD_LINE_OK;
    }
    if (state & STATE_CLOSED)
        return state & STATE_FAILED ? EDGEAD_LINE_FAILED : EDGEAD_LINE_END;
    return EDGEAD_LINE_TIMEOUT;
}

edgead_line_status line_take(edgead_line_buffer *buffer, edgead_line_block *out, int64_t timeout_ns)
{
    if (buffer == NULL || out == NULL)
        return EDGEAD_LINE_NULL;
    edgead_line_status status = look(buffer, out);
    if (status != EDGEAD_LINE_TIMEOUT || timeout_ns <= 0)
        return status;
    int64_t now = line_now_ns();
    int64_t until = timeout_ns < INT64_MAX - now ? now + timeout_ns : INT64_MAX;
    for (uint32_t round = 0; status == EDGEAD_LINE_TIMEOUT && line_now_ns() < until;) {
        line_pause(&round);
        status = look(buffer, out);
    }
    return status;
}

static uint64_t late_lines(const edgead_line_buffer *buffer, const line_slot *slot)
{
    uint64_t late = 0;
    if (buffer->format.deadline_ns > 0) {
        int64_t oldest = line_now_ns() - buffer->format.deadline_ns;
        for (uint32_t line = slot->repeated; line < slot->lines && slot->arrived_ns[line] < oldest; ++line)
            ++late; /* they arrived in order: the first that is in time ends the search */
    }
    return late;
}

/* Counted before the block is given back, or the producer would find more waiting than there is room for. */
edgead_line_status line_release(edgead_line_buffer *buffer, const edgead_line_block *block)
{
    if (buffer == NULL || block == NULL)
        return EDGEAD_LINE_NULL;
    if (block->handle == LINE_NO_BLOCK && block->lines == 0)
        return EDGEAD_LINE_OK;
    if (block->handle >= buffer->format.blocks)
        return EDGEAD_LINE_NOT_HELD;
    line_slot *slot = &buffer->slots[block->handle];
    if (!atomic_load_explicit(&slot->held, memory_order_acquire) || slot->sequence != block->sequence)
        return EDGEAD_LINE_NOT_HELD;
    atomic_store_explicit(&slot->held, 0, memory_order_relaxed);
    count(&buffer->late, late_lines(buffer, slot));
    count(&buffer->consumed, slot->lines - slot->repeated);
    line_queue_append(&buffer->spare, block->handle);
    return EDGEAD_LINE_OK;
}
