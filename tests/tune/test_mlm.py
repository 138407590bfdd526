"""Masked-language-model training: tiny models on small generated corpora, English and Chinese."""

import itertools
import json
import random
import signal
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from shoestring.errors import (  # noqa: E402
    BudgetError,
    ParameterError,
    ShoestringWarning,
)
from shoestring.jobs import _KIND as RUN  # noqa: E402
from shoestring.jobs import Clock, SaveEvery  # noqa: E402
from shoestring.models.frozen import FrozenBackbone  # noqa: E402
from shoestring.text.corpus import Corpus  # noqa: E402
from shoestring.tune import mlm, mlm_data  # noqa: E402
from shoestring.tune.mlm import pretrain  # noqa: E402
from shoestring.tune.mlm_data import (  # noqa: E402
    SPECIAL,
    Blocks,
    MaskingCollator,
    sample_texts,
    train_tokenizer,
    write_ids,
)

ENGLISH = (
    ("green rain", "falls on the hill", "in the grey morning"),
    ("old ships", "sail over the sea", "at night without lights"),
    ("a small cat", "sleeps by the fire", "all day and dreams"),
)
CHINESE = (
    ("今天早上", "山上下起了大雨", "河水慢慢地涨高了。"),
    ("那条旧船", "在海上走了三天", "夜里没有一盏灯。"),
    ("一只小猫", "睡在火炉的旁边", "整天都在做梦。"),
)
TINY = {
    "layers": 1,
    "hidden": 32,
    "vocabulary": 160,
    "max_length": 24,
    "epochs": 2.0,
    "batch_size": 16,
    "learning_rate": 5e-3,
    "progress": False,
}


