# ruff: noqa: S311
# Randomness that is the same each time, and no secret.
"""How well and how fast complaints are read: the corpus against its answers, and hostile input.

Run it from anywhere: `python scripts/benches/complaint.py`. Folders as arguments are scored instead
of the corpus, each on its own; each holds mails, such as `NN.eml`, and for each an answer,
`NN.answer.json`, as tests/corpus/README.md describes it. Exit code 1 if a target is missed.
"""

import base64
import io
import json
import random
import re
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from exitpolicy.complaint import Complaint, as_json, read_complaint  # noqa: E402 -- the path first
from exitpolicy.core.destination import Destination, parse_destination  # noqa: E402
from exitpolicy.core.ports import Interval, normal_ports  # noqa: E402

MEGABYTE = 1 << 20
HEAD = b"From: a@b.example\nTo: c@d.example\nSubject: x\nDate: Sun, 22 Nov 2026 10:00:00 +0100\n"
OWN = [parse_destination("185.220.101.4")]

# Run in a process of its own: how much memory reading adds to what the input takes.
CHILD = """
import pathlib, sys, time
sys.path.insert(0, {root!r})
from exitpolicy.complaint import read_complaint
from exitpolicy.core.destination import parse_destination
data = pathlib.Path({path!r}).read_bytes()
def high():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
base = high() - len(data)
started = time.process_time()
read_complaint(data, own=[parse_destination("185.220.101.4")])
print(time.process_time() - started, high() - base)
"""


def mixed(body: bytes) -> bytes:
    """Return a multipart mail."""
    return HEAD + b'Content-Type: multipart/mixed; boundary="b"\n\n' + body


def log(size: int) -> bytes:
    """Return a mail with a firewall log of about this size."""
    chance = random.Random(1)
    line = (
        b"2026-11-22T10:00:00Z DROP SRC=185.220.101.4 DST=93.%d.%d.%d PROTO=TCP SPT=4 DPT=%d SYN\n"
    )
    count = size // 88
    return HEAD + b"\n" + b"".join(
        line % (chance.randrange(256), chance.randrange(256), chance.randrange(256), 22)
        for _ in range(count)
    )  # fmt: skip


