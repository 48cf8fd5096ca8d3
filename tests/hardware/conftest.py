"""Profiles to break: text of a shipped one, changed per test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.hardware.catalogue import default_folder
from agent.hardware.profile import HardwareProfile
from agent.yamlfile import parse_yaml

Edit = Callable[..., Path]


@pytest.fixture
def edited(tmp_path: Path) -> Edit:
    """Copy a shipped profile into an own folder with pieces of its text replaced; each must be there."""

    def copy(key: str, *changes: tuple[str, str], name: str | None = None) -> Path:
        text = (default_folder() / f"{key}.yaml").read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        path = tmp_path / f"{name or key}.yaml"
        path.write_text(text)
        return path

    return copy


def profile_with(key: str, *changes: tuple[str, str]) -> HardwareProfile:
    """A shipped profile with pieces of its text replaced."""
    text = (default_folder() / f"{key}.yaml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return parse_yaml(text, HardwareProfile)
