"""A reranker inside LangChain, LlamaIndex and Haystack, with the real packages (extra adapters)."""

import pytest

from shoestring import score_with
from shoestring.errors import MissingExtraError
from shoestring.search import Reranker
from shoestring.search.adapters import (
    haystack_ranker,
    langchain_compressor,
    llama_index_postprocessor,
)

TEXTS = ["a blue hat", "red socks", "red shoes", "红鞋"]


@pytest.fixture
def reranker():
    def shared(query, text):
        return len(set(query) & set(text))

    return Reranker(score_with(shared, name="shared letters", single=True))


@pytest.mark.filterwarnings("ignore")  # theirs
def test_langchain_gets_a_compressor(reranker):
    documents = pytest.importorskip("langchain_core.documents")
    given = [documents.Document(page_content=text, metadata={"n": 1}) for text in TEXTS]
    found = langchain_compressor(reranker, top_k=2).compress_documents(given, "red shoes")
    assert [d.page_content for d in found] == ["red shoes", "red socks"]
    assert [d.metadata for d in found] == [
        {"n": 1, "relevance_score": 7.0},
        {"n": 1, "relevance_score": 6.0},
    ]
    assert "relevance_score" not in given[2].metadata


@pytest.mark.filterwarnings("ignore")
def test_llama_index_gets_a_postprocessor(reranker):
    schema = pytest.importorskip("llama_index.core.schema")
    nodes = [
        schema.NodeWithScore(node=schema.TextNode(text=text, embedding=[1.0, i]), score=-i)
        for i, text in enumerate(TEXTS)
    ]
    found = llama_index_postprocessor(reranker, top_k=1).postprocess_nodes(
        nodes, query_str="红色的鞋"
    )
    assert [(one.node.text, one.score) for one in found] == [("红鞋", 2.0)]


@pytest.mark.filterwarnings("ignore")
def test_haystack_gets_a_ranker(reranker):
    haystack = pytest.importorskip("haystack")
    pipeline = haystack.Pipeline()
    pipeline.add_component("ranker", haystack_ranker(reranker, top_k=1))
    given = [haystack.Document(content=text, score=0.5, meta={"n": 1}) for text in TEXTS]
    (found,) = pipeline.run({"ranker": {"query": "red shoes", "documents": given}})["ranker"][
        "documents"
    ]
    assert (found.content, found.score, found.meta) == ("red shoes", 7.0, {"n": 1})


@pytest.mark.parametrize(
    ("make", "package"),
    [
        (langchain_compressor, "langchain_core"),
        (llama_index_postprocessor, "llama_index"),
        (haystack_ranker, "haystack"),
    ],
)
def test_a_missing_framework_is_named(make, package, reranker, monkeypatch):
    for name in (package, f"{package}.documents", f"{package}.core.postprocessor.types"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingExtraError, match=r"shoestring\[adapters\]"):
        make(reranker)
