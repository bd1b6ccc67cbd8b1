"""Reading PLY files: text or binary, in the many names that programs give to colours and texture coordinates."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pose6d.errors import MeshError
from pose6d.mesh.faces import color_bytes, join_corners, numbers, strip_triangles, triangulate
from pose6d.mesh.part import MeshPart
from pose6d.mesh.side_files import SideFiles, name_of

_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8", "int64": "i8", "uint64": "u8"},
}
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
# Lower-case names of properties, the best first.
_COLORS = (
    *(("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b")),
    *(("ambient_red", "ambient_green", "ambient_blue"), ("gray",) * 3, ("grey",) * 3, ("luminance",) * 3),
)
_UV = (
    *(("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"), ("s0", "t0"), ("u0", "v0")),
    *(("tx", "ty"), ("tu", "tv"), ("texcoord_u", "texcoord_v"), ("texcoord_s", "texcoord_t"), ("uv_x", "uv_y")),
)
_CORNERS = ("vertex_indices", "vertex_index", "vertex_indexes", "vertices", "indices")


@dataclass
class _Property:
    name: str
    kind: str  # NumPy's name of its type
    count_kind: str | None = None  # of a list


@dataclass
class _Element:
    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)


@dataclass
class _Header:
    order: str  # of bytes; empty for text
    elements: list[_Element]
    textures: list[str]
    length: int


class _Body:
    """What follows the header. A place is a byte, or a number of a text file."""

    def __init__(self, data: bytes, header: _Header, path: Path):
        self._order, self._data = header.order, data
        if header.order:
            self._raw = np.frombuffer(data, np.uint8)
        else:
            self._raw, _ = numbers([data], f"mesh {path}: its body")

    def __len__(self) -> int:
        return len(self._raw)

    def width(self, kind: str) -> int:
        """How many places a value takes."""
        return np.dtype(kind).itemsize if self._order else 1

    def count(self, place: int, kind: str) -> int:
        """The one value that begins at this place: the length of a list.

        Raises:
            IndexError: the file ends before, or it is negative.
        """
        if place + self.width(kind) > len(self):
            raise IndexError
        found = struct.unpack_from(self._order + np.dtype(kind).char, self._data, place) if self._order else ()
        length = int(found[0] if found else self._raw[place])
        if length < 0:
            raise IndexError
        return length

    def take(self, places: np.ndarray, kind: str) -> np.ndarray:
        """The values that begin at these places.

        Raises:
            IndexError: the file ends before.
        """
        if not self._order:  # where it holds other numbers than its header says, they are as they are
            values = self._raw[places]
            with np.errstate(invalid="ignore"):
                whole = values.astype(np.uint8 if kind == "u1" else np.int64)
            return whole if kind[0] != "f" and (whole == values).all() else values
        found = self._raw[places[:, None] + np.arange(self.width(kind))]
        return found.view(np.dtype(self._order + kind)).ravel().astype(kind)


def read_ply(path: Path, files: SideFiles) -> list[MeshPart]:
    """One part, or one for each texture; without triangles if the file has no faces.

    Raises:
        MeshError: it is damaged; the message says where.
    """
    data = path.read_bytes()
    header = _header(data, path)
    body = _Body(data[header.length :], header, path)
    elements, place = {}, 0
    for element in header.elements:
        try:
            elements[element.name.lower()], place = _read(element, body, place)
        except (IndexError, ValueError, OverflowError) as error:
            raise MeshError(
                f"mesh {path} is damaged: it ends within its {element.count} of element {element.name!r}, or their "
                "lists have impossible lengths; copy or export it again"
            ) from error
    vertex = elements.get("vertex", {})
    if not all(axis in vertex for axis in "xyz"):
        raise MeshError(f"mesh {path} is damaged or no mesh: no element 'vertex' has properties x, y and z")
    if "range_grid" in elements:
        raise MeshError(f"mesh {path} is a range scan (element 'range_grid'): mesh it, and export triangles")
    positions = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float64)
    corners, counts, face = _faces(elements, path)
    if len(corners) and (corners.min() < 0 or corners.max() >= len(positions)):
        raise MeshError(
            f"mesh {path} has faces that index vertices {corners.min()}..{corners.max()}, but there are "
            f"{len(positions)} vertices: the file is truncated or corrupt; export it again"
        )
    triangles, polygon = triangulate(positions, corners, counts)
    if not len(triangles):
        return [MeshPart(positions, triangles)]
    solid = _Polygons(positions, corners, counts, triangles, polygon)
    return _parts(solid, vertex, face, header.textures, files)


@dataclass
class _Polygons:
    """All polygons of a file.

    Attributes:
        positions: (V, 3).
        corners: (C,) the vertex at each corner.
        counts: (P,) corners of each polygon.
        triangles: (T, 3) indices of corners.
        polygon: (T,) that each triangle is cut from.
    """

    positions: np.ndarray
    corners: np.ndarray
    counts: np.ndarray
    triangles: np.ndarray
    polygon: np.ndarray


def _parts(solid: _Polygons, vertex: dict, face: dict, names: list[str], files: SideFiles) -> list[MeshPart]:
    """One part for each texture, with it or the colours that the properties of vertices or faces give."""
    corners, counts, triangles, polygon = solid.corners, solid.counts, solid.triangles, solid.polygon
    what = f"mesh {files.mesh}"
    given = ("nx", "ny", "nz")
    normals = np.stack([vertex[n] for n in given], axis=1) if all(n in vertex for n in given) else None
    wedge = _wedge_uv(face, counts)
    vertex_uv = _columns(vertex, _UV)
    uv = wedge if wedge is not None else vertex_uv[corners] if vertex_uv is not None else None  # (C, 2)
    images = [files.image(name) for name in names] if uv is not None else []
    if uv is not None and not names:
        files.warn("it has texture coordinates but names no texture, so they are left out: export it with its texture")
    elif names and uv is None:
        files.warn(f"it names the texture {names[0]!r} and has no texture coordinates, so it is drawn without")
    vertex_colors, face_colors = (
        None if found is None else color_bytes(found, what) for found in (_columns(d, _COLORS) for d in (vertex, face))
    )
    if face_colors is not None and (vertex_colors is None or (vertex_colors == vertex_colors[0]).all()):
        vertex_colors = None
    else:
        face_colors = None
    if any(image is not None for image in images):
        number = np.asarray(face["texnumber"], np.int64) if "texnumber" in face else np.zeros(len(counts), np.int64)
        number = np.where((number >= 0) & (number < len(images)), number, -1)[polygon]  # (T,)
    else:
        number = np.full(len(triangles), -1)
    parts = []
    for i in np.unique(number):
        image = images[i] if i >= 0 else None
        chosen = triangles[number == i]
        at = chosen.ravel()
        keys = [corners[at]]
        if image is not None and wedge is not None:
            keys.append(np.unique(_bits(wedge[at]), return_inverse=True)[1])
        elif image is None and face_colors is not None:
            keys.append(np.repeat(polygon[number == i], 3))
        first, index = join_corners(*keys)
        v = corners[at[first]]
        part = MeshPart(solid.positions[v], index.reshape(-1, 3), None if normals is None else normals[v])
        if image is not None and uv is not None:
            part.uv, part.image = uv[at[first]], image
        elif face_colors is not None:
            part.colors = face_colors[np.repeat(polygon[number == i], 3)[first]]
        elif vertex_colors is not None:
            part.colors = vertex_colors[v]
        parts.append(part)
    return parts


def _bits(uv: np.ndarray) -> np.ndarray:
    """(C,) one number for each pair of float32 coordinates."""
    return np.ascontiguousarray(uv + 0.0, np.float32).view(np.uint64).ravel()


def _wedge_uv(face: dict, counts: np.ndarray) -> np.ndarray | None:
    """(C, 2) texture coordinates at the corners of faces, None if there are none; 0 for a face that has none."""
    if "texcoord" not in face:
        return None
    values, lengths = face["texcoord"]
    fits = lengths == 2 * counts
    if not fits.any():
        return None
    uv = np.zeros((int(counts.sum()), 2))
    uv[np.repeat(fits, counts)] = values[np.repeat(fits, lengths)].reshape(-1, 2)
    return uv


def _columns(properties: dict, spellings: tuple[tuple[str, ...], ...]) -> np.ndarray | None:
    """(N, 2 or 3) of the first spelling that is there."""
    for names in spellings:
        if all(name in properties for name in names):
            return np.stack([properties[name] for name in names], axis=1)
    return None


def _faces(elements: dict[str, dict], path: Path) -> tuple[np.ndarray, np.ndarray, dict]:
    """Vertex of each corner (C,), corners of each face (F,), and the other properties of faces."""
    face = next((elements[name] for name in ("face", "faces", "polygon", "triangle") if name in elements), {})
    found = _list(face)
    corners, counts = found if found is not None else (np.empty(0, np.int64), np.empty(0, np.int64))
    strips = next((elements[name] for name in ("tristrips", "tristrip") if name in elements), {})
    strip = _list(strips)
    if strip is not None and len(strip[0]):
        cut = np.cumsum(strip[1])[:-1]
        triangles = np.concatenate([strip_triangles(each) for each in np.split(strip[0], cut)])
        counts = np.concatenate([counts, np.full(len(triangles), 3)])
        return np.concatenate([corners, triangles.ravel()]), counts, {}
    if len(face) and found is None and "vertex" in elements:
        raise MeshError(f"mesh {path}: its faces have no list of vertices ({', '.join(face)}): export it again")
    return corners, counts, face


def _list(properties: dict) -> tuple[np.ndarray, np.ndarray] | None:
    for name in _CORNERS:
        if isinstance(properties.get(name), tuple):
            values, counts = properties[name]
            with np.errstate(invalid="ignore"):
                whole = values.astype(np.int64)
            return np.where(whole == values, whole, -1), counts
    return None


def _header(data: bytes, path: Path) -> _Header:
    data_start = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    end = re.search(rb"(?:\r\n|\n|\r)end_header[ \t]*(\r\n|\n|\r|$)", data)
    if data[data_start : data_start + 3] != b"ply" or end is None:
        raise MeshError(f"mesh file {path} is damaged, or not really .ply: it has no header from 'ply' to 'end_header'")
    order, elements, textures = None, [], []
    try:
        for line in data[data_start : end.start()].splitlines():
            words = line.decode("latin-1").split()
            match words[:1]:
                case ["format"]:
                    order = _FORMATS[words[1]]
                case ["element"]:
                    elements.append(_Element(words[1], int(words[2])))
                    if elements[-1].count < 0:
                        raise ValueError
                case ["property"] if words[1] == "list":
                    kinds = [_TYPES[word] for word in words[2:4]]
                    elements[-1].properties.append(_Property(words[4].lower(), kinds[1], kinds[0]))
                case ["property"]:
                    elements[-1].properties.append(_Property(words[2].lower(), _TYPES[words[1]]))
                case ["comment"] | ["obj_info"]:
                    named = re.match(rb"\w+\s+texture_?file:?\s+(.+)", line, flags=re.IGNORECASE)
                    textures += [name_of(named[1])] if named else []
    except (KeyError, IndexError, ValueError) as error:
        text = line[:80].decode("latin-1")
        raise MeshError(f"mesh {path} has a damaged header: {text!r} is not known; export it again") from error
    if order is None:
        raise MeshError(f"mesh {path} has a damaged header: no line 'format'; export it again")
    return _Header(order, elements, textures, end.end())


def _read(element: _Element, body: _Body, start: int) -> tuple[dict, int]:
    """The properties of all rows by name, (N,) each or for a list (values, counts (N,)); and the place behind them."""
    if not element.count or not element.properties:
        return {p.name: (np.empty(0), np.empty(0, int)) if p.count_kind else np.empty(0) for p in element.properties}, (
            start
        )
    if element.count * sum(body.width(p.count_kind or p.kind) for p in element.properties) > len(body) - start:
        raise IndexError
    places, end = _same_lengths(element, body, start) or _lengths_one_by_one(element, body, start)
    if end > len(body):
        raise IndexError
    rows: dict = {}
    for p in element.properties:
        at = places[p.name]
        if p.count_kind is None:
            rows[p.name] = body.take(at, p.kind)
            continue
        counts = body.take(at, p.count_kind).astype(np.int64)
        width = body.width(p.kind)
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        rows[p.name] = body.take(np.repeat(at + body.width(p.count_kind), counts) + width * within, p.kind), counts
    return rows, end


def _same_lengths(element: _Element, body: _Body, start: int) -> tuple[dict[str, np.ndarray], int] | None:
    """Where each property of each row begins, if the lists of all rows are as long as those of the first."""
    offsets, place, counts = {}, start, {}
    for p in element.properties:
        offsets[p.name] = place - start
        if p.count_kind is None:
            place += body.width(p.kind)
        else:
            counts[p.name] = body.count(place, p.count_kind)
            place += body.width(p.count_kind) + counts[p.name] * body.width(p.kind)
    end = start + (place - start) * element.count
    if end > len(body):
        return None
    rows = start + (place - start) * np.arange(element.count)
    places = {name: rows + offset for name, offset in offsets.items()}
    for p in element.properties:
        if p.count_kind is not None and (body.take(places[p.name], p.count_kind) != counts[p.name]).any():
            return None
    return places, end


def _lengths_one_by_one(element: _Element, body: _Body, start: int) -> tuple[dict[str, np.ndarray], int]:
    """As `_same_lengths`, for any lists."""
    steps = [(p.count_kind, body.width(p.kind), body.width(p.count_kind or p.kind)) for p in element.properties]
    places = np.empty((element.count, len(steps)), np.int64)
    place = start
    for row in range(element.count):
        for column, (count_kind, width, own) in enumerate(steps):
            places[row, column] = place
            place += own
            if count_kind is not None:
                place += body.count(place - own, count_kind) * width
    return {p.name: places[:, i] for i, p in enumerate(element.properties)}, place
