"""Which pools are trusted, and that nothing else gets past the guard."""

import pytest

from agent.errors import InputError, OutOfBounds
from agent.pools.guard import PermittedPools, PoolGuard, PoolLogin
from agent.pools.watch import PoolWatch
from agent.reading import Pool, Reading

GUARD = PoolGuard(["*.braiins.com", "stratum+ssl://btc.f2pool.com:1300", "pool.example"])


@pytest.mark.parametrize(
    "url",
    [
        "stratum+tcp://eu.stratum.braiins.com:3333",
        "STRATUM+TCP://EU.Stratum.Braiins.COM:3333",
        "eu.stratum.braiins.com:3333",
        "stratum2+tcp://v2.braiins.com/u95GEReVMjK6k5YqiSFNqqTnKU4ypU2Wm8awa6tmbmDmk1bWt",
        "stratum+ssl://btc.f2pool.com:1300",
        "stratum+tcp://owner.worker@pool.example:25",
    ],
)
def test_a_pool_that_matches_a_pattern_is_trusted(url: str) -> None:
    assert GUARD.trusts(url)


@pytest.mark.parametrize(
    "url",
    [
        "stratum+tcp://braiins.com.evil.example:3333",
        "stratum+tcp://evilbraiins.com:3333",
        "stratum+tcp://x@eu.braiins.com@evil.example:3333",
        "stratum+tcp://evil.example/eu.braiins.com",
        "stratum+tcp://evil.example#.braiins.com",
        "stratum+tcp://btc.f2pool.com:1300",
        "stratum+ssl://btc.f2pool.com:1301",
        "http://eu.braiins.com",
        "stratum+tcp://eu.braiins.com\n.evil.example",
        "",
    ],
)
def test_a_pool_that_only_looks_like_a_trusted_one_is_not(url: str) -> None:
    assert not GUARD.trusts(url)


@pytest.mark.parametrize("pattern", ["*", "*.com", "*.*", "ftp://a.b", "", "a.b:port", "*://a.b"])
def test_a_pattern_that_trusts_too_much_or_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="trusted pool"):
        PoolGuard([pattern])


def test_one_stranger_among_the_pools_refuses_them_all() -> None:
    mine = PoolLogin("stratum+tcp://eu.braiins.com:3333", "owner.rig")
    theirs = PoolLogin("stratum+tcp://evil.example:3333", "thief")
    with pytest.raises(OutOfBounds, match=r"evil\.example"):
        GUARD.permit([mine, theirs])


def test_permission_cannot_be_made_by_hand() -> None:
    with pytest.raises(OutOfBounds):
        PermittedPools((PoolLogin("stratum+tcp://evil.example", "thief"),), object())


def test_a_site_without_a_list_may_write_no_pool() -> None:
    with pytest.raises(OutOfBounds, match="trusted_pools"):
        PoolGuard([]).permit([PoolLogin("stratum+tcp://eu.braiins.com:3333", "owner")])


def test_the_password_never_shows() -> None:
    assert "hunter2" not in repr(PoolLogin("stratum+tcp://a.b.example", "u", "hunter2"))


@pytest.mark.parametrize("url", ["", "stratum+tcp://a b", "stratum+tcp://a\r\nb", "x" * 300])
def test_a_pool_url_that_could_break_a_request_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        PoolLogin(url, "user")


def reading(*urls: str) -> Reading:
    return Reading(pools=tuple(Pool(url=url) for url in urls))


def test_a_strange_pool_is_reported_once_and_once_when_it_is_gone() -> None:
    watch = PoolWatch(GUARD)
    bad, good = reading("stratum+tcp://user:secret@evil.example:1"), reading("eu.braiins.com:1", "")
    first = watch.look([("m1", bad), ("m2", good)])
    assert [(f.miner_id, f.strangers) for f in first] == [("m1", ("stratum+tcp://evil.example:1",))]
    assert watch.look([("m1", bad), ("m2", None)]) == []
    assert watch.look([("m1", None)]) == []
    assert [f.strangers for f in watch.look([("m1", good)])] == [()]


def test_without_a_list_nothing_is_watched() -> None:
    assert PoolWatch(PoolGuard([])).look([("m1", reading("stratum+tcp://evil.example"))]) == []
