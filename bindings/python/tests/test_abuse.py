"""What a host can do wrong, on the library itself: every misuse is a status, never a crash.

The same cases from C, and the list of which is where, are in tests/abi/abuse.c. Each case runs in an
interpreter of its own, so that a crash is one failed test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

import pytest
from simulator import REPOSITORY, Simulator

PRELUDE = """
import ctypes, os, signal, threading, time
from shardwright import _ffi, _lib
library = _lib.library()
CONFIG = b'{"intents": 1, "log": {"to": "none"}}'

def new():
    client = library.shard_client_new(CONFIG, len(CONFIG))
    assert client
    return client

def ready():
    client = new()
    assert library.shard_client_start(client) == 0
    assert library.shard_client_wait_ready(client, 20_000) == 0
    return client

events = (_ffi.ShardEvent * 8)()

def poll(client, timeout_ms, events=events):
    return library.shard_client_poll_events(client, events, len(events), timeout_ms)

def poll_to_the_end(client, ends):
    own = (_ffi.ShardEvent * 8)()
    while (count := poll(client, -1, own)) >= 0:
        library.shard_events_release(own, count)
    ends.append(count)
"""


def run(sim: Optional[Simulator], code: str, **environment: str) -> str:
    """Runs code in an interpreter of its own; what it printed."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PRELUDE + code],
        env={**(sim.environment if sim else {**os.environ, "DISCORD_TOKEN": "x" * 60}), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
    return done.stdout


def test_use_after_free(sim: Simulator) -> None:
    run(
        sim,
        """
for client in (new(), ready()):
    for _ in range(3):
        library.shard_client_free(client)
    other = new()
    assert other != client
    assert poll(client, -1) == _ffi.SHARD_E_INVALID_HANDLE
    assert library.shard_client_start(client) == _ffi.SHARD_E_INVALID_HANDLE
    assert library.shard_client_stop(client, 0, -1) == _ffi.SHARD_E_INVALID_HANDLE
    assert library.shard_client_wake(client) == _ffi.SHARD_E_INVALID_HANDLE
    assert library.shard_client_event_fd(client) == _ffi.SHARD_E_INVALID_HANDLE
    assert poll(other, 0) == 0
    library.shard_client_free(other)
for wild in (1, 0x5b, id(library), 2**64 - 1):
    library.shard_client_free(wild)
    assert poll(wild, -1) < 0
""",
    )


def test_free_during_a_blocked_poll(sim: Simulator) -> None:
    run(
        sim,
        """
for how in range(4):
    client, ends = ready(), []
    threads = [threading.Thread(target=poll_to_the_end, args=(client, ends)) for _ in range(8)]
    if how >= 2:
        threads.append(threading.Thread(target=library.shard_client_stop, args=(client, how, -1)))
    for thread in threads:
        thread.start()
    if how % 2:
        library.shard_client_free(client)
    else:
        library.shard_client_stop(client, 0, -1)
    for thread in threads:
        thread.join()
    library.shard_client_free(client)
    assert len(ends) == 8, ends
    assert set(ends) <= {_ffi.SHARD_E_CLOSED, _ffi.SHARD_E_INVALID_HANDLE}, ends
""",
    )


def test_release_after_free(sim: Simulator) -> None:
    run(
        sim,
        """
client = ready()
count = poll(client, 1000)
assert count > 0
library.shard_client_free(client)
assert all(ctypes.string_at(e.data, e.data_len)[:1] == b"{" for e in events[:count])
library.shard_events_release(events, count)
library.shard_events_release(events, count)
assert not any(e.data or e.owner for e in events[:count])
""",
    )


def test_two_clients(sim: Simulator) -> None:
    run(
        sim,
        """
first, second = ready(), ready()
assert library.shard_client_event_fd(first) != library.shard_client_event_fd(second)
library.shard_client_free(first)
assert poll(first, 0) == _ffi.SHARD_E_INVALID_HANDLE
assert library.shard_client_healthy(second) == 0
count = poll(second, 1000)
assert count > 0
library.shard_events_release(events, count)
library.shard_client_free(second)
""",
    )


def test_dlclose(sim: Simulator) -> None:
    """The library stays while its threads run, however often it is closed."""
    run(
        sim,
        """
import _ctypes
client = ready()
for _ in range(3):
    _ctypes.dlopen(library._name, 0)
for _ in range(9):
    try:
        _ctypes.dlclose(library._handle)
    except OSError:
        break
time.sleep(0.2)
assert os.path.basename(library._name) in open("/proc/self/maps").read()
assert library.shard_client_healthy(client) == 0
library.shard_client_free(client)
client = ready()
# And the process ends with its threads alive.
""",
    )


def test_vanished_peer(sim: Simulator) -> None:
    """Python ignores SIGPIPE; with its default action a write to a vanished peer would end the process."""
    run(
        sim,
        """
import json, urllib.request
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
client = ready()
engine = [t for t in os.listdir("/proc/self/task")
          if open(f"/proc/self/task/{t}/comm").read().startswith("shard-io")]
assert engine
for thread in engine:
    # What the engine's threads write to what is gone is an error there, and no signal.
    status = open(f"/proc/self/task/{thread}/status").read()
    blocked = int(status.split("SigBlk:")[1].split()[0], 16)
    assert blocked >> (signal.SIGPIPE - 1) & 1, status
command = json.dumps({"type": "update_presence", "status": "idle"}).encode()
body = {"type": "rest", "method": "POST", "path": "/channels/1/messages", "body": "x" * 500_000}
body = json.dumps(body).encode()
for _ in range(5):
    what = json.dumps({"do": "drop", "target": "all", "how": "reset"}).encode()
    urllib.request.urlopen(urllib.request.Request(os.environ["CONTROL"] + "/do", data=what)).read()
    for text in (command, body):
        assert library.shard_client_send_command(client, text, len(text), None) == 0
    time.sleep(0.1)
assert signal.getsignal(signal.SIGPIPE) == signal.SIG_DFL
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
library.shard_client_free(client)
""",
        CONTROL=sim.control,
    )


def test_signals() -> None:
    """A handler that was installed without SA_RESTART, as Python's are, ends a poll."""
    run(
        None,
        """
signal.signal(signal.SIGALRM, lambda *_: None)
signal.siginterrupt(signal.SIGALRM, True)
client = new()
for _ in range(20):
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    assert poll(client, 60_000) == _ffi.SHARD_E_INTERRUPTED
library.shard_client_free(client)
""",
    )


def test_panic(sim: Simulator) -> None:
    """Panics of the library that tests/abi/panics.rs makes: in a call, in a poll, in the task of a shard."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
    build = ["cargo", "build", "--quiet", "--workspace", "--example", "shardwright_panics"]
    subprocess.run([*build, "--target-dir", str(target)], cwd=REPOSITORY, check=True)
    run(
        sim,
        """
library.shard_test_client_new.restype = ctypes.c_void_p
library.shard_test_client_new.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
for name in ("call", "poll"):
    getattr(library, f"shard_test_panic_in_{name}").argtypes = [ctypes.c_void_p]
client = library.shard_test_client_new(CONFIG, len(CONFIG))

def last_error():
    buffer = ctypes.create_string_buffer(500)
    library.shard_last_error(buffer, 500)
    return buffer.value

assert library.shard_test_panic_in_call(client) == _ffi.SHARD_E_PANIC
assert last_error() == b"a bug in Shardwright: on purpose", last_error()
assert library.shard_client_start(client) == 0
assert library.shard_client_wait_ready(client, 20_000) == 0
assert library.shard_test_panic_in_poll(client) == _ffi.SHARD_E_PANIC
assert library.shard_client_healthy(client) == 0
library.shard_test_panic_in_shard()

def wait_for(text, name):
    while True:
        count = poll(client, 20_000)
        assert count > 0, count
        found = any(e.kind == _ffi.SHARD_EVENT_SHARD_STATE and text in ctypes.string_at(e.data, e.data_len)
                    and ctypes.string_at(e.name, e.name_len) == name for e in events[:count])
        library.shard_events_release(events, count)
        if found:
            return

command = b'{"type": "update_presence", "status": "idle"}'
assert library.shard_client_send_command(client, command, len(command), None) == 0
wait_for(b"met a bug in the engine", b"disconnected")
wait_for(b"", b"ready")
assert library.shard_client_healthy(client) == 0
library.shard_client_free(client)
""",
        SHARDWRIGHT_LIBRARY=str(target / "debug/examples/libshardwright_panics.so"),
    )


def test_cycles(capsys: pytest.CaptureFixture[str]) -> None:
    """100,000 clients leave no memory, no thread and no descriptor behind."""
    said = run(
        None,
        """
def size():
    kilobytes = int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])
    return kilobytes, len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

for number in range(101_000):
    if number == 1000:
        before, began = size(), time.monotonic()
    library.shard_client_free(new())
after = size()
assert after[0] - before[0] < 4096 and after[1:] == before[1:], (before, after)
print(f"100,000 clients: {time.monotonic() - began:.1f} s, {after[0] - before[0]} kB more")
""",
    )
    with capsys.disabled():
        print(f"\n{said}", end="")
