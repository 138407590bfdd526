"""``shoestring search``: parses, calls, prints."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoestring.console import Encoder
from shoestring.errors import ParameterError

if TYPE_CHECKING:
    from shoestring.search.engine import SearchIndex

app = typer.Typer(
    help="Search whose answers are those of a cross-encoder, on a budget of its calls.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Index = Annotated[Path, typer.Argument(help="The folder of the index.", show_default=False)]
Source = Annotated[
    str, typer.Argument(help="jsonl, csv, tsv, parquet, txt, .gz of these; - reads standard input.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Text = Annotated[str, typer.Option(help="The column of the text.")]
Id = Annotated[str | None, typer.Option(help="The column of the id.")]
OnDuplicate = Annotated[str, typer.Option(help="error, replace or skip.")]
Scorer = Annotated[
    str,
    typer.Option(help="minilm-weighted, minilm-docs, minilm, a folder; auto: what fits the texts."),
]


def _open(index: Path, scorer: str = "") -> SearchIndex:
    from shoestring.search.engine import SearchIndex

    return SearchIndex.open(index, scorer=scorer or None)


def _print(value: Any, as_json: bool) -> None:
    """One JSON document, or a line for each entry."""
    if as_json:
        typer.echo(json_module.dumps(value, ensure_ascii=False, indent=2))
        return
    for name, content in value.items():
        typer.echo(f"{name.replace('_', ' '):24}{content}")


@app.command()
def build(
    docs: Annotated[str | None, typer.Argument(help="As for add; not needed to resume.")] = None,
    out: Annotated[Path, typer.Option(help="A new folder, or an index to resume.")] = ...,  # type: ignore[assignment]
    text: Text = "text",
    id: Id = None,
    scorer: Scorer = "auto",
    encoder: Encoder = "auto",
    queries: Annotated[
        Path | None, typer.Option(help="Questions of your users, to take anchors from.")
    ] = None,
    calls: Annotated[int, typer.Option(help="Calls of the scorer to spend on anchors.")] = 0,
    minutes: Annotated[float | None, typer.Option(help="Time for anchors.")] = None,
    token_table: Annotated[
        bool, typer.Option(help="Keep token vectors: MiniLM's scores cheap, some 27 kB a text.")
    ] = False,
    on_duplicate: OnDuplicate = "error",
    resume: Annotated[bool, typer.Option(help="Go on, or add anchors.")] = False,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Build an index of texts, or go on with one."""
    from shoestring.search.engine import SearchIndex
    from shoestring.text import read_records

    if docs is None and not resume:
        raise ParameterError.of("docs", "search build", "a file of texts, or - ", None)
    asked = None
    if queries is not None:
        asked = [record.text for record in read_records(str(queries), text=text)]
    index = SearchIndex.build(
        out,
        docs,
        scorer=scorer,
        encoder=encoder,
        queries=asked,
        calls=calls,
        minutes=minutes,
        text=text,
        id=id,
        on_duplicate=on_duplicate,  # type: ignore[arg-type]
        token_table=token_table,
        resume=resume,
        seed=seed,
    )
    _print(index.info(), json)


