"""Only whole checkpoints count."""

from pathlib import Path

from jeeves_trainer.checkpoints import MARKER, is_complete, mark_complete, resume_point


def write(folder: Path, *, marked: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "trainer_state.json").write_text("{}")
    if marked:
        mark_complete(folder)
    return folder


def test_the_last_complete_one_is_taken_and_the_others_go(tmp_path: Path):
    write(tmp_path / "checkpoint-9")
    last = write(tmp_path / "checkpoint-10")
    killed = write(tmp_path / "checkpoint-20", marked=False)
    cut = write(tmp_path / "checkpoint-30")
    (cut / "adapter_model.safetensors").write_bytes(b"wei")
    garbled = write(tmp_path / "checkpoint-40")
    (garbled / MARKER).write_text('{"adapter')
    assert resume_point(tmp_path) == last
    assert not killed.exists() and not cut.exists() and not garbled.exists()


def test_nothing_to_resume(tmp_path: Path):
    assert resume_point(tmp_path / "missing") is None
    assert resume_point(tmp_path) is None


def test_a_missing_file_makes_it_incomplete(tmp_path: Path):
    folder = write(tmp_path / "checkpoint-1")
    assert is_complete(folder)
    (folder / "trainer_state.json").unlink()
    assert not is_complete(folder)
