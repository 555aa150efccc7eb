"""How long a browser takes to show the page: first paint and loading, each with an empty cache.

python benchmarks/page.py > page.json

It needs the extra `browser` and a Chromium: the system's, or what CHROMIUM names.
"""

from __future__ import annotations

import os
import shutil

from common import Spread, Table, finish, parser
from playwright.sync_api import sync_playwright
from servers import server

FIGURES = """() => {
    const page = performance.getEntriesByType("navigation")[0];
    const parts = performance.getEntriesByType("resource");
    const paint = Object.fromEntries(
        performance.getEntriesByType("paint").map((entry) => [entry.name, entry.startTime]));
    return {
        "first byte, ms": page.responseStart,
        "first paint, ms": paint["first-paint"],
        "first contentful paint, ms": paint["first-contentful-paint"],
        "loaded, ms": page.loadEventEnd,
        "requests": parts.length + 1,
        "KB": parts.reduce((sum, part) => sum + part.transferSize, page.transferSize) / 1000,
    };
}"""


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--repeats", type=int, default=9)
    arguments = options.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    raw: list[dict[str, float]] = []
    complaints: list[str] = []
    with server("convad", None, 8) as (_, port), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        for _ in range(arguments.repeats):
            context = browser.new_context()
            page = context.new_page()
            page.on("console", lambda said: complaints.append(said.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(f"http://127.0.0.1:{port}/", wait_until="networkidle")
            raw.append(page.evaluate(FIGURES))
            context.close()
        browser.close()
    assert complaints == [], complaints
    table = Table("The page in a browser", ["", "median (lowest–highest)"])
    for name in raw[0]:
        table.rows.append([name, str(Spread.of([found[name] for found in raw]))])
    finish([table], raw, arguments)


if __name__ == "__main__":
    main()
