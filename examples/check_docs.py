#!/usr/bin/env python3
"""Tries what docs/commands.md and docs/c.md say.

    examples/check_docs.py PREFIX

- Every command of the library has a section in docs/commands.md, and every kind of event of the header.
- Every example command is accepted, succeeds against the simulated Discord (but for jobs and versions that are not
  there), and breaks no rule of it.
- Every C snippet of docs/c.md compiles without a warning, the programs among them and the fragments.

PREFIX is where `make install PREFIX=...` went. Only Python's standard library and a C compiler are needed."""

import ctypes
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # no __pycache__ among the examples
import drive  # noqa: E402

DOCS = drive.REPOSITORY / "docs"
# What the jobs and versions of the examples come to, which are not there: SHARD_E_NOT_FOUND, SHARD_E_STATE.
NOTHING_THERE = {"job_ack": -16, "job_fail": -16, "job_retry": -16, "store_put": -4, "store_delete": -4}
INTENTS = ["GUILDS", "GUILD_MEMBERS", "GUILD_MESSAGES", "GUILD_VOICE_STATES"]
# What a fragment of C may use without declaring it. Whatever it declares itself must be used in it.
FRAGMENT = """
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include <shardwright.h>
void fragment(shard_client *client, shard_event *event);
void on_event(shard_client *client, shard_event *event);
void on_readable(uv_poll_t *handle, int status, int events);
void fragment(shard_client *client, shard_event *event) { (void)client, (void)event;
#line %d "docs/c.md"
%s
}
"""


class Event(ctypes.Structure):
    """shard_event."""

    _fields_ = [
        ("kind", ctypes.c_uint32), ("shard_id", ctypes.c_uint32), ("seq", ctypes.c_uint64),
        ("guild_id", ctypes.c_uint64), ("command_id", ctypes.c_uint64), ("received_ns", ctypes.c_int64),
        ("name", ctypes.c_void_p), ("name_len", ctypes.c_size_t), ("data", ctypes.c_void_p),
        ("data_len", ctypes.c_size_t), ("status", ctypes.c_int32), ("flags", ctypes.c_uint32),
        ("owner", ctypes.c_void_p), ("reserved", ctypes.c_uint64 * 2)]


class Client:
    """As much of a client as it takes to send commands and get their replies."""

    def __init__(self, library, config):
        self.library = ctypes.CDLL(str(library))
        functions = {
            "shard_last_error": (ctypes.c_size_t, [ctypes.c_char_p, ctypes.c_size_t]),
            "shard_client_new": (ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_size_t]),
            "shard_client_start": (ctypes.c_int32, [ctypes.c_void_p]),
            "shard_client_free": (None, [ctypes.c_void_p]),
            "shard_client_wait_ready": (ctypes.c_int32, [ctypes.c_void_p, ctypes.c_int32]),
            "shard_client_poll_event": (ctypes.c_int32, [ctypes.c_void_p, ctypes.POINTER(Event), ctypes.c_int32]),
            "shard_event_release": (None, [ctypes.POINTER(Event)]),
            "shard_client_send_command": (ctypes.c_int32, [
                ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint64)]),
        }
        for name, (restype, argtypes) in functions.items():
            function = getattr(self.library, name)
            function.restype, function.argtypes = restype, argtypes
        config = json.dumps(config).encode()
        self.handle = self.library.shard_client_new(config, len(config))
        if not self.handle or self.library.shard_client_start(self.handle) != 0:
            raise drive.Failure(f"cannot start a client: {self.last_error()}")
        if self.library.shard_client_wait_ready(self.handle, drive.PATIENCE_S * 1000) != 0:
            raise drive.Failure(f"the shards did not come up: {self.last_error()}")

    def last_error(self):
        """What went wrong in the last call."""
        buffer = ctypes.create_string_buffer(1024)
        self.library.shard_last_error(buffer, len(buffer))
        return buffer.value.decode()

    def send(self, command):
        """Sends a command's text; gives back its id, or None with the error."""
        command_id = ctypes.c_uint64()
        command = command.encode()
        status = self.library.shard_client_send_command(
            self.handle, command, len(command), ctypes.byref(command_id))
        return (command_id.value, None) if status == 0 else (None, self.last_error())

    def reply(self, command_id):
        """Waits for the reply to a command; gives back its status and data."""
        event = Event()
        while True:
            polled = self.library.shard_client_poll_event(
                self.handle, ctypes.byref(event), drive.PATIENCE_S * 1000)
            if polled != 1:
                raise drive.Failure(f"no reply came (poll_event: {polled})")
            is_reply = event.kind == 3 and event.command_id == command_id
            data = ctypes.string_at(event.data, event.data_len).decode() if event.data_len else ""
            status = event.status
            self.library.shard_event_release(ctypes.byref(event))
            if is_reply:
                return status, data

    def free(self):
        """Ends it."""
        self.library.shard_client_free(self.handle)


