"""Contact sheets: many small images on one, in rows and columns, with captions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from objnerf.errors import InputError

Colour = tuple[int, int, int]
# An array (uint8, H W or H W 3), an image of pillow's, or None for an empty cell. `Any` because a union of
# shaped arrays says less than `as_picture` does when it refuses one.
Picture = Any

_INK = (34, 40, 49)
_FAINT = (112, 120, 132)
_FRAME = (214, 218, 224)


def contact_sheet(
    images: Sequence[Picture],
    labels: Sequence[str | None] | None = None,
    columns: int | None = None,
    *,
    title: str | None = None,
    column_labels: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    cell_width: int | None = None,
    gap: int = 8,
) -> Image.Image:
    """Lay images out in rows and columns.

    Args:
        images: uint8 arrays (H, W, 3) or (H, W), pillow images, or None for an empty cell, in reading
            order. They may differ in size: each is scaled to fit its cell and keeps its shape.
        labels: a caption below each image (None: none); as many as there are pictures.
        columns: images in a row. Default: as near to a sheet of shape 4:3 as the images allow.
        title: a line above everything.
        column_labels: a heading for each column.
        row_labels: a heading left of each row.
        cell_width: width of a cell in pixels. Default: the widest image, scaled up by a whole factor
            where it is so small (under 96 pixels) that captions would not fit.
        gap: pixels between cells.
    Returns:
        One RGB picture.
    Raises:
        InputError: no images, an array that is no image, or captions that do not match in number.
    """
    pictures = [None if image is None else as_picture(image) for image in images]
    captions = _Captions(title, labels, column_labels, row_labels)
    layout = _lay_out(pictures, captions, columns, cell_width, gap)
    sheet = Image.new("RGB", layout.size, "white")
    _draw_headings(sheet, captions, layout)
    for index, picture in enumerate(pictures):
        if picture is None:
            continue
        corner = layout.corner(*divmod(index, layout.columns))
        _draw_picture(sheet, picture, corner, layout)
        caption = labels[index] if labels is not None else None
        if caption:
            _draw_caption(sheet, caption, corner, layout)
    return sheet


@dataclass(frozen=True)
class _Captions:
    """What is written on a contact sheet."""

    title: str | None
    images: Sequence[str | None] | None
    columns: Sequence[str] | None
    rows: Sequence[str] | None


@dataclass(frozen=True)
class _Layout:
    """Where everything on a contact sheet is, pixels."""

    size: tuple[int, int]
    """Width and height of the sheet."""
    columns: int
    cell: tuple[int, int]
    """Width and height of a cell without its caption."""
    pitch: tuple[int, int]
    """From one cell to the next, along x and y."""
    origin: tuple[int, int]
    """Upper left corner of the first cell."""
    headings_y: int
    """Upper end of the columns' headings."""
    gap: int
    text: ImageFont.ImageFont | ImageFont.FreeTypeFont
    heading: ImageFont.ImageFont | ImageFont.FreeTypeFont

    def corner(self, row: int, column: int) -> tuple[int, int]:
        """Upper left corner of a cell."""
        return self.origin[0] + column * self.pitch[0], self.origin[1] + row * self.pitch[1]


