"""The xDS stream as a state machine: what it says, in what order, and when it is silent."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handmade import plain, snapshot
from meshwright.ads.stream import Acked, DeltaRequest, Nacked, Request, Response, StateRequest, Stream
from meshwright.snapshot.resources import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, EnvoyResource, Snapshot
from model_envoy import ModelEnvoy, mentioned, referrer
from settings import examples


def names(response: Response) -> list[str]:
    """The names in a response."""
    return [one.name for one in response.resources]


def delta(*resources: EnvoyResource) -> Stream:
    """An incremental stream that offers `resources`."""
    return Stream(snapshot(*resources), delta=True)


def state(*resources: EnvoyResource) -> Stream:
    """A state-of-the-world stream that offers `resources`."""
    return Stream(snapshot(*resources), delta=False)


def say(stream: Stream, *requests: Request) -> tuple[Response, ...]:
    """Let the stream hear `requests`; what it answers to all of them."""
    for request in requests:
        stream.receive(request)
    return stream.send()


def ack(stream: Stream, response: Response) -> tuple[Response, ...]:
    """Take a response of an incremental stream."""
    return say(stream, DeltaRequest(type_url=response.type_url, nonce=response.nonce))


def nack(stream: Stream, response: Response, words: str) -> tuple[Response, ...]:
    """Refuse a response of an incremental stream."""
    return say(stream, DeltaRequest(type_url=response.type_url, nonce=response.nonce, error=words))


def publish(stream: Stream, *resources: EnvoyResource) -> tuple[Response, ...]:
    """Offer exactly `resources` from now on; what the stream says to that."""
    stream.publish(snapshot(*resources))
    return stream.send()


def test_an_empty_set_of_clusters_is_answered_once() -> None:
    """Envoy waits for the first answer before it goes on."""
    stream = delta()
    (response,) = say(stream, DeltaRequest(type_url=CLUSTER))
    assert names(response) == []
    assert ack(stream, response) == ()


def test_a_nacked_version_is_not_sent_again_until_the_resource_changes() -> None:
    """No hot loop: another resource's change does not carry the refused one along."""
    stream = delta(plain(CLUSTER, "a"), plain(CLUSTER, "b"))
    (first,) = say(stream, DeltaRequest(type_url=CLUSTER))
    ack(stream, first)
    (second,) = publish(stream, plain(CLUSTER, "a", "2"), plain(CLUSTER, "b"))
    assert nack(stream, second, "Error adding/updating cluster(s) a: no") == ()
    assert stream.refusals()[CLUSTER]["a"].version == "2"
    (third,) = publish(stream, plain(CLUSTER, "a", "2"), plain(CLUSTER, "b", "2"))
    assert names(third) == ["b"]
    ack(stream, third)
    (fourth,) = publish(stream, plain(CLUSTER, "a", "3"), plain(CLUSTER, "b", "2"))
    assert names(fourth) == ["a"]
    assert stream.refusals() == {}


def test_a_rollback_after_a_nack_is_sent_because_the_client_may_have_half_of_the_new() -> None:
    """What a client runs after a refusal is not certain."""
    stream = delta(plain(ROUTE, "r"))
    (first,) = say(stream, DeltaRequest(type_url=ROUTE, subscribe=("r",)))
    ack(stream, first)
    (second,) = publish(stream, plain(ROUTE, "r", "2"))
    nack(stream, second, "bad regex")
    (third,) = publish(stream, plain(ROUTE, "r"))
    assert [one.version for one in third.resources] == ["1"]
    ack(stream, third)
    assert stream.outstanding() == {}


