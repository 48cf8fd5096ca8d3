"""Units that a bundle covers."""

from __future__ import annotations

from agent.fleet import Unit
from agent.hardware.catalogue import Catalogue
from agent.models.bundle import BundleManifest


def covered_units(manifest: BundleManifest, count: int) -> list[Unit]:
    """`count` units of the hardware in `manifest`, in turn."""
    profiles = [Catalogue.load().profiles[entry.key] for entry in manifest.hardware]
    return [
        Unit(
            f"m{i}",
            f"127.1.{i // 250}.{i % 250 + 1}",
            None,
            profile,
            "stock",
            profile.rated_hashrate_ths.value,
            profile.rated_power_w.value,
        )
        for i in range(count)
        for profile in (profiles[i % len(profiles)],)
    ]
