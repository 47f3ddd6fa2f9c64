"""Voice models of Fish Audio (its contract, section 3)."""

from __future__ import annotations

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import msgpack
import pytest

from tests.emulator.customer import PNG, web
from tests.emulator.fish_audio.customer import FIELDS, FishCustomer
from voice_provider.emulator.fish_audio.library import VOICES
from voice_provider.emulator.fish_audio.state import AGE, USE

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ENTITY = {
    "_id", "type", "title", "description", "cover_image", "train_mode", "state", "tags", "samples", "created_at",
    "updated_at", "languages", "visibility", "lock_visibility", "dmca_taken_down", "takedown_category", "default_text",
    "source", "licensed", "pvc_release_state", "pvc_notice_period_months", "pvc_released_at", "pvc_retire_requested_at",
    "pvc_retire_effective_at", "quality", "like_count", "mark_count", "shared_count", "task_count", "unliked", "liked",
    "marked", "author",
}  # fmt: skip
NOT_FOUND = {"status": 404, "message": "Model not found"}


def test_a_voice_is_created_from_several_clips_and_is_trained_at_once(fish, recording, voice_emulator):
    model = fish.model(
        recording(3), recording(4), texts=["one", "two"], tags=["warm", "low"], description="d", visibility="unlist"
    )
    assert model.keys() == ENTITY
    assert re.fullmatch("[0-9a-f]{32}", model["_id"])
    assert DATE.fullmatch(model["created_at"])
    assert DATE.fullmatch(model["updated_at"])
    assert (model["state"], model["type"], model["train_mode"]) == ("trained", "tts", "fast")
    assert (model["title"], model["description"], model["visibility"]) == ("Ada", "d", "unlist")
    assert (model["tags"], model["samples"], model["languages"]) == (["warm", "low"], [], ["en"])
    assert model["author"].keys() == {"_id", "nickname", "avatar"}
    assert fish.get(f"/model/{model['_id']}").json() == model
    (bill,) = voice_emulator.ledger("clone")
    assert (bill["service"], bill["job_id"], bill["usd"]) == ("fish_audio", model["_id"], 0)
    assert (bill["units"], bill["unit"]) == (pytest.approx(7), "seconds")
    assert voice_emulator.state()["models"] == {"main": 1}
    assert voice_emulator.state()["voices"] == {}


def test_what_is_left_out_has_its_default(fish, sample):
    model = fish.model(sample)
    assert (model["visibility"], model["description"], model["cover_image"]) == ("private", "", "")
    assert (model["tags"], model["source"], model["licensed"]) == ([], None, False)


def test_a_voice_is_created_from_messagepack_with_raw_bytes(fish, recording, voice_emulator):
    def create(**fields: object) -> object:
        body = msgpack.packb(FIELDS | fields)
        return fish.post("/model", content=body, headers={"Content-Type": "application/msgpack"})

    several = create(voices=[recording(3), recording(4)], texts=["one", "two"], cover_image=None)
    assert several.status_code == 201, several.text
    assert create(voices=recording(3)).status_code == 201
    assert [bill["units"] for bill in voice_emulator.ledger()] == [pytest.approx(7), pytest.approx(3)]


def test_a_single_texts_part_is_one_text_whatever_commas_it_holds(fish, sample):
    assert fish.model(sample, texts="well, yes, one text")["default_text"] == "well, yes, one text"
    assert fish.create(sample, sample, texts="a,b").status_code == 400


@pytest.mark.parametrize("field", ["type", "title", "train_mode", "voices"])
def test_each_required_part_is_told_as_missing(fish, sample, field):
    answer = fish.create(sample, **{field: None}) if field != "voices" else fish.create()
    assert answer.status_code == 422
    assert answer.json() == [{"type": "missing", "loc": [field], "msg": "Field required", "in": "body"}]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"type": "svc"}, "type"),
        ({"train_mode": "full"}, "train_mode"),
        ({"visibility": "secret"}, "visibility"),
        ({"enhance_audio_quality": "perhaps"}, "enhance_audio_quality"),
        ({"voices": "no file"}, "voices"),
    ],
)
def test_a_bad_value_is_told_by_its_field(fish, sample, fields, where):
    clips = () if "voices" in fields else (sample,)
    answer = fish.create(*clips, **fields)
    assert answer.status_code == 422
    assert answer.json()[0]["loc"][0] == where


