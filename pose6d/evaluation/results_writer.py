"""Writing a results file so that a run which is killed at any moment can be continued.

The rows of an image go to disk in one append, so that the file itself says what is done. Beside it,
<results>.settings.json says how the rows were made; a run with other settings may not add to them. The other
poses that objects may have go to a file of its own (`pose6d.evaluation.alternatives_file`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pose6d.errors import OutputError, with_cure
from pose6d.evaluation.alternatives_file import AlternativesFile
from pose6d.evaluation.datasets import ImageTargets
from pose6d.evaluation.results_file import HEADER, PoseEstimate, read_results
from pose6d.json_file import read_json, write_json
from pose6d.whole_file import append_at_once, write_whole


class ResultsWriter:
    """Appends the rows of whole images.

    On opening, what an earlier run left is repaired: a torn last line is cut off, and the last image is taken back if
    it has fewer rows than were asked for, since it may be incomplete.

    Args:
        path: the CSV; made where it does not exist.
        images: all that is asked for.
        settings: what the rows depend on.

    Attributes:
        done: the rows of each finished image (scene_id, im_id).
        repairs: what was repaired, for people.

    Raises:
        OutputError: the file cannot be written, or was made with other settings or for another data set.
        ResultsError: it holds lines that are wrong in another way.
    """

    def __init__(self, path: Path, images: Sequence[ImageTargets], settings: Mapping[str, Any]) -> None:
        self.path = path
        self.repairs: list[str] = []
        self.done: dict[tuple[int, int], list[PoseEstimate]] = {}
        self._settings_file = path.with_name(f"{path.name}.settings.json")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            begun = path.is_file() and path.stat().st_size > 0
            if begun:
                self._check_settings(settings)
                self._continue(images)
            if not self.done:
                write_json(self._settings_file, settings)
            if not begun:
                append_at_once(path, HEADER + "\n")
            self._alternatives = AlternativesFile(path, self.done)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {with_cure(error)}") from error

    def write(self, rows: Sequence[PoseEstimate]) -> None:
        """Append the rows of one image; they are on disk when this returns."""
        if rows:
            try:
                self._alternatives.append(rows)  # first: what the rows say is done is then here, too
                append_at_once(self.path, "".join(row.row() + "\n" for row in rows))
            except OSError as error:
                raise OutputError(f"{self.path} cannot be written: {with_cure(error)}") from error
            self.done.setdefault((rows[0].scene_id, rows[0].im_id), []).extend(rows)

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        if not self._settings_file.is_file():
            raise OutputError(
                f"{self.path} exists without {self._settings_file.name}: not of this program; name another"
            )
        if self.path.read_bytes().count(b"\n") < 2:
            return  # nothing was written with the earlier ones
        earlier = read_json(self._settings_file, OutputError)
        if not isinstance(earlier, dict):
            raise OutputError(f"{self._settings_file} holds no settings: not of this program; name another output")
        wanted = json.loads(json.dumps(dict(settings)))
        for key in sorted(wanted.keys() | earlier.keys()):
            if wanted.get(key) != earlier.get(key):
                raise OutputError(
                    f"{self.path} was begun with {key} = {earlier.get(key)!r}, now it is {wanted.get(key)!r}: "
                    "name another output, or use the same settings"
                )

    def _continue(self, images: Sequence[ImageTargets]) -> None:
        asked = {(image.scene_id, image.im_id): image for image in images}
        self._cut_torn_line()
        instances = {target[:3]: target.inst_count for image in images for target in image.targets}
        rows = read_results(self.path, instances)
        strange = next((row for row in rows if row.key not in instances), None)
        if strange is not None:
            raise OutputError(
                f"{self.path}, line {strange.line}: (scene, image, object) {strange.key} is not asked for: "
                "is it of another data set, split or targets file?"
            )
        if rows:
            last = (rows[-1].scene_id, rows[-1].im_id)
            tail = [row for row in rows if (row.scene_id, row.im_id) == last]
            if len(tail) < sum(target.inst_count for target in asked[last].targets):
                self._truncate_lines(min(row.line for row in tail) - 1)
                rows = rows[: -len(tail)]
        for row in rows:
            self.done.setdefault((row.scene_id, row.im_id), []).append(row)

    def _cut_torn_line(self) -> None:
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        begun = (HEADER + "\n").encode()
        if len(whole) == len(data) or not (data.startswith(begun) or begun.startswith(data)):
            return  # whole, or no file of this kind, which reading it will say
        self.repairs.append(f"cut off a torn last line of {len(data) - len(whole)} bytes")
        write_whole(self.path, whole or begun)

    def _truncate_lines(self, keep: int) -> None:
        lines = self.path.read_bytes().splitlines(keepends=True)
        self.repairs.append(f"took back {len(lines) - keep} row(s) of the last image, which may be incomplete")
        write_whole(self.path, b"".join(lines[:keep]))
