"""postern check: what it says, how it ends, and that a hostile file costs it little."""
import json
import os
import pty
import resource
import subprocess

import pytest

from declaration.verdict import EXAMPLE, check, errors_of
from lib.process import POSTERN

START = """\
postern: 1
domain: home.example
segments: { clients: {}, prod: {} }
hosts:
  roc: { segment: prod, address: 100.64.0.1, gateway: true }
  robin: { segment: prod, address: 100.64.0.3, os: macos }
  macbook: { segment: clients, address: 100.64.0.13 }
surfaces:
  main: { port: 443 }
  agents: { port: 8443 }
services:
  grafana: { host: roc, port: 3000 }
  luanti: { host: roc, direct: udp/30000 }
  db: { host: roc, port: 5432, internal: true }
"""
GRANTS = """\
grants:
  - { from: clients, to: "*", over: main }
  - { from: clients, to: luanti }
"""


def run(*arguments, directory=None, text=None, **environment):
    return subprocess.run([POSTERN, *arguments], cwd=directory, input=text, capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, **environment})


def write(directory, text, name="postern.yml"):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    return path


# ---- the command ----

def test_a_right_file_ends_with_0(directory):
    done = run("check", write(directory, START + GRANTS))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("ok: 3 hosts, 3 services, 2 surfaces, 2 grants, 0 expectations, 3 warnings\n")
    assert check(START + GRANTS)["findings"] == []


def test_the_homelab_is_right_and_has_no_warning():
    done = run("check", EXAMPLE)
    assert done.returncode == 0
    proved, hosts, containers, summary = done.stdout.splitlines()
    assert proved.startswith("proved: ") and hosts.startswith("unproved: robin, ") and containers.startswith("unproved: nothing holds the containers ")
    assert summary.endswith(" 0 warnings")


def test_warnings_are_said_and_end_with_0(directory):
    done = run("check", write(directory, START))
    assert done.returncode == 0
    assert "warning: no grant lets anybody reach 'grafana'" in done.stdout and done.stdout.endswith(" 7 warnings\n")


def test_a_wrong_file_ends_with_1_and_shows_place_line_caret_and_advice(directory):
    path = write(directory, (START + GRANTS).replace("host: roc, port: 3000", "host: rok, port: 3000"))
    done = run("check", path)
    assert done.returncode == 1
    assert done.stdout == (f"{path}:12:20: error: there is no host 'rok'\n"
                           "    12 |   grafana: { host: rok, port: 3000 }\n"
                           "       |                    ^~~\n"
                           "       = did you mean 'roc'?\n"
                           f"{path}: 1 error\n")


@pytest.mark.parametrize("arguments", [["check", "postern.yml"], ["check", "-f", "postern.yml"], ["check", "--file=postern.yml"], ["check"]])
def test_the_file_is_named_or_the_one_that_is_here(directory, arguments):
    write(directory, START + GRANTS)
    assert run(*arguments, directory=directory).returncode == 0


@pytest.mark.parametrize("name, reason", [("nothing.yml", "No such file"), (".", "Is a directory"), ("postern.yml/x", "Not a directory")])
def test_a_file_that_cannot_be_read_ends_with_2_and_the_reason(directory, name, reason):
    write(directory, START)
    done = run("check", os.path.join(directory, name))
    assert done.returncode == 2 and done.stdout == ""
    assert reason in done.stderr and name in done.stderr


def test_no_file_at_all_names_the_places_and_the_next_step(directory):
    if os.path.exists("/etc/postern/postern.yml"):
        pytest.skip("this machine has a declaration of its own")
    done = run("check", directory=directory)
    assert done.returncode == 2
    assert "./postern.yml" in done.stderr and "/etc/postern/postern.yml" in done.stderr and "-f FILE" in done.stderr


def test_two_files_or_an_unknown_option_end_with_2(directory):
    path = write(directory, START)
    assert run("check", path, path).returncode == 2
    assert run("check", "--jsn", path).returncode == 2


def test_json_has_every_finding_with_its_place(directory):
    path = write(directory, START.replace("3000 }", "70000 }"))
    done = run("check", "--json", path)
    answer = json.loads(done.stdout)
    assert done.returncode == 1 and answer["valid"] is False and answer["file"] == path
    assert answer["findings"] == [{"severity": "error", "file": path, "line": 12, "column": 31, "length": 5,
                                   "message": "expected a number from 1 to 65535, found '70000'", "hint": ""}]


