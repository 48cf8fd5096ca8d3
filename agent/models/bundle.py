"""Model bundles: what stands in one, and loading one only if every check passes.

Making bundles is the trainer's; turning predictions into curves is `agent.models.inference`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from agent.drift.reference import FamilyReference
from agent.errors import BundleError
from agent.features.table import feature_hash, feature_names
from agent.models.runtime import ort, ort_state

Floats32 = NDArray[np.float32]

FORMAT_VERSION = 1
MANIFEST = "bundle.json"
POWER = "power.onnx"
PROFIT = "profit.onnx"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_MODEL_BYTES = 64 * 1024 * 1024
# Another processor may add in another order; anything beyond this is another model.
GOLDEN_RTOL = 1e-3
REMEDY = "fetch the bundle again, or train a new one with `hashmargin train`"

_POWER_OUTPUTS = ("hashrate_ths", "power_w", "chip_temp_c")
_PROFIT_OUTPUTS = ("profit_usd_per_day",)
# Every class that onnxruntime raises; they have no common root below Exception.
_ORT_ERRORS: tuple[type[Exception], ...] = (
    ValueError,
    RuntimeError,
    *(c for c in vars(ort_state).values() if isinstance(c, type) and issubclass(c, Exception)),
)
# Key of the entry by which ONNX points to weights in another file. No graph of ours holds the word at all, so
# that it need not be told in how many ways the length before it can be written.
_EXTERNAL_DATA = b"location"
# What a machine can be, from the ranges of telemetry; profit of one can hardly pass these either way.
_RANGES = {
    "hashrate_ths": (0.0, 5000.0),
    "power_w": (0.0, 50000.0),
    "chip_temp_c": (-40.0, 200.0),
    "profit_usd_per_day": (-10000.0, 10000.0),
}

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Row = list[float]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BundleFile(_Part):
    """One file beside the manifest."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(gt=0, le=MAX_MODEL_BYTES)]


class Hardware(_Part):
    """A hardware model that the bundle has learned from."""

    key: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    family: str
    units: Count
    rows: Count
    rows_with_power: Count


class Training(_Part):
    """What the models were learned from and how."""

    start: AwareDatetime
    end: AwareDatetime
    rows: Count
    units: Count
    sites: list[str]
    seed: int
    model_family: str
    hyper_parameters: dict[str, Any]


class Golden(_Part):
    """Inputs with the outputs that the exported graphs gave. None stands for NaN in features.

    `features` [G,F], `share` [G], `economics` [G,4], each output [G,3].
    """

    features: Annotated[list[list[float | None]], Field(min_length=1, max_length=64)]
    share: list[float]
    economics: list[Row]
    hashrate_ths: list[Row]
    power_w: list[Row]
    chip_temp_c: list[Row]
    profit_usd_per_day: list[Row]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        count = len(self.features)
        for name, width in (("economics", 4), *((n, 3) for n in (*_POWER_OUTPUTS, *_PROFIT_OUTPUTS))):
            rows = getattr(self, name)
            if len(rows) != count or any(len(row) != width for row in rows):
                raise ValueError(f"golden {name} must be {count} rows of {width}")
        if len(self.share) != count:
            raise ValueError(f"golden share must be {count} numbers")
        return self


