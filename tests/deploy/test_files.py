"""What is in deploy/ fits the service: its flags, its variables, its times. `make check` compares it with schemas."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from instantaudience_server.commands.root import main
from instantaudience_server.running.supervisor import EXTRA_SECONDS
from instantaudience_server.settings import Settings
from instantaudience_server.store.inspection.durability_settings import CHECKS
from support.cluster.running import running_node

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(each for each in DEPLOY.rglob("*") if each.is_file() and each.suffix != ".lock")
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
CONTAINERFILE = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
DEPLOYMENT = (ROOT / "docs/deployment.md").read_text()
VARIABLES = {f"INSTANT_AUDIENCE_{name.upper()}" for name in Settings.model_fields} | {"INSTANT_AUDIENCE_CONFIG"}


def manifests() -> dict[str, dict[str, Any]]:
    """The Kubernetes objects by kind."""
    return {each["kind"]: each for path in MANIFESTS for each in yaml.safe_load_all(path.read_text())}


def pod() -> dict[str, Any]:
    """What the Deployment runs."""
    spec: dict[str, Any] = manifests()["Deployment"]["spec"]["template"]["spec"]
    return spec


def container() -> dict[str, Any]:
    """The pod's only container."""
    (found,) = pod()["containers"]
    return dict(found)


def commands() -> Iterator[tuple[str, list[str]]]:
    """The words after `instant-audience` that something in deploy/ runs, and where."""
    unit = (DEPLOY / "systemd/instant-audience.service").read_text()
    for line in re.findall(r"^Exec\w+=\S*/instant-audience (.*)$", unit, re.MULTILINE):
        yield "systemd", shlex.split(line)
    for line in re.findall(r"^CMD (.*)$", CONTAINERFILE, re.MULTILINE):
        yield "Containerfile", yaml.safe_load(line)
    yield "Kubernetes", container()["args"]


def seconds(text: str) -> float:
    """What compose and systemd write as `40s` or `40`."""
    return float(text.removesuffix("s"))


def longest_end(drain_wait: float, drain_seconds: float) -> float:
    """How long the service may take to end (docs/architecture.md, "Drain")."""
    return drain_wait + 2 * drain_seconds + EXTRA_SECONDS


def test_commands_are_the_services(subtests: pytest.Subtests) -> None:
    for place, words in list(commands()):
        with subtests.test(place=place, words=words):
            answer = CliRunner().invoke(main, [*words, "--help"])
            assert answer.exit_code == 0, f"{place}: {answer.output}"
            command = main.get_command(click.Context(main), words[0])
            assert command is not None
            with click.Context(command) as context:
                command.parse_args(context, words[1:])


def test_variables_are_those_that_the_service_reads(subtests: pytest.Subtests) -> None:
    for path in FILES:
        with subtests.test(path=path):
            assert set(re.findall(r"\bINSTANT_AUDIENCE_[A-Z_]*[A-Z]", path.read_text())) <= VARIABLES


def test_values_of_variables_are_taken() -> None:
    texts = {each["name"]: each["value"] for each in container()["env"] if "value" in each}
    texts |= manifests()["ConfigMap"]["data"]
    compose = COMPOSE["services"]["instant-audience"]["environment"]
    for environment in (texts | {"INSTANT_AUDIENCE_HOST": "0.0.0.0"}, compose):
        Settings.model_validate(
            {name.removeprefix("INSTANT_AUDIENCE_").lower(): value for name, value in environment.items()},
        )


def test_doctor_looks_where_the_unit_has_the_service_write_and_asks_as_another_user() -> None:
    unit = (DEPLOY / "systemd/instant-audience.service").read_text()
    section = DEPLOYMENT.partition("\n## systemd\n")[2].replace("\\\n", " ")
    (line,) = re.findall(r"^(.*instant-audience doctor .*)$", section, re.MULTILINE)
    words = shlex.split(line)
    variables = dict(word.split("=", 1) for word in words if word.startswith("INSTANT_AUDIENCE_"))
    assert f"DATA_DIR={variables['INSTANT_AUDIENCE_DATA_DIR'].replace('/var/lib', '%S')}\n" in unit
    service = tomllib.loads((DEPLOY / "systemd/settings.toml").read_text())["redis"]
    (user,) = re.findall(r"//(\w+):", service)
    assert words[words.index("--acl-user") + 1] == user
    assert f"//{user}:" not in variables["INSTANT_AUDIENCE_REDIS"]
    assert service.partition("@")[2] == variables["INSTANT_AUDIENCE_REDIS"].partition("@")[2]


