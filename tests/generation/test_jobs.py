"""The same bytes whoever made them, however often they were interrupted; clear words when all is not well."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import trimesh

from generation.jobs import AssetFolders, Workers, generate_dataset, plan_dataset, read_plan, render_plan
from generation.jobs.dataset import command_line, make_card, prepare_folder, remove_dataset
from generation.jobs.local import LEAST_LIMIT_S, LocalWorker, NoPlace, TimeLimit, WorkerDied, run_tasks
from generation.jobs.tasks import Result, Task, WorkerSetup
from generation.plan.plan import AssetPool
from generation.plan.request import build_request
from objnerf.dataset.card import read_card, write_card
from objnerf.dataset.folders import only_writer
from objnerf.errors import InputError, WorkError


def digests(root: Path) -> dict[str, str]:
    """Every file of a dataset, but for the preview."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "preview" not in path.parts
    }


@pytest.fixture(scope="module")
def request_():
    return build_request("room-diverse", scenes=3, size=(32, 24), samples=1, shapes=6, backgrounds=3, seed=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, request_):
    """A dataset made in one go by one worker."""
    out = tmp_path_factory.mktemp("whole") / "dataset"
    report = generate_dataset(request_, out, workers=Workers(1))
    assert report.made == 3
    assert report.statistics().startswith("3 scenes made; ")
    return out


def test_shards_by_two_workers_make_the_same_bytes(tmp_path, request_, whole):
    for shard in ((2, 2), (1, 2)):
        generate_dataset(request_, tmp_path / "d", workers=Workers(2), shard=shard)
    assert digests(tmp_path / "d") == digests(whole)
    assert (tmp_path / "d" / "preview" / "contact_sheet.png").is_file()


def test_mesh_files_make_the_same_bytes_whoever_reads_them(tmp_path, data):
    """glTF, OBJ and PLY beside procedural shapes: one worker, two workers, and a scene from its JSON."""
    folder = tmp_path / "meshes"
    for case in ("gltf_texture_transform", "obj_vertex_colours", "ply_vertex_colours"):
        shutil.copytree(data / "meshes" / case, folder / case)
    assets = AssetFolders(meshes=folder, mixed=True)
    request = build_request("room-diverse", scenes=2, size=(32, 24), samples=1, shapes=6, backgrounds=2)
    for workers in (1, 2):
        generate_dataset(request, tmp_path / f"d{workers}", assets, workers=Workers(workers)).raise_failures()
    first = digests(tmp_path / "d1")
    assert digests(tmp_path / "d2") == first
    plans = [read_plan(path) for path in sorted((tmp_path / "d1" / "scenes").glob("*.json"))]
    kinds = {item.shape.kind for plan in plans for item in plan.objects}
    assert kinds == {"folder", "procedural"}
    render_plan(plans[1], tmp_path / "again", assets)
    again = digests(tmp_path / "again")
    again.pop("dataset.yaml")
    assert again == {name: first[name] for name in again}


def test_a_scene_made_again_from_its_json_alone_is_the_same(tmp_path, whole):
    render_plan(read_plan(whole / "scenes" / "0001.json"), tmp_path / "again")
    again, first = digests(tmp_path / "again"), digests(whole)
    # What a folder of single scenes states is the size and the lens.
    again.pop("dataset.yaml")
    card = read_card(tmp_path / "again")
    assert (card.image_size, card.focal_ratio) == ((32, 24), read_card(whole).focal_ratio)
    assert len(again) == 4 * 5 + 1
    assert again == {name: first[name] for name in again}