def test_twenty_clips_are_enough(fish, recording):
    clip = recording(1)
    assert fish.create(*[clip] * 20).status_code == 201
    refused = fish.create(*[clip] * 21)
    assert (refused.status_code, refused.json()[0]["loc"]) == (422, ["voices"])


@pytest.mark.parametrize("clip", [b"just some text", PNG, b""], ids=["text", "picture", "empty"])
def test_what_is_no_audio_is_refused_by_its_bytes_and_leaves_nothing(fish, sample, voice_emulator, clip):
    answer = fish.create(sample, clip)
    assert answer.status_code == 400
    assert answer.json().keys() == {"status", "message"}
    assert "voices[1]" in answer.json()["message"]
    assert (voice_emulator.models(), voice_emulator.ledger()) == ([], [])


def test_a_video_is_no_clip(fish, video):
    assert fish.create(video).json() == {"status": 400, "message": "voices[0] is no audio"}


def test_clips_may_be_too_short_or_too_long_together(fish, recording, voice_emulator):
    assert fish.create(recording(0.5)).status_code == 400
    voice_emulator.settings(fish_min_clip_seconds=2, fish_max_total_seconds=5)
    assert fish.create(recording(1)).json()["message"] == "voices[0] is 1.0 s long, at least 2 s are needed"
    assert fish.create(recording(3), recording(4)).json()["message"] == "The voices are 7.0 s long, at most 5 s fit"
    assert fish.create(recording(4)).status_code == 201


def test_training_takes_polls_and_a_look_at_the_list_is_none(fish, sample, voice_emulator):
    voice_emulator.settings(fish_training_polls=4)
    model = fish.model(sample)
    assert model["state"] == "created"
    fish.titles(self=True)
    voice_emulator.models()
    assert [fish.state(model["_id"]) for _ in range(5)] == ["created", "training", "training", "trained", "trained"]
    voice_emulator.settings(fish_training_polls=50)
    assert fish.state(model["_id"]) == "trained"


def test_training_takes_time_by_the_emulators_clock(fish, sample, voice_emulator):
    voice_emulator.settings(fish_training_seconds=600)
    model = fish.model(sample)["_id"]
    states = []
    for _ in range(3):
        states.append(fish.state(model))
        voice_emulator.advance(301)
    assert states == ["created", "training", "trained"]


def test_training_fails_by_setting_or_by_title(fish, sample, voice_emulator):
    voice_emulator.settings(fish_training_polls=1)
    assert fish.state(fish.model(sample, title="Ada [fail]")["_id"]) == "failed"
    voice_emulator.settings(fish_training_polls=0, fish_training_fails=True)
    assert fish.model(sample)["state"] == "failed"


def test_a_model_survives_kill_9(own_emulator, sample):
    own_emulator.settings(fish_training_polls=2)
    with FishCustomer(own_emulator.url) as fish:
        model = fish.model(sample)["_id"]
        assert fish.state(model) == "training"
    own_emulator.restart()
    with FishCustomer(own_emulator.url) as fish:
        assert fish.state(model) == "trained"
    assert list((own_emulator.data_dir / "files" / "tmp").iterdir()) == []
    assert (own_emulator.data_dir / "files" / "voices" / f"{model}.voice").exists()


def test_public_may_be_downgraded_or_need_a_cover(fish, sample, voice_emulator):
    assert fish.model(sample, visibility="public")["visibility"] == "public"
    voice_emulator.settings(fish_public_needs_cover=True)
    assert fish.create(sample, visibility="public").status_code == 400
    model = fish.model(sample, visibility="public", cover=PNG)
    assert (model["visibility"], model["cover_image"]) == ("public", f"coverimage/{model['_id']}")
    voice_emulator.settings(fish_downgrade_public=True)
    assert fish.model(sample, visibility="public")["visibility"] == "private"


