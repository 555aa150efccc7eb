"""What sounds beside the speech: noise and music of any length, short sounds, people far away."""

from __future__ import annotations

import torch
from torch import Tensor

from vad.frames import HOP_SAMPLES
from vad.training import effects
from vad.training.bank import Bank
from vad.training.draw import Draw
from vad.training.effects import from_db
from vad.training.labels import SPEECH
from vad.training.recipe import SceneRecipe
from vad.training.rooms import Rooms
from vad.training.utterances import SLOTS, Utterances

TALKERS = 7  # of babble: nobody's words can be made out
LONGEST_EFFECT = 300  # frames


class Background:
    """Draws backgrounds.

    Args:
        noise, music: their clips; either may be missing.
        bursts: clips of laughs, breaths and the like; may be missing.
        utterances: the voices of babble and of far talk.
        rooms: where some of it is played.
        recipe: how to mix.
    """

    def __init__(
        self,
        noise: Bank | None,
        music: Bank | None,
        bursts: Bank | None,
        utterances: Utterances,
        rooms: Rooms,
        recipe: SceneRecipe,
    ) -> None:
        self.noise, self.music, self.bursts = noise, music, bursts
        self.utterances, self.rooms, self.recipe = utterances, rooms, recipe

    def draw(self, draw: Draw, level: Tensor, labels: Tensor, lone: Tensor) -> Tensor:
        """[rows, samples] to add to the speech.

        Args:
            level: [rows, 1] the speech's mean square.
            labels: [rows, frames] of the speech.
            lone: [rows] whose background is quiet.
        """
        r, count = self.recipe, len(level)
        has_speech = (labels == SPEECH).any(1)
        bed = self._bed(draw, count)
        if len(rows := draw.some(count, r.babble)):
            bed.index_add_(0, rows, self._babble(draw, len(rows)) * 0.7)
        snr = draw.triangular(count, 1, low=r.snr_db[0], mode=r.snr_db[1], high=r.snr_db[2])
        quiet = draw.uniform(count, 1, low=25, high=60)
        snr = torch.where((lone & has_speech)[:, None], quiet, snr)
        loud = effects.power(bed)
        matched = torch.where(loud > 0, torch.sqrt(level / loud.clamp_min(1e-20)), 0)
        bed *= matched * from_db(-snr)
        often = torch.where(has_speech, r.effects_over, 2 * r.effects_over)
        rows = torch.nonzero(draw.uniform(count) < often)[:, 0]
        if self.noise and len(rows):
            sounds = self._effects(draw, self.noise, len(rows))
            bed.index_add_(0, rows, sounds * level[rows].sqrt())
        rows = draw.some(count, r.bursts)
        if self.bursts and len(rows):
            sounds = self._effects(draw, self.bursts, len(rows), low=-14, high=2)
            bed.index_add_(0, rows, sounds * level[rows].sqrt())
        self._add(draw, bed, level, r.hum, (5, 40), "hum")
        self._add(draw, bed, level, r.notes, (-5, 30), "notes")
        self._add(draw, bed, level, r.far_talk, (38, 55), "far talk")
        if r.chirps:
            self._add(draw, bed, level, r.chirps, (-5, 30), "chirps")
        return bed

    def _add(
        self, draw: Draw, bed: Tensor, level: Tensor, p: float, under: tuple[int, int], what: str
    ) -> None:
        """One more sound in some scenes, by so many dB under the speech."""
        rows = draw.some(len(bed), p)
        if not len(rows):
            return
        n, frames = len(rows), self.recipe.frames
        if what == "hum":
            sound = effects.hum(n, frames * HOP_SAMPLES, draw)
        elif what == "notes":
            sound = effects.notes(n, frames, draw)
        elif what == "chirps":
            sound = effects.chirps(n, frames, draw)
        else:
            sound = effects.at_unit_power(
                effects.in_rooms(self.utterances.lay(draw, n)[0], effects.simulated_rooms(n, draw))
            )
        gain = from_db(-draw.uniform(n, 1, low=under[0], high=under[1])) * level[rows].sqrt()
        bed.index_add_(0, rows, sound * gain)

    def _bed(self, draw: Draw, count: int) -> Tensor:
        """Continuous noise, music, both or none, of any level."""
        r = self.recipe
        samples = r.frames * HOP_SAMPLES
        choice = draw.uniform(count)
        bed = torch.zeros(count, samples, device=draw.device)
        noisy, tuneful = r.noise + r.noise_and_music, r.noise_and_music + r.music
        rows = torch.nonzero(choice < noisy)[:, 0]
        if self.noise and len(rows):
            bed.index_add_(0, rows, self._stretch(draw, self.noise, len(rows)))
        rows = torch.nonzero((choice >= r.noise) & (choice < r.noise + tuneful))[:, 0]
        if self.music and len(rows):
            gain = draw.uniform(len(rows), 1, low=0.3)
            bed.index_add_(0, rows, self._stretch(draw, self.music, len(rows)) * gain)
        rest = choice - r.noise - tuneful
        rows = torch.nonzero((rest >= 0) & (rest < r.coloured))[:, 0]
        if len(rows):
            noise = effects.coloured_noise(len(rows), samples, draw, r.shaped)
            bed.index_add_(0, rows, noise)
        if r.layered and len(rows := draw.some(count, r.layered)):
            bed.index_add_(0, rows, self._layer(draw, effects.power(bed[rows])))
        if len(rows := draw.some(count, 0.5 * r.varied)):
            wide = torch.zeros(len(rows), dtype=torch.bool, device=draw.device)
            some = effects.equalise(bed.index_select(0, rows), draw, narrow=wide)
            bed.index_copy_(0, rows, some)
        if len(rows := draw.some(count, 0.15)):
            there = self.rooms.draw(draw, len(rows))
            bed.index_copy_(0, rows, effects.in_rooms(bed.index_select(0, rows), there))
        if r.looped and len(rows := draw.some(count, r.looped)):
            bed.index_copy_(0, rows, effects.looped(bed.index_select(0, rows), draw))
        return bed

    def _layer(self, draw: Draw, level: Tensor) -> Tensor:
        """Another noise over beds of that mean square [rows, 1], recorded or coloured, in gusts.

        Two recordings laid over each other are a third; and noise whose spectrum stays the same
        from a scene's first word to its last is soon known.
        """
        samples = self.recipe.frames * HOP_SAMPLES
        noise = torch.empty(len(level), samples, device=draw.device)
        recorded = draw.chance(len(level), p=0.5 if self.noise else 0)
        if self.noise and len(rows := torch.nonzero(recorded)[:, 0]):
            noise[rows] = self._stretch(draw, self.noise, len(rows))
        if len(rows := torch.nonzero(~recorded)[:, 0]):
            noise[rows] = effects.coloured_noise(len(rows), samples, draw, shaped=0.7)
        coming = effects.at_unit_power(noise * effects.gusts(len(level), samples, draw))
        return coming * from_db(draw.uniform(len(level), 1, low=-15, high=5)) * level.sqrt()

    def _stretch(self, draw: Draw, bank: Bank, count: int) -> Tensor:
        """One clip each, or several short ones of one corpus with gaps, at unit power."""
        corpora = bank.corpora(draw, count, 1).expand(-1, SLOTS)
        gaps = draw.exponential(count, SLOTS, mean=30).long()
        gaps[:, 0] = 0
        varied = draw.chance(count, SLOTS, p=self.recipe.varied)
        # Two thirds to twice the speed, evenly by the octave.
        rate = 2 ** draw.uniform(count, SLOTS, low=-0.58, high=1)
        # What is neither speech nor music backwards is neither forwards.
        backwards = varied & draw.chance(count, SLOTS, p=0.5)
        rows = bank.lay(
            draw, corpora, gaps, self.recipe.frames,
            speed=torch.where(varied, rate, 1.0), backwards=backwards,
        )  # fmt: skip
        return rows.at_unit_power()

    def _effects(
        self, draw: Draw, bank: Bank, count: int, low: float = -20, high: float = 8
    ) -> Tensor:
        """Up to four short sounds, some louder than speech at unit power, at these dB beside it."""
        frames, slots = self.recipe.frames, 4
        gaps = draw.uniform(count, slots, high=frames / 2).long()
        corpora = bank.corpora(draw, count, slots)
        rows = bank.lay(draw, corpora, gaps, frames, longest=LONGEST_EFFECT)
        return rows.at_unit_power(from_db(draw.uniform(count, slots, low=low, high=high)))

    def _babble(self, draw: Draw, count: int) -> Tensor:
        """Many talkers at once, from afar."""
        crowd = self.utterances.lay(draw, TALKERS * count)[0].view(count, TALKERS, -1).sum(1)
        far = effects.in_rooms(crowd, effects.simulated_rooms(count, draw))
        return effects.at_unit_power(far)
