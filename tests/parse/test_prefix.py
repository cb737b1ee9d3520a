from __future__ import annotations

import pytest

from training_monitor.parse.prefix import stages

LINE = b"step 12/100 | loss: 3.5"


@pytest.mark.parametrize(
    ("prefix", "time", "rank"),
    [
        (b"", None, None),
        (b"[rank0]:", None, 0),
        (b"[default7]: ", None, 7),
        (b"[rank3]:[rank3]: ", None, 3),
        (b"[0434:2]: ", None, 2),
        (b"0: ", None, 0),
        (b"15: ", None, 15),
        (b"gpu250: ", None, None),
        (b"node-7.cluster: ", None, None),
        (b"[80746] [rank0]:", None, 0),
        (b"1743] ", None, None),
        (b"(RayWorkerWrapper pid=4009) [rank1]:", None, 1),
        (b"1795371419.531 ", 1795371419.531, None),
        (b"1795371419 [rank2]: ", 1795371419.0, 2),
        (b"2026-11-22T18:16:59.250Z ", 1795371419.25, None),
        (b"2026-11-22T19:16:59+01:00 ", 1795371419.0, None),
        (b"2026-11-22T18:16:59.500000000Z stdout F ", 1795371419.5, None),
        (b"2026-02-01 20:37:26,202 - nanochat.common - INFO - ", None, None),
        (b"[2024-04-02 01:59:46][INFO][trainer:837] - ", None, None),
        (b"[2025-09-11 14:10:18,994459][I][components/metrics:437:log] ", None, None),
        (b"[2023-10-20 00:20:42,342] [INFO] [logging.py:96:log_dist] ", None, None),
        (b"[2024-04-06 03:02:12.123456] ", None, None),
        (b"I0811 21:54:55.531340 138304841739136 metric_logger.py:226] ", None, None),
        (b"W0520 02:22:22.990000 1032795 /opt/torch/distributed/run.py:874] ", None, None),
        (b"10/17/2025 16:31:56 [INFO|DP=0|PP=0|TP=0]: ", None, None),
        (b"10/17 16:31:56 [INFO|DP=0|PP=0|TP=0|node]: ", None, None),
        (b"05/27/2021 15:25:10 - INFO - __main__ - ", None, None),
        (b"[INFO|trainer.py:2128] 2026-03-01 10:00:00,123 >> ", None, None),
        (b"[rank0]:[titan] 2026-05-20 02:22:31,495 - root - INFO - ", None, 0),
        (b"[2024-04-17 09:42:26] INFO     [olmo.train:816, rank=0] ", None, None),
        (b"2026-04-17 09:42:26.123\tnode-1:0\tolmo.train:816\tINFO\t", None, None),
        (b"2026-03-01 10:00:00.123 | INFO     | __main__:train:12 - ", None, None),
        (b"INFO:__main__:", None, None),
        (" 14%|█▍        | 14/100 [00:05<00:12,  7.10it/s]".encode(), None, None),
    ],
)
def test_a_prefix_comes_off_and_tells_time_and_rank(prefix: bytes, time: float | None, rank: int | None) -> None:
    found = list(stages(prefix + LINE))
    assert found[0].rest == (prefix + LINE).strip()
    assert (LINE, time, rank) in [tuple(f) for f in found]


@pytest.mark.parametrize(
    "line",
    [
        b"step:  3  loss: 15.8  grad_norm: 26.25  memory: 1GiB(1%)  tps: 9,893  tflops: 833.58  mfu: 37.05%",
        b"iteration        1/    1000 | consumed samples:           40 |",
        b"s:198 trl:6.3328 lr:0.000171 norm:1.14",
        b"Epoch 34 | iter 3050700 step 610140 | loss train: 2.846",
        b"Iter 30: Train loss 2.710",
        b"completed step: 1, seconds: 0.631",
    ],
)
def test_a_step_line_is_no_prefix(line: bytes) -> None:
    assert [p.rest for p in stages(line)] == [line]


def test_a_line_of_nothing_but_prefixes_ends() -> None:
    assert len(list(stages(b"[rank0]:" * 1000))) <= 9
    assert [p.rest for p in stages(b"  ")] == [b""]


@pytest.mark.parametrize("line", [b"9999-99-99T99:99:99Z x", b"0000-01-01T00:00:00+99:99 x"])
def test_an_impossible_time_is_none(line: bytes) -> None:
    assert list(stages(line))[-1].time is None
