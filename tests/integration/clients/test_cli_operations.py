"""The commands that change something: reviews, users, products, releases; and TLS."""

import json
from pathlib import Path

import pytest

from tests.integration.clients.conftest import Run
from tests.support.certificates import write_certificates
from tests.support.memory_api import OTHER_RELEASE_ID, RELEASE_ID, MemoryServer, memory_server
from twotower.rpc import ServerTls


@pytest.fixture
def reviewed(run: Run) -> None:
    """Maria has one review, r1."""
    assert (
        run("review", "add", "--user", "Maria", "--product", "p0", "--rating", "5", "--review-id", "r1").exit_code == 0
    )


def test_a_review_is_taken_back(run: Run, reviewed: None) -> None:
    result = run("review", "retract", "--user", "Maria", "--review-id", "r1")
    assert result.exit_code == 0, result.output
    assert "review r1: retracted" in result.output
    assert "Maria has 0 reviews now" in result.output
    assert "was not there" in run("review", "retract", "--user", "Maria", "--review-id", "r1").output
    again = json.loads(run("review", "retract", "--user", "Maria", "--review-id", "r1", "--json").output)
    assert (again["retracted"], again["review_id"]) == (False, "r1")


def test_user_show(run: Run, reviewed: None) -> None:
    output = run("user", "show", "Maria").output
    fields = {line[:17].strip(): line[17:].strip() for line in output.splitlines()}
    assert (fields["Kind"], fields["Reviews"], fields["Last changed"], fields["Reviewed products"]) == (
        "warm",
        "1",
        "2 min ago",
        "p0",
    )
    assert fields["Review embedding"] == f"mean of length {0.05 * 384**0.5:.4f}"
    assert fields["ALS vector"] == f"folded in, length {sum(i * i for i in range(64)) ** 0.5:.4f}"
    assert fields["ALS factors"] == "a1"
    assert f"release {RELEASE_ID}" in output


def test_vectors_of_a_user_are_shown_only_when_asked_for(run: Run, reviewed: None) -> None:
    answer = json.loads(run("user", "show", "Maria", "--json").output)
    assert answer["seen_product_ids"] == ["p0"]
    assert not {"bert_mean", "als"} & answer.keys()
    assert json.loads(run("user", "show", "Maria", "--json", "--vectors").output)["als"] == list(range(64))


def test_a_user_is_deleted_after_a_question(run: Run, server: MemoryServer, reviewed: None) -> None:
    refused = run("user", "delete", "Maria", stdin="n\n")
    assert (refused.exit_code, server.memory.attempts["DeleteUser"]) == (1, 0)
    assert "Forget all reviews and features of Maria?" in refused.stderr
    assert run("user", "delete", "Maria").exit_code == 1  # nobody there to answer
    assert "Maria: forgotten" in run("user", "delete", "Maria", stdin="y\n").output
    assert "Maria: nothing was known" in run("user", "delete", "Maria", "--yes").output
    assert json.loads(run("user", "delete", "Maria", "--yes", "--json").output)["deleted"] is False


def test_a_user_is_exported_whole(run: Run, reviewed: None) -> None:
    exported = json.loads(run("user", "export", "Maria", "--json").output)
    assert exported["user_id"] == "Maria"
    assert [review["product_id"] for review in exported["reviews"]]
    assert [len(review["embedding"]) for review in exported["reviews"]] == [384] * len(exported["reviews"])
    assert json.loads(run("user", "export", "nobody").output)["reviews"] == []


def test_a_product_is_added(run: Run, server: MemoryServer) -> None:
    result = run(
        "product",
        "upsert",
        "--id",
        "new",
        "--name",
        "Brand-new",
        "--brand",
        "Bolt",
        "--categories",
        "A,B",
        "--manufacturer",
        "M",
    )
    assert "1 added, 0 updated" in result.output
    added = server.memory.products[-1]
    assert (added.product_id, added.name, added.brand, added.categories, added.manufacturer) == (
        "new",
        "Brand-new",
        "Bolt",
        "A,B",
        "M",
    )
    assert "0 added, 1 updated" in run("product", "upsert", "--id", "new", "--name", "Renamed").output


def test_a_file_of_products_is_added_in_batches(run: Run, server: MemoryServer, tmp_path: Path) -> None:
    path = tmp_path / "products.jsonl"
    lines = [json.dumps({"product_id": f"n{i}", "name": f"New {i}", "review_count": 3}) for i in range(300)]
    path.write_text("\n".join(lines) + "\n\n")
    answer = json.loads(run("product", "upsert", "--file", str(path), "--json").output)
    assert (answer["inserted_count"], answer["updated_count"]) == (300, 0)
    assert server.memory.attempts["UpsertProducts"] == 2
    assert "0 added, 1 updated" in run("product", "upsert", "--file", "-", stdin=lines[0]).output


