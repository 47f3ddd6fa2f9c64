"""What Fish Audio can be asked for, what is refused before anything is sent or paid, and what is only doubtful."""

from __future__ import annotations

import re
from typing import Any

import pytest

from voice_provider.exceptions import InvalidInputError
from voice_provider.services.fish_audio import options as fish_audio_options
from voice_provider.services.fish_audio.dialect import FishAudio
from voice_provider.services.fish_audio.options import (
    BRACKETS,
    DEFAULT_MODEL,
    OUTDATED,
    RATES,
    FishClone,
    FishSpeech,
    FishTranscription,
    check_clone,
    check_speech,
    check_transcription,
)
from voice_provider.services.options import SampleFacts, parse
from voice_provider.services.texts import spoken_characters

ID, OTHER = "d5d21261512b4852b9ccd709facf93f3", "7ecad23df62a4174acd6a2a6cb5201ee"
KEPT = {"id": "d-1", "version": "3"}
SAID = {"audio": "/a.wav", "text": "What is said."}


def speech(**values: Any) -> FishSpeech:
    return parse(FishSpeech, {"text": "Hello.", "voice_id": ID, **values}, "Fish Audio")


def clip(seconds: float | None = 30, name: str = "a.wav", media_type: str = "audio/wav") -> SampleFacts:
    return SampleFacts(name, media_type, seconds)


def check(*clips: SampleFacts, engine: str = DEFAULT_MODEL, **values: Any) -> list[str]:
    return check_speech(speech(**values), list(clips), engine)


