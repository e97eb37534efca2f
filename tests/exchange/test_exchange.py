"""What goes into a project comes out of it again, byte for byte, in every format."""

import gzip
import io
import json

import pytest
from rich.console import Console

from palate.exchange.exporting import AS_SAID, JUDGED, UNJUDGED, Selection, export_project
from palate.exchange.importing import import_file, judged_rows, preview_file
from palate.records import Choice, Group, Response, user_prompt
from palate.store.database import Store
from palate.store.errors import DataError, refuse
from palate.store.files import sha256_file
from palate.store.formats import read_groups, record_row, split_by_prompt, write_rows
from tests.exchange.project import by, export, fill, group, rows

LOSSY = ("prompt-completion", "messages", "prompt-only", "unpaired")
"""Formats that are no preferences: they are read by other stages, not by `palate import`."""


@pytest.fixture
def url(tmp_path):
    address = f"sqlite:///{(tmp_path / 'palate.db').as_posix()}"
    fill(address)
    return address


@pytest.mark.parametrize("format", [f for f in (*JUDGED, *AS_SAID, "groups") if f not in LOSSY])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_export_import_export_is_byte_identical(url, tmp_path, format, suffix):
    first = export(url, tmp_path / "one" / f"rows.{suffix}", format)
    kind = "groups" if format == "groups" else "preferences"
    source = str(tmp_path / "one" / f"rows.{suffix}")
    for _ in range(2):
        import_file(source, project="copy", url=url, kind=kind, console=Console(quiet=True))
    assert export(url, tmp_path / "two" / f"rows.{suffix}", format, project="copy") == first
    assert len(first) > 100


