"""Boards: layout in metres, detection against drawn truth, printing at true scale."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mesh_creation.board.detection import detect_board
from mesh_creation.board.layout import Board, Place, default_board, load_board, save_board
from mesh_creation.board.pdf import PAPERS, BoardOptions, fitting_board, main, print_board
from pose6d.errors import SceneError
from tests.mesh_creation_scans import CHARUCO, draw_board

BOARDS = {
    "ring": default_board(),
    "charuco": CHARUCO,
    "charuco letter": replace(CHARUCO, rows=6),  # an even number of rows
    "grid 6x6": Board("grid", "DICT_6X6_250", columns=4, rows=5, first_id=100),
    "markers": Board(
        "markers", "DICT_6X6_250", marker=0.04, places=(Place(3, -0.04, 0.01, 30), Place(200, 0.05, -0.02))
    ),
}


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("scale", [3000.0, 1100.0])
def test_points_are_found_where_the_layout_says(name: str, scale: float) -> None:
    board = BOARDS[name]
    picture, to_pixels = draw_board(board, scale)
    found = detect_board(np.repeat(picture[..., None], 3, axis=2), board)
    assert set(found.ids) == set(board.point_ids)
    points = board.object_points(found.ids)
    assert (points[:, 2] == 0).all()
    expected = points[:, :2] @ to_pixels[:, :2].T + to_pixels[:, 2]
    # Worst observed 0.12 px (OpenCV's chessboard corners at the small scale).
    assert np.abs(found.corners - expected).max() < 0.25
    assert found.duplicates == () and found.foreign == ()


def test_layout_matches_opencv() -> None:
    board = CHARUCO
    pattern = cv2.aruco.CharucoBoard((5, 7), 0.036, 0.027, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50))
    theirs = pattern.getChessboardCorners()  # origin in the top left corner, y down
    ours = board.object_points(np.arange(len(theirs)))
    np.testing.assert_allclose(ours[:, 0], theirs[:, 0] - 0.09, atol=1e-6)
    np.testing.assert_allclose(ours[:, 1], 0.126 - theirs[:, 1], atol=1e-6)


def test_points_run_clockwise_around_a_marker_seen_from_above() -> None:
    corners = default_board().object_points(np.arange(4))
    centre = corners.mean(axis=0)
    np.testing.assert_allclose(centre, [-0.076, 0.114, 0], atol=1e-9)  # top left of the page: x left, y up
    np.testing.assert_allclose(corners - centre, np.array([[-1, 1, 0], [1, 1, 0], [1, -1, 0], [-1, -1, 0]]) * 0.015)


def test_duplicates_and_strangers_are_named_and_not_used() -> None:
    board = default_board()
    picture, _ = draw_board(board, 1500)
    stray = Board("markers", marker=0.03, places=(Place(0, -0.02, 0), Place(40, 0.02, 0)))
    extra, _ = draw_board(stray, 1500)
    both = np.vstack([picture, np.pad(extra, ((0, 0), (0, picture.shape[1] - extra.shape[1])), constant_values=255)])
    found = detect_board(both, board)
    assert found.duplicates == (0,) and found.foreign == (40,)
    assert 0 not in found.marker_ids and len(found.marker_ids) == 19
    assert not set(found.ids) & {0, 1, 2, 3}


def test_an_unknown_layout_finds_markers_but_has_no_points() -> None:
    picture, _ = draw_board(default_board(), 1500)
    found = detect_board(picture, Board("markers"))
    assert len(found.marker_ids) == 20
    with pytest.raises(SceneError, match="not known"):
        Board("markers").object_points(found.ids)


def test_an_empty_picture_has_no_points() -> None:
    for board in (default_board(), CHARUCO):
        found = detect_board(np.full((480, 640, 3), 128, np.uint8), board)
        assert found.corners.shape == (0, 2) and found.ids.shape == (0,)


@pytest.mark.parametrize("name", BOARDS)
def test_board_json_round_trip(name: str, tmp_path: Path) -> None:
    save_board(BOARDS[name], tmp_path / "board.json")
    assert load_board(tmp_path / "board.json") == BOARDS[name]
    assert list(tmp_path.iterdir()) == [tmp_path / "board.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "round"}, "kind 'round' is unknown"),
        ({"dictionary": "DICT_9X9"}, "'DICT_9X9' is unknown"),
        ({"marker": 30.0}, "wanted metres"),
        ({"marker": 0.05}, "square > marker"),
        ({"columns": 2}, "needs 3x3"),
        ({"first_id": 40}, "take a larger dictionary"),
        ({"colour": "red"}, "describes no board"),
        ({"places": [{"id": 0, "x": 0, "y": 0}]}, "has its own layout"),
    ],
)
def test_what_is_wrong_with_a_board_is_said(change: dict, message: str, tmp_path: Path) -> None:
    save_board(default_board(), tmp_path / "board.json")
    values = json.loads((tmp_path / "board.json").read_text()) | change
    (tmp_path / "board.json").write_text(json.dumps(values))
    with pytest.raises(SceneError, match=message):
        load_board(tmp_path / "board.json")


def test_a_missing_or_broken_board_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"board\.json is missing"):
        load_board(tmp_path / "board.json")
    (tmp_path / "board.json").write_text("{")
    with pytest.raises(SceneError, match=r"board\.json cannot be read as JSON"):
        load_board(tmp_path / "board.json")


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("kind", ["ring", "grid", "charuco"])
def test_printed_boards_have_true_scale(kind: str, paper: str, tmp_path: Path) -> None:
    """The PDF is drawn by an independent renderer; every corner and the ruler must be where they belong."""
    pdfium = pytest.importorskip("pypdfium2")
    board = fitting_board(kind, paper, "DICT_6X6_250")
    path = print_board(board, tmp_path / "board.pdf", paper)
    page = pdfium.PdfDocument(str(path))[0]
    np.testing.assert_allclose(np.array(page.get_size()) * 25.4 / 72, np.array(PAPERS[paper]) * 1000, atol=1e-3)
    dpi = 254  # ten pixels a millimetre
    picture = np.ascontiguousarray(page.render(scale=dpi / 72).to_numpy()[..., 0])

    found = detect_board(picture, board)
    assert set(found.ids) == set(board.point_ids)
    design = np.column_stack([board.object_points(found.ids)[:, :2], np.ones(len(found.ids))])
    fit = np.linalg.lstsq(design, found.corners, rcond=None)[0]
    np.testing.assert_allclose(fit[:2] * [1, -1], np.eye(2) * 1e4, atol=6)  # 0.06 %: pdfium rounds the page's size
    assert np.abs(design @ fit - found.corners).max() < 0.6

    dark = picture[-300:] < 128
    edges = np.diff(np.pad(dark, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    longest = max(
        (ends - starts).max()
        for starts, ends in ((np.flatnonzero(row == 1), np.flatnonzero(row == -1)) for row in edges)
        if len(starts)
    )
    assert longest == pytest.approx(1000, abs=4)  # the ruler of 100 mm and half the width of its end ticks


def test_a_board_too_large_for_the_paper_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="letter has room for"):
        print_board(default_board("a4"), tmp_path / "board.pdf", "letter")
    assert not list(tmp_path.iterdir())


def test_a_wide_board_is_printed_across(tmp_path: Path) -> None:
    path = print_board(Board("ring", columns=7, rows=4), tmp_path / "wide.pdf")
    assert b"/MediaBox [0 0 841.8898 595.2756]" in path.read_bytes()


def test_board_command_writes_pdf_and_description(tmp_path: Path) -> None:
    main(BoardOptions(out=tmp_path / "mine.pdf", kind="charuco"))
    assert load_board(tmp_path / "mine.json") == CHARUCO
    assert (tmp_path / "mine.pdf").read_bytes().startswith(b"%PDF")
