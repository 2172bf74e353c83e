#!/usr/bin/env python3
"""What an operator does to a fleet in a bad week, in ten minutes, with nothing lost.

    tests/endurance/run.py [--minutes 10] [--workers 8] [--shards 32] [--events-per-second 1000] PREFIX

`shardwright cluster` runs Python bots against the simulated Discord, with Redis as their backplane. Five workers are
killed with -9, two are stopped with SIGSTOP until the cluster finds them hanging, all are restarted one by one,
one is added and removed again, and Redis is restarted. The timeline is printed. In the end every message that the
simulator sent was done at least once, what was done twice was flagged as replayed, and no more sessions were begun
than at the first start. PREFIX is where `make install PREFIX=…` put the program and the library."""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))
from processes import PATIENCE_S, Process, free_port  # noqa: E402

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.simulator.endurance-run"
# Processes know nothing of each other's REST requests, and who is stopped sends no heartbeats.
EXCUSED = {"rest_limit_exceeded", "heartbeat_late", "heartbeat_missed"}

begun = time.monotonic()


def tell(text):
    """A line of the timeline."""
    passed = time.monotonic() - begun
    print(f"{int(passed // 60):3} min {passed % 60:04.1f} s  {text}", flush=True)


def fail(text):
    sys.exit(f"endurance: {text}")


class Simulator:
    """The simulated Discord, and all messages that it has sent."""

    def __init__(self, prefix, shards, events_per_second):
        self.port = free_port()
        self.process = Process(
            [prefix / "bin/shardwright", "sim", "--listen", f"127.0.0.1:{self.port}", "--token", TOKEN,
             "--shards", shards, "--max-concurrency", 16, "--guilds", 10 * shards,
             "--events-per-second", events_per_second])
        self.process.line("listening|gateway")
        self.sent = set()
        self.read_ms = 0

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}/sim/{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=60) as answer:
            return json.load(answer)

    def read(self):
        """Takes down what was sent since the last time: the ledger does not keep it for ever."""
        seen = self.ask(f"seen?only=dispatches&after_ms={int(self.read_ms)}")
        self.read_ms = max(0, seen["now_ms"] - 1000)
        self.sent.update(it["number"] for it in seen["dispatches"] if it["t"] == "MESSAGE_CREATE")
        return seen["counts"]


def taken(directory):
    """The messages that the bots are done with, and whether each time was a replay."""
    done = collections.defaultdict(list)
    for file in directory.iterdir():
        # The last line of one that was killed may be half of one.
        for line in file.read_text().split("\n")[:-1]:
            number, is_replayed = line.split()
            done[int(number)].append(is_replayed == "1")
    return done


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prefix", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--shards", type=int, default=32)
    parser.add_argument("--events-per-second", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="endurance-") as directory:
        run(options, pathlib.Path(directory))