def test_a_nack_that_names_nothing_is_narrowed_down_to_the_guilty_resource() -> None:
    """Each suspect is sent alone, so the innocent are applied and the guilty is known."""
    stream = delta(plain(ROUTE, "good"), plain(ROUTE, "guilty"), plain(ROUTE, "fine"))
    (response,) = say(stream, DeltaRequest(type_url=ROUTE, subscribe=("good", "guilty", "fine")))
    blamed = []
    while True:
        guilty = "guilty" in names(response)
        error = "missing ]" if guilty else None
        events = stream.receive(DeltaRequest(type_url=ROUTE, nonce=response.nonce, error=error))
        blamed += [name for event in events if isinstance(event, Nacked) for name in event.resources]
        following = stream.send()
        if not following:
            break
        (response,) = following
        assert len(response.resources) == 1
    assert blamed == ["guilty"]
    assert stream.outstanding() == {ROUTE: frozenset({"guilty"})}


def test_what_was_refused_is_offered_once_more_when_it_is_time_and_stays_refused_meanwhile() -> None:
    """Each alone, so that what can be taken by now is; what is refused again waits for the next time."""
    stream = delta(plain(LISTENER, "good"), plain(LISTENER, "busy"), plain(LISTENER, "bad"))
    (response,) = say(stream, DeltaRequest(type_url=LISTENER))
    assert nack(stream, response, "Error adding/updating listener(s) busy: address in use bad: no") == ()
    stream.retry()
    (first,) = stream.send()
    assert names(first) == ["busy"]
    assert set(stream.refusals()[LISTENER]) == {"busy", "bad"}
    (second,) = ack(stream, first)
    assert names(second) == ["bad"]
    assert nack(stream, second, "bad: no") == ()
    assert set(stream.refusals()[LISTENER]) == {"bad"}
    assert stream.outstanding() == {LISTENER: frozenset({"bad"})}


def test_a_nack_blames_the_name_and_not_its_prefix() -> None:
    """Names may begin alike; of listeners the others of the response were applied."""
    stream = delta(plain(LISTENER, "in_1"), plain(LISTENER, "in_15"))
    (response,) = say(stream, DeltaRequest(type_url=LISTENER))
    nack(stream, response, "Error adding/updating listener(s) in_15: address in use")
    assert set(stream.refusals()[LISTENER]) == {"in_15"}
    assert stream.outstanding() == {LISTENER: frozenset({"in_15"})}


def test_a_stale_nonce_is_ignored() -> None:
    """A late refusal of an older response settles nothing."""
    stream = delta(plain(CLUSTER, "a"))
    (first,) = say(stream, DeltaRequest(type_url=CLUSTER))
    ack(stream, first)
    (second,) = publish(stream, plain(CLUSTER, "a", "2"))
    assert stream.receive(DeltaRequest(type_url=CLUSTER, nonce=first.nonce, error="late")) == ()
    assert stream.outstanding() == {CLUSTER: frozenset({"a"})}
    assert stream.receive(DeltaRequest(type_url=CLUSTER, nonce=second.nonce)) == (
        Acked(CLUSTER, {"a": "2"}, (), second.nonce),
    )


def test_a_stale_nonce_in_state_of_the_world_changes_no_subscription() -> None:
    """The client repeats its names once it has seen the newer response."""
    stream = state(plain(ROUTE, "a"), plain(ROUTE, "b"))
    (first,) = say(stream, StateRequest(type_url=ROUTE, names=("a",)))
    say(stream, StateRequest(type_url=ROUTE, names=("a",), version=first.version, nonce=first.nonce))
    (second,) = publish(stream, plain(ROUTE, "a", "2"), plain(ROUTE, "b"))
    late = StateRequest(type_url=ROUTE, names=("a", "b"), version=first.version, nonce=first.nonce)
    assert say(stream, late) == ()
    again = StateRequest(type_url=ROUTE, names=("a", "b"), version=second.version, nonce=second.nonce)
    (third,) = say(stream, again)
    assert names(third) == ["b"]


