"""The command line: `qwen-router`. Exit codes: 0 good, 1 a finding, 2 wrong usage.

serve       run the gateway                 demo        the gateway with stand-in models
check       look a policy folder over       explain     what would be decided, and why
keys        make client keys                decisions   read and verify the records
controls    suspend, resume, switch, status
output      tables, JSON, exit codes        account     a decision, for people
options     what several commands share     standins    the demo's models
telling     the demo's requests
"""

from __future__ import annotations

import typer

from router.cli import check, controls, decisions, demo, explain, keys, serve

app = typer.Typer(
    name="qwen-router",
    help="Decides by policy whether your own Qwen or the paid Qwen API answers, and records why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("explain")(explain.explain)
app.command("suspend")(controls.suspend)
app.command("resume")(controls.resume)
app.command("switch")(controls.switch)
app.command("status")(controls.status)
app.add_typer(keys.app, name="keys")
app.add_typer(decisions.app, name="decisions")


def main() -> None:
    """Run the command line."""
    app()
