"""Figures that the pages tell and the shipped weights know."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vad import Detector
from vad.frames import SAMPLE_RATE
from vad.nn import weights
from vad.nn.architectures import ARCHITECTURES
from vad.nn.spec import Mean

ROOT = Path(__file__).parents[1]
BASE_CARD = "models/convad-base/README.md"
STREAMS = "|  | µs a call, median | 99th percentile | streams a core |"


def page(name: str) -> str:
    """Its text, in one line."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def told(text: str, pattern: str) -> tuple[str, ...]:
    found = re.search(pattern, text)
    assert found is not None, pattern
    return found.groups()


def table(name: str, head: str) -> dict[str, dict[str, str]]:
    """The cells of a page's table whose head begins so: by row and column, without emphasis."""
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.count(f"\n{head}") == 1, head
    columns, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text[text.index(f"\n{head}") + 1 :].split("\n\n")[0].splitlines()
    )
    return {row[0].strip("`"): dict(zip(columns, row, strict=True)) for row in rows}


def number(cell: str) -> float:
    return float(cell.strip("*").replace(" ", "").split("(")[0])


def check_card(text: str, name: str) -> None:
    """Asserts that a card tells what the architecture has."""
    architecture = weights.load(name).architecture
    figures = told(
        text,
        r"([\d ]+) parameters, ([\d.]+) M multiply-adds a second of audio, receptive field "
        r"([\d.]+) s, look-ahead (\d+) ms at most",
    )
    parameters, macs, field, lookahead = figures
    assert int(parameters.replace(" ", "")) == architecture.parameter_count
    assert macs == f"{architecture.macs_per_second / 1e6:.1f}"
    assert field == f"{architecture.receptive_field / SAMPLE_RATE:.1f}"
    assert int(lookahead) == architecture.lookahead_ms


@pytest.mark.parametrize("name", weights.available())
def test_a_card_tells_what_its_network_is(name: str) -> None:
    check_card(page(f"models/{name}/README.md"), name)


def test_another_figure_would_be_noticed() -> None:
    text = page("models/convad-base/README.md")
    for before, after in (("14.0 M", "14.1 M"), ("198 722", "198 723"), ("5.2 s", "5.3 s")):
        assert before in text
        with pytest.raises(AssertionError):
            check_card(text.replace(before, after), "convad-base")


def test_the_smaller_models_take_half_and_a_third_of_the_multiply_adds() -> None:
    base, small, tiny = (
        weights.load(f"convad-{size}").architecture.macs_per_second
        for size in ("base", "small", "tiny")
    )
    assert "need half and a third of the multiply-adds" in page("README.md")
    assert small / base == pytest.approx(1 / 2, abs=0.05)
    assert tiny / base == pytest.approx(1 / 3, abs=0.05)


def spectra(filters: NDArray[np.float32]) -> NDArray[np.float64]:
    """[filters, frequencies], each relative to its peak."""
    found = np.abs(np.fft.rfft(filters, 4096))
    return np.asarray(found / found.max(axis=1, keepdims=True), np.float64)


def test_what_became_of_the_first_filters() -> None:
    modules = pytest.importorskip("vad.nn.modules", exc_type=ImportError)
    after = weights.load("convad-tiny").filters()
    before = spectra(modules.mel_cosines(*after.shape).numpy())
    now = spectra(after)
    hz = np.fft.rfftfreq(4096, 1 / SAMPLE_RATE)
    began, peaks = hz[before.argmax(axis=1)], hz[now.argmax(axis=1)]
    high = began > 2000
    second = (now[:, hz > 2000].max(axis=1) > 1 / 3) & ~high
    counts = told(
        page("docs/ladder.md"),
        r"Of the (\d+) filters that began above, (\d+) now peak below 1 kHz.*?"
        r"(\d+) of the (\d+) low ones",
    )
    assert [int(count) for count in counts] == [
        high.sum(),
        (peaks[high] < 1000).sum(),
        second.sum(),
        (~high).sum(),
    ]


def sets_of_the_card() -> dict[str, dict[str, str]]:
    return table(BASE_CARD, "| set | minutes |")


