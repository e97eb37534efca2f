"""Hub names go through the datasets library; here a small local server plays the Hub."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from palate.store.errors import RowError
from palate.store.formats.fields import text
from palate.store.tables import hub_rows

COMMIT = "a" * 40
FILES = {
    "train.jsonl": '{"prompt": "Hi", "chosen": "Yes.", "rejected": "No."}\n'
    '{"prompt": "Hi", "chosen": "Yes.", "rejected": "Yes."}\n'
    '{"prompt": "Bye", "chosen": "Yes.", "rejected": "No."}\n',
    "test.jsonl": '{"prompt": "Test", "chosen": "Yes.", "rejected": "No."}\n',
}


class Hub(BaseHTTPRequestHandler):
    """One dataset, `org/pairs`."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        name = path.rpartition("/")[2]
        if path.endswith(f"/tree/{COMMIT}"):
            listing = [
                {"type": "file", "oid": "b" * 40, "size": len(text), "path": file}
                for file, text in FILES.items()
            ]
            self.reply(json.dumps(listing))
        elif path.startswith("/api/datasets/org/pairs") and "/tree/" not in path:
            siblings = [{"rfilename": file} for file in FILES]
            self.reply(json.dumps({"id": "org/pairs", "sha": COMMIT, "siblings": siblings}))
        elif path.startswith("/datasets/org/pairs/") and name in FILES:
            self.reply(FILES[name])
        else:
            known = "org/pairs" in path
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET

    def reply(self, body: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", '"etag"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


SCRIPT = """
import sys
from palate.store.errors import DataError, Skipped
from palate.store.formats import read_preferences
skipped = Skipped()
try:
    for group in read_preferences(sys.argv[1], split=sys.argv[2], bad_rows=skipped):
        print(group.group.prompt.text)
    for error in skipped.first:
        print(error)
except DataError as error:
    print(error)
"""


def read(name: str, split: str, home: Path, **environment: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, name, split],
        env=os.environ | {"HF_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.slow
def test_a_split_of_a_hub_dataset_streams_through_the_same_readers(endpoint, tmp_path):
    assert read("org/pairs", "train", tmp_path, HF_ENDPOINT=endpoint) == [
        "Hi",
        "Bye",
        "org/pairs, row 2, field 'rejected': the response is equal to the one it is compared with. "
        'Remedy: leave the row out, or mark a tie with "probability": 0.5',
    ]
    assert read("org/pairs", "test", tmp_path, HF_ENDPOINT=endpoint) == ["Test"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "split"),
    [("org/pairs", "validation"), ("org/none", "train"), ("org/pairs:other", "train")],
)
def test_what_the_hub_does_not_have_is_one_error(endpoint, tmp_path, name, split):
    (message,) = read(name, split, tmp_path, HF_ENDPOINT=endpoint)
    start = f"{name}: no such file here, and the Hub did not give split '{split}' of a dataset"
    assert message.startswith(start)
    assert "Remedy: check the name and the network" in message


@pytest.mark.slow
def test_without_a_network_the_error_says_that_nothing_was_found_here_either(tmp_path):
    (message,) = read("org/pairs", "train", tmp_path, HF_HUB_OFFLINE="1")
    assert message.startswith("org/pairs: no such file here, and the Hub did not give split")


@pytest.mark.slow
def test_cells_of_a_csv_dataset_are_the_texts_that_stand_in_the_file(tmp_path):
    cells = ["9.00", "007", "None", "NA", "nan", "1e5", "2024-01-02", "true", ""]
    lines = ["prompt,reference", *(f"Q{n},{cell}" for n, cell in enumerate(cells))]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    assert [row["reference"] for row in hub_rows(str(tmp_path), split="train")] == cells


@pytest.mark.slow
def test_a_text_that_was_taken_for_a_date_is_refused_with_the_cause(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"reference": "2024-01-02"}\n' * 2)
    (row, _) = hub_rows(str(tmp_path), split="train")
    with pytest.raises(RowError, match="the datasets library took the text for a date") as caught:
        text(row["reference"], "reference")
    assert "local files are read as they are" in caught.value.remedy
