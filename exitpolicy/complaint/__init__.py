"""Read abuse complaints: who complains, about what, and which destination to block.

Nothing here reads files, the clock or the network. `pipeline` runs the steps:

- `input` turns the bytes of a mail into `Text`s;
- `extract` finds host names, times, ticket numbers, and `Mention`s of addresses with their ports;
- `roles` collects `Evidence` line by line, adds it up to a `Tally` for each address, and decides
  which addresses become `Candidate`s;
- `language` has the words of all languages.

The result is a `Complaint`. Complaints are hostile input: commands read them in a child process
without privileges (`exitpolicy.operations.sandbox`).
"""

from collections.abc import Collection

from exitpolicy.complaint.json_form import as_json
from exitpolicy.complaint.model import Candidate, Caution, Complaint, Envelope, Incident, Kind, Warn
from exitpolicy.core.destination import Destination

__all__ = [
    "Candidate",
    "Caution",
    "Complaint",
    "Envelope",
    "Incident",
    "Kind",
    "Warn",
    "as_json",
    "read_complaint",
]


def read_complaint(
    data: bytes, *, own: Collection[Destination] = (), protected: Collection[Destination] = ()
) -> Complaint:
    """Read a mail, a plain text, or an X-ARF, XARF or ARF report; see `pipeline`."""
    # Loaded late: commands that only use the results do not need the reader.
    from exitpolicy.complaint import pipeline  # noqa: PLC0415

    return pipeline.read_complaint(data, own=own, protected=protected)
