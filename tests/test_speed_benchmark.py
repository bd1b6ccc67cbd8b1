"""The speed benchmark: it times what it says, counts what it says, and its files hold it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.accuracy.scenes import ScenePool
from benchmarks.speed import cold_start, fresh_process
from benchmarks.speed.__main__ import MEASURE, main, run
from benchmarks.speed.arithmetic import CountingRefiner, count_flops, image_flops, network_flops
from benchmarks.speed.bench import Bench, Table
from benchmarks.speed.frames import TimedFrame, cluttered_frame, group_frame, lumpy_body
from benchmarks.speed.options import SECTIONS, Options
from benchmarks.speed.report import panels, read_tables, table_lines, write_tables
from benchmarks.speed.sections import _stage_rows
from benchmarks.speed.speed_plot import Bars, Curves, write_speed_plot
from benchmarks.speed.timing import median, percentiles, time_calls
from estimater import FoundationPose
from learning.models.config import NetworkConfig
from learning.models.loading import build_network
from learning.models.refine_network import RefineNet
from pose6d.errors import Pose6DError
from pose6d.mesh.mesh import Mesh
from pose6d.search.interfaces import Hypotheses
from pose6d.weights import save_weights

SMALL = {"width": 2, "input_size": 16}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained small networks, as a folder of weights, which never doubt: no schedule falls back to the full one."""
    folder = tmp_path_factory.mktemp("weights") / "small"
    for kind in ("refiner", "scorer"):
        torch.manual_seed(0)
        config = NetworkConfig(kind=kind, confidence=kind == "scorer", confidence_offset=20.0, **SMALL)
        save_weights(folder, kind, build_network(config).state_dict(), config.to_dict())
    return folder


