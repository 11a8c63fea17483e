"""`targets:` → the catalog.

Strategy: everything a callable target needs is written down, with no default on what bounds it. A
disabled one may leave out what nobody has published yet; what is left out becomes the most
restrictive value, so that no later change of `enabled` alone can make it callable.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, cast

from router.chat.request import STEERING
from router.loading.addresses import address, is_plain
from router.loading.fields import (
    Fields,
    Reader,
    Report,
    boolean,
    check_free,
    count,
    entries,
    iso_date,
    listing,
    mapping,
    name,
    one_of,
    positive,
    shown,
    text,
)
from router.loading.nodes import Scalar, Table
from router.loading.prices import UNPUBLISHED, marginal, price
from router.loading.problems import hint, quoted
from router.loading.selectors import LOCATIONS, TIER_KEYS
from router.policy.dialects import DIALECTS, LITELLM_PROVIDERS, MESSAGE_KEYS, PART_KEYS
from router.policy.facts import MODALITIES
from router.policy.prices import GpuPrice, TokenPrice
from router.policy.targets import (
    TIER_OF_MODALITY,
    Capabilities,
    Credential,
    Deadlines,
    Location,
    Target,
)

if TYPE_CHECKING:
    from router.loading.nodes import Node, Place
    from router.loading.vocabulary import Vocabulary
    from router.policy.prices import Marginal, Price

# What a record takes for a model id.
MODEL: Final = re.compile(r"\S{1,200}")
LATER: Final = frozenset({"saturated", "endpoints"})
LATER_UPSTREAMS: Final = frozenset({"llamacpp"})
Thinking = Literal["always", "never", "switchable"]
THINKING: Final[dict[bool | str, Thinking]] = {
    True: "switchable",
    False: "never",
    "only": "always",
}
FIELD: Final = re.compile(r"(?:(messages|parts)\.)?([A-Za-z_][A-Za-z0-9_]{0,63})")
VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Knobs of other gateways that come in families; `chat.STEERING` lists the others.
STEERING_FAMILY: Final = re.compile(r"(mock|litellm|router|skip_policy)_.*|.*fallbacks?|api_.*")
# What `request.fields` says for a field that it does not name: passing it would pass everything.
UNNAMED: Final = "unknown"
TINY: Final = Deadlines(connect_s=0.001, first_token_s=0.001, idle_s=0.001, total_s=0.001)
LONGEST_S: Final = 86_400
NOTHING: Final = Capabilities(input=frozenset({"text"}), context=1, max_output=1)


def targets(words: Vocabulary) -> Reader[dict[str, Target]]:
    """Return the reader of the catalog, by name."""
    labels = words.labels.order if words.labels else None
    tiers = words.tiers.order if words.tiers else None

    def read(key: str, at: Place, node: Node, report: Report) -> Target:
        report = report.about(f"target {quoted(key)}")
        check_free(key, at, report)
        fields = Fields(node, report, partial=_is_disabled(node))
        return _target(key, at, fields, labels, tiers)

    return entries(read)


def _is_disabled(node: Node) -> bool:
    enabled = node.entries.get("enabled") if isinstance(node, Table) else None
    return isinstance(enabled, Scalar) and enabled.value is False


def _target(
    key: str,
    at: Place,
    fields: Fields,
    labels: tuple[str, ...] | None,
    tiers: tuple[str, ...] | None,
) -> Target:
    lowest = labels[0] if labels else ""
    fields.take("enabled", boolean, default=True)
    fields.take("evidence", entries(_evidence), None)
    location = fields.expect("location", one_of("location", LOCATIONS), "external")
    upstream = fields.expect("upstream", _upstream, "openai")
    base_url = fields.expect("base_url", address, "")
    model = fields.expect("model", text, key)
    clearance = fields.expect("clearance", one_of("label", labels), lowest)
    no_tiers: dict[str, str] = {}
    tier = fields.expect("tier", _tier(tiers), no_tiers)
    can = fields.expect("can", _can(partial=fields.partial), NOTHING)
    list_price = fields.expect("price", price, None)
    compared_by: Marginal = fields.take("marginal", marginal, "price")
    deadlines = fields.expect("deadlines", _deadlines, TINY)
    tags = fields.take("tags", entries(_tag), {})
    api_key = fields.take("api_key", _api_key, None)
    passed = fields.take("pass_fields", listing(_pass_field), ())
    proxy = fields.take("proxy", address, None)
    reason = fields.take("disabled_reason", text, None)
    _judge_address(fields, location, base_url)
    _judge_fields(fields, upstream, passed)
    if model and not MODEL.fullmatch(model):
        fields.wrong(fields.place("model"), "model: must be at most 200 characters without a space")
    elif upstream == "litellm" and model and "model" in fields:
        _judge_provider(fields, model)
    if not fields.partial:
        _judge_enabled(fields, tier, can, list_price)
    elif "disabled_reason" not in fields:
        fields.wrong(fields.place("enabled"), "disabled_reason is required with enabled: false")
    fields.done(LATER)
    return Target(
        name=key,
        location=cast("Location", location),
        upstream=upstream,
        base_url=base_url,
        model=model,
        clearance=clearance,
        tags=tags,
        tier=tier,
        can=can,
        price=list_price,
        marginal=compared_by,
        deadlines=deadlines,
        api_key=api_key,
        pass_fields=frozenset(passed),
        proxy=proxy,
        disabled=reason,
        at=str(at),
    )


def _judge_address(fields: Fields, location: str | None, base_url: str | None) -> None:
    """Judge location, base_url and proxy together; None is what was refused already."""
    if location == "cluster" and "proxy" in fields:
        fields.wrong(fields.place("proxy"), "proxy is for external targets only")
    if location == "external" and base_url and is_plain(base_url):
        message = "base_url of an external target must be https (http only to this machine)"
        fields.wrong(fields.place("base_url"), message)


def _judge_fields(fields: Fields, upstream: str | None, passed: tuple[str, ...] | None) -> None:
    """Judge pass_fields against what the dialect handles by itself."""
    dialect = DIALECTS.get(upstream or "")
    for field in passed or ():
        kind, _, inner = field.rpartition(".")
        known = {"messages": MESSAGE_KEYS, "parts": PART_KEYS}.get(kind, frozenset())
        if not kind and dialect:
            known = dialect.takes | dialect.drops
        if inner in known:
            fields.wrong(fields.place("pass_fields"), f"pass_fields: {field} is handled already")


def _judge_provider(fields: Fields, model: str) -> None:
    """Judge the provider that a litellm target's model names: some would dial by themselves."""
    provider, _, rest = model.partition("/")
    if provider in LITELLM_PROVIDERS and rest:
        return
    written = shown(fields.node.entries["model"])
    nearest = hint(provider, LITELLM_PROVIDERS)
    if "valid: " not in nearest:
        nearest += f" valid: {', '.join(sorted(LITELLM_PROVIDERS))}"
    message = f"model: {written} is not PROVIDER/NAME with a provider we let out{nearest}"
    fields.wrong(fields.place("model"), message)


