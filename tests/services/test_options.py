"""What can be asked for, and what is refused before anything is uploaded or paid."""

from __future__ import annotations

from typing import Any

import pytest

from voice_provider.exceptions import InvalidInputError
from voice_provider.services.lip_sync import LipSyncOptions, check_lip_sync_shape
from voice_provider.services.options import parse
from voice_provider.services.sync_labs.options import SyncLabsSpeech

AUDIO = {"media": "/a.wav"}
TEXT = {"text": "Hi.", "voice_id": "V"}
A, B = {"media": "/a.wav", "ref_id": "a"}, {"media": "/b.wav", "ref_id": "b"}


def segment(ref_id: str, start: float, end: float) -> dict[str, Any]:
    return {"start_time": start, "end_time": end, "audio_input": {"ref_id": ref_id}}


def shape(**values: Any) -> None:
    check_lip_sync_shape(parse(LipSyncOptions, {"video": "/v.mp4", **values}))


@pytest.mark.parametrize(
    "values",
    [
        {"audio": [AUDIO]},
        {"text": [TEXT]},
        {"video": None, "image": "/i.png", "audio": [AUDIO]},
        {"video": {"asset_id": "V"}, "audio": [{"media": {"uri": "s3://b/a.wav"}}]},
        {"dub_language": "de"},
        {"audio": [A], "segments": [segment("a", 0, 1)]},
        {"audio": [A, B], "segments": [segment("a", 0, 1), segment("b", 1, 2), segment("a", 2.5, 3)]},
        {"audio": [A], "text": [{**TEXT, "ref_id": "t"}], "segments": [segment("t", 0, 1), segment("a", 1, 2)]},
        {"audio": [A, B], "segments": [segment("b", 0, 1)]},
    ],
)
def test_what_can_be_asked_for(values: dict[str, Any]) -> None:
    shape(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"video": None, "audio": [AUDIO]}, "exactly one of video and image"),
        ({"image": "/i.png", "audio": [AUDIO]}, "exactly one of video and image"),
        ({}, "Nothing to say: give audio, text with voice_id, or dub_language"),
        ({"audio": [AUDIO], "text": [TEXT]}, "2 audio and text inputs, but no segments"),
        ({"audio": [A, B]}, "2 audio and text inputs, but no segments"),
        ({"dub_language": "de", "audio": [AUDIO]}, "leave audio and text out"),
        ({"dub_language": "de", "text": [TEXT]}, "leave audio and text out"),
        ({"audio": [A, AUDIO], "segments": [segment("a", 0, 1)]}, "needs a ref_id of its own"),
        ({"audio": [A, A], "segments": [segment("a", 0, 1)]}, "needs a ref_id of its own"),
        ({"audio": [A], "segments": [segment("x", 0, 1)]}, "Segment 1 uses ref_id 'x', which no input has. Inputs: a"),
        ({"audio": [A], "segments": [segment("a", 1, 1)]}, r"Segment 1 ends \(1.0 s\) before it starts \(1.0 s\)"),
        ({"audio": [A], "segments": [segment("a", 2, 1)]}, r"Segment 1 ends \(1.0 s\) before it starts \(2.0 s\)"),
        (
            {"audio": [A, B], "segments": [segment("a", 0, 2), segment("b", 1, 3)]},
            r"Segment 2 starts at 1.0 s, inside the one before it \(to 2.0 s\)",
        ),
        ({"audio": [A, B], "segments": [segment("b", 2, 3), segment("a", 0, 1)]}, "Segment 2 starts at 0.0 s, inside"),
    ],
)
def test_what_cannot_be_asked_for_says_which_rule_is_broken(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        shape(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sync_mod": "loop"}, "sync_mod is no option of this request; it has model"),
        ({"sync_mode": "dance"}, "sync_mode|syncMode"),
        ({"temperature": 1.5}, "temperature: .*less than or equal to 1"),
        ({"temperature": -0.1}, "temperature: .*greater than or equal to 0"),
        ({"model": ""}, "model: "),
        ({"output_file_name": "a b"}, "output_?[fF]ile_?[nN]ame: "),
        ({"audio": [{"media": "/a.wav", "refid": "a"}]}, r"audio\.0\.refid: Extra inputs"),
        ({"text": [{"text": "Hi."}]}, r"text\.0\.voice_?[iI]d: Field required"),
        ({"segments": [{"start_time": -1, "end_time": 1, "audio_input": {"ref_id": "a"}}]}, r"segments\.0\.start"),
        ({"segments": [{"start_time": 0, "end_time": 1}]}, r"segments\.0\.audio_?[iI]nput: Field required"),
        ({"active_speaker": {"frame_number": -1}}, "frame_number"),
        ({"active_speaker": {"coordinates": [1]}}, "coordinates"),
    ],
)
def test_a_wrong_or_unknown_option_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        parse(LipSyncOptions, values)
    assert "Nothing was uploaded or paid; correct the task's arguments." in str(caught.value)


def test_every_wrong_option_is_named_at_once() -> None:
    with pytest.raises(InvalidInputError, match=r"stability: .*; .*similarity"):
        parse(SyncLabsSpeech, {"text": "Hi.", "voice_id": "V", "stability": 2, "similarity_boost": "loud"})


def test_the_spelling_of_the_service_is_taken_too() -> None:
    ours = {
        "video": "/v.mp4",
        "audio": [{"media": "/a.wav", "ref_id": "a"}],
        "text": [{"text": "Hi.", "voice_id": "V", "similarity_boost": 0.1, "ref_id": "t"}],
        "segments": [{"start_time": 0, "end_time": 1, "audio_input": {"ref_id": "a", "start_time": 1, "end_time": 2}}],
        "sync_mode": "loop",
        "output_file_name": "x",
    }
    theirs = {
        "video": "/v.mp4",
        "audio": [{"audio": "/a.wav", "refId": "a"}],
        "text": [{"script": "Hi.", "voiceId": "V", "similarityBoost": 0.1, "refId": "t"}],
        "segments": [{"startTime": 0, "endTime": 1, "audioInput": {"refId": "a", "startTime": 1, "endTime": 2}}],
        "syncMode": "loop",
        "outputFileName": "x",
    }
    assert parse(LipSyncOptions, ours) == parse(LipSyncOptions, theirs)


def test_the_files_of_a_request_are_the_visual_and_then_the_recordings() -> None:
    options = parse(LipSyncOptions, {"image": "/i.png", "audio": [A, B], "text": [TEXT]})
    assert options.media == ["/i.png", "/a.wav", "/b.wav"]


def test_what_a_speaker_detection_of_next_year_takes_is_passed_on() -> None:
    options = parse(LipSyncOptions, {"active_speaker": {"auto_detect": True, "v9": {"x": 1}}})
    assert options.active_speaker is not None
    assert options.active_speaker.model_dump(exclude_none=True) == {"auto_detect": True, "v9": {"x": 1}}
