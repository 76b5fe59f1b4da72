"""One Envoy: its bootstrap is what Envoy takes, and the command runs and stops it cleanly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshwright.errors import UsageError
from meshwright.model.identity import Key, Kind
from meshwright.proxy import credentials
from meshwright.proxy.bootstrap import Address, Environment, KeyFile, Settings, address, bootstrap, proxy_key
from meshwright.proxy.run import envoy_path
from meshwright.snapshot.resources import Loopback
from meshwright.trust.credentials import Credentials, parse
from processes import DEADLINE, alive, envoys, free_port, until

CART = Key("shop", Kind.VIRTUAL_NODE, "cart")
PLACE = Loopback(application="127.9.0.1", ingress="127.9.0.2", egress="127.9.0.3")
PLAIN = Settings(proxy=CART, instance="cart-1", xds=Address("127.0.0.1", 18000), admin=Address("127.0.0.1", 9901))
FULL = Settings(
    proxy=Key("shop", Kind.VIRTUAL_GATEWAY, "door"),
    instance="door-1",
    xds=Address("/run/xds.sock"),
    admin=Address("/run/admin.sock"),
    placement=PLACE,
    resolver=Address("127.9.0.4", 5353),
    zone="eu-west-1a",
)
NAMED = Settings(proxy=CART, instance="cart-1", xds=Address("mesh.example", 443), admin=Address("::1", 9901))
SIGNED = msgspec.structs.replace(PLAIN, credentials=KeyFile("/run/mesh/credentials", "cart"), region="eu-west-1")
KEY = {**os.environ, "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "not-a-real-secret"}


@pytest.mark.envoy
@pytest.mark.parametrize("settings", [PLAIN, FULL, NAMED, SIGNED], ids=["plain", "full", "named", "signed"])
def test_envoy_takes_every_bootstrap(settings: Settings, tmp_path: Path) -> None:
    """Validated by the real Envoy, which refuses unknown fields and wrong types."""
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(bootstrap(settings)))
    command = [str(envoy_path()), "--mode", "validate", "-c", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    assert done.returncode == 0, done.stderr


def test_a_bootstrap_tells_who_the_proxy_is_and_where() -> None:
    """The control plane reads the node's id, its instance and, where it is not the usual one, its placement."""
    node = bootstrap(FULL)["node"]
    assert node["id"] == "mesh/shop/virtualGateway/door"
    assert node["metadata"] == {
        "meshwright": {
            "instance": "door-1",
            "runtime": True,
            "placement": {"application": "127.9.0.1", "ingress": "127.9.0.2", "egress": "127.9.0.3"},
        }
    }
    assert bootstrap(PLAIN)["node"]["metadata"] == {"meshwright": {"instance": "cart-1", "runtime": True}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:18000", Address("127.0.0.1", 18000)),
        ("[::1]:18000", Address("::1", 18000)),
        ("mesh.example:443", Address("mesh.example", 443)),
        ("unix:///run/xds.sock", Address("/run/xds.sock")),
    ],
)
def test_an_address_is_read_and_written_the_same(text: str, expected: Address) -> None:
    """What is printed may be given back."""
    assert address(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "127.0.0.1", "127.0.0.1:", ":80", "x:0", "x:65536", "x:http", "unix://x"),
        *("https://mesh.example:443", "user@x:80", "x y:80", "[x]:80", "x:٨٠"),
    ],
)
def test_what_is_no_address_is_refused_with_the_forms_that_are(text: str) -> None:
    """The message quotes it and shows both forms."""
    with pytest.raises(UsageError, match="HOST:PORT") as caught:
        address(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("reports", "loads", "times"), [("all", True, 1), ("loads", True, 0), ("none", False, 0)])
def test_a_proxy_tells_of_its_calls_what_it_may(reports: str, loads: bool, times: int) -> None:
    """An Envoy that knows less is spared what it would refuse."""
    document = printed("mesh/shop/virtualNode/cart", "--reports", reports, env=KEY)
    assert ("cluster_manager" in document) is loads
    assert len(document.get("stats_sinks", ())) == times


