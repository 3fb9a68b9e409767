"""Why a call found no service: one sentence in place of gRPC's account of its connections."""

import re
from typing import Final

import grpc

_UNREACHABLE: Final = (
    (r"Connection refused", "nobody listens there (connection refused): is it running, and is this its address?"),
    (r"errors resolving|hostname lookup|DNS resolution", "its host name can't be resolved"),
    (r"HTTP proxy", "the proxy of the environment refuses the connection"),
    (
        r"http1\.x server|HTTP/2|SETTINGS frame|http2 header",
        "what listens there does not speak gRPC: is it the port of another program?",
    ),
    (r"WRONG_VERSION_NUMBER", "what listens there does not speak TLS: connect without it, or to another port"),
    (r"[Hh]ostname [Vv]erification|Peer name", "its certificate is for another host name"),
    (r"CERTIFICATE_VERIFY_FAILED: ([^:]*)", "its certificate is not trusted ({0}): name the authority that signed it"),
    (r"(No route to host|(?:Network|Host) is unreachable|[Tt]imed out)", "it can't be reached ({0})"),
    (
        r"(?i)failed to connect.*(?:Socket closed|reset|broken pipe|Connection aborted|handshake)",
        "it closes the connection: {tls}",
    ),
    (r"(?i)Socket closed|reset by peer|broken pipe", "the connection broke"),
    (r"(?i)ping timeout|keepalive|GOAWAY", "the connection was lost"),
)
_CLOSED: Final = {
    False: "does it ask for TLS?",
    True: "does it ask for a client's certificate, or for another one?",
}


def reason(code: grpc.StatusCode, details: str, method: str, tls: bool, deadline_s: float | None) -> str:
    """What to say of a status that gRPC itself made; the details if nothing is known of them.

    Args:
        code: gRPC's code.
        details: gRPC's words.
        method: what was called, ``Recommend``.
        tls: whether the client speaks TLS.
        deadline_s: how long the call could take; None if that is not known.
    """
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and deadline_s is not None:
        return f"no answer within {deadline_s:g} s"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"it has no method {method}: is this the address of another service, or of an older version?"
    if code is grpc.StatusCode.UNAVAILABLE:
        for pattern, sentence in _UNREACHABLE:
            if match := re.search(pattern, details, re.DOTALL):
                return sentence.format(*match.groups(), tls=_CLOSED[tls])
    return details
