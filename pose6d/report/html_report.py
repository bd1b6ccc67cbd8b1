"""One page about one run that needs no network and no other file: pictures, charts, a 3-D view, times, settings."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from pose6d.evaluation.record import LIKELY
from pose6d.report.comparison import PoseComparison, centers, euler_degrees, nearest_turn, unwrap_degrees
from pose6d.report.result_writer import ResultWriter
from pose6d.report.run_facts import RunFacts
from pose6d.report.run_record import RunRecord
from pose6d.report.scene_view import view_data
from pose6d.report.video import shrink_video
from pose6d.whole_file import write_whole

_PAGE_BYTES = 14_500_000
_VIDEO_BYTES = 8_000_000
_MOST_FRAMES = 10_000  # of a longer recording, every second, third, ... frame is shown
_SCRIPTS = ("charts.js", "view3d.js", "page.js")


def write_html_report(
    path: Path,
    facts: RunFacts,
    record: RunRecord,
    writer: ResultWriter,
    seconds: Mapping[str, float],
    comparison: PoseComparison | None,
) -> Path:
    """Write the page of a run.

    Args:
        path: the .html to write.
        facts: settings, machine, warnings.
        record: poses, failures and times; it holds at least one pose.
        writer: which has drawn the frames.
        seconds: when each frame was taken, by name.
        comparison: with the ground truth; None where the run has none.

    Returns:
        `path`.

    Raises:
        OutputError: it cannot be written.
    """
    assert writer.first is not None  # a run without one frame ends in an error before this
    pictures = _pictures(writer.key_frames.pictures)
    data = json_for_page(page_data(facts, record, writer, seconds, comparison))
    room = (_PAGE_BYTES - len(data) - len(pictures)) * 3 // 4  # in base64, 3 bytes are 4 characters
    video = shrink_video(writer.video, min(_VIDEO_BYTES, room)) if writer.video else b""
    machine = facts.machine()
    page = Template(_resource("page.html")).substitute(
        title=escape(facts.scene.path.resolve().name),
        description=escape(f"{facts.scene.description[:1].upper()}{facts.scene.description[1:]}"),
        made=escape(machine["made"]),
        style=_resource("page.css"),
        scripts="\n".join(_resource(name) for name in _SCRIPTS),
        tiles=_tiles(record, comparison),
        note=_note(comparison.symmetry_note if comparison else ""),
        warnings=_warnings(facts, record, comparison),
        times=_times(record),
        settings=_definitions({name: _describe(value) for name, value in facts.settings.items()}),
        machine=_definitions(machine),
        pictures=pictures,
        size=f"{writer.first.rgb.shape[1]} / {writer.first.rgb.shape[0]}",
        truth="with-truth" if comparison else "without-truth",
        drawn="" if writer.compare and comparison else "hidden",
        video=base64.b64encode(video).decode("ascii"),
        data=data,
    )
    write_whole(path, page)
    return path


def page_data(
    facts: RunFacts,
    record: RunRecord,
    writer: ResultWriter,
    seconds: Mapping[str, float],
    comparison: PoseComparison | None,
) -> dict[str, Any]:
    """What the page's scripts show; arguments as for `write_html_report`."""
    assert writer.first is not None
    names = list(record.poses)
    poses = np.stack([record.poses[name] for name in names]).astype(np.float64)
    truths = _truths_by_frame(names, comparison)
    step = -(-len(names) // _MOST_FRAMES)
    charts = chart_data(names, poses, writer.mesh.center, comparison)
    for series in (series for chart in charts for series in chart["series"]):
        series["values"] = series["values"][::step]
    return {
        "names": names[::step],
        "seconds": [round(seconds[name], 4) for name in names[::step]],
        "charts": charts,
        "videoFps": writer.video_fps / step,
        "keyFrames": [names.index(name) // step for name, _ in writer.key_frames.pictures],
        "view": view_data(
            writer.mesh, writer.first, poses[::step], None if truths is None else truths[::step], facts.moving
        ),
    }


def chart_data(
    names: list[str], poses: np.ndarray, center: np.ndarray, comparison: PoseComparison | None
) -> list[dict[str, Any]]:
    """The charts in the order of the page: each has group, title, unit and series of one value or None per frame.

    Args:
        names: of the N frames with a pose.
        poses: (N, 4, 4) object in camera, metres.
        center: (3,) the point of the object whose place is shown.
        comparison: of those of the frames that have ground truth; or None.
    """
    index = {name: i for i, name in enumerate(names)}
    rows = [index[name] for name in comparison.names] if comparison else []

    def fill(values: np.ndarray) -> np.ndarray:
        full = np.full((len(names), *values.shape[1:]), np.nan)
        full[rows] = values
        return full

    place, angles = 100 * centers(poses, np.asarray(center, dtype=np.float64)), unwrap_degrees(euler_degrees(poses))
    true_place = true_angles = None
    if comparison:
        true_place = fill(100 * centers(comparison.truths, comparison.center))
        true_angles = fill(nearest_turn(euler_degrees(comparison.truths), angles[rows]))
    charts = []
    for what, unit, estimate, truth in (
        ("Translation", "cm", place, true_place),
        ("Rotation about", "°", angles, true_angles),
    ):
        for i, axis in enumerate("XYZ"):
            series = [] if truth is None else [_series("ground truth", "truth", truth[:, i])]
            series.append(_series("prediction", "prediction", estimate[:, i]))
            charts.append(_chart("pose", f"{what} {axis}", unit, series))
    if comparison:
        for what, unit, errors in (
            ("Translation error", "mm", fill(np.abs(comparison.translation_mm))),
            ("Rotation error about", "°", fill(np.abs(comparison.euler_deg))),
        ):
            for i, axis in enumerate("XYZ"):
                series = [_series("error", "prediction", errors[:, i])]
                charts.append(_chart("error", f"{what} {axis}", unit, series))
        add = _series("ADD", "prediction", fill(comparison.add_mm))
        add_s = _series("ADD-S", "other", fill(comparison.adds_mm))
        charts.append(_chart("error", "ADD and ADD-S", "mm", [add, add_s]))
        angle = _series("angle", "prediction", fill(comparison.angle_deg))
        charts.append(_chart("error", "Geodesic angle", "°", [angle]))
    return charts


def json_for_page(data: Any) -> str:
    """JSON that may stand inside a script element: nothing in it can end the element."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _chart(group: str, title: str, unit: str, series: list[dict[str, Any]]) -> dict[str, Any]:
    return {"group": group, "title": title, "unit": unit, "series": series}


def _series(name: str, role: str, values: np.ndarray) -> dict[str, Any]:
    return {"name": name, "role": role, "values": [round(float(v), 4) if np.isfinite(v) else None for v in values]}


def _truths_by_frame(names: list[str], comparison: PoseComparison | None) -> np.ndarray | None:
    if comparison is None:
        return None
    known = dict(zip(comparison.names, comparison.truths, strict=True))
    return np.stack([known.get(name, np.full((4, 4), np.nan)) for name in names])


def _tiles(record: RunRecord, comparison: PoseComparison | None) -> str:
    failed = f"{len(record.failures)} could not be used" if record.failures else "none left out"
    tiles = [("Frames with a pose", f"{len(record.poses)}", failed)]
    if "register" in record.seconds:
        tiles.append(("First frame", f"{record.seconds['register']:.2f} s", "to find the object"))
    if record.tracked and record.seconds.get("track"):
        each = 1000 * record.seconds["track"] / record.tracked
        tiles.append(
            ("Tracking", f"{each:.0f} ms" if each >= 10 else f"{each:.1f} ms", f"{1000 / each:.1f} per second")
        )
    for name, found in record.alternatives.items():
        if found:
            others = [f"{probability:.2f}" for _, probability in list(found)[1:] if probability > LIKELY]
            more = f"other poses {', '.join(others)}" if others else "no other pose is likely"
            tiles.append((f"Confidence, frame {name}", f"{found[0][1]:.2f}", more))
    if comparison:
        axes, turns = (np.abs(e).mean(axis=0) for e in (comparison.translation_mm, comparison.euler_deg))
        distance = np.linalg.norm(comparison.translation_mm, axis=1).mean()
        within = 100 * (comparison.add_mm < 100 * comparison.diameter).mean()
        tiles += [
            ("Translation error", f"{distance:.2f} mm", _per_axis(axes)),
            ("Rotation error", f"{comparison.angle_deg.mean():.2f}°", _per_axis(turns)),
            ("ADD", f"{comparison.add_mm.mean():.2f} mm", f"{within:.0f} % below 0.1 diameters"),
        ]
    return "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>'
        for name, value, more in tiles
    )


def _note(text: str) -> str:
    return f'<p class="quiet">{escape(text[0].upper() + text[1:])}.</p>' if text else ""


def _per_axis(values: np.ndarray) -> str:
    return ", ".join(f"{axis} {value:.2f}" for axis, value in zip("xyz", values, strict=True))


def _warnings(facts: RunFacts, record: RunRecord, comparison: PoseComparison | None) -> str:
    texts = list(facts.warnings)
    texts += [f"Frame {name} was left out: {message}" for name, message in record.failures.items()]
    texts += [f"{note[:1].upper()}{note[1:]}." for note in record.lost_note()]
    if record.interrupted:
        texts.append("The run was interrupted; this is what it had done.")
    if comparison and comparison.steep_frames:
        texts.append(
            f"In {comparison.steep_frames} frame(s) the rotation about Y is near 90°, where X and Z turn about the "
            "same axis: read the geodesic angle instead."
        )
    if not texts:
        return '<p class="quiet">No warnings.</p>'
    shown = "".join(f"<li>{escape(text)}</li>" for text in texts[:50])
    return f'<ul class="warnings">{shown}</ul>' + (f"<p>and {len(texts) - 50} more</p>" if len(texts) > 50 else "")


def _times(record: RunRecord) -> str:
    """Rows of a table, the longest bar for the longest stage, each followed by the steps inside it."""
    longest = max(record.seconds.values(), default=1.0) or 1.0
    rows = []
    for stage, seconds in record.seconds.items():
        rows.append(_time_row(stage, seconds, longest, "outer"))
        rows += [_time_row(step, value, longest, "inner") for step, value in record.details.get(stage, {}).items()]
    return "".join(rows)


def _time_row(name: str, seconds: float, longest: float, kind: str) -> str:
    bar = f'<span class="bar" style="width:{100 * min(seconds / longest, 1):.1f}%"></span>'
    duration = f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"
    return f'<tr class="{kind}"><th scope="row">{escape(name)}</th><td>{duration}</td><td>{bar}</td></tr>'


def _definitions(values: Mapping[str, Any]) -> str:
    return "".join(f"<div><dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd></div>" for k, v in values.items())


def _describe(value: Any) -> str:
    if value is None:
        return "not set"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _pictures(pictures: list[tuple[str, bytes]]) -> str:
    return "".join(
        f'<button type="button" aria-label="Go to frame {escape(name)}">'
        f'<img alt="Frame {escape(name)} with the pose drawn on it" '
        f'src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode("ascii")}"><span>{escape(name)}</span></button>'
        for name, jpeg in pictures
    )


def _resource(name: str) -> str:
    return (files("pose6d.report") / name).read_text(encoding="utf-8")
