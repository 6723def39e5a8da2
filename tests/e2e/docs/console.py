#!/usr/bin/python3
"""Examples in the documents: fenced blocks marked "console" hold commands ("$ postern ...") and what they say.

They are run in a copy of examples/homelab, so that ./postern.yml is the home lab's. Run as a program, it writes what commands say now into the
documents: do that when an answer has changed on purpose, and read the difference."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.join(ROOT, os.environ.get("POSTERN_BUILD", "build"))
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S)


def documents():
    """Every Markdown file for readers of the project."""
    names = [name for name in os.listdir(ROOT) if name.endswith(".md")]
    for folder in ("docs", "examples", "bench"):
        for path, _, files in os.walk(os.path.join(ROOT, folder)):
            names += [os.path.relpath(os.path.join(path, name), ROOT) for name in files if name.endswith(".md")]
    return sorted(names)


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as file:
        return file.read()


def blocks(text, kind):
    """(line, body without the fence's indentation) of every block of that kind."""
    for match in FENCE.finditer(text):
        if match["kind"].split(" ")[0] == kind:
            indent = match["indent"]
            body = "".join(line.removeprefix(indent) for line in match["body"].splitlines(True))
            yield text.count("\n", 0, match.start()) + 1, body


def examples(body):
    """(command, what it says) of a console block."""
    found = []
    for line in body.splitlines(True):
        if line.startswith("$ "):
            found.append([line[2:].rstrip("\n"), ""])
        else:
            assert found, f"a console block begins with '$ ', not with {line!r}"
            found[-1][1] += line
    return [tuple(example) for example in found]


class Shell:
    """A copy of the home lab's folder; the commands of one document follow each other in it."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="postern-docs-", dir="/tmp")
        shutil.copytree(os.path.join(ROOT, "examples/homelab"), self.directory, dirs_exist_ok=True)

    def run(self, command):
        """(exit status, what it said)"""
        environment = {"PATH": f"{BUILD}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": self.directory, "LC_ALL": "C.UTF-8", "TERM": "dumb"}
        done = subprocess.run(["sh", "-c", command], cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        return done.returncode, "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())

    def end(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def rewrite(text):
    """The text with what its commands say now."""
    shell = Shell()

    def block(match):
        if match["kind"].split(" ")[0] != "console":
            return match[0]
        body = "".join(line.removeprefix(match["indent"]) for line in match["body"].splitlines(True))
        body = "".join(f"$ {command}\n{shell.run(command)[1]}" for command, _ in examples(body))
        body = "".join((match["indent"] + line).rstrip(" ") if line.strip() else line for line in body.splitlines(True))
        return f"{match['indent']}```{match['kind']}\n{body}{match['indent']}```"
    try:
        return FENCE.sub(block, text)
    finally:
        shell.end()


def main():
    for name in sys.argv[1:] or documents():
        before = read(name)
        after = rewrite(before)
        if after != before:
            with open(os.path.join(ROOT, name), "w", encoding="utf-8") as file:
                file.write(after)
            print(f"{name}: written anew")


if __name__ == "__main__":
    main()
