"""The configuration file: defaults, overrides, and every mistake said at once."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_monitor.config import RUN_SCHEMA, SCHEMA, Config, load, parse
from training_monitor.config.example import commented
from training_monitor.config.show import effective
from training_monitor.errors import ConfigError, InputError

BAD = sorted((Path(__file__).parent / "bad").glob("*.yml"))


@pytest.mark.parametrize("text", ["a: 2001-99-99", "a: !!bool x", "a: !!timestamp x", "a: !!int x", "[" * 5000])
def test_a_value_that_is_not_of_its_tag_is_a_wrong_configuration(text):
    with pytest.raises(ConfigError, match="not valid YAML"):
        parse(text)


def test_without_a_file_everything_has_a_default():
    assert load(None) == Config()
    assert parse("").default == Config().default


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_a_wrong_file_is_refused_with_exactly_these_messages(path):
    with pytest.raises(ConfigError) as refused:
        load(str(path))
    golden = path.with_suffix(".txt")
    if os.environ.get("REWRITE_GOLDENS"):
        golden.write_text(str(refused.value) + "\n")
    assert str(refused.value) + "\n" == golden.read_text()


def test_a_missing_file_is_an_input_error_that_names_it():
    with pytest.raises(InputError, match=r"absent\.yml: cannot be read: No such file"):
        load("absent.yml")


def test_a_run_gets_the_defaults_and_then_every_matching_override():
    config = parse(
        "detectors: {loss_spike: {warning: 1.4}}\n"
        "cost: {usd_per_gpu_hour: 2}\n"
        "runs:\n"
        "  - {run: 'gpt2-*', cost: {usd_per_gpu_hour: 3}, detectors: {mfu_drop: {critical: 0.4}}}\n"
        "  - {run: '*-xl', goal: {target_loss: 2.8}}\n"
    )
    plain, both = config.of("llama"), config.of("gpt2-xl")
    assert (plain.usd_per_gpu_hour, plain.target_loss) == (2, None)
    assert (both.usd_per_gpu_hour, both.target_loss) == (3, 2.8)
    assert both.thresholds.loss_spike.warning == 1.4
    assert both.thresholds.mfu_drop.critical == 0.4
    assert plain.thresholds.mfu_drop.critical == 0.3


def test_numbers_in_scientific_notation_are_numbers():
    assert parse("hardware: {peak_flops: 9.89e14}").default.peak_flops == 9.89e14


def test_durations_have_units():
    config = parse("series: {expire_after: 36h}\nsources: {poll: 500s}\nstate: {save_interval: 2m}")
    assert (config.expire_s, config.poll_s, config.save_s) == (36 * 3600, 500, 120)


def test_no_key_of_the_schema_is_called_twice():
    attributes = [attribute for keys in SCHEMA.values() for _, attribute, _ in keys.values()]
    attributes += [attribute for keys in RUN_SCHEMA.values() for _, attribute, _ in keys.values()]
    assert len(attributes) == len(set(attributes))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=6), v, max_size=3),
    max_leaves=8,
)
SECTIONS = st.sampled_from(
    ["sources", "state", "series", "hardware", "cost", "goal", "baseline", "detectors", "names", "runs"]
)


@given(st.dictionaries(SECTIONS | st.text(max_size=5), VALUES, max_size=4))
def test_any_document_is_read_or_refused_with_a_sentence(document):
    import yaml

    problems = []
    try:
        config = parse(yaml.safe_dump(document, allow_unicode=True))
        config.of("some-run")
    except ConfigError as e:
        problems = e.problems
    assert all(problem.startswith("config: ") for problem in problems)


def test_the_commented_example_is_valid_once_uncommented():
    _, _, body = commented().partition("# sources:")
    config = parse("\n".join(line[2:] for line in ("# sources:" + body).splitlines()))
    assert config.default.usd_per_gpu_hour == 2.5
    assert config.of("gpt2-xl").usd_per_gpu_hour == 1.9
    assert config.save_s == Config().save_s


def test_every_key_has_a_sample_or_a_default():
    assert "None" not in commented()


def test_the_effective_configuration_is_a_file_that_says_the_same():
    text = (
        "names: [{match: '/(?P<r>.)/', name: '{r}'}]\nhardware: {gpu: H100}\nsources: {poll: 3s}\n"
        "runs: [{run: a*, cost: {usd_per_gpu_hour: 2}, detectors: {plateau: {warning: 400}}}]\n"
    )
    once = effective(parse(text))
    assert effective(parse(once)) == once
    assert parse(once).of("abc") == parse(text).of("abc")
    assert "usd_per_gpu_hour: 2" in once