def lines_of(sentences, n=500, seed=0):
    draw = random.Random(seed)
    glue = "" if sentences is CHINESE else " "
    parts = [part for sentence in sentences for part in sentence]
    return [glue.join([draw.choice(parts)] * 5) for _ in range(n)]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """On a busy machine the threads of tiny products wait for each other."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def corpus_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpora")

    def file(sentences, n=500):
        path = folder / f"{'zh' if sentences is CHINESE else 'en'}-{n}.txt"
        path.write_text("\n".join(lines_of(sentences, n)), "utf-8")
        return path

    return file


@pytest.fixture(scope="module")
def trained(corpus_file, tmp_path_factory):
    """Folders and reports of both languages, made once."""
    root, found = tmp_path_factory.mktemp("trained"), {}
    for name, sentences, epochs in (("en", ENGLISH, 14.0), ("zh", CHINESE, 11.0)):
        file = corpus_file(sentences, 300)
        found[name] = root / name, run(file, root / name, epochs=epochs, batch_size=8)
    return found


def run(file, out, **changes):
    return pretrain([file], out, **{**TINY, **changes})


def tokens_of(file, folder):
    """Texts, tokenizer and ids, without training."""
    folder.mkdir(exist_ok=True)
    corpus = Corpus((file,))
    texts = file.read_text("utf-8").splitlines()
    tokenizer = train_tokenizer(texts, 160, lower_case=False)
    write_ids(corpus, tokenizer, folder / "ids.npy", Clock(), progress=False)
    return texts, tokenizer, np.load(folder / "ids.npy", mmap_mode="r")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_held_out_loss_is_far_below_that_of_frequencies(language, trained, corpus_file):
    folder, report = trained[language]
    file = corpus_file(ENGLISH if language == "en" else CHINESE, 300)
    loss = report["held_out"]["masked_loss"]
    ids = transformers.AutoTokenizer.from_pretrained(folder)(
        file.read_text("utf-8").splitlines(), add_special_tokens=False
    )["input_ids"]
    _, counts = np.unique(np.concatenate(ids), return_counts=True)
    p = counts / counts.sum()
    frequencies = float(-(p * np.log(p)).sum())
    assert loss < frequencies - 0.7
    assert report["held_out"]["perplexity"] == pytest.approx(np.exp(loss), rel=1e-3)
    assert report["held_out"]["accuracy"] > 0.12


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_folder_loads_as_a_backbone_and_in_transformers(language, trained):
    folder, _ = trained[language]
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    frozen = FrozenBackbone.load(folder, "float32")
    assert (frozen.width, frozen.n_layers, frozen.max_length) == (32, 1, 24)
    text = lines_of(ENGLISH if language == "en" else CHINESE)[0]
    ids = frozen.tokenizer.encode(text).ids
    wrapped = transformers.AutoTokenizer.from_pretrained(folder)
    assert wrapped(text)["input_ids"] == ids
    assert wrapped.mask_token == "[MASK]" and wrapped.model_max_length == 24
    batch = torch.tensor([ids])
    model = transformers.AutoModel.from_pretrained(folder).eval()
    assert model.config.hidden_dropout_prob == 0.1
    with torch.no_grad():
        states = model(batch)[0]
    found = frozen.outputs(batch, torch.ones_like(batch), [0])[-1]
    torch.testing.assert_close(found, states)
    assert not folder.with_name(folder.name + ".run").exists()


def test_the_folder_fills_masks(trained):
    folder, _ = trained["zh"]
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    wrapped = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        batch = wrapped("一只[MASK]猫" + "一只小猫" * 4, return_tensors="pt")
        logits = model(**batch).logits[0]
    place = int((batch["input_ids"][0] == wrapped.mask_token_id).nonzero())
    likely = wrapped.convert_ids_to_tokens(logits[place].topk(4).indices.tolist())
    assert "小" in likely


def test_a_classifier_is_tuned_on_it(trained, tmp_path):
    from typer.testing import CliRunner

    from shoestring.tune.command import app

    folder, _ = trained["en"]
    rows = [{"text": " ".join(s), "label": str(i)} for i, s in enumerate(ENGLISH)] * 10
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ["classify", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "model"), "--json"]
    options = ["--backbone", str(folder), "--reduction", "4", "--epochs", "2"]
    result = CliRunner().invoke(app, words + options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["held_out"]["accuracy"] >= 0


def test_the_command_prints_one_document(corpus_file, tmp_path):
    from typer.testing import CliRunner

    from shoestring.tune.command import app

    sizes = "--layers 1 --hidden 16 --vocabulary 160 --max-length 16 --epochs 1 --json"
    words = ["mlm", str(corpus_file(ENGLISH, 60)), "--out", str(tmp_path / "base")]
    result = CliRunner().invoke(app, words + sizes.split())
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert set(report["seconds"]) == {"tokenizer", "tokens", "training", "evaluation"}


@pytest.mark.parametrize("sentences", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_blocks_cover_all_tokens_once(sentences, corpus_file, tmp_path):
    texts, tokenizer, ids = tokens_of(corpus_file(sentences), tmp_path)
    separator = tokenizer.token_to_id("[SEP]")
    want = []
    for text in texts:
        want += [*tokenizer.encode(text, add_special_tokens=False).ids, separator]
    assert ids.tolist() == want
    blocks = Blocks(ids, 24)
    rows = blocks.rows(range(len(blocks)))
    assert (rows[:, 0] == 2).all() and (rows[:, -1] == 3).all()
    assert rows[:, 1:-1].ravel().tolist() == want[: len(blocks) * 22]
    assert len(want) - len(blocks) * 22 < 22


def masking_of(corpus_file, tmp_path, seed=0):
    _, tokenizer, ids = tokens_of(corpus_file(CHINESE), tmp_path)
    blocks = Blocks(ids, 24)
    return MaskingCollator(blocks, tokenizer, [0], seed)


def test_masks_never_hit_special_tokens_and_are_15_percent(corpus_file, tmp_path):
    masking = masking_of(corpus_file, tmp_path)
    numbers = range(1, len(masking.blocks))
    batch, plain = masking(numbers), torch.from_numpy(masking.blocks.rows(numbers))
    asked = batch["labels"] != -100
    special = torch.isin(plain, torch.arange(5))
    assert not (asked & special).any()
    assert torch.equal(batch["labels"][asked], plain[asked])
    assert torch.equal(batch["input_ids"][~asked], plain[~asked])
    assert 0.13 < float(asked.sum() / (~special).sum()) < 0.17
    shown = batch["input_ids"][asked]
    assert 0.75 < float((shown == 4).float().mean()) < 0.85
    assert 0.06 < float((shown == plain[asked]).float().mean()) < 0.15


def test_masks_are_others_in_each_epoch_but_not_of_what_is_held_out(corpus_file, tmp_path):
    masking = masking_of(corpus_file, tmp_path)
    train, held_out = masking([5, 6]), masking([0])
    again = masking_of(corpus_file, tmp_path)
    assert torch.equal(again([5, 6])["input_ids"], train["input_ids"])
    again.epoch = 1
    assert not torch.equal(again([5, 6])["labels"], train["labels"])
    assert torch.equal(again([0])["labels"], held_out["labels"])
    n = len(again.blocks)
    np.testing.assert_array_equal(again.blocks.rows([n]), again.blocks.rows([0]))
    assert not torch.equal(again([n])["labels"], held_out["labels"])
    other = masking_of(corpus_file, tmp_path, seed=1)
    assert not torch.equal(other([5, 6])["labels"], train["labels"])


def test_a_text_that_names_special_tokens_has_none(tmp_path):
    file = tmp_path / "odd.txt"
    file.write_text("mask [MASK] and [SEP] here\n" * 20)
    _, tokenizer, ids = tokens_of(file, tmp_path / "ids")
    assert (ids == tokenizer.token_to_id("[SEP]")).sum() == 20
    assert not (ids == tokenizer.token_to_id("[MASK]")).any()


@pytest.mark.parametrize("sentences", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_the_same_text_gives_the_same_tokenizer(sentences):
    texts = [*lines_of(sentences), "x-ray, 3.5kg of C₂O! naïve 東京 rain's"]
    first = train_tokenizer(texts, 160, lower_case=False)
    for _ in range(5):  # each time a hash table has another order
        assert train_tokenizer(texts, 160, lower_case=False).to_str() == first.to_str()
    pieces = first.get_vocab()
    assert sorted(pieces.values()) == list(range(len(pieces)))
    assert [pieces[name] for name in SPECIAL.values()] == [0, 1, 2, 3, 4]


def test_letters_are_made_small_only_where_asked():
    texts = ["Über Bär"] * 5
    kept = train_tokenizer(texts, 60, lower_case=False)
    small = train_tokenizer(texts, 60, lower_case=True)
    assert kept.encode("Über", add_special_tokens=False).tokens == ["Über"]
    assert small.encode("ÜBER", add_special_tokens=False).tokens == ["über"]


def test_the_logits_of_masked_tokens_give_the_loss_of_all_logits(tiny_config):
    torch.manual_seed(0)
    config = tiny_config("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    ours = mlm.MaskedBert(config)
    plain = transformers.BertForMaskedLM(config)
    plain.load_state_dict(ours.state_dict())
    ids = torch.randint(0, config.vocab_size, (4, 12))
    labels = torch.where(torch.rand(4, 12) < 0.3, ids, -100)
    found, want = ours(ids, labels), plain(ids, labels=labels)
    torch.testing.assert_close(found["loss"], want.loss)
    found, sums = found["loss"], ours.eval()(ids, labels)["logits"]
    torch.testing.assert_close(sums.sum(0)[0] / sums.sum(0)[2], found.detach())
    assert sums[:, 2].tolist() == (labels != -100).sum(1).tolist()
    assert ours(ids, torch.full_like(ids, -100))["loss"] == 0


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize("sentences", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_the_same_seed_gives_the_same_bits(sentences, corpus_file, tmp_path):
    file = corpus_file(sentences, 150)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(file, tmp_path / name, seed=seed)
    assert weights(tmp_path / "a") == weights(tmp_path / "b") != weights(tmp_path / "c")
    tokenizers = [(tmp_path / name / "tokenizer.json").read_bytes() for name in "ab"]
    assert tokenizers[0] == tokenizers[1]


@pytest.mark.parametrize("at_step", [3, 12])
def test_what_was_interrupted_ends_as_if_it_was_not(at_step, corpus_file, tmp_path, monkeypatch):
    """Interrupted after the checkpoint of a step, as Ctrl-C there would."""

    def on_save(self, args, state, control, **_):
        if state.global_step == at_step:
            signal.raise_signal(signal.SIGINT)

    file = corpus_file(ENGLISH, 200)
    run(file, tmp_path / "whole", epochs=3.0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(mlm.NewMasks, "on_save", on_save, raising=False)
        patch.setattr(SaveEvery, "is_due", True)
        run(file, tmp_path / "out", epochs=3.0)
    assert list((tmp_path / "out.run").glob("checkpoint-*"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ParameterError, match=r"had learning_rate 0\.005, not 0\.001"):
        run(file, tmp_path / "out", epochs=3.0, resume=True, learning_rate=1e-3)

    def read(*_):
        raise AssertionError("the text was read again")

    monkeypatch.setattr(Corpus, "read", read)
    report = run(file, tmp_path / "out", epochs=3.0, resume=True)
    assert report["epochs"] == 3
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert not (tmp_path / "out.run").exists()


def test_minutes_that_are_too_few_to_read_text_say_so(corpus_file, tmp_path, monkeypatch):
    monkeypatch.setattr(mlm_data, "LEAST_TIMED", 0)
    file, out = corpus_file(ENGLISH), tmp_path / "out"
    with pytest.raises(BudgetError, match=r"Reading .* takes about .*, or fewer files"):
        run(file, out, clock=Clock(1.0, now=itertools.count(0.0, 50.0).__next__))
    tokenizer = train_tokenizer(lines_of(ENGLISH), 160, lower_case=False)
    with pytest.raises(BudgetError, match="or fewer files"):
        write_ids(Corpus((file,)), tokenizer, tmp_path / "ids.npy", Clock(1.0, used_s=60.0))
    assert not list(tmp_path.iterdir())


def test_of_text_that_takes_too_long_a_random_share_is_read(corpus_file, tmp_path, monkeypatch):
    file, now, real = corpus_file(ENGLISH), SimpleNamespace(s=0.0), mlm_data._paragraphs

    def slow(document):
        now.s += 0.01
        return real(document)

    monkeypatch.setattr(mlm_data, "_paragraphs", slow)
    monkeypatch.setattr(mlm_data, "LEAST_TIMED", 0)
    tokenizer = train_tokenizer(lines_of(ENGLISH), 160, lower_case=False)
    path, corpus = tmp_path / "ids.npy", Corpus((file,))
    write_ids(corpus, tokenizer, path, Clock(), progress=False)
    n_all, all_s = len(np.load(path)), now.s
    clock = Clock(all_s / 60, now=lambda: now.s)
    with pytest.warns(ShoestringWarning, match=r"0\.\d+ of the documents were read"):
        write_ids(corpus, tokenizer, path, clock, progress=False)
    assert 0.1 * n_all < len(np.load(path)) < 0.8 * n_all
    assert clock.left_s > 0


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"layers": "x"}, "layers"),
        ({"hidden": 2.5}, "hidden"),
        ({"vocabulary": "8k"}, "vocabulary"),
        ({"max_length": None}, "max_length"),
        ({"seed": -1}, "seed"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"batch_size": "8"}, "batch_size"),
        ({"hidden": True}, "hidden"),
    ],
)
def test_values_of_other_types_are_one_sentence(changes, name, corpus_file, tmp_path):
    with pytest.raises(ParameterError, match=f"The '{name}' parameter of "):
        run(corpus_file(CHINESE, 150), tmp_path / "out", **changes)
    for texts in (None, 5, [None], ["a\0"], [""]):
        with pytest.raises(ParameterError, match="'texts'"):
            pretrain(texts, tmp_path / "out", **TINY)
    with pytest.raises(ParameterError, match="'out'"):
        run(corpus_file(CHINESE, 150), None)
    assert not list(tmp_path.glob("out*"))


def test_minutes_end_training_early_and_what_was_learnt_is_saved(corpus_file, tmp_path):
    clock = Clock(0.5, now=itertools.count(0.0, 0.1).__next__)
    report = run(corpus_file(ENGLISH, 150), tmp_path / "out", epochs=60.0, clock=clock)
    assert 1 <= report["epochs"] < 60
    transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    assert clock.used_s < 30


def test_of_a_large_document_pieces_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(mlm_data, "SAMPLE_BYTES", 4_000)
    monkeypatch.setattr(mlm_data, "SAMPLE_CHARS", 100)
    (tmp_path / "book.txt").write_text("word " * 8_000)
    corpus = Corpus((tmp_path / "book.txt",))
    for seed in range(3):
        found = sample_texts(corpus, seed, Clock(), progress=False)
        assert 2_000 < sum(map(len, found)) < 8_000
    monkeypatch.setattr(mlm_data, "SAMPLE_BYTES", 1)  # by chance nothing is drawn
    found = sample_texts(corpus, 0, Clock(), progress=False)
    assert [len(piece) for piece in found] == [100]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"layers": 0}, "layers"),
        ({"max_length": 4}, "max_length"),
        ({"epochs": 0.0}, "epochs"),
        ({"vocabulary": 20}, "vocabulary"),
        ({"vocabulary": 10**12}, "vocabulary"),
        ({"max_length": 8000}, "corpus"),
    ],
)
def test_what_cannot_be_is_one_sentence(changes, name, corpus_file, tmp_path):
    with pytest.raises(ParameterError, match=f"The '{name}' parameter of tune"):
        run(corpus_file(CHINESE, 150), tmp_path / "out", **changes)
    assert not list(tmp_path.glob("out*"))


def test_what_is_written_beside_the_text_is_not_read(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "text.txt").write_text("")
    with pytest.raises(ParameterError, match="files with text"):
        run(corpus, corpus / "out")
    (corpus / "text.txt").write_text("\n".join(lines_of(ENGLISH, 150)))
    (corpus / "out.run").mkdir()
    (corpus / "out.run" / "tokenizer.json").write_text('{"text": "a state"}')
    RUN.write_config(corpus / "out.run", {"settings": {}, "progress": {}, "used_s": 0.0})
    first = run(corpus / "text.txt", tmp_path / "alone", epochs=1.0)
    assert run(corpus, corpus / "out", epochs=1.0)["tokens"] == first["tokens"]


def test_a_folder_that_holds_something_is_refused(corpus_file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for folder in (tmp_path / "out", tmp_path / "out" / "notes.txt"):
        with pytest.raises(ParameterError, match=r"'out'.*a new or empty folder"):
            run(corpus_file(ENGLISH, 150), folder, epochs=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
