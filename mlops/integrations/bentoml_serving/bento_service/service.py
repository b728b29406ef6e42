"""The service of every Bento: one packaged MLflow model behind a typed HTTP interface."""

from __future__ import annotations

import io
import time
from typing import Annotated, Any

import bentoml
import pydantic
import pydantic_core
from bentoml.exceptions import InvalidArgument
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .answers import as_list, plain
from .asking import direct
from .description import describe
from .prediction_log import PredictionLog
from .rows import RowReader

# Raised by a model that was given data it cannot use; MLflow's own server answers these with 400 as well.
_DATA_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)

_BODY_BYTES = "mlops.body_bytes"


class Arguments(pydantic.BaseModel):
    """What one Bento serves.

    Args:
        model: Tag of the Bento model.
        version: Its version, repeated in every answer.
        inputs: The input columns or tensors of the model's signature, as MLflow writes them.
        from_type_hint: Whether the model takes a list of values that its own type hint describes.
    """

    model: str
    version: str
    inputs: list[dict[str, Any]] | None = None
    from_type_hint: bool = False


arguments = bentoml.use_arguments(Arguments)
reader = RowReader(arguments.inputs, from_type_hint=arguments.from_type_hint)
Row: Any = reader.row_type


class PredictRequest(bentoml.IODescriptor):  # type: ignore[misc]
    """Rows to predict for."""

    model_config = pydantic.ConfigDict(extra="forbid")

    rows: Annotated[list[Row], pydantic.Field(min_length=1)]
    params: dict[str, Any] | None = None

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> Any:
        """Read a request's body as JSON, whatever it calls itself."""
        body = await _body(request)
        exact = reader.read_exactly(body)
        if exact is None:
            return cls.model_validate_json(body or b"{}")
        return cls.model_construct(rows=exact["rows"], params=exact.get("params"))


