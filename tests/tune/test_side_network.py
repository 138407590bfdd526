import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

from shoestring.errors import ParameterError
from shoestring.models.frozen import layers_of
from shoestring.tune.config import LadderConfig
from shoestring.tune.ladder import Ladder
from shoestring.tune.side_network import DROPOUTS, few_heads, narrowed, side_network

WIDTH, HEADS, LAYERS, FEED_FORWARD = 32, 2, 3, 48
DECODERS = ("gpt2", "llama", "qwen2")


def test_the_layers_that_are_found_are_those_that_give_the_states(family, tiny_model):
    model, outs = tiny_model(family), []
    layers = layers_of(model)
    assert len(layers) == LAYERS
    for layer in layers:
        layer.register_forward_hook(
            lambda _, args, out: outs.append(out[0] if isinstance(out, tuple) else out)
        )
    ids = torch.tensor([[2, 7, 9, 3]])
    states = model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
    for k in range(LAYERS - 1):  # after the last one decoders have a norm
        assert torch.equal(states.hidden_states[k + 1], outs[k])


def test_a_model_with_a_head_has_the_layers_of_its_base(tiny_config):
    model = transformers.AutoModelForSequenceClassification.from_config(tiny_config("bert"))
    assert layers_of(model) is model.bert.encoder.layer


