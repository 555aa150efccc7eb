"""Made meetings: two to five people who talk with, over and after one another, each at a level and
a distance of their own, and what is speech in them.

A microphone is meant for somebody. Who is much fainter than the loudest talker of the last seconds
sits at another table, on the far side of the room or on a television: people who label recordings
leave such talk out. So the labels are those of the *foreground*:

    talk at most `MEANT_DB` under the loudest talker                  speech
    more than `FAINT_DB` under a talker of the last `MEMORY` frames   no speech
    in between, or faint before anybody else has spoken               in doubt
"""

from __future__ import annotations

import torch
from torch import Tensor

from vad.frames import HOP_SAMPLES
from vad.training import effects
from vad.training.bank import Bank
from vad.training.draw import Draw
from vad.training.effects import from_db
from vad.training.labels import IGNORE, NON_SPEECH, SPEECH
from vad.training.recipe import SceneRecipe
from vad.training.rooms import Rooms
from vad.training.rows import Rows

TALKERS = 5  # at most
SPEECH_DBFS = -20.0  # of the loudest talker
SPREAD_DB = 2.5  # of a talker's turns around their level
NEAR_DB = 10.0  # who is no fainter than this sits at the microphone's table
FAINTEST_DB = 32.0
MEANT_DB = 14.0
FAINT_DB = 20.0
MEMORY = 400  # frames; a network that hears five seconds back can still tell


class Meetings:
    """Lays talkers' clips into rows as they talk in meetings.

    Args:
        bank: of speech.
        rooms: where they sit.
        recipe: of the scenes.
    """

    def __init__(self, bank: Bank, rooms: Rooms, recipe: SceneRecipe) -> None:
        self.bank, self.rooms, self.recipe = bank, rooms, recipe
        # As many as there are seconds, each with one that comes over or after it, last to the end.
        self.turns = max(2, round(recipe.seconds))

    def lay(self, draw: Draw, count: int) -> tuple[Tensor, Tensor]:
        """Scenes in their rooms, the loudest talker at about −20 dBFS RMS.

        Returns:
            [count, samples] float32 and [count, frames] int8: 1, 0, −1.
        """
        frames = self.recipe.frames
        turns, answers = self._who(draw, count)
        corpora = self.bank.corpora(draw, count, TALKERS)
        tracks = self._when(draw, corpora.gather(1, turns), corpora.gather(1, answers))
        under = self._levels(draw, count)
        found: list[tuple[Rows, Tensor]] = []
        for rows, who in zip(tracks, (turns, answers), strict=True):
            found.append(
                (rows, under.gather(1, who) - draw.normal(count, self.turns).abs() * SPREAD_DB)
            )
        near = torch.zeros(count, frames * HOP_SAMPLES, device=draw.device)
        far = torch.zeros_like(near)
        for rows, relative in found:
            gain = from_db(SPEECH_DBFS + relative - self.bank.levels[rows.clip])
            close = relative > -NEAR_DB
            near += rows.scaled(gain * close)
            far += rows.scaled(gain * ~close)
        there = draw.some(count, self.recipe.room)
        if len(there):
            rooms = self.rooms.draw(draw, len(there))
            near.index_copy_(0, there, effects.in_rooms(near.index_select(0, there), rooms))
        far = effects.in_rooms(far, self.rooms.draw(draw, count))
        return near + far, foreground(*(_heard(rows, relative) for rows, relative in found))

    def _who(self, draw: Draw, count: int) -> tuple[Tensor, Tensor]:
        """[count, turns] who holds each turn, and who comes over or after it; the first talker
        most often."""
        people = draw.uniform(count, 1, low=2, high=TALKERS + 1).long().expand(-1, self.turns)
        turns = torch.where(draw.chance(count, self.turns, p=0.5), 0, draw.below(people))
        answers = (turns + 1 + draw.below(people - 1)) % people
        return turns, answers

    def _levels(self, draw: Draw, count: int) -> Tensor:
        """[count, talkers] in dB, the first one's being 0; half of the others are near."""
        near = -draw.uniform(count, TALKERS, high=NEAR_DB)
        far = -draw.uniform(count, TALKERS, low=NEAR_DB, high=FAINTEST_DB)
        levels = torch.where(draw.chance(count, TALKERS, p=0.5), near, far)
        levels[:, 0] = 0
        return levels

    def _when(self, draw: Draw, turns: Tensor, answers: Tensor) -> tuple[Rows, Rows]:
        """Two rows of clips, that of the turns and that of what comes over and after them.

        Args:
            turns, answers: [rows, turns] whose corpora.
        """
        frames, shape = self.recipe.frames, turns.shape
        held = draw.uniform(*shape, low=80, high=500).long()
        # Four in ten answers are a yes or a laugh's worth of words: 0.2 to 0.6 s.
        short = draw.chance(*shape, p=0.4)
        brief = draw.uniform(*shape, low=20, high=60)
        longer = torch.where(short, brief, draw.uniform(*shape, low=80, high=400)).long()
        first = self.bank.pick(draw, turns, held)
        second = self.bank.pick(draw, answers, longer)
        # From a second before the turn's end (a yes anywhere in it) to three after it.
        over = draw.uniform(*shape, low=-100)
        over = torch.where(short, -draw.uniform(*shape) * first.lasts, over)
        after = draw.exponential(*shape, mean=45).clamp_max(300)
        gap = torch.where(draw.chance(*shape, p=0.4), over, after).long()
        begins = first.lasts + torch.maximum(gap, -first.lasts)
        whole = torch.maximum(first.lasts, begins + second.lasts)
        pause = draw.exponential(*shape, mean=45).clamp_max(300).long()
        starts = torch.cumsum(whole + pause, 1) - whole
        # Two scenes in three begin in mid-talk.
        missed = draw.uniform(len(turns), 1, high=600)
        starts = starts - torch.where(draw.chance(len(turns), 1, p=0.67), missed, 0).long()
        ends = starts + first.lasts, starts + begins + second.lasts
        return self.bank.put(first, ends[0], frames), self.bank.put(second, ends[1], frames)


