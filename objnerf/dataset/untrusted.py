"""Files that strangers made: regular files of bounded size, read as plain data and nothing else.

What this package reads comes from the internet as often as not. Here are the ways in: bytes of a regular
file (no pipe can hang, no device can fill the memory), YAML without tags and without aliases that unfold to
gigabytes, JSON, and images of the formats that people keep images in, up to a size that a loader takes.
"""

import io
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from objnerf.errors import InputError, ObjnerfError

#: No image, mask or depth map that a loader could use is larger than this.
MAX_BYTES = 1 << 28

#: Larger images are refused unopened: a few bytes of PNG can unfold to gigabytes.
MAX_PIXELS = 1 << 26

#: Pillow knows forty more, one of which (EPS) is a program that Ghostscript runs.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "TGA")

#: No description or recipe is larger; YAML takes seconds a megabyte.
MAX_YAML_BYTES = 1 << 22

#: Values in a YAML file, aliases unfolded.
_MAX_YAML_VALUES = 500_000

#: A description of a hundred thousand frames has a tenth of this.
_MAX_JSON_BYTES = 1 << 29

_YAML_INTEGER = "tag:yaml.org,2002:int"

_MAX_DIGITS = 300
"""Digits of a whole number in JSON or YAML; floats end at 308."""

#: Files with the content of many: archives, tables, models of a whole capture. What is read of them at a time
#: has a limit of its own.
MAX_COLLECTION_BYTES = 1 << 44

#: Arrays of a .npz, unpacked: the cameras of a million views take half of this.
_MAX_NPZ_BYTES = MAX_BYTES


class Unreadable(Exception):
    """A file whose content cannot be had; the message says why, without the file's name."""


