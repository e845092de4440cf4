/* All functions of WASI preview 1, and how wasmtime is told of them. */
#ifndef COREHOUR_WASI_H
#define COREHOUR_WASI_H

#include "_wasi_wait.h"

struct wasi_function {
    const char *name, *takes; /* a letter each: i for i32, l for i64 */
    uint32_t (*does)(const union wasmtime_value *);
};

static struct wasi_function WASI[] = {
    {"args_get", "ii", args_get},
    {"args_sizes_get", "ii", args_sizes_get},
    {"environ_get", "ii", environ_get},
    {"environ_sizes_get", "ii", environ_sizes_get},
    {"clock_res_get", "ii", clock_res_get},
    {"clock_time_get", "ili", clock_time_get},
    {"fd_advise", "illi", on_stream},
    {"fd_allocate", "ill", on_stream},
    {"fd_close", "i", fd_close},
    {"fd_datasync", "i", on_open},
    {"fd_fdstat_get", "ii", fd_fdstat_get},
    {"fd_fdstat_set_flags", "ii", fd_fdstat_set_flags},
    {"fd_fdstat_set_rights", "ill", not_here},
    {"fd_filestat_get", "ii", fd_filestat_get},
    {"fd_filestat_set_size", "il", on_stream},
    {"fd_filestat_set_times", "illi", not_here},
    {"fd_pread", "iiili", on_stream},
    {"fd_prestat_get", "ii", on_none},
    {"fd_prestat_dir_name", "iii", on_none},
    {"fd_pwrite", "iiili", on_stream},
    {"fd_read", "iiii", fd_read},
    {"fd_readdir", "iiili", on_none},
    {"fd_renumber", "ii", not_here},
    {"fd_seek", "ilii", on_stream},
    {"fd_sync", "i", on_open},
    {"fd_tell", "ii", on_stream},
    {"fd_write", "iiii", fd_write},
    {"path_create_directory", "iii", on_none},
    {"path_filestat_get", "iiiii", on_none},
    {"path_filestat_set_times", "iiiilli", on_none},
    {"path_link", "iiiiiii", on_none},
    {"path_open", "iiiiillii", on_none},
    {"path_readlink", "iiiiii", on_none},
    {"path_remove_directory", "iii", on_none},
    {"path_rename", "iiiiii", on_none},
    {"path_symlink", "iiiii", on_none},
    {"path_unlink_file", "iii", on_none},
    {"poll_oneoff", "iiii", poll_oneoff},
    {"proc_exit", "i", proc_exit},
    {"proc_raise", "i", not_here},
    {"random_get", "ii", random_get},
    {"sched_yield", "", sched_yield_},
    {"sock_accept", "iii", on_socket},
    {"sock_recv", "iiiiii", on_socket},
    {"sock_send", "iiiii", on_socket},
    {"sock_shutdown", "ii", on_socket},
};
enum { WASI_COUNT = sizeof WASI / sizeof WASI[0] };

static wasm_trap *serve_wasi(void *self, wasmtime_caller *caller, union wasmtime_value *values, size_t count)
{
    struct wasmtime_extern found;

    (void)count;
    wasi.memory = NULL;
    wasi.memory_size = 0;
    if (wasmtime_caller_export_get(caller, "memory", 6, &found) && found.kind == EXTERN_MEMORY) {
        wasmtime_context *context = wasmtime_caller_context(caller);
        wasi.memory = wasmtime_memory_data(context, &found.of.memory);
        wasi.memory_size = wasmtime_memory_data_size(context, &found.of.memory);
    }
    values[0].i64 = ((struct wasi_function *)self)->does(values);
    return NULL;
}

static void list_types(struct wasm_valtypes *list, const char *letters)
{
    wasm_valtype *types[16];
    size_t count = strlen(letters);

    for (size_t i = 0; i < count; i++)
        types[i] = wasm_valtype_new(letters[i] == 'l' ? WASM_I64 : WASM_I32);
    wasm_valtype_vec_new(list, count, types);
}

/* Tells `linker` of every function above. */
static wasmtime_error *define_wasi(wasmtime_linker *linker)
{
    static const char module[] = "wasi_snapshot_preview1";

    for (size_t i = 0; i < WASI_COUNT; i++) {
        struct wasm_valtypes takes, gives;
        wasmtime_error *error;

        list_types(&takes, WASI[i].takes);
        list_types(&gives, WASI[i].does == proc_exit ? "" : "i");
        error = wasmtime_linker_define_func_unchecked(linker, module, sizeof module - 1, WASI[i].name,
                                                      strlen(WASI[i].name), wasm_functype_new(&takes, &gives),
                                                      serve_wasi, &WASI[i], NULL);
        if (error)
            return error;
    }
    return NULL;
}

#endif
