"""Links in the Airflow UI: to the kept result, and to the job while it runs.

Airflow asks for links on the worker, when a task ends or defers, and keeps the answer in its database. So a link
never holds a signed URL: it would be stored, and dead within the hour.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


def browser_url(location: str) -> str | None:
    """Return an address that a browser can open: for an object, its page in the console of its store."""
    parts = urlsplit(location)
    bucket, key = parts.netloc.rpartition("@")[2], parts.path.lstrip("/")
    if parts.scheme in ("s3", "s3a"):
        return f"https://console.aws.amazon.com/s3/object/{bucket}?prefix={quote(key, safe='')}"
    if parts.scheme in ("gs", "gcs"):
        return f"https://console.cloud.google.com/storage/browser/_details/{bucket}/{quote(key)}"
    if parts.scheme in ("http", "https"):
        return parts._replace(query="", fragment="").geturl()
    if parts.path and parts.scheme in ("", "file"):
        return "file://" + quote(location.removeprefix("file://"))
    return None


def _page(operator: BaseOperator) -> str:
    page = getattr(operator, "job_page", None) or ""
    return browser_url(page) or "" if page.startswith(("http://", "https://")) else ""


class ResultLink(BaseOperatorLink):
    """The kept result; before it is there, the place where it will be.

    Airflow's UI shows links to the web only, so for a local file it is the job's page, where the service has one that
    plays the result.
    """

    name = "Result"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the address of what the task keeps."""
        place = browser_url(getattr(operator, "result_location", None) or "") or ""
        return place if place.startswith("https://") else _page(operator) or place


class JobLink(BaseOperatorLink):
    """The job's own page at the service, where it has one: progress while it runs, the playable result afterwards."""

    name = "Job at the service"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the address of the job's page."""
        return _page(operator)
