"""A site file may narrow bounds per model, tag or miner; one that would widen them is refused."""

from pathlib import Path

import pytest

from agent.config import SiteConfig, load_site
from agent.errors import ConfigError
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import check_overrides, effective_bounds, overrides_for
from agent.setting import Knob

CATALOGUE = Catalogue.load()
HEAD = """
site: {id: s}
market: {hashprice_usd_per_ths_day: 0.05}
tariff: {kind: fixed, price_usd_per_kwh: 0.05}
"""
MINERS = """
miners:
  - {address: 192.0.2.1, model: whatsminer-m30s-plus-plus, tags: [hot, row-a]}
  - {address: 192.0.2.2, model: antminer-s21, tags: [hot]}
  - {address: 192.0.2.3}
"""


def site(tmp_path: Path, text: str) -> tuple[SiteConfig, Path]:
    path = tmp_path / "site.yaml"
    path.write_text(HEAD + text)
    return load_site(path), path


@pytest.mark.parametrize(
    "text",
    [
        "bounds_by_model: {whatsminer-m30s-plus-plus: {power_limit_w: {minimum: 2500, maximum: 3300}}}",
        "bounds_by_model: {whatsminer-m30s-plus-plus: {power_limit_share: {minimum: 0.65, maximum: 1.0}}}",
        "bounds_by_model: {antminer-s21: {work_modes: [normal], may_stop: false}}",
        "bounds_by_model: {antminer-s21: {hashrate_percent: {minimum: 70}}}",
        "bounds_by_model: {antminer-s9: {may_stop: false}}",
        "bounds_by_tag: {hot: {power_limit_share: {maximum: 0.8}}}",
        "bounds_by_tag: {hot: {hashrate_percent: {maximum: 90}, power_percent: {maximum: 90}}}",
        "bounds_by_tag: {hot: {work_modes: [normal, efficient]}}",
        "modes_by_model: {antminer-s21: apply}",
    ],
)
def test_narrowing_is_accepted(tmp_path: Path, text: str) -> None:
    config, path = site(tmp_path, text + MINERS)

    check_overrides(config, CATALOGUE, path)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (
            "bounds_by_model: {whatsminer-m30s-plus-plus: {power_limit_w: {maximum: 3600}}}",
            "bounds_by_model.whatsminer-m30s-plus-plus.power_limit_w.maximum",
            "3600 lies outside 2256.8 to 3472 of the profile whatsminer-m30s-plus-plus; a site may only",
        ),
        (
            "bounds_by_model: {whatsminer-m30s-plus-plus: {power_limit_w: {minimum: 1000}}}",
            "bounds_by_model.whatsminer-m30s-plus-plus.power_limit_w.minimum",
            "1000 lies outside 2256.8 to 3472",
        ),
        (
            "bounds_by_model: {whatsminer-m30s-plus-plus: {power_limit_share: {maximum: 1.2}}}",
            "bounds_by_model.whatsminer-m30s-plus-plus.power_limit_share.maximum",
            "1.2 lies outside 0.65 to 1",
        ),
        (
            "bounds_by_model: {whatsminer-m30s-plus-plus: {power_percent: {minimum: 40}}}",
            "bounds_by_model.whatsminer-m30s-plus-plus.power_percent.minimum",
            "40 lies outside 65 to 100",
        ),
        (
            "bounds_by_tag: {hot: {hashrate_percent: {maximum: 120}}}",
            "bounds_by_tag.hot.hashrate_percent.maximum",
            "120 lies outside 65 to 100 of the profile antminer-s21",
        ),
        (
            "bounds_by_model: {whatsminer-m30s-plus-plus: {work_modes: [normal, high]}}",
            "bounds_by_model.whatsminer-m30s-plus-plus.work_modes.1",
            "'high' is not a work mode of whatsminer-m30s-plus-plus; expected some of: low, normal",
        ),
        (
            "bounds_by_tag: {hot: {work_modes: [turbo]}}",
            "bounds_by_tag.hot.work_modes.0",
            "'turbo' is not a work mode",
        ),
        (
            "bounds_by_model: {antminer-t21: {power_percent: {maximum: 90}}}",
            "bounds_by_model.antminer-t21.power_percent",
            "antminer-t21 has no power_percent, expected one of work_mode, hashrate_percent, stop",
        ),
        (
            "bounds_by_model: {antminer-s9: {may_stop: true}}",
            "bounds_by_model.antminer-s9.may_stop",
            "the profile antminer-s9 has no stop",
        ),
        (
            "bounds_by_model: {M30S: {may_stop: false}}",
            "bounds_by_model.M30S",
            "'M30S' is no known hardware; did you mean whatsminer-m30s",
        ),
        ("modes_by_model: {antminer-s99: apply}", "modes_by_model.antminer-s99", "is no known hardware"),
    ],
)
def test_widening_is_refused_with_key_bound_and_remedy(
    tmp_path: Path, text: str, key: str, words: str
) -> None:
    config, path = site(tmp_path, text + MINERS)

    with pytest.raises(ConfigError) as caught:
        check_overrides(config, CATALOGUE, path)

    assert caught.value.key == key
    assert words in caught.value.problem
    assert caught.value.line == 5


