"""Any records and annealed steps that a run could hold, for property tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gga_sweep.records import (
    Agreement,
    AnnealedStep,
    DomainScores,
    NoisyStep,
    Record,
    Score,
    TestRecord,
    ValidationRecord,
)

numbers = st.floats()  # NaN and the infinities included
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
steps = st.integers(0, 10**6)
absent = st.none()
known = st.floats(0, 1)
undefined_or = dict.fromkeys(("balanced_accuracy", "macro_f1", "auroc", "ece"), absent | known)
scores = st.builds(Score, accuracy=numbers, loss=numbers, **undefined_or)
training_domains = st.dictionaries(
    names, st.builds(DomainScores, train=scores | absent, validation=scores), min_size=1, max_size=3
)
test_domains = st.dictionaries(names, st.builds(DomainScores, train=scores, validation=scores | absent), max_size=3)
rows = st.lists(st.lists(numbers, max_size=2).map(tuple), max_size=2).map(tuple)
agreements = st.builds(
    Agreement, cosines=rows, norms=st.lists(numbers, max_size=2).map(tuple), minimum=numbers, mean=numbers
)
validations = st.builds(
    ValidationRecord,
    step=steps,
    domains=training_domains,
    batch_loss=numbers,
    agreement=agreements | absent,
    validation_agreement=agreements | absent,
)
tests = st.builds(TestRecord, domains=test_domains, gradient_cosine=st.dictionaries(names, numbers, max_size=2))
records = st.builds(Record, validation=validations, test=tests)
annealed_steps = st.builds(
    AnnealedStep,
    step=steps,
    tried=steps,
    accepted=steps,
    chosen=absent | steps,
    alignment_before=numbers,
    fresh_alignment_before=numbers | absent,
    next_alignment_after=numbers | absent,
)
noisy_steps = st.builds(NoisyStep, step=steps, mean_cosine=numbers, alpha=numbers)


def ascending(lines: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """A few lines of different steps, by ascending step."""
    return st.lists(lines, max_size=3, unique_by=_step).map(lambda drawn: sorted(drawn, key=_step))


def _step(line: Any) -> int:
    return int(line.step)
