"""The simulated Discord that the tests run against, and how they talk to it."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

REPOSITORY = Path(__file__).resolve().parents[3]


def program() -> str:
    """The `shardwright` program."""
    path = os.environ.get("SHARDWRIGHT_PROGRAM") or str(REPOSITORY / "target/release/shardwright")
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing; run `make build`, or set SHARDWRIGHT_PROGRAM")
    return path


class Simulator:
    """`shardwright sim` on a free port, until the end of the `with` block."""

    def __init__(self, *, shards: int = 1, guilds: int = 4, members: int = 100) -> None:
        command = [program(), "sim", "--listen", "127.0.0.1:0", "--max-concurrency", "16"]
        command += ["--shards", str(shards), "--guilds", str(guilds), "--members", str(members)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        found = {}
        assert self._process.stdout is not None
        for line in self._process.stdout:
            words = line.split()
            if words[:1] == ["control"]:
                found["control"] = words[1]
            elif words[:1] == ["export"]:
                name, _, value = words[1].partition("=")
                found[name] = value
            if len(found) == 3:
                break
        else:
            raise RuntimeError(f"the simulator ended with {self._process.wait()}")
        self.control = found["control"]
        self.token = found["DISCORD_TOKEN"]
        self.api_url = found["SHARDWRIGHT_API_URL"]
        # Tests start many clients in a row; the limits that slow this down have tests of their own.
        limits = {"per_route": False, "global_per_second": 10_000, "interaction_ms": 3_000}
        self.do("configure", options={"identify_window_ms": 0, "rest": limits})

    @property
    def environment(self) -> dict[str, str]:
        """For a program that shall meet this Discord."""
        return {**os.environ, "DISCORD_TOKEN": self.token, "SHARDWRIGHT_API_URL": self.api_url}

    def do(self, action: str, **fields: Any) -> Any:
        """Makes something happen."""
        return self._ask("do", {"do": action, **fields})

    def wait(self, **counts: int) -> Any:
        """Waits until these totals are reached."""
        return self._ask("wait", {"counts": counts, "timeout_ms": 20_000})

    def counts(self) -> Any:
        """The totals."""
        return self._ask("counts")

    def seen(self, only: str) -> Any:
        """A part of the ledger."""
        return self._ask(f"seen?only={only}")[only]

    def violations(self) -> Any:
        """The rules of Discord's that were broken."""
        return self._ask("violations")

    def messages(self, channel: str) -> list[str]:
        """What stands in a channel."""
        return [message["content"] for message in self._ask(f"messages?channel={channel}")]

    def guilds(self) -> Any:
        """The guilds, with their channels."""
        return self._ask("guilds?limit=100")

    def channel(self, guild: int = 0) -> str:
        """A text channel."""
        channels: list[str] = self.guilds()[guild]["text_channels"]
        return channels[0]

    def say(self, content: str, channel: Optional[str] = None) -> None:
        """A user writes a message."""
        self.do("message", channel=channel or self.channel(), content=content)

    def _ask(self, path: str, body: Optional[dict[str, Any]] = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.control}/{path}", data=data)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {body}: {error.code} {error.read().decode()}") from None

    def __enter__(self) -> Simulator:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._process.kill()
        self._process.communicate()