@pytest.fixture
def options(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """As little as possible of everything, of small bodies in an empty frame."""

    def bodies(folder: Path | None, count: int) -> list[Mesh]:
        return [lumpy_body(400, 0.1 + 0.01 * i, seed=i) for i in range(count)]

    def frame(pool: ScenePool, width: int, height: int) -> TimedFrame:
        return group_frame(bodies(None, 1), width, height)

    monkeypatch.setattr("benchmarks.speed.bench.load_objects", bodies)
    monkeypatch.setattr("benchmarks.speed.bench.cluttered_frame", frame)
    monkeypatch.setattr("benchmarks.speed.arithmetic._SIDE", {"cpu": 64})
    return Options(
        device="cpu",
        weights=str(weights),
        register_iterations=2,
        repeats=1,
        objects=(1, 2),
        image_sizes=("160x120", "320x240"),
        mesh_faces=(100, 1000),
        hypotheses=(2, 5),
        piece_hypotheses=3,
    )


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What belongs into a fresh process runs in this one."""
    monkeypatch.setattr(fresh_process, "_run", lambda request: fresh_process._inside(request, 0.0))
    monkeypatch.setattr(cold_start, "_import_seconds", lambda: 1.25)


def test_one_command_measures_everything_and_leaves_numbers_tables_and_figure(
    options: Options, in_this_process: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "speed.json"
    main(replace(options, schedules=("pruned",), output=file))
    printed = capsys.readouterr().out
    tables, facts = read_tables(file)
    assert list(tables) == list(SECTIONS) == list(MEASURE) and all(table.rows for table in tables.values())
    assert facts["commit"] and facts["weights"] == "small" and "400 faces, textured" in facts["object"]
    assert facts["options"]["repeats"] == 1 and set(facts["seconds"]) == {*SECTIONS, "all"}
    assert file.with_suffix(".md").read_text() in printed
    for row in [*tables["register"].rows, *tables["track"].rows]:
        assert 0 < row["p10 ms"] <= row["p50 ms"] <= row["p90 ms"]
    assert [row["objects"] for row in tables["objects"].rows] == [1, 2]
    assert [row["faces"] for row in tables["mesh sizes"].rows] == [100, 1000]
    assert [row["image"] for row in tables["image sizes"].rows] == ["160x120", "320x240"]
    assert all(row["register MiB"] >= 0 and row["before register MiB"] > 50 for row in tables["image sizes"].rows)
    assert [(row["hypotheses"], row["pairs"]) for row in tables["hypotheses"].rows] == [(2, 4), (5, 10)]
    assert tables["cold start"].rows[0]["seconds"] == 1.25
    assert "first register" in [row["step"] for row in tables["cold start"].rows]
    with Image.open(file.with_suffix(".png")) as picture:
        assert picture.width > picture.height > 800  # three rows of three


def test_arithmetic_of_a_registration_is_that_of_its_pairs(options: Options) -> None:
    tables, _ = run(replace(options, sections=("register",), schedules=("full", "pruned")))
    full, pruned = tables["register"].rows
    assert (full["pairs refined"], full["pairs scored"]) == (252 * 2, 252) and full["times full"] == 1.0
    assert (pruned["pairs refined"], pruned["pairs scored"]) == (60 + 12, 60 + 12) and pruned["confidence"] > 0.99
    refined, shared = network_flops(NetworkConfig(**SMALL), 1), image_flops(NetworkConfig(**SMALL))
    scored = network_flops(NetworkConfig(kind="scorer", confidence=True, **SMALL), 252)
    assert full["TFLOP"] == pytest.approx(1e-12 * (504 * refined - 251 * shared + scored))
    assert full["TFLOP/s"] == pytest.approx(1e3 * full["TFLOP"] / full["p50 ms"])


def test_turns_of_a_textured_object_are_counted(options: Options, weights: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(weights, tmp_path / "small")
    config = json.loads((folder / "scorer.json").read_text())
    (folder / "scorer.json").write_text(json.dumps({**config, "appearance_weight": 3.0}))
    tables, _ = run(replace(options, weights=str(folder), sections=("register",), schedules=("pruned",)))
    (pruned,) = tables["register"].rows
    assert (pruned["pairs refined"], pruned["pairs scored"]) == (60 + 12 + 9 + 5 * 2, 60 + 12 + 9 + 5)


def test_flops_of_known_layers() -> None:
    conv, linear = torch.nn.Conv2d(3, 8, 3, padding=1, stride=2), torch.nn.Linear(5, 7)
    assert count_flops(lambda: conv(torch.zeros(2, 3, 10, 12))) == 2 * (2 * 8 * 5 * 6) * (3 * 3 * 3)
    assert count_flops(lambda: linear(torch.zeros(4, 5))) == 2 * 4 * 5 * 7
    query = torch.zeros(1, 2, 6, 4)
    attention = count_flops(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query))
    assert attention == 2 * (2 * 2 * 6 * 6 * 4)  # two products for each of two heads


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_flops_of_a_network_grow_with_its_pairs_and_need_no_device(device: str) -> None:
    config = NetworkConfig(**SMALL)
    with torch.device(device):
        network, image = build_network(config).eval().to(device), torch.empty(1, 6, 16, 16)
    assert network_flops(config, 1) == count_flops(lambda: network(image, image))
    assert network_flops(config, 10) == 10 * network_flops(config, 1)


class _Standing:
    def predict(self, hypotheses: Hypotheses, *_: object) -> torch.Tensor:
        return hypotheses.poses


def test_flops_of_shared_images_count_once() -> None:
    config = NetworkConfig(**SMALL)
    network, images = build_network(config).eval(), torch.empty(6, 6, 16, 16)
    assert isinstance(network, RefineNet)
    once, each = (count_flops(lambda n=n: network.refine(images[:n], 3)) for n in (4, 6))
    assert each - once == 2 * image_flops(config)
    refiner = CountingRefiner(_Standing())
    for shared in (True, False):
        refiner.predict(Hypotheses(torch.eye(4).expand(5, 4, 4), shared_window=shared), None, None, 3)
    assert (refiner.pairs, refiner.shared) == (30, 4)


def test_warm_ups_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    durations = iter([9.0, 9.0, 1.0, 2.0, 3.0])

    def call() -> None:
        clock.now += next(durations)

    monkeypatch.setattr("benchmarks.speed.timing.time.perf_counter", lambda: clock.now)
    milliseconds = time_calls(call, repeats=3, warm_ups=2)
    np.testing.assert_allclose(milliseconds, [1000, 2000, 3000])
    assert percentiles(milliseconds) == pytest.approx({"p10 ms": 1200, "p50 ms": 2000, "p90 ms": 2800})
    durations = iter([5.0, 4.0])
    assert median(call, 1, warm_ups=1) == pytest.approx(4000)


def test_stages_tell_where_the_time_goes(options: Options) -> None:
    rows = MEASURE["stages"](Bench(options)).rows
    for what in ("register", "track"):
        inside = [row for row in rows if row["of"].startswith(what)]
        assert {"check", "filter depth", "refine"} <= {row["stage"] for row in inside}
        *parts, whole = inside
        assert whole["stage"] == "all" and 0 < sum(row["ms"] for row in parts) <= whole["ms"]
    pieces = {row["stage"]: row for row in rows if row["of"] == "piece by itself"}
    assert {"render 3 of 16x16", "crop 3 of the frame, plain", "refiner network, 3 pairs"} <= set(pieces)
    network = pieces["refiner network, 3 pairs"]
    flops = network_flops(NetworkConfig(**SMALL), 3)
    assert network["TFLOP/s"] == pytest.approx(1e-9 * flops / network["ms"]) and "TFLOP/s" not in rows[0]


def test_stages_add_up_whichever_of_them_was_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    # In every call another stage is quick: the medians of the stages, 8 each, add up to more than such a call takes.
    calls = iter(
        [
            {"a": 50.0},  # the warm-up
            {"a": 8.0, "b": 8.0, "c": 1.0},
            {"a": 8.0, "b": 1.0, "c": 8.0},
            {"a": 1.0, "b": 8.0, "c": 8.0},
            {"a": 99.0, "b": 8.0, "c": 8.0},  # beside other work
            {"a": 1.0, "b": 1.0},  # a stage that does not always come
        ]
    )
    clock, estimator = SimpleNamespace(now=0.0), SimpleNamespace(timings={})

    def call() -> None:
        estimator.timings = next(calls)
        clock.now += sum(estimator.timings.values())

    monkeypatch.setattr("benchmarks.speed.timing.time.perf_counter", lambda: clock.now)
    *parts, whole = _stage_rows("register", cast(FoundationPose, estimator), call, repeats=5, warm_ups=1)
    assert whole == {"of": "register", "stage": "all", "ms": pytest.approx(17_000), "share %": 100}
    assert {row["stage"]: row["ms"] for row in parts} == pytest.approx(dict.fromkeys("abc", 17_000 / 3))
    assert sum(cast(float, row["share %"]) for row in parts) == pytest.approx(100)


@pytest.mark.slow
def test_a_fresh_process_finds_a_pose(options: Options) -> None:
    bench = Bench(options)
    seconds = fresh_process.first_pose(bench, bench.frame(), runs=1)
    assert seconds["all"] == pytest.approx(sum(s for step, s in seconds.items() if step != "all"), rel=0.05)
    assert seconds["Python and imports"] > 0.1


def test_bodies_have_the_faces_asked_for_and_one_shape() -> None:
    volumes = []
    for faces in (100, 1000, 20_000):
        mesh = lumpy_body(faces, diameter=0.3)
        assert len(mesh.faces) == faces and mesh.diameter == pytest.approx(0.3) and mesh.texture is not None
        a, b, c = np.moveaxis(mesh.vertices.astype(np.float64)[mesh.faces], 1, 0)
        cross = np.cross(b - a, c - a)
        assert np.linalg.norm(cross, axis=1).min() > 0  # no triangle is a line
        volumes.append((a * cross).sum() / 6)
        _, welded = np.unique(mesh.vertices.round(5), axis=0, return_inverse=True)
        corners = welded.reshape(-1)[mesh.faces]
        edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
        assert len(np.unique(edges, axis=0)) == len(edges)  # closed: each edge once in each direction
        assert {tuple(edge) for edge in edges} == {tuple(edge[::-1]) for edge in edges}
    assert min(volumes) > 0 and volumes[1] == pytest.approx(volumes[2], rel=0.05)


def test_objects_of_a_group_are_seen_where_their_poses_say() -> None:
    meshes = [lumpy_body(400, 0.1 + 0.02 * i) for i in range(6)]
    frame = group_frame(meshes)
    assert frame.masks.shape == (6, 480, 640) and frame.masks.sum(axis=0).max() == 1
    for mesh, mask, truth in zip(meshes, frame.masks, frame.truths, strict=True):
        assert mask.sum() > 2000
        center = frame.K @ (truth[:3, :3] @ mesh.center + truth[:3, 3])
        rows, columns = np.nonzero(mask)
        np.testing.assert_allclose(center[:2] / center[2], [columns.mean(), rows.mean()], atol=25)
        assert abs(np.median(frame.depth[mask]) - center[2]) < mesh.diameter
    assert (frame.depth > 0).all() and frame.depth[~frame.masks.any(axis=0)].min() == frame.depth.max()


def test_a_larger_frame_shows_the_same_scene() -> None:
    pool = ScenePool.from_meshes([lumpy_body(400)])
    small, large = (cluttered_frame(pool, width, height) for width, height in ((160, 120), (320, 240)))
    assert large.rgb.shape == (240, 320, 3) and large.masks.shape == (1, 240, 320) and large.size == "320x240"
    assert large.masks.sum() / small.masks.sum() == pytest.approx(4, rel=0.1)
    np.testing.assert_allclose(large.truths, small.truths, atol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"schedules": ("ful",)}, {"image_sizes": ("640:480",), "sections": ("image sizes",)}]
)
def test_wrong_words_are_named(options: Options, wrong: dict[str, Any]) -> None:
    with pytest.raises(Pose6DError, match=r"ful|640:480"):
        run(replace(options, **wrong))


def test_a_file_is_printed_and_drawn_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"schedule": "full", "p10 ms": 80.0, "p50 ms": 87.5, "p90 ms": 91.0}]
    file = tmp_path / "speed.json"
    write_tables(file, {"register": Table(rows, "why")}, {"device": "a GPU", "commit": "abc"})
    main(Options(from_json=file))
    printed = capsys.readouterr().out
    assert "a GPU" in printed and "87.5" in printed and file.with_suffix(".md").read_text() in printed
    with Image.open(file.with_suffix(".png")) as picture:
        assert picture.width > 400


@pytest.mark.parametrize("content", ["", "{}", '{"sections": {"track": {"unknown": 1}}}', '{"sections": 3}'])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    with pytest.raises(Pose6DError, match=r"other\.json"):
        main(Options(from_json=file))


def test_tables_line_up_and_leave_out_what_is_missing(tmp_path: Path) -> None:
    rows = [{"what": "one", "ms": 1234.5}, {"what": "three", "ms": 0.01234, "gain": 2}]
    assert table_lines(rows) == [
        "| what  |     ms | gain |",
        "|-------|-------:|-----:|",
        "| one   |   1234 |      |",
        "| three | 0.0123 |    2 |",
        "",
    ]
    write_tables(tmp_path / "a.json", {"x": Table(rows, "why")}, {"commit": "abc"})
    assert read_tables(tmp_path / "a.json") == ({"x": Table(rows, "why")}, {"commit": "abc"})
    assert json.loads((tmp_path / "a.json").read_text())["sections"]["x"]["rows"] == rows


def test_the_figure_holds_the_panels(tmp_path: Path) -> None:
    table = Table([{"faces": n, "register p50 ms": 2.0 * n, "track p50 ms": 1.0} for n in (1000, 1_000_000)])
    (drawn,) = panels({"mesh sizes": table})
    assert isinstance(drawn, Curves) and drawn.curves == {"register": [2000.0, 2e6], "track": [1.0, 1.0]}
    write_speed_plot(tmp_path / "one.png", [drawn], "title")
    bars = Bars("bars", {"full": 3.0, "pruned": 1.0}, {"full": (2.0, 4.0)})
    write_speed_plot(tmp_path / "four.png", [drawn, bars, bars, bars], "title")
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "four.png") as four:
        assert four.width > 2 * one.width and four.height > 1.5 * one.height
