"""What licences a corpus names, and whether they are among those that somebody must avoid.

A licence text is a conjunction of choices: "GPL-2+ or MIT, CC BY-SA 4.0" asks for (either of GPL
and MIT) and for CC BY-SA. A corpus is left out where one part offers nothing but avoided licences.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

UNSTATED = "see its copyright file"

# Spellings of one licence, as `canonical` leaves them.
_ALIASES = {
    "PD": "PUBLIC-DOMAIN",
    "CC-0": "CC0",
    "CC-SA-BY": "CC-BY-SA",
    "EXPAT": "MIT",
    "GFDL-NIV": "GFDL",
}
# A version, and what may follow it: "only", "or later", the country of a Creative Commons text.
_VERSION = re.compile(r"-V?(\d+(\.\d+)*)(-(ONLY|OR-LATER|[A-Z]{2}))?$")
_OR_LATER = re.compile(r",?\s+or\s+(any\s+)?(later|newer)(\s+versions?)?", re.IGNORECASE)


def canonical(name: str) -> str:
    """A licence's name in capitals, hyphens for blanks, without "+": "CC BY-SA 4.0" → CC-BY-SA-4.0.

    Spellings in use are made one, so that GPL-2+, GPL-2.0-or-later and GPL v2 are all GPL-2.
    """
    text = re.sub(r"[\s_]+", "-", name.strip().upper()).replace("+", "")
    text = re.sub(r"^GNU-|-LICEN[CS]E(?=-|$)|-VERSION(?=-)|-WITH-.*$", "", text)
    version = _VERSION.search(text)
    family = text[: version.start()] if version else text
    number = re.sub(r"(\.0)+$", "", version[1]) if version else ""
    family = _ALIASES.get(family, family)
    return f"{family}-{number}" if number else family


def parts(licence: str) -> list[list[str]]:
    """The choices that a licence text asks for, each a list of alternatives in canonical form."""
    licence = _OR_LATER.sub("+", re.sub(r"\([^)]*\)", "", licence))  # (Freesound): where from
    every = re.split(r"[/;,]|\band\b", licence, flags=re.IGNORECASE)
    choices = [re.split(r"\bor\b(?!-)", part, flags=re.IGNORECASE) for part in every]
    named = [[canonical(each) for each in choice if each.strip()] for choice in choices]
    return [choice for choice in named if choice]


def is_avoided(licence: str, without: Collection[str]) -> bool:
    """Whether the licence falls under one of `without`.

    A name without a version means every version, and no more: "GPL" is GPL-2+ and GPL-3 but not
    LGPL-2.1, "CC BY" is CC BY 4.0 but not CC BY-SA 4.0.
    """
    avoided = {canonical(each) for each in without}

    def hit(name: str) -> bool:
        return any(
            name == each or re.match(rf"{re.escape(each)}-(\d|ANY$)", name) for each in avoided
        )

    return any(all(map(hit, choice)) for choice in parts(licence))


def is_stated(licence: str) -> bool:
    """Whether the text names licences: Debian's "DFSG-free" is a promise about them, not a name."""
    return licence not in (UNSTATED, "unknown") and not licence.startswith("DFSG-free")


def read_copyright(path: Path) -> str:
    """The licences that a Debian copyright file names, "A, B"; `UNSTATED` where it names none.

    Of a machine-readable file (DEP-5) those of its Files paragraphs, but for the packaging alone
    (debian/*); of any other the common licences that it refers to, the packaging's too.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if re.match(r"\s*Format(-Specification)?:", text, re.IGNORECASE):
        found = _of_paragraphs(text)
    else:
        found = re.findall(r"/usr/share/common-licenses/([A-Z][\w.-]*\w)", text)
    spelled: dict[str, str] = {}
    for name in found:
        spelled.setdefault(str(parts(name)), name)
    return ", ".join(spelled.values()) or UNSTATED


def _of_paragraphs(text: str) -> list[str]:
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields = re.findall(r"^(Files|License):(.*(?:\n[ \t].*)*)", paragraph, re.MULTILINE)
        values = dict(fields)
        patterns = values.get("Files", "").split()
        if all(pattern.startswith("debian/") for pattern in patterns):
            continue  # the packaging, or a licence's own paragraph
        # Words of its own instead of a name begin on the next line.
        found.append(values.get("License", "").split("\n")[0].strip() or "other")
    return found
