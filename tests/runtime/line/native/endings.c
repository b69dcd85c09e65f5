/* endings SECONDS SEED: streams of a few lines, one after the other, for what goes wrong at the very end does so
 * once per stream. The last block is published and the buffer closed while the consumer is looking. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <sched.h>

#include "check.h"

enum { WIDTH = 8 };

typedef struct stream {
    edgead_line_buffer *buffer;
    int64_t lines;
    bool fails;
} stream;

static void *produce(void *object)
{
    stream *self = object;
    unsigned char line[WIDTH];
    for (int64_t number = 0; number < self->lines; ++number) {
        draw_line(line, WIDTH, 0, number);
        CHECK(line_api.push_line(self->buffer, line, WIDTH, number, number * 1000, -number) == EDGEAD_LINE_OK);
    }
    CHECK((self->fails ? line_api.fail(self->buffer, "gone") : line_api.close(self->buffer)) == EDGEAD_LINE_OK);
    line_api.let_go(self->buffer); /* whoever is last frees it */
    return NULL;
}

static void one_stream(uint64_t *seed)
{
    edgead_line_format format = {.width = WIDTH, .channels = 1, .bytes_per_sample = 1, .block_lines = 4,
                                 .overlap = random_below(seed, 3), .blocks = 16};
    edgead_line_status status;
    edgead_line_block block;
    pthread_t producer;
    int64_t shown = 0;
    bool told = false, yields = random_below(seed, 8); /* else it is interrupted somewhere in its look */
    stream s = {line_buffer_create(&format, &status), random_below(seed, 12), random_below(seed, 2)};
    edgead_line_buffer *buffer = line_api.retain(s.buffer);
    CHECK(pthread_create(&producer, NULL, produce, &s) == 0);
    do {
        status = line_api.take(buffer, &block, 0);
        if (status == EDGEAD_LINE_TIMEOUT && yields)
            sched_yield();
        if (status == EDGEAD_LINE_OK) {
            check_block(&block, WIDTH);
            CHECK(!told);
            told = block.flags & EDGEAD_LINE_ENDS_PART;
            shown += block.lines - block.repeated;
            CHECK(line_api.release(buffer, &block) == EDGEAD_LINE_OK);
        }
    } while (status == EDGEAD_LINE_OK || status == EDGEAD_LINE_TIMEOUT);
    CHECK(status == (s.fails ? EDGEAD_LINE_FAILED : EDGEAD_LINE_END));
    CHECK(shown == s.lines && told == (s.lines > 0) && statistics(buffer).waiting == 0);
    CHECK(strcmp(line_api.failure(buffer), s.fails ? "gone" : "") == 0);
    if (random_below(seed, 2)) { /* who lets go last differs */
        line_api.let_go(buffer);
        CHECK(pthread_join(producer, NULL) == 0);
    } else {
        CHECK(pthread_join(producer, NULL) == 0);
        line_api.let_go(buffer);
    }
}

int main(int count, char **arguments)
{
    CHECK(count == 3);
    int64_t until_ns = line_now_ns() + (int64_t)(atof(arguments[1]) * 1e9);
    uint64_t seed = strtoull(arguments[2], NULL, 10) * 2654435761u + 1, streams = 0;
    for (; line_now_ns() < until_ns; ++streams)
        one_stream(&seed);
    printf("%llu streams\n", (unsigned long long)streams);
    return 0;
}
