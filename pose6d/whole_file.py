"""Writing a file, or what is appended to one, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from pose6d.errors import OutputError, with_cure


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A new file to write, which becomes `path` when the block ends; the folder is made where it does not exist.

    If the block raises, or is stopped by Ctrl-C, a file that was at `path` before is still the same, and nothing else
    is left. The new file lies in the same folder, is hidden, and ends as `path` does. Links are followed.

    Raises:
        OutputError: a file operation in the block fails, or the folder takes no file.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{uuid4().hex[:8]}-{target.name}")
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe; a folder, which cannot be opened
            yield path
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, target)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            reason = with_cure(error).replace(str(partial), str(path))
            raise OutputError(f"{path} cannot be written: {reason}") from error
        raise


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes; for the rest see `whole_file`."""
    with whole_file(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def append_at_once(path: str | os.PathLike[str], text: str) -> None:
    """Append text (as UTF-8) in one piece; it is on disk when this returns. The file is made where it does not exist.

    Raises:
        OSError: it cannot be written, or the disk took a part of it only.
    """
    data = text.encode()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        written = os.write(handle, data)
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were taken: is the disk full?")
        os.fsync(handle)
    finally:
        os.close(handle)
