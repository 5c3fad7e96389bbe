"""What people do on the page, by mouse and by keyboard, in both themes and on a phone."""

import base64
import io
import json
import re
import shutil

import pytest

pytest.importorskip("fastapi", reason="needs clamp3[server]")
sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[dev]'")

from page_music import CLIPS, CORPUS, serving  # noqa: E402

from clamp3.index.library import Library  # noqa: E402
from clamp3.metadata import captions  # noqa: E402

expect = sync_api.expect
N_PIECES = len(CORPUS) + len(CLIPS) + 4
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


def ask(page, words):
    page.locator("#words").fill(words)
    page.locator("#words").press("Enter")
    answered(page)


def answered(page):
    expect(page.locator("#status")).to_contain_text(re.compile("result"))
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")


def cards(page):
    return page.locator("#list > .card:not(.skeleton)")


def card(page, title):
    return page.locator("#list > .card", has_text=title).first


def test_words_filters_and_back(visit):
    page = visit()
    expect(page.get_by_role("heading", level=2, name="Find music")).to_be_visible()
    expect(cards(page)).to_have_count(N_PIECES)
    ask(page, "Maple Leaf Rag")
    expect(cards(page).first).to_contain_text("Maple Leaf Rag")
    expect(cards(page).first.locator(".score")).to_have_attribute("aria-label", re.compile(r"similarity -?0\.\d\d"))
    expect(cards(page).first.locator(".why")).to_contain_text("maple")
    ask(page, "mapel leaf rag")  # found though misspelt, and why
    expect(cards(page).first.locator(".why")).to_contain_text("In its name: leaf, maple, rag")
    expect(cards(page).first.locator(".title mark")).to_have_count(3)
    ask(page, "Maple Leaf Rag")
    page.get_by_role("button", name="MIDI").click()
    expect(cards(page)).to_have_count(3)
    assert "modality=midi" in page.url and "text=Maple" in page.url
    page.get_by_role("button", name="MIDI").click()
    page.get_by_text("Filters and more").click()
    page.get_by_label("Composer has").fill("chopin")
    page.get_by_label("Composer has").press("Enter")
    expect(cards(page)).to_have_count(1)
    page.get_by_label("Year, from").fill("3000")
    page.get_by_label("Year, from").press("Enter")
    expect(page.get_by_text("Nothing passes these filters.")).to_be_visible()
    page.get_by_role("button", name="Clear the filters").click()
    expect(cards(page)).to_have_count(N_PIECES)
    for n in (0, 1):
        page.go_back()
        expect(cards(page)).to_have_count(n)
    expect(page.get_by_label("Composer has")).to_have_value("chopin")
    page.reload()
    expect(cards(page)).to_have_count(1)
    expect(page.locator("#words")).to_have_value("Maple Leaf Rag")


def test_conditions_that_cannot_be_read_are_explained(visit):
    page = visit("#where=oops+%3D+1&text=waltz")
    expect(page.get_by_role("alert")).to_contain_text("oops")
    expect(page.get_by_role("button", name="Try again")).to_have_count(0)  # it would fail again
    page.get_by_text("Filters and more").click()
    page.get_by_label("Any condition").fill('modality = "midi"')
    page.get_by_label("Any condition").press("Enter")
    expect(cards(page)).to_have_count(3)
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_dropped_file_finds_its_like(visit, music):
    page = visit()
    data = base64.b64encode((music / "midi/up.mid").read_bytes()).decode()
    page.evaluate(
        """(data) => {
          const files = new DataTransfer();
          files.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], "<b>mine</b>.mid"));
          for (const type of ["dragenter", "dragover", "drop"]) {
            document.body.dispatchEvent(new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true }));
          }
        }""",
        data,
    )
    answered(page)
    expect(page.locator("#tray-body")).to_contain_text("<b>mine</b>.mid")
    expect(cards(page).first).to_contain_text("up.mid")
    page.locator("#file").set_input_files(music / "midi/down.mid")
    expect(page.locator("#tray-count")).to_have_text("2")
    page.get_by_role("slider", name="Weight of down.mid").press("Home")
    expect(page.locator("#tray-body .unlike")).to_contain_text("−2")
    page.get_by_role("button", name="Remove down.mid").click()
    expect(page.locator("#tray-count")).to_have_text("1")


