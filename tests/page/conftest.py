"""Fixtures of the page's tests; see page_music.py."""

import os
from pathlib import Path

import pytest
from page_music import CHROMIUM, CLIPS, CORPUS, FLAGS, PATIENCE_MS, Visit, serving, write_music


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.page)


@pytest.fixture(scope="session")
def music(tmp_path_factory):
    """Return a folder of music with its index."""
    from clamp3 import Clamp3
    from clamp3.embedding.passages import PassagePlan
    from clamp3.index.indexing import bring_up_to_date
    from clamp3.index.library import Library

    folder = tmp_path_factory.mktemp("page") / "music"
    write_music(folder)
    model = Clamp3.from_pretrained("mini", device="cpu")
    plan = PassagePlan(5, 5, 8, 8)
    with Library.create(folder / ".clamp3_index", model, store="sqlite", passages=plan) as library:
        changes = bring_up_to_date(library, model, [folder], n_workers=1)
    assert changes.embedded == len(CORPUS) + len(CLIPS) + 4 and not changes.failed
    return folder


@pytest.fixture(scope="session")
def address(script, music):
    """Return the address of the server."""
    with serving(script, music) as found:
        yield found


@pytest.fixture(scope="session")
def browser():
    """Return Chromium; CLAMP3_PAGE=1 (`make test-page`) says that it has to be there."""
    if not CHROMIUM:
        if os.environ.get("CLAMP3_PAGE"):
            pytest.fail("no chromium: apt-get install chromium")
        pytest.skip("needs chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split(), timeout=PATIENCE_MS)
        yield found
        found.close()


@pytest.fixture
def visit(browser, address):
    """Return a function that opens the page (theme, width, address after #) and checks it for errors at the end."""
    visits = []

    def open_page(path="", at=None, **context):
        visits.append(Visit(browser, at or address, path, **context))
        return visits[-1].page

    yield open_page
    for each in visits:
        each.context.close()
        assert each.faults == []
