/* Segments a picture from C: segment BUNDLE PICTURE.pgm PROMPT MASK.pgm
 *
 * The picture is a binary PGM (P5, 8 bit), so that this program needs no other library. */

#include "causalclipseg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int failed(const char *what) {
    fprintf(stderr, "%s: %s\n", what, ccs_last_error());
    return 1;
}

static uint8_t *read_pgm(const char *path, uint32_t *width, uint32_t *height) {
    FILE *file = fopen(path, "rb");
    uint8_t *pixels = NULL;
    if (file == NULL) {
        return NULL;
    }
    if (fscanf(file, "P5 %" SCNu32 " %" SCNu32 " 255", width, height) == 2 && fgetc(file) != EOF && *width > 0 &&
        *width <= 16384 && *height > 0 && *height <= 16384) {
        size_t size = (size_t)*width * *height;
        pixels = malloc(size);
        if (pixels != NULL && fread(pixels, 1, size, file) != size) {
            free(pixels);
            pixels = NULL;
        }
    }
    fclose(file);
    return pixels;
}

static int write_pgm(const char *path, const uint8_t *pixels, uint32_t width, uint32_t height) {
    FILE *file = fopen(path, "wb");
    size_t size = (size_t)width * height;
    if (file == NULL) {
        return 1;
    }
    fprintf(file, "P5\n%" PRIu32 " %" PRIu32 "\n255\n", width, height);
    int bad = fwrite(pixels, 1, size, file) != size;
    return fclose(file) != 0 || bad;
}

static int segment(ccs_session session, ccs_prompt prompt, const uint8_t *pixels, uint32_t width, uint32_t height,
                   const char *mask_path) {
    size_t size = (size_t)width * height;
    ccs_frame frame = {
        .struct_size = sizeof frame,
        .format = CCS_FORMAT_GRAY8,
        .pixels = pixels,
        .pixels_bytes = size,
        .width = width,
        .height = height,
        .mm_per_pixel = {0.1f, 0.1f},
    };
    ccs_timing timing = {.struct_size = sizeof timing};
    if (ccs_segment(session, &frame, &prompt, 1, &timing) != CCS_STATUS_OK) {
        return failed("segment");
    }
    ccs_measurements measured = {.struct_size = sizeof measured};
    if (ccs_measure(session, 0, &measured) != CCS_STATUS_OK) {
        return failed("measure");
    }
    printf("%" PRIu64 " pixels, %.1f mm2, %.1f ms\n", measured.area_px, measured.area_mm2,
           timing.preprocess_ms + timing.image_ms + timing.head_ms + timing.postprocess_ms);
    if (!isnan(measured.longest_diameter.length_mm)) {
        printf("longest diameter %.1f mm\n", measured.longest_diameter.length_mm);
    }

    /* First the counts, then the contours. */
    size_t contour_count = 0, point_count = 0;
    ccs_contours(session, 0, NULL, 0, &contour_count, NULL, 0, &point_count);
    ccs_contour *contours = calloc(contour_count + 1, sizeof *contours);
    ccs_point *points = calloc(point_count + 1, sizeof *points);
    uint8_t *mask = malloc(size);
    int bad = contours == NULL || points == NULL || mask == NULL;
    if (bad) {
        fprintf(stderr, "out of memory\n");
    } else if (ccs_contours(session, 0, contours, contour_count, &contour_count, points, point_count, &point_count) !=
                   CCS_STATUS_OK ||
               ccs_mask(session, 0, mask, size, 0) != CCS_STATUS_OK) {
        bad = failed("copy the results");
    } else if (write_pgm(mask_path, mask, width, height) != 0) {
        bad = 1;
        fprintf(stderr, "%s cannot be written\n", mask_path);
    } else {
        printf("%zu contours of %zu points\n", contour_count, point_count);
    }
    free(mask);
    free(points);
    free(contours);
    return bad;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: %s BUNDLE PICTURE.pgm PROMPT MASK.pgm\n", argv[0]);
        return 2;
    }
    if (ccs_abi_version() != CCS_ABI_VERSION) {
        fprintf(stderr, "the library's ABI is %" PRIu32 " and the header's %d\n", ccs_abi_version(), CCS_ABI_VERSION);
        return 1;
    }
    uint32_t width = 0, height = 0;
    uint8_t *pixels = read_pgm(argv[2], &width, &height);
    if (pixels == NULL) {
        fprintf(stderr, "%s is not a binary PGM of 8 bit\n", argv[2]);
        return 1;
    }

    /* Once: open the model and encode the prompt. Handles of 0 need not be freed. */
    ccs_model model = {0};
    ccs_prompt prompt = {0};
    ccs_session session = {0};
    int bad = 0;
    if (ccs_model_open(argv[1], NULL, &model) != CCS_STATUS_OK) {
        bad = failed("open the model");
    } else if (ccs_prompt_new(model, argv[3], &prompt) != CCS_STATUS_OK) {
        bad = failed("encode the prompt");
    } else if (ccs_session_new(model, NULL, &session) != CCS_STATUS_OK) {
        bad = failed("make a session");
    } else {
        /* For every frame. */
        bad = segment(session, prompt, pixels, width, height, argv[4]);
    }
    ccs_session_free(session);
    ccs_prompt_free(prompt);
    ccs_model_free(model);
    free(pixels);
    return bad;
}
