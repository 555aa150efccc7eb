"""Every error that the service raises on purpose, besides those of `vad.errors`.

What each means to a client (status, problem type, close code) is a row of `problems.PROBLEMS`.
"""

from __future__ import annotations

from dataclasses import dataclass


class ServiceError(Exception):
    """Base of all errors of this module."""


class NotReady(ServiceError):
    """The model is not loaded yet."""


class ShuttingDown(ServiceError):
    """The server is on its way out."""


class Unauthorised(ServiceError):
    """No key, or none that is known.

    Attributes:
        challenge: value of `WWW-Authenticate` (RFC 6750 §3).
    """

    def __init__(self, message: str, challenge: str = 'Bearer realm="convad"') -> None:
        super().__init__(message)
        self.challenge = challenge


class OriginNotAllowed(ServiceError):
    """A browser's page from elsewhere."""


class HostNotAllowed(ServiceError):
    """A name that this server does not have."""


class UnknownPath(ServiceError):
    """No WebSocket is served there."""


class TooManyStreams(ServiceError):
    """All places for live streams are taken."""


class KeyStreamsTaken(TooManyStreams):
    """All places for live streams of one key are taken."""


class TooManyRequests(ServiceError):
    """All places for requests are taken."""


class KeyRequestsTaken(TooManyRequests):
    """All places for requests of one key are taken."""


class ClientGone(ServiceError):
    """Nobody is left to answer."""


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field.

    Attributes:
        param: the field's name as the client wrote it.
        message: what it must be.
    """

    param: str
    message: str

    def __str__(self) -> str:
        return f"{self.param}: {self.message}"


class InvalidFields(ServiceError):
    """Fields that are unknown, ill-typed or repeated.

    Attributes:
        errors: one entry a field.
    """

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = errors


class BodyTooLarge(ServiceError):
    """More bytes than a request may have."""


class BodyTooSlow(ServiceError):
    """The body stopped arriving."""


class StorageFull(ServiceError):
    """No room on disk for what arrives."""


class TooManyFiles(ServiceError):
    """More files than a request may have."""


class MalformedBody(ServiceError):
    """A multipart body that does not parse."""


class UnsupportedMedia(ServiceError):
    """A body of a type that holds no audio."""


class NotAcceptable(ServiceError):
    """No answer has a type that `Accept` allows."""


class JobsOff(ServiceError):
    """The server keeps no jobs."""


class JobsBusy(ServiceError):
    """Another process keeps the file of jobs from being used."""


class UnknownJob(ServiceError):
    """No job of that id."""


class TooManyJobs(ServiceError):
    """All places for jobs are taken."""


class KeyJobsTaken(TooManyJobs):
    """All places for jobs of one client are taken."""


class UrlRefused(ServiceError):
    """A URL that this server may not ask for."""


class HostUnavailable(ServiceError):
    """A host that does not answer as it should.

    Attributes:
        passing: whether another try may do better.
    """

    def __init__(self, message: str, *, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


class StreamError(ServiceError):
    """What goes wrong on a WebSocket."""


class UnknownMessage(StreamError):
    """No message of that type."""


class NotAllowed(StreamError):
    """A message that the stream's state does not allow."""


class EventRefused(StreamError):
    """An event of the Realtime protocol that can't be served; the session goes on.

    Attributes:
        code: as in that protocol.
        param: the parameter at fault, if one is.
    """

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


class MalformedMessage(StreamError):
    """Not a JSON object with a type."""


class UnsupportedFrame(StreamError):
    """A frame type that the route doesn't take."""


class MessageTooLarge(StreamError):
    """More bytes than a message may have."""


class TooManyMessages(StreamError):
    """More messages than a stream may have, audio aside."""


class StreamIdle(StreamError):
    """No message for too long."""


class StreamTooLong(StreamError):
    """More audio than a stream may have."""


class StreamTooFast(StreamError):
    """Audio too far ahead of the clock."""


class StreamStalled(StreamError):
    """A full queue from which nothing was taken for too long."""
