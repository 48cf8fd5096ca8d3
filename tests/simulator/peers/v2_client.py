"""A Whatsminer v2 client of the tests' own: token handshake and encrypted writes with either padding."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from simulator.peers import Peer
from simulator.peers.md5crypt import md5crypt
from tests.simulator.peers.wire import ask, ask_json


@dataclass
class Session:
    peer: Peer
    sign: str
    aes: bytes

    def seal(self, padding: str = "nul", **request: Any) -> bytes:
        text = json.dumps({"token": self.sign} | request).encode()
        if padding == "nul":
            text += b"\x00" * (-len(text) % 16)
        else:
            padder = PKCS7(128).padder()
            text = padder.update(text) + padder.finalize()
        encryptor = Cipher(algorithms.AES(self.aes), modes.ECB()).encryptor()
        data = base64.b64encode(encryptor.update(text) + encryptor.finalize()).decode()
        return json.dumps({"enc": 1, "data": data}).encode()

    async def write(self, padding: str = "nul", **request: Any) -> Any:
        reply = json.loads(await ask(self.peer, self.seal(padding, **request)))
        if "enc" not in reply:
            return reply
        decryptor = Cipher(algorithms.AES(self.aes), modes.ECB()).decryptor()
        text = decryptor.update(base64.b64decode(reply["enc"])) + decryptor.finalize()
        return json.loads(text.rstrip(b"\x00")) | {"sealed": True}


async def log_in(peer: Peer, password: str = "admin") -> Session:
    grant = (await ask_json(peer, cmd="get_token"))["Msg"]
    key = md5crypt(password, grant["salt"])
    sign = md5crypt(key + grant["time"][-4:], grant["newsalt"])
    return Session(peer, sign, hashlib.sha256(key.encode()).digest())