def on_a_terminal(path, **environment):
    main, terminal = pty.openpty()
    with subprocess.Popen([POSTERN, "check", path], stdout=terminal, stderr=terminal, env={**os.environ, **environment}) as process:
        process.wait(20)
    os.close(terminal)
    said = b""
    while True:
        try:
            part = os.read(main, 4096)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(main)
    return said


def test_colour_on_a_terminal_only_and_never_with_no_color(directory):
    path = write(directory, START.replace("roc,", "rok,"))
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    assert b"\x1b[" in on_a_terminal(path, NO_COLOR="")
    assert b"\x1b[" not in on_a_terminal(path, NO_COLOR="1")
    piped = subprocess.run([POSTERN, "check", path], capture_output=True, env=environment, timeout=20, check=False)
    assert b"\x1b[" not in piped.stdout


def test_help_teaches_and_a_near_command_is_suggested(directory):
    done = run("--help")
    assert done.returncode == 0 and "check" in done.stdout
    # The example in the help is a right declaration.
    lines = done.stdout.split("\n")
    first = lines.index("  postern: 1")
    example = "\n".join(line[2:] for line in lines[first:lines.index("", first)]) + "\n"
    assert run("check", write(directory, example)).stdout.endswith(" 0 warnings\n")
    assert "did you mean 'check'?" in run("chekc").stderr
    assert run("chekc").returncode == 2 and run().returncode == 2
    assert run("check", "--help").returncode == 0
    assert run("--version").stdout.startswith("postern ")


# ---- what is found ----

