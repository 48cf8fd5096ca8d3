"""Whether a bundle should be promoted, by rules that the report states beside what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from trainer.evaluation import Evaluation
from trainer.evaluation_accuracy import Accuracy, Group
from trainer.report_figures import COVERAGE_BAND, SPREAD, Comparison, decisive, label

Outcome = Literal["promote", "look closer", "do not promote"]
_ORDER: tuple[Outcome, ...] = ("promote", "look closer", "do not promote")
_QUANTITIES = {"hashrate_ths": "hashrate", "power_w": "power", "profit_usd_per_day": "profit"}
_MODEL_BAND = (0.72, 0.88)
_MODEL_ERROR = 0.06
_LEAST_UNITS = 8
_LEAST_DAYS = 3.0
_LEAST_UNITS_OF_MODEL = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One rule: what it asks, what was found, and what that means for promotion."""

    name: str
    found: str
    rule: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Judgement:
    """The worst outcome of all checks, in words."""

    outcome: Outcome
    sentence: str
    checks: list[Check]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def verdict(evaluation: Evaluation, metrics: Mapping[str, Any], comparison: Comparison | None) -> Judgement:
    """Judge a bundle.

    Args:
        metrics: of its manifest.
        comparison: with the bundle in use; None where there is none.
    """
    checks = [
        *_enough(evaluation),
        *_errors(evaluation),
        *_worst_model(evaluation),
        *_coverage(evaluation),
        *_decisions(evaluation, metrics),
        *_unseen(evaluation),
        *_stability(evaluation),
        *_in_use(comparison),
    ]
    outcome = max((check.outcome for check in checks), key=_ORDER.index)
    against = [check.name for check in checks if check.outcome == outcome]
    if outcome == "promote":
        sentence = f"All {len(checks)} checks pass on rows and miners that the models never learned from."
    else:
        first = ", ".join(against[:3]) + (f" and {len(against) - 3} more" if len(against) > 3 else "")
        rest = len(checks) - sum(check.outcome != "promote" for check in checks)
        speak = "speaks" if len(against) == 1 else "speak"
        start = "needs a look" if outcome == "look closer" else f"{speak} against it"
        if outcome == "look closer" and len(against) > 1:
            start = "need a look"
        sentence = f"{first[0].upper()}{first[1:]} {start}; {rest} of {len(checks)} checks pass."
    return Judgement(outcome, sentence, checks)


def _grade(value: float | None, good: float, fair: float) -> Outcome:
    """By the upper limits `good` and `fair`; what is not known needs a look."""
    if value is None:
        return "look closer"
    return "promote" if value <= good else "look closer" if value <= fair else "do not promote"


def _enough(evaluation: Evaluation) -> Iterator[Check]:
    days = (evaluation.end - evaluation.start).total_seconds() / 86400.0
    enough = evaluation.units >= _LEAST_UNITS and days >= _LEAST_DAYS
    yield Check(
        "enough held-out data",
        f"{evaluation.rows:,} rows of {evaluation.units} miners over {days:.1f} days",
        f"{_LEAST_UNITS} miners and {_LEAST_DAYS:.0f} days, else look closer",
        "promote" if enough else "look closer",
    )


def _errors(evaluation: Evaluation) -> Iterator[Check]:
    for key in ("hashrate_ths", "power_w"):
        name, own = _QUANTITIES[key], evaluation.overall.quantities[key]
        yield Check(
            f"{name} error",
            f"median {_percent(own.error, 2)}",
            "under 2 %; above 4 % do not promote",
            _grade(own.error, 0.02, 0.04),
        )
        biased = [
            (group.name, bias)
            for group in evaluation.by_model
            if (bias := group.quantities[key].bias) is not None
            and group.quantities[key].units >= _LEAST_UNITS_OF_MODEL
            and abs(bias) > 0.02
        ]
        worst = max(biased, key=lambda item: abs(item[1]), default=None)
        found = f"median {_percent(own.bias, 2, sign=True)}"
        if worst is not None:
            found += f"; {worst[0]} {_percent(worst[1], 1, sign=True)}"
            found += f", {len(biased) - 1} more beyond 2 %" if len(biased) > 1 else ""
        yield Check(
            f"{name} bias",
            found,
            "within 1 %, no hardware model beyond 2 %; beyond 2 % over all do not promote",
            max(
                _grade(abs(own.bias) if own.bias is not None else None, 0.01, 0.02),
                "look closer" if biased else "promote",
                key=_ORDER.index,
            ),
        )


