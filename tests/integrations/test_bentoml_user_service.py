"""Services that users write: found, packaged with what they need, served and called."""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlops.errors import IntegrationError, ModelNotFoundError
from mlops.integrations.bentoml_serving import BentoServing, service_files
from mlops.workspace.links import PACKAGED_AS
from mlops.workspace.tools import ToolContext

SERVICE = """
from __future__ import annotations
import bentoml
from words import GREETING

@bentoml.service(name="hello", workers=1)
class Greeter:
    def __init__(self) -> None:
        import mlflow.pyfunc
        self.model = mlflow.pyfunc.load_model(bentoml.models.get("length").path_of("mlflow_model"))

    @bentoml.api
    def greet(self, name: str, times: int = 1) -> dict:
        return {"text": f"{GREETING} {name}" * times, "length": self.model.predict([name])[0]}

    @bentoml.api(route="/v2/shout")
    def shout(self, text: str) -> str:
        if not text:
            raise RuntimeError("nothing to shout")
        return text.upper()
"""
MODEL = """
import mlflow

class Length(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[str]) -> list[int]:
        return [len(text) for text in model_input]

mlflow.models.set_model(Length())
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A directory with a service, a package that it imports, and a file that it does not."""
    folder = tmp_path / "code"
    (folder / "words" / "__pycache__").mkdir(parents=True)
    (folder / "greeting.py").write_text(SERVICE)
    (folder / "words" / "__init__.py").write_text(
        "from pathlib import Path\nGREETING = (Path(__file__).parent / 'hello.txt').read_text()\n"
    )
    (folder / "words" / "hello.txt").write_text("hello")
    (folder / "words" / "__pycache__" / "old.pyc").write_text("")
    (folder / "unrelated.py").write_text("raise SystemError")
    return folder


def find(service: Any) -> service_files.ServiceFiles:
    return service_files.find(service, operation="deploy_service", workspace="churn")


def names(found: service_files.ServiceFiles) -> list[str]:
    return [path.as_posix() for path in found.paths]


