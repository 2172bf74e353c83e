"""Documents that outlive the process and that all shards can reach: the `store`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Optional, TypedDict

from .reply import Reply

if TYPE_CHECKING:
    from .client import Client


class Document(TypedDict):
    """A document as it is stored."""

    value: Any
    version: int
    updated_at_ms: int


class ListedDocument(Document):
    """One of a page."""

    key: str


class DocumentsPage(TypedDict):
    """Some documents, by key. `next` is the `after` of the next page, None on the last one."""

    documents: list[ListedDocument]
    next: Optional[str]


class Store:
    """`client.store`: collections of JSON documents.

    A `ConflictError` says which version is there where `expected_version` names another one; 0 is none.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, collection: str, key: str) -> Reply[Optional[Document]]:
        """A document, None where there is none."""
        return self._send("store_get", collection, key, lambda data: data)

    def put(
        self, collection: str, key: str, value: Any, *, expected_version: Optional[int] = None
    ) -> Reply[int]:
        """Stores a document; its version."""
        more = {"value": value, "expected_version": expected_version}
        return self._send("store_put", collection, key, lambda data: int(data["version"]), more)

    def delete(self, collection: str, key: str, *, expected_version: Optional[int] = None) -> Reply[bool]:
        """Deletes a document; whether there was one."""
        more = {"expected_version": expected_version}
        return self._send("store_delete", collection, key, lambda data: bool(data["deleted"]), more)

    def list(
        self, collection: str, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> Reply[DocumentsPage]:
        """The documents of a collection whose keys begin with `prefix`."""
        fields = {"collection": collection, "prefix": prefix, "after": after, "limit": limit}
        return self._client._ask("store_list", f"store_list of {collection!r}", lambda data: data, **fields)

    def _send(
        self,
        kind: str,
        collection: str,
        key: str,
        convert: Callable[[Any], Any],
        more: Optional[dict[str, Any]] = None,
    ) -> Reply[Any]:
        what = f"{kind} of {collection}/{key}"
        return self._client._ask(kind, what, convert, collection=collection, key=key, **more or {})