def _worst_model(evaluation: Evaluation) -> Iterator[Check]:
    errors = [
        (error, f"{group.name} {name} {_percent(error, 1)}")
        for group in evaluation.by_model
        for key, name in (("hashrate_ths", "hashrate"), ("power_w", "power"))
        if (error := group.quantities[key].error) is not None
    ]
    far = [text for error, text in sorted(errors, reverse=True) if error > _MODEL_ERROR]
    found = f"worst {max(errors)[1]}" if errors else "not known"
    if far:
        found = ", ".join(far[:3]) + (f" and {len(far) - 3} more" if len(far) > 3 else "")
    yield Check(
        "error of each hardware model",
        found,
        f"none above {_percent(_MODEL_ERROR, 0)}, else look closer",
        "look closer" if far or not errors else "promote",
    )


def _coverage(evaluation: Evaluation) -> Iterator[Check]:
    low, high = COVERAGE_BAND
    for key, name in _QUANTITIES.items():
        own = evaluation.overall.quantities[key]
        outcome: Outcome = "look closer"
        if own.coverage is not None and low <= own.coverage <= high:
            outcome = "promote"
        elif own.coverage is not None and not 0.7 <= own.coverage <= 0.92:
            outcome = "do not promote"
        yield Check(
            f"{name} coverage",
            f"{_percent(own.coverage, 0)} of rows in the 80 % interval{_plus_minus(own)}",
            "77 to 83 %; outside 70 to 92 % do not promote",
            outcome,
        )
    enough = [g for g in evaluation.by_model if g.quantities["hashrate_ths"].units >= _LEAST_UNITS_OF_MODEL]
    off, lost = _models_off(enough)
    found = f"all {len(enough)} with that many miners within"
    if off:
        found = ", ".join(off[:3]) + (f" and {len(off) - 3} more" if len(off) > 3 else "")
    elif not enough:
        found = f"none of {len(evaluation.by_model)} has that many miners"
    yield Check(
        "coverage of each hardware model",
        found,
        f"72 to 88 %, give or take two standard errors, where {_LEAST_UNITS_OF_MODEL} miners or more were "
        "held out; below 60 % beyond doubt do not promote",
        "do not promote" if lost else "look closer" if off or not enough else "promote",
    )


def _models_off(groups: list[Group]) -> tuple[list[str], bool]:
    """Models outside the band beyond doubt, in words, worst first, and whether one is far too low.

    Of some eighty figures with few miners behind each, several would lie outside by chance alone.
    """
    off: list[tuple[float, str]] = []
    lost = False
    low, high = _MODEL_BAND
    for group in groups:
        for key, name in _QUANTITIES.items():
            own = group.quantities[key]
            if own.coverage is None or own.units < _LEAST_UNITS_OF_MODEL:
                continue
            doubt = SPREAD * (own.coverage_standard_error or 0.0)
            if own.coverage + doubt < low or own.coverage - doubt > high:
                off.append((own.coverage, f"{group.name} {name} {_percent(own.coverage, 0)}"))
                lost = lost or own.coverage + doubt < 0.6
    return [text for _, text in sorted(off)], lost