def test_a_service_is_packaged_served_and_called(
    make_context: Callable[..., ToolContext], code: Path, tmp_path: Path
) -> None:
    serving = BentoServing(make_context())
    (tmp_path / "length.py").write_text(MODEL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(
            tmp_path / "length", python_model=str(tmp_path / "length.py"), pip_requirements=["text-tool==1.0"]
        )
    model = serving.deploy(tmp_path / "length", model="length", version="7", build_bento=False)
    path = code / "greeting.py"
    with pytest.raises(ModelNotFoundError, match="no deployed model 'missing'"):
        serving.deploy_service(path, name="greeter", version="1", models=["missing"])
    made = serving.deploy_service(path, name="greeter", version="1", models=[model], labels={"stage": "test"})
    assert (made.tag, made.model_tag, made.bento_tag) == ("churn.greeter:1", None, "churn.greeter:1")
    assert made.labels["stage"] == "test"
    # The same again gives what is there, something else under the same tag is refused.
    assert serving.deploy_service(path, name="greeter", version=1, models=["length:7"]) == made
    with pytest.raises(IntegrationError, match="is not this service as it is now"):
        serving.deploy_service(path, name="greeter", version="1")
    with pytest.raises(IntegrationError, match="is not this service as it is now"):
        serving.deploy_service(path, name="length", version="7", models=[model])

    with pytest.raises(IntegrationError, match=r"churn\.greeter:1 is a service of your own"):
        serving.deploy(tmp_path / "length", model="greeter", version="1")

    assert [each.tag for each in serving.deployments()] == ["churn.length:7", "churn.greeter:1"]
    assert serving.get("greeter", "1") == made
    requirements = (made.path / "env" / "python" / "requirements.txt").read_text()
    assert "text-tool==1.0" in requirements
    links = {(link.source, link.relation, link.target) for link in serving.links()}
    assert ("model:churn.length:7", PACKAGED_AS, "bento:churn.greeter:1") in links
    for file in made.path.rglob("*"):
        assert not file.is_file() or str(tmp_path).encode() not in file.read_bytes()

    # What was packaged is served, whatever happened to the source since.
    (code / "words" / "hello.txt").write_text("goodbye")
    with serving.serve("greeter") as server:
        assert server.call("greet", name="ann", times=2) == {"text": "hello annhello ann", "length": 3}
        assert server.call("/v2/shout", text="a1") == "A1"
        assert server.call("/v2/shout", text="5") == "5"
        for route, arguments, match in (
            ("greet", {"times": 1}, "refused the call of /greet: name: Field required"),
            ("nothing", {}, "refused the call of /nothing: Not Found"),
            ("v2/shout", {"text": ""}, "failed with status 500"),
            ("greet", {"name": object()}, "The arguments cannot be sent"),
        ):
            with pytest.raises(IntegrationError, match=match) as caught:
                server.call(route, **arguments)
            assert (caught.value.operation, caught.value.workspace) == ("call", "churn")
        assert "nothing to shout" in server.log.read_text()
    # It logs no predictions: it may have none.
    assert [*serving.predictions("greeter")] == []
    serving.delete("greeter", "1")
    assert [each.tag for each in serving.deployments()] == ["churn.length:7"]


def test_a_service_that_cannot_be_built_says_why_and_leaves_nothing(
    context: ToolContext, tmp_path: Path
) -> None:
    serving = BentoServing(context)
    path = tmp_path / "broken.py"
    path.write_text("import no_such_package_anywhere\n")
    with pytest.raises(IntegrationError, match=r"churn\.broken:1 could not be built.*") as caught:
        serving.deploy_service(path, name="broken", version="1")
    assert "no_such_package_anywhere" in caught.value.details["output"]
    assert serving.deployments() == []
    assert serving.bentos() == []
    assert [*(context.workspace.models_path / "staging").iterdir()] == []


def test_the_files_of_a_service(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ["greeting.py", "words/__init__.py", "words/hello.txt"]
    by_path = find(code / "greeting.py")
    assert (by_path.root, by_path.target, names(by_path)) == (code, "greeting", expected)
    assert find(f"{code}/greeting.py:Greeter").target == "greeting:Greeter"
    monkeypatch.syspath_prepend(str(code))
    assert (find("greeting:Greeter").target, names(find("greeting:Greeter"))) == (
        "greeting:Greeter",
        expected,
    )
    assert "greeting" not in sys.modules

    # In a package: all of that package, and what it imports from beside it.
    (code / "app" / "api").mkdir(parents=True)
    for part in ("app", "app/api"):
        (code / part / "__init__.py").write_text("")
    (code / "app" / "api" / "service.py").write_text("from . import other\nfrom app import labels\n")
    (code / "app" / "api" / "other.py").write_text("def f():\n    import unrelated as u\n")
    (code / "app" / "labels.json").write_text("{}")
    found = find(code / "app" / "api" / "service.py")
    assert (found.root, found.target) == (code, "app.api.service")
    assert names(found) == [
        "app/__init__.py",
        "app/api/__init__.py",
        "app/api/other.py",
        "app/api/service.py",
        "app/labels.json",
        "unrelated.py",
    ]
    assert find("app.api.service:S").paths == found.paths
    assert "app" not in sys.modules


def test_a_class_is_found_by_its_module_or_refused(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner:
        pass

    # What BentoML's decorator makes of a class.
    def decorated(module: str) -> Any:
        inner = type("Greeter", (), {"__module__": module})
        return types.SimpleNamespace(inner=inner, apis={})

    (code / "plain.py").write_text("")
    monkeypatch.syspath_prepend(str(code))
    module: Any = importlib.import_module("plain")
    try:
        module.served = decorated("plain")
        assert find(module.served).target == "plain:served"
        with pytest.raises(IntegrationError, match="is not a variable of its module plain"):
            find(decorated("plain"))
    finally:
        del sys.modules["plain"]
    with pytest.raises(
        IntegrationError, match="Greeter is defined in __main__, a notebook or the program"
    ) as e:
        find(decorated("__main__"))
    assert "put the class into a file of its own" in str(e.value.hint)
    with pytest.raises(IntegrationError, match="is not a BentoML service") as e:
        find(Inner)
    for missing in ("nowhere:Service", "nowhere.inside:Service", code / "nowhere.py", "sys:Service"):
        with pytest.raises(IntegrationError, match="There is no file of the service"):
            find(missing)
    (code / "wrong.py").write_text("def f(:\n")
    with pytest.raises(IntegrationError, match=r"wrong\.py cannot be packaged: invalid syntax"):
        find(code / "wrong.py")
