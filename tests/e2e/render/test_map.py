"""The picture: what it shows, that nothing in it overlaps or leaves the page, and that no text becomes markup."""
import os
import re
import subprocess
import xml.etree.ElementTree as xml

import pytest

from lib.process import POSTERN

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "../../..")
HOMELAB = os.path.join(ROOT, "examples/homelab/postern.yml")
SVG = "{http://www.w3.org/2000/svg}"


def postern_map(*arguments, file=HOMELAB):
    return subprocess.run([POSTERN, "map", *arguments, "-f", file], capture_output=True, text=True, timeout=60, check=False)


class Picture:
    def __init__(self, text):
        self.text = text
        self.root = xml.fromstring(text)
        self.groups = self.root.findall(f"{SVG}g")

    def boxes(self, kind):
        """(x, y, width, height, words, tooltip, dimmed) of every box of a class."""
        found = []
        for group in [self.root, *self.groups]:
            for rect in group.findall(f"{SVG}rect"):
                if kind in rect.get("class").split():
                    words = [text.text for text in group.findall(f"{SVG}text")] if group is not self.root else []
                    title = group.findtext(f"{SVG}title") if group is not self.root else ""
                    found.append((*(int(rect.get(key, 0)) for key in ("x", "y", "width", "height")), words, title, group.get("class") == "dim"))
        return found

    def chips(self, dimmed=False):
        return {box[4][0] for kind in ("chip", "shut") for box in self.boxes(kind) if box[4] and box[6] == dimmed}

    def pins(self, dimmed=False):
        return {box[4][0] for box in self.boxes("pin") if box[6] == dimmed}


def overlaps(a, b):
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def assert_tidy(picture):
    width, height = int(picture.root.get("width")), int(picture.root.get("height"))
    areas, hosts = picture.boxes("area"), picture.boxes("host")
    small = [*picture.boxes("chip"), *[box for box in picture.boxes("shut") if box[4]], *picture.boxes("pin")]
    for group in (areas, hosts, small):
        for i, box in enumerate(group):
            assert 0 <= box[0] and 0 <= box[1] and box[0] + box[2] <= width and box[1] + box[3] <= height, box
            assert not any(overlaps(box, other) for other in group[:i]), box
    for path in picture.root.iter(f"{SVG}path"):
        if path.get("class", "").startswith("sign"):
            continue
        for x, y in re.findall(r"[ML](-?\d+) (-?\d+)", path.get("d")):
            assert 0 <= int(x) <= width and 0 <= int(y) <= height


def test_the_homelab_as_it_is_in_the_readme():
    with open(os.path.join(ROOT, "docs/homelab.svg"), encoding="utf-8") as file:
        assert file.read() == postern_map().stdout, "build/postern map -f examples/homelab/postern.yml -o docs/homelab.svg"


def test_the_homelab_is_all_there_and_tidy():
    picture = Picture(postern_map().stdout)
    assert_tidy(picture)
    assert {box[4][0] for box in picture.boxes("host")} == {"roc", "bluejay", "robin", "iphone", "kobo", "macbook"}
    assert len(picture.boxes("chip")) + len([box for box in picture.boxes("shut") if box[4]]) == 27  # backrest twice
    assert picture.pins() == {"main 443", "agents 8443", "tcp 22", "udp 30000", "tcp 4096, 9000"}
    with open(HOMELAB, encoding="utf-8") as file:
        star = next(n for n, line in enumerate(file, 1) if 'from: clients, to: "*"' in line)
    tips = {box[4][0]: box[5] for box in picture.boxes("chip")}
    assert "https://registry.home.example/" in tips["registry"] and "over agents for robin" in tips["registry"]
    assert "over main for clients" in tips["grafana"] and f"postern.yml:{star}" in tips["grafana"]
    assert [box[4][0] for box in picture.boxes("shut") if box[4]] == ["notes-db"]