# one option at a time


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("format", "opus", "opus"),
        ("sample_rate", 44100, 44100),
        ("sample_rate", "44100", 44100),
        ("sampleRate", 44100.0, 44100),
        ("mp3_bitrate", "192", 192),
        ("opusBitrate", "-1000", -1000),
        ("latency", "low", "low"),
        ("chunk_length", "100", 100),
        ("chunkLength", 300, 300),
        ("min_chunk_length", 0, 0),
        ("min_chunk_length", "100", 100),
        ("normalize", "true", True),
        ("normalize", "False", False),
        ("normalize", 0, False),
        ("temperature", "0.7", 0.7),
        ("temperature", 0, 0.0),
        ("temperature", 1, 1.0),
        ("top_p", 1, 1.0),
        ("repetition_penalty", "1.2", 1.2),
        ("repetition_penalty", 0.01, 0.01),
        ("max_new_tokens", "1", 1),
        ("condition_on_previous_chunks", "no", False),
        ("early_stop_threshold", "1.0", 1.0),
        ("speed", "1.2", 1.2),
        ("speed", 0.5, 0.5),
        ("speed", 2, 2.0),
        ("volume", "-20", -20.0),
        ("volume", 20, 20.0),
        ("normalize_loudness", "yes", True),
        ("normalizeLoudness", False, False),
        ("features", ["quality-guard"], ("quality-guard",)),
        ("model", "s2-pro", "s2-pro"),
        ("voice_id", ID, ID),
        ("voiceId", [ID, OTHER], (ID, OTHER)),
        ("voice_id", "x" * 128, "x" * 128),
        ("voice_id", "my-Voice_7", "my-Voice_7"),
    ],
)
def test_an_option_is_taken_as_the_value_it_means(name: str, value: Any, read: Any) -> None:
    given = {"text": "Hello.", name: value}
    [(_, found)] = parse(FishSpeech, given).model_dump(exclude_unset=True, exclude={"text"}).items()
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "flac"}, "format: Input should be 'mp3', 'wav', 'pcm' or 'opus'"),
        ({"sample_rate": "loud"}, "sample_?[rR]ate: "),
        ({"sample_rate": ""}, "sample_?[rR]ate: "),
        ({"sample_rate": 44100.5}, "sample_?[rR]ate: "),
        ({"latency": "fast"}, "latency: Input should be 'normal', 'balanced' or 'low'"),
        ({"chunk_length": 99}, "chunk_?[lL]ength: .*greater than or equal to 100"),
        ({"chunk_length": 301}, "chunk_?[lL]ength: .*less than or equal to 300"),
        ({"min_chunk_length": -1}, "greater than or equal to 0"),
        ({"min_chunk_length": 101}, "less than or equal to 100"),
        ({"normalize": "maybe"}, "normalize: "),
        ({"temperature": 1.01}, "temperature: .*less than or equal to 1"),
        ({"temperature": -0.01}, "temperature: .*greater than or equal to 0"),
        ({"temperature": "nan"}, "temperature: "),
        ({"top_p": 2}, "top_?[pP]: .*less than or equal to 1"),
        ({"repetition_penalty": 0}, "repetition_?[pP]enalty: .*greater than 0"),
        ({"repetition_penalty": "inf"}, "repetition_?[pP]enalty: .*finite"),
        ({"max_new_tokens": 0}, "greater than or equal to 1"),
        ({"early_stop_threshold": 1.1}, "less than or equal to 1"),
        ({"speed": 0.49}, "speed: .*greater than or equal to 0.5"),
        ({"speed": 2.01}, "speed: .*less than or equal to 2"),
        ({"volume": -20.1}, "volume: .*greater than or equal to -20"),
        ({"volume": 20.1}, "volume: .*less than or equal to 20"),
        ({"model": ""}, "model: "),
        ({"voice_id": ""}, "'' is no id of a Fish Audio voice; pass what the service returned"),
        ({"voice_id": "x" * 129}, f"'{'x' * 60}' is no id of a Fish Audio voice"),
        ({"voice_id": [ID, "../wallet"]}, r"'\.\./wallet' is no id"),
        ({"voice_id": "a b"}, "'a b' is no id"),
        ({"voice_id": "id\n"}, "is no id"),
        ({"voice_id": "é"}, "'é' is no id"),
        ({"voice_id": 7}, "voice_?[iI]d"),
        ({"references": [{"audio": "/a.wav"}]}, r"references.*text: Field required"),
        ({"references": [{**SAID, "language": "en"}]}, r"references.*language: Extra inputs"),
        ({"references": [SAID, [SAID]]}, "references"),
        ({"pronunciation_dictionary": [KEPT] * 4}, "at most 3"),
        ({"pronunciation_dictionary": [{"items": []}] * 4}, "at most 3"),
        ({"pronunciation_dictionary": [KEPT, {"items": []}]}, "never mixed"),
        *(
            ({"pronunciation_dictionary": [odd]}, "either id and version, both of them, or items")
            for odd in ({}, {"id": "d"}, {"version": "1"}, {**KEPT, "items": []}, {"id": "d", "items": []})
        ),
        *(
            ({"pronunciation_dictionary": [{**KEPT, name: value}]}, f"{name}: String should match")
            for name in KEPT
            for value in ("", "a b", "d" * 129, "d\n")
        ),
        ({"pronunciation_dictionary": [{**KEPT, "name": "x"}]}, "name"),
        ({"pronunciation_dictionary": [{"items": [{"key": "x", "value": ""}]}]}, "at least 1 character"),
        ({"pronunciation_dictionary": [{"items": [{"key": "", "value": "x"}]}]}, "at least 1 character"),
        ({"pronunciation_dictionary": [{"items": [{"key": "x" * 257, "value": "x"}]}]}, "at most 256"),
        ({"pronunciation_dictionary": [{"items": [{"key": "x", "value": "x" * 1025}]}]}, "at most 1024"),
        ({"pronunciation_dictionary": [{"items": [{"key": "x", "value": "x"}] * 5001}]}, "at most 5000"),
        ({"stability": 0.5}, "stability is no option of Fish Audio; it has text, voice_id, references, model, format"),
        ({"prosody": {"pitch": 1}}, "pitch is no option of Fish Audio"),
        ({"prosody": {"speed": 3}}, "speed: .*less than or equal to 2"),
        ({"prosody": "fast"}, "prosody is no option of Fish Audio"),
    ],
)
def test_a_wrong_or_unknown_option_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        speech(**values)
    assert "Nothing was uploaded or paid; correct the task's arguments." in str(caught.value)