def test_only_nodes_and_gateways_have_a_proxy() -> None:
    """By ARN or by path; a router, a mesh and noise are refused by name."""
    arn = "arn:aws:appmesh:us-east-1:000000000000:mesh/shop/virtualNode/cart"
    assert proxy_key(arn) == CART.within("shop@000000000000")
    assert proxy_key("arn:aws:appmesh:r:1:mesh/shop@111111111111/virtualNode/cart").mesh == "shop@111111111111"
    assert proxy_key("mesh/shop/virtualNode/cart") == CART
    for text in ("mesh/shop", "mesh/shop/virtualRouter/cart", "cart", "arn:aws:s3:::bucket"):
        with pytest.raises(UsageError, match=text):
            proxy_key(text)


def meshwright(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    """The command, running."""
    command = [sys.executable, "-m", "meshwright.cli", "proxy", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def printed(*arguments: str, **more: Any) -> Any:
    """The bootstrap that the command prints."""
    with meshwright(*arguments, "--print-bootstrap", **more) as process:
        out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    return json.loads(out)


@pytest.mark.parametrize("instance", ["a\nb", "x" * 256, "é", " ", "a ", "\x7f"])
def test_an_instance_that_no_header_can_tell_is_a_usage_error(instance: str) -> None:
    """Envoy would refuse its bootstrap, or the control plane the proxy, for ever."""
    with meshwright("mesh/shop/virtualNode/cart", "--instance", instance, "--print-bootstrap", env=KEY) as process:
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert f"--instance is {instance!r}"[:60] in err
    assert "printable ASCII" in err
    assert len(err) < 400


@pytest.mark.parametrize("instance", ["a", "pod web/1 (eu)+#@", "x" * 255])
def test_other_instances_are_told_as_they_are(instance: str) -> None:
    """Whatever a machine may be called."""
    document = printed("mesh/shop/virtualNode/cart", "--instance", instance, env=KEY)
    assert document["node"]["metadata"]["meshwright"]["instance"] == instance


def test_print_bootstrap_prints_json_alone() -> None:
    """For use with an Envoy of one's own."""
    with meshwright("mesh/shop/virtualNode/cart", "--instance", "cart-1", "--print-bootstrap", env=KEY) as process:
        out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert json.loads(out) == bootstrap(msgspec.structs.replace(PLAIN, credentials=Environment()))
    assert KEY["AWS_SECRET_ACCESS_KEY"] not in out
    assert not err


@pytest.mark.parametrize(
    ("arguments", "variables", "zone"),
    [
        ([], {}, ""),
        ([], {"ECS_CONTAINER_METADATA_FILE": "{folder}/ecs.json"}, "eu-west-1c"),
        ([], {"ECS_CONTAINER_METADATA_FILE": "{folder}/gone.json"}, ""),
        (
            [],
            {"ECS_CONTAINER_METADATA_FILE": "{folder}/ecs.json", "AWS_AVAILABILITY_ZONE": "eu-west-1b"},
            "eu-west-1b",
        ),
        (["--zone", "eu-west-1a"], {"AWS_AVAILABILITY_ZONE": "eu-west-1b"}, "eu-west-1a"),
    ],
)
def test_a_proxy_says_its_zone(arguments: list[str], variables: dict[str, str], zone: str, tmp_path: Path) -> None:
    """As told, else as the environment says, else as ECS's metadata file does; where nothing does, it says none."""
    (tmp_path / "ecs.json").write_text('{"AvailabilityZone": "eu-west-1c"}')
    told = {name: value.format(folder=tmp_path) for name, value in variables.items()}
    node = printed("mesh/shop/virtualNode/cart", *arguments, env={**KEY, **told, "AWS_REGION": "eu-west-1"})["node"]
    assert node.get("locality") == ({"region": "eu-west-1", "zone": zone} if zone else None)


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        (["--ingress", "127.9.0.2"], "--application, --ingress and --egress"),
        (
            ["--application", "127.9.0.1", "--ingress", "10.0.0.1", "--egress", "127.9.0.3"],
            "'10.0.0.1' is no loopback",
        ),
        (["--application", "127.9.0.1", "--ingress", "door", "--egress", "127.9.0.3"], "'door' is no loopback"),
    ],
)
def test_half_or_wrong_placements_are_usage_errors(addresses: list[str], told: str) -> None:
    """Three loopback addresses or none."""
    with meshwright("mesh/shop/virtualNode/cart", *addresses, "--print-bootstrap") as process:
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert told in err


