"""Reading OBJ files as their writers meant them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pose6d.errors import MeshError
from pose6d.mesh.faces import color_bytes, join_corners, numbers, table, triangulate
from pose6d.mesh.mtl import Material, MtlEntry, find_libraries, read_materials, resolve_material, without_comment
from pose6d.mesh.part import MeshPart
from pose6d.mesh.side_files import SideFiles, name_of, text_lines

_OTHER, _V, _VT, _VN, _F = range(5)
_KINDS = {b"v ": _V, b"v\t": _V, b"vt": _VT, b"vn": _VN, b"f ": _F, b"f\t": _F}
_FREE_FORM = (b"surf", b"curv", b"curv2", b"cstype")


def read_obj(path: Path, files: SideFiles) -> list[MeshPart]:
    """One part for each material, in the order in which they are used; without parts if it has no faces.

    A vertex is what all corners with the same v, vt and vn share; vertices keep the order of the file.

    Raises:
        MeshError: it is damaged; the message says where.
    """
    lines = text_lines(path.read_bytes(), path)
    kinds = np.fromiter((_KINDS.get(line[:2], _OTHER) for line in lines), np.int8, len(lines))
    others = [(i, *_keyword(lines[i])) for i in np.flatnonzero(kinds == _OTHER).tolist() if lines[i]]
    if not (kinds == _V).any():
        raise MeshError(
            f"mesh {path} has no vertices and no faces: no line begins with 'v', so it is empty or not really .obj; "
            "export it again"
        )
    free_form = sorted({key.decode() for _, key, _ in others if key in _FREE_FORM})
    if free_form:
        files.warn(f"its free-form surfaces ({', '.join(free_form)}) are left out: export triangles")

    positions, colors = _vertices(_section(lines, kinds, _V), others, files)
    uv = np.pad(_columns(_section(lines, kinds, _VT), f"mesh {path}: vt", 1), ((0, 0), (0, 1)))[:, :2]
    normals = _columns(_section(lines, kinds, _VN), f"mesh {path}: vn", 3)[:, :3]
    at = np.flatnonzero(kinds == _F)
    # Negative indices count back from the face's own place in the file.
    before = np.stack([np.cumsum(kinds == kind)[at] for kind in (_V, _VT, _VN)], axis=1)  # (F, 3)
    corners, counts = _corners(_section(lines, kinds, _F), before, (len(positions), len(uv), len(normals)), path)
    if (counts < 3).any():
        files.warn(f"{int((counts < 3).sum())} of its faces have fewer than three corners and are left out")
    triangles, face = triangulate(positions, corners[:, 0], counts)
    if not len(triangles):
        return [MeshPart(positions, triangles)]
    names, which = _material_of_faces(at, others)
    solid = _Triangles(positions, uv, normals, colors, corners[triangles], which[face])
    return _parts(solid, names, _resolve_materials(names, others, files), files)


@dataclass
class _Triangles:
    """All triangles of a file.

    Attributes:
        positions: (V, 3).
        uv: (VT, 2).
        normals: (VN, 3).
        colors: (V, 3) uint8 or None.
        corners: (T, 3, 3) v, vt and vn of the three corners, -1 where absent.
        material: (T,).
    """

    positions: np.ndarray
    uv: np.ndarray
    normals: np.ndarray
    colors: np.ndarray | None
    corners: np.ndarray
    material: np.ndarray

    def part(self, chosen: np.ndarray, material: Material, textured: bool) -> MeshPart:
        """The chosen (T,) triangles as one part."""
        used = self.corners[chosen].reshape(-1, 3)
        if not textured:
            used[:, 1] = -1  # seams of the texture are none then
        if (used[:, 2] < 0).any():
            used[:, 2] = -1
        first, vertex = join_corners(used[:, 0], used[:, 1], used[:, 2])
        v, vt, vn = used[first].T
        part = MeshPart(self.positions[v], vertex.reshape(-1, 3), self.normals[vn] if (vn >= 0).all() else None)
        if textured:
            part.uv, part.image = self.uv[vt] * material.scale + material.offset, material.image
        elif self.colors is not None:
            part.colors = self.colors[v]
        elif material.color is not None:
            part.colors = np.tile(material.color, (len(v), 1))
        return part


def _parts(solid: _Triangles, names: list[str | None], materials: list[Material], files: SideFiles) -> list[MeshPart]:
    """One part for each material; two where only some triangles of a textured one have texture coordinates."""
    mapped = (solid.corners[..., 1] >= 0).all(axis=1)  # (T,)
    plain = all(material.image is None for material in materials)
    if plain and (solid.colors is not None or all(material.color is None for material in materials)):
        materials = materials[:1]  # nothing tells the materials apart
        solid.material = np.zeros_like(solid.material)
    if plain and len(solid.uv) and not files.lost and solid.colors is None and any(m.color is None for m in materials):
        files.warn(
            "it has texture coordinates but names no texture, so it is drawn in grey: export it again with its "
            "material and texture"
        )
    parts = []
    for i, material in enumerate(materials):
        chosen = solid.material == i
        textured = chosen & mapped & (material.image is not None)
        bare = chosen & ~textured
        if material.image is not None and bare.any():
            files.warn(
                f"{int(bare.sum())} of the {int(chosen.sum())} triangles of its material {names[i]!r} have no texture "
                "coordinates and are drawn in one colour"
            )
        parts += [solid.part(group, material, group is textured) for group in (textured, bare) if group.any()]
    return parts


def _keyword(line: bytes) -> tuple[bytes, bytes]:
    words = line.split(None, 1)
    return words[0], words[1] if len(words) > 1 else b""


def _section(lines: list[bytes], kinds: np.ndarray, kind: int) -> list[bytes]:
    """The numbers of all lines of a kind, without keyword and comment."""
    skip = 1 if kind == _V else 2
    chosen = [lines[i][skip:] for i in np.flatnonzero(kinds == kind)]
    if any(b"#" in line for line in chosen):
        chosen = [line.partition(b"#")[0] for line in chosen]
    return chosen


def _columns(lines: list[bytes], what: str, least: int) -> np.ndarray:
    """(L, at least `least`) float64, NaN where a line is shorter than the longest."""
    values, counts = numbers(lines, what)
    if (counts < least).any():
        bad = lines[int(np.argmax(counts < least))].decode("latin-1")
        raise MeshError(f"{what} has a line {bad!r}: wanted at least {least} numbers; it is damaged, export it again")
    return table(values, counts) if len(lines) else np.empty((0, least))


def _vertices(
    lines: list[bytes], others: list[tuple[int, bytes, bytes]], files: SideFiles
) -> tuple[np.ndarray, np.ndarray | None]:
    """(V, 3) positions and (V, 3) uint8 colours or None, of "x y z", "x y z w", "x y z r g b" and more."""
    rows = _columns(lines, f"mesh {files.mesh}: v", 3)
    painted = b"".join(rest for _, key, rest in others if key == b"#MRGB")
    extra = rows[:, 3:]
    if extra.shape[1] == 0:
        return rows, _polypaint(painted, len(rows))
    if extra.shape[1] == 4:  # either w before the colour, or its alpha behind
        weighted = (extra[:, 0] == 1).all() and not (extra[:, 3] == extra[0, 3]).all()
        extra = extra[:, 1:] if weighted else extra[:, :3]
    if extra.shape[1] == 3:
        return rows[:, :3], color_bytes(extra, f"mesh {files.mesh}: v")
    if extra.shape[1] > 1 or (np.nan_to_num(extra, nan=1) != 1).any():
        files.warn(f"the {extra.shape[1]} number(s) after x y z of its vertices are neither colours nor 1: left out")
    return rows[:, :3], _polypaint(painted, len(rows))


def _polypaint(text: bytes, count: int) -> np.ndarray | None:
    """(V, 3) uint8 of ZBrush's vertex colours: eight hexadecimal digits for mask, red, green, blue."""
    try:
        painted = np.frombuffer(bytes.fromhex(text.decode("latin-1")), np.uint8).reshape(-1, 4)
    except ValueError:
        return None
    return painted[:, 1:].copy() if count and len(painted) == count else None


