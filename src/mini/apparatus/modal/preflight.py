"""Whether Modal can be reached, and if not, which of token, DNS, proxy, TLS or refusal it is; within seconds."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from mini.errors import ConnectionRefused, TokenError

_SECONDS = 3.0


def choose(url: str, *, seconds: float = _SECONDS) -> str:
    """The first of several addresses that can be connected to.

    Args:
        url: One or several addresses, comma-separated.
        seconds: How long to wait in all.

    Raises:
        ConnectionRefused: Nothing answers; the message says what was tried and what to do.
    """
    problems = []
    deadline = time.monotonic() + seconds
    addresses = [address.strip() for address in url.split(",")]
    for i, address in enumerate(addresses):
        problem = _try(address, (deadline - time.monotonic()) / (len(addresses) - i))
        if problem is None:
            return address
        problems.append(problem)
    raise ConnectionRefused("cannot reach Modal: " + "; ".join(problems))


def require_token() -> tuple[str, str]:
    """The token of the environment or of Modal's own file.

    Raises:
        TokenError: There is none.
    """
    from modal.config import config

    token_id, secret = config.get("token_id"), config.get("token_secret")
    if not token_id or not secret:
        raise TokenError(
            "there is no Modal token; run `mini auth`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET, "
            "or try `apparatus=rehearsal`, which needs none"
        )
    return token_id, secret


def _try(address: str, seconds: float) -> str | None:
    parts = urlsplit(address)
    if parts.scheme == "unix" or not parts.hostname:
        return None
    host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    proxy = None if proxy_bypass(host) or host in ("127.0.0.1", "localhost") else getproxies().get(parts.scheme)
    if proxy and os.environ.get("MODAL_DISABLE_API_PROXY") != "1":
        via = urlsplit(proxy)
        problem = _connect(via.hostname or "", via.port or 3128, seconds)
        # What is behind the proxy, only a call can tell.
        return f"the proxy {via.hostname}:{via.port} of HTTPS_PROXY {problem}" if problem else None
    problem = _connect(host, port, seconds, tls=parts.scheme == "https")
    return f"{host}:{port} {problem}" if problem else None


def _connect(host: str, port: int, seconds: float, *, tls: bool = False) -> str | None:
    """What went wrong, or None."""
    try:
        with contextlib.closing(socket.create_connection((host, port), timeout=seconds)) as plain:
            if tls:
                import certifi

                context = ssl.create_default_context(cafile=certifi.where())
                context.set_alpn_protocols(["h2"])
                with context.wrap_socket(plain, server_hostname=host) as secure:
                    if secure.selected_alpn_protocol() != "h2":
                        return "does not speak HTTP/2, which gRPC needs; a proxy that rewrites connections does that"
    except socket.gaierror:
        return "has no address (DNS); is there a network, and is the name allowed on it?"
    except ssl.SSLCertVerificationError as error:
        return (
            f"has a certificate nobody here trusts (TLS: {error.verify_message}); if your network inspects TLS, "
            "let SSL_CERT_FILE name its authority"
        )
    except ssl.SSLError as error:
        return f"broke off the TLS handshake ({error.reason})"
    except TimeoutError:
        return f"did not answer within {seconds:.0f} s; a firewall may be in between"
    except ConnectionRefusedError:
        return "refuses the connection; nothing listens there"
    except OSError as error:
        return f"cannot be reached ({error.strerror or error})"
    return None
