"""Cards of a dataset: Croissant metadata for machines, a README for hubs and people (docs/card.md).

What is known comes from the files, ``dataset.yaml`` and ``scenes/*.json``; what is not known is said to be
so.
"""

import csv
import datetime
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from objnerf.cards.croissant import croissant
from objnerf.cards.licences import LicenceUse, hub_licence, licence_address, licence_uses
from objnerf.cards.statistics import Progress, Spread, Statistics, measure
from objnerf.dataset.card import CONVENTIONS, DatasetCard
from objnerf.dataset.files import atomic_path, read_image, write_text
from objnerf.dataset.index import Dataset, open_dataset
from objnerf.dataset.untrusted import MAX_COLLECTION_BYTES, Unreadable, open_regular, read_bytes
from objnerf.errors import InputError
from objnerf.version import __version__
from objnerf.visualization import contact_sheet

README, METADATA, FOLDER = "README.md", "croissant.json", "card"
CHECKSUMS, SHEET = f"{FOLDER}/files.csv", f"{FOLDER}/contact_sheet.jpg"

#: What tells our files from those that somebody wrote by hand.
_MARKER = "<!-- Written by `objnerf card`; run it again to bring it up to date. -->"
_PUBLISHER = "objnerf card"

_SHEET_SCENES, _SHEET_VIEWS = 6, 4

_UORF = """@inproceedings{yu2022unsupervised,
  title = {Unsupervised Discovery of Object Radiance Fields},
  author = {Yu, Hong-Xing and Guibas, Leonidas J. and Wu, Jiajun},
  booktitle = {International Conference on Learning Representations},
  year = {2022}
}"""


@dataclass(frozen=True)
class Publication:
    """What only the publisher of a dataset can say; None: not stated.

    Attributes:
        name: of the dataset; its folder's name when left out.
        licence: of the dataset as a whole, best as SPDX identifier.
        url: where it is published.
        authors: who made it.
        published: the day of publication; today when left out.
    """

    name: str | None = None
    licence: str | None = None
    url: str | None = None
    authors: tuple[str, ...] = ()
    published: datetime.date | None = None


@dataclass(frozen=True)
class CardFiles:
    """The files that were written."""

    readme: Path
    metadata: Path
    checksums: Path
    sheet: Path
    statistics: Statistics


def write_cards(
    root: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    publication: Publication | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> CardFiles:
    """Write ``README.md``, ``croissant.json``, ``card/files.csv`` and ``card/contact_sheet.jpg``.

    Args:
        root: a dataset of our format.
        out: where to write; the dataset itself when left out.
        publication: what only the publisher knows.
        overwrite: replace files that this function did not write.
        progress: called with how many files and views are done, and how many there are.
    Raises:
        InputError: the dataset cannot be read, or a file is in the way.
    """
    publication = publication or Publication()
    dataset = open_dataset(root)
    out = Path(root) if out is None else Path(out)
    if not overwrite:
        _refuse_strangers(out)
    paths = sorted(_files(dataset.root))
    steps = len(paths) + dataset.n_views
    rows = [_checksum(dataset.root, path, progress, done, steps) for done, path in enumerate(paths, start=1)]
    statistics = measure(dataset, lambda done, _: progress(len(paths) + done, steps))
    facts = _Facts.of(dataset, statistics, publication)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("path", "bytes", "sha256"))
    table.writerows(rows)
    content = text.getvalue().encode("utf-8", "surrogateescape")
    with atomic_path(out / CHECKSUMS) as temporary:
        temporary.write_bytes(content)
    with atomic_path(out / SHEET) as temporary:
        _sheet(dataset).save(temporary, format="JPEG", quality=88)
    checksums = (CHECKSUMS, len(content), hashlib.sha256(content).hexdigest())
    metadata = croissant(dataset, facts.schema_org(), facts.responsible(), checksums)
    write_text(out / METADATA, json.dumps(metadata, indent=2) + "\n")
    write_text(out / README, facts.readme(len(rows), sum(size for _, size, _ in rows)))
    return CardFiles(out / README, out / METADATA, out / CHECKSUMS, out / SHEET, statistics)