def test_what_is_not_given_is_left_to_the_service() -> None:
    assert speech().model_dump(exclude_none=True, exclude_defaults=True) == {"text": "Hello.", "voice_id": ID}
    assert speech().format == "mp3"


@pytest.mark.parametrize("prosody", [{"speed": "1.2", "volume": -3, "normalize_loudness": "false"}, {"speed": 1.2}])
def test_prosody_may_be_written_as_the_services_documentation_does(prosody: dict[str, Any]) -> None:
    assert speech(prosody=prosody) == speech(**prosody)


def test_a_dictionary_may_be_kept_or_sent_along() -> None:
    kept, sent = {"id": "d-1", "version": 3}, {"items": [{"key": "Airflow", "value": "ˈɛəfləʊ"}]}
    [one] = speech(pronunciation_dictionary=[kept]).pronunciation_dictionary
    [two] = speech(pronunciation_dictionary=[sent]).pronunciation_dictionary
    assert one.model_dump(exclude_none=True) == {"id": "d-1", "version": "3"}
    assert two.model_dump(exclude_none=True) == {"items": [{**sent["items"][0], "case_sensitive": False}]}  # type: ignore[dict-item]


# voices and references


@pytest.mark.parametrize(
    ("references", "speakers"),
    [
        ([SAID], [1]),
        ([SAID, SAID], [2]),
        ([[SAID]], [1]),
        ([[SAID, SAID], [SAID]], [2, 1]),
    ],
)
def test_one_list_of_references_is_one_speaker_and_a_list_of_lists_is_several(
    references: Any, speakers: list[int]
) -> None:
    options = speech(voice_id=None, references=references)
    assert [len(speaker) for speaker in options.speakers] == speakers
    assert options.voice_ids == []
    assert check_speech(options, [clip()] * sum(speakers), DEFAULT_MODEL) == []


@pytest.mark.parametrize(
    ("value", "found"), [(ID, [ID]), ([ID, OTHER], [ID, OTHER]), ((ID,), [ID]), (None, []), ([], [])]
)
def test_the_voices_that_speak(value: Any, found: list[str]) -> None:
    assert speech(voice_id=value).voice_ids == found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"text": ""}, "script is empty: there is nothing to say. Nothing was paid"),
        ({"text": " \n\t\u3000"}, "script is empty"),
        ({"voice_id": None}, "Nobody to speak: give voice_id, or references for an instant clone"),
        ({"voice_id": []}, "Nobody to speak"),
        ({"references": [SAID]}, "Give voice_id or references, not both"),
        ({"voice_id": [ID, OTHER], "references": [[SAID], [SAID]]}, "not both"),
        ({"voice_id": None, "references": [[]]}, r"no references for speaker 0 \(counted from 0\)"),
        ({"voice_id": None, "references": [[SAID], []]}, "no references for speaker 1"),
        ({"voice_id": None, "references": [[], [SAID], []]}, "no references for speaker 0, 2"),
        ({"text": "<|speaker:1|>Hello."}, r"names speaker 1, but there are 1 \(counted from 0\)"),
        (
            {"text": "<|speaker:0|>Hello. <|speaker:2|>Hi. <|speaker:1|>Oh.", "voice_id": [ID, OTHER]},
            "names speaker 2, but there are 2",
        ),
        ({"text": "<|speaker:10|>Hi.", "voice_id": [ID] * 10}, "names speaker 10, but there are 10"),
        ({"text": "<|speaker:1|>Hi.", "voice_id": None, "references": [SAID, SAID]}, "speaker 1, but there are 1"),
        ({"voice_id": [ID, OTHER], "engine": "s1"}, "Model s1 has one speaker in a call, not 2. Use s2.1-pro"),
        ({"voice_id": None, "references": [[SAID], [SAID]], "engine": "s1"}, "Model s1 has one speaker"),
    ],
)
def test_speakers_and_script_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"text": "<|speaker:0|>Hello.<|speaker:1|>Hi.", "voice_id": [ID, OTHER]},
        {"text": "<|speaker:1|>Hi.", "voice_id": None, "references": [[SAID], [SAID, SAID]]},
        {"text": "<|speaker:0|>Alone."},
        {"text": "No marks.", "voice_id": [ID, OTHER]},
        {"text": "<|speaker:x|> and <|pause|> are no speakers."},
        {"text": "(laughs) Ha.", "engine": "s1"},
        {"text": "Hi.", "voice_id": None, "references": [[SAID]], "engine": "s1"},
    ],
)
def test_speakers_and_script_that_fit_are_taken(values: dict[str, Any]) -> None:
    assert check(**values) == ([OUTDATED["s1"]] if values.get("engine") == "s1" else [])


