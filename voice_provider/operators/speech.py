"""Speech: a script spoken in a voice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voice_provider.exceptions import InvalidInputError
from voice_provider.jobs.orders import SpeechOrder
from voice_provider.operators.asset import ids_of
from voice_provider.operators.base import ResultOperator
from voice_provider.services.options import SpeechOptions, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context, XComArg


class TTSOperator(ResultOperator):
    """Speak a script in a voice and keep the audio.

    With ``wait_for_completion=False`` it returns a ticket for ``TTSCompleteSensor``; where the service answers at
    once, it keeps the audio itself, returns the manifest, and the sensor passes it through.

    Returns the manifest of the kept file: ``uri``, ``sha256``, ``bytes``, ``seconds``, ``format``, ``media_type``,
    ``voice_id``, ``job_id``, ``service`` and, where the service says so, ``engine``.

    :param text: the script (templated); Airflow shows arguments in its UI
    :param text_uri: storage location of a UTF-8 file with the script, instead of ``text``: read when the task runs,
        and not shown (templated)
    :param voice_id: id of the voice, or what ``CloneVoiceOperator`` or ``VoiceTrainedSensor`` returned (templated)
    :param output: where the audio is kept; see ``ResultOperator``
    :param stability: 0 to 1; default: the service's (0.5 at sync. labs)
    :param similarity_boost: 0 to 1; default: the service's (0.75 at sync. labs)
    :raises InvalidInputError: empty or too long script, an option outside its range; nothing was paid
    :raises NotFoundError: no such voice
    """

    template_fields: Sequence[str] = (
        *ResultOperator.template_fields,
        "text",
        "text_uri",
        "voice_id",
        "stability",
        "similarity_boost",
    )

    def __init__(
        self,
        *,
        text: str | XComArg | None = None,
        text_uri: str | None = None,
        voice_id: str | dict[str, Any] | XComArg,
        stability: float | str | None = None,
        similarity_boost: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.text: Any = text  # what a template or another task gives is there when the task runs
        self.text_uri = text_uri
        self.voice_id = voice_id
        self.stability = stability
        self.similarity_boost = similarity_boost

    def order(self, context: Context) -> SpeechOrder:
        """Check script, voice, options and output."""
        options = parse(
            SpeechOptions,
            {
                "text": self.read_script(self.text, self.text_uri),
                "voice_id": self._voice(),
                "stability": self.stability,
                "similarity_boost": self.similarity_boost,
            },
        )
        for warning in self.hook.service.check_speech(options):
            self.log.warning("%s", warning)
        self.check_place(context)
        return SpeechOrder(options)

    def _voice(self) -> str:
        found = ids_of(self.voice_id, "voice_id")
        if len(found) != 1:
            raise InvalidInputError(
                f"voice_id names {len(found) or 'no'} voices; one is needed. Did the task that makes the voice succeed?"
            )
        return found[0]

    def details(self) -> dict[str, Any]:
        """Name the voice in the manifest."""
        return {"voice_id": self._voice()}