def test_killed_and_started_again_it_makes_the_same_bytes(tmp_path, whole):
    out = tmp_path / "d"
    command = [sys.executable, "-m", "cli", "generate", "--out", str(out), "--scenes", "3", "--size", "32x24"]
    command += ["--samples", "1", "--shapes", "6", "--bgs", "3", "--workers", "1"]
    root = Path(__file__).resolve().parents[2]
    for kill_at in (1, 3, 6):
        process = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        # As soon as so many pictures are there: in the middle of a scene.
        while len(list(out.glob("*_mask.png"))) < kill_at and time.monotonic() < deadline:
            time.sleep(0.005)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive, "a worker outlived its parent process"
        # The first kill surely came before the end; a later one may come too late on a busy machine.
        assert kill_at > 1 or not (out / "scenes" / "0002.json").exists()
    finished = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "were there" in finished.stdout
    assert digests(out) == digests(whole)


def test_a_killed_worker_costs_one_retry_and_is_reported(tmp_path, request_, whole, monkeypatch):
    killed = []

    class Doomed(LocalWorker):
        """The first of its kind is killed in the middle of its first scene."""

        def run(self, task: Task, limit_s: float) -> Result:
            if not killed:
                killed.append(self.pid)
                threading.Timer(0.2, os.kill, (self.pid, signal.SIGKILL)).start()
            return super().run(task, limit_s)

    monkeypatch.setattr("generation.jobs.workers.LocalWorker", Doomed)
    # And a fresh process a scene: what a worker did before changes nothing.
    monkeypatch.setattr("generation.jobs.local.SCENES_PER_WORKER", 1)
    report = generate_dataset(request_, tmp_path / "d", workers=Workers(1))
    assert len(report.deaths) == 1
    assert "signal 9 (out of memory?)" in report.deaths[0]
    assert report.made == 3
    assert not report.failed
    assert digests(tmp_path / "d") == digests(whole)


class Mortal:
    """A worker that dies of some scenes."""

    def __init__(self, deadly: dict[int, int]) -> None:
        self.deadly = deadly

    def run(self, task: Task, limit_s: float) -> Result:
        if self.deadly.get(task.scene, 0) > 0:
            self.deadly[task.scene] -= 1
            raise WorkerDied("the worker was killed by signal 9; its last output:\noh")
        return Result(kind="done", scene=task.scene, seen=[1.0, 1.0])

    def close(self) -> None:
        pass


def test_a_scene_that_kills_every_worker_is_given_up_and_the_rest_goes_on():
    deadly = {1: 1, 3: 5}
    results = list(run_tasks([Task(scene=i) for i in range(6)], 2, lambda: Mortal(deadly)))
    kinds = sorted((result.scene, result.kind) for result in results)
    done = [(i, "done") for i in (0, 1, 2, 4, 5)]
    assert kinds == sorted([*done, (1, "died"), (3, "died"), (3, "failed")])
    failed = next(result for result in results if result.kind == "failed")
    assert "oh" in failed.log


def test_a_worker_that_hangs_is_killed_and_its_scene_made_by_another(tmp_path, request_, whole, monkeypatch):
    stopped = []

    class Hanging(LocalWorker):
        """The first of its kind stands still in its first scene."""

        def run(self, task: Task, limit_s: float) -> Result:
            if not stopped:
                stopped.append(self.pid)
                os.kill(self.pid, signal.SIGSTOP)
                return super().run(task, 0.1)
            return super().run(task, limit_s)

    monkeypatch.setattr("generation.jobs.workers.LocalWorker", Hanging)
    report = generate_dataset(request_.model_copy(update={"scenes": 1}), tmp_path / "d", workers=Workers(1))
    assert report.deaths == ["scene 0: the worker gave no result for 0 s and was killed"]
    assert report.made == 1
    assert not psutil.pid_exists(stopped[0])
    again, first = digests(tmp_path / "d"), digests(whole)
    assert all(again[name] == first[name] for name in again if name != "dataset.yaml")


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signal")
def test_a_worker_that_hangs_says_where(tmp_path, request_, monkeypatch):
    """A scene that takes minutes counts as hanging after a hundredth of a second here."""
    # It does not really hang, and prints more after it has said where it is.
    monkeypatch.setattr("generation.jobs.local._LOG_TAIL_BYTES", 1 << 20)
    endless = request_.model_copy(update={"samples": 65_536})
    setup = WorkerSetup(request=endless, assets=AssetFolders(), out=tmp_path)
    worker = LocalWorker(setup)
    try:
        with pytest.raises(WorkerDied, match="gave no result for 0 s and was killed") as raised:
            worker.run(Task(scene=0), 0.01)
    finally:
        worker.close()
    assert 'worker.py", line' in str(raised.value)
    assert " in main" in str(raised.value)


