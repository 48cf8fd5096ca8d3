"""A graph is a program: one that wants all memory or never ends is stopped elsewhere, not in the agent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from agent.errors import BundleError
from agent.features.streaming import feature_names
from agent.models.bundle import POWER, load_bundle
from agent.models.inference import BundlePredictor
from agent.models.trial import tried
from tests.inference.conftest import COVERED
from tests.inference.test_bundle import rewrite, swap
from tests.inference.test_predictors import MONEY, SHARES, features, predict, unit

FIRST = feature_names().index("hashrate_ths")


def with_extra(folder: Path, change: Callable[[ModelProto], None]) -> None:
    """Add to the rate of the power graph what `change` computes as `extra`."""
    model = onnx.load_from_string((folder / POWER).read_bytes())
    for node in model.graph.node:
        for i, name in enumerate(node.output):
            if name == "hashrate_ths":
                node.output[i] = "rate_before"
    change(model)
    model.graph.node.append(helper.make_node("Add", ["rate_before", "extra"], ["hashrate_ths"]))
    swap(folder, POWER, bytes(model.SerializeToString()))


def constant(model: ModelProto, name: str, value: object, kind: type) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=kind), name))
    return name


def bomb(model: ModelProto) -> None:
    """A few bytes that ask for 16 GB."""
    shape = constant(model, "bomb_shape", [2_000_000_000, 2], np.int64)
    model.graph.node.append(helper.make_node("ConstantOfShape", [shape], ["bomb"]))
    model.graph.node.append(helper.make_node("ReduceMax", ["bomb"], ["extra"], keepdims=0))


def endless(model: ModelProto) -> None:
    """A loop of 2^62 rounds."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("Identity", ["v"], ["v_out"])],
        "body",
        [info("i", TensorProto.INT64, []), info("c", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, [])],
        [info("c_out", TensorProto.BOOL, []), info("v_out", TensorProto.FLOAT, [])],
    )
    inputs = [
        constant(model, "rounds", 2**62, np.int64),
        constant(model, "go_on", True, np.bool_),
        constant(model, "nothing", 0.0, np.float32),
    ]
    model.graph.node.append(helper.make_node("Loop", inputs, ["extra"], body=body))


def when_hot(model: ModelProto, then: float) -> None:
    """Nothing, but `then` for a unit that reports more than 4000 TH/s, which no golden vector does."""
    where = constant(model, "where", [FIRST], np.int64)
    limit = constant(model, "limit", 4000.0, np.float32)
    model.graph.node.append(helper.make_node("Gather", ["features", where], ["first"], axis=1))
    model.graph.node.append(helper.make_node("Greater", ["first", limit], ["hot"]))
    yes, no = constant(model, "yes", then, np.float32), constant(model, "no", 0.0, np.float32)
    model.graph.node.append(helper.make_node("Where", ["hot", yes, no], ["extra"]))


def breaks_when_hot(model: ModelProto) -> None:
    """A graph that does not run for such a unit: it reaches beyond an array."""
    when_hot(model, 9.0)
    model.graph.node[-1].output[0] = "far"
    table = constant(model, "table", [0.0], np.float32)
    model.graph.node.append(helper.make_node("Cast", ["far"], ["place"], to=TensorProto.INT64))
    model.graph.node.append(helper.make_node("Gather", [table, "place"], ["extra"], axis=0))


def test_a_good_bundle_is_tried_and_loaded(folder: Path) -> None:
    assert tried(folder).manifest.bundle_id == load_bundle(folder).manifest.bundle_id


def test_what_is_wrong_is_said_in_the_words_of_the_check(folder: Path) -> None:
    (folder / POWER).unlink()
    with pytest.raises(BundleError, match=r"power\.onnx: no such file; fetch the bundle again"):
        tried(folder)


def test_a_graph_that_wants_all_memory_is_refused(folder: Path) -> None:
    with_extra(folder, bomb)
    with pytest.raises(BundleError, match=r"does not run|cannot load it|broke the process"):
        tried(folder)


@pytest.mark.slow
def test_a_graph_that_never_ends_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.models.trial.DEADLINE_S", 20.0)
    assert tried(folder)
    with_extra(folder, endless)
    with pytest.raises(BundleError, match=r"does not come to an end|broke the process"):
        tried(folder)


@pytest.mark.parametrize("then", [1e9, -1e6, float("inf"), float("nan")])
def test_a_unit_with_impossible_figures_falls_back_alone_and_it_is_said(folder: Path, then: float) -> None:
    with_extra(folder, lambda model: when_hot(model, then))
    units = [unit(COVERED[0], "m1"), unit(COVERED[0], "m2")]
    predictor = BundlePredictor(load_bundle(folder), units)
    good = predict(predictor, units)
    assert predictor.fallback_mask(units) == (False, False)
    inputs = features(units)
    inputs[1, FIRST] = 4500.0
    shares = np.tile(SHARES, (2, 1))
    found = predictor.predict(inputs, shares, np.zeros(shares.shape), MONEY)
    assert predictor.fallback_mask(units) == (False, True)
    assert "profile curves for 1 of 2 units with impossible predictions" in predictor.label
    assert np.isfinite(found.hashrate_ths[1, :4]).all() and (found.hashrate_ths[1, :4] < 5000.0).all()
    np.testing.assert_array_equal(found.hashrate_ths[0], good.hashrate_ths[0])
    predict(predictor, units)
    assert predictor.fallback_mask(units) == (False, False)


def test_a_graph_that_stops_running_gives_way_to_the_profiles_and_it_is_said(folder: Path) -> None:
    with_extra(folder, breaks_when_hot)
    units = [unit(COVERED[0], "m1"), unit(COVERED[0], "m2")]
    predictor = BundlePredictor(load_bundle(folder), units)
    predict(predictor, units)
    assert not predictor.is_fallback
    inputs = features(units)
    inputs[1, FIRST] = 4500.0
    shares = np.tile(SHARES, (2, 1))
    found = predictor.predict(inputs, shares, np.zeros(shares.shape), MONEY)
    assert predictor.is_fallback and predictor.fallback_mask(units) == (True, True)
    assert predictor.label.startswith("profile curves (") and "does not run" in predictor.label
    assert np.isfinite(found.power_w[:, :4]).all()
    predict(predictor, units)
    assert not predictor.is_fallback


def test_golden_vectors_of_no_machine_are_refused(folder: Path) -> None:
    def change(tree: dict[str, object]) -> None:
        golden = tree["golden"]
        assert isinstance(golden, dict)
        golden["hashrate_ths"] = [[value + 1e5 for value in row] for row in golden["hashrate_ths"]]

    with_extra(folder, lambda model: _plus(model, 1e5))
    rewrite(folder, change)
    with pytest.raises(BundleError, match=r"hashrate_ths of the golden vectors is outside 0 to 5000"):
        load_bundle(folder)


def _plus(model: ModelProto, value: float) -> None:
    model.graph.node.append(
        helper.make_node("Identity", [constant(model, "more", value, np.float32)], ["extra"])
    )