def run(options, directory):
    shards, workers = options.shards, options.workers
    (directory / "taken").mkdir()
    redis_port = free_port()
    redis_command = ["redis-server", "--port", redis_port, "--bind", "127.0.0.1", "--dir", directory,
                     "--appendonly", "yes", "--save", ""]
    if not shutil.which("redis-server"):
        fail("there is no redis-server; `apt install redis-server`")
    redis = Process(redis_command)
    redis.line("Ready to accept connections")
    simulator = Simulator(options.prefix, shards, options.events_per_second)
    env = dict(
        os.environ, DISCORD_TOKEN=TOKEN, SHARDWRIGHT_API_URL=f"http://127.0.0.1:{simulator.port}/api/v10",
        SHARDWRIGHT_BACKPLANE=f"redis://127.0.0.1:{redis_port}", SHARDWRIGHT_SESSIONS="backplane",
        SHARDWRIGHT_LIBRARY=str(options.prefix / "lib/libshardwright.so"),
        PYTHONPATH=str(REPOSITORY / "bindings/python/src"))
    env.pop("SHARDWRIGHT_SHARDS", None)
    program = options.prefix / "bin/shardwright"
    cluster = Process(
        [program, "cluster", "--workers", workers, "--directory", directory / "cluster", "--",
         sys.executable, HERE / "bot.py", directory / "taken"],
        env, told=lambda line: re.match(r"worker \d+ +\||worker \d+ is ready|rolling|done in", line) or tell(line))
    cluster.line(f"^{shards} of {shards} shards are ready")

    def until_back(worker, killed_at):
        """Waits until a worker that was started since then says that its shards are ready."""
        status = [program, "status", "--json", "--directory", directory / "cluster"]
        for _ in range(PATIENCE_S):
            said = subprocess.run(status, env=env, capture_output=True, text=True, check=False)
            for it in json.loads(said.stdout)["workers"] if said.returncode == 0 else []:
                if (it["name"] == f"worker {worker}" and it["started_at_ms"] >= 1000 * killed_at and it["shards"]
                        and all(shard["state"] == "ready" for shard in it["shards"])):
                    identifies, resumes = (sum(shard[key] for shard in it["shards"]) for key in ("identifies", "resumes"))
                    tell(f"worker {worker} is back: {resumes} shards resumed, {identifies} identified")
                    return
            time.sleep(1)
        fail(f"worker {worker} did not come back: " + "\n".join(cluster.seen[-20:]))

    def pid(worker):
        lines = (directory / "cluster/workers").read_text().splitlines()
        return int(lines[worker % len(lines)].split()[0])

    def kill():
        worker = kill.next = (kill.next + 3) % workers
        killed_at = time.time()
        tell(f"kill -9 worker {worker}")
        os.kill(pid(worker), signal.SIGKILL)
        until_back(worker, killed_at)

    kill.next = 0

    def hang():
        at, stopped_at = len(cluster.seen), time.time()
        tell("kill -STOP worker 1")
        os.kill(pid(1), signal.SIGSTOP)
        cluster.line("worker 1 .*is killed", at)
        until_back(1, stopped_at)

    def deploy(*arguments):
        command = [program, "deploy", "--directory", directory / "cluster", *arguments]
        tell("shardwright deploy " + " ".join(arguments))
        deploying = Process(command, told=tell)
        if deploying.process.wait(timeout=PATIENCE_S) != 0:
            fail("the deploy failed")

    def restart_redis():
        nonlocal redis
        tell("redis is restarted")
        redis.stop()
        redis = Process(redis_command)
        redis.line("Ready to accept connections")

    troubles = [kill, hang, kill, deploy, kill, restart_redis, kill, lambda: deploy("--workers", str(workers + 1)),
                hang, lambda: deploy("--workers", str(workers)), kill]
    rest_s = 60 * options.minutes / (len(troubles) + 1)
    for trouble in [*troubles, None]:
        until = time.monotonic() + rest_s
        if trouble:
            trouble()
        while time.monotonic() < until:
            simulator.read()
            time.sleep(1)

    tell("the simulator is quiet from now on")
    simulator.ask("traffic", {"events_per_second": 0})
    time.sleep(1)
    counts = simulator.read()
    rules = collections.Counter(it["rule"] for it in simulator.ask("violations"))
    for _ in range(PATIENCE_S):
        done = taken(directory / "taken")
        missing = simulator.sent - done.keys()
        if not missing:
            break
        time.sleep(1)
    if missing:
        fail(f"{len(missing)} of {len(simulator.sent)} messages were lost: {sorted(missing)[:10]}")
    if cluster.stop() != 0:
        fail("the cluster did not stop in peace")
    redis.stop()
    simulator.process.stop()
    again = [times for times in done.values() if len(times) > 1]
    unflagged = sum(times.count(False) > 1 for times in again)
    print(f"\n{len(simulator.sent)} messages sent, {len(done)} done, 0 lost; {len(again)} done more than once, "
          f"{unflagged} of them unflagged\n{counts['identified']} sessions begun ({shards} expected), "
          f"{counts['resumed']} resumed; rules broken: {dict(rules) or 'none'}")
    if unflagged or counts["identified"] != shards or rules.keys() - EXCUSED:
        fail("that is not as it should be")


if __name__ == "__main__":
    main()
