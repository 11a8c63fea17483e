"""Talking to targets: everything that leaves the gateway leaves from here.

call.py            what goes in and out: Call, Whole, Event, Fault; the protocol Upstream
outlets.py         target → Upstream; owns the transport
openai_shaped.py   the Upstream for vllm, dashscope and openai: ask, read, translate
vllm.py dashscope.py openai.py    one dialect each, pure: the body to send, whose fault an error is
litellm.py         the Upstream for providers that are not OpenAI-shaped, lazily imported
litellm_door.py    litellm's import, and its one way out: our transport
requests.py        what the dialects' bodies have in common
replies.py         answers and chunks in the client's dialect
faults.py          library errors and error bodies → Fault
sse.py             bytes → server-sent events
transport.py       the one way out; connector.py: the last check before the socket
watch.py           deadlines; credentials.py: a target's own key; contacts.py: what was counted
"""
