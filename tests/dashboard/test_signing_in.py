from __future__ import annotations

import pytest
from sqlalchemy import select

from agent.clock import ManualClock
from dashboard.database import Database
from dashboard.errors import Throttled, Unauthenticated
from dashboard.people import MAX_FAILURES_PER_NAME, add_operator, person_of, sign_in
from dashboard.schema import AuditRow, Operator, SignIn
from dashboard.secrecy import hash_password, verify_password
from tests.dashboard.serving import PASSWORD, Running, csrf


def fail(database: Database, wall: ManualClock, times: int, address: str = "10.0.0.9") -> None:
    for _ in range(times):
        with pytest.raises(Unauthenticated):
            sign_in(database, wall, "maria", "wrong password", address)


async def test_pages_ask_to_sign_in_and_lead_back(running: Running) -> None:
    async with running.client() as client:
        answer = await client.get("/ledger?site=quarry")
        assert answer.headers["location"] == "/login?next=%2Fledger%3Fsite%3Dquarry"
        form = {"name": "maria", "password": PASSWORD, "next": "/ledger?site=quarry"}
        assert (await client.post("/login", data=form)).headers["location"] == "/ledger?site=quarry"


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(running: Running) -> None:
    async with running.client() as client:
        answer = await client.post("/login", data={"name": "maria", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


@pytest.mark.parametrize(
    ("name", "password"), [("maria", "wrong"), ("nobody", PASSWORD), ("", ""), ("maria", "")]
)
async def test_a_wrong_name_and_a_wrong_password_look_the_same(
    running: Running, name: str, password: str
) -> None:
    async with running.client() as client:
        answer = await client.post("/login", data={"name": name, "password": password})
    assert answer.status_code == 401
    assert "name or password is wrong" in answer.text
    assert "set-cookie" not in answer.headers


async def test_signing_out_ends_the_session_at_the_server(running: Running) -> None:
    async with running.signed_in(anew=True) as client:
        cookie = client.cookies["hashmargin_session"]
        await client.post("/logout", data={"csrf": csrf((await client.get("/")).text)})
        answer = await client.get("/", headers={"Cookie": f"hashmargin_session={cookie}"})
    assert answer.headers["location"] == "/login"


async def test_only_hashes_are_stored(running: Running) -> None:
    async with running.signed_in() as client:
        cookie = client.cookies["hashmargin_session"]
    with running.database.read() as session:
        kept = [*session.scalars(select(SignIn.token_hash)), *session.scalars(select(Operator.password_hash))]
    assert all(cookie not in text and PASSWORD not in text for text in kept)


async def test_after_some_failures_even_the_right_password_must_wait(running: Running) -> None:
    wall = ManualClock(running.clock.now())
    fail(running.database, wall, MAX_FAILURES_PER_NAME)
    with pytest.raises(Throttled) as caught:
        sign_in(running.database, wall, "maria", PASSWORD, "10.0.0.9")
    wall.advance(caught.value.retry_after_s)
    assert sign_in(running.database, wall, "maria", PASSWORD, "10.0.0.9")


async def test_failures_from_elsewhere_do_not_lock_a_person_out(running: Running) -> None:
    wall = ManualClock(running.clock.now())
    fail(running.database, wall, MAX_FAILURES_PER_NAME, "203.0.113.7")
    assert sign_in(running.database, wall, "maria", PASSWORD, "10.0.0.9")


async def test_the_throttled_answer_says_when_to_come_back(running: Running) -> None:
    async with running.client() as client:
        for _ in range(MAX_FAILURES_PER_NAME):
            await client.post("/login", data={"name": "maria", "password": "wrong"})
        answer = await client.post("/login", data={"name": "maria", "password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 901


async def test_a_session_that_nobody_uses_ends(running: Running) -> None:
    wall = ManualClock(running.clock.now())
    token = sign_in(running.database, wall, "maria", PASSWORD, "10.0.0.9")
    wall.advance(1.9 * 3600)
    assert person_of(running.database, wall, token).name == "maria"
    wall.advance(2.1 * 3600)
    with pytest.raises(Unauthenticated):
        person_of(running.database, wall, token)


async def test_a_session_in_use_ends_after_a_working_day(running: Running) -> None:
    wall = ManualClock(running.clock.now())
    token = sign_in(running.database, wall, "maria", PASSWORD, "10.0.0.9")
    for _ in range(11):
        wall.advance(3600)
        assert person_of(running.database, wall, token).name == "maria"
    wall.advance(3600)
    with pytest.raises(Unauthenticated):
        person_of(running.database, wall, token)


async def test_a_new_password_ends_the_sessions_of_the_old_one(running: Running) -> None:
    wall = ManualClock(running.clock.now())
    token = sign_in(running.database, wall, "maria", PASSWORD, "10.0.0.9")
    add_operator(running.database, wall, "maria", "another long password")
    with pytest.raises(Unauthenticated):
        person_of(running.database, wall, token)


async def test_signing_in_is_audited_with_its_address(running: Running) -> None:
    async with running.signed_in(anew=True):
        pass
    with running.database.read() as session:
        query = select(AuditRow).where(AuditRow.action == "signed_in").order_by(AuditRow.id.desc())
        row = session.scalars(query).first()
    assert row is not None
    assert (row.id, row.actor, row.detail) == (5, "maria", {"address": "127.0.0.1"})


def test_the_same_password_hashes_differently_each_time_and_verifies() -> None:
    one, two = hash_password("a long password"), hash_password("a long password")
    assert one != two
    assert verify_password("a long password", one)
    assert not verify_password("a long passwore", one)