WRONG = [
    # a change to START + GRANTS, and (line, column, part of the message, part of the hint)
    ("roc, port: 3000", "roc, prot: 3000", [(12, 3, "'grafana' needs 'port:'", "unix: /PATH"), (12, 25, "a service has no key 'prot'", "did you mean 'port'?")]),
    ("domain:", "domian:", [(1, 1, "the declaration needs 'domain:'", ""), (2, 1, "has no key 'domian'", "did you mean 'domain'?")]),
    ("postern: 1", "postern: 2", [(1, 10, "reads version 1", "postern: 1")]),
    ("to: luanti", "to: roc:22", [(17, 26, "needs quotes", 'write "roc:22"')]),
    ("to: luanti", "to: 22:22", [(17, 26, "needs quotes", 'write "22:22"')]),
    ("to: luanti", 'to: "grafana:3000"', [(17, 27, "service 'grafana' is not in a container", "without the port")]),
    ("to: luanti", "to: roc", [(17, 26, "no service 'roc'", 'such as "roc:22"')]),
    ("to: luanti", "to: prod", [(17, 26, "no service 'prod'", "it is a segment")]),
    ("to: luanti", "to: lunati", [(17, 26, "no service 'lunati'", "did you mean 'luanti'?")]),
    ("to: luanti", "to: db", [(17, 26, "'db' is internal", "internal: true")]),
    ("to: luanti", "to: grafana", [(17, 26, "says over which surface", "over: main")]),
    ("to: luanti", "to: luanti, over: main", [(17, 26, "'luanti' is a port", "grant of its own")]),
    ("from: clients, to: luanti", "from: clint, to: luanti", [(17, 13, "no host, segment or service 'clint'", "")]),
    ("from: clients, to: luanti", "from: client, to: luanti", [(17, 13, "no host, segment or service 'client'", "did you mean 'clients'?")]),
    ("from: clients, to: luanti", "from: grafana, to: luanti", [(17, 13, "service 'grafana' can't ask", "name its host: roc")]),
    ("from: clients, to: luanti", "from: db, to: luanti", [(17, 13, "service 'db' can't ask", "name its host: roc")]),
    ("to: luanti", "to: *x", [(17, 27, "aliases are not read", "quotes")]),
    ("to: luanti", "to: &x luanti", [(17, 27, "anchors are not read", "")]),
    ("to: luanti", "to: !!str luanti", [(17, 26, "tags are not read", "")]),
    ("to: luanti", "<<: { to: luanti }, to: luanti", [(17, 22, "merge keys are not read", "")]),
    ("over: main", "over: mian", [(16, 37, "no surface 'mian'", "did you mean 'main'?")]),
    ("gateway: true", "gateway: yes", [(5, 55, "expected true or false, without quotes, found 'yes'", ""), (9, 3, "no host is a gateway for surface 'main'", "gateway: true"),
                                       (10, 3, "no host is a gateway for surface 'agents'", "")]),
    ("os: macos", "os: macos, firewall: nftables", [(6, 69, "'robin' runs macOS, which has no nftables", "pf, or none")]),
    ("os: macos", "tag: robin", [(6, 53, "'robin' is no tag", "tag:prod")]),
    ("os: macos", "user: robin", [(6, 54, "'robin' is no user", "alice@example.org")]),
    ("os: macos", "tag: tag:a, user: a@b", [(6, 66, "'tag:' is said already", "keep one")]),
    ("os: macos", "tailscale: macbook", [(7, 3, "the machine 'macbook' is there already, at line 6", "both")]),
    ("os: macos", "tailscale: roc.ts.net", [(6, 59, "'roc.ts.net' is no machine's name", "lower case")]),
    ("clients: {}, prod: {}", "clients: { tag: tag:a }, prod: { tag: tag:a }", [(3, 51, "'tag:a' is there already, at line 3", "one segment")]),
    ("prod: {}", "prod: { user: a@b.c }", []),
    ("prod: {} }\nhosts:\n  roc: { segment: prod", "prod: { user: a@b.c } }\nhosts:\n  roc: { segment: prod, tag: tag:a",
     [(5, 30, "segment 'prod' is bound to a user", "not both")]),
    ("prod: {} }\nhosts:\n  roc: { segment: prod", "prod: { tag: tag:b } }\nhosts:\n  roc: { segment: prod, user: a@b.c",
     [(5, 31, "segment 'prod' is bound to a tag", "tag of its own")]),
    ("os: macos", "os: macos, gateway: true", [(6, 68, "'robin' can't be a gateway", "Linux")]),
    ("100.64.0.3", "100.64.0.1", [(6, 36, "'100.64.0.1' is there already, at line 5", "one host")]),
    ("100.64.0.3", "100.64.0.1/32", [(6, 36, "expected one address", "leave out")]),
    ("100.64.0.3", "0.0.0.0", [(6, 36, "0.0.0.0 can't be a host's address", "")]),
    ("port: 8443", "port: 443", [(10, 3, "port 443 of 'roc' belongs to surface 'main' (line 9)", "")]),
    ("port: 8443", "port: 8443, redirect: 443", [(10, 3, "port 443 of 'roc' belongs to surface 'main' (line 9)", "")]),
    ("port: 8443", "port: 8443, address: 0.0.0.0", [(10, 34, "0.0.0.0 can't be a host's address", "")]),
    ("port: 8443", "port: 8443, address: 100.64.0.3", [(10, 3, "its address 100.64.0.3 is that of 'robin', which doesn't serve it", "leave the address out")]),
    ("host: roc, port: 3000", "host: roc, port: 3000, address: 100.64.0.3", [(12, 3, "its address 100.64.0.3 is that of 'robin'", "say 'host: robin'")]),
    ("host: roc, port: 3000", 'host: roc, port: 3000, address: "ff02::1"', [(12, 47, "ff02::1 can't be a host's address", "")]),
    ("port: 8443", "port: 8443, redirect: 8443", [(10, 35, "the surface's own port", "")]),
    ("port: 8443", "port: 0443", [(10, 19, "found '0443'", "octal")]),
    ("port: 8443", 'port: "8443"', [(10, 20, "expected a number from 1 to 65535, found text", "without quotes: 8443")]),
    ("port: 8443", "port: 8_443", [(10, 19, "expected a number", "")]),
    ("port: 8443", "port: 8443, hosts: robin", [(10, 32, "'robin' is no gateway", "gateway: true")]),
    ("port: 8443", "port: 8443, port: 8444", [(10, 25, "'port' is there already, at line 10", "keep one")]),
    ("  luanti: {", "  grafana: {", [(13, 3, "'grafana' is there already, at line 12", ""), (17, 26, "no service 'luanti'", "")]),
    ("  luanti: {", "  yes: {", [(13, 3, "a service's name must be text", 'write "yes"'), (17, 26, "no service 'luanti'", "")]),
    ("  luanti: {", "  Luanti: {", [(13, 3, "'Luanti' can't be a service's name", "write 'luanti'"), (17, 26, "no service 'luanti'", "did you mean 'Luanti'?")]),
    ("direct: udp/30000", "direct: udp/30000, port: 1", [(13, 43, "'port:' means nothing for a service whose port is reached directly", "leave it out")]),
    ("direct: udp/30000", "direct: tcp/443", [(13, 3, "port 443 of 'roc' belongs to surface 'main'", "another port")]),
    ("host: roc, port: 3000", "host: robin, container: grafana, port: 3000", [(12, 3, "'robin' is no gateway, so nobody can reach a service in a container there", "")]),
    ("host: roc, port: 3000", 'host: robin, port: 3000, address: "::1"', [(12, 3, "'robin' is no gateway, so nobody can reach a service on its loopback there", "")]),
    ("host: roc, port: 3000", "host: roc, port: 3000, over: agents", [(16, 27, "matches no web service of that surface", None), (12, 3, "no grant lets anybody reach 'grafana'", None)]),
    ("host: roc, port: 3000", "host: roc, port: 3000, names: db.home.example", [(12, 44, "service 'db' has this name already (line 14)", "")]),
    ("host: roc, port: 3000", "host: roc, port: 3000, names: grafana.home.example", [(12, 44, "the service has this name already", "")]),
    ("host: roc, port: 3000", "host: roc, port: 3000, names: grafana-roc.home.example", [(12, 44, "the service has this name already", "")]),
    ("host: roc, port: 3000", "host: roc, port: 3000, names: [x.y.home.example, home.example, notahome.example]",
     [(12, 77, "'notahome.example' is not below 'home.example'", "ACME")]),
    ("  db: {", "  grafana-roc: {", [(12, 3, "its instance on 'roc' is called 'grafana-roc', and so is service 'grafana-roc' (line 14)", "rename")]),
    ("  db: {", "  roc: {", []),
    ("  db: {", "  " + "d" * 60 + ": {", []),
    ("  grafana: {", "  " + "d" * 60 + ": {", [(12, 3, "a name has at most 63 letters", "shorter")]),
]


