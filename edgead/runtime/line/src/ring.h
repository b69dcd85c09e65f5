/* The ring behind edgead_line.h: plain C11, no Python. Three files share it: ring.c makes it and counts,
 * producer.c fills blocks, consumer.c takes them.
 *
 * The ring is a pool of blocks and two queues of block numbers: `ready` carries filled blocks to the consumer,
 * `spare` brings them back. A block belongs to one side at a time, and changes sides through a queue, whose
 * release store and acquire load make its content visible; so no line is ever written while somebody reads it.
 * To overwrite the oldest, the producer takes it from `ready` as the consumer would: whoever moves the tail by
 * compare-and-swap has the block. Positions in a queue are 64 bits and never come round again.
 *
 * Blocks overlap by writing: a line of the overlap is copied into the block that is being filled and into the
 * following one. That spreads the cost over the lines; copying the overlap at once would stall one push per block.
 *
 * Who waits polls with short sleeps. So a push makes no system call to wake anybody, and nobody can die
 * holding a lock.
 */
#ifndef EDGEAD_RING_H
#define EDGEAD_RING_H

#include <stdatomic.h>
#include <stdbool.h>

#include "edgead_line.h"

#define LINE_CACHE 128 /* two cache lines: neighbours are fetched in pairs on x86, and are 128 bytes on some ARM */
#define LINE_NO_BLOCK UINT32_MAX
#define LINE_FAILURE_BYTES 200

enum { STATE_CLOSED = 1, STATE_FAILED = 2, STATE_STOPPED = 4 };

/* One writer at a time; anybody reads. */
typedef _Atomic uint64_t line_counter;

static inline uint64_t counted(const line_counter *counter)
{
    return atomic_load_explicit(counter, memory_order_acquire);
}

static inline void count(line_counter *counter, uint64_t more)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + more, memory_order_release);
}

typedef struct line_slot {
    unsigned char *pixels;
    int64_t *timestamps_ns, *encoders, *arrived_ns;
    int64_t first_number, part_first_number;
    uint64_t sequence;
    uint32_t part, lines, flags;
    uint32_t repeated; /* at the head, also in the block of the sequence before; the taker may lower it */
    _Atomic uint32_t held;
} line_slot;

/* Of (part << 32 | block number). One thread appends; several may pop. Never more entries than `mask` + 1. */
typedef struct line_queue {
    _Alignas(LINE_CACHE) line_counter head;
    _Alignas(LINE_CACHE) line_counter tail;
    line_counter *entries;
    uint64_t mask;
} line_queue;

void line_queue_append(line_queue *, uint64_t entry);
bool line_queue_pop(line_queue *, uint64_t *entry);

struct edgead_line_buffer {
    edgead_line_format format;
    size_t line_bytes;
    uint32_t step; /* lines from the head of a block to that of the next */
    line_slot *slots;
    void *memory;
    _Atomic uint32_t state;
    _Atomic uint32_t references;
    char failure[LINE_FAILURE_BYTES]; /* written before STATE_FAILED is set */
    line_queue ready, spare;

    /* The producer's. `following` is there once `filling` has reached `step`, and repeats what comes after. */
    _Alignas(LINE_CACHE) line_slot *filling;
    line_slot *following;
    int64_t expected_number, part_first_number, give_up_ns;
    uint64_t next_sequence, last_overwritten;
    uint32_t part;
    bool part_open;      /* a line of this part was offered */
    bool part_published; /* a block of this part went out */
    line_counter pushed, overwritten, dropped, lost, refused, parts, high_water, waited_ns;

    /* The taker's. */
    _Alignas(LINE_CACHE) uint64_t last_taken;
    int64_t shown_to; /* number after the last line shown of part `shown_part` */
    uint32_t shown_part;
    bool shown_any;

    /* The releaser's. */
    _Alignas(LINE_CACHE) line_counter consumed;
    line_counter late;
};

/* NULL when the format is impossible (status SIZE) or memory is short (status OK). */
edgead_line_buffer *line_buffer_create(const edgead_line_format *, edgead_line_status *);
extern const edgead_line_api line_api;

int64_t line_now_ns(void);
void line_pause(uint32_t *round); /* sleeps, longer with each round: 20 to 200 us */

edgead_line_status line_push_line(edgead_line_buffer *, const void *, size_t, int64_t, int64_t, int64_t);
edgead_line_status line_push_lines(edgead_line_buffer *, const void *, size_t, size_t, size_t, const int64_t *,
                                   const int64_t *, const int64_t *);
edgead_line_status line_end_part(edgead_line_buffer *);
edgead_line_status line_close(edgead_line_buffer *);
edgead_line_status line_fail(edgead_line_buffer *, const char *why);
edgead_line_status line_take(edgead_line_buffer *, edgead_line_block *, int64_t timeout_ns);
edgead_line_status line_release(edgead_line_buffer *, const edgead_line_block *);
#endif
