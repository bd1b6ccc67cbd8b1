"""A pool whose objects are replaced while training runs: what it holds at a step is always the same."""

from __future__ import annotations

import multiprocessing
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from learning.datasets.objects.mesh_pool import MeshPool
from learning.datasets.objects.object_processes import ObjectProcesses
from learning.datasets.objects.pool_renewal import RenewedPool
from learning.datasets.objects.random_objects import make_object, make_objects
from learning.datasets.objects.training_pool import HELD_OUT_SEED, PoolConfig, make_pool
from pose6d.errors import OptionError, TrainingError
from pose6d.mesh.mesh import Mesh
from pose6d.mesh.mesh_files import save_mesh
from pose6d.rendering.backend import MeshRenderer
from pose6d.rendering.mesh_buffers import MeshBuffers

CPU = torch.device("cpu")
CONFIG = PoolConfig(objects=5, backgrounds=2, hands=1, workers=1, renew_every=10, renewed=2)


@pytest.fixture(scope="module")
def objects() -> list[Mesh]:
    return make_objects(range(10), workers=1, progress=False)


def _plain(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces, mesh.normals, colors=np.full((len(mesh.vertices), 3), 90, np.uint8))


def _assert_same_buffers(first: MeshBuffers, second: MeshBuffers) -> None:
    for field in fields(MeshBuffers):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, torch.Tensor):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-6)  # pools scale meshes to unit diameter once more
            assert a.dtype == b.dtype and a.is_contiguous()
        else:
            assert a == b


def _assert_same(first: MeshPool, second: MeshPool) -> None:
    assert isinstance(first.renderer, MeshRenderer) and isinstance(second.renderer, MeshRenderer)
    _assert_same_buffers(first.renderer.buffers, second.renderer.buffers)
    assert first.points.shape == second.points.shape


@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 2), (1, 2), (3, 2), (2, 3), (0, 5)])
@pytest.mark.parametrize("textured", [(True,) * 5, (False,) * 5, (True, False, True, False, True)])
def test_replaced_buffers_are_those_of_the_new_list(
    objects: list[Mesh], first: int, count: int, textured: tuple[bool, ...]
) -> None:
    meshes = [mesh if has else _plain(mesh) for mesh, has in zip(objects, textured, strict=False)]
    new = [_plain(mesh) if i % 2 else mesh for i, mesh in enumerate(objects[5 : 5 + count])]
    replaced = MeshBuffers.from_meshes(meshes, CPU).replaced(first, new)
    meshes[first : first + count] = new
    _assert_same_buffers(replaced, MeshBuffers.from_meshes(meshes, CPU))


def test_meshes_that_are_not_there_cannot_be_replaced() -> None:
    buffers = MeshBuffers.from_meshes([make_object(0), make_object(1)], CPU)
    with pytest.raises(ValueError, match="meshes 1 to 2 are not among the 2"):
        buffers.replaced(1, [make_object(2), make_object(3)])
    pool = MeshPool([make_object(0)], np.zeros((1, 8, 8, 3), np.uint8), CPU)
    with pytest.raises(ValueError, match="2 objects from 0 on do not fit into a pool of 1"):
        pool.replace_objects(0, [make_object(2), make_object(3)])


@pytest.mark.parametrize("step", [0, 9, 10, 25, 40, 130])
def test_a_run_that_is_resumed_has_the_objects_that_it_would_have_had(step: int) -> None:
    with RenewedPool(CONFIG, CPU, progress=False) as went_on:
        for now in range(step + 1):
            went_on.renew(now)
        with RenewedPool(CONFIG, CPU, step, progress=False) as resumed:
            resumed.renew(step)
            _assert_same(went_on.pool, resumed.pool)
            for now in range(step + 1, step + 25):
                went_on.renew(now)
                resumed.renew(now)
            _assert_same(went_on.pool, resumed.pool)


