"""Entrances and guards where nobody is asked who they are."""

from headrace.security.audit.log import NoAuditLog
from headrace.security.authenticator import NoAuthenticator
from headrace.security.entrance import Entrance
from headrace.security.inference_guard import GuardedInference
from headrace.security.limiter import Limiter
from headrace.security.refusals import Refusals
from headrace.service.inference import InferenceService


def open_entrance() -> Entrance:
    return Entrance(NoAuthenticator(), Refusals(NoAuditLog()))


def open_inference(service: InferenceService) -> GuardedInference:
    audit = NoAuditLog()
    return GuardedInference(service, NoAuthenticator(), Limiter(()), Refusals(audit), audit)
