/* Shared by the C programs of this folder: a picture whose left half is bright, and counted failures. */

#ifndef CHECK_H
#define CHECK_H

#include "causalclipseg.h"

#include <stdint.h>
#include <stdio.h>

enum { WIDTH = 64, HEIGHT = 48 };

static uint8_t picture[WIDTH * HEIGHT];
static int failures = 0;

/* Also called from other threads, and in forks: a failure is counted where it can be, and printed anyway. */
static inline int expect(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "%s (last error: %s)\n", what, ccs_last_error());
        __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
    }
    return holds;
}

static inline ccs_frame draw(void) {
    for (int at = 0; at < WIDTH * HEIGHT; ++at) {
        picture[at] = at % WIDTH < WIDTH / 2 ? 250 : 10;
    }
    const ccs_frame frame = {
        .struct_size = sizeof frame,
        .format = CCS_FORMAT_GRAY8,
        .pixels = picture,
        .pixels_bytes = sizeof picture,
        .width = WIDTH,
        .height = HEIGHT,
    };
    return frame;
}

#endif
