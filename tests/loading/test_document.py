"""A folder → a policy: what loads, what is read, and that every problem is found in one pass."""

from __future__ import annotations

import os
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import pytest

from router.loading import PolicyProblems, load_policy, load_sources
from router.policy.conditions import All, AnyOf, Atom, Not
from router.policy.facts import SPECS, Facts
from router.policy.prices import GpuPrice, TokenPrice
from router.policy.targets import Attribute, Both, Credential, Everything, Except
from tests.loading.folders import (
    ENV,
    FILES,
    changed,
    complaints,
    complaints_of,
    load,
    policy,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path

HUGE: Final = "# " + "x" * 1024 * 1024


def test_the_design_loads() -> None:
    """The head's words, the catalog, aliases and rules arrive as the core's types."""
    found = policy()

    assert found.labels.order == ("public", "internal", "confidential", "restricted")
    assert (found.labels.default, found.on_unknown) == ("internal", "restricted")
    assert found.tiers.order == ("basic", "standard", "premium")
    assert found.time_zone.key == "Asia/Shanghai"
    assert frozenset({"eval", "chat"}) == found.names["request.metadata.purpose"]
    assert frozenset({"web", "mobile"}) == found.names["header.x-router-app"]
    assert frozenset({"all_home"}) == found.switches
    assert list(found.targets) == ["qwen-max", "qwen-open", "qwen3.7-max-preview"]
    assert frozenset({"qwen-open"}) == found.aliases["own"].only
    assert (found.aliases["best"].tier, found.aliases["best"].only) == ("premium", None)


def test_targets_arrive_as_written() -> None:
    """Prices are exact, variables are resolved, capabilities are the core's."""
    own, paid = policy().targets["qwen-open"], policy().targets["qwen-max"]

    assert ENV["QWEN_OPEN_URL"] == own.base_url
    assert (own.marginal, paid.marginal) == ("sunk", "price")
    assert isinstance(own.price, GpuPrice)
    assert (Decimal("2.50"), 2) == (own.price.gpu_hour_usd, own.price.gpus)
    assert isinstance(paid.price, TokenPrice)
    assert (256000, Decimal("0.0000004")) == (
        paid.price.per_million[0].up_to,
        paid.price.per_million[0].input,
    )
    assert (own.can.thinking, paid.can.thinking) == ("switchable", "always")
    assert Credential(file="/run/secrets/dashscope") == paid.api_key
    assert {"chat_template", "messages.think", "parts.crop"} == own.pass_fields
    assert own.at == "policies/targets.yaml:3"


def test_a_disabled_target_is_as_restricted_as_can_be() -> None:
    """What nobody has published yet is filled with the most restrictive value."""
    preview = policy().targets["qwen3.7-max-preview"]

    assert preview.disabled == "no API is published"
    assert (
        preview.clearance,
        preview.price,
        preview.can.context,
        preview.can.max_output,
    ) == ("public", None, 1, 1)
    assert preview.deadlines.total_s < 1


def test_a_target_may_be_told_to_be_enabled_and_http_to_this_machine() -> None:
    """`enabled: true` is the default; demos and tests dial loopback without TLS."""
    files = changed(
        "targets.yaml", "    marginal: sunk\n", "    marginal: 1.5\n    enabled: true\n"
    )
    for host in ("127.0.0.1:9", "localhost:9", "[::1]:9"):
        address = f"http://{host}/v1"
        here = changed(
            "targets.yaml",
            "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
            f'"{address}"',
            files,
        )

        assert address == policy(here).targets["qwen-max"].base_url
    assert Decimal("1.5") == policy(files).targets["qwen-open"].marginal


def test_rules_arrive_with_place_and_condition() -> None:
    """Every form of raise, a forbid per target, a shape and the three prefers."""
    found = policy()
    raises = {rule.id: rule for rule in found.raises}

    assert raises["from-key"].source == "key.min_label"
    assert ("restricted", Atom(fact="key.product", op="in", literal=("hr",))) == (
        raises["hr"].to,
        raises["hr"].when,
    )
    assert (raises["media"].source, raises["media"].to) == ("key.media_label", None)
    assert (frozenset({"file"}), "confidential") == (raises["files"].parts, raises["files"].to)
    assert (All(()), "public") == (raises["floor"].when, raises["floor"].to)
    assert [raises["from-key"].at] == ["policies/sensitivity.yaml:3"]
    assert {
        rule.id: rule.per_target for rule in found.forbids if rule.id in {"request-cap", "home"}
    } == {"request-cap": True, "home": False}
    assert (found.shapes[0].default_thinking, found.shapes[0].cap_max_output) == (False, 800)
    assert [r.then for r in found.prefers] == [("qwen-max", "qwen-open"), "cheapest", "cheapest"]
    assert (found.prefers[2].min_tier, found.prefers[2].min_tier_requested) == (None, True)
    assert list(found.invariants[0].facts()) == ["label", "target.location"]


def test_nested_conditions_and_selectors() -> None:
    """`any`, `not` and conjunctions nest; selectors combine attributes and `not`."""
    nights = next(rule for rule in policy().forbids if rule.id == "nights")
    either = nights.when
    assert isinstance(either, AnyOf)
    hours, models = either.parts if isinstance(either.parts[0], All) else either.parts[::-1]

    assert Not(Atom(fact="request.model", op="in", literal=("auto", "qwen-open"))) == models
    assert isinstance(hours, All)
    assert [atom.fact for atom in hours.atoms()] == ["time.hour", "time.hour", "time.weekday"]
    assert (
        Both(
            (
                Except(Attribute("name", frozenset({"qwen-open"}))),
                Attribute("tags.region", frozenset({"sg"})),
            )
        )
        == nights.targets
    )


def test_a_label_atom_is_ordered_by_the_policys_scale() -> None:
    """`label: {gte: confidential}` is true of restricted, and false of internal."""
    when = policy().invariants[0].when
    known = {"target.location": "external"}

    assert when.truth({**known, "label": "restricted"}) is True
    assert when.truth({**known, "label": "internal"}) is False


@pytest.mark.parametrize("fact", sorted(set(SPECS) - {"output_tokens_estimated"}))
def test_every_fact_of_the_core_can_be_tested_by_a_forbid(fact: str) -> None:
    """No fact of the language is out of reach of a forbid."""
    tests = {
        "label": "{gte: internal}",
        "target": "{ne: cluster}",
        "request.model": "auto",
        "target.name": "qwen-max",
        "time.weekday": "{in: [sat]}",
        "time.date": "{gte: 2026-01-01}",
        "key.id": "ci-runner",
        "key.team": "{not_in: [web]}",
        "key.product": "shop",
        "key.group": "ci",
    }
    by_kind = {
        "a label": "{gte: internal}",
        "a tier": "{lt: premium}",
        "true or false": "true",
        "a set of names": "{has_any: [image, video]}",
        "a number": "{gt: 3}",
        "a declared name": "external",
    }
    test = tests.get(fact, by_kind.get(SPECS[fact].kind.value))
    found = policy(changed("cost.yaml", "key.group: {in: [ci]}", f"{fact}: {test}"))
    rule = next(rule for rule in found.forbids if rule.id == "ci-never-pays")

    assert (fact,) == rule.facts()
    assert SPECS[fact].per_target == rule.per_target


def test_unknown_facts_fire_a_loaded_forbid() -> None:
    """A loaded condition is Kleene's: an unknown fact is neither true nor false."""
    rule = next(rule for rule in policy().forbids if rule.id == "ci-never-pays")

    assert rule.when.truth(Facts({"key.group": "UNKNOWN"}).values) is None
    assert Attribute("location", frozenset({"external"})) == rule.targets
    assert any(isinstance(rule.targets, Everything) for rule in policy().forbids)


def test_sections_may_stand_in_the_head_alone() -> None:
    """One file can hold a whole policy."""
    sections = [FILES[name].removeprefix("apiVersion: qwen-router/v1\n") for name in sorted(FILES)]
    one = "apiVersion: qwen-router/v1\n" + "".join(sections)
    head = one.replace("[targets.yaml, sensitivity.yaml, cost.yaml, quality.yaml]", "[]")

    assert policy().digest == policy({"policy.yaml": head}).digest


def test_every_problem_is_found_at_once_and_sorted() -> None:
    """Problems of several files and of every depth come together, by file and line."""
    files = changed("cost.yaml", "max_output: 800", "max_output: many")
    files = changed("cost.yaml", "{in: [ci]}", "{inn: [ci]}", files)
    files = changed("sensitivity.yaml", "to: public", "to: publik", files)
    files = changed("targets.yaml", "upstream: vllm", "upstream: vlm", files)
    files = changed("targets.yaml", "clearance: internal", "clearnce: internal", files)
    said = [line.split(": ")[0] for line in complaints(files)]

    assert said == [
        "policies/cost.yaml:3",
        "policies/cost.yaml:13",
        "policies/sensitivity.yaml:8",
        "policies/targets.yaml:5",
        "policies/targets.yaml:17",
        "policies/targets.yaml:22",
    ]


def test_a_file_that_cannot_be_read_brings_no_false_problems() -> None:
    """Rules that name targets of a broken file are not blamed; other problems are still found."""
    files = {**FILES, "targets.yaml": "targets: ["}
    files = changed("sensitivity.yaml", "to: public", "to: publik", files)
    said = [line.split(": ")[0] for line in complaints(files)]

    assert said == ["policies/sensitivity.yaml:8", "policies/targets.yaml:1"]


def test_a_broken_head_section_brings_no_false_problems() -> None:
    """With a broken scale no rule is blamed for its labels."""
    for taken in ("restricted], default: internal", "premium], default: standard"):
        files = changed("policy.yaml", taken, taken.replace("default: ", "default: un"))

        assert len(complaints(files)) == 1


def test_a_broken_target_brings_no_false_problems_with_tags() -> None:
    """A rule that selects the tag of a broken target is not blamed."""
    files = changed("targets.yaml", "upstream: dashscope", "upstream: dashscop")

    assert len(complaints(files)) == 1


def test_kept_sources_load_the_same_policy(tmp_path: Path) -> None:
    """Sources carry what is needed, and only the variables that were used."""
    first = load_policy(write(tmp_path / "policies"), {**ENV, "SECRET": "x"})

    assert first.sources.variables == ENV
    assert set(FILES) == set(first.sources.files)
    assert first == load_sources(first.sources)
    assert "10.1.2.3" not in repr(first.sources)


def test_a_default_of_a_variable_survives_in_kept_sources() -> None:
    """A variable that was not set is not set when the sources are loaded again."""
    files = changed("targets.yaml", "${QWEN_OPEN_URL}", "${OWN:-http://10.0.0.9/v1}")
    first = load(files, {})

    assert first.sources.variables == {}
    assert first == load_sources(first.sources)


def test_no_message_shows_what_a_variable_resolved_to() -> None:
    """A secret that lands in the wrong place is not printed."""
    files = changed("targets.yaml", "clearance: restricted", "clearance: ${SECRET}")
    files = changed("targets.yaml", "  model: qwen3.7-max", '  model: "${SECRET}"', files)
    files = changed("targets.yaml", "text: premium}\n    evi", 'text: "${SECRET}"}\n    evi', files)
    files = changed("targets.yaml", "https://dash", "https://${SECRET}:${SECRET}@dash", files)
    said = complaints(files, {**ENV, "SECRET": "hunter2"})

    assert len(said) == 3
    assert "hunter2" not in "".join(said)
    assert 'unknown label "${SECRET}"' in "".join(said)


def test_files_that_are_not_policy_are_left_alone(tmp_path: Path) -> None:
    """Dot files, other suffixes and subfolders belong to others."""
    folder = write(tmp_path / "policies")
    (folder / ".hidden.yaml").write_text("x: [")
    (folder / "README.md").write_text("# x")
    (folder / "tests").mkdir()
    (folder / "tests" / "case.yaml").write_text("x: [")

    assert policy().digest == load_policy(folder, ENV).policy.digest


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: \xff\n", ":1: is not UTF-8"),
        (b"a: 1\nb: \xc3(\n", ":2: is not UTF-8"),
        (HUGE.encode(), ": is larger than 1048576 bytes"),
        (b"", ": is empty"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """Bytes that are no UTF-8, and files that are too large or empty, are named."""
    folder = write(tmp_path / "policies")
    (folder / "cost.yaml").write_bytes(content)

    assert [f"{folder}/cost.yaml{said}"] == complaints_of(folder)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    """An editor's mark changes nothing."""
    folder = write(tmp_path / "policies")
    text = (folder / "cost.yaml").read_bytes()
    (folder / "cost.yaml").write_bytes(b"\xef\xbb\xbf" + text)

    assert policy().digest == load_policy(folder, ENV).policy.digest


def test_an_unlisted_yml_file_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    """Both suffixes count; what is listed must be there."""
    folder = write(tmp_path / "policies")
    (folder / "qualities.yml").write_text("apiVersion: qwen-router/v1\n")
    (folder / "quality.yaml").unlink()

    head = f"{folder}/policy.yaml:2: files:"
    assert [
        f'{head} "qualities.yml" is in the folder and not listed; did you mean "quality.yaml"?',
        f'{head} "quality.yaml" is not in the folder',
    ] == complaints_of(folder)


def test_a_folder_without_head_or_that_is_not_there(tmp_path: Path) -> None:
    """A folder is a policy by its head."""
    empty = tmp_path / "empty"
    empty.mkdir()
    gone = tmp_path / "gone"
    (tmp_path / "file").write_text("x")

    assert [f"{empty}/policy.yaml: is missing: it heads the folder"] == complaints_of(empty)
    assert [f"{gone}: cannot be read: there is no gone"] == complaints_of(gone)
    assert [f"{tmp_path}/file: cannot be read: Not a directory"] == complaints_of(tmp_path / "file")


def test_a_named_pipe_does_not_stop_the_loading(tmp_path: Path) -> None:
    """A file that would block for ever is refused at once."""
    folder = write(tmp_path / "policies")
    (folder / "cost.yaml").unlink()
    os.mkfifo(folder / "cost.yaml")

    assert [f"{folder}/cost.yaml: is no regular file"] == complaints_of(folder)


def test_a_config_map_is_read_behind_its_data_link(tmp_path: Path) -> None:
    """Only what `..data` points to is read, so all files are of one version."""
    folder = tmp_path / "policies"
    write(folder / "..2026_01", changed("cost.yaml", "max_output: 800", "max_output: 700"))
    (folder / "..data").symlink_to("..2026_01")
    for name in FILES:
        (folder / name).symlink_to(f"..data/{name}")
    loaded = load_policy(folder, ENV)

    assert loaded.policy.shapes[0].cap_max_output == 700
    assert f"{folder}/cost.yaml:13" == loaded.policy.shapes[0].at


def test_a_swap_under_our_hands_never_mixes_versions(tmp_path: Path) -> None:
    """While `..data` is swapped for ever, every load is of one version or of the other."""
    folder = tmp_path / "policies"
    old = write(folder / "..1")
    new = write(
        folder / "..2",
        changed(
            "cost.yaml",
            "max_output: 800",
            "max_output: 700",
            changed("quality.yaml", "{lt: 5}", "{lt: 7}"),
        ),
    )
    digests = {load_policy(version, ENV).policy.digest for version in (old, new)}
    link = folder / "..data"
    link.symlink_to(old.name)
    seen = set()
    for step in range(30):
        draft = folder / f"..tmp{step}"
        draft.symlink_to((old, new)[step % 2].name)
        draft.rename(link)
        seen.add(load_policy(folder, ENV).policy.digest)

    assert digests == seen


def test_refusing_says_everything_in_one_text() -> None:
    """The exception's own text is the list, one problem a line."""
    with pytest.raises(PolicyProblems) as refused:
        load({"policy.yaml": "apiVersion: qwen-router/v1\nfiles: []\n"})

    assert str(refused.value).split("\n") == [
        "policies/policy.yaml:1: labels is required",
        "policies/policy.yaml:1: targets is required",
        "policies/policy.yaml:1: tiers is required",
    ]
