from __future__ import annotations

import math
import subprocess
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from full_view import full_snapshot, full_source, full_view
from servers import server
from training_monitor.expose import catalogue
from training_monitor.expose.metric import Metric
from training_monitor.expose.render import MAX_LABEL_CHARS, Renderer, number, wants_openmetrics
from training_monitor.expose.view import View

OWN_CLOCK = ("process_", "training_monitor_scrape_duration_seconds")


def parse(text: bytes, *, openmetrics: bool = False) -> dict[str, Family]:
    """Families by name, as Prometheus' own Python parsers read them."""
    reader: Any = openmetrics_parser.text_string_to_metric_families if openmetrics else text_string_to_metric_families
    families = list(reader(text.decode()))
    assert len({f.name for f in families}) == len(families)
    return {f.name: f for f in families}


def samples(text: bytes, name: str, *, openmetrics: bool = False) -> dict[tuple[tuple[str, str], ...], float]:
    found = {}
    for family in parse(text, openmetrics=openmetrics).values():
        for sample in family.samples:
            if sample.name == name:
                labels = tuple(sorted(sample.labels.items()))
                assert labels not in found
                found[labels] = sample.value
    return found


def render(view: View, *, openmetrics: bool = False, names: Iterable[str] = ()) -> bytes:
    return Renderer(lambda: view).render(openmetrics=openmetrics, names=frozenset(names))


class Judge(Collector):
    """The same view through prometheus_client's families and encoders."""

    def __init__(self, view: View) -> None:
        self._view = view

    def describe(self) -> Iterable[Family]:
        return []

    def collect(self) -> Iterable[Family]:
        yield from (self._family(m, ("run",), [((s.run,), s) for s in self._view.snapshots]) for m in catalogue.RUN)
        sources = [((s.source, s.run), s) for s in self._view.sources]
        yield from (self._family(m, ("source", "run"), sources) for m in catalogue.SOURCE)
        yield from (self._family(m, (), [((), self._view)]) for m in catalogue.OWN)

    @staticmethod
    def _family(metric: Metric[Any], scope: tuple[str, ...], subjects: Sequence[tuple[tuple[str, ...], Any]]) -> Family:
        labels = (*scope, *metric.labels)
        if metric.type == "info":
            info = InfoMetricFamily(metric.name.removesuffix("_info"), metric.help, labels=labels)
            for values, subject in subjects:
                for more, _ in metric.read(subject):  # type: ignore[union-attr]
                    info.add_metric((*values, *more), {})
            return info
        cls = CounterMetricFamily if metric.type == "counter" else GaugeMetricFamily
        family = cls(metric.name, metric.help, labels=labels)
        for values, subject in subjects:
            value: Any = metric.read(subject)
            for more, x in value if metric.labels else [((), value)]:
                if x is not None:
                    family.add_metric((*values, *more), x)
        return family


def facts(families: dict[str, Family]) -> dict[str, Any]:
    return {
        name: (
            f.documentation,
            f.type,
            sorted((s.name, sorted(s.labels.items()), repr(float(s.value))) for s in f.samples),
        )
        for name, f in families.items()
        if not name.startswith(OWN_CLOCK)
    }


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_text_says_what_prometheus_client_would_say(openmetrics: bool) -> None:
    view = full_view('a"b', "back\\slash", "ünïcode")
    registry = CollectorRegistry()
    registry.register(Judge(view))
    theirs = (generate_openmetrics if openmetrics else generate_latest)(registry)
    ours = render(view, openmetrics=openmetrics)
    assert facts(parse(ours, openmetrics=openmetrics)) == facts(parse(theirs, openmetrics=openmetrics))


def test_promtool_has_nothing_to_complain_about() -> None:
    promtool = server("promtool")
    text = render(full_view("a", "b"))
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (checked.stdout + checked.stderr).decode() == ""


@pytest.mark.parametrize("openmetrics", [False, True])
def test_an_empty_view_is_valid(openmetrics: bool) -> None:
    assert "training_monitor_build" in " ".join(parse(render(View(), openmetrics=openmetrics), openmetrics=openmetrics))


def test_process_metrics_come_with_them() -> None:
    assert samples(render(View()), "process_resident_memory_bytes")[()] > 1e6
    assert samples(render(View()), "process_cpu_seconds_total")[()] > 0


