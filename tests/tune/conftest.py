"""Tiny backbones of eight families, built from their configs: nothing is downloaded.

Nothing heavy is imported before a test asks for it. ``saved(family)`` is a folder with model and
tokenizer, ``backbone(family)`` is read from it in float32.
"""

import os
from pathlib import Path

import pytest

FAMILIES = ("bert", "roberta", "distilbert", "electra", "modernbert", "gpt2", "llama", "qwen2")
DECODERS = ("gpt2", "llama", "qwen2")
WIDTH, HEADS, LAYERS, FEED_FORWARD, POSITIONS = 32, 2, 3, 48, 40
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = (
    "open close read write file list string word flatten chain split join sort count the a of in "
    "nested path line text key map"
)
PIECES = (*SPECIAL, *WORDS.split())


@pytest.fixture(params=FAMILIES)
def family(request):
    """Each family in turn."""
    return request.param


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def tiny_config():
    """A function: the config of a tiny model of a family."""
    transformers = pytest.importorskip("transformers")

    def config(family, **changes):
        found = transformers.AutoConfig.for_model(family)
        sizes = {
            "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
            "vocab_size": len(PIECES), "max_position_embeddings": POSITIONS,
            "intermediate_size": FEED_FORWARD, "hidden_dim": FEED_FORWARD, "embedding_size": WIDTH,
            "num_key_value_heads": 1, "head_dim": WIDTH // HEADS,
        }  # fmt: skip
        for name, value in {**sizes, **changes}.items():
            if getattr(found, name, None) is not None:
                setattr(found, name, value)
        if getattr(found, "layer_types", None):
            n_layers = found.num_hidden_layers
            found.layer_types = (list(found.layer_types) * n_layers)[:n_layers]
        for number, name in enumerate(("pad", "unk", "cls", "sep", "bos", "eos")):
            if getattr(found, f"{name}_token_id", None) is not None or name == "pad":
                setattr(found, f"{name}_token_id", (0, 1, 2, 3, 2, 3)[number])
        return found

    return config


@pytest.fixture(scope="session")
def tiny_model(tiny_config):
    """A function: a tiny model whose states differ from token to token and layer to layer."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModel

    def model(family, seed=0, **changes):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = AutoModel.from_config(tiny_config(family, **changes))
            for name, weight in found.named_parameters():
                if weight.ndim > 1:
                    torch.nn.init.normal_(weight, std=0.3)
                else:
                    is_scale = "norm" in name.lower() or "ln_" in name
                    torch.nn.init.normal_(weight, float(is_scale and "weight" in name), 0.2)
        return found.eval()

    return model


@pytest.fixture(scope="session")
def save_tiny(tiny_model):
    """A function: save a tiny model and its tokenizer to a folder."""

    def save(folder, family, seed=0, **changes):
        from transformers.utils import logging

        logging.disable_progress_bar()
        tiny_model(family, seed, **changes).save_pretrained(folder)
        logging.enable_progress_bar()
        tokenizer = word_tokenizer(with_special=family not in DECODERS)
        tokenizer.save(str(Path(folder) / "tokenizer.json"))
        return Path(folder)

    return save


def word_tokenizer(with_special):
    """Words by their numbers; [CLS] and [SEP] around a text, or nothing."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    numbers = {piece: number for number, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(SPECIAL))
    if with_special:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )  # fmt: skip
    return tokenizer


@pytest.fixture(scope="session")
def saved(save_tiny, tmp_path_factory):
    """A function: the folder of a family's tiny model, made once."""
    root, made = tmp_path_factory.mktemp("backbones"), {}

    def folder(family):
        if family not in made:
            made[family] = save_tiny(root / family, family)
        return made[family]

    return folder


@pytest.fixture(scope="session")
def backbone(saved):
    """A function: a family's tiny model as a ladder reads it, in float32, loaded once."""
    from shoestring.models.frozen import FrozenBackbone

    loaded = {}

    def frozen(family="bert"):
        if family not in loaded:
            loaded[family] = FrozenBackbone.load(saved(family), "float32")
        return loaded[family]

    return frozen


@pytest.fixture(scope="session")
def make_ladder(backbone):
    """A function: a ladder beside a tiny model, a quarter as wide, all rungs, no dropout."""
    from shoestring.tune.config import LadderConfig
    from shoestring.tune.ladder import Ladder

    def ladder(family="bert", with_side=True, **settings):
        every = tuple(range(LAYERS))
        config = LadderConfig(**{"reduction": 4, "layers": every, "dropout": 0.0, **settings})
        return Ladder(config, backbone(family), with_side)

    return ladder


@pytest.fixture(scope="session")
def stir():
    """A function: move every weight of a ladder, as training does."""
    torch = pytest.importorskip("torch")

    def stirred(ladder, seed=1, size=0.2):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in ladder.parameters():
                weight.add_(size * torch.randn(weight.shape, generator=generator))
        return ladder

    return stirred


@pytest.fixture(scope="session")
def inputs_of():
    """A function: texts, or pairs, as the keyword arguments that a ladder's forward takes."""
    torch = pytest.importorskip("torch")
    from shoestring.tune.examples import padded, tokenised

    def arrays(backbone, tokens, width=None):
        ids, mask, segments = padded(tokens, backbone.padding_id)
        special = torch.ones_like(ids)
        for i, text in enumerate(tokens):
            special[i, : len(text.ids)] = torch.tensor(text.special)
        found = [ids, mask, special, segments]
        if width is not None:  # more padding
            fill = (backbone.padding_id, 0, 1, 0)
            found = [
                torch.nn.functional.pad(array, (0, width - array.shape[1]), value=value)
                for array, value in zip(found, fill, strict=True)
            ]
        return found

    def inputs(ladder, texts, seconds=None, width=None):
        config, frozen = ladder.settings, ladder.backbone
        joint = seconds if config.pairs == "joint" else None
        tokens = tokenised(frozen, texts, joint, config.max_length)
        ids, mask, special, segments = arrays(frozen, tokens, width)
        found = {"input_ids": ids, "attention_mask": mask, "special_tokens_mask": special}
        if joint is not None:
            found["token_type_ids"] = segments
        if config.pairs in ("apart", "late"):
            tokens = tokenised(frozen, seconds, None, config.max_length)
            ids, mask, special, _ = arrays(frozen, tokens, width)
            found |= {
                "second_input_ids": ids,
                "second_attention_mask": mask,
                "second_special_tokens_mask": special,
            }
        return found

    return inputs
