"""The dashboard's API as a program uses it: it is what openapi.json says, and lets in nobody else.

Takes from the environment: OPEN, a dashboard without tokens; CLOSED, one with the tokens OPERATE and VIEW; BOT_TOKEN,
which stands in no answer."""

import asyncio
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request

import jsonschema
import openapi_spec_validator
import websockets

OPEN, CLOSED = os.environ["OPEN"], os.environ["CLOSED"]
OPERATE, VIEW, BOT_TOKEN = os.environ["OPERATE"], os.environ["VIEW"], os.environ["BOT_TOKEN"]
# All answers, to look for the bot's token in.
answers = []


def ask(url, method="GET", body=None, **headers):
    """Status, headers and text of an answer."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    if data is not None:
        headers.setdefault("Content-Type", "application/json")
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, sent, text = answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        status, sent, text = error.code, error.headers, error.read().decode()
    answers.append(f"{sent}\n{text}")
    return status, sent, text


def expect(status, *arguments, **headers):
    """The text of an answer that has to have this status."""
    got, _, text = ask(*arguments, **headers)
    assert got == status, f"{arguments} {headers}: {got} {text}"
    return text


def routes(description):
    """Every route with a body that it takes."""
    bodies = {
        "/api/v1/cost": {"do": "restart_shard", "shard": 0, "resume": True},
        "/api/v1/actions": {"do": "restart_shard", "shard": 0, "resume": True},
        "/api/v1/playground/break": {"what": "op7", "shard": 0},
    }
    for path, methods in description["paths"].items():
        for method in methods:
            real = path.replace("{shard}", "0").replace("{queue}", "mail")
            yield method.upper(), real, path, bodies.get(path)


def described():
    """The description is valid, and answers are what it says."""
    description = json.loads(expect(200, f"{OPEN}/api/v1/openapi.json"))
    openapi_spec_validator.validate(description)
    guilds = json.loads(expect(200, f"{OPEN}/api/v1/playground"))["guilds"]
    channel = guilds[0]["channels"][0]["id"]
    queries = {"/api/v1/log": "?worker=worker%200&lines=3", "/api/v1/playground/messages": f"?channel={channel}"}
    looked_at = 0
    for method, real, path, body in routes(description):
        operation = description["paths"][path][method.lower()]
        good = next(iter(operation["responses"]))
        if good == "101":
            continue
        if path == "/api/v1/playground/message":
            body = {"channel": channel, "content": "hello"}
        status, _, text = ask(OPEN + real + queries.get(path, ""), method, body, X_Shardwright="1")
        assert str(status) == good, f"{method} {real}: {status} {text}"
        schema = dict(operation["responses"][good]["content"]["application/json"]["schema"])
        schema["components"] = description["components"]
        jsonschema.Draft202012Validator(schema).validate(json.loads(text))
        looked_at += 1
    assert looked_at > 12, looked_at
    for path in ["/api/v1/history?minutes=x", "/api/v1/history?hours=1", "/api/v1/jobs/mail?state=lost", "/api/v1/shards/x"]:
        expect(400, OPEN + path)
    expect(404, f"{OPEN}/api/v1/log?worker=../../etc/passwd")
    expect(404, f"{OPEN}/api/v1/nothing")
    expect(400, f"{OPEN}/api/v1/actions", "POST", {"do": "explode"}, X_Shardwright="1")
    expect(409, f"{OPEN}/api/v1/cost", "POST", {"do": "restart_shard", "shard": 4_000, "resume": True}, X_Shardwright="1")
    expect(413, f"{OPEN}/api/v1/actions", "POST", b"x" * 400_000, X_Shardwright="1")
    return description


def done(action):
    """Has an action done, and waits for its end: what is told of it."""
    number = json.loads(expect(202, f"{OPEN}/api/v1/actions", "POST", action, X_Shardwright="1"))["action"]
    for _ in range(600):
        work = json.loads(expect(200, f"{OPEN}/api/v1/state"))["state"]["actions"].get(number, {"state": "running"})
        if work["state"] != "running":
            assert work["state"] == "done", work
            return " / ".join(work["lines"])
        time.sleep(0.2)
    raise AssertionError(f"{action} does not end")


def driven():
    """Workers are restarted and paused, and cost no session start."""
    def place():
        return json.loads(expect(200, f"{OPEN}/api/v1/state"))["state"]["cluster"]["workers"]["worker 1"]

    pid = place()["pid"]
    told = done({"do": "restart_worker", "worker": "worker 1"})
    assert "resumed, 0 identified" in told and place()["pid"] != pid, told
    told = done({"do": "pause_worker", "worker": "worker 1"})
    assert "worker 1 is paused" in told and place()["what"] == "paused" and "pid" not in place(), told
    told = done({"do": "unpause_worker", "worker": "worker 1"})
    assert "resumed, 0 identified" in told and place()["what"] == "running", told
    told = done({"do": "deploy"})
    assert told.endswith("0 identified"), told
    expect(409, f"{OPEN}/api/v1/actions", "POST", {"do": "restart_worker", "worker": "worker 9"}, X_Shardwright="1")


def refused(description):
    """Without the token nothing is there; with the one for viewers nothing can be done."""
    every = [(method, path, body) for method, path, _, body in routes(description)]
    every += [("GET", "/", None), ("GET", "/page/main.js", None), ("GET", "/page/none", None), ("HEAD", "/", None)]
    for method, path, body in every:
        for headers in [{}, {"Authorization": "Bearer wrong-wrong-wrong"}, {"Cookie": "shardwright=AAAA"}][: 1 if path != "/" else 3]:
            expect(401, CLOSED + path, method, body, X_Shardwright="1", **headers)
        foreign = {"Origin": "https://evil.example", "Authorization": f"Bearer {OPERATE}", "X_Shardwright": "1"}
        expect(403, CLOSED + path, method, body, **foreign)
        expect(403, OPEN + path, method, body, Origin="https://evil.example", X_Shardwright="1")
        if method == "POST":
            expect(403, OPEN + path, method, body)
    expect(200, f"{CLOSED}/api/v1/state", Authorization=f"Bearer {VIEW}")
    viewer = {"Authorization": f"Bearer {VIEW}", "X_Shardwright": "1"}
    expect(403, f"{CLOSED}/api/v1/actions", "POST", {"do": "deploy"}, **viewer)
    expect(200, f"{CLOSED}/api/v1/cost", "POST", {"do": "deploy"}, **viewer)
    # Under another name, a page of somebody else would be read as ours.
    address = urllib.parse.urlsplit(OPEN)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.request("GET", "/api/v1/state", headers={"Host": "evil.example"})
    assert connection.getresponse().status == 403


def log_in():
    """A browser's way in; its cookie."""
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    status, _, text = ask(f"{CLOSED}/login", "POST", b"token=wrong", **form)
    assert status == 401 and "That is not the token" in text, text
    expect(403, f"{CLOSED}/login", "POST", f"token={OPERATE}".encode(), Origin="https://evil.example", **form)
    address = urllib.parse.urlsplit(CLOSED)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    connection.request("POST", "/login", f"token={OPERATE}", {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    cookie = answer.getheader("Set-Cookie")
    assert (answer.status, answer.getheader("Location")) == (303, "/") and "HttpOnly" in cookie, cookie
    cookie = cookie.split(";")[0]
    status, headers, _ = ask(f"{CLOSED}/", Cookie=cookie)
    assert status == 200 and "script-src 'self'" in headers["Content-Security-Policy"]
    assert json.loads(expect(200, f"{CLOSED}/api/v1/state", Cookie=cookie))["role"] == "operate"
    return cookie


def applied(document, patch):
    """A JSON Merge Patch (RFC 7386) applied."""
    if not isinstance(patch, dict):
        return patch
    document = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = applied(document.get(key), value)
    return document


async def streamed(cookie):
    """The WebSocket: a snapshot and what changes, commands, and going on after a loss."""
    url = CLOSED.replace("http", "ws", 1) + "/api/v1/stream"
    for headers, origin in [({}, None), ({"Cookie": cookie}, "https://evil.example")]:
        try:
            async with websockets.connect(url, additional_headers=headers, origin=origin):
                raise AssertionError(f"let in with {headers} from {origin}")
        except websockets.InvalidStatus as refusal:
            assert refusal.response.status_code in (401, 403)

    async with websockets.connect(url, additional_headers={"Cookie": cookie}, max_size=None) as stream:
        text = await stream.recv()
        answers.append(text)
        snapshot = json.loads(text)
        state, seq = snapshot["state"], snapshot["seq"]
        assert (snapshot["type"], snapshot["role"]) == ("snapshot", "operate")
        action = {"do": "restart_shard", "shard": 0, "resume": True}
        await stream.send(json.dumps({"id": "a", "type": "cost", "action": action}))
        await stream.send(json.dumps({"id": "b", "type": "act", "action": action}))
        await stream.send("nonsense")
        replies, number = {}, None
        while number is None or state["actions"].get(number, {}).get("state") != "done":
            text = await asyncio.wait_for(stream.recv(), 60)
            answers.append(text)
            message = json.loads(text)
            if message["type"] == "reply":
                replies[message["id"]] = message
                number = replies.get("b", {}).get("action", number)
            else:
                assert message["seq"] == seq + 1, "a change is missing"
                seq, state = message["seq"], applied(state, message["patch"])
        assert replies["a"]["cost"]["identifies"] == 0 and "error" in replies[None], replies
        assert "resumed in" in state["actions"][number]["lines"][-1]

    # Who comes back is told what it missed, and has the same state as everybody.
    async with websockets.connect(
            f"{url}?stream={snapshot['stream']}&seq={seq}", additional_headers={"Authorization": f"Bearer {VIEW}"}) as stream:
        assert json.loads(await stream.recv())["type"] == "resumed"
        for _ in range(3):
            message = json.loads(await asyncio.wait_for(stream.recv(), 60))
            assert message["seq"] == seq + 1
            seq, state = message["seq"], applied(state, message["patch"])
        await stream.send(json.dumps({"id": 1, "type": "act", "action": action}))
        while (message := json.loads(await asyncio.wait_for(stream.recv(), 60)))["type"] != "reply":
            seq, state = message["seq"], applied(state, message["patch"])
        assert "only look" in message["error"], message
    async with websockets.connect(
            f"{url}?stream={snapshot['stream']}&seq={seq}", additional_headers={"Cookie": cookie}) as stream:
        assert json.loads(await stream.recv())["type"] == "resumed"
    async with websockets.connect(f"{url}?stream=another&seq=1", additional_headers={"Cookie": cookie}, max_size=None) as stream:
        whole = json.loads(await stream.recv())
        assert whole["type"] == "snapshot"
        assert state["bot"] == whole["state"]["bot"] and state["shards"].keys() == whole["state"]["shards"].keys()


def main():
    description = described()
    driven()
    refused(description)
    asyncio.run(streamed(log_in()))
    assert not any(BOT_TOKEN in answer for answer in answers), "the bot's token is in an answer"
    print(f"   {len(answers)} answers, none with the bot's token")


if __name__ == "__main__":
    main()
