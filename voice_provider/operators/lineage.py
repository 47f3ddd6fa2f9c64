"""What a task has read and kept, in the words of OpenLineage, whose provider asks for it when a task has ended.

Datasets are storage locations, named as OpenLineage names them: ``s3://bucket`` and the key, ``file`` and the path. No
connection, no query and no address of the web is in them, because those may grant access; nor anything that is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from voice_provider.files.locations import bare, is_local, is_location, local_path
from voice_provider.services.options import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from airflow.providers.openlineage.extractors import OperatorLineage

MANY = 100  # files of one task that are named one by one; of more, only their folders are
# Where a location stands in what a person writes, or a task returns.
_KEYS = ("uri", "manifest", "media", "audio", "text_uri")


class Dataset(NamedTuple):
    """A file or folder in storage.

    :param size: in bytes; None: not known
    """

    namespace: str
    name: str
    size: int | None = None


class Lineage:
    """A task that tells what it has read and kept."""

    reads: ClassVar[Sequence[str]] = ()  # arguments that are locations, or hold them
    keeps: ClassVar[Sequence[str]] = ("uri", "captions")  # of the result: locations, or dicts with one
    _result: Any = None  # once it is told

    def read_from(self) -> Iterable[Any]:
        """Return what may name the storage locations that were read."""
        return (getattr(self, name) for name in self.reads)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:  # noqa: ARG002
        """Return what was read and kept; called by the OpenLineage provider, where it is installed, and by nobody else.

        Also behind a wait on the triggerer: the arguments are there again, and what is kept is kept after it.
        """
        return _as_openlineage(inputs_of(self.read_from()), outputs_of(self._result, self.keeps))


def listed(value: Any) -> Any:
    """Return the results of mapped tasks as a list, all else as it is.

    Airflow gives them one by one, a request each; when lineage is asked for, the one who answers is not there any more.
    """
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def inputs_of(arguments: Iterable[Any]) -> list[Dataset]:
    """Name what was read, each once.

    :param arguments: of the operator
    """
    found = dict.fromkeys(location for value in arguments for location in _locations_in(value))
    if len(found) > MANY:
        found = dict.fromkeys(f"{location.rpartition('/')[0]}/" for location in found)
    return [_dataset(location) for location in found]


def outputs_of(result: Any, keys: Iterable[str]) -> list[Dataset]:
    """Name what was kept.

    :param result: of the task; None: it has kept nothing
    :param keys: of the result that are locations, or dicts with ``uri`` and ``bytes``
    """
    found = []
    for key in keys if isinstance(result, Mapping) else ():
        told = result.get(key)
        described = told if isinstance(told, Mapping) else result if key == "uri" else {"uri": told}
        if described.get("uri"):
            found.append(_dataset(described["uri"], described.get("bytes")))
    return found


def _locations_in(value: Any) -> Iterator[str]:
    """Find the storage locations in an argument: itself, what another task has returned, or a list of those."""
    value = plain(value)
    if isinstance(value, str):
        if is_location(value.strip()):
            yield value.strip()
    elif isinstance(value, Mapping):
        for key in _KEYS:
            yield from _locations_in(value.get(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _locations_in(item)


def _dataset(location: str, size: int | None = None) -> Dataset:
    if is_local(location):
        return Dataset("file", str(local_path(location)), size)
    scheme, _, rest = bare(location).partition("://")
    bucket, _, key = rest.partition("/")
    return Dataset(f"{scheme}://{bucket}", key.rstrip("/") or "/", size)


def _as_openlineage(inputs: Iterable[Dataset], outputs: Iterable[Dataset]) -> OperatorLineage:
    # They are there, because nobody else asks.
    from airflow.providers.openlineage.extractors import OperatorLineage  # noqa: PLC0415
    from openlineage.client.event_v2 import InputDataset, OutputDataset  # noqa: PLC0415
    from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics  # noqa: PLC0415

    def kept(one: Dataset) -> OutputDataset:
        facet = statistics.OutputStatisticsOutputDatasetFacet(size=one.size, fileCount=1)
        return OutputDataset(one.namespace, one.name, outputFacets={"outputStatistics": facet} if one.size else {})

    return OperatorLineage(
        inputs=[InputDataset(one.namespace, one.name) for one in inputs], outputs=[kept(one) for one in outputs]
    )
