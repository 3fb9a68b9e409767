"""The commands as users type them, against a real server."""

import json
import subprocess
import sys

import pytest

from tests.integration.clients.conftest import Run
from tests.support.memory_api import RELEASE_ID, MemoryServer, planned
from twotower.errors import NotReady


def test_recommend_shows_names_numbers_release_and_kind(run: Run) -> None:
    result = run("recommend", "Maria", "-k", "3")
    assert result.exit_code == 0, result.output
    assert "Maria: cold user" in result.output
    lines = result.output.splitlines()
    rows = [line.split() for line in lines if "Product " in line and "Acme" in line]
    assert [(row[0], row[3], row[-3], row[-1]) for row in rows] == [
        ("1", "Acme", "4.50", "p0"),
        ("2", "Acme", "4.50", "p1"),
        ("3", "Acme", "4.50", "p2"),
    ]
    assert f"release {RELEASE_ID} · answered in" in result.output
    assert "compute 0.25 ms" in result.output


def test_a_review_changes_the_next_answer(run: Run) -> None:
    added = run(
        "review", "add", "--user", "Maria", "--product", "p0", "--rating", "5", "--title", "Good", "--review-id", "r1"
    )
    assert added.exit_code == 0, added.output
    assert "review r1: recorded" in added.output
    assert "Maria has 1 review now" in added.output
    again = run(
        "review", "add", "--user", "Maria", "--product", "p0", "--rating", "5", "--title", "Good", "--review-id", "r1"
    )
    assert "was there already" in again.output
    answer = run("recommend", "Maria")
    assert "Maria: warm user, 1 review, changed 2 min ago" in answer.output
    assert "p0" not in answer.output
    assert "p0" in run("recommend", "Maria", "--include-seen").output


def test_review_says_what_did_not_count(run: Run) -> None:
    result = run("review", "add", "--user", "Maria", "--product", "new", "--rating", "4.5", "--text", "x" * 2000)
    assert "the rest did not count" in result.output
    assert "product new has no ALS factors" in result.output


def test_degraded_answers_say_so(run: Run, server: MemoryServer) -> None:
    server.memory.degraded = True
    assert "degraded: the embedding service did not answer" in run("recommend", "Maria").output


def test_features_from_memory_are_dated_for_a_cold_user_too(run: Run) -> None:
    assert "cold user: no review is known, so the average reader's features stand in (looked up 1 min ago)" in " ".join(
        run("recommend", "Bo", "--max-staleness", "60").output.split()
    )


def test_anonymous_users_are_called_so(run: Run) -> None:
    assert "Anonymous: anonymous user" in run("recommend", "Anonymous").output


def test_json_is_one_object(run: Run) -> None:
    answer = json.loads(run("recommend", "Maria", "-k", "2", "--json").output)
    assert (answer["user_id"], answer["release_id"], answer["user"]["kind"]) == ("Maria", RELEASE_ID, "cold")
    assert [p["product_id"] for p in answer["products"]] == ["p0", "p1"]
    assert answer["latency_ms"] > 0
    recorded = json.loads(run("review", "add", "--user", "Maria", "--product", "p0", "--rating", "5", "--json").output)
    assert (recorded["outcome"], recorded["review_count"]) == ("recorded", 1)
    assert json.loads(run("product", "show", "p1", "--json").output)["product"]["name"] == "Product 1"
    assert len(json.loads(run("product", "list", "--json").output)["products"]) == 10


def test_a_page_of_the_catalogue(run: Run) -> None:
    listed = run("product", "list", "-n", "4")
    assert "4 of 10 products" in listed.output
    assert "Product 3" in listed.output
    assert "Product 4" not in listed.output
    shown = run("product", "show", "p4")
    assert "Product 4" in shown.output
    assert "Manufacturer" in shown.output


def product_ids(output: str) -> list[str]:
    """The last column of the table of recommendations."""
    return [
        line.split()[-1]
        for line in output.splitlines()
        if ("Product " in line and " 4.50 " in line) or " 3.50 " in line
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--allow", "p3", "--allow", "p1"), ["p1", "p3"]),
        (("--deny", "p0", "--deny", "p2", "-k", "2"), ["p1", "p3"]),
        (("--brand", "bolt"), ["p4", "p5"]),
        (("--category", "video", "--category", "games"), ["p5"]),
        (("--min-rating", "4", "-k", "10"), ["p0", "p1", "p2", "p3", "p4"]),
        (("--max-per-brand", "1", "-k", "10"), ["p0", "p4"]),
    ],
)
def test_recommend_by_rules(run: Run, server: MemoryServer, options: tuple[str, ...], expected: list[str]) -> None:
    for place in (4, 5):
        server.memory.products[place].brand = "Bolt"
    server.memory.products[5].categories = "Video"
    assert product_ids(run("recommend", "Maria", *options).output) == expected


def test_a_rule_that_leaves_nothing_says_so(run: Run) -> None:
    result = run("recommend", "Maria", "--brand", "Nobody")
    assert result.exit_code == 0
    assert "no product is left to recommend" in result.output


