"""The SSH host key of all simulated old Antminers: RSA from a fixed seed, so that every run has the same.

It protects nothing; no private key has to lie in the source for it.
"""

from __future__ import annotations

import random
from functools import lru_cache

import asyncssh
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

_SEED = "hashmargin simulated dropbear"
_BITS = 2048
_EXPONENT = 65537
_SMALL_PRIMES = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2))]


@lru_cache(maxsize=1)
def host_key() -> asyncssh.SSHKey:
    """The key; making it takes about a second of one core, once."""
    draw = random.Random(_SEED)
    p, q = _prime(draw), _prime(draw)
    private = pow(_EXPONENT, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=private,
        dmp1=rsa.rsa_crt_dmp1(private, p),
        dmq1=rsa.rsa_crt_dmq1(private, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(_EXPONENT, p * q),
    )
    pem = numbers.private_key().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return asyncssh.import_private_key(pem)


def _prime(draw: random.Random) -> int:
    while True:
        # The two highest bits make the product of two such numbers as long as it should be.
        number = draw.getrandbits(_BITS // 2) | (3 << (_BITS // 2 - 2)) | 1
        if any(number % prime == 0 for prime in _SMALL_PRIMES) or (number - 1) % _EXPONENT == 0:
            continue
        if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7)):
            return number
