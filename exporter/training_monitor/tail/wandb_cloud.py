"""Follows a run in the W&B cloud: its complete history, only what is new in each poll.

`history(minStep, maxStep, samples)` is asked in windows, as the wandb client's HistoryPage does. A window of more steps
than `samples` may come back thinned out, so a wide window, which sparse steps need, counts only if it came back far
from full; else it is asked again in smaller ones. (`run.history()` gives 500 sampled rows and can hide a NaN.)

Checked against a stub that the real client 0.31.0 also writes to and reads from. Never checked against W&B's own
service: how it samples, its rate limits and their headers, its texts of errors, how late states and rows come, whether
rows that have been exported to parquet are still served here, and how it writes NaN (bare NaN and "NaN" are read).
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from training_monitor.moments import unix_seconds
from training_monitor.records import Facts, Failure, Finish, Record, SourceStatus, Start
from training_monitor.tail import graphql
from training_monitor.tail.graphql import Refused
from training_monitor.tail.records_source import NewRowDecoder
from training_monitor.tail.wandb_address import Address, api_key

POLL_S = 30.0  # the client sends every 15 s
ENDED_POLL_S = 300.0  # a run that is over may be resumed
PAGE = 1000  # rows of one request: the client's own page size
WIDEST = 1 << 40  # steps
PAGES = 10  # requests of one poll while catching up
CATCH_UP_S = 1.0  # between such polls
BACKOFF_S, LONGEST_S = 30.0, 900.0
FLUSH_S = 45.0  # the client's 15 s and one poll

QUERY = """query RunTail(
  $entity: String!, $project: String!, $name: String!, $minStep: Int64!, $maxStep: Int64!, $pageSize: Int!
) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      displayName state createdAt heartbeatAt historyKeys config
      history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize)
    }
  }
}"""

#: States of a run that is over → its failure; "finished" is the regular end. Unknown states count as running.
FAILURES = {"failed": "run_failed", "crashed": "run_crashed", "killed": "run_killed"}
_WORDS = {
    "failed": "W&B says that the run failed (exit code above 0)",
    "crashed": "W&B says that the run crashed (its heartbeats stopped)",
    "killed": "W&B says that the run was killed",
}


class WandbCloud:
    """A `RecordSource` for one run. `poll` blocks while the server answers: run it in a thread of its own."""

    kind = "wandb-cloud"

    def __init__(
        self,
        run: Address,
        new_rows: NewRowDecoder,
        *,
        env: Mapping[str, str],
        poll_s: float = POLL_S,
        post: Callable[..., dict[str, Any]] = graphql.post,
        chance: random.Random | None = None,
    ) -> None:
        self.source = f"wandb:{run}"
        self.problem: str | None = None
        self.next_poll_s = 0.0
        self.caught_up = False
        self._run, self._env, self._poll_s, self._post = run, env, poll_s, post
        self._chance = chance or random.Random()  # noqa: S311  spreads requests, guards nothing
        self._rows = new_rows()
        self._next = 0  # first step that has not been seen
        self._width = PAGE  # steps to ask for
        self._lines = 0  # rows seen
        self._state = "pending"
        self._is_begun = False
        self._told_facts: Facts | None = None
        self._heartbeat: float | None = None  # unix seconds
        self._failures = 0  # polls that failed in a row
        self._errors: dict[str, int] = {}
        self._parsed = 0

    def poll(self, now: float) -> list[Record]:
        out: list[Record] = []
        try:
            self.caught_up = self._pages(out)
        except Refused as refused:
            self._failed(refused)
            return out
        self.problem, self._failures = None, 0
        ended = self._state in FAILURES or self._state == "finished"
        wait = max(self._poll_s, ENDED_POLL_S) if ended else self._poll_s
        self.next_poll_s = self._jittered(wait) if self.caught_up else CATCH_UP_S
        return out

    def close(self) -> None:
        """Nothing is kept open."""

    def status(self, run: str) -> SourceStatus:
        return SourceStatus(
            source=self.source,
            run=run,
            kind=self.kind,
            up=self._is_begun and self.problem is None,
            waiting=not self._is_begun and self.problem is None,
            problem=self.problem,
            last_change=self._heartbeat,
            lines_read=self._lines,
            lines_parsed=self._parsed,
            parse_errors=dict(self._errors),
        )

    def state(self) -> dict[str, Any]:
        return {
            "next": self._next,
            "width": self._width,
            "state": self._state,
            "is_begun": self._is_begun,
            "rows": self._rows.state(),
            "counts": [self._lines, self._parsed, dict(self._errors)],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError if `state` is not of this version."""
        self._rows.restore(state["rows"])
        self._next, self._width, self._state = int(state["next"]), int(state["width"]), str(state["state"])
        self._is_begun = bool(state["is_begun"])
        self._lines, self._parsed, self._errors = state["counts"]

    def _pages(self, out: list[Record]) -> bool:
        """Reads on; returns whether the end has been reached. Raises Refused."""
        at = self._next  # may run ahead of what was seen, over steps that hold no rows
        for _ in range(PAGES):
            run = self._ask(at, at + self._width)
            self._begin(run, out)
            rows = self._rows_of(run)
            if self._width > PAGE and len(rows) * 2 >= PAGE:  # may have been thinned out
                self._width = max(PAGE, self._width // 16)
                continue
            self._take(rows, out)
            at = max(at + self._width, self._next)
            last = _last_step(run)
            if at > last if last is not None else not rows:
                self._ends(str(run.get("state") or "running"), out)
                return True
            if len(rows) * 8 < PAGE:
                self._width = min(WIDEST, self._width * 8)
        return False

    def _ask(self, first: int, end: int) -> dict[str, Any]:
        run = self._run
        variables = {"entity": run.entity, "project": run.project, "name": run.run}
        variables |= {"minStep": first, "maxStep": end, "pageSize": PAGE}  # type: ignore[dict-item]
        key = api_key(run.host, self._env)
        data = self._post(f"{run.base_url}/graphql", key, QUERY, variables)
        project = data.get("project")
        found = project.get("run") if isinstance(project, dict) else None
        if not isinstance(found, dict):
            advice = "check its id" if key else "or private: set WANDB_API_KEY or run `wandb login`"
            raise Refused(f"{self.source} is not found on {run.host}, {advice}", is_final=True)
        return found

    def _rows_of(self, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The history lines of an answer that have not been seen, in order of their steps."""
        rows = []
        lines = run.get("history")
        for line in lines if isinstance(lines, list) else ():
            try:
                row = json.loads(line) if isinstance(line, str) else line
                step = row["_step"]
            except (ValueError, TypeError, KeyError, RecursionError):
                self._errors["bad_row"] = self._errors.get("bad_row", 0) + 1
                continue
            if isinstance(step, int) and step >= self._next:
                rows.append(row)
        return sorted(rows, key=lambda row: int(row["_step"]))

    def _take(self, rows: list[dict[str, Any]], out: list[Record]) -> None:
        if not rows:
            return
        records = self._rows.rows(rows)
        self._lines += len(rows)
        self._parsed += min(len(rows), len(records))
        self._next = rows[-1]["_step"] + 1
        out += records

    def _begin(self, run: Mapping[str, Any], out: list[Record]) -> None:
        if not self._is_begun:
            self._is_begun = True
            out.append(Start(_unix(run.get("createdAt"))))
        self._heartbeat = _unix(run.get("heartbeatAt")) or self._heartbeat
        name = run.get("displayName")
        facts = Facts(format="wandb", run_id=self._run.run, flush_s=FLUSH_S, name=str(name)[:500] if name else None)
        facts = facts.merged(self._rows.facts(_config(run.get("config"))) or facts)
        if facts != self._told_facts:
            self._told_facts = facts
            out.append(facts)

    def _ends(self, state: str, out: list[Record]) -> None:
        """Tells a change of state, once all rows have been told."""
        before, self._state = self._state, state
        if state == before:
            return
        if state == "finished":
            out.append(Finish(self._heartbeat))
        elif kind := FAILURES.get(state):
            out.append(Failure(kind, _WORDS[state], time=self._heartbeat))
        elif before in FAILURES or before == "finished":
            out.append(Start())  # resumed

    def _failed(self, refused: Refused) -> None:
        self.problem = str(refused)
        self._errors["refused"] = self._errors.get("refused", 0) + 1
        backoff = min(LONGEST_S, BACKOFF_S * 2 ** min(self._failures, 8))
        wait = LONGEST_S if refused.is_final and self._failures else backoff
        self._failures += 1
        self.next_poll_s = self._jittered(max(wait, refused.wait_s or 0.0))

    def _jittered(self, seconds: float) -> float:
        """Up to a quarter longer, so that many monitors do not come at once."""
        return seconds * (1 + self._chance.random() / 4)


def _last_step(run: Mapping[str, Any]) -> int | None:
    """The highest step that the server knows."""
    keys = run.get("historyKeys")
    if isinstance(keys, str):
        keys = _config(keys)
    last = keys.get("lastStep") if isinstance(keys, dict) else None
    return last if isinstance(last, int) else None


def _config(text: Any) -> dict[str, Any]:
    """A JSON text of the server; in a run's config each value stands in an object of its own."""
    try:
        found = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {k: v["value"] if isinstance(v, dict) and "value" in v else v for k, v in found.items()}


def _unix(text: Any) -> float | None:
    """Unix seconds of `2026-11-22T18:05:10Z`; UTC if no zone is named."""
    return unix_seconds(str(text))
