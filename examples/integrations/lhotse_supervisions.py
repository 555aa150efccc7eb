# Supervisions of speech for lhotse, one for each segment that convad finds.
#
#     python examples/integrations/lhotse_supervisions.py tests/data/speech.wav

import sys

from lhotse import Recording, SupervisionSet

from vad.integrations.lhotse import Convad

detector = Convad()
recordings = [Recording.from_file(path) for path in sys.argv[1:]]
found = SupervisionSet.from_segments(s for each in recordings for s in detector(each))
for each in found:
    print(f"{each.id} {each.start:.2f} {each.end:.2f}")
