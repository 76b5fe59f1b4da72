"""Our own endpoints under /meshwright/v1/: a mesh, extensions, releases, propagation, drift, rollback, status.

The one rule: the table `ENDPOINTS` is the whole of it; routes and the OpenAPI document are made from it alike.
"""

from __future__ import annotations

import asyncio
import functools
import re
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from meshwright import release
from meshwright.api import (
    applying,
    approving,
    auditing,
    canaries,
    extensions,
    observing,
    openapi,
    outcomes,
    proving,
    proxies,
    repeating,
    sessions,
    submitted,
    verifying,
)
from meshwright.api.answers import answer
from meshwright.api.asked import body_of, flag_of, in_path, number_of, release_of, stack_of
from meshwright.api.canary_steps import ascending
from meshwright.api.connection_facts import connection_facts
from meshwright.api.drifted import get_drift
from meshwright.api.finding import discovered, get_endpoints
from meshwright.api.guarding import tests_of
from meshwright.api.objects import foreign, shown
from meshwright.api.propagating import observed, told, with_inherited
from meshwright.api.rolling_back import roll_back
from meshwright.api.searching import read_search
from meshwright.api.tracing import traced
from meshwright.errors import (
    AccessDeniedError,
    BadRequestException,
    NotFoundException,
    RefusedError,
)
from meshwright.model.identity import qualified, split_mesh
from meshwright.release import (
    CODES,
    ApplyRequest,
    InvalidReleaseError,
    Release,
    RollbackRequest,
    Status,
)
from meshwright.views.answers import PREFIX
from meshwright.views.wire import to_wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeAlias

    from starlette.requests import Request

    from meshwright.api.services import Services
    from meshwright.control import Propagation

    Endpoint: TypeAlias = Callable[[Services, Request], Awaitable[Response]]

MOST_ADOPTED = 1_000
"""Objects of which it is kept that a release adopted them."""
LONGEST_WAIT = 30.0
"""Seconds that one request for a propagation may wait; a client that waits longer asks again."""


@functools.cache
def _version() -> str:
    """Ours; to read it from the package took a third of an answer's time."""
    return version("meshwright")


async def get_status(services: Services, request: Request) -> Response:
    """The server's version and revision, its stacks, and every connected proxy."""
    del request
    stacks = []
    for mesh, stack in services.store.stacks():
        newest = await _observed(services, mesh, stack)
        shown = _with_tallies(services, mesh, stack, [newest])[0] if newest else None
        stacks.append({"mesh": mesh, "stack": stack, "release": shown})
    proxies = await traced(services.store, services.control.statuses())
    return answer(
        {
            "version": _version(),
            "revision": services.store.head().revision,
            "account": services.account,
            "region": services.region,
            "stacks": stacks,
            "discovered": discovered(services.found),
            "proxies": to_wire(proxies),
        }
    )


async def get_mesh(services: Services, request: Request) -> Response:
    """The objects of a mesh with their metadata and stacks, at the newest revision; none for an unknown mesh."""
    mesh, head = request.path_params["mesh"], services.store.head()
    resources = [shown(one, request.state.principal) for one in head.state if one.key.mesh == mesh]
    stacks = [stack for _, stack in services.store.stacks(mesh)]
    return answer({"mesh": mesh, "revision": head.revision, "stacks": stacks, "resources": resources})


