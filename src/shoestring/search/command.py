"""``shoestring search``: parses, calls, prints."""

from __future__ import annotations

import json as json_module
import warnings
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoestring.artifacts import written_aside
from shoestring.checks import checked_int, checked_ints
from shoestring.console import (
    Encoder,
    Json,
    OnDuplicate,
    Resume,
    Seed,
    Source,
    echo,
    emit,
    emit_json,
    emit_rows,
    reads,
    room_app,
)
from shoestring.errors import ParameterError, ShoestringWarning

if TYPE_CHECKING:
    from shoestring.search.index import SearchIndex
    from shoestring.types import Hits, Record

app = room_app("Find what a cross-encoder would rank first, with few of its calls.")

Index = Annotated[Path, typer.Argument(help="Folder of the index.")]
Qrels = Annotated[
    Path | None,
    typer.Argument(help="Judgements: query TAB text TAB grade, or TREC format. Better with."),
]
Ids = Annotated[list[str], typer.Argument(help="Ids of the texts.")]
Scorer = Annotated[
    str, typer.Option(help="minilm-weighted, minilm-docs, minilm or a folder; auto: by the texts.")
]
Questions = Annotated[Path | None, typer.Option(help="File of typical questions of users.")]
AnchorMinutes = Annotated[
    float | None, typer.Option("--minutes", help="Time limit in minutes for anchor queries.")
]
Where = Annotated[
    str | None, typer.Option(help="Condition on fields: \"lang = 'de' and year >= 2020\".")
]
OtherScorer = Annotated[str, typer.Option("--scorer", help="Use another scorer than the index's.")]
MIXES = (0.25, 0.5, 0.75, 1.0)
CALLS = "Number of scorer calls to spend"


def _open(index: Path, scorer: str = "") -> SearchIndex:
    from shoestring.search.index import SearchIndex

    return SearchIndex.open(index, scorer=scorer or None)


def _records(source: str, reading: dict[str, Any]) -> list[Record]:
    from shoestring.text import read_records

    return list(read_records(source, **reading))


