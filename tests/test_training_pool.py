"""The mesh pool: which index is what, and what users mix in of their own, with every way in which that can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learning.datasets.objects.hands import make_hand, make_hands
from learning.datasets.objects.mesh_pool import MeshPool
from learning.datasets.objects.random_objects import make_object
from learning.datasets.objects.training_pool import (
    MAXIMUM_FACES,
    PoolConfig,
    load_meshes,
    load_textures,
    make_pool,
    repeat_to_share,
)
from learning.datasets.surfaces.image_folder import read_sample
from learning.datasets.surfaces.textures import make_textures
from pose6d.errors import FrameError, MeshError, OptionError, SceneError
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import save_mesh

CPU = torch.device("cpu")


def _plain(mesh: Mesh, color: tuple[int, int, int]) -> Mesh:
    colors = np.tile(np.array(color, np.uint8), (len(mesh.vertices), 1))
    return Mesh(mesh.vertices, mesh.faces, mesh.normals, colors=colors)


def _colour_seen(pool: MeshPool, index: int) -> np.ndarray:
    """Mean colour of what a mesh index draws, in front of the camera."""
    pose = torch.eye(4)[None].clone()
    pose[0, 2, 3] = 3.0
    K = torch.tensor([[60.0, 0, 31.5], [0, 60, 31.5], [0, 0, 1]])
    picture = pool.renderer.render(pose, K, (64, 64), mesh_index=torch.tensor([index]))
    return picture.color[picture.mask].mean(0).numpy()


@pytest.fixture
def mesh_dir(tmp_path: Path) -> Path:
    """Two meshes in millimetres, one of them in a subfolder, and a file that is none."""
    folder = tmp_path / "meshes"
    (folder / "more").mkdir(parents=True)
    save_mesh(make_object(1, size=200.0), folder / "a.obj")
    save_mesh(make_object(2, size=90.0).translated(np.array([500.0, 0, 0])), folder / "more" / "b.glb")
    (folder / "notes.txt").write_text("nothing")
    return folder


@pytest.fixture
def texture_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name, size, colour in (("wide.png", (400, 100), (250, 10, 10)), ("tall.jpg", (64, 300), (10, 250, 10))):
        Image.new("RGB", size, colour).save(folder / name)
    return folder


def test_objects_come_first_then_planes_then_occluders() -> None:
    red, blue = _plain(make_object(0), (255, 0, 0)), _plain(make_object(1), (0, 0, 255))
    backgrounds = np.full((3, 8, 8, 3), 0, np.uint8)
    backgrounds[..., 1] = 255
    pool = MeshPool([red, red], backgrounds, CPU, occluders=[blue])
    assert (pool.objects, pool.planes, pool.occluders) == (2, 3, 1)
    assert pool.points.shape[0] == 2
    seen = [int(_colour_seen(pool, index).argmax()) for index in range(6)]
    assert seen == [0, 0, 1, 1, 1, 2]


def test_a_pool_without_occluders_has_none() -> None:
    pool = MeshPool([make_object(0)], make_textures(2, seed=0, size=16), CPU)
    assert (pool.objects, pool.planes, pool.occluders) == (1, 2, 0)


def test_a_pool_has_hands_as_occluders() -> None:
    pool = make_pool(PoolConfig(objects=2, backgrounds=3, workers=1, hands=4), CPU, progress=False)
    assert (pool.objects, pool.planes, pool.occluders) == (2, 3, 4)
    assert make_pool(PoolConfig(objects=2, backgrounds=2, workers=1, hands=0), CPU, progress=False).occluders == 0


def test_own_meshes_of_any_unit_become_objects_of_unit_diameter(mesh_dir: Path) -> None:
    meshes = load_meshes(mesh_dir)
    assert len(meshes) == 2
    for mesh, seed in zip(meshes, (1, 2), strict=True):
        assert mesh.diameter == pytest.approx(1.0, abs=1e-4)
        np.testing.assert_allclose(mesh.center, 0.0, atol=1e-4)
        assert len(mesh.faces) == len(make_object(seed).faces)
        assert mesh.texture is not None


def test_own_meshes_and_images_are_mixed_in(mesh_dir: Path, texture_dir: Path) -> None:
    config = PoolConfig(
        objects=6, backgrounds=6, workers=1, hands=1, mesh_dir=mesh_dir, texture_dir=texture_dir, own_share=0.4
    )
    pool = make_pool(config, CPU, progress=False)
    assert (pool.objects, pool.planes, pool.occluders) == (6 + 4, 6 + 4, 1)
    own_planes = [_colour_seen(pool, pool.objects + 6 + i) for i in range(4)]
    assert [int(colour.argmax()) for colour in own_planes] == [1, 0, 1, 0]  # tall.jpg is green, wide.png red


def test_own_images_are_worn_by_a_share_of_the_objects(texture_dir: Path) -> None:
    base = PoolConfig(objects=8, backgrounds=2, workers=1, hands=0, texture_dir=texture_dir)
    pools = [make_pool(PoolConfig(**{**vars(base), "own_share": s}), CPU, progress=False) for s in (0.0, 0.5)]
    without, dressed = (np.stack([_colour_seen(pool, i) for i in range(8)]) for pool in pools)
    changed = np.abs(without - dressed).max(axis=1) > 1e-4
    assert 0 < changed.sum() < 8


def test_few_own_meshes_are_repeated_and_many_are_all_used() -> None:
    assert repeat_to_share("ab", 0.5, 5) == list("ababa")
    assert repeat_to_share("abc", 0.1, 9) == list("abc")
    assert repeat_to_share("", 0.5, 9) == []


def test_an_empty_or_missing_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(MeshError, match=r"mesh_dir .* holds no meshes .*readme\.txt"):
        load_meshes(tmp_path)
    with pytest.raises(MeshError, match="does not exist"):
        load_meshes(tmp_path / "nowhere")
    with pytest.raises(SceneError, match=r"texture_dir .* holds no images .*readme\.txt"):
        load_textures(tmp_path)
    with pytest.raises(SceneError, match="is a file"):
        load_textures(tmp_path / "readme.txt")


def test_a_mesh_with_too_many_faces_is_refused(tmp_path: Path) -> None:
    mesh = make_object(0)
    times = MAXIMUM_FACES // len(mesh.faces) + 1
    save_mesh(Mesh(mesh.vertices, np.tile(mesh.faces, (times, 1)), name="dense"), tmp_path / "dense.ply")
    with pytest.raises(MeshError, match=r"dense\.ply has .* faces, wanted at most 50,000: decimate"):
        load_meshes(tmp_path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.ply").write_bytes(b"ply\nnonsense")
    with pytest.raises(MeshError, match=r"broken\.ply"):
        load_meshes(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(FrameError, match=r"broken\.png"):
        load_textures(tmp_path)


def test_broken_images_are_left_out_and_counted(texture_dir: Path) -> None:
    good = load_textures(texture_dir)
    for number in range(5):
        (texture_dir / f"broken_{number}.png").write_bytes(b"\x89PNG\r\n")
    with pytest.warns(UserWarning, match=r"5 images are left out, .*broken_0\.png.*; and 2 more") as warned:
        found = load_textures(texture_dir)
    assert len(warned) == 1
    np.testing.assert_array_equal(found, good)


def test_of_many_images_a_sample_is_read_that_the_seed_decides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(40):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number:02d}.png")
    samples = [[int(image[0, 0, 0]) for image in load_textures(tmp_path, 10, seed)] for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
    assert len(set(samples[0])) == 10 and samples[0] == sorted(samples[0])
    assert "holds 40 images: 10 of them" in capsys.readouterr().out
    for number in samples[0][:4]:  # others take their place
        (tmp_path / f"{number:02d}.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="4 images are left out"):
        again = [int(image[0, 0, 0]) for image in load_textures(tmp_path, 10, 0)]
    assert len(set(again)) == 10 and set(samples[0][4:]) < set(again)


def test_a_hundred_thousand_images_cost_no_more_than_the_limit(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert len(read_sample([tmp_path / "a.png"] * 100_000, 20, 0, progress=False)) == 20
    with pytest.raises(OptionError, match="texture_limit is 0: wanted 1 image or more"):
        make_pool(PoolConfig(texture_limit=0), CPU)


def test_a_share_that_leaves_nothing_procedural_is_refused() -> None:
    with pytest.raises(OptionError, match="own_share is 1"):
        make_pool(PoolConfig(objects=1, own_share=1.0), CPU)
    with pytest.raises(OptionError, match="seed is -1"):
        make_pool(PoolConfig(objects=1, seed=-1), CPU)


def test_large_textures_of_own_meshes_shrink(tmp_path: Path) -> None:
    mesh = make_object(3)
    large = np.asarray(Image.fromarray(mesh.texture).resize((2048, 1024)))
    save_mesh(Mesh(mesh.vertices, mesh.faces, mesh.normals, mesh.uv, large), tmp_path / "large.glb")
    texture = load_meshes(tmp_path)[0].texture
    assert texture is not None
    assert texture.shape == (256, 512, 3)


def test_hands_are_occluders_of_unit_size_that_the_seed_decides() -> None:
    hands = make_hands(range(12), workers=1, progress=False)
    for mesh in hands:
        assert mesh.diameter == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(mesh.center, 0.0, atol=1e-6)
        assert 400 <= len(mesh.faces) <= 9000
    assert len({len(mesh.faces) for mesh in hands}) > 3, "fingers, hands and arms should occur"
    np.testing.assert_array_equal(make_hand(5).vertices, hands[5].vertices)
    np.testing.assert_array_equal(make_hand(5).texture, hands[5].texture)
