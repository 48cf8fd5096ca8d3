"""Whatsminer API v2 replies (TCP 4028) to a Reading. Pure: bytes and documents in, fields out.

Repairing JSON is `agent.devices.transport`'s work; asking for the replies is `v2`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.devices.numbers import count, number, text
from agent.devices.whatsminer import fields as field
from agent.devices.whatsminer.boards import expected_count, judged
from agent.devices.whatsminer.envelope import (
    UNKNOWN_ADDRESS,
    Document,
    check,
    message,
    parse_document,
    split_join,
)
from agent.devices.whatsminer.errors import error_of, errors_of
from agent.errors import DeviceError, Malformed
from agent.reading import Board, MinerError, Pool, Reading

COMMANDS = (
    "summary",
    "edevs",
    "pools",
    "devdetails",
    "status",
    "get_version",
    "get_miner_info",
    "get_psu",
    "get_error_code",
)
_MHS, _GHS = 1e6, 1e3
# No miner hashes at under 1000 MH/s, but firmware of 2026 writes TH/s under the "MHS" keys of a board.
_LEAST_MHS = 1000.0


def decode(replies: Mapping[str, bytes], address: str | None = None) -> Reading:
    """The Reading that saved replies come to; a file is named after its command, `summary.json`.

    What cannot be used is left out, except a summary that cannot be read at all.

    Raises:
        DeviceError: no reply can be used, or `summary` is malformed.
    """
    documents: dict[str, Document] = {}
    first: DeviceError | None = None
    for name, raw in replies.items():
        command = name.removesuffix(".json")
        command = "edevs" if command == "devs" else command
        parts = tuple(command.split("+")[:4])
        if not set(parts) <= set(COMMANDS):
            continue
        try:
            document = parse_document(command, raw, address)
            if len(parts) == 1:
                documents[command] = check(command, document, address)
                continue
            split = split_join(document, parts)
            for part, one in split.items():
                documents[part] = check(part, one, address)
            if not split:
                check(command, document, address)
        except DeviceError as error:
            if isinstance(error, Malformed) and "summary" in parts:
                raise
            first = first or error
    if not documents:
        raise first or Malformed(address or UNKNOWN_ADDRESS, "no reply of this family")
    reading = reading_of(documents, address)
    if reading == reading_of({}, address):
        raise first or Malformed(address or UNKNOWN_ADDRESS, "the replies hold nothing that is known")
    return reading


def reading_of(documents: Mapping[str, Document], address: str | None) -> Reading:
    """The Reading that checked documents, by command, come to. `observed_at` is the summary's own time."""
    row = summary_row(documents.get("summary"))
    info = message(documents.get("get_miner_info"))
    version = documents.get("get_version")
    status = message(documents.get("status"))
    psu = message(documents.get("get_psu"))
    errors = _errors(documents.get("get_error_code"), row)
    model = field.model(*_model_texts(documents))
    listed, factory = _boards(documents.get("edevs"))
    boards = judged(listed, errors, expected_count(model), factory)
    pools = pools_of(documents.get("pools"))
    fast, steady, average = rates(row)
    stopped = is_off(documents.get("status"))
    hashing = field.is_hashing(stopped, fast, steady)
    power = next(
        (
            watts
            for watts in (
                field.power_w(row.get("Power"), hashing),
                field.power_w(row.get("Power_RT"), hashing),
                field.power_w(psu.get("pin"), hashing),
            )
            if watts is not None
        ),
        None,
    )
    mac = field.mac(info.get("mac")) or field.mac(row.get("MAC"))
    chip_temps = [field.temperature_c(row.get(f"Chip Temp {which}")) for which in ("Max", "Avg")]
    return Reading(
        miner_id=mac,
        mac=mac,
        serial=field.word(info.get("minersn")),
        address=address,
        vendor=field.VENDOR,
        model=model,
        firmware=field.FIRMWARE,
        firmware_version=field.firmware_version(
            *_version_texts(version), row.get("Firmware Version"), *_status_versions(status)
        ),
        observed_at=_when(documents),
        hashrate_ths=steady,
        hashrate_5s_ths=fast,
        hashrate_avg_ths=average,
        hashrate_expected_ths=field.expected_ths(row.get("Factory GHS"), _GHS)
        or field.expected_ths(row.get("Target MHS"), _MHS),
        power_w=power,
        power_source="measured" if power is not None else None,
        power_limit_w=field.power_limit_w(row.get("Power Limit"), status.get("power_limit_set")),
        power_percent=power_percent(documents.get("status")),
        hashrate_percent=field.percent(status.get("hash_percent")),
        work_mode="stopped"
        if stopped
        else field.mode(row.get("Power Mode")) or field.mode(status.get("power_mode")),
        is_hashing=hashing,
        chip_temp_c=field.highest(b.chip_temp_c for b in boards or ()) or chip_temps[0] or chip_temps[1],
        board_temp_c=field.highest(b.board_temp_c for b in boards or ())
        or field.temperature_c(row.get("Temperature")),
        ambient_temp_c=field.temperature_c(row.get("Env Temp")),
        fan_rpm=field.fans(row.get("Fan Speed In"), row.get("Fan Speed Out")),
        voltage_v=field.voltage_v(row.get("Voltage")),
        frequency_mhz=field.frequency_mhz(row.get("freq_avg")),
        boards=boards,
        uptime_s=field.seconds(row.get("Elapsed")),
        system_uptime_s=field.seconds(row.get("Uptime")),
        shares_accepted=shares_of(pools, "accepted", row),
        shares_rejected=shares_of(pools, "rejected", row),
        shares_stale=shares_of(pools, "stale", row),
        pools=pools,
        errors=errors,
    )


