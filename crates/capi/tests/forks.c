/* In a fork of a process that uses the library every call fails at once, and the parent does not notice: forks BUNDLE PROMPT */

#define _GNU_SOURCE

#include "check.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static ccs_model model;
static ccs_prompt prompt;
static ccs_session session;
static ccs_stream stream;
static ccs_frame frame;
static const char *texts[1];

static void ignore(void *user, const ccs_event *event) {
    (void)user;
    (void)event;
}

static void no_start(void *user, uint32_t kind, uint32_t index) {
    (void)user;
    (void)kind;
    (void)index;
}

/* Runs `body` in a fork, which has ten seconds. */
static void in_fork(const char *what, int (*body)(void)) {
    int status = 0;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        alarm(10);
        _exit(body());
    }
    expect(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, what);
}

static int is_refused(ccs_status status, const char *what) {
    return !expect(status == CCS_STATUS_FORKED && strstr(ccs_last_error(), "fork") != NULL, what);
}

static int every_call(void) {
    static float map[WIDTH * HEIGHT];
    static uint8_t mask[WIDTH * HEIGHT];
    ccs_model new_model = {9};
    ccs_prompt new_prompt = {9};
    ccs_session new_session = {9};
    ccs_stream new_stream = {9};
    ccs_model_info info = {.struct_size = sizeof info};
    ccs_measurements measured = {.struct_size = sizeof measured};
    ccs_quality quality = {.struct_size = sizeof quality};
    ccs_statistics counts = {.struct_size = sizeof counts};
    ccs_model_options options = {.struct_size = sizeof options, .on_thread_start = no_start};
    size_t contours = 0, points = 0;
    int bad = 0;
    bad |= is_refused(ccs_model_open("none", &options, &new_model), "open");
    bad |= is_refused(ccs_model_open_memory("x", 1, NULL, &new_model), "open from memory");
    bad |= is_refused(ccs_model_describe(model, &info), "describe");
    bad |= is_refused(ccs_model_self_test(model, NULL), "self-test");
    bad |= is_refused(ccs_prompt_new(model, texts[0], &new_prompt), "prompt");
    bad |= is_refused(ccs_session_new(model, NULL, &new_session), "session");
    bad |= is_refused(ccs_segment(session, &frame, &prompt, 1, NULL), "segment");
    bad |= is_refused(ccs_session_cancel(session), "cancel");
    bad |= is_refused(ccs_mask(session, 0, mask, sizeof mask, 0), "mask");
    bad |= is_refused(ccs_probability(session, 0, map, WIDTH * HEIGHT, 0), "probability");
    bad |= is_refused(ccs_confounders(session, 0, map, WIDTH * HEIGHT, 0), "confounders");
    bad |= is_refused(ccs_contours(session, 0, NULL, 0, &contours, NULL, 0, &points), "contours");
    bad |= is_refused(ccs_measure(session, 0, &measured), "measure");
    bad |= is_refused(ccs_judge(session, 0, &quality), "judge");
    bad |= is_refused(ccs_stream_open(&model, 1, texts, 1, NULL, ignore, NULL, &new_stream), "open a stream");
    bad |= is_refused(ccs_stream_submit(stream, &frame, 0, NULL), "submit");
    bad |= is_refused(ccs_stream_set_prompts(stream, texts, 1), "set prompts");
    bad |= is_refused(ccs_stream_statistics(stream, &counts), "statistics");
    bad |= is_refused(ccs_set_log(NULL, NULL, CCS_LOG_OFF), "log");
    bad |= is_refused(ccs_stream_close(stream, 1), "close a stream");
    bad |= is_refused(ccs_session_free(session), "free a session");
    bad |= is_refused(ccs_prompt_free(prompt), "free a prompt");
    bad |= is_refused(ccs_model_free(model), "free a model");
    bad |= new_model.id != 0 || new_prompt.id != 0 || new_session.id != 0 || new_stream.id != 0;
    bad |= ccs_open_handles() != 0 || ccs_abi_version() != CCS_ABI_VERSION;
    return bad;
}

