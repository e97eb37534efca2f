"""Files go into a project and out of it in a browser: looked at first, bounded, by owners alone."""

import io
import json
import re
import zipfile
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from palate.records import Choice, Judgement
from palate.store.database import Store
from palate.web.routes import data as data_routes
from palate.web.security import LARGEST_UPLOAD
from palate.web.uploads import Uploads
from tests.web.site import PROJECT, Site, csrf, group
from tests.web.test_own import label, words

HERE = f"/projects/{PROJECT}/data"
ROWS = [{"prompt": f"Do you have tea {i}?", "chosen": "Yes.", "rejected": "No."} for i in range(3)]


def lines(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.fixture
def owner(cafe: Site) -> TestClient:
    return cafe.client(cafe.person("olga", "owner"))


def sent(client: TestClient, content: bytes, *, name: str = "own.jsonl", kind: str = "preferences"):
    fields = {"csrf": csrf(client.get(HERE).text), "kind": kind}
    return client.post(f"{HERE}/uploads", data=fields, files={"file": (name, content)})


def seen(client: TestClient, content: bytes, **named: str):
    """The page of a file's preview, and its address."""
    reply = sent(client, content, **named)
    assert reply.status_code == 303, words(reply.text)
    address = reply.headers["location"]
    return client.get(address), address


def brought(client: TestClient, content: bytes, kind: str = "preferences", **named: str) -> str:
    page, address = seen(client, content, kind=kind, **named)
    fields = {"csrf": csrf(page.text), "kind": kind}
    reply = client.post(address.partition("?")[0], data=fields)
    assert reply.status_code == 303, words(reply.text)
    return words(client.get(reply.headers["location"]).text)


def counts(cafe: Site) -> tuple[int, int]:
    with Store(cafe.url) as store:
        found = store.counts("cafe")
    return found.groups, found.judgements


def test_a_file_is_looked_at_before_anything_changes_and_then_imported(
    cafe: Site, owner: TestClient
) -> None:
    page, _ = seen(owner, lines(*ROWS))
    shown = words(page.text)
    assert "What own.jsonl would bring" in shown
    assert "3 groups of 6 answers." in shown
    assert "3 judgements of import:own.jsonl" in shown
    assert "Do you have tea 0?" in shown
    assert counts(cafe) == (30, 0)
    assert "Imported: 3 new groups of answers, 3 new judgements." in brought(owner, lines(*ROWS))
    assert counts(cafe) == (33, 3)
    assert "Imported: 0 new groups of answers, 0 new judgements." in brought(owner, lines(*ROWS))


def test_rows_that_cannot_be_used_are_shown_with_place_and_remedy_and_left_out(
    cafe: Site, owner: TestClient
) -> None:
    bad = {"prompt": "?", "chosen": 3, "rejected": "<b>no</b>"}
    content = lines(*ROWS[:2], bad) + b"{broken\n" + lines(ROWS[2])
    page, _ = seen(owner, content)
    shown = words(page.text)
    assert "2 rows cannot be used." in shown
    assert "Row 3: field chosen: expected text" in shown
    assert "Row 4: malformed JSON" in shown
    assert "/tmp" not in page.text
    assert "Imported: 3 new groups" in brought(owner, content)


def test_answers_that_people_are_to_judge_become_questions(cafe: Site, owner: TestClient) -> None:
    row = {"prompt": "Soup or salad?", "responses": ["Soup.", "Salad."]}
    assert "Imported: 1 new groups" in brought(owner, lines(row), kind="groups")
    found = owner.get(f"/projects/{PROJECT}/questions?text=soup").text
    assert "Soup or salad?" in found


def test_tables_with_columns_are_read_as_palate_import_reads_them(
    cafe: Site, owner: TestClient
) -> None:
    content = b"prompt,chosen,rejected\nTea?,Yes.,No.\nMilk?,Oat.,None.\n"
    assert "Imported: 2 new groups" in brought(owner, content, name="people's file.CSV")
    assert {j.judge for j in cafe.judgements()} == {"import:people_s_file.csv"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "There is no row to import in it."),
        (b"\n\n", "There is no row to import in it."),
        (b"[1, 2", "malformed JSON"),
        (b"[]", "There is no row to import in it."),
        (b"\xff\xfe\x00\x01", "UTF-16"),
    ],
)
def test_a_file_of_nothing_or_of_anything_is_no_error_of_the_server(
    owner: TestClient, content: bytes, said: str
) -> None:
    page, address = seen(owner, content, name="x.json")
    assert said in words(page.text)
    assert ">Import<" not in page.text
    reply = owner.post(address.partition("?")[0], data={"csrf": csrf(page.text)})
    assert reply.status_code in (303, 400)


def test_nobody_speaks_for_a_person_or_takes_back_what_one_said(
    cafe: Site, owner: TestClient
) -> None:
    label(cafe.client(cafe.person("ann")), choice="0:3")
    (said,) = cafe.judgements()
    about = group(0)

    def row(judgement: Judgement) -> dict[str, object]:
        group_ = about.model_dump(mode="json")
        return {"group": group_, "judgements": [judgement.model_dump(mode="json")]}

    forged = Judgement(group_id=about.id, judge="person:ann", verdict=Choice(chosen=1))
    back = Judgement(group_id=about.id, judge="x", verdict=Choice(chosen=1), supersedes=said.id)
    exported = forged.model_copy(update={"judge": "person:~c19b3b12082f"})
    page, _ = seen(owner, lines(row(forged), row(back)))
    assert "2 rows cannot be used." in words(page.text)
    assert "speaks for 'person:ann'" in words(page.text).replace("&#39;", "'")
    brought(owner, lines(row(forged), row(back), row(exported)))
    assert {j.judge for j in cafe.judgements()} == {"person:ann", "person:~c19b3b12082f"}


