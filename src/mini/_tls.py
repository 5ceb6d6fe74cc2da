"""Trust the certificates this machine trusts, in libraries that bring a list of their own.

Modal's client verifies its connections against certifi's list alone, for gRPC (through grpclib) and for HTTP; both ask
`certifi.where()`. Behind a proxy that inspects TLS, the certificates are signed by an authority that only the system
knows. Upstream: https://github.com/vmagamedov/grpclib/issues/181.
"""

from __future__ import annotations

import functools
import hashlib
import os
import ssl
import tempfile
from pathlib import Path

from mini.project import cache_folder

_FOUND = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def ensure_grpc_trusts_system_ca() -> Path | None:
    """Add the system's authorities, or those in `SSL_CERT_FILE`, to what Modal's client trusts.

    Verification is never turned off and nothing is taken off certifi's list. To be called before the first connection;
    a second call changes nothing while the files are the same.

    Returns:
        The private file with both lists, which `certifi.where()` names from now on; None where there is nothing to add.

    Raises:
        FileNotFoundError: `SSL_CERT_FILE` names a file that is not there.
    """
    import certifi

    original = _certifis_own()
    system = _system_authorities()
    if system is None:
        return None
    data = original.read_bytes().rstrip() + b"\n\n" + system.read_bytes()
    bundle = cache_folder("tls") / f"ca-{hashlib.sha256(data).hexdigest()[:16]}.pem"
    if not bundle.exists():
        handle, name = tempfile.mkstemp(dir=bundle.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(bundle)

    def where() -> str:
        return str(bundle)

    certifi.where = where
    certifi.core.where = where  # type: ignore[attr-defined]
    return bundle


@functools.cache
def _certifis_own() -> Path:
    """Certifi's bundle, before `certifi.where` names ours."""
    import certifi

    return Path(certifi.where())


def _system_authorities() -> Path | None:
    named = os.environ.get("SSL_CERT_FILE")
    if named:
        path = Path(named)
        if not path.is_file():
            raise FileNotFoundError(f"SSL_CERT_FILE names {named}, which is not there; correct it or unset it")
        return path
    candidates = [ssl.get_default_verify_paths().cafile, *_FOUND]
    return next((Path(path) for path in candidates if path and Path(path).is_file()), None)
