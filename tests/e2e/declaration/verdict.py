"""Both judges of a declaration: postern check, and the JSON Schema that editors use."""
import functools
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


class Judge:
    """The reader in one process, for thousands of documents (tests/unit/model/judge.c)."""

    def __init__(self):
        program = os.path.join(os.path.dirname(POSTERN), "tests", "unit", "model", "judge")
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def findings(self, text):
        data = text.encode()
        self.process.stdin.write(b"%d\n" % len(data) + data)
        self.process.stdin.flush()
        said = []
        while (line := self.process.stdout.readline()) != b".\n":
            assert line, f"the reader ended at {text[:2000]}"
            said.append(line)
        return json.loads(b"".join(said))


@functools.cache
def judge():
    return Judge()


def reader_errors(document):
    """Errors of the reader in a document given as data; JSON is YAML."""
    return errors_of({"findings": judge().findings(json.dumps(document))})


def schema_accepts(document):
    return VALIDATOR.is_valid(document)
