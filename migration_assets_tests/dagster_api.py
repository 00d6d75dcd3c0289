"""Dagster's GraphQL as a test, or a person in the UI, uses it."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

LOCATION = "migration_assets"
REPOSITORY = "__repository__"
_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

_LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } } } }"""
_RUNS = """query { runsOrError { ... on Runs { results {
    runId jobName status parentRunId tags { key value } } } } }"""
_RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run {
    status stepStats { stepKey status } assetMaterializations { assetKey { path } } } } }"""
_START_SCHEDULE = """mutation($selector: ScheduleSelector!) { startSchedule(
    scheduleSelector: $selector) { __typename ... on PythonError { message } } }"""
_STOP_SCHEDULE = """mutation($id: String!) { stopRunningSchedule(id: $id) {
    __typename ... on PythonError { message } } }"""
_SCHEDULE = """query($selector: ScheduleSelector!) { scheduleOrError(
    scheduleSelector: $selector) { ... on Schedule { id scheduleState { id status } } } }"""
_START_SENSOR = """mutation($selector: SensorSelector!) { startSensor(
    sensorSelector: $selector) { __typename ... on PythonError { message } } }"""
_RELOAD = """mutation($name: String!) { reloadRepositoryLocation(
    repositoryLocationName: $name) { __typename } }"""


class Dagster:
    """A webserver's API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, **variables: Any) -> Any:
        """The ``data`` of an answer; any error is a failure."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.loads(answer.read())
        assert "errors" not in found, found["errors"]
        return found["data"]

    def launch(self, job: str, config: Mapping[str, Any] | None = None) -> str:
        """Start a job from the launchpad; returns the run's id."""
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": REPOSITORY,
            "pipelineName": job,
        }
        params = {"selector": selector, "runConfigData": dict(config or {}), "mode": "default"}
        made = self.ask(_LAUNCH, params=params)["launchRun"]
        assert made["__typename"] == "LaunchRunSuccess", made
        return str(made["run"]["runId"])

    def wait(self, run_id: str, seconds: float = 180) -> dict[str, Any]:
        """The run when it has ended."""
        run: dict[str, Any] = {}

        def ended() -> bool:
            run.update(self.ask(_RUN, id=run_id)["runOrError"])
            return run["status"] in _ENDED

        until(ended, seconds, f"run {run_id}")
        return run

    def runs(self, job: str) -> list[dict[str, Any]]:
        """The runs of a job, the newest first."""
        found = self.ask(_RUNS)["runsOrError"]["results"]
        return [run for run in found if run["jobName"] == job]

    def ended(self, job: str) -> list[dict[str, Any]]:
        """Those of a job that have ended."""
        return [run for run in self.runs(job) if run["status"] in _ENDED]

    def start_schedule(self, name: str) -> None:
        done = self.ask(_START_SCHEDULE, selector=_selector("scheduleName", name))
        assert done["startSchedule"]["__typename"] == "ScheduleStateResult", done

    def stop_schedule(self, name: str) -> None:
        found = self.ask(_SCHEDULE, selector=_selector("scheduleName", name))["scheduleOrError"]
        done = self.ask(_STOP_SCHEDULE, id=found["id"])
        assert done["stopRunningSchedule"]["__typename"] == "ScheduleStateResult", done

    def start_sensor(self, name: str) -> None:
        done = self.ask(_START_SENSOR, selector=_selector("sensorName", name))
        assert done["startSensor"]["__typename"] == "Sensor", done

    def reload(self) -> None:
        """Read the definitions again, as the button does."""
        self.ask(_RELOAD, name=LOCATION)


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for something that is seen from outside only."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: nothing after {seconds} s"
        time.sleep(0.5)


def _selector(kind: str, name: str) -> dict[str, str]:
    return {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY, kind: name}
