"""The provenance of a release: a signed in-toto statement that other programs verify, claimed and verified apart."""

from __future__ import annotations

import base64
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key, SSlibKey  # type: ignore[attr-defined] # as its own documentation does

from meshwright.audit import SigningKey, leaf_hash
from meshwright.cli import cli
from meshwright.errors import RefusedError, StorageError
from meshwright.release import digest_of
from meshwright.store.contract import AccessKey, Session
from meshwright.store.keys import ensure_signing_key
from meshwright.store.sqlite import connect
from meshwright.trust.principals import Principal
from serving import serving
from stored import commit_one, node, release

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "c0ffee" * 6 + "c0ff"
VERIFIED = {
    "ci": "github",
    "issuer": "https://token.actions.githubusercontent.com",
    "repository": "acme/cart",
    "branch": "main",
    "commit": COMMIT,
    "build_number": "7",
    "build_id": "4711",
}
CLAIMED = {"ci": "github", "repository": "acme/claimed", "commit": "f" * 40, "build_number": "8"}


def run(*arguments: str | Path) -> Result:
    """Run a command."""
    return CliRunner().invoke(cli, ["audit", *map(str, arguments)])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a control plane on which a verified build has released `shop/cart#1`."""
    folder = tmp_path_factory.mktemp("data")
    ensure_signing_key(folder, "000000000000")
    with serving(folder) as server:
        principal = Principal(account="000000000000", kind="user", name="administrator", build=VERIFIED)
        made = Session(key_id="ASIABUILD", secret="s", token="t", principal=principal, created_at=0, expires_at=2**42)
        server.store.add_session(made)
        key = AccessKey(id=made.key_id, secret=made.secret, principal="", created_at=0)
        resources = [{"object": "mesh/shop", "spec": {}, "tags": {"team": "cart"}}]
        body = json.dumps({"resources": resources, "build": CLAIMED, "tool_version": "9.9"}).encode()
        answer = server.ask(
            "POST",
            "/meshwright/v1/meshes/shop/stacks/cart/releases",
            body,
            key=key,
            x_amz_security_token=made.token,
        )
        assert answer.status == 201, answer.body
    return folder


def exported(data: Path, name: str = "shop/cart#1") -> dict[str, Any]:
    """The envelope."""
    done = run("export", "--data-dir", data, "--format", "slsa", "--release", name)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def statement_of(data: Path, name: str) -> Any:
    """The statement in the envelope."""
    return json.loads(base64.b64decode(exported(data, name)["payload"]))


def test_another_implementation_verifies_the_envelope(data: Path) -> None:
    """With the public key in PEM, and no other; a changed payload or type is found."""
    pem = run("key", "--data-dir", data, "--format", "pem").stdout
    key_id = exported(data)["signatures"][0]["keyid"]
    public: Key = SSlibKey.from_crypto(load_pem_public_key(pem.encode()), keyid=key_id)
    assert list(Envelope.from_dict(exported(data)).verify([public], 1)) == [key_id]
    other = SigningKey("x", bytes(32)).verifier.pem
    stranger: Key = SSlibKey.from_crypto(load_pem_public_key(other.encode()), keyid=key_id)
    changed = exported(data)
    changed["payload"] = base64.b64encode(base64.b64decode(changed["payload"]).replace(b"cart", b"card")).decode()
    typed = exported(data) | {"payloadType": "application/json"}
    for envelope, keys in ((exported(data), [stranger]), (changed, [public]), (typed, [public])):
        with pytest.raises(VerificationError):
            Envelope.from_dict(envelope).verify(keys, 1)


def test_the_statement_says_what_was_released_and_by_whom(data: Path) -> None:
    """Subject, parameters, sources and the leaf in the log; what was verified decides, and both are told apart."""
    envelope = exported(data)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    found = json.loads(base64.b64decode(envelope["payload"]))
    with closing(connect(data / "meshwright.db")) as store:
        one = store.release("shop", "cart", 1)
        entries = store.leaves(0, 100)
    assert one is not None
    assert (found["_type"], found["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    assert found["subject"] == [{"name": "shop/cart#1", "digest": {"sha256": digest_of(one.content)}}]
    definition, details = found["predicate"]["buildDefinition"], found["predicate"]["runDetails"]
    assert set(definition) == {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    assert definition["externalParameters"]["claimedBuild"] == CLAIMED
    assert definition["internalParameters"]["verifiedBuild"] == VERIFIED
    assert definition["internalParameters"]["changes"] == [{"action": "create", "object": "mesh/shop"}]
    assert definition["resolvedDependencies"] == [
        {
            "name": "acme/cart",
            "uri": "git+https://github.com/acme/cart@refs/heads/main",
            "digest": {"gitCommit": COMMIT},
            "annotations": {"verified": True},
        }
    ]
    origin = run("key", "--data-dir", data).stdout.partition("+")[0]
    assert details["builder"] == {"id": f"urn:meshwright:{origin}"}
    assert details["metadata"]["invocationId"] == "4711"
    (leaf,) = details["byproducts"]
    entry = entries[leaf["annotations"]["position"]]
    assert json.loads(entry.text)["release"] == "shop/cart#1"
    assert leaf["digest"] == {"sha256": leaf_hash(entry.text.encode()).hex()}


def test_what_nobody_verified_is_marked_so(tmp_path: Path) -> None:
    """A release of a laptop, or of a job without a token."""
    ensure_signing_key(tmp_path, "000000000000")
    with serving(tmp_path) as server:
        body = json.dumps({"resources": [{"object": "mesh/shop", "spec": {}}], "build": CLAIMED}).encode()
        assert server.ask("POST", "/meshwright/v1/meshes/shop/stacks/cart/releases", body).status == 201
    found = json.loads(base64.b64decode(exported(tmp_path)["payload"]))
    definition = found["predicate"]["buildDefinition"]
    assert definition["internalParameters"]["verifiedBuild"] == {}
    (source,) = definition["resolvedDependencies"]
    assert (source["name"], source["annotations"]) == ("acme/claimed", {"verified": False})


def test_nothing_is_vouched_for_that_is_not_as_it_was_applied(tmp_path: Path) -> None:
    """Content that does not have the release's own digest."""
    ensure_signing_key(tmp_path, "000000000000")
    with closing(connect(tmp_path / "meshwright.db")) as store:
        commit_one(store, 0, puts=(node("n"),), deletes=(), principal="build", cause="r", at=1, release=release(1, 1))
    done = run("export", "--data-dir", tmp_path, "--format", "slsa", "--release", "shop/cart#1")
    assert isinstance(done.exception, StorageError)
    assert "is not what was applied" in str(done.exception)


def test_wrong_calls_are_told_so(data: Path) -> None:
    """A release that is not there, and options that do not go together."""
    done = run("export", "--data-dir", data, "--format", "slsa", "--release", "shop/cart#2")
    assert isinstance(done.exception, RefusedError)
    assert run("export", "--data-dir", data, "--format", "slsa").exit_code == 2
    assert run("export", "--data-dir", data, "--release", "shop/cart#1").exit_code == 2
    assert run("export", "--data-dir", data).stdout.count("\n") == 3