def test_reconnecting_with_what_one_has_gets_nothing_again() -> None:
    """`initial_resource_versions` counts as an ack of an earlier stream."""
    stream = delta(plain(CLUSTER, "a"), plain(ROUTE, "r"), plain(ROUTE, "new"))
    assert say(stream, DeltaRequest(type_url=CLUSTER, versions={"a": "1"})) == ()
    (response,) = say(stream, DeltaRequest(type_url=ROUTE, subscribe=("new", "r"), versions={"r": "1"}))
    assert names(response) == ["new"]


def test_reconnecting_in_state_of_the_world_gets_nothing_again() -> None:
    """The version is a digest of the content, so it survives a restart."""
    resources = (plain(CLUSTER, "a"), plain(ROUTE, "r"), plain(ROUTE, "s"))
    stream = state(*resources)
    (clusters,) = say(stream, StateRequest(type_url=CLUSTER))
    say(stream, StateRequest(type_url=CLUSTER, version=clusters.version, nonce=clusters.nonce))
    (routes,) = say(stream, StateRequest(type_url=ROUTE, names=("r", "s")))
    again = state(*resources)
    assert say(again, StateRequest(type_url=CLUSTER, version=clusters.version)) == ()
    assert say(again, StateRequest(type_url=ROUTE, names=("r", "s"), version=routes.version)) == ()
    assert again.outstanding() == {}


def test_reconnecting_after_a_change_gets_the_change_and_what_was_removed() -> None:
    """What the client names and we do not offer was removed meanwhile."""
    stream = delta(plain(CLUSTER, "a", "2"))
    (update,) = say(stream, DeltaRequest(type_url=CLUSTER, versions={"a": "1", "gone": "1"}))
    assert (names(update), update.removed) == (["a"], ())
    (removal,) = ack(stream, update)
    assert (names(removal), removal.removed) == ([], ("gone",))


def test_a_wildcard_and_a_name_together_are_each_served() -> None:
    """A name that does not exist yet is said not to, and served when it does."""
    stream = delta(plain(CLUSTER, "a"))
    (first,) = say(stream, DeltaRequest(type_url=CLUSTER, subscribe=("*", "later")))
    assert (names(first), first.removed) == (["a"], ("later",))
    ack(stream, first)
    (second,) = publish(stream, plain(CLUSTER, "a"), plain(CLUSTER, "later"))
    assert names(second) == ["later"]


def test_dropping_a_name_under_a_wildcard_says_what_becomes_of_it() -> None:
    """Envoy cannot know whether the wildcard still covers it."""
    stream = delta(plain(CLUSTER, "a"))
    (first,) = say(stream, DeltaRequest(type_url=CLUSTER, subscribe=("*", "a", "no")))
    ack(stream, first)
    (second,) = say(stream, DeltaRequest(type_url=CLUSTER, unsubscribe=("a", "no")))
    assert (names(second), second.removed) == (["a"], ("no",))
    assert ack(stream, second) == ()


def test_unsubscribing_from_the_wildcard_keeps_the_names() -> None:
    """Only what was named is served afterwards."""
    stream = delta(plain(CLUSTER, "a"), plain(CLUSTER, "b"))
    (first,) = say(stream, DeltaRequest(type_url=CLUSTER, subscribe=("*", "a")))
    ack(stream, first)
    say(stream, DeltaRequest(type_url=CLUSTER, unsubscribe=("*",)))
    (second,) = publish(stream, plain(CLUSTER, "a", "2"), plain(CLUSTER, "b", "2"))
    assert names(second) == ["a"]


def test_asking_again_for_a_name_is_answered_again() -> None:
    """The client may have dropped it in between."""
    stream = delta(plain(ROUTE, "r"))
    (first,) = say(stream, DeltaRequest(type_url=ROUTE, subscribe=("r",)))
    ack(stream, first)
    (second,) = say(stream, DeltaRequest(type_url=ROUTE, subscribe=("r",)))
    assert names(second) == ["r"]