class BundleManifest(_Part):
    """`bundle.json`. `bundle_id` is a hash of everything in the bundle but `created_at`."""

    format_version: Literal[1]
    bundle_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    created_at: AwareDatetime
    feature_hash: Sha256
    feature_names: Annotated[list[str], Field(min_length=1, max_length=2000)]
    hardware: Annotated[list[Hardware], Field(min_length=1, max_length=500)]
    training: Training
    metrics: dict[str, Any]
    calibration: dict[str, Any]
    reference: Annotated[list[FamilyReference], Field(max_length=200)] = []
    library_versions: dict[str, str]
    code_version: str
    git_commit: str | None
    files: dict[Literal["power.onnx", "profit.onnx"], BundleFile]
    golden: Golden

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = {POWER, PROFIT} - set(self.files)
        if missing:
            raise ValueError(f"files lacks {', '.join(sorted(missing))}")
        return self


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that passed every check, with its graphs ready to run."""

    path: Path
    manifest: BundleManifest
    power: ort.InferenceSession
    profit: ort.InferenceSession

    def run_power(self, features: Floats32, share: Floats32) -> tuple[Floats32, Floats32, Floats32]:
        """`features` [B,F], `share` [B,1] -> hashrate_ths, power_w, chip_temp_c, each [B,3].

        Raises:
            BundleError: the graph does not run on these.
        """
        out = self._run(self.power, POWER, _POWER_OUTPUTS, {"features": features, "share": share})
        return out[0], out[1], out[2]

    def run_profit(self, features: Floats32, share: Floats32, economics: Floats32) -> Floats32:
        """`economics` [B,4]: hashprice net of pool fee, price incl. PUE, lost hours, hold hours -> [B,3].

        Raises:
            BundleError: the graph does not run on these.
        """
        feed = {"features": features, "share": share, "economics": economics}
        return self._run(self.profit, PROFIT, _PROFIT_OUTPUTS, feed)[0]

    def _run(
        self, session: ort.InferenceSession, name: str, outputs: tuple[str, ...], feed: dict[str, Floats32]
    ) -> list[Floats32]:
        try:
            out: list[Floats32] = session.run(outputs, feed)
        except _ORT_ERRORS as error:
            raise BundleError(f"{self.path / name}: does not run: {error}; {REMEDY}") from error
        return out


def bundle_id(manifest: dict[str, Any]) -> str:
    """The id that belongs to `manifest` (parsed JSON): 16 hex digits over all but id and creation time."""
    rest = {key: value for key, value in manifest.items() if key not in ("bundle_id", "created_at")}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_bundle(path: Path) -> Bundle:
    """Load the bundle in directory `path`.

    Raises:
        BundleError: it is missing, damaged, made for another feature table, or its graphs do not give
            what they gave when they were made. The message says what and the remedy.
    """
    manifest = read_manifest(path)
    expected = feature_hash()
    if manifest.feature_hash != expected:
        raise BundleError(
            f"{path}: made for feature table {manifest.feature_hash[:12]}, this agent computes "
            f"{expected[:12]}; train a new bundle with this version, or install the version that made it"
        )
    if tuple(manifest.feature_names) != feature_names():
        raise BundleError(f"{path}: its feature names are not those of the feature table; {REMEDY}")
    width = len(manifest.feature_names)
    power = _session(path / POWER, manifest.files["power.onnx"], expected)
    profit = _session(path / PROFIT, manifest.files["profit.onnx"], expected)
    _check_signature(path / POWER, power, {"features": width, "share": 1}, _POWER_OUTPUTS)
    _check_signature(path / PROFIT, profit, {"features": width, "share": 1, "economics": 4}, _PROFIT_OUTPUTS)
    bundle = Bundle(path, manifest, power, profit)
    _check_golden(bundle, width)
    return bundle


def read_manifest(path: Path) -> BundleManifest:
    """The manifest of the bundle in directory `path`, checked against its own id; graphs are not touched.

    Raises:
        BundleError: missing, unreadable, too large, not of this format, or changed after it was made.
    """
    file = path / MANIFEST
    raw = _read(file, MAX_MANIFEST_BYTES)
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file}: not valid JSON ({error}); {REMEDY}") from error
    if not isinstance(tree, dict):
        raise BundleError(f"{file}: holds no object; {REMEDY}")
    version = tree.get("format_version")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{file}: format version {version!r}, this agent reads {FORMAT_VERSION}; "
            "use a bundle made for this version of hashmargin"
        )
    try:
        manifest = BundleManifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise BundleError(f"{file}: {where}: {first['msg']}; {REMEDY}") from error
    try:
        own = bundle_id(tree)
    except ValueError as error:
        raise BundleError(f"{file}: holds numbers that are not finite; {REMEDY}") from error
    if own != manifest.bundle_id:
        raise BundleError(f"{file}: its content gives id {own}, it says {manifest.bundle_id}; {REMEDY}")
    return manifest


def _read(file: Path, limit: int) -> bytes:
    try:
        if not file.is_file():
            raise BundleError(f"{file}: no such file; {REMEDY}")
        with file.open("rb") as stream:
            raw = stream.read(limit + 1)
    except OSError as error:
        raise BundleError(f"{file}: cannot be read: {error.strerror}; {REMEDY}") from error
    if len(raw) > limit:
        raise BundleError(f"{file}: larger than {limit} bytes; {REMEDY}")
    return raw


def _session(file: Path, entry: BundleFile, expected_hash: str) -> ort.InferenceSession:
    raw = _read(file, MAX_MODEL_BYTES)
    if len(raw) != entry.size_bytes or hashlib.sha256(raw).hexdigest() != entry.sha256:
        raise BundleError(f"{file}: is not the file that {MANIFEST} names (SHA-256 differs); {REMEDY}")
    if _EXTERNAL_DATA in raw:
        raise BundleError(f"{file}: points to data outside itself, which is never loaded; {REMEDY}")
    try:
        session = ort.InferenceSession(raw, _options(), providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise BundleError(
            f"{file}: onnxruntime {ort.__version__} cannot load it: {error}; {REMEDY}"
        ) from error
    stamped = session.get_modelmeta().custom_metadata_map.get("feature_hash")
    if stamped != expected_hash:
        raise BundleError(f"{file}: its metadata names another feature table; {REMEDY}")
    return session


def _options() -> ort.SessionOptions:
    """One thread that sleeps when idle, and memory given back: the agent shares a small computer."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _check_signature(
    file: Path, session: ort.InferenceSession, inputs: dict[str, int], outputs: tuple[str, ...]
) -> None:
    got = {item.name: (item.type, item.shape[1:]) for item in session.get_inputs()}
    want = {name: ("tensor(float)", [width]) for name, width in inputs.items()}
    if got != want:
        raise BundleError(f"{file}: takes {got}, expected {want}; {REMEDY}")
    made = {item.name: (item.type, item.shape[1:]) for item in session.get_outputs()}
    expected = {name: ("tensor(float)", [3]) for name in outputs}
    if made != expected:
        raise BundleError(f"{file}: gives {made}, expected {expected}; {REMEDY}")