@pytest.mark.parametrize("engine", ["s2.1-pro", "s2.1-pro-free", "s2-pro", "drama-3"])
def test_a_known_model_is_taken_without_a_word(engine: str) -> None:
    assert check(engine=engine) == []


@pytest.mark.parametrize(
    ("engine", "told"), [("s1", "ends on 2026-12-31.* Use s2.1-pro"), ("drama-3-preview", "Use drama-3")]
)
def test_a_model_that_ends_is_taken_with_a_warning(engine: str, told: str) -> None:
    [warning] = check(engine=engine)
    assert re.search(told, warning)


def hearing(**values: Any) -> FishTranscription:
    return parse(FishTranscription, values, "Fish Audio")


def test_the_model_of_a_transcription_that_ends_is_taken_with_a_warning() -> None:
    assert check_transcription(hearing()) == check_transcription(hearing(model="transcribe-1-pro")) == []
    assert "ends on 2026-12-31" in check_transcription(hearing(model="transcribe-1"))[0]
    assert "is not known" in check_transcription(hearing(model="transcribe-2"))[0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"language": "en-US"}, "language: String should match"),
        ({"model": "a\nb"}, "model: String should match"),
        ({"num_speakers": 0}, "num_speakers: .*greater than or equal to 1"),
        ({"speakers": 2}, "speakers is no option of Fish Audio; it has segments, language"),
        ({"num_speakers": 2, "diarize": False}, "diarize is False"),
        ({"model": "transcribe-1", "diarize": True, "num_speakers": 2}, "has no diarize or num_speakers. Use trans"),
    ],
)
def test_a_wrong_option_of_a_transcription_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check_transcription(hearing(**values))


@pytest.mark.parametrize("engine", ["s3-pro", "speech-1.6", "S2.1-PRO"])
def test_an_unknown_model_is_taken_with_a_warning_because_another_would_be_billed(engine: str) -> None:
    assert check(engine=engine) == [f"Model '{engine}' is not known; the service may bill its default instead."]


@pytest.mark.parametrize("engine", ["s2.1-pro\n", " s2-pro", "s2 pro", "s2-prö", "x" * 101, "s2\r\nx-injected: 1"])
def test_a_model_that_no_header_can_hold_is_refused_before_anything_is_sent(engine: str) -> None:
    with pytest.raises(InvalidInputError, match=r"is no name of a model\. Use s2\.1-pro, ") as caught:
        check(engine=engine)
    assert "\n" not in str(caught.value)


def test_the_connections_model_is_held_to_the_same_rules() -> None:
    service = FishAudio({"speech_model": "s1"})
    with pytest.raises(InvalidInputError, match="Model s1 has one speaker"):
        service.check_speech(speech(voice_id=[ID, OTHER]))
    assert service.check_speech(speech(voice_id=[ID, OTHER], model="s2-pro")) == []


