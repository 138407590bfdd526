"""The same task trained otherwise, for comparison: the whole backbone, LoRA, the head alone.

B texts or pairs, T tokens, D width.
"""

from __future__ import annotations

import copy
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shoestring.errors import MissingExtraError, ParameterError
from shoestring.models.backbone import quiet_loading
from shoestring.models.frozen import BackboneOutputs, FrozenBackbone, read_with_gradients
from shoestring.tune.config import ADAPTER, INSIDE, LadderConfig
from shoestring.tune.ladder import Ladder, save_ladder

LEARNING_RATES = {"ladder": 1e-3, "head": 3e-3, "lora": 1e-3, "full": 1e-4}  # by method
BACKPROPAGATED = ("lora", "full")
LORA_RANK = 8
TOKENIZER_FILES = "*token*.json", "vocab.*", "merges.txt", "sentence_bert_config.json"


class FineTuned(nn.Module):  # type: ignore[misc]
    """A backbone that is trained, whole or through LoRA, with the head of a ladder without a side.

    It is copied in float32; without LoRA all weights are trained.
    """

    def __init__(self, backbone: FrozenBackbone, config: LadderConfig, with_lora: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.model = copy.deepcopy(backbone.model).float().requires_grad_(not with_lora)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # gets no gradient here
        if with_lora:
            self.model = _with_lora(self.model)
        self.ladder = Ladder(config, backbone, with_side=False)

    accepts_loss_kwargs = False  # or the Trainer passes its own

    def forward(self, labels: Tensor | None = None, **batch: Tensor) -> dict[str, Tensor]:
        """As :meth:`Ladder.forward`, with gradients through the backbone; ids are needed."""
        first = self._read(batch, "")
        second = self._read(batch, "second_") if "second_input_ids" in batch else None
        groups = batch.get("groups")
        found: dict[str, Tensor] = self.ladder(
            labels=labels, first=first, second=second, groups=groups
        )
        return found

    def _read(self, batch: dict[str, Tensor], prefix: str) -> BackboneOutputs:
        ids, mask = batch[f"{prefix}input_ids"], batch[f"{prefix}attention_mask"]
        special = batch.get(f"{prefix}special_tokens_mask")
        segments = None if prefix else batch.get("token_type_ids")
        knows = self.backbone.knows_segments
        return read_with_gradients(self.model, knows, ids, mask, special, segments)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the head, and beside it what was trained of the backbone.

        With LoRA that is the adapter alone, as peft writes it, and the backbone is named;
        otherwise the whole backbone. Errors as :meth:`Ladder.save_pretrained`.
        """
        if hasattr(self.model, "peft_config"):
            save_ladder(Path(folder), self.ladder, self._write_adapter, ADAPTER)
        else:
            save_ladder(Path(folder), self.ladder, self._write_backbone, INSIDE)

    def _write_adapter(self, folder: Path) -> None:
        for config in self.model.peft_config.values():
            config.base_model_name_or_path = self.backbone.public_name
        self.model.save_pretrained(folder, save_embedding_layers=False)  # or it asks the hub
        (folder / "README.md").unlink(missing_ok=True)  # a form to be filled in

    def _write_backbone(self, folder: Path) -> None:
        source = self.backbone.folder
        assert source is not None
        with quiet_loading():
            self.model.save_pretrained(folder)
        for pattern in TOKENIZER_FILES:
            for file in source.glob(pattern):
                shutil.copy(file, folder / file.name)


def make_model(method: str, backbone: Any, config: LadderConfig) -> Ladder | FineTuned:
    """A model to be trained by a method."""
    if method in BACKPROPAGATED:
        return FineTuned(FrozenBackbone.load(backbone, "float32"), config, method == "lora")
    return Ladder(config, FrozenBackbone.load(backbone), with_side=method == "ladder")


def ladder_of(model: Ladder | FineTuned) -> Ladder:
    """The ladder, or the head, of a model."""
    return model if isinstance(model, Ladder) else model.ladder


def _with_lora(model: Any) -> Any:
    if find_spec("peft") is None:
        raise MissingExtraError("peft", extra="tune", purpose="--method lora")
    from peft import LoraConfig, get_peft_model

    transposed = any(type(module).__name__ == "Conv1D" for module in model.modules())
    config = LoraConfig(
        r=LORA_RANK,
        lora_alpha=2 * LORA_RANK,
        target_modules=attention_inputs(model),
        lora_dropout=0.0,
        fan_in_fan_out=transposed,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return get_peft_model(model, config)


def attention_inputs(model: Any) -> list[str]:
    """Names of the projections to queries and values, or of the one to all three."""
    ends = ("query", "value", "q_proj", "v_proj", "q_lin", "v_lin", "c_attn", "Wqkv")
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    found = sorted(names.intersection(ends))
    if not found:
        want = f"a model with projections called one of {ends}"
        hint = "Use --method ladder, which needs no names of projections."
        raise ParameterError.of("backbone", "--method lora", want, type(model).__name__, hint)
    return found
