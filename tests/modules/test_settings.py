import os
import re
from pathlib import Path

import click
import pytest
from instantaudience_server.commands.serve import serve
from instantaudience_server.commands.settings_options import FORMS
from instantaudience_server.settings import Settings
from pydantic import ValidationError

SECTION = (
    (Path(__file__).parents[2] / "docs/operations.md").read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
)
ROWS = {
    flag.removeprefix("--").replace("-", "_"): (flag, values, default.strip())
    for flag, values, default in re.findall(r"^\| `(--[\w-]+)` \| (.*?) \|(.*?)\|", SECTION, re.MULTILINE)
}
"""The operators' table, by the file's keys."""
OPTIONS = {str(option.name): option for option in serve.params if isinstance(option, click.Option)}


def test_each_has_an_option_and_a_row_of_the_operators_table() -> None:
    assert ROWS.keys() == Settings.model_fields.keys() == OPTIONS.keys() - {"config"}


def test_the_operators_table_tells_what_is_so(subtests: pytest.Subtests) -> None:
    for name in Settings.model_fields:
        with subtests.test(name=name):
            flag, values, default = ROWS[name]
            field = Settings.model_fields[name]
            assert ([flag], f"INSTANT_AUDIENCE_{name.upper()}") == (OPTIONS[name].opts, OPTIONS[name].envvar)
            bounds = {getattr(each, bound) for each in field.metadata for bound in ("ge", "le") if hasattr(each, bound)}
            assert bounds <= {int(number) for number in re.findall(r"\b\d+\b", values)}
            if isinstance(field.default, bool):
                assert default == str(field.default).lower()
            elif isinstance(field.default, int | float) and name != "workers":
                assert float(default) == field.default
            elif isinstance(field.default, str | Path) and field.default:
                assert default == f"`{field.default}`"


def test_defaults_are_those_of_one_machine() -> None:
    settings = Settings(demo=True)
    assert (settings.host, settings.http_port, settings.grpc_port) == ("127.0.0.1", 8080, 50051)
    assert settings.redis is None
    assert settings.workers >= 1


def test_a_catalog_to_begin_with_may_be_given(subtests: pytest.Subtests) -> None:
    for given in [{}, {"demo": True}, {"catalog": "catalog.yaml"}]:
        with subtests.test(given=given):
            settings = Settings(**given)
            assert settings.demo is given.get("demo", False)
            assert settings.catalog == (Path(given["catalog"]) if "catalog" in given else None)


def test_a_bad_value_is_refused(subtests: pytest.Subtests) -> None:
    for given in [
        {"demo": True, "catalog": "catalog.yaml"},
        {"demo": True, "http_port": 65536},
        {"demo": True, "http_port": -1},
        {"demo": True, "grpc_port": 65536},
        {"demo": True, "metrics_port": 65536},
        {"demo": True, "http_port": 50051},
        {"demo": True, "grpc_port": 9464, "metrics_port": 9464},
        *(
            {"demo": True, name: url}
            for port in (65536, 0, -1, "https")
            for name, url in {
                "redis": f"redis://a:6379,b:{port}",
                "public_url": f"https://a:{port}",
                "traces_endpoint": f"http://user:s3cret@a:{port}/below",
                "allowed_origins": f"https://a.example, https://b.example:{port}",
            }.items()
        ),
        {"demo": True, "public_url": "https://:443"},
        {"demo": True, "workers": 0},
        {"demo": True, "workers": 257},
        {"demo": True, "call_timeout_seconds": 0},
        {"demo": True, "call_timeout_seconds": 61},
        {"demo": True, "drain_seconds": -1},
        {"demo": True, "stalled_seconds": 0},
        {"demo": True, "max_pending_bytes": 1000},
        {"demo": True, "stream_window": 0},
        {"demo": True, "max_connections": 1},
        {"demo": True, "max_streams": 1001},
        {"demo": True, "max_header_bytes": 100_000},
        {"demo": True, "max_running_calls": 0},
        {"demo": True, "location": "Berlin"},
        {"demo": True, "location": "a:b"},
        {"demo": True, "location": ""},
        {"demo": True, "log_level": "loud"},
        {"demo": True, "durability": "paper"},
        {"demo": True, "durability": "replica"},
        {"demo": True, "drain_wait": -1},
        {"demo": True, "allowed_origins": "app.example.com"},
        {"demo": True, "allowed_origins": "https://app.example.com/"},
        {"demo": True, "allowed_origins": "*"},
        {"demo": True, "colour": "red"},
    ]:
        with subtests.test(given=given):
            with pytest.raises(ValidationError) as refused:
                Settings(**given)
            assert refused.value.error_count() == 1
            assert "s3cret" not in refused.value.errors()[0]["msg"]


