"""How much the row groups of a Parquet file hold, from its footer.

pyarrow ends the process (`std::terminate`) where it is asked for a column's description and a number in it is
wrong, instead of raising. So sizes are read here, before anything is unpacked: the footer is a struct in
Thrift's compact protocol, of which a few numbers are wanted and the rest is skipped.
"""

import struct
from collections.abc import Iterator
from io import BufferedReader, BytesIO
from typing import NamedTuple

# Thrift's types, as the compact protocol numbers them.
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_NUMBERS = (4, 5, 6)

# Numbers of fields in Parquet's format.
_ROW_GROUPS, _COLUMNS, _GROUP_ROWS, _META_DATA, _VALUES, _UNPACKED = 4, 1, 3, 3, 5, 6

#: Structs within structs: Parquet's own are six deep.
_MAX_DEPTH = 32


class GroupSize(NamedTuple):
    """What a row group promises to hold: rows, values of the largest column, and bytes unpacked."""

    rows: int
    values: int
    unpacked: int


def read_group_sizes(file: BufferedReader | BytesIO) -> list[GroupSize]:
    """The size of each row group, as the footer states it; where it states several, the largest.

    Raises:
        ValueError: the file has no sound footer.
    """
    end = file.seek(0, 2)
    file.seek(max(0, end - 8))
    tail = file.read(8)
    if len(tail) < 8 or tail[4:] != b"PAR1":
        raise ValueError("it does not end as Parquet files do")
    (length,) = struct.unpack("<I", tail[:4])
    if length > end - 8:
        raise ValueError(f"its footer should have {length} bytes, and the file has {end}")
    file.seek(end - 8 - length)
    try:
        return _Footer(file.read(length)).groups()
    except IndexError as error:
        raise ValueError("its footer ends too early") from error


class _Footer:
    """Reads Thrift's compact protocol."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def groups(self) -> list[GroupSize]:
        found: list[GroupSize] = []
        for field, kind in self._fields():
            if (field, kind) != (_ROW_GROUPS, _LIST):
                self._skip(kind)
                continue
            for element in self._elements():
                if element != _STRUCT:
                    raise ValueError("its row groups are not described")
                found.append(self._group())
        return found

    def _group(self) -> GroupSize:
        rows = values = unpacked = 0
        for field, kind in self._fields():
            if (field, kind) == (_COLUMNS, _LIST):
                for element in self._elements():
                    if element != _STRUCT:
                        raise ValueError("its columns are not described")
                    of_values, of_bytes = self._column()
                    values, unpacked = max(values, of_values), unpacked + of_bytes
            elif field == _GROUP_ROWS and kind in _NUMBERS:
                rows = max(rows, self._number())
            else:
                self._skip(kind)
        return GroupSize(rows, values, unpacked)

    def _column(self) -> tuple[int, int]:
        """Values and unpacked bytes of a column."""
        values = unpacked = 0
        for field, kind in self._fields():
            if (field, kind) != (_META_DATA, _STRUCT):
                self._skip(kind)
                continue
            for inner, inner_kind in self._fields():
                if inner == _VALUES and inner_kind in _NUMBERS:
                    values = max(values, self._number())
                elif inner == _UNPACKED and inner_kind in _NUMBERS:
                    unpacked = max(unpacked, self._number())
                else:
                    self._skip(inner_kind)
        return values, unpacked

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct; who asks reads or skips the value in between."""
        field = 0
        while True:
            head = self._byte()
            kind = head & 15
            if kind == _STOP:
                return
            field = field + (head >> 4) if head >> 4 else self._number()
            yield field, kind

    def _elements(self) -> Iterator[int]:
        """The type of each element of a list or set."""
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        for _ in range(count):
            yield head & 15

    def _skip(self, kind: int, depth: int = 0) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("its footer is nested too deeply")
        if kind in _NUMBERS:
            self._varint()
        elif kind == _BYTE:
            self._byte()
        elif kind == _DOUBLE:
            self._pass(8)
        elif kind == _BINARY:
            self._pass(self._varint())
        elif kind in (_LIST, _SET):
            for element in self._elements():
                self._skip_element(element, depth)
        elif kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            for _ in range(count):
                self._skip_element(kinds >> 4, depth)
                self._skip_element(kinds & 15, depth)
        elif kind == _STRUCT:
            for _, inner in self._fields():
                self._skip(inner, depth + 1)
        elif kind not in (_TRUE, _FALSE):
            raise ValueError(f"its footer holds a value of the unknown type {kind}")

    def _skip_element(self, kind: int, depth: int) -> None:
        """A truth value takes a byte in a list, and none as a field, where the type says it."""
        self._skip(_BYTE if kind in (_TRUE, _FALSE) else kind, depth + 1)

    def _number(self) -> int:
        """A signed number."""
        found = self._varint()
        return found >> 1 ^ -(found & 1)

    def _varint(self) -> int:
        found = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
        raise ValueError("its footer holds a number of more than 64 bits")

    def _pass(self, length: int) -> None:
        if length > len(self._content) - self._place:
            raise IndexError
        self._place += length

    def _byte(self) -> int:
        byte = self._content[self._place]
        self._place += 1
        return byte
