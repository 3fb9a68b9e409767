"""The commands in other surroundings: pipes, narrow terminals, encodings, JSON, variables, and no services."""

import contextlib
import fcntl
import json
import os
import pty
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from tests.integration.clients.conftest import Run
from tests.support.certificates import write_certificates
from tests.support.memory_api import OTHER_RELEASE_ID, MemoryServer, memory_server, planned
from twotower.environment import VARIABLES
from twotower.errors import FieldViolation, InvalidArgument, NotFound, Overloaded
from twotower.rpc import ServerTls

TWOTOWER = Path(sys.executable).with_name("twotower")
COMMANDS = [
    ("recommend", "Maria", "--explain"),
    ("recommend", "Maria", "--pages", "2"),
    ("similar", "p3"),
    ("review", "add", "--user", "Maria", "--product", "p0", "--rating", "5", "--review-id", "r1"),
    ("review", "retract", "--user", "Maria", "--review-id", "r1"),
    ("user", "show", "Maria"),
    ("user", "delete", "Maria", "--yes"),
    ("product", "list"),
    ("product", "show", "p1"),
    ("product", "upsert", "--id", "new", "--name", "New"),
    ("product", "added"),
    ("product", "withdraw", "p1"),
    ("product", "restore", "p1"),
    ("product", "remove", "p1"),
    ("release", "list"),
    ("release", "load", OTHER_RELEASE_ID),
    ("release", "label", OTHER_RELEASE_ID, "shadow"),
    ("release", "rollback"),
]
LONG = [f"All-new tablet with an 8 inch display, wireless, {size} GB, with special offers" for size in (8, 16, 32)]


def environment(server: MemoryServer, **more: str) -> dict[str, str]:
    return {**os.environ, **server.variables, **more}


def piped(server: MemoryServer, *command: str, **more: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [TWOTOWER, *command], env=environment(server, **more), capture_output=True, check=False, timeout=60
    )


def on_terminal(server: MemoryServer, width: int, *command: str) -> list[str]:
    """What a terminal of this width shows."""
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    variables = environment(server, TERM="xterm", NO_COLOR="1")
    variables.pop("COLUMNS", None)
    with subprocess.Popen([TWOTOWER, *command], env=variables, stdin=far, stdout=far, stderr=far) as process:
        os.close(far)
        shown = b""
        while True:
            try:
                data = os.read(near, 65536)
            except OSError:  # the command has ended
                break
            if not data:
                break
            shown += data
        assert process.wait(60) == 0, shown
    os.close(near)
    return shown.decode().replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "").split("\r\n")


@pytest.fixture
def long_names(server: MemoryServer) -> MemoryServer:
    for product, name in zip(server.memory.products, LONG, strict=False):
        product.name = name
    return server


@pytest.mark.parametrize("width", [40, 80])
def test_names_are_told_apart_on_a_narrow_terminal(long_names: MemoryServer, width: int) -> None:
    lines = on_terminal(long_names, width, "recommend", "Maria", "-k", "3")
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for size in ("8", "16", "32"):
        assert f"{size} GB" in text or f"wireless, {size}" in text, text
    for cell in ("p0", "p1", "p2", "4.50", "10.0000", "Acme"):
        assert cell in text


def test_a_pipe_has_whole_lines_whatever_the_terminals_width(long_names: MemoryServer) -> None:
    done = piped(long_names, "recommend", "Maria", "-k", "3", COLUMNS="40")
    lines = done.stdout.decode().splitlines()
    for name, product_id in zip(LONG, ("p0", "p1", "p2"), strict=True):
        assert [line for line in lines if name in line and line.endswith(product_id)]


NOT_UTF_8 = (
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)