def test_a_deleted_named_resource_is_said_once_and_comes_back() -> None:
    """Absence is told once, and forgotten when the resource exists again."""
    stream = delta(plain(ROUTE, "r"))
    (first,) = say(stream, DeltaRequest(type_url=ROUTE, subscribe=("r",)))
    ack(stream, first)
    (gone,) = publish(stream)
    assert gone.removed == ("r",)
    assert ack(stream, gone) == ()
    assert publish(stream) == ()
    (back,) = publish(stream, plain(ROUTE, "r"))
    assert names(back) == ["r"]


def test_types_leave_in_order_each_when_the_earlier_are_taken_and_removals_last() -> None:
    """Make before break, from clusters to routes, then the removals, referrers first."""
    old = [plain(url, "old") for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE)]
    new = [plain(url, "new") for url in (CLUSTER, ENDPOINT, LISTENER, ROUTE)]
    stream = delta(*old)
    requests = [DeltaRequest(type_url=url, subscribe=() if url in {CLUSTER, LISTENER} else ("old", "new"))
                for url in (ROUTE, LISTENER, ENDPOINT, CLUSTER)]  # fmt: skip
    waiting = list(say(stream, *requests))
    while waiting:
        waiting += ack(stream, waiting.pop(0))
    said: list[tuple[str, str]] = []
    waiting = list(publish(stream, *new))
    while waiting:
        response = waiting.pop(0)
        kind = response.type_url.rpartition(".")[2]
        said += [("+", kind)] * len(response.resources) + [("-", kind)] * len(response.removed)
        waiting += ack(stream, response)
    assert said == [
        ("+", "Cluster"),
        ("+", "ClusterLoadAssignment"),
        ("+", "Listener"),
        ("+", "RouteConfiguration"),
        ("-", "Listener"),
        ("-", "RouteConfiguration"),
        ("-", "Cluster"),
        ("-", "ClusterLoadAssignment"),
    ]


def test_a_route_waits_for_clusters_to_be_taken_and_their_endpoints_do_not() -> None:
    """Envoy acks clusters only when they are warm, for which it needs their endpoints."""
    stream = delta(plain(CLUSTER, "a"), plain(ENDPOINT, "a"), plain(SECRET, "s"), plain(ROUTE, "r"))
    (clusters,) = say(stream, DeltaRequest(type_url=CLUSTER), DeltaRequest(type_url=ROUTE, subscribe=("r",)))
    assert names(clusters) == ["a"]
    (endpoints,) = say(stream, DeltaRequest(type_url=ENDPOINT, subscribe=("a",)))
    (secrets,) = say(stream, DeltaRequest(type_url=SECRET, subscribe=("s",)))
    assert ack(stream, endpoints) == ()
    assert ack(stream, clusters) == ()
    (routes,) = ack(stream, secrets)
    assert names(routes) == ["r"]


def test_a_changed_cluster_gets_its_endpoints_again_so_that_it_warms() -> None:
    """A real Envoy waits for them although they are the same."""
    stream = delta(plain(CLUSTER, "a"), plain(ENDPOINT, "a"))
    clusters, endpoints = say(
        stream, DeltaRequest(type_url=CLUSTER), DeltaRequest(type_url=ENDPOINT, subscribe=("a",))
    )
    ack(stream, clusters)
    ack(stream, endpoints)
    again = publish(stream, plain(CLUSTER, "a", "2"), plain(ENDPOINT, "a"))
    assert [(one.type_url, names(one)) for one in again] == [(CLUSTER, ["a"]), (ENDPOINT, ["a"])]


