"""State on disk: atomic, checked, and never a reason to stop."""

import json
import os
import shutil
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training_monitor.app.store import ENDING, Saved, Store

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists)


def test_what_was_saved_is_loaded_with_its_key(tmp_path):
    store = Store(str(tmp_path / "new"))
    assert store.save("a/b", json.dumps({"x": [1.5, float("inf"), None]}), paths=["/p\udcff"], at=7.5)
    assert store.save("c", "{}")
    store.sync()
    store.close()
    again = Store(store.folder)
    assert sorted(again.index(), key=lambda s: s.key) == [Saved("a/b", ("/p\udcff",), 7.5), Saved("c", (), 0.0)]
    assert again.load("a/b") == {"x": [1.5, float("inf"), None]}
    assert again.load("c") == {}


def test_saving_again_replaces_and_leaves_nothing_else_behind(tmp_path):
    store = Store(str(tmp_path))
    store.save("a", '{"n": 1}')
    store.save("a", '{"n": 2}')
    assert store.load("a") == {"n": 2}
    assert len(os.listdir(tmp_path)) == 1


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.data())
def test_a_torn_or_changed_file_is_set_aside_and_never_raises(tmp_path_factory, state, data):
    folder = tmp_path_factory.mktemp("state")
    store = Store(str(folder))
    store.save("a", json.dumps(state))
    path = next(folder.iterdir())
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:cut] + data.draw(st.binary(max_size=3)))
    if path.read_bytes() != whole:
        assert list(store.index()) == []
        assert store.unusable == 1
        assert [p.suffix for p in folder.iterdir()] == [".bad"]


def test_a_state_is_on_the_disk_before_it_gets_its_name_and_the_name_after_it(tmp_path, monkeypatch):
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(fd):
        done.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "content")
        fsync(fd)

    def renamed(old, new):
        done.append("name")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    store = Store(str(tmp_path / "state"))
    store.save("a", "{}")
    store.sync()
    assert done == ["content", "name", "folder"]


def test_nobody_else_may_look_into_the_folder(tmp_path):
    Store(str(tmp_path / "state")).save("a", "{}")
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_files_of_others_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / f"x{ENDING}").write_bytes(b"garbage")
    assert list(Store(str(tmp_path)).index()) == []
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_counted_and_said_once(tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    store = Store(str(blocked / "state"))
    assert not store.save("a", "{}")
    assert not store.save("a", "{}")
    assert (store.saves, store.failures) == (2, 2)
    assert len(caplog.records) == 1
    assert "after a restart the logs are read again" in caplog.text


def test_of_two_exporters_in_one_folder_the_second_neither_reads_nor_writes_and_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("training_monitor.app.store.HANDOVER_S", 0.0)
    first, second = Store(str(tmp_path)), Store(str(tmp_path))
    assert first.save("a", '{"n": 1}')
    assert list(second.index()) == []
    assert not second.save("a", '{"n": 2}')
    second.forget("a")
    second.discard("a")
    assert first.load("a") == {"n": 1}
    assert (second.saves, second.failures, second.unusable) == (1, 1, 2)
    assert "another exporter uses this folder" in caplog.text
    first.close()
    assert second.save("a", '{"n": 2}')


def test_a_new_exporter_waits_for_the_one_before_it_to_end(tmp_path, monkeypatch):
    first, second = Store(str(tmp_path)), Store(str(tmp_path))
    first.save("a", "{}")
    monkeypatch.setattr("time.sleep", lambda seconds: first.close())
    assert [saved.key for saved in second.index()] == ["a"]


def test_a_folder_made_anew_is_locked_anew(tmp_path):
    first, second = Store(str(tmp_path / "s")), Store(str(tmp_path / "s"))
    first.save("a", "{}")
    shutil.rmtree(tmp_path / "s")
    assert first.save("a", "{}")
    assert not second.save("a", "{}")


def test_without_a_folder_nothing_is_saved_or_counted():
    store = Store(None)
    assert not store.save("a", "{}")
    assert (store.saves, store.failures, list(store.index())) == (0, 0, [])


def test_a_state_of_another_version_is_not_used(tmp_path, monkeypatch):
    store = Store(str(tmp_path))
    monkeypatch.setattr("training_monitor.app.store.VERSION", 0)
    store.save("a", "{}")
    monkeypatch.undo()
    assert list(store.index()) == []


@pytest.mark.parametrize("key", ["../../etc/passwd", "x" * 5000, "a\x00b", "\udcff", ""])
def test_any_run_name_stays_inside_the_folder(tmp_path, key):
    store = Store(str(tmp_path / "state"))
    assert store.save(key, '{"k": 1}')
    assert [p.parent.name for p in tmp_path.rglob(f"*{ENDING}")] == ["state"]
    assert [saved.key for saved in store.index()] == [key]
    assert store.load(key) == {"k": 1}
