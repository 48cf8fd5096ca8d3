"""Whatsminer login arithmetic against vectors from elsewhere (published samples, OpenSSL)."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.modes import ECB

from agent.devices.whatsminer.crypto import md5crypt, seal, unseal, v2_keys, v3_token


@pytest.mark.parametrize(
    ("password", "salt", "expected"),
    [
        ("admin", "BQ5hoXV9", "RxmaDUO33TS7O26yeMHZ81"),
        ("admin", "abcdefgh", "l/LAqC8oJERu7Cmx6trtY/"),
        # openssl passwd -1
        ("", "ab", "rn6aQS/o7141mj179E/zA."),
        ("x" * 40, "12345678", "WmUwxmYnSdAX9cEZA7SiC."),
    ],
)
def test_md5crypt_agrees_with_other_implementations(password: str, salt: str, expected: str) -> None:
    assert md5crypt(password, salt) == expected


def test_the_token_and_key_follow_from_the_vector() -> None:
    keys = v2_keys("admin", "BQ5hoXV9", "jbzkfQls", "5626")
    assert keys.sign == "w.BNbkCV6n1aNWgiBWLzT/"
    assert keys.aes_key.hex() == "199e0a202039bb7b558db7a54697dca29cb278055b7e659a127fb844d5a2fbf6"


def test_only_the_last_four_characters_of_time_count() -> None:
    keys = v2_keys("admin", "abcdefgh", "1234567", "20250509120000")
    assert keys.sign == "W5ylkpVu/w4cK5Ud/9QVK0"
    assert keys == v2_keys("admin", "abcdefgh", "1234567", "0000")


def test_keys_do_not_show_in_repr() -> None:
    keys = v2_keys("admin", "BQ5hoXV9", "jbzkfQls", "5626")
    assert keys.sign not in repr(keys)


def test_a_sealed_command_decrypts_to_the_command_with_its_token() -> None:
    keys = v2_keys("admin", "BQ5hoXV9", "jbzkfQls", "5626")
    envelope = json.loads(seal(keys, {"cmd": "power_off", "respbefore": "true"}))
    assert envelope["enc"] == 1
    plain = unseal(keys, envelope["data"])
    assert plain is not None
    assert json.loads(plain) == {"cmd": "power_off", "respbefore": "true", "token": keys.sign}


def test_a_published_ciphertext_decrypts() -> None:
    keys = v2_keys("admin", "abcdefgh", "1234567", "20250509120000")
    assert unseal(keys, "fhyv9ee2ArLShd3TVt5xkln53k76jhJ3tow4Uh/iPa0=") == b'{"cmd":"get_version"}'


@pytest.mark.parametrize("pad", ["nul", "pkcs7"])
def test_both_paddings_come_off(pad: str) -> None:
    keys = v2_keys("admin", "a", "b", "1")
    raw = b'{"STATUS":"S"}' + (b"\0\0" if pad == "nul" else b"\2\2")
    encryptor = Cipher(algorithms.AES(keys.aes_key), ECB()).encryptor()
    sealed = base64.b64encode(encryptor.update(raw) + encryptor.finalize()).decode()
    assert unseal(keys, sealed) == b'{"STATUS":"S"}'


@pytest.mark.parametrize("sealed", ["", "!!!!", "QUJD", "é", "A" * 5])
def test_what_is_no_aes_block_is_none(sealed: str) -> None:
    assert unseal(v2_keys("admin", "a", "b", "1"), sealed) is None


def test_a_salt_with_a_lone_surrogate_does_not_raise() -> None:
    assert len(md5crypt("admin", "\ud800x")) == 22


def test_the_v3_token_follows_from_the_vector() -> None:
    assert v3_token("set.miner.power_limit", "super", "uhCiDyVj", 1773869570) == "TaB0bCds"
