"""A short soak; `scripts/soak` runs it for ten minutes with 200 streams."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "soak"))

import soak  # noqa: E402
from support import servers  # noqa: E402


def test_under_faults_of_every_kind_no_answer_is_wrong_and_everything_adds_up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soak")
    mock = servers.start_mock(folder)
    try:
        outcomes, figures = soak.run(folder, mock, seconds=12, streams=40)
    finally:
        mock.stop()
    assert {*soak.FAULTS, *soak.WHOLE_CALLS} <= {model for model, _ in outcomes}, "every fault was met"
    assert sum(count for (_, outcome), count in outcomes.items() if outcome == "left") >= soak.LEFT_MIN
    assert figures["tokens"] > 0
