STEPS: tuple[str, ...]
NATIVE: int
PYTHON: int
TEMPLATE: int
WASMTIME_MAJOR: int
NAMESPACES: int
LANDLOCK: int
SECCOMP: int
PROGRAM_FD: int
NO_REASON: int
TOO_MUCH_MEMORY: int
TOO_MANY_THREADS: int
TOO_MUCH_CPU: int

def fork() -> int: ...
def keep(
    *,
    profile: int,
    layers: int,
    trial: bool,
    address_space: int,
    data: int,
    resident: int,
    stack: int,
    threads: int,
    cpu_seconds: int,
    nice: int,
    idle: bool,
    cpus: tuple[int, ...],
    arguments: tuple[bytes, ...],
    descriptors: tuple[int, ...],
) -> None: ...
def load_wasmtime(path: str, /) -> None: ...
def settle(parent: int, /) -> None: ...
