"""`import convad` is what the package's name suggests, and the same as `import vad`."""

from __future__ import annotations

import convad
import vad


def test_every_public_name_is_the_same_object() -> None:
    for name in vad.__all__:
        assert getattr(convad, name) is getattr(vad, name)
    assert convad.__version__ == vad.__version__
    assert set(vad.__all__) <= set(dir(vad)) | set(dir(convad))
