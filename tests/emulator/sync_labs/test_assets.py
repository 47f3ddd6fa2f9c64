"""Assets and projects (contract sections 5 and 8)."""

from __future__ import annotations

import pytest

from tests.emulator.customer import Customer, web

UNKNOWN = "6533643b-aceb-4c40-967e-d9ba9baac39e"


def test_an_uploaded_file_becomes_an_asset_with_its_facts(customer, sample):
    asset = customer.asset(sample, "Ada speaks.wav")
    assert asset["durationSeconds"] == pytest.approx(3)
    assert (asset["name"], asset["size"], asset["format"]) == ("Ada speaks.wav", len(sample), "wav")
    assert (asset["type"], asset["inputType"], asset["visibility"]) == ("AUDIO", "UPLOAD", "USER")
    assert asset["projectId"] is None
    assert web.get(asset["url"]).content == sample
    assert customer.get(f"/v2/assets/{asset['id']}").json() == asset


def test_facts_can_be_missing_as_right_after_registration(customer, sample, voice_emulator):
    voice_emulator.settings(null_metadata=True)
    asset = customer.asset(sample)
    assert asset["size"] is asset["format"] is asset["durationSeconds"] is None


def test_only_what_was_put_can_be_registered(customer, stranger, sample):
    def refused(url: str) -> tuple[int, str]:
        answer = customer.post("/v2/assets", json={"url": url, "type": "AUDIO"})
        return answer.status_code, answer.json()["errorCode"]

    assert refused(customer.presign()["url"]) == (422, "uploaded_file_not_found")
    assert refused(stranger.upload(sample)) == (422, "file_not_in_org_storage")


def test_a_public_url_can_be_registered_without_being_fetched(customer):
    answer = customer.post("/v2/assets", json={"url": "https://example.org/talk.mp4", "type": "VIDEO"})
    assert answer.status_code == 201
    assert (answer.json()["inputType"], answer.json()["name"]) == ("URL", "talk.mp4")
    assert customer.post("/v2/assets", json={"url": "file:///etc/passwd", "type": "VIDEO"}).status_code == 400


def test_the_plan_limits_the_size_of_files(customer, sample, voice_emulator):
    url = customer.upload(sample)
    voice_emulator.settings(max_file_size=1000)
    asked = customer.post("/v2/assets/upload", json={"fileName": "a", "contentType": "audio/wav", "size": 1001})
    assert (asked.status_code, asked.json()["errorCode"]) == (422, "file_size_exceeds_plan_limit")
    registered = customer.post("/v2/assets", json={"url": url, "type": "AUDIO"})
    assert registered.json()["errorCode"] == "file_size_exceeds_plan_limit"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v2/assets/upload", {"fileName": "a", "contentType": "audio/wav"}, "size"),
        ("/v2/assets/upload", {"fileName": "a", "contentType": "audio/wav", "size": 5 * 1024**3 + 1}, "size"),
        ("/v2/assets", {"url": "https://example.org/a.mp4", "type": "TEXT"}, "type"),
        ("/v2/assets/batch", {}, "ids"),
    ],
)
def test_a_bad_body_is_told_by_its_field(customer, path, body, field):
    answer = customer.post(path, json=body)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


def test_the_upload_can_hand_out_the_asset_id_as_the_guide_says(customer, sample, voice_emulator):
    voice_emulator.settings(upload_returns_asset_id=True)
    grant = customer.presign(size=len(sample))
    early = customer.post("/v2/voices", json={"name": "early", "assetId": grant["assetId"]})
    assert early.json()["errorCode"] == "voice_sample_not_accessible"
    web.put(grant["uploadUrl"], content=sample, headers={"Content-Type": "audio/wav"})
    assert customer.post("/v2/voices", json={"name": "Ada", "assetId": grant["assetId"]}).status_code == 201
    registered = customer.post("/v2/assets", json={"url": grant["url"], "type": "AUDIO"}).json()
    assert registered["id"] == grant["assetId"]


def listing(customer: Customer, query: str = "") -> list[str]:
    answer = customer.get(f"/v2/assets?{query}")
    assert answer.status_code == 200, answer.text
    return [asset["name"] for asset in answer.json()["items"]]


@pytest.fixture
def three_assets(customer, sample, recording, video):
    customer.asset(sample, "b.wav")
    customer.asset(recording(1), "a.wav")
    customer.asset(video, "c.mp4", "video/mp4")


@pytest.mark.usefixtures("three_assets")
def test_assets_are_listed_newest_first_and_in_pages(customer):
    assert listing(customer) == ["c.mp4", "a.wav", "b.wav"]
    page = customer.get("/v2/assets", params={"limit": 2}).json()
    assert (len(page["items"]), page["totalCount"]) == (2, 3)
    assert listing(customer, f"limit=2&cursor={page['nextCursor']}") == ["b.wav"]
    assert "nextCursor" not in customer.get("/v2/assets", params={"limit": 3}).json()
    assert customer.get("/v2/assets", params={"limit": 101}).status_code == 400


