/* A template: a process in the jail that compiled one module and makes copies of itself, each of which runs
 * the module once. What came out of the compiler never leaves the jail, and is read back from nowhere.
 *
 * A copy waits, closed in by a filter of its own, until the keeper (_template_keeper.h) hands it streams and
 * arguments: of these the template sees nothing. The keeper also sets the copy's limits, from outside.
 */
#ifndef COREHOUR_TEMPLATE_H
#define COREHOUR_TEMPLATE_H

#include <malloc.h>
#include <stdlib.h>

#include "_layers.h"
#include "_wasi.h"

enum { COPY_FD = PROGRAM_FD };     /* a copy's way to the keeper, where the template had the module */
enum { TEMPLATE_FD = PROGRAM_FD + 1 }; /* the template's */
enum { TRAPPED = 134 };            /* the status of a program that trapped, as with wasmtime's own command */
enum { MOST_ARGUMENTS = 1 << 16 };
enum { MOST_WORDS = 1 << 14 };     /* bytes, which a pipe takes though nobody reads */
#define WASM_STACK (UINT64_C(4) << 20)   /* bytes; the program has it besides its memory */
#define RESERVATION (UINT64_C(4) << 30)  /* address space of a memory: no access needs to be checked then */
#define OWN_MEMORY (UINT64_C(2) << 20)   /* what wasmtime needs besides the module's memory */
#define GUARD (UINT64_C(32) << 20)

struct run_request { /* from the node to the keeper, and on to the copy; in the machine's own byte order */
    uint64_t memory; /* bytes */
    uint32_t cpu_seconds, pinned; /* 0: without end; 0: on any CPU */
    cpu_set_t cpus;
    uint32_t argument_count, arguments_size;
    char arguments[MOST_ARGUMENTS]; /* each ends with a zero byte */
};

static wasm_engine *engine;     /* made in the zygote, with the functions of WASI */
static wasmtime_linker *linker;

/* wasmtime sees a trap as a signal, and has set its handlers when the engine is made. */
static const int TRAPS[] = {SIGSEGV, SIGILL, SIGFPE, SIGBUS};
enum { TRAP_COUNT = sizeof TRAPS / sizeof TRAPS[0] };
static struct sigaction trap_handlers[TRAP_COUNT];

static void say(const char *data, size_t size)
{
    while (size > 0) {
        ssize_t length = write(STDERR_FILENO, data, size);
        if (length < 0 && errno == EINTR)
            continue;
        if (length < 0)
            return;
        data += length;
        size -= (size_t)length;
    }
}

static void say_text(const char *text) { say(text, strlen(text)); }

/* Ends the process with the words of wasmtime. */
static void fail_with(const char *what, const wasmtime_error *error, const wasm_trap *trap, int status)
    __attribute__((noreturn));
static void fail_with(const char *what, const wasmtime_error *error, const wasm_trap *trap, int status)
{
    struct wasm_bytes message = {0, NULL};

    if (error != NULL)
        wasmtime_error_message(error, &message);
    else if (trap != NULL)
        wasm_trap_message(trap, &message);
    say_text(what);
    if (message.size > 0 && message.data[message.size - 1] == '\0')
        message.size--;
    say(message.data, message.size < MOST_WORDS ? message.size : MOST_WORDS); /* names may be any length */
    say_text("\n");
    _exit(status);
}

/* In the zygote, once. Returns NULL, or why it failed. */
static const char *load_wasmtime(const char *path)
{
    const char *why = open_wasmtime(path);
    wasm_config *config;

    if (why)
        return why;
    config = wasm_config_new();
    wasmtime_config_parallel_compilation_set(config, false); /* no threads in a jail */
    wasmtime_config_cranelift_opt_level_set(config, OPTIMIZE_FOR_SPEED);
    wasmtime_config_native_unwind_info_set(config, false); /* its own traces do without */
    wasmtime_config_memory_init_cow_set(config, false);    /* would need files in memory */
    wasmtime_config_memory_may_move_set(config, false);
    wasmtime_config_memory_reservation_set(config, RESERVATION);
    wasmtime_config_memory_guard_size_set(config, GUARD);
    wasmtime_config_max_wasm_stack_set(config, WASM_STACK);
    wasmtime_config_async_stack_size_set(config, WASM_STACK + (1 << 20)); /* unused, but must be larger */
    wasmtime_config_wasm_simd_set(config, true);
    wasmtime_config_wasm_relaxed_simd_set(config, true);
    wasmtime_config_wasm_relaxed_simd_deterministic_set(config, true); /* the same answer on every machine */
    wasmtime_config_wasm_threads_set(config, false);
    wasmtime_config_shared_memory_set(config, false);
    wasmtime_config_wasm_memory64_set(config, false);
    wasmtime_config_wasm_multi_memory_set(config, false);
    wasmtime_config_wasm_function_references_set(config, false);
    wasmtime_config_wasm_gc_set(config, false);
    wasmtime_config_wasm_exceptions_set(config, false);
    wasmtime_config_wasm_component_model_set(config, false);
    engine = wasm_engine_new_with_config(config);
    if (engine == NULL)
        return "it refused its configuration";
    for (int i = 0; i < TRAP_COUNT; i++)
        sigaction(TRAPS[i], NULL, &trap_handlers[i]);
    linker = wasmtime_linker_new(engine);
    return define_wasi(linker) ? "it refused the functions of WASI" : NULL;
}