def test_a_file_of_no_kind_is_refused_in_a_sentence_which_the_next_file_clears(visit, music):
    page = visit()
    alert = page.get_by_role("alert")
    page.locator("#file").set_input_files({"name": "paper.pdf", "mimeType": "", "buffer": b"%PDF"})
    expect(alert).to_contain_text("“paper.pdf”: files of type .pdf are not read here; scores")
    page.locator("#file").set_input_files(music / "midi/up.mid")
    expect(page.locator("#tray-body")).to_contain_text("up.mid")
    expect(alert).to_be_empty()


def test_a_picture_is_searched_by_the_words_that_describe_it(visit, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    data = io.BytesIO()
    image.new("RGB", (40, 30), "green").save(data, "JPEG")
    photo = {"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": data.getvalue()}
    page = visit()
    with monkeypatch.context() as without:
        without.setattr(captions, "find_spec", lambda name: None)  # pillow
        page.locator("#file").set_input_files(photo)
        expect(page.get_by_role("alert")).to_contain_text("need pillow: pip install 'clamp3[text]'.")
    monkeypatch.setattr(captions, "load_blip", lambda *_, **__: lambda images: ["people dancing a reel"])
    page.locator("#file").set_input_files(photo)
    expect(page.locator("#tray-body")).to_contain_text("photo.jpg: “people dancing a reel”")
    answered(page)
    expect(page.get_by_role("alert")).to_be_empty()


def test_new_files_are_looked_for_from_the_page(visit, music):
    added = music / "midi/added.mid"
    page = visit()
    expect(cards(page)).to_have_count(N_PIECES)
    shutil.copy(music / "midi/up.mid", added)
    (music / "broken.mid").write_bytes(b"MThd")
    try:
        page.get_by_role("button", name="Look for new files").click()
        done = page.locator("#update")
        expect(done.get_by_role("progressbar")).to_be_visible()
        page.locator("#words").fill("a reel")  # meanwhile questions are answered
        page.locator("#words").press("Enter")
        answered(page)
        expect(done).to_contain_text("The index is up to date. 1 file cannot be read")
        page.get_by_role("button", name="Close this message").click()
        expect(done).to_be_empty()
        expect(page.locator("#modalities")).to_contain_text("MIDI 4")
        page.locator("#home").click()
        expect(cards(page)).to_have_count(N_PIECES + 1)
    finally:
        added.unlink()
        (music / "broken.mid").unlink()
        with Library.open(music / ".clamp3_index") as library, library.lock():
            library.remove([added])


def test_an_update_that_fails_says_why(visit):
    page = visit()
    sent = ({"done": 1, "total": 3, "state": "running"}, {"state": "failed", "error": "the index is in use."})
    events = "".join(f"data: {json.dumps(each)}\n\n" for each in sent)
    page.route("**/jobs", lambda route: route.fulfill(json={"job": "x"}))
    page.route("**/jobs/x/events", lambda route: route.fulfill(body=events, content_type="text/event-stream"))
    page.get_by_role("button", name="Look for new files").click()
    expect(page.get_by_role("alert")).to_contain_text("The update failed: the index is in use.")
    expect(page.locator("#update")).to_be_empty()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_what_is_hummed_is_searched(visit):
    page = visit()
    hum = page.locator("#hum")
    hum.click()
    expect(hum).to_contain_text("Stop 0:02")
    hum.click()
    expect(page.locator("#tray-body")).to_contain_text("microphone.webm")
    answered(page)
    assert cards(page).count() > 3


def test_a_recording_plays_and_is_sought_in_by_ranges(visit):
    page = visit("#modality=audio")
    statuses = []
    page.on("response", lambda response: statuses.append(response.status) if response.url.endswith("/media") else None)
    cards(page).first.get_by_role("button", name=re.compile("^Play")).click()
    time = page.locator("#player .time")
    expect(time).to_have_text(re.compile(r"^0:0[1-9] / 0:\d\d"))
    expect(cards(page).first.get_by_role("button", name=re.compile("^Pause"))).to_be_visible()
    page.get_by_role("slider", name="Position").press("End")
    expect(page.locator("#player").get_by_role("button", name="Play", exact=True)).to_be_visible()
    page.get_by_role("button", name="Stop and close the player").click()
    expect(page.locator("#player")).to_be_hidden()
    assert 206 in statuses


def test_what_is_typed_while_the_page_starts_stays(visit):
    page, held = visit(), []
    page.route("**/info", lambda route: held.append(route))
    page.reload()
    page.locator("#words").fill("Maple Leaf Rag")
    while not held:
        page.wait_for_timeout(20)
    held[0].continue_()
    expect(page.locator("#status")).to_contain_text("pieces")
    expect(page.locator("#words")).to_have_value("Maple Leaf Rag")


def test_a_score_is_engraved_and_played(visit):
    page = visit()
    ask(page, "Maple Leaf Rag")
    rag = cards(page).first
    rag.locator(".title").click()
    image = rag.get_by_role("img", name="The first bars of")
    expect(image).to_be_visible()
    assert image.evaluate("e => e.naturalWidth") > 0
    expect(rag.locator("canvas.roll")).to_be_visible()
    rag.get_by_role("button", name=re.compile("^Play ")).click()
    expect(page.locator("#player .time")).to_have_text(re.compile(r"^0:0[1-9] / [12]:\d\d"))
    width = rag.locator("canvas.roll").evaluate("e => e.clientWidth")
    rag.locator("canvas.roll").click(position={"x": width * 0.75, "y": 30})
    expect(page.locator("#player .time")).to_have_text(re.compile(r"^[1-9]:\d\d / "))


def test_a_passage_says_why_and_plays_from_there(visit, address):
    page = visit("#text=a+lively+reel&passages=1&modality=score")
    answered(page)
    found = card(page, "Maple Leaf Rag")
    expect(found.locator(".why")).to_contain_text(re.compile(r"Most alike: bars \d+–\d+"))
    first_bar = int(re.search(r"bars (\d+)", found.locator(".why").inner_text())[1])
    bars = page.request.get(f"{address}items/{found.get_attribute('data-id')}/notes").json()["bars"]
    assert bars == sorted(bars) and len(bars) > 80
    found.get_by_role("button", name="Play from there").click()
    position = page.get_by_role("slider", name="Position")
    expect(position).not_to_have_attribute("aria-valuetext", re.compile("of 0:00"))
    assert float(position.input_value()) >= round(bars[first_bar - 1], 1) - 0.1
    found.get_by_role("button", name="More like this passage").click()
    expect(page.locator("#tray-body")).to_contain_text(re.compile(r"Maple Leaf Rag bars \d+–\d+"))
    answered(page)
    expect(card(page, "Maple Leaf Rag")).to_have_count(0)


def test_a_lasso_on_the_map_chooses_pieces(visit):
    page = visit()
    page.get_by_role("tab", name="Map").click()
    canvas = page.locator("#canvas")
    expect(canvas).to_be_visible()
    canvas.scroll_into_view_if_needed()
    page.get_by_role("button", name="Draw a line around").click()
    box = canvas.bounding_box()
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)]
    for n, (x, y) in enumerate(corners):
        page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y, steps=4)
        if n == 0:
            page.mouse.down()
    page.mouse.up()
    expect(page.locator("#map-chosen")).to_contain_text(f"{N_PIECES} pieces chosen")
    expect(page.locator("#map-list .card")).to_have_count(N_PIECES)
    # By keys: to a piece, one more, and the results are only these.
    page.get_by_role("button", name="Let go").click()
    canvas.focus()
    for key in ("ArrowRight", "Space", "ArrowLeft", "Space"):
        page.keyboard.press(key)
    expect(page.locator("#map-chosen")).to_contain_text("2 pieces chosen")
    page.get_by_role("button", name="Only these as results").click()
    expect(cards(page)).to_have_count(2)
    page.get_by_role("button", name="All again").click()
    expect(cards(page)).to_have_count(N_PIECES)


