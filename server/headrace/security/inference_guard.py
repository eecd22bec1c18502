"""Where inference is allowed, held to its limits and recorded, below every transport."""

from headrace.core.caller import Caller
from headrace.core.request import InferenceRequest, InferenceResponse, Reply
from headrace.errors import HeadraceError, LimitExceeded
from headrace.security.audit.event import AuditEvent
from headrace.security.audit.log import Audit
from headrace.security.limiter import Admission, Limiter
from headrace.security.policy import Permission, Policies
from headrace.security.refusals import Refusals
from headrace.service.inference import InferenceService

INFER = "infer"


class GuardedInference:
    """What transports submit requests to."""

    def __init__(
        self,
        service: InferenceService,
        policies: Policies,
        limiter: Limiter,
        refusals: Refusals,
        audit: Audit,
    ) -> None:
        self._service = service
        self._policies = policies
        self._limiter = limiter
        self._refusals = refusals
        self._audit = audit

    def check(self, caller: Caller, model: str) -> None:
        """PermissionDenied or Unauthenticated where `submit` would refuse, before a request has been read."""
        if not self._policies.policy.allows(caller, Permission.INFER, model):
            raise self._refusal(caller, model)

    def check_some(self, caller: Caller) -> None:
        """The same where it would refuse whichever model the caller asks for."""
        if not self._policies.policy.allows(caller, Permission.INFER, None):
            raise self._refusal(caller, None)

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        """Answers through `reply`, now or later; never raises."""
        caller, model = request.caller, request.model_name
        if not self._policies.policy.allows(caller, Permission.INFER, model):
            reply.fail(self._refusal(caller, model))
            return
        if self._audit.samples_inference():
            reply = _RecordedReply(reply, request, self._audit)
        if not self._limiter.is_off:
            try:
                admission = self._limiter.admit(caller, model)
            except LimitExceeded as error:
                self._refusals.limited(model if self._service.knows(model) else "", error)
                reply.fail(error)
                return
            if admission is not None:
                self._submit_admitted(request, reply, admission)
                return
        self._service.submit(request, reply)

    def _submit_admitted(self, request: InferenceRequest, reply: Reply, admission: Admission) -> None:
        try:
            self._service.submit(request, _AdmittedReply(reply, admission))
        except BaseException:
            admission.release()
            raise

    def _refusal(self, caller: Caller, model: str | None) -> HeadraceError:
        error = self._policies.policy.refusal(caller, Permission.INFER, model)
        self._refusals.denied(INFER, caller, model or "", error)
        return error


class _AdmittedReply:
    """A reply that gives back the request's place among those under way."""

    __slots__ = ("_admission", "_reply")

    def __init__(self, reply: Reply, admission: Admission) -> None:
        self._reply = reply
        self._admission = admission

    @property
    def is_wanted(self) -> bool:
        return self._reply.is_wanted

    def complete(self, response: InferenceResponse) -> None:
        self._admission.release()
        self._reply.complete(response)

    def fail(self, error: HeadraceError) -> None:
        self._admission.release()
        self._reply.fail(error)


class _RecordedReply:
    """A reply that is recorded: who asked which model, which version answered, and how it ended."""

    __slots__ = ("_audit", "_reply", "_request")

    def __init__(self, reply: Reply, request: InferenceRequest, audit: Audit) -> None:
        self._reply = reply
        self._request = request
        self._audit = audit

    @property
    def is_wanted(self) -> bool:
        return self._reply.is_wanted

    def complete(self, response: InferenceResponse) -> None:
        self._record(response.model_version, "done", "")
        self._reply.complete(response)

    def fail(self, error: HeadraceError) -> None:
        self._record(self._request.model_version, "failed", str(error))
        self._reply.fail(error)

    def _record(self, version: str, outcome: str, reason: str) -> None:
        request = self._request
        self._audit.record(
            AuditEvent(INFER, request.caller, request.model_name, version, outcome=outcome, reason=reason)
        )
