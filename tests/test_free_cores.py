"""Threads follow the cores that others leave free, and PyTorch's own setting comes back."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
import torch

from estimater import FoundationPose
from pose6d.free_cores import FreeCores, available_seconds, one_thread
from pose6d.search import device_runner
from tests.estimater_scene import K, random_networks, render_scene
from tests.rendering_scenes import random_poses, torus

LOOK = FreeCores.look  # the tests' session replaces it


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(FreeCores, "look", LOOK)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_one_thread_inside_and_all_again_after_an_error() -> None:
    threads = []
    with suppress(MemoryError), one_thread():
        threads.append(torch.get_num_threads())
        raise MemoryError
    assert [*threads, torch.get_num_threads()] == [1, 4]


class Machine:
    """Time that passes when told, with so many cores free."""

    def __init__(self) -> None:
        self.now = self.seconds = 0.0
        self.cores = FreeCores(lambda: self.seconds, lambda: self.now)

    def threads_after(self, free: float, span: float = 0.25) -> int:
        self.now += span
        self.seconds += free * span
        self.cores.look()
        return torch.get_num_threads()


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize(
    ("free", "threads"), [(4.0, 4), (3.8, 4), (3.5, 3), (2.0, 2), (1.49, 1), (0.6, 1), (0.0, 1), (9.0, 4)]
)
def test_as_many_threads_as_cores_are_free(free: float, threads: int, machine: Machine) -> None:
    with machine.cores:
        assert torch.get_num_threads() == 4  # nothing is known yet
        assert machine.threads_after(free) == threads
    assert torch.get_num_threads() == 4


def test_threads_come_back_when_others_end(machine: Machine) -> None:
    with machine.cores:
        assert [machine.threads_after(free) for free in (1.0, 2.9, 4.0)] == [1, 3, 4]


def test_what_was_found_holds_in_the_next_call(machine: Machine) -> None:
    with machine.cores:
        machine.threads_after(2.0)
    assert torch.get_num_threads() == 4
    with machine.cores:
        assert torch.get_num_threads() == 2


def test_a_short_time_tells_nothing(machine: Machine) -> None:
    with machine.cores:
        assert machine.threads_after(0.0, span=0.05) == 4
        machine.now += 60  # a pause in which nobody measured
    with machine.cores:
        assert machine.threads_after(0.0, span=0.05) == 4


def test_the_users_own_number_is_the_most(machine: Machine) -> None:
    torch.set_num_threads(2)
    with machine.cores:
        assert machine.threads_after(4.0) == 2
        assert machine.threads_after(1.0) == 1
    assert torch.get_num_threads() == 2


def test_where_nobody_tells_all_threads_work() -> None:
    cores, now = FreeCores(lambda: None, lambda: now[0]), [0.0]
    with cores:
        now[0] = 1.0
        cores.look()
        assert torch.get_num_threads() == 4


def test_the_number_comes_back_after_an_error(machine: Machine) -> None:
    def fail() -> None:
        with machine.cores:
            machine.threads_after(1.0)
            raise ValueError("bad frame")

    with pytest.raises(ValueError, match="bad frame"):
        fail()
    assert torch.get_num_threads() == 4


def test_estimators_follow(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_runner, "FreeCores", lambda: machine.cores)
    scene = render_scene(torus(), random_poses(1, 0.6)[0])
    estimator = FoundationPose(scene.mesh, **random_networks())
    torch.set_num_threads(2)
    used: list[int] = []

    def watched(done: int, total: int) -> None:
        machine.now, machine.seconds = machine.now + 0.25, machine.seconds + 0.25  # one core is free
        used.append(torch.get_num_threads())

    estimator.register(K, scene.rgb, scene.depth, scene.mask, 1, progress=watched)
    assert used[0] == 2 and set(used[2:]) == {1}
    assert torch.get_num_threads() == 2


def test_tracking_measures_too(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    cores = FreeCores(lambda: 0.25 * next(ticks), lambda: 0.25 * next(ticks))  # time passes, and half of it is free
    monkeypatch.setattr(device_runner, "FreeCores", lambda: cores)
    scene = render_scene(torus(), random_poses(1, 0.6)[0])
    estimator = FoundationPose(scene.mesh, **random_networks())
    torch.set_num_threads(2)
    estimator.start_from(scene.truth)
    estimator.track_one(scene.rgb, scene.depth, K)
    assert torch.get_num_threads() == 2
    with cores:
        assert torch.get_num_threads() == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_busy_processes_leave_less() -> None:
    """A process that computes takes a core's worth; measured while this one sleeps."""

    def free_while_asleep() -> float:
        start, before = time.perf_counter(), available_seconds()
        time.sleep(0.5)
        after = available_seconds()
        assert before is not None and after is not None
        return (after - before) / (time.perf_counter() - start)

    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        time.sleep(0.3)
        beside_two = np.median([free_while_asleep() for _ in range(3)])
    finally:
        for process in busy:
            process.kill()
            process.wait()
    cores = len(os.sched_getaffinity(0))
    assert beside_two <= cores - 1.0
