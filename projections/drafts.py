"""Names for what is not whole yet: nobody else's, and those of writers that were killed are known again."""

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path


def draft_of(path: Path) -> Path:
    """A new name beside `path`, `<path>.<process>-<random>.partial`. Removes what the dead left so."""
    ours = re.compile(rf"{re.escape(path.name)}\.([0-9]+)-[0-9a-f]{{8}}\.partial")
    with contextlib.suppress(FileNotFoundError):
        for left in path.parent.iterdir():
            named = ours.fullmatch(left.name)
            if named and not Path("/proc", named[1]).exists():
                discard(left)
    return path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def discard(draft: Path) -> None:
    """Remove a draft, file or directory, if it is there."""
    if draft.is_dir() and not draft.is_symlink():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)
