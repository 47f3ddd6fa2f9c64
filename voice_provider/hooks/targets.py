"""Where a request may go, judged by what its host stands for when it is sent, and held on to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

from voice_provider.exceptions import InvalidInputError, ServiceUnavailableError
from voice_provider.hooks.addresses import (
    has_proxy,
    is_allowed,
    is_internal,
    is_loopback,
    is_private,
    is_public,
    look_up,
    origin,
)

if TYPE_CHECKING:
    from voice_provider.hooks.settings import Settings
    from voice_provider.services.base import Request


class Targets:
    """The places of one connection.

    :param settings: the checked connection
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def of(self, request: Request, url: str) -> str:
        """Return where a request goes.

        :raises InvalidInputError: a file at a place that is none on the network
        :raises ServiceUnavailableError: no address
        """
        if not request.public:
            if not url.startswith("/"):  # appended to the host, it would name another one
                raise ServiceUnavailableError("The service gave an address that cannot be used: it is no path.")
            return self._settings.base_url + url
        scheme, host, _ = origin(url)
        home = origin(self._settings.base_url)[1]
        if scheme == "https" and host and not self._is_forbidden(host):
            return url
        if scheme == "http" and ((is_loopback(host) and is_loopback(home)) or self._is_plain(scheme, host)):
            return url
        raise InvalidInputError(
            f"The service named a file at {scheme or 'no scheme'}://{host or 'no host'}, which is not fetched: "
            "only https addresses on the network are. Report it to the service; a private address that is meant has "
            f"to be in allowed_hosts of connection '{self._settings.conn_id}'."
        )

    def _is_forbidden(self, host: str) -> bool:
        """Whether a host is behind our own walls, and neither the base URL's nor one that the connection names."""
        home = origin(self._settings.base_url)[1]
        at_home = host == home or (is_loopback(home) and is_loopback(host))
        return is_internal(host) and not at_home and not is_allowed(host, self._settings.allowed_hosts)

    def _is_plain(self, scheme: str, host: str) -> bool:
        """Whether it goes unencrypted to the base URL's host, which the connection allows in a private network."""
        return not is_loopback(host) and (scheme, host) == origin(self._settings.base_url)[:2] and scheme == "http"

    def pinned(self, url: str, *, public: bool) -> tuple[str, dict[str, str], dict[str, Any]]:
        """Look a host up where its addresses matter, and hold on to what was found, so that it is what was judged.

        :param public: a file's host; else the base URL's
        :return: the URL with an address for its host, and the header and the extension that name the host
        """
        scheme, host, port = origin(url)
        if self._is_plain(scheme, host):
            return self._pinned_inside(url)
        known = is_allowed(host, self._settings.allowed_hosts) or host == origin(self._settings.base_url)[1]
        if not public or known or is_loopback(host) or has_proxy(scheme, host):
            return url, {}, {}
        try:
            found = look_up(host, port)
        except OSError as error:
            raise httpx.ConnectError(str(error)) from None
        inside = next((address for address in found if not is_public(address)), None)
        if inside is not None:
            raise InvalidInputError(
                f"The service named a file at {host}, which is the private address {inside} here, and is not fetched. "
                f"If it is meant, put it into allowed_hosts of connection '{self._settings.conn_id}'."
            )
        where = httpx.URL(url)
        return str(where.copy_with(host=str(found[0]))), {"host": where.netloc.decode()}, {"sni_hostname": host}

    def _pinned_inside(self, url: str) -> tuple[str, dict[str, str], dict[str, Any]]:
        """Do so where nothing is encrypted: all the addresses have to be of a network of one's own."""
        scheme, host, port = origin(url)
        if has_proxy(scheme, host):
            raise InvalidInputError(
                f"{host} would be asked over http:// through a proxy of the environment, which sees the API key. "
                f"Put {host} into NO_PROXY, or use https:// in connection '{self._settings.conn_id}'."
            )
        try:
            found = look_up(host, port)
        except OSError as error:
            raise httpx.ConnectError(str(error)) from None
        outside = next((address for address in found if not is_private(address)), None)
        if outside is not None or not found:
            raise InvalidInputError(
                f"{host} is {outside} here, which is no private address (10/8, 172.16/12, 192.168/16, 100.64/10, "
                f"fc00::/7), and is not asked over http://. Use https:// in connection '{self._settings.conn_id}'."
            )
        where = httpx.URL(url)
        return str(where.copy_with(host=str(found[0]))), {"host": where.netloc.decode()}, {}
