"""The server: every address, what it refuses, and that no path of this computer is in any answer."""

import base64
import io
import json
import os
import shutil
import threading
import time
from xml.etree.ElementTree import fromstring

import pytest

pytest.importorskip("fastapi")

from server_music import AIR, KESH, client_of, write_library, write_notes

from clamp3.errors import WeightsError
from clamp3.metadata import captions
from clamp3.server.errors import RefusedError
from clamp3.server.lanes import Batches, Lane
from clamp3.server.pictures import Pictures
from clamp3.server.rows import client_id
from clamp3.server.vectors import Uploads


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    folder = tmp_path_factory.mktemp("my music")
    write_library(folder)
    return folder


@pytest.fixture(scope="module")
def client(music):
    with client_of(music / ".clamp3_index") as client:
        answer = client.send

        def send(request, **how):
            response = answer(request, **how)
            text = response.text if "json" in response.headers.get("content-type", "") else str(response.headers)
            assert str(music.parent) not in text and os.path.expanduser("~/") not in text
            return response

        client.send = send
        yield client


def ids(client):
    return {item["name"]: item["id"] for item in client.get("/items").json()["items"]}


def hits(response):
    assert response.status_code == 200, response.text
    return [hit["name"] for hit in response.json()["hits"]]


def refused(response, status):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert list(response.json()) == ["error"] and error.endswith(".") and "\n" not in error
    return error


def ask(client, *parts, **how):
    return client.post("/search", json={"parts": list(parts), **how})


def test_a_question_gets_pieces_with_their_facts(client):
    response = ask(client, {"text": "the kesh"}, top_k=2)
    first = response.json()["hits"][0]
    assert first["place"] == 1 and first["name"] == "kesh.abc" and first["title"] == "The Kesh"
    assert (first["key"], first["metre"], first["composer"]) == ("G major", "6/8", "Trad.")
    assert first["has"] == {"media": False, "notes": True, "engraving": True}
    assert len(response.json()["hits"]) == 2 and response.json()["milliseconds"] > 0


def test_parts_are_texts_items_and_uploads_with_weights(client):
    known = ids(client)
    sent = client.post("/uploads?name=take.abc", content=KESH.replace("X:1", "X:2")).json()
    assert sent["kind"] == "abc" and sent["modality"] == "score"
    assert hits(ask(client, {"upload": sent["upload"]}, top_k=1)) == ["kesh.abc"]
    assert "kesh.abc" not in hits(ask(client, {"item": known["kesh.abc"]}))
    against = ask(client, {"text": "a tune"}, {"upload": sent["upload"], "weight": -2}, words=False)
    assert hits(against)[-1] == "kesh.abc"
    assert len(hits(client.post("/search", json={"axis": ["slow", "fast"]}))) == 5
    assert len(hits(ask(client, {"item": known["scale.mid"], "start_sec": 0, "end_sec": 1}, diversity=0.5))) == 4


def test_filters_kinds_and_passages(client):
    assert set(hits(ask(client, {"text": "music"}, where='key = "D minor" or modality = "audio"'))) <= {
        "air.abc",
        "tone.wav",
    }
    assert set(hits(ask(client, {"text": "music"}, kinds=["midi"]))) == {"scale.mid", "sub dir/C# ünd 'x'.mid"}
    found = ask(client, {"text": "music"}, passages=True, kinds=["score"]).json()["hits"]
    assert found[0]["passage"]["unit"] == "bars" and found[0]["passage"]["text"].startswith("bar")
    refused(ask(client, {"text": "x"}, where="drop table"), 400)
    assert ask(client, {"text": "x"}, min_score=1).json() == {
        "hits": [],
        "milliseconds": pytest.approx(0, abs=1e9),
        "remarks": ["nothing that the filters let through is like this."],
    }


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"parts": []},
        {"parts": [{"text": "a", "item": "b"}]},
        {"parts": [{"weight": 1}]},
        {"parts": [{"text": "a"}], "top_k": 0},
        {"parts": [{"text": "a"}], "top_k": 1001},
        {"parts": [{"text": "a"}] * 17},
        {"parts": [{"text": "a" * 10_001}]},
        {"parts": [{"path": "/etc/passwd"}]},
        {"parts": [{"text": "a", "start_sec": 1}]},
        {"parts": [{"text": "a"}], "unknown": 1},
        {"axis": ["sad"]},
        [],
    ],
)
def test_questions_of_another_form_are_refused(client, question):
    refused(client.post("/search", json=question), 422)