async def post_release(services: Services, request: Request) -> Response:
    """Apply the whole of a stack, or a plan, as one release; 201 for a new one, 200 where nothing changed."""
    mesh, stack = stack_of(request)
    asked = await body_of(request, ApplyRequest)
    if asked.definitions and not re.fullmatch(r"[0-9a-f]{64}", asked.definitions):
        raise BadRequestException(f"definitions takes a SHA-256 in hexadecimal, found {asked.definitions[:80]!r}.")
    if asked.plan is not None and asked.resources is None:
        if (asked.plan.mesh, asked.plan.stack) != (mesh, stack):
            raise BadRequestException(
                f"The plan is for stack {asked.plan.stack!r} in mesh {asked.plan.mesh!r}, "
                f"not for {stack!r} in {mesh!r}."
            )
        planned = submitted.from_plan(asked.plan, services.store)
    elif asked.resources is not None and asked.plan is None:
        planned = submitted.from_content(asked.resources, mesh, stack)
    else:
        raise BadRequestException("Send exactly one of resources and plan.")
    intent = applying.Intent(
        mesh=mesh,
        stack=stack,
        caller=_caller(request, asked),
        build=asked.build,
        tool_version=asked.tool_version,
        break_glass=asked.break_glass,
        sources=asked.sources,
        definitions=asked.definitions,
        promotes=asked.promotes,
        adopted=asked.adopted[:MOST_ADOPTED],
        tests=tests_of(asked),
        begins=ascending(asked.canary),
    )
    return outcomes.outcome_answer(await applying.commit(services, intent, planned))


async def get_releases(services: Services, request: Request) -> Response:
    """A stack's releases that are searched for, newest first, without their content; `next` to ask on `before`."""
    mesh, stack = stack_of(request)
    search, limit = read_search(request.query_params, mesh, services.account)
    await _observed(services, mesh, stack)
    found = await asyncio.to_thread(services.store.releases, mesh, stack, limit + 1, search)
    page = found[:limit]
    more = page[-1].number if len(found) > limit else None
    listed = _with_tallies(services, mesh, stack, page)
    return answer({"mesh": mesh, "stack": stack, "releases": listed, "next": more})


async def get_release(services: Services, request: Request) -> Response:
    """One release with its content, its risks, and where its changes are written."""
    one = release_of(services, request)
    hidden = foreign(services.store.head().state, one, request.state.principal)
    content = [msgspec.structs.replace(item, tags={}) if hidden(item.key) else item for item in one.content]
    target = [msgspec.structs.replace(item, tags={}) if hidden(item.key) else item for item in one.target]
    more = {"target": to_wire(target)} if target else {}
    return answer({**outcomes.document(one), "content": to_wire(content), **more, **_whole(one)})


def _whole(one: Release) -> dict[str, Any]:
    return {"sources": to_wire(one.sources), "risks": to_wire(one.risks), "objections": to_wire(one.objections)}


async def get_release_propagation(services: Services, request: Request) -> Response:
    """How far it has come; `wait`: once decided, within so many seconds (at most 30); `detail=true`: by proxy."""
    one = release_of(services, request)
    found = with_inherited(services, one, await _propagation(services, request, one.revision, one.mesh))
    one = await observed(services, one, found)
    evidence = await services.evidence.evidence(one)
    document = await told(services, found, evidence, detail=flag_of(request, "detail"))
    return answer({**document, "release": one.title, "status": one.status, "committed_at": one.at})


async def get_revision_propagation(services: Services, request: Request) -> Response:
    """How far a revision has come among connected proxies; `wait` and `detail` as for a release."""
    number = in_path(request, "revision")
    if number > services.store.head().revision:
        raise NotFoundException(f"There is no revision {number} yet; the newest is {services.store.head().revision}.")
    found = await _propagation(services, request, number)
    seen = release.evidence_of(services.control.accounts(number))
    return answer(await told(services, found, seen, detail=flag_of(request, "detail")))


async def post_rollback(services: Services, request: Request) -> Response:
    """Restore an older release's content as a new release; 200 where that is what runs already."""
    mesh, stack = stack_of(request)
    asked = await body_of(request, RollbackRequest)
    await _observed(services, mesh, stack)
    return outcomes.outcome_answer(await roll_back(services, mesh, stack, asked, _caller(request, asked)))


async def get_openapi(services: Services, request: Request) -> Response:
    """This description."""
    del services, request
    return Response(_description(), media_type="application/json")


@functools.cache
def _description() -> bytes:
    """It is the same for as long as this program runs, and takes some milliseconds to put together."""
    described = [
        openapi.Described(one.method, PREFIX + one.path, one.name, one.summary, one.action, one.resource)
        for one in ENDPOINTS
    ]
    described += [
        openapi.Described("POST", one.path, one.name, one.summary, "", "", signed=False) for one in proving.DESCRIBED
    ]
    return msgspec.json.encode(openapi.document(described, version("meshwright")))


