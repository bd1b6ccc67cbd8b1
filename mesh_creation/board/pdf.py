"""Printing a board as a PDF at true scale, with a line to check that the printer kept it.

    python -m mesh_creation board --out board.pdf --paper letter

The page is written as vectors by a few lines of PDF 1.4 (ISO 32000-1, sections 7 and 8): all black parts are one path,
filled at once, so that no viewer leaves hairlines between neighbouring cells.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mesh_creation.board.layout import Board, BoardKind, Paper, load_board, save_board
from pose6d.errors import SceneError
from pose6d.whole_file import write_whole

PAPERS: dict[Paper, tuple[float, float]] = {"a4": (0.210, 0.297), "letter": (0.2159, 0.2794)}
"""Width and height in metres, upright."""
RULER = 0.1
"""Metres between the ends of the ruler line."""

_POINTS = 72 / 0.0254  # of a PDF, per metre
_EDGE = 0.008  # metres that printers leave empty along the paper's edges
_FOOT = 0.014  # metres at the bottom for the ruler and the text
_TEXT = 7  # points


@dataclass(frozen=True)
class BoardOptions:
    """Print a board of markers to PDF, with the board.json that describes it beside it."""

    out: Path = Path("board.pdf")
    """the PDF; board.json of the same name but .json is written beside it, for `record --board`"""
    paper: Paper = "a4"
    """a4 or letter"""
    kind: BoardKind = "ring"
    """ring: markers around an empty middle for the object; grid: everywhere; charuco: chessboard with markers"""
    dictionary: str = "DICT_4X4_50"
    """OpenCV's name of the markers' dictionary, such as DICT_6X6_250; few large cells are read from farther away"""
    square: float = 0.0
    """metres: side of a charuco square, else from marker to marker; 0 for 38 mm (charuco 36 mm)"""
    marker: float = 0.0
    """metres: side of a marker; 0 for 30 mm (charuco 27 mm)"""
    layout: Path | None = None
    """print the board of this board.json instead"""


def main(options: BoardOptions) -> Path:
    """Write the PDF and the board.json; the path of the PDF."""
    if options.layout is not None:
        board = load_board(options.layout)
    else:
        board = fitting_board(options.kind, options.paper, options.dictionary, options.square, options.marker)
    path = print_board(board, options.out, options.paper)
    description = path.with_suffix(".json")
    save_board(board, description)
    print(f"board: {path} ({options.paper}) and {description}; print at 100 % and measure the 100 mm line")
    return path


def fitting_board(
    kind: BoardKind, paper: Paper, dictionary: str = "DICT_4X4_50", square: float = 0.0, marker: float = 0.0
) -> Board:
    """The largest board of a kind that fits on the paper.

    Args:
        kind: ring, grid or charuco.
        paper: upright.
        dictionary: of the markers.
        square, marker: metres; 0 for those of the default boards (38 and 30 mm, charuco 36 and 27 mm).

    Raises:
        SceneError: it would not fit, or the kind has no regular layout.
    """
    if kind == "markers":
        raise SceneError("a board of kind 'markers' has no regular layout: list its places in board.json")
    square = square or (0.036 if kind == "charuco" else 0.038)
    marker = marker or round(square * (0.75 if kind == "charuco" else 30 / 38), 6)
    width, height = _room(paper, turned=False)
    rest = 0 if kind == "charuco" else marker - square
    # The small share makes a pattern fit that is exactly as large as the room.
    columns, rows = (int((length - rest) / square + 1e-6) for length in (width, height))
    return Board(kind, dictionary, columns, rows, square, marker)


def print_board(board: Board, path: str | os.PathLike[str], paper: Paper = "a4") -> Path:
    """Write a one-page PDF in which lengths are true; it appears only when it is complete.

    The page is upright, or turned if only so the board fits. Below the pattern is a line of 100 mm.

    Returns:
        The path.

    Raises:
        SceneError: the pattern does not fit on the paper, or its layout is not known.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    width, height = board.size
    if not width:
        raise SceneError("board: where its markers lie is not known, so it cannot be printed; give it places")
    turned = any(length > room + 1e-9 for length, room in zip((width, height), _room(paper, turned=False), strict=True))
    room = _room(paper, turned)
    if width > room[0] + 1e-9 or height > room[1] + 1e-9:
        raise SceneError(
            f"the board is {width * 1000:.0f} mm x {height * 1000:.0f} mm, but {paper} has room for "
            f"{room[0] * 1000:.0f} x {room[1] * 1000:.0f}: take fewer or smaller squares, or the other paper"
        )
    page = PAPERS[paper][::-1] if turned else PAPERS[paper]
    document = _document(page, _content(board, page, paper))
    write_whole(path, document)
    return path


def _room(paper: Paper, turned: bool) -> tuple[float, float]:
    if paper not in PAPERS:
        raise SceneError(f"paper {paper!r} is unknown: wanted {' or '.join(PAPERS)}")
    width, height = PAPERS[paper][::-1] if turned else PAPERS[paper]
    return width - 2 * _EDGE, height - 2 * _EDGE - _FOOT


def _content(board: Board, page: tuple[float, float], paper: Paper) -> bytes:
    """The page's drawing operators; PDF has its origin in the bottom left corner and y up, as the board has."""
    centre = np.array([page[0] / 2, (page[1] + _FOOT) / 2])
    lines = ["0 g"]
    for quad in (board.black_quads() + centre) * _POINTS:
        corners = [f"{x:.4f} {y:.4f}" for x, y in quad]
        lines.append(f"{corners[0]} m {corners[1]} l {corners[2]} l {corners[3]} l h")
    lines.append("f")
    left, base = page[0] / 2 - RULER / 2, _EDGE + 0.005
    lines.append(f"0.5 w 0 J {_at(left, base)} m {_at(left + RULER, base)} l S")
    for millimetre in range(0, round(RULER * 1000) + 1, 5):
        tick = 0.003 if millimetre % 50 == 0 else 0.002 if millimetre % 10 == 0 else 0.001
        x = left + millimetre / 1000
        lines.append(f"{_at(x, base)} m {_at(x, base + tick)} l S")
    what = f"{board.kind} {board.columns} x {board.rows}, {board.dictionary}, markers {1000 * board.marker:g} mm"
    what += f", squares {1000 * board.square:g} mm" if board.kind != "markers" else ""
    for text, x, y in (
        ("100 mm: measure this line. Print at 100 %, do not fit to page.", left, base - 0.0035),
        (what, left, base + 0.0042),
        (f"pose6d board, {paper}", left + RULER + 0.004, base),
    ):
        lines.append(f"BT /F1 {_TEXT} Tf {_at(x, y)} Td ({text}) Tj ET")
    return "\n".join(lines).encode("ascii")


def _at(x: float, y: float) -> str:
    return f"{x * _POINTS:.4f} {y * _POINTS:.4f}"


def _document(page: tuple[float, float], content: bytes) -> bytes:
    box = " ".join(f"{length * _POINTS:.4f}" for length in page)
    objects = [
        # Viewers that honour it offer to print without scaling.
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {box}] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>".encode("ascii"),
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, offsets = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    data += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(data)
