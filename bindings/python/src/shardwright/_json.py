"""JSON: orjson where it is installed, the standard library otherwise."""

from __future__ import annotations

import json
from typing import Any

try:
    import orjson
except ImportError:

    def loads(text: bytes) -> Any:
        """Parses what Discord or the library sent."""
        return json.loads(text)

else:

    def loads(text: bytes) -> Any:
        """Parses what Discord or the library sent."""
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            # orjson refuses some of what json takes, such as half a surrogate pair in a message.
            return json.loads(text)


def dumps(value: Any) -> bytes:
    """A command as the library wants it. Always the standard library: it says what it cannot write
    in the same words everywhere, and commands are few."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