def test_diversity_and_staleness_reach_the_server(run: Run, server: MemoryServer) -> None:
    run("review", "add", "--user", "Maria", "--product", "p0", "--rating", "5")
    result = run("recommend", "Maria", "--diversity", "0.25", "--max-staleness", "3")
    assert "(looked up 3 s ago)" in result.output
    request = server.memory.requests["Recommend"]
    assert (request.diversity_strength, request.max_staleness.seconds) == (0.25, 3)


def test_explain_shows_what_each_part_adds(run: Run) -> None:
    run("review", "add", "--user", "Maria", "--product", "p9", "--rating", "5")
    result = run("recommend", "Maria", "-k", "2", "--explain")
    rows = [line.split() for line in result.output.splitlines() if "+0.5000" in line]
    assert rows == [
        ["1", "10.0000", "+0.5000", "-0.2500", "+0.0000", "p9", "0.1250"],
        ["2", "9.0000", "+0.5000", "-0.2500", "+0.0000", "p9", "0.1250"],
    ]
    cold = run("recommend", "Bo", "-k", "1", "--explain")
    assert ["1", "10.0000", "+0.5000", "-0.2500", "+0.0000", "–", "–"] in [
        line.split() for line in cold.output.splitlines()
    ]


def test_pages_go_on_numbering(run: Run) -> None:
    output = run("recommend", "Maria", "-k", "4", "--pages", "5").output
    assert product_ids(output) == [f"p{i}" for i in range(10)]
    assert [line.split()[0] for line in output.splitlines() if "Product 9" in line] == ["10"]
    assert output.count("Maria: ") == 1
    assert product_ids(run("recommend", "Maria", "-k", "4", "--pages", "2").output) == [f"p{i}" for i in range(8)]


def test_pages_as_json(run: Run) -> None:
    answer = json.loads(run("recommend", "Maria", "-k", "4", "--pages", "2", "--explain", "--json").output)
    assert [[p["product_id"] for p in page["products"]] for page in answer["pages"]] == [
        ["p0", "p1", "p2", "p3"],
        ["p4", "p5", "p6", "p7"],
    ]
    assert answer["pages"][0]["products"][0]["explanation"]["score_without_als"] == 9.5
    assert answer["user_id"] == "Maria"


def test_similar(run: Run) -> None:
    rows = [
        line.split()
        for line in run("similar", "p3", "-k", "2").output.splitlines()
        if "Product " in line and "Acme" in line
    ]
    assert [(row[0], row[-2], row[-1]) for row in rows] == [("1", "0.5000", "p4"), ("2", "0.2500", "p5")]
    answer = json.loads(run("similar", "p3", "-k", "1", "--json").output)
    assert (answer["product_id"], answer["products"][0]["product"]["product_id"]) == ("p3", "p4")


def test_text_from_outside_is_neither_markup_nor_control_code(run: Run, server: MemoryServer) -> None:
    server.memory.products[0].name = "[bold]Loud[/bold] \x1b[31mred\x1b[0m"
    output = run("recommend", "[red]Ma\nria").output
    assert "[bold]Loud[/bold]" in output
    assert "\x1b" not in output
    assert "[red]Ma\ufffdria: cold user" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("recommend", "Maria", "-k", "0"), "Error: k: must be 1 to 10, got 0\n"),
        (("recommend", "Maria", "-k", "-3"), "Error: k: must be 0 to 4294967295, got -3\n"),
        (("recommend", "\udcff"), "Error: user_id: must be valid UTF-8\n"),
        (("product", "show", "nope"), f"Error: product 'nope' is not in release {RELEASE_ID}\n"),
        (
            ("review", "add", "--user", "M", "--product", "p", "--rating", "7"),
            "Error: review.rating: must be 0 to 5, got 7\n",
        ),
    ],
)
def test_errors_are_one_line_that_names_the_field(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr == message
    assert result.stdout == ""


def test_a_service_that_is_not_ready_is_said_to_be(run: Run, server: MemoryServer) -> None:
    planned(server, "Recommend", *[NotReady("no release is loaded")] * 4)
    result = run("recommend", "Maria")
    assert result.exit_code == 1
    assert result.stderr == f"Error: ranking service at {server.address}: unavailable: no release is loaded\n"


def test_a_service_that_is_away_is_named(run: Run, unused_tcp_port: int) -> None:
    result = run("recommend", "Maria", "--ranking", f"127.0.0.1:{unused_tcp_port}")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: ranking service at 127.0.0.1:{unused_tcp_port}: unavailable: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [("recommend",), ("review", "add"), ("recommend", "M", "-k", "x"), ("product", "list", "-n", "0")]
)
def test_wrong_usage_is_exit_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_the_module_runs_without_the_entry_point(server: MemoryServer) -> None:
    command = [sys.executable, "-m", "clients", "recommend", "Maria", "-k", "0", "--ranking", server.address]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "Error: k: must be 1 to 10, got 0\n")
