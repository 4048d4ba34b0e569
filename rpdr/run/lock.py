"""Only one job at a time: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock at `path` while in the block; False where another process does. True, too, where nobody can hold one: the folder cannot be written, of
    which whoever works there will tell, or its file system has no locks."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")  # and leaves it as it is, if it is there
    except OSError:
        yield True
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        try:
            yield True
        finally:
            if all(there == path for there in path.parent.iterdir()):  # refused before anything was begun: nothing is left of it
                path.unlink()
                with suppress(OSError):
                    path.parent.rmdir()
                    path.parent.parent.rmdir()
