"""scikit-learn's contract for parameters, without importing scikit-learn.

``sklearn.base`` takes a second or two to import, longer than most commands here; ``clone``,
pipelines and grid searches need no more than these methods (scikit-learn 1.6 to 1.9).
"""

from __future__ import annotations

import inspect
import sys
from functools import cache
from typing import Any, Self

from shoestring.errors import NotFittedError, ParameterError


class Estimator:
    """Parameters are the arguments of ``__init__``, kept under their names, unchanged."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; with ``deep`` those of an estimator among them too."""
        params = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        if deep:
            for name, value in list(params.items()):
                if isinstance(value, Estimator):
                    params |= {f"{name}__{n}": v for n, v in value.get_params().items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name, those of an estimator among them as ``name__parameter``."""
        names = list(inspect.signature(type(self)).parameters)
        for path, value in params.items():
            name, _, inner = path.partition("__")
            part = getattr(self, name) if inner and name in names else None
            if name not in names or (inner and not isinstance(part, Estimator)):
                owner = f"{type(self).__name__}.set_params"
                raise ParameterError.of("params", owner, f"named {', '.join(names)}", path)
            if isinstance(part, Estimator):
                part.set_params(**{inner: value})
            else:
                setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        usual = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        params = self.get_params(deep=False).items()
        shown = (f"{name}={value!r}" for name, value in params if repr(value) != repr(usual[name]))
        return f"{type(self).__name__}({', '.join(shown)})"


def unfitted(message: str) -> NotFittedError:
    """The error of use before fit; where scikit-learn is loaded it is of their class too."""
    return (_sklearn_error() if "sklearn" in sys.modules else NotFittedError)(message)


@cache
def _sklearn_error() -> type[NotFittedError]:
    from sklearn.exceptions import NotFittedError as TheirError

    return type("NotFittedError", (NotFittedError, TheirError), {})


class TextTransformer(Estimator):
    """A subclass has ``fit(texts)`` and ``transform(texts)``."""

    def fit_transform(self, texts: Any, y: object = None) -> Any:
        """Fit to texts, then transform them."""
        fitted: Any = self
        return fitted.fit(texts, y).transform(texts)

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        reads = InputTags(two_d_array=False, string=True)
        target = TargetTags(required=False)
        tags = {"transformer_tags": TransformerTags(), "input_tags": reads}
        return Tags(estimator_type=None, target_tags=target, **tags)


class Classifier(Estimator):
    """A subclass has ``fit``, ``predict`` and ``score``; ``reads_text`` where samples are texts."""

    reads_text = False

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        reads = InputTags(two_d_array=not self.reads_text, string=self.reads_text)
        target, own = TargetTags(required=True), ClassifierTags()
        return Tags("classifier", target, classifier_tags=own, input_tags=reads)
