"""How an operation says no."""

from __future__ import annotations


class ServiceError(Exception):
    """A modelled error of the service. `status` None: the one the service model gives."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status


def denied(message: str = "Access denied") -> ServiceError:
    """The Participant Service's one answer to wrong, expired and outlived tokens."""
    return ServiceError("AccessDeniedException", message)


def invalid(message: str) -> ServiceError:
    """A request that the Participant Service refuses."""
    return ServiceError("ValidationException", message)


class DeskError(Exception):
    """A request of the desk that makes no sense now (409) or at all (400, 404)."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
