"""Pages for people: what the emulator has done so far, and one to watch a job on, with its video or speech.

They show neither script nor key, so they may be opened without one (on loopback).
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from voice_provider.emulator.world.state import Charge, Job

KINDS = {"speech": "Speech", "lip_sync": "Lip sync", "transcription": "Transcript"}
REFRESH = '<meta http-equiv="refresh" content="2">'
SHOWN = 100  # rows of a table, the newest
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>{refresh}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
video {{ width: 100%; background: #000; border-radius: 8px; }} audio {{ width: 100%; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; }}
dt {{ color: #667; }} dd {{ margin: 0; }}
th, td {{ text-align: left; padding-right: 1.5rem; }} th {{ color: #667; font-weight: normal; }}
</style></head><body><h1>{title}</h1>{media}<dl>{facts}</dl></body></html>"""


def index(jobs: Sequence[Job], voices: Iterable[Sequence[str]], charges: Sequence[Charge], *, engine: str) -> str:
    """The front page.

    :param jobs: the newest first
    :param voices: service, name and id of each
    :param charges: the newest first
    :param engine: its name
    """
    total = sum(charge.usd for charge in charges if not charge.refunded)
    links = [(job.service, KINDS.get(job.kind, job.kind), job.status, f"/_emulator/jobs/{job.id}") for job in jobs]
    bill = [(it.service, it.kind, f"{it.units:,.0f} {it.unit}", f"${it.usd:.4f}") for it in charges]
    tables = (
        _table("Jobs", ("service", "kind", "status", "page"), links)
        + _table("Voices", ("service", "name", "id"), list(voices))
        + _table(f"Bill: ${total:.4f}, of which nothing is paid", ("service", "work", "units", "price"), bill)
    )
    return PAGE.format(
        title="Voice services on this machine",
        refresh="",
        media=tables,
        facts=f"<dt>Engine</dt><dd>{escape(engine)}</dd>",
    )


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows[:SHOWN])
    more = f"<p>The newest {SHOWN} of {len(rows):,}.</p>" if len(rows) > SHOWN else ""
    return f"<h2>{title}</h2>" + (f"<table><tr>{head}</tr>{body}</table>{more}" if rows else "<p>None yet.</p>")


def _cell(value: str) -> str:
    return f'<a href="{escape(value)}">{escape(value)}</a>' if value.startswith("/_emulator/") else escape(value)


def page(job: Job, *, percent: int, engine: str) -> str:
    facts = {
        "Job": job.id,
        "Status": f"{job.status} ({percent} %)" if job.active else job.status,
        "Engine": engine,
        "Model": job.request.get("model"),
        "Script": _script_length(job),
        "Seconds": job.result.get("output_seconds") or job.result.get("seconds"),
        "Reason": job.error,
    }
    rows = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if value)
    title = f"{KINDS.get(job.kind, job.kind)} {job.id[:8]}"
    return PAGE.format(title=title, refresh=REFRESH if job.active else "", media=_media(job), facts=rows)


def _media(job: Job) -> str:
    source = f"/_emulator/jobs/{job.id}/media"
    if "results" in job.result:
        return f'<video controls autoplay loop src="{source}"></video>'
    if "speech" in job.result:
        return f'<audio controls src="{source}"></audio>'
    return ""


def _script_length(job: Job) -> str | None:
    drivers = [job.work["driver"]] if "driver" in job.work else job.work.get("drivers", [])
    characters = sum(len(driver.get("text", "")) for driver in drivers)
    return f"{characters} characters" if characters else None
