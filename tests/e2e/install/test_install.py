"""make install: everything lands under DESTDIR and the prefix, and what is installed works from there."""
import json
import os
import subprocess

BUILD = os.path.abspath(os.environ.get("POSTERN_BUILD", "build"))


def installed(directory):
    """(path of the copy, prefix): an installation of the build directory under another root."""
    done = subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", str(directory)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    options = json.loads(subprocess.run(["meson", "introspect", BUILD, "--buildoptions"], capture_output=True, check=True).stdout)
    prefix = next(option["value"] for option in options if option["name"] == "prefix")
    return str(directory) + prefix


def test_everything_is_installed_where_the_command_looks(tmp_path):
    copy = installed(tmp_path)
    assert os.access(f"{copy}/bin/postern", os.X_OK)
    roles = {name for name in os.listdir(BUILD) if name.startswith("postern-") and os.access(os.path.join(BUILD, name), os.X_OK)
             and os.path.isfile(os.path.join(BUILD, name))}
    assert roles and roles == set(os.listdir(f"{copy}/libexec/postern"))
    for path in ("share/man/man1/postern.1", "share/man/man5/postern.yml.5", "share/postern/postern.schema.json", "share/doc/postern/README.md",
                 "share/doc/postern/SECURITY.md", "share/doc/postern/examples/homelab/postern.yml"):
        assert os.path.isfile(f"{copy}/{path}"), path
    with open(f"{copy}/lib/systemd/system/postern-apply.service", encoding="utf-8") as unit:
        assert f"ExecStart={copy.removeprefix(str(tmp_path))}/bin/postern apply --watch " in unit.read()
    strings = subprocess.run(["strings", f"{copy}/bin/postern"], capture_output=True, text=True).stdout
    assert f"{copy.removeprefix(str(tmp_path))}/libexec/postern" in strings.splitlines()


def test_nothing_is_installed_outside_the_prefix(tmp_path):
    copy = installed(tmp_path)
    for directory, _, names in os.walk(tmp_path):
        for name in names:
            assert os.path.join(directory, name).startswith(copy + "/")


def test_the_installed_command_reads_the_installed_example(tmp_path):
    copy = installed(tmp_path)
    done = subprocess.run([f"{copy}/bin/postern", "check", f"{copy}/share/doc/postern/examples/homelab/postern.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_installed_schema_is_json(tmp_path):
    copy = installed(tmp_path)
    with open(f"{copy}/share/postern/postern.schema.json", encoding="utf-8") as schema:
        assert json.load(schema)["$schema"].startswith("https://json-schema.org/")