def test_a_route_to_a_cluster_that_was_refused_does_not_replace_a_working_one() -> None:
    """The last good route keeps serving until the cluster is mended."""
    stream = delta(plain(CLUSTER, "a"), referrer(ROUTE, "r", "1", "a"))
    (clusters,) = say(stream, DeltaRequest(type_url=CLUSTER), DeltaRequest(type_url=ROUTE, subscribe=("r",)))
    (routes,) = ack(stream, clusters)
    ack(stream, routes)
    (added,) = publish(stream, plain(CLUSTER, "a"), plain(CLUSTER, "b"), referrer(ROUTE, "r", "2", "b"))
    assert nack(stream, added, "cluster b: no") == ()
    assert stream.outstanding() == {CLUSTER: frozenset({"b"}), ROUTE: frozenset({"r"})}
    (mended,) = publish(stream, plain(CLUSTER, "a"), plain(CLUSTER, "b", "2"), referrer(ROUTE, "r", "2", "b"))
    (routes,) = ack(stream, mended)
    assert names(routes) == ["r"]


def test_a_resource_that_is_removed_while_referred_to_goes_when_the_referrer_let_go() -> None:
    """The route moves first, the cluster goes after."""
    stream = delta(plain(CLUSTER, "a"), plain(CLUSTER, "b"), referrer(ROUTE, "r", "1", "a"))
    (clusters,) = say(stream, DeltaRequest(type_url=CLUSTER), DeltaRequest(type_url=ROUTE, subscribe=("r",)))
    (routes,) = ack(stream, clusters)
    ack(stream, routes)
    (routes,) = publish(stream, plain(CLUSTER, "b"), referrer(ROUTE, "r", "2", "b"))
    assert names(routes) == ["r"]
    (removal,) = ack(stream, routes)
    assert removal.removed == ("a",)


def test_in_state_of_the_world_a_removal_of_a_cluster_also_comes_last() -> None:
    """The set first holds old and new, and shrinks when the routes moved."""
    stream = state(plain(CLUSTER, "a"), referrer(ROUTE, "r", "1", "a"))
    (clusters,) = say(stream, StateRequest(type_url=CLUSTER), StateRequest(type_url=ROUTE, names=("r",)))
    (routes,) = say(stream, StateRequest(type_url=CLUSTER, version=clusters.version, nonce=clusters.nonce))
    say(stream, StateRequest(type_url=ROUTE, names=("r",), version=routes.version, nonce=routes.nonce))
    (both,) = publish(stream, plain(CLUSTER, "b"), referrer(ROUTE, "r", "2", "b"))
    assert names(both) == ["b", "a"]
    (routes,) = say(stream, StateRequest(type_url=CLUSTER, version=both.version, nonce=both.nonce))
    assert routes.type_url == ROUTE
    (last,) = say(stream, StateRequest(type_url=ROUTE, names=("r",), version=routes.version, nonce=routes.nonce))
    assert names(last) == ["b"]


def test_in_state_of_the_world_a_deleted_route_configuration_goes_unsaid() -> None:
    """The protocol has no words for it; when it comes back it is sent."""
    stream = state(plain(ROUTE, "r"), plain(ROUTE, "s"))
    (first,) = say(stream, StateRequest(type_url=ROUTE, names=("r", "s")))
    say(stream, StateRequest(type_url=ROUTE, names=("r", "s"), version=first.version, nonce=first.nonce))
    assert publish(stream, plain(ROUTE, "s")) == ()
    assert stream.outstanding() == {}
    (back,) = publish(stream, plain(ROUTE, "r"), plain(ROUTE, "s"))
    assert names(back) == ["r"]


def test_in_state_of_the_world_a_refused_cluster_is_left_as_it_was_when_another_changes() -> None:
    """The whole set holds its last good version, or the client would refuse the set again."""
    stream = state(plain(CLUSTER, "a"), plain(CLUSTER, "b"))
    (first,) = say(stream, StateRequest(type_url=CLUSTER))
    say(stream, StateRequest(type_url=CLUSTER, version=first.version, nonce=first.nonce))
    (second,) = publish(stream, plain(CLUSTER, "a", "2"), plain(CLUSTER, "b"))
    refusal = StateRequest(type_url=CLUSTER, version=first.version, nonce=second.nonce, error="cluster a: no")
    assert say(stream, refusal) == ()
    (third,) = publish(stream, plain(CLUSTER, "a", "2"), plain(CLUSTER, "b", "2"))
    assert [(one.name, one.version) for one in third.resources] == [("a", "1"), ("b", "2")]


