"""Job files of Slurm and Kubernetes, as far as they can be run without a cluster.

Their shell runs, with stand-ins for `srun` and for `python train.py`; the TF_CONFIG that comes out
is read as training reads it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tf_frcnn.commands.train import parse_arguments
from tf_frcnn.training.cluster import read_cluster

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
SBATCH, MANIFEST = CLUSTER / "train.sbatch", CLUSTER / "train-job.yaml"
BASH = shutil.which("bash")

# Answers with what it was started with, where Python would train.
PYTHON = f"""#!{BASH}
if [[ $1 == train.py ]]; then
  printf '%s\\n' "$TF_CONFIG" "${{@:2}}"
else
  exec {sys.executable} "$@"
fi
"""
# Runs the command behind its options, as Slurm would on each node.
SRUN = f"""#!{BASH}
while [[ $1 == --* ]]; do
  [[ $1 == --cpus-per-task=4 || $1 == --label ]] || exit 9
  shift
done
exec "$@"
"""


@pytest.fixture
def stand_ins(tmp_path):
    """Write the stand-ins -> the environment that finds them."""
    for name, text in (("python", PYTHON), ("srun", SRUN)):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def started(command, environment, monkeypatch):
    """Run a job's shell -> (the cluster that TF_CONFIG says, the arguments of train.py)."""
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text, *arguments = done.stdout.splitlines()
    monkeypatch.setenv("TF_CONFIG", text)
    return read_cluster(), arguments


# === Slurm ===


def slurm(rank, node, nodes, count, tasks=""):
    """Make the variables that a task of a job step has."""
    return {
        "SLURM_JOB_ID": "40007",
        "SLURM_CPUS_PER_TASK": "4",
        "SLURM_PROCID": str(rank),
        "SLURM_STEP_NUM_TASKS": str(count),
        "SLURM_STEP_NODELIST": nodes,
        "SLURM_STEP_TASKS_PER_NODE": tasks or f"1(x{count})",
        "SLURMD_NODENAME": node,
    }


# 10000 + 40007 modulo 20000.
@pytest.mark.parametrize(
    ("rank", "node", "nodes", "count", "expected", "index"),
    [
        (1, "gpu02", "gpu[01-02]", 2, ["gpu01:10007", "gpu02:10007"], 1),
        # As text n10 comes first, and n9, which has rank 0, second.
        (0, "n9", "n[9-10]", 2, ["n10:10007", "n9:10007"], 1),
        (2, "b1", "a[1,3],b1", 3, ["a1:10007", "a3:10007", "b1:10007"], 2),
    ],
)
def test_a_slurm_task_is_the_worker_at_the_address_of_its_node(
    stand_ins, monkeypatch, rank, node, nodes, count, expected, index
):
    environment = {**stand_ins, **slurm(rank, node, nodes, count)}
    typed = ["finetune", "--data.root", "/data/my set", "--train.batch-size", "32"]
    cluster, arguments = started([BASH, SBATCH, *typed], environment, monkeypatch)
    assert [address for _, _, address in cluster.tasks] == expected
    assert cluster.worker == index
    assert arguments == [*typed, "--distribution.strategy", "multiworker"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"SLURM_PROCID": None}, "SLURM_PROCID not found"),
        ({"SLURMD_NODENAME": "elsewhere"}, "elsewhere:8888"),
        (
            {"SLURM_STEP_TASKS_PER_NODE": "2(x2)", "SLURM_STEP_NUM_TASKS": "4"},
            "more GPUs per node than",
        ),
    ],
)
def test_what_is_no_such_job_step_is_told(change, expected):
    environment = {**os.environ, **slurm(0, "n1", "n[1-2]", 2), **change}
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, CLUSTER / "slurm_tf_config.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and not done.stdout
    assert "no TF_CONFIG can be made of Slurm's variables" in done.stderr
    assert expected in done.stderr and "Traceback" not in done.stderr


