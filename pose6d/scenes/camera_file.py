"""Reader of a camera's intrinsics, however they are spelled: numbers as text, JSON, YAML of ROS, OpenCV's storage."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from pose6d.errors import SceneError, beside, shorten
from pose6d.scenes.lens import Lens, find_lens

# Spellings of what a file states, in letters and digits only. "intrinsics" may be a matrix or hold the rest.
_MATRIX = ("k", "camk", "cameramatrix", "intrinsicmatrix", "intrinsics", "intrinsic", "cameraintrinsics", "mtx")
_PROJECTION = ("p", "projectionmatrix")
_FOCAL_AND_CENTRE = (("fx", "flx"), ("fy", "fly"), ("ppx", "cx"), ("ppy", "cy"))
_WIDTH, _HEIGHT = ("width", "imagewidth", "w"), ("height", "imageheight", "h")
_MODEL = ("model", "distortionmodel", "cameramodel")
_COEFFICIENTS = (
    "coeffs",
    "d",
    "distcoeffs",
    "distortioncoefficients",
    "distortioncoeffs",
    "distortion",
    "dist",
    "disto",
)

_FORMS = {4: "fx fy cx cy", 9: "", 12: "3x4 matrix", 16: "4x4 matrix"}
"""by how many numbers there are"""
_SEPARATOR = re.compile(r"[\s,;|()\[\]{}]+")
_PAIR = re.compile(r"(?m)^(\s*[A-Za-z_]\w*)(\s*=\s*|[ \t]+)(?=[-+.\d\[])")  # fx = 600, or fx 600
_HEADING = re.compile(r"(?m)^\s*\[([A-Za-z_]\w*)\]\s*$")  # [camera]
_LENS = "give k1, k2, p1, p2, k3 as 'coeffs', or by name, or undistort the pictures yourself and take it out"
_WANTED = "3x3 numbers [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels, or fx, fy, cx, cy by name"


@dataclass(frozen=True)
class CameraFile:
    """What a file says about a camera.

    Attributes:
        path: the file.
        K: (3, 3) float64 intrinsics, pixels.
        size: (height, width) of its pictures; None where the file does not say.
        depth_scale: metres per unit of depth; None where the file does not say.
        lens: its distortion; None for none.
        form: how the file spells the intrinsics; "" for 3x3 numbers.
    """

    path: Path
    K: np.ndarray
    size: tuple[int, int] | None = None
    depth_scale: float | None = None
    lens: Lens | None = None
    form: str = ""

    def check_size(self, size: tuple[int, int]) -> None:
        """Raise SceneError if the file is for pictures of another size than (height, width)."""
        if self.size is not None and self.size != size:
            raise SceneError(
                f"{self.path} is for images of {self.size[1]}x{self.size[0]}, but {self.path.parent} holds "
                f"{size[1]}x{size[0]}: take the intrinsics of the colour stream at the recorded resolution"
            )


def find_camera_file(folder: Path) -> Path:
    """cam_K.txt in a folder, the same as .json, .yaml or .xml, or intrinsics.json; else the path of the first."""
    names = [folder / f"cam_K{suffix}" for suffix in (".txt", ".json", ".yaml", ".yml", ".xml")]
    names.append(folder / "intrinsics.json")
    return next((path for path in names if path.is_file()), names[0])


def read_camera(path: Path) -> CameraFile:
    """Read cam_K.txt, intrinsics.json or what holds the same under another name.

    Numbers: 9 (3x3), 12 (3x4 whose last column is 0), 16 (4x4), or 4 (fx fy cx cy), with any brackets, commas,
    semicolons and comments. JSON and YAML: a matrix or fx, fy, cx, cy under the names that RealSense, ROS, OpenCV, BOP
    and NeRF tools use, with the pictures' size, the lens and the depth scale where they are stated.

    Raises:
        SceneError: the file is missing, or states no intrinsics that are understood; the message says what was found.
    """
    if not path.is_file():
        raise SceneError(f"{path} is missing{beside(path)}: wanted the camera's intrinsics, {_WANTED}")
    text = _decode(path)
    numbers = _numbers(text)
    if numbers is not None:
        K, form = _matrix_of(numbers, path)
        return CameraFile(path, K, form=form)
    try:
        values, form = _parse(text, path)
        return _camera_of(_section(values, path), form, path)
    except RecursionError as error:
        raise SceneError(f"{path} is nested too deep to be a camera's: was it made by mistake?") from error


def camera_of(values: Mapping[str, Any], source: Path) -> CameraFile:
    """The camera that a message or a file states by name, in the spellings of `read_camera`.

    Args:
        values: numbers and lists by name.
        source: where they come from, for messages.

    Raises:
        SceneError: no intrinsics that are understood.
    """
    return _camera_of(_by_plain_name(values), "", source)


def _decode(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, with or without a byte order mark."""
    data = path.read_bytes()
    encoding = "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif b"\0" in data[:2]:
        encoding = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SceneError(f"{path} is no text file of numbers: {error}") from error


