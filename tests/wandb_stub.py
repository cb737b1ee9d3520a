"""A W&B server on the loopback: enough of it for the real client 0.31.0 to write a run and to read it back.

Faults are scripted: whatever is put into `faults` answers the next GraphQL requests instead of the data.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Fault:
    """An answer that is none. `hang_s`: seconds before anything is sent."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hang_s: float = 0.0


@dataclass
class StoredRun:
    entity: str
    project: str
    name: str
    history: list[str] = field(default_factory=list)
    config: str = "{}"
    summary: str = "{}"
    state: str = "running"
    is_done: bool = False  # the client has closed the run

    @property
    def last_step(self) -> int:
        return max((json.loads(line)["_step"] for line in self.history), default=-1)

    def window(self, first: int, end: int, samples: int) -> list[str]:
        """Rows of a window; thinned out as the service does where there are more steps than samples."""
        rows = [line for line in self.history if first <= json.loads(line)["_step"] < end]
        return rows if len(rows) <= samples else rows[:: -(-len(rows) // samples)]

    def log(self, *rows: dict[str, Any]) -> None:
        self.history += [json.dumps(row) for row in rows]


class Stub:
    """The server; `url` is its base URL."""

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str, str], StoredRun] = {}
        self.faults: deque[Fault] = deque()
        self.requests: list[dict[str, Any]] = []  # of GraphQL: operation, variables, headers
        self.unknown: list[str] = []  # operations that it has no answer to
        stub = self

        class Handler(_Handler):
            server_stub = stub

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def run(self, name: str, project: str = "llm", entity: str = "me") -> StoredRun:
        return self.runs.setdefault((entity, project, name), StoredRun(entity, project, name))

    def answer(self, operation: str, query: str, v: dict[str, Any]) -> dict[str, Any]:
        """`data` for one operation of the client or of the reader."""
        fixed: dict[str, Any] = {
            "RunStoppedStatus": {"project": {"run": {"stopped": False}}},
            "ServerInfo": {
                "serverInfo": {"cliVersionInfo": {"max_cli_version": "0.99.0"}, "latestLocalVersionInfo": None}
            },
            "ServerFeaturesQuery": {"serverInfo": {"features": []}},
            "OrganizationCoreWeaveOrganizationID": {"entity": {"organization": None}},
        }
        if operation in fixed:
            return fixed[operation]
        if operation in ("Viewer", "GetDefaultEntity", "GetViewer"):
            user = {"id": "u", "entity": "me", "username": "me", "name": "me", "email": "me@x", "flags": "{}"}
            return {"viewer": {**user, "admin": False, "teams": {"edges": []}, "apiKeys": {"edges": []}}}
        if operation == "UpsertBucket":
            return {"upsertBucket": {"bucket": self._upsert(v), "inserted": True}}
        if operation == "CreateRunFiles":
            files = [{"name": n, "uploadUrl": f"{self.url}/storage/{n}"} for n in v["files"]]
            return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}
        if "run(name:" in query:
            return {"project": self._project(v)}
        self.unknown.append(operation)
        return {}

    def _upsert(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.run(v["name"], v["project"], v["entity"] or "me")
        run.config = v["config"] or run.config
        project = {"id": "p", "name": run.project, "entity": {"id": "e", "name": run.entity}}
        names = {"id": run.name, "name": run.name, "displayName": run.name, "sweepName": None, "description": None}
        return {**names, "config": run.config, "project": project, "historyLineCount": len(run.history)}

    def _project(self, v: dict[str, Any]) -> dict[str, Any]:
        name = v.get("name") or v.get("runName") or v.get("run")
        run = self.runs.get((v.get("entity") or v["entityName"], v.get("project") or v["projectName"], str(name)))
        if run is None:
            return {"id": "p", "internalId": "p", "run": None}
        first, end = v.get("minStep", 0), v.get("maxStep", 1 << 62)
        size = v.get("pageSize") or v.get("samples") or 500
        names = {"id": run.name, "name": run.name, "displayName": f"{run.name} shown", "projectId": 1, "internalId": 1}
        user = {"id": "u", "name": "me", "username": "me"}
        return {
            "id": "p",
            "internalId": "p",
            "run": {
                **names,
                "user": user,
                "tags": [],
                "group": None,
                "jobType": None,
                "commit": None,
                "notes": None,
                "sweepName": None,
                "readOnly": False,
                "stopped": False,
                "files": {"edges": []},
                "state": run.state,
                "config": run.config,
                "summaryMetrics": run.summary,
                "systemMetrics": "{}",
                "createdAt": "2026-11-22T18:05:10Z",
                "heartbeatAt": "2026-11-22T18:09:00Z",
                "historyLineCount": len(run.history),
                "historyTail": None,
                "eventsTail": None,
                "historyKeys": {"lastStep": run.last_step, "sets": [], "keys": {}} if run.history else None,
                "history": run.window(first, end, size),
                "sampledHistory": [],
                "parquetHistory": {"parquetUrls": [], "liveData": []},
            },
        }

    def stream(self, path: str, body: dict[str, Any]) -> None:
        """What the client sends of a run."""
        entity, project, name = re.match(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path).groups()  # type: ignore[union-attr]
        run = self.run(name, project, entity)
        files = body.get("files") or {}
        if rows := files.get("wandb-history.jsonl"):
            run.history[rows["offset"] :] = rows["content"]
        if summary := files.get("wandb-summary.json"):
            run.summary = summary["content"][-1]
        if body.get("complete"):
            run.is_done = True
            run.state = "failed" if body.get("exitcode") else "finished"


class _Server(ThreadingHTTPServer):
    def handle_error(self, *args: object) -> None:
        """Nothing: clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_stub: Stub

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path.endswith("/file_stream"):
            self.server_stub.stream(self.path, json.loads(body))
            self._send(200, b'{"limits":{}}')
        elif self.path.startswith("/graphql"):
            self._graphql(json.loads(body))
        else:
            self._send(404, b"{}")  # telemetry

    def _graphql(self, asked: dict[str, Any]) -> None:
        stub, query = self.server_stub, asked["query"]
        operation = asked.get("operationName") or re.search(r"(?:query|mutation)\s+(\w+)", query)[1]  # type: ignore[index]
        variables = asked.get("variables") or {}
        stub.requests.append({"operation": operation, "variables": variables, "headers": dict(self.headers)})
        fault = stub.faults.popleft() if stub.faults and operation == "RunTail" else None
        if fault:
            time.sleep(fault.hang_s)
            self._send(fault.status, fault.body, fault.headers)
        elif self.headers.get("Authorization") != "Basic " + base64.b64encode(f"api:{KEY}".encode()).decode():
            self._send(401, b'{"errors":[{"message":"permission denied"}]}')
        else:
            self._send(200, json.dumps({"data": stub.answer(operation, query, variables)}).encode())

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._send(200, b"")

    def do_GET(self) -> None:
        self._send(404, b"{}")

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # who asked has gone
            self.close_connection = True
