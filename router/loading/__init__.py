"""A folder of YAML → `Policy`; a keys file → `Keyring`; both watched and swapped while serving.

    document   load_policy, load_sources → Loaded      sources   the texts, read once
    keyring    load_keys → Keyring; new_key            shelf     accepted sources by digest
    live       Live: the newest policy with its keys, as one Snapshot

Down from there: yaml (text → nodes with lines) → nodes → fields (readers and the report of what is
wrong) → vocabulary, targets, prices, addresses, selectors, conditions, literals, rules.

Everything that is wrong is a `Problem` with file and line, all of them at once in `PolicyProblems`.
Nothing here logs or counts: `Live` tells its callbacks.
"""

from __future__ import annotations

from router.loading.document import load_policy, load_sources
from router.loading.keyring import KEY_ID, Keyring, load_keys, new_key
from router.loading.live import Live, Snapshot
from router.loading.problems import PolicyProblems, Problem
from router.loading.shelf import Shelf
from router.loading.sources import Loaded, Sources

__all__ = [
    "KEY_ID",
    "Keyring",
    "Live",
    "Loaded",
    "PolicyProblems",
    "Problem",
    "Shelf",
    "Snapshot",
    "Sources",
    "load_keys",
    "load_policy",
    "load_sources",
    "new_key",
]
