"""Settings and fields in the words of people, for terminal and pages alike."""

from __future__ import annotations

from agent.records import SettingRecord

_UNITS = (
    ("_usd_per_ths_day", "USD per TH/s and day"),
    ("_usd_per_kwh", "USD/kWh"),
    ("_usd_per_day", "USD/day"),
    ("_usd_per_btc", "USD/BTC"),
    ("_usd", "USD"),
    ("_j_th", "J/TH"),
    ("_ths", "TH/s"),
    ("_w", "W"),
    ("_c", "\N{DEGREE SIGN}C"),
    ("_h", "h"),
    ("_min", "min"),
    ("_s", "s"),
)


def setting(value: SettingRecord | None) -> str:
    """A setting as a person says it: `3,000 W`, `low power mode`, `stop`."""
    if value is None:
        return "unknown"
    amount = value.value
    if isinstance(amount, int | float):
        shown = f"{amount:,.1f}".removesuffix(".0")
        return {
            "power_limit_w": f"{shown} W",
            "power_percent": f"{shown} % power",
            "hashrate_percent": f"{shown} % hashrate",
            "frequency_percent": f"{shown} % frequency",
        }.get(value.knob, f"{value.knob} {shown}")
    return "stop" if amount is None else f"{amount} mode"


def quantity(name: str) -> str:
    """A field's name with its unit set apart: `power_w` is `power, W`."""
    for ending, unit in _UNITS:
        if name.endswith(ending) and name != ending.lstrip("_"):
            return f"{name.removesuffix(ending).replace('_', ' ')}, {unit}"
    return name.replace("_", " ")


def confidence(value: float) -> str:
    """A probability as a percentage that never claims certainty."""
    return "> 99 %" if value > 0.995 else "< 1 %" if value < 0.005 else f"{100.0 * value:.0f} %"
