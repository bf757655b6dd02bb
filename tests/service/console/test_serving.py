"""The console's files, as the gateway serves them."""

import gzip
import hashlib
import re
import tomllib
from pathlib import Path

import httpx
import pytest
from instantaudience_gateway.console import files
from instantaudience_server.store.interfaces.usage import CallFailure, Skip
from support.contract.answers import assert_http_error
from support.service.running import Service

ROOT = Path(__file__).parents[3]
LIBRARY = "/console/third_party/chart.js/chart.umd.min.js"
FILES = {
    "/console": ("index.html", "text/html; charset=utf-8"),
    "/console/main.js": ("main.js", "text/javascript; charset=utf-8"),
    "/console/styles.css": ("styles.css", "text/css; charset=utf-8"),
    "/console/icon.svg": ("icon.svg", "image/svg+xml"),
    LIBRARY: ("third_party/chart.js/chart.umd.min.js", "text/javascript; charset=utf-8"),
    "/console/third_party/chart.js/LICENSE.md": ("third_party/chart.js/LICENSE.md", "text/markdown; charset=utf-8"),
}
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
}
PLAIN = {"accept-encoding": "identity"}


def content(name: str) -> bytes:
    return (files.ROOT / name).read_bytes()


@pytest.mark.parametrize(("path", "expected"), FILES.items(), ids=FILES)
async def test_files(http: httpx.AsyncClient, path: str, expected: tuple[str, str]) -> None:
    name, content_type = expected
    answer = await http.get(path, headers=PLAIN)
    assert answer.status_code == 200
    assert answer.content == content(name)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["vary"] == "accept-encoding"
    assert "content-encoding" not in answer.headers
    assert set(answer.headers["content-security-policy"].split("; ")) == POLICY


async def test_every_file_is_served(http: httpx.AsyncClient) -> None:
    names = {path.relative_to(files.ROOT).as_posix() for path in files.ROOT.rglob("*.*")}
    names = {name for name in names if (files.ROOT / name).is_file()} - {"index.html"}
    assert len(names) > 10
    for name in names:
        answer = await http.get(f"/console/{name}")
        assert (answer.status_code, answer.content) == (200, content(name)), name


@pytest.mark.parametrize("path", ["/console", "/console/main.js"])
async def test_head(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.head(path, headers=PLAIN)
    full = await http.get(path, headers=PLAIN)
    assert (answer.status_code, answer.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "content-security-policy"):
        assert answer.headers[name] == full.headers[name]


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    {
        "gzip": True,
        "deflate, GZIP;q=0.5, br": True,
        "br, gzip": True,
        "": False,
        "identity": False,
        "gzip;q=0": False,
        "br, gzip; q=0.000": False,
        "x-gzip-like": False,
    }.items(),
)
async def test_compression(http: httpx.AsyncClient, accepted: str, compressed: bool) -> None:
    async with http.stream("GET", LIBRARY, headers={"accept-encoding": accepted}) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == ("gzip" if compressed else None)
    assert answer.headers["content-length"] == str(len(raw))
    assert (gzip.decompress(raw) if compressed else raw) == content(FILES[LIBRARY][0])