def _check_golden(bundle: Bundle, width: int) -> None:
    golden = bundle.manifest.golden
    if any(len(row) != width for row in golden.features):
        raise BundleError(f"{bundle.path}: golden features are not {width} wide; {REMEDY}")
    features = np.array(golden.features, dtype=np.float32)
    share = np.array(golden.share, dtype=np.float32)[:, None]
    economics = np.array(golden.economics, dtype=np.float32)
    rate, power, temp = bundle.run_power(features, share)
    profit = bundle.run_profit(features, share, economics)
    for name, got in zip((*_POWER_OUTPUTS, *_PROFIT_OUTPUTS), (rate, power, temp, profit), strict=True):
        want = np.array(getattr(golden, name), dtype=np.float64)
        if got.shape != want.shape or not np.isfinite(got).all():
            raise BundleError(f"{bundle.path}: {name} of the golden vectors is not finite; {REMEDY}")
        scale = GOLDEN_RTOL * max(float(np.abs(want).max()), 1.0)
        if not plausible(name, got).all():
            low, high = _RANGES[name]
            raise BundleError(
                f"{bundle.path}: {name} of the golden vectors is outside {low:g} to {high:g}, or its "
                f"quantiles are out of order; {REMEDY}"
            )
        worst = float(np.abs(got - want).max())
        if worst > scale:
            raise BundleError(
                f"{bundle.path}: {name} differs from its golden vectors by {worst:g}; "
                f"this machine does not run the model as it was made; {REMEDY}"
            )


def plausible(name: str, values: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Per row of an output [B,3], whether it is finite, within the range of its kind and in order."""
    low, high = _RANGES[name]
    with np.errstate(invalid="ignore"):
        inside = (values[:, 0] >= low) & (values[:, 2] <= high)
        ordered = (values[:, 0] <= values[:, 1]) & (values[:, 1] <= values[:, 2])
    return np.asarray(inside & ordered & np.isfinite(values).all(axis=1), dtype=np.bool_)
