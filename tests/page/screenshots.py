"""Take the pictures of docs/page.md: python tests/page/screenshots.py DEMO_FOLDER docs/pictures

The folder gets pieces of music21's corpus, MIDI made of some and the clips of examples/, unless it has an index.
"""

import importlib.util
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from page_music import CHROMIUM, FLAGS, ROOT, serving

CORPUS = ("bach/bwv*.mxl", "joplin/*", "chopin/*", "schumann_clara/*.mxl", "ryansMammoth/*.abc", "palestrina/Kyrie*")
PERFORMED = ("bach/bwv4.8.mxl", "bach/bwv17.7.mxl", "joplin/maple_leaf_rag.mxl", "schumann_clara/polonaise_op1n2.mxl")
QUESTION = "a lively reel for dancing"


def load(relative):
    spec = importlib.util.spec_from_file_location("script", ROOT / relative)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_demo(folder):
    from music21 import converter, corpus

    source = Path(corpus.getWork("joplin/maple_leaf_rag")).parents[1]
    for pattern in CORPUS:
        for path in sorted(source.glob(pattern))[:24]:
            (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path.parent.name)
    (folder / "midi").mkdir()
    for name in PERFORMED:
        converter.parse(source / name).write("midi", folder / "midi" / f"{Path(name).stem}.mid")
    shutil.copytree(ROOT / "examples/clips", folder / "recordings")
    load("retrieval/index.py").main(["add", str(folder), "--passages"])


def take(browser, address, out):
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)

    def page_of(path, **context):
        page = browser.new_context(reduced_motion="reduce", **context).new_page()
        page.goto(address + "page/#" + path)
        expect(page.locator("#status")).to_contain_text("result")
        return page

    words = "text=" + QUESTION.replace(" ", "+")
    wide = {"viewport": {"width": 1200, "height": 800}}
    page_of(words, **wide).screenshot(path=out / "page_search.png")
    page = page_of("text=Maple+Leaf+Rag&top=10", color_scheme="dark", **wide)
    rag = page.locator("#list > .card.score").first
    rag.locator(".title").click()
    expect(rag.locator(".details img")).to_be_visible()
    expect(rag.locator("canvas.roll")).to_be_visible()
    rag.get_by_role("button", name=re.compile("^Play")).click()
    expect(page.locator("#player .time")).to_have_text(re.compile("^0:0[5-9]"))
    page.screenshot(path=out / "page_score.png")
    page = page_of(words + "&view=map", **wide)
    canvas = page.locator("#canvas")
    expect(canvas).to_be_visible()
    canvas.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.screenshot(path=out / "page_map.png")
    phone = page_of(words, viewport={"width": 375, "height": 760}, is_mobile=True, has_touch=True)
    phone.locator("#list .play").first.click()
    expect(phone.locator("#player .time")).to_have_text(re.compile("^0:0[2-9]"))
    phone.screenshot(path=out / "page_phone.png")


def main(folder, out):
    from playwright.sync_api import sync_playwright

    if not (folder / ".clamp3_index").exists():
        write_demo(folder)
    with serving(load, folder, map_method="umap") as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        take(browser, address, out)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
