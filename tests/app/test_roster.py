"""Which runs there are: through restarts, several sources of one run, logs that come and go, new configurations."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest

from training_monitor.app.monitor import Monitor
from training_monitor.clock import FakeClock
from training_monitor.config import Config, parse
from training_monitor.errors import ConfigError
from training_monitor.run import state_of

LOG = (Path(__file__).parent.parent / "data" / "nanochat" / "base_train_spike.log").read_bytes()
TIME_LIMIT = b"slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-04-07T08:18:54 DUE TO TIME LIMIT ***\n"


class Place:
    """A watched folder, and monitors that come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self.config = folder, FakeClock(), Config()
        self.monitors: list[Monitor] = []
        self.on_event = lambda run, event: None

    def write(self, name: str, data: bytes, mode: str = "ab") -> Path:
        path = self.folder / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode) as file:
            file.write(data)
        os.utime(path, (self.clock.now(), self.clock.now()))
        return path

    def begin(self, *paths: str) -> Monitor:
        for killed in self.monitors:
            killed.store.close()  # as the kernel does it
        m = Monitor(
            [str(self.folder / "logs" / path) for path in paths or [""]],
            self.config,
            state_dir=str(self.folder / "state"),
            clock=self.clock,
            on_event=self.on_event,
            load=lambda: self.config,
        )
        self.monitors.append(m)
        m.start()
        return m

    def look(self, m: Monitor, seconds: float = 1.0) -> None:
        self.clock.advance(seconds)
        m.rescan()
        m.settle()
        m.round(set(m.roster.feeds))
        m.settle()
        m.tick()

    def saved(self, m: Monitor) -> None:
        m.save()
        assert m.settle()


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    (tmp_path / "logs").mkdir()
    yield made
    for m in made.monitors:
        m.close()


def known(m: Monitor, name: str) -> str:
    """All that a run knows, but for when its bytes were seen."""
    state = state_of(m.roster.runs[name].run)
    for key in ("last_change", "last_step_time"):
        del state[key]
    del state["engine"]["stall"], state["estimator"]["wall_"]
    return json.dumps(state, sort_keys=True)


def test_all_sources_of_a_run_are_saved_and_restored_together(place):
    place.write("slurm-7.out", LOG[:60_000])
    place.write("slurm-7.err", b"some warning\n")
    m = place.begin()
    place.saved(m)
    m.close()
    place.write("slurm-7.out", LOG[60_000:90_000])
    place.write("slurm-7.err", TIME_LIMIT)
    again = place.begin()
    assert set(again.roster.runs) == {"slurm-7"}
    run = again.roster.runs["slurm-7"].run
    assert (run.state, run.runs, run.restarts) == ("crashed", 1, 0)
    assert run.order.steps_seen == run.order.last + 1
    assert sum(run.failure_counts.values()) == 1


@pytest.mark.parametrize("late", ["slurm-7.err", "slurm-7.zzz.log"])
def test_a_source_added_after_the_last_save_joins_the_saved_run_whatever_is_found_first(place, late):
    place.write("slurm-7.out", LOG[:60_000])
    m = place.begin()
    place.saved(m)
    before = known(m, "slurm-7")
    m.close()
    if late.endswith(".err"):  # sorts before .out
        place.write(late, TIME_LIMIT)
    again = place.begin()
    assert set(again.roster.runs) == {"slurm-7"}
    run = again.roster.runs["slurm-7"].run
    assert run.order.steps_seen > 300
    if late.endswith(".err"):
        assert run.failure_counts["slurm_time_limit"] == 1
    else:
        assert known(again, "slurm-7") == before
    place.saved(again)
    again.close()
    third = place.begin()
    assert known(third, "slurm-7") == known(again, "slurm-7")