async def test_what_the_browser_has_is_not_sent_again(http: httpx.AsyncClient) -> None:
    etag = (await http.get("/console/main.js")).headers["etag"]
    for known in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        answer = await http.get("/console/main.js", headers={"if-none-match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag), known
        assert set(answer.headers["content-security-policy"].split("; ")) == POLICY
    other = (await http.get("/console/api.js")).headers["etag"]
    assert other != etag
    assert (await http.get("/console/main.js", headers={"if-none-match": other})).status_code == 200


async def test_a_slash_more_leads_to_the_page(http: httpx.AsyncClient) -> None:
    answer = await http.get("/console/", follow_redirects=True)
    assert [earlier.status_code for earlier in answer.history] == [308]
    assert (answer.url.path, answer.content) == ("/console", content("index.html"))


async def test_a_browser_is_led_to_the_page(http: httpx.AsyncClient) -> None:
    """Others find nothing there."""
    accepts = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = await http.get("/?x=1", headers=accepts, follow_redirects=True)
    assert [earlier.status_code for earlier in answer.history] == [302]
    assert answer.history[0].headers["vary"] == "accept"
    assert (answer.url.path, answer.content) == ("/console", content("index.html"))
    assert_http_error(await http.get("/"), 404, "SYNTAX")
    assert_http_error(await http.post("/", headers=accepts, content="{}"), 404, "SYNTAX")


async def test_parameters_of_the_page_do_not_matter(http: httpx.AsyncClient) -> None:
    answer = await http.get("/console?member=1&access_token=x")
    assert answer.content == content("index.html")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/console", "/console/", "/console/main.js"])
async def test_other_methods(http: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await http.request(method, path)
    assert_http_error(answer, 405, "SYNTAX")
    assert answer.headers["allow"] == "GET, HEAD"


UNKNOWN = [
    "/console/index.html",
    "/console/nothing.js",
    "/console/third_party",
    "/console/third_party/",
    "/console/../contract.lua",
    "/console/%2e%2e/contract.lua",
    "/console//main.js",
    "/consoles",
    "/Console",
    "/main.js",
]


@pytest.mark.parametrize("path", UNKNOWN)
async def test_unknown_paths(service: Service, path: str) -> None:
    async with service.http() as http:
        request = http.build_request("GET", "/")
        request.url = request.url.copy_with(raw_path=path.encode())
        assert_http_error(await http.send(request), 404, "SYNTAX")


async def test_members_are_for_admins(service: Service, demo: httpx.AsyncClient) -> None:
    assert_http_error(await demo.get("/console/members"), 403, "UNAUTH")
    async with service.http(headers={"authorization": await service.token("admin")}) as admin:
        first = (await admin.get("/console/members", params={"page_size": 2})).raise_for_status().json()
        assert [member["id"] for member in first["members"]] == [123, 777]
        rest = await admin.get("/console/members", params={"page_token": first["next_page_token"]})
        assert [member["name"] for member in rest.raise_for_status().json()["members"]] == [
            "External ID Member",
            "Demo Publisher",
            "Demo Advertiser",
        ]


def test_every_file_is_in_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["instantaudience_gateway"]
    found = {path for pattern in patterns for path in files.ROOT.parents[1].glob(pattern)}
    assert {path for path in files.ROOT.rglob("*") if path.is_file()} <= found


def test_own_files_ask_nobody_else() -> None:
    for path in files.ROOT.glob("*.*"):
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name


def test_why_a_job_failed_is_told_in_words() -> None:
    """For each code in the table of docs/batch.md; of an INTERNAL one nobody can say more than that it is."""
    table = (ROOT / "docs/batch.md").read_text().partition("| `error_code` | the job ended because |")[2]
    codes = re.findall(r"`([A-Z_]+)`(?=.*\|.*\|$)", table.partition("\n\n")[0], re.MULTILINE)
    words = (files.ROOT / "words.js").read_text().partition("const JOB_ERRORS = {")[2].partition("};")[0]
    assert set(re.findall(r"^  ([A-Z_]+): \"", words, re.MULTILINE)) == {*codes} - {"INTERNAL"}


@pytest.mark.parametrize(("table", "reasons"), [("FAILURES", CallFailure), ("SKIPS", Skip)], ids=str)
def test_reasons_of_reports_are_told_in_words(table: str, reasons: type[CallFailure] | type[Skip]) -> None:
    words = (files.ROOT / "words.js").read_text().partition(f"const {table} = {{")[2].partition("};")[0]
    assert set(re.findall(r"^  ([A-Z_]+): \"", words, re.MULTILINE)) == {each.name for each in reasons}


def test_libraries_are_as_released() -> None:
    sums = [line.split() for line in (ROOT / "tools/vendor-pages.sha256").read_text().splitlines()]
    for digest, name in sums:
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == digest, name
    names = {Path(name).name for _, name in sums}
    assert names > {"chart.umd.min.js", "LICENSE.md", "LICENSE-color.md", "swagger-ui-bundle.js", "LICENSE.txt"}


def test_a_file_of_an_unknown_kind_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "font.woff2").write_bytes(b"font")
    monkeypatch.setattr(files, "ROOT", tmp_path)
    files.files.cache_clear()
    with pytest.raises(ValueError, match=r"font\.woff2"):
        files.files()
    files.files.cache_clear()
