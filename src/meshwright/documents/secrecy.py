"""Which values are secret: by the name of what holds them, by what the project says, and by what they look like.

The one rule: whoever is in doubt is secret; `public` in `meshwright.yaml` says which names only look like it.
"""

from __future__ import annotations

import re

_WORDS = frozenset(
    {"PASS", "PASSWD", "PASSPHRASE", "PW", "PWD", "PGPASS", "DBPASS", "SECRET", "SECRETS", "TOKEN", "TOKENS"}
    | {"CRED", "CREDS", "CREDENTIAL", "CREDENTIALS", "JWT", "AUTHORIZATION", "COOKIE", "PAT", "OAUTH", "BEARER"}
    | {"SALT", "PEPPER", "WEBHOOK", "WEBHOOKS", "DSN"}
)
_ENDINGS = re.compile(r"(?:PASSWD|SECRET|TOKEN|APIKEY|_AUTH|AUTH_CONFIG|CONNECTION_STRING)\Z|PASSWORD")
_KEYS = re.compile(r"(?:ACCESS|API|DEPLOY|ENCRYPTION|MASTER|PRIVATE|SECRET|SIGNING|SSH)[_.-]?KEY|\AENCRYPTED_")
_FOLDERS = frozenset({"PWD", "OLDPWD"})
"""What shells call their folders."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_DIGITS = "0123456789"
_SHAPES = {
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"),
    "an address with a password": re.compile(
        r"\b[A-Za-z][A-Za-z0-9+.-]{0,31}://(?:[^\s/:@]{0,256}:[^\s/@]{1,1024}|[\w-]{20,256})@"
        r"|[?&](?:access_token|api_?key|password|secret|sig|signature|token)=[^&\s]{8}",
        re.IGNORECASE,
    ),
    "an access key of AWS": re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"),
    "a token of GitHub": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{16}|github_pat_\w{16})"),
    "a token of GitLab": re.compile(r"\bgl(?:pat|ptt|dt|rt|cbt)-[\w-]{16}"),
    "a token of Slack": re.compile(r"\bxox[a-z]-[\w-]{8}|\bxapp-\d-[\w-]{8}"),
    "a webhook": re.compile(
        r"\bhooks\.slack\.com/(?:services|workflows|triggers)/|\bdiscord(?:app)?\.com/api/webhooks/"
    ),
    "a key of Stripe": re.compile(r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16}"),
    "a key of Google": re.compile(r"\bAIza[\w-]{35}"),
    "a token of a package registry": re.compile(r"\b(?:npm_[A-Za-z0-9]{30}|pypi-[\w-]{16}|dckr_pat_[\w-]{16})"),
    "a token of Vault": re.compile(r"\bhv[sbr]\.[\w-]{20}"),
    "a JSON Web Token": re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8}"),
}
"""By what they are called, each known by what its issuer puts before it."""


def named_secret(name: str) -> bool:
    """Whether a variable of this name holds a credential as names go: `DB_PASSWORD`, `githubToken2`, `PGPASSWORD`."""
    upper = _CAMEL.sub("_", name).upper()
    if upper in _FOLDERS:
        return False
    words = (one.rstrip(_DIGITS) for one in re.split(r"[^A-Z0-9]+", upper))
    whole = upper.rstrip(_DIGITS).rstrip("_.-")
    return not _WORDS.isdisjoint(words) or bool(_ENDINGS.search(whole) or _KEYS.search(upper))


def secret_in(text: str) -> str:
    """What secret is in `text` whatever its name, such as `a private key`; "" for nothing that looks like one."""
    return next((what for what, shape in _SHAPES.items() if shape.search(text)), "")