class Row(NamedTuple):
    """One endpoint."""

    method: str
    path: str
    endpoint: Endpoint
    action: str
    """What a policy must allow, on `resource`."""
    object: bool = False
    """Whether that is an object of the mesh: then the endpoint itself asks, knowing whose it is."""

    @property
    def resource(self) -> str:
        """The end of the ARN that is asked about, members in braces; `*` for what is of no one mesh."""
        if "{mesh}" not in self.path:
            return "*"
        if self.object:
            return "mesh/{mesh}/meshwright/{kind}/{name}"
        return "mesh/{mesh}/stack/{stack}" if "{stack}" in self.path else "mesh/{mesh}"

    @property
    def name(self) -> str:
        """Its operation id."""
        return self.endpoint.__name__

    @property
    def summary(self) -> str:
        """What it does, in one sentence."""
        return (self.endpoint.__doc__ or "").strip()


_IN_STACK = "/meshes/{mesh}/stacks/{stack}"
_PENDING = f"{_IN_STACK}/pending/{{number}}"
_EXTENSION = "/meshes/{mesh}/extensions/{kind}/{name}"
ENDPOINTS = (
    Row("GET", "/status", get_status, "meshwright:GetStatus"),
    Row("GET", "/proxy", proxies.get_proxy, "meshwright:GetStatus"),
    Row("GET", "/openapi.json", get_openapi, "meshwright:GetStatus"),
    Row("GET", "/revisions/{revision}/propagation", get_revision_propagation, "meshwright:GetPropagation"),
    Row("GET", "/meshes/{mesh}", get_mesh, "meshwright:GetMesh"),
    Row("GET", "/meshes/{mesh}/observed", observing.get_observed, "meshwright:GetObserved"),
    Row("GET", "/meshes/{mesh}/endpoints", get_endpoints, "meshwright:GetMesh"),
    Row("GET", "/meshes/{mesh}/extensions", extensions.get_extensions, "meshwright:ListExtensions"),
    Row("GET", _EXTENSION, extensions.get_extension, "meshwright:GetExtension", object=True),
    Row("PUT", _EXTENSION, extensions.put_extension, "meshwright:PutExtension", object=True),
    Row("DELETE", _EXTENSION, extensions.delete_extension, "meshwright:DeleteExtension", object=True),
    Row("GET", f"{_IN_STACK}/releases", get_releases, "meshwright:GetReleases"),
    Row("POST", f"{_IN_STACK}/releases", post_release, "meshwright:ApplyRelease"),
    Row("GET", f"{_IN_STACK}/releases/{{number}}", get_release, "meshwright:GetRelease"),
    Row(
        "GET",
        f"{_IN_STACK}/releases/{{number}}/propagation",
        get_release_propagation,
        "meshwright:GetPropagation",
    ),
    Row(
        "POST",
        f"{_IN_STACK}/releases/{{number}}/verifications",
        verifying.post_verification,
        "meshwright:VerifyRelease",
    ),
    Row(
        "GET", f"{_IN_STACK}/releases/{{number}}/verifications", verifying.get_verifications, "meshwright:GetRelease"
    ),
    Row("POST", f"{_IN_STACK}/releases/{{number}}/canary", canaries.post_canary, "meshwright:ApplyRelease"),
    Row("GET", f"{_IN_STACK}/pending", approving.get_pending, "meshwright:GetPending"),
    Row("POST", f"{_PENDING}/approval", approving.post_approval, "meshwright:ApproveRelease"),
    Row("POST", f"{_PENDING}/withdrawal", approving.post_withdrawal, "meshwright:WithdrawRelease"),
    Row("POST", f"{_IN_STACK}/judgements", approving.post_judgement, "meshwright:GetJudgement"),
    Row("GET", f"{_IN_STACK}/grants", approving.get_grants, "meshwright:GetGrants"),
    Row("POST", f"{_IN_STACK}/grants", approving.post_grant, "meshwright:BreakGlass"),
    Row("GET", "/meshes/{mesh}/guardrails", approving.get_guardrails, "meshwright:GetGuardrails"),
    Row("GET", f"{_IN_STACK}/drift", get_drift, "meshwright:GetDrift"),
    Row("POST", f"{_IN_STACK}/rollbacks", post_rollback, "meshwright:RollBack"),
    Row("GET", "/audit/checkpoint", auditing.get_checkpoint, "meshwright:GetCheckpoint"),
    Row("GET", "/audit/entries", auditing.get_audit_entries, "meshwright:ListAuditEntries"),
    Row("GET", "/sessions", sessions.get_sessions, "meshwright:ListSessions"),
    Row("POST", "/revocations", sessions.post_revocation, "meshwright:RevokeSession"),
)
"""Every endpoint of ours."""


