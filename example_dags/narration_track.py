"""Join every narration that is kept to one track, as soon as it is there; nothing is paid.

It has no schedule but the asset ``voice_narration``, which ``narration`` updates: what was kept, and where, stands in
the event. Events that come while a run is at work start one run together, so a run may have several narrations: each
gets a task of its own.

Needs a connection ``voice_default``, and read and write access to where the narrations are.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, task

from voice_provider.operators import JoinLinesOperator

NARRATION = Asset("voice_narration")

with DAG(
    dag_id="narration_track",
    schedule=[NARRATION],
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
):

    @task
    def tracks_of(triggering_asset_events: Any = None) -> list[dict[str, str]]:
        """Say which manifest becomes which track; an event that a person made by hand tells of none."""
        events = triggering_asset_events.get(NARRATION, ())  # none where the run was started by hand
        manifests = dict.fromkeys(event.extra["manifest"] for event in events if "manifest" in event.extra)
        return [{"lines": one, "output": f"{one.removesuffix('/manifest.jsonl')}.mp3"} for one in manifests]

    JoinLinesOperator.partial(task_id="join", loudness="podcast").expand_kwargs(tracks_of())
