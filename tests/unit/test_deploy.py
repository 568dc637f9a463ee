"""The files for containers: what they say of the program holds. Nothing is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imgsearch.tools.server.operations.health import OPEN
from imgsearch.tools.stores.address import parse
from support.cli import imgsearch

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
DEPLOY = Path(__file__).parents[2] / "deploy"


def documents(name: str) -> list[Any]:
    """Return the documents of a YAML file."""
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def commands() -> Iterator[list[str]]:
    """Yield the arguments that each file gives to imgsearch."""
    yield documents("compose.yaml")[0]["x-server"]["command"]
    pod = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
    yield pod["containers"][0]["args"]
    (told,) = re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    yield yaml.safe_load(told)


def test_every_option_is_one_of_the_command() -> None:
    """A flag that was renamed would be found here."""
    fill = documents("compose.yaml")[0]["services"]["fill"]["command"]
    assert fill[0] == "index"
    known = {name: "\n".join(imgsearch(name, "--help-all").lines) for name in ("serve", "index")}
    for arguments in (*commands(), fill):
        assert arguments[:2] == ["serve", "--http"] or arguments is fill
        for flag in [word.partition("=")[0] for word in arguments if word.startswith("--")]:
            assert re.search(rf"{flag}\b", known[arguments[0]]), flag


def test_probes_ask_for_addresses_that_need_no_token() -> None:
    """Health and readiness are asked for without one, at the port on which the server or its proxy is."""
    pod = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
    proxy = pod["containers"][1]
    probed = {proxy[name]["httpGet"]["path"] for name in ("readinessProbe", "livenessProbe")}
    check = documents("compose.yaml")[0]["x-server"]["healthcheck"]["test"][-1]
    (asked,) = re.findall(r"http://127\.0\.0\.1:7788(/\w+)'", check)
    assert probed | {asked} == set(OPEN)
    assert {proxy["command"][-1], documents("compose.yaml")[0]["x-proxy"]["command"][-1]} == {
        "127.0.0.1:7788"
    }


def test_the_drain_is_shorter_than_the_grace() -> None:
    """A server that is stopped gets the time that it asks for, and ten seconds for its last answers."""
    compose, pod = documents("compose.yaml")[0], documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
    graces = [int(compose["x-server"]["stop_grace_period"].rstrip("s")), pod["terminationGracePeriodSeconds"]]
    for arguments, grace in zip(commands(), graces, strict=False):
        (drain,) = [int(word.partition("=")[2]) for word in arguments if word.startswith("--drain")]
        assert drain + 10 <= grace


def test_servers_of_a_store_keep_nothing() -> None:
    """They ask the Milvus service beside them at its port, and have no volume of an index."""
    compose, kubernetes = documents("compose.yaml")[0], documents("kubernetes.yaml")
    services = {
        one["metadata"]["name"]: one["spec"]["ports"] for one in kubernetes if one["kind"] == "Service"
    }
    pod = kubernetes[0]["spec"]["template"]["spec"]
    for arguments in (compose["x-server"]["command"], pod["containers"][0]["args"]):
        (address,) = [word.partition("=")[2] for word in arguments if word.startswith("--store=")]
        asked = parse(address)
        assert asked.host in compose["services"]
        assert asked.port in [port["port"] for port in services[asked.host]]
        assert not any(word.startswith("--index") for word in arguments)
    assert not any(volume.startswith("index:") for volume in compose["x-server"]["volumes"])
    assert "index" not in {volume["name"] for volume in pod["volumes"]}
    fill = compose["services"]["fill"]["command"]
    assert {word for word in fill if word.startswith("--store=")} <= set(compose["x-server"]["command"])
