"""Spreading scenes over processes and machines with Ray; the results come back to one process, which writes them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pose6d.errors import MissingDependencyError, Pose6DError

if TYPE_CHECKING:
    from pose6d.evaluation.datasets import ImageTargets
    from pose6d.evaluation.results_file import PoseEstimate


ImageResult = TypeVar("ImageResult", covariant=True)


class SceneJob(Protocol[ImageResult]):
    """What each worker makes once."""

    def predict_scene(
        self, images: list[ImageTargets], done: dict[tuple[int, int], list[PoseEstimate]]
    ) -> Iterator[ImageResult]:
        """Results of the images of one scene that are not done, in order."""
        ...


def predict_with_ray(
    make_job: Callable[[], SceneJob[ImageResult]],
    scenes: list[list[ImageTargets]],
    done: dict[tuple[int, int], list[PoseEstimate]],
    workers: int,
    gpus_per_worker: float,
) -> Iterator[ImageResult]:
    """Results of all scenes, image by image, as they come.

    Uses the cluster that RAY_ADDRESS names, else this machine. Each worker makes its job once and takes one scene after
    another; the data set and the program must be at the same place on every machine. Where a worker or machine dies,
    another one goes on with its scene after the last image whose result has come.

    Args:
        make_job: what a worker needs.
        scenes: their images.
        done: rows of images that are finished; those of this run are added.
        workers: how many.
        gpus_per_worker: that Ray reserves.

    Raises:
        MissingDependencyError: Ray is not installed.
        Pose6DError: all workers died.
    """
    with ray_session() as ray:
        spread = ray.remote(num_gpus=gpus_per_worker, scheduling_strategy="SPREAD")(_Worker)
        pool = [spread.remote(make_job) for _ in range(workers)]
        idle, waiting = list(pool), list(scenes)
        running: dict[Any, tuple[Any, list[ImageTargets]]] = {}
        death: Exception | None = None
        try:
            while running or waiting:
                while idle and waiting:
                    worker, images = idle.pop(0), waiting.pop(0)
                    known = {image[:2]: done[image[:2]] for image in images if image[:2] in done}
                    stream = worker.predict_scene.options(num_returns="streaming").remote(images, known)
                    running[stream] = worker, images
                if not running:
                    why = str(death).strip().splitlines()[0]
                    raise Pose6DError(
                        f"all workers died, the last one: {why} What is done is kept, the same command continues"
                    ) from death
                stream = ray.wait(list(running), num_returns=1)[0][0]
                try:
                    result = ray.get(next(stream))
                except StopIteration:
                    idle.append(running.pop(stream)[0])
                except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
                    waiting.insert(0, running.pop(stream)[1])
                    death = error
                else:
                    done[result.image[:2]] = result.rows
                    yield result
        finally:
            for worker in pool:
                ray.kill(worker)


@contextmanager
def ray_session() -> Iterator[Any]:
    """The package ray, connected to the cluster that RAY_ADDRESS names, else started on this machine; ended afterwards,
    unless the caller had started it.

    Raises:
        MissingDependencyError: it is not installed.
        Pose6DError: one that was raised in a process of Ray.
    """
    ray = _import_ray()
    try:
        with _connection(ray):
            yield ray
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Pose6DError):
            raise error.cause from error
        raise


@contextmanager
def _connection(ray: Any) -> Iterator[None]:
    """Started here, and ended, unless there is one."""
    if ray.is_initialized():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(log_to_driver=True, include_dashboard=False)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray takes it for itself
    try:
        yield
    finally:
        ray.shutdown()


class _Worker(Generic[ImageResult]):
    """Runs in a process of Ray."""

    def __init__(self, make_job: Callable[[], SceneJob[ImageResult]]) -> None:
        self._make_job = make_job
        self._job: SceneJob[ImageResult] | None = None

    def predict_scene(self, images: Any, done: Any) -> Iterator[ImageResult]:
        # Made here and not on construction, where Ray would report bad input as the death of a worker.
        self._job = self._job or self._make_job()
        yield from self._job.predict_scene(images, done)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            "several workers need the package ray, which is not installed: pip install 'pose6d[ray]', or --workers 1"
        ) from error
    return ray