def foreground(*talk: tuple[Tensor, Tensor]) -> Tensor:
    """[rows, frames] int8 labels of all tracks together.

    Args:
        talk: of each track its own labels and its level beside the first talker's in dB, both
            [rows, frames].
    """
    spoken = [labels == SPEECH for labels, _ in talk]
    silent = torch.full_like(talk[0][1], -torch.inf)
    levels = [torch.where(s, db, silent) for s, (_, db) in zip(spoken, talk, strict=True)]
    loudest = torch.stack(levels).amax(0).amax(1, keepdim=True)
    speech = torch.zeros_like(spoken[0])
    doubt, faint = torch.zeros_like(speech), torch.zeros_like(speech)
    for (labels, level), said in zip(talk, spoken, strict=True):
        under = loudest - level
        speech |= said & (under <= MEANT_DB)
        doubt |= (labels == IGNORE) & (under <= FAINT_DB)
        doubt |= said & (under > MEANT_DB) & (under <= FAINT_DB)
        faint |= (labels != NON_SPEECH) & (under > FAINT_DB)
    place = torch.arange(speech.shape[1], device=speech.device).expand(speech.shape)
    last = torch.where(speech, place, -2 * MEMORY).cummax(1).values
    doubt |= faint & (place - last > MEMORY)
    found = torch.where(doubt, IGNORE, NON_SPEECH)
    return torch.where(speech, SPEECH, found).to(torch.int8)


def _heard(rows: Rows, relative: Tensor) -> tuple[Tensor, Tensor]:
    """Labels of a track, and the level of whoever speaks at each frame."""
    padded = torch.nn.functional.pad(relative, (0, 1), value=-torch.inf)
    return rows.labels, padded.gather(1, rows.slot)
