"""What `sweepctl export --format tensorboard` writes, read by TensorBoard: PYTHON_WITH_TENSORBOARD names an interpreter that has it."""
import json
import os
import subprocess

import pytest

from daemon import Daemon, program
from study import Study

PYTHON = os.environ.get("PYTHON_WITH_TENSORBOARD")

READ = """
import json, logging, sys
from tensorboard.backend.event_processing import data_provider, event_accumulator, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups
from google.protobuf import json_format
run = event_accumulator.EventAccumulator(sys.argv[1] + "/trial-0001").Reload()
multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(sys.argv[1]).Reload()
backend = backend_context.Context(base_plugin.TBContext(data_provider=data_provider.MultiplexerDataProvider(multiplexer, sys.argv[1])))
context, id = RequestContext(), "board"
experiment = backend.experiment_from_metadata(context, id, True, backend.hparams_metadata(context, id), backend.hparams_from_data_provider(context, id, 100))
asked = api_pb2.ListSessionGroupsRequest(start_index=0, slice_size=100, include_metrics=True, aggregation_type=api_pb2.AGGREGATION_AVG,
    allowed_statuses=[api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING, api_pb2.STATUS_UNKNOWN],
    col_params=[api_pb2.ColParams(hparam=info.name) for info in experiment.hparam_infos] + [api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos])
groups = list_session_groups.Handler(context, backend, id, asked).run()
print(json.dumps({"scalars": {tag: [[e.step, e.wall_time, e.value] for e in run.Scalars(tag)] for tag in run.Tags()["scalars"]},
                  "experiment": json_format.MessageToDict(experiment), "groups": json_format.MessageToDict(groups)["sessionGroups"]}))
"""


@pytest.mark.skipif(not PYTHON, reason="PYTHON_WITH_TENSORBOARD names no interpreter")
def test_tensorboard_shows_the_series_and_the_hparams(tmp_path):
    with Daemon(tmp_path) as server:
        study = Study(server, name="board", parameters={"x": {"min": 0.0, "max": 1.0}, "opt": {"values": ["a", None]}, "flag": {"values": [True, False]}})
        configurations = [{"x": 0.25, "opt": "a", "flag": True}, {"x": 0.5, "opt": None, "flag": False}, {"x": 0.75, "opt": "a", "flag": False}]
        study.enqueue(*configurations)
        first, second, third = (study.claim() for _ in range(3))
        study.report(first, 1, metrics=[{"name": "loss", "step": step, "value": 2.0 ** -step, "time": f"2026-11-27T01:02:0{step}.500Z"} for step in range(1, 6)])
        study.end(first)
        study.end(second, value=0.75)
        study.end(third, "failed", reason="diverged")
        board = tmp_path / "board"
        subprocess.run([program("sweepctl"), "export", study.id, "--format", "tensorboard", "--output", board, "--server", server.url], check=True)
    done = subprocess.run([PYTHON, "-c", READ, board], capture_output=True, text=True)
    assert done.returncode == 0 and "corrupt" not in done.stderr.lower(), done.stderr
    told = json.loads(done.stdout)
    assert [(step, value) for step, _, value in told["scalars"]["loss"]] == [(step, 2.0 ** -step) for step in range(1, 6)]
    assert [time - told["scalars"]["loss"][0][1] for _, time, _ in told["scalars"]["loss"]] == [0, 1, 2, 3, 4]
    assert [point[2] for point in told["scalars"]["trial/value"]] == [2.0 ** -5]
    assert told["experiment"]["name"] == "board"
    assert {info["name"]: info["type"] for info in told["experiment"]["hparamInfos"]} == {"x": "DATA_TYPE_FLOAT64", "opt": "DATA_TYPE_STRING", "flag": "DATA_TYPE_BOOL"}
    groups = {group["name"]: group for group in told["groups"]}
    assert [groups[f"trial-000{n}"]["hparams"] for n in (1, 2, 3)] == [{**one, "opt": one["opt"] or "null"} for one in configurations]
    values = {metric["name"]["tag"]: metric["value"] for metric in groups["trial-0001"]["metricValues"]}
    assert values == {"trial/value": 2.0 ** -5, "loss": 2.0 ** -5}
    assert [groups[f"trial-000{n}"]["sessions"][0]["status"] for n in (1, 2, 3)] == ["STATUS_SUCCESS", "STATUS_SUCCESS", "STATUS_FAILURE"]
