"""Downloads against a server on this machine: whole, resumed, refused, never half there."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request

import pytest
from pydantic import ValidationError

from generation.assets.fetch import _SecureRedirects, choose_downloads, fetch, read_licences
from generation.assets.manifest import Download, read_manifest
from objnerf.errors import InputError, WorkError

CONTENT = bytes(range(256)) * 2000


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every path; notes what was asked for; breaks off or forgets ranges on request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.break_after: int | None = None
        self.knows_ranges = True
        self.elsewhere = ""

    def download(self, **changes: object) -> Download:
        values = {
            "name": "thing",
            "kind": "texture",
            "licence": "CC0-1.0",
            "origin": "here",
            "url": f"http://127.0.0.1:{self.server_address[1]}/thing.png",
            "sha256": hashlib.sha256(CONTENT).hexdigest(),
            "file": "thing.png",
            "size_bytes": len(CONTENT),
        }
        # Not checked: the server speaks http, which a manifest may not name.
        return Download.model_construct(**(values | changes))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if self.path == "/missing.png":
            self.send_error(404)
            return
        if self.path == "/elsewhere.png":
            self.send_response(302)
            self.send_header("Location", self.server.elsewhere)
            self.end_headers()
            return
        start = 0
        if wanted and self.server.knows_ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        end = self.server.break_after
        self.wfile.write(body if end is None else body[:end])

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_fetch_once(server: Server, tmp_path: Path) -> None:
    notes: list[tuple[int, int]] = []
    path = fetch(server.download(), tmp_path / "new" / "folder", lambda *note: notes.append(note))
    assert path.read_bytes() == CONTENT
    assert notes[-1] == (len(CONTENT), len(CONTENT))
    fetch(server.download(), path.parent)
    assert server.ranges == [None]
    assert sorted(p.name for p in path.parent.iterdir()) == ["licences.json", "thing.png"]
    assert read_licences(path.parent)["thing.png"]["licence"] == "CC0-1.0"


def test_a_broken_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    server.break_after = 100_000
    with pytest.raises(WorkError, match="to go on where it broke off"):
        fetch(server.download(), tmp_path)
    assert not (tmp_path / "thing.png").exists()
    have = (tmp_path / ".thing.png.part").stat().st_size
    assert 0 < have <= 100_000
    server.break_after = None
    assert fetch(server.download(), tmp_path).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={have}-"]


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".thing.png.part").write_bytes(CONTENT[:5000])
    server.knows_ranges = False
    assert fetch(server.download(), tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["bytes=5000-"]


def test_a_wrong_part_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".thing.png.part").write_bytes(b"x" * 5000)
    with pytest.raises(WorkError, match="checksum"):
        fetch(server.download(), tmp_path)
    assert fetch(server.download(), tmp_path).read_bytes() == CONTENT


def test_another_content_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="the manifest says 0000"):
        fetch(server.download(sha256="0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_said_are_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="more than the 1000 bytes"):
        fetch(server.download(size_bytes=1000), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "thing.png").write_bytes(b"damaged")
    assert fetch(server.download(), tmp_path).read_bytes() == CONTENT


def test_no_such_file_or_server(server: Server, tmp_path: Path) -> None:
    url = server.download().url
    with pytest.raises(WorkError, match="Not Found"):
        fetch(server.download(url=url.replace("thing", "missing")), tmp_path)
    with pytest.raises(WorkError, match="can't be downloaded"):
        fetch(server.download(url="http://127.0.0.1:9/thing.png"), tmp_path)


@pytest.mark.parametrize("elsewhere", ["file:///etc/passwd", "ftp://127.0.0.1:9/x", "/elsewhere.png"])
def test_redirects_to_files_or_in_circles_are_refused(server: Server, tmp_path: Path, elsewhere: str) -> None:
    server.elsewhere = elsewhere
    url = server.download().url.replace("thing", "elsewhere")
    with pytest.raises(WorkError, match="can't be downloaded"):
        fetch(server.download(url=url), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_redirect_that_leads_away_from_https_is_refused() -> None:
    request = Request("https://somewhere.org/thing.png")
    follow = partial(_SecureRedirects().redirect_request, request, None, 302, "Found", {})
    assert follow("https://elsewhere.org/thing.png").full_url == "https://elsewhere.org/thing.png"
    for url in ("http://elsewhere.org/thing.png", "ftp://elsewhere.org/x", "file:///etc/passwd"):
        with pytest.raises(URLError, match="which is not https"):
            follow(url)


@pytest.mark.parametrize("url", ["http://a.org/b.png", "file:///etc/passwd", "ftp://a/b", "https:// a"])
def test_a_manifest_names_nothing_but_https(server: Server, url: str) -> None:
    sound = server.download().model_dump() | {"url": "https://somewhere.org/a.png"}
    assert Download.model_validate(sound)
    with pytest.raises(ValidationError, match="url"):
        Download.model_validate(sound | {"url": url})
    with pytest.raises(ValidationError, match="file"):
        Download.model_validate(sound | {"file": "../../.bashrc"})


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WorkError, match="can't be written"):
        fetch(server.download(), tmp_path / "file")


def test_choose_downloads() -> None:
    from generation.assets.catalogue import default_manifest_path

    manifest = read_manifest(default_manifest_path())
    assert [d.name for d in choose_downloads(manifest, ["photo-grass"])] == ["photo-grass"]
    assert choose_downloads(manifest, []) == manifest.downloads
    with pytest.raises(InputError, match=r"no download 'lava'; it has: photo-brick"):
        choose_downloads(manifest, ["lava"])


def test_licences_travel_with_fetched_textures(server: Server, tmp_path: Path, manifest: Path) -> None:
    from PIL import Image

    from generation.assets.catalogue import Catalogue

    Image.new("RGB", (32, 32), (200, 100, 50)).save(tmp_path / "thing.png")
    (tmp_path / "licences.json").write_text(json.dumps({"thing.png": {"licence": "CC-BY-4.0"}}))
    (floor,) = Catalogue.load(manifest, textures=tmp_path, cache_dir=tmp_path / "cache").floors(1)
    assert floor.licence == "CC-BY-4.0"
