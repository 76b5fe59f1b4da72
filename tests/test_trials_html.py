"""The page of a test run: whole in a real browser, sound whatever names are in it, and of a bounded size."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from meshwright.trials.judging import Mismatch
from meshwright.views import trials_html, trials_text
from meshwright.views.markup import element
from meshwright.views.trials_html_test import anchor
from reports import EVIL, call, hostile, large, report, span, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from playwright.async_api import Browser, Page

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")


class Parsed(HTMLParser):
    """What a page has: tags with attributes, text, and what is inside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.own: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep it."""
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        """Leave it."""
        del tag
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Keep it."""
        (self.own if self._inside in {"script", "style"} else self.words).append(data)


def test_no_name_becomes_markup() -> None:
    """Nor an attribute, nor an address; the page's policy names exactly its own style and script."""
    parsed = Parsed(trials_html.render(hostile()))
    tags = [tag for tag, _ in parsed.tags]
    assert (tags.count("script"), tags.count("style"), tags.count("img")) == (1, 1, 0)
    names = {name for _, attributes in parsed.tags for name in attributes}
    assert not [name for name in names if name.startswith("on") or name == "style"]
    addresses = [attributes["href"] or "" for _, attributes in parsed.tags if "href" in attributes]
    assert {one[0] for one in addresses if one != "data:,"} == {"#"}
    assert not [attributes for _, attributes in parsed.tags if "src" in attributes]
    shown = "".join(parsed.words)
    assert "<img src=x onerror=alert(1)>" in shown
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e\uffff]", shown)
    (policy,) = [attributes["content"] or "" for _, attributes in parsed.tags if "http-equiv" in attributes]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in parsed.own]
    assert re.findall(r"sha256-([^']+)", policy) == digests
    assert policy.startswith("default-src 'none'; ")


def test_elements_escape_what_they_are_given() -> None:
    """Text, numbers, lists of them, and values of attributes."""
    made = element("a", "<b>", 1.5, [element("i", "&"), None], class_='"x"', aria_label="'", hidden=True, open=False)
    assert made == '<a class="&quot;x&quot;" aria-label="&#x27;" hidden>&lt;b&gt;1.5<i>&amp;</i></a>'


def test_a_page_is_of_a_bounded_size_and_says_what_is_left_out() -> None:
    """However many spans and lines of logs there are."""
    page = trials_html.render(large())
    assert len(page) < 4_000_000
    for left in ("263 more rows are in the JSON report", "271 more lines", "4 more calls were made"):
        assert left in page


def test_every_policy_is_listed_whether_a_test_showed_it_or_not() -> None:
    """With its object, field, place and reason, below a heading that the page's links lead to."""
    parsed = Parsed(trials_html.render(report(())))
    assert "#policies" in [attributes.get("href") for _, attributes in parsed.tags]
    assert "policies" in [attributes.get("id") for _, attributes in parsed.tags]
    shown = " ".join(parsed.words)
    assert "1 of 2 shown" in shown
    listed = shown.partition(" Limits, retries, health checks, pools and the like")[2]
    assert re.search(
        r"No test that passed showed: 1 .* ✗ missing limited.* spec\.timeout.* Shown: 1 .* ✓ covered tried", listed
    )


def test_a_backend_that_nobody_can_call_is_told_with_the_node_and_the_reason() -> None:
    """Below the graph, and in the text for terminals."""
    told = report((), " (x)")
    shown = " ".join(Parsed(trials_html.render(told)).words)
    assert "Backends that no test can call: calling (x) : no (x)" in shown
    text = trials_text.render(told, colour=False)
    assert "Backends that no test can call:\n  calling (x) spec.backends (x) (no (x))\n" in text


def test_an_anchor_stays_the_same_and_is_of_one_test() -> None:
    """It is made of the name alone."""
    names = ["a b", "a-b", "A B", "", EVIL, "x" * 500, "x" * 501]
    anchors = [anchor(told(name)) for name in names]
    assert len(set(anchors)) == len(names)
    assert anchors == [anchor(told(name, "failed")) for name in names]
    assert all(re.fullmatch(r"test-[a-z0-9-]{6,60}", one) for one in anchors)


