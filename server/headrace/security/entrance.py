"""Where callers come in: it is learnt who they are, and those who claim it wrongly are turned away."""

from headrace.core.caller import STRANGER, Caller
from headrace.errors import HeadraceError
from headrace.security.authenticator import Authenticator, Credentials
from headrace.security.client_certificate import ClientCertificate
from headrace.security.refusals import Refusals
from headrace.security.revocations import Revocations

AUTHENTICATE = "authenticate"


class Entrance:
    """What transports ask who calls.

    Where it `wants_all`, it wants to know for every call; otherwise only for those that are no inference,
    which are worth the time.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        refusals: Refusals,
        *,
        wants_all: bool = False,
        revocations: Revocations | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._refusals = refusals
        self._revocations = revocations
        self.wants_all = wants_all or authenticator.asks or revocations is not None

    def caller(self, credentials: Credentials) -> Caller:
        """Who shows `credentials`; Unauthenticated where they are not known, or have been taken back."""
        try:
            # With each call, not with each connection: those that are open may stay so for days.
            if self._revocations is not None and credentials.certificate is not None:
                self._revocations.check(credentials.certificate)
            return self._authenticator.caller(credentials)
        except HeadraceError as error:
            stranger = Caller(STRANGER.name, address=credentials.address)
            self.turned_away(stranger, _with_certificate(error, credentials.certificate))
            raise

    def turned_away(self, caller: Caller, error: HeadraceError) -> None:
        """Told of somebody who was not let in, whatever they may have wanted."""
        self._refusals.denied(AUTHENTICATE, caller, "", error)


def _with_certificate(error: HeadraceError, certificate: ClientCertificate | None) -> HeadraceError:
    """The same for those who look after the server: whose certificate was shown."""
    if certificate is None:
        return error
    name = certificate.names[0] if certificate.names else ""
    return type(error)(f"{error} (certificate of '{name}', serial number {certificate.serial:x})")
