#!/usr/bin/env python3
"""The regression gate of the hot path: instructions per event of the C host, the whole engine included.

    benches/instructions.py [--bless] [PREFIX]      (make instructions)

The C host of benches/bench.py takes the simulated Discord's recording under callgrind, with few and with many events;
the difference, divided by the events more, is what an event costs from the socket to the host. Unlike seconds that is
nearly the same on a busy machine: what remains is how often threads wake each other, so the least of several runs
counts. It must not be more than benches/instructions.json says, with its tolerance; when it has become less, `--bless`
writes it down. zlib-stream is left out: nine tenths of it are zlib's own, and take minutes.

PREFIX is where `make install PREFIX=...` went; target/capi by default."""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import clients  # noqa: E402
import drive  # noqa: E402
from clients import REPOSITORY  # noqa: E402

EXPECTED = REPOSITORY / "benches" / "instructions.json"
COMPRESSIONS = ("none", "zstd")
FEW, MANY, RUNS = 5_000, 25_000, 3
# Threads wake each other more often on a machine that is busy: more runs find the least.
MOST_RUNS = 12


def count(program, compression, events, simulator, prefix):
    """Instructions of a host that takes so many events."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("SHARDWRIGHT_")}
    env.update(
        DISCORD_TOKEN=simulator.token, SHARDWRIGHT_API_URL=simulator.api_url, SHARDWRIGHT_SHARDS="1",
        BENCH_EVENTS=str(events), BENCH_COMPRESSION=compression, BENCH_WAY="256",
        LD_LIBRARY_PATH=str(prefix / "lib"))
    command = ["valgrind", "--tool=callgrind", "--fair-sched=yes", "--callgrind-out-file=/dev/null", str(program)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=clients.PATIENCE_S, check=False)
    collected = re.search(r"^==\d+== Collected : (\d+)$", done.stderr, re.MULTILINE)
    if done.returncode != 0 or not collected:
        raise drive.Failure(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
    return int(collected[1])


def build(prefix, folder):
    """The C host."""
    program = f"{folder}/host"
    subprocess.run(
        ["cc", "-O2", "-std=c11", "-D_DEFAULT_SOURCE", f"-I{prefix}/include",
         str(REPOSITORY / "benches" / "hosts" / "host.c"), "-o", program, f"-L{prefix}/lib", "-lshardwright"], check=True)
    return program


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", nargs="?", type=pathlib.Path, default=REPOSITORY / "target" / "capi")
    parser.add_argument("--bless", action="store_true", help="write down what is measured as what is expected")
    arguments = parser.parse_args()
    prefix = arguments.prefix.resolve()
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {"tolerance": 0.04, "per_event": {}}
    drive.end_cleanly_when_terminated()
    simulator = clients.Simulator(prefix / "bin" / "shardwright", MANY)
    measured, failed = {}, []
    try:
        with tempfile.TemporaryDirectory() as folder:
            program = build(prefix, folder)
            for compression in COMPRESSIONS:
                few = min(count(program, compression, FEW, simulator, prefix) for _ in range(RUNS))
                usual = expected["per_event"].get(compression)
                most = usual * (1 + expected["tolerance"]) if usual else float("inf")
                many, runs = float("inf"), 0
                while runs < RUNS or (runs < MOST_RUNS and (many - few) / (MANY - FEW) > most):
                    many = min(many, count(program, compression, MANY, simulator, prefix))
                    runs += 1
                cost = measured[compression] = round((many - few) / (MANY - FEW))
                change = f", {cost / usual - 1:+.1%} against the {usual} expected" if usual else ""
                print(f"{compression:5}{cost:7} instructions per event{change}", flush=True)
                if cost > most:
                    failed.append(compression)
    finally:
        simulator.kill()
    if arguments.bless:
        EXPECTED.write_text(json.dumps({**expected, "per_event": measured}, indent=2) + "\n")
    elif failed:
        sys.exit(f"instructions: {', '.join(failed)}: more than {expected['tolerance']:.0%} above what is expected; "
                 f"--bless writes it down, if that is to be")


if __name__ == "__main__":
    try:
        main()
    except drive.Failure as failure:
        sys.exit(f"instructions: {failure}")
