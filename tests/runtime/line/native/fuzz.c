/* fuzz SECONDS SEED: the interface called with anything, in any order, on one thread; what it must do is known.
 *
 * Sizes, strides, numbers that go back, NULL, blocks that are not held, formats that cannot be. Whatever is
 * refused must change nothing but the count of refusals; source buffers have exactly the size they are said
 * to have, so that AddressSanitizer sees a read beyond. */
#include "check.h"

enum { HELD = 70 };
static uint64_t seed;

static uint32_t below(uint32_t limit)
{
    return random_below(&seed, limit);
}

static int64_t any_number(int64_t expected)
{
    const int64_t odd[] = {EDGEAD_LINE_NEXT, -1, 0, INT64_MAX, INT64_MAX - 1, INT64_MIN + 1,
                           (int64_t)((uint64_t)expected - 1)};
    uint32_t kind = below(60);
    return kind < 7 ? odd[kind] : (int64_t)((uint64_t)expected + (below(10) ? 0 : below(30)));
}

static size_t any_size(size_t right)
{
    const size_t odd[] = {0, 1, right - 1, right + 1, SIZE_MAX, SIZE_MAX / 2, (size_t)1 << 63};
    uint32_t kind = below(70);
    return kind < 7 ? odd[kind] : right;
}

static edgead_line_format any_format(void)
{
    const uint32_t odd[] = {0, UINT32_MAX, 1u << 31, 1u << 16, 3};
    edgead_line_format format = {
        .width = 1 + below(40), .channels = 1 + below(3), .bytes_per_sample = 1 + below(2), .block_lines = 1 + below(12),
        .blocks = 4 + below(4), .when_full = below(3), .wait_ns = 0, .deadline_ns = below(2),
    };
    format.overlap = below(format.block_lines / 2 + 1);
    uint32_t *fields[] = {&format.width, &format.channels, &format.bytes_per_sample, &format.block_lines,
                          &format.overlap, &format.blocks, &format.when_full};
    if (below(4) == 0)
        *fields[below(7)] = odd[below(5)];
    return format;
}

/* Whether the line numbers are to be accepted, worked out apart from the ring. */
static bool acceptable(const int64_t *numbers, size_t lines, int64_t expected)
{
    for (size_t line = 0; line < lines; ++line) {
        if (numbers[line] < expected || numbers[line] == INT64_MAX)
            return false;
        expected = numbers[line] + 1;
    }
    return true;
}

typedef struct model { /* what the ring should know */
    int64_t expected;
    bool open, closed, stopped;
    uint64_t pushed, lost, refused;
} model;

static void push(edgead_line_buffer *buffer, size_t bytes, model *m)
{
    bool single = below(2);
    size_t lines = single ? 1 : below(40), said = any_size(bytes), stride = any_size(bytes + (below(3) ? 0 : below(9)));
    stride = single ? bytes : stride;
    bool null = below(50) == 0, sized = said == bytes && stride >= bytes && stride <= bytes + 16;
    unsigned char *pixels = calloc(lines + 1, (sized ? stride : bytes) + 1);
    unsigned char *exact = realloc(pixels, lines ? (sized ? stride : bytes) * (lines - 1) + bytes : 1);
    int64_t *numbers = malloc((lines + 1) * sizeof *numbers), next = m->open ? m->expected : 0;
    bool numbered = single || below(2);
    CHECK(exact != NULL && numbers != NULL);
    for (size_t line = 0; line < lines; ++line)
        next = (int64_t)((uint64_t)(numbers[line] = any_number(next)) + 1);
    edgead_line_statistics before = statistics(buffer);
    edgead_line_status status, expected = EDGEAD_LINE_OK;
    int64_t known = m->expected;
    if (single) {
        if (numbers[0] == EDGEAD_LINE_NEXT) {
            status = line_api.push_line(buffer, null ? NULL : exact, said, EDGEAD_LINE_NEXT, EDGEAD_LINE_NOW, 3);
            numbers[0] = known;
        } else {
            status = line_api.push_line(buffer, null ? NULL : exact, said, numbers[0], 0, 0);
        }
    } else {
        status = line_api.push_lines(buffer, null ? NULL : exact, said, stride, lines, numbered ? numbers : NULL, NULL,
                                     below(2) ? numbers : NULL);
    }
    if (!numbered)
        for (size_t line = 0; line < lines; ++line)
            numbers[line] = known < INT64_MAX - (int64_t)line ? known + (int64_t)line : INT64_MAX;
    if (m->closed)
        expected = EDGEAD_LINE_CLOSED;
    else if (null)
        expected = EDGEAD_LINE_NULL;
    else if (said != bytes || stride < bytes || (lines && stride > (size_t)PTRDIFF_MAX / lines))
        expected = EDGEAD_LINE_SIZE;
    else if (!acceptable(numbers, lines, m->open ? m->expected : 0))
        expected = EDGEAD_LINE_NUMBER;
    if (expected == EDGEAD_LINE_OK && lines > 0) {
        CHECK(status >= 0 && (status == EDGEAD_LINE_STOPPED) == m->stopped);
        m->pushed += lines;
        for (size_t line = 0; line < lines; ++line) {
            m->lost += m->open ? (uint64_t)(numbers[line] - m->expected) : 0;
            m->open = true;
            m->expected = numbers[line] + 1;
        }
    } else {
        CHECK(status == expected);
        m->refused += expected != EDGEAD_LINE_OK;
        edgead_line_statistics after = statistics(buffer);
        after.refused = before.refused;
        CHECK(memcmp(&before, &after, sizeof after) == 0);
    }
    free(exact);
    free(numbers);
}

