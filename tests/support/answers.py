"""Where an endpoint's answer is kept for a test to look at."""

from headrace.errors import HeadraceError
from headrace.transport.http.messages import HttpResponse


class RecordedAnswer:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.is_wanted = True
        self.responses: list[HttpResponse] = []
        self.errors: list[HeadraceError] = []

    def complete(self, response: HttpResponse) -> None:
        self.responses.append(response)

    def fail(self, error: HeadraceError) -> None:
        self.errors.append(error)

    @property
    def text(self) -> str:
        (response,) = self.responses
        return b"".join(bytes(part) for part in response.body).decode()
