"""`exitpol doctor`: what is wrong with a set-up, and how to fix it."""

from dataclasses import asdict
from datetime import UTC, datetime

from exitpolicy.cli.arguments import Json, Session, login_name
from exitpolicy.cli.output import Coloured, say, say_json, say_prose


def doctor(as_json: Json = False) -> int:
    """Check the set-up: what is wrong, and how to fix it.

    Exit code 0 if every check passes. Example: exitpol doctor
    """
    from exitpolicy import doctor as checks
    from exitpolicy.doctor.finding import Severity, exit_code

    findings = checks.run(Session.config, who=login_name(), clock=lambda: datetime.now(UTC))
    code = exit_code(findings)
    if as_json:
        say_json(findings=[asdict(finding) for finding in findings], exit_code=int(code))
        return code
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        severity = Coloured(str(finding.severity), 4)
        say_prose(severity, f"  {finding.check.ljust(width)}  ", text=finding.observed)
        if finding.severity is Severity.OK:
            continue
        if finding.why:
            say_prose("      why:  ", text=finding.why)
        # A finding may have no fix: what is in the way says enough.
        for first in finding.fix.splitlines()[:1]:
            say_prose("      fix:  ", text=first)
        for line in finding.fix.splitlines()[1:]:
            # A line to be copied, into a crontab for example.
            say(f"            {line}")
    return code