def test_only_one_response_of_a_type_waits_for_a_slow_reader() -> None:
    """A reader that lags gets the newest, not all in between."""
    stream = delta(plain(CLUSTER, "a"))
    (first,) = say(stream, DeltaRequest(type_url=CLUSTER))
    for version in range(2, 100):
        assert publish(stream, plain(CLUSTER, "a", str(version))) == ()
    (last,) = ack(stream, first)
    assert [one.version for one in last.resources] == ["99"]


@st.composite
def meshes(draw: st.DrawFn, bad: bool) -> Snapshot:
    """A consistent snapshot: listeners name routes, routes name clusters, clusters have endpoints."""
    versions = st.sampled_from(["1", "2", "3", "4!"] if bad else ["1", "2", "3"])
    clusters = draw(st.sets(st.sampled_from(["ca", "cb", "cc"]), min_size=1))
    listeners = draw(st.sets(st.sampled_from(["la", "lb"])))
    made = [plain(CLUSTER, name, draw(versions)) for name in sorted(clusters)]
    made += [plain(ENDPOINT, name, draw(versions)) for name in sorted(clusters)]
    for name in sorted(listeners):
        target = draw(st.sampled_from(sorted(clusters)))
        made.append(referrer(LISTENER, name, draw(versions), f"r{name}"))
        version = draw(versions)
        made.append(referrer(ROUTE, f"r{name}", f"{target}{version}", target))
    return snapshot(*made)


MOVES = st.sampled_from(["deliver", "deliver", "hear", "hear", "publish", "reconnect", "retry"])


def _play(data: st.DataObject, *, incremental: bool, bad: bool) -> tuple[ModelEnvoy, Snapshot]:
    newest = data.draw(meshes(bad))
    client = ModelEnvoy(Stream(newest, delta=incremental), delta=incremental)
    client.connect()
    for move in data.draw(st.lists(MOVES, max_size=40)):
        if move == "deliver":
            client.deliver()
        elif move == "hear":
            client.hear()
        elif move == "publish":
            newest = data.draw(meshes(bad))
            client.stream.publish(newest)
            client.inbox.extend(client.stream.send())
        elif move == "retry":
            client.stream.retry()
            client.inbox.extend(client.stream.send())
        else:
            client.connect(Stream(newest, delta=incremental))
        if not bad:
            _nothing_dangles(client)
            _what_is_said_to_be_there_is_there(client, newest)
    while client.deliver() or client.hear():
        if not bad:
            _nothing_dangles(client)
            _what_is_said_to_be_there_is_there(client, newest)
    client.drain()
    return client, newest


def _nothing_dangles(client: ModelEnvoy) -> None:
    for listener in client.config[LISTENER].values():
        for name in mentioned(listener):
            route = client.config[ROUTE].get(name)
            if route is not None:
                assert set(mentioned(route)) <= set(client.config[CLUSTER]), "a route leads to no cluster"


def _what_is_said_to_be_there_is_there(client: ModelEnvoy, newest: Snapshot) -> None:
    """Nothing outstanding means that the client runs all that is offered, whatever else is still on its way.

    Of what it has besides from another stream, state of the world says nothing until it asks.
    """
    if client.stream.outstanding() == {}:
        for url, config in client.config.items():
            assert newest.of(url).items() <= config.items(), "it runs something else"


