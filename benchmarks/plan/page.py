"""The page ``docs/results/plan.md`` and the picture of the components."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import output
from benchmarks.output import Read, markdown, picture, ran, yes

Document = dict[str, Any]
Lines = list[str]


def sections(read: Read) -> Lines:
    """All that there is."""
    return output.sections(read, "plan", SECTIONS)


def counts(document: Document) -> Lines:
    """Families and differences."""
    rows = {
        family: [found["cases"], len(found["differ"]), ", ".join(found["attention"])]
        for family, found in document["families"].items()
    }
    both = document["families with both kinds of attention"]
    bars = document["bars"]
    holds = document["differ"] == bars["differ"] and both >= bars["families"]
    return [
        "## Planning: FLOPs in closed form against the operators",
        "",
        f"`python -m benchmarks.plan.counts`: {document['cases']} cases, {document['differ']} "
        f"differ; {len(rows)} families, {both} of them eager and fused, forward and with backward, "
        f"lengths {', '.join(map(str, document['lengths']))}, default sizes with two layers, "
        f"{_versions(document)}. {ran(document)}",
        "",
        *markdown("family", ["cases", "differ", "attention"], rows),
        "",
        f"- no difference for at least 25 architectures: {yes(holds)}",
        "",
    ]


def peers(document: Document) -> Lines:
    """Other counters."""
    cases = list(next(iter(document["ratios"].values())))
    rows = {case: [found[case] for found in document["ratios"].values()] for case in cases}
    return [
        "## Planning: what other counters say",
        "",
        "`python -m benchmarks.plan.peers`: FLOPs of a forward pass over ours, which equal the "
        f"operators; multiply-adds are doubled. {_versions(document)}. {ran(document)}",
        "",
        *markdown("model, attention, tokens", list(document["ratios"]), rows),
        "",
    ]


def memory(document: Document) -> Lines:
    """Live and resident bytes."""
    rows = {
        case: [
            *(f"{found[name] / 2**20:,.0f}" for name in ("live", "predicted")),
            f"{found['error']:+.1%}",
            *(f"{found[name] / 2**20:,.0f}" for name in ("resident", "predicted resident")),
            f"{found['resident error']:+.1%}",
            yes(found["holds"]),
        ]
        for case, found in document["cases"].items()
    }
    columns = ("live MiB", "predicted", "error", "resident MiB", "predicted", "error", "holds")
    return [
        "## Planning: memory",
        "",
        "`python -m benchmarks.plan.memory`: bars 3 % of live bytes, and 10 % or 40 MiB of "
        f"resident ones. {ran(document)}",
        "",
        *markdown("case", columns, rows),
        "",
    ]


def timing(document: Document) -> Lines:
    """Errors of predicted time."""
    bars = document["bars"]
    names = ("predicted", "FLOPs over peak")
    rows = {name: [f"{value:.1%}" for value in document[name].values()] for name in names}
    ours = document["predicted"]
    holds = ours["median error"] <= bars["median error"]
    holds &= ours["90th percentile"] <= bars["90th percentile"]
    holds &= ours["quicker named"] >= bars["quicker named"]
    return [
        "## Planning: time",
        "",
        f"`python -m benchmarks.plan.timing`: {len(document['cases'])} cases, forward and training "
        f"step, float32 and bfloat16. {ran(document)}",
        "",
        *markdown("", list(ours), rows),
        "",
        f"- median 15 %, 90th percentile 35 %, quicker named in 95 %: {yes(holds)}",
        "",
    ]


def attention(document: Document) -> Lines:
    """Crossovers."""
    columns = ("FLOPs", "predicted", "measured", "error", "bytes")
    rows = {case: [_short(row[c]) for c in columns] for case, row in document["crossovers"].items()}
    bounds = {
        name: [_short(row[c]) for c in ("published", "measured")]
        for name, row in document["bounds"].items()
    }
    return [
        "## Planning: from which length linear attention is quicker",
        "",
        "`python -m benchmarks.plan.attention`: a BERT-base layer, forward and backward, in "
        f"tokens; bar for the predicted length: 20 %. {ran(document)}",
        "",
        *markdown("kernels", columns, rows),
        "",
        *markdown("published bound", ["published", "measured"], bounds),
        "",
    ]


def _versions(document: Document) -> str:
    return ", ".join(f"{name} {version}" for name, version in document["versions"].items())


def _short(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:+.0%}" if abs(value) < 10 else f"{value:,.0f}"


SECTIONS = {
    "counts": counts,
    "peers": peers,
    "memory": memory,
    "timing": timing,
    "attention": attention,
}


def pictures(read: Read, docs: Path) -> None:
    """Which component has which share of the work; nothing of it is measured."""
    from transformers import BertConfig, LlamaConfig

    from shoestring.plan.cost import describe, macs

    lengths = [2**power for power in range(5, 17)]
    configs = {"BERT-base": BertConfig(), "Llama 2, 7 billion": LlamaConfig()}
    with picture(docs / "plan-share.svg", (9, 3.2), 2, sharey=True) as places:
        for place, (name, config) in zip(places, configs.items(), strict=True):
            sums = [macs(describe(config), 1, n) for n in lengths]
            parts = ("feed-forward", "projections", "attention")
            shares = [
                [100 * found[part][0] / sum(pair[0] for pair in found.values()) for found in sums]
                for part in parts
            ]
            place.stackplot(lengths, shares, labels=parts, alpha=0.8)
            place.axvline(2 * config.hidden_size, color="black", linewidth=0.8, linestyle=":")
            place.axvline(6 * config.hidden_size, color="black", linewidth=0.8)
            place.set_xscale("log", base=2)
            place.set(title=name, xlabel="tokens (dotted: 2 D; line: 6 D)", xlim=(32, 65536))
            place.set_ylim(0, 100)
        places[0].set_ylabel("% of the FLOPs")
        places[0].legend(loc="lower left", fontsize=8)
