"""A :class:`~shoestring.search.Reranker` where LangChain, LlamaIndex and Haystack expect theirs.

Each function imports its framework and makes an object of it. The retriever's scores, and vectors
of the candidates where the framework carries them, go into the first guess.

Not covered: pipelines that are saved by a framework (the scorer is an object of yours).
"""

from __future__ import annotations

from typing import Any

from shoestring.lazy import require
from shoestring.search.reranking import Reranker


def langchain_compressor(reranker: Reranker, top_k: int = 10, calls: int = 60) -> Any:
    """Make a document compressor, for a ``ContextualCompressionRetriever`` of LangChain.

    The score is in ``metadata["relevance_score"]``.
    """
    require("This adapter", "adapters", "langchain_core")
    from langchain_core.documents import BaseDocumentCompressor

    class ShoestringRerank(BaseDocumentCompressor):  # type: ignore[misc]
        def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> Any:
            hits = reranker.rank(query, [d.page_content for d in documents], calls, top_k)
            found = []
            for hit in hits:
                document = documents[hit["corpus_id"]]
                metadata = {**document.metadata, "relevance_score": hit["score"]}
                found.append(document.model_copy(update={"metadata": metadata}))
            return found

    return ShoestringRerank()


def llama_index_postprocessor(reranker: Reranker, top_k: int = 10, calls: int = 60) -> Any:
    """Make a node postprocessor of LlamaIndex, for a query engine's ``node_postprocessors``."""
    require("This adapter", "adapters", "llama_index")
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import NodeWithScore

    class ShoestringRerank(BaseNodePostprocessor):  # type: ignore[misc]
        def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
            texts = [node.get_content() for node in nodes]
            known = _known([n.score for n in nodes], [n.node.embedding for n in nodes])
            hits = reranker.rank(query_bundle.query_str, texts, calls, top_k, **known)
            return [NodeWithScore(node=nodes[h["corpus_id"]].node, score=h["score"]) for h in hits]

    return ShoestringRerank()


def haystack_ranker(reranker: Reranker, top_k: int = 10, calls: int = 60) -> Any:
    """Make a ranker component for a pipeline of Haystack."""
    require("This adapter", "adapters", "haystack")
    from haystack import Document, component

    @component
    class ShoestringRanker:
        @component.output_types(documents=list[Document])
        def run(self, query: str, documents: list[Document]) -> dict[str, Any]:
            texts = [document.content or "" for document in documents]
            known = _known([d.score for d in documents], [d.embedding for d in documents])
            hits = reranker.rank(query, texts, calls, top_k, **known)
            kept = [(documents[hit["corpus_id"]].to_dict(flatten=False), hit) for hit in hits]
            return {"documents": [Document.from_dict(d | {"score": h["score"]}) for d, h in kept]}

    return ShoestringRanker()


def _known(scores: list[Any], vectors: list[Any]) -> dict[str, Any]:
    """What all candidates have of scores and vectors."""
    given = {"first_scores": scores, "vectors": vectors}
    return {name: value for name, value in given.items() if all(v is not None for v in value)}