def summary_row(document: Document | None) -> Document:
    """The one row of `summary`, in the cgminer list or, on firmware of 2026, under `Msg`; empty if none."""
    if document is None:
        return {}
    found = field.rows(document.get("SUMMARY"))
    return found[0] if found else message(document)


def rates(row: Document) -> tuple[float | None, float | None, float | None]:
    """Fast, steady and average rate in TH/s: 5 s (else real time); 1, 5 or 15 min (else average); average."""
    steps = [mhs(row.get(key)) for key in ("MHS 1m", "MHS 5m", "MHS 15m", "MHS av")]
    fast = mhs(row.get("MHS 5s"))
    return (
        fast if fast is not None else mhs(row.get("HS RT")),
        next((step for step in steps if step is not None), None),
        steps[-1],
    )


def has_figures(row: Document) -> bool:
    """False for a summary that says nothing, as some firmware sends while it restarts."""
    known = (*rates(row), field.seconds(row.get("Elapsed")), number(row.get("Power")))
    return any(value is not None for value in known)


def mhs(value: object) -> float | None:
    """TH/s of a figure under an "MHS" key."""
    rate = number(value)
    return field.rate_ths(value, 1.0 if rate is not None and rate < _LEAST_MHS else _MHS)


def is_off(status: Document | None) -> bool | None:
    """True if `status` says that mining is switched off."""
    said = message(status)
    return field.truth(said.get("mineroff", said.get("btmineroff")))


def power_percent(status: Document | None) -> float | None:
    """The power percentage in force; classic firmware does not tell."""
    return field.percent(message(status).get("power_pct"))


def model_text(documents: Mapping[str, Document]) -> str | None:
    """The firmware's own text for the model."""
    return field.model_text(*_model_texts(documents))


def summary_errors(row: Document) -> tuple[MinerError, ...] | None:
    """Errors that `summary` itself lists (`Error Code 0` ...); None where it has no count."""
    total = count(row.get("Error Code Count"))
    if total is None:
        return None
    found = (error_of(row.get(f"Error Code {i}")) for i in range(min(max(total, 0), 64)))
    return tuple({error.code: error for error in found if error is not None}.values())


def listed_errors(document: Document) -> tuple[MinerError, ...]:
    """Errors that a `get_error_code` reply lists."""
    said = document.get("Msg")
    return errors_of(
        said.get("error_code", []) if isinstance(said, dict) else said if isinstance(said, list) else []
    )