def test_one_hosts_reach_stands_out_and_it_is_only_that():
    picture = Picture(postern_map("--from", "robin").stdout)
    assert picture.chips() == {"registry", "mcp-files", "mcp-git", "mcp-search"} and picture.pins() == {"agents 8443"}
    picture = Picture(postern_map("--from", "kobo").stdout)
    assert picture.chips(dimmed=True) == {"luanti", "notes-db"}
    assert picture.pins() == {"main 443", "tcp 4096, 9000"}  # behind main, gateways reach those on
    segment = Picture(postern_map("--from", "ai").stdout)
    assert segment.chips() == {"registry", "mcp-files", "mcp-git", "mcp-search"} and "What ai reaches" in segment.root.findtext(f"{SVG}title")
    picture = Picture(postern_map("--from", "macbook").stdout)
    assert picture.chips(dimmed=True) == {"notes-db"} and picture.pins(dimmed=True) == {"agents 8443"}


def test_json_says_the_same():
    import json
    said = json.loads(postern_map("--json").stdout)
    agents = [way for way in said["ways"] if way.get("surface") == "agents"]
    assert len(agents) == 1 and agents[0]["from"] == [{"host": "robin"}]
    assert {(to["host"], to["port"]) for to in agents[0]["to"]} == {("roc", 8443), ("bluejay", 8443)}
    derived = [way for way in said["ways"] if way["why"] == "derived"]
    assert {(to["host"], to["port"], to["service"]) for way in derived for to in way["to"]} == {("robin", 4096, "opencode"), ("robin", 9000, "whisper")}
    assert {s["service"] for s in said["services"] if "agents" in s["surfaces"]} == {"registry", "mcp-files", "mcp-git", "mcp-search"}


def declare(directory, name, hosts, services, grants):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write("postern: 1\ndomain: lab.example\nsegments: { family: { address: 10.9.0.0/24 }, prod: {}, ai: {}, far: {} }\nhosts:\n")
        file.writelines(f"  {line}\n" for line in hosts)
        file.write("surfaces: { main: { port: 443 }, agents: { port: 8443 }, third: { port: 9443 } }\nservices:\n")
        file.writelines(f"  {line}\n" for line in services)
        file.write("grants:\n")
        file.writelines(f"  - {line}\n" for line in grants)
    return path


def test_text_never_becomes_markup(directory):
    """A socket's path and the file's own are the only free texts in a picture."""
    path = declare(directory, "a<script>&\"'.yml", ["roc: { segment: prod, address: 100.64.0.1, gateway: true }"],
                   ["""evil: { host: roc, unix: "/run/]]></title><script>alert(1)</script>&\\"'" }"""],
                   ['{ from: family, to: "*", over: main }'])
    done = postern_map(file=path)
    assert done.returncode == 0, done.stderr
    assert "<script" not in done.stdout
    picture = Picture(done.stdout)
    assert {element.tag.removeprefix(SVG) for element in picture.root.iter()} <= {
        "svg", "title", "desc", "style", "rect", "text", "g", "path", "circle"}
    assert any("]]></title><script>alert(1)</script>&\"'" in (box[5] or "") for box in picture.boxes("chip"))
    for kind in ("mermaid", "dot"):
        done = subprocess.run([POSTERN, "render", kind, "-f", path], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0 and "<script" not in done.stdout


def test_nothing_in_it_runs_or_is_fetched():
    for arguments in ([], ["--from", "robin"]):
        text = postern_map(*arguments).stdout.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"<script|\son\w+=|href|@import|url\(|<foreignObject|@font-face|http:", text)


