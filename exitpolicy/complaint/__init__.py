"""Abuse complaints: who complains, about what, and which destination to block for it.

Bytes and addresses in, a value out: nothing here reads files, the clock or the network.
"""

from exitpolicy.complaint.json_form import as_json
from exitpolicy.complaint.model import Candidate, Caution, Complaint, Envelope, Incident, Kind, Warn
from exitpolicy.complaint.pipeline import read_complaint

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