def test_the_hop_is_marked_that_sent_a_call_astray() -> None:
    """Not the last that decided something: the one that called who should not have been called."""
    spans = (
        span("web", route="all"),
        span("orders", "web"),
        replace(span("orders", route="new"), id="first", parent="orders"),
        span("cart", "first"),
        replace(span("orders", route="other"), id="second", parent="orders"),
        span("stock", "second"),
    )
    seen = replace(call(), status=200, path=("web", "orders", "cart", "stock"), spans=spans)
    wrong = Mismatch(
        what="path", expected="web → orders → basket → stock", happened="web → orders → cart → stock", calls=(0,)
    )
    page = trials_html.render(report((replace(told("astray", "failed", seen=(seen,)), mismatches=(wrong,)),)))
    (marked,) = re.findall(r'<tr class="wrong"><th scope="row" class="depth\d">(?:(?!</tr>).)*', page)
    assert "decided here" in marked
    assert "route new" in marked


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is on this machine: apt-get install chromium-headless-shell")
    driver = pytest.importorskip("playwright.async_api", reason="playwright, which drives browsers, is not installed")
    async with driver.async_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        started = await playwright.chromium.launch(executable_path=found, args=options, timeout=100_000)
        yield started
        await started.close()


async def opened(browser: Browser, page: Path, anchored: str = "", **options: Any) -> tuple[Page, list[str]]:
    """A page in a tab of its own, and what it complains about or asks for from then on."""
    heard: list[str] = []
    context = await browser.new_context(**options)
    context.set_default_timeout(60_000)
    tab = await context.new_page()
    tab.on("console", lambda message: heard.append(message.text))
    tab.on("pageerror", lambda error: heard.append(str(error)))
    tab.on("dialog", lambda dialog: heard.append(dialog.message))
    tab.on("request", lambda request: heard.append(request.url) if request.url != page.as_uri() else None)
    await tab.goto(f"{page.as_uri()}{anchored}")
    return tab, heard


def visible(tests: list[str]) -> Iterator[str]:
    """The first word of each name."""
    return (name.split("<")[0] for name in tests)


@pytest.mark.timeout(240)
async def test_a_browser_shows_the_page_and_runs_nothing_else(browser: Browser, tmp_path: Path) -> None:
    """Light, dark, narrow, printed; the first failure is open, its failing hop marked; search, keys, links work."""
    page, run = tmp_path / "page.html", hostile()
    page.write_text(trials_html.render(run), encoding="utf-8")
    tab, heard = await opened(browser, page, color_scheme="dark", viewport={"width": 1280, "height": 900})
    assert (await tab.title()).startswith("1 failed, 1 could not be run of 5 tests")
    assert await tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
    unfolded = tab.locator("details.test[open]")
    assert await unfolded.count() == 1
    assert (await unfolded.locator("summary .name").first.inner_text()).startswith("fails</script>")
    marked = unfolded.locator("tr.wrong", has_text="failing hop")
    assert await marked.count() == 1
    assert (await marked.inner_text()).startswith("└ cart</script>")
    bar = await marked.locator("rect").bounding_box()
    assert bar is not None
    assert bar["width"] > 50
    await unfolded.get_by_text("What Envoys counted").click()
    assert (await unfolded.get_by_role("row", name="upstream_rq_5xx").inner_text()).endswith("+3")
    assert await tab.locator("#graph .untested").count() == 3
    await tab.keyboard.press("/")
    await tab.keyboard.type("PASSES last")
    names = tab.locator("details.test:not([hidden]) > summary .name")
    assert list(visible(await names.all_inner_texts())) == ["passes at last"]
    assert await tab.locator("#shown").inner_text() == "1 of 5 shown"
    await tab.keyboard.press("Escape")
    await tab.locator("input[value=passed]").uncheck()
    assert list(visible(await names.all_inner_texts())) == ["fails", "breaks", "is skipped"]
    await tab.evaluate(f"location.hash = '{anchor(run.tests[0])}'")
    assert list(visible(await unfolded.locator("summary .name").all_inner_texts())) == ["fails", "passes"]
    await tab.emulate_media(color_scheme="light")
    assert await tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    await tab.set_viewport_size({"width": 390, "height": 800})
    assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "only parts scroll sideways"
    assert len(await tab.pdf()) > 10_000
    assert heard == []


@pytest.mark.timeout(240)
async def test_the_page_can_be_read_without_scripts(browser: Browser, tmp_path: Path) -> None:
    """Every test is there to unfold; a link to one that failed shows it; what needs a script is not shown."""
    page = tmp_path / "page.html"
    tests = (told("passes", seen=(call(),)), told("fails", "failed", seen=(call(),)))
    page.write_text(trials_html.render(report(tests)), encoding="utf-8")
    link = f"#{anchor(tests[1])}"
    tab, heard = await opened(browser, page, link, java_script_enabled=False)
    assert await tab.locator(".filter").is_hidden()
    assert await tab.get_by_text("meshwright test --only 'fails'").is_visible()
    assert await tab.get_by_text("cart: GET / 503").first.is_visible()
    await tab.locator("details.test.passed > summary").click()
    assert await tab.get_by_text("meshwright test --only 'passes'").is_visible()
    assert heard == []
