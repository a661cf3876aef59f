"""Command lines to try: in this process, or as a program of its own; and a site without data."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tallystick.cli import main

SOURCE = Path(__file__).parents[2] / "src"
PROGRAM = "import sys; from tallystick.cli import main; sys.exit(main())"

SITE = '''
import os

import numpy as np


class Site:
    """Moves the model a little; says so on every channel there is."""

    def __init__(self, name, step=0.5):
        self.name, self.step = name, step

    def initial_parameters(self):
        return {"w": np.zeros(16, np.float32)}

    def train(self, parameters, config):
        print("training", self.name)
        os.write(1, b"native code prints, too\\n")
        generator = np.random.default_rng(config["seed"])
        noise = generator.standard_normal(16).astype(np.float32)
        return {"w": parameters["w"] + np.float32(self.step) + np.float32(0.05) * noise}, 10

    def evaluate(self, parameters, config):
        distance = float(np.abs(parameters["w"] - 1).mean())
        return {"accuracy": 1 / (1 + distance), "loss": float("nan")}, 10
'''

TASK = """
name = "tiny"
recipe = "{recipe}"
rounds = {rounds}

[simulate]
trainer = "own_site:Site"
members = ["north", "south", "east", "west"]
"""


def write_task(folder, recipe="chain-fl", rounds=2, text=TASK):
    """Write a task file and the module with its trainer; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own_site.py").write_text(SITE, encoding="utf-8")
    path = folder / "tiny.toml"
    path.write_text(text.format(recipe=recipe, rounds=rounds), encoding="utf-8")
    return path


def command(*arguments):
    """Return the command line that runs the program on its own."""
    return [sys.executable, "-c", PROGRAM, *map(str, arguments)]


def environment(**changes):
    """Return the environment such a program needs."""
    return {**os.environ, "PYTHONPATH": str(SOURCE), "NO_COLOR": "1", **changes}


def start(*arguments, **changes):
    """Start the program; return its process, output and errors as text."""
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**changes),
    )


def execute(*arguments, **changes):
    """Run the program on its own; return status, output, errors."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(**changes), check=False
    )
    return done.returncode, done.stdout, done.stderr


class Ran:
    """What a command line came to in this process."""

    def __init__(self, capfd, *arguments):
        capfd.readouterr()
        self.status = main([str(each) for each in arguments])
        self.out, self.err = capfd.readouterr()

    @property
    def document(self):
        """The one JSON document on standard output."""
        return json.loads(self.out, parse_constant=_refuse)

    @property
    def error(self):
        """The error in it."""
        document = self.document
        assert document["format"] == "tally.error/1"
        assert document["ok"] is False
        assert set(document["error"]) == {"code", "message", "hint"}
        return document["error"]


def _refuse(name):
    msg = f"{name} is no JSON"
    raise ValueError(msg)
