"""Imports what only sites with meters need; the base install does without."""

from __future__ import annotations

import importlib
from typing import Any

from agent.errors import InputError


def library(module: str, meter: str) -> Any:
    """The module of that name.

    Args:
        module: dotted name.
        meter: the meter that needs it, for the message.

    Raises:
        InputError: it is not installed, or another version of it is.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise InputError(
            f"meter {meter} needs {package}, which is not installed ({error}); "
            "run: pip install 'hashmargin[meters]'"
        ) from error