def test_playlists_are_made_ordered_and_saved(visit):
    page = visit("#modality=midi")
    expect(cards(page)).to_have_count(3)
    for n in (0, 1):
        cards(page).nth(n).get_by_role("button", name=re.compile("to the playlist")).click()
    rows = page.locator("#playlist-body li")
    expect(rows).to_have_count(2)
    first = rows.first.inner_text()
    rows.first.get_by_role("button", name=re.compile("^Move .* down")).click()
    expect(rows.nth(1)).to_have_text(first)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as M3U8").click()
    lines = saved.value.path().read_text().splitlines()
    assert lines[0] == "#EXTM3U" and sum(not line.startswith("#") for line in lines) == 2
    page.get_by_role("button", name="Play all").click()
    expect(page.get_by_role("button", name="Next piece")).to_be_visible()
    page.get_by_role("button", name="Next piece").click()
    expect(page.locator("#playing")).to_have_text(first)
    # A path between two pieces of the selection.
    page.get_by_role("button", name="MIDI").click()
    expect(cards(page)).to_have_count(N_PIECES)
    for title in ("Maple Leaf Rag", "Acacia"):
        card(page, title).get_by_role("button", name=re.compile("to the selection$")).click()
        answered(page)
    page.get_by_label("Pieces in the playlist").select_option("5")
    page.get_by_role("button", name="Path between the two").click()
    expect(rows).to_have_count(5)
    expect(rows.first).to_contain_text("Maple Leaf Rag")


