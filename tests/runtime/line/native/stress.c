/* stress WHEN_FULL SECONDS SEED: producer, taker, releaser and a reader of the counts, each on a thread of its own.
 *
 * The consumer checks every pixel that it is shown, works now and then longer than the ring lasts, and counts
 * each line for itself; the counts must agree to the line. In the end one side or the other ends it. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <time.h>

#include "check.h"

enum { WIDTH = 96, BLOCK = 24, BLOCKS = 6, BATCH = 60 };

static edgead_line_buffer *buffer;
static int64_t until_ns;
static _Atomic int done;
static int ended_by_consumer;
static uint64_t producer_seed, consumer_seed;
static uint64_t offered, lost, shown; /* each written by one thread, read after it has ended */

static edgead_line_block handed[BLOCKS]; /* from the taker to the releaser, one writer and one reader each */
static _Atomic uint32_t handed_head, handed_tail;

static void *produce(void *unused)
{
    static unsigned char lines[BATCH * WIDTH];
    static int64_t numbers[BATCH], timestamps[BATCH], encoders[BATCH];
    int64_t number = 0;
    uint32_t part = 0, in_part = 0;
    edgead_line_status status = EDGEAD_LINE_OK;
    while (line_now_ns() < until_ns && status != EDGEAD_LINE_STOPPED) {
        uint32_t batch = random_below(&producer_seed, 3) ? 1 : random_below(&producer_seed, BATCH);
        for (uint32_t line = 0; line < batch; ++line) {
            uint32_t gap = random_below(&producer_seed, 40) ? 0 : random_below(&producer_seed, 50);
            lost += line + in_part > 0 ? gap : 0;
            numbers[line] = number += gap;
            timestamps[line] = number * 1000;
            encoders[line] = -number;
            draw_line(lines + line * WIDTH, WIDTH, part, number++);
        }
        if (batch == 1)
            status = line_api.push_line(buffer, lines, WIDTH, numbers[0], timestamps[0], encoders[0]);
        else
            status = line_api.push_lines(buffer, lines, WIDTH, WIDTH, batch, numbers, timestamps, encoders);
        CHECK(status >= 0);
        offered += batch;
        in_part += batch;
        if (random_below(&producer_seed, 50) == 0) {
            CHECK(line_api.end_part(buffer) == EDGEAD_LINE_OK);
            part += in_part > 0;
            in_part = 0;
            number = random_below(&producer_seed, 2) ? 0 : number;
        }
    }
    CHECK(random_below(&producer_seed, 2) ? line_api.close(buffer) == EDGEAD_LINE_OK
                                          : line_api.fail(buffer, "the camera is gone") == EDGEAD_LINE_OK);
    return unused;
}

static void *take(void *unused)
{
    edgead_line_block block;
    edgead_line_status status;
    uint32_t part = 0;
    int64_t next = 0; /* the number after the last line shown of this part */
    while ((status = line_api.take(buffer, &block, 1000000)) == EDGEAD_LINE_OK || status == EDGEAD_LINE_TIMEOUT) {
        if (ended_by_consumer && line_now_ns() > until_ns)
            line_api.stop(buffer);
        if (status == EDGEAD_LINE_TIMEOUT)
            continue;
        CHECK(block.part >= part);
        if (block.part == part && block.lines > 0)
            CHECK(block.first_number + block.repeated - block.missing_before == next);
        part = block.part;
        next = block.lines > 0 ? block.first_number + block.lines : next;
        shown += block.lines - block.repeated;
        check_block(&block, WIDTH);
        if (random_below(&consumer_seed, 30) == 0)
            nanosleep(&(struct timespec){0, 2000000}, NULL);
        while (handed_head - handed_tail == BLOCKS)
            nanosleep(&(struct timespec){0, 10000}, NULL);
        handed[handed_head % BLOCKS] = block;
        ++handed_head;
    }
    CHECK(status == EDGEAD_LINE_STOPPED || status == EDGEAD_LINE_END || status == EDGEAD_LINE_FAILED);
    CHECK((status == EDGEAD_LINE_FAILED) == (strcmp(line_api.failure(buffer), "the camera is gone") == 0)
          || status == EDGEAD_LINE_STOPPED);
    done = 1;
    return unused;
}

static void *release(void *unused)
{
    for (;;) {
        int last = done;
        if (handed_tail == handed_head) {
            if (last)
                return unused;
            nanosleep(&(struct timespec){0, 10000}, NULL);
            continue;
        }
        edgead_line_block block = handed[handed_tail % BLOCKS];
        check_block(&block, WIDTH); /* still whole: nobody writes to what is held */
        CHECK(line_api.release(buffer, &block) == EDGEAD_LINE_OK);
        ++handed_tail;
    }
}

static void *watch(void *unused)
{
    while (!done) {
        CHECK(statistics(buffer).waiting <= (BLOCKS + 1) * BLOCK + BATCH);
        nanosleep(&(struct timespec){0, 50000}, NULL);
    }
    return unused;
}

int main(int count, char **arguments)
{
    CHECK(count == 4);
    uint64_t seed = strtoull(arguments[3], NULL, 10) * 2 + 1;
    producer_seed = consumer_seed = seed * 0x9E3779B97F4A7C15ULL;
    ended_by_consumer = seed & 2;
    edgead_line_status status;
    edgead_line_format format = {
        .width = WIDTH, .channels = 1, .bytes_per_sample = 1, .block_lines = BLOCK,
        .overlap = seed & 4 ? 7 : 0, .blocks = BLOCKS, .when_full = (uint32_t)atoi(arguments[1]),
        .wait_ns = 500000, .deadline_ns = 1000000,
    };
    buffer = line_buffer_create(&format, &status);
    CHECK(buffer != NULL);
    until_ns = line_now_ns() + (int64_t)(atof(arguments[2]) * 1e9);
    void *(*work[])(void *) = {produce, take, release, watch};
    pthread_t threads[4];
    for (int number = 0; number < 4; ++number)
        CHECK(pthread_create(&threads[number], NULL, work[number], NULL) == 0);
    for (int number = 0; number < 4; ++number)
        CHECK(pthread_join(threads[number], NULL) == 0);
    edgead_line_statistics end = statistics(buffer);
    CHECK(end.pushed == offered && end.lost == lost && end.consumed == shown && end.refused == 0);
    CHECK(ended_by_consumer || end.waiting == 0);
    CHECK(format.when_full == EDGEAD_LINE_DROP_OLDEST || end.overwritten == 0);
    CHECK(end.late <= end.consumed && end.high_water <= BLOCKS * BLOCK && end.consumed > 0);
    printf("pushed %llu consumed %llu overwritten %llu dropped %llu waiting %llu lost %llu\n",
           (unsigned long long)end.pushed, (unsigned long long)end.consumed, (unsigned long long)end.overwritten,
           (unsigned long long)end.dropped, (unsigned long long)end.waiting, (unsigned long long)end.lost);
    line_api.let_go(buffer);
    return 0;
}
