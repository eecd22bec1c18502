"""What callers are told of exceptions that are not meant for them."""

import logging

from headrace.errors import HeadraceError, Internal

_log = logging.getLogger(__name__)


def to_error(exception: Exception, endpoint: str) -> HeadraceError:
    """What the caller of `endpoint` is told of `exception`.

    One that is not ours is logged and told without its details.
    """
    if isinstance(exception, HeadraceError):
        return exception
    _log.error("%s failed", endpoint, exc_info=exception)
    return Internal("internal error: the server's log has the details")
