"""Hostile functions for the Python runtime. Each is the body of `f`, which is given the input; where it comes to
its end it returns `escaped`: it had what it must not have."""
# ruff: noqa: E501 (a table)

import textwrap

from tests.seccomp.hostile.table import ASKS, DIES, DOES, Deed

PRELUDE = """\
import os, sys, gc, json, pickle, re, threading, signal, types
def libc():
    import ctypes
    return ctypes.CDLL(None, use_errno=True)
"""
NO_CTYPES = "raises ModuleNotFoundError"  # where there is no numpy, which brings it
FILES, MACHINE, OTHERS = "python: files", "python: the machine", "python: processes"
INSIDE, BOMBS, PICKLES = "python: its own interpreter", "python: bombs", "python: input, source and result"

# name: (family, what it tries, control, outcome, body)
TABLE: dict[str, tuple[str, str, str, str, str]] = {
    "py_open": (FILES, "open a file", DOES, "raises PermissionError", "open('/etc/passwd').read()"),
    "py_open_write": (FILES, "open a device for writing", DOES, "raises PermissionError",
                      "open('/dev/null', 'w').write('x')"),
    "py_os_open": (FILES, "open /proc/self/mem", DOES, "raises PermissionError",
                   "os.open('/proc/self/mem', os.O_RDWR)"),
    "py_environ_file": (FILES, "open /proc/self/environ", DOES, "raises PermissionError",
                        "os.open('/proc/self/environ', 0)"),
    "py_fd_file": (FILES, "open its input once more (/dev/fd/0)", ASKS, "raises PermissionError",
                   "os.open('/dev/fd/0', 0)"),
    "py_listdir": (FILES, "list a directory", DOES, "raises PermissionError", "os.listdir('/')"),
    "py_stat": (FILES, "ask after a file", DOES, "raises PermissionError", "os.stat('/etc/passwd')"),
    "py_access": (FILES, "ask whether a file is there", DOES, "refused",
                  "return 'escaped' if os.access('/etc/passwd', 0) else 'refused'"),
    "py_readlink": (FILES, "read a link", DOES, "raises PermissionError", "os.readlink('/proc/self/exe')"),
    "py_getcwd": (FILES, "ask for the working directory", DOES, "raises PermissionError", "os.getcwd()"),
    "py_tempfile": (FILES, "make a temporary file", DOES, "raises FileNotFoundError|raises PermissionError",
                    "import tempfile; tempfile.TemporaryFile()"),
    "py_mkdir": (FILES, "make a directory", ASKS, "SIGSYS", "os.mkdir('/not/there')"),
    "py_unlink": (FILES, "remove a file", ASKS, "SIGSYS", "os.unlink('/not/there')"),
    "py_rename": (FILES, "rename a file", ASKS, "SIGSYS", "os.rename('/not/there', '/not/here')"),
    "py_symlink": (FILES, "make a link", ASKS, "SIGSYS", "os.symlink('/etc/passwd', '/not/there')"),
    "py_chdir": (FILES, "change the working directory", DOES, "SIGSYS", "os.chdir('/')"),
    "py_memfd": (FILES, "make a file in memory", DOES, "SIGSYS", "os.memfd_create('x')"),
    "py_module_file": (FILES, "import what was not imported before", DOES, "raises ModuleNotFoundError",
                       "import wave"),
    "py_loader": (FILES, "load a module by its path", DOES, "raises PermissionError",
                  "import importlib.machinery as m; "
                  "m.SourceFileLoader('x', m.PathFinder.__module__ and os.__file__).get_data(os.__file__)"),
    "py_dlopen": (FILES, "load a library", DOES, f"raises OSError|{NO_CTYPES}",
                  "import ctypes; ctypes.CDLL('libresolv.so.2')"),
    "py_numpy_map": (FILES, "map a file by numpy", ASKS,
                     "raises PermissionError|raises ModuleNotFoundError",
                     "import numpy; numpy.memmap('/etc/passwd')"),
    "py_socket": (MACHINE, "make a socket", DOES, "SIGSYS", "import socket; socket.socket()"),
    "py_resolve": (MACHINE, "look up a host's name", DOES, "SIGSYS|raises gaierror",
                   "import socket; socket.getaddrinfo('127.0.0.1', 80); socket.gethostbyname('localhost')"),
    "py_uname": (MACHINE, "ask for the machine's name", DOES, "SIGSYS", "os.uname()"),
    "py_loadavg": (MACHINE, "ask how busy the machine is", ASKS, "exits 0|raises OSError",
                   "os.getloadavg()"),
    "py_setuid": (MACHINE, "set the user", DOES, "SIGSYS", "os.setuid(os.geteuid())"),
    "py_umask": (MACHINE, "set the mask of new files", DOES, "SIGSYS", "os.umask(0)"),
    "py_nice": (MACHINE, "change its priority", DOES, "SIGSYS", "os.nice(1)"),
    "py_affinity": (MACHINE, "choose CPUs", DOES, "SIGSYS",
                    "os.sched_setaffinity(0, os.sched_getaffinity(0))"),
    "py_affinity_other": (MACHINE, "ask on which CPUs process 1 runs", DOES, "raises OSError", "os.sched_getaffinity(1)"),
    "py_pipe": (MACHINE, "make a pipe", DOES, "SIGSYS", "os.pipe()"),
    "py_dup": (MACHINE, "double a descriptor", DOES, "raises OSError", "os.dup(0)"),
    "py_blocking": (MACHINE, "set flags that are shared through a pipe", DOES, "SIGSYS|raises OSError",
                    "os.set_blocking(1, False)"),
    "py_eventfd": (MACHINE, "make an eventfd", DOES, "SIGSYS", "os.eventfd(0)"),
    "py_alarm": (MACHINE, "set an alarm", DOES, "SIGSYS", "signal.alarm(0)"),
    "py_itimer": (MACHINE, "set a timer", DOES, "SIGSYS", "signal.setitimer(signal.ITIMER_REAL, 0)"),
    "py_fork": (OTHERS, "fork", DOES, "SIGSYS", "if os.fork() == 0: os._exit(0)\nos.wait()"),
    "py_system": (OTHERS, "run a command", DOES, "SIGSYS", "os.system('true') == 0 or 1 / 0"),
    "py_popen": (OTHERS, "run a command and read what it says", DOES, "raises ModuleNotFoundError|SIGSYS",
                 "os.popen('echo x').read()"),
    "py_spawn": (OTHERS, "run a program by posix_spawn", DOES, "SIGSYS",
                 "os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)"),
    "py_exec": (OTHERS, "become another program", DOES, "SIGSYS",
                "os.execv('/bin/echo', ['echo', 'escaped'])"),
    "py_kill_parent": (OTHERS, "signal its parent", DOES, "SIGSYS", "os.kill(os.getppid(), 0)"),
    "py_kill_all": (OTHERS, "signal everybody", DOES, "SIGSYS", "os.kill(-1, 0)"),
    "py_getppid": (OTHERS, "ask who its parent is", DOES, "SIGSYS", "os.getppid()"),
    "py_pidfd": (OTHERS, "get hold of a process", DOES, "SIGSYS", "os.pidfd_open(os.getpid())"),
    "py_call_fork": (OTHERS, "fork by a raw call", DOES, f"SIGSYS|{NO_CTYPES}",
                     "if libc().syscall(57) == 0: os._exit(0)"),
    "py_call_open": (OTHERS, "open a file by a raw call", DOES, f"raises PermissionError|{NO_CTYPES}",
                     "import ctypes\nif libc().syscall(2, b'/etc/passwd', 0) < 0: raise PermissionError"),
    "py_call_ptrace": (OTHERS, "be traced", DOES, f"SIGSYS|{NO_CTYPES}", "libc().ptrace(0, 0, 0, 0)"),
    "py_call_memory": (OTHERS, "read its parent's memory", ASKS, f"SIGSYS|{NO_CTYPES}",
                       "libc().process_vm_readv(1, 0, 0, 0, 0, 0)"),
    "py_call_exec": (OTHERS, "execute what it wrote into memory", DOES, f"raises PermissionError|{NO_CTYPES}",
                     "import ctypes; c = libc(); c.mmap.restype = ctypes.c_long\n"
                     "if c.mmap(None, 4096, 7, 0x22, -1, 0) == -1: raise PermissionError"),
    "py_call_protect": (OTHERS, "make its memory executable", DOES, f"raises PermissionError|{NO_CTYPES}",
                        "import ctypes; c = libc(); c.mmap.restype = ctypes.c_long\n"
                        "at = c.mmap(None, 4096, 3, 0x22, -1, 0)\n"
                        "if c.mprotect(ctypes.c_long(at), 4096, 5): raise PermissionError"),
    "py_call_wake": (OTHERS, "wake who waits on a page of a library that all have", ASKS, f"SIGSYS|{NO_CTYPES}",
                     "import ctypes; c = libc(); c.syscall(202, ctypes.cast(c.memcpy, ctypes.c_void_p), 1, 1)"),
    "py_call_prctl": (OTHERS, "outlive its keeper", DOES, f"SIGSYS|{NO_CTYPES}", "libc().prctl(1, 0, 0, 0, 0)"),
    "py_descriptors": (INSIDE, "use a descriptor that was left open", DOES, "raises OSError",
                       "found = 0\n"
                       "for fd in range(3, 1024):\n"
                       "    try: found += os.write(fd, b'E' * 32)\n"
                       "    except OSError: pass\n"
                       "if not found: raise OSError"),
    "py_zygote_socket": (INSIDE, "ask the process that it came from for another start, by the caller's variables",
                         DOES, "SIGSYS",
                         "frame = sys._getframe()\n"
                         "while 'requests' not in frame.f_locals: frame = frame.f_back\n"
                         "frame.f_locals['requests'].send(b'{}')"),
    "py_zygote_objects": (INSIDE, "the same by all objects that there are", DOES, "raises ZeroDivisionError",
                          "import socket; gc.unfreeze()\n"
                          "found = [one for one in gc.get_objects() if isinstance(one, socket.socket)]\n"
                          "[one for one in found if one.fileno() > 2 and one.send(b'{}')] or 1 / 0"),
    "py_start": (INSIDE, "start a program by the jail's own code", ASKS, "SIGSYS|raises ModuleNotFoundError",
                 "from seccomp import _jail\n"
                 "sizes = dict.fromkeys(('address_space', 'data', 'resident', 'stack', 'cpu_seconds'), 1 << 30)\n"
                 "_jail.keep(profile=1, layers=0, trial=False, threads=1, nice=0, idle=False, cpus=(), arguments=(),\n"
                 "            descriptors=(0, 0, 1, 2, 2, -1), **sizes)"),
    "py_settle": (INSIDE, "become one that may be looked into, by the jail's own code", ASKS,
                  "SIGSYS|raises OSError|raises ModuleNotFoundError",
                  "from seccomp import _jail\n_jail.settle(1)"),
    "py_no_exit": (INSIDE, "not to leave, but to be the process that starts programs", ASKS, "exits 1|SIGSYS",
                   "os._exit = lambda status: None\nreturn 'refused'"),
    "py_secrets": (INSIDE, "find somebody's secrets in the environment", ASKS, "refused",
                   "return 'escaped' if set(os.environ) - {'LC_CTYPE'} else 'refused'"),
    "py_raw_memory": (INSIDE, "read memory that is not there", DIES, f"SIGSEGV|{NO_CTYPES}",
                      "import ctypes; ctypes.string_at(8)"),
    "py_write_none": (INSIDE, "change what None is", ASKS, f"SIGSEGV|SIGABRT|exits 0|exits 1|{NO_CTYPES}",
                      "import ctypes; ctypes.memset(id(None), 0, 16); return 'refused'"),
    "py_exit_handlers": (INSIDE, "run on behind the end: atexit, __del__, threads' hooks", ASKS, "refused",
                         "import atexit\n"
                         "class Last:\n    def __del__(self): os.write(1, b'escaped')\n"
                         "atexit.register(os.write, 1, b'escaped')\n"
                         "globals()['last'] = Last()\nreturn 'refused'"),
    "py_thread": (INSIDE, "a thread", DOES, "raises RuntimeError", "t = threading.Thread(target=print); t.start(); t.join()"),
    "py_deaf": (INSIDE, "ignore every signal, and end", DOES, "exits 0",
                "for n in range(1, 65):\n"
                "    try: signal.signal(n, signal.SIG_IGN)\n"
                "    except (OSError, ValueError): pass"),
    "py_exit_large": (INSIDE, "exit with 300", DIES, "exits 44", "sys.exit(300)"),
    "py_exit_killed": (INSIDE, "exit with 137, as if killed", DIES, "exits 137", "os._exit(137)"),
    "py_exit_text": (INSIDE, "exit with a text that is 10 MB long", ASKS, "exits 1", "sys.exit('x' * 10_000_000)"),
    "py_exception": (INSIDE, "an exception that cannot be printed", ASKS, "exits 1",
                     "class Bad(BaseException):\n"
                     "    def __str__(self): raise Bad\n"
                     "    __repr__ = __str__\n"
                     "raise Bad"),
    "py_traceback": (INSIDE, "a traceback that lies about files", ASKS, "exits 1",
                     "exec(compile('1/0', '/etc/passwd', 'exec'))"),
    "py_stderr": (INSIDE, "an error stream that does not work", ASKS, "exits 1", "sys.stderr = 7; 1 / 0"),
    "py_recursion": (BOMBS, "a recursion without end", ASKS, "raises RecursionError", "def g(): g()\ng()"),
    "py_recursion_c": (BOMBS, "a recursion without end or limit, in C", DIES, "SIGSEGV",
                       "sys.setrecursionlimit(2_000_000_000)\n"
                       "class G:\n    def __getattr__(self, name): return getattr(self, name)\n"
                       "G().x"),
    "py_memory": (BOMBS, "a list of 10^10 items", ASKS, "raises MemoryError", "[0] * 10 ** 10"),
    "py_memory_pieces": (BOMBS, "memory in pieces", DOES, "raises MemoryError",
                         "kept = [bytearray(1 << 20) for _ in range(200)]"),
    "py_numpy_memory": (BOMBS, "a large array of numpy's", ASKS,
                        "raises MemoryError|raises _ArrayMemoryError|raises ModuleNotFoundError|"
                        "raises numpy._core._exceptions._ArrayMemoryError",
                        "import numpy; numpy.ones(1 << 40)"),
    "py_text": (BOMBS, "a text of 10^10 letters", ASKS, "raises MemoryError", "'%10000000000d' % 1"),
    "py_digits": (BOMBS, "the digits of a huge number", ASKS, "raises ValueError", "str(10 ** 100_000)"),
    "py_compress": (BOMBS, "a few bytes that unpack to a gigabyte", ASKS, "raises MemoryError",
                    "import zlib; piece = zlib.compress(bytes(1 << 20)); kept = []\n"
                    "for _ in range(1 << 10): kept.append(zlib.decompress(piece))"),
    "py_nested_source": (BOMBS, "a source that is nested too deep", ASKS,
                         "raises SyntaxError|raises MemoryError|raises RecursionError|SIGSEGV",
                         "eval('(' * 100_000 + ')' * 100_000)"),
    "py_long_source": (BOMBS, "a source that grows in the compiler", ASKS,
                       "raises MemoryError|raises RecursionError|raises SyntaxError|SIGSEGV",
                       "eval('-' * 1_000_000 + '1')"),
    "py_huge_number": (BOMBS, "a number that takes for ever", ASKS, "keeper", "os.write(2, b'begun'); 9 ** 9 ** 9"),
    "py_regex": (BOMBS, "a regular expression that takes for ever", ASKS, "keeper",
                 "os.write(2, b'begun'); re.match('(a+)+$', 'a' * 99 + 'b')"),
    "py_spin": (BOMBS, "compute past the end of its hour", ASKS, "keeper",
                "os.write(2, b'begun')\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass"),
    "py_sleep": (BOMBS, "sleep for ever", ASKS, "keeper", "import time; os.write(2, b'begun'); time.sleep(1e8)"),
    "py_flood": (BOMBS, "output without end", ASKS, "keeper",
                 "os.write(2, b'begun')\nwhile True: os.write(1, bytes(1 << 20))"),
    "py_flood_errors": (BOMBS, "errors without end", ASKS, "keeper",
                 "os.write(2, b'begun')\nwhile True: print('x' * 10000)"),
    "py_closed": (BOMBS, "close all its streams and go on", ASKS, "keeper",
                  "os.write(2, b'begun'); [os.close(fd) for fd in range(3)]\nwhile True: pass"),
    "py_lock": (BOMBS, "wait for itself", ASKS, "keeper",
                "l = threading.Lock(); l.acquire(); os.write(2, b'begun'); l.acquire()"),
    "py_pickle_system": (PICKLES, "a pickle that runs a command", DOES, "SIGSYS",
                         "pickle.loads(b'cos\\nsystem\\n(S\\'true\\'\\ntR.') == 0 or 1 / 0"),
    "py_pickle_open": (PICKLES, "a pickle that opens a file", DOES, "raises PermissionError",
                       "pickle.loads(b'cbuiltins\\nopen\\n(S\\'/etc/passwd\\'\\ntR.')"),
    "py_pickle_exec": (PICKLES, "a pickle that runs a source", DOES, "SIGSYS",
                       "pickle.loads(b'cbuiltins\\nexec\\n(S\\'import os; os.getppid()\\'\\ntR.')"),
    "py_pickle_deep": (PICKLES, "a pickle nested without end", ASKS, "raises RecursionError|exits 0|SIGSEGV",
                       "x = ()\nfor _ in range(100_000): x = (x,)\npickle.dumps(x); return 'refused'"),
    "py_pickle_huge": (PICKLES, "a pickle that says it is 2^60 bytes long", ASKS,
                       "raises MemoryError|raises UnpicklingError|raises EOFError|"
                       "raises _pickle.UnpicklingError|raises OverflowError",
                       "pickle.loads(b'\\x8e' + (1 << 60).to_bytes(8, 'little') + b'x')"),
    "py_pickle_bad": (PICKLES, "a pickle of random bytes", ASKS, "exits 1", "pickle.loads(bytes(range(128, 256)))"),
    "py_endless_input": (PICKLES, "read an input that has no end", ASKS, "raises MemoryError", "pass"),
    "py_json_deep": (PICKLES, "JSON nested without end", ASKS, "raises RecursionError", "json.loads('[' * 100_000)"),
    "py_result_none": (PICKLES, "a result that is no bytes", ASKS, "raises TypeError", "return 7"),
    "py_result_lies": (PICKLES, "a result that lies about itself", ASKS, "exits 0|exits 1",
                       "class Bytes(bytes):\n"
                       "    def __bytes__(self): return b'refused'\n"
                       "    def __len__(self): return -1\n"
                       "    def __buffer__(self, flags): raise SystemError\n"
                       "return Bytes(b'refused')"),
    "py_result_huge": (PICKLES, "a result of 32 MB", ASKS, "exits 0", "return bytes(32 << 20)"),
}  # fmt: skip

