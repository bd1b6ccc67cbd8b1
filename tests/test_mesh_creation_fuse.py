"""Fusing: the mesh lies on the object, is closed, has its colours, and comes with the right frames and messages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import open3d as o3d
import pytest
import torch
import trimesh

from mesh_creation.fusion import closed_surface, flip_alignment, fuse
from mesh_creation.fusion.closed_surface import close_surface, decimate
from mesh_creation.fusion.flip_alignment import align_flipped
from mesh_creation.fusion.fuse import FuseOptions, main
from mesh_creation.fusion.symmetry_proposal import propose_symmetries
from mesh_creation.fusion.tsdf_volume import TsdfVolume
from mesh_creation.fusion.uv_atlas import paint, unwrap
from mesh_creation.fusion.view_blending import TextureView, ViewBlender
from mesh_creation.registration.depth_cleaning import clean_depth
from mesh_creation.registration.frame_alignment import Cloud
from mesh_creation.registration.object_region import find_object
from mesh_creation.registration.register import RegisterOptions
from mesh_creation.registration.register import main as register
from mesh_creation.registration.work_area import WorkArea
from pose6d.errors import OutputError, SceneError
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import load_mesh
from pose6d.mesh.symmetry import parse_symmetry
from pose6d.rendering import ALBEDO, make_renderer
from pose6d.scenes import open_scene
from tests.mesh_creation_scans import block, camera, house_scan, pose_errors, scan

K = np.array([[300.0, 0, 159.5], [0, 300, 119.5], [0, 0, 1]])
SIZE = (240, 320)


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared = house_scan(tmp_path_factory.getbasetemp())
    register(RegisterOptions(shared))
    return Path(shutil.copytree(shared, tmp_path_factory.mktemp("scans") / "house"))


@pytest.fixture(scope="module")
def fused(registered: Path) -> Path:
    return main(FuseOptions(registered, voxel=0.002, faces=3000, texel=0.001))


def raycaster(mesh: Mesh) -> o3d.t.geometry.RaycastingScene:
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        o3d.t.geometry.TriangleMesh(o3d.core.Tensor(mesh.vertices), o3d.core.Tensor(mesh.faces.astype(np.int64)))
    )
    return scene


def distances(mesh: Mesh, points: np.ndarray) -> np.ndarray:
    """Millimetres from points (P, 3) to the surface of a mesh."""
    return 1000 * raycaster(mesh).compute_distance(o3d.core.Tensor(points.astype(np.float32))).numpy()


def transform_mesh(mesh: Mesh, T: np.ndarray) -> Mesh:
    return Mesh(
        mesh.vertices @ T[:3, :3].T + T[:3, 3], mesh.faces, uv=mesh.uv, texture=mesh.texture, colors=mesh.colors
    )


def ball(radius: float, height: float) -> Mesh:
    made = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return Mesh(made.vertices + np.array([0, 0, height]), made.faces)


def cameras(count: int, elevations: tuple[float, ...] = (20, 50, 80)) -> list[np.ndarray]:
    azimuths = np.arange(count) * 360 / count
    return [camera(azimuth, elevation, 0.4, 0.03) for elevation in elevations for azimuth in azimuths]


def pictures(mesh: Mesh, poses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Colours (N, H, W, 3) uint8 and depths (N, H, W) metres."""
    in_camera = torch.from_numpy(np.linalg.inv(np.stack(poses))).float()
    drawn = make_renderer(mesh, "cpu").render(in_camera, torch.from_numpy(K).float(), SIZE, shading=ALBEDO)
    return (drawn.color.numpy() * 255).round().astype(np.uint8), drawn.depth.numpy()


