"""Training exporter: whether the watcher itself is well."""

from __future__ import annotations

from boards.board import JOB, Row, dashboard, variable
from boards.exporter_sources import DOWN, reading, sources
from boards.panels import lines, query, stat, table
from boards.style import (
    BLUE,
    CRITICAL,
    EXPORTER,
    NOTHING,
    VERMILION,
    WARNING,
    Json,
    dashed,
    override,
    steps,
)


def numbers() -> tuple[Json, ...]:
    readable = f"training_monitor_source_up{{{JOB}}} == 1 or training_monitor_source_waiting{{{JOB}}} == 1"
    unreadable = f"count(training_monitor_source_up{{{JOB}}} == 0 unless training_monitor_source_waiting{{{JOB}}} == 1)"
    failed = f"sum(increase(training_monitor_state_save_failures_total{{{JOB}}}[1h]))"
    return (
        stat(
            "Exporters up",
            "Exporters that Prometheus can scrape now. Healthy: all of them.",
            [
                query(f"count(up{{{JOB}}} == 1)", "up", instant=True),
                query(f"count(up{{{JOB}}})", "of", instant=True),
            ],
            unit="none",
            show="value_and_name",
            empty="0",
        ),
        stat(
            "Caught up",
            "1 once every log found at the start has been read; until then /metrics answers 503 and nothing is shown. "
            "Healthy: 1.",
            [query(f"min(training_monitor_ready{{{JOB}}})", "ready", instant=True)],
            unit="none",
            background=True,
            mappings=[
                {
                    "type": "value",
                    "options": {"0": {"text": "no", "color": WARNING}, "1": {"text": "yes", "color": NOTHING}},
                }
            ],
            empty=DOWN,
        ),
        stat(
            "Watched",
            "Logs that are watched, and the runs in them.",
            [
                query(f"sum(training_monitor_sources{{{JOB}}})", "sources", instant=True),
                query(f"sum(training_monitor_runs{{{JOB}}})", "runs", instant=True),
            ],
            unit="none",
            show="value_and_name",
            empty=DOWN,
        ),
        stat(
            "Unreadable",
            "Logs that exist but could not be read at the last try. Healthy: 0.",
            [query(f"{unreadable} or 0 * count({readable})", "unreadable", instant=True)],
            unit="none",
            background=True,
            thresholds=steps((NOTHING, None), (VERMILION, 1)),
            empty="0",
        ),
        stat(
            "Failed saves, 1 h",
            "Tries to save offsets and detector state that failed in the last hour. Healthy: 0.",
            [query(f"round({failed})", "failed", instant=True)],
            unit="none",
            background=True,
            thresholds=steps((NOTHING, None), (WARNING, 1), (CRITICAL, 10)),
            empty=DOWN,
        ),
        stat(
            "Configuration",
            "Whether the last load of exporter.yml worked, and when the one in use was loaded. Healthy: loaded.",
            [
                query(f"min(training_monitor_config_last_reload_successful{{{JOB}}})", "last load", instant=True),
                query(
                    f"max(training_monitor_config_last_reload_timestamp_seconds{{{JOB}}}) * 1000",
                    "in use since",
                    instant=True,
                ),
            ],
            unit="none",
            empty=DOWN,
            overrides=[
                override(
                    "last load",
                    mappings=[
                        {
                            "type": "value",
                            "options": {"0": {"text": "refused", "color": CRITICAL}, "1": {"text": "loaded"}},
                        }
                    ],
                ),
                override("in use since", unit="time:ddd HH:mm"),
            ],
        ),
    )


