"""The page ``docs/results/match.md`` and its two pictures: ``benchmarks.report``.

A part that has not run is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import output
from benchmarks.output import Read, markdown, picture, ran, yes

Document = dict[str, Any]
Lines = list[str]
SHARES = ("top 100", "top 500", "top 1500", "running text")
SHOWN = (*SHARES, "readable by its confidence", "agreement", "CPU seconds")
BY_SIZE = {2_000: "2,000 texts", 20_000: "20,000 texts", 100_000: "100,000 texts"}
BY_SIZE |= {200_000: "200,000 texts"}
LABELS = {"true": "plain text", "both": "deciphered", "rank": "frequency rank"}
LABELS |= {"resize": "mean of all rows", "shuffled": "shuffled", "random": "random"}
COLOURS = {"true": "#334155", "both": "#0f766e", "rank": "#b45309", "resize": "#7c3aed"}
COLOURS |= {"shuffled": "#94a3b8", "random": "#cbd5e1"}


def sections(read: Read) -> Lines:
    """All that there is."""
    return output.sections(read, "match", SECTIONS)


def decipherment(document: Document) -> Lines:
    """Shares of identities that are right."""
    rows = {name: [case[n] for n in SHOWN] for name, case in document["cases"].items()}
    bars = {name: case for name, case in document["cases"].items() if case["bar"]}
    lines = [
        "## Pseudonymised text: what it gives away",
        "",
        "`python -m benchmarks.match.decipherment`: each symbol a number by a random key; shares "
        "of the most frequent symbols, and of the running text, that public text gives back. "
        f"Means over keys. {ran(document)}",
        "",
        *(
            f"- {name}: at least {case['bar']} of the 500 most frequent: "
            f"{yes(case['top 500'] >= case['bar'])} ({', '.join(map(str, case['top 500 by key']))})"
            for name, case in bars.items()
        ),
        "",
        *markdown("secret side", SHOWN, rows),
        "",
    ]
    for name, peers in document["peers"].items():
        columns = (*SHARES, "CPU seconds")
        peers = {"ours": document["cases"][name], **peers}
        rows = {peer: [found[n] for n in columns] for peer, found in peers.items()}
        lines += [f"### beside peers: {name}", "", *markdown("", columns, rows), ""]
    return lines


def audit(document: Document) -> Lines:
    """The estimate without the key beside the measured share."""
    columns = ("measured", "readable", "at best", "agreement", "failed", "within the bar")
    rows = {
        f"{name}, {what}": [run[n] for n in columns]
        for name, runs in document.items()
        if isinstance(runs, dict)
        for what, run in runs.items()
        if isinstance(run, dict) and "measured" in run
    }
    return [
        "## Pseudonymised text: what an audit says without the key",
        "",
        "`python -m benchmarks.match.audit`: the share of the running text that is read right, and "
        "its estimate without the key (`readable`), within 0.05 of it if all is well; the controls "
        f"should fail. {ran(document)}",
        "",
        *markdown("", columns, rows),
        "",
    ]


def curves(document: Document) -> Lines:
    """AUC at the end and on the way."""
    lines = [
        "## Matching: what an alignment buys",
        "",
        "`python -m benchmarks.match.curves`: AUC of a pretrained model that learns pairs whose "
        f"symbols are numbers, means over {len(document['seeds'])} keys and seeds; "
        f"{document['labelled pairs']:,} labelled pairs. {ran(document)}",
        "",
    ]
    for name, task in document["tasks"].items():
        closed = ", ".join(f"{share:g} {what}" for what, share in task["closed"].items())
        rows = {
            LABELS[way]: [auc, task["mean auc"][way]] for way, auc in task["auc at the end"].items()
        }
        lines += [
            f"### {name}, {task['steps']} steps of {task['pairs a step']} pairs",
            "",
            f"Decipherment closes {closed} of the room from rank to plain text; at least "
            f"{task['bar']}: {yes(task['holds'])}.",
            "",
            *markdown("rows of the model", ["AUC at the end", "mean of the curve"], rows),
            "",
        ]
    return lines


def matching(document: Document) -> Lines:
    """Floors, thresholds, the joint objective, the best model: the parts that have run."""
    found, lines = document["parts"], ["## Matching: matchers", ""]
    lines += [f"`python -m benchmarks.match.matching`. {ran(document)}", ""]
    if floors := found.get("floors"):
        columns = list(next(iter(floors.values())))
        rows = {name: list(row.values()) for name, row in floors.items()}
        lines += ["### floors: AUC without a model", "", *markdown("", columns, rows), ""]
    if thresholds := found.get("threshold"):
        columns = list(next(iter(thresholds.values())))
        rows = {name: list(row.values()) for name, row in thresholds.items()}
        lines += ["### thresholds on new pairs of OPPO", "", *markdown("", columns, rows), ""]
    if joint := found.get("joint"):
        gains = ", ".join(f"{way} {gain:+g}" for way, gain in joint["gain"].items())
        title = f"### {joint['labelled']:,} labelled and {joint['unlabelled']:,} unlabelled pairs"
        columns = [f"seed {seed}" for seed in range(len(joint["auc"]["plain"]))]
        lines += [title, "", f"AUC above plain fine-tuning: {gains}.", ""]
        blank = [""] * len(columns)
        rows = {way: [*of, *blank][: len(columns)] for way, of in joint["auc"].items()}
        lines += [*markdown("", columns, rows), ""]
    if leak := found.get("leak"):
        same = f"equal: {yes(leak['equal'])}"
        both = f"Plain {leak['plain']:.5f}, pseudonymised {leak['pseudonymised']:.5f}; {same}."
        lines += ["### without a base model", "", both, ""]
    if best := found.get("best"):
        bar = f"at least {document['bars']['best']}: {yes(best['holds'])}"
        auc = f"AUC {best['auc']:.4f}, with boosting {best['with boosting']:.4f}; {bar}."
        lines += [f"### OPPO dev-clean after {best['minutes']:g} minutes", "", auc, ""]
    if peers := found.get("peers"):
        columns = list(next(iter(peers.values())))
        rows = {name: list(row.values()) for name, row in peers.items()}
        lines += ["### peers: AUC", "", *markdown("", columns, rows), ""]
    return lines


def pictures(read: Read, folder: Path) -> None:
    """The deciphered share by number of texts; learning curves."""
    if document := read("match-decipherment"):
        there = document["cases"]
        named = {n: f"OPPO, {name}" for n, name in BY_SIZE.items()}
        cases = {n: there[name] for n, name in named.items() if name in there}
        with picture(folder / "match-deciphered.svg", (7, 3.2)) as axes:
            for share, colour in (("running text", "#0f766e"), ("top 500", "#5eead4")):
                ours = [100 * case[share] for case in cases.values()]
                axes.plot(list(cases), ours, "o-", color=colour, label=f"deciphered: {share}")
            for peers in document["peers"].values():
                rank = 100 * peers["frequency rank"]["running text"]
                label = "by frequency rank (published): running text"
                axes.axhline(rank, color="#b45309", label=label)
            if control := there.get("OPPO, public side shuffled"):
                share = 100 * control["running text"]
                axes.axhline(share, color="#94a3b8", ls=":", label="control: public text shuffled")
            axes.set_xscale("log")
            axes.set_xticks(list(cases), [f"{n:,}" for n in cases], minor=False)
            axes.minorticks_off()
            axes.set(xlabel="pseudonymised texts", ylabel="% read right, no key")
            axes.legend(frameon=False, fontsize=8)
            _finish(axes)
    if document := read("match-curves"):
        tasks, n = document["tasks"], document["points"]
        size = (3.5 * len(tasks), 3.2)
        with picture(folder / "match-curves.svg", size, len(tasks), squeeze=False) as both:
            for axes, (name, task) in zip(both[0], tasks.items(), strict=True):
                steps = [task["steps"] * (i + 1) // n for i in range(n)]
                for way, runs in task["curves"].items():
                    mean = [sum(points) / len(runs) for points in zip(*runs, strict=True)]
                    axes.plot(steps, mean, "o-", ms=3, color=COLOURS[way], label=LABELS[way])
                axes.set(title=name, xlabel="steps")
                _finish(axes)
            both[0][0].set_ylabel("AUC on pairs of other texts")
            both[0][0].legend(frameon=False, fontsize=8)


def _finish(axes: Any) -> None:
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


SECTIONS: dict[str, Callable[[Document], Lines]] = {
    "decipherment": decipherment,
    "audit": audit,
    "curves": curves,
    "matching": matching,
}
