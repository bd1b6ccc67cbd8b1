"""A camera of your own: a class in a Python file, named on the command line as FILE.py:CLASS."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pose6d.errors import SceneError
from pose6d.streams.interface import FrameStream


def is_own_camera(source: str) -> bool:
    """Whether a source is named as FILE.py:CLASS."""
    file, colon, _ = source.rpartition(":")
    return bool(colon) and file.endswith(".py")


def open_own_camera(source: str) -> FrameStream:
    """Run FILE.py, and make a CLASS without arguments, which keeps to `FrameStream`.

    Raises:
        SceneError: there is no such file or class, or it lacks a member; errors of the class itself come as they are.
    """
    file, _, name = source.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise SceneError(f"{path} does not exist: pass the Python file that holds the camera's class, as FILE.py:CLASS")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SceneError(f"{path} cannot be imported: pass a Python file, as FILE.py:CLASS")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    camera = getattr(module, name, None)
    if not isinstance(camera, type):
        classes = [key for key, value in vars(module).items() if isinstance(value, type)]
        raise SceneError(f"{path} has no class {name!r}; it has {', '.join(classes) or 'none'}")
    stream = camera()
    members = [*FrameStream.__annotations__, "__enter__", "__exit__", "__iter__"]
    missing = [member for member in members if not hasattr(stream, member)]
    if missing:
        raise SceneError(f"{source} lacks {', '.join(missing)}: see FrameStream in pose6d/streams/interface.py")
    return stream
