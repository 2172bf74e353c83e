#!/usr/bin/env python3
"""The recipes of examples/deploy do what they say.

Usage: check.py PM2, with SHARDWRIGHT_LIBRARY and SHARDWRIGHT_PROGRAM set and requirements.txt installed.

- All recipes lay shards out as `shardwright plan` does.
- systemd, Kubernetes' schemas, hadolint and parsers accept the files, and find mistakes in spoilt ones.
- The bot tells systemd what it wants to know; the unit's command and the Deployment's environment work.
- A real PM2 runs the bot against the simulated Discord: starts, kill -9, restarts, a refused token.

What is started here is stopped here. What is waited for is asked for until it holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import hcl2
import kubernetes_validate
import yaml
from dockerfile_parse import DockerfileParser

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "examples/deploy"
BOT = DEPLOY / "bot.py"
PYTHON_PATH = str(ROOT / "bindings/python/src")
sys.path[:0] = [PYTHON_PATH, str(ROOT / "bindings/python/tests")]

from simulator import Simulator, program  # noqa: E402

PATIENCE_S = 60
# Shards and workers that divide, that do not, and one shard each.
LAYOUTS = [(4, 2), (7, 3), (64, 4), (5, 5)]


def until(what: str, ask: Callable[[], Any]) -> Any:
    """The first answer that is not false."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := ask()):
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not happen within {PATIENCE_S} s")
        time.sleep(0.1)
    return answer