def test_a_cover_must_be_a_picture(fish, sample):
    assert fish.create(sample, cover=sample).status_code == 400
    model = fish.model(sample)["_id"]
    assert fish.patch(f"/model/{model}", files={"cover_image": ("upload", sample)}).status_code == 400
    assert fish.patch(f"/model/{model}", files={"cover_image": ("upload", PNG)}).status_code == 200
    assert fish.get(f"/model/{model}").json()["cover_image"] == f"coverimage/{model}"


def test_made_up_design_signatures_are_refused(fish, sample):
    answer = fish.create(sample, voice_design_signatures=["made up"])
    assert answer.json() == {"status": 400, "message": "Invalid voice-design signature"}


# Looking


def test_the_library_is_there_from_the_start_for_everybody(fish, fish_stranger):
    listing = fish_stranger.get("/model").json()
    assert listing.keys() == {
        "total", "items", "has_more", "max_offset", "accessible_upper_bound", "window_limited", "total_is_exact",
    }  # fmt: skip
    assert listing["total"] == len(listing["items"]) >= 2
    for model in listing["items"]:
        assert (model["visibility"], model["licensed"], model["state"]) == ("public", True, "trained")
        assert fish.get(f"/model/{model['_id']}").json() == model
        assert fish.patch(f"/model/{model['_id']}", json={"title": "mine"}).json() == NOT_FOUND
        assert fish.delete(f"/model/{model['_id']}").json() == NOT_FOUND
    assert fish.titles(self=True) == []


def test_the_public_list_needs_no_key_but_ones_own_does(fish, voice_emulator):
    assert web.get(f"{voice_emulator.url}/model").json() == fish.get("/model").json()
    refused = web.get(f"{voice_emulator.url}/model?self=true")
    assert (refused.status_code, refused.text) == (401, "No permission -- see authorization schemes")
    with FishCustomer(voice_emulator.url, "wrong") as wrong:
        assert wrong.get("/model").status_code == 401


def test_foreign_models_are_seen_unless_private_and_never_changed(fish, fish_stranger, sample):
    models = {seen: fish.model(sample, visibility=seen)["_id"] for seen in ("private", "unlist", "public")}
    answers = {seen: fish_stranger.get(f"/model/{model}").status_code for seen, model in models.items()}
    assert answers == {"private": 404, "unlist": 200, "public": 200}
    for answer in (
        fish_stranger.get(f"/model/{models['private']}"),
        fish_stranger.patch(f"/model/{models['public']}", json={"title": "x"}),
        fish_stranger.delete(f"/model/{models['public']}"),
        fish.get("/model/unknown"),
    ):
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    listed = {model["_id"] for model in fish_stranger.get("/model").json()["items"]}
    assert listed & set(models.values()) == {models["public"]}
    assert len(fish.titles(self=True)) == 3


def test_the_list_is_filtered(fish, voice_emulator):
    voice_emulator.seed_models(["Warm Ida", "Ida"], tags=["warm", "en"], visibility="public")
    voice_emulator.seed_models(["Cold Bob"], tags=["cold"], org="elsewhere", visibility="public")
    bob = next(model for model in fish.get("/model").json()["items"] if model["title"] == "Cold Bob")
    assert sorted(fish.titles(title="ida")) == ["Ida", "Warm Ida"]
    assert fish.titles(tag="cold") == ["Cold Bob"]
    assert len(fish.titles(tag=["warm", "en"])) == 2
    assert fish.titles(tag=["warm", "cold"]) == []
    assert fish.titles(author_id=bob["author"]["_id"]) == ["Cold Bob"]
    assert fish.titles(self=True, author_id=bob["author"]["_id"], title="warm") == ["Warm Ida"]
    assert "Ida" not in fish.titles(licensed=True)
    assert fish.titles(licensed=True)
    assert fish.titles(language=["en", "zh"], title_language="en", tag="cold") == ["Cold Bob"]
    assert fish.titles(language="zh-CN") == []