def large():
    hosts, services = [], []
    for i in range(12):
        segment = ["prod", "prod", "ai", "far", "family", "prod"][i % 6]
        hosts.append(f"host-{i}: {{ segment: {segment}, address: 100.64.1.{i + 1}{', gateway: true' if segment == 'prod' else ''} }}")
    for i in range(100):
        on = [0, 1, 2, 3, 5, 6, 7, 8, 9, 11][i * 7 % 10]
        where = f"container: c{i}, port: 80" if on % 6 in (0, 1, 5) else f"port: {4000 + i}"
        services.append(f"service-number-{i}: {{ host: host-{on}, " + (f"direct: udp/{30000 + i} }}" if i % 19 == 3 else where + " }"))
    grants = ['{ from: family, to: "*", over: main }', '{ from: ai, to: "service-number-1*", over: agents }', '{ from: far, to: "*9", over: third }',
              '{ from: host-4, to: [' + ", ".join(f'"host-{i}:22"' for i in range(12) if i != 4) + "] }",
              "{ from: [host-4, host-10], to: [service-number-3, service-number-22] }", '{ from: host-0, to: ["host-1:873", "host-4:5000"] }',
              '{ from: host-2, to: ["host-8:6000", "host-3:2049"] }']
    return hosts, services, grants


@pytest.mark.parametrize("hosts, services, grants", [
    large(),
    (["alone: { segment: prod, address: 100.64.0.1, gateway: true }"], ["wiki: { host: alone, port: 8080 }"], ['{ from: family, to: wiki, over: main }']),
    (["roc: { segment: prod, address: 100.64.0.1, gateway: true }"], ["wiki: { host: roc, port: 8080 }"], ['{ from: far, to: "roc:22" }']),
    (["a: { segment: prod, address: 100.64.0.1, gateway: true }", "b: { segment: prod, address: 100.64.0.2, gateway: true }"],
     [f"s{i}: {{ host: a, port: {8000 + i} }}" for i in range(40)], ['{ from: prod, to: "*", over: [main, agents, third] }', '{ from: b, to: "a:22" }']),
], ids=["12 hosts, 100 services", "one host", "nobody asks", "hosts that ask each other"])
def test_other_labs_are_tidy_too(directory, hosts, services, grants):
    path = declare(directory, "postern.yml", hosts, services, grants)
    done = postern_map(file=path)
    assert done.returncode == 0, done.stderr
    picture = Picture(done.stdout)
    assert_tidy(picture)
    assert {service.split(":")[0] for service in services} == picture.chips()
    for host in hosts:
        done = postern_map("--from", host.split(":")[0], file=path)
        assert done.returncode == 0
        assert_tidy(Picture(done.stdout))


def test_a_picture_in_a_file_and_what_it_may_be(directory):
    for name, begins in [("a.svg", "<svg "), ("a.mmd", "%% From"), ("a.dot", "// From"), ("a.json", "{")]:
        path = os.path.join(directory, name)
        assert postern_map("-o", path).returncode == 0
        with open(path, encoding="utf-8") as file:
            assert file.read().startswith(begins)
    done = postern_map("-o", os.path.join(directory, "a.png"))
    assert done.returncode == 2 and "rsvg-convert" in done.stderr
    done = postern_map("--from", "robbin")
    assert done.returncode == 1 and "robbin" in done.stderr and "robin" in done.stderr


def luminance(colour):
    if len(colour) == 4:
        colour = "#" + "".join(c * 2 for c in colour[1:])
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_lines_and_words_stand_out_from_their_ground():
    style = re.search(r"<style>(.*?)</style>", postern_map().stdout, re.S)[1]
    light, dark = style.split("@media(prefers-color-scheme:dark){")
    for look in (light, dark):
        rules = dict(re.findall(r"([^{}]+)\{([^}]*)\}", look.replace("\n", "")))
        grounds = [luminance(re.search(r"fill:(#\w+)", rules[name])[1]) for name in (".ground", ".area", ".host")]
        marks = [re.search(r"fill:(#\w+)", rules[name])[1] for name in ("text", ".note")]
        marks += [re.search(r"stroke:(#\w+)", body)[1] for name, body in rules.items() if re.fullmatch(r"\.(s\d|direct|port|derived)", name)]
        assert len(marks) == 11
        for mark in marks:
            for ground in grounds:
                low, high = sorted([luminance(mark), ground])
                assert (high + 0.05) / (low + 0.05) >= 4.5, mark
