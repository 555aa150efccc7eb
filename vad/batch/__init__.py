"""Files by the million: `vad batch`.

    sources ─ listing ─ plan ─ executor ─ sink
                                 └ worker: one file → one row

Who distributes the work otherwise, by Spark, Dask or a queue, needs the worker alone:

>>> from vad.batch import Work, Worker
>>> worker = Worker(Work())                              # doctest: +SKIP
>>> worker.row("s3://bucket/calls/1.mp3")["segments"]    # doctest: +SKIP
"""

from vad.batch.work import Recording, Row, Work, Worker

__all__ = ["Recording", "Row", "Work", "Worker"]
