"""Speech and voices from public git repositories, each with its source and licence.

    git clone https://github.com/fredbuhl/EmoGator && vad data prepare --snapshot emogator=EmoGator

Which files of a repository belong to a corpus, under which licence they are, who speaks and in
which language: that is all there is to know, and it is the same in any copy of the revision.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vad.corpora.sources import Clip, Corpus, Kind
from vad.errors import DataError

_ASP = "0001|0004|0006|0008|0027|0052|0066|0072|0087|0089|0095|0110|0111|0141|0156|0158|0201|0210"
_ASP += "|0243|0262|0291|0294|0296|0302|0315|0324|0327|0337|0342"


@dataclass(frozen=True)
class Snapshot:
    """A corpus in a repository.

    Attributes:
        repository: on GitHub, as owner/name.
        revision: whose files these are.
        files: a pattern of their paths from its root; what its groups `speaker` and `lang` match
            is who speaks in which language.
        kind: what they hold.
        licence: theirs.
        wordless: whether they are voices that say no words, some of which do: what every
            reference takes for speech is then left out.
    """

    repository: str
    revision: str
    files: str
    kind: Kind
    licence: str
    wordless: bool = False

    @property
    def url(self) -> str:
        return f"https://github.com/{self.repository}"


SNAPSHOTS: dict[str, Snapshot] = {
    # Laughs, sighs, moans, gasps, hums of 357 people; the second and third take are much like the
    # first.
    "emogator": Snapshot(
        "fredbuhl/EmoGator",
        "51eeca515a95f168ab73391cd9e7c975ab964429",
        r"data/mp3/(?P<speaker>\d+)-\d+-1\.mp3",
        "noise",
        "Apache-2.0",
        wordless=True,
    ),
    "gcompris-voices": Snapshot(
        "gcompris/GCompris-voices",
        "c0e8a743b7b4633af06b8dc15bc2b397e456dd6f",
        r"(?P<lang>[a-zA-Z_@]+)/.*\.ogg",
        "speech",
        "GPL-3+, CC BY-SA 4.0",
    ),
    "audio-cmn": Snapshot(
        "hugolpz/audio-cmn",
        "ff9ed3d0c631195bd2c06f39450f3264c7124040",
        r"64k/(hsk|syllabs)/.*\.mp3",
        "speech",
        "CC BY-SA 4.0",
    ),
    "arabic-speech-commands": Snapshot(
        "abdulkaderghandoura/arabic-speech-commands-dataset",
        "72f3438212ff6cf8fbe5ae8068361840646429bd",
        r"dataset/[^/]*/(?P<speaker>\d+)_.*\.wav",
        "speech",
        "CC BY 4.0",
    ),
    # Stories read to children, those whose pages say CC BY.
    "asp-audio": Snapshot(
        "global-asp/asp-audio",
        "b2252fad7a657f2707901e7390ae0ae33e017968",
        rf"(?P<lang>en|fr|lg|myx)/({_ASP})_[^/]*/[^/]*\.ogg",
        "speech",
        "CC BY 4.0",
    ),
    # Without heysavant, which is CC BY-NC-SA.
    "precise-community-data": Snapshot(
        "MycroftAI/Precise-Community-Data",
        "4854e39b7f8c0e14d387d4e135aa10486f5158bf",
        r"(athena|amelia|computer|heycomputer|heychatterbox)/.*\.wav",
        "speech",
        "public domain",
    ),
    "watson-samples": Snapshot(
        "watson-developer-cloud/speech-to-text-nodejs",
        "f4518f1afc89b6cc9488020d9faac95ddcded908",
        r"public/audio/.*\.(wav|flac|mp3|ogg)",
        "speech",
        "Apache-2.0",
    ),
    "azure-speech-samples": Snapshot(
        "Azure-Samples/cognitive-services-speech-sdk",
        "af304cc2298f99c58e21d1e17e00afd8496bf2f1",
        r"(?!.*custom-voice).*\.wav",
        "speech",
        "MIT",
    ),
    "linguaculturalists": Snapshot(
        "XPRIZE/GLEXP-Team-The-Linguaculturalists",
        "1546af2366c0e39d7112ccdaa7e7b415997a6a4d",
        r"app/src/full/assets/locales/(?P<lang>[a-z_]+)/.*\.ogg",
        "speech",
        "GPL-3",
    ),
    "post-call-analytics": Snapshot(
        "aws-samples/amazon-transcribe-post-call-analytics",
        "446d6342d4ce16c34600c370cd1eb07b72c6bc2f",
        r"pca-samples/.*\.wav",
        "speech",
        "MIT-0",
    ),
    # Sung notes: voiced, and wordless.
    "human-voice": Snapshot(
        "vocobox/human-voice-dataset",
        "77248fc69fd93c40a69d49c0cade4144c5d7a9f4",
        r"data/voices/(?P<speaker>[^/]+)/.*/mono/.*\.wav",
        "noise",
        "MIT",
    ),
}


def snapshot_corpus(name: str, root: Path) -> Corpus:
    """The corpus of that name in a copy of its repository.

    Args:
        name: a key of `SNAPSHOTS`.
        root: the copy, at the revision or a later one that still has the files.

    Raises:
        DataError: an unknown name, or none of its files at `root`.
    """
    if name not in SNAPSHOTS:
        raise DataError(f"{name}: unknown snapshot; known are {', '.join(SNAPSHOTS)}")
    snapshot = SNAPSHOTS[name]
    pattern = re.compile(snapshot.files)
    clips = []
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root).as_posix()
        if path.is_file() and (match := pattern.fullmatch(relative)):
            known = match.groupdict()
            speaker = known.get("speaker")
            clips.append(
                Clip(relative, path, speaker=speaker, lang=known.get("lang"), group=speaker or "")
            )
    if not clips:
        raise DataError(f"{name}: none of its files at {root}; clone {snapshot.url} there")
    return Corpus(name, snapshot.kind, snapshot.licence, tuple(clips), snapshot.wordless)