@pytest.mark.parametrize("fast", [True, False])
def test_perfect_depth_gives_the_sphere_back_closed_and_marks_its_unseen_bottom(
    fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fast:
        monkeypatch.setattr(closed_surface, "fast_simplification", None)
    elif closed_surface.fast_simplification is None:
        pytest.skip("fast-simplification is not installed")
    truth = ball(0.04, 0.035)  # 5 mm of it are below the board
    low, high = np.array([-0.05, -0.05, -0.003]), np.array([0.05, 0.05, 0.085])
    volume = TsdfVolume.around(low, high, 0.0015)
    poses = cameras(8)
    sheet = Mesh(np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * 0.4, np.array([[0, 1, 2], [0, 2, 3]]))
    for pose, depth, board in zip(poses, pictures(truth, poses)[1], pictures(sheet, poses)[1], strict=True):
        support = (board > 0) & ((depth == 0) | (depth > board))
        cleaned, cosine = clean_depth(np.where(support, board, depth), K)
        cosine = np.where(support, np.maximum(cosine, 0.3), cosine)
        volume.integrate(np.where(support, board, cleaned), cosine, support, K, pose, 0.002)
    seen = truth.vertices[truth.vertices[:, 2] > 0.004]
    surface = close_surface(volume, seen, floor=0.002)
    small = decimate(surface, 3000)
    assert 2000 < len(small.faces) <= 3000 and len(surface.faces) > 6000
    for found in (surface, small):
        assert trimesh.Trimesh(found.vertices, found.faces, process=False).is_watertight
        assert trimesh.Trimesh(found.vertices, found.faces, process=False).volume > 0  # faces point outwards
        mesh = Mesh(found.vertices, found.faces[~found.filled])
        assert distances(truth, mesh.sample_surface(3000)).mean() < 0.5  # a third of the voxel
        filled = found.vertices[found.faces[found.filled]].mean(axis=1)
        assert len(filled) > 10 and filled[:, 2].max() < 0.03


def test_the_largest_thing_above_the_board_is_the_object() -> None:
    rng = np.random.default_rng(0)
    area = WorkArea(0.1, 0.15, 0.004, 0.4)
    main_thing = ball(0.03, 0.03).sample_surface(4000)
    other = ball(0.01, 0.012).sample_surface(500) + np.array([0.07, 0.1, 0])
    noise = rng.uniform([-0.1, -0.15, 0.004], [0.1, 0.15, 0.2], (30, 3))
    clouds = [np.concatenate([main_thing + rng.normal(0, 3e-4, main_thing.shape), other, noise]) for _ in range(6)]
    clouds = [cloud[area.contains(cloud)] for cloud in clouds]
    found = find_object(clouds, area, "scan")
    np.testing.assert_allclose(found.high, [0.03, 0.03, 0.06], atol=0.004)
    assert 0.02 < found.dropped < 0.3 and found.cut == 0
    with pytest.raises(SceneError, match=r"scan: nothing stands on the board \(of 6 views"):
        find_object([noise] * 6, area, "scan")


def test_blended_texture_shows_what_the_pictures_show() -> None:
    truth = block()
    poses = cameras(8, (25, 55))
    color, depth = pictures(truth, poses)
    gains = np.linspace(0.9, 1.1, len(poses))  # an exposure that drifts
    views = [
        TextureView((c * g).clip(0, 255).astype(np.uint8), d, K, p)
        for c, d, p, g in zip(color, depth, poses, gains, strict=True)
    ]
    plain = Mesh(truth.vertices, truth.faces)
    unwrapped = unwrap(plain, 512)
    assert unwrapped.uv is not None and len(unwrapped.faces) == len(plain.faces)
    assert unwrapped.uv.min() >= 0 and unwrapped.uv.max() <= 1
    textured, known = paint(unwrapped, 512, ViewBlender(plain, views).colors)
    assert known > 0.7
    between = cameras(3, (40,))
    found, mask = pictures(textured, between)
    wanted = pictures(truth, between)[0]
    difference = np.abs(found.astype(int) - wanted)[mask > 0]
    assert np.median(difference) < 12 and difference.mean() < 25


def test_flipped_surfaces_are_aligned_by_shape_and_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = block()
    points = mesh.sample_surface(5000).astype(np.float64)
    answer = raycaster(mesh).compute_closest_points(o3d.core.Tensor(points.astype(np.float32)))
    cloud = Cloud(points, answer["primitive_normals"].numpy().astype(np.float64), np.abs(np.sin(points * 90)))
    flip = np.eye(4)
    flip[:3, :3] = np.array([[np.cos(0.7), -np.sin(0.7), 0], [np.sin(0.7), np.cos(0.7), 0], [0, 0, 1]]) @ np.diag(
        [1.0, -1, -1]
    )
    flip[:3, 3] = [0.01, -0.02, 0.08]
    first = cloud.select(points[:, 2] > 0.006)
    second = cloud.select(points[:, 2] < 0.07).transform(flip)
    centers = (np.array([0, 0, 0.04]), flip[:3, :3] @ [0, 0, 0.04] + flip[:3, 3])
    all_starts = flip_alignment._start_poses  # fewer turns to start from, so that the test is quick
    monkeypatch.setattr(flip_alignment, "_start_poses", lambda *given: all_starts(*given)[::4])
    found = align_flipped(first, second, centers, "scans")
    millimetres, degrees = pose_errors(found.transform, np.linalg.inv(flip))
    assert millimetres < 1.5 and degrees < 1.0
    sphere = ball(0.06, 0.06).sample_surface(3000).astype(np.float64)
    other = Cloud(sphere, (sphere - [0, 0, 0.06]) / 0.06, np.full(sphere.shape, 0.5))
    monkeypatch.setattr(flip_alignment, "_start_poses", lambda *given: all_starts(*given)[::40])
    with pytest.raises(SceneError, match="do not show the same object"):
        align_flipped(first, other, centers, "scans")


def test_colour_keeps_walls_from_sliding_along_themselves() -> None:
    """Two recordings of a tube, each without one end: only its stripes tell the height."""
    angle, height = (grid.ravel() for grid in np.meshgrid(np.arange(0, 2 * np.pi, 0.06), np.arange(0, 0.1, 0.002)))
    normals = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    points = 0.035 * normals + np.stack([0 * height, 0 * height, height], axis=1)
    tube = Cloud(points, normals, np.repeat((0.5 + 0.4 * np.sin(300 * height))[:, None], 3, axis=1))
    slid = np.eye(4)
    slid[2, 3] = 0.0045
    found = flip_alignment._pattern_search(tube.select(height < 0.08), tube.select(height > 0.02), slid)[3]
    assert abs(found[2, 3]) < 0.0006


def test_symmetries_are_proposed_with_and_without_colour() -> None:
    made = trimesh.creation.cylinder(radius=0.03, height=0.1, sections=48).subdivide()
    plain = np.full((len(made.vertices), 3), 120, np.uint8)
    mesh = Mesh(made.vertices, made.faces, colors=plain)
    assert propose_symmetries(mesh, plain)["text"].startswith("continuous z")
    painted = plain.copy()
    painted[made.vertices[:, 0] > 0] = [250, 20, 20]
    proposal = propose_symmetries(mesh, painted)
    assert "z" not in proposal["text"] and "continuous z" in proposal["shape_only"]
    assert len(parse_symmetry(proposal["shape_only"])) > 10
    assert propose_symmetries(block(), np.full((36, 3), 90, np.uint8))["text"] != ""


def test_a_scan_becomes_a_mesh(registered: Path, fused: Path) -> None:
    metadata = json.loads((fused / "metadata.json").read_text())
    assert sorted(file.name for file in fused.iterdir()) == [
        "formats",
        "metadata.json",
        "object.mtl",
        "object.obj",
        "object.png",
    ]
    mesh, ply, glb = (load_mesh(fused / name) for name in ("object.obj", "formats/object.ply", "formats/object.glb"))
    assert mesh.texture is not None and glb.texture is not None and ply.colors is not None
    np.testing.assert_allclose(mesh.center, 0, atol=1e-4)
    assert metadata["unit"] == "m" and abs(metadata["diameter"] - block().diameter) < 0.006
    assert len(np.load(fused / "formats" / "filled.npy")) == len(ply.faces)

    in_mesh = np.linalg.inv(metadata["object_in_board"]) @ np.load(registered / "truth" / "object_in_board.npy")
    truth = transform_mesh(block(), in_mesh)
    seen = Mesh(ply.vertices, ply.faces[~np.load(fused / "formats" / "filled.npy")])
    apart = distances(truth, seen.sample_surface(5000))
    assert apart.mean() < 1.2 and np.percentile(apart, 95) < 3
    assert (distances(mesh, truth.sample_surface(5000)) < 3).mean() > 0.8  # one wall and the bottom are hardly seen
    frame = open_scene(registered)[4]  # the capture layout takes transforms.npy as camera in mesh
    assert frame.object_in_camera is not None
    drawn = make_renderer([mesh, truth], "cpu").render(
        torch.from_numpy(np.stack([frame.object_in_camera] * 2)).float(),
        torch.from_numpy(frame.K).float(),
        frame.rgb.shape[:2],
        mesh_index=torch.tensor([0, 1]),
        shading=ALBEDO,
    )
    both = (drawn.mask[0] & drawn.mask[1]).numpy()
    assert both.sum() > 0.9 * drawn.mask.any(dim=0).sum().item()
    correlation = np.corrcoef(drawn.color[0].numpy()[both].ravel(), drawn.color[1].numpy()[both].ravel())[0, 1]
    assert correlation > 0.6


def test_what_is_finished_is_not_done_again(
    registered: Path, fused: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (fused / "metadata.json").read_bytes()
    assert main(FuseOptions(registered)) == fused
    assert "is there already" in capsys.readouterr().out and (fused / "metadata.json").read_bytes() == before

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    options = FuseOptions(registered, voxel=0.003, faces=2000, texel=0.003, overwrite=True)
    with monkeypatch.context() as patch:
        patch.setattr(fuse, "ViewBlender", killed)
        with pytest.raises(KeyboardInterrupt):
            main(options)
    assert not (fused / "metadata.json").exists()
    monkeypatch.setattr(fuse, "_volume", killed)  # finished before the kill
    main(FuseOptions(registered, voxel=0.003, faces=2000, texel=0.003))
    assert json.loads((fused / "metadata.json").read_text())["faces"] <= 2000


def test_a_foreign_mesh_folder_is_not_touched(registered: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="register"):
        main(FuseOptions(scan(tmp_path / "raw", frames=2)))
    folder = tmp_path / "raw" / "mesh"
    folder.mkdir()
    (folder / "mine.obj").write_text("o mine")
    with pytest.raises(OutputError, match="did not make"):
        main(FuseOptions(tmp_path / "raw", overwrite=True))
    assert (folder / "mine.obj").read_text() == "o mine"
