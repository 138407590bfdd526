"""The tune benchmark: its own arithmetic, its bars; its page says what its files say."""

import json
import zlib

import numpy as np
import pytest
import typer

pytest.importorskip("torch")

from benchmarks.tune import data, default_scorer, judged, lists, page, quality, speed

from shoestring.tune.command import app


def row(step, ten, resident, kept):
    return {
        "step, ms": step, "once, s": 1.0, "an epoch, s": step / 10, "ten epochs, s": ten,
        speed.RESIDENT: resident, speed.KEPT: kept, "trained parameters": 5,
    }  # fmt: skip


TABLE = {
    "head": row(1, 2, 1, 1),
    "ladder": row(10, 20, 30, 19),
    "lora": row(120, 130, 100, 100),
    "lora, bfloat16": row(90, 110, 100, 90),
    "full": row(190, 210, 300, 200),
    "full, bfloat16": row(290, 310, 300, 200),
}


def test_bars_compare_with_the_faster_precision_of_each_peer():
    found = speed.bars(TABLE, {"overhead": 0.1})
    assert found["ten epochs, of LoRA's"] == {
        "share": round(20 / 110, 3), "bar": 0.2, "holds": True,
    }  # fmt: skip
    assert found["ten epochs, of full's"]["share"] == round(20 / 210, 3)
    assert found["a cached epoch, of LoRA's"]["share"] == round(1 / 9, 3)
    assert found["kept for backward, of LoRA's"] == {
        "share": round(19 / 90, 3), "bar": 0.2, "holds": False,
    }  # fmt: skip
    assert found["resident memory, of LoRA's"]["holds"]
    assert not speed.bars(TABLE, {"overhead": 0.16})["inference, over the backbone"]["holds"]


def test_the_way_that_counts_is_chosen_on_what_was_held_out():
    tasks = {
        "MRPC": {
            "methods": {
                "ladder": {"mean": 90.0, "held out": 70.0},
                "ladder, fisher": {"mean": 80.0, "held out": 71.0},
                "head": {"mean": 77.5, "held out": 70.0},
            }
        }
    }
    means = {name: quality.mean_over(tasks, name) for name in ("head", "ladder", "lora", "full")}
    assert means == {"head": 77.5, "ladder": 80.0, "lora": None, "full": None}
    assert quality.bars(means) == {
        "at most 0.5 points below LoRA": None,
        "at least 3 points above the head": False,
    }
    assert quality.bars({**means, "lora": 80.5})["at most 0.5 points below LoRA"]
    assert not quality.bars({**means, "lora": 80.6})["at most 0.5 points below LoRA"]