static int fork_again(void) {
    int status = 0;
    const pid_t child = fork();
    if (child == 0) {
        _exit(every_call());
    }
    return !(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int leave(void) {
    exit(0);
}

static int use(const char *bundle) {
    ccs_model_options options = {.struct_size = sizeof options, .threads = 2};
    return ccs_model_open(bundle, &options, &model) != CCS_STATUS_OK ||
           ccs_prompt_new(model, texts[0], &prompt) != CCS_STATUS_OK ||
           ccs_session_new(model, NULL, &session) != CCS_STATUS_OK ||
           ccs_segment(session, &frame, &prompt, 1, NULL) != CCS_STATUS_OK;
}

static const char *path;

/* A fork may use the library if its parent has not used it yet. */
static int first_use(void) {
    return use(path);
}

static const char *program;

static int start_anew(void) {
    execl(program, program, path, texts[0], "again", (char *)NULL);
    return 1;
}

static int stop = 0;

static void *keep_busy(void *unused) {
    (void)unused;
    ccs_session own = {0};
    expect(ccs_session_new(model, NULL, &own) == CCS_STATUS_OK, "a session beside forks");
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        ccs_prompt other = {0};
        expect(ccs_segment(own, &frame, &prompt, 1, NULL) == CCS_STATUS_OK &&
                   ccs_prompt_new(model, texts[0], &other) == CCS_STATUS_OK &&
                   ccs_prompt_free(other) == CCS_STATUS_OK,
               "a call beside forks");
    }
    ccs_session_free(own);
    return NULL;
}

/* Forks in the stream's own thread: the copy, which has only that thread, returns from here and ends. */
static void fork_once(void *user, const ccs_event *event) {
    int *status = user;
    if (event->kind != CCS_EVENT_FRAME || *status != -1) {
        return;
    }
    const pid_t child = fork();
    if (child == 0) {
        alarm(10);
        if (every_call()) {
            _exit(1);
        }
        return;
    }
    waitpid(child, status, 0);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        return 2;
    }
    program = argv[0];
    path = argv[1];
    texts[0] = argv[2];
    frame = draw();
    if (argc > 3) {
        return use(path);
    }
    in_fork("a fork that is the first to use the library", first_use);
    if (!expect(use(path) == 0, "the model does not run")) {
        return 1;
    }
    in_fork("a fork calls without a stream", every_call);
    expect(ccs_stream_open(&model, 1, texts, 1, NULL, ignore, NULL, &stream) == CCS_STATUS_OK &&
               ccs_stream_submit(stream, &frame, 0, NULL) == CCS_STATUS_OK,
           "a stream does not run");
    in_fork("a fork calls", every_call);
    in_fork("a fork forks", fork_again);
    in_fork("a fork exits", leave);
    in_fork("a fork starts anew", start_anew);
    expect(ccs_stream_submit(stream, &frame, 0, NULL) == CCS_STATUS_OK &&
               ccs_stream_close(stream, 1) == CCS_STATUS_OK,
           "the parent's stream is not as it was");

    pthread_t thread;
    pthread_create(&thread, NULL, keep_busy, NULL);
    for (int round = 0; round < 20; ++round) {
        in_fork("a fork beside a call", every_call);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);

    int status = -1;
    expect(ccs_stream_open(&model, 1, texts, 1, NULL, fork_once, &status, &stream) == CCS_STATUS_OK &&
               ccs_stream_submit(stream, &frame, 0, NULL) == CCS_STATUS_OK &&
               ccs_stream_close(stream, 1) == CCS_STATUS_OK,
           "a stream whose callback forks does not run");
    expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a fork in a callback does not end");

    expect(ccs_segment(session, &frame, &prompt, 1, NULL) == CCS_STATUS_OK, "the parent's session is not as it was");
    ccs_session_free(session);
    ccs_prompt_free(prompt);
    ccs_model_free(model);
    expect(ccs_open_handles() == 0, "handles are left");
    return failures != 0;
}
