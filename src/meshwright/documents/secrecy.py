"""Which values are secret: by the name of what holds them, by what the project says, and by what they look like.

The one rule: whoever is in doubt is secret; `public` in `meshwright.yaml` says which names only look like it.
"""

from __future__ import annotations

import re

_WORDS = frozenset(
    {"PASSWD", "PASSPHRASE", "PWD", "SECRET", "SECRETS", "TOKEN", "TOKENS", "CREDENTIAL", "CREDENTIALS", "JWT"}
    | {"AUTHORIZATION", "COOKIE", "PAT"}
)
_ENDINGS = re.compile(r"(?:PASSWORDS?|PASSWD|SECRET|TOKEN|APIKEY|_AUTH|AUTH_CONFIG)\Z|PASSWORD")
_KEYS = re.compile(r"(?:ACCESS|API|DEPLOY|ENCRYPTION|MASTER|PRIVATE|SECRET|SIGNING|SSH)[_.-]?KEY|\AENCRYPTED_")
_FOLDERS = frozenset({"PWD", "OLDPWD"})
"""What shells call their folders."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SHAPES = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b[A-Za-z][A-Za-z0-9+.-]{0,31}://[^\s/:@]{0,256}:[^\s/@]{1,1024}@"  # a password in an address
)


def named_secret(name: str) -> bool:
    """Whether a variable of this name holds a credential as names go: `DB_PASSWORD`, `githubToken`, `PGPASSWORD`."""
    upper = _CAMEL.sub("_", name).upper()
    if upper in _FOLDERS:
        return False
    words = re.split(r"[^A-Z0-9]+", upper)
    return not _WORDS.isdisjoint(words) or bool(_ENDINGS.search(upper) or _KEYS.search(upper))


def looks_secret(text: str) -> bool:
    """Whether `text` is a private key or an address with a password, whatever its name."""
    return _SHAPES.search(text) is not None