def bomb() -> bytes:
    """Return a mail with a zip that unpacks to 1 GB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for index in range(10):
            archive.writestr(f"{index}.log", b"0" * (100 * MEGABYTE))
    head = b"--b\nContent-Type: application/zip; name=a.zip\nContent-Transfer-Encoding: base64\n\n"
    return mixed(head + base64.encodebytes(file.getvalue()) + b"--b--\n")


def nested() -> bytes:
    """Return 10,000 multiparts in each other."""
    parts = (
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(10_000)
    )
    return HEAD + b"".join(parts) + b"\n\nhello\n"


def million() -> bytes:
    """Return a million different addresses."""
    numbers = random.Random(1).sample(range(1 << 24, 223 << 24), 1_000_000)
    lines = (b"%d.%d.%d.%d" % (n >> 24, n >> 16 & 255, n >> 8 & 255, n & 255) for n in numbers)
    return HEAD + b"\n" + b"\n".join(lines)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "50 MB firewall log": lambda: log(50 * MEGABYTE),
    "50 MB in one line": lambda: HEAD + b"\n" + b"x" * (50 * MEGABYTE),
    "50 MB base64 attachment": lambda: mixed(
        b"--b\nContent-Transfer-Encoding: base64\n\n"
        + base64.encodebytes(b"185.220.101.4 -> 1.2.3.4\n" * (36 * MEGABYTE // 25))
    ),
    "50 MB HTML of unclosed tags": lambda: HEAD + b"Content-Type: text/html\n\n<td"
    + b"<a" * (25 * MEGABYTE),
    "10,000 nested parts": nested,
    "100,000 parts side by side": lambda: mixed(b"--b\n\n185.220.101.4 -> 1.2.3.4\n" * 100_000),
    "zip bomb, 1 GB": bomb,
    "1,000,000 addresses": million,
    "4 MB of addresses in a line": lambda: million()[: 4 * MEGABYTE].replace(b"\n", b" "),
    "4 MB of short lines": lambda: HEAD + b"\n" + b"a b\n" * MEGABYTE,
    "4 MB of telling words": lambda: HEAD + b"\n" + b"attack source target from to " * 145_000,
    "4 MB of times": lambda: HEAD + b"\n" + b"2026-11-22 10:00:00 1.2.3.4 Nov 22 10:00 " * 100_000,
    "4 MB of quotation marks": lambda: HEAD + b"\n" + b"> " * (2 * MEGABYTE),
    "4 MB of lines of blanks": lambda: HEAD + b"\n" + (b"a" + b" " * 500 + b"\n") * 8_300,
    "4 MB of cells": lambda: HEAD + b"\n" + b"|source" * (4 * MEGABYTE // 7),
    "4 MB of header folding": lambda: HEAD + b"X: y" + b"\n y" * (4 * MEGABYTE // 3) + b"\n\n",
    "4 MB of encoded words": lambda: (
        b"Subject: " + b"=?utf-8?q?a?= " * (4 * MEGABYTE // 14) + b"\n" + HEAD + b"\nx"
    ),
    "0.5 MB firewall log": lambda: log(MEGABYTE // 2),
    "0.5 MB of sentences": lambda: HEAD + b"\n" + b"".join(
        b"Your address 185.220.101.4 attacked our server 93.184.%d.%d, port %d, at 10:00:00 UTC.\n"
        % (n >> 8, n & 255, n) for n in range(MEGABYTE // 2 // 85)
    ),
    "0.5 MB table": lambda: HEAD + b"\nsource|target|port|time\n" + b"".join(
        b"185.220.101.4|93.184.%d.%d|22|2026-11-22 10:00:00\n" % (n >> 8, n & 255)
        for n in range(MEGABYTE // 2 // 50)
    ),
    "0.5 MB of quoted lines": lambda: HEAD + b"\n" + b"".join(
        b"> " * (n % 50) + b"1.2.3.4 attacked 185.220.101.4, port 22\n"
        for n in range(MEGABYTE // 2 // 90)
    ),
    "4 MB of noise": lambda: random.Random(2).randbytes(4 * MEGABYTE),
}  # fmt: skip


KINDS = {"phishing": "fraud", "threat": "threats", "other": "unknown"}
"""What writers of answers who had not seen the list of kinds called them."""


def parsed(answers: list[str]) -> dict[Destination, Destination]:
    """Return the destinations of an answer by their addresses; one address has all its ports."""
    ports: dict[Destination, set[Interval]] = {}
    for destination in map(parse_destination, answers):
        ports.setdefault(without_ports(destination), set()).update(destination.ports)
    return {
        place: place._replace(ports=normal_ports(intervals)) for place, intervals in ports.items()
    }


def is_deadline(found: object, expected: str | None) -> bool:
    """Compare a deadline with that of an answer, which may be a date, or have another zone."""
    if found is None or expected is None:
        return found is expected
    moment = datetime.fromisoformat(str(found))
    if len(expected) == len("2026-11-27"):
        return moment.date() == date.fromisoformat(expected)
    stated = datetime.fromisoformat(expected)
    return moment == (stated if stated.tzinfo else stated.replace(tzinfo=UTC))


def is_ticket(found: Sequence[str], expected: str) -> bool:
    """Tell whether a ticket number was found, with or without the name of the ticket system.

    `KZ-CERT#4711`, `CERT #4711`, `id:4711` and `4711@provider.example` are `4711`.
    """
    return any(ticket_number(one) == ticket_number(expected) for one in found)


def ticket_number(reference: str) -> str:
    """Return a ticket number without the name of its system."""
    number = re.split(r"[#\s]", reference.partition("@")[0].lower())[-1]
    return re.sub(r"^(?:abuse)?id:", "", number)


def without_ports(destination: Destination) -> Destination:
    """Return the addresses of a destination, with all ports."""
    return Destination(destination.family, destination.first, destination.last)


def judge(complaint: Complaint, answer: dict[str, Any]) -> dict[str, bool]:
    """Say for each question that the answer settles whether it was answered rightly."""
    found = [candidate.destination for candidate in complaint.candidates]
    places = list(map(without_ports, found))
    own = [parse_destination(address) for address in answer["own"]]
    first = parsed(answer["first"])
    attacked = set(parsed([*answer["first"], *answer["all"]]))
    right = {
        "own address not offered": not any(d.overlaps(mine) for d in found for mine in own),
        # Who is neither the relay nor attacked is mostly another accused.
        "nobody else offered": set(places) <= attacked,
        "kind": complaint.kind == KINDS.get(answer["kind"], answer["kind"]),
        "deadline": is_deadline(as_json(complaint)["deadline"], answer["deadline"]),
    }
    if answer["none"]:
        right["no destination is said"] = not found
    else:
        right["destination first"] = bool(first.keys() & set(places[:1]))
        right["destination among the candidates"] = attacked - first.keys() <= set(places) and bool(
            first.keys() & set(places)
        )
        named = any(place != destination for place, destination in first.items())
        right["port" if named else "port, none named"] = found[:1] != [] and (
            found[0] in first.values()
        )
    if any(candidate.is_guess for candidate in complaint.candidates[:1]):
        right["answers that are guesses"] = bool(first.keys() & set(places[:1]))
    if answer["language"]:
        right["language"] = complaint.language == answer["language"]
    if answer["references"]:
        right["first reference"] = is_ticket(complaint.references[:1], answer["references"][0])
        right["first reference, as written"] = complaint.references[:1] == tuple(
            answer["references"][:1]
        )
        right["references"] = all(
            is_ticket(complaint.references, expected) for expected in answer["references"]
        )
    elif "host_names" in answer:  # of older answers, an empty list says nothing
        right["no reference is said"] = not complaint.references
    if answer["reporter"]:
        right["reporter"] = answer["reporter"] in (complaint.reporter or "")
    if answer.get("host_names"):
        right["host names"] = set(answer["host_names"]) <= set(complaint.host_names)
    return right


TARGETS = {
    "destination first": 0.95,
    "destination among the candidates": 0.97,
    "own address not offered": 1.0,
    "no destination is said": 0.97,
    "port": 0.9,
    "kind": 0.92,
    "first reference": 0.92,
}


def accuracy(folder: Path) -> bool:
    """Print the shares of right answers; return whether the targets are met."""
    totals: dict[str, list[bool]] = {}
    wrong: list[str] = []
    paths = sorted(folder.glob("*.answer.json"))
    started = time.process_time()
    for path in paths:
        name = path.name.removesuffix(".answer.json")
        data = next(
            p for p in folder.glob(f"{name}.*") if not p.name.endswith(".answer.json")
        ).read_bytes()
        answer = json.loads(path.read_text("utf-8"))
        complaint = read_complaint(data, own=[parse_destination(a) for a in answer["own"]])
        answered = judge(complaint, answer)
        for question, right in answered.items():
            totals.setdefault(question, []).append(right)
        if not all(answered.values()):
            wrong.append(f"{name}: {', '.join(q for q, right in answered.items() if not right)}")
    milliseconds = (time.process_time() - started) * 1000 / len(paths)
    print(f"{len(paths)} complaints in {folder}, {milliseconds:.0f} ms each")
    met = True
    for question, results in sorted(totals.items(), key=lambda item: item[0] not in TARGETS):
        share = sum(results) / len(results)
        target = TARGETS.get(question)
        met &= target is None or share >= target
        goal = f"  target {target:.0%}" if target else ""
        print(f"  {question:34} {sum(results):4}/{len(results):<4} {share:7.1%}{goal}")
    for line in wrong:
        print(f"    wrong: {line}")
    return met


def bounds(folder: Path) -> bool:
    """Print time and memory on hostile input, as shares of what is allowed."""
    print("hostile input: processor time of 1 s/MB, at least 1 s; memory of 4 x input + 100 MB")
    met = True
    for name, build in HOSTILE.items():
        data = build()
        path = folder / "hostile.eml"
        path.write_bytes(data)
        megabytes = len(data) / MEGABYTE
        done = subprocess.run(
            [sys.executable, "-c", CHILD.format(root=str(ROOT), path=str(path))],
            capture_output=True, check=True, text=True,
        )  # fmt: skip
        seconds, memory = (float(word) for word in done.stdout.split())
        time_share = seconds / max(1, megabytes)
        memory_share = memory / (4 * len(data) + 100 * MEGABYTE)
        met &= time_share <= 1 and memory_share <= 1
        print(
            f"  {name:30} {megabytes:6.2f} MB  {seconds:6.2f} s = {time_share:5.2f} of the limit,"
            f"  {memory / MEGABYTE:6.1f} MB = {memory_share:4.2f} of the limit"
        )
        path.unlink()
    return met


START_UP: dict[str, tuple[str, float]] = {
    "import exitpolicy.complaint": ("import exitpolicy.complaint", 6),
    "read one complaint, with all imports": (
        (
            "from exitpolicy.complaint import read_complaint;"
            "read_complaint(b'From: a@b.example\\n\\n192.0.2.1 attacked our server 192.0.2.2')"
        ),
        30,
    ),
    "the same in the child process": (
        (
            "from exitpolicy.operations import sandbox;"
            "sandbox.read_complaint(b'192.0.2.1 attacked 192.0.2.2', own=(), protected=())"
        ),
        40,
    ),
}
"""Programs, and how many times the processor time of `python -c pass` each may take."""


def processor_time(program: str) -> float:
    """Return the least processor time of several runs of a program, children included."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def start_up() -> bool:
    """Print what starting costs, as ratios to `python -c pass`."""
    print("start-up: processor time as a multiple of `python -c pass`")
    bare = processor_time("pass")
    met = True
    for name, (program, limit) in START_UP.items():
        ratio = processor_time(program) / bare
        met &= ratio <= limit
        print(f"  {name:38} {ratio:5.1f}  limit {limit}")
    return met


def main() -> int:
    """Measure; with folders as arguments, score these only."""
    if len(sys.argv) > 1:
        met = [accuracy(Path(folder)) for folder in sys.argv[1:]]
        return 0 if all(met) else 1
    import tempfile  # noqa: PLC0415 -- only here

    right = accuracy(ROOT / "tests" / "corpus")
    with tempfile.TemporaryDirectory() as folder:
        bounded = bounds(Path(folder))
        return 0 if start_up() and bounded and right else 1


if __name__ == "__main__":
    sys.exit(main())
