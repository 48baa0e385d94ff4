/* Opens and frees the model repeatedly, as a host that changes presets does; memory must not grow: reopen BUNDLE PROMPT */

#include "check.h"

static long resident_kb(void) {
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file != NULL) {
        if (fscanf(file, "%ld %ld", &pages, &resident) != 2) {
            resident = 0;
        }
        fclose(file);
    }
    return resident * 4;
}

static int use(const char *bundle, const char *text, const ccs_frame *frame) {
    ccs_model model = {0};
    ccs_prompt prompt = {0};
    ccs_session session = {0};
    const int done = ccs_model_open(bundle, NULL, &model) == CCS_STATUS_OK &&
                     ccs_prompt_new(model, text, &prompt) == CCS_STATUS_OK &&
                     ccs_session_new(model, NULL, &session) == CCS_STATUS_OK &&
                     ccs_segment(session, frame, &prompt, 1, NULL) == CCS_STATUS_OK;
    ccs_session_free(session);
    ccs_prompt_free(prompt);
    ccs_model_free(model);
    return done;
}

int main(int argc, char **argv) {
    const ccs_frame frame = draw();
    if (argc != 3) {
        return 2;
    }
    long warm = 0;
    for (int round = 0; round < 15; ++round) {
        expect(use(argv[1], argv[2], &frame), "the model does not open again");
        warm = round == 4 ? resident_kb() : warm;
    }
    const long grown = resident_kb() - warm;
    printf("%ld KB resident after 5 rounds, %ld KB more after 15\n", warm, grown);
    /* A leaked model takes 60 MB. */
    expect(grown < 8 << 10, "memory grows");
    expect(ccs_open_handles() == 0, "handles are left");
    return failures != 0;
}
