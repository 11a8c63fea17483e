"""What each upstream dialect takes of a chat request: data, dated November 2026.

A field that a dialect takes is sent as it is or translated by the dialect's module in `upstreams`.
A field that it may drop does not change the answer. Any other field removes the target at
`capability`, unless the target's `pass_fields` names it: so a new vendor knob is opt-in by policy.

Sources: OpenAI's chat-completions reference; vLLM 0.32 (unknown top-level fields are silently
ignored there, so what is not listed must not be sent); Alibaba Cloud Model Studio, "OpenAI
compatible" (frequency_penalty and logit_bias are silently ignored there, so they are not taken).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What a request may need beyond its fields. Closed: `Target.lacks` is computed against it.
NEEDS: Final = frozenset(
    {
        "tools",
        "tool_choice_required",
        "tool_choice_named",
        "named_tool_while_thinking",
        "json_object",
        "json_schema",
        "json_without_word",
        "json_while_thinking",
        "thinking_on",
        "thinking_off",
        "media_url",
        "unknown_part",
    }
)

# Every top-level field of OpenAI's create-chat-completion schema, and the thinking switches that
# Qwen's own clients send. `request.fields` holds these names, or `unknown`.
OPENAI_FIELDS: Final = frozenset(
    """
    messages model audio frequency_penalty function_call functions logit_bias logprobs
    max_completion_tokens max_tokens metadata modalities moderation n parallel_tool_calls prediction
    presence_penalty prompt_cache_key prompt_cache_options prompt_cache_retention reasoning_effort
    response_format safety_identifier seed service_tier stop store stream stream_options temperature
    tool_choice tools top_logprobs top_p user verbosity web_search_options
    """.split()
)
# `enable_thinking` (also inside `chat_template_kwargs`) is read as the thinking switch and is no
# field; a `chat_template_kwargs` that holds more steers the prompt template, so nothing takes it.
QWEN_FIELDS: Final = frozenset({"thinking_budget"})
KNOWN_FIELDS: Final = OPENAI_FIELDS | QWEN_FIELDS | {"chat_template_kwargs"}

# Keys inside a message and inside a content part. Anything else counts as `messages.unknown` or
# `parts.unknown`, unless a target's `pass_fields` lists it as `messages.NAME` or `parts.NAME`.
MESSAGE_KEYS: Final = frozenset(
    """
    role content name tool_calls tool_call_id refusal audio function_call reasoning_content
    reasoning annotations
    """.split()
)
PART_KEYS: Final = frozenset("type text image_url input_audio video_url video file refusal".split())

# Droppable everywhere: they identify, store, label or hint, and never change the answer.
DROPPABLE: Final = frozenset(
    """
    metadata store user safety_identifier service_tier prediction prompt_cache_key
    prompt_cache_options prompt_cache_retention
    """.split()
)

# Taken by every dialect.
COMMON: Final = frozenset(
    """
    messages model max_completion_tokens max_tokens modalities n parallel_tool_calls
    presence_penalty response_format seed stop stream stream_options temperature tool_choice tools
    top_p
    """.split()
)

# What may stand before the slash in the `model` of a litellm target. Closed, because a provider's
# code in litellm may dial by itself; each of these is shown to make one request, and through our
# transport. Not in it: those with credentials that are fetched (bedrock, vertex_ai), and those that
# speak OpenAI through OpenAI's library, for which `upstream: openai` does.
LITELLM_PROVIDERS: Final = frozenset(
    """
    anthropic deepseek fireworks_ai gemini groq mistral openrouter together_ai xai
    """.split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way of speaking chat completions: fields taken, fields droppable, needs never met.

    `switches_thinking` is false where there is no field to turn a model's thinking on or off.
    """

    takes: frozenset[str]
    drops: frozenset[str] = DROPPABLE
    lacks: frozenset[str] = frozenset()
    switches_thinking: bool = True


DIALECTS: Final[dict[str, Dialect]] = {
    "vllm": Dialect(
        takes=COMMON
        | QWEN_FIELDS
        | {"frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "reasoning_effort"},
    ),
    # tool_choice: "required" is refused while thinking, which is on by default, and by older models
    # always: https://github.com/QwenLM/qwen-code/issues/7659. So is a named tool while thinking;
    # the dialect's module switches thinking off for it where it was not asked for.
    "dashscope": Dialect(
        takes=COMMON | QWEN_FIELDS | {"logprobs", "top_logprobs"},
        lacks=frozenset(
            {
                "tool_choice_required",
                "named_tool_while_thinking",
                "json_without_word",
                "json_while_thinking",
            }
        ),
    ),
    # OpenAI's own field set. The drops are taken: an OpenAI-shaped server knows them.
    "openai": Dialect(takes=OPENAI_FIELDS, drops=frozenset(), switches_thinking=False),
    # What litellm maps for every provider; the rest depends on the provider, so it is opt-in.
    "litellm": Dialect(takes=COMMON - {"modalities"}, switches_thinking=False),
}
