"""The HTTP edge.

public      the FastAPI app of the public port
chat        POST /v1/chat/completions, plain ASGI
lookups     GET /v1/models, GET /v1/decisions/ID
admin       the FastAPI app of the admin port: health, metrics, explain, stop buttons
answers     errors and headers as bytes
door        who asks: request id, key, x-router-* headers
"""
