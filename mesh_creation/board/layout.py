"""Boards of markers: what is printed where, in metres.

The board's frame has its origin in the middle of the printed pattern, x to the right and y up the page, z out of the
paper towards the reader, so that an object which stands on the board has z > 0.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from pose6d.errors import SceneError
from pose6d.json_file import read_json, write_json

BoardKind = Literal["ring", "grid", "charuco", "markers"]
Paper = Literal["a4", "letter"]

_CORNERS = np.array([[-1, 1], [1, 1], [1, -1], [-1, -1]]) / 2  # clockwise from the top left, as OpenCV counts them


@dataclass(frozen=True)
class Place:
    """Where one marker lies: its centre in metres, turned by `turn` degrees counter-clockwise."""

    id: int
    x: float
    y: float
    turn: float = 0.0


@dataclass(frozen=True)
class Board:
    """A flat pattern of markers; lengths in metres.

    Attributes:
        kind: `ring` has markers around the border and an empty middle for the object, `grid` has them everywhere,
            `charuco` is a chessboard with markers in its white squares, `markers` has them where `places` says.
        dictionary: name of OpenCV's marker dictionary, such as DICT_6X6_250.
        columns, rows: squares of a charuco board, markers along the edges of the others; 0 for `markers`.
        square: side of a charuco square; for the others the distance between the centres of neighbours.
        marker: side of a marker, over its black border.
        first_id: number of the top left marker; the others follow row by row. A charuco board starts at 0.
        places: of each marker of a board of kind `markers`; empty where the layout is not known.

    Raises:
        SceneError: the lengths or numbers cannot be those of a board.
    """

    kind: BoardKind = "ring"
    dictionary: str = "DICT_4X4_50"
    columns: int = 5
    rows: int = 7
    square: float = 0.038
    marker: float = 0.030
    first_id: int = 0
    places: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("ring", "grid", "charuco", "markers"):
            raise SceneError(f"board kind {self.kind!r} is unknown: wanted ring, grid, charuco or markers")
        available = len(marker_dictionary(self.dictionary).bytesList)
        if not 0 < self.marker < 1:
            raise SceneError(f"board: a marker of {self.marker} m; wanted metres, such as 0.03 for 30 mm")
        if self.kind == "markers":
            ids = [place.id for place in self.places]
        else:
            if self.places:
                raise SceneError(
                    f"board: places are given, but a {self.kind} has its own layout; wanted kind 'markers'"
                )
            fewest = 3 if self.kind == "ring" else 2
            if min(self.columns, self.rows) < fewest:
                raise SceneError(f"board of {self.columns}x{self.rows}: a {self.kind} needs {fewest}x{fewest} or more")
            if not self.marker < self.square < 1:
                raise SceneError(
                    f"board: marker {self.marker} m and square {self.square} m; wanted metres and square > marker"
                )
            if self.kind == "charuco" and self.first_id:
                raise SceneError(f"board: first_id is {self.first_id}, but a charuco board starts at 0")
            ids = [place.id for place in self.marker_places]
        if len(set(ids)) != len(ids):
            raise SceneError("board: two places have the same marker number; each number may appear once")
        if ids and not 0 <= min(ids) <= max(ids) < available:
            raise SceneError(
                f"board: markers {min(ids)} to {max(ids)}, but {self.dictionary} has 0 to {available - 1}: take a "
                "larger dictionary, such as DICT_6X6_250"
            )

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the pattern in metres; (0, 0) where the layout is not known."""
        if self.kind == "markers":
            if not self.places:
                return 0.0, 0.0
            reach = 2 * np.abs(np.concatenate([self._marker_corners(place) for place in self.places])).max(axis=0)
            return float(reach[0]), float(reach[1])
        if self.kind == "charuco":
            return self.columns * self.square, self.rows * self.square
        return (self.columns - 1) * self.square + self.marker, (self.rows - 1) * self.square + self.marker

    @property
    def marker_places(self) -> tuple[Place, ...]:
        """Every marker of the board, in the order of its numbers."""
        if self.kind == "markers":
            return self.places
        places, number = [], self.first_id
        for row in range(self.rows):
            for column in range(self.columns):
                at_edge = row in (0, self.rows - 1) or column in (0, self.columns - 1)
                # OpenCV's charuco boards have a black square in the top left corner.
                if (self.kind == "ring" and not at_edge) or (self.kind == "charuco" and (row + column) % 2 == 0):
                    continue
                x, y = (column - (self.columns - 1) / 2) * self.square, ((self.rows - 1) / 2 - row) * self.square
                places.append(Place(number, x, y))
                number += 1
        return tuple(places)

    @property
    def point_ids(self) -> np.ndarray:
        """(N,) int64 numbers of all points that `detect_board` may find."""
        if self.kind == "charuco":
            return np.arange((self.columns - 1) * (self.rows - 1))
        ids = np.array([place.id for place in self.marker_places], dtype=np.int64)
        return (ids[:, None] * 4 + np.arange(4)).ravel()

    def object_points(self, ids: np.ndarray) -> np.ndarray:
        """Where points lie on the board.

        Args:
            ids: (N,) as in `BoardDetection.ids`: 4 * marker + corner, or the number of a chessboard corner.

        Returns:
            (N, 3) float64 metres in the board's frame, z = 0.

        Raises:
            SceneError: the board has no such point, or its layout is not known.
        """
        if self.kind == "markers" and not self.places:
            raise SceneError("board.json lists no places: where the markers lie on this board is not known")
        known = _points_by_id(self)
        lost = sorted({int(i) for i in np.asarray(ids).ravel()} - known.keys())
        if lost:
            raise SceneError(f"the board has no points {lost[:8]}: is board.json that of another board?")
        points = np.zeros((len(ids), 3))
        if len(ids):
            points[:, :2] = np.stack([known[int(i)] for i in ids])
        return points

    def black_quads(self) -> np.ndarray:
        """(Q, 4, 2) metres: quadrilaterals whose union is all that is printed black."""
        quads = []
        if self.kind == "charuco":
            for row in range(self.rows):
                for column in range(row % 2, self.columns, 2):
                    centre = [(column - (self.columns - 1) / 2), ((self.rows - 1) / 2 - row)]
                    quads.append((np.array(centre) + _CORNERS) * self.square)
        for place in self.marker_places:
            quads += [self._place_points(place, quad) for quad in _marker_quads(self.dictionary, place.id)]
        return np.array(quads).reshape(-1, 4, 2)

    def _marker_corners(self, place: Place) -> np.ndarray:
        return self._place_points(place, _CORNERS)

    def _place_points(self, place: Place, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) of a marker of side 1 about its centre, in the board's frame."""
        cos, sin = np.cos(np.deg2rad(place.turn)), np.sin(np.deg2rad(place.turn))
        return self.marker * points @ np.array([[cos, sin], [-sin, cos]]) + [place.x, place.y]


