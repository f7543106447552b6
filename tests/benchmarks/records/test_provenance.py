import hashlib
import re
import socket

from benchmarks.records import provenance
from worldmodel.checkpoint import load_pretrained


def test_what_is_collected(checkpoint, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/worldmodel", "evaluate", "a b"])
    content = provenance.collect(load_pretrained(checkpoint).sha256)
    assert content["command"] == "worldmodel evaluate 'a b'"
    monkeypatch.setattr("sys.argv", ["/somewhere/worldmodel/__main__.py", "evaluate"])
    assert provenance.command_line() == "worldmodel evaluate"
    assert content["checkpoint_hash"] == hashlib.sha256((checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert content["machine"]["num_cpus"] >= 1
    assert content["machine"]["num_threads"] >= 1
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", content["versions"]["python"])
    assert socket.gethostname() not in str(content)


def test_the_commit_is_a_hash_or_nothing(monkeypatch, tmp_path):
    assert provenance.commit() is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", provenance.commit())
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    assert provenance.commit() is None  # the .git there is no repository: git fails, the evaluation does not
    (tmp_path / ".git").rmdir()
    assert provenance.commit() is None


def test_no_checkpoint_no_hash():
    assert provenance.collect()["checkpoint_hash"] is None