def test_a_card_names_the_best_of_each_set_and_means_what_it_says() -> None:
    rows = sets_of_the_card()
    models = list(rows["ami"])[2:]
    for name, row in rows.items():
        best = max(number(row[model]) for model in models)
        assert {m for m in models if "**" in row[m]} == {
            m for m in models if number(row[m]) == best
        }, name
    clean = [name for name in rows if " dB" not in name and not name.startswith("mean")]
    noisy = [name for name in rows if " dB" in name and not name.startswith("mean")]

    def mean(names: Sequence[str], model: str) -> float:
        return float(np.mean([number(rows[name][model]) for name in names]))

    for model in models:
        assert number(rows[f"mean of the {len(clean)} clean"][model]) == pytest.approx(
            mean(clean, model), abs=0.00101
        )
        pooled = number(rows["mean of 5, the 7 small ones pooled"][model])
        of_eight = (5 * pooled + 3 * mean(noisy, model)) / 8
        eight = rows["mean of 8, with 10, 5 and 0 dB"][model]
        assert number(eight) == pytest.approx(of_eight, abs=0.00101)


def test_the_readme_compares_as_the_card_does() -> None:
    card, readme = sets_of_the_card(), table("README.md", "| | convad | silero-vad")
    columns = {
        "convad": "convad-base",
        "silero-vad 6.2.3": "silero-vad 6.2.3",
        "FireRedVAD": "FireRedVAD",
        "WebRTC": "WebRTC 3",
    }
    rows = {
        "mean of 8 sets ¹": "mean of 8, with 10, 5 and 0 dB",
        "meetings (ami) ¹": "ami",
        "speech in noise at 0 dB ¹": "timit-nltk, 0 dB",
        "telephone ¹": "telephone",
    }
    for row, source in rows.items():
        for column, model in columns.items():
            assert number(readme[row][column]) == number(card[source][model]), (row, column)
        best = max(number(cell) for cell in list(readme[row].values())[1:])
        for cell in list(readme[row].values())[1:]:
            assert ("**" in cell) == (number(cell) == best), row
    [compared] = (name.split()[1] for name in columns if name.startswith("silero-vad"))
    assert f'"silero-vad=={compared}"' in page("pyproject.toml")


@pytest.mark.parametrize("name", ["convad-small", "convad-tiny"])
def test_the_smaller_cards_say_what_the_larger_one_does(name: str) -> None:
    path, sets = f"models/{name}/README.md", sets_of_the_card()
    rows = table(path, f"| | {name} | convad-base")
    noises = [f"timit-nltk{at}" for at in ("", ", 10 dB", ", 5 dB", ", 0 dB")]
    for model in (name, "convad-base", "silero-vad 6.2.3"):
        timit = rows["timit-nltk, clean / 10 / 5 / 0 dB"][model].split(" / ")
        assert [number(cell) for cell in timit] == [number(sets[n][model]) for n in noises]
        assert number(rows["telephone"][model]) == number(sets["telephone"][model])
        mean = rows["mean of 11 clean sets"][model]
        assert number(mean) == number(sets["mean of the 11 clean"][model])
    segments = table(BASE_CARD, "| | hours | convad-base")
    kinds = ("debian-music", "debian-sfx", "covid19", "lokey", "speechcommands", "modern-alarm")
    music, effects, coughs, *ambience = (
        (row[name], row["silero-vad"])
        for kind in kinds
        for key, row in segments.items()
        if key.startswith(kind)
    )
    beside = [f"{number(a):g} / {number(b):g}" for a, b in (music, effects, coughs)]
    assert (
        f"music {beside[0]}, effects {beside[1]}, coughs (mostly trained on) {beside[2]}, ambience "
        "{:g}, {:g} and {:g} / 0".format(*(number(ours) for ours, _ in ambience))
    ) in page(path)
    assert {number(theirs) for _, theirs in ambience} == {0}


def rung(name: str) -> tuple[str, str, str]:
    """Parameters, multiply-adds and receptive field of an architecture's single frames."""
    alone = ARCHITECTURES[name]
    alone = replace(alone, layers=tuple(x for x in alone.layers if not isinstance(x, Mean)))
    return (
        f"{alone.parameter_count:,}",
        f"{alone.macs_per_second / 1e6:.1f}",
        f"{alone.receptive_field / SAMPLE_RATE:.2f}",
    )


def test_the_ladder_tells_what_its_rungs_are() -> None:
    recipe = tomllib.loads((ROOT / "recipes/ladder.toml").read_text(encoding="utf-8"))
    rows = table("docs/ladder.md", "| model | parameters |")
    assert set(rows) == {recipe["architecture"], *recipe["beside"]}
    for name, row in rows.items():
        cells = row["parameters"], row["M MAC/s"], row["hears back, s"]
        assert cells == rung(name), name
    assert told(
        page("docs/ladder.md"), r"(\d+) steps of (\d+) scenes of (\d+) s each, seed (\d+)"
    ) == tuple(
        f"{value:g}"
        for value in (
            recipe["steps"],
            recipe["batch"],
            recipe["scenes"]["seconds"],
            recipe["seed"],
        )
    )


