"""The whole folder → one `Policy`: which section may stand where, ids, the digest.

Files come in the head's order, the head first. The order of `prefer` and `shape` is meaning, which
the digest sees; that of `raise`, `forbid` and `invariants` is none, and `Policy` keeps them by id.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from router.loading import rules, targets
from router.loading.fields import Fields, Refused, Report, listing, mapping, one_of, text
from router.loading.nodes import Hole, Listing, Node, Place, Table, canonical
from router.loading.problems import PolicyProblems, Problem, hint, quoted
from router.loading.sources import HEAD, SUFFIXES, Folder, Loaded, Sources, read_folder
from router.loading.vocabulary import Vocabulary, head
from router.loading.yaml import Variables, parse
from router.policy.document import Policy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VERSION: Final = "qwen-router/v1"
HEAD_ONLY: Final = ("files", "time_zone", "labels", "tiers", "names", "switches")
SINGLE: Final = ("targets", "aliases", "prefer")
SHARED: Final = ("raise", "forbid", "shape", "invariants")
RULES: Final = ("prefer", *SHARED)
SECTIONS: Final = ("apiVersion", *HEAD_ONLY, *SINGLE, *SHARED)
LATER: Final = frozenset({"budgets", "limits", "spillover", "endpoints", "detect"})


def load_policy(folder: Path, env: Mapping[str, str]) -> Loaded:
    """Load and check a policy folder; `env` is what `${NAME}` resolves to.

    Raises PolicyProblems with everything that is wrong.
    """
    return load_folder(read_folder(folder), env)


def load_sources(sources: Sources) -> Loaded:
    """Load kept sources again, with the variables of then. Raises PolicyProblems."""
    folder = Folder(path=sources.folder, files=sources.files, unread={})
    return load_folder(folder, sources.variables)


def load_folder(folder: Folder, env: Mapping[str, str]) -> Loaded:
    """Load what was read from a folder. Raises PolicyProblems."""
    variables = Variables(env)
    problems = list(folder.unread.values())
    sections = _Sections(folder, variables, Report(problems))
    policy = _policy(sections, Report(problems)) if sections.readable else None
    if problems or policy is None:
        raise PolicyProblems(problems)
    files = {name: folder.files[name] for name in sorted(sections.used)}
    return Loaded(
        policy=policy,
        sources=Sources(folder=folder.path, files=files, variables=dict(variables.used)),
    )


class _Sections:
    """The sections of all files together. `complete` is false where a file could not be read."""

    def __init__(self, folder: Folder, variables: Variables, report: Report) -> None:
        self.folder = folder
        self.variables = variables
        self.report = report
        self.complete = True
        self.used: set[str] = set()
        self.entries: dict[str, Node] = {}
        self.keys: dict[str, Place] = {}
        self.readable = self._add(HEAD)
        if self.readable:
            for name in self._listed():
                self.complete = self._add(name) and self.complete

    def table(self) -> Table:
        """Return all sections as one mapping, as if they stood in the head."""
        return Table(Place(self._shown(HEAD), 1), self.entries, self.keys)

    def _shown(self, name: str) -> str:
        return f"{self.folder.path.rstrip('/')}/{name}"

    def _listed(self) -> tuple[str, ...]:
        """Return the files that the head lists and the folder holds; note where they differ."""
        node = self.entries.get("files")
        here = {*self.folder.files, *self.folder.unread} - {HEAD}
        if node is None:
            self.report.note(self.table().at, "files is required (the other files of the folder)")
            self.complete = False
            return ()
        try:
            listed = listing(_file_name, empty=True)(node, self.report.key("files"))
        except Refused:
            self.complete = False
            return tuple(sorted(here & self.folder.files.keys()))
        for name in sorted(set(listed) - here):
            self.report.note(_place(node, name), f"files: {quoted(name)} is not in the folder")
            self.complete = False
        for name in sorted(here - set(listed)):
            message = f"files: {quoted(name)} is in the folder and not listed"
            self.report.note(node.at, f"{message}{hint(name, set(listed) - here)}")
        return tuple(name for name in listed if name in here)

    def _add(self, name: str) -> bool:
        """Take the sections of one file; tell whether it could be read."""
        shown = self._shown(name)
        if name in self.folder.unread:
            return False
        if name not in self.folder.files:
            if not self.folder.unread:
                self.report.problems.append(Problem(shown, 0, "is missing: it heads the folder"))
            return False
        self.used.add(name)
        text = self.folder.files[name]
        node = parse(text, shown, self.report.problems, self.variables)
        if node is None:
            return False
        try:
            table = mapping(node, self.report)
        except Refused:
            return False
        _check_version(table, self.report)
        for section, value in table.entries.items():
            self._take(name, section, value, table.keys[section])
        return True

    def _take(self, name: str, section: str, value: Node, at: Place) -> None:
        if section in LATER:
            self.report.note(at, f"{section} is not supported by this version; take it out")
        elif section not in SECTIONS:
            self.report.note(at, f"unknown section {quoted(section)}{hint(section, SECTIONS)}")
        elif section in HEAD_ONLY and name != HEAD:
            self.report.note(at, f"{section} may stand in {HEAD} only")
        elif section not in self.entries or section == "apiVersion":
            self.entries[section], self.keys[section] = value, at
        elif section in SINGLE:
            self.report.note(at, f"{section} stands in {self.keys[section]} already: one file only")
        else:
            self.entries[section] = _joined(self.entries[section], value, self.report.key(section))


def _joined(one: Node, other: Node, report: Report) -> Node:
    """Return two files' lists as one; what is no list is noted here."""
    for node in (one, other):
        if not isinstance(node, Listing | Hole):
            report.note(node.at, "must be a list of rules")
    if not (isinstance(one, Listing) and isinstance(other, Listing)):
        return Hole(one.at)
    return Listing(one.at, (*one.items, *other.items))


