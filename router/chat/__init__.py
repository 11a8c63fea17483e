"""A request's body, read once: body → ChatRequest → Facts. Pure.

request     the body parsed and checked                  schema    the types of known fields
parts       content parts: modality, remote media        tokens    how long it is, estimated
facts       what is known of it, under a policy's vocabulary
"""
