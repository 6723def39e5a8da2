"""Asking the commands about the home lab."""
import json
import os
import subprocess

from lib.process import POSTERN

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
HOMELAB = os.path.join(ROOT, "examples", "homelab", "postern.yml")


def run(*arguments, **options):
    environment = {**os.environ, "COLUMNS": "100", **options.pop("env", {})}
    return subprocess.run([POSTERN, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment, **options)


def ask(*arguments):
    """(status, what is said) of the home lab."""
    done = run(*arguments, "-f", HOMELAB)
    assert done.stderr == "", done.stderr
    return done.returncode, done.stdout


def ask_json(*arguments):
    return json.loads(ask(*arguments, "--json")[1])


def line_of(text):
    """The line of the home lab's file that has this text."""
    with open(HOMELAB, encoding="utf-8") as file:
        return next(number for number, line in enumerate(file, 1) if text in line)
