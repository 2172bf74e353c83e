#!/usr/bin/env python3
"""A real Prometheus scrapes a client's endpoint with the files of examples/monitoring.

Usage: check.py, with `prometheus` and `promtool` in PATH, SHARDWRIGHT_LIBRARY and SHARDWRIGHT_PROGRAM set.

What is started here, is stopped here: a simulated Discord, a client in this process, and a Prometheus on free
ports of loopback, with its data in a temporary directory. What is waited for is asked for until it holds.
"""

from __future__ import annotations

import json
import logging
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples/monitoring"
sys.path[:0] = [str(ROOT / "bindings/python/src"), str(ROOT / "bindings/python/tests")]

from simulator import Simulator  # noqa: E402

from shardwright import Client, ShardError  # noqa: E402

PATIENCE_S = 60
METRIC = re.compile(r"\bshardwright_\w+")
# What Grafana puts in the place of its variables.
VARIABLES = {"$job": "shardwright", "$instance": ".*", "$shard": ".*", "$__rate_interval": "1m"}


def fetch(url: str) -> tuple[int, str]:
    """Status and body of a page."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def until(what: str, ask: Callable[[], Any]) -> Any:
    """The first answer that is not false."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer, why = ask(), "it is not so"
        except OSError as error:
            answer, why = None, error
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not happen within {PATIENCE_S} s: {why}")
        time.sleep(0.1)


def promtool(*arguments: str, text: str | None = None) -> None:
    """Runs a check, which has to pass without a word of complaint."""
    done = subprocess.run(["promtool", "check", *arguments], input=text, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"promtool check {' '.join(arguments)}:\n{done.stdout}{done.stderr}")


class Prometheus:
    """A Prometheus that scrapes one address with the files of the example."""

    def __init__(self, folder: pathlib.Path, address: str) -> None:
        text = (EXAMPLES / "prometheus.yml").read_text()
        for was, now in [("127.0.0.1:9464", address), ("_interval: 15s", "_interval: 1s")]:
            assert was in text, was
            text = text.replace(was, now)
        (folder / "prometheus.yml").write_text(text)
        (folder / "alerts.yml").write_text((EXAMPLES / "alerts.yml").read_text())
        self._log = (folder / "log").open("w+")
        self._folder = folder

    def __enter__(self) -> Prometheus:
        # Somebody may take the port before Prometheus does: then it ends, and another port is tried.
        for _ in range(5):
            with socket.create_server(("127.0.0.1", 0)) as server:
                port = server.getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            command = ["prometheus", f"--config.file={self._folder}/prometheus.yml"]
            command += [f"--storage.tsdb.path={self._folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
            self._process = subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT)
            if until("a Prometheus", self._is_ready_or_gone) == "ready":
                return self
        self._log.seek(0)
        raise SystemExit(f"Prometheus does not start:\n{self._log.read()}")

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._log.close()

    def _is_ready_or_gone(self) -> str | None:
        if self._process.poll() is not None:
            return "gone"
        return "ready" if fetch(f"{self.url}/-/ready")[0] == 200 else None

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API says."""
        status, body = fetch(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        answer = json.loads(body)
        if status != 200 or answer["status"] != "success":
            raise SystemExit(f"{path} {parameters}: {body}")
        return answer["data"]

    def query(self, query: str) -> list[Any]:
        """The series of a query."""
        return self.ask("query", query=query)["result"]

    def rules(self) -> list[Any]:
        """The alert rules."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> set[str]:
        """Alerts that fire."""
        return {
            alert["labels"]["alertname"]
            for alert in self.ask("alerts")["alerts"]
            if alert["state"] == "firing"
        }


