"""What a connection says, read once and checked: where, with which key, within which limits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from voice_provider.exceptions import AuthError, InvalidInputError
from voice_provider.files.locations import is_location
from voice_provider.hooks.addresses import is_loopback, origin, plain
from voice_provider.money.prices import PriceList, read_prices

if TYPE_CHECKING:
    from airflow.sdk import Connection

_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")
DEFAULT_TIMEOUT = 60.0  # seconds; what the services' own clients use
MAX_SLOTS = 100_000
MAX_DOWNLOAD = 4096  # MiB of one file, where the connection does not say otherwise


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked connection; its ``repr`` has no key."""

    conn_id: str
    base_url: str
    key: str = field(repr=False)
    timeout: float
    namespace: str
    allowed_inputs: tuple[str, ...]
    allowed_outputs: tuple[str, ...]
    require_consent: bool = False
    clone_slots: int | None = None
    concurrency: int | None = None  # lines of a script that are spoken at a time
    state_location: str | None = None
    spool_location: str | None = None
    max_download: int = MAX_DOWNLOAD * 1024**2
    allowed_hosts: tuple[str, ...] = ()
    plain_http: bool = False  # the base URL may be http:// at a host that has private addresses only
    prices: PriceList = field(default_factory=PriceList)  # that go before those which are published
    unknown: str | None = None  # what is said of fields that no setting has

    @property
    def account(self) -> str:
        """A short name of the account that does not tell the key: a record made with another one is not reused."""
        return hashlib.sha256(f"{origin(self.base_url)}\0{self.key}".encode()).hexdigest()[:16]


def read_settings(
    connection: Connection, extra: Mapping[str, Any], default_url: str, known: Collection[str] = ()
) -> Settings:
    """Read and check a connection.

    :param extra: its extra fields; they are read differently on the worker and on the triggerer
    :param known: the fields that there are; none: they are not compared

    :raises AuthError: no key
    :raises InvalidInputError: a base URL or extra that cannot be used; names the field
    """
    name = f"Connection '{connection.conn_id}'"
    if not isinstance(extra, Mapping) or (not extra and (connection.extra or "{}").strip() not in ("{}", "null")):
        raise InvalidInputError(f"{name}: its extra field is no JSON object, so its limits cannot be read.")
    key = (connection.password or "").strip()
    if not key:
        raise AuthError(f"{name} has no API key. Put it into the password field (form: 'API key').")
    if not re.fullmatch(r"[!-~]+", key):
        raise AuthError(f"{name}: the API key has characters that no key has (spaces, line breaks). Paste it again.")
    namespace = str(extra.get("namespace") or "default")
    if not _NAMESPACE.fullmatch(namespace):
        raise InvalidInputError(
            f"{name}: namespace '{namespace}' has to be 1 to 16 small letters, digits and '-', and start with no '-'."
        )
    try:
        timeout = float(extra.get("timeout") or DEFAULT_TIMEOUT)
    except (TypeError, ValueError):
        timeout = 0
    if not 0 < timeout <= 600:
        raise InvalidInputError(f"{name}: timeout '{extra.get('timeout')}' has to be a number of seconds up to 600.")
    plain_http = _switch(extra, "plain_http", name)
    return Settings(
        conn_id=connection.conn_id,
        base_url=_base_url(connection, default_url, name, plain_http=plain_http),
        key=key,
        timeout=timeout,
        namespace=namespace,
        allowed_inputs=_lines(extra.get("allowed_inputs")),
        allowed_outputs=_lines(extra.get("allowed_outputs")),
        require_consent=_switch(extra, "require_consent", name),
        clone_slots=_count(extra, "clone_slots", name),
        concurrency=_count(extra, "concurrency", name) or None,
        state_location=_location(extra, "state_location", name),
        spool_location=_location(extra, "spool_location", name) or _location(extra, "state_location", name),
        plain_http=plain_http,
        allowed_hosts=_lines(extra.get("allowed_hosts")),
        max_download=(_count(extra, "max_download_mb", name) or MAX_DOWNLOAD) * 1024**2,
        prices=_prices(extra.get("prices"), name),
        unknown=_unknown(extra, known, name) if known else None,
    )


