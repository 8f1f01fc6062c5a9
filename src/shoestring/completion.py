"""`shoestring completion SHELL`: what a shell needs to complete commands and options.

The scripts are click's own; what it asks of a command is answered from the table of verbs, so that only the verb that
is being typed is loaded.
"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from shoestring import ui
from shoestring.cli import COMPLETE, VERBS, command


class Verbs(click.Group):
    """The table of verbs as click sees it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Returns a verb's command; the relay's verbs stand without options, since it does without click."""
        if cmd_name not in VERBS:
            return None
        found = command(cmd_name)
        if isinstance(found, click.Command):
            return found
        from shoestring.relay.commands.main import VERBS as verbs

        return click.Group(cmd_name, {verb: click.Command(verb, help=line) for verb, line in verbs.items()})


def complete(instruction: str) -> None:
    """Answers what a completion script asks: `bash_complete`, `zsh_complete` or `fish_complete`."""
    shell = instruction.partition("_")[0]
    kind = get_completion_class(shell)
    if kind is not None:
        print(kind(Verbs("shoestring"), {}, "shoestring", COMPLETE).complete())


@ui.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(ui: ui.UI, shell: str) -> None:
    """Prints the script that makes SHELL complete shoestring's commands and options.

    \b
    bash   eval "$(shoestring completion bash)"                 in ~/.bashrc
    zsh    eval "$(shoestring completion zsh)"                  in ~/.zshrc
    fish   shoestring completion fish | source                  in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(Verbs("shoestring"), {}, "shoestring", COMPLETE).source()
    ui.result({"shell": shell, "script": script}, script)