@app.command()
def query(
    index: Index,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    k: Annotated[int, typer.Option("-k", help="Hits.")] = 10,
    calls: Annotated[int | None, typer.Option(help="Calls of the scorer to spend.")] = None,
    scorer: Annotated[str, typer.Option(help="Another scorer than the index's.")] = "",
    json: Json = False,
) -> None:
    """Find what the scorer would rank first."""
    hits = _open(index, scorer).query(text, k=k, calls=calls)
    if json:
        rows = [
            {"id": hit.id, "text": hit.text, "score": hit.score, "exact": hit.exact} for hit in hits
        ]
        _print({"hits": rows, "calls": hits.calls, "seconds": round(hits.seconds, 4)}, True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("", "score", "id", "text", box=None, header_style="bold")
    for rank, hit in enumerate(hits, start=1):
        mark = "" if hit.exact else "~"
        table.add_row(str(rank), f"{mark}{hit.score:.3f}", hit.id, " ".join(hit.text.split())[:100])
    Console().print(table)
    typer.echo(f"{hits.calls} calls, {1000 * hits.seconds:.0f} ms; ~ marks an estimate")


@app.command()
def add(
    index: Index,
    docs: Source,
    text: Text = "text",
    id: Id = None,
    on_duplicate: OnDuplicate = "error",
    json: Json = False,
) -> None:
    """Add texts to an index."""
    report = _open(index).add(
        docs,
        text=text,
        id=id,
        on_duplicate=on_duplicate,  # type: ignore[arg-type]
        progress=True,
    )
    _print({"added": report.added, "replaced": report.replaced, "skipped": report.skipped}, json)


@app.command()
def delete(
    index: Index,
    ids: Annotated[list[str], typer.Argument(help="Ids of the texts.", show_default=False)],
    missing: Annotated[str, typer.Option(help="error or skip ids that are not there.")] = "error",
    json: Json = False,
) -> None:
    """Delete texts by their ids."""
    deleted = _open(index).delete(ids, missing=missing)  # type: ignore[arg-type]
    _print({"deleted": deleted}, json)


@app.command()
def info(index: Index, json: Json = False) -> None:
    """What an index holds and what was paid for it."""
    _print(_open(index).info(), json)


@app.command("eval")
def evaluate(
    index: Index,
    queries: Annotated[str, typer.Argument(help="Queries with ids, as the texts.")],
    qrels: Annotated[Path, typer.Argument(help="query TAB text TAB grade, or TREC.")],
    calls: Annotated[str, typer.Option(help="Budgets, separated by commas.")] = "25,50,100,200",
    k: Annotated[int, typer.Option("-k", help="Depth of the measures.")] = 10,
    text: Text = "text",
    id: Id = None,
    scorer: Annotated[str, typer.Option(help="Another scorer than the index's.")] = "",
    json: Json = False,
) -> None:
    """Measure recall, nDCG and MRR beside the usual ways to search."""
    from shoestring.search.evaluate import as_dicts, read_qrels
    from shoestring.search.evaluate import evaluate as compare
    from shoestring.text import read_records

    try:
        budgets = [int(part) for part in calls.split(",")]
    except ValueError:
        want = "whole numbers separated by commas"
        raise ParameterError.of("calls", "search eval", want, calls) from None
    rows = compare(
        _open(index, scorer),
        read_records(queries, text=text, id=id),
        read_qrels(qrels),
        calls=budgets,
        k=k,
    )
    if json:
        typer.echo(json_module.dumps(as_dicts(rows), ensure_ascii=False, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("way", "calls", f"recall@{k}", f"nDCG@{k}", f"MRR@{k}", "ms", box=None)
    for row in rows:
        figures = (f"{value:.3f}" for value in (row.recall, row.ndcg, row.mrr))
        table.add_row(row.way, f"{row.calls:g}", *figures, f"{row.milliseconds:.0f}")
    Console().print(table)


@app.command()
def negatives(
    index: Index,
    queries: Annotated[str, typer.Argument(help="Queries with ids, as the texts.")],
    qrels: Annotated[Path, typer.Argument(help="query TAB text TAB grade, or TREC.")],
    out: Annotated[Path, typer.Option(help="A file of pairs, one JSON document a line.")],
    n: Annotated[int, typer.Option("-n", help="Wrong texts for each right one.")] = 3,
    depth: Annotated[int, typer.Option(help="First places that they are drawn from.")] = 30,
    text: Text = "text",
    id: Id = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Write pairs for ``tune score``: right texts, and what the first stage mistakes for them."""
    from shoestring.search.evaluate import read_qrels
    from shoestring.search.negatives import hard_negatives, write_negatives
    from shoestring.text import read_records

    records = read_records(queries, text=text, id=id)
    judged = read_qrels(qrels)
    pairs = hard_negatives(_open(index), records, judged, n=n, depth=depth, seed=seed)
    _print({"pairs": write_negatives(pairs, out), "file": str(out)}, json)
