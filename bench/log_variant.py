"""A service of the market with something chosen otherwise: `python -m bench.log_variant SERVICE ...`.

What, is the environment variable CHOICE, a JSON object: `loop` ("asyncio" instead of uvloop), and constants
by their full names (`exchange.writer.GROUP`) with their values.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys

import uvloop

from events.wire import loads

CHOICE = "COREHOUR_BENCH_CHOICE"


def main() -> int:
    """Become the service."""
    service = importlib.import_module(sys.argv[1])
    del sys.argv[1]
    for name, value in loads(os.environ[CHOICE].encode()).items():
        if name == "loop":
            assert value == "asyncio", value
            uvloop.new_event_loop = asyncio.new_event_loop  # type: ignore[assignment]
            continue
        module, _, constant = name.rpartition(".")
        assert hasattr(importlib.import_module(module), constant), name
        setattr(importlib.import_module(module), constant, value)
    ended: int = service.main()
    return ended


if __name__ == "__main__":
    sys.exit(main())
