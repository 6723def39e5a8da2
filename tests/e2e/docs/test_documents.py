"""What the documents show is what the commands say, and what they link to is there."""
import difflib
import importlib.util
import os
import re
import subprocess

import pytest

from lib.process import POSTERN

HERE = os.path.dirname(os.path.abspath(__file__))
_spec = importlib.util.spec_from_file_location("postern_docs_console", os.path.join(HERE, "console.py"))
console = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(console)

DOCUMENTS = console.documents()
WITH_EXAMPLES = [name for name in DOCUMENTS if list(console.blocks(console.read(name), "console"))]


def test_there_are_examples():
    assert "docs/access.md" in WITH_EXAMPLES and "README.md" in DOCUMENTS


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_commands_say_what_the_document_says(name):
    shell = console.Shell()
    try:
        for line, body in console.blocks(console.read(name), "console"):
            for command, said in console.examples(body):
                status, says = shell.run(command)
                assert status in (0, 1), f"{name}:{line}: $ {command}: status {status}\n{says}"
                difference = "".join(difflib.unified_diff(said.splitlines(True), says.splitlines(True), "document", "command"))
                assert not difference, f"{name}:{line}: $ {command}\n{difference}(meant so? tests/e2e/docs/console.py writes it into the documents)"
    finally:
        shell.end()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_declarations_in_documents_are_right(name, directory):
    for line, body in console.blocks(console.read(name), "yaml"):
        if not body.startswith("postern: 1\n"):
            continue
        path = os.path.join(directory, "postern.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(body)
        done = subprocess.run([POSTERN, "check", "-f", path], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in (0, 1) and " error" not in done.stdout.split(": ok:")[0], f"{name}:{line}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    text = console.FENCE.sub("", console.read(name))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        whole = os.path.normpath(os.path.join(console.ROOT, os.path.dirname(name), path)) if path else os.path.join(console.ROOT, name)
        assert os.path.exists(whole), f"{name} links to {target}"
        if anchor and whole.endswith(".md"):
            headings = re.findall(r"^#+ (.*)$", console.read(os.path.relpath(whole, console.ROOT)), re.M)
            anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in anchors, f"{name} links to {target}"
