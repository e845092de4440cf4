/* seccomp._jail: starts jailed programs, for the zygotes of the Python side.
 *
 * _filter.h is what a program may ask of the kernel, _layers.h what is put around it, _meter.h what it uses,
 * _keeper.h who minds it; _template.h compiles and runs wasm, _template_keeper.h minds it there.
 * Everything after the fork is plain system calls, so it does not matter what other threads were doing.
 */
#define PY_SSIZE_T_CLEAN
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <Python.h>

#include <stdio.h>

#include "_keeper.h"
#include "_template_start.h"

/* A sequence of CPU numbers; empty: run anywhere. */
static int read_cpus(PyObject *cpus, struct jail *jail)
{
    CPU_ZERO(&jail->cpus);
    jail->pinned = PyTuple_GET_SIZE(cpus) > 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(cpus); i++) {
        long cpu = PyLong_AsLong(PyTuple_GET_ITEM(cpus, i));
        if (cpu == -1 && PyErr_Occurred())
            return -1;
        if (cpu < 0 || cpu >= CPU_SETSIZE) {
            PyErr_Format(PyExc_ValueError, "cpus: there is no CPU %ld", cpu);
            return -1;
        }
        CPU_SET((size_t)cpu, &jail->cpus);
    }
    return 0;
}

/* Pointers into a tuple of bytes, which must stay alive; to be freed with PyMem_Free. */
static char **read_arguments(PyObject *arguments)
{
    Py_ssize_t count = PyTuple_GET_SIZE(arguments);
    char **vector = PyMem_Calloc((size_t)count + 1, sizeof *vector);

    if (vector == NULL)
        return (char **)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < count; i++)
        if (PyBytes_AsStringAndSize(PyTuple_GET_ITEM(arguments, i), &vector[i], NULL)) {
            PyMem_Free(vector);
            return NULL;
        }
    return vector;
}

PyDoc_STRVAR(fork_doc,
"fork() -> int\n\n"
"Fork a process that may become a keeper: it dies with this one. Returns its process id, and 0 in it. Raises\n"
"OSError.");

static PyObject *fork_keeper(PyObject *module, PyObject *none)
{
    const pid_t parent = getpid();
    sigset_t all, before;
    pid_t keeper;
    int error;

    (void)module;
    (void)none;
    sigfillset(&all); /* or a signal could run Python's handler in the child */
    PyOS_BeforeFork();
    pthread_sigmask(SIG_BLOCK, &all, &before);
    keeper = fork_with(0, NULL);
    error = errno;
    if (keeper == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) || getppid() != parent)
            _exit(1);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        PyOS_AfterFork_Child();
    } else {
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        PyOS_AfterFork_Parent();
    }
    errno = error;
    return keeper < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(keeper);
}

PyDoc_STRVAR(keep_doc,
"keep(*, profile, layers, trial, address_space, data, resident, stack, threads, cpu_seconds, nice, idle,\n"
"     cpus, arguments, descriptors)\n\n"
"Be the keeper of a program, which is forked from here and confined. `profile` is NATIVE, PYTHON or TEMPLATE,\n"
"`layers` the sum of NAMESPACES, LANDLOCK, SECCOMP; `trial` confines and ends; the numbers are those of struct\n"
"jail; `cpus` is a tuple of numbers, empty for any; `arguments` a tuple of bytes; `descriptors` are program,\n"
"stdin, stdout, stderr, control, and cgroup.procs of its group or -1. All that happens is a report on the\n"
"control socket. Returns for PYTHON alone, in the program, in the jail. TEMPLATE needs load_wasmtime before;\n"
"the limits are for compiling then. To be called in a process that `fork` made and that does nothing else.");

