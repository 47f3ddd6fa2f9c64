"""Who may speak to the emulator: programs and people on this machine, not a page of another site in their browser.

The control plane asks for no key, and the services' key is a constant of the package. What tells a foreign page from
the rest is what a browser says of it, and no script can change:

- ``Host``: the name that was asked for. A page whose own name is made to lead here (DNS rebinding) comes with that one.
- ``Origin`` and ``Sec-Fetch-Site``: whose page it is. Opening a page of the emulator by a link is no harm: who sent the
  link reads nothing. https://www.w3.org/TR/fetch-metadata/
- ``Content-Type``: a page sends JSON to another site only after asking, and gets no answer to that here.

The services' own paths ask for a key in a header, which a foreign page sends only after asking, too. So there only the
rebound name is left to refuse, and a base URL may say every name that no stranger can own: without a dot, as between
containers, or below a domain that is not in the public DNS. Listening beyond loopback, they take any name.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from voice_provider.emulator.world import urls
from voice_provider.emulator.world.refusals import phrase

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.responses import Response

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^][:/@?#\\\s]+)(:\d{1,5})?")
_NOT_PUBLIC = (".localhost", ".test", ".internal")  # RFC 6761; host.docker.internal
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - not bound here


class Guard:
    """Judges a request by its head.

    :param host: name or address that the emulator was told to listen on
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host.lower()
        self._is_open = not urls.is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")

    def of_services(self, headers: Headers) -> Response | None:
        """Return the refusal of a request to a service or to the storage host; None lets it pass."""
        name = _name(headers)
        if self._is_open or (name and (self._is_own(name) or "." not in name or name.endswith(_NOT_PUBLIC))):
            return None
        return self._foreign_host(headers)

    def of_control(self, method: str, headers: Headers) -> Response | None:
        """Return the refusal of a request to the control plane; None lets it pass."""
        name = _name(headers)
        if name is None or not self._is_own(name):
            return self._foreign_host(headers)
        reads = method in ("GET", "HEAD")
        if any(page.partition("://")[2] != headers["host"] for page in headers.getlist("origin")):
            return _refusal(403, f"A page of {headers['origin'][:200]} may not speak to the emulator's control plane.")
        follows_a_link = (
            reads and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        )
        if not follows_a_link and any(
            site not in ("same-origin", "none") for site in headers.getlist("sec-fetch-site")
        ):
            return _refusal(403, "A page of another site may not speak to the emulator's control plane.")
        if not reads and headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return _refusal(415, f"{method} takes JSON only here: send the header 'Content-Type: application/json'.")
        return None

    def _is_own(self, name: str) -> bool:
        if name in ("localhost", self._host):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # Nobody can make an address lead elsewhere: listening everywhere, each of them is ours.
        return address.is_loopback or self._host in _EVERYWHERE

    def _foreign_host(self, headers: Headers) -> Response:
        asked = ", ".join(headers.getlist("host"))[:200]
        return _refusal(
            403,
            f"The emulator listens on {self._host} and is not '{asked}', the Host of this request. Use its address as "
            "it was printed at the start; a name of its own goes to --host.",
        )


def _name(headers: Headers) -> str | None:
    """Return the host that was asked for, without port, brackets and the dot at its end; None where it is none."""
    said = headers.getlist("host")
    found = _HOST.fullmatch(said[0].lower()) if len(said) == 1 else None
    return found[1].strip("[]").rstrip(".") if found else None


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"message": message, "statusCode": status, "error": phrase(status)}, status)
