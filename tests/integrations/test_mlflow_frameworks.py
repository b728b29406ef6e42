"""Deep learning and exchange formats, with small models made here: stored, found, loaded, predicting.

Each framework is tried where it is installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlops.errors import IntegrationError
from mlops.integrations.mlflow_tracking import MLflowTracking
from mlops.integrations.mlflow_tracking.versions import ModelVersion
from mlops.workspace.tools import ToolContext

# These set variables of their own, when they are imported or used first.
if importlib.util.find_spec("torch") is not None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.mkdtemp())
    if importlib.util.find_spec("keras") is not None:
        os.environ.setdefault("KERAS_BACKEND", "torch")
        import keras  # noqa: F401

ROWS = np.linspace(-1.0, 1.0, 12, dtype="float32").reshape(4, 3)
PREDICT = """
import json, sys
import mlflow.pyfunc, numpy as np
rows = np.linspace(-1.0, 1.0, 12, dtype="float32").reshape(4, 3)
found = mlflow.pyfunc.load_model(sys.argv[1], suppress_warnings=True).predict(rows)
found = next(iter(found.values())) if isinstance(found, dict) else found
print(json.dumps(np.asarray(found, dtype=float).ravel().tolist()))
"""

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def tracking(context: ToolContext) -> MLflowTracking:
    return MLflowTracking(context)


def log(tracking: MLflowTracking, model: Any, **options: Any) -> ModelVersion:
    with tracking.start_run():
        return tracking.models.log(model, "net", **options)


def in_new_process(path: Path) -> np.ndarray[Any, Any]:
    """Predict where neither this package nor the code that made the model is."""
    code = 'import sys; sys.modules["mlops"] = None\n' + PREDICT
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "torch"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return np.asarray(json.loads(done.stdout.splitlines()[-1]))


def pinned(tracking: MLflowTracking, version: ModelVersion) -> set[str]:
    lines = (tracking.models.download(version) / "requirements.txt").read_text().split()
    return {line.partition("==")[0] for line in lines}


def test_a_torch_module(tracking: MLflowTracking) -> None:
    torch = pytest.importorskip("torch")

    class Scaled(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))

        def forward(self, x: Any) -> Any:
            return self.inner(x) * 2

    model = Scaled().eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(ROWS)).numpy()
    version = log(tracking, model, input_example=ROWS)

    assert (version.flavor, version.framework) == (
        "pytorch",
        f"torch=={torch.__version__.partition('+')[0]}",
    )
    signature = version.signature or {}
    assert signature["inputs"][0]["tensor-spec"] == {"dtype": "float32", "shape": [-1, 3]}
    assert signature["outputs"][0]["tensor-spec"] == {"dtype": "float32", "shape": [-1, 2]}
    assert "torch" in pinned(tracking, version)
    native = tracking.models.load("net")
    assert isinstance(native, torch.nn.Module)
    with torch.no_grad():
        np.testing.assert_allclose(native(torch.from_numpy(ROWS)).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(
        in_new_process(tracking.models.download(version)), expected.ravel(), rtol=1e-5, atol=1e-6
    )


def test_a_torch_module_of_ones_own_loads_where_its_code_is_not(
    tracking: MLflowTracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "own_net.py").write_text(
        "import torch\n\nFACTOR = 3.0\n\nclass Net(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.inner = torch.nn.Linear(3, 1)\n\n"
        "    def forward(self, x):\n        return self.inner(x) * FACTOR\n"
    )
    with monkeypatch.context() as here:
        here.syspath_prepend(str(tmp_path / "scripts"))
        model = importlib.import_module("own_net").Net().eval()
        with torch.no_grad():
            expected = model(torch.from_numpy(ROWS)).numpy()
        version = log(tracking, model)
    sys.modules.pop("own_net")
    np.testing.assert_allclose(
        in_new_process(tracking.models.download(version)), expected.ravel(), rtol=1e-5, atol=1e-6
    )


def test_a_scripted_torch_module(tracking: MLflowTracking) -> None:
    torch = pytest.importorskip("torch")
    model = torch.jit.script(torch.nn.Linear(3, 2))
    version = log(tracking, model)

    assert version.flavor == "pytorch"
    with torch.no_grad():
        np.testing.assert_allclose(
            tracking.models.load("net")(torch.from_numpy(ROWS)).numpy(),
            model(torch.from_numpy(ROWS)).numpy(),
            rtol=1e-6,
        )


def test_logging_a_torch_module_does_not_change_it(tracking: MLflowTracking) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.5))
    assert model.training
    version = log(tracking, model)

    assert model.training, "logging a model must not change it"
    assert version.signature is None
    assert isinstance(tracking.models.load("net"), torch.nn.Sequential)


def test_a_torch_module_that_cannot_be_saved_is_refused(tracking: MLflowTracking) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(3, 2)
    model.guard = threading.Lock()
    with tracking.start_run(), pytest.raises(IntegrationError, match=r"'net'.*flavour 'pytorch'"):
        tracking.models.log(model, "net")
    assert tracking.models.list() == []


def test_a_keras_model(tracking: MLflowTracking) -> None:
    pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("keras was imported with another back end")
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    expected = np.asarray(model.predict(ROWS, verbose=0))
    version = log(tracking, model, input_example=ROWS)

    assert (version.flavor, version.framework) == ("keras", f"keras=={keras.__version__}")
    assert {"keras", "torch"} <= pinned(tracking, version)
    native = tracking.models.load("net")
    np.testing.assert_allclose(np.asarray(native.predict(ROWS, verbose=0)), expected, rtol=1e-5)
    np.testing.assert_allclose(
        in_new_process(tracking.models.download(version)), expected.ravel(), rtol=1e-5, atol=1e-6
    )


def test_an_onnx_model(tracking: MLflowTracking) -> None:
    onnx = pytest.importorskip("onnx")
    convert = pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit(ROWS, [1.0, 2.0, 3.0, 5.0])
    model = convert.to_onnx(fitted, ROWS)
    version = log(tracking, model, input_example=ROWS)

    assert (version.flavor, version.framework) == ("onnx", f"onnx=={onnx.__version__}")
    assert {"onnx", "onnxruntime"} <= pinned(tracking, version)
    assert tracking.models.load("net").graph.name == model.graph.name
    np.testing.assert_allclose(
        in_new_process(tracking.models.download(version)), fitted.predict(ROWS), rtol=1e-4, atol=1e-5
    )


def tiny_bert(tmp_path: Path) -> tuple[Any, Any]:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"))
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    return transformers.BertForSequenceClassification(config).eval(), tokenizer


def test_a_transformers_pipeline(tracking: MLflowTracking, tmp_path: Path) -> None:
    model, tokenizer = tiny_bert(tmp_path)
    import transformers

    pipeline = transformers.pipeline("text-classification", model=model, tokenizer=tokenizer)
    expected = pipeline(["good film", "bad"])
    version = log(tracking, pipeline, input_example=["good film", "bad"])

    assert version.flavor == "transformers"
    assert version.framework == f"transformers=={transformers.__version__}"
    assert {"transformers", "torch"} <= pinned(tracking, version)
    assert version.signature is not None
    again = tracking.models.load("net")(["good film", "bad"])
    assert [row["label"] for row in again] == [row["label"] for row in expected]
    np.testing.assert_allclose([row["score"] for row in again], [row["score"] for row in expected], rtol=1e-5)
    frame = tracking.models.load("net", as_pyfunc=True).predict(["good film", "bad"])
    assert [str(label) for label in pd.DataFrame(frame)["label"]] == [row["label"] for row in expected]


def test_a_bare_transformer_is_stored_as_what_from_pretrained_reads(
    tracking: MLflowTracking, tmp_path: Path
) -> None:
    model, tokenizer = tiny_bert(tmp_path)
    import transformers

    log(tracking, model)
    directory = tracking.models.load("net")
    again = transformers.BertForSequenceClassification.from_pretrained(directory).eval()
    inputs = tokenizer("good film", return_tensors="pt")
    np.testing.assert_allclose(
        again(**inputs).logits.detach().numpy(), model(**inputs).logits.detach().numpy(), rtol=1e-5
    )


def test_an_adapter_checkpoint(tracking: MLflowTracking, tmp_path: Path) -> None:
    model, _ = tiny_bert(tmp_path)
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["query"]))
    adapted.save_pretrained(tmp_path / "adapter")
    version = log(tracking, tmp_path / "adapter")

    assert (version.flavor, version.framework.partition("==")[0]) == ("directory", "peft")
    files = {path.name for path in tracking.models.load("net").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files
    assert peft.LoraConfig.from_pretrained(tracking.models.load("net")).r == 2


def test_weights_as_mlx_writes_them(tracking: MLflowTracking, tmp_path: Path) -> None:
    """What a LoRA training with MLX leaves: the adapter's weights and its settings, no framework needed."""
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "adapter_config.json").write_text('{"fine_tune_type": "lora", "num_layers": 4}')
    for name in ("adapters.safetensors", "0000100_adapters.safetensors"):
        (tmp_path / "adapters" / name).write_bytes(os.urandom(64))
    version = log(tracking, tmp_path / "adapters", metadata={"base_model": "small"}, tags={"kind": "lora"})

    assert version.flavor == "directory"
    assert version.tags["kind"] == "lora"
    loaded = tracking.models.load("net", version=1)
    for path in (tmp_path / "adapters").iterdir():
        assert (loaded / path.name).read_bytes() == path.read_bytes()
    assert "base_model: small" in (tracking.models.download(version) / "MLmodel").read_text()
