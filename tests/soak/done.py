"""What soak has done: a line of JSON for each round, which the next run reads, to go on behind it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def rows(log: Path) -> list[dict[str, Any]]:
    """What was done, the oldest first."""
    found = []
    for line in log.read_text().splitlines() if log.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:  # half a line, of a process that was killed
            continue
    return found


def keep(log: Path, row: dict[str, Any]) -> None:
    """Add a line that is there even if this process is killed right after."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        file.write(f"{json.dumps(row)}\n")
        file.flush()
        os.fsync(file.fileno())