@pytest.mark.parametrize("old, new, expected", WRONG, ids=lambda value: str(value)[:40] if isinstance(value, str) else "")
def test_what_is_wrong_is_said_where_it_is(old, new, expected):
    assert old in START + GRANTS
    answer = check((START + GRANTS).replace(old, new, 1))
    severity = "warning" if any(hint is None for *_, hint in expected) else "error"
    found = [finding for finding in answer["findings"] if finding["severity"] == severity]
    described = [(f["line"], f["column"], f["message"], f["hint"]) for f in found]
    assert len(found) == len(expected), described
    for (line, column, message, hint), finding in zip(sorted(expected, key=lambda e: e[:2]), found):
        assert (finding["line"], finding["column"]) == (line, column), described
        assert message in finding["message"] and (hint or "") in finding["hint"], described


def test_a_name_of_two_kinds_is_an_error_where_it_is_used():
    text = START.replace("  db: {", "  prod: {").replace("macbook", "clients")
    answer = check(text + """grants:
  - { from: clients, to: luanti }
  - { from: host/clients, to: luanti }
  - { from: segment/clients, to: luanti }
expect:
  - { from: clients, cannot: prod }
  - { from: roc, cannot: service/prod }
""")
    assert [(f["line"], f["message"], f["hint"]) for f in answer["findings"] if f["severity"] == "error"] == [
        (16, "'clients' is a host and a segment", 'write "host/clients" or "segment/clients"'),
        (20, "'clients' is a host and a segment", 'write "host/clients" or "segment/clients"'),
        (20, "'prod' is a segment and a service", 'write "segment/prod" or "service/prod"'),
    ]


def test_a_host_and_a_service_of_one_name_are_told_apart():
    text = START.replace("  db: { host: roc, port: 5432, internal: true }", "  robin: { host: roc, port: 1 }")
    answer = check(text + "grants: [{ from: clients, to: robin, over: main }, { from: clients, to: service/robin, over: main }]\n")
    assert [(f["message"], f["hint"]) for f in answer["findings"] if f["severity"] == "error"] == [
        ("'robin' is a host and a service", 'write "service/robin", or "host/robin:PORT" for a port of the host')]