def test_the_side_network_is_of_the_same_class_and_a_quarter_as_wide(family, tiny_config):
    config = tiny_config(family)
    side = side_network(config, 4, (0, 1, 2))
    assert type(side) is type(transformers.AutoModel.from_config(config))
    assert side.config.hidden_size == WIDTH // 4
    assert side.config.num_attention_heads == few_heads(config, 4) == 1  # 8 wide
    states = side(
        inputs_embeds=torch.randn(2, 5, WIDTH // 4), attention_mask=torch.ones(2, 5).long()
    ).last_hidden_state
    assert states.shape == (2, 5, WIDTH // 4)


def test_every_matrix_of_a_block_is_a_quarter_as_high_and_as_wide(family, tiny_config):
    config = tiny_config(family, num_key_value_heads=2)  # as few heads have no fewer key heads
    wide = layers_of(transformers.AutoModel.from_config(config))[0]
    small = layers_of(side_network(config, 4, (0, 1, 2)))[0]
    wide = {name: tuple(p.shape) for name, p in wide.named_parameters()}
    small = {name: tuple(p.shape) for name, p in small.named_parameters()}
    assert any(len(shape) == 2 for shape in wide.values())
    assert small == {name: tuple(n // 4 for n in shape) for name, shape in wide.items()}


@pytest.mark.parametrize("layers", [(0, 1, 2), (1, 2), (2,)])
def test_there_is_a_block_for_each_kept_layer(family, layers, tiny_config):
    side = side_network(tiny_config(family), 4, layers)
    assert len(layers_of(side)) == len(layers)
    assert side.config.num_hidden_layers == len(layers)


def test_kept_layers_keep_their_kinds(tiny_config):
    config = tiny_config("modernbert")
    assert len(set(config.layer_types)) == 2
    assert config.layer_types[0] != config.layer_types[1]
    small = narrowed(config, 4, (1, 2))
    assert small.layer_types == config.layer_types[1:]


def test_the_side_network_has_no_pooling_and_trains_no_word_vectors(family, tiny_config):
    side = side_network(tiny_config(family), 4, (0, 1, 2))
    assert getattr(side, "pooler", None) is None
    assert not side.get_input_embeddings().weight.requires_grad
    assert side.get_input_embeddings().weight.numel() <= 2 * WIDTH // 4


def test_blocks_have_no_dropout_whatever_the_backbone_has(family, tiny_config):
    names = {name for name in DROPOUTS if hasattr(tiny_config(family), name)}
    given = dict.fromkeys(names, 0.5)
    side = side_network(tiny_config(family, **given), 4, (0, 1, 2))
    assert not any(getattr(side.config, name) for name in names)
    assert {m.p for m in side.modules() if isinstance(m, torch.nn.Dropout)} <= {0.0}


def test_the_backbones_config_stays_as_it_is(family, tiny_config):
    config = tiny_config(family)
    before = config.to_dict()
    side_network(config, 4, (0, 2))
    assert config.to_dict() == before


@pytest.mark.parametrize("reduction", [3, 5, 32, 64])
def test_a_reduction_that_does_not_divide_is_refused_with_those_that_do(reduction, tiny_config):
    with pytest.raises(ParameterError, match=r"32 / 2 heads.*Got \d+.* 2, 4, 8, 16 would do"):
        side_network(tiny_config("bert"), reduction, (0, 1, 2))


@pytest.mark.parametrize("width", [32, 24])
def test_every_reduction_that_is_offered_works(family, width, tiny_config):
    """Rotary positions turn pairs of numbers: 24 / 2 heads / 4 would be heads of 3."""
    config = tiny_config(family, hidden_size=width, embedding_size=width, head_dim=width // 2)
    with pytest.raises(ParameterError) as caught:
        narrowed(config, 5, (0, 1, 2))
    offered = [
        int(n) for n in str(caught.value).split("instead. ")[1].split(" would")[0].split(",")
    ]
    assert offered
    for reduction in offered:
        side = side_network(config, reduction, (0, 1, 2)).eval()
        embeds = torch.randn(1, 4, width // reduction)
        states = side(inputs_embeds=embeds, attention_mask=torch.ones(1, 4).long())
        assert states.last_hidden_state.shape == embeds.shape


def test_a_model_without_a_list_of_its_layers_is_refused():
    config = transformers.AlbertConfig(
        hidden_size=32, num_attention_heads=2, num_hidden_layers=3, vocab_size=30,
        intermediate_size=48, embedding_size=32,
    )  # fmt: skip
    model = transformers.AlbertModel(config)  # one layer, used three times
    with pytest.raises(ParameterError, match="one list of its 3 layers"):
        layers_of(model)
    with pytest.raises(ParameterError, match="one list of its 3 layers"):
        config = LadderConfig(reduction=4, layers=(0, 1, 2))
        Ladder.from_backbone(model, config, dtype="float32")


def test_a_model_with_two_lists_of_layers_is_refused(tiny_config):
    class Two(torch.nn.Module):
        config = tiny_config("bert")

        def __init__(self):
            super().__init__()
            self.left = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))
            self.right = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))

    with pytest.raises(ParameterError, match="one list of its 3 layers"):
        layers_of(Two())


def test_an_encoder_with_a_decoder_is_refused_in_one_sentence():
    config = transformers.T5Config(
        d_model=32, num_heads=2, num_layers=3, vocab_size=30, d_ff=48, d_kv=16
    )
    with pytest.raises(ParameterError, match="backbone"):
        Ladder.from_backbone(transformers.T5Model(config), LadderConfig(reduction=4))


def test_a_backbone_that_reads_its_padding_is_refused_in_one_sentence():
    config = transformers.FNetConfig(
        vocab_size=30, hidden_size=32, num_hidden_layers=3, intermediate_size=48
    )
    with pytest.raises(ParameterError, match="an attention mask"):
        Ladder.from_backbone(transformers.FNetModel(config), LadderConfig(reduction=4))


@pytest.mark.parametrize(
    ("sizes", "reduction", "expected"),
    [
        ({"hidden_size": 384, "num_attention_heads": 12}, 8, 3),  # MiniLM: 48 wide, 16 a head
        ({"hidden_size": 768, "num_attention_heads": 12}, 8, 6),
        ({"hidden_size": 64, "num_attention_heads": 4}, 8, 1),  # too narrow for two
    ],
)
def test_random_blocks_have_heads_of_at_least_sixteen_numbers(sizes, reduction, expected):
    config = transformers.BertConfig(**sizes)
    assert few_heads(config, reduction) == expected
    side = side_network(config, reduction, (0, 1))
    assert side.config.num_attention_heads == expected


def test_fewer_heads_keep_the_groups_of_keys():
    config = transformers.LlamaConfig(
        hidden_size=256, num_attention_heads=8, num_key_value_heads=4, head_dim=32,
        intermediate_size=64, num_hidden_layers=2, vocab_size=30,
    )  # fmt: skip
    assert few_heads(config, 4) == 4
    small = narrowed(config, 4, (0, 1))
    assert (small.num_attention_heads, small.num_key_value_heads, small.head_dim) == (4, 2, 16)
    states = side_network(config, 4, (0, 1)).eval()(
        inputs_embeds=torch.randn(1, 5, 64), attention_mask=torch.ones(1, 5).long()
    )
    assert states.last_hidden_state.shape == (1, 5, 64)