def test_a_saved_name_stays_with_its_file_when_another_claims_it_first(place):
    place.write("b/train.log", LOG[:30_000])
    m = place.begin("a", "b")
    place.saved(m)
    m.close()
    place.write("a/train.log", LOG[:90_000])  # found first now
    again = place.begin("a", "b")
    sources = {name: tracked.feeds[0].path for name, tracked in again.roster.runs.items()}
    assert {name: Path(path).parent.name for name, path in sources.items()} == {"train": "b", "a/train": "a"}
    assert again.roster.runs["train"].run.order.steps_seen < 200 < again.roster.runs["a/train"].run.order.steps_seen


def test_a_rule_for_names_made_since_the_last_save_renames_the_run_and_forgets_nothing(place):
    for name in ("a/train.log", "b/train.log", "other.log"):
        place.write(name, LOG[:100_000])
    m = place.begin()
    place.saved(m)
    before = known(m, "a/train")
    m.close()
    place.config = parse(r"names: [{match: '/(?P<folder>\w)/train.log$', name: 'gpt-{folder}'}]")
    for _ in range(2):
        again = place.begin()
        assert set(again.roster.runs) == {"gpt-a", "gpt-b", "other"}
        assert known(again, "gpt-a") == before
        assert all(t.was_restored for t in again.roster.runs.values())
        assert len(list((place.folder / "state").iterdir())) == 3
        again.close()


def test_a_rule_that_gives_two_runs_one_name_tells_them_apart_as_before(place):
    place.config = parse("names: [{match: train.log$, name: gpt}]")
    for name in ("a/train.log", "b/train.log"):
        place.write(name, LOG[:100_000])
    for _ in range(3):
        m = place.begin()
        place.saved(m)
        assert set(m.roster.runs) == {"gpt", "b/gpt"}
        m.close()


def test_a_part_of_a_run_that_was_away_goes_on_where_it_stopped(place):
    out = place.write("slurm-7.out", LOG[:60_000])
    err = place.write("slurm-7.err", TIME_LIMIT)
    m = place.begin()
    place.saved(m)
    m.close()
    err.rename(place.folder / "away")
    again = place.begin()
    place.write("slurm-7.out", LOG[60_000:70_000])
    place.look(again)
    place.saved(again)
    again.close()
    (place.folder / "away").rename(err)
    third = place.begin()
    assert third.roster.runs["slurm-7"].run.failure_counts["slurm_time_limit"] == 1
    assert {Path(f.path) for f in third.roster.runs["slurm-7"].feeds} == {out, err}


def test_a_run_whose_steps_cannot_be_read_is_not_called_stalled_because_its_errors_can(place):
    out = place.write("slurm-7.out", LOG[:100_000])
    place.write("slurm-7.err", b"warning: nothing\n")
    m = place.begin()
    place.look(m)
    out.rename(place.folder / "kept")
    out.mkdir()
    place.look(m)
    place.look(m, 7_200)
    assert m.roster.runs["slurm-7"].run.state == "running"
    out.rmdir()
    (place.folder / "kept").rename(out)
    place.look(m)
    place.look(m, 7_200)
    assert m.roster.runs["slurm-7"].run.state == "stalled"


def test_a_place_that_cannot_be_used_starts_the_whole_run_over(place, caplog):
    place.write("slurm-7.out", LOG)
    place.write("slurm-7.err", TIME_LIMIT)
    m = place.begin()
    place.saved(m)
    before = m.roster.runs["slurm-7"].run.event_counts
    m.close()
    (saved,) = m.store.index()
    state = m.store.load(saved.key)
    next(f for f in state["feeds"] if f["path"].endswith(".out"))["tail"]["offset"] = -1
    m.store.save(saved.key, json.dumps(state), paths=saved.paths, at=saved.at)
    again = place.begin()
    run = again.roster.runs["slurm-7"].run
    assert (run.event_counts, run.order.steps_seen) == (before, 1600)
    assert run.failure_counts["slurm_time_limit"] == 1
    assert "its saved state cannot be used" in caplog.text
    assert again.view().own.states_unusable == 1


