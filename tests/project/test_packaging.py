"""What is shipped: locks, units, light base install, one import style."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["agent", "demo", "dev"])
def test_locks_are_hashed_and_name_no_index(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    packages = re.findall(r"^[a-z0-9][a-z0-9._-]*==", text, flags=re.MULTILINE)
    assert len(packages) >= 20
    assert text.count("--hash=sha256:") >= len(packages)
    assert "://" not in text
    assert "--index" not in text
    assert "--extra-index" not in text


def test_the_agent_lock_holds_nothing_heavy() -> None:
    text = (ROOT / "requirements" / "agent.txt").read_text()
    for heavy in ("pandas", "scikit-learn", "lightgbm", "pyarrow", "fastapi", "sqlalchemy"):
        assert not re.search(rf"^{heavy}==", text, flags=re.MULTILINE), heavy


def test_starting_the_agent_loads_nothing_heavy() -> None:
    program = (
        "import sys, agent.daemon, agent.cli.run\n"
        "heavy = {'pandas', 'sklearn', 'lightgbm', 'pyarrow', 'sqlalchemy', 'fastapi', 'onnx', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_the_unit_is_sandboxed_and_verifies_clean() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine; `make lint` installs it")
    done = subprocess.run([ROOT / "packaging" / "check-units"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    exposure = re.search(r"Overall exposure level.*: ([\d.]+)", done.stdout)
    assert exposure is not None
    assert float(exposure.group(1)) <= 2.0


def test_no_module_imports_relatively_or_by_star() -> None:
    for package in ("agent", "trainer", "dashboard", "simulator"):
        for path in (ROOT / package).rglob("*.py"):
            assert not re.search(r"^from \.|import \*", path.read_text(), flags=re.MULTILINE), path


def test_every_python_folder_is_a_package() -> None:
    for package in ("agent", "trainer", "dashboard", "simulator", "tests"):
        folders = {path.parent for path in (ROOT / package).rglob("*.py")}
        missing = [folder for folder in folders if not (folder / "__init__.py").exists()]
        assert missing == []