class InvocationsRequest(bentoml.IODescriptor):  # type: ignore[misc]
    """MLflow's scoring protocol: exactly one of the forms of data; a body of text/csv is dataframe_csv."""

    model_config = pydantic.ConfigDict(extra="forbid")

    dataframe_split: dict[str, Any] | None = None
    dataframe_records: list[dict[str, Any]] | None = None
    instances: list[Any] | None = None
    inputs: Any = None
    dataframe_csv: str | None = None
    params: dict[str, Any] | None = None

    @classmethod
    async def from_http_request(cls, request: Request, serde: Any) -> Any:
        """Read a request's body as CSV if it says so, else as JSON."""
        body = await _body(request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "text/csv":
            return cls.model_validate_json(body or b"{}")
        try:
            return cls(dataframe_csv=body.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InvalidArgument(f"the CSV is not UTF-8: {error}") from error


class PredictResponse(pydantic.BaseModel):
    """One prediction per row, and the model they came from."""

    predictions: list[Any]
    model: str
    version: str


class InvocationsResponse(pydantic.BaseModel):
    """Predictions in MLflow's form."""

    predictions: Any


class ModelDescription(pydantic.BaseModel):
    """The model that is being served."""

    name: str
    version: str
    tag: str
    run_id: str | None
    created_at: str
    labels: dict[str, str]
    metadata: dict[str, Any]
    signature: dict[str, Any] | None
    mlflow_version: str | None


async def _body(request: Request) -> bytes:
    body = await request.body()
    # For the log: a client need not say how much it sends.
    request.scope[_BODY_BYTES] = len(body)
    return body


_description: dict[str, Any] = {}


async def _get_model(_: Request) -> Response:
    return _as_json(_description)


@bentoml.asgi_app(Starlette(routes=[Route("/model", _get_model, methods=["GET"])]), path="/")
@bentoml.service(name="pyfunc", logging={"access": {"enabled": False}})
class PyfuncService:
    """One MLflow model."""

    # A class attribute, so that BentoML packages the model with the Bento.
    bento_model = bentoml.models.BentoModel(arguments.model)

    def __init__(self) -> None:
        import mlflow.pyfunc

        stored = self.bento_model
        self.model = mlflow.pyfunc.load_model(stored.path_of("mlflow_model"))
        _description.update(describe(stored, self.model.metadata))
        self.log = PredictionLog.from_environment({"model": arguments.model, "version": arguments.version})
        self.direct = direct(self.model, reader)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close(self) -> None:
        """Write what the prediction log still holds."""
        if self.log:
            self.log.close()

    @bentoml.api(input_spec=PredictRequest, output_spec=PredictResponse)  # type: ignore[untyped-decorator]
    def predict(self, ctx: bentoml.Context, **request: Any) -> Response:
        """Predict for rows given as records by column name, or as lists."""
        rows, params = request["rows"], request.get("params")
        started = time.perf_counter()
        if (ask := self.direct) is not None and not params:
            answer = as_list(self._run(lambda: ask(rows)))
        else:
            answer = as_list(self._run(lambda: self.model.predict(reader.model_input(rows), params=params)))
        if self.log and self.log.wanted():
            self._record(ctx, reader.records(rows), answer, started)
        return _as_json({"predictions": answer, "model": arguments.model, "version": arguments.version})

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/invocations", input_spec=InvocationsRequest, output_spec=InvocationsResponse
    )
    def invocations(self, ctx: bentoml.Context, **request: Any) -> Response:
        """Predict for data in the form of MLflow's own scoring server."""
        params = request.pop("params", None)
        given = {key: value for key, value in request.items() if value is not None}
        if len(given) != 1:
            raise InvalidArgument(
                "give exactly one of dataframe_split, dataframe_records, instances, inputs and "
                f"dataframe_csv, not {sorted(given) or 'none'}"
            )
        started = time.perf_counter()
        data = self._run(lambda: self._parse(given))
        # Before the model sees them: it may change them.
        rows = _rows(data) if self.log and self.log.wanted() else None
        answer = plain(self._run(lambda: self.model.predict(data, params=params)))
        if rows is not None:
            self._record(ctx, rows, answer, started)
        return _as_json({"predictions": answer})

    @bentoml.api(route="/model", output_spec=ModelDescription)  # type: ignore[untyped-decorator]
    def describe(self) -> Response:
        """Describe the model: where it came from and what it takes. GET answers the same."""
        return _as_json(_description)

    def _parse(self, given: dict[str, Any]) -> Any:
        from mlflow.pyfunc.scoring_server import parse_csv_input
        from mlflow.utils.proto_json_utils import dataframe_from_parsed_json, parse_tf_serving_input

        schema = self.model.metadata.get_input_schema()
        form, value = next(iter(given.items()))
        if form == "dataframe_csv":
            return parse_csv_input(io.StringIO(value), schema)
        if form in ("instances", "inputs"):
            return parse_tf_serving_input(given, schema=schema)
        return dataframe_from_parsed_json(value, form.removeprefix("dataframe_"), schema=schema)

    def _run(self, predict: Any) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return predict()
        except MlflowException as error:
            raise InvalidArgument(error.message) from error
        except _DATA_ERRORS as error:
            raise InvalidArgument(f"the model refused the data: {type(error).__name__}: {error}") from error

    def _record(self, ctx: bentoml.Context, rows: list[Any], answer: Any, started: float) -> None:
        if self.log:
            number = ctx.request.scope.get("request_id") or 0
            self.log.record(
                rows,
                answer,
                # As in the header X-BentoML-Request-ID of the answer.
                request_id=format(number, "016x"),
                latency_ms=(time.perf_counter() - started) * 1000,
                size=ctx.request.scope[_BODY_BYTES],
            )


def _rows(data: Any) -> list[Any]:
    if isinstance(data, dict):
        return [plain(data)]
    rows: list[Any] = plain(data)
    return rows


def _as_json(value: Any) -> Response:
    return Response(pydantic_core.to_json(value, inf_nan_mode="null"), media_type="application/json")