def test_what_the_log_does_not_say_has_no_sample() -> None:
    assert samples(render(full_view(snapshots=[full_snapshot(loss=None)])), "training_loss") == {}


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_shown_as_it_is(value: float, openmetrics: bool) -> None:
    text = render(full_view(snapshots=[full_snapshot(loss=value)]), openmetrics=openmetrics)
    (shown,) = samples(text, "training_loss", openmetrics=openmetrics).values()
    assert repr(shown) == repr(value)


def test_two_runs_of_one_name_are_shown_once() -> None:
    view = full_view(snapshots=[full_snapshot("a", step=1), full_snapshot("a", step=2)], sources=[full_source("a")] * 2)
    assert list(samples(render(view), "training_step").values()) == [1]
    assert len(samples(render(view), "training_anomalies_total")) == 33


def test_long_names_are_cut_and_stay_apart() -> None:
    names = ["x" * 500 + end for end in "ab"]
    found = samples(render(full_view(*names)), "training_step")
    assert len(found) == 2
    assert all(len(dict(labels)["run"]) == MAX_LABEL_CHARS for labels in found)


@given(st.lists(st.text(st.characters(), max_size=300), min_size=1, max_size=4, unique=True))
def test_no_text_of_a_log_breaks_out_of_its_label(names: list[str]) -> None:
    view = full_view(*names, snapshots=[full_snapshot(n, validations={}, failure_counts={n: 1}) for n in names])
    for openmetrics in (False, True):
        text = render(view, openmetrics=openmetrics, names=["training_step", "training_errors_total"])
        assert len(samples(text, "training_step", openmetrics=openmetrics)) <= len(names)
        errors = samples(text, "training_errors_total", openmetrics=openmetrics)
        assert {label for labels in errors for label, _ in labels} <= {"run", "kind"}
        assert all(len(value) <= MAX_LABEL_CHARS for labels in errors for _, value in labels)
        assert all(c == "\n" or c.isprintable() for c in text.decode())


@given(st.floats() | st.integers() | st.booleans())
def test_numbers_are_read_back_as_they_were(value: float) -> None:
    try:
        expected = float(value)
    except OverflowError:
        expected = math.copysign(math.inf, value)
    back = float(number(value))
    assert back == expected or (math.isnan(back) and math.isnan(expected))
    assert number(value)[0] in "-+0123456789N"


@pytest.mark.parametrize(("value", "text"), [(10**400, "+Inf"), (-(10**400), "-Inf"), (True, "1"), (10**16, "1e+16")])
def test_numbers_that_go_cannot_read_are_not_written(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("name", ["training_anomalies_total", "training_anomalies"])
def test_families_can_be_picked_by_either_name_in_openmetrics(name: str) -> None:
    assert list(parse(render(full_view(), openmetrics=True, names=[name]), openmetrics=True)) == ["training_anomalies"]


def test_only_the_picked_families_are_written() -> None:
    text = render(full_view(), names=["training_loss", "process_open_fds", "nonsense"])
    assert set(parse(text)) == {"training_loss", "process_open_fds"}


def test_the_time_of_the_previous_scrape_is_told() -> None:
    ticks = iter([0.0, 0.25, 1.0, 1.5])
    renderer = Renderer(full_view, monotonic=lambda: next(ticks))
    name = "training_monitor_scrape_duration_seconds"
    assert samples(renderer.render(), name) == {(): 0.0}
    assert samples(renderer.render(), name) == {(): 0.25}


PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,"
    "text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS_3, True),
        ("application/openmetrics-text; version=1.0.0", True),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text;version=2.0.0", False),
        ("application/openmetrics-text;q=0", False),
        ("application/openmetrics-text;q=0.2,text/plain;q=0.5", False),
        ("application/openmetrics-text;q=high", False),
        ("text/plain;version=0.0.4", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_openmetrics_is_written_for_those_who_prefer_it(accept: str, openmetrics: bool) -> None:
    assert wants_openmetrics(accept) is openmetrics


@given(st.text())
def test_any_accept_header_is_understood_or_ignored(accept: str) -> None:
    assert wants_openmetrics(accept) in (True, False)
