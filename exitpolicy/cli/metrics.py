"""Metrics in the text format of Prometheus, for node_exporter's textfile collector.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/. Moments are gauges in Unix
seconds, so that a file stays true while nothing changes.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from exitpolicy import __version__
from exitpolicy.cli.output import printable
from exitpolicy.core.block import State
from exitpolicy.doctor import health as health_checks
from exitpolicy.doctor.fault import Fault
from exitpolicy.doctor.health import Health
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.operations.query import next_expiry
from exitpolicy.policy.block_states import is_lifting
from exitpolicy.policy.descriptor import DESCRIPTOR_LIMIT
from exitpolicy.policy.limits import Limits
from exitpolicy.policy.port_summary import REJECTED_LIMIT
from exitpolicy.storage import observed

_Labels = Mapping[str, str]
_Samples = Iterable[tuple[_Labels, float]]

FAMILIES: Final = {4: "ipv4", 6: "ipv6"}


class Moments(NamedTuple):
    """When things happened, in Unix seconds; None where that is not known."""

    tick: float | None
    """The last run of the tick, or of another command that observed Tor."""
    observation: float | None
    """When Tor was last observed."""


def of_host(host: Host, applied: Applied, health: Health) -> str:
    """Return the metrics of what an apply or a preview observed."""
    last = observed.load(host.state_path)
    moments = Moments(_last_tick(host), None if last is None else last.applied)
    faults = health_checks.faults(applied, health.findings)
    return as_text(applied, health.limits, faults, moments)


def _last_tick(host: Host) -> float | None:
    """Return when the tick last ran; None if that is not known."""
    try:
        return host.state_path.lstat().st_mtime
    except OSError:
        # The folder may be another user's, who may remove the file at any time.
        return None


def as_text(
    applied: Applied,
    limits: Mapping[str, Limits | None],
    faults: Collection[Fault],
    moments: Moments,
) -> str:
    """Return the text of the metrics."""
    return "".join(
        line
        for name, (meaning, samples) in _metrics(applied, limits, faults, moments).items()
        for line in _lines(f"exitpol_{name}", meaning, samples)
    )


def _metrics(
    applied: Applied,
    limits: Mapping[str, Limits | None],
    faults: Collection[Fault],
    moments: Moments,
) -> dict[str, tuple[str, _Samples]]:
    """Return meaning and samples of each metric by its name."""
    expiry = next_expiry(applied)
    known = {name: found for name, found in limits.items() if found is not None}
    views = applied.views
    return {
        "info": ("The version of exitpol.", [({"version": __version__}, 1)]),
        "blocks": ("Blocks of a relay in a state.", _blocks(applied)),
        "next_expiry_timestamp_seconds": (
            "When the next block ends; absent if none does.",
            _moment(None if expiry is None else expiry.timestamp()),
        ),
        "last_tick_timestamp_seconds": (
            "When the tick last ran, as of this writing; the time of this file is newer.",
            _moment(moments.tick),
        ),
        "last_observation_timestamp_seconds": (
            "When Tor was last observed.",
            _moment(moments.observation),
        ),
        "relay_reachable": (
            "Whether Tor answers; without a control port, whether it runs.",
            [({"relay": view.name}, view.is_reachable) for view in views],
        ),
        "relay_in_sync": (
            "Whether Tor runs what its files say and enforces it; absent if it does not tell.",
            [({"relay": view.name}, view.in_sync) for view in views if view.running is not None],
        ),
        "relay_exit_flag": (
            "Whether the exit policy keeps the Exit flag.",
            [({"relay": name}, found.exit_flag) for name, found in known.items()],
        ),
        "descriptor_bytes": (
            "The size of the descriptor; absent if it is not known.",
            [
                ({"relay": name}, found.descriptor_bytes)
                for name, found in known.items()
                if found.descriptor_known
            ],
        ),
        "descriptor_limit_bytes": (
            "The size from which the directory authorities refuse a descriptor.",
            [({}, DESCRIPTOR_LIMIT)],
        ),
        "rejected_addresses": (
            "What the port with the most rejected counts: IPv4 addresses, or IPv6 /64s.",
            [
                ({"relay": name, "family": FAMILIES[summary.family]}, summary.most_rejected)
                for name, found in known.items()
                for summary in (found.ipv4, found.ipv6)
            ],
        ),
        "rejected_addresses_limit": (
            "The count above which the consensus closes a port.",
            [({"family": FAMILIES[family]}, count) for family, count in REJECTED_LIMIT.items()],
        ),
        "fault": (
            "Whether exitpol status --check reports this fault.",
            [({"name": str(fault)}, fault in faults) for fault in Fault],
        ),
    }


def _blocks(applied: Applied) -> Iterator[tuple[_Labels, float]]:
    """Yield the number of blocks in each state on each relay, states without blocks included."""
    for view in applied.views:
        counts = Counter(
            applied.mixed.get(block.destination, {}).get(
                view.name, applied.states.get(block.destination, State.UNKNOWN)
            )
            for block in applied.blocks
            if block.is_for(view.name)
        )
        counts[State.LIFTING] += sum(
            state is State.LIFTING
            and destination not in applied.blocks
            and is_lifting(view, destination)
            for destination, state in applied.states.items()
        )
        for state in State:
            yield {"relay": view.name, "state": str(state)}, counts[state]


def _moment(seconds: float | None) -> _Samples:
    return [] if seconds is None else [({}, seconds)]


def _lines(name: str, meaning: str, samples: _Samples) -> Iterator[str]:
    yield f"# HELP {name} {meaning}\n"
    yield f"# TYPE {name} gauge\n"
    for labels, value in samples:
        words = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        number = int(value) if value == int(value) else round(value, 3)
        yield f"{name}{f'{{{words}}}' if words else ''} {number}\n"


def _escaped(text: str) -> str:
    return printable(text).replace("\\", r"\\").replace('"', r"\"")
