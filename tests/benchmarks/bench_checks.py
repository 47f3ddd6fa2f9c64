"""How many wrong takes CheckLinesOperator finds, of each kind, with and without transcription, and how many good ones.

Run with ``pytest -m benchmark -s tests/benchmarks/bench_checks.py``; ``BENCH_WRONG=50`` for so many lines of each kind
and four times as many good ones, ``BENCH_ENGINE=local`` for real speech.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Task
from voice_provider.emulator.process import EmulatorProcess
from voice_provider.lines.divergence import compare
from voice_provider.operators import CheckLinesOperator, SpeakLinesOperator

if TYPE_CHECKING:
    from pathlib import Path

WRONG = int(os.environ.get("BENCH_WRONG", "10"))
ENGINE = os.environ.get("BENCH_ENGINE", "tone")
KINDS = ("speech_swapped", "speech_cut", "speech_silenced", "speech_other_voice")

WHO = "The old captain|My sister|A young reporter|Nobody in the village|The committee|Doctor Hale|Every second visitor"
DID = "found|carried|forgot|painted|described|sold|followed|repaired|borrowed|noticed|hid|measured|remembered"
WHAT = "a wooden box|the letter from Lisbon|3 silver coins|an empty bottle|the broken clock|two tickets|the red bicycle"
HOW = (
    "before the storm began|under the bridge|in the early morning|without saying a word|near the railway station|"
    "because nobody else would|as if nothing had happened|on the 2nd floor|for the first time in years|and laughed"
)
OPENING = "Well|Yesterday|To be honest|In the end|After a while|Strangely enough|Of course|Years later"


def lines(count: int) -> list[str]:
    """Make lines of three to thirty words, none twice."""
    dice, made = random.Random(7), dict[str, None]()
    who, did, what, how, opening = (dice.choice,) * 5
    while len(made) < count:
        short = f"{who(WHO.split('|'))} {did(DID.split('|'))} {what(WHAT.split('|'))}"
        long = f"{opening(OPENING.split('|'))}, {short[0].lower()}{short[1:]} {how(HOW.split('|'))}"
        text = dice.choice((f"{short}.", f"{short}!", f"{long}.", f"{long}. {short}, {how(HOW.split('|'))}?"))
        made[text] = None
    return list(made)


def faults(texts: list[str]) -> list[dict[str, Any]]:
    """Order one fault for each of the first lines; a swap says another line of the script."""
    dice = random.Random(8)
    ordered = []
    for number in range(WRONG * len(KINDS)):
        kind = KINDS[number % len(KINDS)]
        share = {"speech_cut": dice.uniform(0.3, 0.9), "speech_silenced": dice.choice((0.0, dice.uniform(0, 0.7)))}
        ordered.append({"kind": kind, "share": share.get(kind), "body": texts[-1 - number]})
    return ordered


def words_lost(text: str, fault: dict[str, Any]) -> int:
    """Return the longest row of words that are not those of the text."""
    if fault["kind"] == "speech_swapped":
        return compare(text, fault["body"]).run
    words = text.split()
    return len(words) - round(len(words) * (fault["share"] or 0.0)) if fault["share"] is not None else 0


@pytest.mark.benchmark
def test_wrong_takes_are_found_and_good_ones_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = lines(WRONG * 2 * len(KINDS))
    script = [{"id": str(number), "text": text} for number, text in enumerate(texts)]
    with EmulatorProcess(tmp_path / "emulator", engine=ENGINE) as emulator:
        emulator.settings(fish_concurrency=None)
        [voice] = emulator.seed_models(["Narrator"])
        monkeypatch.setenv("AIRFLOW_CONN_VOICE_DEFAULT", json.dumps(emulator.connection("fish_audio")))
        ordered = faults(texts)
        for fault in ordered:
            emulator.fault(path="/v1/tts", **fault)
        where = {"voice_id": voice["id"], "output": f"{tmp_path}/out/", "concurrency": 1}
        where |= {"max_failed": len(script)}  # far too short a take is refused when it comes
        made = Task().run(SpeakLinesOperator(task_id="speak", lines=script, **where))
        print(f"\n{ENGINE}: {made['counts']}, {made['seconds'] / len(script):.1f} s a line")
        for transcribe in (False, True):
            began, cpu = time.perf_counter(), time.process_time()
            check: Any = CheckLinesOperator(task_id="check", spoken=made, lines=script, transcribe=transcribe)
            result = Task().run(check)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            print(
                f"{'with' if transcribe else 'without'} transcription: {result['counts']}, {result['transcribed']} "
                f"listened to; {wall:.1f} s, {cpu / len(script) * 1000:.0f} ms of CPU a line"
            )
            with open(result["verdicts"], encoding="utf-8") as file:  # noqa: PTH123
                rows = [json.loads(row) for row in file]
            found: dict[str, Counter[str]] = defaultdict(Counter)
            for text, fault, row in zip(texts, ordered, rows, strict=False):
                lost = words_lost(text, fault)
                found[f"{fault['kind']}, {'8 words or more' if lost >= 8 else 'less'}"][
                    row["verdict"] if row["uri"] else "refused when it came"
                ] += 1
                if row["verdict"] == "ok" and os.environ.get("BENCH_SHOW"):
                    print("   missed:", fault["kind"], fault["share"], text, row["measures"])
            for row in rows[len(ordered) :]:
                found["good"][row["verdict"]] += 1
                if row["verdict"] != "ok":
                    print("   false alarm:", row["verdict"], row["reasons"], texts[int(row["id"])])
            for kind, verdicts in sorted(found.items()):
                print(f"  {kind:40} {dict(verdicts)}")
            if transcribe:
                assert found["good"] == {"ok": WRONG * len(KINDS)}
                for kind, verdicts in found.items():
                    assert "8 words" not in kind or set(verdicts) <= {"drift", "refused when it came"}
