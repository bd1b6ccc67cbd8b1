"""What the page about a run is made of: small, complete, and true to the run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose6d.mesh.mesh import Mesh
from pose6d.rendering import make_renderer
from pose6d.report import html_report
from pose6d.report.html_report import json_for_page
from pose6d.report.key_frames import KeyFrames
from pose6d.report.overlay import MAGENTA, PoseOverlay
from pose6d.report.run_facts import collect_warnings, find_commit
from pose6d.report.scene_view import first_points, simplify_mesh
from pose6d.report.video import VideoWriter, shrink_video
from pose6d.scenes.frame import Frame
from tests.report_runs import BOX, FRAMES, K, make_pose, write_page


def test_the_page_is_one_small_file(compared: Path) -> None:
    text = compared.read_text(encoding="utf-8")
    assert len(text) < 3_000_000
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)", text.replace('href="data:,"', ""))
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert data["names"][-1] == "0023"
    assert len(data["charts"]) == 14
    assert "<dt>Confidence, frame 0000</dt><dd>0.61<small>other poses 0.27</small></dd>" in text
    assert all(len(s["values"]) == FRAMES for chart in data["charts"] for s in chart["series"])


def test_json_cannot_end_its_element() -> None:
    text = json_for_page({"name": "</script><!--"})
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><!--"}


def test_long_recordings_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_report, "_MOST_FRAMES", 10)
    text = write_page(tmp_path, compare=True).read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1))  # type: ignore[union-attr]
    assert data["names"] == [f"{i:04d}" for i in range(0, FRAMES, 3)]
    assert data["videoFps"] == 5
    assert all(len(s["values"]) == 8 for chart in data["charts"] for s in chart["series"])


def test_a_large_video_is_made_smaller(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    with VideoWriter(tmp_path / "noise.mp4") as video:
        for _ in range(45):
            video.write(generator.integers(0, 255, (240, 320, 3)).astype(np.uint8))
    size = (tmp_path / "noise.mp4").stat().st_size
    assert shrink_video(tmp_path / "noise.mp4", size) == (tmp_path / "noise.mp4").read_bytes()
    small = shrink_video(tmp_path / "noise.mp4", size // 3)
    assert 1000 < len(small) <= size // 3
    assert small[4:8] == b"ftyp"
    assert shrink_video(tmp_path / "noise.mp4", 2000) == b""


def test_key_frames_stay_few_and_spread() -> None:
    frames = KeyFrames(most=8, width=32)
    for i in range(100):
        frames.add(str(i), np.full((48, 64, 3), i, dtype=np.uint8))
    numbers = [int(name) for name, _ in frames.pictures]
    assert 4 <= len(numbers) <= 8
    assert len(set(np.diff(numbers))) == 1
    assert numbers[0] == 0 and numbers[-1] >= 75
    assert cv2.imdecode(np.frombuffer(frames.pictures[0][1], np.uint8), 1).shape == (24, 32, 3)


def test_meshes_are_simplified_and_textures_kept() -> None:
    angles = np.linspace(0, np.pi, 200)
    u, v = (x.ravel() for x in np.meshgrid(2 * angles, angles))
    sphere = np.stack([np.sin(v) * np.cos(u), np.sin(v) * np.sin(u), np.cos(v)], axis=1) * 0.1
    index = np.arange(200 * 200).reshape(200, 200)
    a, b, c, d = (index[i : 199 + i, j : 199 + j].ravel() for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    mesh = Mesh(vertices=sphere, faces=np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)]))
    vertices, faces, colors, normals = simplify_mesh(mesh)
    assert 2000 < len(faces) <= 16_000
    assert len(vertices) == len(colors) == len(normals) <= 65_535
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.1, atol=0.002)
    assert (np.einsum("ij,ij->i", normals, vertices) > 0.09).mean() > 0.98  # outwards still

    texture = np.zeros((2, 2, 3), dtype=np.uint8)
    texture[0, 1] = 255
    flat = Mesh(
        vertices=[[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], faces=[[0, 1, 2], [0, 2, 3]],
        uv=[[0, 0], [1, 0], [1, 1], [0, 1]], texture=texture,
    )  # fmt: skip
    vertices, faces, colors, _ = simplify_mesh(flat)
    white = colors[:, 0] == 255
    middle = vertices[faces].mean(axis=1)
    np.testing.assert_allclose(white.mean(), 0.25, atol=0.03)
    inside = np.abs(vertices[:, :2] - 0.5).min(axis=1) > 0.02
    edge = np.abs(vertices[:, :2] % 1).min(axis=1) > 0.01
    np.testing.assert_array_equal(white[inside & edge], (vertices[inside & edge, :2] > 0.5).all(axis=1))
    assert len(middle) >= 6000


def test_the_cloud_leaves_out_the_far_background() -> None:
    depth = np.full((120, 160), 5.0, dtype=np.float32)
    depth[40:80, 40:80] = 0.5
    depth[0, 0] = 0
    frame = Frame("0", np.zeros((120, 160, 3), dtype=np.uint8), depth, K)
    points, colors, spacing = first_points(frame, make_pose(0), 0.1)
    assert len(points) == len(colors) == 1600
    np.testing.assert_allclose(points[:, 2], 0.5)
    assert spacing == pytest.approx(1 / 200)


def test_the_overlay_shows_truth_beside_the_prediction() -> None:
    overlay, rgb = PoseOverlay(BOX, make_renderer(BOX, "cpu")), np.full((120, 160, 3), 90, np.uint8)
    plain, both = overlay.draw(rgb, make_pose(0), K), overlay.draw(rgb, make_pose(0), K, truth=make_pose(6))

    def magenta(image: np.ndarray) -> int:
        return int((np.abs(image.astype(int) - MAGENTA).max(axis=2) < 30).sum())

    assert magenta(plain) == 0
    assert magenta(both) > 100


def test_warnings_are_collected_and_still_shown(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_: shown.append(str(message))  # type: ignore[assignment]
        with collect_warnings() as found:
            for _ in range(2):
                warnings.warn("the texture is lost", stacklevel=1)
        warnings.warn("later", stacklevel=1)
    assert found == ["the texture is lost"]
    assert shown == ["the texture is lost"] * 2 + ["later"]


def test_a_folder_outside_a_checkout_has_no_commit(tmp_path: Path) -> None:
    assert find_commit(tmp_path) == ""


def test_an_installed_package_does_not_take_the_commit_of_the_project_around_it(tmp_path: Path) -> None:
    """As where the environment lies in somebody's own repository."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "theirs"], check=True)
    package = tmp_path / ".venv" / "pose6d"
    package.mkdir(parents=True)
    (package / "code.py").touch()
    assert find_commit(package) == ""
    subprocess.run([*git, "add", str(package)], check=True)
    assert find_commit(package).endswith(" with local changes")
