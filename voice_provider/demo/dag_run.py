"""A process of its own that runs an example DAG once, with the Airflow home that its environment names.

Stdout is the line to the parent, one JSON object a line; everything else that is printed goes to stderr. One line
comes in on stdin when the voice service is up (``{"environment": ..., "conf": ...}``); when stdin ends, so does this
process.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import DAG


def tell(parent: IO[str], **fact: Any) -> None:
    """Write one line to the parent."""
    parent.write(json.dumps(fact) + "\n")
    parent.flush()


def load(path: str) -> DAG:
    """Read the DAG file, as Airflow does."""
    from airflow.dag_processing.dagbag import DagBag  # noqa: PLC0415 - reads its configuration when it is imported

    bag = DagBag(path)
    if bag.import_errors:
        raise RuntimeError(next(iter(bag.import_errors.values())).strip().splitlines()[-1])
    return bag.dags[Path(path).stem]


def report_errors(dag: DAG, parent: IO[str]) -> None:
    """Tell the parent why a task fails; the states it reads for itself."""
    errors: dict[str, Exception] = {}  # by task: dag.test() of Airflow 3.2 hands none to a callback

    def told(*, final: bool) -> Callable[[Any], None]:
        def callback(context: Any) -> None:
            name = context["ti"].task_id
            tell(parent, task=name, error=str(context.get("exception") or errors.get(name)), final=final)

        return callback

    def noting(task: Any) -> Callable[[Any], Any]:
        def run(context: Any) -> Any:
            try:  # what runs is a copy, in which the templates are rendered
                return type(task).execute(context["ti"].task, context)
            except Exception as error:
                errors[task.task_id] = error
                raise

        return run

    task: Any
    for task in dag.tasks:
        task.execute = noting(task)
        task.on_failure_callback = [told(final=True)]
        task.on_retry_callback = [told(final=False)]


def warm_up() -> None:
    """Bring up the API that the tasks talk to (4 s), while others draw; else dag.test() does it in the first task."""
    with contextlib.suppress(Exception):  # no public name, other from version to version: without it, it is only slower
        api = import_module("airflow.sdk.execution_time.supervisor").in_process_api_server()
        with httpx.Client(transport=api.transport, base_url="http://in-process.invalid") as client:
            client.get("/health")


def end_with_parent() -> None:
    """Wait until stdin ends, which means that the parent is gone, and end at once."""
    while sys.stdin.readline():
        pass
    os._exit(1)


def main() -> None:
    gc.disable()  # it would look through Airflow again and again while that is loaded: a quarter of all that follows
    parent = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from airflow.utils import db  # noqa: PLC0415 - reads its configuration when it is imported

    db.initdb()
    try:
        dag = load(sys.argv[1])
    except Exception as error:
        tell(parent, broken=f"The DAG cannot be loaded: {error}")
        raise
    report_errors(dag, parent)
    warm_up()
    gc.freeze()
    gc.enable()
    tell(parent, ready=True)
    line = sys.stdin.readline()
    if not line:
        return
    start = json.loads(line)
    os.environ.update(start["environment"])
    threading.Thread(target=end_with_parent, daemon=True, name="parent").start()
    run = dag.test(run_conf=start["conf"])
    tell(parent, ended=str(run.state))
    sys.stderr.flush()
    os._exit(0)  # the thread that reads stdin cannot be joined


if __name__ == "__main__":
    main()
