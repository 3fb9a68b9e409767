"""What gRPC says of its connections, in one sentence; its words are those of grpcio 1.85 on real servers."""

import grpc
import pytest

from twotower.reasons import reason

FAILED = "failed to connect to all addresses; last error: "


@pytest.mark.parametrize(
    ("details", "sentence"),
    [
        (
            f"{FAILED}UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection refused",
            "nobody listens there",
        ),
        (
            "errors resolving x.invalid:1: [field:hostname lookup error:address lookup failed for x.invalid:1: "
            "Domain name not found]",
            "its host name can't be resolved",
        ),
        (
            f"{FAILED}INTERNAL: ipv4:127.0.0.1:1: Failed parsing HTTP/2 (Expected SETTINGS frame as the first frame, "
            "got frame type 80) (Trying to connect an http1.x server (HTTP status 400))",
            "does not speak gRPC",
        ),
        (
            f"{FAILED}UNKNOWN: ipv4:127.0.0.1:1: Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: "
            "error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER: Invalid certificate verification "
            "context",
            "does not speak TLS",
        ),
        (
            f"{FAILED}UNKNOWN: ipv4:127.0.0.1:1: Tls handshake failed (TSI_PROTOCOL_FAILURE): SSL_ERROR_SSL: "
            "error:1000007d:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED: self signed certificate: OK",
            "its certificate is not trusted (self signed certificate)",
        ),
        (f"{FAILED}UNAVAILABLE: ipv4:127.0.0.1:1: Socket closed", "does it ask for TLS?"),
        (f"{FAILED}UNKNOWN: ipv4:10.0.0.1:1: No route to host", "it can't be reached (No route to host)"),
        ("Socket closed", "the connection broke"),
        ("ping timeout", "the connection was lost"),
        ("something new", "something new"),
    ],
)
def test_unavailable(details: str, sentence: str) -> None:
    said = reason(grpc.StatusCode.UNAVAILABLE, details, "Recommend", tls=False, deadline_s=5)
    assert sentence in said
    assert "\n" not in said


def test_with_tls_a_closed_connection_has_another_cause() -> None:
    said = reason(grpc.StatusCode.UNAVAILABLE, f"{FAILED}Socket closed", "Recommend", tls=True, deadline_s=5)
    assert "a client's certificate" in said


def test_a_deadline_says_how_long() -> None:
    said = reason(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", "Recommend", tls=False, deadline_s=0.25)
    assert said == "no answer within 0.25 s"


def test_an_unknown_method_is_named() -> None:
    said = reason(grpc.StatusCode.UNIMPLEMENTED, "Method not found!", "Recommend", tls=False, deadline_s=5)
    assert "no method Recommend" in said


def test_other_statuses_keep_their_words() -> None:
    for code in set(grpc.StatusCode) - {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
    }:
        assert reason(code, "Connection refused", "Recommend", tls=False, deadline_s=5) == "Connection refused"
