"""Joining parts with different textures and colours into one part with one texture."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pose6d.mesh.part import GREY, MeshPart

_BORDER = 2  # texels around each tile that repeat its other side, so that filtering never sees a neighbour
_LARGEST_SIDE = 8192  # texels; a larger atlas is scaled down


@dataclass
class _Textured:
    """A part whose image is a tile to be: uv is from 0 up to the number of repeats that its widest face needs."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None
    uv: np.ndarray
    image: np.ndarray


def join_parts(parts: list[MeshPart], name: str) -> MeshPart:
    """One part out of many, with normals; `name` is what warnings call it.

    Vertices are never merged. Colours stay colours if no part has a texture, and a texture shared by all parts stays
    as it is; otherwise every texture becomes a tile of one atlas, and colours become tiny tiles of it that bilinear
    filtering turns back into the same gradients.
    """
    images = {id(part.image): part.image for part in parts if part.image is not None}
    texture: np.ndarray | None = None
    if images:
        if len(images) == 1 and all(part.image is not None for part in parts):
            (texture,) = images.values()
        else:
            parts, texture = _into_atlas(parts, name)
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    return MeshPart(
        vertices=np.concatenate([part.vertices for part in parts]),
        faces=np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
        normals=np.concatenate([part.vertex_normals() for part in parts]),
        uv=np.concatenate([part.uv for part in parts if part.uv is not None]) if texture is not None else None,
        image=texture,
        colors=None if texture is not None else np.concatenate([part.vertex_colors() for part in parts]),
    )


def _into_atlas(parts: list[MeshPart], name: str) -> tuple[list[MeshPart], np.ndarray]:
    """The parts with uv into one atlas, and the atlas (H, W, 3) uint8."""
    tiled = [_with_color_tile(part) if part.image is None else _with_local_uv(part, part.image) for part in parts]
    # Parts that share an image share a tile, which repeats it as often as the widest face of any of them needs.
    repeats: dict[int, np.ndarray] = {}
    for part in tiled:
        needed: np.ndarray = np.maximum(np.ceil(part.uv.max(axis=0) - 1e-4), 1).astype(int)
        repeats[id(part.image)] = np.maximum(repeats.get(id(part.image), 1), needed)
    images = {id(part.image): part.image for part in tiled}
    sizes = {key: np.array(images[key].shape[:2]) * repeats[key][::-1] for key in images}  # (rows, columns)
    shrink = _shrink_factor(list(sizes.values()))
    if shrink < 1:
        warnings.warn(
            f"mesh {name!r}: its textures together exceed {_LARGEST_SIDE} x {_LARGEST_SIDE} texels and are scaled by "
            f"{shrink:.2f}: use smaller textures, or fewer repeats of them",
            stacklevel=2,
        )
    tiles = {}
    for key, image in images.items():
        tile = np.tile(_shrink_image(image, shrink), (repeats[key][1], repeats[key][0], 1))
        tiles[key] = np.pad(tile, ((_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0)), mode="wrap")
    corners, height, width = _pack({key: tile.shape[:2] for key, tile in tiles.items()})
    atlas = np.zeros((height, width, 3), np.uint8)
    for key, (top, left) in corners.items():
        atlas[top : top + tiles[key].shape[0], left : left + tiles[key].shape[1]] = tiles[key]
    for part in tiled:
        key = id(part.image)
        top, left = corners[key]
        across, up = repeats[key]
        rows, columns = np.array(tiles[key].shape[:2]) - 2 * _BORDER
        x = left + _BORDER + part.uv[:, 0] * (columns / across)
        y = top + _BORDER + (up - part.uv[:, 1]) * (rows / up)
        part.uv = np.stack([x / width, 1 - y / height], axis=1)
    return [MeshPart(part.vertices, part.faces, part.normals, part.uv, atlas) for part in tiled], atlas


