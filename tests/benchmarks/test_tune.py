"""The tune benchmark: its own arithmetic, its bars; its page says what its files say."""

import csv

import pytest

pytest.importorskip("torch")

from benchmarks.tune import data, page, quality, speed


def row(step, ten, resident, kept):
    return {
        "step, ms": step, "once, s": 1.0, "an epoch, s": step / 10, "ten epochs, s": ten,
        speed.RESIDENT: resident, speed.KEPT: kept, "trained parameters": 5,
    }  # fmt: skip


TABLE = {
    "head": row(1, 2, 1, 1),
    "ladder": row(10, 20, 30, 19),
    "ladder, int8 cache": row(10, 20, 30, 19),
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


def test_each_task_has_its_command(tmp_path):
    train, out = tmp_path / "train.csv", tmp_path / "out"
    texts = data.Task("banking77", "classify", "accuracy", train, train)
    pairs = data.Task("STS-B", "regress", "spearman", train, train)
    call = quality.arguments(texts, "ladder, fisher", 3, 10.0, out)
    assert call[:2] == ["classify", str(train)]
    assert call[-2:] == ["--init", "fisher"]
    assert call[call.index("--method") + 1] == "ladder"
    call = quality.arguments(pairs, "lora", 0, 1.0, out)
    assert call[call.index("--task") + 1] == "regress"
    assert call[call.index("--max-length") + 1] == "128"  # both texts in one
    assert "--init" not in call
    call = quality.arguments(pairs, "lora, apart", 0, 1.0, out)
    assert call[-2:] == ["--pairs", "apart"]
    assert call[call.index("--max-length") + 1] == "64"  # of each


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


def test_the_columns_of_a_file_are_read(tmp_path):
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "label"), ("多 行\n字", "x"), ("b, c", "y")])
    assert data.read(tmp_path / "t.csv") == {"a": ["多 行\n字", "b, c"], "label": ["x", "y"]}


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
        "tune-scale": {
            "what": "a large one", "ways": {"ladder": [2.1, 9.0], "full": ["more than 22", "-"]},
            "ladder below 8 GiB": True,
        },
        "tune-quality": {
            "epochs": 10, "means": {"head": 80.0, "ladder": 84.5, "lora": None},
            "bars": {"at least 3 points above the head": True, "below LoRA": None},
            "tasks": {
                "MRPC": {
                    "figure": "accuracy", "controls": {"most frequent class": 66.5},
                    "methods": {
                        "head": {"mean": 80.0, "spread": 1.0, "seeds": 3},
                        "ladder": {"mean": 84.5, "spread": 0.4, "seeds": 2},
                    },
                },
                "SST-2": {
                    "figure": "accuracy", "controls": {},
                    "methods": {"head": {"mean": 80.5, "spread": 0.0, "seeds": 1}},
                },
            },
        },
    }  # fmt: skip
    text = "\n".join(page.sections(documents.get))
    for said in (
        "| MRPC (accuracy) | 80.00 ± 0.50 (3) | 84.50 ± 0.20 (2) |",
        "| SST-2 (accuracy) | 80.50 ± 0.00 (1) |  |",
        "below LoRA: not all runs are there",
        "most frequent class 66.5",
        "| a cached epoch, of LoRA's | 0.111 | 0.125 | yes |",
        "| full | more than 22 | - |",
        "69 % less memory",
    ):
        assert said in text
    assert page.sections({}.get) == []
