"""A MessagePack body whose files are read while they are sent, so that memory stays flat."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgpack

if TYPE_CHECKING:
    from voice_provider.services.base import Body

Part: TypeAlias = "bytes | Body"
_packer = msgpack.Packer()


class PackedBody:
    """A ``services.base.Body``: a value packed as MessagePack; every ``Body`` in it becomes a ``bin`` of its bytes.

    :param value: mappings, sequences, texts, numbers, bodies
    """

    name = "request.msgpack"
    media_type = "application/msgpack"

    def __init__(self, value: Mapping[str, Any]) -> None:
        self._value = value

    @property
    def size(self) -> int:
        """Length in bytes; no file is read for it."""
        return sum(len(part) if isinstance(part, bytes) else part.size for part in _parts(self._value))

    def chunks(self) -> Iterator[bytes]:
        """Pack the value anew and yield it piece by piece."""
        for part in _parts(self._value):
            if isinstance(part, bytes):
                yield part
            else:
                yield from part.chunks()


def _parts(value: Any) -> Iterator[Part]:
    if isinstance(value, Mapping):
        yield _packer.pack_map_header(len(value))
        for name, item in value.items():
            yield _packer.pack(name)
            yield from _parts(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield _packer.pack_array_header(len(value))
        for item in value:
            yield from _parts(item)
    elif hasattr(value, "chunks"):
        yield b"\xc6" + struct.pack(">I", value.size)  # bin 32, https://github.com/msgpack/msgpack/blob/master/spec.md
        yield value
    else:
        yield _packer.pack(value)
