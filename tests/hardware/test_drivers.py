"""Every profile against every driver that claims it."""

import inspect

import pytest

from agent.clock import SystemClock
from agent.devices.device import Endpoint
from agent.hardware.bounds import permit
from agent.hardware.catalogue import Catalogue
from agent.hardware.effective import effective_bounds
from agent.hardware.shares import candidate_settings, nominal_hashrate_share, nominal_share

families = pytest.importorskip("agent.devices.families")

PROFILES = Catalogue.load().profiles
PAIRS = [(key, family) for key, profile in PROFILES.items() for family in families.families_for(profile)]


@pytest.mark.parametrize(("key", "family"), PAIRS)
def test_a_driver_opens_for_every_profile_it_claims(key: str, family: str) -> None:
    info = families.FAMILIES[family]

    device = families.open_device(family, Endpoint("192.0.2.1"), SystemClock())

    assert device.family == family
    assert info.vendor == PROFILES[key].vendor
    assert info.firmware in PROFILES[key].controls
    for name in ("identify", "read", "capabilities", "apply"):
        assert inspect.iscoroutinefunction(getattr(device, name)), name


@pytest.mark.parametrize(("key", "family"), PAIRS)
def test_what_a_profile_proposes_for_a_driver_passes_the_gate_and_rises(key: str, family: str) -> None:
    profile, firmware = PROFILES[key], families.FAMILIES[family].firmware
    bounds = effective_bounds(profile, firmware, None, ())

    found = candidate_settings(profile, firmware, bounds)

    assert [permit(setting, bounds).setting for setting in found] == list(found)
    shares = [nominal_share(profile, firmware, setting) for setting in found]
    assert shares == sorted(shares)
    assert all(0.0 <= nominal_hashrate_share(profile, firmware, setting) <= 1.1 for setting in found)


def test_every_profile_is_claimed_by_a_driver() -> None:
    assert {key for key, _ in PAIRS} == set(PROFILES)
