"""`hashmargin hardware` and `hashmargin config`, as a person runs them."""

import json
import os
from pathlib import Path

import pytest

from agent.cli import main
from agent.hardware.jsonschema import hardware_schema, site_schema
from tests.hardware.conftest import Edit

EXAMPLE = Path(__file__).resolve().parents[2] / "configs" / "site.example.yaml"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        main(list(words))
    out, err = capsys.readouterr()
    return int(exit_.value.code or 0), out, err


def test_list_shows_every_model_inside_eighty_columns(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    code, out, _ = run(capsys, "hardware", "list")

    assert code == 0
    assert "whatsminer-m30s-plus-plus" in out
    assert "…" not in out


def test_list_json_is_one_document_with_every_model(capsys) -> None:
    code, out, err = run(capsys, "hardware", "list", "--json")

    models = {model["key"]: model for model in json.loads(out)}
    assert (code, err) == (0, "")
    assert len(models) == 26
    assert models["antminer-s19-pro"]["efficiency_j_th"] == 29.55
    assert models["antminer-s9"]["controls"] == {"stock": ["frequency_percent", "voltage_percent"]}
    assert models["antminer-t21"]["controls"] == {"stock": ["work_mode", "hashrate_percent", "stop"]}
    assert models["whatsminer-m53s"]["controls"] == {"stock": []}


def test_list_takes_only_one_form(capsys) -> None:
    code, out, err = run(capsys, "hardware", "list", "--json", "--markdown")

    assert (code, out) == (2, "")
    assert "not both" in err


def test_show_names_figures_bounds_and_sources(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    code, out, _ = run(capsys, "hardware", "show", "M30S++_VE40")

    assert code == 0
    for words in ("112 TH/s", "3472 W", "31.0 J/TH", "2256.8 to 3472 W", "not offered: high", "pyasic"):
        assert words in out, words


def test_show_takes_a_name_of_several_words(capsys) -> None:
    code, out, _ = run(capsys, "hardware", "show", "S19j", "Pro")

    assert code == 0
    assert "antminer-s19j-pro" in out


def test_show_of_a_read_only_model_says_that_nothing_is_sent(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")

    _, out, _ = run(capsys, "hardware", "show", "M53S")

    assert "never written to" in out
    assert "none of this is sent to a miner" in out


def test_show_json_holds_the_profile_and_its_bounds(capsys) -> None:
    _, out, _ = run(capsys, "hardware", "show", "whatsminer-m60s", "--json")

    document = json.loads(out)
    assert document["rated_power_w"]["value"] == 3349.0
    assert {bound["knob"] for bound in document["bounds"]["stock"]} == {
        "power_limit_w",
        "power_percent",
        "work_mode",
        "stop",
    }
    assert document["safe_setting_shares"]["stock"]["power_share"] == 1.0


def test_show_of_an_unknown_model_gives_close_matches(capsys) -> None:
    code, out, err = run(capsys, "hardware", "show", "S19 Por")

    assert (code, out) == (2, "")
    assert "did you mean antminer-s19-pro" in err


def test_check_of_the_shipped_profiles_passes(capsys) -> None:
    code, out, err = run(capsys, "hardware", "check")

    assert (code, err) == (0, "")
    assert "26 profiles, nothing wrong" in out


def test_check_names_every_bad_file_and_exits_with_2(capsys, edited: Edit) -> None:
    first = edited("antminer-s19", ("vendor: bitmain", "vendor: canaan"))
    second = edited("antminer-s21", ("cooling: air", "cooling: fire"))
    edited("whatsminer-m60s")

    code, _, err = run(capsys, "hardware", "check", str(first.parent))

    assert code == 2
    assert f"{first}:5: vendor: expected 'bitmain' or 'microbt', got 'canaan'" in err
    assert f"{second}:9: cooling: expected" in err
    assert "2 files" in err


def test_check_of_an_absent_folder_exits_with_2(capsys, tmp_path: Path) -> None:
    code, _, err = run(capsys, "hardware", "check", str(tmp_path / "absent"))

    assert code == 2
    assert "cannot be read" in err


def test_the_schema_commands_print_the_schemas(capsys) -> None:
    assert json.loads(run(capsys, "hardware", "schema")[1]) == hardware_schema()
    assert json.loads(run(capsys, "config", "schema")[1]) == site_schema()


def test_config_check_of_the_example_lists_every_miner(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")

    code, out, err = run(capsys, "config", "check", str(EXAMPLE))

    assert (code, err) == (0, "")
    assert "power_limit_w 2600 to 3124.8 (site)" in out
    assert "5 miners, nothing wrong" in out


def test_config_check_json_gives_mode_and_bounds_of_each_miner(capsys) -> None:
    code, out, err = run(capsys, "config", "check", str(EXAMPLE), "--json")

    document = json.loads(out)
    assert (code, err, document["problems"], document["warnings"]) == (0, "", [], [])
    miners = {miner["id"]: miner for miner in document["miners"]}
    assert miners["s21-01"]["mode"] == "observe"
    assert miners["m60s-01"]["mode"] == "propose"
    limit = next(b for b in miners["m60s-01"]["bounds"] if b["knob"] == "power_limit_w")
    assert (limit["minimum"], limit["maximum"], limit["binding"]) == (2500.0, 3349.0, "site")
    assert miners["s21-01"]["bounds"][0]["choices"] == ["normal"]


def site_file(tmp_path: Path, extra: str = "") -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(
        f"""
site: {{id: s}}
market: {{hashprice_usd_per_ths_day: 0.05}}
tariff: {{kind: fixed, price_usd_per_kwh: 0.05}}
credentials:
  whatsminers: {{username: admin, password_file: secret}}
miners:
  - {{id: a, address: 192.0.2.1, model: whatsminer-m63, credentials: whatsminers, mode: apply}}
{extra}"""
    )
    return path


def test_config_check_names_a_secret_that_others_may_read(capsys, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o644)

    code, out, err = run(capsys, "config", "check", str(site_file(tmp_path)))

    assert code == 2
    assert "credentials.whatsminers" in err
    assert "chmod 600" in err
    assert "hunter2" not in out + err


def test_config_check_names_a_secret_that_is_absent(capsys, tmp_path: Path) -> None:
    code, _, err = run(capsys, "config", "check", str(site_file(tmp_path)))

    assert code == 2
    assert "secret cannot be read" in err


def test_config_check_accepts_a_secret_of_mode_0600_and_never_prints_it(capsys, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)

    code, out, err = run(capsys, "config", "check", str(site_file(tmp_path)), "--json")

    assert code == 0
    assert "hunter2" not in out + err
    assert json.loads(out)["miners"][0]["notes"] == ["profile is read-only: nothing will be set"]


def test_config_check_refuses_an_override_that_widens(capsys, tmp_path: Path) -> None:
    path = site_file(tmp_path, "bounds_by_model:\n  whatsminer-m60s:\n    power_percent: {minimum: 10}\n")

    code, _, err = run(capsys, "config", "check", str(path))

    assert code == 2
    assert (
        f"{path}:11: bounds_by_model.whatsminer-m60s.power_percent.minimum: 10 lies outside 65 to 100" in err
    )


def test_config_check_warns_of_a_tag_that_no_miner_carries(capsys, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    os.write(fd := os.open(secret, os.O_WRONLY), b"x")
    os.close(fd)

    _, out, _ = run(
        capsys, "config", "check", str(site_file(tmp_path, "modes_by_tag: {ghost: observe}\n")), "--json"
    )

    assert json.loads(out)["warnings"] == ["modes_by_tag.ghost: no miner carries this tag"]


@pytest.mark.parametrize(
    "words", [["hardware"], ["hardware", "show"], ["hardware", "check"], ["config", "check"]]
)
def test_help_teaches_by_example(capsys, words: list[str]) -> None:
    _, out, _ = run(capsys, *words, "--help")

    assert "hashmargin " in out
    assert "Example" in out
