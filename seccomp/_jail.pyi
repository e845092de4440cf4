STEPS: tuple[str, ...]
NATIVE: int
PYTHON: int
NAMESPACES: int
LANDLOCK: int
SECCOMP: int
PROGRAM_FD: int
WASMTIME_MAJOR: int

def start(
    profile: int,
    layers: int,
    trial: bool,
    address_space: int,
    stack: int,
    nice: int,
    cpus: tuple[int, ...],
    arguments: tuple[bytes, ...],
    descriptors: tuple[int, ...],
    /,
) -> int: ...
def load_wasmtime(path: str, /) -> None: ...
def start_template(
    layers: int,
    address_space: int,
    data: int,
    cpu_seconds: int,
    nice: int,
    cpus: tuple[int, ...],
    descriptors: tuple[int, ...],
    /,
) -> int: ...
def settle(parent: int, /) -> None: ...