def test_a_format_told_by_content_is_remembered_over_a_restart(place):
    place.write("progress.log", b"step,train/loss\n1,2.5\n2,2.4\n")
    place.write("text-metrics.csv", LOG[:60_000])
    m = place.begin()
    formats = {name: t.feeds[0].decoder.format for name, t in m.roster.runs.items()}
    assert formats == {"progress": "lightning-csv", "text-metrics": "nanochat"}
    place.saved(m)
    m.close()
    place.write("progress.log", b"3,2.3\n")
    place.write("text-metrics.csv", LOG[60_000:70_000])
    again = place.begin()
    assert {name: t.feeds[0].decoder.format for name, t in again.roster.runs.items()} == formats
    assert again.roster.runs["progress"].run.order.steps_seen == 3
    assert again.roster.runs["text-metrics"].run.restarts == 0


def test_a_format_is_not_guessed_from_half_a_line(place):
    place.write("progress.log", b"step,train/")
    m = place.begin()
    place.write("progress.log", b"loss\n1,2.5\n")
    place.look(m)
    assert m.roster.runs["progress"].feeds[0].decoder.format == "lightning-csv"
    assert m.roster.runs["progress"].run.order.steps_seen == 1


def test_a_run_that_is_over_and_whose_log_is_gone_is_forgotten(place):
    log = place.write("train.log", LOG)
    m = place.begin()
    place.saved(m)
    log.unlink()
    place.look(m)
    assert [s.run for s in m.snapshots()] == ["train"]
    place.look(m, 90_000)
    assert (m.roster.runs, m.roster.feeds, m._readings) == ({}, {}, {})
    assert list((place.folder / "state").iterdir()) == []
    place.write("train.log", LOG[:30_000])
    place.look(m)
    assert m.roster.runs["train"].run.order.steps_seen < 200


def test_a_name_that_a_returned_log_has_again_is_not_given_to_another(place):
    old = place.write("a/train.log", LOG)
    (place.folder / "logs/b").mkdir()
    m = place.begin("a", "b")
    place.saved(m)
    m = place.begin("a", "b")
    old.unlink()
    place.look(m)
    place.look(m, 90_000)
    assert m.roster.runs == {}
    for folder in ("a", "b"):
        place.write(f"{folder}/train.log", LOG)
        place.look(m)
    assert {t.name: [f.path for f in t.feeds] for t in m.roster.runs.values()} == {
        "train": [str(old)],
        "b/train": [str(place.folder / "logs/b/train.log")],
    }


def test_a_stall_of_which_nothing_was_saved_is_counted_again_before_the_first_answer(place):
    place.write("train.log", LOG[:100_000])
    m = place.begin()
    place.look(m)
    place.saved(m)
    m.store.folder = None
    place.look(m, 3_600)
    assert m.roster.runs["train"].run.state == "stalled"
    seen: list[bool] = []
    place.on_event = lambda run, event: seen.append(place.monitors[-1].ready)
    place.begin()
    assert seen == [False]


def test_an_empty_log_that_goes_away_leaves_nothing_behind(place):
    log = place.write("train.log", b"")
    m = place.begin()
    assert set(m.roster.runs) == {"train"}
    log.unlink()
    place.look(m)  # sees that it is gone
    place.look(m)
    assert m.roster.runs == {}


def test_saved_states_of_logs_that_never_come_back_are_removed(place):
    log = place.write("train.log", LOG)
    m = place.begin()
    place.saved(m)
    m.close()
    log.unlink()
    again = place.begin()
    assert again.roster.runs == {}
    assert len(list(again.store.index())) == 1
    place.look(again, 90_000)
    assert list(again.store.index()) == []


def test_a_log_far_from_the_saved_one_is_not_read_because_the_state_knows_it(place):
    place.write("a/train.log", LOG[:30_000])
    place.write("b/other.log", LOG[:30_000])
    m = place.begin("a", "b")
    place.saved(m)
    m.close()
    again = place.begin("b")
    assert set(again.roster.runs) == {"other"}


