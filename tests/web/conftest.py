"""Fixtures of the tests in a browser: the system's Chromium, a page that must stay free of errors, and axe.

Where no Chromium is, these tests are skipped and say so. One browser serves all tests of a worker, and one context all
that need no other: a process of Chromium's that begins anew for each page takes as long as the test. The page keeps
nothing in the browser, so that a page of its own is all that a test needs.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from support.page_api import PageApi
from support.page_site import Site, site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_TIMEOUT_MS = 15_000  # of one expectation; a shared machine may stall
DESK, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


def find_chromium() -> str | None:
    """Return the path of a Chromium: the one that IMGSEARCH_CHROMIUM names, else one on the PATH."""
    named = os.environ.get("IMGSEARCH_CHROMIUM")
    return named if named else next((path for name in _NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start the system's Chromium once; nothing is downloaded."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium found: install it (Debian: apt install chromium) or set IMGSEARCH_CHROMIUM")
    sync_api.expect.set_options(timeout=_TIMEOUT_MS)
    arguments = ["--disable-gpu", "--disable-dev-shm-usage"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium does not start as root with it
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=arguments)
        yield started
        started.close()


@dataclass
class Trouble:
    """What went wrong in a page: errors on its console, exceptions, violations of its security policy."""

    found: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """Expect errors that a regular expression finds: a server that is stopped makes some."""
        self.allowed.append(pattern)

    def unexpected(self) -> list[str]:
        """Return the errors that no pattern allows."""
        return [one for one in self.found if not any(re.search(pattern, one) for pattern in self.allowed)]

    def watch(self, page: Page) -> None:
        """Note all errors of a page."""
        page.on(
            "console",
            lambda message: (
                self.found.append(f"console: {message.text}") if message.type == "error" else None
            ),
        )
        page.on("pageerror", lambda error: self.found.append(f"exception: {error}"))
        page.expose_function("imgsearchViolated", lambda text: self.found.append(f"policy: {text}"))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => imgsearchViolated("
            "`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`))"
        )


@pytest.fixture
def trouble() -> Trouble:
    """Collect what goes wrong in the test's page."""
    return Trouble()


@pytest.fixture
def api() -> PageApi:
    """Answer the page's requests with drawn images."""
    return PageApi()


@contextmanager
def _shared(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """Open a context of a desk's size for many tests, with a page that stays: Chromium's process for it stays, too."""
    made = browser.new_context(viewport=DESK, reduced_motion="reduce", **options)
    made.set_default_timeout(_TIMEOUT_MS)
    stays = made.new_page()
    stays.route("**", lambda route: route.fulfill(body="", content_type="text/html"))
    stays.goto(PageApi().base)
    yield made
    made.close()


@contextmanager
def _page_of(context: BrowserContext) -> Iterator[Page]:
    """Open a page; it is closed at the end, as is what it has opened, and no cookie is left."""
    there, cookies = list(context.pages), context.cookies()
    yield context.new_page()
    for page in context.pages:
        if page not in there:
            page.close()
    context.clear_cookies()
    context.add_cookies(cookies)  # type: ignore[arg-type]  # as they were read


@pytest.fixture(scope="session")
def _desk(browser: Browser) -> Iterator[BrowserContext]:
    with _shared(browser, locale="en-GB") as made:
        made.grant_permissions(["clipboard-read", "clipboard-write"])
        yield made


@pytest.fixture(scope="session")
def _lax(browser: Browser) -> Iterator[BrowserContext]:
    with _shared(browser, bypass_csp=True) as made:
        yield made


@pytest.fixture
def page(_desk: BrowserContext, api: PageApi, trouble: Trouble) -> Iterator[Page]:
    """Open a page that fails the test on an error in it."""
    with _page_of(_desk) as made:
        trouble.watch(made)
        api.serve(made)
        yield made
    assert trouble.unexpected() == []


@dataclass
class App:
    """The page of imgsearch in a browser's page."""

    page: Page
    base: str

    def open(self, query: str = "") -> Page:
        """Open it at an address's query string."""
        self.page.goto(self.base + query)
        return self.page


@pytest.fixture
def app(page: Page, api: PageApi) -> App:
    """Return the page of imgsearch, not yet opened."""
    return App(page, api.base)


class Axe:
    """axe-core in a page whose context lets its script past the page's policy."""

    def __init__(self, page: Page, api: PageApi) -> None:
        self._page, self._api = page, api

    def open(self, query: str = "", *, viewport: Any = DESK, color_scheme: Any = None) -> Page:
        """Open the page at an address's query string, in a window of another size or by another scheme."""
        self._page.set_viewport_size(viewport)
        self._page.emulate_media(color_scheme=color_scheme)
        self._api.serve(self._page)
        self._page.goto(self._api.base + query)
        return self._page

    def serious(self, page: Page) -> list[str]:
        """Return what is serious or critical on a page: rule, help and the first elements."""
        from axe_playwright_python.sync_playwright import Axe as Script

        found = Script().run(page).response["violations"]
        return [
            f"{one['impact']} {one['id']}: {one['help']}: "
            + "; ".join(node["html"][:160] for node in one["nodes"][:3])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]


@pytest.fixture
def axe(_lax: BrowserContext, api: PageApi) -> Iterator[Axe]:
    """Return axe-core, which looks for what keeps people out of the page."""
    pytest.importorskip("axe_playwright_python", reason="the package axe-playwright-python is not installed")
    with _page_of(_lax) as page:
        yield Axe(page, api)


@pytest.fixture(scope="session")
def served(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the real server for drawn images, once; its one-time link has been opened."""
    with site(tmp_path_factory.mktemp("site")) as found:
        context = browser.new_context()
        found.enter(context)
        context.close()
        yield found


@pytest.fixture(scope="session")
def _entered(browser: Browser, served: Site) -> Iterator[BrowserContext]:
    with _shared(browser, storage_state=served.state) as made:
        yield made


@pytest.fixture
def live(_entered: BrowserContext, served: Site, trouble: Trouble) -> Iterator[App]:
    """Return the page of the real server, not yet opened; an error in it fails the test."""
    with _page_of(_entered) as page:
        trouble.watch(page)
        yield App(page, served.base)
    assert trouble.unexpected() == []