@app.command(example="search build faq.csv --out index --text question")
@reads()
def build(
    out: Annotated[Path, typer.Option(help="New folder, or an index to continue with --resume.")],
    reading: dict[str, Any],
    docs: Annotated[
        str | None, typer.Argument(help="File of texts, as for add; optional with --resume.")
    ] = None,
    scorer: Scorer = "auto",
    encoder: Encoder = "auto",
    queries: Questions = None,
    calls: Annotated[int, typer.Option(help=f"{CALLS} on anchor scores.")] = 0,
    minutes: AnchorMinutes = None,
    on_duplicate: OnDuplicate = "error",
    resume: Resume = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Build an index of texts, or continue one."""
    from shoestring.search.index import SearchIndex

    if docs is None and not resume:
        raise ParameterError("DOCS is missing: name a file of texts, or - for standard input.")
    columns = {"text": reading["text"]} if "text" in reading else {}
    index = SearchIndex.build(
        out,
        docs,
        scorer=scorer,
        encoder=encoder,
        queries=None if queries is None else [q.text for q in _records(str(queries), columns)],
        calls=calls,
        minutes=minutes,
        on_duplicate=on_duplicate,  # type: ignore[arg-type]
        resume=resume,
        seed=seed,
        **reading,
    )
    emit({**index.info(), **({} if docs is None else _added(index))}, json)


def _added(index: SearchIndex) -> dict[str, int]:
    """What a build or add did; a note says why texts were skipped."""
    report = index.last_add
    if report.skipped:
        why = "already in the index (the same id, or the same text where there are no ids)"
        warnings.warn(f"{report.skipped:,} skipped: {why}.", ShoestringWarning, stacklevel=2)
    return asdict(report)


@app.command(example="search query index 'I forgot my password' -k 3")
def query(
    index: Index,
    text: Annotated[str | None, typer.Argument(help="The query; or --queries FILE.")] = None,
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 10,
    calls: Annotated[
        int | None, typer.Option(help=f"{CALLS} (default: 50, or -k if that is more).")
    ] = None,
    where: Where = None,
    candidates: Annotated[
        int, typer.Option(help="Of how many promising texts the rounds choose.")
    ] = 10_000,
    queries: Annotated[
        str | None, typer.Option(help="File of queries: prints a JSON line for each.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="TREC run file to write instead.")] = None,
    scorer: OtherScorer = "",
    json: Json = False,
) -> None:
    """Find what the scorer would rank first."""
    if (text is None) == (queries is None) or (run and not queries):
        raise ParameterError("Pass a query, or --queries FILE, which may go with --run FILE.")
    found = _open(index, scorer)
    if queries is not None:
        asked = _records(queries, {})
        texts = [record.text for record in asked]
        answers = found.query_many(
            texts, k, calls, where=where, candidates=candidates, progress=True
        )
        if run is not None:
            from shoestring.search.evaluate import write_run

            n = write_run(zip(asked, answers, strict=True), run)
            emit({"queries": n, "run": str(run)}, json)
            return
        for record, hits in zip(asked, answers, strict=True):
            emit_json({"id": record.id, "query": record.text, **_told(hits)}, indent=None)
        return
    hits = found.query(str(text), k=k, calls=calls, where=where, candidates=candidates)
    if json:
        emit_json(_told(hits))
        return
    rows = []
    for hit in hits:
        score = f"{'' if hit.exact else '~'}{hit.score:.3f}"
        rows.append({"score": score, "id": hit.id, "text": " ".join(hit.text.split())[:100]})
    emit_rows(rows, False, numbered=True)
    echo(f"{hits.calls} calls, {1000 * hits.seconds:.0f} ms; ~ marks an estimate")


def _told(hits: Hits) -> dict[str, Any]:
    told = {"calls": hits.calls, "seconds": round(hits.seconds, 4), "error": hits.error}
    return {"hits": [asdict(hit) for hit in hits], **told}


@app.command(example="search get index faq-17")
def get(index: Index, ids: Ids) -> None:
    """Print the records of some ids, a JSON line for each."""
    for record in _open(index).get(ids):
        emit_json(_columns(record), indent=None)


@app.command("list", example="search list index --where \"lang = 'de'\" -n 20")
def list_(
    index: Index,
    where: Where = None,
    n: Annotated[int, typer.Option("-n", help="Number of records.")] = 20,
) -> None:
    """Print the first records, a JSON line for each."""
    for record in islice(_open(index).records(where), checked_int("n", n, 1, None, "search list")):
        emit_json(_columns(record), indent=None)


@app.command(example="search export index --out all.jsonl")
def export(
    index: Index,
    out: Annotated[Path, typer.Option(help="File to write, as JSON lines.")],
    where: Where = None,
    json: Json = False,
) -> None:
    """Write records to a file from which an index can be built again."""
    n, records = 0, _open(index).records(where)
    with written_aside(out) as file:
        for record in records:
            n += 1
            line = json_module.dumps(_columns(record), ensure_ascii=False) + "\n"
            file.write(line.encode("utf-8", "surrogatepass"))
    emit({"records": n, "file": str(out)}, json)


def _columns(record: Record) -> dict[str, Any]:
    return {"id": record.id, "text": record.text, **record.fields}


@app.command(example="search add index more.jsonl --id number")
@reads()
def add(
    index: Index,
    docs: Source,
    reading: dict[str, Any],
    on_duplicate: OnDuplicate = "error",
    json: Json = False,
) -> None:
    """Add texts to an index, from the columns that it was built of unless others are named."""
    found = _open(index)
    found.add(docs, on_duplicate=on_duplicate, progress=True, **reading)  # type: ignore[arg-type]
    emit(_added(found), json)


@app.command(example="search delete index faq-17 faq-18")
def delete(index: Index, ids: Ids, json: Json = False) -> None:
    """Delete texts by their ids."""
    emit({"deleted": _open(index).delete(ids)}, json)


@app.command(example="search info index --json")
def info(index: Index, json: Json = False) -> None:
    """Show what an index holds and how many scorer calls it cost."""
    emit(_open(index).info(), json)


@app.command(example="search check index")
def check(index: Index, json: Json = False) -> None:
    """Check an index for damage; if there is any, say what and exit with code 2."""
    found = _open(index)
    found.check()
    emit({"path": str(index), "records": len(found), "sound": True}, json)


@app.command(example="search copy index backup")
def copy(
    index: Index,
    to: Annotated[Path, typer.Argument(help="New or empty folder.")],
    json: Json = False,
) -> None:
    """Copy an index that is in use, as it is now."""
    emit(_open(index).copy(to).info(), json)


@app.command(example="search compact index")
def compact(index: Index, json: Json = False) -> None:
    """Free the disk space of deleted texts."""
    found = _open(index)
    emit({"removed_rows": found.compact(), "bytes": found.info()["bytes"]}, json)


@app.command("eval", example="search eval index queries.jsonl judgements.tsv --calls 50,200")
@reads()
def evaluate(
    index: Index,
    queries: Annotated[str, typer.Argument(help="File of queries with ids, as for build.")],
    reading: dict[str, Any],
    qrels: Qrels = None,
    calls: Annotated[
        str, typer.Option(help="Numbers of calls to compare, separated by commas.")
    ] = "25,50,100,200",
    k: Annotated[int, typer.Option("-k", help="Cut-off of the measures.")] = 10,
    keep: Annotated[
        bool, typer.Option("--keep", help="Mix the first guess in from now on, where it helps.")
    ] = False,
    scorer: OtherScorer = "",
    json: Json = False,
) -> None:
    """Tell what calls are worth here, beside BM25, vectors and reranking."""
    from shoestring.search.evaluate import evaluate as compare
    from shoestring.search.evaluate import read_qrels

    budgets = checked_ints("calls", calls, "search eval")
    judged = None if qrels is None else read_qrels(qrels)
    if keep and judged is None:
        raise ParameterError.of("keep", "search eval", "left out without judgements", keep)
    opened, asked = _open(index, scorer), _records(queries, reading)
    found = compare(opened, asked, judged, calls=budgets, k=k, mixes=MIXES if keep else ())
    if found.mix is not None:
        opened.set_mix(found.mix)
    if json:
        emit_json(asdict(found))
        return
    told = [asdict(row) for row in found.rows]
    emit_rows(({n: v for n, v in row.items() if v is not None} for row in told), False)
    echo(found.verdict)
    if found.mix is not None:
        echo(f"Kept: answers are ordered by {found.mix:.0%} of the first guess from now on.")
