"""AWS Systems Manager Parameter Store.

The one rule: each parameter is asked for once in a run, ten at a time, and a `SecureString` stays encrypted unless
the project says that it is no secret: nothing here ever holds a secret in plain.
Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameters.html,
API_GetParametersByPath.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from meshwright.aws import Access, client
from meshwright.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_BATCH = 10
"""Names of one call; Parameter Store takes no more."""
_PAGES = 100
"""Pages of one path that are read: a thousand parameters."""
_ATTEMPTS = 5
"""Of each call, with growing pauses, when Parameter Store throttles or breaks off."""
_DENIED = frozenset({"AccessDenied", "AccessDeniedException"})
_BUSY = frozenset({"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"})
_REJECTED = frozenset({"UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException"})


class Stored(msgspec.Struct, frozen=True):
    """What Parameter Store holds under a name; the text of a secret is "", because it is not asked for."""

    text: str
    secret: bool = False


class Unanswered(msgspec.Struct, frozen=True):
    """Why there is no value, and what to do."""

    told: str
    remedy: str
    absent: bool = False
    """Whether it is known that Parameter Store has no such parameter."""


class ParameterStore:
    """The parameters of one account and region, as one run sees them."""

    def __init__(self, access: Access, public: Callable[[str], bool]) -> None:
        """`access` says as whom and where it is asked; `public` which secure names are no secrets."""
        self._access = access
        self._public = public
        self._known: dict[str, Stored | Unanswered] = {}
        self._paths: dict[str, Mapping[str, Stored] | Unanswered] = {}
        self._client: Any = None
        self._failures: Any = None

    def ask(self, names: Iterable[str]) -> None:
        """Ask for all of `names` that were not asked for yet.

        Raises:
            UnreachableError: nothing can be asked: Parameter Store is not there, or knows nobody of this job's.
            UsageError: boto3 is not here, or AWS's settings cannot be used.
        """
        new = [one for one in dict.fromkeys(names) if one not in self._known]
        for decrypt in (False, True):
            wanted = [one for one in new if self._public(one) is decrypt]
            plain = [one for one in wanted if ":" not in one]
            for start in range(0, len(plain), _BATCH):
                self._batch(plain[start : start + _BATCH], decrypt=decrypt)
            # A version or label goes alone: an answer tells names, of which several versions may be asked for.
            for one in wanted:
                if ":" in one:
                    self._batch([one], decrypt=decrypt)

    def answer(self, name: str) -> Stored | Unanswered:
        """What is under `name`, which may end with `:version` or `:label`; raises as `ask`."""
        self.ask([name])
        return self._known[name]

    def below(self, path: str) -> Mapping[str, Stored] | Unanswered:
        """What lies directly below `path`, which ends with a slash, by the rest of its name; raises as `ask`."""
        if path not in self._paths:
            self._paths[path] = self._below(path)
        return self._paths[path]

    def _batch(self, names: list[str], *, decrypt: bool) -> None:
        found = self._call("GetParameters", names[0], Names=names, WithDecryption=decrypt)
        if isinstance(found, Unanswered):
            if len(names) > 1:
                # One name that may not be read, or cannot be one, refuses all of a call.
                for one in names:
                    self._batch([one], decrypt=decrypt)
            else:
                self._known.update((one, found) for one in names)
            return
        for one in found["Parameters"]:
            self._known[names[0] if len(names) == 1 else one["Name"]] = _stored(one, decrypted=decrypt)
        for one in names:
            if one not in self._known:
                told = f"Parameter Store has no parameter {one} in {self._client.meta.region_name}"
                remedy = "Create it, correct the name, or give a default: ${ssm:NAME:-text}."
                self._known[one] = Unanswered(told, remedy, absent=True)

    def _below(self, path: str) -> Mapping[str, Stored] | Unanswered:
        found: dict[str, Stored] = {}
        more: dict[str, str] = {}
        for _ in range(_PAGES):
            page = self._call("GetParametersByPath", path, Path=path, WithDecryption=False, **more)
            if isinstance(page, Unanswered):
                return page
            for one in page["Parameters"]:
                found[one["Name"].removeprefix(path)] = _stored(one, decrypted=False)
            if not page.get("NextToken"):
                break
            more = {"NextToken": page["NextToken"]}
        else:
            return Unanswered(f"below {path} there are over {_PAGES} pages of parameters", "Name a deeper path.")
        plain = [name for name, one in found.items() if one.secret and self._public(path + name)]
        self.ask(path + name for name in plain)
        for name in plain:
            answer = self._known[path + name]
            if isinstance(answer, Unanswered):
                return answer
            found[name] = answer
        return found

    def _call(self, operation: str, name: str, **arguments: Any) -> Any:
        if self._client is None:
            self._client, self._failures = client("ssm", self._access, attempts=_ATTEMPTS)
        call = {
            "GetParameters": self._client.get_parameters,
            "GetParametersByPath": self._client.get_parameters_by_path,
        }[operation]
        try:
            return call(**arguments)
        except self._failures.ClientError as error:
            return self._refused(error, operation, name)
        except (self._failures.BotoCoreError, ValueError) as error:
            raise UnreachableError(
                f"Parameter Store cannot be asked: {str(error).rstrip('.')}. {self._remedy(error)}"
            ) from None

    def _remedy(self, error: Exception) -> str:
        """What to do about a call to which there was no answer."""
        unreached = self._failures.ConnectionError, self._failures.HTTPClientError
        if not isinstance(error, unreached):
            return f"{self._access.remedy} A value may also be given as a parameter: --parameter NAME=VALUE."
        place = self._client.meta.endpoint_url
        return (
            f"Let this job reach {place}, or say with AWS_ENDPOINT_URL_SSM or a region where else it is; a value may "
            "also be given as a parameter: --parameter NAME=VALUE."
        )

    def _refused(self, error: Any, operation: str, name: str) -> Unanswered:
        code = error.response.get("Error", {}).get("Code", "")
        message = str(error.response.get("Error", {}).get("Message", "")).rstrip(".")
        resource = f"parameter/{name.strip('/').partition(':')[0]} in {self._client.meta.region_name}"
        if code in _DENIED:
            needed = "kms:Decrypt on its key" if "kms" in message.lower() else f"ssm:{operation} on {resource}"
            return Unanswered(
                f"this job may not read {name} of Parameter Store: {message or code}", f"Its role needs {needed}."
            )
        if code in _BUSY or code in _REJECTED:
            told = f"Parameter Store refused {_ATTEMPTS} times, as too many" if code in _BUSY else "AWS refused"
            remedy = "Run again later." if code in _BUSY else self._access.remedy
            raise UnreachableError(f"{told}: {message or code}. {remedy}")
        return Unanswered(f"Parameter Store refused {name}: {message or code}", "Correct the name.")


def _stored(one: Mapping[str, Any], *, decrypted: bool) -> Stored:
    if one["Type"] == "SecureString" and not decrypted:
        return Stored("", secret=True)
    return Stored(str(one["Value"]))
