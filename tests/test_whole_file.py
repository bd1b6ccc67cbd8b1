"""Files are written whole or not at all, by everything that writes results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pose6d.errors import OutputError
from pose6d.json_file import read_json, write_json
from pose6d.whole_file import whole_file, write_whole


def test_a_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folders" / "a.txt"
    with whole_file(file) as partial:
        assert (partial.parent, partial.suffix, partial.name[0]) == (file.parent, ".txt", ".")
        partial.write_text("one")
        assert not file.exists()
    assert list(file.parent.iterdir()) == [file] and file.read_text() == "one"
    write_whole(file, "zwölf\n")
    assert file.read_bytes() == "zwölf\n".encode()


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt()])
def test_what_was_there_stays_when_the_block_is_left(tmp_path: Path, error: BaseException) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def write_half() -> None:
        with whole_file(file) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert list(tmp_path.iterdir()) == [file] and file.read_text() == "old"


def test_others_may_read_it_as_far_as_the_umask_allows(tmp_path: Path) -> None:
    code = f"import os, pose6d.whole_file as w; os.umask(0o027); w.write_whole({str(tmp_path / 'a')!r}, b'1')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_links_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real" / "a.txt")
    write_whole(link, "through")
    assert link.is_symlink() and (tmp_path / "real" / "a.txt").read_text() == "through"
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_whole(pipe, "in order")
    reader.join(10)
    assert read == ["in order"] and pipe.is_fifo()


def test_a_file_that_cannot_be_written_is_named_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for path, cure in (
        (tmp_path, "name a file"),
        (tmp_path / "file" / "a.txt", "a part of the path is a file"),
        (tmp_path / ("x" * 300), "take a shorter name"),
    ):
        with pytest.raises(OutputError) as refused:
            write_whole(path, "")
        assert str(refused.value).startswith(f"{path} cannot be written: ") and cure in str(refused.value)
    for number, cure in ((28, "free some space"), (30, "take another place"), (13, "change its permissions")):

        def fail(path: Path, *_: Any, number: int = number) -> None:
            path.touch()
            raise OSError(number, os.strerror(number), str(path))

        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_bytes", fail)
            with pytest.raises(OutputError, match=cure) as refused:
                write_whole(tmp_path / "a.txt", "text")
        assert f"{os.strerror(number)}: '{tmp_path / 'a.txt'}'" in str(refused.value), "not the hidden file's name"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_json_holds_what_numpy_has(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    values = {"a": np.float32(0.5), 3: np.eye(2), "nan": float("nan"), "inf": [np.inf, (1, True)], "path": file}
    write_json(file, values)
    wanted = {"a": 0.5, "3": [[1.0, 0.0], [0.0, 1.0]], "nan": None, "inf": [None, [1, True]], "path": str(file)}
    assert read_json(file, OutputError) == wanted and file.read_text() == json.dumps(wanted, indent=2) + "\n"
