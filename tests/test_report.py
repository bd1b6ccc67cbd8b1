"""Overlays land on the object, videos play, result folders lose nothing."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
import pytest
import torch

from pose6d.errors import OutputError
from pose6d.geometry.transforms import rigid_transform
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.rendering import make_renderer
from pose6d.report.contact_sheet import contact_sheet, hypothesis_sheet, object_windows
from pose6d.report.overlay import BLUE, GREEN, ORANGE, RED, PoseOverlay, draw_axes, draw_box, draw_contour, oriented_box
from pose6d.report.overlay import silhouette as draw_silhouette
from pose6d.report.refinement_trace import RefinementTrace, refinement_sheet
from pose6d.report.run_folder import RunFolder
from pose6d.report.video import VideoWriter
from pose6d.scenes import open_scene
from tests.mesh_boxes import make_box
from tests.pose_files import read_poses

K = np.array([[300.0, 0, 159.5], [0, 300.0, 119.5], [0, 0, 1]])
SIDES = np.array([0.08, 0.12, 0.2])
BOX = make_box(SIDES)


def make_pose(t: tuple[float, float, float] = (0.02, -0.01, 0.6), tilt: float = 0.5) -> np.ndarray:
    return rigid_transform(cv2.Rodrigues(np.array([tilt, 0.4 * tilt, 0.9 * tilt]))[0], t)


def test_the_box_is_tight_and_along_the_mesh() -> None:
    box = oriented_box(BOX)
    np.testing.assert_allclose(box.extents, SIDES, atol=1e-6)
    np.testing.assert_allclose(box.box_in_object, np.eye(4), atol=1e-6)


def test_the_box_of_a_tilted_mesh_is_tight() -> None:
    turn = make_pose((0.3, 0.0, 0.1), tilt=0.7)
    tilted = Mesh(vertices=BOX.vertices @ turn[:3, :3].T + turn[:3, 3], faces=BOX.faces)
    box = oriented_box(tilted)
    np.testing.assert_allclose(np.sort(box.extents), SIDES, rtol=1e-4)
    in_box = (tilted.vertices - box.box_in_object[:3, 3]) @ box.box_in_object[:3, :3]
    assert (np.abs(in_box) <= box.extents / 2 + 1e-5).all()


def test_a_flat_mesh_has_a_box() -> None:
    flat = Mesh(vertices=[[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]], faces=[[0, 1, 2]])
    np.testing.assert_allclose(oriented_box(flat).extents, [0.1, 0.1, 0], atol=1e-7)


def test_the_contour_runs_along_the_silhouette(device: torch.device) -> None:
    pose = make_pose()
    mask = draw_silhouette(make_renderer(BOX, device), pose, K, (240, 320))
    image = np.zeros((240, 320, 3), dtype=np.uint8)
    draw_contour(image, mask)
    drawn = (image == ORANGE).all(axis=2)
    kernel = np.ones((3, 3), np.uint8)
    edge = mask & (cv2.erode(mask.astype(np.uint8), kernel) == 0)
    assert drawn[edge].all()
    assert not drawn[cv2.dilate(edge.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0].any()


@pytest.mark.parametrize(
    "t", [(0.02, -0.01, 0.6), (0.28, 0.2, 0.6), (-0.3, 0, 0.6), (0, 0, 0.05), (2.0, 0, 0.6), (0, 0, -1)]
)
def test_the_silhouette_of_a_window_is_that_of_the_whole(t: tuple[float, float, float]) -> None:
    renderer, mesh, pose = make_renderer(BOX, "cpu"), BOX, make_pose(t)
    whole = draw_silhouette(renderer, pose, K, (240, 320))
    np.testing.assert_array_equal(draw_silhouette(renderer, pose, K, (240, 320), oriented_box(mesh)), whole)


def test_the_box_of_a_box_covers_its_silhouette() -> None:
    """The drawn edges of a box-shaped object's box lie on the rendered outline: projection and renderer agree."""
    pose = make_pose()
    mesh = BOX
    image = np.zeros((240, 320, 3), dtype=np.uint8)
    draw_box(image, pose, K, oriented_box(mesh), thickness=1)
    mask = draw_silhouette(make_renderer(mesh, "cpu"), pose, K, (240, 320))
    drawn = image[..., 1] > 110  # half of the line's green
    rows, columns = np.nonzero(drawn)
    mask_rows, mask_columns = np.nonzero(mask)
    for a, b in ((rows, mask_rows), (columns, mask_columns)):
        assert abs(int(a.min()) - int(b.min())) <= 2  # a sharp tip ends between pixels
        assert abs(int(a.max()) - int(b.max())) <= 2
    assert (drawn & ~cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)).sum() == 0


