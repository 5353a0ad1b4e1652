"""Applications on real sockets, and certificates for them."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import io
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from starlette.types import ASGIApp

from usercom_asgi.sandbox import Faults


@contextlib.contextmanager
def serve_app(app: ASGIApp) -> Iterator[int]:
    """Serve an application with uvicorn from a thread, its lifespan included; yields the port."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=2
        )
    )
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.005)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()
        assert not thread.is_alive(), f"the server did not stop: {where_it_waits(thread)}"


def where_it_waits(thread: threading.Thread) -> str:
    """Return the stacks of a thread and of the asyncio tasks of its event loop."""
    frame = sys._current_frames().get(thread.ident or 0)
    lines = traceback.format_stack(frame) if frame is not None else ["it has just ended"]
    while frame is not None and not isinstance(
        loop := frame.f_locals.get("self"), asyncio.BaseEventLoop
    ):
        frame = frame.f_back
    for task in asyncio.all_tasks(loop) if frame is not None else ():
        printed = io.StringIO()
        task.print_stack(file=printed)
        lines.append(printed.getvalue())
    return "\n".join(lines)


def forget(faults: Faults) -> None:
    """Have no faults any more, and give up what hangs: by `clear()` that would go on, into the next test."""
    faults.stop()
    with faults._lock:
        faults._faults.clear()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def certificate(folder: Path, host: str) -> tuple[str, str]:
    """Make a self-signed certificate; return the paths of certificate and key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(cert_file), str(key_file)
