/* Host threads with small stacks: own sessions and a shared one, a model that is freed while in use, a stream that is closed
 * while others submit: threads BUNDLE PROMPT [ROUNDS] */

#define _GNU_SOURCE

#include "check.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static ccs_model model;
static ccs_prompt prompt;
static ccs_session shared;
static ccs_stream stream;
static ccs_frame frame;
static uint8_t reference[WIDTH * HEIGHT];
static const char *texts[1];
static int rounds = 20;
static int done = 0, busy = 0, results = 0;

static void count(int *counter) {
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static void *own_session(void *unused) {
    (void)unused;
    uint8_t *mask = malloc(sizeof reference);
    ccs_session session = {0};
    expect(ccs_session_new(model, NULL, &session) == CCS_STATUS_OK, "a thread has no session");
    for (int round = 0; round < rounds; ++round) {
        expect(ccs_segment(session, &frame, &prompt, 1, NULL) == CCS_STATUS_OK &&
                   ccs_mask(session, 0, mask, sizeof reference, 0) == CCS_STATUS_OK &&
                   memcmp(mask, reference, sizeof reference) == 0,
               "a thread's mask differs");
    }
    ccs_session_free(session);
    free(mask);
    return NULL;
}

static void *shared_session(void *unused) {
    (void)unused;
    for (int round = 0; round < rounds; ++round) {
        const ccs_status status = ccs_segment(shared, &frame, &prompt, 1, NULL);
        count(status == CCS_STATUS_BUSY ? &busy : &done);
        expect(status == CCS_STATUS_OK || status == CCS_STATUS_BUSY, "a shared session fails");
    }
    return NULL;
}

static void *cancel(void *unused) {
    (void)unused;
    for (int round = 0; round < rounds; ++round) {
        const struct timespec nap = {.tv_nsec = 100000};
        expect(ccs_session_cancel(shared) == CCS_STATUS_OK, "a cancel is refused");
        nanosleep(&nap, NULL);
    }
    return NULL;
}

static void *cancelled_session(void *unused) {
    (void)unused;
    for (int round = 0; round < rounds; ++round) {
        const ccs_status status = ccs_segment(shared, &frame, &prompt, 1, NULL);
        expect(status == CCS_STATUS_OK || status == CCS_STATUS_CANCELLED, "a call that may be cancelled fails");
    }
    return NULL;
}

static int is_end(ccs_status status) {
    return status == CCS_STATUS_OK || status == CCS_STATUS_HANDLE || status == CCS_STATUS_STOPPED;
}

static void *submit(void *unused) {
    (void)unused;
    for (int round = 0; round < rounds * 5; ++round) {
        expect(is_end(ccs_stream_submit(stream, &frame, (uint64_t)round, NULL)), "submitting fails");
    }
    return NULL;
}

static void *change_prompts(void *unused) {
    (void)unused;
    for (int round = 0; round < rounds; ++round) {
        ccs_statistics counts = {.struct_size = sizeof counts};
        expect(is_end(ccs_stream_set_prompts(stream, texts, 1)), "changing prompts fails");
        expect(is_end(ccs_stream_statistics(stream, &counts)), "statistics fail");
    }
    return NULL;
}

static void note(void *user, const ccs_event *event) {
    (void)event;
    count(user);
}

/* Runs two bodies at once on 64 KB of stack each. */
static void both(void *(*first)(void *), void *(*second)(void *)) {
    pthread_attr_t small;
    pthread_t threads[2];
    pthread_attr_init(&small);
    expect(pthread_attr_setstacksize(&small, 64 << 10) == 0, "the system has no small stacks");
    pthread_create(&threads[0], &small, first, NULL);
    pthread_create(&threads[1], &small, second, NULL);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    pthread_attr_destroy(&small);
}

int main(int argc, char **argv) {
    if (argc < 3) {
        return 2;
    }
    frame = draw();
    texts[0] = argv[2];
    rounds = argc > 3 ? atoi(argv[3]) : rounds;
    ccs_model_options options = {.struct_size = sizeof options, .threads = 2};
    if (!expect(ccs_model_open(argv[1], &options, &model) == CCS_STATUS_OK &&
                    ccs_prompt_new(model, argv[2], &prompt) == CCS_STATUS_OK &&
                    ccs_session_new(model, NULL, &shared) == CCS_STATUS_OK &&
                    ccs_segment(shared, &frame, &prompt, 1, NULL) == CCS_STATUS_OK &&
                    ccs_mask(shared, 0, reference, sizeof reference, 0) == CCS_STATUS_OK,
                "the model does not run")) {
        return 1;
    }
    both(own_session, own_session);
    both(shared_session, shared_session);
    expect(done > 0 && done + busy == 2 * rounds, "a shared session answers nobody");
    both(cancelled_session, cancel);

    pthread_t threads[3];
    expect(ccs_stream_open(&model, 1, texts, 1, NULL, note, &results, &stream) == CCS_STATUS_OK, "no stream");
    pthread_create(&threads[0], NULL, submit, NULL);
    pthread_create(&threads[1], NULL, submit, NULL);
    pthread_create(&threads[2], NULL, change_prompts, NULL);
    expect(ccs_model_free(model) == CCS_STATUS_OK, "a model in use is not freed");
    const struct timespec nap = {.tv_nsec = 50000000};
    nanosleep(&nap, NULL);
    expect(ccs_stream_close(stream, 0) == CCS_STATUS_OK, "a stream in use is not closed");
    const int at_close = __atomic_load_n(&results, __ATOMIC_RELAXED);
    for (int index = 0; index < 3; ++index) {
        pthread_join(threads[index], NULL);
    }
    expect(__atomic_load_n(&results, __ATOMIC_RELAXED) == at_close, "a closed stream calls back");
    ccs_session_free(shared);
    ccs_prompt_free(prompt);
    expect(ccs_open_handles() == 0, "handles are left");
    printf("%d calls, %d busy, %d results\n", done, busy, at_close);
    return failures != 0;
}
