"""Samples ↔ frames ↔ milliseconds, as pure functions.

Frame i speaks of [10 i, 10 i + 10) ms of the input, whatever the input's sample rate.
Everything is integer arithmetic, so that no hour-long stream drifts by a rounding error.
"""

SAMPLE_RATE = 16_000  # Hz: what the network hears
HOP_MS = 10  # one probability every 10 ms
FRAMES_PER_SECOND = 1000 // HOP_MS
HOP_SAMPLES = SAMPLE_RATE * HOP_MS // 1000  # 160


def frame_count(samples: int, sample_rate: int) -> int:
    """Number of frames that cover `samples` at `sample_rate` Hz: ceil(duration / 10 ms)."""
    return -(-samples * FRAMES_PER_SECOND // sample_rate)


def frame_end_ms(frame: int) -> int:
    """Where a frame ends."""
    return (frame + 1) * HOP_MS


def samples_to_ms(samples: int, sample_rate: int) -> int:
    """Duration of `samples` in milliseconds, rounded half up."""
    return (2000 * samples + sample_rate) // (2 * sample_rate)


def ms_to_samples(ms: int, sample_rate: int) -> int:
    """Samples in `ms` milliseconds, rounded half up."""
    return (2 * ms * sample_rate + 1000) // 2000


def resampled_length(samples: int, rate_in: int, rate_out: int) -> int:
    """Samples at `rate_out` Hz that last as long as `samples` at `rate_in` Hz, rounded half up."""
    return (2 * samples * rate_out + rate_in) // (2 * rate_in)


def ceil_frames(ms: float) -> int:
    """Smallest number of frames that lasts at least `ms` milliseconds."""
    return -(-round(ms * 1000) // (HOP_MS * 1000))
