"""The one family of exceptions that bad input raises, and what their messages are made of.

Every message names the file or argument, what was found, what is wanted and, where one is known, the likely cure.
"""

from __future__ import annotations

import errno
import os
from numbers import Integral
from pathlib import Path
from typing import Any

_CURES = {
    errno.ENAMETOOLONG: "take a shorter name",
    errno.ENOSPC: "free some space, or write to another disk",
    errno.EDQUOT: "free some space, or write to another disk",
    errno.EACCES: "change its permissions, or take another place",
    errno.EPERM: "change its permissions, or take another place",
    errno.EROFS: "take another place",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a part of the path is a file, not a folder",  # of making the folder
    errno.EISDIR: "name a file",
    errno.ELOOP: "a link there leads to itself: remove it",
    errno.EPIPE: "the program that read it has ended",
    errno.EMFILE: "allow more open files (ulimit -n)",
}


def with_cure(error: OSError) -> str:
    """What the system says, with the likely cure where one is known."""
    cure = _CURES.get(error.errno or 0)
    return f"{error}: {cure}" if cure else str(error)


def listing(folder: Path, limit: int = 12) -> str:
    """The entries of a folder as one line, for error messages; subfolders end in a slash."""
    names = sorted((entry.name + "/" if entry.is_dir() else entry.name) for entry in folder.iterdir())
    return shorten(names, limit) or "nothing"


def beside(path: Path) -> str:
    """For messages about a file or folder that is missing: what lies in its folder instead; "" where there is none."""
    link = f"it is a link to {path.readlink()}, which leads nowhere; " if path.is_symlink() else ""
    return f" ({link}{path.parent} holds {listing(path.parent)})" if path.parent.is_dir() else ""


def why_no_file(path: Path) -> str:
    """What a path is that is no file which can be read: missing, a link to nothing, a folder, a pipe."""
    if path.is_symlink() and not path.exists():
        return f"is a link to {path.readlink()}, which leads to no file: copy the file itself"
    if path.is_dir():
        return "is a folder, wanted a file"
    return "is no file but a pipe or a device: save it as a file first" if path.exists() else "is missing"


def shorten(names: list[str], limit: int = 8) -> str:
    """Join names with commas; the rest beyond `limit` is counted."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


class Pose6DError(Exception):
    """Base of every error this project raises on purpose; `except Pose6DError` catches all bad input."""


def as_path(given: Any, what: str, error: type[Pose6DError]) -> Path:
    """The path that somebody names, where a leading ~ is the home folder.

    Raises:
        error: it is neither text nor a path; the message calls it `what`.
    """
    if not isinstance(given, str | os.PathLike):
        raise error(f"{what} is a {type(given).__name__}: a path is needed")
    return Path(os.path.expanduser(given))


class MeshError(Pose6DError):
    """A mesh file or array that cannot be used: missing, empty, NaN vertices, no faces, the wrong unit."""


class SceneError(Pose6DError):
    """A scene folder that cannot be read: missing files, frames that do not pair up, bad intrinsics."""


class FrameError(SceneError):
    """One frame that cannot be used: a truncated image, sizes that differ, depth in the wrong unit, an empty mask."""


class WeightsError(Pose6DError):
    """Network weights that cannot be used: missing, corrupt, or of another architecture."""


class DeviceError(Pose6DError):
    """A device that was asked for and is not there."""


class OutputError(Pose6DError):
    """An output folder that cannot be written, or that already holds results."""


class ResultsError(Pose6DError):
    """A file of estimated poses that cannot be trusted: a wrong header, NaN, a duplicate target, another unit."""


class OptionError(Pose6DError, ValueError):
    """The value of a command's option, or of a function's argument, that cannot be used."""


def as_whole_number(given: Any, what: str, *, least: int | None = None, kind: str = "whole number") -> int:
    """The whole number that somebody names, of Python or NumPy.

    Raises:
        OptionError: it is none (a truth value is none either), or less than `least`; the message calls it `what`, and
            what is wanted a `kind`.
    """
    if not isinstance(given, Integral) or isinstance(given, bool) or (least is not None and given < least):
        raise OptionError(f"{what} is {given!r}: a {kind} is needed{'' if least is None else f', {least} or more'}")
    return int(given)


class TrainingError(Pose6DError):
    """A training run that cannot go on: it has diverged, or a process that made its objects was killed."""


class TextureError(Pose6DError):
    """Textures that cannot be made: an endpoint that is down, slow or refuses, answers or pictures of no use."""


class MissingDependencyError(Pose6DError, ImportError):
    """An optional package that the requested feature needs; the message names the extra that installs it."""