def _with_local_uv(part: MeshPart, image: np.ndarray) -> _Textured:
    """The part with the uv of every face moved by whole repeats until its lowest corner is in 0..1.

    Vertices whose faces need different moves are doubled.
    """
    uv = np.nan_to_num(np.asarray(part.uv, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    shift = np.floor(uv[part.faces].min(axis=1) + 1e-4)  # (F, 2); the margin keeps -1e-7 in the repeat it meant
    moves, which = np.unique(shift, axis=0, return_inverse=True)
    corner_key = part.faces * len(moves) + which.reshape(-1, 1)  # (F, 3) one number per vertex and move
    keys, faces = np.unique(corner_key, return_inverse=True)
    old = keys // len(moves)
    local = np.maximum(uv[old] - moves[keys % len(moves)], 0.0)
    normals = None if part.normals is None else part.normals[old]
    return _Textured(part.vertices[old], faces.reshape(-1, 3), normals, local, image)


def _with_color_tile(part: MeshPart) -> _Textured:
    """The part with a texture in the place of its vertex colours.

    Of one colour: a tile of 2x2 texels. Of many: 2x2 texels per face, whose corners lie on three texel centres; the
    fourth texel continues the gradient, so that bilinear filtering gives the same colours as interpolating vertices
    (but for gradients so steep that the fourth would leave 0..255).
    """
    colors = part.vertex_colors()
    if (colors == colors[0]).all():
        tile = np.broadcast_to(colors[0], (2, 2, 3)).copy()
        return _Textured(part.vertices, part.faces, part.normals, np.full((len(part.vertices), 2), 0.5), tile)
    normals = part.vertex_normals()
    count = len(part.faces)
    side = math.ceil(math.sqrt(count))
    row, column = np.divmod(np.arange(count), side)
    a, b, c = np.moveaxis(colors[part.faces].astype(np.int16), 1, 0)
    cells = np.full((side, 2, side, 2, 3), GREY, np.int16)  # cell row, row in cell, cell column, column in cell
    cells[row, 0, column, 0], cells[row, 0, column, 1] = a, b
    cells[row, 1, column, 0], cells[row, 1, column, 1] = c, b + c - a
    tile = np.clip(cells, 0, 255).astype(np.uint8).reshape(2 * side, 2 * side, 3)
    x = (2 * column[:, None] + np.array([0.5, 1.5, 0.5])) / (2 * side)
    y = (2 * row[:, None] + np.array([0.5, 0.5, 1.5])) / (2 * side)
    uv = np.stack([x.ravel(), 1 - y.ravel()], axis=1)
    old = part.faces.ravel()
    return _Textured(part.vertices[old], np.arange(3 * count).reshape(-1, 3), normals[old], uv, tile)


def _shrink_factor(sizes: list[np.ndarray]) -> float:
    """The factor that makes tiles of these (rows, columns) fit the largest atlas; 1 where they do."""
    area = sum(float(size[0]) * float(size[1]) for size in sizes)
    side = max(float(size.max()) for size in sizes)
    # Shelves waste some room: 0.8 of the area is what they can be trusted to fill.
    return min(1.0, _LARGEST_SIDE / side, math.sqrt(0.8 * _LARGEST_SIDE**2 / area))


def _shrink_image(image: np.ndarray, factor: float) -> np.ndarray:
    if factor >= 1 or max(image.shape[:2]) <= 2:
        return image
    height, width = (max(1, int(side * factor)) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def _pack(sizes: dict[int, tuple[int, int]]) -> tuple[dict[int, tuple[int, int]], int, int]:
    """Shelves, tallest tiles first: the (top, left) corner of each tile, and the height and width of the atlas."""
    width = max(max(columns for _, columns in sizes.values()), math.isqrt(sum(r * c for r, c in sizes.values())) + 1)
    corners, top, left, shelf = {}, 0, 0, 0
    for key, (rows, columns) in sorted(sizes.items(), key=lambda item: -item[1][0]):
        if left + columns > width:
            top, left, shelf = top + shelf, 0, 0
        corners[key] = (top, left)
        left, shelf = left + columns, max(shelf, rows)
    return corners, top + shelf, width