def test_the_pages_tell_the_size_of_networks_and_their_state(detector: Detector) -> None:
    performance, training = page("docs/performance.md"), page("docs/training.md")
    base = detector.engine.architecture.macs_per_second / 1e6
    rows = table("docs/performance.md", "|  |  |")
    assert rows["network, million multiply-adds a second of audio"][""] == f"{base:.1f}"
    state = rows["state of a live stream, KiB"][""]
    assert state == f"{detector.engine.state_bytes / 1024:.0f}"
    assert told(performance, r"each with ([\d.]+) M multiply-adds every 20 ms") == (
        f"{base / 50:.2f}",
    )
    assert told(performance, r"out of reach for a network of (\d+) M") == (f"{base:.0f}",)
    sizes = [f"{ARCHITECTURES[n].macs_per_second / 1e6:.1f}" for n in ("tiny", "small", "wide")]
    assert told(training, r"networks of ([\d.]+), ([\d.]+) and ([\d.]+) M multiply-adds") == (
        *sizes,
    )
    arbiter = ARCHITECTURES["arbiter"]
    cards = [training, *(page(f"models/convad-{n}/README.md") for n in ("small", "tiny"))]
    for text in cards:
        assert told(text, r"the arbiter(?: of|, a network of) (\d+) M") == (
            f"{arbiter.macs_per_second / 1e6:.0f}",
        )


def about(value: float) -> object:
    """What may be told of it, in two or three figures."""
    return pytest.approx(value, rel=0.015)


def test_what_a_million_hours_cost_is_what_the_tables_say() -> None:
    text = page("docs/performance.md")
    text = text[text.index("What a million hours cost") :]
    files = table("docs/performance.md", "|  | µs a call, median | 99th percentile | × real time |")
    batches = table("docs/performance.md", f"{STREAMS}\n| --- | --- | --- | --- |\n| convad, 1 ")
    stream = number(batches["convad, 256 of 5120 in turn"]["streams a core"])
    servers = table("docs/performance.md", "| server | streams | p50 ms")
    ours, silero = (
        number(files[name]["× real time"])
        for name in ("convad, WAV to segments", "silero package, ONNX")
    )
    figures = told(
        text,
        r"At (\d+) times real time, a million hours take (\d+) core hours: a machine of 32 cores "
        r"is through in (\d+) hours. At 0.04 dollars a core hour that is (\d+) dollars; at the "
        r"(\d+) times real time of silero's package, (\d+)\. .*? at (\d+) a core, a million hours "
        r"of live audio are (\d+) core hours of computing\. .*? at (\d+) a core, they are (\d+) "
        r"core hours, (\d+) dollars; at the (\d+) of a server with silero-vad ([\d ]+), (\d+)\.",
    )
    speed, hours, wall, cost, other, dear, live, live_hours, *served = map(number, figures)
    assert speed == about(ours)
    assert other == about(silero)
    assert [hours, cost, dear] == [
        about(1e6 / x * y) for x, y in ((ours, 1), (ours, 0.04), (silero, 0.04))
    ]
    assert wall == pytest.approx(1e6 / ours / 32, abs=0.5)
    assert [live, live_hours] == [about(stream), about(1e6 / stream)]
    for name, (each, needed, dollars) in {"convad": served[:3], "silero": served[3:]}.items():
        assert each == number(servers[name]["streams"])
        assert [needed, dollars] == [about(1e6 / each), pytest.approx(4e4 / each, rel=0.02)]


def test_core_hours_of_batches_follow_from_their_table() -> None:
    text, rows = page("docs/scale.md"), table("docs/scale.md", "|  | wall s | CPU s |")
    [hours] = map(float, told(text, r"`vad batch` over \d+ files, ([\d.]+) h"))
    for row in rows.values():
        rate = number(row["hours a core hour"])
        assert rate == pytest.approx(hours / number(row["CPU s"]) * 3600, rel=0.05 / hours)
    rates = [number(row["hours a core hour"]) for row in rows.values()]
    rate, needed, cost, wall = map(
        float,
        told(
            text.replace(",", ""),
            r"At the (\d+) of the table above a million hours are (\d+) core hours: (\d+) dollars "
            r"at 4 cents each or (\d+) hours on 256 cores",
        ),
    )
    assert min(rates) <= rate <= max(rates)
    assert [needed, cost, wall] == [
        round(1e6 / rate),
        round(4e4 / rate),
        pytest.approx(1e6 / rate / 256, abs=0.5),
    ]
