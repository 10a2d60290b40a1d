"""Damage to bytes, of the kinds that matter to parsers."""

import re
from collections.abc import Sequence
from random import Random

#: What parsers stumble over.
WORDS = (
    *(b"nan", b"-inf", b"1e999", b"1e308", b"1e-310", b"-1", b"0", b"2147483648", b"99999999999999999999"),
    *(
        b"9" * 400,
        b"0x1f",
        b"1_000",
        b"null",
        b"true",
        b"[]",
        b"{}",
        b'""',
        b'{"a":',
        b"[" * 200,
        b"- " * 200,
    ),
    *(b"\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80", b"\xc3\x28", b"\xef\xbb\xbf"),
    *(b"..", b"../../etc/passwd", b"/dev/zero", b"!!python/object:os.system", b"&a", b"*a", b"<<: *a", b"\n"),
    *(b"\xe2\x80\xa8", b"<script>", b"%s%n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"2024-13-99", b"!!binary |"),
)

_TOKEN = re.compile(rb'-?\d+\.?\d*(?:e-?\d+)?|"[^"\n]*"|\btrue\b|\bnull\b')


def damaged(rng: Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with some damage."""
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = rng.randint(0, len(content))
        kind = rng.randrange(8)
        if kind == 0 and content:
            content[min(place, len(content) - 1)] = rng.randrange(256)
        elif kind == 1:
            del content[place : place + rng.choice((1, 4, 16, 64))]
        elif kind == 2:
            content[place:place] = rng.choice(WORDS)
        elif kind == 3:
            content[place : place + rng.choice((1, 2, 4, 8))] = rng.choice(WORDS)
        elif kind == 4:
            del content[place:]
        elif kind == 5:
            other = rng.choice(seeds)
            start = rng.randint(0, len(other))
            content[place:place] = other[start : start + rng.choice((4, 16, 64))]
        elif kind == 6:
            tokens = list(_TOKEN.finditer(bytes(content[: 1 << 16])))
            if tokens:
                found = rng.choice(tokens)
                content[found.start() : found.end()] = rng.choice(WORDS)
        else:
            lines = bytes(content).split(b"\n")
            one, other_line = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[one] = lines[other_line] + rng.choice((b"", b"\n")) * (len(lines) < 1000)
            content = bytearray(b"\n".join(lines))
    return bytes(content)