static void consume(edgead_line_buffer *buffer, edgead_line_block *held, uint32_t *holding, const model *m)
{
    edgead_line_block never = {.handle = below(1000), .sequence = below(1000), .lines = 1};
    if (*holding < HELD && below(3)) {
        edgead_line_status status = line_api.take(buffer, &held[*holding], 0);
        CHECK(status != EDGEAD_LINE_STOPPED || m->stopped);
        *holding += status == EDGEAD_LINE_OK;
    } else if (*holding > 0) {
        uint32_t which = below(*holding);
        CHECK(line_api.release(buffer, &held[which]) == EDGEAD_LINE_OK);
        CHECK(held[which].lines == 0 || line_api.release(buffer, &held[which]) == EDGEAD_LINE_NOT_HELD);
        held[which] = held[--*holding];
    }
    bool is_held = false;
    for (uint32_t number = 0; number < *holding; ++number)
        is_held |= held[number].handle == never.handle && held[number].sequence == never.sequence;
    if (!is_held)
        CHECK(line_api.release(buffer, &never) == EDGEAD_LINE_NOT_HELD);
    CHECK(line_api.take(buffer, NULL, 0) == EDGEAD_LINE_NULL && line_api.release(buffer, NULL) == EDGEAD_LINE_NULL);
}

static void one_buffer(void)
{
    edgead_line_format format = any_format(), read;
    edgead_line_status status;
    double size = (double)format.width * format.channels * format.block_lines * format.blocks;
    bool large = size > 1e6 && size < 1e16; /* possible, but not in a test */
    edgead_line_buffer *buffer = large ? NULL : line_buffer_create(&format, &status);
    if (buffer == NULL)
        return;
    CHECK(line_api.get_format(buffer, &read) == EDGEAD_LINE_OK && memcmp(&read, &format, sizeof read) == 0);
    edgead_line_block held[HELD];
    uint32_t holding = 0;
    model m = {0};
    for (uint32_t steps = below(300); steps > 0; --steps) {
        if (below(2))
            push(buffer, (size_t)format.width * format.channels * format.bytes_per_sample, &m);
        else
            consume(buffer, held, &holding, &m);
        if (below(20) == 0) {
            CHECK(line_api.end_part(buffer) == (m.closed ? EDGEAD_LINE_CLOSED : EDGEAD_LINE_OK));
            m.open = m.closed && m.open;
        }
        if (below(200) == 0) {
            CHECK(below(2) ? line_api.close(buffer) == EDGEAD_LINE_OK
                           : line_api.fail(buffer, below(2) ? NULL : "gone") >= EDGEAD_LINE_CLOSED);
            m.closed = true;
        }
        if (below(200) == 0) {
            line_api.stop(buffer);
            m.stopped = true;
        }
        edgead_line_statistics now = statistics(buffer);
        CHECK(now.pushed == m.pushed && now.lost == m.lost && now.refused == m.refused);
    }
    line_api.let_go(line_api.retain(buffer));
    line_api.let_go(buffer);
}

int main(int count, char **arguments)
{
    CHECK(count == 3);
    int64_t until_ns = line_now_ns() + (int64_t)(atof(arguments[1]) * 1e9);
    uint64_t rounds = 0;
    seed = strtoull(arguments[2], NULL, 10) * 2654435761u + 1;
    CHECK(line_api.push_line(NULL, "", 1, 0, 0, 0) == EDGEAD_LINE_NULL && line_api.close(NULL) == EDGEAD_LINE_NULL);
    CHECK(line_api.end_part(NULL) == EDGEAD_LINE_NULL && line_api.fail(NULL, "") == EDGEAD_LINE_NULL);
    CHECK(line_api.get_format(NULL, NULL) == EDGEAD_LINE_NULL && *line_api.failure(NULL) == '\0');
    CHECK(line_api.get_statistics(NULL, NULL, 0) == EDGEAD_LINE_NULL && line_api.message((edgead_line_status)99));
    edgead_line_buffer *small = line_buffer_create(
        &(edgead_line_format){.width = 1, .channels = 1, .bytes_per_sample = 1, .block_lines = 1, .blocks = 4},
        &(edgead_line_status){EDGEAD_LINE_OK});
    edgead_line_statistics counts;
    CHECK(line_api.get_statistics(small, &counts, sizeof counts - 1) == EDGEAD_LINE_SIZE);
    CHECK(line_api.get_statistics(small, NULL, sizeof counts) == EDGEAD_LINE_NULL);
    line_api.let_go(small);
    line_api.stop(NULL);
    line_api.let_go(NULL);
    for (; line_now_ns() < until_ns; ++rounds)
        one_buffer();
    printf("%llu buffers\n", (unsigned long long)rounds);
    return 0;
}