def test_a_new_configuration_changes_the_thresholds_of_running_runs_and_forgets_nothing(place):
    place.write("train.log", LOG[:100_000])
    m = place.begin()
    before, run = known(m, "train"), m.roster.runs["train"].run
    place.config = parse("detectors: {loss_spike: {warning: 3, critical: 5}}\ncost: {usd_per_gpu_hour: 2}")
    place.clock.advance(5)
    m.reload()
    place.look(m)
    new = m.roster.runs["train"].run
    assert new is not run
    assert known(m, "train") == before
    assert m.view().thresholds["loss_spike", "critical"] == 5
    assert new.engine.detectors["loss_spike"].limits == pytest.approx((math.log(3), math.log(5)))
    assert new.estimator.settings.usd_per_gpu_hour == 2
    assert (m.view().own.config_reload_ok, m.view().own.config_reload_time) == (True, place.clock.now())
    place.write("train.log", LOG[100_000:])
    place.look(m)
    assert new.order.steps_seen == 1600


def test_a_wrong_configuration_leaves_the_one_before_in_force(place, caplog):
    place.write("train.log", LOG[:100_000])
    m = place.begin()
    run = m.roster.runs["train"].run

    def load() -> Config:
        raise ConfigError(["exporter.yml: one", "exporter.yml: two"])

    m._load = load
    at = m.view().own.config_reload_time
    m.reload()
    place.look(m)
    assert m.roster.runs["train"].run is run
    assert (m.view().own.config_reload_ok, m.view().own.config_reload_time) == (False, at)
    assert "exporter.yml: one" in caplog.text
    assert "exporter.yml: two" in caplog.text


def test_a_new_configuration_with_a_wrong_address_is_refused_and_logs_are_found_and_read_as_before(place):
    place.write("train.log", LOG[:100_000])
    m = place.begin()
    place.config = parse("sources: {wandb_runs: [not an address]}")
    m.reload()
    place.look(m)
    assert not m.view().own.config_reload_ok
    place.write("later.log", LOG[:100_000])
    place.look(m)
    assert set(m.roster.runs) == {"later", "train"}


def test_paths_of_a_new_configuration_are_followed(place):
    place.write("a/x.log", LOG[:20_000])
    place.write("b/y.log", LOG[:20_000])
    place.config = parse(f"sources: {{paths: ['{place.folder}/logs/a']}}")
    m = Monitor([], place.config, clock=place.clock, load=lambda: place.config)
    place.monitors.append(m)
    m.start()
    place.config = parse(f"sources: {{paths: ['{place.folder}/logs/a', '{place.folder}/logs/b']}}")
    m.reload()
    place.look(m)
    assert set(m.roster.runs) == {"x", "y"}


def test_a_baseline_that_cannot_be_read_is_said_and_compared_with_nothing(place, caplog):
    place.config = parse("baseline: {log: /nowhere/at/all.log}")
    place.write("train.log", LOG[:20_000])
    m = place.begin()
    assert m.roster.runs["train"].run.order.steps_seen > 50
    assert "no baseline to compare with" in caplog.text


def test_the_curve_of_a_quiet_run_is_made_once(place, monkeypatch):
    place.write("train.log", LOG[:100_000])
    m = place.begin()
    place.look(m)
    (one,) = m.snapshots()
    (two,) = m.snapshots()
    assert one is two
    place.look(m)
    assert m.snapshots()[0] is one
    place.write("train.log", LOG[100_000:101_000])
    place.look(m)
    assert m.snapshots()[0].step > one.step


def test_an_estimate_that_had_to_wait_comes_later(place):
    place.write("train.log", LOG[:150_000])
    m = place.begin()
    assert m.snapshots()[0].final_loss is None  # the first answer does not wait for it
    place.look(m)
    first = m.snapshots()[0]
    assert first.final_loss is not None
    place.write("train.log", LOG[150_000:200_000])
    place.look(m)
    assert m.snapshots()[0].final_loss == first.final_loss
    place.look(m, 15)
    assert m.snapshots()[0].final_loss != first.final_loss
