"""Writing a bundle: both graphs, checked against the models they come from, golden vectors, manifest.

What a bundle must look like is said in `agent.models`, which also has the last word on what was written.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent import __version__
from agent.errors import BundleError
from agent.features.streaming import feature_hash, feature_names
from agent.models.bundle import FORMAT_VERSION, MANIFEST, POWER, PROFIT, Bundle, bundle_id, load_bundle
from agent.models.runtime import ort
from trainer.graph import Floats, NumpyOps, OnnxOps
from trainer.profit_model import ProfitModel
from trainer.report_figures import METRICS, REPORT

GOLDEN_ROWS = 12
_LIBRARIES = ("numpy", "onnx", "onnxruntime", "lightgbm", "onnxmltools", "pyarrow")
# A graph in float32 may differ from the model in float64 by this much, of the size of the value.
_FLOAT32 = 2e-4
# Trees may send a row that lies on a split the other way; so many rows of a hundred thousand may differ more.
_MOST_ON_A_SPLIT = 0.005


def native_outputs(
    model: ProfitModel, features: NDArray[np.float32], share: Floats, economics: Floats
) -> dict[str, Floats]:
    """What the models say in double precision: every output [B,3] by name."""
    ops = NumpyOps()
    x, s = features.astype(np.float64), share[:, None]
    return model.power.outputs(ops, x, s) | model.outputs(ops, x, s, economics)


def graphs(model: ProfitModel) -> dict[str, bytes]:
    """The serialised graphs by file name."""
    width = len(feature_names())
    metadata = {"feature_hash": feature_hash(), "hashmargin": __version__}
    power = OnnxOps({"features": width, "share": 1})
    power_outputs = model.power.outputs(power, power.input("features"), power.input("share"))
    profit = OnnxOps({"features": width, "share": 1, "economics": 4})
    profit_outputs = model.outputs(
        profit, profit.input("features"), profit.input("share"), profit.input("economics")
    )
    made = {POWER: power.model(power_outputs, metadata), PROFIT: profit.model(profit_outputs, metadata)}
    return {name: graph.SerializeToString(deterministic=True) for name, graph in made.items()}


def check_export(
    made: Mapping[str, bytes],
    model: ProfitModel,
    features: NDArray[np.float32],
    share: Floats,
    economics: Floats,
) -> dict[str, float]:
    """Run the graphs beside the models on real rows.

    Returns:
        The largest relative difference of each output, rows on a split of a tree left aside.

    Raises:
        BundleError: a graph does not say what its model says.
    """
    want = native_outputs(model, features, share, economics)
    feed = {
        "features": features,
        "share": share[:, None].astype(np.float32),
        "economics": economics.astype(np.float32),
    }
    differences = {}
    for name, raw in made.items():
        session = ort.InferenceSession(raw, providers=["CPUExecutionProvider"])
        inputs = {item.name: feed[item.name] for item in session.get_inputs()}
        outputs = [item.name for item in session.get_outputs()]
        for output, got in zip(outputs, session.run(outputs, inputs), strict=True):
            scale = np.maximum(np.abs(want[output]), _scale(output, want))
            off = np.abs(got - want[output]) / scale
            if not np.isfinite(off).all():
                raise BundleError(
                    f"export of {name}: {output} is not finite on {int((~np.isfinite(off)).sum())} rows"
                )
            wrong = (off > _FLOAT32).any(axis=1)
            if wrong.mean() > _MOST_ON_A_SPLIT:
                raise BundleError(
                    f"export of {name}: {output} differs from its model on {wrong.mean():.2%} of rows, "
                    f"by up to {off.max():.2g}"
                )
            differences[output] = float(f"{off[~wrong].max():.3g}")
    return differences


def golden_vectors(
    made: Mapping[str, bytes], features: NDArray[np.float32], share: Floats, economics: Floats
) -> dict[str, Any]:
    """A few inputs with what the graphs give for them, in the form of `agent.models.bundle.Golden`."""
    share32, money32 = share.astype(np.float32), economics.astype(np.float32)
    feed = {"features": features, "share": share32[:, None], "economics": money32}
    golden: dict[str, Any] = {
        "features": [[float(v) if np.isfinite(v) else None for v in row] for row in features],
        "share": [float(v) for v in share32],
        "economics": [[float(v) for v in row] for row in money32],
    }
    for raw in made.values():
        session = ort.InferenceSession(raw, providers=["CPUExecutionProvider"])
        outputs = [item.name for item in session.get_outputs()]
        inputs = {item.name: feed[item.name] for item in session.get_inputs()}
        for output, got in zip(outputs, session.run(outputs, inputs), strict=True):
            golden[output] = [[float(v) for v in row] for row in got]
    return golden


def write_bundle(
    out: Path, made: Mapping[str, bytes], content: Mapping[str, Any], created_at: datetime
) -> Bundle:
    """Write the bundle beside `out` and move it there in one step; an older bundle at `out` gives way.

    Args:
        content: what the manifest says beside ids, hashes and versions.

    Raises:
        BundleError: `out` holds something that is no bundle, cannot be written, or what was written does
            not load.
    """
    manifest: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "feature_hash": feature_hash(),
        "feature_names": list(feature_names()),
        "library_versions": {name: version(name) for name in _LIBRARIES}
        | {"python": platform.python_version()},
        "code_version": __version__,
        "git_commit": _git_commit(),
        "files": {
            name: {"sha256": hashlib.sha256(raw).hexdigest(), "size_bytes": len(raw)}
            for name, raw in made.items()
        },
        **content,
    }
    # Through JSON once, so that the id is taken of exactly what a reader will see.
    manifest = json.loads(json.dumps(manifest, allow_nan=False))
    manifest["bundle_id"] = bundle_id(manifest)
    manifest["created_at"] = created_at.isoformat()
    check_target(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise BundleError(f"{out}: cannot be written: {error.strerror}") from error
    try:
        for name, raw in made.items():
            _write(folder / name, raw)
        _write(folder / MANIFEST, json.dumps(manifest, indent=1).encode())
        load_bundle(folder)
        folder.chmod(0o755)
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
            out.rename(old / out.name)
            try:
                folder.rename(out)
            except OSError:
                (old / out.name).rename(out)
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            folder.rename(out)
    except OSError as error:
        raise BundleError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return load_bundle(out)


def check_target(out: Path) -> None:
    """Refuse to overwrite anything but a bundle.

    Raises:
        BundleError: `out` is a file, or a folder that holds something else.
    """
    if out.is_dir():
        foreign = sorted({item.name for item in out.iterdir()} - {MANIFEST, POWER, PROFIT, METRICS, REPORT})
        if foreign:
            raise BundleError(
                f"{out}: holds {foreign[0]}, which is no part of a bundle; choose another folder"
            )
    elif out.exists() or out.is_symlink():
        raise BundleError(f"{out}: is no folder; choose another place for the bundle")


def _scale(output: str, want: Mapping[str, Floats]) -> float:
    """What is small for an output: profit near zero and degrees near zero are not judged by themselves."""
    return float(np.median(np.abs(want[output]))) + (10.0 if output == "chip_temp_c" else 0.0)


def _write(file: Path, raw: bytes) -> None:
    with file.open("wb") as stream:
        stream.write(raw)
        stream.flush()
        os.fsync(stream.fileno())


def _git_commit() -> str | None:
    """The commit of the checkout that this code runs from; None in an installed package."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603
            [git, "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
