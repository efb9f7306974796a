"""Seals vouch for themselves and for their files, and are written last."""

import json
import os

import pytest

from paddle_ernie_tiny import seals
from paddle_ernie_tiny.seals import DamageError, read_seal, whole_or_none, write_seal

from .damage import DAMAGES, delete, flip

VALUES = {"id": "名", "inputs": {"rate": 1e-4, "none": None}}


def sealed(folder):
    """A seal of two files, one of them in a folder beside it."""
    for name in ("step/final/weights", "bundle/model"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(name.encode() * 10)
    seal = folder / "step" / "done.json"
    write_seal(seal, VALUES, [folder / "step/final/weights", folder / "bundle/model"])
    return seal


def test_values_come_back_with_the_files_that_are_sealed(tmp_path):
    seal = sealed(tmp_path)
    values = read_seal(seal)
    assert set(values.pop("sealed_files")) == {"final/weights", "../bundle/model"}
    assert values == VALUES
    assert set(json.loads(seal.read_text(encoding="utf-8"))) == {"id", "inputs", "sealed_files", "seal"}


def test_what_is_not_there_is_none(tmp_path):
    assert read_seal(tmp_path / "done.json") is None


def test_a_sealed_folder_can_be_moved(tmp_path):
    sealed(tmp_path / "here")
    os.rename(tmp_path / "here", tmp_path / "there")
    assert read_seal(tmp_path / "there" / "step" / "done.json")["id"] == "名"


def test_a_seal_of_another_kind_in_its_place_is_damage(tmp_path):
    seal = sealed(tmp_path)
    os.replace(seal, seal.with_name("complete"))
    with pytest.raises(DamageError, match="its content is not what was written"):
        read_seal(seal.with_name("complete"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["step/final/weights", "bundle/model"])
def test_a_damaged_file_is_named_with_a_remedy(tmp_path, damage, name, capsys):
    seal = sealed(tmp_path)
    damage(tmp_path / name)
    with pytest.raises(DamageError, match=r"damaged: its SHA-256|gone or not readable") as caught:
        read_seal(seal)
    assert caught.value.where == str(tmp_path / name) and caught.value.remedy and caught.value.exit_code == 2
    assert read_seal(seal, files=False)["id"] == "名", "the record itself is whole"
    assert whole_or_none(seal, "results") is None
    assert whole_or_none(seal, "results") is None
    assert capsys.readouterr().out.count(f"results: made again; {tmp_path / name}") == 1, "said once"


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d is not delete])
def test_a_damaged_seal_is_named(tmp_path, damage):
    seal = sealed(tmp_path)
    damage(seal)
    with pytest.raises(DamageError, match=r"done\.json: the file"):
        read_seal(seal, files=False)


@pytest.mark.parametrize("content", ["{}", "[]", "1.0", "null", "[" * 100_000, '{"id": 1, "seal": "0"}', "\ud800"])
def test_json_of_someone_else_is_no_seal(tmp_path, content):
    (tmp_path / "done.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DamageError):
        read_seal(tmp_path / "done.json")


def test_every_single_bit_of_a_seal_counts(tmp_path):
    seal = tmp_path / "score.json"
    write_seal(seal, {"score": 0.5})
    whole = seal.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            seal.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                assert read_seal(seal) == {"score": 0.5}, "white space may change, what it says may not"
            except DamageError:
                pass


def test_a_file_is_hashed_once_per_process_while_it_stays_the_same(tmp_path, monkeypatch):
    seal = sealed(tmp_path)
    for name in ("step/final/weights", "bundle/model"):
        os.utime(tmp_path / name, (1, 1))
    read_seal(seal)
    hashed = []
    monkeypatch.setattr("paddle_ernie_tiny.files.sha256", lambda *paths: hashed.append(paths))
    read_seal(seal)
    assert not hashed


def test_a_file_that_was_just_written_is_hashed_again(tmp_path):
    seal = sealed(tmp_path)
    read_seal(seal)
    file = tmp_path / "bundle/model"
    status = file.stat()
    flip(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # as within one tick of the clock
    with pytest.raises(DamageError):
        read_seal(seal)


def test_files_and_folders_are_on_the_disk_before_the_seal_is(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(seals, "sync", lambda path: done.append(path))
    monkeypatch.setattr(seals, "write_json", lambda path, value: done.append(path))
    sealed(tmp_path)
    step = tmp_path / "step"
    assert done[-1] == step / "done.json"
    assert {step / "final/weights", step / "final", tmp_path / "bundle/model", tmp_path / "bundle"} <= set(done[:-1])


def test_flip_changes_one_byte(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    flip(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"012345w789"
