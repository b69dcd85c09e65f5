/* What the native tests share: a check that tells where it failed, random numbers, lines that know their number. */
#ifndef EDGEAD_TEST_CHECK_H
#define EDGEAD_TEST_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ring.h"

#define CHECK(condition)                                                                       \
    do {                                                                                       \
        if (!(condition)) {                                                                    \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);          \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

static inline uint32_t random_below(uint64_t *seed, uint32_t limit) /* xorshift64* (Vigna, 2016) */
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return (uint32_t)((*seed * 2685821657736338717ULL) >> 32) % limit;
}

/* Every pixel follows from part, number and column, so a torn or misplaced line is seen. */
static inline unsigned char pixel(uint32_t part, int64_t number, size_t column)
{
    return (unsigned char)((uint64_t)number * 31 + part * 7 + column * 13 + ((uint64_t)number >> 8));
}

static inline void draw_line(unsigned char *line, size_t bytes, uint32_t part, int64_t number)
{
    for (size_t column = 0; column < bytes; ++column)
        line[column] = pixel(part, number, column);
}

static inline void check_block(const edgead_line_block *block, size_t bytes)
{
    CHECK(block->repeated <= block->lines);
    for (uint32_t line = 0; line < block->lines; ++line) {
        int64_t number = block->first_number + line;
        CHECK(block->timestamps_ns[line] == number * 1000 && block->encoders[line] == -number);
        for (size_t column = 0; column < bytes; ++column)
            CHECK(block->pixels[line * block->stride + column] == pixel(block->part, number, column));
    }
}

static inline edgead_line_statistics statistics(const edgead_line_buffer *buffer)
{
    edgead_line_statistics now;
    CHECK(line_api.get_statistics(buffer, &now, sizeof now) == EDGEAD_LINE_OK);
    CHECK(now.pushed == now.consumed + now.overwritten + now.dropped + now.waiting);
    return now;
}
#endif
