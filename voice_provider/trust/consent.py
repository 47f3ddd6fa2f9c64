"""Consent: who has agreed that a voice may be made of a recording, when, and where that can be read.

It is checked before anything is uploaded. The person stays here: what goes on to results is a ``ConsentRef``, an id and
a hash, and no message or ``repr`` tells who it is. The evidence is named, not fetched: whether the release is real is
for people to see.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

from voice_provider.exceptions import ConsentError, InvalidInputError
from voice_provider.models import ConsentRef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic_core import ErrorDetails

_GRACE = timedelta(days=1)  # a bare date may be tomorrow already where it was signed
_DAY = timedelta(days=1)


def _moment(value: Any) -> Any:
    """Read a date or a time; pydantic would take 20260102 for seconds since 1970."""
    for read in (date.fromisoformat, datetime.fromisoformat):
        if isinstance(value, str):
            with suppress(ValueError):
                value = read(value.strip())
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
    if not isinstance(value, date):
        raise ValueError("give a date or a time in ISO 8601, such as 2026-03-31")  # noqa: TRY004  # pydantic reads it
    return value


def _sha256(value: str) -> str:
    if re.fullmatch(r"[0-9a-f]{64}", value) is None:
        raise ValueError("give the sha256 of each recording, 64 hexadecimal digits")
    return value


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Moment = Annotated[date | datetime, BeforeValidator(_moment)]
Sha256 = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True), AfterValidator(_sha256)]


def _digest(values: dict[str, Any]) -> str:
    plain = {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Consent(BaseModel):
    """A person's consent.

    :param who: the person; appears in no result, log or message
    :param when: day or time of the signature
    :param evidence: URI or reference of the signed release; it is not fetched
    :param expires: day (to its end, UTC) or time up to which it holds; default: for ever
    :param samples: sha256 of the recordings that it is for; default: any
    :param id: what results call it, so not the person's name; default: made of its hash
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    who: Text = Field(repr=False)
    when: Moment
    evidence: Text = Field(repr=False)
    expires: Moment | None = None
    samples: tuple[Sha256, ...] = ()
    id: Text = Field(default_factory=lambda values: f"consent-{_digest(values)[:16]}")

    @property
    def sha256(self) -> str:
        """Hash of the whole consent, as JSON with sorted keys."""
        return _digest(self.model_dump())

    @property
    def ends(self) -> datetime | None:
        """From when on it holds no more."""
        if self.expires is None or isinstance(self.expires, datetime):
            return self.expires
        with suppress(OverflowError):
            return _midnight(self.expires) + _DAY
        return datetime.max.replace(tzinfo=UTC)  # the last day there is: never

    @property
    def ref(self) -> ConsentRef:
        """What results carry of it."""
        ends = self.ends
        return ConsentRef(id=self.id, sha256=self.sha256, expires=ends.isoformat() if ends else None)


def read_consent(value: Any, load: Callable[[str], str]) -> Consent | None:
    """Read what the author gave.

    :param value: a dict, or the storage location of a JSON file with it; or what ``VoiceHook.look_at`` returned of such
        a file, which then has to be the same still; nothing is no consent
    :param load: returns the text at a storage location
    :raises InvalidInputError: neither of them, or fields that cannot be read; names the fields and not the person
    """
    if value is None or (isinstance(value, str) and value.strip() in ("", "None")):
        return None
    where, seen = "consent", None
    if isinstance(value, dict) and value.get("uri") and value.get("sha256"):
        value, seen = str(value["uri"]), value["sha256"]
    if isinstance(value, str):
        where = _location(value.strip())
        try:
            value = json.loads(load(where))
        except ValueError:
            raise InvalidInputError(f"The consent {where} is no JSON. Write it as {_EXAMPLE}.") from None
    if isinstance(value, Consent):
        return value
    if not isinstance(value, dict):
        raise InvalidInputError(f"{where} holds a {type(value).__name__}. Write it as {_EXAMPLE}.")
    try:
        found = Consent.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(dict.fromkeys(filter(None, map(_problem, error.errors()))))
        raise InvalidInputError(f"{where} cannot be read: {problems}. Write it as {_EXAMPLE}.") from None
    return _unchanged(found, seen, where)


def _unchanged(consent: Consent, seen: str | None, where: str) -> Consent:
    if seen not in (None, consent.sha256):
        raise ConsentError(
            f"The consent {where} is not the one that was looked at: it has been changed since. Look again."
        )
    return consent


_EXAMPLE = '{"who": ..., "when": "2026-03-31", "evidence": "s3://releases/7.pdf"}'


def _location(text: str) -> str:
    if text[0] in "{[(":
        raise InvalidInputError(
            "consent is a dict that a template has turned into text. Pass the dict itself or another task's .output, "
            "or set render_template_as_native_obj=True on the DAG."
        )
    is_stored = text.startswith("/") or ("://" in text and not text.startswith(("http://", "https://")))
    if not is_stored or not text.endswith(".json"):
        raise InvalidInputError(
            "consent is text, but no storage location of a .json file (a path or a URI such as "
            f"s3://releases/7.json). Give one, or {_EXAMPLE}."
        )
    return text


def _problem(item: ErrorDetails) -> str:
    if item["type"] == "extra_forbidden":  # its name is not repeated: it may be the person's
        return f"there is a field that a consent does not have ({', '.join(Consent.model_fields)})"
    if item["type"] == "default_factory_not_called":
        return ""  # of the id, which is made of the other fields
    return f"{item['loc'][0]}: {item['msg'].removeprefix('Value error, ')}"


def check(consent: Consent | None, required: bool, samples: Sequence[str | None], now: datetime) -> None:
    """Check that a consent covers what is about to be made of some recordings.

    :param required: whether the connection does nothing without one
    :param samples: sha256 of the recordings; None where it is not known
    :param now: the time, with its zone
    :raises ConsentError: missing, not signed yet, expired, or for other recordings
    """
    if consent is None:
        if required:
            raise ConsentError(
                "This connection requires a consent, and there is none. Nothing was uploaded. Pass "
                f"consent={_EXAMPLE}, or the storage location of a JSON file with it."
            )
        return
    when = consent.when
    signed = when if isinstance(when, datetime) else _midnight(when) - _GRACE
    if signed > now:
        raise ConsentError(f"{_name(consent)} is dated {when.isoformat()}, in the future. Correct its 'when'.")
    if consent.ends is not None and consent.ends <= now:
        assert consent.expires is not None  # noqa: S101  # else there is no end
        raise ConsentError(
            f"{_name(consent)} has expired ({consent.expires.isoformat()}). Nothing was uploaded. Ask the person for a "
            "new one."
        )
    if not consent.samples:
        return
    if None in samples:
        raise ConsentError(
            f"{_name(consent)} is for certain recordings, and the hash of what was passed is not known: an id or an "
            "address does not tell it. Pass what UploadAssetOperator returned, or the file's storage location."
        )
    others = [digest for digest in samples if digest not in consent.samples]
    if others:
        raise ConsentError(
            f"{_name(consent)} is for other recordings: {', '.join(f'{digest:.12}…' for digest in others)} (sha256) is "
            "not among its samples. Nothing was uploaded. Pass the recording that it is for, or another consent."
        )


def _name(consent: Consent) -> str:
    return f"The consent '{consent.id}'"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