def open_regular(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> io.BufferedReader:
    """Open a regular file for reading; without blocking, so that a pipe in a file's place hangs nobody.

    Raises:
        Unreadable: missing, not permitted, no regular file, or larger than ``limit`` bytes.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        dangling = os.path.islink(path)
        raise Unreadable("a link that leads nowhere" if dangling else "the file is missing") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        raise Unreadable(f"it cannot be opened ({getattr(error, 'strerror', None) or error})") from error
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise Unreadable("a folder in the file's place")
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("no regular file")
        if status.st_size > limit:
            raise Unreadable(f"{status.st_size} bytes, far more than such a file can have")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def is_file(path: Path) -> bool:
    """Whether a file is there; unlike ``Path.is_file`` also of a name that is longer than any on a disk."""
    return os.path.isfile(path)


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> bytes:
    """The content of a regular file.

    Raises:
        Unreadable: as ``open_regular``, or it cannot be read.
    """
    with open_regular(path, limit) as file:
        try:
            # Not beyond what it has now, should it grow meanwhile.
            return file.read(min(limit, os.fstat(file.fileno()).st_size))
        except OSError as error:
            raise Unreadable(f"it cannot be read ({error.strerror or error})") from error


def read_text(path: str | os.PathLike[str], limit: int = MAX_BYTES) -> str:
    """The content of a regular file of UTF-8 text; a byte order mark is left out.

    Raises:
        InputError: missing, not permitted, no regular file, too large, or no text.
    """
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except Unreadable as problem:
        raise InputError(f"{path}: cannot be read ({problem})") from problem
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text, found bytes that are not UTF-8 ({error.reason})") from error


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The content of a YAML file: plain values only, as ``parse_yaml``.

    Raises:
        InputError: it cannot be read, or is no such YAML.
    """
    return parse_yaml(read_text(path, MAX_YAML_BYTES), str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Plain values (numbers, texts, lists, mappings) from YAML text.

    Args:
        text: the text; tags that would make objects are refused.
        where: what it is, for messages.
    Raises:
        InputError: no YAML, tags, nested too deeply, or aliases that unfold to over half a million values.
    """
    try:
        loader = yaml.SafeLoader(text)  # looks for characters that no YAML may hold
        node = loader.get_single_node()
        if node is None:
            return None
        if _unfolded(node, {}) > _MAX_YAML_VALUES:
            raise InputError(
                f"{where}: expected a small file, found YAML that expands to over {_MAX_YAML_VALUES} values"
            )
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise InputError(f"{where}: expected YAML, {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"{where}: expected YAML, found it nested too deeply") from error
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        # Values that look like dates or numbers and are none: 2024-13-99, {[1]: 2}.
        raise InputError(f"{where}: expected YAML, found an invalid value ({error})") from error


def _unfolded(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of values that a node stands for, each alias counted as often as it is used."""
    if id(node) in known:
        return known[id(node)]
    # An alias inside what it stands for: endless.
    known[id(node)] = _MAX_YAML_VALUES + 1
    count = 1
    if isinstance(node, yaml.ScalarNode) and node.tag == _YAML_INTEGER and len(node.value) > _MAX_DIGITS:
        raise ValueError(f"a whole number of {len(node.value)} digits")
    if isinstance(node, yaml.SequenceNode):
        count += sum(_unfolded(item, known) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        count += sum(_unfolded(key, known) + _unfolded(value, known) for key, value in node.value)
    known[id(node)] = count
    return count


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: it cannot be read, is no JSON, or is nested too deeply.
    """
    try:
        return parse_json(read_text(path, _MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found something else ({error})") from error


def parse_json(text: str | bytes) -> Any:
    """The content of JSON text.

    Raises:
        ValueError: it is no JSON, or holds a whole number that no float can hold.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        # Python's integers have no limit, and everything that calculates with them fails in its own way.
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def read_npz(
    path: str | os.PathLike[str], wanted: Callable[[str], bool], expected: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Some arrays of numbers of a file in NumPy's .npz format, and the names of all; nothing is unpickled.

    Args:
        path: the file.
        wanted: whether an array of this name is to be read.
        expected: what should be in it, for messages.
    Raises:
        InputError: it cannot be read, is damaged, holds other things than numbers, or unpacks to too much.
    """
    try:
        with open_regular(path, MAX_COLLECTION_BYTES) as file, zipfile.ZipFile(file) as archive:
            members = {
                entry.filename.removesuffix(".npy"): entry
                for entry in archive.infolist()
                if entry.filename.endswith(".npy")
            }
            chosen = {name: entry for name, entry in members.items() if wanted(name)}
            promised = sum(entry.file_size for entry in chosen.values())
            if promised > _MAX_NPZ_BYTES:
                raise Unreadable(f"arrays of {promised} bytes, more than the {_MAX_NPZ_BYTES} that are read")
            found = {
                name: np.lib.format.read_array(io.BytesIO(archive.read(entry)), allow_pickle=False)
                for name, entry in chosen.items()
            }
    except Unreadable as problem:
        raise InputError(f"{path}: expected {expected}, which cannot be read ({problem})") from problem
    except Exception as error:
        # zipfile and its decompressors raise kinds of their own, and the arrays' headers are evaluated as
        # Python's literals, which fail in whatever way a damaged one can.
        raise InputError(f"{path}: expected {expected}, {' '.join(str(error).split())}") from error
    for name, array in found.items():
        if array.dtype.kind not in "fiu":
            raise InputError(f"{path}: expected numbers in the array {name}, found {array.dtype}")
    return found, tuple(members)


#: What Pillow's plug-ins raise where they stumble over damaged bytes.
_DECODING_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, MemoryError),
    *(AttributeError, NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError, Warning),
)


@contextmanager
def opened_picture(source: str | os.PathLike[str] | bytes, where: str | None = None) -> Iterator[Image.Image]:
    """An image of which only the header has been read yet; decoding it may fail inside the ``with``.

    Args:
        source: the file, or its bytes.
        where: what it is, for messages; the path when left out.
    Raises:
        InputError: it cannot be read, is no image of ``PICTURE_FORMATS``, is damaged, or has more than
            ``MAX_PIXELS``.
    """
    where = str(source) if where is None and not isinstance(source, bytes) else where
    try:
        stream = io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)
        with stream, Image.open(stream, formats=PICTURE_FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise Unreadable(f"{width}×{height} pixels, more than the {MAX_PIXELS} that are read")
            yield picture
    except ObjnerfError:
        raise
    except Unreadable as problem:
        missing = isinstance(problem.__cause__, FileNotFoundError)
        found = "no such file" if missing else f"expected an image, found {problem}"
        raise InputError(f"{where}: {found}") from problem
    except _DECODING_ERRORS as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
        raise InputError(
            f"{where}: expected an image, found a file that cannot be decoded ({reason[:160]})"
        ) from error