def _refuse_strangers(out: Path) -> None:
    """Refuse to replace files that somebody else wrote.

    Raises:
        InputError: there are some.
    """
    for name, marker in ((README, _MARKER), (METADATA, json.dumps(_PUBLISHER))):
        path = out / name
        if not path.exists():
            continue
        try:
            content = read_bytes(path)
        except Unreadable as problem:
            raise InputError(f"{path}: cannot be read ({problem})") from problem
        if marker.encode() not in content:
            raise InputError(
                f"{path}: exists and was not written by `objnerf card`; move it away, write elsewhere with "
                "--out, or replace it with --overwrite"
            )
    folder = out / FOLDER
    ours = {Path(CHECKSUMS).name, Path(SHEET).name}
    strangers = (
        sorted(entry.name for entry in folder.iterdir() if entry.name not in ours) if folder.is_dir() else []
    )
    if strangers:
        raise InputError(
            f"{folder}: expected a folder of `objnerf card`, found {strangers[0]} in it; move it away, write "
            "elsewhere with --out, or write into it with --overwrite"
        )


def _files(root: Path) -> Iterator[str]:
    """Paths of the dataset's files, '/'-separated, without our own cards and what begins with a dot."""
    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if not name.startswith(".") and here / name != Path(FOLDER)]
        for name in files:
            path = (here / name).as_posix()
            if not name.startswith(".") and path not in (README, METADATA):
                yield path


def _checksum(root: Path, path: str, progress: Progress, done: int, steps: int) -> tuple[str, int, str]:
    try:
        with open_regular(root / path, MAX_COLLECTION_BYTES) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except Unreadable as problem:
        raise InputError(f"{root / path}: cannot be read ({problem})") from problem
    except OSError as error:
        raise InputError(f"{root / path}: cannot be read ({error.strerror or error})") from error
    progress(done, steps)
    return path, size, digest


def _sheet(dataset: Dataset) -> Any:
    """A row a scene: some scenes, spread evenly, and their first views."""
    scenes = list(dataset.scenes.values())
    count = min(len(scenes), _SHEET_SCENES)
    chosen = [scenes[index] for index in np.linspace(0, len(scenes) - 1, count).round().astype(int)]
    columns = min(_SHEET_VIEWS, max(len(scene.views) for scene in chosen))
    images: list[np.ndarray | None] = []
    for scene in chosen:
        shown = [read_image(view.image_path) for view in scene.views[:columns]]
        images += [*shown, *[None] * (columns - len(shown))]
    labels = [f"scene {scene.id}" for scene in chosen]
    return contact_sheet(images, columns=columns, row_labels=labels, cell_width=240)