def test_text_is_never_a_path(client, music):
    path = str(music / "kesh.abc")
    assert "kesh.abc" in hits(ask(client, {"text": path}))  # as words; as a file it would be left out


def test_what_is_not_json_or_not_there_is_refused(client):
    refused(client.post("/search", content=b"{", headers={"content-type": "application/json"}), 422)
    refused(client.get("/nothing"), 404)
    refused(client.delete("/search"), 405)
    refused(ask(client, {"upload": "none"}), 404)
    refused(client.get("/jobs/none/events"), 404)


def opaque(text):
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "id",
    ["none", "%00", "..%2f..%2fetc%2fpasswd", opaque("0/../../etc/passwd"), opaque("7/x"), opaque("x"), "A" * 7000],
)
def test_ids_of_nothing_lead_nowhere(client, id):
    for what in ("", "/media", "/notes", "/engraving.svg"):
        refused(client.get(f"/items/{id}{what}"), 404)
    if "%" not in id:
        refused(ask(client, {"item": id}), 404)
        refused(client.post("/similarity", json={"one": {"item": id}, "other": {"text": "a"}}), 404)
        refused(client.post("/playlist", json={"seeds": [{"item": id}]}), 404)


def test_items_are_listed_in_pages(client):
    first = client.get("/items", params={"limit": 2}).json()
    rest = client.get("/items", params={"limit": 50, "after": first["next"]}).json()
    names = [item["name"] for item in first["items"] + rest["items"]]
    assert names == sorted(names) and len(names) == first["total"] == 5 and rest["next"] is None
    scores = client.get("/items", params={"modality": "score", "where": 'metre = "6/8"'}).json()
    assert [item["name"] for item in scores["items"]] == ["kesh.abc"]
    item = client.get(f"/items/{scores['items'][0]['id']}").json()
    assert item == scores["items"][0]
    refused(client.get("/items", params={"where": "sqlite_version() = 1"}), 400)


def test_recordings_are_played_by_ranges(client, music):
    known = ids(client)
    whole = (music / "tone.wav").read_bytes()
    response = client.get(f"/items/{known['tone.wav']}/media", headers={"range": "bytes=100-199"})
    assert response.status_code == 206 and response.content == whole[100:200]
    assert response.headers["content-type"] == "audio/wav" and "sandbox" in response.headers["content-security-policy"]
    assert client.get(f"/items/{known['tone.wav']}/media").content == whole
    assert client.get(f"/items/{known['scale.mid']}/media").content[:4] == b"MThd"
    refused(client.get(f"/items/{known['kesh.abc']}/media"), 404)
    assert client.get(f"/items/{known['tone.wav']}/media", headers={"range": "bytes=9999999-"}).status_code == 416


def test_a_file_that_has_changed_is_not_sent(tmp_path):
    index = write_library(tmp_path / "music")
    with client_of(index) as client:
        known = ids(client)
        os.remove(tmp_path / "music" / "scale.mid")
        os.symlink("/etc/passwd", tmp_path / "music" / "scale.mid")
        os.remove(tmp_path / "music" / "kesh.abc")
        assert "changed" in refused(client.get(f"/items/{known['scale.mid']}/media"), 404)
        refused(client.get(f"/items/{known['kesh.abc']}/notes"), 404)


def test_notes_and_engravings(client):
    pytest.importorskip("verovio")
    known = ids(client)
    notes = client.get(f"/items/{known['scale.mid']}/notes").json()
    assert notes["notes"][0] == [0.0, 0.25, 60, 64, 40, 0] and notes["seconds"] == 1.25
    assert [note[2] for note in client.get(f"/items/{known['air.abc']}/notes").json()["notes"][:3]] == [62, 64, 65]
    drawn = client.get(f"/items/{known['kesh.abc']}/engraving.svg", params={"bars": 2})
    assert drawn.headers["content-type"].startswith("image/svg") and drawn.text.startswith("<svg")
    more = client.get(f"/items/{known['kesh.abc']}/engraving.svg", params={"bars": 4})
    assert more.text.count('class="note"') == 24 and drawn.text.count('class="note"') == 12
    refused(client.get(f"/items/{known['scale.mid']}/engraving.svg"), 404)
    refused(client.get(f"/items/{known['kesh.abc']}/engraving.svg", params={"bars": 0}), 422)


