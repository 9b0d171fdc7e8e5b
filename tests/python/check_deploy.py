"""Checks deploy/ without Docker or a cluster: that its YAML parses, that what is named is there,
that images are pinned, that containers are without rights, and that ports agree everywhere.

python check_deploy.py [REPOSITORY]; prints each mistake, and exits with 1 if there is one.
"""

import json
import re
import sys
from pathlib import Path

import yaml

PORTS = {"flight": 50051, "worker": 50052, "http": 8080}
# Bind mounts and secrets that are made after the checkout (deploy/make-secrets).
MADE_LATER = {"deploy/secrets"}


class Checks:
    """Collects mistakes, each with the file it is in."""

    def __init__(self, root):
        self.root = root
        self.mistakes = []

    def that(self, holds, path, message):
        if not holds:
            self.mistakes.append(f"{path}: {message}")

    def load(self, path):
        """The documents of a YAML file; none, and a mistake, where it does not parse."""
        try:
            return [d for d in yaml.safe_load_all((self.root / path).read_text()) if d is not None]
        except (OSError, yaml.YAMLError) as error:
            self.that(False, path, f"cannot be read as YAML: {error}")
            return []


def is_pinned(image):
    """Whether an image's reference says one version, by tag or digest."""
    name = image.rsplit("/", 1)[-1]
    return "@sha256:" in name or (":" in name and not name.endswith(":latest"))


def check_every_file(checks):
    for path in sorted((checks.root / "deploy").rglob("*")):
        relative = path.relative_to(checks.root).as_posix()
        if path.suffix in (".yml", ".yaml"):
            checks.that(checks.load(relative), relative, "holds nothing")
        if path.suffix == ".json":
            try:
                json.loads(path.read_text())
            except ValueError as error:
                checks.that(False, relative, f"cannot be read as JSON: {error}")


def check_dockerfile(checks):
    path = "deploy/Dockerfile"
    text = (checks.root / path).read_text()
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", text, re.MULTILINE)
    checks.that(len(stages) >= 2, path, "is not multi-stage")
    for image, _ in stages:
        checks.that(is_pinned(image), path, f"{image} is not pinned")
    user = re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1:]
    checks.that(
        user and re.fullmatch(r"[1-9]\d*:[1-9]\d*", user[0]), path, "ends as root, or by name"
    )
    exposed = {
        int(port)
        for port in re.findall(r"\d+", "".join(re.findall(r"^EXPOSE (.+)$", text, re.MULTILINE)))
    }
    checks.that(exposed == set(PORTS.values()), path, f"exposes {sorted(exposed)}, not {PORTS}")


def check_compose(checks):
    path = "deploy/docker-compose.yml"
    for document in checks.load(path):
        services = document["services"]
        secrets = document.get("secrets", {})
        for name, service in services.items():
            checks.that(
                is_pinned(service["image"]), path, f"{name}: {service['image']} is not pinned"
            )
            for needed, how in service.get("depends_on", {}).items():
                checks.that(
                    needed in services, path, f"{name} depends on {needed}, which is not there"
                )
                healthy = how["condition"] != "service_healthy" or "healthcheck" in services.get(
                    needed, {}
                )
                checks.that(healthy, path, f"{name} waits for {needed}, which has no health check")
            for secret in service.get("secrets", []):
                checks.that(secret in secrets, path, f"{name}: no secret {secret}")
            for volume in service.get("volumes", []):
                check_mount(checks, path, f"{name}: {volume}", volume.split(":")[0], document)
            for port in service.get("ports", []):
                checks.that(
                    str(port).startswith("127.0.0.1:"), path, f"{name}: {port} is open to others"
                )
        for secret, where in secrets.items():
            check_mount(checks, path, f"secret {secret}", where["file"], document)
        for name in ("service", "worker-1", "worker-2"):
            own = services[name]
            bare = own["read_only"] and own["cap_drop"] == ["ALL"]
            checks.that(bare, path, f"{name} may write to its root or has capabilities")


def check_mount(checks, path, what, source, document):
    if not source.startswith("."):
        checks.that(source in document.get("volumes", {}), path, f"{what}: no such volume")
        return
    place = (checks.root / "deploy" / source).resolve()
    relative = place.relative_to(checks.root).as_posix()
    later = any(relative == made or relative.startswith(made + "/") for made in MADE_LATER)
    checks.that(later or place.exists(), path, f"{what}: {relative} is not there")


