"""The inventory file: read, changed where a search says so, and put back whole.

Comments, order, quotes and every key that is not concerned stay as a person wrote them.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, ScalarString

from agent.discovery.changes import Plan
from agent.errors import InputError
from agent.miner_config import InventoryFile, MinerConfig
from agent.yamlfile import MAX_BYTES, parse_yaml

_NEW = b"""\
# Miners of this site, in the fields of `miners:` of the site file, which takes them in by `inventory:`.
# `hashmargin discover` adds what it finds, follows a miner to its new address by its mac, and leaves all
# else alone: names, tags, comments and order are yours. It never removes a miner.
miners: []
"""
_MOST_BYTES = MAX_BYTES
_LIST = re.compile(r"^miners:[^\n]*\n(?:[ \t]*(?:#[^\n]*)?\n)*( *)-( +)", re.MULTILINE)


class Inventory:
    """One inventory file as it was when it was read.

    Args:
        path: where it is; a link is followed.
        raw: its bytes, None where there is no file yet.
        miners: what it says.
    """

    def __init__(self, path: Path, raw: bytes | None, miners: tuple[MinerConfig, ...]) -> None:
        self.path = path
        self.miners = miners
        self._raw = raw

    @classmethod
    def load(cls, path: Path) -> Inventory:
        """Read the file; one that is not there yet is an empty inventory.

        Raises:
            ConfigError: it holds what no inventory may hold. InputError: it cannot be read.
        """
        place = path.resolve()
        try:
            raw = place.read_bytes()
        except FileNotFoundError:
            return cls(place, None, ())
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        if not raw.strip():
            return cls(place, raw, ())
        return cls(place, raw, tuple(parse_yaml(raw, InventoryFile, path).miners or []))

    def changed_by(self, plan: Plan) -> bytes | None:
        """The new content of the file, None where it stays as it is.

        Raises:
            InputError: it cannot be changed without disturbing something else.
        """
        if not plan.updates and not plan.additions:
            return None
        old = self._raw if self._raw is not None and self._raw.strip() else _NEW
        text = old.decode("utf-8-sig")
        new = _edited(text.replace("\r\n", "\n"), plan, self.path)
        if "\r\n" in text:
            new = new.replace("\n", "\r\n")
        raw = new.encode()
        self._verify(raw, plan)
        return raw

    def save(self, raw: bytes) -> None:
        """Put `raw` in the file's place: whole or not at all, with the mode that the file has.

        Raises:
            InputError: somebody else changed the file since it was read, or it cannot be written.
        """
        try:
            with _folder_lock(self.path.parent):
                if self._now() != self._raw:
                    raise InputError(f"{self.path}: was changed by somebody else meanwhile; run it again")
                _replace(self.path, raw)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written: {error.strerror}") from error
        self._raw = raw

    def _now(self) -> bytes | None:
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None

    def _verify(self, raw: bytes, plan: Plan) -> None:
        """Refuse new content that does not say exactly what it should."""
        expected = [miner.model_copy(update=plan.updates.get(i, {})) for i, miner in enumerate(self.miners)]
        expected += [MinerConfig.model_validate(entry) for entry in plan.additions]
        if len(raw) > _MOST_BYTES or (parse_yaml(raw, InventoryFile, self.path).miners or []) != expected:
            raise InputError(
                f"{self.path}: cannot be changed without disturbing what stands in it; "
                "write it with one `- ` per miner and try again"
            )


def _edited(text: str, plan: Plan, path: Path) -> str:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.explicit_start = text.startswith("---")
    at = _LIST.search(text)
    offset = len(at.group(1)) if at is not None else 2
    after = len(at.group(2)) if at is not None else 1
    yaml.indent(mapping=2, sequence=offset + 1 + after, offset=offset)
    try:
        document = yaml.load(text)
        entries = document.get("miners")
        if not entries:
            # An empty list is written on one line, and miners are not.
            entries = CommentedSeq()
            document["miners"] = entries
        for i, values in plan.updates.items():
            for key, value in values.items():
                _set(entries[i], key, value)
        for addition in plan.additions:
            entries.append(CommentedMap((key, _scalar(value)) for key, value in addition.items()))
        out = io.StringIO()
        yaml.dump(document, out)
    except (YAMLError, AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: cannot be changed in place: {type(error).__name__}") from error
    return out.getvalue()


def _set(entry: CommentedMap, key: str, value: str) -> None:
    old = entry.get(key)
    if key in entry:
        entry[key] = type(old)(value) if isinstance(old, ScalarString) else _scalar(value)
        return
    names = list(entry)
    place = names.index("address")
    if not _carries_more_lines(entry, "address"):
        place += 1
    entry.insert(place, key, _scalar(value))


def _carries_more_lines(entry: CommentedMap, key: str) -> bool:
    """True if what follows the key on later lines (comments, empty lines) hangs on it."""
    tokens = entry.ca.items.get(key) or ()
    return any(token is not None and str(getattr(token, "value", "")).count("\n") > 1 for token in tokens)


def _scalar(value: str) -> str:
    # Digits between colons are a number to many readers of YAML.
    return DoubleQuotedScalarString(value) if ":" in value else value


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Keep other searches from writing in this folder, without leaving a lock file behind."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise InputError(f"{folder}: another search is writing its inventory here; run it again") from error
    finally:
        os.close(handle)


def _replace(path: Path, raw: bytes) -> None:
    try:
        before: os.stat_result | None = path.stat()
    except FileNotFoundError:
        before = None
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(raw)
            out.flush()
            if before is not None:
                os.fchmod(out.fileno(), stat.S_IMODE(before.st_mode))
                with contextlib.suppress(PermissionError):
                    os.fchown(out.fileno(), before.st_uid, before.st_gid)
            else:
                os.fchmod(out.fileno(), 0o644)
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
