"""Signed envelopes as in-toto has them (DSSE): a payload and its type, signed together.

The one rule: the signature is over the type as well as the payload, so that neither passes for another.
Source: https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshwright.audit.notes import SigningKey

IN_TOTO = "application/vnd.in-toto+json"
"""The type of a payload that is an in-toto statement."""


def enveloped(payload: bytes, kind: str, key: SigningKey) -> dict[str, Any]:
    """`payload` of the type `kind` in an envelope that `key` has signed."""
    signature = key.sign(b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(payload), payload))
    return {
        "payloadType": kind,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key.verifier.key_id, "sig": base64.b64encode(signature).decode()}],
    }