def test_nobody_kills_it_while_it_drains() -> None:
    env = {each["name"]: each.get("value") for each in container()["env"]}
    wait, drain = (float(env[f"INSTANT_AUDIENCE_DRAIN_{name}"]) for name in ("WAIT", "SECONDS"))
    assert pod()["terminationGracePeriodSeconds"] > longest_end(wait, drain)
    defaults = Settings()
    grace = seconds(COMPOSE["services"]["instant-audience"]["stop_grace_period"])
    assert grace > longest_end(defaults.drain_wait, defaults.drain_seconds)
    unit = (DEPLOY / "systemd/instant-audience.service").read_text()
    settings = Settings.model_validate(tomllib.loads((DEPLOY / "systemd/settings.toml").read_text()))
    (stop,) = re.findall(r"^TimeoutStopSec=(.*)$", unit, re.MULTILINE)
    assert seconds(stop) > longest_end(settings.drain_wait, settings.drain_seconds)


def test_a_cluster_that_comes_later_is_waited_for() -> None:
    """By starting again and again. Else, systemd gives up for good after five starts in ten seconds, and one that meets
    no cluster ends within a second."""
    unit = (DEPLOY / "systemd/instant-audience.service").read_text()
    assert re.findall(r"^(Restart|StartLimitIntervalSec)=(.*)$", unit, re.MULTILINE) == [
        ("StartLimitIntervalSec", "0"),
        ("Restart", "on-failure"),
    ]
    assert COMPOSE["services"]["instant-audience"]["restart"] == "unless-stopped"


def test_a_failover_takes_no_pod_out_of_the_service() -> None:
    probe = container()["readinessProbe"]
    node_timeout = float(node_configuration()["cluster-node-timeout"]) / 1000
    assert probe["periodSeconds"] * (probe["failureThreshold"] - 1) > 3 * node_timeout


