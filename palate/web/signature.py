"""Who sent a webhook, and when: HMAC-SHA256 (RFC 2104) over the time and the body."""

import hashlib
import hmac
import re

HEADER = "Palate-Signature"


def signed(body: bytes, *, secret: bytes, now: float) -> str:
    """The header of a body that is sent now (seconds since 1970).

    >>> signed(b"{}", secret=b"k", now=1.0)[:7]
    't=1,v1='
    """
    return f"t={int(now)},v1={_mac(body, secret, int(now))}"


def is_signed(
    body: bytes, header: str, *, secret: bytes, now: float, tolerance_seconds: float = 300
) -> bool:
    """Whether the header was made with the secret for this body, and not long ago.

    >>> is_signed(b"{}", signed(b"{}", secret=b"k", now=1.0), secret=b"k", now=2.0)
    True
    """
    found = re.fullmatch(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", header)
    if found is None or abs(now - int(found[1])) > tolerance_seconds:
        return False
    return hmac.compare_digest(found[2], _mac(body, secret, int(found[1])))


def _mac(body: bytes, secret: bytes, at: int) -> str:
    return hmac.new(secret, b"%d." % at + body, hashlib.sha256).hexdigest()