def test_vectors_are_those_of_the_library(client):
    from clamp3 import Clamp3

    model = Clamp3.from_pretrained("mini", device="cpu")
    response = client.post("/embed", json={"texts": ["a sad waltz", "a jig"]}).json()
    assert response["identity"] == model.identity
    expected = model.encode(["a sad waltz", "a jig"]).vectors
    assert response["vectors"] == [pytest.approx(row.tolist(), abs=1e-5) for row in expected]
    sent = client.post("/embed?name=a.abc", content=AIR).json()
    assert len(sent["vectors"][0]) == 256
    refused(client.post("/embed", json={"texts": []}), 422)
    same = {"one": {"text": "a jig"}, "other": {"text": "a jig"}}
    assert client.post("/similarity", json=same).json()["cosine"] == pytest.approx(1, abs=1e-6)


def test_playlists(client):
    known = ids(client)
    ends = {"from": {"item": known["kesh.abc"]}, "to": {"text": "slow"}, "n": 3}
    names = hits(client.post("/playlist", json=ends))
    assert len(names) == 3 and "kesh.abc" not in names
    assert len(hits(client.post("/playlist", json={"seeds": [{"text": "slow"}], "n": 2}))) == 2
    refused(client.post("/playlist", json={"from": {"text": "a"}}), 422)
    listed = client.get("/playlist.m3u8", params={"ids": f"{known['tone.wav']},{known['kesh.abc']}"}).text
    assert listed == f"#EXTM3U\n#EXTINF:2,tone.wav\nhttp://testserver/items/{known['tone.wav']}/media\n"
    refused(client.get("/playlist.m3u8", params={"ids": "none"}), 404)


def test_players_get_songs_like_a_song(client):
    known = ids(client)
    asked = {"id": known["tone.wav"], "count": 2, "f": "json", "u": "me", "c": "player"}
    answer = client.get("/rest/getSimilarSongs2.view", params=asked).json()["subsonic-response"]
    assert answer["status"] == "ok" and len(answer["similarSongs2"]["song"]) == 2
    assert {song["id"] for song in answer["similarSongs2"]["song"]} <= set(known.values()) - {known["tone.wav"]}
    root = fromstring(client.get("/rest/getSimilarSongs", params={"id": known["tone.wav"]}).text)
    assert root.get("status") == "ok" and {song.get("path") for song in root[0]} <= known.keys()
    failed = client.get("/rest/getSimilarSongs", params={"id": "none", "f": "json"}).json()["subsonic-response"]
    assert failed["status"] == "failed" and failed["error"]["code"] == 70
    assert fromstring(client.get("/rest/ping.view").text).get("version")


def test_the_reference_lists_every_address(client):
    page = client.get("/reference").text
    paths = client.get("/openapi.json").json()["paths"]
    assert all(f"<code>{method.upper()} {path}</code>" in page for path in paths for method in paths[path])
    assert "<script" not in page and "top_k" in page


def test_the_map_has_a_point_for_every_piece(client):
    pytest.importorskip("sklearn")
    points = client.get("/map").json()["points"]
    assert sorted(point[0] for point in points) == sorted(ids(client).values())
    assert all(-1 <= x <= 1 and -1 <= y <= 1 for _, x, y, _, _ in points)
    assert client.get("/map").json()["points"] == points


def test_what_is_sent_may_be_anything(client):
    refused(client.post("/uploads?name=a.mid", content=b"MThd nothing"), 422)
    refused(client.post("/uploads?name=a.mp3", content=b"\0" * 5000), 422)
    refused(client.post("/uploads?name=a.musicxml", content=b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), 422)
    refused(client.post("/uploads?name=a.abc", content=b""), 422)
    for name in ("", "a.exe", "a.npy", "a.zip", "../../a"):
        assert "scores" in refused(client.post("/uploads", params={"name": name}, content=b"x"), 415)
    error = refused(client.post("/uploads", params={"name": "../../etc/a b/x.mid"}, content=b"x"), 422)
    assert "etc" not in error
    midi = client.post("/uploads?name=a.mid", content=write_notes(60, 64, 67)).json()
    assert midi["modality"] == "midi"