@pytest.mark.parametrize("addition, warning", [
    ("  web: { host: roc, port: 1, protocol: https, tls: { insecure: true } }", "can read and change everything"),
    ("  web: { host: roc, port: 1, loopback: true }", "the service sees every caller as 127.0.0.1"),
    ("  web: { host: roc, port: 1, address: [100.64.0.9, 127.0.0.2] }", "the service sees every caller as 127.0.0.1"),
])
def test_what_is_dangerous_is_a_warning_each_time(addition, warning):
    answer = check(START + addition + "\n" + GRANTS)
    assert answer["valid"] and [warning in finding["message"] for finding in answer["findings"]] == [True]


def test_a_grant_that_containers_get_too_is_a_warning():
    text = START.replace("grafana: { host: roc,", "grafana: { host: roc, container: grafana,")
    answer = check(text + GRANTS + "  - { from: prod, to: grafana, over: main }\n")
    assert [(f["severity"], f["message"]) for f in answer["findings"]] == [
        ("warning", "containers on 'roc', such as that of 'grafana', get this grant too")]


def test_every_error_comes_in_one_pass_and_in_the_order_of_the_file():
    text = "postern: 1\ndomain: x_y\nsegments: { a: {} }\nhosts:\n" + "".join(f"  h{i}: {{ segment: b, port: 1 }}\n" for i in range(50))
    answer = check(text)
    places = [(f["line"], f["column"]) for f in answer["findings"]]
    assert len(places) == 1 + 3 * 50 and places == sorted(places)


def test_a_syntax_error_is_the_only_finding_and_has_its_place():
    answer = check(START + "grants: [ { from: clients, to: [ }\n")
    assert len(answer["findings"]) == 1 and answer["findings"][0]["line"] == 15


@pytest.mark.parametrize("line, place, hint", [
    ("  - { from: clients, to: *, over: main }", (16, 27), 'needs quotes: "*"'), ("\t- from: clients", (16, 1), "indent with spaces"),
    ("  - { from: clients, to: luanti", (17, 1), "bracket"), ('  - { from: clients, to: "luanti }', (16, 27), "closing quote"),
    ("  - { from: clients, to: @x }", (16, 26), "quotes"), ("  - from: clients\n   to: luanti", (17, 4), "indentation"),
    ("  - from: clients: x", (16, 18), "line of its own"), ("  - { from:clients, to: luanti }", (16, 7), "a space is missing after 'from:'"),
])
def test_a_slip_in_the_syntax_has_its_place_and_the_likely_cause(line, place, hint):
    findings = check(START + "grants:\n" + line + "\n")["findings"]
    assert any((f["line"], f["column"]) == place and hint in f["hint"] for f in findings), findings


@pytest.mark.parametrize("text, message", [
    ("", "the file says nothing"), ("# only a comment\n", "the file says nothing"), ("- a\n", "expected the declaration"), ("postern\n", "expected the declaration"),
    (START + "---\n" + START, "a second document"), ("%YAML 1.1\n---\n" + START, "read as YAML 1.2"), ("? [a]\n: b\n", "expected a name as the key"),
    (b"postern: 1\n\xff\n", "not UTF-8"), (b"\xff\xfep\x00o\x00", "not UTF-8"), ("postern: 1 # \u202e\n", "U+202E"), ("postern: 1 # \x1b[2J\n", "U+001B"),
    ("postern: 1\x00\n", "U+0000"), (b"postern: \xed\xa0\x80\n", "not UTF-8"), (b"postern: \xc0\xb1\n", "not UTF-8"),
])
def test_what_is_no_declaration_at_all(text, message):
    errors = errors_of(check(text))
    assert errors and message in errors[0]


def test_a_file_saved_by_another_editor_reads_the_same():
    text = START + GRANTS
    assert check(text.replace("\n", "\r\n"))["valid"]
    assert check(b"\xef\xbb\xbf" + text.encode())["valid"]
    wrong = text.replace("host: roc, port: 3000", "host: rok, port: 3000")
    for variant in (wrong, wrong.replace("\n", "\r\n"), "\ufeff" + wrong):
        assert [(f["line"], f["column"]) for f in check(variant)["findings"] if f["severity"] == "error"] == [(12, 20)]


