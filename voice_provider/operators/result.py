"""What the operators share whose result is a file: where it is kept, and the record beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError
from voice_provider.files.endings import check_ending
from voice_provider.files.locations import bare, is_location, output_of
from voice_provider.files.storage import Output
from voice_provider.money.budget import limit_of
from voice_provider.operators.base import JobOperator, VoiceOperator, scope_of
from voice_provider.services.options import is_path
from voice_provider.trust.origin import Origin, Run
from voice_provider.trust.provenance import check_name, keep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context, XComArg

    from voice_provider.jobs.lifecycle import Lifecycle
    from voice_provider.jobs.record import Record
    from voice_provider.models import Job, Manifest
    from voice_provider.services.options import PathObject

ORIGIN_KEY = "voice_origin"  # where versions before kept what the record beside the result will say


class ResultOperator(JobOperator):
    """Base of the job operators whose result is a file.

    :param output: where the result is kept: a path or URI, as text, ``ObjectStoragePath`` or ``pathlib.Path``. One that
        ends in ``/``, and a path object without an ending, is a folder, in which each order's file has a name of its
        own: task, map index or its label, and a short hash. A file's ending has to be of what the service makes
        (templated; the rendered field is called ``output_location``, because ``output`` is the operator's XCom)
    :param max_cost: dollars that the order may cost, of each task instance where the task is mapped; checked before
        anything is uploaded or ordered, not for a job that an earlier try has ordered. One whose price is not known
        fails, too: give it in the connection's ``prices``. Default: any (templated)
    :raises BudgetError: it would cost more than ``max_cost``
    """

    template_fields: Sequence[str] = (*VoiceOperator.template_fields, "output_location", "max_cost")

    def __init__(
        self, *, output: str | PathObject | XComArg, max_cost: float | str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.output_location: Any = output_of(output) if is_path(output) else output
        self.max_cost = max_cost
        self._origin = Origin()
        self._run: Run | None = None
        self._spool: str | None = None

    def place(self, name: str, task: str = "") -> Output:
        """Return where the result goes.

        :param name: file name without extension, where the location is a folder
        :param task: which task instance receives it
        """
        self.result_location = self._location
        return Output(self.result_location, name, self.hook.settings.allowed_outputs, task, self._spool)

    @property
    def _location(self) -> str:
        return output_of(self.output_location)  # an XCom may be a path object

    def _spool_of(self, context: Context) -> str | None:
        """Return this task instance's own folder below the connection's spool location, where there is one."""
        from voice_provider.jobs.store import path_of  # noqa: PLC0415  # not when a DAG is parsed

        settings = self.hook.settings
        if settings.spool_location is None:
            return None
        return f"{settings.spool_location.rstrip('/')}/{settings.namespace}/{path_of(scope_of(context))}/"

    def check_place(self, context: Context, formats: Sequence[str]) -> None:
        """Find out before anything is paid whether the result can be kept.

        :param formats: that it can have
        """
        if not is_location(self._location):
            raise InvalidInputError(
                f"output is '{bare(self._location)}': give an absolute path or a URI such as s3://bucket/key.mp4."
            )
        check_name(self._location)
        check_ending(self._location, formats, self.hook.service.label)
        self._spool = self._spool_of(context)
        self.place("check").check_writable()
        mapped = context["ti"].map_index not in (None, -1)
        if mapped and not self._location.endswith("/"):
            self.log.info(
                "This task is mapped: output has to differ for each of them, or to be a folder (ending in '/'); else "
                "they overwrite each other's result."
            )

    def spending_limit(self) -> float | None:
        """Return ``max_cost``."""
        return limit_of(self.max_cost, "max_cost")

    def ticket(self, record: Record, job: Job) -> dict[str, Any]:
        """Add where the result is to be kept, and what its manifest says besides."""
        return {
            **super().ticket(record, job),
            "output": self._location,
            "name": record.file_name,
            "details": self.details(),
            "origin": self._origin.dump(),
            "costs": [cost.dump() for cost in record.costs],
        }

    def deliver(self, lifecycle: Lifecycle, record: Record, job: Job, context: Context) -> dict[str, Any]:  # noqa: ARG002
        """Keep the result and return its manifest."""
        place = self.place(record.file_name, lifecycle.scope.run)
        manifest = lifecycle.collect(record, job, place, **self.details())
        self.log.info("Kept %s: %s, %s bytes.", manifest.uri, manifest.format, f"{manifest.bytes:,}")
        return self._return_kept(manifest, lifecycle)

    def _follow(self, context: Context, lifecycle: Lifecycle, record: Record) -> dict[str, Any]:
        self._origin = Origin.load(self._former_origin(context, record) if record.origin is None else record.origin)
        self._run, self._spool = Run.of(context["ti"]), self._spool_of(context)
        return super()._follow(context, lifecycle, record)

    def _former_origin(self, context: Context, record: Record) -> Any:
        """Return the origin of an order of the version before."""
        known: Any = self.state(context).get(ORIGIN_KEY) or {}
        is_of_it = known.get("fingerprint") == record.fingerprint  # else a request that was refused came after it
        return known.get("origin") if is_of_it else None

    def _return_kept(self, manifest: Manifest, lifecycle: Lifecycle) -> dict[str, Any]:
        """Put it where it is wanted now, and write the record beside it, also where a try was killed in between."""
        record = lifecycle.load()
        assert record is not None  # noqa: S101  # it holds the manifest
        place = self.place(record.file_name, lifecycle.scope.run)
        if place.uri(manifest.format) != manifest.uri:
            manifest = lifecycle.copy_to(place, manifest)
        if (complete := self.complete(manifest)) != manifest:
            manifest = lifecycle.note_kept(complete)
        place.tidy()
        if manifest.cost is not None:
            self.log.info("Cost of %s: %s.", manifest.uri, manifest.cost)
        return super()._return_kept(keep(manifest, self._origin, self._run), lifecycle)

    def complete(self, manifest: Manifest) -> Manifest:
        """See to what stands beside a kept result, besides its record; return the manifest that names it."""
        return manifest

    def details(self) -> dict[str, Any]:
        """Return more fields of the manifest."""
        return {}
