"""The evaluation report: its rules, its comparison with the bundle in use, and the page in a real browser."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from agent.models.bundle import Bundle, load_bundle
from tests.trainer.conftest import Make
from trainer import report_comparison
from trainer.dataset import Dataset
from trainer.evaluation import Evaluation, evaluate
from trainer.families import Family
from trainer.learn import Learned
from trainer.power_model import Curves, fit_curves
from trainer.report import build_report, render, write_report
from trainer.report_comparison import compare_on_rows
from trainer.report_figures import Comparison, Difference, compare_reports, decisive, read_report
from trainer.report_plots import Series, bars, curve, dots, histogram, lines
from trainer.report_verdict import Judgement, verdict

CHROMIUM = Path(os.environ.get("HASHMARGIN_CHROMIUM", "/usr/bin/chromium"))
ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def evaluation(learned: Learned) -> Evaluation:
    return evaluate(learned.held_out)


@pytest.fixture(scope="module")
def report(learned: Learned, dataset: Dataset, bundle: Bundle) -> dict[str, Any]:
    kinds = [("stock", "vnish")[unit % 2] for unit in learned.held_out.unit]
    return build_report(bundle, learned, dataset, kinds)


def judged(evaluation: Evaluation, comparison: Comparison | None = None, **accuracy: Any) -> Judgement:
    """The verdict with some of hashrate's overall figures replaced."""
    overall = evaluation.overall
    own = replace(overall.quantities["hashrate_ths"], **accuracy)
    other = replace(overall, quantities=overall.quantities | {"hashrate_ths": own})
    return verdict(replace(evaluation, overall=other), {"slope_error": 0.05}, comparison)


def outcome(judgement: Judgement, name: str) -> str:
    return next(check.outcome for check in judgement.checks if check.name == name)


@pytest.mark.parametrize(
    ("error", "expected"), [(0.015, "promote"), (0.03, "look closer"), (0.05, "do not promote")]
)
def test_error_is_judged_by_its_two_limits(evaluation: Evaluation, error: float, expected: str) -> None:
    assert outcome(judged(evaluation, error=error), "hashrate error") == expected


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [(0.80, "promote"), (0.85, "look closer"), (0.74, "look closer"), (0.6, "do not promote")],
)
def test_coverage_is_judged_on_both_sides(evaluation: Evaluation, coverage: float, expected: str) -> None:
    assert outcome(judged(evaluation, coverage=coverage), "hashrate coverage") == expected


def test_the_worst_check_is_the_verdict_and_the_sentence_names_it(evaluation: Evaluation) -> None:
    found = judged(evaluation, error=0.2)
    assert found.outcome == "do not promote"
    assert re.match(r"Hashrate error.* against it; \d+ of \d+ checks pass\.", found.sentence)


def test_a_slope_nobody_could_measure_needs_a_look(evaluation: Evaluation) -> None:
    found = verdict(evaluation, {"slope_error": None}, None)
    assert outcome(found, "slope of power over hashrate") == "look closer"


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("regret usd_per_unit_day", "do not promote"),
        ("coverage power_w", "do not promote"),
        ("error power_w", "look closer"),
    ],
)
def test_being_worse_than_the_bundle_in_use_counts(
    evaluation: Evaluation, metric: str, expected: str
) -> None:
    worse = Difference(metric, "all", 0.5, 0.1, 0.01, "worse")
    against = Comparison("0" * 16, "2026-01-01", "same rows", 500, 9, [worse])
    assert outcome(judged(evaluation, against), "against the bundle in use") == expected


def test_a_bundle_that_knows_these_days_is_compared_by_reports_only(
    bundle: Bundle, learned: Learned, dataset: Dataset
) -> None:
    # Its training reaches to the end of the data, so no row is new to it.
    assert compare_on_rows(bundle, learned.chosen.family, learned.held_out, dataset, 1) is None


def ended(bundle: Bundle, at_s: float) -> Bundle:
    """The same bundle, as if its training had ended then."""
    training = bundle.manifest.training.model_copy(update={"end": datetime.fromtimestamp(at_s, UTC)})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"training": training}))


