"""``voice-provider demo --ui``: the same emulator and the same DAG, in an Airflow to click through.

A first run begins by itself, so that the page has something to show when it is opened.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NoReturn

from voice_provider.demo.airflow_home import AirflowError, AirflowStandalone
from voice_provider.demo.run import PAUSE, conf_of
from voice_provider.demo.summary import shown
from voice_provider.demo.workplace import NAMESPACE, Clips, DemoError
from voice_provider.jobs.names import ManagedName, short_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from voice_provider.demo.steps import Story
    from voice_provider.demo.workplace import Workplace
    from voice_provider.emulator.process import EmulatorProcess

LOOK_SECONDS = 1.0


def serve(place: Workplace, story: Story, console: Console) -> NoReturn:
    """Start everything, say where it is, and go on until it is told to stop (``Stopped``).

    :raises DemoError: something did not start
    """
    clips, dag_id = Clips(place, story.clips), place.order.scenario.dag
    with console.status("Starting a voice service and Airflow; this takes about half a minute."):
        clips.begin()
        place.start_emulator()
        _seed(place.emulator)
        while not clips.ready():
            time.sleep(PAUSE)
        environment = {
            **place.environment(),
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__VOICE__SERVE_LOCAL_FILES": "True",  # the page plays what the tasks keep on this machine
        }
        airflow = AirflowStandalone(place.home, environment=environment, log=place.log)
        try:
            place.enter(airflow)
            # Tasks read the environment's; these are to be seen, and tested, in the list of connections.
            for conn_id, found in place.connections().items():
                shown_there = {"connection_id": conn_id, **found, "extra": json.dumps(found["extra"])}
                airflow.call("POST", "connections", shown_there)
            airflow.wait_for_dag(dag_id)
            airflow.trigger(dag_id, conf_of(place.order, clips))
        except AirflowError as error:
            raise DemoError(str(error)) from None
    console.print("Airflow is up, with the DAG and its connections to a voice service on this machine.", style="bold")
    for label, value in (
        ("Open", f"{airflow.url}/plugin/voice (voices, jobs, results to play, money; no login is needed)"),
        ("Watch", f"{airflow.url}/dags/{dag_id} (a first run has begun)"),
        ("Press", "there Trigger, and Trigger again below the form, for a run of your own"),
        *(("Fill in", f"{title}: {value}") for title, value in _differences(place, clips)),
        ("Inputs", f"{shown(place.inbox)} (more files can be put there: name them in the form)"),
        ("Results", f"{shown(place.root)}/results"),
    ):
        console.print(f"  {label:<9}{value}", soft_wrap=True, highlight=False, markup=False)
    console.print("Ctrl-C stops everything; inputs and results stay.", style="dim")
    while airflow.is_running:
        time.sleep(LOOK_SECONDS)
    raise DemoError("Airflow has ended.")


def _seed(emulator: EmulatorProcess) -> None:
    """Put voices into the account, because the DAG gives its own back: one that stays, one that is over, a person's."""
    stays = ManagedName("Narrator", NAMESPACE, short_hash("Narrator"))
    over = ManagedName("Campaign", NAMESPACE, short_hash("Campaign"), expires=int(time.time()) - 3600)
    names = [str(stays), str(over), "Made by hand"]
    emulator.seed_voices(names)
    emulator.seed_models(names)


def _differences(place: Workplace, clips: Clips) -> Iterator[tuple[str, str]]:
    """Go through what has to be typed into the form, because the DAG's own defaults are something else."""
    wanted = {**clips.params, "script": place.order.script}
    for param, (title, default) in place.order.scenario.form.items():
        if (given := wanted[param]) and given != default:
            yield title, given
