"""Convert a complaint to the JSON values of `exitpol complaint --json`."""

from datetime import UTC, datetime

from exitpolicy.complaint.model import Complaint


def as_json(complaint: Complaint) -> dict[str, object]:
    """Return the JSON values; times are ISO 8601 in UTC."""
    return {
        "reporter": complaint.reporter,
        "forwarded": complaint.forwarded,
        "references": list(complaint.references),
        "incidents": [
            {"time": _iso(incident.time), "zone_said": incident.zone_said}
            for incident in complaint.incidents
        ],
        "deadline": _iso(complaint.deadline) if complaint.deadline else None,
        "kind": complaint.kind.value,
        "language": complaint.language,
        "candidates": [
            {
                "destination": str(candidate.destination),
                "evidence": list(candidate.evidence),
                "score": candidate.score,
            }
            for candidate in complaint.candidates
        ],
        "sources": list(complaint.sources),
        "host_names": list(complaint.host_names),
        "host_name_evidence": {host.name: list(host.evidence) for host in complaint.named_hosts},
        "cautions": [caution.text for caution in complaint.cautions],
        "may_be_spoofed": complaint.may_be_spoofed,
        "ask": list(complaint.ask),
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