def _judge_enabled(
    fields: Fields,
    tier: dict[str, str] | None,
    can: Capabilities | None,
    found: Price | None,
) -> None:
    """Judge what a callable target needs beyond single keys; None is what was refused already."""
    if "disabled_reason" in fields:
        fields.wrong(fields.place("disabled_reason"), "disabled_reason needs enabled: false")
    if can is not None and tier is not None:
        for missing in sorted({TIER_OF_MODALITY[modality] for modality in can.input} - tier.keys()):
            fields.wrong(fields.place("tier"), f"tier.{missing} is required for can.input")
    written = fields.node.entries.get("price")
    if isinstance(written, Scalar) and written.value == UNPUBLISHED:
        fields.wrong(fields.place("price"), "price: unpublished needs enabled: false")
    if isinstance(found, GpuPrice) and "marginal" not in fields:
        fields.wrong(fields.node.at, "marginal is required with a price of GPUs")
    if isinstance(found, TokenPrice) and can and found.per_million[-1].up_to < can.context:
        last = f"the last up_to, {found.per_million[-1].up_to},"
        message = f"price.per_million: {last} must reach can.context, {can.context}"
        fields.wrong(fields.place("price"), message)


def _upstream(node: Node, report: Report) -> str:
    value = text(node, report)
    if value in LATER_UPSTREAMS:
        report.refuse(node, f"{value} is not supported by this version")
    return one_of("upstream", tuple(DIALECTS))(node, report)