@pytest.mark.usefixtures("three_assets")
@pytest.mark.parametrize("query", ["types=AUDIO&types=IMAGE", "types=AUDIO,IMAGE", 'types=["AUDIO","IMAGE"]'])
def test_types_are_understood_in_all_three_encodings(customer, query):
    assert listing(customer, f"sortBy=nameAsc&{query}") == ["a.wav", "b.wav"]


@pytest.mark.usefixtures("three_assets")
@pytest.mark.parametrize(
    ("sort", "first"), [("nameAsc", "a.wav"), ("dateAsc", "b.wav"), ("durationAsc", "a.wav"), ("kindDesc", "c.mp4")]
)
def test_assets_are_sorted_as_asked(customer, sort, first):
    assert listing(customer, f"sortBy={sort}")[0] == first


@pytest.mark.usefixtures("three_assets")
def test_assets_are_searched_by_name_and_bad_queries_refused(customer):
    assert listing(customer, "searchQuery=A.W") == ["a.wav"]
    for query in ("types=TEXT", "sortBy=wish", "cursor=x"):
        assert customer.get(f"/v2/assets?{query}").status_code == 400


def test_an_asset_is_changed_downloaded_and_deleted_with_its_file(customer, sample):
    asset = customer.asset(sample)
    changed = customer.patch(f"/v2/assets/{asset['id']}", json={"name": "new", "durationSeconds": 2.5}).json()
    assert (changed["name"], changed["durationSeconds"]) == ("new", 2.5)
    download = customer.get(f"/v2/assets/{asset['id']}/download")
    assert download.text == asset["url"]
    assert download.headers["content-type"].startswith("text/plain")
    assert customer.delete(f"/v2/assets/{asset['id']}").json() == {"id": asset["id"]}
    assert customer.get(f"/v2/assets/{asset['id']}").json()["errorCode"] == "asset_not_found"
    assert web.get(asset["url"]).status_code == 404


def test_two_assets_of_one_file_keep_it_until_both_are_gone(customer, sample):
    url = customer.upload(sample)
    first, second = (customer.post("/v2/assets", json={"url": url, "type": "AUDIO"}).json() for _ in range(2))
    customer.delete(f"/v2/assets/{first['id']}")
    assert web.get(url).status_code == 200
    customer.delete(f"/v2/assets/{second['id']}")
    assert web.get(url).status_code == 404


def test_ids_are_uuids_and_foreign_assets_do_not_exist(customer, stranger, sample):
    asset = customer.asset(sample)
    assert customer.get("/v2/assets/nonsense").json()["errorCode"] == "invalid_asset_id_format"
    assert stranger.get(f"/v2/assets/{asset['id']}").status_code == 404
    assert stranger.delete(f"/v2/assets/{asset['id']}").status_code == 404
    assert customer.post("/v2/assets/batch", json={"ids": [asset["id"], UNKNOWN]}).json() == [asset]
    assert stranger.post("/v2/assets/batch", json={"ids": asset["id"]}).json() == []


def test_a_colleague_sees_shared_assets_but_may_not_change_them(customer, sample, voice_emulator):
    voice_emulator.add_account("colleague", "main", owner="colleague")
    voice_emulator.add_account("second key", "main")
    private, shared = customer.asset(sample), customer.asset(sample, visibility="ORGANIZATION")
    with Customer(voice_emulator.url, "colleague") as colleague:
        assert colleague.get(f"/v2/assets/{private['id']}").status_code == 404
        assert colleague.get(f"/v2/assets/{shared['id']}").status_code == 200
        assert colleague.delete(f"/v2/assets/{shared['id']}").json()["errorCode"] == "asset_forbidden"
    with Customer(voice_emulator.url, "second key") as same_person:
        assert same_person.delete(f"/v2/assets/{private['id']}").status_code == 200


def test_projects_hold_assets_and_take_them_along(customer, sample):
    project = customer.post("/v2/projects", json={"name": "Spring", "id": UNKNOWN}).json()
    assert customer.post("/v2/projects", json={"name": "Spring", "id": UNKNOWN}).json() == project
    assert customer.get("/v2/projects").json() == [project]
    asset = customer.asset(sample, projectId=project["id"])
    assert listing(customer, f"projectId={UNKNOWN}") == [asset["name"]]
    assert customer.patch(f"/v2/projects/{UNKNOWN}", json={"name": "Summer"}).json()["name"] == "Summer"
    assert customer.delete(f"/v2/projects/{UNKNOWN}").json() == {"id": UNKNOWN}
    assert customer.get(f"/v2/projects/{UNKNOWN}").json()["errorCode"] == "project_not_found"
    assert listing(customer) == []
    answer = customer.post("/v2/assets", json={"url": "https://example.org/a", "type": "AUDIO", "projectId": UNKNOWN})
    assert (answer.status_code, answer.json()["errorCode"]) == (422, "project_not_found")
