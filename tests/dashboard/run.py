#!/usr/bin/env python3
"""`shardwright dashboard` as people use it: a cluster of Python bots against the simulated Discord, Debian's Chromium
in front of it (page.test.mjs), a program that uses its API (api.py), and what 2,000 shards and 50 browsers cost.

    run.py NODE_MODULES PREFIX      PREFIX is where `make install PREFIX=…` put the program and the library

What is started here is stopped here. Pictures are kept below target/dashboard; with BLESS=1 two of them become those of
the documents."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))
from processes import PATIENCE_S, Process, free_port  # noqa: E402

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.simulator.dashboard-test"
OPERATE = "0123456789abcdef-operate"
VIEW = "0123456789abcdef-view"
SHARDS, RESHARD, MANY = 8, 12, 2000
# Those of the documents, and what they are called there.
PICTURES = {"shards-1-light": "dashboard", "playground-broken": "playground"}


def environment(prefix, port, **more):
    env = {name: value for name, value in os.environ.items() if not name.startswith("SHARDWRIGHT_")}
    return dict(env, DISCORD_TOKEN=TOKEN, SHARDWRIGHT_API_URL=f"http://127.0.0.1:{port}/api/v10",
                SHARDWRIGHT_LIBRARY=str(prefix / "lib/libshardwright.so"),
                PYTHONPATH=str(REPOSITORY / "bindings/python/src"), **more)


def simulator(prefix, port, shards, events_per_second, guilds):
    process = Process(
        [prefix / "bin/shardwright", "sim", "--listen", f"127.0.0.1:{port}", "--token", TOKEN, "--shards", shards,
         "--max-concurrency", shards, "--guilds", guilds, "--events-per-second", events_per_second])
    process.line("listening|gateway")
    return process


def check(what, command, **env):
    """Runs a program of these tests."""
    print(f"-- {what}", flush=True)
    ended = subprocess.run([str(part) for part in command], env=dict(os.environ, **env), cwd=REPOSITORY, check=False)
    if ended.returncode:
        sys.exit(f"dashboard: {what} failed")


def operator(node, prefix, directory):
    """An operator's day, in the browser and with a program."""
    port = free_port()
    sim = simulator(prefix, port, SHARDS, 40, 4 * SHARDS)
    env = environment(prefix, port)
    program = prefix / "bin/shardwright"
    cluster = Process(
        [program, "cluster", "--workers", 2, "--directory", directory / "cluster", "--dashboard", "127.0.0.1:0", "--",
         sys.executable, HERE / "bot.py", directory / "bot"], env)
    url = cluster.line(r"the dashboard is at (\S+)").group(1)
    cluster.line(f"^{SHARDS} of {SHARDS} shards are ready")
    check("the page", ["node", "--test", "--test-reporter", "spec", HERE / "page.test.mjs"], NODE_PATH=str(node),
          DASHBOARD_URL=f"{url}/", SIMULATOR_URL=f"http://127.0.0.1:{port}/", SHARDS=str(SHARDS), RESHARD=str(RESHARD))
    if os.environ.get("BLESS"):
        for kept, name in PICTURES.items():
            shutil.copyfile(REPOSITORY / f"target/dashboard/{kept}.png", REPOSITORY / f"docs/{name}.png")
    # The same bot, seen by a dashboard of its own that asks for tokens.
    closed_port = free_port()
    closed = Process(
        [program, "dashboard", "--directory", directory / "cluster", "--listen", f"0.0.0.0:{closed_port}"],
        dict(env, SHARDWRIGHT_DASHBOARD_TOKEN=OPERATE, SHARDWRIGHT_DASHBOARD_VIEW_TOKEN=VIEW))
    closed.line("The dashboard is at")
    watching = Process([sys.executable, REPOSITORY / "examples/dashboard/watch_fleet.py", url.replace("http", "ws", 1)], env)
    watching.line("shards in 2 processes")
    check("the API", [sys.executable, HERE / "api.py"], OPEN=url, CLOSED=f"http://127.0.0.1:{closed_port}",
          OPERATE=OPERATE, VIEW=VIEW, BOT_TOKEN=TOKEN)
    watching.line(r"shard \d+: ready -> ")
    watching.process.kill()
    for process in (closed, cluster, sim):
        if process.stop() not in (0, 143):
            sys.exit("dashboard: something did not stop in peace: " + "\n".join(process.seen[-20:]))


def memory_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def many(node, prefix, directory):
    """2,000 shards in one process, and a dashboard of its own."""
    port = free_port()
    sim = simulator(prefix, port, MANY, 2000, MANY)
    starts = json.dumps({"do": "session_starts", "remaining": 2 * MANY}).encode()
    urllib.request.urlopen(f"http://127.0.0.1:{port}/sim/do", starts, timeout=PATIENCE_S).close()
    env = environment(prefix, port, SHARDWRIGHT_BACKPLANE=f"sqlite:{directory / 'backplane'}",
                      SHARDWRIGHT_STORE=f"sqlite:{directory / 'store'}")
    bot = Process([sys.executable, REPOSITORY / "examples/python/ping_bot.py"], env)
    while not (directory / "backplane").exists() and bot.process.poll() is None:
        time.sleep(0.1)
    dashboard = Process([prefix / "bin/shardwright", "dashboard", "--listen", "127.0.0.1:0"], env)
    url = dashboard.line(r"The dashboard is at (\S+)").group(1)
    for _ in range(PATIENCE_S):
        with urllib.request.urlopen(f"{url}/api/v1/state", timeout=PATIENCE_S) as answer:
            states = json.load(answer)["state"]["totals"]["states"]
        if states.get("ready") == MANY:
            break
        time.sleep(1)
    else:
        sys.exit(f"dashboard: the shards did not come up: {states}; " + "\n".join(bot.seen[-20:]))
    check(f"{MANY} shards", ["node", "--test", "--test-reporter", "spec", HERE / "frames.test.mjs"], NODE_PATH=str(node),
          DASHBOARD_URL=f"{url}/", SHARDS=str(MANY))
    before = memory_mib(dashboard.process.pid)
    check("50 browsers, of which one never reads", [sys.executable, HERE / "crowd.py"], OPEN=url)
    after = memory_mib(dashboard.process.pid)
    print(f"   the dashboard's memory: {before:.0f} MiB before, {after:.0f} MiB after", flush=True)
    if after > before + 100:
        sys.exit("dashboard: browsers that do not read make it grow")
    for process in (dashboard, bot, sim):
        process.stop()


def main():
    node, prefix = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    with tempfile.TemporaryDirectory(prefix="dashboard-") as directory:
        operator(node, prefix, pathlib.Path(directory))
        many(node, prefix, pathlib.Path(directory))


if __name__ == "__main__":
    main()