def _corners(
    lines: list[bytes], before: np.ndarray, sizes: tuple[int, int, int], path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """(C, 3) int64 index of v, vt and vn at each corner, -1 where absent, and (F,) corners of each face."""
    counts = np.fromiter((len(line.split()) for line in lines), np.int64, len(lines))
    text = b" ".join(b" ".join(lines).split())
    corners = np.zeros((int(counts.sum()), 3))
    if b"/" in text:
        text = (text + b" ").replace(b"//", b"/0/").replace(b"/ ", b"/0 ")
        marks = np.frombuffer(text, np.uint8)
        ends = np.flatnonzero(marks == ord(" "))
        slashes = np.diff(np.searchsorted(np.flatnonzero(marks == ord("/")), ends), prepend=0)
        if int(slashes.max(initial=0)) > 2:
            raise MeshError(f"mesh {path}: f has corners of more than v/vt/vn: it is damaged; export it again")
        values, _ = numbers([text.replace(b"/", b" ")], f"mesh {path}: f")
        if len(values) != len(ends) + int(slashes.sum()):
            raise MeshError(f"mesh {path}: f has corners that begin with a slash: it is damaged; export it again")
        corners[np.arange(3) <= slashes[:, None]] = values
    else:
        corners[:, 0] = numbers([text], f"mesh {path}: f")[0]
    if not (np.abs(corners) < 2**53).all() or (corners % 1).any():
        raise MeshError(f"mesh {path}: f has indices that are no whole numbers: it is damaged; export it again")
    corners = corners.astype(np.int64)
    corners = np.where(corners < 0, corners + np.repeat(before, counts, axis=0), corners - 1)
    for column, (name, size) in enumerate(zip(("v", "vt", "vn"), sizes, strict=True)):
        used = corners[:, column]
        lowest = 0 if column == 0 else -1
        if len(used) and (int(used.min()) < lowest or int(used.max()) >= size):
            raise MeshError(
                f"mesh {path} has faces that index {name} {int(used.min()) + 1}..{int(used.max()) + 1}, but there are "
                f"{size} lines of {name}: the file is truncated or corrupt; export it again"
            )
    return corners, counts


def _material_of_faces(at: np.ndarray, others: list[tuple[int, bytes, bytes]]) -> tuple[list[str | None], np.ndarray]:
    """The materials in the order of use, None for no material, and (F,) the place of each face's in it."""
    uses = [(i, name_of(without_comment(rest))) for i, key, rest in others if key == b"usemtl"]
    named = np.searchsorted(np.array([i for i, _ in uses], np.int64), at)  # (F,) how many usemtl stand before
    order: dict[str | None, int] = {}
    places = np.array([order.setdefault(name, len(order)) for name in [None, *(name for _, name in uses)]])
    used, which = np.unique(places[named], return_inverse=True)
    names = list(order)
    return [names[i] for i in used], which


def _resolve_materials(
    names: list[str | None], others: list[tuple[int, bytes, bytes]], files: SideFiles
) -> list[Material]:
    """What each of the named materials gives a surface."""
    entries: dict[str, MtlEntry] = {}
    for _, key, rest in others:
        if key == b"mtllib":
            for library in find_libraries(rest, files):
                entries = read_materials(library) | entries
    unknown = [name for name in names if name is not None and name not in entries]
    only = next(iter(entries)) if len(entries) == 1 else None
    if unknown and entries:
        drawn = f"drawn as {only!r}, the only one there is" if only and len(unknown) == 1 else "drawn without material"
        files.warn(
            f"its material {', '.join(map(repr, unknown[:5]))} is not in its material file, which has "
            f"{', '.join(map(repr, list(entries)[:5]))}: {drawn}"
        )
    materials = []
    for name in names:
        # Faces that name no material, or a wrong one, can only mean the only one there is.
        meant = name if name in entries else only if name is None or len(unknown) == 1 else None
        materials.append(resolve_material(entries[meant], files) if meant is not None else Material())
    return materials
