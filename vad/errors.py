"""Every error that convad raises on purpose.

    VadError
    ├── ParameterError (also ValueError)    unknown, ill-typed or out of range; `.param` names it
    ├── AudioError                          bytes that do not become audio
    │   ├── DecodeError                     nothing in the input can be decoded
    │   │   └── DecoderCrashed              it took the process down that tried
    │   ├── DecodeTooSlow                   a file took longer to decode than the caller allowed
    │   ├── DecodedTooLarge                 more bytes, once decoded, than the caller allowed
    │   ├── UnsupportedAudio                decodable, but outside the accepted rates or channels
    │   └── AudioTooLong                    more audio than the caller allowed
    ├── ModelError                          weights that cannot be used
    │   ├── ModelNotFound                   no model of that name or path
    │   └── CorruptModel                    checksum, shapes or configuration do not fit
    ├── StreamClosed                        audio pushed into a stream after its end
    ├── FormatError (also ValueError)       an RTTM, TextGrid or label file that does not parse
    ├── DataError                           a training corpus or manifest that cannot be read
    ├── OutputError                         results that cannot be written where they should go
    └── MissingExtra (also ImportError)     an optional dependency is absent; says what to install

Files that do not exist or may not be read raise Python's own OSError.
"""

from __future__ import annotations


class VadError(Exception):
    """Base of all errors above: `except VadError` catches every one."""


class ParameterError(VadError, ValueError):
    """A parameter is unknown, of the wrong type or out of range.

    Attributes:
        param: the parameter's name as the caller wrote it.
    """

    def __init__(self, param: str, message: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param
        self.message = message

    def __reduce__(self) -> tuple[type[ParameterError], tuple[str, str]]:
        return type(self), (self.param, self.message)  # else no other process could raise it


class AudioError(VadError):
    """Input that cannot be turned into audio."""


class DecodeError(AudioError):
    """Nothing in the input can be decoded."""


class DecoderCrashed(DecodeError):
    """The input took down the process that decoded it."""


class DecodeTooSlow(AudioError):
    """Decoding took longer than the caller allowed."""


class DecodedTooLarge(AudioError):
    """More bytes, once decoded, than the caller allowed."""


class UnsupportedAudio(AudioError):
    """Audio outside the accepted sample rates or channel counts."""


class AudioTooLong(AudioError):
    """More audio than the caller allowed."""


class ModelError(VadError):
    """Weights that cannot be used."""


class ModelNotFound(ModelError):
    """No model of that name or path."""


class CorruptModel(ModelError):
    """Weights whose checksum, shapes or configuration do not fit."""


class StreamClosed(VadError):
    """Audio was pushed into a stream that has ended."""


class FormatError(VadError, ValueError):
    """A label file that does not parse."""


class DataError(VadError):
    """A training corpus or manifest that cannot be read."""


class OutputError(VadError):
    """Results cannot be written where they should go."""


class MissingExtra(VadError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed: pip install '.[{extra}]' in a checkout of convad, "
            f"or 'convad-….whl[{extra}]'"
        )
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (self.package, self.extra)
