"""Reading a shell line of a control board: words, operators and redirections, a part of what ash knows.

Running it is left to `shell`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

MAX_LINE = 8192
_OPERATOR = re.compile(r"&&|\|\||[;&|\n]")
_REDIRECTION = re.compile(r"[12]?>&[12]|[012]?>>|[012]?>\|?|0?<(?!<)")
# What may follow a dollar sign without meaning a variable; `$?` is put in later.
_PLAIN = ("?", "", '"', " ")
_MERGES = {">&2": "1>&2", "1>&2": "1>&2", "2>&1": "2>&1"}
_KEYWORDS = (
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done",
    "case", "esac", "function", "{", "}",
)  # fmt: skip


class ShellSyntaxError(Exception):
    """The line cannot be run here; the message is what ash would say, or that it is not supported."""


@dataclass(frozen=True, slots=True)
class Simple:
    """One command.

    Args:
        words: its name and arguments, unquoted.
        redirections: kind (`<`, `>`, `>>`, `2>`, `2>>`, `2>&1`, `1>&2`) and target, in order.
    """

    words: tuple[str, ...]
    redirections: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands joined by `|`, and the operator that follows: `;`, `&&` or `||`."""

    parts: tuple[Simple, ...]
    negated: bool
    after: str


def parse(line: str) -> list[Pipeline]:
    """The pipelines of a line, or of several lines.

    Raises:
        ShellSyntaxError: it is wrong, or more than is supported.
    """
    if len(line) > MAX_LINE:
        raise ShellSyntaxError("line too long")
    found: list[Pipeline] = []
    parts: list[Simple] = []
    words: list[str] = []
    redirections: list[tuple[str, str]] = []
    negated = False
    tokens = _tokens(line)
    for kind, text in tokens:
        if kind == "word":
            words.append(text)
        elif kind == "not":
            negated = not negated
        elif kind != "operator":
            redirections.append((kind, text))
        elif not words and not redirections:
            # An empty line is nothing, and a line may go on after an operator.
            if text != "\n":
                raise ShellSyntaxError(f'syntax error: unexpected "{text}"')
        else:
            parts.append(Simple(tuple(words), tuple(redirections)))
            words, redirections = [], []
            if text != "|":
                # A command in the background is as good as done: nothing here takes long.
                after = text if text in ("&&", "||") else ";"
                found.append(Pipeline(tuple(parts), negated, after))
                parts, negated = [], False
    if parts or negated or (found and found[-1].after != ";"):
        raise ShellSyntaxError("syntax error: unexpected end of file")
    return found


def _tokens(line: str) -> list[tuple[str, str]]:
    """Kind and text: `word`, `not`, `operator`, or a redirection with its target; ends with an operator."""
    tokens: list[tuple[str, str]] = []
    position = 0
    redirection = ""
    starts = True
    while position < len(line):
        if line[position] in " \t\r":
            position += 1
            continue
        if line[position] == "#":
            end = line.find("\n", position)
            position = len(line) if end < 0 else end
            continue
        if (found := _REDIRECTION.match(line, position)) is not None:
            if redirection:
                raise ShellSyntaxError("syntax error: unexpected redirection")
            position = found.end()
            kind = found[0]
            if ">&" in kind:
                if kind not in _MERGES:
                    raise ShellSyntaxError(f'syntax error: "{kind}" is not supported')
                tokens.append((_MERGES[kind], ""))
            else:
                redirection = kind.removesuffix("|").lstrip("01")
        elif (found := _OPERATOR.match(line, position)) is not None:
            if redirection:
                raise ShellSyntaxError(f'syntax error: unexpected "{found[0]}"')
            position = found.end()
            tokens.append(("operator", found[0]))
            starts = True
        else:
            end = _word_end(line, position)
            text = line[position:end]
            position = end
            if redirection:
                tokens.append((redirection, _unquoted(text)))
                redirection = ""
            elif starts and text == "!":
                tokens.append(("not", text))
            elif starts and text in _KEYWORDS:
                raise ShellSyntaxError(f'syntax error: "{text}" is not supported')
            else:
                tokens.append(("word", _unquoted(text)))
                starts = False
    if redirection:
        raise ShellSyntaxError("syntax error: unexpected newline")
    if tokens and tokens[-1][0] != "operator":
        tokens.append(("operator", "\n"))
    return tokens


def _word_end(line: str, start: int) -> int:
    """Where a word ends: at a blank or an operator outside quotes."""
    position, quote = start, ""
    while position < len(line):
        letter = line[position]
        if quote == "'":
            quote = "" if letter == "'" else quote
        elif letter == "\\":
            position += 1
        elif letter == "`" or (
            letter == "$" and line[position + 1 : position + 2] not in ("?", "", '"', " ")
        ):
            raise ShellSyntaxError(f'syntax error: "{line[position : position + 2]}" is not supported')
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "()" or line.startswith("<<", position):
            raise ShellSyntaxError(f'syntax error: "{letter}" is not supported')
        elif letter in " \t\r\n;&|<>":
            break
        elif (letter in "*?" and line[position - 1 : position] != "$") or (
            letter == "[" and position > start
        ):
            # A lone `[` is the test command, and `$?` the status.
            raise ShellSyntaxError(f'syntax error: pattern "{letter}" is not supported')
        position += 1
    if quote:
        raise ShellSyntaxError("syntax error: unterminated quoted string")
    return min(position, len(line))


def _unquoted(text: str) -> str:
    try:
        pieces = shlex.split(text)
    except ValueError as error:
        raise ShellSyntaxError("syntax error: unterminated quoted string") from error
    return pieces[0] if pieces else ""
