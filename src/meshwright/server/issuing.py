"""The parts of our own issuer, put together from settings and the data directory.

The one rule: what it signs by lies in the data directory, for its owner alone, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshwright.api.own_issuer import OwnIssuer
from meshwright.ci.travis.reading import TravisJobs
from meshwright.issuers import Issuers
from meshwright.server.parts import now
from meshwright.store.issuer_keys import IssuerKeys
from meshwright.store.keys import TRAVIS_KEY, ensure_secret

if TYPE_CHECKING:
    from meshwright.server.settings import Settings


def own_issuer(settings: Settings) -> OwnIssuer | None:
    """Who vouches for jobs of Travis CI; None where nobody does.

    Raises:
        StorageError: its keys cannot be read or written.
    """
    if settings.issuer is None:
        return None
    return OwnIssuer(
        url=settings.issuer.url,
        keys=IssuerKeys(settings.data_dir, now),
        jobs=TravisJobs(settings.issuer.access),
        key=ensure_secret(settings.data_dir / TRAVIS_KEY),
        repositories=settings.issuer.repositories,
        restarted=settings.issuer.restarted,
    )


def own_keys(issuer: OwnIssuer | None) -> Issuers:
    """The keys of all issuers, of which ours are here and not asked for over the network."""
    return Issuers(own={issuer.url: lambda: issuer.keys.key_set} if issuer is not None else {})