def _numbers(text: str) -> list[float] | None:
    """The numbers of a text that is nothing else than one matrix; None for any other text, and where there are none."""
    text = re.sub(r"(#|//|%).*", "", text)
    text = re.sub(r"^\s*[A-Za-z_]\w*\s*[=:]", "", text)  # K = ...
    text = re.sub(r"\b(\w+\.)?(array|asarray|matrix|tensor)\b|,\s*(dtype|device)\s*=\s*[\w.:'\"]+", "", text)
    spellings = text, re.sub(r"(?<=\d),(?=\d)", ".", text)  # the comma separates, or is the decimal point
    words, decimals = ([word for word in _SEPARATOR.split(spelling) if word] for spelling in spellings)
    try:
        numbers = [float(word) for word in (decimals if len(decimals) in _FORMS else words)]
        return numbers or None
    except ValueError:
        return None


def _matrix_of(numbers: Any, path: Path) -> tuple[np.ndarray, str]:
    """(3, 3) intrinsics from any of `_FORMS`, and which it is."""
    try:
        values = np.asarray(numbers, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError) as error:
        raise SceneError(f"{path}: a value of the intrinsics is no number: {error}; wanted {_WANTED}") from error
    if values.size not in _FORMS:
        raise SceneError(f"{path} has {values.size} numbers, wanted 9: {_WANTED}")
    form = _FORMS[values.size]
    if values.size == 4:
        return _pinhole(*values), form
    if values.size == 9:
        matrix = values.reshape(3, 3)
        by_columns = not matrix[:2, 2].any() and matrix[2, :2].all()  # as Open3D writes it
        return (matrix.T, "3x3 numbers, column by column") if by_columns else (matrix, form)
    matrix = values.reshape(-1, 4)
    if np.abs(matrix[:3, 3]).max() > 1e-9:
        raise SceneError(
            f"{path}: the last column of the {form} is {matrix[:3, 3].tolist()}, wanted 0: is it the second camera of "
            "a pair, or a product with a pose? Give its intrinsics alone"
        )
    return matrix[:3, :3], form