def test_a_worker_that_does_not_read_is_killed(tmp_path, request_):
    """A message larger than a pipe blocks whoever sends it."""
    worker = LocalWorker(WorkerSetup(request=request_, assets=AssetFolders(), out=tmp_path))
    try:
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(WorkerDied, match="gave no result for 0 s and was killed"):
            worker._ask("x" * 2**20, 0.1)
    finally:
        worker.close()


def test_a_scene_hangs_when_it_takes_a_multiple_of_the_slowest(request_):
    limit = TimeLimit(request_)
    # 32 × 24 pixels, 4 views, 1 sample of light and 6 of surfaces: 21504 samples of 2e-5 s
    assert limit.seconds == pytest.approx(LEAST_LIMIT_S + 0.43008)
    limit.note(Result(kind="done", seconds=1.0))
    assert limit.seconds == LEAST_LIMIT_S
    for seconds in (100.0, 2.0):
        limit.note(Result(kind="done", seconds=seconds))
        assert limit.seconds == 3000.0


def test_a_device_that_is_not_there_is_refused_once(tmp_path, request_):
    # No machine has both: Apple's GPUs know no HIP, and other systems no Metal.
    device = "hip" if sys.platform == "darwin" else "metal"
    with pytest.raises(InputError, match=f"--device {device}: Cycles finds no {device.upper()} device"):
        generate_dataset(request_, tmp_path / "d", workers=Workers(2, device=device))
    assert not (tmp_path / "d" / "scenes").exists()


def test_workers_that_never_start_end_the_run():
    def start() -> Mortal:
        raise WorkerDied("no bpy")

    with pytest.raises(WorkError, match="do not start: no bpy"):
        list(run_tasks([Task(scene=0)], 2, start))


def test_a_file_that_cannot_be_written_stops_with_a_clear_message(tmp_path, request_):
    out = tmp_path / "d"
    generate_dataset(request_.model_copy(update={"scenes": 1}), out, workers=Workers(1))
    digest = digests(out)
    # As good as a full disk, and possible everywhere: the folder of scenes is a file.
    (out / "scenes" / "0000.json").rename(out / "kept.json")
    (out / "scenes").rmdir()
    (out / "scenes").write_text("in the way")
    with pytest.raises(WorkError, match=r"cannot be written.*Free some space and run the same command again"):
        generate_dataset(request_, out, workers=Workers(1))
    (out / "scenes").unlink()
    (out / "scenes").mkdir()
    (out / "kept.json").rename(out / "scenes" / "0000.json")
    assert generate_dataset(request_, out, workers=Workers(1)).kept == 1
    assert digest.items() - digests(out).items() <= {("dataset.yaml", digest["dataset.yaml"])}


def test_scenes_that_cannot_be_made_are_listed_with_the_reason(tmp_path, request_):
    rules = request_.preset.placement.model_copy(update={"min_pixels": 0.9, "attempts": 2})
    preset = request_.preset.model_copy(update={"placement": rules})
    report = generate_dataset(
        request_.model_copy(update={"preset": preset}), tmp_path / "d", workers=Workers(1)
    )
    assert [result.scene for result in sorted(report.failed, key=lambda a: a.scene)] == [0, 1, 2]
    with pytest.raises(WorkError, match=r"3 scenes failed:\n  scene . \(seed 0\).*none of 2 plans"):
        report.raise_failures()