def check_kubernetes(checks):
    folder = "deploy/kubernetes"
    kustomization = f"{folder}/kustomization.yaml"
    objects = []
    for document in checks.load(kustomization):
        for resource in document["resources"]:
            objects += [
                (f"{folder}/{resource}", each) for each in checks.load(f"{folder}/{resource}")
            ]
        listed = set(document["resources"])
        here = {p.name for p in (checks.root / folder).glob("*.yaml")}
        forgotten = here - listed - {"kustomization.yaml", "secret.example.yaml"}
        checks.that(not forgotten, kustomization, f"does not list {sorted(forgotten)}")
        made = {each["name"] for each in document["configMapGenerator"]}
        named = {(each["newName"], each["newTag"]) for each in document["images"]}
        checks.that(
            all(is_pinned(f"{n}:{t}") for n, t in named), kustomization, "an image is not pinned"
        )
        for each in document["configMapGenerator"]:
            for file in each.get("files", []) + each.get("envs", []):
                checks.that(
                    (checks.root / folder / file).exists(), kustomization, f"{file} is not there"
                )
    (secret,) = checks.load(f"{folder}/secret.example.yaml")
    pods = {}
    for path, each in objects:
        checks.that(
            "apiVersion" in each and "name" in each["metadata"], path, "is no object of Kubernetes"
        )
        if each["kind"] == "Deployment":
            check_deployment(checks, path, each, made, secret)
            pods[each["metadata"]["name"]] = each["spec"]["template"]
    for path, each in objects:
        if each["kind"] in ("Service", "PodDisruptionBudget"):
            selector = each["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            found = [
                p for p in pods.values() if selector.items() <= p["metadata"]["labels"].items()
            ]
            checks.that(
                len(found) == 1,
                path,
                f"{each['metadata']['name']} selects {len(found)} deployments",
            )
    check_kubernetes_ports(checks, folder, objects)


def check_deployment(checks, path, deployment, config_maps, secret):
    template = deployment["spec"]["template"]
    wanted = deployment["spec"]["selector"]["matchLabels"]
    checks.that(
        wanted.items() <= template["metadata"]["labels"].items(),
        path,
        "selects other pods than its own",
    )
    pod = template["spec"]
    checks.that(pod["securityContext"]["runAsNonRoot"] is True, path, "may run as root")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for volume in pod["volumes"]:
        if "configMap" in volume:
            checks.that(volume["configMap"]["name"] in config_maps, path, f"no config map {volume}")
        if "secret" in volume:
            checks.that(
                volume["secret"]["secretName"] == secret["metadata"]["name"],
                path,
                f"no secret {volume}",
            )
            for item in volume["secret"]["items"]:
                checks.that(
                    item["key"] in secret["stringData"], path, f"no key {item['key']} in the secret"
                )
    for container in pod["containers"]:
        rights = container["securityContext"]
        bare = rights["readOnlyRootFilesystem"] and not rights["allowPrivilegeEscalation"]
        checks.that(
            bare and rights["capabilities"] == {"drop": ["ALL"]}, path, "a container has rights"
        )
        mounts = {
            mount["mountPath"]: volumes.get(mount["name"]) for mount in container["volumeMounts"]
        }
        checks.that(None not in mounts.values(), path, "a mount has no volume")
        checks.that("emptyDir" in (mounts.get("/tmp") or {}), path, "/tmp cannot be written to")
        for kind in ("requests", "limits"):
            given = container["resources"].get(kind, {})
            checks.that({"cpu", "memory"} <= given.keys(), path, f"no {kind} of cpu and memory")
        probes = {"livenessProbe", "readinessProbe"} <= container.keys()
        checks.that(probes, path, "a container has no probes")


def check_kubernetes_ports(checks, folder, objects):
    containers = set()
    for _, each in objects:
        if each["kind"] == "Deployment":
            for container in each["spec"]["template"]["spec"]["containers"]:
                containers |= {port["containerPort"] for port in container["ports"]}
    checks.that(
        containers == set(PORTS.values()),
        folder,
        f"containers listen on {sorted(containers)}, not {PORTS}",
    )


def check_ports_elsewhere(checks):
    """The same numbers in compose's command lines and in Terraform's."""
    compose = (checks.root / "deploy/docker-compose.yml").read_text()
    for port in PORTS.values():
        checks.that(
            f"0.0.0.0:{port}" in compose, "deploy/docker-compose.yml", f"nothing listens on {port}"
        )
    path = "terraform/modules/compute/main.tf"
    text = (checks.root / path).read_text()
    for name, port in PORTS.items():
        found = re.search(rf"^\s*{name}_port\s*=\s*(\d+)$", text, re.MULTILINE)
        checks.that(found and int(found[1]) == port, path, f"{name}_port is not {port}")


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    checks = Checks(root)
    check_every_file(checks)
    check_dockerfile(checks)
    check_compose(checks)
    check_kubernetes(checks)
    check_ports_elsewhere(checks)
    for mistake in checks.mistakes:
        print(mistake, file=sys.stderr)
    if checks.mistakes:
        return 1
    print("deploy/ is consistent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