def picture():
    image = pytest.importorskip("PIL.Image")
    data = io.BytesIO()
    image.new("RGB", (40, 30), "red").save(data, "PNG")
    return data.getvalue()


def test_a_picture_is_a_question_by_the_words_that_describe_it(client, monkeypatch):
    seen = []
    monkeypatch.setattr(captions, "load_blip", lambda *_, **__: lambda images: [seen.extend(images), ["a jig"]][1])
    monkeypatch.setattr(client.app.state.service, "pictures", Pictures(""))
    answer = client.post("/uploads?name=Holiday.PNG", content=picture()).json()
    assert (answer["caption"], answer["modality"]) == ("a jig", "text") and seen[0].getpixel((3, 3)) == (255, 0, 0)
    asked = [ask(client, part, words=False) for part in ({"upload": answer["upload"]}, {"text": "a jig"})]
    assert hits(asked[0]) == hits(asked[1])
    assert "not an image" in refused(client.post("/uploads?name=a.jpg", content=b"\xff\xd8 no"), 422)
    refused(client.post("/uploads?name=a.jpg", content=b""), 422)


@pytest.mark.parametrize(
    ("lacks", "sentence"), [("pillow", "pip install 'clamp3[text]'"), ("weights", "clamp3 serve --caption_model")]
)
def test_what_a_picture_needs_is_said_in_one_sentence(client, monkeypatch, lacks, sentence):
    if lacks == "pillow":
        monkeypatch.setattr(captions, "find_spec", lambda name: None)
    monkeypatch.setattr(captions, "DEFAULT_MODEL", "nobody/has-such-a-model")
    monkeypatch.setattr(client.app.state.service, "pictures", Pictures(""))
    assert sentence in refused(client.post("/uploads?name=a.jpg", content=picture()), 503)


def test_info_metrics_and_headers(client):
    info = client.get("/info").json()
    assert info["pieces"] == 5 and info["by_modality"] == {"audio": 1, "midi": 2, "score": 2} and info["passages"]
    assert info["can"]["audio"] and info["examples"]
    assert client.get("/healthz").json() == {"status": "ok", "pieces": 5}
    ask(client, {"text": "a jig"})
    text = client.get("/metrics").text
    assert 'clamp3_requests_total{method="POST",route="/search",status="200"}' in text
    assert "clamp3_text_batch_count" in text and 'clamp3_waiting{lane="texts"} 0.0' in text
    headers = client.get("/info").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8321"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_names_and_pages_of_other_sites_are_refused(client, headers):
    refused(client.get("/info", headers=headers), 400)


def test_a_token_is_asked_for(music):
    with client_of(music / ".clamp3_index", token="secret") as client:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic secret"},
            {"authorization": "ü"},
        ):
            encoded = {name: value.encode("latin-1") for name, value in headers.items()}
            response = client.get("/info", headers=encoded)
            refused(response, 401)
            assert response.headers["www-authenticate"] == "Bearer"
        assert client.get("/info", headers={"authorization": "Bearer secret"}).status_code == 200
        assert client.get("/healthz").status_code == 200 and client.get("/page/").status_code in (200, 404)


def test_large_bodies_are_refused_whether_they_say_so_or_not(music):
    with client_of(music / ".clamp3_index", max_upload_mb=1) as client:
        large = bytes(1_100_000)
        refused(client.post("/uploads?name=a.mid", content=large), 413)
        refused(client.post("/uploads?name=a.mid", content=(large[:1000] for _ in range(1100))), 413)
        refused(client.post("/search", content=large, headers={"content-type": "application/json"}), 413)
        refused(client.get("/info", headers={"content-length": "x"}), 400)


def test_a_model_that_cannot_be_opened_is_said(music):
    def opens(_meta, _cache):
        raise WeightsError(f"{music}/weights.pth is absent.")

    with client_of(music / ".clamp3_index", opens=opens) as client:
        response = client.get("/healthz")
        assert refused(response, 503) == "weights.pth is absent." and response.headers["retry-after"]
        refused(ask(client, {"text": "a"}), 503)


