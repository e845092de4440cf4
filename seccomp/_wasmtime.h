/* The few functions of wasmtime's C interface that are used here, found in the library of its wheel at run
 * time.
 *
 * Declared by hand, for the wheel brings no headers: as in version 50 (WASMTIME_MAJOR), whose layouts these
 * are. Who loads it must know that it is that version.
 */
#ifndef COREHOUR_WASMTIME_H
#define COREHOUR_WASMTIME_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { WASMTIME_MAJOR = 50 };
enum { WASM_I32 = 0, WASM_I64 = 1 };      /* wasm_valkind_t */
enum { EXTERN_FUNC = 0, EXTERN_MEMORY = 3 }; /* wasmtime_extern_kind_t, wasm_externkind_t for functions */
enum { OPTIMIZE_FOR_SPEED = 1 };          /* wasmtime_opt_level_t */

typedef struct wasm_config wasm_config;
typedef struct wasm_engine wasm_engine;
typedef struct wasm_functype wasm_functype;
typedef struct wasm_valtype wasm_valtype;
typedef struct wasm_exporttype wasm_exporttype;
typedef struct wasm_externtype wasm_externtype;
typedef struct wasm_trap wasm_trap;
typedef struct wasmtime_error wasmtime_error;
typedef struct wasmtime_linker wasmtime_linker;
typedef struct wasmtime_module wasmtime_module;
typedef struct wasmtime_instance_pre wasmtime_instance_pre;
typedef struct wasmtime_store wasmtime_store;
typedef struct wasmtime_context wasmtime_context;
typedef struct wasmtime_caller wasmtime_caller;

struct wasm_bytes { size_t size; char *data; };
struct wasm_valtypes { size_t size; wasm_valtype **data; };
struct wasm_exporttypes { size_t size; wasm_exporttype **data; };
struct wasmtime_function { uint64_t store; void *within; };
struct wasmtime_instance { uint64_t store; size_t within; };
struct wasmtime_memory { struct { uint64_t store; uint32_t within; } first; uint32_t second; };
struct wasmtime_extern {
    uint8_t kind;
    union { struct wasmtime_function function; struct wasmtime_memory memory; uint64_t room[4]; } of;
};
union wasmtime_value { int32_t i32; uint32_t u32; int64_t i64; uint64_t u64; uint8_t v128[16]; };

typedef wasm_trap *wasmtime_callback(void *self, wasmtime_caller *, union wasmtime_value *values, size_t count);

#define WASMTIME(F) \
    F(wasm_config *, wasm_config_new, (void)) \
    F(wasm_engine *, wasm_engine_new_with_config, (wasm_config *)) \
    F(void, wasmtime_config_parallel_compilation_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_cranelift_opt_level_set, (wasm_config *, uint8_t)) \
    F(void, wasmtime_config_native_unwind_info_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_memory_init_cow_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_memory_may_move_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_memory_reservation_set, (wasm_config *, uint64_t)) \
    F(void, wasmtime_config_memory_guard_size_set, (wasm_config *, uint64_t)) \
    F(void, wasmtime_config_max_wasm_stack_set, (wasm_config *, size_t)) \
    F(void, wasmtime_config_async_stack_size_set, (wasm_config *, size_t)) \
    F(void, wasmtime_config_wasm_simd_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_wasm_relaxed_simd_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_wasm_relaxed_simd_deterministic_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_wasm_threads_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_shared_memory_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_wasm_memory64_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_wasm_multi_memory_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_wasm_function_references_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_wasm_gc_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_wasm_exceptions_set, (wasm_config *, bool)) \
    F(void, wasmtime_config_wasm_component_model_set, (wasm_config *, bool)) \
    F(wasmtime_linker *, wasmtime_linker_new, (wasm_engine *)) \
    F(wasm_valtype *, wasm_valtype_new, (uint8_t)) \
    F(void, wasm_valtype_vec_new, (struct wasm_valtypes *, size_t, wasm_valtype *const *)) \
    F(wasm_functype *, wasm_functype_new, (struct wasm_valtypes *, struct wasm_valtypes *)) \
    F(wasmtime_error *, wasmtime_linker_define_func_unchecked, \
      (wasmtime_linker *, const char *, size_t, const char *, size_t, const wasm_functype *, \
       wasmtime_callback *, void *, void (*)(void *))) \
    F(wasmtime_error *, wasmtime_module_new, (wasm_engine *, const uint8_t *, size_t, wasmtime_module **)) \
    F(void, wasmtime_module_exports, (const wasmtime_module *, struct wasm_exporttypes *)) \
    F(const struct wasm_bytes *, wasm_exporttype_name, (const wasm_exporttype *)) \
    F(const wasm_externtype *, wasm_exporttype_type, (const wasm_exporttype *)) \
    F(uint8_t, wasm_externtype_kind, (const wasm_externtype *)) \
    F(wasmtime_error *, wasmtime_linker_instantiate_pre, \
      (const wasmtime_linker *, const wasmtime_module *, wasmtime_instance_pre **)) \
    F(wasmtime_store *, wasmtime_store_new, (wasm_engine *, void *, void (*)(void *))) \
    F(void, wasmtime_store_limiter, (wasmtime_store *, int64_t, int64_t, int64_t, int64_t, int64_t)) \
    F(wasmtime_context *, wasmtime_store_context, (wasmtime_store *)) \
    F(wasmtime_error *, wasmtime_instance_pre_instantiate, \
      (const wasmtime_instance_pre *, wasmtime_context *, struct wasmtime_instance *, wasm_trap **)) \
    F(bool, wasmtime_instance_export_get, \
      (wasmtime_context *, const struct wasmtime_instance *, const char *, size_t, \
       struct wasmtime_extern *)) \
    F(bool, wasmtime_caller_export_get, (wasmtime_caller *, const char *, size_t, struct wasmtime_extern *)) \
    F(wasmtime_context *, wasmtime_caller_context, (wasmtime_caller *)) \
    F(uint8_t *, wasmtime_memory_data, (const wasmtime_context *, const struct wasmtime_memory *)) \
    F(size_t, wasmtime_memory_data_size, (const wasmtime_context *, const struct wasmtime_memory *)) \
    F(wasmtime_error *, wasmtime_func_call, \
      (wasmtime_context *, const struct wasmtime_function *, const void *, size_t, void *, size_t, \
       wasm_trap **)) \
    F(void, wasmtime_error_message, (const wasmtime_error *, struct wasm_bytes *)) \
    F(void, wasm_trap_message, (const wasm_trap *, struct wasm_bytes *))

#define DECLARE(result, name, arguments) static result (*name) arguments;
WASMTIME(DECLARE)
#undef DECLARE

/* Opens the library at `path`. Returns NULL, or why it could not. */
static const char *open_wasmtime(const char *path)
{
    static char why[200];
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL)
        return dlerror();
#define FIND(result, name, arguments) \
    *(void **)&name = dlsym(library, #name); \
    if (name == NULL) { \
        snprintf(why, sizeof why, "it has no function %s; version %d is needed", #name, WASMTIME_MAJOR); \
        return why; \
    }
    WASMTIME(FIND)
#undef FIND
    return NULL;
}

#endif
