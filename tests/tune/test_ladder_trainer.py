"""A ladder under the plain Trainer and in pipelines: what they ask of a model, and bad input."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from shoestring.errors import ParameterError  # noqa: E402

TEXTS = ["open the file", "sort the list", "read a line of text", "join nested path"]


@pytest.fixture
def tokenizer(backbone):
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backbone().tokenizer, pad_token="[PAD]", unk_token="[UNK]"
    )


@pytest.fixture
def rows(tokenizer):
    return [{**tokenizer(text), "labels": n % 2} for n, text in enumerate(TEXTS * 2)]


def trainer_of(model, rows, tokenizer, folder, **settings):
    plain = {
        "num_train_epochs": 1, "report_to": [], "disable_tqdm": True, "use_cpu": True,
        "logging_strategy": "no", "save_strategy": "no", "dataloader_pin_memory": False,
        "per_device_train_batch_size": 4,
    }  # fmt: skip
    return transformers.Trainer(
        model,
        transformers.TrainingArguments(str(folder), **{**plain, **settings}),
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
    )


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated")
@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_checkpointing": True},
        {"label_smoothing_factor": 0.1},
        {"bf16_full_eval": True},
        {"bf16": True},
        {"gradient_accumulation_steps": 2},
        {"auto_find_batch_size": True},
        {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True},
        {"include_num_input_tokens_seen": "all"},
        {"max_grad_norm": 0.1, "weight_decay": 0.1},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_the_trainer_trains_with(settings, make_ladder, rows, tokenizer, tmp_path):
    model = make_ladder()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    trainer = trainer_of(model, rows, tokenizer, tmp_path / "run", **settings)
    trainer.train()
    found = trainer.evaluate()
    assert found["eval_loss"] > 0
    assert trainer.predict(rows).predictions.shape == (8, 2)
    assert any(not torch.equal(before[name], w) for name, w in model.state_dict().items())
    assert not any(p.requires_grad for p in model.backbone.model.parameters())
    trainer.save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "model.safetensors").is_file()


def test_outputs_are_those_of_a_model_of_transformers(make_ladder, inputs_of):
    model = make_ladder().eval()
    arrays, labels = inputs_of(model, TEXTS), torch.tensor([0, 1, 0, 1])
    found = model(**arrays)
    assert isinstance(found, transformers.utils.ModelOutput)
    assert found.logits is found["logits"] is found[0]
    assert found.loss is None
    assert "loss" not in found
    found = model(**arrays, labels=labels, return_dict=True)
    loss, logits = model(**arrays, labels=labels, return_dict=False)
    assert torch.equal(found.loss, loss)
    assert torch.equal(found.logits, logits)
    (logits,) = model(**arrays, return_dict=False)
    assert torch.equal(found.logits, logits)


def test_its_config_is_the_backbones_with_the_labels(make_ladder):
    model = make_ladder(n_labels=3, labels=("好", "bad", "neither"))
    assert isinstance(model.config, transformers.PretrainedConfig)
    assert (model.config.model_type, model.config.num_labels) == ("bert", 3)
    assert model.config.id2label == {0: "好", 1: "bad", 2: "neither"}
    model.config.use_cache = not model.config.use_cache
    assert model.backbone.config.use_cache != model.config.use_cache
    assert make_ladder(task="regress").config.num_labels == 1
    assert (model.device.type, model.dtype, model.can_generate()) == ("cpu", torch.float32, False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_pipeline_names_the_classes(make_ladder, tokenizer):
    model = make_ladder(labels=("no", "yes")).eval()
    pipe = transformers.TextClassificationPipeline(model=model, tokenizer=tokenizer)
    found = pipe(["open the file", "sort"])
    assert {answer["label"] for answer in found} <= {"no", "yes"}
    assert all(0.5 <= answer["score"] <= 1 for answer in found)


@pytest.mark.parametrize(
    ("task", "labels", "want"),
    [
        ("classify", torch.tensor([0, 1, 2, 0]), "from 0 to 1, or -100.*int64 from 0 to 2"),
        ("classify", torch.tensor([0, -1, 0, 0]), "from -1 to 0"),
        ("classify", torch.tensor([0.0, 1.0, 0.0, 0.5]), "float32 from 0.0 to 1.0"),
        ("classify", torch.zeros(4, 2, dtype=torch.long), r"shape \(4,\).*\(4, 2\)"),
        ("classify", torch.tensor([0, 1]), r"shape \(4,\).*\(2,\)"),
        ("classify", [0, 1, 0, 1], "a tensor"),
        ("regress", torch.tensor([0.0, 1.0, float("nan"), 0.5]), "finite numbers"),
        ("regress", torch.zeros(4, 3), r"shape \(4,\)"),
        ("tokens", torch.zeros(4, dtype=torch.long), r"shape \(4, 7\)"),
    ],
)
def test_labels_that_do_not_fit_are_said(task, labels, want, make_ladder, inputs_of):
    model = make_ladder(task=task)
    with pytest.raises(ParameterError, match=f"labels.*Ladder.forward.*{want}"):
        model(**inputs_of(model, TEXTS), labels=labels)


def test_scores_are_from_0_to_1(make_ladder, inputs_of):
    model = make_ladder(task="score", pairs="apart")
    arrays = inputs_of(model, TEXTS, TEXTS)
    with pytest.raises(ParameterError, match=r"from 0 to 1.*from 0.0 to 5.0"):
        model(**arrays, labels=torch.tensor([0.0, 1.0, 5.0, 0.0]))
    with pytest.raises(ParameterError, match="groups"):
        model(**arrays, labels=torch.tensor([0.0, 1.0, 1.0, 0.0]), groups=torch.tensor([0, 1]))
    arrays["second_input_ids"] = arrays["second_input_ids"][:2]
    for name in ("second_attention_mask", "second_special_tokens_mask"):
        arrays[name] = arrays[name][:2]
    with pytest.raises(ParameterError, match="as many as the first texts, 4"):
        model(**arrays)


@pytest.mark.parametrize(
    ("arrays", "want"),
    [
        ({"input_ids": torch.ones(1, 600, dtype=torch.long)}, "at most 40 tokens.*max_length=40"),
        ({"input_ids": torch.ones(1, 4)}, "an int tensor"),
        ({"input_ids": torch.ones(4, dtype=torch.long)}, "an int tensor"),
        ({"input_ids": [[1, 2]]}, "an int tensor"),
        ({"input_ids": torch.full((1, 4), 10**6)}, "from 0 to .*own tokenizer"),
        ({"input_ids": torch.full((1, 4), -1)}, "from 0 to .*own tokenizer"),
        (
            {"input_ids": torch.ones(1, 4, dtype=torch.long), "attention_mask": torch.ones(1, 3)},
            "shape of input_ids",
        ),
        ({}, "given, or first"),
    ],
)
def test_ids_that_the_backbone_cannot_read_are_said(arrays, want, make_ladder):
    with pytest.raises(ParameterError, match=want):
        make_ladder()(**arrays)
