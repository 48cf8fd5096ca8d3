from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from simulator.peers.md5crypt import md5crypt
from simulator.peers.whatsminer.tokens import BadEnvelope, TokenTable, decrypt, encrypt
from simulator.peers.whatsminer.v3 import write_digest

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OPENSSL_LONG = "fW3178yKPY70TFejaM1Fv."


def test_the_key_of_the_v2_vector() -> None:
    assert md5crypt("admin", "BQ5hoXV9") == "RxmaDUO33TS7O26yeMHZ81"


def test_the_sign_of_the_v2_vector() -> None:
    assert md5crypt("RxmaDUO33TS7O26yeMHZ81" + "5626", "jbzkfQls") == "w.BNbkCV6n1aNWgiBWLzT/"


def test_the_aes_key_of_the_v2_vector() -> None:
    digest = hashlib.sha256(b"RxmaDUO33TS7O26yeMHZ81").hexdigest()
    assert digest == "199e0a202039bb7b558db7a54697dca29cb278055b7e659a127fb844d5a2fbf6"


def test_the_token_of_the_v3_vector() -> None:
    digest = write_digest("set.miner.power_limit", "super", "uhCiDyVj", 1773869570)
    assert base64.b64encode(digest)[:8] == b"TaB0bCds"


def test_a_long_password_is_hashed_in_blocks() -> None:
    # From the independent `openssl passwd -1 -salt abcdefgh`.
    assert md5crypt("a much longer password than sixteen bytes", "abcdefgh") == OPENSSL_LONG


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 32])
def test_nul_padding_comes_off(length: int) -> None:
    text = b"x" * length
    assert decrypt(b"k" * 32, encrypt(b"k" * 32, text)) == text


def grant_sign(table: TokenTable, now: datetime) -> str:
    grant = table.grant(now)
    assert grant is not None
    key = md5crypt("admin", grant.salt)
    return md5crypt(key + grant.time[-4:], grant.newsalt)


def test_a_token_lives_for_30_minutes_since_its_last_use() -> None:
    table = TokenTable("admin", "unit")
    sign = grant_sign(table, NOW)
    assert table.accepts(sign, NOW + timedelta(minutes=29))
    assert table.accepts(sign, NOW + timedelta(minutes=58))
    assert not table.accepts(sign, NOW + timedelta(minutes=89))


def test_the_table_holds_100_tokens_and_makes_room_when_they_die() -> None:
    table = TokenTable("admin", "unit")
    assert all(table.grant(NOW) is not None for _ in range(100))
    assert table.grant(NOW) is None
    assert table.grant(NOW + timedelta(minutes=31)) is not None


def test_the_time_of_a_grant_has_four_digits() -> None:
    grant = TokenTable("admin", "unit").grant(NOW)
    assert grant is not None
    assert len(grant.time) == 4
    assert grant.time.isdigit()


@pytest.mark.parametrize(
    ("data", "code"),
    [("%%%", 137), ("YWJj", 23), (base64.b64encode(b"\x00" * 16).decode(), 23), (None, 14), ("", 23)],
)
def test_an_envelope_that_cannot_be_opened_has_its_code(data: object, code: int) -> None:
    with pytest.raises(BadEnvelope) as caught:
        TokenTable("admin", "unit").open(data)
    assert caught.value.code == code


def test_another_password_cannot_open_the_envelope() -> None:
    ours, theirs = TokenTable("admin", "unit"), TokenTable("changed", "unit")
    sealed = theirs.seal(json.dumps({"cmd": "reboot"}).encode())["enc"]
    with pytest.raises(BadEnvelope, match="enc json load err"):
        ours.open(sealed)