@pytest.mark.envoy
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_proxy_leaves_no_envoy_and_no_folder(number: signal.Signals, tmp_path: Path) -> None:
    """Being asked to stop is a clean end; Envoy goes with us, and so does the bootstrap."""
    with _running(tmp_path, free_port()) as process:
        until(lambda: bool(envoys(process.pid)))
        (envoy,) = envoys(process.pid)
        assert list(tmp_path.iterdir())
        process.send_signal(number)
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    assert not alive(envoy)
    assert not list(tmp_path.iterdir())


@pytest.mark.envoy
def test_envoy_dies_with_a_killed_proxy(tmp_path: Path) -> None:
    """Nobody is left to stop it, so the kernel does."""
    with _running(tmp_path, free_port()) as process:
        until(lambda: bool(envoys(process.pid)))
        (envoy,) = envoys(process.pid)
        process.kill()
        process.communicate(timeout=DEADLINE)
    until(lambda: not alive(envoy))


@pytest.mark.envoy
def test_an_envoy_that_ends_by_itself_is_an_error(tmp_path: Path) -> None:
    """Here because its administration port is taken; the command says so and could not do it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with _running(tmp_path, taken.getsockname()[1]) as process:
            _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert "Envoy ended by itself with status 1" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.envoy
@pytest.mark.parametrize(
    ("number", "told"), [(signal.SIGABRT, "crashed with SIGABRT"), (signal.SIGKILL, "from outside")]
)
def test_a_crash_is_told_from_an_end_from_outside(number: signal.Signals, told: str, tmp_path: Path) -> None:
    """The one is Envoy's own fault, such as SIGABRT; the other somebody's, such as the kernel's when memory ends."""
    with _running(tmp_path, free_port(), "--restarts", "0") as process:
        until(lambda: bool(envoys(process.pid)))
        os.kill(envoys(process.pid)[0], number)
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert told in err
    assert not list(tmp_path.iterdir())


def _running(folder: Path, admin: int, *more: str) -> subprocess.Popen[str]:
    """A proxy whose control plane does not answer, so that it waits; its temporary folders go to `folder`."""
    environment = {**KEY, "TMPDIR": str(folder)}
    arguments = ("mesh/shop/virtualNode/cart", "--xds", "127.0.0.1:9", "--admin-port", str(admin), *more)
    return meshwright(*arguments, env=environment)


class Sessions:
    """Credentials that are others each of the first four times."""

    def __init__(self) -> None:
        self.made = 0

    def credentials(self) -> Credentials:
        """The next; the third cannot be had, and the fourth stays."""
        self.made = min(self.made + 1, 4)
        if self.made == 3:
            raise UsageError("STS is away")
        return Credentials(key_id=f"ASIA{self.made}", secret=f"secret {self.made}", session_token="token")


def test_short_lived_credentials_are_renewed_where_only_we_can_read_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure in between is logged, without a secret, and tried again; nothing is left behind."""
    monkeypatch.setattr(credentials, "RENEW_SECONDS", 0.02)
    with credentials.renewed(Sessions()) as key:
        path = Path(key.path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        until(lambda: parse(path.read_text())[key.profile].key_id == "ASIA4")
    assert not path.parent.exists()
    assert "cannot be renewed now: STS is away" in caplog.text
    assert "secret" not in caplog.text


def test_a_proxy_that_can_prove_nothing_is_told_what_to_give(tmp_path: Path) -> None:
    """Beyond this machine, no key is guessed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    with meshwright(
        "mesh/shop/virtualNode/cart", "--xds", "mesh.example:443", "--print-bootstrap", env=environment, cwd=tmp_path
    ) as process:
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert "AWS_ACCESS_KEY_ID" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--xds-tls-ca", "missing.pem"], "--xds-tls-ca missing.pem is not a file"),
        (["--xds-client-certificate", __file__], "belong together"),
        (["--xds-client-certificate", __file__, "--xds-client-key", __file__], "needs TLS"),
    ],
)
def test_half_of_a_proof_is_a_usage_error(arguments: list[str], words: str) -> None:
    """With what is missing."""
    with meshwright("mesh/shop/virtualNode/cart", *arguments, "--print-bootstrap", env=KEY) as process:
        _, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert words in err