def test_a_miners_own_override_is_checked_against_its_model(tmp_path: Path) -> None:
    config, path = site(
        tmp_path,
        """
miners:
  - address: 192.0.2.1
    model: M30S++_VE40
    bounds:
      power_limit_w:
        maximum: 9000
""",
    )

    with pytest.raises(ConfigError, match="9000 lies outside") as caught:
        check_overrides(config, CATALOGUE, path)

    assert (caught.value.key, caught.value.line) == ("miners.0.bounds.power_limit_w.maximum", 11)


def test_a_miner_of_unknown_model_is_refused(tmp_path: Path) -> None:
    config, path = site(tmp_path, "\nminers:\n  - {address: 192.0.2.1, model: Antminer S19 Pr}\n")

    with pytest.raises(ConfigError, match="did you mean antminer-s19-pro"):
        check_overrides(config, CATALOGUE, path)


def test_without_a_path_the_error_still_names_the_key(tmp_path: Path) -> None:
    config, _ = site(tmp_path, "modes_by_model: {antminer-s99: apply}" + MINERS)

    with pytest.raises(ConfigError, match=r"<text>: modes_by_model\.antminer-s99"):
        check_overrides(config, CATALOGUE)


def test_overrides_of_model_tags_and_miner_all_apply(tmp_path: Path) -> None:
    config, _ = site(
        tmp_path,
        """
bounds_by_model: {whatsminer-m30s-plus-plus: {power_limit_w: {minimum: 2600}}}
bounds_by_tag:
  hot: {power_limit_w: {maximum: 3300}}
  row-a: {power_percent: {maximum: 90}}
miners:
  - address: 192.0.2.1
    model: whatsminer-m30s-plus-plus
    tags: [hot, row-a]
    bounds: {may_stop: false}
""",
    )
    profile = CATALOGUE.profiles["whatsminer-m30s-plus-plus"]

    overrides = overrides_for(config, config.miners[0], profile.key)
    bounds = {b.knob: b for b in effective_bounds(profile, "stock", None, overrides)}

    limit, percent = bounds[Knob.POWER_LIMIT_W], bounds[Knob.POWER_PERCENT]
    assert (limit.minimum, limit.maximum) == (2600.0, 3300.0)
    assert percent.maximum == 90.0
    assert Knob.STOP not in bounds


def test_a_miner_of_unknown_model_gets_its_tag_and_own_overrides_only(tmp_path: Path) -> None:
    config, _ = site(
        tmp_path,
        """
bounds_by_model: {antminer-s21: {may_stop: false}}
bounds_by_tag: {hot: {power_percent: {maximum: 90}}}
miners: [{address: 192.0.2.1, tags: [hot]}]
""",
    )

    assert overrides_for(config, config.miners[0], None) == (config.bounds_by_tag["hot"],)