def queries(dashboard: Any) -> Iterator[tuple[str, str]]:
    """Every query of a dashboard, with the panel it is in."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        match = (
            re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"])
            if variable["type"] == "query"
            else None
        )
        if match:
            yield f"the variable {variable['name']}", match[1]


def check_dashboard(dashboard: Any) -> None:
    """What Grafana expects of a dashboard, as far as it is not a query."""
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids)), "two panels with one id"
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    for _, query in queries(dashboard):
        used = {name for name in re.findall(r"\$(\w+)", query) if not name.startswith("__")}
        assert used <= names, f"{query}: {used - names} is no variable"
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24 and not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells


def check(simulator: Simulator, client: Client, prometheus: Prometheus, address: str) -> None:
    """Everything."""
    until("a scrape", lambda: [t["health"] for t in prometheus.ask("targets")["activeTargets"]] == ["up"])
    target = prometheus.ask("targets")["activeTargets"][0]
    assert target["scrapeUrl"] == f"http://{address}/metrics" and not target["lastError"], target

    # Rules that were evaluated since there is something to evaluate.
    scraped = target["lastScrape"]
    until("rules", lambda: all(rule["lastEvaluation"] > scraped for rule in prometheus.rules()))
    rules = prometheus.rules()
    for rule in rules:
        assert rule["health"] == "ok", rule
    assert not prometheus.firing(), f"alerts of a healthy client: {prometheus.firing()}"

    # What to do about each of them is written down.
    document = (ROOT / "docs/monitoring.md").read_text()
    assert set(re.findall(r"^\| `(Shardwright\w+)`", document, re.M)) == {rule["name"] for rule in rules}

    # Every name that is used is one of the scrape.
    dashboard = json.loads((EXAMPLES / "grafana.json").read_text())
    check_dashboard(dashboard)
    until("an answered heartbeat", lambda: prometheus.query("shardwright_latency_seconds"))
    known = set(prometheus.ask("label/__name__/values"))
    used = [(f"the alert {rule['name']}", rule["query"]) for rule in rules] + list(queries(dashboard))
    for place, query in used:
        for name in METRIC.findall(query):
            assert name in known, f"{place} uses {name}, which no client has"

    # Every query is one, and has an answer where none of it is compared with something. Rates need two scrapes.
    empty = 0
    for place, query in queries(dashboard):
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        if ">" in query:
            empty += not prometheus.query(query)
        else:
            until(f"an answer to {query} of {place}", lambda query=query: prometheus.query(query))

    # And the alerts are no decoration.
    simulator.do("close", target={"shard": 1}, code=4014)
    until("the alert of a refused shard", lambda: prometheus.firing() == {"ShardwrightRefused"})
    until("a probe that says so", lambda: fetch(f"http://{address}/readyz")[0] == 503)
    assert fetch(f"http://{address}/healthz")[0] == 200
    client.close()
    until("a target that is down", lambda: prometheus.query('up{job="shardwright"} == 0'))
    until(
        "its alert",
        lambda: {"ShardwrightDown"} <= {a["labels"]["alertname"] for a in prometheus.ask("alerts")["alerts"]},
    )
    print(
        f"Prometheus: {len(known & set(METRIC.findall(' '.join(known))))} names, {len(rules)} rules, "
        f"{len(used) - len(rules)} queries of the dashboard ({empty} of them empty), two alerts provoked"
    )


def main() -> None:
    logging.disable()  # the refusal that is tried
    promtool("rules", str(EXAMPLES / "alerts.yml"))
    promtool("config", str(EXAMPLES / "prometheus.yml"))
    with Simulator(shards=2, guilds=20) as simulator, tempfile.TemporaryDirectory() as folder:
        simulator.do("traffic", events_per_second=50)
        # Some metrics are there once a heartbeat was answered.
        simulator.do("configure", options={"heartbeat_interval_ms": 1_000})
        intents = ["GUILDS", "GUILD_MESSAGES", "GUILD_MESSAGE_TYPING", "GUILD_MEMBERS"]
        client = Client(
            simulator.token,
            intents=intents,
            api_url=simulator.api_url,
            log={"to": "none"},
            metrics_address="127.0.0.1:0",
            backplane=f"sqlite:{folder}/backplane",
            store=f"sqlite:{folder}/store",
        )
        with client:
            host = threading.Thread(target=take_events, args=(client,), daemon=True)
            host.start()
            address = until("an endpoint", lambda: client.status()["metrics_address"])
            assert fetch(f"http://{address}/healthz")[0] == 200
            until("ready shards", lambda: fetch(f"http://{address}/readyz")[0] == 200)
            promtool("metrics", text=fetch(f"http://{address}/metrics")[1])
            with Prometheus(pathlib.Path(folder), address) as prometheus:
                check(simulator, client, prometheus, address)
        host.join(PATIENCE_S)


def take_events(client: Client) -> None:
    """A host that has nothing to do with its events."""
    try:
        for _ in client:
            pass
    except ShardError:
        pass  # a refused shard, which is one of the things that are tried


if __name__ == "__main__":
    main()