def test_slurm_gives_time_to_save_and_one_task_a_machine():
    text = SBATCH.read_text(encoding="utf-8")
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", text, re.M))
    assert options["ntasks-per-node"] == "1"
    # To the step's tasks: with `B:` it would be the shell of the batch alone.
    assert options["signal"] == "TERM@600"


# === Kubernetes ===


@pytest.fixture(scope="module")
def manifest():
    service, job = yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8"))
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    return service, job


def container_of(job):
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return container, {item["name"]: item["value"] for item in container["env"]}


@pytest.mark.parametrize("index", [0, 1])
def test_a_pod_is_the_worker_of_its_number(stand_ins, monkeypatch, manifest, index):
    container, variables = container_of(manifest[1])
    environment = {**stand_ins, **variables, "JOB_COMPLETION_INDEX": str(index)}
    command = [*container["command"], *container["args"]]
    cluster, arguments = started(command, environment, monkeypatch)
    # A pod's name within the Service: JOB-INDEX.SERVICE.
    assert [address for _, _, address in cluster.tasks] == [
        "tf-frcnn-0.tf-frcnn:12345",
        "tf-frcnn-1.tf-frcnn:12345",
    ]
    assert cluster.worker == index
    config = parse_arguments(arguments).config
    assert config.distribution.strategy == "multiworker"
    assert config.data.root == "/storage/coco"
    assert config.train.decay_steps == (59_152, 81_334)


def test_more_pods_are_a_longer_list(stand_ins, monkeypatch, manifest):
    container, variables = container_of(manifest[1])
    environment = {**stand_ins, **variables, "WORKERS": "11", "JOB_COMPLETION_INDEX": "10"}
    cluster, _ = started([*container["command"], "finetune"], environment, monkeypatch)
    assert len(cluster.tasks) == 11 and cluster.worker == 10
    assert cluster.tasks[10][2] == "tf-frcnn-10.tf-frcnn:12345"


def test_what_has_to_agree_in_the_manifest_does(manifest):
    service, job = manifest
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    container, variables = container_of(job)
    name, port = job["metadata"]["name"], int(variables["PORT"])
    assert service["spec"]["clusterIP"] == "None" and service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"] == {"job-name": name}
    # One name for all: the pods' host names begin with the Job's, and end with the Service's.
    assert service["metadata"]["name"] == pod["subdomain"] == name == variables["NAME"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == int(variables["WORKERS"])
    assert [item["containerPort"] for item in container["ports"]] == [port]
    assert [item["port"] for item in service["spec"]["ports"]] == [port]
    # What a policy of failures asks for.
    assert pod["restartPolicy"] == "Never"
    mounts = {item["name"]: item["mountPath"] for item in container["volumeMounts"]}
    assert mounts.keys() == {item["name"] for item in pod["volumes"]}
    assert Path(variables["TF_FRCNN_HOME"]) == Path(mounts["cache"])


# === docs/scale.md ===


def commands_of_the_page():
    """List the trainings that the page shows, as arguments of train.py."""
    text = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^(?:python train\.py|sbatch \S+) (.*)$", text, re.M)
    return [line.split() for line in found]


def test_the_trainings_of_the_page_follow_its_rules():
    commands = commands_of_the_page()
    sizes = []
    for arguments in commands:
        config = parse_arguments(arguments).config
        batch, train = config.train.batch_size, config.train
        per_epoch = -(-118_287 // batch)
        assert train.learning_rate == pytest.approx(0.02 / 16 * batch)
        assert train.steps == 26 * per_epoch
        assert train.decay_steps == (16 * per_epoch, 22 * per_epoch)
        assert train.validate_every == per_epoch
        sizes.append((config.distribution.strategy, batch))
    assert sizes == [("none", 2), ("mirrored", 16), ("none", 32)]  # the last by train.sbatch


def test_the_manifest_is_that_of_the_page_for_two_machines(manifest):
    of_page = parse_arguments(commands_of_the_page()[2]).config
    of_job = parse_arguments(container_of(manifest[1])[0]["args"]).config
    assert of_job.train == of_page.train and of_job.model == of_page.model
