"""Functions as CUDA graphs: the same results, for other values and other shapes."""

from __future__ import annotations

import gc

import pytest
import torch

from pose6d.search.cuda_graphs import Recorder, side_by_side
from pose6d.search.device_runner import DeviceRunner

pytestmark = pytest.mark.cuda


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(torch.device("cuda", torch.cuda.current_device()))


def multiply(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (x @ y).relu(), x.sum()[None]


def test_a_recorded_function_follows_its_inputs(recorder: Recorder) -> None:
    y = torch.randn(8, 8, device="cuda")
    found = []
    for _ in range(4):
        x = torch.randn(8, 8, device="cuda")
        found.append((recorder("multiply", multiply, [x, y]), multiply(x, y)))
    for result, expected in found:  # and none changes with the next
        torch.testing.assert_close(result, expected)


def test_what_runs_once_is_not_recorded(recorder: Recorder) -> None:
    calls = []

    def counted(x: torch.Tensor) -> tuple[torch.Tensor]:
        calls.append(torch.cuda.is_current_stream_capturing())
        return (x + 1,)

    x = torch.zeros(3, device="cuda")
    recorder("counted", counted, [x])
    assert calls == [False]
    recorder("counted", counted, [x])
    assert calls[-1]
    recorded = len(calls)
    recorder("counted", counted, [x])
    assert len(calls) == recorded


def test_branches_give_in_a_graph_what_they_give_in_turn(recorder: Recorder) -> None:
    def branches(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        def turn(y: torch.Tensor) -> torch.Tensor:
            wave, (other, mean), sums = side_by_side(
                lambda: (y @ y).cos(),
                lambda: side_by_side(lambda: (y @ y.T).sin(), lambda: (y + 1).exp().mean(0, keepdim=True)),
                lambda: y.cumsum(0) / len(y),
            )
            return wave + other * mean - sums

        for _ in range(3):  # memory of one fork is used again by the next
            x = turn(x)
        return (x,)

    for _ in range(6):
        x = torch.rand(300, 300, device="cuda")
        torch.testing.assert_close(recorder("branches", branches, [x])[0], branches(x)[0])


def test_inputs_may_lie_in_page_locked_memory_of_the_host(recorder: Recorder) -> None:
    x, y = torch.randn(2, 8, 8)
    for scale in (1.0, 3.0, -2.0):
        given = [(scale * x).pin_memory(), y.pin_memory()]
        found, _ = recorder("multiply", multiply, given)
        torch.testing.assert_close(found.cpu(), (scale * x @ y).relu(), atol=1e-5, rtol=1e-5)


def test_other_shapes_are_recorded_anew(recorder: Recorder) -> None:
    for size in (8, 8, 5, 5, 8, 8):
        x, y = torch.randn(2, size, size, device="cuda")
        torch.testing.assert_close(recorder("multiply", multiply, [x, y]), multiply(x, y))


def test_batches_of_named_sizes_keep_a_graph_each() -> None:
    runner, calls = DeviceRunner(torch.device("cuda", torch.cuda.current_device()), ()), []

    def double(x: torch.Tensor) -> tuple[torch.Tensor]:
        calls.append(len(x))
        return (2 * x,)

    for _ in range(4):
        for count in (1, 4):
            x = torch.arange(count, dtype=torch.float32)
            torch.testing.assert_close(runner.run(double, [x], size=count)[0].cpu(), 2 * x)
    once = len(calls)
    runner.run(double, [torch.zeros(4)], size=4)
    runner.run(double, [torch.zeros(1)], size=1)
    assert len(calls) == once


def test_two_functions_share_memory_and_not_results(recorder: Recorder) -> None:
    def add(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor]:
        return ((x + y) * 2,)

    x, y = torch.randn(2, 64, 64, device="cuda")
    for _ in range(4):
        product, total = recorder("multiply", multiply, [x, y])
        (double,) = recorder("add", add, [x, y])
        torch.testing.assert_close((product, total), multiply(x, y))
        torch.testing.assert_close(double, (x + y) * 2)
        x = x + 1


def test_many_functions_need_the_memory_of_one(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    def spread(x: torch.Tensor) -> tuple[torch.Tensor]:
        return ((x[:, None] * x).sum(1),)

    def reserved() -> int:
        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved()

    x = torch.randn(4096, device="cuda")  # 64 MiB of products
    for _ in range(2):
        recorder("first", spread, [x])
    before = reserved()
    for i in (0, 0, 1, 1, 2, 2, 3, 3):
        recorder(i, spread, [x])
    assert reserved() - before < 64 << 20
    assert "without a CUDA graph" not in caplog.text


def test_a_function_that_waits_for_the_device_still_runs(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    def step(x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x * float(x.sum()),)

    x = torch.ones(3, device="cuda")
    for _ in range(3):
        torch.testing.assert_close(recorder("waits", step, [x]), (torch.full_like(x, 3.0),))
    assert "without a CUDA graph" in caplog.text
    assert torch.rand(3, device="cuda").std() > 0  # random numbers may still be drawn


def test_after_one_recording_failed_others_are_recorded(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    test_a_function_that_waits_for_the_device_still_runs(recorder, caplog)
    caplog.clear()
    test_a_recorded_function_follows_its_inputs(recorder)
    assert "without a CUDA graph" not in caplog.text


def test_graphs_of_branches_may_all_go_before_another_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        recorder = Recorder(torch.device("cuda", torch.cuda.current_device()))
        test_branches_give_in_a_graph_what_they_give_in_turn(recorder)
        del recorder
        gc.collect()
    assert "without a CUDA graph" not in caplog.text