static PyObject *keep(PyObject *module, PyObject *none, PyObject *values)
{
    static char *names[] = {
        "profile", "layers", "trial", "address_space", "data", "resident", "stack", "threads", "cpu_seconds",
        "nice", "idle", "cpus", "arguments", "descriptors", NULL
    };
    struct jail jail = {0};
    PyObject *cpus, *arguments;
    unsigned long long address_space, data, resident, stack, cpu_seconds;
    char **vector;
    int trial, idle, *d = jail.descriptors;
    sigset_t all;

    (void)module;
    if (!PyArg_ParseTupleAndKeywords(
            none, values, "iIpKKKKIKipO!O!(iiiiii):keep", names, &jail.profile, &jail.layers, &trial, &address_space,
            &data, &resident, &stack, &jail.threads, &cpu_seconds, &jail.nice, &idle, &PyTuple_Type, &cpus,
            &PyTuple_Type, &arguments, &d[0], &d[1], &d[2], &d[3], &d[4], &d[5]))
        return NULL;
    if (jail.profile != NATIVE && jail.profile != PYTHON && (jail.profile != TEMPLATE || engine == NULL))
        return PyErr_Format(PyExc_ValueError, "profile: there is no profile %d", jail.profile);
    if (read_cpus(cpus, &jail) || (vector = read_arguments(arguments)) == NULL)
        return NULL;
    jail.trial = trial;
    jail.idle = idle;
    jail.address_space = address_space;
    jail.data = data;
    jail.resident = resident;
    jail.cpu_seconds = cpu_seconds;
    jail.stack = stack;
    jail.arguments = vector;
    snprintf(jail.uid_map, sizeof jail.uid_map, "%d %u 1", NOBODY, (unsigned)geteuid());
    snprintf(jail.gid_map, sizeof jail.gid_map, "%d %u 1", NOBODY, (unsigned)getegid());

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    if (jail.profile == TEMPLATE)
        be_template_keeper(&jail);
    /* A Python program goes on where this process was, which was made for it alone: Python need not know. */
    be_keeper(&jail);
    PyMem_Free(vector);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(load_wasmtime_doc,
"load_wasmtime(path)\n\n"
"Open wasmtime's library, of version WASMTIME_MAJOR, and make ready what templates need. OSError if it\n"
"cannot be.");

static PyObject *load(PyObject *module, PyObject *path)
{
    const char *name = PyUnicode_AsUTF8(path), *why;

    (void)module;
    if (name == NULL)
        return NULL;
    why = load_wasmtime(name);
    if (why)
        return PyErr_Format(PyExc_OSError, "wasmtime cannot be loaded: %s", why);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(settle_doc,
"settle(parent)\n\n"
"Make this process one that starts programs: it dies with process `parent`, is a user of its own if it\n"
"was root, and cannot be looked into by others of its user. Raises OSError.");

static PyObject *settle(PyObject *module, PyObject *value)
{
    long parent = PyLong_AsLong(value);

    (void)module;
    if (parent == -1 && PyErr_Occurred())
        return NULL;
    if ((geteuid() == 0 && drop_root()) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        return PyErr_SetFromErrno(PyExc_OSError);
    if (getppid() != parent) {
        errno = ESRCH;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"fork", fork_keeper, METH_NOARGS, fork_doc},
    {"keep", (PyCFunction)(void (*)(void))keep, METH_VARARGS | METH_KEYWORDS, keep_doc},
    {"load_wasmtime", load, METH_O, load_wasmtime_doc},
    {"settle", settle, METH_O, settle_doc},
    {NULL, NULL, 0, NULL},
};

static int add_constants(PyObject *module)
{
    PyObject *steps = PyTuple_New(STEP_COUNT);

    if (steps == NULL)
        return -1;
    for (Py_ssize_t i = 0; i < STEP_COUNT; i++) {
        PyObject *name = PyUnicode_FromString(STEP_NAMES[i]);
        if (name == NULL) {
            Py_DECREF(steps);
            return -1;
        }
        PyTuple_SET_ITEM(steps, i, name);
    }
    if (PyModule_AddObject(module, "STEPS", steps)) {
        Py_DECREF(steps);
        return -1;
    }
    return PyModule_AddIntMacro(module, NATIVE) || PyModule_AddIntMacro(module, PYTHON)
        || PyModule_AddIntMacro(module, TEMPLATE) || PyModule_AddIntMacro(module, WASMTIME_MAJOR)
        || PyModule_AddIntMacro(module, NO_REASON)
        || PyModule_AddIntMacro(module, TOO_MUCH_MEMORY) || PyModule_AddIntMacro(module, TOO_MANY_THREADS)
        || PyModule_AddIntMacro(module, TOO_MUCH_CPU)
        || PyModule_AddIntMacro(module, NAMESPACES) || PyModule_AddIntMacro(module, LANDLOCK)
        || PyModule_AddIntMacro(module, SECCOMP) || PyModule_AddIntMacro(module, PROGRAM_FD) ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)add_constants}, {0, NULL}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "seccomp._jail", "Starts jailed programs.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__jail(void)
{
    return PyModuleDef_Init(&definition);
}