@dataclass(frozen=True)
class _Facts:
    """What is known of a dataset, in the words of its cards."""

    name: str
    slug: str
    card: DatasetCard
    statistics: Statistics
    uses: tuple[LicenceUse, ...]
    publication: Publication

    @classmethod
    def of(cls, dataset: Dataset, statistics: Statistics, publication: Publication) -> "_Facts":
        card = dataset.card() or DatasetCard()
        name = publication.name or dataset.root.resolve().name
        uses = licence_uses(card.assets or ())
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "dataset"
        return cls(name, slug, card, statistics, uses, publication)

    @property
    def generated(self) -> bool:
        """Whether our generator made the dataset."""
        return self.card.preset is not None and self.card.command is not None

    @property
    def synthetic(self) -> bool:
        """Whether nothing in it is a photograph: all assets are made by code."""
        return self.generated and all(use.source == "procedural" for use in self.uses)

    @property
    def published(self) -> datetime.date:
        return self.publication.published or datetime.date.today()

    @property
    def per_scene(self) -> str:
        low, high = self.statistics.views_per_scene
        return str(low) if low == high else f"{low} to {high}"

    @property
    def description(self) -> str:
        s = self.statistics
        kinds = ["camera poses"]
        kinds += ["instance masks"] if s.with_masks else []
        kinds += ["depth"] if s.with_depth else []
        kinds += ["object poses and visibility"] if s.described else []
        listed = kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]}"
        what = f"{s.scenes} scenes of {self.per_scene} posed views each, with {listed}"
        if not self.generated:
            return f"{what}, in the layout of uORF's datasets."
        split = "" if self.card.split is None else f" The {self.card.split} split."
        how = f"rendered by Blender's Cycles with objnerf's generator, preset {self.card.preset}"
        return f"{what}: {how}.{split}"

    @property
    def provenance(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in (self.card.versions or {}).items())
        if self.generated:
            return (
                f"Scenes were planned from the seed {self.card.seed} and rendered by Blender's Cycles "
                f"({versions or 'versions not stated'}); cameras, masks, depth and object poses are those of "
                "the renderer, exact and not annotated by hand. The same command gives the same bytes on "
                "CPUs; each `scenes/*.json` makes its scene again alone."
            )
        known = [
            f"{words}: {value}"
            for words, value in (
                ("preset", self.card.preset),
                ("seed", self.card.seed),
                ("versions", versions or None),
            )
            if value is not None
        ]
        if known:
            return f"`dataset.yaml` says {'; '.join(known)}. Who made the images, when and how is not stated."
        return "Not known: no `dataset.yaml` says how, when or by whom the images were made."

    @property
    def licence_words(self) -> str:
        if self.publication.licence is not None:
            text = f"The dataset is published under {self.publication.licence}."
        elif self.uses:
            text = "Its publisher has stated no licence for the dataset as a whole."
        else:
            return "Not known: neither its publisher nor a `dataset.yaml` states one. Ask before you use it."
        if self.uses:
            return f"{text} Its images show assets, whose licences hold beside it."
        return f"{text} Which assets its images show, and under which licences, is not known."

    @property
    def forbidden(self) -> str:
        sentences = [f"{use.licence} ({use.source}): {' '.join(use.terms)}" for use in self.uses if use.terms]
        if sentences:
            return " ".join(sentences)
        if self.uses:
            return "The assets' licences forbid no use."
        return "Not known, since no licence is stated."

    @property
    def limits(self) -> list[str]:
        """What whoever trains on the dataset should know."""
        s = self.statistics
        limits = []
        if self.generated:
            limits.append(
                "Rendered scenes: light, materials and clutter are simpler than in photographs, and a model "
                "trained on them alone need not work on these."
            )
        if s.categories:
            category, count = next(iter(s.categories.items()))
            share = count / sum(s.categories.values())
            limits.append(f"The most common category, {category}, has {share:.0%} of the objects.")
        if s.distance is not None and s.elevation is not None:
            limits.append(
                f"Cameras stand {s.distance.least:.1f} to {s.distance.greatest:.1f} world units from the "
                f"origin and {s.elevation.least:.0f} to {s.elevation.greatest:.0f} degrees above the ground; "
                "other viewpoints are not covered."
            )
        if not s.with_masks:
            limits.append("There are no instance masks.")
        if not s.with_depth:
            limits.append("There is no depth.")
        if not self.generated:
            limits.append("The accuracy of the poses is unknown; `objnerf validate` measures it.")
        return limits

    def schema_org(self) -> dict[str, Any]:
        """The facts under schema.org's names."""
        facts: dict[str, Any] = {
            "name": self.slug,
            "alternateName": self.name,
            "description": self.description,
            "keywords": ["multi-view", "object-centric learning", "radiance fields"],
            "datePublished": self.published.isoformat(),
            "version": "1.0.0",
            "citeAs": self.citation,
            "sdPublisher": {"@type": "Organization", "name": _PUBLISHER},
        }
        stated = self.publication.licence
        facts["license"] = self.licence_words if stated is None else licence_address(stated)
        if self.publication.url is not None:
            facts["url"] = self.publication.url
        if self.publication.authors:
            facts["creator"] = [{"@type": "Person", "name": name} for name in self.publication.authors]
        return facts

    def responsible(self) -> dict[str, str | list[str]]:
        """The facts under the names of Croissant's vocabulary for responsible AI."""
        s = self.statistics
        if self.synthetic:
            personal = "None: everything in the images was made by code; no person is shown."
        else:
            personal = "Not known: images or assets come from elsewhere and were not examined for persons."
        facts: dict[str, str | list[str]] = {
            "dataCollection": self.provenance,
            "dataCollectionType": ["Software Collection" if self.generated else "Others"],
            "dataLimitations": [*self.limits, f"Permitted use: {self.forbidden}"],
            "dataBiases": [sentence for sentence in self.limits if "ategor" in sentence]
            or ["Not known: the objects' categories are not stated."],
            "dataUseCases": [
                "Training and evaluating models that find objects and synthesise views from posed images."
            ],
            "dataSocialImpact": "No direct one is known."
            if self.synthetic
            else "Not known: what the images show was not examined.",
            "personalSensitiveInformation": [personal],
            "dataReleaseMaintenancePlan": "Not stated by the publisher.",
        }
        if s.with_masks:
            facts["dataAnnotationProtocol"] = [
                "Instance masks are the renderer's own, a label a pixel, without smoothing."
                if self.generated
                else "Instance masks came with the images; how they were made is not known."
            ]
        if self.generated:
            facts["machineAnnotationTools"] = ["Blender Cycles, by objnerf's generator"]
        return facts

    @property
    def citation(self) -> str:
        authors = " and ".join(self.publication.authors)
        fields = [f"title = {{{self.name}}}", f"year = {{{self.published.year}}}"]
        fields += [f"author = {{{authors}}}"] if authors else []
        fields += [f"url = {{{self.publication.url}}}"] if self.publication.url else []
        if self.generated:
            version = (self.card.versions or {}).get("objnerf", __version__)
            fields.append(
                f"note = {{Made by objnerf {version}, preset {self.card.preset}, seed {self.card.seed}}}"
            )
        body = ",\n  ".join(fields)
        return f"@misc{{{self.slug.lower()},\n  {body}\n}}"

    def readme(self, n_files: int, total_bytes: int) -> str:
        """The README, in the hubs' front-matter form."""
        environment = Environment(
            loader=PackageLoader("objnerf.cards", "."),
            undefined=StrictUndefined,
            trim_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
        )
        environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
        conventions = self.card.conventions or ({} if not self.generated else CONVENTIONS)
        text: str = environment.get_template("readme.md.j2").render(
            marker=_MARKER,
            name=self.name,
            slug=self.slug,
            description=self.description,
            s=self.statistics,
            spread=_spread,
            percent=_percent,
            per_scene=self.per_scene,
            lens_stated=self.card.focal_ratio is not None,
            generated=self.generated,
            provenance=self.provenance,
            command=self.card.command,
            conventions=conventions,
            hub_licence=hub_licence(self.publication.licence),
            licence=self.publication.licence,
            licence_words=self.licence_words,
            uses=self.uses,
            forbidden=self.forbidden,
            limits=self.limits,
            citation=f"{self.citation}\n\n{_UORF}",
            size_category=_size_category(self.statistics.views),
            n_files=n_files,
            total_bytes=total_bytes,
        )
        return re.sub(r"\n{3,}", "\n\n", text)


def _spread(values: Spread | None, form: str) -> str:
    if values is None:
        return "not known"
    return " – ".join(form % value for value in (values.least, values.mean, values.greatest))


def _percent(values: Spread) -> str:
    return " – ".join(f"{100 * value:.3g} %" for value in (values.least, values.mean, values.greatest))


def _size_category(count: int) -> str:
    """The hub's word for a number of examples."""
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((word for bound, word in bounds if count < bound), "1M<n<10M")
