from __future__ import annotations

from service.metrics import Metrics, StreamMeter


def test_a_stream_tells_of_its_audio_once_a_second_and_at_its_end() -> None:
    metrics = Metrics()
    meter = StreamMeter(metrics)
    meter.bytes_per_second = 32

    def value(name: str) -> float:
        found = metrics.registry.get_sample_value(f"convad_{name}", {"kind": "stream"})
        assert found is not None
        return found

    for _ in range(31):
        meter.bytes += 1
        meter.step(0.002)
    assert value("audio_seconds_total") == 0
    meter.bytes += 1
    meter.step(0.002)
    assert value("audio_seconds_total") == 1
    meter.bytes += 16
    meter.step(0.05)
    meter.tell()
    meter.tell()
    assert value("audio_seconds_total") == 1.5
    assert value("real_time_factor_count") == 2
    assert abs(value("real_time_factor_sum") - (32 * 0.002 + 0.05 / 0.5)) < 1e-9
    assert metrics.registry.get_sample_value("convad_step_seconds_count") == 33
