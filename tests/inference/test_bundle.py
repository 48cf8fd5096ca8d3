"""A bundle is loaded only if every check passes; each kind of damage has its own words and a remedy."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from agent.errors import BundleError
from agent.features.streaming import feature_hash, feature_names
from agent.models.bundle import MANIFEST, MAX_MANIFEST_BYTES, POWER, PROFIT, Bundle, bundle_id, load_bundle
from tests.patience import PATIENCE_S


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and give it the id that fits, as one who means harm would."""
    tree = json.loads((folder / MANIFEST).read_text())
    change(tree)
    tree["bundle_id"] = bundle_id(tree)
    (folder / MANIFEST).write_text(json.dumps(tree))


def swap(folder: Path, name: str, raw: bytes) -> None:
    """Put another graph in, with its hash in the manifest."""
    (folder / name).write_bytes(raw)

    def change(tree: dict[str, Any]) -> None:
        tree["files"][name] = {"sha256": hashlib.sha256(raw).hexdigest(), "size_bytes": len(raw)}

    rewrite(folder, change)


def graph(outputs: tuple[str, ...], width: int, metadata: dict[str, str]) -> bytes:
    """A graph of the right inputs that answers with zeros, `width` wide."""
    inputs = [("features", len(feature_names())), ("share", 1)]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", w]) for n, w in inputs]
    zeros = helper.make_tensor("zeros", TensorProto.FLOAT, [1, width], [0.0] * width)
    nodes = [helper.make_node("MatMul", ["share", "zeros"], [name]) for name in outputs]
    nodes.append(helper.make_node("Identity", ["features"], ["unused"]))
    made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["rows", width]) for n in outputs]
    body = helper.make_graph(nodes, "g", infos, made, [zeros])
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString())


OUTPUTS = ("hashrate_ths", "power_w", "chip_temp_c")


def test_a_whole_bundle_loads_and_runs(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert isinstance(bundle, Bundle)
    features = np.full((2, len(feature_names())), np.nan, dtype=np.float32)
    rate, _, _ = bundle.run_power(features, np.full((2, 1), 0.8, dtype=np.float32))
    assert rate.shape == (2, 3)


def test_a_missing_folder_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no such file; fetch the bundle again, or train"):
        load_bundle(tmp_path / "none")


def test_a_missing_graph_is_named(folder: Path) -> None:
    (folder / PROFIT).unlink()
    with pytest.raises(BundleError, match=r"profit\.onnx: no such file"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "holds no object"),
        ("{}", "format version None, this agent reads 1"),
        ('{"format_version": 2}', "format version 2"),
        ('{"format_version": 1}', "Field required"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str, words: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=words):
        load_bundle(folder)


def test_a_manifest_of_absurd_size_is_not_read(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BundleError, match="larger than"):
        load_bundle(folder)


def test_a_manifest_changed_after_it_was_made_is_refused(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace('"seed": 1', '"seed": 2'))
    with pytest.raises(BundleError, match="its content gives id"):
        load_bundle(folder)


def test_a_flipped_bit_in_a_graph_is_found(folder: Path) -> None:
    raw = bytearray((folder / POWER).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / POWER).write_bytes(raw)
    with pytest.raises(BundleError, match=r"power\.onnx: is not the file"):
        load_bundle(folder)


def test_a_graph_cut_off_is_found(folder: Path) -> None:
    (folder / POWER).write_bytes((folder / POWER).read_bytes()[:-100])
    with pytest.raises(BundleError, match="SHA-256 differs"):
        load_bundle(folder)


def test_another_feature_table_is_refused_with_both_hashes(folder: Path) -> None:
    rewrite(folder, lambda tree: tree.update(feature_hash="0" * 64))
    with pytest.raises(BundleError, match=f"made for feature table 000000000000.*{feature_hash()[:12]}"):
        load_bundle(folder)


def test_features_in_another_order_are_refused(folder: Path) -> None:
    rewrite(folder, lambda tree: tree["feature_names"].reverse())
    with pytest.raises(BundleError, match="feature names are not those"):
        load_bundle(folder)


def test_a_graph_stamped_with_another_table_is_refused(folder: Path) -> None:
    swap(folder, POWER, graph(OUTPUTS, 3, {"feature_hash": "f" * 64}))
    with pytest.raises(BundleError, match="metadata names another feature table"):
        load_bundle(folder)


def test_outputs_of_another_shape_are_refused(folder: Path) -> None:
    swap(folder, POWER, graph(OUTPUTS, 2, {"feature_hash": feature_hash()}))
    with pytest.raises(BundleError, match=r"power\.onnx: gives"):
        load_bundle(folder)


def test_inputs_of_another_name_are_refused(folder: Path) -> None:
    swap(folder, PROFIT, graph(("profit_usd_per_day",), 3, {"feature_hash": feature_hash()}))
    with pytest.raises(BundleError, match=r"profit\.onnx: takes"):
        load_bundle(folder)


def test_a_graph_that_answers_otherwise_fails_its_golden_vectors(folder: Path) -> None:
    swap(folder, POWER, graph(OUTPUTS, 3, {"feature_hash": feature_hash()}))
    with pytest.raises(BundleError, match="hashrate_ths differs from its golden vectors"):
        load_bundle(folder)


def test_answers_that_are_not_finite_are_refused(folder: Path) -> None:
    model = onnx.load_from_string(graph(OUTPUTS, 3, {"feature_hash": feature_hash()}))
    model.graph.initializer[0].CopyFrom(
        helper.make_tensor("zeros", TensorProto.FLOAT, [1, 3], [float("nan")] * 3)
    )
    swap(folder, POWER, bytes(model.SerializeToString()))
    with pytest.raises(BundleError, match="not finite"):
        load_bundle(folder)


def test_weights_in_another_file_are_never_loaded(folder: Path) -> None:
    model = onnx.load_from_string((folder / POWER).read_bytes())
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="/etc/passwd")
    swap(folder, POWER, bytes(model.SerializeToString()))
    with pytest.raises(BundleError, match="points to data outside itself"):
        load_bundle(folder)


def test_bytes_that_are_no_graph_are_refused(folder: Path) -> None:
    swap(folder, POWER, b"not a graph at all")
    with pytest.raises(BundleError, match=r"onnxruntime .* cannot load it"):
        load_bundle(folder)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path, folder: Path) -> None:
    shutil.copy(folder / POWER, tmp_path / "file")
    with pytest.raises(BundleError, match=r"no such file|cannot be read"):
        load_bundle(tmp_path / "file")


def test_features_of_another_width_are_an_error_of_the_bundle(folder: Path) -> None:
    bundle = load_bundle(folder)
    with pytest.raises(BundleError, match=r"power\.onnx: does not run"):
        bundle.run_power(np.zeros((1, 3), dtype=np.float32), np.ones((1, 1), dtype=np.float32))


@pytest.mark.parametrize("words", ["agent.models.bundle", "trainer.export", "agent.models.inference"])
def test_the_runtime_keeps_no_note_of_its_use(folder: Path, tmp_path: Path, words: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    program = f"import {words}; from agent.models.bundle import load_bundle; from pathlib import Path; " + (
        f"load_bundle(Path({str(folder)!r}))"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=PATIENCE_S)
    assert [path for path in home.rglob("*") if path.is_file()] == []
