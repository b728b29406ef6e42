from __future__ import annotations

import pickle
import traceback

import pytest

from mlops import errors

ALL = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.MLOpsError)
]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_carries_its_facts_and_survives_another_process(kind: type[errors.MLOpsError]) -> None:
    error = kind("it broke", operation="op", workspace="churn", details={"n": 1}, hint="mend it")
    for seen in (error, pickle.loads(pickle.dumps(error))):
        assert str(seen) == "it broke"
        assert (seen.operation, seen.workspace, seen.details, seen.hint) == (
            "op",
            "churn",
            {"n": 1},
            "mend it",
        )
        assert seen.__notes__ == ["Next step: mend it"]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_works_with_the_message_alone(kind: type[errors.MLOpsError]) -> None:
    error = kind("m")
    assert (error.operation, error.workspace, error.details, error.hint) == (None, None, {}, None)
    assert f"{kind.__name__}: m" in "".join(traceback.format_exception(error))


def test_the_next_step_is_in_the_traceback() -> None:
    error = errors.ConfigError("bad", hint="set MLOPS_X")
    assert "Next step: set MLOPS_X" in "".join(traceback.format_exception(error))


def test_the_tree_is_drawn_completely() -> None:
    drawn = errors.__doc__ or ""
    assert [kind.__name__ for kind in ALL if kind.__name__ not in drawn] == []


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("InvalidProjectNameError", ValueError),
        ("WorkspaceNotFoundError", LookupError),
        ("WorkspaceLockedError", TimeoutError),
        ("IntegrationNotInstalledError", ImportError),
        ("IntegrationUnavailableError", ConnectionError),
    ],
)
def test_errors_can_be_caught_as_the_builtin_they_are(name: str, builtin: type[Exception]) -> None:
    with pytest.raises(builtin, match="m"):
        raise getattr(errors, name)("m")