def test_the_oldest_objects_go_first_and_a_fixed_pool_keeps_all() -> None:
    with RenewedPool(CONFIG, CPU, progress=False) as renewed:
        _assert_same(renewed.pool, make_pool(CONFIG, CPU, progress=False))
        before = renewed.pool.points.clone()
        renewed.renew(10)
        changed = (renewed.pool.points != before).any(2).any(1)
        assert changed.tolist() == [True, True, False, False, False]
        renewed.renew(30)  # objects 4 and, around the end, 0
        assert (renewed.pool.points != before).any(2).any(1).all()
    with RenewedPool(replace(CONFIG, renew_every=0), CPU, progress=False) as fixed:
        fixed.renew(1000)
        _assert_same(fixed.pool, make_pool(CONFIG, CPU, progress=False))


def test_a_process_that_is_killed_is_named_and_does_not_keep_the_run_from_ending() -> None:
    with RenewedPool(replace(CONFIG, workers=2), CPU, progress=False) as renewed:
        renewed.renew(10)  # the processes have started
        for process in multiprocessing.active_children():
            process.terminate()  # as `timeout` and `docker stop` do with all processes of a group
            process.join()
        with pytest.raises(TrainingError, match=r"killed.*--pool.workers"):
            renewed.renew(1000)


def test_other_processes_make_the_same_objects_and_end_with_the_pool() -> None:
    with RenewedPool(replace(CONFIG, workers=2), CPU, progress=False) as renewed:
        renewed.renew(45)
        processes = renewed._processes
        assert processes is not None
    assert renewed._processes is None
    with pytest.raises(RuntimeError, match="after shutdown"):
        processes.submit(1)
    with RenewedPool(CONFIG, CPU, 45, progress=False) as expected:
        _assert_same(renewed.pool, expected.pool)


def test_processes_that_train_together_have_objects_of_their_own_and_none_reaches_the_evaluation() -> None:
    pools = [RenewedPool(CONFIG, CPU, rank=rank, ranks=2, progress=False) for rank in range(2)]
    seeds = [{pool._seed(number) for number in range(100)} for pool in pools]
    assert not seeds[0] & seeds[1]
    late = replace(CONFIG, seed=HELD_OUT_SEED - 10)
    with RenewedPool(late, CPU, step=100, progress=False) as renewed:
        assert max(renewed._seed(number) for number in range(500)) == HELD_OUT_SEED - 1


def test_what_the_user_mixed_in_stays(tmp_path: Path) -> None:
    for folder in ("meshes", "images"):
        (tmp_path / folder).mkdir()
    save_mesh(make_object(77), tmp_path / "meshes" / "own.glb")
    Image.new("RGB", (64, 64), (250, 10, 10)).save(tmp_path / "images" / "red.png")
    config = replace(CONFIG, mesh_dir=tmp_path / "meshes", texture_dir=tmp_path / "images", own_share=0.5)
    with RenewedPool(config, CPU, progress=False) as renewed:
        own = renewed.pool.points[config.objects :].clone()
        assert len(own) > 0
        renewed.renew(60)
        assert torch.equal(renewed.pool.points[config.objects :], own)
        with RenewedPool(config, CPU, 60, progress=False) as resumed:
            _assert_same(renewed.pool, resumed.pool)


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(OptionError, match="renew_every is -1 and renewed 50: wanted 0 or more steps"):
        RenewedPool(PoolConfig(renew_every=-1), CPU)
    with pytest.raises(OptionError, match="renewed 0"):
        RenewedPool(PoolConfig(renewed=0), CPU)


def test_processes_that_are_killed_while_they_send_are_not_waited_for() -> None:
    for _ in range(3):
        with ObjectProcesses(make_object, 2) as processes:
            made = [processes.submit(seed) for seed in range(40)]
            made[0].result()
            for process in multiprocessing.active_children():
                process.kill()
            errors = [one.exception(timeout=60) for one in made]
        assert isinstance(errors[-1], TrainingError)


def test_what_goes_wrong_in_a_process_is_raised_where_it_is_asked_for() -> None:
    with ObjectProcesses(_fail, 2) as processes:
        assert isinstance(processes.submit(1).exception(timeout=60), ZeroDivisionError)


def _fail(seed: int) -> Mesh:
    raise ZeroDivisionError(seed)
