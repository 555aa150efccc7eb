from __future__ import annotations

from pathlib import Path

import pytest

from vad.corpora.licences import (
    UNSTATED,
    canonical,
    is_avoided,
    parts,
    read_copyright,
)
from vad.corpora.sources import Corpus, leave_out
from vad.errors import ParameterError

DEP5 = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Source: https://example.org

Files: *
Copyright: 2003, Ann
Comment: The CREDITS file:
 License: none of this counts
License: CC-BY-SA-3.0

Files: sounds/* more/*
Copyright: 2010, Bob
License: GPL-2+ or MIT
 Either of them.

Files: pictures/*
License:
 Feel free to do what you like.

Files: other/*
License: CC BY-SA 3.0

Files: debian/*
Copyright: 2010, Packager
License: GPL-3

License: GPL-3
 The whole text of it.
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CC BY-SA 4.0", "CC-BY-SA-4"),
        ("cc-by-sa-4.0", "CC-BY-SA-4"),
        ("CC-BY-SA-3.0-us", "CC-BY-SA-3"),
        ("CC-SA-BY-3.0", "CC-BY-SA-3"),
        ("GPL-2+", "GPL-2"),
        ("GPL-2.0-or-later", "GPL-2"),
        ("GNU GPL v2", "GPL-2"),
        ("GPL-3+-with-font-exception", "GPL-3"),
        ("LGPL-2.1", "LGPL-2.1"),
        ("Expat", "MIT"),
        ("PD", "PUBLIC-DOMAIN"),
        ("public domain", "PUBLIC-DOMAIN"),
        ("CC0-1.0", "CC0-1"),
        ("Apache License 2.0", "APACHE-2"),
        ("Free-Art-License-1.2", "FREE-ART-1.2"),
    ],
)
def test_spellings_of_a_licence_are_one(name: str, expected: str) -> None:
    assert canonical(name) == expected
    assert canonical(expected) == expected


def test_a_text_is_choices_of_alternatives() -> None:
    assert parts("Expat or GPL-2 or GPL-3, and CC-BY-3.0") == [
        ["MIT", "GPL-2", "GPL-3"],
        ["CC-BY-3"],
    ]
    assert parts("CC0/CC BY/PD") == [["CC0"], ["CC-BY"], ["PUBLIC-DOMAIN"]]
    assert parts("GPL version 2 or any later version") == [["GPL-2"]]
    assert parts("CC BY (Freesound)") == [["CC-BY"]]


@pytest.mark.parametrize(
    ("licence", "without", "avoided"),
    [
        ("GPL-2+", ["GPL"], True),
        ("GPL", ["GPL"], True),
        ("LGPL-2.1+", ["GPL"], False),
        ("LGPL-any", ["LGPL"], True),
        ("CC BY-SA 4.0", ["CC-BY-SA"], True),
        ("CC BY-SA 4.0", ["cc by"], False),
        ("CC BY 4.0", ["CC-BY-SA"], False),
        ("CC BY-SA 3.0", ["CC BY-SA 4.0"], False),
        ("CC BY (Freesound)", ["CC BY"], True),
        ("CC0 / CC BY 4.0 / GPL", ["GPL"], True),
        ("GPL-2 or MIT", ["GPL"], False),
        ("GPL-2 or LGPL-2.1", ["GPL", "LGPL"], True),
        ("GPL-2 or MIT, CC-BY-SA-3.0", ["CC BY-SA"], True),
        ("unknown", ["GPL"], False),
    ],
)
def test_what_is_avoided(licence: str, without: list[str], avoided: bool) -> None:
    assert is_avoided(licence, without) is avoided


def test_corpora_are_parted_and_doubt_is_told() -> None:
    licences = ("MIT", "GPL-2+", "unknown", UNSTATED, "DFSG-free (Debian main)")
    corpora = [Corpus(licence, "noise", licence, ()) for licence in licences]

    def names(without: str | None) -> list[list[str]]:
        return [[each.name for each in part] for part in leave_out(corpora, without)]

    assert names(None) == [list(licences), [], []]
    assert names("GPL") == [["MIT", *licences[2:]], ["GPL-2+"], list(licences[2:])]
    assert names("GPL,unknown") == [["MIT"], list(licences[1:]), []]
    with pytest.raises(ParameterError, match="name licences"):
        leave_out(corpora, ",")


def test_copyright_files(tmp_path: Path) -> None:
    file = tmp_path / "copyright"
    file.write_text(DEP5)
    assert read_copyright(file) == "CC-BY-SA-3.0, GPL-2+ or MIT, other"
    file.write_text("Free.\nSee `/usr/share/common-licenses/GPL-2'.\nOr common-licenses/GPL-2.\n")
    assert read_copyright(file) == "GPL-2"
    file.write_text("Do with it what you like.\n")
    assert read_copyright(file) == UNSTATED