@pytest.mark.parametrize("variables", NOT_UTF_8)
def test_standard_output_that_is_not_utf_8(server: MemoryServer, variables: dict[str, str]) -> None:
    server.memory.products[0].name = "Café نام 中文"
    for command in (("product", "list"), ("recommend", "Maria"), ("release", "list")):
        done = piped(server, *command, **variables)
        assert (done.returncode, done.stderr) == (0, b"")
        shown = done.stdout.decode("ascii")
        assert "Caf? ??? ??" in shown or command == ("release", "list")
        answer = piped(server, *command, "--json", **variables)
        assert (answer.returncode, answer.stderr) == (0, b"")
        json.loads(answer.stdout.decode("ascii"))
    listed = json.loads(piped(server, "product", "list", "--json", **variables).stdout)
    assert listed["products"][0]["name"] == "Café نام 中文"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_json_is_one_document_and_nothing_else(run: Run, server: MemoryServer, command: tuple[str, ...]) -> None:
    if command[:2] == ("release", "rollback"):
        run("release", "load", OTHER_RELEASE_ID)
    result = run(*command, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert isinstance(json.loads(result.stdout), dict)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotFound("no user"), {"kind": "NotFound", "message": "no user"}),
        (
            InvalidArgument([FieldViolation("k", "must be 1 to 5, got 7")]),
            {
                "kind": "InvalidArgument",
                "message": "k: must be 1 to 5, got 7",
                "violations": [{"field": "k", "description": "must be 1 to 5, got 7"}],
            },
        ),
    ],
)
def test_with_json_errors_are_json_on_standard_error(
    run: Run, server: MemoryServer, error: Exception, expected: dict[str, object]
) -> None:
    planned(server, "Recommend", error)
    result = run("recommend", "Maria", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert json.loads(result.stderr) == {"error": expected}


def test_json_errors_have_what_a_program_needs_to_go_on(run: Run, server: MemoryServer) -> None:
    planned(server, "Recommend", Overloaded("the queue is full", 0.25))
    busy = json.loads(run("recommend", "Maria", "--json").stderr)["error"]
    assert (busy["kind"], busy["retry_after_s"]) == ("Overloaded", 0.25)
    away = run("recommend", "Maria", "--json", "--ranking", "127.0.0.1:1")
    assert json.loads(away.stderr)["error"]["code"] == "UNAVAILABLE"
    usage = run("recommend", "Maria", "--json", "-k", "x")
    assert (usage.exit_code, json.loads(usage.stderr)["error"]["kind"]) == (2, "BadParameter")


@contextlib.contextmanager
def answering(code: grpc.StatusCode) -> Iterator[str]:
    """A server that ends every call with a status, and its address."""

    def abort(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(code, "for a reason\nin two lines")

    class Handler(grpc.GenericRpcHandler):
        def service(self, _: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
            return grpc.unary_unary_rpc_method_handler(abort)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK], ids=str)
def test_every_status_is_one_line_and_exit_code_1(run: Run, code: grpc.StatusCode) -> None:
    with answering(code) as address:
        result = run("recommend", "Maria", "--ranking", address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


@contextlib.contextmanager
def greeting(words: bytes) -> Iterator[str]:
    """A server of another protocol, which greets and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(words)

    threading.Thread(target=serve, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize(
    "words",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"-ERR unknown command 'PRI'\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_the_port_of_another_program(server: MemoryServer, words: bytes) -> None:
    with greeting(words) as address:
        done = piped(server, "recommend", "Maria", "--ranking", address)
    assert done.returncode == 1
    assert done.stderr.decode() == (
        f"Error: ranking service at {address}: unavailable: what listens there does not speak gRPC: is it the port of "
        "another program?\n"
    )


def test_tls_on_one_side_alone(server: MemoryServer, tmp_path: Path) -> None:
    write_certificates(tmp_path)
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    trusting = piped(server, "recommend", "Maria", "--tls-ca", str(certificate))
    with memory_server(tls=ServerTls(certificate, key)) as secured:
        plain = piped(secured, "recommend", "Maria")
        untrusted = piped(secured, "recommend", "Maria", "--tls")
    for done, words in (
        (trusting, "does not speak TLS"),
        (plain, "does it ask for TLS?"),
        (untrusted, "its certificate is not trusted (self signed certificate)"),
    ):
        assert done.returncode == 1
        assert done.stderr.count(b"\n") == 1
        assert words in done.stderr.decode()


@pytest.mark.parametrize("address", ["localhost", "localhost:99999", "http://localhost:50052"])
def test_an_address_that_is_none_is_a_usage_error_that_names_the_option(run: Run, address: str) -> None:
    for result in (
        run("recommend", "Maria", "--ranking", address),
        run("recommend", "Maria", TWOTOWER_RANKING=address),
    ):
        assert result.exit_code == 2
        assert "--ranking" in result.stderr
        assert f"must be host:port with a port of 1 to 65535, such as 127.0.0.1:50052, got '{address}'" in result.stderr


def test_empty_variables_are_unset(run: Run, server: MemoryServer) -> None:
    empty = {"TWOTOWER_TLS": "", "TWOTOWER_TLS_CA": "", "TWOTOWER_TLS_KEY": "", "TWOTOWER_HTTP_PROXY": ""}
    assert run("recommend", "Maria", **empty).exit_code == 0
    result = run("recommend", "Maria", TWOTOWER_RANKING="")  # the default, where nobody may be listening
    assert result.exit_code == 0 or "ranking service at 127.0.0.1:50052" in result.stderr


def test_a_misspelt_variable_is_warned_of_and_the_command_runs(run: Run) -> None:
    result = run("recommend", "Maria", TWOTOWER_RANKNG="here:1")
    assert result.exit_code == 0
    assert result.stderr == (
        "Warning: the variable TWOTOWER_RANKNG is not one of Twotower's: did you mean TWOTOWER_RANKING?\n"
    )


def test_variables_are_in_the_help(run: Run) -> None:
    overview = run("--help").stdout
    for name in VARIABLES:
        assert name in overview


def test_a_reader_that_stops_early_is_no_error(server: MemoryServer) -> None:
    with subprocess.Popen(
        [TWOTOWER, "product", "list"], env=environment(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
