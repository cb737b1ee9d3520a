"""What the exporter reads: every source, and whether it keeps up."""

from __future__ import annotations

from boards.board import JOB
from boards.panels import lines, query, table
from boards.style import FILLED, NOTHING, ORANGE, PLAIN, VERMILION, Json, override, steps

BY = "by (instance, source, run)"
DOWN = "the exporter is not scraped"


COLUMNS = {
    "run": "Run",
    "source": "Source",
    "Value #up": "Readable",
    "Value #lag": "Unread",
    "Value #age": "Last grew",
    "Value #lines": "Lines",
    "Value #parsed": "Understood",
    "Value #errors": "Not usable",
    "Value #rotations": "Rotated",
    "Value #replacements": "Replaced",
    "Value #lost": "Lost",
}


def sources() -> Json:
    def of(name: str, ref: str) -> Json:
        return query(f"max {BY} (training_monitor_source_{name}{{{JOB}}})", table=True, ref=ref)

    up = f"max {BY} (training_monitor_source_up{{{JOB}}}) - max {BY} (training_monitor_source_waiting{{{JOB}}})"
    age = f"(time() - max {BY} (training_monitor_source_last_change_timestamp_seconds{{{JOB}}}))"
    part = f"max {BY} (training_monitor_source_parsed_lines_total{{{JOB}}})"
    whole = f"max {BY} (training_monitor_source_lines_total{{{JOB}}})"
    marked: Json = {"custom_cellOptions": FILLED, "thresholds": steps((NOTHING, None), (ORANGE, 1))}
    return table(
        "Sources",
        "Every log that is watched. Healthy: readable, nothing unread, most lines understood, nothing lost. "
        "Waiting: the file does not exist yet.",
        [
            query(up, table=True, ref="up"),
            of("lag_bytes", "lag"),
            query(age, table=True, ref="age"),
            of("lines_total", "lines"),
            query(f"{part} / ({whole} > 0)", table=True, ref="parsed"),
            query(f"sum {BY} (training_monitor_source_parse_errors_total{{{JOB}}})", table=True, ref="errors"),
            of("rotations_total", "rotations"),
            of("replacements_total", "replacements"),
            of("lost_bytes_total", "lost"),
        ],
        h=9,
        unit="short",
        columns=tuple(COLUMNS),
        hidden=("Time",),
        sort=[("Readable", False), ("Run", False)],
        empty=DOWN,
        overrides=[
            *(override(field, displayName=shown) for field, shown in COLUMNS.items()),
            override("instance", displayName="Exporter", custom_width=150),
            override("run", custom_filterable=True, custom_minWidth=130),
            override("source", custom_filterable=True, custom_minWidth=170),
            override(
                "Value #up",
                mappings=[
                    {
                        "type": "value",
                        "options": {
                            "-1": {"text": "waiting", "color": PLAIN},
                            "0": {"text": "no", "color": VERMILION},
                            "1": {"text": "yes", "color": NOTHING},
                        },
                    }
                ],
                custom_cellOptions=FILLED,
                custom_width=85,
            ),
            override("Value #lag", unit="bytes", custom_width=75),
            override("Value #age", unit="s", decimals=0, custom_width=90),
            override("Value #lines", unit="locale", custom_width=80),
            override("Value #parsed", unit="percentunit", decimals=0, custom_width=100),
            override("Value #errors", unit="locale", custom_width=90, noValue="0", **marked),
            override("Value #rotations", custom_width=80),
            override("Value #replacements", custom_width=80),
            override("Value #lost", unit="bytes", custom_width=80, **marked),
        ],
    )


def reading() -> tuple[Json, ...]:
    def rate(metric: str, by: str) -> str:
        return f"sum by ({by}) (rate(training_monitor_source_{metric}{{{JOB}}}[$__rate_interval]))"

    return (
        lines(
            "Lines read",
            "Lines read per second, and those that told something about a run (dashed). "
            "Healthy: as many as the trainers write; the two run side by side.",
            [
                query(rate("lines_total", "instance"), "{{instance}}"),
                query(rate("parsed_lines_total", "instance"), "{{instance}} understood", ref="parsed"),
            ],
            unit="none",
            axis="lines per second",
            w=8,
            h=8,
            min=0,
            empty="no source",
            overrides=[
                override("parsed", query=True, custom_lineStyle={"fill": "dash", "dash": [6, 4]}, custom_lineWidth=1)
            ],
        ),
        lines(
            "Lines that could not be used",
            "Per second and by reason. Healthy: empty, or a burst when a trainer prints its header.",
            [query(f"{rate('parse_errors_total', 'reason')} > 0", "{{reason}}")],
            unit="none",
            axis="lines per second",
            w=8,
            h=8,
            min=0,
            stacked=True,
            empty="none",
        ),
        lines(
            "Unread",
            "Bytes written to the logs but not read yet. Healthy: 0 within seconds.",
            [query(f"sum by (instance) (training_monitor_source_lag_bytes{{{JOB}}})", "{{instance}}")],
            unit="bytes",
            w=8,
            h=8,
            min=0,
            empty="no source",
        ),
    )