def test_the_list_is_sorted_and_paged(fish, voice_emulator):
    for age, title in ((30, "old"), (10, "new"), (20, "middle")):
        voice_emulator.seed_models([title], age_seconds=age)
    assert fish.titles(self=True, sort_by="created_at") == ["new", "middle", "old"]
    uses = [model["task_count"] for model in fish.get("/model", params={"sort_by": "task_count"}).json()["items"]]
    assert uses == sorted(uses, reverse=True)
    first, second, third = (
        fish.get("/model", params={"self": True, "page_size": 2, "page_number": number}).json() for number in (1, 2, 3)
    )
    assert [(page["total"], len(page["items"]), page["has_more"]) for page in (first, second, third)] == [
        (3, 2, True),
        (3, 1, False),
        (3, 0, False),
    ]


@pytest.mark.parametrize(
    ("query", "where", "message"),
    [
        ({"page_size": 101}, "page_size", "Input should be less than or equal to 100"),
        ({"page_size": 0}, "page_size", "Input should be greater than or equal to 1"),
        ({"page_number": 0}, "page_number", "Input should be greater than or equal to 1"),
        ({"sort_by": "name"}, "sort_by", "Input should be 'score', 'task_count' or 'created_at'"),
    ],
)
def test_a_bad_query_is_a_422(fish, query, where, message):
    answer = fish.get("/model", params=query)
    assert answer.status_code == 422
    (problem,) = answer.json()
    assert (problem["loc"], problem["msg"], problem["in"]) == ([where], message, "query")


def test_the_public_list_ends_after_a_thousand_and_ones_own_does_not(fish, voice_emulator):
    voice_emulator.seed_models(count=1200, visibility="public")
    public = fish.get("/model", params={"page_size": 100, "page_number": 11}).json()
    assert (public["items"], public["total"], public["window_limited"]) == ([], 1000, True)
    assert (public["max_offset"], public["accessible_upper_bound"], public["total_is_exact"]) == (1000, 1000, False)
    own = fish.get("/model", params={"self": True, "page_size": 100, "page_number": 12}).json()
    assert (len(own["items"]), own["total"], own["has_more"]) == (100, 1200, False)


# Changing and deleting


def _json(fields):
    return {"json": fields}


def _urlencoded(fields):
    return {"data": fields}


def _multipart(fields):
    return {"files": [(name, (None, item)) for name, value in fields.items() for item in _several(value)]}


def _packed(fields):
    return {"content": msgpack.packb(fields), "headers": {"Content-Type": "application/msgpack"}}


def _several(value):
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("encode", [_json, _urlencoded, _multipart, _packed])
def test_only_what_is_sent_changes_in_every_encoding(fish, sample, encode):
    before = fish.model(sample, description="d", tags=["a", "b"])
    path = f"/model/{before['_id']}"
    answer = fish.patch(path, **encode({"title": "New", "visibility": "unlist"}))
    assert (answer.status_code, answer.content) == (200, b"")
    after = fish.get(path).json()
    assert after["updated_at"] > before["updated_at"]
    assert after == before | {"title": "New", "visibility": "unlist", "updated_at": after["updated_at"]}
    assert fish.patch(path, **encode({"tags": ["c", "d"]})).status_code == 200
    assert fish.get(path).json()["tags"] == ["c", "d"]
    assert fish.patch(path, **encode({"tags": "one"})).status_code == 200
    assert (fish.get(path).json()["tags"], fish.get(path).json()["title"]) == (["one"], "New")