def test_kinds_of_files_that_may_grow_while_read_are_not_taken(owner: TestClient) -> None:
    for name in ("x.jsonl.gz", "x.parquet", "x.txt", "x", "../../x.py", ".jsonl"):
        reply = sent(owner, b"x", name=name)
        assert reply.status_code == 400, name
        assert "That kind of file is not read here." in reply.text
    fields = {"csrf": csrf(owner.get(HERE).text), "kind": "groups"}
    assert "Choose a file first." in owner.post(f"{HERE}/uploads", data=fields).text


def test_a_file_that_is_too_large_is_refused_before_it_is_read(owner: TestClient) -> None:
    fields = {"csrf": csrf(owner.get(HERE).text), "kind": "groups"}
    large = b"x" * (LARGEST_UPLOAD + 1)
    reply = owner.post(f"{HERE}/uploads", data=fields, files={"file": ("x.csv", large)})
    assert reply.status_code == 413
    elsewhere = {"csrf": fields["csrf"], "text": "x" * 3_000_000}
    assert owner.post(f"{HERE}/export", data=elsewhere).status_code == 413


def test_a_file_is_its_uploaders_alone(cafe: Site, owner: TestClient) -> None:
    _, address = seen(owner, lines(*ROWS))
    other = cafe.client(cafe.person("otto", "owner"))
    assert other.get(address).status_code == 404
    fields = {"csrf": csrf(other.get(HERE).text)}
    assert other.post(address.partition("?")[0], data=fields).status_code == 404
    assert counts(cafe) == (30, 0)


def test_files_that_wait_are_few_and_go_after_an_hour() -> None:
    now = [0.0]
    uploads = Uploads(clock=lambda: now[0])
    secrets = [uploads.keep("a.csv", io.BytesIO(b"x"), project=1, person=1) for _ in range(10)]
    folder = uploads.path(secrets[9], project=1, person=1).parent.parent
    assert len(list(folder.iterdir())) == 8
    now[0] = 3601.0
    for secret in secrets:
        with pytest.raises(Exception, match="upload_over"):
            uploads.path(secret, project=1, person=1)
    assert list(folder.iterdir()) == []


def exported(client: TestClient, **changed: str):
    fields = {"format": "preference", "judges": "people", "names": "pseudonyms", "file": ".jsonl"}
    token = {"csrf": csrf(client.get(HERE).text)}
    return client.post(f"{HERE}/export", data=token | fields | changed)


def test_a_download_holds_what_palate_export_writes(
    cafe: Site, owner: TestClient, tmp_path: Path
) -> None:
    label(cafe.client(cafe.person("ann")), choice="0:3")
    reply = exported(owner)
    assert reply.status_code == 200, words(reply.text)
    assert 'filename="cafe-preference.zip"' in reply.headers["content-disposition"]
    files = zipfile.ZipFile(io.BytesIO(reply.content))
    assert sorted(files.namelist()) == [
        "cafe-preference.card.md",
        "cafe-preference.jsonl",
        "cafe-preference.manifest.json",
    ]
    from rich.console import Console

    from palate.exchange.exporting import Selection, export_project

    out = tmp_path / "out" / "cafe-preference.jsonl"
    selection = Selection(project="cafe", judges=("people",))
    export_project(selection, format="preference", out=out, url=cafe.url, console=Console())
    for name in files.namelist():
        assert files.read(name) == (out.parent / name).read_bytes(), name
    judged = zipfile.ZipFile(io.BytesIO(exported(owner, format="judgements").content))
    assert b"person:ann" not in judged.read("cafe-judgements.jsonl")
    judged = zipfile.ZipFile(
        io.BytesIO(exported(owner, format="judgements", names="logins").content)
    )
    assert b"person:ann" in judged.read("cafe-judgements.jsonl")


def test_what_there_is_none_of_or_too_much_of_is_said_on_the_page(
    cafe: Site, owner: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = exported(owner)
    assert reply.status_code == 400
    assert "nobody of that name judged it" in words(reply.text)
    assert exported(owner, format="../x").status_code == 404
    monkeypatch.setattr(data_routes, "_MOST", 29)
    reply = exported(owner, format="groups")
    assert "palate export --project cafe" in words(reply.text)


def test_what_left_and_came_is_in_the_record(cafe: Site, owner: TestClient) -> None:
    brought(owner, lines(*ROWS))
    exported(owner, format="groups")
    with cafe.desk.reading() as connection:
        noted = connection.exec_driver_sql("select action, detail from audit").all()
    found = {action: str(detail) for action, detail in noted}
    assert "own.jsonl" in found["import"]
    assert "groups" in found["export"]


def test_forms_of_other_pages_take_no_files(owner: TestClient) -> None:
    fields = {"csrf": csrf(owner.get(HERE).text)}
    reply = owner.post(f"{HERE}/export", data=fields, files={"file": ("x.csv", b"x")})
    assert reply.status_code == 400


def test_the_names_of_files_are_shown_and_not_obeyed(owner: TestClient) -> None:
    page, _ = seen(owner, lines(*ROWS), name="<img src=x>.jsonl")
    assert "<img" not in page.text
    assert re.search(r"_img_src_x_\.jsonl", page.text)
