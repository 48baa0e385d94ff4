/* Options that are zero except for their size change nothing, for a session and for a stream: options BUNDLE PROMPT
 *
 * The frame is black on one half, so a threshold of zero would make all of it lesion. */

#include "causalclipseg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { WIDTH = 64, HEIGHT = 48 };

static int failures = 0;

static void expect(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "%s (last error: %s)\n", what, ccs_last_error());
        ++failures;
    }
}

static uint64_t stream_area = UINT64_MAX;

static void note(void *user, const ccs_event *event) {
    (void)user;
    if (event->kind == CCS_EVENT_FRAME) {
        stream_area = event->findings[0].measurements.area_px;
    }
}

static uint64_t session_area(ccs_model model, ccs_prompt prompt, const ccs_frame *frame,
                             const ccs_session_options *options) {
    ccs_session session = {0};
    ccs_measurements measured = {.struct_size = sizeof measured};
    int done = ccs_session_new(model, options, &session) == CCS_STATUS_OK &&
               ccs_segment(session, frame, &prompt, 1, NULL) == CCS_STATUS_OK &&
               ccs_measure(session, 0, &measured) == CCS_STATUS_OK;
    expect(done, "a session does not run");
    ccs_session_free(session);
    return measured.area_px;
}

int main(int argc, char **argv) {
    static uint8_t pixels[WIDTH * HEIGHT];
    for (int at = 0; at < WIDTH * HEIGHT; ++at) {
        pixels[at] = at % WIDTH < WIDTH / 2 ? 250 : 10;
    }
    ccs_frame frame = {
        .struct_size = sizeof frame,
        .pixels = pixels,
        .pixels_bytes = sizeof pixels,
        .width = WIDTH,
        .height = HEIGHT,
    };
    ccs_model_options model_options = {.struct_size = sizeof model_options};
    ccs_model model = {0};
    ccs_prompt prompt = {0};
    if (argc != 3 || ccs_model_open(argv[1], &model_options, &model) != CCS_STATUS_OK ||
        ccs_prompt_new(model, argv[2], &prompt) != CCS_STATUS_OK) {
        fprintf(stderr, "%s\n", ccs_last_error());
        return 1;
    }

    const uint64_t own = session_area(model, prompt, &frame, NULL);
    expect(own > 0 && own < WIDTH * HEIGHT, "the model finds all or nothing");
    ccs_session_options options = {.struct_size = sizeof options};
    expect(session_area(model, prompt, &frame, &options) == own, "zeroed session options change the mask");
    options.threshold = 0.000001f;
    expect(session_area(model, prompt, &frame, &options) == WIDTH * HEIGHT, "a threshold does nothing");
    options.struct_size = sizeof options.struct_size;
    expect(session_area(model, prompt, &frame, &options) == own, "a threshold that is not there is read");

    ccs_session refused = {0};
    const float bad[] = {NAN, -1.0f, 1.0f, 2.0f};
    options.struct_size = sizeof options;
    for (size_t index = 0; index < sizeof bad / sizeof *bad; ++index) {
        options.threshold = bad[index];
        expect(ccs_session_new(model, &options, &refused) == CCS_STATUS_ARGUMENT, "a session takes a bad threshold");
    }

    ccs_stream_options live = {.struct_size = sizeof live, .measure = 1};
    ccs_stream stream = {0};
    const char *texts[] = {argv[2]};
    expect(ccs_stream_open(&model, 1, texts, 1, &live, note, NULL, &stream) == CCS_STATUS_OK &&
               ccs_stream_submit(stream, &frame, 0, NULL) == CCS_STATUS_OK &&
               ccs_stream_close(stream, 1) == CCS_STATUS_OK,
           "a stream does not run");
    expect(stream_area == own, "zeroed stream options change the mask");
    for (size_t index = 0; index < sizeof bad / sizeof *bad; ++index) {
        live.threshold = bad[index];
        expect(ccs_stream_open(&model, 1, texts, 1, &live, note, NULL, &stream) == CCS_STATUS_ARGUMENT,
               "a stream takes a bad threshold");
    }

    ccs_prompt_free(prompt);
    ccs_model_free(model);
    expect(ccs_open_handles() == 0, "handles are left");
    printf("%" PRIu64 " pixels, %d failures\n", own, failures);
    return failures != 0;
}
