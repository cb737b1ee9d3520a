"""A service that restarts in the middle neither loses nor repeats a page."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from live import Live, iterations

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """As shipped, an event is seen for longer than a restart takes, and an alert is valid for longer as well."""
    live = Live(tmp_path_factory.mktemp("restarts"), event="20s", resend="5s")
    try:
        live.start()
        yield live
    finally:
        live.stop()


def test_restarts_neither_repeat_nor_resolve_a_page(live: Live) -> None:
    run = "nan"
    live.begin(run, iterations(0, 200))
    live.append(run, iterations(200, 260, dict.fromkeys(range(250, 260), "nan")))
    live.recorder.wait("TrainingLossNotFinite", run=run)
    firing = f'count_over_time(ALERTS{{run="{run}",alertstate="firing"}}[2s]) >= 4'
    for service, kill in (("exporter", True), ("exporter", False), ("prometheus", False), ("alertmanager", False)):
        live.restart(service, kill=kill)
        live.until(firing)
    live.until(f'count_over_time(ALERTS{{run="{run}",alertstate="firing"}}[8s]) >= 10')
    assert len(live.recorder.of(run=run)) == 1
    assert not live.recorder.of("", "resolved", run=run)
    live.append(run, iterations(260, 330))
    live.recorder.wait("TrainingLossNotFinite", "resolved", run=run)


def test_a_spike_of_one_step_while_a_service_is_away_pages_once_it_is_back(live: Live) -> None:
    for away in live.services:
        live.begin(f"spike-{away}", iterations(0, 300))
        lines = iterations(300, 340, {310: "9.0000"})
        write = partial(live.append, f"spike-{away}", lines, rate=1000)
        live.restart(away, kill=away == "exporter", meanwhile=write)
        page = live.recorder.wait("TrainingLossSpike", run=f"spike-{away}", severity="critical")
        assert page.annotations["description"].startswith("Step 310: loss 9, where ")
    for away in live.services:
        live.recorder.wait("TrainingLossSpike", "resolved", run=f"spike-{away}", severity="critical")
        assert len(live.recorder.of("TrainingLossSpike", run=f"spike-{away}", severity="critical")) == 1
