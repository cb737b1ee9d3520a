"""HF Trainer prints no step: how it is inferred, from real consoles and from made ones."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from decoding import assert_split_makes_no_difference, decode
from training_monitor.parse.hf_steps import BAR, COUNTED, EPOCH
from training_monitor.parse.registry import open_decoder
from training_monitor.records import Facts, Finish, Pause, Record, Start, Step, Validation

DATA = Path(__file__).parents[1] / "data" / "hf"


def read(text: str | bytes) -> list[Record]:
    data = text if isinstance(text, bytes) else text.encode()
    return assert_split_makes_no_difference(lambda: open_decoder(b""), data, tries=2)


def of(kind: type, records: list[Record]) -> list:
    return [r for r in records if type(r) is kind]


def inferred(records: list[Record]) -> list[str]:
    return [f.step_inferred for f in of(Facts, records) if f.step_inferred]


def bar(n: int, total: int, elapsed: str = "00:10", rate: str = "5.00s/it") -> str:
    return f"\r {100 * n // total:2d}%|███       | {n}/{total} [{elapsed}<52:46,  {rate}]"


def line(loss: object, epoch: object = 0.5, more: str = "") -> str:
    return f"{{'loss': {loss}, 'grad_norm': 2.5, 'learning_rate': 1e-05, 'epoch': {epoch}{more}}}\n"


def header(total: int, epochs: int) -> str:
    return f"***** Running training *****\n  Num Epochs = {epochs}\n  Total optimization steps = {total:,}\n"


@pytest.mark.parametrize(("log", "how"), [("console.with-bars.log", BAR), ("console.stdout-only.log", COUNTED)])
def test_real_consoles_of_transformers_5_give_every_step(log: str, how: str) -> None:
    records = read((DATA / log).read_bytes())
    steps = of(Step, records)
    assert [s.step for s in steps] == list(range(1, 61))
    assert inferred(records) == [how]
    assert (steps[0].loss, steps[0].grad_norm, steps[0].learning_rate) == (4.715, 0.6776, 5e-05)
    assert [(v.metric, v.step) for v in of(Validation, records)] == [("loss", 20), ("loss", 40), ("loss", 60)]
    assert len(of(Finish, records)) == 1


def test_a_nan_that_the_trainer_filters_shows_in_the_gradient_norm() -> None:
    steps = of(Step, read((DATA / "console.stdout-only.log").read_bytes()))
    filtered = [s for s in steps if s.loss == 0.0]
    assert filtered
    assert all(s.raw_loss is not None and math.isnan(s.raw_loss) for s in filtered)


def test_the_bar_drawn_behind_a_line_tells_its_step_and_the_one_before_it_may_be_old() -> None:
    text = (
        bar(0, 100)
        + bar(9, 100)
        + "\n"
        + line(3.0)
        + bar(10, 100)
        + bar(19, 100)
        + "\n"
        + line(2.9)
        + bar(20, 100)
        + "\n"
    )
    records = read(text)
    assert [(s.step, s.total_steps) for s in of(Step, records)] == [(10, 100), (20, 100)]
    assert inferred(records) == [BAR]


def test_bars_of_evaluations_and_downloads_are_not_those_of_training() -> None:
    text = (
        bar(0, 100)
        + bar(10, 100)
        + "\n"
        + line(3.0)
        + bar(10, 100)
        + bar(3, 8)
        + "\n"
        + line(2.9)
        + bar(20, 100)
        + bar(7, 8)
        + "\n"
    )
    assert [s.step for s in of(Step, read(text))] == [10, 20]


def test_text_glued_behind_a_bar_is_read() -> None:
    text = bar(0, 100) + bar(9, 100) + line(3.0) + bar(10, 100) + "\n"
    assert [s.step for s in of(Step, read(text))] == [10]


def test_the_epoch_tells_the_step_where_the_header_tells_the_total() -> None:
    # As of a real run: 5490 steps, 10 epochs, logging every 500; the epoch is rounded to two decimals.
    epochs = [0.91, 1.82, 2.73, 3.64, 4.55, 5.46, 6.38, 7.29, 8.2, 9.11]
    records = read(header(5490, 10) + "".join(line(3.0, e) for e in epochs))
    assert [s.step for s in of(Step, records)] == list(range(500, 5001, 500))
    assert inferred(records) == [EPOCH]


def test_without_bar_and_header_the_lines_are_counted_in_logging_steps() -> None:
    arguments = "TrainingArguments(\nlogging_steps=25,\nlogging_strategy=steps,\n)\n"
    records = read(arguments + line(3.0) + line(2.9) + line(2.8))
    assert [s.step for s in of(Step, records)] == [25, 50, 75]
    assert inferred(records) == [COUNTED]


def test_a_new_header_counts_anew_and_a_resumed_one_goes_on() -> None:
    resumed = header(0, 1).replace("= 0", "= none") + "  Continuing training from global step 40\n"
    records = read(header(10, 1) + line(3.0, 0.1) + line(3.0, 0.2) + resumed + line(2.9, "nan"))
    assert [s.step for s in of(Step, records)] == [1, 2, 41]
    assert len(of(Start, records)) == 2


def test_ranks_that_all_print_the_header_are_one_start() -> None:
    assert len(of(Start, read(header(10, 1) * 16 + line(3.0)))) == 1


def test_quoted_numbers_and_pythons_nan_are_values() -> None:
    step, other = of(Step, read("{'loss': '4.715', 'grad_norm': 'nan', 'epoch': '0.1'}\n{'loss': nan, 'epoch': 0.2}\n"))
    assert step.loss == 4.715
    assert math.isnan(step.grad_norm)
    assert math.isnan(other.loss)


def test_evaluations_give_their_metrics_and_how_long_they_took() -> None:
    text = (
        line(3.0)
        + "{'eval_loss': 0.65, 'eval_rouge-1': 46.5, 'eval_wiki_loss': 0.7, 'eval_runtime': 27.5, 'epoch': 1.0}\n"
    )
    records = read(text)
    assert [(v.metric, v.value, v.step) for v in of(Validation, records)] == [("loss", 0.65, 1), ("wiki_loss", 0.7, 1)]
    assert of(Pause, records) == [Pause("evaluation", 1, 27.5, None, 2)]


def test_the_mean_loss_of_the_last_dict_is_no_step() -> None:
    end = "{'train_runtime': 871.8, 'train_samples_per_second': 1.1, 'train_loss': 2.5, 'epoch': 1.0}\n"
    records = read(line(3.0) + end)
    assert len(of(Step, records)) == 1
    assert of(Finish, records) == [Finish(None, 2)]


def test_step_time_comes_from_the_run_time_where_it_is_logged() -> None:
    text = "".join(line(3.0, 0.1 * i, f", 'train_runtime': {10 + 3.5 * i}") for i in range(1, 4))
    assert [s.step_time_s for s in of(Step, read(text))] == [13.5, 3.5, 3.5]


def test_run_times_of_four_digits_are_taken_only_where_they_are_fine_enough() -> None:
    def quoted(runtime: float) -> str:
        return line("'3.0'", "'0.1'", f", 'train_runtime': '{runtime:.4g}'")

    steps = of(Step, read("".join(quoted(20_000 + 7.3 * i) for i in range(60))))
    times = [s.step_time_s for s in steps[1:] if s.step_time_s is not None]
    assert times == pytest.approx([7.3] * len(times), rel=0.06)
    assert 1 <= len(times) <= 3


def test_step_time_comes_from_the_bar_where_nothing_else_is_logged() -> None:
    text = "".join(
        bar(n, 100, f"{n * 5 // 60:02d}:{n * 5 % 60:02d}")
        + "\n"
        + line(3.0)
        + bar(n, 100, f"{n * 5 // 60:02d}:{n * 5 % 60:02d}")
        for n in (10, 20, 30)
    )
    assert [s.step_time_s for s in of(Step, read(bar(0, 100, "00:00") + text + "\n"))] == [5.0, 5.0, 5.0]


def test_a_dict_of_something_else_is_none_of_ours() -> None:
    for text in ("{'a': 1}\n", "{'loss'}\n", "{'loss': 'much', 'epoch': 1}\n", "config {'lr': 0.1, 'epoch': 3}\n"):
        assert of(Step, decode(open_decoder(b""), text.encode())) == []
