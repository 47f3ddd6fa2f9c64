"""Links lead to what was kept, and never hold what grants access."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from voice_provider.links import JobLink, ResultLink, browser_url


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("s3://studio/a b/ü.mp4", "https://console.aws.amazon.com/s3/object/studio?prefix=a%20b%2F%C3%BC.mp4"),
        ("s3a://studio/x.mp4", "https://console.aws.amazon.com/s3/object/studio?prefix=x.mp4"),
        ("s3://account@studio/x.mp4", "https://console.aws.amazon.com/s3/object/studio?prefix=x.mp4"),
        ("gs://studio/a b.mp4", "https://console.cloud.google.com/storage/browser/_details/studio/a%20b.mp4"),
        ("gcs://studio/x.mp4", "https://console.cloud.google.com/storage/browser/_details/studio/x.mp4"),
        ("/data/a b.mp4", "file:///data/a%20b.mp4"),
        ("file:///data/x.mp4", "file:///data/x.mp4"),
        ("https://host/x.mp4", "https://host/x.mp4"),
        ("https://host/x.mp4?X-Amz-Signature=s1gn4ture#t=1", "https://host/x.mp4"),
        ("abfs://container/x.mp4", None),
        ("javascript:alert(1)", None),
    ],
)
def test_a_location_becomes_what_a_browser_can_open(location: str, expected: str | None) -> None:
    assert browser_url(location) == expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("https://sync.so/jobs/1", "https://sync.so/jobs/1"),
        ("http://127.0.0.1:8080/_emulator/jobs/1", "http://127.0.0.1:8080/_emulator/jobs/1"),
        ("https://sync.so/jobs/1?token=s3cret", "https://sync.so/jobs/1"),
        ("javascript:alert(1)", ""),
        ("file:///etc/passwd", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_page_of_a_job_is_a_web_page_without_a_token(page: str | None, expected: str) -> None:
    operator: Any = SimpleNamespace(job_page=page)
    assert JobLink().get_link(operator, ti_key=None) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("location", "expected"), [("/data/x.mp4", "file:///data/x.mp4"), ("abfs://c/x", ""), ("", ""), (None, "")]
)
def test_a_result_is_linked_where_it_can_be_opened(location: str | None, expected: str) -> None:
    operator: Any = SimpleNamespace(result_location=location)
    assert ResultLink().get_link(operator, ti_key=None) == expected  # type: ignore[arg-type]


def test_a_task_that_has_nothing_to_show_has_no_link() -> None:
    nothing: Any = SimpleNamespace()
    assert ResultLink().get_link(nothing, ti_key=None) == JobLink().get_link(nothing, ti_key=None) == ""  # type: ignore[arg-type]
