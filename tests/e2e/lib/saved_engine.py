"""What "docker inspect" and its like write of made-up containers, for set-ups that no engine here would run (privileged, another version, hostile)."""
import hashlib
import json


def identity(text):
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def version(number="28.3.0"):
    return {"Version": number, "ApiVersion": "1.51", "MinAPIVersion": "1.24", "Os": "linux"}


def network(name, subnet="10.9.0.0/24", internal=False, driver="bridge", options=None, project="", **more):
    labels = {"com.docker.compose.project": project, "com.docker.compose.network": name} if project else {}
    return {"Name": name, "Id": identity(name), "Scope": "local", "Driver": driver, "EnableIPv6": False, "Internal": internal, "Attachable": False,
            "Ingress": False, "IPAM": {"Driver": "default", "Config": [{"Subnet": subnet, "Gateway": subnet.replace("0/24", "1")}]},
            "Options": options or {}, "Labels": labels, "Containers": {}, **more}


def container(name, image="busybox", project="", service="", networks=(), ports=(), exposed=(), mode=None, labels=None, mounts=(), running=True,
              files=None, **host_config):
    """ports: ("0.0.0.0", 8080, "80/tcp"); mounts: (source, destination, writable)."""
    all_labels = dict(labels or {})
    if project:
        all_labels.update({"com.docker.compose.project": project, "com.docker.compose.service": service, "com.docker.compose.container-number": "1",
                           "com.docker.compose.oneoff": "False",
                           "com.docker.compose.project.config_files": files or f"/srv/{project}/compose.yml"})
    bindings = {}
    for address, host_port, port in ports:
        bindings.setdefault(port, []).append({"HostIp": address, "HostPort": str(host_port)})
    attached = {n: {"NetworkID": identity(n), "EndpointID": identity(name + n) if running else "", "IPAddress": "10.9.0.2" if running else "",
                    "IPPrefixLen": 24, "Gateway": "10.9.0.1", "Aliases": [service or name]} for n in networks}
    return {"Id": identity(name), "Name": "/" + name, "Image": "sha256:" + identity(image),
            "State": {"Status": "running" if running else "exited", "Running": running, "Pid": 4242 if running else 0, "StartedAt": "2026-11-25T03:57:18.6Z"},
            "Config": {"Image": image, "Labels": all_labels, "ExposedPorts": {p: {} for p in (*exposed, *bindings)}, "User": "", "Hostname": name[:12]},
            "HostConfig": {"NetworkMode": mode or (networks[0] if networks else "none"), "PortBindings": bindings, "Privileged": False, "CapAdd": None,
                           "PidMode": "", **host_config},
            "Mounts": [{"Type": "bind", "Source": source, "Destination": destination, "RW": writable} for source, destination, writable in mounts],
            "NetworkSettings": {"SandboxKey": "/var/run/docker/netns/" + identity(name)[:12], "SandboxID": identity(name),
                                "Ports": {**{p: None for p in exposed}, **bindings} if running else {}, "Networks": attached}}


def write(path, containers=(), networks=(), engine="28.3.0"):
    """As the three commands do, one after another."""
    parts = [json.dumps(version(engine)), json.dumps(list(containers), indent=4), json.dumps(list(networks))]
    path.write_text("\n".join(parts), encoding="utf-8", errors="surrogatepass")
    return path
