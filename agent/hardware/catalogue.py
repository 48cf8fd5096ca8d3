"""All hardware profiles of one folder, and finding one by the text a miner reports.

It loads and checks files; what the bounds in them come to is `agent.hardware.effective`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from agent.errors import ConfigError
from agent.hardware.profile import HardwareProfile
from agent.yamlfile import Location, load_yaml, parse_tree

# Nothing sold with SHA-256 chips lies outside this; a figure that does is a slip of the keyboard.
EFFICIENCY_J_TH = (8.0, 150.0)
_BIN_TOLERANCE = 0.5
_MAX_TEXT = 100

_VENDOR = re.compile(r"^(BITMAIN|MICROBT)?(ANTMINER|WHATSMINER)?")
_GRADE = re.compile(r"[\s(]+\d{2,3}(\.\d+)?\s*T(H(/S)?)?\s*\)?\W*$")
_NOISE = re.compile(r"[^A-Z0-9+]")
_WHATSMINER_BIN = re.compile(r"^(M\d{2}[A-Z]{0,2}\+{0,2})V[A-Z]?\d{1,3}$")


class Catalogue:
    """Profiles by key. Immutable once made.

    Args:
        profiles: checked profiles, each under its own key.
    """

    def __init__(self, profiles: Mapping[str, HardwareProfile]) -> None:
        self.profiles: Mapping[str, HardwareProfile] = MappingProxyType(dict(profiles))
        self._by_name = {
            normalise(name): profile
            for profile in self.profiles.values()
            for name in (profile.key, profile.name, *profile.aliases)
        }

    @staticmethod
    def load(folder: Path | None = None) -> Catalogue:
        """Read every profile in `folder`, by default the ones that ship with hashmargin (read once).

        Raises:
            ConfigError: the first file that is wrong, or a folder without profiles.
        """
        return _default() if folder is None else _load(folder)

    def find(self, text: str) -> HardwareProfile | None:
        """The profile whose key, name or alias `text` is, or None; a near miss is never taken.

        Case, spaces, dashes, underscores, the maker's name, a grade such as `(104T)` and a
        Whatsminer bin such as `_VE40` are ignored. `M30S+` is not `M30S`.
        """
        if len(text) > _MAX_TEXT:
            return None
        name = normalise(text)
        found = self._by_name.get(name)
        if found is None and (grade := _WHATSMINER_BIN.match(name)):
            found = self._by_name.get(grade.group(1))
        return found

    def close_matches(self, text: str) -> list[str]:
        """Up to three keys that look like `text`, for error messages."""
        name = normalise(text[:_MAX_TEXT])
        near = difflib.get_close_matches(name, self._by_name, n=6, cutoff=0.5)
        return list(dict.fromkeys(self._by_name[match].key for match in near))[:3]


def find(text: str) -> HardwareProfile | None:
    """`Catalogue.find` on the profiles that ship with hashmargin."""
    return Catalogue.load().find(text)


def normalise(text: str) -> str:
    """The form in which names are compared: `Antminer S19j Pro (104T)` becomes `S19JPRO`."""
    upper = _GRADE.sub("", text.upper())
    return _VENDOR.sub("", _NOISE.sub("", upper).replace("PLUS", "+"), count=1)


def default_folder() -> Path:
    """Where the shipped profiles are: inside the package in a wheel, beside it in a checkout."""
    packaged = Path(__file__).resolve().parents[1] / "configs" / "hardware"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "configs" / "hardware"


def check_folder(folder: Path) -> list[ConfigError]:
    """Everything wrong with the profiles in `folder`; empty when all can be used."""
    try:
        return list(_read(folder, {}))
    except ConfigError as error:
        return [error]


@cache
def _default() -> Catalogue:
    return _load(default_folder())


def _load(folder: Path) -> Catalogue:
    profiles: dict[str, HardwareProfile] = {}
    for error in _read(folder, profiles):
        raise error
    return Catalogue(profiles)


def _read(folder: Path, into: dict[str, HardwareProfile]) -> Iterator[ConfigError]:
    """Fill `into` with what is right and yield what is wrong, file by file in order of key."""
    try:
        files = [path for path in folder.iterdir() if path.suffix in (".yaml", ".yml")]
    except OSError as error:
        raise ConfigError(folder, None, "", f"cannot be read: {error.strerror}") from error
    if not files:
        raise ConfigError(folder, None, "", "holds no profile, expected files named KEY.yaml")
    owners: dict[str, str] = {}
    for path in sorted(files, key=lambda path: (path.stem, path.suffix)):
        try:
            profile = load_yaml(path, HardwareProfile)
        except ConfigError as error:
            yield error
            continue
        problems = [*_own_problems(profile, path), *_shared_names(profile, owners)]
        if problems:
            _, lines = parse_tree(path.read_bytes(), path)
            for location, problem in problems:
                yield ConfigError(path, lines.get(location), ".".join(map(str, location)), problem)
        else:
            into[profile.key] = profile


def _own_problems(profile: HardwareProfile, path: Path) -> Iterator[tuple[Location, str]]:
    if profile.key != path.stem:
        yield ("key",), f"expected the file's name {path.stem!r}, got {profile.key!r}"
    low, high = EFFICIENCY_J_TH
    if not low <= profile.efficiency_j_th <= high:
        yield (
            ("rated_power_w", "value"),
            f"gives {profile.efficiency_j_th:.1f} J/TH with rated_hashrate_ths, expected {low:g} to {high:g}",
        )
    for i, grade in enumerate(profile.bins):
        efficiency = grade.power_w / grade.hashrate_ths
        if not 1 - _BIN_TOLERANCE <= efficiency / profile.efficiency_j_th <= 1 + _BIN_TOLERANCE:
            expected = f"within {_BIN_TOLERANCE:.0%} of the rated {profile.efficiency_j_th:.1f}"
            yield ("bins", i, "power_w"), f"gives {efficiency:.1f} J/TH, expected {expected}"


def _shared_names(profile: HardwareProfile, owners: dict[str, str]) -> Iterator[tuple[Location, str]]:
    """Names that another file already has, compared as `find` compares them."""
    places: list[tuple[Location, str]] = [(("key",), profile.key), (("name",), profile.name)]
    places += [(("aliases", i), alias) for i, alias in enumerate(profile.aliases)]
    for location, text in places:
        name = normalise(text)
        if not name:
            yield location, f"expected a model name, got {text!r}"
        owner = owners.setdefault(name, profile.key)
        if owner != profile.key:
            yield location, f"{text!r} already belongs to {owner}, expected a name of this model alone"