# what comes out


@pytest.mark.parametrize("form", ["mp3", "wav", "pcm", "opus"])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_every_format_has_its_rates(form: str, rate: int) -> None:
    made = {"wav": (8000, 16000, 24000, 32000, 44100), "mp3": (32000, 44100), "opus": (48000,)}
    fits = rate in made["wav" if form == "pcm" else form]
    if fits:
        assert check(format=form, sample_rate=rate) == []
        return
    with pytest.raises(InvalidInputError, match=f"{form} is not made at {rate} Hz. It can be [0-9, ]+ Hz") as caught:
        check(format=form, sample_rate=rate)
    others = [name for name, rates in RATES.items() if rate in rates]
    assert ("exists as " in str(caught.value)) is bool(others)
    assert str(caught.value).endswith(f"exists as {' and '.join(others)}." if others else "Hz.")


@pytest.mark.parametrize("form", ["mp3", "wav", "pcm", "opus"])
def test_without_a_rate_the_service_chooses_it(form: str) -> None:
    assert check(format=form) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mp3_bitrate": 128000}, r"mp3_bitrate 128000 does not exist; use 64, 128, 192\. It is in kbps: 128\."),
        ({"mp3_bitrate": 320}, r"mp3_bitrate 320 does not exist; use 64, 128, 192\.$"),
        ({"format": "opus", "opus_bitrate": 32}, r"opus_bitrate 32 does not exist; .* It is in bps: 32000\."),
        ({"format": "opus", "opus_bitrate": 96000}, r"use -1000, 24000, 32000, 48000, 64000\.$"),
        ({"format": "wav", "mp3_bitrate": 128}, "mp3_bitrate is for format mp3; this is wav. Leave it out"),
        ({"format": "mp3", "opus_bitrate": 32000}, "opus_bitrate is for format opus; this is mp3. Leave it out"),
    ],
)
def test_a_bitrate_that_does_not_exist_says_what_does_and_in_which_unit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"mp3_bitrate": 64},
        {"mp3_bitrate": 128},
        {"mp3_bitrate": 192},
        {"format": "opus", "opus_bitrate": -1000},
        {"format": "opus", "opus_bitrate": 24000},
        {"format": "opus", "opus_bitrate": 32000},
        {"format": "opus", "opus_bitrate": 48000},
        {"format": "opus", "opus_bitrate": 64000},
    ],
)
def test_every_bitrate_that_exists_is_taken(values: dict[str, Any]) -> None:
    assert check(**values) == []


# recordings


def instant(*clips: SampleFacts) -> list[str]:
    return check(*clips, voice_id=None, references=[SAID] * len(clips))


@pytest.mark.parametrize(
    ("clips", "taken"),
    [
        ([270.0], True),
        ([270.1], False),
        ([90.0] * 3, True),
        ([90.0] * 3 + [10.0], False),
        ([None] * 30, True),
        ([None, 271.0], False),
    ],
)
def test_references_of_more_than_270_seconds_are_refused(clips: list[float | None], taken: bool) -> None:
    if taken:
        assert instant(*map(clip, clips)) == []
    else:
        with pytest.raises(InvalidInputError, match=r"references are \d+ s long; at most 270 s .*CloneVoiceOperator"):
            instant(*map(clip, clips))


@pytest.mark.parametrize(
    ("seconds", "doubtful"), [(4.0, True), (9.99, True), (10.0, False), (120.0, False), (None, False)]
)
def test_a_short_recording_is_taken_with_a_warning(seconds: float | None, doubtful: bool) -> None:
    for what, warnings in (
        ("reference", instant(clip(seconds))),
        ("sample", check_clone(FishClone(), [clip(), clip(seconds)])),
    ):
        assert len(warnings) == doubtful
        assert all(
            warning.startswith(f"The {what} a.wav is {seconds:.1f} s long; at least 10 s") for warning in warnings
        )


