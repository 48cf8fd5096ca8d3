"""A bad profile is named by file, line, key and what was expected."""

from pathlib import Path

import pytest

from agent.hardware.catalogue import check_folder
from tests.hardware.conftest import Edit


def line_of(path: Path, text: str) -> int:
    return next(i for i, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def only_problem(path: Path) -> str:
    problems = check_folder(path.parent)
    assert len(problems) == 1, problems
    return str(problems[0])


@pytest.mark.parametrize(
    ("old", "new", "key", "expected"),
    [
        ("vendor: bitmain", "vendor: canaan", "vendor", "expected 'bitmain' or 'microbt', got 'canaan'"),
        ("cooling: air", "cooling: air\nwarranty: 1", "warranty", "is not a known key"),
        ("status: tested", "status: perfect", "status", "expected 'read-only', 'tested' or 'field-proven'"),
        ("  value: 110", "  value: fast", "rated_hashrate_ths.value", "expected a valid number, got 'fast'"),
        ("  value: 110", "  value: -110", "rated_hashrate_ths.value", "expected greater than 0"),
        ("      settle_s: 300", "      settle_s: 0", "controls.stock.1.settle_s", "greater than 0"),
        ("        low:", "        turbo:", "controls.stock.0", "work mode 'turbo' is not one of"),
        ("    minimum: 0.55", "    minimum: 1.5", "search_bounds.power_limit", "must lie below maximum 1"),
        ("  stock: work_mode=normal", "  stock: work_mode=efficient", "default_safe_setting", "inside work"),
        ("  stock: work_mode=normal", "  stock: stop", "default_safe_setting", "not a hashing setting"),
        ("  stock: work_mode=normal\n", "", "default_safe_setting", "has controls"),
        ("  stock: work_mode=normal", "  stock: warp=9", "default_safe_setting", "unknown knob"),
        ("  chips_per_board: [114]", "  chips_per_board: 114", "layout.chips_per_board", "valid array"),
        ("key: antminer-s19-pro", "key: Antminer S19", "key", "string should match pattern"),
        ("key: antminer-s19-pro", "key: antminer-s19", "key", "expected the file's name 'antminer-s19-pro'"),
        ("  value: 110\n", "  value: 1100\n", "rated_power_w.value", "gives 3.0 J/TH"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named_with_line_key_and_expectation(
    edited: Edit, old: str, new: str, key: str, expected: str
) -> None:
    path = edited("antminer-s19-pro", (old, new))

    problem = only_problem(path)

    assert problem.startswith(f"{path}:"), problem
    assert f": {key}" in problem
    assert expected in problem


def test_the_line_is_that_of_the_key(edited: Edit) -> None:
    path = edited("antminer-s19-pro", ("      settle_s: 300", "      settle_s: soon"))

    assert only_problem(path).startswith(f"{path}:{line_of(path, 'settle_s: soon')}: ")


def test_a_missing_key_is_named(edited: Edit) -> None:
    path = edited("antminer-s19-pro", ("cooling: air\n", ""))

    assert "cooling: is missing" in only_problem(path)


def test_a_figure_without_source_is_refused(edited: Edit) -> None:
    path = edited(
        "antminer-s19-pro", ('  value: 110\n  source: "miningstore.com S19 guide page"\n', "  value: 110\n")
    )

    assert "rated_hashrate_ths.source: is missing" in only_problem(path)


def test_a_key_that_stands_twice_is_refused(edited: Edit) -> None:
    path = edited("antminer-s19-pro", ("cooling: air", "cooling: air\ncooling: hydro"))

    assert only_problem(path).startswith(
        f"{path}:{line_of(path, 'cooling: hydro')}: cooling: this key stands twice"
    )


def test_a_knob_listed_twice_is_refused(edited: Edit) -> None:
    stop = "    - knob: stop\n      unit: mode\n      restarts_hashing: true\n      settle_s: 300\n"
    path = edited("antminer-s19-pro", (stop, f"{stop}      source: manual\n{stop}"))

    assert "controls: stock lists stop twice" in only_problem(path)


def test_an_implausible_grade_is_refused(edited: Edit) -> None:
    path = edited("antminer-s19j-pro", ("    power_w: 2832", "    power_w: 28320"))

    problem = only_problem(path)

    assert f":{line_of(path, 'power_w: 28320')}: bins.0.power_w: gives 295.0 J/TH" in problem


def test_an_alias_of_another_model_is_refused_however_it_is_written(edited: Edit) -> None:
    edited("antminer-s19")
    path = edited(
        "antminer-s19-pro", ('  - "Antminer S19 Pro"', '  - "Antminer S19 Pro"\n  - "ANTMINER_S19 (95T)"')
    )

    problem = only_problem(path)

    assert f"{path}:{line_of(path, '(95T)')}: aliases.1:" in problem
    assert "already belongs to antminer-s19" in problem


def test_every_bad_file_is_reported_not_only_the_first(edited: Edit) -> None:
    bad = [
        edited("antminer-s19", ("vendor: bitmain", "vendor: canaan")),
        edited("antminer-s21", ("status: tested", "status: new")),
        edited("whatsminer-m60s", ("cooling: air", "cooling: fire")),
    ]
    edited("antminer-s19-pro")

    problems = check_folder(bad[0].parent)

    assert [problem.path for problem in problems] == bad


def test_a_file_that_is_not_yaml_does_not_hide_the_others(edited: Edit, tmp_path: Path) -> None:
    (tmp_path / "aaa.yaml").write_text("key: [unclosed")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    edited("antminer-s19-pro")

    problems = check_folder(tmp_path)

    assert [p.path.name for p in problems if p.path] == ["aaa.yaml", "binary.yaml", "empty.yaml", "list.yaml"]


def test_a_profile_without_controls_needs_no_safe_setting(edited: Edit) -> None:
    path = edited("antminer-t21")
    text = path.read_text()
    controls, rest = text.index("controls:\n"), text.index("restarts_per_day:")
    path.write_text(f"{text[:controls]}controls:\n  stock: []\n{text[rest:]}".replace("tested", "read-only"))

    assert "default_safe_setting" not in path.read_text()
    assert check_folder(path.parent) == []
