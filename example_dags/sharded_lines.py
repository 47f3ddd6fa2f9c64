"""Speak a script of five thousand lines on several workers: a mapped task a thousand lines, one manifest at the end.

One task of ``SpeakLinesOperator`` speaks ten thousand lines, as many at a time as the account may. Shards are for what
outgrows one worker. The whole script is read, and a row that is wrong told, before the first shard is paid. A shard
has a folder of its own, because one task at a time speaks into a folder; so it keeps its takes across runs, and a retry
speaks only what is missing. Lines that are added at the end move nothing; one that is put in moves a line across each
boundary behind it, and these few are spoken again.

Needs a connection ``voice_default`` of type ``fish_audio``, a voice there, and an Airflow variable ``voice_root``: the
one folder or bucket (default ``/opt/airflow/voice``) with the script in ``inbox/``; results are kept in ``results/``.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, Param, task

from voice_provider.operators import SpeakLinesOperator

ROOT = "{{ var.value.get('voice_root', '/opt/airflow/voice') }}"

with DAG(
    dag_id="sharded_lines",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "script": Param(
            "script.csv",
            type="string",
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
            title="Script",
            description="CSV, JSONL, SRT or VTT in the inbox.",
        ),
        "voice_id": Param(
            "narrator",
            type="string",
            minLength=1,
            title="Voice",
            description="Id at the service; it speaks the lines that name no voice.",
        ),
        "lines_per_shard": Param(1000, type="integer", minimum=1, title="Lines of a shard"),
        "concurrency": Param(
            5,
            type="integer",
            minimum=1,
            maximum=64,
            title="Lines at a time",
            description="Of each shard; three shards run at a time, and the account counts all of them.",
        ),
    },
):

    @task
    def shards_of(root: str, params: dict[str, Any] | None = None) -> list[dict[str, str]]:
        """Cut the script into shards, and name the script and the folder of each."""
        from voice_provider.lines.script import COLUMNS, read_lines  # noqa: PLC0415 - the DAG processor needs it not

        values = params or {}
        script = ObjectStoragePath(f"{root}/inbox/{values['script']}")
        rows = [
            {**line.notes, **{name: value for name in COLUMNS if (value := getattr(line, name)) is not None}}
            for line in read_lines(script.read_bytes(), script.name)
        ]
        size = values["lines_per_shard"]
        shards = []
        for start in range(0, len(rows), size):
            folder = ObjectStoragePath(f"{root}/results/sharded_lines/{script.name}/{start // size + 1:04d}")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "script.jsonl").write_text(
                "".join(f"{json.dumps(row)}\n" for row in rows[start : start + size]), encoding="utf-8"
            )
            shards.append({"lines": f"{folder}/script.jsonl", "output": f"{folder}/"})
        return shards

    @task
    def merge(root: str, shards: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Put the manifests together, in the order of the script: what JoinLinesOperator and FitLinesOperator take."""
        told = list(shards)
        manifest = ObjectStoragePath(f"{root}/results/sharded_lines/{(params or {})['script']}/manifest.jsonl")
        manifest.write_bytes(b"".join(ObjectStoragePath(shard["manifest"]).read_bytes() for shard in told))
        counts: Counter[str] = Counter()
        for shard in told:
            counts.update(shard["counts"])
        return {"manifest": str(manifest), "counts": counts, "seconds": sum(shard["seconds"] for shard in told)}

    speak = SpeakLinesOperator.partial(
        task_id="speak",
        voice_id="{{ params.voice_id }}",
        concurrency="{{ params.concurrency }}",
        max_active_tis_per_dag=3,
        map_index_template="{{ task.output_location }}",
    ).expand_kwargs(shards_of(root=ROOT))
    merge(root=ROOT, shards=speak.output)
