"""What stands between gRPC and a handler: the gate, the mapping of errors, and the count of calls in flight."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from twotower.access import Gate, Role, method_descriptor
from twotower.errors import (
    FieldViolation,
    InvalidArgument,
    Overloaded,
    PermissionDenied,
    TwotowerError,
    status_code,
    to_status,
)
from twotower.limits import (
    LONG_ANSWER_BYTES,
    LONG_WAIT_S,
    MAX_OPEN_CALLS,
    MAX_UNREAD_BYTES,
    check_fields,
    repeated_messages,
)

_LOG = logging.getLogger(__name__)
_STATUS_DETAILS: Final = "grpc-status-details-bin"
_AUDIT = logging.getLogger("twotower.audit")
_LONGEST_NAME: Final = 100
_REFUSED: Final = (grpc.StatusCode.UNAUTHENTICATED.name, grpc.StatusCode.PERMISSION_DENIED.name)
"""Outcomes of calls whose requests are not parsed, for the log neither."""
_COME_BACK_AFTER_S: Final = 1.0
_Context = grpc.aio.ServicerContext[Any, Any]
_Answer = Callable[[Any, _Context], Awaitable[Any]]


class Calls:
    """The calls of a server: how many are in flight, which wait for a request, and what they have not sent yet."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._waiting: dict[asyncio.Task[Any], float] = {}
        self._ended: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._unread_bytes = 0

    async def wait_idle(self) -> None:
        """Return when no call is in flight."""
        await self._idle.wait()

    def end_waiting(self) -> None:
        """End the calls that wait for a request, with OK, and those that answer one when they have answered it."""
        self._closing = True
        for task in self._waiting:
            task.cancel()

    def begin(self) -> None:
        """Count a call."""
        self._in_flight += 1
        self._idle.clear()

    def end(self) -> None:
        """Count it no more."""
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    @contextlib.contextmanager
    def sending(self, answer: bytes) -> Iterator[None]:
        """Count a long answer while it is sent, which takes as long as its caller likes.

        Raises:
            Overloaded: too much is left unread already.
        """
        size = len(answer) if len(answer) > LONG_ANSWER_BYTES else 0
        if size and self._unread_bytes + size > MAX_UNREAD_BYTES:
            unread_mb = self._unread_bytes / 2**20
            raise Overloaded(f"{unread_mb:.0f} MB of long answers wait for their callers", _COME_BACK_AFTER_S)
        self._unread_bytes += size
        try:
            yield
        finally:
            self._unread_bytes -= size

    @contextlib.contextmanager
    def conversation(self) -> Iterator[None]:
        """Count a call that stays open. If there are as many as may be, the one that has waited longest is ended.

        Raises:
            Overloaded: none has waited for long.
        """
        if self._open >= MAX_OPEN_CALLS and not self._end_longest_waiting():
            raise Overloaded(f"{MAX_OPEN_CALLS} calls are open already, of those that stay open", _COME_BACK_AFTER_S)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def _end_longest_waiting(self) -> bool:
        for task, since in self._waiting.items():  # in the order in which they began to wait
            if task not in self._ended:
                if time.monotonic() - since < LONG_WAIT_S:
                    return False
                self._ended.add(task)
                return task.cancel()
        return False

    async def one_by_one(
        self, requests: AsyncIterator[bytes], parse: Callable[[bytes], Any]
    ) -> AsyncGenerator[Any, None]:
        """Requests as they come, parsed; asked for the next one, the answer to the last was sent."""
        task, messages = asyncio.current_task(), aiter(requests)
        assert task
        while not self._closing:
            self._waiting[task] = time.monotonic()
            try:
                request = await anext(messages)
            except StopAsyncIteration:
                return
            except asyncio.CancelledError:
                if not self._closing and task not in self._ended:
                    raise
                task.uncancel()
                return
            finally:
                self._waiting.pop(task, None)
                self._ended.discard(task)
            self.begin()
            try:
                yield _parsed(parse, request)
            finally:
                self.end()


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Asks the gate about a call, and ends it with the status of the domain error that its handler raised.

    An error that is not a domain error is a bug: it is logged with its trace and the caller sees INTERNAL without the
    message. A request is parsed only when its call may be made.

    A call of many requests and many answers is in flight from each request until its answer was sent; while it waits
    for a request it is idle, and is ended when the server stops.
    """

    def __init__(self, gate: Gate, calls: Calls) -> None:
        self._gate = gate
        self._calls = calls
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Wrap a handler the first time its method is called."""
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None  # unknown methods are not remembered: a caller could make up any number of them
            self._wrapped[method] = self._wrap(method, handler)
        return self._wrapped[method]

    def _wrap(self, method: str, handler: Any) -> Any:
        try:
            role = self._gate.role_for(method)
        except PermissionDenied as error:
            return _refusing(method, error)
        coders = {"request_deserializer": None, "response_serializer": None}
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._conversation(method, role, handler), **coders)
        if handler.response_streaming:
            if role is not None:
                return _refusing(
                    method, PermissionDenied("nobody may call it: one request and many answers pass no gate")
                )
            return handler  # health watch, which never ends: a standard servicer with its own errors
        parse, admit = _bounded(method, handler.request_deserializer), self._gate.admit
        serialize = handler.response_serializer
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def answer(request: Any, context: _Context) -> Any:
            admit(role, context)
            if handler.request_streaming:
                return await inner(_parsed_stream(self._admitting(role, parse, context), request), context)
            return await inner(_parsed(parse, request), context)

        audited = self._audited(method, parse, answer) if role is Role.OPERATOR else answer

        async def call(request: Any, context: _Context) -> Any:
            self._calls.begin()
            try:
                return self._to_send(serialize(await audited(request, context)))
            except Exception as error:
                await _abort(method, error, context)
            finally:
                self._calls.end()

        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(call, **coders)

    def _to_send(self, answer: bytes) -> bytes:
        """A call's only answer; a long one is counted until the call has ended, which it has when it was sent."""
        if len(answer) > LONG_ANSWER_BYTES:
            task, sending = asyncio.current_task(), contextlib.ExitStack()
            assert task
            sending.enter_context(self._calls.sending(answer))
            task.add_done_callback(lambda _: sending.close())
        return answer

    def _conversation(self, method: str, role: Role | None, handler: Any) -> Any:
        parse_bounded = _bounded(method, handler.request_deserializer)
        serialize = handler.response_serializer

        async def call(requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
            try:
                self._gate.admit(role, context)
                parse = self._admitting(role, parse_bounded, context)
                with self._calls.conversation():
                    async with contextlib.aclosing(self._calls.one_by_one(requests, parse)) as counted:
                        async for answer in handler.stream_stream(counted, context):
                            data = serialize(answer)
                            with self._calls.sending(data):
                                yield data
            except Exception as error:
                await _abort(method, error, context)

        return call

    def _admitting(self, role: Role | None, parse: Callable[[bytes], Any], context: _Context) -> Callable[[bytes], Any]:
        """`parse` for a call that goes on: who makes it may be known no longer when a message arrives."""

        def admit_and_parse(data: bytes) -> Any:
            self._gate.admit(role, context)
            return parse(data)

        return admit_and_parse

    def _audited(self, method: str, parse: Callable[[bytes], Any], answer: _Answer) -> _Answer:
        """`answer` with a line in the audit log: who did what, and the outcome; no user ids, no texts."""
        name = method.rpartition("/")[2]

        async def audited(request: Any, context: _Context) -> Any:
            began, outcome, release_id = time.monotonic(), "CANCELLED", ""
            # Not later: a call whose deadline has passed has no peer, and a token may expire meanwhile.
            who, where = self._gate.name_of(context), context.peer()
            try:
                response = await answer(request, context)
                outcome, release_id = "OK", getattr(response, "release_id", "")
                return response
            except TwotowerError as error:
                outcome = status_code(error).name
                raise
            except Exception:
                outcome = "INTERNAL"
                raise
            finally:
                if outcome not in _REFUSED:
                    release_id = release_id or _release_id(parse, request)
                _AUDIT.info(
                    "%s%s by %s from %s: %s in %.0f ms",
                    name,
                    f" of {release_id[:_LONGEST_NAME]!r}" if release_id else "",
                    who,
                    where,
                    outcome,
                    1000 * (time.monotonic() - began),
                )

        return audited


def _release_id(parse: Callable[[bytes], Any], request: Any) -> str:
    """The release that a single request names, if it names one."""
    try:
        return str(getattr(parse(request), "release_id", "")) if isinstance(request, bytes) else ""
    except (DecodeError, InvalidArgument):
        return ""


def _bounded(method: str, parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """`parse` for messages that may have repeated messages in them: their number is bounded before."""
    descriptor = method_descriptor(method)
    tree = repeated_messages(descriptor.input_type) if descriptor else {}
    if not tree:
        return parse

    def check_and_parse(data: bytes) -> Any:
        check_fields(data, tree)
        return parse(data)

    return check_and_parse


def _refusing(method: str, refusal: PermissionDenied) -> Any:
    """A handler that reads no request."""

    async def refuse(requests: AsyncIterator[bytes], context: _Context) -> Any:  # noqa: ARG001 - gRPC's arguments
        await _abort(method, refusal, context)

    return grpc.stream_unary_rpc_method_handler(refuse)


async def _abort(method: str, error: Exception, context: _Context) -> None:
    """End a call with the status of an error."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, TwotowerError):
        metadata = ((_STATUS_DETAILS, to_status(error).SerializeToString()),)
        await context.abort(status_code(error), str(error), metadata)
    _LOG.error("unexpected error in %s", method, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "internal error")


def _parsed(parse: Callable[[bytes], Any], request: bytes) -> Any:
    try:
        return parse(request)
    except DecodeError as error:
        raise InvalidArgument(
            [FieldViolation("request", "must be a message of the method's type; its bytes can't be parsed")]
        ) from error


async def _parsed_stream(parse: Callable[[bytes], Any], requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _parsed(parse, request)


def add_reflection(services: Sequence[str], server: grpc.aio.Server) -> None:
    """Describe services, by the two names that reflection has; the messages of both are the same, byte for byte."""
    names = (*services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    handler = grpc.stream_stream_rpc_method_handler(
        ReflectionServicer(names).ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    final = grpc.method_handlers_generic_handler(
        "grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": handler}
    )
    server.add_generic_rpc_handlers((final,))
