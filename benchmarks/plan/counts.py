"""FLOPs in closed form against an operator-level count: ``python -m benchmarks.plan.counts``.

Every described family, at the sizes of transformers' default config with two layers, base model
and with the head that predicts tokens, eager and fused attention, forward and forward + backward,
three lengths. The count is our own dispatch mode's, on tensors without numbers; ``tests/plan``
holds it against hand counts, against torch's own counter where that knows all kernels, and against
a run with numbers. A difference of one FLOP is a failure.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import output
from benchmarks.plan.models import class_of, config_of

LENGTHS, BATCH = (16, 100, 257), 3
ATTENTIONS = ("eager", "sdpa")


def differences(family: str, lengths: tuple[int, ...], heads: tuple[bool, ...]) -> dict[str, Any]:
    """Cases that were compared, those that differ, and whether parameters are exact."""
    from shoestring.models.backbone import quiet_loading
    from shoestring.plan.cost import describe, macs, weights
    from shoestring.plan.trace import run_without_numbers

    found: dict[str, Any] = {"cases": 0, "differ": [], "attention": [], "unexplained": 0}
    for has_head in heads:
        kind = class_of(family, has_head)
        for attention in ATTENTIONS:
            if attention == "sdpa" and not kind._supports_sdpa:
                continue
            for is_trained in (False, True):
                for length in lengths:
                    config = config_of(family)
                    config._attn_implementation = attention
                    with quiet_loading():
                        run = run_without_numbers(
                            kind, config, BATCH, length, is_trained=is_trained
                        )
                    described = describe(config, has_head)
                    job = {"is_trained": is_trained, "is_fused": run.is_fused}
                    sums = macs(described, BATCH, length, **job).values()
                    ours = [2 * sum(pair[i] for pair in sums) for i in (0, 1)]
                    counted = [run.trace.flops[phase] for phase in ("forward", "backward")]
                    found["cases"] += 1
                    if ours != counted:
                        found["differ"].append(
                            [has_head, attention, is_trained, length, ours, counted]
                        )
                    if attention not in found["attention"]:
                        found["attention"].append(attention)
            rest = run.parameters - sum(weights(described).values()) - run.embedding
            found["unexplained"] = max(found["unexplained"], rest / run.parameters)
    return found


def main() -> None:
    """All families."""
    from shoestring.plan.cost import FAMILIES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    output.options(parser, quick="one length, base models: a minute")
    options = parser.parse_args()
    lengths = LENGTHS[:1] if options.quick else LENGTHS
    heads = (False,) if options.quick else (False, True)
    families: dict[str, Any] = {}
    for family in FAMILIES:
        families[family] = differences(family, lengths, heads)
        differ = len(families[family]["differ"])
        output.show({family: f"{families[family]['cases']} cases, {differ} differ"})
        both = [name for name, found in families.items() if len(found["attention"]) == 2]
        result = {
            "versions": output.versions("torch", "transformers"),
            "lengths": lengths,
            "batch": BATCH,
            "cases": sum(found["cases"] for found in families.values()),
            "differ": sum(len(found["differ"]) for found in families.values()),
            "families with both kinds of attention": len(both),
            "bars": {"differ": 0, "families": 25},
            "families": families,
        }
        output.write(result, options)
    output.show({name: result[name] for name in ("cases", "differ")})


if __name__ == "__main__":
    main()
