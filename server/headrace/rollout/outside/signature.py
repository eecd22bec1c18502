"""Signs what is posted to a receiver, so that it knows who has sent it, and when."""

import hashlib
import hmac

HEADER = "Headrace-Signature"


def sign(secret: bytes, body: bytes, now_s: int) -> str:
    """The header's value: `t=<seconds since 1970>,v1=<HMAC-SHA256 of "<t>.<body>", in hexadecimal>`.

    The time is signed, too, so that nobody posts an old event again (docs.stripe.com/webhooks/signature).
    """
    digest = hmac.new(secret, b"%d.%b" % (now_s, body), hashlib.sha256).hexdigest()
    return f"t={now_s},v1={digest}"
