"""Poses as JSON lines, for other programs: on standard output, in a file, or from a TCP port."""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import torch

from live.tracked_pose import TrackedPose
from pose6d.closing import Closing
from pose6d.errors import OptionError, OutputError, with_cure
from pose6d.geometry.transforms import quaternion

_log = logging.getLogger(__name__)

FORMAT = 1  # of the lines; grows when a field changes its meaning or goes
_DIGITS = 6  # after the point: micrometres, and millionths of a radian
_MOST_WAITING = 1 << 20  # bytes that a reader may be behind: about a minute of one object
_FAREWELL = 0.5  # seconds that readers have at the end to take what they have not taken yet


def pose_line(name: str, seconds: float | None, poses: Sequence[TrackedPose]) -> str:
    """One frame as one line of JSON, without the line's end; docs/live.md describes the fields.

    Args:
        name: of the frame.
        seconds: when it was taken, on the clock of its source; None where that is unknown.
        poses: of the objects in it, metres, OpenCV camera axes.
    """
    line = {"format": FORMAT, "frame": name, "seconds": _number(seconds), "objects": [_fields(pose) for pose in poses]}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _fields(tracked: TrackedPose) -> dict[str, Any]:
    matrix = translation = rotation = None
    if tracked.pose is not None:
        exact = np.asarray(tracked.pose, dtype=np.float64)
        matrix, translation = _rounded(exact), _rounded(exact[:3, 3])
        rotation = _rounded(quaternion(torch.from_numpy(exact[:3, :3])).numpy())
    return {
        "name": tracked.name,
        "state": tracked.state,
        "confidence": _number(tracked.confidence),
        "pose": matrix,
        "translation": translation,
        "quaternion": rotation,
    }


def _rounded(values: np.ndarray) -> Any:
    return (np.round(values, _DIGITS) + 0.0).tolist()  # no -0.0


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), _DIGITS)


class _Sink(Protocol):
    def write(self, line: bytes) -> None: ...

    def close(self) -> None: ...


class PoseOutput(Closing):
    """Where poses go; a context manager.

    Args:
        target: `-` for standard output, where nothing else is written from then on; `tcp://HOST:PORT` to listen there
            for any number of readers, of which one that does not keep up is dropped; else a file.

    Raises:
        OptionError: `tcp://` without a host or a port.
        OutputError: the file cannot be written, or the port is in use.
    """

    def __init__(self, target: str) -> None:
        self._sink: _Sink
        if target == "-":
            self._sink = _StandardOutput()
        elif target.startswith("tcp://"):
            self._sink = _PoseServer(*_parse_address(target))
        else:
            self._sink = _PoseFile(Path(target))

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens: host and port; None for a file and for standard output."""
        return self._sink.address if isinstance(self._sink, _PoseServer) else None

    def write(self, name: str, seconds: float | None, poses: Sequence[TrackedPose]) -> None:
        """Write one frame; for the arguments see `pose_line`.

        Raises:
            OutputError: the file cannot be written, or nobody reads standard output any more.
        """
        self._sink.write(pose_line(name, seconds, poses).encode() + b"\n")

    def close(self) -> None:
        """End the output; does nothing the second time."""
        self._sink.close()


class _StandardOutput:
    """Standard output for poses alone: what else is printed there goes to standard error meanwhile."""

    def __init__(self) -> None:
        sys.stdout.flush()
        try:
            self._own: int | None = os.dup(1)
            os.dup2(2, 1)  # below Python, so that libraries that print are included
        except OSError as error:
            raise OutputError(f"standard output cannot take poses: {with_cure(error)}") from error

    def write(self, line: bytes) -> None:
        assert self._own is not None
        try:
            while line:
                line = line[os.write(self._own, line) :]
        except BrokenPipeError as error:
            raise OutputError(
                "nobody reads the poses on standard output any more: the program after | ended"
            ) from error
        except OSError as error:
            raise OutputError(f"standard output takes no more poses: {with_cure(error)}") from error

    def close(self) -> None:
        if self._own is not None:
            sys.stdout.flush()
            os.dup2(self._own, 1)
            os.close(self._own)
            self._own = None


class _PoseFile:
    """A file; each line is in it as soon as it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.is_file() and path.stat().st_size:
            raise OutputError(f"{path} exists already: take another name, or move it away")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {with_cure(error)}") from error

    def write(self, line: bytes) -> None:
        try:
            self._file.write(line)
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {with_cure(error)}") from error

    def close(self) -> None:
        self._file.close()


class _Reader:
    """A program that is connected, and what it has still to be sent."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self.name = name
        self._connection = connection
        self._waiting = bytearray()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, line: bytes) -> bool:
        """Send what goes without waiting; false once it is gone or too far behind."""
        self._waiting += line
        try:
            del self._waiting[: self._connection.send(self._waiting)]
        except BlockingIOError:
            pass
        except OSError:
            return False
        if len(self._waiting) > _MOST_WAITING:
            _log.warning("the reader of poses at %s is too slow and was disconnected", self.name)
            return False
        return True

    def close(self) -> None:
        with suppress(OSError):
            self._connection.settimeout(_FAREWELL)
            self._connection.sendall(self._waiting)
        self.drop()

    def drop(self) -> None:
        self._connection.close()


class _PoseServer:
    """Sends each line to whoever is connected; a reader that connects late begins with the next line."""

    def __init__(self, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._listener = socket.create_server((host, port), family=family)
        except OSError as error:
            raise OutputError(
                f"poses cannot be offered at {host}:{port} ({error}): another program, or another run, has the port, "
                "or the address is not this machine's; take another port or host"
            ) from error
        self._listener.setblocking(False)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._readers: list[_Reader] = []

    def write(self, line: bytes) -> None:
        self._accept()
        kept = []
        for reader in self._readers:
            if reader.send(line):
                kept.append(reader)
            else:
                reader.drop()
        self._readers = kept

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._readers = []
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # nobody new, or gone again already
            while True:
                connection, address = self._listener.accept()
                self._readers.append(_Reader(connection, f"{address[0]}:{address[1]}"))


def format_address(host: str, port: int) -> str:
    """HOST:PORT, the host in brackets where it has colons of its own (IPv6)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse_address(target: str) -> tuple[str, int]:
    """Host and port of tcp://HOST:PORT."""
    try:
        parts = urlsplit(target)
        host, port, rest = parts.hostname, parts.port, parts.path + parts.query + parts.fragment
    except ValueError:
        host, port, rest = None, None, ""
    if not host or port is None or rest:
        raise OptionError(
            f"poses: {target} is no address: wanted tcp://HOST:PORT, such as tcp://127.0.0.1:5555 (this machine alone) "
            "or tcp://0.0.0.0:5555 (every machine of the network)"
        )
    return host, port