def test_tags_and_description_can_be_emptied_with_json(fish, sample):
    path = f"/model/{fish.model(sample, description='d', tags=['a'])['_id']}"
    assert fish.patch(path, json={"tags": [], "description": None, "title": None}).status_code == 200
    model = fish.get(path).json()
    assert (model["tags"], model["description"], model["title"]) == ([], "", "Ada")
    refused = fish.patch(path, json={"tags": None, "visibility": "secret"})
    assert sorted(problem["loc"][0] for problem in refused.json()) == ["tags", "visibility"]


def test_a_deleted_model_is_gone_with_its_file(own_emulator, sample):
    with FishCustomer(own_emulator.url) as fish:
        for status in (200, 204):
            own_emulator.settings(fish_delete_status=status)
            path = f"/model/{fish.model(sample, cover=PNG)['_id']}"
            answer = fish.delete(path)
            assert (answer.status_code, answer.content) == (status, b"")
            assert fish.get(path).json() == NOT_FOUND
            assert fish.delete(path).json() == NOT_FOUND
            assert list((own_emulator.data_dir / "files" / "voices").iterdir()) == []


def test_models_of_any_state_can_be_seeded_and_a_reset_drops_them(fish, voice_emulator):
    (stuck,) = voice_emulator.seed_models(["stuck"], state="training", age_seconds=3600)
    voice_emulator.seed_models(["theirs"], org="elsewhere", visibility="public")
    assert [fish.state(stuck["id"]) for _ in range(2)] == ["training", "training"]
    assert voice_emulator.state()["models"] == {"main": 1, "elsewhere": 1}
    assert voice_emulator.models("elsewhere")[0]["title"] == "theirs"
    voice_emulator.reset()
    assert voice_emulator.state()["models"] == {}
    assert fish.get(f"/model/{stuck['id']}").status_code == 404


def test_many_at_once_are_all_made(fish, sample, voice_emulator):
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda n: fish.model(sample, title=f"voice {n}")["_id"], range(20)))
    assert len(set(made)) == len(voice_emulator.models()) == len(voice_emulator.ledger("clone")) == 20


def test_pages_of_any_size_are_the_whole_list_in_order(fish, voice_emulator):
    """The library's voices are merged into what the database pages through."""
    for used, name in enumerate(("old", "new")):
        voice_emulator.seed_models([f"{name} {n}" for n in range(4)], visibility="public", age_seconds=100 * (2 - used))
    asked = ({}, {"sort_by": "created_at"}, {"title": "E"}, {"title": "w 2"}, {"licensed": True}, {"language": "de"})
    for query in asked:
        whole = fish.get("/model", params={"page_size": 100, **query}).json()
        keys = [model["created_at"] for model in whole["items"]]
        if query.get("sort_by") != "created_at":
            keys = [(model["task_count"], key) for model, key in zip(whole["items"], keys, strict=True)]
        assert keys == sorted(keys, reverse=True)
        assert whole["total"] == len(whole["items"])
        assert bool(whole["items"]) == ("language" not in query)
        for size in (1, 2, 5):
            paged = []
            for number in range(1, 100):
                page = fish.get("/model", params={"page_size": size, "page_number": number, **query}).json()
                paged += page["items"]
                if not page["has_more"]:
                    break
            assert [model["_id"] for model in paged] == [model["_id"] for model in whole["items"]]
    assert fish.get("/model", params={"title": "E"}).json()["total"] == len(
        [title for title in fish.titles(page_size=100) if "e" in title.lower()]
    )
    assert fish.get("/model").json()["total"] == 8 + len(VOICES)


def test_a_page_is_read_along_an_index(voice_emulator):
    """Of 10,000 voices one page is not more work than of ten."""
    with sqlite3.connect(voice_emulator.data_dir / "state.sqlite") as state:
        for column in ("org", "visibility"):
            for order in (AGE, USE):
                query = f"EXPLAIN QUERY PLAN SELECT * FROM fish_models WHERE {column} = ? ORDER BY {order} LIMIT 1"
                [step] = [row[-1] for row in state.execute(query, ("main",))]
                assert re.fullmatch(rf"SEARCH fish_models USING INDEX fish_models_\w+ \({column}=\?\)", step)