def test_a_refit_is_no_worse_than_a_bundle_of_the_same_family(
    bundle: Bundle, learned: Learned, dataset: Dataset
) -> None:
    middle_s = float(np.median(learned.held_out.at_s))
    found = compare_on_rows(ended(bundle, middle_s), learned.chosen.family, learned.held_out, dataset, 1)
    assert found is not None and found.basis == "same rows"
    late = learned.held_out.seen & (learned.held_out.at_s >= middle_s)
    assert found.rows == late.sum() > 200
    by_name = {(d.metric, d.scope): d for d in found.differences}
    # The bundle was fitted to these rows and the refit was not, so they can only be near each other.
    for metric in ("error hashrate_ths", "error power_w"):
        own = by_name[metric, "all"]
        assert own.a is not None and own.b is not None and 0.5 * own.a < own.b < 1.5 * own.a
    assert ("regret usd_per_unit_day", "all") in by_name


def test_the_refit_sees_nothing_of_the_rows_it_is_compared_on(
    bundle: Bundle, learned: Learned, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    middle_s = float(np.median(learned.held_out.at_s))
    latest: list[float] = []

    def watched(family: Family, rows: Dataset, seed: int) -> Curves:
        latest.append(float(rows.end_s.max()))
        return fit_curves(family, rows, seed)

    monkeypatch.setattr(report_comparison, "fit_curves", watched)
    compare_on_rows(ended(bundle, middle_s), learned.chosen.family, learned.held_out, dataset, 1)
    assert len(latest) == 1 and latest[0] <= middle_s


def test_a_bundle_that_is_far_off_on_the_same_rows_is_worse(
    bundle: Bundle, learned: Learned, dataset: Dataset
) -> None:
    rows = learned.held_out
    # Every miner draws a fifth more than the bundle in use was made for.
    warmer = replace(dataset, power_w=1.2 * dataset.power_w)
    observed = replace(rows, power_w=1.2 * rows.power_w)
    start_s = float(rows.at_s.min())
    found = compare_on_rows(ended(bundle, start_s), learned.chosen.family, observed, warmer, 1)
    assert found is not None
    verdicts = {d.metric: d.verdict for d in found.differences if d.scope == "all"}
    assert verdicts["error power_w"] == "better" and verdicts["error hashrate_ths"] != "better"
    assert decisive([Difference("error power_w", "all", 1.0, 0.5, 0.1, "worse")]) == []
    (bad,) = decisive([Difference("regret", "all", 0.5, 0.1, 0.1, "worse")])
    assert bad.metric == "regret"


def test_one_miner_of_a_model_cannot_tell_better_from_worse(bundle: Bundle, report: dict[str, Any]) -> None:
    other = copy.deepcopy(report)
    own = other["evaluation"]["by_model"][0]["quantities"]["hashrate_ths"]
    own |= {"error": 0.5, "standard_error": None}
    found = compare_reports(bundle.manifest, other, bundle.manifest, report)
    name = other["evaluation"]["by_model"][0]["name"]
    verdicts = {(d.metric, d.scope): d.verdict for d in found}
    assert verdicts["error hashrate_ths", name] == "unknown"
    assert verdicts["regret", "all"] == "equal"


def test_both_files_are_written_and_read_back(
    bundle: Bundle,
    report: dict[str, Any],
    make: Make,
) -> None:
    folder = make(5)
    own = report | {"bundle_id": load_bundle(folder).manifest.bundle_id}
    write_report(folder, own)
    assert read_report(folder) == own
    assert load_bundle(folder).manifest.bundle_id == own["bundle_id"]
    assert (folder / "report.html").stat().st_size < 1_500_000


def test_the_report_says_how_long_the_graphs_take_for_a_row_a_farm_and_all_its_candidates(
    report: dict[str, Any],
) -> None:
    assert [entry["rows"] for entry in report["latency"]] == [1, 1_000, 60_000]
    assert report["latency"][-1]["power_ms"] > report["latency"][0]["power_ms"] > 0.0
    assert "60,000 rows: power" in render(report)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format_version": 1}', "[" * 100_000])
def test_a_report_that_cannot_be_read_is_as_good_as_none(text: str, make: Make) -> None:
    folder = make(6)
    (folder / "metrics.json").write_text(text)
    assert read_report(folder) is None


def test_a_report_of_another_bundle_is_not_taken_for_ones_own(
    report: dict[str, Any],
    make: Make,
) -> None:
    folder = make(8)
    (folder / "metrics.json").write_text(json.dumps(report))
    assert read_report(folder) is None


def test_names_from_the_lake_cannot_put_markup_on_the_page(report: dict[str, Any]) -> None:
    hostile = copy.deepcopy(report)
    for group in hostile["evaluation"]["by_firmware"] + hostile["evaluation"]["by_model"]:
        group["name"] = "<script>alert(1)</script>"
    for one in hostile["evaluation"]["sampled"]:
        one["miner"] = '"><script>alert(2)</script>'
    hostile["families"][0]["family"] = "</svg><script>alert(3)</script>"
    assert "<script" not in render(hostile)


@pytest.mark.parametrize("part", ["regret", "unseen"])
def test_a_page_without_what_could_not_be_judged_is_still_a_page(report: dict[str, Any], part: str) -> None:
    less = copy.deepcopy(report)
    less["evaluation"] |= {part: None, "sampled": [], "by_week": [], "residuals": {}, "by_firmware": []}
    less |= {"families": [], "importance": {}, "slope_error": None}
    assert "</html>" in render(less)


def test_drawings_put_values_where_the_axis_says() -> None:
    svg = bars("t", {"a": 1.0, "b": 2.0}, {"a": None, "b": 0.5}, "x")
    widths = [float(w) for w in re.findall(r'<rect class="bar s1"[^>]* width="([\d.]+)"', svg)]
    assert widths[1] == pytest.approx(2.0 * widths[0], abs=0.2)
    shape = {"edges": [-0.1, 0.0, 0.1], "shares": [0.25, 0.75]}
    heights = [float(h) for h in re.findall(r'height="([\d.]+)"/>', histogram("t", shape))]
    assert heights[1] == pytest.approx(3.0 * heights[0], abs=0.2)


def test_drawings_stand_values_that_are_missing_or_all_the_same() -> None:
    assert "<circle" in lines("t", ["a", "b"], [Series("x", [None, 0.0])])
    assert "<circle" in dots("t", ["a"], [Series("x", [80.0], [None])], (72.0, 88.0), 80.0, "%")
    flat = {name: [5.0, 5.0] for name in ("rate", "power", "predicted_rate", "predicted_power")}
    assert "nan" not in curve("t", flat)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        try:
            yield browser
        finally:
            await browser.close()


_CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const found = rgb(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll('h1,h2,h3,p,td,th,dt,dd,figcaption,.badge,svg text')) {
    if (!node.textContent.trim()) continue;
    const style = getComputedStyle(node);
    const ink = light(rgb(node.namespaceURI.endsWith('svg') ? style.fill : style.color));
    const paper = light(behind(node));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    if (ratio < 4.5) poor.push(node.textContent.trim().slice(0, 40) + ' ' + ratio.toFixed(2));
  }
  return poor;
}"""


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium: apt-get install chromium")
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light")])
async def test_the_page_opens_whole_asks_for_nothing_and_can_be_read(
    browser: Browser, report: dict[str, Any], tmp_path: Path, width: int, scheme: Any
) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(report))
    context = await browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    try:
        page = await context.new_page()
        asked: list[str] = []
        complaints: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(file.as_uri())
        assert complaints == []
        assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
        heading = page.get_by_role("heading", level=1)
        assert (await heading.inner_text()).lower() == report["verdict"]["outcome"]
        assert await heading.is_visible()
        # Nothing sticks out to the side, and what is too wide scrolls in a region with a name.
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await page.evaluate("[...document.querySelectorAll('.scroll')].every(n => n.ariaLabel)")
        assert await page.evaluate("[...document.querySelectorAll('svg')].every(n => n.ariaLabel)")
        assert await page.locator("svg").count() >= 10
        levels = await page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3')].map(n => Number(n.tagName[1]))"
        )
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert await page.evaluate(_CONTRAST) == []
    finally:
        await context.close()


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Chromium: apt-get install chromium")
@pytest.mark.asyncio(loop_scope="module")
async def test_a_dark_screen_prints_dark_ink_on_white_within_the_page(
    browser: Browser, report: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(report))
    context = await browser.new_context(viewport={"width": 760, "height": 1000}, color_scheme="dark")
    try:
        page = await context.new_page()
        await page.goto(file.as_uri())
        await page.emulate_media(media="print")
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert await page.evaluate("document.documentElement.scrollWidth") <= 760
        assert await page.evaluate(_CONTRAST) == []
    finally:
        await context.close()


def test_the_document_holds_only_what_json_can_say(report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["evaluation"]["by_firmware"][0]["name"] == "stock"
    assert np.isfinite(report["evaluation"]["overall"]["quantities"]["hashrate_ths"]["error"])
