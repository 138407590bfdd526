"""The limits of requests, and the forms of Text Embeddings Inference (TEI), Cohere and Jina.

The body of a rerank request tells whose it is: ``texts`` is TEI's, ``documents`` with a model whose
name begins with "jina" Jina's, other ``documents`` Cohere's. Scores are the logistic function of
the scorer's, as theirs are, or with ``raw_scores`` the scorer's own. Each says whether it is exact.

Not covered: counts of tokens, ``max_tokens_per_doc`` and its like (a scorer cuts texts itself),
``rank_fields``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Annotated, Any, Literal, TypeAlias, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, create_model, model_validator

Many = Field(min_length=1, max_length=2_000)
Text = Annotated[str, StringConstraints(max_length=100_000)]
Query = Annotated[str, StringConstraints(max_length=10_000, pattern=r"\S")]
Number = Annotated[int, Field(ge=1, le=1_000)]
Calls = Annotated[int, Field(ge=0, le=10_000, description="Scorer calls at most.")]
Deadline = Annotated[int, Field(ge=0, le=600_000, description="Then answer what is known.")]
Texts = Annotated[list[Text], Many]
Ids = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=1_000)]], Many]
Value: TypeAlias = str | int | float | bool
Where = Annotated[str, Field(max_length=1_000)] | dict[str, Value | list[Value]] | None
OnDuplicate = Literal["error", "replace", "skip"]


class Record(BaseModel):
    model_config = ConfigDict(extra="allow")
    text: Annotated[Text, StringConstraints(pattern=r"\S")]
    id: Annotated[str, StringConstraints(min_length=1, max_length=1_000)] | None = None


class Document(BaseModel):
    text: Text


Records = Annotated[list[Record], Many]


class Rerank(BaseModel):
    query: Query
    texts: Annotated[list[Text], Field(max_length=2_000)] | None = None
    documents: Annotated[list[Text | Document], Field(max_length=2_000)] | None = None
    calls: Calls = 60
    deadline_ms: Deadline = 60_000
    model: str | None = None
    top_n: int | None = Field(None, ge=1)
    return_documents: bool | None = None
    return_text: bool = False
    raw_scores: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> Rerank:
        if (self.texts is None) == (self.documents is None):
            raise ValueError("pass texts (TEI) or documents (Cohere, Jina), and one of them only")
        return self

    def all_texts(self) -> list[str]:
        given = self.texts if self.documents is None else self.documents
        return [one if isinstance(one, str) else one.text for one in given or ()]


def body_of(call: Callable[..., Any]) -> type[BaseModel]:
    """A body with the parameters of a method; with a deadline where it makes calls."""
    hints, given = get_type_hints(call, include_extras=True), signature(call).parameters
    fields: Any = {
        name: (hints[name], ... if it.default is it.empty else it.default)
        for name, it in given.items()
    }
    if "calls" in given:
        fields["deadline_ms"] = (Deadline, 60_000)
    return create_model(call.__name__.title(), __doc__=call.__doc__, **fields)


def shape_of(path: str, body: object) -> str:
    """Whose form a request has; of a body that says nothing the path decides."""
    body = body if isinstance(body, Mapping) else {}
    if "texts" in body or ("documents" not in body and path == "/rerank"):
        return "tei"
    return "jina" if str(body.get("model") or "").lower().startswith("jina") else "cohere"


def answered(asked: Rerank, path: str, found: Mapping[str, Any]) -> Any:
    """An answer of :meth:`Service.rerank` in the form of the request."""
    shape, texts = shape_of(path, asked.model_dump(exclude_none=True)), asked.all_texts()
    is_shown = asked.return_text if shape == "tei" else asked.return_documents
    is_shown = shape == "jina" if is_shown is None else is_shown
    results = []
    for hit in found["results"]:
        score, text = hit["score"], texts[hit["corpus_id"]]
        if not asked.raw_scores:
            score = float(1 / (1 + np.exp(-np.clip(score, -700, 700))))
        shown = {"text": text} if shape == "tei" else {"document": {"text": text}}
        name = "score" if shape == "tei" else "relevance_score"
        result = {"index": hit["corpus_id"], name: score, "exact": hit["exact"]}
        results.append(result | (shown if is_shown else {}))
    if shape == "tei":
        return results
    told: dict[str, Any] = {"model": asked.model, "object": "list", "usage": {"total_tokens": 0}}
    if shape == "cohere":
        version, units = {"version": path[2:3]}, {"search_units": 1}
        meta = {"api_version": version, "billed_units": units, "warnings": found["notes"]}
        told = {"id": "", "meta": meta}
    return {"results": results, "calls": found["calls"], "complete": found["complete"], **told}


def problem(path: str, body: object, status: int, message: str) -> dict[str, Any]:
    """An error in the form of the request; in ours where it is not a rerank."""
    shape = shape_of(path, body) if path.endswith("/rerank") else "jina"
    if shape == "tei":
        kinds = {401: "Unauthorized", 429: "Overloaded", 502: "Backend", 503: "Unhealthy"}
        return {"error": message, "error_type": kinds.get(status, "Validation")}
    return {"message": message} if shape == "cohere" else {"detail": message}