def test_what_list_prints_can_be_added_again(run: Run) -> None:
    listed = json.loads(run("product", "list", "--json").output)["products"]
    lines = "\n".join(map(json.dumps, listed))
    assert "0 added, 10 updated" in run("product", "upsert", "--file", "-", stdin=lines).output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "<stdin>: no products"),
        (b"\xff\xfe", "<stdin>: not UTF-8"),
        ("\n{", "<stdin>:2: not JSON"),
        ("[1]", "<stdin>:1: must be a JSON object"),
        ('{"product_id": "p"}', "<stdin>:1: name: missing"),
        ('{"product_id": "p", "name": 3}', "<stdin>:1: name: must be a text"),
        ('{"product_id": "p", "name": "n", "colour": "red"}', "<stdin>:1: unknown field 'colour'"),
    ],
)
def test_a_bad_file_of_products_is_refused_whole(
    run: Run, server: MemoryServer, text: str | bytes, message: str
) -> None:
    result = run("product", "upsert", "--file", "-", stdin=text)
    assert result.exit_code == 1
    assert message in result.stderr
    assert server.memory.attempts["UpsertProducts"] == 0


def test_upserted_products_are_listed_and_removed(run: Run) -> None:
    run("product", "upsert", "--id", "new", "--name", "Brand-new", "--brand", "Bolt")
    listed = run("product", "added").output
    assert "Brand-new" in listed
    assert "1 of 1 upserted products" in listed
    assert "1 removed" in run("product", "remove", "new", "p1").output
    assert "0 of 0 upserted products" in run("product", "added").output


def test_withdrawn_products_are_not_recommended_until_they_are_restored(run: Run) -> None:
    assert "2 withdrawn, 2 in all" in run("product", "withdraw", "p0", "p1").output
    answer = json.loads(run("recommend", "Maria", "-k", "2", "--json").output)
    assert [p["product_id"] for p in answer["products"]] == ["p2", "p3"]
    assert "withdrawn: p0, p1" in run("product", "list").output
    assert "1 restored, 1 still withdrawn" in run("product", "restore", "p0").output
    assert json.loads(run("product", "list", "--json").output)["withdrawn_product_ids"] == ["p1"]


def test_a_product_without_a_name_is_refused_by_the_server(run: Run) -> None:
    result = run("product", "upsert", "--id", "new")
    assert (result.exit_code, result.stderr) == (1, "Error: products[0].name: must not be empty\n")


def test_releases(run: Run) -> None:
    listed = run("release", "list").output
    assert [line.split()[1] for line in listed.splitlines() if line.startswith((RELEASE_ID, OTHER_RELEASE_ID))] == [
        "–",
        "stable",
    ]
    loaded = run("release", "load", OTHER_RELEASE_ID)
    assert loaded.exit_code == 0, loaded.output
    assert json.loads(run("release", "list", "--json").output)["releases"][0]["label"] == "stable"
    back = json.loads(run("release", "rollback", "--json").output)
    assert (back["release_id"], back["create_time"]) == (RELEASE_ID, "2026-01-02T03:04:05+00:00")


def test_labels(run: Run) -> None:
    assert "canary, 0.25 of the users" in run("release", "label", OTHER_RELEASE_ID, "canary", "--share", "0.25").output
    assert "shadow" in run("release", "label", OTHER_RELEASE_ID, "shadow").output
    assert "75.0% of the stable best 10 over 200 users, scores differ by 0.5000" in run("release", "list").output
    assert json.loads(run("release", "label", OTHER_RELEASE_ID, "none", "--json").output)["label"] == "unspecified"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("release", "rollback"), "Error: no release was stable before\n"),
        (("release", "load", "nope"), "Error: release 'nope' is not in the folder\n"),
        (("release", "label", RELEASE_ID, "canary"), "Error: canary_share: must be above 0 and at most 1, got 0\n"),
        (("similar", "nope"), f"Error: product 'nope' is not in release {RELEASE_ID}\n"),
    ],
)
def test_errors_are_one_line(run: Run, arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stderr, result.stdout) == (1, message, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("release", "label", RELEASE_ID, "golden"),
        ("product", "upsert"),
        ("product", "upsert", "--id", "p", "--file", "-"),
        ("review", "retract", "--user", "Maria"),
        ("recommend", "Maria", "--pages", "0"),
        ("recommend", "Maria", "--tls-ca", "/no/such/file.pem"),
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_tls_by_options_and_by_environment(run: Run, tmp_path: Path) -> None:
    write_certificates(tmp_path)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    with memory_server(tls=ServerTls(certificate, key, client_ca=certificate)) as server:
        address = ("--ranking", server.address)
        options = ("--tls-ca", str(certificate), "--tls-certificate", str(certificate), "--tls-key", str(key))
        assert run("recommend", "Maria", *address, *options).exit_code == 0
        files = {
            "TWOTOWER_TLS_CA": str(certificate),
            "TWOTOWER_TLS_CERTIFICATE": str(certificate),
            "TWOTOWER_TLS_KEY": str(key),
        }
        admin = ("--admin-ranking", server.admin_address)
        assert run("release", "list", *admin, **files).exit_code == 0
        assert run("user", "show", "Maria", "--embedding", server.address, **files).exit_code == 0
        untrusted = run("recommend", "Maria", *address, "--tls")
        assert untrusted.exit_code == 1
        assert "unavailable" in untrusted.stderr
        half = run("recommend", "Maria", *address, "--tls-certificate", str(certificate))
        assert half.exit_code == 2
        assert "go together" in half.stderr
