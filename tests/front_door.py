"""A checkout with nothing but its front door, and a PATH with stand-ins for the tools of the system."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TOOLS = ["awk", "bash", "cat", "chmod", "cp", "dirname", "id", "mkdir", "tail", "timeout", "touch", "uname"]

# Each stand-in writes its arguments, one per line, into <name>.<subcommand>.
RECORD = 'printf "%s\\n" "$@" > "$RECORDS/{name}.$1"\n'


@dataclass
class Door:
    """A checkout in a folder whose name has a space, and a PATH with nothing but what the test put there."""

    root: Path
    bin: Path
    records: Path

    def install(self, name: str, body: str) -> None:
        tool = self.bin / name
        tool.unlink(missing_ok=True)  # it may be a link to the system's own
        tool.write_text(f"#!{self.bin}/bash\n{RECORD.format(name=name)}{body}\n")
        tool.chmod(0o755)

    def install_engine(self, name: str, info: str = "Server Version: 28", works: bool = True) -> None:
        answer = f'echo "{info}"' if works else 'echo "Cannot connect to the daemon" >&2; exit 1'
        self.install(name, f"case $1 in info) {answer} ;; esac")

    def install_venv(self) -> None:
        python = f'#!{self.bin}/bash\nprintf "%s\\n" "$@" > "$RECORDS/python"\n'
        self.install(
            "make", f"mkdir -p .venv/bin; cat > .venv/bin/python <<'END'\n{python}END\nchmod +x .venv/bin/python"
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.call(str(self.root / "run_container.sh"), *arguments, **environment)

    def call(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run any command in the checkout."""
        return subprocess.run(
            command,
            cwd=self.root,
            env={"PATH": str(self.bin), "RECORDS": str(self.records), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def recorded(self, name: str) -> list[str]:
        return (self.records / name).read_text().splitlines()

    def demo_arguments(self, name: str) -> list[str]:
        """What run_demo.py was given."""
        arguments = self.recorded(name)
        return arguments[arguments.index("run_demo.py") + 1 :]


def make_door(tmp_path: Path) -> Door:
    """A door in an empty folder."""
    root, tools, records = tmp_path / "my checkout", tmp_path / "bin", tmp_path / "records"
    for folder in (root / "test_data" / "mug", tools, records):
        folder.mkdir(parents=True)
    for name in ("run_container.sh", "system_libraries.sh", "Makefile"):
        shutil.copy(REPOSITORY / name, root / name)
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, f"this test needs {tool}"
        (tools / tool).symlink_to(found)
    return Door(root, tools, records)


def find_make() -> str:
    """The real make; skips the test that asks where there is none."""
    found = shutil.which("make")
    if not found:
        pytest.skip("make is not installed")
    return found
