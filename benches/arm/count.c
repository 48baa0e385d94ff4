/* A plugin for qemu's user emulation that counts the instructions a program executes, by class.
 *
 * build: cc -shared -fPIC -O2 -o libcount.so count.c
 * use:   qemu-aarch64 -plugin libcount.so -d plugin -D count.log PROGRAM ...
 *
 * The log's last line then reads `instructions=N vector=N memory=N`: all instructions, those of the vector and floating-point unit, loads and
 * stores. Threads add to one counter without a lock, so counts of a program with several busy threads are too low.
 *
 * The declarations are those of qemu's plugin interface, version 1 (qemu 4.2 and later), so that no header is needed.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *instruction);
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*on_block)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, enum qemu_plugin_op op, void *counter, uint64_t amount);
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*on_exit)(qemu_plugin_id_t, void *), void *data);
extern void qemu_plugin_outs(const char *text);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

static uint64_t instructions, vector, memory;

/* Counted once for each block of code when it is translated; each run of the block then adds the sums. */
static void on_block(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    size_t count = qemu_plugin_tb_n_insns(block);
    uint64_t vectors = 0, accesses = 0;
    for (size_t index = 0; index < count; index++) {
        const struct qemu_plugin_insn *one = qemu_plugin_tb_get_insn(block, index);
        const uint8_t *bytes = qemu_plugin_insn_data(one);
        if (bytes == NULL || qemu_plugin_insn_size(one) != 4)
            continue;
        /* Bits 25 to 28 of an A64 instruction: x111 is the vector and floating-point unit, x1x0 a load or store (Arm ARM, C4.1). */
        unsigned group = (unsigned)(bytes[3] >> 1) & 15u;
        vectors += (group & 7u) == 7u;
        accesses += (group & 5u) == 4u;
    }
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &instructions, count);
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &vector, vectors);
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &memory, accesses);
}

static void on_exit(qemu_plugin_id_t id, void *data) {
    (void)id;
    (void)data;
    char line[128];
    snprintf(line, sizeof line, "instructions=%" PRIu64 " vector=%" PRIu64 " memory=%" PRIu64 "\n", instructions, vector, memory);
    qemu_plugin_outs(line);
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv) {
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
