"""The socket CometBFT connects to: who may, in which order answers come, what it survives."""

import errno
import logging
import socket
import stat
import threading

import pytest
from support.fake_comet import Connection, FailedError, framed

from tallystick.consensus.cometbft import abci_pb2 as abci
from tallystick.consensus.cometbft.server import Server
from tallystick.errors import UnavailableError


class Echoing:
    """An application that answers only echoes, and those it is held at once it may."""

    def __init__(self):
        self.asked = threading.Event()
        self.may = threading.Event()
        self.may.set()

    def answer(self, request):
        response = abci.Response()
        if request.WhichOneof("value") == "flush":
            response.flush.SetInParent()
            return response
        self.asked.set()
        self.may.wait()
        response.echo.message = request.echo.message
        return response


@pytest.fixture
def application():
    return Echoing()


@pytest.fixture
def server(application, tmp_path):
    made = Server(application, tmp_path / "s")
    yield made
    application.may.set()
    made.close()


@pytest.fixture
def connect(server, tmp_path, opened):
    def make():
        made = Connection(tmp_path / "s")
        opened.callback(made.close)
        return made

    return make


def hang_up(connection):
    connection.socket.shutdown(socket.SHUT_WR)
    return connection.answers.read()


def test_only_its_owner_may_connect(server, tmp_path):
    status = (tmp_path / "s").stat()

    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o600


def test_a_socket_that_an_earlier_process_left_is_replaced(application, tmp_path, opened):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "s"))
    left.close()
    opened.callback(Server(application, tmp_path / "s").close)
    connection = Connection(tmp_path / "s")
    opened.callback(connection.close)

    assert connection.ask("echo", abci.Echo(message="here")).message == "here"


def test_a_path_too_long_for_a_socket_is_said_to_be(application, tmp_path):
    with pytest.raises(UnavailableError) as refused:
        Server(application, tmp_path / ("x" * 120))

    assert "107 bytes" in refused.value.hint


def test_answers_come_in_the_order_of_the_questions(connect):
    said = [abci.Echo(message=str(number)) for number in range(500)]

    assert [each.message for each in connect().ask_all("echo", said)] == [
        str(number) for number in range(500)
    ]


def test_answers_come_at_the_flush_and_not_before(connect):
    connection = connect()
    connection.socket.sendall(connection.frame("echo", abci.Echo(message="a")))
    connection.socket.settimeout(0.1)
    with pytest.raises(TimeoutError):
        connection.socket.recv(1)
    connection.socket.settimeout(30)
    connection.socket.sendall(connection.frame("flush"))

    assert connection.read("echo").message == "a"
    connection.read("flush")


def test_connections_do_not_wait_for_each_other(application, connect):
    slow, quick = connect(), connect()
    application.may.clear()
    slow.socket.sendall(slow.frame("echo", abci.Echo(message="slow")) + slow.frame("flush"))
    assert application.asked.wait(30)
    quick.socket.sendall(quick.frame("flush"))
    quick.read("flush")
    application.may.set()

    assert slow.read("echo").message == "slow"


BROKEN = {
    "a frame that is cut off": framed(b"x" * 200)[:100],
    "a length that is cut off": b"\x80",
    "a length that does not end": b"\xff" * 8,
    "a frame too large": b"\xff\xff\xff\xff\x7f",
    "no protobuf": framed(b"\xff\xff\xff"),
    "a field that is cut off": framed(b"\x12\x05a"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_after_what_is_no_question_the_next_connection_works(connect, broken, caplog):
    caplog.set_level(logging.CRITICAL)  # it is logged, and that is not the point
    faulty, whole = connect(), connect()
    faulty.socket.sendall(broken)

    assert hang_up(faulty) == b""
    assert whole.ask("echo", abci.Echo(message="still")).message == "still"
    assert connect().ask("echo", abci.Echo(message="new")).message == "new"


def test_whoever_hangs_up_before_the_answer_harms_nobody(connect, caplog):
    caplog.set_level(logging.CRITICAL)
    for _ in range(20):
        leaving = connect()
        leaving.socket.sendall(leaving.frame("echo") * 100 + leaving.frame("flush"))
        leaving.close()

    assert connect().ask("echo", abci.Echo(message="a")).message == "a"


def test_once_closed_it_hangs_up_and_its_socket_is_gone(server, connect, tmp_path):
    connection = connect()
    connection.ask("echo")
    server.close()

    with pytest.raises(FailedError, match="hung up"):
        connection.read("echo")
    assert not (tmp_path / "s").exists()
    with pytest.raises(FileNotFoundError):
        Connection(tmp_path / "s")


def test_once_closed_nothing_is_asked_of_the_application(application, server, connect):
    connection = connect()
    application.may.clear()
    connection.socket.sendall(connection.frame("echo"))
    assert application.asked.wait(30)
    closing = threading.Thread(target=server.close)
    closing.start()
    closing.join(0.2)
    waited = closing.is_alive()
    application.may.set()
    closing.join(30)

    assert waited
    assert not closing.is_alive()
    assert not [each for each in threading.enumerate() if each.name == "abci-connection"]


def test_a_connection_that_cannot_be_taken_is_not_the_last(server, connect, monkeypatch, caplog):
    taken, accept = [], socket.socket.accept

    def fail_first(listening):
        taken.append(listening)
        if len(taken) == 1:
            raise OSError(errno.EMFILE, "too many open files")
        return accept(listening)

    monkeypatch.setattr(socket.socket, "accept", fail_first)
    for text in ("taken by whoever waited already", "taken after a pause"):
        assert connect().ask("echo", abci.Echo(message=text)).message == text
    assert "too many open files" in caplog.text
    assert len(taken) >= 2