def test_probes_and_ports_are_where_the_service_answers() -> None:
    ports = {each["name"]: each["containerPort"] for each in container()["ports"]}
    defaults = Settings()
    assert (ports["https"], ports["grpc"]) == (defaults.http_port, defaults.grpc_port)
    annotations = manifests()["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["metrics"])
    for probe, path in {"startup": "/healthz", "readiness": "/readyz"}.items():
        assert container()[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "https", "scheme": "HTTPS"}
    assert container()["livenessProbe"]["tcpSocket"] == {"port": "https"}
    for each in manifests()["Service"]["spec"]["ports"]:
        assert each["targetPort"] in ports
    (exposed,) = re.findall(r"^EXPOSE (.*)$", CONTAINERFILE, re.MULTILINE)
    assert set(map(int, exposed.split())) == set(ports.values())


def test_every_manifest_is_applied_and_selects_the_pods() -> None:
    resources = manifests()["Kustomization"]["resources"]
    assert sorted([*resources, "kustomization.yaml"]) == [each.name for each in MANIFESTS]
    labels = manifests()["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests()["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests()["Service"]["spec"]["selector"] == labels
    assert manifests()["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests()["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert manifests()["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "instant-audience"


def test_what_is_mounted_is_there() -> None:
    volumes = {each["name"] for each in pod()["volumes"]}
    mounts = {each["name"]: each["mountPath"] for each in container()["volumeMounts"]}
    assert mounts.keys() == volumes
    paths = [each["value"] for each in container()["env"] if str(each.get("value")).startswith("/secrets/")]
    assert paths
    assert all(any(path.startswith(f"{mount}/") for mount in mounts.values()) for path in paths)


def secrets_of(node: Any) -> Iterator[str]:
    """The names of the Secrets that a manifest names."""
    if isinstance(node, list):
        for each in node:
            yield from secrets_of(each)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "secretName":
                yield value
            elif key in ("secretRef", "secretKeyRef"):
                yield value["name"]
            else:
                yield from secrets_of(value)


def test_the_account_of_deployment_makes_every_secret() -> None:
    commands = re.findall(r"create secret (?:generic|tls) (\S+)", DEPLOYMENT)
    assert sorted(commands) == sorted(secrets_of(pod()))
    mounts = [each["mountPath"] for each in container()["volumeMounts"]]
    named = re.findall(r"/secrets/[\w./]+", DEPLOYMENT)
    assert named
    assert all(any(path.startswith(f"{mount}/") for mount in mounts) for path in named)


def test_the_image_runs_as_nobody_and_is_built_of_what_is_here() -> None:
    last_stage = CONTAINERFILE.rpartition("\nFROM ")[2]
    (user,) = re.findall(r"^USER (\d+):\d+$", last_stage, re.MULTILINE)
    context = pod()["securityContext"]
    assert int(user) == context["runAsUser"] > 0
    assert "\nHEALTHCHECK " in last_stage
    for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, re.MULTILINE):
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(source.startswith(each) for each in not_ignored()), source


def test_the_images_code_is_compiled_when_it_is_built() -> None:
    """Nothing is written while it runs, so each process would compile all that it reads anew: a start took three times
    the processor time."""
    last_stage = CONTAINERFILE.rpartition("\nFROM ")[2]
    assert "PYTHONDONTWRITEBYTECODE=1" in last_stage
    assert "--no-compile" not in CONTAINERFILE
    # The base image has its library without.
    assert re.search(r"^RUN python -m compileall .*/usr/local/lib/python", last_stage, re.MULTILINE)


def test_the_build_sees_what_the_image_is_made_of_and_nothing_else() -> None:
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert set(not_ignored()) == copied


def test_the_image_has_its_health_check_whoever_builds_it() -> None:
    """Podman's own format has none, and it warns of that alone."""
    (line,) = re.findall(r"^podman build (.*)$", DEPLOYMENT, re.MULTILINE)
    assert "--format docker" in line


def test_the_first_admin_of_compose_is_in_no_commit() -> None:
    file = COMPOSE["secrets"]["catalog.yaml"]["file"]
    assert f"deploy/compose/{file}" in (ROOT / ".gitignore").read_text().splitlines()


def not_ignored() -> list[str]:
    """What the image's build may see."""
    lines = (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def node_configuration() -> dict[str, str]:
    """The directives that compose gives the cluster's nodes."""
    words = shlex.split(COMPOSE["x-node"]["command"][-1])
    return {name.removeprefix("--"): value for name, value in pairwise(words) if name.startswith("--")}


def test_the_nodes_keep_what_was_acknowledged(subtests: pytest.Subtests) -> None:
    for check in CHECKS:
        with subtests.test(check=check):
            assert check.right(node_configuration()[check.directive])


async def test_a_server_takes_the_nodes_configuration(tmp_path: Path) -> None:
    theirs = {name: value for name, value in node_configuration().items() if name not in ("dir", "save")}
    lines = [f"{name} {value}" for name, value in theirs.items() if not value.startswith("$")]
    async with running_node("valkey", tmp_path, *lines):
        pass


def test_every_node_is_formed_into_the_cluster() -> None:
    nodes = {name: each for name, each in COMPOSE["services"].items() if name.startswith("node-")}
    addresses = {each["networks"]["cluster"]["ipv4_address"] for each in nodes.values()}
    assert len(nodes) == len(addresses) == 6
    created = COMPOSE["services"]["form"]["command"][-1].partition("--cluster create")[2]
    assert set(re.findall(r"(172\.[\d.]+):6379", created)) == addresses
    assert COMPOSE["services"]["form"]["depends_on"].keys() == nodes.keys()


def test_what_is_installed_is_what_was_tested() -> None:
    assert pins(DEPLOY / "requirements.lock") <= pins(ROOT / "requirements.lock")


def pins(lock: Path) -> set[str]:
    """`name==version` of a lock."""
    return set(re.findall(r"^[a-z0-9.-]+==\S+", lock.read_text(), re.MULTILINE))