@pytest.mark.parametrize(
    ("name", "media_type"), [("talk.mp4", "video/mp4"), ("photo.png", "image/png"), ("talk.m4a.mov", "video/quicktime")]
)
def test_what_is_no_recording_is_refused(name: str, media_type: str) -> None:
    for what, refused in (
        ("reference", lambda: instant(clip(30, name, media_type))),
        ("sample", lambda: check_clone(FishClone(), [clip(), clip(30, name, media_type)])),
    ):
        with pytest.raises(InvalidInputError, match=f"The {what} {name} is {media_type}; Fish Audio takes recordings"):
            refused()


def test_a_recording_whose_container_looks_like_a_video_is_known_by_its_name() -> None:
    assert instant(clip(30, "phone.M4A", "video/mp4")) == []


@pytest.mark.parametrize("media_type", ["audio/wav", "audio/mpeg", "audio/mp4", "audio/ogg"])
def test_a_documented_kind_of_sample_is_taken_without_a_word(media_type: str) -> None:
    assert check_clone(FishClone(), [clip(30, "a", media_type)]) == []


def test_another_kind_of_recording_is_taken_with_a_warning() -> None:
    [warning] = check_clone(FishClone(), [clip(30, "a.flac", "audio/flac")])
    assert warning == "The sample a.flac is audio/flac; the documented ones are wav, mp3, m4a and opus."


# clones


@pytest.mark.parametrize(("count", "taken"), [(0, False), (1, True), (20, True), (21, False)])
def test_a_voice_is_made_of_one_to_twenty_samples(count: int, taken: bool) -> None:
    samples: list[SampleFacts | None] = [clip(12)] * count
    if taken:
        assert check_clone(FishClone(), samples) == []
    else:
        with pytest.raises(InvalidInputError, match=f"^{count} samples; Fish Audio takes 1 to 20. Nothing was sent"):
            check_clone(FishClone(), samples)


@pytest.mark.parametrize(("texts", "taken"), [(0, True), (1, False), (2, True), (3, False)])
def test_there_is_a_transcript_for_every_sample_or_for_none(texts: int, taken: bool) -> None:
    options = parse(FishClone, {"texts": ["What is said."] * texts})
    if taken:
        assert check_clone(options, [clip(), clip()]) == []
    else:
        with pytest.raises(
            InvalidInputError, match=f"{texts} transcripts for 2 samples: give one for each, in the sam"
        ):
            check_clone(options, [clip(), clip()])


def test_samples_of_which_nothing_is_known_are_left_to_the_service() -> None:
    assert check_clone(FishClone(), [None, clip(None)]) == []


@pytest.mark.parametrize(("seconds", "doubtful"), [(135.0, False), (135.1, True)])
def test_samples_of_more_than_270_seconds_are_taken_with_a_warning(seconds: float, doubtful: bool) -> None:
    warnings = check_clone(FishClone(), [clip(seconds), clip(seconds)])
    assert warnings == (["The samples are 270 s long together; more than 270 s have been refused."] if doubtful else [])


@pytest.mark.parametrize(
    ("values", "doubtful"),
    [
        ({"visibility": "public"}, True),
        ({"visibility": "public", "cover_image": "/c.png"}, False),
        ({"visibility": "unlist"}, False),
        ({}, False),
    ],
)
def test_a_public_voice_without_a_picture_is_doubtful(values: dict[str, Any], doubtful: bool) -> None:
    warnings = check_clone(parse(FishClone, values), [clip()])
    assert warnings == (["A public voice may need a cover_image."] if doubtful else [])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"visibility": "everyone"}, "visibility: Input should be 'private', 'unlist' or 'public'"),
        ({"visibility": None}, "visibility"),
        ({"enhance_audio_quality": "maybe"}, "enhance_?[aA]udio_?[qQ]uality"),
        ({"texts": "one text"}, "texts"),
        ({"tags": [True]}, r"tags\.0: it is a bool, not text"),
        ({"train_mode": "full"}, "train_mode is no option of Fish Audio; it has texts, visibility"),
    ],
)
def test_a_wrong_option_of_a_clone_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse(FishClone, values, "Fish Audio")