def test_another_dataset_in_the_way_is_refused_and_overwritten_on_demand(tmp_path, request_, whole):
    other = request_.model_copy(update={"seed": 1, "scenes": 1})
    with pytest.raises(InputError, match="3 scenes there, 1 asked for"):
        generate_dataset(other, whole, workers=Workers(1))
    with pytest.raises(InputError, match="seed is 0 there, 1 asked for"):
        generate_dataset(request_.model_copy(update={"seed": 1}), whole, workers=Workers(1))
    stranger = tmp_path / "home"
    stranger.mkdir()
    (stranger / "thesis.tex").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"found thesis\.tex"):
            generate_dataset(other, stranger, workers=Workers(1), overwrite=overwrite)
    assert (stranger / "thesis.tex").read_text() == "x"


def test_overwriting_touches_nothing_before_it_knows_that_all_is_ours(tmp_path, request_):
    out = tmp_path / "d"
    plan = plan_dataset(request_, out)
    assert plan.planned == 3
    write_card(out, make_card(request_, AssetPool.draw(AssetFolders().load(), request_)))
    (out / "00000_sc0000_img0.png").touch()
    (out / "notes.txt").touch()
    before = sorted(path.name for path in out.rglob("*"))
    with pytest.raises(InputError, match=r"also holds notes\.txt"):
        remove_dataset(out)
    assert sorted(path.name for path in out.rglob("*")) == before
    (out / "notes.txt").unlink()
    remove_dataset(out)
    assert list(out.iterdir()) == []


def test_a_second_process_on_the_same_scenes_is_refused(tmp_path, request_):
    out = tmp_path / "d"
    for held, asked in (({}, (1, 1)), ({}, (2, 3)), ({"shared": True, "part": "2-of-3"}, (2, 3))):
        with only_writer(out, **held), pytest.raises(InputError, match="another process is writing there"):
            generate_dataset(request_, out, shard=asked)
    # Nor is a dataset pulled from under a shard at work.
    with only_writer(out, shared=True, part="2-of-3"), pytest.raises(InputError, match="another process"):
        generate_dataset(request_, out, shard=(1, 3), overwrite=True)
    assert list(out.iterdir()) == []


def test_a_dataset_of_another_version_is_refused_by_name(request_, whole):
    older = request_.model_copy(update={"generator": 1})
    with pytest.raises(InputError, match=r"by version 2 of the generator, and this is version 1"):
        generate_dataset(older, whole, workers=Workers(1))


def test_a_dataset_of_other_files_is_refused(tmp_path, request_):
    """Each of these would give the scenes that are left other shapes than those that are there."""
    folder = tmp_path / "meshes"
    folder.mkdir()
    trimesh.creation.box(extents=(1, 2, 1)).export(folder / "a.obj")
    request = request_.model_copy(update={"shapes": 1})
    out = tmp_path / "d"
    out.mkdir()

    def prepare(**options: object) -> None:
        pool = AssetPool.draw(AssetFolders(meshes=folder, **options).load(), request)  # type: ignore[arg-type]
        prepare_folder(out, request, pool)

    prepare()
    prepare()
    with pytest.raises(InputError, match="from other shapes or textures"):
        prepare(up="z")
    trimesh.creation.box(extents=(1, 3, 1)).export(folder / "a.obj")
    with pytest.raises(InputError, match="files in the folders have changed"):
        prepare()


def test_the_command_says_what_was_asked_for_beside_the_preset(tmp_path, request_):
    assets = AssetFolders(meshes=tmp_path, up="z", unit="cm", mixed=True)
    request = request_.model_copy(update={"real_scale": True, "recolour": True})
    command = command_line(request, assets.load())
    assert command.endswith("--recolour --real-scale --up z --unit cm --mix")
    plain = command_line(request_, AssetFolders().load())
    assert plain.endswith("--passes depth,mask")


def test_plans_are_written_without_blender(tmp_path, request_):
    report = plan_dataset(request_, tmp_path / "p")
    assert report.planned == 3
    assert "3 scenes planned" in report.statistics()
    assert len(list((tmp_path / "p" / "plans").glob("*.json"))) == 3
    assert not (tmp_path / "p" / "dataset.yaml").exists()
    assert "bpy" not in sys.modules


