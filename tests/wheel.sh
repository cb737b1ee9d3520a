#!/bin/sh
# Builds the wheel, looks what is in it, and starts the command with run-time dependencies only.
set -eu
cd "$(dirname "$0")/.."
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
.venv/bin/python -m build --wheel --outdir "$tmp" . >"$tmp/build.log" 2>&1 || { cat "$tmp/build.log" >&2; exit 1; }
.venv/bin/python - "$tmp"/*.whl <<'PY'
import sys, zipfile
names = zipfile.ZipFile(sys.argv[1]).namelist()
odd = [n for n in names if not n.startswith(("training_monitor/", "training_monitor-"))]
assert not odd, f"the wheel holds more than the package: {odd}"
assert "training_monitor/py.typed" in names
print(f"wheel: {len(names)} files, the package and nothing else")
PY
.venv/bin/python -m venv "$tmp/venv"
"$tmp/venv/bin/pip" install -q "$tmp"/*.whl
cd "$tmp"
log=$OLDPWD/tests/data/nanochat/base_train_slow.log
venv/bin/training-monitor --version
venv/bin/training-monitor formats >/dev/null
venv/bin/training-monitor report "$log" --format json >/dev/null
venv/bin/training-monitor replay "$log" --fail-on critical >/dev/null && { echo "replay did not fail" >&2; exit 1; }
venv/bin/python -m training_monitor status "$log" >/dev/null
venv/bin/training-monitor serve "$log" --web.listen-address 127.0.0.1:0 --log.format json 2>serve.log & pid=$!
for _ in $(seq 100); do grep -q '"address"' serve.log && break; sleep 0.1; done
address=$(sed -n 's/.*"address": "\([^"]*\)".*/\1/p' serve.log)
venv/bin/python -c "
import sys, time, urllib.error, urllib.request
for _ in range(100):
    try:
        body = urllib.request.urlopen(sys.argv[1] + '/metrics', timeout=5).read().decode(); break
    except urllib.error.HTTPError: time.sleep(0.1)
assert 'training_loss{' in body, body[:500]
" "$address"
kill -TERM $pid; wait $pid
echo "wheel: installed alone, it reports, replays and serves"