def test_a_voice_is_private_and_cleaned_unless_it_is_said_otherwise() -> None:
    options = parse(FishClone, {})
    assert (options.visibility, options.enhance_audio_quality, options.generate_sample) == ("private", True, None)


@pytest.mark.parametrize(
    ("values", "identity"),
    [
        ({}, {}),
        ({"enhance_audio_quality": "true"}, {}),
        ({"enhance_audio_quality": "false"}, {"enhance_audio_quality": False}),
        ({"texts": ["a", "b"]}, {"texts": ["a", "b"]}),
        ({"visibility": "unlist", "description": "x", "tags": ["y"], "cover_image": "/c.png"}, {}),
    ],
)
def test_only_what_is_heard_makes_another_voice(values: dict[str, Any], identity: dict[str, Any]) -> None:
    assert parse(FishClone, values).identity == identity


# how long it has to be


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("Hello, world!", 10),
        ("  ...?! ", 0),
        ("In 2026: 7 %", 7),
        ("Größe naïve", 10),
        ("你好，世界。", 8),
        ("ｗide", 4),
        ("你 ok", 4),
        ("한국어", 6),
        ("[laughs] Ha [long pause] ha", 4),
        ("<|speaker:0|>Hello!<|speaker:1|>Hi!", 7),
        ("<|speaker:0|>[whispering]你好", 4),
        ("[unclosed mark", 12),
        ("a < b | c > d", 4),
        ("[]", 0),
        ("👋🏽 hi", 2),
    ],
)
def test_only_what_is_spoken_is_counted(text: str, count: int) -> None:
    assert spoken_characters(BRACKETS.spoken(text)) == count


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({"text": "x" * 26}, 1.0),
        ({"text": "x" * 26, "speed": 2}, 0.5),
        ({"text": "x" * 26, "prosody": {"speed": "0.5"}}, 2.0),
        ({"text": "你" * 26}, 2.0),
        ({"text": "[laughs]<|speaker:0|>..."}, 0.0),
        ({"text": "x" * 26, "speed": None}, 1.0),
    ],
)
def test_speech_cannot_be_shorter_than_twice_as_fast_as_people_talk(values: dict[str, Any], seconds: float) -> None:
    assert speech(**values).least_seconds(BRACKETS) == pytest.approx(seconds)


def test_a_line_as_people_read_it_is_longer_than_its_least_length() -> None:
    text = "The quick brown fox jumps over the lazy dog, and nobody in the whole village was surprised by it at all."
    words_a_minute = 185
    assert speech(text=text).least_seconds(BRACKETS) < 0.7 * len(text.split()) / words_a_minute * 60


def test_every_option_has_a_row_in_this_file() -> None:
    """A new option needs its range tested."""
    assert set(FishSpeech.model_fields) == {
        "text", "voice_id", "references", "model", "format", "sample_rate", "mp3_bitrate", "opus_bitrate", "latency",
        "chunk_length", "min_chunk_length", "normalize", "temperature", "top_p", "repetition_penalty",
        "max_new_tokens", "condition_on_previous_chunks", "early_stop_threshold", "speed", "volume",
        "normalize_loudness", "features", "pronunciation_dictionary",
    }  # fmt: skip
    assert fish_audio_options.DEFAULT_MODEL in fish_audio_options.MODELS


def test_prosody_is_taken_as_the_documentation_writes_it_and_only_once() -> None:
    assert parse(FishSpeech, {"text": "Hi.", "voice_id": "a", "prosody": None}).voice_ids == ["a"]
    with pytest.raises(InvalidInputError, match="prosody names speed a second time"):
        parse(FishSpeech, {"text": "Hi.", "voice_id": "a", "prosody": {"speed": 1}, "speed": 2})
