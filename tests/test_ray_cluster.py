"""Predicting with Ray: on two machines, one of which dies in the middle, with a job that kills its workers, and on one.

All its tests are in this file, which one process runs: Ray takes what runs on the machine already for its own.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose6d.errors import Pose6DError, SceneError
from pose6d.evaluation.datasets_bop import BopDataset
from pose6d.evaluation.detections import VisibleMasks
from pose6d.evaluation.prediction import Job, PoseRequest, predict
from pose6d.evaluation.ray_workers import ray_session
from pose6d.evaluation.results_file import HEADER
from pose6d.evaluation.scoring import score
from tests.evaluation_dataset import TrueEstimator, TrueJob, predict_truth, write_dataset

pytestmark = pytest.mark.slow
HERE = Path(__file__).resolve().parent
SCENES, IMAGES = 6, 4
_SMALL = {"num_cpus": 1, "object_store_memory": 80_000_000}
_NOTICE_SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two machines of Ray, of which the second may die."""
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parent)]))
    handler = signal.getsignal(signal.SIGTERM)
    made = Cluster(initialize_head=True, head_node_args={**_SMALL, "_system_config": _NOTICE_SOON})
    made.second = made.add_node(**_SMALL)
    ray.init(address=made.address, log_to_driver=False)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
        signal.signal(signal.SIGTERM, handler)


class LoggedEstimator(TrueEstimator):
    """Writes down on which machine it gave which pose."""

    def __init__(self, dataset: BopDataset, log: Path) -> None:
        super().__init__(dataset, seconds=0.1)
        self.log = log

    def __call__(self, request: PoseRequest) -> np.ndarray:
        import ray

        pose = super().__call__(request)
        node = ray.get_runtime_context().get_node_id()
        with self.log.open("a") as file:  # appended at once, by whatever process
            file.write(f"{node} {request.target.scene_id} {request.target.im_id} {request.target.obj_id}\n")
        return pose


class LoggedJob:
    """Makes a job with a `LoggedEstimator`."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder, self.log = folder, log

    def __call__(self) -> Job:
        dataset = BopDataset(self.folder)
        return Job(dataset, VisibleMasks(dataset), LoggedEstimator(dataset, self.log))


class DeadlyJob:
    """Ends each process that asks for it."""

    def __call__(self) -> Job:
        os._exit(1)


def poses(path: Path) -> list[str]:
    """The rows in order, without the time that they took."""
    lines = path.read_text().splitlines()
    assert lines[0] == HEADER
    return sorted(line.rpartition(",")[0] for line in lines[1:])


def lines_of(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.is_file() else []


def test_a_machine_dies_in_the_middle(cluster: Any, tmp_path: Path) -> None:
    bop, log = write_dataset(tmp_path / "tiny", scenes=SCENES, images=IMAGES), tmp_path / "log.txt"
    predict_truth(bop, tmp_path / "one.csv")
    second = cluster.second.node_id
    died_after: list[int] = []

    def kill() -> None:
        until = time.monotonic() + 120
        while Counter(line[0] for line in lines_of(log))[second] < 4 and time.monotonic() < until:
            time.sleep(0.02)
        died_after.append(len(lines_of(log)))
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = predict(LoggedJob(bop, log), BopDataset(bop).images(), tmp_path / "two.csv", {}, workers=2)
    killer.join()
    assert (summary.predicted, summary.skipped, summary.failures) == (SCENES * IMAGES, 0, {})
    assert poses(tmp_path / "two.csv") == poses(tmp_path / "one.csv")
    nodes = Counter(line[0] for line in lines_of(log))
    wanted = len(poses(tmp_path / "one.csv"))
    assert len(nodes) == 2 and 4 <= nodes[second] < wanted / 2 and died_after[0] < wanted
    # Only the image that was on its way when the machine died is done again: one box and two rods.
    assert wanted <= len(lines_of(log)) <= wanted + 3


def test_a_job_that_kills_all_its_workers_is_said(cluster: Any, tmp_path: Path) -> None:
    bop = write_dataset(tmp_path / "tiny", scenes=2, images=1)
    with pytest.raises(Pose6DError, match=r"all workers died.*the same command continues"):
        predict(DeadlyJob(), BopDataset(bop).images(), tmp_path / "r.csv", {}, workers=2)


def test_the_signal_to_stop_stays_ours_while_ray_runs() -> None:
    """Ray installs a handler of its own, which would end a run without its exit code."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with ray_session() as ray:
            assert ray.is_initialized() and signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        assert not ray.is_initialized()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_two_processes_of_ray_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
    bop = write_dataset(tmp_path / "tiny")
    (tmp_path / "absent").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(repository))
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False)
    try:
        predict_truth(bop, tmp_path / "one.csv")
        lines = (tmp_path / "one.csv").read_text().splitlines(keepends=True)
        (tmp_path / "two.csv").write_text("".join(lines[:4]))
        (tmp_path / "two.csv.settings.json").write_text((tmp_path / "one.csv.settings.json").read_text())
        summary = predict_truth(bop, tmp_path / "two.csv", workers=2)
        assert (summary.skipped, summary.predicted) == (1, 5)  # type: ignore[attr-defined]
        with pytest.raises(SceneError, match="absent has none of test"):
            predict(TrueJob(tmp_path / "absent"), BopDataset(bop).images(), tmp_path / "three.csv", {}, workers=2)
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, handler)  # Ray takes it for itself
    assert poses(tmp_path / "two.csv") == poses(tmp_path / "one.csv")
    assert score(BopDataset(bop), tmp_path / "two.csv")["AR"] == pytest.approx(1, abs=1e-9)