def _tag(key: str, at: Place, node: Node, report: Report) -> str:
    del key, at
    return name(node, report)


def _tier(tiers: tuple[str, ...] | None) -> Reader[dict[str, str]]:
    read_tier = one_of("tier", tiers)

    def read(node: Node, report: Report) -> dict[str, str]:
        fields = Fields(node, report)
        found = {key: fields.take(key, read_tier, "") for key in TIER_KEYS}
        fields.done()
        if not fields.node.entries:
            report.refuse(node, "the mapping is empty")
        return {key: value for key, value in found.items() if value}

    return read


def _can(*, partial: bool) -> Reader[Capabilities]:
    modalities = listing(one_of("modality", MODALITIES))

    def read(node: Node, report: Report) -> Capabilities:
        fields = Fields(node, report, partial=partial)
        taken = fields.expect("input", modalities, tuple(NOTHING.input))
        given = fields.take("output", modalities, ("text",))
        tools = fields.take("tools", boolean, default=False)
        json_object = fields.take("json_object", boolean, default=False)
        json_schema = fields.take("json_schema", boolean, default=False)
        thinking = fields.take("thinking", _thinking, THINKING[False])
        media_url = fields.take("media_url", boolean, default=False)
        context = fields.expect("context", count, NOTHING.context)
        max_output = fields.expect("max_output", count, NOTHING.max_output)
        fields.done()
        if max_output > context:
            report.key("max_output").refuse(node, "must not be above context")
        return Capabilities(
            input=frozenset(taken),
            output=frozenset(given),
            tools=tools,
            json_object=json_object,
            json_schema=json_schema,
            thinking=thinking,
            media_url=media_url,
            context=context,
            max_output=max_output,
        )

    return read


def _thinking(node: Node, report: Report) -> Thinking:
    value = node.value if isinstance(node, Scalar) else None
    if not isinstance(value, bool | str) or value not in THINKING:
        report.refuse(node, "must be true (can be switched), false (never) or only (always)")
    return THINKING[value]


def _deadlines(node: Node, report: Report) -> Deadlines:
    fields = Fields(node, report)
    connect_s = fields.need("connect_s", _seconds)
    first_token_s = fields.need("first_token_s", _seconds)
    idle_s = fields.need("idle_s", _seconds)
    total_s = fields.need("total_s", _seconds)
    fields.done()
    return Deadlines(
        connect_s=connect_s, first_token_s=first_token_s, idle_s=idle_s, total_s=total_s
    )


def _seconds(node: Node, report: Report) -> float:
    value = float(positive(node, report))
    if value > LONGEST_S:
        report.refuse(node, f"must be {LONGEST_S} seconds at most")
    return value


def _api_key(node: Node, report: Report) -> Credential:
    fields = Fields(node, report)
    file = fields.take("file", text, None)
    env = fields.take("env", _variable, None)
    if len(fields.node.entries) != 1:
        fields.wrong(fields.node.at, "one of file and env is required")
    fields.done()
    return Credential(file=file, env=env)


def _variable(node: Node, report: Report) -> str:
    value = text(node, report)
    if not VARIABLE_NAME.fullmatch(value):
        # Not shown: a key that stands here by mistake must not reach a log.
        report.refuse(node, "must be the name of a variable")
    return value


def _pass_field(node: Node, report: Report) -> str:
    value = text(node, report)
    form = FIELD.fullmatch(value)
    if not form:
        report.refuse(node, f"{shown(node)} is no field: NAME, messages.NAME or parts.NAME")
    if form.group(2) in {UNNAMED, *STEERING} or STEERING_FAMILY.fullmatch(form.group(2)):
        report.refuse(node, f"{shown(node)} may never be passed: it could steer what we decide")
    return value


def _evidence(key: str, at: Place, node: Node, report: Report) -> None:
    """Read one dated piece of evidence. It steers nothing; the digest covers it."""
    del key, at
    table = mapping(node, report)
    if "as_of" not in table.entries:
        report.refuse(node, "as_of is required")
    iso_date(table.entries["as_of"], report.key("as_of"))
