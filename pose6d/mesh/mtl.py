"""Material files of OBJ meshes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pose6d.mesh.faces import color_bytes
from pose6d.mesh.side_files import SideFiles, name_of, text_lines

# Options of a map and how many words follow; "-o", "-s" and "-t" take one to three numbers.
_OPTIONS = {b"-mm": 2}
_VECTORS = (b"-o", b"-s", b"-t")
# These would move the texture or change its colours.
_NOT_APPLIED = (b"-t", b"-mm", b"-clamp", b"-imfchan")
# What gives the surface its colour, the best first; writers that know no diffuse colour use another.
_MAPS = (b"map_kd", b"map_ka", b"map_ke")
_COLORS = (b"kd", b"ke", b"ka")


@dataclass
class MtlEntry:
    """One material as written.

    Attributes:
        folder: of its file.
        statements: what it says, by lower-case keyword.
    """

    folder: Path
    statements: dict[bytes, bytes] = field(default_factory=dict)


@dataclass
class Material:
    """What a material gives a surface: a texture, or one colour.

    Attributes:
        image: (H, W, 3) uint8 or None.
        color: (3,) uint8 or None.
        scale, offset: (2,) the texture is read at uv * scale + offset.
    """

    image: np.ndarray | None = None
    color: np.ndarray | None = None
    scale: np.ndarray = field(default_factory=lambda: np.ones(2))
    offset: np.ndarray = field(default_factory=lambda: np.zeros(2))


def find_libraries(statement: bytes, files: SideFiles) -> list[Path]:
    """The material files that the words after "mtllib" name: one whose name has blanks, or several."""
    whole = _file_name(statement, files)
    found = files.find(whole)
    if found is not None:
        return [found]
    names = re.findall(r'"[^"]+"|\S.*?\.mtl(?=\s|$)', whole, flags=re.IGNORECASE)
    libraries = []
    for name in (name.strip('"') for name in names or [whole]):
        found = files.find(name)
        if found is None:
            files.warn_of_missing(name, "material")
        else:
            libraries.append(found)
    return libraries


def read_materials(path: Path) -> dict[str, MtlEntry]:
    """The materials of an .mtl file by name; of two with one name, the first.

    Raises:
        MeshError: it is not text.
    """
    materials: dict[str, MtlEntry] = {}
    current = MtlEntry(path.parent)  # what stands before the first name belongs to none
    for line in text_lines(path.read_bytes(), path):
        words = line.split(None, 1)
        if not words or words[0].startswith(b"#"):
            continue
        key, rest = words[0].lower(), words[1] if len(words) > 1 else b""
        if key == b"newmtl":
            current = MtlEntry(path.parent)
            materials.setdefault(name_of(without_comment(rest)), current)
        else:
            current.statements.setdefault(key, rest)
    return materials


def without_comment(line: bytes) -> bytes:
    """A statement without the comment after it; a # inside a word is none."""
    return re.sub(rb"(^|\s)#.*", b"", line).strip()


def _file_name(statement: bytes, files: SideFiles, *folders: Path) -> str:
    """The file that a statement names; what follows " #" is a comment, unless such a file is there."""
    whole = name_of(statement)
    return whole if "#" in whole and files.find(whole, *folders) else name_of(without_comment(statement))


def resolve_material(entry: MtlEntry, files: SideFiles) -> Material:
    """The texture and colour of a material; warns where a texture is missing or not applied as written."""
    material = Material(color=_color(entry, files))
    for key in _MAPS:
        if key not in entry.statements:
            continue
        statement, options = _map(entry.statements[key])
        name = _file_name(statement, files, entry.folder)
        material.image = files.image(name, entry.folder) if name else None
        if material.image is None:
            continue
        material.scale, material.offset = _vector(options.get(b"-s"), 1.0), _vector(options.get(b"-o"), 0.0)
        ignored = [o for o in _NOT_APPLIED if o in options and options[o] not in ([b"off"], [b"0", b"1"])]
        if ignored:
            text = b", ".join(ignored).decode()
            files.warn(f"the option {text} of its texture {name!r} is not applied: bake it into the image")
        break
    return material


def _color(entry: MtlEntry, files: SideFiles) -> np.ndarray | None:
    """(3,) uint8: the diffuse colour; another where that is absent, or black and the material shines."""
    colors = {}
    for key in _COLORS:
        words = entry.statements.get(key, b"").split()
        try:
            values = np.array([float(word) for word in without_comment(b" ".join(words)).split()[:3]])
        except ValueError:
            files.warn(f"its material colour {b' '.join(words).decode('latin-1')!r} is not three numbers: left out")
            continue
        if len(values):
            colors[key] = np.resize(values, 3)  # one number stands for all three
    if not np.any(colors.get(b"kd", 0)) and np.any(colors.get(b"ke", 0)):
        colors[b"kd"] = colors[b"ke"]
    color = colors.get(b"kd", colors.get(b"ka"))
    return None if color is None else color_bytes(color[None], f"mesh {files.mesh}: a material")[0]


def _map(statement: bytes) -> tuple[bytes, dict[bytes, list[bytes]]]:
    """The file name of a map statement, blanks and all, and the options before it."""
    options: dict[bytes, list[bytes]] = {}
    rest = statement.strip()
    while rest.startswith(b"-"):
        words = rest.split()
        option = words[0].lower()
        count = _OPTIONS.get(option, 1)
        if option in _VECTORS:
            count = next((i for i, word in enumerate(words[1:4]) if not _is_number(word)), 3)
        options[option] = words[1 : 1 + count]
        after = rest.split(None, 1 + count)
        rest = after[1 + count] if len(after) > 1 + count else b""
    return rest, options


def _vector(words: list[bytes] | None, absent: float) -> np.ndarray:
    values = [float(word) for word in words or []][:2]
    return np.array([*values, absent, absent][:2])


def _is_number(word: bytes) -> bool:
    try:
        return float(word) is not None
    except ValueError:
        return False
