"""Every error that the service raises on purpose, besides those of `vad.errors`.

    ServiceError
    ├── NotReady                the model is not loaded yet
    ├── ShuttingDown            the server is on its way out
    ├── TooManyStreams          all places for live streams are taken
    ├── ClientGone              nobody is left to answer
    ├── InvalidFields           fields that are unknown, ill-typed or repeated; `.errors`
    ├── BodyTooLarge            more bytes than a request may have
    ├── BodyTooSlow             the body stopped arriving
    ├── TooManyFiles            more files than a request may have
    ├── MalformedBody           a multipart body that does not parse
    ├── UnsupportedMedia        a body of a type that holds no audio
    ├── NotAcceptable           no answer has a type that `Accept` allows
    └── StreamError             what goes wrong on a WebSocket
        ├── UnknownMessage      no message of that type
        ├── NotAllowed          a message that the stream's state does not allow
        ├── MalformedMessage    not a JSON object with a type
        ├── UnsupportedFrame    a frame type that the route doesn't take
        ├── MessageTooLarge     more bytes than a message may have
        ├── StreamIdle          no message for too long
        └── StreamTooLong       more audio than a stream may have

What each means to a client (status, problem type, close code) is told in `problems.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


class ServiceError(Exception):
    """Base of all errors above."""


class NotReady(ServiceError):
    """The model is not loaded yet."""


class ShuttingDown(ServiceError):
    """The server is on its way out."""


class TooManyStreams(ServiceError):
    """All places for live streams are taken."""


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


class TooManyFiles(ServiceError):
    """More files than a request may have."""


class MalformedBody(ServiceError):
    """A multipart body that does not parse."""


class UnsupportedMedia(ServiceError):
    """A body of a type that holds no audio."""


class NotAcceptable(ServiceError):
    """No answer has a type that `Accept` allows."""


class StreamError(ServiceError):
    """What goes wrong on a WebSocket."""


class UnknownMessage(StreamError):
    """No message of that type."""


class NotAllowed(StreamError):
    """A message that the stream's state does not allow."""


class MalformedMessage(StreamError):
    """Not a JSON object with a type."""


class UnsupportedFrame(StreamError):
    """A frame type that the route doesn't take."""


class MessageTooLarge(StreamError):
    """More bytes than a message may have."""


class StreamIdle(StreamError):
    """No message for too long."""


class StreamTooLong(StreamError):
    """More audio than a stream may have."""
