"""Where a run's output goes."""

import os
from pathlib import Path


class TooMuchError(Exception):
    """A run wrote more than it may; the text says how much that is."""


class Results:
    """Where a run's output goes until it is whole: then it appears under its name, at once."""

    def __init__(self, partial: Path, output: Path, name: str, contract: int, most: int) -> None:
        """`most`: MiB of output and errors together. Raises OSError."""
        self._most, self._room = most, most << 20
        self._places = {
            partial / f"{contract}.out": output / name,
            partial / f"{contract}.err": output / f"{name}.err",
        }
        self._out, self._err = (path.open("wb") for path in self._places)

    def write_output(self, data: bytes) -> None:
        """Next bytes of standard output. Raises TooMuchError, OSError."""
        self._take_room(data)
        self._out.write(data)

    def write_errors(self, data: bytes) -> None:
        """Next bytes of standard error. Raises TooMuchError, OSError."""
        self._take_room(data)
        self._err.write(data)

    def _take_room(self, data: bytes) -> None:
        if len(data) > self._room:
            raise TooMuchError(f"more than {self._most} MiB of output; --max-output allows more")
        self._room -= len(data)

    def finish(self) -> None:
        """The run ended: put output, and errors if there are any, in place. Raises OSError."""
        for file, (path, place) in zip((self._out, self._err), self._places.items(), strict=True):
            file.flush()
            os.fsync(file.fileno())
            empty = file.tell() == 0
            file.close()
            if file is self._err and empty:
                path.unlink()
                place.unlink(missing_ok=True)
            else:
                path.replace(place)
        directory = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # the journal will say that they are there
        finally:
            os.close(directory)

    def discard(self) -> None:
        """Forget what was written, unless it was finished."""
        for file, path in zip((self._out, self._err), self._places, strict=True):
            file.close()
            path.unlink(missing_ok=True)
