"""Compiled loops: kept on disk where that can be, compiled anew where not."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numba
import pytest

from pose6d import compiled as compiled_module

SOURCE = "from pose6d.compiled import compiled\n\n@compiled(nogil=True)\ndef twice(x):\n    return 2 * x\n"


@pytest.fixture
def load_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Callable[[int], int]]:
    """Imports a module with one compiled function from a folder beside which nothing can be written."""
    source = tmp_path / "source" / "doubling.py"
    source.parent.mkdir()
    source.write_text(SOURCE)
    (source.parent / "__pycache__").touch()  # a file where numba wants a folder; permissions would not stop root
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/dev/null")

    def load() -> Callable[[int], int]:
        spec = importlib.util.spec_from_file_location("doubling", source)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.twice

    return load


def test_runs_and_says_what_to_do_where_no_cache_can_be_written(
    load_twice: Callable[[], Callable[[int], int]], caplog: pytest.LogCaptureFixture
) -> None:
    compiled_module._warn_once.cache_clear()
    assert load_twice()(3) == 6
    assert load_twice()(4) == 8
    assert caplog.text.count("NUMBA_CACHE_DIR") == 1  # said once, not once per function


def test_is_not_compiled_again_at_the_next_start(
    load_twice: Callable[[], Callable[[int], int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    assert load_twice()(3) == 6
    again = load_twice()
    assert again(3) == 6
    assert sum(again.stats.cache_hits.values()) == 1  # type: ignore[attr-defined]
