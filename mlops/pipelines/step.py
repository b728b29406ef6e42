"""A step: a function with what the pipeline needs to know to wire, repeat, stop, skip or reuse it."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, Final

from mlops.errors import PipelineError
from mlops.pipelines.naming import check_value_name

DEFAULT_BACKOFF_SECONDS: Final = 1.0
MAX_BACKOFF_SECONDS: Final = 60.0
_CALLED_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a step's function.

    Args:
        name: Its name.
        required: Whether it has no default.
        positional: Whether it can only be given by position.
        default: Its default, if it has one.
    """

    name: str
    required: bool
    positional: bool = False
    default: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step of a pipeline; calling it calls the function. Made by ``step``.

    Args:
        fn: The function.
        name: Its name in the pipeline.
        inputs: Parameter to the name of the value it takes; None to find that out from the names.
        outputs: Names of the values it returns; None for one value named after the step.
        retry: How many more times it is tried after an exception.
        backoff: Seconds before the second try; they double with every further one, up to a minute.
        timeout: Seconds after which it is stopped, per try; such a step runs in a process of its own.
        isolate: Run it in a process of its own.
        cache: Take the outputs of an earlier run with the same code, parameters, inputs and data.
        when: Called with values by its parameters' names; the step is skipped where it returns false.
        map: The parameter that gets the items of a list one by one; every output is then a list.
    """

    fn: Callable[..., Any]
    name: str
    _: KW_ONLY
    inputs: Mapping[str, str] | None = None
    outputs: tuple[str, ...] | None = None
    retry: int = 0
    backoff: float = DEFAULT_BACKOFF_SECONDS
    timeout: float | None = None
    isolate: bool = False
    cache: bool = False
    when: Callable[..., Any] | None = None
    map: str | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, as if it were no step."""
        return self.fn(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        # As a reference where the name leads here, so that the module's own step is found elsewhere too.
        module, name = getattr(self.fn, "__module__", None), getattr(self.fn, "__qualname__", "")
        if module != "__main__" and getattr(sys.modules.get(module or ""), name, None) is self:
            return _find_step, (module, name)
        return remade(self)

    @property
    def output_names(self) -> tuple[str, ...]:
        """The values it returns; a step without declared outputs returns one, named after it."""
        return (self.name,) if self.outputs is None else self.outputs

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What its function takes by name, or by position only; not ``*args`` and ``**kwargs``."""
        return parameters_of(self.fn)

    @property
    def isolated(self) -> bool:
        """Whether it runs in a process of its own: only a process can be stopped."""
        return self.isolate or self.timeout is not None


def step(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    inputs: Iterable[str] | Mapping[str, str] | None = None,
    outputs: str | Iterable[str] | None = None,
    retry: int = 0,
    backoff: float = DEFAULT_BACKOFF_SECONDS,
    timeout: float | None = None,
    isolate: bool = False,
    cache: bool = False,
    when: Callable[..., Any] | None = None,
    map: str | None = None,
) -> Any:
    """Make a function a step; with or without parentheses, as a decorator or a call.

    Args:
        fn: The function. It must not change its inputs, which other steps may share.
        name: Its name in the pipeline; the function's by default.
        inputs: The values it takes: names for the parameters of the same name or else in order, or a mapping
            of parameters to names. Empty for a step that depends on nothing, so that it need not wait for the
            step before it.
        outputs: A name for what it returns, or several for a tuple, list or mapping of so many values.
        retry: How many more times it is tried after an exception.
        backoff: Seconds before the second try; they double with every further one, up to a minute.
        timeout: Seconds after which it is stopped, per try. The step then runs in a process of its own, where
            starting Python and MLflow takes seconds that do not count.
        isolate: Run it in a process of its own without a limit of time.
        cache: Take the outputs of an earlier run of this project that had the same code, parameters, inputs
            and data versions. Files a parameter names as ``Path`` count by their content.
        when: A function of values by name; the step, and what needs it, is skipped where it returns false.
        map: A parameter that takes the items of a list one by one, several at a time; every output is then
            the list of the results in the same order.

    Returns:
        The ``Step``; without ``fn``, what makes a function one.

    Raises:
        PipelineError: A name or number is wrong.
    """
    if fn is None:
        return functools.partial(
            step,
            name=name,
            inputs=inputs,
            outputs=outputs,
            retry=retry,
            backoff=backoff,
            timeout=timeout,
            isolate=isolate,
            cache=cache,
            when=when,
            map=map,
        )
    if not callable(fn):
        raise PipelineError(
            f"A step must be a function, not {type(fn).__name__}",
            operation="step",
            hint="pass the function itself, without calling it: add_step(train), not add_step(train())",
        )
    if inspect.iscoroutinefunction(fn):
        raise PipelineError(
            f"A step must be a plain function, and {_name_of(fn)!r} is a coroutine function",
            operation="step",
            hint="call it with asyncio.run inside a plain function",
        )
    fn = fn.fn if isinstance(fn, Step) else fn
    own = check_value_name(name or _name_of(fn), what="A step", operation="step")
    names = [parameter.name for parameter in parameters_of(fn)]
    made = Step(
        fn,
        own,
        inputs=None if inputs is None else _inputs(inputs, names, own),
        outputs=None if outputs is None else _outputs(outputs, own),
        retry=retry,
        backoff=backoff,
        timeout=timeout,
        isolate=isolate,
        cache=cache,
        when=when,
        map=map,
    )
    _check(made, names)
    return made


def as_step(function: Callable[..., Any]) -> Step:
    """Return a step, made of a plain function if it is none yet."""
    made: Step = function if isinstance(function, Step) else step(function)
    return made


def parameters_of(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return what a function takes.

    Raises:
        PipelineError: That cannot be found out, as for some functions written in C.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise PipelineError(
            f"The parameters of {function!r} cannot be read: {error}",
            operation="step",
            hint="wrap it in a function of your own: def load(path): return module.function(path)",
        ) from error
    return tuple(
        Parameter(
            p.name,
            p.default is p.empty,
            p.kind is p.POSITIONAL_ONLY,
            None if p.default is p.empty else p.default,
        )
        for p in signature.parameters.values()
        if p.kind in (*_CALLED_BY_NAME, p.POSITIONAL_ONLY)
    )


def _name_of(fn: Callable[..., Any]) -> str:
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__name__", type(fn).__name__))


def _inputs(given: Iterable[str] | Mapping[str, str], names: list[str], own: str) -> dict[str, str]:
    if isinstance(given, Mapping):
        wired = dict(given)
    else:
        listed = [given] if isinstance(given, str) else list(given)
        free = [name for name in names if name not in listed]
        if len([name for name in listed if name not in names]) > len(free):
            raise _wrong(
                own, f"declares the inputs {', '.join(listed)} and takes {', '.join(names) or 'none'}"
            )
        left = iter(free)
        wired = {name if name in names else next(left): name for name in listed}
    for parameter, value in wired.items():
        if parameter not in names:
            raise _wrong(own, f"declares an input for {parameter!r}, which is no parameter of its function")
        check_value_name(value, what=f"An input of the step {own!r}", operation="step")
    return wired


def _outputs(given: str | Iterable[str], own: str) -> tuple[str, ...]:
    listed = (given,) if isinstance(given, str) else tuple(given)
    for value in listed:
        check_value_name(value, what=f"An output of the step {own!r}", operation="step")
    if len(set(listed)) != len(listed):
        raise _wrong(own, f"declares an output twice: {', '.join(listed)}")
    return listed


def _check(made: Step, names: list[str]) -> None:
    if not isinstance(made.retry, int) or isinstance(made.retry, bool) or made.retry < 0:
        raise _wrong(made.name, f"has retry={made.retry!r}, which is not a whole number of further tries")
    if made.backoff < 0:
        raise _wrong(made.name, f"has backoff={made.backoff!r}, which is less than no time")
    if made.timeout is not None and not made.timeout > 0:
        raise _wrong(made.name, f"has timeout={made.timeout!r}, which is no time at all")
    if made.map is not None and made.map not in names:
        raise _wrong(made.name, f"maps over {made.map!r}, which is no parameter of its function")
    if made.when is not None and not callable(made.when):
        raise _wrong(made.name, "has a condition that is no function")


def _wrong(name: str, problem: str) -> PipelineError:
    return PipelineError(f"The step {name!r} {problem}", operation="step", hint="correct step(...)")


def _find_step(module: str, name: str) -> Step:
    found: Step = getattr(importlib.import_module(module), name)
    return found


def remade(step: Step) -> tuple[Any, ...]:
    """Return how pickle makes a step of its function and options anew, wherever its name leads."""
    return _make_step, (step.fn, {f.name: getattr(step, f.name) for f in fields(step) if f.name != "fn"})


def _make_step(fn: Callable[..., Any], options: dict[str, Any]) -> Step:
    return Step(fn, **options)
