"""What the licences of a dataset's assets ask for, and what they forbid."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from objnerf.dataset.card import AssetUse

#: Licences that the hubs know by the same name in lower case (SPDX identifiers).
_HUB_LICENCES = frozenset(
    {
        *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "unlicense", "odbl", "pddl"),
        *("cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0"),
        *("cc-by-3.0", "cc-by-sa-3.0", "cc-by-nc-3.0", "cc-by-nc-sa-3.0", "cc-by-2.0", "gpl-3.0", "lgpl-3.0"),
    }
)

_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")

#: What a licence's name or words mean for whoever uses a dataset with its assets.
_TERMS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE), "Not for commercial purposes."),
    (
        re.compile(r"research (and|or|only|&)|academic|educational|for research", re.IGNORECASE),
        "For research and education only.",
    ),
    (
        re.compile(r"no redistribution|not? (be )?redistribut", re.IGNORECASE),
        "The assets themselves must not be passed on.",
    ),
    (re.compile(r"\bND\b|no derivative", re.IGNORECASE), "Altered versions must not be passed on."),
    (
        re.compile(r"\bSA\b|share-?alike", re.IGNORECASE),
        "What is made from the assets must be passed on under the same licence.",
    ),
    (re.compile(r"^CC-BY|attribution", re.IGNORECASE), "The authors of the assets must be named."),
    (
        re.compile(r"unknown|unstated|not stated|proprietary", re.IGNORECASE),
        "What may be done with these assets is not known; ask whoever supplied them before you publish.",
    ),
)


@dataclass(frozen=True)
class LicenceUse:
    """The assets of one source under one licence.

    Attributes:
        licence: SPDX identifier or the name of the terms, as ``dataset.yaml`` has it.
        source: where the assets come from.
        ids: their ids in the manifest, sorted.
        count: how many there are; an id of procedural assets stands for a family of many.
        terms: what the licence asks for or forbids, as far as its words say, in sentences.
        creators: authors that ``dataset.yaml`` names, sorted.
    """

    licence: str
    source: str
    ids: tuple[str, ...]
    count: int
    terms: tuple[str, ...]
    creators: tuple[str, ...] = ()


def licence_uses(assets: Iterable[AssetUse]) -> tuple[LicenceUse, ...]:
    """Assets by licence and source, the commonest first."""
    grouped: dict[tuple[str, str], list[AssetUse]] = {}
    for asset in assets:
        grouped.setdefault((asset.licence, asset.source or "not stated"), []).append(asset)
    uses = [
        LicenceUse(
            licence,
            source,
            tuple(sorted(asset.id for asset in members)),
            sum(int((asset.model_extra or {}).get("count", 1)) for asset in members),
            terms(licence),
            tuple(sorted({asset.creator for asset in members if asset.creator is not None})),
        )
        for (licence, source), members in grouped.items()
    ]
    return tuple(sorted(uses, key=lambda use: (-use.count, use.licence, use.source)))


def terms(licence: str) -> tuple[str, ...]:
    """What a licence asks for or forbids, as far as its name or words say.

    >>> terms("CC-BY-NC-4.0")
    ('Not for commercial purposes.', 'The authors of the assets must be named.')
    """
    return tuple(sentence for pattern, sentence in _TERMS if pattern.search(licence))


def hub_licence(licence: str | None) -> str:
    """The word for a licence in a hub's front matter: its identifier, ``other`` or ``unknown``."""
    if licence is None:
        return "unknown"
    return licence.lower() if licence.lower() in _HUB_LICENCES else "other"


def licence_address(licence: str) -> str:
    """The address of an SPDX identifier's text; other terms stay as they are."""
    return f"https://spdx.org/licenses/{licence}.html" if _SPDX.fullmatch(licence) else licence
