"""`python -m voice_provider.emulator`: serve until told to stop; one JSON line on stdout says where."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import uvicorn

from voice_provider.emulator import API_KEY, engine
from voice_provider.emulator.app import Gate, build, defaults
from voice_provider.emulator.guard import Guard
from voice_provider.emulator.halves import HALVES
from voice_provider.emulator.world.emulator import FILES, STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from voice_provider.emulator.world.settings import Settings

log = logging.getLogger("voice_provider.emulator")

BACKLOG = 1024
# Long polls and slow replies are cut after this many seconds when the emulator is told to stop.
GRACE = 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="voice-provider emulator",
        description="Voice services on this machine, for tests and demos. Its page shows jobs, voices and the bill.",
        epilog=f"Keys of --set and what they are at the start: {_known_settings()}.",
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="where state and files are kept")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s); the control plane asks for no key",
    )
    parser.add_argument("--port", type=int, default=0, help="API port; 0 takes the former one or any free one")
    parser.add_argument("--storage-port", type=int, default=0, help="port of the storage host; 0 as for --port")
    parser.add_argument("--engine", choices=("auto", "local", "tone"), default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting to start with")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when stdin ends")
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    return parser.parse_args(arguments)


def _known_settings() -> str:
    return ", ".join(f"{key}={json.dumps(value)}" for key, value in sorted(defaults(HALVES).values().items()))


def start_settings(pairs: Sequence[str]) -> Settings:
    """Settings from `key=value` pairs; a value is JSON, or a plain word."""
    changes: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"--set {pair}: write it as key=value.")
        try:
            changes[key] = json.loads(value)
        except ValueError:
            changes[key] = value
    return defaults(HALVES).changed(changes)


def make_private(data_dir: Path) -> None:
    """Make the folder, and keep what is and will be in it from all other users: uploads are recordings of people.

    A folder that was there keeps its mode, which is its owner's affair.
    """
    os.umask(0o077)  # whatever we were started under, for what libraries and child processes write, too
    data_dir.mkdir(parents=True, exist_ok=True)
    for former in (*data_dir.glob(FILES), *data_dir.glob(f"{STATE}*")):  # of a version that did not see to it
        former.chmod(0o700 if former.is_dir() else 0o600)


def lock(data_dir: Path) -> IO[str]:
    """Take the folder for this process; a second emulator would take up the first one's jobs."""
    file = (data_dir / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        raise SystemExit(
            f"Another emulator (process {file.read().strip() or '?'}) uses {data_dir}. "
            "Stop it, or give this one another --data-dir."
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def listen(host: str, port: int, former: int) -> socket.socket:
    """Bind the port that was asked for; if none was, the former one where it is free, so old URLs stay valid."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in [port] if port else [former, 0]:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit it; without it every reply waits 40 ms for the client's delayed ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            sock.bind((host, candidate))
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            if port:
                raise SystemExit(f"Port {port} on {host} cannot be used: {error.strerror}.") from error
            continue
        sock.setblocking(False)
        return sock
    raise SystemExit(f"No free port on {host}.")


def origin(host: str, sock: socket.socket) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{shown}:{sock.getsockname()[1]}"


class Server(uvicorn.Server):
    """uvicorn, which calls back when it really answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def watch_parent() -> None:
    """Stop when the other end of stdin is gone: whoever started us has ended, even by `kill -9`."""

    def wait() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True, name="parent").start()


async def serve(options: argparse.Namespace, settings: Settings) -> None:
    try:
        emulator = build(options.data_dir, engine.load(options.engine), settings, HALVES)
    except (ValueError, ImportError) as error:
        raise SystemExit(str(error)) from error
    api = listen(options.host, options.port, emulator.state.meta("api_port", 0))
    storage = listen(options.host, options.storage_port, emulator.state.meta("storage_port", 0))
    emulator.api_url, emulator.storage.url = origin(options.host, api), origin(options.host, storage)
    emulator.state.set_meta("api_port", api.getsockname()[1])
    emulator.state.set_meta("storage_port", storage.getsockname()[1])
    emulator.jobs.resume()

    def ready() -> None:
        facts = {
            "url": emulator.api_url,
            "storage_url": emulator.storage.url,
            "api_key": API_KEY,
            "pid": os.getpid(),
            "engine": emulator.engine.name,
            "data_dir": str(options.data_dir),
        }
        print(json.dumps(facts), flush=True)  # noqa: T201 - the one line that is promised
        if options.exit_with_parent:
            watch_parent()

    config = uvicorn.Config(
        Gate(emulator, storage.getsockname()[1], HALVES, Guard(options.host)),
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    server = Server(config, ready)

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn raises a caught signal again when it is done; with a handler of our own the exit code stays 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        await server.serve(sockets=[api, storage])
    finally:
        await asyncio.sleep(0.01)  # requests that were cut give back what they hold, such as a clone's slot
        emulator.close()


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    options.data_dir = options.data_dir.absolute()
    make_private(options.data_dir)
    logging.basicConfig(
        stream=sys.stderr, level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = start_settings(options.set)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    with lock(options.data_dir):
        asyncio.run(serve(options, settings))
        sys.stdout.flush()
        sys.stderr.flush()
        # Engine threads may still be at work; their jobs are taken up again at the next start, so nobody waits.
        os._exit(0)


if __name__ == "__main__":
    main()
