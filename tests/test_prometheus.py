"""The alerting rules and the dashboard, run against a real Prometheus with node_exporter."""

import http.client
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
import yaml

from tests.harness.host import HostMaker
from tests.harness.tor import free_port

MONITORING: Final = Path(__file__).parents[1] / "exitpolicy" / "monitoring"
RULES: Final = MONITORING / "exitpol.rules.yml"
DASHBOARD: Final[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text())

PROMTOOL: Final = shutil.which("promtool")
PROMETHEUS: Final = shutil.which("prometheus")
EXPORTER: Final = shutil.which("prometheus-node-exporter")

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)"
)


def expressions() -> list[str]:
    """Return each query of the dashboard, for all hosts."""
    return [
        target["expr"].replace("$instance", ".+")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", str(RULES)),
        ("test", "rules", str(Path(__file__).parent / "monitoring" / "exitpol.test.yml")),
    ],
)
def test_promtool_accepts_the_rules(arguments: tuple[str, ...]) -> None:
    """They are valid; each fault raises its alert, and a healthy host raises none."""
    done = subprocess.run([PROMTOOL or "", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    """Each of them is valid, as a recording rule."""
    rules = [{"record": f"panel:{n}", "expr": expr} for n, expr in enumerate(expressions())]
    (tmp_path / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    )
    done = subprocess.run(
        [PROMTOOL or "", "check", "rules", str(tmp_path / "rules.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_to_do() -> None:
    """It has a summary, a description and a severity, and its unit test."""
    tested = (Path(__file__).parent / "monitoring" / "exitpol.test.yml").read_text()
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]:
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert f'alertname="{rule["alert"]}"' in tested
    for panel in DASHBOARD["panels"]:
        assert panel["targets"], panel["title"]


def ask(port: int, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return the data of an answer of Prometheus's API; None while it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    assert answer["status"] == "success", (path, answer)
    return answer["data"]


@contextmanager
def running(*command: str) -> Iterator[None]:
    """Run a program until the end of the block."""
    program = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        program.terminate()
        program.wait(timeout=20)


@pytest.mark.slow
@pytest.mark.skipif(not (PROMETHEUS and EXPORTER), reason="Prometheus is not installed")
def test_the_dashboard_and_the_rules_on_a_real_prometheus(
    make_host: HostMaker, tmp_path: Path
) -> None:
    """The tick's file reaches Prometheus; every query of the dashboard has a result there."""
    (tmp_path / "textfile").mkdir()
    host = make_host(
        ("ExitRelay 1", "ExitPolicy accept *:*"), extra="metrics: textfile/exitpol.prom\n"
    )
    assert host.run("block", "203.0.113.7", "--until", "1h").code == 0
    host.tor.add("ContactInfo not read yet")
    assert host.tick(host.metrics).code == 3
    exporter, prometheus = free_port(), free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]}
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    with ExitStack() as programs:
        programs.enter_context(
            running(
                EXPORTER or "",
                "--collector.disable-defaults",
                "--collector.textfile",
                f"--collector.textfile.directory={host.metrics.parent}",
                f"--web.listen-address=127.0.0.1:{exporter}",
            )
        )
        programs.enter_context(
            running(
                PROMETHEUS or "",
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/tsdb",
                f"--web.listen-address=127.0.0.1:{prometheus}",
            )
        )
        end = time.monotonic() + 60
        alerts: set[str] = set()
        while "ExitpolFault" not in alerts:
            assert time.monotonic() < end, "Prometheus has no alert"
            time.sleep(0.5)
            found = ask(prometheus, "/api/v1/alerts")
            alerts = {a["labels"]["alertname"] for a in (found or {"alerts": []})["alerts"]}
        assert alerts == {"ExitpolFault"}
        for expr in expressions():
            result = ask(prometheus, f"/api/v1/query?query={quote(expr, safe='')}")["result"]
            assert result, expr
        (group,) = ask(prometheus, "/api/v1/rules")["groups"]
        assert {rule["health"] for rule in group["rules"]} == {"ok"}
        (error,) = ask(prometheus, "/api/v1/query?query=node_textfile_scrape_error")["result"]
        assert error["value"][1] == "0"
