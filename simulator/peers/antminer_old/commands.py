"""Every command of a control board's shell, by name, with the options that clients use."""

from __future__ import annotations

from simulator.peers.antminer_old.file_commands import FILE_COMMANDS
from simulator.peers.antminer_old.shell import Command
from simulator.peers.antminer_old.shell_commands import SHELL_COMMANDS
from simulator.peers.antminer_old.text_commands import TEXT_COMMANDS

COMMANDS: dict[str, Command] = {**FILE_COMMANDS, **TEXT_COMMANDS, **SHELL_COMMANDS}