@pytest.mark.parametrize("file", [b"/caf\xe9", b"/a\nb"], ids=["in Latin-1", "with a line break"])
@pytest.mark.parametrize(
    "name", ["catalog", "data_dir", "tls_cert", "tls_key", "client_ca", "client_crl", "batch_store"]
)
def test_a_path_that_workers_and_nodes_cannot_be_told_is_refused(name: str, file: bytes) -> None:
    """Settings go to workers as JSON, which failed with a traceback, or told the operator to set the output's encoding;
    and the data directory stands in a line of the nodes' configuration."""
    value = os.fsdecode(b"file://" * (name == "batch_store") + file)
    with pytest.raises(ValidationError) as refused:
        Settings(**{"demo": name != "catalog", name: value})
    (error,) = refused.value.errors()
    assert error["loc"] == (name,)
    assert error["msg"] == "Value error, must be a path in UTF-8 without line breaks, from the root on"


def test_a_path_below_a_directory_that_is_not_in_utf_8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    directory.mkdir()
    monkeypatch.chdir(directory)
    with pytest.raises(ValidationError, match="must be a path in UTF-8"):
        Settings(demo=True, data_dir=Path("data"))


def test_each_pattern_is_told_in_words() -> None:
    told = {name for name, field in Settings.model_json_schema()["properties"].items() if "pattern" in str(field)}
    assert told == FORMS.keys()


def test_two_ports_that_are_one_are_told_by_their_flags() -> None:
    """It was said that another program had it. 0 is any free one, for each."""
    with pytest.raises(ValidationError, match="--http-port and --metrics-port are both 9464: each needs a port"):
        Settings(http_port=9464, metrics_port=9464)
    Settings(http_port=0, grpc_port=0, metrics_port=0)


def test_ports_of_urls_may_be_any_that_a_server_has() -> None:
    """Where there is none, the scheme's."""
    for port in ("", ":1", ":65535"):
        Settings(
            redis=f"rediss://user:p%2C,w@[::1]:6379,b{port}?ssl_ca_certs=/ca.pem",  # type: ignore[arg-type]
            public_url=f"https://[::1]{port}",
            traces_endpoint=f"http://user:a,b@collector{port}/with,commas",
            allowed_origins=f"https://a.example{port},http://[::1]{port}",
        )


def test_origins_have_commas_between() -> None:
    settings = Settings(demo=True, allowed_origins="https://a.example, http://localhost:3000")
    assert settings.origins == ("https://a.example", "http://localhost:3000")
    assert Settings(demo=True).origins == ()


def test_the_clusters_password_is_not_shown() -> None:
    settings = Settings(demo=True, redis="redis://app:hunter2@cluster:6379")  # type: ignore[arg-type]
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings.model_dump_json())
    assert settings.redis is not None
    assert settings.redis.get_secret_value() == "redis://app:hunter2@cluster:6379"


def test_workers_can_read_what_is_written_for_them(subtests: pytest.Subtests) -> None:
    for url in ["redis://app:hunter2@a:6379,b:6379", "rediss://[::1]:7000?password=hunter2&ssl_ca_certs=/ca.pem", None]:
        with subtests.test(url=url):
            settings = Settings(demo=True, redis=url)  # type: ignore[arg-type]
            told = Settings.model_validate_json(settings.model_dump_json())
            assert told.model_dump(exclude={"redis"}) == settings.model_dump(exclude={"redis"})
            assert (told.redis is None) == (url is None)
            assert "hunter2" not in told.model_dump_json()


def test_an_address_is_written_as_it_is_mostly() -> None:
    """What is asked of it, is asked of its text: whether it means all of IPv6 and IPv4, for example."""
    assert Settings(host="0::0", insecure=True).host == "::"
