"""Start of a service's process: settings, the environment of gRPC, one sentence for what is wrong."""

import os
import subprocess
import sys

import pytest

from twotower import service
from twotower.service import ServerSettings, read_settings, settings_config

PACKAGES = {"embedding_service": "EMBEDDING", "ranking_service": "RANKING"}
GRPC_IS_PREPARED_FIRST = """
import sys
from importlib import import_module
from twotower.service import read_settings
import_module(sys.argv[1] + ".__main__")
assert "grpc" not in sys.modules
settings = import_module(sys.argv[1] + ".settings")
read_settings(sys.argv.pop(1), getattr(settings, sys.argv.pop(1)))
import os
print(os.environ["GRPC_EXPERIMENTS"])
"""


@pytest.mark.parametrize(
    ("package", "settings"), [("embedding_service", "EmbeddingSettings"), ("ranking_service", "RankingSettings")]
)
def test_grpc_reads_its_environment_after_it_was_prepared(package: str, settings: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_EXPERIMENTS"}
    command = [sys.executable, "-c", GRPC_IS_PREPARED_FIRST, package, settings]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "-event_engine_client,-event_engine_listener\n"), done.stderr


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    ("flags", "variables", "sentence"),
    [
        (["--tls-key", "key.pem"], {}, "tls_certificate and tls_key: set both or neither"),
        (["--listen", "localhost"], {}, "listen: must be host:port, such as 127.0.0.1:50051"),
        (["--listen", "::1"], {}, "listen: must be host:port"),
        (["--listen", "localhost:99999"], {}, "listen: its port must be a number from 0 to 65535, got"),
        ([], {"LISTEN": "localhost:http"}, "listen: its port must be a number from 0 to 65535"),
        (["--drain-s", "-1"], {}, "drain_s: Input should be greater than or equal to 0"),
        (["--listen", "0.0.0.0:0"], {}, "needs TLS (tls_certificate, tls_key) and authentication (auth_keys, or"),
        (["--admin-listen", "example.com:1"], {}, "admin_listen: example.com:1 can be reached from other machines"),
        (["--listen", "[::]:1", "--auth-keys", "k"], {}, "so it needs TLS (tls_certificate, tls_key); --insecure goes"),
        (["--listen", "10.0.0.1:1"], {"TLS_KEY": "k", "TLS_CERTIFICATE": "c"}, "needs authentication (auth_keys, or"),
        (["--tls-client-ca", "ca"], {}, "tls_client_ca: needs tls_certificate too: without it the service speaks"),
        (["--auth-identities", "i"], {}, "auth_identities: needs tls_client_ca too: without it no client shows"),
        (["--auth-issuer", "i"], {}, "auth_issuer: needs auth_keys too: without it no token is looked at"),
        ([], {"LOG_LEVEL": "LOUD"}, "log_level: Input should be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    package: str, flags: list[str], variables: dict[str, str], sentence: str
) -> None:
    environment = {f"TWOTOWER_{PACKAGES[package]}_{name}": value for name, value in variables.items()}
    command = [sys.executable, "-m", package, *flags]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{package}: ")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


class FlagSettings(ServerSettings):
    """Two settings that are true or false, and one that is not."""

    model_config = settings_config("flags", "TWOTOWER_TEST_")

    speak_tls: bool = False
    reflect: bool = True
    name: str = ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (False, True, "")),
        (["--speak-tls"], (True, True, "")),
        (["--speak-tls", "true"], (True, True, "")),
        (["--speak-tls=true"], (True, True, "")),
        (["--speak-tls", "false"], (False, True, "")),
        (["--speak-tls", "--name", "a"], (True, True, "a")),
        (["--name", "a", "--speak-tls"], (True, True, "a")),
        (["--reflect", "false"], (False, False, "")),
        (["--reflect=no", "--speak-tls", "on"], (True, False, "")),
    ],
)
def test_a_setting_that_is_true_or_false_may_stand_alone_or_with_its_value(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: tuple[bool, bool, str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["flags", *arguments])
    monkeypatch.setattr(service, "prepare_grpc", lambda: None)
    settings = read_settings("flags", FlagSettings)
    assert (settings.speak_tls, settings.reflect, settings.name) == expected


def test_a_flag_that_is_neither_true_nor_false_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["flags", "--speak-tls", "maybe"])
    with pytest.raises(SystemExit, match="flags: speak_tls: Input should be a valid boolean"):
        read_settings("flags", FlagSettings)
