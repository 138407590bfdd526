"""The page ``docs/results/doctor.md`` and its pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import output
from benchmarks.output import Read, markdown, picture, ran, yes

Document = dict[str, Any]
Lines = list[str]
WAYS = ("of this text", "of the config alone", "closed forms")
NAMES = ("forward", "backward", "correlation")


def sections(read: Read) -> Lines:
    """All that there is."""
    return output.sections(read, "doctor", SECTIONS)


def prediction(document: Document) -> Lines:
    """Within 10 % of what is measured."""
    total, bars = document["total"], document["bars"]
    ours = total["of this text"]
    holds = ours["forward"] >= bars["forward"] and ours["backward"] >= bars["backward"]
    holds &= ours["correlation"] <= bars["correlation"]
    rows = {
        name: [case[way][key] for way in WAYS for key in NAMES]
        for name, case in document["cases"].items()
    }
    columns = [f"{key}, {way}" for way in WAYS for key in NAMES]
    return [
        "## Doctor: predicted beside measured",
        "",
        "`python -m benchmarks.doctor.prediction`: the share of sublayers whose deviation "
        f"(gradient) is within 10 % of the mean of {document['seeds']} seeds, and the largest "
        f"error of a correlation; width {document['width']}, {document['texts']} texts of "
        f"{document['tokens']} pieces. {ran(document)}",
        "",
        *markdown("all", NAMES, {way: [total[way][key] for key in NAMES] for way in WAYS}),
        "",
        f"- 99 % forward, 95 % backward, correlations within 0.05: {yes(holds)}",
        "",
        *markdown("model", columns, rows),
        "",
    ]


def faults(document: Document) -> Lines:
    """What was planted, and what was found."""

    def found(runs: list[Document]) -> str:
        return ", ".join(dict.fromkeys(name for run in runs for name in run["faults"])) or "none"

    planted = {n: [c["planted"], found(c["runs"])] for n, c in document["planted"].items()}
    sound = {name: [found(runs)] for name, runs in document["sound"].items()}
    return [
        "## Doctor: planted faults and sound models",
        "",
        f"`python -m benchmarks.doctor.faults`, width {document['width']}. {ran(document)}",
        "",
        f"- all planted faults found: {yes(document['found'] == 1.0)}; false alarms: "
        f"{document['false alarms']}; at most {document['seconds']} s a model",
        "",
        *markdown("planted", ["fault", "found"], planted),
        "",
        *markdown("sound", ["found"], sound),
        "",
    ]


def deviation(document: Document) -> Lines:
    """From too small to too large."""
    columns = list(next(iter(document["cases"].values())))[:-1]
    rows = {
        name: [*(", ".join(c[k]) if k == "faults" else c[k] for k in columns),
               *c["last loss by warm-up"].values()]
        for name, c in document["cases"].items()
    }  # fmt: skip
    return [
        "## Doctor: the deviation of the weights",
        "",
        f"`python -m benchmarks.doctor.deviation`: {document['layers']} post-norm layers, "
        f"{document['steps']} steps at {document['rate']}, {document['seeds']} seeds. "
        f"{ran(document)}",
        "",
        *markdown("deviation", [*columns, "last loss", "last loss, warmed up"], rows),
        "",
    ]


def training(document: Document) -> Lines:
    """Without warm-up."""
    last, bars = document["last"], document["bars"]
    ratio = document["prescribed over the best warmed up"]
    holds = ratio <= bars["to the best warmed-up loss"]
    stalls = last["default"] > bars["the default stalls above"]
    rows = {arm: [f"{document['gains'][arm]:.2g}", loss] for arm, loss in last.items()}
    return [
        "## Doctor: a deep post-norm encoder without warm-up",
        "",
        f"`python -m benchmarks.doctor.training`: {document['layers']} layers, width "
        f"{document['width']}, {document['steps']} steps at {document['rate']}, "
        f"{document['seeds']} seeds. {ran(document)}",
        "",
        *markdown("arm", ["predicted gain", "last loss"], rows),
        "",
        f"- the default stalls: {yes(stalls)}; prescribed, without warm-up, is within 2 % of the "
        f"best warmed-up loss: {yes(holds)} ({ratio})",
        "",
    ]


def head(document: Document) -> Lines:
    """Where the scale of the logits goes."""
    columns = ("gamma", "logits at first", "logits at last", "last loss")
    rows = {name: [case[key] for key in columns] for name, case in document["heads"].items()}
    return [
        "## Doctor: what the dense layer and norm of BERT's head are for",
        "",
        "`python -m benchmarks.doctor.head`: gamma of the encoder's last norm over the median of "
        f"those before it, and the logits' deviation; {document['layers']} layers, "
        f"{document['steps']} steps, {document['seeds']} seeds. {ran(document)}",
        "",
        *markdown("head", columns, rows),
        "",
    ]


SECTIONS = {
    "prediction": prediction,
    "faults": faults,
    "head": head,
    "deviation": deviation,
    "training": training,
}


def pictures(read: Read, docs: Path) -> None:
    """Predicted over measured by depth, and the curves of training."""
    if document := read("doctor-prediction"):
        names = ("BERT", "BERT, half of Xavier", "GPT-2", "Llama")
        depth = max(int(name.split()[-2]) for name in document["cases"])
        titles = ("deviation of a feed-forward part", "gradient at its output", "correlation")
        with picture(docs / "doctor-depth.svg", (9, 3.2), 3) as places:
            for number, name in enumerate(names):
                case = document["cases"][f"{name}, {depth} layers"]
                for place, column in zip(places, range(3), strict=True):
                    for kind, style in (("measured", "."), ("predicted", "-")):
                        values = [row[column] for row in case[kind]][1::2]
                        label = name if kind == "predicted" else None
                        place.plot(values, style, color=f"C{number}", ms=3, lw=1, label=label)
            for place, title in zip(places, titles, strict=True):
                place.set(title=title, xlabel="layer")
            places[1].set_yscale("log")
            places[0].set_yscale("log")
            places[2].legend(fontsize=7, title="lines predicted, dots measured", title_fontsize=7)
    if document := read("doctor-training"):
        with picture(docs / "doctor-training.svg", (6, 3.4)) as place:
            for number, (arm, curves) in enumerate(document["curves"].items()):
                for i, curve in enumerate(curves):
                    steps = [20 * (j + 1) for j in range(len(curve))]
                    label = arm if i == 0 else None
                    place.plot(steps, curve, color=f"C{number}", linewidth=1.2, label=label)
            place.set(xlabel="steps", ylabel="loss (nats)")
            place.legend(fontsize=7)
