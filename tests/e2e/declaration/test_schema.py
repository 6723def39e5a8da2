"""The JSON Schema and the reader judge alike: what one accepts the other accepts, but for what no schema can see."""
import copy
import json
import re

import pytest
import yaml

from declaration.documents import ACCEPTED, EVERYTHING, GONE, REJECTED, changed
from declaration.verdict import EXAMPLE, check, errors_of, reader_errors, schema_accepts

# What only the reader can find, because it is about the whole file, or about numbers inside a text. Everything else must be in the schema.
ONLY_THE_READER = [re.compile(pattern) for pattern in (
    r"^there is no (host|host, segment or service|host or service|segment|service|surface) '",      # a name that nothing has
    r" is there already, at line \d+$",                                    # an address or a range of another
    r"^'.*' is no gateway$", r"^no host is a gateway for surface",         # what a host says elsewhere
    r" is no gateway, so nobody can reach a service ",
    r"^a grant to a web service says over which surface$",                 # depends on the kind of the service
    r" is a port, reached over no surface$", r" is internal: no surface serves it$", r" is not served over ",
    r"^port \d+ of '.*' belongs to surface ", r"^redirect: is the surface's own port$", r" has this port of '.*' already",
    r"^its instance on '.*' is called ", r"^the instance on '.*' would be called ", r" has this name already",
    r"^its address .* is that of '",                                        # another host's
    r" is a (host|segment) and a (segment|service)$",
    r"^service '.*' can't ask: only one with 'container:' ", r"^service '.*' is not in a container, so ",  # what the service says elsewhere
    r" is a port inside a container, which only containers of that host ", r"^no rule of postern stands between '.*' and the internet$",  # who asks
    r" is a port of its host, and outside, ", r"^outside, '.*' has its host's address", r"^no gateway on a host of '.*' serves surface ",
    r" run on no host together, and containers ",
    r"^'internet' is reached over no surface$", r"^'labelled:' lets patterns match ",                      # depends on the rest of the grant
    r" is not below '.*', and the internal authority vouches for nothing else$",
    r" is bound to a (tag|user), and a ",                                  # a host's binding against its segment's
    r"^[0-9a-f:.]+ can't be a host's address$",                                   # 0.0.0.0 and the like
    r"^'[0-9a-fA-F:.]+/(0|[1-9][0-9]*)' is no range of addresses$",                    # bits set past the prefix
    r"^expected a numeric address or range such as 100\.64\.0\.0/24, found '[0-9a-fA-F:.]{2,45}(/(0|[1-9][0-9]*))?'$",
)]


def verdicts(document):
    """(schema's word, reader's word, what the reader says). The reader's no counts only where a schema could have seen it."""
    errors = reader_errors(document)
    structural = [error for error in errors if not any(pattern.search(error) for pattern in ONLY_THE_READER)]
    return schema_accepts(document), not errors, structural


def test_the_command_says_what_the_judge_says():
    for document in (EVERYTHING, changed("domain", 5), changed("hosts/robin/os", "windows")):
        assert errors_of(check(json.dumps(document))) == reader_errors(document)


def describe(change):
    path, value = change
    return f"{path} gone" if value is GONE else f"{path}={value!r}"[:60]


def test_everything_the_grammar_knows_is_accepted_by_both():
    assert verdicts(EVERYTHING) == (True, True, [])


def test_the_homelab_is_accepted_by_both():
    with open(EXAMPLE, encoding="utf-8") as source:
        assert verdicts(yaml.safe_load(source)) == (True, True, [])


@pytest.mark.parametrize("change", ACCEPTED, ids=describe)
def test_accepted_by_both(change):
    assert verdicts(changed(*change)) == (True, True, [])


@pytest.mark.parametrize("change", REJECTED, ids=describe)
def test_rejected_by_both(change):
    by_schema, by_reader, structural = verdicts(changed(*change))
    assert not by_schema
    assert not by_reader and structural


# ---- every place of the two documents, changed in every way ----

def places(value, path=()):
    yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, path + (key,))


def mutants(document, path, value):
    """Documents that differ from the one given at one place."""
    def with_value(new):
        mutant = copy.deepcopy(document)
        at = mutant
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = new
        return mutant

    def without(renamed=None):
        mutant = copy.deepcopy(document)
        at = mutant
        for key in path[:-1]:
            at = at[key]
        old = at.pop(path[-1])
        if renamed is not None:
            at[renamed] = old
        return mutant

    for new in (None, True, 0, -1, 65536, 1.5, "", "x", "Not A Name", "a" * 64, [], {}, ["x", "x"], {"x": 1}, [value], [[value]], {"x": value}):
        if new != value or type(new) is not type(value):
            yield "=" + repr(new)[:20], with_value(new)
    if isinstance(value, int) and not isinstance(value, bool):
        yield "+1", with_value(value + 1)
        yield "as text", with_value(str(value))
    if isinstance(value, str):
        for label, new in (("upper case", value.upper()), ("and a space", value + " "), ("twice", value * 2), ("cut", value[:-1]), ("and /", value + "/")):
            yield label, with_value(new)
    if isinstance(value, list):
        yield "an item twice", with_value(value + value[:1])
        yield "the first only", with_value(value[:1])
    yield "gone", without()
    if isinstance(path[-1], str):
        yield "renamed", without(path[-1] + "x")


def top_keys():
    return sorted(EVERYTHING)


@pytest.mark.parametrize("key", top_keys())
@pytest.mark.parametrize("name", ["everything", "homelab"])
def test_every_mutant_is_judged_alike(name, key):
    document = EVERYTHING
    if name == "homelab":
        with open(EXAMPLE, encoding="utf-8") as source:
            document = yaml.safe_load(source)
    seen_shapes, differences, n_mutants, n_rejected = set(), [], 0, 0
    for path, value in places(document.get(key), (key,)):
        if key not in document:
            break
        # A homelab has many services of one shape: each shape once.
        shape = tuple(part for i, part in enumerate(path) if i != 1) + (type(value).__name__,)
        if name == "homelab" and len(path) > 1 and shape in seen_shapes:
            continue
        seen_shapes.add(shape)
        for label, mutant in mutants(document, path, value):
            by_schema, by_reader, structural = verdicts(mutant)
            n_mutants += 1
            n_rejected += not by_reader
            if by_schema != (by_reader or not structural):
                differences.append(f"{'/'.join(map(str, path))} {label}: schema says {by_schema}, reader {by_reader}: {structural[:2]}")
    assert not differences, "\n".join(differences[:40])
    assert n_mutants == 0 or n_rejected > n_mutants / 4
