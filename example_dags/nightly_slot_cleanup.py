"""Every night, give back the clone slots that nobody needs any more.

A teardown deletes a run's voice, but ``dagrun_timeout``, a run that is marked failed and a machine that is gone skip
teardowns. This sweep finds what they leave: voices of runs that have ended, voices whose time is over, and uploads of
such runs. It touches only what this provider has made in the connection's namespace, never a voice made by hand.

The schedule deletes. Triggered from the UI, it only says what it would delete, until "Dry run" is switched off.

Needs a connection ``voice_default`` of type ``sync_labs`` or ``fish_audio``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG, Param, task

from voice_provider.operators import CleanupVoicesOperator

with DAG(
    dag_id="nightly_slot_cleanup",
    schedule="15 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="Europe/Berlin"),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["voice", "example"],
    default_args={"retries": 3, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    params={
        "dry_run": Param(
            default=True,
            type="boolean",
            title="Dry run",
            description="Only say what would be deleted. The schedule deletes, whatever stands here.",
        ),
        "older_than_days": Param(
            None,
            type=["null", "number"],
            minimum=0,
            title="Older than (days)",
            description="Also voices that are older. Empty: age is no reason. What an active run needs stays.",
        ),
        "pattern": Param(
            None,
            type=["null", "string"],
            title="Only these names",
            description="With * and ?, such as Narrator*. Empty: all names.",
        ),
        "protect": Param(
            ["Brand*"],
            type="array",
            items={"type": "string"},
            title="Never these",
            description="Names, ids or patterns, one a line.",
        ),
        "max_deletions": Param(
            100,
            type="integer",
            minimum=1,
            title="At most",
            description="So many voices; the rest is left for the next night.",
        ),
    },
    render_template_as_native_obj=True,
):
    clean_up = CleanupVoicesOperator(
        task_id="clean_up",
        orphaned=True,
        older_than="{{ params.older_than_days }}",
        pattern="{{ params.pattern }}",
        protect="{{ params.protect }}",
        max_deletions="{{ params.max_deletions }}",
        dry_run="{{ params.dry_run and dag_run.run_type != 'scheduled' }}",
    )

    @task
    def tell(report: Any) -> str:
        """Say it in a sentence; a notifier would send it."""
        gone = report["would_delete"] or report["deleted"]
        verb = "would be" if report["dry_run"] else "were"
        print("\n".join(gone))  # noqa: T201  # into the task's log
        return (
            f"{len(gone)} voices {verb} deleted, {len(report['assets'])} files; clone slots in use: "
            f"{report['slots_in_use']} of {report['slot_limit'] or '?'}."
        )

    tell(report=clean_up.output)
