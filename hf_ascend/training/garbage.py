"""Python's garbage collection while a model trains.

A training step makes thousands of small objects, one node of the graph after the other, so that Python looks through
all objects of the process every few steps: 600,000 with the libraries loaded, 0.3 s each time. Nothing of what was
there before the training is garbage, so it is set aside meanwhile.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Have collection pass over the objects that live now until the block ends.

    Does nothing where some are frozen already: whoever did that has other plans for them.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
