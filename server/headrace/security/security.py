"""All that decides who may call, built once from the settings."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace.core.caller import STRANGER, Caller, address_of
from headrace.errors import ConfigError, PermissionDenied
from headrace.security.audit.event import AuditEvent
from headrace.security.audit.log import Audit, AuditLog, NoAuditLog
from headrace.security.authenticator import Credentials, FileAuthenticator, NoAuthenticator
from headrace.security.client_certificate import read_client_certificate
from headrace.security.control_guard import GuardedControl
from headrace.security.entrance import Entrance
from headrace.security.hosts import Hosts
from headrace.security.inference_guard import GuardedInference
from headrace.security.limiter import Limiter
from headrace.security.policy import EVERY_MODEL, Permission
from headrace.security.refusals import Refusals
from headrace.security.revocations import Revocations
from headrace.security.rollout_guard import GuardedRollouts, RolloutService
from headrace.service.control import ControlService
from headrace.service.inference import InferenceService
from headrace.settings import AuditSettings, SecuritySettings
from headrace.version import VERSION

logger = logging.getLogger(__name__)

# Who is said to have done what nobody called for.
_SERVER = Caller("headrace")
_SCRAPE = "metrics"


class Security:
    """Knows callers, guards the services and records what is done to them."""

    def __init__(
        self,
        settings: SecuritySettings,
        audit: AuditSettings,
        state_dir: Path,
        metrics_hosts: Hosts,
        revocations: Revocations | None = None,
    ) -> None:
        """ConfigError names each mistake of the access file."""
        self._metrics_hosts = metrics_hosts
        self._is_open = False
        self.audit: Audit = AuditLog(state_dir, audit) if audit.enabled else NoAuditLog()
        self.refusals = Refusals(self.audit)
        self._authenticator = (
            FileAuthenticator(settings.access_file, changed=self._take_access)
            if settings.access_file
            else NoAuthenticator()
        )
        self._access_sha256 = self._authenticator.sha256
        self._limiter = Limiter(self._authenticator.limits)
        self.entrance = Entrance(
            self._authenticator,
            self.refusals,
            wants_all=audit.inference_sample_rate > 0,
            revocations=revocations,
        )

    def inference(self, service: InferenceService) -> GuardedInference:
        return GuardedInference(service, self._authenticator, self._limiter, self.refusals, self.audit)

    def control(self, service: ControlService) -> GuardedControl:
        return GuardedControl(service, self._authenticator, self.refusals, self.audit)

    def rollouts(self, service: RolloutService) -> GuardedRollouts:
        return GuardedRollouts(service, self._authenticator, self.refusals, self.audit)

    def check_scraper(
        self, headers: Mapping[str, str], certificate: bytes | None, peer: tuple[Any, ...] | None
    ) -> None:
        """The figures name every model, so that whoever scrapes them has to be allowed to read of all.

        Nor may the server be addressed by a name that is none of its own. `certificate` is the scraper's, in
        DER, and `peer` its address as a socket has it.
        """
        address = address_of(peer)
        try:
            self._metrics_hosts.check(headers.get("host"))
        except PermissionDenied as error:
            self.entrance.turned_away(Caller(STRANGER.name, address=address), error)
            raise
        shown = read_client_certificate(certificate) if certificate else None
        caller = self.entrance.caller(Credentials.of(headers, shown, address))
        policy = self._authenticator.policy
        if not policy.allows(caller, Permission.READ, EVERY_MODEL):
            refusal = policy.refusal(caller, Permission.READ, EVERY_MODEL)
            self.refusals.denied(_SCRAPE, caller, "", refusal)
            raise refusal

    def check_strangers(self, *, may_do_all: bool) -> None:
        """Where other machines call: tells what the access file allows those who show nothing.

        ConfigError where that is to change something, and not all may do all.
        """
        if not self._authenticator.asks:
            return
        stranger, policy = self._authenticator.caller(Credentials()), self._authenticator.policy
        allowed = [each for each in Permission if policy.allows(stranger, each, None)]
        changing = [each for each in allowed if each in (Permission.CONTROL, Permission.ADMIN)]
        if changing and not may_do_all:
            raise ConfigError(
                f"security.access_file: anonymous callers have the permission '{changing[0]}', and other "
                "machines reach a port: expected roles without it, or security.allow_anonymous "
                "(--allow-anonymous)"
            )
        if allowed:
            logger.warning(
                "open to other machines, where callers without credentials may %s (anonymous, in the "
                "access file)",
                ", ".join(allowed),
            )

    def start(self) -> None:
        """Follows the access file and records from now on; ConfigError where that has to be, and cannot."""
        self.audit.start()
        self._authenticator.start()

    def record_start(self) -> None:
        """The server is open for callers."""
        self._is_open = True
        self.audit.record(AuditEvent("server_start", _SERVER, outcome="done", new={"headrace": VERSION}))

    async def stop(self) -> None:
        await self._authenticator.stop()
        if self._is_open:
            self.audit.record(AuditEvent("server_stop", _SERVER, outcome="done"))
        await asyncio.to_thread(self.audit.stop)

    def _take_access(self) -> None:
        """The access file, or the keys of an issuer it names, have changed: its limits hold from now on."""
        self._limiter.update(self._authenticator.limits)
        before, self._access_sha256 = self._access_sha256, self._authenticator.sha256
        if self._access_sha256 == before:
            self.audit.record(AuditEvent("token_keys", _SERVER, outcome="done"))
            return
        old, new = {"sha256": before}, {"sha256": self._access_sha256}
        self.audit.record(AuditEvent("access_file", _SERVER, outcome="done", old=old, new=new))