def test_the_command_line_knows_the_commands_of_all_methods(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "chinese_bert", lambda: tmp_path / "bert")
    commands = typer.main.get_command(app).commands
    found = {}
    for task_name in data.TASKS:
        kind = data.PAIRS[task_name][1] if task_name in data.PAIRS else "classify"
        task = data.Task(task_name, kind, "accuracy", tmp_path, tmp_path)
        for method in quality.methods_of(task):
            name, *call = quality.arguments(task, method, 0, 1.0)
            context = commands[name].make_context(name, [*call, "--out", str(tmp_path)])
            found[task_name, method] = {"command": name, **context.params}
    apart, joint = found["STS-B", "lora, apart"], found["STS-B", "lora"]
    assert (joint["command"], joint["task"], joint["max_length"]) == ("score", "regress", 128)
    assert (apart["pairs"], apart["max_length"], apart["backbone"]) == ("apart", 64, "minilm")
    assert found["OPPO", "lora"]["backbone"] == str(tmp_path / "bert")


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Make the files of a run, as a training that went well."""
    monkeypatch.setattr(data, "controls", lambda task: {"untrained": 50.0})
    monkeypatch.setattr(quality, "CACHE", tmp_path)
    monkeypatch.setattr(data, "chinese_bert", lambda: tmp_path / "bert")
    monkeypatch.setattr(
        data, "task", lambda name: data.Task(name, "classify", "accuracy", tmp_path, tmp_path)
    )

    def write(task, method, seed, epochs, value=0.7):
        file = quality.kept_in(task, method, seed, epochs)
        file.parent.mkdir(parents=True, exist_ok=True)
        report = {"test": {"accuracy": value}, "held_out": {"accuracy": value - 0.1}}
        file.write_text(json.dumps({**report, "trained_parameters": 1}))

    return write


def test_means_are_taken_of_each_language(made):
    tasks = [data.task(name) for name in ("SST-2", "hotel")]
    for task, value in zip(tasks, (0.8, 0.9), strict=True):
        made(task, "ladder", 0, 10.0, value)
    assert quality.table(tasks, 10.0, {})["means"] == {
        "English": {"head": None, "ladder": 80.0, "lora": None, "full": None},
        "Chinese": {"head": None, "ladder": 90.0, "lora": None, "full": None},
    }


def test_runs_of_the_written_file_are_not_made_again_and_stay(made, monkeypatch, tmp_path):
    asked = []

    def run(task, method, seed, epochs):
        asked.append((task.name, method, seed))
        made(task, method, seed, epochs)

    def measured(*words):
        monkeypatch.setattr("sys.argv", ["quality", *words, "--json", str(tmp_path / "r.json")])
        quality.main()
        return json.loads((tmp_path / "r.json").read_text("utf-8"))

    monkeypatch.setattr(quality, "run", run)
    only = ["--methods", "head"]
    first = measured("--tasks", "SST-2", *only, "--seeds", "0")
    made(data.task("SST-2"), "head", 0, 10.0, value=0.2)  # not what was written
    monkeypatch.setattr(data, "controls", lambda task: {"untrained": 60.0})
    second = measured("--tasks", "SST-2", "hotel", *only, "--seeds", "0", "1")
    assert asked == [("SST-2", "head", 0), ("hotel", "head", 0), ("SST-2", "head", 1),
                     ("hotel", "head", 1)]  # fmt: skip
    found = second["tasks"]["SST-2"]
    assert found["controls"] == {"untrained": 50.0}
    assert found["methods"]["head"]["mean"] == 70.0
    of_seed = {"test": 70.0, "held out": 60.0, "trained parameters": 1, "commit": None}
    assert found["methods"]["head"]["runs"] == {"0": of_seed, "1": of_seed}
    third = measured("--tasks", "hotel", *only, "--seeds", "0")
    assert third["tasks"] == second["tasks"] != first["tasks"]
    made(data.task("hotel"), "head", 0, 1.0, value=0.4)
    quick = measured("--quick", "--tasks", "hotel", *only)
    assert quick["tasks"]["hotel"]["methods"]["head"]["mean"] == 40.0
    assert list(quick["tasks"]) == ["hotel"]  # one epoch is another benchmark


def test_of_pairs_so_many_are_drawn_in_their_order():
    rows = [(str(i), "", "0") for i in range(50)]
    drawn = data.some(rows, 10, 0)
    assert len(drawn) == 10
    assert drawn == sorted(drawn, key=lambda row: int(row[0]))
    assert drawn == data.some(rows, 10, 0) != data.some(rows, 10, 1)
    assert data.some(rows, 99, 0) == rows


@pytest.mark.parametrize("name", data.TASKS)
def test_the_real_tasks_are_there(name, data_dir, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "CACHE", tmp_path)
    task = data.task(name)
    train, test = data.read(task.train), data.read(task.test)
    assert ("b" in train) == task.is_of_pairs
    assert len(train["label"]) > len(set(train["label"]))
    assert len(test["a"]) >= 500
    assert not set(zip(train["a"], train.get("b", train["a"]), strict=True)) >= set(
        zip(test["a"], test.get("b", test["a"]), strict=True)
    )


def test_the_page_says_what_the_files_say():
    documents = {
        "tune-speed": {
            "machine": "M", "python": "P", "commit": "C", "seed": 0, "load average": 0.1,
            "batch": 32, "tokens": 32, "turns": 3, "ways": TABLE, "published": speed.PUBLISHED,
            "inference": {"ladder, s": 2.1, "backbone, s": 2.0, "overhead": 0.05},
            "bars": speed.bars(TABLE, {"overhead": 0.05}),
        },

        "tune-default-scorer": {
            "machine": "M", "python": "P", "commit": "C", "seed": 0, "load average": 0.1,
            "default": "head, late", "shipped": {"head, late": "m", "x": "n"}, "lists": 15_000,
            "packages": ["numpy", "scipy"],
            "bars": {"no worse on scifact": True},
            "ways": {"head, late": {"sources": ["documentation", "wikipedia"]}},
            "table": {
                "token interaction": {
                    "standard library": {"MRR@30": 0.4336, "nDCG@10": 0.5},
                },
                "head, late": {
                    "standard library": {
                        "MRR@30": 0.4545, "nDCG@10": 0.5, "difference": [0.01, 0.03],
                        "questions": 2_125,
                    },

                },
            },
        },
        "tune-quality": {
            "epochs": 10, "means": {"English": {"head": 80.0, "ladder": 84.5, "lora": None}},
            "bars": {"at least 3 points above the head": True, "below LoRA": None},
            "tasks": {
                "MRPC": {
                    "figure": "accuracy", "controls": {"most frequent class": 66.5},
                    "methods": {
                        "head": {"mean": 80.0, "spread": 1.0, "runs": dict.fromkeys("012")},
                        "ladder": {"mean": 84.5, "spread": 0.4, "runs": dict.fromkeys("01")},
                    },
                },

            },
        },
    }  # fmt: skip
    text = "\n".join(page.sections(documents.get))
    for said in (
        "| MRPC (accuracy) | 80.00 ± 0.50 (3) | 84.50 ± 0.20 (2) |",
        "| English | 80.00 | 84.50 |  |",
        "below LoRA: not all runs are there",
        "most frequent class 66.5",
        "| a cached epoch, of LoRA's | 0.111 | 0.125 | yes |",
        "69 % less memory",
        "| head, late **(m, the default)** | 0.4545 (+0.0100 to +0.0300; 2,125 questions) |",
        "15,000 lists of the documentation of 2 packages and of the English Wikipedia; in brack",
    ):
        assert said in text
    assert page.sections({}.get) == []


ASKED = judged.Asked(
    ["q", "r"], ["a", "b", "c", "d"], np.array([[2, 0, 1], [3, 1, 0]]), {0: {0, 3}, 1: {2}}
)


def test_figures_are_those_of_a_hand_count():
    ranks, ndcg = ASKED.figures(np.array([[0.1, 0.7, 0.9], [3.0, 2.0, 1.0]]))
    assert ranks.tolist() == [0.5, 0.0]  # the right text second; not among the first
    assert ndcg[0] == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))  # two are right
    assert ndcg[1] == 0


@pytest.fixture
def few_candidates(monkeypatch, tmp_path):
    places = np.array([[0, 1, 2], [2, 0, 3], [2, 3, 0], [1, 0, 2]])
    texts = list("abcd")
    found = {
        lists.DOCUMENTATION: (list("ABCD"), texts, places),
        lists.WIKIPEDIA: (list("WXYZ"), texts, places),
    }
    monkeypatch.setattr(lists, "DEPTH", 3)
    monkeypatch.setattr(lists, "FOLDER", tmp_path)
    monkeypatch.setattr(lists, "candidates", found.get)


def lines_of(**settings):
    way = lists.Way("head", "late", **settings)
    text = lists.lists(way, 0).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_lists_are_of_questions_whose_text_is_among_the_first(few_candidates):
    lines = lines_of(limit=None, n_wrong=2)
    assert {line["a"] for line in lines} == {"A", "C"}
    assert len(lines) == 6
    right = [(line["a"], line["b"]) for line in lines if line["label"]]
    assert sorted(right) == [("A", "a"), ("C", "c")]
    assert {line["b"] for line in lines if line["a"] == "C" and not line["label"]} == {"d", "a"}


def test_no_more_lists_than_were_asked_for_of_each_source(few_candidates):
    assert len({line["a"] for line in lines_of(limit=1)}) == 1
    both = lines_of(limit=1, sources=(lists.DOCUMENTATION, lists.WIKIPEDIA))
    asked = "".join(sorted({line["a"] for line in both}))
    assert asked in ("AW", "AY", "CW", "CY")


def test_differences_are_of_each_collection_and_of_all_but_the_library():
    base = {
        judged.LIBRARY: (np.zeros(3), np.zeros(3)), "a": (np.zeros(2), np.full(2, 0.5)),
        "b": (np.zeros(2), np.full(2, 0.25)),
    }  # fmt: skip
    found = {
        judged.LIBRARY: (np.full(3, 0.5), np.zeros(3)), "a": (np.ones(2), np.ones(2)),
        "b": (np.zeros(2), np.full(2, 0.25)),
    }  # fmt: skip
    row = default_scorer.compared(found, base, 0)
    assert row[judged.LIBRARY] == {
        "MRR@30": 0.5, "nDCG@10": 0.0, "difference": [0.5, 0.5], "questions": 3
    }  # fmt: skip
    assert row["a"]["difference"] == [0.5, 0.5]
    assert row["b"]["difference"] == [0.0, 0.0]
    elsewhere = row[default_scorer.ELSEWHERE]
    assert (elsewhere["nDCG@10"], elsewhere["questions"]) == (0.625, 4)
    assert elsewhere["difference"][0] < 0.25 < elsewhere["difference"][1]
    assert "difference" not in default_scorer.compared(found, None, 0)["a"]


def test_scores_that_were_kept_are_not_asked_for_again(monkeypatch, tmp_path):
    monkeypatch.setattr(default_scorer, "FOLDER", tmp_path)
    asked = {"x": ASKED, "y": ASKED}
    places = np.zeros((2, 3))
    name = default_scorer._digest(ASKED.pairs)
    kept = {f"x {name}": places, f"y {name}": places, "y of other pairs": places + 1}
    np.savez(tmp_path / "scores-token-interaction-0.npz", **kept)
    found = default_scorer.scores_of(default_scorer.BASE, 0, asked)
    assert sorted(found) == ["x", "y"]
    assert not found["y"].any()


@pytest.mark.parametrize(
    ("library", "scifact", "want"),
    [([0.01, 0.02], [-0.01, 0.0], (True, True)), ([0.0, 0.02], [-0.02, -0.01], (False, False))],
)
def test_what_may_be_shipped_is_better_here_and_no_worse_there(library, scifact, want):
    row = {"standard library": {"difference": library}, "scifact": {"difference": scifact}}
    assert tuple(default_scorer.bars({default_scorer.DEFAULT: row}).values()) == want


def test_what_is_shipped_can_be_made_again(monkeypatch, tmp_path):
    from shoestring.match import interaction

    for name, folder in interaction.SHIPPED.items():
        way = default_scorer.WAYS[default_scorer.SHIPPED[name]]
        assert (way.pairs, way.limit) == ("late", None)
        assert any(folder.glob("*/adapter")) == (way.method == "lora")

    def trained(name, seed):
        folder = tmp_path / f"{name} {seed}"
        folder.mkdir()
        (folder / "config.json").write_text(name, "utf-8")
        return folder

    shipped = {name: tmp_path / name for name in interaction.SHIPPED}
    monkeypatch.setattr(default_scorer, "FOLDER", tmp_path)
    monkeypatch.setattr(default_scorer, "trained", trained)
    monkeypatch.setattr(interaction, "SHIPPED", shipped)
    assert default_scorer.ship(0) == list(shipped.values())
    for name, folder in shipped.items():
        assert (folder / "config.json").read_text("utf-8") == default_scorer.SHIPPED[name]


def test_the_control_has_the_same_numbers_in_another_order(monkeypatch, tmp_path):
    numpy_files = pytest.importorskip("safetensors.numpy")
    folder = tmp_path / "trained"
    names = ("save-1/side.safetensors", "save-1/adapter/m.safetensors")
    (folder / "save-1" / "adapter").mkdir(parents=True)
    weights = {"a": np.arange(12.0).reshape(3, 4), "bias": np.arange(3.0)}
    for name in names:
        numpy_files.save_file(weights, folder / name)
    config = {"save": "save-1", "files": {"side.safetensors": 0}}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(default_scorer, "FOLDER", tmp_path)
    monkeypatch.setattr(default_scorer, "trained", lambda name, seed: folder)
    mixed = default_scorer.shuffled("head, late", 0)
    for name in names:
        found, old = (numpy_files.load_file(where / name) for where in (mixed, folder))
        assert sorted(found["a"].ravel()) == sorted(old["a"].ravel())
        assert (found["a"] != old["a"]).any()
        assert (found["bias"] == old["bias"]).all()
    side = json.loads((mixed / "config.json").read_text())["files"]["side.safetensors"]
    assert side == zlib.crc32((mixed / names[0]).read_bytes())
