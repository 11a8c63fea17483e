"""qwen-router: the map of the house. Imports point down this list, and nowhere else.

    __main__    python -m router
    cli         the command line: serve, demo, check, explain, keys, decisions, suspend, …
    app         builds everything once; owns every client and task
    api         the HTTP edge: the chat route, models, decisions, admin, errors
    gateway     one request's story: decide, record, walk the plan, finish
    workbench   policies under examination: explain
    upstreams   talking to targets: one transport, one small module a dialect
    ledger      what is held across requests: suspensions and switches
    records     the decision record: schema, chain, sinks, reading back
    loading     YAML → policy and keys, with file:line errors; digest; watch and swap
    settings    the environment → frozen settings
    telemetry   metrics and the operating log
    chat        body → ChatRequest → Facts                      pure
    policy      facts + policy + state → decision               pure, standard library only
    errors      every error a client can get

To find out why a request went where it went, open `policy/decide.py` and the policy folder.
"""

__version__ = "0.1.0"