def test_columns_count_characters_not_bytes():
    answer = check(START.replace("  grafana: {", '  "grüße": {'))
    assert [(f["line"], f["column"], f["length"]) for f in answer["findings"] if f["severity"] == "error"] == [(12, 4, 7)]
    answer = check(START.replace("host: roc, port: 3000", "host: roc, names: [ä], port: x"))
    assert (12, 43) in [(f["line"], f["column"]) for f in answer["findings"]]


# ---- hostile files ----

def cost_of(text, directory):
    """(seconds of CPU, peak MB, answer) of one check."""
    path = write(directory, text)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.dup2(write_end, 1)
            os.execv(POSTERN, [POSTERN, "check", "--json", path])
        finally:
            os._exit(127)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answer:
        said = answer.read()
    _, status, usage = os.wait4(child, 0)
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) in (0, 1), before
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(said)


MEGABYTES = 1 << 20
HOSTILE = {
    "alias_bomb": ("a: &a [x, x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(20)), "anchors are not read"),
    "deep_flow_nesting": ("[" * (200 << 10), "nested too deeply"),
    "deep_flow_nesting_over_lines": ("[\n" * (4 * MEGABYTES), "nested too deeply"),
    "deep_block_nesting": ("- " * (100 << 10), "nested too deeply"),
    "deep_mapping_nesting": ("".join("  " * i + "a:\n" for i in range(1000)), "nested too deeply"),
    "endless_line": ("a: [" + "b," * MEGABYTES, "this line is longer"),
    "too_many_values": ("a: [\n" + " b,\n" * 2100000 + " ]\n", "more than two million values"),
    "long_key": ("a" * (200 << 10) + ": 1\n", "the declaration needs"),
    "long_scalar": ("domain: |\n" + "  aaaaaaaaaa\n" * MEGABYTES, "the declaration needs"),
    "same_key_again_and_again": ("postern: 1\n" * 300000, "is there already"),
    "a_file_of_typos": (START + GRANTS + "".join(f"  - {{ from: clents{i}, to: grafna{i}, over: man{i} }}\n" for i in range(100000)), "there is no"),
    "patterns_times_services": (START + "".join(f"  s{i}: {{ host: roc, port: 1 }}\n" for i in range(50000)) + "grants:\n"
                                + "".join(f'  - {{ from: clients, to: "*a{i}*b*", over: main }}\n' for i in range(50000)), "too many patterns"),
    "stars_times_direct_services": (START.replace("  grafana: { host: roc, port: 3000 }\n", "")
                                    + "".join(f"  s{i}: {{ host: roc, direct: udp/{i + 1} }}\n" for i in range(29000)) + "grants:\n"
                                    + '  - { from: clients, to: "*", over: main }\n' * 100000, None),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_little(name, directory):
    text, message = HOSTILE[name]
    seconds, megabytes, answer = cost_of(text, directory)
    assert message is None or any(message in error for error in errors_of(answer)), answer["findings"][:3]
    assert len(answer["findings"]) <= 1001
    # Bounds, not budgets: many times what it costs, far below what the quadratic or the exponential way would.
    assert seconds < 20 and megabytes < 700


def test_a_file_that_is_too_large_is_not_read(directory):
    done = run("check", write(directory, ("#" * 79 + "\n") * 212000))
    assert done.returncode == 2 and "at most 16 MB" in done.stderr


def test_a_hundred_thousand_services_are_read(directory):
    text = START + "".join(f"  svc-{i}: {{ host: roc, container: c-{i}, port: {1 + i % 65000} }}\n" for i in range(100000)) + GRANTS
    seconds, megabytes, answer = cost_of(text, directory)
    assert answer["valid"] and answer["findings"] == []
    assert seconds < 20 and megabytes < 700


def test_what_a_file_says_reaches_no_terminal_as_a_control_sequence(directory):
    done = run("check", write(directory, START.replace("host: roc, port: 3000", 'host: "ro\\e[2J\\x9b2J", port: 3000')))
    assert done.returncode == 1
    assert "\x1b" not in done.stdout and "\x9b" not in done.stdout


def test_a_slow_writer_is_waited_for(directory):
    """A declaration may come through a pipe, in pieces."""
    with subprocess.Popen([POSTERN, "check", "/dev/stdin"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=directory) as process:
        for part in (START[:100], START[100:], GRANTS):
            process.stdin.write(part.encode())
            process.stdin.flush()
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and b": ok: " in said
