"""The control plane as a client sees it; `client` speaks, `credentials` and `web_identity` say as whom."""

from meshwright.remote.client import Client, Observed
from meshwright.remote.connection import is_loopback, refuse_user_info
from meshwright.remote.credentials import find_credentials
from meshwright.remote.web_identity import Identity, WebIdentity, find_signer
from meshwright.trust.credentials import Credentials

__all__ = [
    "Client",
    "Credentials",
    "Identity",
    "Observed",
    "WebIdentity",
    "find_credentials",
    "find_signer",
    "is_loopback",
    "refuse_user_info",
]
