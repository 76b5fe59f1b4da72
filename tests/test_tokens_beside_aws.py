"""One job that proves itself to Meshwright by a token and asks AWS as somebody else: moto's server stands for AWS."""

from __future__ import annotations

import json
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

import pytest

from cloud_map import Moto, moto
from exchanging import Plane, arn, planes
from parameter_store import Door, door
from test_values import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(300)]  # the first of them installs moto

PROJECT = "stack: cart\nmesh: shop\ndefinitions: [mesh.yaml]\naws: {region: eu-west-1}\n"
DEFINITIONS = """
meshName: shop
spec: {}
---
virtualNodeName: cart
spec:
  listeners: [{portMapping: {port: 80, protocol: http}}]
  serviceDiscovery: {dns: {hostname: "${ssm:/shop/host}"}}
"""
CREDENTIALS = "[acme]\naws_access_key_id = AKIAACME00000000\naws_secret_access_key = s\n"


class AwsSts:
    """AWS's own STS, moto's, which notes what it is sent."""

    def __init__(self, behind: Moto) -> None:
        self.got: list[str] = []
        outer = self

        class Asked(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.got.append(body.decode())
                kept = {name: one for name, one in self.headers.items() if name.lower() != "content-length"}
                asked = HTTPConnection("127.0.0.1", behind.port, timeout=60)
                asked.request("POST", "/", body, {**kept, "host": "sts.us-east-1.amazonaws.com"})
                answer = asked.getresponse()
                text = answer.read()
                self.send_response(answer.status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """AWS for all tests here: it takes seconds to start."""
    with moto(tmp_path_factory.mktemp("moto")) as found:
        yield found


@pytest.fixture
def aws(running: Moto) -> Iterator[Door]:
    """A Parameter Store with the host."""
    running.reset()
    with door(running) as found:
        found.put("/shop/host", "cart.internal")
        yield found


@pytest.fixture
def sts(running: Moto) -> Iterator[AwsSts]:
    """AWS's."""
    with AwsSts(running) as found:
        yield found


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    """A control plane whose issuer signs tokens for builds."""
    (tmp_path / "plane").mkdir()
    with planes(tmp_path / "plane") as found:
        yield found


@pytest.fixture
def job(tmp_path: Path, plane: Plane, running: Moto, aws: Door) -> dict[str, str]:
    """The variables of a job: a token for Meshwright, and where AWS's services are."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "meshwright.yaml").write_text(PROJECT)
    (folder / "mesh.yaml").write_text(DEFINITIONS)
    (tmp_path / "credentials").write_text(CREDENTIALS)
    (tmp_path / "own").write_text(plane.issuer.token())
    return {
        "HOME": str(tmp_path),
        "MESHWRIGHT_ENDPOINT": plane.server.url,
        "AWS_ENDPOINT_URL_SSM": aws.url,
        "AWS_ENDPOINT_URL_XRAY": running.url,
        "AWS_ENDPOINT_URL_CLOUDWATCH": running.url,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def shared(plane: Plane, folder: Path) -> dict[str, str]:
    """Meshwright's token in AWS's variables, as its SDKs take it."""
    return {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "own"),
        "AWS_ROLE_ARN": arn("releaser"),
        "AWS_ENDPOINT_URL_STS": plane.server.url,
    }


def applied(plane: Plane) -> bool:
    """Whether the stack was released by the role, with the host that only AWS knows."""
    release = plane.server.store.release("shop", "cart", 1)
    assert release is not None
    (spec,) = [one.spec for one in release.content if one.spec]
    assert spec["serviceDiscovery"]["dns"]["hostname"] == "cart.internal"
    return ":assumed-role/releaser/" in release.principal


def test_a_token_of_meshwrights_own_leaves_awss_variables_to_aws(
    job: dict[str, str], plane: Plane, tmp_path: Path, aws: Door, sts: AwsSts
) -> None:
    """Each is shown its own token; Parameter Store, X-Ray and CloudWatch are asked with the session that AWS gave."""
    (tmp_path / "theirs").write_text("a.token.forAws")
    job |= {
        "MESHWRIGHT_TOKEN_FILE": str(tmp_path / "own"),
        "MESHWRIGHT_ROLE": "releaser",
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "theirs"),
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/acme-ci",
        "AWS_ENDPOINT_URL_STS": sts.url,
    }
    folder = tmp_path / "project"
    done = run(folder, "apply", **job)
    assert done.returncode == 0, done.stderr
    assert applied(plane)
    own = (tmp_path / "own").read_text()
    assert len(sts.got) == 1
    assert "a.token.forAws" in sts.got[0]
    assert own not in sts.got[0]
    known = {one.key_id for one in plane.server.store.sessions()}
    assert len(known) == 1
    assert aws.keys
    assert not aws.keys & known
    done = run(folder, "verify", "--timeout", "1", "--xray", "--cloudwatch", "mesh", "--allow-unprobed", **job)
    assert done.returncode != 2, done.stderr
    assert len(sts.got) > 1
    assert not any(own in one for one in sts.got)


def test_a_token_in_awss_variables_is_not_shown_to_aws(
    job: dict[str, str], plane: Plane, tmp_path: Path, aws: Door
) -> None:
    """Nor is a session of Meshwright's: AWS is asked with the rest of what AWS's tools find, or as yaml says."""
    job |= {**shared(plane, tmp_path), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    folder = tmp_path / "project"
    refused = run(folder, "apply", **job)
    assert refused.returncode == 2, refused.stderr
    assert "Unable to locate credentials" in refused.stderr
    assert "MESHWRIGHT_TOKEN_FILE" in refused.stderr
    assert plane.server.store.sessions() == ()
    assert aws.calls == []
    done = run(folder, "apply", **job, AWS_PROFILE="acme")
    assert done.returncode == 0, done.stderr
    assert applied(plane)
    for source in (("--xray",), ("--cloudwatch", "mesh")):
        refused = run(folder, "verify", "--timeout", "1", *source, "--allow-unprobed", **job)
        assert refused.returncode == 2, refused.stderr
        assert "name it with MESHWRIGHT_TOKEN_FILE instead" in refused.stderr
    (folder / "meshwright.yaml").write_text(PROJECT.replace("aws: {", "aws: {profile: acme, "))
    done = run(folder, "apply", **job)
    assert done.returncode == 0, done.stderr
    assert aws.keys == {"AKIAACME00000000"}
    done = run(folder, "verify", "--timeout", "1", "--xray", "--cloudwatch", "mesh", "--allow-unprobed", **job)
    assert done.returncode != 2, done.stderr


def test_keys_of_both_lie_in_one_file_under_two_profiles(
    job: dict[str, str], plane: Plane, tmp_path: Path, aws: Door
) -> None:
    """For whoever has no token."""
    mine = "[mesh]\naws_access_key_id = AKIAADMINISTRATOR\naws_secret_access_key = a-secret\n"
    (tmp_path / "credentials").write_text(CREDENTIALS + mine)
    folder = tmp_path / "project"
    (folder / "meshwright.yaml").write_text(PROJECT.replace("aws: {", "profile: mesh\naws: {profile: acme, "))
    job |= {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    done = run(folder, "apply", **job, AWS_ACCESS_KEY_ID="AKIANEITHER", AWS_SECRET_ACCESS_KEY="s")
    assert done.returncode == 0, done.stderr
    assert aws.keys == {"AKIAACME00000000"}
    (folder / "meshwright.yaml").write_text(PROJECT)
    aws.keys.clear()
    done = run(
        folder, "apply", **job, MESHWRIGHT_PROFILE="mesh", AWS_ACCESS_KEY_ID="AKIAAWS", AWS_SECRET_ACCESS_KEY="s"
    )
    assert done.returncode == 0, done.stderr
    assert aws.keys == {"AKIAAWS"}
    (release,) = plane.server.store.releases("shop", "cart")
    assert release.principal.endswith(":user/administrator")


def test_a_token_that_is_for_aws_is_shown_to_aws(
    job: dict[str, str], plane: Plane, tmp_path: Path, aws: Door, sts: AwsSts
) -> None:
    """A job that asks Meshwright nothing needs to say nothing: its token names whom it is for."""
    (tmp_path / "own").write_text(plane.issuer.token(aud="sts.amazonaws.com"))
    job |= {**shared(plane, tmp_path), "AWS_ENDPOINT_URL_STS": sts.url}
    job["AWS_ROLE_ARN"] = "arn:aws:iam::123456789012:role/acme-ci"
    done = run(tmp_path / "project", "validate", "--part", "--format", "json", **job)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["objects"]) == 2
    assert len(sts.got) == 1
    assert aws.calls != []


@pytest.mark.parametrize("member", ["role: '${env:ROLE}'", "token_file: '${P}'", "profile: 7", "account: x"])
def test_as_whom_somebody_is_asked_is_plain_text(tmp_path: Path, member: str) -> None:
    """Values cannot be asked for with what they are to say."""
    (tmp_path / "meshwright.yaml").write_text(PROJECT + member)
    done = run(tmp_path, "validate")
    assert done.returncode == 2
    assert "meshwright.yaml:5:" in done.stderr
