"""Every declaration that the documents show is one that postern takes."""
import os
import re

import pytest
import yaml

from declaration.documents import EVERYTHING
from declaration.verdict import ROOT, SCHEMA, check, errors_of, schema_accepts


def fenced(path):
    """YAML blocks of a Markdown page that are whole declarations."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as source:
        text = source.read()
    for match in re.finditer(r"^( *)```ya?ml\n(.*?)^\1```", text, re.S | re.M):
        indent, body = match.groups()
        block = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        if block.startswith("postern:"):
            yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}", block


def displayed(path):
    """The same of a manual page."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as source:
        text = source.read()
    for match in re.finditer(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.S | re.M):
        if match.group(1).startswith("postern:"):
            yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}", match.group(1)


BLOCKS = [*displayed("docs/man/postern.yml.5"), *(displayed("docs/man/postern.1") if os.path.exists(os.path.join(ROOT, "docs/man/postern.1")) else ()),
          *fenced("README.md")]


def test_the_documents_have_examples():
    assert sum(name.startswith("docs/man/postern.yml.5") for name, _ in BLOCKS) == 3
    assert any(name.startswith("README.md") for name, _ in BLOCKS)


@pytest.mark.parametrize("block", [block for _, block in BLOCKS], ids=[name for name, _ in BLOCKS])
def test_an_example_is_right_for_reader_and_schema(block):
    answer = check(block)
    assert errors_of(answer) == []
    assert [f for f in answer["findings"] if "127.0.0.1" not in f["message"]] == []
    assert schema_accepts(yaml.safe_load(block))


def keys_of(schema):
    """Every key that the schema knows."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield from (key for key, value in schema["properties"].items() if value is not False)
        for value in schema.values():
            yield from keys_of(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from keys_of(value)


def test_the_manual_explains_every_key():
    with open(os.path.join(ROOT, "docs/man/postern.yml.5"), encoding="utf-8") as source:
        explained = set(re.findall(r"[a-z]+(?:-[a-z]+)*", " ".join(re.findall(r"^\.(?:It )?Cm (.*)$", source.read(), re.M))))
    assert set(keys_of(SCHEMA)) - explained == set()


def test_the_document_of_everything_uses_every_key():
    def used(value):
        if isinstance(value, dict):
            return set(value).union(*map(used, value.values())) if value else set()
        return set().union(*map(used, value)) if isinstance(value, list) else set()
    assert set(keys_of(SCHEMA)) - used(EVERYTHING) - {"cert", "key"} == set()


def test_the_schema_says_what_every_key_is_for():
    def undescribed(schema, path=""):
        for key, value in schema.get("properties", {}).items():
            if value is not False and isinstance(value, dict) and path:
                reference = SCHEMA["$defs"].get(value.get("$ref", "").rpartition("/")[2], {})
                if not (value.get("description") or reference.get("description") or "const" in value or "enum" in value or key in ("port", "directory")):
                    yield f"{path}.{key}"
    found = [name for definition, schema in SCHEMA["$defs"].items() for name in undescribed(schema, definition)]
    assert found == []
