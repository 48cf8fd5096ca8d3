"""The inventory file: what people wrote in it survives every change."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.discovery.changes import Plan
from agent.discovery.inventory import Inventory
from agent.errors import ConfigError, InputError
from agent.miner_config import InventoryFile, MinerConfig
from agent.yamlfile import parse_yaml

A, B = "02:63:00:00:00:0a", "02:63:00:00:00:0b"
NEW = {"id": "s19-xp-00000b", "address": "10.0.0.9", "mac": B, "family": "antminer-stock"}
HAND_MADE = """\
# Hall 2, rack rows from the door.
# Ask Ana before touching row b.
miners:
    # the noisy one
    - id: "old-1"          # relabelled in May
      address: 10.0.0.1    # static lease
      tags: [row-a, 'loud']

    # row b
    - {id: old-2, address: 10.0.0.2, mac: "02-63-00-00-00-0A"}
    - address: 10.0.0.3
      bounds:
        power_limit_w: {minimum: 2500}   # breaker 7
      mode: observe
# end of hall 2
"""


def loaded(tmp_path: Path, text: str = HAND_MADE) -> Inventory:
    path = tmp_path / "inventory.yaml"
    path.write_text(text)
    return Inventory.load(path)


def lines_gone(before: str, after: str) -> list[str]:
    return [line for line in before.splitlines() if line not in after.splitlines()]


def test_nothing_is_written_where_nothing_changed(tmp_path: Path) -> None:
    assert loaded(tmp_path).changed_by(Plan(())) is None


def test_a_new_address_changes_one_line_and_keeps_its_comment(tmp_path: Path) -> None:
    raw = loaded(tmp_path).changed_by(Plan((), {0: {"address": "10.0.0.77"}}))
    assert raw is not None
    assert lines_gone(HAND_MADE, raw.decode()) == ["      address: 10.0.0.1    # static lease"]
    assert "      address: 10.0.0.77   # static lease" in raw.decode().splitlines()


def test_a_mac_is_filled_in_beside_the_address_in_quotes(tmp_path: Path) -> None:
    raw = loaded(tmp_path).changed_by(Plan((), {0: {"mac": B}}))
    assert raw is not None
    assert lines_gone(HAND_MADE, raw.decode()) == []
    assert f'      mac: "{B}"' in raw.decode().splitlines()


def test_comments_that_follow_an_entry_stay_behind_it(tmp_path: Path) -> None:
    text = "miners:\n- address: 10.0.0.1  # one\n\n  # row b\n- address: 10.0.0.2\n"
    raw = loaded(tmp_path, text).changed_by(Plan((), {0: {"mac": B}}))
    assert raw == text.replace("- address: 10.0.0.1", f'- mac: "{B}"\n  address: 10.0.0.1').encode()


def test_new_miners_come_last_and_all_else_stays(tmp_path: Path) -> None:
    raw = loaded(tmp_path).changed_by(Plan((), additions=(NEW,)))
    assert raw is not None
    text = raw.decode()
    assert lines_gone(HAND_MADE, text) == []
    assert yaml.safe_load(text)["miners"][-1] == NEW
    assert len(yaml.safe_load(text)["miners"]) == 4


@pytest.mark.parametrize("text", ["", "\n", "miners:\n", "miners: []\n", "# mine\nminers: []  # none yet\n"])
def test_the_first_miner_of_an_empty_inventory_stands_in_a_list(tmp_path: Path, text: str) -> None:
    raw = loaded(tmp_path, text).changed_by(Plan((), additions=(NEW,)))
    assert raw is not None
    assert yaml.safe_load(raw)["miners"] == [NEW]
    assert b"- id:" in raw
    assert (b"# mine" in raw) == ("# mine" in text)


def test_a_file_that_is_not_there_is_made_and_says_what_it_is(tmp_path: Path) -> None:
    file = Inventory.load(tmp_path / "inventory.yaml")
    raw = file.changed_by(Plan((), additions=(NEW,)))
    assert raw is not None
    file.save(raw)
    assert (tmp_path / "inventory.yaml").read_text().startswith("# Miners of this site")
    assert [miner.mac for miner in Inventory.load(tmp_path / "inventory.yaml").miners] == [B]
    assert stat.S_IMODE((tmp_path / "inventory.yaml").stat().st_mode) == 0o644


def test_windows_line_ends_stay(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_bytes(b"miners:\r\n  - address: 10.0.0.1  # one\r\n")
    raw = Inventory.load(path).changed_by(Plan((), additions=(NEW,)))
    assert raw is not None
    assert raw.count(b"\r\n") == raw.count(b"\n") == 6


def test_the_mode_of_the_file_stays_and_no_litter_is_left(tmp_path: Path) -> None:
    file = loaded(tmp_path)
    (tmp_path / "inventory.yaml").chmod(0o640)
    file.save(HAND_MADE.encode() + b"# more\n")
    assert stat.S_IMODE((tmp_path / "inventory.yaml").stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [tmp_path / "inventory.yaml"]


def test_a_link_to_the_inventory_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "hall2.yaml").write_text(HAND_MADE)
    (tmp_path / "inventory.yaml").symlink_to("real/hall2.yaml")
    Inventory.load(tmp_path / "inventory.yaml").save(b"miners: []\n")
    assert (tmp_path / "inventory.yaml").is_symlink()
    assert (tmp_path / "real" / "hall2.yaml").read_bytes() == b"miners: []\n"


def test_an_edit_made_meanwhile_is_never_overwritten(tmp_path: Path) -> None:
    file = loaded(tmp_path)
    edited = HAND_MADE.replace("relabelled", "sold")
    (tmp_path / "inventory.yaml").write_text(edited)
    with pytest.raises(InputError, match="changed by somebody else"):
        file.save(b"miners: []\n")
    assert (tmp_path / "inventory.yaml").read_text() == edited


def test_a_file_that_appeared_meanwhile_is_never_overwritten(tmp_path: Path) -> None:
    file = Inventory.load(tmp_path / "inventory.yaml")
    (tmp_path / "inventory.yaml").write_text(HAND_MADE)
    with pytest.raises(InputError, match="changed by somebody else"):
        file.save(b"miners: []\n")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = loaded(tmp_path)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        file.save(b"miners: []\n")
    assert (tmp_path / "inventory.yaml").read_text() == HAND_MADE
    assert list(tmp_path.iterdir()) == [tmp_path / "inventory.yaml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("miners:\n  - address: 10.0.0.1\n  - address: 10.0.0.1\n", "already stands at miners.0"),
        (
            'miners:\n  - {address: a, mac: "02:63:00:00:00:0a"}\n  - {address: b, mac: 0263.0000.000A}\n',
            "mac",
        ),
        ("miners:\n  - address: a\n    mac: 12:34:56:10:20:30\n", ":3: miners.0.mac: .*needs quotes"),
        ("miners:\n  - address: a\n    mac: nonsense\n", ":3: miners.0.mac: expected the MAC"),
        ('miners:\n  - address: a\n    mac: "ff:ff:ff:ff:ff:ff"\n', "expected the MAC"),
        ("miners:\n  - address: a\n    hots: b\n", ":3: miners.0.hots: is not a known key"),
        ("other: 1\n", "other: is not a known key"),
        ("- a\n", "expected"),
        ("miners: [", "not valid YAML"),
    ],
)
def test_a_file_with_a_mistake_is_refused_by_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        loaded(tmp_path, text)


def test_a_file_that_cannot_be_changed_in_place_is_left_alone(tmp_path: Path) -> None:
    shared = "miners:\n  - &m {address: 10.0.0.1, tags: &t [a]}\n  - {address: 10.0.0.2, tags: *t}\n"
    raw = loaded(tmp_path, shared).changed_by(Plan((), {0: {"mac": A}}))
    assert raw is not None
    assert yaml.safe_load(raw)["miners"][1] == {"address": "10.0.0.2", "tags": ["a"]}


words = st.text("abcdefghijklmnop qrstuvwxyz:#'\"-[]{}&*!|>%@,.0123456789", max_size=30)
comments = st.one_of(st.none(), words)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9._:-]{0,12}", fullmatch=True)


@st.composite
def inventories(draw: st.DrawFn) -> str:
    """A file as people write them: comments, empty lines, quotes, either style, any indent."""
    indent = " " * draw(st.integers(0, 4))
    out = [f"# {draw(words)}", "miners:"]
    taken = draw(st.lists(names, min_size=1, max_size=5, unique_by=str.lower))
    for n, name in enumerate(taken):
        if (comment := draw(comments)) is not None:
            out.append(f"{indent}# {comment}")
        quote = draw(st.sampled_from(["'", '"']))
        parts = [f"id: {quote}{name}{quote}", f"address: 10.0.0.{n + 1}"]
        if draw(st.booleans()):
            parts.append(f'mac: "02:63:00:00:00:{n:02x}"')
        if draw(st.booleans()):
            parts.append("tags: [x,  'y']")
        if draw(st.booleans()):
            parts.append("ports: {api: 4028}")
        parts = draw(st.permutations(parts))
        if draw(st.integers(0, 4)) == 0:
            out.append(f"{indent}- {{{', '.join(parts)}}}")
            continue
        for k, part in enumerate(parts):
            tail = draw(comments)
            out.append(
                f"{indent}{'- ' if k == 0 else '  '}{part}" + (f"  # {tail}" if tail is not None else "")
            )
            if draw(st.integers(0, 9)) == 0:
                out.append("")
    return "\n".join(out) + "\n"


@given(inventories(), st.data())
def test_any_inventory_keeps_its_comments_and_every_value_that_is_not_changed(
    text: str, data: st.DataObject
) -> None:
    before = yaml.safe_load(text)["miners"]
    updates: dict[int, dict[str, str]] = {}
    for i, miner in enumerate(before):
        if data.draw(st.booleans()):
            updates[i] = {"address": f"10.9.0.{i + 1}"}
        if "mac" not in miner and data.draw(st.booleans()):
            updates.setdefault(i, {})["mac"] = f"02:64:00:00:00:{i:02x}"
    additions = (
        ({**NEW, "mac": "02:65:00:00:00:01", "id": "a-very-new-name-65"},) if data.draw(st.booleans()) else ()
    )
    file = Inventory(Path("inventory.yaml"), text.encode(), _miners(text))
    raw = file.changed_by(Plan((), updates, additions))
    if not updates and not additions:
        assert raw is None
        return
    assert raw is not None
    after = yaml.safe_load(raw)["miners"]
    assert after == [{**miner, **updates.get(i, {})} for i, miner in enumerate(before)] + list(additions)
    assert _comments(text) == _comments(raw.decode())


@given(inventories(), st.data())
def test_writing_the_same_twice_changes_nothing_more(text: str, data: st.DataObject) -> None:
    plan = Plan((), {0: {"address": "10.9.0.1"}})
    once = Inventory(Path("i"), text.encode(), _miners(text)).changed_by(plan)
    assert once is not None
    twice = Inventory(Path("i"), once, _miners(once.decode())).changed_by(plan)
    assert twice == once


def _miners(text: str) -> tuple[MinerConfig, ...]:
    return tuple(parse_yaml(text, InventoryFile).miners or [])


def _comments(text: str) -> list[str]:
    """Every comment, in order, as a scanner of YAML sees them."""
    found = []
    for line in text.splitlines():
        quoted, quote = False, ""
        for k, sign in enumerate(line):
            if quoted:
                quoted = sign != quote
            elif sign in "'\"" and (k == 0 or line[k - 1] in " ,[{"):
                quoted, quote = True, sign
            elif sign == "#" and (k == 0 or line[k - 1] == " "):
                found.append(line[k:].rstrip())
                break
    return found
