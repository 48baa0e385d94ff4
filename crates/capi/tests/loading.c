/* The shared library loaded, used and unloaded again and again, from the main thread and from others, at last with all its
 * handles open: loading LIBRARY BUNDLE PROMPT */

#define _GNU_SOURCE

#include "causalclipseg.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

static const char *library, *bundle, *text;
static int failures = 0;

#define LOAD(name) __typeof__(&name) name##_ = (__typeof__(&name))(uintptr_t)dlsym(handle, #name)

static void use_once(int free_all) {
    static uint8_t pixels[320 * 240];
    const ccs_frame frame = {
        .struct_size = sizeof frame, .pixels = pixels, .pixels_bytes = sizeof pixels, .width = 320, .height = 240};
    const ccs_model_options options = {.struct_size = sizeof options, .threads = 2};
    ccs_model model = {0}, none = {0};
    ccs_prompt prompt = {0};
    ccs_session session = {0};
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        ++failures;
        return;
    }
    LOAD(ccs_model_open);
    LOAD(ccs_prompt_new);
    LOAD(ccs_session_new);
    LOAD(ccs_segment);
    LOAD(ccs_session_free);
    LOAD(ccs_prompt_free);
    LOAD(ccs_model_free);
    LOAD(ccs_last_error);
    if (ccs_model_open_(bundle, &options, &model) != CCS_STATUS_OK ||
        ccs_prompt_new_(model, text, &prompt) != CCS_STATUS_OK ||
        ccs_session_new_(model, NULL, &session) != CCS_STATUS_OK ||
        ccs_segment_(session, &frame, &prompt, 1, NULL) != CCS_STATUS_OK) {
        fprintf(stderr, "%s\n", ccs_last_error_());
        ++failures;
    }
    /* Leaves a message in this thread. */
    failures += ccs_model_open_("none", NULL, &none) == CCS_STATUS_OK;
    if (free_all) {
        ccs_session_free_(session);
        ccs_prompt_free_(prompt);
        ccs_model_free_(model);
    }
    dlclose(handle);
}

static void *in_thread(void *unused) {
    (void)unused;
    use_once(1);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        return 2;
    }
    library = argv[1];
    bundle = argv[2];
    text = argv[3];
    for (int round = 0; round < 3; ++round) {
        pthread_t thread;
        use_once(1);
        pthread_create(&thread, NULL, in_thread, NULL);
        pthread_join(thread, NULL);
    }
    use_once(0);
    usleep(100000);
    return failures != 0;
}