@pytest.fixture(autouse=True)
def _folders(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()


def test_soft_probabilities_and_margins_survive_an_import(url, tmp_path):
    row = {"prompt": "Q", "chosen": "a", "rejected": "b", "probability": 0.7, "margin": 1.25}
    source = tmp_path / "soft.jsonl"
    source.write_text(json.dumps(row) + "\n")
    import_file(
        str(source), project="soft", url=url, kind="preferences", console=Console(quiet=True)
    )
    (back,) = rows(export(url, tmp_path / "out.jsonl", "graded", project="soft"))
    assert (back["probability"], back["margin"]) == (0.7, 1.25)


def test_people_and_simulated_annotators_are_not_mixed_in_silence(tmp_path):
    url = f"sqlite:///{(tmp_path / 'mixed.db').as_posix()}"
    fill(url, judges=("person:ann", "annotator:cafe"))
    with pytest.raises(DataError, match=r"different kinds: annotator:cafe \(8\), person:ann \(9\)"):
        export(url, tmp_path / "x.jsonl", "graded")
    people = rows(
        export(url, tmp_path / "x.jsonl", "judgements", judges=["people"], names="logins")
    )
    assert {j["judge"] for row in people for j in row["judgements"]} == {"person:ann"}
    named = export(url, tmp_path / "y.jsonl", "judgements", judges=["annotator:*"])
    assert {j["judge"] for row in rows(named) for j in row["judgements"]} == {"annotator:cafe"}
    both = rows(export(url, tmp_path / "z.jsonl", "judgements", judges=["all"]))
    assert {len(row["judgements"]) for row in both} == {1, 2}
    with pytest.raises(DataError, match="nobody of that name"):
        export(url, tmp_path / "x.jsonl", "graded", judges=["person:zoe"])


def test_ties_are_kept_as_ties_and_never_become_pairs(url, tmp_path):
    texts = [
        row["prompt"][0]["content"] for row in rows(export(url, tmp_path / "p.jsonl", "graded"))
    ]
    assert "Question tied?" not in texts
    own = rows(export(url, tmp_path / "o.jsonl", "preferences"))
    (tied,) = [row for row in own if len(row["group"]["responses"]) == 2][-1]["preferences"]
    assert tied["probability"] == 0.5
    steer = rows(export(url, tmp_path / "h.jsonl", "helpsteer"))
    assert steer[-1]["overall_preference"] == 0


def test_a_ranking_keeps_its_ties(url, tmp_path):
    ranked = [
        r for r in rows(export(url, tmp_path / "r.jsonl", "ranking")) if len(r["completions"]) == 4
    ]
    assert [entry["rank"] for entry in ranked[0]["completions"]] == [1, 0, 1, 2]
    manifest = json.loads((tmp_path / "r.manifest.json").read_text())
    left_out = manifest["files"][0]["left_out"]
    assert left_out == {"the preferences are not those of a full ranking": 5}


def test_helpsteer_scores_point_to_the_second_response_and_grade_strength(url, tmp_path):
    steer = rows(export(url, tmp_path / "h.jsonl", "helpsteer"))
    scores = [[vote["score"] for vote in row["individual_preference"]] for row in steer]
    assert scores == [[-1, -1], [2, -1], [-3, -1], [3, 0], [-1, -1], [2, -1], [0]]
    assert [row["overall_preference"] for row in steer] == [-1, 1, -2, 2, -1, 1, 0]


def test_a_reliable_vote_weighs_more(tmp_path):
    """Two people always agree; a third differs, so where it stands alone against one, it loses."""
    url = f"sqlite:///{(tmp_path / 'w.db').as_posix()}"
    with Store(url) as store:
        for number in range(60):
            pair = group(f"{number}", "Yes.", "No.")
            truth, noise = number % 2, (number // 2) % 2
            votes = {"person:ann": truth, "person:bob": truth, "person:eve": noise}
            if number == 0:
                votes = {"person:ann": 0, "person:eve": 1}
            store.add_groups("mine", [pair])
            store.add_judgements(
                "mine", [by(judge, pair, Choice(chosen=c), (0, 1)) for judge, c in votes.items()]
            )
    equal = rows(export(url, tmp_path / "e.jsonl", "preferences", weights="equal"))
    weighed = rows(export(url, tmp_path / "w.jsonl", "preferences"))
    assert equal[0]["preferences"][0]["probability"] == 0.5
    first = weighed[0]["preferences"][0]
    assert first["winner"] == 0
    assert first["probability"] > 0.8
    assert weighed[1]["preferences"][0]["probability"] > 0.9


def test_a_split_keeps_prompts_whole_and_loses_nothing(url, tmp_path):
    whole = rows(export(url, tmp_path / "a.jsonl", "graded"))
    train = rows(export(url, tmp_path / "b.jsonl", "graded", held_out=0.5, seed=3))
    held = rows((tmp_path / "b.held_out.jsonl").read_bytes())
    assert sorted(map(str, train + held)) == sorted(map(str, whole))
    assert train
    for side, part in ((False, train), (True, held)):
        assert all(split_by_prompt(r["prompt_id"], fraction=0.5, seed=3) == side for r in part)


def test_the_manifest_has_the_hash_and_the_card_the_facts(url, tmp_path):
    out = tmp_path / "pairs.jsonl.gz"
    export(url, out, "graded", license="CC BY 4.0", names="logins")
    manifest = json.loads((tmp_path / "pairs.manifest.json").read_text())
    assert manifest["files"][0]["sha256"] == sha256_file(out)
    assert manifest["license"] == "CC BY 4.0"
    assert [j["judgements"] for j in manifest["judges"]] == [9, 8]
    card = (tmp_path / "pairs.card.md").read_text()
    assert "| person:ann | person | 9 |" in card
    assert "Krippendorff's alpha (nominal)" in card
    assert "License: CC BY 4.0" in card
    again = card.encode()
    export(url, out, "graded", license="CC BY 4.0", names="logins")
    assert (tmp_path / "pairs.card.md").read_bytes() == again


def test_a_preview_changes_nothing_and_names_the_bad_rows(url, tmp_path):
    source = tmp_path / "bad.jsonl"
    good = {"prompt": "Q", "chosen": "a", "rejected": "b"}
    lines = [json.dumps(good), "{", json.dumps(good | {"chosen": 3})]
    source.write_text("\n".join(lines) + "\n")
    log = (tmp_path / "preview.txt").open("w")
    preview_file(str(source), kind="preferences", console=Console(file=log, width=300))
    log.close()
    said = (tmp_path / "preview.txt").read_text()
    assert "1 groups of 2 responses" in said
    assert "row 2: malformed JSON" in said
    assert "row 3, field 'chosen': expected text or messages, found a number (3)" in said
    assert "2 rows cannot be used" in said
    with pytest.raises(DataError, match="row 2"):
        import_file(
            str(source), project="bad", url=url, kind="preferences", console=Console(quiet=True)
        )
    import_file(
        str(source),
        project="bad",
        url=url,
        kind="preferences",
        console=Console(quiet=True),
        bad_rows="skip",
    )
    with Store(url) as store:
        assert store.counts("bad").judgements == 1


def test_ultrafeedback_ranges_are_checked(tmp_path, url):
    def row(rating: str, score: object) -> str:
        entry = {"model": "m", "annotations": {"honesty": {"Rating": rating}}}
        both = [entry | {"response": text, "overall_score": score} for text in "ab"]
        return json.dumps({"instruction": "Q", "completions": both})

    source = tmp_path / "uf.jsonl"
    for bad, why in ((row("6", 1), "expected 1 to 5"), (row("3", "x"), "finite number")):
        source.write_text(bad + "\n")
        with pytest.raises(DataError, match=why):
            import_file(
                str(source), project="uf", url=url, kind="preferences", console=Console(quiet=True)
            )


def test_open_assistant_trees_give_a_group_for_every_ranked_question(tmp_path, url):
    def answer(text, rank, replies=()):
        return {"text": text, "role": "assistant", "rank": rank, "replies": list(replies)}

    follow_up = {"text": "More?", "role": "prompter", "replies": [answer("x", 1), answer("y", 0)]}
    tree = {
        "message_tree_id": "t",
        "prompt": {
            "text": "Hi",
            "role": "prompter",
            "replies": [answer("a", 0, [follow_up]), answer("b", 2), answer("c", 1)],
        },
    }
    source = tmp_path / "trees.jsonl"
    source.write_text(json.dumps(tree) + "\n")
    import_file(str(source), project="oa", url=url, kind="preferences", console=Console(quiet=True))
    with Store(url) as store:
        judged = list(store.judged_groups("oa"))
    assert [(g.k, j[0].verdict.ranks) for g, j in judged] == [(3, (0, 2, 1)), (2, (1, 0))]
    assert [m.content for m in judged[1][0].prompt.messages] == ["Hi", "a", "More?"]


def test_every_format_is_in_one_table():
    assert not set(JUDGED) & set(AS_SAID)
    assert not set(UNJUDGED) & (set(JUDGED) | set(AS_SAID))


def test_an_export_takes_no_other_exports_manifest_away(url, tmp_path):
    fill(url)
    first = export(url, tmp_path / "p.jsonl", "preference")
    manifest = (tmp_path / "p.manifest.json").read_bytes()
    assert export(url, tmp_path / "p.jsonl", "preference") == first
    with pytest.raises(DataError, match=r"p.manifest.json beside it is that of p.jsonl"):
        export(url, tmp_path / "p.parquet", "judgements")
    assert (tmp_path / "p.manifest.json").read_bytes() == manifest
    assert not (tmp_path / "p.parquet").exists()


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.json", "empty.jsonl.gz"])
def test_an_import_of_nothing_is_a_mistake(tmp_path, name):
    data = gzip.compress(b"") if name.endswith("gz") else b""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match="no row to import"):
        import_file(
            str(tmp_path / name),
            project="p",
            url=f"sqlite:///{tmp_path / 'palate.db'}",
            kind="preferences",
            console=Console(quiet=True),
        )


def test_what_a_database_cannot_hold_is_refused_by_an_import_and_read_by_stages(tmp_path):
    """A policy may sample NUL; its stage reads that back, and a project does not take it."""
    own = Group(prompt=user_prompt("Tea?"), responses=(Response(text="a"), Response(text="b\0")))
    write_rows(tmp_path / "own.jsonl", [record_row(own)])
    assert list(read_groups(str(tmp_path / "own.jsonl"))) == [own]
    foreign = '{"prompt": "Tea?", "responses": ["a", "b\\u0000"]}\n'
    (tmp_path / "foreign.jsonl").write_text(foreign)
    for name in ("own", "foreign"):
        with pytest.raises(DataError, match=r"character 2 is NUL") as caught:
            list(judged_rows(str(tmp_path / f"{name}.jsonl"), "groups", bad_rows=refuse))
        assert caught.value.field == "group.responses[1].text"


def test_a_preview_shows_a_newline_as_json_does(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"prompt": "Tea?\nYes?", "responses": ["e\u0301"]})
    )
    page = io.StringIO()
    console = Console(file=page, width=400)
    preview_file(str(tmp_path / "a.jsonl"), kind="groups", console=console)
    assert '"content": "Tea?\\nYes?"' in page.getvalue()
    assert "e\u0301" in page.getvalue()


@pytest.mark.parametrize("format", ["judgements", "groups", "messages"])
def test_what_cells_cannot_hold_is_refused_before_anything_is_written(tmp_path, format):
    out = tmp_path / "out.csv"
    with pytest.raises(
        DataError, match=rf"rows of {format} hold lists.*write \.jsonl or \.parquet"
    ):
        export_project(Selection(project="none"), format=format, out=out, url="", console=Console())
    assert not out.exists()