def itself() -> tuple[Json, ...]:
    saves = f"rate(training_monitor_state_saves_total{{{JOB}}}[$__rate_interval])"
    failures = f"rate(training_monitor_state_save_failures_total{{{JOB}}}[$__rate_interval])"
    return (
        lines(
            "Time of a scrape",
            "What Prometheus waits for, and what the exporter itself needs of it (dashed). "
            "Healthy: milliseconds; 1,000 runs take a tenth of a second.",
            [
                query(f"scrape_duration_seconds{{{JOB}}}", "{{instance}}"),
                query(f"training_monitor_scrape_duration_seconds{{{JOB}}}", "{{instance}} rendering", ref="own"),
            ],
            unit="s",
            w=8,
            h=8,
            min=0,
            empty=DOWN,
            overrides=[override("own", query=True, **dashed(BLUE))],
        ),
        lines(
            "Memory",
            "Resident memory of the exporter. Healthy: flat; it depends on the number of runs, not on their length.",
            [query(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}")],
            unit="bytes",
            w=8,
            h=8,
            min=0,
            empty=DOWN,
        ),
        lines(
            "Processor",
            "Part of one core that the exporter uses. Healthy: near 0; more only while it reads a long log for the "
            "first time.",
            [query(f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])", "{{instance}}")],
            unit="percentunit",
            w=8,
            h=8,
            min=0,
            empty=DOWN,
        ),
        lines(
            "State saves",
            "Tries to save per second, and those that failed (dashed). Healthy: about one in 10 s while runs move, "
            "none fails.",
            [
                query(saves, "{{instance}}"),
                query(failures, "{{instance}} failed", ref="failed"),
            ],
            unit="ops",
            w=8,
            h=8,
            min=0,
            empty=DOWN,
            overrides=[override("failed", query=True, **dashed(VERMILION))],
        ),
        lines(
            "Open files",
            "File descriptors in use, as a part of those that the system allows. Healthy: far below 100 %; "
            "it grows with the number of sources.",
            [query(f"process_open_fds{{{JOB}}} / process_max_fds{{{JOB}}}", "{{instance}}")],
            unit="percentunit",
            w=8,
            h=8,
            min=0,
            empty=DOWN,
        ),
        table(
            "Exporters",
            "Versions, time since the start, files in watched folders that were left alone, and saved states that "
            "could not be used. Healthy: none of the last.",
            [
                query(
                    f"max by (instance, version, python_version) (training_monitor_build_info{{{JOB}}})",
                    table=True,
                    ref="build",
                ),
                query(f"time() - max by (instance) (process_start_time_seconds{{{JOB}}})", table=True, ref="age"),
                query(f"sum by (instance) (training_monitor_skipped_files{{{JOB}}})", table=True, ref="skipped"),
                query(f"max by (instance) (training_monitor_states_unusable_total{{{JOB}}})", table=True, ref="lost"),
            ],
            w=8,
            h=8,
            columns=("instance", "version", "python_version", "Value #age", "Value #skipped", "Value #lost"),
            hidden=("Time", "Value #build"),
            empty=DOWN,
            overrides=[
                override("instance", displayName="Exporter"),
                override("version", displayName="Version"),
                override("python_version", displayName="Python"),
                override("Value #age", displayName="Up for", unit="s", decimals=1),
                override("Value #skipped", displayName="Files skipped", unit="none", noValue="0"),
                override("Value #lost", displayName="States unusable", unit="none", noValue="0"),
            ],
        ),
    )


def build() -> Json:
    job = variable(
        "job",
        "Job",
        "label_values(training_monitor_build_info, job)",
        "What the scrape configuration calls the exporters.",
        multi=True,
        includeAll=True,
        allValue=".+",
        current={"selected": True, "text": ["All"], "value": ["$__all"]},
    )
    instance = variable(
        "instance",
        "Exporter",
        "label_values(training_monitor_build_info{job=~`${job:regex}`}, instance)",
        "The exporters that are shown.",
        multi=True,
        includeAll=True,
        allValue=".+",
        current={"selected": True, "text": ["All"], "value": ["$__all"]},
    )
    return dashboard(
        EXPORTER,
        "Training exporter",
        "Whether the training monitor itself is well: does it read every log, keep up, save its state.",
        [
            Row("", *numbers()),
            Row("", sources()),
            Row("Does it keep up?", *reading()),
            Row("Is it well itself?", *itself()),
        ],
        [job, instance],
        span="6h",
    )
