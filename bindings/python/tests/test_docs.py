"""Every Python block of the guide and of the README, and every example, runs."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from simulator import REPOSITORY, Simulator

PACKAGE = REPOSITORY / "bindings/python"
BLOCK = re.compile(
    r"^```python\n(.*?)^```\n(<!-- test: (?:answers|until Ctrl-C) -->)?", re.MULTILINE | re.DOTALL
)


def programs() -> list[tuple[str, str, str]]:
    """Name, text, and of a bot that runs until Ctrl-C whether it answers."""
    found = []
    for file in (REPOSITORY / "docs/python.md", PACKAGE / "README.md"):
        text = file.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append((f"{file.name}:{line}", match[1], (match[2] or "")[11:-4]))
    examples: list[Path] = sorted((REPOSITORY / "examples/python").glob("*.py"))
    found += [(example.name, example.read_text(), "answers") for example in examples]
    return found


def as_program(text: str, sim: Simulator) -> str:
    """A block as it stands; one that only makes sense with a client gets one around it."""
    try:
        names = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
        has_client = "client" not in names or "Client(" in text
        compile(text, "block", "exec")
    except SyntaxError:  # `await` outside a function
        has_client = False
    if has_client:
        return text
    guild = sim.guilds()[0]
    return (
        "import asyncio\nfrom shardwright import Client\n"
        f"guild_id = {guild['id']!r}\nchannel_id = {guild['text_channels'][0]!r}\n"
        f"voice_channel_id = {guild['voice_channels'][0]!r}\n"
        "async def main():\n"
        "    async with Client(intents=['GUILDS', 'GUILD_MEMBERS', 'GUILD_VOICE_STATES']) as client:\n"
        "        await client.wait_ready(30)\n"
        f"{textwrap.indent(text, ' ' * 8)}\n"
        "asyncio.run(main())\n"
    )


@pytest.mark.parametrize(("text", "runs"), [p[1:] for p in programs()], ids=[p[0] for p in programs()])
def test_it_runs(text: str, runs: str, tmp_path: Path) -> None:
    with Simulator(shards=2) as sim:
        process = subprocess.Popen(
            [sys.executable, "-c", as_program(text, sim)],
            env=sim.environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if runs:
                sim.wait(readies=2)
            if runs == "answers":
                channel = sim.channel()
                rest = sim.counts()["rest"]
                sim.say("!ping", channel)
                sim.wait(rest=rest + 1)
                assert sim.messages(channel)[-1] == "Pong!"
            if runs:
                process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
        if process.returncode != 0 and not (runs and errors.endswith("KeyboardInterrupt\n")):
            pytest.fail(errors)


def test_there_are_blocks() -> None:
    names = [name for name, _, _ in programs()]
    assert sum(name.startswith("python.md") for name in names) >= 8
    assert sum(name.startswith("README.md") for name in names) == 3
    assert "ping_bot.py" in names
