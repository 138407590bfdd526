"""A ladder under the plain Trainer and in pipelines: what they ask of a model, and bad input."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")


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
