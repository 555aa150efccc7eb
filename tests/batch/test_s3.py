"""`vad batch` from a bucket into a bucket, on a server of S3's protocol on loopback."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from vad.batch import Work, Worker, work
from vad.batch.listing import list_recordings
from vad.batch.storage import Folder
from vad.errors import OutputError

from .batch_kit import batch, rows

boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server,s3]'")


def of_bucket(bucket: Any, prefix: str) -> dict[str, bytes]:
    found = bucket.objects.filter(Prefix=prefix)
    return {each.key: each.get()["Body"].read() for each in found if each.size}


def rows_of(bucket: Any, prefix: str) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    files = [body for key, body in of_bucket(bucket, prefix).items() if key.endswith(".parquet")]
    return [row for body in files for row in pq.read_table(io.BytesIO(body)).to_pylist()]


def test_from_bucket_to_bucket_and_on(bucket: Any, data_dir: Path, tmp_path: Path) -> None:
    words = ("--model", "convad-tiny", "--workers", 2, "-f", "rttm", "-f", "jsonl")
    words = ("s3://calls/2026/**.[wm]*", "-o", "s3://calls/out/x", *words)
    code, said = batch(*words)
    assert code == 3, said
    found = {row["uri"]: row for row in rows_of(bucket, "out/")}
    names = ("1 + 2.wav", "a/3.wav", "a/ü=5.m4a", "bad.wav")
    assert set(found) == {f"s3://calls/2026/{name}" for name in names}
    assert len(rows_of(bucket, "out/")) == len(found)
    beside = of_bucket(bucket, "out/")
    assert {key for key in beside if key.endswith(".rttm")} == {
        f"out/x/rttm/{name}.rttm" for name in names[:3]
    }
    assert not [key for key in beside if "unfinished" in key]

    # The same as of the files themselves.
    local = Worker(Work(model="convad-tiny"))
    for name, path in (("a/3.wav", "speech-8k-mulaw.wav"), ("a/ü=5.m4a", "speech.m4a")):
        expected = local.row(str(data_dir / path))
        assert found[f"s3://calls/2026/{name}"]["segments"] == expected["segments"]
        assert f"SPEAKER {Path(name).stem} " in beside[f"out/x/rttm/{name}.rttm"].decode()

    assert "4 were done before" in batch(*words)[1]
    time.sleep(1.1)  # a store knows seconds
    bucket.upload_file(str(data_dir / "speech.mp3"), "2026/a/3.wav")
    bucket.upload_file(str(data_dir / "speech.mp3"), "2026/new.mp3")
    code, said = batch(*words)
    assert "2 files in" in said
    assert "3 were done before" in said
    again = {row["uri"]: row for row in rows_of(bucket, "out/")}
    assert len(again) == len(rows_of(bucket, "out/")) == 5
    assert {uri for uri in found if found[uri] != again[uri]} == {"s3://calls/2026/a/3.wav"}


def test_what_a_bucket_holds_is_listed_as_folders_are(bucket: Any) -> None:
    folder = list_recordings(["s3://calls/2026"])
    assert folder.left_out == 1
    assert sorted(each.name for each in folder.recordings) == [
        "1 + 2.wav",
        "a/3.wav",
        "a/ü=5.m4a",
        "bad.wav",
    ]
    (one,) = list_recordings(["s3://calls/2026/a/3.wav"]).recordings
    assert one.size
    assert one.etag
    assert len(list_recordings(["s3://calls/**.wav"]).recordings) == 4
    assert len(list_recordings(["s3://calls/*/*.wav"]).recordings) == 3


def test_what_can_not_be_is_one_line(bucket: Any, tmp_path: Path) -> None:
    for source, output in (
        ("s3://none-such/**.wav", tmp_path / "out"),
        ("s3://calls/none.wav", tmp_path / "out"),
        ("s3://calls/2026", "s3://none-such/out"),
    ):
        code, said = batch(source, "-o", output)
        assert code == 2
        assert len(said.splitlines()) == 1, said


def test_a_file_that_is_gone_is_a_row(bucket: Any, tmp_path: Path) -> None:
    manifest = tmp_path / "list.jsonl"
    lines = [{"uri": f"s3://calls/2026/{name}"} for name in ("a/3.wav", "gone.wav")]
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, _ = batch(manifest, "-o", tmp_path / "out", "--model", "convad-tiny", "--workers", 1)
    assert code == 3
    status = {row["uri"]: (row["status"], row["error_type"]) for row in rows(tmp_path / "out")}
    assert status == {
        "s3://calls/2026/a/3.wav": ("ok", None),
        "s3://calls/2026/gone.wav": ("error", "FileNotFoundError"),
    }


def test_what_is_transient_is_tried_again(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[str] = []
    failures = [OSError("AWS Error NETWORK_CONNECTION"), OSError("AWS Error SLOW_DOWN")]

    def fetch(uri: str) -> Any:
        tries.append(uri)
        if failures:
            raise failures.pop()
        return (data_dir / "speech.mp3").open("rb")

    monkeypatch.setattr(work, "WAITS_S", (0.0, 0.0))
    monkeypatch.setattr(work, "fetch", fetch)
    worker = Worker(Work(model="convad-tiny"))
    assert worker.row("s3://b/1.mp3")["status"] == "ok"
    assert len(tries) == 3
    for error, count in ((OSError("AWS Error ACCESS_DENIED"), 1), (OSError("unlucky"), 3)):
        tries.clear()
        failures[:] = [error] * 9
        assert worker.row("s3://b/1.mp3")["error"] == str(error)
        assert len(tries) == count


def test_a_write_that_fails_leaves_nothing(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder("s3://calls/out")
    folder.check()

    def fail(source: str, target: str) -> None:
        raise OSError("AWS Error INTERNAL_FAILURE")

    monkeypatch.setattr(folder, "_system", _Wrapped(folder._system, move=fail))
    with pytest.raises(OutputError, match="INTERNAL_FAILURE"):
        folder.write("part.parquet", b"x" * 1000)
    assert not of_bucket(bucket, "out/")


class _Wrapped:
    def __init__(self, system: Any, **others: Any) -> None:
        self._system, self._others = system, others

    def __getattr__(self, name: str) -> Any:
        return self._others.get(name) or getattr(self._system, name)
