"""Everything that can go wrong, as one tree.

::

    VoiceError
    ├── PermanentVoiceError          another try would fail the same way: the task fails at once
    │   ├── AuthError                the key is missing, wrong, or not allowed
    │   ├── QuotaError               no credit, or the plan lacks the feature
    │   ├── BudgetError              it would cost more than the author allows; nothing was ordered
    │   ├── InvalidInputError        a file, text or option that the service will not take
    │   │   ├── NotAllowedError      a location outside the connection's allowed storage
    │   │   └── ConsentError         no consent, one that holds no more, or one for another recording
    │   ├── CapabilityError          the service cannot do this at all
    │   ├── NotFoundError            no such voice, asset or job
    │   ├── NameTakenError           a voice of this name exists
    │   ├── SlotLimitError           every clone slot of the plan is in use
    │   ├── JobFailedError           the service ended the job without a result
    │   ├── KeyConflictError         the idempotency key of an order is known with another request
    │   ├── UnusableSpeechError      speech that was answered, and may be billed, but is no good
    │   ├── OutcomeUnknownError      a paid call may or may not have been accepted; a person decides
    │   └── StaleTryError            a later try of the task has begun; this one was taken for dead
    └── TransientVoiceError          another try may well succeed: Airflow's retries apply
        ├── RateLimitedError         too many requests; carries ``retry_after``
        │   └── ConcurrencyLimitError   too many jobs at once; the request was not accepted
        ├── ServiceUnavailableError  5xx, no reply, or an answer that is not the service's own
        │   └── KeyInUseError        an order of this very key is at work there; it is asked again
        ├── StorageError             the object storage did not answer as it should
        │   └── NotPublishedError    a result that is here, whole, and cannot be put in its place yet; carries ``held``
        ├── ResultError              a result that is cut short, empty or not media
        ├── VoiceNotReadyError       the voice is still being trained
        └── JobTimeoutError          the job was still running at the deadline; it goes on, and a retry finds it

``PermanentVoiceError`` is also an ``AirflowFailException``, which Airflow never retries.
Every message names the thing, the cause and the next step; none carries a key, a signed URL or a script.
"""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException, AirflowFailException

LONGEST = 2000  # characters of a message


def one_line(text: str, longest: int = LONGEST) -> str:
    """Return text, perhaps a stranger's, as one line that does nothing to the log or terminal that shows it."""
    line = text[: 2 * longest]
    if not line.isprintable():
        line = "".join(letter if letter.isprintable() else " " for letter in line)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


class VoiceError(AirflowException):
    """Base of all errors of this provider.

    :param message: what happened, why, and what to do next
    :param error_code: the service's own machine-readable code, if it sent one
    :param status: HTTP status of the answer, if there was one
    :param request_id: the service's id of the request, to quote to its support
    :param doubtful: an earlier sending of the same order has an unknown outcome; this error speaks of its own sending
        only, so that a refusal does not mean that nothing was accepted
    """

    def __init__(
        self,
        message: str,
        *,
        error_code: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        doubtful: bool = False,
    ) -> None:
        super().__init__(one_line(message))
        self.error_code = error_code
        self.status = status
        self.request_id = request_id
        self.doubtful = doubtful


class PermanentVoiceError(VoiceError, AirflowFailException):
    """Another try would fail the same way."""


class AuthError(PermanentVoiceError):
    """The key is missing, wrong, or not allowed to do this."""


class QuotaError(PermanentVoiceError):
    """The account has no credit left, or its plan lacks the feature."""


class BudgetError(PermanentVoiceError):
    """It would cost more than the author allows, or nobody knows how much: nothing was ordered."""


class InvalidInputError(PermanentVoiceError):
    """A file, text or option that the service will not take."""


class NotAllowedError(InvalidInputError):
    """A location outside the storage that the connection allows."""


class ConsentError(InvalidInputError):
    """No consent where the connection requires one, one that holds no more, or one for another recording."""


class CapabilityError(PermanentVoiceError):
    """The service of this connection cannot do this at all."""


class NotFoundError(PermanentVoiceError):
    """No such voice, asset or job at the service."""


class NameTakenError(PermanentVoiceError):
    """A voice of this name exists already."""


class SlotLimitError(PermanentVoiceError):
    """Every clone slot of the plan is in use."""


class JobFailedError(PermanentVoiceError):
    """The service ended the job without a result."""


class KeyConflictError(PermanentVoiceError):
    """The idempotency key of an order is known at the service with another request: something was accepted."""


class UnusableSpeechError(PermanentVoiceError):
    """Speech that was answered, and may be billed, but is cut short, no audio, or far too short for its text."""


class OutcomeUnknownError(PermanentVoiceError):
    """A paid call without an idempotency key got no answer: it may have been accepted."""


class StaleTryError(PermanentVoiceError):
    """A later try of the same task instance has begun; this one was taken for dead, and must not go on."""


class TransientVoiceError(VoiceError):
    """Another try may well succeed."""


class RateLimitedError(TransientVoiceError):
    """Too many requests.

    :param retry_after: seconds that the service asked to wait, if it said so
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **details: str | int | None) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]  # status is an int, the rest are strings
        self.retry_after = retry_after


class ConcurrencyLimitError(RateLimitedError):
    """Too many jobs at once: this request was not accepted, and nothing was paid for it.

    :param limit: how many the account may have at a time, if the service says so
    :param brief: room is made by the second, because requests are counted and not jobs
    """

    def __init__(
        self, message: str, *, limit: int | None = None, brief: bool = False, **details: float | str | None
    ) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]  # what RateLimitedError takes
        self.limit = limit
        self.brief = brief


class ServiceUnavailableError(TransientVoiceError):
    """The service failed, did not answer, or something answered that is not the service.

    :param sent: whether the request may have been carried out: unknown where this is true. It is false only where no
        connection came about, or where the service itself says that it has not begun
    :param job_id: the job that the service has nevertheless accepted, if it says so
    :param foreign: the answer was not in the service's own shape: it is the word of something in between
    :param retry_after: seconds that the answer asked to wait, if it said so
    """

    def __init__(
        self,
        message: str,
        *,
        sent: bool = True,
        job_id: str | None = None,
        foreign: bool = False,
        retry_after: float | None = None,
        **details: str | int | None,
    ) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]  # status is an int, the rest are strings
        self.sent = sent
        self.job_id = job_id
        self.foreign = foreign
        self.retry_after = retry_after


class KeyInUseError(ServiceUnavailableError):
    """An order of this very key is at work there (409): it was accepted, or is just being, and is asked for again."""


class StorageError(TransientVoiceError):
    """The object storage did not answer as it should."""


class NotPublishedError(StorageError):
    """A result that is here, whole, and cannot be put in its place yet: a retry puts it there, and pays nothing.

    :param held: where it is now: ``host:/path`` on a worker, or a URI in the spool; empty where nothing took it
    :param reason: why it cannot be put in its place
    """

    def __init__(self, message: str, *, held: str = "", reason: str = "", **details: str | int | None) -> None:
        super().__init__(message, **details)  # type: ignore[arg-type]  # status is an int, the rest are strings
        self.held = held
        self.reason = reason


class ResultError(TransientVoiceError):
    """A result that is cut short, empty or not media; nothing was kept of it."""


class VoiceNotReadyError(TransientVoiceError):
    """The voice is still being trained and cannot speak yet; nothing was paid."""


class JobTimeoutError(TransientVoiceError):
    """The job was still running at the deadline; it goes on, and a retry finds it."""
