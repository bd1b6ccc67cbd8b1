"""Downloading a recording: only what has the right checksum is unpacked, and only inside its folder."""

from __future__ import annotations

import hashlib
import stat
import zipfile
from pathlib import Path

import pytest

from pose6d.errors import OutputError, SceneError
from test_data.download_scene import download_scene


def _zip(path: Path, entries: dict[str, str], links: tuple[str, ...] = ()) -> tuple[str, str]:
    """A zip's file address and checksum."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in entries.items():
            info = zipfile.ZipInfo(name)
            if name in links:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, text)
    return path.as_uri(), hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_recording_is_unpacked_from_inside_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, checksum = _zip(tmp_path / "a.zip", {"data/avocado/intrinsics.json": "{}", "data/avocado/depth/0.png": "x"})
    monkeypatch.setenv("TEST_SCENE_URL", url)
    monkeypatch.setenv("TEST_SCENE_SHA256", checksum.upper())
    folder = download_scene(tmp_path / "scenes" / "real", progress=False)
    assert (folder / "intrinsics.json").read_text() == "{}"
    assert (folder / "depth" / "0.png").is_file()
    (tmp_path / "a.zip").unlink()
    assert download_scene(folder, progress=False) == folder, "what is there is not fetched again"
    assert [path.name for path in folder.parent.iterdir()] == ["real"], "no temporary files stay"


def test_a_wrong_checksum_unpacks_nothing(tmp_path: Path) -> None:
    url, checksum = _zip(tmp_path / "a.zip", {"intrinsics.json": "{}"})
    with pytest.raises(SceneError, match=checksum):
        download_scene(tmp_path / "scene", url, "0" * 64, progress=False)
    assert not (tmp_path / "scene").exists()
    with pytest.raises(SceneError, match="TEST_SCENE_SHA256"):
        download_scene(tmp_path / "scene", url, None, progress=False)


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\out.txt", "C:\\out.txt"])
def test_entries_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    url, checksum = _zip(tmp_path / "a.zip", {"intrinsics.json": "{}", name: "x"})
    with pytest.raises(SceneError, match="leads out"):
        download_scene(tmp_path / "scenes" / "scene", url, checksum, progress=False)
    assert not list(tmp_path.rglob("out.txt"))


def test_links_are_refused(tmp_path: Path) -> None:
    url, checksum = _zip(tmp_path / "a.zip", {"intrinsics.json": "{}", "link": "/etc"}, links=("link",))
    with pytest.raises(SceneError, match="leads out"):
        download_scene(tmp_path / "scene", url, checksum, progress=False)


def test_other_mistakes_are_named(tmp_path: Path) -> None:
    url, checksum = _zip(tmp_path / "a.zip", {"readme.txt": "nothing"})
    with pytest.raises(SceneError, match="no recording"):
        download_scene(tmp_path / "scene", url, checksum, progress=False)
    with pytest.raises(SceneError, match="cannot be downloaded"):
        download_scene(tmp_path / "scene", (tmp_path / "absent.zip").as_uri(), checksum, progress=False)
    with pytest.raises(SceneError, match="http"):
        download_scene(tmp_path / "scene", "avocado.zip", checksum, progress=False)
    text = tmp_path / "text.zip"
    text.write_text("not a zip")
    with pytest.raises(SceneError, match="no usable zip"):
        download_scene(tmp_path / "scene", text.as_uri(), hashlib.sha256(text.read_bytes()).hexdigest(), progress=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        download_scene(tmp_path / "full", url, checksum, progress=False)
