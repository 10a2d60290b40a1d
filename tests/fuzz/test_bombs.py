"""Small files that promise much: refused by name, in bounded memory."""

import base64
import io
import json
import os
import resource
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generation.assets import manifest, meshes, textures
from objnerf.dataset import files
from objnerf.dataset.card import read_card, read_scene_card
from objnerf.dataset.convert import convert
from objnerf.dataset.untrusted import parse_yaml
from objnerf.errors import InputError
from objnerf.models.weights import read_weights

#: More than any of them may take beyond what the process has, bytes.
ROOM = 600 << 20


@pytest.fixture(autouse=True)
def _bounded():
    """Where the kernel keeps count, nobody gets more memory than ``ROOM``."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    size = int(pages.read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def png(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that says that it has so many pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def written(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(9000, 9000), (60_000, 60_000)])
@pytest.mark.parametrize("read", [files.read_image, files.image_size, files.read_mask])
def test_pictures_of_billions_of_pixels(size: tuple[int, int], read: Callable, tmp_path: Path) -> None:
    path = written(tmp_path / "x.png", png(*size))
    with pytest.raises(InputError, match=r"x\.png: expected an image, found"):
        read(path)
    with pytest.raises(textures.UnusableTexture):
        textures.read_texture(path)


#: Pillow hands PostScript to Ghostscript, whatever the file is called.
PROGRAM = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n(x) print\n%%EOF\n"


def test_a_picture_that_is_a_program_is_no_picture(tmp_path: Path) -> None:
    with Image.open(io.BytesIO(PROGRAM)) as picture:
        assert picture.format == "EPS"
    path = written(tmp_path / "x.png", PROGRAM)
    with pytest.raises(InputError, match="expected an image"):
        files.read_image(path)
    with pytest.raises(textures.UnusableTexture):
        textures.read_texture(path)


@pytest.mark.parametrize("shape", [(1 << 31, 1 << 31, 1), (40_000, 40_000), (1 << 62,), (0, 1 << 62)])
def test_depth_maps_that_promise_more_than_there_is(shape: tuple[int, ...], tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with pytest.raises(InputError, match=r"x_depth\.npy: expected"):
        files.read_depth(written(tmp_path / "x_depth.npy", stream.getvalue() + bytes(64)))


def laughs(levels: int) -> str:
    """Each level names the one before nine times."""
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (laughs(12), "expands to over 500000 values"),
        ("a: &a [*a]\n", "expands to over"),
        ("- " * 5000 + "x\n", "nested too deeply"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("a: !!python/object/apply:os.system [touch owned]\n", "could not determine a constructor"),
        ("a: !!python/name:os.system\n", "could not determine a constructor"),
        ("a: 2024-13-99\n", "month must be in"),
        ("{[1]: 2}\n", "unhashable"),
        ("a: \x07\n", "special characters"),
        ("a: " + "7" * 400 + "\n", "a whole number of 400 digits"),
    ],
)
def test_yaml_that_is_no_plain_description(text: str, complaint: str, tmp_path: Path) -> None:
    written(tmp_path / "dataset.yaml", text)
    with pytest.raises(InputError, match=complaint):
        read_card(tmp_path)
    with pytest.raises(InputError, match=complaint):
        manifest.read_manifest(tmp_path / "dataset.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.yaml"]


def test_aliases_of_a_sensible_size_are_read() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a\n", "x") == {"a": [1, 2], "b": [1, 2]}
    assert parse_yaml("base: &b {x: 1}\nmore: {<<: *b, y: 2}\n", "x")["more"] == {"x": 1, "y": 2}
    assert parse_yaml("", "x") is None


def test_deep_json(tmp_path: Path) -> None:
    deep = '{"views": ' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(InputError, match=r"0000\.json"):
        read_scene_card(written(tmp_path / "0000.json", deep))
    written(tmp_path / "foreign" / "transforms.json", deep)
    with pytest.raises(InputError, match=r"transforms\.json: expected JSON"):
        convert(tmp_path / "foreign", tmp_path / "out")


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_colmap_models_that_promise_billions_of_entries(name: str, data: Path, tmp_path: Path) -> None:
    convert(data / "blocks", tmp_path / "sound", target_format="colmap-binary")
    path = tmp_path / "sound" / "sc0000" / "sparse" / "0" / name
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])
    with pytest.raises(InputError, match=f"{name}: expected a binary COLMAP file, found one that ends"):
        convert(tmp_path / "sound", tmp_path / "out")


def test_an_archive_with_a_member_larger_than_itself(data: Path, tmp_path: Path) -> None:
    convert(data / "blocks", tmp_path / "sound", target_format="webdataset")
    path = tmp_path / "sound" / "shard-000000.tar"
    content = bytearray(path.read_bytes())
    content[124:136] = b"77777777777\0"
    content[148:156] = b" " * 8
    content[148:156] = f"{sum(content[:512]):06o}\0 ".encode()
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="damaged"):
        convert(tmp_path / "sound", tmp_path / "out")


def test_links_and_paths_in_an_archive_lead_nowhere(data: Path, tmp_path: Path) -> None:
    convert(data / "blocks", tmp_path / "sound", target_format="webdataset")
    with tarfile.open(tmp_path / "sound" / "shard-000000.tar", "a") as archive:
        for name, kind, target in (
            ("../../escaped.png", tarfile.REGTYPE, ""),
            ("00099_sc0000_img9.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("00099_sc0000_img8.png", tarfile.LNKTYPE, "../../../etc/passwd"),
            ("device.png", tarfile.CHRTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    with pytest.raises(InputError, match="expected an image"):
        convert(tmp_path / "sound", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sound"]


def test_weights_whose_archive_unfolds(tmp_path: Path) -> None:
    path = tmp_path / "latest_net_Encoder.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(InputError, match="compressed"):
        read_weights(path)


@pytest.mark.parametrize(
    "content",
    [
        "ply\nformat binary_little_endian 1.0\nelement vertex 4000000000\nproperty float x\n"
        "property float y\nproperty float z\nelement face 1\nproperty list uchar int vertex_indices\n"
        "end_header\n",
        "ply\nformat ascii 1.0\nelement vertex 99999999999\nproperty float x\nend_header\n1\n",
    ],
)
def test_meshes_that_promise_billions_of_points(content: str, tmp_path: Path) -> None:
    with pytest.raises(meshes.UnusableMesh):
        meshes.load_mesh(written(tmp_path / "x.ply", content), "z")


def test_an_image_inside_a_mesh_that_is_a_program_is_not_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Ghostscript that says when it is run, for there may be none here.
    run = []
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    monkeypatch.setattr("subprocess.check_call", lambda *arguments, **options: run.append(arguments))
    source = data / "meshes" / "gltf_factor_times_texture"
    content = json.loads((source / "model.gltf").read_text())
    for buffer in content["buffers"]:
        if not buffer["uri"].startswith("data:"):
            (tmp_path / buffer["uri"]).write_bytes((source / buffer["uri"]).read_bytes())
    inside = "data:image/png;base64," + base64.b64encode(PROGRAM).decode()
    content["images"] = [{"uri": inside, "mimeType": "image/png"}]
    path = written(tmp_path / "model.gltf", json.dumps(content))
    with pytest.raises(meshes.UnusableMesh, match="can't be read"):
        meshes.load_mesh(path, "y")
    assert run == []
    with Image.open(io.BytesIO(PROGRAM)) as picture, suppress(Exception):
        picture.load()
    assert run, "Pillow would have run it: this test tests something"


@pytest.mark.parametrize("key", ["fl_x", "w", "frames"])
def test_whole_numbers_that_no_float_can_hold(key: str, data: Path, tmp_path: Path) -> None:
    """Python reads them, and fails wherever they meet a float; so they are no numbers to begin with."""
    endless = int("7" * 400)
    content = {"fl_x": 20.0, "fl_y": 20.0, "w": 32, "h": 24}
    poses = [[endless, 0, 0, 0]] * 4 if key == "frames" else np.eye(4).tolist()
    content |= {"frames": [{"file_path": "x.png", "transform_matrix": poses}]}
    if key != "frames":
        content[key] = endless
    files.write_image(tmp_path / "capture" / "x.png", np.zeros((24, 32, 3), np.uint8))
    path = written(tmp_path / "capture" / "transforms.json", json.dumps(content))
    with pytest.raises(InputError, match=rf"{path.name}: expected JSON, .*a whole number of 400 digits"):
        convert(tmp_path / "capture", tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [
        '{"asset": []}',
        '{"asset": {"version": "2.0"}, "bufferViews": [{"byteOffset": ' + "7" * 400 + "}]}",
        '{"asset": {"version": "2.0"}, "images": [{"uri": "\\ud800.png"}]}',
        '{"asset": ' + "[" * 100_000,
        '{"buffers": 1}',
    ],
)
def test_gltf_of_other_values_than_it_should_hold(content: str, tmp_path: Path) -> None:
    path = written(tmp_path / "x.gltf", content)
    with pytest.raises(meshes.UnusableMesh):
        meshes.content_sha256(path)
    with pytest.raises(meshes.UnusableMesh):
        meshes.load_mesh(path, "y")


def test_companions_outside_the_folders_are_not_read(tmp_path: Path) -> None:
    written(tmp_path / "secret.png", png(4, 4))
    deep = tmp_path / "a" / "b" / "c"
    for name in ("../../../secret.png", str(tmp_path / "secret.png"), "..\\..\\..\\secret.png", "x\0y.png"):
        obj = written(deep / "x.obj", "mtllib x.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
        written(deep / "x.mtl", f"newmtl m\nmap_Kd {name}\n")
        assert [found for _, found in meshes.companions(obj)][1:] == [None]
        with pytest.raises(meshes.UnusableMesh, match=r"is missing|lies outside of"):
            meshes.load_mesh(obj, "y")


def test_pipes_and_devices_in_a_files_place_neither_hang_nor_fill(tmp_path: Path) -> None:
    """A link to /dev/zero has no end, a pipe no beginning."""
    pipe, zero = tmp_path / "pipe", tmp_path / "zero"
    os.mkfifo(pipe)
    zero.symlink_to("/dev/zero")
    for path in (pipe, zero):
        for read in (files.read_image, files.read_matrix, files.read_depth):
            with pytest.raises(InputError, match="no regular file"):
                read(path)
        with pytest.raises(InputError, match="no regular file"):
            read_scene_card(path)
        (tmp_path / "dataset.yaml").symlink_to(path)
        with pytest.raises(InputError, match="no regular file"):
            read_card(tmp_path)
        (tmp_path / "dataset.yaml").unlink()