def blocks(page, language):
    """The code blocks of a language, with the line each starts at."""
    text = page.read_text()
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start()) + 2, match[1]


def check_commands(page, prefix):
    """Sends the examples of all commands; gives back how many there are."""
    text = page.read_text()
    simulator = drive.Simulator(prefix / "bin" / "shardwright")
    folder = tempfile.TemporaryDirectory()
    try:
        guild = simulator.get("guilds")[0]
        client = Client(prefix / "lib" / "libshardwright.so", {
            "token": simulator.token, "api_url": simulator.api_url, "intents": INTENTS, "events": ["READY"],
            "log": {"to": "none"}, "backplane": f"sqlite:{folder.name}/backplane", "store": f"sqlite:{folder.name}/store"})
        known = re.split(r", | and ", client.send('{"type": "?"}')[1].split("there are ", 1)[1])
        sections = ", ".join(re.findall(r"^### ([a-z_]+(?:, [a-z_]+)*)$", text, re.MULTILINE)).split(", ")
        if sorted(known) != sorted(sections):
            raise drive.Failure(f"{page.name} has {sections}, the library {known}")
        # The ids of the page belong to nobody in the simulated world.
        ids = {
            "41771983423143937": guild["id"], "80351110224678912": guild["owner_id"],
            "127121515262115840": guild["voice_channels"][0], "199737254929760256": guild["text_channels"][0]}
        sent = set()
        count = 0
        for line, example in blocks(page, "json"):
            sent.add(json.loads(example)["type"])
            command = re.sub("|".join(ids), lambda match: ids[match[0]], example)
            command_id, error = client.send(command)
            if error is not None:
                raise drive.Failure(f"{page.name}:{line}: not accepted: {error}")
            status, data = client.reply(command_id)
            if status not in (0, NOTHING_THERE.get(json.loads(example)["type"])) and not 200 <= status < 300:
                raise drive.Failure(f"{page.name}:{line}: status {status}: {data}")
            count += 1
        if sent != set(known):
            raise drive.Failure(f"{page.name} has no example of {sorted(set(known) - sent)}")
        simulator.check_rules()
        client.free()
        return count
    finally:
        simulator.kill()
        folder.cleanup()


def check_events(page, header):
    """Compares the kinds of events with those of the header."""
    kinds = set(re.findall(r"^#define (SHARD_EVENT_(?!FLAG_)\w+) (\d+)$", header.read_text(), re.MULTILINE))
    text = page.read_text()
    for name, number in kinds:
        if not re.search(rf"`{name}`(, {number}\.| \({number}\))", text):
            raise drive.Failure(f"{page.name} does not say what `{name}`, {number}, is")
    return len(kinds)


def check_c(page, prefix):
    """Compiles every C snippet, and links the programs; gives back how many there are."""
    count = 0
    with tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory) / "snippet.c"
        for line, snippet in blocks(page, "c"):
            is_program = "int main(" in snippet
            source.write_text(snippet if is_program else FRAGMENT % (line, snippet))
            command = ["cc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-pedantic", "-Werror",
                       f"-I{prefix}/include", str(source), "-o", f"{directory}/snippet"]
            command += [f"-L{prefix}/lib", "-lshardwright"] if is_program else ["-c"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise drive.Failure(f"{page.name}:{line}: {done.stderr}")
            count += 1
    return count


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    prefix = pathlib.Path(sys.argv[1])
    os.environ.pop("SHARDWRIGHT_SHARDS", None)
    drive.end_cleanly_when_terminated()
    try:
        commands = check_commands(DOCS / "commands.md", prefix)
        events = check_events(DOCS / "commands.md", prefix / "include" / "shardwright.h")
        snippets = check_c(DOCS / "c.md", prefix)
    except drive.Failure as failure:
        sys.exit(f"docs: FAILED: {failure}")
    print(f"docs: ok ({commands} commands, {events} kinds of events, {snippets} C snippets)")


if __name__ == "__main__":
    main()
