"""A bundle tried in a process of its own, with a bound on memory and time, before the agent takes it in.

A graph is a program: a few kilobytes of it can ask for all memory, or never end. That process is
`python -m agent.models.trial DIR`; it prints the bundle's id, or what is wrong.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from agent.errors import BundleError
from agent.models.bundle import REMEDY, Bundle, load_bundle

# Of data, of which a bundle as `train` makes it takes some 60 MiB.
MEMORY_BYTES = 256 * 1024**2
# Half a second on a desktop machine; a slow card with a cold cache is given all of this. A cycle waits for
# it, so it stays well below the watchdog of the service.
DEADLINE_S = 120.0
CPU_S = 60
# As many rows as are run at once in a cycle.
ROWS = 4096
_REFUSED = 3


def tried(path: Path) -> Bundle:
    """The bundle in directory `path`, loaded once it has passed all checks and a full batch elsewhere.

    Raises:
        BundleError: it does not pass, takes too much memory or too long, or changed meanwhile.
    """
    command = [sys.executable, "-m", "agent.models.trial", str(path)]
    try:
        # Our own interpreter and module; the path is one argument of it.
        done = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{path}: does not come to an end within {DEADLINE_S:g} s; {REMEDY}") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be tried: {error.strerror}; free memory and try again") from error
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode == _REFUSED and said:
        raise BundleError(said)
    if done.returncode != 0:
        raise BundleError(
            f"{path}: broke the process it was tried in (exit code {done.returncode}), "
            f"which may use {MEMORY_BYTES // 1024**2} MiB and {CPU_S} s of processor time; {REMEDY}"
        )
    bundle = load_bundle(path)
    if bundle.manifest.bundle_id != said:
        raise BundleError(f"{path}: changed while it was tried; it is looked at again next time")
    return bundle


def _try(path: Path) -> str:
    bundle = load_bundle(path)
    golden = bundle.manifest.golden
    rows = np.arange(ROWS) % len(golden.features)
    features = np.array(golden.features, dtype=np.float32)[rows]
    share = np.array(golden.share, dtype=np.float32)[rows, None]
    bundle.run_power(features, share)
    bundle.run_profit(features, share, np.array(golden.economics, dtype=np.float32)[rows])
    return bundle.manifest.bundle_id


def main() -> int:
    """Try the bundle of the first argument."""
    # Where a sandbox forbids these, its own bound on memory and the deadline of the caller are left.
    for kind, bound in ((resource.RLIMIT_DATA, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S)):
        with suppress(OSError, ValueError):
            resource.setrlimit(kind, (bound, bound))
    # If memory runs short all the same, this process is the one to go, not the agent.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        sys.stdout.write(_try(Path(sys.argv[1])))
    except BundleError as error:
        sys.stdout.write(str(error))
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
