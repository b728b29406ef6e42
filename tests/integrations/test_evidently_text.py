"""Texts, embeddings and what language models are measured by."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.errors import ReferenceDataError
from mlops.integrations.evidently_monitoring import EvidentlyMonitoring, embeddings, runtime
from mlops.integrations.evidently_monitoring.text_statistics import STATISTICS, Vocabulary, describe
from mlops.workspace.tools import ToolContext

ENGLISH = [
    "the",
    "model",
    "answers",
    "every",
    "question",
    "about",
    "weather",
    "in",
    "short",
    "friendly",
    "words",
]
RUSSIAN = ["модель", "отвечает", "на", "каждый", "вопрос", "коротко", "дружелюбно", "сегодня", "вечером"]


@pytest.fixture(autouse=True)
def loaded_quietly(clean_environment: None) -> None:
    runtime.load(operation="test", workspace="test")


@pytest.fixture
def monitoring(context: ToolContext) -> EvidentlyMonitoring:
    return EvidentlyMonitoring(context)


def answers(seed: int, words: list[str] = ENGLISH, rows: int = 250, length: int = 12) -> list[str]:
    rng = np.random.default_rng(seed)
    return [
        ". ".join(
            " ".join(rng.choice(words, max(1, int(rng.normal(length, 3))))) for _ in range(rng.integers(1, 4))
        )
        for _ in range(rows)
    ]


def drifted(result: Any, column: str) -> set[str]:
    return {
        name.removeprefix(f"{column}: ")
        for name, found in result.columns.items()
        if found.source == column and found.drifted
    }


def test_each_statistic_of_a_text() -> None:
    japanese = "天気はどう\uff1fいいです\u3002"
    texts = pd.Series(["One two two. Three!", "", None, japanese, "a1 b2"], dtype=object)
    vocabulary = Vocabulary.of(["one three", "two two"])
    table = pd.DataFrame(describe(texts, vocabulary))
    assert list(table) == list(STATISTICS)
    assert table.loc[0].to_list() == pytest.approx([19, 4, 2, 14 / 4, 3 / 4, 2 / 16, 1.0])
    assert table.loc[1, ["length", "words", "sentences"]].to_list() == [0, 0, 0]
    assert table.loc[1, ["word length", "non-letters", "known words"]].isna().all()
    assert table.loc[2].isna().all()
    assert table.loc[3, "sentences"] == 2
    assert table.loc[4, ["non-letters", "known words"]].to_list() == [0.5, 0.0]


def test_the_same_texts_know_the_same_words() -> None:
    texts = pd.Series([*answers(0), "the word nobody else uses"], dtype=object)
    vocabulary = Vocabulary.of(texts)
    known = describe(texts, vocabulary)["known words"]
    assert known.iloc[-1] == pytest.approx(1 / 5)
    fresh = describe(pd.Series(["the word nobody else uses now"]), vocabulary)["known words"]
    assert fresh.iloc[0] == pytest.approx(5 / 6)


def test_answers_of_a_language_model(monitoring: EvidentlyMonitoring) -> None:
    rng = np.random.default_rng(0)
    monitoring.set_reference_data(
        {"answer": answers(0), "latency_ms": rng.gamma(4, 50, 250), "output_tokens": rng.poisson(40, 250)}
    )
    usual = {"latency_ms": rng.gamma(4, 50, 250), "output_tokens": rng.poisson(40, 250)}

    same = monitoring.monitor({"answer": answers(1), **usual})
    assert same.n_drifted == 0
    # Every word is a known one on both sides, which is nothing to compare.
    compared = {f"answer: {name}" for name in STATISTICS if name != "known words"}
    assert set(same.columns) == {*compared, "latency_ms", "output_tokens"}
    assert same.n_compared == 3
    assert same.columns["answer: words"].kind == "text"

    longer = monitoring.monitor({"answer": answers(2, length=25), **usual})
    assert drifted(longer, "answer") >= {"length", "words"}
    assert "word length" not in drifted(longer, "answer")

    russian = monitoring.monitor({"answer": answers(3, RUSSIAN), **usual})
    assert "known words" in drifted(russian, "answer")

    stuck = monitoring.monitor({"answer": [" ".join(["the"] * 20)] * 250, **usual})
    assert "distinct words" in drifted(stuck, "answer")

    slower = usual | {"latency_ms": usual["latency_ms"] * 2, "output_tokens": usual["output_tokens"] + 15}
    slow = monitoring.monitor({"answer": answers(4), **slower}, tokens=slower["output_tokens"])
    assert {name for name, found in slow.columns.items() if found.drifted} == {"latency_ms", "output_tokens"}
    assert slow.tokens is not None
    assert slow.tokens.mean == pytest.approx(np.mean(slower["output_tokens"]))


def test_a_text_column_counts_once_however_many_statistics_it_has(monitoring: EvidentlyMonitoring) -> None:
    rng = np.random.default_rng(0)
    monitoring.set_reference_data({"t": answers(0), "a": rng.normal(size=250), "b": rng.normal(size=250)})
    batch = {"t": answers(1), "a": rng.normal(5, 1, 250), "b": rng.normal(5, 1, 250)}
    result = monitoring.monitor(batch)
    assert (result.n_drifted, result.n_compared, result.drift_detected) == (2, 3, True)
    assert result.drift_share == pytest.approx(2 / 3)
    batch = {"t": answers(1, RUSSIAN, length=30), "a": rng.normal(size=250), "b": rng.normal(size=250)}
    result = monitoring.monitor(batch)
    assert len(drifted(result, "t")) > 2
    assert (result.n_drifted, result.drift_detected) == (1, False)
    from evidently.ui.workspace import Workspace

    run = Workspace(str(monitoring.path)).get_run(monitoring.project_id, result.snapshot_id)
    counts = [found for found in run.metric_results.values() if hasattr(found, "share")]
    assert (1, pytest.approx(1 / 3)) in [(found.count.value, found.share.value) for found in counts]


def test_texts_that_cannot_be_described(monitoring: EvidentlyMonitoring) -> None:
    monitoring.set_reference_data({"t": answers(0), "x": np.arange(250.0)})
    x = np.arange(250.0)
    assert monitoring.monitor({"t": [None] * 250, "x": x}).skipped == {"t": "every value is missing"}
    assert "not text" in monitoring.monitor({"t": [1, *answers(1)[:249]], "x": x}).skipped["t"]
    empty = monitoring.monitor({"t": [""] * 250, "x": x})
    assert drifted(empty, "t") == {"length", "words", "sentences"}
    marks = monitoring.monitor({"t": ["??? !!!"] * 250, "x": x})
    assert set(marks.columns) >= {"t: length", "t: non-letters"}


def test_a_column_named_like_a_statistic_keeps_its_name(monitoring: EvidentlyMonitoring) -> None:
    data = {"t": answers(0), "t: length": np.arange(250.0)}
    monitoring.set_reference_data(data)
    result = monitoring.monitor(data)
    assert result.columns["t: length"].source == "t: length"
    assert result.columns["t: length_"].source == "t"


def digits(rows: slice) -> list[np.ndarray]:
    from sklearn.datasets import load_digits

    return list(load_digits().images[rows])


def test_images_are_compared_as_vectors(monitoring: EvidentlyMonitoring) -> None:
    reference = monitoring.set_reference_data({"image": digits(slice(0, 600))})
    assert reference.columns["image"].dimension == 64
    clean = monitoring.monitor({"image": digits(slice(600, 1200))})
    assert not clean.columns["image"].drifted
    assert (clean.columns["image"].kind, clean.columns["image"].method) == ("embedding", "mmd")
    darker = monitoring.monitor({"image": [image * 0.6 for image in digits(slice(600, 1200))]})
    assert darker.columns["image"].drifted
    assert darker.columns["image"].score > darker.columns["image"].threshold
    assert darker.to_frame().loc["image", "drifted"]


def test_chance_alone_does_not_move_an_embedding() -> None:
    rng = np.random.default_rng(0)
    found = []
    for rows in (2, 5, 30, 300):
        for _ in range(5):
            known, given = rng.normal(size=(200, 16)), rng.normal(size=(rows, 16))
            compared = embeddings.compare(known, given)
            score = compared.reference.mean() - compared.current.mean()
            found.append(score > max(compared.chance, embeddings.THRESHOLD))
    assert not any(found)


@pytest.mark.parametrize("change", ["shift", "spread", "one direction", "a new cluster"])
def test_an_embedding_that_moved(monitoring: EvidentlyMonitoring, change: str) -> None:
    rng = np.random.default_rng(0)
    names = [f"e{i}" for i in range(32)]
    monitoring.set_reference_data(
        pd.DataFrame(rng.normal(size=(600, 32)), columns=names), embeddings={"text": names}
    )
    vectors = rng.normal(size=(400, 32))
    assert not monitoring.monitor(pd.DataFrame(vectors, columns=names)).columns["text"].drifted
    if change == "shift":
        vectors += 0.4
    elif change == "spread":
        vectors *= 1.4
    elif change == "one direction":
        vectors[:, 3] += 3
    else:
        vectors[:120] += 2
    result = monitoring.monitor(pd.DataFrame(vectors, columns=names))
    assert list(result.columns) == ["text"]
    assert result.columns["text"].drifted


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ([[1.0, 2.0]] * 100, "100 rows hold no vector of 4 finite numbers"),
        ([[1.0, 2.0, 3.0, np.inf]] * 100, "100 rows hold no vector"),
        ([["a", "b", "c", "d"]] * 100, "100 rows hold no vector"),
        ([1.0] * 100, "100 rows hold no vector"),
        ([None] * 100, "every value is missing"),
        ([[1.0, 2.0, 3.0, 4.0], *[None] * 99], "one vector alone"),
    ],
)
def test_vectors_that_are_none(monitoring: EvidentlyMonitoring, cells: list[Any], says: str) -> None:
    rng = np.random.default_rng(0)
    monitoring.set_reference_data({"v": list(rng.normal(size=(100, 4))), "x": np.arange(100.0)})
    result = monitoring.monitor({"v": cells, "x": np.arange(100.0)})
    assert says in result.skipped["v"]
    assert set(result.columns) == {"x"}


def test_some_bad_vectors_count_as_missing(monitoring: EvidentlyMonitoring) -> None:
    rng = np.random.default_rng(0)
    monitoring.set_reference_data({"v": list(rng.normal(size=(100, 4)))})
    result = monitoring.monitor({"v": [None, "x", [1.0], *rng.normal(size=(100, 4))]})
    assert result.columns["v"].rows == 100
    assert any("2 rows hold no vector" in warning for warning in result.warnings)


def test_a_matrix_that_lost_a_column(monitoring: EvidentlyMonitoring) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(100, 3)), columns=["a", "b", "c"]).assign(x=np.arange(100.0))
    monitoring.set_reference_data(frame, embeddings={"v": ["a", "b", "c"]})
    assert monitoring.monitor(frame.drop(columns="b")).skipped == {"v": "the batch has no column 'b'"}
    assert "2 columns" in monitoring.monitor(pd.concat([frame, frame[["a"]]], axis=1)).skipped["v"]
    half = monitoring.monitor(frame.assign(b=frame["b"].where(frame["x"] < 50)))
    assert half.columns["v"].rows == 50
    assert half.quality["v"].missing_share == 0.5
    for bad in ({"v": ["a", "z"]}, {"a": ["b", "c"]}, {"v": []}):
        with pytest.raises(ReferenceDataError):
            monitoring.set_reference_data(frame, embeddings=bad)


def test_the_reference_keeps_its_vectors(monitoring: EvidentlyMonitoring) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(50, 4)).astype("float32")
    data = {"v": [None, *vectors[1:]], "t": answers(0, rows=50)}
    reference = monitoring.set_reference_data(data)
    stored = reference.to_frame()
    assert stored["v"][0] is None
    np.testing.assert_array_equal(np.stack(stored["v"][1:]), vectors[1:])
    assert monitoring.set_reference_data(data).hash == reference.hash
    assert monitoring.set_reference_data({**data, "v": [None, *vectors[:0:-1]]}).hash != reference.hash


def test_nothing_is_downloaded(monitoring: EvidentlyMonitoring, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise AssertionError(f"a connection was made to {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    rng = np.random.default_rng(0)
    data = {"t": answers(0), "v": list(rng.normal(size=(250, 4)))}
    monitoring.set_reference_data(data)
    assert monitoring.monitor(data).skipped == {}