def _base_url(connection: Connection, default_url: str, name: str, *, plain_http: bool) -> str:
    """Build the base URL from host, and from schema and port where the connection was written as a URI."""
    host = (connection.host or "").strip()
    if not host:
        return default_url
    if "://" not in host:
        scheme = connection.schema if connection.schema in ("http", "https") else "https"
        host = f"{scheme}://[{host}]" if host.count(":") > 1 and "[" not in host else f"{scheme}://{host}"
    try:
        parts = urlsplit(host)
        port = parts.port or connection.port
    except ValueError:
        parts, port = urlsplit(""), None
    shown = re.sub(r"(//).*@", r"\1", host)  # what stands before an @ may be a key
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in host or parts.query or parts.fragment:
        raise InvalidInputError(f"{name}: the base URL '{shown}' has to look like {default_url}.")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        # The service itself is on the network, whatever a resolver says of it.
        itself = ".".join(origin(default_url)[1].split(".")[-2:])
        if not plain_http or f".{plain(parts.hostname)}".endswith(f".{itself}"):
            raise InvalidInputError(
                f"{name}: the base URL '{shown}' would send the API key unencrypted. Use https:// "
                "(http:// is for this machine, and with plain_http for a host in a private network)."
            )
    bracketed = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    path = parts.path.rstrip("/")
    path = (
        "" if re.fullmatch(r"/v\d+", path, re.IGNORECASE) else path
    )  # as the documentation writes it; each request names its own
    return f"{parts.scheme}://{bracketed}{f':{port}' if port else ''}{path}"


def _unknown(extra: Mapping[str, Any], known: Collection[str], name: str) -> str | None:
    """Say which fields no setting has: one that is misspelt would silently turn a protection off."""
    import difflib  # noqa: PLC0415  # not when a DAG is parsed

    said = []
    for given in sorted(str(key) for key in extra if key not in known):
        near = difflib.get_close_matches(given.lower().replace("-", "_"), known, 1, 0.5)
        said.append(f"'{given[:60]}'" + (f" (is it '{near[0]}'?)" if near else ""))
    if not said:
        return None
    return f"{name}: its extra has {', '.join(said[:5])}, no setting of it, which does nothing. Correct or remove it."


def _switch(extra: Mapping[str, Any], field: str, name: str) -> bool:
    """Read true or false; a misspelt "yes" must not turn a protection off."""
    value = extra.get(field)
    found = {"": False, "false": False, "true": True}.get(str("" if value is None else value).strip().lower())
    if found is None:
        raise InvalidInputError(f"{name}: {field} '{value}' has to be true or false.")
    return found


def _count(extra: Mapping[str, Any], field: str, name: str) -> int | None:
    text = str("" if extra.get(field) is None else extra[field]).strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) > MAX_SLOTS:
        raise InvalidInputError(f"{name}: {field} '{text}' has to be a whole number from 0 to {MAX_SLOTS}.")
    return int(text)


def _location(extra: Mapping[str, Any], field: str, name: str) -> str | None:
    text = str("" if extra.get(field) is None else extra[field]).strip()
    if text and (not is_location(text) or not text.isprintable() or ".." in text.split("/")):
        raise InvalidInputError(
            f"{name}: {field} '{text[:200]}' has to be an absolute path or a URI such as s3://bucket/voice-state/."
        )
    return text or None


def _prices(value: Any, name: str) -> PriceList:
    try:
        return read_prices(value)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{name}: its prices cannot be read: {error}.") from None


def _lines(value: Any) -> tuple[str, ...]:
    """Read a list that may be a JSON list, or text with one entry a line or between commas."""
    items = value if isinstance(value, list) else re.split(r"[\n,]+", str(value or ""))
    return tuple(str(item).strip() for item in items if str(item).strip())