def test_axes_have_their_colours() -> None:
    image = np.zeros((240, 320, 3), dtype=np.uint8)
    pose = np.eye(4)
    pose[:3, 3] = [0, 0, 0.5]
    draw_axes(image, pose, K, length=0.1)
    assert tuple(image[120, 200]) == RED  # x runs right
    assert tuple(image[160, 160]) == GREEN  # y runs down
    pose[:3, :3] = [[0, 0, -1], [0, 1, 0], [1, 0, 0]]
    draw_axes(image, pose, K, length=0.1)
    assert tuple(image[120, 120]) == BLUE  # z runs left now


@pytest.mark.parametrize("t", [(0, 0, 0.05), (0, 0, -1.0), (5.0, 0, 0.02), (0.0, 0.0, 1e-6), (1e6, 0, 1e-3)])
def test_any_pose_can_be_drawn(t: tuple[float, float, float]) -> None:
    overlay = PoseOverlay(BOX, make_renderer(BOX, "cpu"))
    rgb = np.full((240, 320, 3), 90, dtype=np.uint8)
    drawn = overlay.draw(rgb, make_pose(t), K, "frame 0")
    assert drawn.shape == rgb.shape
    assert (rgb == 90).all()  # the frame itself stays as it is
    overlay.draw(rgb, np.full((4, 4), np.nan), K)


def test_other_likely_poses_are_drawn_beside_the_pose_itself() -> None:
    overlay = PoseOverlay(BOX, make_renderer(BOX, "cpu"))
    rgb = np.zeros((240, 320, 3), dtype=np.uint8)
    pose, other = make_pose((0, 0, 0.5)), make_pose((0.1, 0, 0.5))
    alone, both = overlay.draw(rgb, pose, K), overlay.draw(rgb, pose, K, others=[other])
    new = (alone != both).any(axis=2)
    assert new.any() and (both[new][:, 2] > both[new][:, 0]).mean() > 0.9, "in cyan"
    assert np.flatnonzero(new.any(axis=0)).max() > np.flatnonzero(alone.any(axis=(0, 2))).max() + 10


