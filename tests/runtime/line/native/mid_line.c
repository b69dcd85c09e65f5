/* mid_line: the camera's memory vanishes while a line is being copied, and the producer's thread dies of it.
 *
 * The second half of the line lies in a page that cannot be read, as when a frame grabber is unplugged. The
 * consumer must see whole lines only, and every one of them; somebody else may then end the stream. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

enum { BEFORE = 21, BLOCK = 16 };
static edgead_line_buffer *buffer;
static sigjmp_buf out_of_the_copy;
static size_t width;
static unsigned char *half_gone;

static void vanish(int signal_number)
{
    (void)signal_number;
    siglongjmp(out_of_the_copy, 1);
}

static void *produce(void *died)
{
    unsigned char *line = malloc(width);
    for (int64_t number = 0; number < BEFORE; ++number) {
        draw_line(line, width, 0, number);
        CHECK(line_api.push_line(buffer, line, width, number, number * 1000, -number) == EDGEAD_LINE_OK);
    }
    free(line);
    if (sigsetjmp(out_of_the_copy, 1) == 0)
        line_api.push_line(buffer, half_gone, width, BEFORE, 0, 0);
    else
        *(int *)died = 1;
    return NULL;
}

int main(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    int died = 0;
    edgead_line_status status;
    edgead_line_block block;
    width = 2 * page;
    half_gone = mmap(NULL, width, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(half_gone != MAP_FAILED && mprotect(half_gone + page, page, PROT_NONE) == 0);
    struct sigaction action = {.sa_handler = vanish};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0 && sigaction(SIGBUS, &action, NULL) == 0);
    edgead_line_format format = {.width = (uint32_t)width, .channels = 1, .bytes_per_sample = 1,
                                 .block_lines = BLOCK, .overlap = 4, .blocks = 4};
    buffer = line_buffer_create(&format, &status);
    pthread_t producer;
    CHECK(buffer != NULL && pthread_create(&producer, NULL, produce, &died) == 0);
    CHECK(pthread_join(producer, NULL) == 0 && died);

    uint32_t seen = 0;
    CHECK(line_api.take(buffer, &block, 0) == EDGEAD_LINE_OK && block.lines == BLOCK);
    CHECK(line_api.take(buffer, &block, 1000000) == EDGEAD_LINE_TIMEOUT); /* the consumer is not left hanging */
    CHECK(statistics(buffer).pushed == BEFORE && statistics(buffer).waiting == BEFORE);
    CHECK(line_api.release(buffer, &block) == EDGEAD_LINE_OK);
    seen += block.lines;
    CHECK(line_api.fail(buffer, "the driver's thread died") == EDGEAD_LINE_OK);
    while ((status = line_api.take(buffer, &block, 0)) == EDGEAD_LINE_OK) {
        check_block(&block, width);
        seen += block.lines - block.repeated;
        CHECK(line_api.release(buffer, &block) == EDGEAD_LINE_OK);
    }
    CHECK(status == EDGEAD_LINE_FAILED && seen == BEFORE);
    CHECK(statistics(buffer).consumed == BEFORE && statistics(buffer).waiting == 0);
    line_api.let_go(buffer);
    return 0;
}
