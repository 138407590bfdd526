"""scikit-learn's contract for parameters, without importing scikit-learn.

``sklearn.base`` takes two seconds to import, longer than most commands here; ``clone``, pipelines
and grid searches need no more than these methods (scikit-learn 1.4 to 1.9).
"""

from __future__ import annotations

import inspect
from typing import Any, Self

from shoestring.errors import ParameterError


class TextTransformer:
    """Parameters are the arguments of ``__init__``, kept under their names, unchanged.

    A subclass has ``fit(texts)`` and ``transform(texts)``.
    """

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name."""
        names = inspect.signature(type(self)).parameters
        for name, value in params.items():
            if name not in names:
                owner = f"{type(self).__name__}.set_params"
                raise ParameterError.of("params", owner, f"named {', '.join(names)}", name)
            setattr(self, name, value)
        return self

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

    def __repr__(self) -> str:
        usual = {name: p.default for name, p in inspect.signature(type(self)).parameters.items()}
        shown = (f"{n}={value!r}" for n, value in self.get_params().items() if value != usual[n])
        return f"{type(self).__name__}({', '.join(shown)})"
