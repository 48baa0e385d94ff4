/* Contours are traced once a result, and a stream without frames costs next to nothing: contours BUNDLE PROMPT */

#define _POSIX_C_SOURCE 200809L

#include "causalclipseg.h"

#include <stdio.h>
#include <time.h>

enum { WIDTH = 2048, HEIGHT = 1536 };

static double milliseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

static void nap(long ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static void ignore(void *user, const ccs_event *event) {
    (void)user;
    (void)event;
}

/* The time that this thread takes to query the counts. */
static double ask(ccs_session session, size_t *contours, size_t *points) {
    const double begun = milliseconds(CLOCK_THREAD_CPUTIME_ID);
    ccs_contours(session, 0, NULL, 0, contours, NULL, 0, points);
    return milliseconds(CLOCK_THREAD_CPUTIME_ID) - begun;
}

int main(int argc, char **argv) {
    static uint8_t pixels[WIDTH * HEIGHT];
    for (int at = 0; at < WIDTH * HEIGHT; ++at) {
        pixels[at] = at % WIDTH < WIDTH / 2 ? 250 : 10;
    }
    const ccs_frame frame = {
        .struct_size = sizeof frame,
        .pixels = pixels,
        .pixels_bytes = sizeof pixels,
        .width = WIDTH,
        .height = HEIGHT,
    };
    ccs_model_options options = {.struct_size = sizeof options, .threads = 2};
    ccs_model model = {0};
    ccs_prompt prompt = {0};
    ccs_session session = {0};
    ccs_stream stream = {0};
    const char *texts[] = {argv[2]};
    if (argc != 3 || ccs_model_open(argv[1], &options, &model) != CCS_STATUS_OK ||
        ccs_prompt_new(model, argv[2], &prompt) != CCS_STATUS_OK ||
        ccs_session_new(model, NULL, &session) != CCS_STATUS_OK ||
        ccs_segment(session, &frame, &prompt, 1, NULL) != CCS_STATUS_OK) {
        fprintf(stderr, "%s\n", ccs_last_error());
        return 1;
    }

    size_t contours = 0, points = 0, again = 0;
    const double traced = ask(session, &contours, &points);
    double kept = 0;
    for (int call = 0; call < 4; ++call) {
        kept += ask(session, &again, &points) / 4;
    }
    printf("contours: %.4f ms, then %.4f ms\n", traced, kept);
    int bad = contours == 0 || again != contours || kept * 5 > traced;

    if (ccs_stream_open(&model, 1, texts, 1, NULL, ignore, NULL, &stream) != CCS_STATUS_OK ||
        ccs_stream_submit(stream, &frame, 0, NULL) != CCS_STATUS_OK) {
        fprintf(stderr, "%s\n", ccs_last_error());
        return 1;
    }
    nap(1000);
    const double before = milliseconds(CLOCK_PROCESS_CPUTIME_ID);
    nap(1000);
    const double idle = milliseconds(CLOCK_PROCESS_CPUTIME_ID) - before;
    printf("an idle stream: %.2f ms of CPU in a second\n", idle);
    bad = bad || idle > 50;
    ccs_stream_close(stream, 1);

    ccs_session_free(session);
    ccs_prompt_free(prompt);
    ccs_model_free(model);
    return bad;
}
