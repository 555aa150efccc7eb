"""What a core can do, what the network asks of it, and what is lost between the two.

python benchmarks/roofline.py > roofline.json
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import CHUNK, RATE, Table, durations, finish, last_core, parser, pin, speech

from vad import DEFAULT_MODEL, Detector
from vad.nn import weights
from vad.nn.ops import Op, folded, outputs_of_each, to_probabilities


def products(ops: Sequence[Op], rows: int) -> tuple[Table, dict[str, Any], float]:
    """Each of the network's matrix products alone, for so many streams; their sum in µs."""
    table = Table(
        f"The network's products for {rows} streams of 20 ms",
        ["rows × inner × columns", "times", "MFLOP", "µs", "GFLOP/s"],
    )
    shapes: defaultdict[tuple[int, int, int], int] = defaultdict(int)
    for conv, outputs in outputs_of_each(ops):
        if conv.groups == 1:
            out, channels, kernel = conv.weight.shape
            shapes[round(outputs * rows), channels * kernel, out] += 1
    raw, total = {}, 0.0
    for (m, k, n), times in shapes.items():
        a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
        took = float(np.median(durations(lambda a=a, b=b: np.dot(a, b), 0.1)[1]))
        flop, total = 2 * m * k * n, total + times * took
        name = f"{m} × {k} × {n}"
        raw[name] = {"times": times, "us": 1e6 * took, "gflops": flop / took / 1e9}
        cells = (f"{flop / 1e6:.1f}", f"{1e6 * took:.0f}", f"{flop / took / 1e9:.0f}")
        table.rows.append([name, str(times), *cells])
    return table, raw, 1e6 * total


def batch(detector: Detector, streams: int) -> tuple[float, float]:
    """µs of a whole push of a batch, and of the network's part in it."""
    engine = detector.engine
    chunk = speech(2)[RATE : RATE + CHUNK]
    pushes = [(engine.signal(), chunk) for _ in range(streams)]
    inside: list[float] = []
    run = engine.plan.run

    def timed(*arguments: Any) -> Any:
        start = time.process_time()
        found = run(*arguments)
        inside.append(time.process_time() - start)
        return found

    engine.plan.run = timed  # type: ignore[method-assign]
    try:
        _, busy = durations(lambda: engine.push_many(pushes), 1)
    finally:
        engine.plan.run = run  # type: ignore[method-assign]
    return 1e6 * float(np.median(busy)), 1e6 * float(np.median(inside))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--model", help="name or path of other weights")
    arguments = options.parse_args()
    pin(last_core())
    model = {"model": arguments.model} if arguments.model else {}
    detector = Detector.load(**model, device="cpu")
    network, tensors = detector.engine.architecture, weights.load(arguments.model or DEFAULT_MODEL)
    ops = folded(to_probabilities(network.ops(tensors.weights)))
    square = np.ones((768, 768), np.float32)
    peak = 2 * 768**3 / float(np.median(durations(lambda: np.dot(square, square), 0.5)[1]))
    raw: dict[str, Any] = {"peak_gflops": peak / 1e9, "macs_per_second": network.macs_per_second}
    tables = []
    parts = Table(
        "Where the time of a step goes, µs",
        ["streams", "at the peak", "products alone", "network", "whole push", "of the peak"],
    )
    for streams in (1, 64, 256):
        table, raw[f"products {streams}"], alone = products(ops, streams)
        whole, inside = batch(detector, streams)
        ideal = 1e6 * 2 * network.macs_per_second * 0.02 * streams / peak
        raw[f"batch {streams}"] = {"whole_us": whole, "network_us": inside, "ideal_us": ideal}
        cells = (f"{value:.0f}" for value in (ideal, alone, inside, whole))
        parts.rows.append([str(streams), *cells, f"{ideal / whole:.0%}"])
        if streams == 256:
            tables.append(table)
    state = detector.engine.state_bytes / 1024
    about = Table("One core and the network", ["", ""])
    about.rows = [
        ["float32 product of 768³, GFLOP/s", f"{peak / 1e9:.0f}"],
        [
            "network, million multiply-adds a second of audio",
            f"{network.macs_per_second / 1e6:.1f}",
        ],
        ["× real time at the peak", f"{peak / 2 / network.macs_per_second:.0f}"],
        ["state of a live stream, KiB", f"{state:.0f}"],
    ]
    finish([about, parts, *tables], raw, arguments)


if __name__ == "__main__":
    main()