/* All of the module, from where the node put it; NULL if there is no memory for it. */
static uint8_t *read_module(size_t *size)
{
    size_t room = 1 << 20;
    uint8_t *data = malloc(room);
    ssize_t length;

    *size = 0;
    while (data != NULL && (length = read(PROGRAM_FD, data + *size, room - *size)) > 0)
        if ((*size += (size_t)length) == room)
            data = realloc(data, room *= 2);
    close(PROGRAM_FD);
    return data;
}

/* Compiles, and finds every import: all that can be said of a module before it runs. */
static wasmtime_instance_pre *compile_module(void)
{
    wasmtime_module *module;
    wasmtime_instance_pre *prepared;
    struct wasm_exporttypes exports;
    wasmtime_error *error;
    bool starts = false;
    size_t size;
    uint8_t *data = read_module(&size);

    if (data == NULL)
        fail_with("the module is larger than the memory", NULL, NULL, 1);
    error = wasmtime_module_new(engine, data, size, &module);
    free(data);
    if (error != NULL)
        fail_with("not a module: ", error, NULL, 1);
    wasmtime_module_exports(module, &exports);
    for (size_t i = 0; i < exports.size; i++) {
        const struct wasm_bytes *name = wasm_exporttype_name(exports.data[i]);
        if (name->size == 6 && memcmp(name->data, "_start", 6) == 0)
            starts = wasm_externtype_kind(wasm_exporttype_type(exports.data[i])) == EXTERN_FUNC;
    }
    if (!starts)
        fail_with("it exports no function _start: build it as a command, not as a library", NULL, NULL, 1);
    error = wasmtime_linker_instantiate_pre(linker, module, &prepared);
    if (error != NULL)
        fail_with("", error, NULL, 1);
    malloc_trim(0);
    return prepared;
}

/* One message with descriptors beside it, which take the lowest free numbers. Returns its length; 0: the end. */
static ssize_t receive(int from, void *data, size_t size, unsigned descriptors)
{
    union { struct cmsghdr header; char room[CMSG_SPACE(4 * sizeof(int))]; } control;
    struct iovec piece = {data, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = CMSG_SPACE(descriptors * sizeof(int))};
    ssize_t length;

    do
        length = recvmsg(from, &message, 0);
    while (length < 0 && errno == EINTR);
    if (length > 0 && (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)))
        return -1;
    return length;
}

/* In a copy, in its jail: run the module with what the keeper hands over, to its end. */
static void run_copy(wasmtime_instance_pre *prepared) __attribute__((noreturn));
static void run_copy(wasmtime_instance_pre *prepared)
{
    static struct run_request request;
    const size_t head = offsetof(struct run_request, arguments);
    struct jail jail = {.profile = WASM};
    struct wasmtime_instance instance;
    struct wasmtime_extern start;
    wasm_trap *trap = NULL;
    wasmtime_error *error;
    wasmtime_store *store;
    wasmtime_context *context;

    for (int fd = 0; fd < PROGRAM_FD; fd++)
        close(fd);
    close(TEMPLATE_FD);
    store = wasmtime_store_new(engine, NULL, NULL);
    context = wasmtime_store_context(store);
    if (install_filter(&jail) || write(COPY_FD, "", 1) != 1)
        _exit(1);
    ssize_t length = receive(COPY_FD, &request, sizeof request, STDIO);
    if (length < (ssize_t)head || (size_t)length != head + request.arguments_size)
        _exit(1); /* the keeper wants it no more */
    close(COPY_FD);
    wasi.arguments = request.arguments;
    wasi.arguments_size = request.arguments_size;
    wasi.argument_count = request.argument_count;
    wasmtime_store_limiter(store, (int64_t)request.memory, (int64_t)(request.memory / 16), 1, -1, 1);
    error = wasmtime_instance_pre_instantiate(prepared, context, &instance, &trap);
    if (error == NULL && trap == NULL) {
        if (!wasmtime_instance_export_get(context, &instance, "_start", 6, &start))
            _exit(1); /* cannot be: it was seen before */
        error = wasmtime_func_call(context, &start.of.function, NULL, 0, NULL, 0, &trap);
    }
    if (error != NULL || trap != NULL)
        fail_with("wasm: ", error, trap, TRAPPED);
    _exit(0);
}

/* In the template's process, in its jail. `ready` is told to the keeper once the module is compiled. */
static void be_template(const void *ready, size_t size) __attribute__((noreturn));
static void be_template(const void *ready, size_t size)
{
    wasmtime_instance_pre *prepared = compile_module();
    char byte;

    if (write(TEMPLATE_FD, ready, size) != (ssize_t)size)
        _exit(1);
    while (receive(TEMPLATE_FD, &byte, 1, 1) == 1) { /* what comes along is a copy's way to the keeper */
        long copy = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
        if (copy == 0) {
            if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
                _exit(1);
            run_copy(prepared);
        }
        close(COPY_FD); /* where there is no copy, the keeper sees it end */
    }
    _exit(0);
}

#endif
