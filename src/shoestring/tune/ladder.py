"""A ladder beside a frozen backbone: a model that trains under the plain ``Trainer``.

Letters: K outputs of the backbone, B texts or pairs, T tokens, D width, d of the side network, C
classes.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load as deserialised
from safetensors.torch import save as serialised
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from shoestring.checks import checked_path
from shoestring.errors import IntegrityError, ParameterError
from shoestring.models.adapter import Adapter
from shoestring.models.backbone import quiet_loading
from shoestring.models.frozen import (
    BackboneOutputs,
    FrozenBackbone,
    digest_of,
    layers_of,
    left_first,
    moved,
)
from shoestring.models.model_files import weights_digest
from shoestring.tune.config import ADAPTER, INSIDE, LADDER, SIDE, LadderConfig
from shoestring.tune.heads import LateHead, PairHead, TextHead, pooled, similarities
from shoestring.tune.ladder_layers import DownProjections
from shoestring.tune.metrics import loss_of
from shoestring.tune.side_network import side_network

TOKENIZER_FILES = "*token*.json", "vocab.*", "merges.txt", "sentence_bert_config.json"
_LOWERED: ContextVar[Tensor] = ContextVar("lowered")  # (K - 1, B, T, d), of the climb in hand


class Ladder(nn.Module):  # type: ignore[misc]
    """A side network on a frozen backbone, with a head.

    Make one with :meth:`from_backbone` or :meth:`from_pretrained`. The backbone is no submodule:
    ``parameters()``, ``state_dict()`` and ``train()`` know of the side network alone.

    Parameters
    ----------
    config : LadderConfig
    backbone : FrozenBackbone
    with_side : bool
        False for the head alone, on the frozen backbone: the comparison.

    Attributes
    ----------
    config : transformers.PretrainedConfig
        The backbone's, with the number and the names of the labels, for what asks a model for it.
    settings : LadderConfig

    Examples
    --------
    >>> model = Ladder.from_backbone("minilm", LadderConfig(n_labels=77))  # doctest: +SKIP
    >>> trainer = transformers.Trainer(model, args, train_dataset=data)  # doctest: +SKIP
    """

    accepts_loss_kwargs = False  # the Trainer averages over accumulated steps by itself

    def __init__(
        self, config: LadderConfig, backbone: FrozenBackbone, with_side: bool = True
    ) -> None:
        super().__init__()
        config = config.of_backbone(backbone.n_layers)
        assert config.layers is not None
        object.__setattr__(self, "backbone", backbone)  # no submodule, nothing to train or save
        self.model: Any = None  # what is trained of the backbone, by other methods than a ladder
        self.settings = config
        self.config = _public_config(backbone.config, config)
        self.layers = config.layers
        self.is_causal = backbone.is_causal  # tried now: one without its layers' outputs is refused
        d = backbone.width // config.reduction
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.side: Any = None
            if with_side:
                with backbone.narrowing():
                    self.side = side_network(backbone.config, config.reduction, self.layers)
                self.down = DownProjections(len(self.layers) + 1, backbone.width, d)
                self.segments = nn.Parameter(torch.zeros(2, d)) if config.pairs == "apart" else None
            self.head = self._new_head(backbone.width, d if with_side else None)
            self.dropout = nn.Dropout(config.dropout)
        if self.side is not None:
            for k, block in enumerate(layers_of(self.side)):
                block.register_forward_pre_hook(partial(self._mix_in, k), with_kwargs=True)
            self._try(d)

    @classmethod
    def from_backbone(
        cls,
        backbone: Any = None,
        config: LadderConfig | None = None,
        *,
        dtype: str = "auto",
    ) -> Self:
        """Make a new ladder beside a backbone.

        Parameters
        ----------
        backbone : str, Path or transformers.PreTrainedModel, optional
            "minilm" (by default), a local folder, or a model.
        config : LadderConfig, optional
        dtype : {"auto", "float32", "bfloat16"}
            That the backbone computes in.

        Raises
        ------
        ParameterError
            If the backbone has no layers' outputs, or its heads cannot be divided so.
        MissingExtraError, StorageError, FormatError
            If it cannot be loaded.
        """
        config = LadderConfig() if config is None else config
        if not isinstance(config, LadderConfig):
            raise ParameterError.of("config", "Ladder.from_backbone", "a LadderConfig", config)
        return cls(config, FrozenBackbone.load(backbone, dtype))

    # ---- reading ----

    def read(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        special: Tensor | None = None,
        segments: Tensor | None = None,
    ) -> BackboneOutputs:
        """The backbone's outputs for texts (B, T); with gradients only where it is trained."""
        backbone: FrozenBackbone = self.backbone
        most, n_known = backbone.n_positions, getattr(backbone.config, "vocab_size", None)
        if most is not None and ids.shape[-1] > most:
            want = f"at most {most} tokens a text, as the backbone has no more positions"
            hint = f"Cut the texts: tokenizer(texts, truncation=True, max_length={most})."
            got = f"{ids.shape[-1]} tokens"
            raise ParameterError.of("input_ids", "Ladder.forward", want, got, hint)
        if n_known and ids.numel() and not 0 <= ids.min() <= ids.max() < n_known:
            want, got = f"from 0 to {n_known - 1}", f"{int(ids.min())} to {int(ids.max())}"
            hint = "Use the backbone's own tokenizer."
            raise ParameterError.of("input_ids", "Ladder.forward", want, got, hint)
        ids = ids.to(backbone.device)
        mask = torch.ones_like(ids) if mask is None else mask.to(backbone.device)
        segments = None if segments is None else segments.to(backbone.device)
        layers = self.layers if self.model is None else self.layers[-1:]
        outputs = backbone.outputs(ids, mask, layers, segments, trained=self.model)
        mask = mask.bool()
        content = mask if special is None else mask & ~special.bool().to(mask.device)
        return BackboneOutputs(outputs, mask, content)

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None,
        labels: Tensor | None = None, *, special_tokens_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        first: BackboneOutputs | dict[str, Tensor] | None = None,
        second_input_ids: Tensor | None = None, second_attention_mask: Tensor | None = None,
        second_special_tokens_mask: Tensor | None = None,
        second: BackboneOutputs | dict[str, Tensor] | None = None, groups: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> Any:  # fmt: skip
        """Compute logits, and the loss where labels are given.

        Parameters
        ----------
        input_ids, attention_mask, token_type_ids, special_tokens_mask : int64 tensors (B, T)
            The texts, or both texts of a pair in one.
        labels : tensor (B,), optional
            Classes, or numbers.
        second_input_ids, ... : int64 tensors (B, T), optional
            The second texts, where both are read apart.
        first, second : BackboneOutputs, or its fields as a dict, optional
            The backbone's outputs for the texts, instead of their ids.
        groups : int64 tensor (B,), optional
            For scores: the number of each pair's query, whose pairs are ranked together.
        return_dict : bool, optional
            False for a tuple.

        Returns
        -------
        transformers.modeling_outputs.SequenceClassifierOutput
            ``logits`` (B, C), (B,) for numbers; ``loss`` where labels came.

        Raises
        ------
        ParameterError
            If there are no texts, or no second ones where both are read apart.
        """
        first, second = (
            BackboneOutputs(**read) if isinstance(read, dict) else read for read in (first, second)
        )
        if first is None:
            if input_ids is None:
                want = "given, or first: texts to answer about"
                raise ParameterError.of("input_ids", "Ladder.forward", want, None)
            first = self.read(input_ids, attention_mask, special_tokens_mask, token_type_ids)
        if second is None and second_input_ids is not None:
            second = self.read(second_input_ids, second_attention_mask, second_special_tokens_mask)
        if second is None and isinstance(self.head, PairHead | LateHead):
            want = "given, or second: the second texts, read apart"
            raise ParameterError.of("second_input_ids", "Ladder.forward", want, None)
        logits, loss = self._answer(first, second), None
        if self.settings.n_labels == 1:
            logits = logits.squeeze(-1)
        if labels is not None:
            loss = loss_of(self.settings.task, logits, labels, groups)
        found = SequenceClassifierOutput(loss=loss, logits=logits)
        return found.to_tuple() if return_dict is False else found

    def _answer(self, first: BackboneOutputs, second: BackboneOutputs | None) -> Tensor:
        if isinstance(self.head, LateHead):
            assert second is not None
            a, importance = self.head.vectors(first.last, self.side_states(first))
            b, _ = self.head.vectors(second.last, self.side_states(second))
            return self.head(a, b, first.content, second.content, importance)
        if isinstance(self.head, PairHead):
            assert second is not None
            u, v = (pooled(text.last, text.mask, self.is_causal) for text in (first, second))
            side = None
            if self.side is not None:
                states, mask = self._side_of_pair(first, second)
                side = pooled(states, mask, self.is_causal)
            return self.head(similarities(first, second, self.is_causal), u, v, side)
        states = self.side_states(first)
        side = None if states is None else pooled(states, first.mask, self.is_causal)
        return self.head(pooled(first.last, first.mask, self.is_causal), side)

    # ---- the side network ----

    def side_states(self, read: BackboneOutputs) -> Tensor | None:
        """The side network's last states (B, T, d); None without one."""
        if self.side is None:
            return None
        return self._climb(self.down(read.outputs, read.mask), read.mask)

    def _side_of_pair(
        self, first: BackboneOutputs, second: BackboneOutputs
    ) -> tuple[Tensor, Tensor]:
        """States (B, T_a + T_b, d) of both texts, read together, and their mask."""
        assert self.segments is not None
        lowered = [self.down(text.outputs, text.mask) for text in (first, second)]
        starts = [text[:1] + segment for text, segment in zip(lowered, self.segments, strict=True)]
        together = torch.cat(
            [torch.cat(starts, dim=2), torch.cat([text[1:] for text in lowered], dim=2)]
        )
        mask = torch.cat([first.mask, second.mask], dim=1)
        return self._climb(together, mask), mask

    def _climb(self, lowered: Tensor, mask: Tensor) -> Tensor:
        order = left_first(mask)
        if order is not None:
            lowered, mask = moved(lowered, order), mask.gather(1, order)
        token = _LOWERED.set(lowered[1:])
        try:
            found = self.side(inputs_embeds=self.dropout(lowered[0]), attention_mask=mask.long())
        finally:
            _LOWERED.reset(token)
        states: Tensor = self.dropout(found.last_hidden_state)
        return states if order is None else moved(states[None], order.argsort(1))[0]

    def _mix_in(
        self, k: int, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A hook before block k, whatever its family calls its input."""
        lowered = _LOWERED.get()[k]
        if args:
            return (self.down.mixed(k, args[0], lowered), *args[1:]), kwargs
        state = self.down.mixed(k, kwargs["hidden_states"], lowered)
        return args, {**kwargs, "hidden_states": state}

    @torch.no_grad()
    def _try(self, width: int) -> None:
        """Run the side network once, to refuse a family that cannot be made narrow early."""
        lowered = torch.zeros((len(self.layers) + 1, 1, 2, width))
        with self.backbone.narrowing():
            self.eval()._climb(lowered, torch.ones((1, 2), dtype=torch.bool))
        self.train()

    def _new_head(self, width: int, side_width: int | None) -> nn.Module:
        if self.settings.pairs == "late":
            return LateHead(width, side_width)
        if self.settings.pairs == "apart":
            as_logit = self.settings.task != "regress"
            return PairHead(width, side_width, self.settings.n_labels, as_logit)
        return TextHead(width, side_width, self.settings.n_labels)

    # ---- what the Trainer and pipelines ask of a model ----

    def gradient_checkpointing_enable(self, **_: Any) -> None:
        """Change nothing: no gradient goes through the backbone, so nothing of it is kept."""

    activation_checkpointing_enable = gradient_checkpointing_enable  # its newer name

    def can_generate(self) -> bool:
        """False: it classifies or scores."""
        return False

    @property
    def device(self) -> Any:
        """Where the side network is."""
        return next(self.head.parameters()).device

    @property
    def dtype(self) -> Any:
        """Of the side network; the backbone computes in its own."""
        return next(self.head.parameters()).dtype

    # ---- keeping ----

    @property
    def digest(self) -> str:
        """Of the settings and the side network: 12 hexadecimal digits."""
        return digest_of(self.state_dict(), repr(self.settings))

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        moved: Self = super()._apply(fn, recurse)
        self.backbone.model.to(self.device)
        return moved

    def save_pretrained(
        self, folder: str | Path, *, write: Callable[[Path], object] | None = None, **_: Any
    ) -> None:
        """Save settings and side network to a folder: new, empty, or one that was saved before.

        The backbone is named, with a digest of its weights, not copied; one that was trained is
        saved beside the head, or its adapter alone, as peft writes it, and so is one that ``write``
        puts into a folder.

        Raises
        ------
        ParameterError, StorageError
            If the backbone has no folder; if the folder holds other files or cannot be written.
        """
        folder, kind = checked_path("folder", folder, "Ladder.save_pretrained"), INSIDE
        backbone: FrozenBackbone = self.backbone
        if not backbone.name:
            raise ParameterError(
                "The backbone of this ladder was given as a model, so that it could not be found "
                "again. Save it with its tokenizer, and make the ladder from that folder."
            )
        if write is None and self.model is not None:
            kind = ADAPTER if hasattr(self.model, "peft_config") else INSIDE
            write = partial(_write_adapter if kind == ADAPTER else _write_backbone, self)
        elif write is None and backbone.adapter is not None:
            write, kind = partial(shutil.copytree, backbone.adapter.folder), ADAPTER
        check_is_outside(folder, backbone)
        weights = {
            name: weight.detach().cpu().contiguous()
            for name, weight in self.state_dict().items()
            if not name.startswith("model.")
        }
        config = {"backbone": backbone.name, "backbone_digest": backbone.own_digest}
        with LADDER.saving(folder) as writer:
            if write is not None:
                write(inside := writer.folder / kind)
                if kind == INSIDE:
                    name = inside.relative_to(folder).as_posix()
                    config = {"backbone": name, "backbone_digest": weights_digest(inside)}
            (writer.folder / SIDE).write_bytes(serialised(weights))
            writer.config |= {**config, "with_side": self.side is not None}
            writer.config["ladder"] = asdict(self.settings)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, backbone: Any = None, *, dtype: str = "auto"
    ) -> Self:
        """Open what :meth:`save_pretrained` wrote, in evaluation mode.

        Parameters
        ----------
        folder : str or Path
        backbone : str or Path, optional
            The backbone's folder, if it has moved.
        dtype : {"auto", "float32", "bfloat16"}
            That the backbone computes in.

        Raises
        ------
        ParameterError, FormatError, IntegrityError
            If there is no ladder; if it is of another version; if a file is damaged; if the
            backbone is not the one that it was trained on.
        """
        path = checked_path("folder", folder, "Ladder.from_pretrained")
        artifact = LADDER.read(path)
        with artifact.decoding():
            with_side = bool(artifact.config["with_side"])
            config = LadderConfig(**artifact.config["ladder"])
            name, of = str(artifact.config["backbone"]), artifact.config["backbone_digest"]
        if backbone is not None:
            backbone = checked_path("backbone", backbone, "Ladder.from_pretrained")
        else:
            backbone = artifact.path(INSIDE) if INSIDE in artifact else name
        adapter = Adapter.load(artifact.verified(ADAPTER)) if ADAPTER in artifact else None
        frozen = FrozenBackbone.load(backbone, dtype, adapter)
        if of != frozen.own_digest:
            raise IntegrityError(
                f"The ladder in {path} was trained on the backbone {of}; {frozen.folder} is "
                f"{frozen.own_digest}. Name the folder of the first one: "
                "Ladder.from_pretrained(folder, backbone=...)."
            )
        ladder = cls(config, frozen, with_side)
        weights = artifact.data(SIDE)
        try:
            ladder.load_state_dict(deserialised(weights))
        except (SafetensorError, RuntimeError) as error:
            raise artifact.damaged(artifact.path(SIDE), str(error).splitlines()[0]) from error
        ladder.eval()
        return ladder


def _public_config(of_backbone: Any, settings: LadderConfig) -> Any:
    """The backbone's configuration with the labels of a ladder."""
    kinds = {"classify": "single_label_classification", "regress": "regression"}
    config = copy.deepcopy(of_backbone)
    names = settings.labels or tuple(f"LABEL_{n}" for n in range(settings.n_labels))
    config.id2label = dict(enumerate(names))
    config.label2id = {name: n for n, name in enumerate(names)}
    config.problem_type = kinds.get(settings.task)
    return config


def _write_adapter(ladder: Ladder, folder: Path) -> None:
    for config in ladder.model.peft_config.values():
        config.base_model_name_or_path = ladder.backbone.public_name
    ladder.model.save_pretrained(folder, save_embedding_layers=False)  # or it asks the hub
    (folder / "README.md").unlink(missing_ok=True)  # a form to be filled in


def _write_backbone(ladder: Ladder, folder: Path) -> None:
    with quiet_loading():
        ladder.model.save_pretrained(folder)
    for pattern in TOKENIZER_FILES:
        for file in ladder.backbone.folder.glob(pattern):
            shutil.copy(file, folder / file.name)


def check_is_outside(folder: Path, backbone: FrozenBackbone) -> None:
    """Refuse to replace a folder with the backbone inside: saving would delete it."""
    if backbone.folder is not None and backbone.folder.resolve().is_relative_to(folder.resolve()):
        want, got = f"outside of {folder}, which is replaced", str(backbone.folder)
        raise ParameterError.of("backbone", LADDER.owner, want, got, "Choose another folder.")