def run(*command: str, **options: Any) -> str:
    """What a command prints; one that fails is the end."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, **options)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


# -- the files -------------------------------------------------------------------------------------------


def unit() -> str:
    """The shell script that a unit of systemd runs, with `%i` for its number."""
    text = (DEPLOY / "systemd/bot@.service").read_text().replace("\\\n", " ")
    script = re.search(r"^ExecStart=/bin/sh -c '(.*)'$", text, re.M)
    assert script, "no script in bot@.service"
    return script[1].replace("$$", "$")


def kubernetes(name: str) -> list[Any]:
    """The objects of a manifest."""
    return list(yaml.safe_load_all((DEPLOY / f"kubernetes/{name}.yaml").read_text()))


def nomad() -> str:
    """The shell script of the job."""
    # Blocks are lists, and texts have their quotes.
    job = hcl2.loads((DEPLOY / "nomad/bot.nomad.hcl").read_text())["job"][0]['"bot"']
    config = job["group"][0]['"bot"']["task"][0]['"bot"']["config"][0]
    shell, arguments = json.loads(config["command"]), [json.loads(argument) for argument in config["args"]]
    assert [shell, arguments[0]] == ["/bin/sh", "-c"], config
    return str(arguments[1])


def check_ranges() -> None:
    """Every recipe with fixed ranges gives each worker what `shardwright plan` says."""
    # The shell scripts of the recipes, with the program at their end.
    statefulset = next(each for each in kubernetes("statefulset") if each["kind"] == "StatefulSet")
    container = statefulset["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["/bin/sh", "-c"], container["command"]
    scripts = {
        "systemd": (unit(), "/opt/bot/venv/bin/python /opt/bot/bot.py"),
        "Kubernetes": (container["args"][0], "python bot.py"),
        "Nomad": (nomad(), "python bot.py"),
    }
    for shards, workers in LAYOUTS:
        plan = run(program(), "plan", "--guilds", "1", "--shards", str(shards), "--processes", str(workers))
        expected = re.findall(r"^  process \d+ +(\S+)$", plan, re.M)
        assert len(expected) == workers, plan
        env = {**os.environ, "BOT_SHARDS": str(shards), "BOT_WORKERS": str(workers)}
        text = f"JSON.stringify(require({json.dumps(str(DEPLOY / 'pm2/ecosystem.config.cjs'))}).apps)"
        apps = json.loads(run("node", "-p", text, env=env))
        assert [app["env"]["SHARDWRIGHT_SHARDS"] for app in apps] == expected, apps
        for name, (script, last) in scripts.items():
            assert script.rstrip().endswith(f"exec {last}"), f"{name}: {script}"
            script = script.replace(f"exec {last}", "echo $SHARDWRIGHT_SHARDS $METRICS_ADDRESS")
            for worker, shards_of_it in enumerate(expected):
                numbers = {"WORKER": str(worker), "NOMAD_ALLOC_INDEX": str(worker)}
                env = {"PATH": os.environ["PATH"], "SHARDS": str(shards), "WORKERS": str(workers), **numbers}
                said = run("sh", "-c", script.replace("%i", str(worker)), env=env).split()
                assert said[0] == shards_of_it, f"{name}, worker {worker} of {workers}: {said}"
                assert name != "systemd" or said[1] == f"127.0.0.1:{9464 + worker}", said
    print(f"Ranges: PM2, {', '.join(scripts)} lay out as `shardwright plan` does")


def verify(folder: pathlib.Path) -> str:
    """What systemd has to complain about in the units of a folder."""
    units = ["bot@0.service", "bot@17.service", "bot.target", "shardwright-cluster.service"]
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"}
    done = subprocess.run(["systemd-analyze", "verify", *units], env=env, capture_output=True, text=True)
    # Other units of this machine are none of our business.
    lines = [
        line for line in (done.stdout + done.stderr).splitlines() if "bot" in line or "shardwright" in line
    ]
    return "\n".join(lines) or ("" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr}")


def check_systemd(folder: pathlib.Path) -> None:
    """systemd knows every word of the units."""
    for file in (DEPLOY / "systemd").iterdir():
        # What they start has to be there.
        text = file.read_text().replace("/usr/local/bin/shardwright", program())
        (folder / file.name).write_text(text)
    complaints = verify(folder)
    assert not complaints, complaints
    spoilt = folder / "bot@.service"
    spoilt.write_text(spoilt.read_text().replace("RestartSec=", "RestartSecs="))
    assert "RestartSecs" in verify(folder), "systemd-analyze verify finds nothing"
    print(f"systemd: {run('systemd-analyze', '--version').splitlines()[0]} verifies the units")


def check_kubernetes() -> None:
    """The manifests fit the schemas of the oldest and the newest version there is of them, and themselves."""
    # The label with the number of a pod is there since 1.28.
    versions = [
        v for v in kubernetes_validate.utils.all_versions() if [int(n) for n in v.split(".")] >= [1, 28]
    ]
    kinds = []
    for name in ("statefulset", "deployment"):
        for document in kubernetes(name):
            for version in (versions[0], versions[-1]):
                kubernetes_validate.validate(document, version, strict=True)
            kinds.append(document["kind"])
            if document["kind"] not in ("StatefulSet", "Deployment"):
                continue
            spoilt = json.loads(json.dumps(document))
            spoilt["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
            with contextlib.suppress(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(spoilt, versions[-1], strict=True)
                raise SystemExit("kubernetes-validate accepts anything")
            check_pods(document)
    print(f"Kubernetes: {', '.join(kinds)} fit the schemas of {versions[0]} and {versions[-1]}")


def check_pods(workload: Any) -> None:
    """What a schema does not see."""
    spec, pod = workload["spec"], workload["spec"]["template"]
    assert spec["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    container = pod["spec"]["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    for probe, path in {"livenessProbe": "/healthz", "readinessProbe": "/readyz"}.items():
        http = container[probe]["httpGet"]
        assert http["path"] == path and http["port"] in ports, http
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert env["METRICS_ADDRESS"] == f"0.0.0.0:{container['ports'][0]['containerPort']}", env
    assert env["SHARDWRIGHT_SESSIONS"] == "backplane", env
    if workload["kind"] == "StatefulSet":
        assert env["WORKERS"] == str(spec["replicas"]), "WORKERS and replicas differ"
        services = [
            each["metadata"]["name"] for each in kubernetes("statefulset") if each["kind"] == "Service"
        ]
        assert spec["serviceName"] in services


def check_docker() -> None:
    """The Dockerfile is one, and what it names is there. Nothing is built: that takes a Docker daemon."""
    hadolint = str(pathlib.Path(sys.executable).with_name("hadolint"))
    file = str(DEPLOY / "docker/Dockerfile")
    run(hadolint, file)
    spoilt = pathlib.Path(file).read_text().replace("STOPSIGNAL", "STOPSIGNALS")
    assert subprocess.run([hadolint, "-"], input=spoilt, capture_output=True, text=True).returncode, (
        "hadolint finds nothing"
    )
    parser = DockerfileParser(str(DEPLOY / "docker/Dockerfile"), cache_content=True)
    steps = parser.structure
    known = {
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "CMD",
        "COMMENT",
    }
    assert {step["instruction"] for step in steps} <= known, steps
    assert len(parser.parent_images) == 2 and all(":" in image for image in parser.parent_images)
    for step in steps:
        if step["instruction"] == "COPY":
            for source in step["value"].split()[:-1]:
                assert (ROOT / source).exists(), f"COPY of {source}, which is not there"
        if step["instruction"] in ("CMD", "HEALTHCHECK"):
            command = json.loads(step["value"][step["value"].index("[") :])
            assert command[0] == "python", command
    rust = re.search(r'^rust-version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)
    assert rust and parser.parent_images[0].startswith(f"rust:{rust[1]}-"), parser.parent_images
    compose = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())
    bot = compose["services"]["bot"]
    context = (DEPLOY / "docker" / bot["build"]["context"]).resolve()
    assert context == ROOT and (context / bot["build"]["dockerfile"]).is_file(), bot["build"]
    assert set(bot["depends_on"]) <= set(compose["services"])
    assert bot["environment"]["SHARDWRIGHT_BACKPLANE"].startswith(f"redis://{bot['depends_on'][0]}:")
    print(f"Docker: {run(hadolint, '--version').strip()} and parsers read the files; nothing was built")


# -- the bot, as systemd would start it ------------------------------------------------------------------


def environment(simulator: Simulator, folder: pathlib.Path, **more: str) -> dict[str, str]:
    """For a bot that meets this Discord, and shares what is in this folder."""
    shared = {"SHARDWRIGHT_BACKPLANE": f"sqlite:{folder}/backplane", "SHARDWRIGHT_SESSIONS": "backplane"}
    env = {key: value for key, value in simulator.environment.items() if key != "SHARDWRIGHT_SHARDS"}
    return {**env, "PYTHONPATH": PYTHON_PATH, "PYTHONUNBUFFERED": "1", **shared, **more}


@contextlib.contextmanager
def bot(env: dict[str, str], says: Any = None) -> Iterator[subprocess.Popen[bytes]]:
    """The bot, until the end of the block."""
    process = subprocess.Popen([sys.executable, str(BOT)], env=env, stdout=says, stderr=says)
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def check_notify(folder: pathlib.Path) -> None:
    """What the bot says to systemd, which this socket stands for."""
    with Simulator(shards=2) as simulator, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(folder / "notify"))
        systemd.settimeout(PATIENCE_S)
        env = environment(simulator, folder, NOTIFY_SOCKET=str(folder / "notify"), WATCHDOG_USEC="200000")
        with bot(env) as process:
            assert systemd.recv(100) == b"READY=1"
            assert simulator.counts()["readies"] == 2, "it says that it is ready too early"
            for _ in range(5):
                assert systemd.recv(100) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            while (said := systemd.recv(100)) == b"WATCHDOG=1":
                pass
            assert said == b"STOPPING=1", said
            assert process.wait(PATIENCE_S) == 0
        assert simulator.violations() == []
        with bot({**env, "DISCORD_TOKEN": simulator.token + "x"}, subprocess.DEVNULL) as process:
            assert process.wait(PATIENCE_S) == 78, process.returncode
    print("bot.py: READY, WATCHDOG and STOPPING for systemd; exit code 78 when it is refused")


def status(env: dict[str, str]) -> Any:
    """What `shardwright status` knows."""
    return json.loads(run(program(), "status", "--json", env=env))


def check_cluster(folder: pathlib.Path) -> None:
    """The command of shardwright-cluster.service, as it stands there."""
    text = (DEPLOY / "systemd/shardwright-cluster.service").read_text().replace("\\\n", " ")
    line = re.search(r"^ExecStart=(.*)$", text, re.M)
    assert line, "no command in shardwright-cluster.service"
    places = {
        "/usr/local/bin/shardwright": program(),
        "/var/lib/bot": str(folder),
        "/opt/bot/venv/bin/python": sys.executable,
        "/opt/bot/bot.py": str(BOT),
    }
    command = [places.pop(word, word) for word in shlex.split(line[1])]
    assert not places, f"not in the command: {places}"
    with Simulator(shards=8, guilds=16) as simulator:
        env = {
            key: value for key, value in simulator.environment.items() if not key.startswith("SHARDWRIGHT_S")
        }
        env["PYTHONPATH"] = PYTHON_PATH
        cluster = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        try:
            simulator.wait(readies=8)
            cluster.send_signal(signal.SIGTERM)
            assert cluster.wait(PATIENCE_S) == 0, cluster.returncode
        finally:
            cluster.terminate()
            cluster.wait(PATIENCE_S)
        assert simulator.violations() == []
    print("shardwright-cluster.service: its command runs 8 shards in 4 workers and ends on SIGTERM")


def check_leases(folder: pathlib.Path) -> None:
    """Two bots with the environment of deployment.yaml; one leaves, and the other has all."""
    deployment = next(each for each in kubernetes("deployment") if each["kind"] == "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    env = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    assert env["SHARDWRIGHT_SHARDS"] == "lease", env
    with Simulator(shards=4, guilds=16) as simulator:
        env = environment(simulator, folder, **{**env, "METRICS_ADDRESS": "127.0.0.1:0"})

        def states(workers: int) -> Any:
            total = status(env)["total"]
            return total["workers"] == workers and total["states"] == {"ready": 4}

        with bot(env, subprocess.DEVNULL) as first:
            until("ready shards", lambda: (folder / "backplane").exists() and states(1))
            with bot(env, subprocess.DEVNULL) as second:
                shares = "two shards for each"
                until(shares, lambda: states(2) and {len(w["shards"]) for w in status(env)["workers"]} == {2})
                second.send_signal(signal.SIGTERM)
                assert second.wait(PATIENCE_S) == 0
            until("all shards with who is left", lambda: states(1))
            first.send_signal(signal.SIGTERM)
            assert first.wait(PATIENCE_S) == 0
        assert simulator.counts()["identifies"] == 4, "shards that moved identified"
        assert simulator.violations() == []
    print("deployment.yaml: two bots with its environment share 4 shards, which move without an identify")


# -- PM2 -------------------------------------------------------------------------------------------------


class Pm2:
    """A PM2 of its own, with its daemon and its home."""

    def __init__(self, program: str, env: dict[str, str]) -> None:
        self._program = program
        self._env = env

    def __enter__(self) -> Pm2:
        return self

    def __exit__(self, *_: object) -> None:
        self("kill")

    def __call__(self, *arguments: str) -> str:
        return run(self._program, *arguments, env=self._env, cwd=self._env["PM2_HOME"])

    def workers(self) -> dict[str, Any]:
        """What it knows of its apps, by name."""
        # Its first words may be others than the list.
        said = self("jlist", "--silent")
        found = {app["name"]: app for app in json.loads(said[said.index("[{") :])}
        return {
            name: {
                "pid": app["pid"],
                "restarts": app["pm2_env"]["restart_time"],
                "exit_code": app["pm2_env"].get("exit_code"),
                "shards": app["pm2_env"]["SHARDWRIGHT_SHARDS"],
            }
            for name, app in found.items()
        }


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def check_pm2(program: str, folder: pathlib.Path) -> None:
    """The ecosystem under a real PM2."""
    home = folder / "pm2"
    home.mkdir()
    with Simulator(shards=4, guilds=16) as simulator:
        channels = {}
        for guild in simulator.guilds():
            channels.setdefault((int(guild["id"]) >> 22) % 4, guild["text_channels"][0])
        more = {
            "PM2_HOME": str(home),
            "PM2_DISCRETE_MODE": "true",
            "BOT_PYTHON": sys.executable,
            "BOT_METRICS_PORT": "0",
        }
        pids = []
        with Pm2(program, environment(simulator, folder, **more)) as pm2:
            pm2("start", str(DEPLOY / "pm2/ecosystem.config.cjs"))
            assert simulator.counts()["readies"] == 4, "`pm2 start` did not wait for the shards"
            first = pm2.workers()
            pids += [worker["pid"] for worker in first.values()]
            assert {name: worker["shards"] for name, worker in first.items()} == {
                "bot-0": "0-1/4",
                "bot-1": "2-3/4",
            }

            # One is killed; a user writes meanwhile.
            os.kill(first["bot-1"]["pid"], signal.SIGKILL)
            simulator.say("!ping", channels[3])
            until(
                "the restart of bot-1",
                lambda: pm2.workers()["bot-1"]["pid"] not in (0, first["bot-1"]["pid"]),
            )
            simulator.wait(resumed=2)
            until("the answer of shard 3", lambda: "Pong!" in simulator.messages(channels[3]))
            second = pm2.workers()
            pids += [worker["pid"] for worker in second.values()]
            assert second["bot-0"] == first["bot-0"], second
            assert second["bot-1"]["restarts"] == 1, second
            assert simulator.counts()["identifies"] == 4, "a restart identified"

            # An update: worker after worker, each ready when the command returns.
            for number in range(2):
                pm2("restart", f"bot-{number}")
                resumed = simulator.counts()["resumed"]
                assert resumed == 4 + 2 * number, f"`pm2 restart` did not wait for the shards: {resumed}"
            for shard in (0, 2):
                simulator.say("!ping", channels[shard])
                until(
                    f"the answer of shard {shard}",
                    lambda shard=shard: "Pong!" in simulator.messages(channels[shard]),
                )
            third = pm2.workers()
            pids += [worker["pid"] for worker in third.values()]
            counts = simulator.counts()
            assert (counts["identifies"], counts["violations"]) == (4, 0), simulator.violations()

            # What Discord refuses is not tried again.
            simulator.do("reset_token")
            # Whatever it calls them: what it would start again keeps its pid until then.
            until("the end of all", lambda: all(worker["pid"] == 0 for worker in pm2.workers().values()))
            last = pm2.workers()
            assert {worker["exit_code"] for worker in last.values()} == {78}, last
            assert [w["restarts"] for w in last.values()] == [w["restarts"] for w in third.values()], last
        until("the end of PM2's processes", lambda: not any(is_running(pid) for pid in pids if pid))
    version = json.loads((pathlib.Path(program).resolve().parents[1] / "package.json").read_text())["version"]
    print(
        f"PM2 {version}: 2 workers with 4 shards: 4 identifies, {counts['resumed']} resumes after "
        "a kill -9 and a rolling restart, none started again after a refused token"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        folders = [pathlib.Path(folder) / name for name in ("systemd", "notify", "cluster", "leases", "pm2")]
        for each in folders:
            each.mkdir()
        check_ranges()
        check_systemd(folders[0])
        check_kubernetes()
        check_docker()
        check_notify(folders[1])
        check_cluster(folders[2])
        check_leases(folders[3])
        check_pm2(sys.argv[1], folders[4])


if __name__ == "__main__":
    main()