def _pinhole(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def _parse(text: str, path: Path) -> tuple[dict[str, Any], str]:
    """What a structured text holds, by name in letters and digits only; and what kind of text it is."""
    if path.suffix == ".json" or text.lstrip().startswith("{"):
        try:
            values, form = json.loads(text), "JSON"
        except ValueError as error:
            raise SceneError(f"{path} cannot be read as JSON: {error}") from error
    elif text.startswith("%YAML:") or "opencv-matrix" in text or "<opencv_storage>" in text:
        values, form = _opencv_storage(text, path), "OpenCV's file storage"
    else:
        values, form = None, "YAML"
        try:
            plain, *sections = (_first_document(part) for part in _HEADING.split(text))
            values = dict(plain or {}) | dict(zip(sections[::2], sections[1::2], strict=True)) if sections else plain
        except (yaml.YAMLError, ValueError) as error:
            mark = getattr(error, "problem_mark", None)
            wrong = f"{error}" if mark is None else f"{getattr(error, 'problem', '')} in line {mark.line + 1}"
            raise SceneError(
                f"{path} is no text file of numbers, and no YAML ({wrong}): {_beginning(text)}; wanted {_WANTED}"
            ) from error
    if not isinstance(values, Mapping):
        raise SceneError(f"{path} is no text file of numbers: {_beginning(text)}; wanted {_WANTED}")
    return _by_plain_name(values), form


def _beginning(text: str) -> str:
    return f"it begins with {next((line.strip()[:60] for line in text.splitlines() if line.strip()), '')!r}"


def _first_document(text: str) -> Any:
    """What YAML says, or lines like fx = 600; each message of a recorded topic is a document of its own."""
    return next(yaml.safe_load_all(_PAIR.sub(r"\1: ", text)), None)


def _opencv_storage(text: str, path: Path) -> dict[str, Any]:
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        root = storage.root()
        return _opencv_value(root) if root.isMap() else {}
    except (cv2.error, SystemError) as error:
        said = error.err if isinstance(error, cv2.error) else "it ends too early, or is damaged"
        raise SceneError(f"{path} cannot be read as OpenCV's file storage: {said}") from error


def _opencv_value(node: Any) -> Any:
    """A matrix is a mapping with its numbers as "data"; OpenCV's own reader of one trusts its size and may crash."""
    if node.isMap():
        return {name: _opencv_value(node.getNode(name)) for name in node.keys()}  # noqa: SIM118
    if node.isSeq():
        return [_opencv_value(node.at(i)) for i in range(node.size())]
    if node.isString():
        return node.string()
    return node.real() if node.isReal() or node.isInt() else None


def _by_plain_name(values: Mapping[Any, Any]) -> dict[str, Any]:
    """By name in letters and digits only; the coefficients of a lens under a name of their own are taken out of it."""
    named = {re.sub(r"[^a-z0-9]", "", str(key).lower()): value for key, value in values.items()}
    for key, value in list(named.items()):
        if (key in _COEFFICIENTS or "distort" in key) and isinstance(value, Mapping) and "data" not in value:
            named |= _by_plain_name(named.pop(key))
    return named


def _first(values: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The value under the first of the names that is there, None where none is."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def _section(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The part of a file that describes one camera: all of it, or what lies under a name."""
    cameras = dict(_cameras_in("", values))
    if "" in cameras:
        return values
    if not cameras:
        raise SceneError(f"{path} lacks intrinsics: it holds {shorten(list(values)) or 'nothing'}; wanted {_WANTED}")
    for key, part in cameras.items():
        if len(cameras) == 1 or key in ("color", "colour", "rgb") or all(part == other for other in cameras.values()):
            around = {key: value for key, value in values.items() if not isinstance(value, Mapping) or "data" in value}
            return around | part
    raise SceneError(
        f"{path} holds several cameras ({shorten(list(cameras))}), and none of them is named color or rgb: "
        "keep the one that took the colour pictures"
    )


def _cameras_in(name: str, values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The outermost parts of a file that state intrinsics, with their names."""
    names = [*_MATRIX, *_PROJECTION, *(spelling for group in _FOCAL_AND_CENTRE for spelling in group)]
    parts = {
        key: _by_plain_name(value)
        for key, value in values.items()
        if isinstance(value, Mapping) and "data" not in value
    }
    if any(values.get(key) is not None and key not in parts for key in names):
        yield name, values
        return
    for key, part in parts.items():
        yield from _cameras_in(key, part)


def _camera_of(values: dict[str, Any], form: str, path: Path) -> CameraFile:
    K = _intrinsics(values, path)
    try:
        width, height = (int(_first(values, names) or 0) for names in (_WIDTH, _HEIGHT))
        if isinstance(values.get("resolution"), list):  # Kalibr's
            width, height = map(int, values["resolution"])
        scale = None if values.get("depthscale") is None else float(values["depthscale"])
        roi = {key: int(value) for key, value in _by_plain_name(values.get("roi") or {}).items()}
        offset = np.array([roi.get("xoffset", 0), roi.get("yoffset", 0)], np.float64)
        binning = [max(int(values.get(key) or 1), 1) for key in ("binningx", "binningy")]
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SceneError(f"{path}: a value is no number: {error}") from error
    if roi.get("width") and roi.get("height"):  # ROS: K is of the whole sensor, the pictures are a part of it
        K[:2, 2] -= offset
        height, width = roi["height"], roi["width"]
    K[:2] /= np.array(binning)[:, None]  # and the pixels are joined
    size = (height // binning[1], width // binning[0]) if height and width else None
    if scale is not None:
        scale *= 1e-3 if "camk" in values else 1  # BOP's is in millimetres
        if not 0 < scale < 1e3:
            raise SceneError(f"{path}: depth_scale is {scale:g}, wanted metres per depth unit, such as 0.001")
    return CameraFile(path, K, size, scale, _lens_of(values, path), form)


def _intrinsics(values: dict[str, Any], path: Path) -> np.ndarray:
    matrix = _first(values, _MATRIX)
    if matrix is None:
        found = [_first(values, names) for names in _FOCAL_AND_CENTRE]
        missing = [names[0] for names, value in zip(_FOCAL_AND_CENTRE, found, strict=True) if value is None]
        if not missing:
            return _matrix_of(found, path)[0]
        matrix = _first(values, _PROJECTION)
        if matrix is None:
            raise SceneError(f"{path} lacks {', '.join(missing)}: wanted fx, fy, ppx, ppy in pixels")
    return _matrix_of(_data(matrix), path)[0].copy()


def _data(values: Any) -> Any:
    """The numbers of a list, or of ROS' and OpenCV's {rows, cols, data}."""
    return values.get("data") if isinstance(values, Mapping) else values


def _lens_of(values: dict[str, Any], path: Path) -> Lens | None:
    model, coefficients = _first(values, _MODEL), _data(_first(values, _COEFFICIENTS))
    strange = [
        key
        for key, value in values.items()
        if "distort" in key
        and "undistort" not in key
        and key not in (*_MODEL, *_COEFFICIENTS)
        and not isinstance(value, (str, bool))
        and np.any(np.asarray(value, dtype=object))
    ]
    if strange:
        raise SceneError(f"{path}: the lens distortion is under names that are not known ({shorten(strange)}): {_LENS}")
    if coefficients is None or isinstance(coefficients, str):
        model = coefficients if model is None else model
        # As nerfstudio and COLMAP write them.
        fisheye = "fish" in str(model).lower()
        names = ("k1", "k2", "k3", "k4") if fisheye else ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
        coefficients = [values.get(name) or 0 for name in names]
        if not fisheye and not any(coefficients[5:]):
            coefficients = coefficients[:5]
    try:
        numbers = np.asarray(coefficients, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError) as error:
        raise SceneError(f"{path}: a coefficient of the lens is no number: {error}") from error
    return find_lens(model, numbers.tolist(), str(path))
