"""Sites and operators: added from the command line, signed in and out on the page.

Sessions and throttling run on the wall clock, never on a simulated one: they guard real time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select

from agent.clock import Clock
from agent.errors import InputError
from dashboard.audit import record_audit
from dashboard.database import Database
from dashboard.errors import Throttled, Unauthenticated
from dashboard.schema import FailedSignIn, Operator, SignIn, Site
from dashboard.secrecy import csrf_of, hash_password, hash_token, new_token, same, verify_password

SESSION_HOURS = 12
IDLE_HOURS = 2
THROTTLE_WINDOW = timedelta(minutes=15)
MAX_FAILURES_PER_NAME = 5
MAX_FAILURES_PER_ADDRESS = 20


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in, with the token every form of theirs must carry."""

    name: str
    csrf: str
    session_hash: str


def add_site(database: Database, wall: Clock, site_id: str, keep_token: Callable[[str], None]) -> None:
    """Add a site. `keep_token` stores its token; if it raises, no site is added.

    Raises:
        InputError: the site is there already.
    """
    token = new_token()
    with database.write() as session:
        if session.get(Site, site_id) is not None:
            raise InputError(f"site {site_id} exists already; --replace-token gives it a new token")
        session.add(Site(id=site_id, token_hash=hash_token(token), created_at=wall.now(), decision_seq=0))
        record_audit(session, wall, "command line", "site_added", {}, site_id=site_id)
        session.flush()
        keep_token(token)


def replace_token(database: Database, wall: Clock, site_id: str, keep_token: Callable[[str], None]) -> None:
    """Give a site a new token; the old one stops working at once.

    Raises:
        InputError: there is no such site.
    """
    token = new_token()
    with database.write() as session:
        site = session.get(Site, site_id)
        if site is None:
            raise InputError(f"there is no site {site_id} yet; leave out --replace-token")
        site.token_hash = hash_token(token)
        record_audit(session, wall, "command line", "token_replaced", {}, site_id=site_id)
        session.flush()
        keep_token(token)


def site_of_token(database: Database, token: str) -> str:
    """The site that a bearer token belongs to.

    Raises:
        Unauthenticated: it belongs to none.
    """
    wanted = hash_token(token)
    with database.read() as session:
        row = session.execute(select(Site.id, Site.token_hash).where(Site.token_hash == wanted)).first()
    if row is None or not same(row.token_hash, wanted):
        raise Unauthenticated("the token is not known", "bad_token")
    return str(row.id)


def add_operator(database: Database, wall: Clock, name: str, password: str) -> None:
    """Add a person who may sign in, or give one a new password; a new password ends their sessions.

    Raises:
        InputError: the name or password is not usable.
    """
    if not 1 <= len(name) <= 100 or not name.isprintable() or name != name.strip():
        raise InputError("an operator's name has 1 to 100 printable characters")
    hashed = hash_password(password)
    with database.write() as session:
        operator = session.get(Operator, name)
        action = "operator_added" if operator is None else "password_replaced"
        if operator is None:
            session.add(Operator(name=name, password_hash=hashed, created_at=wall.now()))
        else:
            operator.password_hash = hashed
            session.execute(delete(SignIn).where(SignIn.operator == name))
        record_audit(session, wall, "command line", action, {}, subject=name)


def has_operators(database: Database) -> bool:
    """Whether anybody can sign in."""
    with database.read() as session:
        return session.scalar(select(Operator.name).limit(1)) is not None


def sign_in(database: Database, wall: Clock, name: str, password: str, address: str) -> str:
    """Check name and password and open a session. Returns its token, for the cookie.

    Raises:
        Throttled: too many failures from this address; the password was not looked at.
        Unauthenticated: name or password is wrong; which one is not said.
    """
    now = wall.now()
    name, address = name[:100], address[:64]
    _throttle(database, now, name, address)
    with database.read() as session:
        stored = session.scalar(select(Operator.password_hash).where(Operator.name == name))
    if not verify_password(password, stored):
        with database.write() as session:
            session.execute(delete(FailedSignIn).where(FailedSignIn.at < now - THROTTLE_WINDOW))
            session.add(FailedSignIn(name=name, address=address, at=now))
        raise Unauthenticated("name or password is wrong", "bad_credentials")
    token = new_token()
    with database.write() as session:
        session.execute(delete(SignIn).where(SignIn.expires_at <= now))
        session.execute(
            delete(FailedSignIn).where(FailedSignIn.name == name, FailedSignIn.address == address)
        )
        session.add(
            SignIn(
                token_hash=hash_token(token),
                operator=name,
                created_at=now,
                seen_at=now,
                expires_at=now + timedelta(hours=SESSION_HOURS),
            )
        )
        record_audit(session, wall, name, "signed_in", {"address": address})
    return token


def person_of(database: Database, wall: Clock, token: str | None) -> Person:
    """Who a session cookie belongs to; being looked at keeps the session awake.

    Raises:
        Unauthenticated: there is no such session, or it has run out.
    """
    if not token:
        raise Unauthenticated("sign in first", "no_session")
    hashed, now = hash_token(token), wall.now()
    with database.read() as session:
        row = session.get(SignIn, hashed)
    if row is None or row.expires_at <= now or row.seen_at + timedelta(hours=IDLE_HOURS) <= now:
        raise Unauthenticated("the session has ended; sign in again", "no_session")
    if now - row.seen_at >= timedelta(minutes=1):
        with database.write() as session:
            awake = session.get(SignIn, hashed)
            if awake is not None:
                awake.seen_at = now
    return Person(row.operator, csrf_of(token), hashed)


def sign_out(database: Database, wall: Clock, person: Person) -> None:
    """End a session."""
    with database.write() as session:
        session.execute(delete(SignIn).where(SignIn.token_hash == person.session_hash))
        record_audit(session, wall, person.name, "signed_out", {})


def leave_notice(database: Database, person: Person, notice: dict[str, Any]) -> None:
    """Keep something to show on the person's next page."""
    with database.write() as session:
        row = session.get(SignIn, person.session_hash)
        if row is not None:
            row.notice = notice


def take_notice(database: Database, person: Person) -> dict[str, Any] | None:
    """What was kept to be shown; it is shown once."""
    with database.read() as session:
        if session.scalar(select(SignIn.notice).where(SignIn.token_hash == person.session_hash)) is None:
            return None
    with database.write() as session:
        row = session.get(SignIn, person.session_hash)
        if row is None:
            return None
        notice, row.notice = row.notice, None
    return notice


def _throttle(database: Database, now: datetime, name: str, address: str) -> None:
    recent = (FailedSignIn.address == address, FailedSignIn.at > now - THROTTLE_WINDOW)
    with database.read() as session:
        oldest, by_address = session.execute(
            select(func.min(FailedSignIn.at), func.count()).where(*recent)
        ).one()
        by_name = session.scalar(select(func.count()).where(*recent, FailedSignIn.name == name)) or 0
    if by_address >= MAX_FAILURES_PER_ADDRESS or by_name >= MAX_FAILURES_PER_NAME:
        wait = int((oldest + THROTTLE_WINDOW - now).total_seconds()) + 1
        raise Throttled(f"too many failed attempts; try again in {-(-wait // 60)} min", wait)
