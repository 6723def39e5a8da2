"""Both judges of a declaration: postern check, and the JSON Schema that editors use."""
import json
import os
import subprocess

import jsonschema

from lib.process import POSTERN

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
EXAMPLE = os.path.join(ROOT, "examples", "homelab", "postern.yml")

with open(os.path.join(ROOT, "docs", "postern.schema.json"), encoding="utf-8") as source:
    SCHEMA = json.load(source)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def check(text):
    """What postern check says of the text: the parsed answer. It never fails to answer."""
    data = text if isinstance(text, bytes) else text.encode()
    done = subprocess.run([POSTERN, "check", "--json", "/dev/stdin"], input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr.decode()
    answer = json.loads(done.stdout)
    assert answer["valid"] == (done.returncode == 0)
    return answer


def errors_of(answer):
    return [finding["message"] for finding in answer["findings"] if finding["severity"] == "error"]


def reader_errors(document):
    """Errors of the reader in a document given as data; JSON is YAML."""
    return errors_of(check(json.dumps(document)))


def schema_accepts(document):
    return VALIDATOR.is_valid(document)
