"""A page to watch a job on: what it is, how far it is, and the video or speech once there is one.

It shows neither script nor key, so it may be opened without one (on loopback).
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from voice_provider.emulator.world.state import Job

KINDS = {"speech": "Speech", "lip_sync": "Lip sync", "transcription": "Transcript"}
REFRESH = '<meta http-equiv="refresh" content="2">'
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>{refresh}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
video {{ width: 100%; background: #000; border-radius: 8px; }} audio {{ width: 100%; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.5rem; }}
dt {{ color: #667; }} dd {{ margin: 0; }}
</style></head><body><h1>{title}</h1>{media}<dl>{facts}</dl></body></html>"""


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
