"""The policies that ship: they load, and decide the telling cases as their comments say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from router.chat.facts import Caller, facts_of
from router.chat.request import parse
from router.loading import load_policy
from router.policy.decide import decide
from router.policy.keys import ANONYMOUS, Key
from router.policy.state import QUIET, State
from tests.policy.builders import codes

if TYPE_CHECKING:
    from router.policy.decision import Decision

FOLDER: Final = Path(__file__).parents[1] / "policies"
POLICY: Final = load_policy(FOLDER, {}).policy
NOON: Final = 1_793_592_000.0  # 2026-11-02, a Monday, 12:00 in Shanghai

PUBLIC: Final = {"x-router-sensitivity": "public"}
INTERNAL: Final = {"x-router-sensitivity": "internal"}
CONFIDENTIAL: Final = {"x-router-sensitivity": "confidential"}
PREMIUM: Final = {"x-router-tier": "premium"}

OWN: Final = {"qwen-open", "qwen-open-moe"}
PAID: Final = {"qwen3.7-max", "qwen3.7-plus", "qwen3.6-plus", "qwen3.6-max-preview"}
PREVIEWS: Final = {"qwen3.7-max-preview", "qwen3.7-plus-preview"}
PIXEL: Final = "data:image/png;base64,iVBORw0KGgo="
IMAGE: Final = {"type": "image_url", "image_url": {"url": PIXEL}}
LONG: Final = "word " * 240_000  # 300,000 tokens


def ask(
    content: Any = "What is the capital of France?",
    *,
    headers: dict[str, str] | None = None,
    key: Key = ANONYMOUS,
    state: State = QUIET,
    **body: Any,
) -> Decision:
    """Decide a whole request, from its bytes, under the shipped policies."""
    tree = {"model": "auto", "messages": [{"role": "user", "content": content}]} | body
    caller = Caller(key=key, headers=headers or {}, received_at=NOON, secret=b"test")
    return decide(facts_of(parse(msgspec.json.encode(tree)), caller, POLICY), POLICY, state)


def test_the_catalog_names_this_fields_models() -> None:
    """Two open models of our own, the paid ones, and the previews."""
    assert set(POLICY.targets) == OWN | PAID | PREVIEWS
    assert {t.location for t in POLICY.targets.values() if t.name in OWN} == {"cluster"}
    assert {n for n, t in POLICY.targets.items() if t.disabled} == PREVIEWS


@pytest.mark.parametrize("name", sorted(OWN | PAID))
def test_every_callable_target_has_a_price(name: str) -> None:
    """Nothing is free, not even our own GPUs."""
    price = POLICY.targets[name].price

    assert price is not None
    assert price.usd(1000, 1000) > 0


@pytest.mark.parametrize("name", sorted(PAID))
def test_no_paid_target_may_see_what_is_confidential(name: str) -> None:
    """Clearance stops below confidential for every external target."""
    assert POLICY.targets[name].clearance == "internal"


@pytest.mark.parametrize(("name", "above"), [("qwen3.7-plus", 3), ("qwen3.6-plus", 4)])
def test_a_long_prompt_is_billed_whole_at_the_upper_tier(name: str, above: int) -> None:
    """256,000 tokens are in the lower tier; one more puts all of them in the upper one."""
    price = POLICY.targets[name].price

    assert price is not None
    assert price.usd(256_001, 0) == price.usd(256_000, 0) / 256_000 * 256_001 * above


@pytest.mark.parametrize("headers", [PUBLIC, INTERNAL], ids=["public", "internal"])
def test_a_plain_question_is_answered_by_our_own_model(headers: dict[str, str]) -> None:
    """What may go anywhere goes where it adds least to the bill: our own GPUs."""
    decision = ask(headers=headers)

    assert decision.plan[0] == "qwen-open"
    assert set(decision.plan) == OWN | PAID
    assert decision.plan[-1] == "qwen-open-moe"  # below the standard tier
    assert decision.order.rule == "default"


@pytest.mark.parametrize("headers", [None, CONFIDENTIAL], ids=["unlabelled", "confidential"])
def test_confidential_stays_on_the_cluster(headers: dict[str, str] | None) -> None:
    """A confidential request and an unlabelled one never leave: clearance, and the invariant."""
    decision = ask(headers=headers)

    assert decision.label.value == "confidential"
    assert decision.plan == ("qwen-open", "qwen-open-moe")
    assert codes(decision, "qwen3.7-max") == (
        "clearance/label_above_clearance",
        "forbid/invariant",
    )


def test_a_client_cannot_go_below_its_key() -> None:
    """A client that says public with a confidential key stays confidential."""
    assert ask(headers=PUBLIC, key=Key(id="k", min_label="confidential")).plan[0] == "qwen-open"
    assert not set(ask(headers=PUBLIC, key=Key(id="k", min_label="confidential")).plan) & PAID


def test_an_image_stays_on_the_cluster() -> None:
    """An image cannot be scanned: it is restricted unless its key vouches for its media."""
    content = [{"type": "text", "text": "What is this?"}, IMAGE]
    vouched = Key(id="k", min_label="public", media_label="public")

    assert ask(content, headers=PUBLIC).label.value == "restricted"
    assert ask(content, headers=PUBLIC).plan == ("qwen-open", "qwen-open-moe")
    assert "qwen3.7-plus" in ask(content, key=vouched).plan
    assert "qwen3.7-max" not in ask(content, key=vouched).plan


@pytest.mark.parametrize("model", ["auto", "best"])
def test_premium_and_public_goes_to_the_best_paid_model(model: str) -> None:
    """Premium, by header or by alias, is what the paid model is for."""
    decision = ask(headers=PUBLIC | (PREMIUM if model == "auto" else {}), model=model)

    assert decision.plan[0] == "qwen3.7-max"
    assert decision.order.rule == "premium"
    assert decision.degraded == ()


def test_premium_for_hr_is_our_own_model_degraded() -> None:
    """HR is restricted whatever it asks for; that the wish is not met is said."""
    decision = ask(headers=PREMIUM, key=Key(id="k", product="hr", min_label="public"))

    assert decision.label.value == "restricted"
    assert decision.plan == ("qwen-open", "qwen-open-moe")
    assert decision.degraded == ("tier",)


def test_basic_is_answered_by_the_fast_model() -> None:
    """The mixture of experts answers what needs no more."""
    assert ask(model="cheap").plan == ("qwen-open-moe", "qwen-open")


def test_a_long_public_document_goes_to_the_cheapest_that_takes_it() -> None:
    """300,000 tokens are too long for us, and the dearer ones cost more than one request may."""
    decision = ask(LONG, headers=PUBLIC)

    assert 300_000 <= decision.input_tokens < 301_000
    assert decision.plan == ("qwen3.7-plus",)
    assert codes(decision, "qwen-open") == ("context/context_length",)
    assert codes(decision, "qwen3.7-max") == ("forbid/forbid",)


def test_a_long_confidential_document_is_refused() -> None:
    """What may not leave and does not fit has nowhere to go: the code says that it is too long."""
    refusal = ask(LONG, headers=CONFIDENTIAL).refusal

    assert refusal is not None
    assert (refusal.code, refusal.http_status) == ("context_length_exceeded", 400)


def test_over_the_cost_cap_is_refused() -> None:
    """A request that costs more than half a dollar wherever it fits is refused, with the reason."""
    decision = ask(LONG * 3, headers=PUBLIC)
    costs = {
        verdict.cost_usd_p95
        for verdict in decision.verdicts.values()
        if verdict.target in PAID and verdict.cost_usd_p95
    }

    assert decision.refusal is not None
    assert (decision.refusal.code, decision.refusal.http_status) == ("policy_refused", 403)
    assert decision.refusal.message == "A single request may cost 0.50 USD"
    assert min(costs) > Decimal("0.50")


def test_many_answers_count_against_the_cost_cap() -> None:
    """The cap cannot be slipped by asking for many answers at once."""
    assert not set(ask(headers=PUBLIC, n=128).plan) & PAID


@pytest.mark.parametrize("model", ["auto", "best", "own"])
def test_ci_never_pays(model: str) -> None:
    """Continuous integration stays on our own models, whatever it asks for."""
    key = Key(id="k", group="ci", min_label="public")

    assert set(ask(key=key, model=model).plan) <= OWN
    assert ask(key=key, model="qwen3.7-max").refusal is not None


def test_one_switch_brings_everything_home() -> None:
    """The switch removes every external target, also for the best that is asked for."""
    state = State(switches=frozenset({"all_home"}))
    decision = ask(headers=PUBLIC | PREMIUM, state=state)

    assert set(decision.plan) == OWN
    assert all("forbid/forbid" in codes(decision, name) for name in PAID)


@pytest.mark.parametrize("model", sorted(PREVIEWS))
def test_disabled_previews_are_not_found(model: str) -> None:
    """A preview without a price is known and not callable: 404, as a name that does not exist."""
    refusals = [ask(headers=PUBLIC, model=name).refusal for name in (model, "no-such-model")]

    assert refusals[0] is not None
    assert (refusals[0].code, refusals[0].http_status) == ("model_not_found", 404)
    assert refusals[0] == refusals[1]


def test_the_shop_answers_plainly() -> None:
    """The shop does not reason unless it asks for it, and its answers are short."""
    key = Key(id="k", product="shop")

    assert (ask(key=key).shaped.thinking, ask(key=key).shaped.max_output) == (False, 800)
    assert ask(key=key, enable_thinking=True).shaped.thinking is True
    assert ask(key=key, max_tokens=100).shaped.max_output == 100


@pytest.mark.parametrize(
    ("part", "key"),
    [
        ({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}, ANONYMOUS),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg=="}},
            ANONYMOUS,
        ),
        ({"type": "video", "video": [PIXEL]}, Key(id="k", group="batch")),
    ],
    ids=["audio", "file", "batch-video"],
)
def test_recordings_and_batch_videos_stay_home(part: dict[str, Any], key: Key) -> None:
    """A rule keeps them from every external target, by whatever label their key vouches."""
    vouched = Key(id="k", group=key.group, min_label="public", media_label="public")
    decision = ask([part], key=vouched)

    assert not set(decision.plan) & PAID
    assert all("forbid/forbid" in codes(decision, name) for name in PAID)


@pytest.mark.parametrize(
    "body",
    [{}, {"model": "own"}, {"model": "nothing"}, {"tools": [{}]}, {"logit_bias": {"1": 2}}],
)
def test_every_target_has_a_verdict(body: dict[str, Any]) -> None:
    """Served or refused, each target of the catalog is judged."""
    assert ask(**body).verdicts.keys() == POLICY.targets.keys()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_every_file_says_who_owns_it(path: Path) -> None:
    """The first lines of a policy file say whose it is and what it may do."""
    head = path.read_text().split("apiVersion:")[0]

    assert head.startswith("# ")
    assert "Owner: " in head
