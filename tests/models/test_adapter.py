import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from shoestring.errors import FormatError
from shoestring.models.adapter import Adapter

PLAIN = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "fan_in_fan_out": False}
# peft 0.21 asks transformers 5.23 for a name that is to go
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

STEM = "base_model.model.encoder.0.query"
DOWN = np.float32([[1, 0, 2], [0, 1, 0]])  # (r, 3)
UP = np.float32([[1, 0], [0, 1], [1, 1], [0, 3]])  # (4, r)
CHANGE = 2 * UP @ DOWN


def write(folder, tensors=None, **changes):
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({**PLAIN, **changes}), "utf-8")
    if tensors is None:
        tensors = {f"{STEM}.lora_A.weight": DOWN, f"{STEM}.lora_B.weight": UP}
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def test_a_weight_is_changed_by_the_scaled_product(tmp_path):
    adapter = Adapter.load(write(tmp_path / "a"))
    assert list(adapter.changes) == ["encoder.0.query.weight"]
    np.testing.assert_array_equal(adapter.changes["encoder.0.query.weight"], CHANGE)


def test_a_weight_that_is_kept_transposed_is_changed_so(tmp_path):
    adapter = Adapter.load(write(tmp_path / "a", fan_in_fan_out=True))
    np.testing.assert_array_equal(adapter.changes["encoder.0.query.weight"], CHANGE.T)


def test_weights_are_replaced_and_the_old_arrays_stay(tmp_path):
    adapter = Adapter.load(write(tmp_path / "a"))
    old = np.ones((4, 3), np.float32)
    weights = {"encoder.0.query.weight": old, "other": old}
    adapter.add_to(weights)
    np.testing.assert_array_equal(weights["encoder.0.query.weight"], 1 + CHANGE)
    assert weights["other"] is old
    assert (old == 1).all()


def test_a_torch_model_is_changed_alike(tmp_path):
    torch = pytest.importorskip("torch")
    model = torch.nn.ModuleDict(
        {"encoder": torch.nn.ModuleList([torch.nn.ModuleDict({"query": torch.nn.Linear(3, 4)})])}
    )
    before = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    Adapter.load(write(tmp_path / "a")).add_to_model(model)
    after = {name: p.detach().numpy() for name, p in model.named_parameters()}
    weight, bias = "encoder.0.query.weight", "encoder.0.query.bias"
    np.testing.assert_allclose(after[weight], before[weight] + CHANGE, rtol=1e-6)
    np.testing.assert_array_equal(after[bias], before[bias])


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_it_adds_what_peft_adds(tmp_path, family):
    torch = pytest.importorskip("torch")
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(
        family, hidden_size=32, num_attention_heads=2, num_hidden_layers=2, intermediate_size=48,
        vocab_size=20,
    )  # fmt: skip
    model = transformers.AutoModel.from_config(config)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    target, transposed = ("query", False) if family == "bert" else ("c_attn", True)
    lora = peft.LoraConfig(r=3, lora_alpha=5, target_modules=[target], fan_in_fan_out=transposed)
    tuned = peft.get_peft_model(model, lora)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)
    tuned.save_pretrained(tmp_path / "a")
    want = tuned.merge_and_unload().state_dict()

    again = transformers.AutoModel.from_config(config)
    again.load_state_dict(own)
    adapter = Adapter.load(tmp_path / "a")
    adapter.add_to_model(again)
    found = again.state_dict()
    assert len(adapter.changes) == 2
    for name, value in want.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)
    assert any(not torch.equal(own[name], value) for name, value in found.items())


def test_other_numbers_are_another_digest(tmp_path):
    one = Adapter.load(write(tmp_path / "a")).digest
    assert one == Adapter.load(write(tmp_path / "b")).digest
    assert one != Adapter.load(write(tmp_path / "c", lora_alpha=5)).digest
    assert len(one) == 12


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type 'IA3'"),
        ({"bias": "all"}, "bias 'all'"),
        ({"use_dora": True}, "use_dora True"),
        ({"use_rslora": True}, "use_rslora True"),
        ({"rank_pattern": {"query": 4}}, "rank_pattern {'query': 4}"),
        ({"modules_to_save": ["pooler"]}, "modules_to_save"),
    ],
)
def test_what_is_no_plain_lora_is_refused(tmp_path, changes, said):
    with pytest.raises(FormatError) as caught:
        Adapter.load(write(tmp_path / "a", **changes))
    assert said in str(caught.value)
    assert "must be of a plain LoRA" in str(caught.value)


@pytest.mark.parametrize(
    "tensors",
    [
        {f"{STEM}.lora_A.weight": DOWN},
        {f"{STEM}.lora_A.weight": DOWN, f"{STEM}.lora_C.weight": UP},
        {f"{STEM}.lora_A.weight": DOWN, f"{STEM}.lora_B.weight": UP.T.copy()},
        {f"{STEM}.lora_A.weight": DOWN, f"{STEM}.lora_B.weight": UP * np.float32("nan")},
    ],
    ids=["half", "another name", "shapes", "nan"],
)
def test_a_damaged_adapter_says_what_to_do(tmp_path, tensors):
    with pytest.raises(FormatError, match=r"cannot be read .*; train it again"):
        Adapter.load(write(tmp_path / "a", tensors))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FormatError, match=r"adapter_config\.json.*No such file"):
        Adapter.load(tmp_path)
    folder = write(tmp_path / "a")
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(FormatError, match=r"adapter_model\.safetensors.*cannot be read"):
        Adapter.load(folder)
    (folder / "adapter_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(FormatError, match="cannot be read"):
        Adapter.load(folder)


@pytest.mark.parametrize("there", [{}, {"encoder.0.query.weight": np.ones((3, 4), np.float32)}])
def test_an_adapter_of_another_model_is_refused(tmp_path, there):
    adapter = Adapter.load(write(tmp_path / "a"))
    with pytest.raises(FormatError, match=r"of another model: it changes encoder\.0\.query"):
        adapter.add_to(dict(there))


def test_a_model_without_the_weight_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    with pytest.raises(FormatError, match="of another model"):
        Adapter.load(write(tmp_path / "a")).add_to_model(torch.nn.Linear(3, 4))


def test_numbers_of_any_float_type_are_read(tmp_path):
    folder = write(tmp_path / "a")
    file = folder / "adapter_model.safetensors"
    save_file({name: a.astype(np.float16) for name, a in load_file(file).items()}, file)
    change = Adapter.load(folder).changes["encoder.0.query.weight"]
    assert change.dtype == np.float32
    np.testing.assert_array_equal(change, CHANGE)