def default_board(paper: Paper = "a4") -> Board:
    """Markers of 30 mm around a middle of 122 mm by 198 mm (A4) or 160 mm (Letter), where the object stands."""
    return Board(rows=7 if paper == "a4" else 6)


def load_board(path: str | os.PathLike[str]) -> Board:
    """Read board.json.

    Raises:
        SceneError: the file is missing, no JSON, or describes no board.
    """
    path = Path(path)
    if not path.exists():
        raise SceneError(
            f"{path} is missing: it says which board the object stands on; "
            "make it with `python -m mesh_creation board --scan`"
        )
    values = read_json(path)
    try:
        if not isinstance(values, dict):
            raise TypeError(f"it holds a {type(values).__name__}")
        places = tuple(Place(**place) for place in values.pop("places", ()))
        return Board(**values, places=places)
    except (ValueError, TypeError) as error:
        raise SceneError(f"{path} describes no board: {error}") from error
    except SceneError as error:
        raise SceneError(f"{path}: {error}") from error


def save_board(board: Board, path: str | os.PathLike[str]) -> None:
    """Write board.json; an existing file is replaced in one step."""
    write_json(path, asdict(board))


@lru_cache
def marker_dictionary(name: str) -> Any:
    """OpenCV's dictionary of that name, such as DICT_4X4_50; SceneError where there is none."""
    number = getattr(cv2.aruco, name, None) if name.startswith("DICT_") else None
    if number is None:
        known = [entry for entry in dir(cv2.aruco) if entry.startswith("DICT_")]
        raise SceneError(f"board: dictionary {name!r} is unknown; there are {', '.join(known)}")
    return cv2.aruco.getPredefinedDictionary(number)


@lru_cache
def _points_by_id(board: Board) -> dict[int, np.ndarray]:
    """(2,) metres of each point by its number."""
    if board.kind == "charuco":
        across, down = board.columns - 1, board.rows - 1
        return {
            row * across + column: board.square * np.array([column + 1 - board.columns / 2, board.rows / 2 - row - 1])
            for row in range(down)
            for column in range(across)
        }
    return {
        place.id * 4 + corner: point
        for place in board.marker_places
        for corner, point in enumerate(board._marker_corners(place))
    }


@lru_cache(maxsize=2048)
def _marker_quads(dictionary: str, number: int) -> tuple[np.ndarray, ...]:
    """Black parts (4, 2) of a marker of side 1 about its centre: in each row of cells, every run of black."""
    cells = marker_dictionary(dictionary).markerSize + 2
    image = cv2.aruco.generateImageMarker(marker_dictionary(dictionary), number, cells)
    quads = []
    for row, line in enumerate(image == 0):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(np.int8), [0]])))
        for left, right in edges.reshape(-1, 2):
            x, y = np.array([left, right, right, left]), np.array([row, row, row + 1, row + 1])
            quads.append(np.stack([x / cells - 0.5, 0.5 - y / cells], axis=1))
    return tuple(quads)
