"""Text is text, over HTTP to both services: what nobody wrote as a script is found before anything is paid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task
from voice_provider.exceptions import InvalidInputError
from voice_provider.operators.asset import UploadAssetOperator
from voice_provider.operators.clone import CloneVoiceOperator
from voice_provider.operators.lip_sync import LipSyncOperator
from voice_provider.operators.speech import TTSOperator
from voice_provider.operators.voice import UpdateVoiceOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from voice_provider.emulator.process import EmulatorHandle
    from voice_provider.hooks.voice import VoiceHook

BUILT_IN = "EXAVITQu4vr4xnSDxMaL"
HALF = "Great news \ud83d"
NO_SCRIPTS: list[tuple[Any, str]] = [
    ({"en": "Hello there"}, "^text: it is a dict, not text"),
    (["Hello there", "again"], "^text: it is a list, not text"),
    ((1, 234), "^text: it is a tuple, .*render_template_as_native_obj"),
    (b"Hello there", "^text: it is a bytes"),
    (True, "^text: it is a bool"),
    (float("nan"), "^text: it is nan"),
    ("{'en': 'Hello there'}", "^text: it is a dict that was turned into text"),
    ("1\n00:00:00,140 --> 00:00:02,720\nHello there.", "^text: it is subtitles"),
    (HALF, "^text: it has half a character at position 12"),
    ("... !?", "nothing that can be spoken"),
    ("😀🎉", "nothing that can be spoken"),
    ("[laughs]", "nothing that can be spoken"),
    ("\u200b", "nothing that can be spoken"),
    ("", "The script is empty"),
]


@pytest.fixture
def speakers(emulator: EmulatorHandle, set_connection: Callable[..., None]) -> dict[str, str]:
    """A connection of each service, and a voice that can speak there."""
    set_connection("fish", service="fish_audio")
    [voice] = emulator.seed_models(["Anybody"], visibility="public")
    return {"voice_default": BUILT_IN, "fish": voice["id"]}


def sent(emulator: EmulatorHandle) -> int:
    return sum(request["method"] != "GET" for request in emulator.requests())


def refused(emulator: EmulatorHandle, operator: Any, message: str) -> None:
    """Run the operator: it has to be refused with nothing sent at all."""
    before = sent(emulator)
    with pytest.raises(InvalidInputError, match=message):
        Task().run(operator)
    assert sent(emulator) == before
    assert emulator.ledger("speech") == []


def test_what_is_no_script_is_refused_by_every_service_and_way(
    emulator: EmulatorHandle, speakers: dict[str, str], video: Path, tmp_path: Path
) -> None:
    from voice_provider.hooks.voice import VoiceHook

    for conn_id, voice in speakers.items():
        hook = VoiceHook.for_connection(conn_id)
        for text, message in NO_SCRIPTS:
            line: dict[str, Any] = {"text": text, "voice_id": voice, "voice_conn_id": conn_id}
            refused(emulator, TTSOperator(task_id="t", output=f"{tmp_path}/out/", **line), message)
            with pytest.raises(InvalidInputError, match=message):
                hook.synthesize(text, voice, f"{tmp_path}/out/")
    for text, message in NO_SCRIPTS[:-1]:
        if not isinstance(text, list):  # of which each is an input
            film = {"video": str(video), "text": text, "voice_id": BUILT_IN, "output": f"{tmp_path}/out/"}
            refused(emulator, LipSyncOperator(task_id="t", **film), message)
        said = [{"ref_id": "a", "text": text, "voice_id": BUILT_IN}]
        refused(emulator, LipSyncOperator(task_id="t", video=str(video), text=said, output=f"{tmp_path}/out/"), message)
    assert sent(emulator) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"1\n00:00:00,140 --> 00:00:02,720\nHello there my friends.\n\n", "text_uri: it is subtitles .*as plain text"),
        (rb"{\rtf1\ansi Hello there\par}", "text_uri: it is rich text"),
        (b"<html><body>Hello there</body></html>", "text_uri: it is a page"),
        (b'{"text": "Hello there"}', "text_uri: it is a dict"),
        ("Hello there".encode("utf-16-le"), "has zeros in it: it is UTF-16.*Save it as UTF-8"),
        ("Hello there".encode("utf-16"), "not UTF-8 text"),
        ("Grüße".encode("latin-1"), "not UTF-8 text"),
        (b"* * *", "nothing that can be spoken"),
        (b" \n", "The script is empty"),
    ],
)
def test_a_file_that_is_no_script_is_not_spoken(
    emulator: EmulatorHandle, speakers: dict[str, str], tmp_path: Path, data: bytes, message: str
) -> None:
    script = tmp_path / "script.txt"
    script.write_bytes(data)
    for conn_id, voice in speakers.items():
        line: dict[str, Any] = {"text_uri": str(script), "voice_id": voice, "voice_conn_id": conn_id}
        refused(emulator, TTSOperator(task_id="t", output=f"{tmp_path}/out/", **line), message)


def test_what_is_sent_is_clean(emulator: EmulatorHandle, speakers: dict[str, str], tmp_path: Path) -> None:
    for conn_id, voice in speakers.items():
        line: dict[str, Any] = {"text": "Hel\x00lo \ud83d\ude00\x1b[0m.", "voice_id": voice, "voice_conn_id": conn_id}
        assert Task().run(TTSOperator(task_id="t", output=f"{tmp_path}/out/", **line))["bytes"] > 0
    assert [row["units"] for row in emulator.ledger("speech")] == [len("Hello 😀."), len("Hello 😀.".encode())]


def test_names_and_descriptions_are_texts_too(
    emulator: EmulatorHandle, speakers: dict[str, str], sample: Path, hook: VoiceHook
) -> None:
    voice = emulator.models()[0]["_id"]
    for operator, message in (
        (CloneVoiceOperator(task_id="t", name={"a": "Ann"}, sample=str(sample)), "^name: it is a dict"),
        (CloneVoiceOperator(task_id="t", name=HALF, sample=str(sample)), "^name: it has half a character"),
        (UploadAssetOperator(task_id="t", name=HALF, file=str(sample)), "^name: it has half a character"),
        (
            CloneVoiceOperator(task_id="t", name="A", sample=str(sample), voice_conn_id="fish", description=HALF),
            "^description: it has half",
        ),
        (
            CloneVoiceOperator(task_id="t", name="A", sample=str(sample), voice_conn_id="fish", texts=["WEBVTT"]),
            r"^texts\.0: it is subtitles",
        ),
        (
            TTSOperator(
                task_id="t",
                text="Hi.",
                references=[{"audio": str(sample), "text": {"de": "Hallo"}}],
                voice_conn_id="fish",
                output=f"{sample.parent}/",
            ),
            "^text: it is a dict|references.*text: it is a dict",
        ),
        (UpdateVoiceOperator(task_id="t", voice=voice, title=HALF, voice_conn_id="fish"), "^title: it has half"),
    ):
        refused(emulator, operator, message)
    for call in (lambda: hook.clone_voice(HALF, str(sample)), lambda: hook.upload_asset(str(sample), HALF)):
        with pytest.raises(InvalidInputError, match=r"^name: it has half"):
            call()
    assert sent(emulator) == 0
    made = Task().run(CloneVoiceOperator(task_id="t", name="An\x00n\x07", sample=str(sample)))
    assert made["label"] == "Ann"


def test_tags_are_warned_of_before_they_are_paid(
    emulator: EmulatorHandle, speakers: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for conn_id, voice in speakers.items():
        line: dict[str, Any] = {"text": "<emphasis>Hello</emphasis>.", "voice_id": voice, "voice_conn_id": conn_id}
        TTSOperator(task_id="t", output=f"{tmp_path}/out/", **line).order(Task().context)
        said = capsys.readouterr()
        assert "tags such as <emphasis>: the service documents no SSML" in said.out + said.err
    assert emulator.ledger() == []
