"""The avocado scene: its layout, its ground truth against its images, and that it is made the same way twice."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from pose6d.errors import OutputError
from pose6d.geometry.masks import mask_iou
from pose6d.mesh.mesh_files import load_mesh
from pose6d.rendering import make_renderer
from pose6d.scenes import Scene, open_scene
from test_data.avocado_mesh import make_avocado
from test_data.kitchen_scene import camera_in_world, spoon_in_world
from test_data.make_avocado_scene import FRAMES, make_avocado_scene

COUNT = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_avocado_scene(tmp_path_factory.mktemp("scenes") / "avocado", COUNT, progress=False)


@pytest.fixture(scope="module")
def scene(folder: Path) -> Scene:
    return open_scene(folder)


def test_the_readers_find_everything(scene: Scene) -> None:
    assert scene.kind == "capture"
    assert scene.names == ["0", "1", "2"]
    assert scene.mesh_file is not None
    for frame in (scene[i] for i in range(COUNT)):
        assert frame.rgb.shape == (480, 640, 3)
        assert frame.mask is not None
        assert 2000 < frame.mask.sum() < 40000
        assert frame.object_in_camera is not None
        assert 0.4 < frame.object_in_camera[2, 3] < 0.65
        assert frame.K[0, 0] == pytest.approx(606.757)
        assert (frame.depth[frame.mask] > 0).mean() > 0.9, "the object should be seen by the depth sensor"
        assert 0.005 < (frame.depth == 0).mean() < 0.2, "a real sensor has some holes"


def test_ground_truth_agrees_with_mask_and_depth(scene: Scene) -> None:
    assert scene.mesh_file is not None
    renderer = make_renderer(load_mesh(scene.mesh_file), "cpu")
    for frame in (scene[i] for i in range(COUNT)):
        pose = torch.from_numpy(frame.object_in_camera)[None].float()
        seen = renderer.render(pose, torch.from_numpy(frame.K).float(), (480, 640))
        silhouette, depth = seen.mask[0].numpy(), seen.depth[0].numpy()
        overlap = mask_iou(silhouette, frame.mask)
        assert overlap > 0.995
        both = frame.mask & (frame.depth > 0)
        error = np.abs(depth - frame.depth)[both]
        assert np.median(error) < 0.0015
        assert (error < 0.006).mean() > 0.93


def test_it_is_made_the_same_way_twice(folder: Path, tmp_path: Path) -> None:
    again = make_avocado_scene(tmp_path / "again", COUNT, progress=False)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    for name in files:
        assert (
            hashlib.sha256((folder / name).read_bytes()).digest()
            == hashlib.sha256((again / name).read_bytes()).digest()
        ), name


def test_a_finished_scene_is_kept_and_foreign_files_are_safe(folder: Path, tmp_path: Path) -> None:
    before = (folder / "transforms.npy").stat().st_mtime_ns
    assert make_avocado_scene(folder, COUNT, progress=False) == folder
    assert (folder / "transforms.npy").stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="with 3 frames"):
        make_avocado_scene(folder, 4, progress=False)
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="no avocado scene"):
            make_avocado_scene(tmp_path, COUNT, overwrite=overwrite, progress=False)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_mesh_has_no_second_pose_that_looks_the_same() -> None:
    mesh = make_avocado()
    assert mesh.diameter == pytest.approx(0.104, abs=0.002)
    renderer = make_renderer(mesh, "cpu")
    K = torch.tensor([[600.0, 0, 79.5], [0, 600.0, 79.5], [0, 0, 1]])
    flip = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    base = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    base[2, 3] = 0.5
    turned = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))
    views = renderer.render(torch.stack([base, base @ turned, base @ flip]), K, (160, 160)).color
    assert (views[0] - views[1]).abs().mean() > 0.01
    assert (views[0] - views[2]).abs().mean() > 0.02


def test_the_camera_moves_smoothly_and_something_passes_in_front() -> None:
    poses = np.stack([camera_in_world(i / (FRAMES - 1)) for i in range(FRAMES)])
    step = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    relative = np.linalg.inv(poses[:-1]) @ poses[1:]
    angle = np.rad2deg(np.arccos(np.clip((np.trace(relative[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert step.max() < 0.03
    assert np.ptp(poses[:, :3, 3], axis=0).max() > 0.1, "the camera should travel"
    assert angle.max() < 4
    hidden = [spoon_in_world(i / (FRAMES - 1)) is not None for i in range(FRAMES)]
    assert 5 < sum(hidden) < FRAMES / 3
    assert not hidden[0], "the first frame, in which the object is found, is unobstructed"