# Sources that are not what they should be: not the body of `f`, but all of it.
SOURCES: dict[str, tuple[str, str, bytes]] = {
    "py_source_empty": ("a source without the function", "raises NameError", b""),
    "py_source_bytes": ("a source that is no UTF-8", "raises UnicodeDecodeError", b"\xff\xfe" * 100),
    "py_source_zero": ("a source with zero bytes", "raises ValueError|raises SyntaxError", b"f = 1\0"),
    "py_source_name": ("a function that is a number", "raises NameError", b"f = 1"),
    "py_source_exit": ("a source that exits while it is read", "exits 5", b"import os; os._exit(5)"),
    "py_source_cookie": ("a source that names another encoding", "exits 0",
                         b"# -*- coding: rot13 -*-\ndef f(d): return 'refused'"),
    "py_source_large": ("a source of 8 MB", "exits 0", b"#" * (8 << 20) + b"\ndef f(d): return 'refused'"),
    "py_source_deep": ("a source nested too deep", "raises SyntaxError|raises MemoryError|raises RecursionError",
                       b"(" * 100_000),
    "py_source_imports": ("a module that imports itself again and again", "raises RecursionError",
                          b"import sys\ndef f(d):\n    def g(): exec('g()', globals() | {'g': g})\n    g()"),
}  # fmt: skip


def deeds() -> list[Deed]:
    """Those of both tables."""
    found = []
    for name, (family, tries, control, outcome, body) in TABLE.items():
        source = f"{PRELUDE}def f(data):\n{textwrap.indent(body, '    ')}\n    return 'escaped'\n"
        found.append(Deed("python", family, name, tries, control, outcome, source.encode()))
    for name, (tries, outcome, text) in SOURCES.items():
        found.append(Deed("python", PICKLES, name, tries, ASKS, outcome, text))
    return found
