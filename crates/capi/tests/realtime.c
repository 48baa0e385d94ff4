/* Configures the library's threads as docs/embedding.md describes for real-time hosts: realtime BUNDLE PROMPT
 *
 * Names them, keeps them on cores, and asks for SCHED_FIFO and SCHED_DEADLINE, which a system may refuse. */

#define _GNU_SOURCE

#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's struct; glibc declares it from 2.41 on. */
struct deadline_attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns;
    uint64_t deadline_ns;
    uint64_t period_ns;
};

enum { DEADLINE_POLICY = 6 };

static int workers = 0, streams = 0, given = 0;

/* The library's threads run at a fixed priority, all at the same. */
static void start_fifo(void *user, uint32_t kind, uint32_t index) {
    const struct sched_param parameters = {.sched_priority = *(const int *)user};
    char name[16];
    snprintf(name, sizeof name, "ccs-%s-%u", kind == CCS_THREAD_WORKER ? "worker" : "stream", index);
    expect(pthread_setname_np(pthread_self(), name) == 0, "a thread has no name");
    const int error = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters);
    if (error == 0) {
        int policy = 0;
        struct sched_param found;
        pthread_getschedparam(pthread_self(), &policy, &found);
        expect(policy == SCHED_FIFO && found.sched_priority == *(const int *)user, "a priority is not kept");
        __atomic_fetch_add(&given, 1, __ATOMIC_RELAXED);
    } else {
        printf("%s without SCHED_FIFO: %s\n", name, strerror(error));
    }
    __atomic_fetch_add(kind == CCS_THREAD_WORKER ? &workers : &streams, 1, __ATOMIC_RELAXED);
}

/* The stream's thread gets 20 of every 33 ms. The kernel refuses this to a thread that is kept on some of the cores. */
static void start_deadline(void *user, uint32_t kind, uint32_t index) {
    const struct deadline_attributes attributes = {
        .size = sizeof attributes,
        .policy = DEADLINE_POLICY,
        .runtime_ns = 20 * 1000 * 1000,
        .deadline_ns = 33 * 1000 * 1000,
        .period_ns = 33 * 1000 * 1000,
    };
    (void)user;
    (void)index;
    expect(kind == CCS_THREAD_STREAM, "a stream starts another thread");
    if (syscall(SYS_sched_setattr, 0, &attributes, 0) == 0) {
        expect(sched_getscheduler(0) == DEADLINE_POLICY, "a deadline is not kept");
        __atomic_fetch_add(&given, 1, __ATOMIC_RELAXED);
    } else {
        printf("the stream without SCHED_DEADLINE: %s\n", strerror(errno));
    }
    __atomic_fetch_add(&streams, 1, __ATOMIC_RELAXED);
}

static void count_result(void *user, const ccs_event *event) {
    if (event->kind == CCS_EVENT_FRAME) {
        ++*(int *)user;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        return 2;
    }
    const ccs_frame frame = draw();
    const char *texts[] = {argv[2]};
    int priority = 10, results = 0;
    cpu_set_t allowed;
    uint32_t core = 0;
    sched_getaffinity(0, sizeof allowed, &allowed);
    while (core < CPU_SETSIZE - 1 && !CPU_ISSET(core, &allowed)) {
        ++core;
    }
    const ccs_model_options options = {
        .struct_size = sizeof options,
        .threads = 2,
        .on_thread_start = start_fifo,
        .thread_user = &priority,
        .cores = &core,
        .core_count = 1,
    };
    ccs_stream_options live = {.struct_size = sizeof live, .on_thread_start = start_deadline, .keep_order = 1};
    ccs_model model = {0};
    ccs_stream stream = {0};
    if (!expect(ccs_model_open(argv[1], &options, &model) == CCS_STATUS_OK, "the model does not open")) {
        return 1;
    }
    for (int round = 0; round < 2; ++round) {
        expect(ccs_stream_open(&model, 1, texts, 1, &live, count_result, &results, &stream) == CCS_STATUS_OK &&
                   ccs_stream_submit(stream, &frame, 0, NULL) == CCS_STATUS_OK &&
                   ccs_stream_close(stream, 1) == CCS_STATUS_OK,
               "a stream does not run");
        live.on_thread_start = start_fifo;
        live.thread_user = &priority;
    }
    ccs_model_free(model);
    printf("%d worker, %d stream threads, %d with what they asked for, %d results\n", workers, streams, given, results);
    /* The toy model, which tract runs, starts no workers. */
    expect(workers <= 1 && streams == 2 && results == 2, "threads or results are missing");
    return failures != 0;
}