def routes(services: Services) -> list[Route]:
    """The endpoints as Starlette routes, below `PREFIX`."""
    return [Route(PREFIX + one.path, _served(services, one), methods=[one.method]) for one in ENDPOINTS]


def _served(services: Services, row: Row) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for those who may, with our refusals as answers; App Mesh's and failures are the outer layer's."""

    async def serve(request: Request) -> Response:
        request.scope["state"]["operation"] = row.name
        caller = applying.Caller(request.state.principal, connection_facts(request.scope))
        if "mesh" in request.path_params:
            # One mesh has one name, for policies above all: SHOP@ACCOUNT is SHOP where the account is the server's.
            name, owner = split_mesh(request.path_params["mesh"])
            request.path_params["mesh"] = qualified(name, owner, services.account)
        about = row.resource.format(**request.path_params)
        request.state.attempt.target = lambda: about
        if not row.object:
            resource = services.resource(about)
            services.authority().permit_action(
                caller.principal, row.action, resource, caller.facts, at=services.now()
            )
        try:
            return await row.endpoint(services, request)
        except RefusedError as error:
            request.scope["state"]["objects"] = error.objects
            if isinstance(error, AccessDeniedError):
                raise
            response = _refused(error)
            request.scope["state"]["refused"] = response.headers["x-amzn-ErrorType"], str(error)
            return response

    return serve


def _caller(request: Request, asked: object = None) -> applying.Caller:
    """Who asks; `asked` is what for, where it may be repeated with an Idempotency-Key."""
    place = "/".join((request.scope["state"]["operation"], *request.path_params.values()))
    repeated = repeating.of_header(request, place, to_wire(asked))
    return applying.Caller(request.state.principal, connection_facts(request.scope), repeated, request.state.attempt)


def _refused(error: RefusedError) -> Response:
    code, status = next(CODES[one] for one in type(error).__mro__ if one in CODES)
    more = {"diagnostics": to_wire(error.diagnostics)} if isinstance(error, InvalidReleaseError) else {}
    response = answer({"message": str(error), **more}, status)
    response.headers["x-amzn-ErrorType"] = code
    return response


async def _propagation(services: Services, request: Request, revision: int, mesh: str = "") -> Propagation:
    seconds, control = number_of(request, "wait", 0, 0, LONGEST_WAIT), services.control
    return await control.wait(revision, seconds, mesh) if seconds else control.propagation(revision, mesh)


async def _observed(services: Services, mesh: str, stack: str) -> Release | None:
    """The stack's newest release, with what became of it noted if that can be told by now."""
    newest = next(iter(services.store.releases(mesh, stack, 1)), None)
    if newest is None or newest.status not in {Status.APPLIED, Status.FAILED}:
        return newest
    found = services.control.propagation(newest.revision, newest.mesh)
    return await observed(services, newest, with_inherited(services, newest, found))


def _with_tallies(services: Services, mesh: str, stack: str, found: Sequence[Release]) -> list[dict[str, Any]]:
    """Releases of a stack for the client, each with what proxies made of it in a few numbers."""
    tallies = services.evidence.tallies(mesh, stack, min((one.number for one in found), default=1) - 1)
    return [{**outcomes.document(one), "tally": to_wire(tallies.get(one.number))} for one in found]
