"""Fetches a real recording instead of the made one: TEST_SCENE_URL names a zip, TEST_SCENE_SHA256 its checksum."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from pose6d.errors import OutputError, SceneError
from test_data.scenes_folder import read_marker

_MARKER = "downloaded.json"
_BLOCK = 1 << 20
_TIMEOUT = 60.0  # seconds without a byte
_SCENE_MARKERS = ("JPEGImages", "intrinsics.json", "rgb", "cam_K.txt", "scene_camera.json")


def download_scene(
    folder: str | os.PathLike[str], url: str | None = None, sha256: str | None = None, *, progress: bool = True
) -> Path:
    """Download a zipped recording, check it, unpack it into `folder`.

    The folder appears only once everything is in place. A recording of the same checksum that is already there is kept.

    Args:
        folder: where to; it must not hold anything else.
        url: http, https or file address of the zip; the environment's TEST_SCENE_URL if omitted.
        sha256: its checksum in hex; the environment's TEST_SCENE_SHA256 if omitted. There is no way around it: what is
            unpacked here is what results are compared on.
        progress: show a progress bar.

    Returns:
        The folder.

    Raises:
        SceneError: address or checksum missing or wrong, no connection, not a zip, no recording in it, or entries that
            would be written outside the folder.
        OutputError: the folder holds something else.
    """
    folder = Path(folder)
    url = url or os.environ.get("TEST_SCENE_URL", "")
    wanted = (sha256 or os.environ.get("TEST_SCENE_SHA256", "")).strip().lower()
    if urllib.parse.urlsplit(url).scheme not in ("http", "https", "file"):
        raise SceneError(f"TEST_SCENE_URL is {url!r}: wanted the http, https or file address of a zipped recording")
    if not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise SceneError(
            f"TEST_SCENE_SHA256 is {wanted!r}: wanted the 64 hex digits of the zip's checksum, as printed by sha256sum"
        )
    if folder.exists() and any(folder.iterdir()):
        if read_marker(folder / _MARKER).get("sha256") == wanted:
            return folder
        raise OutputError(f"{folder} is not empty and holds no download of {wanted[:12]}...: move it away first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as unfinished:
        archive = Path(unfinished) / "scene.zip"
        found = _fetch(url, archive, progress)
        if found != wanted:
            raise SceneError(
                f"{url} has the SHA-256 {found}, wanted {wanted}: the file was changed, the download was cut short, or "
                "TEST_SCENE_SHA256 belongs to another file. Nothing was unpacked"
            )
        scene = _scene_root(_unpack(archive, Path(unfinished) / "unpacked"), url)
        (scene / _MARKER).write_text(json.dumps({"url": url, "sha256": wanted}, indent=2) + "\n")
        if folder.exists():
            folder.rmdir()
        shutil.move(scene, folder)
    return folder


def _fetch(url: str, target: Path, progress: bool) -> str:
    """Write the address's content to a file; its SHA-256."""
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as source, target.open("wb") as out:
            size = source.headers.get("Content-Length")
            total = int(size) if size and size.isdigit() else None
            with tqdm(
                total=total, desc="downloading the scene", unit="B", unit_scale=True, disable=not progress
            ) as bar:
                while block := source.read(_BLOCK):
                    out.write(block)
                    digest.update(block)
                    bar.update(len(block))
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise SceneError(f"{url} cannot be downloaded: {error}; check TEST_SCENE_URL and the connection") from error
    return digest.hexdigest()


def _unpack(archive: Path, target: Path) -> Path:
    """Extract a zip whose entries all stay inside the target."""
    try:
        with zipfile.ZipFile(archive) as entries:
            for entry in entries.infolist():
                path = PurePosixPath(entry.filename.replace("\\", "/"))
                escapes = path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0])
                if escapes or stat.S_ISLNK(entry.external_attr >> 16):
                    raise SceneError(
                        f"the downloaded zip has the entry {entry.filename!r}, which leads out of the scene's folder: "
                        "it is damaged or malicious. Nothing was unpacked"
                    )
            entries.extractall(target)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:  # RuntimeError: a password is needed
        raise SceneError(f"the download is no usable zip file: {error}") from error
    return target


def _scene_root(unpacked: Path, url: str) -> Path:
    """The folder of the recording, which archives often keep one or two levels down."""
    level = [unpacked]
    for _ in range(4):
        for folder in level:
            if any((folder / marker).exists() for marker in _SCENE_MARKERS):
                return folder
        level = sorted(child for folder in level for child in folder.iterdir() if child.is_dir())
    raise SceneError(f"{url} holds no recording: wanted one of {', '.join(_SCENE_MARKERS)} in it")