def _lay_out(
    pictures: Sequence[Image.Image | None],
    captions: _Captions,
    columns: int | None,
    cell_width: int | None,
    gap: int,
) -> _Layout:
    """The layout of images and captions that match in number; see `contact_sheet`."""
    present = [picture for picture in pictures if picture is not None]
    if not present:
        raise InputError("a contact sheet needs at least one image, got none")
    cell_w, cell_h = _cell_size(present, cell_width)
    if columns is None:
        columns = _balanced_columns(len(pictures), cell_w, cell_h)
    if columns < 1:
        raise InputError(f"columns: expected at least 1, got {columns}")
    rows = math.ceil(len(pictures) / columns)
    _check_numbers(captions, len(pictures), columns, rows)

    text = ImageFont.load_default(max(11, min(16, cell_w // 10)))
    heading = ImageFont.load_default(max(15, min(24, cell_w // 6)))
    text_h = _line_height(text)
    caption_h = text_h + 4 if captions.images is not None and any(captions.images) else 0
    top = gap + (_line_height(heading) + gap if captions.title else 0)
    left = gap
    if captions.rows is not None:
        left += max(math.ceil(text.getlength(label)) for label in captions.rows) + gap
    first_row = top + (text_h + gap // 2 if captions.columns is not None else 0)
    pitch = (cell_w + gap, cell_h + caption_h + gap)
    width, height = left + columns * pitch[0], first_row + rows * pitch[1]
    if captions.title:
        width = max(width, math.ceil(heading.getlength(captions.title)) + 2 * gap)
    if width * height > 200_000_000:
        raise InputError(
            f"a contact sheet of {len(pictures)} images would be {width} x {height} pixels; "
            "pass fewer images or a smaller cell_width"
        )
    return _Layout(
        size=(width, height),
        columns=columns,
        cell=(cell_w, cell_h),
        pitch=pitch,
        origin=(left, first_row),
        headings_y=top,
        gap=gap,
        text=text,
        heading=heading,
    )


def _check_numbers(captions: _Captions, images: int, columns: int, rows: int) -> None:
    if captions.images is not None and len(captions.images) != images:
        raise InputError(
            f"a contact sheet needs one label per image, got {images} images and "
            f"{len(captions.images)} labels"
        )
    for name, labels, expected in (("column", captions.columns, columns), ("row", captions.rows, rows)):
        if labels is not None and len(labels) != expected:
            raise InputError(
                f"a contact sheet of {rows} rows and {columns} columns got {len(labels)} {name} labels"
            )


def _draw_headings(sheet: Image.Image, captions: _Captions, layout: _Layout) -> None:
    """The title, and the headings of columns and rows."""
    draw = ImageDraw.Draw(sheet)
    cell_w, cell_h = layout.cell
    if captions.title:
        draw.text((layout.gap, layout.gap), captions.title, fill=_INK, font=layout.heading)
    for column, label in enumerate(captions.columns or ()):
        middle = layout.corner(0, column)[0] + cell_w / 2
        shown = _shortened(label, layout.text, cell_w)
        draw.text((middle, layout.headings_y), shown, fill=_INK, font=layout.text, anchor="ma")
    for row, label in enumerate(captions.rows or ()):
        x, y = layout.corner(row, 0)
        draw.text((x - layout.gap, y + cell_h / 2), label, fill=_INK, font=layout.text, anchor="rm")


def _draw_picture(sheet: Image.Image, picture: Image.Image, corner: tuple[int, int], layout: _Layout) -> None:
    """An image in the middle of its cell."""
    cell_w, cell_h = layout.cell
    fitted = _fitted(picture, cell_w, cell_h)
    x, y = corner[0] + (cell_w - fitted.width) // 2, corner[1] + (cell_h - fitted.height) // 2
    sheet.paste(fitted, (x, y))
    # A hairline just outside the image, so that a white background does not melt into the paper.
    ImageDraw.Draw(sheet).rectangle((x - 1, y - 1, x + fitted.width, y + fitted.height), outline=_FRAME)


def _draw_caption(sheet: Image.Image, caption: str, corner: tuple[int, int], layout: _Layout) -> None:
    """The line below an image."""
    cell_w, cell_h = layout.cell
    place = (corner[0] + cell_w / 2, corner[1] + cell_h + 3)
    shown = _shortened(caption, layout.text, cell_w)
    ImageDraw.Draw(sheet).text(place, shown, fill=_FAINT, font=layout.text, anchor="ma")


def as_picture(image: Picture) -> Image.Image:
    """A pillow RGB image from an array or an image.

    Args:
        image: uint8 array (H, W, 3), (H, W, 1) or (H, W), or a pillow image; alpha is flattened on white.
    Raises:
        InputError: anything else, naming its shape and type.
    """
    if isinstance(image, Image.Image):
        if image.mode == "RGB":
            return image
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
        return image.convert("RGB")
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3)):
        raise InputError(
            "expected an image as a uint8 array of shape (H, W, 3) or (H, W), got "
            f"shape {tuple(array.shape)} and type {array.dtype}"
        )
    if array.size == 0:
        raise InputError(f"expected an image of at least one pixel, got shape {tuple(array.shape)}")
    return Image.fromarray(array).convert("RGB")


def _cell_size(pictures: Sequence[Image.Image], cell_width: int | None) -> tuple[int, int]:
    """Width and height in pixels of a cell into which every image fits."""
    if cell_width is not None and cell_width < 8:
        raise InputError(f"cell_width: expected at least 8 pixels, got {cell_width} was asked for")
    if cell_width is None:
        widest = max(picture.width for picture in pictures)
        cell_width = widest * max(1, math.ceil(96 / widest))
    tallest = max(picture.height / picture.width for picture in pictures)
    return cell_width, max(1, round(cell_width * tallest))


def _balanced_columns(count: int, cell_w: int, cell_h: int) -> int:
    """How many columns bring `count` cells nearest to a 4:3 sheet."""
    return max(1, min(count, round(math.sqrt(count * cell_h / cell_w * 4 / 3))))


def _fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The image scaled to fit into width x height, its shape kept."""
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    if size == picture.size:
        return picture
    # Whole pixels stay squares when a tiny render is blown up: smoothing would hide what is being looked at.
    enlarged_whole = scale >= 2 and float(scale).is_integer()
    return picture.resize(size, Image.Resampling.NEAREST if enlarged_whole else Image.Resampling.LANCZOS)


def _shortened(text: str, font: Any, width: int) -> str:
    """`text`, cut with an ellipsis where it would be wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _line_height(font: Any) -> int:
    """Pixels from the top of one line of text to the top of the next."""
    ascent, descent = font.getmetrics()
    return int(ascent + descent)