def test_everything_by_keyboard(visit):
    page = visit()
    expect(cards(page)).to_have_count(N_PIECES)
    keys = page.keyboard
    keys.press("/")
    keys.type("Maple Leaf Rag")
    keys.press("Enter")
    answered(page)
    keys.press("ArrowDown")
    expect(cards(page).first.locator(".title")).to_be_focused()
    keys.press("j")
    expect(cards(page).nth(1).locator(".title")).to_be_focused()
    keys.press("k")
    keys.press("Enter")
    expect(cards(page).first.locator(".details img")).to_be_visible()
    keys.press("p")
    expect(page.locator("#player .time")).to_have_text(re.compile(r"^0:0[1-9]"))
    keys.press("p")
    expect(page.locator("#player").get_by_role("button", name="Play", exact=True)).to_be_visible()
    keys.press("Escape")
    expect(page.locator("#player")).to_be_hidden()
    keys.press("a")
    expect(page.locator("#playlist-count")).to_have_text("1")
    keys.press("+")
    expect(page.locator("#tray-count")).to_have_text("1")
    answered(page)
    expect(cards(page).first.locator(".title")).to_be_focused()  # the list is another, the place the same
    keys.press("-")
    expect(page.locator("#tray-body .unlike")).to_have_count(1)
    answered(page)
    keys.press("m")
    expect(page.locator("#tray-count")).to_have_text("1")
    answered(page)
    keys.press("t")
    keys.press("Tab")
    expect(page.get_by_role("slider", name=re.compile("^Weight of"))).to_be_focused()
    keys.press("ArrowLeft")
    expect(page.locator("#tray-body output")).to_have_text("+0.75")
    expect(page.get_by_role("slider", name=re.compile("^Weight of"))).to_be_focused()
    keys.press("l")
    expect(page.locator("#playlist > summary")).to_be_focused()
    keys.press("v")
    expect(page.get_by_role("tab", name="Map")).to_be_focused()
    keys.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Results")).to_be_focused()
    keys.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("more like it")
    page.get_by_label("Single keys work").uncheck()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.locator("#results").focus()
    keys.press("v")  # off now
    expect(page.locator("#map")).to_be_hidden()