def test_a_python_without_blender_is_told_why(tmp_path, request_, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"exists only for Python 3\.11"):
        generate_dataset(request_, tmp_path / "d")
    assert not (tmp_path / "d").exists()
    assert plan_dataset(request_, tmp_path / "d").planned == 3


def test_a_file_that_is_no_plan_is_refused(tmp_path):
    (tmp_path / "x.json").write_text('{"scene": 1}')
    with pytest.raises(InputError, match="expected a scene's plan of version 2 of the generator"):
        read_plan(tmp_path / "x.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_plan(tmp_path / "y.json")


def test_more_views_than_fit_are_refused_before_anything_is_written(tmp_path, request_):
    with pytest.raises(InputError, match="at most 17 views"):
        generate_dataset(request_.model_copy(update={"views": 40}), tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_an_unknown_asset_folder_is_refused(tmp_path, request_):
    with pytest.raises(InputError, match="no such folder"):
        generate_dataset(request_, tmp_path / "d", AssetFolders(meshes=tmp_path / "nowhere"))


def test_a_worker_that_is_closed_is_gone(tmp_path, request_):
    worker = LocalWorker(WorkerSetup(request=request_, assets=AssetFolders(), out=tmp_path))
    assert worker.version.startswith("4.5")
    worker.close()
    assert not psutil.pid_exists(worker.pid)


@pytest.mark.slow
def test_ray_makes_the_same_bytes(tmp_path, request_, whole):
    pytest.importorskip("ray")
    generate_dataset(request_, tmp_path / "d", workers=Workers(2, engine="ray"))
    assert digests(tmp_path / "d") == digests(whole)


def test_a_dataset_with_the_keys_of_an_earlier_version_goes_on(tmp_path, request_):
    out = tmp_path / "d"
    out.mkdir()
    pool = AssetPool.draw(AssetFolders().load(), request_)
    prepare_folder(out, request_, pool)
    card = out / "dataset.yaml"
    text = card.read_text()
    renamed = text.replace("asset_pool_sha256:", "stock:").replace(" materials:", " finish:")
    assert [renamed.count(key) for key in ("stock:", " finish:")] == [1, 1]
    card.write_text(renamed)
    prepare_folder(out, request_, pool)
    card.write_text(re.sub(r"stock: \w+", f"stock: {'0' * 64}", renamed))
    with pytest.raises(InputError, match="from other shapes or textures"):
        prepare_folder(out, request_, pool)


@pytest.mark.slow
# Ray leaves sockets and log files to the interpreter.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_machine_of_the_cluster_that_dies_costs_no_bytes(tmp_path, request_, whole):
    """Two nodes with a core each; one is gone, with its worker, as soon as the first scene is made."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    try:
        nodes = [cluster.add_node(**small)]
        cluster.wait_for_nodes()

        def kill_one(done: int, total: int, note: str) -> None:
            if done and nodes:
                cluster.remove_node(nodes.pop(), allow_graceful=False)

        report = generate_dataset(
            request_,
            tmp_path / "d",
            workers=Workers(2, engine="ray", address=cluster.address),
            progress=kill_one,
        )
    finally:
        cluster.shutdown()
    assert not nodes
    assert report.made == 3
    assert report.deaths
    assert digests(tmp_path / "d") == digests(whole)


def test_no_place_for_a_second_worker_is_no_error_while_the_first_lives():
    """A cluster that has lost a machine: whoever is left makes all scenes."""
    places = threading.Semaphore(1)

    class Guest(Mortal):
        def close(self) -> None:
            places.release()

    def start() -> Guest:
        if not places.acquire(timeout=0.02):
            raise NoPlace("the cluster had no free core")
        return Guest({})

    results = list(run_tasks([Task(scene=scene) for scene in range(20)], 3, start))
    assert sorted(result.scene for result in results) == list(range(20))
    assert {result.kind for result in results} == {"done"}
    places.acquire()
    with pytest.raises(InputError, match="no free core"):
        list(run_tasks([Task(scene=0)], 2, start))