def test_recordings_are_refused_where_mert_is_absent_and_all_else_works(music):
    from server_music import FLAGS

    from clamp3.server.run import open_model

    def opens(meta, cache):
        model = open_model(FLAGS, meta, cache)
        lacks = model.lacks
        model.lacks = lambda modality: "recordings need MERT." if modality == "audio" else lacks(modality)
        return model

    with client_of(music / ".clamp3_index", opens=opens) as client:
        assert not client.get("/info").json()["can"]["audio"]
        wave = (music / "tone.wav").read_bytes()
        assert "MERT" in refused(client.post("/uploads?name=a.wav", content=wave), 422)
        assert client.post("/uploads?name=a.abc", content=KESH).status_code == 200
        assert len(hits(ask(client, {"text": "a jig"}))) == 5


def test_an_update_is_followed_and_seen_at_once(tmp_path):
    index = write_library(tmp_path / "music")
    with client_of(index) as client:
        (tmp_path / "music" / "new.abc").write_text(KESH.replace("GAG", "BAG"))
        (tmp_path / "music" / "bad.mid").write_bytes(b"MThd")
        job = client.post("/jobs", json={"action": "update"}).json()["job"]
        events = client.get(f"/jobs/{job}/events").text
        last = json.loads(events.strip().split("\n\n")[-1].removeprefix("data: "))
        assert last == {"done": 2, "total": 2, "failed": 1, "state": "done"}
        assert "new.abc" in ids(client) and client.get("/healthz").json()["pieces"] == 6
        refused(client.post("/jobs", json={"action": "remove"}), 422)


def test_an_index_that_was_replaced_is_opened_again(tmp_path):
    index = write_library(tmp_path / "music")
    write_library(tmp_path / "other")
    with client_of(index) as client:
        assert client.get("/info").json()["pieces"] == 5
        service = client.app.state.service
        shutil.copytree(tmp_path / "other" / ".clamp3_index" / "data-1", index / "data-2")
        (index / "new.json").write_text('{"data": "data-2", "version": 1}')
        os.replace(index / "new.json", index / "index.json")
        while service.now().library.folder.data != "data-2":
            time.sleep(0.01)
        assert len(hits(ask(client, {"text": "a jig"}))) == 5


def test_texts_that_wait_are_encoded_together():
    began, go = threading.Event(), threading.Event()
    batches = []

    def encode(texts):
        batches.append(list(texts))
        began.set()
        go.wait(60)
        return [text.upper() for text in texts]

    texts = Batches(encode, 3, 100)
    first = texts.submit("a")
    began.wait(60)
    others = [texts.submit(text) for text in "bcde"]
    go.set()
    assert [future.result(60) for future in (first, *others)] == list("ABCDE")
    assert batches == [["a"], ["b", "c", "d"], ["e"]]
    texts.close()


def test_a_full_lane_refuses():
    go = threading.Event()
    lane = Lane("questions", 1, 2)
    waiting = [lane.submit(lambda: go.wait(60)) for _ in range(2)]
    with pytest.raises(RefusedError) as error:
        lane.submit(lambda: None)
    assert error.value.status_code == 503 and error.value.headers == {"Retry-After": "1"}
    go.set()
    assert all(future.result(60) for future in waiting)
    lane.close()


def test_an_error_of_a_batch_reaches_all_that_were_in_it():
    def encode(texts):
        raise ValueError("no")

    texts = Batches(encode, 8, 8)
    for future in [texts.submit("a"), texts.submit("b")]:
        with pytest.raises(ValueError):
            future.result(60)
    texts.close()


def test_uploads_are_forgotten():
    kept = Uploads(2, 3600.0)
    tokens = [kept.put(name) for name in "abc"]
    assert [kept.get(token) for token in tokens] == [None, "b", "c"]
    assert Uploads(2, -1.0).get(kept.put("d")) is None
    late = Uploads(2, -1.0)
    assert late.get(late.put("a")) is None


def test_ids_are_one_to_one():
    for piece in ("0/a.mid", "12/%C3%BC%20%27.mid", "0/" + "x" * 300):
        assert opaque(piece) == client_id(piece)