def without_counts(document: Document) -> Document:
    """An old `pools` reply without its counters: a count from minutes ago is not this poll's."""
    counters = ("Accepted", "Rejected", "Stale")
    rows = [
        {key: value for key, value in row.items() if key not in counters}
        for row in field.rows(document.get("POOLS"))
    ]
    return {**document, "POOLS": rows}


def _errors(listed: Document | None, row: Document) -> tuple[MinerError, ...] | None:
    summary = summary_errors(row)
    if listed is None:
        return summary
    own = listed_errors(listed)
    codes = {error.code for error in own}
    return own + tuple(error for error in summary or () if error.code not in codes)


def _boards(document: Document | None) -> tuple[tuple[Board, ...] | None, dict[int, float]]:
    """The boards that are listed, and what each does in health, in TH/s."""
    factory: dict[int, float] = {}
    if document is None:
        return None, factory
    found = field.rows(document.get("DEVS")) or field.rows(message(document).get("DEVS"))
    boards = []
    for place, row in enumerate(found):
        index = next((n for n in (count(row.get(key)) for key in ("Slot", "ASC")) if n is not None), place)
        chips = count(row.get("Effective Chips"))
        fast, rate, _ = rates(row)
        rate = fast if rate is None else rate
        if (healthy := field.expected_ths(row.get("Factory GHS"), _GHS)) is not None:
            factory[index] = healthy
        boards.append(
            Board(
                index=index,
                hashrate_ths=rate,
                chips=chips,
                chip_temp_c=field.temperature_c(row.get("Chip Temp Max"))
                or field.temperature_c(row.get("Chip Temp Avg")),
                board_temp_c=field.temperature_c(row.get("Temperature")),
                frequency_mhz=field.frequency_mhz(row.get("Chip Frequency")),
                hw_errors=count(row.get("Hardware Errors")),
                serial=field.word(row.get("PCB SN")),
                state=field.board_state(chips, rate if fast is None else fast, row.get("Status")),
            )
        )
    return field.in_order(boards), factory


def pools_of(document: Document | None) -> tuple[Pool, ...] | None:
    """The pools that a `pools` reply lists; None where it lists none."""
    if document is None:
        return None
    pools = []
    for row in field.rows(document.get("POOLS")) or field.rows(message(document).get("POOLS")):
        url = field.pool_url(row.get("URL"))
        if url is None:
            continue
        difficulty = number(row.get("Stratum Difficulty"))
        state = text(row.get("Status"))
        pools.append(
            Pool(
                url=url,
                user=text(row.get("User")),
                state=state.lower() if state is not None else None,
                active=field.truth(row.get("Stratum Active")),
                priority=count(row.get("Priority")),
                accepted=count(row.get("Accepted")),
                rejected=count(row.get("Rejected")),
                stale=count(row.get("Stale")),
                difficulty=difficulty if difficulty is not None else number(row.get("Diff")),
            )
        )
    return tuple(pools) or None


def shares_of(pools: tuple[Pool, ...] | None, kind: str, row: Document) -> int | None:
    """Shares `accepted`, `rejected` or `stale` over all pools; where no pool counts, those of `summary`."""
    known = [n for n in (getattr(pool, kind) for pool in pools or ()) if n is not None]
    return sum(known) if known else count(row.get(kind.capitalize()))


def _model_texts(documents: Mapping[str, Document]) -> list[object]:
    details = documents.get("devdetails")
    version = message(documents.get("get_version"))
    said = field.rows(details.get("DEVDETAILS")) if details is not None else []
    return [*(row.get("Model") for row in said), version.get("miner_type")]


def _version_texts(document: Document | None) -> list[object]:
    if document is None:
        return []
    said = document.get("Msg")
    return [said.get("fw_ver")] if isinstance(said, dict) else [said]


def _status_versions(status: Document) -> list[object]:
    return [status.get("FirmwareVersion"), status.get("Firmware Version")]


def _when(documents: Mapping[str, Document]) -> Any:
    for command in COMMANDS:
        document = documents.get(command)
        if document is None:
            continue
        envelope = document.get("STATUS")
        heads = [document, *field.rows(envelope)]
        for head in heads:
            if (when := field.moment(head.get("When"))) is not None:
                return when
    return None