def _check_version(table: Table, report: Report) -> None:
    try:
        fields = Fields(table, report)
        fields.need("apiVersion", one_of("version", (VERSION,)))
    except Refused:
        return


def _file_name(node: Node, report: Report) -> str:
    value = text(node, report)
    if "/" in value or "\\" in value or value.startswith(".") or not value.endswith(SUFFIXES):
        report.refuse(node, "must be the name of a .yaml file in the folder itself")
    if value == HEAD:
        report.refuse(node, f"{HEAD} lists the others, not itself")
    return value


def _place(node: Node, name: str) -> Place:
    """Return where a list names `name`."""
    items = node.items if isinstance(node, Listing) else ()
    return next((i.at for i in items if getattr(i, "value", None) == name), node.at)


def _policy(sections: _Sections, report: Report) -> Policy | None:
    table = sections.table()
    fields = Fields(table, report, partial=not sections.complete)
    words = _words(fields, head(fields))
    _check_ids(table, report)
    raises = fields.take("raise", rules.raises(words), ())
    forbids = fields.take("forbid", rules.forbids(words), ())
    shapes = fields.take("shape", rules.shapes(words), ())
    prefers = fields.take("prefer", rules.prefers(words), ())
    invariants = fields.take("invariants", rules.invariants(words), ())
    aliases = fields.take("aliases", rules.aliases(words), {})
    if report.problems or words.labels is None or words.tiers is None or words.catalog is None:
        return None
    return Policy(
        digest=_digest(table),
        labels=words.labels,
        on_unknown=words.labels.top,
        tiers=words.tiers,
        time_zone=words.time_zone or ZoneInfo("UTC"),
        names=words.names or {},
        switches=words.switches or frozenset(),
        targets=words.catalog,
        aliases=aliases,
        raises=raises,
        forbids=forbids,
        shapes=shapes,
        prefers=prefers,
        invariants=invariants,
    )


def _words(fields: Fields, words: Vocabulary) -> Vocabulary:
    """Return the head's words with the catalog's."""
    names = _names_in(fields, "targets"), _names_in(fields, "aliases")
    catalog = fields.expect("targets", targets.targets(words), None)
    return replace(words, targets=names[0], aliases=names[1], catalog=catalog)


def _names_in(fields: Fields, section: str) -> frozenset[str] | None:
    """Return the keys of a section, also of entries that are broken; None if it may be unread."""
    node = fields.node.entries.get(section)
    if isinstance(node, Table):
        return frozenset(node.entries)
    return None if node is not None or fields.partial else frozenset()


def _check_ids(table: Table, report: Report) -> None:
    """Note every rule whose id another rule, of any kind, has already."""
    seen: dict[str, Place] = {}
    for section in RULES:
        node = table.entries.get(section)
        for item in node.items if isinstance(node, Listing) else ():
            found = rules.id_of(item)
            if found is None:
                continue
            if found in seen:
                report.note(item.at, f"rule {quoted(found)}: the id is taken at {seen[found]}")
            seen.setdefault(found, item.at)


def _digest(table: Table) -> str:
    meaning = {key: node for key, node in table.entries.items() if key != "files"}
    whole = canonical(Table(table.at, meaning, {}))
    return f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"