@pytest.mark.parametrize("incremental", [True, False])
def test_what_is_offered_again_while_something_else_is_on_its_way_is_not_there_yet(*, incremental: bool) -> None:
    """The client may take what is on its way at any moment, and has taken back nothing until it says so."""
    before = (plain(CLUSTER, "kept"), plain(CLUSTER, "gone"))
    between = (plain(CLUSTER, "kept", "2"), plain(CLUSTER, "new"))
    first, second = (snapshot(*some, *(plain(ENDPOINT, one.name) for one in some)) for some in (before, between))
    client = ModelEnvoy(Stream(first, delta=incremental), delta=incremental)
    client.connect()
    client.drain()
    for newest in (second, first):
        client.stream.publish(newest)
        client.inbox.extend(client.stream.send())
    assert {"kept", "new"} <= client.stream.outstanding()[CLUSTER]
    client.drain()
    assert client.config[CLUSTER] == {one.name: one for one in before}
    assert client.stream.outstanding() == {}


@pytest.mark.parametrize("incremental", [True, False])
@settings(max_examples=examples(50))
@given(data=st.data())
def test_after_any_schedule_the_client_has_the_newest_snapshot(incremental: bool, data: st.DataObject) -> None:
    """Level-triggered, for every order of messages, and no route ever leads to a missing cluster."""
    client, newest = _play(data, incremental=incremental, bad=False)
    for url, config in client.config.items():
        assert config == newest.of(url)
    assert client.stream.outstanding() == {}
    assert client.warming == set()


@pytest.mark.parametrize("incremental", [True, False])
@settings(max_examples=examples(50))
@given(data=st.data())
def test_after_any_schedule_with_nacks_only_what_was_refused_is_outstanding(
    incremental: bool, data: st.DataObject
) -> None:
    """Good resources arrive whatever else is refused."""
    client, newest = _play(data, incremental=incremental, bad=True)
    refused = {(url, name) for url, some in client.stream.refusals().items() for name in some}
    assert all(newest.of(url)[name].version.endswith("!") for url, name in refused)
    for url in (CLUSTER, LISTENER):
        for name, one in newest.of(url).items():
            if not one.version.endswith("!") and not _leans(one, refused):
                assert client.config[url].get(name) == one
    if not any(one.version.endswith("!") for some in newest.resources.values() for one in some.values()):
        assert client.stream.outstanding() == {}


def _leans(resource: EnvoyResource, refused: set[tuple[str, str]]) -> bool:
    return any(name.encode() in resource.body for _, name in refused)


def test_endpoints_that_arrive_after_their_cluster_went_are_not_kept() -> None:
    """A schedule that a long run found: publish, reconnect, publish twice, while nothing was heard."""
    one, two = [plain(CLUSTER, "cb"), plain(ENDPOINT, "cb")], [plain(CLUSTER, "ca"), plain(ENDPOINT, "ca")]
    client = ModelEnvoy(Stream(snapshot(*one), delta=False), delta=False)
    client.connect()
    client.deliver()
    client.hear()
    client.connect(Stream(snapshot(*two), delta=False))
    for _ in range(3):
        client.deliver()
    for newest in (snapshot(*one, *two), snapshot(*two)):
        client.stream.publish(newest)
        client.inbox.extend(client.stream.send())
    client.drain()
    assert {url: set(config) for url, config in client.config.items() if config} == {
        CLUSTER: {"ca"},
        ENDPOINT: {"ca"},
    }
    assert client.stream.outstanding() == {}


def test_one_that_connects_again_keeps_what_is_gone_until_its_routes_are_there() -> None:
    """It names its clusters before its routes, which may lead to a cluster that is gone until they are renewed."""
    stream = delta(plain(CLUSTER, "new"), plain(LISTENER, "l"), plain(ROUTE, "r", "2"))
    (made,) = say(stream, DeltaRequest(type_url=CLUSTER, versions={"old": "1"}))
    assert names(made) == ["new"]
    assert ack(stream, made) == ()
    assert say(stream, DeltaRequest(type_url=LISTENER, versions={"l": "1"})) == ()
    (route,) = say(stream, DeltaRequest(type_url=ROUTE, subscribe=("r",), versions={"r": "1"}))
    assert names(route) == ["r"]
    (removal,) = ack(stream, route)
    assert (removal.type_url, removal.removed) == (CLUSTER, ("old",))
