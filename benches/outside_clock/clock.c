/* Times frames with a clock of its own: clock BUNDLE FRAMES [THREADS]
 *
 * Does what `causalclipseg bench` does to a frame, 640 x 480 grey pixels, one prompt and no quality, from C. Prints each frame's
 * time in microseconds, one a line. */

#include "causalclipseg.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WIDTH = 640, HEIGHT = 480, WARM_UP = 30 };

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, ccs_last_error());
    return 1;
}

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

int main(int count, char **arguments) {
    static uint8_t pixels[WIDTH * HEIGHT];
    ccs_model_options model_options = {.struct_size = sizeof model_options};
    ccs_session_options session_options = {.struct_size = sizeof session_options, .no_quality = 1};
    ccs_model model = {0};
    ccs_session session = {0};
    ccs_prompt prompt = {0};
    ccs_frame frame = {
        .struct_size = sizeof frame,
        .format = CCS_FORMAT_GRAY8,
        .pixels = pixels,
        .pixels_bytes = sizeof pixels,
        .width = WIDTH,
        .height = HEIGHT,
    };
    uint32_t state = 1;
    long frames = count > 2 ? strtol(arguments[2], NULL, 10) : 0;
    if (frames < 1 || frames > 10000000) {
        fprintf(stderr, "usage: clock BUNDLE FRAMES [THREADS]\n");
        return 2;
    }
    model_options.threads = count > 3 ? (uint32_t)strtoul(arguments[3], NULL, 10) : 1;
    for (size_t index = 0; index < sizeof pixels; index++) {
        state = state * 1664525u + 1013904223u;
        pixels[index] = (uint8_t)((state >> 24) * (220 - 160 * (index / WIDTH) / HEIGHT) / 255);
    }
    if (ccs_model_open(arguments[1], &model_options, &model) != CCS_STATUS_OK) {
        return failed("open");
    }
    if (ccs_session_new(model, &session_options, &session) != CCS_STATUS_OK ||
        ccs_prompt_new(model, "There is a dark nodule.", &prompt) != CCS_STATUS_OK) {
        return failed("prepare");
    }
    for (long index = 0; index < WARM_UP + frames; index++) {
        double begun = now_us();
        if (ccs_segment(session, &frame, &prompt, 1, NULL) != CCS_STATUS_OK) {
            return failed("segment");
        }
        if (index >= WARM_UP) {
            printf("%.1f\n", now_us() - begun);
        }
    }
    ccs_prompt_free(prompt);
    ccs_session_free(session);
    ccs_model_free(model);
    return 0;
}
