"""Scenes: speech with its labels, put into rooms, noise, music, telephones.

A batch of scenes is mixed at once, on a CPU or a GPU. It is a pure function of the corpora, the
recipe and a `Draw`, and batch n of a run is drawn from (seed, n) alone: any process can make it,
and a resumed run sees the same ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vad.errors import DataError
from vad.frames import HOP_MS, HOP_SAMPLES
from vad.training import effects
from vad.training.background import Background
from vad.training.bank import Bank
from vad.training.draw import Draw
from vad.training.effects import from_db
from vad.training.labels import IGNORE, NON_SPEECH, SPEECH
from vad.training.meetings import Meetings
from vad.training.prepare import Cached
from vad.training.recipe import SceneRecipe
from vad.training.rooms import Rooms
from vad.training.utterances import SPEECH_DBFS, Utterances


class Mixer:
    """Draws scenes from prepared corpora.

    Args:
        corpora: as `load_cache` gives them.
        recipe: how to mix.
        device: where; all corpora are held there.

    Raises:
        DataError: no speech, or neither noise nor music, is left.
    """

    def __init__(
        self,
        corpora: list[Cached],
        recipe: SceneRecipe | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.corpora, self.recipe = corpora, recipe or SceneRecipe()
        self.device = torch.device(device)
        chosen = (dict(self.recipe.boost), self.recipe.held_out, device)
        speech = Bank.of(corpora, "speech", *chosen)
        noise, music = (Bank.of(corpora, kind, *chosen) for kind in ("noise", "music"))
        if speech is None or not (noise or music):
            raise DataError("training needs at least one speech and one noise or music corpus")
        self.utterances = Utterances(speech, self.recipe)
        self.rooms = Rooms(corpora, self.recipe.measured_room, self.device)
        some = [corpus for corpus in corpora if corpus.name in self.recipe.bursts_of]
        bursts = Bank.of(some, "noise", *chosen)
        self.background = Background(noise, music, bursts, self.utterances, self.rooms, self.recipe)
        self.meetings = Meetings(speech, self.rooms, self.recipe)

    def __reduce__(self) -> tuple[type[Mixer], tuple[Any, ...]]:
        """In another process the corpora are read anew, onto the same device."""
        return Mixer, (self.corpora, self.recipe, str(self.device))

    def scenes(self, draw: Draw, count: int) -> tuple[Tensor, Tensor]:
        """So many scenes.

        Returns:
            [count, samples] int16, and [count, frames] int8 labels: 1, 0, −1.
        """
        r = self.recipe
        speaks = ~draw.chance(count, p=r.without_speech)
        lone = draw.chance(count, p=r.lone) & speaks
        speech, labels = self.utterances.lay(draw, count, lone)
        speech *= speaks[:, None]
        labels = torch.where(speaks[:, None], labels, NON_SPEECH)
        dry = effects.frame_power(speech)
        meets = draw.chance(count, p=r.meetings) & speaks & ~lone
        rows = torch.nonzero(draw.chance(count, p=r.room) & ~meets)[:, 0]
        if len(rows):
            there = effects.in_rooms(speech.index_select(0, rows), self.rooms.draw(draw, len(rows)))
            speech.index_copy_(0, rows, there)
        if len(rows := torch.nonzero(meets)[:, 0]):
            there, said = self.meetings.lay(draw, len(rows))
            speech[rows], labels[rows], dry[rows] = there, said, effects.frame_power(there)
        level = _speech_power(dry, labels)
        background = self.background.draw(draw, level, labels, lone)
        under = effects.frame_power(background)
        mixed = self._channel(draw, speech.add_(background))
        gain = from_db(draw.uniform(count, 1, low=r.level_db[0], high=r.level_db[1]))
        gain = gain / (_peak(mixed) + 1e-9)
        pcm = self._recorded(draw, mixed.mul_(gain))
        if r.muted and len(rows := draw.some(count, r.muted)):
            off = muted(labels[rows], draw).repeat_interleave(HOP_SAMPLES, 1)
            pcm[rows] = pcm[rows].masked_fill(off, 0)
        return pcm, self._doubt(labels, dry, under, level, gain)

    def _channel(self, draw: Draw, audio: Tensor) -> Tensor:
        """A microphone's colour, a telephone's band, lost packets; in place."""
        r, count = self.recipe, len(audio)
        narrow = draw.chance(count, p=r.narrow_band)
        rows = torch.nonzero(narrow | draw.chance(count, p=0.5))[:, 0]
        if len(rows):
            some = effects.equalise(audio.index_select(0, rows), draw, narrow=narrow[rows])
            audio.index_copy_(0, rows, some)
        rows = torch.nonzero(narrow & draw.chance(count, p=r.mu_law))[:, 0]
        if len(rows):
            some = audio.index_select(0, rows)
            peak = _peak(some) + 1e-9
            quiet = from_db(-draw.uniform(len(rows), 1, high=25))
            some = effects.mu_law(some / peak * quiet) * (peak / quiet)
            audio.index_copy_(0, rows, some)
        if r.agc and len(rows := draw.some(count, r.agc)):
            some = effects.automatic_gain(audio.index_select(0, rows), draw)
            audio.index_copy_(0, rows, some)
        if len(rows := draw.some(count, r.packet_loss)):
            some = effects.lose_packets(audio.index_select(0, rows), draw)
            audio.index_copy_(0, rows, some)
        return audio

    def _recorded(self, draw: Draw, audio: Tensor) -> Tensor:
        """What a converter of 16 bits makes of it: clipping, an offset, a noise floor."""
        r, count = self.recipe, len(audio)
        over = draw.uniform(count, 1, low=2, high=12)
        if len(rows := draw.some(count, r.clipped)):
            some = (audio.index_select(0, rows) * over[rows]).clamp_(-1, 1)
            audio.index_copy_(0, rows, some)
        offset = draw.uniform(count, 1, low=-0.1, high=0.1)
        audio += offset * draw.chance(count, 1, p=r.offset)
        floor = from_db(draw.uniform(count, 1, low=-95, high=-50))
        audio.addcmul_(draw.normal(*audio.shape), floor)
        return audio.clamp_(-1, 1).mul_(32767).round_().to(torch.int16)

    def _doubt(
        self, labels: Tensor, speech: Tensor, background: Tensor, level: Tensor, gain: Tensor
    ) -> Tensor:
        """Marks speech that nobody could hear, under the background or far too quiet, and short
        pauses that nobody could tell from such speech.

        Args:
            speech, background: [rows, frames] mean squares.
            level: [rows, 1] that of the scene's speech.
        """
        r = self.recipe
        masked = speech < background * 10 ** (r.masked_db / 10)
        quiet = speech * gain**2 < 10 ** (r.inaudible_dbfs / 10)
        doubt = (labels == SPEECH) & (masked | quiet)
        if r.bridged_ms:
            noisy = background > level * 10 ** (-r.bridged_db / 10)
            doubt |= short_pauses(labels, r.bridged_ms // HOP_MS) & noisy
        return torch.where(doubt, IGNORE, labels)


def short_pauses(labels: Tensor, longest: int) -> Tensor:
    """[rows, frames] bool: no speech, for at most `longest` frames, with speech on both sides."""
    before, after = _distances(labels == SPEECH)
    return (labels == NON_SPEECH) & (before + after - 1 <= longest)


def muted(labels: Tensor, draw: Draw) -> Tensor:
    """[rows, frames] bool: where a stream that has not begun, a muted microphone or a noise gate
    gives zeros, up to a random place or throughout, and most often close to speech: else what is
    heard first would never be."""
    rows, frames = labels.shape
    before, after = _distances(labels != NON_SPEECH)
    apart = draw.exponential(rows, 1, mean=12)
    until = draw.uniform(rows, 1, low=0.3, high=1.5) * frames
    place = torch.arange(frames, device=labels.device)
    return (torch.minimum(before, after) > apart) & (place < until)


def _distances(spoken: Tensor) -> tuple[Tensor, Tensor]:
    """[rows, frames] how many frames ago there was speech, and in how many there will be; where
    none is, more than there are frames."""
    frames = spoken.shape[1]
    place = torch.arange(frames, device=spoken.device).expand_as(spoken)
    last = torch.where(spoken, place, -frames - 1).cummax(1).values
    coming = torch.where(spoken, place, 2 * frames + 1).flip(1).cummin(1).values.flip(1)
    return place - last, coming - place


def _peak(audio: Tensor) -> Tensor:
    """Largest magnitude of each row, [rows, 1]."""
    return torch.maximum(audio.amax(1, keepdim=True), -audio.amin(1, keepdim=True))


def _speech_power(frames: Tensor, labels: Tensor) -> Tensor:
    """[rows, 1] mean square over the frames of speech.

    −20 dBFS stands for speech where there is none, so that both kinds of scene match.

    Args:
        frames: [rows, frames] mean squares.
    """
    spoken = labels == SPEECH
    count = spoken.sum(1, keepdim=True)
    mean = (frames * spoken).sum(1, keepdim=True) / count.clamp_min(1)
    return torch.where(count > 0, mean, 10 ** (SPEECH_DBFS / 10))
