"""`exitpol doctor`: what is wrong with a set-up, and what to type."""

from dataclasses import asdict
from datetime import UTC, datetime

from exitpolicy.cli import render
from exitpolicy.cli.arguments import Json, Session, login_name
from exitpolicy.cli.render import printable, say, say_json


def doctor(as_json: Json = False) -> int:
    """Go through the set-up and say what is wrong, why it matters and what mends it.

    Exit code 0 where all is well. Example: exitpol doctor
    """
    from exitpolicy.doctor import examine
    from exitpolicy.doctor.finding import Verdict, exit_code

    findings = examine(Session.config, who=login_name(), clock=lambda: datetime.now(UTC))
    code = exit_code(findings)
    if as_json:
        say_json(findings=[asdict(finding) for finding in findings], exit_code=int(code))
        return code
    width = max(len(finding.point) for finding in findings)
    for finding in findings:
        verdict = render.coloured(str(finding.verdict), 4)
        say(f"{verdict}  {finding.point.ljust(width)}  {printable(finding.seen)}")
        if finding.verdict is Verdict.OK:
            continue
        if finding.why:
            say(f"      why:  {printable(finding.why)}")
        for number, line in enumerate(finding.mend.splitlines()):
            say(f"      {'      ' if number else 'mend: '}{printable(line)}")
    return code