def test_titles_are_text(visit):
    page = visit("#text=img+script")
    answered(page)
    evil = card(page, "<img src=x onerror")
    expect(evil.locator(".title")).to_contain_text("<script>window.pwned=1</script>")
    evil.locator(".title").click()
    evil.get_by_role("button", name=re.compile("to the selection as unlike$")).click()
    page.get_by_role("tab", name="Map").click()
    expect(page.locator("#canvas")).to_be_visible()
    assert page.evaluate("window.pwned") is None
    assert "\x1b" not in page.content()
    assert page.locator("img[src=x], #list script").count() == 0


def test_a_token_is_asked_for_and_used_for_media_too(visit, script, music):
    with serving(script, music, token="open sesame") as address:
        page = visit("#modality=audio", at=address)
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("token")
        page.get_by_role("textbox", name="Token").fill("wrong")
        page.get_by_role("button", name="Go on").click()
        expect(dialog).to_contain_text("another one")
        page.get_by_role("textbox", name="Token").fill("open sesame")
        page.get_by_role("button", name="Go on").click()
        expect(cards(page)).to_have_count(len(CLIPS))
        cards(page).first.get_by_role("button", name=re.compile("^Play")).click()
        expect(page.locator("#player .time")).to_have_text(re.compile(r"^0:0[1-9] / 0:\d\d"))


def test_a_shared_address_names_its_piece_and_unknown_pieces_are_explained(visit, address):
    page = visit("#modality=midi")
    cards(page).first.get_by_role("button", name=re.compile("^More like")).click()
    answered(page)
    shared = visit(page.url.removeprefix(address))
    expect(shared.locator("#tray-body .label")).to_have_text(page.locator("#tray-body .label").inner_text())
    broken = visit("#part=item:1::bm8")
    expect(broken.get_by_role("alert")).to_contain_text("piece")


def test_a_server_that_is_gone_is_said_and_asked_again(visit):
    page = visit()
    expect(cards(page)).to_have_count(N_PIECES)
    page.route("**/search", lambda route: route.abort())
    page.locator("#words").fill("waltz")
    page.locator("#words").press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    answered(page)
    expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize("screen", [{}, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_stands_in_the_way_of_anyone(visit, theme, screen):
    axe_module = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
    page = visit(color_scheme=theme, **screen)

    def check(what):
        found = axe_module.Axe().run(page)
        assert found.violations_count == 0, f"{what}\n{found.generate_report()}"
        wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1], f"{what} scrolls sideways"

    expect(cards(page)).to_have_count(N_PIECES)
    check("first sight")
    ask(page, "Maple Leaf Rag")
    page.get_by_text("Filters and more").click()
    cards(page).first.locator(".title").click()
    expect(cards(page).first.locator(".details img")).to_be_visible()
    expect(cards(page).first.locator("canvas.roll")).to_be_visible()
    cards(page).first.get_by_role("button", name=re.compile("^Play ")).click()
    cards(page).first.get_by_role("button", name=re.compile("to the playlist$")).click()
    cards(page).nth(1).get_by_role("button", name=re.compile("as unlike$")).click()
    answered(page)
    for panel in ("#tray", "#playlist"):
        page.locator(panel).evaluate("e => { e.open = true; }")
    check("results")
    page.get_by_role("tab", name="Map").click()
    expect(page.locator("#canvas")).to_be_visible()
    page.get_by_role("button", name="Choose what is in view").click()
    expect(page.locator("#map-list .card")).to_have_count(N_PIECES)
    check("map")
    page.get_by_role("button", name="Help and keys").click()
    check("help")


def test_the_theme_can_be_chosen_and_stays(visit):
    page = visit(color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    button = page.get_by_role("button", name=re.compile("^Theme"))
    button.click()
    expect(button).to_have_attribute("aria-label", "Theme: light")
    button.click()
    expect(button).to_have_attribute("aria-label", "Theme: dark")
    dark = page.evaluate(paper)
    page.reload()
    expect(button).to_have_attribute("aria-label", "Theme: dark")
    assert page.evaluate(paper) == dark != light
