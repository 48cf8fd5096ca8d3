"""Coverage-guided fuzzing of everything that reads bytes of a miner or a meter: `make fuzz`.

Takes libFuzzer's options, such as -max_total_time=600 or the file of a finding to run once more.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["agent"]):
    from tests.fuzz.properties import hold
    from tests.fuzz.replies import seeds


def main() -> None:
    """Write the corpus that the cases make, then fuzz."""
    folders = [Path(word) for word in sys.argv[1:] if Path(word).is_dir()]
    for folder in folders[:1]:
        for name, data in seeds().items():
            (folder / f"case-{name}").write_bytes(b"\0" + data)
    atheris.Setup(sys.argv, hold)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
