import math

import pytest

pytest.importorskip("torch")

import torch

from shoestring.tune.metrics import listwise, loss_of


def naive_listwise(scores, labels, groups):
    """Cross entropy of the labels' shares, group by group."""
    losses = []
    for group in sorted(set(groups)):
        rows = [i for i, g in enumerate(groups) if g == group]
        total = sum(labels[i] for i in rows)
        if not total:
            continue
        normaliser = sum(math.exp(scores[i]) for i in rows)
        losses.append(-sum(labels[i] / total * (scores[i] - math.log(normaliser)) for i in rows))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("seed", range(5))
def test_listwise_equals_a_loop_over_groups(seed):
    generator = torch.Generator().manual_seed(seed)
    n = 24
    scores = torch.randn(n, generator=generator) * 5
    labels = torch.randint(0, 3, (n,), generator=generator).float()
    groups = torch.randint(10, 17, (n,), generator=generator)  # neither from 0 nor in order
    want = naive_listwise(scores.tolist(), labels.tolist(), groups.tolist())
    assert listwise(scores, labels, groups).item() == pytest.approx(want, rel=1e-5)


def test_the_gradient_of_listwise_is_probability_less_share():
    scores = torch.tensor([1.0, 2.0, 0.5, -1.0, 3.0], requires_grad=True)
    labels = torch.tensor([1.0, 0.0, 1.0, 0.0, 2.0])
    listwise(scores, labels, torch.tensor([4, 4, 4, 9, 9])).backward()
    p = torch.cat([scores[:3].softmax(0), scores[3:].softmax(0)])
    shares = torch.tensor([0.5, 0.0, 0.5, 0.0, 1.0])
    assert torch.allclose(scores.grad, (p - shares) / 2, atol=1e-6)


def test_a_group_without_a_right_answer_counts_for_nothing():
    scores = torch.tensor([1.0, 2.0, 7.0, -7.0], requires_grad=True)
    labels, groups = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([0, 0, 1, 1])
    loss = listwise(scores, labels, groups)
    assert loss.item() == pytest.approx(listwise(scores[:2], labels[:2], groups[:2]).item())
    loss.backward()
    assert scores.grad[2:].tolist() == [0.0, 0.0]
    assert scores.grad[:2].abs().min() > 0.1


def test_no_right_answer_at_all_is_a_loss_of_zero_with_zero_gradients():
    scores = torch.tensor([1.0, -2.0], requires_grad=True)
    loss = listwise(scores, torch.zeros(2), torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad.tolist() == [0.0, 0.0]


def test_scores_of_a_thousand_do_not_overflow():
    scores = torch.tensor([1000.0, 998.0, -1000.0])
    loss = listwise(scores, torch.tensor([0.0, 1.0, 0.0]), torch.zeros(3, dtype=torch.long))
    assert loss.item() == pytest.approx(2 + math.log(1 + math.exp(-2)), rel=1e-5)


def test_scores_with_groups_are_learned_listwise_and_without_as_yes_or_no():
    scores, labels = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([1, 0, 1])
    groups = torch.tensor([0, 0, 1])
    want = naive_listwise(scores.tolist(), labels.tolist(), groups.tolist())
    assert loss_of("score", scores, labels, groups).item() == pytest.approx(want, rel=1e-5)
    binary = [
        -math.log(p if y else 1 - p)
        for y, p in zip(labels.tolist(), (1 / (1 + (-scores).exp())).tolist(), strict=True)
    ]
    assert loss_of("score", scores, labels).item() == pytest.approx(sum(binary) / 3, rel=1e-5)


def test_numbers_are_learned_by_their_squares():
    loss = loss_of("regress", torch.tensor([1.0, 3.0]), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((1 + 4) / 2)


def test_classes_are_learned_by_their_logarithms():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]])
    want = -(logits.softmax(1)[0, 0].log() + logits.softmax(1)[1, 1].log()) / 2
    assert loss_of("classify", logits, torch.tensor([0, 1])).item() == pytest.approx(want.item())
