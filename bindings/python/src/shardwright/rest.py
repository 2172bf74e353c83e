"""Discord's REST API, with the rate limits, retries and connections of the engine."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Union

from .errors import RestError
from .events import Event
from .reply import Reply

if TYPE_CHECKING:
    from .client import Client


@dataclass(frozen=True)
class File:
    """A file to upload, from memory."""

    name: str
    """The name that people see."""
    data: bytes
    """Its bytes."""
    content_type: Optional[str] = None
    """Its media type, such as `image/png`."""
    field: Optional[str] = None
    """The form field it goes to, for the few routes that name one, such as `file` for stickers."""


FileLike = Union[File, str, "os.PathLike[str]"]
"""A `File`, or the path of a file on disk, which the engine reads."""


class Rest:
    """`client.rest`: requests by method and path, below `/api/v10`.

    A result is the parsed JSON of the answer, `None` when it is empty. An HTTP error is a `RestError`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, path: str, *, query: Optional[Mapping[str, Any]] = None) -> Reply[Any]:
        """GET: `client.rest.get("/channels/1/messages", query={"limit": 5})`."""
        return self.request("GET", path, query=query)

    def post(self, path: str, json: Any = None, **options: Any) -> Reply[Any]:
        """POST: `client.rest.post("/channels/1/messages", json={"content": "hi"})`. Options: `request`."""
        return self.request("POST", path, json=json, **options)

    def put(self, path: str, json: Any = None, **options: Any) -> Reply[Any]:
        """PUT. Options: see `request`."""
        return self.request("PUT", path, json=json, **options)

    def patch(self, path: str, json: Any = None, **options: Any) -> Reply[Any]:
        """PATCH. Options: see `request`."""
        return self.request("PATCH", path, json=json, **options)

    def delete(self, path: str, **options: Any) -> Reply[Any]:
        """DELETE. Options: see `request`."""
        return self.request("DELETE", path, **options)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Optional[Mapping[str, Any]] = None,
        reason: Optional[str] = None,
        files: Optional[Iterable[FileLike]] = None,
    ) -> Reply[Any]:
        """Any request. `reason` stands in the guild's audit log; `files` are uploaded with it."""
        command: dict[str, Any] = {"type": "rest", "method": method, "path": path}
        if json is not None:
            command["body"] = json
        if query is not None:
            command["query"] = dict(query)
        if reason is not None:
            command["reason"] = reason
        if files is not None:
            command["files"] = [_file_json(file) for file in files]

        def convert(event: Event) -> Any:
            return _answer(event, method, path)

        return self._client._command(command, f"{method} {path}", convert)


def _answer(event: Event, method: str, path: str) -> Any:
    is_error = event.status >= 400
    try:
        body = event.data if event.raw else None
    except ValueError:
        # A proxy's error page, most likely.
        body, is_error = event.raw.decode("utf-8", "replace"), True
    if is_error:
        raise RestError(event.status, method, path, body)
    return body


def _file_json(file: FileLike) -> dict[str, Any]:
    if not isinstance(file, File):
        return {"path": os.fspath(file)}
    json = {"name": file.name, "data": base64.b64encode(file.data).decode()}
    if file.content_type is not None:
        json["content_type"] = file.content_type
    if file.field is not None:
        json["field"] = file.field
    return json