def video_facts(path: Path) -> tuple[str, int]:
    """ffmpeg's description of a file, and how many frames it decodes."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "null", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return text, int(re.findall(r"frame=\s*(\d+)", text)[-1])


@pytest.mark.parametrize("size", [(48, 64), (47, 65)])
def test_video_is_h264_yuv420p_with_every_frame(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "video.mp4"
    with VideoWriter(path, fps=10) as video:
        for level in range(0, 250, 25):
            video.write(np.full((*size, 3), level, dtype=np.uint8))
        assert not path.exists()  # appears complete or not at all
    text, count = video_facts(path)
    assert "Video: h264" in text
    assert "yuv420p" in text
    assert count == 10
    assert list(tmp_path.iterdir()) == [path]
    # A browser starts to play before the end has arrived only if the index comes first.
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_video_refuses_another_size_and_skips_an_empty_one(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "empty.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []
    with VideoWriter(tmp_path / "video.mp4") as video:
        video.write(np.zeros((48, 64, 3), dtype=np.uint8))
        with pytest.raises(ValueError, match="video of"):
            video.write(np.zeros((48, 66, 3), dtype=np.uint8))
    assert video_facts(tmp_path / "video.mp4")[1] == 1
    with (
        pytest.raises(OutputError, match=r"video\.mp4 cannot be written"),
        VideoWriter(tmp_path / "video.mp4" / "video.mp4") as video,
    ):
        video.write(np.zeros((48, 64, 3), dtype=np.uint8))


def test_contact_sheet_keeps_every_image() -> None:
    images = [np.full((10, 20, 3), 50 * i, dtype=np.uint8) for i in range(5)]
    sheet = contact_sheet(images, columns=2)
    for i in range(5):
        assert (sheet == 50 * i).all(axis=2).sum() >= 200


def test_crops_follow_the_object_and_not_its_origin() -> None:
    mesh = BOX.translated(np.array([0.0, 0.1, 0.0]))
    poses, intrinsics = torch.as_tensor(make_pose()[None], dtype=torch.float32), torch.as_tensor(K, dtype=torch.float32)
    windows = object_windows(poses, intrinsics, mesh, 1.2, 96)
    mask = make_renderer(mesh, "cpu").render(poses, windows @ intrinsics, (96, 96)).mask[0]
    assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
    assert mask.sum() > 500


def test_hypothesis_sheet_shows_the_rendering_where_the_object_is() -> None:
    mesh, pose = BOX, make_pose()
    renderer = make_renderer(mesh, "cpu")
    rgb = np.zeros((240, 320, 3), dtype=np.uint8)
    rgb[draw_silhouette(renderer, pose, K, (240, 320))] = 255
    sheet = hypothesis_sheet(renderer, rgb, K, pose[None], np.array([1.5]), mesh, size=96)
    left, right = sheet[30:100, 4:100], sheet[30:100, 100:196]  # below the label
    rendered, observed = left.max(axis=2) > 60, right.min(axis=2) > 200
    assert rendered.sum() > 500
    assert not (observed & ~cv2.dilate(rendered.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)).any()


def test_run_folder_never_loses_results(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.write_pose("0001", make_pose())
    (folder.path / "notes.txt").write_text("mine")
    np.testing.assert_allclose(read_poses(folder.path)["0001"], make_pose(), atol=1e-8)
    with pytest.raises(OutputError, match=r"already holds results \(ob_in_cam/0001\.txt.*--overwrite"):
        RunFolder(tmp_path / "out")
    again = RunFolder(tmp_path / "out", overwrite=True)
    again.write_pose("0002", make_pose())
    assert again.leftovers(["0002"])
    assert not again.leftovers(["0001", "0002"])
    assert sorted(read_poses(folder.path)) == ["0001", "0002"]
    assert (folder.path / "notes.txt").read_text() == "mine"
    with pytest.raises(OutputError, match="is a file"):
        RunFolder(folder.path / "notes.txt")


def test_new_run_folders_count_up(tmp_path: Path) -> None:
    assert [RunFolder.new(tmp_path / "scene").path.name for _ in range(3)] == ["000", "001", "002"]


def test_overlay_fits_the_real_frames(shared_data: Path) -> None:
    """Rendered at the verified poses, the silhouettes cover the masks, as the data's own IoU says."""
    real = shared_data / "data" / "real"
    for name in ("003_cracker_box", "024_bowl"):
        entry = json.loads((real / "tabletop_0" / "poses.json").read_text())[name]
        frame = open_scene(real / "tabletop_0", object_id=name)[0]
        mesh = load_mesh(real / "meshes" / name / "textured.obj")
        drawn = draw_silhouette(make_renderer(mesh, "cpu"), np.array(entry["object_in_camera"]), frame.K, (480, 640))
        iou = (drawn & frame.mask).sum() / (drawn | frame.mask).sum()
        assert iou == pytest.approx(entry["mask_iou"], abs=0.02)


def test_refinement_trace_finds_the_ways_of_what_is_left() -> None:
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 2, 3] = torch.tensor([0.8, 1.6, 2.4])
    trace = RefinementTrace()
    trace("start", poses + 1, torch.arange(3))
    for _ in range(2):  # a second search drops the first
        trace("start", poses, torch.arange(3))
        halved = poses.clone()
        halved[:, 2, 3] /= 2
        trace("refine", halved, torch.arange(3))
        trace("select", halved[[2, 0]], torch.tensor([2, 0]))
        turned = halved[[2, 0, 2]]
        turned[2, 0, 3] = 0.1
        trace("rotate", turned, torch.tensor([0, 1, 0]))
        trace("sort", turned[[2, 0, 1]], torch.tensor([2, 0, 1]))
    assert trace.names == ["start", "refine", "rotate"]
    paths = trace.best(2)
    assert paths.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(paths[:, :, 2, 3], [[2.4, 1.2, 1.2], [2.4, 1.2, 1.2]], atol=1e-6)
    np.testing.assert_allclose(paths[:, :, 0, 3], [[0, 0, 0.1], [0, 0, 0]], atol=1e-6)

    renderer = make_renderer(BOX, "cpu")
    sheet = refinement_sheet(renderer, np.full((240, 320, 3), 90, np.uint8), K, paths, trace.names, BOX, size=64)
    assert sheet.shape == (2 * 68 + 4, 3 * 68 + 4, 3)
