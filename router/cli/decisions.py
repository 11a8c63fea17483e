"""`decisions`: read the records as they come, one by its id, and verify a whole file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from router.cli.account import show as show_decision
from router.cli.options import Json, Records, State, secret_in
from router.cli.output import FINDING, GOOD, USAGE, console, print_json, stop, table
from router.records.reading import FIND_BYTES, Tail, backwards, find, parsed
from router.records.verifying import Finding, Report, verify

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.records.reading import Line

app = typer.Typer(help="Read and verify the decision records.", no_args_is_help=True)
DEFAULT_RECORDS = Path("records.jsonl")
DEFAULT_STATE = Path(".qwen-router")
POLL_S: Final = 0.2
CHAIN: Final = frozenset({"chain", "mac", "prev", "seq", "writer", "schema"})

# What verifying can find, as a sentence about records `numbers` of a chain, or a decision.
SENTENCES: Final = {
    "wrong_key": "no record was written with this secret; give the gateway's own",
    "rewritten": "record {numbers} was changed or forged",
    "missing": "records {numbers} are missing before this one",
    "beginning_missing": "the beginning of the chain is missing, up to record {numbers}",
    "predecessor_missing": "records of an earlier run are missing, up to {numbers}",
    "broken_link": "record {numbers} does not follow the one before it",
    "reordered": "a record stands behind later ones: {numbers}",
    "duplicate": "record {numbers} is there twice",
    "decided_twice": "the decision was made twice",
    "finished_twice": "the decision was finished twice",
    "finish_without_decision": "the decision was finished and never made",
    "torn": "a torn line",
    "alien": "a line that is no record",
    "reformatted": "record {numbers} was written anew with the same content",
    "restart": "a gateway started here",
    "continues": "goes on from record {numbers} of a file that is not given",
    "unfinished": "the decision has no finish: under way, or the gateway ended first",
}


@app.command("tail")
def tail(
    records: Records = DEFAULT_RECORDS,
    count: Annotated[int, typer.Option("-n", "--count", help="How many of the last.", min=0)] = 20,
    go_on: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    json: Json = False,
) -> None:
    """Print the last records, one a line, and with --follow those that come.

    With --json they are JSON lines, as they are in the file.

    Example: `qwen-router decisions tail -n 5 --follow`
    """
    _must_exist(records, json=json)
    # Before the last ones are read, so that none is missed in between; what is then seen twice is
    # told by its place in its chain.
    coming = Tail(records) if go_on else None
    last = _last(records, count)
    for line in last:
        _print_line(line, json=json)
    shown = {_place(line) for line in last}
    try:
        while coming is not None:
            for line in coming.poll():
                if _place(line) not in shown:
                    _print_line(line, json=json)
            time.sleep(POLL_S)
    except KeyboardInterrupt:  # how a tail ends
        raise typer.Exit(GOOD) from None


@app.command("show")
def show(
    decision_id: Annotated[str, typer.Argument(help="The id: x-router-decision-id of an answer.")],
    records: Records = DEFAULT_RECORDS,
    json: Json = False,
) -> None:
    """Print one decision: label, plan, every target's verdict, and how it ended.

    Example: `qwen-router decisions show dec_019a8f2b1c4`
    """
    _must_exist(records, json=json)
    found = find([records], decision_id)
    if found is None or found.made is None:
        stop(f"{records} has no decision of that id in its last 64 MiB.", FINDING, json=json)
    if json:
        print_json({"made": found.made, "finished": found.finished})
        return
    show_decision(found.made["decision"])
    end = found.finished or {"outcome": "not finished: under way, or the gateway ended first"}
    rows = [(name, _plain(value)) for name, value in end.items() if name not in CHAIN]
    console().print(table(("", ""), rows))


@app.command("verify")
def verify_records(
    files: Annotated[list[Path], typer.Argument(help="Files of records, oldest first.")],
    state: State = DEFAULT_STATE,
    json: Json = False,
) -> None:
    """Check the keyed chain: no record removed, changed, moved or forged; every decision finished.

    Needs the gateway's secret: ROUTER_SECRET, or its state folder. Exit code 1: something is wrong.

    Example: `qwen-router decisions verify records.jsonl`
    """
    for file in files:
        _must_exist(file, json=json)
    secret = secret_in(state)
    if not secret:
        stop(
            "No secret: set ROUTER_SECRET, or --state to the folder of the gateway "
            f"({state / 'secret'} does not exist).",
            USAGE,
            json=json,
        )
    report = verify(files, secret)
    # Files without one record prove nothing.
    good = report.ok and report.records > 0
    if json:
        heads = msgspec.to_builtins(report.heads)
        print_json({**msgspec.to_builtins(report), "ok": good, "heads": heads})
    else:
        _print_report(report, good=good)
    raise typer.Exit(GOOD if good else FINDING)


def _must_exist(file: Path, *, json: bool) -> None:
    if not file.is_file():
        stop(
            f"{file} is no file; name the records file (--records, or ROUTER_RECORDS).",
            USAGE,
            json=json,
        )


def _last(file: Path, count: int) -> list[Line]:
    """Return the last records of a file, oldest first, without reading what stands before them."""
    found: list[Line] = []
    for raw in backwards(file, FIND_BYTES):
        if len(found) >= count:
            break
        # Of a line there may be a piece and a record behind it.
        found += (line for line in parsed(file, 0, raw) if line.record is not None)
    return found[:count][::-1]


def _place(line: Line) -> tuple[Any, Any] | None:
    """Return where a record stands: its chain and its number in it."""
    return None if line.record is None else (line.record["writer"], line.record["seq"])


def _print_line(line: Line, *, json: bool) -> None:
    if line.record is None:
        return
    if json:
        typer.echo(line.raw.decode("utf-8", "replace"))
        return
    try:
        told = _brief(line.record)
    except (KeyError, TypeError, AttributeError):  # chained like a record, and not of our schema
        told = f"{line.record.get('at')}  {line.record['event']}  of another schema"
    console().print(told, markup=False, soft_wrap=True)


def _brief(record: dict[str, Any]) -> str:
    """Return one record as one line."""
    at, event = record["at"], record["event"]
    if event == "decision.made":
        decision = record["decision"]
        refusal = decision["refusal"]
        went = f"refused {refusal['code']}" if refusal else " → ".join(decision["plan"])
        key = record["facts"].get("key.id", "")
        return f"{at}  {record['id']}  {key}  {decision['label']['value']}  {went}"
    if event == "decision.finished":
        cost = f"  {record['cost_usd']} USD" if record["cost_usd"] else ""
        to = f"  {record['target']}" if record["target"] else ""
        return (
            f"{at}  {record['id']}  {record['outcome']}{to}  {record['duration_ms']:.0f} ms{cost}"
        )
    told = {k: v for k, v in record.items() if k not in {"at", "event", *CHAIN}}
    return f"{at}  {event}  {_plain(told)}"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items() if v is not None)
    if isinstance(value, list):
        return "; ".join(map(_plain, value))
    return str(value)


def _print_report(report: Report, *, good: bool) -> None:
    out = console()
    heads = [(c.writer, str(c.records), c.head.mac[:16] if c.head else "") for c in report.chains]
    if heads:
        out.print(table(("chain", "records", "head"), heads))
    for finding in report.findings:
        out.print(_found(finding), markup=False, soft_wrap=True, style="red")
    for note in report.notes:
        out.print(_found(note), markup=False, soft_wrap=True, style="dim")
    _print_rest(report.findings + report.notes, report.counts)
    verdict = "whole" if good else "NOT WHOLE" if report.records else "NO RECORDS"
    out.print(f"{verdict}: {report.records} records, {report.decisions} decisions", markup=False)


def _found(finding: Finding) -> str:
    first, last = finding.first, finding.last
    numbers = " to ".join(dict.fromkeys(str(n) for n in (first, last) if n is not None))
    places = (finding.at, finding.writer, finding.id)
    what = SENTENCES[finding.kind].format(numbers=numbers)
    return ": ".join((*(place for place in places if place), f"{what} [{finding.kind}]"))


def _print_rest(listed: Iterable[Finding], counts: dict[str, int]) -> None:
    """Say how many of each kind are not listed."""
    rest = dict(counts)
    for finding in listed:
        rest[finding.kind] -= 1
    for kind, count in rest.items():
        # Behind a wrong secret everything looks changed, which says nothing.
        if count > 0 and rest.get("wrong_key") is None:
            console().print(f"and {count} more [{kind}]", markup=False)
