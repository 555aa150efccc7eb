"""Whole networks: streaming, latency, receptive field and folding, for every architecture."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vad.nn import ARCHITECTURES, Architecture, Network, fold_norms


def _network(name: str) -> Network:
    torch.manual_seed(5)
    network = Network(ARCHITECTURES[name])
    network.train()
    with torch.no_grad():  # so that the norms hold more than their start
        for _ in range(3):
            network(torch.randn(4, 16_000) * 0.1)
    return network.eval()


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def network(request: pytest.FixtureRequest) -> Network:
    return _network(request.param)


def test_frames_are_ceil_of_samples(network: Network) -> None:
    with torch.no_grad():
        for samples in (1, 159, 160, 161, 320, 321, 4800, 16_000):
            assert network(torch.randn(1, samples)).shape == (1, -(-samples // 160))


@settings(max_examples=15, deadline=None)
@given(
    pieces=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    neighbours=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_step_equals_forward_among_any_neighbours(
    pieces: list[int], neighbours: int, seed: int
) -> None:
    network = _BASE
    size = network.step_samples
    generator = torch.Generator().manual_seed(seed)
    audio = torch.randn(1 + neighbours, sum(pieces) * size, generator=generator) * 0.1
    state, outputs, at = network.initial_state(1 + neighbours), [], 0
    with torch.no_grad():
        for piece in pieces:
            y, state = network.step(audio[:, at : at + piece * size], state)
            outputs.append(y)
            at += piece * size
        alone = network(audio[:1])
    stepped = torch.cat(outputs, 1)[:1, network.delay :]
    # The last frames of `forward` hear zeros past the end, which the steps have not had yet.
    torch.testing.assert_close(stepped, alone[:, : stepped.shape[1]], atol=1e-4, rtol=0)


_BASE = _network("base")


def test_every_architecture_steps_as_it_hears_the_whole(network: Network) -> None:
    audio = torch.randn(2, 40 * network.step_samples) * 0.1
    state, outputs, at = network.initial_state(2), [], 0
    with torch.no_grad():
        for piece in (1, 3, 20, 2, 14):
            end = at + piece * network.step_samples
            y, state = network.step(audio[:, at:end], state)
            outputs.append(y)
            at = end
        whole = network(audio)
    stepped = torch.cat(outputs, 1)[:, network.delay :]
    assert stepped.shape[1] > 0
    torch.testing.assert_close(stepped, whole[:, : stepped.shape[1]], atol=1e-4, rtol=0)


def test_lookahead_is_what_it_says(network: Network) -> None:
    """Sound later than the look-ahead past a frame's end never changes its probability."""
    frame, frames = 20, 60
    audio = torch.randn(1, frames * 160) * 0.1
    end = (frame + 1) * 160
    with torch.no_grad():
        reference = network(audio)[0]

        def change_from(sample: int) -> torch.Tensor:
            changed = audio.clone()
            changed[:, sample:] = torch.randn(1, audio.shape[1] - sample)
            return (network(changed)[0] - reference).abs()

        ahead = network.lookahead_ms * 16
        for i in range(network.step_frames):
            assert change_from(end + ahead + i * 160)[frame + i] == 0
        # And of the frames of one step, the earliest does hear that far.
        reaches = [
            bool(change_from(end + i * 160 + ahead - 160)[frame + i] > 0)
            for i in range(network.step_frames)
        ]
        assert any(reaches)


def test_lookahead_within_40_ms(network: Network) -> None:
    """Of all but the arbiter, which hears no streams."""
    if network.architecture.name == "arbiter":
        assert network.lookahead_ms == 360
    else:
        assert network.lookahead_ms == network.latency_ms <= 40


def test_receptive_field_is_finite_and_exact_enough() -> None:
    """What lies further back than the receptive field leaves no trace: no drift, no leak."""
    network = _BASE
    field = network.receptive_field
    generator = torch.Generator().manual_seed(1)
    recent = torch.randn(1, field, generator=generator) * 0.1
    with torch.no_grad():
        one = network(torch.cat([torch.randn(1, 16_000, generator=generator), recent], 1))
        other = network(torch.cat([torch.zeros(1, 16_000), recent], 1))
    torch.testing.assert_close(one[:, -1], other[:, -1], atol=1e-6, rtol=0)
    assert not torch.allclose(one[:, -200], other[:, -200])


def test_folding_norms_changes_nothing(network: Network) -> None:
    folded = fold_norms(network)
    audio = torch.randn(2, 8000) * 0.1
    with torch.no_grad():
        torch.testing.assert_close(folded(audio), network(audio), atol=1e-4, rtol=0)
    assert sum(p.numel() for p in network.parameters()) == network.parameter_count


def test_architecture_survives_json(network: Network) -> None:
    import json

    data = json.loads(json.dumps(network.architecture.to_dict()))
    again = Network(Architecture.from_dict(data))
    again.load_state_dict(network.state_dict())


@pytest.mark.parametrize(
    ("name", "macs"), [("tiny", 5e6), ("small", 8e6), ("base", 15e6), ("wide", 15e6)]
)
def test_budget(name: str, macs: float) -> None:
    assert Network(ARCHITECTURES[name]).macs_per_second <= macs


def test_receptive_field_grows_along_the_ladder() -> None:
    """Each rung zooms out further than the one before, or looks more closely at as much."""
    rungs = [name for name in ARCHITECTURES if name != "dense"]  # its window is all it sees
    fields = [Network(ARCHITECTURES[name]).receptive_field for name in rungs]
    assert rungs[0] == "conv-dense"
    assert rungs[-1] == "arbiter"
    assert fields == sorted(fields)
    assert fields[0] < 0.02 * 16_000
    assert len(set(fields)) >= 6


def test_macs_by_hand() -> None:
    network = Network(ARCHITECTURES["conv-dense"])
    filterbank = 48 * 160 * 200  # filters, taps, positions a second
    dense = (48 * 64 + 64) * 100
    assert network.macs_per_second == filterbank + dense


def test_first_filters(network: Network) -> None:
    first = network.architecture.layers[0]
    assert network.first_filters().shape == (first["channels_out"], first["kernel"])


def test_a_stride_off_the_hop_is_refused() -> None:
    spec = {"type": "conv", "channels_in": 1, "channels_out": 1, "kernel": 200, "stride": 100}
    with pytest.raises(ValueError, match="160"):
        Network(Architecture("odd", (spec,), 0))
