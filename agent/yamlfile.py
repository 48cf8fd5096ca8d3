"""YAML to a pydantic model, with errors that name the file, the line, the key and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from agent.errors import ConfigError

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000

Location = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)


class StrictModel(BaseModel):
    """Base of everything read from YAML: closed, immutable, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def load_yaml(path: Path, model: type[ModelT]) -> ModelT:
    """Read one YAML file into `model`.

    Raises:
        ConfigError: the file cannot be read, is not YAML, repeats a key, or does not fit the model.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(path, None, "", f"cannot be read: {error.strerror}") from error
    return parse_yaml(raw, model, path)


def parse_yaml(raw: bytes | str, model: type[ModelT], path: Path | None = None) -> ModelT:
    """Read YAML text into `model`; `path` only names the source in errors.

    Raises:
        ConfigError: as `load_yaml`.
    """
    data, lines = parse_tree(raw, path)
    try:
        # Strict models still take YAML lists for tuples and strings for enums, paths and dates.
        return model.model_validate_json(_as_json(data, path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location, line = _place(first["loc"], data, lines)
        raise ConfigError(
            path, line, ".".join(map(str, location)), _problem(first, len(error.errors()))
        ) from error


def parse_tree(raw: bytes | str, path: Path | None = None) -> tuple[Any, dict[Location, int]]:
    """Read YAML text into plain data and the 1-based line of every key and item.

    Raises:
        ConfigError: not YAML, too large, or a key stands twice.
    """
    if len(raw) > MAX_BYTES:
        raise ConfigError(path, None, "", f"larger than {MAX_BYTES} bytes")
    try:
        node = yaml.compose(raw, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(path, line, "", f"not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(path, None, "", f"not valid YAML: {error}") from error
    if node is None:
        raise ConfigError(path, 1, "", "the file is empty")
    return _Builder(path).build(node)


class _Builder:
    """Turns YAML nodes into plain data, remembering lines and counting nodes against alias bombs."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lines: dict[Location, int] = {}
        self._constructor = yaml.constructor.SafeConstructor()
        self._nodes = 0

    def build(self, node: yaml.Node) -> tuple[Any, dict[Location, int]]:
        return self._value(node, (), 0), self._lines

    def _value(self, node: yaml.Node, where: Location, depth: int) -> Any:
        line = node.start_mark.line + 1
        self._lines.setdefault(where, line)
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > 60:
            raise ConfigError(self._path, line, ".".join(map(str, where)), "too large or nested too deeply")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*where, i), depth + 1) for i, item in enumerate(node.value)]
        try:
            value = self._constructor.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(
                self._path, line, ".".join(map(str, where)), f"not valid YAML: {error}"
            ) from error
        # A bare 2026-01-01 stays the text that was written; the model decides what it means.
        return value if value is None or isinstance(value, bool | int | float | str) else node.value

    def _mapping(self, node: yaml.MappingNode, where: Location, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(self._path, line, ".".join(map(str, where)), "a key must be plain text")
            key = str(key_node.value)
            if key in out:
                raise ConfigError(
                    self._path, line, ".".join(map(str, (*where, key))), "this key stands twice"
                )
            self._lines[(*where, key)] = line
            out[key] = self._value(value_node, (*where, key), depth + 1)
        return out


def _as_json(data: Any, path: Path | None) -> str:
    import json

    try:
        return json.dumps(data, allow_nan=True)
    except (TypeError, ValueError) as error:
        raise ConfigError(path, None, "", f"cannot be used: {error}") from error


def _place(loc: Location, data: Any, lines: dict[Location, int]) -> tuple[Location, int | None]:
    """Follow pydantic's location as far as the file goes (it adds union tags that are not keys)."""
    where: Location = ()
    current = data
    last: str | int | None = None
    for part in loc:
        if isinstance(current, dict) and part in current:
            current = current[str(part)]
        elif isinstance(current, list) and isinstance(part, int) and part < len(current):
            current = current[part]
        else:
            last = part
            continue
        where = (*where, part)
    line = lines.get(where)
    if last is not None and loc and loc[-1] == last:
        where = (*where, last)
    return where, line


def _problem(error: ErrorDetails, count: int) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "missing":
        text = "is missing"
    elif kind == "extra_forbidden":
        text = "is not a known key"
    else:
        words = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        text = f"{words[:1].lower()}{words[1:]}"
        if isinstance(given, str | int | float | bool) or given is None:
            text += f", got {given!r}"
        if kind == "string_type" and isinstance(given, int | float):
            text += "; put it in quotes"
        elif kind == "timezone_aware":
            text += "; end it with Z or an offset such as -05:00"
    return text if count == 1 else f"{text} (and {count - 1} more)"
