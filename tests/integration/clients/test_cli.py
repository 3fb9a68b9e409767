"""The commands as users type them, against a real server."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tests.support.memory_api import RELEASE_ID, MemoryServer, planned
from twotower.cli import main
from twotower.errors import NotReady


@pytest.fixture
def run(server: MemoryServer):
    """Run `twotower …` with both addresses in the environment."""

    def invoke(*arguments, **environment):
        addresses = {"TWOTOWER_RANKING": server.address, "TWOTOWER_EMBEDDING": server.address}
        return CliRunner(env={**addresses, **environment}).invoke(main, arguments)

    return invoke


def test_recommend_shows_names_numbers_release_and_kind(run):
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


def test_a_review_changes_the_next_answer(run):
    added = run("review", "add", "--user", "Maria", "--product", "p0", "--rating", "5", "--title", "Good", "--review-id", "r1")
    assert added.exit_code == 0, added.output
    assert "review r1: recorded" in added.output
    assert "Maria has 1 review now" in added.output
    again = run("review", "add", "--user", "Maria", "--product", "p0", "--rating", "5", "--title", "Good", "--review-id", "r1")
    assert "was there already" in again.output
    answer = run("recommend", "Maria")
    assert "Maria: warm user, 1 review, changed 2 min ago" in answer.output
    assert "p0" not in answer.output
    assert "p0" in run("recommend", "Maria", "--include-seen").output


def test_review_says_what_did_not_count(run):
    result = run("review", "add", "--user", "Maria", "--product", "new", "--rating", "4.5", "--text", "x" * 2000)
    assert "the rest did not count" in result.output
    assert "product new has no ALS factors" in result.output


def test_degraded_answers_say_so(run, server):
    server.memory.degraded = True
    assert "degraded: the embedding service did not answer" in run("recommend", "Maria").output


def test_anonymous_users_are_called_so(run):
    assert "Anonymous: anonymous user" in run("recommend", "Anonymous").output


def test_json_is_one_object(run):
    answer = json.loads(run("recommend", "Maria", "-k", "2", "--json").output)
    assert (answer["user_id"], answer["release_id"], answer["user"]["kind"]) == ("Maria", RELEASE_ID, "cold")
    assert [p["product_id"] for p in answer["products"]] == ["p0", "p1"]
    assert answer["latency_ms"] > 0
    recorded = json.loads(run("review", "add", "--user", "Maria", "--product", "p0", "--rating", "5", "--json").output)
    assert (recorded["outcome"], recorded["review_count"]) == ("recorded", 1)
    assert json.loads(run("product", "show", "p1", "--json").output)["product"]["name"] == "Product 1"
    assert len(json.loads(run("product", "list", "--json").output)["products"]) == 10


def test_products(run):
    listed = run("product", "list", "-n", "4")
    assert "4 of 10 products" in listed.output
    assert "Product 3" in listed.output
    assert "Product 4" not in listed.output
    shown = run("product", "show", "p4")
    assert "Product 4" in shown.output
    assert "Manufacturer" in shown.output


def test_text_from_outside_is_neither_markup_nor_control_code(run, server):
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
def test_errors_are_one_line_that_names_the_field(run, arguments, message):
    result = run(*arguments)
    assert result.exit_code == 1
    assert result.stderr == message
    assert result.stdout == ""


def test_a_service_that_is_not_ready_is_said_to_be(run, server):
    planned(server, "Recommend", *[NotReady("no release is loaded")] * 4)
    result = run("recommend", "Maria")
    assert result.exit_code == 1
    assert result.stderr == f"Error: ranking service at {server.address}: unavailable: no release is loaded\n"


def test_a_service_that_is_away_is_named(run, unused_tcp_port):
    result = run("recommend", "Maria", "--ranking", f"127.0.0.1:{unused_tcp_port}")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: ranking service at 127.0.0.1:{unused_tcp_port}: unavailable: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [("recommend",), ("review", "add"), ("recommend", "M", "-k", "x"), ("product", "list", "-n", "0")])
def test_wrong_usage_is_exit_code_2(run, arguments):
    assert run(*arguments).exit_code == 2


def test_the_module_runs_without_the_entry_point(server):
    command = [sys.executable, "-m", "clients", "recommend", "Maria", "-k", "0", "--ranking", server.address]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "Error: k: must be 1 to 10, got 0\n")