def _decisions(evaluation: Evaluation, metrics: Mapping[str, Any]) -> Iterator[Check]:
    slope = metrics.get("slope_error")
    slope = slope if isinstance(slope, int | float) else None
    yield Check(
        "slope of power over hashrate",
        f"off by {_percent(slope, 1)} (median over miners)",
        "within 15 %; above 25 % do not promote",
        _grade(slope, 0.15, 0.25),
    )
    regret = evaluation.regret
    share = regret.share if regret is not None else None
    yield Check(
        "regret of decisions",
        f"{_percent(share, 1)} of the best profit, from dear hours to cheap ones",
        "under 5 %; above 10 % do not promote",
        _grade(share, 0.05, 0.10),
    )
    if regret is None or regret.usd_per_unit_day is None or regret.nominal_usd_per_unit_day is None:
        yield Check("money against running flat out", "not known", "loses less than it", "look closer")
    else:
        worse = regret.usd_per_unit_day - regret.nominal_usd_per_unit_day
        yield Check(
            "money against running flat out",
            f"loses {regret.usd_per_unit_day:.3f}, flat out {regret.nominal_usd_per_unit_day:.3f} "
            "USD per miner and day",
            "loses less than it; more beyond noise do not promote",
            "promote"
            if worse <= 0.0
            else "look closer"
            if worse <= 2.0 * (regret.standard_error or 0.0)
            else "do not promote",
        )
    told = evaluation.direction
    yield Check(
        "direction of profit",
        f"right in {_percent(told.accuracy, 0)} of {told.pairs} changes, ties apart",
        "85 % and more; below 70 % do not promote",
        _grade(1.0 - told.accuracy if told.accuracy is not None else None, 0.15, 0.30),
    )


def _unseen(evaluation: Evaluation) -> Iterator[Check]:
    if evaluation.unseen is None:
        yield Check("hardware never seen", "not tried: one hardware model only", "under 6 %", "look closer")
        return
    errors = [evaluation.unseen.quantities[key].error for key in ("hashrate_ths", "power_w")]
    known = [error for error in errors if error is not None]
    yield Check(
        "hardware never seen",
        f"median error {_percent(errors[0], 1)} for hashrate, {_percent(errors[1], 1)} for power",
        "under 6 %; above 10 % do not promote",
        _grade(max(known) if known else None, 0.06, 0.10),
    )
    widths = [
        (evaluation.overall.quantities[key].width, evaluation.unseen.quantities[key].width)
        for key in ("hashrate_ths", "power_w")
    ]
    known_widths = [(seen, alone) for seen, alone in widths if seen is not None and alone is not None]
    wider = bool(known_widths) and all(alone > seen for seen, alone in known_widths)
    times = [alone / seen for seen, alone in known_widths if seen]
    yield Check(
        "intervals of hardware never seen",
        f"{min(times):.1f} times as wide" if times else "not known",
        "wider than those of known hardware, else look closer",
        "promote" if wider else "look closer",
    )


def _stability(evaluation: Evaluation) -> Iterator[Check]:
    for key in ("hashrate_ths", "power_w"):
        overall = evaluation.overall.quantities[key].error
        weeks = [
            (error / overall, group.name)
            for group in evaluation.by_week
            if overall and (error := group.quantities[key].error) is not None
        ]
        worst = max(weeks, default=None)
        yield Check(
            f"{_QUANTITIES[key]} error over time",
            f"worst in the week of {worst[1]}: {worst[0]:.1f} times the median" if worst else "not known",
            "no week above twice the median; above four times do not promote",
            _grade(worst[0] if worst else None, 2.0, 4.0),
        )


def _in_use(comparison: Comparison | None) -> Iterator[Check]:
    if comparison is None:
        return
    worse = [d for d in comparison.differences if d.scope == "all" and d.verdict == "worse"]
    against = decisive(comparison.differences)
    names = ", ".join(label(d.metric) for d in worse[:3])
    yield Check(
        "against the bundle in use",
        f"worse: {names}" if worse else "nothing is worse beyond noise",
        "nothing worse beyond noise; regret or coverage worse do not promote",
        "do not promote" if against else "look closer" if worse else "promote",
    )


def _plus_minus(own: Accuracy) -> str:
    error = own.coverage_standard_error
    return f", give or take {100.0 * error:.0f}" if error is not None else ""


def _percent(value: float | None, digits: int, *, sign: bool = False) -> str:
    if value is None:
        return "unknown"
    return f"{100.0 * value:{'+' if sign else ''}.{digits}f} %"
